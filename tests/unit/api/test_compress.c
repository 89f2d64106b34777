/* Content encodings: round trips, limits, lies and damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/compress.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "sys/rand.h"

static const enum ks_encoding all[] = {KS_ENC_NONE, KS_ENC_GZIP, KS_ENC_DEFLATE, KS_ENC_ZSTD,
                                       KS_ENC_SNAPPY};

static void fill(char *p, size_t n, uint64_t seed, bool compressible)
{
    for (size_t i = 0; i < n; i++)
        p[i] = compressible ? "kofstore label value "[i % 21] : (char)ks_rng_next(&seed);
}

static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 255, 4096, 70000, 1 << 20};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int c = 0; c < 2; c++) {
                size_t n = sizes[s];
                char *text = ks_alloc(n + 1);
                struct ks_buf packed, out;
                fill(text, n, 7 + s, c);
                ks_buf_init(&packed, 4 << 20);
                ks_buf_init(&out, 4 << 20);
                assert_int_equal(ks_compress(all[k], ks_slice(text, n), &packed), KS_OK);
                assert_int_equal(ks_decompress(all[k], ks_buf_view(&packed), n, &out), KS_OK);
                assert_int_equal(out.len, n);
                assert_true(n == 0 || memcmp(out.ptr, text, n) == 0);
                /* One byte less is refused, whatever the encoding. */
                ks_buf_reset(&out);
                if (n)
                    assert_int_equal(ks_decompress(all[k], ks_buf_view(&packed), n - 1, &out),
                                     KS_ETOOBIG);
                ks_buf_done(&packed);
                ks_buf_done(&out);
                ks_free(text);
            }
}

static void test_damage_is_an_error(void **state)
{
    char text[5000];
    fill(text, sizeof text, 1, true);
    uint64_t seed = 3;
    for (size_t k = 1; k < sizeof all / sizeof *all; k++) {
        struct ks_buf packed, out;
        ks_buf_init(&packed, 1 << 20);
        ks_buf_init(&out, 1 << 20);
        assert_int_equal(ks_compress(all[k], ks_slice(text, sizeof text), &packed), KS_OK);
        for (size_t cut = 0; cut < packed.len; cut++) {
            char *exact = ks_memdup(packed.ptr, cut); /* its end is watched by ASan */
            ks_buf_reset(&out);
            assert_int_not_equal(ks_decompress(all[k], ks_slice(exact, cut), 1 << 16, &out), KS_OK);
            ks_free(exact);
        }
        for (int i = 0; i < 2000; i++) {
            struct ks_buf copy;
            ks_buf_init(&copy, 1 << 20);
            ks_buf_slice(&copy, ks_buf_view(&packed));
            copy.ptr[ks_rng_below(&seed, copy.len)] ^= (char)(1 << ks_rng_below(&seed, 8));
            ks_buf_reset(&out);
            ks_err err = ks_decompress(all[k], ks_buf_view(&copy), 1 << 16, &out);
            assert_true(out.len <= 1 << 16);
            (void)err; /* snappy has no checksum: other bytes may decode */
            ks_buf_done(&copy);
        }
        ks_buf_done(&packed);
        ks_buf_done(&out);
    }
}

/* A body that claims gigabytes must cost nothing: the buffer stays small. */
static void test_lies_allocate_nothing(void **state)
{
    static const uint8_t snappy[] = {0xff, 0xff, 0xff, 0x7f, 0x00, 'a'};
    struct ks_buf out;
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    assert_int_equal(ks_decompress(KS_ENC_SNAPPY, ks_slice(snappy, sizeof snappy), 1u << 30, &out),
                     KS_EPARSE);
    assert_true(out.cap < 4096);
    struct ks_buf gz;
    ks_buf_init(&gz, 1 << 20);
    assert_int_equal(ks_compress(KS_ENC_GZIP, KS_SLICE_LIT("hello"), &gz), KS_OK);
    ks_put_le32(gz.ptr + gz.len - 4, 0x7fffffff);
    assert_int_equal(ks_decompress(KS_ENC_GZIP, ks_buf_view(&gz), 1u << 30, &out), KS_EPARSE);
    assert_true(out.cap < 1 << 20);
    ks_buf_done(&gz);
    ks_buf_done(&out);
}

static void test_several_gzip_members(void **state)
{
    struct ks_buf gz, out;
    ks_buf_init(&gz, 1 << 20);
    ks_buf_init(&out, 1 << 20);
    assert_int_equal(ks_compress(KS_ENC_GZIP, KS_SLICE_LIT("hello "), &gz), KS_OK);
    assert_int_equal(ks_compress(KS_ENC_GZIP, KS_SLICE_LIT("world"), &gz), KS_OK);
    assert_int_equal(ks_decompress(KS_ENC_GZIP, ks_buf_view(&gz), 100, &out), KS_OK);
    assert_true(ks_slice_is(ks_buf_view(&out), "hello world"));
    ks_buf_done(&gz);
    ks_buf_done(&out);
}

static void test_gzip_stream(void **state)
{
    struct ks_gzip_stream *g;
    struct ks_buf packed, out, want;
    ks_buf_init(&packed, 16 << 20);
    ks_buf_init(&out, 16 << 20);
    ks_buf_init(&want, 16 << 20);
    assert_int_equal(ks_gzip_stream_new(&g), KS_OK);
    uint64_t seed = 5;
    for (int i = 0; i < 300; i++) {
        char piece[5000];
        size_t n = (size_t)ks_rng_below(&seed, sizeof piece);
        fill(piece, n, seed, i % 2);
        ks_buf_add(&want, piece, n);
        assert_int_equal(ks_gzip_stream_write(g, ks_slice(piece, n), false, &packed), KS_OK);
    }
    assert_int_equal(ks_gzip_stream_write(g, ks_slice("", 0), true, &packed), KS_OK);
    ks_gzip_stream_free(g);
    assert_int_equal(ks_decompress(KS_ENC_GZIP, ks_buf_view(&packed), want.len, &out), KS_OK);
    assert_true(ks_slice_eq(ks_buf_view(&out), ks_buf_view(&want)));
    ks_buf_done(&packed);
    ks_buf_done(&out);
    ks_buf_done(&want);
}

static void test_names(void **state)
{
    assert_int_equal(ks_encoding_of(ks_slice_str("")), KS_ENC_NONE);
    assert_int_equal(ks_encoding_of(ks_slice_str(" GZIP ")), KS_ENC_GZIP);
    assert_int_equal(ks_encoding_of(ks_slice_str("br")), KS_ENC_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage_is_an_error),
        cmocka_unit_test(test_lies_allocate_nothing),
        cmocka_unit_test(test_several_gzip_members),
        cmocka_unit_test(test_gzip_stream),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
