/* Numbers, times and label sets as text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/cxx/charconv.h"
#include "base/labels.h"
#include "base/num.h"
#include "base/time.h"
#include "sys/rand.h"

static void check_text(double v, const char *want)
{
    char out[KS_F64_TEXT_MAX + 1];
    out[ks_f64_format(out, v)] = 0;
    assert_string_equal(out, want);
}

static void test_f64_format(void **state)
{
    check_text(0, "0");
    check_text(-0.0, "-0");
    check_text(1.5, "1.5");
    check_text(1e20, "100000000000000000000");
    check_text(1e21, "1e+21");
    check_text(0.0001, "0.0001");
    check_text(0.00001, "1e-05");
    check_text(123456789012345680., "123456789012345680");
    check_text(18446744073709551616., "18446744073709552000");
    check_text(-9007199254740994., "-9007199254740994");
    check_text(NAN, "NaN");
    check_text(-INFINITY, "-Inf");
}

static void test_f64_format_g(void **state)
{
    static const struct {
        double v;
        const char *want;
    } cases[] = {{0, "0"},           {-0.0, "-0"},        {0.9, "0.9"},
                 {123456, "123456"}, {1e6, "1e+06"},      {1234567, "1.234567e+06"},
                 {1e-4, "0.0001"},   {1.5e-5, "1.5e-05"}, {1e100, "1e+100"},
                 {-2.5, "-2.5"},     {INFINITY, "+Inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[KS_F64_TEXT_MAX + 1];
        out[ks_f64_format_g(out, cases[i].v)] = 0;
        assert_string_equal(out, cases[i].want);
    }
}

static void test_f64_round_trip(void **state)
{
    uint64_t seed = 42;
    for (int i = 0; i < 200000; i++) {
        double v = ks_f64_from_bits(ks_rng_next(&seed)), back;
        if (isnan(v))
            continue;
        char out[KS_F64_TEXT_MAX];
        size_t n = ks_f64_format(out, v);
        assert_true(ks_f64_parse(ks_slice(out, n), &back));
        assert_int_equal(ks_f64_bits(v), ks_f64_bits(back));
    }
}

/* The quick ways print what <charconv> prints. */
static void test_f64_shortest(void **state)
{
    static const double edges[] = {0.1,       0.3,         1e-4,           1.0000000000000002e-4,
                                   0.1 + 0.2, 999999.9999, 999999.9999995, 999999999999.999,
                                   1e12 + .5, 1e6 + 1e-3,  0.000999999999, 123456.123456789};
    uint64_t seed = 7;
    char got[KS_F64_TEXT_MAX], want[KS_F64_TEXT_MAX];
    for (int i = 0; i < 400000; i++) {
        double v;
        if (i < (int)(sizeof edges / sizeof *edges))
            v = edges[i];
        else if (i % 3 == 0)
            v = (double)(ks_rng_next(&seed) >> 12) / 4503599627370496. * pow(10, i % 17 - 4);
        else
            v = (double)(ks_rng_next(&seed) % 1000000000000000u) / pow(10, i % 12);
        v *= i % 5 ? 1 : -1;
        if (!(fabs(v) >= 1e-4 && fabs(v) < 9e15))
            continue;
        size_t n = ks_f64_format(got, v), m = ks_cxx_f64_shortest(want, sizeof want, v, 0);
        assert_int_equal(n, m);
        assert_memory_equal(got, want, n);
        assert_int_equal(ks_f64_format_fixed(got, v), m);
        assert_memory_equal(got, want, m);
    }
}

static void test_u64_format(void **state)
{
    char got[24], want[24];
    uint64_t power = 1;
    for (int i = 0; i < 20; i++, power *= 10)
        for (int k = -2; k <= 2; k++) {
            uint64_t v = power + (uint64_t)k;
            got[ks_u64_format(got, v)] = 0;
            snprintf(want, sizeof want, "%llu", (unsigned long long)v);
            assert_string_equal(got, want);
        }
    got[ks_i64_format(got, INT64_MIN)] = 0;
    assert_string_equal(got, "-9223372036854775808");
}

static void test_f64_parse_rejects(void **state)
{
    static const char *const bad[] = {"", "-", "1x", "0x10", " 1", "1 ", "e5", "--1", "1e", "infx"};
    double v;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ks_f64_parse(ks_slice_str(bad[i]), &v));
    assert_true(ks_f64_parse(KS_SLICE_LIT("1e999"), &v) && v == INFINITY);
    assert_true(ks_f64_parse(KS_SLICE_LIT("1e-999"), &v) && v == 0);
    assert_true(ks_f64_parse(KS_SLICE_LIT("+Inf"), &v) && v == INFINITY);
}

