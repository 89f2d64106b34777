/* Selectors: what a query asks of the source, with the filters of the request and of joins, and
 * labels of what it finds. */
#include "query/promql/exec_priv.h"

/* The cross product of the selector's lists, the request's filters and the join filters. */
ks_err ksi_selectors_of(const struct ksi_ctx *ctx, const struct ks_expr_selector *sel,
                        struct ks_selector **ret, size_t *ret_count)
{
    const struct ks_promql_request *req = ctx->q->req;
    size_t extra = req->extra_filter_count ? req->extra_filter_count : 1;
    if (!req->extra_filter_count && !ctx->push_count) {
        *ret = sel->or_lists;
        *ret_count = sel->or_count;
        return KS_OK;
    }
    struct ks_selector *out = ks_arena_array(ctx->q->arena, sel->or_count * extra, sizeof *out);
    if (!out)
        return ks_arena_err(ctx->q->arena);
    size_t n = 0;
    for (size_t i = 0; i < sel->or_count; i++)
        for (size_t k = 0; k < extra; k++) {
            const struct ks_selector *a = &sel->or_lists[i];
            const struct ks_selector *b = req->extra_filter_count ? &req->extra_filters[k] : NULL;
            size_t bn = b ? b->count : 0, total = a->count + bn + ctx->push_count;
            struct ks_matcher *m = ks_arena_array(ctx->q->arena, total + 1, sizeof *m);
            if (!m)
                return ks_arena_err(ctx->q->arena);
            for (size_t x = 0; x < total; x++)
                m[x] = x < a->count        ? a->matchers[x]
                       : x < a->count + bn ? b->matchers[x - a->count]
                                           : ctx->push[x - a->count - bn];
            out[n++] = (struct ks_selector){m, total};
        }
    *ret = out;
    *ret_count = n;
    return KS_OK;
}

ks_err ksi_eval_select(const struct ksi_ctx *ctx, const struct ks_expr_selector *sel,
                       const struct ks_select_opts *want, struct ks_source_set **ret)
{
    struct ksi_query *q = ctx->q;
    struct ks_select_opts opts = *want;
    opts.tenants = q->req->tenants;
    opts.tenant_count = q->req->tenant_count;
    opts.ctx = &q->read;
    struct ks_selector *list;
    KS_TRY(ksi_selectors_of(ctx, sel, &list, &opts.selector_count));
    opts.selectors = list;
    struct ksi_pinned *pin = ks_arena_alloc(q->arena, sizeof *pin);
    if (!pin)
        return ks_arena_err(q->arena);
    if (q->req->on_name && sel->name.len)
        q->req->on_name(q->req->on_name_arg, sel->name);
    struct ks_promql_trace *t = ksi_trace_begin(q, "fetch matching series: timeRange=[%lld..%lld]",
                                                (long long)opts.min_ms, (long long)opts.max_ms);
    ks_err err = q->src->select(q->src->arg, &opts, &pin->set);
    ksi_trace_end(q, t, "series=%zu", err == KS_OK ? q->src->count(pin->set) : 0);
    KS_TRY(err);
    pin->next = q->pinned;
    q->pinned = pin;
    *ret = pin->set;
    size_t n = q->src->count(pin->set);
    q->series_fetched += n;
    if (n > q->max_series)
        return ks_fail(KS_ELIMIT,
                       "the number of matching timeseries exceeds %llu; either narrow down the "
                       "search or increase "
                       "-search.maxUniqueTimeseries",
                       (unsigned long long)q->max_series);
    return KS_OK;
}

ks_err ksi_set_labels(struct ksi_query *q, const struct ks_source_set *set, size_t i,
                      struct ks_slice *ret)
{
    *ret = q->src->labels(set, i);
    if (!ret->ptr)
        return KS_ENOMEM;
    if (!q->req->multitenant)
        return KS_OK;
    struct ks_tenant t = q->src->tenant(set, i);
    char text[20];
    KS_TRY(ksi_labels_set(q, ret, KS_SLICE_LIT("vm_account_id"),
                          ks_slice(text, ks_u64_format(text, t.account))));
    return ksi_labels_set(q, ret, KS_SLICE_LIT("vm_project_id"),
                          ks_slice(text, ks_u64_format(text, t.project)));
}

/* As Prometheus reads filters for absent(): those that take series away come last, whatever the
 * text says. */
static ks_err absent_labels_strict(struct ksi_query *q, const struct ks_selector *s,
                                   struct ks_slice *labels)
{
    struct ksi_map seen = {0};
    for (int last = 0; last < 2; last++)
        for (size_t i = 0; i < s->count; i++) {
            const struct ks_matcher *m = &s->matchers[i];
            bool subtracts = false, first = m->op == KS_MATCH_EQ;
            size_t at;
            if (m->op == KS_MATCH_NEQ || m->op == KS_MATCH_NRE)
                KS_TRY(ksi_matches(m, ks_slice("", 0), &subtracts));
            if (subtracts != (last == 1) || ks_slice_eq(m->name, KS_NAME_LABEL))
                continue;
            if (first)
                KS_TRY(ksi_map_put(q->arena, &seen, m->name, false, &at, &first));
            KS_TRY(first ? ksi_labels_set(q, labels, m->name, m->value)
                         : ksi_labels_remove(q, labels, m->name));
        }
    return KS_OK;
}

ks_err ksi_vec_absent(const struct ksi_ctx *ctx, const struct ks_expr *arg, struct ksi_vec *ret)
{
    KS_TRY(ksi_vec_number(ctx, 1, ret));
    arg = ksi_strip(arg);
    if (arg->kind == KS_EXPR_ROLLUP && ctx->q->strict)
        arg = ksi_strip(arg->rollup.expr);
    if (arg->kind != KS_EXPR_SELECTOR || arg->selector.or_count != 1)
        return KS_OK;
    const struct ks_selector *s = &arg->selector.or_lists[0];
    struct ks_slice *labels = &ret->items[0].labels;
    if (ctx->q->strict)
        return absent_labels_strict(ctx->q, s, labels);
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_matcher *m = &s->matchers[i];
        if (m->op == KS_MATCH_EQ && !ks_slice_eq(m->name, KS_NAME_LABEL))
            KS_TRY(ksi_labels_set(ctx->q, labels, m->name, m->value));
    }
    return KS_OK;
}
