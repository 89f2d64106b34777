/* Walks the syntax tree: one function per kind of node. The tree's height is bounded by the parser.
 */
#include "query/promql/exec_priv.h"

ks_err ksi_ctx_make(struct ksi_query *q, int64_t start_ms, int64_t end_ms, int64_t step_ms,
                    uint64_t max_points, struct ksi_ctx *ret)
{
    KS_ASSERT(step_ms > 0);
    if (end_ms < start_ms)
        end_ms = start_ms;
    uint64_t points = (uint64_t)(end_ms - start_ms) / (uint64_t)step_ms + 1;
    if (points > max_points)
        return ks_fail(KS_ELIMIT,
                       "too many points for the given start=%lld, end=%lld and step=%lld: %llu; "
                       "the maximum number of "
                       "points is %llu; increase step or -search.%s",
                       (long long)start_ms, (long long)end_ms, (long long)step_ms,
                       (unsigned long long)points, (unsigned long long)max_points,
                       max_points == q->max_subquery_points ? "maxPointsSubqueryPerTimeseries"
                                                            : "maxPointsPerTimeseries");
    *ret = (struct ksi_ctx){.q = q,
                            .start_ms = start_ms,
                            .end_ms = end_ms,
                            .step_ms = step_ms,
                            .points = (size_t)points,
                            .max_points = max_points};
    return KS_OK;
}

const struct ks_expr *ksi_strip(const struct ks_expr *e)
{
    while (e->kind == KS_EXPR_PARENS && e->parens.count == 1)
        e = e->parens.items[0];
    return e;
}

bool ksi_is_union(const struct ks_expr *e)
{
    e = ksi_strip(e);
    return e->kind == KS_EXPR_PARENS ||
           (e->kind == KS_EXPR_CALL && e->call.func->id == KS_FN_UNION);
}

ks_err ksi_arg_scalar(const struct ksi_vec *v, size_t arg, const double **ret)
{
    if (v->count != 1)
        return ks_fail(KS_EEXEC, "arg #%zu must contain a single timeseries; got %zu timeseries",
                       arg + 1, v->count);
    *ret = v->items[0].values;
    return KS_OK;
}

ks_err ksi_arg_string(const struct ksi_ctx *ctx, const struct ksi_vec *v, size_t arg,
                      struct ks_slice *ret)
{
    if (v->count != 1)
        return ks_fail(KS_EEXEC, "arg #%zu must contain a single timeseries; got %zu timeseries",
                       arg + 1, v->count);
    if (!ksi_series_empty(ctx, &v->items[0]))
        return ks_fail(KS_EEXEC, "arg #%zu contains non-string timeseries", arg + 1);
    *ret = ks_labels_get(v->items[0].labels, KS_NAME_LABEL);
    return KS_OK;
}

ks_err ksi_arg_int(const struct ksi_vec *v, size_t arg, int64_t *ret)
{
    const double *s;
    KS_TRY(ksi_arg_scalar(v, arg, &s));
    double d = s[0];
    *ret = isnan(d) ? 0 : d >= 9.2e18 ? INT64_MAX : d <= -9.2e18 ? INT64_MIN : (int64_t)d;
    return KS_OK;
}

ks_err ksi_want_args(size_t got, size_t want)
{
    return got == want
               ? KS_OK
               : ks_fail(KS_EEXEC, "unexpected number of args; got %zu; want %zu", got, want);
}

static ks_err eval_number(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    return ksi_vec_number(ctx, e->number.value + e->number.steps * (double)ctx->step_ms / 1e3, ret);
}

static ks_err eval_unary(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    KS_TRY(ksi_eval(ctx, e->unary.expr, ret));
    if (!e->unary.negative)
        return KS_OK;
    for (size_t i = 0; i < ret->count; i++) {
        KS_TRY(ksi_drop_metric(ctx->q, &ret->items[i]));
        double *v = ret->items[i].values;
        for (size_t k = 0; k < ctx->points; k++)
            if (ksi_hist(ctx->q, v[k]))
                KS_TRY(ksi_hist_scale(ctx->q, v[k], -1, false, &v[k]));
            else if (!ksi_is_absent(ctx->q, v[k]))
                v[k] = ctx->q->strict ? -v[k] : 0 - v[k];
    }
    return ctx->q->strict ? ksi_check_labelsets(ctx, ret) : KS_OK;
}

/* Series of all arguments, of equal labels the first; plain scalars are all kept, for q == (1, 2,
 * 3). */
static ks_err eval_union(const struct ksi_ctx *ctx, struct ks_expr *const *items, size_t count,
                         struct ksi_vec *ret)
{
    *ret = (struct ksi_vec){0};
    if (!count)
        return ksi_vec_number(ctx, ksi_absent(), ret);
    struct ksi_vec all = {0};
    bool scalars = true;
    for (size_t i = 0; i < count; i++) {
        struct ksi_vec v;
        KS_TRY(ksi_eval(ctx, items[i], &v));
        scalars = scalars && ksi_vec_is_scalar(&v);
        KS_TRY(ksi_vec_append(ctx->q, &all, &v));
    }
    *ret = all;
    if (scalars)
        return KS_OK;
    struct ksi_map seen = {0};
    ret->count = 0;
    for (size_t i = 0; i < all.count; i++) {
        size_t at;
        bool added;
        KS_TRY(ksi_map_put(ctx->q->arena, &seen, all.items[i].labels, false, &at, &added));
        if (added)
            ret->items[ret->count++] = all.items[i];
    }
    return KS_OK;
}

