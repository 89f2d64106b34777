/* The writer of log parts, shared by adding rows (log_part_write.c) and rows of other blocks
 * (log_part_merge.c). */
#ifndef KS_STORAGE_LOGS_LOG_PART_WRITE_PRIV_H
#define KS_STORAGE_LOGS_LOG_PART_WRITE_PRIV_H

#include "storage/logs/block_priv.h"
#include "storage/logs/log_part.h"

enum { KSI_BLOCK_TEXT_MAX = 3 << 20, KSI_BLOCK_COLUMNS_MAX = 1000 };

struct ksi_wcolumn {
    struct ks_slice name; /* the writer's copy */
    uint32_t number;      /* of the name in the part */
    uint32_t *rows;
    struct ks_slice *values;
    size_t count, row_cap, value_cap;
};

struct ksi_wrun {
    uint32_t stream, rows;
};

struct ks_lpart_writer {
    struct ks_part_writer *w;
    struct ksi_enc enc;
    bool copy;
    ks_err err;
    struct ks_arena text;  /* of the open block, with copy */
    struct ks_arena names; /* names of columns */
    /* names of the part */
    struct ks_slice *name;
    size_t name_count, name_cap;
    uint32_t *name_table; /* number + 1 by hash */
    size_t name_table_cap;
    /* the open block */
    struct ksi_wcolumn *columns; /* by name number; count 0: not in this block */
    size_t column_cap;
    uint32_t *used; /* name numbers in this block */
    size_t used_count, used_cap;
    uint32_t *guess;
    size_t guess_cap;
    int64_t *times;
    size_t time_cap;
    uint32_t rows;
    struct ksi_wrun *runs;
    size_t run_count, run_cap;
    uint64_t text_bytes;
    struct ksi_block_merge *merge; /* rows that come from blocks (log_part_merge.c); NULL: none */
    /* of the part */
    struct ks_buf streams, index, tags; /* tags: of the current stream */
    struct ks_tenant tenant;
    uint32_t stream_count;
    uint64_t stream_rows, total_rows, total_text;
    uint32_t prev_stream; /* of the index */
    uint32_t block_count;
    int64_t min_ns, max_ns;
};

KS_NODISCARD ks_err ksi_writer_name(struct ks_lpart_writer *w, struct ks_slice name, uint32_t *ret);
/* The open block ends; its rows are written. */
KS_NODISCARD ks_err ksi_writer_block(struct ks_lpart_writer *w);
/* Counts rows of the open stream in its run. */
KS_NODISCARD ks_err ksi_writer_run(struct ks_lpart_writer *w, uint32_t rows);

/* --- log_part_merge.c --- */
void ksi_block_merge_free(struct ksi_block_merge *m);
/* Whether the open block is made of rows of other blocks. */
bool ksi_block_merge_open(const struct ks_lpart_writer *w);
/* How many values each column of the open block has; columns without any leave the block. */
KS_NODISCARD ks_err ksi_block_merge_count(struct ks_lpart_writer *w);
/* The rows of a column, and its values as a node. */
KS_NODISCARD ks_err ksi_block_merge_rows(struct ks_lpart_writer *w, struct ksi_wcolumn *c);
void ksi_block_merge_values(struct ks_lpart_writer *w);
void ksi_block_merge_close(struct ks_lpart_writer *w);

#endif
