/*
 * Checking and repairing log stores without an engine: good folders stay as they are; of damaged
 * parts what can be read is saved, deleted rows stay deleted, and the engine opens the result.
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
#include "engine/offline.h"
#include "log_model.h"
#include "sys/clock.h"
#include "sys/rand.h"

static struct world {
    struct ks_simdisk *disk;
    struct log_world w;
    struct log_model m;
} world;

static void told(const char *what, uint32_t row)
{
    print_error("row %u: %s (last error: %s)\n", row, what, ks_err_text());
    fail();
}

static void must(ks_err err)
{
    if (err != KS_OK)
        fail_msg("%s", ks_err_text());
}

/* A store with parts, deleted rows among them, cleanly closed. */
static struct world *made(void)
{
    struct world *x = &world;
    uint64_t rng = 11;
    memset(x, 0, sizeof *x);
    x->m.fail = told;
    must(ks_simdisk_new(&x->disk));
    must(log_world_open(x->disk, &x->w));
    for (int i = 0; i < 40; i++)
        must(log_model_write(&x->m, &x->w, &rng, 100));
    must(log_model_delete(&x->m, &x->w, 3));
    must(log_model_check(&x->m, &x->w));
    must(log_world_close(&x->w));
    return x;
}

static void free_world(struct world *x)
{
    (void)!log_world_close(&x->w);
    ks_simdisk_free(x->disk);
}

/* --- files --- */

struct found {
    char folder[200], path[300];
    uint64_t count;
};

static bool note_file(void *arg, const char *name, bool is_dir)
{
    struct found *f = arg;
    if (!is_dir) {
        f->count++;
        snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
    }
    return true;
}

static bool note_day(void *arg, const char *name, bool is_dir)
{
    struct found *f = arg;
    snprintf(f->folder, sizeof f->folder, "data/logs/logs/parts/%s", name);
    struct ks_vfs *vfs = ks_simdisk_vfs(world.disk);
    (void)!vfs->ops->list(vfs, f->folder, note_file, f);
    return true;
}

/* The last part there is, and how many. */
static struct found parts(void)
{
    struct found f = {0};
    struct ks_vfs *vfs = ks_simdisk_vfs(world.disk);
    must(vfs->ops->list(vfs, "data/logs/logs/parts", note_day, &f));
    return f;
}

static uint64_t size_of(const char *path)
{
    struct ks_vfs *vfs = ks_simdisk_vfs(world.disk);
    char *bytes;
    size_t n;
    must(ks_vfs_read_file(vfs, path, 64 << 20, &bytes, &n));
    ks_free(bytes);
    return n;
}

static struct ks_repair_result repair(void)
{
    struct ks_repair_result r;
    must(ks_offline_repair(ks_simdisk_vfs(world.disk), "data", 0, NULL, NULL, &r));
    return r;
}

/* Rows the store shows now; each is one of the model's. */
static uint64_t shown(struct world *x)
{
    struct ks_log_store_stats st;
    ks_log_store_get_stats(x->w.s, &st);
    return st.part_rows;
}

/* What is not seen any more counts as deleted: nothing may be invented. */
static void check_subset(struct world *x)
{
    for (uint32_t i = 0; i < LM_ROWS; i++)
        if (x->m.state[i] == LM_ACKED)
            x->m.state[i] = LM_TRIED;
    must(log_model_check(&x->m, &x->w));
}

/* --- tests --- */

static void good_folders_stay(void **state)
{
    struct world *x = made();
    struct ks_offline_counts n;
    struct found f = parts();
    must(ks_offline_verify(ks_simdisk_vfs(x->disk), f.path, NULL, NULL, &n));
    assert_true(n.samples && n.series && n.chunks && !n.problems);
    struct ks_repair_result r = repair();
    assert_int_equal(r.parts_good, f.count);
    assert_int_equal(r.parts_salvaged + r.parts_lost + r.problems, 0);
    must(log_world_open(x->disk, &x->w));
    must(log_model_check(&x->m, &x->w));
    free_world(x);
}

static void damaged_parts_are_salvaged(void **state)
{
    for (unsigned k = 1; k < 40; k++) {
        struct world *x = made();
        struct found f = parts();
        must(ks_simdisk_flip(x->disk, f.path, size_of(f.path) * 8 / 40 * k));
        struct ks_offline_counts n;
        assert_int_equal(ks_offline_verify(ks_simdisk_vfs(x->disk), f.path, NULL, NULL, &n),
                         KS_ECORRUPT);
        struct ks_repair_result r = repair();
        assert_int_equal(r.parts_salvaged + r.parts_lost, 1);
        assert_int_equal(r.parts_good, f.count - 1);
        r = repair();
        assert_int_equal(r.problems + r.parts_salvaged + r.parts_lost, 0);
        must(log_world_open(x->disk, &x->w));
        free_world(x);
    }
}

static void a_lost_manifest_is_made_anew(void **state)
{
    struct world *x = made();
    struct ks_vfs *vfs = ks_simdisk_vfs(x->disk);
    must(vfs->ops->unlink(vfs, "data/logs/logs/MANIFEST"));
    assert_int_not_equal(log_world_open(x->disk, &x->w), KS_OK);
    struct ks_repair_result r = repair();
    assert_true(r.manifest_rebuilt);
    must(log_world_open(x->disk, &x->w));
    assert_true(shown(x) > 0);
    /* MANIFEST.prev is of before the last flush or delete: that delete may show again. */
    for (uint32_t i = 0; i < LM_ROWS; i++)
        if (x->m.state[i] == LM_GONE)
            x->m.state[i] = LM_TRIED;
    check_subset(x);
    free_world(x);
}

static void quarantined_parts_come_back(void **state)
{
    struct world *x = made();
    struct found f = parts();
    struct ks_vfs *vfs = ks_simdisk_vfs(x->disk);
    char name[64], to[128];
    snprintf(name, sizeof name, "%s", strrchr(f.path, '/') + 1);
    must(ks_vfs_mkdirs(vfs, "data/logs/logs/quarantine"));
    snprintf(to, sizeof to, "data/logs/logs/quarantine/%s", name);
    must(vfs->ops->rename(vfs, f.path, to));
    struct ks_repair_result r = repair();
    assert_int_equal(r.parts_salvaged, 1);
    must(log_world_open(x->disk, &x->w));
    must(log_model_check(&x->m, &x->w));
    free_world(x);
}

int main(void)
{
    ks_log_set_level(KS_LOG_ERROR + 1);
    ks_clock_freeze_ms(LM_NOW_MS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_folders_stay),
        cmocka_unit_test(damaged_parts_are_salvaged),
        cmocka_unit_test(a_lost_manifest_is_made_anew),
        cmocka_unit_test(quarantined_parts_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
