/*
 * The head's part of a select: copies open chunks and references sealed ones under the shards'
 * locks, a slice of series at a time.
 */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/head_hist.h"
#include "engine/head_marks.h"
#include "engine/series_set.h"

enum { SLICE = 512, MATCH_SLICE = 4096 };

static bool late_in(const struct ksi_side *side, int64_t min_ms, int64_t max_ms)
{
    bool in = false;
    for (uint32_t i = 0; i < side->count && !in; i++)
        in = side->items[i].ts >= min_ms && side->items[i].ts <= max_ms;
    return in;
}

static bool open_in(const struct ksi_series *x, int64_t min_ms, int64_t max_ms)
{
    return x->g.count && x->g.last_ts >= min_ms &&
           (x->g.last_ts <= max_ms || ks_gorilla_first_ts(x->slab->data) <= max_ms);
}

/* Whether the series holds a chunk that touches the range. */
static bool may_hold(const struct ksi_series *x, const struct ksi_hist *h, int64_t min_ms,
                     int64_t max_ms)
{
    if (open_in(x, min_ms, max_ms) || (x->side && late_in(x->side, min_ms, max_ms)))
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

static ks_err copy_open(struct ks_series_set *s, const struct ksi_series *x,
                        const struct ks_gorilla_place *from, struct set_open **ret)
{
    size_t skip = from->pos / 8, bytes = ks_gorilla_bytes(&x->g) - skip;
    struct set_open *copy = ks_arena_alloc(&s->arena, sizeof *copy + bytes + KS_GORILLA_SLACK);
    if (!copy)
        return ks_arena_err(&s->arena);
    copy->g = x->g;
    copy->from = *from;
    copy->shared = false;
    atomic_init(&copy->times, NULL);
    memcpy(copy->bytes, x->slab->data + skip, bytes);
    *ret = copy;
    return KS_OK;
}

/* Whether chunks of one value each have equal times, from their places on. */
static bool same_times(const struct set_open *a, const struct ksi_series *x,
                       const struct ks_gorilla_place *from)
{
    size_t skip = from->pos / 8;
    return a->g.count == x->g.count && a->g.run == x->g.run && a->g.bit_len == x->g.bit_len &&
           a->g.last_ts == x->g.last_ts && a->from.pos == from->pos && a->from.ts == from->ts &&
           a->from.delta == from->delta &&
           memcmp(a->bytes, x->slab->data + skip, ks_gorilla_bytes(&x->g) - skip) == 0;
}

/* A chunk that never needed a window for its values has but one. */
static ks_err add_constant(struct ks_series_set *s, const struct ksi_series *x,
                           const struct ks_gorilla_place *from, struct set_chunk *c)
{
    struct set_constant *copy = ks_arena_alloc(&s->arena, sizeof *copy);
    if (!copy)
        return ks_arena_err(&s->arena);
    if (s->last_constant && same_times(s->last_constant, x, from))
        s->last_constant->shared = true;
    else
        KS_TRY(copy_open(s, x, from, &s->last_constant));
    *copy = (struct set_constant){x->g.last_bits, s->last_constant};
    c->source = SET_OPEN_CONSTANT;
    c->u.constant = copy;
    return ksi_set_add_chunk(s, c);
}

/* The open chunk's last sample stands for the series when it is of the range, and a number. */
static bool last_is_enough(const struct ks_series_set *s, const struct ks_select_opts *o,
                           const struct ksi_series *x)
{
    return s->need == KS_NEED_LAST && x->g.last_ts <= o->max_ms &&
           !isnan(ks_f64_from_bits(x->g.last_bits));
}

/* Nothing of the series before this time is needed. */
static void needed_from(struct ks_series_set *s, uint32_t series, int64_t from_ms)
{
    struct set_series *x = &s->series[series];
    x->from_ms = from_ms > x->from_ms ? from_ms : x->from_ms;
}

static ks_err add_last(struct ks_series_set *s, uint32_t series, const struct ksi_series *x)
{
    struct set_chunk c = {.min_ms = x->g.last_ts,
                          .max_ms = x->g.last_ts,
                          .series = series,
                          .sample_count = 1,
                          .source = SET_OPEN_LAST,
                          .u.last_bits = x->g.last_bits};
    needed_from(s, series, x->g.last_ts);
    return ksi_set_add_chunk(s, &c);
}

/* Where reading the open chunk begins: at the last place before the range, or, where one number at
 * or before a time within is enough and all are behind it, at the last place before that. */
static struct ks_gorilla_place begin_at(struct ks_series_set *s, const struct ks_select_opts *o,
                                        uint32_t series, const struct ksi_series *x)
{
    /* Where samples are thinned those before the range count too. */
    bool all = s->e->rules || s->dedup_ms > 1;
    int64_t enough_ms = s->need == KS_NEED_EDGES ? s->since_ms : o->max_ms;
    if (s->need != KS_NEED_ALL && enough_ms < INT64_MAX) {
        struct ks_gorilla_place near = ksi_marks_find(x, enough_ms + 1);
        if ((int64_t)near.ts <= enough_ms && (int64_t)near.ts >= o->min_ms &&
            x->g.fell4 != KS_GORILLA_UNSURE && !isnan(ks_f64_from_bits(near.bits))) {
            needed_from(s, series, (int64_t)near.ts);
            return near;
        }
    }
    return ksi_marks_find(x, all ? INT64_MIN : o->min_ms);
}

static ks_err add_open(struct ks_series_set *s, const struct ks_select_opts *o, uint32_t series,
                       const struct ksi_series *x)
{
    if (last_is_enough(s, o, x))
        return add_last(s, series, x);
    struct ks_gorilla_place from = begin_at(s, o, series, x);
    struct set_chunk c = {.min_ms = ks_gorilla_first_ts(x->slab->data),
                          .max_ms = x->g.last_ts,
                          .series = series,
                          .sample_count = x->g.count,
                          .source = SET_OPEN};
    if (!x->g.sig)
        return add_constant(s, x, &from, &c);
    KS_TRY(copy_open(s, x, &from, &c.u.open));
    return ksi_set_add_chunk(s, &c);
}

static ks_err add_late(struct ks_series_set *s, const struct ks_select_opts *o, uint32_t series,
                       const struct ksi_side *side)
{
    const struct ksi_sample *x = side->items;
    struct set_chunk c = {.min_ms = x[0].ts,
                          .max_ms = x[0].ts,
                          .series = series,
                          .sample_count = side->count,
                          .source = SET_LATE};
    for (uint32_t i = 1; i < side->count; i++) {
        c.min_ms = x[i].ts < c.min_ms ? x[i].ts : c.min_ms;
        c.max_ms = x[i].ts > c.max_ms ? x[i].ts : c.max_ms;
    }
    if (c.min_ms > o->max_ms || c.max_ms < o->min_ms)
        return KS_OK;
    struct ksi_sample *copy = ks_arena_array(&s->arena, side->count, sizeof *copy);
    if (!copy)
        return ks_arena_err(&s->arena);
    memcpy(copy, x, side->count * sizeof *copy);
    c.u.late = copy;
    return ksi_set_add_chunk(s, &c);
}

static ks_err add_records(struct ks_series_set *s, struct ks_slice bytes, struct set_chunk c)
{
    struct set_records *copy = ks_arena_alloc(&s->arena, sizeof *copy + bytes.len);
    if (!copy)
        return ks_arena_err(&s->arena);
    copy->len = (uint32_t)bytes.len;
    memcpy(copy->bytes, bytes.ptr, bytes.len);
    c.kind = KS_CHUNK_HISTOGRAM;
    c.u.records = copy;
    return ksi_set_add_chunk(s, &c);
}

static ks_err add_histograms(struct ks_series_set *s, uint32_t series, const struct ksi_hist *h)
{
    struct set_chunk open = {.min_ms = h->first_ts,
                             .max_ms = h->last_ts,
                             .series = series,
                             .sample_count = h->count,
                             .source = SET_OPEN_HISTOGRAMS};
    struct set_chunk late = {.min_ms = h->late_min_ts,
                             .max_ms = h->late_max_ts,
                             .series = series,
                             .sample_count = h->late_count,
                             .source = SET_LATE_HISTOGRAMS};
    if (h->count)
        KS_TRY(add_records(s, ks_buf_view(&h->open), open));
    return h->late_count ? add_records(s, ks_buf_view(&h->late), late) : KS_OK;
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
    if (s->labels_only)
        return KS_OK;
    if (open_in(x, o->min_ms, o->max_ms))
        KS_TRY(add_open(s, o, series, x));
    if (x->side)
        KS_TRY(add_late(s, o, series, x->side));
    if (h)
        KS_TRY(add_histograms(s, series, h));
    for (struct ksi_sealed *k = x->sealed; k; k = k->next) {
        if (k->meta.min_ms > o->max_ms || k->meta.max_ms < o->min_ms ||
            k->meta.max_ms < s->series[series].from_ms)
            continue;
        struct set_chunk c = ksi_set_chunk_of(series, SET_SEALED, &k->meta);
        c.u.sealed = k;
        atomic_fetch_add(&k->refs, 1);
        ks_err err = ksi_set_add_chunk(s, &c);
        if (err != KS_OK) {
            ksi_sealed_unref(k);
            return err;
        }
    }
    return KS_OK;
}

/* --- what series some places on will be asked for, in the order it is found by --- */
enum { SERIES_AHEAD = 16, SLABS_AHEAD = 8, MARKS_AHEAD = 4 };

static void prefetch_series(struct ksi_shard *s, uint32_t local)
{
    if (local >= s->local_end)
        return;
    __builtin_prefetch(ksi_series_at(s, local));
    if (local < s->ident_cap)
        __builtin_prefetch(&s->idents[local]);
}

static void prefetch_slab(struct ksi_shard *s, uint32_t local)
{
    if (local >= s->local_end)
        return;
    const struct ksi_series *x = ksi_series_at(s, local);
    __builtin_prefetch(x->slab);
    __builtin_prefetch((const char *)x->slab + 64);
    if (x->side)
        __builtin_prefetch(x->side);
    if (x->sealed)
        __builtin_prefetch(x->sealed);
}

static void prefetch_marks(struct ksi_shard *s, uint32_t local)
{
    const struct ksi_slab *b = local < s->local_end ? ksi_series_at(s, local)->slab : NULL;
    if (b)
        __builtin_prefetch(b->data + b->cap);
}

/* Those of the first series, then those that the series at `at` makes room for. */
static void prefetch_first(struct ksi_shard *s, const uint32_t *locals, size_t n)
{
    for (size_t i = 0; i < SERIES_AHEAD && i < n; i++)
        prefetch_series(s, locals[i]);
    for (size_t i = 0; i < SLABS_AHEAD && i < n; i++)
        prefetch_slab(s, locals[i]);
    for (size_t i = 0; i < MARKS_AHEAD && i < n; i++)
        prefetch_marks(s, locals[i]);
}

static void prefetch(struct ksi_shard *s, const uint32_t *locals, size_t at, size_t n)
{
    if (at + SERIES_AHEAD < n)
        prefetch_series(s, locals[at + SERIES_AHEAD]);
    if (at + SLABS_AHEAD < n)
        prefetch_slab(s, locals[at + SLABS_AHEAD]);
    if (at + MARKS_AHEAD < n)
        prefetch_marks(s, locals[at + MARKS_AHEAD]);
}

/* Series of one shard; KS_EAGAIN when series were dropped meanwhile and the ids may mean others. */
static ks_err add_shard(struct ks_series_set *s, const struct ks_select_opts *o, uint32_t shard_no,
                        uint64_t epoch, const uint32_t *locals, size_t n, struct ks_buf *labels)
{
    struct ksi_shard *shard = &s->e->shards[shard_no];
    ks_err err = KS_OK;
    for (size_t at = 0; at < n && err == KS_OK; at += SLICE) {
        size_t end = at + SLICE < n ? at + SLICE : n;
        pthread_mutex_lock(&shard->lock);
        if (atomic_load(&s->e->drop_epochs[shard_no]) != epoch)
            err = KS_EAGAIN;
        if (at == 0 && err == KS_OK)
            prefetch_first(shard, locals, n);
        for (size_t i = at; i < end && err == KS_OK; i++) {
            prefetch(shard, locals, i, n);
            if (locals[i] < shard->local_end && ksi_series_at(shard, locals[i])->slab)
                err = add_series(s, o, shard, locals[i], labels);
        }
        pthread_mutex_unlock(&shard->lock);
        if (err == KS_OK)
            err = ks_read_ctx_check(o->ctx);
    }
    return err;
}

/* Writes the local ids, shard after shard; ends[k]: where shard k's end. */
static void deal(const uint32_t *sids, size_t n, uint32_t shards, uint32_t *locals, size_t *ends)
{
    memset(ends, 0, shards * sizeof *ends);
    for (size_t i = 0; i < n; i++)
        ends[ksi_sid_shard(sids[i], shards)]++;
    size_t begin = 0;
    for (uint32_t k = 0; k < shards; k++) { /* counts become begins, which move to the ends */
        size_t count = ends[k];
        ends[k] = begin;
        begin += count;
    }
    for (size_t i = 0; i < n; i++)
        locals[ends[ksi_sid_shard(sids[i], shards)]++] = ksi_sid_local(sids[i], shards);
}

static ks_err add_all(struct ks_series_set *s, const struct ks_select_opts *o,
                      const roaring_bitmap_t *found, const uint64_t *epochs, struct ks_buf *labels)
{
    uint32_t shards = s->e->shard_count;
    size_t n = roaring_bitmap_get_cardinality(found);
    KS_TRY(ksi_set_expect(s, n));
    uint32_t *sids = ks_alloc_array(2 * n + 1, sizeof *sids), *locals = sids + n;
    size_t *ends = ks_arena_array(&s->arena, shards, sizeof *ends), begin = 0;
    ks_err err = sids && ends ? KS_OK : KS_ENOMEM;
    if (err == KS_OK) {
        roaring_bitmap_to_uint32_array(found, sids);
        deal(sids, n, shards, locals, ends);
    }
    for (uint32_t k = 0; k < shards && err == KS_OK; begin = ends[k++])
        err = add_shard(s, o, k, epochs[k], locals + begin, ends[k] - begin, labels);
    ks_free(sids);
    return err;
}

static ks_err select_once(struct ks_series_set *s, const struct ks_select_opts *o,
                          struct ks_tenant tenant, uint64_t *epochs, struct ks_buf *labels)
{
    roaring_bitmap_t *found;
    for (uint32_t i = 0; i < s->e->shard_count; i++)
        epochs[i] = atomic_load(&s->e->drop_epochs[i]);
    KS_TRY(ks_live_index_select(s->e->live, tenant, o->selectors, o->selector_count, &found));
    ks_err err = add_all(s, o, found, epochs, labels);
    roaring_bitmap_free(found);
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
