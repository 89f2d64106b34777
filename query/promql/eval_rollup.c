/*
 * Rollups over selectors and subqueries, and aggregates pushed down to them: planning, and what
 * stands around the runs (rollup_run.c).
 */
#include "query/promql/rollup/rollup_run.h"
#include "query/promql/strict/strict_range.h"
#include "query/promql/syntax/parser.h"

/* --- planning --- */
static ks_err plan_at(const struct ksi_ctx *ctx, struct ksi_plan *p)
{
    const struct ks_expr_rollup *m = p->mod;
    p->has_at = true;
    if (m->at == KS_AT_START || m->at == KS_AT_END) {
        /* MetricsQL: start() and end() are those of the grid evaluated, which may be a subquery's.
         */
        const struct ks_promql_request *req = ctx->q->req;
        int64_t start = ctx->q->strict ? req->start_ms : ctx->start_ms;
        p->at_ms = m->at == KS_AT_START ? start : ctx->q->strict ? req->end_ms : ctx->end_ms;
        return KS_OK;
    }
    struct ksi_vec v;
    struct ksi_ctx c = *ctx;
    c.push_count = 0;
    KS_TRY(ksi_eval(&c, m->at_expr, &v));
    if (v.count != 1)
        return ks_fail(KS_EEXEC,
                       "`@` modifier must return a single series; it returns %zu series instead",
                       v.count);
    double at = NAN;
    for (size_t i = 0; i < ctx->points && isnan(at); i++)
        at = v.items[0].values[i];
    if (isnan(at) || fabs(at) > 1e15)
        return ks_fail(KS_EEXEC, "`@` modifier must return a non-NaN value");
    p->at_ms = ctx->q->strict ? (int64_t)llround(at * 1e3) : (int64_t)(at * 1e3);
    return KS_OK;
}

/* Takes window, step, offset and @ from the argument node. */
static ks_err plan_arg(const struct ksi_ctx *ctx, const struct ks_expr *arg, struct ksi_plan *p)
{
    arg = ksi_strip(arg);
    p->arg = p->written = arg;
    if (arg->kind == KS_EXPR_ROLLUP) {
        p->mod = &arg->rollup;
        p->arg = ksi_strip(arg->rollup.expr);
        bool positive = ctx->q->strict && p->mod->window.set;
        KS_TRY(ks_duration_resolve(&p->mod->window, ctx->step_ms, positive, &p->cfg.window_ms));
        KS_TRY(ks_duration_resolve(&p->mod->offset, ctx->step_ms, false, &p->cfg.offset_ms));
        if (p->cfg.window_ms < 0)
            return ks_fail(KS_EEXEC, "unexpected negative window: %lldms",
                           (long long)p->cfg.window_ms);
        if (p->mod->at != KS_AT_NONE)
            KS_TRY(plan_at(ctx, p));
        p->subquery = ks_rollup_is_subquery(p->mod);
    }
    if (p->arg->kind != KS_EXPR_SELECTOR)
        p->subquery = true;
    return KS_OK;
}

static ks_err plan_grid(const struct ksi_ctx *ctx, struct ksi_plan *p)
{
    const struct ks_promql_request *req = ctx->q->req;
    p->cfg.strict = ctx->q->strict;
    p->cfg.subquery = p->subquery;
    p->cfg.start_ms = p->has_at ? p->at_ms : ctx->start_ms;
    p->cfg.end_ms =
        p->has_at ? p->at_ms : ctx->start_ms + (int64_t)(ctx->points - 1) * ctx->step_ms;
    p->cfg.step_ms = ctx->step_ms;
    p->cfg.lookback_delta_ms = req->lookback_ms;
    if (p->cfg.strict && !p->cfg.window_ms)
        p->cfg.window_ms = req->lookback_ms ? req->lookback_ms : 300000;
    return ks_rollup_check(&p->cfg);
}

/* aggr_over_time takes one name or a list of names. */
static ks_err plan_names(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_plan *p)
{
    e = ksi_strip(e);
    size_t n = e->kind == KS_EXPR_PARENS ? e->parens.count : 1;
    struct ks_slice *names = ks_arena_array(ctx->q->arena, n + 1, sizeof *names);
    if (!names)
        return ks_arena_err(ctx->q->arena);
    for (size_t i = 0; i < n; i++) {
        const struct ks_expr *s = e->kind == KS_EXPR_PARENS ? ksi_strip(e->parens.items[i]) : e;
        if (s->kind == KS_EXPR_STRING)
            names[i] = s->string;
        else if (s->kind == KS_EXPR_SELECTOR && s->selector.name.len)
            names[i] = s->selector.name;
        else
            return ks_fail(KS_EEXEC, "aggr_over_time expects function names as strings");
    }
    p->cfg.aggr_names = names;
    p->cfg.aggr_count = n;
    return KS_OK;
}

