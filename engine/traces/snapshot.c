#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/traces/snapshot_priv.h"
#include "sys/pool.h"
#include "sys/thread.h"

static const char MAGIC[8] = "KSTRSNP\2";

enum {
    HEADER_BYTES = 32,     /* magic, u64 needs, u64 reserved, u64 hash */
    BLOCK_HEAD_BYTES = 16, /* u32 raw length, u32 stored length, u64 hash of the stored bytes */
    BLOCK_BYTES = 1 << 20, /* a block is written when it has grown to this */
    PIECE_BYTES = 64 << 10,
    BLOCK_MAX = 256 << 20,
    LOAD_THREADS = 4,
    ZSTD_LEVEL = -1, /* ids are most of it: more effort finds little */
    /* 1, 2 and 4 are of version 1; 16 and on: enum ks_trimage. */
    ITEM_GENERATION = 1,
    ITEM_BATCH = 2,
    ITEM_END = 3,
    ITEM_PIN = 4
};

/* --- writing --- */
struct writer {
    struct ks_file *file;
    uint64_t off;
    struct ks_buf raw, packed;
    ZSTD_CCtx *zstd;
};

/* In pieces: a whole block at once would keep the core for milliseconds. */
static ks_err pack(struct writer *w, char *out, size_t cap, size_t *ret)
{
    ZSTD_outBuffer to = {out, cap, 0};
    size_t left = ZSTD_CCtx_reset(w->zstd, ZSTD_reset_session_only);
    if (!ZSTD_isError(left))
        left = ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    if (!ZSTD_isError(left))
        left = ZSTD_CCtx_setPledgedSrcSize(w->zstd, w->raw.len);
    for (size_t at = 0; !ZSTD_isError(left) && at < w->raw.len; ks_thread_breathe()) {
        size_t n = w->raw.len - at < PIECE_BYTES ? w->raw.len - at : PIECE_BYTES;
        ZSTD_inBuffer from = {w->raw.ptr + at, n, 0};
        at += n;
        do
            left = ZSTD_compressStream2(w->zstd, &to, &from,
                                        at < w->raw.len ? ZSTD_e_continue : ZSTD_e_end);
        while (!ZSTD_isError(left) && (from.pos < n || (at == w->raw.len && left)));
    }
    *ret = to.pos;
    return ZSTD_isError(left) ? ks_fail(KS_EINTERNAL, "zstd: %s", ZSTD_getErrorName(left)) : KS_OK;
}

static ks_err write_block(struct writer *w)
{
    size_t bound = ZSTD_compressBound(w->raw.len);
    KS_TRY(ks_buf_status(&w->raw));
    if (!w->raw.len)
        return KS_OK;
    ks_buf_reset(&w->packed);
    if (!ks_buf_reserve(&w->packed, BLOCK_HEAD_BYTES + bound))
        return ks_buf_status(&w->packed);
    size_t n;
    KS_TRY(pack(w, w->packed.ptr + BLOCK_HEAD_BYTES, bound, &n));
    ks_put_le32(w->packed.ptr, (uint32_t)w->raw.len);
    ks_put_le32(w->packed.ptr + 4, (uint32_t)n);
    ks_put_le64(w->packed.ptr + 8, ks_hash64_seed(w->packed.ptr + BLOCK_HEAD_BYTES, n, w->off));
    KS_TRY(ks_write_at(w->file, w->off, w->packed.ptr, BLOCK_HEAD_BYTES + n));
    w->off += BLOCK_HEAD_BYTES + n;
    ks_buf_reset(&w->raw);
    return KS_OK;
}

static ks_err put_item(struct writer *w, uint8_t type, struct ks_slice payload)
{
    ks_thread_breathe();
    ks_buf_byte(&w->raw, type);
    ks_buf_lp(&w->raw, payload);
    KS_TRY(ks_buf_status(&w->raw));
    return w->raw.len >= BLOCK_BYTES ? write_block(w) : KS_OK;
}

static ks_err on_item(void *arg, enum ks_trimage type, struct ks_slice payload)
{
    return put_item(arg, (uint8_t)type, payload);
}

static ks_err write_all(struct writer *w, struct ks_traces *ring, uint64_t needs)
{
    char header[HEADER_BYTES] = {0};
    struct ks_traces_dump d = {w, on_item};
    memcpy(header, MAGIC, sizeof MAGIC);
    ks_put_le64(header + 8, needs);
    ks_put_le64(header + 24, ks_hash64(header, 24));
    KS_TRY(ks_write_at(w->file, 0, header, sizeof header));
    w->off = sizeof header;
    KS_TRY(ks_traces_dump(ring, &d));
    KS_TRY(put_item(w, ITEM_END, ks_slice("", 0)));
    KS_TRY(write_block(w));
    return ks_sync(w->file);
}

