#include "engine/commit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/tombs_file.h"
#include "sys/rand.h"

ks_err ksi_path(char out[4096], const char *dir, const char *fmt, ...)
{
    int n = snprintf(out, 4096, "%s/", dir);
    if (n < 0 || n >= 4096)
        return ks_fail(KS_EINVAL, "path is too long: %s", dir);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(out + n, 4096 - (size_t)n, fmt, ap);
    va_end(ap);
    return m < 0 || m >= 4096 - n ? ks_fail(KS_EINVAL, "path is too long: %s", dir) : KS_OK;
}

ks_err ksi_part_path(struct ks_engine *e, int64_t day, uint64_t id, bool make, char out[4096])
{
    int64_t y;
    unsigned m, d;
    ks_civil_from_days(day, &y, &m, &d);
    if (make) {
        KS_TRY(ksi_path(out, e->dir, "parts/%04lld_%02u_%02u", (long long)y, m, d));
        KS_TRY(ks_vfs_mkdirs(e->vfs, out));
    }
    return ksi_path(out, e->dir, "parts/%04lld_%02u_%02u/%016llx.part", (long long)y, m, d,
                    (unsigned long long)id);
}

static bool is_gone(const struct ksi_change *c, uint64_t id)
{
    for (size_t i = 0; i < c->gone_count; i++)
        if (c->gone[i]->id == id)
            return true;
    return false;
}

/* The id of the tombstone file that the change wrote for a part of the current list; false when it
 * has none. */
static bool new_tombs_id(const struct ksi_change *c, const struct ksi_part_list *now,
                         uint64_t part_id, uint64_t *ret)
{
    for (size_t i = 0; c->tombs && i < now->count; i++) {
        if (now->views[i].part->id == part_id && c->tombs[i]) {
            *ret = c->tombs_ids[i];
            return true;
        }
    }
    return false;
}

static ks_err changed_manifest(struct ks_engine *e, const struct ksi_change *c,
                               struct ks_manifest *ret)
{
    struct ks_manifest m;
    KS_TRY(ks_manifest_copy(&e->manifest, &m));
    struct ksi_part_list *now = ksi_parts_pin(&e->parts);
    size_t n = 0;
    for (size_t i = 0; i < m.part_count; i++) {
        if (is_gone(c, m.parts[i].id))
            continue;
        m.parts[n] = m.parts[i];
        (void)new_tombs_id(c, now, m.parts[n].id, &m.parts[n].tombs_id);
        n++;
    }
    m.part_count = n;
    ksi_parts_unpin(now);
    ks_err err = KS_OK;
    for (size_t i = 0; i < c->fresh_count && err == KS_OK; i++) {
        const struct ksi_part *p = c->fresh[i];
        err = ks_manifest_add_part(
            &m, (struct ks_manifest_part){p->id, p->day, p->level, p->resolution, 0});
    }
    if (c->checkpoint_id) {
        m.checkpoint_id = c->checkpoint_id;
        memcpy(m.cuts, c->cuts, m.shard_count * sizeof *m.cuts);
    }
    if (err == KS_OK)
        *ret = m;
    else
        ks_manifest_done(&m);
    return err;
}

static void remove_file(struct ks_engine *e, const char *path)
{
    if (e->vfs->ops->unlink(e->vfs, path) != KS_OK)
        ks_log(KS_LOG_WARN, "engine",
               "cannot remove a file no longer used; the next start will: %s", ks_err_text());
}

/*
 * Whether the manifest of a store that failed is in place nevertheless: its rename happened and
 * only the sync of the folder failed. A restart may then find it or the one before, and both must
 * find their files.
 */
static bool is_in_place(struct ks_engine *e, const struct ks_manifest *m)
{
    struct ks_manifest now;
    if (ks_manifest_load(e->vfs, e->dir, &now) != KS_OK)
        return true;
    bool same = now.next_id == m->next_id;
    ks_manifest_done(&now);
    return same;
}

