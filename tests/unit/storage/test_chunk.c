/* Sealed columns: encode∘decode is the identity on bits, sizes are bounded, damage is refused; and
 * the aggregates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pow10.h"
#include "storage/codec/chunk.h"
#include "storage/codec/decimal_priv.h"
#include "sys/rand.h"
#include "tests/support/codec_shapes.h"

static const size_t lengths[] = {1,   2,   3,    4,    5,    7,    8,    9,    15,   16,  17,
                                 31,  33,  64,   100,  119,  120,  127,  128,  129,  240, 256,
                                 480, 500, 1000, 1023, 1024, 1025, 2000, 4097, 8191, 8192};
#define LENGTHS (sizeof lengths / sizeof *lengths)

/* Decodes from and into exactly sized heap blocks, so that ASan sees any step outside. */
static void check_values(const double *v, size_t n)
{
    struct ks_buf b, again;
    uint8_t encoding = 0, encoding2 = 0;
    ks_buf_init(&b, 1 << 20);
    ks_buf_init(&again, 1 << 20);
    assert_int_equal(ks_values_encode(v, n, &b, &encoding), KS_OK);
    assert_int_equal(ks_values_encode(v, n, &again, &encoding2), KS_OK);
    assert_int_not_equal(encoding, 0);
    assert_int_equal(encoding, encoding2);
    assert_true(ks_slice_eq(ks_buf_view(&b), ks_buf_view(&again)));
    assert_true(b.len <= ks_chunk_bytes_max(n));
    assert_string_not_equal(ks_values_encoding_name(encoding), "unknown");
    char *bytes = malloc(b.len ? b.len : 1);
    double *got = malloc(n * sizeof *got);
    memcpy(bytes, b.ptr, b.len);
    assert_int_equal(ks_values_decode(ks_slice(bytes, b.len), encoding, n, got), KS_OK);
    assert_memory_equal(got, v, n * sizeof *v);
    double constant;
    bool all_same = true;
    for (size_t i = 1; i < n; i++)
        all_same &= ks_f64_bits(v[i]) == ks_f64_bits(v[0]);
    assert_int_equal(ks_values_constant(ks_slice(bytes, b.len), encoding, &constant), all_same);
    if (all_same)
        assert_int_equal(ks_f64_bits(constant), ks_f64_bits(v[0]));
    free(got);
    free(bytes);
    ks_buf_done(&b);
    ks_buf_done(&again);
}

static void check_times(const int64_t *ts, size_t n)
{
    struct ks_buf b;
    uint8_t encoding = 0;
    ks_buf_init(&b, 1 << 20);
    ks_buf_byte(&b, 'x'); /* appending, not overwriting */
    assert_int_equal(ks_times_encode(ts, n, &b, &encoding), KS_OK);
    assert_int_equal(b.ptr[0], 'x');
    assert_true(b.len - 1 <= ks_chunk_bytes_max(n));
    assert_string_not_equal(ks_times_encoding_name(encoding), "unknown");
    char *bytes = malloc(b.len);
    int64_t *got = malloc(n * sizeof *got);
    memcpy(bytes, b.ptr + 1, b.len - 1);
    assert_int_equal(ks_times_decode(ks_slice(bytes, b.len - 1), encoding, n, got), KS_OK);
    assert_memory_equal(got, ts, n * sizeof *ts);
    free(got);
    free(bytes);
    ks_buf_done(&b);
}

static void test_values_of_every_shape(void **state)
{
    double *v = malloc(KS_CHUNK_SAMPLES_MAX * sizeof *v);
    for (int kind = 0; kind < SHAPE_COUNT; kind++)
        for (size_t k = 0; k < LENGTHS; k++)
            for (uint64_t seed = 0; seed < (lengths[k] <= 500 ? 8 : 2); seed++) {
                shape_values(kind, seed, lengths[k], v);
                check_values(v, lengths[k]);
            }
    free(v);
}

/* Every width, with and without outliers, at awkward lengths. */
static void test_values_of_every_width(void **state)
{
    double v[300];
    uint64_t s = 99;
    for (unsigned width = 0; width < 64; width++)
        for (size_t n = 1; n < 300; n += 1 + n / 5)
            for (int outliers = 0; outliers < 2; outliers++) {
                for (size_t i = 0; i < n; i++) {
                    uint64_t r = ks_rng_next(&s) & ((1ull << width) - 1);
                    if (outliers && r % 19 == 0)
                        r = ks_rng_next(&s);
                    v[i] = width < 50 ? (double)r : ks_f64_from_bits(r);
                }
                check_values(v, n);
            }
}

