#include "api/compress.h"

#include <libdeflate.h>
#include <pthread.h>
#include <snappy-c.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"

/* Decoder and encoder contexts cost hundreds of kilobytes to make: one set per thread, freed when
 * it ends. */
struct contexts {
    struct libdeflate_decompressor *inflate;
    struct libdeflate_compressor *deflate;
    ZSTD_DCtx *unzstd;
    ZSTD_CCtx *zstd;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static _Thread_local struct contexts *contexts_mine;

static void contexts_free(void *arg)
{
    struct contexts *c = arg;
    libdeflate_free_decompressor(c->inflate);
    libdeflate_free_compressor(c->deflate);
    ZSTD_freeDCtx(c->unzstd);
    ZSTD_freeCCtx(c->zstd);
    ks_free(c);
    contexts_mine = NULL;
}

static void contexts_setup(void)
{
    pthread_key_create(&contexts_key, contexts_free);
}

static struct contexts *contexts(void)
{
    if (!contexts_mine) {
        pthread_once(&contexts_once, contexts_setup);
        contexts_mine = ks_zalloc(sizeof *contexts_mine);
        pthread_setspecific(contexts_key, contexts_mine);
    }
    return contexts_mine;
}

enum ks_encoding ks_encoding_of(struct ks_slice name)
{
    static const struct {
        const char *name;
        enum ks_encoding e;
    } table[] = {{"", KS_ENC_NONE},     {"identity", KS_ENC_NONE}, {"none", KS_ENC_NONE},
                 {"gzip", KS_ENC_GZIP}, {"x-gzip", KS_ENC_GZIP},   {"deflate", KS_ENC_DEFLATE},
                 {"zstd", KS_ENC_ZSTD}, {"snappy", KS_ENC_SNAPPY}};
    name = ks_slice_trim(name);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) == name.len &&
            strncasecmp(name.ptr ? name.ptr : "", table[i].name, name.len) == 0)
            return table[i].e;
    return KS_ENC_UNKNOWN;
}

const char *ks_encoding_name(enum ks_encoding e)
{
    static const char *const names[] = {"identity", "gzip", "deflate", "zstd", "snappy", "unknown"};
    return names[e];
}

static ks_err too_big(enum ks_encoding e, size_t limit)
{
    return ks_fail(KS_ETOOBIG, "the %s body is larger than %zu bytes when decompressed",
                   ks_encoding_name(e), limit);
}

static ks_err reserve(struct ks_buf *out, size_t n)
{
    return ks_buf_reserve(out, n) ? KS_OK : ks_buf_status(out);
}

/* One gzip member or zlib stream, growing the output from a guess. */
static ks_err inflate_one(enum ks_encoding e, struct ks_slice *in, size_t limit, size_t guess,
                          struct ks_buf *out)
{
    struct contexts *c = contexts();
    if (!c || (!c->inflate && !(c->inflate = libdeflate_alloc_decompressor())))
        return ks_fail(KS_ENOMEM, "cannot allocate a %s decoder", ks_encoding_name(e));
    if (guess < 256)
        guess = 256;
    for (;; guess *= 2) {
        if (guess > limit)
            guess = limit;
        KS_TRY(reserve(out, guess));
        size_t used, made;
        enum libdeflate_result r =
            e == KS_ENC_GZIP
                ? libdeflate_gzip_decompress_ex(c->inflate, in->ptr, in->len, out->ptr + out->len,
                                                guess, &used, &made)
                : libdeflate_zlib_decompress_ex(c->inflate, in->ptr, in->len, out->ptr + out->len,
                                                guess, &used, &made);
        if (r == LIBDEFLATE_SUCCESS) {
            out->len += made;
            *in = ks_slice_from(*in, used);
            return KS_OK;
        }
        if (r != LIBDEFLATE_INSUFFICIENT_SPACE)
            return ks_fail(KS_EPARSE, "the body is not valid %s", ks_encoding_name(e));
        if (guess == limit)
            return too_big(e, limit);
    }
}

/* Deflate cannot blow up more than 1032 times, so a size beyond that is a lie and no reason to
 * allocate. */
static size_t inflate_guess(struct ks_slice in)
{
    size_t guess = in.len >= 18 ? ks_le32(in.ptr + in.len - 4) : 0;
    size_t most = in.len * 1032;
    return guess > most ? most : guess;
}

