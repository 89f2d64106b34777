/* Reading series after series into one object: times that neighbours share are left where they lie,
 * and what is said of the samples holds. Against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/num.h"
#include "base/time.h"
#include "engine_util.h"
#include "sys/clock.h"

enum { TARGETS = 3, KINDS = 8, SERIES = TARGETS * KINDS, ROUNDS = 3000, READS = 4000, SEEN = 4096 };

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t next_random(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct model {
    int64_t t[ROUNDS + 64];
    double v[ROUNDS + 64];
    size_t n;
} models[SERIES];

static void name_of(char *to, size_t room, int series)
{
    snprintf(to, room, "m{instance=\"i%d\",kind=\"%d\"}", series / KINDS, series % KINDS);
}

static double value_of(int kind, int round)
{
    switch (kind) {
    case 0:
        return round * 7; /* rises */
    case 1:
        return round % 500 * 3; /* is reset */
    case 2:
        return (double)next_random(1000) / 10;
    case 3:
        return round % 97 == 5 ? NAN : round;
    case 4:
        return round % 211 == 9 ? ks_f64_from_bits(KS_STALE_NAN_BITS) : round / 3;
    case 5:
        return 42;
    default:
        return round % 2 ? -0.0 : 0.0; /* never falls */
    }
}

static void add(struct tw *w, int series, int64_t t, double v)
{
    char name[64];
    struct model *m = &models[series];
    size_t at = m->n++;
    for (; at && m->t[at - 1] > t; at--) {
        m->t[at] = m->t[at - 1];
        m->v[at] = m->v[at - 1];
    }
    m->t[at] = t;
    m->v[at] = v;
    name_of(name, sizeof name, series);
    tw_add(w, name, t, v);
}

/* Targets answer at their own times; of the last kind some samples are missing. */
static void write_rounds(struct ks_engine *e, int64_t begin, int from, int to)
{
    struct tw w;
    struct ks_write_result result;
    tw_init(&w);
    for (int round = from; round < to; round++) {
        for (int target = 0; target < TARGETS; target++) {
            int64_t t = begin + round * 60000 + target * 7000 + next_random(50);
            for (int kind = 0; kind < KINDS; kind++)
                if (kind < KINDS - 1 || round % 300 > 3)
                    add(&w, target * KINDS + kind, t, value_of(kind, round));
        }
        if (round % 50 == 49 || round + 1 == to) {
            assert_int_equal(tw_write(&w, e, &result), KS_OK);
            tw_done(&w);
            tw_init(&w);
        }
    }
    tw_done(&w);
}

/* Between the times of the others. */
static void write_late(struct ks_engine *e, int64_t begin, int series, int count)
{
    struct tw w;
    struct ks_write_result result;
    tw_init(&w);
    for (int i = 0; i < count; i++)
        add(&w, series, begin + (100 + 37 * i) * 60000 + 30001 + series, i);
    assert_int_equal(tw_write(&w, e, &result), KS_OK);
    tw_done(&w);
}

static int series_of(const struct ks_series_set *s, size_t i)
{
    struct ks_slice labels;
    char name[64];
    assert_int_equal(ks_series_set_labels(s, i, &labels), KS_OK);
    for (int k = 0; k < SERIES; k++) {
        struct ks_slice instance = ks_labels_get(labels, KS_SLICE_LIT("instance")),
                        kind = ks_labels_get(labels, KS_SLICE_LIT("kind"));
        snprintf(name, sizeof name, "i%d%d", k / KINDS, k % KINDS);
        if (!memcmp(name, instance.ptr, 2) && name[2] == kind.ptr[0])
            return k;
    }
    return -1;
}

