/*
 * The head's part of a select: copies open chunks and references sealed ones under the shards'
 * locks, a slice of series at a time.
 */
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/head_hist.h"
#include "engine/series_set.h"

enum { SLICE = 512, MATCH_SLICE = 4096, MAX_WINDOW_MS = 86400000 };

/* Whether the series can hold samples in the range; generous by a chunk window, never too narrow.
 */
static bool may_hold(const struct ksi_series *x, const struct ksi_hist *h, int64_t min_ms,
                     int64_t max_ms)
{
    if (x->g.count && x->g.last_ts >= min_ms && x->g.last_ts - MAX_WINDOW_MS <= max_ms)
        return true;
    if (x->side)
        return true;
    if (h && ((h->count && h->last_ts >= min_ms && h->first_ts <= max_ms) ||
              (h->late_count && h->late_max_ts >= min_ms && h->late_min_ts <= max_ms)))
        return true;
    for (const struct ksi_sealed *c = x->sealed; c; c = c->next)
        if (c->meta.min_ms <= max_ms && c->meta.max_ms >= min_ms)
            return true;
    return false;
}

/* Crosses out the sids of one shard that hold nothing of the range. */
static void mark_silent(struct ksi_shard *s, uint32_t *sids, size_t n, int64_t min_ms,
                        int64_t max_ms)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        uint32_t local = ksi_sid_local(sids[i], s->count_all);
        if (sids[i] == KSI_NO_SID || ksi_sid_shard(sids[i], s->count_all) != s->index)
            continue;
        if (local >= s->local_end || !ksi_series_at(s, local)->slab ||
            !may_hold(ksi_series_at(s, local), ksi_hist_at(s, local), min_ms, max_ms))
            sids[i] = KSI_NO_SID;
    }
    pthread_mutex_unlock(&s->lock);
}

void ksi_head_mark_silent(struct ks_engine *e, const struct ks_select_opts *o, uint32_t *sids,
                          size_t n)
{
    /* To whole days; the ends of time have none beyond them. */
    int64_t min_ms = ks_day_start_ms(o->min_ms);
    int64_t max_ms = o->max_ms > INT64_MAX - KS_MS_DAY
                         ? INT64_MAX
                         : (ks_day_of_ms(o->max_ms) + 1) * KS_MS_DAY - 1;
    /* A slice of sids at a time, each shard locked once for it. */
    for (size_t at = 0; at < n; at += MATCH_SLICE) {
        size_t end = at + MATCH_SLICE < n ? at + MATCH_SLICE : n;
        for (uint32_t shard = 0; shard < e->shard_count; shard++)
            mark_silent(&e->shards[shard], sids + at, end - at, min_ms, max_ms);
    }
}

ks_err ksi_head_matching(struct ks_engine *e, const struct ks_select_opts *o,
                         struct ks_tenant tenant, roaring_bitmap_t **ret)
{
    roaring_bitmap_t *found;
    KS_TRY(ks_live_index_select(e->live, tenant, o->selectors, o->selector_count, &found));
    size_t n = roaring_bitmap_get_cardinality(found), kept = 0;
    uint32_t *sids = ks_alloc_array(n, sizeof *sids);
    if (!sids) {
        roaring_bitmap_free(found);
        return KS_ENOMEM;
    }
    roaring_bitmap_to_uint32_array(found, sids);
    roaring_bitmap_free(found);
    ksi_head_mark_silent(e, o, sids, n);
    for (size_t i = 0; i < n; i++)
        if (sids[i] != KSI_NO_SID)
            sids[kept++] = sids[i];
    *ret = roaring_bitmap_of_ptr(kept, sids);
    ks_free(sids);
    return *ret ? KS_OK : ks_fail(KS_ENOMEM, "cannot allocate a bitmap");
}

static void set_meta(struct ks_chunk_meta *m, int64_t min_ms, int64_t max_ms, uint32_t count)
{
    *m = (struct ks_chunk_meta){.min_ms = min_ms, .max_ms = max_ms, .sample_count = count};
}

static ks_err add_open(struct ks_series_set *s, uint32_t series, const struct ksi_series *x)
{
    size_t bytes = ks_gorilla_bytes(&x->g);
    struct {
        struct ks_chunk_meta meta;
        struct ks_gorilla g; /* the bytes follow, and some to spare */
    } *copy = ks_arena_alloc(&s->arena, sizeof *copy + bytes + KS_GORILLA_SLACK);
    if (!copy)
        return ks_arena_err(&s->arena);
    /* The first time is only known after decoding; a chunk never begins more than a day before its
     * end. */
    int64_t first = x->g.count == 1 ? x->g.last_ts : ks_day_start_ms(x->g.last_ts);
    set_meta(&copy->meta, first, x->g.last_ts, x->g.count);
    copy->g = x->g;
    memcpy(copy + 1, x->slab->data, bytes);
    struct set_chunk c = {
        .series = series, .source = SET_OPEN, .meta = &copy->meta, .u.open = &copy->g};
    return ksi_set_add_chunk(s, c);
}

