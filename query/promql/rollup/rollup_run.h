/*
 * Running a planned rollup over the series of a selector: what eval_rollup.c plans, rollup_run.c
 * runs, and eval_cached.c shortens by results kept from before.
 */
#ifndef KS_QUERY_PROMQL_ROLLUP_RUN_H
#define KS_QUERY_PROMQL_ROLLUP_RUN_H

#include "query/promql/exec_priv.h"
#include "query/promql/rollup/rollup.h"

/* A rollup ready to run on one grid. */
struct ksi_plan {
    struct ks_rollup_config cfg;
    const struct ks_expr *arg;        /* what is inside: SELECTOR or any expression */
    const struct ks_expr_rollup *mod; /* window, offset, @; NULL when bare */
    const struct ks_expr *written;    /* the argument as written, for annotations */
    const struct ks_expr *first_arg;
    bool keep_name;
    bool subquery;
    int64_t at_ms;
    bool has_at;
};

/* What a worker needs of its own, kept from morsel to morsel. */
struct ksi_worker {
    struct ks_samples samples;
    struct ks_rollup_scratch scratch;
    double *points;      /* of a series under an aggregate */
    uint32_t *group_acc; /* by group: its place in the morsel + 1; 0 between morsels */
    _Atomic int taken;
};

struct ksi_morsel {
    struct ks_arena arena; /* aggregates only */
    uint32_t *groups;      /* those its series belong to */
    struct ksi_acc *acc;   /* one for each */
    size_t group_count, group_cap, acc_cap;
    ks_err err;
    char text[256];
};

struct ksi_run {
    const struct ksi_ctx *ctx;
    const struct ksi_plan *plan;
    struct ks_source_set *set;
    int64_t min_ms, max_ms;
    size_t series, chunk_size, points;
    bool by_chunks; /* aggregates of chunks may stand for samples */
    struct ksi_morsel *chunks;
    struct ksi_worker *workers;
    size_t worker_count;
    double *out; /* without aggregate: series × points */
    bool *seen;  /* without aggregate, may be NULL: the series has samples in the fetch range */
    const struct ks_expr_aggregate *aggr;
    struct ksi_label_filter filter;
    struct ks_series_groups groups;
    struct ksi_reuse *reuse; /* NULL: nothing is kept of it */
    _Atomic int failed;
};

/* Fills r->out, or the groups of the morsels under an aggregate. */
KS_NODISCARD ks_err ksi_run_all(struct ksi_run *r);
void ksi_run_done(struct ksi_run *r);
/* One series, computed whole; the same from its chunks on any grid. */
KS_NODISCARD ks_err ksi_run_series_plain(struct ksi_run *r, struct ksi_worker *w, size_t i,
                                         double *out);
KS_NODISCARD ks_err ksi_run_series_chunks(struct ksi_run *r, const struct ks_rollup_config *cfg,
                                          struct ksi_worker *w, size_t i, double *out);
/* The groups of all morsels, in order of first appearance, as series of r->points. */
KS_NODISCARD ks_err ksi_run_merge(struct ksi_run *r, struct ksi_vec *ret);

/* --- eval_cached.c --- */
/* Before the select of r, whose plan, fetch range, points and aggregate are set: looks for what was
 * kept, and sets r->reuse if anything may be. */
KS_NODISCARD ks_err ksi_reuse_begin(struct ksi_run *r);
KS_NODISCARD ks_err ksi_reuse_series(struct ksi_run *r, struct ksi_worker *w, size_t i,
                                     double *out);
/* ksi_run_all, ksi_run_merge and ksi_run_done, with what was kept in its place: the whole grid into
 * r->out, or as groups. */
KS_NODISCARD ks_err ksi_run_rows(struct ksi_run *r);
KS_NODISCARD ks_err ksi_run_groups(struct ksi_run *r, struct ksi_vec *ret);

#endif
