/*
 * The engine: one store of metrics on disk and in memory. Opens and recovers, takes writes, gives
 * read views, runs the background work. Any thread may call anything but open and close.
 */
#ifndef KS_ENGINE_ENGINE_H
#define KS_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/labels.h"
#include "engine/write_batch.h"
#include "index/matcher.h"
#include "index/series_index.h"
#include "retention/rules.h"
#include "storage/metric_data.h"
#include "sys/pool.h"
#include "sys/vfs.h"
#include "wal/wal.h"

struct ks_engine;
struct ks_signal;

struct ks_engine_opts {
    struct ks_vfs *vfs;          /* NULL: ks_vfs_posix() */
    const char *dir;             /* made when absent */
    int64_t retention_ms;        /* 0 = 31 days; min 1 day */
    int64_t future_retention_ms; /* 0 = 2 days */
    int64_t dedup_interval_ms;   /* 0 = exact duplicates only */
    enum ks_wal_sync wal_sync;
    bool wal_repair;
    uint64_t wal_max_replay_bytes; /* 0 = 512 MiB */
    uint64_t wal_segment_bytes;    /* 0 = 64 MiB */
    uint64_t memory_bytes;         /* budget of the whole engine; 0 = 60 % of the limit */
    uint64_t min_free_disk_bytes;  /* read-only below; 0 = 100 MB */
    uint64_t max_disk_bytes;       /* 0 = no limit; oldest days go first */
    /* Rules by selector: copied and compiled at open (retention/rules.h). */
    const struct ks_retention_rule *retention_rules;
    size_t retention_rule_count;
    const struct ks_downsample_rule *downsample_rules;
    size_t downsample_rule_count;
    int64_t flush_interval_ms; /* 0 = 30 min: head to parts at the latest */
    int64_t series_idle_ms; /* 0 = 1 h: series that nothing came for since, whatever its time, leave
                               the head at the next flush */
    unsigned shards;        /* 0 = by cores */
    struct ks_pool *pool;   /* merges and flushes in parallel; NULL: the caller's thread does it */
    int64_t snapshots_max_age_ms; /* older snapshots go; 0 = they stay */
    bool no_background;           /* tests: nothing runs by itself, call ks_engine_tick */
    uint32_t max_series;          /* 0 = by memory */
    const struct ks_signal
        *signals; /* logs, traces: engine/signal.h; copied, their self borrowed */
    size_t signal_count;
    uint64_t identity_cache_bytes; /* label sets queries met, kept for the next ones; 0 =
                                      memory_bytes / 16, at most 256 MiB */
};

KS_NODISCARD ks_err ks_engine_open(const struct ks_engine_opts *opts, struct ks_engine **ret);
/* Checkpoint and close. The handle is gone in any case. */
ks_err ks_engine_close(struct ks_engine *e);

/* --- writing --- */
struct ks_write_result {
    uint64_t stored, too_old, too_new;
    uint64_t series_created,
        series_refused; /* refused: max_series (no error) or memory (KS_EAGAIN) */
};
/*
 * Stores a batch and returns when it is durable by the WAL's policy. A sample outside retention is
 * dropped and counted.
 *
 * Errors    KS_EREADONLY disk guard, KS_ENOSPC, KS_ECLOSED the log failed, KS_EAGAIN memory
 * pressure: nothing of the batch is acknowledged (some of it may be stored; storing it again is
 * harmless).
 */
KS_NODISCARD ks_err ks_engine_write(struct ks_engine *e, struct ks_write_batch *batch,
                                    struct ks_write_result *ret);

/* --- reading --- */
/* What bounds a read: checked often. A query owns one. */
struct ks_read_ctx {
    int64_t deadline_mono_ms; /* 0 = none */
    _Atomic int *cancel;      /* not NULL and nonzero: KS_ECANCELED */
    uint64_t max_series;      /* 0 = none; over it KS_ELIMIT naming the limit */
    uint64_t max_samples;
    size_t max_bytes;              /* of one select; 0 = none; over it KS_ELIMIT naming the limit */
    _Atomic uint64_t samples_read; /* counted here */
};
KS_NODISCARD ks_err
ks_read_ctx_check(struct ks_read_ctx *ctx); /* KS_ETIMEDOUT | KS_ECANCELED; NULL is fine */

/* What of the samples of a selected series is needed; more may be told. */
enum ks_need {
    KS_NEED_ALL,
    KS_NEED_LAST, /* the last one of the range */
    /* The last one at or before since_ms, and those behind. When that one is less than near_ms away
     * from since_ms, and from there on no value falls and none is NaN, then of those behind only
     * the last of the range. Where values fall below zero in the open chunk all of the range come:
     * what such falls amount to depends on every sample before. */
    KS_NEED_EDGES
};

