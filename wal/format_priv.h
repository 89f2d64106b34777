/*
 * The bytes of a log segment: its header block, commits and frames. Pure functions, no I/O, no
 * state; any thread. Spec: docs/format/wal.md. Decoders take hostile bytes.
 */
#ifndef KS_WAL_FORMAT_PRIV_H
#define KS_WAL_FORMAT_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wal/wal.h"

enum {
    KSI_WAL_BLOCK = 4096,    /* header block, and what every commit is padded to */
    KSI_WAL_FRAME_HEAD = 24, /* bytes before a frame's payload */
    KSI_WAL_COMMIT_PAYLOAD = 24,
    KSI_WAL_COMMIT_BYTES = KSI_WAL_FRAME_HEAD + KSI_WAL_COMMIT_PAYLOAD,
    KSI_WAL_FLAG_COMMIT = 1, /* the frame that begins a commit; takes no LSN */
};

/* Never reached; keeps sums of LSNs and counts from overflowing. */
#define KSI_WAL_LSN_MAX ((ks_lsn)1 << 62)

/* A segment's first block, decoded. */
struct ksi_wal_header {
    uint8_t uuid[16];
    uint64_t epoch;         /* unique per use of a segment file, rising */
    uint64_t salt;          /* random per use, so that equal epochs still differ */
    ks_lsn first_lsn;       /* LSN of the first frame here */
    ks_lsn prev_end_lsn;    /* one past the last frame of the segment before */
    uint64_t segment_bytes; /* of the file, header included */
    int64_t created_ms;
};

struct ksi_wal_frame {
    uint32_t len;
    uint8_t type, flags;
    uint16_t shard;
    ks_lsn lsn;
    uint64_t hash;
};

/* What the first frame of every commit says. */
struct ksi_wal_commit {
    ks_lsn first_lsn;     /* of the frames that follow */
    uint32_t write_bytes; /* of the whole commit, a multiple of KSI_WAL_BLOCK */
    uint32_t frames;
    ks_lsn durable_lsn; /* every frame up to it was durable before this commit was written */
};

static inline uint64_t ksi_wal_round_up(uint64_t n)
{
    return (n + KSI_WAL_BLOCK - 1) & ~(uint64_t)(KSI_WAL_BLOCK - 1);
}

/* Fills block (KSI_WAL_BLOCK bytes). */
void ksi_wal_header_encode(const struct ksi_wal_header *h, uint8_t *block);
/* KS_ECORRUPT, or KS_EUNSUPPORTED for a version or feature this build does not know. */
KS_NODISCARD ks_err ksi_wal_header_decode(const uint8_t *block, struct ksi_wal_header *ret);

/* What seeds every hash in the segment. */
uint64_t ksi_wal_seed(const struct ksi_wal_header *h);

/* Writes head and payload at out (KSI_WAL_FRAME_HEAD + payload.len bytes). f->len and f->hash are
 * set from the payload. */
void ksi_wal_frame_encode(const struct ksi_wal_frame *f, struct ks_slice payload, uint64_t seed,
                          uint8_t *out);
void ksi_wal_frame_decode(const uint8_t *head, struct ksi_wal_frame *ret);
/* Whether the hash in head is that of head and payload. */
bool ksi_wal_frame_valid(const uint8_t *head, const uint8_t *payload, uint32_t len, uint64_t seed);

/* offset: of the commit in its segment. Writes KSI_WAL_COMMIT_BYTES. */
void ksi_wal_commit_encode(const struct ksi_wal_commit *c, uint64_t offset, uint64_t seed,
                           uint8_t *out);
/* False unless KSI_WAL_COMMIT_BYTES at p are a whole commit head written for this offset of this
 * segment. */
bool ksi_wal_commit_decode(const uint8_t *p, uint64_t offset, uint64_t segment_bytes, uint64_t seed,
                           struct ksi_wal_commit *ret);

#endif
