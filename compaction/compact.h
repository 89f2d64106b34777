/*
 * Merging metric parts of one day into one: series in order, chunks copied as they are where they
 * do not overlap, decoded and folded where they do. On the way deleted rows and samples outside
 * their series' retention are left out, the dedup interval applied, short neighbouring chunks
 * joined, and old data downsampled.
 */
#ifndef KS_COMPACTION_COMPACT_H
#define KS_COMPACTION_COMPACT_H

#include <stdatomic.h>

#include "index/metric_part.h"

struct ks_compact_input {
    struct ks_mpart *part;
    const roaring_bitmap_t *deleted; /* rows to leave out; may be NULL */
};

/* What becomes of a series' samples. */
struct ks_compact_series {
    int64_t keep_from_ms;  /* older samples are left out; INT64_MIN: none */
    int64_t resolution_ms; /* > 1: of the samples in (k·i - i, k·i] the last one stays */
};

struct ks_compact_opts {
    struct ks_vfs *vfs;
    const char *path;          /* of the new part; its folder exists */
    int level;                 /* of the new part */
    int64_t dedup_interval_ms; /* ≤ 1: equal times only */
    /* Fills *ret (preset to "keep all as it is") for one series; NULL: keep all. */
    void (*series)(void *arg, struct ks_tenant tenant, struct ks_slice label_bytes,
                   struct ks_compact_series *ret);
    void *arg;
    _Atomic int *stop; /* not NULL and nonzero: KS_ECANCELED soon */
};

struct ks_compact_result {
    uint64_t bytes, samples_in, samples_out, series, chunks_copied, chunks_rewritten;
    bool empty; /* nothing was left: no file was made */
};

/* Errors: KS_ECORRUPT names the input file; on any error no file is left. One thread. */
KS_NODISCARD ks_err ks_compact_merge(const struct ks_compact_opts *o,
                                     const struct ks_compact_input *inputs, size_t count,
                                     struct ks_compact_result *ret);

/* --- what to merge --- */
struct ks_compact_candidate {
    uint64_t id, bytes;
    int64_t day;        /* UTC day number */
    int64_t created_ms; /* wall clock */
    uint8_t level;
    bool has_deleted;
    double deleted_share; /* of rows: hidden by deletes or outside their retention */
    bool thin_due;        /* its day has reached a coarser downsampling than it went through */
};

struct ks_compact_policy {
    int64_t now_ms;
    uint64_t max_part_bytes; /* parts are not merged beyond; 0 = 32 GiB */
    bool force;              /* ks_engine_merge: everything of a day into one */
};

/*
 * Chooses one merge: fills pick[] (room for count) with indexes into list and the level of the
 * result. Returns how many; 0: nothing is due. Applied again and again it ends.
 *
 *   L0 → L1       4 or more L0 parts of a day
 *   L1 → L1       8 or more L1 parts of about one size, so that a day's big part is not rewritten
 * for every small one day → L2      a day that is over and has been left alone for an hour becomes
 * one part per max_part_bytes. Late samples join it once they are half as much, or after twelve
 * quiet hours a sixteenth; until then they wait beside it. alone         an L2 part with more than
 * 10 % of rows gone or due for downsampling, any part with 30 % of rows gone
 *
 * Samples that come in order are rewritten at most four times.
 */
size_t ks_compact_pick(const struct ks_compact_candidate *list, size_t count,
                       const struct ks_compact_policy *policy, size_t *pick, int *ret_level);

#endif
