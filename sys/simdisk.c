/* The ks_vfs over simulated files: counting, failing and stopping every call, and the log of folder
 * operations. */
#include "sys/simdisk.h"

#include <string.h>

#include "base/mem.h"
#include "sys/simdisk_priv.h"

struct sim_file {
    struct ks_file base;
    struct ksi_sim_node *node;
    int flags;
    bool owns_lock;
};

/* What the gate decided for a call. */
enum verdict { GO, FAIL, LAST }; /* LAST: do it, unsynced, and answer KS_EIO: the power is gone */

static struct ks_simdisk *disk_of(struct ks_vfs *v)
{
    return (struct ks_simdisk *)v;
}

static enum verdict gate(struct ks_simdisk *d, enum ks_sim_kind kind, ks_err *ret)
{
    *ret = KS_OK;
    d->calls[__builtin_ctz(kind)]++;
    if (d->stopped) {
        *ret = ks_fail(KS_EIO, "the simulated power is off");
        return FAIL;
    }
    if ((kind & KS_SIM_CHANGES) && d->stop_at && ++d->changes == d->stop_at) {
        d->stopped = true;
        *ret = ks_fail(KS_EIO, "the simulated power went off");
        return LAST;
    }
    if ((kind & d->fault_mask) && d->fault_in && --d->fault_in == 0) {
        d->fault_hit = true;
        if (d->fault_sticky)
            d->fault_in = 1;
        *ret = ks_fail(d->fault_err, "simulated failure: %s", ks_err_describe(d->fault_err));
        return FAIL;
    }
    return GO;
}

static void dop_done(struct ksi_sim_dop *o)
{
    ksi_sim_node_unref(o->dir);
    ksi_sim_node_unref(o->dir2);
    ksi_sim_node_unref(o->node);
    ks_free(o->name);
    ks_free(o->name2);
}

static ks_err dop_apply(struct ksi_sim_dir *dir, struct ksi_sim_dir *dir2,
                        const struct ksi_sim_dop *o, struct ksi_sim_node *node)
{
    if (o->kind != KSI_SIM_ADD)
        ksi_sim_dir_drop(dir, o->name);
    if (o->kind == KSI_SIM_ADD)
        return ksi_sim_dir_put(dir, o->name, node);
    return o->kind == KSI_SIM_MOVE ? ksi_sim_dir_put(dir2, o->name2, node) : KS_OK;
}

/* Does the operation in the visible state and logs it. */
static ks_err dop_do(struct ks_simdisk *d, enum ksi_sim_dop_kind kind, struct ksi_sim_node *dir,
                     const char *name, struct ksi_sim_node *dir2, const char *name2,
                     struct ksi_sim_node *node)
{
    struct ksi_sim_dop o = {kind, dir, dir2, node, NULL, NULL};
    KS_TRY(ks_array_reserve((void **)&d->log, &d->log_cap, d->log_count + 1, sizeof *d->log));
    ksi_sim_node_ref(dir);
    if (dir2)
        ksi_sim_node_ref(dir2);
    ksi_sim_node_ref(node);
    o.name = ks_strdup(name);
    o.name2 = name2 ? ks_strdup(name2) : NULL;
    if (!o.name || (name2 && !o.name2)) {
        dop_done(&o);
        return KS_ENOMEM;
    }
    d->log[d->log_count++] = o;
    return dop_apply(&dir->now, dir2 ? &dir2->now : NULL, &o, node);
}

/*
 * Makes the pending operations of a folder durable, and those earlier ones they rest on: an
 * operation that moved a file here from elsewhere takes the earlier history of that place with it.
 */
