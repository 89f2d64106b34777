/* prompb.Histogram bytes into native histograms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "api/ingest/histogram_proto.h"
#include "base/buf.h"
#include "tests/support/histogram_shapes.h"

static void key(struct ks_buf *b, unsigned field, unsigned type)
{
    ks_buf_varint(b, field << 3 | type);
}

static void put_double(struct ks_buf *b, unsigned field, double v)
{
    key(b, field, 1);
    ks_buf_u64(b, ks_f64_bits(v));
}

static void put_side(struct ks_buf *b, const struct ks_histogram *h,
                     const struct ks_histogram_side *s, unsigned field, bool packed)
{
    struct ks_buf sub;
    ks_buf_init(&sub, 1 << 16);
    for (uint32_t i = 0; i < s->span_count; i++) {
        ks_buf_reset(&sub);
        key(&sub, 1, 0);
        ks_buf_varint(&sub, (uint32_t)ks_zigzag(s->spans[i].offset));
        key(&sub, 2, 0);
        ks_buf_varint(&sub, s->spans[i].length);
        key(b, field, 2);
        ks_buf_lp(b, ks_buf_view(&sub));
    }
    ks_buf_reset(&sub);
    unsigned f = field + 1 + h->is_float;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (!packed)
            key(b, f, h->is_float);
        if (h->is_float)
            ks_buf_u64(packed ? &sub : b, (uint64_t)s->deltas[i]);
        else
            ks_buf_zigzag(packed ? &sub : b, s->deltas[i]);
    }
    if (packed && sub.len) {
        key(b, f, 2);
        ks_buf_lp(b, ks_buf_view(&sub));
    }
    ks_buf_done(&sub);
}

static void put(struct ks_buf *b, const struct ks_histogram *h, int64_t time_ms, bool packed)
{
    if (h->is_float) {
        put_double(b, 2, h->count.f);
        put_double(b, 7, h->zero_count.f);
    } else {
        key(b, 1, 0);
        ks_buf_varint(b, h->count.u);
        key(b, 6, 0);
        ks_buf_varint(b, h->zero_count.u);
    }
    put_double(b, 3, h->sum);
    key(b, 4, 0);
    ks_buf_varint(b, (uint32_t)ks_zigzag(h->schema));
    put_double(b, 5, h->zero_threshold);
    put_side(b, h, &h->negative, 8, packed);
    put_side(b, h, &h->positive, 11, packed);
    key(b, 14, 0);
    ks_buf_varint(b, h->hint);
    key(b, 15, 0);
    ks_buf_varint(b, (uint64_t)time_ms);
    key(b, 99, 2); /* unknown */
    ks_buf_lp(b, KS_SLICE_LIT("later"));
    for (uint32_t i = 0; i < h->custom_count; i++)
        put_double(b, 16, h->custom_values[i]);
}

static void test_round_trip(void **state)
{
    uint64_t seed = 5;
    for (int round = 0; round < 1000; round++) {
        struct ks_arena a;
        struct ks_buf b;
        struct ks_histogram got;
        int64_t time_ms, want_ms = (int64_t)shape_draw(&seed, 100000) - 50000;
        ks_arena_init(&a, 1 << 20);
        ks_buf_init(&b, 1 << 20);
        struct ks_histogram h = shape_wild(&a, &seed);
        put(&b, &h, want_ms, round & 1);
        assert_int_equal(ks_histogram_from_proto(ks_buf_view(&b), &a, &got, &time_ms), KS_OK);
        assert_true(ks_histogram_identical(&h, &got));
        assert_true(time_ms == want_ms);
        for (size_t len = 0; len < b.len;
             len++) { /* cut anywhere: a shorter message, or an error; never more */
            ks_err err = ks_histogram_from_proto(ks_slice(b.ptr, len), &a, &got, &time_ms);
            assert_true(err == KS_OK || err == KS_EPARSE);
        }
        ks_buf_done(&b);
        ks_arena_done(&a);
    }
}

static void test_hostile(void **state)
{
    struct ks_arena a;
    struct ks_buf b;
    struct ks_histogram h;
    int64_t time_ms;
    ks_arena_init(&a, 4 << 20);
    ks_buf_init(&b, 1 << 20);
    key(&b, 12, 2);
    ks_buf_varint(&b, KS_HISTOGRAM_BUCKETS_MAX + 1);
    for (int i = 0; i <= KS_HISTOGRAM_BUCKETS_MAX; i++)
        ks_buf_byte(&b, 0);
    assert_int_equal(ks_histogram_from_proto(ks_buf_view(&b), &a, &h, &time_ms), KS_ELIMIT);
    assert_int_equal(ks_histogram_from_proto(KS_SLICE_LIT("\x1a\x00"), &a, &h, &time_ms),
                     KS_OK); /* sum as bytes: skipped */
    assert_int_equal(ks_histogram_from_proto(KS_SLICE_LIT("\x19\x00"), &a, &h, &time_ms),
                     KS_EPARSE);
    assert_int_equal(ks_histogram_from_proto(KS_SLICE_LIT(""), &a, &h, &time_ms), KS_OK);
    assert_int_equal(ks_histogram_validate(&h), KS_OK);
    ks_buf_done(&b);
    ks_arena_done(&a);
}

/* What is written reads back as it was. */
static void test_written(void **state)
{
    uint64_t seed = 77;
    for (uint32_t i = 0; i < 400; i++) {
        struct ks_arena a;
        struct ks_buf b;
        struct ks_histogram got;
        int64_t time_ms;
        ks_arena_init(&a, 1 << 24);
        ks_buf_init(&b, 1 << 24);
        struct ks_histogram h =
            i % 2 ? shape_wild(&a, &seed) : shape_counter(&a, 4 + i % 40, i, i % 4 == 0);
        if (ks_histogram_is_stale(&h))
            h = ks_histogram_stale(h.is_float);
        ks_histogram_put_proto(&h, 1795268000000 + i, &b);
        assert_int_equal(ks_buf_status(&b), KS_OK);
        assert_int_equal(ks_histogram_from_proto(ks_buf_view(&b), &a, &got, &time_ms), KS_OK);
        assert_true(ks_histogram_identical(&h, &got));
        assert_int_equal(time_ms, 1795268000000 + i);
        ks_buf_done(&b);
        ks_arena_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
