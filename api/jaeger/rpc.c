#include "api/jaeger/rpc.h"

#include <stdio.h>

#include "api/jaeger/jaeger.h"
#include "api/otlp/grpc_methods.h"
#include "base/mem.h"
#include "base/protobuf.h"
#include "query/traces/jaeger_otlp.h"
#include "query/traces/jaeger_proto.h"
#include "query/traces/otlp_out.h"
#include "query/traces/proto_out.h"
#include "query/traces/summary.h"
#include "sys/clock.h"

enum { TRACE_ARENA_BYTES = 512 << 20, MESSAGE_BYTES = 256 << 20, DEPTH = 100 };
#define NS_PER_S 1000000000

/* A call at work. */
struct rpc {
    struct ks_grpc_call *call;
    struct ks_app *app;
    struct ks_trace_store *store;
    struct ks_trace_params p;
    enum ks_jaeger_profile profile;
    bool raw;
    bool found;            /* the traces are a search's */
    struct ks_arena arena; /* of one trace */
    struct ks_buf message;
};

/* What a proxy asks for as metadata holds as it does over HTTP. */
static ks_err rpc_begin(struct rpc *r, struct ks_grpc_call *call)
{
    *r = (struct rpc){.call = call, .app = call->app};
    r->store = r->app->traces;
    r->profile = r->app->cfg.jaeger_v1 ? KS_JAEGER_1 : KS_JAEGER_2;
    ks_arena_init(&r->arena, TRACE_ARENA_BYTES);
    ks_buf_init(&r->message, MESSAGE_BYTES);
    ks_trace_params_init(&r->p);
    r->p.q.cancel = &call->cancel;
    r->p.q.deadline_us = ks_mono_us() + r->app->cfg.max_query_duration_ms * 1000;
    if (call->deadline_us && call->deadline_us < r->p.q.deadline_us)
        r->p.q.deadline_us = call->deadline_us;
    for (size_t i = 0; i < call->header_count; i++)
        if (ks_slice_is(call->headers[i].name, "extra_filters") ||
            ks_slice_is(call->headers[i].name, "extra_stream_filters"))
            KS_TRY(ks_trace_filter_parse(call->headers[i].value, &call->arena, &r->p));
    r->p.filter_count = r->p.q.cond_count;
    return KS_OK;
}

static ks_err rpc_end(struct rpc *r, ks_err err)
{
    if (err == KS_ETIMEDOUT)
        r->call->code = KS_GRPC_DEADLINE_EXCEEDED;
    ks_arena_done(&r->arena);
    ks_buf_done(&r->message);
    return err;
}

/* Runs body with a call begun and ended around it. */
static ks_err rpc(struct ks_grpc_call *call, ks_err (*body)(struct rpc *))
{
    struct rpc *r = ks_alloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    ks_err err = rpc_begin(r, call);
    err = rpc_end(r, err == KS_OK ? body(r) : err);
    ks_free(r);
    return err;
}

/* --- requests --- */
static ks_err malformed(const char *what)
{
    return ks_fail(KS_EPARSE, "malformed protobuf in %s", what);
}

/* google.protobuf.Timestamp and Duration; before 1970 (Go's zero time too) or less than 0 is 0. */
static ks_err read_time(struct ks_slice message, uint64_t *ret_ns)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    int64_t seconds = 0, nanos = 0;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_VARINT(1))
            seconds = (int64_t)f.number;
        else if (f.key == KS_PB_VARINT(2))
            nanos = (int32_t)f.number;
    }
    if (m.bad || nanos <= -NS_PER_S || nanos >= NS_PER_S)
        return malformed("a time");
    if (seconds < 0 || (!seconds && nanos < 0))
        *ret_ns = 0;
    else if (seconds > INT64_MAX / NS_PER_S - 1)
        *ret_ns = INT64_MAX;
    else
        *ret_ns = (uint64_t)(seconds * NS_PER_S + nanos);
    return KS_OK;
}

