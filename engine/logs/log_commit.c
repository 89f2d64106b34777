#include "engine/logs/log_commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/engine_priv.h"
#include "engine/tombs_file.h"
#include "sys/clock.h"
#include "sys/rand.h"

static struct ks_vfs *vfs_of(struct ks_log_store *s)
{
    return ks_engine_vfs(s->logs->e);
}

ks_err ksi_log_part_path(struct ks_log_store *s, int64_t day, uint64_t id, bool make,
                         char out[4096])
{
    int64_t y;
    unsigned m, d;
    ks_civil_from_days(day, &y, &m, &d);
    if (make) {
        KS_TRY(ksi_path(out, s->dir, "parts/%04lld_%02u_%02u", (long long)y, m, d));
        KS_TRY(ks_vfs_mkdirs(vfs_of(s), out));
    }
    return ksi_path(out, s->dir, "parts/%04lld_%02u_%02u/%016llx.part", (long long)y, m, d,
                    (unsigned long long)id);
}

struct ksi_lpart_list *ksi_log_pin(struct ks_log_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct ksi_lpart_list *l = s->list;
    atomic_fetch_add(&l->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return l;
}

/* --- changes --- */

static bool is_gone(const struct ksi_log_change *c, const struct ksi_lpart *p)
{
    for (size_t i = 0; i < c->gone_count; i++)
        if (c->gone[i] == p)
            return true;
    return false;
}

/* The list after the change. Holds references to what stays, none yet to what is fresh. */
static ks_err next_list(struct ks_log_store *s, const struct ksi_log_change *c,
                        struct ksi_lpart_list **ret)
{
    struct ksi_lpart_list *old = ksi_log_pin(s), *l;
    ks_err err = ksi_lparts_new_list(old->count + c->fresh_count, &l);
    for (size_t i = 0; err == KS_OK && i < old->count; i++) {
        struct ksi_lpart_view v = old->views[i];
        if (is_gone(c, v.part))
            continue;
        if (c->tombs && c->tombs[i]) {
            v.tombs = c->tombs[i];
            v.tombs_id = c->tombs_ids[i];
        }
        atomic_fetch_add(&v.part->refs, 1);
        if (v.tombs)
            atomic_fetch_add(&v.tombs->refs, 1);
        l->views[l->count++] = v;
    }
    ksi_lparts_unpin(old);
    if (err == KS_OK)
        *ret = l;
    return err;
}

static ks_err manifest_of(struct ks_log_store *s, const struct ksi_log_change *c,
                          const struct ksi_lpart_list *l, struct ks_manifest *ret)
{
    struct ks_manifest m;
    KS_TRY(ks_manifest_copy(&s->manifest, &m));
    ks_err err = KS_OK;
    m.part_count = 0;
    for (size_t i = 0; i < l->count && err == KS_OK; i++) {
        const struct ksi_lpart *p = l->views[i].part;
        err = ks_manifest_add_part(
            &m, (struct ks_manifest_part){p->id, p->day, p->level, 0, l->views[i].tombs_id});
    }
    for (size_t i = 0; i < c->fresh_count && err == KS_OK; i++) {
        const struct ksi_lpart *p = c->fresh[i];
        err = ks_manifest_add_part(&m, (struct ks_manifest_part){p->id, p->day, p->level, 0, 0});
    }
    if (c->cut)
        m.cuts[0] = c->cut;
    if (err == KS_OK)
        *ret = m;
    else
        ks_manifest_done(&m);
    return err;
}

/* As engine/commit.c: whether the manifest of a store that failed is in place nevertheless. */
static bool is_in_place(struct ks_log_store *s, const struct ks_manifest *m)
{
    struct ks_manifest now;
    if (ks_manifest_load(vfs_of(s), s->dir, &now) != KS_OK)
        return true;
    bool same =
        now.next_id == m->next_id && now.cuts[0] == m->cuts[0] && now.part_count == m->part_count;
    ks_manifest_done(&now);
    return same;
}

/* Removes files the manifest in place does not name. */
static void drop_leftover(struct ks_log_store *s)
{
    for (size_t i = 0; i < s->leftover_count; i++) {
        (void)!vfs_of(s)->ops->unlink(vfs_of(s), s->leftover[i]); /* else the next start does */
        ks_free(s->leftover[i]);
    }
    s->leftover_count = 0;
}

/* A file of a change that failed. While the manifest that names it may be the one in place, the
 * file stays until another one is. */
static void drop_file(struct ks_log_store *s, const char *path)
{
    if (!s->manifest_unsure) {
        (void)!vfs_of(s)->ops->unlink(vfs_of(s), path);
        return;
    }
    char *copy = ks_strdup(path);
    if (copy && ks_array_reserve((void **)&s->leftover, &s->leftover_cap, s->leftover_count + 1,
                                 sizeof(char *)) == KS_OK)
        s->leftover[s->leftover_count++] = copy;
    else
        ks_free(copy); /* the next start removes it */
}

static ks_err store(struct ks_log_store *s, const struct ks_manifest *m)
{
    ks_err err = ks_manifest_store(vfs_of(s), s->dir, m);
    if (err == KS_OK) {
        s->manifest_unsure = false;
        drop_leftover(s);
        return KS_OK;
    }
    char why[KS_ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", ks_err_text());
    if (is_in_place(s, m))
        s->manifest_unsure = true;
    return ks_fail(err, "%s", why);
}

/* Flushed segments go to the retired ones, for live tail. Under lock; room was made before. */
static void retire(struct ks_log_store *s, size_t n)
{
    int64_t now = ks_mono_ms();
    for (size_t i = 0; i < n; i++) {
        atomic_fetch_sub(&s->memory_rows, s->segs[i]->row_count);
        atomic_fetch_sub(&s->memory_bytes, s->segs[i]->accounted);
        s->segs[i]->retired_ms = now;
        s->retired[s->retired_count++] = s->segs[i];
    }
    if (!n)
        return;
    memmove(s->segs, s->segs + n, (s->seg_count - n) * sizeof(struct ksi_segment *));
    s->seg_count -= n;
}

/* Takes the place of the old list; what only that one named is doomed. */
static void swap_in(struct ks_log_store *s, const struct ksi_log_change *c,
                    struct ksi_lpart_list *next)
{
    for (size_t i = 0; i < c->fresh_count; i++)
        next->views[next->count++] = (struct ksi_lpart_view){c->fresh[i], NULL, 0};
    pthread_mutex_lock(&s->lock);
    struct ksi_lpart_list *old = s->list;
    s->list = next;
    retire(s, c->flushed_segments);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < c->gone_count; i++)
        atomic_store(&c->gone[i]->doomed, true);
    ksi_lparts_unpin(old);
}

/* Tombstone files the new manifest names no more. */
static void drop_tombs(struct ks_log_store *s, const struct ks_manifest *old,
                       const struct ks_manifest *now)
{
    char path[4096];
    for (size_t i = 0; i < old->part_count; i++) {
        uint64_t id = old->parts[i].tombs_id;
        bool used = !id;
        for (size_t k = 0; k < now->part_count && !used; k++)
            used = now->parts[k].tombs_id == id;
        if (used || ksi_path(path, s->dir, "tombs/%016llx.tomb", (unsigned long long)id) != KS_OK)
            continue;
        /* The manifest before this one may still be what a repair begins from, not a start. */
        (void)!vfs_of(s)->ops->unlink(vfs_of(s), path); /* else the next start does */
    }
}

ks_err ksi_log_commit(struct ks_log_store *s, const struct ksi_log_change *c)
{
    struct ksi_lpart_list *next;
    struct ks_manifest m;
    pthread_mutex_lock(&s->lock);
    ks_err err =
        ks_array_reserve((void **)&s->retired, &s->retired_cap,
                         s->retired_count + c->flushed_segments, sizeof(struct ksi_segment *));
    pthread_mutex_unlock(&s->lock);
    KS_TRY(err);
    KS_TRY(next_list(s, c, &next));
    err = manifest_of(s, c, next, &m);
    if (err == KS_OK) {
        err = store(s, &m);
        if (err != KS_OK)
            ks_manifest_done(&m);
    }
    if (err != KS_OK) {
        char why[KS_ERR_TEXT_MAX];
        snprintf(why, sizeof why, "%s", ks_err_text());
        ksi_lparts_unpin(next);
        return ks_fail(err, "%s", why);
    }
    drop_tombs(s, &s->manifest, &m);
    ks_manifest_done(&s->manifest);
    s->manifest = m;
    swap_in(s, c, next);
    if (c->cut)
        atomic_store(&s->cut, c->cut);
    return KS_OK;
}

void ksi_log_discard(struct ks_log_store *s, struct ksi_lpart *const *fresh, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        drop_file(s, fresh[i]->path);
        ksi_lpart_unref(fresh[i]);
    }
}

