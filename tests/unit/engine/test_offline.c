/* Offline checks and repair: every damage to a part is seen, all that is readable is saved, a
 * repaired folder opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/offline.h"
#include "engine_util.h"
#include "storage/part.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

enum { SERIES = 40, ROWS = 1000, CAP = 20000 };
static int64_t got_ts[CAP];
static double got_v[CAP];
static const int64_t T0 = 20000 * 86400000ll;

static struct ks_simdisk *disk;
static struct ks_vfs *vfs;

static void must(ks_err err)
{
    if (err != KS_OK)
        print_error("%s\n", ks_err_text());
    assert_int_equal(err, KS_OK);
}

static struct ks_engine *open_db(void)
{
    struct ks_engine *e;
    struct ks_engine_opts o = {.vfs = vfs,
                               .dir = "d",
                               .no_background = true,
                               .shards = 2,
                               .min_free_disk_bytes = 1,
                               .retention_ms = 100 * KS_MS_DAY,
                               .wal_segment_bytes = 1 << 20};
    must(ks_engine_open(&o, &e));
    return e;
}

/* A store with one part per day, two days. */
static void setup_store(void)
{
    ks_clock_freeze_ms(T0 + 3 * KS_MS_DAY);
    must(ks_simdisk_new(&disk));
    vfs = ks_simdisk_vfs(disk);
    struct ks_engine *e = open_db();
    struct tw w;
    char name[64];
    uint64_t rng = 11;
    tw_init(&w);
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < ROWS; i++)
            for (int k = 0; k < SERIES; k++) {
                snprintf(name, sizeof name, "m{i=\"%02d\"}", k);
                tw_add(&w, name, T0 + d * KS_MS_DAY + i * 15000,
                       (double)ks_rng_below(&rng, 1000000) * 0.5);
            }
    must(tw_write(&w, e, NULL));
    tw_done(&w);
    must(ks_engine_merge(e, ""));
    must(ks_engine_close(e));
}

static void teardown_store(void)
{
    ks_simdisk_free(disk);
    ks_clock_freeze_ms(0);
}

static uint64_t count_all(struct ks_engine *e)
{
    uint64_t n = 0;
    char sel[64];
    for (int k = 0; k < SERIES; k++) {
        snprintf(sel, sizeof sel, "m{i=\"%02d\"}", k);
        n += t_read(e, sel, 0, T0 + 3 * KS_MS_DAY, got_ts, got_v, CAP);
    }
    return n;
}

struct found {
    char paths[8][256];
    size_t count;
    const char *folder;
};

static bool take_path(void *arg, const char *name, bool is_dir)
{
    struct found *f = arg;
    if (!is_dir && f->count < 8)
        snprintf(f->paths[f->count++], sizeof f->paths[0], "%s/%s", f->folder, name);
    return true;
}

/* Parts of the first day. */
static struct found parts_of_day(int d)
{
    static char folder[64];
    int64_t y;
    unsigned m, day;
    ks_civil_from_days(20000 + d, &y, &m, &day);
    snprintf(folder, sizeof folder, "d/parts/%04d_%02u_%02u", (int)y, m, day);
    struct found f = {.folder = folder};
    must(vfs->ops->list(vfs, folder, take_path, &f));
    return f;
}

static void hear(void *arg, const char *path, const char *what)
{
    assert_true(strlen(path) && strlen(what));
    (*(uint64_t *)arg)++;
}

static uint64_t file_bytes(const char *path)
{
    struct ks_file *f;
    uint64_t n;
    must(ks_open(vfs, path, KS_OPEN_READ, &f));
    must(ks_file_size(f, &n));
    ks_close(f);
    return n;
}

