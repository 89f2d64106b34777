/*
 * Rows kept by a stage: copies of batches in an arena, and rows picked from them in any order made
 * into a batch again. One thread.
 */
#ifndef KS_QUERY_LOGSQL_ROW_STORE_H
#define KS_QUERY_LOGSQL_ROW_STORE_H

#include "query/logsql/pipes/pipe_priv.h"

struct ksi_lq_ref { /* one row of a kept batch */
    const struct ks_lq_rows *rows;
    uint32_t row;
};

/* A copy of the rows whose bit is set (NULL: all) that lives as long as the arena. */
KS_NODISCARD ks_err ksi_lq_keep(const struct ks_lq_rows *rows, const uint64_t *bits,
                                struct ks_arena *scratch, struct ks_arena *arena,
                                const struct ks_lq_rows **ret);

/*
 * The rows refs[0 … count) as columns of an edit over no columns (row_count = count): first those
 * it is asked for, then the others as they are met. Values are shared with the kept batches. `step`
 * is the distance of refs in bytes, so that they may be part of larger items.
 */
KS_NODISCARD ks_err ksi_lq_gather(const struct ksi_lq_ref *refs, size_t step, uint32_t count,
                                  struct ksi_lq_edit *e);

/* rows(…) of join and union as a batch of the arena. */
KS_NODISCARD ks_err ksi_lq_literal_rows(const struct ks_lq_literal_rows *lit,
                                        struct ks_arena *arena, struct ks_lq_rows *ret);

#endif
