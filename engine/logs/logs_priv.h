/*
 * Inside the log stores.
 *
 * Locks of a store, in the order they are taken: commit_lock (one structural change at a time:
 * flush, publishing a merge, delete, retention) → lock (rows in memory and the pointer to the list
 * of parts: one lock, so that a reader sees a row in memory or on disk and never in both). Only
 * commit_lock is held over file I/O; the log's append may wait for its buffers under lock.
 */
#ifndef KS_ENGINE_LOGS_LOGS_PRIV_H
#define KS_ENGINE_LOGS_LOGS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/logs/log_parts.h"
#include "engine/logs/log_store.h"
#include "engine/logs/segment.h"
#include "retention/rules.h"
#include "storage/manifest.h"

#define KSI_NS_MS  1000000ll
#define KSI_NS_DAY (86400000ll * KSI_NS_MS)
static inline int64_t ksi_day_of_ns(int64_t ns)
{
    return ns / KSI_NS_DAY - (ns % KSI_NS_DAY < 0);
}

enum {
    KSI_SEGMENT_ROWS = 32 << 10,
    KSI_SEGMENT_BYTES = 4 << 20,
    KSI_FRAME_TARGET = 512 << 10,
};

/* Batches seen lately, by hash; a ring by time and a table by hash. */
struct ksi_dedup {
    struct ksi_seen {
        ks_hash128 hash;
        int64_t at_ms;
    } * seen;
    size_t count, cap; /* a power of two; open addressing, swept when half full */
};

struct ks_log_store {
    struct ks_logs *logs;
    char name[33];
    struct ks_log_store_opts opts; /* defaults filled in; rules not here */
    struct ks_rules *rules;        /* NULL: none */
    int64_t keep_ms;               /* the longest of retention and rules */
    char *dir;

    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct ksi_segment **segs; /* the last one is open */
    size_t seg_count, seg_cap;
    struct ksi_segment **retired; /* on disk already, kept for live tail */
    size_t retired_count, retired_cap;
    uint64_t arrival; /* rows that arrived so far */
    struct ksi_dedup dedup;
    struct ksi_lpart_list *list;
    int64_t last_flush_mono_ms;

    pthread_mutex_t commit_lock;
    struct ks_manifest manifest; /* shard_count 1; cuts[0] is the durable cut */
    bool manifest_unsure;        /* engine/logs/log_commit.c */
    char **leftover;             /* files to remove once it is sure again */
    size_t leftover_count, leftover_cap;
    _Atomic uint64_t cut;         /* of the manifest, for needs(); 0: no manifest yet */
    _Atomic uint32_t known[8192]; /* streams created: a guess by hash */

    _Atomic uint64_t rows_stored, rows_too_old, rows_too_new, streams_created;
    _Atomic uint64_t memory_rows, memory_bytes;
    _Atomic uint64_t merges, merged_rows, active_merges, flushes, quarantined;
};

struct ks_logs {
    struct ks_engine *e; /* from load() on */
    struct ks_wal *wal;  /* from start() on */
    uint64_t memory_bytes;
    int64_t flush_interval_ms;
    size_t store_count;
    struct ks_log_store *stores;

    pthread_mutex_t lock; /* encoders, flusher */
    pthread_cond_t wake, drained;
    struct ksi_frame_enc *encoders[16];
    size_t encoder_count;
    pthread_t flusher;
    bool has_flusher, stop;
};

/* engine/logs/logs.c */
uint64_t ksi_logs_memory(struct ks_logs *l);
/* Waits until there is room in memory, for as long as is decent; KS_EAGAIN. */
KS_NODISCARD ks_err ksi_logs_wait_room(struct ks_logs *l);
void ksi_logs_pressure(struct ks_logs *l);

/* engine/logs/log_write.c */
KS_NODISCARD ks_err ksi_log_replay(struct ks_log_store *s, const struct ks_wal_record *rec);
/* Oldest and newest time that may be stored now. */
void ksi_log_window(struct ks_log_store *s, int64_t *ret_min_ns, int64_t *ret_max_ns);
int64_t ksi_log_first_day(struct ks_log_store *s); /* days before it are dropped */
void ksi_dedup_done(struct ksi_dedup *d);

/* engine/logs/scan.c */
enum { KSI_NO_PART = UINT32_MAX };
struct ksi_scan_block {
    uint32_t part;  /* of the pinned list; KSI_NO_PART: a segment */
    uint32_t index; /* of the part's block, or of the view */
    int64_t min_ns, max_ns;
    uint32_t rows;
    uint64_t bytes;
    uint32_t skip, end; /* rows of a segment by arrival: [skip, end) */
    bool all_streams;   /* every row's stream is wanted */
};
struct ksi_judged; /* verdicts by stream */
struct ks_log_scan {
    struct ks_log_store *store;
    struct ks_log_scan_opts opts;
    struct ks_tenant *tenants; /* copy */
    struct ksi_lpart_list *list;
    struct ksi_segment_view *views;
    size_t view_count;
    struct ksi_scan_block *blocks;
    size_t block_count, block_cap;
    int64_t now_ms;
    pthread_mutex_t judge_lock;
    struct ksi_judged *judged;
    size_t judged_count, judged_cap;
};
struct ksi_verdict {
    bool allowed;
    int64_t from_ns; /* older rows of the stream have expired */
};
/* What the scan says of a stream; asks the user once. */
KS_NODISCARD ks_err ksi_scan_judge(struct ks_log_scan *scan, const struct ks_log_stream *stream,
                                   struct ksi_verdict *ret);
/* A scan over what is on disk alone. */
KS_NODISCARD ks_err ksi_scan_parts(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                                   struct ks_log_scan **ret);

/* Stream i of a part. */
static inline struct ks_log_stream ksi_lpart_stream(const struct ksi_lpart *p, size_t i)
{
    const struct ks_lpart_stream *s = ks_lpart_stream(p->p, i);
    return (struct ks_log_stream){s->tenant, s->tags, p->ids[i]};
}

/* engine/logs/mem_block.c: a block over a view of a segment */
struct ksi_mem_block {
    struct ks_arena arena;
    uint32_t rows;
    int64_t *times;
    struct ks_log_stream *streams;
    size_t stream_count;
    uint32_t *of_row;
    struct ks_slice *names; /* ascending */
    size_t name_count;
    uint32_t *starts; /* name_count + 1: cells of a column */
    uint32_t *cell_rows;
    struct ks_slice *cell_values;
    struct ks_slice **columns; /* made so far */
};
void ksi_mem_block_init(struct ksi_mem_block *b);
void ksi_mem_block_done(struct ksi_mem_block *b);
KS_NODISCARD ks_err ksi_mem_block_open(struct ksi_mem_block *b,
                                       const struct ksi_segment_view *view);
KS_NODISCARD ks_err ksi_mem_block_column(struct ksi_mem_block *b, struct ks_slice name,
                                         struct ks_log_column *ret);
KS_NODISCARD ks_err ksi_mem_block_filter(struct ksi_mem_block *b, struct ks_slice name,
                                         const struct ks_log_pred *pred, uint64_t *bits);

#endif
