/*
 * Repairing a data folder. Order makes it safe against crashes: new parts first, then the manifest
 * that names them, and only then are the damaged originals moved away. A crash before the manifest
 * leaves the folder as it was, with new files that no list names; after it, an original that is
 * still in its place is no longer needed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/labels.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/offline_logs.h"
#include "engine/tombs_file.h"
#include "index/metric_part.h"
#include "storage/manifest.h"
#include "sys/rand.h"

/* A damaged original and where it goes in the end. */
struct aside {
    char *path;
    uint64_t id;
    const char *mark;
};

struct repair {
    struct ks_vfs *vfs;
    const char *dir;
    ks_offline_fn fn;
    void *arg;
    struct ks_manifest old, fresh; /* fresh: what will be stored */
    bool had_manifest;
    struct aside *asides;
    size_t aside_count, aside_cap;
    struct ks_repair_result r;
};

static void tell(struct repair *p, const char *path, const char *fmt, ...) KS_PRINTF(3, 4);
static void tell(struct repair *p, const char *path, const char *fmt, ...)
{
    char text[KS_ERR_TEXT_MAX + 128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (p->fn)
        p->fn(p->arg, path, text);
}

/* --- what is there --- */

struct listing {
    struct ks_buf names; /* NUL-terminated, one after the other */
    bool dirs;
};

static bool list_entry(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    if (is_dir == l->dirs)
        ks_buf_add(&l->names, name, strlen(name) + 1);
    return true;
}

/* Names in a folder; none when it is absent. */
static ks_err list(struct repair *p, const char *folder, bool dirs, struct ks_buf *ret)
{
    struct listing l = {.dirs = dirs};
    ks_buf_init(&l.names, 64 << 20);
    ks_err err = p->vfs->ops->list(p->vfs, folder, list_entry, &l);
    if (err == KS_OK)
        err = ks_buf_status(&l.names);
    if (err != KS_OK && err != KS_ENOTFOUND) {
        ks_buf_done(&l.names);
        return err;
    }
    *ret = l.names;
    return KS_OK;
}

/* "<16 hex>.EXT" → id. */
static bool id_of(const char *name, const char *ext, uint64_t *ret)
{
    char *end;
    *ret = strtoull(name, &end, 16);
    return end == name + 16 && strcmp(end, ext) == 0;
}

static void note_id(struct repair *p, uint64_t id)
{
    if (id >= p->fresh.next_id)
        p->fresh.next_id = id + 1;
}

/* --- parts --- */

static const struct ks_manifest_part *known_part(const struct repair *p, uint64_t id)
{
    for (size_t i = 0; i < p->old.part_count; i++)
        if (p->old.parts[i].id == id)
            return &p->old.parts[i];
    return NULL;
}

static ks_err path_of(struct repair *p, int64_t day, uint64_t id, char out[4096])
{
    int64_t y;
    unsigned m, d;
    ks_civil_from_days(day, &y, &m, &d);
    snprintf(out, 4096, "%s/parts/%04lld_%02u_%02u", p->dir, (long long)y, m, d);
    KS_TRY(ks_vfs_mkdirs(p->vfs, out));
    snprintf(out, 4096, "%s/parts/%04lld_%02u_%02u/%016llx.part", p->dir, (long long)y, m, d,
             (unsigned long long)id);
    return KS_OK;
}

/* The mark says how the original has been dealt with. */
static ks_err set_aside(struct repair *p, const char *path, uint64_t id, const char *mark)
{
    KS_TRY(ks_array_reserve((void **)&p->asides, &p->aside_cap, p->aside_count + 1,
                            sizeof *p->asides));
    char *copy = ks_strdup(path);
    if (!copy)
        return KS_ENOMEM;
    p->asides[p->aside_count++] = (struct aside){copy, id, mark};
    return KS_OK;
}

static ks_err move_aside(struct repair *p, const struct aside *a)
{
    char to[4096];
    snprintf(to, sizeof to, "%s/quarantine", p->dir);
    KS_TRY(ks_vfs_mkdirs(p->vfs, to));
    snprintf(to, sizeof to, "%s/quarantine/%016llx.part%s", p->dir, (unsigned long long)a->id,
             a->mark);
    KS_TRY(p->vfs->ops->rename(p->vfs, a->path, to));
    KS_TRY(ks_vfs_sync_parent(p->vfs, a->path));
    return ks_vfs_sync_parent(p->vfs, to);
}

/* The day of a part by its own samples. */
static ks_err day_of(struct repair *p, const char *path, int64_t *ret)
{
    struct ks_mpart part;
    int64_t min_ms, max_ms;
    if (ksi_offline_is_log(p->vfs, path))
        return ksi_offline_log_day(p->vfs, path, ret);
    KS_TRY(ks_mpart_open(p->vfs, path, NULL, &part));
    ks_mdata_time_range(part.data, &min_ms, &max_ms);
    ks_mpart_close(&part);
    *ret = ks_day_of_ms(min_ms);
    return KS_OK;
}

/* Rows deleted of a part; damage to the list itself lets them show again. */
static ks_err load_tombs(struct repair *p, uint64_t id, struct ksi_tombs **ret)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tombs/%016llx.tomb", p->dir, (unsigned long long)id);
    ks_err err = ksi_tombs_load(p->vfs, path, ret);
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND) {
        tell(p, path, "the list of deleted series is damaged, they show again: %s", ks_err_text());
        return KS_OK;
    }
    return err;
}

