/*
 * Inside the rollups: one run over one series, its windows, and the kernels that fill the grid.
 * Kernels are pure functions of the run; they may use the scratch buffers named below, each kernel
 * knowing which are free.
 */
#ifndef KS_QUERY_PROMQL_ROLLUP_PRIV_H
#define KS_QUERY_PROMQL_ROLLUP_PRIV_H

#include <math.h>

#include "base/bytes.h"
#include "query/promql/promql.h"
#include "query/promql/rollup/rollup.h"

/* Scratch buffers by use. */
enum {
    KSI_BUF_TIMES,  /* samples without the dropped ones */
    KSI_BUF_VALUES, /* … their values; counters without resets */
    KSI_BUF_BOUNDS, /* lo and hi of every window */
    KSI_BUF_A,      /* free to kernels: derived values, prefix sums */
    KSI_BUF_B,
    KSI_BUF_C,
    KSI_BUF_SORT,          /* sorted windows and ranks (rollup_order.c) */
    KSI_BUF_OUT,           /* a second grid */
    KSI_BUF_REBUILT_TIMES, /* rollup_chunks.c: samples and stand-ins */
    KSI_BUF_REBUILT_VALUES,
    KSI_BUF_RANK,
    KSI_BUF_ROW,   /* eval_cached.c: a row of kept points */
    KSI_BUF_SPANS, /* rollup_change.c: seconds from a window's first to its last sample */
    KSI_BUF_COUNT,
};
_Static_assert((int)KSI_BUF_COUNT <= (int)KS_ROLLUP_BUFS, "one buffer per use");

/* NULL on failure (error recorded). Contents are not kept when it grows. */
void *ksi_rollup_buf(struct ks_rollup_scratch *s, int which, size_t count, size_t elem_size);

/* One series on the grid. */
struct ksi_rollup {
    const struct ks_rollup_config *cfg;
    struct ks_rollup_scratch *scratch;
    const int64_t *times;
    const double *values;
    uint64_t times_id; /* 0: of no other series */
    uint32_t n;
    uint32_t points;
    /* Window k holds samples lo[k] .. hi[k) and ends at end0 + k · step. Both arrays never
     * decrease. */
    const uint32_t *lo, *hi;
    int64_t end0, step, window;
    int64_t max_prev; /* a sample this near before the window counts as its predecessor */
    bool plain;       /* no value is NaN; else some may be */
    bool fell;        /* the counter was reset: values are not as stored */
    uint64_t work;    /* Σ (hi - lo): what scanning every window costs */
    /* Stand-ins among the samples (rollup_chunks.c): rank[i] samples of the series lie before
     * sample i; n + 1 entries. NULL: every sample is itself. */
    const uint32_t *rank;
};

typedef ks_err (*ksi_rollup_kernel)(struct ksi_rollup *r, double *out);

static inline double ksi_absent(void)
{
    return ks_f64_from_bits(KS_ABSENT_BITS);
}

/* One window. prev is NaN when no sample before the window is near enough; prev_ts is then where
 * nearness starts. */
struct ksi_window {
    uint32_t lo, hi, k;
    int64_t end, prev_ts;
    double prev;
};

static inline struct ksi_window ksi_window_at(const struct ksi_rollup *r, uint32_t k)
{
    struct ksi_window w = {.lo = r->lo[k], .hi = r->hi[k], .k = k};
    w.end = r->end0 + (int64_t)k * r->step;
    w.prev_ts = w.end - r->window - r->max_prev;
    w.prev = ksi_absent();
    if (w.lo > 0 && w.lo < r->n && r->times[w.lo - 1] > w.prev_ts) {
        w.prev = r->values[w.lo - 1];
        w.prev_ts = r->times[w.lo - 1];
    }
    return w;
}

/* The sample before the window however far, unless max_lookback forbids; NaN if none. */
static inline double ksi_real_prev(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->lo == 0)
        return ksi_absent();
    int64_t lookback = r->cfg->lookback_delta_ms;
    int64_t now = w->hi > w->lo ? r->times[w->lo] : w->end - r->window;
    if (lookback == 0 || now - r->times[w->lo - 1] < lookback)
        return r->values[w->lo - 1];
    return ksi_absent();
}

