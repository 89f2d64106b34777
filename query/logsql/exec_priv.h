/* Between the files of the executor. */
#ifndef KS_QUERY_LOGSQL_EXEC_PRIV_H
#define KS_QUERY_LOGSQL_EXEC_PRIV_H

#include <pthread.h>

#include "query/logsql/filter/cond.h"
#include "query/logsql/plan.h"

/* A running query: x.plan points to it. */
struct ksi_lq_run {
    struct ks_lq_exec x;
    const struct ks_lq_request *req;
    struct ks_lq_counters *counters;
    struct ks_arena arena;
    _Atomic uint64_t memory_used;
    int64_t scan_min_ns, scan_max_ns; /* time_offset applied */
    struct ksi_lq_need need;
    struct ks_lq_cond *cond, *stream_cond;
    struct ks_lq_cond *extra_cond;            /* of the request's extra alone: for stream_context */
    const struct ks_lq_filter *global_filter; /* of options, also for subqueries */
    struct ks_lq_stage **stages;              /* of the pipes, then newest, then the gate */
    size_t stage_count;
    struct ksi_lq_newest *newest; /* NULL: none */
    bool newest_early; /* no pipe before it drops rows: a block need only read its newest */
    bool chooses;      /* the first stage chooses rows by the columns of choose_need */
    struct ksi_lq_need choose_need;
    bool oldest_first; /* blocks are read in the order that serves the first stage */
    /* the scan */
    void *scan;
    size_t block_count;
    atomic_size_t next_block;
    atomic_bool failed, exhausted; /* exhausted: no block is worth reading any more */
    pthread_mutex_t lock;
    ks_err err;
    char err_text[512];
};

static inline struct ksi_lq_run *ksi_lq_run_of(const struct ks_lq_exec *x)
{
    return (struct ksi_lq_run *)(uintptr_t)x->plan;
}

/* --- block.c --- */
struct ksi_lq_worker {
    struct ksi_lq_run *run;
    unsigned number;
    struct ks_lq_block *block;
    struct ks_arena arena;
    struct ksi_lq_view view;
    struct ks_lq_col stream_col, id_col;
    bool has_stream_col, has_id_col;
};
KS_NODISCARD ks_err ksi_lq_worker_init(struct ksi_lq_worker *w, struct ksi_lq_run *run,
                                       unsigned number);
void ksi_lq_worker_done(struct ksi_lq_worker *w);
/* Filters one block and pushes what is left into the first stage. */
KS_NODISCARD ks_err ksi_lq_scan_block(struct ksi_lq_worker *w, void *scan, size_t i);
/* The block's columns of `need`, of the rows in bits (all of cond's), dense. */
KS_NODISCARD ks_err ksi_lq_block_rows(struct ksi_lq_worker *w, const struct ksi_lq_need *need,
                                      const uint64_t *bits, struct ks_lq_rows *ret);

/* --- newest.c --- */
KS_NODISCARD ks_err ksi_lq_newest_new(struct ks_lq_exec *x, uint64_t limit, uint64_t offset,
                                      struct ks_lq_stage *next, struct ks_lq_stage **ret);
/* Rows older than this will not be among the result. */
int64_t ksi_lq_newest_threshold(struct ksi_lq_newest *n);
/* Clears the bits of a block's rows that cannot be among the newest. */
KS_NODISCARD ks_err ksi_lq_newest_prune(struct ksi_lq_newest *n, const int64_t *times_ns,
                                        uint32_t rows, struct ks_arena *scratch, uint64_t *bits);

#endif
