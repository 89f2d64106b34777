/*
 * Flush: sealed chunks become L0 parts and the rest of the head a checkpoint, both made current by
 * one manifest change. So a restart never sees a sample twice or not at all: what the parts hold,
 * the checkpoint and the log after its cuts do not.
 *
 * Shards are frozen one after the other, each under its lock for as long as copying its open chunks
 * takes; the cut of a shard is the next LSN at that moment. Sealed chunks stay readable in the head
 * until the parts are current.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/commit.h"
#include "engine/engine_priv.h"
#include "engine/flush_order.h"
#include "engine/head_hist.h"
#include "sys/clock.h"

enum { LABELS_MAX = 1 << 30, COMBINE_MAX = 200000 };

/* A series with chunks to write. */
struct entry {
    struct ks_slice labels;
    struct ks_tenant tenant;
    const struct ksi_sealed *chain; /* as of the freeze; newest first */
    uint32_t sid;
};

struct flush {
    struct ks_engine *e;
    const struct ksi_flush_opts *opts;
    struct ks_part_writer *checkpoint;
    char checkpoint_path[4096];
    struct ks_buf state, locals, histograms;
    size_t histogram_pages;
    struct entry *entries;
    size_t entry_count, entry_cap;
    struct ks_arena labels;
    struct ksi_part **fresh;
    size_t fresh_count, fresh_cap;
    ks_lsn *cuts;
    struct ksi_change change;
    int64_t idle_ms;
};

static ks_err note_entry(struct flush *f, uint32_t sid, const struct ksi_sealed *chain)
{
    KS_TRY(ks_array_reserve((void **)&f->entries, &f->entry_cap, f->entry_count + 1,
                            sizeof *f->entries));
    f->entries[f->entry_count++] = (struct entry){.chain = chain, .sid = sid};
    return KS_OK;
}

/* Seals what the caller asked for and what has been idle for long. Shard's lock held. */
static ks_err seal_due(struct flush *f, struct ksi_shard *s)
{
    for (uint32_t local = 0; local < s->local_end; local++) {
        struct ksi_series *x = ksi_series_at(s, local);
        if (!x->slab)
            continue;
        bool idle = f->opts->drop_idle && x->g.count && ksi_idle(s, x->g.seen, f->idle_ms);
        const struct ksi_hist *h = ksi_hist_at(s, local);
        bool hist_idle = f->opts->drop_idle && h && ksi_idle(s, h->seen, f->idle_ms);
        bool asked = f->opts->seal_all ||
                     (f->opts->seal && roaring_bitmap_contains(f->opts->seal, ksi_sid(s, local)));
        if (idle || asked)
            KS_TRY(ksi_seal(s, local));
        else if (x->side)
            KS_TRY(ksi_seal_side(s, local));
        if (h)
            KS_TRY(hist_idle || asked ? ksi_hist_seal(s, local) : ksi_hist_seal_late(s, local));
    }
    return KS_OK;
}

static bool is_dead(void *arg, uint32_t sid)
{
    struct ksi_shard *s = arg;
    return ksi_sid_shard(sid, s->count_all) == s->index &&
           !ksi_series_at(s, ksi_sid_local(sid, s->count_all))->slab;
}

static ks_err series_fp(struct ks_engine *e, uint32_t sid, struct ks_buf *labels, ks_hash128 *ret)
{
    struct ks_tenant tenant;
    ks_buf_reset(labels);
    KS_TRY(ks_live_index_labels(e->live, sid, labels, &tenant));
    KS_TRY(ks_buf_status(labels));
    *ret = ks_series_fp(tenant, ks_buf_view(labels));
    return KS_OK;
}

/* Lets go of series that hold nothing. Their ids are given again only after the commit. Shard's
 * lock held. */
