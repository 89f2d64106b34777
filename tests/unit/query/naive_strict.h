/* The strict rollup functions by their plain definitions; see naive_rollup.h. */
#ifndef TESTS_UNIT_QUERY_NAIVE_STRICT_H
#define TESTS_UNIT_QUERY_NAIVE_STRICT_H

#include "naive_rollup.h"

struct kahan {
    double sum, c;
};

static struct kahan kahan_plus(struct kahan k, double x)
{
    double t = k.sum + x;
    if (isinf(t))
        k.c = 0;
    else if (fabs(k.sum) >= fabs(x))
        k.c += (k.sum - t) + x;
    else
        k.c += (x - t) + k.sum;
    k.sum = t;
    return k;
}

static double strict_rate(const struct view *w, bool counter, bool rate)
{
    if (w->n < 2)
        return hole();
    double result = w->v[w->n - 1] - w->v[0];
    for (size_t i = 1; counter && i < w->n; i++)
        if (w->v[i] < w->v[i - 1])
            result += w->v[i - 1];
    double to_start = (double)(w->t[0] - (w->now - w->window)) / 1000,
           to_end = (double)(w->now - w->t[w->n - 1]) / 1000;
    double sampled = (double)(w->t[w->n - 1] - w->t[0]) / 1000, mean = sampled / (double)(w->n - 1);
    double threshold = mean * 1.1, interval = sampled;
    if (to_start >= threshold)
        to_start = mean / 2;
    if (counter && result > 0 && w->v[0] >= 0)
        to_start =
            sampled * (w->v[0] / result) < to_start ? sampled * (w->v[0] / result) : to_start;
    interval += to_start;
    if (to_end >= threshold)
        to_end = mean / 2;
    interval += to_end;
    double factor = interval / sampled;
    if (rate)
        factor /= (double)(w->window / 1000) + (double)(w->window % 1000 * 1000000) / 1e9;
    return result * factor;
}

static double strict_avg(const struct view *w)
{
    struct kahan k = {w->v[0], 0}, mean = {0, 0};
    double count = 1;
    bool incremental = false;
    for (size_t i = 1; i < w->n; i++) {
        count = (double)(i + 1);
        if (!incremental) {
            struct kahan next = kahan_plus(k, w->v[i]);
            if (!isinf(next.sum)) {
                k = next;
                continue;
            }
            incremental = true;
            mean.sum = k.sum / (count - 1);
            mean.c = k.c / (count - 1);
        }
        double q = (count - 1) / count;
        mean = kahan_plus((struct kahan){q * mean.sum, q * mean.c}, w->v[i] / count);
    }
    return incremental ? mean.sum + mean.c : k.sum / count + k.c / count;
}

static double strict_variance(const struct view *w)
{
    struct kahan mean = {0, 0}, aux = {0, 0};
    double count = 0;
    for (size_t i = 0; i < w->n; i++) {
        count++;
        double delta = w->v[i] - (mean.sum + mean.c);
        mean = kahan_plus(mean, delta / count);
        aux = kahan_plus(aux, delta * (w->v[i] - (mean.sum + mean.c)));
    }
    return (aux.sum + aux.c) / count;
}

static void strict_line(const struct view *w, int64_t origin, double *slope, double *value)
{
    struct kahan x = {0, 0}, y = {0, 0}, xy = {0, 0}, xx = {0, 0};
    bool same = true;
    double n = 0;
    for (size_t i = 0; i < w->n; i++) {
        double t = (double)(w->t[i] - origin) / 1e3;
        if (i > 0 && w->v[i] != w->v[0])
            same = false;
        n++;
        x = kahan_plus(x, t);
        y = kahan_plus(y, w->v[i]);
        xy = kahan_plus(xy, t * w->v[i]);
        xx = kahan_plus(xx, t * t);
    }
    if (same) {
        *slope = isinf(w->v[0]) ? NAN : 0;
        *value = isinf(w->v[0]) ? NAN : w->v[0];
        return;
    }
    double sx = x.sum + x.c, sy = y.sum + y.c, sxy = xy.sum + xy.c, sxx = xx.sum + xx.c;
    *slope = (sxy - sx * sy / n) / (sxx - sx * sx / n);
    *value = sy / n - *slope * sx / n;
}

static size_t strict_best(const struct view *w, int sign, bool or_equal)
{
    size_t best = 0;
    for (size_t i = 0; i < w->n; i++) {
        double v = w->v[i], b = w->v[best];
        if (isnan(b) || (sign > 0 ? v > b : v < b) || (or_equal && v == b))
            best = i;
    }
    return best;
}

