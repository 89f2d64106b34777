/* Helpers that hold for every file implementation. */
#include "sys/vfs.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

ks_err ks_read_exact(struct ks_file *f, uint64_t off, void *buf, size_t len)
{
    size_t n;
    KS_TRY(ks_read_at(f, off, buf, len, &n));
    if (n != len)
        return ks_fail(KS_ECORRUPT, "file ends after %zu of %zu bytes at offset %llu", n, len,
                       (unsigned long long)off);
    return KS_OK;
}

ks_err ks_vfs_read_many(struct ks_vfs *v, struct ks_read_req *reqs, size_t count)
{
    if (v->ops->read_many && count > 1)
        return v->ops->read_many(v, reqs, count);
    for (size_t i = 0; i < count; i++)
        KS_TRY(ks_read_exact(reqs[i].file, reqs[i].off, reqs[i].buf, reqs[i].len));
    return KS_OK;
}

ks_err ks_vfs_read_file(struct ks_vfs *v, const char *path, size_t max, char **ret, size_t *ret_len)
{
    struct ks_file *f;
    uint64_t size;
    KS_TRY(ks_open(v, path, KS_OPEN_READ, &f));
    char *data = NULL;
    ks_err err = ks_file_size(f, &size);
    if (err == KS_OK && size > max)
        err = ks_fail(KS_ETOOBIG, "%s has %llu bytes, more than %zu", path,
                      (unsigned long long)size, max);
    if (err == KS_OK && !(data = ks_alloc((size_t)size + 1)))
        err = KS_ENOMEM;
    if (err == KS_OK)
        err = ks_read_exact(f, 0, data, (size_t)size);
    ks_close(f);
    if (err != KS_OK) {
        ks_free(data);
        return err;
    }
    data[size] = 0;
    *ret = data;
    *ret_len = (size_t)size;
    return KS_OK;
}

ks_err ks_vfs_sync_parent(struct ks_vfs *v, const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return v->ops->sync_dir(v, ".");
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    if (n >= sizeof dir)
        return ks_fail(KS_EINVAL, "path is too long: %s", path);
    memcpy(dir, path, n);
    dir[n] = 0;
    return v->ops->sync_dir(v, dir);
}

ks_err ks_vfs_replace_file(struct ks_vfs *v, const char *path, struct ks_slice content)
{
    char tmp[4096];
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp)
        return ks_fail(KS_EINVAL, "path is too long: %s", path);
    struct ks_file *f;
    KS_TRY(ks_open(v, tmp, KS_OPEN_CREATE | KS_OPEN_TRUNC, &f));
    ks_err err = ks_write_at(f, 0, content.ptr, content.len);
    if (err == KS_OK)
        err = ks_sync(f);
    ks_close(f);
    if (err == KS_OK)
        err = v->ops->rename(v, tmp, path);
    if (err != KS_OK)
        return err;
    return ks_vfs_sync_parent(v, path);
}

ks_err ks_vfs_mkdirs(struct ks_vfs *v, const char *path)
{
    char part[4096];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return ks_fail(KS_EINVAL, "path is too long: %s", path);
    for (size_t i = 1; i <= len; i++) {
        if (i < len && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        KS_TRY(v->ops->mkdir(v, part));
    }
    return KS_OK;
}

struct tree_walk {
    struct ks_buf names; /* one byte kind ('d' or 'f'), the name, NUL */
};

static bool collect_entry(void *arg, const char *name, bool is_dir)
{
    struct tree_walk *w = arg;
    ks_buf_byte(&w->names, is_dir ? 'd' : 'f');
    ks_buf_add(&w->names, name, strlen(name) + 1);
    return true;
}

ks_err ks_vfs_remove_tree(struct ks_vfs *v, const char *path)
{
    struct tree_walk w;
    ks_buf_init(&w.names, 64 << 20);
    ks_err err = v->ops->list(v, path, collect_entry, &w);
    if (err == KS_ENOTFOUND) {
        ks_buf_done(&w.names);
        return KS_OK;
    }
    if (err == KS_OK)
        err = ks_buf_status(&w.names);
    for (size_t i = 0; err == KS_OK && i < w.names.len;) {
        char child[4096], kind = w.names.ptr[i];
        const char *name = w.names.ptr + i + 1;
        i += 2 + strlen(name);
        if ((size_t)snprintf(child, sizeof child, "%s/%s", path, name) >= sizeof child)
            err = ks_fail(KS_EINVAL, "path is too long: %s/%s", path, name);
        else
            err = kind == 'd' ? ks_vfs_remove_tree(v, child) : v->ops->unlink(v, child);
    }
    ks_buf_done(&w.names);
    return err == KS_OK ? v->ops->rmdir(v, path) : err;
}
