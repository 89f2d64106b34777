/*
 * All log stores as one signal of the engine: opening, recovery, the thread that brings rows to
 * disk when memory fills, closing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/engine_priv.h"
#include "engine/logs/log_commit.h"
#include "engine/logs/log_flush.h"
#include "engine/logs/logs_priv.h"
#include "sys/clock.h"
#include "sys/thread.h"

enum {
    MEMORY_DEFAULT = 64 << 20,
    ROOM_WAIT_MS = 3000,
    RETIRED_MS = 15000,
    RETIRED_SHARE = 8, /* of the budget may be held for live tail */
};

/* --- making --- */

static bool good_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    return n >= 1 && n <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

/* Rules give a retention each to several selectors; compiled they are one by one. */
static ks_err compile_rules(struct ks_log_store *s, const struct ks_log_store_opts *o)
{
    size_t n = 0;
    for (size_t i = 0; i < o->rule_count; i++)
        n += o->rules[i].selector_count;
    struct ks_retention_rule *rules = ks_alloc_array(n + 1, sizeof *rules);
    if (!rules)
        return KS_ENOMEM;
    n = 0;
    for (size_t i = 0; i < o->rule_count; i++) {
        int64_t keep_ms = o->rules[i].keep_ns / KSI_NS_MS;
        s->keep_ms = keep_ms > s->keep_ms ? keep_ms : s->keep_ms;
        for (size_t k = 0; k < o->rules[i].selector_count; k++)
            rules[n++] = (struct ks_retention_rule){o->rules[i].selectors[k], keep_ms};
    }
    ks_err err = ks_rules_new(rules, n, NULL, 0, 0, &s->rules);
    ks_free(rules);
    return err;
}

static int64_t or_default(int64_t v, int64_t fallback)
{
    return v ? v : fallback;
}

static ks_err store_init(struct ks_log_store *s, struct ks_logs *l,
                         const struct ks_log_store_opts *o)
{
    if (!good_name(o->name))
        return ks_fail(KS_EINVAL, "a log store cannot be named \"%s\": 1 to 32 of [a-z0-9_-]",
                       o->name ? o->name : "");
    for (struct ks_log_store *x = l->stores; x < s; x++)
        if (strcmp(x->name, o->name) == 0)
            return ks_fail(KS_EINVAL, "two log stores are named \"%s\"", o->name);
    s->logs = l;
    snprintf(s->name, sizeof s->name, "%s", o->name);
    s->opts = *o;
    s->opts.name = s->name;
    s->opts.rules = NULL;
    s->opts.retention_ms = or_default(o->retention_ms, 7 * KS_MS_DAY);
    if (s->opts.retention_ms < KS_MS_DAY)
        s->opts.retention_ms = KS_MS_DAY;
    s->opts.future_retention_ms = or_default(o->future_retention_ms, 2 * KS_MS_DAY);
    s->keep_ms = s->opts.retention_ms;
    KS_TRY(compile_rules(s, o));
    KS_TRY(ksi_lparts_new_list(0, &s->list));
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->commit_lock, NULL);
    pthread_condattr_t by_mono;
    pthread_condattr_init(&by_mono);
    pthread_condattr_setclock(&by_mono, CLOCK_MONOTONIC);
    pthread_cond_init(&s->arrived, &by_mono);
    pthread_condattr_destroy(&by_mono);
    l->store_count++;
    return KS_OK;
}

ks_err ks_logs_new(const struct ks_logs_opts *opts, struct ks_logs **ret)
{
    struct ks_logs *l = ks_zalloc(sizeof *l);
    if (!l)
        return KS_ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_t by_mono;
    pthread_condattr_init(&by_mono);
    pthread_condattr_setclock(&by_mono, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &by_mono);
    pthread_cond_init(&l->drained, &by_mono);
    pthread_condattr_destroy(&by_mono);
    l->memory_bytes = opts->memory_bytes ? opts->memory_bytes : MEMORY_DEFAULT;
    l->flush_interval_ms = or_default(opts->flush_interval_ms, 5 * KS_MS_MINUTE);
    l->stores = ks_zalloc_array(opts->store_count + 1, sizeof *l->stores);
    ks_err err = l->stores ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < opts->store_count && err == KS_OK; i++)
        err = store_init(&l->stores[i], l, &opts->stores[i]);
    if (err != KS_OK) {
        for (size_t i = l->store_count; l->stores && i < opts->store_count; i++) {
            ks_rules_free(l->stores[i].rules); /* of the one that failed */
            ksi_lparts_unpin(l->stores[i].list);
        }
        ks_logs_free(l);
        return err;
    }
    *ret = l;
    return KS_OK;
}

