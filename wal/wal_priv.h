/*
 * The log's insides, shared by its files: files.c (segment files, spares, rotation), recover.c
 * (opening), commit.c (buffers, leader, waiting), wal.c (open, close, release, worker).
 *
 * `lock` guards everything below it and is never held over I/O. Whoever sets `writing` is the
 * leader: the only one that writes to the current segment, swaps the buffers or rotates. `syncing`
 * marks a sync of the current segment beside the leader; the segment's file is closed only while
 * both are clear.
 */
#ifndef KS_WAL_WAL_PRIV_H
#define KS_WAL_WAL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "wal/format_priv.h"

/* A segment file that holds frames: [first_lsn, end_lsn), end_lsn 0 while it is the current one. */
struct ksi_wal_live {
    uint64_t epoch;
    ks_lsn first_lsn, end_lsn;
    uint64_t file_bytes, used_bytes;
};

/* A file of zeros or of released frames, ready to become a segment. */
struct ksi_wal_spare {
    uint64_t id;
    uint64_t file_bytes;
};

struct ksi_wal_buffer {
    uint8_t *mem; /* buffer_bytes, aligned; commit head first */
    size_t fill;  /* bytes reserved; 0 = no frame yet */
    uint64_t off; /* where it will be written */
    ks_lsn first_lsn;
    uint32_t frames;
    _Atomic uint32_t
        copying;         /* appenders still copying; the leader waits for 0 (release/acquire) */
    pthread_cond_t done; /* frames of this buffer became durable, or a leader is wanted */
};

struct ks_wal {
    struct ks_vfs *vfs;
    char *dir;
    struct ks_wal_opts opts; /* sizes resolved; dir not used */
    uint8_t uuid[16];
    int open_flags;               /* of the current segment */
    bool sync_each;               /* COMMIT without DSYNC: fdatasync after every write */
    uint8_t *scratch;             /* one aligned block; the leader's */
    pthread_mutex_t release_lock; /* one ks_wal_release at a time; taken before lock */

    pthread_mutex_t lock;
    pthread_cond_t room; /* leadership, syncing or space changed */
    pthread_cond_t work; /* the worker has something to do */
    bool writing, syncing, closing, has_thread;
    bool
        rotating; /* the open buffer takes nothing: its frames would carry the old segment's seed */
    unsigned room_waiters;
    pthread_t thread;

    struct ksi_wal_buffer bufs[2];
    int open; /* index of the buffer being filled */
    ks_lsn next_lsn, written_lsn, durable_lsn;
    ks_lsn attested_lsn; /* highest durable_lsn a commit on disk speaks of */
    ks_lsn tail_end_lsn; /* end of the last live segment when none is current */

    struct ks_file *file; /* the current segment, NULL before the first append */
    uint64_t seed;
    uint64_t segment_bytes;

    struct ksi_wal_live *live; /* oldest first; the last is the current when file is set */
    size_t live_count, live_cap;
    struct ksi_wal_spare *spares;
    size_t spare_count, spare_cap;
    uint64_t next_id; /* epochs and spare ids: never used twice in a folder */

    bool spare_urgent, spare_making;
    uint64_t spare_tries;
    ks_err spare_err;
    int64_t spare_retry_ms;

    ks_err closed; /* why the log is closed for good */
    char closed_text[256];
};

/* "dir/kind-id.suffix" into out (KSI_WAL_PATH_MAX bytes). */
enum { KSI_WAL_PATH_MAX = 4096 };
KS_NODISCARD ks_err ksi_wal_path(const char *dir, const char *kind, uint64_t id, const char *suffix,
                                 char *out);

/* files.c; all are called with the lock held and give it up during I/O. */
KS_NODISCARD ks_err ksi_wal_rotate(struct ks_wal *wal); /* the leader's: a fresh current segment */
KS_NODISCARD ks_err ksi_wal_make_spare(struct ks_wal *wal); /* one at a time */
ks_err ksi_wal_put_spare(struct ks_wal *wal, struct ksi_wal_spare s);
uint64_t ksi_wal_min_segment(const struct ks_wal *wal);
bool ksi_wal_wants_spare(const struct ks_wal *wal);
/* files.c; before threads exist. */
KS_NODISCARD ks_err ksi_wal_probe(struct ks_wal *wal);

/* commit.c; lock held. */
void ksi_wal_close_for_good(struct ks_wal *wal, ks_err err);
ks_err ksi_wal_closed_err(const struct ks_wal *wal);
/* Writes the open buffer, also an empty one. Precondition: not writing, a current segment with
 * room. */
void ksi_wal_lead(struct ks_wal *wal);
/* One sync of the current segment: durable_lsn becomes what was written before. Precondition: not
 * syncing. */
void ksi_wal_sync_current(struct ks_wal *wal);
void ksi_wal_wait_room(struct ks_wal *wal);
void ksi_wal_wake_room(struct ks_wal *wal);

/* recover.c */
KS_NODISCARD ks_err ksi_wal_recover(struct ks_wal *wal, ks_lsn from, ks_wal_replay_fn fn,
                                    void *arg);

#endif
