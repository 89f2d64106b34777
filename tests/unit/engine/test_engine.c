/* The engine on a real folder: what is written comes back, through flush, restart, crash, delete
 * and snapshot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "engine_util.h"
#include "sys/clock.h"
#include "sys/rand.h"

static struct ks_engine *open_engine(const char *dir)
{
    struct ks_engine_opts o = t_opts(dir);
    return t_open(&o);
}

/* What was asked of the head is asked of parts, then after a restart. */
static void next_round(struct ks_engine **e, const char *dir, int round)
{
    if (round == 0)
        assert_int_equal(ks_engine_flush(*e), KS_OK);
    if (round == 1) {
        assert_int_equal(ks_engine_close(*e), KS_OK);
        *e = open_engine(dir);
    }
}

#define CAP 20000
static int64_t got_ts[CAP];
static double got_v[CAP];

static void check_series(struct ks_engine *e, const char *sel, int64_t start, int64_t step,
                         size_t n, double base)
{
    size_t got = t_read(e, sel, start, start + step * (int64_t)n, got_ts, got_v, CAP);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got_ts[i], start + step * (int64_t)i);
        assert_true(got_v[i] == base + (double)i * 0.25);
    }
}

static void fill(struct ks_engine *e, int64_t start, int64_t step, size_t n)
{
    struct tw w;
    char name[64];
    tw_init(&w);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < 10; k++) {
            snprintf(name, sizeof name, "m%d{job=\"j\",instance=\"i%d\"}", k % 3, k);
            tw_add(&w, name, start + step * (int64_t)i, k * 1000 + (double)i * 0.25);
        }
        if (i % 50 == 49)
            assert_int_equal(tw_write(&w, e, NULL), KS_OK);
    }
    assert_int_equal(tw_write(&w, e, NULL), KS_OK);
    tw_done(&w);
}

static void check_all(struct ks_engine *e, int64_t start, int64_t step, size_t n)
{
    char sel[64];
    for (int k = 0; k < 10; k++) {
        snprintf(sel, sizeof sel, "m%d{instance=\"i%d\"}", k % 3, k);
        check_series(e, sel, start, step, n, k * 1000);
    }
}