static ks_err drop_empty(struct flush *f, struct ksi_shard *s)
{
    struct ks_engine *e = f->e;
    struct ks_buf labels;
    size_t dropped = 0;
    ks_err err = KS_OK;
    ks_buf_init(&labels, 16 << 20);
    for (uint32_t local = 0; local < s->local_end && err == KS_OK; local++) {
        struct ksi_series *x = ksi_series_at(s, local);
        if (!x->slab || x->g.count || x->side || x->sealed || ksi_hist_at(s, local))
            continue;
        uint32_t sid = ksi_sid(s, local);
        ks_hash128 fp;
        err = ks_array_reserve((void **)&s->dropped, &s->dropped_cap, s->dropped_count + 1,
                               sizeof *s->dropped);
        if (err == KS_OK)
            err = series_fp(e, sid, &labels, &fp);
        if (err == KS_OK)
            err = ks_live_index_remove(e->live, &sid, 1);
        if (err != KS_OK)
            break;
        if (!dropped++)
            atomic_fetch_add(&e->drop_epochs[s->index], 1); /* odd */
        ksi_fp_remove(s, fp, local);
        ksi_series_drop(s, local);
        s->dropped[s->dropped_count++] = local;
    }
    if (dropped) {
        ksi_l1_purge(&e->l1, is_dead, s);
        atomic_fetch_add(&e->drop_epochs[s->index], 1); /* even */
    }
    ks_buf_done(&labels);
    return err;
}

static int by_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static ks_err collect_sealed(struct flush *f, struct ksi_shard *s)
{
    if (s->sealed_count)
        qsort(s->sealed_locals, s->sealed_count, sizeof *s->sealed_locals, by_u32);
    size_t n = 0;
    for (size_t i = 0; i < s->sealed_count; i++)
        if (!n || s->sealed_locals[n - 1] != s->sealed_locals[i])
            s->sealed_locals[n++] = s->sealed_locals[i];
    s->sealed_count = n;
    for (size_t i = 0; i < n; i++) {
        const struct ksi_sealed *chain = ksi_series_at(s, s->sealed_locals[i])->sealed;
        if (chain)
            KS_TRY(note_entry(f, ksi_sid(s, s->sealed_locals[i]), chain));
    }
    return KS_OK;
}

static ks_err freeze_shard(struct flush *f, uint32_t shard)
{
    struct ksi_shard *s = &f->e->shards[shard];
    ks_buf_reset(&f->state);
    ks_buf_reset(&f->locals);
    ks_buf_reset(&f->histograms);
    pthread_mutex_lock(&s->lock);
    s->now = (uint32_t)ks_now_ms();
    ks_err err = f->opts->drop_idle ? drop_empty(f, s) : KS_OK;
    if (err == KS_OK)
        err = seal_due(f, s);
    if (err == KS_OK)
        err = collect_sealed(f, s);
    if (err == KS_OK)
        err = ksi_checkpoint_freeze(s, &f->state, &f->locals);
    if (err == KS_OK)
        err = ksi_checkpoint_freeze_histograms(s, &f->histograms);
    f->cuts[shard] = ks_wal_next_lsn(f->e->wal);
    s->era++;
    pthread_mutex_unlock(&s->lock);
    if (err != KS_OK)
        return err;
    KS_TRY(ksi_checkpoint_put(f->e, f->checkpoint, shard, f->cuts[shard], ks_buf_view(&f->locals),
                              ks_buf_view(&f->state)));
    return ksi_checkpoint_put_histograms(f->checkpoint, shard, ks_buf_view(&f->histograms),
                                         &f->histogram_pages);
}

/* --- parts --- */

/* Puts the entries into the order of a part. */
static ks_err sort_entries(struct flush *f)
{
    size_t n = f->entry_count;
    struct ks_series_key *keys = ks_alloc_array(n, sizeof *keys);
    uint32_t *order = ks_alloc_array(n, sizeof *order);
    struct entry *sorted = ks_alloc_array(n, sizeof *sorted);
    ks_err err = keys && order && sorted ? KS_OK : KS_ENOMEM;
    for (size_t i = 0; i < n && err == KS_OK; i++)
        keys[i] = ks_series_key_of(f->entries[i].tenant, f->entries[i].labels);
    if (err == KS_OK)
        err = ksi_order_series(keys, (uint32_t)n, order);
    for (size_t i = 0; i < n && err == KS_OK; i++)
        sorted[i] = f->entries[order[i]];
    ks_free(keys);
    ks_free(order);
    if (err != KS_OK) {
        ks_free(sorted);
        return err;
    }
    ks_free(f->entries);
    f->entries = sorted;
    f->entry_cap = n;
    return KS_OK;
}

