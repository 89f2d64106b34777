/* Services, operations, traces: Jaeger's JSON over HTTP. */
#include <stdio.h>
#include <stdlib.h>

#include "api/jaeger/jaeger.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "storage/traces/any_value.h"
#include "sys/clock.h"

enum { TRACE_ARENA_BYTES = 512 << 20 };

/* --- envelopes --- */
/* Jaeger: data, total, limit, offset, errors; VictoriaTraces: data, errors, limit, offset, total.
 */
static void begin(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"data\":");
}

static void end(struct ks_http_request *req, enum ks_jaeger_profile profile, size_t total)
{
    struct ks_buf *out = &req->resp.body;
    if (profile == KS_JAEGER_VT)
        ks_buf_printf(out, ",\"errors\":null,\"limit\":0,\"offset\":0,\"total\":%zu}", total);
    else
        ks_buf_printf(out, ",\"total\":%zu,\"limit\":0,\"offset\":0,\"errors\":null}\n", total);
}

ks_err ks_jaeger_fail(struct ks_http_request *req, int status, const char *text)
{
    struct ks_buf *out = &req->resp.body;
    ks_buf_reset(out);
    req->resp.status = status;
    req->resp.content_type = "application/json";
    ks_buf_printf(out,
                  "{\"data\":null,\"total\":0,\"limit\":0,\"offset\":0,\"errors\":[{\"code\":%d,"
                  "\"msg\":",
                  status);
    ks_go_json_str(out, ks_slice_str(text));
    ks_buf_str(out, "}]}\n");
    return KS_OK;
}

/* VictoriaTraces answers errors as text; the router does. */
static ks_err judged(struct ks_http_request *req, ks_err err)
{
    if (err == KS_OK || ks_jaeger_profile_of(req) == KS_JAEGER_VT)
        return err;
    char text[KS_ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", ks_err_text());
    return ks_jaeger_fail(req, ks_err_http_status(err), text);
}

static struct ks_trace_store *store_of(struct ks_http_request *req)
{
    return ks_app_of(req)->traces;
}

/* --- names --- */
struct names {
    struct ks_operation *items;
    size_t count, cap;
    struct ks_arena *arena;
    uint32_t *slots;
    size_t mask;
    bool services;
    struct ks_slice service;
};

static ks_err names_grow(struct names *n)
{
    size_t slots = n->slots ? (n->mask + 1) * 2 : 64;
    uint32_t *fresh = ks_arena_zalloc(n->arena, slots * sizeof *fresh);
    if (!fresh)
        return ks_arena_err(n->arena);
    n->slots = fresh;
    n->mask = slots - 1;
    for (uint32_t i = 0; i < n->count; i++) {
        size_t at = ks_hash64(n->items[i].name.ptr, n->items[i].name.len) + n->items[i].kind;
        for (at &= n->mask; fresh[at];)
            at = (at + 1) & n->mask;
        fresh[at] = i + 1;
    }
    return KS_OK;
}

/* Spans that fit a filter: their services, or the operations of one. */
static ks_err note_name(void *arg, const struct ks_span_head *h)
{
    struct names *n = arg;
    struct ks_slice name = n->services ? h->service : h->name;
    uint32_t kind = n->services ? 0 : h->kind;
    if (!n->slots || (n->count + 1) * 2 > n->mask + 1)
        KS_TRY(names_grow(n));
    size_t at = (ks_hash64(name.ptr, name.len) + kind) & n->mask;
    for (; n->slots[at]; at = (at + 1) & n->mask) {
        const struct ks_operation *o = &n->items[n->slots[at] - 1];
        if (o->kind == kind && ks_slice_eq(o->name, name))
            return KS_OK;
    }
    KS_TRY(ks_arena_grow(n->arena, (void **)&n->items, &n->cap, n->count + 1, sizeof *n->items));
    n->items[n->count] = (struct ks_operation){ks_arena_dup(n->arena, name), kind};
    if (!n->items[n->count].name.ptr)
        return ks_arena_err(n->arena);
    n->slots[at] = (uint32_t)++n->count;
    return KS_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct ks_operation *x = a, *y = b;
    int c = ks_slice_cmp(x->name, y->name);
    return c ? c : (x->kind > y->kind) - (x->kind < y->kind);
}

ks_err ks_trace_names(struct ks_trace_store *store, struct ks_tenant tenant,
                      struct ks_trace_params *p, bool services, struct ks_slice service,
                      struct ks_arena *arena, struct ks_operation **ret, size_t *ret_count)
{
    if (!p->filter_count && !services)
        return ks_trace_store_operations(store, tenant, service, arena, ret, ret_count);
    if (!p->filter_count) {
        struct ks_slice *list;
        KS_TRY(ks_trace_store_services(store, tenant, arena, &list, ret_count));
        *ret = ks_arena_array(arena, *ret_count + 1, sizeof **ret);
        if (!*ret)
            return ks_arena_err(arena);
        for (size_t i = 0; i < *ret_count; i++)
            (*ret)[i] = (struct ks_operation){list[i], 0};
        return KS_OK;
    }
    struct names n = {.arena = arena, .services = services};
    p->q.service = service;
    KS_TRY(ks_trace_store_heads(store, tenant, &p->q, note_name, &n));
    if (n.count)
        qsort(n.items, n.count, sizeof *n.items, by_name);
    *ret = n.items;
    *ret_count = n.count;
    return KS_OK;
}

/* Services (service empty) or operations, under the request's filters. */
ks_err ks_jaeger_names(struct ks_http_request *req, bool services, struct ks_slice service,
                       struct ks_operation **ret, size_t *ret_count)
{
    struct ks_trace_params p;
    struct ks_tenant tenant;
    KS_TRY(ks_trace_tenant(req, &tenant));
    KS_TRY(ks_trace_filters(req, &p));
    return ks_trace_names(store_of(req), tenant, &p, services, service, &req->arena, ret,
                          ret_count);
}

static ks_err list_names(struct ks_http_request *req, bool services, struct ks_slice service)
{
    struct ks_operation *ops;
    size_t count, shown = 0;
    struct ks_buf *out = &req->resp.body;
    KS_TRY(ks_jaeger_names(req, services, service, &ops, &count));
    begin(req);
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if ((i && ks_slice_eq(ops[i].name, ops[i - 1].name)) || (services && !ops[i].name.len))
            continue;
        if (shown++)
            ks_buf_byte(out, ',');
        ks_go_json_str(out, ops[i].name);
    }
    ks_buf_byte(out, ']');
    end(req, ks_jaeger_profile_of(req), shown);
    return KS_OK;
}

