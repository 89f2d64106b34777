/* Snapshots: a flush, then hard links to everything the manifest names, and the manifest itself. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "engine/commit.h"
#include "sys/clock.h"

static ks_err link_into(struct ks_engine *e, const char *snap, const char *relative)
{
    char from[4096], to[4096];
    KS_TRY(ksi_path(from, e->dir, "%s", relative));
    KS_TRY(ksi_path(to, snap, "%s", relative));
    return e->vfs->ops->link(e->vfs, from, to);
}

static ks_err link_part(struct ks_engine *e, const char *snap, const struct ks_manifest_part *p)
{
    char path[4096], folder[4096];
    KS_TRY(ksi_part_path(e, p->day, p->id, false, path));
    const char *relative = path + strlen(e->dir) + 1;
    KS_TRY(ksi_path(folder, snap, "%.*s", (int)(strrchr(relative, '/') - relative), relative));
    KS_TRY(ks_vfs_mkdirs(e->vfs, folder));
    KS_TRY(link_into(e, snap, relative));
    KS_TRY(e->vfs->ops->sync_dir(e->vfs, folder));
    if (!p->tombs_id)
        return KS_OK;
    snprintf(path, sizeof path, "tombs/%016llx.tomb", (unsigned long long)p->tombs_id);
    return link_into(e, snap, path);
}

static ks_err fill_snapshot(struct ks_engine *e, const char *snap)
{
    static const char *const folders[] = {"parts", "checkpoint", "tombs"};
    char path[4096];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        KS_TRY(ksi_path(path, snap, "%s", folders[i]));
        KS_TRY(ks_vfs_mkdirs(e->vfs, path));
    }
    for (size_t i = 0; i < e->manifest.part_count; i++)
        KS_TRY(link_part(e, snap, &e->manifest.parts[i]));
    snprintf(path, sizeof path, "checkpoint/%016llx.ckpt",
             (unsigned long long)e->manifest.checkpoint_id);
    KS_TRY(link_into(e, snap, path));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        KS_TRY(ksi_path(path, snap, "%s", folders[i]));
        KS_TRY(e->vfs->ops->sync_dir(e->vfs, path));
    }
    return ks_manifest_store(e->vfs, snap, &e->manifest);
}

/* 20261121133000-000000000000002A: UTC and a number of its own. Under commit_lock. */
static void snapshot_name(struct ks_engine *e, char out[64])
{
    int64_t now = ks_now_ms(), y;
    unsigned m, d, s = (unsigned)(now / 1000 % 86400);
    ks_civil_from_days(ks_day_of_ms(now), &y, &m, &d);
    snprintf(out, 64, "%04u%02u%02u%02u%02u%02u-%016llX", (unsigned)y % 10000, m, d, s / 3600,
             s / 60 % 60, s % 60, (unsigned long long)e->manifest.next_id++);
}

/* Under commit_lock. */
static ks_err create_locked(struct ks_engine *e, const char *name)
{
    char snap[4096], tmp[4096];
    struct ksi_flush_opts opts = {0};
    KS_TRY(ksi_path(snap, e->dir, "snapshots/%s", name));
    KS_TRY(ksi_path(tmp, e->dir, "snapshots/%s.tmp", name));
    KS_TRY(ksi_flush_locked(e, &opts));
    KS_TRY(ksi_signals_flush(e));
    KS_TRY(ks_vfs_mkdirs(e->vfs, tmp));
    ks_err err = fill_snapshot(e, tmp);
    if (err == KS_OK)
        err = ksi_signals_snapshot(e, tmp);
    if (err == KS_OK)
        err = e->vfs->ops->rename(e->vfs, tmp, snap);
    if (err != KS_OK) {
        char why[KS_ERR_TEXT_MAX];
        snprintf(why, sizeof why, "%s", ks_err_text());
        (void)!ks_vfs_remove_tree(
            e->vfs, tmp); /* what stays is not listed, and removed by the next start */
        return ks_fail(err, "%s", why);
    }
    return ks_vfs_sync_parent(e->vfs, snap);
}

ks_err ks_engine_snapshot_create(struct ks_engine *e, char ret_name[64])
{
    char name[64];
    pthread_mutex_lock(&e->commit_lock);
    snapshot_name(e, name);
    ks_err err = create_locked(e, name);
    pthread_mutex_unlock(&e->commit_lock);
    if (err == KS_OK)
        memcpy(ret_name, name, sizeof name);
    return err;
}

struct list_arg {
    ks_snapshot_fn fn;
    void *arg;
};

static bool list_entry(void *arg, const char *name, bool is_dir)
{
    struct list_arg *l = arg;
    size_t n = strlen(name);
    if (!is_dir || (n > 4 && strcmp(name + n - 4, ".tmp") == 0))
        return true;
    return l->fn(l->arg, name);
}

ks_err ks_engine_snapshot_list(struct ks_engine *e, ks_snapshot_fn fn, void *arg)
{
    char path[4096];
    struct list_arg l = {fn, arg};
    KS_TRY(ksi_path(path, e->dir, "snapshots"));
    return e->vfs->ops->list(e->vfs, path, list_entry, &l);
}

/* When a snapshot was made, by its name; INT64_MAX: the name is none of ours. */
static int64_t made_ms(const char *name)
{
    unsigned y, mo, d, h, mi, s;
    if (sscanf(name, "%4u%2u%2u%2u%2u%2u-", &y, &mo, &d, &h, &mi, &s) != 6 || mo < 1 || mo > 12)
        return INT64_MAX;
    return ks_days_from_civil(y, mo, d) * KS_MS_DAY + ((h * 60 + mi) * 60 + s) * (int64_t)1000;
}

struct expired_arg {
    int64_t before_ms;
    char name[64];
};

static bool find_expired(void *arg, const char *name)
{
    struct expired_arg *x = arg;
    if (made_ms(name) >= x->before_ms || strlen(name) >= sizeof x->name)
        return true;
    snprintf(x->name, sizeof x->name, "%s", name);
    return false;
}

ks_err ksi_snapshots_expire(struct ks_engine *e, int64_t now_ms)
{
    int64_t age_ms = e->opts.snapshots_max_age_ms;
    struct expired_arg x = {.before_ms = now_ms - age_ms};
    while (age_ms > 0) {
        x.name[0] = '\0';
        KS_TRY(ks_engine_snapshot_list(e, find_expired, &x));
        if (!x.name[0])
            break;
        KS_TRY(ks_engine_snapshot_delete(e, x.name));
        ks_log(KS_LOG_INFO, "engine", "removed the snapshot %s, older than -snapshotsMaxAge",
               x.name);
    }
    return KS_OK;
}

struct find_arg {
    const char *name;
    bool found;
};

static bool find_entry(void *arg, const char *name)
{
    struct find_arg *f = arg;
    f->found |= strcmp(f->name, name) == 0;
    return !f->found;
}

ks_err ks_engine_snapshot_delete(struct ks_engine *e, const char *name)
{
    /* Asked for in the listing first: a name with slashes or dots is simply not there. */
    char path[4096];
    struct find_arg f = {.name = name};
    KS_TRY(ks_engine_snapshot_list(e, find_entry, &f));
    if (!f.found)
        return ks_fail(KS_ENOTFOUND, "cannot find snapshot \"%s\"", name);
    KS_TRY(ksi_path(path, e->dir, "snapshots/%s", name));
    return ks_vfs_remove_tree(e->vfs, path);
}
