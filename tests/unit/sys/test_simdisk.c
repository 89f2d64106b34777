/* The simulated disk keeps exactly what POSIX promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

static struct ks_simdisk *disk;
static struct ks_vfs *v;

static int setup(void **state)
{
    if (ks_simdisk_new(&disk) != KS_OK)
        return -1;
    v = ks_simdisk_vfs(disk);
    return 0;
}

static int teardown(void **state)
{
    ks_simdisk_free(disk);
    return 0;
}

static struct ks_file *must_open(struct ks_vfs *vfs, const char *path, int flags)
{
    struct ks_file *f = NULL;
    if (ks_open(vfs, path, flags, &f) != KS_OK)
        fail_msg("%s", ks_err_text());
    return f;
}

/* The file's content after a crash: its length, -1 when absent. */
static int after_crash(uint64_t seed, const char *path, char *out, size_t max)
{
    struct ks_simdisk *after;
    char *data;
    size_t len = 0;
    assert_int_equal(ks_simdisk_crash(disk, seed, &after), KS_OK);
    ks_err err = ks_vfs_read_file(ks_simdisk_vfs(after), path, max, &data, &len);
    if (err == KS_OK) {
        memcpy(out, data, len);
        ks_free(data);
    }
    ks_simdisk_free(after);
    return err == KS_OK ? (int)len : -1;
}

static void test_reads_what_was_written(void **state)
{
    static char want[100000], got[100000];
    uint64_t rng = 1;
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE);
    uint64_t size = 0, now;
    for (int i = 0; i < 500; i++) {
        size_t off = ks_rng_below(&rng, 90000), len = ks_rng_below(&rng, 9000), n;
        for (size_t k = 0; k < len; k++)
            want[off + k] = i % 5 ? (char)ks_rng_next(&rng) : 0;
        assert_int_equal(ks_write_at(f, off, want + off, len), KS_OK);
        if (len && off + len > size)
            size = off + len;
        if (i % 50 == 49) {
            size = ks_rng_below(&rng, size + 1000);
            memset(want + size, 0, sizeof want - size);
            assert_int_equal(v->ops->truncate(f, size), KS_OK);
        }
        if (i % 7 == 0)
            assert_int_equal(ks_sync(f), KS_OK);
        assert_int_equal(ks_file_size(f, &now), KS_OK);
        assert_int_equal(now, size);
        assert_int_equal(ks_read_at(f, 0, got, sizeof got, &n), KS_OK);
        assert_int_equal(n, size);
        assert_memory_equal(got, want, size);
    }
    ks_close(f);
}

static void test_unsynced_data(void **state)
{
    char buf[20480], got[65536];
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE);
    memset(buf, 'o', sizeof buf);
    assert_int_equal(ks_write_at(f, 0, buf, 16384), KS_OK);
    assert_int_equal(ks_sync(f), KS_OK);
    assert_int_equal(v->ops->sync_dir(v, "."), KS_OK);
    memset(buf, 'n', sizeof buf);
    assert_int_equal(ks_write_at(f, 4096, buf, sizeof buf), KS_OK);
    unsigned blocks_new = 0, blocks_old = 0, torn = 0, short_files = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        int len = after_crash(seed, "a", got, sizeof got);
        assert_true(len >= 16384 && len <= 24576);
        short_files += len < 24576;
        for (int i = 0; i < 4096; i++)
            assert_int_equal(got[i], 'o');
        for (int b = 1; b < 4; b++) {
            unsigned n = 0;
            for (int s = 0; s < 8; s++) {
                char c = got[b * 4096 + s * 512];
                assert_true(c == 'o' || c == 'n');
                for (int i = 0; i < 512; i++)
                    assert_int_equal(got[b * 4096 + s * 512 + i], c);
                n += c == 'n';
            }
            blocks_new += n == 8;
            blocks_old += n == 0;
            torn += n != 0 && n != 8;
        }
    }
    assert_true(blocks_new > 50 && blocks_old > 50 && torn > 50 && short_files > 50);
    assert_int_equal(ks_sync(f), KS_OK);
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_int_equal(after_crash(seed, "a", got, sizeof got), 24576);
        assert_memory_equal(got + 4096, buf, sizeof buf);
    }
    ks_close(f);
}

