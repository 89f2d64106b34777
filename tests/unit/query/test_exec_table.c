/* Queries over series in memory, each with the answer it must give: "labels: v v v | …", "_" where
 * there is no point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "tests/support/memory_source.h"

static struct memory_source data;

/* Counters every 15 s for 20 minutes: http_requests of two jobs and instances, growing by 15·k per
 * scrape. */
static int setup(void **state)
{
    static const char *const sets[][9] = {
        {"__name__", "http_requests", "job", "api", "instance", "a", NULL},
        {"__name__", "http_requests", "job", "api", "instance", "b", NULL},
        {"__name__", "http_requests", "job", "web", "instance", "a", NULL},
        {"__name__", "up", "job", "api", "instance", "a", NULL},
        {"__name__", "up", "job", "api", "instance", "b", NULL},
        {"__name__", "info", "job", "api", "version", "v1", NULL},
        {"__name__", "info", "job", "web", "version", "v2", NULL},
    };
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        size_t at = memory_source_add(&data, sets[s]);
        for (int i = 0; i <= 80; i++) {
            double v = s < 3 ? 15.0 * i * (double)(s + 1) : s == 4 && i >= 40 ? 0 : 1;
            memory_source_sample(&data, at, 15000 * i, v);
        }
    }
    return 0;
}
static int teardown(void **state)
{
    memory_source_done(&data);
    return 0;
}

static void print_result(const struct ks_promql_result *r, struct ks_buf *b)
{
    for (size_t i = 0; i < r->series_count; i++) {
        const struct ks_promql_series *s = &r->series[i];
        struct ks_labels_iter it = ks_labels_iter(s->labels);
        struct ks_label l;
        if (i)
            ks_buf_str(b, " | ");
        ks_buf_byte(b, '{');
        for (bool first = true; ks_labels_next(&it, &l); first = false)
            ks_buf_printf(b, "%s%.*s=%.*s", first ? "" : ",", KS_SLICE_ARG(l.name),
                          KS_SLICE_ARG(l.value));
        ks_buf_byte(b, '}');
        for (size_t k = 0; k < s->count; k++) {
            ks_buf_byte(b, ' ');
            if (s->times)
                ks_buf_printf(b, "%lld:", (long long)s->times[k] / 1000);
            if (!s->times && ks_f64_bits(s->values[k]) == KS_ABSENT_BITS)
                ks_buf_byte(b, '_');
            else
                ks_buf_f64(b, s->values[k]);
        }
    }
}

struct how {
    bool range;
    enum ks_dialect dialect;
    int64_t start, end, step, now, latency;
    bool cached;
    const struct ks_selector *filters;
    size_t filter_count;
    struct ks_promql_limits limits;
    int round_digits;
};

static ks_err run(const char *query, const struct how *h, struct ks_buf *out)
{
    struct ks_query_source src = memory_source_view(&data);
    struct ks_arena arena;
    ks_arena_init(&arena, (size_t)1 << 30);
    struct ks_promql_request req = {.query = ks_slice_str(query),
                                    .dialect = h->dialect,
                                    .range = h->range,
                                    .start_ms = h->start * 1000,
                                    .end_ms = h->end * 1000,
                                    .step_ms = h->step * 1000,
                                    .now_ms = h->now * 1000,
                                    .latency_offset_ms = h->latency * 1000,
                                    .no_cache = !h->cached,
                                    .extra_filters = h->filters,
                                    .extra_filter_count = h->filter_count,
                                    .limits = h->limits,
                                    .round_digits = h->round_digits ? h->round_digits : 100};
    struct ks_promql_result r;
    ks_err err = ks_promql_exec_source(&src, &req, &arena, &r);
    if (err == KS_OK)
        print_result(&r, out);
    else
        ks_buf_printf(out, "error: %s", ks_err_text());
    ks_arena_done(&arena);
    return err;
}

