/*
 * Selecting series: the head first, then the parts. In that order a chunk on its way from head to
 * part is seen at least once; seen twice, the copies are told by their content hash and one is left
 * out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/series_set.h"
#include "sys/clock.h"

enum { SET_ARENA_MAX_SHIFT = 34, CHECK_EVERY = 1024 };

ks_err ks_read_ctx_check(struct ks_read_ctx *ctx)
{
    if (!ctx)
        return KS_OK;
    if (ctx->cancel && atomic_load_explicit(ctx->cancel, memory_order_relaxed))
        return ks_fail(KS_ECANCELED, "the query was canceled");
    if (ctx->deadline_mono_ms && ks_mono_ms() > ctx->deadline_mono_ms)
        return ks_fail(KS_ETIMEDOUT,
                       "the query exceeded its time limit (-search.maxQueryDuration)");
    return KS_OK;
}

/* --- series --- */

enum { FEW_SERIES = 1024, FEW_SHARE = 32 };

static size_t table_home(const struct set_index *x, uint32_t no)
{
    return ks_mix64(no) & x->table_mask;
}

static ks_err table_grow(struct set_index *x)
{
    size_t old = x->table ? x->table_mask + 1 : 0, n = old ? old * 4 : 256;
    uint64_t *before = x->table, *t = ks_zalloc_array(n, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    x->table = t;
    x->table_mask = n - 1;
    for (size_t i = 0; i < old; i++) {
        if (!before[i])
            continue;
        size_t at = table_home(x, (uint32_t)(before[i] >> 32));
        while (t[at])
            at = (at + 1) & x->table_mask;
        t[at] = before[i];
    }
    ks_free(before);
    return KS_OK;
}

/* From the table to the array: many of the identities there are have been met. */
static ks_err index_by_no(struct ks_series_set *s, bool own)
{
    struct set_index *x = &s->index[own];
    size_t cap = (size_t)ksi_idents_count(own ? s->own : s->idents) + FEW_SERIES;
    if (!(x->by_no = ks_zalloc_array(cap, sizeof *x->by_no)))
        return KS_ENOMEM;
    x->no_cap = cap;
    for (size_t i = 0; i < s->series_count; i++)
        if (s->series[i].ident->own == own)
            x->by_no[s->series[i].ident->no] = (uint32_t)i + 1;
    ks_free(x->table);
    x->table = NULL;
    return KS_OK;
}

/* The array covers the number afterwards. */
static ks_err index_room(struct set_index *x, uint32_t no)
{
    size_t old = x->no_cap;
    if (no < old)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&x->by_no, &x->no_cap, no + (size_t)1, sizeof *x->by_no));
    memset(x->by_no + old, 0, (x->no_cap - old) * sizeof *x->by_no);
    return KS_OK;
}

static ks_err series_add(struct ks_series_set *s, const struct ksi_ident *ident, uint32_t *ret)
{
    if (s->ctx && s->ctx->max_series && s->series_count >= s->ctx->max_series)
        return ks_fail(KS_ELIMIT,
                       "the number of matching timeseries exceeds %llu; either narrow down the "
                       "search or increase "
                       "-search.max* command-line flag values",
                       (unsigned long long)s->ctx->max_series);
    KS_TRY(ks_array_reserve((void **)&s->series, &s->series_cap, s->series_count + 1,
                            sizeof *s->series));
    s->series[s->series_count] = (struct set_series){.ident = ident, .from_ms = INT64_MIN};
    *ret = (uint32_t)s->series_count++;
    return KS_OK;
}

static const struct ksi_idents *generation(const struct ks_series_set *s, bool own)
{
    return own ? s->own : s->idents;
}

