/* The trace ring against a naive model: order, eviction, searches, log and snapshot round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/bytes.h"
#include "span_check.h"
#include "span_model.h"

static const struct ks_tenant TENANT = {3, 4};

/* --- a log in memory --- */
struct record {
    uint64_t lsn;
    struct ks_buf bytes;
};
struct fake_log {
    struct record *items;
    size_t count, cap;
};

static ks_err append(void *arg, struct ks_batch *b, uint64_t *ret_lsn)
{
    struct fake_log *l = arg;
    size_t at;
    assert_int_equal(ks_array_reserve((void **)&l->items, &l->cap, l->count + 1, sizeof *l->items),
                     KS_OK);
    struct record *r = &l->items[l->count++];
    ks_buf_init(&r->bytes, KS_BUF_UNLIMITED);
    assert_int_equal(ks_batch_encode(b, &r->bytes, &at), KS_OK);
    ks_batch_patch(b, &r->bytes, at);
    *ret_lsn = r->lsn = l->count * 10;
    return KS_OK;
}

static void log_done(struct fake_log *l)
{
    for (size_t i = 0; i < l->count; i++)
        ks_buf_done(&l->items[i].bytes);
    ks_free(l->items);
}

struct world {
    struct ks_traces *ring;
    struct ks_traces_opts opts;
    struct model model;
    struct fake_log log;
    struct ks_batch batch;
    uint64_t rng;
    uint64_t next_id;
};

static struct ks_trace_id random_id(struct world *w)
{
    uint64_t n = ks_rng_below(&w->rng, 3) ? w->next_id++ : ks_rng_below(&w->rng, w->next_id + 1);
    return (struct ks_trace_id){n / 3, n + 1};
}

static void write_some(struct world *w)
{
    struct model_span *fresh[64];
    size_t n = 1 + ks_rng_below(&w->rng, 60);
    struct ks_traces_result res;
    struct ks_batch_memo memo = {0};
    ks_batch_reset(&w->batch, TENANT);
    for (size_t i = 0; i < n; i++) {
        fresh[i] = ms_random(&w->rng, random_id(w));
        ks_batch_copy_span(&w->batch, &fresh[i]->span, &memo);
    }
    assert_int_equal(ks_traces_write(w->ring, &w->batch, append, &w->log, &res), KS_OK);
    for (size_t i = 0; i < w->batch.traces_count; i++)
        model_announce(&w->model, w->batch.traces[i].id);
    for (size_t i = 0; i < n; i++)
        model_add(&w->model, fresh[i]);
}

static void check_traces(struct world *w, struct ks_traces *ring)
{
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    for (uint64_t n = 0; n < w->next_id; n++) {
        struct ks_trace_id id = {n / 3, n + 1};
        struct model_trace *want = model_find(&w->model, id);
        struct ks_span *spans;
        struct ks_traces_hold *hold;
        size_t count;
        ks_err err = ks_traces_get(ring, TENANT, id, &arena, &spans, &count, &hold);
        assert_int_equal(err, want ? KS_OK : KS_ENOTFOUND);
        if (!want)
            continue;
        assert_int_equal(count, want->count);
        for (size_t i = 0; i < count; i++)
            check_span(&spans[i], &want->spans[i]->span, CHECK_IN_ORDER);
        ks_traces_release(hold);
    }
    ks_arena_done(&arena);
}

static bool naive_attr(const struct ks_attrs *attrs, const struct ks_trace_cond *c)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        char text[64];
        if (!ks_slice_eq(a->key, c->key))
            continue;
        struct ks_slice s = a->text;
        if (a->type == KS_ATTR_INT)
            s = ks_slice(text, (size_t)sprintf(text, "%lld", (long long)a->number));
        else if (a->type == KS_ATTR_DOUBLE)
            s = ks_slice(text, (size_t)sprintf(text, "%.12g", a->real));
        else if (a->type == KS_ATTR_BOOL)
            s = ks_slice_str(a->number ? "true" : "false");
        if (ks_slice_eq(s, c->value))
            return true;
    }
    return false;
}

