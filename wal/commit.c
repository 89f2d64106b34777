/*
 * Appending, group commit and waiting. An appender reserves its place under the lock and copies
 * outside it. Whoever needs durability first while nobody writes becomes the leader: it closes the
 * open buffer, opens the other one for newcomers, writes the whole as one commit and wakes those it
 * covered. Commits are strictly one after the other: a commit begins on disk only after the one
 * before it is durable (COMMIT), which is what recovery's proof rests on.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "wal/wal_priv.h"

void ksi_wal_wait_room(struct ks_wal *wal)
{
    wal->room_waiters++;
    pthread_cond_wait(&wal->room, &wal->lock);
    wal->room_waiters--;
}

void ksi_wal_wake_room(struct ks_wal *wal)
{
    if (wal->room_waiters)
        pthread_cond_broadcast(&wal->room);
}

void ksi_wal_close_for_good(struct ks_wal *wal, ks_err err)
{
    if (wal->closed != KS_OK)
        return;
    wal->closed = err;
    snprintf(wal->closed_text, sizeof wal->closed_text, "%s", ks_err_text());
    pthread_cond_broadcast(&wal->room);
    pthread_cond_broadcast(&wal->work);
    for (int i = 0; i < 2; i++)
        pthread_cond_broadcast(&wal->bufs[i].done);
}

ks_err ksi_wal_closed_err(const struct ks_wal *wal)
{
    return ks_fail(KS_ECLOSED, "the write-ahead log is closed after an error: %s",
                   wal->closed_text);
}

/* Waits until every appender that has a place in b has copied its frame: microseconds. */
static void await_copies(struct ksi_wal_buffer *b)
{
    for (unsigned spins = 0; atomic_load_explicit(&b->copying, memory_order_acquire); spins++)
        if (spins > 64)
            sched_yield();
}

static ks_err write_commit(struct ks_wal *wal, struct ksi_wal_buffer *b, ks_lsn durable_lsn)
{
    size_t bytes = (size_t)ksi_wal_round_up(b->fill);
    struct ksi_wal_commit c = {b->first_lsn, (uint32_t)bytes, b->frames, durable_lsn};
    await_copies(b);
    ksi_wal_commit_encode(&c, b->off, wal->seed, b->mem);
    memset(b->mem + b->fill, 0, bytes - b->fill);
    KS_TRY(ks_write_at(wal->file, b->off, b->mem, bytes));
    return wal->sync_each ? ks_sync(wal->file) : KS_OK;
}

/* Hands the empty buffer to newcomers; the one that was open is the caller's to write. */
static struct ksi_wal_buffer *swap_buffers(struct ks_wal *wal)
{
    struct ksi_wal_buffer *b = &wal->bufs[wal->open];
    if (b->fill == 0) { /* a commit without frames, only to attest what is durable */
        b->fill = KSI_WAL_COMMIT_BYTES;
        b->first_lsn = wal->next_lsn;
        b->frames = 0;
    }
    wal->open ^= 1;
    struct ksi_wal_buffer *o = &wal->bufs[wal->open];
    o->fill = 0;
    o->frames = 0;
    o->off = b->off + ksi_wal_round_up(b->fill);
    return b;
}

void ksi_wal_lead(struct ks_wal *wal)
{
    wal->writing = true;
    struct ksi_wal_buffer *b = swap_buffers(wal);
    ks_lsn last = wal->next_lsn - 1, durable = wal->durable_lsn;
    pthread_mutex_unlock(&wal->lock);
    ks_err err = write_commit(wal, b, durable);
    pthread_mutex_lock(&wal->lock);
    wal->writing = false;
    if (err != KS_OK) {
        ksi_wal_close_for_good(wal, err);
        return;
    }
    wal->written_lsn = last;
    wal->attested_lsn = durable;
    if (wal->opts.sync == KS_WAL_SYNC_COMMIT)
        wal->durable_lsn = last;
    wal->live[wal->live_count - 1].used_bytes = b->off + ksi_wal_round_up(b->fill);
    b->fill = 0;
    pthread_cond_broadcast(&b->done);
    pthread_cond_signal(&wal->bufs[wal->open].done); /* the next leader, if one waits */
    ksi_wal_wake_room(wal);
    if (ksi_wal_wants_spare(wal))
        pthread_cond_signal(&wal->work);
}

