/*
 * Damage at rest and disks that fill up: what is damaged is told with file and remedy, set aside or
 * refused, and the rest is served; a full disk is an answer, and over when there is room again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine_util.h"
#include "storage/part.h"
#include "sys/clock.h"
#include "sys/simdisk.h"

enum { SAMPLES = 300, STEP_MS = 15000, CAP = 1000 };
static int64_t start_ms;
static int64_t got_ts[CAP];
static double got_v[CAP];

static ks_err open_with(struct ks_simdisk *d, bool repair, uint64_t min_free,
                        struct ks_engine **ret)
{
    struct ks_engine_opts o = {.vfs = ks_simdisk_vfs(d),
                               .dir = "data",
                               .retention_ms = 90 * KS_MS_DAY,
                               .wal_segment_bytes = 64 << 10,
                               .wal_repair = repair,
                               .memory_bytes = 64 << 20,
                               .min_free_disk_bytes = min_free,
                               .shards = 2,
                               .no_background = true};
    *ret = NULL;
    return ks_engine_open(&o, ret);
}

static struct ks_engine *must_open(struct ks_simdisk *d, bool repair)
{
    struct ks_engine *e;
    ks_err err = open_with(d, repair, 1, &e);
    if (err != KS_OK)
        print_error("open: %s\n", ks_err_text());
    assert_int_equal(err, KS_OK);
    return e;
}

static void fill(struct ks_engine *e, const char *series, int day)
{
    struct tw w;
    tw_init(&w);
    for (int i = 0; i < SAMPLES; i++)
        tw_add(&w, series, start_ms + day * KS_MS_DAY + i * STEP_MS, i);
    assert_int_equal(tw_write(&w, e, NULL), KS_OK);
    tw_done(&w);
}

static size_t count(struct ks_engine *e, const char *series)
{
    return t_read(e, series, start_ms, start_ms + 10 * KS_MS_DAY, got_ts, got_v, CAP);
}

/* Whether a series can be read, without failing the test when not. */
static bool readable(struct ks_engine *e, const char *series, size_t *ret_n)
{
    int64_t end_ms = start_ms + 10 * KS_MS_DAY;
    struct ks_series_set *set;
    struct ks_samples s = {0};
    *ret_n = 0;
    if (t_select(e, series, start_ms, end_ms, &set) != KS_OK)
        return false;
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_series_set_count(set) && err == KS_OK; i++) {
        err = ks_series_read(set, i, start_ms, end_ms, &s);
        *ret_n += s.count;
    }
    ks_samples_done(&s);
    ks_series_set_free(set);
    return err == KS_OK;
}

/* Paths of files whose name ends so, below a folder of the data. */
struct found {
    char names[64][80];
    size_t count;
    const char *suffix;
};

static bool find_entry(void *arg, const char *name, bool is_dir)
{
    struct found *f = arg;
    size_t n = strlen(name), k = strlen(f->suffix);
    if (n >= k && strcmp(name + n - k, f->suffix) == 0 && f->count < 64)
        snprintf(f->names[f->count++], sizeof f->names[0], "%s", name);
    return true;
}

static struct found find_in(struct ks_simdisk *d, const char *folder, const char *suffix)
{
    struct found f = {.suffix = suffix};
    struct ks_vfs *v = ks_simdisk_vfs(d);
    assert_int_equal(v->ops->list(v, folder, find_entry, &f), KS_OK);
    return f;
}

/* Two days in parts: "keep" on the first, "hurt" on the second; ret_path: the second's file. */
static struct ks_simdisk *two_parts(char ret_path[256])
{
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_engine *e = must_open(d, false);
    fill(e, "keep", 0);
    assert_int_equal(ks_engine_merge(e, ""), KS_OK);
    fill(e, "hurt", 1);
    fill(e, "hurt", 2); /* seals the day before */
    assert_int_equal(ks_engine_close(e), KS_OK);
    struct found days = find_in(d, "data/parts", "");
    char folder[128];
    const char *last = "";
    for (size_t i = 0; i < days.count; i++)
        if (strcmp(days.names[i], last) > 0)
            last = days.names[i];
    snprintf(folder, sizeof folder, "data/parts/%s", last);
    struct found parts = find_in(d, folder, ".part");
    assert_true(parts.count >= 1);
    snprintf(ret_path, 256, "%s/%s", folder, parts.names[0]);
    return d;
}