ks_err ks_jaeger_services(struct ks_http_request *req)
{
    return judged(req, list_names(req, true, ks_slice("", 0)));
}

/* services/<name>/operations, where a name may hold slashes. */
ks_err ks_jaeger_service_operations(struct ks_http_request *req)
{
    static const char tail[] = "/operations";
    struct ks_slice s = req->param;
    size_t n = sizeof tail - 1;
    if (s.len <= n || memcmp(s.ptr + s.len - n, tail, n) != 0)
        return ks_jaeger_fail(req, 404, "no such path");
    s.len -= n;
    return judged(req, list_names(req, false, s));
}

size_t ks_jaeger_put_operations(const struct ks_operation *ops, size_t count, struct ks_slice kind,
                                const char *kindless, struct ks_buf *out)
{
    size_t shown = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = ks_span_kind_name(ops[i].kind);
        name = name[0] ? name : kindless;
        if (kind.len && !ks_slice_is(kind, name))
            continue;
        ks_buf_str(out, shown++ ? ",{\"name\":" : "{\"name\":");
        ks_go_json_str(out, ops[i].name);
        ks_buf_printf(out, ",\"spanKind\":\"%s\"}", name);
    }
    return shown;
}

static ks_err operations(struct ks_http_request *req)
{
    struct ks_slice service = ks_http_arg(req, "service"), kind = ks_http_arg(req, "spanKind");
    struct ks_operation *ops;
    size_t count;
    struct ks_buf *out = &req->resp.body;
    if (!service.len)
        return ks_fail(KS_EINVAL, "parameter 'service' is required");
    KS_TRY(ks_jaeger_names(req, false, service, &ops, &count));
    begin(req);
    ks_buf_byte(out, '[');
    size_t shown = ks_jaeger_put_operations(ops, count, kind, "", out);
    ks_buf_byte(out, ']');
    end(req, ks_jaeger_profile_of(req), shown);
    return KS_OK;
}

ks_err ks_jaeger_operations(struct ks_http_request *req)
{
    return judged(req, operations(req));
}

/* --- traces --- */
/* Traces on their way into the answer. */
struct answer {
    struct ks_http_request *req;
    struct ks_trace_params *params;
    struct ks_tenant tenant;
    enum ks_jaeger_profile profile;
    bool raw;
    bool found; /* the traces are a search's */
    struct ks_arena arena;
    struct ks_jaeger_processes processes;
    struct ks_traces_hold **holds;
    size_t hold_count, hold_cap, shown;
};

static ks_err hold(struct answer *a, struct ks_traces_hold *h)
{
    ks_err err =
        ks_array_reserve((void **)&a->holds, &a->hold_cap, a->hold_count + 1, sizeof(void *));
    if (err == KS_OK)
        a->holds[a->hold_count++] = h;
    else
        ks_traces_release(h);
    return err;
}