static bool naive_fits(const struct ks_span *s, const struct ks_trace_query *q)
{
    if ((q->service.len && !ks_slice_eq(s->resource->service, q->service)) ||
        (q->operation.len && !ks_slice_eq(s->name, q->operation)) ||
        s->start_ns < q->min_start_ns || s->start_ns > q->max_start_ns ||
        s->end_ns - s->start_ns < q->min_duration_ns ||
        (q->max_duration_ns && s->end_ns - s->start_ns > q->max_duration_ns))
        return false;
    for (size_t i = 0; i < q->cond_count; i++) {
        const struct ks_trace_cond *c = &q->conds[i];
        bool found = (c->scopes & KS_COND_SPAN) && naive_attr(&s->attrs, c);
        found |= (c->scopes & KS_COND_RESOURCE) && naive_attr(&s->resource->attrs, c);
        for (uint32_t k = 0; (c->scopes & KS_COND_EVENT) && k < s->event_count; k++)
            found |= naive_attr(&s->events[k].attrs, c);
        for (uint32_t k = 0; (c->scopes & KS_COND_LINK) && k < s->link_count; k++)
            found |= naive_attr(&s->links[k].attrs, c);
        if (c->scopes & KS_COND_FIELD)
            found = c->field == KS_FIELD_NAME ? ks_slice_eq(s->name, c->value)
                                              : s->status == KS_STATUS_ERROR;
        if (found == c->negate)
            return false;
    }
    return true;
}

static struct ks_trace_cond random_cond(struct world *w, char *text)
{
    unsigned n = (unsigned)ks_rng_below(&w->rng, 10);
    struct ks_trace_cond c = {.scopes = KS_COND_ANY, .negate = !ks_rng_below(&w->rng, 4)};
    c.key = KS_SLICE_LIT("http.method");
    c.value = KS_SLICE_LIT("GET");
    if (n == 1) {
        c.key = KS_SLICE_LIT("code");
        c.value = ms_text(text, "%u", (unsigned)ks_rng_below(&w->rng, 600));
    } else if (n == 2) {
        c.key = KS_SLICE_LIT("request.id");
        c.value = ms_text(text, "r-%u", (unsigned)ks_rng_below(&w->rng, 1000000));
    } else if (n == 3) {
        c.key = KS_SLICE_LIT("ratio");
        c.value = KS_SLICE_LIT("2.5");
    } else if (n == 4) {
        c.key = KS_SLICE_LIT("flag");
        c.value = KS_SLICE_LIT("true");
    } else if (n == 5) {
        c.key = KS_SLICE_LIT("exception.type");
        c.value = KS_SLICE_LIT("E");
        c.scopes = ks_rng_below(&w->rng, 2) ? KS_COND_EVENT : KS_COND_LINK;
    } else if (n == 6) {
        c.key = KS_SLICE_LIT("pod");
        c.value = KS_SLICE_LIT("pod-3");
        c.scopes = KS_COND_RESOURCE;
    } else if (n == 7) {
        c.scopes = KS_COND_FIELD;
        c.field = KS_FIELD_ERROR;
        c.value = KS_SLICE_LIT("true");
    } else if (n == 8) {
        c.scopes = KS_COND_FIELD;
        c.field = KS_FIELD_NAME;
        c.value = KS_SLICE_LIT("op-5");
    } else if (n == 9) {
        c.key = KS_SLICE_LIT("nowhere");
    }
    return c;
}