static ks_err load_labels(struct flush *f)
{
    struct ks_buf labels;
    ks_buf_init(&labels, 16 << 20);
    ks_err err = KS_OK;
    for (size_t i = 0; i < f->entry_count && err == KS_OK; i++) {
        struct entry *x = &f->entries[i];
        ks_buf_reset(&labels);
        err = ks_live_index_labels(f->e->live, x->sid, &labels, &x->tenant);
        if (err == KS_OK)
            err = ks_buf_status(&labels);
        if (err == KS_OK) {
            x->labels = ks_arena_dup(&f->labels, ks_buf_view(&labels));
            if (!x->labels.ptr)
                err = ks_arena_err(&f->labels);
        }
    }
    ks_buf_done(&labels);
    return err == KS_OK ? sort_entries(f) : err;
}

static int by_min_time(const void *pa, const void *pb)
{
    const struct ksi_sealed *a = *(const struct ksi_sealed *const *)pa,
                            *b = *(const struct ksi_sealed *const *)pb;
    return (a->meta.min_ms > b->meta.min_ms) - (a->meta.min_ms < b->meta.min_ms);
}

struct chain {
    const struct ksi_sealed **items;
    size_t count, cap;
};

/* The chunks of one day of an entry, in time order. */
static ks_err day_chunks(const struct entry *x, int64_t day, struct chain *c)
{
    c->count = 0;
    for (const struct ksi_sealed *k = x->chain; k; k = k->next) {
        if (ks_day_of_ms(k->meta.min_ms) != day)
            continue;
        KS_TRY(ks_array_reserve((void **)&c->items, &c->cap, c->count + 1, sizeof *c->items));
        c->items[c->count++] = k;
    }
    if (c->count > 1)
        qsort(c->items, c->count, sizeof *c->items, by_min_time);
    return KS_OK;
}

static ks_err write_day(struct flush *f, int64_t day, const char *path, struct chain *c)
{
    struct ks_mpart_writer *w;
    KS_TRY(ks_mpart_writer_new(f->e->vfs, path, 0, &w));
    ks_err err = KS_OK;
    for (size_t i = 0; i < f->entry_count && err == KS_OK; i++) {
        const struct entry *x = &f->entries[i];
        err = day_chunks(x, day, c);
        if (err == KS_OK && c->count)
            err = ks_mpart_add_series(w, x->tenant, x->labels);
        for (size_t k = 0; k < c->count && err == KS_OK; k++)
            err = ks_mpart_add_chunk(w, &c->items[k]->meta,
                                     ks_slice(c->items[k]->times->data, c->items[k]->times->bytes),
                                     ks_slice(c->items[k]->values, c->items[k]->values_bytes));
    }
    if (err != KS_OK) {
        ks_mpart_writer_abort(w);
        return err;
    }
    return ks_mpart_writer_finish(w, NULL);
}

/* The smallest day above `after` that has chunks; false when there is none. */
static bool next_day(const struct flush *f, int64_t after, int64_t *ret)
{
    bool found = false;
    for (size_t i = 0; i < f->entry_count; i++) {
        for (const struct ksi_sealed *k = f->entries[i].chain; k; k = k->next) {
            int64_t day = ks_day_of_ms(k->meta.min_ms);
            if (day > after && (!found || day < *ret)) {
                *ret = day;
                found = true;
            }
        }
    }
    return found;
}

static ks_err write_parts(struct flush *f)
{
    struct chain c = {0};
    int64_t after = INT64_MIN, day = 0;
    ks_err err = f->entry_count ? load_labels(f) : KS_OK;
    while (err == KS_OK && f->entry_count && next_day(f, after, &day)) {
        char path[4096];
        uint64_t id = f->e->manifest.next_id++;
        after = day;
        err = ks_array_reserve((void **)&f->fresh, &f->fresh_cap, f->fresh_count + 1,
                               sizeof(*f->fresh));
        if (err == KS_OK)
            err = ksi_part_path(f->e, day, id, true, path);
        if (err == KS_OK)
            err = write_day(f, day, path, &c);
        if (err == KS_OK)
            err = ksi_part_open(f->e->vfs, f->e->cache, path, id, day, 0, 0,
                                &f->fresh[f->fresh_count]);
        if (err == KS_OK)
            f->fresh_count++;
    }
    ks_free(c.items);
    ks_arena_reset(&f->labels);
    f->entry_count = 0;
    return err;
}

/* --- the whole --- */

