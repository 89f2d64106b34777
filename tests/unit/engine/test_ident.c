/* Identities queries remember: one pointer per series while a generation lives, and selects that
 * stay right when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/ident.h"
#include "engine/parts.h"
#include "engine_util.h"
#include "sys/clock.h"
#include "sys/rand.h"

/* Of the series {name=text,what="test"}. */
static const struct ksi_ident *intern(struct ksi_idents *g, const char *text)
{
    struct ks_tenant t = {1, 2};
    struct ks_buf b;
    ks_buf_init(&b, 1 << 10);
    ks_buf_lp(&b, KS_SLICE_LIT("name"));
    ks_buf_lp(&b, ks_slice_str(text));
    ks_buf_lp(&b, KS_SLICE_LIT("what"));
    ks_buf_lp(&b, KS_SLICE_LIT("test"));
    struct ks_slice labels = ks_buf_view(&b);
    const struct ksi_ident *i = ksi_ident_intern(g, ks_series_fp(t, labels), t, labels);
    struct ks_buf back;
    ks_buf_init(&back, 1 << 10);
    if (i)
        ksi_ident_labels(g, i, &back);
    assert_true(!i || ks_slice_eq(ks_buf_view(&back), labels));
    ks_buf_done(&b);
    ks_buf_done(&back);
    return i;
}

static void test_generations(void **state)
{
    struct ksi_ident_cache c;
    char text[32];
    ksi_ident_cache_init(&c, 64 << 10);
    struct ksi_idents *g = ksi_idents_pin(&c);
    const struct ksi_ident *first = intern(g, "first");
    assert_non_null(first);
    assert_ptr_equal(intern(g, "first"), first);
    int n = 0;
    do /* until it is full */
        snprintf(text, sizeof text, "series %d", n++);
    while (intern(g, text));
    assert_in_range(n, 100, 10000);
    assert_null(intern(g, text)); /* and stays so */
    assert_ptr_equal(intern(g, "first"), first);
    struct ksi_idents *next = ksi_idents_pin(&c);
    assert_true(ksi_idents_no(next) > ksi_idents_no(g));
    assert_non_null(intern(next, text));
    assert_ptr_not_equal(intern(next, "first"), first);
    struct ks_buf b;
    ks_buf_init(&b, 1 << 10);
    ksi_ident_labels(g, first, &b); /* the old one lives while pinned */
    assert_true(ks_slice_is(ks_labels_get(ks_buf_view(&b), KS_SLICE_LIT("name")), "first"));
    ks_buf_done(&b);

    struct ksi_part part = {.series = 1000};
    struct ksi_rows *r = ksi_rows_of(next, &part);
    assert_non_null(r);
    assert_int_equal(ksi_rows_get(r, 999), 0);
    ksi_rows_put(r, next, 999, intern(next, text)->no);
    assert_ptr_equal(ksi_idents_at(next, ksi_rows_get(r, 999) - 1), intern(next, text));
    assert_int_equal(ksi_rows_get(r, 0), 0);
    assert_null(ksi_rows_of(g, &part)); /* not for an older generation */
    ksi_rows_unref(r);
    ksi_rows_unref(part.rows);
    ksi_idents_unpin(g);
    ksi_idents_unpin(next);
    ksi_ident_cache_done(&c);
}

/* --- against a model --- */

enum { NAMES = 300 };
struct model {
    int samples[NAMES]; /* in all; value = name */
    int64_t start;
};

static void series_name(char out[128], int i)
{
    snprintf(out, 128,
             "m%d{pod=\"p-%d\",filler=\"some text that makes labels as long as they are in life\"}",
             i % 7, i);
}

/* Every series once, with all its samples. */
static void check(struct ks_engine *e, const struct model *m)
{
    struct ks_matcher match = {KS_SLICE_LIT("pod"), KS_SLICE_LIT("p-.+"), KS_MATCH_RE};
    struct ks_selector sel = {&match, 1};
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {.tenants = &tenant,
                               .tenant_count = 1,
                               .selectors = &sel,
                               .selector_count = 1,
                               .min_ms = m->start - KS_MS_DAY,
                               .max_ms = m->start + KS_MS_DAY};
    struct ks_series_set *set;
    struct ks_samples s = {0};
    int seen[NAMES] = {0};
    assert_int_equal(ks_engine_select(e, &o, &set), KS_OK);
    for (size_t i = 0; i < ks_series_set_count(set); i++) {
        struct ks_slice labels;
        assert_int_equal(ks_series_set_labels(set, i, &labels), KS_OK);
        struct ks_slice pod = ks_labels_get(labels, KS_SLICE_LIT("pod"));
        int name = 0;
        for (size_t k = 2; k < pod.len; k++)
            name = name * 10 + pod.ptr[k] - '0';
        assert_in_range(name, 0, NAMES - 1);
        assert_int_equal(seen[name]++, 0);
        assert_int_equal(ks_series_read(set, i, o.min_ms, o.max_ms, &s), KS_OK);
        assert_int_equal(s.count, m->samples[name]);
        for (size_t k = 0; k < s.count; k++)
            assert_true(s.values[k] == name);
    }
    for (int i = 0; i < NAMES; i++)
        assert_int_equal(seen[i], m->samples[i] > 0);
    ks_samples_done(&s);
    ks_series_set_free(set);
}

