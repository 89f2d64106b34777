/* The series index of a part against the naive model; failures; damage; threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/matcher_compile.h"
#include "index/series_index.h"
#include "sys/rand.h"
#include "tests/support/index_model.h"
#include "tests/support/temp_dir.h"

static int teardown(void **state)
{
    ks_regex_cache_clear();
    return t_dir_teardown(state);
}

static int cmp_series(const void *a, const void *b)
{
    const struct kst_series *x = a, *y = b;
    return ks_series_cmp(x->tenant, ks_buf_view(&x->labels), y->tenant, ks_buf_view(&y->labels));
}

/* A sorted model without twins. */
static void make_model(struct kst_model *m, uint64_t seed, size_t count)
{
    kst_model_init(m, count);
    for (size_t i = 0; i < count; i++) {
        struct kst_series *s = &m->v[i];
        s->used = true;
        s->tenant = kst_random_tenant(&seed);
        if (i &&
            ks_rng_below(&seed, 2)) { /* the base of the one before under another metric name */
            struct ks_labels_iter it = ks_labels_iter(ks_buf_view(&m->v[i - 1].labels));
            struct ks_label l;
            ks_buf_lp(&s->labels, KS_NAME_LABEL);
            ks_buf_byte(&s->labels, 2);
            ks_buf_printf(&s->labels, "m%u", (unsigned)ks_rng_below(&seed, 10));
            while (ks_labels_next(&it, &l))
                if (!ks_slice_eq(l.name, KS_NAME_LABEL)) {
                    ks_buf_lp(&s->labels, l.name);
                    ks_buf_lp(&s->labels, l.value);
                }
        } else {
            kst_random_labels(&seed, &s->labels);
        }
    }
    qsort(m->v, count, sizeof *m->v, cmp_series);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (n && cmp_series(&m->v[n - 1], &m->v[i]) == 0) {
            ks_buf_done(&m->v[i].labels);
            continue;
        }
        m->v[n++] = m->v[i];
    }
    m->count = n;
}

static ks_err write_model(const struct kst_model *m)
{
    struct ks_part_writer *w;
    struct ks_sindex_writer *x;
    uint64_t bytes;
    KS_TRY(ks_part_writer_new(ks_vfs_posix(), t_part, KS_PART_METRICS, &w));
    ks_err err = ks_sindex_writer_new(w, &x);
    for (size_t i = 0; i < m->count && err == KS_OK; i++) {
        err = ks_sindex_add(x, m->v[i].tenant, ks_buf_view(&m->v[i].labels));
        if (err != KS_OK)
            ks_sindex_writer_abort(x);
    }
    if (err == KS_OK)
        err = ks_sindex_writer_finish(x);
    if (err == KS_OK)
        return ks_part_writer_finish(w, &bytes);
    ks_part_writer_abort(w);
    return err;
}

struct opened {
    struct ks_cache *cache;
    struct ks_part *part;
    struct ks_sindex *x;
};

static ks_err open_index(struct opened *o, size_t cache_bytes)
{
    memset(o, 0, sizeof *o);
    if (cache_bytes)
        KS_TRY(ks_cache_new(cache_bytes, &o->cache));
    ks_err err = ks_part_open(ks_vfs_posix(), t_part, o->cache, &o->part);
    return err == KS_OK ? ks_sindex_open(o->part, &o->x) : err;
}

static void close_index(struct opened *o)
{
    ks_sindex_close(o->x);
    ks_part_close(o->part);
    ks_cache_free(o->cache);
}

