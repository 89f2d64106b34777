/* Jaeger's api/v3 over HTTP: services, operations, traces as OTLP, summaries. */
#include <stdio.h>
#include <stdlib.h>

#include "api/go_time.h"
#include "api/jaeger/jaeger.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "query/traces/jaeger_otlp.h"
#include "query/traces/otlp_out.h"
#include "query/traces/summary.h"
#include "storage/traces/any_value.h"

enum { TRACE_ARENA_BYTES = 512 << 20, V3_DEPTH = 100 };

static struct ks_trace_store *store_of(struct ks_http_request *req)
{
    return ks_app_of(req)->traces;
}

static ks_err fail(struct ks_http_request *req, int status, const char *text)
{
    struct ks_buf *out = &req->resp.body;
    ks_buf_reset(out);
    req->resp.status = status;
    req->resp.content_type = "application/json";
    ks_buf_printf(out, "{\"error\":{\"httpCode\":%d,\"message\":", status);
    ks_go_json_str(out, ks_slice_str(text));
    ks_buf_str(out, "}}");
    return KS_OK;
}

static ks_err judged(struct ks_http_request *req, ks_err err)
{
    char text[KS_ERR_TEXT_MAX];
    if (err == KS_OK)
        return KS_OK;
    snprintf(text, sizeof text, "%s", ks_err_text());
    return err == KS_ENOTFOUND ? fail(req, 404, "No traces found")
                               : fail(req, ks_err_http_status(err), text);
}

/* query.serviceName, query.service_name and without the prefix. */
static struct ks_slice arg(const struct ks_http_request *req, const char *camel, const char *snake)
{
    char name[64];
    const char *const forms[] = {camel, snake};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "query.%s", forms[i]);
        struct ks_slice s = ks_http_arg(req, name);
        if (!s.len)
            s = ks_http_arg(req, forms[i]);
        if (s.len)
            return s;
    }
    return ks_slice("", 0);
}

/* RFC 3339 with up to nanoseconds; a plus that came as a blank is put right. */
static ks_err time_arg(const struct ks_http_request *req, const char *camel, const char *snake,
                       uint64_t *ret_ns)
{
    struct ks_slice s = arg(req, camel, snake);
    char text[64];
    int64_t ms;
    if (!s.len)
        return ks_fail(KS_EINVAL, "malformed parameter query.%s: it is required", camel);
    if (s.len < sizeof text) {
        memcpy(text, s.ptr, s.len);
        for (size_t i = 0; i < s.len; i++)
            text[i] = text[i] == ' ' ? '+' : text[i];
        /* Digits below milliseconds by hand. */
        size_t dot = 0, digits = 0, n = s.len;
        uint64_t frac = 0;
        while (dot < n && text[dot] != '.')
            dot++;
        while (dot + 1 + digits < n && text[dot + 1 + digits] >= '0' &&
               text[dot + 1 + digits] <= '9')
            digits++;
        for (size_t i = 0; i < 9; i++)
            frac = frac * 10 + (i < digits ? (uint64_t)(text[dot + 1 + i] - '0') : 0);
        if (dot < n) {
            memmove(text + dot, text + dot + 1 + digits, n - dot - 1 - digits);
            n -= 1 + digits;
        }
        if (ks_time_parse_ms(ks_slice(text, n), 0, &ms) == KS_OK) {
            *ret_ns = (uint64_t)ms * 1000000 + (dot < s.len ? frac : 0);
            return KS_OK;
        }
    }
    return ks_fail(KS_EINVAL, "malformed parameter query.%s: want RFC 3339, have \"%.*s\"", camel,
                   KS_SLICE_ARG(s));
}

static ks_err duration_arg(const struct ks_http_request *req, const char *camel, const char *snake,
                           uint64_t *ret)
{
    struct ks_slice s = arg(req, camel, snake);
    int64_t ns = 0;
    if (s.len && (!ks_go_duration_ns(s, &ns) || ns < 0))
        return ks_fail(KS_EINVAL, "malformed parameter query.%s: \"%.*s\"", camel, KS_SLICE_ARG(s));
    *ret = (uint64_t)ns;
    return KS_OK;
}

static ks_err raw_arg(const struct ks_http_request *req, bool *ret)
{
    static const char *const words[] = {"true", "false", "1",    "0",     "t",    "f",
                                        "T",    "F",     "TRUE", "FALSE", "True", "False"};
    struct ks_slice s = arg(req, "rawTraces", "raw_traces");
    *ret = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ks_slice_is(s, words[i])) {
            *ret = i % 2 == 0;
            return KS_OK;
        }
    return s.len ? ks_fail(KS_EINVAL, "malformed parameter query.rawTraces: \"%.*s\"",
                           KS_SLICE_ARG(s))
                 : KS_OK;
}