struct ks_select_opts {
    const struct ks_tenant *tenants; /* NULL: all tenants */
    size_t tenant_count;
    const struct ks_selector *selectors; /* any of them; count 0 = every series */
    size_t selector_count;
    int64_t min_ms, max_ms;  /* inclusive */
    struct ks_read_ctx *ctx; /* may be NULL */
    bool no_counts;    /* label names and values: whether one occurs is enough, row_count is 1. A
                          select: which series there are is all that is asked, none has chunks */
    enum ks_need need; /* of reads of exactly the select's range; others get all of theirs, but for
                          what lies before the last sample at or before since_ms */
    int64_t since_ms, near_ms; /* KS_NEED_EDGES: since_ms lies in the range */
};

/* With all tenants asked for: takes the filters on vm_account_id and vm_project_id out of the
 * selectors and sets the tenants they choose. What it sets lives in the arena. KS_EINVAL:
 * alternatives that choose different tenants. */
KS_NODISCARD ks_err ks_engine_narrow_tenants(struct ks_engine *e, struct ks_select_opts *o,
                                             struct ks_arena *arena);

/* A pinned, consistent view of the matching series. Immutable: many threads may read different
 * series at once. */
struct ks_series_set;
KS_NODISCARD ks_err ks_engine_select(struct ks_engine *e, const struct ks_select_opts *opts,
                                     struct ks_series_set **ret);
void ks_series_set_free(struct ks_series_set *s);
size_t ks_series_set_count(const struct ks_series_set *s);
/* Label bytes of series i (canonical), valid while the set lives; written when first asked for:
 * KS_ENOMEM. Series are in no particular order. */
KS_NODISCARD ks_err ks_series_set_labels(const struct ks_series_set *s, size_t i,
                                         struct ks_slice *ret);
struct ks_tenant ks_series_set_tenant(const struct ks_series_set *s, size_t i);

/* 64 bits of its identity: a hash of tenant and labels, the same in every set. */
uint64_t ks_series_set_key(const struct ks_series_set *s, size_t i);

/*
 * Groups series by some of their labels, without looking at the text of each. Groups are numbered
 * in the order of their first series; a key is the canonical label bytes its series have in common.
 */
struct ks_group_by {
    const struct ks_slice *names;
    size_t count;
    bool keep;      /* the labels named make the key; else all others do */
    bool drop_name; /* __name__ is not of it, whatever is named */
};
struct ks_series_groups {
    uint32_t *of; /* by series */
    struct ks_slice *keys;
    size_t count;
};
/* Answers in the arena. One thread. */
KS_NODISCARD ks_err ks_series_set_groups(const struct ks_series_set *s,
                                         const struct ks_group_by *by, struct ks_arena *a,
                                         struct ks_series_groups *ret);

/* Samples as parallel arrays; reuse one per thread. Zero-initialise. */
struct ks_samples {
    int64_t *times;
    double *values;
    size_t count, cap;
    size_t uncounted; /* read, and not yet in the query's samples_read: counted in lots */
    struct ks_times_memo memo;
    /* What is known of them without a look. */
    uint64_t times_id;         /* of no other times, of no other count; 0: nothing is known */
    size_t plain, rising;      /* so many from the first on: none is NaN; and none is below its
                                  predecessor */
    struct ks_read_from *from; /* heap: the chunks the times came from (engine/read.c) */
};
void ks_samples_done(struct ks_samples *s);
/* Counts what is left, for who wants to know samples_read. */
static inline void ks_samples_settle(struct ks_samples *s, struct ks_read_ctx *ctx)
{
    atomic_fetch_add(&ctx->samples_read, s->uncounted);
    s->uncounted = 0;
}
/*
 * The samples of series i in [min_ms, max_ms] (within the select's range), ascending and unique in
 * time: of several at one time the larger value wins, a stale marker loses (VictoriaMetrics' rule);
 * dedup interval applied. Replaces what `out` held.
 */
KS_NODISCARD ks_err ks_series_read(struct ks_series_set *s, size_t i, int64_t min_ms,
                                   int64_t max_ms, struct ks_samples *out);

/*
 * Native histograms of a series: ks_series_read() does not give them. Ascending and unique in time,
 * arrays from the arena; a number and a histogram may share a time. Of several at one time the one
 * with the larger count wins, a stale marker loses. One counts as 1 + buckets / 8 samples.
 */
struct ks_histogram_run {
    int64_t *times;
    struct ks_histogram *items;
    size_t count;
};
bool ks_series_has_histograms(const struct ks_series_set *s, size_t i);
KS_NODISCARD ks_err ks_series_read_histograms(struct ks_series_set *s, size_t i, int64_t min_ms,
                                              int64_t max_ms, struct ks_arena *arena,
                                              struct ks_histogram_run *ret);

