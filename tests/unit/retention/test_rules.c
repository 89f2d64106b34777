/* Rules by selector: the flags' texts, which rule applies, what thinning leaves, when a day is due.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine_util.h"
#include "index/matcher_compile.h"
#include "retention/rule_text.h"
#include "retention/rules.h"
#include "sys/rand.h"

static struct ks_matcher room[16][8];

static struct ks_retention_rule keep(int i, const char *sel, int64_t days)
{
    return (struct ks_retention_rule){t_selector(sel, room[i], 8), days * KS_MS_DAY};
}

static struct ks_downsample_rule thin(int i, unsigned filter, const char *sel, int64_t after_days,
                                      int64_t res_ms)
{
    return (struct ks_downsample_rule){t_selector(sel, room[i], 8), filter, after_days * KS_MS_DAY,
                                       res_ms};
}

static struct ks_verdict judge(const struct ks_rules *r, uint32_t account, const char *series)
{
    struct ks_matcher m[8];
    struct ks_selector sel = t_selector(series, m, 8);
    struct ks_labels l = {0};
    struct ks_label items[8];
    struct ks_buf b;
    struct ks_verdict v;
    l.items = items;
    for (size_t i = 0; i < sel.count; i++)
        items[l.count++] = (struct ks_label){sel.matchers[i].name, sel.matchers[i].value};
    ks_labels_canonicalise(&l);
    ks_buf_init(&b, 1 << 16);
    ks_labels_encode(&l, &b);
    ks_rules_judge(r, (struct ks_tenant){account, 3}, ks_buf_view(&b), &v);
    ks_buf_done(&b);
    return v;
}

static void test_smallest_retention(void **state)
{
    struct ks_retention_rule rules[] = {keep(0, "{team=\"juniors\"}", 3),
                                        keep(1, "{env=~\"dev|staging\"}", 30),
                                        keep(2, "{vm_account_id=\"5\",env=\"prod\"}", 2)};
    struct ks_rules *r;
    assert_int_equal(ks_rules_new(rules, 3, NULL, 0, 0, &r), KS_OK);
    assert_int_equal(judge(r, 0, "a{team=\"juniors\"}").keep_ms, 3 * KS_MS_DAY);
    assert_int_equal(judge(r, 0, "a{team=\"juniors\",env=\"dev\"}").keep_ms, 3 * KS_MS_DAY);
    assert_int_equal(judge(r, 0, "a{env=\"staging\"}").keep_ms, 30 * KS_MS_DAY);
    assert_true(judge(r, 0, "a{env=\"prod\"}").keep_ms == INT64_MAX);
    assert_int_equal(judge(r, 5, "a{env=\"prod\"}").keep_ms, 2 * KS_MS_DAY);
    assert_true(ks_rules_by_tenant(r));
    assert_int_equal(ks_rules_smallest_keep_ms(r), 2 * KS_MS_DAY);
    struct ks_verdict v = judge(r, 0, "a{x=\"1\"}");
    assert_true(ks_verdict_keep_from(&v, 100) == INT64_MIN);
    ks_rules_free(r);
    assert_int_equal(ks_rules_new(NULL, 0, NULL, 0, 0, &r), KS_OK);
    assert_null(r);
    assert_true(judge(NULL, 0, "a").keep_ms == INT64_MAX);
}

static void test_first_filter(void **state)
{
    struct ks_downsample_rule rules[] = {
        thin(0, 0, "{env=\"prod\"}", 0, 0), /* exempt */
        thin(1, 1, "{__name__=~\"node_.*\"}", 1, 60000),
        thin(2, 1, "{__name__=~\"node_.*\"}", 10, 600000),
        thin(3, 2, "", 30, 300000),
    };
    struct ks_rules *r;
    assert_int_equal(ks_rules_new(NULL, 0, rules, 4, 0, &r), KS_OK);
    assert_int_equal(judge(r, 0, "node_x{env=\"prod\"}").level_count, 0);
    assert_int_equal(judge(r, 0, "node_x").level_count, 2);
    assert_int_equal(judge(r, 0, "node_x").levels[1].resolution_ms, 600000);
    assert_int_equal(judge(r, 0, "other").level_count, 1);
    assert_int_equal(ks_rules_widest_ms(r), 600000);
    ks_rules_free(r);
    rules[2].resolution_ms = 90000; /* no multiple of a minute */
    assert_int_equal(ks_rules_new(NULL, 0, rules, 4, 0, &r), KS_EINVAL);
    rules[2].resolution_ms = 600000;
    assert_int_equal(ks_rules_new(NULL, 0, rules, 4, 45000, &r), KS_EINVAL);
    assert_int_equal(ks_rules_new(NULL, 0, rules, 4, 30000, &r), KS_OK);
    ks_rules_free(r);
}

