#include "engine/traces/history.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "storage/logs/token.h"
#include "storage/traces/span_equal.h"
#include "storage/traces/span_fields.h"
#include "sys/clock.h"

enum { WRITERS_KEPT = 16, BLOCK_ARENA_BYTES = 512 << 20, TOKENS_MAX = 8 };
static const struct ks_slice service_field = {"resource_attr:service.name", 26};

struct ksi_history {
    struct ks_log_store *store;
    pthread_mutex_t lock;
    struct ks_span_rows *writers[WRITERS_KEPT]; /* idle ones */
    size_t writer_count;
    uint64_t since_ns;
};

ks_err ksi_history_new(struct ks_log_store *store, struct ksi_history **ret)
{
    struct ksi_history *h = ks_zalloc(sizeof *h);
    if (!h)
        return KS_ENOMEM;
    h->store = store;
    pthread_mutex_init(&h->lock, NULL);
    *ret = h;
    return KS_OK;
}

void ksi_history_free(struct ksi_history *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->writer_count; i++)
        ks_span_rows_free(h->writers[i]);
    pthread_mutex_destroy(&h->lock);
    ks_free(h);
}

bool ksi_history_empty(struct ksi_history *h)
{
    struct ks_log_store_stats st;
    ks_log_store_get_stats(h->store, &st);
    return !st.memory_rows && !st.part_rows;
}

void ksi_history_started(struct ksi_history *h)
{
    h->since_ns = ksi_history_empty(h) ? 0 : (uint64_t)ks_now_ns();
}

uint64_t ksi_history_since_ns(const struct ksi_history *h)
{
    return h->since_ns;
}

/* --- writing --- */
static ks_err take_writer(struct ksi_history *h, struct ks_span_rows **ret)
{
    pthread_mutex_lock(&h->lock);
    struct ks_span_rows *w = h->writer_count ? h->writers[--h->writer_count] : NULL;
    pthread_mutex_unlock(&h->lock);
    *ret = w;
    return w ? KS_OK : ks_span_rows_new(ret);
}

static void give_writer(struct ksi_history *h, struct ks_span_rows *w)
{
    ks_span_rows_begin(w); /* lets go of what a large batch took */
    pthread_mutex_lock(&h->lock);
    if (h->writer_count < WRITERS_KEPT) {
        h->writers[h->writer_count++] = w;
        w = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    ks_span_rows_free(w);
}

ks_err ksi_history_write(struct ksi_history *h, const struct ks_batch *b)
{
    struct ks_span_rows *w;
    struct ks_log_write_result res;
    KS_TRY(take_writer(h, &w));
    ks_span_rows_begin(w);
    ks_err err = ks_span_rows_add_batch(w, b);
    if (err == KS_OK)
        err = ks_log_store_write(h->store, ks_span_rows_batch(w), &res);
    give_writer(h, w);
    return err;
}

/* --- scanning --- */
struct walk {
    struct ks_log_scan *scan;
    struct ks_log_block *block;
    const struct ks_trace_query *q; /* NULL: none */
    uint64_t *bits, *some;          /* of the block at hand */
    size_t cap;
    struct ks_read_ctx ctx;
};

static bool same_text(void *arg, struct ks_slice v)
{
    return ks_slice_eq(*(const struct ks_slice *)arg, v);
}

static struct ks_log_pred exactly(const struct ks_slice *text)
{
    return (struct ks_log_pred){.match = same_text,
                                .arg = (void *)(uintptr_t)text,
                                .match_empty = !text->len,
                                .literal = *text,
                                .exact = text,
                                .exact_count = 1};
}

static bool want_stream(void *arg, const struct ks_log_stream *s)
{
    const struct ks_trace_query *q = arg;
    return (!q->service.len || ks_slice_eq(ks_labels_get(s->tags, service_field), q->service)) &&
           (!q->operation.len ||
            ks_slice_eq(ks_labels_get(s->tags, KS_SLICE_LIT("name")), q->operation));
}

static ks_err walk_open(struct walk *w, struct ksi_history *h, const struct ks_tenant *tenant,
                        const struct ks_trace_query *q)
{
    *w = (struct walk){.q = q};
    struct ks_log_scan_opts o = {
        .tenants = tenant, .tenant_count = 1, .min_ns = INT64_MIN, .max_ns = INT64_MAX};
    if (q) {
        w->ctx =
            (struct ks_read_ctx){.cancel = q->cancel, .deadline_mono_ms = q->deadline_us / 1000};
        o.ctx = &w->ctx;
        /* A span that fits ends at or after the earliest start: one that ends before it starts is
         * looked for where it ends, as VictoriaTraces does. */
        o.min_ns = q->min_start_ns > INT64_MAX ? INT64_MAX : (int64_t)q->min_start_ns;
        if (q->by_end && q->max_start_ns < INT64_MAX)
            o.max_ns = (int64_t)q->max_start_ns;
        if (q->service.len || q->operation.len) {
            o.stream = want_stream;
            o.stream_arg = (void *)(uintptr_t)q;
        }
    }
    KS_TRY(ks_log_store_scan(h->store, &o, &w->scan));
    ks_err err = ks_log_block_new(&w->block);
    if (err != KS_OK)
        ks_log_scan_free(w->scan);
    return err;
}

static void walk_close(struct walk *w)
{
    ks_log_block_free(w->block);
    ks_log_scan_free(w->scan);
    ks_free(w->bits);
    ks_free(w->some);
}

static ks_err walk_check(struct walk *w)
{
    return w->q && (w->ctx.cancel || w->ctx.deadline_mono_ms) ? ks_read_ctx_check(&w->ctx) : KS_OK;
}

/* The block's rows of the scan; *ret_any false: none. */
static ks_err walk_block(struct walk *w, size_t i, bool *ret_any)
{
    KS_TRY(walk_check(w));
    KS_TRY(ks_log_block_open(w->block, w->scan, i));
    uint32_t rows = ks_log_block_rows(w->block);
    size_t words = KS_ROW_WORDS(rows), cap = w->cap;
    *ret_any = rows > 0;
    if (!rows)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&w->bits, &cap, words, sizeof *w->bits));
    KS_TRY(ks_array_reserve((void **)&w->some, &w->cap, words, sizeof *w->some));
    memset(w->bits, 0xff, words * sizeof *w->bits);
    if (rows % 64)
        w->bits[words - 1] = ((uint64_t)1 << rows % 64) - 1;
    return ks_log_block_select(w->block, w->bits, ret_any);
}