static ks_err gunzip(struct ks_slice in, size_t limit, struct ks_buf *out)
{
    size_t before = out->len;
    do {
        size_t left = limit - (out->len - before);
        KS_TRY(inflate_one(KS_ENC_GZIP, &in, left, inflate_guess(in), out));
    } while (in.len >= 2 && (uint8_t)in.ptr[0] == 0x1f && (uint8_t)in.ptr[1] == 0x8b);
    return KS_OK;
}

static ks_err unzstd_stream(ZSTD_DCtx *d, struct ks_slice in, size_t limit, struct ks_buf *out)
{
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 27);
    ZSTD_inBuffer ib = {in.ptr, in.len, 0};
    size_t made_total = 0, state = 1;
    while (ib.pos < ib.size || state != 0) {
        size_t room = limit - made_total < 65536 ? limit - made_total + 1 : 65536;
        KS_TRY(reserve(out, room));
        ZSTD_outBuffer ob = {out->ptr + out->len, room, 0};
        size_t in_before = ib.pos;
        state = ZSTD_decompressStream(d, &ob, &ib);
        if (ZSTD_isError(state))
            return ks_fail(KS_EPARSE, "the body is not valid zstd: %s", ZSTD_getErrorName(state));
        made_total += ob.pos;
        out->len += ob.pos;
        if (made_total > limit) {
            out->len -= made_total - limit; /* one byte more was allowed, to notice */
            return too_big(KS_ENC_ZSTD, limit);
        }
        if (ob.pos == 0 && ib.pos == in_before && state != 0)
            return ks_fail(KS_EPARSE, "the zstd body is cut short");
    }
    return KS_OK;
}

static ks_err unzstd(struct ks_slice in, size_t limit, struct ks_buf *out)
{
    struct contexts *c = contexts();
    if (!c || (!c->unzstd && !(c->unzstd = ZSTD_createDCtx())))
        return ks_fail(KS_ENOMEM, "cannot allocate a zstd decoder");
    unsigned long long size = ZSTD_getFrameContentSize(in.ptr, in.len);
    if (size == ZSTD_CONTENTSIZE_ERROR)
        return ks_fail(KS_EPARSE, "the body is not valid zstd");
    size_t frame = ZSTD_findFrameCompressedSize(in.ptr, in.len);
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || ZSTD_isError(frame) || frame != in.len)
        return unzstd_stream(c->unzstd, in, limit, out);
    if (size > limit)
        return too_big(KS_ENC_ZSTD, limit);
    KS_TRY(reserve(out, (size_t)size + 1));
    size_t made = ZSTD_decompressDCtx(c->unzstd, out->ptr + out->len, (size_t)size, in.ptr, in.len);
    if (ZSTD_isError(made))
        return ks_fail(KS_EPARSE, "the body is not valid zstd: %s", ZSTD_getErrorName(made));
    out->len += made;
    return KS_OK;
}

/* A snappy element of 3 bytes yields at most 64. */
static ks_err unsnappy(struct ks_slice in, size_t limit, struct ks_buf *out)
{
    size_t size;
    if (snappy_uncompressed_length(in.ptr, in.len, &size) != SNAPPY_OK || size / 64 > in.len)
        return ks_fail(KS_EPARSE, "the body is not valid snappy");
    if (size > limit)
        return too_big(KS_ENC_SNAPPY, limit);
    KS_TRY(reserve(out, size + 1));
    if (snappy_uncompress(in.ptr, in.len, out->ptr + out->len, &size) != SNAPPY_OK)
        return ks_fail(KS_EPARSE, "the body is not valid snappy");
    out->len += size;
    return KS_OK;
}

ks_err ks_decompress(enum ks_encoding e, struct ks_slice in, size_t limit, struct ks_buf *out)
{
    if (!in.ptr)
        in.ptr = "";
    switch (e) {
    case KS_ENC_NONE:
        if (in.len > limit)
            return too_big(e, limit);
        ks_buf_slice(out, in);
        return ks_buf_status(out);
    case KS_ENC_GZIP:
        return gunzip(in, limit, out);
    case KS_ENC_DEFLATE:
        return inflate_one(e, &in, limit, in.len * 4, out);
    case KS_ENC_ZSTD:
        return unzstd(in, limit, out);
    case KS_ENC_SNAPPY:
        return unsnappy(in, limit, out);
    default:
        return ks_fail(KS_EUNSUPPORTED,
                       "unknown Content-Encoding; use gzip, deflate, zstd, snappy or none");
    }
}

