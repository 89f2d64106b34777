/*
 * A Histogram message of remote write into a native histogram: the same fields, with the same
 * numbers, in prompb 1.0 and in 2.0. Unknown fields are skipped; of repeated scalars the last one
 * counts, as protobuf demands. Not validated: call ks_histogram_validate(). Threads: pure.
 */
#ifndef KS_API_INGEST_HISTOGRAM_PROTO_H
#define KS_API_INGEST_HISTOGRAM_PROTO_H

#include "base/buf.h"
#include "base/histogram.h"
#include "base/slice.h"

/*
 * All arrays of *ret come from the arena. Errors: KS_EPARSE (byte offset within the message) |
 * KS_ELIMIT more buckets, spans or bounds than a histogram may have | those of the arena.
 */
KS_NODISCARD ks_err ks_histogram_from_proto(struct ks_slice message, struct ks_arena *arena,
                                            struct ks_histogram *ret, int64_t *ret_time_ms);

/* The same message back, for remote read; errors are in out. What from_proto reads is identical. */
void ks_histogram_put_proto(const struct ks_histogram *h, int64_t time_ms, struct ks_buf *out);

/* The messages of histograms[0..n) in base64 and their times, as lines of JSON export carry them:
 * "histograms":["…"],"timestamps":[…]. scratch is overwritten. */
void ks_histograms_put_json(const struct ks_histogram *h, const int64_t *times_ms, size_t n,
                            struct ks_buf *scratch, struct ks_buf *out);

#endif
