/*
 * Reads of the head against a naive model: open chunks from any place on (engine/head_marks.h),
 * late samples put in among them, chunks sealed and flushed in between, after a restart too; and
 * which series there are, with and without their chunks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/num.h"
#include "base/time.h"
#include "engine_util.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { SERIES = 12, ROUNDS = 700, CAP = 2 * ROUNDS, STEP_MS = 15000 };

struct model {
    int64_t ts[CAP]; /* ascending */
    uint64_t bits[CAP];
    size_t n;
};
static struct model model[SERIES];
static int64_t got_ts[CAP];
static double got_v[CAP];

static void model_put(struct model *m, int64_t ts, double v)
{
    size_t at = m->n;
    while (at && m->ts[at - 1] > ts)
        at--;
    if (at && m->ts[at - 1] == ts) { /* the larger one wins, a stale marker loses */
        double old = ks_f64_from_bits(m->bits[at - 1]);
        if (ks_is_stale_nan(old) || (!ks_is_stale_nan(v) && v > old))
            m->bits[at - 1] = ks_f64_bits(v);
        return;
    }
    memmove(m->ts + at + 1, m->ts + at, (m->n - at) * sizeof *m->ts);
    memmove(m->bits + at + 1, m->bits + at, (m->n - at) * sizeof *m->bits);
    m->ts[at] = ts;
    m->bits[at] = ks_f64_bits(v);
    m->n++;
}

static struct ks_engine *open_engine(const char *dir)
{
    struct ks_engine_opts o = {.dir = dir,
                               .no_background = true,
                               .retention_ms = 100 * KS_MS_DAY,
                               .wal_sync = KS_WAL_SYNC_OS,
                               .min_free_disk_bytes = 1};
    struct ks_engine *e = NULL;
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    return e;
}

static const char *name_of(int series)
{
    static char name[64];
    snprintf(name, sizeof name, "m{i=\"%d\",job=\"j\",instance=\"%d\"}", series, series % 3);
    return name;
}

static double value_at(uint64_t *rng, int series, size_t round, double before)
{
    switch (series % 6) {
    case 0:
        return 7;
    case 1:
        return before + (double)ks_rng_below(rng, 100);
    case 2:
        return ks_rng_below(rng, 3) ? before : (double)ks_rng_below(rng, 10);
    case 3:
        return ks_rng_double(rng);
    case 4:
        return round % 50 == 49 ? ks_stale_nan() : (double)(ks_rng_below(rng, 1 << 20) << 12);
    default:
        return ks_f64_from_bits(ks_rng_next(rng) >> 2); /* finite, all bits in use */
    }
}

static void check_range(struct ks_engine *e, int series, int64_t min_ms, int64_t max_ms)
{
    const struct model *m = &model[series];
    size_t from = 0, to;
    while (from < m->n && m->ts[from] < min_ms)
        from++;
    for (to = from; to < m->n && m->ts[to] <= max_ms;)
        to++;
    size_t got = t_read(e, name_of(series), min_ms, max_ms, got_ts, got_v, CAP);
    assert_int_equal(got, to - from);
    assert_memory_equal(got_ts, m->ts + from, got * sizeof *got_ts);
    assert_memory_equal(got_v, m->bits + from, got * sizeof *got_v);
}

static size_t read_need(struct ks_engine *e, int series, const struct ks_select_opts *o)
{
    char number[16];
    struct ks_samples s = {0};
    struct ks_series_set *set;
    struct ks_matcher m = {KS_SLICE_LIT("i"),
                           ks_slice(number, (size_t)snprintf(number, sizeof number, "%d", series)),
                           KS_MATCH_EQ};
    struct ks_selector sel = {&m, 1};
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts all = *o;
    all.tenants = &tenant;
    all.tenant_count = all.selector_count = 1;
    all.selectors = &sel;
    assert_int_equal(ks_engine_select(e, &all, &set), KS_OK);
    assert_true(ks_series_set_count(set) <= 1);
    if (ks_series_set_count(set))
        assert_int_equal(ks_series_read(set, 0, o->min_ms, o->max_ms, &s), KS_OK);
    size_t n = s.count;
    for (size_t i = 0; i < n; i++) {
        got_ts[i] = s.times[i];
        got_v[i] = s.values[i];
    }
    ks_samples_done(&s);
    ks_series_set_free(set);
    return n;
}

static double model_value(const struct model *m, size_t i)
{
    return ks_f64_from_bits(m->bits[i]);
}

/* Some of the model's samples of [from, to), in order; where each lies. */
static void find_got(const struct model *m, size_t from, size_t to, size_t n, size_t *at)
{
    for (size_t k = 0; k < n; k++, from++) {
        while (from < to && m->ts[from] < got_ts[k])
            from++;
        assert_true(from < to && m->ts[from] == got_ts[k]);
        assert_true(ks_f64_bits(got_v[k]) == m->bits[from]);
        at[k] = from;
    }
}

/* The last number before `to`, from `from` on; SIZE_MAX: none. */
static size_t last_number(const struct model *m, size_t from, size_t to)
{
    while (to > from && isnan(model_value(m, to - 1)))
        to--;
    return to > from ? to - 1 : SIZE_MAX;
}

static bool holds(const size_t *at, size_t n, size_t want)
{
    bool found = want == SIZE_MAX;
    for (size_t k = 0; k < n && !found; k++)
        found = at[k] == want;
    return found;
}

