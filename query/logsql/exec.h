/*
 * The runtime of LogsQL: batches of rows pushed through a chain of stages, one stage per pipe.
 *
 *   scan workers ──push──▶ stage of pipe 1 ──push──▶ stage of pipe 2 … ──push──▶ the caller's sink
 *
 * Who does what: exec.c plans, scans and drives the chain; pipes.c makes a stage from a pipe
 * (ks_lq_pipe_stage); cond.h evaluates filters over batches for `filter`, `if (…)` and the like.
 *
 * Threads: push() is called by several workers at once, each with its own worker number below
 * x->worker_count; a stage keeps per-worker state (and merges it in finish) or locks. finish() is
 * called once, by one thread, after the last push; what it pushes on goes with worker 0. free() is
 * called once, also when neither was called.
 *
 * Lifetimes: a batch and all it points to are borrowed for the push. What a stage keeps it copies
 * and charges to the query (ks_lq_charge). What a stage hands on must live until its push returned:
 * a stage has one scratch arena per worker, reset at each push.
 */
#ifndef KS_QUERY_LOGSQL_EXEC_H
#define KS_QUERY_LOGSQL_EXEC_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "query/logsql/source.h"
#include "query/logsql/syntax/ast.h"

/* ---------------------------------------------------------------- rows */

enum ks_lq_col_kind {
    KS_LQ_CONST,  /* values[0] in every row */
    KS_LQ_DICT,   /* values[codes[row]]; values may repeat */
    KS_LQ_VALUES, /* values[row] */
    KS_LQ_TIMES   /* times_ns[row]: its text is RFC 3339 in UTC (ks_lq_time_format) */
};

struct ks_lq_col {
    struct ks_slice name;
    enum ks_lq_col_kind kind;
    uint32_t value_count; /* of values[] */
    const struct ks_slice *values;
    const uint32_t *codes;
    const int64_t *times_ns;
};

/*
 * A batch. Names are unique; "" as a value is the same as no such column. row_count ≥ 1; there may
 * be rows without columns. Column order matters only for output, after a pipe that defines it.
 */
struct ks_lq_rows {
    uint32_t row_count, col_count;
    const struct ks_lq_col *cols;
};

#define KS_LQ_TIME_TEXT_MAX 40

/* NULL: no such column. */
const struct ks_lq_col *ks_lq_rows_col(const struct ks_lq_rows *rows, struct ks_slice name);
/* The text of one value; tmp is used by KS_LQ_TIMES. col NULL gives "". */
struct ks_slice ks_lq_col_text(const struct ks_lq_col *col, uint32_t row,
                               char tmp[KS_LQ_TIME_TEXT_MAX]);
/* The column with kind CONST, DICT or VALUES; texts of times are made in the arena. */
KS_NODISCARD ks_err ks_lq_col_textual(const struct ks_lq_col *col, uint32_t row_count,
                                      struct ks_arena *arena, struct ks_lq_col *ret);
/* The rows whose bit is 1, densely; columns share the values of the old ones. *ret may alias. */
KS_NODISCARD ks_err ks_lq_rows_compact(const struct ks_lq_rows *rows, const uint64_t *bits,
                                       struct ks_arena *arena, struct ks_lq_rows *ret);
/* Rows [first, first + count). */
KS_NODISCARD ks_err ks_lq_rows_slice(const struct ks_lq_rows *rows, uint32_t first, uint32_t count,
                                     struct ks_arena *arena, struct ks_lq_rows *ret);
/* A deep copy in the arena. */
KS_NODISCARD ks_err ks_lq_rows_copy(const struct ks_lq_rows *rows, struct ks_arena *arena,
                                    struct ks_lq_rows *ret);

/* ---------------------------------------------------------------- stages */

struct ks_lq_exec;
struct ks_lq_stage;