ks_err ksi_set_series(struct ks_series_set *s, bool own, uint32_t no, uint32_t *ret)
{
    struct set_index *x = &s->index[own];
    if (x->by_no) {
        KS_TRY(index_room(x, no));
        uint32_t *slot = &x->by_no[no];
        if (!*slot) {
            KS_TRY(series_add(s, ksi_idents_at(generation(s, own), no), ret));
            *slot = *ret + 1;
        }
        *ret = *slot - 1;
        return KS_OK;
    }
    if (!x->table || x->table_count * 2 > x->table_mask)
        KS_TRY(table_grow(x));
    size_t at = table_home(x, no);
    for (; x->table[at]; at = (at + 1) & x->table_mask)
        if (x->table[at] >> 32 == no) {
            *ret = (uint32_t)x->table[at] - 1;
            return KS_OK;
        }
    KS_TRY(series_add(s, ksi_idents_at(generation(s, own), no), ret));
    x->table[at] = (uint64_t)no << 32 | (*ret + 1);
    if (++x->table_count >= FEW_SERIES &&
        x->table_count * FEW_SHARE > ksi_idents_count(generation(s, own)))
        KS_TRY(index_by_no(s, own));
    return KS_OK;
}

ks_err ksi_set_series_of(struct ks_series_set *s, struct ks_tenant tenant, struct ks_slice labels,
                         uint32_t *ret_no1, uint32_t *ret)
{
    ks_hash128 fp = ks_series_fp(tenant, labels);
    const struct ksi_ident *i = s->idents ? ksi_ident_intern(s->idents, fp, tenant, labels) : NULL;
    *ret_no1 = i ? i->no + 1 : 0;
    if (i)
        return ksi_set_series(s, false, i->no, ret);
    if (!s->own && !(s->own = ksi_idents_own()))
        return KS_ENOMEM;
    i = ksi_ident_intern(s->own, fp, tenant, labels);
    return i ? ksi_set_series(s, true, i->no, ret) : KS_ENOMEM;
}

/* Of the set's generation; NULL when it is not there yet. */
static const struct set_series *find_series(const struct ks_series_set *s, uint32_t no)
{
    const struct set_index *x = &s->index[false];
    if (x->by_no)
        return no < x->no_cap && x->by_no[no] ? &s->series[x->by_no[no] - 1] : NULL;
    if (!x->table)
        return NULL;
    for (size_t at = table_home(x, no); x->table[at]; at = (at + 1) & x->table_mask)
        if (x->table[at] >> 32 == no)
            return &s->series[(uint32_t)x->table[at] - 1];
    return NULL;
}

static ks_err too_large(const struct ks_series_set *s)
{
    return ks_fail(KS_ELIMIT,
                   "selecting these series needs more than -search.maxMemoryPerQuery=%zu bytes "
                   "(%zu series so far); possible solutions: reducing the number of matching time "
                   "series or the time range; increasing -search.maxMemoryPerQuery",
                   s->arena.cap_bytes, s->series_count);
}

/* The arena has the same limit on its own. */
static ks_err memory_check(const struct ks_series_set *s)
{
    size_t max = s->ctx ? s->ctx->max_bytes : 0;
    size_t used =
        s->arena.used_bytes + s->chunk_cap * sizeof *s->chunks + s->series_cap * sizeof *s->series;
    if (!max || used <= max)
        return KS_OK;
    return too_large(s);
}

ks_err ksi_set_expect(struct ks_series_set *s, size_t n)
{
    if (s->ctx && s->ctx->max_series && n > s->ctx->max_series)
        n = s->ctx->max_series;
    KS_TRY(ks_array_reserve((void **)&s->series, &s->series_cap, s->series_count + n,
                            sizeof *s->series));
    if (!s->labels_only)
        KS_TRY(ks_array_reserve((void **)&s->chunks, &s->chunk_cap, s->chunk_count + n,
                                sizeof *s->chunks));
    return memory_check(s);
}

ks_err ksi_set_chunk_room(struct ks_series_set *s)
{
    KS_TRY(memory_check(s));
    return ks_array_reserve((void **)&s->chunks, &s->chunk_cap, s->chunk_count + 1,
                            sizeof *s->chunks);
}

/* --- parts --- */

ks_err ksi_part_matching(const struct ksi_part_view *v, const struct ks_select_opts *o,
                         struct ks_tenant tenant, roaring_bitmap_t **ret)
{
    ks_err err = ks_sindex_select(v->part->p.index, tenant, o->selectors, o->selector_count, ret);
    ksi_part_suspect(v->part, err);
    KS_TRY(err);
    if (v->tombs)
        roaring_bitmap_andnot_inplace(*ret, v->tombs->rows);
    return KS_OK;
}

