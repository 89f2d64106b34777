/*
 * The root record of a store: which parts and which checkpoint make it up. A small text file
 * replaced atomically and durably; its last line is the XXH3-64 of what stands above it. The one
 * before is kept as MANIFEST.prev. Format: docs/format/manifest.md.
 */
#ifndef KS_STORAGE_MANIFEST_H
#define KS_STORAGE_MANIFEST_H

#include "base/err.h"
#include "sys/vfs.h"

enum { KS_MANIFEST_FORMAT = 1 };

struct ks_manifest_part {
    uint64_t id;
    int64_t day; /* UTC day number */
    uint8_t level;
    uint32_t resolution; /* 0 as it came, else which downsampling its samples went through */
    uint64_t tombs_id;   /* file of hidden rows, 0 = none */
};

struct ks_manifest {
    uint8_t store_id[16];
    uint64_t next_id; /* for parts, checkpoints, tombstone files */
    uint32_t shard_count;
    uint64_t checkpoint_id; /* 0: none yet */
    uint64_t *cuts;         /* shard_count first LSNs to replay */
    struct ks_manifest_part *parts;
    size_t part_count, part_cap;
};

/* KS_ENOTFOUND when the folder has none; KS_ECORRUPT names the line; KS_EUNSUPPORTED a newer
 * format. */
KS_NODISCARD ks_err ks_manifest_load(struct ks_vfs *vfs, const char *dir, struct ks_manifest *ret);
KS_NODISCARD ks_err ks_manifest_store(struct ks_vfs *vfs, const char *dir,
                                      const struct ks_manifest *m);
KS_NODISCARD ks_err ks_manifest_parse(struct ks_slice text, struct ks_manifest *ret);
KS_NODISCARD ks_err ks_manifest_copy(const struct ks_manifest *m, struct ks_manifest *ret);
KS_NODISCARD ks_err ks_manifest_add_part(struct ks_manifest *m, struct ks_manifest_part part);
void ks_manifest_done(struct ks_manifest *m);

#endif
