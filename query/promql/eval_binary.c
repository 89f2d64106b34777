/*
 * Binary operators between scalars and vectors: matching of series, joins, fills, and the
 * point-by-point work. Set operators and default/if/ifnot are in binary_set.c.
 */
#include "query/promql/binary_op.h"
#include "query/promql/exec_priv.h"

struct ksi_label_filter ksi_match_filter(const struct ks_expr_binary *b)
{
    struct ksi_label_filter f = {
        .names = b->match_labels, .count = b->match_label_count, .mode = KSI_DROP};
    if (b->matching == KS_MATCHING_ON)
        f.mode = KSI_KEEP;
    f.drop_name = !b->keep_metric_names;
    return f;
}

static bool keeps_name(const struct ks_expr_binary *b)
{
    return (ks_op_is_comparison(b->op) && !b->return_bool) || b->keep_metric_names;
}

/* --- one point --- */
static double arith(enum ks_binary_op op, double a, double b)
{
    /* pow(NaN, 0) is 1: a value where there was none */
    return op == KS_OP_POW && isnan(a) ? NAN : ksi_op_arith(op, a, b);
}

static double one_point(const struct ks_expr_binary *b, enum ks_binary_op op, double x, double y)
{
    if (!ks_op_is_comparison(op))
        return arith(op, x, y);
    if (b->return_bool)
        return isnan(x) ? NAN : ksi_op_holds_mql(op, x, y);
    return ksi_op_holds_mql(op, x, y) ? x : NAN;
}

static void run_points(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                       enum ks_binary_op op, const double *l, const double *r, double *out,
                       bool drop_nan_right)
{
    bool plain = !drop_nan_right && !b->has_fill_left && !b->has_fill_right;
    switch (plain ? op : KS_OP_COUNT) {
#define KSI_LOOP(name, expr)                                                                       \
    case KS_OP_##name:                                                                             \
        for (size_t i = 0; i < ctx->points; i++)                                                   \
            out[i] = (expr);                                                                       \
        return;
        KSI_LOOP(ADD, l[i] + r[i])
        KSI_LOOP(SUB, l[i] - r[i])
        KSI_LOOP(MUL, l[i] * r[i])
        KSI_LOOP(DIV, l[i] / r[i])
#undef KSI_LOOP
    default:
        break;
    }
    for (size_t i = 0; i < ctx->points; i++) {
        double x = l[i], y = r[i];
        bool no_x = isnan(x), no_y = isnan(y);
        if (no_x != no_y) {
            if (drop_nan_right && no_y && !b->has_fill_right) {
                out[i] = NAN;
                continue;
            }
            if (no_x && b->has_fill_left)
                x = b->fill_left;
            if (no_y && b->has_fill_right)
                y = b->fill_right;
        }
        out[i] = one_point(b, op, x, y);
    }
}

/* --- matching --- */
bool ksi_merge_disjoint(const struct ksi_ctx *ctx, double *dst, const double *src)
{
    size_t overlaps = 0;
    for (size_t i = 0; i < ctx->points; i++)
        overlaps += !isnan(src[i]) && !isnan(dst[i]);
    /* Staleness may make neighbours in time overlap by a point or two; one or two points in all
     * tell nothing. */
    if (overlaps > 2 || ctx->points <= 2)
        return false;
    for (size_t i = 0; i < ctx->points; i++)
        if (!isnan(src[i]))
            dst[i] = src[i];
    return true;
}

struct side {
    struct ksi_vec *vec;
    struct ksi_groups groups;
};

struct match {
    const struct ksi_ctx *ctx;
    const struct ks_expr_binary *b;
    struct side left, right;
    struct ksi_vec out_left, out_right; /* pairs; labels of the result are on the "many" side */
};

static const char *matching_text(const struct match *m)
{
    struct ksi_query *q = m->ctx->q;
    if (m->b->matching == KS_MATCHING_NONE)
        return "";
    struct ks_slice s =
        ks_arena_dup(q->arena, m->b->matching == KS_MATCHING_ON ? KS_SLICE_LIT("on (")
                                                                : KS_SLICE_LIT("ignoring ("));
    for (size_t i = 0; i < m->b->match_label_count && s.ptr; i++)
        s = ks_arena_printf(q->arena, "%s%s%.*s", s.ptr, i ? ", " : "",
                            KS_SLICE_ARG(m->b->match_labels[i]));
    s = ks_arena_printf(q->arena, "%s)", s.ptr ? s.ptr : "");
    return s.ptr ? s.ptr : "";
}

