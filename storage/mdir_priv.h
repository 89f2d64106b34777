/*
 * One page of the chunk directory: up to 256 neighbouring series with their chunks
 * (docs/format/metric-part.md).
 *
 * Columns have one byte width per page (0..8, value - smallest), so entry i of any column is one
 * load; what has no fixed size (aggregates, inline payloads) lies in a record stream that is walked
 * from the nearest skip point. Nothing is unpacked in memory: a page is used as it comes from the
 * cache, about 20 bytes per chunk.
 *
 * A distinct timestamp column (bytes, count, first and last time) is one row of the page's times
 * table; chunks name the row.
 */
#ifndef KS_STORAGE_MDIR_PRIV_H
#define KS_STORAGE_MDIR_PRIV_H

#include "base/bytes.h"
#include "storage/metric_data.h"

enum {
    KSI_MDIR_SERIES_MAX = 256,
    KSI_MDIR_CHUNKS_SOFT = 1 << 14, /* a page is closed at the next series */
    KSI_MDIR_CHUNKS_MAX = 1 << 18,
    KSI_MDIR_PAD = 8, /* zero bytes at the end: columns are read by 8-byte loads */
    KSI_INLINE_VALUES_MAX = 16,
    KSI_INLINE_TIMES_MAX = 24,
    KSI_AGG_RAW = 15, /* "exponent": doubles are stored as 8 bytes */
};

/* In ks_chunk_ref: the payload lies in the directory page of that group, at that offset. */
#define KSI_INLINE 0x80000000u

/* Control bits of a chunk. */
enum {
    KSI_CTL_INLINE = 1 << 0, /* the values' bytes stand in the record */
    KSI_CTL_CONST =
        1 << 1, /* first is the constant of the inline values; last, min and max are first */
    KSI_CTL_FRAME = 1 << 2, /* the first chunk of the next frame */
    KSI_CTL_COUNT = 1 << 3, /* agg.count differs from sample_count */
    KSI_CTL_SUM_SHIFT = 4,  /* 0 first × count | 1 that ± ulps | 2 decimal ± ulps | 3 raw */
    KSI_CTL_INC_SHIFT = 6,  /* 0 last - first | 1 decimal ± ulps | 2 raw */
    KSI_CTL_LAST = 1 << 8,  /* last differs from first */
    KSI_CTL_MIN_SHIFT = 9,  /* 0 first | 1 last | 2 own */
    KSI_CTL_MAX_SHIFT = 11,
    KSI_CTL_FLAGS = 1 << 13,
    KSI_CTL_KNOWN = (1 << 14) - 1,
};

/* --- aggregates as records (mdir_agg.c) --- */

/*
 * Appends the aggregates to rec: 8-byte doubles first, then varints. is_const: the values are
 * inline and all equal v. Returns the control bits; *ret_exp the decimal exponent of the page's
 * exponent column.
 */
uint16_t ksi_agg_encode(const struct ks_chunk_agg *agg, uint32_t sample_count, bool is_const,
                        double v, struct ks_buf *rec, uint8_t *ret_exp);
/* The same back; r stands at the aggregates. constant: the value of KSI_CTL_CONST. Bad input sets
 * r->bad. */
void ksi_agg_decode(struct ks_reader *r, uint16_t ctl, uint8_t exp, uint32_t sample_count,
                    double constant, struct ks_chunk_agg *ret);
/* Steps over them. */
void ksi_agg_skip(struct ks_reader *r, uint16_t ctl, uint8_t exp);

/* --- writing (mdir_write.c) --- */

struct ksi_mdir_chunk {
    uint64_t rec_pos; /* where its record begins */
    uint32_t
        frame; /* frames begun before it, and the offset in the last of them: the state of a walk */
    uint32_t frame_offset;
    uint32_t vbytes, times_row, series; /* series: ord - first_ord */
    uint16_t ctl;
    uint8_t exp, venc, kind, resolution;
};

