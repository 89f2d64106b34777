/*
 * Rollups with several outputs against the plain definitions, and the arguments every rollup
 * refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/vmrange.h"
#include "rollup_scenario.h"

/* candlestick: samples before the end; one at the very start comes from before. */
static double naive_candle(struct view w, char which)
{
    double prev = w.prev_t + w.window >= w.now ? w.prev : NAN;
    if (w.n && w.t[w.n - 1] >= w.now)
        w.n--;
    if (which == 'o')
        return !isnan(prev) ? prev : w.n ? w.v[0] : NAN;
    if (which == 'c')
        return w.n ? w.v[w.n - 1] : prev;
    double best = prev;
    for (size_t i = 0; i < w.n; i++)
        if (isnan(best) || (which == 'h' ? w.v[i] > best : w.v[i] < best))
            best = w.v[i];
    return best;
}

static const struct ks_rollup_output *output_of(const struct ks_rollup_outputs *outs,
                                                const char *value)
{
    for (size_t i = 0; i < outs->count; i++)
        if (ks_slice_is(outs->items[i].value, value))
            return &outs->items[i];
    return NULL;
}

static void check_grid(const struct ks_rollup_output *o, size_t k, double want, uint64_t seed)
{
    double got = o ? o->values[k] : NAN;
    if (!same(want, got, false))
        fail_msg("seed %llu %s point %zu: want %.17g got %.17g", (unsigned long long)seed,
                 o ? o->value.ptr : "no output", k, want, got);
}

/* Runs the scenario and prepares the naive view of it. */
static void run(struct scenario *sc, struct ks_rollup_scratch *scratch, struct ks_arena *arena,
                struct naive_run *naive, struct ks_rollup_outputs *ret)
{
    int64_t min_ms, max_ms;
    size_t from = 0, to = sc->s.n;
    assert_int_equal(ks_rollup_check(&sc->cfg), KS_OK);
    assert_true(ks_rollup_is_multi(&sc->cfg));
    ks_rollup_fetch_range(&sc->cfg, &min_ms, &max_ms);
    while (from < to && sc->s.t[from] < min_ms)
        from++;
    while (to > from && sc->s.t[to - 1] > max_ms)
        to--;
    assert_int_equal(ks_rollup_run_multi(&sc->cfg, sc->s.t + from, sc->s.v + from, to - from,
                                         scratch, arena, ret),
                     KS_OK);
    naive_prepare(naive, &sc->cfg, &sc->s);
}

static void naive_transform(struct naive_run *r)
{
    struct samples *s = &r->s;
    enum ks_promql_func_id f = r->cfg->func;
    double d = 0;
    if (f == KS_FN_ROLLUP)
        return;
    if (f == KS_FN_ROLLUP_SCRAPE_INTERVAL) {
        for (size_t i = s->n; i-- > 1;)
            s->v[i] = (double)s->t[i] / 1e3 - (double)s->t[i - 1] / 1e3;
        if (s->n)
            s->v[0] = s->n > 1 ? s->v[1] : NAN;
        return;
    }
    for (size_t i = 0; i + 1 < s->n; i++) {
        d = s->v[i + 1] - s->v[i];
        if (f == KS_FN_ROLLUP_RATE || f == KS_FN_ROLLUP_DERIV)
            d /= (double)(s->t[i + 1] - s->t[i]) / 1e3;
        s->v[i] = d;
    }
    if (s->n)
        s->v[s->n - 1] = d;
}

static struct scenario sc;
static struct naive_run naive;

