/* The open chunk: what was appended comes back, whatever the slab, and damaged bytes are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "storage/codec/gorilla.h"
#include "tests/support/codec_shapes.h"

#define N 500

/* A chunk in exactly sized heap slabs that grow as the head's do, so that ASan sees one byte too
 * many. */
struct chunk {
    struct ks_gorilla g;
    uint8_t *buf;
    size_t cap;
};

static void append(struct chunk *c, int64_t ts, uint64_t bits)
{
    while (!ks_gorilla_append(&c->g, c->buf, c->cap, ts, bits)) {
        assert_true(c->cap - ks_gorilla_bytes(&c->g) < KS_GORILLA_APPEND_MAX);
        size_t cap = c->cap ? c->cap * 2 : 16;
        uint8_t *grown = malloc(cap);
        memset(grown, 0xa5, cap);
        if (c->buf)
            memcpy(grown, c->buf, ks_gorilla_bytes(&c->g));
        free(c->buf);
        c->buf = grown;
        c->cap = cap;
    }
}

static void check(const struct chunk *c, const int64_t *ts, const double *v, size_t n)
{
    int64_t *got_ts = malloc(n * sizeof *got_ts);
    double *got = malloc(n * sizeof *got);
    size_t len = ks_gorilla_bytes(&c->g);
    uint8_t *exact = malloc(len);
    memcpy(exact, c->buf, len);
    assert_int_equal(c->g.count, n);
    assert_int_equal(ks_gorilla_decode(&c->g, exact, got_ts, got), n);
    assert_memory_equal(got_ts, ts, n * sizeof *ts);
    assert_memory_equal(got, v, n * sizeof *v);
    memset(got, 0, n * sizeof *got);
    assert_int_equal(ks_gorilla_decode_checked(&c->g, ks_slice(exact, len), got_ts, got), KS_OK);
    assert_memory_equal(got_ts, ts, n * sizeof *ts);
    assert_memory_equal(got, v, n * sizeof *v);
    exact = realloc(exact, len + KS_GORILLA_SLACK);
    memset(exact + len, 0x5a, KS_GORILLA_SLACK);
    for (int k = 0; k < 24; k++) { /* ranges that begin and end at, beside and far from samples */
        int64_t ends[2];
        for (int i = 0; i < 2; i++) {
            size_t at = (size_t)(k * 7919 + i * 104729) % n;
            int64_t near = ts[at], by = (k >> i) % 3 - 1;
            ends[i] = k == 3 * i                    ? (i ? INT64_MAX : INT64_MIN)
                      : by < 0 && near == INT64_MIN ? near
                      : by > 0 && near == INT64_MAX ? near
                                                    : near + by;
        }
        size_t from = 0, to = 0, many;
        while (from < n && ts[from] < ends[0])
            from++;
        while (to < n && ts[to] <= ends[1])
            to++;
        struct ks_gorilla_place at = ks_gorilla_begin(exact);
        for (int i = 0; i < 3; i++) { /* from the begin, and from places on the way */
            size_t known = (size_t)at.count - 1, begin = from > known ? from : known;
            many = ks_gorilla_decode_range(&c->g, &at, exact + at.pos / 8, ends[0], ends[1], got_ts,
                                           got);
            assert_int_equal(many, to > begin ? to - begin : 0);
            assert_memory_equal(got_ts, ts + begin, many * sizeof *ts);
            assert_memory_equal(got, v + begin, many * sizeof *v);
            assert_int_equal(at.ts, ts[known]);
            size_t by = 1 + (size_t)k * n / 48, stored = n - c->g.run;
            ks_gorilla_pass(&c->g, exact, by, &at);
            assert_true(at.count > known + by || at.count == stored);
        }
    }
    if (!c->g.run) {
        struct ks_gorilla_place end = ks_gorilla_end(&c->g), at = ks_gorilla_begin(exact);
        ks_gorilla_pass(&c->g, exact, n, &at);
        assert_memory_equal(&at, &end, sizeof at);
    }
    uint8_t state[KS_GORILLA_STATE_BYTES];
    struct ks_gorilla back;
    ks_gorilla_save(&c->g, state);
    assert_int_equal(ks_gorilla_load(ks_slice(state, sizeof state), &back), KS_OK);
    assert_int_equal(back.fell4, 0);
    ks_gorilla_note_falls(&back, v);
    unsigned fell = 0;
    for (size_t i = 1; i < n && fell != KS_GORILLA_UNSURE; i++)
        if (ks_f64_bits(v[i]) != ks_f64_bits(v[i - 1]) && !(v[i] >= v[i - 1]))
            fell = v[i] < v[i - 1] && v[i] >= 0 && i < 1016 ? ((unsigned)i + 4) / 4
                                                            : KS_GORILLA_UNSURE;
    assert_int_equal(back.fell4, fell);
    assert_memory_equal(&back, &c->g, sizeof back);
    free(exact);
    free(got);
    free(got_ts);
}

static void test_round_trip(void **state)
{
    int64_t ts[N];
    double v[N];
    for (int kind = 0; kind < SHAPE_COUNT; kind++) {
        for (int times = 0; times < TIMES_COUNT; times++) {
            struct chunk c = {0};
            shape_values(kind, 7, N, v);
            shape_times(times, 3, N, ts);
            for (size_t i = 0; i < N; i++) {
                append(&c, ts[i], ks_f64_bits(v[i]));
                if (i < 5 || i % 97 == 0)
                    check(&c, ts, v, i + 1);
            }
            check(&c, ts, v, N);
            free(c.buf);
        }
    }
}

