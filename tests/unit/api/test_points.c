/* Points of a matrix as JSON against the plain way: one point after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "api/prom/points.h"
#include "base/bytes.h"
#include "base/num.h"
#include "sys/rand.h"

enum { POINTS = 40, SERIES_MAX = 80 };

static double some_value(uint64_t *seed, double before)
{
    static const double odd[] = {0,    -0.0,     INFINITY, -INFINITY,          1e300, 5e-324,
                                 1e21, 0.000001, 1e-7,     12.000000000000002, NAN};
    switch (ks_rng_below(seed, 6)) {
    case 0:
        return ks_f64_from_bits(KS_ABSENT_BITS);
    case 1:
        return odd[ks_rng_below(seed, sizeof odd / sizeof *odd)];
    case 2:
        return (double)ks_rng_below(seed, 1 << 20) / 1000;
    case 3:
        return (double)ks_rng_next(seed);
    default:
        return before;
    }
}

static size_t plainly(struct ks_buf *out, const struct ks_promql_result *r, bool strict,
                      const struct ks_promql_series *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        int64_t t = s->times ? s->times[i] : r->start_ms + (int64_t)i * r->step_ms;
        if (!s->times && ks_f64_bits(s->values[i]) == KS_ABSENT_BITS)
            continue;
        ks_buf_str(out, n++ ? "," : ",\"values\":[");
        if (strict)
            ks_prom_json_strict_point(out, t, s->values[i]);
        else
            ks_prom_json_point(out, t, s->values[i]);
    }
    if (n)
        ks_buf_byte(out, ']');
    return n;
}

static void check(uint64_t seed, size_t series, bool raw, bool strict, size_t arena_bytes)
{
    static double values[SERIES_MAX][POINTS];
    static int64_t times[POINTS];
    struct ks_promql_series list[SERIES_MAX] = {0};
    struct ks_promql_result r = {.series = list,
                                 .series_count = series,
                                 .start_ms = (int64_t)ks_rng_below(&seed, 2000000000000) - 1000,
                                 .step_ms = 1 + (int64_t)ks_rng_below(&seed, 100000)};
    struct ks_prom_points w;
    struct ks_arena arena;
    struct ks_buf got, want;
    for (size_t k = 0; k < POINTS; k++)
        times[k] = r.start_ms + (int64_t)(k * k);
    for (size_t i = 0; i < series; i++) {
        for (size_t k = 0; k < POINTS; k++)
            values[i][k] = some_value(&seed, k ? values[i][k - 1] : 1);
        list[i].values = values[i];
        list[i].count = raw ? ks_rng_below(&seed, POINTS + 1) : POINTS;
        list[i].times = raw ? times : NULL;
    }
    ks_arena_init(&arena, arena_bytes);
    ks_buf_init(&got, 64 << 20);
    ks_buf_init(&want, 64 << 20);
    ks_prom_points_init(&w, &r, strict, &arena, &got);
    for (size_t i = 0; i < series; i++) {
        assert_int_equal(ks_prom_points_numbers(&w, &got, &list[i]),
                         plainly(&want, &r, strict, &list[i]));
        assert_int_equal(ks_prom_points_histograms(&w, &got, &list[i]), 0);
        ks_prom_points_expect(&w, &got);
    }
    assert_int_equal(ks_buf_status(&got), KS_OK);
    assert_int_equal(got.len, want.len);
    if (want.len)
        assert_memory_equal(got.ptr, want.ptr, want.len);
    ks_buf_done(&got);
    ks_buf_done(&want);
    ks_arena_done(&arena);
}

static void test_as_plainly(void **state)
{
    static const size_t counts[] = {0, 1, 3, 4, 63, 64, SERIES_MAX};
    for (uint64_t seed = 1; seed < 40; seed++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            for (int kind = 0; kind < 4; kind++)
                check(seed, counts[i], kind & 1, kind & 2, seed % 3 ? 1 << 20 : 100);
}

/* A body that may not grow as far says so, and nothing is written behind its end. */
static void test_too_large(void **state)
{
    double values[POINTS];
    struct ks_promql_series s = {.values = values, .count = POINTS};
    struct ks_promql_result r = {.series = &s, .series_count = 1, .step_ms = 1000};
    struct ks_prom_points w;
    struct ks_arena arena;
    struct ks_buf out;
    for (size_t k = 0; k < POINTS; k++)
        values[k] = (double)k / 3;
    ks_arena_init(&arena, 1 << 20);
    for (size_t max = 0; max < 1200; max += 7) {
        ks_buf_init(&out, max);
        ks_prom_points_init(&w, &r, false, &arena, &out);
        (void)ks_prom_points_numbers(&w, &out, &s);
        assert_true(out.len <= max && out.cap <= max);
        assert_int_not_equal(ks_buf_status(&out), KS_OK);
        ks_buf_done(&out);
    }
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_plainly),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