static void test_write_flush_reopen(void **state)
{
    char *dir = t_mkdir();
    int64_t start = ks_now_ms() - 30 * KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    fill(e, start, 15000, 3000);
    check_all(e, start, 15000, 3000);
    assert_int_equal(ks_engine_flush(e), KS_OK);
    check_all(e, start, 15000, 3000);
    struct ks_engine_stats st;
    ks_engine_get_stats(e, &st);
    assert_true(st.part_count >= 1 && st.part_samples > 10000 && st.active_series == 10);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = open_engine(dir);
    check_all(e, start, 15000, 3000);
    fill(e, start + 3000 * 15000, 15000, 500);
    assert_int_equal(
        t_read(e, "m0{instance=\"i0\"}", start, start + 3500 * 15000, got_ts, got_v, CAP), 3500);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_late_and_duplicate(void **state)
{
    char *dir = t_mkdir();
    int64_t t = ks_now_ms() / 60000 * 60000 - KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t + 2000, 3), KS_OK);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t, 1), KS_OK);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t + 1000, 2), KS_OK);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t + 2000, 3), KS_OK);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t + 2000, 7), KS_OK);              /* larger wins */
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t + 1000, ks_stale_nan()), KS_OK); /* stale loses */
    for (int round = 0; round < 3; round++) {
        assert_int_equal(t_read(e, "a", t, t + 5000, got_ts, got_v, CAP), 3);
        assert_true(got_v[0] == 1 && got_v[1] == 2 && got_v[2] == 7);
        assert_int_equal(t_read(e, "a", t + 1, t + 1999, got_ts, got_v, CAP), 1);
        next_round(&e, dir, round);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_values_exact(void **state)
{
    char *dir = t_mkdir();
    int64_t t = ks_now_ms() - KS_MS_HOUR * 20;
    struct ks_engine *e = open_engine(dir);
    uint64_t seed = 7, want[1500];
    struct tw w;
    tw_init(&w);
    for (int i = 0; i < 1500; i++) {
        want[i] = ks_rng_next(&seed);
        if (i % 7 == 0)
            want[i] = KS_STALE_NAN_BITS;
        tw_add(&w, "x", t + i * 15000, ks_f64_from_bits(want[i]));
    }
    assert_int_equal(tw_write(&w, e, NULL), KS_OK);
    tw_done(&w);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(t_read(e, "x", t, t + 1500 * 15000, got_ts, got_v, CAP), 1500);
        for (int i = 0; i < 1500; i++)
            assert_true(ks_f64_bits(got_v[i]) == want[i]);
        next_round(&e, dir, round);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

/* One series longer than a log frame, behind others that filled half of one. */
static void test_long_series(void **state)
{
    enum { N = 400000 };
    char *dir = t_mkdir();
    int64_t t = ks_now_ms() - 40 * KS_MS_DAY;
    struct ks_engine *e = open_engine(dir);
    static int64_t ts[N];
    static double v[N];
    uint64_t seed = 3;
    struct tw w;
    tw_init(&w);
    for (int i = 0; i < 60000; i++)
        tw_add(&w, "before", t + i, (double)i);
    tw_add(&w, "long", t, 0);
    assert_int_equal(ks_write_batch_reserve(&w.batch, 0, N), KS_OK);
    w.batch.series[w.batch.series_count - 1].sample_count = N;
    w.batch.sample_count--;
    for (int i = 0; i < N; i++)
        w.batch.samples[w.batch.sample_count++] =
            (struct ks_write_sample){t + (int64_t)i * 7919, (double)(ks_rng_next(&seed) >> 12)};
    struct ks_write_result r;
    assert_int_equal(tw_write(&w, e, &r), KS_OK);
    assert_int_equal(r.stored, 60000 + N);
    tw_done(&w);
    for (int round = 0; round < 2; round++) {
        seed = 3;
        assert_int_equal(t_read(e, "long", t, ks_now_ms(), ts, v, N), N);
        for (int i = 0; i < N; i++)
            assert_true(ts[i] == t + (int64_t)i * 7919 &&
                        v[i] == (double)(ks_rng_next(&seed) >> 12));
        assert_int_equal(ks_engine_close(e), KS_OK);
        e = open_engine(dir);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_retention_bounds(void **state)
{
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir);
    struct tw w;
    struct ks_write_result r;
    int64_t now = ks_now_ms();
    tw_init(&w);
    tw_add(&w, "a", now - 102 * KS_MS_DAY, 1);
    tw_add(&w, "a", now + 3 * KS_MS_DAY, 1);
    tw_add(&w, "a", now, 1);
    assert_int_equal(tw_write(&w, e, &r), KS_OK);
    assert_int_equal(r.too_old, 1);
    assert_int_equal(r.too_new, 1);
    assert_int_equal(r.stored, 1);
    tw_done(&w);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_delete(void **state)
{
    char *dir = t_mkdir();
    int64_t start = ks_now_ms() - 10 * KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    fill(e, start, 15000, 1000);
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("m1", room, 4);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {
        .tenants = &tenant, .tenant_count = 1, .selectors = &sel, .selector_count = 1};
    uint64_t touched = 0;
    assert_int_equal(ks_engine_delete(e, &o, &touched), KS_OK);
    assert_int_equal(touched, 3);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(t_count(e, "m1", start, start + 15000 * 1000), 0);
        assert_int_equal(t_count(e, "m0", start, start + 15000 * 1000), 4);
        assert_int_equal(ks_engine_close(e), KS_OK);
        e = open_engine(dir);
    }
    assert_int_equal(tw_put(e, "m1{job=\"j\",instance=\"i1\"}", start + 1000 * 15000, 5), KS_OK);
    assert_int_equal(t_read(e, "m1", start, start + 15000 * 1001, got_ts, got_v, CAP), 1);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_snapshot(void **state)
{
    char *dir = t_mkdir(), name[64], path[4096];
    int64_t start = ks_now_ms() - 10 * KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    fill(e, start, 15000, 700);
    assert_int_equal(ks_engine_snapshot_create(e, name), KS_OK);
    fill(e, start + 700 * 15000, 15000, 100);
    snprintf(path, sizeof path, "%s/snapshots/%s", dir, name);
    struct ks_engine *copy = open_engine(path);
    check_all(copy, start, 15000, 700);
    assert_int_equal(
        t_read(copy, "m0{instance=\"i0\"}", start, start + 900 * 15000, got_ts, got_v, CAP), 700);
    assert_int_equal(ks_engine_close(copy), KS_OK);
    assert_int_equal(ks_engine_snapshot_delete(e, "../x"), KS_ENOTFOUND);
    assert_int_equal(ks_engine_snapshot_delete(e, name), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_second_open_refused(void **state)
{
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir), *other;
    struct ks_engine_opts o = {.dir = dir, .no_background = true};
    assert_int_equal(ks_engine_open(&o, &other), KS_EBUSY);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_label_lists(void **state)
{
    char *dir = t_mkdir();
    int64_t start = ks_now_ms() - 10 * KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    fill(e, start, 15000, 700);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {
        .tenants = &tenant, .tenant_count = 1, .min_ms = start, .max_ms = ks_now_ms()};
    for (int round = 0; round < 4; round++) {
        struct t_words c = {""};
        o.no_counts = round & 1;
        assert_int_equal(ks_engine_label_names(e, &o, t_add_word, &c), KS_OK);
        assert_string_equal(c.text, "__name__ instance job ");
        struct t_words v = {""};
        assert_int_equal(ks_engine_label_values(e, &o, KS_NAME_LABEL, t_add_word, &v), KS_OK);
        assert_string_equal(v.text, "m0 m1 m2 ");
        if (round & 1)
            assert_int_equal(ks_engine_flush(e), KS_OK);
    }
    struct ks_select_opts old = {.tenants = &tenant,
                                 .tenant_count = 1,
                                 .min_ms = start - 50 * KS_MS_DAY,
                                 .max_ms = start - 40 * KS_MS_DAY};
    struct t_words none = {""};
    assert_int_equal(ks_engine_label_names(e, &old, t_add_word, &none), KS_OK);
    assert_string_equal(none.text, "");
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_flush_reopen),
        cmocka_unit_test(test_late_and_duplicate),
        cmocka_unit_test(test_values_exact),
        cmocka_unit_test(test_retention_bounds),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_second_open_refused),
        cmocka_unit_test(test_label_lists),
        cmocka_unit_test(test_long_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
