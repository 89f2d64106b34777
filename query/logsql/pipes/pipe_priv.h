/*
 * What the stages of pipes share: the frame of a pipe that works row by row, editing the columns of
 * a batch, and text columns seen as distinct values and codes.
 *
 * A column is never copied to change it: an edit makes a new list of columns over the same values.
 * Work is done once per distinct value (a constant, the entries of a dictionary), not per row.
 */
#ifndef KS_QUERY_LOGSQL_PIPE_PRIV_H
#define KS_QUERY_LOGSQL_PIPE_PRIV_H

#include "base/mem.h"
#include "query/logsql/exec.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/value_key.h"
#include "storage/logs/pred.h"

typedef ks_err (*ks_lq_make_fn)(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                struct ks_lq_stage *next, struct ks_lq_stage **ret);

/* ---------------------------------------------------------------- texts of a column */

/* values[constant ? 0 : codes ? codes[row] : row] */
struct ksi_lq_texts {
    const struct ks_slice *values;
    const uint32_t *codes; /* NULL: one value per row, or constant */
    uint32_t count;        /* of values */
    bool constant;
};
static inline uint32_t ksi_lq_text_at(const struct ksi_lq_texts *t, uint32_t row)
{
    return t->constant ? 0 : t->codes ? t->codes[row] : row;
}
static inline struct ks_slice ksi_lq_text(const struct ksi_lq_texts *t, uint32_t row)
{
    return t->values[ksi_lq_text_at(t, row)];
}
/* col NULL: "" in every row. Dictionaries larger than the batch become one value per row. */
KS_NODISCARD ks_err ksi_lq_texts(const struct ks_lq_col *col, uint32_t row_count,
                                 struct ks_arena *arena, struct ksi_lq_texts *ret);
KS_NODISCARD ks_err ksi_lq_texts_named(const struct ks_lq_rows *rows, struct ks_slice name,
                                       struct ks_arena *arena, struct ksi_lq_texts *ret);
/* An array for new values in place of t's. */
struct ks_slice *ksi_lq_texts_like(const struct ksi_lq_texts *t, struct ks_arena *arena);

/* ---------------------------------------------------------------- editing columns */

struct ksi_lq_edit {
    struct ks_arena *arena;
    struct ks_lq_col *cols;
    uint32_t count, row_count;
    size_t cap;
};
KS_NODISCARD ks_err ksi_lq_edit_begin(struct ksi_lq_edit *e, struct ks_arena *arena,
                                      const struct ks_lq_rows *in);
/* Index of the column, or -1. */
int64_t ksi_lq_edit_find(const struct ksi_lq_edit *e, struct ks_slice name);
/* Replaces or appends; the name is borrowed. */
KS_NODISCARD ks_err ksi_lq_edit_put(struct ksi_lq_edit *e, const struct ks_lq_col *col);
void ksi_lq_edit_drop(struct ksi_lq_edit *e, struct ks_slice name);
static inline struct ks_lq_rows ksi_lq_edit_rows(const struct ksi_lq_edit *e)
{
    return (struct ks_lq_rows){e->row_count, e->count, e->cols};
}

/* How a new value meets the old one of its column. */
struct ksi_lq_how {
    const uint64_t *bits; /* rows it is for; NULL all */
    bool keep_original, skip_empty;
};
/* Column `name` becomes t's values. */
KS_NODISCARD ks_err ksi_lq_edit_set(struct ksi_lq_edit *e, struct ks_slice name,
                                    const struct ksi_lq_texts *t, struct ksi_lq_how how);

static inline bool ksi_lq_field_match(const struct ks_lq_field *f, struct ks_slice name)
{
    return f->prefix ? ks_slice_has_prefix(name, f->name) : ks_slice_eq(name, f->name);
}
bool ksi_lq_fields_match(const struct ks_lq_fields *f, struct ks_slice name);

/* ---------------------------------------------------------------- row-local stages */

struct ksi_lq_map;
struct ksi_lq_call { /* one push */
    unsigned worker;
    struct ks_arena *arena; /* of the worker, reset at each push */
    const struct ks_lq_rows *in;
    struct ksi_lq_edit edit; /* begun with in; what it holds after apply is handed on */
    const uint64_t *bits;    /* rows the pipe's condition picks; NULL all */
};
enum { KSI_LQ_SCRATCH_MAX = 1 << 30 };
/*
 * What a worker makes of a batch and hands on, charged to the query until the push has returned:
 * the stages behind make more of it meanwhile, and a query of many such stages must not hold many
 * times what it may.
 */
struct ksi_lq_scratch {
    struct ks_arena arena;
    uint64_t charged;
};
void ksi_lq_scratch_init(struct ksi_lq_scratch *s);
void ksi_lq_scratch_done(struct ksi_lq_scratch *s);
/* Before a batch: checks deadline and cancel, and lets the arena take what the query has left. */
KS_NODISCARD ks_err ksi_lq_scratch_begin(struct ksi_lq_scratch *s, struct ks_lq_exec *x);
/* Pushes what the stage made of it to the next one, and forgets it. */
KS_NODISCARD ks_err ksi_lq_scratch_push(struct ksi_lq_scratch *s, struct ks_lq_stage *stage,
                                        unsigned worker, const struct ks_lq_rows *rows);

struct ksi_lq_map {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    struct ks_lq_cond *cond; /* NULL: every row */
    ks_err (*apply)(struct ksi_lq_map *m, struct ksi_lq_call *c);
    void *state; /* made by the pipe; shared by the workers, so constant or atomic */
    void (*state_free)(void *state);
    struct ksi_lq_scratch *scratch; /* one per worker */
};

/* A stage that maps batches; state may be set after. */
KS_NODISCARD ks_err ksi_lq_map_new(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                   struct ks_lq_stage *next,
                                   ks_err (*apply)(struct ksi_lq_map *, struct ksi_lq_call *),
                                   struct ksi_lq_map **ret);

/* The maker of a pipe that is such a stage and has no state. */
#define KSI_LQ_MAP_PIPE(name, apply)                                                               \
    ks_err ks_lq_make_##name(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,                  \
                             struct ks_lq_stage *next, struct ks_lq_stage **ret)                   \
    {                                                                                              \
        struct ksi_lq_map *m;                                                                      \
        KS_TRY(ksi_lq_map_new(x, pipe, next, apply, &m));                                          \
        *ret = &m->head;                                                                           \
        return KS_OK;                                                                              \
    }

/* One value to another; the result is borrowed from in or made in the arena. */
typedef ks_err (*ksi_lq_text_fn)(void *arg, struct ks_arena *arena, struct ks_slice in,
                                 struct ks_slice *ret);
/* Column from through fn into column to, under c->bits. */
KS_NODISCARD ks_err ksi_lq_apply_text(struct ksi_lq_call *c, struct ks_slice from,
                                      struct ks_slice to, ksi_lq_text_fn fn, void *arg);
/* What was written to buf, as a text of the arena. */
KS_NODISCARD ks_err ksi_lq_take(struct ks_arena *arena, struct ks_slice text, struct ks_slice *ret);

#endif
