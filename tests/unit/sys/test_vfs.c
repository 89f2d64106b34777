/* The real file system behind the seam, and the helpers that hold for every implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/rand.h"
#include "sys/simdisk.h"
#include "sys/vfs.h"

static struct ks_vfs *v; /* under test: posix, then simulated */
static struct ks_simdisk *disk;
static char dir[128];

static int setup_posix(void **state)
{
    v = ks_vfs_posix();
    snprintf(dir, sizeof dir, "scratch-vfs-%d", (int)getpid());
    if (ks_vfs_remove_tree(v, dir) != KS_OK)
        return -1;
    return ks_vfs_mkdirs(v, dir) == KS_OK ? 0 : -1;
}

static int teardown_posix(void **state)
{
    return ks_vfs_remove_tree(v, dir) == KS_OK ? 0 : -1;
}

static int setup_sim(void **state)
{
    snprintf(dir, sizeof dir, "scratch");
    if (ks_simdisk_new(&disk) != KS_OK)
        return -1;
    v = ks_simdisk_vfs(disk);
    return ks_vfs_mkdirs(v, dir) == KS_OK ? 0 : -1;
}

static int teardown_sim(void **state)
{
    ks_simdisk_free(disk);
    return 0;
}

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    struct ks_file *f;
    assert_int_equal(ks_open(v, in_dir(name), KS_OPEN_CREATE | KS_OPEN_TRUNC, &f), KS_OK);
    assert_int_equal(ks_write_at(f, 0, text, strlen(text)), KS_OK);
    assert_int_equal(ks_sync(f), KS_OK);
    ks_close(f);
}

static void check(const char *name, const char *text)
{
    char *data;
    size_t len;
    if (ks_vfs_read_file(v, in_dir(name), 1 << 20, &data, &len) != KS_OK)
        fail_msg("%s", ks_err_text());
    assert_string_equal(data, text);
    ks_free(data);
}

static void test_open_flags(void **state)
{
    struct ks_file *f;
    uint64_t size;
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_READ, &f), KS_ENOTFOUND);
    assert_non_null(strstr(ks_err_text(), "/a"));
    assert_int_equal(ks_open(v, in_dir("no/a"), KS_OPEN_CREATE, &f), KS_ENOTFOUND);
    put("a", "hello");
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_CREATE | KS_OPEN_EXCL, &f), KS_EEXIST);
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_CREATE, &f), KS_OK);
    assert_int_equal(ks_file_size(f, &size), KS_OK);
    assert_int_equal(size, 5);
    ks_close(f);
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_READ, &f), KS_OK);
    assert_int_not_equal(ks_write_at(f, 0, "x", 1), KS_OK);
    ks_close(f);
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_WRITE | KS_OPEN_TRUNC, &f), KS_OK);
    assert_int_equal(ks_file_size(f, &size), KS_OK);
    assert_int_equal(size, 0);
    ks_close(f);
    ks_close(NULL);
}

static void test_read_write(void **state)
{
    struct ks_file *f;
    char buf[64];
    size_t n;
    uint64_t size;
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_CREATE, &f), KS_OK);
    assert_int_equal(ks_write_at(f, 10000, "tail", 4), KS_OK);
    assert_int_equal(ks_read_at(f, 9998, buf, sizeof buf, &n), KS_OK);
    assert_int_equal(n, 6);
    assert_memory_equal(buf, "\0\0tail", 6);
    assert_int_equal(ks_read_at(f, 20000, buf, sizeof buf, &n), KS_OK);
    assert_int_equal(n, 0);
    assert_int_equal(ks_read_exact(f, 10000, buf, 4), KS_OK);
    assert_int_equal(ks_read_exact(f, 10000, buf, 5), KS_ECORRUPT);
    assert_int_equal(v->ops->truncate(f, 10002), KS_OK);
    assert_int_equal(ks_file_size(f, &size), KS_OK);
    assert_int_equal(size, 10002);
    assert_int_equal(v->ops->truncate(f, 10010), KS_OK);
    assert_int_equal(ks_read_exact(f, 10000, buf, 10), KS_OK);
    assert_memory_equal(buf, "ta\0\0\0\0\0\0\0\0", 10);
    ks_close(f);
}

static void test_read_many(void **state)
{
    enum { COUNT = 100, LEN = 700 };
    static char data[COUNT * LEN], got[COUNT][LEN];
    struct ks_read_req req[COUNT];
    struct ks_file *f;
    uint64_t rng = 3;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)ks_rng_next(&rng);
    assert_int_equal(ks_open(v, in_dir("a"), KS_OPEN_CREATE, &f), KS_OK);
    assert_int_equal(ks_write_at(f, 0, data, sizeof data), KS_OK);
    for (size_t i = 0; i < COUNT; i++)
        req[i] = (struct ks_read_req){f, (COUNT - 1 - i) * LEN, got[i], LEN};
    assert_int_equal(ks_vfs_read_many(v, req, COUNT), KS_OK);
    for (size_t i = 0; i < COUNT; i++)
        assert_memory_equal(got[i], data + (COUNT - 1 - i) * LEN, LEN);
    req[57].off = sizeof data - 10;
    assert_int_equal(ks_vfs_read_many(v, req, COUNT), KS_ECORRUPT);
    assert_int_equal(ks_vfs_read_many(v, req, 1), KS_OK);
    assert_int_equal(ks_vfs_read_many(v, req, 0), KS_OK);
    ks_close(f);
}

struct names {
    unsigned files, dirs;
    bool stop;
};

static bool on_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    assert_string_not_equal(name, ".");
    *(is_dir ? &n->dirs : &n->files) += 1;
    return !n->stop;
}

