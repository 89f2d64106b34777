/*
 * Running one query: limits, parsing, the grid in effect, evaluation, and the result in the
 * caller's arena.
 *
 * The series sets a query selected stay pinned until it ends, so labels are borrowed from them all
 * the way and copied only for the series that are answered.
 */
#include "query/promql/exec_priv.h"
#include "query/promql/syntax/parser.h"
#include "sys/clock.h"

/* More points than this and the range is aligned to its step, so that neighbours in time share
 * results. */
enum { ALIGN_MIN_POINTS = 50, ADJUST_MAX_STEP_MS = 60000 };

static void query_init(struct ksi_query *q, const struct ks_query_source *src,
                       const struct ks_promql_request *req, struct ks_arena *arena)
{
    const struct ks_promql_limits *l = &req->limits;
    *q = (struct ksi_query){
        .req = req, .src = src, .arena = arena, .strict = req->dialect == KS_PROMQL_STRICT};
    q->max_points = l->max_points_per_series ? l->max_points_per_series : 30000;
    q->max_subquery_points = l->max_subquery_points ? l->max_subquery_points : 100000;
    q->max_memory_bytes = l->max_memory_bytes ? l->max_memory_bytes : (size_t)1 << 30;
    q->max_series = l->max_series ? l->max_series : q->max_memory_bytes / KS_SERIES_COST_BYTES;
    q->read.deadline_mono_ms = req->deadline_mono_ms;
    q->read.cancel = req->cancel;
    q->read.max_series = q->max_series;
    q->read.max_bytes = q->max_memory_bytes;
    q->read.max_samples = l->max_samples ? l->max_samples : 1000000000;
    if (arena->cap_bytes > q->max_memory_bytes)
        arena->cap_bytes = q->max_memory_bytes;
}

static void query_done(struct ksi_query *q)
{
    for (struct ksi_pinned *p = q->pinned; p; p = p->next)
        q->src->set_free(p->set);
    q->pinned = NULL;
    ksi_reuse_done(q);
}

/* --- the grid --- */
static void align_range(int64_t *start, int64_t *end, int64_t step)
{
    int64_t points = (*end - *start) / step + 1;
    if (points < ALIGN_MIN_POINTS)
        return;
    *start -= *start % step;
    int64_t rest = *end % step;
    if (rest > 0)
        *end += step - rest;
    while ((*end - *start) / step + 1 > points)
        *end -= step;
}

/* The youngest points may still be incomplete: they repeat the value before. */
static void hold_last_points(const struct ksi_ctx *ctx, struct ksi_vec *v, int64_t from_ms,
                             int64_t to_ms)
{
    for (size_t s = 0; s < v->count; s++) {
        double *x = v->items[s].values;
        size_t i = ctx->points;
        if (ksi_time(ctx, i - 1) > to_ms)
            continue;
        while (i > 0 && ksi_time(ctx, i - 1) > from_ms)
            i--;
        double last = i ? x[i - 1] : NAN;
        for (; i < ctx->points; i++)
            x[i] = last;
    }
}

/* --- the result --- */
static bool may_sort(const struct ksi_query *q, const struct ks_expr *e)
{
    e = ksi_strip(e);
    if (e->kind == KS_EXPR_BINARY)
        return e->binary.op != KS_OP_OR;
    enum ks_promql_func_id id = e->kind == KS_EXPR_CALL        ? e->call.func->id
                                : e->kind == KS_EXPR_AGGREGATE ? e->aggregate.func->id
                                                               : KS_FN_COUNT;
    switch (id) {
    case KS_FN_SORT:
    case KS_FN_SORT_DESC:
    case KS_FN_LIMIT_OFFSET:
    case KS_FN_SORT_BY_LABEL:
    case KS_FN_SORT_BY_LABEL_DESC:
    case KS_FN_SORT_BY_LABEL_NUMERIC:
    case KS_FN_SORT_BY_LABEL_NUMERIC_DESC:
    case KS_FN_AGGR_TOPK:
    case KS_FN_AGGR_BOTTOMK:
    case KS_FN_AGGR_OUTLIERSK:
    case KS_FN_AGGR_TOPK_MAX:
    case KS_FN_AGGR_TOPK_MIN:
    case KS_FN_AGGR_TOPK_AVG:
    case KS_FN_AGGR_TOPK_MEDIAN:
    case KS_FN_AGGR_TOPK_LAST:
    case KS_FN_AGGR_BOTTOMK_MAX:
    case KS_FN_AGGR_BOTTOMK_MIN:
    case KS_FN_AGGR_BOTTOMK_AVG:
    case KS_FN_AGGR_BOTTOMK_MEDIAN:
    case KS_FN_AGGR_BOTTOMK_LAST:
        return false;
    default:
        return true;
    }
}