/* Filters found by a join go through nodes that only change values of series one by one. */
static bool passes_filters(const struct ks_expr_call *c)
{
    if (c->func->kind == KS_FUNC_ROLLUP) {
        switch (c->func->id) {
        case KS_FN_ABSENT_OVER_TIME:
        case KS_FN_COUNT_VALUES_OVER_TIME:
        case KS_FN_QUANTILES_OVER_TIME:
        case KS_FN_HISTOGRAM_OVER_TIME:
        case KS_FN_AGGR_OVER_TIME:
            return false;
        default:
            return c->func->id < KS_FN_ROLLUP || c->func->id > KS_FN_ROLLUP_SCRAPE_INTERVAL;
        }
    }
    switch (c->func->id) {
    case KS_FN_ABS:
    case KS_FN_CEIL:
    case KS_FN_FLOOR:
    case KS_FN_ROUND:
    case KS_FN_CLAMP:
    case KS_FN_CLAMP_MIN:
    case KS_FN_CLAMP_MAX:
    case KS_FN_LN:
    case KS_FN_LOG2:
    case KS_FN_LOG10:
    case KS_FN_EXP:
    case KS_FN_SQRT:
    case KS_FN_SGN:
    case KS_FN_SORT:
    case KS_FN_SORT_DESC:
        return true;
    default:
        return false;
    }
}

ks_err ksi_eval_transform(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    static const ksi_transform_fn families[] = {
        ksi_transform_math,         ksi_transform_source,    ksi_transform_label,
        ksi_transform_label_filter, ksi_transform_histogram, ksi_transform_range,
        ksi_transform_sort,
    };
    struct ksi_call c = {.ctx = ctx, .call = &e->call, .arg_count = e->call.arg_count};
    if (c.call->func->id == KS_FN_UNION)
        return eval_union(ctx, e->call.args, e->call.arg_count, ret);
    c.args = ks_arena_array(ctx->q->arena, c.arg_count + 1, sizeof *c.args);
    if (!c.args)
        return ks_arena_err(ctx->q->arena);
    size_t evaluated =
        c.call->func->id == KS_FN_INFO ? 1 : c.arg_count; /* info's second argument is a pattern */
    for (size_t i = 0; i < evaluated; i++)
        KS_TRY(ksi_eval(ctx, e->call.args[i], &c.args[i]));
    if (ctx->q->strict) {
        bool mine = true;
        KS_TRY(ksi_transform_strict(&c, ret, &mine));
        if (mine)
            return KS_OK;
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        bool mine = true;
        KS_TRY(families[i](&c, ret, &mine));
        if (mine)
            return KS_OK;
    }
    return ks_fail(KS_EEXEC, "unknown func \"%s\"", c.call->func->name);
}

static ks_err eval_node(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    KS_TRY(ks_read_ctx_check(&ctx->q->read));
    *ret = (struct ksi_vec){0};
    struct ksi_ctx plain = *ctx; /* without join filters, for the nodes they must not cross */
    plain.push_count = 0;
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        return eval_number(ctx, e, ret);
    case KS_EXPR_STRING:
        return ksi_vec_string(ctx, e->string, ret);
    case KS_EXPR_SELECTOR:
    case KS_EXPR_ROLLUP:
        return ksi_eval_default_rollup(ctx, e, ret);
    case KS_EXPR_CALL:
        if (e->call.func->kind == KS_FUNC_ROLLUP)
            return ksi_eval_rollup_call(passes_filters(&e->call) ? ctx : &plain, e, ret);
        return ksi_eval_transform(passes_filters(&e->call) ? ctx : &plain, e, ret);
    case KS_EXPR_AGGREGATE:
        return ctx->q->strict ? ksi_strict_aggregate(ctx, e, ret) : ksi_eval_aggregate(ctx, e, ret);
    case KS_EXPR_BINARY:
        return ctx->q->strict ? ksi_strict_binary(ctx, e, ret) : ksi_eval_binary(ctx, e, ret);
    case KS_EXPR_UNARY:
        return eval_unary(ctx, e, ret);
    case KS_EXPR_PARENS:
        if (e->parens.count == 1)
            return ksi_eval(ctx, e->parens.items[0], ret);
        return eval_union(&plain, e->parens.items, e->parens.count, ret);
    }
    return ks_fail(KS_EINTERNAL, "unknown kind of expression %d", (int)e->kind);
}

ks_err ksi_eval(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    if (!q->req->trace || e->kind == KS_EXPR_NUMBER || e->kind == KS_EXPR_STRING)
        return eval_node(ctx, e, ret);
    struct ks_slice text = q->req->query;
    if (e->start < e->end && e->end <= text.len)
        text = ks_slice(text.ptr + e->start, e->end - e->start);
    struct ks_promql_trace *t =
        ksi_trace_begin(q, "eval: query=%.*s, timeRange=[%lld..%lld], step=%lld",
                        (int)(text.len < 300 ? text.len : 300), text.ptr, (long long)ctx->start_ms,
                        (long long)ctx->end_ms, (long long)ctx->step_ms);
    ks_err err = eval_node(ctx, e, ret);
    ksi_trace_end(q, t, "series=%zu, points=%zu", err == KS_OK ? ret->count : 0, ctx->points);
    return err;
}