/* map<string, string> */
static ks_err read_tag(struct rpc *r, struct ks_slice entry)
{
    struct ks_pb m = ks_pb(entry);
    struct ks_pb_field f;
    struct ks_slice key = ks_slice("", 0), value = ks_slice("", 0);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            key = f.bytes;
        else if (f.key == KS_PB_BYTES(2))
            value = f.bytes;
    }
    if (m.bad)
        return malformed("a tag");
    return ks_trace_add_tag(&r->call->arena, r->profile, key, value, &r->p);
}

/* TraceQueryParameters: the fields both versions have under the same numbers. */
static ks_err read_query(struct rpc *r, struct ks_slice message, bool *ret_filter)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    struct ks_trace_query *q = &r->p.q;
    uint64_t max_ns = 0;
    int32_t depth = 0;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            q->service = f.bytes;
        else if (f.key == KS_PB_BYTES(2))
            q->operation = f.bytes;
        else if (f.key == KS_PB_BYTES(3))
            KS_TRY(read_tag(r, f.bytes));
        else if (f.key == KS_PB_BYTES(4))
            KS_TRY(read_time(f.bytes, &q->min_start_ns));
        else if (f.key == KS_PB_BYTES(5))
            KS_TRY(read_time(f.bytes, &max_ns));
        else if (f.key == KS_PB_BYTES(6))
            KS_TRY(read_time(f.bytes, &q->min_duration_ns));
        else if (f.key == KS_PB_BYTES(7))
            KS_TRY(read_time(f.bytes, &q->max_duration_ns));
        else if (f.key == KS_PB_VARINT(8))
            depth = (int32_t)f.number;
        else if (f.key == KS_PB_VARINT(9))
            r->raw = f.number != 0;
        else if (f.key == KS_PB_BYTES(10))
            *ret_filter = true;
    }
    if (m.bad)
        return malformed("the query");
    if (max_ns)
        q->max_start_ns = max_ns;
    size_t max = r->app->cfg.max_traces_per_search, limit = depth > 0 ? (size_t)depth : DEPTH;
    q->limit = limit < max ? limit : max;
    return KS_OK;
}

/* Find…Request { query = 1 } */
static ks_err read_find(struct rpc *r, bool *ret_filter)
{
    struct ks_pb m = ks_pb(r->call->request);
    struct ks_pb_field f;
    bool have = false;
    *ret_filter = false;
    while (ks_pb_next(&m, &f)) {
        if (f.key != KS_PB_BYTES(1))
            continue;
        have = true;
        KS_TRY(read_query(r, f.bytes, ret_filter));
    }
    if (m.bad)
        return malformed("the request");
    return have ? KS_OK : ks_fail(KS_EINVAL, "missing query");
}

/* Get…Request { trace_id = 1, …, raw_traces = 4 } */
static ks_err read_get(struct rpc *r, struct ks_slice *ret_id)
{
    struct ks_pb m = ks_pb(r->call->request);
    struct ks_pb_field f;
    *ret_id = ks_slice("", 0);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            *ret_id = f.bytes;
        else if (f.key == KS_PB_VARINT(4))
            r->raw = f.number != 0;
    }
    return m.bad ? malformed("the request") : KS_OK;
}

/* Bytes: 16, or 8 of an id whose high half is zero. */
static ks_err id_of_bytes(struct ks_slice s, struct ks_trace_id *ret)
{
    if (s.len && s.len != 16 && s.len != 8)
        return ks_fail(KS_EINVAL, "a trace id has 16 or 8 bytes, not %zu", s.len);
    *ret = (struct ks_trace_id){s.len == 16 ? ks_be64(s.ptr) : 0,
                                s.len ? ks_be64(s.ptr + s.len - 8) : 0};
    return ks_trace_id_zero(*ret) ? ks_fail(KS_EINVAL, "uninitialized TraceID is not allowed")
                                  : KS_OK;
}

/* { service = 1, span_kind = 2 } */
static ks_err read_operations(struct rpc *r, struct ks_slice *ret_service,
                              struct ks_slice *ret_kind)
{
    struct ks_pb m = ks_pb(r->call->request);
    struct ks_pb_field f;
    *ret_service = *ret_kind = ks_slice("", 0);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            *ret_service = f.bytes;
        else if (f.key == KS_PB_BYTES(2))
            *ret_kind = f.bytes;
    }
    return m.bad ? malformed("the request") : KS_OK;
}

