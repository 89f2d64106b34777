/* What lies in a log's folder: segments with their headers, spares, leftovers. Reads only; shared
 * by recovery and dump. */
#ifndef KS_WAL_FOLDER_PRIV_H
#define KS_WAL_FOLDER_PRIV_H

#include "sys/vfs.h"
#include "wal/format_priv.h"

/* One wal-EPOCH.seg. */
struct ksi_wal_found {
    uint64_t id; /* the epoch its name says */
    uint64_t file_bytes;
    struct ksi_wal_header header;
    bool readable; /* the header is valid and says the same epoch */
    char why[160]; /* when not */
};

struct ksi_wal_folder {
    struct ksi_wal_found *seg; /* by epoch */
    size_t count, cap;
    uint64_t *spare_ids, *damaged_ids;
    size_t spare_count, spare_cap, damaged_count, damaged_cap;
    char *junk; /* names of *.tmp, each with its NUL */
    size_t junk_len, junk_cap;
    uint64_t max_id; /* the highest number any name uses */
    ks_err err;      /* while listing */
};

/* Damaged headers are an outcome (readable = false); errors are KS_EIO, KS_ENOMEM, KS_EUNSUPPORTED.
 * Always _done it. */
KS_NODISCARD ks_err ksi_wal_folder_read(struct ks_vfs *vfs, const char *path,
                                        struct ksi_wal_folder *ret);
KS_NODISCARD ks_err ksi_wal_folder_add_spare(struct ksi_wal_folder *f, uint64_t id);
void ksi_wal_folder_done(struct ksi_wal_folder *f);

#endif
