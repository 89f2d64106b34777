/* Files on Linux by plain calls; batches of reads by io_uring where the kernel lets this process
 * use it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/vfs.h"

struct posix_file {
    struct ks_file base;
    int fd;
    char path[]; /* for error texts */
};

static struct posix_file *self(struct ks_file *f)
{
    return (struct posix_file *)f;
}

static ks_err io_fail(const char *op, const char *path, int e)
{
    return ks_fail(ks_err_from_errno(e), "cannot %s %s: %s", op, path, strerror(e));
}

static ks_err file_new(struct ks_vfs *v, const char *path, int fd, struct ks_file **ret)
{
    size_t n = strlen(path) + 1;
    struct posix_file *f = ks_alloc(sizeof *f + n);
    if (!f) {
        close(fd);
        return KS_ENOMEM;
    }
    f->base.vfs = v;
    f->fd = fd;
    memcpy(f->path, path, n);
    *ret = &f->base;
    return KS_OK;
}

static ks_err posix_open(struct ks_vfs *v, const char *path, int flags, struct ks_file **ret)
{
    int o = O_CLOEXEC | (flags & (KS_OPEN_WRITE | KS_OPEN_CREATE) ? O_RDWR : O_RDONLY);
    o |= flags & KS_OPEN_CREATE ? O_CREAT : 0;
    o |= flags & KS_OPEN_EXCL ? O_EXCL : 0;
    o |= flags & KS_OPEN_TRUNC ? O_TRUNC : 0;
    o |= flags & KS_OPEN_DIRECT ? O_DIRECT : 0;
    o |= flags & KS_OPEN_DSYNC ? O_DSYNC : 0;
    int fd = open(path, o, 0644);
    if (fd < 0 && (flags & KS_OPEN_DIRECT) && errno == EINVAL)
        return ks_fail(KS_EUNSUPPORTED, "the file system of %s does not support O_DIRECT", path);
    if (fd < 0)
        return io_fail("open", path, errno);
    return file_new(v, path, fd, ret);
}

static void posix_close(struct ks_file *f)
{
    close(self(f)->fd);
    ks_free(f);
}

static ks_err posix_read_at(struct ks_file *f, uint64_t off, void *buf, size_t len, size_t *ret_n)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(self(f)->fd, (char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_fail("read", self(f)->path, errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_n = done;
    return KS_OK;
}

static ks_err posix_write_at(struct ks_file *f, uint64_t off, const void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(self(f)->fd, (const char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_fail("write", self(f)->path, n < 0 ? errno : EIO);
        done += (size_t)n;
    }
    return KS_OK;
}

static ks_err posix_sync(struct ks_file *f)
{
    return fdatasync(self(f)->fd) == 0 ? KS_OK : io_fail("sync", self(f)->path, errno);
}

static ks_err posix_size(struct ks_file *f, uint64_t *ret)
{
    struct stat st;
    if (fstat(self(f)->fd, &st) != 0)
        return io_fail("stat", self(f)->path, errno);
    *ret = (uint64_t)st.st_size;
    return KS_OK;
}

static ks_err posix_truncate(struct ks_file *f, uint64_t size)
{
    return ftruncate(self(f)->fd, (off_t)size) == 0 ? KS_OK
                                                    : io_fail("truncate", self(f)->path, errno);
}

static ks_err posix_rename(struct ks_vfs *v, const char *from, const char *to)
{
    return rename(from, to) == 0 ? KS_OK : io_fail("rename", from, errno);
}

static ks_err posix_link(struct ks_vfs *v, const char *from, const char *to)
{
    return link(from, to) == 0 ? KS_OK : io_fail("link", from, errno);
}

static ks_err posix_unlink(struct ks_vfs *v, const char *path)
{
    return unlink(path) == 0 ? KS_OK : io_fail("remove", path, errno);
}

static ks_err posix_mkdir(struct ks_vfs *v, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? KS_OK : ks_fail(KS_EEXIST, "%s exists and is no folder", path);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return io_fail("create folder", path, errno);
    return ks_vfs_sync_parent(v, path);
}

static ks_err posix_rmdir(struct ks_vfs *v, const char *path)
{
    return rmdir(path) == 0 ? KS_OK : io_fail("remove folder", path, errno);
}

static ks_err posix_sync_dir(struct ks_vfs *v, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_fail("open folder", path, errno);
    int e = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    /* Some network file systems refuse fsync of folders; their metadata is synchronous. */
    return e == 0 || e == EINVAL ? KS_OK : io_fail("sync folder", path, e);
}

static ks_err posix_list(struct ks_vfs *v, const char *path, ks_dir_fn fn, void *arg)
{
    DIR *dir = opendir(path);
    if (!dir)
        return io_fail("list", path, errno);
    errno = 0;
    for (struct dirent *e; (e = readdir(dir)); errno = 0) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        bool is_dir = e->d_type == DT_DIR;
        if (e->d_type == DT_UNKNOWN) {
            struct stat st;
            is_dir = fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                     S_ISDIR(st.st_mode);
        }
        if (!fn(arg, e->d_name, is_dir))
            break;
    }
    int e = errno;
    closedir(dir);
    return e ? io_fail("list", path, e) : KS_OK;
}

static ks_err posix_space(struct ks_vfs *v, const char *path, uint64_t *ret_free,
                          uint64_t *ret_total)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return io_fail("stat file system of", path, errno);
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return KS_OK;
}

static ks_err posix_lock(struct ks_vfs *v, const char *path, struct ks_file **ret)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return io_fail("open", path, errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int e = errno;
        close(fd);
        return e == EWOULDBLOCK
                   ? ks_fail(KS_EBUSY, "%s is locked: another process uses this folder", path)
                   : io_fail("lock", path, e);
    }
    return file_new(v, path, fd, ret);
}

