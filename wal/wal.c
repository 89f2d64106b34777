/*
 * Opening, closing and releasing the log, and its background thread: it makes spares ahead of need,
 * syncs by the clock (INTERVAL), and when the log falls idle attests the last commit so that later
 * damage to it is provable.
 */
#include "wal/wal.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "wal/wal_priv.h"

enum {
    DEFAULT_SEGMENT_BYTES = 64 << 20,
    MIN_SEGMENT_BYTES = 4 * KSI_WAL_BLOCK,
    DEFAULT_BUFFER_BYTES = 4 << 20,
    MIN_BUFFER_BYTES = 2 * KSI_WAL_BLOCK,
    DEFAULT_SPARES = 2,
    DEFAULT_INTERVAL_MS = 100,
    IDLE_ATTEST_MS = 1000,
};

static ks_err resolve(const struct ks_wal_opts *in, struct ks_wal_opts *out)
{
    *out = *in;
    out->interval_ms = in->interval_ms ? in->interval_ms : DEFAULT_INTERVAL_MS;
    out->segment_bytes = in->segment_bytes ? in->segment_bytes : DEFAULT_SEGMENT_BYTES;
    out->spare_segments = in->spare_segments ? in->spare_segments : DEFAULT_SPARES;
    out->buffer_bytes = in->buffer_bytes ? in->buffer_bytes : DEFAULT_BUFFER_BYTES;
    if (out->segment_bytes % KSI_WAL_BLOCK || out->segment_bytes < MIN_SEGMENT_BYTES ||
        out->segment_bytes > UINT32_MAX)
        return ks_fail(KS_EINVAL, "a log segment must be a multiple of 4 KiB from 16 KiB to 4 GiB");
    if (out->buffer_bytes % KSI_WAL_BLOCK || out->buffer_bytes < MIN_BUFFER_BYTES ||
        out->buffer_bytes > (1u << 30))
        return ks_fail(KS_EINVAL, "a log buffer must be a multiple of 4 KiB from 8 KiB to 1 GiB");
    return KS_OK;
}

static void wal_free(struct ks_wal *wal)
{
    ks_close(wal->file);
    for (int i = 0; i < 2; i++) {
        ks_free(wal->bufs[i].mem);
        pthread_cond_destroy(&wal->bufs[i].done);
    }
    pthread_cond_destroy(&wal->room);
    pthread_cond_destroy(&wal->work);
    pthread_mutex_destroy(&wal->lock);
    pthread_mutex_destroy(&wal->release_lock);
    ks_free(wal->scratch);
    ks_free(wal->live);
    ks_free(wal->spares);
    ks_free(wal->dir);
    ks_free(wal);
}

static void cond_init_monotonic(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

static ks_err wal_new(const struct ks_wal_opts *opts, struct ks_wal **ret)
{
    struct ks_wal_opts o;
    KS_TRY(resolve(opts, &o));
    struct ks_wal *wal = ks_zalloc(sizeof *wal);
    if (!wal)
        return KS_ENOMEM;
    wal->vfs = o.vfs;
    wal->opts = o;
    pthread_mutex_init(&wal->release_lock, NULL);
    pthread_mutex_init(&wal->lock, NULL);
    pthread_cond_init(&wal->room, NULL);
    cond_init_monotonic(&wal->work);
    for (int i = 0; i < 2; i++)
        pthread_cond_init(&wal->bufs[i].done, NULL);
    wal->dir = ks_strdup(o.dir);
    wal->scratch = ks_aligned_alloc(KSI_WAL_BLOCK, KSI_WAL_BLOCK);
    for (int i = 0; i < 2; i++)
        wal->bufs[i].mem = ks_aligned_alloc(KSI_WAL_BLOCK, o.buffer_bytes);
    if (!wal->dir || !wal->scratch || !wal->bufs[0].mem || !wal->bufs[1].mem) {
        wal_free(wal);
        return KS_ENOMEM;
    }
    *ret = wal;
    return KS_OK;
}

/* Lock held. Sleeps until woken or for ms. */
static void work_wait(struct ks_wal *wal, int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&wal->work, &wal->lock, &t);
}

/* Whether a commit may be written now that only says what is durable. */
static bool can_attest(const struct ks_wal *wal)
{
    const struct ksi_wal_buffer *b = &wal->bufs[wal->open];
    return wal->closed == KS_OK && wal->file && !wal->writing && b->fill == 0 &&
           wal->durable_lsn > wal->attested_lsn && b->off + KSI_WAL_BLOCK <= wal->segment_bytes;
}

