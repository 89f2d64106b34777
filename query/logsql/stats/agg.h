/*
 * Stats functions: count, sum, quantile and the like, as states that take rows, merge and print.
 *
 * Each worker has its own states, one per group and function, in one array per function; they are
 * merged at the end. A state of zeroes is an empty one. Texts that states keep live in the arena of
 * their array. Any split of the rows into batches and workers gives the same answer, but for which
 * of equals is kept (any, row_any, limits) and for quantile beyond its 10 000 samples.
 */
#ifndef KS_QUERY_LOGSQL_AGG_H
#define KS_QUERY_LOGSQL_AGG_H

#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/stats/keymap.h"

struct ksi_lq_agg;

struct ksi_lq_states {
    char *data; /* count × ops->size */
    uint32_t count;
    size_t cap;
    struct ks_arena arena;
    uint64_t heap_bytes; /* of what states own outside data and arena */
};

struct ksi_lq_update { /* one batch */
    const struct ks_lq_rows *rows;
    const uint32_t *group_of; /* NULL: all rows are in `single` */
    uint32_t single;
    const uint64_t *bits;   /* rows that count; NULL all */
    struct ks_arena *arena; /* scratch */
};

struct ksi_lq_agg_ops {
    size_t size;
    ks_err (*update)(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                     const struct ksi_lq_update *u);
    /* src belongs to another array that stays alive: its texts need not be copied. */
    ks_err (*merge)(const struct ksi_lq_agg *a, struct ksi_lq_states *st, void *dst, void *src);
    ks_err (*result)(const struct ksi_lq_agg *a, void *state, struct ks_buf *out);
    void (*done)(void *state); /* NULL: owns nothing */
};
struct ksi_lq_agg {
    const struct ks_lq_func *func;
    const struct ksi_lq_agg_ops *ops;
};

KS_NODISCARD ks_err ksi_lq_agg_init(struct ksi_lq_agg *a, const struct ks_lq_func *func);
/* What writes a state as VictoriaLogs hands it from node to node (stats_remote); NULL: not known.
 */
typedef void (*ksi_lq_hand_out)(const void *state, struct ks_buf *out);
ksi_lq_hand_out ksi_lq_agg_hand_out(const struct ksi_lq_agg *a);
void ksi_lq_hand_out_count(const void *state, struct ks_buf *out); /* and lengths */
void ksi_lq_hand_out_sum(const void *state, struct ks_buf *out);
void ksi_lq_hand_out_avg(const void *state, struct ks_buf *out);
void ksi_lq_hand_out_extreme(const void *state, struct ks_buf *out);
/* Also first() and last(), for functions that see rows in order. */
KS_NODISCARD ks_err ksi_lq_agg_init_ordered(struct ksi_lq_agg *a, const struct ks_lq_func *func);
void ksi_lq_states_init(struct ksi_lq_states *st);
void ksi_lq_states_done(const struct ksi_lq_agg *a, struct ksi_lq_states *st);
/* Makes room for groups [0, count). */
KS_NODISCARD ks_err ksi_lq_states_grow(const struct ksi_lq_agg *a, struct ksi_lq_states *st,
                                       uint32_t count);
static inline void *ksi_lq_state(const struct ksi_lq_agg *a, const struct ksi_lq_states *st,
                                 uint32_t group)
{
    return st->data + (size_t)group * a->ops->size;
}
static inline uint64_t ksi_lq_states_bytes(const struct ksi_lq_states *st)
{
    return st->cap + st->arena.used_bytes + st->heap_bytes;
}

/* ---------------------------------------------------------------- for the functions' files */

/* The columns a function looks at in this batch. */
struct ksi_lq_args {
    struct ksi_lq_texts *texts;
    const struct ks_lq_col **cols; /* NULL: the batch has none of the name */
    struct ks_slice *names;
    bool *matched; /* found by a prefix: rows without a value do not take part */
    size_t count;
};
bool ksi_lq_args_all(const struct ks_lq_fields *f); /* `*`, or nothing */
KS_NODISCARD ks_err ksi_lq_args(const struct ks_lq_fields *f, const struct ks_lq_rows *rows,
                                struct ks_arena *arena, struct ksi_lq_args *ret);

static inline bool ksi_lq_on(const struct ksi_lq_update *u, uint32_t row)
{
    return !u->bits || ks_lq_bit(u->bits, row);
}
static inline uint32_t ksi_lq_group(const struct ksi_lq_update *u, uint32_t row)
{
    return u->group_of ? u->group_of[row] : u->single;
}
/* JSON objects have their names in order. */
void ksi_lq_args_by_name(struct ksi_lq_args *a);
/* {"name":"value",…} of one row, without empty values. */
void ksi_lq_row_json(const struct ksi_lq_args *args, uint32_t row, struct ks_buf *out);

extern const struct ksi_lq_agg_ops ksi_lq_agg_count, ksi_lq_agg_count_empty, ksi_lq_agg_sum,
    ksi_lq_agg_avg, ksi_lq_agg_stddev, ksi_lq_agg_rate, ksi_lq_agg_rate_sum, ksi_lq_agg_sum_len,
    ksi_lq_agg_histogram, ksi_lq_agg_min, ksi_lq_agg_max, ksi_lq_agg_any, ksi_lq_agg_row_any,
    ksi_lq_agg_row_min, ksi_lq_agg_row_max, ksi_lq_agg_field_min, ksi_lq_agg_field_max,
    ksi_lq_agg_count_uniq, ksi_lq_agg_count_uniq_hash, ksi_lq_agg_uniq_values, ksi_lq_agg_values,
    ksi_lq_agg_json_values, ksi_lq_agg_quantile, ksi_lq_agg_first, ksi_lq_agg_last;

#endif
