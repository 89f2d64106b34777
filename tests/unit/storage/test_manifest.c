/* The manifest: round trip, every damage seen, atomic under failures and power loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "storage/manifest.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

/* Deterministic by seed; at most 40 parts. */
static void make(uint64_t seed, struct ks_manifest *m)
{
    static uint64_t cuts[8];
    static struct ks_manifest_part parts[40];
    uint64_t rng = seed;
    memset(m, 0, sizeof *m);
    memset(parts, 0, sizeof parts);
    for (size_t i = 0; i < 16; i++)
        m->store_id[i] = (uint8_t)ks_rng_next(&rng);
    m->next_id = 1 + seed * 100;
    m->shard_count = 1 + (uint32_t)ks_rng_below(&rng, 8);
    m->checkpoint_id = seed;
    for (uint32_t i = 0; i < m->shard_count; i++)
        cuts[i] = seed % 3 ? ks_rng_next(&rng) : i;
    m->part_count = m->part_cap = ks_rng_below(&rng, 41);
    for (size_t i = 0; i < m->part_count; i++) {
        parts[i].id = i + 1;
        parts[i].day = (int64_t)ks_rng_below(&rng, 40000) - 20000;
        parts[i].level = (uint8_t)ks_rng_below(&rng, 3);
        parts[i].resolution = ks_rng_below(&rng, 2) ? (uint32_t)ks_rng_next(&rng) : 0;
        parts[i].tombs_id = ks_rng_below(&rng, 2) * 77;
    }
    m->cuts = cuts;
    m->parts = parts;
}

static bool same(const struct ks_manifest *a, const struct ks_manifest *b)
{
    if (memcmp(a->store_id, b->store_id, 16) != 0 || a->next_id != b->next_id ||
        a->shard_count != b->shard_count || a->checkpoint_id != b->checkpoint_id ||
        a->part_count != b->part_count ||
        memcmp(a->cuts, b->cuts, a->shard_count * sizeof *a->cuts) != 0)
        return false;
    for (size_t i = 0; i < a->part_count; i++) {
        const struct ks_manifest_part *x = &a->parts[i], *y = &b->parts[i];
        if (x->id != y->id || x->day != y->day || x->level != y->level ||
            x->resolution != y->resolution || x->tombs_id != y->tombs_id)
            return false;
    }
    return true;
}

/* The seed in [0, count) whose manifest is there, -1 for none. Anything else fails the test. */
static int found(struct ks_vfs *v, int count)
{
    struct ks_manifest got, want;
    ks_err err = ks_manifest_load(v, "d", &got);
    if (err == KS_ENOTFOUND)
        return -1;
    assert_int_equal(err, KS_OK);
    for (int i = 0; i < count; i++) {
        make((uint64_t)i, &want);
        if (same(&got, &want)) {
            ks_manifest_done(&got);
            return i;
        }
    }
    fail_msg("an unknown manifest");
    return -2;
}

static struct ks_simdisk *disk_new(void)
{
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    assert_int_equal(ks_vfs_mkdirs(ks_simdisk_vfs(d), "d"), KS_OK);
    return d;
}

static ks_err store(struct ks_vfs *v, int seed)
{
    struct ks_manifest m;
    make((uint64_t)seed, &m);
    return ks_manifest_store(v, "d", &m);
}

static void test_round_trip(void **state)
{
    struct ks_simdisk *d = disk_new();
    struct ks_manifest m, copy;
    assert_int_equal(found(ks_simdisk_vfs(d), 0), -1);
    for (int seed = 0; seed < 50; seed++) {
        assert_int_equal(store(ks_simdisk_vfs(d), seed), KS_OK);
        assert_int_equal(found(ks_simdisk_vfs(d), 50), seed);
        make((uint64_t)seed, &m);
        assert_int_equal(ks_manifest_copy(&m, &copy), KS_OK);
        assert_true(same(&m, &copy));
        assert_int_equal(ks_manifest_add_part(&copy, (struct ks_manifest_part){.id = 9}), KS_OK);
        assert_int_equal(copy.part_count, m.part_count + 1);
        ks_manifest_done(&copy);
    }
    /* The one before is kept. */
    assert_int_equal(
        ks_simdisk_vfs(d)->ops->rename(ks_simdisk_vfs(d), "d/MANIFEST.prev", "d/MANIFEST"), KS_OK);
    assert_int_equal(found(ks_simdisk_vfs(d), 50), 48);
    ks_simdisk_free(d);
}

