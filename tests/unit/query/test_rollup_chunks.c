/*
 * Rollups from chunk aggregates against rollups from all samples: equal where aggregates are exact,
 * else to rounding; and only the chunks that must be are decoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "query/promql/promql.h"
#include "query/promql/rollup/rollup_chunks.h"
#include "sys/rand.h"

enum { SAMPLES = 6000, POINTS = 400, CHUNKS = 200 };

struct series {
    int64_t t[SAMPLES];
    double v[SAMPLES];
    size_t n;
    struct ks_chunk_meta meta[CHUNKS];
    bool overlaps[CHUNKS];
    size_t chunk_count;
};
static struct series series;

static struct ks_chunk_view get_chunk(void *arg, size_t i)
{
    struct series *s = arg;
    assert_true(i < s->chunk_count);
    const struct ks_chunk_meta *m = &s->meta[i];
    return (struct ks_chunk_view){m->min_ms, m->max_ms, m->sample_count, s->overlaps[i],
                                  s->overlaps[i] ? NULL : &m->agg};
}

static ks_err get_samples(void *arg, int64_t min_ms, int64_t max_ms, struct ks_samples *out)
{
    struct series *s = arg;
    size_t cap = out->cap;
    KS_TRY(ks_array_reserve((void **)&out->times, &cap, s->n + 1, sizeof *out->times));
    KS_TRY(ks_array_reserve((void **)&out->values, &out->cap, s->n + 1, sizeof *out->values));
    out->count = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->t[i] >= min_ms && s->t[i] <= max_ms) {
            out->times[out->count] = s->t[i];
            out->values[out->count++] = s->v[i];
        }
    return KS_OK;
}

enum shape { INTEGERS, FRACTIONS, COUNTER, RESETS, SHAPES };

static void make_series(uint64_t *rng, enum shape shape, bool holes)
{
    struct series *s = &series;
    int64_t t = 1000000;
    double v = 5;
    bool uneven = ks_rng_below(rng, 2);
    s->n = 200 + ks_rng_below(rng, SAMPLES - 200);
    for (size_t i = 0; i < s->n; i++) {
        t += (uneven ? 1000 + (int64_t)ks_rng_below(rng, 30000)
                     : 15000 + (int64_t)ks_rng_below(rng, 20)) +
             (ks_rng_below(rng, 100) ? 0 : (int64_t)ks_rng_below(rng, 60000));
        v = shape == INTEGERS                                ? (double)ks_rng_below(rng, 1000)
            : shape == FRACTIONS                             ? ks_rng_double(rng)
            : shape == RESETS && ks_rng_below(rng, 100) == 0 ? v * ks_rng_double(rng)
                                                             : v + (double)ks_rng_below(rng, 20);
        s->t[i] = t;
        s->v[i] =
            holes && ks_rng_below(rng, 150) == 0 ? ks_rng_below(rng, 2) ? NAN : ks_stale_nan() : v;
    }
    s->chunk_count = 0;
    for (size_t i = 0; i < s->n;) {
        size_t len = 1 + ks_rng_below(rng, 120), c = s->chunk_count++;
        if (len > s->n - i || c + 1 == CHUNKS)
            len = s->n - i;
        s->meta[c] = (struct ks_chunk_meta){
            .min_ms = s->t[i], .max_ms = s->t[i + len - 1], .sample_count = (uint32_t)len};
        ks_chunk_aggregate(s->v + i, len, &s->meta[c].agg);
        s->overlaps[c] = ks_rng_below(rng, 20) == 0;
        i += len;
    }
}

static bool near_enough(double a, double b, double tolerance)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b) &&
               (ks_f64_bits(a) == KS_ABSENT_BITS) == (ks_f64_bits(b) == KS_ABSENT_BITS);
    return a == b || fabs(a - b) <= tolerance * (fabs(a) + fabs(b) + 1);
}

static void check(const struct ks_rollup_config *cfg, enum shape shape, uint64_t seed,
                  uint64_t *read, uint64_t *all)
{
    static double got[POINTS], want[POINTS];
    struct ks_rollup_source src = {series.chunk_count, get_chunk, get_samples, &series};
    struct ks_samples samples = {0};
    struct ks_rollup_scratch scratch = {0};
    uint64_t read_count = 0;
    int64_t min_ms, max_ms;
    assert_int_equal(ks_rollup_check(cfg), KS_OK);
    assert_int_equal(ks_rollup_run_source(cfg, &src, &samples, &scratch, got, &read_count), KS_OK);
    *read += read_count;
    ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
    assert_int_equal(get_samples(&series, min_ms, max_ms, &samples), KS_OK);
    *all += samples.count;
    assert_int_equal(
        ks_rollup_run(cfg, samples.times, samples.values, samples.count, &scratch, want), KS_OK);
    bool exact = shape == INTEGERS || shape == COUNTER;
    for (size_t k = 0; k < ks_rollup_points(cfg); k++)
        if (!near_enough(want[k], got[k], exact ? 0 : 1e-12))
            fail_msg("seed %llu %s strict %d point %zu: want %.17g got %.17g",
                     (unsigned long long)seed, ks_promql_funcs[cfg->func].name, cfg->strict, k,
                     want[k], got[k]);
    ks_rollup_scratch_done(&scratch);
    ks_free(samples.times);
    ks_free(samples.values);
}

static void random_grid(uint64_t *rng, struct ks_rollup_config *cfg)
{
    int64_t first = series.t[0], span = series.t[series.n - 1] - first;
    int64_t points = ks_rng_below(rng, 3) ? 1 + (int64_t)ks_rng_below(rng, 30)
                                          : 1 + (int64_t)ks_rng_below(rng, POINTS);
    cfg->window_ms = 1 + (int64_t)ks_rng_below(rng, (uint64_t)span);
    cfg->step_ms =
        ks_rng_below(rng, 2) ? cfg->window_ms : 1 + span / (1 + (int64_t)ks_rng_below(rng, 3000));
    cfg->start_ms = first + (int64_t)ks_rng_below(rng, (uint64_t)span);
    cfg->end_ms = cfg->start_ms + (points - 1) * cfg->step_ms;
    cfg->offset_ms = ks_rng_below(rng, 3) ? 0 : (int64_t)ks_rng_below(rng, 3600000);
    cfg->lookback_delta_ms = !cfg->strict && ks_rng_below(rng, 6) == 0 ? 60000 : 0;
}

static void test_equal_to_all_samples(void **state)
{
    uint64_t read = 0, all = 0, tried = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        uint64_t rng = seed;
        enum shape shape = (enum shape)ks_rng_below(&rng, SHAPES);
        struct ks_rollup_config cfg = {.strict = ks_rng_below(&rng, 2)};
        make_series(&rng, shape, ks_rng_below(&rng, 3) == 0);
        random_grid(&rng, &cfg);
        for (int f = 0; f < KS_FN_COUNT; f++) {
            cfg.func = (enum ks_promql_func_id)f;
            if (ks_promql_funcs[f].kind != KS_FUNC_ROLLUP || !ks_rollup_takes_chunks(&cfg) ||
                ks_rollup_check(&cfg) != KS_OK)
                continue;
            tried++;
            check(&cfg, shape, seed, &read, &all);
        }
    }
    assert_true(tried > 400 * 10);
    assert_true(read < all * 3 / 4); /* it did use them */
}

