/* Metrics of spans through a real engine: counters, restarts, bounds, idle ends, write errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/app.h"
#include "api/span_metrics.h"
#include "base/num.h"
#include "engine_util.h"
#include "sys/clock.h"

static const int64_t T0 = 20000 * 86400000ll;
enum { CAP = 100 };

struct fixture {
    char *dir;
    struct ks_app app;
    struct ks_span_metrics *m;
    int64_t ts[CAP];
    double v[CAP];
};

static void open_engine(struct fixture *f)
{
    struct ks_engine_opts o = {.dir = f->dir,
                               .no_background = true,
                               .wal_segment_bytes = 1 << 20,
                               .retention_ms = 400 * 86400000ll,
                               .min_free_disk_bytes = 1};
    assert_int_equal(ks_engine_open(&o, &f->app.engine), KS_OK);
}

static void metrics_new(struct fixture *f, size_t max, const char *dims)
{
    struct ks_span_metrics_opts o = {
        .app = &f->app, .interval_ms = -1, .max_series = max, .dimensions = dims};
    assert_int_equal(ks_span_metrics_new(&o, &f->m), KS_OK);
}

static void begin(struct fixture *f, size_t max, const char *dims)
{
    memset(f, 0, sizeof *f);
    f->dir = t_mkdir();
    ks_clock_freeze_ms(T0);
    open_engine(f);
    metrics_new(f, max, dims);
}

static void end(struct fixture *f)
{
    ks_span_metrics_free(f->m);
    assert_int_equal(ks_engine_close(f->app.engine), KS_OK);
    t_rmdir(f->dir);
    ks_clock_freeze_ms(0);
}

static void add(struct fixture *f, const char *service, const char *team, const char *name,
                uint32_t kind, uint32_t status, double ms, int times)
{
    struct ks_attr attrs[] = {
        {.key = KS_SLICE_LIT("service.name"),
         .type = KS_ATTR_STRING,
         .text = ks_slice_str(service)},
        {.key = KS_SLICE_LIT("team.name"), .type = KS_ATTR_STRING, .text = ks_slice_str(team)},
        {.key = KS_SLICE_LIT("n"), .type = KS_ATTR_INT, .number = 7}};
    struct ks_resource r = {
        .attrs = {attrs, 3, 0}, .service = ks_slice_str(service), .has_service = true};
    struct ks_scope scope = {0};
    struct ks_batch b;
    struct ks_batch_memo memo = {0};
    ks_batch_init(&b);
    ks_batch_reset(&b, (struct ks_tenant){0, 0});
    for (int i = 0; i < times; i++) {
        struct ks_span s = {.trace_id = {1, 2},
                            .span_id = 1 + (uint64_t)i,
                            .start_ns = 1000,
                            .end_ns = 1000 + (uint64_t)(ms * 1e6),
                            .name = ks_slice_str(name),
                            .kind = kind,
                            .status = status,
                            .resource = &r,
                            .scope = &scope};
        ks_batch_copy_span(&b, &s, &memo);
    }
    ks_span_metrics_add(f->m, &b);
    ks_batch_done(&b);
}

static void write_at(struct fixture *f, int64_t ms)
{
    ks_clock_freeze_ms(T0 + ms);
    assert_int_equal(ks_span_metrics_write(f->m, T0 + ms), KS_OK);
}

static size_t read_series(struct fixture *f, const char *selector)
{
    return t_read(f->app.engine, selector, T0 - 86400000, T0 + 86400000, f->ts, f->v, CAP);
}

static void expect(struct fixture *f, const char *selector, size_t n, const double *want)
{
    size_t got = read_series(f, selector);
    if (got != n)
        print_error("%s: %zu samples\n", selector, got);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++)
        if (f->v[i] != want[i] && !(isnan(f->v[i]) && isnan(want[i])))
            fail_msg("%s: sample %zu is %g, want %g", selector, i, f->v[i], want[i]);
}

#define EXPECT(selector, ...)                                                                      \
    expect(f, selector, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

#define CALLS    "traces_span_metrics_calls_total"
#define DURATION "traces_span_metrics_duration_milliseconds"
#define GET      "service_name=\"shop\",span_name=\"GET\",span_kind=\"SPAN_KIND_SERVER\""

static void test_counts(void **state)
{
    struct fixture fx, *f = &fx;
    begin(f, 100, "team.name, absent");
    add(f, "shop", "a", "GET", KS_KIND_SERVER, KS_STATUS_UNSET, 2, 3); /* le is inclusive */
    add(f, "shop", "a", "GET", KS_KIND_SERVER, KS_STATUS_UNSET, 2.5, 2);
    add(f, "shop", "a", "GET", KS_KIND_SERVER, KS_STATUS_UNSET, 99999, 1);
    add(f, "shop", "a", "GET", KS_KIND_SERVER, KS_STATUS_ERROR, 7, 4);
    add(f, "shop", "b", "GET", KS_KIND_SERVER, KS_STATUS_UNSET, 7, 5);
    add(f, "shop", "", "GET", 77, 9, 0, 1);
    write_at(f, 15000);
    add(f, "shop", "a", "GET", KS_KIND_SERVER, KS_STATUS_UNSET, 1, 1);
    write_at(f, 30000);
    EXPECT(CALLS "{" GET ",status_code=\"STATUS_CODE_UNSET\",team_name=\"a\"}", 0, 6, 7);
    assert_int_equal(f->ts[0], T0);
    assert_int_equal(f->ts[1], T0 + 15000);
    EXPECT(CALLS "{" GET ",status_code=\"STATUS_CODE_ERROR\"}", 0, 4, 4);
    EXPECT(CALLS "{team_name=\"b\"}", 0, 5, 5);
    EXPECT(CALLS "{span_kind=\"SPAN_KIND_UNSPECIFIED\",status_code=\"STATUS_CODE_UNSET\"}", 0, 1,
           1);
