/* Spans through a log store and back: random and odd ones, over flushes and restarts; damaged rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "engine/traces/history.h"
#include "engine/traces/span_rows.h"
#include "engine_util.h"
#include "span_check.h"
#include "span_model.h"
#include "storage/traces/any_value.h"
#include "sys/clock.h"

static const struct ks_tenant TENANT = {3, 4};

struct world {
    char *dir;
    struct ks_logs *logs;
    struct ks_engine *e;
    struct ksi_history *h;
    struct ks_batch batch;
    struct model_span **spans;
    size_t count, cap;
    uint64_t rng, now;
};

static void world_open(struct world *w)
{
    struct ks_log_store_opts store = {.name = "traces", .retention_ms = 7 * 86400000ll};
    struct ks_logs_opts o = {.stores = &store, .store_count = 1};
    assert_int_equal(ks_logs_new(&o, &w->logs), KS_OK);
    struct ks_signal signal = ks_logs_signal(w->logs);
    struct ks_engine_opts eo = {.dir = w->dir,
                                .wal_segment_bytes = 8 << 20,
                                .no_background = true,
                                .signals = &signal,
                                .signal_count = 1};
    if (ks_engine_open(&eo, &w->e) != KS_OK)
        fail_msg("%s", ks_err_text());
    assert_int_equal(ksi_history_new(ks_logs_store_at(w->logs, 0), &w->h), KS_OK);
}

static void world_close(struct world *w)
{
    ksi_history_free(w->h);
    assert_int_equal(ks_engine_close(w->e), KS_OK);
    ks_logs_free(w->logs);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.dir = t_mkdir(), .rng = seed, .now = (uint64_t)ks_now_ns()};
    ks_batch_init(&w->batch);
    world_open(w);
}

static void world_done(struct world *w)
{
    world_close(w);
    ks_batch_done(&w->batch);
    for (size_t i = 0; i < w->count; i++)
        ks_free(w->spans[i]);
    ks_free(w->spans);
    t_rmdir(w->dir);
}

/* {"a": {"b": "x"}}, [5] and an empty map. */
static struct ks_attr odd_attr(uint64_t *rng)
{
    static const char map[] = "\x0a\x08\x0a\x01"
                              "b\x12\x03\x0a\x01x";
    static char long_key[200];
    memset(long_key, 'k', sizeof long_key);
    const struct ks_attr odd[] = {
        {.key = KS_SLICE_LIT("m"), .type = KS_ATTR_KVLIST, .text = ks_slice(map, 10)},
        {.key = KS_SLICE_LIT("m0"), .type = KS_ATTR_KVLIST, .text = KS_SLICE_LIT("")},
        {.key = KS_SLICE_LIT("arr"),
         .type = KS_ATTR_ARRAY,
         .text = ks_slice("\x0a\x02\x18\x05", 4)},
        {.key = KS_SLICE_LIT("bin"), .type = KS_ATTR_BYTES, .text = ks_slice("\0\1\xff", 3)},
        {.key = KS_SLICE_LIT("bin0"), .type = KS_ATTR_BYTES, .text = KS_SLICE_LIT("")},
        {.key = KS_SLICE_LIT("none"), .type = KS_ATTR_EMPTY},
        {.key = KS_SLICE_LIT("empty"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("")},
        {.key = KS_SLICE_LIT("dash"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("-")},
        {.key = KS_SLICE_LIT("nan"), .type = KS_ATTR_DOUBLE, .real = (double)NAN},
        {.key = KS_SLICE_LIT("inf"), .type = KS_ATTR_DOUBLE, .real = -(double)INFINITY},
        {.key = KS_SLICE_LIT("tiny"), .type = KS_ATTR_DOUBLE, .real = 5e-324},
        {.key = KS_SLICE_LIT("minus0"), .type = KS_ATTR_DOUBLE, .real = -0.0},
        {.key = KS_SLICE_LIT("min"), .type = KS_ATTR_INT, .number = INT64_MIN},
        {.key = KS_SLICE_LIT("http.method"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("twice")},
        {.key = KS_SLICE_LIT("a:b \"c\"\n{}"), .type = KS_ATTR_BOOL, .number = 1},
        {.key = KS_SLICE_LIT(""), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("no key")},
        {.key = ks_slice(long_key, 200), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("long")},
        {.key = KS_SLICE_LIT("raw\0key"), .type = KS_ATTR_STRING, .text = ks_slice("\xff\0\n", 3)},
    };
    return odd[ks_rng_below(rng, sizeof odd / sizeof *odd)];
}

static struct model_span *make_span(struct world *w)
{
    uint64_t k = ks_rng_below(&w->rng, 200);
    struct model_span *m = ms_random(&w->rng, (struct ks_trace_id){k / 3, k + 1});
    struct ks_span *s = &m->span;
    s->start_ns = w->now - 3600000000000u + ks_rng_below(&w->rng, 1000000000);
    s->end_ns =
        ks_rng_below(&w->rng, 30) ? s->start_ns + ks_rng_below(&w->rng, 1000000) : s->start_ns - 5;
    s->span_id = w->count + 1;
    if (s->event_count)
        m->event.time_ns = s->start_ns + 3;
    if (!ks_rng_below(&w->rng, 4) && s->attrs.count) {
        m->attrs[s->attrs.count - 1] = odd_attr(&w->rng);
        m->event_attr = odd_attr(&w->rng);
    }
    if (!ks_rng_below(&w->rng, 10))
        m->resource_attrs[1] = odd_attr(&w->rng);
    if (!ks_rng_below(&w->rng, 12))
        m->resource.schema_url = KS_SLICE_LIT("https://schema/1");
    if (!ks_rng_below(&w->rng, 12))
        m->scope.schema_url = KS_SLICE_LIT("https://schema/2");
    if (!ks_rng_below(&w->rng, 20))
        m->scope.attrs = (struct ks_attrs){m->resource_attrs, 2, 3};
    if (!ks_rng_below(&w->rng, 40))
        m->resource_attrs[0].type = KS_ATTR_BYTES;
    m->resource.has_service = m->resource_attrs[0].type == KS_ATTR_STRING;
    if (!m->resource.has_service)
        m->resource.service = ks_slice("", 0);
    if (!ks_rng_below(&w->rng, 25))
        s->name = ks_slice("", 0);
    return m;
}

static void write_some(struct world *w)
{
    struct ks_batch_memo memo = {0};
    ks_batch_reset(&w->batch, TENANT);
    for (size_t n = 1 + ks_rng_below(&w->rng, 60); n; n--) {
        assert_int_equal(
            ks_array_reserve((void **)&w->spans, &w->cap, w->count + 1, sizeof *w->spans), KS_OK);
        struct model_span *m = make_span(w);
        w->spans[w->count++] = m;
        ks_batch_copy_span(&w->batch, &m->span, &memo);
    }
    if (ksi_history_write(w->h, &w->batch) != KS_OK)
        fail_msg("%s", ks_err_text());
}

static void check_all(struct world *w)
{
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    for (uint64_t k = 0; k < 202; k++) {
        struct ks_trace_id id = {k / 3, k + 1};
        struct ks_span *got;
        size_t n, want = 0;
        ks_arena_reset(&arena);
        if (ksi_history_get(w->h, TENANT, &id, 1, &arena, &got, &n) != KS_OK)
            fail_msg("%s", ks_err_text());
        for (size_t i = 0; i < w->count; i++) {
            const struct ks_span *s = &w->spans[i]->span;
            if (!ks_trace_id_eq(s->trace_id, id))
                continue;
            want++;
            size_t at = 0;
            while (at < n && got[at].span_id != s->span_id)
                at++;
            assert_true(at < n);
            check_span(s, &got[at], CHECK_IN_ANY_ORDER);
        }
        assert_int_equal(n, want);
        assert_int_equal(ksi_history_get(w->h, (struct ks_tenant){3, 5}, &id, 1, &arena, &got, &n),
                         KS_OK);
        assert_int_equal(n, 0);
    }
    ks_arena_done(&arena);
}

/* Every search against the model: which traces, the newest first. */
static void check_searches(struct world *w)
{
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    for (int round = 0; round < 30; round++) {
        char text[40], service[40];
        struct ks_trace_cond cond = {.scopes = KS_COND_SPAN};
        struct ks_trace_query q = {.max_start_ns = UINT64_MAX,
                                   .limit = 1 + ks_rng_below(&w->rng, 60),
                                   .conds = &cond,
                                   .cond_count = ks_rng_below(&w->rng, 2)};
        switch (ks_rng_below(&w->rng, 6)) {
        case 0:
            cond.key = KS_SLICE_LIT("code");
            cond.value = ms_text(text, "%u", (unsigned)ks_rng_below(&w->rng, 600));
            break;
        case 1:
            cond.key = KS_SLICE_LIT("bin");
            cond.value = KS_SLICE_LIT("0001ff");
            break;
        case 2:
            cond.key = KS_SLICE_LIT("pod");
            cond.value = KS_SLICE_LIT("pod-3");
            cond.scopes = ks_rng_below(&w->rng, 2) ? KS_COND_RESOURCE : KS_COND_ANY;
            break;
        case 3:
            cond.key = KS_SLICE_LIT("http.method");
            cond.value = KS_SLICE_LIT("twice");
            break;
        default:
            cond.key = KS_SLICE_LIT("http.method");
            cond.value = KS_SLICE_LIT("GET");
            cond.negate = ks_rng_below(&w->rng, 2);
        }
        if (ks_rng_below(&w->rng, 2))
            q.service = ms_text(service, "service-%u", (unsigned)ks_rng_below(&w->rng, 6));
        if (!ks_rng_below(&w->rng, 3))
            q.operation = KS_SLICE_LIT("op-7");
        if (!ks_rng_below(&w->rng, 3))
            q.min_duration_ns = 500000;
        struct ks_trace_id *ids;
        size_t n, want = 0;
        assert_int_equal(ksi_history_search(w->h, TENANT, &q, NULL, 0, &arena, &ids, &n), KS_OK);
        int64_t last = INT64_MAX;
        for (uint64_t k = 0; k < 202; k++)
            for (size_t i = 0; i < w->count; i++)
                if (w->spans[i]->span.trace_id.lo == k + 1 &&
                    ks_trace_query_matches(&q, &w->spans[i]->span)) {
                    want++;
                    break;
                }
        assert_int_equal(n, want < q.limit ? want : q.limit);
        for (size_t i = 0; i < n; i++) {
            int64_t newest = INT64_MIN;
            for (size_t k = 0; k < w->count; k++) {
                const struct ks_span *s = &w->spans[k]->span;
                if (ks_trace_id_eq(s->trace_id, ids[i]) && ks_trace_query_matches(&q, s) &&
                    (int64_t)s->end_ns > newest)
                    newest = (int64_t)s->end_ns;
            }
            assert_true(newest > INT64_MIN && newest <= last);
            last = newest;
        }
        /* What is known already is left out. */
        struct ks_trace_id *more;
        size_t m;
        assert_int_equal(ksi_history_search(w->h, TENANT, &q, ids, n, &arena, &more, &m), KS_OK);
        for (size_t i = 0; i < m; i++)
            for (size_t k = 0; k < n; k++)
                assert_false(ks_trace_id_eq(more[i], ids[k]));
    }
    ks_arena_done(&arena);
}

static void round_trips(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world w;
        world_init(&w, seed * 104729);
        assert_true(ksi_history_empty(w.h));
        for (int round = 0; round < 6; round++) {
            for (int i = 0; i < 6; i++)
                write_some(&w);
            if (round == 1 || round == 4)
                assert_int_equal(ks_log_store_flush(ks_logs_store_at(w.logs, 0)), KS_OK);
            if (round == 3)
                assert_int_equal(ks_log_store_merge(ks_logs_store_at(w.logs, 0), ""), KS_OK);
            if (round == 2 || round == 4) {
                world_close(&w);
                world_open(&w);
            }
            check_all(&w);
            check_searches(&w);
        }
        world_done(&w);
    }
}

/* A span as large as one may be, with keys and values that do not fit fields. */
static void large(void **state)
{
    (void)state;
    enum { ATTRS = 3000 };
    struct world w;
    struct ks_batch_memo memo = {0};
    struct ks_arena arena;
    struct ks_span *got;
    size_t n;
    world_init(&w, 7);
    ks_arena_init(&arena, 64 << 20);
    struct ks_attr *attrs = ks_arena_zalloc(&arena, ATTRS * sizeof *attrs);
    char *text = ks_arena_alloc(&arena, 900 << 10);
    memset(text, 'x', 900 << 10);
    for (uint32_t i = 0; i < ATTRS; i++)
        attrs[i] = (struct ks_attr){
            .key = ks_arena_printf(&arena, "key-%u", i), .type = KS_ATTR_INT, .number = i};
    struct model_span *many = make_span(&w), *big = make_span(&w);
    many->span.attrs = (struct ks_attrs){attrs, ATTRS, 1};
    many->span.trace_id = (struct ks_trace_id){9, 9};
    big->span.status_message = ks_slice(text, 900 << 10);
    big->resource.attrs.dropped = 1; /* so that all of it is there twice */
    big->span.trace_id = (struct ks_trace_id){8, 8};
    struct model_span *all[] = {many, big};
    for (int i = 0; i < 2; i++) {
        ks_batch_reset(&w.batch, TENANT);
        memo = (struct ks_batch_memo){0};
        ks_batch_copy_span(&w.batch, &all[i]->span, &memo);
        if (ksi_history_write(w.h, &w.batch) != KS_OK)
            fail_msg("%s", ks_err_text());
    }
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int i = 0; i < 2; i++) {
            assert_int_equal(
                ksi_history_get(w.h, TENANT, &all[i]->span.trace_id, 1, &arena, &got, &n), KS_OK);
            assert_int_equal(n, 1);
            check_span(&all[i]->span, got, CHECK_IN_ANY_ORDER);
        }
        assert_int_equal(ks_log_store_flush(ks_logs_store_at(w.logs, 0)), KS_OK);
    }
    ks_free(many);
    ks_free(big);
    ks_arena_done(&arena);
    world_done(&w);
}

