/* One column of a block as readers see it. */
#ifndef KS_STORAGE_LOGS_COLUMN_H
#define KS_STORAGE_LOGS_COLUMN_H

#include <stdint.h>

#include "base/slice.h"

enum ks_log_column_kind {
    KS_COL_ABSENT, /* "" in every row */
    KS_COL_CONST,  /* values[0] in every row */
    KS_COL_DICT,   /* values[codes[row]] */
    KS_COL_VALUES  /* values[row] */
};
struct ks_log_column {
    enum ks_log_column_kind kind;
    uint32_t value_count;
    const struct ks_slice *values;
    const uint32_t *codes;
};

static inline struct ks_slice ks_log_column_at(const struct ks_log_column *c, uint32_t row)
{
    return c->kind == KS_COL_CONST    ? c->values[0]
           : c->kind == KS_COL_DICT   ? c->values[c->codes[row]]
           : c->kind == KS_COL_VALUES ? c->values[row]
                                      : ks_slice("", 0);
}

#endif
