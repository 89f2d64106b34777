/*
 * Opening: lock, manifest, parts, checkpoint, replay of the log. What a crash left half done is
 * swept; what is damaged is set aside or refused with a text that says what to do. Closing makes a
 * checkpoint, so that the next start replays nothing.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/commit.h"
#include "engine/engine_priv.h"
#include "engine/replay.h"
#include "sys/clock.h"

enum { IDENTS_MAX = 256 << 20, MIN_SHARDS = 4, MAX_SHARDS = 128 };

static uint64_t or_default(uint64_t v, uint64_t fallback)
{
    return v ? v : fallback;
}

static void fill_defaults(struct ks_engine *e, const struct ks_engine_opts *opts)
{
    struct ks_engine_opts *o = &e->opts;
    *o = *opts;
    o->retention_rules = NULL; /* the caller's; e->rules has them */
    o->downsample_rules = NULL;
    e->vfs = o->vfs ? o->vfs : ks_vfs_posix();
    o->retention_ms = (int64_t)or_default((uint64_t)o->retention_ms, 31 * KS_MS_DAY);
    if (o->retention_ms < KS_MS_DAY)
        o->retention_ms = KS_MS_DAY;
    o->future_retention_ms = (int64_t)or_default((uint64_t)o->future_retention_ms, 2 * KS_MS_DAY);
    o->wal_max_replay_bytes = or_default(o->wal_max_replay_bytes, 512u << 20);
    o->memory_bytes = or_default(o->memory_bytes, ks_memory_limit_bytes() / 10 * 6);
    o->min_free_disk_bytes = or_default(o->min_free_disk_bytes, 100000000);
    o->flush_interval_ms = (int64_t)or_default((uint64_t)o->flush_interval_ms, 30 * KS_MS_MINUTE);
    o->series_idle_ms = (int64_t)or_default((uint64_t)o->series_idle_ms, KS_MS_HOUR);
    if (!o->shards) {
        o->shards = MIN_SHARDS;
        while (o->shards < 2 * ks_cpu_count() && o->shards < MAX_SHARDS)
            o->shards *= 2;
    }
}

/* --- recovery --- */

/* Ids below the end that nobody uses may be given again. */
static void collect_free_ids(struct ks_engine *e)
{
    for (uint32_t i = 0; i < e->shard_count; i++)
        for (uint32_t local = 0; local < e->shards[i].local_end; local++)
            if (!ksi_series_at(&e->shards[i], local)->slab)
                ksi_series_recycle(&e->shards[i], local);
}

/* Opens the log and brings the head to where it ended. */
static ks_err replay_log(struct ks_engine *e, const ks_lsn *cuts, ks_lsn from,
                         struct ksi_replay_stats *stats)
{
    char path[4096];
    struct ksi_replay *r;
    KS_TRY(ksi_path(path, e->dir, "wal"));
    KS_TRY(ksi_replay_new(e, cuts, &r));
    struct ks_wal_opts w = {.vfs = e->vfs,
                            .dir = path,
                            .sync = e->opts.wal_sync,
                            .segment_bytes = e->opts.wal_segment_bytes,
                            .repair = e->opts.wal_repair};
    ks_err err = ks_wal_open(&w, from, ksi_replay_record, r, &e->wal);
    err = ksi_replay_finish(r, err, stats);
    e->replay_bytes = stats->bytes;
    if (stats->orphans && err == KS_OK)
        ks_log(
            KS_LOG_ERROR, "engine",
            "%llu logged samples belong to series that were lost with the damage and are left out",
            (unsigned long long)stats->orphans);
    return err;
}

static ks_err recover(struct ks_engine *e)
{
    char path[4096];
    int64_t start = ks_mono_ms();
    struct ksi_replay_stats stats = {0};
    ks_lsn *cuts = ks_memdup(e->manifest.cuts, e->shard_count * sizeof *cuts), from;
    if (!cuts)
        return KS_ENOMEM;
    ks_err err = KS_OK;
    if (e->manifest.checkpoint_id) {
        err = ksi_path(path, e->dir, "checkpoint/%016llx.ckpt",
                       (unsigned long long)e->manifest.checkpoint_id);
        if (err == KS_OK)
            err = ksi_checkpoint_load(e, path, cuts);
    }
    int64_t loaded = ks_mono_ms();
    from = cuts[0];
    for (uint32_t i = 1; i < e->shard_count; i++)
        from = cuts[i] < from ? cuts[i] : from;
    e->checkpoint_lsn = from;
    if (err == KS_OK)
        err = ksi_signals_load(e, &from);
    if (err == KS_OK)
        err = replay_log(e, cuts, from, &stats);
    ks_free(cuts);
    KS_TRY(err);
    KS_TRY(ksi_signals_start(e));
    collect_free_ids(e);
    e->recovery_ms = (uint64_t)(ks_mono_ms() - start);
    ks_log(KS_LOG_INFO, "engine",
           "recovered parts=%zu series=%llu checkpoint_ms=%lld replayed_records=%llu samples=%llu "
           "bytes=%llu wal=%s ms=%llu",
           e->manifest.part_count, (unsigned long long)ksi_series_in_use(e),
           (long long)(loaded - start), (unsigned long long)stats.records,
           (unsigned long long)stats.samples, (unsigned long long)stats.bytes,
           ks_wal_method(e->wal), (unsigned long long)e->recovery_ms);
    return KS_OK;
}