/* What can be read of a damaged part becomes a new one; day ≤ INT64_MIN: by its samples. */
static ks_err salvage(struct repair *p, const char *path, uint64_t id, int64_t day)
{
    char to[4096];
    struct ks_offline_counts n = {0};
    uint64_t fresh = p->fresh.next_id++;
    ks_err err = day == INT64_MIN ? day_of(p, path, &day) : KS_OK;
    if (err == KS_OK)
        err = path_of(p, day, fresh, to);
    struct ksi_tombs *tombs = NULL;
    if (err == KS_OK && known_part(p, id) && known_part(p, id)->tombs_id)
        err = load_tombs(p, known_part(p, id)->tombs_id, &tombs);
    if (err == KS_OK)
        err = ks_offline_salvage(p->vfs, path, to, tombs ? tombs->rows : NULL, p->fn, p->arg, &n);
    ksi_tombs_unref(tombs);
    if (err == KS_ECORRUPT) {
        p->r.parts_lost++;
        tell(p, path, "nothing of it can be read; it stays in quarantine/ as .lost");
        return set_aside(p, path, id, ".lost");
    }
    KS_TRY(err);
    tell(p, path, "saved %llu series, %llu samples as %s", (unsigned long long)n.series,
         (unsigned long long)n.samples, to);
    p->r.parts_salvaged++;
    p->r.samples_salvaged += n.samples;
    KS_TRY(ks_manifest_add_part(&p->fresh,
                                (struct ks_manifest_part){.id = fresh, .day = day, .level = 1}));
    return set_aside(p, path, id, ".salvaged");
}

static ks_err check_part(struct repair *p, const char *path, uint64_t id, int64_t day)
{
    const struct ks_manifest_part *known = known_part(p, id);
    struct ks_offline_counts n = {0};
    if (!known && p->had_manifest)
        return KS_OK; /* left over by interrupted work; the engine removes it */
    ks_err err = ks_offline_verify(p->vfs, path, p->fn, p->arg, &n);
    p->r.problems += n.problems;
    if (err == KS_ECORRUPT)
        return salvage(p, path, id, day);
    KS_TRY(err);
    p->r.parts_good++;
    return ks_manifest_add_part(
        &p->fresh, known ? *known : (struct ks_manifest_part){.id = id, .day = day, .level = 1});
}

static ks_err check_day(struct repair *p, const char *name)
{
    char folder[4096], path[8192];
    int y;
    unsigned m, d;
    struct ks_buf names;
    if (sscanf(name, "%4d_%2u_%2u", &y, &m, &d) != 3)
        return KS_OK;
    snprintf(folder, sizeof folder, "%s/parts/%s", p->dir, name);
    KS_TRY(list(p, folder, false, &names));
    ks_err err = KS_OK;
    for (size_t at = 0; at < names.len && err == KS_OK; at += strlen(names.ptr + at) + 1) {
        uint64_t id;
        if (!id_of(names.ptr + at, ".part", &id))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, names.ptr + at);
        err = check_part(p, path, id, ks_days_from_civil(y, m, d));
    }
    ks_buf_done(&names);
    return err;
}

