/*
 * Every rollup function on random series (gaps, resets, stale markers, NaN, ±Inf, odd intervals,
 * long and short windows) against the plain definitions in naive_rollup.h and naive_strict.h: equal
 * to the last bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "naive_strict.h"
#include "rollup_scenario.h"

static double random_arg(uint64_t *rng, enum ks_promql_func_id f)
{
    if (f == KS_FN_PREDICT_LINEAR)
        return (double)ks_rng_below(rng, 1000);
    if (f == KS_FN_DURATION_OVER_TIME)
        return (double)ks_rng_below(rng, 60);
    if (f == KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING)
        return 0.01 + 0.98 * ks_rng_double(rng);
    if (strstr(ks_promql_funcs[f].name, "quantile") || strstr(ks_promql_funcs[f].name, "ho"))
        return ks_rng_below(rng, 10) ? ks_rng_double(rng) : ks_rng_below(rng, 2) ? 2 : -1;
    return (double)ks_rng_below(rng, 6);
}

static void random_args(uint64_t *rng, struct scenario *sc)
{
    struct ks_rollup_config *c = &sc->cfg;
    size_t points = ks_rollup_points(c);
    bool two = c->func == KS_FN_HOLT_WINTERS || c->func == KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING;
    for (int i = 0; i < 2; i++) {
        sc->args[i] = (struct ks_rollup_arg){.value = random_arg(rng, c->func)};
        if (ks_rng_below(rng, 3) == 0) {
            for (size_t k = 0; k < points; k++)
                sc->steps[i][k] = random_arg(rng, c->func);
            sc->args[i].steps = sc->steps[i];
        }
    }
    c->args = sc->args;
    for (c->arg_count = 0; c->arg_count < 3; c->arg_count++)
        if (ks_rollup_check(c) == KS_OK)
            return;
    c->arg_count = two ? 2 : 0;
}

/* one_target: samples of one seed have the same times. */
static void check_read(const struct scenario *sc, struct ks_rollup_scratch *scratch, uint64_t seed,
                       bool one_target)
{
    static struct naive_run naive;
    static double got[POINTS_MAX];
    const struct ks_rollup_config *cfg = &sc->cfg;
    int64_t min_ms, max_ms;
    size_t from = 0, to = sc->s.n;
    ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
    while (from < to && sc->s.t[from] < min_ms)
        from++;
    while (to > from && sc->s.t[to - 1] > max_ms)
        to--;
    struct ks_samples x = {.times = (int64_t *)sc->s.t + from,
                           .values = (double *)sc->s.v + from,
                           .count = to - from,
                           .times_id = one_target ? (seed + 1) << 32 | from << 16 | to : 0};
    assert_int_equal(ks_rollup_run_read(cfg, &x, scratch, got), KS_OK);
    naive_prepare(&naive, cfg, &sc->s);
    for (size_t k = 0; k < ks_rollup_points(cfg); k++) {
        struct view w = naive_view(&naive, k);
        double want = cfg->strict ? naive_strict(cfg->func, &w) : naive_metricsql(cfg->func, &w);
        if (!same(want, got[k], cfg->strict))
            fail_msg("seed %llu %s%s point %zu (%zu samples, window %lld, step %lld): want %.17g "
                     "got %.17g",
                     (unsigned long long)seed, cfg->strict ? "strict " : "",
                     ks_promql_funcs[cfg->func].name, k, w.n, (long long)naive.window,
                     (long long)cfg->step_ms, want, got[k]);
    }
}

static void check_one(const struct scenario *sc, struct ks_rollup_scratch *scratch, uint64_t seed)
{
    check_read(sc, scratch, seed, false);
}

static void check_all(bool strict, int rounds)
{
    static struct scenario sc;
    struct ks_rollup_scratch scratch = {0};
    size_t tried = 0;
    for (int round = 0; round < rounds; round++) {
        uint64_t seed = (uint64_t)round * 2 + strict, rng = seed;
        random_samples(&rng, &sc.s);
        random_config(&rng, &sc, strict);
        for (int f = 0; f < KS_FN_COUNT; f++) {
            sc.cfg.func = (enum ks_promql_func_id)f;
            if (ks_promql_funcs[f].kind != KS_FUNC_ROLLUP ||
                (!strict && ks_rollup_is_multi(&sc.cfg)))
                continue;
            random_args(&rng, &sc);
            if (ks_rollup_check(&sc.cfg) != KS_OK)
                continue; /* not of this dialect */
            tried++;
            check_one(&sc, &scratch, seed);
        }
    }
    ks_rollup_scratch_done(&scratch);
    assert_true(tried >= (size_t)rounds * (strict ? 29 : 69));
}

