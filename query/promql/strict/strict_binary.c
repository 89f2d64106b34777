/*
 * Binary operators of strict PromQL. Matching is decided anew at every point, since a series that
 * has no value there takes no part: two series of one match group are an error only where both have
 * values.
 */
#include "query/promql/binary_op.h"
#include "query/promql/exec_priv.h"

/* on() may name the metric name, which otherwise takes no part. */
static struct ksi_label_filter match_filter(const struct ks_expr_binary *b)
{
    bool on = b->matching == KS_MATCHING_ON;
    return (struct ksi_label_filter){.names = b->match_labels,
                                     .count = b->match_label_count,
                                     .mode = on ? KSI_KEEP : KSI_DROP,
                                     .drop_name = !on};
}

static bool changes_metric(enum ks_binary_op op)
{
    return !ks_op_is_comparison(op) && !ks_op_is_set(op);
}

/* A NaN result must not be taken for a missing point. */
static double point(const struct ks_expr_binary *b, double x, double y)
{
    if (!ks_op_is_comparison(b->op))
        return ksi_op_arith(b->op, x, y);
    bool holds = ksi_op_holds(b->op, x, y);
    return b->return_bool ? (double)holds : holds ? x : ksi_absent();
}

/* --- with a scalar --- */
static ks_err with_scalar(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *v,
                          const double *s, bool scalar_left, struct ksi_vec *ret)
{
    const struct ks_expr_binary *b = &e->binary;
    struct ksi_binary_note note;
    bool filter = ks_op_is_comparison(b->op) && !b->return_bool;
    for (size_t i = 0; i < v->count; i++) {
        double *x = v->items[i].values;
        for (size_t k = 0; k < ctx->points; k++) {
            if (ksi_is_absent(ctx->q, x[k]))
                continue;
            double l = scalar_left ? s[k] : x[k], r = scalar_left ? x[k] : s[k];
            if (ksi_is_hist(x[k])) {
                KS_TRY(ksi_hist_binary(ctx->q, b, l, r, &x[k], &note));
                KS_TRY(ksi_binary_annotate(ctx->q, e, &note));
                continue;
            }
            if (filter)
                x[k] = ksi_op_holds(b->op, l, r) ? x[k] : ksi_absent();
            else
                x[k] = point(b, l, r);
        }
        if (!filter)
            KS_TRY(ksi_drop_metric(ctx->q, &v->items[i]));
    }
    *ret = *v;
    return ksi_merge_labelsets(ctx, ret);
}

static ks_err scalars(const struct ksi_ctx *ctx, const struct ks_expr_binary *b, struct ksi_vec *l,
                      const struct ksi_vec *r, struct ksi_vec *ret)
{
    double *x = l->items[0].values;
    const double *y = r->items[0].values;
    for (size_t k = 0; k < ctx->points; k++)
        x[k] = point(b, x[k], y[k]);
    *ret = *l;
    return KS_OK;
}

/* --- between vectors --- */
struct join {
    const struct ksi_ctx *ctx;
    const struct ks_expr *e;
    const struct ks_expr_binary *b;
    struct ksi_vec *many, *one; /* one to one: left and right */
    struct ksi_groups one_groups;
    size_t *group_of;     /* of the many side: group of the one side, SIZE_MAX none */
    bool swapped;         /* many is the right side */
    struct ksi_map pairs; /* labels of result ← many × one */
    struct ksi_vec out;
    size_t *last_one, *last_out; /* per many series: the pair met last */
    size_t *chosen;              /* per group: the one series at this point, SIZE_MAX none */
};

static bool absent_at(const struct join *j, const struct ksi_vec *v, size_t i, size_t k)
{
    return ksi_is_absent(j->ctx->q, v->items[i].values[k]);
}

static bool any_at(const struct join *j, const struct ksi_vec *v, size_t k)
{
    for (size_t i = 0; i < v->count; i++)
        if (!absent_at(j, v, i, k))
            return true;
    return false;
}

