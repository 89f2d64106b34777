/* See delete.h: a condition over the store's blocks, as the executor evaluates it. */
#include "query/logsql/delete.h"

#include "query/logsql/exec_priv.h"
#include "query/logsql/source_logs.h"

ks_err ks_lq_delete_check(const struct ks_lq_filter *f)
{
    for (size_t i = 0; i < f->kid_count; i++)
        KS_TRY(ks_lq_delete_check(f->kids[i]));
    if (f->sub)
        return ks_fail(KS_EINVAL, "a filter of deletion may not have subqueries");
    return KS_OK;
}

/* Keeps the bits of rows that go. */
static ks_err pick(void *arg, struct ks_log_block *b, uint64_t *bits)
{
    struct ksi_lq_worker *w = arg;
    ks_arena_reset(&w->arena);
    w->has_stream_col = w->has_id_col = false;
    w->block = (struct ks_lq_block *)b;
    w->view.row_count = ks_log_block_rows(b);
    w->view.selected = bits;
    uint64_t *own = ks_arena_array(&w->arena, KS_ROW_WORDS(w->view.row_count) + 1, sizeof *own);
    if (!own)
        return ks_arena_err(&w->arena);
    memcpy(own, bits, KS_ROW_WORDS(w->view.row_count) * sizeof *own);
    w->view.selected = own;
    ks_err err = ksi_lq_cond_eval_view(w->run->cond, &w->view, bits);
    w->block = NULL; /* the store's, not ours to free */
    return err;
}

ks_err ks_lq_delete(struct ks_log_store *s, const struct ks_tenant *tenant,
                    const struct ks_lq_filter *f, struct ks_read_ctx *ctx, uint64_t *ret_rows)
{
    static const struct ks_lq_query query = {0};
    struct ks_lq_source src = ks_lq_source_logs(s);
    struct ks_lq_request req = {.query = &query, .source = &src};
    struct ksi_lq_run run = {.req = &req};
    struct ksi_lq_worker w;
    const struct ks_lq_filter *rest;
    uint64_t rows = 0;
    bool has_time;
    struct ks_log_scan_opts opts = {.tenants = tenant,
                                    .tenant_count = tenant ? 1 : 0,
                                    .min_ns = INT64_MIN,
                                    .max_ns = INT64_MAX,
                                    .ctx = ctx};
    KS_TRY(ks_lq_delete_check(f));
    run.x.source = &src;
    run.x.query = &query;
    ks_arena_init(&run.arena, KS_BUF_UNLIMITED);
    ks_err err = ksi_lq_split_time(f, &run.arena, &opts.min_ns, &opts.max_ns, &has_time, &rest);
    if (!err)
        err = ksi_lq_cond_make(&run.arena, f, &run.cond);
    if (!err) {
        err = ksi_lq_worker_init(&w, &run, 0);
        if (w.block) {
            src.block_free(w.block);
            w.block = NULL;
        }
        if (!err && opts.min_ns <= opts.max_ns)
            err = ks_log_store_delete(s, &opts, pick, &w, &rows);
        ksi_lq_worker_done(&w);
    }
    ks_lq_cond_done(run.cond);
    ks_arena_done(&run.arena);
    if (!err && ret_rows)
        *ret_rows = rows;
    return err;
}
