/* Traces as api_v2 messages: every field of the model read back, chunks, adjusters; summaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/protobuf.h"
#include "query/traces/jaeger_otlp.h"
#include "query/traces/jaeger_proto.h"
#include "query/traces/summary.h"
#include "storage/traces/any_value.h"

#define T0 1700000000123456789u
static const struct ks_scope SCOPE = {.name = KS_SLICE_LIT("lib"), .version = KS_SLICE_LIT("2")};

/* What a test looks at in a decoded message: the n-th field with a key. */
static struct ks_slice sub(struct ks_slice message, unsigned field, size_t n)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    while (ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(field) && !n--)
            return f.bytes;
    assert_false(m.bad);
    return (struct ks_slice){NULL, 0};
}

static size_t count_of(struct ks_slice message, unsigned field)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    size_t n = 0;
    while (ks_pb_next(&m, &f))
        n += f.key >> 3 == field;
    assert_false(m.bad);
    return n;
}

static uint64_t number(struct ks_slice message, unsigned field)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    while (ks_pb_next(&m, &f))
        if (f.key >> 3 == field && (f.key & 7) != 2)
            return f.number;
    return 0;
}

static uint64_t time_of(struct ks_slice message)
{
    return number(message, 1) * 1000000000 + number(message, 2);
}

/* The tag with a key, in a repeated field. */
static struct ks_slice tag(struct ks_slice message, unsigned field, const char *key)
{
    for (size_t i = 0;; i++) {
        struct ks_slice t = sub(message, field, i);
        if (!t.ptr || ks_slice_is(sub(t, 1, 0), key))
            return t;
    }
}

static void check_text(struct ks_slice message, const char *key, const char *want)
{
    struct ks_slice t = tag(message, 8, key);
    assert_non_null(t.ptr);
    assert_int_equal(number(t, 2), 0);
    assert_true(ks_slice_is(sub(t, 3, 0), want));
}

struct chunks {
    struct ks_buf b[64];
    size_t count;
};

static ks_err take(void *arg, struct ks_slice message)
{
    struct chunks *c = arg;
    ks_buf_init(&c->b[c->count], 1 << 24);
    ks_buf_slice(&c->b[c->count++], message);
    return KS_OK;
}

static void run(enum ks_jaeger_profile profile, bool raw, struct ks_span *spans, size_t count,
                struct chunks *c)
{
    struct ks_arena arena;
    struct ks_buf scratch;
    ks_arena_init(&arena, 64 << 20);
    ks_buf_init(&scratch, 1 << 24);
    c->count = 0;
    assert_int_equal(ks_jaeger_trace_chunks(profile, raw, spans, count, &arena, &scratch, take, c),
                     KS_OK);
    ks_buf_done(&scratch);
    ks_arena_done(&arena);
}

static void drop(struct chunks *c)
{
    for (size_t i = 0; i < c->count; i++)
        ks_buf_done(&c->b[i]);
}

static struct ks_attr text_attr(const char *key, const char *value)
{
    return (struct ks_attr){
        .key = ks_slice_str(key), .type = KS_ATTR_STRING, .text = ks_slice_str(value)};
}