static void test_every_flip_is_seen(void **state)
{
    struct ks_offline_counts n;
    uint64_t told = 0, rng = 3;
    setup_store();
    struct found f = parts_of_day(0);
    assert_int_equal(f.count, 1);
    must(ks_offline_verify(vfs, f.paths[0], hear, &told, &n));
    assert_true(n.series == SERIES && n.samples >= SERIES * (ROWS - 480) && told == 0);
    uint64_t bytes = file_bytes(f.paths[0]);
    for (int i = 0; i < 300; i++) {
        uint64_t bit = ks_rng_below(&rng, bytes * 8);
        must(ks_simdisk_flip(disk, f.paths[0], bit));
        told = 0;
        ks_err err = ks_offline_verify(vfs, f.paths[0], hear, &told, &n);
        assert_true(err == KS_ECORRUPT || err == KS_EUNSUPPORTED);
        assert_true(err != KS_ECORRUPT || (told == n.problems && told > 0));
        must(ks_simdisk_flip(disk, f.paths[0], bit));
    }
    teardown_store();
}

/* Damage in one page of chunks costs the samples of that page and nothing else. */
static void test_repair_damaged_page(void **state)
{
    setup_store();
    struct ks_engine *e = open_db();
    uint64_t all = count_all(e), told = 0;
    must(ks_engine_close(e));
    assert_int_equal(all, 2 * SERIES * ROWS);
    struct found f = parts_of_day(0);
    struct ks_part *p;
    size_t pages;
    must(ks_part_open(vfs, f.paths[0], NULL, &p));
    const struct ks_page_ref *refs = ks_part_section_pages(p, "chunks", &pages);
    assert_true(pages > 2);
    uint64_t bit = (refs[1].offset + refs[1].stored_bytes / 2) * 8;
    ks_part_close(p);
    must(ks_simdisk_flip(disk, f.paths[0], bit));
    struct ks_repair_result r;
    must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
    assert_true(r.parts_good == 1 && r.parts_salvaged == 1 && r.parts_lost == 0 && r.problems > 0 &&
                told > 0);
    assert_false(r.manifest_rebuilt);
    assert_true(r.samples_salvaged > SERIES * ROWS / 3);
    e = open_db();
    uint64_t left = count_all(e);
    assert_true(left < all && left >= SERIES * ROWS + r.samples_salvaged);
    must(ks_engine_close(e));
    /* Once more: nothing left to do. */
    must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
    assert_true(r.parts_salvaged == 0 && r.problems == 0);
    e = open_db();
    assert_int_equal(count_all(e), left);
    must(ks_engine_close(e));
    teardown_store();
}

/* The engine sets a part with a damaged footer aside; nothing of it can be read, and the rest goes
 * on. */
static void test_lost_part(void **state)
{
    setup_store();
    uint64_t told = 0;
    struct found f = parts_of_day(1);
    must(ks_simdisk_cut(disk, f.paths[0], file_bytes(f.paths[0]) - 10));
    struct ks_repair_result r;
    must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
    assert_true(r.parts_lost == 1 && r.parts_good == 1);
    struct ks_engine *e = open_db();
    assert_true(count_all(e) >= SERIES * ROWS);
    must(ks_engine_close(e));
    struct found q = {.folder = "d/quarantine"};
    must(vfs->ops->list(vfs, q.folder, take_path, &q));
    assert_int_equal(q.count, 1);
    teardown_store();
}

static void test_quarantined_by_engine(void **state)
{
    setup_store();
    uint64_t told = 0;
    struct found f = parts_of_day(0);
    struct ks_part *p;
    size_t pages;
    must(ks_part_open(vfs, f.paths[0], NULL, &p));
    const struct ks_page_ref *refs = ks_part_section_pages(p, "chunks", &pages);
    uint64_t at = refs[0].offset + 100;
    ks_part_close(p);
    must(ks_simdisk_flip(disk, f.paths[0], at * 8));
    must(ks_vfs_mkdirs(vfs, "d/quarantine"));
    must(vfs->ops->rename(vfs, f.paths[0], "d/quarantine/00000000000000aa.part"));
    struct ks_repair_result r;
    must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
    assert_true(r.parts_salvaged == 1 && r.samples_salvaged > 0);
    struct ks_engine *e = open_db();
    assert_true(count_all(e) >= SERIES * ROWS + r.samples_salvaged);
    must(ks_engine_close(e));
    must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
    assert_int_equal(r.parts_salvaged, 0);
    teardown_store();
}