static ks_err plan_scalar_arg(const struct ksi_ctx *ctx, const struct ks_expr *e, size_t index,
                              struct ks_rollup_arg *ret)
{
    struct ksi_vec v;
    const double *s;
    KS_TRY(ksi_eval(ctx, e, &v));
    KS_TRY(ksi_arg_scalar(&v, index, &s));
    *ret = (struct ks_rollup_arg){.value = s[0], .steps = ctx->points > 1 ? s : NULL};
    return KS_OK;
}

static ks_err plan_call(const struct ksi_ctx *ctx, const struct ks_expr_call *c, struct ksi_plan *p)
{
    enum ks_promql_func_id id = c->func->id;
    size_t at = c->func->rollup_arg < 0 ? c->arg_count - 1 : (size_t)c->func->rollup_arg;
    if (ctx->q->strict)
        for (at = 0; at + 1 < c->arg_count && c->func->strict_args[at] != 'm' &&
                     c->func->strict_args[at] != 'v';)
            at++;
    if (!c->arg_count || at >= c->arg_count)
        return ks_fail(KS_EEXEC, "expecting at least %zu args to \"%s\"; got %zu args", at + 1,
                       c->func->name, c->arg_count);
    *p = (struct ksi_plan){.cfg = {.func = id},
                           .keep_name = c->keep_metric_names || c->func->keeps_name};
    if (ctx->q->strict)
        p->keep_name = id == KS_FN_LAST_OVER_TIME;
    p->first_arg = c->args[0];
    struct ks_rollup_arg *args = ks_arena_array(ctx->q->arena, c->arg_count, sizeof *args);
    if (!args)
        return ks_arena_err(ctx->q->arena);
    size_t n = 0;
    struct ksi_ctx plain = *ctx;
    plain.push_count = 0;
    KS_TRY(plan_arg(ctx, c->args[at], p));
    /* Arguments that vary are taken at the evaluation's own points, also under @ (one value then).
     */
    for (size_t i = 0; i < c->arg_count; i++) {
        const struct ks_expr *a = ksi_strip(c->args[i]);
        if (i == at)
            continue;
        if (id == KS_FN_AGGR_OVER_TIME)
            KS_TRY(plan_names(ctx, a, p));
        else if (a->kind == KS_EXPR_STRING)
            p->cfg.text = a->string;
        else if ((i == 0 &&
                  (id == KS_FN_QUANTILES_OVER_TIME || id == KS_FN_COUNT_VALUES_OVER_TIME)) ||
                 (id >= KS_FN_ROLLUP && id <= KS_FN_ROLLUP_SCRAPE_INTERVAL))
            return ks_fail(KS_EEXEC, "arg #%zu of \"%s\" must be a string", i + 1, c->func->name);
        else
            KS_TRY(plan_scalar_arg(&plain, a, i, &args[n++]));
    }
    for (size_t i = 0; i < n && p->has_at; i++)
        args[i].steps = NULL;
    p->cfg.args = args;
    p->cfg.arg_count = n;
    return plan_grid(ctx, p);
}

/* At one instant some functions look at a sample or two of each series. */
static void tell_need(const struct ksi_run *r, struct ks_select_opts *o)
{
    const struct ks_rollup_config *c = &r->plan->cfg;
    if (c->strict || r->reuse || c->start_ms != c->end_ms || c->lookback_delta_ms ||
        c->min_staleness_ms)
        return;
    switch (c->func) {
    case KS_FN_DEFAULT_ROLLUP:
    case KS_FN_LAST_OVER_TIME:
    case KS_FN_TIMESTAMP:
    case KS_FN_TIMESTAMP_WITH_NAME:
    case KS_FN_TLAST_OVER_TIME:
        o->need = KS_NEED_LAST;
        return;
    case KS_FN_INCREASE:
    case KS_FN_INCREASE_PURE:
    case KS_FN_RATE:
        if (c->window_ms == 0)
            return;
        o->need = KS_NEED_EDGES;
        o->since_ms = c->end_ms - c->offset_ms - c->window_ms;
        o->near_ms = c->step_ms;
        return;
    default:
        return;
    }
}