#define ONE ",status_code=\"STATUS_CODE_UNSET\",team_name=\"a\""
    EXPECT(DURATION "_bucket{" GET ONE ",le=\"2\"}", 0, 3, 4);
    EXPECT(DURATION "_bucket{" GET ONE ",le=\"4\"}", 0, 5, 6);
    EXPECT(DURATION "_bucket{" GET ONE ",le=\"15000\"}", 0, 5, 6);
    EXPECT(DURATION "_bucket{" GET ONE ",le=\"+Inf\"}", 0, 6, 7);
    EXPECT(DURATION "_count{" GET ONE "}", 0, 6, 7);
    EXPECT(DURATION "_sum{" GET ONE "}", 0, 6 + 5 + 99999.0, 7 + 5 + 99999.0);
    assert_int_equal(
        t_count(f->app.engine, "{__name__=~\"traces_span_metrics_.*\"}", T0, T0 + 60000), 4 * 20);
    end(f);
}

/* A restart is a reset that shows, also when the new value is the larger one. */
static void test_restart(void **state)
{
    struct fixture fx, *f = &fx;
    begin(f, 100, NULL);
    add(f, "s", "", "x", KS_KIND_SERVER, KS_STATUS_OK, 1, 5);
    write_at(f, 15000);
    ks_span_metrics_free(f->m);
    assert_int_equal(ks_engine_close(f->app.engine), KS_OK);
    open_engine(f);
    metrics_new(f, 100, NULL);
    ks_clock_freeze_ms(T0 + 20000);
    add(f, "s", "", "x", KS_KIND_SERVER, KS_STATUS_OK, 1, 9);
    write_at(f, 30000);
    EXPECT(CALLS, 0, 5, 0, 9);
    assert_int_equal(f->ts[2], T0 + 20000);
    end(f);
}

