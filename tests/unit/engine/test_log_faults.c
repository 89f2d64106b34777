/*
 * A log store on a disk and a heap that fail: the n-th call of every kind, for n over a workload of
 * writes, flushes, merges, retention, deletes, queries and reopenings. An error is told as one,
 * the store stays usable or closes, opens again, and has everything it acknowledged and nothing it
 * was never given. No file is left behind that nothing names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "disk_faults.h"
#include "log_model.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { POINTS_PER_KIND = 50 };

static char where[128]; /* which fault, for messages */
/* Files that may be too many: removing one takes memory on the simulated disk. */
static uint64_t spare;

static struct world {
    struct ks_simdisk *disk;
    struct log_world w;
    struct log_model m;
    uint64_t rng;
} world;

static void told(const char *what, uint32_t row)
{
    print_error("%s: row %u: %s (last error: %s)\n", where, row, what, ks_err_text());
    fail();
}

static void must(ks_err err, const char *what)
{
    if (err == KS_OK)
        return;
    print_error("%s: %s: %s\n", where, what, ks_err_text());
    fail();
}

static struct world *new_world(void)
{
    struct world *x = &world;
    memset(x, 0, sizeof *x);
    x->m.fail = told;
    x->rng = 7;
    assert_int_equal(ks_simdisk_new(&x->disk), KS_OK);
    return x;
}

static void free_world(struct world *x)
{
    (void)!log_world_close(&x->w);
    ks_simdisk_free(x->disk);
}

/* --- steps of the workload --- */

static ks_err write_some(struct world *x, unsigned times)
{
    ks_err first = KS_OK;
    for (unsigned i = 0; i < times; i++) {
        ks_err err = log_model_write(&x->m, &x->w, &x->rng, 60);
        first = first == KS_OK ? err : first;
    }
    return first;
}

/* A query of all rows while a fault may strike: an error or the truth. */
static ks_err query(struct world *x)
{
    struct log_model before = x->m;
    ks_err err = log_model_check(&x->m, &x->w);
    x->m = before;
    return err;
}

static ks_err reopen(struct world *x)
{
    ks_err err = log_world_close(&x->w);
    ks_err opened = log_world_open(x->disk, &x->w);
    return err == KS_OK ? opened : err;
}

/* A day later the oldest rows' day is dropped; the clock goes back for what the model knows. */
static ks_err retention(struct world *x)
{
    return ks_engine_tick(x->w.e);
}

static ks_err snapshot(struct world *x)
{
    char name[64];
    return ks_engine_snapshot_create(x->w.e, name);
}

static ks_err one_step(struct world *x, unsigned step)
{
    switch (step) {
    case 0:
        return log_world_open(x->disk, &x->w);
    case 1:
    case 5:
    case 9:
    case 13:
        return write_some(x, 4);
    case 2:
    case 10:
        return ks_log_store_flush(x->w.s);
    case 3:
        return ks_engine_flush(x->w.e);
    case 4:
    case 12:
        return query(x);
    case 6:
    case 11:
        return log_model_delete(&x->m, &x->w, step % LM_GROUPS);
    case 7:
        return ks_log_store_merge(x->w.s, "");
    case 8:
    case 15:
        return reopen(x);
    case 14:
        return retention(x);
    default:
        return snapshot(x);
    }
}
enum { STEPS = 17 };

/* --- files --- */

struct count {
    struct ks_simdisk *disk;
    char path[256];
    uint64_t files;
    ks_err err;
};

static bool count_file(void *arg, const char *name, bool is_dir)
{
    ((struct count *)arg)->files += !is_dir;
    return true;
}

static bool count_day(void *arg, const char *name, bool is_dir)
{
    struct count *c = arg;
    struct ks_vfs *vfs = ks_simdisk_vfs(c->disk);
    char path[512];
    snprintf(path, sizeof path, "%s/%s", c->path, name);
    if (c->err == KS_OK)
        c->err = vfs->ops->list(vfs, path, count_file, c);
    return true;
}

/* Files of parts on disk are those the store has, and there are no more files of deleted rows. */
static void check_files(struct world *x)
{
    struct ks_log_store_stats st;
    struct count parts = {.disk = x->disk, .path = "data/logs/logs/parts"};
    struct count tombs = {.disk = x->disk};
    struct ks_vfs *vfs = ks_simdisk_vfs(x->disk);
    ks_log_store_get_stats(x->w.s, &st);
    ks_err err = vfs->ops->list(vfs, parts.path, count_day, &parts);
    if (err == KS_OK)
        err = vfs->ops->list(vfs, "data/logs/logs/tombs", count_file, &tombs);
    if (err != KS_OK || parts.err != KS_OK)
        return; /* the fault struck here */
    if (parts.files < st.part_count || parts.files > st.part_count + spare ||
        tombs.files > st.part_count + spare) {
        print_error("%s: %llu files of parts, %llu of deleted rows for %llu parts\n", where,
                    (unsigned long long)parts.files, (unsigned long long)tombs.files,
                    (unsigned long long)st.part_count);
        fail();
    }
}