/* KS_ENOTFOUND: not there, or nothing of it may be seen. */
static ks_err put_trace(struct answer *a, struct ks_trace_id id)
{
    struct ks_span *spans;
    struct ks_traces_hold *h;
    size_t count;
    /* Processes are named over all traces with VictoriaTraces, so what they point to stays. */
    if (a->profile != KS_JAEGER_VT)
        ks_arena_reset(&a->arena);
    KS_TRY(ks_trace_store_get(store_of(a->req), a->tenant, id, a->found, &a->arena, &spans, &count,
                              &h));
    KS_TRY(hold(a, h));
    count = ks_trace_filter_spans(a->params, spans, count);
    if (!count)
        return ks_fail(KS_ENOTFOUND, "trace not found");
    if (a->shown++)
        ks_buf_byte(&a->req->resp.body, ',');
    return ks_jaeger_trace(a->profile, a->raw, spans, count, &a->processes, &a->arena,
                           &a->req->resp.body);
}

static void answer_init(struct answer *a, struct ks_http_request *req, struct ks_trace_params *p,
                        struct ks_tenant tenant)
{
    *a = (struct answer){.req = req, .params = p, .tenant = tenant};
    a->profile = ks_jaeger_profile_of(req);
    a->raw = ks_http_arg_bool(req, "raw");
    ks_arena_init(&a->arena, TRACE_ARENA_BYTES);
}

static void answer_done(struct answer *a)
{
    for (size_t i = 0; i < a->hold_count; i++)
        ks_traces_release(a->holds[i]);
    ks_free(a->holds);
    ks_arena_done(&a->arena);
}

static ks_err put_found(struct answer *a)
{
    struct ks_trace_id *ids;
    size_t count;
    KS_TRY(ks_trace_store_search(store_of(a->req), a->tenant, &a->params->q, &a->req->arena, &ids,
                                 &count));
    a->found = true;
    begin(a->req);
    ks_buf_byte(&a->req->resp.body, '[');
    for (size_t i = 0; i < count; i++) {
        ks_err err = put_trace(a, ids[i]);
        if (err != KS_OK && err != KS_ENOTFOUND) /* evicted meanwhile */
            return err;
    }
    ks_buf_byte(&a->req->resp.body, ']');
    end(a->req, a->profile, a->profile == KS_JAEGER_VT ? a->shown : 0);
    return ks_buf_status(&a->req->resp.body);
}

/* traceID=… any number of times: those traces, and errors for the ones that are not there. */
static ks_err put_named(struct answer *a)
{
    struct ks_buf errors, *out = &a->req->resp.body;
    ks_buf_init(&errors, 1 << 20);
    begin(a->req);
    ks_buf_byte(out, '[');
    ks_err err = KS_OK;
    for (size_t i = 0; i < a->req->arg_count && err == KS_OK; i++) {
        struct ks_trace_id id;
        if (!ks_slice_is(a->req->args[i].name, "traceID"))
            continue;
        if (!ks_jaeger_parse_trace_id(a->req->args[i].value, &id)) {
            err = ks_fail(KS_EINVAL, "cannot parse trace id \"%.*s\"",
                          KS_SLICE_ARG(a->req->args[i].value));
            break;
        }
        err = put_trace(a, id);
        if (err != KS_ENOTFOUND)
            continue;
        err = KS_OK;
        ks_buf_str(&errors, errors.len ? "," : "[");
        ks_buf_str(&errors, "{\"msg\":\"trace not found\",\"traceID\":\"");
        ks_jaeger_trace_id(&errors, id, true);
        ks_buf_str(&errors, "\"}");
    }
    ks_buf_str(out, "],\"total\":0,\"limit\":0,\"offset\":0,\"errors\":");
    if (errors.len) {
        ks_buf_slice(out, ks_buf_view(&errors));
        ks_buf_byte(out, ']');
    } else {
        ks_buf_str(out, "null");
    }
    ks_buf_str(out, "}\n");
    ks_buf_done(&errors);
    return err;
}

static ks_err traces(struct ks_http_request *req)
{
    struct ks_trace_params p;
    struct ks_tenant tenant;
    struct answer a;
    bool named = ks_jaeger_profile_of(req) != KS_JAEGER_VT && ks_http_arg(req, "traceID").len;
    KS_TRY(ks_trace_tenant(req, &tenant));
    KS_TRY(named ? ks_trace_filters(req, &p)
                 : ks_trace_search_params(req, ks_jaeger_profile_of(req), &p));
    answer_init(&a, req, &p, tenant);
    ks_err err = named ? put_named(&a) : put_found(&a);
    answer_done(&a);
    return err;
}