static void check_searches(struct world *w, struct ks_traces *ring)
{
    struct ks_arena arena;
    char texts[4][40];
    ks_arena_init(&arena, 64 << 20);
    for (int round = 0; round < 20; round++) {
        struct ks_trace_cond conds[3];
        struct ks_trace_query q = {.max_start_ns = UINT64_MAX,
                                   .limit = 1 + ks_rng_below(&w->rng, 40)};
        q.conds = conds;
        q.cond_count = ks_rng_below(&w->rng, 4);
        for (size_t i = 0; i < q.cond_count; i++)
            conds[i] = random_cond(w, texts[i]);
        if (ks_rng_below(&w->rng, 2))
            q.service = ms_text(texts[3], "service-%u", (unsigned)ks_rng_below(&w->rng, 6));
        if (!ks_rng_below(&w->rng, 3))
            q.operation = KS_SLICE_LIT("op-7");
        if (!ks_rng_below(&w->rng, 3))
            q.min_duration_ns = 1000000000;
        if (!ks_rng_below(&w->rng, 3))
            q.max_duration_ns = 1500000000;
        if (!ks_rng_below(&w->rng, 3)) {
            q.min_start_ns = 1700000000000000000u + 100 * 1000000000ull;
            q.max_start_ns = q.min_start_ns + 200 * 1000000000ull;
        }
        struct ks_trace_id *ids;
        size_t count, want = 0;
        assert_int_equal(ks_traces_search(ring, TENANT, &q, &arena, &ids, &count), KS_OK);
        for (size_t i = w->model.count; i-- > 0 && want < q.limit;) {
            bool fits = false, by_match = false;
            for (size_t k = 0; k < w->model.traces[i].count; k++) {
                fits |= naive_fits(&w->model.traces[i].spans[k]->span, &q);
                by_match |= ks_trace_query_matches(&q, &w->model.traces[i].spans[k]->span);
            }
            assert_int_equal(fits, by_match);
            if (!fits)
                continue;
            assert_true(want < count);
            assert_true(ks_trace_id_eq(ids[want], w->model.traces[i].id));
            want++;
        }
        assert_int_equal(count, want);
    }
    ks_arena_done(&arena);
}

/* Names may still hold those of a generation that is gone in part, but must hold all that live. */
static void check_names(struct world *w, struct ks_traces *ring)
{
    struct ks_arena arena;
    struct ks_slice *services;
    size_t count;
    ks_arena_init(&arena, 64 << 20);
    assert_int_equal(ks_traces_services(ring, TENANT, &arena, &services, &count), KS_OK);
    for (size_t i = 0; i < w->model.count; i++)
        for (size_t k = 0; k < w->model.traces[i].count; k++) {
            const struct ks_span *s = &w->model.traces[i].spans[k]->span;
            bool found = false;
            for (size_t n = 0; n < count; n++)
                found |= ks_slice_eq(services[n], s->resource->service);
            assert_true(found);
        }
    for (size_t n = 0; n < count; n++) {
        struct ks_operation *ops;
        size_t op_count;
        assert_int_equal(ks_traces_operations(ring, TENANT, services[n], &arena, &ops, &op_count),
                         KS_OK);
        assert_true(op_count > 0 && op_count <= 12 * 7);
    }
    ks_arena_done(&arena);
}

/* The log played into an empty ring. */
static struct ks_traces *replayed(struct world *w)
{
    struct ks_traces *ring;
    struct ks_batch b;
    ks_batch_init(&b);
    assert_int_equal(ks_traces_new(&w->opts, &ring), KS_OK);
    for (size_t i = 0; i < w->log.count; i++) {
        assert_int_equal(ks_batch_decode(ks_buf_view(&w->log.items[i].bytes), &b), KS_OK);
        assert_int_equal(ks_traces_replay(ring, &b, w->log.items[i].lsn), KS_OK);
    }
    ks_batch_done(&b);
    return ring;
}

/* A dump is loaded at once; payloads are copied, as a file would. */
struct dumped {
    struct world *w;
    struct ks_traces_loader *to;
    bool writes; /* the ring goes on while it is dumped */
};

static ks_err dump_item(void *arg, enum ks_trimage type, struct ks_slice payload)
{
    struct dumped *d = arg;
    if (d->writes && type == KS_TRIMAGE_HEAD)
        write_some(d->w);
    char *copy = ks_memdup(payload.ptr, payload.len);
    ks_err err = ks_traces_loader_item(d->to, type, ks_slice(copy, payload.len));
    ks_free(copy);
    return err;
}

