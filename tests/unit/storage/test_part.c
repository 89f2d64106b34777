/* The part container: what goes in comes out; every damage is seen; every failure is clean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/part.h"
#include "sys/rand.h"
#include "sys/simdisk.h"
#include "temp_dir.h"

/* Page i of the model: a few bytes to some hundred KiB, from constant to random. */
static size_t model_page(uint64_t seed, size_t i, char *out, const char **ret_section)
{
    static const char *const names[] = {"alpha", "beta", "a-section-with-a-name-31-bytes."};
    uint64_t rng = seed * 1000 + i;
    size_t len = 1 + ks_rng_below(&rng, i % 7 == 3 ? 300000 : 900);
    for (size_t k = 0; k < len; k++)
        out[k] = i % 3 == 0 ? 'x' : i % 3 == 1 ? (char)ks_rng_next(&rng) : (char)(k / 5);
    *ret_section = i % 3 == 2 ? "gamma" : names[i % 2];
    return len;
}

static ks_err write_model(struct ks_vfs *vfs, const char *to, uint64_t seed, size_t pages,
                          uint64_t *ret_bytes)
{
    struct ks_part_writer *w;
    KS_TRY(ks_part_writer_new(vfs, to, KS_PART_METRICS, &w));
    char *buf = malloc(300001);
    ks_err err = KS_OK;
    for (size_t i = 0; i < pages && err == KS_OK; i++) {
        const char *section;
        struct ks_page_ref ref;
        size_t len = model_page(seed, i, buf, &section);
        err = ks_part_page(w, section, ks_slice(buf, len), (enum ks_page_codec)(i % 4 % 3), &ref);
    }
    free(buf);
    if (err == KS_OK)
        err = ks_part_prop(w, "level", KS_SLICE_LIT("1"));
    if (err == KS_OK)
        err = ks_part_prop(w, "empty", ks_slice(NULL, 0));
    if (err != KS_OK) {
        ks_part_writer_abort(w);
        return err;
    }
    return ks_part_writer_finish(w, ret_bytes);
}

/* Every page equals the model's, or err. Wrong data aborts the test. */
static ks_err check_model(struct ks_part *p, uint64_t seed, size_t pages)
{
    struct {
        const char *name;
        size_t next;
    } at[3] = {{0}};
    char *buf = malloc(300001);
    ks_err err = KS_OK;
    for (size_t i = 0; i < pages && err == KS_OK; i++) {
        const char *section;
        size_t len = model_page(seed, i, buf, &section), count, s = 0;
        while (at[s].name && strcmp(at[s].name, section) != 0)
            s++;
        at[s].name = section;
        const struct ks_page_ref *refs = ks_part_section_pages(p, section, &count);
        assert_true(at[s].next < count);
        struct ks_page page;
        err = ks_part_read(p, refs[at[s].next++], &page);
        if (err == KS_OK) {
            assert_int_equal(page.raw.len, len);
            assert_memory_equal(page.raw.ptr, buf, len);
            ks_page_release(&page);
        }
    }
    free(buf);
    return err;
}

static void test_round_trip(void **state)
{
    struct ks_cache *cache;
    assert_int_equal(ks_cache_new(4 << 20, &cache), KS_OK);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        size_t pages = seed == 1 ? 0 : seed * 17;
        uint64_t bytes;
        assert_int_equal(write_model(ks_vfs_posix(), t_part, seed, pages, &bytes), KS_OK);
        struct ks_part *p;
        assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, seed % 2 ? cache : NULL, &p), KS_OK);
        assert_int_equal(ks_part_bytes(p), bytes);
        assert_int_equal(ks_part_get_kind(p), KS_PART_METRICS);
        assert_string_equal(ks_part_path(p), t_part);
        for (int round = 0; round < 2; round++)
            assert_int_equal(check_model(p, seed, pages), KS_OK);
        assert_int_equal(ks_part_verify(p, NULL, NULL), KS_OK);
        struct ks_slice v;
        assert_true(ks_part_get_prop(p, "level", &v) && ks_slice_is(v, "1"));
        assert_true(ks_part_get_prop(p, "empty", &v) && v.len == 0);
        assert_false(ks_part_get_prop(p, "none", &v));
        size_t n;
        assert_null(ks_part_section_pages(p, "none", &n));
        assert_int_equal(n, 0);
        ks_part_close(p);
    }
    struct ks_cache_stats st;
    ks_cache_get_stats(cache, &st);
    assert_int_equal(st.entries, 0);
    ks_cache_free(cache);
}