ks_err ks_jaeger_traces(struct ks_http_request *req)
{
    ks_err err = traces(req);
    if (err != KS_OK)
        ks_buf_reset(&req->resp.body);
    return judged(req, err);
}

static ks_err trace_by_id(struct ks_http_request *req)
{
    struct ks_trace_params p;
    struct ks_tenant tenant;
    struct ks_trace_id id;
    struct answer a;
    KS_TRY(ks_trace_tenant(req, &tenant));
    KS_TRY(ks_trace_filters(req, &p));
    if (!ks_jaeger_parse_trace_id(req->param, &id))
        return ks_fail(KS_EINVAL, "cannot parse trace id \"%.*s\": want 1 to 32 hex digits",
                       KS_SLICE_ARG(req->param));
    if (!ks_trace_store_at_hand(store_of(req), tenant, id) && ks_http_defer(req))
        return KS_OK;
    answer_init(&a, req, &p, tenant);
    begin(req);
    ks_buf_byte(&req->resp.body, '[');
    ks_err err = put_trace(&a, id);
    ks_buf_byte(&req->resp.body, ']');
    end(req, a.profile, a.profile == KS_JAEGER_VT ? a.shown : 0);
    answer_done(&a);
    return err;
}

/* Grafana's datasource needs 404 where nothing is: an empty list with 200 makes some of its
 * versions panic. */
ks_err ks_jaeger_trace_by_id(struct ks_http_request *req)
{
    ks_err err = trace_by_id(req);
    if (err != KS_OK)
        ks_buf_reset(&req->resp.body);
    if (err == KS_ENOTFOUND)
        return ks_jaeger_fail(req, 404, "trace not found");
    return judged(req, err);
}

/* --- dependencies --- */
/* Milliseconds, or a Go duration. */
static ks_err lookback_arg(struct ks_http_request *req, int64_t fallback_ms, int64_t *ret_ms)
{
    struct ks_slice s = ks_http_arg(req, "lookback");
    int64_t ns;
    *ret_ms = fallback_ms;
    if (!s.len || ks_i64_parse(s, ret_ms))
        return KS_OK;
    if (!ks_go_duration_ns(s, &ns))
        return ks_fail(KS_EINVAL, "unable to parse param 'lookback': \"%.*s\"", KS_SLICE_ARG(s));
    *ret_ms = ns / 1000000;
    return KS_OK;
}

static ks_err dependencies(struct ks_http_request *req)
{
    enum ks_jaeger_profile profile = ks_jaeger_profile_of(req);
    struct ks_trace_params p;
    struct ks_tenant tenant;
    struct ks_edge *edges;
    size_t count, shown = 0;
    int64_t end_ms, lookback_ms;
    struct ks_buf *out = &req->resp.body;
    struct ks_slice only = ks_http_arg(req, "service");
    KS_TRY(ks_trace_tenant(req, &tenant));
    KS_TRY(ks_trace_filters(req, &p));
    KS_TRY(ks_http_arg_i64(req, "endTs", ks_now_ms(), &end_ms));
    KS_TRY(lookback_arg(req, (profile == KS_JAEGER_VT ? 1 : 24) * KS_MS_HOUR, &lookback_ms));
    int64_t start_ms = end_ms - lookback_ms < 0 ? 0 : end_ms - lookback_ms;
    uint64_t max_ns = end_ms < 0                     ? 0
                      : end_ms > INT64_MAX / 1000000 ? UINT64_MAX
                                                     : (uint64_t)end_ms * 1000000;
    KS_TRY(ks_traces_edges(ks_trace_store_ring(store_of(req)), tenant, (uint64_t)start_ms * 1000000,
                           max_ns, p.filter_count ? &p.q : NULL,
                           ks_app_of(req)->cfg.trace_self_edges, &req->arena, &edges, &count));
    begin(req);
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (only.len && !ks_slice_eq(only, edges[i].parent) && !ks_slice_eq(only, edges[i].child))
            continue;
        ks_buf_str(out, shown++ ? ",{\"parent\":" : "{\"parent\":");
        ks_go_json_str(out, edges[i].parent);
        ks_buf_str(out, ",\"child\":");
        ks_go_json_str(out, edges[i].child);
        ks_buf_printf(out, ",\"callCount\":%llu}", (unsigned long long)edges[i].calls);
    }
    ks_buf_byte(out, ']');
    end(req, profile, profile == KS_JAEGER_VT ? shown : 0);
    return KS_OK;
}

ks_err ks_jaeger_dependencies(struct ks_http_request *req)
{
    return judged(req, dependencies(req));
}