/* One chunk of a series as the planner sees it. */
struct ks_chunk_view {
    int64_t min_ms, max_ms;
    uint32_t sample_count;
    bool overlaps; /* shares time with another chunk of the series, or aggregates may not stand for
                      its samples: decode */
    const struct ks_chunk_agg *agg; /* set unless overlaps */
};
/* Chunks of series i in order of min_ms; agg of a chunk that does not overlap may stand for its
 * samples. */
size_t ks_series_chunk_count(const struct ks_series_set *s, size_t i);
struct ks_chunk_view ks_series_chunk(const struct ks_series_set *s, size_t i, size_t chunk);

/* Label names and values over the series that match and have samples (day granularity on disk) in
 * the range. Each once, ascending; row_count = series carrying it, at least approximately. */
KS_NODISCARD ks_err ks_engine_label_names(struct ks_engine *e, const struct ks_select_opts *opts,
                                          ks_label_fn fn, void *arg);
KS_NODISCARD ks_err ks_engine_label_values(struct ks_engine *e, const struct ks_select_opts *opts,
                                           struct ks_slice name, ks_label_fn fn, void *arg);
KS_NODISCARD ks_err ks_engine_tenants(struct ks_engine *e, int64_t min_ms, int64_t max_ms,
                                      ks_tenant_fn fn, void *arg);

/* --- housekeeping --- */
/* Hides all samples of the matching series stored so far; space is freed by merges. ret: series
 * touched. */
KS_NODISCARD ks_err ks_engine_delete(struct ks_engine *e, const struct ks_select_opts *opts,
                                     uint64_t *ret_series);
/* Head to parts and a checkpoint: a restart replays nothing older. */
KS_NODISCARD ks_err ks_engine_flush(struct ks_engine *e);
/* Merges every day's parts into one per size cap. day_prefix like "2026_11" or "" for all. */
KS_NODISCARD ks_err ks_engine_merge(struct ks_engine *e, const char *day_prefix);
/* One round of background work: flush when due, merges, retention, disk guard. */
KS_NODISCARD ks_err ks_engine_tick(struct ks_engine *e);

/* Snapshots: hard links under dir/snapshots/NAME, complete and readable as a data folder. */
KS_NODISCARD ks_err ks_engine_snapshot_create(struct ks_engine *e, char ret_name[64]);
typedef bool (*ks_snapshot_fn)(void *arg, const char *name);
KS_NODISCARD ks_err ks_engine_snapshot_list(struct ks_engine *e, ks_snapshot_fn fn, void *arg);
KS_NODISCARD ks_err ks_engine_snapshot_delete(struct ks_engine *e, const char *name);

struct ks_engine_stats {
    uint64_t active_series; /* in the head */
    uint64_t series_created_total, rows_added_total, rows_too_old_total, rows_too_new_total;
    uint64_t head_samples, part_samples, part_count;
    uint64_t data_bytes, index_bytes, wal_bytes, head_memory_bytes;
    uint64_t l1_hits, l1_misses;
    uint64_t flushes_total, merges_total, merged_rows_total, active_merges, quarantined_parts;
    uint64_t cache_hits, cache_misses, cache_bytes, cache_budget_bytes;
    uint64_t free_disk_bytes, total_disk_bytes;
    uint64_t wal_replay_bytes, recovery_ms;
    bool read_only;
};
void ks_engine_get_stats(struct ks_engine *e, struct ks_engine_stats *ret);
int64_t ks_engine_min_time_ms(struct ks_engine *e); /* start of retention */
/* The pool given at open, for queries to spread over; may be NULL. */
struct ks_pool *ks_engine_pool(struct ks_engine *e);

/* --- keeping results of closed ranges (engine/past.h) --- */
/*
 * Asks that changes at or before until_ms be noted from now on; call it before the select a result
 * comes from. Returns the version to remember with the result.
 */
uint64_t ks_engine_past_watch(struct ks_engine *e, int64_t until_ms);
/* Where the earliest change since that version lies that touches [min_ms, max_ms], at or before it;
 * INT64_MAX: nowhere; INT64_MIN: maybe everywhere. */
int64_t ks_engine_past_changed(struct ks_engine *e, uint64_t since, int64_t min_ms, int64_t max_ms);
/* Before this time samples may vanish or thin out by age alone. */
int64_t ks_engine_stable_from_ms(struct ks_engine *e);
int64_t ks_engine_dedup_ms(struct ks_engine *e); /* the interval in effect; 0: none */

#endif
