/*
 * The newest exemplars, in memory: a ring bounded by count and bytes; the oldest go first. Any
 * thread.
 */
#ifndef KS_API_EXEMPLARS_H
#define KS_API_EXEMPLARS_H

#include "base/labels.h"

struct ks_exemplar {
    struct ks_tenant tenant;
    struct ks_slice series_raw; /* raw labels (api/ingest/ingest.h) of the series */
    struct ks_slice raw;        /* raw labels of the exemplar itself: trace_id and the like */
    double value;
    int64_t time_ms;
};

struct ks_exemplar_ring;
KS_NODISCARD ks_err ks_exemplars_new(size_t max_count, size_t max_bytes,
                                     struct ks_exemplar_ring **ret);
void ks_exemplars_free(struct ks_exemplar_ring *r);
/* Copies. extra labels override the series' own. An exemplar over 64 KiB is dropped silently. */
KS_NODISCARD ks_err ks_exemplars_add(struct ks_exemplar_ring *r, const struct ks_exemplar *x,
                                     const struct ks_label *extra, size_t extra_count);
/* Oldest first. series_raw given to fn is canonical label bytes, not raw. false stops. Under the
 * ring's lock. */
typedef bool (*ks_exemplar_fn)(void *arg, const struct ks_exemplar *x);
void ks_exemplars_each(struct ks_exemplar_ring *r, ks_exemplar_fn fn, void *arg);

#endif
