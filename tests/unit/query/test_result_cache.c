/*
 * Results kept between queries: whatever was asked before, written, written late or deleted in
 * between, an answer has the bits of one computed without the cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "query/promql/promql.h"
#include "query/promql/result_cache_priv.h"
#include "sys/clock.h"
#include "tests/support/engine_util.h"

enum { SERIES = 24, MINUTE = 60000 };

struct world {
    uint64_t seed;
    char *dir;
    struct ks_engine *e;
    struct ks_result_cache *cache;
    int64_t start, now; /* data begins at start; now moves on */
    int64_t next[SERIES];
    double value[SERIES];
    struct tw w;
};

static uint32_t rnd(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33) % n;
}

static const char *series_text(int i)
{
    static char text[128];
    static const char *const names[] = {"counter_total", "seconds_total", "gauge"};
    snprintf(text, sizeof text, "%s{job=\"j%d\",instance=\"i%d\"}", names[i % 3], i % 4, i);
    return text;
}

/* Intervals differ by series, and some jitter, pause, or stop. */
static int64_t interval_of(const struct world *w, int i)
{
    static const int64_t all[] = {15000, 15000, 30000, 60000, 10000, 300000};
    return all[(i / 3 + (int)(w->start & 1)) % 6];
}

static void put(struct world *w, int i, int64_t t, double v)
{
    tw_add(&w->w, series_text(i), t, v);
}

static void flush(struct world *w)
{
    struct ks_write_result r;
    assert_int_equal(tw_write(&w->w, w->e, &r), KS_OK);
}

/* What a scraper would have sent up to `to`. */
static void advance(struct world *w, int64_t to)
{
    for (int i = 0; i < SERIES; i++) {
        int kind = i % 3;
        while (w->next[i] <= to) {
            int64_t t = w->next[i];
            uint32_t dice = rnd(w, 1000);
            double step = kind == 0 ? rnd(w, 50) : kind == 1 ? rnd(w, 5000) / 997.0 : 0;
            if (kind == 2)
                w->value[i] = (double)rnd(w, 100000) / 7 - 5000;
            else
                w->value[i] = dice < 4 ? step : w->value[i] + step;
            if (dice == 500)
                put(w, i, t, ks_f64_from_bits(KS_STALE_NAN_BITS));
            else if (dice > 15) /* else a missed scrape */
                put(w, i, t, w->value[i]);
            w->next[i] += interval_of(w, i) + (i % 5 == 4 ? (int64_t)rnd(w, 40) - 20 : 0);
            if (dice >= 990)
                w->next[i] += (int64_t)(dice - 989) * 4 * MINUTE;
        }
    }
    flush(w);
    w->now = to;
}

static void world_open(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->dir = t_mkdir();
    struct ks_engine_opts opts = {.dir = w->dir,
                                  .no_background = true,
                                  .wal_sync = KS_WAL_SYNC_OS,
                                  .dedup_interval_ms = seed % 5 == 0 ? 1000 : 0};
    assert_int_equal(ks_engine_open(&opts, &w->e), KS_OK);
    assert_int_equal(ks_result_cache_new(64 << 20, 0, &w->cache), KS_OK);
    tw_init(&w->w);
    w->start = (ks_now_ms() - 12 * 3600000) / 900000 * 900000 + (int64_t)(seed & 1);
    for (int i = 0; i < SERIES; i++)
        w->next[i] = w->start + rnd(w, 15000) + (i % 7 == 6 ? (int64_t)rnd(w, 90) * MINUTE : 0);
    advance(w, w->start + 150 * MINUTE);
}

static void world_close(struct world *w)
{
    tw_done(&w->w);
    ks_result_cache_free(w->cache);
    assert_int_equal(ks_engine_close(w->e), KS_OK);
    t_rmdir(w->dir);
}

