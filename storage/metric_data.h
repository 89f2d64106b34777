/*
 * The data sections of a metric part: chunks of samples by row ordinal. Format:
 * docs/format/metric-part.md.
 *
 *   "chunkdir"  per 256 series: chunk entries, columnar, with their aggregates
 *   "chunks"    frames of ≤ 16 KiB (raw) holding values of whole chunks of neighbouring series
 *   "times"     frames holding timestamp columns, each distinct column once
 *
 * Series are added in ascending ordinal, chunks of a series in ascending first time. Chunks may
 * overlap in time (late samples); readers merge. Names and labels are not here: index/ keeps them
 * in the same container.
 */
#ifndef KS_STORAGE_METRIC_DATA_H
#define KS_STORAGE_METRIC_DATA_H

#include "storage/codec/chunk.h"
#include "storage/codec/histogram.h"
#include "storage/part.h"

/* What a chunk holds. On disk: never renumber. */
enum { KS_CHUNK_F64 = 0, KS_CHUNK_HISTOGRAM = 1 };

/* One sealed chunk of a series. Everything but the payload bytes. */
struct ks_chunk_meta {
    int64_t min_ms, max_ms;
    uint32_t sample_count;
    uint8_t kind;
    uint8_t values_encoding, times_encoding;
    uint8_t resolution; /* 0 raw, else index of the downsampling resolution */
    struct ks_chunk_agg agg;
    uint32_t content_hash; /* ks_chunk_content_hash(): the writer computes it, what the caller put
                              here is not looked at */
};

/*
 * 32 bits over encodings, count and both columns' bytes. Equal chunks have equal hashes everywhere;
 * chunks with equal hashes may differ (compare the bytes before dropping one).
 */
uint32_t ks_chunk_content_hash(uint32_t sample_count, uint8_t times_encoding, struct ks_slice times,
                               uint8_t values_encoding, struct ks_slice values);

/*
 * True when two chunks of one series say the same of themselves: range, count, encodings, hash and
 * every aggregate bit for bit. Then they are copies of each other, but for a chance of 2^-32 among
 * chunks that agree in all aggregates.
 */
bool ks_chunk_same(const struct ks_chunk_meta *a, const struct ks_chunk_meta *b);

/* Encodes n strictly ascending samples: times bytes, then values bytes, appended to out, and all
 * that a chunk's directory entry says. */
KS_NODISCARD ks_err ks_chunk_encode(const int64_t *ts, const double *values, size_t n,
                                    struct ks_buf *out, struct ks_chunk_meta *ret,
                                    size_t *ret_times_bytes);

/*
 * The same for n (1..KS_HISTOGRAM_CHUNK_MAX) histograms. Their aggregates are those of the sums;
 * the values encoding is 0, as the payload names its own. scratch: see ks_histograms_encode().
 */
KS_NODISCARD ks_err ks_histogram_chunk_encode(const int64_t *ts, const struct ks_histogram *h,
                                              size_t n, struct ks_arena *scratch,
                                              struct ks_buf *out, struct ks_chunk_meta *ret,
                                              size_t *ret_times_bytes);

struct ks_mdata_writer;
/* level: 0 stores chunk frames with lz4, ≥ 1 with zstd. */
KS_NODISCARD ks_err ks_mdata_writer_new(struct ks_part_writer *w, int level,
                                        struct ks_mdata_writer **ret);
/* times and values: encoded bytes, borrowed. ord ascending, gaps allowed. */
KS_NODISCARD ks_err ks_mdata_add(struct ks_mdata_writer *m, uint32_t ord,
                                 const struct ks_chunk_meta *meta, struct ks_slice times,
                                 struct ks_slice values);
/* Writes the sections; series_count = ordinals in the part. The handle is gone in any case. */
KS_NODISCARD ks_err ks_mdata_writer_finish(struct ks_mdata_writer *m, uint32_t series_count);
void ks_mdata_writer_abort(struct ks_mdata_writer *m);