static void check(const char *query, const struct how *h, const char *want)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    (void)!run(query, h, &b);
    ks_buf_byte(&b, 0);
    if (strcmp(b.ptr, want) != 0)
        print_message("query: %s\n", query);
    assert_string_equal(b.ptr, want);
    ks_buf_done(&b);
}

static void test_range(void **state)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"up{instance='a'}", "{__name__=up,instance=a,job=api} 1 1 1 1"},
        {"sum(rate(http_requests[1m]))", "{} 6 6 6 6"},
        {"sum by (job) (rate(http_requests[1m]))", "{job=api} 3 3 3 3 | {job=web} 3 3 3 3"},
        {"sum(rate(http_requests[1m])) by (job) limit 1", "{job=api} 3 3 3 3"},
        {"sum without (instance, job) (increase(http_requests[2m]))", "{} 720 720 720 720"},
        {"avg by (instance) (http_requests)",
         "{instance=a} 600 1200 1800 2400 | {instance=b} 600 1200 1800 2400"},
        {"count(up == 0)", "{} _ 1 1 1"},
        {"max(up) - min(up)", "{} 0 1 1 1"},
        {"group by (__name__) ({job='web'})",
         "{__name__=http_requests} 1 1 1 1 | {__name__=info} 1 1 1 1"},
        {"up * on (instance, job) group_left () http_requests",
         "{instance=a,job=api} 300 600 900 1200 | {instance=b,job=api} 600 0 0 0"},
        {"http_requests * on (job) group_left (version) info",
         "{instance=a,job=api,version=v1} 300 600 900 1200 | {instance=a,job=web,version=v2} 900 "
         "1800 2700 3600 | "
         "{instance=b,job=api,version=v1} 600 1200 1800 2400"},
        {"up unless up == 0",
         "{__name__=up,instance=a,job=api} 1 1 1 1 | {__name__=up,instance=b,job=api} 1 _ _ _"},
        {"topk(1, http_requests)",
         "{__name__=http_requests,instance=a,job=web} 900 1800 2700 3600"},
        {"absent(nothing{a='b', c=~'d'})", "{a=b} 1 1 1 1"},
        {"absent(up)", ""},
        {"absent_over_time(nothing{a='b'}[5m])", "{a=b} 1 1 1 1"},
        {"max_over_time(up{instance='b'}[5m] offset 5m)",
         "{__name__=up,instance=b,job=api} 1 1 1 0"},
        {"sum_over_time(up{instance='b'}[1m:15s])", "{instance=b,job=api} 4 3 0 0"},
        {"http_requests{job='web'} @ 600",
         "{__name__=http_requests,instance=a,job=web} 1800 1800 1800 1800"},
        {"label_replace(up{instance='a'}, 'host', 'h-$1', 'instance', '(.*)')",
         "{__name__=up,host=h-a,instance=a,job=api} 1 1 1 1"},
        {"sum(http_requests{job='api'} or http_requests{job='web'})", "{} 1800 3600 5400 7200"},
        {"scalar(sum(up)) + vector(1)", "{} 3 2 2 2"},
        {"{__name__=~'up|info', job='web'}", "{__name__=info,job=web,version=v2} 1 1 1 1"},
        {"{job='web',__name__='info' or instance='b',__name__='up'}",
         "{__name__=info,job=web,version=v2} 1 1 1 1 | {__name__=up,instance=b,job=api} 1 0 0 0"},
        {"count({job='api'}) by (nosuch)", "{} 5 5 5 5"},
    };
    struct how h = {.range = true, .start = 300, .end = 1200, .step = 300};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].query, &h, cases[i].want);
}

static void test_instant(void **state)
{
    struct how h = {.start = 600, .end = 600, .step = 300};
    check("up", &h, "{__name__=up,instance=a,job=api} 1 | {__name__=up,instance=b,job=api} 0");
    /* Left-open window: the sample at its lower bound is not in. */
    check("up{instance='b'}[30s]", &h, "{__name__=up,instance=b,job=api} 585:1 600:0");
    check("up{instance='b'}[30s] offset 15s", &h, "{__name__=up,instance=b,job=api} 570:1 585:1");
    check("sum(up)[2m:1m]", &h, "{} 2 2 1");
    check("time()", &h, "{} 600");
    check("'text'", &h, "");
    check("{}", &h, "");
}

