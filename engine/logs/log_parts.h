/*
 * The parts of a log store as the engine holds them: as engine/parts.h does for metrics, refcounted
 * handles in an immutable, refcounted list. A part no list names any more is removed from disk when
 * its last reader lets go.
 */
#ifndef KS_ENGINE_LOGS_LOG_PARTS_H
#define KS_ENGINE_LOGS_LOG_PARTS_H

#include <stdatomic.h>

#include "engine/parts.h"
#include "storage/logs/log_part.h"
#include "storage/manifest.h"

struct ks_stream_id;

struct ksi_lpart {
    _Atomic uint32_t refs;
    _Atomic bool doomed;  /* no longer listed: unlink at the last unref */
    _Atomic bool suspect; /* a read found damage: to be examined */
    struct ks_vfs *vfs;
    uint64_t id;
    int64_t day;
    uint8_t level;
    uint64_t bytes, rows;
    int64_t min_ns, max_ns;
    /* What retention rules would erase, as last looked up. */
    _Atomic int64_t judged_at_ms;
    struct ks_lpart *p;
    struct ks_stream_id *ids; /* of its streams */
    char path[];
};

struct ksi_lpart_view {
    struct ksi_lpart *part;
    struct ksi_tombs *tombs; /* NULL: none */
    uint64_t tombs_id;
};

struct ksi_lpart_list {
    _Atomic uint32_t refs;
    size_t count;
    struct ksi_lpart_view views[];
};

KS_NODISCARD ks_err ksi_lpart_open(struct ks_vfs *vfs, struct ks_cache *cache, const char *path,
                                   const struct ks_manifest_part *mp, struct ksi_lpart **ret);
void ksi_lpart_unref(struct ksi_lpart *p);

KS_NODISCARD ks_err ksi_lparts_new_list(size_t cap, struct ksi_lpart_list **ret);
void ksi_lparts_unpin(struct ksi_lpart_list *l);

#endif
