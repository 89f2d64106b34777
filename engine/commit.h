/* One durable change of what the store consists of: the manifest first, then the lists in memory.
 * Under commit_lock. */
#ifndef KS_ENGINE_COMMIT_H
#define KS_ENGINE_COMMIT_H

#include "engine/engine_priv.h"

struct ksi_change {
    struct ksi_part *const *gone; /* leave the list; their files go with the last reader */
    size_t gone_count;
    struct ksi_part *const *fresh; /* published files; the list takes the references on success */
    size_t fresh_count;
    uint64_t checkpoint_id; /* 0: the checkpoint stays */
    const ks_lsn *cuts;     /* with checkpoint_id: per shard */
    struct ksi_tombs *const
        *tombs; /* NULL, or per view of the current list: new tombstones (NULL: unchanged) */
    const uint64_t *tombs_ids; /* with tombs: ids of their files */
};
/* On error nothing changed: the caller still owns what is fresh, and gives it to ksi_discard. */
KS_NODISCARD ks_err ksi_commit(struct ks_engine *e, const struct ksi_change *change);
/* Lets go of parts that did not become part of the store. Their files go too, unless a restart
 * might find a manifest that names them. */
void ksi_discard(struct ks_engine *e, struct ksi_part *const *fresh, size_t count);

/* Reads the manifest (or starts a new store), opens the parts, quarantines damaged ones, removes
 * files nobody names. */
KS_NODISCARD ks_err ksi_store_load(struct ks_engine *e);

/* dir/parts/2026_11_21/<id>.part; make: also creates the folder. */
KS_NODISCARD ks_err ksi_part_path(struct ks_engine *e, int64_t day, uint64_t id, bool make,
                                  char out[4096]);

#endif
