/*
 * Arithmetic of native histograms in queries, with the results of Prometheus 3.5: add and subtract
 * across resolutions and zero buckets, scale, quantiles and fractions, rates over windows.
 *
 * All histograms here are float ones with a sound layout (ks_histogram_to_float,
 * ks_histogram_check_layout). A histogram named `h` that is changed owns its buckets
 * (ks_histogram_copy_buckets); spans and bounds are only ever replaced. Memory comes from the arena
 * given; adding equal layouts takes none. Errors are those of the arena alone: what Prometheus
 * annotates is told by bits in *notes, which are or-ed in. With a bit of KS_HIST_FATAL there is no
 * result: the series is left out of the answer. Threads: pure functions.
 */
#ifndef KS_QUERY_PROMQL_HISTOGRAM_MATH_H
#define KS_QUERY_PROMQL_HISTOGRAM_MATH_H

#include "base/histogram.h"

enum ks_hist_note {
    KS_HIST_MIXED_SCHEMAS = 1,    /* warning: exponential with custom buckets */
    KS_HIST_MIXED_BOUNDS = 2,     /* warning: custom buckets with different bounds */
    KS_HIST_NOT_COUNTER = 4,      /* warning: a gauge histogram where a counter is wanted */
    KS_HIST_NOT_GAUGE = 8,        /* warning: the other way round */
    KS_HIST_QUANTILE_NAN = 16,    /* info: NaN observations, the result is NaN */
    KS_HIST_QUANTILE_SKEWED = 32, /* info: NaN observations, the result is skewed higher */
    KS_HIST_FRACTION_NAN = 64,    /* info: NaN observations are in no fraction */
};
#define KS_HIST_FATAL (KS_HIST_MIXED_SCHEMAS | KS_HIST_MIXED_BOUNDS)

/* Prometheus' text for a note (one bit); the caller adds a blank and the metric name in quotes. */
const char *ks_hist_note_text(unsigned note);
bool ks_hist_note_is_warning(unsigned note);

/* h += other. The hint becomes what both have in common. */
KS_NODISCARD ks_err ks_hist_add(struct ks_arena *arena, struct ks_histogram *h,
                                const struct ks_histogram *other, unsigned *notes);
/* h -= other. The hint stays. */
KS_NODISCARD ks_err ks_hist_sub(struct ks_arena *arena, struct ks_histogram *h,
                                const struct ks_histogram *other, unsigned *notes);
void ks_hist_mul(struct ks_histogram *h, double factor);
/* By 0 all buckets go; counts become NaN or ±Inf. */
void ks_hist_div(struct ks_histogram *h, double divisor);
/* The n-th (2, 3, …) histogram into a running mean: avg and avg_over_time. */
KS_NODISCARD ks_err ks_hist_mean_add(struct ks_arena *arena, struct ks_histogram *mean,
                                     const struct ks_histogram *h, double n, unsigned *notes);
/* To a lower resolution; schema ≤ h->schema, both exponential. */
KS_NODISCARD ks_err ks_hist_reduce(struct ks_arena *arena, struct ks_histogram *h, int32_t schema);
/* What the zero count would be with a larger threshold; *threshold moves up to a bound when it cuts
 * a populated bucket. */
double ks_hist_zero_count_for(const struct ks_histogram *h, double *threshold);

/* Is there a counter reset between previous and h? The hint of h decides if it knows. */
bool ks_hist_detect_reset(const struct ks_histogram *h, const struct ks_histogram *previous);

double ks_hist_quantile(double q, const struct ks_histogram *h, unsigned *notes);
double ks_hist_fraction(double lower, double upper, const struct ks_histogram *h, unsigned *notes);
double ks_hist_avg(const struct ks_histogram *h);
double ks_hist_stdvar(const struct ks_histogram *h);
double ks_hist_stddev(const struct ks_histogram *h);

/* The histograms of one series in a window (start_ms, end_ms], times ascending, no stale ones. */
struct ks_hist_window {
    const struct ks_histogram *points;
    const int64_t *times_ms;
    size_t count;
    int64_t start_ms, end_ms;
};
enum ks_hist_rate { KS_HIST_DELTA, KS_HIST_INCREASE, KS_HIST_RATE };

/* delta, increase, rate, extrapolated. *ret_any is false when there is no result (fewer than two
 * points, or a fatal note). */
KS_NODISCARD ks_err ks_hist_rate(struct ks_arena *arena, const struct ks_hist_window *w,
                                 enum ks_hist_rate kind, struct ks_histogram *ret, bool *ret_any,
                                 unsigned *notes);
/* irate, or idelta: the last two points. */
KS_NODISCARD ks_err ks_hist_instant(struct ks_arena *arena, const struct ks_hist_window *w,
                                    bool rate, struct ks_histogram *ret, bool *ret_any,
                                    unsigned *notes);
KS_NODISCARD ks_err ks_hist_sum_over_time(struct ks_arena *arena, const struct ks_hist_window *w,
                                          struct ks_histogram *ret, bool *ret_any, unsigned *notes);
KS_NODISCARD ks_err ks_hist_avg_over_time(struct ks_arena *arena, const struct ks_hist_window *w,
                                          struct ks_histogram *ret, bool *ret_any, unsigned *notes);
size_t ks_hist_resets(const struct ks_hist_window *w);
size_t ks_hist_changes(const struct ks_hist_window *w);

#endif
