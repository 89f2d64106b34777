/* What a log store consists of on disk, and changes of it. */
#ifndef KS_ENGINE_LOGS_LOG_COMMIT_H
#define KS_ENGINE_LOGS_LOG_COMMIT_H

#include "engine/logs/logs_priv.h"

/* Reads the manifest and opens the parts; without one the store is new and has no cut yet. */
KS_NODISCARD ks_err ksi_log_store_load(struct ks_log_store *s);
/* The first manifest of a new store. */
KS_NODISCARD ks_err ksi_log_store_create(struct ks_log_store *s, ks_lsn cut);
/* Hard links to all of the store below dir. */
KS_NODISCARD ks_err ksi_log_snapshot(struct ks_log_store *s, const char *dir);

/* dir/parts/2026_11_21/<id>.part; make: also creates the folder. */
KS_NODISCARD ks_err ksi_log_part_path(struct ks_log_store *s, int64_t day, uint64_t id, bool make,
                                      char out[4096]);

struct ksi_log_change {
    struct ksi_lpart *const *gone;
    size_t gone_count;
    struct ksi_lpart *const *fresh; /* the list takes the references on success */
    size_t fresh_count;
    ks_lsn cut; /* 0: stays */
    /* Segments whose rows are now in `fresh`: they leave memory in the same moment. */
    size_t flushed_segments;        /* the first so many */
    struct ksi_tombs *const *tombs; /* NULL, or per view of the current list: new tombstones */
    const uint64_t *tombs_ids;
};
/* One durable change: the manifest first, then memory and list at once. Under commit_lock. On error
 * nothing changed: the caller gives what is fresh to ksi_log_discard. */
KS_NODISCARD ks_err ksi_log_commit(struct ks_log_store *s, const struct ksi_log_change *c);
void ksi_log_discard(struct ks_log_store *s, struct ksi_lpart *const *fresh, size_t count);
/* The same for tombstone files of a delete that failed; id 0: none. */
void ksi_log_discard_tombs(struct ks_log_store *s, const uint64_t *ids, size_t count);
/* Opens a part just written; when that fails its file goes. */
KS_NODISCARD ks_err ksi_log_open_fresh(struct ks_log_store *s, const char *path,
                                       const struct ks_manifest_part *mp, struct ksi_lpart **ret);
struct ksi_lpart_list *ksi_log_pin(struct ks_log_store *s);

/* Moves the file of a damaged part aside, telling the last error as the reason. */
KS_NODISCARD ks_err ksi_log_quarantine_file(struct ks_log_store *s, const char *path, uint64_t id);

#endif