static ks_err duplicate(const struct match *m, const char *side, struct ks_slice a,
                        struct ks_slice b)
{
    struct ksi_query *q = m->ctx->q;
    struct ks_slice ta = ksi_labels_text(q, a, false), tb = ksi_labels_text(q, b, false);
    return ks_fail(KS_EEXEC, "duplicate time series on the %s side of `%s %s`: %.*s and %.*s", side,
                   ks_binary_op_text[m->b->op], matching_text(m), KS_SLICE_ARG(ta),
                   KS_SLICE_ARG(tb));
}

/* Members of a group folded into their first, when they do not overlap in time. */
static ks_err single(const struct match *m, const char *side, const struct side *s, size_t g,
                     struct ksi_series *ret)
{
    const size_t *at = s->groups.members + s->groups.first[g];
    size_t n = s->groups.first[g + 1] - s->groups.first[g];
    struct ksi_series *first = &s->vec->items[at[0]];
    for (size_t i = n; i-- > 1;)
        if (!ksi_merge_disjoint(m->ctx, first->values, s->vec->items[at[i]].values))
            return duplicate(m, side, first->labels, s->vec->items[at[i]].labels);
    *ret = *first;
    return KS_OK;
}

static ks_err pair_one(struct match *m, struct ksi_series l, const struct ksi_series *r)
{
    struct ksi_query *q = m->ctx->q;
    struct ksi_label_filter f = ksi_match_filter(m->b);
    bool drop = !keeps_name(m->b);
    if (drop)
        KS_TRY(ksi_labels_drop_name(q, &l.labels));
    /* on(…) keeps the listed labels alone, the metric name only when the operator is told to. */
    f.drop_name = drop || (m->b->matching == KS_MATCHING_ON && !m->b->keep_metric_names);
    if (m->b->matching == KS_MATCHING_ON && m->b->keep_metric_names) {
        struct ks_slice name = ks_labels_get(l.labels, KS_NAME_LABEL);
        KS_TRY(ksi_labels_filtered(q, l.labels, &f, &l.labels));
        KS_TRY(ksi_labels_set(q, &l.labels, KS_NAME_LABEL, name));
    } else if (m->b->matching != KS_MATCHING_NONE) {
        KS_TRY(ksi_labels_filtered(q, l.labels, &f, &l.labels));
    }
    KS_TRY(ksi_vec_push(q, &m->out_left, l));
    return ksi_vec_push(q, &m->out_right, *r);
}

/* Labels the join brings over from the one side. */
static ks_err join_labels(const struct match *m, struct ks_slice *labels, struct ks_slice from)
{
    struct ksi_query *q = m->ctx->q;
    const struct ks_expr_binary *b = m->b;
    struct ks_labels_iter it = ks_labels_iter(from);
    struct ks_label l;
    if (!b->join_all_labels) {
        for (size_t i = 0; i < b->join_label_count; i++) {
            struct ks_slice name = b->join_labels[i];
            if (b->join_prefix.len && !ks_slice_eq(name, KS_NAME_LABEL))
                name = ks_arena_printf(q->arena, "%.*s%.*s", KS_SLICE_ARG(b->join_prefix),
                                       KS_SLICE_ARG(name));
            KS_TRY(ksi_labels_set(q, labels, name, ks_labels_get(from, b->join_labels[i])));
        }
        return KS_OK;
    }
    while (ks_labels_next(&it, &l)) {
        bool skip = ks_slice_eq(l.name, KS_NAME_LABEL);
        for (size_t i = 0; b->matching == KS_MATCHING_ON && i < b->match_label_count; i++)
            skip = skip || ks_slice_eq(l.name, b->match_labels[i]);
        if (skip)
            continue;
        struct ks_slice name = l.name;
        if (b->join_prefix.len)
            name = ks_arena_printf(q->arena, "%.*s%.*s", KS_SLICE_ARG(b->join_prefix),
                                   KS_SLICE_ARG(name));
        KS_TRY(ksi_labels_set(q, labels, name, l.value));
    }
    return KS_OK;
}