static ks_err search_params(struct ks_http_request *req, struct ks_trace_params *p)
{
    struct ks_slice depth = arg(req, "searchDepth", "search_depth");
    struct ks_slice attributes = arg(req, "attributes", "attributes");
    int64_t limit = V3_DEPTH;
    if (!depth.len)
        depth = arg(req, "numTraces", "num_traces");
    KS_TRY(ks_trace_filters(req, p));
    if (arg(req, "filter", "filter").len) /* ignoring it would answer more than was asked for */
        return ks_fail(KS_EINVAL, "query.filter is not supported; use the other parameters");
    p->q.service = arg(req, "serviceName", "service_name");
    p->q.operation = arg(req, "operationName", "operation_name");
    KS_TRY(time_arg(req, "startTimeMin", "start_time_min", &p->q.min_start_ns));
    KS_TRY(time_arg(req, "startTimeMax", "start_time_max", &p->q.max_start_ns));
    if (p->q.min_start_ns >= p->q.max_start_ns)
        return ks_fail(KS_EINVAL, "query.startTimeMin must be before query.startTimeMax");
    p->q.max_start_ns--; /* exclusive */
    KS_TRY(duration_arg(req, "durationMin", "duration_min", &p->q.min_duration_ns));
    KS_TRY(duration_arg(req, "durationMax", "duration_max", &p->q.max_duration_ns));
    if (depth.len && (!ks_i64_parse(depth, &limit) || limit < 1))
        return ks_fail(KS_EINVAL, "malformed parameter query.searchDepth: \"%.*s\"",
                       KS_SLICE_ARG(depth));
    size_t max = ks_app_of(req)->cfg.max_traces_per_search;
    p->q.limit = (size_t)limit < max ? (size_t)limit : max;
    return attributes.len ? ks_trace_tags_json(req, KS_JAEGER_2, attributes, p) : KS_OK;
}

/* --- names --- */
ks_err ks_jaeger_v3_services(struct ks_http_request *req)
{
    struct ks_operation *ops;
    size_t count;
    struct ks_buf *out = &req->resp.body;
    ks_err err = ks_jaeger_names(req, true, ks_slice("", 0), &ops, &count);
    if (err != KS_OK)
        return judged(req, err);
    req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"services\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_go_json_str(out, ops[i].name);
    }
    ks_buf_str(out, "]}");
    return KS_OK;
}

static ks_err operations(struct ks_http_request *req)
{
    struct ks_operation *ops;
    size_t count;
    struct ks_buf *out = &req->resp.body;
    struct ks_slice service = ks_http_arg(req, "service"), kind = ks_http_arg(req, "spanKind");
    if (!kind.len)
        kind = ks_http_arg(req, "span_kind");
    if (!service.len)
        return ks_fail(KS_EINVAL, "malformed parameter service: it is required");
    KS_TRY(ks_jaeger_names(req, false, service, &ops, &count));
    req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"operations\":[");
    ks_jaeger_put_operations(ops, count, kind, "internal", out);
    ks_buf_str(out, "]}");
    return KS_OK;
}

ks_err ks_jaeger_v3_operations(struct ks_http_request *req)
{
    return judged(req, operations(req));
}

/* --- traces --- */
struct reading {
    struct ks_http_request *req;
    struct ks_trace_params *p;
    struct ks_tenant tenant;
    struct ks_arena arena;
    bool first, raw;
    bool found; /* the traces are a search's */
    size_t shown;
};

typedef ks_err (*put_fn)(struct reading *r, struct ks_span *spans, size_t count);

static ks_err put_trace(struct reading *r, struct ks_trace_id id, put_fn put)
{
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t count;
    ks_arena_reset(&r->arena);
    KS_TRY(ks_trace_store_get(store_of(r->req), r->tenant, id, r->found, &r->arena, &spans, &count,
                              &hold));
    count = ks_trace_filter_spans(r->p, spans, count);
    ks_err err = count ? put(r, spans, count) : KS_OK;
    r->shown += count != 0;
    ks_traces_release(hold);
    return err;
}

static ks_err put_otlp(struct reading *r, struct ks_span *spans, size_t count)
{
    if (!r->raw)
        KS_TRY(ks_jaeger_adjust_spans(spans, count, &r->arena, &spans));
    return ks_otlp_out_json(spans, count, &r->arena, &r->first, &r->req->resp.body);
}