/* aggr: NULL, or the aggregate the series go under. */
static ks_err select_for(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                         const struct ks_expr_aggregate *aggr, struct ksi_run *r)
{
    *r = (struct ksi_run){.ctx = ctx, .plan = p, .points = ks_rollup_points(&p->cfg), .aggr = aggr};
    ks_rollup_fetch_range(&p->cfg, &r->min_ms, &r->max_ms);
    if (aggr) {
        r->filter = ksi_aggr_filter(aggr);
        r->filter.drop_name |= !p->keep_name;
    }
    KS_TRY(ksi_reuse_begin(r));
    struct ks_select_opts want = {.min_ms = r->min_ms, .max_ms = r->max_ms};
    tell_need(r, &want);
    KS_TRY(ksi_eval_select(ctx, &p->arg->selector, &want, &r->set));
    r->series = ctx->q->src->count(r->set);
    return KS_OK;
}

static ks_err memory_check(const struct ksi_run *r, size_t series)
{
    struct ksi_query *q = r->ctx->q;
    double bytes = (double)series * ((double)r->points * 8 + 100);
    if (bytes <= (double)(q->arena->cap_bytes - q->arena->used_bytes))
        return KS_OK;
    return ks_fail(KS_ELIMIT,
                   "not enough memory for processing %zu data points across %zu time series with "
                   "%zu points in each time "
                   "series according to -search.maxMemoryPerQuery=%zu; requested memory: %.0f "
                   "bytes; possible solutions "
                   "are: reducing the number of matching time series; increasing `step` query arg "
                   "(step=%gs); increasing "
                   "-search.maxMemoryPerQuery",
                   series * r->points, series, r->points, q->max_memory_bytes, bytes,
                   (double)r->ctx->step_ms / 1e3);
}

/* One value under @ stands for all points of the query's grid. */
static ks_err expand_at(const struct ksi_ctx *ctx, const struct ksi_plan *p, struct ksi_vec *v)
{
    if (!p->has_at || ctx->points == 1)
        return KS_OK;
    for (size_t i = 0; i < v->count; i++) {
        double *g = ksi_grid(ctx, v->items[i].values[0]);
        if (!g)
            return ks_arena_err(ctx->q->arena);
        v->items[i].values = g;
    }
    return KS_OK;
}

/* Rollups with several outputs per series, on the calling thread. */
static ks_err push_multi(const struct ksi_ctx *ctx, const struct ksi_plan *p, struct ksi_worker *w,
                         struct ks_slice labels, struct ks_tenant tenant,
                         const struct ks_samples *s, struct ksi_vec *ret)
{
    struct ks_rollup_outputs outs;
    KS_TRY(ks_rollup_run_multi(&p->cfg, s->times, s->values, s->count, &w->scratch, ctx->q->arena,
                               &outs));
    for (size_t i = 0; i < outs.count; i++) {
        struct ksi_series x = {.labels = labels, .tenant = tenant, .values = outs.items[i].values};
        if (!p->keep_name)
            KS_TRY(ksi_labels_drop_name(ctx->q, &x.labels));
        if (outs.items[i].label.len)
            KS_TRY(ksi_labels_set(ctx->q, &x.labels, outs.items[i].label, outs.items[i].value));
        KS_TRY(ksi_vec_push(ctx->q, ret, x));
    }
    return KS_OK;
}

static ks_err rollup_selector_multi(struct ksi_run *r, struct ksi_vec *ret)
{
    struct ksi_query *q = r->ctx->q;
    struct ksi_worker w = {0};
    ks_err err = KS_OK;
    for (size_t i = 0; i < r->series && err == KS_OK; i++) {
        struct ks_slice labels;
        err = ks_read_ctx_check(&q->read);
        if (err == KS_OK)
            err = ksi_set_labels(q, r->set, i, &labels);
        if (err == KS_OK)
            err = q->src->read(r->set, i, r->min_ms, r->max_ms, &w.samples);
        if (err == KS_OK && w.samples.count)
            err =
                push_multi(r->ctx, r->plan, &w, labels, q->src->tenant(r->set, i), &w.samples, ret);
    }
    ks_samples_settle(&w.samples, &q->read);
    ks_samples_done(&w.samples);
    ks_rollup_scratch_done(&w.scratch);
    return err;
}