/* Each series of the many side with the one side's; several on the one side must differ by the
 * labels they bring. */
static ks_err join_group(struct match *m, const struct side *many, size_t gm,
                         const struct side *one, size_t go, const char *one_name,
                         struct ksi_vec *out_many, struct ksi_vec *out_one)
{
    struct ksi_query *q = m->ctx->q;
    for (size_t i = many->groups.first[gm]; i < many->groups.first[gm + 1]; i++) {
        struct ksi_series base = many->vec->items[many->groups.members[i]];
        if (!keeps_name(m->b))
            KS_TRY(ksi_labels_drop_name(q, &base.labels));
        struct ksi_map seen = {0};
        size_t start = out_many->count, ones = one->groups.first[go + 1] - one->groups.first[go];
        for (size_t k = one->groups.first[go]; k < one->groups.first[go + 1]; k++) {
            struct ksi_series l = base, r = one->vec->items[one->groups.members[k]];
            KS_TRY(join_labels(m, &l.labels, r.labels));
            size_t at = 0;
            bool added = true;
            if (ones > 1)
                KS_TRY(ksi_map_put(q->arena, &seen, l.labels, false, &at, &added));
            if (!added) {
                struct ksi_series *have = &out_one->items[start + at];
                double *merged = ksi_grid_dup(m->ctx, have->values);
                if (!merged)
                    return ks_arena_err(q->arena);
                if (!ksi_merge_disjoint(m->ctx, merged, r.values))
                    return duplicate(m, one_name, have->labels, r.labels);
                have->values = merged;
                continue;
            }
            if (ones > 1 && !(l.values = ksi_grid_dup(m->ctx, base.values)))
                return ks_arena_err(q->arena);
            KS_TRY(ksi_vec_push(q, out_many, l));
            KS_TRY(ksi_vec_push(q, out_one, r));
        }
    }
    return KS_OK;
}

/* A series without points that stands for the missing side of a group. */
static ks_err add_filler(struct match *m, struct side *s, const struct side *other, size_t go,
                         size_t *ret_g)
{
    struct ksi_query *q = m->ctx->q;
    struct ksi_label_filter f = ksi_match_filter(m->b);
    const struct ksi_series *src =
        &other->vec->items[other->groups.members[other->groups.first[go]]];
    struct ksi_series x = {.tenant = src->tenant, .values = ksi_grid(m->ctx, NAN)};
    if (!x.values)
        return ks_arena_err(q->arena);
    KS_TRY(ksi_labels_filtered(q, src->labels, &f, &x.labels));
    size_t g = s->groups.count++;
    s->groups.first[g] = s->vec->count;
    s->groups.first[g + 1] = s->vec->count + 1;
    s->groups.members[s->vec->count] = s->vec->count;
    KS_TRY(ksi_vec_push(q, s->vec, x));
    *ret_g = g;
    return KS_OK;
}

/* Room for one filler per group of the other side. */
static ks_err widen(struct match *m, struct side *s, size_t more)
{
    struct ksi_query *q = m->ctx->q;
    size_t n = s->vec->count + more + 2;
    size_t *members = ks_arena_array(q->arena, n, sizeof *members);
    size_t *first = ks_arena_array(q->arena, n, sizeof *first);
    if (!members || !first)
        return ks_arena_err(q->arena);
    memcpy(members, s->groups.members, s->vec->count * sizeof *members);
    memcpy(first, s->groups.first, (s->groups.count + 1) * sizeof *first);
    s->groups.members = members;
    s->groups.first = first;
    return KS_OK;
}

static ks_err match_group(struct match *m, size_t gl, size_t gr)
{
    switch (m->b->join) {
    case KS_JOIN_GROUP_LEFT:
        return join_group(m, &m->left, gl, &m->right, gr, "right", &m->out_left, &m->out_right);
    case KS_JOIN_GROUP_RIGHT:
        return join_group(m, &m->right, gr, &m->left, gl, "left", &m->out_right, &m->out_left);
    default: {
        struct ksi_series l, r;
        KS_TRY(single(m, "left", &m->left, gl, &l));
        KS_TRY(single(m, "right", &m->right, gr, &r));
        return pair_one(m, l, &r);
    }
    }
}

