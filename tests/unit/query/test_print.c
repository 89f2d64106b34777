/* Printing: canonical text of both dialects, stability under a second parse, pretty text, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "query/promql/promql.h"
#include "query/promql/syntax/parser.h"
#include "query/promql/syntax/print.h"

enum mode { LINE, PRETTY, JSON };

static void print(enum ks_dialect dialect, enum mode mode, struct ks_slice text, struct ks_buf *out)
{
    struct ks_arena arena;
    struct ks_expr *e = NULL;
    struct ks_promql_parse_opts opts = {
        .dialect = dialect, .experimental_functions = true, .duration_expressions = true};
    ks_arena_init(&arena, 16u << 20);
    ks_buf_reset(out);
    if (ks_promql_parse(text, &opts, &arena, &e) != KS_OK)
        fail_msg("%.*s: %s", KS_SLICE_ARG(text), ks_err_text());
    if (mode == LINE)
        ks_promql_print(e, dialect, out);
    else if (mode == PRETTY)
        ks_promql_print_pretty(e, dialect, out);
    else
        ks_promql_print_json(e, out);
    assert_int_equal(ks_buf_status(out), KS_OK);
    ks_arena_done(&arena);
}

/* text prints as want, and want as itself. */
static void check(enum ks_dialect dialect, enum mode mode, const char *text, const char *want)
{
    struct ks_buf out, again;
    ks_buf_init(&out, 1u << 20);
    ks_buf_init(&again, 1u << 20);
    print(dialect, mode, ks_slice_str(text), &out);
    if (!ks_slice_is(ks_buf_view(&out), want))
        fail_msg("%s:\n got  %.*s\n want %s", text, (int)out.len, out.ptr, want);
    if (mode != JSON) {
        print(dialect, mode, ks_buf_view(&out), &again);
        if (!ks_slice_eq(ks_buf_view(&again), ks_buf_view(&out)))
            fail_msg("%s: unstable: %.*s", text, (int)again.len, again.ptr);
    }
    ks_buf_done(&out);
    ks_buf_done(&again);
}

