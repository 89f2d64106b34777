/*
 * Strict PromQL over series in memory: what differs from MetricsQL. An answer reads "{labels} v v |
 * …", "_" where there is no point; then "W:" and "I:" with warnings and infos; or "error: " and the
 * text. Expectations are Prometheus 3.5's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/num.h"
#include "tests/support/memory_source.h"

static struct memory_source data;

static void add(const char *const *labels, const double *values, size_t n)
{
    size_t at = memory_source_add(&data, labels);
    for (size_t i = 0; i < n; i++)
        if (ks_f64_bits(values[i]) != KS_ABSENT_BITS)
            memory_source_sample(&data, at, 60000 * (int64_t)i, values[i]);
}

#define ADD(labels, ...)                                                                           \
    do {                                                                                           \
        const double v[] = {__VA_ARGS__};                                                          \
        add(labels, v, sizeof v / sizeof *v);                                                      \
    } while (0)

static int setup(void **state)
{
    static const char *const a1[] = {"__name__", "a", "i", "1", NULL}, *const a2[] = {"__name__",
                                                                                      "a", "i", "2",
                                                                                      NULL};
    static const char *const b1[] = {"__name__", "b", "i", "1", "z", "x", NULL};
    static const char *const b2[] = {"__name__", "b", "i", "1", "z", "y", NULL};
    static const char *const t[] = {"__name__", "t_total", "__type__", "counter", "__unit__",
                                    "s",        "i",       "1",        NULL};
    static const char *const h[] = {"__name__", "h_bucket", "le", "1", NULL}, *const h5[] = {
                                                                                  "__name__",
                                                                                  "h_bucket", "le",
                                                                                  "5", NULL};
    static const char *const hi[] = {"__name__", "h_bucket", "le", "+Inf", NULL};
    static const char *const big[] = {"__name__", "big", "i", "1", NULL}, *const neg[] = {
                                                                              "__name__", "big",
                                                                              "i", "2", NULL};
    static const char *const one[] = {"__name__", "big", "i", "3", NULL};
    double stale = ks_stale_nan();
    ADD(a1, 1, 2, 3, 4);
    ADD(a2, 5, NAN, stale, 7);
    ADD(b1, 10, 10, 10, 10);
    ADD(b2, 20, stale, 20, 20);
    ADD(t, 0, 60, 120, 180);
    ADD(h, 5, 5, 5, 5);
    ADD(h5, 3, 8, 8, 8);
    ADD(hi, 10, 10, 10, 10);
    ADD(big, 1e100, 1e100, 1e100, 1e100);
    ADD(neg, -1e100, -1e100, -1e100, -1e100);
    ADD(one, 1, 1, 1, 1);
    return 0;
}
static int teardown(void **state)
{
    memory_source_done(&data);
    return 0;
}

static void print(const struct ks_promql_result *r, struct ks_buf *b)
{
    for (size_t i = 0; i < r->series_count; i++) {
        struct ks_labels_iter it = ks_labels_iter(r->series[i].labels);
        struct ks_label l;
        ks_buf_str(b, i ? " | {" : "{");
        for (const char *sep = ""; ks_labels_next(&it, &l); sep = ",")
            ks_buf_printf(b, "%s%.*s=%.*s", sep, KS_SLICE_ARG(l.name), KS_SLICE_ARG(l.value));
        ks_buf_byte(b, '}');
        for (size_t k = 0; k < r->series[i].count; k++) {
            ks_buf_byte(b, ' ');
            if (ks_f64_bits(r->series[i].values[k]) == KS_ABSENT_BITS)
                ks_buf_byte(b, '_');
            else
                ks_buf_f64(b, r->series[i].values[k]);
        }
    }
    for (size_t i = 0; i < r->warning_count; i++)
        ks_buf_printf(b, " W:%.*s", KS_SLICE_ARG(r->warnings[i]));
    for (size_t i = 0; i < r->info_count; i++)
        ks_buf_printf(b, " I:%.*s", KS_SLICE_ARG(r->infos[i]));
}

struct strict_case {
    const char *query, *want;
};

/* range: at 0, 60, 120, 180 s; else at 60 s. */
static void check(const struct strict_case *cases, size_t n, bool range, bool delayed)
{
    struct ks_query_source src = memory_source_view(&data);
    for (size_t i = 0; i < n; i++) {
        struct ks_arena arena;
        struct ks_promql_result r;
        struct ks_buf b;
        struct ks_promql_request req = {.query = ks_slice_str(cases[i].query),
                                        .dialect = KS_PROMQL_STRICT,
                                        .range = range,
                                        .start_ms = range ? 0 : 60000,
                                        .end_ms = range ? 180000 : 60000,
                                        .step_ms = 60000,
                                        .experimental_functions = true,
                                        .duration_expressions = true,
                                        .delayed_name_removal = delayed,
                                        .round_digits = 100};
        ks_arena_init(&arena, 1 << 24);
        ks_buf_init(&b, 1 << 16);
        if (ks_promql_exec_source(&src, &req, &arena, &r) == KS_OK)
            print(&r, &b);
        else
            ks_buf_printf(&b, "error: %s", ks_err_text());
        if (!ks_slice_is(ks_buf_view(&b), cases[i].want)) {
            print_message("query: %s\nwant:  %s\ngot:   %.*s\n", cases[i].query, cases[i].want,
                          KS_SLICE_ARG(ks_buf_view(&b)));
            fail();
        }
        ks_buf_done(&b);
        ks_arena_done(&arena);
    }
}
#define CHECK(cases, range, delayed) check(cases, sizeof(cases) / sizeof *(cases), range, delayed)