static void check_served(struct ks_simdisk *d, const char *what)
{
    struct ks_engine *e = must_open(d, false);
    struct ks_engine_stats st;
    size_t keep, hurt;
    bool whole = readable(e, "hurt", &hurt);
    (void)!ks_engine_merge(e, "");
    assert_int_equal(ks_engine_tick(e), KS_OK);
    assert_int_equal(ks_engine_tick(e), KS_OK);
    ks_engine_get_stats(e, &st);
    if (st.quarantined_parts != 1) {
        print_error("%s: %llu parts quarantined, read %s before\n", what,
                    (unsigned long long)st.quarantined_parts, whole ? "well" : "with an error");
        fail();
    }
    assert_true(readable(e, "keep", &keep));
    assert_int_equal(keep, SAMPLES);
    assert_true(readable(e, "hurt", &hurt));
    assert_true(hurt < 2 * SAMPLES);
    assert_int_equal(find_in(d, "data/quarantine", ".part").count, 1);
    fill(e, "after", 1);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = must_open(d, false);
    assert_int_equal(count(e, "keep"), SAMPLES);
    assert_int_equal(count(e, "after"), SAMPLES);
    assert_int_equal(ks_engine_close(e), KS_OK);
}

static void test_damaged_part(void **state)
{
    char path[256], what[128];
    struct ks_simdisk *d = two_parts(path), *copy;
    struct ks_part *p;
    assert_int_equal(ks_part_open(ks_simdisk_vfs(d), path, NULL, &p), KS_OK);
    uint64_t size = ks_part_bytes(p), bits[64];
    size_t n = 0;
    for (size_t s = 0; ks_part_section_name(p, s); s++) {
        size_t pages;
        const struct ks_page_ref *ref =
            ks_part_section_pages(p, ks_part_section_name(p, s), &pages);
        for (size_t i = 0; i < pages && n < 60; i++)
            bits[n++] = (ref[i].offset + ref[i].stored_bytes - 1) * 8 + 3;
    }
    ks_part_close(p);
    bits[n++] = 30 * 8;          /* header */
    bits[n++] = (size - 20) * 8; /* footer */
    bits[n++] = (size - 60) * 8; /* table of contents */
    assert_true(n > 5);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ks_simdisk_crash(d, i, &copy), KS_OK); /* a copy: all is durable */
        assert_int_equal(ks_simdisk_flip(copy, path, bits[i]), KS_OK);
        snprintf(what, sizeof what, "bit %llu of %llu bytes", (unsigned long long)bits[i],
                 (unsigned long long)size);
        check_served(copy, what);
        ks_simdisk_free(copy);
    }
    ks_simdisk_free(d);
}

static void expect_refused(struct ks_simdisk *d, const char *file, const char *remedy)
{
    struct ks_engine *e;
    assert_int_equal(open_with(d, false, 1, &e), KS_ECORRUPT);
    if (!strstr(ks_err_text(), file) || !strstr(ks_err_text(), remedy)) {
        print_error("\"%s\" lacks \"%s\" or \"%s\"\n", ks_err_text(), file, remedy);
        fail();
    }
}

static void test_damaged_manifest(void **state)
{
    char path[256];
    struct ks_simdisk *d = two_parts(path);
    assert_int_equal(ks_simdisk_flip(d, "data/MANIFEST", 100), KS_OK);
    expect_refused(d, "data/MANIFEST", "snapshot");
    assert_int_equal(ks_simdisk_flip(d, "data/MANIFEST", 100), KS_OK);
    struct ks_engine *e = must_open(d, false);
    assert_int_equal(count(e, "hurt"), 2 * SAMPLES); /* refusing changed nothing */
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_simdisk_free(d);
}

