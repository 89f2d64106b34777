/*
 * Images: a generation as it stands in memory, for snapshots. What can be derived is not in them:
 * tables, filters, what a slot knows of its spans. See docs/format/trace-snapshot.md.
 */
#ifndef KS_STORAGE_TRACES_IMAGE_PRIV_H
#define KS_STORAGE_TRACES_IMAGE_PRIV_H

#include "storage/traces/ring_priv.h"

enum { KSI_IMAGE_SLOT_BYTES = 40, KSI_IMAGE_HEAD_MAX = 256 };

struct ksi_image_head {
    struct ks_tenant tenant;
    bool kept, has_bytes;
    uint64_t first_seq, first_live, lsn, base_ns;
    uint64_t slots, dict, keys, shapes, resources, scopes, patterns, text_chunks, rec_chunks;
};

/* Checks the tables and every span that a slot leads to, hostile bytes all of them, and makes what
 * is derived. g has its chunks. tn: whose names are counted. Any thread. */
KS_NODISCARD ks_err ksi_image_build(const struct ksi_image_head *h, struct ks_slice table,
                                    struct ks_slice slots, struct ksi_tenant *tn, size_t max_names,
                                    struct ksi_gen *g);

#endif
