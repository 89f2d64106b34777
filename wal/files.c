/*
 * Segment files. A spare is a file whose every byte was really written once, so that writing it
 * again costs neither allocation nor metadata. A spare becomes the current segment in three durable
 * steps: its header is written, it gets its name wal-EPOCH.seg, the folder is synced; a crash
 * between them leaves an unused spare. The first segment of a folder is small (making it must not
 * delay a start), each further one four times larger up to segment_bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/rand.h"
#include "wal/wal_priv.h"

enum {
    FIRST_SEGMENT_BYTES = 4 << 20,
    ZERO_BYTES = 1 << 20, /* one write while making a spare */
    ZERO_PAUSE_MS = 2,    /* after each, when nobody waits for the spare: commits go first */
    SPARE_RETRY_MS = 200, /* after a full disk */
};

ks_err ksi_wal_path(const char *dir, const char *kind, uint64_t id, const char *suffix, char *out)
{
    int n = snprintf(out, KSI_WAL_PATH_MAX, "%s/%s-%016" PRIx64 ".%s", dir, kind, id, suffix);
    if (n < 0 || n >= KSI_WAL_PATH_MAX)
        return ks_fail(KS_EINVAL, "path is too long: %s", dir);
    return KS_OK;
}

static ks_err probe_direct(struct ks_wal *wal, const char *path, int flags)
{
    struct ks_file *f;
    KS_TRY(ks_open(wal->vfs, path, KS_OPEN_CREATE | KS_OPEN_TRUNC | flags, &f));
    memset(wal->scratch, 0, KSI_WAL_BLOCK);
    ks_err err = ks_write_at(f, 0, wal->scratch, KSI_WAL_BLOCK);
    ks_close(f);
    /* A full disk says nothing about the method: the open was accepted. */
    return err == KS_ENOSPC ? KS_OK : err;
}

/* Chooses how the current segment is written: by trying it, since file systems differ and
 * containers lie. */
ks_err ksi_wal_probe(struct ks_wal *wal)
{
    wal->open_flags = KS_OPEN_WRITE;
    wal->sync_each = wal->opts.sync == KS_WAL_SYNC_COMMIT;
    if (!wal->sync_each)
        return KS_OK;
    char path[KSI_WAL_PATH_MAX];
    KS_TRY(ksi_wal_path(wal->dir, "probe", 0, "tmp", path));
    if (probe_direct(wal, path, KS_OPEN_DIRECT | KS_OPEN_DSYNC) == KS_OK) {
        wal->open_flags |= KS_OPEN_DIRECT | KS_OPEN_DSYNC;
        wal->sync_each = false;
    }
    ks_err err = wal->vfs->ops->unlink(wal->vfs, path);
    return err == KS_ENOTFOUND ? KS_OK : err;
}

uint64_t ksi_wal_min_segment(const struct ks_wal *wal)
{
    return wal->opts.segment_bytes < FIRST_SEGMENT_BYTES ? wal->opts.segment_bytes
                                                         : FIRST_SEGMENT_BYTES;
}

/* Of the next spare: small at first, whole when the log has proven to be in use. */
static uint64_t spare_bytes(const struct ks_wal *wal)
{
    uint64_t n = FIRST_SEGMENT_BYTES;
    if (wal->file)
        n = wal->segment_bytes * 4;
    if (n < FIRST_SEGMENT_BYTES)
        n = FIRST_SEGMENT_BYTES;
    return n < wal->opts.segment_bytes ? n : wal->opts.segment_bytes;
}

bool ksi_wal_wants_spare(const struct ks_wal *wal)
{
    if (wal->spare_making || wal->closed != KS_OK)
        return false;
    if (wal->spare_urgent)
        return wal->spare_count == 0;
    if (wal->spare_err != KS_OK && ks_mono_ms() < wal->spare_retry_ms)
        return false;
    if (!wal->file)
        return wal->spare_count == 0;
    uint64_t used = wal->live[wal->live_count - 1].used_bytes;
    return wal->spare_count < wal->opts.spare_segments && used >= wal->segment_bytes / 4;
}