struct part_scan {
    struct ks_series_set *set;
    const struct ks_select_opts *o;
    struct ksi_part *part;
    struct ks_mdata_cursor *cursor;
    struct ksi_rows *rows; /* NULL: identities are not remembered */
    bool any_row;          /* the directory need not be asked: each row counts */
    size_t missed;
    struct ks_sindex_cursor *labels_cursor; /* once it pays */
    struct ks_chunk_ref *refs;
    size_t ref_cap;
    struct ks_buf labels;
};

/* Labels of a row that no query met before. */
static ks_err read_labels(struct part_scan *p, uint32_t ord, struct ks_tenant *ret_tenant,
                          struct ks_slice *ret)
{
    enum { CURSOR_PAYS = 32 };
    struct ks_sindex *x = p->part->p.index;
    bool more;
    if (p->missed++ < CURSOR_PAYS) {
        ks_buf_reset(&p->labels);
        KS_TRY(ks_sindex_series(x, ord, &p->labels, ret_tenant));
        *ret = ks_buf_view(&p->labels);
        return ks_buf_status(&p->labels);
    }
    if (!p->labels_cursor)
        KS_TRY(ks_sindex_cursor_new(x, &p->labels_cursor));
    ks_sindex_cursor_seek(p->labels_cursor, ord);
    return ks_sindex_cursor_next(p->labels_cursor, &more, ret_tenant, ret);
}

static ks_err series_of_row(struct part_scan *p, uint32_t ord, uint32_t *ret)
{
    uint32_t no1 = p->rows ? ksi_rows_get(p->rows, ord) : 0;
    struct ks_tenant tenant;
    struct ks_slice labels;
    if (no1)
        return ksi_set_series(p->set, false, no1 - 1, ret);
    KS_TRY(read_labels(p, ord, &tenant, &labels));
    KS_TRY(ksi_set_series_of(p->set, tenant, labels, &no1, ret));
    if (no1 && p->rows)
        ksi_rows_put(p->rows, p->set->idents, ord, no1 - 1);
    return KS_OK;
}

/* Where what is needed of the row begins: the head may hold enough. */
static int64_t needed_from(const struct part_scan *p, uint32_t ord)
{
    const struct ks_series_set *s = p->set;
    uint32_t no1 = s->need != KS_NEED_ALL && p->rows ? ksi_rows_get(p->rows, ord) : 0;
    const struct set_series *x = no1 ? find_series(s, no1 - 1) : NULL;
    return x && x->from_ms > p->o->min_ms ? x->from_ms : p->o->min_ms;
}

static ks_err scan_row(struct part_scan *p, uint32_t ord)
{
    struct ks_series_set *s = p->set;
    size_t n = 0;
    uint32_t series;
    if (p->any_row)
        return series_of_row(p, ord, &series);
    int64_t from_ms = needed_from(p, ord);
    if (from_ms > p->part->max_ms)
        return KS_OK;
    KS_TRY(
        ks_mdata_cursor_chunks(p->cursor, ord, from_ms, p->o->max_ms, &p->refs, &n, &p->ref_cap));
    if (!n)
        return KS_OK;
    KS_TRY(series_of_row(p, ord, &series));
    if (s->labels_only)
        return KS_OK;
    struct ks_chunk_ref *copy = ks_arena_array(&s->arena, n, sizeof *copy);
    if (!copy)
        return ks_arena_err(&s->arena);
    memcpy(copy, p->refs, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) {
        struct set_chunk c = ksi_set_chunk_of(series, SET_PART, &copy[i].meta);
        c.u.data = p->part->p.data;
        KS_TRY(ksi_set_add_chunk(s, &c));
    }
    return KS_OK;
}