static void test_read_many(void **state)
{
    struct ks_cache *caches[2] = {NULL, NULL};
    assert_int_equal(ks_cache_new(1 << 20, &caches[1]), KS_OK);
    assert_int_equal(write_model(ks_vfs_posix(), t_part, 9, 200, NULL), KS_OK);
    for (int c = 0; c < 2; c++) {
        struct ks_part *p;
        assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, caches[c], &p), KS_OK);
        struct ks_page_ref refs[300];
        struct ks_page pages[300];
        size_t n = 0;
        uint64_t rng = 5;
        for (size_t s = 0, count; ks_part_section_name(p, s); s++) {
            const struct ks_page_ref *all =
                ks_part_section_pages(p, ks_part_section_name(p, s), &count);
            for (size_t i = 0; i < count && n < 280; i++)
                if (ks_rng_below(&rng, 3))
                    refs[n++] = all[i];
        }
        refs[n] = refs[0];
        refs[n + 1] = refs[n / 2];
        n += 2;
        assert_int_equal(ks_part_read_many(p, refs, n, pages), KS_OK);
        for (size_t i = 0; i < n; i++) {
            struct ks_page one;
            assert_int_equal(ks_part_read(p, refs[i], &one), KS_OK);
            assert_true(ks_slice_eq(one.raw, pages[i].raw));
            ks_page_release(&one);
            ks_page_release(&pages[i]);
        }
        refs[1].offset += 1;
        assert_int_equal(ks_part_read_many(p, refs, n, pages), KS_ECORRUPT);
        assert_int_equal(ks_part_read_many(p, refs, 0, NULL), KS_OK);
        ks_part_close(p);
    }
    ks_cache_free(caches[1]);
}

static struct ks_simdisk *disk_with_folder(void)
{
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    assert_int_equal(ks_vfs_mkdirs(ks_simdisk_vfs(d), "d"), KS_OK);
    return d;
}

/* The n-th call to the disk fails, for every n: nothing is left behind. */
/* Pages of two parts, some twice, in any order: afterwards none is read from the disk. */
static void test_prefetch_pages(void **state)
{
    enum { MAX = 400 };
    struct ks_simdisk *d = disk_with_folder();
    struct ks_vfs *v = ks_simdisk_vfs(d);
    struct ks_part *parts[2];
    struct ks_cache *cache;
    struct ks_part_page pages[MAX], asked[MAX], bad;
    struct ks_page page;
    size_t n = 0;
    uint64_t rng = 7;
    assert_int_equal(ks_cache_new(256 << 20, &cache), KS_OK);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "d/q" : "d/p";
        assert_int_equal(write_model(v, name, 11 + (uint64_t)i, 300, NULL), KS_OK);
        assert_int_equal(ks_part_open(v, name, cache, &parts[i]), KS_OK);
        for (size_t s = 0, count; ks_part_section_name(parts[i], s); s++) {
            const struct ks_page_ref *all =
                ks_part_section_pages(parts[i], ks_part_section_name(parts[i], s), &count);
            for (size_t k = 0; k < count && n + 2 < MAX; k++)
                for (uint64_t times = ks_rng_below(&rng, 3); times; times--)
                    pages[n++] = (struct ks_part_page){parts[i], all[k]};
        }
    }
    for (size_t i = n; i-- > 1;) {
        size_t k = ks_rng_below(&rng, i + 1);
        struct ks_part_page swap = pages[i];
        pages[i] = pages[k];
        pages[k] = swap;
    }
    memcpy(asked, pages, n * sizeof *asked);
    for (uint64_t fail = 1; fail < 4; fail++) { /* a call that fails leaves nothing behind */
        ks_simdisk_fail(d, KS_SIM_ALL, fail, KS_EIO, true);
        assert_int_equal(ks_part_prefetch_pages(asked, n), KS_EIO);
        ks_simdisk_fail(d, 0, 0, KS_OK, false);
    }
    assert_false(ks_part_at_hand(pages[0].part, pages[0].ref));
    memcpy(asked, pages, n * sizeof *asked);
    assert_int_equal(ks_part_prefetch_pages(asked, n), KS_OK);
    ks_simdisk_fail(d, KS_SIM_ALL, 1, KS_EIO, true);
    for (size_t i = 0; i < n; i++) {
        assert_true(ks_part_at_hand(pages[i].part, pages[i].ref));
        assert_int_equal(ks_part_read(pages[i].part, pages[i].ref, &page), KS_OK);
        ks_page_release(&page);
    }
    ks_simdisk_fail(d, 0, 0, KS_OK, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(check_model(parts[i], 11 + (uint64_t)i, 300), KS_OK);
    bad = pages[0];
    bad.ref.offset += 1;
    assert_int_equal(ks_part_prefetch_pages(&bad, 1), KS_ECORRUPT);
    assert_int_equal(ks_part_prefetch_pages(NULL, 0), KS_OK);
    for (int i = 0; i < 2; i++)
        ks_part_close(parts[i]);
    ks_cache_free(cache);
    ks_simdisk_free(d);
}

