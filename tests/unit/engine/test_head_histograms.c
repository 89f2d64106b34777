/*
 * Native histograms in the head, in records of the log and in checkpoints, without files: what goes
 * in comes out bit for bit, cut or flipped bytes give a clean error or something sound, and a
 * failed allocation loses nothing but what it was for. KS_WRITE_SEEDS=DIR writes the fuzzers'
 * seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_engine.h"
#include "base/time.h"
#include "engine/head_hist.h"
#include "engine/replay.h"
#include "histogram_shapes.h"
#include "sys/rand.h"

enum { SERIES = 6 };
static const int64_t start_ms = 1795268000000;

static void seed_file(const char *fuzzer, const char *name, struct ks_slice bytes)
{
    char path[4096];
    const char *dir = getenv("KS_WRITE_SEEDS");
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/%s/%s", dir, fuzzer, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
    fclose(f);
}

static void open_bare(struct ks_engine *e, size_t series)
{
    bare_engine_init(e);
    for (uint32_t i = 0; i < series; i++) {
        struct ks_buf labels;
        char text[32];
        ks_buf_init(&labels, 1024);
        ks_buf_lp(&labels, KS_SLICE_LIT("__name__"));
        snprintf(text, sizeof text, "h%u", i);
        ks_buf_lp(&labels, ks_slice_str(text));
        struct ks_live_add add = {ksi_sid(&e->shards[0], i), {0, 0}, ks_buf_view(&labels)};
        assert_int_equal(ksi_restore_series(e, &e->shards[0], &add, 1), KS_OK);
        ks_buf_done(&labels);
    }
}

static struct ks_histogram any_shape(struct ks_arena *a, uint64_t *rng, uint32_t i)
{
    uint64_t seed = ks_rng_next(rng) | 1;
    return ks_rng_below(rng, 2) ? shape_wild(a, &seed)
                                : shape_counter(a, 8 + i % 3, i, ks_rng_below(rng, 2));
}

static void fill(struct ks_engine *e, struct ks_arena *a, uint64_t seed, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = 0; s < SERIES; s++) {
            struct ks_histogram h = any_shape(a, &seed, i);
            uint32_t at = ks_rng_below(&seed, 10) ? i : i / 2; /* some are late */
            enum ksi_append how;
            assert_int_equal(ksi_hist_append(&e->shards[0], s, start_ms + at * 15000, &h, &how),
                             KS_OK);
        }
}

static void test_save_and_load(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct ks_engine e, again;
        struct ks_arena a;
        struct ks_buf saved, twice;
        ks_arena_init(&a, 1 << 28);
        ks_buf_init(&saved, 64 << 20);
        ks_buf_init(&twice, 64 << 20);
        open_bare(&e, SERIES);
        fill(&e, &a, seed, (uint32_t)(seed * 9));
        assert_int_equal(ksi_checkpoint_freeze_histograms(&e.shards[0], &saved), KS_OK);
        open_bare(&again, SERIES);
        assert_int_equal(ksi_checkpoint_load_histograms(&again.shards[0], ks_buf_view(&saved)),
                         KS_OK);
        assert_int_equal(ksi_checkpoint_freeze_histograms(&again.shards[0], &twice), KS_OK);
        assert_int_equal(saved.len, twice.len);
        assert_memory_equal(saved.ptr, twice.ptr, saved.len);
        char name[32];
        snprintf(name, sizeof name, "real-%d", (int)seed);
        if (saved.len < 6000)
            seed_file("head_histograms", name, ks_buf_view(&saved));
        bare_engine_use(&again);
        bare_engine_done(&again);
        bare_engine_done(&e);
        ks_buf_done(&saved);
        ks_buf_done(&twice);
        ks_arena_done(&a);
    }
}

/* Whatever is done to the bytes: an error, or a head that can be sealed. */
static void try_state(struct ks_slice bytes)
{
    struct ks_engine e;
    open_bare(&e, SERIES);
    if (ksi_checkpoint_load_histograms(&e.shards[0], bytes) == KS_OK)
        bare_engine_use(&e);
    bare_engine_done(&e);
}