static void test_range(void **state)
{
    static const struct strict_case cases[] = {
        {"a", "{__name__=a,i=1} 1 2 3 4 | {__name__=a,i=2} 5 NaN _ 7"},
        {"a + 1", "{i=1} 2 3 4 5 | {i=2} 6 NaN _ 8"},
        {"a > 2", "{__name__=a,i=1} _ _ 3 4 | {__name__=a,i=2} 5 _ _ 7"},
        {"2 < a", "{__name__=a,i=1} _ _ 3 4 | {__name__=a,i=2} 5 _ _ 7"},
        {"a == bool a", "{i=1} 1 1 1 1 | {i=2} 1 0 _ 1"},
        {"sum(a)", "{} 6 NaN 3 11"},
        {"count(a)", "{} 2 2 1 2"},
        {"min(a)", "{} 1 2 3 4"},
        {"topk(1, a)", "{__name__=a,i=1} _ 2 3 _ | {__name__=a,i=2} 5 _ _ 7"},
        {"sum(big)", "{} 1 1 1 1"},
        {"t_total and on(i) a", "{__name__=t_total,__type__=counter,__unit__=s,i=1} 0 60 120 180"},
        {"-t_total", "{i=1} -0 -60 -120 -180"},
        {"a unless a > 2", "{__name__=a,i=1} 1 2 _ _ | {__name__=a,i=2} _ NaN _ _"},
        {"a > 3 or a < 2", "{__name__=a,i=1} 1 _ _ 4 | {__name__=a,i=2} 5 _ _ 7"},
        {"scalar(a)", "{} NaN NaN 3 NaN"},
        {"predict_linear(t_total[3m] @ 180, 60)", "{i=1} 60 120 180 240"},
        {"timestamp(a{i=\"1\"} + 1)", "{i=1} 0 60 120 180"},
        {"count_values(\"v\", b)", "{v=10} 1 1 1 1 | {v=20} 1 _ 1 1"},
        {"quantile(2, a)", "{} +Inf +Inf +Inf +Inf W:PromQL warning: quantile value should be "
                           "between 0 and 1, got 2 (1:10)"},
        {"last_over_time(a[1m+1m])", "{__name__=a,i=1} 1 2 3 4 | {__name__=a,i=2} 5 NaN NaN 7"},
    };
    CHECK(cases, true, false);
}