static void test_dsync_and_failed_sync(void **state)
{
    char buf[4096], got[8192];
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE | KS_OPEN_DSYNC);
    assert_int_equal(v->ops->sync_dir(v, "."), KS_OK);
    memset(buf, 'x', sizeof buf);
    assert_int_equal(ks_write_at(f, 0, buf, sizeof buf), KS_OK);
    ks_close(f);
    for (uint64_t seed = 0; seed < 30; seed++)
        assert_int_equal(after_crash(seed, "a", got, sizeof got), 4096);
    f = must_open(v, "a", KS_OPEN_WRITE);
    memset(buf, 'y', sizeof buf);
    assert_int_equal(ks_write_at(f, 0, buf, sizeof buf), KS_OK);
    ks_simdisk_fail(disk, KS_SIM_SYNC, 1, KS_EIO, false);
    assert_int_equal(ks_sync(f), KS_EIO);
    assert_true(ks_simdisk_fail_hit(disk));
    assert_int_equal(ks_sync(f), KS_OK); /* a lie, as on Linux: the pages are gone */
    for (uint64_t seed = 0; seed < 30; seed++) {
        assert_int_equal(after_crash(seed, "a", got, sizeof got), 4096);
        assert_int_equal(got[0], 'x');
    }
    ks_close(f);
}

static void put_file(const char *path, const char *text, bool sync)
{
    struct ks_file *f = must_open(v, path, KS_OPEN_CREATE | KS_OPEN_TRUNC);
    assert_int_equal(ks_write_at(f, 0, text, strlen(text)), KS_OK);
    if (sync)
        assert_int_equal(ks_sync(f), KS_OK);
    ks_close(f);
}

static void test_folder_operations(void **state)
{
    char got[64];
    unsigned absent = 0, older = 0, newer = 0;
    assert_int_equal(v->ops->mkdir(v, "d"), KS_OK);
    put_file("d/a", "old", true);
    for (uint64_t seed = 0; seed < 50; seed++)
        absent += after_crash(seed, "d/a", got, sizeof got) < 0;
    assert_true(absent > 5 && absent < 45);
    assert_int_equal(v->ops->sync_dir(v, "d"), KS_OK);
    put_file("d/a.tmp", "newer", true);
    assert_int_equal(v->ops->rename(v, "d/a.tmp", "d/a"), KS_OK);
    for (uint64_t seed = 0; seed < 100; seed++) {
        int len = after_crash(seed, "d/a", got, sizeof got);
        assert_true(len == 3 || len == 5);
        older += len == 3;
        newer += len == 5;
    }
    assert_true(older > 10 && newer > 10);
    assert_int_equal(v->ops->sync_dir(v, "d"), KS_OK);
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_int_equal(after_crash(seed, "d/a", got, sizeof got), 5);
        assert_int_equal(after_crash(seed, "d/a.tmp", got, sizeof got), -1);
    }
    assert_int_equal(v->ops->unlink(v, "d/a"), KS_OK);
    absent = 0;
    for (uint64_t seed = 0; seed < 50; seed++)
        absent += after_crash(seed, "d/a", got, sizeof got) < 0;
    assert_true(absent > 5 && absent < 45);
}

/* replace_file on every crash point: the old or the new content, never anything else. */
static void test_replace_file_is_atomic(void **state)
{
    char got[8192];
    static char old[5000], new[7000];
    memset(old, 'o', sizeof old);
    memset(new, 'n', sizeof new);
    for (uint64_t n = 1; n < 10; n++) {
        teardown(NULL);
        setup(NULL);
        assert_int_equal(ks_vfs_mkdirs(v, "x/y"), KS_OK);
        assert_int_equal(ks_vfs_replace_file(v, "x/y/f", ks_slice(old, sizeof old)), KS_OK);
        ks_simdisk_stop_at(disk, n);
        ks_err err = ks_vfs_replace_file(v, "x/y/f", ks_slice(new, sizeof new));
        assert_true((err == KS_OK) == !ks_simdisk_stopped(disk));
        for (uint64_t seed = 0; seed < 60; seed++) {
            int len = after_crash(seed, "x/y/f", got, sizeof got);
            if (err == KS_OK || len == (int)sizeof new) {
                assert_int_equal(len, sizeof new);
                assert_memory_equal(got, new, sizeof new);
            } else {
                assert_int_equal(len, sizeof old);
                assert_memory_equal(got, old, sizeof old);
            }
        }
    }
}