static ks_err match_groups(struct match *m)
{
    struct ksi_query *q = m->ctx->q;
    struct ksi_label_filter f = ksi_match_filter(m->b);
    KS_TRY(ksi_group(q, m->left.vec, &f, 0, &m->left.groups));
    KS_TRY(ksi_group(q, m->right.vec, &f, 0, &m->right.groups));
    size_t lefts = m->left.groups.count, rights = m->right.groups.count;
    if (m->b->has_fill_left)
        KS_TRY(widen(m, &m->left, rights));
    if (m->b->has_fill_right)
        KS_TRY(widen(m, &m->right, lefts));
    for (size_t g = 0; g < lefts; g++) {
        size_t other;
        if (!ksi_map_get(&m->right.groups.map, m->left.groups.map.keys[g], &other)) {
            if (!m->b->has_fill_right)
                continue;
            KS_TRY(add_filler(m, &m->right, &m->left, g, &other));
        }
        KS_TRY(match_group(m, g, other));
    }
    for (size_t g = 0; m->b->has_fill_left && g < rights; g++) {
        size_t other;
        if (ksi_map_get(&m->left.groups.map, m->right.groups.map.keys[g], &other))
            continue;
        KS_TRY(add_filler(m, &m->left, &m->right, g, &other));
        KS_TRY(match_group(m, other, g));
    }
    return KS_OK;
}

/* --- the operator --- */
bool ksi_is_scalar_expr(const struct ks_expr *e)
{
    e = ksi_strip(e);
    switch (e->kind) {
    case KS_EXPR_NUMBER:
        return true;
    case KS_EXPR_UNARY:
        return ksi_is_scalar_expr(e->unary.expr);
    case KS_EXPR_BINARY:
        return ksi_is_scalar_expr(e->binary.lhs) && ksi_is_scalar_expr(e->binary.rhs);
    case KS_EXPR_CALL:
        switch (e->call.func->id) {
        case KS_FN_NOW:
        case KS_FN_PI:
        case KS_FN_SCALAR:
        case KS_FN_START:
        case KS_FN_END:
        case KS_FN_STEP:
        case KS_FN_TIME:
        case KS_FN_TIMEZONE_OFFSET:
            return true;
        default:
            return false;
        }
    default:
        return false;
    }
}

/* A hole left by a comparison of vectors is a filtered-out sample, not a NaN to compare with. */
static bool is_vector_comparison(const struct ks_expr *e)
{
    e = ksi_strip(e);
    if (e->kind == KS_EXPR_ROLLUP && !e->rollup.window.set && !ks_rollup_is_subquery(&e->rollup))
        e = ksi_strip(e->rollup.expr);
    return e->kind == KS_EXPR_BINARY && ks_op_is_comparison(e->binary.op) &&
           !(ksi_is_scalar_expr(e->binary.lhs) && ksi_is_scalar_expr(e->binary.rhs));
}

static bool has_value(const struct ksi_vec *list, double v, size_t i)
{
    for (size_t k = 0; k < list->count; k++)
        if (list->items[k].values[i] == v)
            return true;
    return false;
}

/* q == (1, 2, 3) and q != (1, 2, 3). */
static ks_err list_match(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                         struct ksi_vec *l, struct ksi_vec *r, struct ksi_vec *ret)
{
    if (ksi_is_union(b->lhs)) {
        struct ksi_vec *t = l;
        l = r;
        r = t;
    }
    *ret = *l;
    if (!r->count && b->op == KS_OP_EQ)
        ret->count = 0;
    for (size_t s = 0; s < ret->count; s++)
        for (size_t i = 0; i < ctx->points; i++)
            if (has_value(r, ret->items[s].values[i], i) != (b->op == KS_OP_EQ))
                ret->items[s].values[i] = NAN;
    return KS_OK;
}

static enum ks_binary_op mirrored(enum ks_binary_op op)
{
    switch (op) {
    case KS_OP_LT:
        return KS_OP_GT;
    case KS_OP_GT:
        return KS_OP_LT;
    case KS_OP_LE:
        return KS_OP_GE;
    case KS_OP_GE:
        return KS_OP_LE;
    default:
        return op;
    }
}