static void test_every_bit_flip_and_cut(void **state)
{
    struct ks_simdisk *d = disk_new();
    struct ks_vfs *v = ks_simdisk_vfs(d);
    struct ks_manifest m;
    char *text;
    size_t len;
    assert_int_equal(store(v, 5), KS_OK);
    assert_int_equal(ks_vfs_read_file(v, "d/MANIFEST", 1 << 20, &text, &len), KS_OK);
    ks_free(text);
    for (uint64_t bit = 0; bit < len * 8; bit++) {
        assert_int_equal(ks_simdisk_flip(d, "d/MANIFEST", bit), KS_OK);
        assert_int_equal(ks_manifest_load(v, "d", &m), KS_ECORRUPT);
        assert_non_null(strstr(ks_err_text(), "MANIFEST"));
        assert_int_equal(ks_simdisk_flip(d, "d/MANIFEST", bit), KS_OK);
    }
    for (size_t cut = len; cut-- > 0;) {
        assert_int_equal(ks_simdisk_cut(d, "d/MANIFEST", cut), KS_OK);
        assert_int_equal(ks_manifest_load(v, "d", &m), KS_ECORRUPT);
    }
    ks_simdisk_free(d);
}

static void test_newer_format_is_refused(void **state)
{
    struct ks_manifest m;
    struct ks_buf b;
    ks_buf_init(&b, 1000);
    ks_buf_str(&b, "kofstore manifest 2\nwhatever\n");
    ks_buf_printf(&b, "hash %016llx\n", (unsigned long long)ks_hash64(b.ptr, b.len));
    assert_int_equal(ks_manifest_parse(ks_buf_view(&b), &m), KS_EUNSUPPORTED);
    ks_buf_done(&b);
}

static void test_disk_faults(void **state)
{
    for (uint64_t n = 1;; n++) {
        struct ks_simdisk *d = disk_new();
        assert_int_equal(store(ks_simdisk_vfs(d), 1), KS_OK);
        assert_int_equal(store(ks_simdisk_vfs(d), 2), KS_OK);
        ks_simdisk_fail(d, KS_SIM_ALL, n, KS_ENOSPC, false);
        ks_err err = store(ks_simdisk_vfs(d), 3);
        bool hit = ks_simdisk_fail_hit(d);
        ks_simdisk_fail(d, 0, 0, KS_OK, false);
        assert_int_equal(err, hit ? KS_ENOSPC : KS_OK);
        int seed = found(ks_simdisk_vfs(d), 4);
        /* Only the folder's sync comes after the rename: the new one may be there then. */
        assert_true(err == KS_OK ? seed == 3 : seed == 2 || seed == 3);
        ks_simdisk_free(d);
        if (!hit)
            break;
    }
}

/* Power fails at every call: the last stored manifest, or the one being stored, is there. */
static void test_crash(void **state)
{
    for (uint64_t n = 1, rng = 0;; n++) {
        struct ks_simdisk *d = disk_new(), *after;
        int stored = -1;
        ks_simdisk_stop_at(d, n);
        for (int seed = 0; seed < 4; seed++)
            if (store(ks_simdisk_vfs(d), seed) == KS_OK)
                stored = seed;
        bool stopped = ks_simdisk_stopped(d);
        for (int round = 0; round < 10; round++) {
            assert_int_equal(ks_simdisk_crash(d, ++rng, &after), KS_OK);
            int seed = found(ks_simdisk_vfs(after), 4);
            assert_true(seed == stored || seed == stored + 1);
            ks_simdisk_free(after);
        }
        ks_simdisk_free(d);
        if (!stopped)
            break;
    }
}

static void test_allocation_failures(void **state)
{
    struct ks_simdisk *d = disk_new();
    assert_int_equal(store(ks_simdisk_vfs(d), 5), KS_OK);
    for (uint64_t n = 1;; n++) {
        struct ks_manifest m, copy;
        ks_mem_fail_after(n, 0);
        ks_err err = ks_manifest_load(ks_simdisk_vfs(d), "d", &m);
        if (err == KS_OK) {
            err = ks_manifest_copy(&m, &copy);
            if (err == KS_OK) {
                err = ks_manifest_store(ks_simdisk_vfs(d), "d", &copy);
                ks_manifest_done(&copy);
            }
            ks_manifest_done(&m);
        }
        int hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_int_equal(err, hit ? KS_ENOMEM : KS_OK);
        assert_int_equal(found(ks_simdisk_vfs(d), 6), 5);
        if (!hit)
            break;
    }
    ks_simdisk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_bit_flip_and_cut),
        cmocka_unit_test(test_newer_format_is_refused),
        cmocka_unit_test(test_disk_faults),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
