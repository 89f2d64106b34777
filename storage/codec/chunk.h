/*
 * Sealed chunks: columns of timestamps and of values as compact bytes, and the aggregates kept
 * beside them. Format: docs/format/chunk.md.
 *
 * Everything is bit-exact: decode(encode(x)) has the bits of x, NaN payloads and -0 included.
 * Output is deterministic: equal input gives equal bytes on every CPU (replicas compare chunks by
 * content). A column's length n and its encoding byte are not part of the bytes; the chunk
 * directory keeps them.
 *
 * Decoders take hostile bytes: they consume exactly what they were given or return KS_ECORRUPT,
 * never touch memory outside bytes and ret[0..n), and do O(n + bytes) work. Threads: all functions
 * are pure. No allocation except output growth and, for n > KS_CHUNK_STACK_MAX, one scratch block
 * per encode.
 */
#ifndef KS_STORAGE_CODEC_CHUNK_H
#define KS_STORAGE_CODEC_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define KS_CHUNK_SAMPLES_MAX 8192
#define KS_CHUNK_STACK_MAX   1024

/* Flags of an aggregate. */
#define KS_CHUNK_HAS_STALE 1u /* stale markers (excluded from every field, count too) */
#define KS_CHUNK_HAS_NAN                                                                           \
    2u /* other NaN (excluded likewise; a planner that must see them decodes) */
#define KS_CHUNK_HAS_INF   4u /* ±Inf took part: sum and increase may be NaN or ±Inf */
#define KS_CHUNK_HAS_RESET 8u /* some value is smaller than its predecessor */

/*
 * What queries ask of a whole chunk. Over the values that are not NaN, in order v[0..count):
 *
 * min, max, first, last   of equals (0 and -0) the first one met.
 * sum        plain left-to-right addition, starting at +0.
 * increase   w[count-1] - v[0], where w is v after VictoriaMetrics' removal of counter resets:
 * going left to right with correction 0, a drop d = v[i-1] - v[i] > 0 adds d to the correction when
 * 8 d < v[i-1] (jitter: the curve stays flat), else v[i-1] (a reset to zero); w[i] = v[i] +
 * correction, but never below w[i-1]. Without HAS_RESET it is exactly last - first. With count = 0
 * all doubles are +0.
 */
struct ks_chunk_agg {
    double min, max, sum, first, last, increase;
    uint32_t count;
    uint32_t flags; /* KS_CHUNK_HAS_… */
};

void ks_chunk_aggregate(const double *v, size_t n, struct ks_chunk_agg *ret);

/*
 * Encodes n (1..KS_CHUNK_SAMPLES_MAX) values, appending to out; the encoding byte is never 0.
 * Errors: KS_EINVAL n out of range | KS_ENOMEM, KS_ETOOBIG from out.
 */
KS_NODISCARD ks_err ks_values_encode(const double *v, size_t n, struct ks_buf *out,
                                     uint8_t *ret_encoding);
KS_NODISCARD ks_err ks_values_decode(struct ks_slice bytes, uint8_t encoding, size_t n,
                                     double *ret);

/* The same for timestamps: any int64, in any order, but made for ascending ones. */
KS_NODISCARD ks_err ks_times_encode(const int64_t *ts, size_t n, struct ks_buf *out,
                                    uint8_t *ret_encoding);
KS_NODISCARD ks_err ks_times_decode(struct ks_slice bytes, uint8_t encoding, size_t n,
                                    int64_t *ret);

/* No encoder makes more bytes than this for n samples. */
static inline size_t ks_chunk_bytes_max(size_t n)
{
    return n * 8 + 32;
}

/* True when all n samples have the same bits; *ret is then that value (reads a few bytes, no
 * array). */
bool ks_values_constant(struct ks_slice bytes, uint8_t encoding, double *ret);

/* Writes v n times. */
void ks_values_fill(double v, size_t n, double *ret);

/* True when the encoding alone says that all samples have the same bits. */
bool ks_values_all_equal(uint8_t encoding);

/* "delta/2": for tools and statistics. The text is static. */
const char *ks_values_encoding_name(uint8_t encoding);
const char *ks_times_encoding_name(uint8_t encoding);

#endif
