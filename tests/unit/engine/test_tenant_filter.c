/* Filters on vm_account_id and vm_project_id choose tenants; old snapshots go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/engine_priv.h"
#include "sys/clock.h"
#include "tests/support/engine_util.h"

static void put(struct ks_engine *e, uint32_t account, uint32_t project)
{
    struct tw w;
    struct ks_write_result r;
    tw_init(&w);
    tw_add(&w, "m{x=\"a\"}", ks_now_ms(), 1);
    w.batch.series[0].tenant = (struct ks_tenant){account, project};
    w.batch.series[0].raw_key.lo ^= ks_tenant_key(w.batch.series[0].tenant);
    assert_int_equal(tw_write(&w, e, &r), KS_OK);
    tw_done(&w);
}

static ks_err narrow(struct ks_engine *e, const char *const *texts, size_t n, struct ks_arena *a,
                     struct ks_select_opts *o)
{
    static struct ks_matcher room[4][8];
    static struct ks_selector sel[4];
    for (size_t i = 0; i < n; i++)
        sel[i] = t_selector(texts[i], room[i], 8);
    *o = (struct ks_select_opts){.selectors = sel, .selector_count = n, .max_ms = INT64_MAX};
    return ks_engine_narrow_tenants(e, o, a);
}

static void filters_choose_tenants(void **state)
{
    (void)state;
    char *dir = t_mkdir();
    struct ks_engine *e;
    struct ks_arena a;
    struct ks_select_opts o;
    struct ks_engine_opts opts = {.dir = dir, .no_background = true};
    assert_int_equal(ks_engine_open(&opts, &e), KS_OK);
    put(e, 1, 0);
    put(e, 1, 2);
    put(e, 7, 0);
    ks_arena_init(&a, 1 << 20);
    assert_int_equal(narrow(e, (const char *[]){"m{x=\"a\"}"}, 1, &a, &o), KS_OK);
    assert_null(o.tenants); /* nothing asked for: all */
    assert_int_equal(narrow(e, (const char *[]){"m{vm_account_id=\"1\"}"}, 1, &a, &o), KS_OK);
    assert_int_equal(o.tenant_count, 2);
    assert_int_equal(o.selectors[0].count, 1);
    struct ks_series_set *set;
    assert_int_equal(ks_engine_select(e, &o, &set), KS_OK);
    assert_int_equal(ks_series_set_count(set), 2);
    ks_series_set_free(set);
    assert_int_equal(
        narrow(e, (const char *[]){"m{vm_account_id=~\"1|7\",vm_project_id=\"0\"}"}, 1, &a, &o),
        KS_OK);
    assert_int_equal(o.tenant_count, 2);
    assert_int_equal(narrow(e, (const char *[]){"m{vm_account_id=\"8\"}"}, 1, &a, &o), KS_OK);
    assert_true(o.tenants && o.tenant_count == 0);
    /* Alternatives over other tenants: one question if all else is the same. */
    assert_int_equal(
        narrow(e, (const char *[]){"m{vm_account_id=\"7\"}", "m{vm_project_id=\"2\"}"}, 2, &a, &o),
        KS_OK);
    assert_int_equal(o.tenant_count, 2);
    assert_int_equal(narrow(e, (const char *[]){"m{vm_account_id=\"7\"}", "n"}, 2, &a, &o),
                     KS_EINVAL);
    ks_arena_done(&a);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static bool count_one(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return true;
}

static void old_snapshots_go(void **state)
{
    (void)state;
    char *dir = t_mkdir(), name[64];
    struct ks_engine *e;
    struct ks_engine_opts opts = {
        .dir = dir, .no_background = true, .snapshots_max_age_ms = 3 * 86400000LL};
    assert_int_equal(ks_engine_open(&opts, &e), KS_OK);
    assert_int_equal(ks_engine_snapshot_create(e, name), KS_OK);
    int n = 0;
    assert_int_equal(ksi_snapshots_expire(e, ks_now_ms() + 3 * 86400000LL - 60000), KS_OK);
    assert_int_equal(ks_engine_snapshot_list(e, count_one, &n), KS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(ksi_snapshots_expire(e, ks_now_ms() + 3 * 86400000LL + 60000), KS_OK);
    n = 0;
    assert_int_equal(ks_engine_snapshot_list(e, count_one, &n), KS_OK);
    assert_int_equal(n, 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_choose_tenants),
        cmocka_unit_test(old_snapshots_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