static void *worker(void *arg)
{
    struct ks_wal *wal = arg;
    pthread_mutex_lock(&wal->lock);
    ks_lsn seen = 0;
    while (!wal->closing && wal->closed == KS_OK) {
        bool interval = wal->opts.sync == KS_WAL_SYNC_INTERVAL;
        if (ksi_wal_wants_spare(wal)) {
            (void)!ksi_wal_make_spare(wal);
            continue;
        }
        if (interval && !wal->syncing && !wal->writing && wal->durable_lsn < wal->written_lsn)
            ksi_wal_sync_current(wal);
        if (seen == wal->next_lsn && can_attest(wal))
            ksi_wal_lead(wal);
        seen = wal->next_lsn;
        if (!wal->closing && wal->closed == KS_OK && !ksi_wal_wants_spare(wal))
            work_wait(wal, interval ? wal->opts.interval_ms : IDLE_ATTEST_MS);
    }
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}

ks_err ks_wal_open(const struct ks_wal_opts *opts, ks_lsn from, ks_wal_replay_fn fn, void *arg,
                   struct ks_wal **ret)
{
    struct ks_wal *wal;
    KS_TRY(wal_new(opts, &wal));
    ks_err err = ks_vfs_mkdirs(wal->vfs, wal->dir);
    if (err == KS_OK)
        err = ksi_wal_recover(wal, from, fn, arg);
    if (err == KS_OK)
        err = ksi_wal_probe(wal);
    if (err == KS_OK && !opts->no_thread) {
        wal->has_thread = true; /* before the thread exists: it is the only reader then */
        int e = pthread_create(&wal->thread, NULL, worker, wal);
        if (e != 0) {
            wal->has_thread = false;
            err = ks_fail(KS_ENOMEM, "cannot start the log's thread: %s", strerror(e));
        }
    }
    if (err != KS_OK) {
        wal_free(wal);
        return err;
    }
    if (wal->has_thread)
        pthread_setname_np(wal->thread, "wal");
    *ret = wal;
    return KS_OK;
}

/* The last words: everything durable, and a commit that says so. */
static ks_err finish(struct ks_wal *wal)
{
    KS_TRY(ks_wal_sync(wal));
    pthread_mutex_lock(&wal->lock);
    if (can_attest(wal))
        ksi_wal_lead(wal);
    if (wal->closed == KS_OK && wal->file && wal->opts.sync != KS_WAL_SYNC_COMMIT)
        ksi_wal_sync_current(wal);
    ks_err err = wal->closed == KS_OK ? KS_OK : ksi_wal_closed_err(wal);
    pthread_mutex_unlock(&wal->lock);
    return err;
}

ks_err ks_wal_close(struct ks_wal *wal)
{
    if (!wal)
        return KS_OK;
    pthread_mutex_lock(&wal->lock);
    wal->closing = true;
    pthread_cond_broadcast(&wal->work);
    ksi_wal_wake_room(wal);
    pthread_mutex_unlock(&wal->lock);
    if (wal->has_thread)
        pthread_join(wal->thread, NULL);
    ks_err err = finish(wal) == KS_OK ? KS_OK : KS_EIO;
    wal_free(wal);
    return err;
}

/* Release lock held. How many segments from the oldest on hold nothing at or above lsn. */
static size_t count_released(struct ks_wal *wal, ks_lsn lsn)
{
    pthread_mutex_lock(&wal->lock);
    size_t n = 0;
    while (n < wal->live_count && wal->live[n].end_lsn && wal->live[n].end_lsn <= lsn)
        n++;
    pthread_mutex_unlock(&wal->lock);
    return n;
}

/* Release lock held. Drops the oldest live entry; a spare is added when the file became one. */
static void forget_oldest(struct ks_wal *wal, size_t n)
{
    pthread_mutex_lock(&wal->lock);
    wal->live_count -= n;
    memmove(wal->live, wal->live + n, wal->live_count * sizeof *wal->live);
    pthread_mutex_unlock(&wal->lock);
}

static ks_err retire(struct ks_wal *wal, const struct ksi_wal_live *seg, bool keep)
{
    char from[KSI_WAL_PATH_MAX], to[KSI_WAL_PATH_MAX];
    KS_TRY(ksi_wal_path(wal->dir, "wal", seg->epoch, "seg", from));
    KS_TRY(ksi_wal_path(wal->dir, "spare", seg->epoch, "seg", to));
    return keep ? wal->vfs->ops->rename(wal->vfs, from, to) : wal->vfs->ops->unlink(wal->vfs, from);
}

