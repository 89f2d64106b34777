/* Chunks and records of native histograms: the identity on bits, deterministic, damage is refused;
 * and the bytes, frozen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/histogram_text.h"
#include "storage/codec/histogram.h"
#include "tests/support/histogram_shapes.h"

#define GOLDEN_CHUNK                                                                               \
    "010200060227020602030000000000000000000000030101040a042416eeb24d8f80006b3bc82200000303020000" \
    "000000f0"                                                                                     \
    "7f01000100010404f603010e0205e8123a00040304f803500e010100010100"
#define GOLDEN_RECORD "00060227020602da1a00c09ecd95ebbff1b65d04f203f20eef0e"
#define GOLDEN_NEXT   "50520080bea08cd8d9bdaf6e000e2c2f"

static void check_chunk(struct ks_arena *a, const struct ks_histogram *h, size_t n)
{
    struct ks_buf b, again;
    ks_buf_init(&b, 1 << 24);
    ks_buf_init(&again, 1 << 24);
    assert_int_equal(ks_histograms_encode(h, n, a, &b), KS_OK);
    assert_int_equal(ks_histograms_encode(h, n, a, &again), KS_OK);
    assert_true(ks_slice_eq(ks_buf_view(&b), ks_buf_view(&again)));
    struct ks_histogram *got = malloc(n * sizeof *got);
    char *exact = malloc(b.len);
    memcpy(exact, b.ptr, b.len);
    assert_int_equal(ks_histograms_decode(ks_slice(exact, b.len), n, a, got), KS_OK);
    for (size_t i = 0; i < n; i++)
        assert_true(ks_histogram_identical(&h[i], &got[i]));
    /* Whatever is cut off or too much is noticed. */
    for (size_t len = 0; len < b.len && len < 64; len++)
        assert_int_equal(ks_histograms_decode(ks_slice(exact, b.len - 1 - len), n, a, got),
                         KS_ECORRUPT);
    ks_buf_byte(&b, 0);
    assert_int_equal(ks_histograms_decode(ks_buf_view(&b), n, a, got), KS_ECORRUPT);
    free(exact);
    free(got);
    ks_buf_done(&b);
    ks_buf_done(&again);
}

static void test_wild(void **state)
{
    uint64_t seed = 0x2545f4914f6cdd1d;
    for (int round = 0; round < 400; round++) {
        struct ks_arena a;
        struct ks_histogram h[40];
        size_t n = 1 + shape_draw(&seed, 40);
        ks_arena_init(&a, 64 << 20);
        for (size_t i = 0; i < n; i++) {
            h[i] = shape_wild(&a, &seed);
            if (i && shape_draw(&seed, 3))
                h[i] = h[shape_draw(&seed, (uint32_t)i)];
        }
        check_chunk(&a, h, n);
        ks_arena_done(&a);
    }
}

static void test_counters(void **state)
{
    static const size_t lengths[] = {1, 2, 3, 120, 1024};
    for (size_t k = 0; k < 10; k++) {
        struct ks_arena a;
        struct ks_histogram *h = malloc(lengths[k / 2] * sizeof *h);
        ks_arena_init(&a, 64 << 20);
        for (size_t i = 0; i < lengths[k / 2]; i++)
            h[i] = shape_counter(&a, 20 + (i > 60) * 4, (uint32_t)i, k & 1);
        check_chunk(&a, h, lengths[k / 2]);
        free(h);
        ks_arena_done(&a);
    }
}

static void test_records(void **state)
{
    uint64_t seed = 0x1234567;
    for (int round = 0; round < 400; round++) {
        struct ks_arena a;
        struct ks_histogram h[12], got, previous;
        struct ks_buf b;
        ks_arena_init(&a, 16 << 20);
        ks_buf_init(&b, 1 << 20);
        for (int i = 0; i < 12; i++) {
            h[i] = shape_wild(&a, &seed);
            if (i && shape_draw(&seed, 2))
                h[i] = h[i - 1];
            assert_int_equal(ks_histogram_record_put(&h[i], i ? &h[i - 1] : NULL, &b), KS_OK);
        }
        struct ks_reader r = ks_reader(ks_buf_view(&b));
        for (int i = 0; i < 12; i++) {
            assert_int_equal(ks_histogram_record_get(&r, i ? &previous : NULL, &a, &got), KS_OK);
            assert_true(ks_histogram_identical(&h[i], &got));
            previous = got;
        }
        assert_int_equal(ks_reader_left(&r), 0);
        ks_buf_done(&b);
        ks_arena_done(&a);
    }
}

