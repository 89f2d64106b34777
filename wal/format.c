#include "wal/format_priv.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

static const char magic[8] = {'K', 'S', 'W', 'A', 'L', 'S', 'E', 'G'};

enum {
    VERSION = 1,
    OFF_VERSION = 8,
    OFF_INCOMPAT = 16,
    OFF_HEADER_BYTES = 20,
    OFF_UUID = 24,
    OFF_EPOCH = 40,
    OFF_SALT = 48,
    OFF_FIRST_LSN = 56,
    OFF_PREV_END = 64,
    OFF_BYTES = 72,
    OFF_CREATED = 80,
    OFF_WRITER = 88,
    WRITER_BYTES = 32,
    OFF_HASH = KSI_WAL_BLOCK - 8,
    FRAME_HASHED = 16, /* bytes of a frame's head before its hash */
};

void ksi_wal_header_encode(const struct ksi_wal_header *h, uint8_t *block)
{
    static const char writer[WRITER_BYTES] = "kofstore " KS_VERSION;
    memset(block, 0, KSI_WAL_BLOCK);
    memcpy(block, magic, sizeof magic);
    ks_put_le32(block + OFF_VERSION, VERSION);
    ks_put_le32(block + OFF_HEADER_BYTES, KSI_WAL_BLOCK);
    memcpy(block + OFF_UUID, h->uuid, sizeof h->uuid);
    ks_put_le64(block + OFF_EPOCH, h->epoch);
    ks_put_le64(block + OFF_SALT, h->salt);
    ks_put_le64(block + OFF_FIRST_LSN, h->first_lsn);
    ks_put_le64(block + OFF_PREV_END, h->prev_end_lsn);
    ks_put_le64(block + OFF_BYTES, h->segment_bytes);
    ks_put_le64(block + OFF_CREATED, (uint64_t)h->created_ms);
    memcpy(block + OFF_WRITER, writer, sizeof writer);
    ks_put_le64(block + OFF_HASH, ks_hash64(block, OFF_HASH));
}

ks_err ksi_wal_header_decode(const uint8_t *block, struct ksi_wal_header *ret)
{
    if (memcmp(block, magic, sizeof magic) != 0)
        return ks_fail(KS_ECORRUPT, "the segment header has no magic");
    if (ks_le64(block + OFF_HASH) != ks_hash64(block, OFF_HASH))
        return ks_fail(KS_ECORRUPT, "the segment header fails its hash");
    uint32_t version = ks_le32(block + OFF_VERSION), incompat = ks_le32(block + OFF_INCOMPAT);
    if (version != VERSION || incompat != 0 || ks_le32(block + OFF_HEADER_BYTES) != KSI_WAL_BLOCK)
        return ks_fail(KS_EUNSUPPORTED,
                       "segment version %u with features 0x%x is not known to this build", version,
                       incompat);
    struct ksi_wal_header h = {
        .epoch = ks_le64(block + OFF_EPOCH),
        .salt = ks_le64(block + OFF_SALT),
        .first_lsn = ks_le64(block + OFF_FIRST_LSN),
        .prev_end_lsn = ks_le64(block + OFF_PREV_END),
        .segment_bytes = ks_le64(block + OFF_BYTES),
        .created_ms = (int64_t)ks_le64(block + OFF_CREATED),
    };
    memcpy(h.uuid, block + OFF_UUID, sizeof h.uuid);
    if (h.first_lsn == 0 || h.first_lsn > KSI_WAL_LSN_MAX || h.first_lsn < h.prev_end_lsn ||
        h.segment_bytes % KSI_WAL_BLOCK != 0 || h.segment_bytes < 2 * KSI_WAL_BLOCK)
        return ks_fail(KS_ECORRUPT, "the segment header contradicts itself");
    *ret = h;
    return KS_OK;
}

uint64_t ksi_wal_seed(const struct ksi_wal_header *h)
{
    uint8_t key[32];
    memcpy(key, h->uuid, 16);
    ks_put_le64(key + 16, h->epoch);
    ks_put_le64(key + 24, h->salt);
    return ks_hash64(key, sizeof key);
}

/* The head's hash seeds the payload's: both are covered by one value without a copy. */
static uint64_t frame_hash(const uint8_t *head, const void *payload, uint32_t len, uint64_t seed)
{
    return ks_hash64_seed(payload, len, ks_hash64_seed(head, FRAME_HASHED, seed));
}

void ksi_wal_frame_encode(const struct ksi_wal_frame *f, struct ks_slice payload, uint64_t seed,
                          uint8_t *out)
{
    ks_put_le32(out, (uint32_t)payload.len);
    out[4] = f->type;
    out[5] = f->flags;
    ks_put_le16(out + 6, f->shard);
    ks_put_le64(out + 8, f->lsn);
    memcpy(out + KSI_WAL_FRAME_HEAD, payload.ptr, payload.len);
    ks_put_le64(out + FRAME_HASHED,
                frame_hash(out, out + KSI_WAL_FRAME_HEAD, (uint32_t)payload.len, seed));
}

void ksi_wal_frame_decode(const uint8_t *head, struct ksi_wal_frame *ret)
{
    ret->len = ks_le32(head);
    ret->type = head[4];
    ret->flags = head[5];
    ret->shard = ks_le16(head + 6);
    ret->lsn = ks_le64(head + 8);
    ret->hash = ks_le64(head + FRAME_HASHED);
}

bool ksi_wal_frame_valid(const uint8_t *head, const uint8_t *payload, uint32_t len, uint64_t seed)
{
    return ks_le64(head + FRAME_HASHED) == frame_hash(head, payload, len, seed);
}

void ksi_wal_commit_encode(const struct ksi_wal_commit *c, uint64_t offset, uint64_t seed,
                           uint8_t *out)
{
    uint8_t body[KSI_WAL_COMMIT_PAYLOAD];
    ks_put_le32(body, c->write_bytes);
    ks_put_le32(body + 4, c->frames);
    ks_put_le64(body + 8, c->durable_lsn);
    ks_put_le64(body + 16, offset);
    struct ksi_wal_frame f = {.flags = KSI_WAL_FLAG_COMMIT, .lsn = c->first_lsn};
    ksi_wal_frame_encode(&f, ks_slice(body, sizeof body), seed, out);
}

bool ksi_wal_commit_decode(const uint8_t *p, uint64_t offset, uint64_t segment_bytes, uint64_t seed,
                           struct ksi_wal_commit *ret)
{
    const uint8_t *body = p + KSI_WAL_FRAME_HEAD;
    struct ksi_wal_frame f;
    ksi_wal_frame_decode(p, &f);
    if (f.len != KSI_WAL_COMMIT_PAYLOAD || f.type != 0 || f.flags != KSI_WAL_FLAG_COMMIT ||
        f.shard != 0 || ks_le64(body + 16) != offset || !ksi_wal_frame_valid(p, body, f.len, seed))
        return false;
    struct ksi_wal_commit c = {f.lsn, ks_le32(body), ks_le32(body + 4), ks_le64(body + 8)};
    if (c.write_bytes == 0 || c.write_bytes % KSI_WAL_BLOCK != 0 ||
        c.write_bytes > segment_bytes - offset || c.first_lsn > KSI_WAL_LSN_MAX)
        return false;
    *ret = c;
    return true;
}
