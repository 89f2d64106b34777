/*
 * Background work, on two threads: the keeper watches disk and memory, enforces retention and
 * flushes when due; the other merges. A merge may take minutes, and the promises of the keeper
 * (memory, replay, free disk) must not wait for it.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/time.h"
#include "engine/commit.h"
#include "engine/engine_priv.h"
#include "engine/merge.h"
#include "sys/clock.h"
#include "sys/thread.h"

enum {
    TICK_MS = 1000,
    SNAPSHOTS_MS = 60000, /* how often their age is looked at */
    MERGE_RETRY_MAX_MS = 300000,
    SEALED_FLUSH_BYTES = 128 << 20,
    PRESSURE_FLUSH_MS = 15000
};

int64_t ks_engine_min_time_ms(struct ks_engine *e)
{
    int64_t min = ks_now_ms() - e->opts.retention_ms;
    return min < 0 ? 0 : ks_day_of_ms(min) * KS_MS_DAY;
}

int64_t ks_engine_stable_from_ms(struct ks_engine *e)
{
    int64_t min = ks_engine_min_time_ms(e);
    if (!e->rules)
        return min;
    int64_t keep = ks_rules_youngest_ms(e->rules);
    int64_t ruled = keep == INT64_MAX ? min : ks_now_ms() - keep;
    return ruled > min ? ruled : min;
}

int64_t ks_engine_dedup_ms(struct ks_engine *e)
{
    return e->opts.dedup_interval_ms > 1 ? e->opts.dedup_interval_ms : 0;
}

uint64_t ksi_head_bytes(struct ks_engine *e)
{
    struct ks_live_index_stats ix;
    uint64_t bytes = ksi_l1_bytes(&e->l1);
    ks_live_index_get_stats(e->live, &ix);
    for (uint32_t i = 0; i < e->shard_count; i++) {
        struct ksi_shard *s = &e->shards[i];
        pthread_mutex_lock(&s->lock);
        bytes += s->bytes + s->block_count * KSI_BLOCK_SERIES * sizeof(struct ksi_series) +
                 (s->fp_mask + 1) * sizeof *s->fp_slots;
        pthread_mutex_unlock(&s->lock);
    }
    return bytes + ix.bytes;
}

uint64_t ksi_series_in_use(struct ks_engine *e)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < e->shard_count; i++) {
        pthread_mutex_lock(&e->shards[i].lock);
        n += e->shards[i].in_use;
        pthread_mutex_unlock(&e->shards[i].lock);
    }
    return n;
}

static bool flush_due(struct ks_engine *e)
{
    uint64_t sealed = 0, held = 0;
    for (uint32_t i = 0; i < e->shard_count; i++) {
        pthread_mutex_lock(&e->shards[i].lock);
        sealed += e->shards[i].sealed_bytes;
        held += e->shards[i].samples;
        pthread_mutex_unlock(&e->shards[i].lock);
    }
    if (sealed > SEALED_FLUSH_BYTES)
        return true;
    /* Short of memory: flush for what it frees, but not again and again when it frees nothing. */
    int64_t since_ms = ks_mono_ms() - atomic_load(&e->last_flush_mono_ms);
    if (atomic_load(&e->memory_full) && since_ms > PRESSURE_FLUSH_MS)
        return true;
    pthread_mutex_lock(&e->commit_lock);
    ks_lsn from = e->checkpoint_lsn;
    pthread_mutex_unlock(&e->commit_lock);
    if (ks_wal_bytes_since(e->wal, from) > e->opts.wal_max_replay_bytes / 4 * 3)
        return true;
    return held && since_ms > e->opts.flush_interval_ms;
}