/* Runs every step, whatever became of the ones before. Returns how many failed. */
static unsigned workload(struct world *x, bool files)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        if (!x->w.e && i && log_world_open(x->disk, &x->w) != KS_OK) {
            failed++;
            continue;
        }
        ks_err err = one_step(x, i);
        if (err != KS_OK && getenv("KS_TEST_TRACE"))
            print_message("%s: step %u: %s\n", where, i, ks_err_text());
        failed += err != KS_OK;
        if (files && x->w.e)
            check_files(x);
    }
    return failed;
}

/* --- checking --- */

/* After the fault is over: what is alive shows the truth; after a restart so does everything, and
 * all goes on. */
static void check_after(struct world *x, bool files)
{
    if (x->w.e) {
        must(query(x), "query before closing");
        /* What an unsure manifest may name stays until the next one. */
        if (files && ks_log_store_merge(x->w.s, "") == KS_OK)
            check_files(x);
    }
    (void)!log_world_close(&x->w);
    must(log_world_open(x->disk, &x->w), "open after the fault");
    spare = 0;
    check_files(x);
    must(log_model_check(&x->m, &x->w), "query after reopening");
    must(write_some(x, 1), "write after the fault");
    must(ks_log_store_merge(x->w.s, ""), "merge after the fault");
    must(log_model_check(&x->m, &x->w), "query after going on");
    must(reopen(x), "reopen");
    must(log_model_check(&x->m, &x->w), "query at the end");
    check_files(x);
}

/* --- the n-th call fails --- */

static uint64_t count_calls(unsigned kind)
{
    struct world *x = new_world();
    snprintf(where, sizeof where, "no fault");
    assert_int_equal(workload(x, true), 0);
    uint64_t n = ks_simdisk_calls(x->disk, kind);
    check_after(x, true);
    free_world(x);
    return n;
}

static void fail_calls(unsigned kind, ks_err err, bool sticky)
{
    uint64_t calls = count_calls(kind), step = calls / POINTS_PER_KIND + 1;
    for (uint64_t n = 1; n <= calls; n += step) {
        struct world *x = new_world();
        snprintf(where, sizeof where, "call %llu of kind %u fails with %s%s", (unsigned long long)n,
                 kind, ks_err_name(err), sticky ? " from then on" : "");
        ks_simdisk_fail(x->disk, kind, n, err, sticky);
        unsigned failed = workload(x, !sticky && kind != KS_SIM_UNLINK && kind != KS_SIM_SYNC);
        bool hit = ks_simdisk_fail_hit(x->disk);
        ks_simdisk_fail(x->disk, kind, 0, KS_OK, false);
        /* Removing files may fail unnoticed, so may making log segments ahead of need; all else is
         * told. */
        if (sticky && kind != KS_SIM_UNLINK && hit && !failed && n + 20 < calls) {
            print_error("%s: nobody was told\n", where);
            fail();
        }
        check_after(x, kind != KS_SIM_UNLINK);
        free_world(x);
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
    enum { EVERY_ONE = 300 }; /* opening and the first writes; later rounds do the same again */
    const char *from = getenv("KS_TEST_FROM"); /* to see one again */
    uint64_t n = from ? strtoull(from, NULL, 10) : 1, tried = 0;
    for (bool hit = true; hit; n += n < EVERY_ONE ? 1 : 1 + n / 60, tried++) {
        struct world *x = new_world();
        snprintf(where, sizeof where, "allocation %llu fails", (unsigned long long)n);
        ks_mem_fail_after(n, 0);
        spare = 8; /* a flush whose manifest may be in place leaves a part per day */
        (void)workload(x, true);
        hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        check_after(x, true);
        free_world(x);
    }
    print_message("%llu of %llu allocations failed\n", (unsigned long long)tried,
                  (unsigned long long)n);
}

int main(void)
{
    ks_log_set_level(KS_LOG_ERROR + 1);
    ks_clock_freeze_ms(LM_NOW_MS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io_fails),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_memory_fails),
    };
    cmocka_set_test_filter(getenv("KS_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