struct ks_lq_stage_ops {
    const char *name;
    ks_err (*push)(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows);
    /* NULL: nothing is held back. */
    ks_err (*finish)(struct ks_lq_stage *s);
    void (*free)(struct ks_lq_stage *s);
    /* It hands on what it gets, batch by batch: when the next stage is done, so is this one. A
     * stage with state (stats, sort) is not. */
    bool row_local;
    /*
     * What a stage directly behind the source can say before a block's columns are read; each may
     * be NULL. wants: false when it has no use for that column any more. choose_by: the columns by
     * which it can tell rows it will never hand on; choose: clears their bits (rows: of those
     * columns alone). time_bar: rows older (oldest: newer) than *ret_ns are of no use to that
     * worker. count_name: instead of rows it takes, per block and field, how many rows have it.
     */
    bool (*wants)(struct ks_lq_stage *s, unsigned worker, struct ks_slice name);
    bool (*choose_by)(struct ks_lq_stage *s, struct ks_arena *arena, struct ks_lq_names *ret);
    ks_err (*choose)(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows,
                     uint64_t *bits);
    bool (*time_bar)(struct ks_lq_stage *s, unsigned worker, bool *ret_oldest, int64_t *ret_ns);
    ks_err (*count_name)(struct ks_lq_stage *s, unsigned worker, struct ks_slice name,
                         uint64_t rows);
};

/* The head of every stage: embed it first. */
struct ks_lq_stage {
    const struct ks_lq_stage_ops *ops;
    struct ks_lq_exec *x;
    struct ks_lq_stage *next; /* NULL for the sink */
    atomic_bool done;         /* set by itself when it needs no more rows: pushes may stop */
};

/* Hands a batch on; does nothing when the stage is done or the batch is empty. */
KS_NODISCARD static inline ks_err ks_lq_push(struct ks_lq_stage *s, unsigned worker,
                                             const struct ks_lq_rows *rows)
{
    if (rows->row_count == 0 || atomic_load_explicit(&s->done, memory_order_relaxed))
        return KS_OK;
    return s->ops->push(s, worker, rows);
}
/* Whether pushing into s is of no use any more. */
bool ks_lq_stage_done(const struct ks_lq_stage *s);

/* The stage of a pipe, in front of next (pipes/pipes.c). Subqueries in conditions have been
 * replaced by their values before. */
KS_NODISCARD ks_err ks_lq_pipe_stage(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                     struct ks_lq_stage *next, struct ks_lq_stage **ret);
/* One maker per pipe: in pipes/, in files named for their families; those that know of the source
 * or of the query in exec_pipes.c and context.c. */
#define X(name, ID)                                                                                \
    ks_err ks_lq_make_##name(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,                  \
                             struct ks_lq_stage *next, struct ks_lq_stage **ret);
KS_LQ_PIPE_TABLE(X)
#undef X

/* ---------------------------------------------------------------- the query's context */

struct ks_lq_counters { /* what query_stats and the slow query log show */
    _Atomic uint64_t blocks, rows_scanned, rows_found, bytes_scanned;
};

struct ks_lq_exec {
    const struct ks_lq_query *query;
    const struct ks_lq_source *source;
    const struct ks_tenant *tenants;
    size_t tenant_count;
    int64_t min_ns, max_ns; /* inclusive: start, end of the request and the filter's own */
    int64_t now_ns;
    unsigned worker_count;
    struct ks_pool *pool;          /* NULL: one worker */
    struct ks_read_ctx *ctx;       /* deadline, cancel; NULL none */
    struct ks_arena *arena;        /* lives as long as the query; not for workers: one thread, while
                                      stages are made and in finish */
    uint64_t memory_max;           /* 0 = none */
    _Atomic uint64_t *memory_used; /* shared with subqueries */
    struct ks_lq_counters *counters;
    int64_t started_mono_us;
    unsigned depth;   /* of subqueries */
    const void *plan; /* exec.c's own */
};

/*
 * Adds to what the query holds; KS_ELIMIT with a text that names the flag when it is over the cap.
 * Meant for growth of state by the kilobyte, not per value: keep a running total in the stage and
 * charge differences of 16 KiB and more.
 */
