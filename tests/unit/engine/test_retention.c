/* What ages out of the engine, on a frozen clock: the period, rules by selector, downsampling,
 * dedup, size and disk limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine_util.h"
#include "sys/clock.h"
#include "sys/simdisk.h"

enum { CAP = 50000 };
static int64_t got_ts[CAP], before_ts[CAP];
static double got_v[CAP], before_v[CAP];
static const int64_t T0 = 20000 * 86400000ll; /* a midnight */

static struct ks_engine *open_with(struct ks_engine_opts o)
{
    o.no_background = true;
    o.wal_segment_bytes = 1 << 20;
    o.flush_interval_ms = 1; /* with every tick */
    if (!o.retention_ms)
        o.retention_ms = 400 * KS_MS_DAY;
    if (!o.min_free_disk_bytes)
        o.min_free_disk_bytes = 1;
    return t_open(&o);
}

static void must_ok(ks_err err)
{
    if (err != KS_OK)
        print_error("%s\n", ks_err_text());
    assert_int_equal(err, KS_OK);
}

/* Samples of three series every 15 s over [from, to). */
static void fill(struct ks_engine *e, int64_t from, int64_t to)
{
    static const char *const names[] = {"m{team=\"a\"}", "m{team=\"b\"}", "m{team=\"c\"}"};
    struct tw w;
    tw_init(&w);
    for (int64_t t = from; t < to; t += 15000)
        for (int k = 0; k < 3; k++)
            tw_add(&w, names[k], t, (double)(t / 15000 % 1000) + k);
    must_ok(tw_write(&w, e, NULL));
    tw_done(&w);
}

static size_t read_all(struct ks_engine *e, const char *sel, int64_t from, int64_t to)
{
    return t_read(e, sel, from, to, got_ts, got_v, CAP);
}

static uint64_t part_samples(struct ks_engine *e)
{
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    return st.part_samples;
}

static uint64_t part_count(struct ks_engine *e)
{
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    return st.part_count;
}

/* Background work until nothing is left to do: what has been idle for an hour is written to parts,
 * parts left alone for an hour merge. */
static void ticks(struct ks_engine *e)
{
    int64_t now = ks_now_ms();
    ks_clock_freeze_ms(now - 2 * KS_MS_HOUR);
    for (int i = 0; i < 33; i++) {
        if (i < 3)
            usleep(3000);
        if (i == 3)
            ks_clock_freeze_ms(now);
        must_ok(ks_engine_tick(e));
    }
}