static ks_err drop_parts(struct ks_engine *e, struct ksi_part_list *l,
                         bool (*old)(const struct ksi_part *, int64_t), int64_t arg)
{
    struct ksi_part *gone[256];
    size_t n = 0;
    for (size_t i = 0; i < l->count && n < sizeof gone / sizeof *gone; i++)
        if (old(l->views[i].part, arg))
            gone[n++] = l->views[i].part;
    if (!n)
        return KS_OK;
    struct ksi_change c = {.gone = gone, .gone_count = n};
    KS_TRY(ksi_commit(e, &c));
    ks_log(KS_LOG_INFO, "engine", "dropped %zu parts outside retention", n);
    return KS_OK;
}

static bool before_day(const struct ksi_part *p, int64_t day)
{
    return p->day < day;
}

static bool of_day(const struct ksi_part *p, int64_t day)
{
    return p->day == day;
}

/* Oldest days go while the store is over -retention.maxDiskSpaceUsageBytes; the newest day stays.
 */
static ks_err enforce_size(struct ks_engine *e)
{
    for (;;) {
        struct ksi_part_list *l = ksi_parts_pin(&e->parts);
        uint64_t bytes = 0;
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (size_t i = 0; i < l->count; i++) {
            bytes += l->views[i].part->bytes;
            first = l->views[i].part->day < first ? l->views[i].part->day : first;
            last = l->views[i].part->day > last ? l->views[i].part->day : last;
        }
        ks_err err = KS_OK;
        bool over = e->opts.max_disk_bytes && bytes > e->opts.max_disk_bytes && first < last;
        if (over)
            err = drop_parts(e, l, of_day, first);
        if (over && err == KS_OK)
            ksi_past_note_all(&e->past);
        ksi_parts_unpin(l);
        if (!over || err != KS_OK)
            return err;
    }
}

static ks_err enforce_retention(struct ks_engine *e)
{
    pthread_mutex_lock(&e->commit_lock);
    struct ksi_part_list *l = ksi_parts_pin(&e->parts);
    ks_err err = drop_parts(e, l, before_day, ks_day_of_ms(ks_engine_min_time_ms(e)));
    ksi_parts_unpin(l);
    if (err == KS_OK)
        err = enforce_size(e);
    pthread_mutex_unlock(&e->commit_lock);
    return err;
}

static void guard_disk(struct ks_engine *e)
{
    uint64_t free_bytes, total;
    if (e->vfs->ops->space(e->vfs, e->dir, &free_bytes, &total) != KS_OK)
        return;
    atomic_store(&e->free_disk_bytes, free_bytes);
    atomic_store(&e->total_disk_bytes, total);
    bool low = free_bytes < e->opts.min_free_disk_bytes;
    if (low != atomic_load(&e->read_only)) {
        atomic_store(&e->read_only, low);
        ks_log(low ? KS_LOG_ERROR : KS_LOG_INFO, "engine", "storage is %s: free=%llu limit=%llu",
               low ? "read-only, free disk space is low" : "writable again",
               (unsigned long long)free_bytes, (unsigned long long)e->opts.min_free_disk_bytes);
    }
}

static void guard_memory(struct ks_engine *e)
{
    uint64_t limit = e->opts.memory_bytes / 10 * 6, bytes = ksi_head_bytes(e);
    bool full = bytes > limit, over = bytes > e->opts.memory_bytes / 10 * 8;
    if (over != atomic_load(&e->memory_over)) {
        atomic_store(&e->memory_over, over);
        ks_log(over ? KS_LOG_ERROR : KS_LOG_INFO, "engine",
               "writes are %s: the head holds %llu bytes",
               over ? "refused, memory is short" : "taken again", (unsigned long long)bytes);
    }
    if (full != atomic_load(&e->memory_full)) {
        atomic_store(&e->memory_full, full);
        ks_log(full ? KS_LOG_WARN : KS_LOG_INFO, "engine", "head memory is %s its limit=%llu",
               full ? "over" : "below", (unsigned long long)limit);
    }
}