static inline double ksi_arg(const struct ksi_rollup *r, size_t i, uint32_t k)
{
    const struct ks_rollup_arg *a = &r->cfg->args[i];
    return a->steps ? a->steps[k] : a->value;
}

static inline double ksi_seconds(int64_t ms)
{
    return (double)ms / 1e3;
}

/* Defines a kernel that gives fn(run, window) at every point; fn is inlined. */
#define KSI_EACH_WINDOW(kernel, fn)                                                                \
    ks_err kernel(struct ksi_rollup *r, double *out)                                               \
    {                                                                                              \
        for (uint32_t k = 0; k < r->points; k++) {                                                 \
            struct ksi_window w = ksi_window_at(r, k);                                             \
            out[k] = fn(r, &w);                                                                    \
        }                                                                                          \
        return KS_OK;                                                                              \
    }

/* --- rollup_prepare.c: samples as the function sees them, windows --- */
struct ksi_rollup_input {
    const int64_t *times;
    const double *values;
    size_t n;
    uint64_t times_id; /* as in struct ks_samples, as are the next */
    size_t plain, rising;
};
KS_NODISCARD ks_err ksi_rollup_prepare(const struct ks_rollup_config *cfg,
                                       const struct ksi_rollup_input *in, bool remove_resets,
                                       struct ks_rollup_scratch *s, struct ksi_rollup *ret);
bool ksi_rollup_removes_resets(enum ks_promql_func_id func);
/* Functions whose window grows to the sample interval when the query wrote none. */
bool ksi_rollup_widens_window(enum ks_promql_func_id func);
/* Stretches an interval between samples to what still counts as neighbouring. */
int64_t ksi_max_prev_interval(const int64_t *times, size_t n, int64_t step);
/* v without counter resets, in place; max_gap_ms 0 = none. */
void ksi_remove_resets(double *v, const int64_t *t, size_t n, int64_t max_gap_ms);
bool ksi_has_nan(const double *v, size_t n);

/* --- rollup_sum.c: sums over windows with the bits of left-to-right addition --- */
/* out[k] = x[lo[k]] + … + x[hi[k]-1], starting at +0. Uses KSI_BUF_B. x must not be in it. */
KS_NODISCARD ks_err ksi_window_sums(struct ksi_rollup *r, const double *x, const uint32_t *lo,
                                    const uint32_t *hi, double *out);

/* --- rollup_order.c: order statistics --- */
double ksi_quantile_sorted(double phi, const double *sorted, size_t n);
/* tmp has room for n. No NaN among them. */
void ksi_sort_doubles(double *v, size_t n, double *tmp);
/* phis.count quantiles of every window, column by column: out[i] is grid i. */
KS_NODISCARD ks_err ksi_window_quantiles(struct ksi_rollup *r, const struct ks_rollup_arg *phis,
                                         size_t phi_count, double *const *out);

/* --- kernels --- */
ks_err ksi_k_last(struct ksi_rollup *r, double *out);
ks_err ksi_k_first(struct ksi_rollup *r, double *out);
ks_err ksi_k_count(struct ksi_rollup *r, double *out);
ks_err ksi_k_present(struct ksi_rollup *r, double *out);
ks_err ksi_k_absent(struct ksi_rollup *r, double *out);
ks_err ksi_k_tfirst(struct ksi_rollup *r, double *out);
ks_err ksi_k_tlast(struct ksi_rollup *r, double *out);
ks_err ksi_k_tlast_change(struct ksi_rollup *r, double *out);
ks_err ksi_k_lag(struct ksi_rollup *r, double *out);
ks_err ksi_k_lifetime(struct ksi_rollup *r, double *out);
ks_err ksi_k_scrape_interval(struct ksi_rollup *r, double *out);
ks_err ksi_k_duration(struct ksi_rollup *r, double *out);
ks_err ksi_k_stale_samples(struct ksi_rollup *r, double *out);
ks_err ksi_k_open(struct ksi_rollup *r, double *out);
ks_err ksi_k_close(struct ksi_rollup *r, double *out);
ks_err ksi_k_low(struct ksi_rollup *r, double *out);
ks_err ksi_k_high(struct ksi_rollup *r, double *out);