struct ksi_mdir_times {
    int64_t min_ms, max_ms;
    uint32_t count, bytes, frame /* + 1; 0 = inline */, offset, hash /* 0 when inline */;
    uint8_t encoding;
};

struct ksi_mdir_builder {
    uint32_t first_ord, last_ord;
    int64_t min_ms, max_ms;
    struct ksi_mdir_chunk *chunks;
    size_t chunk_count, chunk_cap;
    struct ksi_mdir_times *times;
    size_t times_count, times_cap;
    struct ks_buf rec, blob, page;
    int64_t *column; /* scratch */
    size_t column_cap;
};

void ksi_mdir_builder_init(struct ksi_mdir_builder *b);
void ksi_mdir_builder_done(struct ksi_mdir_builder *b);
/* Encodes into b->page. There is at least one chunk. */
KS_NODISCARD ks_err ksi_mdir_encode(struct ksi_mdir_builder *b);
void ksi_mdir_reset(struct ksi_mdir_builder *b);

/* --- reading (mdir_read.c) --- */

/* In file order. */
enum ksi_mdir_col {
    KSI_S_CHUNKS, /* per series: its chunks */
    KSI_K_CHUNK,  /* per skip point: the state of the walk */
    KSI_K_REC,
    KSI_K_FRAME,
    KSI_K_OFFSET,
    KSI_C_CTL_LO, /* per chunk */
    KSI_C_CTL_HI,
    KSI_C_EXP,
    KSI_C_VENC,
    KSI_C_KIND,
    KSI_C_RES,
    KSI_C_VBYTES,
    KSI_C_TIMES, /* row of the times table - index of the chunk */
    KSI_T_MIN,   /* per row of the times table */
    KSI_T_SPAN,
    KSI_T_COUNT,
    KSI_T_ENC,
    KSI_T_BYTES,
    KSI_T_FRAME,
    KSI_T_OFFSET,
    KSI_T_HASH,
    KSI_MDIR_COLS
};

struct ksi_col {
    const uint8_t *p;
    uint64_t base, mask;
    uint32_t width;
};

struct ksi_mdir {
    const uint8_t *page;
    uint32_t first_ord, series, chunks, times, stride_log2;
    struct ksi_col cols[KSI_MDIR_COLS];
    const uint8_t *rec, *rec_end;
    const uint8_t *blob;
    size_t blob_bytes;
};

static inline uint64_t ksi_col_get(const struct ksi_col *c, size_t i)
{
    return c->base + (ks_le64(c->p + i * c->width) & c->mask);
}

/* Checks the page's frame; ret borrows it. O(columns). KS_ECORRUPT without place. */
KS_NODISCARD ks_err ksi_mdir_parse(struct ks_slice page, struct ksi_mdir *ret);

/* Where a reader stands in the record stream: before the first chunk of `series`. */
struct ksi_mdir_walk {
    const struct ksi_mdir *d;
    uint32_t series; /* UINT32_MAX: nowhere yet */
    struct ks_reader rec;
    uint64_t chunk;
    uint64_t frames, offset; /* value frames begun; offset in the last one */
};
void ksi_mdir_walk_init(struct ksi_mdir_walk *w, const struct ksi_mdir *d);
/*
 * Appends the chunks of series `ord` that touch [min_ms, max_ms]; `group` goes into inline
 * references. Ascending ordinals cost least. KS_ECORRUPT without place.
 */
KS_NODISCARD ks_err ksi_mdir_chunks(struct ksi_mdir_walk *w, uint32_t group, uint32_t ord,
                                    int64_t min_ms, int64_t max_ms, struct ks_chunk_ref **refs,
                                    size_t *count, size_t *cap);

uint32_t ksi_times_hash(uint32_t sample_count, uint8_t encoding, struct ks_slice times);
uint32_t ksi_values_hash(uint8_t encoding, struct ks_slice values);
static inline uint32_t ksi_content_hash(uint32_t times_hash, uint32_t values_hash)
{
    return (uint32_t)ks_mix64(times_hash | (uint64_t)values_hash << 32);
}

#endif