static void test_folders(void **state)
{
    struct names n = {0};
    assert_int_equal(ks_vfs_mkdirs(v, in_dir("x/y/z")), KS_OK);
    assert_int_equal(ks_vfs_mkdirs(v, in_dir("x/y/z")), KS_OK);
    put("x/a", "1");
    put("x/b", "2");
    assert_int_equal(v->ops->list(v, in_dir("x"), on_name, &n), KS_OK);
    assert_int_equal(n.files, 2);
    assert_int_equal(n.dirs, 1);
    n = (struct names){.stop = true};
    assert_int_equal(v->ops->list(v, in_dir("x"), on_name, &n), KS_OK);
    assert_int_equal(n.files + n.dirs, 1);
    assert_int_equal(v->ops->list(v, in_dir("none"), on_name, &n), KS_ENOTFOUND);
    assert_int_not_equal(v->ops->rmdir(v, in_dir("x")), KS_OK);
    assert_int_equal(v->ops->mkdir(v, in_dir("x/a")), KS_EEXIST);
    assert_int_equal(v->ops->sync_dir(v, in_dir("x")), KS_OK);
    assert_int_equal(v->ops->sync_dir(v, in_dir("none")), KS_ENOTFOUND);
    assert_int_equal(ks_vfs_remove_tree(v, in_dir("x")), KS_OK);
    assert_int_equal(ks_vfs_remove_tree(v, in_dir("x")), KS_OK);
    assert_int_equal(v->ops->list(v, in_dir("x"), on_name, &n), KS_ENOTFOUND);
}

static void test_names(void **state)
{
    put("a", "1");
    put("b", "2");
    assert_int_equal(v->ops->link(v, in_dir("a"), in_dir("c")), KS_OK);
    assert_int_equal(v->ops->link(v, in_dir("a"), in_dir("b")), KS_EEXIST);
    assert_int_equal(v->ops->rename(v, in_dir("a"), in_dir("b")), KS_OK);
    check("b", "1");
    check("c", "1");
    assert_int_equal(v->ops->rename(v, in_dir("a"), in_dir("b")), KS_ENOTFOUND);
    assert_int_equal(v->ops->unlink(v, in_dir("b")), KS_OK);
    assert_int_equal(v->ops->unlink(v, in_dir("b")), KS_ENOTFOUND);
    check("c", "1");
    assert_int_equal(ks_vfs_sync_parent(v, in_dir("c")), KS_OK);
}

static void test_small_files(void **state)
{
    char *data;
    size_t len;
    assert_int_equal(ks_vfs_replace_file(v, in_dir("m"), KS_SLICE_LIT("one")), KS_OK);
    check("m", "one");
    assert_int_equal(ks_vfs_replace_file(v, in_dir("m"), KS_SLICE_LIT("")), KS_OK);
    check("m", "");
    assert_int_equal(ks_vfs_replace_file(v, in_dir("m"), KS_SLICE_LIT("three")), KS_OK);
    assert_int_equal(ks_vfs_read_file(v, in_dir("m"), 4, &data, &len), KS_ETOOBIG);
    assert_int_equal(ks_vfs_read_file(v, in_dir("m"), 5, &data, &len), KS_OK);
    assert_int_equal(len, 5);
    ks_free(data);
}

static void test_space_and_direct(void **state)
{
    uint64_t free_bytes, total;
    assert_int_equal(v->ops->space(v, dir, &free_bytes, &total), KS_OK);
    assert_true(free_bytes <= total && total > 0);
    struct ks_file *f;
    ks_err err = ks_open(v, in_dir("d"), KS_OPEN_CREATE | KS_OPEN_DIRECT | KS_OPEN_DSYNC, &f);
    if (err == KS_EUNSUPPORTED)
        return;
    assert_int_equal(err, KS_OK);
    char *buf = ks_aligned_alloc(KS_DIRECT_ALIGN, 2 * KS_DIRECT_ALIGN);
    memset(buf, 'd', 2 * KS_DIRECT_ALIGN);
    assert_int_equal(ks_write_at(f, KS_DIRECT_ALIGN, buf, KS_DIRECT_ALIGN), KS_OK);
    assert_int_equal(ks_read_exact(f, 0, buf, 2 * KS_DIRECT_ALIGN), KS_OK);
    assert_int_equal(buf[0], 0);
    assert_int_equal(buf[KS_DIRECT_ALIGN], 'd');
    ks_free(buf);
    ks_close(f);
}

/* Another process is kept out for as long as the handle lives. */
static void test_lock_between_processes(void **state)
{
    struct ks_file *f, *g;
    assert_int_equal(v->ops->lock(v, in_dir("lock"), &f), KS_OK);
    assert_int_equal(v->ops->lock(v, in_dir("lock"), &g), KS_EBUSY);
    pid_t pid = fork();
    if (pid == 0)
        _exit(v->ops->lock(v, in_dir("lock"), &g) == KS_EBUSY ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ks_close(f);
    assert_int_equal(v->ops->lock(v, in_dir("lock"), &f), KS_OK);
    ks_close(f);
}

#define BOTH(fn)                                                                                   \
    cmocka_unit_test_setup_teardown(fn, setup_posix, teardown_posix),                              \
        cmocka_unit_test_setup_teardown(fn, setup_sim, teardown_sim)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_open_flags),
        BOTH(test_read_write),
        BOTH(test_read_many),
        BOTH(test_folders),
        BOTH(test_names),
        BOTH(test_small_files),
        BOTH(test_space_and_direct),
        cmocka_unit_test_setup_teardown(test_lock_between_processes, setup_posix, teardown_posix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