static void test_damage_is_survived(void **state)
{
    uint64_t seed = 99;
    struct ks_arena a;
    struct ks_buf b;
    struct ks_histogram h[30], got[30];
    ks_arena_init(&a, 256 << 20);
    ks_buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < 30; i++)
        h[i] = i % 7 ? shape_counter(&a, 12, i, i % 3 == 0) : shape_wild(&a, &seed);
    assert_int_equal(ks_histograms_encode(h, 30, &a, &b), KS_OK);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        struct ks_arena work;
        ks_arena_init(&work, 64 << 20);
        b.ptr[bit / 8] ^= (char)(1 << bit % 8);
        ks_err err = ks_histograms_decode(ks_buf_view(&b), 30, &work, got);
        assert_true(err == KS_OK || err == KS_ECORRUPT);
        for (int i = 0; err == KS_OK && i < 30; i++)
            assert_int_equal(ks_histogram_check_layout(&got[i]), KS_OK);
        b.ptr[bit / 8] ^= (char)(1 << bit % 8);
        ks_arena_done(&work);
    }
    ks_buf_done(&b);
    ks_arena_done(&a);
}

static void test_limits(void **state)
{
    struct ks_arena a;
    struct ks_buf b;
    struct ks_histogram h = {0};
    ks_arena_init(&a, 1 << 20);
    ks_buf_init(&b, 1 << 20);
    assert_int_equal(ks_histograms_encode(&h, 0, &a, &b), KS_EINVAL);
    assert_int_equal(ks_histograms_encode(&h, KS_HISTOGRAM_CHUNK_MAX + 1, &a, &b), KS_EINVAL);
    h.positive.bucket_count = 1; /* no span for it */
    assert_int_equal(ks_histograms_encode(&h, 1, &a, &b), KS_EINVAL);
    h.positive.bucket_count = 0;
    h.schema = 9;
    assert_int_equal(ks_histograms_encode(&h, 1, &a, &b), KS_EINVAL);
    assert_int_equal(ks_histogram_record_put(&h, NULL, &b), KS_EINVAL);
    ks_buf_done(&b);
    ks_arena_done(&a);
}

/* KS_GOLDEN_PRINT=1 prints the current bytes. Frozen: another form needs another version byte. */
static void check_golden(struct ks_slice got, const char *want)
{
    char hex[2048];
    for (size_t i = 0; i < got.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)got.ptr[i]);
    if (getenv("KS_GOLDEN_PRINT"))
        printf("golden %s\n", hex);
    else
        assert_string_equal(hex, want);
}

static void test_golden(void **state)
{
    struct ks_arena a;
    struct ks_buf b;
    struct ks_histogram h[4];
    ks_arena_init(&a, 1 << 20);
    ks_buf_init(&b, 1 << 16);
    for (uint32_t i = 0; i < 3; i++)
        h[i] = shape_counter(&a, 4, i, false);
    h[3] = ks_histogram_stale(true);
    assert_int_equal(ks_histograms_encode(h, 4, &a, &b), KS_OK);
    check_golden(ks_buf_view(&b), GOLDEN_CHUNK);
    ks_buf_reset(&b);
    assert_int_equal(ks_histogram_record_put(&h[0], NULL, &b), KS_OK);
    check_golden(ks_buf_view(&b), GOLDEN_RECORD);
    ks_buf_reset(&b);
    assert_int_equal(ks_histogram_record_put(&h[1], &h[0], &b), KS_OK);
    check_golden(ks_buf_view(&b), GOLDEN_NEXT);
    ks_buf_done(&b);
    ks_arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wild),    cmocka_unit_test(test_counters),
        cmocka_unit_test(test_records), cmocka_unit_test(test_damage_is_survived),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