static void test_metricsql_equals_definition(void **state)
{
    check_all(false, 600);
}

static void test_strict_equals_definition(void **state)
{
    check_all(true, 1000);
}

/*
 * Series with one column of times, one after the other in one scratch, as reading a target gives
 * them; the step is often the scrape interval. What was found for the times of one holds for the
 * next, whatever its values, and not for other grids or other times.
 */
static void test_series_of_one_target(void **state)
{
    static struct scenario sc;
    static struct samples other;
    struct ks_rollup_scratch scratch = {0};
    for (uint64_t seed = 0; seed < 400; seed++) {
        uint64_t rng = seed ^ 0x7a11;
        enum ks_promql_func_id few[] = {KS_FN_RATE, KS_FN_DERIV_FAST, KS_FN_IRATE, KS_FN_INCREASE,
                                        KS_FN_DEFAULT_ROLLUP};
        random_samples(&rng, &sc.s);
        random_config(&rng, &sc, false);
        int64_t gap = sc.s.n > 1 ? sc.s.t[sc.s.n - 1] - sc.s.t[sc.s.n - 2] : 15000;
        if (ks_rng_below(&rng, 2)) { /* in step with the scrapes */
            int64_t points = (int64_t)ks_rollup_points(&sc.cfg);
            sc.cfg.step_ms = gap * (int64_t)(1 + ks_rng_below(&rng, 2));
            sc.cfg.window_ms = gap * (int64_t)ks_rng_below(&rng, 22);
            sc.cfg.end_ms = sc.cfg.start_ms + (points - 1) * sc.cfg.step_ms;
        }
        for (int series = 0; series < 8; series++) {
            int64_t start = sc.cfg.start_ms, end = sc.cfg.end_ms;
            if (ks_rng_below(&rng, 4) == 0) { /* another grid of as many points */
                sc.cfg.start_ms -= gap * (int64_t)ks_rng_below(&rng, 9);
                sc.cfg.end_ms -= start - sc.cfg.start_ms;
            }
            sc.cfg.func = few[ks_rng_below(&rng, 5)];
            check_read(&sc, &scratch, seed, true);
            sc.cfg.start_ms = start;
            sc.cfg.end_ms = end;
            uint64_t n = ks_rng_next(&rng);
            random_samples(&n, &other);
            for (size_t i = 0; i < sc.s.n; i++)
                sc.s.v[i] = i < other.n ? other.v[i] : (double)i;
        }
    }
    ks_rollup_scratch_done(&scratch);
}

/* Thousands of samples in a window: ranks in many blocks, every quantile asked for. */
static void test_long_windows(void **state)
{
    static struct scenario sc;
    static const enum ks_promql_func_id funcs[] = {KS_FN_QUANTILE_OVER_TIME, KS_FN_MAD_OVER_TIME,
                                                   KS_FN_MEDIAN_OVER_TIME,
                                                   KS_FN_DISTINCT_OVER_TIME};
    struct ks_rollup_scratch scratch = {0};
    uint64_t rng = 99;
    sc.s.n = 9000;
    for (size_t i = 0; i < sc.s.n; i++) {
        sc.s.t[i] = 1000 * (int64_t)i;
        sc.s.v[i] = (double)ks_rng_below(&rng, 4000);
    }
    sc.cfg = (struct ks_rollup_config){
        .start_ms = 5000000, .step_ms = 40000, .window_ms = 4500000, .args = sc.args};
    sc.cfg.end_ms = sc.cfg.start_ms + 99 * sc.cfg.step_ms;
    for (size_t k = 0; k < 100; k++) /* ranks without remainder */
        sc.steps[0][k] = (double)(k * 45) / 4499;
    sc.args[0].steps = sc.steps[0];
    for (size_t f = 0; f < 4; f++) {
        sc.cfg.func = funcs[f];
        sc.cfg.arg_count = f == 0;
        check_one(&sc, &scratch, 99);
    }
    ks_rollup_scratch_done(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metricsql_equals_definition),
        cmocka_unit_test(test_strict_equals_definition),
        cmocka_unit_test(test_series_of_one_target),
        cmocka_unit_test(test_long_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