/* Series come, go to parts, leave the head so that their ids serve others, and are asked for all
 * the time. */
static void churn(uint64_t budget_bytes, uint64_t seed)
{
    char *dir = t_mkdir(), name[128];
    struct ks_engine_opts o = {.dir = dir,
                               .no_background = true,
                               .min_free_disk_bytes = 1,
                               .wal_segment_bytes = 4 << 20,
                               .flush_interval_ms = 1,
                               .series_idle_ms = 1,
                               .identity_cache_bytes = budget_bytes};
    struct ks_engine *e;
    struct model *m = ks_zalloc(sizeof *m);
    struct tw w;
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    m->start = ks_now_ms() - KS_MS_HOUR;
    tw_init(&w);
    print_message("budget %llu seed %llu\n", (unsigned long long)budget_bytes,
                  (unsigned long long)seed);
    for (int round = 0; round < 40; round++) {
        int base = (int)ks_rng_below(&seed, NAMES), count = (int)ks_rng_below(&seed, 60);
        for (int i = 0; i < count; i++) {
            int n = (base + i) % NAMES;
            series_name(name, n);
            tw_add(&w, name, m->start + round * 1000, n);
            m->samples[n]++;
        }
        if (count)
            assert_int_equal(tw_write(&w, e, NULL), KS_OK);
        check(e, m);
        switch (ks_rng_below(&seed, 4)) {
        case 0:
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
            assert_int_equal(ks_engine_tick(e),
                             KS_OK); /* flushes, drops idle series, gives their ids again */
            break;
        case 1:
            assert_int_equal(ks_engine_merge(e, ""), KS_OK);
            break;
        default:
            break;
        }
        check(e, m);
    }
    tw_done(&w);
    ks_free(m);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_churn(void **state)
{
    uint64_t seed = (uint64_t)ks_now_ms();
    churn(1, seed);
    churn(20000, seed);
    churn(64 << 20, seed);
}

/* --- threads --- */

struct reader {
    struct ks_engine *e;
    int64_t start;
    _Atomic int *stop;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {.tenants = &tenant,
                               .tenant_count = 1,
                               .min_ms = r->start - KS_MS_DAY,
                               .max_ms = r->start + KS_MS_DAY};
    while (!atomic_load(r->stop)) {
        struct ks_series_set *set;
        if (ks_engine_select(r->e, &o, &set) != KS_OK)
            return "select failed";
        for (size_t i = 0; i < ks_series_set_count(set); i++) {
            struct ks_slice labels;
            if (ks_series_set_labels(set, i, &labels) != KS_OK ||
                !ks_labels_get(labels, KS_SLICE_LIT("filler")).len)
                return "labels are lost";
        }
        ks_series_set_free(set);
    }
    return NULL;
}

static void test_threads(void **state)
{
    char *dir = t_mkdir(), name[128];
    struct ks_engine_opts o = {.dir = dir,
                               .no_background = true,
                               .min_free_disk_bytes = 1,
                               .wal_segment_bytes = 4 << 20,
                               .flush_interval_ms = 1,
                               .series_idle_ms = 1,
                               .identity_cache_bytes = 20000};
    struct ks_engine *e;
    struct tw w;
    _Atomic int stop = 0;
    pthread_t threads[3];
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    struct reader r = {e, ks_now_ms() - KS_MS_HOUR, &stop};
    tw_init(&w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &r), 0);
    for (int round = 0; round < 15; round++) {
        for (int i = 0; i < 40; i++) {
            series_name(name, (round * 17 + i) % NAMES);
            tw_add(&w, name, r.start + round * 1000, 1);
        }
        assert_int_equal(tw_write(&w, e, NULL), KS_OK);
        assert_int_equal(round % 4 == 3 ? ks_engine_merge(e, "") : ks_engine_tick(e), KS_OK);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    tw_done(&w);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