static ks_err duplicate(const struct join *j, size_t a, size_t b)
{
    struct ksi_query *q = j->ctx->q;
    struct ksi_label_filter f = match_filter(j->b);
    struct ks_slice matched;
    KS_TRY(ksi_labels_filtered(q, j->one->items[a].labels, &f, &matched));
    struct ks_slice m = ksi_labels_text_strict(q, matched),
                    ta = ksi_labels_text_strict(q, j->one->items[a].labels),
                    tb = ksi_labels_text_strict(q, j->one->items[b].labels);
    return ks_fail(KS_EEXEC,
                   "found duplicate series for the match group %.*s on the %s hand-side of the "
                   "operation: [%.*s, %.*s];"
                   "many-to-many matching not allowed: matching labels must be unique on one side",
                   KS_SLICE_ARG(m), j->swapped ? "left" : "right", KS_SLICE_ARG(ta),
                   KS_SLICE_ARG(tb));
}

static ks_err choose_ones(struct join *j, size_t k)
{
    const struct ksi_groups *g = &j->one_groups;
    for (size_t i = 0; i < g->count; i++) {
        j->chosen[i] = SIZE_MAX;
        for (size_t m = g->first[i]; m < g->first[i + 1]; m++) {
            if (absent_at(j, j->one, g->members[m], k))
                continue;
            if (j->chosen[i] != SIZE_MAX)
                return duplicate(j, g->members[m], j->chosen[i]);
            j->chosen[i] = g->members[m];
        }
    }
    return KS_OK;
}

static ks_err result_labels(const struct join *j, size_t many, size_t one, struct ksi_series *ret)
{
    struct ksi_query *q = j->ctx->q;
    const struct ks_expr_binary *b = j->b;
    *ret = (struct ksi_series){.labels = j->many->items[many].labels,
                               .tenant = j->many->items[many].tenant};
    if (changes_metric(b->op))
        KS_TRY(ksi_strict_drop_labels(q, &ret->labels));
    if (b->join == KS_JOIN_NONE) {
        struct ksi_label_filter f = {
            .names = b->match_labels, .count = b->match_label_count, .mode = KSI_DROP};
        if (b->matching == KS_MATCHING_ON)
            f.mode = KSI_KEEP;
        KS_TRY(ksi_labels_filtered(q, ret->labels, &f, &ret->labels));
    }
    for (size_t i = 0; i < b->join_label_count; i++)
        KS_TRY(ksi_labels_set(q, &ret->labels, b->join_labels[i],
                              ks_labels_get(j->one->items[one].labels, b->join_labels[i])));
    if (b->return_bool)
        KS_TRY(ksi_drop_metric(q, ret));
    ret->values = ksi_grid(j->ctx, ksi_absent());
    return ret->values ? KS_OK : ks_arena_err(q->arena);
}

/* The output series of a pair; most series meet one partner all the time. */
static ks_err pair_output(struct join *j, size_t many, size_t one, size_t *ret)
{
    struct ksi_query *q = j->ctx->q;
    if (j->last_one[many] == one) {
        *ret = j->last_out[many];
        return KS_OK;
    }
    uint64_t ids[2] = {many, one};
    size_t at;
    bool added;
    KS_TRY(ksi_map_put(q->arena, &j->pairs, ks_slice((const char *)ids, sizeof ids), true, &at,
                       &added));
    if (added) {
        struct ksi_series s;
        KS_TRY(result_labels(j, many, one, &s));
        KS_TRY(ksi_vec_push(q, &j->out, s));
    }
    j->last_one[many] = one;
    *ret = j->last_out[many] = at;
    return KS_OK;
}

/* Results of one group at one point must differ in their labels. `met` holds what the group has
 * given so far. */