static uint64_t stat_of(struct fixture *f, const char *name)
{
    struct ks_buf b;
    char line[128];
    unsigned long long v = 0;
    ks_buf_init(&b, 1 << 16);
    ks_span_metrics_stats(f->m, &b);
    ks_buf_byte(&b, 0);
    int n = snprintf(line, sizeof line, "kofstore_spanmetrics_%s ", name);
    const char *at = strstr(b.ptr, line);
    assert_non_null(at);
    assert_int_equal(sscanf(at + n, "%llu", &v), 1);
    ks_buf_done(&b);
    return v;
}

static void test_overflow(void **state)
{
    struct fixture fx, *f = &fx;
    begin(f, 10, NULL);
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "/users/%d", i);
        add(f, "s", "", name, KS_KIND_SERVER, KS_STATUS_OK, 1, 2);
    }
    write_at(f, 15000);
    assert_int_equal(stat_of(f, "combinations"), 11);
    assert_int_equal(stat_of(f, "overflow_spans_total"), 80);
    EXPECT(CALLS "{service_name=\"s\",otel_metric_overflow=\"true\"}", 0, 80);
    EXPECT(CALLS "{span_name=\"/users/9\"}", 0, 2);
    assert_int_equal(t_count(f->app.engine, CALLS, T0, T0 + 60000), 11);
    /* Services too may be endless. */
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "service-%d", i);
        add(f, name, "", "x", KS_KIND_SERVER, KS_STATUS_OK, 1, 1);
    }
    write_at(f, 30000);
    assert_int_equal(stat_of(f, "combinations"), 10 + 10 / 8 + 8);
    assert_int_equal(stat_of(f, "lost_spans_total"), 50 - 8);
    end(f);
}

static void test_long_names(void **state)
{
    struct fixture fx, *f = &fx;
    static char name[5000];
    char selector[2000];
    begin(f, 10, NULL);
    for (size_t i = 0; i + 2 < sizeof name; i += 2)
        memcpy(name + i, "é", 2);
    name[0] = 'x';
    name[1] = 'y';
    add(f, "s", "", name, KS_KIND_SERVER, KS_STATUS_OK, 1, 1);
    write_at(f, 15000);
    snprintf(selector, sizeof selector, CALLS "{span_name=\"%.*s\"}", KS_SPAN_METRICS_NAME_MAX,
             name);
    EXPECT(selector, 0, 1);
    end(f);
}

static void test_idle(void **state)
{
    struct fixture fx, *f = &fx;
    const int64_t idle = KS_SPAN_METRICS_IDLE_MS;
    begin(f, 1, NULL);
    add(f, "s", "", "x", KS_KIND_SERVER, KS_STATUS_OK, 1, 5);
    write_at(f, 15000);
    write_at(f, 30000);
    write_at(f, idle + 15000);
    assert_int_equal(stat_of(f, "combinations"), 0);
    EXPECT(CALLS, 0, 5, 5, NAN);
    assert_true(ks_is_stale_nan(f->v[3]));
    write_at(f, idle + 30000);
    EXPECT(CALLS, 0, 5, 5, NAN);
    /* The room it leaves is for others; and it may come again, from 0. */
    add(f, "s", "", "x", KS_KIND_SERVER, KS_STATUS_OK, 1, 2);
    write_at(f, idle + 45000);
    EXPECT(CALLS, 0, 5, 5, NAN, 0, 2);
    end(f);
}

static void test_no_threads_needed(void **state)
{
    struct ks_span_metrics *m = NULL;
    struct ks_batch b = {.spans_count = 0};
    struct ks_span_metrics_opts bad = {.interval_ms = -1, .max_series = 0};
    ks_span_metrics_add(NULL, &b);
    ks_span_metrics_free(NULL);
    assert_int_equal(ks_span_metrics_new(&bad, &m), KS_EINVAL);
    bad.max_series = 1;
    bad.dimensions = "a,b,c,d,e,f,g,h,i";
    assert_int_equal(ks_span_metrics_new(&bad, &m), KS_EINVAL);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),   cmocka_unit_test(test_restart),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_idle),     cmocka_unit_test(test_no_threads_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
