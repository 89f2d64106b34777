/*
 * Rows as the log and the memory hold them: one record of the log is one frame of memory, byte for
 * byte. Format: docs/format/log-records.md.
 *
 * A frame is complete in itself: it has its own tables of names and streams. Frames live in the
 * arena of a segment; a frame never changes once it is linked.
 */
#ifndef KS_ENGINE_LOGS_FRAME_H
#define KS_ENGINE_LOGS_FRAME_H

#include "engine/logs/log_batch.h"
#include "engine/signal.h"

enum { KS_REC_LOG_ROWS = KS_REC_LOGS_FIRST };

struct ksi_frame {
    struct ksi_frame *next;
    struct ks_slice rows;
    const struct ks_slice *names;
    struct ks_log_stream *streams;
    const uint32_t *row_at; /* where in rows each row begins */
    uint32_t name_count, stream_count, row_count;
    int64_t min_ns, max_ns;
    bool has_batch_hash;
    ks_hash128 batch_hash; /* of the whole batch, in its last frame */
};

/* Walks the rows of a frame whose bytes are known to be valid. */
struct ksi_row_iter {
    struct ks_reader r;
    int64_t time_ns;
    uint32_t stream, fields_left;
};
static inline struct ksi_row_iter ksi_rows(const struct ksi_frame *f)
{
    return (struct ksi_row_iter){.r = ks_reader(f->rows)};
}
static inline bool ksi_row_next(struct ksi_row_iter *it)
{
    if (it->r.p == it->r.end)
        return false;
    it->time_ns = (int64_t)((uint64_t)it->time_ns + (uint64_t)ks_read_zigzag(&it->r));
    it->stream = (uint32_t)ks_read_varint(&it->r);
    it->fields_left = (uint32_t)ks_read_varint(&it->r);
    return true;
}
/* The head of row i, the rows before it unread but for their heads: it.time_ns is that of row
 * i − 1 (0 at the first). */
static inline void ksi_row_head(struct ksi_row_iter *it, const struct ksi_frame *f, uint32_t i)
{
    it->r.p = (const uint8_t *)f->rows.ptr + f->row_at[i];
    it->time_ns = (int64_t)((uint64_t)it->time_ns + (uint64_t)ks_read_zigzag(&it->r));
    it->stream = (uint32_t)ks_read_varint(&it->r);
    it->fields_left = (uint32_t)ks_read_varint(&it->r);
}
static inline bool ksi_row_field(struct ksi_row_iter *it, uint32_t *ret_name,
                                 struct ks_slice *ret_value)
{
    if (!it->fields_left)
        return false;
    it->fields_left--;
    *ret_name = (uint32_t)ks_read_varint(&it->r);
    *ret_value = ks_read_lp(&it->r);
    return true;
}

/* --- writing: one encoder per writer, reused --- */
struct ksi_frame_enc {
    struct ks_buf rows, head;
    struct ks_buf names;              /* lp, in order of their numbers */
    uint32_t name_count, *name_table; /* number + 1 by hash */
    size_t name_table_cap;
    struct ks_slice *name_slices; /* borrowed from the batch */
    size_t name_cap;
    uint32_t *guess; /* the name that stood at this place of the row before */
    size_t guess_cap;
    uint32_t *streams; /* of the batch, in order of their numbers */
    size_t stream_count, stream_cap;
    uint32_t *stream_map; /* batch stream → number + 1 */
    size_t stream_map_cap;
    size_t table_bytes; /* about */
    uint32_t *row_at;
    size_t row_at_cap;
    int64_t prev_ns, min_ns, max_ns;
    uint32_t row_count;
    /* of the finished frame */
    size_t names_at; /* in head */
    const ks_hash128 *hash;
};
void ksi_frame_enc_init(struct ksi_frame_enc *e);
void ksi_frame_enc_done(struct ksi_frame_enc *e);
/* A new frame of rows of this batch. */
KS_NODISCARD ks_err ksi_frame_begin(struct ksi_frame_enc *e, const struct ks_log_batch *b);
KS_NODISCARD ks_err ksi_frame_add(struct ksi_frame_enc *e, const struct ks_log_batch *b,
                                  const struct ks_log_row *row);
/* Bytes of the frame so far, about. */
static inline size_t ksi_frame_bytes(const struct ksi_frame_enc *e)
{
    return e->rows.len + e->table_bytes;
}
/* Ends the frame: what stands before its rows is made. hash: of the whole batch, or NULL. */
KS_NODISCARD ks_err ksi_frame_finish(struct ksi_frame_enc *e, const struct ks_log_batch *b,
                                     struct ks_slice store, const ks_hash128 *hash);
/* The finished frame and its record, both in the arena. */
KS_NODISCARD ks_err ksi_frame_make(const struct ksi_frame_enc *e, const struct ks_log_batch *b,
                                   struct ks_arena *arena, struct ks_slice *ret_record,
                                   struct ksi_frame **ret);

/* --- reading --- */
/* The name of the store a record is for; KS_ECORRUPT. */
KS_NODISCARD ks_err ksi_frame_store(struct ks_slice record, struct ks_slice *ret);
/*
 * Makes a frame over the record, which must live as long as the arena. The rows are walked and must
 * be whole.
 */
KS_NODISCARD ks_err ksi_frame_parse(struct ks_slice record, struct ks_arena *arena,
                                    struct ksi_frame **ret);

#endif