/* Power loss at any point of a repair, then the repair again: as much is saved as without. Deleted
 * series stay deleted. */
static void test_crash_while_repairing(void **state)
{
    uint64_t want = 0, told = 0;
    for (uint64_t n = 0;; n++) {
        setup_store();
        struct ks_engine *e = open_db();
        struct ks_matcher room[4];
        struct ks_selector sel = t_selector("m{i=\"03\"}", room, 4);
        struct ks_select_opts so = {.selectors = &sel, .selector_count = 1};
        uint64_t touched;
        must(ks_engine_delete(e, &so, &touched));
        must(ks_engine_close(e));
        struct found f = parts_of_day(0);
        struct ks_part *p;
        size_t pages;
        must(ks_part_open(vfs, f.paths[0], NULL, &p));
        const struct ks_page_ref *refs = ks_part_section_pages(p, "chunks", &pages);
        uint64_t at = refs[pages - 1].offset + 60;
        ks_part_close(p);
        must(ks_simdisk_flip(disk, f.paths[0], at * 8));
        struct ks_repair_result r;
        bool done = true;
        if (n) {
            struct ks_simdisk *after;
            ks_simdisk_stop_at(disk, n);
            (void)!ks_offline_repair(vfs, "d", 0, NULL, NULL, &r);
            done = !ks_simdisk_stopped(disk);
            must(ks_simdisk_crash(disk, n, &after));
            ks_simdisk_free(disk);
            disk = after;
            vfs = ks_simdisk_vfs(disk);
        }
        must(ks_offline_repair(vfs, "d", 0, hear, &told, &r));
        e = open_db();
        uint64_t got = count_all(e);
        want = n ? want : got;
        assert_int_equal(got, want);
        assert_int_equal(t_count(e, "m{i=\"03\"}", 0, T0 + 3 * KS_MS_DAY), 0);
        must(ks_engine_close(e));
        teardown_store();
        if (n && done)
            break;
    }
    assert_true(want > SERIES * ROWS);
}

static void test_manifest_lost(void **state)
{
    for (int how = 0; how < 3; how++) {
        setup_store();
        uint64_t told = 0;
        struct ks_engine *e = open_db();
        uint64_t all = count_all(e);
        must(ks_engine_close(e));
        if (how == 0)
            must(ks_simdisk_flip(disk, "d/MANIFEST", 333));
        else
            must(vfs->ops->unlink(vfs, "d/MANIFEST"));
        if (how == 2)
            must(vfs->ops->unlink(vfs, "d/MANIFEST.prev"));
        struct ks_repair_result r;
        struct ks_engine_opts o = {.vfs = vfs, .dir = "d", .no_background = true, .shards = 2};
        for (int again = 0; again < 2; again++) /* refused, and the parts are still there */
            assert_int_equal(ks_engine_open(&o, &e), KS_ECORRUPT);
        if (how == 2)
            assert_int_equal(ks_offline_repair(vfs, "d", 0, hear, &told, &r), KS_EINVAL);
        must(ks_offline_repair(vfs, "d", 2, hear, &told, &r));
        assert_true(r.manifest_rebuilt && r.parts_good >= 2 && r.parts_lost == 0);
        e = open_db();
        assert_int_equal(count_all(e), all);
        must(ks_engine_close(e));
        teardown_store();
    }
}

static void test_refusals(void **state)
{
    setup_store();
    uint64_t told = 0;
    struct ks_repair_result r;
    struct ks_engine *e = open_db();
    assert_int_equal(ks_offline_repair(vfs, "d", 0, hear, &told, &r), KS_EBUSY);
    must(ks_engine_close(e));
    assert_int_equal(ks_offline_repair(vfs, "nowhere", 0, hear, &told, &r), KS_ENOTFOUND);
    teardown_store();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_flip_is_seen),
        cmocka_unit_test(test_repair_damaged_page),
        cmocka_unit_test(test_lost_part),
        cmocka_unit_test(test_quarantined_by_engine),
        cmocka_unit_test(test_crash_while_repairing),
        cmocka_unit_test(test_manifest_lost),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