static void check_samples(const struct ks_samples *x, const struct model *m, int64_t min_ms,
                          int64_t max_ms)
{
    size_t from = 0;
    while (from < m->n && m->t[from] < min_ms)
        from++;
    size_t to = from;
    while (to < m->n && m->t[to] <= max_ms)
        to++;
    assert_int_equal(x->count, to - from);
    for (size_t i = 0; i < x->count; i++) {
        assert_int_equal(x->times[i], m->t[from + i]);
        assert_int_equal(ks_f64_bits(x->values[i]), ks_f64_bits(m->v[from + i]));
    }
    assert_true(x->plain <= x->count && x->rising <= x->count);
    for (size_t i = 0; i < x->plain; i++)
        assert_false(isnan(x->values[i]));
    for (size_t i = 0; i < x->rising; i++)
        assert_true(i ? x->values[i] >= x->values[i - 1] : !isnan(x->values[i]));
}

/* Equal ids say equal times: what each id was first seen with. */
static struct seen {
    uint64_t id;
    int64_t first_ms, last_ms;
    size_t count;
    int series;
} seen[SEEN];
static size_t seen_count, shared;

static void check_id(const struct ks_samples *x, int series)
{
    struct seen now = {x->times_id, 0, 0, x->count, series};
    if (x->count) {
        now.first_ms = x->times[0];
        now.last_ms = x->times[x->count - 1];
    }
    assert_true(x->times_id != 0);
    for (size_t i = 0; i < seen_count; i++) {
        if (seen[i].id != now.id)
            continue;
        shared++;
        assert_int_equal(seen[i].count, now.count);
        assert_int_equal(seen[i].first_ms, now.first_ms);
        assert_int_equal(seen[i].last_ms, now.last_ms);
        assert_int_equal(seen[i].series / KINDS, series / KINDS);
        return;
    }
    if (seen_count < SEEN)
        seen[seen_count++] = now;
}

/* Series mostly in order, as queries read them; ranges that stay for a while. */
static void check_reads(struct ks_engine *e, int64_t begin)
{
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("m", room, 4);
    int64_t end = begin + ROUNDS * 60000ll, from = begin, to = end;
    struct ks_select_opts o = {
        .selectors = &sel, .selector_count = 1, .min_ms = begin - 1, .max_ms = end};
    struct ks_series_set *set;
    struct ks_samples x = {0};
    assert_int_equal(ks_engine_select(e, &o, &set), KS_OK);
    assert_int_equal(ks_series_set_count(set), SERIES);
    size_t series = 0;
    seen_count = 0;
    for (int i = 0; i < READS; i++) {
        series = (next_random(8) ? series + 1 : next_random(SERIES)) % SERIES;
        if (i % 100 == 0) {
            from = begin + next_random(ROUNDS) * 60000ll;
            to = i % 200 ? end : from + next_random(ROUNDS) * 60000ll;
        }
        int k = series_of(set, series);
        assert_int_equal(ks_series_read(set, series, from, to, &x), KS_OK);
        check_samples(&x, &models[k], from, to);
        check_id(&x, k);
    }
    ks_samples_done(&x);
    ks_series_set_free(set);
}

static void test_shared_times(void **state)
{
    char *dir = t_mkdir();
    int64_t begin = ks_now_ms() / KS_MS_DAY * KS_MS_DAY - 3 * KS_MS_DAY;
    struct ks_engine_opts o = {.dir = dir,
                               .no_background = true,
                               .retention_ms = 100 * KS_MS_DAY,
                               .wal_segment_bytes = 4 << 20,
                               .min_free_disk_bytes = 1};
    struct ks_engine *e;
    memset(models, 0, sizeof models);
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    write_rounds(e, begin, 0, ROUNDS * 2 / 3);
    check_reads(e, begin); /* the head alone */
    assert_int_equal(ks_engine_flush(e), KS_OK);
    check_reads(e, begin);
    write_rounds(e, begin, ROUNDS * 2 / 3, ROUNDS);
    check_reads(e, begin); /* parts and head */
    write_late(e, begin, 2, 3);
    write_late(e, begin, KINDS + 5, 40);
    check_reads(e, begin);
    assert_int_equal(ks_engine_flush(e), KS_OK);
    check_reads(e, begin);
    assert_true(shared > 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