static ks_err select_part(struct ks_series_set *s, const struct ks_select_opts *o,
                          struct ks_tenant tenant, const struct ksi_part_view *v)
{
    struct part_scan p = {.set = s, .o = o, .part = v->part};
    roaring_bitmap_t *rows;
    KS_TRY(ksi_part_matching(v, o, tenant, &rows));
    ks_buf_init(&p.labels, 16 << 20);
    p.rows = ksi_rows_of(s->idents, v->part);
    p.any_row = s->labels_only && v->part->min_ms >= o->min_ms && v->part->max_ms <= o->max_ms;
    roaring_uint32_iterator_t it;
    ks_err err = ks_mdata_cursor_new(v->part->p.data, &p.cursor);
    size_t seen = 0;
    for (roaring_init_iterator(rows, &it); it.has_value && err == KS_OK;
         roaring_advance_uint32_iterator(&it)) {
        err = scan_row(&p, it.current_value);
        if (err == KS_OK && ++seen % CHECK_EVERY == 0)
            err = ks_read_ctx_check(o->ctx);
    }
    ksi_part_suspect(v->part, err);
    ks_mdata_cursor_free(p.cursor);
    ks_sindex_cursor_free(p.labels_cursor);
    ksi_rows_unref(p.rows);
    ks_free(p.refs);
    ks_buf_done(&p.labels);
    roaring_bitmap_free(rows);
    return err;
}

/* --- order and overlaps --- */

static uint32_t content_hash(const struct set_chunk *c)
{
    return c->meta ? c->meta->content_hash : 0;
}

static int by_time(const void *pa, const void *pb)
{
    const struct set_chunk *a = pa, *b = pb;
    if (a->min_ms != b->min_ms)
        return a->min_ms < b->min_ms ? -1 : 1;
    if (a->max_ms != b->max_ms)
        return a->max_ms < b->max_ms ? -1 : 1;
    return (content_hash(a) > content_hash(b)) - (content_hash(a) < content_hash(b));
}

static bool same_chunk(const struct set_chunk *a, const struct set_chunk *b)
{
    return a->min_ms == b->min_ms && a->meta && b->meta && ks_chunk_same(a->meta, b->meta);
}

/* Parts are listed by day, so chunks come nearly in order: insertion, unless that gets long. */
static void sort_chunks(struct set_chunk *c, uint32_t n)
{
    uint32_t moves = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (by_time(&c[i - 1], &c[i]) <= 0)
            continue;
        struct set_chunk x = c[i];
        uint32_t at = i;
        for (; at && by_time(&c[at - 1], &x) > 0; at--)
            c[at] = c[at - 1];
        c[at] = x;
        moves += i - at;
        if (moves > 4 * n + 64) {
            qsort(c, n, sizeof *c, by_time);
            return;
        }
    }
}

/* Sorts a series' chunks, leaves out copies, marks what overlaps. Returns the new count. */
static uint32_t order_chunks(struct set_chunk *c, uint32_t n, bool no_aggregates)
{
    if (n == 1) {
        c->overlaps = no_aggregates || c->source >= SET_OPEN || c->kind != KS_CHUNK_F64;
        return 1;
    }
    sort_chunks(c, n);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kept && same_chunk(&c[kept - 1], &c[i])) {
            if (c[i].source == SET_SEALED)
                ksi_sealed_unref(c[i].u.sealed);
            continue;
        }
        c[kept++] = c[i];
    }
    uint32_t widest = 0; /* the chunk that reaches farthest so far */
    for (uint32_t i = 0; i < kept; i++) {
        c[i].overlaps = no_aggregates || c[i].source >= SET_OPEN || c[i].kind != KS_CHUNK_F64;
        if (i && c[i].min_ms <= c[widest].max_ms)
            c[i].overlaps = c[widest].overlaps = 1;
        if (c[i].max_ms > c[widest].max_ms)
            widest = i;
    }
    return kept;
}

/*
 * Judges a series by the rules: chunks wholly outside its retention are let go, and the aggregates
 * of those that reach out of it, or that are old enough to be thinned, do not stand for their
 * samples. Returns the new count.
 */
