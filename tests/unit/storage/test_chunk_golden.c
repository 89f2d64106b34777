/*
 * The format, frozen: these bytes must be written for these samples, and read back as them, for
 * ever (docs/format/ chunk.md walks through some). A failure here means the format changed: that
 * needs a new encoding number, not a new table. KS_GOLDEN_PRINT=1 prints the current bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "storage/codec/chunk.h"
#include "storage/codec/gorilla.h"
#include "tests/support/codec_shapes.h"

#define SAMPLES_MAX 64

struct golden {
    const char *name;
    uint8_t encoding;
    size_t n;
    uint64_t samples[SAMPLES_MAX]; /* raw bits */
    const char *hex;
};

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

static void print_hex(const char *name, unsigned encoding, const void *p, size_t len)
{
    if (!getenv("KS_GOLDEN_PRINT"))
        return;
    printf("%s %u ", name, encoding);
    for (size_t i = 0; i < len; i++)
        printf("%02x", ((const uint8_t *)p)[i]);
    printf("\n");
}

static void check_bytes(const char *name, const char *hex, const void *p, size_t len)
{
    uint8_t want[1024];
    size_t n = unhex(hex, want);
    if (n != len || memcmp(want, p, n) != 0)
        fail_msg("%s: the format changed", name);
}

static void fill(struct golden *g, const double *v, size_t n)
{
    memcpy(g->samples, v, n * sizeof *v);
    g->n = n;
}

#define VALUES(g, ...)                                                                             \
    fill((g), (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / 8)

static size_t make_values(struct golden *g)
{
    size_t k = 0;
    double stale = ks_stale_nan();
#define ADD(text, number, bytes, ...)                                                              \
    g[k] = (struct golden){.name = (text), .encoding = (number), .hex = (bytes)};                  \
    VALUES(&g[k], __VA_ARGS__);                                                                    \
    k++
#include "tests/unit/storage/golden/values.inc"
#undef ADD
    return k;
}

static void test_values(void **state)
{
    static struct golden cases[64];
    size_t count = make_values(cases);
    for (size_t k = 0; k < count; k++) {
        const struct golden *g = &cases[k];
        double got[SAMPLES_MAX];
        uint8_t encoding, bytes[1024];
        struct ks_buf b;
        ks_buf_init(&b, 1 << 16);
        assert_int_equal(ks_values_encode((const double *)g->samples, g->n, &b, &encoding), KS_OK);
        print_hex(g->name, encoding, b.ptr, b.len);
        assert_string_equal(ks_values_encoding_name(g->encoding), g->name);
        assert_int_equal(encoding, g->encoding);
        check_bytes(g->name, g->hex, b.ptr, b.len);
        size_t len = unhex(g->hex, bytes);
        assert_int_equal(ks_values_decode(ks_slice(bytes, len), g->encoding, g->n, got), KS_OK);
        assert_memory_equal(got, g->samples, g->n * 8);
        ks_buf_done(&b);
    }
}

struct golden_times {
    const char *name;
    uint8_t encoding;
    size_t n;
    int64_t ts[SAMPLES_MAX];
    const char *hex;
};

static const struct golden_times times[] = {
#include "tests/unit/storage/golden/times.inc"
};

static void test_times(void **state)
{
    for (size_t k = 0; k < sizeof times / sizeof *times; k++) {
        const struct golden_times *g = &times[k];
        int64_t got[SAMPLES_MAX];
        uint8_t encoding, bytes[1024];
        struct ks_buf b;
        ks_buf_init(&b, 1 << 16);
        assert_int_equal(ks_times_encode(g->ts, g->n, &b, &encoding), KS_OK);
        print_hex(g->name, encoding, b.ptr, b.len);
        assert_string_equal(ks_times_encoding_name(g->encoding), g->name);
        assert_int_equal(encoding, g->encoding);
        check_bytes(g->name, g->hex, b.ptr, b.len);
        size_t len = unhex(g->hex, bytes);
        assert_int_equal(ks_times_decode(ks_slice(bytes, len), g->encoding, g->n, got), KS_OK);
        assert_memory_equal(got, g->ts, g->n * 8);
        ks_buf_done(&b);
    }
}

static void test_open_chunk(void **state)
{
    static const char *const want[2] = {
#include "tests/unit/storage/golden/open.inc"
    };
    struct ks_gorilla g = {0};
    uint8_t buf[256], saved[KS_GORILLA_STATE_BYTES];
    static const double v[] = {1, 1, 1, 2, 2.5, 2.5, 0.1, 1, 1, 1, 1};
    static const int64_t step[] = {0,     15000, 15000, 15000, 15000, 15003,
                                   14997, 15000, 15000, 15000, 90000};
    int64_t t = 1700000000000;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        t += step[i];
        assert_true(ks_gorilla_append(&g, buf, sizeof buf, t, ks_f64_bits(v[i])));
    }
    ks_gorilla_save(&g, saved);
    print_hex("open", 0, buf, ks_gorilla_bytes(&g));
    print_hex("state", 0, saved, sizeof saved);
    check_bytes("open chunk", want[0], buf, ks_gorilla_bytes(&g));
    check_bytes("open chunk's state", want[1], saved, sizeof saved);
}

/*
 * One hash over all generated shapes: another CPU, compiler or build must give the same bytes. It
 * also covers which encoding is chosen. Choosing better keeps old data readable and may change this
 * hash alone; but replicas of different versions then cut different bytes from equal samples.
 */
static void test_same_bytes_everywhere(void **state)
{
    static double v[1000];
    static int64_t ts[1000];
    static const size_t lengths[] = {7, 120, 333, 1000};
    uint64_t hash = 0;
    struct ks_buf b;
    uint8_t encoding;
    ks_buf_init(&b, 1 << 20);
    for (int kind = 0; kind < SHAPE_COUNT; kind++)
        for (size_t k = 0; k < 4; k++) {
            ks_buf_reset(&b);
            shape_values(kind, 1, lengths[k], v);
            assert_int_equal(ks_values_encode(v, lengths[k], &b, &encoding), KS_OK);
            hash = ks_hash64_seed(b.ptr, b.len, hash + encoding);
        }
    for (int kind = 0; kind < TIMES_COUNT; kind++)
        for (size_t k = 0; k < 4; k++) {
            ks_buf_reset(&b);
            shape_times(kind, 1, lengths[k], ts);
            assert_int_equal(ks_times_encode(ts, lengths[k], &b, &encoding), KS_OK);
            hash = ks_hash64_seed(b.ptr, b.len, hash + encoding);
        }
    ks_buf_done(&b);
    print_hex("hash", 0, &hash, 8);
    static const char *const want =
#include "tests/unit/storage/golden/shapes.inc"
        ;
    check_bytes("shapes", want, &hash, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_open_chunk),
        cmocka_unit_test(test_same_bytes_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