/* A chunk restored from a checkpoint goes on as if nothing had happened. */
static void test_restored_chunk_continues(void **state)
{
    int64_t ts[N];
    double v[N];
    shape_values(SHAPE_replicas, 1, N, v);
    shape_times(TIMES_jitter_gaps, 1, N, ts);
    for (size_t cut = 1; cut < N; cut += 13) {
        struct chunk c = {0};
        uint8_t saved[KS_GORILLA_STATE_BYTES];
        for (size_t i = 0; i < cut; i++)
            append(&c, ts[i], ks_f64_bits(v[i]));
        ks_gorilla_save(&c.g, saved);
        memset(&c.g, 0xff, sizeof c.g);
        assert_int_equal(ks_gorilla_load(ks_slice(saved, sizeof saved), &c.g), KS_OK);
        ks_gorilla_note_falls(&c.g, v);
        for (size_t i = cut; i < N; i++)
            append(&c, ts[i], ks_f64_bits(v[i]));
        check(&c, ts, v, N);
        free(c.buf);
    }
}

static void test_run_mode_writes_nothing(void **state)
{
    struct chunk c = {0};
    append(&c, 1000, 5);
    append(&c, 2000, 5);
    uint32_t bits = c.g.bit_len;
    for (int64_t i = 2; i < KS_GORILLA_COUNT_MAX; i++)
        append(&c, 1000 + 1000 * i, 5);
    assert_int_equal(c.g.bit_len, bits);
    assert_int_equal(c.g.count, KS_GORILLA_COUNT_MAX);
    assert_false(ks_gorilla_append(&c.g, c.buf, c.cap, INT64_MAX, 5)); /* full */
    int64_t *ts = malloc(KS_GORILLA_COUNT_MAX * sizeof *ts);
    double *v = malloc(KS_GORILLA_COUNT_MAX * sizeof *v);
    assert_int_equal(ks_gorilla_decode(&c.g, c.buf, ts, v), KS_GORILLA_COUNT_MAX);
    assert_int_equal(ts[KS_GORILLA_COUNT_MAX - 1], 1000 * (int64_t)KS_GORILLA_COUNT_MAX);
    free(ts);
    free(v);
    free(c.buf);
}

static void test_runs_of_every_length(void **state)
{
    static const size_t lengths[] = {1, 2, 8, 9, 10, 127, 128, 129, 130, 3000};
    int64_t ts[8192];
    double v[8192];
    struct chunk c = {0};
    size_t n = 0;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        for (size_t i = 0; i <= lengths[k]; i++, n++) {
            ts[n] = (int64_t)n * 15000;
            v[n] = (double)k + 1;
        }
    for (size_t i = 0; i < n; i++)
        append(&c, ts[i], ks_f64_bits(v[i]));
    check(&c, ts, v, n);
    free(c.buf);
}

static void test_refused_append_changes_nothing(void **state)
{
    uint8_t buf[64], before[64];
    struct ks_gorilla g = {0}, old;
    uint64_t s = 5;
    int64_t ts = 0;
    for (int i = 0; i < 1000; i++) {
        old = g;
        memcpy(before, buf, sizeof buf);
        ts += 1 + (int64_t)ks_rng_below(&s, 100000);
        if (ks_gorilla_append(&g, buf, sizeof buf, ts, ks_rng_next(&s)))
            continue;
        assert_memory_equal(&g, &old, sizeof g);
        assert_memory_equal(buf, before, sizeof buf);
    }
    assert_true(g.count >= 4);
}

/* No change of one bit is accepted with other samples unless the state still agrees; none crashes.
 */
static void test_damage(void **state)
{
    int64_t ts[120], got_ts[120];
    double v[120], got[120];
    shape_values(SHAPE_cpu_2, 2, 120, v);
    shape_times(TIMES_jitter, 2, 120, ts);
    struct chunk c = {0};
    for (size_t i = 0; i < 120; i++)
        append(&c, ts[i], ks_f64_bits(v[i]));
    size_t len = ks_gorilla_bytes(&c.g);
    uint8_t *copy = malloc(len);
    unsigned refused = 0;
    for (size_t bit = 0; bit < len * 8; bit++) {
        memcpy(copy, c.buf, len);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += ks_gorilla_decode_checked(&c.g, ks_slice(copy, len), got_ts, got) != KS_OK;
    }
    assert_true(refused >= len * 8 * 99 / 100);
    assert_int_equal(ks_gorilla_decode_checked(&c.g, ks_slice(copy, len - 1), got_ts, got),
                     KS_ECORRUPT);
    free(copy);
    free(c.buf);
}

static void test_load_refuses_impossible_states(void **state)
{
    uint8_t buf[64], bytes[KS_GORILLA_STATE_BYTES];
    struct ks_gorilla g = {0}, ret;
    assert_true(ks_gorilla_append(&g, buf, sizeof buf, 1, 1));
    assert_true(ks_gorilla_append(&g, buf, sizeof buf, 2, 3));
    struct ks_gorilla bad[] = {g, g, g, g, g};
    bad[0].run = 2;
    bad[1].bit_len = 127;
    bad[2].bit_len = 1u << 20;
    bad[3].sig = 64;
    bad[3].lead = 1;
    bad[4].count = 0;
    for (size_t i = 0; i < 5; i++) {
        ks_gorilla_save(&bad[i], bytes);
        assert_int_equal(ks_gorilla_load(ks_slice(bytes, sizeof bytes), &ret), KS_ECORRUPT);
    }
    assert_int_equal(ks_gorilla_load(ks_slice(bytes, 33), &ret), KS_ECORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_restored_chunk_continues),
        cmocka_unit_test(test_run_mode_writes_nothing),
        cmocka_unit_test(test_runs_of_every_length),
        cmocka_unit_test(test_refused_append_changes_nothing),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_load_refuses_impossible_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