static bool any_bit(const uint64_t *bits, uint32_t rows)
{
    uint64_t any = 0;
    for (uint32_t i = 0; i < KS_ROW_WORDS(rows); i++)
        any |= bits[i];
    return any != 0;
}

/* --- conditions that texts alone decide --- */
/* A text a number, boolean, array or run of bytes might be written as in another way. */
static bool ambiguous(struct ks_slice v)
{
    int64_t n;
    double d;
    bool hex = v.len % 2 == 0;
    for (size_t i = 0; i < v.len && hex; i++)
        hex = (v.ptr[i] >= '0' && v.ptr[i] <= '9') || (v.ptr[i] >= 'a' && v.ptr[i] <= 'f');
    return !v.len || hex || v.ptr[0] == '[' || v.ptr[0] == '{' || ks_slice_is(v, "-") ||
           ks_i64_parse(v, &n) || ks_f64_parse(v, &d);
}

/* Leaves rows out that cannot fit; the spans of the others are looked at whole. Rows whose fields
 * are not all of the span (a key too long for a field) are never left out. */
static ks_err prefilter(struct walk *w, struct ks_arena *arena)
{
    const struct ks_trace_query *q = w->q;
    uint32_t rows = ks_log_block_rows(w->block);
    size_t words = KS_ROW_WORDS(rows);
    for (size_t i = 0; q && i < q->cond_count && any_bit(w->bits, rows); i++) {
        const struct ks_trace_cond *c = &q->conds[i];
        const char *prefix = c->scopes == KS_COND_RESOURCE ? "resource_attr:"
                             : c->scopes == KS_COND_SPAN   ? "span_attr:"
                                                           : NULL;
        if (!prefix || c->negate || ambiguous(c->value))
            continue;
        struct ks_slice field = ks_arena_printf(arena, "%s%.*s", prefix, KS_SLICE_ARG(c->key));
        if (!field.ptr)
            return ks_arena_err(arena);
        struct ks_slice raw = KS_SLICE_LIT(KS_SPAN_ROW_HIDDEN "raw");
        struct ks_slice none = ks_slice("", 0);
        struct ks_log_pred fits = exactly(&c->value), plain = exactly(&none);
        struct ks_slice tokens[TOKENS_MAX];
        size_t at = 0;
        fits.tokens = tokens;
        while (fits.token_count < TOKENS_MAX &&
               ks_token_next(c->value, &at, &tokens[fits.token_count]))
            fits.token_count++;
        uint64_t *whole = ks_arena_array(arena, words + 1, sizeof *whole);
        if (!whole)
            return ks_arena_err(arena);
        memcpy(whole, w->bits, words * sizeof *whole);
        KS_TRY(ks_log_block_filter(w->block, raw, &plain, whole)); /* bits: rows without raw */
        for (size_t k = 0; k < words; k++)
            whole[k] = w->bits[k] & ~whole[k];
        KS_TRY(ks_log_block_filter(w->block, field, &fits, w->bits));
        for (size_t k = 0; k < words; k++)
            w->bits[k] |= whole[k];
    }
    return KS_OK;
}