/* Thinning against its definition, sample by sample. */
static void test_thin_model(void **state)
{
    static int64_t ts[3000], want[3000];
    static double v[3000];
    struct ks_downsample_rule rules[] = {thin(0, 0, "", 1, 60000), thin(1, 0, "", 3, 300000),
                                         thin(2, 0, "", 9, 4200000)};
    struct ks_rules *r;
    assert_int_equal(ks_rules_new(NULL, 0, rules, 3, 0, &r), KS_OK);
    struct ks_verdict x = judge(r, 0, "a");
    assert_int_equal(x.level_count, 3);
    for (uint64_t seed = 1; seed < 200; seed++) {
        uint64_t rng = seed;
        int64_t now = 100 * KS_MS_DAY + (int64_t)ks_rng_below(&rng, 86400000);
        int64_t t = now - 12 * KS_MS_DAY;
        size_t n = 0, kept = 0;
        while (t < now && n < 3000) {
            ts[n] = t;
            v[n++] = (double)t;
            t += 1 + (int64_t)ks_rng_below(&rng, ks_rng_below(&rng, 5) ? 60000 : 40000000);
        }
        for (size_t i = 0; i < n; i++) {
            bool last = true;
            for (size_t l = 0; l < 3; l++) {
                int64_t res = x.levels[l].resolution_ms, end = (ts[i] + res - 1) / res * res;
                /* A slot counts at a level when all of it is old enough. */
                if (end <= now - x.levels[l].after_ms && i + 1 < n && ts[i + 1] <= end)
                    last = false;
            }
            if (last)
                want[kept++] = ts[i];
        }
        size_t got = ks_verdict_thin(&x, now, ts, v, n);
        assert_int_equal(got, kept);
        for (size_t i = 0; i < got; i++)
            assert_true(ts[i] == want[i] && v[i] == (double)want[i]);
        assert_int_equal(ks_verdict_thin(&x, now, ts, v, got), got); /* idempotent */
    }
    ks_rules_free(r);
}

static void test_day_due(void **state)
{
    struct ks_downsample_rule rules[] = {thin(0, 0, "{a=\"b\"}", 30, 300000),
                                         thin(1, 0, "{a=\"b\"}", 180, 3600000)};
    struct ks_rules *r, *other;
    assert_int_equal(ks_rules_new(NULL, 0, rules, 2, 0, &r), KS_OK);
    struct ks_verdict v = judge(r, 0, "x{a=\"b\"}");
    int64_t day = 1000, end = 1001 * KS_MS_DAY;
    assert_int_equal(ks_rules_day_due(r, day, end + 30 * KS_MS_DAY - 1), 0);
    uint32_t first = ks_rules_day_due(r, day, end + 30 * KS_MS_DAY);
    assert_true(first != 0);
    assert_int_equal(ks_rules_day_due(r, day, end + 179 * KS_MS_DAY), first);
    uint32_t second = ks_rules_day_due(r, day, end + 180 * KS_MS_DAY);
    assert_true(second != 0 && second != first);
    assert_int_equal(ks_verdict_day_resolution(&v, day, end), 0);
    assert_int_equal(ks_verdict_day_resolution(&v, day, end + 31 * KS_MS_DAY), 300000);
    assert_int_equal(ks_verdict_day_resolution(&v, day, end + 181 * KS_MS_DAY), 3600000);
    rules[0].selector = rules[1].selector = t_selector("{a=\"c\"}", room[5], 8);
    assert_int_equal(ks_rules_new(NULL, 0, rules, 2, 0, &other), KS_OK);
    assert_true(ks_rules_day_due(other, day, end + 40 * KS_MS_DAY) != first);
    ks_rules_free(other);
    ks_rules_free(r);
}

