/*
 * Content encodings of requests and responses. The output limit is checked against what the input
 * claims before anything is allocated, and again while decoding, so a hostile body costs at most
 * the limit. Any thread; contexts are kept per thread.
 */
#ifndef KS_API_COMPRESS_H
#define KS_API_COMPRESS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

enum ks_encoding {
    KS_ENC_NONE,
    KS_ENC_GZIP,
    KS_ENC_DEFLATE,
    KS_ENC_ZSTD,
    KS_ENC_SNAPPY,
    KS_ENC_UNKNOWN
};

/* From a Content-Encoding value ("" and identity are NONE). */
enum ks_encoding ks_encoding_of(struct ks_slice name);
const char *ks_encoding_name(enum ks_encoding e);

/*
 * Appends the decoded bytes to out. Several gzip members or zstd frames in a row are one text.
 * Errors: KS_EPARSE malformed, KS_ETOOBIG over limit, KS_EUNSUPPORTED unknown encoding, KS_ENOMEM.
 */
KS_NODISCARD ks_err ks_decompress(enum ks_encoding e, struct ks_slice in, size_t limit,
                                  struct ks_buf *out);
/* Appends the encoded bytes (fast levels). */
KS_NODISCARD ks_err ks_compress(enum ks_encoding e, struct ks_slice in, struct ks_buf *out);

/* gzip piece by piece. */
struct ks_gzip_stream;
KS_NODISCARD ks_err ks_gzip_stream_new(struct ks_gzip_stream **ret);
KS_NODISCARD ks_err ks_gzip_stream_write(struct ks_gzip_stream *g, struct ks_slice in, bool finish,
                                         struct ks_buf *out);
void ks_gzip_stream_free(struct ks_gzip_stream *g);

#endif