static ks_err compress_deflate(enum ks_encoding e, struct ks_slice in, struct ks_buf *out)
{
    struct contexts *c = contexts();
    if (!c || (!c->deflate && !(c->deflate = libdeflate_alloc_compressor(1))))
        return ks_fail(KS_ENOMEM, "cannot allocate a compressor");
    size_t bound = e == KS_ENC_GZIP ? libdeflate_gzip_compress_bound(c->deflate, in.len)
                                    : libdeflate_zlib_compress_bound(c->deflate, in.len);
    KS_TRY(reserve(out, bound));
    out->len +=
        e == KS_ENC_GZIP
            ? libdeflate_gzip_compress(c->deflate, in.ptr, in.len, out->ptr + out->len, bound)
            : libdeflate_zlib_compress(c->deflate, in.ptr, in.len, out->ptr + out->len, bound);
    return KS_OK;
}

static ks_err compress_zstd(struct ks_slice in, struct ks_buf *out)
{
    struct contexts *c = contexts();
    if (!c || (!c->zstd && !(c->zstd = ZSTD_createCCtx())))
        return ks_fail(KS_ENOMEM, "cannot allocate a compressor");
    size_t bound = ZSTD_compressBound(in.len);
    KS_TRY(reserve(out, bound));
    size_t n = ZSTD_compressCCtx(c->zstd, out->ptr + out->len, bound, in.ptr, in.len, 1);
    if (ZSTD_isError(n))
        return ks_fail(KS_EINTERNAL, "zstd: %s", ZSTD_getErrorName(n));
    out->len += n;
    return KS_OK;
}

ks_err ks_compress(enum ks_encoding e, struct ks_slice in, struct ks_buf *out)
{
    if (!in.ptr)
        in.ptr = "";
    switch (e) {
    case KS_ENC_NONE:
        ks_buf_slice(out, in);
        return ks_buf_status(out);
    case KS_ENC_GZIP:
    case KS_ENC_DEFLATE:
        return compress_deflate(e, in, out);
    case KS_ENC_ZSTD:
        return compress_zstd(in, out);
    case KS_ENC_SNAPPY: {
        size_t n = snappy_max_compressed_length(in.len);
        KS_TRY(reserve(out, n));
        if (snappy_compress(in.ptr, in.len, out->ptr + out->len, &n) != SNAPPY_OK)
            return ks_fail(KS_EINTERNAL, "snappy cannot compress %zu bytes", in.len);
        out->len += n;
        return KS_OK;
    }
    default:
        return ks_fail(KS_EUNSUPPORTED, "no such encoding");
    }
}

struct ks_gzip_stream {
    z_stream z;
};

ks_err ks_gzip_stream_new(struct ks_gzip_stream **ret)
{
    struct ks_gzip_stream *g = ks_zalloc(sizeof *g);
    if (!g)
        return KS_ENOMEM;
    /* 15 bits of window, +16: gzip framing. */
    if (deflateInit2(&g->z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        ks_free(g);
        return ks_fail(KS_ENOMEM, "cannot allocate a compressor");
    }
    *ret = g;
    return KS_OK;
}

ks_err ks_gzip_stream_write(struct ks_gzip_stream *g, struct ks_slice in, bool finish,
                            struct ks_buf *out)
{
    g->z.next_in = (Bytef *)(in.len ? in.ptr : "");
    g->z.avail_in = (uInt)in.len;
    int r;
    do {
        KS_TRY(reserve(out, 32768));
        g->z.next_out = (Bytef *)out->ptr + out->len;
        g->z.avail_out = 32768;
        r = deflate(&g->z, finish ? Z_FINISH : Z_NO_FLUSH);
        out->len += 32768 - g->z.avail_out;
    } while (g->z.avail_out == 0 || (finish && r == Z_OK));
    return r == Z_STREAM_ERROR ? ks_fail(KS_EINTERNAL, "zlib: stream error") : KS_OK;
}

void ks_gzip_stream_free(struct ks_gzip_stream *g)
{
    if (!g)
        return;
    deflateEnd(&g->z);
    ks_free(g);
}