static void test_mql_line(void **state)
{
    static const char *const pairs[][2] = {
        {"foo", "foo"},
        {"FOO{ a = 'b' , }", "FOO{a=\"b\"}"},
        {"{}", "{}"},
        {"foo{}", "foo"},
        {"foo\\-bar{c\\ d=~\"x\"}", "foo\\-bar{c\\ d=~\"x\"}"},
        {"{\"a.b-c\"}", "a.b\\-c"},
        {"foo{a=\"b\" or c=\"d\",e=\"f\"}", "foo{a=\"b\" or c=\"d\",e=\"f\"}"},
        {"{__name__=\"x\" or a=\"b\"}", "x{__name__=\"x\" or a=\"b\"}"},
        {"{__name__=~\"x\"}", "{__name__=~\"x\"}"},
        {"RATE(foo[ 5m : 1m ])", "rate(foo[5m:1m])"},
        {"foo[5m] OFFSET -1h @ end()", "foo[5m] offset -1h @ end()"},
        {"foo @ (a+b)", "foo @ (a + b)"},
        {"foo[:]", "foo[:]"},
        {"foo[$__interval]", "foo"},
        {"foo[$__rate_interval:1i]", "foo[:1i]"},
        {"Sum(a) BY (x, y) LIMIT 5", "sum(a) by(x,y) limit 5"},
        {"(sum(a) by (x))[5m:]", "(sum(a) by(x))[5m:]"},
        {"(a+b)[5m]", "(a + b)[5m]"},
        {"a+b*c", "a + (b * c)"},
        {"a == bool b", "a ==bool b"},
        {"a * ON(x) GROUP_LEFT(y) prefix 'p' fill(0) b",
         "a * on(x) group_left(y) prefix \"p\" fill(0) b"},
        {"(a+b) keep_metric_names", "(a + b) keep_metric_names"},
        {"abs(a) keep_metric_names", "abs(a) keep_metric_names"},
        {"a + (bool)", "a + (bool)"},
        {"-a", "0 - a"},
        {"-1.5 / a", "0 - (1.5 / a)"},
        {"(-1.5) / a", "(-1.5) / a"},
        {"(-1.5) - a", "-1.5 - a"},
        {"\"s\" + +a", "\"s\" + (a)"},
        {"a - 0 * -1", "a - (0 / -1)"},
        {"(0 * -1) / a", "((0 / -1)) / a"},
        {"1 + 2", "3"},
        {"0x10", "0x10"},
        {"1e30 * 10", "1e+31"},
        {"(a, (b))", "(a, b)"},
        {"\"x\\n\\\"\" + 'y'", "\"x\\n\\\"y\""},
        {"WITH (f(x) = x[5m]) rate(f(a))", "rate(a[5m])"},
        {"(a offset 5m) + 1", "(a offset 5m) + 1"},
        {"(a[5m])[1h]", "(a[5m])[1h]"},
        {"5m * 2", "5m * 2"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        check(KS_METRICSQL, LINE, pairs[i][0], pairs[i][1]);
}

static void test_strict_line(void **state)
{
    static const char *const pairs[][2] = {
        {"foo", "foo"},
        {"foo{b='c',a=~\"d\"}", "foo{a=~\"d\",b=\"c\"}"},
        {"{\"x.y\",\"l.m\"=\"v\"}", "{\"l.m\"=\"v\",__name__=\"x.y\"}"},
        {"foo[90m] offset 1d @ 5", "foo[1h30m] @ 5.000 offset 1d"},
        {"foo offset -30", "foo offset -30s"},
        {"rate(foo[5m])[1h:]", "rate(foo[5m])[1h:]"},
        {"foo[7d]", "foo[1w]"},
        {"foo[8d]", "foo[8d]"},
        {"SUM BY(a,\"b.c\")(x)", "sum by (a, \"b.c\") (x)"},
        {"sum(x) by ()", "sum(x)"},
        {"sum(x) without ()", "sum without () (x)"},
        {"topk(3,x) by (a)", "topk by (a) (3, x)"},
        {"a+on(x)group_left()b", "a + on (x) group_left () b"},
        {"a+ignoring()b", "a + b"},
        {"a>bool 1", "a > bool 1"},
        {"- a ^ b", "-a ^ b"},
        {"-(1)", "-(1)"},
        {"((a))", "((a))"},
        {"0x1F + 1e3", "31 + 1000"},
        {"5m", "5m"},
        {"'a\"b'", "\"a\\\"b\""},
        {"foo[5m*(2+1)]", "foo[5m * (2 + 1)]"},
        {"foo @ end()", "foo @ end()"},
        {"Inf", "+Inf"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        check(KS_PROMQL_STRICT, LINE, pairs[i][0], pairs[i][1]);
}

static void test_pretty(void **state)
{
    check(KS_METRICSQL, PRETTY, "a + b", "a + b");
    check(KS_METRICSQL, PRETTY,
          "sum(rate(http_requests_total{job=\"first\",code=\"200\"}[5m])) by (job) / "
          "sum(rate(http_requests_total{job=\"first\"}[5m])) by (job)",
          "sum(rate(http_requests_total{job=\"first\",code=\"200\"}[5m])) by(job)\n"
          "  /\n"
          "sum(rate(http_requests_total{job=\"first\"}[5m])) by(job)");
    check(KS_METRICSQL, PRETTY,
          "sum(rate(http_requests_total{job=\"first\",code=~\"200|201|202|203|204|205|206|207|208|"
          "209\"}"
          "[5m]))",
          "sum(\n"
          "  rate(\n"
          "    http_requests_total{\n"
          "      job=\"first\",code=~\"200|201|202|203|204|205|206|207|208|209\"\n"
          "    }[5m]\n"
          "  )\n"
          ")");
    check(KS_PROMQL_STRICT, PRETTY,
          "sum by (job) (rate(http_requests_total{job=\"first\",code=\"200\"}[5m])) / "
          "sum by (job) (rate(http_requests_total{job=\"first\"}[5m]))",
          "  sum by (job) (rate(http_requests_total{code=\"200\",job=\"first\"}[5m]))\n"
          "/\n"
          "  sum by (job) (rate(http_requests_total{job=\"first\"}[5m]))");
}

static void test_json(void **state)
{
    check(KS_PROMQL_STRICT, JSON, "foo{a=\"b\"}[5m] offset 1m @ 2",
          "{\"matchers\":[{\"name\":\"a\",\"type\":\"=\",\"value\":\"b\"},{\"name\":\"__name__\","
          "\"type\":\"=\",\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":60000,\"range\":300000,"
          "\"startOrEnd\":null,\"timestamp\":2000,\"type\":\"matrixSelector\"}");
    check(KS_PROMQL_STRICT, JSON, "-1", "{\"type\":\"numberLiteral\",\"val\":\"-1\"}");
    check(
        KS_PROMQL_STRICT, JSON, "label_join(a, \"x\", \",\")",
        "{\"args\":[{\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"a\"}],"
        "\"name\":\"a\",\"offset\":0,\"startOrEnd\":null,\"timestamp\":null,"
        "\"type\":\"vectorSelector\"},{\"type\":\"stringLiteral\",\"val\":\"x\"},"
        "{\"type\":\"stringLiteral\",\"val\":\",\"}],\"func\":{\"argTypes\":[\"vector\",\"string\","
        "\"string\",\"string\"],\"name\":\"label_join\",\"returnType\":\"vector\",\"variadic\":-1},"
        "\"type\":\"call\"}");
}

static void test_json_operators(void **state)
{
    check(
        KS_PROMQL_STRICT, JSON, "1 > bool 2",
        "{\"bool\":true,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"matching\":null,"
        "\"op\":\">\",\"rhs\":{\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":\"binaryExpr\"}");
    check(
        KS_PROMQL_STRICT, JSON, "(hour())[1h:5m] @ end()",
        "{\"expr\":{\"expr\":{\"args\":[],\"func\":{\"argTypes\":[\"vector\"],\"name\":\"hour\","
        "\"returnType\":\"vector\",\"variadic\":1},\"type\":\"call\"},\"type\":\"parenExpr\"},"
        "\"offset\":0,\"range\":3600000,\"startOrEnd\":\"end\",\"step\":300000,\"timestamp\":null,"
        "\"type\":\"subquery\"}");
}

static void test_services(void **state)
{
    struct ks_arena arena;
    struct ks_selector *lists;
    size_t count;
    struct ks_buf out;
    ks_arena_init(&arena, 1u << 20);
    ks_buf_init(&out, 1u << 20);
    assert_int_equal(
        ks_promql_parse_selector(KS_SLICE_LIT("foo{a=\"b\" or c=\"d\"}"), &arena, &lists, &count),
        KS_OK);
    assert_int_equal(count, 2);
    assert_int_equal(lists[1].count, 2);
    assert_int_equal(ks_promql_parse_selector(KS_SLICE_LIT("foo[5m]"), &arena, &lists, &count),
                     KS_EPARSE);
    assert_int_equal(ks_promql_format(KS_SLICE_LIT("a+b"), KS_METRICSQL, false, &out), KS_OK);
    assert_true(ks_slice_is(ks_buf_view(&out), "a + b"));
    ks_buf_reset(&out);
    assert_int_equal(ks_promql_format(KS_SLICE_LIT("1 + 1"), KS_METRICSQL, true, &out), KS_OK);
    assert_true(ks_slice_is(ks_buf_view(&out), "1 + 1"));
    ks_buf_reset(&out);
    assert_int_equal(ks_promql_ast_json(KS_SLICE_LIT("1"), KS_PROMQL_STRICT, &out), KS_OK);
    assert_int_equal(ks_promql_ast_json(KS_SLICE_LIT("1 +"), KS_PROMQL_STRICT, &out), KS_EPARSE);
    ks_buf_done(&out);
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mql_line),       cmocka_unit_test(test_strict_line),
        cmocka_unit_test(test_pretty),         cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_operators), cmocka_unit_test(test_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