static void store_done(struct ks_log_store *s)
{
    for (size_t i = 0; i < s->seg_count; i++)
        ksi_segment_unref(s->segs[i]);
    for (size_t i = 0; i < s->retired_count; i++)
        ksi_segment_unref(s->retired[i]);
    ks_free(s->segs);
    ks_free(s->retired);
    for (size_t i = 0; i < s->leftover_count; i++)
        ks_free(s->leftover[i]);
    ks_free(s->leftover);
    ksi_dedup_done(&s->dedup);
    ksi_lparts_unpin(s->list);
    ks_manifest_done(&s->manifest);
    ks_rules_free(s->rules);
    ks_free(s->dir);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->commit_lock);
    pthread_cond_destroy(&s->arrived);
}

void ks_logs_free(struct ks_logs *l)
{
    if (!l)
        return;
    KS_ASSERT(!l->has_flusher);
    for (size_t i = 0; i < l->store_count; i++)
        store_done(&l->stores[i]);
    for (size_t i = 0; i < l->encoder_count; i++) {
        ksi_frame_enc_done(l->encoders[i]);
        ks_free(l->encoders[i]);
    }
    ks_free(l->stores);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
    pthread_cond_destroy(&l->drained);
    ks_free(l);
}

struct ks_log_store *ks_logs_store(struct ks_logs *l, struct ks_slice name)
{
    for (size_t i = 0; i < l->store_count; i++)
        if (ks_slice_is(name, l->stores[i].name))
            return &l->stores[i];
    return NULL;
}

struct ks_log_store *ks_logs_store_at(struct ks_logs *l, size_t i)
{
    return i < l->store_count ? &l->stores[i] : NULL;
}

const char *ks_log_store_name(const struct ks_log_store *s)
{
    return s->name;
}

/* --- memory pressure --- */

uint64_t ksi_logs_memory(struct ks_logs *l)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->store_count; i++)
        bytes += atomic_load_explicit(&l->stores[i].memory_bytes, memory_order_relaxed);
    return bytes;
}

void ksi_logs_pressure(struct ks_logs *l)
{
    if (ksi_logs_memory(l) <= l->memory_bytes / 2)
        return;
    pthread_mutex_lock(&l->lock);
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static struct ks_log_store *fullest(struct ks_logs *l)
{
    struct ks_log_store *best = NULL;
    for (size_t i = 0; i < l->store_count; i++)
        if (!best || atomic_load(&l->stores[i].memory_bytes) > atomic_load(&best->memory_bytes))
            best = &l->stores[i];
    return best;
}

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t mono_ms)
{
    struct timespec t = {mono_ms / 1000, mono_ms % 1000 * 1000000};
    pthread_cond_timedwait(cond, lock, &t);
}

ks_err ksi_logs_wait_room(struct ks_logs *l)
{
    if (KS_LIKELY(ksi_logs_memory(l) < l->memory_bytes))
        return KS_OK;
    if (!l->has_flusher)
        return ksi_log_flush(fullest(l));
    int64_t until = ks_mono_ms() + ROOM_WAIT_MS;
    pthread_mutex_lock(&l->lock);
    pthread_cond_signal(&l->wake);
    while (!l->stop && ksi_logs_memory(l) >= l->memory_bytes && ks_mono_ms() < until)
        wait_until(&l->drained, &l->lock, until);
    pthread_mutex_unlock(&l->lock);
    if (ksi_logs_memory(l) < l->memory_bytes)
        return KS_OK;
    return ks_fail(KS_EAGAIN,
                   "log rows in memory are over their limit of %llu bytes: the disk does not keep "
                   "up; try again later",
                   (unsigned long long)l->memory_bytes);
}