/* --- questions --- */
static const char *const rollups[] = {
    "%s",
    "rate(%s[5m])",
    "increase(%s[2m])",
    "increase(%s[11m])",
    "irate(%s[3m])",
    "delta(%s[4m])",
    "rate(%s)",
    "increase(%s)",
    "deriv(%s)",
    "deriv(%s[5m])",
    "idelta(%s[1m])",
    "changes(%s[10m])",
    "resets(%s[20m])",
    "lag(%s[5m])",
    "lifetime(%s[10m])",
    "scrape_interval(%s[5m])",
    "tlast_change_over_time(%s[5m])",
    "increase_pure(%s[5m])",
    "rate_prometheus(%s[5m])",
    "avg_over_time(%s[7m])",
    "sum_over_time(%s[3m])",
    "max_over_time(%s[30m])",
    "min_over_time(%s[1h])",
    "count_over_time(%s[90s])",
    "quantile_over_time(0.9, %s[5m])",
    "stddev_over_time(%s[5m])",
    "last_over_time(%s[2m])",
    "default_rollup(%s[3m])",
    "absent_over_time(%s[2m])",
    "present_over_time(%s[5m])",
    "timestamp(%s)",
    "predict_linear(%s[10m], 60)",
    "stale_samples_over_time(%s[10m])",
    "rate(%s[5m] offset 10m)",
    "sum_over_time(%s[5m] offset -2m)",
    "rate(%s[3h])",
    "sum_over_time(%s[3h])",
    "ascent_over_time(%s[5m])",
    "zscore_over_time(%s[5m])",
    "integrate(%s[5m])",
};

static const char *const around[] = {
    "%s",
    "%s",
    "sum(%s)",
    "sum(%s) by (job)",
    "avg(%s) without (instance)",
    "max(%s) by (job)",
    "count(%s)",
    "sum2(%s)",
    "topk(3, %s)",
    "stddev(%s) by (job)",
    "sum(%s) by (job) limit 2",
    "sum(%s) / count(up or vector(2))",
    "running_sum(%s)",
    "sort_desc(%s)",
    "range_avg(sum(%s))",
    "absent(%s)",
    "sum(%s) by (job) > 1",
};

static const char *const selectors[] = {"counter_total",
                                        "seconds_total",
                                        "gauge",
                                        "{__name__=~\"counter_total|gauge\"}",
                                        "gauge{job=\"j2\"}",
                                        "counter_total{job!=\"j1\"}"};

static const char *const strict_rollups[] = {
    "%s",
    "rate(%s[5m])",
    "increase(%s[11m])",
    "irate(%s[3m])",
    "delta(%s[4m])",
    "avg_over_time(%s[7m])",
    "sum_over_time(%s[30m])",
    "max_over_time(%s[2h])",
    "deriv(%s[5m])",
    "changes(%s[10m])",
    "stddev_over_time(%s[5m])",
    "timestamp(%s)",
    "absent_over_time(%s[2m])",
    "quantile_over_time(0.5, %s[5m])",
    "last_over_time(%s[2m])",
};
static const char *const strict_around[] = {
    "%s", "%s", "sum(%s)", "avg by (job) (%s)", "topk(2, %s)", "sum by (job) (%s) / 3"};

#define PICK(w, list) (list)[rnd(w, sizeof(list) / sizeof *(list))]

struct question {
    char text[256];
    enum ks_dialect dialect;
    int64_t step, points, back; /* the grid ends `back` before now */
};

