/*
 * A filter made ready, evaluated over rows seen through a view: a batch between pipes, or a block
 * of the source that can filter its own columns. Immutable once made; any thread.
 */
#ifndef KS_QUERY_LOGSQL_COND_H
#define KS_QUERY_LOGSQL_COND_H

#include "query/logsql/exec.h"
#include "query/logsql/filter/match.h"

struct ksi_lq_view {
    uint32_t row_count;
    struct ks_arena *scratch;
    const uint64_t *selected; /* rows there are; NULL = all */
    void *self;
    /* *ret_found false: no such column. Values of rows whose bit is 0 may be undefined. */
    ks_err (*column)(struct ksi_lq_view *v, struct ks_slice name, const uint64_t *bits,
                     struct ks_lq_col *ret, bool *ret_found);
    ks_err (*names)(struct ksi_lq_view *v, const struct ks_slice **ret, size_t *ret_count);
    /* NULL: the column is read and matched. */
    ks_err (*filter)(struct ksi_lq_view *v, struct ks_slice name, const struct ks_log_pred *pred,
                     uint64_t *bits);
    /* NULL: read from the columns _time, _stream, _stream_id. */
    ks_err (*times)(struct ksi_lq_view *v, const int64_t **ret_ns);
    ks_err (*streams)(struct ksi_lq_view *v, const struct ks_log_stream **ret, size_t *ret_count,
                      const uint32_t **ret_of_row);
};

/* f NULL: every row. */
KS_NODISCARD ks_err ksi_lq_cond_make(struct ks_arena *arena, const struct ks_lq_filter *f,
                                     struct ks_lq_cond **ret);
/* Clears the bits of rows that do not match. */
KS_NODISCARD ks_err ksi_lq_cond_eval_view(const struct ks_lq_cond *c, struct ksi_lq_view *v,
                                          uint64_t *bits);
/* Of a condition on streams alone (plan.h). */
bool ksi_lq_cond_stream(const struct ks_lq_cond *c, const struct ks_log_stream *s);
/* Calls fn with every leaf at the top that all rows have to match. */
typedef ks_err (*ksi_lq_leaf_fn)(void *arg, struct ks_slice name, const struct ks_log_pred *pred);
KS_NODISCARD ks_err ksi_lq_cond_leaves(const struct ks_lq_cond *c, ksi_lq_leaf_fn fn, void *arg);
bool ksi_lq_cond_is_all(const struct ks_lq_cond *c);

struct ksi_lq_view ksi_lq_view_of_rows(const struct ks_lq_rows *rows, struct ks_arena *scratch);

/* The physical type VictoriaLogs would store the values in: "const", "dict", "uint8" … "string". */
const char *ksi_lq_value_type(const struct ks_lq_col *col, uint32_t row_count,
                              const uint64_t *selected);

static inline bool ksi_lq_bits_any(const uint64_t *bits, uint32_t rows)
{
    for (uint32_t i = 0; i < KS_ROW_WORDS(rows); i++)
        if (bits[i])
            return true;
    return false;
}

#endif