static void test_every_field(void **state)
{
    /* [1, "x"] */
    static const char array[] = "\x0a\x02\x18\x01\x0a\x03\x0a\x01x";
    struct ks_attr process[] = {text_attr("service.name", "shop"), text_attr("host.name", "h1")};
    struct ks_resource r = {
        .attrs = {process, 2, 0}, .service = KS_SLICE_LIT("shop"), .has_service = true};
    struct ks_attr attrs[] = {
        text_attr("z", "last"),
        {.key = KS_SLICE_LIT("n"), .type = KS_ATTR_INT, .number = -7},
        {.key = KS_SLICE_LIT("yes"), .type = KS_ATTR_BOOL, .number = 1},
        {.key = KS_SLICE_LIT("no"), .type = KS_ATTR_BOOL},
        {.key = KS_SLICE_LIT("d"), .type = KS_ATTR_DOUBLE, .real = 2.5},
        {.key = KS_SLICE_LIT("bin"), .type = KS_ATTR_BYTES, .text = KS_SLICE_LIT("\0\1")},
        {.key = KS_SLICE_LIT("list"),
         .type = KS_ATTR_ARRAY,
         .text = ks_slice(array, sizeof array - 1)},
        {.key = KS_SLICE_LIT("none"), .type = KS_ATTR_EMPTY},
    };
    struct ks_attr event_attrs[] = {text_attr("k", "v")};
    struct ks_span_event events[] = {
        {.time_ns = T0 + 5, .name = KS_SLICE_LIT("oops"), .attrs = {event_attrs, 1, 0}}};
    struct ks_span_link links[] = {{.trace_id = {9, 8}, .span_id = 7},
                                   {.trace_id = {0, 0}, .span_id = 7}};
    struct ks_span s = {.trace_id = {1, 2},
                        .span_id = 3,
                        .parent_id = 4,
                        .start_ns = T0,
                        .end_ns = T0 + 1500000000,
                        .name = KS_SLICE_LIT("GET /"),
                        .state = KS_SLICE_LIT("a=b"),
                        .status_message = KS_SLICE_LIT("boom"),
                        .kind = KS_KIND_SERVER,
                        .status = KS_STATUS_ERROR,
                        .attrs = {attrs, 8, 0},
                        .events = events,
                        .event_count = 1,
                        .links = links,
                        .link_count = 2,
                        .resource = &r,
                        .scope = &SCOPE};
    struct chunks c;
    run(KS_JAEGER_2, false, &s, 1, &c);
    assert_int_equal(c.count, 1);
    struct ks_slice m = sub(ks_buf_view(&c.b[0]), 1, 0);
    assert_int_equal(count_of(ks_buf_view(&c.b[0]), 1), 1);
    assert_int_equal(sub(m, 1, 0).len, 16);
    assert_int_equal(ks_be64(sub(m, 1, 0).ptr), 1);
    assert_int_equal(ks_be64(sub(m, 1, 0).ptr + 8), 2);
    assert_int_equal(ks_be64(sub(m, 2, 0).ptr), 3);
    assert_true(ks_slice_is(sub(m, 3, 0), "GET /"));
    /* The parent, then the link; the one to nothing is gone, with a warning. */
    assert_int_equal(count_of(m, 4), 2);
    assert_int_equal(ks_be64(sub(sub(m, 4, 0), 2, 0).ptr), 4);
    assert_int_equal(number(sub(m, 4, 0), 3), 0);
    assert_int_equal(ks_be64(sub(sub(m, 4, 1), 1, 0).ptr), 9);
    assert_int_equal(number(sub(m, 4, 1), 3), 1);
    assert_int_equal(time_of(sub(m, 6, 0)), T0);
    assert_int_equal(time_of(sub(m, 7, 0)), 1500000000);
    check_text(m, "otel.scope.name", "lib");
    check_text(m, "otel.scope.version", "2");
    check_text(m, "z", "last");
    check_text(m, "span.kind", "server");
    check_text(m, "otel.status_code", "ERROR");
    check_text(m, "otel.status_description", "boom");
    check_text(m, "w3c.tracestate", "a=b");
    check_text(m, "list", "[1,\"x\"]");
    assert_int_equal(number(tag(m, 8, "n"), 2), 2);
    assert_int_equal((int64_t)number(tag(m, 8, "n"), 5), -7);
    assert_int_equal(number(tag(m, 8, "yes"), 2), 1);
    assert_int_equal(number(tag(m, 8, "yes"), 4), 1);
    assert_int_equal(number(tag(m, 8, "no"), 2), 1);
    assert_int_equal(number(tag(m, 8, "no"), 4), 0);
    assert_int_equal(number(tag(m, 8, "d"), 2), 3);
    assert_int_equal(number(tag(m, 8, "d"), 6), ks_f64_bits(2.5));
    assert_int_equal(number(tag(m, 8, "bin"), 2), 4);
    assert_int_equal(sub(tag(m, 8, "bin"), 7, 0).len, 2);
    assert_int_equal(number(tag(m, 8, "none"), 2), 0);
    assert_int_equal(number(tag(m, 8, "error"), 4), 1);
    struct ks_slice log = sub(m, 9, 0);
    assert_int_equal(time_of(sub(log, 1, 0)), T0 + 5);
    assert_true(ks_slice_is(sub(tag(log, 2, "event"), 3, 0), "oops"));
    assert_true(ks_slice_is(sub(tag(log, 2, "k"), 3, 0), "v"));
    struct ks_slice p = sub(m, 10, 0);
    assert_true(ks_slice_is(sub(p, 1, 0), "shop"));
    assert_int_equal(count_of(p, 2), 1);
    assert_true(ks_slice_is(sub(tag(p, 2, "host.name"), 3, 0), "h1"));
    assert_int_equal(count_of(m, 12), 2); /* no such parent; a link to nothing */
    drop(&c);
    /* Raw: as stored. */
    run(KS_JAEGER_2, true, &s, 1, &c);
    m = sub(ks_buf_view(&c.b[0]), 1, 0);
    assert_int_equal(count_of(m, 4), 3);
    assert_int_equal(count_of(m, 12), 0);
    drop(&c);
    run(KS_JAEGER_1, false, &s, 1, &c);
    check_text(sub(ks_buf_view(&c.b[0]), 1, 0), "internal.span.format", "otlp");
    drop(&c);
}

