/*
 * Replay of the log into the head. One thread reads the log; with a pool given at open, records go
 * to worker threads in batches, each worker serving its own shards, so that the records of a shard
 * are applied in the order of the log. Queues are bounded: a reader that is ahead waits. The error
 * reported is the one with the lowest LSN, whatever the threads' timing.
 */
#include "engine/replay.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/head_hist.h"
#include "engine/records.h"

enum {
    BATCH_BYTES = 256 << 10,
    QUEUE_MAX = 4,
    WORKERS_MAX = 32,
    HISTOGRAM_MAX = 16 << 20 /* bytes of one, decoded */
};

/* A record in a batch: this, then the payload. */
struct queued {
    ks_lsn lsn;
    uint32_t len;
    uint16_t shard;
    uint8_t type;
};

/* Applies records; one per thread. */
struct applier {
    struct ks_engine *e;
    struct ksi_shard *s; /* of the record at hand */
    bool salvage;
    uint64_t records, samples, orphans;
    struct ks_live_add *adds; /* of one record */
    size_t add_count, add_cap;
    struct ks_arena arena; /* of one histogram */
};

struct worker {
    struct applier a;
    struct ksi_replay *r;
    pthread_t thread;
    bool started;
    struct ks_buf filling; /* the reader's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ks_buf ring[QUEUE_MAX]; /* under lock: from head on, queued of them are full */
    size_t head, queued;
    bool end;
    ks_err err;
    ks_lsn err_lsn;
    char text[KS_ERR_TEXT_MAX];
};

struct ksi_replay {
    struct ks_engine *e;
    const ks_lsn *cuts;
    struct worker *workers;
    unsigned count; /* of workers; 0 = the reader applies */
    struct applier alone;
    uint64_t bytes;
    _Atomic bool failed; /* a worker has an error: the reader may stop */
};

static ks_err add_series(void *arg, uint32_t sid, struct ks_tenant tenant, struct ks_slice labels)
{
    struct applier *a = arg;
    KS_TRY(ks_array_reserve((void **)&a->adds, &a->add_cap, a->add_count + 1, sizeof *a->adds));
    a->adds[a->add_count++] = (struct ks_live_add){sid, tenant, labels};
    return KS_OK;
}

/* The local id of a logged sample's series; *ret_known false: nobody knows it, and salvage goes on.
 */
static ks_err local_of(struct applier *a, uint32_t sid, uint32_t *ret, bool *ret_known)
{
    const struct ksi_shard *s = a->s;
    *ret = ksi_sid_local(sid, s->count_all);
    *ret_known = ksi_sid_shard(sid, s->count_all) == s->index && *ret < s->local_end &&
                 ksi_series_at(a->s, *ret)->slab;
    if (*ret_known) {
        a->samples++;
        return KS_OK;
    }
    a->orphans++;
    return a->salvage
               ? KS_OK
               : ks_fail(KS_ECORRUPT, "a logged sample belongs to the unknown series %u", sid);
}

static ks_err add_sample(void *arg, uint32_t sid, int64_t ts, uint64_t bits)
{
    struct applier *a = arg;
    uint32_t local;
    bool known;
    enum ksi_append how;
    KS_TRY(local_of(a, sid, &local, &known));
    return known ? ksi_append(a->s, local, ts, bits, &how) : KS_OK;
}

static ks_err add_histogram(void *arg, uint32_t sid, int64_t ts, const struct ks_histogram *h)
{
    struct applier *a = arg;
    uint32_t local;
    bool known;
    enum ksi_append how;
    KS_TRY(local_of(a, sid, &local, &known));
    return known ? ksi_hist_append(a->s, local, ts, h, &how) : KS_OK;
}

static ks_err apply(struct applier *a, const struct ks_wal_record *rec)
{
    ks_err err;
    a->s = &a->e->shards[rec->shard];
    a->records++;
    switch (rec->type) {
    case KS_REC_SERIES:
        a->add_count = 0;
        err = ksi_rec_series_read(rec->payload, add_series, a);
        if (err == KS_OK)
            err = ksi_restore_series(a->e, a->s, a->adds, a->add_count);
        break;
    case KS_REC_SAMPLES:
        err = ksi_rec_samples_read(rec->payload, add_sample, a);
        break;
    case KS_REC_HISTOGRAMS:
        err = ksi_rec_histograms_read(rec->payload, &a->arena, add_histogram, a);
        break;
    default:
        err = ks_fail(KS_EUNSUPPORTED, "record type %u is not known to this version", rec->type);
    }
    return err == KS_OK ? KS_OK
                        : ks_fail_context(err, "log record %llu", (unsigned long long)rec->lsn);
}

/* --- workers --- */

