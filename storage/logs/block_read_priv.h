/* An open block, shared by reading and filtering. */
#ifndef KS_STORAGE_LOGS_BLOCK_READ_PRIV_H
#define KS_STORAGE_LOGS_BLOCK_READ_PRIV_H

#include "storage/logs/log_part_priv.h"

struct ksi_column {
    uint32_t count;    /* values: rows that have the column */
    uint64_t *present; /* NULL: all rows */
    struct ksi_loc present_loc;
    bool present_later; /* the bits are still to be read */
    struct ksi_node node;
    uint32_t bloom_at, bloom_len;
    bool bloom_without_numbers;
    bool decoded;
    struct ksi_vector vector; /* spread over the rows */
};

struct ks_lblock {
    struct ks_lpart *part;
    size_t index;
    uint32_t rows;
    struct ks_arena arena;
    struct ks_page dir, bloom;
    struct ksi_pages pages;
    struct ks_lblock_run *runs;
    size_t run_count;
    struct ksi_node time_node;
    int64_t time_unit;
    const int64_t *times;
    struct ksi_column *columns;
    struct ks_slice *names;
    size_t column_count;
};

struct ksi_column *ksi_lblock_find(struct ks_lblock *b, struct ks_slice name);
KS_NODISCARD ks_err ksi_column_want(struct ks_lblock *b, struct ksi_column *c, const uint64_t *bits,
                                    const uint64_t **ret);
/* The rows that have the column; NULL: all. */
KS_NODISCARD ks_err ksi_column_present(struct ks_lblock *b, struct ksi_column *c,
                                       const uint64_t **ret);
KS_NODISCARD ks_err ksi_lblock_bloom(struct ks_lblock *b, struct ks_slice *ret);

#endif