static ks_err apply(const struct ksi_ctx *ctx, const struct ks_expr_binary *b, struct ksi_vec *l,
                    struct ksi_vec *r, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    bool cmp = ks_op_is_comparison(b->op);
    if ((b->op == KS_OP_EQ || b->op == KS_OP_NE) && (ksi_is_union(b->lhs) || ksi_is_union(b->rhs)))
        return list_match(ctx, b, l, r, ret);
    if (!cmp) {
        ksi_vec_drop_empty(ctx, l);
        ksi_vec_drop_empty(ctx, r);
    }
    if ((!l->count && !r->count) || (!l->count && !b->has_fill_left) ||
        (!r->count && !b->has_fill_right))
        return KS_OK;
    bool drop_right = cmp && is_vector_comparison(b->rhs);
    bool free_form = b->matching == KS_MATCHING_NONE && b->join == KS_JOIN_NONE;
    if (free_form && (ksi_vec_is_scalar(l) || ksi_vec_is_scalar(r))) {
        bool left = ksi_vec_is_scalar(l);
        struct ksi_vec *v = left ? r : l;
        const double *s = left ? l->items[0].values : r->items[0].values;
        for (size_t i = 0; i < v->count; i++) {
            double *out = v->items[i].values;
            if (!keeps_name(b))
                KS_TRY(ksi_labels_drop_name(q, &v->items[i].labels));
            run_points(ctx, b, b->op, left ? s : out, left ? out : s, out, drop_right);
        }
        *ret = *v;
        return KS_OK;
    }
    struct match m = {.ctx = ctx, .b = b, .left.vec = l, .right.vec = r};
    KS_TRY(match_groups(&m));
    *ret = b->join == KS_JOIN_GROUP_RIGHT ? m.out_right : m.out_left;
    for (size_t i = 0; i < ret->count; i++) {
        double *out = ks_arena_array(q->arena, ctx->points, sizeof *out);
        if (!out)
            return ks_arena_err(q->arena);
        run_points(ctx, b, b->op, m.out_left.items[i].values, m.out_right.items[i].values, out,
                   drop_right);
        ret->items[i].values = out;
    }
    return KS_OK;
}

/*
 * Both sides; the one that usually has fewer series first, to narrow the other. *ret_done: one side
 * is empty and so is the result.
 */
static ks_err eval_sides(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                         struct ksi_vec *l, struct ksi_vec *r, bool *ret_done)
{
    bool right_first = b->op == KS_OP_AND || b->op == KS_OP_IF;
    struct ksi_vec *first = right_first ? r : l, *second = right_first ? l : r;
    const struct ks_expr *e1 = right_first ? b->rhs : b->lhs, *e2 = right_first ? b->lhs : b->rhs;
    struct ksi_ctx c2 = *ctx;
    KS_TRY(ksi_eval(ctx, e1, first));
    bool needs_first = !b->has_fill_left && b->op != KS_OP_OR && b->op != KS_OP_DEFAULT;
    *ret_done = !first->count && needs_first && !ctx->q->strict;
    if (*ret_done)
        return KS_OK;
    if (!ctx->q->strict && !ksi_is_scalar_expr(e1) && !ksi_is_scalar_expr(e2))
        KS_TRY(ksi_push_filters(ctx, b, first, &c2));
    return ksi_eval(&c2, e2, second);
}

ks_err ksi_eval_binary(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    struct ks_expr_binary b = e->binary;
    /* `5 < q` filters q: the vector's values are what the user wants to see. */
    const struct ks_expr *lhs = ksi_strip(b.lhs), *rhs = ksi_strip(b.rhs);
    bool lead = lhs->kind == KS_EXPR_NUMBER ||
                (lhs->kind == KS_EXPR_CALL && lhs->call.func->id == KS_FN_TIME);
    if (!ctx->q->strict && ks_op_is_comparison(b.op) && lead && rhs->kind != KS_EXPR_NUMBER) {
        struct ks_expr *t = b.lhs;
        b.lhs = b.rhs;
        b.rhs = t;
        b.op = mirrored(b.op);
    }
    struct ksi_ctx in;
    KS_TRY(ksi_push_through(ctx, &b, &in));
    struct ksi_vec l, r;
    bool done = false;
    KS_TRY(eval_sides(&in, &b, &l, &r, &done));
    if (done)
        return KS_OK;
    if (b.op <= KS_OP_UNLESS)
        return ksi_binary_set(ctx, &b, &l, &r, ret);
    return apply(ctx, &b, &l, &r, ret);
}