static void apply_batch(struct worker *w, struct ks_slice batch)
{
    for (size_t at = 0; at < batch.len && w->err == KS_OK;) {
        struct queued q;
        memcpy(&q, batch.ptr + at, sizeof q);
        at += sizeof q;
        struct ks_wal_record rec = {q.lsn, q.type, q.shard, ks_slice_sub(batch, at, q.len)};
        at += q.len;
        ks_err err = apply(&w->a, &rec);
        if (err == KS_OK)
            continue;
        snprintf(w->text, sizeof w->text, "%s", ks_err_text());
        w->err_lsn = q.lsn;
        w->err = err;
        atomic_store(&w->r->failed, true);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->queued && !w->end)
            pthread_cond_wait(&w->changed, &w->lock);
        if (!w->queued)
            break;
        struct ks_buf *b = &w->ring[w->head];
        pthread_mutex_unlock(&w->lock);
        apply_batch(w, ks_buf_view(b));
        pthread_mutex_lock(&w->lock);
        w->head = (w->head + 1) % QUEUE_MAX;
        w->queued--;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Hands what was filled to the worker and takes an empty buffer for it. */
static void hand_over(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->queued == QUEUE_MAX)
        pthread_cond_wait(&w->changed, &w->lock);
    struct ks_buf *b = &w->ring[(w->head + w->queued) % QUEUE_MAX], full = w->filling;
    w->filling = *b;
    *b = full;
    ks_buf_reset(&w->filling);
    w->queued++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static ks_err enqueue(struct worker *w, const struct ks_wal_record *rec)
{
    struct queued q = {rec->lsn, (uint32_t)rec->payload.len, rec->shard, rec->type};
    if (w->filling.len && w->filling.len + sizeof q + q.len > BATCH_BYTES)
        hand_over(w);
    ks_buf_add(&w->filling, &q, sizeof q);
    ks_buf_slice(&w->filling, rec->payload);
    return ks_buf_status(&w->filling);
}

static ks_err start_worker(struct ksi_replay *r, struct worker *w)
{
    w->r = r;
    w->a = (struct applier){.e = r->e, .salvage = r->alone.salvage};
    ks_arena_init(&w->a.arena, HISTOGRAM_MAX);
    ks_buf_init(&w->filling, KS_WAL_FRAME_MAX + BATCH_BYTES);
    for (size_t i = 0; i < QUEUE_MAX; i++)
        ks_buf_init(&w->ring[i], KS_WAL_FRAME_MAX + BATCH_BYTES);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->started = true;
    if (pthread_create(&w->thread, NULL, worker_main, w) == 0) {
        pthread_setname_np(w->thread, "replay");
        return KS_OK;
    }
    w->started = false;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    return ks_fail(KS_ENOMEM, "cannot start a thread to replay the log");
}

static void stop_worker(struct ksi_replay *r, struct worker *w)
{
    if (!w->started)
        return;
    if (w->filling.len)
        hand_over(w);
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    ks_buf_done(&w->filling);
    for (size_t i = 0; i < QUEUE_MAX; i++)
        ks_buf_done(&w->ring[i]);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    ks_free(w->a.adds);
    ks_arena_done(&w->a.arena);
    r->alone.records += w->a.records;
    r->alone.samples += w->a.samples;
    r->alone.orphans += w->a.orphans;
}

/* --- the whole --- */

ks_err ksi_replay_new(struct ks_engine *e, const ks_lsn *cuts, struct ksi_replay **ret)
{
    struct ksi_replay *r = ks_zalloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    r->e = e;
    r->cuts = cuts;
    r->alone = (struct applier){.e = e, .salvage = e->opts.wal_repair};
    ks_arena_init(&r->alone.arena, HISTOGRAM_MAX);
    unsigned want = e->opts.pool ? ks_pool_threads(e->opts.pool) : 0;
    want = want < e->shard_count ? want : e->shard_count;
    want = want < WORKERS_MAX ? want : WORKERS_MAX;
    ks_err err = KS_OK;
    if (want && !(r->workers = ks_zalloc_array(want, sizeof *r->workers)))
        err = KS_ENOMEM;
    for (; r->count < want && err == KS_OK; r->count++)
        if ((err = start_worker(r, &r->workers[r->count])) != KS_OK)
            break;
    if (err != KS_OK) {
        struct ksi_replay_stats unused;
        return ksi_replay_finish(r, err, &unused);
    }
    *ret = r;
    return KS_OK;
}

ks_err ksi_replay_record(void *arg, const struct ks_wal_record *rec)
{
    struct ksi_replay *r = arg;
    if (rec->type > KSI_REC_METRICS_LAST)
        return ksi_signals_replay(r->e, rec);
    if (rec->shard >= r->e->shard_count)
        return ks_fail(KS_ECORRUPT, "log record %llu belongs to the unknown shard %u",
                       (unsigned long long)rec->lsn, rec->shard);
    if (rec->lsn < r->cuts[rec->shard])
        return KS_OK;
    r->bytes += rec->payload.len;
    if (!r->count)
        return apply(&r->alone, rec);
    if (atomic_load_explicit(&r->failed, memory_order_relaxed))
        return ks_fail(KS_ECANCELED, "replay stopped"); /* finish tells why */
    return enqueue(&r->workers[rec->shard % r->count], rec);
}

ks_err ksi_replay_finish(struct ksi_replay *r, ks_err err, struct ksi_replay_stats *ret)
{
    const struct worker *first = NULL;
    for (unsigned i = 0; i < r->count; i++) {
        struct worker *w = &r->workers[i];
        stop_worker(r, w);
        if (w->err != KS_OK && (!first || w->err_lsn < first->err_lsn))
            first = w;
    }
    if (first)
        err = ks_fail(first->err, "%s", first->text);
    *ret =
        (struct ksi_replay_stats){r->alone.records, r->alone.samples, r->alone.orphans, r->bytes};
    ks_free(r->alone.adds);
    ks_arena_done(&r->alone.arena);
    ks_free(r->workers);
    ks_free(r);
    return err;
}
