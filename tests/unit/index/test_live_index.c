/* The live index against the naive model: adding, removing, re-adding, selecting, names and values;
 * failures; threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "index/live_index.h"
#include "index/matcher_compile.h"
#include "sys/rand.h"
#include "tests/support/index_model.h"

enum { SIDS = 600 };

static void add_some(struct ks_live_index *x, struct kst_model *m, uint64_t *seed, size_t max)
{
    struct ks_live_add adds[64];
    size_t n = 0, want = 1 + ks_rng_below(seed, max < 64 ? max : 64);
    uint32_t sid = (uint32_t)ks_rng_below(seed, SIDS);
    while (n < want) {
        sid = ks_rng_below(seed, 4) ? (sid + 1) % SIDS : (uint32_t)ks_rng_below(seed, SIDS);
        struct kst_series *s = &m->v[sid];
        if (s->used) {
            want--;
            continue;
        }
        s->used = true;
        ks_buf_reset(&s->labels);
        s->tenant = kst_random_tenant(seed);
        kst_random_labels(seed, &s->labels);
        adds[n++] = (struct ks_live_add){sid, s->tenant, ks_buf_view(&s->labels)};
    }
    assert_int_equal(ks_live_index_add(x, adds, n), KS_OK);
}

static void remove_some(struct ks_live_index *x, struct kst_model *m, uint64_t *seed, size_t max)
{
    uint32_t sids[64];
    size_t n = 0;
    for (size_t i = 0; i < (max < 64 ? max : 64); i++) {
        uint32_t sid = (uint32_t)ks_rng_below(seed, SIDS);
        if (m->v[sid].used)
            sids[n++] = sid;
        m->v[sid].used = false;
    }
    assert_int_equal(ks_live_index_remove(x, sids, n), KS_OK);
}

static void check_series(struct ks_live_index *x, const struct kst_model *m)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    for (uint32_t sid = 0; sid < SIDS; sid++) {
        struct ks_tenant t = {9, 9};
        ks_buf_reset(&b);
        ks_err err = ks_live_index_labels(x, sid, &b, &t);
        if (!m->v[sid].used) {
            assert_int_equal(err, KS_ENOTFOUND);
            continue;
        }
        assert_int_equal(err, KS_OK);
        struct ks_slice want = ks_buf_view(&m->v[sid].labels);
        assert_true(ks_slice_eq(ks_buf_view(&b), want));
        assert_true(ks_tenant_eq(t, m->v[sid].tenant));
        assert_true(ks_live_index_equals(x, sid, t, want));
        assert_false(ks_live_index_equals(x, sid, (struct ks_tenant){9, 9}, want));
        const struct kst_series *other = &m->v[(sid + 1) % SIDS];
        assert_int_equal(ks_live_index_equals(x, sid, t, ks_buf_view(&other->labels)),
                         ks_slice_eq(want, ks_buf_view(&other->labels)));
    }
    ks_buf_done(&b);
}

static void check_question(struct ks_live_index *x, const struct kst_model *m, uint64_t *seed)
{
    struct kst_question q;
    kst_random_question(seed, &q);
    struct ks_tenant t = kst_random_tenant(seed);
    roaring_bitmap_t *got, *want = kst_model_select(m, t, q.selectors, q.count);
    assert_int_equal(ks_live_index_select(x, t, q.selectors, q.count, &got), KS_OK);
    if (!roaring_bitmap_equals(got, want)) {
        kst_question_print(&q);
        fail();
    }
    for (size_t s = 0; s < q.count; s++) {
        struct ks_cselector c;
        assert_int_equal(ks_cselector_compile(&q.selectors[s], &c), KS_OK);
        for (size_t i = 0; i < m->count; i += 37)
            assert_int_equal(ks_cselector_match(&c, ks_buf_view(&m->v[i].labels)),
                             kst_matches(&q.selectors[s], ks_buf_view(&m->v[i].labels)));
        ks_cselector_done(&c);
    }
    roaring_bitmap_free(got);
    roaring_bitmap_free(want);
}

/* The same words without counts, each once and with series that carry it. */
static void check_words(struct ks_live_index *x, const struct kst_heard *h)
{
    struct ks_live_words w;
    assert_int_equal(ks_live_index_words(x, h->tenant, h->name.len ? &h->name : NULL, h->rows, &w),
                     KS_OK);
    uint64_t sure = 0;
    for (size_t i = 0; i < w.count; i++) {
        struct ks_slice text = ks_live_word_text(&w, i);
        uint64_t n = h->name.len ? kst_model_count(h->m, h->tenant, h->rows, h->name, &text)
                                 : kst_model_count(h->m, h->tenant, h->rows, text, NULL);
        sure += n > 0;
        assert_true(n > 0 || (!h->rows && w.v[i].more && !w.v[i].sid_count));
        roaring_bitmap_t *few = roaring_bitmap_of_ptr(w.v[i].sid_count, w.v[i].sids);
        assert_int_equal(h->name.len ? kst_model_count(h->m, h->tenant, few, h->name, &text)
                                     : kst_model_count(h->m, h->tenant, few, text, NULL),
                         w.v[i].sid_count);
        roaring_bitmap_free(few);
        assert_true(h->rows || w.v[i].sid_count || w.v[i].more);
        for (size_t k = 0; k < i; k++)
            assert_false(ks_slice_eq(text, ks_live_word_text(&w, k)));
    }
    assert_int_equal(sure, h->calls);
    ks_live_words_done(&w);
}