static void test_time_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t want;
    } cases[] = {
        {"1700000000", 1700000000000},
        {"1700000000.123", 1700000000123},
        {"1700000000123", 1700000000123},
        {"1700000000123456", 1700000000123},
        {"1700000000123456789", 1700000000123},
        {"1.7e9", 1700000000000},
        {"2024", 1704067200000},
        {"2024-05", 1714521600000},
        {"2024-05-01T10", 1714557600000},
        {"2024-05-01T10:00:00Z", 1714557600000},
        {"2024-05-01T10:00:00.5+02:00", 1714550400500},
        {"now", 5000000},
        {"now-1h", 1400000},
        {"-1h", 1400000},
        {"1h", 1400000},
        {"-5", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t got = -1;
        assert_int_equal(ks_time_parse_ms(ks_slice_str(cases[i].text), 5000000, &got), KS_OK);
        assert_int_equal(got, cases[i].want);
    }
    int64_t ms;
    assert_int_equal(ks_time_parse_ms(KS_SLICE_LIT("2024-13"), 0, &ms), KS_EINVAL);
    assert_int_equal(ks_time_parse_ms(KS_SLICE_LIT("abc"), 0, &ms), KS_EINVAL);
    assert_int_equal(ks_time_parse_ms(KS_SLICE_LIT(""), 0, &ms), KS_EINVAL);
}

static void test_durations(void **state)
{
    int64_t ms;
    assert_int_equal(ks_duration_parse_ms(KS_SLICE_LIT("1h30m"), &ms), KS_OK);
    assert_int_equal(ms, 5400000);
    assert_int_equal(ks_duration_parse_ms(KS_SLICE_LIT("0.5"), &ms), KS_OK);
    assert_int_equal(ms, 500);
    assert_int_equal(ks_retention_parse_ms(KS_SLICE_LIT("2"), &ms), KS_OK);
    assert_int_equal(ms, 62 * KS_MS_DAY);
    assert_int_equal(ks_retention_parse_ms(KS_SLICE_LIT("30d"), &ms), KS_OK);
    assert_int_equal(ms, 30 * KS_MS_DAY);
    assert_int_equal(ks_duration_parse_ms(KS_SLICE_LIT("5x"), &ms), KS_EINVAL);
    assert_int_equal(ks_duration_parse_ms(KS_SLICE_LIT("m"), &ms), KS_EINVAL);
}

static void test_labels_canonical(void **state)
{
    struct ks_label items[] = {
        {KS_SLICE_LIT("job"), KS_SLICE_LIT("a")},   {KS_SLICE_LIT("__name__"), KS_SLICE_LIT("up")},
        {KS_SLICE_LIT("empty"), KS_SLICE_LIT("")},  {KS_SLICE_LIT("job"), KS_SLICE_LIT("b")},
        {KS_SLICE_LIT("zone"), KS_SLICE_LIT("eu")},
    };
    struct ks_labels l = {items, 5, 5};
    ks_labels_canonicalise(&l);
    assert_int_equal(l.count, 3);
    struct ks_buf b;
    ks_buf_init(&b, 4096);
    ks_labels_encode(&l, &b);
    struct ks_slice bytes = ks_buf_view(&b);
    assert_true(ks_slice_is(ks_labels_get(bytes, KS_SLICE_LIT("job")), "b"));
    assert_true(ks_slice_is(ks_labels_get(bytes, KS_SLICE_LIT("empty")), ""));
    struct ks_arena arena;
    ks_arena_init(&arena, 1 << 20);
    struct ks_labels back;
    assert_int_equal(ks_labels_decode(bytes, &arena, &back), KS_OK);
    assert_int_equal(back.count, 3);
    for (size_t cut = 1; cut < bytes.len; cut++)
        (void)!ks_labels_decode(ks_slice(bytes.ptr, cut), &arena, &back);
    ks_arena_done(&arena);
    ks_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f64_format),       cmocka_unit_test(test_f64_format_g),
        cmocka_unit_test(test_f64_shortest),     cmocka_unit_test(test_u64_format),
        cmocka_unit_test(test_f64_round_trip),   cmocka_unit_test(test_f64_parse_rejects),
        cmocka_unit_test(test_time_forms),       cmocka_unit_test(test_durations),
        cmocka_unit_test(test_labels_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
