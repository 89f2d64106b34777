#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "replication/vm_block.h"
#include "sys/rand.h"

enum { N = 20000 };
static int64_t times[N];
static double values[N];
static struct ks_vm_block *enc, *dec;
static struct ks_buf part;

static int setup(void **state)
{
    ks_buf_init(&part, 1 << 20);
    return ks_vm_block_new(&enc) != KS_OK || ks_vm_block_new(&dec) != KS_OK;
}

static int teardown(void **state)
{
    ks_vm_block_free(enc);
    ks_vm_block_free(dec);
    ks_buf_done(&part);
    return 0;
}

/* What the peer computes from the integers of a block. */
static double peer_value(int64_t m, int scale)
{
    return scale < 0 ? (double)m / pow(10, -scale) : (double)m * pow(10, scale);
}

/* Encodes and decodes all; every value but NaN must come back bit for bit. Returns the blocks made.
 */
static size_t round_trip(size_t n, bool peer_exact, size_t *ret_bytes)
{
    size_t blocks = 0, bytes = 0, at = 0;
    for (size_t i = 0; i < n; blocks++) {
        size_t used;
        assert_int_equal(ks_vm_block_encode(enc, times + i, values + i, n - i, &used), KS_OK);
        assert_true(used > 0);
        i += used;
        if (!enc->header.rows)
            continue;
        ks_buf_reset(&part);
        ks_vm_block_put_portable(enc, &part);
        bytes += part.len;
        ks_err err = ks_vm_block_read_portable(dec, ks_buf_view(&part));
        if (err != KS_OK)
            fail_msg("%s", ks_err_text());
        for (size_t k = 0; k < dec->header.rows; k++, at++) {
            while (isnan(values[at]) && !ks_is_stale_nan(values[at]))
                at++;
            assert_true(dec->times[k] == times[at]);
            double want = values[at] == 0 ? 0 : values[at];
            if (ks_f64_bits(dec->values[k]) != ks_f64_bits(want))
                fail_msg("%.17g came back as %.17g, scale %d", want, dec->values[k],
                         dec->header.scale);
            if (peer_exact && isfinite(want) && peer_value(dec->ints[k], dec->header.scale) != want)
                fail_msg("the peer reads %.17g as %.17g", want,
                         peer_value(dec->ints[k], dec->header.scale));
        }
    }
    if (ret_bytes)
        *ret_bytes = bytes;
    return blocks;
}

static void steady_times(size_t n)
{
    for (size_t i = 0; i < n; i++)
        times[i] = 1700000000000 + (int64_t)i * 15000;
}

static void test_shapes(void **state)
{
    uint64_t r = 5;
    size_t bytes;
    steady_times(N);
    for (size_t i = 0; i < N; i++)
        values[i] = 42;
    assert_int_equal(round_trip(N, true, &bytes), 3);
    assert_true(bytes < 100);
    for (size_t i = 0; i < N; i++)
        values[i] = (double)(i * 7);
    assert_int_equal(round_trip(N, true, &bytes), 3);
    assert_true(bytes < 100);
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        values[i] = sum += (double)ks_rng_below(&r, 1000);
    assert_int_equal(round_trip(N, true, &bytes), 3);
    assert_true(bytes < N * 2);
    for (size_t i = 0; i < N; i++)
        values[i] = (double)ks_rng_below(&r, 10000) / 100;
    assert_int_equal(round_trip(N, true, &bytes), 3);
    for (size_t i = 0; i < N; i++)
        values[i] = ((double)ks_rng_below(&r, 2000000) - 1e6) / 1e9;
    assert_int_equal(round_trip(N, true, NULL), 3);
}

static void test_special(void **state)
{
    static const double odd[] = {0,
                                 -0.0,
                                 INFINITY,
                                 -INFINITY,
                                 1,
                                 -1,
                                 1e300,
                                 5e-324,
                                 -1.7976931348623157e308,
                                 0.1,
                                 9007199254740993,
                                 9223372036854775807.,
                                 1e18,
                                 1e-18,
                                 123456789012345678,
                                 0.30000000000000004};
    steady_times(N);
    for (size_t i = 0; i < N; i++)
        values[i] = i % 17 == 16 ? ks_stale_nan() : odd[i % 17];
    round_trip(1000, false, NULL);
    values[0] = values[5] = values[999] = NAN;
    round_trip(1000, false, NULL);
    for (size_t i = 0; i < 10; i++)
        values[i] = NAN;
    size_t used;
    assert_int_equal(ks_vm_block_encode(enc, times, values, 10, &used), KS_OK);
    assert_int_equal(used, 10);
    assert_int_equal(enc->header.rows, 0);
}