/* Long values need longer length prefixes at every level. */
static void test_lengths_and_chunks(void **state)
{
    static char big[70000];
    static struct ks_span spans[43];
    memset(big, 'x', sizeof big);
    struct ks_resource r = {.service = KS_SLICE_LIT("s"), .has_service = true};
    struct ks_attr a = {.key = KS_SLICE_LIT("big"), .type = KS_ATTR_STRING};
    for (size_t i = 0; i < 43; i++)
        spans[i] = (struct ks_span){.trace_id = {1, 2},
                                    .span_id = i + 1,
                                    .start_ns = T0,
                                    .end_ns = T0 + i,
                                    .attrs = {&a, 1, 0},
                                    .resource = &r,
                                    .scope = &SCOPE};
    for (size_t len = 1; len <= sizeof big; len = len * 5 + 3) {
        struct chunks c;
        a.text = ks_slice(big, len);
        run(KS_JAEGER_2, false, spans, 43, &c);
        assert_int_equal(c.count, 5);
        for (size_t i = 0; i < 43; i++) {
            struct ks_slice m = sub(ks_buf_view(&c.b[i / 10]), 1, i % 10);
            assert_int_equal(ks_be64(sub(m, 2, 0).ptr), i + 1);
            assert_int_equal(sub(tag(m, 8, "big"), 3, 0).len, len);
            assert_int_equal(time_of(sub(m, 7, 0)), i);
        }
        assert_int_equal(count_of(ks_buf_view(&c.b[4]), 1), 3);
        drop(&c);
    }
}

static ks_err refuse(void *arg, struct ks_slice message)
{
    ++*(int *)arg;
    return ks_fail(KS_ECANCELED, "gone");
}

static void test_errors(void **state)
{
    struct ks_resource r = {.service = KS_SLICE_LIT("s"), .has_service = true};
    struct ks_span spans[30];
    struct ks_arena arena;
    struct ks_buf scratch;
    int calls = 0;
    for (size_t i = 0; i < 30; i++)
        spans[i] =
            (struct ks_span){.trace_id = {1, 2}, .span_id = i + 1, .resource = &r, .scope = &SCOPE};
    ks_arena_init(&arena, 1 << 20);
    ks_buf_init(&scratch, 1 << 20);
    assert_int_equal(
        ks_jaeger_trace_chunks(KS_JAEGER_2, false, spans, 30, &arena, &scratch, refuse, &calls),
        KS_ECANCELED);
    assert_int_equal(calls, 1);
    ks_buf_done(&scratch);
    ks_buf_init(&scratch, 64); /* a message does not fit */
    assert_int_equal(
        ks_jaeger_trace_chunks(KS_JAEGER_2, false, spans, 30, &arena, &scratch, refuse, &calls),
        KS_ETOOBIG);
    ks_arena_done(&arena);
    ks_arena_init(&arena, 256);
    assert_int_not_equal(
        ks_jaeger_trace_chunks(KS_JAEGER_2, false, spans, 30, &arena, &scratch, refuse, &calls),
        KS_OK);
    assert_int_equal(calls, 1);
    ks_arena_done(&arena);
    ks_buf_done(&scratch);
}

/* api_v3 sees what the adjusters say as an attribute; a server that shares its client's id gets
 * one of its own, and its children follow. */
