/* LogsQL over the ring of traces against the same rows kept naively, while traces are evicted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "logsql_util.h"
#include "query/traces/source_traces.h"
#include "span_rows.h"
#include "storage/traces/any_value.h"
#include "storage/traces/span_fields.h"
#include "sys/pool.h"

static const struct ks_tenant TENANT = {0, 0};

struct world {
    struct ks_traces *ring;
    struct model model;
    struct ks_batch batch;
    struct ks_pool *pool;
    uint64_t rng, next_id, lsn;
};

static void world_init(struct world *w, uint64_t seed, uint32_t max_traces)
{
    struct ks_traces_opts opts = {.max_traces = max_traces, .max_bytes = 1 << 30};
    *w = (struct world){.rng = seed, .model = {.max = max_traces, .max_spans = 50000}};
    assert_int_equal(ks_traces_new(&opts, &w->ring), KS_OK);
    assert_int_equal(ks_pool_new("test", 3, 64, &w->pool), KS_OK);
    ks_batch_init(&w->batch);
}

static void world_done(struct world *w)
{
    ks_traces_free(w->ring);
    ks_batch_done(&w->batch);
    ks_pool_free(w->pool);
    model_done(&w->model);
}

static void write_some(struct world *w)
{
    struct model_span *fresh[64];
    size_t n = 1 + ks_rng_below(&w->rng, 60);
    struct ks_traces_result res;
    struct ks_batch_memo memo = {0};
    ks_batch_reset(&w->batch, TENANT);
    for (size_t i = 0; i < n; i++) {
        uint64_t k =
            ks_rng_below(&w->rng, 3) ? w->next_id++ : ks_rng_below(&w->rng, w->next_id + 1);
        fresh[i] = ms_random(&w->rng, (struct ks_trace_id){k / 3, k + 1});
        ks_batch_copy_span(&w->batch, &fresh[i]->span, &memo);
        if (!ks_rng_below(&w->rng, 8)) /* sent twice: shown once */
            ks_batch_copy_span(&w->batch, &fresh[i]->span, &memo);
    }
    assert_int_equal(ks_traces_write(w->ring, &w->batch, NULL, NULL, &res), KS_OK);
    for (size_t i = 0; i < w->batch.traces_count; i++)
        model_announce(&w->model, w->batch.traces[i].id);
    for (size_t i = 0; i < n; i++)
        model_add(&w->model, fresh[i]);
}

static struct ks_lq_mem *rows_of(const struct model *m)
{
    struct ks_lq_mem *mem;
    struct span_row *row = ks_zalloc(sizeof *row);
    assert_int_equal(ks_lq_mem_new(300, &mem), KS_OK);
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k < m->traces[i].count; k++)
            sr_add(mem, row, &m->traces[i].spans[k]->span);
    ks_free(row);
    return mem;
}

static void compare(struct world *w, struct ks_lq_mem *mem, const char *query,
                    const struct ks_lq_request *opts)
{
    struct ks_lq_source src = ks_lq_source_traces(w->ring);
    struct ks_buf want, got;
    ks_buf_init(&want, 64 << 20);
    ks_buf_init(&got, 64 << 20);
    ks_err a = logsql_run(mem, query, opts, true, &want);
    if (a != KS_OK)
        fail_msg("%s: %s", query, ks_err_text());
    ks_err b = logsql_run_source(&src, query, opts, true, &got);
    if (b != KS_OK)
        fail_msg("%s: %s", query, ks_err_text());
    if (!ks_slice_eq(ks_buf_view(&want), ks_buf_view(&got)))
        fail_msg("%s\nwant\n%.*s\ngot\n%.*s", query, (int)(want.len > 3000 ? 3000 : want.len),
                 want.ptr, (int)(got.len > 3000 ? 3000 : got.len), got.ptr);
    ks_buf_done(&want);
    ks_buf_done(&got);
}

static void ask_about_ids(struct world *w, struct ks_lq_mem *mem)
{
    char query[256];
    for (int i = 0; i < 10; i++) {
        uint64_t k = ks_rng_below(&w->rng, w->next_id + 2),
                 j = ks_rng_below(&w->rng, w->next_id + 2);
        snprintf(query, sizeof query, "trace_id:=\"%016llx%016llx\"", (unsigned long long)(k / 3),
                 (unsigned long long)(k + 1));
        compare(w, mem, query, NULL);
        snprintf(query, sizeof query,
                 "trace_id:in(\"%016llx%016llx\",\"%016llx%016llx\",nonsense) duration:>500ms",
                 (unsigned long long)(k / 3), (unsigned long long)(k + 1),
                 (unsigned long long)(j / 3), (unsigned long long)(j + 1));
        compare(w, mem, query, NULL);
    }
}

static void property(uint64_t seed)
{
    struct world w;
    world_init(&w, seed, 700);
    for (int round = 0; round < 12; round++) {
        for (size_t i = 0; i < 12; i++)
            write_some(&w);
        struct ks_lq_mem *mem = rows_of(&w.model);
        ask_about_ids(&w, mem);
        for (int i = 0; i < 40; i++) {
            struct ks_lq_request opts = {.min_ns = INT64_MIN, .max_ns = INT64_MAX};
            struct ks_buf q;
            if (ks_rng_below(&w.rng, 2))
                opts.pool = w.pool;
            if (!ks_rng_below(&w.rng, 3)) {
                opts.min_ns = (int64_t)(1700000000u + ks_rng_below(&w.rng, 600)) * 1000000000;
                opts.max_ns = opts.min_ns + (int64_t)ks_rng_below(&w.rng, 300) * 1000000000;
            }
            ks_buf_init(&q, 4096);
            sr_filter(&w.rng, &q);
            sr_pipes(&w.rng, &q);
            ks_buf_byte(&q, 0);
            compare(&w, mem, q.ptr, &opts);
            ks_buf_done(&q);
        }
        ks_lq_mem_free(mem);
    }
    world_done(&w);
}

