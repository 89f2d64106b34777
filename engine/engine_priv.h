/*
 * Inside the engine.
 *
 * Locks, in the order they are taken: commit_lock (one structural change at a time: flush, merge
 * publish, delete, snapshot) → shard locks (one at a time) → live index / L1 (their own) ;
 * list_lock (the part list pointer) is a leaf. No lock but commit_lock is held over file I/O; the
 * log's append may wait for its buffers under a shard lock.
 */
#ifndef KS_ENGINE_ENGINE_PRIV_H
#define KS_ENGINE_ENGINE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/head.h"
#include "engine/ident.h"
#include "engine/l1.h"
#include "engine/parts.h"
#include "engine/past.h"
#include "engine/signal.h"
#include "index/live_index.h"
#include "storage/manifest.h"

/* Version of what the engine writes into manifest properties, checkpoints and records. */
enum { KSI_ENGINE_FORMAT = 1 };

struct ks_engine {
    struct ks_engine_opts opts; /* with defaults filled in; texts owned */
    struct ks_rules *rules;     /* NULL: none */
    struct ks_vfs *vfs;
    char *dir;
    struct ks_file *lock_file;
    struct ks_cache *cache;
    struct ks_wal *wal;
    struct ks_live_index *live;
    struct ks_l1 l1;
    struct ksi_shard *shards;
    uint32_t shard_count;
    /* Rounds of dropping series, per shard. Under the shard's lock it goes odd, L1 is purged, it
     * goes even. Writers read it before their L1 lookup and compare under the shard's lock: equal
     * means every sid found is still the same series. */
    _Atomic uint64_t *drop_epochs;

    pthread_mutex_t commit_lock;
    struct ks_manifest manifest; /* under commit_lock */
    /* Storing a manifest failed after it may have taken its place: files it names must stay until
     * another one is stored. */
    _Atomic bool manifest_unsure;

    struct ks_signal signals[KS_SIGNALS_MAX];
    size_t signal_count;

    struct ksi_part_store parts;
    struct ksi_ident_cache idents;
    struct ksi_past past;

    /* memory_full: no new series; memory_over: no writes. */
    _Atomic bool read_only, memory_full, memory_over;
    _Atomic int64_t last_flush_mono_ms;
    int64_t snapshots_seen_mono_ms; /* the keeper's own */
    _Atomic uint64_t free_disk_bytes, total_disk_bytes;
    _Atomic uint64_t rows_added, rows_too_old, rows_too_new, series_created, l1_hits, l1_misses;
    _Atomic uint64_t flushes, merges, merged_rows, active_merges, quarantined;
    uint64_t replay_bytes, recovery_ms;
    ks_lsn checkpoint_lsn; /* lowest LSN a restart needs; under commit_lock */

    _Atomic int stop_work; /* closing: long jobs give up */
    pthread_t job_threads[2];
    unsigned job_count;
    pthread_mutex_t job_lock;
    pthread_cond_t job_wake;
    bool job_stop; /* under job_lock */
};

static inline struct ksi_shard *ksi_shard_of_sid(struct ks_engine *e, uint32_t sid)
{
    return &e->shards[ksi_sid_shard(sid, e->shard_count)];
}

/* engine/write.c */
/*
 * Recovery: series under the sids they had, many at a time. One that is there already with the same
 * labels is fine. adds is reordered. After an error the engine is only good for closing.
 */
KS_NODISCARD ks_err ksi_restore_series(struct ks_engine *e, struct ksi_shard *s,
                                       struct ks_live_add *adds, size_t count);

/* engine/checkpoint.c */
/* Appends the state of a shard's series, and their local ids as an array, under its lock. */
KS_NODISCARD ks_err ksi_checkpoint_freeze(struct ksi_shard *s, struct ks_buf *state,
                                          struct ks_buf *locals);
/* Writes a frozen shard; the labels of its series come from the live index. */
KS_NODISCARD ks_err ksi_checkpoint_put(struct ks_engine *e, struct ks_part_writer *w,
                                       uint32_t shard, ks_lsn cut, struct ks_slice locals,
                                       struct ks_slice state);