/* Ids of all files first: new ones must lie above. */
static ks_err scan_ids(struct repair *p, const char *folder, const char *ext)
{
    struct ks_buf names;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", p->dir, folder);
    KS_TRY(list(p, path, false, &names));
    for (size_t at = 0; at < names.len; at += strlen(names.ptr + at) + 1) {
        uint64_t id;
        if (id_of(names.ptr + at, ext, &id)) {
            note_id(p, id);
            if (strcmp(ext, ".ckpt") == 0 && !p->had_manifest && id > p->fresh.checkpoint_id)
                p->fresh.checkpoint_id = id;
        }
    }
    ks_buf_done(&names);
    return KS_OK;
}

static ks_err each_day(struct repair *p, bool ids_only)
{
    struct ks_buf days;
    char path[4096];
    snprintf(path, sizeof path, "%s/parts", p->dir);
    KS_TRY(list(p, path, true, &days));
    ks_err err = KS_OK;
    for (size_t at = 0; at < days.len && err == KS_OK; at += strlen(days.ptr + at) + 1) {
        snprintf(path, sizeof path, "parts/%s", days.ptr + at);
        err = ids_only ? scan_ids(p, path, ".part") : check_day(p, days.ptr + at);
    }
    ks_buf_done(&days);
    return err;
}

static ks_err check_quarantine(struct repair *p)
{
    struct ks_buf names;
    char path[4096];
    snprintf(path, sizeof path, "%s/quarantine", p->dir);
    KS_TRY(list(p, path, false, &names));
    ks_err err = KS_OK;
    for (size_t at = 0; at < names.len && err == KS_OK; at += strlen(names.ptr + at) + 1) {
        uint64_t id;
        if (!id_of(names.ptr + at, ".part", &id))
            continue;
        snprintf(path, sizeof path, "%s/quarantine/%s", p->dir, names.ptr + at);
        err = salvage(p, path, id, INT64_MIN);
    }
    ks_buf_done(&names);
    return err;
}

/* --- the manifest --- */

static ks_err load_previous(struct repair *p)
{
    char path[4096], *text;
    size_t len;
    snprintf(path, sizeof path, "%s/MANIFEST.prev", p->dir);
    KS_TRY(ks_vfs_read_file(p->vfs, path, 256 << 20, &text, &len));
    ks_err err = ks_manifest_parse(ks_slice(text, len), &p->old);
    ks_free(text);
    return err;
}

static ks_err load_manifest(struct repair *p, uint32_t shards)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/MANIFEST", p->dir);
    ks_err err = ks_manifest_load(p->vfs, p->dir, &p->old);
    p->had_manifest = err == KS_OK;
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND) {
        tell(p, path, "cannot be used: %s", ks_err_text());
        p->r.problems++;
        p->r.manifest_rebuilt = true;
        err = load_previous(p);
        if (err == KS_OK)
            tell(p, path,
                 "is made anew from MANIFEST.prev and the files; series deleted since may show "
                 "again");
    }
    if ((err == KS_ECORRUPT || err == KS_ENOTFOUND) && shards) {
        tell(p, path, "is made anew from the files alone; deleted series show again");
        p->old = (struct ks_manifest){.next_id = 1, .shard_count = shards};
        ks_random_bytes(p->old.store_id, sizeof p->old.store_id);
        p->old.cuts = ks_zalloc_array(shards, sizeof *p->old.cuts);
        if (!p->old.cuts)
            return KS_ENOMEM;
        for (uint32_t i = 0; i < shards; i++)
            p->old.cuts[i] = 1;
        err = KS_OK;
    }
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND)
        return ks_fail(
            KS_EINVAL,
            "neither MANIFEST nor MANIFEST.prev of %s can be read; give the number of shards the "
            "store had (-shards; the server's log and -storage.shards tell it)",
            p->dir);
    KS_TRY(err);
    KS_TRY(ks_manifest_copy(&p->old, &p->fresh));
    p->fresh.part_count = 0;
    return KS_OK;
}

static bool same_parts(const struct ks_manifest *a, const struct ks_manifest *b)
{
    if (a->part_count != b->part_count)
        return false;
    for (size_t i = 0; i < a->part_count; i++) {
        bool found = false;
        for (size_t k = 0; k < b->part_count && !found; k++)
            found = a->parts[i].id == b->parts[k].id;
        if (!found)
            return false;
    }
    return true;
}