ks_err ksi_k_delta(struct ksi_rollup *r, double *out);
ks_err ksi_k_delta_prometheus(struct ksi_rollup *r, double *out);
ks_err ksi_k_increase_pure(struct ksi_rollup *r, double *out);
ks_err ksi_k_idelta(struct ksi_rollup *r, double *out);
ks_err ksi_k_ideriv(struct ksi_rollup *r, double *out);
ks_err ksi_k_deriv_fast(struct ksi_rollup *r, double *out);
ks_err ksi_k_rate_prometheus(struct ksi_rollup *r, double *out);
ks_err ksi_k_changes(struct ksi_rollup *r, double *out);
ks_err ksi_k_changes_prometheus(struct ksi_rollup *r, double *out);
ks_err ksi_k_increases(struct ksi_rollup *r, double *out);
ks_err ksi_k_resets(struct ksi_rollup *r, double *out);

ks_err ksi_k_sum(struct ksi_rollup *r, double *out);
ks_err ksi_k_avg(struct ksi_rollup *r, double *out);
ks_err ksi_k_sum2(struct ksi_rollup *r, double *out);
ks_err ksi_k_rate_over_sum(struct ksi_rollup *r, double *out);
ks_err ksi_k_ascent(struct ksi_rollup *r, double *out);
ks_err ksi_k_descent(struct ksi_rollup *r, double *out);
ks_err ksi_k_filter(struct ksi_rollup *r,
                    double *out); /* count_*, share_*, sum_* of eq, ne, gt, le */

ks_err ksi_k_min(struct ksi_rollup *r, double *out);
ks_err ksi_k_max(struct ksi_rollup *r, double *out);
ks_err ksi_k_range(struct ksi_rollup *r, double *out);
ks_err ksi_k_tmin(struct ksi_rollup *r, double *out);
ks_err ksi_k_tmax(struct ksi_rollup *r, double *out);
ks_err ksi_k_hoeffding_lower(struct ksi_rollup *r, double *out);
ks_err ksi_k_hoeffding_upper(struct ksi_rollup *r, double *out);

ks_err ksi_k_stdvar(struct ksi_rollup *r, double *out);
ks_err ksi_k_stddev(struct ksi_rollup *r, double *out);
ks_err ksi_k_zscore(struct ksi_rollup *r, double *out);
ks_err ksi_k_geomean(struct ksi_rollup *r, double *out);
ks_err ksi_k_integrate(struct ksi_rollup *r, double *out);
ks_err ksi_k_holt_winters(struct ksi_rollup *r, double *out);
ks_err ksi_k_deriv(struct ksi_rollup *r, double *out);
ks_err ksi_k_predict_linear(struct ksi_rollup *r, double *out);

ks_err ksi_k_quantile(struct ksi_rollup *r, double *out);
ks_err ksi_k_median(struct ksi_rollup *r, double *out);
ks_err ksi_k_mad(struct ksi_rollup *r, double *out);
ks_err ksi_k_mode(struct ksi_rollup *r, double *out);
ks_err ksi_k_distinct(struct ksi_rollup *r, double *out);
ks_err ksi_k_outlier_iqr(struct ksi_rollup *r, double *out);

/* --- rollup.c --- */
/* Samples before the window are fetched for it. */
bool ksi_rollup_looks_before(enum ks_promql_func_id func);

/* --- rollup_trace.c --- */
/* Fills the scratch's trace, if there is one, after the kernel ran. */
void ksi_rollup_trace(const struct ksi_rollup *r);

/* --- rollup_multi.c --- */
/* What a name in aggr_over_time means; KS_FN_COUNT when it may not be there. */
enum ks_promql_func_id ksi_aggr_func(struct ks_slice name);

/* The kernel of a single-output function; NULL when there is none in this mode. */
ksi_rollup_kernel ksi_rollup_kernel_of(enum ks_promql_func_id func, bool strict);
/* --- rollup_strict.c --- */
ksi_rollup_kernel ksi_strict_kernel_of(enum ks_promql_func_id func);

#endif