/* --- traces by id --- */
static ks_err rows_of_ids(struct walk *w, const struct ks_trace_id *ids, size_t count,
                          struct ks_arena *arena, struct ks_span **io, size_t *io_count,
                          size_t *io_cap)
{
    uint32_t rows = ks_log_block_rows(w->block);
    size_t words = KS_ROW_WORDS(rows), n;
    struct ks_span *spans;
    uint64_t *found = ks_arena_zalloc(arena, (words + 1) * sizeof *found);
    if (!found)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++) {
        char text[32];
        ks_trace_id_text(ids[i], text);
        struct ks_slice id = ks_slice(text, sizeof text);
        struct ks_log_pred p = exactly(&id);
        p.tokens = &id;
        p.token_count = 1;
        memcpy(w->some, w->bits, words * sizeof *w->some);
        KS_TRY(ks_log_block_filter(w->block, KS_SLICE_LIT("trace_id"), &p, w->some));
        for (size_t k = 0; k < words; k++)
            found[k] |= w->some[k];
    }
    if (!any_bit(found, rows))
        return KS_OK;
    KS_TRY(ks_span_rows_read(w->block, found, arena, &spans, &n));
    KS_TRY(ks_arena_grow(arena, (void **)io, io_cap, *io_count + n, sizeof **io));
    memcpy(*io + *io_count, spans, n * sizeof *spans);
    *io_count += n;
    return KS_OK;
}

ks_err ksi_history_get(struct ksi_history *h, struct ks_tenant tenant,
                       const struct ks_trace_id *ids, size_t count, struct ks_arena *arena,
                       struct ks_span **ret, size_t *ret_count)
{
    struct walk w;
    struct ks_span *spans = NULL;
    size_t n = 0, cap = 0;
    bool any;
    KS_TRY(walk_open(&w, h, &tenant, NULL));
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_log_scan_count(w.scan) && err == KS_OK; i++) {
        err = walk_block(&w, i, &any);
        if (err == KS_OK && any)
            err = rows_of_ids(&w, ids, count, arena, &spans, &n, &cap);
    }
    walk_close(&w);
    KS_TRY(err);
    KS_TRY(ks_spans_drop_repeats(spans, &n, arena));
    *ret = spans;
    *ret_count = n;
    return KS_OK;
}

/* --- searches --- */
struct hit {
    struct ks_trace_id id;
    int64_t time_ns; /* of the newest span that fits */
};
struct hits {
    struct hit *items;
    size_t count, cap;
    const struct ks_trace_id *known;
    size_t known_count;
};

static int by_id(const void *pa, const void *pb)
{
    const struct ks_trace_id *a = pa, *b = pb;
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

static int newest_first(const void *pa, const void *pb)
{
    const struct hit *a = pa, *b = pb;
    if (a->time_ns != b->time_ns)
        return a->time_ns > b->time_ns ? -1 : 1;
    return by_id(&a->id, &b->id);
}

static ks_err add_hit(struct hits *h, struct ks_trace_id id, int64_t time_ns)
{
    if (h->known_count && bsearch(&id, h->known, h->known_count, sizeof id, by_id))
        return KS_OK;
    for (size_t i = h->count; i-- > 0;)
        if (ks_trace_id_eq(h->items[i].id, id)) {
            if (time_ns > h->items[i].time_ns)
                h->items[i].time_ns = time_ns;
            return KS_OK;
        }
    KS_TRY(ks_array_reserve((void **)&h->items, &h->cap, h->count + 1, sizeof *h->items));
    h->items[h->count++] = (struct hit){id, time_ns};
    return KS_OK;
}

/* Keeps the newest `limit`; the time of the last of them is what further hits have to beat. */
static int64_t cut(struct hits *h, size_t limit)
{
    if (h->count)
        qsort(h->items, h->count, sizeof *h->items, newest_first);
    if (h->count < limit)
        return INT64_MIN;
    h->count = limit;
    return limit ? h->items[limit - 1].time_ns : INT64_MAX;
}

static ks_err search_block(struct walk *w, struct ks_arena *arena, struct hits *hits)
{
    struct ks_span *spans;
    size_t n;
    ks_arena_reset(arena);
    KS_TRY(prefilter(w, arena));
    if (!any_bit(w->bits, ks_log_block_rows(w->block)))
        return KS_OK;
    KS_TRY(ks_span_rows_read(w->block, w->bits, arena, &spans, &n));
    for (size_t i = 0; i < n; i++)
        if (ks_trace_query_matches(w->q, &spans[i]))
            KS_TRY(add_hit(hits, spans[i].trace_id, ks_span_time_ns(&spans[i])));
    return KS_OK;
}

static ks_err search_blocks(struct walk *w, struct hits *hits)
{
    struct ks_arena arena;
    int64_t beat = INT64_MIN;
    bool any;
    ks_arena_init(&arena, BLOCK_ARENA_BYTES);
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_log_scan_count(w->scan) && err == KS_OK; i++) {
        if (ks_log_scan_meta(w->scan, i).max_ns < beat)
            break; /* blocks come newest first */
        err = walk_block(w, i, &any);
        if (err == KS_OK && any)
            err = search_block(w, &arena, hits);
        if (err == KS_OK)
            beat = cut(hits, w->q->limit);
    }
    ks_arena_done(&arena);
    return err;
}

