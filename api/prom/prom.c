#include "api/prom/prom.h"

#include <math.h>

#include "api/extra_labels.h"
#include "base/histogram_text.h"
#include "base/num.h"
#include "base/time.h"
#include "sys/clock.h"

/* A cross product of filters beyond this is an attack or a mistake. */
enum { SELECTORS_MAX = 4096, DEFAULT_STEP_MS = 300000 };

/* --- filters --- */
/* (a1 OR a2) AND (b1 OR b2) as an OR of ANDs. An empty list stands for "everything". */
static ks_err cross(struct ks_arena *arena, const struct ks_selector *a, size_t an,
                    const struct ks_selector *b, size_t bn, struct ks_selector **ret,
                    size_t *ret_count)
{
    if (!an || !bn) {
        *ret = (struct ks_selector *)(an ? a : b);
        *ret_count = an ? an : bn;
        return KS_OK;
    }
    if (an > SELECTORS_MAX / bn)
        return ks_fail(KS_ELIMIT, "too many combinations of filters: %zu times %zu", an, bn);
    struct ks_selector *out = ks_arena_array(arena, an * bn, sizeof *out);
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; i < an; i++)
        for (size_t j = 0; j < bn; j++) {
            struct ks_selector *s = &out[i * bn + j];
            s->count = a[i].count + b[j].count;
            if (!(s->matchers =
                      ks_arena_array(arena, s->count ? s->count : 1, sizeof *s->matchers)))
                return ks_arena_err(arena);
            memcpy(s->matchers, a[i].matchers, a[i].count * sizeof *s->matchers);
            memcpy(s->matchers + a[i].count, b[j].matchers, b[j].count * sizeof *s->matchers);
        }
    *ret = out;
    *ret_count = an * bn;
    return KS_OK;
}

/* The selectors of all arguments called one of the names (and from that origin; -1 any) as one
 * OR-list. */
static ks_err parse_list(struct ks_http_request *req, const char *name, int in_body,
                         struct ks_selector **ret, size_t *ret_count)
{
    struct ks_selector *list = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < req->arg_count; i++) {
        const struct ks_http_arg *a = &req->args[i];
        if (!ks_slice_is(a->name, name) || (in_body >= 0 && a->in_body != (in_body == 1)))
            continue;
        struct ks_selector *more;
        size_t more_count;
        ks_err err = ks_promql_parse_selector(a->value, &req->arena, &more, &more_count);
        if (err != KS_OK)
            return ks_fail_context(err, "cannot parse %s=\"%.*s\"", name, KS_SLICE_ARG(a->value));
        KS_TRY(ks_arena_grow(&req->arena, (void **)&list, &cap, n + more_count, sizeof *list));
        memcpy(list + n, more, more_count * sizeof *list);
        n += more_count;
    }
    *ret = list;
    *ret_count = n;
    return KS_OK;
}

static ks_err extra_label_matchers(struct ks_http_request *req, struct ks_selector *ret)
{
    struct ks_label *labels;
    KS_TRY(ks_extra_labels(req, &labels, &ret->count));
    ret->matchers = ks_arena_array(&req->arena, ret->count, sizeof *ret->matchers);
    if (!ret->matchers)
        return ks_arena_err(&req->arena);
    for (size_t i = 0; i < ret->count; i++)
        ret->matchers[i] = (struct ks_matcher){labels[i].name, labels[i].value, KS_MATCH_EQ};
    return KS_OK;
}

static ks_err read_filters(struct ks_prom_ctx *ctx)
{
    static const char *const names[] = {"extra_filters", "extra_filters[]"};
    struct ks_http_request *req = ctx->req;
    struct ks_selector *labels = ks_arena_zalloc(&req->arena, sizeof *labels);
    if (!labels)
        return ks_arena_err(&req->arena);
    KS_TRY(extra_label_matchers(req, labels));
    ctx->filters = labels;
    ctx->filter_count = labels->count ? 1 : 0;
    for (size_t i = 0; i < 2; i++)
        for (int body = 0; body < 2; body++) {
            struct ks_selector *list;
            size_t n;
            KS_TRY(parse_list(req, names[i], body, &list, &n));
            KS_TRY(cross(&req->arena, ctx->filters, ctx->filter_count, list, n, &ctx->filters,
                         &ctx->filter_count));
        }
    return KS_OK;
}