static double strict_smooth(const struct view *w)
{
    double s0 = 0, s1 = w->v[0], b = w->v[1] - w->v[0];
    for (size_t i = 1; i < w->n; i++) {
        double x = w->a0 * w->v[i];
        if (i > 1)
            b = w->a1 * (s1 - s0) + (1 - w->a1) * b;
        double y = (1 - w->a0) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    return s1;
}

static double strict_steps(const struct view *w, bool falls)
{
    int steps = 0;
    for (size_t i = 1; i < w->n; i++)
        steps += falls ? w->v[i] < w->v[i - 1]
                       : w->v[i] != w->v[i - 1] && !(isnan(w->v[i]) && isnan(w->v[i - 1]));
    return steps;
}

static double naive_strict(enum ks_promql_func_id f, const struct view *w)
{
    double a, b;
    struct kahan k = {0, 0};
    size_t last = w->n - 1;
    if (w->n == 0)
        return f == KS_FN_ABSENT_OVER_TIME ? 1 : hole();
    switch (f) {
    case KS_FN_ABSENT_OVER_TIME:
        return hole();
    case KS_FN_PRESENT_OVER_TIME:
        return 1;
    case KS_FN_COUNT_OVER_TIME:
        return (double)w->n;
    case KS_FN_FIRST_OVER_TIME:
        return w->v[0];
    case KS_FN_LAST_OVER_TIME:
        return w->v[last];
    case KS_FN_DEFAULT_ROLLUP:
        return ks_is_stale_nan(w->v[last]) ? hole() : w->v[last];
    case KS_FN_TIMESTAMP:
        return ks_is_stale_nan(w->v[last]) ? hole() : (double)w->t[last] / 1e3;
    case KS_FN_TS_OF_FIRST_OVER_TIME:
        return (double)w->t[0] / 1e3;
    case KS_FN_TS_OF_LAST_OVER_TIME:
        return (double)w->t[last] / 1e3;
    case KS_FN_TS_OF_MIN_OVER_TIME:
        return (double)w->t[strict_best(w, -1, true)] / 1e3;
    case KS_FN_TS_OF_MAX_OVER_TIME:
        return (double)w->t[strict_best(w, 1, true)] / 1e3;
    case KS_FN_MIN_OVER_TIME:
        return w->v[strict_best(w, -1, false)];
    case KS_FN_MAX_OVER_TIME:
        return w->v[strict_best(w, 1, false)];
    case KS_FN_RATE:
        return strict_rate(w, true, true);
    case KS_FN_INCREASE:
        return strict_rate(w, true, false);
    case KS_FN_DELTA:
        return strict_rate(w, false, false);
    case KS_FN_IDELTA:
        return w->n < 2 ? hole() : w->v[last] - w->v[last - 1];
    case KS_FN_IRATE:
        if (w->n < 2)
            return hole();
        a = w->v[last] < w->v[last - 1] ? w->v[last] : w->v[last] - w->v[last - 1];
        return a / ((double)(w->t[last] - w->t[last - 1]) / 1000);
    case KS_FN_CHANGES:
        return strict_steps(w, false);
    case KS_FN_RESETS:
        return strict_steps(w, true);
    case KS_FN_SUM_OVER_TIME:
        for (size_t i = 0; i < w->n; i++)
            k = kahan_plus(k, w->v[i]);
        return isinf(k.sum) ? k.sum : k.sum + k.c;
    case KS_FN_AVG_OVER_TIME:
        return strict_avg(w);
    case KS_FN_STDVAR_OVER_TIME:
        return strict_variance(w);
    case KS_FN_STDDEV_OVER_TIME:
        return sqrt(strict_variance(w));
    case KS_FN_QUANTILE_OVER_TIME:
        return naive_quantile(w->a0, w->v, w->n, false);
    case KS_FN_MAD_OVER_TIME:
        return naive_mad(w->v, w->n, false);
    case KS_FN_DERIV:
        if (w->n < 2)
            return hole();
        strict_line(w, w->t[0], &a, &b);
        return a;
    case KS_FN_PREDICT_LINEAR:
        if (w->n < 2)
            return hole();
        strict_line(w, w->shown, &a, &b);
        return a * w->a0 + b;
    case KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING:
        return w->n < 2 ? hole() : strict_smooth(w);
    default:
        abort();
    }
}

#endif