static void test_writer_refuses(void **state)
{
    struct ks_part_writer *w;
    struct ks_page_ref ref;
    static char big[KS_PAGE_RAW_MAX + 1];
    struct {
        const char *section;
        size_t len;
    } bad[] = {{"x", 0}, {"x", sizeof big}, {"", 1}, {"a-section-with-a-name-of-32-bytes", 1}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ks_part_writer_new(ks_vfs_posix(), t_part, KS_PART_LOGS, &w), KS_OK);
        assert_int_equal(
            ks_part_page(w, bad[i].section, ks_slice(big, bad[i].len), KS_PAGE_RAW, &ref),
            KS_EINVAL);
        /* The error sticks: a broken part cannot be published by mistake. */
        assert_int_equal(ks_part_page(w, "x", ks_slice(big, 1), KS_PAGE_RAW, &ref), KS_EINVAL);
        assert_int_equal(ks_part_writer_finish(w, NULL), KS_EINVAL);
    }
    assert_int_equal(ks_part_writer_new(ks_vfs_posix(), t_part, KS_PART_LOGS, &w), KS_OK);
    assert_int_equal(ks_part_prop(w, "k", KS_SLICE_LIT("1")), KS_OK);
    assert_int_equal(ks_part_prop(w, "k", KS_SLICE_LIT("2")), KS_EEXIST);
    ks_part_writer_abort(w);
    char tmp[300];
    snprintf(tmp, sizeof tmp, "%s.tmp", t_part);
    assert_int_not_equal(access(tmp, F_OK), 0);
}

static void test_every_bit_flip(void **state)
{
    assert_int_equal(write_model(ks_vfs_posix(), t_part, 3, 3, NULL), KS_OK);
    char *data;
    size_t len;
    assert_int_equal(ks_vfs_read_file(ks_vfs_posix(), t_part, 1 << 20, &data, &len), KS_OK);
    assert_true(len < 4000);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct ks_part *p = NULL;
        data[bit / 8] ^= (char)(1 << bit % 8);
        FILE *f = fopen(t_part, "wb");
        assert_int_equal(fwrite(data, 1, len, f), len);
        fclose(f);
        ks_err err = ks_part_open(ks_vfs_posix(), t_part, NULL, &p);
        if (err == KS_OK) {
            assert_int_equal(ks_part_verify(p, NULL, NULL), KS_ECORRUPT);
            assert_int_equal(check_model(p, 3, 3), KS_ECORRUPT);
        } else {
            assert_true(err == KS_ECORRUPT || err == KS_EUNSUPPORTED);
            assert_non_null(strstr(ks_err_text(), t_part));
        }
        ks_part_close(p);
        data[bit / 8] ^= (char)(1 << bit % 8);
    }
    ks_free(data);
}