static void against_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        property(seed * 7919);
}

/* The newest rows, with a limit: times are equal in both, whichever rows of one time are shown. */
static void newest(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 5, 300);
    for (size_t i = 0; i < 40; i++)
        write_some(&w);
    struct ks_lq_mem *mem = rows_of(&w.model);
    for (uint64_t n = 1; n < 60; n += 7) {
        struct ks_lq_request opts = {.min_ns = INT64_MIN, .max_ns = INT64_MAX, .newest = n};
        compare(&w, mem, "name:op-3 | fields span_id, _time", &opts);
    }
    ks_lq_mem_free(mem);
    world_done(&w);
}

struct collected {
    const struct ks_span *s;
    struct ks_arena *arena;
    size_t count;
};

/* Each field asked for by name is what the list says, when no later one has its name. */
static ks_err same_by_name(void *arg, struct ks_slice name, struct ks_slice value,
                           const struct ks_attr *of)
{
    struct collected *c = arg;
    struct ks_slice got;
    assert_int_equal(ks_span_field(c->s, name, c->arena, &got), KS_OK);
    if (!ks_slice_eq(got, value))
        fail_msg("%.*s: %.*s, not %.*s", KS_SLICE_ARG(name), KS_SLICE_ARG(got),
                 KS_SLICE_ARG(value));
    assert_int_not_equal(ks_span_field_part(name), KS_SPAN_PART_NONE);
    c->count++;
    return KS_OK;
}

static void fields_by_name(void **state)
{
    (void)state;
    /* {"a": {"b": "x", "c": {"d": 7}}, "e": ""} as a map; an array; bytes; nothing. */
    static const char map[] = "\x0a\x08\x0a\x01"
                              "b\x12\x03\x0a\x01x"
                              "\x0a\x10\x0a\x01"
                              "c\x12\x0b\x32\x09\x0a\x07\x0a\x01"
                              "d\x12\x02\x18\x07"
                              "\x0a\x07\x0a\x01"
                              "e\x12\x02\x0a";
    struct ks_attr attrs[] = {
        {.key = KS_SLICE_LIT("a"), .type = KS_ATTR_KVLIST, .text = ks_slice(map, sizeof map)},
        {.key = KS_SLICE_LIT("arr"),
         .type = KS_ATTR_ARRAY,
         .text = ks_slice("\x0a\x02\x18\x05", 4)},
        {.key = KS_SLICE_LIT("bin"), .type = KS_ATTR_BYTES, .text = KS_SLICE_LIT("abc")},
        {.key = KS_SLICE_LIT("none"), .type = KS_ATTR_EMPTY},
        {.key = KS_SLICE_LIT("empty"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("")},
        {.key = KS_SLICE_LIT("twice"), .type = KS_ATTR_INT, .number = -1},
        {.key = KS_SLICE_LIT("x:y"), .type = KS_ATTR_BOOL, .number = 1},
    };
    assert_true(ks_any_check(attrs[0].text, KS_ATTR_KVLIST));
    struct ks_resource resource = {.attrs = {attrs, 7, 0}};
    struct ks_scope scope = {.name = KS_SLICE_LIT("n"), .attrs = {attrs, 7, 0}};
    struct ks_span_event events[11] = {{.time_ns = 1, .attrs = {attrs, 7, 0}}};
    struct ks_span_link links[11] = {{.trace_id = {1, 2}, .attrs = {attrs, 7, 3}}};
    struct ks_span s = {.trace_id = {3, 4},
                        .span_id = 5,
                        .start_ns = 10,
                        .end_ns = 5, /* no duration below zero */
                        .attrs = {attrs, 7, 2},
                        .events = events,
                        .event_count = 11,
                        .links = links,
                        .link_count = 11,
                        .resource = &resource,
                        .scope = &scope};
    for (int i = 1; i < 11; i++) {
        events[i] = (struct ks_span_event){.name = KS_SLICE_LIT("e"), .attrs = {attrs, 3, 0}};
        links[i] = (struct ks_span_link){.span_id = 1, .state = KS_SLICE_LIT("s")};
    }
    struct ks_arena arena;
    ks_arena_init(&arena, 1 << 20);
    struct collected c = {&s, &arena, 0};
    assert_int_equal(ks_span_fields(&s, &arena, same_by_name, &c), KS_OK);
    assert_true(c.count > 100);
    static const struct {
        const char *name, *value;
    } want[] = {{"span_attr:a.c.d", "7"},
                {"span_attr:a.b", "x"},
                {"span_attr:a.e", "-"},
                {"span_attr:a", ""},
                {"resource_attr:arr", "[5]"},
                {"scope_attr:bin", "YWJj"},
                {"span_attr:none", "-"},
                {"span_attr:empty", "-"},
                {"event:event_attr:x:y:0", "true"},
                {"event:event_attr:x:y:01", ""},
                {"event:event_name:10", "e"},
                {"event:event_name:11", ""},
                {"link:link_trace_id:0", "00000000000000010000000000000002"},
                {"link:link_span_id:0", ""},
                {"link:link_dropped_attributes_count:0", "3"},
                {"duration", "0"},
                {"nothing", ""},
                {"event:", ""},
                {"link:x", ""}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct ks_slice got;
        assert_int_equal(ks_span_field(&s, ks_slice_str(want[i].name), &arena, &got), KS_OK);
        if (!ks_slice_is(got, want[i].value))
            fail_msg("%s: %.*s", want[i].name, KS_SLICE_ARG(got));
    }
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_by_name),
        cmocka_unit_test(against_the_model),
        cmocka_unit_test(newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
