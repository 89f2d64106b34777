/* Days of times, at the ends of what 64 bits hold too: stored bytes may say anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/time.h"

static void days_round_down(void **state)
{
    static const struct {
        int64_t ms, day, start;
    } t[] = {
        {0, 0, 0},
        {KS_MS_DAY - 1, 0, 0},
        {KS_MS_DAY, 1, KS_MS_DAY},
        {-1, -1, -KS_MS_DAY},
        {-KS_MS_DAY, -1, -KS_MS_DAY},
        {-KS_MS_DAY - 1, -2, -2 * KS_MS_DAY},
        {INT64_MAX, INT64_MAX / KS_MS_DAY, INT64_MAX / KS_MS_DAY * KS_MS_DAY},
        {INT64_MIN, INT64_MIN / KS_MS_DAY - 1, INT64_MIN},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(ks_day_of_ms(t[i].ms), t[i].day);
        assert_int_equal(ks_day_start_ms(t[i].ms), t[i].start);
    }
}

static void civil_dates_come_back(void **state)
{
    for (int64_t day = -800000; day <= 800000; day += 13) {
        int64_t y;
        unsigned m, d;
        ks_civil_from_days(day, &y, &m, &d);
        assert_int_equal(ks_days_from_civil(y, m, d), day);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(days_round_down),
                                       cmocka_unit_test(civil_dates_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