static ks_err check_unique(struct join *j, size_t group, size_t out, size_t *met_first,
                           size_t *met_next)
{
    if (j->b->join == KS_JOIN_NONE && met_first[group] != SIZE_MAX)
        return ks_fail(KS_EEXEC, "multiple matches for labels: many-to-one matching must be "
                                 "explicit (group_left/group_right)");
    for (size_t o = met_first[group]; o != SIZE_MAX; o = met_next[o])
        if (ks_slice_eq(j->out.items[o].labels, j->out.items[out].labels))
            return ks_fail(
                KS_EEXEC,
                "multiple matches for labels: grouping labels must ensure unique matches");
    met_next[out] = met_first[group];
    met_first[group] = out;
    return KS_OK;
}

static ks_err join_point(struct join *j, size_t k, size_t *met_first, size_t **met_next,
                         size_t *met_cap)
{
    struct ksi_query *q = j->ctx->q;
    struct ksi_binary_note note = {0}; /* the last one of a point is told */
    if (!any_at(j, j->many, k) || !any_at(j, j->one, k))
        return KS_OK;
    KS_TRY(choose_ones(j, k));
    for (size_t g = 0; g < j->one_groups.count; g++)
        met_first[g] = SIZE_MAX;
    for (size_t i = 0; i < j->many->count; i++) {
        size_t g = j->group_of[i], one = g == SIZE_MAX ? SIZE_MAX : j->chosen[g], out;
        if (one == SIZE_MAX || absent_at(j, j->many, i, k))
            continue;
        double x = j->many->items[i].values[k], y = j->one->items[one].values[k];
        double v, l = j->swapped ? y : x, r = j->swapped ? x : y;
        if (ksi_is_hist(l) || ksi_is_hist(r)) {
            struct ksi_binary_note now;
            KS_TRY(ksi_hist_binary(q, j->b, l, r, &v, &now));
            note = now.kind ? now : note;
        } else {
            v = point(j->b, l, r);
        }
        if (ksi_is_absent(q, v)) /* filtered out: takes no part in the checks either */
            continue;
        KS_TRY(pair_output(j, i, one, &out));
        KS_TRY(ks_arena_grow(q->arena, (void **)met_next, met_cap, out + 1, sizeof **met_next));
        KS_TRY(check_unique(j, g, out, met_first, *met_next));
        j->out.items[out].values[k] = v;
    }
    return ksi_binary_annotate(q, j->e, &note);
}

static ks_err join_vectors(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *l,
                           struct ksi_vec *r, struct ksi_vec *ret)
{
    const struct ks_expr_binary *b = &e->binary;
    struct ksi_query *q = ctx->q;
    struct ksi_label_filter f = match_filter(b);
    bool swapped = b->join == KS_JOIN_GROUP_RIGHT;
    struct join j = {.ctx = ctx,
                     .e = e,
                     .b = b,
                     .many = swapped ? r : l,
                     .one = swapped ? l : r,
                     .swapped = swapped};
    struct ksi_groups mg;
    KS_TRY(ksi_group(q, j.one, &f, 0, &j.one_groups));
    KS_TRY(ksi_group(q, j.many, &f, 0, &mg));
    size_t n = j.many->count + 1, ng = j.one_groups.count + 1, *met_next = NULL, met_cap = 0;
    size_t *met_first = ks_arena_array(q->arena, ng, sizeof *met_first);
    j.chosen = ks_arena_array(q->arena, ng, sizeof *j.chosen);
    j.group_of = ks_arena_array(q->arena, n, sizeof *j.group_of);
    j.last_one = ks_arena_array(q->arena, n, sizeof *j.last_one);
    j.last_out = ks_arena_array(q->arena, n, sizeof *j.last_out);
    if (!met_first || !j.chosen || !j.group_of || !j.last_one || !j.last_out)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < n; i++)
        j.group_of[i] = j.last_one[i] = SIZE_MAX;
    for (size_t g = 0; g < mg.count; g++) {
        size_t one;
        if (ksi_map_get(&j.one_groups.map, mg.map.keys[g], &one))
            for (size_t m = mg.first[g]; m < mg.first[g + 1]; m++)
                j.group_of[mg.members[m]] = one;
    }
    for (size_t k = 0; k < ctx->points; k++) {
        if ((k & 63) == 0)
            KS_TRY(ks_read_ctx_check(&q->read));
        KS_TRY(join_point(&j, k, met_first, &met_next, &met_cap));
    }
    *ret = j.out;
    return ksi_merge_labelsets(ctx, ret);
}