static void test_faults_and_counts(void **state)
{
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE);
    char buf[4096] = "abc";
    uint64_t before = ks_simdisk_calls(disk, KS_SIM_WRITE);
    ks_simdisk_fail(disk, KS_SIM_WRITE, 3, KS_ENOSPC, true);
    assert_int_equal(ks_write_at(f, 0, buf, 100), KS_OK);
    assert_int_equal(ks_write_at(f, 0, buf, 100), KS_OK);
    assert_false(ks_simdisk_fail_hit(disk));
    assert_int_equal(ks_write_at(f, 0, buf, 100), KS_ENOSPC);
    assert_int_equal(ks_write_at(f, 0, buf, 100), KS_ENOSPC);
    assert_int_equal(ks_simdisk_calls(disk, KS_SIM_WRITE) - before, 4);
    ks_simdisk_fail(disk, 0, 0, KS_OK, false);
    ks_simdisk_limit(disk, 3 * 4096);
    assert_int_equal(ks_write_at(f, 4096, buf, 4096), KS_OK);
    assert_int_equal(ks_write_at(f, 8192, buf, 4096), KS_OK);
    assert_int_equal(ks_write_at(f, 12288, buf, 4096), KS_ENOSPC);
    assert_int_equal(ks_write_at(f, 8192, buf, 4096), KS_OK);
    assert_int_equal(ks_simdisk_used(disk), 3 * 4096);
    assert_int_equal(v->ops->truncate(f, 0), KS_OK);
    assert_int_equal(ks_simdisk_used(disk), 0);
    ks_close(f);
    ks_simdisk_stop_at(disk, 1);
    assert_int_equal(v->ops->unlink(v, "a"), KS_EIO);
    assert_int_equal(ks_open(v, "a", KS_OPEN_READ, &f), KS_EIO);
    assert_true(ks_simdisk_stopped(disk));
}

static void test_direct_and_locks(void **state)
{
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE | KS_OPEN_DIRECT), *g;
    char *buf = ks_aligned_alloc(4096, 8192);
    memset(buf, 1, 8192);
    assert_int_equal(ks_write_at(f, 0, buf, 4096), KS_OK);
    assert_int_equal(ks_write_at(f, 512, buf, 4096), KS_EINVAL);
    assert_int_equal(ks_write_at(f, 0, buf + 1, 4096), KS_EINVAL);
    assert_int_equal(ks_write_at(f, 0, buf, 100), KS_EINVAL);
    ks_free(buf);
    ks_close(f);
    ks_simdisk_refuse_direct(disk, true);
    assert_int_equal(ks_open(v, "a", KS_OPEN_DIRECT, &f), KS_EUNSUPPORTED);
    assert_int_equal(v->ops->lock(v, "lock", &f), KS_OK);
    assert_int_equal(v->ops->lock(v, "lock", &g), KS_EBUSY);
    ks_close(f);
    assert_int_equal(v->ops->lock(v, "lock", &f), KS_OK);
    ks_close(f);
}

static void test_damage(void **state)
{
    char got[16];
    put_file("a", "hello", true);
    assert_int_equal(v->ops->sync_dir(v, "."), KS_OK);
    assert_int_equal(ks_simdisk_flip(disk, "a", 8), KS_OK);
    assert_int_equal(after_crash(1, "a", got, sizeof got), 5);
    assert_memory_equal(got, "hdllo", 5);
    assert_int_equal(ks_simdisk_poke(disk, "a", 3, "XY", 2), KS_OK);
    assert_int_equal(ks_simdisk_poke(disk, "a", 4, "XY", 2), KS_EINVAL);
    assert_int_equal(ks_simdisk_cut(disk, "a", 4), KS_OK);
    assert_int_equal(after_crash(1, "a", got, sizeof got), 4);
    assert_memory_equal(got, "hdlX", 4);
    assert_int_equal(ks_simdisk_flip(disk, "none", 8), KS_ENOTFOUND);
}

/* Equal seeds, equal states; and fast enough for thousands of crash points. */
static void test_deterministic_and_fast(void **state)
{
    static char a[1 << 20], b[1 << 20];
    char page[4096];
    struct ks_file *f = must_open(v, "a", KS_OPEN_CREATE);
    for (int i = 0; i < 256; i++) {
        memset(page, i, sizeof page);
        assert_int_equal(ks_write_at(f, (uint64_t)i * 4096, page, sizeof page), KS_OK);
        if (i == 100)
            assert_int_equal(ks_sync(f), KS_OK);
    }
    assert_int_equal(v->ops->sync_dir(v, "."), KS_OK);
    for (uint64_t seed = 0; seed < 20; seed++) {
        int n = after_crash(seed, "a", a, sizeof a);
        assert_int_equal(after_crash(seed, "a", b, sizeof b), n);
        assert_memory_equal(a, b, (size_t)n);
    }
    int64_t t = ks_mono_us();
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct ks_simdisk *after;
        assert_int_equal(ks_simdisk_crash(disk, seed, &after), KS_OK);
        ks_simdisk_free(after);
    }
    print_message("a crash of a 1 MiB file: %.1f us\n", (double)(ks_mono_us() - t) / 1000);
    ks_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_what_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsynced_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dsync_and_failed_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_operations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace_file_is_atomic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_direct_and_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deterministic_and_fast, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
