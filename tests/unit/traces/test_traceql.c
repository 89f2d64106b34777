/* TraceQL's spanset filters: what matches, what is refused and where, precedence against a naive
 * evaluation of random expressions, hostile texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/tempo/traceql.h"
#include "query/traces/summary.h"
#include "sys/rand.h"

static struct ks_arena arena;
static struct ks_span spans[3];
static struct ks_trace_summary summary;

static void setup_spans(void)
{
    static struct ks_attr process[2][2] = {
        {{.key = KS_SLICE_LIT("service.name"),
          .type = KS_ATTR_STRING,
          .text = KS_SLICE_LIT("shop")},
         {.key = KS_SLICE_LIT("zone"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("eu")}},
        {{.key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("pg")},
         {.key = KS_SLICE_LIT("n"), .type = KS_ATTR_INT, .number = 5}}};
    static struct ks_resource r[2] = {{.service = KS_SLICE_LIT("shop"), .has_service = true},
                                      {.service = KS_SLICE_LIT("pg"), .has_service = true}};
    static struct ks_attr attrs[] = {
        {.key = KS_SLICE_LIT("http.status_code"), .type = KS_ATTR_INT, .number = 500},
        {.key = KS_SLICE_LIT("cached"), .type = KS_ATTR_BOOL, .number = 1},
        {.key = KS_SLICE_LIT("ratio"), .type = KS_ATTR_DOUBLE, .real = 0.25},
        {.key = KS_SLICE_LIT("zone"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("span's")},
        {.key = KS_SLICE_LIT("a b"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("x\"y")}};
    static struct ks_attr event_attrs[] = {
        {.key = KS_SLICE_LIT("what"), .type = KS_ATTR_STRING, .text = KS_SLICE_LIT("miss")}};
    static struct ks_span_event events[] = {
        {.name = KS_SLICE_LIT("e"), .attrs = {event_attrs, 1, 0}}};
    static struct ks_scope scope = {.name = KS_SLICE_LIT("lib"), .version = KS_SLICE_LIT("2")};
    r[0].attrs = (struct ks_attrs){process[0], 2, 0};
    r[1].attrs = (struct ks_attrs){process[1], 2, 0};
    spans[0] = (struct ks_span){.trace_id = {1, 2},
                                .span_id = 16,
                                .start_ns = 1000000000,
                                .end_ns = 1250000000,
                                .name = KS_SLICE_LIT("GET /cart"),
                                .kind = KS_KIND_SERVER,
                                .status = KS_STATUS_ERROR,
                                .status_message = KS_SLICE_LIT("boom"),
                                .attrs = {attrs, 5, 0},
                                .events = events,
                                .event_count = 1,
                                .resource = &r[0],
                                .scope = &scope};
    spans[1] = (struct ks_span){.trace_id = {1, 2},
                                .span_id = 17,
                                .parent_id = 16,
                                .start_ns = 1010000000,
                                .end_ns = 1060000000,
                                .name = KS_SLICE_LIT("SELECT"),
                                .kind = KS_KIND_CLIENT,
                                .resource = &r[0],
                                .scope = &scope};
    spans[2] = (struct ks_span){.trace_id = {1, 2},
                                .span_id = 18,
                                .parent_id = 17,
                                .start_ns = 1020000000,
                                .end_ns = 1030000000,
                                .name = KS_SLICE_LIT("query"),
                                .status = KS_STATUS_OK,
                                .resource = &r[1],
                                .scope = &scope};
    assert_int_equal(ks_trace_summarise(spans, 3, &arena, &summary), KS_OK);
}

/* The spans that match as bits; -1: the trace does not. */
static int run(const char *text)
{
    static struct ks_traceql q;
    bool matched[3];
    int bits = 0;
    if (ks_traceql_parse(ks_slice_str(text), &arena, &q) != KS_OK)
        fail_msg("%s: %s", text, ks_err_text());
    bool hit = ks_traceql_matches(&q, spans, 3, &summary, matched);
    for (int i = 0; i < 3; i++)
        bits |= matched[i] << i;
    ks_traceql_done(&q);
    return hit ? bits : -1;
}