static void test_errors(void **state)
{
    static const struct strict_case cases[] = {
        {"a * on(i) b", "error: found duplicate series for the match group {i=\"1\"} on the right "
                        "hand-side of the operation: "
                        "[{__name__=\"b\", i=\"1\", z=\"y\"}, {__name__=\"b\", i=\"1\", "
                        "z=\"x\"}];many-to-many matching not allowed: "
                        "matching labels must be unique on one side"},
        {"b * on(i) a", "error: multiple matches for labels: many-to-one matching must be explicit "
                        "(group_left/group_right)"},
        {"b * on(i) group_left(z) a",
         "error: multiple matches for labels: grouping labels must ensure unique matches"},
        {"label_replace(b, \"z\", \"\", \"\", \"\")",
         "error: vector cannot contain metrics with the same labelset"},
        {"rate({i=\"1\",z!~\".+\"}[2m])",
         "error: vector cannot contain metrics with the same labelset"},
        {"topk(NaN, a)", "error: Scalar value NaN overflows int64"},
        {"label_join(a, \"\", \"\")", "error: invalid destination label name in label_join(): "},
        {"double_exponential_smoothing(a[2m], 1, 0.5)",
         "error: invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000"},
    };
    /* At 120 s: b has both series. */
    struct ks_query_source src = memory_source_view(&data);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ks_arena arena;
        struct ks_promql_result r;
        struct ks_promql_request req = {.query = ks_slice_str(cases[i].query),
                                        .dialect = KS_PROMQL_STRICT,
                                        .step_ms = 60000,
                                        .start_ms = 120000,
                                        .end_ms = 120000,
                                        .experimental_functions = true};
        ks_arena_init(&arena, 1 << 24);
        ks_err err = ks_promql_exec_source(&src, &req, &arena, &r);
        assert_int_equal(err, KS_EEXEC);
        assert_string_equal(ks_err_text(), cases[i].want + 7);
        ks_arena_done(&arena);
    }
}

static void test_instant(void **state)
{
    static const struct strict_case cases[] = {
        {"sort(a)", "{__name__=a,i=1} 2 | {__name__=a,i=2} NaN"},
        {"sort_desc(a)", "{__name__=a,i=1} 2 | {__name__=a,i=2} NaN"},
        {"a == a", "{__name__=a,i=1} 2"},
        {"absent(x{i=\"1\",i=\"2\",j=\"3\"})", "{j=3} 1"},
        {"b", "{__name__=b,i=1,z=x} 10"},
        {"histogram_quantile(0.5, h_bucket)", "{} 1"},
        {"rate(a{i=\"1\"}[5m])", "{i=1} 0.005 I:PromQL info: metric might not be a counter, name "
                                 "does not end in _total/_sum/_count/_bucket: \"a\" "
                                 "(1:6)"},
        {"limit_ratio(1, b)", "{__name__=b,i=1,z=x} 10"},
        {"limit_ratio(0, b)", ""},
        /* Found by comparing with Prometheus. */
        {"clamp_min(a, Inf)", "{i=1} +Inf | {i=2} +Inf"},
        {"b{z=\"x\"} <= ignoring(z) b", "{__name__=b,i=1} 10"},
        {"absent(x{i!=\"1\",i=\"2\"})", "{} 1"},
        {"absent_over_time((x{i=\"1\"})[1m:])", "{} 1"},
        {"histogram_quantile(1, absent(a))", ""},
        {"topk(NaN, x)", ""},
        {"quantile((2), x)",
         " W:PromQL warning: quantile value should be between 0 and 1, got 2 (1:11)"},
        {"limitk(1, a)", "{__name__=a,i=1} 2"},
    };
    CHECK(cases, false, false);
}

static void test_late_names(void **state)
{
    static const struct strict_case cases[] = {
        {"label_replace(rate(t_total[2m]), \"n\", \"$1\", \"__name__\", \"(.*)\")",
         "{i=1,n=t_total} 0.5"},
        {"sum by (__name__) (t_total)", "{__name__=t_total} 60"},
        {"abs(a)", "{i=1} 2 | {i=2} NaN"},
    };
    CHECK(cases, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_instant),
        cmocka_unit_test(test_late_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
