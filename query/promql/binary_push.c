/*
 * Filters for the second side of a binary operator, from the series the first side gave: series
 * that could not find a partner need not be read. A label that all series have, with at most 100
 * values, makes an = or =~ filter.
 */
#include "query/promql/exec_priv.h"

enum { MAX_VALUES = 100, MAX_LABELS = 64 };

bool ksi_may_push(const struct ks_expr_binary *b)
{
    if (b->op == KS_OP_OR || b->op == KS_OP_DEFAULT || b->has_fill_left || b->has_fill_right)
        return false;
    const struct ks_expr *sides[] = {ksi_strip(b->lhs), ksi_strip(b->rhs)};
    for (int i = 0; i < 2; i++)
        if (sides[i]->kind == KS_EXPR_AGGREGATE && sides[i]->aggregate.label_count == 0)
            return false;
    return true;
}

static bool matched_on(const struct ks_expr_binary *b, struct ks_slice name)
{
    if (b->matching == KS_MATCHING_NONE)
        return true;
    for (size_t i = 0; i < b->match_label_count; i++)
        if (ks_slice_eq(b->match_labels[i], name))
            return b->matching == KS_MATCHING_ON;
    return b->matching == KS_MATCHING_IGNORING;
}

static void add_quoted(struct ks_buf *out, struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (strchr("\\.+*?()|[]{}^$", s.ptr[i]) && s.ptr[i])
            ks_buf_byte(out, '\\');
        ks_buf_byte(out, (uint8_t)s.ptr[i]);
    }
}

static ks_err make_matcher(struct ksi_query *q, struct ks_slice name, const struct ksi_map *values,
                           struct ks_matcher *ret)
{
    if (values->count == 1) {
        *ret = (struct ks_matcher){name, values->keys[0], KS_MATCH_EQ};
        return KS_OK;
    }
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < values->count; i++) {
        if (i)
            ks_buf_byte(&b, '|');
        add_quoted(&b, values->keys[i]);
    }
    ks_err err = ks_buf_status(&b);
    struct ks_slice text =
        err == KS_OK ? ks_arena_dup(q->arena, ks_buf_view(&b)) : ks_slice(NULL, 0);
    ks_buf_done(&b);
    KS_TRY(err);
    *ret = (struct ks_matcher){name, text, KS_MATCH_RE};
    return text.ptr ? KS_OK : ks_arena_err(q->arena);
}

/* *ret_common false: some series lacks the label or there are too many values. */
static ks_err collect(struct ksi_query *q, const struct ksi_vec *v, struct ks_slice name,
                      struct ksi_map *values, bool *ret_common)
{
    *ret_common = false;
    for (size_t i = 0; i < v->count; i++) {
        struct ks_slice value = ks_labels_get(v->items[i].labels, name);
        size_t at;
        if (!value.len)
            return KS_OK;
        KS_TRY(ksi_map_put(q->arena, values, value, false, &at, NULL));
        if (values->count > MAX_VALUES)
            return KS_OK;
    }
    *ret_common = v->count > 0;
    return KS_OK;
}

ks_err ksi_push_filters(const struct ksi_ctx *ctx, const struct ks_expr_binary *b,
                        const struct ksi_vec *first, struct ksi_ctx *ret)
{
    struct ksi_query *q = ctx->q;
    if (!first->count || !ksi_may_push(b))
        return KS_OK;
    struct ks_matcher *m = ks_arena_array(q->arena, ret->push_count + MAX_LABELS, sizeof *m);
    if (!m)
        return ks_arena_err(q->arena);
    size_t n = ret->push_count, max = n + MAX_LABELS;
    if (n)
        memcpy(m, ret->push, n * sizeof *m);
    struct ks_labels_iter it = ks_labels_iter(first->items[0].labels);
    struct ks_label l;
    while (n < max && ks_labels_next(&it, &l)) {
        struct ksi_map values = {0};
        bool common;
        if (ks_slice_eq(l.name, KS_NAME_LABEL) || !matched_on(b, l.name))
            continue;
        KS_TRY(collect(q, first, l.name, &values, &common));
        if (common)
            KS_TRY(make_matcher(q, l.name, &values, &m[n++]));
    }
    ret->push = m;
    ret->push_count = n;
    return KS_OK;
}

/* Of filters from outside, an operator lets through those on labels it matches by: its result has
 * them from both sides. */
ks_err ksi_push_through(const struct ksi_ctx *outer, const struct ks_expr_binary *b,
                        struct ksi_ctx *ret)
{
    *ret = *outer;
    ret->push_count = 0;
    if (!outer->push_count || !ksi_may_push(b))
        return KS_OK;
    struct ks_matcher *m = ks_arena_array(outer->q->arena, outer->push_count, sizeof *m);
    if (!m)
        return ks_arena_err(outer->q->arena);
    for (size_t i = 0; i < outer->push_count; i++)
        if (matched_on(b, outer->push[i].name))
            m[ret->push_count++] = outer->push[i];
    ret->push = m;
    return KS_OK;
}
