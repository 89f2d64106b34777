/*
 * The directory of a block, read once: where its pages, times and columns are described. It lives
 * in the part's cache as one entry, text included, so that opening a block again costs one look-up
 * and nodes are parsed for the columns a query touches alone. Immutable; any thread.
 */
#ifndef KS_STORAGE_LOGS_BLOCK_DIR_H
#define KS_STORAGE_LOGS_BLOCK_DIR_H

#include "storage/logs/log_part_priv.h"

struct ksi_dir_column {
    uint32_t count; /* values: rows that have the column */
    uint32_t at;    /* in text: presence, then the node */
    uint32_t bloom_at, bloom_len;
    bool bloom_without_numbers;
};

struct ksi_dir {
    struct ks_slice text; /* the stored directory */
    uint32_t page_count, pages_at, times_at;
    size_t run_count, column_count;
    const struct ks_lblock_run *runs;
    const struct ksi_dir_column *columns;
    const struct ks_slice *names; /* of the columns, ascending; texts are the part's */
    _Atomic uint8_t *checked;     /* per column: its payload was found good (column_decode.c) */
};

/* The directory of block i, with a reference; all of it has been checked. */
KS_NODISCARD ks_err ksi_dir_get(struct ks_lpart *p, size_t i, struct ks_arena *scratch,
                                struct ks_cache_entry **ret);
static inline const struct ksi_dir *ksi_dir_of(struct ks_cache_entry *e)
{
    return ks_cache_entry_data(e);
}

/* Presence of a column: bits in the arena, NULL when every row has it. *ret_loc.len > 0: the bits
 * are in that page. */
KS_NODISCARD ks_err ksi_presence_parse(struct ks_reader *r, uint32_t rows, uint32_t count,
                                       struct ks_arena *arena, uint64_t **ret,
                                       struct ksi_loc *ret_loc);
/* Unit and numbers of a block's times. */
bool ksi_times_parse(struct ks_reader *r, uint32_t rows, struct ksi_node *ret, int64_t *ret_unit);

#endif