static void test_latency_offset(void **state)
{
    struct how h = {
        .start = 600, .end = 600, .step = 300, .now = 610, .latency = 30, .cached = true};
    check("time()", &h, "{} 580");
    h.cached = false;
    check("time()", &h, "{} 600");
    struct how r = {.range = true,
                    .start = 540,
                    .end = 615,
                    .step = 15,
                    .now = 620,
                    .latency = 30,
                    .cached = true};
    check("time()", &r, "{} 540 555 570 585 585 585");
}

static void test_alignment(void **state)
{
    struct ks_query_source src = memory_source_view(&data);
    struct ks_arena arena;
    struct ks_promql_result r;
    struct ks_promql_request req = {.query = KS_SLICE_LIT("time()"),
                                    .range = true,
                                    .start_ms = 7000,
                                    .end_ms = 507000,
                                    .step_ms = 10000,
                                    .round_digits = 100};
    ks_arena_init(&arena, 1 << 24);
    assert_int_equal(ks_promql_exec_source(&src, &req, &arena, &r), KS_OK);
    assert_int_equal(r.start_ms, 0);
    assert_int_equal(r.end_ms, 500000);
    req.no_cache = true;
    assert_int_equal(ks_promql_exec_source(&src, &req, &arena, &r), KS_OK);
    assert_int_equal(r.start_ms, 7000);
    req.no_cache = false;
    req.end_ms = 487000; /* 49 points */
    assert_int_equal(ks_promql_exec_source(&src, &req, &arena, &r), KS_OK);
    assert_int_equal(r.start_ms, 7000);
    ks_arena_done(&arena);
}

static void test_extra_filters(void **state)
{
    struct ks_matcher web = {KS_SLICE_LIT("job"), KS_SLICE_LIT("web"), KS_MATCH_EQ};
    struct ks_matcher b = {KS_SLICE_LIT("instance"), KS_SLICE_LIT("b"), KS_MATCH_EQ};
    struct ks_selector both[] = {{&web, 1}, {&b, 1}};
    struct how h = {.start = 300, .end = 300, .step = 300, .filters = both, .filter_count = 2};
    check("sum(http_requests)", &h, "{} 1500");
    check("http_requests{instance='a'}", &h, "{__name__=http_requests,instance=a,job=web} 900");
    check("http_requests[20s]", &h,
          "{__name__=http_requests,instance=b,job=api} 285:570 300:600 | "
          "{__name__=http_requests,instance=a,job=web} 285:855 300:900");
}

static void test_errors(void **state)
{
    struct how h = {.range = true,
                    .start = 0,
                    .end = 1200,
                    .step = 1,
                    .limits = {.max_points_per_series = 100}};
    check("up", &h,
          "error: too many points for the given start=0, end=1200000 and step=1000: 1201; the "
          "maximum number of points is "
          "100; increase step or -search.maxPointsPerTimeseries");
    struct how few = {.start = 300, .end = 300, .step = 300, .limits = {.max_series = 2}};
    check("http_requests", &few,
          "error: the number of matching timeseries exceeds 2; either narrow down the search or "
          "increase "
          "-search.maxUniqueTimeseries");
    struct how i = {.start = 300, .end = 300, .step = 300};
    check("http_requests * on (instance) up", &i,
          "error: duplicate time series on the left side of `* on (instance)`: {instance=\"a\", "
          "job=\"api\"} and "
          "{instance=\"a\", job=\"web\"}");
    check("label_del(up, 'instance')", &i, "error: duplicate output timeseries: up{job=\"api\"}");
    struct ks_buf b;
    ks_buf_init(&b, 1 << 16);
    i.limits.max_memory_bytes = 100000;
    i.range = true;
    i.start = 0;
    i.end = 20000;
    i.step = 1;
    assert_int_equal(run("http_requests", &i, &b), KS_ELIMIT);
    ks_buf_done(&b);
}