static void check_names(struct ks_live_index *x, const struct kst_model *m, uint64_t *seed)
{
    struct ks_tenant t = kst_random_tenant(seed);
    struct kst_question q;
    kst_random_question(seed, &q);
    roaring_bitmap_t *rows =
        ks_rng_below(seed, 2) ? kst_model_select(m, t, q.selectors, q.count) : NULL;
    static const char *const asked[] = {"__name__", "pod", "le", "x", "none"};
    uint64_t total = 0;
    struct kst_heard h = {.m = m, .tenant = t, .rows = rows};
    assert_int_equal(ks_live_index_label_names(x, t, rows, kst_on_label, &h), KS_OK);
    check_words(x, &h);
    for (size_t i = 0; i < 5; i++) {
        struct kst_heard v = {.m = m, .tenant = t, .rows = rows, .name = ks_slice_str(asked[i])};
        assert_int_equal(ks_live_index_label_values(x, t, v.name, rows, kst_on_label, &v), KS_OK);
        check_words(x, &v);
        assert_int_equal(v.sum, kst_model_count(m, t, rows, v.name, NULL));
        total += v.sum;
    }
    assert_true(h.sum >= total);
    if (rows)
        roaring_bitmap_free(rows);
}

static void test_against_model(void **state)
{
    for (uint64_t run = 1; run <= 12; run++) {
        uint64_t seed = run;
        struct ks_live_index *x;
        struct kst_model m;
        assert_int_equal(ks_live_index_new(&x), KS_OK);
        kst_model_init(&m, SIDS);
        for (int step = 0; step < 60; step++) {
            size_t max = 1 + ks_rng_below(&seed, 64);
            if (ks_rng_below(&seed, 3))
                add_some(x, &m, &seed, max);
            else
                remove_some(x, &m, &seed, max);
            if (step % 20 == 19)
                check_series(x, &m);
            for (int i = 0; i < 3; i++)
                check_question(x, &m, &seed);
            check_names(x, &m, &seed);
        }
        /* Nothing stays of what is removed. */
        for (uint32_t sid = 0; sid < SIDS; sid++)
            if (m.v[sid].used)
                assert_int_equal(ks_live_index_remove(x, &sid, 1), KS_OK);
        struct ks_live_index_stats st;
        ks_live_index_get_stats(x, &st);
        assert_int_equal(st.series + st.pairs + st.names, 0);
        kst_model_done(&m);
        ks_live_index_free(x);
    }
}

static void test_refusals(void **state)
{
    struct ks_live_index *x;
    assert_int_equal(ks_live_index_new(&x), KS_OK);
    struct ks_live_add a = {5, {0, 0}, KS_SLICE_LIT("\1a\1b")};
    assert_int_equal(ks_live_index_add(x, &a, 1), KS_OK);
    assert_int_equal(ks_live_index_add(x, &a, 1), KS_EEXIST);
    static const struct ks_slice bad[] = {KS_SLICE_LIT("\1a"), KS_SLICE_LIT("\1a\0"),
                                          KS_SLICE_LIT("\0\1b"), KS_SLICE_LIT("\1b\1b\1a\1a"),
                                          KS_SLICE_LIT("\1a\1a\1a\1b")};
    for (size_t i = 0; i < 5; i++) {
        struct ks_live_add two[] = {{6, {1, 1}, KS_SLICE_LIT("\1c\1d")}, {7, {0, 0}, bad[i]}};
        assert_int_equal(ks_live_index_add(x, two, 2), KS_EINVAL);
    }
    struct ks_live_index_stats st;
    ks_live_index_get_stats(x, &st);
    assert_int_equal(st.series, 1);
    assert_int_equal(st.pairs, 1);
    uint32_t gone[] = {5, 6};
    assert_int_equal(ks_live_index_remove(x, gone, 2), KS_ENOTFOUND);
    assert_int_equal(ks_live_index_remove(x, gone, 1), KS_OK);
    struct ks_matcher m = {KS_SLICE_LIT("a"), KS_SLICE_LIT("("), KS_MATCH_RE};
    struct ks_selector s = {&m, 1};
    roaring_bitmap_t *rows;
    assert_int_equal(ks_live_index_select(x, a.tenant, &s, 1, &rows), KS_EPARSE);
    ks_live_index_free(x);
}

