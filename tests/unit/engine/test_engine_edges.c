/* The engine where things are odd: files gone, ranges at the ends of time, readers beside
 * structural changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine_util.h"
#include "sys/clock.h"

static struct ks_engine *open_engine(const char *dir)
{
    struct ks_engine_opts o = t_opts(dir);
    return t_open(&o);
}

/* A data folder that lost its manifest is not taken for a new store: the start after would sweep
 * every part away. */
static void test_lost_manifest_is_refused(void **state)
{
    char *dir = t_mkdir(), from[4200], to[4200];
    int64_t t = ks_now_ms() - KS_MS_HOUR, ts[4];
    double v[4];
    struct ks_engine_opts o = t_opts(dir);
    struct ks_engine *e = open_engine(dir);
    assert_int_equal(tw_put(e, "a", t, 1), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    snprintf(from, sizeof from, "%s/MANIFEST", dir);
    snprintf(to, sizeof to, "%s/elsewhere", dir);
    assert_int_equal(rename(from, to), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(ks_engine_open(&o, &e), KS_ECORRUPT);
        assert_non_null(strstr(ks_err_text(), "MANIFEST"));
        assert_int_not_equal(access(from, F_OK), 0);
    }
    assert_int_equal(rename(to, from), 0);
    e = open_engine(dir);
    assert_int_equal(t_read(e, "a", t - 1, t + 1, ts, v, 4), 1);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

/* A word whose first series are silent counts for the sake of a later one; one whose series all are
 * silent does not. */
static void test_label_lists_without_counts(void **state)
{
    char *dir = t_mkdir(), series[64];
    int64_t now = ks_now_ms(), old = now - 5 * KS_MS_DAY;
    struct ks_engine *e = open_engine(dir);
    for (int i = 0; i < 8; i++) {
        snprintf(series, sizeof series, "a{job=\"x\",i=\"%d\"}", i);
        assert_int_equal(tw_put(e, series, i == 7 ? now : old, 1), KS_OK);
        snprintf(series, sizeof series, "b{job=\"y\",i=\"%d\",gone=\"1\"}", i);
        assert_int_equal(tw_put(e, series, old, 1), KS_OK);
    }
    struct ks_tenant tenant = {0, 0};
    for (int round = 0; round < 4; round++) {
        struct ks_select_opts o = {.tenants = &tenant,
                                   .tenant_count = 1,
                                   .min_ms = now - KS_MS_HOUR,
                                   .max_ms = now + KS_MS_HOUR,
                                   .no_counts = round & 1};
        struct t_words names = {""}, jobs = {""}, i = {""}, all = {""};
        assert_int_equal(ks_engine_label_names(e, &o, t_add_word, &names), KS_OK);
        assert_string_equal(names.text, "__name__ i job ");
        assert_int_equal(ks_engine_label_values(e, &o, KS_SLICE_LIT("job"), t_add_word, &jobs),
                         KS_OK);
        assert_string_equal(jobs.text, "x ");
        assert_int_equal(ks_engine_label_values(e, &o, KS_SLICE_LIT("i"), t_add_word, &i), KS_OK);
        assert_string_equal(i.text, "7 ");
        o.min_ms = old - KS_MS_HOUR;
        assert_int_equal(ks_engine_label_names(e, &o, t_add_word, &all), KS_OK);
        assert_string_equal(all.text, "__name__ gone i job ");
        if (round == 1)
            assert_int_equal(ks_engine_flush(e), KS_OK);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_ends_of_time(void **state)
{
    char *dir = t_mkdir();
    int64_t t = ks_now_ms() - KS_MS_HOUR, ts[4];
    double v[4];
    struct ks_engine *e = open_engine(dir);
    assert_int_equal(tw_put(e, "a{x=\"1\"}", t, 1), KS_OK);
    struct ks_tenant tenant = {0, 0};
    const int64_t bounds[][2] = {
        {INT64_MIN, INT64_MAX}, {0, INT64_MAX}, {t, INT64_MAX - 1}, {INT64_MIN + 1, t}};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            struct ks_select_opts o = {.tenants = &tenant,
                                       .tenant_count = 1,
                                       .min_ms = bounds[i][0],
                                       .max_ms = bounds[i][1]};
            struct t_words names = {""}, values = {""};
            assert_int_equal(ks_engine_label_names(e, &o, t_add_word, &names), KS_OK);
            assert_string_equal(names.text, "__name__ x ");
            assert_int_equal(ks_engine_label_values(e, &o, ks_slice_str("x"), t_add_word, &values),
                             KS_OK);
            assert_string_equal(values.text, "1 ");
            assert_int_equal(t_read(e, "a", bounds[i][0], bounds[i][1], ts, v, 4), 1);
        }
        assert_int_equal(ks_engine_flush(e), KS_OK);
    }
    struct ks_select_opts none = {
        .tenants = &tenant, .tenant_count = 1, .min_ms = INT64_MAX, .max_ms = INT64_MAX};
    struct t_words names = {""};
    assert_int_equal(ks_engine_label_names(e, &none, t_add_word, &names), KS_OK);
    assert_string_equal(names.text, "");
    none.min_ms = none.max_ms = INT64_MIN;
    assert_int_equal(ks_engine_label_names(e, &none, t_add_word, &names), KS_OK);
    assert_string_equal(names.text, "");
    /* Times nobody can mean are dropped and counted, never stored under another day. */
    const int64_t wild[] = {INT64_MIN, -1, INT64_MAX, INT64_MAX - 1};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(tw_put(e, "wild", wild[i], 1), KS_OK);
    assert_int_equal(t_read(e, "wild", INT64_MIN, INT64_MAX, ts, v, 4), 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_manifest_is_refused),
        cmocka_unit_test(test_label_lists_without_counts),
        cmocka_unit_test(test_ends_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