static ks_err keep(struct ks_engine *e)
{
    guard_disk(e);
    guard_memory(e);
    ks_err kept = enforce_retention(e);
    ks_err signals = ksi_signals_tick(e);
    kept = kept == KS_OK ? signals : kept;
    if (ks_mono_ms() - e->snapshots_seen_mono_ms > SNAPSHOTS_MS) {
        e->snapshots_seen_mono_ms = ks_mono_ms();
        KS_TRY(ksi_snapshots_expire(e, ks_now_ms()));
    }
    bool any;
    KS_TRY(ksi_quarantine_suspects(e, &any));
    if (!atomic_load(&e->read_only) && flush_due(e)) {
        /* While writes are refused open chunks do not grow, so nothing but sealing them makes room.
         */
        struct ksi_flush_opts opts = {.drop_idle = true, .seal_all = atomic_load(&e->memory_over)};
        pthread_mutex_lock(&e->commit_lock);
        ks_err err = ksi_flush_locked(e, &opts);
        pthread_mutex_unlock(&e->commit_lock);
        KS_TRY(err);
        guard_memory(e);
    }
    return kept;
}

static ks_err merge(struct ks_engine *e)
{
    if (atomic_load(&e->read_only))
        return KS_OK;
    ks_err err = ksi_merge_step(e), signals = ksi_signals_merge(e);
    return err == KS_OK ? signals : err;
}

ks_err ks_engine_tick(struct ks_engine *e)
{
    KS_TRY(keep(e));
    return merge(e);
}

/* Sleeps; false when the engine closes. */
static bool job_wait(struct ks_engine *e, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    pthread_mutex_lock(&e->job_lock);
    int rc = 0;
    while (!e->job_stop && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&e->job_wake, &e->job_lock, &until);
    bool go_on = !e->job_stop;
    pthread_mutex_unlock(&e->job_lock);
    return go_on;
}

static void *keep_main(void *arg)
{
    struct ks_engine *e = arg;
    ks_thread_background();
    while (job_wait(e, TICK_MS))
        if (keep(e) != KS_OK)
            ks_log_limited(10000, KS_LOG_ERROR, "engine",
                           "background work failed and will be tried again: %s", ks_err_text());
    return NULL;
}

/* What fails is tried again ever more seldom: a part that cannot be read must not cost the machine.
 */
static void *merge_main(void *arg)
{
    struct ks_engine *e = arg;
    int64_t pause_ms = TICK_MS;
    ks_thread_background();
    while (job_wait(e, pause_ms)) {
        ks_err err = merge(e);
        if (err == KS_OK || err == KS_ECANCELED) {
            pause_ms = TICK_MS;
            continue;
        }
        pause_ms = pause_ms * 2 < MERGE_RETRY_MAX_MS ? pause_ms * 2 : MERGE_RETRY_MAX_MS;
        ks_log(KS_LOG_ERROR, "engine", "a merge failed and will be tried again in %lld s: %s",
               (long long)pause_ms / 1000, ks_err_text());
    }
    return NULL;
}

ks_err ksi_jobs_start(struct ks_engine *e)
{
    guard_disk(e);
    if (e->opts.no_background)
        return KS_OK;
    static void *(*const mains[])(void *) = {keep_main, merge_main};
    static const char *const names[] = {"ks-keeper", "ks-merger"};
    for (; e->job_count < 2; e->job_count++) {
        if (pthread_create(&e->job_threads[e->job_count], NULL, mains[e->job_count], e) != 0) {
            ksi_jobs_stop(e);
            return ks_fail(KS_ENOMEM, "cannot start the background threads");
        }
        pthread_setname_np(e->job_threads[e->job_count], names[e->job_count]);
    }
    return KS_OK;
}

void ksi_jobs_stop(struct ks_engine *e)
{
    pthread_mutex_lock(&e->job_lock);
    e->job_stop = true;
    atomic_store(&e->stop_work, 1);
    pthread_cond_broadcast(&e->job_wake);
    pthread_mutex_unlock(&e->job_lock);
    while (e->job_count)
        pthread_join(e->job_threads[--e->job_count], NULL);
}