static bool ends_with(struct ks_slice s, const char *end)
{
    size_t n = strlen(end);
    return s.len >= n && memcmp(s.ptr + s.len - n, end, n) == 0;
}

/* Strict: rate() of something that does not look like a counter. */
static ks_err annotate_counter(struct ksi_query *q, const struct ksi_plan *p,
                               const struct ksi_series *s, size_t points)
{
    static const char *const ends[] = {"_total", "_sum", "_count", "_bucket"};
    struct ks_slice name = ks_labels_get(s->labels, KS_NAME_LABEL), type;
    bool any = false;
    if ((p->cfg.func != KS_FN_RATE && p->cfg.func != KS_FN_INCREASE) || !name.len)
        return KS_OK;
    for (size_t i = 0; i < 4 && !q->req->type_and_unit_labels; i++)
        if (ends_with(name, ends[i]))
            return KS_OK;
    for (size_t i = 0; i < points && !any; i++)
        any = !ksi_is_absent(q, s->values[i]) && !ksi_is_hist(s->values[i]);
    if (!any)
        return KS_OK;
    /* Of a subquery Prometheus knows no place and names the query's start. */
    static const struct ks_expr query_start;
    const struct ks_expr *at = p->subquery ? &query_start : p->written;
    if (!q->req->type_and_unit_labels)
        return ksi_inform(q, at,
                          "metric might not be a counter, name does not end in "
                          "_total/_sum/_count/_bucket: \"%.*s\"",
                          KS_SLICE_ARG(name));
    type = ks_labels_get(s->labels, KS_SLICE_LIT("__type__"));
    if (ks_slice_is(type, "counter"))
        return KS_OK;
    return ksi_inform(q, at,
                      "metric might not be a counter, __type__ label is not set to \"counter\", "
                      "got \"%.*s\": \"%.*s\"",
                      KS_SLICE_ARG(type), KS_SLICE_ARG(name));
}

/* Strict: a quantile outside of 0…1 is worth a warning where some series has samples. */
static ks_err annotate_quantile(struct ksi_query *q, const struct ksi_plan *p,
                                const struct ksi_vec *v)
{
    size_t points = ks_rollup_points(&p->cfg);
    for (size_t k = 0; k < points; k++) {
        double phi = p->cfg.args[0].steps ? p->cfg.args[0].steps[k] : p->cfg.args[0].value;
        bool any = false;
        if (phi >= 0 && phi <= 1)
            continue;
        for (size_t i = 0; i < v->count && !any; i++)
            any = !ksi_is_absent(q, v->items[i].values[k]);
        if (any)
            KS_TRY(ksi_warn_quantile(q, p->first_arg, phi));
    }
    return KS_OK;
}

/* Strict: series with native histograms are run anew, numbers and histograms together. */
static ks_err run_histograms(const struct ksi_run *r)
{
    struct ksi_query *q = r->ctx->q;
    struct ksi_range w;
    ks_err err = KS_OK;
    if (!q->strict || !q->src->has_histograms)
        return KS_OK;
    ksi_range_init(&w, q);
    for (size_t i = 0; i < r->series && err == KS_OK; i++)
        if (q->src->has_histograms(r->set, i)) {
            err = ksi_range_select(r, i, &w, r->out + i * r->points);
            r->seen[i] = true;
        }
    ksi_range_done(&w);
    return err;
}

static ks_err rollup_selector(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                              struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    const struct ks_expr_selector *sel = &p->arg->selector;
    if (!q->strict && ksi_selects_nothing(sel))
        return ksi_vec_number(ctx, ksi_absent(), ret); /* {} selects nothing */
    struct ksi_run r;
    KS_TRY(select_for(ctx, p, NULL, &r));
    if (!r.series)
        return KS_OK;
    KS_TRY(memory_check(&r, r.series));
    if (ks_rollup_is_multi(&p->cfg))
        return rollup_selector_multi(&r, ret);
    r.out = ks_arena_array(q->arena, r.series * r.points, sizeof(double));
    r.seen = ks_arena_zalloc(q->arena, r.series);
    ret->items = ks_arena_array(q->arena, r.series, sizeof *ret->items);
    ret->cap = r.series;
    if (!r.out || !r.seen || !ret->items)
        return ks_arena_err(q->arena);
    KS_TRY(ksi_run_rows(&r));
    KS_TRY(run_histograms(&r));
    for (size_t i = 0; i < r.series; i++) {
        struct ksi_series x = {.tenant = q->src->tenant(r.set, i), .values = r.out + i * r.points};
        if (!r.seen[i]) /* found for its chunks, which have a gap there */
            continue;
        KS_TRY(ksi_set_labels(q, r.set, i, &x.labels));
        if (q->strict)
            KS_TRY(annotate_counter(q, p, &x, r.points));
        if (!p->keep_name)
            KS_TRY(ksi_drop_metric(q, &x));
        ret->items[ret->count++] = x;
    }
    return KS_OK;
}

