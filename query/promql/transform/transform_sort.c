/* Ordering and paging of series. */
#include "query/promql/exec_priv.h"

struct order {
    const struct ksi_ctx *ctx;
    const struct ks_slice *labels;
    size_t label_count;
    bool desc, numeric;
};

/* By the last point; where that does not decide, by the one before. No value is below every value.
 */
static int cmp_values(const struct ksi_series *a, const struct ksi_series *b, const void *arg)
{
    const struct order *o = arg;
    for (size_t i = o->ctx->points; i-- > 0;) {
        double x = a->values[i], y = b->values[i];
        if (isnan(x) || isnan(y)) {
            if (isnan(x) != isnan(y))
                return isnan(x) ? -1 : 1;
            continue;
        }
        if (x != y)
            return (x < y) != o->desc ? -1 : 1;
    }
    return 0;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Length of a leading number: sign, digits, one dot, at least one digit. */
static size_t number_prefix(struct ks_slice s)
{
    size_t i = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
    bool any = false, dot = false;
    for (; i < s.len; i++) {
        if (digit(s.ptr[i]))
            any = true;
        else if (s.ptr[i] == '.' && !dot)
            dot = true;
        else
            break;
    }
    return any ? i : 0;
}

static double number_of(struct ks_slice s)
{
    double v;
    if (s.len && s.ptr[0] == '+')
        s = ks_slice_from(s, 1);
    if (s.len && s.ptr[s.len - 1] == '.')
        s.len--;
    return ks_f64_parse(s, &v) ? v : 0;
}

/* Natural order: runs of digits compare as numbers, other runs as text. */
static int cmp_natural(struct ks_slice a, struct ks_slice b)
{
    while (a.len && b.len) {
        size_t na = number_prefix(a), nb = number_prefix(b);
        if (na || nb) {
            if (!na || !nb)
                return na ? -1 : 1;
            double x = number_of(ks_slice(a.ptr, na)), y = number_of(ks_slice(b.ptr, nb));
            if (x != y)
                return x < y ? -1 : 1;
            a = ks_slice_from(a, na);
            b = ks_slice_from(b, nb);
        }
        size_t ta = 0, tb = 0;
        while (ta < a.len && !digit(a.ptr[ta]))
            ta++;
        while (tb < b.len && !digit(b.ptr[tb]))
            tb++;
        int c = ks_slice_cmp(ks_slice(a.ptr, ta), ks_slice(b.ptr, tb));
        if (c)
            return c;
        a = ks_slice_from(a, ta);
        b = ks_slice_from(b, tb);
    }
    return (a.len > 0) - (b.len > 0);
}

static int cmp_labels(const struct ksi_series *a, const struct ksi_series *b, const void *arg)
{
    const struct order *o = arg;
    for (size_t i = 0; i < o->label_count; i++) {
        struct ks_slice x = ks_labels_get(a->labels, o->labels[i]),
                        y = ks_labels_get(b->labels, o->labels[i]);
        int c = o->numeric ? cmp_natural(x, y) : ks_slice_cmp(x, y);
        if (c)
            return o->desc ? -c : c;
    }
    return 0;
}

static ks_err sort_by_labels(const struct ksi_call *c, struct order *o, struct ksi_vec *ret)
{
    if (c->arg_count < 2)
        return ks_fail(KS_EEXEC, "expecting at least 2 args; got %zu args", c->arg_count);
    struct ks_slice *labels = ks_arena_array(c->ctx->q->arena, c->arg_count, sizeof *labels);
    if (!labels)
        return ks_arena_err(c->ctx->q->arena);
    for (size_t i = 1; i < c->arg_count; i++)
        KS_TRY(ksi_arg_string(c->ctx, &c->args[i], i, &labels[i - 1]));
    o->labels = labels;
    o->label_count = c->arg_count - 1;
    *ret = c->args[0];
    return ksi_vec_sort(c->ctx->q, ret, cmp_labels, o);
}

static ks_err limit_offset(const struct ksi_call *c, struct ksi_vec *ret)
{
    int64_t limit, offset;
    KS_TRY(ksi_want_args(c->arg_count, 3));
    KS_TRY(ksi_arg_int(&c->args[0], 0, &limit));
    KS_TRY(ksi_arg_int(&c->args[1], 1, &offset));
    *ret = c->args[2];
    ksi_vec_drop_empty(c->ctx, ret);
    size_t skip = offset < 0 ? 0 : (uint64_t)offset > ret->count ? ret->count : (size_t)offset;
    ret->items += skip;
    ret->count -= skip;
    ret->cap -= skip;
    if (limit < 0)
        limit = 0;
    if ((uint64_t)limit < ret->count)
        ret->count = (size_t)limit;
    return KS_OK;
}

ks_err ksi_transform_sort(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    struct order o = {.ctx = c->ctx};
    switch (c->call->func->id) {
    case KS_FN_SORT_DESC:
    case KS_FN_SORT:
        o.desc = c->call->func->id == KS_FN_SORT_DESC;
        KS_TRY(ksi_want_args(c->arg_count, 1));
        *ret = c->args[0];
        return ksi_vec_sort(c->ctx->q, ret, cmp_values, &o);
    case KS_FN_SORT_BY_LABEL:
        return sort_by_labels(c, &o, ret);
    case KS_FN_SORT_BY_LABEL_DESC:
        o.desc = true;
        return sort_by_labels(c, &o, ret);
    case KS_FN_SORT_BY_LABEL_NUMERIC:
        o.numeric = true;
        return sort_by_labels(c, &o, ret);
    case KS_FN_SORT_BY_LABEL_NUMERIC_DESC:
        o.desc = o.numeric = true;
        return sort_by_labels(c, &o, ret);
    case KS_FN_LIMIT_OFFSET:
        return limit_offset(c, ret);
    case KS_FN_DROP_EMPTY_SERIES:
        KS_TRY(ksi_want_args(c->arg_count, 1));
        *ret = c->args[0];
        ksi_vec_drop_empty(c->ctx, ret);
        return KS_OK;
    default:
        *mine = false;
        return KS_OK;
    }
}