/* --- open, close --- */

static ks_err make_head(struct ks_engine *e)
{
    e->shard_count = e->manifest.shard_count;
    KS_TRY(ks_live_index_new(&e->live));
    KS_TRY(ksi_l1_init(&e->l1));
    if (!(e->drop_epochs = ks_zalloc_array(e->shard_count, sizeof *e->drop_epochs)) ||
        !(e->shards = ks_aligned_alloc(64, e->shard_count * sizeof *e->shards)))
        return KS_ENOMEM;
    memset(e->shards, 0, e->shard_count * sizeof *e->shards); /* before anything can fail */
    for (uint32_t i = 0; i < e->shard_count; i++)
        KS_TRY(ksi_shard_init(&e->shards[i], i, e->shard_count));
    return KS_OK;
}

static ks_err make_folders(struct ks_engine *e)
{
    static const char *const folders[] = {"parts", "checkpoint", "tombs", "snapshots"};
    char path[4096];
    KS_TRY(ks_vfs_mkdirs(e->vfs, e->dir));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        KS_TRY(ksi_path(path, e->dir, "%s", folders[i]));
        KS_TRY(ks_vfs_mkdirs(e->vfs, path));
    }
    KS_TRY(ksi_path(path, e->dir, "LOCK"));
    return e->vfs->ops->lock(e->vfs, path, &e->lock_file);
}

static ks_err open_all(struct ks_engine *e, const struct ks_engine_opts *opts)
{
    fill_defaults(e, opts);
    KS_TRY(ks_rules_new(opts->retention_rules, opts->retention_rule_count, opts->downsample_rules,
                        opts->downsample_rule_count, opts->dedup_interval_ms, &e->rules));
    if (!opts->dir || !opts->dir[0])
        return ks_fail(KS_EINVAL, "no data folder given");
    if (!(e->dir = ks_strdup(opts->dir)))
        return KS_ENOMEM;
    e->opts.dir = e->dir;
    KS_TRY(ksi_signals_init(e, opts->signals, opts->signal_count));
    KS_TRY(make_folders(e));
    KS_TRY(ks_cache_new(e->opts.memory_bytes / 4, &e->cache));
    /* Enough for the series dashboards and rules ask for again and again, not for every series
     * there is. */
    uint64_t share = e->opts.memory_bytes / 16, idents = share < IDENTS_MAX ? share : IDENTS_MAX;
    ksi_ident_cache_init(&e->idents, (size_t)or_default(e->opts.identity_cache_bytes, idents));
    KS_TRY(ksi_parts_init(&e->parts));
    KS_TRY(ksi_store_load(e));
    KS_TRY(make_head(e));
    KS_TRY(recover(e));
    /* What a repair left out must not be asked for again: the next start finds a checkpoint without
     * it. */
    if (e->opts.wal_repair)
        KS_TRY(ks_engine_flush(e));
    atomic_store(&e->last_flush_mono_ms, ks_mono_ms());
    return ksi_jobs_start(e);
}

static void release(struct ks_engine *e)
{
    for (uint32_t i = 0; e->shards && i < e->shard_count; i++)
        ksi_shard_done(&e->shards[i]);
    ks_free(e->shards);
    ks_free((void *)e->drop_epochs);
    ksi_l1_done(&e->l1);
    ks_live_index_free(e->live);
    ksi_signals_close(e);
    ksi_parts_done(&e->parts);
    ksi_ident_cache_done(&e->idents);
    ks_cache_free(e->cache);
    ks_manifest_done(&e->manifest);
    ks_close(e->lock_file);
    ks_rules_free(e->rules);
    ks_free(e->dir);
    ksi_past_done(&e->past);
    pthread_mutex_destroy(&e->commit_lock);
    pthread_mutex_destroy(&e->job_lock);
    pthread_cond_destroy(&e->job_wake);
    ks_free(e);
}

ks_err ks_engine_open(const struct ks_engine_opts *opts, struct ks_engine **ret)
{
    struct ks_engine *e = ks_zalloc(sizeof *e);
    if (!e)
        return KS_ENOMEM;
    ksi_past_init(&e->past);
    pthread_mutex_init(&e->commit_lock, NULL);
    pthread_mutex_init(&e->job_lock, NULL);
    /* Waits go by the monotonic clock: a wall clock set back must not stop the background work. */
    pthread_condattr_t by_mono;
    pthread_condattr_init(&by_mono);
    pthread_condattr_setclock(&by_mono, CLOCK_MONOTONIC);
    pthread_cond_init(&e->job_wake, &by_mono);
    pthread_condattr_destroy(&by_mono);
    ks_err err = open_all(e, opts);
    if (err != KS_OK) {
        ksi_signals_stop(e);
        if (e->wal)
            ks_wal_close(e->wal);
        release(e);
        return err;
    }
    *ret = e;
    return KS_OK;
}

ks_err ks_engine_close(struct ks_engine *e)
{
    if (!e)
        return KS_OK;
    ksi_jobs_stop(e);
    ksi_signals_stop(e);
    /* With the log closed for good or the disk full there can be no checkpoint: the log still has
     * everything. */
    ks_err err = ks_wal_status(e->wal) == KS_OK ? ks_engine_flush(e) : ks_wal_status(e->wal);
    ks_err closed = ks_wal_close(e->wal);
    release(e);
    return err == KS_OK ? closed : err;
}