static void check_rows(struct ks_sindex *x, const struct kst_model *m)
{
    struct ks_sindex_cursor *c;
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    assert_int_equal(ks_sindex_series_count(x), m->count);
    assert_int_equal(ks_sindex_cursor_new(x, &c), KS_OK);
    for (uint32_t i = 0; i <= m->count; i++) {
        bool more = false;
        struct ks_tenant t, t2;
        struct ks_slice labels;
        assert_int_equal(ks_sindex_cursor_next(c, &more, &t, &labels), KS_OK);
        assert_int_equal(more, i < m->count);
        if (!more)
            break;
        assert_true(ks_slice_eq(labels, ks_buf_view(&m->v[i].labels)));
        assert_true(ks_tenant_eq(t, m->v[i].tenant));
        uint32_t j = (uint32_t)(i * 2654435761u % m->count);
        ks_buf_reset(&b);
        ks_buf_str(&b, "pre");
        assert_int_equal(ks_sindex_series(x, j, &b, &t2), KS_OK);
        assert_true(ks_slice_eq(ks_slice_from(ks_buf_view(&b), 3), ks_buf_view(&m->v[j].labels)));
        assert_true(ks_tenant_eq(t2, m->v[j].tenant));
    }
    struct ks_tenant t;
    assert_int_equal(ks_sindex_series(x, (uint32_t)m->count, &b, &t), KS_ENOTFOUND);
    ks_sindex_cursor_free(c);
    ks_buf_done(&b);
}

static void check_question(struct ks_sindex *x, const struct kst_model *m, uint64_t *seed)
{
    struct kst_question q;
    kst_random_question(seed, &q);
    struct ks_tenant t = kst_random_tenant(seed);
    roaring_bitmap_t *got, *want = kst_model_select(m, t, q.selectors, q.count);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(ks_sindex_select(x, t, q.selectors, q.count, &got), KS_OK);
        if (!roaring_bitmap_equals(got, want)) {
            kst_question_print(&q);
            fail();
        }
        roaring_bitmap_free(got);
    }
    roaring_bitmap_free(want);
}

/* Without counts the same words come. */
static bool on_label_once(void *arg, struct ks_slice text, uint64_t row_count)
{
    struct kst_heard *h = arg;
    (void)text;
    assert_true(row_count > 0);
    h->calls++;
    return true;
}

static void check_names(struct ks_sindex *x, const struct kst_model *m, uint64_t *seed)
{
    struct ks_tenant t = kst_random_tenant(seed);
    struct kst_question q;
    kst_random_question(seed, &q);
    roaring_bitmap_t *rows =
        ks_rng_below(seed, 2) ? kst_model_select(m, t, q.selectors, q.count) : NULL;
    static const char *const asked[] = {"__name__", "pod", "le", "x", "none", "app", "n\xc3\xa9"};
    uint64_t total = 0;
    struct kst_heard h = {.m = m, .tenant = t, .rows = rows};
    assert_int_equal(ks_sindex_label_names(x, t, rows, true, kst_on_label, &h), KS_OK);
    struct kst_heard once = {0};
    assert_int_equal(ks_sindex_label_names(x, t, rows, false, on_label_once, &once), KS_OK);
    assert_int_equal(once.calls, h.calls);
    for (size_t i = 0; i < 7; i++) {
        struct kst_heard v = {.m = m, .tenant = t, .rows = rows, .name = ks_slice_str(asked[i])};
        assert_int_equal(ks_sindex_label_values(x, t, v.name, rows, true, kst_on_label, &v), KS_OK);
        once.calls = 0;
        assert_int_equal(ks_sindex_label_values(x, t, v.name, rows, false, on_label_once, &once),
                         KS_OK);
        assert_int_equal(once.calls, v.calls);
        assert_int_equal(v.sum, kst_model_count(m, t, rows, v.name, NULL));
        total += v.sum;
    }
    assert_true(h.sum >= total);
    if (rows)
        roaring_bitmap_free(rows);
}

static bool on_tenant(void *arg, struct ks_tenant t)
{
    ++*(int *)arg;
    return true;
}

static void test_against_model(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 127, 128, 129, 600, 2000, 4097};
    for (size_t run = 0; run < sizeof sizes / sizeof *sizes; run++) {
        uint64_t seed = run + 1;
        struct kst_model m;
        make_model(&m, run + 77, sizes[run]);
        assert_int_equal(write_model(&m), KS_OK);
        struct opened o;
        assert_int_equal(open_index(&o, run % 2 ? 1 << 20 : 0), KS_OK);
        check_rows(o.x, &m);
        for (int i = 0; i < (sizes[run] > 1000 ? 30 : 150); i++)
            check_question(o.x, &m, &seed);
        for (int i = 0; i < 4; i++)
            check_names(o.x, &m, &seed);
        int tenants = 0;
        assert_int_equal(ks_sindex_tenants(o.x, on_tenant, &tenants), KS_OK);
        assert_true(tenants <= 3 && (tenants > 0) == (m.count > 0));
        assert_true(ks_sindex_stored_bytes(o.x) < ks_part_bytes(o.part));
        close_index(&o);
        kst_model_done(&m);
    }
}