static void check_spread(struct ks_rollup_scratch *scratch, uint64_t seed)
{
    static const enum ks_promql_func_id funcs[] = {
        KS_FN_ROLLUP,          KS_FN_ROLLUP_DELTA, KS_FN_ROLLUP_DERIV,
        KS_FN_ROLLUP_INCREASE, KS_FN_ROLLUP_RATE,  KS_FN_ROLLUP_SCRAPE_INTERVAL};
    for (size_t f = 0; f < sizeof funcs / sizeof *funcs; f++) {
        struct ks_arena arena;
        struct ks_rollup_outputs outs;
        ks_arena_init(&arena, 64 << 20);
        sc.cfg.func = funcs[f];
        sc.cfg.text = (struct ks_slice){0};
        run(&sc, scratch, &arena, &naive, &outs);
        assert_int_equal(outs.count, 3);
        naive_transform(&naive);
        for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++) {
            struct view w = naive_view(&naive, k);
            check_grid(output_of(&outs, "min"), k, w.n ? naive_best(&w, -1) : NAN, seed);
            check_grid(output_of(&outs, "max"), k, w.n ? naive_best(&w, 1) : NAN, seed);
            check_grid(output_of(&outs, "avg"), k, w.n ? naive_sum(&w) / (double)w.n : NAN, seed);
        }
        sc.cfg.text = KS_SLICE_LIT("max");
        assert_int_equal(
            ks_rollup_run_multi(&sc.cfg, sc.s.t, sc.s.v, sc.s.n, scratch, &arena, &outs), KS_OK);
        assert_int_equal(outs.count, 1);
        assert_int_equal(outs.items[0].label.len, 0);
        ks_arena_done(&arena);
    }
    sc.cfg.text = (struct ks_slice){0};
}

static void check_candle(struct ks_rollup_scratch *scratch, uint64_t seed)
{
    struct ks_arena arena;
    struct ks_rollup_outputs outs;
    ks_arena_init(&arena, 64 << 20);
    sc.cfg.func = KS_FN_ROLLUP_CANDLESTICK;
    run(&sc, scratch, &arena, &naive, &outs);
    assert_int_equal(outs.count, 4);
    for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++) {
        struct view w = naive_view(&naive, k);
        check_grid(output_of(&outs, "open"), k, naive_candle(w, 'o'), seed);
        check_grid(output_of(&outs, "close"), k, naive_candle(w, 'c'), seed);
        check_grid(output_of(&outs, "high"), k, naive_candle(w, 'h'), seed);
        check_grid(output_of(&outs, "low"), k, naive_candle(w, 'l'), seed);
    }
    ks_arena_done(&arena);
}

static void check_aggr(struct ks_rollup_scratch *scratch, uint64_t seed)
{
    static const enum ks_promql_func_id funcs[] = {KS_FN_MIN_OVER_TIME, KS_FN_INCREASE,
                                                   KS_FN_COUNT_OVER_TIME};
    struct ks_slice names[] = {KS_SLICE_LIT("min_over_time"), KS_SLICE_LIT("increase"),
                               KS_SLICE_LIT("count_over_time")};
    struct ks_arena arena;
    struct ks_rollup_outputs outs;
    ks_arena_init(&arena, 64 << 20);
    sc.cfg.func = KS_FN_AGGR_OVER_TIME;
    sc.cfg.aggr_names = names;
    sc.cfg.aggr_count = 3;
    run(&sc, scratch, &arena, &naive, &outs);
    assert_int_equal(outs.count, 3);
    for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++)
        for (size_t i = 0; i < 3; i++) {
            struct view w = naive_view(&naive, k);
            check_grid(&outs.items[i], k, naive_metricsql(funcs[i], &w), seed);
        }
    sc.cfg.aggr_count = 0;
    ks_arena_done(&arena);
}

static void check_quantiles(struct ks_rollup_scratch *scratch, uint64_t seed)
{
    static const double phis[] = {0.5, 0.9, 1, 0.5};
    struct ks_rollup_arg args[4];
    struct ks_arena arena;
    struct ks_rollup_outputs outs;
    ks_arena_init(&arena, 64 << 20);
    for (int i = 0; i < 4; i++)
        args[i] = (struct ks_rollup_arg){.value = phis[i]};
    sc.cfg.func = KS_FN_QUANTILES_OVER_TIME;
    sc.cfg.text = KS_SLICE_LIT("q");
    sc.cfg.args = args;
    sc.cfg.arg_count = 4;
    run(&sc, scratch, &arena, &naive, &outs);
    for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++) {
        struct view w = naive_view(&naive, k);
        check_grid(output_of(&outs, "0.5"), k, naive_quantile(0.5, w.v, w.n, true), seed);
        check_grid(output_of(&outs, "0.9"), k, naive_quantile(0.9, w.v, w.n, true), seed);
        check_grid(output_of(&outs, "1"), k, naive_quantile(1, w.v, w.n, true), seed);
    }
    assert_true(outs.count == 0 || outs.count == 3);
    sc.cfg.arg_count = 0;
    ks_arena_done(&arena);
}