static ks_err commit_dir(struct ks_simdisk *d, struct ksi_sim_node *dir)
{
    struct ksi_sim_node *set[64] = {dir};
    size_t set_count = 1, kept = 0;
    bool *take = ks_zalloc(d->log_count + 1);
    if (!take)
        return KS_ENOMEM;
    for (size_t i = d->log_count; i-- > 0;) {
        struct ksi_sim_dop *o = &d->log[i];
        for (size_t k = 0; k < set_count; k++)
            take[i] |= o->dir == set[k] || o->dir2 == set[k];
        if (take[i] && o->dir2 && o->dir2 != o->dir && set_count + 2 <= 64) {
            set[set_count++] = o->dir;
            set[set_count++] = o->dir2;
        }
    }
    ks_err err = KS_OK;
    for (size_t i = 0; i < d->log_count; i++) {
        struct ksi_sim_dop o = d->log[i];
        if (!take[i]) {
            d->log[kept++] = o;
            continue;
        }
        if (err == KS_OK)
            err = dop_apply(&o.dir->kept, o.dir2 ? &o.dir2->kept : NULL, &o, o.node);
        dop_done(&o);
    }
    d->log_count = kept;
    ks_free(take);
    return err;
}

static ks_err file_new(struct ks_simdisk *d, struct ksi_sim_node *node, int flags,
                       struct ks_file **ret)
{
    struct sim_file *f = ks_zalloc(sizeof *f);
    if (!f)
        return KS_ENOMEM;
    f->base.vfs = &d->base;
    f->node = node;
    f->flags = flags;
    ksi_sim_node_ref(node);
    d->handles++;
    *ret = &f->base;
    return KS_OK;
}

static ks_err create_node(struct ks_simdisk *d, struct ksi_sim_node *dir, const char *name,
                          bool is_dir, struct ksi_sim_node **ret)
{
    struct ksi_sim_node *node = ksi_sim_node_new(d, is_dir);
    if (!node)
        return KS_ENOMEM;
    ksi_sim_node_ref(node);
    ks_err err = dop_do(d, KSI_SIM_ADD, dir, name, NULL, NULL, node);
    ksi_sim_node_unref(node);
    *ret = node; /* the folder holds it now */
    return err;
}

static ks_err open_locked(struct ks_simdisk *d, const char *path, int flags, struct ks_file **ret)
{
    struct ksi_sim_node *dir, *node;
    char name[256];
    KS_TRY(ksi_sim_walk(d, path, &dir, name, &node));
    bool makes = !node && (flags & KS_OPEN_CREATE);
    bool cuts = node && !node->is_dir && (flags & KS_OPEN_TRUNC) && node->size;
    ks_err err;
    enum verdict go = gate(d, makes || cuts ? KS_SIM_CREATE : KS_SIM_OPEN, &err);
    if (go == FAIL)
        return err;
    if (!node && !makes)
        return ks_fail(KS_ENOTFOUND, "cannot open %s: no such file", path);
    if (node && node->is_dir)
        return ks_fail(KS_EIO, "cannot open %s: is a folder", path);
    if (node && (flags & KS_OPEN_CREATE) && (flags & KS_OPEN_EXCL))
        return ks_fail(KS_EEXIST, "cannot open %s: it exists", path);
    if ((flags & KS_OPEN_DIRECT) && d->refuse_direct)
        return ks_fail(KS_EUNSUPPORTED, "the file system of %s does not support O_DIRECT", path);
    if (makes)
        KS_TRY(create_node(d, dir, name, false, &node));
    if (cuts)
        KS_TRY(ksi_sim_node_truncate(node, 0));
    return go == LAST ? err : file_new(d, node, flags, ret);
}

static ks_err sim_open(struct ks_vfs *v, const char *path, int flags, struct ks_file **ret)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = open_locked(d, path, flags, ret);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static void sim_close(struct ks_file *file)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    pthread_mutex_lock(&d->lock);
    if (f->owns_lock)
        f->node->locked = false;
    ksi_sim_node_unref(f->node);
    d->handles--;
    pthread_mutex_unlock(&d->lock);
    ks_free(f);
}

static bool misaligned(const struct sim_file *f, uint64_t off, const void *buf, size_t len)
{
    return (f->flags & KS_OPEN_DIRECT) &&
           (off % KS_DIRECT_ALIGN || len % KS_DIRECT_ALIGN || (uintptr_t)buf % KS_DIRECT_ALIGN);
}