/* --- subqueries --- */
static int64_t floor_to(int64_t v, int64_t step)
{
    int64_t rest = v % step;
    return v - (rest < 0 ? rest + step : rest);
}

static ks_err subquery_ctx(const struct ksi_ctx *ctx, const struct ksi_plan *p, struct ksi_ctx *ret)
{
    struct ksi_query *q = ctx->q;
    int64_t step = 0, from = p->cfg.start_ms - p->cfg.offset_ms,
            to = p->cfg.end_ms - p->cfg.offset_ms;
    if (p->mod && p->mod->step.set)
        KS_TRY(ks_duration_resolve(&p->mod->step, ctx->step_ms, false, &step));
    if (step < 0)
        return ks_fail(KS_EEXEC, "unexpected negative step: %lldms", (long long)step);
    if (q->strict) {
        if (step == 0)
            step = 60000; /* the default evaluation interval */
        int64_t start = floor_to(from - p->cfg.window_ms, step) + step;
        return ksi_ctx_make(q, start, to < start ? start : to, step, q->max_subquery_points, ret);
    }
    if (step == 0)
        step = ctx->step_ms;
    if (p->cfg.func == KS_FN_ROLLUP_CANDLESTICK) { /* a candle lies after its time stamp */
        from += ctx->step_ms;
        to += ctx->step_ms;
    }
    from -= p->cfg.window_ms + step + 300000;
    to += step;
    from -= from % step;
    if (to % step > 0)
        to += step - to % step;
    KS_TRY(ksi_ctx_make(q, from, to, step, q->max_subquery_points, ret));
    ret->push = ctx->push;
    ret->push_count = ctx->push_count;
    return KS_OK;
}

/* The rollup of one inner series that has a histogram among its points. */
static ks_err subquery_histograms(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                                  const struct ksi_ctx *sub, const struct ksi_series *in,
                                  double *out)
{
    struct ksi_query *q = ctx->q;
    struct ksi_range w;
    struct ks_histogram_run run = {0};
    ksi_range_init(&w, q);
    run.times = ks_arena_array(&w.series, sub->points, sizeof *run.times);
    run.items = ks_arena_array(&w.series, sub->points, sizeof *run.items);
    int64_t *times = ks_arena_array(&w.series, sub->points, sizeof *times);
    double *values = ks_arena_array(&w.series, sub->points, sizeof *values);
    ks_err err = run.times && run.items && times && values ? KS_OK : ks_arena_err(&w.series);
    size_t n = 0;
    for (size_t k = 0; k < sub->points && err == KS_OK; k++) {
        const struct ks_histogram *h = ksi_hist(q, in->values[k]);
        if (h) {
            run.times[run.count] = ksi_time(sub, k);
            run.items[run.count++] = *h;
        } else if (!ksi_is_absent(q, in->values[k])) {
            times[n] = ksi_time(sub, k);
            values[n++] = in->values[k];
        }
    }
    w.numbers = (struct ks_samples){.times = times, .values = values, .count = n};
    if (err == KS_OK)
        err = ksi_range_run(ctx, p, in->labels, &run, &w, out);
    w.numbers = (struct ks_samples){0}; /* the arena's */
    ksi_range_done(&w);
    return err;
}

static bool any_histogram(const struct ksi_query *q, const double *v, size_t n)
{
    bool any = false;
    for (size_t k = 0; k < n && q->hist_count && !any; k++)
        any = ksi_is_hist(v[k]);
    return any;
}

