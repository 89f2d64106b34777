/*
 * The engine on a disk and a heap that fail: the n-th call of every kind, for n over a whole
 * workload. An error is reported as one, the engine stays usable or closes, opens again, and has
 * everything it acknowledged and nothing it was never given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "disk_faults.h"
#include "engine_util.h"
#include "histogram_shapes.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { SERIES = 8, SLOTS = 400, STEP_MS = 15000, POINTS_PER_KIND = 60 };
enum { UNTRIED, TRIED, ACKED };

static int64_t start_ms;

struct world {
    struct ks_simdisk *disk;
    struct ks_engine *e;
    uint8_t cells[SERIES][SLOTS];
    uint32_t next_slot;
    char where[128]; /* which fault, for messages */
};

static struct ks_engine_opts opts_on(struct world *w)
{
    return (struct ks_engine_opts){.vfs = ks_simdisk_vfs(w->disk),
                                   .dir = "data",
                                   .retention_ms = 90 * KS_MS_DAY,
                                   .wal_segment_bytes = 64 << 10,
                                   .memory_bytes = 64 << 20,
                                   .min_free_disk_bytes = 1,
                                   .series_idle_ms = 1,
                                   .flush_interval_ms = 1,
                                   .shards = 2,
                                   .no_background = true};
}

static ks_err open_world(struct world *w)
{
    struct ks_engine_opts o = opts_on(w);
    return ks_engine_open(&o, &w->e);
}

static void close_world(struct world *w)
{
    (void)ks_engine_close(w->e);
    w->e = NULL;
}

static void new_world(struct world *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(ks_simdisk_new(&w->disk), KS_OK);
}

static void free_world(struct world *w)
{
    close_world(w);
    ks_simdisk_free(w->disk);
}

static void must(struct world *w, ks_err err, const char *what)
{
    if (err == KS_OK)
        return;
    print_error("%s: %s: %s\n", w->where, what, ks_err_text());
    fail();
}

static double value_of(uint32_t series, uint32_t slot)
{
    return series % 2 ? slot * 0.125 : (double)(ks_mix64(series * 1000 + slot) >> 12);
}

/* These series have native histograms; the value is their sum. */
static bool has_histograms(uint32_t s)
{
    return s % 4 == 2;
}

/* Made before anything fails. */
static const struct ks_histogram *histogram_of(uint32_t series, uint32_t slot)
{
    static struct ks_histogram made[SERIES][SLOTS];
    static struct ks_arena arena;
    if (!arena.cap_bytes) {
        ks_arena_init(&arena, 1 << 28);
        for (uint32_t s = 0; s < SERIES; s++)
            for (uint32_t i = 0; i < SLOTS; i++) {
                made[s][i] = shape_counter(&arena, 6 + i / 50, i, s > 4);
                made[s][i].sum = value_of(s, i);
            }
    }
    return &made[series][slot];
}

static void name_of(uint32_t s, char out[64])
{
    snprintf(out, 64, "m%u{job=\"j\",instance=\"i%u\"}", s % 3, s);
}

/* --- steps of the workload --- */

/* Some slots forward, and one of those before for every third series: late. */
static ks_err step_write(struct world *w, uint32_t slots)
{
    static bool in[SERIES][SLOTS];
    struct tw t;
    char name[64];
    memset(in, 0, sizeof in);
    tw_init(&t);
    for (uint32_t k = 0; k < slots; k++, w->next_slot++) {
        for (uint32_t s = 0; s < SERIES; s++) {
            uint32_t slot = w->next_slot;
            if (s % 3 == 0 && slot % 4 == 3)
                continue; /* comes late */
            in[s][slot] = true;
            if (s % 3 == 0 && slot % 4 == 2 && slot > 4)
                in[s][slot - 3] = true;
        }
    }
    for (uint32_t s = 0; s < SERIES; s++) {
        name_of(s, name);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            if (!in[s][slot] || w->cells[s][slot] == ACKED)
                continue;
            int64_t ts = start_ms + (int64_t)slot * STEP_MS;
            if (has_histograms(s))
                tw_add_histogram(&t, name, ts, histogram_of(s, slot));
            else
                tw_add(&t, name, ts, value_of(s, slot));
            w->cells[s][slot] = TRIED;
        }
    }
    ks_err err = tw_write(&t, w->e, NULL);
    tw_done(&t);
    for (uint32_t s = 0; err == KS_OK && s < SERIES; s++)
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            if (in[s][slot])
                w->cells[s][slot] = ACKED;
    return err;
}

static ks_err step_delete(struct world *w, uint32_t s)
{
    struct ks_matcher room[8];
    char name[64];
    uint64_t touched;
    name_of(s, name);
    struct ks_selector sel = t_selector(name, room, 8);
    struct ks_tenant tenant = {0, 0};
    struct ks_select_opts o = {
        .tenants = &tenant, .tenant_count = 1, .selectors = &sel, .selector_count = 1};
    ks_err err = ks_engine_delete(w->e, &o, &touched);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (w->cells[s][slot])
            w->cells[s][slot] = err == KS_OK ? UNTRIED : TRIED;
    return err;
}

static ks_err step_reopen(struct world *w)
{
    ks_err err = ks_engine_close(w->e);
    w->e = NULL;
    ks_err opened = open_world(w);
    return err == KS_OK ? opened : err;
}

static ks_err step_snapshot(struct world *w)
{
    char name[64];
    return ks_engine_snapshot_create(w->e, name);
}