static uint32_t apply_rules(struct ks_series_set *s, struct set_series *x, struct ks_verdict *v,
                            struct set_chunk *c, uint32_t n)
{
    uint32_t kept = 0;
    ks_buf_reset(&s->text);
    ksi_ident_labels(ksi_set_idents(s, x->ident), x->ident, &s->text);
    ks_rules_judge(s->e->rules, x->ident->tenant, ks_buf_view(&s->text), v);
    int64_t keep_from = ks_verdict_keep_from(v, s->now_ms);
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].max_ms < keep_from) {
            if (c[i].source == SET_SEALED)
                ksi_sealed_unref(c[i].u.sealed);
            continue;
        }
        if (c[i].min_ms < keep_from || ks_verdict_thins(v, s->now_ms, c[i].min_ms))
            c[i].overlaps = 1;
        c[kept++] = c[i];
    }
    return kept;
}

/* Takes series without chunks out; only rules leave such. */
static void drop_empty_series(struct ks_series_set *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->series_count; i++)
        if (s->series[i].chunk_count) {
            s->series[kept] = s->series[i];
            s->verdicts[kept++] = s->verdicts[i];
        }
    s->series_count = kept;
}

/* Brings the chunks of each series together (they were found source by source). */
static ks_err gather_chunks(struct ks_series_set *s)
{
    struct set_chunk *sorted = ks_alloc_array(s->chunk_count, sizeof *sorted);
    if (!sorted)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->series_count; i++)
        s->series[i].chunk_count = 0;
    /* what is newest last */
    for (size_t i = 0; i < s->chunk_count; i++) {
        size_t at = i + s->head_chunks;
        const struct set_chunk *c = &s->chunks[at < s->chunk_count ? at : at - s->chunk_count];
        struct set_series *x = &s->series[c->series];
        sorted[x->first_chunk + x->chunk_count++] = *c;
    }
    ks_free(s->chunks);
    s->chunks = sorted;
    s->chunk_cap = s->chunk_count;
    return KS_OK;
}

static ks_err judge_all(struct ks_series_set *s)
{
    if (!(s->verdicts = ks_alloc_array(s->series_count, sizeof *s->verdicts)))
        return KS_ENOMEM;
    for (size_t i = 0; i < s->series_count; i++) {
        struct set_series *x = &s->series[i];
        x->chunk_count =
            apply_rules(s, x, &s->verdicts[i], s->chunks + x->first_chunk, x->chunk_count);
    }
    drop_empty_series(s);
    return ks_buf_status(&s->text);
}

static ks_err arrange(struct ks_series_set *s)
{
    uint32_t at = 0;
    for (size_t i = 0; i < s->series_count; i++) {
        s->series[i].first_chunk = at;
        at += s->series[i].chunk_count;
    }
    if (s->mixed)
        KS_TRY(gather_chunks(s));
    s->arranged = true;
    for (size_t i = 0; i < s->series_count; i++)
        s->series[i].chunk_count = order_chunks(s->chunks + s->series[i].first_chunk,
                                                s->series[i].chunk_count, s->dedup_ms > 1);
    return s->e->rules ? judge_all(s) : KS_OK;
}

/* --- tenants --- */