void ksi_discard(struct ks_engine *e, struct ksi_part *const *fresh, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!atomic_load(&e->manifest_unsure))
            atomic_store(&fresh[i]->doomed, true);
        ksi_part_unref(fresh[i]);
    }
}

static ks_err store(struct ks_engine *e, const struct ks_manifest *m)
{
    ks_err err = ks_manifest_store(e->vfs, e->dir, m);
    if (err == KS_OK) {
        atomic_store(&e->manifest_unsure, false);
        return KS_OK;
    }
    char why[KS_ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", ks_err_text());
    if (is_in_place(e, m))
        atomic_store(&e->manifest_unsure, true);
    return ks_fail(err, "%s", why);
}

ks_err ksi_commit(struct ks_engine *e, const struct ksi_change *c)
{
    struct ks_manifest m;
    struct ksi_part_list *next;
    KS_TRY(changed_manifest(e, c, &m));
    ks_err err = ksi_parts_make(&e->parts, c->gone, c->gone_count, c->fresh, c->fresh_count,
                                c->tombs, &next);
    if (err != KS_OK) {
        ks_manifest_done(&m);
        return err;
    }
    err = store(e, &m);
    if (err != KS_OK) {
        /* The new list must let go of what it took over without closing it: the caller still owns
         * fresh. */
        next->count -= c->fresh_count;
        ksi_parts_unpin(next);
        ks_manifest_done(&m);
        return err;
    }
    uint64_t old_checkpoint = e->manifest.checkpoint_id;
    ks_manifest_done(&e->manifest);
    e->manifest = m;
    ksi_parts_swap(&e->parts, next);
    char path[4096];
    if (c->checkpoint_id && old_checkpoint &&
        ksi_path(path, e->dir, "checkpoint/%016llx.ckpt", (unsigned long long)old_checkpoint) ==
            KS_OK)
        remove_file(e, path);
    return KS_OK;
}

/* --- loading --- */

static ks_err load_part(struct ks_engine *e, const struct ks_manifest_part *mp,
                        struct ksi_part **ret, struct ksi_tombs **ret_tombs)
{
    char path[4096];
    *ret = NULL;
    *ret_tombs = NULL;
    KS_TRY(ksi_part_path(e, mp->day, mp->id, false, path));
    ks_err err =
        ksi_part_open(e->vfs, e->cache, path, mp->id, mp->day, mp->level, mp->resolution, ret);
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND)
        return ksi_quarantine_file(e, path, mp->id);
    KS_TRY(err);
    if (!mp->tombs_id)
        return KS_OK;
    KS_TRY(ksi_path(path, e->dir, "tombs/%016llx.tomb", (unsigned long long)mp->tombs_id));
    err = ksi_tombs_load(e->vfs, path, ret_tombs);
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND) {
        ks_log(KS_LOG_ERROR, "engine",
               "the list of deleted series of part %016llx is damaged: what was deleted from it "
               "shows again, delete it "
               "once more: %s",
               (unsigned long long)mp->id, ks_err_text());
        err = KS_OK;
    }
    if (err != KS_OK) {
        ksi_part_unref(*ret);
        *ret = NULL;
    }
    return err;
}

static ks_err load_parts(struct ks_engine *e)
{
    struct ks_manifest *m = &e->manifest;
    struct ksi_part_list *l = ks_zalloc(sizeof *l + m->part_count * sizeof *l->views);
    if (!l)
        return KS_ENOMEM;
    atomic_init(&l->refs, 1);
    size_t kept = 0;
    ks_err err = KS_OK;
    for (size_t i = 0; i < m->part_count && err == KS_OK; i++) {
        struct ksi_part_view v;
        err = load_part(e, &m->parts[i], &v.part, &v.tombs);
        if (err == KS_OK && v.part) {
            l->views[l->count++] = v;
            m->parts[kept++] = m->parts[i];
        }
    }
    if (err != KS_OK) {
        ksi_parts_unpin(l);
        return err;
    }
    m->part_count = kept;
    ksi_parts_swap(&e->parts, l);
    return KS_OK;
}

