/* Native histograms in the engine: what is written comes back bit for bit through log, head,
 * checkpoint, parts and merges, beside the numbers of the same series. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "engine_util.h"
#include "histogram_shapes.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { SERIES = 6, SLOTS = 1500, STEP_MS = 15000 };

static struct ks_engine *open_engine(const char *dir)
{
    struct ks_engine_opts o = t_opts(dir);
    o.shards = 2;
    return t_open(&o);
}

/* The model: what was written last at each slot; counts decide between two writes of one time. */
struct model {
    struct ks_arena arena;
    struct ks_histogram h[SERIES][SLOTS];
    bool there[SERIES][SLOTS];
    double number[SERIES][SLOTS]; /* 0: none */
    int64_t start_ms;
    uint32_t next;
};

static void name_of(char *out, size_t size, uint32_t s)
{
    snprintf(out, size, "h%u{job=\"j%u\",instance=\"i%u\"}", s, s % 2, s % 3);
}

static struct ks_histogram make(struct ks_arena *a, uint32_t series, uint32_t slot, uint64_t *rng)
{
    uint64_t seed = ks_rng_next(rng) | 1;
    if (series % 3 == 0)
        return shape_wild(a, &seed);
    return shape_counter(a, series % 3 == 1 ? 10 : 60 + slot / 100, slot, series % 2);
}

static void put(struct tw *w, struct model *m, uint32_t s, uint32_t slot, uint64_t *rng)
{
    char name[128];
    name_of(name, sizeof name, s);
    if (m->there[s][slot])
        return;
    if (s == 4 && slot / 70 % 2) { /* a series that changes kind */
        m->number[s][slot] = slot + 0.5;
        tw_add(w, name, m->start_ms + (int64_t)slot * STEP_MS, slot + 0.5);
        return;
    }
    m->h[s][slot] = make(&m->arena, s, slot, rng);
    m->there[s][slot] = true;
    tw_add_histogram(w, name, m->start_ms + (int64_t)slot * STEP_MS, &m->h[s][slot]);
}

static void write_some(struct ks_engine *e, struct model *m, uint64_t *rng)
{
    struct tw w;
    tw_init(&w);
    for (uint32_t k = 0; k < 40 && m->next < SLOTS; k++, m->next++)
        for (uint32_t s = 0; s < SERIES; s++) {
            if (ks_rng_below(rng, 5) != 0)
                put(&w, m, s, m->next, rng);
            if (m->next > 60 && ks_rng_below(rng, 8) == 0)
                put(&w, m, s, m->next - (uint32_t)ks_rng_below(rng, 60), rng);
        }
    struct ks_write_result r;
    uint64_t total = w.batch.sample_count + w.batch.histogram_count;
    assert_int_equal(tw_write(&w, e, &r), KS_OK);
    assert_int_equal(r.stored, total);
    tw_done(&w);
}

static void check(struct ks_engine *e, const struct model *m)
{
    static int64_t ts[SLOTS];
    static double v[SLOTS];
    int64_t end_ms = m->start_ms + (int64_t)SLOTS * STEP_MS;
    for (uint32_t s = 0; s < SERIES; s++) {
        struct ks_arena a;
        char name[128];
        name_of(name, sizeof name, s);
        ks_arena_init(&a, 1 << 30);
        struct ks_histogram_run r = t_read_histograms(e, name, m->start_ms, end_ms, &a);
        size_t numbers = t_read(e, name, m->start_ms, end_ms, ts, v, SLOTS), at = 0, number = 0;
        for (uint32_t slot = 0; slot < m->next; slot++) {
            if (m->there[s][slot]) {
                assert_true(at < r.count);
                assert_int_equal(r.times[at], m->start_ms + (int64_t)slot * STEP_MS);
                assert_true(ks_histogram_identical(&r.items[at], &m->h[s][slot]));
                at++;
            }
            if (m->number[s][slot] != 0) {
                assert_true(number < numbers && v[number] == m->number[s][slot]);
                number++;
            }
        }
        assert_int_equal(at, r.count);
        assert_int_equal(number, numbers);
        ks_arena_done(&a);
    }
}

static struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof *m);
    ks_arena_init(&m->arena, 1 << 30);
    m->start_ms = ks_now_ms() / STEP_MS * STEP_MS - 20 * KS_MS_HOUR;
    return m;
}

static void model_free(struct model *m)
{
    ks_arena_done(&m->arena);
    free(m);
}