ks_err ks_prom_begin(struct ks_http_request *req, int64_t max_duration_ms, struct ks_prom_ctx *ret)
{
    int64_t timeout;
    struct ks_slice dialect = ks_http_arg(req, "dialect");
    if (ks_slice_is(dialect, "metricsql"))
        req->strict = false;
    else if (ks_slice_is(dialect, "promql") || ks_slice_is(dialect, "prometheus"))
        req->strict = true;
    else if (dialect.len)
        return ks_fail(KS_EINVAL, "unknown dialect \"%.*s\"; use metricsql or promql",
                       KS_SLICE_ARG(dialect));
    else
        req->strict |= ks_app_of(req)->cfg.strict_dialect;
    *ret = (struct ks_prom_ctx){
        .req = req, .app = ks_app_of(req), .now_ms = ks_now_ms(), .strict = req->strict};
    KS_TRY(ks_http_arg_duration_ms(req, "timeout", max_duration_ms, &timeout));
    if (timeout <= 0 || timeout > max_duration_ms)
        timeout = max_duration_ms;
    ret->read.deadline_mono_ms = req->start_mono_us / 1000 + timeout;
    ret->read.cancel = &req->cancel;
    ret->read.max_bytes = ret->app->cfg.max_memory_per_query_bytes;
    return read_filters(ret);
}

ks_err ks_prom_matchers(struct ks_prom_ctx *ctx, bool required, struct ks_select_opts *sel)
{
    struct ks_http_request *req = ctx->req;
    struct ks_selector *a, *b, *match;
    size_t an, bn;
    KS_TRY(parse_list(req, "match[]", -1, &a, &an));
    KS_TRY(parse_list(req, "match", -1, &b, &bn));
    if (!an && !bn && required)
        return ks_fail(KS_EINVAL, "missing \"match[]\" arg");
    if (!(match = ks_arena_array(&req->arena, an + bn + 1, sizeof *match)))
        return ks_arena_err(&req->arena);
    if (an)
        memcpy(match, a, an * sizeof *match);
    if (bn)
        memcpy(match + an, b, bn * sizeof *match);
    return ks_prom_and_filters(ctx, match, an + bn, sel);
}

ks_err ks_prom_and_filters(struct ks_prom_ctx *ctx, const struct ks_selector *list, size_t count,
                           struct ks_select_opts *sel)
{
    struct ks_selector *all;
    KS_TRY(cross(&ctx->req->arena, list, count, ctx->filters, ctx->filter_count, &all,
                 &sel->selector_count));
    sel->selectors = all;
    return KS_OK;
}

ks_err ks_prom_time_range(struct ks_prom_ctx *ctx, int64_t default_range_ms, int64_t *ret_start,
                          int64_t *ret_end)
{
    KS_TRY(ks_http_arg_time_ms(ctx->req, "end", ctx->now_ms, ret_end));
    int64_t fallback = *ret_end > default_range_ms ? *ret_end - default_range_ms : 0;
    KS_TRY(ks_http_arg_time_ms(ctx->req, "start", fallback, ret_start));
    if (*ret_start > *ret_end)
        *ret_end = *ret_start + DEFAULT_STEP_MS;
    return KS_OK;
}

ks_err ks_prom_strict_time(const struct ks_prom_ctx *ctx, const char *name, int64_t fallback,
                           int64_t *ret)
{
    struct ks_slice v = ks_http_arg(ctx->req, name);
    double seconds;
    if (!v.len && fallback != INT64_MIN) {
        *ret = fallback;
        return KS_OK;
    }
    if (ks_f64_parse(v, &seconds) && fabs(seconds) < 9e15) {
        double whole, part = modf(seconds, &whole);
        *ret = (int64_t)whole * 1000 + (int64_t)round(part * 1000);
        return KS_OK;
    }
    bool dated = v.len >= 20 && v.ptr[4] == '-';
    if (dated && ks_time_parse_ms(v, ctx->now_ms, ret) == KS_OK)
        return KS_OK;
    if (ks_slice_has_prefix(v, KS_SLICE_LIT("-292273086-05-16T")) ||
        ks_slice_has_prefix(v, KS_SLICE_LIT("292277025-08-18T"))) {
        *ret = v.ptr[0] == '-' ? -((int64_t)1 << 54) : (int64_t)1 << 54;
        return KS_OK;
    }
    return ks_fail(KS_EINVAL,
                   "invalid parameter \"%s\": cannot parse \"%.*s\" to a valid timestamp", name,
                   KS_SLICE_ARG(v));
}

ks_err ks_prom_select_opts(struct ks_prom_ctx *ctx, int64_t start_ms, int64_t end_ms,
                           bool match_required, struct ks_select_opts *ret)
{
    *ret = (struct ks_select_opts){.min_ms = start_ms, .max_ms = end_ms, .ctx = &ctx->read};
    if (!ctx->req->multitenant) {
        ret->tenants = &ctx->req->tenant;
        ret->tenant_count = 1;
    }
    KS_TRY(ks_prom_matchers(ctx, match_required, ret));
    return ks_engine_narrow_tenants(ctx->app->engine, ret, &ctx->req->arena);
}

