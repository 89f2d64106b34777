/* What texts mean: numbers, durations, sizes, addresses, times, their order and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/num.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/value_key.h"
#include "sys/rand.h"

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        double want;
    } cases[] = {
        {"1ms", 1e6},
        {"1µs", 1e3},
        {"5ns", 5},
        {"1h5m", 3900e9},
        {"1.5h", 5400e9},
        {"1y", 31536000e9},
        {"1w", 604800e9},
        {"1KB", 1000},
        {"1K", 1000},
        {"1Ki", 1024},
        {"1KiB", 1024},
        {"1B", 1},
        {"1KB500B", 1500},
        {"1KB5", 1005},
        {"1.5K", 1500},
        {"0x10", 16},
        {"1e3", 1000},
        {"1_000", 1000},
        {"01", 1},
        {"+1", 1},
        {"-1", -1},
        {"-5m", -300e9},
        {"-1KB", -1000},
        {".5", 0.5},
        {"5.", 5},
        {"inf", INFINITY},
        {"-inf", -INFINITY},
        {"0b11", 3},
        {"0o17", 15},
        {"017", 17},
        {"1TiB", 1099511627776.},
        {"12345678901234567890123", 12345678901234567890123.},
        {"18446744073709551615", 18446744073709551615.},
        {"9007199254740993", 9007199254740992},
        {"1_0.5_0", 10.5},
        {"-0.3", -0.3},
        {"9.916963", 9.916963},
        {"0.000000000000000001", 1e-18},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double v = NAN;
        if (!ks_lq_parse_number(ks_slice_str(cases[i].text), &v) || v != cases[i].want)
            fail_msg("%s: got %.17g, want %.17g", cases[i].text, v, cases[i].want);
    }
    static const char *const bad[] = {
        "",        "1kb", "1P",  "5m3",   "1e400",    "1h 5m", "1mb",
        "--1",     "-+1", "+-1", "1d-5h", "Infinity", "1.5.6", "٣",
        "1.2.3.4", "-",   ".",   "abc",   "0x",       "0xg",   "2024-01-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double v;
        if (ks_lq_parse_number(ks_slice_str(bad[i]), &v))
            fail_msg("%s is no number: %g", bad[i], v);
    }
}

static void test_any_number(void **state)
{
    double v;
    assert_true(ks_lq_parse_any_number(KS_SLICE_LIT("1.2.3.4"), &v) && v == 16909060);
    assert_true(ks_lq_parse_any_number(KS_SLICE_LIT("2024-01-01T00:00:00Z"), &v) &&
                v == 1704067200e9);
    assert_false(ks_lq_parse_any_number(KS_SLICE_LIT("2024-01-01"), &v));
}

static void check_duration(int64_t ns, const char *want)
{
    char out[64 + 1];
    out[ks_lq_duration_format(out, ns)] = 0;
    assert_string_equal(out, want);
}

static void test_durations(void **state)
{
    check_duration(0, "0");
    check_duration(1, "1ns");
    check_duration(1001, "1µs1ns");
    check_duration(1500000, "1ms500µs");
    check_duration(1000000000, "1s");
    check_duration(65000000001, "1m5.000000001s");
    check_duration(60005000000, "1m5ms");
    check_duration(90061001002003, "1d1h1m1.001002003s");
    check_duration(-1500000000, "-1.5s");
    check_duration(604800000000000, "1w");
    check_duration(INT64_MIN, "-15250w1d23h47m16.854775808s");
}

static void check_time(const char *text, int64_t want_ns, const char *back)
{
    int64_t ns = -1;
    char out[40 + 1];
    assert_true(ks_lq_parse_rfc3339(ks_slice_str(text), &ns));
    assert_int_equal(ns, want_ns);
    out[ks_lq_time_format(out, ns)] = 0;
    assert_string_equal(out, back);
}

static void test_times(void **state)
{
    int64_t ns;
    check_time("2024-01-01T00:00:00Z", 1704067200000000000, "2024-01-01T00:00:00Z");
    check_time("2024-06-02 11:35:41.123456789Z", 1717328141123456789,
               "2024-06-02T11:35:41.123456789Z");
    check_time("1915-08-01T12:24:18.877Z", -1717328141123000000, "1915-08-01T12:24:18.877Z");
    check_time("2024-01-01T00:00:00.100+01:30", 1704061800100000000, "2023-12-31T22:30:00.1Z");
    static const char *const bad[] = {"2024-01-01",           "2024-13-01T00:00:00Z",
                                      "2024-02-30T00:00:00Z", "2024-01-01T00:00:00.Z",
                                      "2024-01-01T24:00:00Z", "2024-01-01T00:00:00+1:00",
                                      "9999-01-01T00:00:00Z", "2024-01-01T00:00:00.1234567890Z"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ks_lq_parse_rfc3339(ks_slice_str(bad[i]), &ns));
    assert_true(ks_lq_parse_unix(KS_SLICE_LIT("1717328141.123456789"), &ns));
    assert_int_equal(ns, 1717328141123456789);
    assert_true(ks_lq_parse_unix(KS_SLICE_LIT("-1717328141.123"), &ns));
    assert_int_equal(ns, -1717328141123000000);
    assert_true(ks_lq_parse_unix(KS_SLICE_LIT("171732814112345"), &ns));
    assert_int_equal(ns, 171732814112345000);
    assert_true(ks_lq_parse_unix(KS_SLICE_LIT("1e9"), &ns));
    assert_int_equal(ns, 1000000000000000000);
    assert_false(ks_lq_parse_unix(KS_SLICE_LIT("12345678901234567890"), &ns));
    assert_false(ks_lq_parse_unix(KS_SLICE_LIT("5m"), &ns));
}

static void test_ipv4(void **state)
{
    uint32_t ip;
    char out[16 + 1];
    assert_true(ks_lq_parse_ipv4(KS_SLICE_LIT("255.0.10.1"), &ip));
    out[ks_lq_ipv4_format(out, ip)] = 0;
    assert_string_equal(out, "255.0.10.1");
    static const char *const bad[] = {"1.2.3",  "1.2.3.256", "1.2.3.4.5",
                                      "1.2.3.", "a.b.c.d",   "1.2.3.4 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ks_lq_parse_ipv4(ks_slice_str(bad[i]), &ip));
}

/* Each before the next. */
static void test_order(void **state)
{
    static const char *const order[] = {"",    "-5",    "-1.5",   "0.5",    "1",
                                        "2",   "10",    "1KiB",   "1ms",    "9223372036854775808",
                                        "abc", "host2", "host10", "host10a"};
    size_t n = sizeof order / sizeof *order;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            int c = ks_lq_compare(ks_slice_str(order[i]), ks_slice_str(order[j]));
            if ((c > 0) - (c < 0) != (i > j) - (i < j))
                fail_msg("%s and %s: %d", order[i], order[j], c);
        }
    assert_true(ks_lq_compare(KS_SLICE_LIT("2024-01-01T00:00:00+02:00"),
                              KS_SLICE_LIT("2023-12-31T23:00:00Z")) < 0);
    assert_int_equal(ks_lq_compare(KS_SLICE_LIT("1.0"), KS_SLICE_LIT("1")), 0);
    assert_true(ks_lq_natural_compare(KS_SLICE_LIT("a1"), KS_SLICE_LIT("a01")) < 0);
    assert_true(ks_lq_natural_compare(KS_SLICE_LIT("a1b"), KS_SLICE_LIT("a01a")) < 0);
    assert_true(ks_lq_natural_compare(KS_SLICE_LIT("a1"), KS_SLICE_LIT("a 1")) < 0);
}