/* Without the lock: whether the maker should go on, after giving way to commits. */
static bool go_on(struct ks_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    bool urgent = wal->spare_urgent || !wal->has_thread,
         stop = wal->closing || wal->closed != KS_OK;
    pthread_mutex_unlock(&wal->lock);
    if (!urgent && !stop) {
        struct timespec pause = {0, ZERO_PAUSE_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    return !stop;
}

static ks_err write_zeros(struct ks_wal *wal, struct ks_file *f, uint64_t bytes)
{
    uint64_t step = bytes < ZERO_BYTES ? bytes : ZERO_BYTES;
    uint8_t *zeros = ks_aligned_alloc(KSI_WAL_BLOCK, (size_t)step);
    if (!zeros)
        return KS_ENOMEM;
    memset(zeros, 0, (size_t)step);
    ks_err err = KS_OK;
    for (uint64_t off = 0; err == KS_OK && off < bytes; off += step) {
        uint64_t n = bytes - off < step ? bytes - off : step;
        err = ks_write_at(f, off, zeros, (size_t)n);
        if (err == KS_OK && !go_on(wal))
            err = ks_fail(KS_ECANCELED, "the write-ahead log is being closed");
    }
    ks_free(zeros);
    return err == KS_OK ? ks_sync(f) : err;
}

static ks_err make_file(struct ks_wal *wal, uint64_t id, uint64_t bytes)
{
    char tmp[KSI_WAL_PATH_MAX], path[KSI_WAL_PATH_MAX];
    KS_TRY(ksi_wal_path(wal->dir, "spare", id, "tmp", tmp));
    KS_TRY(ksi_wal_path(wal->dir, "spare", id, "seg", path));
    struct ks_file *f;
    int flags = KS_OPEN_CREATE | KS_OPEN_TRUNC | (wal->open_flags & KS_OPEN_DIRECT);
    KS_TRY(ks_open(wal->vfs, tmp, flags, &f));
    ks_err err = write_zeros(wal, f, bytes);
    ks_close(f);
    if (err == KS_OK)
        err = wal->vfs->ops->rename(wal->vfs, tmp, path);
    if (err != KS_OK) {
        char text[KS_ERR_TEXT_MAX];
        snprintf(text, sizeof text, "%s", ks_err_text());
        (void)!wal->vfs->ops->unlink(wal->vfs, tmp); /* the next open removes what stays */
        return ks_fail(err, "%s", text);
    }
    return KS_OK;
}

/* Without memory for the entry the file is forgotten; the next open finds it. */
ks_err ksi_wal_put_spare(struct ks_wal *wal, struct ksi_wal_spare s)
{
    KS_TRY(ks_array_reserve((void **)&wal->spares, &wal->spare_cap, wal->spare_count + 1,
                            sizeof *wal->spares));
    wal->spares[wal->spare_count++] = s;
    return KS_OK;
}

ks_err ksi_wal_make_spare(struct ks_wal *wal)
{
    struct ksi_wal_spare s = {wal->next_id++, spare_bytes(wal)};
    wal->spare_making = true;
    pthread_mutex_unlock(&wal->lock);
    ks_err err = make_file(wal, s.id, s.file_bytes);
    pthread_mutex_lock(&wal->lock);
    wal->spare_making = false;
    if (err == KS_OK)
        err = ksi_wal_put_spare(wal, s);
    wal->spare_tries++;
    wal->spare_err = err;
    wal->spare_retry_ms = ks_mono_ms() + SPARE_RETRY_MS;
    /* A disk that is full may have room again; any other failure is the end of this log's life as a
     * writer. */
    if (err != KS_OK && err != KS_ENOSPC && err != KS_ENOMEM && err != KS_ECANCELED)
        ksi_wal_close_for_good(wal, err);
    ksi_wal_wake_room(wal);
    return err;
}

static ks_err no_space(const struct ks_wal *wal)
{
    return ks_fail(wal->spare_err, "no room for another log segment in %s: free disk space",
                   wal->dir);
}

/* Lock held, leader. Until a spare is there; the worker makes it unless there is none. */
static ks_err await_spare(struct ks_wal *wal)
{
    while (wal->spare_count == 0) {
        if (wal->closed != KS_OK)
            return ksi_wal_closed_err(wal);
        if (!wal->has_thread) {
            ks_err err = ksi_wal_make_spare(wal);
            if (err != KS_OK)
                return wal->closed != KS_OK ? ksi_wal_closed_err(wal) : err;
            continue;
        }
        if (wal->closing)
            return ks_fail(KS_ECLOSED, "the write-ahead log is being closed");
        if (wal->spare_err != KS_OK && !wal->spare_making && ks_mono_ms() < wal->spare_retry_ms)
            return no_space(wal);
        uint64_t tries = wal->spare_tries;
        wal->spare_urgent = true;
        pthread_cond_signal(&wal->work);
        while (tries == wal->spare_tries && wal->spare_count == 0 && wal->closed == KS_OK &&
               !wal->closing)
            ksi_wal_wait_room(wal);
        wal->spare_urgent = false;
        if (wal->spare_count == 0 && wal->spare_err != KS_OK && wal->closed == KS_OK &&
            !wal->closing)
            return no_space(wal);
    }
    return KS_OK;
}

/* Takes the largest spare off the list. */
static struct ksi_wal_spare pop_spare(struct ks_wal *wal)
{
    size_t best = 0;
    for (size_t i = 1; i < wal->spare_count; i++)
        if (wal->spares[i].file_bytes > wal->spares[best].file_bytes)
            best = i;
    struct ksi_wal_spare s = wal->spares[best];
    wal->spares[best] = wal->spares[--wal->spare_count];
    return s;
}

/*
 * Gives the spare its header and its name. *ret_named tells whether the name may have changed: then
 * a failure must close the log, since nobody knows which state a crash would leave.
 */
static ks_err enlist(struct ks_wal *wal, const struct ksi_wal_spare *s,
                     const struct ksi_wal_header *h, struct ks_file **ret, bool *ret_named)
{
    char from[KSI_WAL_PATH_MAX], to[KSI_WAL_PATH_MAX];
    KS_TRY(ksi_wal_path(wal->dir, "spare", s->id, "seg", from));
    KS_TRY(ksi_wal_path(wal->dir, "wal", h->epoch, "seg", to));
    struct ks_file *f;
    KS_TRY(ks_open(wal->vfs, from, wal->open_flags, &f));
    ksi_wal_header_encode(h, wal->scratch);
    ks_err err = ks_write_at(f, 0, wal->scratch, KSI_WAL_BLOCK);
    if (err == KS_OK && !(wal->open_flags & KS_OPEN_DSYNC))
        err = ks_sync(f);
    if (err == KS_OK)
        err = wal->vfs->ops->rename(wal->vfs, from, to);
    if (err == KS_OK) {
        *ret_named = true;
        err = wal->vfs->ops->sync_dir(wal->vfs, wal->dir);
    }
    if (err != KS_OK) {
        ks_close(f);
        return err;
    }
    *ret = f;
    return KS_OK;
}

/* Lock held, leader, both buffers empty: everything written so far becomes durable. */
static ks_err settle_current(struct ks_wal *wal)
{
    while (wal->syncing)
        ksi_wal_wait_room(wal);
    if (wal->closed == KS_OK && wal->file && wal->durable_lsn < wal->written_lsn)
        ksi_wal_sync_current(wal);
    return wal->closed == KS_OK ? KS_OK : ksi_wal_closed_err(wal);
}

/* Makes f the current segment; the old one is sealed. */
static void install(struct ks_wal *wal, struct ks_file *f, const struct ksi_wal_header *h)
{
    if (wal->file) {
        wal->live[wal->live_count - 1].end_lsn = h->first_lsn;
        ks_close(wal->file);
    }
    wal->file = f;
    wal->seed = ksi_wal_seed(h);
    wal->segment_bytes = h->segment_bytes;
    wal->live[wal->live_count++] =
        (struct ksi_wal_live){h->epoch, h->first_lsn, 0, h->segment_bytes, KSI_WAL_BLOCK};
    wal->bufs[wal->open].off = KSI_WAL_BLOCK;
}

static ks_err rotate_as_leader(struct ks_wal *wal)
{
    KS_TRY(settle_current(wal));
    KS_TRY(await_spare(wal));
    KS_TRY(ks_array_reserve((void **)&wal->live, &wal->live_cap, wal->live_count + 1,
                            sizeof *wal->live));
    struct ksi_wal_spare s = pop_spare(wal);
    struct ksi_wal_header h = {
        .epoch = wal->next_id++,
        .salt = ks_random_u64(),
        .first_lsn = wal->next_lsn,
        .prev_end_lsn = wal->file ? wal->next_lsn : wal->tail_end_lsn,
        .segment_bytes = s.file_bytes,
        .created_ms = ks_now_ms(),
    };
    memcpy(h.uuid, wal->uuid, sizeof h.uuid);
    struct ks_file *f = NULL;
    bool named = false;
    pthread_mutex_unlock(&wal->lock);
    ks_err err = enlist(wal, &s, &h, &f, &named);
    pthread_mutex_lock(&wal->lock);
    if (err == KS_OK) {
        install(wal, f, &h);
        return KS_OK;
    }
    if (named || (err != KS_ENOSPC && err != KS_ENOMEM)) {
        ksi_wal_close_for_good(wal, err);
        return ksi_wal_closed_err(wal);
    }
    (void)!ksi_wal_put_spare(wal, s);
    return err;
}

ks_err ksi_wal_rotate(struct ks_wal *wal)
{
    wal->writing = wal->rotating = true;
    ks_err err = rotate_as_leader(wal);
    wal->writing = wal->rotating = false;
    ksi_wal_wake_room(wal);
    /* Waiters of either buffer have nothing in flight here: rotation happens between commits only.
     */
    if (ksi_wal_wants_spare(wal))
        pthread_cond_signal(&wal->work);
    return err;
}
