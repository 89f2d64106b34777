/* OTLP's exponential histograms as native ones: indexes, gaps, downscaling, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/ingest/otlp_priv.h"
#include "sys/rand.h"

/* What each bucket of the result holds, against the counts given, bucket by bucket. */
static void check(int32_t scale, int32_t offset, const uint64_t *counts, size_t n)
{
    struct ks_arena a;
    struct ks_histogram h;
    uint64_t total = 0, seen = 0;
    ks_arena_init(&a, 1 << 24);
    for (size_t i = 0; i < n; i++)
        total += counts[i];
    struct ksi_otlp_exponential in = {.scale = scale, .count = total + 3, .zero_count = 3};
    ksi_otlp_exponential(&in, &h);
    assert_int_equal(ksi_otlp_exponential_side(&a, scale, offset, counts, n, &h.positive), KS_OK);
    assert_int_equal(ks_histogram_validate(&h), KS_OK);
    assert_int_equal(h.schema, scale > 8 ? 8 : scale);
    int shift = scale > 8 ? scale - 8 : 0;
    struct ks_histogram_walk w = ks_histogram_walk(&h, &h.positive, false);
    int32_t index;
    double count;
    while (ks_histogram_step(&w, &index, &count)) {
        uint64_t want = 0;
        for (size_t i = 0; i < n; i++)
            want += ((int64_t)offset + (int64_t)i) >> shift == index - 1 ? counts[i] : 0;
        assert_true(count == (double)want);
        seen += want;
    }
    assert_int_equal(seen, total);
    ks_arena_done(&a);
}

static void test_shapes(void **state)
{
    static const uint64_t few[] = {1, 0, 0, 2, 0, 0, 0, 5, 0};
    check(0, 0, few, 9);
    check(3, -20, few, 9);
    check(-4, -3, few, 9);
    check(10, -6, few, 9); /* four into one */
    check(20, -4097, few, 9);
    check(8, 0, few, 0);
    uint64_t rng = 3, counts[300];
    for (int round = 0; round < 200; round++) {
        size_t n = ks_rng_below(&rng, 300);
        for (size_t i = 0; i < n; i++)
            counts[i] = ks_rng_below(&rng, 3) ? 0 : ks_rng_below(&rng, 100);
        check((int32_t)ks_rng_below(&rng, 20) - 4, (int32_t)ks_rng_below(&rng, 2000) - 1000, counts,
              n);
    }
}

/* A span for what lies apart, filled gaps for what does not. */
static void test_spans(void **state)
{
    static const uint64_t counts[] = {1, 0, 0, 2, 0, 0, 0, 5};
    struct ks_arena a;
    struct ks_histogram_side s;
    ks_arena_init(&a, 1 << 20);
    assert_int_equal(ksi_otlp_exponential_side(&a, 0, -1, counts, 8, &s), KS_OK);
    assert_int_equal(s.span_count, 2);
    assert_int_equal(s.spans[0].offset, 0);
    assert_int_equal(s.spans[0].length, 4);
    assert_int_equal(s.spans[1].offset, 3);
    assert_int_equal(s.spans[1].length, 1);
    static const int64_t deltas[] = {1, -1, 0, 2, 3};
    assert_memory_equal(s.deltas, deltas, sizeof deltas);
    ks_arena_done(&a);
}

static void test_limits(void **state)
{
    static uint64_t many[KS_HISTOGRAM_BUCKETS_MAX + 1];
    struct ks_arena a;
    struct ks_histogram_side s;
    ks_arena_init(&a, 1 << 24);
    many[0] = 1;
    assert_int_equal(ksi_otlp_exponential_side(&a, 0, INT32_MAX, many, 1, &s), KS_ELIMIT);
    assert_int_equal(ksi_otlp_exponential_side(&a, 0, INT32_MIN, many, 1, &s), KS_ELIMIT);
    for (size_t i = 0; i <= KS_HISTOGRAM_BUCKETS_MAX; i++)
        many[i] = 1;
    assert_int_equal(ksi_otlp_exponential_side(&a, 0, 0, many, KS_HISTOGRAM_BUCKETS_MAX + 1, &s),
                     KS_ELIMIT);
    ks_arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