/* The formats are those of the tables above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void make_question(struct world *w, struct question *q)
{
    static const int64_t steps[] = {15000, 30000, MINUTE, 20000, 7 * MINUTE};
    char inner[128];
    bool strict = rnd(w, 4) == 0;
    const char *sel = strict ? selectors[rnd(w, 3)] : PICK(w, selectors);
    snprintf(inner, sizeof inner, strict ? PICK(w, strict_rollups) : PICK(w, rollups), sel);
    snprintf(q->text, sizeof q->text, strict ? PICK(w, strict_around) : PICK(w, around), inner);
    q->dialect = strict ? KS_PROMQL_STRICT : KS_METRICSQL;
    q->step = PICK(w, steps);
    q->points = 8 + rnd(w, 120);
    q->back = rnd(w, 3) ? 0 : (int64_t)rnd(w, 40) * MINUTE;
}
#pragma GCC diagnostic pop

static ks_err ask(struct world *w, const struct question *q, bool cached, struct ks_arena *arena,
                  struct ks_promql_result *ret)
{
    struct ks_tenant tenant = {0};
    int64_t end = (w->now - q->back) / q->step * q->step;
    struct ks_promql_request req = {
        .query = {q->text, strlen(q->text)},
        .dialect = q->dialect,
        .range = true,
        .start_ms = end - (q->points - 1) * q->step,
        .end_ms = end,
        .step_ms = q->step,
        .tenants = &tenant,
        .tenant_count = 1,
        .cache = cached ? w->cache : NULL,
        .no_cache = !cached,
        .round_digits = 100,
        .now_ms = w->now,
    };
    return ks_promql_exec(w->e, &req, arena, ret);
}

static void same_bits(const struct question *q, const struct ks_promql_result *a,
                      const struct ks_promql_result *b)
{
    if (a->series_count != b->series_count || a->start_ms != b->start_ms)
        fail_msg("%s: %zu series with the cache, %zu without", q->text, a->series_count,
                 b->series_count);
    for (size_t i = 0; i < a->series_count; i++) {
        const struct ks_promql_series *x = &a->series[i], *y = &b->series[i];
        if (!ks_slice_eq(x->labels, y->labels) || x->count != y->count)
            fail_msg("%s: series %zu differs in its labels", q->text, i);
        for (size_t k = 0; k < x->count; k++)
            if (ks_f64_bits(x->values[k]) != ks_f64_bits(y->values[k]))
                fail_msg("%s step %lld: series %zu point %zu of %zu: %.17g with the cache, %.17g "
                         "without",
                         q->text, (long long)q->step, i, k, x->count, x->values[k], y->values[k]);
    }
    assert_int_equal(a->series_fetched, b->series_fetched);
}

static void check(struct world *w, const struct question *q)
{
    struct ks_arena one, two;
    struct ks_promql_result a, b;
    ks_arena_init(&one, 1 << 30);
    ks_arena_init(&two, 1 << 30);
    ks_err ea = ask(w, q, true, &one, &a), eb = ask(w, q, false, &two, &b);
    if (ea != eb)
        fail_msg("%s: %d with the cache, %d without: %s", q->text, ea, eb, ks_err_text());
    if (ea == KS_OK)
        same_bits(q, &a, &b);
    ks_arena_done(&one);
    ks_arena_done(&two);
}

/* --- what happens in between --- */
static void delete_some(struct world *w)
{
    struct ks_matcher room[4];
    char text[64];
    uint64_t n;
    snprintf(text, sizeof text, "gauge{instance=\"i%u\"}", rnd(w, 8) * 3 + 2);
    struct ks_selector sel = t_selector(text, room, 4);
    struct ks_select_opts o = {.selectors = &sel, .selector_count = 1};
    assert_int_equal(ks_engine_delete(w->e, &o, &n), KS_OK);
}

static void something_happens(struct world *w)
{
    switch (rnd(w, 12)) {
    case 0: /* backfill, far or near */
    case 1:
        for (uint32_t k = 0, n = 1 + rnd(w, 5); k < n; k++)
            put(w, (int)rnd(w, SERIES),
                w->now - (int64_t)rnd(w, rnd(w, 2) ? 160 : 12) * MINUTE - rnd(w, 60000),
                rnd(w, 1000) / 3.0);
        flush(w);
        break;
    case 2:
        delete_some(w);
        break;
    case 3:
        assert_int_equal(ks_engine_flush(w->e), KS_OK);
        break;
    case 4:
        assert_int_equal(ks_engine_flush(w->e), KS_OK);
        assert_int_equal(ks_engine_merge(w->e, ""), KS_OK);
        break;
    case 5:
        if (rnd(w, 4) == 0)
            ks_result_cache_reset(w->cache);
        break;
    default: /* time passes */
        advance(w, w->now + (int64_t)(1 + rnd(w, rnd(w, 6) ? 90 : 1200)) * 1000);
    }
}

static uint64_t env(const char *name, uint64_t fallback)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 10) : fallback;
}