KS_NODISCARD ks_err ks_lq_charge(struct ks_lq_exec *x, uint64_t bytes);
/* What may still be charged; UINT64_MAX without a limit. */
uint64_t ks_lq_memory_left(const struct ks_lq_exec *x);
void ks_lq_uncharge(struct ks_lq_exec *x, uint64_t bytes);

/* KS_ETIMEDOUT, KS_ECANCELED or KS_OK: call it in loops, every 1000 rows or so. */
KS_NODISCARD ks_err ks_lq_check(struct ks_lq_exec *x);

/*
 * Runs a subquery of join or union with the tenants and the time range of x and pushes its rows to
 * sink (one worker, number 0; sink->finish is not called). To be called while a stage is made
 * (join) or in its finish (union).
 */
KS_NODISCARD ks_err ks_lq_exec_sub(struct ks_lq_exec *x, const struct ks_lq_query *sub,
                                   struct ks_lq_stage *sink);

/* ---------------------------------------------------------------- conditions */

struct ks_lq_cond; /* a filter made ready for batches; immutable, any thread */

/* `if (…)` and `filter …`; f NULL is every row. Allocated in the query's arena; nothing to free
 * but by ks_lq_cond_done, which takes NULL. */
KS_NODISCARD ks_err ks_lq_cond_new(struct ks_lq_exec *x, const struct ks_lq_filter *f,
                                   struct ks_lq_cond **ret);
void ks_lq_cond_done(struct ks_lq_cond *c);
/* Clears the bits of rows that do not match (bits above row_count stay 0). scratch: for texts. */
KS_NODISCARD ks_err ks_lq_cond_eval(const struct ks_lq_cond *c, const struct ks_lq_rows *rows,
                                    struct ks_arena *scratch, uint64_t *bits);

static inline void ks_lq_bits_fill(uint64_t *bits, uint32_t rows)
{
    for (uint32_t i = 0; i < rows / 64; i++)
        bits[i] = ~0ull;
    if (rows % 64)
        bits[rows / 64] = (1ull << (rows % 64)) - 1;
}
static inline bool ks_lq_bit(const uint64_t *bits, uint32_t row)
{
    return bits[row / 64] >> (row % 64) & 1;
}

/* ---------------------------------------------------------------- running a query */

struct ks_lq_request {
    const struct ks_lq_query *query;
    const struct ks_lq_source *source;
    const struct ks_tenant *tenants;
    size_t tenant_count;
    int64_t min_ns, max_ns; /* inclusive; what start and end of the request allow */
    struct ks_pool *pool;
    unsigned workers;        /* 0 = threads of the pool + 1 */
    struct ks_read_ctx *ctx; /* may be NULL */
    uint64_t memory_max;     /* 0 = none */
    /* Holds for every row read on behalf of the query, also by its subqueries and stream_context:
     * what an access proxy imposes. NULL: none. */
    const struct ks_lq_filter *extra;
    /* Fields nobody may see nor ask for: `hidden_fields_filters`. */
    struct ks_lq_fields hidden;
    /*
     * Not 0, and the pipes hand rows on one by one (ks_lq_can_newest): the newest `newest` rows
     * after the first `newest_offset`, newest first; blocks older than those are not read.
     */
    uint64_t newest, newest_offset;
    struct ks_lq_exec *parent; /* of a subquery; set by ks_lq_exec_sub */
};

bool ks_lq_can_newest(const struct ks_lq_query *q);
/* The range of time the query reads at most; ret_has_filter: it has a _time filter itself. */
KS_NODISCARD ks_err ks_lq_time_range(const struct ks_lq_query *q, struct ks_arena *arena,
                                     int64_t *io_min_ns, int64_t *io_max_ns, bool *ret_has_filter);

/*
 * Runs the query and pushes its rows into sink, then calls sink->finish (when it has one). Sink's
 * push is called by one thread at a time (the executor locks), sink->free never. Errors: those of
 * the stages, of the source, KS_ELIMIT memory, KS_ETIMEDOUT, KS_ECANCELED.
 */
KS_NODISCARD ks_err ks_lq_run(const struct ks_lq_request *req, struct ks_lq_stage *sink,
                              struct ks_lq_counters *counters);

#endif