static void test_texts(void **state)
{
    struct ks_slice f;
    int64_t a, b;
    assert_int_equal(ks_retention_text_parse(KS_SLICE_LIT("{team=\"x:{,}\"}:7d"), &f, &a), KS_OK);
    assert_true(ks_slice_is(f, "{team=\"x:{,}\"}") && a == 7 * KS_MS_DAY);
    assert_int_equal(ks_retention_text_parse(KS_SLICE_LIT("foo{a='\\'}'}:1"), &f, &a), KS_OK);
    assert_true(a == 31 * KS_MS_DAY);
    static const char *const bad[] = {"7d",          "{a=\"b\"}", "{a=\"b\"}:", "{a=\"b\"}:1m",
                                      "{a=\"b\"}:x", "",          "{a=\"b\":7d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(ks_retention_text_parse(ks_slice_str(bad[i]), &f, &a) != KS_OK);
    assert_int_equal(ks_downsample_text_parse(KS_SLICE_LIT("30d:5m"), &f, &a, &b), KS_OK);
    assert_true(f.len == 0 && a == 30 * KS_MS_DAY && b == 300000);
    assert_int_equal(ks_downsample_text_parse(KS_SLICE_LIT("{a=~\"b,c|d:e\"}:1d:30s"), &f, &a, &b),
                     KS_OK);
    assert_true(ks_slice_is(f, "{a=~\"b,c|d:e\"}") && a == KS_MS_DAY && b == 30000);
    assert_int_equal(ks_downsample_text_parse(KS_SLICE_LIT("{a=\"b\"}:0s:0s"), &f, &a, &b), KS_OK);
    static const char *const bad2[] = {"30d",           "30d:0s", "30d:5m:1h", "x:5m",
                                       "{a=\"b\"}:30d", "-1d:5m", "30d:-5m"};
    for (size_t i = 0; i < sizeof bad2 / sizeof *bad2; i++)
        assert_true(ks_downsample_text_parse(ks_slice_str(bad2[i]), &f, &a, &b) != KS_OK);
    assert_int_equal(ks_rule_text_item(KS_SLICE_LIT("{a=\"b,c\",d=\"e\"}:1d:5m,30d:1h")), 21);
    assert_int_equal(ks_rule_text_item(KS_SLICE_LIT("30d:1h")), 6);
}

static void test_allocation_failures(void **state)
{
    struct ks_retention_rule k[] = {keep(0, "{a=~\"x.*y\"}", 3),
                                    keep(1, "{b=~\"dev|staging\"}", 30)};
    struct ks_downsample_rule d[] = {thin(2, 0, "{c=\"d\"}", 1, 60000), thin(3, 1, "", 3, 60000)};
    struct ks_rules *r;
    for (uint64_t n = 1;; n++) {
        ks_regex_cache_clear();
        ks_mem_fail_after(n, 0);
        ks_err err = ks_rules_new(k, 2, d, 2, 0, &r);
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        if (err == KS_OK)
            ks_rules_free(r);
        if (!hit) {
            assert_int_equal(err, KS_OK);
            break;
        }
        assert_true(err == KS_OK || err == KS_ENOMEM);
    }
    ks_regex_cache_clear();
    k[0].selector = t_selector("{a=~\"(\"}", room[4], 8);
    assert_int_equal(ks_rules_new(k, 2, d, 2, 0, &r), KS_EPARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_retention),
        cmocka_unit_test(test_first_filter),
        cmocka_unit_test(test_thin_model),
        cmocka_unit_test(test_day_due),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