static ks_err one_step(struct world *w, unsigned step)
{
    switch (step) {
    case 0:
        return open_world(w);
    case 1:
    case 3:
    case 8:
    case 11:
        return step_write(w, 30);
    case 2:
    case 9:
        return ks_engine_tick(w->e); /* flushes, drops idle series */
    case 4:
        return ks_engine_flush(w->e);
    case 5:
        return step_delete(w, 3);
    case 6:
        return ks_engine_merge(w->e, "");
    case 7:
        return step_reopen(w);
    case 10:
        return step_snapshot(w);
    default:
        return step_reopen(w);
    }
}
enum { STEPS = 13 };

/* Runs every step, whatever became of the ones before. Returns how many failed. */
static unsigned workload(struct world *w)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        if (!w->e && i && open_world(w) != KS_OK) {
            failed++;
            continue;
        }
        ks_err err = one_step(w, i);
        if (err != KS_OK && getenv("KS_TEST_TRACE"))
            print_message("%s: step %u: %s\n", w->where, i, ks_err_text());
        failed += err != KS_OK;
    }
    return failed;
}

/* --- checking --- */

/* Of histograms the sums; each must be whole. */
static size_t read_series(struct world *w, uint32_t s, int64_t *ts, double *v)
{
    char name[64];
    struct ks_arena a;
    int64_t end_ms = start_ms + (int64_t)SLOTS * STEP_MS;
    name_of(s, name);
    if (!has_histograms(s))
        return t_read(w->e, name, start_ms, end_ms, ts, v, SLOTS + 8);
    ks_arena_init(&a, 1 << 28);
    struct ks_histogram_run r = t_read_histograms(w->e, name, start_ms, end_ms, &a);
    for (size_t i = 0; i < r.count; i++) {
        ts[i] = r.times[i];
        v[i] = r.items[i].sum;
        assert_true(ks_histogram_identical(
            &r.items[i], histogram_of(s, (uint32_t)((ts[i] - start_ms) / STEP_MS))));
    }
    ks_arena_done(&a);
    return r.count;
}

static void check(struct world *w, const char *when)
{
    static int64_t ts[SLOTS + 8];
    static double v[SLOTS + 8];
    char name[64];
    for (uint32_t s = 0; s < SERIES; s++) {
        name_of(s, name);
        size_t n = read_series(w, s, ts, v), at = 0;
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            bool here = at < n && ts[at] == start_ms + (int64_t)slot * STEP_MS;
            if ((here && (!w->cells[s][slot] || v[at] != value_of(s, slot))) ||
                (!here && w->cells[s][slot] == ACKED)) {
                print_error("%s: %s: series %u slot %u is %s\n", w->where, when, s, slot,
                            here ? "invented" : "lost");
                fail();
            }
            at += here;
        }
        assert_int_equal(at, n);
    }
}

/* After the fault is over: what is alive shows the truth; after a restart so does everything, and
 * all goes on. */
static void check_after(struct world *w)
{
    if (w->e)
        check(w, "before closing");
    close_world(w);
    must(w, open_world(w), "open after the fault");
    check(w, "after reopening");
    must(w, step_write(w, 5), "write after the fault");
    must(w, ks_engine_merge(w->e, ""), "merge after the fault");
    check(w, "after going on");
    must(w, step_reopen(w), "reopen");
    check(w, "at the end");
}

/* --- the n-th call fails --- */

static uint64_t count_calls(unsigned kind)
{
    struct world w;
    new_world(&w);
    snprintf(w.where, sizeof w.where, "no fault");
    assert_int_equal(workload(&w), 0);
    uint64_t n = ks_simdisk_calls(w.disk, kind);
    check(&w, "no fault");
    free_world(&w);
    return n;
}

static void fail_calls(unsigned kind, ks_err err, bool sticky)
{
    uint64_t calls = count_calls(kind), step = calls / POINTS_PER_KIND + 1;
    for (uint64_t n = 1; n <= calls; n += step) {
        struct world w;
        new_world(&w);
        snprintf(w.where, sizeof w.where, "call %llu of kind %u fails with %s%s",
                 (unsigned long long)n, kind, ks_err_name(err), sticky ? " from then on" : "");
        ks_simdisk_fail(w.disk, kind, n, err, sticky);
        unsigned failed = workload(&w);
        bool hit = ks_simdisk_fail_hit(w.disk);
        ks_simdisk_fail(w.disk, kind, 0, KS_OK, false);
        /* Removing files may fail unnoticed, so may making log segments ahead of need; all else is
         * told. */
        if (sticky && kind != KS_SIM_UNLINK && hit && !failed && n + 20 < calls) {
            print_error("%s: nobody was told\n", w.where);
            fail();
        }
        check_after(&w);
        free_world(&w);
    }
}

static void test_io_fails(void **state)
{
    each_disk_fault(fail_calls, KS_EIO);
}

static void test_no_space(void **state)
{
    each_disk_fault(fail_calls, KS_ENOSPC);
}

static void test_memory_fails(void **state)
{
    enum { EVERY_ONE = 600 }; /* opening and the first writes; later rounds do the same again */
    uint64_t n = 1, tried = 0;
    for (bool hit = true; hit; n += n < EVERY_ONE ? 1 : 1 + n / 200, tried++) {
        struct world w;
        new_world(&w);
        snprintf(w.where, sizeof w.where, "allocation %llu fails", (unsigned long long)n);
        ks_mem_fail_after(n, 0);
        (void)workload(&w);
        hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        check_after(&w);
        free_world(&w);
    }
    print_message("%llu of %llu allocations failed\n", (unsigned long long)tried,
                  (unsigned long long)n);
}

int main(void)
{
    (void)histogram_of(0, 0);
    ks_log_set_level(KS_LOG_ERROR + 1);
    start_ms = ks_now_ms() / STEP_MS * STEP_MS - 2 * KS_MS_DAY;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io_fails),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