static void test_damaged_checkpoint(void **state)
{
    for (int where = 0; where < 3; where++) {
        char path[256];
        struct ks_simdisk *d = two_parts(path);
        struct found f = find_in(d, "data/checkpoint", ".ckpt");
        assert_int_equal(f.count, 1);
        snprintf(path, sizeof path, "data/checkpoint/%s", f.names[0]);
        assert_int_equal(ks_simdisk_flip(d, path,
                                         where == 0   ? 20 * 8
                                         : where == 1 ? 90 * 8
                                                      : 200 * 8),
                         KS_OK);
        expect_refused(d, path, "-wal.repair");
        struct ks_engine *e = must_open(d, true);
        size_t kept =
            count(e, "keep"); /* its sealed chunks; the open one was in the checkpoint only */
        assert_true(kept >= 100 && kept <= SAMPLES);
        fill(e, "after", 1);
        assert_int_equal(ks_engine_close(e), KS_OK);
        e = must_open(d, false);
        assert_int_equal(count(e, "keep"), kept);
        assert_int_equal(count(e, "after"), SAMPLES);
        assert_int_equal(ks_engine_close(e), KS_OK);
        ks_simdisk_free(d);
    }
}

static void test_damaged_tombstones(void **state)
{
    char path[256];
    struct ks_simdisk *d = two_parts(path);
    struct ks_engine *e = must_open(d, false);
    struct ks_matcher room[4];
    struct ks_selector sel = t_selector("keep", room, 4);
    struct ks_select_opts o = {.selectors = &sel, .selector_count = 1};
    uint64_t touched;
    assert_int_equal(ks_engine_delete(e, &o, &touched), KS_OK);
    assert_int_equal(count(e, "keep"), 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    struct found f = find_in(d, "data/tombs", ".tomb");
    assert_true(f.count >= 1);
    for (size_t i = 0; i < f.count; i++) {
        snprintf(path, sizeof path, "data/tombs/%s", f.names[i]);
        assert_int_equal(ks_simdisk_flip(d, path, 8 * 8), KS_OK);
    }
    e = must_open(d, false); /* rather too much than a store that does not start */
    assert_int_equal(count(e, "keep"), SAMPLES);
    assert_int_equal(ks_engine_delete(e, &o, &touched), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = must_open(d, false);
    assert_int_equal(count(e, "keep"), 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_simdisk_free(d);
}

/* A log that was left without a checkpoint, damaged in its middle. */
static void test_damaged_log(void **state)
{
    struct ks_simdisk *d, *after;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_engine *e = must_open(d, false);
    fill(e, "keep", 0);
    for (int i = 0; i < 20; i++)
        fill(e, "hurt", 1);
    assert_int_equal(ks_simdisk_crash(d, 1, &after), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    struct found f = find_in(after, "data/wal", ".seg");
    char path[256] = "";
    for (size_t i = 0; i < f.count && !path[0]; i++)
        if (strncmp(f.names[i], "wal-", 4) == 0)
            snprintf(path, sizeof path, "data/wal/%s", f.names[i]);
    assert_int_equal(ks_simdisk_flip(after, path, (4096 + 4096 * 4 + 100) * 8), KS_OK);
    expect_refused(after, path, "-wal.repair");
    e = must_open(after, true);
    assert_int_equal(count(e, "keep"), SAMPLES); /* stood before the damage */
    fill(e, "after", 1);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = must_open(after, false);
    assert_int_equal(count(e, "keep"), SAMPLES);
    assert_int_equal(count(e, "after"), SAMPLES);
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_simdisk_free(after);
    ks_simdisk_free(d);
}

/* A killed store recovers the same through a pool, where the log is replayed by several threads. */
static void test_parallel_replay(void **state)
{
    struct ks_simdisk *d, *after;
    struct ks_pool *pool;
    char name[32];
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    assert_int_equal(ks_pool_new("work", 3, 16, &pool), KS_OK);
    struct ks_engine *e = must_open(d, false);
    for (int s = 0; s < 40; s++) {
        snprintf(name, sizeof name, "m%d", s);
        fill(e, name, 0);
    }
    assert_int_equal(ks_simdisk_crash(d, 1, &after), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    struct ks_engine_opts o = {.vfs = ks_simdisk_vfs(after),
                               .dir = "data",
                               .retention_ms = 90 * KS_MS_DAY,
                               .shards = 2,
                               .wal_segment_bytes = 64 << 10,
                               .min_free_disk_bytes = 1,
                               .no_background = true,
                               .pool = pool};
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    for (int s = 0; s < 40; s++) {
        snprintf(name, sizeof name, "m%d", s);
        assert_int_equal(count(e, name), SAMPLES);
        for (int i = 0; i < SAMPLES; i++)
            assert_true(got_ts[i] == start_ms + i * STEP_MS && got_v[i] == i);
    }
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_pool_free(pool);
    ks_simdisk_free(after);
    ks_simdisk_free(d);
}

/* The disk is full: writes are refused and told so; with room again they go on, without a restart.
 */
static void test_space_returns(void **state)
{
    struct ks_simdisk *d;
    struct ks_engine *e;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    e = must_open(d, false);
    fill(e, "before", 0);
    ks_simdisk_limit(d, ks_simdisk_used(d) + 8192);
    ks_err err = KS_OK;
    int written = 0;
    for (; err == KS_OK && written < 100000; written++)
        err = tw_put(e, "during", start_ms + written * 1000, written);
    assert_int_equal(err, KS_ENOSPC);
    assert_int_equal(count(e, "before"), SAMPLES);
    ks_simdisk_limit(d, 0);
    int64_t until = ks_mono_ms() + 5000;
    while ((err = tw_put(e, "after", start_ms, 1)) == KS_ENOSPC && ks_mono_ms() < until)
        usleep(20000);
    assert_int_equal(err, KS_OK);
    fill(e, "later", 0);
    assert_int_equal(ks_engine_close(e), KS_OK);
    e = must_open(d, false);
    assert_int_equal(count(e, "before"), SAMPLES);
    assert_int_equal(count(e, "after"), 1);
    assert_int_equal(count(e, "later"), SAMPLES);
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_simdisk_free(d);
}

static void test_read_only_guard(void **state)
{
    struct ks_simdisk *d;
    struct ks_engine *e;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    assert_int_equal(open_with(d, false, 1 << 20, &e), KS_OK);
    fill(e, "before", 0);
    ks_simdisk_limit(d, ks_simdisk_used(d) + (512 << 10));
    assert_int_equal(ks_engine_tick(e), KS_OK);
    assert_int_equal(tw_put(e, "during", start_ms, 1), KS_EREADONLY);
    assert_non_null(strstr(ks_err_text(), "-storage.minFreeDiskSpaceBytes"));
    assert_int_equal(count(e, "before"), SAMPLES);
    ks_simdisk_limit(d, ks_simdisk_used(d) + (64 << 20));
    assert_int_equal(ks_engine_tick(e), KS_OK);
    assert_int_equal(tw_put(e, "after", start_ms, 1), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    ks_simdisk_free(d);
}

static void test_second_process_refused(void **state)
{
    char *dir = t_mkdir();
    struct ks_engine_opts o = {.dir = dir, .no_background = true, .min_free_disk_bytes = 1};
    struct ks_engine *e;
    assert_int_equal(ks_engine_open(&o, &e), KS_OK);
    pid_t child = fork();
    if (child == 0) {
        struct ks_engine *other;
        _exit(ks_engine_open(&o, &other) == KS_EBUSY ? 0 : 1);
    }
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    assert_int_equal(tw_put(e, "a", ks_now_ms(), 1), KS_OK);
    assert_int_equal(ks_engine_close(e), KS_OK);
    t_rmdir(dir);
}

int main(void)
{
    ks_log_set_level(KS_LOG_ERROR + 1);
    start_ms = (ks_now_ms() / KS_MS_DAY - 5) * KS_MS_DAY + KS_MS_HOUR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_part),
        cmocka_unit_test(test_damaged_manifest),
        cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_damaged_tombstones),
        cmocka_unit_test(test_damaged_log),
        cmocka_unit_test(test_parallel_replay),
        cmocka_unit_test(test_space_returns),
        cmocka_unit_test(test_read_only_guard),
        cmocka_unit_test(test_second_process_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