/* A month by the day: nearly nothing is decoded. */
static void test_long_windows_read_little(void **state)
{
    static const enum ks_promql_func_id funcs[] = {KS_FN_MAX_OVER_TIME,   KS_FN_SUM_OVER_TIME,
                                                   KS_FN_COUNT_OVER_TIME, KS_FN_RATE,
                                                   KS_FN_INCREASE,        KS_FN_AVG_OVER_TIME};
    struct series *s = &series;
    s->n = SAMPLES;
    s->chunk_count = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->t[i] = 1000000 + (int64_t)i * 60000;
        s->v[i] = (double)(i * 3);
    }
    for (size_t i = 0; i < s->n; i += 60) {
        s->overlaps[s->chunk_count] = false;
        s->meta[s->chunk_count] =
            (struct ks_chunk_meta){.min_ms = s->t[i], .max_ms = s->t[i + 59], .sample_count = 60};
        ks_chunk_aggregate(s->v + i, 60, &s->meta[s->chunk_count++].agg);
    }
    struct ks_rollup_config cfg = {.start_ms = s->t[1500] + 1000,
                                   .end_ms = s->t[s->n - 1],
                                   .step_ms = 86400000,
                                   .window_ms = 86400000};
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++) {
        uint64_t read = 0, all = 0;
        cfg.func = funcs[i];
        check(&cfg, COUNTER, 0, &read, &all);
        assert_true(read < all / 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_all_samples),
        cmocka_unit_test(test_long_windows_read_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