static ks_err rollup_subquery(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                              struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_ctx sub;
    KS_TRY(subquery_ctx(ctx, p, &sub));
    struct ksi_vec in;
    KS_TRY(ksi_eval(&sub, p->arg, &in));
    struct ksi_worker w = {0};
    size_t points = ks_rollup_points(&p->cfg);
    bool multi = ks_rollup_is_multi(&p->cfg);
    struct ks_samples s = {0};
    s.times = ks_arena_array(q->arena, sub.points, sizeof *s.times);
    s.values = ks_arena_array(q->arena, sub.points, sizeof *s.values);
    ks_err err = s.times && s.values ? KS_OK : ks_arena_err(q->arena);
    for (size_t i = 0; i < in.count && err == KS_OK; i++) {
        s.count = 0;
        for (size_t k = 0; k < sub.points; k++)
            if (!ksi_is_absent(q, in.items[i].values[k])) {
                s.times[s.count] = ksi_time(&sub, k);
                s.values[s.count++] = in.items[i].values[k];
            }
        if (multi) {
            err = push_multi(ctx, p, &w, in.items[i].labels, in.items[i].tenant, &s, ret);
            continue;
        }
        struct ksi_series x = in.items[i];
        x.values = ks_arena_array(q->arena, points, sizeof *x.values);
        if (!x.values)
            err = ks_arena_err(q->arena);
        else if (any_histogram(q, in.items[i].values, sub.points))
            err = subquery_histograms(ctx, p, &sub, &in.items[i], x.values);
        else
            err = ks_rollup_run(&p->cfg, s.times, s.values, s.count, &w.scratch, x.values);
        if (err == KS_OK && q->strict)
            err = annotate_counter(q, p, &x, points);
        if (err == KS_OK && !p->keep_name)
            err = ksi_drop_metric(q, &x);
        if (err == KS_OK)
            err = ksi_vec_push(q, ret, x);
    }
    ks_rollup_scratch_done(&w.scratch);
    return err;
}

/* Absent where no series has a value: each series' rollup gives 1 where it has none. */
static ks_err absent_over_all(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                              struct ksi_vec *v)
{
    struct ksi_vec out;
    struct ksi_ctx c = *ctx;
    c.points = ks_rollup_points(&p->cfg);
    /* Neither dialect looks for a selector inside a subquery. */
    if (ctx->q->strict ? p->subquery : p->mod && ks_rollup_is_subquery(p->mod))
        KS_TRY(ksi_vec_number(&c, 1, &out));
    else
        KS_TRY(ksi_vec_absent(&c, p->arg, &out));
    for (size_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < c.points; k++)
            if (ksi_is_absent(ctx->q, v->items[i].values[k]))
                out.items[0].values[k] = ksi_absent();
    *v = out;
    return KS_OK;
}

static ks_err run_plan(const struct ksi_ctx *ctx, const struct ksi_plan *p, struct ksi_vec *ret)
{
    *ret = (struct ksi_vec){0};
    KS_TRY(p->subquery ? rollup_subquery(ctx, p, ret) : rollup_selector(ctx, p, ret));
    if (ctx->q->strict && p->cfg.func == KS_FN_QUANTILE_OVER_TIME)
        KS_TRY(annotate_quantile(ctx->q, p, ret));
    if (p->cfg.func == KS_FN_ABSENT_OVER_TIME)
        KS_TRY(absent_over_all(ctx, p, ret));
    KS_TRY(expand_at(ctx, p, ret));
    return ctx->q->strict && !p->keep_name ? ksi_check_labelsets(ctx, ret) : KS_OK;
}

static ks_err plan_default(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_plan *p)
{
    *p = (struct ksi_plan){.cfg = {.func = KS_FN_DEFAULT_ROLLUP}, .keep_name = true};
    KS_TRY(plan_arg(ctx, e, p));
    return plan_grid(ctx, p);
}

ks_err ksi_eval_default_rollup(const struct ksi_ctx *ctx, const struct ks_expr *e,
                               struct ksi_vec *ret)
{
    struct ksi_plan p;
    KS_TRY(plan_default(ctx, e, &p));
    return run_plan(ctx, &p, ret);
}

/*
 * predict_linear(m[5m] @ t, s): the window is pinned, but the forecast starts at each point of the
 * evaluation. Points are run one by one, with the offset that leads from each to the pinned window.
 */