/* Many metrics of many pods, a few of them missing here and there: bases of a group of rows lie
 * close together, but not always. */
static void make_targets(struct kst_model *m, uint64_t seed)
{
    enum { METRICS = 12, PODS = 300 };
    kst_model_init(m, METRICS * PODS);
    size_t n = 0;
    for (int metric = 0; metric < METRICS; metric++)
        for (int pod = 0; pod < PODS; pod++) {
            struct kst_series *s = &m->v[n];
            if (ks_rng_below(&seed, 3) == 0)
                continue;
            char name[16], value[16];
            snprintf(name, sizeof name, "m%02d", metric);
            snprintf(value, sizeof value, "pod-%03d", pod);
            ks_buf_lp(&s->labels, KS_NAME_LABEL);
            ks_buf_lp(&s->labels, ks_slice_str(name));
            if (metric % 4 == 0) {
                ks_buf_lp(&s->labels, KS_SLICE_LIT("le"));
                ks_buf_lp(&s->labels, ks_slice_str(name));
            }
            ks_buf_lp(&s->labels, KS_SLICE_LIT("pod"));
            ks_buf_lp(&s->labels, ks_slice_str(value));
            s->used = true;
            n++;
        }
    m->count = n;
    qsort(m->v, n, sizeof *m->v, cmp_series);
}

static void ask_pods(struct ks_sindex *x, const struct kst_model *m, struct ks_slice pods,
                     struct ks_slice name)
{
    struct ks_matcher ms[2] = {{KS_SLICE_LIT("pod"), pods, KS_MATCH_RE},
                               {KS_NAME_LABEL, name, KS_MATCH_RE}};
    struct ks_selector s = {ms, name.len ? 2 : 1};
    roaring_bitmap_t *got, *want = kst_model_select(m, (struct ks_tenant){0}, &s, 1);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(ks_sindex_select(x, (struct ks_tenant){0}, &s, 1, &got), KS_OK);
        assert_true(roaring_bitmap_equals(got, want));
        roaring_bitmap_free(got);
    }
    roaring_bitmap_free(want);
}

/* Rows are passed by where none can match, and answers are kept: more questions than there is room
 * for, each right the first time and the second. */
static void test_few_of_many(void **state)
{
    struct kst_model m;
    struct opened o;
    uint64_t seed = 5;
    char pods[64];
    make_targets(&m, 11);
    assert_int_equal(write_model(&m), KS_OK);
    assert_int_equal(open_index(&o, 1 << 20), KS_OK);
    for (int i = 0; i < 90; i++) {
        int one = (int)ks_rng_below(&seed, 300), two = (int)ks_rng_below(&seed, 300);
        snprintf(pods, sizeof pods, i % 3 ? "pod-(%03d|%03d)" : "pod-.*%d.*%d", one, two % 100);
        ask_pods(o.x, &m, ks_slice_str(pods), ks_slice_str(i % 5 ? "" : "m.[0-5]"));
    }
    ask_pods(o.x, &m, KS_SLICE_LIT("pod-.*"), KS_SLICE_LIT(""));
    ask_pods(o.x, &m, KS_SLICE_LIT("nothing.*"), KS_SLICE_LIT(""));
    close_index(&o);
    kst_model_done(&m);
}