static void test_matches(void **state)
{
    static const struct {
        const char *q;
        int want;
    } cases[] = {
        {"", 7},
        {"{}", 7},
        {" { } ", 7},
        {"{ true }", 7},
        {"{ name = \"SELECT\" }", 2},
        {"{ span:name != `SELECT` }", 5},
        {"{ name =~ \"(GET|POST) .*\" }", 1},
        {"{ name =~ \"GET\" }", -1},
        {"{ name !~ \"[a-z]+\" }", 3},
        {"{ resource.service.name = \"shop\" }", 3},
        {"{ .service.name = \"pg\" }", 4},
        {"{ span.service.name = \"pg\" }", -1},
        {"{ .zone = \"eu\" }", 2}, /* the span's own comes first */
        {"{ resource.zone = \"eu\" }", 3},
        {"{ .http.status_code >= 500 }", 1},
        {"{ span.http.status_code < 500 }", -1},
        {"{ .http.status_code = \"500\" }", -1},
        {"{ .http.status_code != 404 }", 1}, /* what is not there is not unequal */
        {"{ .http.status_code = nil }", 6},
        {"{ .http.status_code != nil }", 1},
        {"{ .ratio > 0.2 && .ratio < 3e-1 }", 1},
        {"{ .ratio > -1 }", 1},
        {"{ .cached }", 1},
        {"{ .cached = false }", -1},
        {"{ !(.cached) }", 6},
        {"{ .\"a b\" = \"x\\\"y\" }", 1},
        {"{ event.what = \"miss\" }", 1},
        {"{ event.what = nil }", 6},
        {"{ status = error }", 1},
        {"{ status != error }", 6},
        {"{ span:status = unset }", 2},
        {"{ statusMessage = \"boom\" }", 1},
        {"{ kind = client }", 2},
        {"{ kind = unspecified }", 4},
        {"{ duration > 50ms }", 1},
        {"{ duration >= 50ms }", 3},
        {"{ duration < 0.01s }", -1},
        {"{ traceDuration = 250ms }", 7},
        {"{ trace:duration > 1s }", -1},
        {"{ rootName = \"GET /cart\" && name = \"query\" }", 4},
        {"{ trace:rootService = \"shop\" }", 7},
        {"{ trace:id = \"00000000000000010000000000000002\" }", 7},
        {"{ span:id = \"0000000000000011\" }", 2},
        {"{ instrumentation:version = \"2\" }", 7},
        {"{ resource.n = 5 }", 4},
        {"{ name = \"query\" || status = error }", 5},
        {"{ name = \"query\" || status = error && kind = client }", 4},
        {"{ (name = \"query\" || status = error) && kind = server }", 1},
        {"{ !(name = \"query\") && !(status = error) }", 2},
        {"{ !(name = \"query\" || status = error) }", 2},
        {"{ status = error } && { name = \"query\" }", 5},
        {"{ status = error } && { name = \"nope\" }", -1},
        {"{ status = error } || { name = \"nope\" }", 1},
        {"{ name = \"nope\" } && {} || { status = ok }", 7},
        {"{ status = ok } | select(span.foo, name)", 4},
        {"{ status = ok } with (most_recent=true)", 4},
    };
    setup_spans();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got = run(cases[i].q);
        if (got != cases[i].want)
            fail_msg("%s: %d, want %d", cases[i].q, got, cases[i].want);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *q;
        ks_err err;
        const char *text;
    } cases[] = {
        {"name = \"x\"", KS_EPARSE, "byte 0: want {"},
        {"{", KS_EPARSE, "field"},
        {"{ name }x", KS_EUNSUPPORTED, "\"x\""},
        {"{ name = }", KS_EPARSE, "a value"},
        {"{ name = \"x }", KS_EPARSE, "quoted"},
        {"{ name = \"x\" && }", KS_EPARSE, "a field"},
        {"{ (name = \"x\" }", KS_EPARSE, "closing parenthesis"},
        {"{ name = \"x\") }", KS_EPARSE, "no closing"},
        {"{ name =~ \"(\" }", KS_EPARSE, "regular expression"},
        {"{ name =~ 5 }", KS_EPARSE, "quoted expression"},
        {"{ .a > nil }", KS_EPARSE, "= or !="},
        {"{ .a = bogus }", KS_EPARSE, "a value"},
        {"{ parent.x = 1 }", KS_EUNSUPPORTED, "parent.x"},
        {"{ nestedSetParent < 0 }", KS_EUNSUPPORTED, "nestedSetParent"},
        {"{} >> {}", KS_EUNSUPPORTED, ">>"},
        {"{} | count() > 2", KS_EUNSUPPORTED, "count"},
        {"{} | rate()", KS_EUNSUPPORTED, "rate"},
        {"{} &&", KS_EPARSE, "want {"},
        {"{} | select(", KS_EPARSE, "(…)"},
    };
    struct ks_traceql *q = malloc(sizeof *q);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ks_err err = ks_traceql_parse(ks_slice_str(cases[i].q), &arena, q);
        if (err != cases[i].err || !strstr(ks_err_text(), cases[i].text))
            fail_msg("%s: %d %s", cases[i].q, err, ks_err_text());
    }
    free(q);
}

/* --- random expressions: text and meaning made together --- */
static uint64_t rng = 11;

struct made {
    char text[4000];
    bool value; /* for span 0 */
};