static void check_counts(struct ks_rollup_scratch *scratch, uint64_t seed)
{
    struct ks_arena arena;
    struct ks_rollup_outputs outs;
    ks_arena_init(&arena, 512 << 20);
    if (sc.s.n > 500)
        sc.s.n = 500;
    sc.cfg.func = KS_FN_COUNT_VALUES_OVER_TIME;
    sc.cfg.text = KS_SLICE_LIT("v");
    run(&sc, scratch, &arena, &naive, &outs);
    for (size_t o = 0; o < outs.count; o++)
        for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++) {
            struct view w = naive_view(&naive, k);
            w.a0 = 0;
            ks_f64_parse(outs.items[o].value, &w.a0);
            double n = naive_filter(&w, '=', false);
            check_grid(&outs.items[o], k, n ? n : NAN, seed);
        }
    sc.cfg.func = KS_FN_HISTOGRAM_OVER_TIME;
    run(&sc, scratch, &arena, &naive, &outs);
    for (size_t k = 0; k < ks_rollup_points(&sc.cfg); k++) {
        double want[KS_VMRANGE_COUNT] = {0};
        struct view w = naive_view(&naive, k);
        for (size_t i = 0; i < w.n; i++)
            if (ks_vmrange_of(w.v[i]) >= 0)
                want[ks_vmrange_of(w.v[i])]++;
        for (int b = 0; b < KS_VMRANGE_COUNT; b++) {
            char text[KS_VMRANGE_TEXT_MAX + 1];
            if (!want[b] && k)
                continue;
            text[ks_vmrange_text(b, text)] = 0;
            check_grid(output_of(&outs, text), k, want[b] ? want[b] : NAN, seed);
        }
    }
    sc.cfg.text = (struct ks_slice){0};
    ks_arena_done(&arena);
}

static void test_several_outputs(void **state)
{
    struct ks_rollup_scratch scratch = {0};
    for (uint64_t seed = 1; seed <= 250; seed++) {
        uint64_t rng = seed;
        random_samples(&rng, &sc.s);
        random_config(&rng, &sc, false);
        check_spread(&scratch, seed);
        check_candle(&scratch, seed);
        check_aggr(&scratch, seed);
        check_quantiles(&scratch, seed);
        if (seed % 4 == 0)
            check_counts(&scratch, seed);
    }
    ks_rollup_scratch_done(&scratch);
}

