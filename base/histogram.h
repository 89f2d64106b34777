/*
 * A native histogram: one sample that holds a whole distribution, as Prometheus 3.5 defines it.
 * Exponential buckets (schema -4..8, each power of two cut in 2^schema buckets) or custom bounds
 * (schema -53).
 *
 * Integer and float histograms are kept apart so that both are exact: an integer one has u64 counts
 * and its buckets as deltas (each against its predecessor, the first of a side against 0, across
 * spans), a float one has absolute doubles.
 *
 * Ownership: arrays live in an arena of the maker. Spans and custom values may be shared between
 * histograms and are never changed in place; buckets belong to one histogram. All functions are
 * pure; any thread. Text forms: base/histogram_text.h.
 */
#ifndef KS_BASE_HISTOGRAM_H
#define KS_BASE_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define KS_HISTOGRAM_SCHEMA_MIN (-4)
#define KS_HISTOGRAM_SCHEMA_MAX 8
#define KS_HISTOGRAM_CUSTOM     (-53)
/* Buckets of both sides together, and custom bounds. Real ones have some hundreds; hostile spans
 * claim billions. */
#define KS_HISTOGRAM_BUCKETS_MAX 16384
#define KS_HISTOGRAM_CUSTOM_MAX  8192

/* What the writer says about counter resets before this sample. On disk and on the wire: never
 * renumber. */
enum ks_histogram_hint {
    KS_HISTOGRAM_UNKNOWN = 0,
    KS_HISTOGRAM_RESET = 1,
    KS_HISTOGRAM_NOT_RESET = 2,
    KS_HISTOGRAM_GAUGE = 3,
};

/* length buckets in a row. offset: buckets left out since the end of the span before; of the first
 * span its index. */
struct ks_histogram_span {
    int32_t offset;
    uint32_t length;
};

struct ks_histogram_side {
    const struct ks_histogram_span *spans;
    uint32_t span_count, bucket_count;
    union {
        int64_t *deltas; /* of an integer histogram */
        double *counts;  /* of a float histogram */
    };
};

union ks_histogram_count {
    uint64_t u;
    double f;
};

struct ks_histogram {
    int32_t schema;
    uint8_t hint; /* enum ks_histogram_hint */
    bool is_float;
    uint32_t custom_count;
    const double *custom_values; /* upper bounds, ascending, without +Inf; schema -53 only */
    double zero_threshold, sum;
    union ks_histogram_count zero_count, count;
    struct ks_histogram_side positive, negative;
};

static inline bool ks_histogram_is_custom(const struct ks_histogram *h)
{
    return h->schema == KS_HISTOGRAM_CUSTOM;
}
bool ks_histogram_schema_valid(int32_t schema);

/* "This series ended": the sum is the stale marker. */
bool ks_histogram_is_stale(const struct ks_histogram *h);
/* The stale sample Prometheus writes: empty, integer or float. */
struct ks_histogram ks_histogram_stale(bool is_float);

/*
 * Can the arrays be walked at all: spans name exactly the buckets, in ascending order, with indexes
 * inside int32, within the limits above. The least that codecs and walkers need. KS_EINVAL with
 * Prometheus' words, KS_ELIMIT.
 */
KS_NODISCARD ks_err ks_histogram_check_layout(const struct ks_histogram *h);
/* All that Prometheus demands before it stores one (and the above): schema, bounds, no negative
 * bucket, count against buckets. */
KS_NODISCARD ks_err ks_histogram_validate(const struct ks_histogram *h);

/* Every bit, the hint and the cut of the spans included. */
bool ks_histogram_identical(const struct ks_histogram *a, const struct ks_histogram *b);
/* Prometheus' equality: bits of the numbers, the same buckets however the spans are cut; not the
 * hint. Kinds must agree. */
bool ks_histogram_equal(const struct ks_histogram *a, const struct ks_histogram *b);
bool ks_histogram_same_bounds(const struct ks_histogram *a, const struct ks_histogram *b);
/* Equal in all but the numbers that change from sample to sample: what a chunk stores once. */
bool ks_histogram_same_layout(const struct ks_histogram *a, const struct ks_histogram *b);

/* A copy that owns all its arrays. KS_ENOMEM, KS_ELIMIT of the arena (below too). */
KS_NODISCARD ks_err ks_histogram_copy(struct ks_arena *arena, const struct ks_histogram *h,
                                      struct ks_histogram *ret);
/* The same with new buckets only; spans and bounds are shared. */
KS_NODISCARD ks_err ks_histogram_copy_buckets(struct ks_arena *arena, const struct ks_histogram *h,
                                              struct ks_histogram *ret);
/* A float histogram with the same numbers (u64 rounds above 2^53); a float one is copied. Spans and
 * bounds are shared. */
KS_NODISCARD ks_err ks_histogram_to_float(struct ks_arena *arena, const struct ks_histogram *h,
                                          struct ks_histogram *ret);
/*
 * Drops empty buckets, except runs of at most max_empty between two others: these are kept or made,
 * so that spans apart by no more become one. New arrays from the arena; nothing changes when it is
 * compact already. KS_ELIMIT too many buckets.
 */
KS_NODISCARD ks_err ks_histogram_compact(struct ks_arena *arena, uint32_t max_empty,
                                         struct ks_histogram *h);

/* Upper bound of bucket `index` as an absolute value (custom: as is; -Inf below 0, +Inf behind the
 * last). Any index is safe. */
double ks_histogram_bound(const struct ks_histogram *h, int32_t index);

struct ks_histogram_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};

/* Where a walk over one side stands. For either kind of histogram; ascending index unless `down`.
 */
struct ks_histogram_walk {
    const struct ks_histogram_side *side;
    uint32_t span, in_span, bucket;
    int64_t index;  /* of the current bucket; modulo nothing: checked layouts stay inside int32 */
    int64_t number; /* integer histograms: its absolute count */
    bool is_float, down;
};
struct ks_histogram_walk ks_histogram_walk(const struct ks_histogram *h,
                                           const struct ks_histogram_side *side, bool down);
/* Steps to the next bucket; its absolute count in *ret (integers also in ->number), its index in
 * *ret_index. */
bool ks_histogram_step(struct ks_histogram_walk *w, int32_t *ret_index, double *ret);

/* All buckets by value: negative, zero (when it has observations), positive. Bounds inside the zero
 * bucket move to its edge. */
struct ks_histogram_cursor {
    const struct ks_histogram *h;
    struct ks_histogram_walk walk;
    bool down;
    uint8_t state;
};
struct ks_histogram_cursor ks_histogram_cursor(const struct ks_histogram *h, bool down);
bool ks_histogram_next(struct ks_histogram_cursor *c, struct ks_histogram_bucket *ret);
/* The bounds of one bucket of one side. */
struct ks_histogram_bucket ks_histogram_bucket_at(const struct ks_histogram *h, bool positive,
                                                  int32_t index, double count);

static inline double ks_histogram_count_f64(const struct ks_histogram *h)
{
    return h->is_float ? h->count.f : (double)h->count.u;
}
static inline double ks_histogram_zero_f64(const struct ks_histogram *h)
{
    return h->is_float ? h->zero_count.f : (double)h->zero_count.u;
}

#endif
