/*
 * Log parts: rows of one UTC day, sorted by stream and time, in blocks of columns. Format:
 * docs/format/log-part.md.
 *
 * Writing: one thread. A part is immutable once opened: any thread may read it; a ks_lblock belongs
 * to one thread at a time. Bytes are hostile: KS_ECORRUPT.
 */
#ifndef KS_STORAGE_LOGS_LOG_PART_H
#define KS_STORAGE_LOGS_LOG_PART_H

#include "base/labels.h"
#include "storage/logs/column.h"
#include "storage/logs/pred.h"
#include "storage/part.h"

struct ks_lpart_field {
    struct ks_slice name, value; /* neither is empty */
};

/* --- writing --- */
struct ks_lpart_writer;

/* copy: values are copied when they are added; otherwise they must live until the writer is done.
 * Names and tags are always copied. */
KS_NODISCARD ks_err ks_lpart_writer_new(struct ks_vfs *vfs, const char *path, bool copy,
                                        struct ks_lpart_writer **ret);
/*
 * Adds a row. Streams come one after the other, never again once another one has begun; a stream's
 * rows in order of time. Errors stick.
 */
KS_NODISCARD ks_err ks_lpart_add(struct ks_lpart_writer *w, struct ks_tenant tenant,
                                 struct ks_slice tags, int64_t time_ns,
                                 const struct ks_lpart_field *fields, size_t count);
/*
 * The same in two steps, for callers that know better than to compare texts: a stream is begun,
 * then its rows are added with numbers of names.
 */
struct ks_lpart_cell {
    uint32_t name; /* of ks_lpart_name() */
    struct ks_slice value;
};
KS_NODISCARD ks_err ks_lpart_name(struct ks_lpart_writer *w, struct ks_slice name, uint32_t *ret);
KS_NODISCARD ks_err ks_lpart_stream_begin(struct ks_lpart_writer *w, struct ks_tenant tenant,
                                          struct ks_slice tags);
KS_NODISCARD ks_err ks_lpart_add_cells(struct ks_lpart_writer *w, int64_t time_ns,
                                       const struct ks_lpart_cell *cells, size_t count);
struct ks_lblock;
/*
 * Adds rows [first, first + count) of a block of another part to the open stream, without making
 * their texts where that can be avoided (column_merge.h). The rows of one block are added in order.
 * The block stays open, and is read from, until it was given back.
 */
KS_NODISCARD ks_err ks_lpart_add_run(struct ks_lpart_writer *w, struct ks_lblock *b, uint32_t first,
                                     uint32_t count);
/* A block to open, one that was given back before or a new one; and back again, once no more rows
 * of it will be added: the writer frees or reuses it when it is done with it. */
KS_NODISCARD ks_err ks_lpart_take_block(struct ks_lpart_writer *w, struct ks_lblock **ret);
void ks_lpart_give_block(struct ks_lpart_writer *w, struct ks_lblock *b);
/* Publishes the part; the writer is gone in any case. KS_EINVAL: no row was added (and there is no
 * part). */
KS_NODISCARD ks_err ks_lpart_writer_finish(struct ks_lpart_writer *w, uint64_t *ret_bytes);
void ks_lpart_writer_abort(struct ks_lpart_writer *w);

/* --- reading --- */
struct ks_lpart;

struct ks_lpart_stream {
    struct ks_tenant tenant;
    struct ks_slice tags; /* label bytes, canonical */
    uint64_t rows;
};
struct ks_lpart_block {
    int64_t min_ns, max_ns;
    uint32_t rows;
    uint64_t text_bytes;
    uint32_t first_stream, last_stream;
    uint64_t first_row; /* number of its first row within the part */
};

KS_NODISCARD ks_err ks_lpart_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                                  struct ks_lpart **ret);
void ks_lpart_close(struct ks_lpart *p);
struct ks_part *ks_lpart_file(struct ks_lpart *p);
uint64_t ks_lpart_rows(const struct ks_lpart *p);
uint64_t ks_lpart_text_bytes(const struct ks_lpart *p);
uint64_t ks_lpart_index_bytes(const struct ks_lpart *p); /* stored, all but columns */
void ks_lpart_range(const struct ks_lpart *p, int64_t *ret_min_ns, int64_t *ret_max_ns);
size_t ks_lpart_block_count(const struct ks_lpart *p);
const struct ks_lpart_block *ks_lpart_block(const struct ks_lpart *p, size_t i);
size_t ks_lpart_stream_count(const struct ks_lpart *p);
const struct ks_lpart_stream *ks_lpart_stream(const struct ks_lpart *p, size_t i);
/* Bytes of memory the open part holds besides cached pages. */
size_t ks_lpart_memory(const struct ks_lpart *p);

/* --- one block; what it hands out lives until it is opened anew --- */
struct ks_lblock;
KS_NODISCARD ks_err ks_lblock_new(struct ks_lblock **ret);
void ks_lblock_free(struct ks_lblock *b);
/* Lets go of what it read; it may be opened again. */
void ks_lblock_close(struct ks_lblock *b);
KS_NODISCARD ks_err ks_lblock_open(struct ks_lblock *b, struct ks_lpart *p, size_t i);
KS_NODISCARD ks_err ks_lblock_times(struct ks_lblock *b, const int64_t **ret_ns);
/* Runs of rows of one stream: stream of the part, first row; the last run ends with the block. */
struct ks_lblock_run {
    uint32_t stream, first_row;
};
size_t ks_lblock_runs(const struct ks_lblock *b, const struct ks_lblock_run **ret);
size_t ks_lblock_names(const struct ks_lblock *b, const struct ks_slice **ret);
/* bits: the rows wanted, NULL for all. */
KS_NODISCARD ks_err ks_lblock_column(struct ks_lblock *b, struct ks_slice name,
                                     const uint64_t *bits, struct ks_log_column *ret);
KS_NODISCARD ks_err ks_lblock_filter(struct ks_lblock *b, struct ks_slice name,
                                     const struct ks_log_pred *pred, uint64_t *bits);

#endif