static void test_vmrange(void **state)
{
    static const struct {
        double v;
        const char *want;
    } cases[] = {{0, "0...1.000e-09"},           {1e-10, "0...1.000e-09"},
                 {1, "8.799e-01...1.000e+00"},   {10, "8.799e+00...1.000e+01"},
                 {1.1, "1.000e+00...1.136e+00"}, {123, "1.136e+02...1.292e+02"},
                 {2e18, "1.000e+18...+Inf"},     {INFINITY, "1.000e+18...+Inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[KS_VMRANGE_TEXT_MAX + 1];
        text[ks_vmrange_text(ks_vmrange_of(cases[i].v), text)] = 0;
        assert_string_equal(text, cases[i].want);
    }
    assert_int_equal(ks_vmrange_of(-1), -1);
    assert_int_equal(ks_vmrange_of(NAN), -1);
}

static void test_refused_arguments(void **state)
{
    struct ks_rollup_arg args[2] = {{.value = 2}, {.value = 0.5}};
    struct ks_slice names[] = {KS_SLICE_LIT("rate"), KS_SLICE_LIT("sum")};
    const struct ks_rollup_config good = {
        .func = KS_FN_RATE, .end_ms = 100, .step_ms = 10, .window_ms = 50};
    struct ks_rollup_config bad;
    assert_int_equal(ks_rollup_check(&good), KS_OK);
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        bad = good;                                                                                \
        __VA_ARGS__;                                                                               \
        assert_int_equal(ks_rollup_check(&bad), KS_EINVAL);                                        \
    } while (0)
    REFUSED(bad.func = KS_FN_ABS);
    REFUSED(bad.func = KS_FN_COUNT);
    REFUSED(bad.step_ms = 0);
    REFUSED(bad.start_ms = 200);
    REFUSED(bad.window_ms = -1);
    REFUSED(bad.strict = true, bad.window_ms = 0);
    REFUSED(bad.end_ms = INT64_MAX);
    REFUSED(bad.end_ms = (int64_t)1 << 50);
    REFUSED(bad.offset_ms = INT64_MIN);
    REFUSED(bad.args = args, bad.arg_count = 1);
    REFUSED(bad.func = KS_FN_QUANTILE_OVER_TIME);
    REFUSED(bad.func = KS_FN_ROLLUP_RATE, bad.text = KS_SLICE_LIT("sum"));
    REFUSED(bad.func = KS_FN_ROLLUP_CANDLESTICK, bad.text = KS_SLICE_LIT("min"));
    REFUSED(bad.func = KS_FN_AGGR_OVER_TIME);
    REFUSED(bad.func = KS_FN_AGGR_OVER_TIME, bad.aggr_names = names, bad.aggr_count = 2);
    REFUSED(bad.func = KS_FN_LAG, bad.strict = true);
    REFUSED(bad.func = KS_FN_ROLLUP, bad.strict = true);
    REFUSED(bad.func = KS_FN_TS_OF_MAX_OVER_TIME);
#undef REFUSED
    bad = good;
    bad.func = KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING;
    bad.strict = true;
    bad.args = args;
    bad.arg_count = 2;
    struct ks_rollup_scratch scratch = {0};
    int64_t t[] = {0, 5};
    double v[] = {1, 2}, out[11];
    assert_int_equal(ks_rollup_check(&bad), KS_OK);
    assert_int_equal(ks_rollup_run(&bad, t, v, 2, &scratch, out), KS_EEXEC);
    assert_string_equal(ks_err_text(),
                        "invalid smoothing factor. Expected: 0 < sf < 1, got: 2.000000");
    ks_rollup_scratch_done(&scratch);
}

/* The n-th allocation fails: a clean error, nothing leaks, and the same scratch works afterwards.
 */
static void test_out_of_memory(void **state)
{
    for (int f = 0; f < KS_FN_COUNT; f++) {
        struct ks_rollup_arg args[2] = {{.value = 0.5}, {.value = 0.5}};
        struct ks_rollup_config cfg = {.func = (enum ks_promql_func_id)f,
                                       .end_ms = 100000,
                                       .step_ms = 1000,
                                       .window_ms = 20000,
                                       .args = args,
                                       .text = {0}};
        static int64_t t[2000];
        static double v[2000], out[200];
        for (int i = 0; i < 2000; i++) {
            t[i] = i * 50;
            v[i] = i % 7 * 0.1;
        }
        if (ks_promql_funcs[f].kind != KS_FUNC_ROLLUP || ks_rollup_is_multi(&cfg))
            continue;
        for (cfg.arg_count = 0; cfg.arg_count < 2 && ks_rollup_check(&cfg) != KS_OK;
             cfg.arg_count++)
            ;
        if (ks_rollup_check(&cfg) != KS_OK)
            continue;
        struct ks_rollup_scratch scratch = {0};
        for (uint64_t nth = 1;; nth++) {
            ks_mem_fail_after(nth, 0);
            ks_err err = ks_rollup_run(&cfg, t, v, 2000, &scratch, out);
            int hit = ks_mem_fail_hit();
            ks_mem_fail_after(0, 0);
            if (!hit) {
                assert_int_equal(err, KS_OK);
                break;
            }
            assert_int_equal(err, KS_ENOMEM);
            ks_rollup_scratch_done(&scratch);
        }
        ks_rollup_scratch_done(&scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_outputs),
        cmocka_unit_test(test_vmrange),
        cmocka_unit_test(test_refused_arguments),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