static void test_property(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        char *dir = t_mkdir();
        uint64_t rng = seed;
        struct model *m = model_new();
        struct ks_engine *e = open_engine(dir);
        while (m->next < SLOTS) {
            write_some(e, m, &rng);
            switch (ks_rng_below(&rng, 8)) {
            case 0:
            case 1:
                assert_int_equal(ks_engine_flush(e), KS_OK);
                break;
            case 2:
                assert_int_equal(ks_engine_merge(e, ""), KS_OK);
                break;
            case 3:
                assert_int_equal(ks_engine_close(e), KS_OK);
                e = open_engine(dir);
                break;
            case 4:
                check(e, m);
                break;
            default:
                break;
            }
        }
        check(e, m);
        assert_int_equal(ks_engine_merge(e, ""), KS_OK);
        check(e, m);
        assert_int_equal(ks_engine_close(e), KS_OK);
        e = open_engine(dir);
        check(e, m);
        assert_int_equal(ks_engine_close(e), KS_OK);
        model_free(m);
        t_rmdir(dir);
    }
}

/* Part ranges: only what lies inside comes back, and the planner must not trust aggregates. */
static void test_ranges(void **state)
{
    char *dir = t_mkdir();
    uint64_t rng = 7;
    struct model *m = model_new();
    struct ks_engine *e = open_engine(dir);
    while (m->next < 400)
        write_some(e, m, &rng);
    for (int round = 0; round < 2; round++) {
        for (uint32_t from = 0; from < 400; from += 37) {
            struct ks_arena a;
            ks_arena_init(&a, 1 << 30);
            struct ks_histogram_run r =
                t_read_histograms(e, "h1", m->start_ms + (int64_t)from * STEP_MS,
                                  m->start_ms + (int64_t)(from + 20) * STEP_MS, &a);
            size_t want = 0;
            for (uint32_t s = from; s <= from + 20 && s < 400; s++)
                want += m->there[1][s];
            assert_int_equal(r.count, want);
            ks_arena_done(&a);
        }
        assert_int_equal(ks_engine_merge(e, ""), KS_OK);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    model_free(m);
    t_rmdir(dir);
}

/* Of several at one time the one with the larger count wins; a stale marker loses. */
static void test_same_time(void **state)
{
    char *dir = t_mkdir();
    struct ks_engine *e = open_engine(dir);
    struct ks_arena a;
    int64_t t = ks_now_ms() / 1000 * 1000 - KS_MS_HOUR;
    ks_arena_init(&a, 1 << 20);
    struct ks_histogram small = shape_counter(&a, 4, 1, false), big = shape_counter(&a, 8, 9, true),
                        stale = ks_histogram_stale(false);
    const struct ks_histogram *order[] = {&small, &stale, &big, &small, &stale};
    for (size_t i = 0; i < 5; i++) {
        struct tw w;
        tw_init(&w);
        tw_add_histogram(&w, "x", t, order[i]);
        assert_int_equal(tw_write(&w, e, NULL), KS_OK);
        tw_done(&w);
    }
    for (int round = 0; round < 3; round++) {
        struct ks_histogram_run r = t_read_histograms(e, "x", t - 10, t + 10, &a);
        assert_int_equal(r.count, 1);
        assert_true(ks_histogram_identical(&r.items[0], &big));
        assert_int_equal(round == 0 ? ks_engine_flush(e) : ks_engine_merge(e, ""), KS_OK);
    }
    ks_arena_done(&a);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_delete(void **state)
{
    char *dir = t_mkdir();
    uint64_t rng = 9;
    struct model *m = model_new();
    struct ks_engine *e = open_engine(dir);
    while (m->next < 300)
        write_some(e, m, &rng);
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("h1", room, 4);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {
        .tenants = &tenant, .tenant_count = 1, .selectors = &sel, .selector_count = 1};
    uint64_t touched;
    assert_int_equal(ks_engine_delete(e, &o, &touched), KS_OK);
    assert_int_equal(touched, 1);
    memset(m->there[1], 0, sizeof m->there[1]);
    check(e, m);
    write_some(e, m, &rng);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = open_engine(dir);
    check(e, m);
    assert_int_equal(ks_engine_merge(e, ""), KS_OK);
    check(e, m);
    assert_int_equal(ks_engine_close(e), KS_OK);
    model_free(m);
    t_rmdir(dir);
}

/* A series whose last sample is a histogram leaves the head when idle, and comes back whole. */
static void test_idle(void **state)
{
    char *dir = t_mkdir();
    uint64_t rng = 11;
    struct model *m = model_new();
    struct ks_engine *e = open_engine(dir);
    while (m->next < 200)
        write_some(e, m, &rng);
    for (int i = 0; i < 3; i++) {
        struct ks_engine_stats st;
        assert_int_equal(ks_engine_flush(e), KS_OK);
        assert_int_equal(ks_engine_tick(e), KS_OK);
        ks_engine_get_stats(e, &st);
        check(e, m);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    model_free(m);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_property),  cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_same_time), cmocka_unit_test(test_delete),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
