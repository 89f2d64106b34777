/*
 * What is known of a query before it runs: its time range, which columns it reads, whether it may
 * stop early; and subqueries put into values. Arena allocated, one thread.
 */
#ifndef KS_QUERY_LOGSQL_PLAN_H
#define KS_QUERY_LOGSQL_PLAN_H

#include "base/arena.h"
#include "query/logsql/syntax/ast.h"

/* A set of fields: all but `except`, or the ones of `fields`. */
struct ksi_lq_need {
    bool all;
    struct ks_lq_fields fields, except;
    size_t fields_cap, except_cap;
    bool listed; /* fields are names, ascending, each once: ksi_lq_need_list */
};
bool ksi_lq_need_has(const struct ksi_lq_need *n, struct ks_slice name);

/* What the pipes [first, count) need of the rows that enter them. */
KS_NODISCARD ks_err ksi_lq_needed(const struct ks_lq_pipe *pipes, size_t count,
                                  struct ks_arena *arena, struct ksi_lq_need *ret);

/* Splits the AND list at the top: time filters become a range, the rest stays. ret_rest is NULL
 * for every row. */
KS_NODISCARD ks_err ksi_lq_split_time(const struct ks_lq_filter *f, struct ks_arena *arena,
                                      int64_t *io_min_ns, int64_t *io_max_ns, bool *ret_has_time,
                                      const struct ks_lq_filter **ret_rest);
/* Splits stream filters off: those that may be asked of a stream alone. */
KS_NODISCARD ks_err ksi_lq_split_stream(const struct ks_lq_filter *f, struct ks_arena *arena,
                                        const struct ks_lq_filter **ret_stream,
                                        const struct ks_lq_filter **ret_rest);

/* Rows pass it one by one, with _time untouched; it may drop some. */
bool ksi_lq_pipe_row_local(const struct ks_lq_pipe *p);
/* Exactly one row comes out for each that goes in, in order; _time may be gone. */
bool ksi_lq_pipe_one_to_one(const struct ks_lq_pipe *p);
/* Adds a field to what is needed. */
KS_NODISCARD ks_err ksi_lq_need_add(struct ks_arena *arena, struct ksi_lq_need *n,
                                    struct ks_slice name);

/* Makes `fields` a list of names where it can be one. */
void ksi_lq_need_list(struct ksi_lq_need *n);

struct ks_lq_exec;
/* The query with every in(subquery) replaced by the values it gave. */
KS_NODISCARD ks_err ksi_lq_resolve(struct ks_lq_exec *x, const struct ks_lq_query *q,
                                   const struct ks_lq_query **ret);

#endif