/* --- set operators --- */
/* Which groups have a value at which point: one byte each. */
static ks_err presence(const struct ksi_ctx *ctx, const struct ksi_vec *v,
                       const struct ksi_groups *g, uint8_t **ret)
{
    uint8_t *p = ks_arena_zalloc(ctx->q->arena, (g->count + 1) * ctx->points);
    if (!p)
        return ks_arena_err(ctx->q->arena);
    for (size_t i = 0; i < g->count; i++)
        for (size_t m = g->first[i]; m < g->first[i + 1]; m++)
            for (size_t k = 0; k < ctx->points; k++)
                p[i * ctx->points + k] |= !ksi_is_absent(ctx->q, v->items[g->members[m]].values[k]);
    *ret = p;
    return KS_OK;
}

/* Series of v keep the points at which their group of `other` has a value (or, with `unless`, has
 * none). */
static ks_err mask(const struct ksi_ctx *ctx, const struct ksi_label_filter *f, struct ksi_vec *v,
                   const struct ksi_vec *other, bool unless)
{
    struct ksi_query *q = ctx->q;
    struct ksi_groups gv, go;
    uint8_t *has;
    KS_TRY(ksi_group(q, v, f, 0, &gv));
    KS_TRY(ksi_group(q, other, f, 0, &go));
    KS_TRY(presence(ctx, other, &go, &has));
    for (size_t g = 0; g < gv.count; g++) {
        size_t o = go.count; /* the row of zeros at the end */
        (void)ksi_map_get(&go.map, gv.map.keys[g], &o);
        for (size_t m = gv.first[g]; m < gv.first[g + 1]; m++)
            for (size_t k = 0; k < ctx->points; k++)
                if ((has[o * ctx->points + k] != 0) == unless)
                    v->items[gv.members[m]].values[k] = ksi_absent();
    }
    return KS_OK;
}

static ks_err set_operator(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                           struct ksi_vec *l, struct ksi_vec *r, struct ksi_vec *ret)
{
    struct ksi_label_filter f = match_filter(b);
    if (b->op == KS_OP_OR) {
        KS_TRY(mask(ctx, &f, r, l, true));
        *ret = *l;
        KS_TRY(ksi_vec_append(ctx->q, ret, r));
    } else {
        KS_TRY(mask(ctx, &f, l, r, b->op == KS_OP_UNLESS));
        *ret = *l;
    }
    return ksi_merge_labelsets(ctx, ret);
}

ks_err ksi_strict_binary(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    const struct ks_expr_binary *b = &e->binary;
    struct ksi_vec l, r;
    KS_TRY(ksi_eval(ctx, b->lhs, &l));
    KS_TRY(ksi_eval(ctx, b->rhs, &r));
    bool sl = b->lhs->type == KS_TYPE_SCALAR, sr = b->rhs->type == KS_TYPE_SCALAR;
    if (sl && sr)
        return scalars(ctx, b, &l, &r, ret);
    if (sl || sr)
        return with_scalar(ctx, e, sl ? &r : &l, (sl ? &l : &r)->items[0].values, sl, ret);
    ksi_vec_drop_empty(ctx, &l);
    ksi_vec_drop_empty(ctx, &r);
    return ks_op_is_set(b->op) ? set_operator(ctx, b, &l, &r, ret)
                               : join_vectors(ctx, e, &l, &r, ret);
}