/* Rows that no span made are told, not believed. */
static void damaged(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } bad[] = {{"trace_id", "xyz"},
               {"span_id", "12"},
               {"kind", "-1"},
               {"kind", "99999999999"},
               {"start_time_unix_nano", "soon"},
               {"_ks_types", "ii"},
               {"_ks_types", "?"},
               {"_ks_raw", "nonsense"},
               {"event:event_name:99999999", "x"},
               {"event:event_name", "x"},
               {"link:link_trace_id:0", "1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct world w;
        struct ks_log_batch b;
        struct ks_log_write_result res;
        struct ks_arena arena;
        struct ks_span *got;
        uint32_t stream;
        size_t n;
        struct ks_log_field fields[3] = {
            {KS_SLICE_LIT("trace_id"), KS_SLICE_LIT("00000000000000010000000000000002")},
            {KS_SLICE_LIT("span_attr:a"), KS_SLICE_LIT("text")},
            {ks_slice_str(bad[i].name), ks_slice_str(bad[i].value)}};
        world_init(&w, 1);
        ks_log_batch_init(&b, 1 << 20);
        ks_arena_init(&arena, 1 << 20);
        assert_int_equal(ks_log_batch_stream(&b, TENANT, NULL, 0, &stream), KS_OK);
        assert_int_equal(ks_log_batch_row(&b, stream, ks_now_ns(), fields, 3), KS_OK);
        assert_int_equal(ks_log_store_write(ks_logs_store_at(w.logs, 0), &b, &res), KS_OK);
        struct ks_trace_query q = {.max_start_ns = UINT64_MAX, .limit = 10};
        struct ks_trace_id *ids;
        ks_err err = ksi_history_search(w.h, TENANT, &q, NULL, 0, &arena, &ids, &n);
        if (err != KS_ECORRUPT && err != KS_EUNSUPPORTED)
            fail_msg("%s=%s: %d %s", bad[i].name, bad[i].value, err, ks_err_text());
        struct ks_trace_id id = {1, 2};
        if (i) /* the first has another id */
            assert_int_equal(ksi_history_get(w.h, TENANT, &id, 1, &arena, &got, &n), err);
        ks_log_batch_done(&b);
        ks_arena_done(&arena);
        world_done(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(large),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
