/* Compensated sums as Prometheus takes them (Neumaier's form of Kahan's): the same steps in the
 * same order give the same bits. */
#ifndef KS_QUERY_PROMQL_KAHAN_H
#define KS_QUERY_PROMQL_KAHAN_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Adds x to sum + c. */
static inline void ksi_kahan_add(double x, double *sum, double *c)
{
    double t = *sum + x;
    if (isinf(t))
        *c = 0;
    else if (fabs(*sum) >= fabs(x))
        *c += (*sum - t) + x;
    else
        *c += (x - t) + *sum;
    *sum = t;
}

/* Mean of the sum while that is finite, from the overflow on a running mean. n > 0. */
static inline double ksi_kahan_mean(const double *v, size_t n)
{
    double sum = v[0], c = 0, mean = 0;
    bool running = false;
    for (size_t i = 1; i < n; i++) {
        double count = (double)(i + 1);
        if (!running) {
            double next = sum, next_c = c;
            ksi_kahan_add(v[i], &next, &next_c);
            if (!isinf(next)) {
                sum = next;
                c = next_c;
                continue;
            }
            running = true;
            mean = sum / (count - 1);
            c /= count - 1;
        }
        double q = (count - 1) / count;
        mean *= q;
        c *= q;
        ksi_kahan_add(v[i] / count, &mean, &c);
    }
    return running ? mean + c : sum / (double)n + c / (double)n;
}

#endif