static ks_err add_late(struct ks_series_set *s, uint32_t series, const struct ksi_side *side)
{
    struct ksi_sample *copy = ks_arena_array(&s->arena, side->count, sizeof *copy);
    struct ks_chunk_meta *m = ks_arena_alloc(&s->arena, sizeof *m);
    if (!copy || !m)
        return ks_arena_err(&s->arena);
    set_meta(m, side->items[0].ts, side->items[0].ts, side->count);
    memcpy(copy, side->items, side->count * sizeof *copy);
    for (uint32_t i = 1; i < side->count; i++) {
        m->min_ms = copy[i].ts < m->min_ms ? copy[i].ts : m->min_ms;
        m->max_ms = copy[i].ts > m->max_ms ? copy[i].ts : m->max_ms;
    }
    struct set_chunk c = {.series = series, .source = SET_LATE, .meta = m, .u.late = copy};
    return ksi_set_add_chunk(s, c);
}

static ks_err add_records(struct ks_series_set *s, uint32_t series, enum set_source source,
                          struct ks_slice bytes, struct ks_chunk_meta meta)
{
    struct ks_chunk_meta *m = ks_arena_alloc(&s->arena, sizeof *m);
    struct set_records *copy = ks_arena_alloc(&s->arena, sizeof *copy + bytes.len);
    if (!m || !copy)
        return ks_arena_err(&s->arena);
    *m = meta;
    m->kind = KS_CHUNK_HISTOGRAM;
    copy->len = (uint32_t)bytes.len;
    memcpy(copy->bytes, bytes.ptr, bytes.len);
    struct set_chunk c = {
        .series = series, .source = (uint8_t)source, .meta = m, .u.records = copy};
    return ksi_set_add_chunk(s, c);
}

static ks_err add_histograms(struct ks_series_set *s, uint32_t series, const struct ksi_hist *h)
{
    struct ks_chunk_meta m;
    if (h->count) {
        set_meta(&m, h->first_ts, h->last_ts, h->count);
        KS_TRY(add_records(s, series, SET_OPEN_HISTOGRAMS, ks_buf_view(&h->open), m));
    }
    if (h->late_count) {
        set_meta(&m, h->late_min_ts, h->late_max_ts, h->late_count);
        KS_TRY(add_records(s, series, SET_LATE_HISTOGRAMS, ks_buf_view(&h->late), m));
    }
    return KS_OK;
}

/* The shard's array of identities holds those of the set's generation afterwards, with room for
 * `local`; false: do without. */
static bool idents_ready(struct ks_series_set *s, struct ksi_shard *shard, uint32_t local)
{
    if (!s->idents || shard->ident_no > ksi_idents_no(s->idents))
        return false;
    if (shard->ident_no < ksi_idents_no(s->idents)) {
        if (shard->idents)
            memset(shard->idents, 0, shard->ident_cap * sizeof *shard->idents);
        shard->ident_no = ksi_idents_no(s->idents);
    }
    if (local < shard->ident_cap)
        return true;
    size_t old = shard->ident_cap, cap = old;
    if (!ksi_idents_charge(s->idents, (shard->local_end - old) * sizeof *shard->idents) ||
        ks_array_reserve((void **)&shard->idents, &cap, shard->local_end, sizeof *shard->idents) !=
            KS_OK)
        return false;
    memset(shard->idents + old, 0, (cap - old) * sizeof *shard->idents);
    shard->ident_cap = cap;
    return true;
}

static ks_err series_of_local(struct ks_series_set *s, struct ksi_shard *shard, uint32_t local,
                              struct ks_buf *labels, uint32_t *ret)
{
    bool ready = idents_ready(s, shard, local);
    uint32_t no1;
    struct ks_tenant tenant;
    if (ready && shard->idents[local])
        return ksi_set_series(s, false, shard->idents[local] - 1, ret);
    ks_buf_reset(labels);
    KS_TRY(ks_live_index_labels(s->e->live, ksi_sid(shard, local), labels, &tenant));
    KS_TRY(ks_buf_status(labels));
    KS_TRY(ksi_set_series_of(s, tenant, ks_buf_view(labels), &no1, ret));
    if (ready)
        shard->idents[local] = no1;
    return KS_OK;
}

