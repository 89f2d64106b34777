/* Aggregates: which way one is computed. */
#include "query/promql/exec_priv.h"

struct ksi_label_filter ksi_aggr_filter(const struct ks_expr_aggregate *a)
{
    struct ksi_label_filter f = {.names = a->labels, .count = a->label_count, .mode = KSI_KEEP};
    if (a->grouping == KS_GROUP_WITHOUT) {
        f.mode = KSI_DROP;
        f.drop_name = true;
    }
    return f;
}

static ks_err aggr_simple(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                          struct ksi_vec *in, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_label_filter f = ksi_aggr_filter(a);
    struct ksi_groups g;
    enum ks_promql_func_id id = a->func->id;
    KS_TRY(ksi_group(q, in, &f, a->limit, &g));
    for (size_t i = 0; i < g.count; i++) {
        struct ksi_acc acc;
        KS_TRY(ksi_acc_new(q->arena, id, ctx->points, &acc));
        for (size_t k = g.first[i]; k < g.first[i + 1]; k++)
            ksi_acc_add(id, &acc, in->items[g.members[k]].values, ctx->points);
        ksi_acc_finish(id, &acc, ctx->points);
        struct ksi_series s = {.labels = g.map.keys[i], .values = acc.values};
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return KS_OK;
}

/* Of the filters a join found, an aggregate lets through those on labels it keeps. */
static ks_err inner_ctx(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                        struct ksi_ctx *ret)
{
    *ret = *ctx;
    ret->push_count = 0;
    if (!ctx->push_count || a->grouping == KS_GROUP_NONE ||
        a->func->id == KS_FN_AGGR_COUNT_VALUES || a->func->id == KS_FN_AGGR_QUANTILES || a->limit)
        return KS_OK;
    struct ks_matcher *keep = ks_arena_array(ctx->q->arena, ctx->push_count, sizeof *keep);
    if (!keep)
        return ks_arena_err(ctx->q->arena);
    for (size_t i = 0; i < ctx->push_count; i++) {
        bool in = false;
        for (size_t k = 0; k < a->label_count; k++)
            in = in || ks_slice_eq(a->labels[k], ctx->push[i].name);
        if (in == (a->grouping == KS_GROUP_BY))
            keep[ret->push_count++] = ctx->push[i];
    }
    ret->push = keep;
    return KS_OK;
}

ks_err ksi_eval_aggregate(const struct ksi_ctx *outer, const struct ks_expr *e, struct ksi_vec *ret)
{
    const struct ks_expr_aggregate *a = &e->aggregate;
    struct ksi_query *q = outer->q;
    struct ksi_ctx c, *ctx = &c;
    bool done = false;
    KS_TRY(inner_ctx(outer, a, &c));
    KS_TRY(ksi_try_rollup_aggregate(ctx, a, ret, &done));
    if (done)
        return KS_OK;
    struct ksi_vec *args = ks_arena_array(q->arena, a->arg_count + 1, sizeof *args);
    if (!args)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < a->arg_count; i++)
        KS_TRY(ksi_eval(ctx, a->args[i], &args[i]));
    if (!a->arg_count)
        return ks_fail(KS_EEXEC, "expecting at least one arg");
    bool mine = true;
    KS_TRY(ksi_aggr_rank(ctx, a, args, ret, &mine));
    if (mine)
        return KS_OK;
    if (!ksi_acc_supports(a->func->id))
        return ksi_aggr_point(ctx, a, args, ret);
    struct ksi_vec all = args[0];
    for (size_t i = 1; i < a->arg_count; i++)
        KS_TRY(ksi_vec_append(q, &all, &args[i]));
    ksi_vec_drop_empty(ctx, &all);
    return aggr_simple(ctx, a, &all, ret);
}