/* Natural order of random texts is total: antisymmetric and transitive. */
static void test_natural_total(void **state)
{
    uint64_t rnd = 7;
    for (int round = 0; round < 20000; round++) {
        char text[3][6];
        struct ks_slice s[3];
        for (int i = 0; i < 3; i++) {
            size_t len = ks_rng_below(&rnd, 6);
            for (size_t k = 0; k < len; k++)
                text[i][k] = "0019ab"[ks_rng_below(&rnd, 6)];
            s[i] = ks_slice(text[i], len);
        }
        int ab = ks_lq_natural_compare(s[0], s[1]), bc = ks_lq_natural_compare(s[1], s[2]),
            ac = ks_lq_natural_compare(s[0], s[2]);
        assert_int_equal(ab, -ks_lq_natural_compare(s[1], s[0]));
        assert_int_equal(ab == 0, ks_slice_eq(s[0], s[1]));
        if (ab <= 0 && bc <= 0)
            assert_true(ac <= 0);
    }
}

static void test_json(void **state)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_lq_buf_json(&b, KS_SLICE_LIT("a\"b\\c\n\x01<'>\xc3\xa9\x7f\xff"));
    ks_buf_byte(&b, 0);
    assert_string_equal(b.ptr, "\"a\\\"b\\\\c\\n\\u0001\\u003c\\u0027>\xc3\xa9\x7f\xff\"");
    ks_buf_done(&b);
}

static void test_format_number(void **state)
{
    char out[KS_F64_TEXT_MAX + 1];
    out[ks_lq_f64_format(out, 1e21)] = 0;
    assert_string_equal(out, "1000000000000000000000");
    out[ks_lq_f64_format(out, 1e-7)] = 0;
    assert_string_equal(out, "0.0000001");
    out[ks_lq_f64_format(out, INFINITY)] = 0;
    assert_string_equal(out, "+Inf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_any_number),
        cmocka_unit_test(test_durations),     cmocka_unit_test(test_times),
        cmocka_unit_test(test_ipv4),          cmocka_unit_test(test_order),
        cmocka_unit_test(test_natural_total), cmocka_unit_test(test_json),
        cmocka_unit_test(test_format_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
