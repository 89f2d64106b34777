/*
 * Native histograms as bytes: sealed chunks of a run of histograms of one series, and single
 * records for the log and the open chunk. Formats: docs/format/histogram-chunk.md. Timestamps are a
 * column of their own (ks_times_encode).
 *
 * Exact: decode(encode(h)) is ks_histogram_identical to h, cut of the spans, hint, NaN bits and
 * stale markers included. Deterministic: equal input gives equal bytes. Decoders take hostile
 * bytes: KS_ECORRUPT, memory within the limits below. Decoded histograms have a sound layout
 * (ks_histogram_check_layout) but are not validated further. Threads: pure functions.
 */
#ifndef KS_STORAGE_CODEC_HISTOGRAM_H
#define KS_STORAGE_CODEC_HISTOGRAM_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/histogram.h"

#define KS_HISTOGRAM_CHUNK_MAX 1024 /* histograms of a chunk */
/* Buckets of all histograms of a chunk, spans and bounds of all its layouts: the head seals before.
 * Each costs 8 bytes decoded. */
#define KS_HISTOGRAM_CHUNK_BUCKETS_MAX (1 << 20)

/*
 * Appends a chunk of n (1..KS_HISTOGRAM_CHUNK_MAX) histograms. They may mix kinds, layouts and
 * stale markers; each distinct layout is written once. scratch: working memory, about 24 bytes per
 * bucket. Errors: KS_EINVAL n, or an unsound layout | KS_ELIMIT too many buckets | KS_ENOMEM,
 * KS_ELIMIT of scratch | those of out.
 */
KS_NODISCARD ks_err ks_histograms_encode(const struct ks_histogram *h, size_t n,
                                         struct ks_arena *scratch, struct ks_buf *out);
/* Reads exactly n histograms from exactly these bytes into ret[0..n); arrays and working memory
 * from the arena. */
KS_NODISCARD ks_err ks_histograms_decode(struct ks_slice bytes, size_t n, struct ks_arena *arena,
                                         struct ks_histogram *ret);

/*
 * One histogram as a record. With `previous` (of the same open chunk, NULL for none) it costs a
 * fraction: counts are written as differences, and the layout not at all when it is the same.
 * KS_EINVAL, KS_ELIMIT for an unsound layout; the rest is in out.
 */
KS_NODISCARD ks_err ks_histogram_record_put(const struct ks_histogram *h,
                                            const struct ks_histogram *previous,
                                            struct ks_buf *out);
/* Reads one record with the same `previous`; spans and bounds may be shared with it, so it must
 * live as long. */
KS_NODISCARD ks_err ks_histogram_record_get(struct ks_reader *r,
                                            const struct ks_histogram *previous,
                                            struct ks_arena *arena, struct ks_histogram *ret);

#endif