static void test_period(void **state)
{
    char *dir = t_mkdir();
    ks_clock_freeze_ms(T0 + 1);
    struct ks_engine *e =
        open_with((struct ks_engine_opts){.dir = dir, .retention_ms = 3 * KS_MS_DAY});
    for (int d = 0; d < 6; d++) {
        ks_clock_freeze_ms(T0 + d * KS_MS_DAY + KS_MS_HOUR);
        fill(e, T0 + d * KS_MS_DAY, T0 + d * KS_MS_DAY + KS_MS_HOUR);
        must_ok(ks_engine_flush(e));
        ticks(e);
    }
    ks_clock_freeze_ms(T0 + 5 * KS_MS_DAY + 5 * KS_MS_HOUR);
    ticks(e);
    int64_t oldest = ks_engine_min_time_ms(e);
    assert_int_equal(oldest, T0 + 2 * KS_MS_DAY);
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, T0 + 10 * KS_MS_DAY), 4 * 240);
    assert_int_equal(got_ts[0], oldest);
    assert_int_equal(part_samples(e), 4 * 240 * 3);
    ks_clock_freeze_ms(T0 + 100 * KS_MS_DAY);
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, T0 + 100 * KS_MS_DAY), 0);
    ticks(e);
    assert_int_equal(part_count(e), 0);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static void test_rules_by_selector(void **state)
{
    char *dir = t_mkdir();
    struct ks_matcher m1[4], m2[4];
    struct ks_retention_rule rules[] = {{t_selector("{team=\"a\"}", m1, 4), 2 * KS_MS_DAY},
                                        {t_selector("{team=~\"a|b\"}", m2, 4), 5 * KS_MS_DAY}};
    struct ks_engine_opts o = {.dir = dir, .retention_rules = rules, .retention_rule_count = 2};
    ks_clock_freeze_ms(T0 + KS_MS_DAY);
    struct ks_engine *e = open_with(o);
    fill(e, T0 + 6 * KS_MS_HOUR, T0 + 12 * KS_MS_HOUR);
    int64_t end = T0 + 2 * KS_MS_DAY;
    /* In the head and on disk alike: hidden at once, by the millisecond. */
    for (int round = 0; round < 2; round++) {
        ks_clock_freeze_ms(T0 + 9 * KS_MS_HOUR + 2 * KS_MS_DAY + 1);
        assert_int_equal(read_all(e, "m{team=\"a\"}", 0, end), 3 * 240 - 1);
        assert_int_equal(got_ts[0], T0 + 9 * KS_MS_HOUR + 15000);
        assert_int_equal(read_all(e, "m{team=\"b\"}", 0, end), 6 * 240);
        ks_clock_freeze_ms(T0 + 3 * KS_MS_DAY);
        assert_int_equal(t_count(e, "m{team=\"a\"}", 0, end), 0);
        assert_int_equal(t_count(e, "m", 0, end), 2);
        must_ok(ks_engine_flush(e));
        must_ok(ks_engine_close(e));
        e = open_with(o);
    }
    /* A third of the day's rows would go: the day is merged again, and only then is the space free.
     */
    ks_clock_freeze_ms(T0 + 4 * KS_MS_DAY);
    ticks(e);
    assert_int_equal(part_samples(e), 2 * 6 * 240);
    assert_int_equal(part_count(e), 1);
    ks_clock_freeze_ms(T0 + 6 * KS_MS_DAY);
    ticks(e);
    assert_int_equal(part_samples(e), 6 * 240);
    assert_int_equal(read_all(e, "m{team=\"c\"}", 0, end), 6 * 240);
    assert_int_equal(t_count(e, "m", 0, end), 1);
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    uint64_t merges = st.merges_total;
    ticks(e);
    ks_engine_get_stats(e, &st);
    assert_int_equal(st.merges_total, merges);
    must_ok(ks_engine_close(e));
    /* Without the rules what merges had not erased yet would show again; what they erased is gone.
     */
    o.retention_rule_count = 0;
    e = open_with(o);
    assert_int_equal(t_count(e, "m", 0, end), 1);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

/* Aggregates of chunks must not speak for hidden or thinned samples. */
static void test_chunks_do_not_speak(void **state)
{
    char *dir = t_mkdir();
    struct ks_matcher m1[4];
    struct ks_retention_rule rule = {t_selector("{team=\"a\"}", m1, 4), 2 * KS_MS_DAY};
    ks_clock_freeze_ms(T0 + KS_MS_DAY);
    struct ks_engine *e = open_with(
        (struct ks_engine_opts){.dir = dir, .retention_rules = &rule, .retention_rule_count = 1});
    fill(e, T0, T0 + 12 * KS_MS_HOUR);
    must_ok(ks_engine_flush(e));
    int64_t keep_from = T0 + 6 * KS_MS_HOUR + 7;
    ks_clock_freeze_ms(keep_from + 2 * KS_MS_DAY);
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("m{team=\"a\"}", room, 4);
    struct ks_select_opts so = {
        .selectors = &sel, .selector_count = 1, .min_ms = 0, .max_ms = T0 + KS_MS_DAY};
    struct ks_series_set *set;
    must_ok(ks_engine_select(e, &so, &set));
    assert_int_equal(ks_series_set_count(set), 1);
    for (size_t i = 0; i < ks_series_chunk_count(set, 0); i++) {
        struct ks_chunk_view c = ks_series_chunk(set, 0, i);
        assert_true(c.max_ms >= keep_from);
        assert_true(c.min_ms >= keep_from || c.overlaps);
    }
    ks_series_set_free(set);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static void test_downsampling(void **state)
{
    char *dir = t_mkdir();
    struct ks_matcher m1[4];
    struct ks_downsample_rule rules[] = {{t_selector("{team=\"c\"}", m1, 4), 0, 0, 0},
                                         {{NULL, 0}, 1, 10 * KS_MS_DAY, 300000},
                                         {{NULL, 0}, 1, 20 * KS_MS_DAY, 3600000}};
    struct ks_engine_opts o = {.dir = dir, .downsample_rules = rules, .downsample_rule_count = 3};
    int64_t end = T0 + 2 * KS_MS_DAY;
    ks_clock_freeze_ms(T0 + 2 * KS_MS_DAY);
    struct ks_engine *e = open_with(o);
    fill(e, T0, end);
    must_ok(ks_engine_flush(e));
    ks_clock_freeze_ms(T0 + 4 * KS_MS_DAY);
    ticks(e);
    assert_int_equal(part_count(e), 2);
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, end), 2 * 5760);
    assert_int_equal(part_samples(e), 3 * 2 * 5760);

    static const struct {
        int64_t days, slot_ms;
        uint64_t left; /* per thinned series */
    } steps[] = {{12, 300000, 577}, {23, 3600000, 49}, {60, 3600000, 49}};
    for (size_t i = 0; i < 3; i++) {
        ks_clock_freeze_ms(T0 + steps[i].days * KS_MS_DAY);
        size_t before = read_all(e, "m{team=\"a\"}", 0, end);
        memcpy(before_ts, got_ts, before * sizeof *before_ts);
        memcpy(before_v, got_v, before * sizeof *before_v);
        ticks(e);
        size_t n = read_all(e, "m{team=\"a\"}", 0, end);
        /* Reads are the same before and after the merge. */
        assert_int_equal(n, before);
        assert_memory_equal(got_ts, before_ts, n * sizeof *got_ts);
        assert_memory_equal(got_v, before_v, n * sizeof *got_v);
        assert_int_equal(n, steps[i].left);
        for (size_t k = 1; k < n; k++) {
            int64_t slot = (got_ts[k] + steps[i].slot_ms - 1) / steps[i].slot_ms;
            assert_true(slot > (got_ts[k - 1] + steps[i].slot_ms - 1) / steps[i].slot_ms);
            if (k + 1 < n)
                assert_int_equal(got_ts[k],
                                 slot * steps[i].slot_ms); /* samples lie on the slots' ends here */
        }
        /* A range that ends inside a slot does not invent a sample. */
        assert_int_equal(
            read_all(e, "m{team=\"a\"}", T0 + 3600001, T0 + 3600000 + steps[i].slot_ms - 1), 0);
        assert_int_equal(read_all(e, "m{team=\"c\"}", 0, end), 2 * 5760);
    }
    /* Each day's own last sample stays on disk besides the one at midnight. */
    assert_true(part_samples(e) <= 2 * 5760 + 2 * (49 + 2));
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    uint64_t merges = st.merges_total;
    must_ok(ks_engine_close(e));
    e = open_with(o);
    ticks(e);
    ks_engine_get_stats(e, &st);
    assert_int_equal(st.merges_total, 0); /* done is remembered over a restart */
    assert_true(merges > 0);
    /* A late raw sample in a thinned day is thinned on reads too. */
    must_ok(tw_put(e, "m{team=\"a\"}", T0 + 7 * KS_MS_HOUR - 30001, 5));
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, end), 49);
    must_ok(ks_engine_flush(e));
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, end), 49);
    must_ok(ks_engine_merge(e, ""));
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, end), 49);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static void test_dedup(void **state)
{
    char *dir = t_mkdir();
    ks_clock_freeze_ms(T0 + KS_MS_DAY);
    struct ks_engine *e =
        open_with((struct ks_engine_opts){.dir = dir, .dedup_interval_ms = 60000});
    fill(e, T0, T0 + KS_MS_HOUR);
    for (int round = 0; round < 2; round++) {
        size_t n = read_all(e, "m{team=\"b\"}", 0, T0 + KS_MS_DAY);
        assert_int_equal(n, 61); /* T0 itself ends a slot; the last one is not full */
        assert_int_equal(got_ts[1], T0 + 60000);
        ks_clock_freeze_ms(ks_now_ms() + 6 * KS_MS_HOUR);
        ticks(e);
        must_ok(ks_engine_merge(e, ""));
    }
    assert_int_equal(part_samples(e), 3 * 61);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static uint64_t active(struct ks_engine *e)
{
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    return st.active_series;
}

/* A series is idle when nothing has come for it, however old what came was. */
static void test_idle_by_arrival(void **state)
{
    char *dir = t_mkdir();
    int64_t now = T0 + KS_MS_DAY + 40 * 60000, old = T0;
    ks_clock_freeze_ms(now);
    struct ks_engine *e = open_with((struct ks_engine_opts){.dir = dir});
    fill(e, old, old + 20 * 60000);
    for (int i = 0; i < 6; i++) {
        ks_clock_freeze_ms(now += 20 * 60000);
        if (i < 3)
            must_ok(
                tw_put(e, "m{team=\"a\"}", old - 1 - i, 5)); /* late, and the last one still is */
        usleep(3000);
        must_ok(ks_engine_tick(e));
        assert_int_equal(active(e), i < 3 ? 3 : 1);
    }
    must_ok(tw_put(e, "n", now, 5)); /* flushes are for what the head holds */
    usleep(3000);
    must_ok(ks_engine_tick(e));
    assert_int_equal(active(e), 1);
    assert_int_equal(read_all(e, "m{team=\"a\"}", 0, now), 83);
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static void test_size_limit(void **state)
{
    char *dir = t_mkdir();
    ks_clock_freeze_ms(T0 + 10 * KS_MS_DAY);
    struct ks_engine *e = open_with((struct ks_engine_opts){.dir = dir});
    for (int d = 0; d < 6; d++)
        fill(e, T0 + d * KS_MS_DAY, T0 + d * KS_MS_DAY + KS_MS_HOUR);
    ticks(e);
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    uint64_t all = st.data_bytes + st.index_bytes;
    assert_int_equal(part_count(e), 6);
    must_ok(ks_engine_close(e));
    e = open_with((struct ks_engine_opts){.dir = dir, .max_disk_bytes = all / 2});
    must_ok(ks_engine_tick(e));
    assert_in_range(part_count(e), 2, 3);
    size_t n = read_all(e, "m{team=\"a\"}", 0, T0 + 10 * KS_MS_DAY);
    assert_int_equal(n, part_count(e) * 240);
    assert_int_equal(got_ts[n - 1], T0 + 5 * KS_MS_DAY + KS_MS_HOUR - 15000); /* the newest stay */
    must_ok(ks_engine_close(e));
    e = open_with((struct ks_engine_opts){.dir = dir, .max_disk_bytes = 1});
    must_ok(ks_engine_tick(e));
    assert_int_equal(part_count(e), 1); /* the newest day always stays */
    must_ok(ks_engine_close(e));
    t_rmdir(dir);
    ks_clock_freeze_ms(0);
}

static void test_free_disk(void **state)
{
    struct ks_simdisk *disk;
    ks_clock_freeze_ms(T0 + KS_MS_DAY);
    must_ok(ks_simdisk_new(&disk));
    ks_simdisk_limit(disk, 64 << 20);
    struct ks_engine_opts o = {
        .vfs = ks_simdisk_vfs(disk), .dir = "d", .min_free_disk_bytes = 1 << 20, .shards = 2};
    struct ks_engine *e = open_with(o);
    must_ok(tw_put(e, "x", T0, 1));
    must_ok(ks_engine_close(e));
    o.min_free_disk_bytes = 1 << 30; /* more than the disk has */
    e = open_with(o);
    must_ok(ks_engine_tick(e));
    assert_int_equal(tw_put(e, "x", T0 + 1000, 2), KS_EREADONLY);
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    assert_true(st.read_only);
    assert_int_equal(read_all(e, "x", T0, T0 + 1000), 1); /* reads go on */
    must_ok(ks_engine_close(e));
    o.min_free_disk_bytes = 1 << 20;
    e = open_with(o);
    must_ok(tw_put(e, "x", T0 + 1000, 2));
    must_ok(ks_engine_close(e));
    ks_simdisk_free(disk);
    ks_clock_freeze_ms(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_period),
        cmocka_unit_test(test_rules_by_selector),
        cmocka_unit_test(test_chunks_do_not_speak),
        cmocka_unit_test(test_downsampling),
        cmocka_unit_test(test_dedup),
        cmocka_unit_test(test_idle_by_arrival),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_free_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