void ksi_wal_sync_current(struct ks_wal *wal)
{
    ks_lsn target = wal->written_lsn;
    wal->syncing = true;
    pthread_mutex_unlock(&wal->lock);
    ks_err err = ks_sync(wal->file);
    pthread_mutex_lock(&wal->lock);
    wal->syncing = false;
    if (err != KS_OK)
        ksi_wal_close_for_good(wal, err);
    else if (target > wal->durable_lsn)
        wal->durable_lsn = target;
    ksi_wal_wake_room(wal);
}

/* Makes the open buffer take `need` more bytes: leads or waits until it does. */
static ks_err make_room(struct ks_wal *wal, size_t need)
{
    for (;;) {
        struct ksi_wal_buffer *b = &wal->bufs[wal->open];
        size_t fill = b->fill ? b->fill : KSI_WAL_COMMIT_BYTES;
        if (wal->closed != KS_OK)
            return ksi_wal_closed_err(wal);
        if (wal->closing)
            return ks_fail(KS_ECLOSED, "the write-ahead log is being closed");
        if (wal->file && !wal->rotating && fill + need <= wal->opts.buffer_bytes &&
            b->off + ksi_wal_round_up(fill + need) <= wal->segment_bytes)
            return KS_OK;
        if (wal->writing)
            ksi_wal_wait_room(wal);
        else if (b->fill)
            ksi_wal_lead(wal);
        else
            KS_TRY(ksi_wal_rotate(wal));
    }
}

ks_err ks_wal_append(struct ks_wal *wal, uint8_t type, uint16_t shard, struct ks_slice payload,
                     ks_lsn *ret_lsn)
{
    size_t need = KSI_WAL_FRAME_HEAD + payload.len;
    if (payload.len == 0 || payload.len > KS_WAL_FRAME_MAX ||
        KSI_WAL_COMMIT_BYTES + need > wal->opts.buffer_bytes ||
        KSI_WAL_BLOCK + ksi_wal_round_up(KSI_WAL_COMMIT_BYTES + need) > wal->opts.segment_bytes)
        return ks_fail(KS_ELIMIT, "a log record of %zu bytes does not fit", payload.len);
    pthread_mutex_lock(&wal->lock);
    ks_err err = make_room(wal, need);
    if (err != KS_OK) {
        pthread_mutex_unlock(&wal->lock);
        return err;
    }
    struct ksi_wal_buffer *b = &wal->bufs[wal->open];
    if (b->fill == 0) {
        b->fill = KSI_WAL_COMMIT_BYTES;
        b->first_lsn = wal->next_lsn;
    }
    uint8_t *out = b->mem + b->fill;
    struct ksi_wal_frame f = {.type = type, .shard = shard, .lsn = wal->next_lsn++};
    uint64_t seed = wal->seed;
    b->fill += need;
    b->frames++;
    atomic_fetch_add_explicit(&b->copying, 1, memory_order_relaxed);
    pthread_mutex_unlock(&wal->lock);
    ksi_wal_frame_encode(&f, payload, seed, out);
    atomic_fetch_sub_explicit(&b->copying, 1, memory_order_release);
    *ret_lsn = f.lsn;
    return KS_OK;
}

/* Lock held. Until everything up to lsn is written to the file. */
static ks_err await_written(struct ks_wal *wal, ks_lsn lsn)
{
    while (wal->written_lsn < lsn) {
        if (wal->closed != KS_OK)
            return ksi_wal_closed_err(wal);
        struct ksi_wal_buffer *b = &wal->bufs[wal->open];
        if (!wal->writing)
            ksi_wal_lead(wal);
        else if (b->fill && lsn >= b->first_lsn)
            pthread_cond_wait(&b->done, &wal->lock);
        else
            pthread_cond_wait(&wal->bufs[wal->open ^ 1].done, &wal->lock);
    }
    return KS_OK;
}

ks_err ks_wal_wait(struct ks_wal *wal, ks_lsn lsn)
{
    pthread_mutex_lock(&wal->lock);
    ks_err err = KS_OK;
    if (lsn >= wal->next_lsn)
        err = ks_fail(KS_EINVAL, "nothing was appended at %llu", (unsigned long long)lsn);
    else
        err = await_written(wal, lsn);
    pthread_mutex_unlock(&wal->lock);
    return err;
}

ks_err ks_wal_sync(struct ks_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    ks_lsn target = wal->next_lsn - 1;
    ks_err err = await_written(wal, target);
    while (err == KS_OK && wal->durable_lsn < target) {
        if (wal->closed != KS_OK)
            err = ksi_wal_closed_err(wal);
        else if (wal->syncing)
            ksi_wal_wait_room(wal);
        else
            ksi_wal_sync_current(wal);
    }
    pthread_mutex_unlock(&wal->lock);
    return err;
}