static ks_err freeze_and_write(struct flush *f)
{
    struct ks_engine *e = f->e;
    uint64_t id = e->manifest.next_id++;
    KS_TRY(ksi_path(f->checkpoint_path, e->dir, "checkpoint/%016llx.ckpt", (unsigned long long)id));
    KS_TRY(ks_part_writer_new(e->vfs, f->checkpoint_path, KS_PART_CHECKPOINT, &f->checkpoint));
    for (uint32_t s = 0; s < e->shard_count; s++) {
        KS_TRY(freeze_shard(f, s));
        if (f->entry_count >= COMBINE_MAX)
            KS_TRY(write_parts(f));
    }
    KS_TRY(write_parts(f));
    struct ks_part_writer *w = f->checkpoint;
    f->checkpoint = NULL;
    KS_TRY(ks_part_writer_finish(w, NULL));
    f->change = (struct ksi_change){
        .fresh = f->fresh, .fresh_count = f->fresh_count, .checkpoint_id = id, .cuts = f->cuts};
    return KS_OK;
}

static void after_commit(struct flush *f)
{
    struct ks_engine *e = f->e;
    ks_lsn lowest = f->cuts[0];
    for (uint32_t i = 0; i < e->shard_count; i++) {
        struct ksi_shard *s = &e->shards[i];
        pthread_mutex_lock(&s->lock);
        ksi_drop_flushed(s, s->era);
        for (size_t k = 0; k < s->dropped_count; k++)
            ksi_series_recycle(s, s->dropped[k]);
        s->dropped_count = 0;
        pthread_mutex_unlock(&s->lock);
        if (f->cuts[i] < lowest)
            lowest = f->cuts[i];
    }
    e->checkpoint_lsn = lowest;
    ksi_release_log(e);
    atomic_fetch_add(&e->flushes, 1);
    atomic_store(&e->last_flush_mono_ms, ks_mono_ms());
}

/* What was written goes again, unless a restart might need it; the error text stays that of the
 * failure. */
static void undo(struct flush *f)
{
    struct ks_engine *e = f->e;
    char why[KS_ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", ks_err_text());
    ks_part_writer_abort(f->checkpoint);
    if (f->change.checkpoint_id && !atomic_load(&e->manifest_unsure))
        (void)!e->vfs->ops->unlink(e->vfs, f->checkpoint_path); /* else the next start does */
    ksi_discard(e, f->fresh, f->fresh_count);
    (void)ks_fail(KS_EIO, "%s", why);
}

ks_err ksi_flush_locked(struct ks_engine *e, const struct ksi_flush_opts *opts)
{
    /* Short of memory, series leave after a sixth of the time. */
    int64_t idle_ms =
        atomic_load(&e->memory_full) ? e->opts.series_idle_ms / 6 : e->opts.series_idle_ms;
    struct flush f = {.e = e, .opts = opts, .idle_ms = idle_ms};
    ks_buf_init(&f.state, (size_t)8 << 30);
    ks_buf_init(&f.locals, (size_t)1 << 30);
    ks_buf_init(&f.histograms, (size_t)8 << 30);
    ks_arena_init(&f.labels, LABELS_MAX);
    ks_err err = (f.cuts = ks_zalloc_array(e->shard_count, sizeof *f.cuts)) ? KS_OK : KS_ENOMEM;
    if (err == KS_OK)
        err = freeze_and_write(&f);
    if (err == KS_OK)
        err = ksi_commit(e, &f.change);
    if (err == KS_OK) {
        after_commit(&f);
    } else {
        undo(&f);
    }
    ks_free(f.entries);
    ks_free(f.fresh);
    ks_free(f.cuts);
    ks_buf_done(&f.state);
    ks_buf_done(&f.locals);
    ks_buf_done(&f.histograms);
    ks_arena_done(&f.labels);
    return err;
}

ks_err ks_engine_flush(struct ks_engine *e)
{
    struct ksi_flush_opts opts = {0};
    pthread_mutex_lock(&e->commit_lock);
    ks_err err = ksi_flush_locked(e, &opts);
    pthread_mutex_unlock(&e->commit_lock);
    KS_TRY(err);
    KS_TRY(ksi_signals_flush(e));
    pthread_mutex_lock(&e->commit_lock);
    ksi_release_log(e);
    pthread_mutex_unlock(&e->commit_lock);
    return KS_OK;
}