/* --- traces --- */
typedef ks_err (*put_fn)(struct rpc *r, struct ks_span *spans, size_t count);

/* KS_ENOTFOUND: not there, or nothing of it may be seen. */
static ks_err put_trace(struct rpc *r, struct ks_trace_id id, put_fn put)
{
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t count;
    ks_arena_reset(&r->arena);
    KS_TRY(ks_trace_store_get(r->store, r->call->tenant, id, r->found, &r->arena, &spans, &count,
                              &hold));
    count = ks_trace_filter_spans(&r->p, spans, count);
    ks_err err = count ? put(r, spans, count) : ks_fail(KS_ENOTFOUND, "trace not found");
    ks_traces_release(hold);
    return err;
}

static ks_err put_found(struct rpc *r, put_fn put)
{
    struct ks_trace_id *ids;
    size_t count;
    KS_TRY(
        ks_trace_store_search(r->store, r->call->tenant, &r->p.q, &r->call->arena, &ids, &count));
    r->found = true;
    for (size_t i = 0; i < count; i++) {
        if (atomic_load(&r->call->cancel))
            return ks_fail(KS_ECANCELED, "the client has gone");
        ks_err err = put_trace(r, ids[i], put);
        if (err != KS_OK && err != KS_ENOTFOUND) /* evicted meanwhile */
            return err;
    }
    return KS_OK;
}

static ks_err reply_chunk(void *arg, struct ks_slice message)
{
    struct rpc *r = arg;
    ks_grpc_reply(r->call, message);
    return ks_buf_status(&r->call->out);
}

static ks_err put_v2(struct rpc *r, struct ks_span *spans, size_t count)
{
    return ks_jaeger_trace_chunks(r->profile, r->raw, spans, count, &r->arena, &r->message,
                                  reply_chunk, r);
}

/* A TracesData for each trace. */
static ks_err put_v3(struct rpc *r, struct ks_span *spans, size_t count)
{
    if (!r->raw)
        KS_TRY(ks_jaeger_adjust_spans(spans, count, &r->arena, &spans));
    ks_buf_reset(&r->message);
    KS_TRY(ks_otlp_out_proto(spans, count, &r->arena, &r->message));
    return reply_chunk(r, ks_buf_view(&r->message));
}

static ks_err put_summary(struct rpc *r, struct ks_span *spans, size_t count)
{
    struct ks_trace_summary m;
    struct ks_buf *b = &r->message;
    char id[33];
    KS_TRY(ks_trace_summarise(spans, count, &r->arena, &m));
    snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)spans[0].trace_id.hi,
             (unsigned long long)spans[0].trace_id.lo);
    ks_buf_reset(b);
    size_t at = ks_pbw_begin(b, 1);
    ks_pbw_text(b, 1, ks_slice(id, 32));
    ks_pbw_text(b, 2, m.root ? m.root->resource->service : ks_slice("", 0));
    ks_pbw_text(b, 3, m.root ? m.root->name : ks_slice("", 0));
    ks_pbw_fixed64(b, 4, m.min_start_ns);
    ks_pbw_fixed64(b, 5, m.max_end_ns);
    ks_pbw_varint(b, 6, m.spans);
    ks_pbw_varint(b, 7, m.errors);
    ks_pbw_varint(b, 8, m.orphans);
    for (size_t i = 0; i < m.service_count; i++) {
        size_t service = ks_pbw_begin(b, 9);
        ks_pbw_text(b, 1, m.services[i].name);
        ks_pbw_varint(b, 2, m.services[i].spans);
        ks_pbw_varint(b, 3, m.services[i].errors);
        ks_pbw_end(b, service);
    }
    ks_pbw_end(b, at);
    KS_TRY(ks_buf_status(b));
    return reply_chunk(r, ks_buf_view(b));
}

