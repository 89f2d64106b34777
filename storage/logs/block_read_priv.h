/* An open block, shared by reading and filtering. */
#ifndef KS_STORAGE_LOGS_BLOCK_READ_PRIV_H
#define KS_STORAGE_LOGS_BLOCK_READ_PRIV_H

#include "storage/logs/block_dir.h"

/* A column of the open block, made when it is asked for. */
struct ksi_column {
    const struct ksi_dir_column *dir;
    uint32_t count;    /* values: rows that have the column */
    uint64_t *present; /* NULL: all rows */
    struct ksi_loc present_loc;
    bool present_later; /* the bits are still to be read */
    struct ksi_node node;
    bool parsed; /* presence and node */
    bool decoded;
    struct ksi_vector vector; /* spread over the rows */
};

struct ks_lblock {
    struct ks_lpart *part;
    size_t index;
    uint32_t rows;
    struct ks_arena arena;
    struct ks_cache_entry *dir_entry;
    const struct ksi_dir *dir; /* NULL: no block is open */
    struct ks_page bloom;
    struct ksi_pages pages;
    const int64_t *times;
    struct ksi_column **columns; /* of the directory's; NULL: not asked for */
};

/* The column, or NULL: its counts and filter can be used, the rest after ksi_column_parse. */
KS_NODISCARD ks_err ksi_lblock_find(struct ks_lblock *b, struct ks_slice name,
                                    struct ksi_column **ret);
KS_NODISCARD ks_err ksi_column_parse(struct ks_lblock *b, struct ksi_column *c);
KS_NODISCARD ks_err ksi_column_want(struct ks_lblock *b, struct ksi_column *c, const uint64_t *bits,
                                    const uint64_t **ret);
/* The rows that have the column; NULL: all. */
KS_NODISCARD ks_err ksi_column_present(struct ks_lblock *b, struct ksi_column *c,
                                       const uint64_t **ret);
/* Asks the text of each value wanted. */
void ksi_filter_values(const struct ksi_vector *v, uint32_t count, const struct ks_log_pred *pred,
                       const uint64_t *want, uint64_t *hit);
/* filter_template.c: bits of the values of a template node that match. */
KS_NODISCARD ks_err ksi_filter_templates(struct ks_lblock *b, struct ksi_node *n,
                                         const struct ks_log_pred *pred, const uint64_t *want,
                                         uint64_t *hit);
KS_NODISCARD ks_err ksi_lblock_bloom(struct ks_lblock *b, struct ks_slice *ret);

#endif