/* The same for native histograms, which most checkpoints have none of: shards in order, first_page
 * counts on. */
KS_NODISCARD ks_err ksi_checkpoint_freeze_histograms(struct ksi_shard *s, struct ks_buf *out);
KS_NODISCARD ks_err ksi_checkpoint_put_histograms(struct ks_part_writer *w, uint32_t shard,
                                                  struct ks_slice state, size_t *first_page);
/* Loads a checkpoint into empty shards; cuts[shard] gets the first LSN to replay. */
KS_NODISCARD ks_err ksi_checkpoint_load(struct ks_engine *e, const char *path, ks_lsn *cuts);

/* Its pieces, from hostile bytes: a page of series, all of a shard's state, its histograms. */
KS_NODISCARD ks_err ksi_checkpoint_load_labels(struct ks_engine *e, struct ksi_shard *s,
                                               struct ks_slice raw);
KS_NODISCARD ks_err ksi_checkpoint_load_state(struct ksi_shard *s, struct ks_slice raw);

KS_NODISCARD ks_err ksi_checkpoint_load_histograms(struct ksi_shard *s, struct ks_slice raw);

/* engine/flush.c */
struct ksi_flush_opts {
    bool seal_all;                /* close every open chunk too */
    const roaring_bitmap_t *seal; /* close the open chunks of these sids */
    bool drop_idle;               /* let go of series without samples for long */
};
/* Under commit_lock. */
KS_NODISCARD ks_err ksi_flush_locked(struct ks_engine *e, const struct ksi_flush_opts *opts);

/* engine/quarantine.c */
/* Moves the file of a damaged part aside, telling the last error as the reason. */
KS_NODISCARD ks_err ksi_quarantine_file(struct ks_engine *e, const char *path, uint64_t id);
/* Notes that err came up reading the part: KS_ECORRUPT has it examined. */
void ksi_part_suspect(struct ksi_part *p, ks_err err);
/* Reads the suspects through; what proves damaged leaves the store. Takes commit_lock. */
KS_NODISCARD ks_err ksi_quarantine_suspects(struct ks_engine *e, bool *ret_any);

/* engine/snapshot.c */
/* Removes the snapshots older than the option says. */
KS_NODISCARD ks_err ksi_snapshots_expire(struct ks_engine *e, int64_t now_ms);

/* engine/jobs.c */
KS_NODISCARD ks_err ksi_jobs_start(struct ks_engine *e);
void ksi_jobs_stop(struct ks_engine *e);
uint64_t ksi_head_bytes(struct ks_engine *e);
uint64_t ksi_series_in_use(struct ks_engine *e);

/* engine/signal.c */
KS_NODISCARD ks_err ksi_signals_init(struct ks_engine *e, const struct ks_signal *signals,
                                     size_t count);
/* Loads all; from becomes the lowest LSN any of them wants. */
KS_NODISCARD ks_err ksi_signals_load(struct ks_engine *e, ks_lsn *from);
KS_NODISCARD ks_err ksi_signals_replay(struct ks_engine *e, const struct ks_wal_record *rec);
KS_NODISCARD ks_err ksi_signals_start(struct ks_engine *e);
KS_NODISCARD ks_err ksi_signals_flush(struct ks_engine *e);
KS_NODISCARD ks_err ksi_signals_tick(struct ks_engine *e);
KS_NODISCARD ks_err ksi_signals_merge(struct ks_engine *e);
KS_NODISCARD ks_err ksi_signals_snapshot(struct ks_engine *e, const char *dir);
void ksi_signals_stop(struct ks_engine *e);
void ksi_signals_close(struct ks_engine *e);
/* Lets go of the log nobody needs any more. Under commit_lock. */
void ksi_release_log(struct ks_engine *e);

/* Paths: dir/name… into out[4096]. */
KS_NODISCARD ks_err ksi_path(char out[4096], const char *dir, const char *fmt, ...) KS_PRINTF(3, 4);

#endif