/* Any bits at all, any mixture of kinds, irregular and equal times. */
static void test_random(void **state)
{
    uint64_t r = 9;
    for (int round = 0; round < 60; round++) {
        size_t n = 1 + ks_rng_below(&r, 3000);
        int kind = round % 6;
        int64_t t = (int64_t)ks_rng_below(&r, 1ull << 42);
        for (size_t i = 0; i < n; i++) {
            t += (int64_t)ks_rng_below(&r, round % 2 ? 3 : 100000);
            times[i] = t;
            double digits =
                (double)ks_rng_below(&r, 1000000) / pow(10, (double)ks_rng_below(&r, 8));
            double bits = ks_f64_from_bits(ks_rng_next(&r));
            bool first = ks_rng_below(&r, 4) == 0;
            values[i] = kind == 0   ? digits
                        : kind == 1 ? bits
                        : kind == 2 ? ks_rng_double(&r)
                        : first     ? bits
                                    : digits;
        }
        round_trip(n, kind == 0, NULL);
    }
}

static void test_hostile(void **state)
{
    uint64_t r = 13;
    steady_times(N);
    for (size_t i = 0; i < N; i++)
        values[i] = (double)ks_rng_below(&r, 10000) / 100;
    size_t used;
    assert_int_equal(ks_vm_block_encode(enc, times, values, 500, &used), KS_OK);
    ks_buf_reset(&part);
    ks_vm_block_put_portable(enc, &part);
    /* Cut anywhere: an error. Changed anywhere: an error or some other block, never more rows than
     * allowed. */
    for (size_t n = 0; n < part.len; n++)
        assert_int_equal(ks_vm_block_read_portable(dec, ks_slice(part.ptr, n)), KS_EPARSE);
    for (size_t i = 0; i < part.len * 8; i++) {
        part.ptr[i / 8] ^= (char)(1 << i % 8);
        ks_err err = ks_vm_block_read_portable(dec, ks_buf_view(&part));
        assert_true(err == KS_EPARSE || (err == KS_OK && dec->header.rows <= KS_VM_BLOCK_ROWS_MAX));
        part.ptr[i / 8] ^= (char)(1 << i % 8);
    }
    ks_buf_byte(&part, 0);
    assert_int_equal(ks_vm_block_read_portable(dec, ks_buf_view(&part)), KS_EPARSE);
}

static void test_names(void **state)
{
    struct ks_label in[] = {{KS_NAME_LABEL, KS_SLICE_LIT("m")},
                            {KS_SLICE_LIT("a"), ks_slice("x\0y\1z\2w", 7)},
                            {KS_SLICE_LIT("job"), KS_SLICE_LIT("j")}};
    struct ks_labels l = {in, 3, 3};
    struct ks_label extra = {KS_SLICE_LIT("vm_account_id"), KS_SLICE_LIT("7")}, out[8];
    struct ks_buf labels;
    struct ks_arena arena;
    size_t n;
    ks_arena_init(&arena, 1 << 20);
    ks_buf_init(&labels, 1 << 20);
    ks_labels_canonicalise(&l);
    ks_labels_encode(&l, &labels);
    ks_buf_reset(&part);
    ks_vm_name_put(ks_buf_view(&labels), &extra, 1, &part);
    assert_memory_equal(part.ptr, "m\1a\1x\0000y\0001z\0002w\1job\1j\1vm_account_id\0017\1",
                        part.len);
    assert_int_equal(ks_vm_name_read(ks_buf_view(&part), &arena, out, 8, &n), KS_OK);
    assert_int_equal(n, 4);
    assert_true(ks_slice_eq(out[1].value, ks_slice("x\0y\1z\2w", 7)));
    assert_true(ks_slice_is(out[3].value, "7"));
    assert_int_equal(ks_vm_name_read(ks_buf_view(&part), &arena, out, 3, &n), KS_EPARSE);
    for (size_t i = 0; i < part.len; i++) /* a name cut behind a pair is a shorter name */
        (void)!ks_vm_name_read(ks_slice(part.ptr, i), &arena, out, 8, &n);
    assert_int_equal(ks_vm_name_read(ks_slice("m\1a\1", 4), &arena, out, 8, &n), KS_EPARSE);
    assert_int_equal(ks_vm_name_read(ks_slice("m\0007\1", 4), &arena, out, 8, &n), KS_EPARSE);
    ks_buf_done(&labels);
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_special),
        cmocka_unit_test(test_random), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