static ks_err v2_get_trace(struct rpc *r)
{
    struct ks_slice bytes;
    struct ks_trace_id id;
    KS_TRY(read_get(r, &bytes));
    KS_TRY(id_of_bytes(bytes, &id));
    return put_trace(r, id, put_v2);
}

static ks_err v2_find_traces(struct rpc *r)
{
    bool filter;
    KS_TRY(read_find(r, &filter)); /* api_v2 knows no field 10: unknown ones are skipped */
    if (!r->p.q.service.len && r->profile == KS_JAEGER_1)
        return ks_fail(KS_EINVAL, "service name is required");
    return put_found(r, put_v2);
}

static ks_err v2_archive_trace(struct rpc *r)
{
    struct ks_slice bytes;
    struct ks_trace_id id;
    KS_TRY(read_get(r, &bytes));
    KS_TRY(id_of_bytes(bytes, &id));
    r->call->code = KS_GRPC_UNIMPLEMENTED;
    return ks_fail(KS_EUNSUPPORTED, "failed to archive trace: archive span storage was not "
                                    "configured; traces worth keeping stay by -traces.keep");
}

static ks_err v3_get_trace(struct rpc *r)
{
    struct ks_slice text;
    struct ks_trace_id id;
    KS_TRY(read_get(r, &text));
    if (!ks_jaeger_parse_trace_id(text, &id))
        return ks_fail(KS_EINVAL, "malformed trace ID \"%.*s\": want 1 to 32 hex digits",
                       KS_SLICE_ARG(text));
    return put_trace(r, id, put_v3);
}

static ks_err v3_query(struct rpc *r)
{
    bool filter;
    KS_TRY(read_find(r, &filter));
    if (filter)
        return ks_fail(KS_EINVAL, "structured filters are not supported");
    if (!r->p.q.min_start_ns || r->p.q.max_start_ns == UINT64_MAX)
        return ks_fail(KS_EINVAL, "start time min and max are required parameters");
    r->p.q.max_start_ns--; /* exclusive */
    return KS_OK;
}

static ks_err v3_find_traces(struct rpc *r)
{
    KS_TRY(v3_query(r));
    return put_found(r, put_v3);
}

static ks_err v3_find_summaries(struct rpc *r)
{
    KS_TRY(v3_query(r));
    return put_found(r, put_summary);
}

/* --- names --- */
static ks_err get_services(struct rpc *r)
{
    struct ks_operation *list;
    size_t count;
    KS_TRY(ks_trace_names(r->store, r->call->tenant, &r->p, true, ks_slice("", 0), &r->call->arena,
                          &list, &count));
    for (size_t i = 0; i < count; i++)
        ks_pbw_text(&r->message, 1, list[i].name);
    KS_TRY(ks_buf_status(&r->message));
    return reply_chunk(r, ks_buf_view(&r->message));
}

/* operation, span_kind; v2 has the bare names too. */
static ks_err operations(struct rpc *r, bool v2)
{
    struct ks_slice service, kind;
    struct ks_operation *list;
    size_t count;
    struct ks_buf *b = &r->message;
    KS_TRY(read_operations(r, &service, &kind));
    KS_TRY(ks_trace_names(r->store, r->call->tenant, &r->p, false, service, &r->call->arena, &list,
                          &count));
    for (size_t i = 0, kept = 0; i < count; i++) {
        const char *name = ks_span_kind_name(list[i].kind);
        if (kind.len && !ks_slice_is(kind, name))
            continue;
        list[kept] = list[i];
        if (v2 && (!kept || !ks_slice_eq(list[kept - 1].name, list[kept].name)))
            ks_pbw_bytes(b, 1, list[kept].name);
        kept++;
        size_t at = ks_pbw_begin(b, v2 ? 2 : 1);
        ks_pbw_text(b, 1, list[i].name);
        ks_pbw_text(b, 2, ks_slice_str(name));
        ks_pbw_end(b, at);
    }
    KS_TRY(ks_buf_status(b));
    return reply_chunk(r, ks_buf_view(b));
}

