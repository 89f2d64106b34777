/*
 * What the encoder and the decoder of histogram chunks share: layouts, and the columns they need. A
 * column holds the absolute counts of one bucket (kind, schema, side, index) over all histograms of
 * the chunk that have it, whatever their layout.
 */
#ifndef KS_STORAGE_CODEC_HISTOGRAM_PRIV_H
#define KS_STORAGE_CODEC_HISTOGRAM_PRIV_H

#include "storage/codec/histogram.h"

/* First byte of a chunk. */
#define KSI_HISTOGRAM_VERSION 1

/* Flags of a written layout; of a record too. */
#define KSI_LAYOUT_FLOAT 1u
#define KSI_LAYOUT_THRESHOLD                                                                       \
    2u /* not the usual 2^-128 (exponential) or 0 (custom): 8 bytes follow */
#define KSI_LAYOUT_NEGATIVE 4u
#define KSI_LAYOUT_CUSTOM   8u /* bounds follow */
#define KSI_LAYOUT_MASK     15u

struct ksi_histogram_layout {
    struct ks_histogram shape; /* spans, bounds, schema, threshold, bucket counts; no numbers */
    uint32_t uses;             /* histograms with it */
    uint32_t *columns;         /* of bucket i, negative side behind the positive one */
};

struct ksi_histogram_column {
    uint64_t key;
    uint64_t *values; /* count of them; u64 numbers or bits of doubles */
    uint32_t count, filled;
};

struct ksi_histogram_columns {
    struct ksi_histogram_column *items;
    uint32_t count;
    uint32_t int_uses, float_uses; /* histograms of either kind */
};

static inline uint32_t ksi_layout_buckets(const struct ksi_histogram_layout *l)
{
    return l->shape.positive.bucket_count + l->shape.negative.bucket_count;
}

/*
 * Makes the columns for all layouts (uses filled in), with their value arrays, in order of key:
 * integer before float, then schema, negative after positive, index. KS_ELIMIT when
 * KS_HISTOGRAM_CHUNK_BUCKETS_MAX is passed.
 */
KS_NODISCARD ks_err ksi_histogram_columns(struct ksi_histogram_layout *layouts, size_t count,
                                          struct ks_arena *arena,
                                          struct ksi_histogram_columns *ret);

void ksi_layout_put(const struct ks_histogram *h, struct ks_buf *out);
/* flags: what the byte before said. KS_ECORRUPT, KS_ELIMIT. */
KS_NODISCARD ks_err ksi_layout_get(struct ks_reader *r, unsigned flags, struct ks_arena *arena,
                                   struct ks_histogram *ret);
unsigned ksi_layout_flags(const struct ks_histogram *h);

#endif
