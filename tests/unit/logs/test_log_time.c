#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/logs/log_time.h"

static void is(const char *text, int64_t want)
{
    int64_t ns = -1;
    if (!ks_log_time_parse(ks_slice_str(text), 42, &ns) || ns != want)
        fail_msg("%s: got %lld, want %lld", text, (long long)ns, (long long)want);
}

static void no(const char *text)
{
    int64_t ns;
    if (ks_log_time_parse(ks_slice_str(text), 42, &ns))
        fail_msg("%s: got %lld", text, (long long)ns);
}

static void test_now(void **state)
{
    is("", 42);
    is("0", 42);
    is("-", 42);
    is("0.0", 42);
}

static void test_unix(void **state)
{
    is("1718773640", 1718773640000000000);
    is("1718773640.5", 1718773640500000000);
    is("1718773640123", 1718773640123000000);
    is("1718773640123456", 1718773640123456000);
    is("1718773640123456789", 1718773640123456789);
    is("1718773640.123456789", 1718773640123456789);
    is("1.718773640123e12", 1718773640123000000);
    no("1.718773640123e9");
    is("1.71877364e9", 1718773640000000000);
    is("-1", -1000000000);
    no("1.718773640123e2");
    no("12x");
    no("1e400");
    no("99999999999999999999");
    no("1.9999999999999999999");
    no(".");
    no("1.");
    no("e5");
}

static void test_rfc3339(void **state)
{
    is("2024-06-18T23:37:20Z", 1718753840000000000);
    is("2024-06-18T23:37:20+08:00", 1718725040000000000);
    is("2024-06-18 23:37:20.123-05:30", 1718773640123000000);
    is("2024-06-18T23:37:20.123456789-0530", 1718773640123456789);
    is("2024-06-18T23:37:20.1Z", 1718753840100000000);
    is("1969-12-31T23:59:59Z", -1000000000);
    no("2024-06-18T23:37:20.1234567891Z");
    no("2024-06-18T23:37Z");
    no("2024-13-18T23:37:20Z");
    no("2024-06-31T23:37:20Z");
    no("2023-02-29T23:37:20Z");
    no("2024-06-18X23:37:20Z");
    no("2024-06-18T24:37:20Z");
    no("2024-06-18T23:37:20.Z");
    no("2024-06-18T23:37:20,5Z");
    no("2024-06-18T23:37:20+8");
    no("9999-06-18T23:37:20Z");
    no("2024-06-18T23:37:20ZZ");
}

static void test_local_zone(void **state)
{
    setenv("TZ", "Etc/GMT-3", 1); /* three hours east */
    tzset();
    is("2024-06-18T23:37:20", 1718753840000000000 - 3 * 3600 * 1000000000ll);
    is("2024-06-18T23:37:20.25", 1718753840250000000 - 3 * 3600 * 1000000000ll);
    setenv("TZ", "UTC", 1);
    tzset();
}

static void test_dates(void **state)
{
    int64_t ns;
    assert_true(ks_log_time_date(KS_SLICE_LIT("2024-06-18"), &ns));
    assert_int_equal(ns, 1718668800000000000);
    assert_false(ks_log_time_date(KS_SLICE_LIT("2024-06-1"), &ns));
    assert_false(ks_log_time_date(KS_SLICE_LIT("2024-00-18"), &ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now),     cmocka_unit_test(test_unix),
        cmocka_unit_test(test_rfc3339), cmocka_unit_test(test_local_zone),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