static double round_digits(double v, int digits)
{
    if (digits >= 100 || digits <= -100 || !isfinite(v))
        return v;
    double m = pow(10, digits), r = round(v * m) / m;
    return isfinite(r) ? r : v;
}

/* sorted: the same labels are neighbours. */
static ks_err check_duplicates(struct ksi_query *q, const struct ksi_vec *v, bool sorted)
{
    struct ksi_map seen = {0};
    for (size_t i = 0; i < v->count; i++) {
        size_t at;
        bool added = !i || !ks_slice_eq(v->items[i - 1].labels, v->items[i].labels);
        if (!sorted)
            KS_TRY(ksi_map_put(q->arena, &seen, v->items[i].labels, false, &at, &added));
        if (!added) {
            struct ks_slice text = ksi_labels_text(q, v->items[i].labels, true);
            return q->strict
                       ? ks_fail(KS_EEXEC, "vector cannot contain metrics with the same labelset")
                       : ks_fail(KS_EEXEC, "duplicate output timeseries: %.*s", KS_SLICE_ARG(text));
        }
    }
    return KS_OK;
}

static ks_err emit(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *v,
                   struct ks_promql_result *ret)
{
    struct ksi_query *q = ctx->q;
    ksi_vec_drop_empty(ctx, v);
    if (q->strict)
        KS_TRY(ksi_strict_finish(ctx, v));
    bool matrix = q->strict && ret->type == KS_VALUE_MATRIX,
         sorted = matrix || (!q->strict && may_sort(q, e));
    if (sorted)
        KS_TRY(ksi_vec_sort(q, v, matrix ? ksi_cmp_labels : ksi_cmp_name, NULL));
    if (v->count > 1)
        KS_TRY(check_duplicates(q, v, sorted));
    ret->series = ks_arena_array(q->arena, v->count + 1, sizeof *ret->series);
    if (!ret->series)
        return ks_arena_err(q->arena);
    int digits = q->strict ? 100 : q->req->round_digits;
    for (size_t i = 0; i < v->count; i++) {
        double *x = v->items[i].values;
        struct ks_slice labels = ks_arena_dup(q->arena, v->items[i].labels);
        if (!labels.ptr)
            return ks_arena_err(q->arena);
        for (size_t k = 0; k < ctx->points; k++)
            x[k] = ksi_is_absent(q, x[k]) ? ksi_absent()
                   : digits < 100         ? round_digits(x[k], digits)
                                          : x[k];
        ret->series[i] =
            (struct ks_promql_series){labels, v->items[i].tenant, NULL, x, ctx->points};
    }
    ret->series_count = v->count;
    return KS_OK;
}

/* --- the kinds of query --- */
static ks_err run_grid(struct ksi_query *q, const struct ks_expr *e, int64_t start, int64_t end,
                       int64_t step, bool hold, struct ks_promql_result *ret)
{
    struct ksi_ctx ctx;
    struct ksi_vec v;
    KS_TRY(ksi_ctx_make(q, start, end, step, q->max_points, &ctx));
    KS_TRY(ksi_eval(&ctx, e, &v));
    const struct ks_promql_request *req = q->req;
    int64_t held_from = req->now_ms - req->latency_offset_ms;
    if (hold && req->latency_offset_ms > 0 && step < ADJUST_MAX_STEP_MS && held_from < end)
        hold_last_points(&ctx, &v, held_from, req->now_ms + step);
    KS_TRY(emit(&ctx, e, &v, ret));
    ret->start_ms = start;
    ret->end_ms = end;
    ret->step_ms = step;
    return KS_OK;
}