static void *flusher_main(void *arg)
{
    struct ks_logs *l = arg;
    int64_t pause_ms = 1000;
    ks_thread_background();
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (ksi_logs_memory(l) <= l->memory_bytes / 2) {
            pthread_cond_wait(&l->wake, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        uint64_t before = ksi_logs_memory(l);
        ks_err err = ksi_log_flush(fullest(l));
        bool freed = ksi_logs_memory(l) < before;
        if (err != KS_OK && err != KS_ECANCELED)
            ks_log_limited(10000, KS_LOG_ERROR, "logs", "cannot bring log rows to disk: %s",
                           ks_err_text());
        pthread_mutex_lock(&l->lock);
        pthread_cond_broadcast(&l->drained);
        if (err != KS_OK && !l->stop) {
            wait_until(&l->wake, &l->lock, ks_mono_ms() + pause_ms);
            pause_ms = pause_ms < 16000 ? pause_ms * 2 : pause_ms;
        } else {
            pause_ms = 1000;
            if (!freed && !l->stop) /* writers were quicker, or a scan holds the rows */
                wait_until(&l->wake, &l->lock, ks_mono_ms() + 20);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- the signal --- */

static ks_err load(void *self, struct ks_engine *e, ks_lsn *ret_from)
{
    struct ks_logs *l = self;
    l->e = e;
    *ret_from = KS_LSN_NONE;
    for (size_t i = 0; i < l->store_count; i++) {
        struct ks_log_store *s = &l->stores[i];
        ks_err err = ksi_log_store_load(s);
        if (err != KS_OK)
            return ks_fail_context(err, "log store %s", s->name);
        ks_lsn cut = atomic_load(&s->cut);
        if (cut && cut < *ret_from)
            *ret_from = cut;
    }
    return KS_OK;
}

/* A record of a store this process does not have: fine when it is on disk already. */
static ks_err replay_foreign(struct ks_logs *l, struct ks_slice name,
                             const struct ks_wal_record *rec)
{
    char path[4096], text[33];
    snprintf(text, sizeof text, "%.*s", KS_SLICE_ARG(name));
    if (name.len > 32 || !good_name(text))
        return ks_fail(KS_ECORRUPT, "a record of log rows names no store");
    struct ks_manifest m;
    KS_TRY(ksi_path(path, ks_engine_dir(l->e), "logs/%s", text));
    ks_err err = ks_manifest_load(ks_engine_vfs(l->e), path, &m);
    if (err == KS_OK) {
        bool flushed = rec->lsn < m.cuts[0];
        ks_manifest_done(&m);
        if (flushed)
            return KS_OK;
    }
    return ks_fail(KS_EUNSUPPORTED,
                   "the log holds rows of log store \"%s\", which is not configured: start with it "
                   "once more and stop cleanly before leaving it out",
                   text);
}

static ks_err replay(void *self, const struct ks_wal_record *rec)
{
    struct ks_logs *l = self;
    struct ks_slice name;
    if (rec->type != KS_REC_LOG_ROWS)
        return ks_fail(KS_EUNSUPPORTED, "log record type %u is not known to this version",
                       rec->type);
    KS_TRY(ksi_frame_store(rec->payload, &name));
    struct ks_log_store *s = ks_logs_store(l, name);
    return s ? ksi_log_replay(s, rec) : replay_foreign(l, name, rec);
}

static ks_err start(void *self)
{
    struct ks_logs *l = self;
    l->wal = ks_engine_wal(l->e);
    for (size_t i = 0; i < l->store_count; i++) {
        l->stores[i].last_flush_mono_ms = ks_mono_ms();
        if (!atomic_load(&l->stores[i].cut))
            KS_TRY(ksi_log_store_create(&l->stores[i], ks_wal_next_lsn(l->wal)));
    }
    l->stop = false;
    if (!ks_engine_has_background(l->e))
        return KS_OK;
    if (pthread_create(&l->flusher, NULL, flusher_main, l) != 0)
        return ks_fail(KS_ENOMEM, "cannot start the thread that flushes logs");
    pthread_setname_np(l->flusher, "ks-logflush");
    l->has_flusher = true;
    return KS_OK;
}

static void stop(void *self)
{
    struct ks_logs *l = self;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->wake);
    pthread_cond_broadcast(&l->drained);
    pthread_mutex_unlock(&l->lock);
    if (l->has_flusher)
        pthread_join(l->flusher, NULL);
    l->has_flusher = false;
    for (size_t i = 0; i < l->store_count; i++) { /* live tails end */
        pthread_mutex_lock(&l->stores[i].lock);
        pthread_cond_broadcast(&l->stores[i].arrived);
        pthread_mutex_unlock(&l->stores[i].lock);
    }
}

/* The store is empty afterwards; the object may be freed or opened again. */
static void store_close(struct ks_log_store *s)
{
    struct ksi_lpart_list *none;
    for (size_t i = 0; i < s->seg_count; i++)
        ksi_segment_unref(s->segs[i]);
    for (size_t i = 0; i < s->retired_count; i++)
        ksi_segment_unref(s->retired[i]);
    s->seg_count = s->retired_count = 0;
    atomic_store(&s->memory_rows, 0);
    atomic_store(&s->memory_bytes, 0);
    ksi_lparts_unpin(s->list);
    s->list = ksi_lparts_new_list(0, &none) == KS_OK ? none : NULL;
    ks_manifest_done(&s->manifest);
    s->manifest_unsure = false; /* whichever is in place, the next start takes that one */
    for (size_t i = 0; i < s->leftover_count; i++)
        ks_free(s->leftover[i]);
    s->leftover_count = 0;
    atomic_store(&s->cut, 0);
}

static void close_all(void *self)
{
    struct ks_logs *l = self;
    for (size_t i = 0; i < l->store_count; i++)
        store_close(&l->stores[i]);
    l->e = NULL;
    l->wal = NULL;
}

static ks_lsn needs(void *self)
{
    struct ks_logs *l = self;
    ks_lsn lowest = KS_LSN_NONE;
    for (size_t i = 0; i < l->store_count; i++) {
        ks_lsn cut = atomic_load(&l->stores[i].cut);
        lowest = cut && cut < lowest ? cut : lowest;
    }
    return lowest;
}

static ks_err flush(void *self)
{
    struct ks_logs *l = self;
    for (size_t i = 0; i < l->store_count; i++)
        KS_TRY(ksi_log_flush(&l->stores[i]));
    return KS_OK;
}

/* Rows on disk already leave memory once no live tail can want them any more. */
static void drop_retired(struct ks_log_store *s)
{
    int64_t before = ks_mono_ms() - RETIRED_MS;
    pthread_mutex_lock(&s->lock);
    uint64_t held = 0;
    size_t n = 0;
    for (size_t i = s->retired_count; i-- > 0;) {
        held += ksi_segment_bytes(s->retired[i]);
        if (s->retired[i]->retired_ms < before || held > s->logs->memory_bytes / RETIRED_SHARE) {
            n = i + 1;
            break;
        }
    }
    for (size_t i = 0; i < n; i++)
        ksi_segment_unref(s->retired[i]);
    if (n)
        memmove(s->retired, s->retired + n, (s->retired_count - n) * sizeof(struct ksi_segment *));
    s->retired_count -= n;
    pthread_mutex_unlock(&s->lock);
}

static ks_err tick(void *self)
{
    struct ks_logs *l = self;
    ks_err first = KS_OK;
    for (size_t i = 0; i < l->store_count; i++) {
        struct ks_log_store *s = &l->stores[i];
        drop_retired(s);
        bool due = atomic_load(&s->memory_rows) &&
                   ks_mono_ms() - s->last_flush_mono_ms > l->flush_interval_ms;
        ks_err err = due && !ks_engine_read_only(l->e) ? ksi_log_flush(s) : KS_OK;
        if (err == KS_OK)
            err = ksi_log_keep(s);
        first = first == KS_OK ? err : first;
    }
    return first;
}

static ks_err merge(void *self)
{
    struct ks_logs *l = self;
    ks_err first = KS_OK;
    for (size_t i = 0; i < l->store_count; i++) {
        ks_err err = ksi_log_merge_step(&l->stores[i]);
        first = first == KS_OK ? err : first;
    }
    return first;
}

static ks_err snapshot(void *self, const char *dir)
{
    struct ks_logs *l = self;
    for (size_t i = 0; i < l->store_count; i++)
        KS_TRY(ksi_log_snapshot(&l->stores[i], dir));
    return KS_OK;
}

struct ks_signal ks_logs_signal(struct ks_logs *l)
{
    return (struct ks_signal){.name = "logs",
                              .type_first = KS_REC_LOGS_FIRST,
                              .type_last = KS_REC_LOGS_LAST,
                              .self = l,
                              .load = load,
                              .replay = replay,
                              .start = start,
                              .needs = needs,
                              .flush = flush,
                              .tick = tick,
                              .merge = merge,
                              .snapshot = snapshot,
                              .stop = stop,
                              .close = close_all};
}
