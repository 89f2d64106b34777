/*
 * Native histograms in the head: beside its chunk of numbers a series may have an open chunk of
 * histograms, a list of records (docs/format/histogram-chunk.md), and those that came late. The two
 * kinds do not know of each other: each has times of its own that ascend, both leave as sealed
 * chunks. All under the shard's lock.
 */
#ifndef KS_ENGINE_HEAD_HIST_H
#define KS_ENGINE_HEAD_HIST_H

#include "engine/head.h"

struct ksi_hist {
    struct ks_buf open; /* per histogram: zigzag time less the one before, record against it */
    struct ks_buf late; /* per histogram: zigzag time, record that stands alone */
    int64_t first_ts, last_ts; /* of the open chunk */
    int64_t late_min_ts, late_max_ts;
    uint32_t count, weight, late_count; /* weight: buckets and bounds of the open chunk */
    uint32_t seen;                      /* as of a series */
    uint8_t window;                     /* as of a slab */
    struct ks_histogram last;           /* of the open chunk; its arrays are `block` */
    void *block;
    size_t block_bytes;
};

static inline struct ksi_hist *ksi_hist_at(const struct ksi_shard *s, uint32_t local)
{
    return local < s->hist_cap ? s->hists[local] : NULL;
}

/* Stores a histogram with a sound layout. KS_ENOMEM leaves the series usable. */
KS_NODISCARD ks_err ksi_hist_append(struct ksi_shard *s, uint32_t local, int64_t ts,
                                    const struct ks_histogram *h, enum ksi_append *ret);
/* All that the series holds, or what came late, becomes sealed chunks. */
KS_NODISCARD ks_err ksi_hist_seal(struct ksi_shard *s, uint32_t local);
KS_NODISCARD ks_err ksi_hist_seal_late(struct ksi_shard *s, uint32_t local);
void ksi_hist_drop(struct ksi_shard *s, uint32_t local);
/* Of all series; the shard goes. */
void ksi_hist_done(struct ksi_shard *s);

/* Open (or late) bytes back into times and histograms with room for count; arrays from the arena.
 * The bytes may be hostile. */
KS_NODISCARD ks_err ksi_hist_decode(struct ks_slice bytes, uint32_t count, bool late,
                                    struct ks_arena *arena, int64_t *ret_times,
                                    struct ks_histogram *ret);

/* Checkpoint bytes of one series that has histograms, local id excluded. */
void ksi_hist_save(const struct ksi_hist *x, struct ks_buf *out);
KS_NODISCARD ks_err ksi_hist_load(struct ksi_shard *s, uint32_t local, struct ks_reader *r);

#endif