ks_err ksi_trsnap_write(struct ks_vfs *vfs, const char *dir, struct ks_traces *ring, uint64_t needs,
                        uint64_t *ret_bytes)
{
    char path[KSI_TRSNAP_PATH_MAX], tmp[KSI_TRSNAP_PATH_MAX];
    struct writer w = {0};
    snprintf(path, sizeof path, "%s/ring.snap", dir);
    snprintf(tmp, sizeof tmp, "%s/ring.snap.tmp", dir);
    KS_TRY(ks_open(vfs, tmp, KS_OPEN_WRITE | KS_OPEN_CREATE | KS_OPEN_TRUNC, &w.file));
    ks_buf_init(&w.raw, BLOCK_MAX);
    ks_buf_init(&w.packed, 2 * (size_t)BLOCK_MAX);
    w.zstd = ZSTD_createCCtx();
    ks_err err = w.zstd ? write_all(&w, ring, needs) : KS_ENOMEM;
    ks_close(w.file);
    ks_buf_done(&w.raw);
    ks_buf_done(&w.packed);
    ZSTD_freeCCtx(w.zstd);
    if (err == KS_OK)
        err = vfs->ops->rename(vfs, tmp, path);
    if (err == KS_OK)
        err = ks_vfs_sync_parent(vfs, path);
    else
        (void)!vfs->ops->unlink(vfs, tmp);
    *ret_bytes = w.off;
    return err;
}

/* --- loading --- */
static ks_err load_generation(struct ks_slice payload, struct ks_traces *ring)
{
    struct ks_reader r = ks_reader(payload);
    struct ks_tenant t;
    t.account = ks_read_u32(&r);
    t.project = ks_read_u32(&r);
    bool kept = ks_read_u8(&r) != 0;
    uint64_t first = ks_read_u64(&r), lsn = ks_read_u64(&r), base = ks_read_u64(&r);
    if (r.bad || r.p != r.end)
        return ks_fail(KS_ECORRUPT, "a generation's head is malformed");
    return ks_traces_load_generation(ring, t, kept, first, lsn, base);
}

static ks_err load_pin(struct ks_slice payload, struct ks_traces *ring)
{
    struct ks_reader r = ks_reader(payload);
    struct ks_tenant t;
    struct ks_trace_id id;
    t.account = ks_read_u32(&r);
    t.project = ks_read_u32(&r);
    id.hi = ks_read_u64(&r);
    id.lo = ks_read_u64(&r);
    if (r.bad || r.p != r.end)
        return ks_fail(KS_ECORRUPT, "a pin is malformed");
    (void)ks_traces_pin(ring, t, id);
    return KS_OK;
}

/* What items are read into. */
struct sink {
    struct ks_traces *ring;
    struct ks_traces_loader *images;
    struct ks_batch batch;
};

static ks_err take_item(struct sink *s, uint8_t type, struct ks_slice payload)
{
    if (type == ITEM_GENERATION)
        return load_generation(payload, s->ring);
    if (type == ITEM_PIN)
        return load_pin(payload, s->ring);
    if (type == ITEM_BATCH) {
        KS_TRY(ks_batch_decode(payload, &s->batch));
        return ks_traces_load_batch(s->ring, &s->batch);
    }
    if (type >= KS_TRIMAGE_HEAD && type <= KS_TRIMAGE_SLOTS)
        return ks_traces_loader_item(s->images, (enum ks_trimage)type, payload);
    return ks_fail(KS_ECORRUPT, "an item has the unknown type %u", type);
}

static ks_err take_items(struct sink *s, struct ks_slice bytes, bool *ret_end)
{
    struct ks_reader r = ks_reader(bytes);
    while (r.p < r.end && !*ret_end) {
        uint8_t type = ks_read_u8(&r);
        struct ks_slice payload = ks_read_lp(&r);
        if (r.bad)
            return ks_fail(KS_ECORRUPT, "an item is cut off");
        if (type == ITEM_END)
            *ret_end = true;
        else
            KS_TRY(take_item(s, type, payload));
    }
    return r.p == r.end ? KS_OK : ks_fail(KS_ECORRUPT, "bytes follow the end");
}