/* Adds what the series holds in the range; the shard's lock is held. */
static ks_err add_series(struct ks_series_set *s, const struct ks_select_opts *o,
                         struct ksi_shard *shard, uint32_t local, struct ks_buf *labels)
{
    const struct ksi_series *x = ksi_series_at(shard, local);
    uint32_t series;
    const struct ksi_hist *h = ksi_hist_at(shard, local);
    if (!may_hold(x, h, o->min_ms, o->max_ms))
        return KS_OK;
    KS_TRY(series_of_local(s, shard, local, labels, &series));
    if (x->g.count && x->g.last_ts >= o->min_ms)
        KS_TRY(add_open(s, series, x));
    if (x->side)
        KS_TRY(add_late(s, series, x->side));
    if (h)
        KS_TRY(add_histograms(s, series, h));
    for (struct ksi_sealed *k = x->sealed; k; k = k->next) {
        if (k->meta.min_ms > o->max_ms || k->meta.max_ms < o->min_ms)
            continue;
        struct set_chunk c = {.series = series, .source = SET_SEALED, .meta = &k->meta};
        c.u.sealed = k;
        atomic_fetch_add(&k->refs, 1);
        ks_err err = ksi_set_add_chunk(s, c);
        if (err != KS_OK) {
            ksi_sealed_unref(k);
            return err;
        }
    }
    return KS_OK;
}

/* Series of one shard among sids; KS_EAGAIN when series were dropped meanwhile and the sids may
 * mean others. */
static ks_err add_shard(struct ks_series_set *s, const struct ks_select_opts *o, uint32_t shard_no,
                        uint64_t epoch, const uint32_t *sids, size_t n, struct ks_buf *labels)
{
    struct ksi_shard *shard = &s->e->shards[shard_no];
    ks_err err = KS_OK;
    size_t in_slice = 0;
    bool locked = false;
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        if (ksi_sid_shard(sids[i], s->e->shard_count) != shard_no)
            continue;
        if (!locked) {
            pthread_mutex_lock(&shard->lock);
            locked = true;
            if (atomic_load(&s->e->drop_epochs[shard_no]) != epoch) {
                err = KS_EAGAIN;
                break;
            }
        }
        uint32_t local = ksi_sid_local(sids[i], s->e->shard_count);
        if (local < shard->local_end && ksi_series_at(shard, local)->slab)
            err = add_series(s, o, shard, local, labels);
        if (++in_slice == SLICE) {
            in_slice = 0;
            locked = false;
            pthread_mutex_unlock(&shard->lock);
            if (err == KS_OK)
                err = ks_read_ctx_check(o->ctx);
        }
    }
    if (locked)
        pthread_mutex_unlock(&shard->lock);
    return err;
}

static ks_err select_once(struct ks_series_set *s, const struct ks_select_opts *o,
                          struct ks_tenant tenant, uint64_t *epochs, struct ks_buf *labels)
{
    roaring_bitmap_t *found;
    for (uint32_t i = 0; i < s->e->shard_count; i++)
        epochs[i] = atomic_load(&s->e->drop_epochs[i]);
    KS_TRY(ks_live_index_select(s->e->live, tenant, o->selectors, o->selector_count, &found));
    size_t n = roaring_bitmap_get_cardinality(found);
    uint32_t *sids = ks_alloc_array(n, sizeof *sids);
    ks_err err = sids ? KS_OK : KS_ENOMEM;
    if (sids)
        roaring_bitmap_to_uint32_array(found, sids);
    roaring_bitmap_free(found);
    for (uint32_t i = 0; i < s->e->shard_count && err == KS_OK && n; i++)
        err = add_shard(s, o, i, epochs[i], sids, n, labels);
    ks_free(sids);
    return err;
}

ks_err ksi_select_head(struct ks_series_set *s, const struct ks_select_opts *o,
                       struct ks_tenant tenant)
{
    struct ks_buf labels;
    uint64_t *epochs = ks_arena_array(&s->arena, s->e->shard_count, sizeof *epochs);
    if (!epochs)
        return ks_arena_err(&s->arena);
    ks_buf_init(&labels, 16 << 20);
    ks_err err;
    /* What an interrupted round has added is right as far as it goes; the next round may add it
     * again: copies are left out, and samples found twice are equal. */
    while ((err = select_once(s, o, tenant, epochs, &labels)) == KS_EAGAIN)
        ;
    ks_buf_done(&labels);
    return err;
}
