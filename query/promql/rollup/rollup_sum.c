/*
 * Sums over windows. A sum must have the bits of adding the window's values left to right, so
 * differences of running totals are only taken when they are provably exact: all values integers
 * and no total beyond 2^53 (counts, bytes, gauges of whole things: the bulk of real metrics).
 * Otherwise windows are added one by one, four at a time to keep the adder busy.
 */
#include "query/promql/rollup/rollup_priv.h"

#include <string.h>

#define EXACT_MAX 9007199254740992.0 /* 2^53 */

/* total[i] = x[0] + … + x[i-1]. False when that may be inexact (then total is not complete). */
static bool exact_totals(const double *x, uint32_t n, double *total)
{
    double sum = 0, magnitude = 0;
    total[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        double a = fabs(x[i]);
        magnitude += a;
        if (!(magnitude < EXACT_MAX) || (double)(int64_t)x[i] != x[i])
            return false;
        sum += x[i];
        total[i + 1] = sum;
    }
    return true;
}

static inline double sum_range(const double *x, uint32_t lo, uint32_t hi, double sum)
{
    for (; lo < hi; lo++)
        sum += x[lo];
    return sum;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* hi may lie before lo: an empty window. */
static void direct_sums(const double *x, const uint32_t *lo, const uint32_t *hi, uint32_t points,
                        double *out)
{
    uint32_t k = 0;
    for (; k + 4 <= points; k += 4) {
        uint32_t common = UINT32_MAX;
        for (uint32_t j = k; j < k + 4; j++)
            common = min_u32(common, hi[j] > lo[j] ? hi[j] - lo[j] : 0);
        const double *a = x + lo[k], *b = x + lo[k + 1], *c = x + lo[k + 2], *d = x + lo[k + 3];
        double sa = 0, sb = 0, sc = 0, sd = 0;
        for (uint32_t i = 0; i < common; i++) {
            sa += a[i];
            sb += b[i];
            sc += c[i];
            sd += d[i];
        }
        out[k] = sum_range(x, lo[k] + common, hi[k], sa);
        out[k + 1] = sum_range(x, lo[k + 1] + common, hi[k + 1], sb);
        out[k + 2] = sum_range(x, lo[k + 2] + common, hi[k + 2], sc);
        out[k + 3] = sum_range(x, lo[k + 3] + common, hi[k + 3], sd);
    }
    for (; k < points; k++)
        out[k] = sum_range(x, lo[k], hi[k], 0);
}

ks_err ksi_window_sums(struct ksi_rollup *r, const double *x, const uint32_t *lo,
                       const uint32_t *hi, double *out)
{
    if (r->work > 2 * (uint64_t)r->n) {
        double *total = ksi_rollup_buf(r->scratch, KSI_BUF_B, (size_t)r->n + 1, sizeof *total);
        if (!total)
            return KS_ENOMEM;
        if (exact_totals(x, r->n, total)) {
            for (uint32_t k = 0; k < r->points; k++)
                out[k] = hi[k] > lo[k] ? total[hi[k]] - total[lo[k]] : 0;
            return KS_OK;
        }
    }
    direct_sums(x, lo, hi, r->points, out);
    return KS_OK;
}

static void blank_empty(const struct ksi_rollup *r, double *out)
{
    for (uint32_t k = 0; k < r->points; k++)
        if (r->hi[k] == r->lo[k])
            out[k] = ksi_absent();
}

ks_err ksi_k_sum(struct ksi_rollup *r, double *out)
{
    KS_TRY(ksi_window_sums(r, r->values, r->lo, r->hi, out));
    blank_empty(r, out);
    return KS_OK;
}

ks_err ksi_k_avg(struct ksi_rollup *r, double *out)
{
    KS_TRY(ksi_window_sums(r, r->values, r->lo, r->hi, out));
    for (uint32_t k = 0; k < r->points; k++)
        out[k] = r->hi[k] > r->lo[k] ? out[k] / (double)(r->hi[k] - r->lo[k]) : ksi_absent();
    return KS_OK;
}

ks_err ksi_k_rate_over_sum(struct ksi_rollup *r, double *out)
{
    KS_TRY(ksi_window_sums(r, r->values, r->lo, r->hi, out));
    double seconds = ksi_seconds(r->window);
    for (uint32_t k = 0; k < r->points; k++)
        out[k] = r->hi[k] > r->lo[k] ? out[k] / seconds : ksi_absent();
    return KS_OK;
}

ks_err ksi_k_sum2(struct ksi_rollup *r, double *out)
{
    double *x = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *x);
    if (!x)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++)
        x[i] = r->values[i] * r->values[i];
    KS_TRY(ksi_window_sums(r, x, r->lo, r->hi, out));
    blank_empty(r, out);
    return KS_OK;
}