/* Collects files below a folder that no list names. */
struct sweep {
    struct ks_engine *e;
    struct ks_buf names; /* NUL-terminated, one after the other */
    bool dirs;
};

static bool sweep_entry(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    if (is_dir == s->dirs)
        ks_buf_add(&s->names, name, strlen(name) + 1);
    return true;
}

static bool is_listed(struct ks_engine *e, const char *name)
{
    char *end;
    uint64_t id = strtoull(name, &end, 16);
    if (strcmp(end, ".ckpt") == 0)
        return id == e->manifest.checkpoint_id;
    for (size_t i = 0; i < e->manifest.part_count; i++) {
        if (strcmp(end, ".part") == 0 && e->manifest.parts[i].id == id)
            return true;
        if (strcmp(end, ".tomb") == 0 && e->manifest.parts[i].tombs_id == id)
            return true;
    }
    return false;
}

static ks_err sweep_folder(struct ks_engine *e, const char *folder)
{
    struct sweep s = {.e = e};
    char path[4096];
    ks_buf_init(&s.names, 64 << 20);
    ks_err err = e->vfs->ops->list(e->vfs, folder, sweep_entry, &s);
    if (err == KS_OK)
        err = ks_buf_status(&s.names);
    for (size_t at = 0; err == KS_OK && at < s.names.len; at += strlen(s.names.ptr + at) + 1) {
        if (is_listed(e, s.names.ptr + at))
            continue;
        err = ksi_path(path, folder, "%s", s.names.ptr + at);
        if (err == KS_OK)
            err = e->vfs->ops->unlink(e->vfs, path);
    }
    ks_buf_done(&s.names);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

/* Snapshots begun and never finished. */
static ks_err sweep_snapshots(struct ks_engine *e)
{
    struct sweep s = {.e = e, .dirs = true};
    char path[4096], one[4096];
    KS_TRY(ksi_path(path, e->dir, "snapshots"));
    ks_buf_init(&s.names, 64 << 20);
    ks_err err = e->vfs->ops->list(e->vfs, path, sweep_entry, &s);
    if (err == KS_OK)
        err = ks_buf_status(&s.names);
    for (size_t at = 0; err == KS_OK && at < s.names.len; at += strlen(s.names.ptr + at) + 1) {
        size_t n = strlen(s.names.ptr + at);
        if (n < 4 || strcmp(s.names.ptr + at + n - 4, ".tmp") != 0)
            continue;
        err = ksi_path(one, path, "%s", s.names.ptr + at);
        if (err == KS_OK)
            err = ks_vfs_remove_tree(e->vfs, one);
    }
    ks_buf_done(&s.names);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

/* Removes leftovers of interrupted work. */
static ks_err sweep_all(struct ks_engine *e)
{
    struct sweep days = {.e = e, .dirs = true};
    char path[4096], day[4096];
    KS_TRY(ksi_path(path, e->dir, "checkpoint"));
    KS_TRY(sweep_folder(e, path));
    KS_TRY(ksi_path(path, e->dir, "tombs"));
    KS_TRY(sweep_folder(e, path));
    KS_TRY(sweep_snapshots(e));
    KS_TRY(ksi_path(path, e->dir, "parts"));
    ks_buf_init(&days.names, 64 << 20);
    ks_err err = e->vfs->ops->list(e->vfs, path, sweep_entry, &days);
    if (err == KS_OK)
        err = ks_buf_status(&days.names);
    for (size_t at = 0; err == KS_OK && at < days.names.len;
         at += strlen(days.names.ptr + at) + 1) {
        err = ksi_path(day, path, "%s", days.names.ptr + at);
        if (err == KS_OK)
            err = sweep_folder(e, day);
    }
    ks_buf_done(&days.names);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

static bool note_dir(void *arg, const char *name, bool is_dir)
{
    (void)name;
    *(bool *)arg |= is_dir;
    return true;
}

/* A folder with parts and without a manifest has lost it: a new store in it would sweep them away.
 */
static ks_err refuse_lost_manifest(struct ks_engine *e)
{
    char path[4096];
    bool days = false;
    KS_TRY(ksi_path(path, e->dir, "parts"));
    KS_TRY(e->vfs->ops->list(e->vfs, path, note_dir, &days));
    return days ? ks_fail(KS_ECORRUPT,
                          "%s has parts but no MANIFEST; nothing was changed; put it back from a "
                          "copy or make it anew with "
                          "kofstore block repair",
                          e->dir)
                : KS_OK;
}

static ks_err new_manifest(struct ks_engine *e)
{
    KS_TRY(refuse_lost_manifest(e));
    struct ks_manifest m = {.next_id = 1, .shard_count = e->opts.shards};
    ks_random_bytes(m.store_id, sizeof m.store_id);
    m.cuts = ks_zalloc_array(m.shard_count, sizeof *m.cuts);
    if (!m.cuts)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < m.shard_count; i++)
        m.cuts[i] = 1;
    ks_err err = ks_manifest_store(e->vfs, e->dir, &m);
    if (err == KS_OK)
        e->manifest = m;
    else
        ks_manifest_done(&m);
    return err;
}

static bool note_data(void *arg, const char *name, bool is_dir)
{
    size_t n = strlen(name);
    bool *found = arg;
    *found |= !is_dir && n > 5 &&
              (strcmp(name + n - 5, ".part") == 0 || strcmp(name + n - 5, ".ckpt") == 0 ||
               strcmp(name + n - 4, ".seg") == 0);
    return !*found;
}

/* Whether a folder holds files of a store: parts, checkpoints, log segments. */
static ks_err holds_data(struct ks_engine *e, const char *path, bool *ret)
{
    ks_err err = e->vfs->ops->list(e->vfs, path, note_data, ret);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

/*
 * A folder without a manifest is a new store only when it is empty otherwise: taken for new, the
 * next start would sweep away every part as unlisted.
 */
static ks_err refuse_orphans(struct ks_engine *e)
{
    static const char *const folders[] = {"wal", "checkpoint", "parts"};
    struct sweep days = {.e = e, .dirs = true};
    char path[4096], day[4096];
    bool found = false;
    ks_err err = KS_OK;
    for (size_t i = 0; i < 3 && err == KS_OK; i++) {
        err = ksi_path(path, e->dir, "%s", folders[i]);
        if (err == KS_OK)
            err = holds_data(e, path, &found);
    }
    KS_TRY(err);
    ks_buf_init(&days.names, 64 << 20);
    err = e->vfs->ops->list(e->vfs, path, sweep_entry, &days);
    if (err == KS_OK)
        err = ks_buf_status(&days.names);
    for (size_t at = 0; err == KS_OK && at < days.names.len;
         at += strlen(days.names.ptr + at) + 1) {
        err = ksi_path(day, path, "%s", days.names.ptr + at);
        if (err == KS_OK)
            err = holds_data(e, day, &found);
    }
    ks_buf_done(&days.names);
    if (err == KS_OK && found)
        err = ks_fail(
            KS_ECORRUPT,
            "%s holds data but no MANIFEST: a lost file or half a restore. Put the file back "
            "(MANIFEST.prev is the one "
            "before), restore the whole folder, or start with an empty one; nothing was changed",
            e->dir);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

ks_err ksi_store_load(struct ks_engine *e)
{
    ks_err err = ks_manifest_load(e->vfs, e->dir, &e->manifest);
    if (err == KS_ENOTFOUND) {
        KS_TRY(refuse_orphans(e));
        return new_manifest(e);
    }
    if (err == KS_ECORRUPT)
        return ks_fail_context(err, "the root record of the store is damaged; nothing was changed; "
                                    "restore the folder from a "
                                    "snapshot or make the record anew with kofstore block repair");
    KS_TRY(err);
    /* Ids of files that were begun but never listed may be in use on disk: they are swept first. */
    KS_TRY(sweep_all(e));
    return load_parts(e);
}