static ks_err predict_pinned(const struct ksi_ctx *ctx, const struct ksi_plan *pinned,
                             struct ksi_vec *ret)
{
    int64_t to = pinned->at_ms - pinned->cfg.offset_ms;
    struct ksi_ctx one = *ctx;
    one.points = 1;
    *ret = (struct ksi_vec){0};
    for (size_t k = 0; k < ctx->points; k++) {
        struct ksi_plan p = *pinned;
        struct ksi_vec v;
        p.has_at = false;
        one.start_ms = one.end_ms = p.cfg.start_ms = p.cfg.end_ms = ksi_time(ctx, k);
        p.cfg.offset_ms = one.start_ms - to;
        KS_TRY(run_plan(&one, &p, &v));
        for (size_t i = 0; i < v.count; i++) {
            double x = v.items[i].values[0];
            if (!(v.items[i].values = ksi_grid(ctx, ksi_absent())))
                return ks_arena_err(ctx->q->arena);
            v.items[i].values[k] = x;
        }
        KS_TRY(ksi_vec_append(ctx->q, ret, &v));
    }
    return ksi_merge_labelsets(ctx, ret);
}

ks_err ksi_eval_rollup_call(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    struct ksi_plan p;
    KS_TRY(plan_call(ctx, &e->call, &p));
    if (ctx->q->strict && e->call.func->id == KS_FN_TIMESTAMP && p.subquery)
        return ksi_strict_timestamp(ctx, e->call.args[0], ret);
    if (ctx->q->strict && e->call.func->id == KS_FN_PREDICT_LINEAR && p.has_at)
        return predict_pinned(ctx, &p, ret);
    return run_plan(ctx, &p, ret);
}

ks_err ksi_eval_info_times(const struct ksi_ctx *ctx, const struct ks_expr *selector,
                           struct ksi_vec *ret)
{
    struct ksi_plan p = {.cfg = {.func = KS_FN_TIMESTAMP}, .keep_name = true};
    KS_TRY(plan_arg(ctx, selector, &p));
    KS_TRY(plan_grid(ctx, &p));
    return run_plan(ctx, &p, ret);
}

ks_err ksi_eval_subquery(const struct ksi_ctx *ctx, const struct ks_expr *e,
                         struct ksi_ctx *ret_grid, struct ksi_vec *ret)
{
    struct ksi_plan p;
    KS_TRY(plan_default(ctx, e, &p));
    KS_TRY(subquery_ctx(ctx, &p, ret_grid));
    return ksi_eval(ret_grid, p.arg, ret);
}

/* --- aggregates pushed down --- */
ks_err ksi_try_rollup_aggregate(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                                struct ksi_vec *ret, bool *ret_done)
{
    *ret_done = false;
    if (a->arg_count != 1 || !ksi_acc_supports(a->func->id) || ctx->q->strict ||
        ctx->q->req->multitenant)
        return KS_OK;
    const struct ks_expr *e = ksi_strip(a->args[0]);
    struct ksi_plan p;
    if (e->kind == KS_EXPR_CALL && e->call.func->kind == KS_FUNC_ROLLUP) {
        size_t at =
            e->call.func->rollup_arg < 0 ? e->call.arg_count - 1 : (size_t)e->call.func->rollup_arg;
        if (!e->call.arg_count || at >= e->call.arg_count ||
            e->call.func->id == KS_FN_ABSENT_OVER_TIME)
            return KS_OK;
        const struct ks_expr *in = ksi_strip(e->call.args[at]);
        if (in->kind == KS_EXPR_ROLLUP && !ks_rollup_is_subquery(&in->rollup))
            in = ksi_strip(in->rollup.expr);
        if (in->kind != KS_EXPR_SELECTOR)
            return KS_OK;
        KS_TRY(plan_call(ctx, &e->call, &p));
    } else if (e->kind == KS_EXPR_SELECTOR || e->kind == KS_EXPR_ROLLUP) {
        KS_TRY(plan_default(ctx, e, &p));
    } else {
        return KS_OK;
    }
    if (p.subquery || ks_rollup_is_multi(&p.cfg))
        return KS_OK;
    const struct ks_expr_selector *sel = &p.arg->selector;
    if (ksi_selects_nothing(sel))
        return KS_OK;
    struct ksi_run r;
    *ret_done = true;
    KS_TRY(select_for(ctx, &p, a, &r));
    if (!r.series)
        return KS_OK;
    KS_TRY(ksi_run_groups(&r, ret));
    return expand_at(ctx, &p, ret);
}