/* Every allocation of adding, removing and asking fails once: a clean error, and the index is as
 * before. */
static void test_allocation_failures(void **state)
{
    uint64_t seed = 99;
    struct kst_model m;
    kst_model_init(&m, SIDS);
    struct ks_live_add adds[SIDS];
    for (uint32_t i = 0; i < SIDS; i++) {
        kst_random_labels(&seed, &m.v[i].labels);
        adds[i] = (struct ks_live_add){i, m.v[i].tenant, ks_buf_view(&m.v[i].labels)};
    }
    for (size_t i = 0; i < SIDS / 2; i++)
        m.v[i].used = true;
    for (uint64_t n = 1; n < 100000; n++) {
        struct ks_live_index *x;
        assert_int_equal(ks_live_index_new(&x), KS_OK);
        assert_int_equal(ks_live_index_add(x, adds, SIDS / 2), KS_OK);
        ks_mem_fail_after(n, 0);
        ks_err err = ks_live_index_add(x, adds + SIDS / 2, SIDS / 2);
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_int_equal(err, hit ? KS_ENOMEM : KS_OK);
        if (hit && n % 13 == 0)
            check_series(x, &m);
        ks_live_index_free(x);
        if (!hit)
            break;
    }
    struct ks_live_index *x;
    assert_int_equal(ks_live_index_new(&x), KS_OK);
    assert_int_equal(ks_live_index_add(x, adds, SIDS / 2), KS_OK);
    uint32_t gone[] = {3, 4, 5, 100, 101, 290};
    for (uint64_t n = 1; n < 1000; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = ks_live_index_remove(x, gone, 6);
        ks_mem_fail_after(0, 0);
        if (err == KS_OK)
            break;
        assert_int_equal(err, KS_ENOMEM);
        check_series(x, &m);
    }
    for (size_t i = 0; i < 6; i++)
        m.v[gone[i]].used = false;
    check_series(x, &m);
    for (int i = 0; i < 30; i++) {
        struct kst_question q;
        kst_random_question(&seed, &q);
        for (uint64_t n = 1; n < 1000; n++) {
            ks_regex_cache_clear();
            roaring_bitmap_t *rows;
            ks_mem_fail_after(n, 0);
            ks_err err = ks_live_index_select(x, m.v[0].tenant, q.selectors, q.count, &rows);
            bool hit = ks_mem_fail_hit();
            ks_mem_fail_after(0, 0);
            if (err == KS_OK)
                roaring_bitmap_free(rows);
            if (!hit)
                break;
            assert_int_equal(err, KS_ENOMEM);
        }
    }
    ks_live_index_free(x);
    kst_model_done(&m);
}

struct shared {
    struct ks_live_index *x;
    _Atomic int stop;
};

static void *reader(void *arg)
{
    struct shared *s = arg;
    uint64_t seed = (uintptr_t)&seed;
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    while (!atomic_load(&s->stop)) {
        struct kst_question q;
        kst_random_question(&seed, &q);
        roaring_bitmap_t *rows;
        assert_int_equal(
            ks_live_index_select(s->x, (struct ks_tenant){0, 0}, q.selectors, q.count, &rows),
            KS_OK);
        roaring_bitmap_free(rows);
        struct ks_tenant t;
        ks_buf_reset(&b);
        (void)!ks_live_index_labels(s->x, (uint32_t)ks_rng_below(&seed, SIDS), &b, &t);
        struct ks_live_index_stats st;
        ks_live_index_get_stats(s->x, &st);
    }
    ks_buf_done(&b);
    return NULL;
}

static void test_readers_and_a_writer(void **state)
{
    struct shared s = {0};
    struct kst_model m;
    uint64_t seed = 5;
    assert_int_equal(ks_live_index_new(&s.x), KS_OK);
    kst_model_init(&m, SIDS);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, reader, &s);
    for (int step = 0; step < 400; step++) {
        if (ks_rng_below(&seed, 3))
            add_some(s.x, &m, &seed, 32);
        else
            remove_some(s.x, &m, &seed, 32);
    }
    atomic_store(&s.stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    check_series(s.x, &m);
    kst_model_done(&m);
    ks_live_index_free(s.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_readers_and_a_writer),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ks_regex_cache_clear();
    return failed;
}