/* Shapes switch inside one column; lengths are random. */
static void test_values_spliced(void **state)
{
    double v[1024];
    uint64_t s = 4;
    for (int round = 0; round < 3000; round++) {
        size_t n = 0, want = 1 + ks_rng_below(&s, 600);
        while (n < want) {
            size_t part = 1 + ks_rng_below(&s, want - n);
            shape_values((int)ks_rng_below(&s, SHAPE_COUNT), ks_rng_next(&s), part, v + n);
            n += part;
        }
        check_values(v, n);
    }
}

static void test_times_of_every_shape(void **state)
{
    int64_t *ts = malloc(KS_CHUNK_SAMPLES_MAX * sizeof *ts);
    for (int kind = 0; kind < TIMES_COUNT; kind++)
        for (size_t k = 0; k < LENGTHS; k++)
            for (uint64_t seed = 0; seed < 4; seed++) {
                shape_times(kind, seed, lengths[k], ts);
                check_times(ts, lengths[k]);
            }
    for (uint64_t seed = 0; seed < 200; seed++) { /* not ascending at all */
        uint64_t s = seed;
        size_t n = 1 + ks_rng_below(&s, 300);
        for (size_t i = 0; i < n; i++)
            ts[i] = (int64_t)(ks_rng_next(&s) >> ks_rng_below(&s, 64));
        check_times(ts, n);
    }
    free(ts);
}

static void test_regular_times_cost_nothing(void **state)
{
    int64_t ts[480];
    static const struct {
        int kind;
        size_t bytes;
    } cases[] = {{TIMES_regular, 10}, {TIMES_jitter, 480 * 4 / 8 + 20}};
    for (size_t i = 0; i < 2; i++) {
        struct ks_buf b;
        uint8_t encoding;
        ks_buf_init(&b, 1 << 20);
        shape_times(cases[i].kind, 1, 480, ts);
        assert_int_equal(ks_times_encode(ts, 480, &b, &encoding), KS_OK);
        assert_true(b.len <= cases[i].bytes);
        ks_buf_done(&b);
    }
}

/* Truncated, lengthened, flipped: an error or some values, never a crash; other lengths are always
 * refused. */
static void damage_values(int kind, size_t n)
{
    double v[256], got[256];
    struct ks_buf b;
    uint8_t encoding;
    ks_buf_init(&b, 1 << 20);
    shape_values(kind, 11, n, v);
    assert_int_equal(ks_values_encode(v, n, &b, &encoding), KS_OK);
    for (size_t cut = 0; cut < b.len; cut++) {
        char *copy = malloc(cut ? cut : 1);
        memcpy(copy, b.ptr, cut);
        assert_int_equal(ks_values_decode(ks_slice(copy, cut), encoding, n, got), KS_ECORRUPT);
        free(copy);
    }
    size_t len = b.len;
    char *copy = malloc(len + 1);
    for (size_t bit = 0; bit < len * 8; bit++) {
        memcpy(copy, b.ptr, len);
        copy[bit / 8] ^= (char)(1 << bit % 8);
        (void)!ks_values_decode(ks_slice(copy, len), encoding, n, got);
    }
    memcpy(copy, b.ptr, len);
    copy[len] = 0;
    assert_int_equal(ks_values_decode(ks_slice(copy, len + 1), encoding, n, got), KS_ECORRUPT);
    for (unsigned e = 0; e < 256; e++)
        (void)!ks_values_decode(ks_slice(copy, len), (uint8_t)e, n, got);
    free(copy);
    ks_buf_done(&b);
}

static void test_damaged_values(void **state)
{
    for (int kind = 0; kind < SHAPE_COUNT; kind++)
        damage_values(kind, 130);
}