static ks_err sim_read_at(struct ks_file *file, uint64_t off, void *buf, size_t len, size_t *ret_n)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    if (misaligned(f, off, buf, len))
        return ks_fail(KS_EINVAL, "misaligned direct read");
    pthread_mutex_lock(&d->lock);
    ks_err err;
    if (gate(d, KS_SIM_READ, &err) == GO) {
        uint64_t left = off < f->node->size ? f->node->size - off : 0;
        size_t n = len < left ? len : (size_t)left;
        ksi_sim_node_read(f->node, off, buf, n);
        *ret_n = n;
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_write_at(struct ks_file *file, uint64_t off, const void *buf, size_t len)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    if (misaligned(f, off, buf, len))
        return ks_fail(KS_EINVAL, "misaligned direct write");
    if (!(f->flags & (KS_OPEN_WRITE | KS_OPEN_CREATE)))
        return ks_fail(KS_EREADONLY, "the file was opened to read");
    pthread_mutex_lock(&d->lock);
    bool was_stopped = d->stopped;
    ks_err err;
    enum verdict go = gate(d, KS_SIM_WRITE, &err);
    size_t n = go == FAIL ? len / 2 / KSI_SIM_SECTOR * KSI_SIM_SECTOR : len;
    if (!was_stopped) {
        ks_err werr = ksi_sim_node_write(f->node, off, buf, n);
        if (go == GO)
            err = werr;
        if (err == KS_OK && (f->flags & KS_OPEN_DSYNC))
            ksi_sim_node_sync(f->node);
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_sync(struct ks_file *file)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    pthread_mutex_lock(&d->lock);
    bool was_stopped = d->stopped;
    ks_err err;
    enum verdict go = gate(d, KS_SIM_SYNC, &err);
    if (go == GO)
        ksi_sim_node_sync(f->node);
    else if (go == FAIL && !was_stopped)
        ksi_sim_node_forget(f->node);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_size(struct ks_file *file, uint64_t *ret)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    pthread_mutex_lock(&d->lock);
    ks_err err;
    if (gate(d, KS_SIM_READ, &err) == GO)
        *ret = f->node->size;
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_truncate(struct ks_file *file, uint64_t size)
{
    struct sim_file *f = (struct sim_file *)file;
    struct ks_simdisk *d = disk_of(file->vfs);
    pthread_mutex_lock(&d->lock);
    ks_err err;
    enum verdict go = gate(d, KS_SIM_WRITE, &err);
    if (go != FAIL) {
        ks_err terr = ksi_sim_node_truncate(f->node, size);
        err = go == LAST ? err : terr;
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err move_locked(struct ks_simdisk *d, const char *from, const char *to, bool link)
{
    struct ksi_sim_node *dir, *node, *dir2, *node2;
    char name[256], name2[256];
    KS_TRY(ksi_sim_walk(d, from, &dir, name, &node));
    KS_TRY(ksi_sim_walk(d, to, &dir2, name2, &node2));
    ks_err err;
    enum verdict go = gate(d, KS_SIM_RENAME, &err);
    if (go == FAIL)
        return err;
    if (!node)
        return ks_fail(KS_ENOTFOUND, "cannot rename %s: no such file", from);
    if (node2 && (link || node2->is_dir != node->is_dir || node2->now.count))
        return ks_fail(KS_EEXIST, "cannot rename %s to %s: it exists", from, to);
    if (node2 == node)
        return err;
    ks_err done = link ? dop_do(d, KSI_SIM_ADD, dir2, name2, NULL, NULL, node)
                       : dop_do(d, KSI_SIM_MOVE, dir, name, dir2, name2, node);
    return go == LAST ? err : done;
}

static ks_err sim_rename(struct ks_vfs *v, const char *from, const char *to)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = move_locked(d, from, to, false);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_link(struct ks_vfs *v, const char *from, const char *to)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = move_locked(d, from, to, true);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err remove_locked(struct ks_simdisk *d, const char *path, bool folder)
{
    struct ksi_sim_node *dir, *node;
    char name[256];
    KS_TRY(ksi_sim_walk(d, path, &dir, name, &node));
    ks_err err;
    enum verdict go = gate(d, KS_SIM_UNLINK, &err);
    if (go == FAIL)
        return err;
    if (!node)
        return ks_fail(KS_ENOTFOUND, "cannot remove %s: no such file", path);
    if (node->is_dir != folder || node == d->root)
        return ks_fail(KS_EIO, "cannot remove %s: %s", path,
                       folder ? "not a folder" : "is a folder");
    if (folder && node->now.count)
        return ks_fail(KS_EIO, "cannot remove folder %s: not empty", path);
    ks_err done = dop_do(d, KSI_SIM_DEL, dir, name, NULL, NULL, node);
    return go == LAST ? err : done;
}

static ks_err sim_unlink(struct ks_vfs *v, const char *path)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = remove_locked(d, path, false);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_rmdir(struct ks_vfs *v, const char *path)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = remove_locked(d, path, true);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err mkdir_locked(struct ks_simdisk *d, const char *path)
{
    struct ksi_sim_node *dir, *node;
    char name[256];
    KS_TRY(ksi_sim_walk(d, path, &dir, name, &node));
    if (node)
        return node->is_dir ? KS_OK : ks_fail(KS_EEXIST, "%s exists and is no folder", path);
    ks_err err;
    enum verdict go = gate(d, KS_SIM_MKDIR, &err);
    if (go == FAIL)
        return err;
    KS_TRY(create_node(d, dir, name, true, &node));
    return go == LAST ? err : commit_dir(d, dir);
}

static ks_err sim_mkdir(struct ks_vfs *v, const char *path)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err = mkdir_locked(d, path);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_sync_dir(struct ks_vfs *v, const char *path)
{
    struct ks_simdisk *d = disk_of(v);
    struct ksi_sim_node *dir, *node;
    char name[256];
    pthread_mutex_lock(&d->lock);
    ks_err err = ksi_sim_walk(d, path, &dir, name, &node);
    if (err == KS_OK && (!node || !node->is_dir))
        err = ks_fail(KS_ENOTFOUND, "cannot open folder %s: no such folder", path);
    if (err == KS_OK && gate(d, KS_SIM_SYNC, &err) == GO)
        err = commit_dir(d, node);
    pthread_mutex_unlock(&d->lock);
    return err;
}

/* Names are copied first: the callback may use the disk. */
static ks_err sim_list(struct ks_vfs *v, const char *path, ks_dir_fn fn, void *arg)
{
    struct ks_simdisk *d = disk_of(v);
    struct ksi_sim_node *dir, *node;
    char name[256];
    struct ksi_sim_dir copy = {0};
    pthread_mutex_lock(&d->lock);
    ks_err err = ksi_sim_walk(d, path, &dir, name, &node);
    if (err == KS_OK && (!node || !node->is_dir))
        err = ks_fail(KS_ENOTFOUND, "cannot list %s: no such folder", path);
    if (err == KS_OK && gate(d, KS_SIM_LIST, &err) == GO)
        for (size_t i = 0; err == KS_OK && i < node->now.count; i++)
            err = ksi_sim_dir_put(&copy, node->now.items[i].name, node->now.items[i].node);
    pthread_mutex_unlock(&d->lock);
    for (size_t i = 0; err == KS_OK && i < copy.count; i++)
        if (!fn(arg, copy.items[i].name, copy.items[i].node->is_dir))
            break;
    pthread_mutex_lock(&d->lock);
    ksi_sim_dir_done(&copy);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_space(struct ks_vfs *v, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    ks_err err;
    if (gate(d, KS_SIM_READ, &err) == GO) {
        uint64_t total = d->limit_pages ? d->limit_pages : (uint64_t)1 << 28;
        *ret_total = total * KSI_SIM_PAGE;
        *ret_free = total > d->used_pages ? (total - d->used_pages) * KSI_SIM_PAGE : 0;
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static ks_err sim_lock(struct ks_vfs *v, const char *path, struct ks_file **ret)
{
    struct ks_simdisk *d = disk_of(v);
    pthread_mutex_lock(&d->lock);
    struct ks_file *f;
    ks_err err = open_locked(d, path, KS_OPEN_CREATE, &f);
    if (err == KS_OK) {
        struct sim_file *s = (struct sim_file *)f;
        s->owns_lock = !s->node->locked;
        s->node->locked = true;
        *ret = f;
        if (!s->owns_lock)
            err = ks_fail(KS_EBUSY, "%s is locked: another process uses this folder", path);
    }
    pthread_mutex_unlock(&d->lock);
    if (err == KS_EBUSY)
        sim_close(f);
    return err;
}

static const struct ks_vfs_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .read_at = sim_read_at,
    .write_at = sim_write_at,
    .sync = sim_sync,
    .size = sim_size,
    .truncate = sim_truncate,
    .rename = sim_rename,
    .link = sim_link,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .space = sim_space,
    .lock = sim_lock,
};

ks_err ks_simdisk_new(struct ks_simdisk **ret)
{
    struct ks_simdisk *d = ks_zalloc(sizeof *d);
    if (!d)
        return KS_ENOMEM;
    d->base.ops = &sim_ops;
    pthread_mutex_init(&d->lock, NULL);
    d->root = ksi_sim_node_new(d, true);
    if (!d->root) {
        ks_simdisk_free(d);
        return KS_ENOMEM;
    }
    ksi_sim_node_ref(d->root);
    *ret = d;
    return KS_OK;
}

void ks_simdisk_free(struct ks_simdisk *d)
{
    if (!d)
        return;
    KS_ASSERT(d->handles == 0); /* someone forgot to close a file */
    for (size_t i = 0; i < d->log_count; i++)
        dop_done(&d->log[i]);
    ks_free(d->log);
    ksi_sim_node_unref(d->root);
    pthread_mutex_destroy(&d->lock);
    ks_free(d);
}

struct ks_vfs *ks_simdisk_vfs(struct ks_simdisk *d)
{
    return &d->base;
}

void ks_simdisk_stop_at(struct ks_simdisk *d, uint64_t n)
{
    pthread_mutex_lock(&d->lock);
    d->changes = 0;
    d->stop_at = n;
    d->stopped = false;
    pthread_mutex_unlock(&d->lock);
}

bool ks_simdisk_stopped(struct ks_simdisk *d)
{
    pthread_mutex_lock(&d->lock);
    bool stopped = d->stopped;
    pthread_mutex_unlock(&d->lock);
    return stopped;
}

void ks_simdisk_fail(struct ks_simdisk *d, unsigned mask, uint64_t n, ks_err err, bool sticky)
{
    pthread_mutex_lock(&d->lock);
    d->fault_mask = mask;
    d->fault_in = n;
    d->fault_err = err;
    d->fault_sticky = sticky;
    d->fault_hit = false;
    pthread_mutex_unlock(&d->lock);
}

bool ks_simdisk_fail_hit(struct ks_simdisk *d)
{
    pthread_mutex_lock(&d->lock);
    bool hit = d->fault_hit;
    pthread_mutex_unlock(&d->lock);
    return hit;
}

uint64_t ks_simdisk_calls(struct ks_simdisk *d, unsigned mask)
{
    uint64_t sum = 0;
    pthread_mutex_lock(&d->lock);
    for (unsigned i = 0; i < KSI_SIM_KINDS; i++)
        sum += mask >> i & 1 ? d->calls[i] : 0;
    pthread_mutex_unlock(&d->lock);
    return sum;
}

void ks_simdisk_limit(struct ks_simdisk *d, uint64_t bytes)
{
    pthread_mutex_lock(&d->lock);
    d->limit_pages = bytes / KSI_SIM_PAGE;
    pthread_mutex_unlock(&d->lock);
}

uint64_t ks_simdisk_used(struct ks_simdisk *d)
{
    pthread_mutex_lock(&d->lock);
    uint64_t n = d->used_pages * KSI_SIM_PAGE;
    pthread_mutex_unlock(&d->lock);
    return n;
}

void ks_simdisk_refuse_direct(struct ks_simdisk *d, bool refuse)
{
    pthread_mutex_lock(&d->lock);
    d->refuse_direct = refuse;
    pthread_mutex_unlock(&d->lock);
}