static ks_err v2_get_operations(struct rpc *r)
{
    return operations(r, true);
}
static ks_err v3_get_operations(struct rpc *r)
{
    return operations(r, false);
}

/* Both versions: { start_time = 1, end_time = 2 } → repeated { parent, child, call_count } = 1. */
static ks_err get_dependencies(struct rpc *r)
{
    struct ks_pb m = ks_pb(r->call->request);
    struct ks_pb_field f;
    struct ks_edge *edges;
    size_t count;
    uint64_t start_ns = 0, end_ns = 0;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            KS_TRY(read_time(f.bytes, &start_ns));
        else if (f.key == KS_PB_BYTES(2))
            KS_TRY(read_time(f.bytes, &end_ns));
    }
    if (m.bad)
        return malformed("the request");
    if (!start_ns || !end_ns)
        return ks_fail(KS_EINVAL, "start_time and end_time are required");
    if (end_ns <= start_ns)
        return ks_fail(KS_EINVAL, "end_time must be after start_time");
    KS_TRY(ks_traces_edges(ks_trace_store_ring(r->store), r->call->tenant, start_ns, end_ns,
                           r->p.filter_count ? &r->p.q : NULL, r->app->cfg.trace_self_edges,
                           &r->call->arena, &edges, &count));
    for (size_t i = 0; i < count; i++) {
        size_t at = ks_pbw_begin(&r->message, 1);
        ks_pbw_text(&r->message, 1, edges[i].parent);
        ks_pbw_text(&r->message, 2, edges[i].child);
        ks_pbw_varint(&r->message, 3, edges[i].calls);
        ks_pbw_end(&r->message, at);
    }
    KS_TRY(ks_buf_status(&r->message));
    return reply_chunk(r, ks_buf_view(&r->message));
}

/* --- the table --- */
#define METHOD(name)                                                                               \
    static ks_err call_##name(struct ks_grpc_call *call)                                           \
    {                                                                                              \
        return rpc(call, name);                                                                    \
    }
METHOD(v2_get_trace)
METHOD(v2_archive_trace)
METHOD(v2_find_traces)
METHOD(get_services)
METHOD(v2_get_operations)
METHOD(get_dependencies)
METHOD(v3_get_trace)
METHOD(v3_find_traces)
METHOD(v3_find_summaries)
METHOD(v3_get_operations)

/* grpc.health.v1: the server as a whole, or one of its services by name. */
static ks_err health(struct ks_grpc_call *call)
{
    static const char *const known[] = {"", "jaeger.api_v2.QueryService",
                                        "jaeger.api_v3.QueryService"};
    struct ks_pb m = ks_pb(call->request);
    struct ks_pb_field f;
    struct ks_slice service = ks_slice("", 0);
    while (ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(1))
            service = f.bytes;
    if (m.bad)
        return malformed("the request");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ks_slice_is(service, known[i]))
            return ks_grpc_health_check(call);
    return ks_fail(KS_ENOTFOUND, "unknown service");
}

#define V2 "/jaeger.api_v2.QueryService/"
#define V3 "/jaeger.api_v3.QueryService/"
const struct ks_grpc_method ks_jaeger_grpc_methods[] = {
    {V2 "GetTrace", call_v2_get_trace},
    {V2 "ArchiveTrace", call_v2_archive_trace},
    {V2 "FindTraces", call_v2_find_traces},
    {V2 "GetServices", call_get_services},
    {V2 "GetOperations", call_v2_get_operations},
    {V2 "GetDependencies", call_get_dependencies},
    {V3 "GetTrace", call_v3_get_trace},
    {V3 "FindTraces", call_v3_find_traces},
    {V3 "FindTraceSummaries", call_v3_find_summaries},
    {V3 "GetServices", call_get_services},
    {V3 "GetOperations", call_v3_get_operations},
    {V3 "GetDependencies", call_get_dependencies},
    {"/grpc.health.v1.Health/Check", health},
};
const size_t ks_jaeger_grpc_method_count =
    sizeof ks_jaeger_grpc_methods / sizeof *ks_jaeger_grpc_methods;
