/*
 * Rollups: one series' raw samples in, values on the evaluation grid out.
 *
 * Two modes. MetricsQL answers as VictoriaMetrics 1.150 does: windows (t-d, t], the sample before
 * the window takes part in increase, rate, changes …, no extrapolation, windows and staleness
 * estimated from the samples. Strict answers as Prometheus 3.5 does: extrapolated rates,
 * compensated summation, stale markers end a series.
 *
 * Results have the bits of the direct per-window definition of the peer, whatever shortcut computed
 * them: sums run left to right in each window or are proven exact.
 *
 * Not here: reading samples, labels, subquery grids, the aggregation absent_over_time needs over
 * all series, annotations. Threads: a configuration is immutable and shared; a scratch belongs to
 * one thread.
 */
#ifndef KS_QUERY_PROMQL_ROLLUP_H
#define KS_QUERY_PROMQL_ROLLUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "query/promql/syntax/functions.h"

/* A scalar argument: the same at all grid points, or one per point. */
struct ks_rollup_arg {
    double value;
    const double *steps; /* NULL: value; else ks_rollup_points() of them */
};

struct ks_rollup_config {
    /*
     * A function of kind KS_FUNC_ROLLUP. Strict: KS_FN_DEFAULT_ROLLUP is the bare instant selector
     * and KS_FN_TIMESTAMP timestamp() of one; window_ms is then the lookback (5m). absent_over_time
     * gives 1 where this series has nothing.
     */
    enum ks_promql_func_id func;
    bool strict;
    bool subquery; /* MetricsQL: the samples are points of an inner query (every NaN is a hole,
                      stale or not) */
    int64_t start_ms, end_ms, step_ms; /* start ≤ end, step > 0; start == end: instant query */
    int64_t offset_ms;                 /* point t looks at the samples up to t - offset */
    int64_t window_ms;                 /* MetricsQL: 0 = none written; strict: > 0 */
    int64_t lookback_delta_ms;         /* MetricsQL max_lookback; 0 = none */
    int64_t min_staleness_ms;          /* MetricsQL -search.minStalenessInterval; 0 = none */

    /* Scalar arguments in the order written, without the series and without strings: phi; x; sf,
     * tf; t; phis… */
    const struct ks_rollup_arg *args;
    size_t arg_count;
    /* String arguments: quantiles_over_time and count_values_over_time label name; optional 2nd
     * argument of rollup, rollup_* and rollup_candlestick; empty = none. */
    struct ks_slice text;
    /* aggr_over_time: the function names. */
    const struct ks_slice *aggr_names;
    size_t aggr_count;
};

/* Working memory, reused from series to series. Zero-initialise. */
struct ks_rollup_buf {
    void *ptr;
    size_t cap; /* bytes */
};
enum { KS_ROLLUP_BUFS = 14 };
struct ks_rollup_trace;
struct ks_samples;
/* What the windows' bounds that lie in the scratch were found for. */
struct ks_rollup_bounds {
    uint64_t times_id; /* 0: of no use */
    int64_t first_ms, step_ms, window_ms;
    uint32_t points;
    uint64_t work;
    struct ks_rollup_spans {
        bool known, steady;
        uint32_t from, to;
        int64_t max_prev_ms;
    } spans; /* of rates: rollup_change.c */
};
/* How near a sample before a window must be to count, at times that were the last series'. */
struct ks_rollup_near {
    uint64_t times_id; /* 0: of no use */
    int64_t step_ms, max_prev_ms;
};
struct ks_rollup_scratch {
    struct ks_rollup_buf bufs[KS_ROLLUP_BUFS];
    struct ks_rollup_bounds bounds;
    struct ks_rollup_near near;
    struct ks_rollup_trace *trace; /* NULL: none wanted */
};
void ks_rollup_scratch_done(struct ks_rollup_scratch *s);

/* Checks function, grid and arguments, once per query. Errors: KS_EINVAL (text for the user). */
KS_NODISCARD ks_err ks_rollup_check(const struct ks_rollup_config *cfg);

/* Grid points of a checked configuration. */
static inline size_t ks_rollup_points(const struct ks_rollup_config *cfg)
{
    return (size_t)((cfg->end_ms - cfg->start_ms) / cfg->step_ms) + 1;
}

/*
 * The samples a run must be given, both ends inclusive: no fewer, and in MetricsQL mode no more
 * either, since the interval estimate and the neighbours of a window depend on them.
 */
void ks_rollup_fetch_range(const struct ks_rollup_config *cfg, int64_t *ret_min_ms,
                           int64_t *ret_max_ms);

/*
 * Fills out[0 .. ks_rollup_points()) for a rollup of one output. No point: a NaN (MetricsQL: any
 * NaN; strict: exactly KS_ABSENT_BITS, other NaNs are values).
 *
 * times, values   n samples, ascending and unique in time, as stored (stale markers included) or,
 * for a subquery, inner grid points (holes as KS_ABSENT_BITS, or left out). Borrowed. Errors
 * KS_EEXEC an argument value the function refuses (strict smoothing factors) | KS_ENOMEM. Cost O(n
 * + points) for most functions; windows are rescanned only by those whose result needs it (deriv,
 *           predict_linear, holt_winters, stddev, mad, mode, geomean, integrate, sums of
 * fractions).
 */
KS_NODISCARD ks_err ks_rollup_run(const struct ks_rollup_config *cfg, const int64_t *times,
                                  const double *values, size_t n, struct ks_rollup_scratch *s,
                                  double *out);

/* The same for what ks_series_read() gave: what is known of the samples is not looked at again. */
KS_NODISCARD ks_err ks_rollup_run_read(const struct ks_rollup_config *cfg,
                                       const struct ks_samples *samples,
                                       struct ks_rollup_scratch *s, double *out);

/* True for rollups that may give several series from one: use ks_rollup_run_multi (it takes the
 * others too). */
bool ks_rollup_is_multi(const struct ks_rollup_config *cfg);

struct ks_rollup_output {
    struct ks_slice label,
        value; /* set on the output series; empty label: none. Owned by the arena or the config */
    double *values; /* ks_rollup_points(), owned by the arena */
};
struct ks_rollup_outputs {
    struct ks_rollup_output *items;
    size_t count;
};
/*
 * Outputs of one series, in the arena: rollup* (label "rollup": min, max, avg), rollup_candlestick
 * (open, close, low, high), aggr_over_time (the names), quantiles_over_time,
 * count_values_over_time, histogram_over_time ("vmrange"). The last three give only the series that
 * have a point. Errors: as ks_rollup_run, and the arena's KS_ELIMIT.
 */
KS_NODISCARD ks_err ks_rollup_run_multi(const struct ks_rollup_config *cfg, const int64_t *times,
                                        const double *values, size_t n, struct ks_rollup_scratch *s,
                                        struct ks_arena *arena, struct ks_rollup_outputs *ret);

#endif