ks_err ksi_history_search(struct ksi_history *h, struct ks_tenant tenant,
                          const struct ks_trace_query *q, const struct ks_trace_id *known,
                          size_t known_count, struct ks_arena *arena, struct ks_trace_id **ret,
                          size_t *ret_count)
{
    struct walk w;
    struct ks_trace_id *sorted = ks_alloc_array(known_count + 1, sizeof *sorted);
    if (!sorted)
        return KS_ENOMEM;
    if (known_count) {
        memcpy(sorted, known, known_count * sizeof *known);
        qsort(sorted, known_count, sizeof *sorted, by_id);
    }
    struct hits hits = {.known = sorted, .known_count = known_count};
    ks_err err = walk_open(&w, h, &tenant, q);
    if (err == KS_OK) {
        err = search_blocks(&w, &hits);
        walk_close(&w);
    }
    struct ks_trace_id *ids = ks_arena_array(arena, hits.count + 1, sizeof *ids);
    if (err == KS_OK && !ids)
        err = ks_arena_err(arena);
    for (size_t i = 0; i < hits.count && err == KS_OK; i++)
        ids[i] = hits.items[i].id;
    *ret = ids;
    *ret_count = hits.count;
    ks_free(hits.items);
    ks_free(sorted);
    return err;
}

/* --- heads and names --- */
static ks_err heads_block(struct walk *w, struct ks_arena *arena, ks_span_head_fn fn, void *arg)
{
    struct ks_span *spans;
    size_t n;
    ks_arena_reset(arena);
    KS_TRY(prefilter(w, arena));
    if (!any_bit(w->bits, ks_log_block_rows(w->block)))
        return KS_OK;
    KS_TRY(ks_span_rows_read(w->block, w->bits, arena, &spans, &n));
    for (size_t i = 0; i < n; i++) {
        const struct ks_span *s = &spans[i];
        struct ks_span_head head = {.service = s->resource->service,
                                    .name = s->name,
                                    .kind = s->kind,
                                    .status = s->status,
                                    .start_ns = s->start_ns,
                                    .end_ns = s->end_ns};
        if (ks_trace_query_matches(w->q, s))
            KS_TRY(fn(arg, &head));
    }
    return KS_OK;
}

ks_err ksi_history_heads(struct ksi_history *h, struct ks_tenant tenant,
                         const struct ks_trace_query *q, ks_span_head_fn fn, void *arg)
{
    struct walk w;
    struct ks_arena arena;
    bool any;
    KS_TRY(walk_open(&w, h, &tenant, q));
    ks_arena_init(&arena, BLOCK_ARENA_BYTES);
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_log_scan_count(w.scan) && err == KS_OK; i++) {
        err = walk_block(&w, i, &any);
        if (err == KS_OK && any)
            err = heads_block(&w, &arena, fn, arg);
    }
    ks_arena_done(&arena);
    walk_close(&w);
    return err;
}

struct names {
    struct ks_slice service;
    ksi_name_fn fn;
    void *arg;
    ks_err err;
};

static bool note_stream(void *arg, const struct ks_log_stream *s, uint64_t rows)
{
    struct names *n = arg;
    struct ks_slice service = ks_labels_get(s->tags, service_field);
    if (!n->service.len && service.len)
        n->err = n->fn(n->arg, service);
    else if (n->service.len && ks_slice_eq(service, n->service))
        n->err = n->fn(n->arg, ks_labels_get(s->tags, KS_SLICE_LIT("name")));
    return n->err == KS_OK;
}

ks_err ksi_history_names(struct ksi_history *h, struct ks_tenant tenant, struct ks_slice service,
                         ksi_name_fn fn, void *arg)
{
    struct names n = {service, fn, arg, KS_OK};
    struct ks_log_scan_opts o = {
        .tenants = &tenant, .tenant_count = 1, .min_ns = INT64_MIN, .max_ns = INT64_MAX};
    KS_TRY(ks_log_store_streams(h->store, &o, note_stream, &n));
    return n.err;
}
