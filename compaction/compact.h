/*
 * Merging metric parts of one day into one: series in order, chunks copied as they are where they do not overlap, decoded and folded
 * where they do. On the way deleted rows and samples outside their series' retention are left out, the dedup interval applied, short
 * neighbouring chunks joined, and old data downsampled.
 */
#ifndef KS_COMPACTION_COMPACT_H
#define KS_COMPACTION_COMPACT_H

#include <stdatomic.h>

#include "index/metric_part.h"

struct ks_compact_input {
    struct ks_mpart *part;
    const roaring_bitmap_t *deleted; /* rows to leave out; may be NULL */
};

struct ks_compact_opts {
    struct ks_vfs *vfs;
    const char *path;          /* of the new part; its folder exists */
    int level;                 /* of the new part */
    int64_t dedup_interval_ms; /* ≤ 1: equal times only */
    int64_t resolution_ms;     /* > 0: downsample: one sample per aligned interval, see retention/ and docs */
    /* Oldest time to keep of a series (INT64_MIN: all); NULL: keep all. */
    int64_t (*keep_from_ms)(void *arg, struct ks_tenant tenant, struct ks_slice label_bytes);
    void *arg;
    _Atomic int *stop;         /* not NULL and nonzero: KS_ECANCELED soon */
};

struct ks_compact_result {
    uint64_t bytes, samples_in, samples_out, series, chunks_copied, chunks_rewritten;
    bool empty; /* nothing was left: no file was made */
};

/* Errors: KS_ECORRUPT names the input file; on any error no file is left. One thread. */
KS_NODISCARD ks_err ks_compact_merge(const struct ks_compact_opts *o, const struct ks_compact_input *inputs, size_t count,
                                     struct ks_compact_result *ret);

/* --- what to merge ------------------------------------------------------------------------------------------------ */
struct ks_compact_candidate {
    uint64_t id, bytes;
    int64_t day;
    uint8_t level, resolution;
    bool has_deleted;
    double deleted_share; /* of rows */
};

struct ks_compact_policy {
    int64_t today;           /* UTC day number */
    int64_t now_ms;
    uint64_t max_part_bytes; /* parts are not merged beyond; 0 = 32 GiB */
    bool force;              /* ks_engine_merge: everything of a day into one */
};

/*
 * Chooses one merge: fills pick[] with indexes into list and the level of the result. Returns how many (0: nothing is due). L0 parts of a day
 * are merged by 4 or more into L1, L1 parts likewise, and a day that ended over an hour ago into one L2 part: every sample is rewritten at
 * most three times.
 */
size_t ks_compact_pick(const struct ks_compact_candidate *list, size_t count, const struct ks_compact_policy *policy,
                       size_t *pick, int *ret_level);

#endif