/*
 * The renamed files may be overwritten only after their old names are gone for good: they join the
 * spares after the folder was synced. A crash before that brings segments back that nobody needs;
 * the next open skips them.
 */
static ks_err release_segments(struct ks_wal *wal, size_t n)
{
    struct ksi_wal_spare *kept = ks_alloc_array(n, sizeof *kept);
    size_t kept_count = 0;
    if (!kept)
        return KS_ENOMEM;
    pthread_mutex_lock(&wal->lock);
    size_t spares = wal->spare_count,
           max = n > wal->opts.spare_segments ? n : wal->opts.spare_segments;
    pthread_mutex_unlock(&wal->lock);
    ks_err err = KS_OK;
    for (size_t i = 0; err == KS_OK && i < n; i++) {
        pthread_mutex_lock(&wal->lock);
        struct ksi_wal_live seg = wal->live[0];
        pthread_mutex_unlock(&wal->lock);
        bool keep = seg.file_bytes == wal->opts.segment_bytes && spares + kept_count < max;
        err = retire(wal, &seg, keep);
        if (err != KS_OK)
            break;
        if (keep)
            kept[kept_count++] = (struct ksi_wal_spare){seg.epoch, seg.file_bytes};
        forget_oldest(wal, 1);
    }
    if (err == KS_OK)
        err = wal->vfs->ops->sync_dir(wal->vfs, wal->dir);
    if (err == KS_OK) {
        pthread_mutex_lock(&wal->lock);
        for (size_t i = 0; err == KS_OK && i < kept_count; i++)
            err = ksi_wal_put_spare(wal, kept[i]);
        ksi_wal_wake_room(wal);
        pthread_mutex_unlock(&wal->lock);
    }
    ks_free(kept);
    return err;
}

ks_err ks_wal_release(struct ks_wal *wal, ks_lsn lsn)
{
    pthread_mutex_lock(&wal->release_lock);
    size_t n = count_released(wal, lsn);
    ks_err err = n ? release_segments(wal, n) : KS_OK;
    pthread_mutex_unlock(&wal->release_lock);
    return err;
}

ks_lsn ks_wal_next_lsn(struct ks_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    ks_lsn lsn = wal->next_lsn;
    pthread_mutex_unlock(&wal->lock);
    return lsn;
}

/* The share of a segment's bytes that lies at or above from, as if frames were of equal size. */
static uint64_t share_since(const struct ksi_wal_live *seg, ks_lsn end, ks_lsn from)
{
    uint64_t bytes = seg->used_bytes > KSI_WAL_BLOCK ? seg->used_bytes - KSI_WAL_BLOCK : 0;
    if (from <= seg->first_lsn)
        return bytes;
    if (from >= end)
        return 0;
    return (uint64_t)((double)bytes * (double)(end - from) / (double)(end - seg->first_lsn));
}

uint64_t ks_wal_bytes_since(struct ks_wal *wal, ks_lsn from)
{
    uint64_t sum = 0;
    pthread_mutex_lock(&wal->lock);
    for (size_t i = 0; i < wal->live_count; i++) {
        ks_lsn end = wal->live[i].end_lsn ? wal->live[i].end_lsn : wal->next_lsn;
        sum += share_since(&wal->live[i], end, from);
    }
    if (from < wal->next_lsn)
        sum += wal->bufs[wal->open].fill;
    pthread_mutex_unlock(&wal->lock);
    return sum;
}

uint64_t ks_wal_disk_bytes(struct ks_wal *wal)
{
    uint64_t sum = 0;
    pthread_mutex_lock(&wal->lock);
    for (size_t i = 0; i < wal->live_count; i++)
        sum += wal->live[i].file_bytes;
    for (size_t i = 0; i < wal->spare_count; i++)
        sum += wal->spares[i].file_bytes;
    pthread_mutex_unlock(&wal->lock);
    return sum;
}

ks_err ks_wal_status(struct ks_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    ks_err err = wal->closed;
    if (err != KS_OK)
        err = ks_fail(err, "%s", wal->closed_text);
    pthread_mutex_unlock(&wal->lock);
    return err;
}

const char *ks_wal_method(struct ks_wal *wal)
{
    if (wal->open_flags & KS_OPEN_DIRECT)
        return "direct+dsync";
    return wal->sync_each ? "fdatasync" : "buffered";
}
