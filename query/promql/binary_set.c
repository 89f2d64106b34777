/* and, or, unless, default, if, ifnot: operators that choose points of whole groups. */
#include "query/promql/exec_priv.h"

struct pair {
    struct ksi_groups left, right;
};

/* Group of the other side with this key; a lone scalar there stands for every key (default, if,
 * ifnot). */
static bool by_key(const struct ksi_groups *g, const struct ksi_vec *v, struct ks_slice key,
                   size_t *ret)
{
    if (ksi_map_get(&g->map, key, ret))
        return true;
    *ret = 0;
    return g->count == 1 && ksi_vec_is_scalar(v);
}

static bool any_value(const struct ksi_groups *g, size_t group, const struct ksi_vec *v,
                      size_t point, double *ret)
{
    for (size_t i = g->first[group]; i < g->first[group + 1]; i++) {
        double x = v->items[g->members[i]].values[point];
        if (!isnan(x)) {
            *ret = x;
            return true;
        }
    }
    return false;
}

/* Points of the left group stay where the right group has (or, with `absent`, has not) a value. */
static void mask(const struct ksi_ctx *ctx, const struct pair *p, size_t gl,
                 const struct ksi_vec *l, size_t gr, const struct ksi_vec *r, bool absent)
{
    double x;
    for (size_t k = 0; k < ctx->points; k++) {
        if (any_value(&p->right, gr, r, k, &x) != absent)
            continue;
        for (size_t i = p->left.first[gl]; i < p->left.first[gl + 1]; i++)
            l->items[p->left.members[i]].values[k] = NAN;
    }
}

static void fill_gaps(const struct ksi_ctx *ctx, const struct pair *p, size_t gl,
                      const struct ksi_vec *l, size_t gr, const struct ksi_vec *r)
{
    double x;
    for (size_t k = 0; k < ctx->points; k++) {
        if (!any_value(&p->right, gr, r, k, &x))
            continue;
        for (size_t i = p->left.first[gl]; i < p->left.first[gl + 1]; i++) {
            double *v = l->items[p->left.members[i]].values;
            if (isnan(v[k]))
                v[k] = x;
        }
    }
}

static ks_err push_group(struct ksi_query *q, const struct ksi_groups *g, size_t group,
                         const struct ksi_vec *v, struct ksi_vec *ret)
{
    for (size_t i = g->first[group]; i < g->first[group + 1]; i++)
        KS_TRY(ksi_vec_push(q, ret, v->items[g->members[i]]));
    return KS_OK;
}

static ks_err push_filled(const struct ksi_ctx *ctx, const struct ksi_groups *g, size_t group,
                          const struct ksi_vec *v, struct ksi_vec *ret)
{
    for (size_t i = g->first[group]; i < g->first[group + 1]; i++)
        if (!ksi_series_empty(ctx, &v->items[g->members[i]]))
            KS_TRY(ksi_vec_push(ctx->q, ret, v->items[g->members[i]]));
    return KS_OK;
}

/* A right series gives way point by point to left series of its group, and flows into one with its
 * own labels. */
static void or_merge(const struct ksi_ctx *ctx, struct ksi_series *l, struct ksi_series *r)
{
    bool same = ks_slice_eq(l->labels, r->labels);
    for (size_t k = 0; k < ctx->points; k++) {
        bool hole = isnan(l->values[k]);
        if (hole && same)
            l->values[k] = r->values[k];
        if (!hole || same)
            r->values[k] = NAN;
    }
}

static ks_err op_or(const struct ksi_ctx *ctx, struct pair *p, struct ksi_vec *l, struct ksi_vec *r,
                    struct ksi_vec *ret)
{
    struct ksi_vec right = {0};
    for (size_t gr = 0; gr < p->right.count; gr++) {
        size_t gl;
        if (ksi_map_get(&p->left.map, p->right.map.keys[gr], &gl)) {
            for (size_t a = p->left.first[gl]; a < p->left.first[gl + 1]; a++)
                for (size_t b = p->right.first[gr]; b < p->right.first[gr + 1]; b++)
                    or_merge(ctx, &l->items[p->left.members[a]], &r->items[p->right.members[b]]);
            KS_TRY(push_filled(ctx, &p->right, gr, r, &right));
            continue;
        }
        KS_TRY(push_group(ctx->q, &p->right, gr, r, &right));
    }
    *ret = *l;
    KS_TRY(ksi_vec_sort(ctx->q, ret, ksi_cmp_name, NULL));
    KS_TRY(ksi_vec_sort(ctx->q, &right, ksi_cmp_name, NULL));
    return ksi_vec_append(ctx->q, ret, &right);
}

static ks_err op_default(const struct ksi_ctx *ctx, struct pair *p, struct ksi_vec *l,
                         struct ksi_vec *r, struct ksi_vec *ret)
{
    if (!l->count) {
        *ret = *r;
        return KS_OK;
    }
    for (size_t g = 0; g < p->left.count; g++) {
        size_t other;
        if (by_key(&p->right, r, p->left.map.keys[g], &other))
            fill_gaps(ctx, p, g, l, other, r);
    }
    *ret = *l;
    return KS_OK;
}

ks_err ksi_binary_set(const struct ksi_ctx *ctx, const struct ks_expr_binary *b, struct ksi_vec *l,
                      struct ksi_vec *r, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_label_filter f = ksi_match_filter(b);
    struct pair p;
    if (b->op == KS_OP_OR)
        ksi_vec_drop_empty(ctx, l);
    KS_TRY(ksi_group(q, l, &f, 0, &p.left));
    KS_TRY(ksi_group(q, r, &f, 0, &p.right));
    if (b->op == KS_OP_OR)
        return op_or(ctx, &p, l, r, ret);
    if (b->op == KS_OP_DEFAULT)
        return op_default(ctx, &p, l, r, ret);
    bool exact = b->op == KS_OP_AND || b->op == KS_OP_UNLESS;
    bool negative = b->op == KS_OP_UNLESS || b->op == KS_OP_IFNOT;
    for (size_t g = 0; g < p.left.count; g++) {
        size_t other;
        struct ks_slice key = p.left.map.keys[g];
        bool found =
            exact ? ksi_map_get(&p.right.map, key, &other) : by_key(&p.right, r, key, &other);
        if (!found && !negative)
            continue;
        if (!found) {
            KS_TRY(push_group(q, &p.left, g, l, ret));
            continue;
        }
        mask(ctx, &p, g, l, other, r, negative);
        KS_TRY(push_filled(ctx, &p.left, g, l, ret));
    }
    return KS_OK;
}
