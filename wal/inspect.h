/*
 * Looks into a log's folder without a running log and without changing anything: for the offline
 * tool. It judges each segment as recovery would. Safe beside a running process, but then the tail
 * moves while it is read.
 */
#ifndef KS_WAL_INSPECT_H
#define KS_WAL_INSPECT_H

#include <stdbool.h>

#include "wal/wal.h"

enum ks_wal_state {
    KS_WAL_CLEAN,      /* ends where it should */
    KS_WAL_TORN,       /* the last commit was cut off by a crash; nothing acknowledged is missing */
    KS_WAL_DAMAGED,    /* frames are missing that were durable */
    KS_WAL_UNREADABLE, /* the header is invalid */
};

struct ks_wal_segment_info {
    const char *path;
    bool damaged_copy; /* set aside by an earlier repair; no part of the log */
    uint64_t epoch;
    uint64_t file_bytes, segment_bytes;
    uint8_t uuid[16];
    ks_lsn first_lsn, prev_end_lsn;
    int64_t created_ms;
    const char *why; /* why the header is invalid, else NULL */
};

struct ks_wal_segment_end {
    enum ks_wal_state state;
    ks_lsn end_lsn; /* one past its last valid frame */
    uint64_t commits, frames, payload_bytes;
    uint64_t stop_bytes; /* offset where reading stopped */
    const char *why;     /* what was found there, NULL at a regular end */
};

struct ks_wal_inspector {
    void *arg;
    /* Before a segment's frames; false leaves them out. Members may be NULL. */
    bool (*segment)(void *arg, const struct ks_wal_segment_info *info);
    ks_err (*frame)(void *arg, const struct ks_wal_record *rec, uint64_t offset_bytes);
    void (*segment_end)(void *arg, const struct ks_wal_segment_info *info,
                        const struct ks_wal_segment_end *end);
};

/*
 * Visits all segments in order. *ret_state is the worst found (a gap between segments is
 * KS_WAL_DAMAGED). Errors: the callbacks' own, KS_EIO, KS_ENOMEM, KS_ENOTFOUND, KS_EUNSUPPORTED;
 * damage is no error.
 */
KS_NODISCARD ks_err ks_wal_inspect(struct ks_vfs *vfs, const char *dir,
                                   const struct ks_wal_inspector *in, enum ks_wal_state *ret_state);

const char *ks_wal_state_name(enum ks_wal_state s);

#endif