static void test_adjusted_otlp(void **state)
{
    struct ks_attr unsorted[] = {text_attr("b", "2"), text_attr("a", "1")};
    struct ks_resource client = {.service = KS_SLICE_LIT("c"), .has_service = true};
    struct ks_resource server = {.service = KS_SLICE_LIT("s"), .has_service = true};
    struct ks_span_link links[] = {{.trace_id = {0, 0}}, {.trace_id = {5, 5}, .span_id = 1}};
    struct ks_span spans[] = {{.trace_id = {1, 2},
                               .span_id = 50,
                               .start_ns = T0,
                               .end_ns = T0 + 100,
                               .kind = KS_KIND_CLIENT,
                               .attrs = {unsorted, 2, 0},
                               .resource = &client,
                               .scope = &SCOPE},
                              {.trace_id = {1, 2},
                               .span_id = 50,
                               .start_ns = T0 + 10,
                               .end_ns = T0 + 90,
                               .kind = KS_KIND_SERVER,
                               .links = links,
                               .link_count = 2,
                               .resource = &server,
                               .scope = &SCOPE},
                              {.trace_id = {1, 2},
                               .span_id = 51,
                               .parent_id = 50,
                               .start_ns = T0 + 20,
                               .end_ns = T0 + 30,
                               .kind = KS_KIND_INTERNAL,
                               .resource = &server,
                               .scope = &SCOPE},
                              {.trace_id = {1, 2},
                               .span_id = 52,
                               .parent_id = 99,
                               .start_ns = T0 + 20,
                               .end_ns = T0 + 30,
                               .resource = &server,
                               .scope = &SCOPE}};
    struct ks_arena arena;
    struct ks_span *out;
    ks_arena_init(&arena, 1 << 20);
    assert_int_equal(ks_jaeger_adjust_spans(spans, 4, &arena, &out), KS_OK);
    assert_true(ks_slice_is(out[0].attrs.items[0].key, "a"));
    assert_int_equal(out[0].span_id, 50);
    assert_int_equal(out[1].span_id, 1);
    assert_int_equal(out[1].parent_id, 50);
    assert_int_equal(out[2].parent_id, 1);
    assert_int_equal(out[1].link_count, 1);
    assert_true(ks_trace_id_eq(out[1].links[0].trace_id, (struct ks_trace_id){5, 5}));
    const struct ks_attr *w = &out[3].attrs.items[out[3].attrs.count - 1];
    assert_true(ks_slice_is(w->key, "@jaeger@warnings"));
    assert_int_equal(w->type, KS_ATTR_ARRAY);
    assert_true(ks_any_check(w->text, KS_ATTR_ARRAY));
    struct ks_any_iter it = ks_any_iter(w->text, KS_ATTR_ARRAY);
    struct ks_attr item;
    assert_true(ks_any_next(&it, &item));
    assert_true(ks_slice_is(item.text, "invalid parent span IDs=0000000000000063; skipping clock "
                                       "skew adjustment"));
    assert_false(ks_any_next(&it, &item));
    assert_int_equal(spans[1].span_id, 50); /* the originals are untouched */
    ks_arena_done(&arena);
}

static void test_summary(void **state)
{
    struct ks_resource a = {.service = KS_SLICE_LIT("b-service")},
                       b = {.service = KS_SLICE_LIT("a-service")};
    struct ks_span spans[] = {
        {.span_id = 2,
         .parent_id = 1,
         .start_ns = 50,
         .end_ns = 90,
         .resource = &a,
         .status = KS_STATUS_ERROR},
        {.span_id = 3, .parent_id = 77, .start_ns = 5, .end_ns = 400, .resource = &b},
        {.span_id = 1, .start_ns = 10, .end_ns = 100, .resource = &b, .name = KS_SLICE_LIT("r")},
        {.span_id = 4, .start_ns = 11, .end_ns = 100, .resource = &a, .status = KS_STATUS_OK}};
    struct ks_arena arena;
    struct ks_trace_summary m;
    ks_arena_init(&arena, 1 << 20);
    assert_int_equal(ks_trace_summarise(spans, 4, &arena, &m), KS_OK);
    assert_ptr_equal(m.root, &spans[2]);
    assert_int_equal(m.min_start_ns, 5);
    assert_int_equal(m.max_end_ns, 400);
    assert_int_equal(m.spans, 4);
    assert_int_equal(m.errors, 1);
    assert_int_equal(m.orphans, 1);
    assert_int_equal(m.service_count, 2);
    assert_true(ks_slice_is(m.services[0].name, "a-service"));
    assert_int_equal(m.services[0].spans, 2);
    assert_int_equal(m.services[0].errors, 0);
    assert_int_equal(m.services[1].errors, 1);
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field), cmocka_unit_test(test_lengths_and_chunks),
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_adjusted_otlp),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
