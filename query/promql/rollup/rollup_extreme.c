/*
 * Smallest and largest values of windows, in O(samples + points) without unpredictable branches: a
 * queue of two stacks. Left of a pivot lie suffix extremes, computed once each time the window's
 * start passes the pivot; right of it one running extreme. Of equal values (0 and -0) the first in
 * the window wins, as in a plain scan.
 */
#include "query/promql/rollup/rollup_priv.h"

#include <string.h>

#include "base/clones.h"

/* So often scanning each value is cheaper than the queue of two stacks. */
enum { SCANS = 4 };

/* Both comparisons are written as the scan does them: `a beats b` only if strictly beyond. */
static inline double lesser(double a, double b)
{
    return a < b ? a : b;
}

static inline double greater(double a, double b)
{
    return a > b ? a : b;
}

static inline double scan(const double *v, uint32_t lo, uint32_t hi, double (*pick)(double, double))
{
    double best = v[lo];
    for (uint32_t i = lo + 1; i < hi; i++)
        best = pick(v[i], best);
    return best;
}

/* The same without NaN: in lanes, which do not wait for each other. Which of 0 and -0 came first
 * lanes do not know. */
static inline __attribute__((always_inline)) double
scan_plain(const double *v, uint32_t lo, uint32_t hi, double (*pick)(double, double))
{
    enum { LANES = 16 };
    double lane[LANES], best;
    if (hi - lo < 2 * LANES)
        return scan(v, lo, hi, pick);
    for (int j = 0; j < LANES; j++)
        lane[j] = v[lo + (uint32_t)j];
    uint32_t i = lo + LANES;
    for (; i + LANES <= hi; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = pick(v[i + (uint32_t)j], lane[j]);
    best = lane[0];
    for (int j = 1; j < LANES; j++)
        best = pick(lane[j], best);
    for (; i < hi; i++)
        best = pick(v[i], best);
    return best == 0 ? scan(v, lo, hi, pick) : best;
}

static inline __attribute__((always_inline)) ks_err
extremes(struct ksi_rollup *r, double (*pick)(double, double), double *out)
{
    const double *v = r->values;
    bool plain = r->plain || !ksi_has_nan(v, r->n);
    if (!plain) {
        for (uint32_t k = 0; k < r->points; k++)
            out[k] = r->hi[k] > r->lo[k] ? scan(v, r->lo[k], r->hi[k], pick) : ksi_absent();
        return KS_OK;
    }
    if (r->work <= SCANS * (uint64_t)r->n) {
        for (uint32_t k = 0; k < r->points; k++)
            out[k] = r->hi[k] > r->lo[k] ? scan_plain(v, r->lo[k], r->hi[k], pick) : ksi_absent();
        return KS_OK;
    }
    double *suffix = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *suffix);
    if (!suffix)
        return KS_ENOMEM;
    uint32_t pivot = 0, next = 0; /* running covers [pivot, next) */
    double running = 0;
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k];
        if (hi == lo) {
            out[k] = ksi_absent();
            continue;
        }
        if (lo >= pivot) {
            suffix[hi - 1] = v[hi - 1];
            for (uint32_t i = hi - 1; i > lo; i--)
                suffix[i - 1] = pick(suffix[i], v[i - 1]);
            pivot = next = hi;
            out[k] = suffix[lo];
            continue;
        }
        if (next == pivot && hi > next)
            running = v[next++];
        for (; next < hi; next++)
            running = pick(v[next], running);
        out[k] = next > pivot ? pick(running, suffix[lo]) : suffix[lo];
    }
    return KS_OK;
}

KS_CLONES ks_err ksi_k_min(struct ksi_rollup *r, double *out)
{
    return extremes(r, lesser, out);
}

KS_CLONES ks_err ksi_k_max(struct ksi_rollup *r, double *out)
{
    return extremes(r, greater, out);
}

ks_err ksi_k_range(struct ksi_rollup *r, double *out)
{
    double *min = ksi_rollup_buf(r->scratch, KSI_BUF_C, r->points, sizeof *min);
    if (!min)
        return KS_ENOMEM;
    KS_TRY(ksi_k_min(r, min));
    KS_TRY(ksi_k_max(r, out));
    for (uint32_t k = 0; k < r->points; k++)
        if (r->hi[k] > r->lo[k])
            out[k] -= min[k];
    return KS_OK;
}

/* When the extreme was last met: a queue of candidates, each beyond all after it. */
static inline __attribute__((always_inline)) ks_err
extreme_times(struct ksi_rollup *r, bool (*gives_way)(double, double), double *out)
{
    uint32_t *queue = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *queue);
    if (!queue)
        return KS_ENOMEM;
    uint32_t head = 0, tail = 0, next = 0;
    for (uint32_t k = 0; k < r->points; k++) {
        if (next < r->lo[k])
            next = r->lo[k];
        for (; next < r->hi[k]; next++) {
            while (tail > head && gives_way(r->values[queue[tail - 1]], r->values[next]))
                tail--;
            queue[tail++] = next;
        }
        while (head < tail && queue[head] < r->lo[k])
            head++;
        out[k] =
            head < tail && r->hi[k] > r->lo[k] ? ksi_seconds(r->times[queue[head]]) : ksi_absent();
    }
    return KS_OK;
}

static inline bool not_below(double old, double now)
{
    return now <= old;
}

static inline bool not_above(double old, double now)
{
    return now >= old;
}

ks_err ksi_k_tmin(struct ksi_rollup *r, double *out)
{
    return extreme_times(r, not_below, out);
}

ks_err ksi_k_tmax(struct ksi_rollup *r, double *out)
{
    return extreme_times(r, not_above, out);
}

/* avg ± the deviation that phi of the means of so many bounded samples stay within (Hoeffding's
 * inequality). */
static ks_err hoeffding(struct ksi_rollup *r, double sign, double *out)
{
    double *range = ksi_rollup_buf(r->scratch, KSI_BUF_OUT, r->points, sizeof *range);
    if (!range)
        return KS_ENOMEM;
    KS_TRY(ksi_k_range(r, range));
    KS_TRY(ksi_k_avg(r, out));
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t len = r->hi[k] - r->lo[k];
        double phi = ksi_arg(r, 0, k);
        if (len < 2 || range[k] <= 0 || phi <= 0)
            continue;
        double bound =
            phi >= 1 ? INFINITY : range[k] * sqrt(log(1 / (1 - phi)) / (2 * (double)len));
        out[k] += sign * bound;
    }
    return KS_OK;
}

ks_err ksi_k_hoeffding_lower(struct ksi_rollup *r, double *out)
{
    return hoeffding(r, -1, out);
}

ks_err ksi_k_hoeffding_upper(struct ksi_rollup *r, double *out)
{
    return hoeffding(r, 1, out);
}