static void make_expr(struct made *m, int depth)
{
    static const struct {
        const char *text;
        bool value;
    } atoms[] = {
        {"name = \"GET /cart\"", true},   {"kind = client", false}, {"status=error", true},
        {".http.status_code<500", false}, {".cached", true},        {"duration > 1h", false}};
    struct made *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    uint64_t pick = depth ? ks_rng_below(&rng, 4) : 0;
    if (pick == 0) {
        size_t i = ks_rng_below(&rng, 6);
        snprintf(m->text, sizeof m->text, "%s", atoms[i].text);
        m->value = atoms[i].value;
    } else if (pick == 1) {
        make_expr(a, depth - 1);
        snprintf(m->text, sizeof m->text, "!(%.3900s)", a->text);
        m->value = !a->value;
    } else {
        make_expr(a, depth - 1);
        make_expr(b, depth - 1);
        snprintf(m->text, sizeof m->text, "(%.1900s)%s(%.1900s)", a->text,
                 pick == 2 ? "&&" : " || ", b->text);
        m->value = pick == 2 ? a->value && b->value : a->value || b->value;
    }
    free(a);
    free(b);
}

static void test_random(void **state)
{
    struct made *m = malloc(sizeof *m);
    char text[4100];
    setup_spans();
    for (int i = 0; i < 3000; i++) {
        make_expr(m, 4);
        snprintf(text, sizeof text, "{%s}", m->text);
        int got = run(text);
        if ((got > 0 && (got & 1)) != m->value)
            fail_msg("%s: %d, want %d", text, got, m->value);
    }
    free(m);
}

static void test_hostile(void **state)
{
    static const char seed[] = "{ .a = \"b\" && (duration > 5ms || !(name =~ `x.*`)) } && { kind = "
                               "server } | select(.x)";
    struct ks_traceql *q = malloc(sizeof *q);
    for (int i = 0; i < 20000; i++) {
        char text[sizeof seed];
        memcpy(text, seed, sizeof seed);
        size_t len = ks_rng_below(&rng, sizeof seed);
        for (uint64_t k = ks_rng_below(&rng, 4); k-- > 0;)
            text[ks_rng_below(&rng, sizeof seed - 1)] = (char)(32 + ks_rng_below(&rng, 96));
        if (ks_traceql_parse(ks_slice(text, len), &arena, q) == KS_OK)
            ks_traceql_done(q);
        if (i % 1000 == 0)
            ks_arena_reset(&arena);
    }
    /* Limits. */
    char *deep = malloc(2000);
    memset(deep, '(', 2000);
    deep[0] = '{';
    assert_int_equal(ks_traceql_parse(ks_slice(deep, 2000), &arena, q), KS_ELIMIT);
    for (size_t i = 0; i + 4 < 2000; i += 4)
        memcpy(deep + i, "{}&&", 4);
    assert_int_equal(ks_traceql_parse(ks_slice(deep, 1996), &arena, q), KS_ELIMIT);
    size_t n = (size_t)snprintf(deep, 2000, "{.a");
    while (n < 1900)
        n += (size_t)snprintf(deep + n, 2000 - n, "&&.a");
    assert_int_equal(ks_traceql_parse(ks_slice(deep, n), &arena, q), KS_ELIMIT);
    free(deep);
    free(q);
}

static void test_hints(void **state)
{
    struct ks_traceql *q = malloc(sizeof *q);
    struct ks_trace_params *p = malloc(sizeof *p);
    bool exact;
#define HINTS(text)                                                                                \
    ks_trace_params_init(p);                                                                       \
    assert_int_equal(ks_traceql_parse(KS_SLICE_LIT(text), &arena, q), KS_OK);                      \
    assert_int_equal(ks_traceql_hints(q, p, &exact), KS_OK);                                       \
    ks_traceql_done(q)
    HINTS("{}");
    assert_true(exact && !p->q.cond_count);
    HINTS("{ resource.service.name = \"s\" && name = \"n\" }");
    assert_true(exact && p->q.cond_count == 1 && ks_slice_is(p->q.service, "s"));
    HINTS("{ .a = \"s\" && duration > 5ms && .b > 3 }");
    assert_true(!exact && p->q.cond_count == 1 && p->q.min_duration_ns == 5000000);
    HINTS("{ .a = \"s\" || .b = \"t\" }");
    assert_true(!exact && !p->q.cond_count);
    HINTS("{ !(.a = \"s\") }");
    assert_true(!exact && !p->q.cond_count);
    HINTS("{ .a = \"s\" } || { .b = \"t\" }");
    assert_true(!exact && !p->q.cond_count);
    free(q);
    free(p);
}

static int arena_begin(void **state)
{
    ks_arena_init(&arena, 64 << 20);
    return 0;
}
static int arena_end(void **state)
{
    ks_arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_random),  cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hints),
    };
    return cmocka_run_group_tests(tests, arena_begin, arena_end);
}
