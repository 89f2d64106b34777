/*
 * Sets of ids as bytes, in a part: docs/format/series-index.md, "Postings". Own and simple rather
 * than roaring's portable form, so that every step of reading untrusted bytes can be checked: ids
 * ascend strictly and lie below the limit.
 */
#ifndef KS_INDEX_POSTING_CODEC_H
#define KS_INDEX_POSTING_CODEC_H

#include "base/buf.h"
#include "base/bytes.h"
#include "index/postings.h"

/* Appends the set, in the shorter of the two forms. scratch is overwritten. */
KS_NODISCARD ks_err ksi_posting_encode(const struct ksi_postings *p, struct ks_buf *scratch,
                                       struct ks_buf *out);

/* Called with each run [from, to). */
typedef void (*ksi_run_fn)(void *arg, uint32_t from, uint32_t to);
/* KS_ECORRUPT unless bytes hold exactly `count` ids below `limit`; fn may have heard some by then.
 */
KS_NODISCARD ks_err ksi_posting_decode(struct ks_slice bytes, uint32_t count, uint32_t limit,
                                       ksi_run_fn fn, void *arg);

/* A sink of runs that makes a bitmap: single ids go in by the batch. */
struct ksi_bitmap_sink {
    roaring_bitmap_t *bm;
    uint32_t ids[512];
    size_t count;
};
void ksi_bitmap_sink_run(void *sink, uint32_t from, uint32_t to);
void ksi_bitmap_sink_flush(struct ksi_bitmap_sink *s);

#endif