/* --- JSON --- */
void ks_prom_json_begin(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, req->cluster_form && !req->strict
                                    ? "{\"status\":\"success\",\"isPartial\":false,\"data\":"
                                    : "{\"status\":\"success\",\"data\":");
}

void ks_prom_json_labels(struct ks_buf *out, struct ks_slice label_bytes,
                         const struct ks_tenant *tenant)
{
    struct ks_labels_iter it = ks_labels_iter(label_bytes);
    struct ks_label l;
    const char *sep = "";
    ks_buf_byte(out, '{');
    while (ks_labels_next(&it, &l)) {
        ks_buf_str(out, sep);
        ks_buf_json_str(out, l.name);
        ks_buf_byte(out, ':');
        ks_buf_json_str(out, l.value);
        sep = ",";
    }
    if (tenant)
        ks_buf_printf(out, "%s\"vm_account_id\":\"%u\",\"vm_project_id\":\"%u\"", sep,
                      tenant->account, tenant->project);
    ks_buf_byte(out, '}');
}

void ks_prom_json_histogram(struct ks_buf *out, int64_t time_ms, const struct ks_histogram *h)
{
    if (!ks_buf_reserve(out, 32))
        return;
    out->ptr[out->len++] = '[';
    out->len += ks_ms_format_seconds(out->ptr + out->len, time_ms);
    ks_buf_byte(out, ',');
    ks_histogram_json(h, out);
    ks_buf_byte(out, ']');
}

void ks_prom_json_strict_point(struct ks_buf *out, int64_t time_ms, double value)
{
    if (!ks_buf_reserve(out, KS_F64_TEXT_MAX + 32))
        return;
    char *p = out->ptr + out->len, *start = p;
    *p++ = '[';
    p += ks_ms_format_seconds(p, time_ms);
    *p++ = ',';
    *p++ = '"';
    p += ks_f64_format_json(p, value);
    *p++ = '"';
    *p++ = ']';
    out->len += (size_t)(p - start);
}

void ks_prom_json_point(struct ks_buf *out, int64_t time_ms, double value)
{
    if (!ks_buf_reserve(out, KS_F64_TEXT_MAX + 32))
        return;
    char *p = out->ptr + out->len, *start = p;
    *p++ = '[';
    p += ks_ms_format_seconds(p, time_ms);
    *p++ = ',';
    *p++ = '"';
    p += ks_f64_format(p, value);
    *p++ = '"';
    *p++ = ']';
    out->len += (size_t)(p - start);
}

/* The tree's height is bounded by the query's. */
static void trace_node(struct ks_buf *out, const struct ks_promql_trace *t)
{
    ks_buf_printf(out, "{\"duration_msec\":%.3f,\"message\":", (double)t->duration_us / 1e3);
    struct ks_buf text;
    ks_buf_init(&text, 1 << 12);
    ks_buf_printf(&text, "%.*s: %.*s", KS_SLICE_ARG(t->message), KS_SLICE_ARG(t->outcome));
    ks_buf_json_str(out, ks_buf_view(&text));
    ks_buf_done(&text);
    if (t->children) {
        ks_buf_str(out, ",\"children\":[");
        for (const struct ks_promql_trace *c = t->children; c; c = c->next) {
            if (c != t->children)
                ks_buf_byte(out, ',');
            trace_node(out, c);
        }
        ks_buf_byte(out, ']');
    }
    ks_buf_byte(out, '}');
}

void ks_prom_json_trace(struct ks_http_request *req, const struct ks_promql_trace *steps)
{
    struct ks_buf *out = &req->resp.body;
    if (!ks_http_arg_bool(req, "trace"))
        return;
    ks_buf_printf(out, ",\"trace\":{\"duration_msec\":%.3f,\"message\":",
                  (double)(ks_mono_us() - req->start_mono_us) / 1e3);
    struct ks_buf text;
    ks_buf_init(&text, 1 << 12);
    ks_buf_printf(&text, "kofstore: %.*s", KS_SLICE_ARG(req->path));
    ks_buf_json_str(out, ks_buf_view(&text));
    ks_buf_done(&text);
    if (steps) {
        ks_buf_str(out, ",\"children\":[");
        trace_node(out, steps);
        ks_buf_byte(out, ']');
    }
    ks_buf_byte(out, '}');
}