void ksi_log_discard_tombs(struct ks_log_store *s, const uint64_t *ids, size_t count)
{
    char path[4096];
    for (size_t i = 0; i < count; i++)
        if (ids[i] &&
            ksi_path(path, s->dir, "tombs/%016llx.tomb", (unsigned long long)ids[i]) == KS_OK)
            drop_file(s, path);
}

ks_err ksi_log_open_fresh(struct ks_log_store *s, const char *path,
                          const struct ks_manifest_part *mp, struct ksi_lpart **ret)
{
    ks_err err = ksi_lpart_open(vfs_of(s), ks_engine_cache(s->logs->e), path, mp, ret);
    if (err == KS_OK)
        return KS_OK;
    char why[KS_ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", ks_err_text());
    (void)!vfs_of(s)->ops->unlink(vfs_of(s), path); /* no manifest names it yet */
    return ks_fail(err, "%s", why);
}

/* --- damage --- */

ks_err ksi_log_quarantine_file(struct ks_log_store *s, const char *path, uint64_t id)
{
    char to[4096], why[KS_ERR_TEXT_MAX];
    struct ks_vfs *vfs = vfs_of(s);
    snprintf(why, sizeof why, "%s", ks_err_text());
    KS_TRY(ksi_path(to, s->dir, "quarantine"));
    KS_TRY(ks_vfs_mkdirs(vfs, to));
    KS_TRY(ksi_path(to, s->dir, "quarantine/%016llx.part", (unsigned long long)id));
    ks_err err = vfs->ops->rename(vfs, path, to);
    if (err == KS_OK)
        err = ks_vfs_sync_parent(vfs, to);
    ks_log(KS_LOG_ERROR, "logs",
           "part %s is damaged and set aside as %s; its rows are missing from answers until it is "
           "repaired: %s",
           path, to, why);
    atomic_fetch_add(&s->quarantined, 1);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

/* --- loading --- */

static ks_err load_tombs(struct ks_log_store *s, const struct ks_manifest_part *mp,
                         struct ksi_tombs **ret)
{
    char path[4096];
    *ret = NULL;
    if (!mp->tombs_id)
        return KS_OK;
    KS_TRY(ksi_path(path, s->dir, "tombs/%016llx.tomb", (unsigned long long)mp->tombs_id));
    ks_err err = ksi_tombs_load(vfs_of(s), path, ret);
    if (err != KS_ECORRUPT && err != KS_ENOTFOUND)
        return err;
    ks_log(KS_LOG_ERROR, "logs",
           "the list of deleted rows of part %016llx is damaged: what was deleted from it shows "
           "again, delete it once more: %s",
           (unsigned long long)mp->id, ks_err_text());
    return KS_OK;
}

static ks_err load_part(struct ks_log_store *s, struct ks_manifest_part *mp,
                        struct ksi_lpart_view *ret)
{
    char path[4096];
    *ret = (struct ksi_lpart_view){0};
    KS_TRY(ksi_log_part_path(s, mp->day, mp->id, false, path));
    ks_err err = ksi_lpart_open(vfs_of(s), ks_engine_cache(s->logs->e), path, mp, &ret->part);
    if (err == KS_ECORRUPT || err == KS_ENOTFOUND)
        return ksi_log_quarantine_file(s, path, mp->id);
    KS_TRY(err);
    err = load_tombs(s, mp, &ret->tombs);
    if (err != KS_OK) {
        ksi_lpart_unref(ret->part);
        ret->part = NULL;
        return err;
    }
    if (!ret->tombs)
        mp->tombs_id = 0;
    ret->tombs_id = mp->tombs_id;
    return KS_OK;
}

static ks_err load_parts(struct ks_log_store *s)
{
    struct ks_manifest *m = &s->manifest;
    struct ksi_lpart_list *l;
    KS_TRY(ksi_lparts_new_list(m->part_count, &l));
    size_t kept = 0;
    for (size_t i = 0; i < m->part_count; i++) {
        struct ksi_lpart_view v;
        ks_err err = load_part(s, &m->parts[i], &v);
        if (err != KS_OK) {
            ksi_lparts_unpin(l);
            return err;
        }
        if (!v.part)
            continue;
        l->views[l->count++] = v;
        m->parts[kept++] = m->parts[i];
    }
    m->part_count = kept;
    ksi_lparts_unpin(s->list);
    s->list = l;
    return KS_OK;
}

/* --- leftovers --- */

struct names {
    struct ks_buf text; /* NUL-terminated, one after the other */
    bool dirs;
};

static bool note_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    if (is_dir == n->dirs)
        ks_buf_add(&n->text, name, strlen(name) + 1);
    return true;
}

static bool is_listed(const struct ks_log_store *s, const char *name)
{
    char *end;
    uint64_t id = strtoull(name, &end, 16);
    for (size_t i = 0; i < s->manifest.part_count; i++) {
        if (strcmp(end, ".part") == 0 && s->manifest.parts[i].id == id)
            return true;
        if (strcmp(end, ".tomb") == 0 && s->manifest.parts[i].tombs_id == id)
            return true;
    }
    return false;
}

/* Entries of a folder; none when it is absent. */
static ks_err list_names(struct ks_log_store *s, const char *path, bool dirs, struct names *n)
{
    *n = (struct names){.dirs = dirs};
    ks_buf_init(&n->text, 64 << 20);
    ks_err err = vfs_of(s)->ops->list(vfs_of(s), path, note_name, n);
    if (err == KS_OK)
        err = ks_buf_status(&n->text);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

/* Files of a folder that the manifest does not name are removed; with `only_look` they are an
 * error. */
static ks_err sweep_folder(struct ks_log_store *s, const char *folder, bool only_look)
{
    struct names n;
    char path[4096];
    ks_err err = list_names(s, folder, false, &n);
    for (size_t at = 0; err == KS_OK && at < n.text.len; at += strlen(n.text.ptr + at) + 1) {
        const char *name = n.text.ptr + at;
        if (only_look && strstr(name, ".part"))
            err = ks_fail(KS_ECORRUPT,
                          "%s holds parts but no MANIFEST: a lost file or half a restore. Put the "
                          "file back (MANIFEST.prev is the one before) or restore the whole "
                          "folder; nothing was changed",
                          s->dir);
        if (only_look || is_listed(s, name))
            continue;
        err = ksi_path(path, folder, "%s", name);
        if (err == KS_OK)
            err = vfs_of(s)->ops->unlink(vfs_of(s), path);
    }
    ks_buf_done(&n.text);
    return err;
}

static ks_err sweep(struct ks_log_store *s, bool only_look)
{
    struct names days;
    char path[4096], day[4096];
    KS_TRY(ksi_path(path, s->dir, "tombs"));
    KS_TRY(sweep_folder(s, path, only_look));
    KS_TRY(ksi_path(path, s->dir, "parts"));
    ks_err err = list_names(s, path, true, &days);
    for (size_t at = 0; err == KS_OK && at < days.text.len; at += strlen(days.text.ptr + at) + 1) {
        err = ksi_path(day, path, "%s", days.text.ptr + at);
        if (err == KS_OK)
            err = sweep_folder(s, day, only_look);
    }
    ks_buf_done(&days.text);
    return err;
}

ks_err ksi_log_store_load(struct ks_log_store *s)
{
    char path[4096];
    KS_TRY(ksi_path(path, ks_engine_dir(s->logs->e), "logs/%s", s->name));
    ks_free(s->dir);
    if (!(s->dir = ks_strdup(path)))
        return KS_ENOMEM;
    KS_TRY(ks_vfs_mkdirs(vfs_of(s), s->dir));
    KS_TRY(ksi_path(path, s->dir, "tombs"));
    KS_TRY(ks_vfs_mkdirs(vfs_of(s), path));
    ks_err err = ks_manifest_load(vfs_of(s), s->dir, &s->manifest);
    if (err == KS_ENOTFOUND)
        return sweep(s, true);
    KS_TRY(err);
    if (s->manifest.shard_count != 1)
        return ks_fail(KS_ECORRUPT, "%s: MANIFEST is not that of a log store", s->dir);
    KS_TRY(sweep(s, false));
    KS_TRY(load_parts(s));
    atomic_store(&s->cut, s->manifest.cuts[0]);
    return KS_OK;
}

ks_err ksi_log_store_create(struct ks_log_store *s, ks_lsn cut)
{
    struct ks_manifest m = {.next_id = 1, .shard_count = 1};
    ks_random_bytes(m.store_id, sizeof m.store_id);
    if (!(m.cuts = ks_alloc(sizeof *m.cuts)))
        return KS_ENOMEM;
    m.cuts[0] = cut;
    ks_err err = ks_manifest_store(vfs_of(s), s->dir, &m);
    if (err != KS_OK) {
        ks_manifest_done(&m);
        return err;
    }
    s->manifest = m;
    atomic_store(&s->cut, cut);
    return KS_OK;
}

/* --- snapshots --- */

static ks_err link_one(struct ks_log_store *s, const char *to_dir, const char *relative)
{
    char from[4096], to[4096], *slash;
    KS_TRY(ksi_path(from, s->dir, "%s", relative));
    KS_TRY(ksi_path(to, to_dir, "%s", relative));
    slash = strrchr(to, '/');
    *slash = 0;
    KS_TRY(ks_vfs_mkdirs(vfs_of(s), to));
    *slash = '/';
    KS_TRY(vfs_of(s)->ops->link(vfs_of(s), from, to));
    return ks_vfs_sync_parent(vfs_of(s), to);
}

static ks_err snapshot_locked(struct ks_log_store *s, const char *to)
{
    char path[4096];
    KS_TRY(ks_vfs_mkdirs(vfs_of(s), to));
    for (size_t i = 0; i < s->manifest.part_count; i++) {
        const struct ks_manifest_part *p = &s->manifest.parts[i];
        KS_TRY(ksi_log_part_path(s, p->day, p->id, false, path));
        KS_TRY(link_one(s, to, path + strlen(s->dir) + 1));
        if (!p->tombs_id)
            continue;
        snprintf(path, sizeof path, "tombs/%016llx.tomb", (unsigned long long)p->tombs_id);
        KS_TRY(link_one(s, to, path));
    }
    return ks_manifest_store(vfs_of(s), to, &s->manifest);
}

ks_err ksi_log_snapshot(struct ks_log_store *s, const char *dir)
{
    char to[4096];
    KS_TRY(ksi_path(to, dir, "logs/%s", s->name));
    pthread_mutex_lock(&s->commit_lock);
    ks_err err = snapshot_locked(s, to);
    pthread_mutex_unlock(&s->commit_lock);
    return err;
}
