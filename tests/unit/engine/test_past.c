/* Notes of changes in the past: what is watched is found, in its slot; what is not costs nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine_priv.h"
#include "sys/clock.h"
#include "tests/support/engine_util.h"

static struct ks_engine *open_engine(char *dir)
{
    struct ks_engine *e;
    struct ks_engine_opts opts = {.dir = dir, .no_background = true, .wal_sync = KS_WAL_SYNC_OS};
    assert_int_equal(ks_engine_open(&opts, &e), KS_OK);
    return e;
}

static void writes_at_or_before_the_watch_are_noted(void **state)
{
    (void)state;
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir);
    int64_t now = ks_now_ms(), slot = KSI_PAST_SLOT_MS, hour = now - 3600000;
    assert_int_equal(tw_put(e, "m", hour - slot, 1), KS_OK); /* nobody watches */
    uint64_t v = ks_engine_past_watch(e, hour);
    assert_true(ks_engine_past_changed(e, v, 0, now) == INT64_MAX);
    assert_int_equal(tw_put(e, "m", hour + 1, 1), KS_OK);
    assert_true(ks_engine_past_changed(e, v, 0, now) == INT64_MAX);
    assert_int_equal(tw_put(e, "m", hour, 2), KS_OK);
    assert_true(ks_engine_past_changed(e, v, hour - 7200000, now) == hour / slot * slot);
    assert_true(ks_engine_past_changed(e, v, hour - 7200000, hour / slot * slot - 1) == INT64_MAX);
    assert_true(ks_engine_past_changed(e, v, hour / slot * slot + slot, now) == INT64_MAX);
    uint64_t later = ks_engine_past_watch(e, 0); /* a watch is never lowered */
    assert_true(ks_engine_past_changed(e, later, 0, now) == INT64_MAX);
    assert_int_equal(tw_put(e, "m", hour - 86400000, 2), KS_OK);
    assert_true(ks_engine_past_changed(e, later, hour - 2 * 86400000, now) < hour);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void a_delete_touches_everything(void **state)
{
    (void)state;
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir);
    int64_t now = ks_now_ms();
    uint64_t touched, v = ks_engine_past_watch(e, now);
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("m", room, 4);
    struct ks_select_opts o = {.selectors = &sel, .selector_count = 1};
    assert_int_equal(ks_engine_delete(e, &o, &touched), KS_OK);
    assert_true(ks_engine_past_changed(e, v, 0, 1) == INT64_MIN);
    assert_true(ks_engine_past_changed(e, ks_engine_past_watch(e, now), 0, now) == INT64_MAX);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void the_stable_range_begins_with_the_youngest_rule(void **state)
{
    (void)state;
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir);
    assert_true(ks_engine_stable_from_ms(e) == ks_engine_min_time_ms(e));
    assert_int_equal(ks_engine_close(e), KS_OK);
    struct ks_retention_rule keep = {.keep_ms = 3 * 86400000LL};
    struct ks_downsample_rule thin = {.after_ms = 2 * 86400000LL, .resolution_ms = 60000};
    struct ks_engine_opts opts = {.dir = dir,
                                  .no_background = true,
                                  .retention_rules = &keep,
                                  .retention_rule_count = 1,
                                  .downsample_rules = &thin,
                                  .downsample_rule_count = 1};
    assert_int_equal(ks_engine_open(&opts, &e), KS_OK);
    int64_t from = ks_engine_stable_from_ms(e), now = ks_now_ms();
    assert_true(from <= now - thin.after_ms && from > now - thin.after_ms - 60000);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_at_or_before_the_watch_are_noted),
        cmocka_unit_test(a_delete_touches_everything),
        cmocka_unit_test(the_stable_range_begins_with_the_youngest_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
