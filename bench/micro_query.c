/*
 * Queries over the engine without HTTP: micro_query [SERIES] [ROUNDS] [DIR]
 * Data as micro_engine's; CPU time of selects and of typical queries, first over the head, then
 * over parts. CPU time of the whole process, so that neighbours on the machine matter less.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "bench/series.h"
#include "engine/engine.h"
#include "query/promql/promql.h"
#include "sys/clock.h"

enum { STEP_MS = 15000 };

static double cpu_s(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* Runs the query some times; the best CPU time of a run. */
static void query(struct ks_engine *e, const char *text, int64_t start, int64_t end, int64_t step)
{
    struct ks_tenant tenant = {0, 0};
    struct ks_promql_request r = {.query = ks_slice_str(text),
                                  .dialect = KS_METRICSQL,
                                  .range = start != end,
                                  .start_ms = start,
                                  .end_ms = end,
                                  .step_ms = step,
                                  .tenants = &tenant,
                                  .tenant_count = 1,
                                  .no_cache = true,
                                  .round_digits = 100,
                                  .now_ms = end,
                                  .limits.max_series = 10000000};
    struct ks_arena a;
    struct ks_promql_result res = {0};
    double best = 1e9, first = 0;
    for (int i = 0; i < 7; i++) {
        ks_arena_init(&a, (size_t)4 << 30);
        double c = cpu_s();
        if (ks_promql_exec(e, &r, &a, &res) != KS_OK) {
            printf("%s: %s\n", text, ks_err_text());
            ks_arena_done(&a);
            return;
        }
        c = cpu_s() - c;
        if (!i)
            first = c;
        best = c < best ? c : best;
        if (i < 6)
            ks_arena_done(&a);
    }
    printf("  %8.3f ms (first %8.3f)  %7llu series -> %6zu, %9llu samples  %s\n", best * 1e3,
           first * 1e3, (unsigned long long)res.series_fetched, res.series_count,
           (unsigned long long)res.samples_read, text);
    ks_arena_done(&a);
}

static void selects(struct ks_engine *e, const char *name, int64_t start)
{
    struct ks_matcher m = {KS_NAME_LABEL, ks_slice_str(name), KS_MATCH_RE};
    struct ks_selector sel = {&m, 1};
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts so = {.tenants = &tenant,
                                .tenant_count = 1,
                                .selectors = &sel,
                                .selector_count = 1,
                                .min_ms = start,
                                .max_ms = ks_now_ms()};
    struct ks_samples s = {0};
    for (int round = 0; round < 3; round++) {
        struct ks_series_set *set;
        uint64_t total = 0;
        double c0 = cpu_s();
        if (ks_engine_select(e, &so, &set) != KS_OK)
            abort();
        double c1 = cpu_s();
        for (size_t i = 0; i < ks_series_set_count(set); i++) {
            if (ks_series_read(set, i, so.min_ms, so.max_ms, &s) != KS_OK)
                abort();
            total += s.count;
        }
        double c2 = cpu_s(), n = (double)ks_series_set_count(set);
        ks_series_set_free(set);
        printf("  select %8.0f series %7.3f us each, read %10llu samples %6.2f ns each, free %6.3f "
               "us each\n",
               n, (c1 - c0) * 1e6 / n, (unsigned long long)total, (c2 - c1) * 1e9 / (double)total,
               (cpu_s() - c2) * 1e6 / n);
    }
    ks_samples_done(&s);
}

static bool count_word(void *arg, struct ks_slice text, uint64_t rows)
{
    (void)text;
    (void)rows;
    ++*(size_t *)arg;
    return true;
}

static void values(struct ks_engine *e, const char *name, int64_t start)
{
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts so = {
        .tenants = &tenant, .tenant_count = 1, .min_ms = start, .max_ms = ks_now_ms()};
    size_t n = 0;
    double c = cpu_s();
    if (ks_engine_label_values(e, &so, ks_slice_str(name), count_word, &n) == KS_OK)
        printf("  %8.3f ms label values of %s: %zu\n", (cpu_s() - c) * 1e3, name, n);
}

static void all(struct ks_engine *e, int64_t start, int64_t end)
{
    selects(e, "container_metric_7_total", start);
    selects(e, "container_metric_.*", start);
    query(e, "sum(rate(container_metric_7_total[5m])) by (namespace)", start, end, 60000);
    query(e, "sum(rate({__name__=~\"container_metric_1.*\"}[5m])) by (namespace)", start, end,
          60000);
    query(e, "sum(rate({__name__=~\"container_metric_1.*\"}[5m])) by (pod)", end, end, 60000);
    query(e, "sum({__name__=~\"container_metric_.*\"}) by (namespace)", end, end, 60000);
    query(e, "count({pod=~\".*-x1.*7\"})", end, end, 60000);
    query(e, "rate(container_metric_7_total{pod=~\".*-x77\"}[5m])", start, end, 15000);
    query(e, "max(container_metric_7_total{namespace=\"team-3\"}) by (pod)", end, end, 60000);
    query(e, "topk(10, rate(container_metric_7_total[5m]))", end, end, 60000);
    query(e, "histogram_quantile(0.9, sum(rate({__name__=~\"container_metric_1.*\"}[5m])) by (le))",
          end, end, 60000);
    query(e, "container_metric_7_total", start, end, 60000);
    query(e, "max_over_time(container_metric_8_total[1h])", end, end, 60000);
    query(e, "quantile_over_time(0.9, container_metric_8_total[1h])", end, end, 60000);
    values(e, "pod", start);
    values(e, "__name__", start);
}

int main(int argc, char **argv)
{
    size_t series = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000,
           rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 20;
    const char *dir = argc > 3 ? argv[3] : "scratch/micro_query";
    struct ks_engine_opts o = {.dir = dir, .flush_interval_ms = 86400000};
    struct ks_write_batch b;
    struct ks_arena arena;
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), dir);
    ks_log_set_level(KS_LOG_WARN);
    struct ks_engine *e = bench_open(&o, &b, &arena);
    int64_t start = ks_now_ms() / STEP_MS * STEP_MS - (int64_t)rounds * STEP_MS,
            end = start + (int64_t)rounds * STEP_MS;
    for (size_t r = 0; r < rounds; r++)
        bench_write_round(e, &b, series, r, start + (int64_t)r * STEP_MS);
    printf("%zu series, %zu rounds; in the head:\n", series, rounds);
    all(e, start, end);
    printf("resident %.0f bytes per series\n", (double)ks_memory_resident_bytes() / (double)series);
    if (ks_engine_merge(e, "") != KS_OK) {
        fprintf(stderr, "flush: %s\n", ks_err_text());
        return 1;
    }
    printf("in parts:\n");
    all(e, start, end);
    ks_engine_close(e);
    ks_write_batch_done(&b);
    ks_arena_done(&arena);
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), dir);
    return 0;
}