static void test_every_truncation(void **state)
{
    assert_int_equal(write_model(ks_vfs_posix(), t_part, 3, 3, NULL), KS_OK);
    char *data;
    size_t len;
    assert_int_equal(ks_vfs_read_file(ks_vfs_posix(), t_part, 1 << 20, &data, &len), KS_OK);
    for (size_t cut = len; cut-- > 0;) {
        struct ks_part *p = NULL;
        assert_int_equal(truncate(t_part, (off_t)cut), 0);
        assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_ECORRUPT);
    }
    /* Bytes behind the end are damage too. */
    FILE *f = fopen(t_part, "wb");
    assert_int_equal(fwrite(data, 1, len, f), len);
    fputc(0, f);
    fclose(f);
    struct ks_part *p = NULL;
    assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_ECORRUPT);
    ks_free(data);
}

static void test_newer_format_is_refused(void **state)
{
    assert_int_equal(write_model(ks_vfs_posix(), t_part, 3, 3, NULL), KS_OK);
    char *data;
    size_t len;
    assert_int_equal(ks_vfs_read_file(ks_vfs_posix(), t_part, 1 << 20, &data, &len), KS_OK);
    for (int what = 0; what < 3; what++) {
        char copy[64];
        memcpy(copy, data, 64);
        if (what == 0)
            ks_put_le16(copy + 8, 2); /* version */
        else
            copy[what == 1 ? 20 : 16] = 4; /* incompatible, compatible feature */
        ks_put_le64(copy + 56, ks_hash64(copy, 56));
        FILE *f = fopen(t_part, "r+b");
        assert_int_equal(fwrite(copy, 1, 64, f), 64);
        fclose(f);
        struct ks_part *p = NULL;
        assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p),
                         what == 2 ? KS_OK : KS_EUNSUPPORTED);
        ks_part_close(p);
    }
    ks_free(data);
}

/* The n-th allocation fails, for every n: a clean error and nothing left behind, or success. */
static void test_allocation_failures(void **state)
{
    for (uint64_t n = 1;; n++) {
        unlink(t_part);
        ks_mem_fail_after(n, 0);
        ks_err err = write_model(ks_vfs_posix(), t_part, 4, 30, NULL);
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_int_equal(err == KS_OK, access(t_part, F_OK) == 0);
        assert_true(err == KS_OK || err == KS_ENOMEM);
        if (!hit)
            break;
    }
    for (uint64_t n = 1;; n++) {
        struct ks_cache *cache = NULL;
        struct ks_part *p = NULL;
        ks_mem_fail_after(n, 0);
        ks_err err = ks_cache_new(1 << 20, &cache);
        if (err == KS_OK)
            err = ks_part_open(ks_vfs_posix(), t_part, cache, &p);
        if (err == KS_OK)
            err = check_model(p, 4, 30);
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_true(err == KS_OK || err == KS_ENOMEM);
        ks_part_close(p);
        ks_cache_free(cache);
        if (!hit)
            break;
    }
}

static bool exists(struct ks_vfs *v, const char *name)
{
    struct ks_file *f;
    ks_err err = ks_open(v, name, KS_OPEN_READ, &f);
    if (err == KS_OK)
        ks_close(f);
    return err == KS_OK;
}

static void test_write_faults(void **state)
{
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1;; n++) {
            struct ks_simdisk *d = disk_with_folder();
            struct ks_vfs *v = ks_simdisk_vfs(d);
            ks_simdisk_fail(d, KS_SIM_ALL & ~KS_SIM_UNLINK, n, KS_ENOSPC, sticky);
            ks_err err = write_model(v, "d/p", 5, 60, NULL);
            bool hit = ks_simdisk_fail_hit(d);
            ks_simdisk_fail(d, 0, 0, KS_OK, false);
            assert_int_equal(err, hit ? KS_ENOSPC : KS_OK);
            assert_int_equal(exists(v, "d/p"), !hit);
            assert_false(exists(v, "d/p.tmp"));
            ks_simdisk_free(d);
            if (!hit)
                break;
        }
}

/* An older part of the same name stays when its replacement fails before the rename. */
static void test_replacement_is_atomic(void **state)
{
    for (int kind = 0; kind < 4; kind++) {
        static const unsigned kinds[] = {KS_SIM_CREATE, KS_SIM_WRITE, KS_SIM_SYNC, KS_SIM_RENAME};
        struct ks_simdisk *d = disk_with_folder();
        struct ks_vfs *v = ks_simdisk_vfs(d);
        assert_int_equal(write_model(v, "d/p", 5, 20, NULL), KS_OK);
        ks_simdisk_fail(d, kinds[kind], 1, KS_EIO, false);
        assert_int_equal(write_model(v, "d/p", 6, 20, NULL), KS_EIO);
        struct ks_part *p;
        assert_int_equal(ks_part_open(v, "d/p", NULL, &p), KS_OK);
        assert_int_equal(check_model(p, 5, 20), KS_OK);
        ks_part_close(p);
        ks_simdisk_free(d);
    }
}

