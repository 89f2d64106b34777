/*
 * The seam to files. Production is ks_vfs_posix(); tests use the simulated disk (sys/simdisk.h)
 * that drops unsynced writes, tears sectors and fails the n-th call. Every file of a store is
 * opened through one ks_vfs, never directly.
 *
 * Paths are UTF-8, '/'-separated, relative to the process or absolute. All calls are thread-safe; a
 * ks_file may be read by many threads, written by one at a time. Errors: KS_EIO, KS_ENOSPC,
 * KS_ENOTFOUND, KS_EEXIST, KS_EREADONLY, KS_ENOMEM, the text names operation, path and cause.
 */
#ifndef KS_SYS_VFS_H
#define KS_SYS_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct ks_vfs;
struct ks_file;

enum ks_open_flags {
    KS_OPEN_READ = 0,
    KS_OPEN_WRITE = 1,  /* read and write */
    KS_OPEN_CREATE = 2, /* create when absent (implies WRITE) */
    KS_OPEN_EXCL = 4,   /* with CREATE: KS_EEXIST when present */
    KS_OPEN_TRUNC = 8,
    KS_OPEN_DIRECT = 16, /* O_DIRECT: offset, length and memory aligned to KS_DIRECT_ALIGN;
                            KS_EUNSUPPORTED where refused */
    KS_OPEN_DSYNC = 32,  /* every write is durable on return */
};
#define KS_DIRECT_ALIGN 4096

/* Called once per directory entry; false stops the walk. */
struct ks_read_req;
typedef bool (*ks_dir_fn)(void *arg, const char *name, bool is_dir);

struct ks_vfs_ops {
    ks_err (*open)(struct ks_vfs *v, const char *path, int flags, struct ks_file **ret);
    void (*close)(struct ks_file *f);
    /* Reads up to len bytes at off; *ret_n < len only at the end of the file. */
    ks_err (*read_at)(struct ks_file *f, uint64_t off, void *buf, size_t len, size_t *ret_n);
    /* Writes all of it or fails (short writes are retried inside; what was written before an error
     * is unknown). */
    ks_err (*write_at)(struct ks_file *f, uint64_t off, const void *buf, size_t len);
    ks_err (*sync)(struct ks_file *f); /* fdatasync */
    ks_err (*size)(struct ks_file *f, uint64_t *ret);
    ks_err (*truncate)(struct ks_file *f, uint64_t size);
    ks_err (*rename)(struct ks_vfs *v, const char *from, const char *to);
    ks_err (*link)(struct ks_vfs *v, const char *from, const char *to); /* hard link */
    ks_err (*unlink)(struct ks_vfs *v, const char *path);
    ks_err (*mkdir)(struct ks_vfs *v,
                    const char *path); /* KS_OK when it exists already as a folder */
    ks_err (*rmdir)(struct ks_vfs *v, const char *path);
    ks_err (*sync_dir)(struct ks_vfs *v, const char *path);
    ks_err (*list)(struct ks_vfs *v, const char *path, ks_dir_fn fn, void *arg);
    ks_err (*space)(struct ks_vfs *v, const char *path, uint64_t *ret_free, uint64_t *ret_total);
    /* Takes an exclusive lock on a file for the life of the returned handle; KS_EBUSY when another
     * process holds it. */
    ks_err (*lock)(struct ks_vfs *v, const char *path, struct ks_file **ret);
    /* One batch of reads, all or error; NULL: ks_vfs_read_many falls back to a loop. */
    ks_err (*read_many)(struct ks_vfs *v, struct ks_read_req *reqs, size_t count);
};

struct ks_read_req {
    struct ks_file *file;
    uint64_t off;
    void *buf;
    size_t len; /* exactly len bytes must come, else KS_ECORRUPT (short file) */
};

struct ks_vfs {
    const struct ks_vfs_ops *ops;
};
/* Every implementation's file begins with this. */
struct ks_file {
    struct ks_vfs *vfs;
};

struct ks_vfs *ks_vfs_posix(void);

/* Whether the kernel lets this process use io_uring (probed once). */
bool ks_vfs_uring_allowed(void);

KS_NODISCARD static inline ks_err ks_open(struct ks_vfs *v, const char *path, int flags,
                                          struct ks_file **ret)
{
    return v->ops->open(v, path, flags, ret);
}
static inline void ks_close(struct ks_file *f)
{
    if (f)
        f->vfs->ops->close(f);
}
KS_NODISCARD static inline ks_err ks_read_at(struct ks_file *f, uint64_t off, void *buf, size_t len,
                                             size_t *ret_n)
{
    return f->vfs->ops->read_at(f, off, buf, len, ret_n);
}
KS_NODISCARD static inline ks_err ks_write_at(struct ks_file *f, uint64_t off, const void *buf,
                                              size_t len)
{
    return f->vfs->ops->write_at(f, off, buf, len);
}
KS_NODISCARD static inline ks_err ks_sync(struct ks_file *f)
{
    return f->vfs->ops->sync(f);
}
KS_NODISCARD static inline ks_err ks_file_size(struct ks_file *f, uint64_t *ret)
{
    return f->vfs->ops->size(f, ret);
}

/* Reads exactly len bytes; KS_ECORRUPT when the file is shorter. */
KS_NODISCARD ks_err ks_read_exact(struct ks_file *f, uint64_t off, void *buf, size_t len);
KS_NODISCARD ks_err ks_vfs_read_many(struct ks_vfs *v, struct ks_read_req *reqs, size_t count);

/* A whole small file into a fresh NUL-terminated heap buffer (ks_free it); KS_ETOOBIG over max. */
KS_NODISCARD ks_err ks_vfs_read_file(struct ks_vfs *v, const char *path, size_t max, char **ret,
                                     size_t *ret_len);
/*
 * Durable atomic replace: writes path.tmp, syncs it, renames it over path, syncs the folder. After
 * KS_OK the new content is there after any crash; after an error the old one is.
 */
KS_NODISCARD ks_err ks_vfs_replace_file(struct ks_vfs *v, const char *path,
                                        struct ks_slice content);
/* mkdir for every missing parent too, syncing the parents of what it made. */
KS_NODISCARD ks_err ks_vfs_mkdirs(struct ks_vfs *v, const char *path);
/* Unlinks a folder with all it holds; fine when absent. */
KS_NODISCARD ks_err ks_vfs_remove_tree(struct ks_vfs *v, const char *path);
/* Syncs the folder that holds path. */
KS_NODISCARD ks_err ks_vfs_sync_parent(struct ks_vfs *v, const char *path);

#endif