static void test_damaged_state(void **state)
{
    struct ks_engine e;
    struct ks_arena a;
    struct ks_buf saved;
    ks_arena_init(&a, 1 << 28);
    ks_buf_init(&saved, 64 << 20);
    open_bare(&e, SERIES);
    fill(&e, &a, 3, 3);
    assert_int_equal(ksi_checkpoint_freeze_histograms(&e.shards[0], &saved), KS_OK);
    for (size_t i = 0; i < saved.len; i += 3)
        try_state(ks_slice(saved.ptr, i));
    for (size_t bit = 0; bit < saved.len * 8; bit += 5) {
        saved.ptr[bit / 8] ^= (char)(1 << bit % 8);
        try_state(ks_buf_view(&saved));
        saved.ptr[bit / 8] ^= (char)(1 << bit % 8);
    }
    bare_engine_done(&e);
    ks_buf_done(&saved);
    ks_arena_done(&a);
}

/* --- records of the log --- */

struct got {
    struct ks_arena *arena;
    struct ks_histogram h[64];
    uint32_t sid[64];
    int64_t ts[64];
    size_t n;
};

static ks_err take(void *arg, uint32_t sid, int64_t ts, const struct ks_histogram *h)
{
    struct got *g = arg;
    if (g->n == 64)
        return KS_OK;
    g->sid[g->n] = sid;
    g->ts[g->n] = ts;
    return ks_histogram_copy(g->arena, h, &g->h[g->n++]);
}

static void test_records(void **state)
{
    struct ks_arena a, one;
    struct ks_buf b;
    struct got g = {.arena = &a};
    struct ksi_histograms_enc enc;
    struct ks_histogram in[40];
    uint64_t rng = 5;
    ks_arena_init(&a, 1 << 28);
    ks_arena_init(&one, 1 << 24);
    ks_buf_init(&b, 1 << 24);
    ksi_rec_histograms_begin(&enc, &b);
    for (uint32_t i = 0; i < 40; i++) {
        in[i] = any_shape(&a, &rng, i);
        assert_int_equal(ksi_rec_histograms_add(&enc, i * 7 % 50, start_ms - i * 1000, &in[i]),
                         KS_OK);
    }
    assert_int_equal(ksi_rec_histograms_read(ks_buf_view(&b), &one, take, &g), KS_OK);
    assert_int_equal(g.n, 40);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(g.sid[i], i * 7 % 50);
        assert_int_equal(g.ts[i], start_ms - i * 1000);
        assert_true(ks_histogram_identical(&g.h[i], &in[i]));
    }
    /* An unsound one leaves nothing behind. */
    struct ks_histogram bad = in[0];
    size_t len = b.len;
    bad.schema = 77;
    assert_int_equal(ksi_rec_histograms_add(&enc, 1, start_ms, &bad), KS_EINVAL);
    assert_int_equal(b.len, len);
    for (size_t i = 0; i < len; i++) { /* a cut is an error, or the end of a histogram */
        g.n = 0;
        ks_err err = ksi_rec_histograms_read(ks_slice(b.ptr, i), &one, take, &g);
        assert_true(err == KS_OK || err == KS_ECORRUPT);
        assert_true(err != KS_OK || g.n < 40);
    }
    ks_buf_done(&b);
    ks_arena_done(&a);
    ks_arena_done(&one);
}

/* --- seeds of the log's fuzzer: a record of series, then records of histograms --- */

static void frame(struct ks_buf *out, uint8_t type, struct ks_slice payload)
{
    ks_buf_byte(out, type);
    ks_buf_byte(out, 0);
    ks_buf_u16(out, (uint16_t)payload.len);
    ks_buf_slice(out, payload);
}