static void answers_do_not_depend_on_the_cache(void **state)
{
    (void)state;
    enum { QUESTIONS = 10 };
    uint64_t seed = env("KS_TEST_SEED", 1), rounds = env("KS_TEST_ROUNDS", 6);
    struct ks_result_cache_stats st, sum = {0};
    for (uint64_t r = 0; r < rounds; r++) {
        struct world w;
        struct question q[QUESTIONS];
        print_message("seed %llu\n", (unsigned long long)(seed + r));
        world_open(&w, seed + r);
        for (int i = 0; i < QUESTIONS; i++)
            make_question(&w, &q[i]);
        for (int turn = 0; turn < 40; turn++) {
            for (int i = 0; i < QUESTIONS; i++)
                check(&w, &q[i]);
            something_happens(&w);
        }
        ks_result_cache_get_stats(w.cache, &st);
        sum.requests += st.requests;
        sum.full_hits += st.full_hits;
        sum.partial_hits += st.partial_hits;
        world_close(&w);
    }
    print_message("%llu lookups, %llu full hits, %llu partial\n", (unsigned long long)sum.requests,
                  (unsigned long long)sum.full_hits, (unsigned long long)sum.partial_hits);
    assert_true(sum.full_hits + sum.partial_hits > sum.requests / 3);
}

/* --- the store --- */
static void rows_unpack_to_their_bits(void **state)
{
    (void)state;
    enum { N = 700 };
    struct world w = {.seed = 7};
    double in[N], out[N];
    uint8_t packed[9 * N + 8];
    for (int shape = 0; shape < 200; shape++) {
        double v = 0;
        for (int i = 0; i < N; i++) {
            switch (shape % 5) {
            case 0:
                v = rnd(&w, 30) ? v : rnd(&w, 100);
                break;
            case 1:
                v = rnd(&w, 1 << 20);
                break;
            case 2:
                v = ks_f64_from_bits((uint64_t)rnd(&w, 1 << 30) << 33 ^ rnd(&w, 1 << 30));
                break;
            case 3:
                v = ks_f64_from_bits(rnd(&w, 3) ? KS_ABSENT_BITS : 1u + rnd(&w, 256));
                break;
            default:
                v += rnd(&w, 1000) / 7.0;
            }
            in[i] = v;
        }
        memset(packed, 0xaa, sizeof packed);
        size_t n = ksi_kept_pack(in, N, packed);
        assert_true(n <= 9 * N);
        struct ksi_kept k = {.points = N, .packed = packed};
        ksi_kept_unpack(&k, 0, out);
        assert_memory_equal(in, out, sizeof in);
    }
}

static void the_budget_holds_and_the_oldest_go(void **state)
{
    (void)state;
    struct ks_result_cache *c;
    struct ks_result_cache_stats st;
    assert_int_equal(ks_result_cache_new(64 << 10, 0, &c), KS_OK);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            char key[16];
            struct ksi_kept *k = ks_zalloc(sizeof *k);
            int n = snprintf(key, sizeof key, "k%d", i);
            atomic_init(&k->refs, 1);
            k->packed_bytes = 1000;
            ksi_result_cache_put(c, ks_slice(key, (size_t)n), k);
            struct ksi_kept *first = ksi_result_cache_get(c, KS_SLICE_LIT("k0"));
            assert_non_null(first); /* used again and again */
            ksi_kept_unref(first);
            ks_result_cache_get_stats(c, &st);
            assert_true(st.bytes <= st.max_bytes);
        }
    assert_true(st.entries > 20 && st.entries < 64);
    struct ksi_kept *k = ks_zalloc(sizeof *k);
    atomic_init(&k->refs, 1);
    k->packed_bytes = 32 << 10;
    ksi_result_cache_put(c, KS_SLICE_LIT("large"), k);
    assert_null(ksi_result_cache_get(c, KS_SLICE_LIT("large")));
    struct ksi_kept *held = ksi_result_cache_get(c, KS_SLICE_LIT("k0"));
    ks_result_cache_reset(c);
    ks_result_cache_get_stats(c, &st);
    assert_true(st.entries == 0 && st.bytes == 0 && st.resets == 1);
    ksi_kept_unref(held);
    ks_result_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_unpack_to_their_bits),
        cmocka_unit_test(the_budget_holds_and_the_oldest_go),
        cmocka_unit_test(answers_do_not_depend_on_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