static void test_damaged_times(void **state)
{
    int64_t ts[200], got[200];
    for (int kind = 0; kind < TIMES_COUNT; kind++) {
        struct ks_buf b;
        uint8_t encoding;
        ks_buf_init(&b, 1 << 20);
        shape_times(kind, 5, 200, ts);
        assert_int_equal(ks_times_encode(ts, 200, &b, &encoding), KS_OK);
        for (size_t cut = 0; cut < b.len; cut++) {
            char *copy = malloc(cut ? cut : 1);
            memcpy(copy, b.ptr, cut);
            assert_int_equal(ks_times_decode(ks_slice(copy, cut), encoding, 200, got), KS_ECORRUPT);
            free(copy);
        }
        for (size_t bit = 0; bit < b.len * 8; bit++) {
            b.ptr[bit / 8] ^= (char)(1 << bit % 8);
            for (unsigned e = 0; e < 8; e++)
                (void)!ks_times_decode(ks_buf_view(&b), (uint8_t)e, 200, got);
            b.ptr[bit / 8] ^= (char)(1 << bit % 8);
        }
        ks_buf_done(&b);
    }
}

static void test_lengths_are_checked(void **state)
{
    static double v[KS_CHUNK_SAMPLES_MAX + 1];
    static int64_t ts[KS_CHUNK_SAMPLES_MAX + 1];
    struct ks_buf b;
    uint8_t e;
    ks_buf_init(&b, 1 << 20);
    assert_int_equal(ks_values_encode(v, 0, &b, &e), KS_EINVAL);
    assert_int_equal(ks_values_encode(v, KS_CHUNK_SAMPLES_MAX + 1, &b, &e), KS_EINVAL);
    assert_int_equal(ks_times_encode(ts, 0, &b, &e), KS_EINVAL);
    assert_int_equal(ks_times_encode(ts, KS_CHUNK_SAMPLES_MAX + 1, &b, &e), KS_EINVAL);
    assert_int_equal(ks_values_decode(KS_SLICE_LIT("x"), 1, 0, v), KS_ECORRUPT);
    assert_int_equal(ks_times_decode(KS_SLICE_LIT("x"), 1, KS_CHUNK_SAMPLES_MAX + 1, ts),
                     KS_ECORRUPT);
    ks_buf_done(&b);
}

/* The n-th allocation fails: a clean error, nothing leaks. */
static void test_out_of_memory(void **state)
{
    static double v[4000];
    static int64_t ts[4000];
    shape_values(SHAPE_cpu_6, 1, 4000, v);
    shape_times(TIMES_irregular, 1, 4000, ts);
    for (uint64_t n = 1; n < 6; n++) {
        struct ks_buf b;
        uint8_t e;
        ks_buf_init(&b, 1 << 20);
        ks_mem_fail_after(n, 0);
        ks_err err = ks_values_encode(v, 4000, &b, &e);
        assert_true(err == KS_OK ? !ks_mem_fail_hit() : err == KS_ENOMEM);
        ks_buf_done(&b);
        ks_buf_init(&b, 1 << 20);
        ks_mem_fail_after(n, 0);
        err = ks_times_encode(ts, 4000, &b, &e);
        assert_true(err == KS_OK ? !ks_mem_fail_hit() : err == KS_ENOMEM);
        ks_mem_fail_after(0, 0);
        ks_buf_done(&b);
        ks_buf_init(&b, 100);
        assert_int_equal(ks_values_encode(v, 4000, &b, &e), KS_ETOOBIG);
        ks_buf_done(&b);
    }
}

#define AGG(...) aggregate((const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / 8)

static struct ks_chunk_agg aggregate(const double *v, size_t n)
{
    struct ks_chunk_agg a;
    ks_chunk_aggregate(v, n, &a);
    return a;
}

static void test_aggregate_plain(void **state)
{
    struct ks_chunk_agg a = AGG(3, 1, 2);
    assert_true(a.min == 1 && a.max == 3 && a.sum == 6 && a.first == 3 && a.last == 2);
    assert_int_equal(a.count, 3);
    assert_int_equal(a.flags, KS_CHUNK_HAS_RESET);
    a = AGG(1, 1, 5);
    assert_true(a.increase == 4 && a.flags == 0);
    a = AGG(0.1);
    assert_true(a.min == 0.1 && a.max == 0.1 && a.increase == 0 && a.count == 1);
}

static void test_aggregate_special(void **state)
{
    struct ks_chunk_agg a = AGG(ks_stale_nan(), 1, NAN, 2, ks_stale_nan());
    assert_int_equal(a.count, 2);
    assert_int_equal(a.flags, KS_CHUNK_HAS_STALE | KS_CHUNK_HAS_NAN);
    assert_true(a.first == 1 && a.last == 2 && a.increase == 1 && a.sum == 3);
    a = AGG(ks_stale_nan());
    assert_true(a.count == 0 && a.flags == KS_CHUNK_HAS_STALE && a.min == 0 && a.sum == 0);
    a = AGG(1, INFINITY);
    assert_true(a.flags == KS_CHUNK_HAS_INF && a.max == INFINITY && a.sum == INFINITY &&
                a.count == 2);
    a = AGG(-INFINITY, 1);
    assert_true(a.flags == KS_CHUNK_HAS_INF && a.min == -INFINITY);
}

