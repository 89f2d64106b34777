/*
 * A batch of samples on its way in. The decoder fills series and samples without parsing labels: a
 * series is known by a hash over its label bytes as sent; only when the engine has not seen that
 * hash does it ask `resolve` for the labels.
 */
#ifndef KS_ENGINE_WRITE_BATCH_H
#define KS_ENGINE_WRITE_BATCH_H

#include "base/err.h"
#include "base/histogram.h"
#include "base/labels.h"

struct ks_write_series {
    ks_hash128 raw_key;  /* ks_raw_key() over tenant, extra labels and the label bytes as sent */
    struct ks_slice raw; /* the decoder's own: what resolve needs */
    struct ks_tenant tenant;
    uint32_t first_sample, sample_count; /* a run of `samples` */
};

struct ks_write_sample {
    int64_t time_ms;
    double value;
};

/* A native histogram of series[series], its arrays borrowed until the batch is written. */
struct ks_write_histogram {
    uint32_t series;
    int64_t time_ms;
    struct ks_histogram h;
};

struct ks_write_batch;
/*
 * Gives the labels of series i: appends to *ret (slices valid until the next call), not canonical,
 * extra labels included. KS_OK with ret->count = 0 drops the series (limits, relabeling): the
 * resolver has counted why. Must not change series[i].tenant after the key was made.
 */
typedef ks_err (*ks_resolve_fn)(struct ks_write_batch *b, size_t i, struct ks_labels *ret);

/* Arrays are owned by the filler and reused between batches. */
struct ks_write_batch {
    struct ks_write_series *series;
    size_t series_count, series_cap;
    struct ks_write_sample *samples;
    size_t sample_count, sample_cap;
    struct ks_write_histogram *histograms; /* in the order of their series */
    size_t histogram_count, histogram_cap;
    ks_resolve_fn resolve;
    void *arg;
    struct ks_arena
        *arena; /* scratch for resolve and the engine; reset by the owner after the write */
};

/* Room for more series and samples. */
KS_NODISCARD ks_err ks_write_batch_reserve(struct ks_write_batch *b, size_t more_series,
                                           size_t more_samples);
/* Adds a histogram to the series added last. It has been validated (ks_histogram_validate). */
KS_NODISCARD ks_err ks_write_batch_histogram(struct ks_write_batch *b, int64_t time_ms,
                                             const struct ks_histogram *h);
void ks_write_batch_reset(struct ks_write_batch *b);
void ks_write_batch_done(struct ks_write_batch *b);

/* A secret seed, new in each process, keeps clients from making keys collide. extra: bytes that
 * stand for the request's extra labels and whatever else changes what `raw` resolves to. */
ks_hash128 ks_raw_key(struct ks_tenant tenant, struct ks_slice extra, struct ks_slice raw);

#endif