static struct ks_traces *through_snapshot(struct world *w, bool writes)
{
    static unsigned threads;
    struct dumped d = {.w = w, .writes = writes};
    struct ks_traces_dump cb = {&d, dump_item};
    struct ks_traces *to;
    struct ks_batch b;
    uint64_t needs = ks_traces_lsn(w->ring) + 1;
    assert_int_equal(ks_traces_new(&w->opts, &to), KS_OK);
    assert_int_equal(ks_traces_loader_new(to, threads++ % 3, &d.to), KS_OK);
    assert_int_equal(ks_traces_dump(w->ring, &cb), KS_OK);
    assert_int_equal(ks_traces_loader_finish(d.to), KS_OK);
    ks_traces_loader_free(d.to);
    ks_batch_init(&b);
    for (size_t i = 0; i < w->log.count; i++)
        if (w->log.items[i].lsn >= needs) {
            assert_int_equal(ks_batch_decode(ks_buf_view(&w->log.items[i].bytes), &b), KS_OK);
            assert_int_equal(ks_traces_replay(to, &b, w->log.items[i].lsn), KS_OK);
        }
    ks_batch_done(&b);
    return to;
}

static void world_init(struct world *w, uint64_t seed, uint32_t max_traces)
{
    memset(w, 0, sizeof *w);
    w->rng = seed;
    w->opts = (struct ks_traces_opts){.max_traces = max_traces, .max_spans_per_trace = 20};
    w->model.max = max_traces;
    w->model.max_spans = 20;
    assert_int_equal(ks_traces_new(&w->opts, &w->ring), KS_OK);
    ks_batch_init(&w->batch);
}

static void world_done(struct world *w)
{
    ks_traces_free(w->ring);
    model_done(&w->model);
    log_done(&w->log);
    ks_batch_done(&w->batch);
}

static void check_all(struct world *w, struct ks_traces *ring)
{
    check_traces(w, ring);
    check_searches(w, ring);
    check_names(w, ring);
}

static void test_model(void **state)
{
    static const uint32_t sizes[] = {1, 3, 70, 1000};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct world w;
        world_init(&w, seed, sizes[seed % 4]);
        for (int round = 0; round < 8; round++) {
            for (int i = 0; i < 6; i++)
                write_some(&w);
            check_all(&w, w.ring);
            struct ks_traces *other = replayed(&w);
            check_all(&w, other);
            ks_traces_free(other);
            other = through_snapshot(&w, round % 2 == 1);
            check_all(&w, other);
            /* The copy goes on as the ring. */
            ks_traces_free(w.ring);
            w.ring = other;
        }
        world_done(&w);
    }
}

/* Full batches, where every text is unique: more than any table begins with. */
static void test_large_batches(void **state)
{
    struct world w;
    struct ks_traces *other;
    world_init(&w, 99, 500);
    w.opts.max_spans_per_trace = w.model.max_spans = 1000;
    ks_traces_free(w.ring);
    assert_int_equal(ks_traces_new(&w.opts, &w.ring), KS_OK);
    for (int round = 0; round < 4; round++) {
        static struct model_span *fresh[KS_BATCH_SPANS_MAX];
        struct ks_traces_result res;
        struct ks_batch_memo memo = {0};
        ks_batch_reset(&w.batch, TENANT);
        for (size_t i = 0; i < KS_BATCH_SPANS_MAX; i++) {
            fresh[i] = ms_random(&w.rng, random_id(&w));
            fresh[i]->span.attrs.count = MS_ATTRS;
            ks_batch_copy_span(&w.batch, &fresh[i]->span, &memo);
        }
        assert_true(w.batch.strings_count > 400);
        assert_int_equal(ks_traces_write(w.ring, &w.batch, append, &w.log, &res), KS_OK);
        for (size_t i = 0; i < w.batch.traces_count; i++)
            model_announce(&w.model, w.batch.traces[i].id);
        for (size_t i = 0; i < KS_BATCH_SPANS_MAX; i++)
            model_add(&w.model, fresh[i]);
    }
    check_all(&w, w.ring);
    other = replayed(&w);
    check_all(&w, other);
    ks_traces_free(other);
    other = through_snapshot(&w, false);
    check_all(&w, other);
    ks_traces_free(other);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_large_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