static ks_err put_found(struct reading *r, put_fn put)
{
    struct ks_trace_id *ids;
    size_t count;
    KS_TRY(
        ks_trace_store_search(store_of(r->req), r->tenant, &r->p->q, &r->req->arena, &ids, &count));
    r->found = true;
    for (size_t i = 0; i < count; i++) {
        ks_err err = put_trace(r, ids[i], put);
        if (err != KS_OK && err != KS_ENOTFOUND)
            return err;
    }
    return ks_buf_status(&r->req->resp.body);
}

/* id NULL: a search. */
static ks_err answer(struct ks_http_request *req, const char *head, const char *tail,
                     const struct ks_trace_id *id, struct ks_trace_params *p, put_fn put,
                     size_t *ret_shown)
{
    struct reading r = {.req = req, .p = p, .first = true};
    KS_TRY(raw_arg(req, &r.raw));
    KS_TRY(ks_trace_tenant(req, &r.tenant));
    ks_arena_init(&r.arena, TRACE_ARENA_BYTES);
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, head);
    ks_err err = id ? put_trace(&r, *id, put) : put_found(&r, put);
    ks_buf_str(&req->resp.body, tail);
    ks_arena_done(&r.arena);
    *ret_shown = r.shown;
    return err;
}

static ks_err traces(struct ks_http_request *req, const struct ks_trace_id *id)
{
    struct ks_trace_params p;
    size_t shown;
    KS_TRY(id ? ks_trace_filters(req, &p) : search_params(req, &p));
    KS_TRY(answer(req, "{\"result\":{\"resourceSpans\":[", "]}}", id, &p, put_otlp, &shown));
    return shown ? KS_OK : ks_fail(KS_ENOTFOUND, "No traces found");
}

ks_err ks_jaeger_v3_traces(struct ks_http_request *req)
{
    return judged(req, traces(req, NULL));
}

ks_err ks_jaeger_v3_trace(struct ks_http_request *req)
{
    struct ks_trace_id id;
    if (!ks_jaeger_parse_trace_id(req->param, &id))
        return fail(req, 400, "malformed parameter trace_id: want 1 to 32 hex digits");
    return judged(req, traces(req, &id));
}

/* --- summaries --- */
static ks_err put_summary(struct reading *r, struct ks_span *spans, size_t count)
{
    struct ks_buf *out = &r->req->resp.body;
    struct ks_trace_summary m;
    KS_TRY(ks_trace_summarise(spans, count, &r->arena, &m));
    ks_buf_str(out, r->first ? "{\"traceId\":\"" : ",{\"traceId\":\"");
    r->first = false;
    ks_jaeger_trace_id(out, spans[0].trace_id, false);
    ks_buf_byte(out, '"');
    if (m.root) {
        ks_buf_str(out, ",\"rootServiceName\":");
        ks_go_json_str(out, m.root->resource->service);
        ks_buf_str(out, ",\"rootOperationName\":");
        ks_go_json_str(out, m.root->name);
    }
    ks_buf_printf(out,
                  ",\"minStartTimeUnixNano\":\"%llu\",\"maxEndTimeUnixNano\":\"%llu\","
                  "\"spanCount\":%zu",
                  (unsigned long long)m.min_start_ns, (unsigned long long)m.max_end_ns, count);
    if (m.errors)
        ks_buf_printf(out, ",\"errorSpanCount\":%zu", m.errors);
    if (m.orphans)
        ks_buf_printf(out, ",\"orphanSpanCount\":%zu", m.orphans);
    ks_buf_str(out, ",\"services\":[");
    for (size_t i = 0; i < m.service_count; i++) {
        ks_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
        ks_go_json_str(out, m.services[i].name);
        ks_buf_printf(out, ",\"spanCount\":%zu", m.services[i].spans);
        if (m.services[i].errors)
            ks_buf_printf(out, ",\"errorSpanCount\":%zu", m.services[i].errors);
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "]}");
    return KS_OK;
}

static ks_err summaries(struct ks_http_request *req)
{
    struct ks_trace_params p;
    size_t shown;
    KS_TRY(search_params(req, &p));
    KS_TRY(answer(req, "{\"summaries\":[", "]}", NULL, &p, put_summary, &shown));
    if (!shown) {
        ks_buf_reset(&req->resp.body);
        ks_buf_str(&req->resp.body, "{}");
    }
    return KS_OK;
}

ks_err ks_jaeger_v3_summaries(struct ks_http_request *req)
{
    return judged(req, summaries(req));
}