/* A checkpoint that cannot be read would stop the start: the log is replayed from what is left of
 * it. */
static void check_checkpoint(struct repair *p)
{
    char path[4096];
    struct ks_offline_counts n;
    if (!p->fresh.checkpoint_id)
        return;
    snprintf(path, sizeof path, "%s/checkpoint/%016llx.ckpt", p->dir,
             (unsigned long long)p->fresh.checkpoint_id);
    if (ks_offline_verify(p->vfs, path, p->fn, p->arg, &n) == KS_OK)
        return;
    p->r.problems++;
    tell(p, path,
         "the checkpoint is damaged: samples not yet in parts are lost unless a copy of this file "
         "is put back");
}

static ks_err repair_locked(struct repair *p, uint32_t shards)
{
    KS_TRY(load_manifest(p, shards));
    KS_TRY(scan_ids(p, "checkpoint", ".ckpt"));
    KS_TRY(scan_ids(p, "tombs", ".tomb"));
    KS_TRY(scan_ids(p, "quarantine", ".part"));
    KS_TRY(each_day(p, true));
    KS_TRY(each_day(p, false));
    KS_TRY(check_quarantine(p));
    check_checkpoint(p);
    if (!p->had_manifest || !same_parts(&p->old, &p->fresh))
        KS_TRY(ks_manifest_store(p->vfs, p->dir, &p->fresh));
    for (size_t i = 0; i < p->aside_count; i++)
        KS_TRY(move_aside(p, &p->asides[i]));
    return KS_OK;
}

/* One store: the data folder itself, or a log store in it. Under the folder's lock. */
static ks_err repair_store(struct repair *p, uint32_t shards, struct ks_repair_result *sum)
{
    ks_err err = repair_locked(p, shards);
    for (size_t i = 0; i < p->aside_count; i++)
        ks_free(p->asides[i].path);
    ks_free(p->asides);
    ks_manifest_done(&p->old);
    ks_manifest_done(&p->fresh);
    sum->parts_good += p->r.parts_good;
    sum->parts_salvaged += p->r.parts_salvaged;
    sum->parts_lost += p->r.parts_lost;
    sum->samples_salvaged += p->r.samples_salvaged;
    sum->problems += p->r.problems;
    sum->manifest_rebuilt |= p->r.manifest_rebuilt;
    return err;
}

/* Log stores have parts, tombstones and manifest in the same form, with one shard. */
static ks_err repair_logs(struct repair *p, struct ks_repair_result *sum)
{
    struct ks_buf names;
    char path[4096];
    snprintf(path, sizeof path, "%s/logs", p->dir);
    KS_TRY(list(p, path, true, &names));
    ks_err err = KS_OK;
    for (size_t at = 0; at < names.len && err == KS_OK; at += strlen(names.ptr + at) + 1) {
        snprintf(path, sizeof path, "%s/logs/%.64s", p->dir, names.ptr + at);
        struct repair store = {.vfs = p->vfs, .dir = path, .fn = p->fn, .arg = p->arg};
        err = repair_store(&store, 1, sum);
    }
    ks_buf_done(&names);
    return err;
}

ks_err ks_offline_repair(struct ks_vfs *vfs, const char *dir, uint32_t shards, ks_offline_fn fn,
                         void *arg, struct ks_repair_result *ret)
{
    struct repair p = {.vfs = vfs, .dir = dir, .fn = fn, .arg = arg};
    struct ks_repair_result sum = {0};
    struct ks_file *lock;
    char path[4096];
    if (strlen(dir) > 3800)
        return ks_fail(KS_EINVAL, "path is too long: %s", dir);
    struct ks_buf probe;
    KS_TRY(list(&p, dir, true, &probe));
    bool store = probe.len > 0;
    ks_buf_done(&probe);
    if (!store)
        return ks_fail(KS_ENOTFOUND, "%s is no data folder", dir);
    snprintf(path, sizeof path, "%s/LOCK", dir);
    KS_TRY(vfs->ops->lock(vfs, path, &lock));
    ks_err err = repair_store(&p, shards, &sum);
    if (err == KS_OK)
        err = repair_logs(&p, &sum);
    ks_close(lock);
    *ret = sum;
    return err;
}