static void test_replay(void **state)
{
    static const ks_lsn cuts[BARE_SHARDS];
    struct ks_arena a;
    uint64_t rng = 9;
    ks_arena_init(&a, 1 << 28);
    for (int k = 0; k < 4; k++) {
        struct ks_buf out, rec;
        struct ks_engine e;
        struct ksi_replay *r;
        struct ksi_replay_stats stats;
        ks_buf_init(&out, 1 << 20);
        ks_buf_init(&rec, 1 << 20);
        ksi_rec_series_add(&rec, 0, (struct ks_tenant){0, 0}, KS_SLICE_LIT("\x08__name__\x01h"));
        frame(&out, KS_REC_SERIES, ks_buf_view(&rec));
        bare_engine_init(&e);
        assert_int_equal(ksi_replay_new(&e, cuts, &r), KS_OK);
        struct ks_wal_record first = {1, KS_REC_SERIES, 0, ks_buf_view(&rec)};
        assert_int_equal(ksi_replay_record(r, &first), KS_OK);
        ks_buf_reset(&rec);
        struct ksi_histograms_enc enc;
        ksi_rec_histograms_begin(&enc, &rec);
        for (uint32_t i = 0; i < 12; i++) {
            struct ks_histogram h = any_shape(&a, &rng, i);
            assert_int_equal(ksi_rec_histograms_add(&enc, 0, start_ms + i * 15000, &h), KS_OK);
        }
        frame(&out, KS_REC_HISTOGRAMS, ks_buf_view(&rec));
        struct ks_wal_record second = {2, KS_REC_HISTOGRAMS, 0, ks_buf_view(&rec)};
        assert_int_equal(ksi_replay_record(r, &second), KS_OK);
        assert_int_equal(ksi_replay_finish(r, KS_OK, &stats), KS_OK);
        assert_int_equal(stats.samples, 12);
        assert_int_equal(e.shards[0].samples, 12);
        char name[32];
        snprintf(name, sizeof name, "histograms-%d", k);
        seed_file("wal_records", name, ks_buf_view(&out));
        bare_engine_use(&e);
        bare_engine_done(&e);
        ks_buf_done(&out);
        ks_buf_done(&rec);
    }
    ks_arena_done(&a);
}

/* --- failing allocations --- */

static size_t count_of(const struct ks_engine *e)
{
    const struct ksi_hist *x = ksi_hist_at(&e->shards[0], 0);
    return x ? x->count + x->late_count : 0;
}

static void test_no_memory(void **state)
{
    struct ks_arena a;
    ks_arena_init(&a, 1 << 28);
    for (uint64_t fail = 1; fail < 30; fail++) {
        struct ks_engine e;
        uint64_t rng = 2;
        uint32_t stored = 0;
        open_bare(&e, 1);
        for (uint32_t i = 0; i < 40; i++) {
            struct ks_histogram h = any_shape(&a, &rng, i);
            enum ksi_append how;
            if (i == 20)
                ks_mem_fail_after(fail, 0);
            ks_err err = ksi_hist_append(&e.shards[0], 0,
                                         start_ms + (i % 7 == 3 ? i - 3 : i) * 15000, &h, &how);
            assert_true(err == KS_OK || err == KS_ENOMEM);
            stored += err == KS_OK && how != KSI_DUPLICATE;
        }
        ks_mem_fail_after(0, 0);
        assert_int_equal(count_of(&e), stored);
        assert_int_equal(e.shards[0].samples, stored);
        for (uint64_t n = 1;; n++) { /* sealing, too, leaves all as it was */
            ks_mem_fail_after(n, 0);
            ks_err err = ksi_hist_seal(&e.shards[0], 0);
            bool hit = ks_mem_fail_hit();
            ks_mem_fail_after(0, 0);
            if (err == KS_OK && !hit)
                break;
            assert_true(err == KS_OK || err == KS_ENOMEM);
            if (err == KS_OK)
                break;
        }
        bare_engine_done(&e);
    }
    ks_arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_load), cmocka_unit_test(test_damaged_state),
        cmocka_unit_test(test_records),       cmocka_unit_test(test_replay),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
