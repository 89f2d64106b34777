/* Aggregates: which way one is computed, and the accumulators of the simple ones. */
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

bool ksi_acc_supports(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_AGGR_SUM:
    case KS_FN_AGGR_AVG:
    case KS_FN_AGGR_MIN:
    case KS_FN_AGGR_MAX:
    case KS_FN_AGGR_COUNT:
    case KS_FN_AGGR_GROUP:
    case KS_FN_AGGR_SUM2:
    case KS_FN_AGGR_GEOMEAN:
        return true;
    default:
        return false;
    }
}

static bool needs_counts(enum ks_promql_func_id func)
{
    return func == KS_FN_AGGR_AVG || func == KS_FN_AGGR_GEOMEAN;
}

static void acc_init(enum ks_promql_func_id func, struct ksi_acc *a, size_t points)
{
    for (size_t i = 0; i < points; i++)
        a->values[i] = NAN;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] = 0;
    for (size_t i = 0; a->lost && i < points; i++)
        a->lost[i] = 0;
}

static bool needs_lost(enum ks_promql_func_id func)
{
    return func == KS_FN_AGGR_SUM || func == KS_FN_AGGR_AVG || func == KS_FN_AGGR_SUM2;
}

ks_err ksi_acc_new(struct ks_arena *arena, enum ks_promql_func_id func, size_t points,
                   struct ksi_acc *ret)
{
    size_t columns = 1 + (size_t)needs_counts(func) + (size_t)needs_lost(func);
    double *all = ks_arena_array(arena, columns * points, sizeof *all);
    if (!all)
        return ks_arena_err(arena);
    *ret = (struct ksi_acc){.values = all};
    ret->lost = needs_lost(func) ? all + points : NULL;
    ret->counts = needs_counts(func) ? all + (columns - 1) * points : NULL;
    acc_init(func, ret, points);
    return KS_OK;
}

/*
 * Adds b to a with what the rounding lost kept in lost: sums so made do not depend on the order of
 * adding, but for cases of no practical weight. So a sum over series is the same whichever order
 * they are found in, whichever worker meets them, and whether others without a point there were
 * along.
 */
static inline double add_exact(double a, double b, double *lost)
{
    double s = a + b, part = s - a, err = (a - (s - part)) + (b - part);
    /* Infinities lose nothing; of both kinds they make a NaN for good. */
    *lost += s - s == 0 ? err : s != s ? s : 0;
    return s;
}

/* NaN is "nothing yet" in the accumulator and "no point" in the input. */
#define KSI_EACH(first, next)                                                                      \
    for (size_t i = 0; i < points; i++) {                                                          \
        double x = v[i], y = o[i];                                                                 \
        if (!isnan(x))                                                                             \
            o[i] = isnan(y) ? (first) : (next);                                                    \
    }                                                                                              \
    break

void ksi_acc_add(enum ks_promql_func_id func, struct ksi_acc *a, const double *v, size_t points)
{
    double *o = a->values;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] += !isnan(v[i]);
    switch (func) {
    case KS_FN_AGGR_SUM:
    case KS_FN_AGGR_AVG:
        KSI_EACH(x, add_exact(y, x, &a->lost[i]));
    case KS_FN_AGGR_MIN:
        KSI_EACH(x, x < y ? x : y);
    case KS_FN_AGGR_MAX:
        KSI_EACH(x, x > y ? x : y);
    case KS_FN_AGGR_COUNT:
        KSI_EACH(1, y + 1);
    case KS_FN_AGGR_GROUP:
        KSI_EACH(1, 1);
    case KS_FN_AGGR_SUM2:
        KSI_EACH(x * x, add_exact(y, x * x, &a->lost[i]));
    case KS_FN_AGGR_GEOMEAN:
        KSI_EACH(x, y * x);
    default:
        KS_ASSERT(!"not an accumulating aggregate");
    }
}

void ksi_acc_merge(enum ks_promql_func_id func, struct ksi_acc *a, const struct ksi_acc *b,
                   size_t points)
{
    const double *v = b->values;
    double *o = a->values;
    for (size_t i = 0; a->counts && i < points; i++)
        a->counts[i] += b->counts[i];
    switch (func) {
    case KS_FN_AGGR_MIN:
        KSI_EACH(x, x < y ? x : y);
    case KS_FN_AGGR_MAX:
        KSI_EACH(x, x > y ? x : y);
    case KS_FN_AGGR_GROUP:
        KSI_EACH(1, 1);
    case KS_FN_AGGR_GEOMEAN:
        KSI_EACH(x, y * x);
    case KS_FN_AGGR_COUNT:
        KSI_EACH(x, y + x);
    default:
        for (size_t i = 0; i < points; i++)
            a->lost[i] += b->lost[i];
        KSI_EACH(x, add_exact(y, x, &a->lost[i]));
    }
}
#undef KSI_EACH

void ksi_acc_finish(enum ks_promql_func_id func, struct ksi_acc *a, size_t points)
{
    for (size_t i = 0; a->lost && i < points; i++)
        a->values[i] += a->lost[i];
    if (func == KS_FN_AGGR_AVG)
        for (size_t i = 0; i < points; i++)
            a->values[i] /= a->counts[i];
    if (func == KS_FN_AGGR_GEOMEAN)
        for (size_t i = 0; i < points; i++)
            if (a->counts[i] > 1)
                a->values[i] = pow(a->values[i], 1 / a->counts[i]);
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