struct tenant_list {
    struct ks_arena *arena;
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

static bool add_tenant(void *arg, struct ks_tenant t)
{
    struct tenant_list *l = arg;
    for (size_t i = 0; i < l->count; i++)
        if (ks_tenant_eq(l->items[i], t))
            return true;
    l->err = ks_arena_grow(l->arena, (void **)&l->items, &l->cap, l->count + 1, sizeof t);
    if (l->err == KS_OK)
        l->items[l->count++] = t;
    return l->err == KS_OK;
}

static bool part_in_range(const struct ksi_part *p, int64_t min_ms, int64_t max_ms)
{
    return p->min_ms <= max_ms && p->max_ms >= min_ms;
}

ks_err ksi_tenants_of(struct ks_engine *e, const struct ks_select_opts *o, struct ks_arena *a,
                      struct ks_tenant **ret, size_t *ret_count)
{
    struct tenant_list l = {.arena = a};
    if (o->tenants) {
        *ret = (struct ks_tenant *)o->tenants;
        *ret_count = o->tenant_count;
        return KS_OK;
    }
    ks_err err = ks_live_index_tenants(e->live, add_tenant, &l);
    struct ksi_part_list *parts = ksi_parts_pin(&e->parts);
    for (size_t i = 0; i < parts->count && err == KS_OK && l.err == KS_OK; i++)
        if (part_in_range(parts->views[i].part, o->min_ms, o->max_ms))
            err = ks_sindex_tenants(parts->views[i].part->p.index, add_tenant, &l);
    ksi_parts_unpin(parts);
    *ret = l.items;
    *ret_count = l.count;
    return err == KS_OK ? l.err : err;
}

static int by_tenant(const void *a, const void *b)
{
    uint64_t x = ks_tenant_key(*(const struct ks_tenant *)a),
             y = ks_tenant_key(*(const struct ks_tenant *)b);
    return (x > y) - (x < y);
}

ks_err ks_engine_tenants(struct ks_engine *e, int64_t min_ms, int64_t max_ms, ks_tenant_fn fn,
                         void *arg)
{
    struct ks_arena arena;
    struct ks_tenant *list = NULL;
    size_t count = 0;
    struct ks_select_opts o = {.min_ms = min_ms, .max_ms = max_ms};
    ks_arena_init(&arena, 64 << 20);
    ks_err err = ksi_tenants_of(e, &o, &arena, &list, &count);
    if (err == KS_OK && count)
        qsort(list, count, sizeof *list, by_tenant);
    for (size_t i = 0; err == KS_OK && i < count; i++)
        if (!fn(arg, list[i]))
            break;
    ks_arena_done(&arena);
    return err;
}

/* --- entry --- */

static ks_err select_all(struct ks_series_set *s, const struct ks_select_opts *o)
{
    struct ks_tenant *tenants;
    size_t count;
    KS_TRY(ksi_tenants_of(s->e, o, &s->arena, &tenants, &count));
    for (size_t t = 0; t < count; t++)
        KS_TRY(ksi_select_head(s, o, tenants[t]));
    s->head_chunks = s->chunk_count;
    s->parts = ksi_parts_pin(&s->e->parts);
    for (size_t i = 0; i < s->parts->count; i++) {
        if (!part_in_range(s->parts->views[i].part, o->min_ms, o->max_ms))
            continue;
        for (size_t t = 0; t < count; t++)
            KS_TRY(select_part(s, o, tenants[t], &s->parts->views[i]));
    }
    return arrange(s);
}

ks_err ks_engine_select(struct ks_engine *e, const struct ks_select_opts *opts,
                        struct ks_series_set **ret)
{
    struct ks_series_set *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    struct ks_select_opts o = *opts;
    int64_t oldest = ks_engine_min_time_ms(e);
    if (o.min_ms < oldest)
        o.min_ms = oldest;
    s->e = e;
    s->idents = ksi_idents_pin(&e->idents);
    s->ctx = opts->ctx;
    s->dedup_ms = e->opts.dedup_interval_ms;
    s->now_ms = ks_now_ms();
    s->labels_only = o.no_counts && !e->rules; /* rules judge a series by its chunks */
    /* Where samples are thinned, one that is not asked for decides about another. */
    s->need = e->rules || s->dedup_ms > 1 ? KS_NEED_ALL : o.need;
    s->min_ms = opts->min_ms;
    s->max_ms = opts->max_ms;
    s->since_ms = o.since_ms;
    s->near_ms = o.near_ms <= o.since_ms - o.min_ms ? o.near_ms : o.since_ms - o.min_ms + 1;
    /* The sample that stands for the last interval may lie behind the range. */
    if (ks_rules_widest_ms(e->rules) && o.max_ms < INT64_MAX - ks_rules_widest_ms(e->rules))
        o.max_ms += ks_rules_widest_ms(e->rules);
    size_t max = s->ctx && s->ctx->max_bytes ? s->ctx->max_bytes : (size_t)1 << SET_ARENA_MAX_SHIFT;
    ks_arena_init(&s->arena, max);
    ks_arena_init(&s->texts, (size_t)1 << SET_ARENA_MAX_SHIFT);
    ks_buf_init(&s->text, KS_BUF_UNLIMITED);
    pthread_mutex_init(&s->text_lock, NULL);
    ks_err err = o.min_ms > o.max_ms ? KS_OK : select_all(s, &o);
    if (err == KS_ELIMIT && s->arena.err == KS_ELIMIT)
        err = too_large(s);
    if (err != KS_OK) {
        ks_series_set_free(s);
        return err;
    }
    *ret = s;
    return KS_OK;
}

void ks_series_set_free(struct ks_series_set *s)
{
    if (!s)
        return;
    /* After arrange() left-out copies have been let go and lie between the series' ranges: walk by
     * series then. */
    for (size_t i = 0; i < s->chunk_count && !s->arranged; i++)
        if (s->chunks[i].source == SET_SEALED)
            ksi_sealed_unref(s->chunks[i].u.sealed);
    for (size_t i = 0; i < s->series_count && s->arranged; i++)
        for (uint32_t k = 0; k < s->series[i].chunk_count; k++)
            if (s->chunks[s->series[i].first_chunk + k].source == SET_SEALED)
                ksi_sealed_unref(s->chunks[s->series[i].first_chunk + k].u.sealed);
    ks_free(s->chunks);
    ks_free(s->series);
    ks_free(s->verdicts);
    for (int i = 0; i < 2; i++) {
        ks_free(s->index[i].table);
        ks_free(s->index[i].by_no);
    }
    ksi_parts_unpin(s->parts);
    ksi_idents_unpin(s->idents);
    ksi_idents_unpin(s->own);
    ks_arena_done(&s->arena);
    ks_arena_done(&s->texts);
    ks_buf_done(&s->text);
    pthread_mutex_destroy(&s->text_lock);
    ks_free(s);
}

size_t ks_series_set_count(const struct ks_series_set *s)
{
    return s->series_count;
}

/* Written once, under the lock; found without it afterwards. */
static const struct set_text *make_text(struct ks_series_set *s, struct set_series *x)
{
    pthread_mutex_lock(&s->text_lock);
    const struct set_text *text = atomic_load_explicit(&x->text, memory_order_relaxed);
    if (!text) {
        ks_buf_reset(&s->text);
        ksi_ident_labels(ksi_set_idents(s, x->ident), x->ident, &s->text);
        struct ks_slice bytes = ks_buf_view(&s->text);
        struct set_text *t = ks_buf_status(&s->text) == KS_OK
                                 ? ks_arena_alloc(&s->texts, sizeof *t + bytes.len)
                                 : NULL;
        if (t) {
            t->len = (uint32_t)bytes.len;
            if (bytes.len)
                memcpy(t->bytes, bytes.ptr, bytes.len);
            /* release pairs with the acquire in ks_series_set_labels */
            atomic_store_explicit(&x->text, t, memory_order_release);
        }
        text = t;
    }
    pthread_mutex_unlock(&s->text_lock);
    return text;
}

ks_err ks_series_set_labels(const struct ks_series_set *s, size_t i, struct ks_slice *ret)
{
    const struct set_text *t = atomic_load_explicit(&s->series[i].text, memory_order_acquire);
    if (!t)
        t = make_text((struct ks_series_set *)s, &s->series[i]);
    if (!t)
        return ks_fail(KS_ENOMEM, "out of memory for labels of series");
    *ret = ks_slice(t->bytes, t->len);
    return KS_OK;
}

uint64_t ks_series_set_key(const struct ks_series_set *s, size_t i)
{
    return s->series[i].ident->fp_lo;
}

struct ks_tenant ks_series_set_tenant(const struct ks_series_set *s, size_t i)
{
    return s->series[i].ident->tenant;
}

size_t ks_series_chunk_count(const struct ks_series_set *s, size_t i)
{
    return s->series[i].chunk_count;
}

struct ks_chunk_view ks_series_chunk(const struct ks_series_set *s, size_t i, size_t chunk)
{
    const struct set_chunk *c = &s->chunks[s->series[i].first_chunk + chunk];
    return (struct ks_chunk_view){c->min_ms, c->max_ms, c->sample_count, c->overlaps,
                                  c->meta ? &c->meta->agg : NULL};
}