/* Power fails at every call: a part that was published is whole, one that was not is whole or
 * absent. */
static void test_crash_while_publishing(void **state)
{
    for (uint64_t n = 1, seed = 0;; n++) {
        struct ks_simdisk *d = disk_with_folder(), *after;
        ks_simdisk_stop_at(d, n);
        ks_err err = write_model(ks_simdisk_vfs(d), "d/p", 5, 60, NULL);
        bool stopped = ks_simdisk_stopped(d);
        assert_int_equal(err, stopped ? KS_EIO : KS_OK);
        for (int round = 0; round < 10; round++) {
            struct ks_part *p;
            assert_int_equal(ks_simdisk_crash(d, ++seed, &after), KS_OK);
            bool there = exists(ks_simdisk_vfs(after), "d/p");
            assert_true(there || stopped);
            if (there) {
                assert_int_equal(ks_part_open(ks_simdisk_vfs(after), "d/p", NULL, &p), KS_OK);
                assert_int_equal(check_model(p, 5, 60), KS_OK);
                ks_part_close(p);
            }
            ks_simdisk_free(after);
        }
        ks_simdisk_free(d);
        if (!stopped)
            break;
    }
}

static void test_read_faults(void **state)
{
    struct ks_simdisk *d = disk_with_folder();
    struct ks_vfs *v = ks_simdisk_vfs(d);
    assert_int_equal(write_model(v, "d/p", 5, 60, NULL), KS_OK);
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1;; n++) {
            struct ks_part *p = NULL;
            ks_simdisk_fail(d, KS_SIM_ALL, n, KS_EIO, sticky);
            ks_err err = ks_part_open(v, "d/p", NULL, &p);
            if (err == KS_OK)
                err = check_model(p, 5, 60);
            bool hit = ks_simdisk_fail_hit(d);
            assert_int_equal(err, hit ? KS_EIO : KS_OK);
            ks_simdisk_fail(d, 0, 0, KS_OK, false);
            if (p) /* a passing error leaves no trace */
                assert_int_equal(check_model(p, 5, 60), KS_OK);
            ks_part_close(p);
            if (!hit)
                break;
        }
    ks_simdisk_free(d);
}

struct damage {
    unsigned count;
    uint64_t offset;
};

static void on_damage(void *arg, const char *section, struct ks_page_ref ref, const char *what)
{
    struct damage *d = arg;
    assert_true(*section && *what);
    d->count++;
    d->offset = ref.offset;
}

/* Verification names each bad page and goes on; the others stay readable. */
static void test_verify_names_damage(void **state)
{
    assert_int_equal(write_model(ks_vfs_posix(), t_part, 5, 60, NULL), KS_OK);
    struct ks_part *p;
    size_t n;
    assert_int_equal(ks_part_open(ks_vfs_posix(), t_part, NULL, &p), KS_OK);
    struct ks_page_ref bad = ks_part_section_pages(p, "gamma", &n)[n / 2];
    FILE *f = fopen(t_part, "r+b");
    fseek(f, (long)bad.offset + 30, SEEK_SET);
    int c = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(c ^ 1, f);
    fclose(f);
    struct damage d = {0};
    assert_int_equal(ks_part_verify(p, on_damage, &d), KS_ECORRUPT);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.offset, bad.offset);
    ks_part_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_read_many),
        cmocka_unit_test(test_prefetch_pages),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_every_bit_flip),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_newer_format_is_refused),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_write_faults),
        cmocka_unit_test(test_replacement_is_atomic),
        cmocka_unit_test(test_crash_while_publishing),
        cmocka_unit_test(test_read_faults),
        cmocka_unit_test(test_verify_names_damage),
    };
    return cmocka_run_group_tests(tests, t_dir_setup, t_dir_teardown);
}
