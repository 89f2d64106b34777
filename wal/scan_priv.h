/*
 * Reads one segment from its header to where its valid content ends, and tells a torn tail from
 * damage. Shared by recovery and the offline dump. One thread per scan; never writes.
 *
 * The rule: commits follow each other without gaps. Reading stops at the first commit or frame that
 * does not validate. Whether that is the natural end is decided by proof: a later commit of this
 * segment that says "frames up to D were durable before me" with D at or above the first missing
 * LSN means that something acknowledged is gone. Blocks of the write that was under way when the
 * power went may be there in any combination and prove nothing.
 */
#ifndef KS_WAL_SCAN_PRIV_H
#define KS_WAL_SCAN_PRIV_H

#include "sys/vfs.h"
#include "wal/format_priv.h"

struct ksi_wal_scan {
    struct ks_file *file;
    struct ksi_wal_header header;
    uint64_t seed;
    uint64_t file_bytes;
    uint8_t *win; /* a window of the file, win_len bytes from win_off */
    uint64_t win_off;
    size_t win_len;
};

struct ksi_wal_visitor {
    void *arg;
    ks_wal_replay_fn frame;                                                     /* may be NULL */
    void (*commit)(void *arg, const struct ksi_wal_commit *c, uint64_t offset); /* may be NULL */
};

struct ksi_wal_end {
    ks_lsn next_lsn; /* one past the last valid frame */
    uint64_t
        off; /* where reading stopped: the failing frame or commit, or the end of the last one */
    uint64_t used_bytes; /* end of the last whole commit */
    bool torn;           /* stopped inside a commit whose head is valid */
    bool damaged;        /* proof beyond off that something durable is missing */
    ks_lsn highest_lsn;  /* highest LSN seen or proven, also beyond off */
    const char *why;     /* what failed at off, static text */
};

/* Opens path and reads its header: KS_ECORRUPT, KS_EUNSUPPORTED, KS_EIO, KS_ENOMEM. Close it in any
 * case of KS_OK. */
KS_NODISCARD ks_err ksi_wal_scan_open(struct ks_vfs *vfs, const char *path,
                                      struct ksi_wal_scan *ret);
void ksi_wal_scan_close(struct ksi_wal_scan *s);

/*
 * Visits every valid frame in order, up to but without stop_lsn (0: to the end). Errors are I/O and
 * the visitor's; bad bytes are an outcome in *ret, set in any case.
 */
KS_NODISCARD ks_err ksi_wal_scan_run(struct ksi_wal_scan *s, ks_lsn stop_lsn,
                                     const struct ksi_wal_visitor *v, struct ksi_wal_end *ret);

#endif
