/* Functions that choose series by their labels, or look at the labels of all of them. */
#include "base/cxx/re2.h"
#include "query/promql/exec_priv.h"

static ks_err match(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct ks_slice label, regex;
    KS_TRY(ksi_want_args(c->arg_count, 3));
    KS_TRY(ksi_arg_string(c->ctx, &c->args[1], 1, &label));
    KS_TRY(ksi_arg_string(c->ctx, &c->args[2], 2, &regex));
    char msg[256];
    struct ks_re *re =
        ks_re_new(regex.ptr ? regex.ptr : "", regex.len, KS_RE_DOT_NL, msg, sizeof msg);
    if (!re)
        return ks_fail(KS_EEXEC, "cannot compile regexp \"%.*s\": %s", KS_SLICE_ARG(regex), msg);
    bool want = c->call->func->id == KS_FN_LABEL_MATCH;
    size_t n = 0;
    for (size_t i = 0; i < ret->count; i++) {
        struct ks_slice v = ks_labels_get(ret->items[i].labels, label);
        if ((ks_re_full_match(re, v.ptr ? v.ptr : "", v.len) != 0) == want)
            ret->items[n++] = ret->items[i];
    }
    ret->count = n;
    ks_re_free(re);
    return KS_OK;
}

static ks_err labels_equal(const struct ksi_call *c, struct ksi_vec *ret)
{
    if (c->arg_count < 3)
        return ks_fail(KS_EEXEC, "unexpected number of args; got %zu; want at least 3",
                       c->arg_count);
    struct ks_slice *names = ks_arena_array(c->ctx->q->arena, c->arg_count, sizeof *names);
    if (!names)
        return ks_arena_err(c->ctx->q->arena);
    for (size_t i = 1; i < c->arg_count; i++)
        KS_TRY(ksi_arg_string(c->ctx, &c->args[i], i, &names[i]));
    size_t n = 0;
    for (size_t s = 0; s < ret->count; s++) {
        struct ks_slice first = ks_labels_get(ret->items[s].labels, names[1]);
        bool same = true;
        for (size_t i = 2; i < c->arg_count; i++)
            same = same && ks_slice_eq(first, ks_labels_get(ret->items[s].labels, names[i]));
        if (same)
            ret->items[n++] = ret->items[s];
    }
    ret->count = n;
    return KS_OK;
}

/* A label is common when every series has it with the same value. */
static ks_err drop_common(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct ksi_query *q = c->ctx->q;
    for (size_t i = 1; i < c->arg_count; i++)
        KS_TRY(ksi_vec_append(q, ret, &c->args[i]));
    if (!ret->count)
        return KS_OK;
    struct ks_slice *common = NULL;
    size_t n = 0, cap = 0;
    struct ks_labels_iter it = ks_labels_iter(ret->items[0].labels);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        bool all = true;
        for (size_t s = 1; s < ret->count && all; s++)
            all = ks_slice_eq(l.value, ks_labels_get(ret->items[s].labels, l.name));
        if (!all)
            continue;
        KS_TRY(ks_arena_grow(q->arena, (void **)&common, &cap, n + 1, sizeof *common));
        common[n++] = l.name;
    }
    struct ksi_label_filter f = {.names = common, .count = n, .mode = KSI_DROP};
    for (size_t s = 0; s < ret->count && n; s++)
        KS_TRY(ksi_labels_filtered(q, ret->items[s].labels, &f, &ret->items[s].labels));
    return KS_OK;
}

ks_err ksi_transform_label_filter(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    if (!c->arg_count) {
        *mine = false;
        return KS_OK;
    }
    switch (c->call->func->id) {
    case KS_FN_LABEL_MATCH:
    case KS_FN_LABEL_MISMATCH:
        *ret = c->args[0];
        return match(c, ret);
    case KS_FN_LABELS_EQUAL:
        *ret = c->args[0];
        return labels_equal(c, ret);
    case KS_FN_DROP_COMMON_LABELS:
        *ret = c->args[0];
        return drop_common(c, ret);
    default:
        *mine = false;
        return KS_OK;
    }
}