/* Sum of the rises (sign 1) or falls (sign -1), the one into the window included when its
 * predecessor is near. */
static ks_err climb(struct ksi_rollup *r, double sign, double *out)
{
    double *x = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *x);
    uint32_t *lo = ksi_rollup_buf(r->scratch, KSI_BUF_C, r->points, sizeof *lo);
    if (!x || !lo)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        double d = i == 0     ? 0
                   : sign > 0 ? r->values[i] - r->values[i - 1]
                              : r->values[i - 1] - r->values[i];
        x[i] = d > 0 ? d : 0;
    }
    for (uint32_t k = 0; k < r->points; k++) {
        struct ksi_window w = ksi_window_at(r, k);
        lo[k] = isnan(w.prev) && w.hi > w.lo ? w.lo + 1 : w.lo;
    }
    KS_TRY(ksi_window_sums(r, x, lo, r->hi, out));
    for (uint32_t k = 0; k < r->points; k++)
        if (r->hi[k] == r->lo[k] && isnan(ksi_window_at(r, k).prev))
            out[k] = ksi_absent();
    return KS_OK;
}

ks_err ksi_k_ascent(struct ksi_rollup *r, double *out)
{
    return climb(r, 1, out);
}

ks_err ksi_k_descent(struct ksi_rollup *r, double *out)
{
    return climb(r, -1, out);
}

/* count_*, share_* and sum_* _over_time: what is summed, of which samples. */
enum filter_op { OP_EQ, OP_NE, OP_GT, OP_LE };
enum filter_sum { SUM_COUNT, SUM_SHARE, SUM_VALUE };

static void filter_of(enum ks_promql_func_id func, enum filter_op *ret_op, enum filter_sum *ret_sum)
{
    switch (func) {
#define CASE(id, op, sum)                                                                          \
    case KS_FN_##id##_OVER_TIME:                                                                   \
        *ret_op = op;                                                                              \
        *ret_sum = sum;                                                                            \
        return;
        CASE(COUNT_EQ, OP_EQ, SUM_COUNT)
        CASE(COUNT_NE, OP_NE, SUM_COUNT)
        CASE(COUNT_GT, OP_GT, SUM_COUNT)
        CASE(COUNT_LE, OP_LE, SUM_COUNT)
        CASE(SHARE_EQ, OP_EQ, SUM_SHARE)
        CASE(SHARE_GT, OP_GT, SUM_SHARE)
        CASE(SHARE_LE, OP_LE, SUM_SHARE)
        CASE(SUM_EQ, OP_EQ, SUM_VALUE)
        CASE(SUM_GT, OP_GT, SUM_VALUE)
        CASE(SUM_LE, OP_LE, SUM_VALUE)
#undef CASE
    default:
        KS_ASSERT(!"not a filtering rollup");
    }
}

static inline double filtered(enum filter_op op, enum filter_sum sum, double v, double limit)
{
    bool hit = op == OP_EQ   ? v == limit
               : op == OP_NE ? v != limit
               : op == OP_GT ? v > limit
                             : v <= limit;
    return hit ? sum == SUM_VALUE ? v : 1 : 0;
}

/* With one argument for all points the samples are filtered once and summed as any others. */
ks_err ksi_k_filter(struct ksi_rollup *r, double *out)
{
    enum filter_op op = OP_EQ;
    enum filter_sum sum = SUM_COUNT;
    filter_of(r->cfg->func, &op, &sum);
    if (r->cfg->args[0].steps) {
        for (uint32_t k = 0; k < r->points; k++) {
            double limit = r->cfg->args[0].steps[k];
            out[k] = 0;
            for (uint32_t i = r->lo[k]; i < r->hi[k]; i++)
                out[k] += filtered(op, sum, r->values[i], limit);
        }
    } else {
        double *x = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *x);
        if (!x)
            return KS_ENOMEM;
        double limit = r->cfg->args[0].value;
        for (uint32_t i = 0; i < r->n; i++)
            x[i] = filtered(op, sum, r->values[i], limit);
        KS_TRY(ksi_window_sums(r, x, r->lo, r->hi, out));
    }
    if (sum == SUM_SHARE)
        for (uint32_t k = 0; k < r->points; k++)
            out[k] /= (double)(r->hi[k] - r->lo[k]);
    blank_empty(r, out);
    return KS_OK;
}