/* VictoriaMetrics' rule: a drop below 1/8 of the previous value is jitter, else the counter began
 * again at zero. */
static void test_aggregate_increase(void **state)
{
    assert_true(AGG(10, 20, 5, 7).increase == 17);
    assert_true(AGG(100, 99, 101).increase == 2); /* jitter: flat, then on from 99 */
    assert_true(AGG(100, 88, 90).increase == 2);
    assert_true(AGG(80, 70).increase == 70); /* exactly 1/8 is a reset */
    assert_true(AGG(5, 0, 5, 0, 5).increase == 10);
    assert_true(AGG(5, 0).increase == 0);
    assert_int_equal(AGG(5, 0).flags, KS_CHUNK_HAS_RESET);
}

/* The definition written out: VictoriaMetrics' loop over the whole array, kept apart from the
 * product's. */
static double naive_increase(const double *v, size_t n)
{
    double *w = malloc(n * sizeof *w), correction = 0, prev = v[0];
    for (size_t i = 0; i < n; i++) {
        double d = v[i] - prev;
        if (d < 0)
            correction += -d * 8 < prev ? prev - v[i] : prev;
        prev = v[i];
        w[i] = v[i] + correction;
        if (i > 0 && w[i] < w[i - 1])
            w[i] = w[i - 1];
    }
    double increase = w[n - 1] - v[0];
    free(w);
    return increase;
}

static void test_aggregate_against_model(void **state)
{
    double v[500];
    for (int kind = 0; kind < SHAPE_COUNT; kind++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            size_t n = 0;
            double min = INFINITY, max = -INFINITY, sum = 0;
            shape_values(kind, seed, 500, v);
            for (size_t i = 0; i < 500; i++)
                if (isfinite(v[i]))
                    v[n++] = v[i];
            if (n == 0)
                continue;
            for (size_t i = 0; i < n; i++) {
                min = v[i] < min ? v[i] : min;
                max = v[i] > max ? v[i] : max;
                sum += v[i];
            }
            struct ks_chunk_agg a = aggregate(v, n);
            double want = naive_increase(v, n);
            assert_true(a.count == n && a.first == v[0] && a.last == v[n - 1]);
            assert_true(a.min == min && a.max == max);
            assert_true(a.sum == sum || (isnan(a.sum) && isnan(sum)));
            assert_true(a.increase == want || (isnan(a.increase) && isnan(want)));
        }
}

/* Quotients have the bits of a division, whichever way this CPU takes. */
static void test_decimals_are_quotients(void **state)
{
    enum { N = 1000 };
    double got[N], a;
    int64_t x[N];
    uint64_t rng = 3;
    for (int e = 0; e <= KSI_EXPONENT_MAX; e++)
        for (unsigned round = 0; round < 400; round++) {
            for (size_t i = 0; i < N; i++) {
                x[i] = (int64_t)ks_rng_next(&rng) >> round % 63;
                if (round % 5 == 4)
                    x[i] = ((int64_t)i - N / 2) * (int64_t)(round + 1);
                got[i] = ks_f64_from_bits((uint64_t)x[i]);
            }
            ksi_decimal_from_ints(got, N, e);
            for (size_t i = 0; i < N; i++) {
                a = (double)x[i];
                assert_int_equal(ks_f64_bits(got[i]), ks_f64_bits(a / ks_pow10_f64[e]));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_every_shape),
        cmocka_unit_test(test_values_of_every_width),
        cmocka_unit_test(test_values_spliced),
        cmocka_unit_test(test_times_of_every_shape),
        cmocka_unit_test(test_regular_times_cost_nothing),
        cmocka_unit_test(test_damaged_values),
        cmocka_unit_test(test_damaged_times),
        cmocka_unit_test(test_lengths_are_checked),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_aggregate_plain),
        cmocka_unit_test(test_aggregate_special),
        cmocka_unit_test(test_aggregate_increase),
        cmocka_unit_test(test_decimals_are_quotients),
        cmocka_unit_test(test_aggregate_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
