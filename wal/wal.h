/*
 * The write-ahead log: one per node, all signals. Segments of 64 MiB that were really written once
 * and are recycled; frames with LSNs; leader group commit. Format: docs/format/wal.md.
 *
 * Appending and waiting are apart, so that a writer appends under its shard's lock and waits
 * without it. After any write or sync error the log is closed for good (KS_ECLOSED for everyone):
 * nothing is retried.
 */
#ifndef KS_WAL_WAL_H
#define KS_WAL_WAL_H

#include "base/err.h"
#include "base/slice.h"
#include "sys/vfs.h"

typedef uint64_t ks_lsn; /* 1, 2, 3, … one per frame; 0 = none */

/*
 * When ks_wal_wait lets a writer go: COMMIT: the frame is on disk. INTERVAL: the kernel has it, the
 * disk within interval_ms. OS: the kernel has it and writes it when it likes. A killed process
 * loses nothing under any of them; power loss may cost the last moments under INTERVAL and OS.
 */
enum ks_wal_sync { KS_WAL_SYNC_COMMIT, KS_WAL_SYNC_INTERVAL, KS_WAL_SYNC_OS };

struct ks_wal_opts {
    struct ks_vfs *vfs;
    const char *dir; /* made when absent */
    enum ks_wal_sync sync;
    uint32_t interval_ms;    /* with INTERVAL; 0 = 100 */
    uint64_t segment_bytes;  /* 0 = 64 MiB; tests use small ones */
    uint32_t spare_segments; /* ready segments kept besides the current one; 0 = 2 */
    size_t buffer_bytes;     /* each of two; 0 = 4 MiB */
    bool repair;             /* salvage: stop at damage in the middle instead of refusing */
    bool no_thread; /* tests: no background thread, callers do its work: every run makes equal calls
                     */
};

struct ks_wal;

#define KS_WAL_FRAME_MAX (2u << 20)

/* One record as replayed. The payload is borrowed for the call. */
struct ks_wal_record {
    ks_lsn lsn;
    uint8_t type;   /* the user's: engine/records.h */
    uint16_t shard; /* the user's */
    struct ks_slice payload;
};
typedef ks_err (*ks_wal_replay_fn)(void *arg, const struct ks_wal_record *rec);

/*
 * Opens the log and replays every record with lsn ≥ from through fn (one thread, LSN order), then
 * stands ready to append. LSNs given afterwards are ≥ from and above everything replayed, also when
 * the folder was empty. Errors: KS_ECORRUPT damage that is not the torn tail (text names segment,
 * offset and -wal.repair), fn's own error, KS_EIO, KS_ENOMEM, KS_ENOSPC.
 */
KS_NODISCARD ks_err ks_wal_open(const struct ks_wal_opts *opts, ks_lsn from, ks_wal_replay_fn fn,
                                void *arg, struct ks_wal **ret);
/* Writes and syncs what is buffered, then closes. KS_EIO when that failed. The handle is gone in
 * any case. */
ks_err ks_wal_close(struct ks_wal *wal);

/*
 * Appends one frame and returns its position. Durable only once ks_wal_wait(lsn) returned KS_OK.
 *
 * payload   1..KS_WAL_FRAME_MAX bytes, borrowed for the call.
 * ret_lsn   position in the log, monotonic per node.
 * Errors    KS_ELIMIT too large | KS_ECLOSED the log is closed for good | KS_ENOSPC no segment can
 * be made. Thread    any; blocks while both buffers are full (back-pressure). Cost: one copy and
 * one XXH3 of the payload.
 */
KS_NODISCARD ks_err ks_wal_append(struct ks_wal *wal, uint8_t type, uint16_t shard,
                                  struct ks_slice payload, ks_lsn *ret_lsn);
/* Blocks until the frame is durable by the policy. KS_ECLOSED: the log closed before that; the
 * frame may or may not be there. */
KS_NODISCARD ks_err ks_wal_wait(struct ks_wal *wal, ks_lsn lsn);
/* Makes everything appended so far durable, whatever the policy. */
KS_NODISCARD ks_err ks_wal_sync(struct ks_wal *wal);

/* Frames below lsn are no longer needed: whole segments under it are recycled. */
KS_NODISCARD ks_err ks_wal_release(struct ks_wal *wal, ks_lsn lsn);

ks_lsn ks_wal_next_lsn(struct ks_wal *wal);
/* About how many bytes of log a restart from `from` would replay. */
uint64_t ks_wal_bytes_since(struct ks_wal *wal, ks_lsn from);
uint64_t ks_wal_disk_bytes(struct ks_wal *wal);
/* KS_OK, or why the log is closed for good. */
ks_err ks_wal_status(struct ks_wal *wal);
/* What the start-up probe chose: "direct+dsync", "fdatasync", … */
const char *ks_wal_method(struct ks_wal *wal);

#endif