struct ks_mdata;
KS_NODISCARD ks_err ks_mdata_open(struct ks_part *p, struct ks_mdata **ret);
void ks_mdata_close(struct ks_mdata *d);
uint32_t ks_mdata_series_count(const struct ks_mdata *d);
uint64_t ks_mdata_sample_count(const struct ks_mdata *d);
uint64_t ks_mdata_chunk_count(const struct ks_mdata *d);
void ks_mdata_time_range(const struct ks_mdata *d, int64_t *ret_min_ms, int64_t *ret_max_ms);

/* A chunk as found in the directory; valid while the part is open. */
struct ks_chunk_ref {
    struct ks_chunk_meta meta;
    uint32_t values_frame, values_offset, values_bytes;
    uint32_t times_frame, times_offset, times_bytes;
};
/*
 * Appends the chunks of series `ord` that touch [min_ms, max_ms] to *refs (heap array grown with
 * ks_array_reserve, owned by the caller), in order of min_ms.
 */
KS_NODISCARD ks_err ks_mdata_chunks(struct ks_mdata *d, uint32_t ord, int64_t min_ms,
                                    int64_t max_ms, struct ks_chunk_ref **refs, size_t *count,
                                    size_t *cap);
/*
 * The same for a run of series: keeps the directory page and the place in it, so ascending ordinals
 * cost a third. Owned by one thread; the ks_mdata outlives it.
 */
struct ks_mdata_cursor;
KS_NODISCARD ks_err ks_mdata_cursor_new(struct ks_mdata *d, struct ks_mdata_cursor **ret);
KS_NODISCARD ks_err ks_mdata_cursor_chunks(struct ks_mdata_cursor *c, uint32_t ord, int64_t min_ms,
                                           int64_t max_ms, struct ks_chunk_ref **refs,
                                           size_t *count, size_t *cap);
void ks_mdata_cursor_free(struct ks_mdata_cursor *c); /* NULL is fine */

/* The encoded bytes, pinned: for verbatim copies. Release both pages. */
KS_NODISCARD ks_err ks_mdata_raw(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                 struct ks_page *ret_times_page, struct ks_slice *ret_times,
                                 struct ks_page *ret_values_page, struct ks_slice *ret_values);
/* Remembers the last decoded times column, so that neighbours sharing it decode it once, and pins
 * frames of values met lately: series in the order of the head jump from frame to frame. One per
 * thread. */
struct ks_times_memo {
    uint64_t owner; /* the ks_mdata it came from, by a number never used again; 0: empty */
    uint32_t frame, offset, count;
    int64_t *times;        /* heap, room for KS_CHUNK_SAMPLES_MAX */
    struct ksi_pins *pins; /* heap, once needed */
};
void ks_times_memo_done(struct ks_times_memo *m);
/* Decodes into arrays with room for meta.sample_count. memo may be NULL. */
KS_NODISCARD ks_err ks_mdata_decode(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                    struct ks_times_memo *memo, int64_t *ret_times,
                                    double *ret_values);
/* The columns apart. */
KS_NODISCARD ks_err ks_mdata_decode_times(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                          struct ks_times_memo *memo, int64_t *ret);
KS_NODISCARD ks_err ks_mdata_decode_values(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                           struct ks_times_memo *memo, double *ret);
/* Names a column of times: chunks with equal keys have equal times, whatever is closed or opened
 * meanwhile. */
struct ks_times_key {
    uint64_t owner; /* never 0 */
    uint32_t frame, offset, count;
};
struct ks_times_key ks_mdata_times_key(const struct ks_mdata *d, const struct ks_chunk_ref *ref);
/* The same for a chunk of histograms, whose arrays come from the arena. */
KS_NODISCARD ks_err ks_mdata_decode_histograms(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                               struct ks_times_memo *memo, struct ks_arena *arena,
                                               int64_t *ret_times, struct ks_histogram *ret);
/* The pages a chunk's columns lie in, but for those of its directory entry: 0 to 2. */
KS_NODISCARD ks_err ks_mdata_pages(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                                   struct ks_part_page ret[2], size_t *ret_count);
/* Whether the values can be had without reading the file. */
bool ks_mdata_at_hand(struct ks_mdata *d, const struct ks_chunk_ref *ref,
                      const struct ks_times_memo *memo);

#endif