static ks_err run_range(struct ksi_query *q, const struct ks_expr *e, int64_t start, int64_t end,
                        int64_t step, struct ks_promql_result *ret)
{
    ret->type = KS_VALUE_MATRIX;
    if (!q->strict && !q->req->no_cache)
        align_range(&start, &end, step);
    return run_grid(q, e, start, end, step, !q->strict && !q->req->no_cache, ret);
}

static ks_err run_strict_subquery(struct ksi_query *q, const struct ks_expr *e,
                                  struct ks_promql_result *ret)
{
    struct ksi_ctx ctx, grid;
    struct ksi_vec v;
    KS_TRY(
        ksi_ctx_make(q, q->req->start_ms, q->req->start_ms, q->req->step_ms, q->max_points, &ctx));
    KS_TRY(ksi_eval_subquery(&ctx, ksi_strip(e), &grid, &v));
    ret->type = KS_VALUE_MATRIX;
    KS_TRY(emit(&grid, e, &v, ret));
    ret->start_ms = grid.start_ms;
    ret->end_ms = grid.end_ms;
    ret->step_ms = grid.step_ms;
    return KS_OK;
}

/* expr[5m:1m] asked for at an instant is a range query over its window. */
static ks_err run_instant_subquery(struct ksi_query *q, const struct ks_expr *e,
                                   struct ks_promql_result *ret)
{
    const struct ks_expr_rollup *r = &ksi_strip(e)->rollup;
    int64_t step = 0, window, offset, step0 = q->req->step_ms;
    KS_TRY(ks_duration_resolve(&r->step, step0, false, &step));
    if (step <= 0)
        step = step0;
    KS_TRY(ks_duration_resolve(&r->window, step, false, &window));
    KS_TRY(ks_duration_resolve(&r->offset, step, false, &offset));
    int64_t end = q->req->start_ms - offset;
    if (window < 0)
        return ks_fail(KS_EEXEC, "unexpected negative window: %lldms", (long long)window);
    return run_range(q, r->expr, end - window, end, step, ret);
}

static ks_err run_instant(struct ksi_query *q, const struct ks_expr *e,
                          struct ks_promql_result *ret)
{
    const struct ks_promql_request *req = q->req;
    int64_t at = req->start_ms, offset = req->latency_offset_ms;
    if (ksi_is_raw(q, e)) {
        struct ksi_ctx ctx;
        KS_TRY(ksi_ctx_make(q, at, at, req->step_ms, q->max_points, &ctx));
        return ksi_eval_raw(&ctx, e, ret);
    }
    const struct ks_expr *in = ksi_strip(e);
    if (in->kind == KS_EXPR_ROLLUP && in->rollup.window.set)
        return q->strict ? run_strict_subquery(q, e, ret) : run_instant_subquery(q, e, ret);
    if (!q->strict && !req->no_cache && offset > 0 && req->now_ms - at < offset &&
        at - req->now_ms < offset)
        at = req->now_ms - offset;
    ret->type = KS_VALUE_VECTOR;
    KS_TRY(run_grid(q, e, at, at, req->step_ms, false, ret));
    ret->start_ms = ret->end_ms = req->start_ms;
    return KS_OK;
}