static void test_round_digits(void **state)
{
    struct how h = {.start = 300, .end = 300, .step = 300, .round_digits = 2};
    check("vector(10/3)", &h, "{} 3.33");
}

/* The side read first narrows the other; the answer stays. */
static void test_join_filters(void **state)
{
    static const struct {
        const char *query;
        uint64_t fetched;
    } cases[] = {
        {"up{instance='b'} * on (instance) http_requests", 2},
        {"up{instance='b'} * ignoring (instance) group_right () http_requests", 3},
        {"http_requests and on (instance) up{instance='b'}", 2},
        {"up{instance='b'} or http_requests", 4},
        {"up * on (job, instance) group_left () (http_requests - on (job, instance) http_requests)",
         6},
        {"sum(up{instance='b'}) * sum(http_requests)", 4},
        {"sum by (instance) (up{instance='b'}) * on (instance) sum by (instance) (http_requests)",
         2},
        {"up{instance='b'} > 0.5", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ks_query_source src = memory_source_view(&data);
        struct ks_arena arena;
        struct ks_promql_result r;
        struct ks_promql_request req = {.query = ks_slice_str(cases[i].query),
                                        .start_ms = 300000,
                                        .end_ms = 300000,
                                        .step_ms = 300000,
                                        .no_cache = true,
                                        .round_digits = 100};
        ks_arena_init(&arena, 1 << 24);
        assert_int_equal(ks_promql_exec_source(&src, &req, &arena, &r), KS_OK);
        if (r.series_fetched != cases[i].fetched)
            print_message("query: %s\n", cases[i].query);
        assert_int_equal(r.series_fetched, cases[i].fetched);
        ks_arena_done(&arena);
    }
}

/* Many series in chunks: the pushed-down sum equals the one over materialised series, whatever the
 * grouping. */
static void test_pushdown_equals_plain(void **state)
{
    struct memory_source m = {0};
    uint64_t rng = 7;
    for (int s = 0; s < 500; s++) {
        char id[16], zone[16];
        snprintf(id, sizeof id, "%d", s);
        snprintf(zone, sizeof zone, "z%d", s % 7);
        const char *labels[] = {"__name__", "m", "id", id, "zone", zone, NULL};
        size_t at = memory_source_add(&m, labels);
        for (int i = 0; i < 40; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            memory_source_sample(&m, at, 15000 * i, (double)(rng >> 50));
        }
    }
    struct memory_source keep = data;
    data = m;
    static const char *const funcs[] = {"sum", "min", "max", "count", "group", "avg"};
    struct how h = {.range = true, .start = 60, .end = 600, .step = 60};
    for (size_t f = 0; f < sizeof funcs / sizeof *funcs; f++) {
        char q[200];
        struct ks_buf a, b;
        ks_buf_init(&a, 1 << 20);
        ks_buf_init(&b, 1 << 20);
        snprintf(q, sizeof q, "%s(max_over_time(m[1m])) by (zone)", funcs[f]);
        assert_int_equal(run(q, &h, &a), KS_OK);
        snprintf(q, sizeof q, "%s(abs(max_over_time(m[1m]))) by (zone)", funcs[f]);
        assert_int_equal(run(q, &h, &b), KS_OK);
        assert_true(ks_slice_eq(ks_buf_view(&a), ks_buf_view(&b)));
        ks_buf_done(&a);
        ks_buf_done(&b);
    }
    data = keep;
    memory_source_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_instant),
        cmocka_unit_test(test_latency_offset),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_extra_filters),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_round_digits),
        cmocka_unit_test(test_join_filters),
        cmocka_unit_test(test_pushdown_equals_plain),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
