/* topk and bottomk by point against their definition: few of many, many of few, equal values, gaps,
 * a k that varies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "query/promql/exec_priv.h"
#include "sys/rand.h"

enum { SERIES_MAX = 300, POINTS_MAX = 40 };

struct model {
    double values[SERIES_MAX][POINTS_MAX];
    bool stays[SERIES_MAX][POINTS_MAX];
    size_t series, points;
    bool bottom;
};

/* Gaps are below everything. */
static int cmp_value(double a, double b, bool bottom)
{
    if (isnan(a) || isnan(b))
        return !isnan(a) - !isnan(b);
    return bottom ? (a < b) - (a > b) : (a > b) - (a < b);
}

/* As the points up to p have them, the last one first; of equals the later is better. */
static int cmp_member(const struct model *m, size_t p, size_t a, size_t b)
{
    for (size_t i = p + 1; i-- > 0;) {
        int c = cmp_value(m->values[a][i], m->values[b][i], m->bottom);
        if (c)
            return c;
    }
    return (a > b) - (a < b);
}

static size_t rank_of(const struct model *m, size_t p, size_t item)
{
    size_t better = 0;
    for (size_t i = 0; i < m->series; i++)
        better += cmp_member(m, p, i, item) > 0;
    return better;
}

static void check(const struct model *m, const struct ksi_vec *got)
{
    size_t last = SIZE_MAX, expected = 0;
    for (size_t i = 0; i < m->series; i++) {
        bool any = false;
        for (size_t p = 0; p < m->points; p++)
            any |= m->stays[i][p] && !isnan(m->values[i][p]);
        expected += any;
    }
    assert_int_equal(got->count, expected);
    for (size_t k = 0; k < got->count; k++) {
        size_t item = (size_t)strtoull(got->items[k].labels.ptr, NULL, 10);
        if (k) /* best first */
            assert_true(cmp_member(m, m->points - 1, last, item) > 0);
        last = item;
        for (size_t p = 0; p < m->points; p++) {
            double v = got->items[k].values[p];
            if (m->stays[item][p] && !isnan(m->values[item][p]))
                assert_true(v == m->values[item][p]);
            else
                assert_true(isnan(v));
        }
    }
}

static void run(struct model *m, uint64_t *rng, size_t k_max)
{
    static char names[SERIES_MAX][8];
    struct ks_arena arena;
    ks_arena_init(&arena, 64 << 20);
    struct ksi_query q = {.arena = &arena};
    struct ksi_ctx ctx = {.q = &q, .points = m->points};
    struct ksi_vec got = {0};
    struct ksi_series *series = ks_arena_array(&arena, m->series, sizeof *series);
    double *k = ks_arena_array(&arena, m->points, sizeof *k);
    for (size_t p = 0; p < m->points; p++) {
        k[p] = ks_rng_below(rng, 8) ? (double)ks_rng_below(rng, k_max + 1) + 0.5 : NAN;
        for (size_t i = 0; i < m->series; i++)
            m->stays[i][p] = rank_of(m, p, i) < ksi_int_k(k[p], m->series);
    }
    for (size_t i = 0; i < m->series; i++) {
        double *v = ks_arena_array(&arena, m->points, sizeof *v);
        memcpy(v, m->values[i], m->points * sizeof *v);
        int n = snprintf(names[i], sizeof names[i], "%zu", i);
        series[i] = (struct ksi_series){.labels = ks_slice(names[i], (size_t)n), .values = v};
    }
    assert_int_equal(ksi_topk(&ctx, series, m->series, k, m->bottom, &got), KS_OK);
    check(m, &got);
    ks_arena_done(&arena);
}

static void test_against_definition(void **state)
{
    static struct model m;
    uint64_t rng = 5;
    for (int round = 0; round < 400; round++) {
        m.series = 1 + ks_rng_below(&rng, round % 4 ? 40 : SERIES_MAX);
        m.points = 1 + ks_rng_below(&rng, round % 4 ? POINTS_MAX : 8);
        m.bottom = round & 1;
        uint64_t values = 1 + ks_rng_below(&rng, round % 3 ? 6 : 1000); /* few: many are equal */
        for (size_t i = 0; i < m.series; i++)
            for (size_t p = 0; p < m.points; p++) {
                double v = (double)ks_rng_below(&rng, values) - (double)(values / 2);
                m.values[i][p] = ks_rng_below(&rng, 10) ? v
                                 : v > 0                ? NAN
                                 : v < 0                ? -INFINITY
                                                        : -0.0;
            }
        run(&m, &rng, 1 + ks_rng_below(&rng, round % 5 ? 6 : m.series));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_definition)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