static ks_err sink_init(struct sink *s, struct ks_traces *ring, unsigned threads)
{
    *s = (struct sink){.ring = ring};
    ks_batch_init(&s->batch);
    return ks_traces_loader_new(ring, threads, &s->images);
}

static void sink_done(struct sink *s)
{
    ks_traces_loader_free(s->images);
    ks_batch_done(&s->batch);
}

ks_err ksi_trsnap_items(struct ks_slice bytes, struct ks_traces *ring, bool *ret_end)
{
    struct sink s;
    ks_err err = sink_init(&s, ring, 0);
    if (err == KS_OK)
        err = take_items(&s, bytes, ret_end);
    if (err == KS_OK)
        err = ks_traces_loader_finish(s.images);
    sink_done(&s);
    return err;
}

struct loader {
    struct ks_file *file;
    uint64_t off, size;
    struct ks_buf stored, raw;
    struct sink sink;
};

static ks_err load_block(struct loader *l, bool *end)
{
    char head[BLOCK_HEAD_BYTES];
    if (l->size - l->off < sizeof head)
        return ks_fail(KS_ECORRUPT, "the file ends at byte %llu", (unsigned long long)l->size);
    KS_TRY(ks_read_exact(l->file, l->off, head, sizeof head));
    uint64_t raw = ks_le32(head), stored = ks_le32(head + 4), left = l->size - l->off - sizeof head;
    if (raw > BLOCK_MAX || stored > left)
        return ks_fail(KS_ECORRUPT, "block at byte %llu is malformed", (unsigned long long)l->off);
    ks_buf_reset(&l->stored);
    ks_buf_reset(&l->raw);
    if (!ks_buf_reserve(&l->stored, stored + 1) || !ks_buf_reserve(&l->raw, raw + 1))
        return KS_ENOMEM;
    KS_TRY(ks_read_exact(l->file, l->off + sizeof head, l->stored.ptr, stored));
    if (ks_hash64_seed(l->stored.ptr, stored, l->off) != ks_le64(head + 8))
        return ks_fail(KS_ECORRUPT, "block at byte %llu is damaged", (unsigned long long)l->off);
    size_t n = ZSTD_decompress(l->raw.ptr, raw, l->stored.ptr, stored);
    if (ZSTD_isError(n) || n != raw)
        return ks_fail(KS_ECORRUPT, "block at byte %llu does not unpack",
                       (unsigned long long)l->off);
    l->off += sizeof head + stored;
    return take_items(&l->sink, ks_slice(l->raw.ptr, raw), end);
}

static ks_err load_all(struct loader *l, uint64_t *ret_needs)
{
    char header[HEADER_BYTES];
    bool end = false;
    KS_TRY(ks_file_size(l->file, &l->size));
    if (l->size < sizeof header)
        return ks_fail(KS_ECORRUPT, "the file is too short");
    KS_TRY(ks_read_exact(l->file, 0, header, sizeof header));
    if (memcmp(header, MAGIC, 7) != 0 || ks_hash64(header, 24) != ks_le64(header + 24))
        return ks_fail(KS_ECORRUPT, "the header is damaged");
    if (header[7] != 1 && header[7] != MAGIC[7])
        return ks_fail(KS_EUNSUPPORTED, "version %u of the file is not known to this build",
                       (unsigned char)header[7]);
    *ret_needs = ks_le64(header + 8);
    l->off = sizeof header;
    while (!end)
        KS_TRY(load_block(l, &end));
    if (l->off != l->size)
        return ks_fail(KS_ECORRUPT, "bytes follow the end");
    return ks_traces_loader_finish(l->sink.images);
}

ks_err ksi_trsnap_load(struct ks_vfs *vfs, const char *path, struct ks_traces *ring,
                       uint64_t *ret_needs)
{
    struct loader l = {0};
    KS_TRY(ks_open(vfs, path, KS_OPEN_READ, &l.file));
    ks_buf_init(&l.stored, KS_BUF_UNLIMITED);
    ks_buf_init(&l.raw, KS_BUF_UNLIMITED);
    *ret_needs = 0;
    unsigned cpus = ks_cpu_count();
    ks_err err = sink_init(&l.sink, ring, cpus < LOAD_THREADS ? cpus : LOAD_THREADS);
    if (err == KS_OK)
        err = load_all(&l, ret_needs);
    sink_done(&l.sink);
    ks_close(l.file);
    ks_buf_done(&l.stored);
    ks_buf_done(&l.raw);
    return err == KS_OK ? KS_OK : ks_fail_context(err, "%s", path);
}