static void test_order_is_enforced(void **state)
{
    struct ks_part_writer *w;
    struct ks_sindex_writer *x;
    struct ks_tenant t = {0, 0};
    static const struct ks_slice bad[] = {KS_SLICE_LIT("\1a\1b"), KS_SLICE_LIT("\1a\1a"),
                                          KS_SLICE_LIT("\1z"), KS_SLICE_LIT("\1z\0"),
                                          KS_SLICE_LIT("\1z\1z\1a\1a")};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(ks_part_writer_new(ks_vfs_posix(), t_part, KS_PART_METRICS, &w), KS_OK);
        assert_int_equal(ks_sindex_writer_new(w, &x), KS_OK);
        assert_int_equal(ks_sindex_add(x, t, KS_SLICE_LIT("\1a\1b")), KS_OK);
        assert_int_equal(ks_sindex_add(x, t, bad[i]), KS_EINVAL);
        assert_int_equal(ks_sindex_add(x, t, KS_SLICE_LIT("\1q\1b")), KS_EINVAL); /* sticky */
        assert_int_equal(ks_sindex_writer_finish(x), KS_EINVAL);
        ks_part_writer_abort(w);
    }
}

static void test_write_allocation_failures(void **state)
{
    struct kst_model m;
    make_model(&m, 5, 300);
    uint64_t n = 1;
    for (;; n += 1 + n / 40) {
        ks_mem_fail_after(n, 0);
        ks_err err = write_model(&m);
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_int_equal(err, hit ? KS_ENOMEM : KS_OK);
        if (!hit)
            break;
    }
    assert_true(n > 100);
    kst_model_done(&m);
}

static ks_err ask_all(const struct kst_question *q)
{
    struct opened o;
    struct ks_tenant t = {0, 0};
    roaring_bitmap_t *rows = NULL;
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    int sink = 0;
    ks_err err = open_index(&o, 0);
    if (err == KS_OK)
        err = ks_sindex_select(o.x, t, q->selectors, q->count, &rows);
    if (err == KS_OK)
        err = ks_sindex_series(o.x, 17, &b, &t);
    struct ks_sindex_cursor *c = NULL;
    if (err == KS_OK)
        err = ks_sindex_cursor_new(o.x, &c);
    bool more = true;
    struct ks_slice labels;
    while (err == KS_OK && more)
        err = ks_sindex_cursor_next(c, &more, &t, &labels);
    t = (struct ks_tenant){0, 0};
    if (err == KS_OK)
        err = ks_sindex_label_names(o.x, t, rows, true, (ks_label_fn)(void *)on_tenant, &sink);
    if (rows)
        roaring_bitmap_free(rows);
    ks_sindex_cursor_free(c);
    ks_buf_done(&b);
    close_index(&o);
    return err;
}

static void test_read_allocation_failures(void **state)
{
    struct kst_model m;
    make_model(&m, 6, 300);
    assert_int_equal(write_model(&m), KS_OK);
    uint64_t seed = 3;
    for (int i = 0; i < 20; i++) {
        struct kst_question q;
        kst_random_question(&seed, &q);
        for (uint64_t n = 1;; n++) {
            ks_regex_cache_clear();
            ks_mem_fail_after(n, 0);
            ks_err err = ask_all(&q);
            bool hit = ks_mem_fail_hit();
            ks_mem_fail_after(0, 0);
            /* What only fills a cache may fail unheard. */
            assert_true(err == KS_OK || (hit && err == KS_ENOMEM));
            if (!hit)
                break;
        }
    }
    kst_model_done(&m);
}

struct shared {
    struct opened o;
    const struct kst_model *m;
    uint64_t seed;
};

static void *reader(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 40; i++)
        check_question(s->o.x, s->m, &s->seed);
    check_rows(s->o.x, s->m);
    return NULL;
}

static void test_many_readers(void **state)
{
    struct kst_model m;
    make_model(&m, 8, 400);
    assert_int_equal(write_model(&m), KS_OK);
    struct opened o;
    assert_int_equal(open_index(&o, 1 << 20), KS_OK);
    pthread_t threads[4];
    struct shared s[4];
    for (uint64_t i = 0; i < 4; i++) {
        s[i] = (struct shared){o, &m, i / 2};
        pthread_create(&threads[i], NULL, reader, &s[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close_index(&o);
    kst_model_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_few_of_many),
        cmocka_unit_test(test_order_is_enforced),
        cmocka_unit_test(test_write_allocation_failures),
        cmocka_unit_test(test_read_allocation_failures),
        cmocka_unit_test(test_many_readers),
    };
    return cmocka_run_group_tests(tests, t_dir_setup, teardown);
}