static ks_err run_parsed(struct ksi_query *q, const struct ks_expr *e, struct ks_promql_result *ret)
{
    if (q->strict && q->req->range && e->type != KS_TYPE_SCALAR && e->type != KS_TYPE_VECTOR)
        return ks_fail(
            KS_EPARSE,
            "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
            e->type == KS_TYPE_MATRIX ? "range vector" : "string");
    if (q->strict && e->type == KS_TYPE_STRING && ksi_strip(e)->kind == KS_EXPR_STRING) {
        ret->type = KS_VALUE_STRING;
        ret->text = ks_arena_dup(q->arena, ksi_strip(e)->string);
        ret->start_ms = ret->end_ms = q->req->start_ms;
        return ret->text.ptr ? KS_OK : ks_arena_err(q->arena);
    }
    if (q->req->range)
        KS_TRY(run_range(q, e, q->req->start_ms, q->req->end_ms, q->req->step_ms, ret));
    else
        KS_TRY(run_instant(q, e, ret));
    if (q->strict && !q->req->range && e->type == KS_TYPE_SCALAR)
        ret->type = KS_VALUE_SCALAR;
    return KS_OK;
}

static ks_err check_request(const struct ks_promql_request *req)
{
    const int64_t limit = (int64_t)1 << 55; /* far beyond any calendar, far from overflow */
    if (req->step_ms <= 0)
        return ks_fail(KS_EINVAL, "step must be bigger than zero");
    if (req->step_ms > limit || req->start_ms > limit || req->start_ms < -limit ||
        req->end_ms > limit || req->end_ms < -limit)
        return ks_fail(KS_EINVAL, "start, end or step is out of range");
    return KS_OK;
}

ks_err ks_promql_exec_source(const struct ks_query_source *src, const struct ks_promql_request *req,
                             struct ks_arena *arena, struct ks_promql_result *ret)
{
    struct ksi_query q;
    struct ks_expr *e;
    struct ks_promql_result out = {0};
    struct ks_promql_parse_opts opts = {.dialect = req->dialect,
                                        .max_len = req->limits.max_query_len,
                                        .experimental_functions = req->experimental_functions,
                                        .duration_expressions = req->duration_expressions};
    KS_TRY(check_request(req));
    size_t cap = arena->cap_bytes;
    query_init(&q, src, req, arena);
    struct ks_promql_trace *top = ksi_trace_begin(&q, "query"), *t = ksi_trace_begin(&q, "parse");
    ks_err err = ks_promql_parse(req->query, &opts, arena, &e);
    ksi_trace_end(&q, t, "%zu bytes", req->query.len);
    if (err == KS_OK)
        err = run_parsed(&q, e, &out);
    ksi_trace_end(&q, top, "series=%zu", out.series_count);
    if (err == KS_OK)
        err = ksi_annotations_close(&q, &q.warnings, "warning");
    if (err == KS_OK)
        err = ksi_annotations_close(&q, &q.infos, "info");
    query_done(&q);
    arena->cap_bytes = cap;
    KS_TRY(err);
    out.trace = top;
    out.series_fetched = q.series_fetched;
    out.samples_read = atomic_load(&q.read.samples_read);
    out.warnings = q.warnings.items;
    out.warning_count = q.warnings.count;
    out.infos = q.infos.items;
    out.info_count = q.infos.count;
    out.histograms = q.hists;
    out.histogram_count = q.hist_count;
    *ret = out;
    return KS_OK;
}

/* --- texts --- */
ks_err ks_promql_parse_selector(struct ks_slice text, struct ks_arena *arena,
                                struct ks_selector **ret, size_t *ret_count)
{
    struct ks_promql_parse_opts opts = {.dialect = KS_METRICSQL};
    struct ks_expr *e;
    struct ks_slice copy = ks_arena_dup(arena, text);
    if (!copy.ptr)
        return ks_arena_err(arena);
    KS_TRY(ks_promql_parse(copy, &opts, arena, &e));
    const struct ks_expr *s = ksi_strip(e);
    if (s->kind != KS_EXPR_SELECTOR)
        return ks_fail(KS_EPARSE, "expecting a series selector like foo{bar=\"baz\"}; got \"%.*s\"",
                       KS_SLICE_ARG(text));
    *ret = s->selector.or_lists;
    *ret_count = s->selector.or_count;
    return KS_OK;
}