/* --- raw samples --- */
bool ksi_is_raw(const struct ksi_query *q, const struct ks_expr *e)
{
    e = ksi_strip(e);
    return e->kind == KS_EXPR_ROLLUP && e->rollup.window.set &&
           !ks_rollup_is_subquery(&e->rollup) &&
           ksi_strip(e->rollup.expr)->kind == KS_EXPR_SELECTOR;
}

/* Samples as stored but for stale markers, numbers and histograms in order of time. */
static ks_err raw_samples(struct ksi_query *q, const struct ks_samples *s,
                          const struct ks_histogram_run *run, int64_t *times, double *values,
                          size_t *ret_count)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < s->count || k < run->count;) {
        bool hist = i == s->count || (k < run->count && run->times[k] < s->times[i]);
        times[n] = hist ? run->times[k] : s->times[i];
        if (!hist) {
            values[n] = s->values[i++];
            n += !ks_is_stale_nan(values[n]);
            continue;
        }
        const struct ks_histogram *h = &run->items[k++];
        if (ks_histogram_is_stale(h))
            continue;
        struct ks_histogram *as_float = ks_arena_alloc(q->arena, sizeof *as_float);
        if (!as_float)
            return ks_arena_err(q->arena);
        KS_TRY(ks_histogram_to_float(q->arena, h, as_float));
        KS_TRY(ksi_hist_point(q, as_float, &values[n++]));
    }
    *ret_count = n;
    return KS_OK;
}

static ks_err raw_series(const struct ksi_ctx *ctx, struct ks_source_set *set, size_t i,
                         int64_t min_ms, int64_t max_ms, struct ks_samples *s,
                         struct ks_promql_series *ret, bool *ret_any)
{
    struct ksi_query *q = ctx->q;
    struct ks_histogram_run run = {0};
    KS_TRY(q->src->read(set, i, min_ms, max_ms, s));
    if (q->strict && q->src->has_histograms && q->src->has_histograms(set, i)) {
        ksi_plain_nans(s->values, s->count);
        KS_TRY(q->src->read_histograms(set, i, min_ms, max_ms, q->arena, &run));
    }
    size_t n = s->count + run.count + 1;
    int64_t *times = ks_arena_array(q->arena, n, sizeof *times);
    double *values = ks_arena_array(q->arena, n, sizeof *values);
    if (!times || !values)
        return ks_arena_err(q->arena);
    KS_TRY(raw_samples(q, s, &run, times, values, &n));
    *ret_any = n > 0;
    struct ks_slice labels;
    KS_TRY(ksi_set_labels(q, set, i, &labels));
    labels = ks_arena_dup(q->arena, labels);
    *ret = (struct ks_promql_series){labels, q->src->tenant(set, i), times, values, n};
    return labels.ptr ? KS_OK : ks_arena_err(q->arena);
}

ks_err ksi_eval_raw(const struct ksi_ctx *ctx, const struct ks_expr *e,
                    struct ks_promql_result *ret)
{
    struct ksi_plan p = {0};
    struct ksi_query *q = ctx->q;
    KS_TRY(plan_arg(ctx, e, &p));
    int64_t max_ms = (p.has_at ? p.at_ms : ctx->start_ms) - p.cfg.offset_ms,
            min_ms = max_ms - p.cfg.window_ms + 1;
    ret->raw = true;
    ret->type = KS_VALUE_MATRIX;
    if (ksi_selects_nothing(&p.arg->selector))
        return KS_OK;
    struct ks_source_set *set;
    struct ks_select_opts want = {.min_ms = min_ms, .max_ms = max_ms < min_ms ? min_ms : max_ms};
    KS_TRY(ksi_eval_select(ctx, &p.arg->selector, &want, &set));
    size_t n = q->src->count(set);
    ret->series = ks_arena_array(q->arena, n + 1, sizeof *ret->series);
    if (!ret->series)
        return ks_arena_err(q->arena);
    struct ks_samples s = {0};
    ks_err err = KS_OK;
    for (size_t i = 0; i < n && err == KS_OK; i++) {
        bool any = false;
        err = ks_read_ctx_check(&q->read);
        if (err == KS_OK)
            err =
                raw_series(ctx, set, i, min_ms, max_ms, &s, &ret->series[ret->series_count], &any);
        if (any)
            ret->series_count++;
    }
    ks_samples_settle(&s, &q->read);
    ks_samples_done(&s);
    return err;
}