static void check_need(struct ks_engine *e, int series, struct ks_select_opts o)
{
    static size_t at[CAP];
    const struct model *m = &model[series];
    size_t from = 0, to, since;
    while (from < m->n && m->ts[from] < o.min_ms)
        from++;
    for (to = from; to < m->n && m->ts[to] <= o.max_ms;)
        to++;
    for (since = from; since < to && m->ts[since] <= o.since_ms;)
        since++;
    size_t n = read_need(e, series, &o);
    find_got(m, from, to, n, at);
    if (from == to)
        return;
    assert_true(holds(at, n, to - 1));
    if (o.need == KS_NEED_LAST) {
        assert_true(holds(at, n, last_number(m, from, to)));
        return;
    }
    size_t before = last_number(m, from, since);
    bool all = true, steady = before != SIZE_MAX && m->ts[before] > o.since_ms - o.near_ms;
    assert_true(holds(at, n, before));
    for (size_t i = since; i < to; i++)
        all = all && holds(at, n, i);
    for (size_t i = before; i + 1 < to && steady; i++)
        steady = model_value(m, i + 1) >= model_value(m, i);
    assert_true(all || steady);
}

static void check_needs(struct ks_engine *e, uint64_t *rng, int series)
{
    const struct model *m = &model[series];
    int64_t last = m->ts[m->n - 1];
    for (int k = 0; k < 6; k++) {
        struct ks_select_opts o = {.need = KS_NEED_LAST};
        o.max_ms = k < 3 ? last + (k - 1) * 20000 : m->ts[ks_rng_below(rng, m->n)];
        o.min_ms = o.max_ms - 600000;
        check_need(e, series, o);
        o.need = KS_NEED_EDGES;
        o.since_ms = o.max_ms - (int64_t)ks_rng_below(rng, 600000);
        o.near_ms = ks_rng_below(rng, 2) ? 300000 : 20000;
        check_need(e, series, o);
    }
}

static void check_some(struct ks_engine *e, uint64_t *rng)
{
    for (int i = 0; i < SERIES; i++) {
        const struct model *m = &model[i];
        int64_t last = m->ts[m->n - 1];
        check_range(e, i, last - 600000, last);
        check_range(e, i, last - (int64_t)ks_rng_below(rng, 7200000), last + 1);
        size_t a = ks_rng_below(rng, m->n), b = a + ks_rng_below(rng, m->n - a);
        check_range(e, i, m->ts[a], m->ts[b]);
        check_range(e, i, m->ts[a] + 1, m->ts[b] - 1);
        check_needs(e, rng, i);
    }
}

static void play(uint64_t seed)
{
    char *dir = t_mkdir();
    uint64_t rng = seed;
    int64_t start = ks_now_ms() - 20 * KS_MS_HOUR;
    double before[SERIES] = {0};
    struct ks_engine *e = open_engine(dir);
    struct tw w;
    memset(model, 0, sizeof model);
    tw_init(&w);
    for (size_t r = 0; r < ROUNDS; r++) {
        int64_t jitter = ks_rng_below(&rng, 3) ? 0 : (int64_t)ks_rng_below(&rng, 40);
        for (int i = 0; i < SERIES; i++) {
            int64_t ts = start + (int64_t)r * STEP_MS + jitter;
            double v = value_at(&rng, i, r, before[i]);
            before[i] = v == v ? v : before[i];
            if (r && ks_rng_below(&rng, 40) == 0) /* late, or again with another value */
                ts -= (int64_t)ks_rng_below(&rng, 4) * STEP_MS / 2 + jitter;
            tw_add(&w, name_of(i), ts, v);
            model_put(&model[i], ts, v);
        }
        assert_int_equal(tw_write(&w, e, NULL), KS_OK);
        if (r % 13 == 0)
            check_some(e, &rng);
        if (ks_rng_below(&rng, 150) == 0) {
            assert_int_equal(ks_engine_close(e), KS_OK);
            e = open_engine(dir);
            check_some(e, &rng);
        }
        if (ks_rng_below(&rng, 120) == 0)
            assert_int_equal(ks_engine_flush(e), KS_OK);
    }
    tw_done(&w);
    assert_int_equal(ks_engine_merge(e, ""), KS_OK);
    check_some(e, &rng);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

static void test_random(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        play(seed);
    }
}

/* With labels alone asked for the same series are found. */
static void test_labels_only(void **state)
{
    char *dir = t_mkdir();
    int64_t start = ks_now_ms() - 10 * KS_MS_HOUR;
    struct ks_engine *e = open_engine(dir);
    struct ks_tenant tenant = {0, 0};
    for (int i = 0; i < SERIES; i++)
        for (int r = 0; r < 10; r++) /* series after series, ten minutes each */
            assert_int_equal(tw_put(e, name_of(i), start + (i * 10 + r) * (int64_t)KS_MS_MINUTE, r),
                             KS_OK);
    assert_int_equal(tw_put(e, name_of(9), start - KS_MS_HOUR, 1), KS_OK); /* late */
    for (int round = 0; round < 4; round++) {
        for (int k = -70; k < SERIES * 10; k += 7) {
            size_t count[2];
            for (int labels_only = 0; labels_only < 2; labels_only++) {
                struct ks_select_opts o = {.tenants = &tenant,
                                           .tenant_count = 1,
                                           .min_ms = start + k * (int64_t)KS_MS_MINUTE,
                                           .max_ms = start + (k + 15) * (int64_t)KS_MS_MINUTE,
                                           .no_counts = labels_only};
                struct ks_series_set *set;
                assert_int_equal(ks_engine_select(e, &o, &set), KS_OK);
                count[labels_only] = ks_series_set_count(set);
                for (size_t i = 0; i < count[labels_only]; i++) {
                    struct ks_slice labels;
                    assert_int_equal(ks_series_set_labels(set, i, &labels), KS_OK);
                    assert_true(labels.len > 0);
                }
                ks_series_set_free(set);
            }
            assert_int_equal(count[0], count[1]);
        }
        assert_int_equal(round & 1 ? ks_engine_merge(e, "") : ks_engine_flush(e), KS_OK);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_labels_only)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
