/* Pages as stored: compression, checksum, and the way back from hostile bytes. */
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/part_priv.h"

enum { ZSTD_LEVEL = 1 };

void ks_page_ref_save(uint8_t out[KS_PAGE_REF_BYTES], struct ks_page_ref ref)
{
    ks_put_le64(out, ref.offset);
    ks_put_le32(out + 8, ref.stored_bytes);
    ks_put_le32(out + 12, ref.raw_bytes);
}

struct ks_page_ref ks_page_ref_load(const uint8_t in[KS_PAGE_REF_BYTES])
{
    return (struct ks_page_ref){ks_le64(in), ks_le32(in + 8), ks_le32(in + 12)};
}

uint64_t ksi_page_seed(const uint8_t uuid[16], uint64_t offset)
{
    return ks_mix64(ks_le64(uuid) ^ offset) ^ ks_le64(uuid + 8);
}

/* --- packing --- */

struct ksi_packer {
    ZSTD_CCtx *zstd;
};

struct ksi_packer *ksi_packer_new(void)
{
    struct ksi_packer *k = ks_zalloc(sizeof *k);
    if (k && !(k->zstd = ZSTD_createCCtx())) {
        (void)ks_fail(KS_ENOMEM, "cannot allocate a zstd context");
        ks_free(k);
        return NULL;
    }
    return k;
}

void ksi_packer_free(struct ksi_packer *k)
{
    if (!k)
        return;
    ZSTD_freeCCtx(k->zstd);
    ks_free(k);
}

/* Payload bytes written at dst (room for `room`), 0 when the codec does not pay or failed: store
 * raw then. */
static size_t compress(struct ksi_packer *k, struct ks_slice raw, enum ks_page_codec codec,
                       char *dst, size_t room)
{
    size_t n = 0;
    if (codec == KS_PAGE_ZSTD) {
        n = ZSTD_compressCCtx(k->zstd, dst, room, raw.ptr, raw.len, ZSTD_LEVEL);
        n = ZSTD_isError(n) ? 0 : n;
    } else if (codec == KS_PAGE_LZ4) {
        int got = LZ4_compress_default(raw.ptr, dst, (int)raw.len, (int)room);
        n = got > 0 ? (size_t)got : 0;
    }
    return n < raw.len - raw.len / 16 ? n : 0;
}

ks_err ksi_page_pack(struct ksi_packer *k, const uint8_t uuid[16], uint64_t offset,
                     struct ks_slice raw, enum ks_page_codec codec, struct ks_buf *out)
{
    /* The output is no larger than the raw page: what would not fit there does not pay. */
    if (!ks_buf_reserve(out, KS_PAGE_HEADER_BYTES + raw.len))
        return ks_buf_status(out);
    uint8_t *head = (uint8_t *)out->ptr + out->len;
    char *payload = (char *)head + KS_PAGE_HEADER_BYTES;
    size_t n = compress(k, raw, codec, payload, raw.len);
    if (n == 0) {
        codec = KS_PAGE_RAW;
        n = raw.len;
        memcpy(payload, raw.ptr, n);
    }
    ks_put_le32(head + 8, (uint32_t)raw.len);
    ks_put_le32(head + 12, (uint32_t)n);
    ks_put_le32(head + 16, (uint32_t)codec);
    ks_put_le64(
        head, ks_hash64_seed(head + 8, KS_PAGE_HEADER_BYTES - 8 + n, ksi_page_seed(uuid, offset)));
    out->len += KS_PAGE_HEADER_BYTES + n;
    return KS_OK;
}

/* --- unpacking --- */

/* One zstd context per thread: making one costs more than unpacking a page. */
static pthread_key_t dctx_key;
static pthread_once_t dctx_once = PTHREAD_ONCE_INIT;

static void dctx_free(void *p)
{
    ZSTD_freeDCtx(p);
}

static void dctx_key_init(void)
{
    if (pthread_key_create(&dctx_key, dctx_free) != 0)
        abort();
}

static ZSTD_DCtx *thread_dctx(void)
{
    static _Thread_local ZSTD_DCtx *mine;
    if (KS_LIKELY(mine != NULL))
        return mine;
    pthread_once(&dctx_once, dctx_key_init);
    mine = ZSTD_createDCtx();
    if (mine)
        pthread_setspecific(dctx_key, mine);
    return mine;
}

static ks_err unpack_zstd(const uint8_t *src, size_t n, void *dst, size_t raw)
{
    ZSTD_DCtx *dctx = thread_dctx();
    if (!dctx)
        return ks_fail(KS_ENOMEM, "cannot allocate a zstd context");
    size_t got = ZSTD_decompressDCtx(dctx, dst, raw, src, n);
    if (ZSTD_isError(got))
        return ks_fail(KS_ECORRUPT, "zstd: %s", ZSTD_getErrorName(got));
    return got == raw ? KS_OK
                      : ks_fail(KS_ECORRUPT, "unpacks to %zu bytes instead of %zu", got, raw);
}

ks_err ksi_page_unpack(const uint8_t uuid[16], struct ks_page_ref ref, const uint8_t *stored,
                       void *dst)
{
    size_t n = ref.stored_bytes - KS_PAGE_HEADER_BYTES;
    if (ks_hash64_seed(stored + 8, ref.stored_bytes - 8, ksi_page_seed(uuid, ref.offset)) !=
        ks_le64(stored))
        return ks_fail(KS_ECORRUPT, "checksum mismatch");
    if (ks_le32(stored + 8) != ref.raw_bytes || ks_le32(stored + 12) != n)
        return ks_fail(KS_ECORRUPT, "sizes differ from the reference to it");
    const uint8_t *src = stored + KS_PAGE_HEADER_BYTES;
    switch (ks_le32(stored + 16)) {
    case KS_PAGE_RAW:
        if (n != ref.raw_bytes)
            return ks_fail(KS_ECORRUPT, "raw page of %zu bytes says %u", n, ref.raw_bytes);
        memcpy(dst, src, n);
        return KS_OK;
    case KS_PAGE_ZSTD:
        return unpack_zstd(src, n, dst, ref.raw_bytes);
    case KS_PAGE_LZ4:
        if (LZ4_decompress_safe((const char *)src, dst, (int)n, (int)ref.raw_bytes) !=
            (int)ref.raw_bytes)
            return ks_fail(KS_ECORRUPT, "lz4 payload is damaged");
        return KS_OK;
    default:
        return ks_fail(KS_ECORRUPT, "unknown page codec %u", ks_le32(stored + 16));
    }
}