enum { RING_DEPTH = 32 };

/* One ring per thread, made on first use; never used when the probe failed. */
static pthread_key_t ring_key;
static pthread_once_t ring_once = PTHREAD_ONCE_INIT;
static bool ring_allowed;

static void ring_free(void *p)
{
    io_uring_queue_exit(p);
    ks_free(p);
}

static void ring_probe(void)
{
    struct io_uring ring;
    if (pthread_key_create(&ring_key, ring_free) == 0 && io_uring_queue_init(2, &ring, 0) == 0) {
        io_uring_queue_exit(&ring);
        ring_allowed = true;
    }
}

bool ks_vfs_uring_allowed(void)
{
    pthread_once(&ring_once, ring_probe);
    return ring_allowed;
}

static struct io_uring *thread_ring(void)
{
    if (!ks_vfs_uring_allowed())
        return NULL;
    struct io_uring *ring = pthread_getspecific(ring_key);
    if (ring)
        return ring;
    ring = ks_alloc(sizeof *ring);
    if (!ring || io_uring_queue_init(RING_DEPTH, ring, 0) != 0) {
        ks_free(ring);
        return NULL;
    }
    pthread_setspecific(ring_key, ring);
    return ring;
}

/* Submits up to RING_DEPTH reads and waits for all; what the ring did not read whole is read by
 * plain calls. */
static ks_err ring_batch(struct io_uring *ring, struct ks_read_req *reqs, size_t count)
{
    bool whole[RING_DEPTH] = {false};
    size_t queued = 0;
    for (; queued < count; queued++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
        if (!sqe)
            break;
        io_uring_prep_read(sqe, self(reqs[queued].file)->fd, reqs[queued].buf,
                           (unsigned)reqs[queued].len, reqs[queued].off);
        io_uring_sqe_set_data64(sqe, queued);
    }
    int submitted = queued ? io_uring_submit(ring) : 0;
    for (int i = 0; i < submitted; i++) {
        struct io_uring_cqe *cqe;
        int rc;
        while ((rc = io_uring_wait_cqe(ring, &cqe)) == -EINTR)
            ;
        KS_ASSERT(rc == 0); /* buffers are in flight: there is no way on without the answer */
        size_t at = io_uring_cqe_get_data64(cqe);
        whole[at] = cqe->res >= 0 && (size_t)cqe->res == reqs[at].len;
        io_uring_cqe_seen(ring, cqe);
    }
    for (size_t i = 0; i < count; i++)
        if (!whole[i])
            KS_TRY(ks_read_exact(reqs[i].file, reqs[i].off, reqs[i].buf, reqs[i].len));
    return KS_OK;
}

static ks_err posix_read_many(struct ks_vfs *v, struct ks_read_req *reqs, size_t count)
{
    struct io_uring *ring = thread_ring();
    for (size_t i = 0; i < count;) {
        size_t n = count - i < RING_DEPTH ? count - i : RING_DEPTH;
        if (ring) {
            KS_TRY(ring_batch(ring, reqs + i, n));
        } else {
            for (size_t k = 0; k < n; k++)
                KS_TRY(ks_read_exact(reqs[i + k].file, reqs[i + k].off, reqs[i + k].buf,
                                     reqs[i + k].len));
        }
        i += n;
    }
    return KS_OK;
}

static const struct ks_vfs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read_at = posix_read_at,
    .write_at = posix_write_at,
    .sync = posix_sync,
    .size = posix_size,
    .truncate = posix_truncate,
    .rename = posix_rename,
    .link = posix_link,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .space = posix_space,
    .lock = posix_lock,
    .read_many = posix_read_many,
};

struct ks_vfs *ks_vfs_posix(void)
{
    static struct ks_vfs posix = {&posix_ops};
    return &posix;
}
