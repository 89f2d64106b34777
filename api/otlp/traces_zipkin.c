/*
 * Zipkin v2 JSON. Mapped as the OpenTelemetry collector does: localEndpoint's service is the
 * resource, tags are string attributes, annotations events; kind and error become OTLP's.
 */
#include "api/otlp/traces_zipkin.h"

#include <math.h>

#include "api/compress.h"
#include "api/ingest/json_reader.h"
#include "api/jaeger/jaeger.h"
#include "api/otlp/otlp.h"
#include "base/num.h"
#include "query/traces/jaeger.h"

enum { ATTRS_MAX = 1024, EVENTS_MAX = 1024 };

/* --- adding whole spans --- */
static ks_err with_extra(struct ks_span_sink *s, const struct ks_attrs *a, bool resource,
                         struct ks_arena *arena, struct ks_attrs *ret)
{
    const struct ks_label *extra = resource ? s->extra : s->extra_span;
    size_t n = resource ? s->extra_count : s->extra_span_count, kept = 0;
    *ret = *a;
    if (!n && !s->ignore_count)
        return KS_OK;
    struct ks_attr *items = ks_arena_array(arena, a->count + n + 1, sizeof *items);
    if (!items)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < a->count; i++)
        if (!ks_span_sink_drops(s, resource, a->items[i].key))
            items[kept++] = a->items[i];
    for (size_t i = 0; i < n; i++)
        items[kept++] =
            (struct ks_attr){.key = extra[i].name, .type = KS_ATTR_STRING, .text = extra[i].value};
    *ret = (struct ks_attrs){items, (uint32_t)kept, a->dropped};
    return KS_OK;
}

ks_err ks_span_sink_add(struct ks_span_sink *s, struct ks_span *span, size_t span_bytes)
{
    struct ks_batch_memo memo = {0};
    if (ks_trace_id_zero(span->trace_id) || !span->span_id) {
        ks_span_sink_reject(s, 1, "trace and span ids must not be zero");
        return KS_OK;
    }
    if (span_bytes > KS_SPAN_BYTES_MAX) {
        ks_span_sink_reject(s, 1, "a span of %zu bytes is over the limit of %d", span_bytes,
                            KS_SPAN_BYTES_MAX);
        return KS_OK;
    }
    KS_TRY(ks_span_sink_room(s, span_bytes));
    ks_batch_copy_span(s->batch, span, &memo);
    return s->batch->err;
}

/* --- Zipkin --- */
struct zspan {
    struct ks_span span;
    struct ks_attr attrs[ATTRS_MAX];
    struct ks_span_event events[EVENTS_MAX];
    size_t attr_count, event_count;
    struct ks_slice service;
    bool has_service, shared;
    uint64_t duration_ns;
};

struct reader {
    struct ks_json j;
    struct ks_span_sink *sink;
    struct ks_arena *arena;
    const char *start;
};

static ks_err wrong(const struct reader *r, const char *what)
{
    return ks_fail(KS_EPARSE, "malformed Zipkin JSON: %s at byte %zu", what,
                   (size_t)(r->j.p - r->start));
}

static bool add_attr(struct zspan *z, struct ks_slice key, struct ks_slice value)
{
    if (z->attr_count == ATTRS_MAX) {
        z->span.attrs.dropped++;
        return true;
    }
    z->attrs[z->attr_count++] = (struct ks_attr){.key = key, .type = KS_ATTR_STRING, .text = value};
    return true;
}

/* A number, bare or as a string; µs may be fractional by mistake. */
static bool number(struct ks_json *j, double *ret)
{
    struct ks_slice s;
    ks_json_blanks(j);
    if (j->p < j->end && *j->p == '"')
        return ks_json_string(j, &s) && ks_f64_parse(s, ret);
    const char *start = j->p;
    while (j->p < j->end && ((*j->p >= '0' && *j->p <= '9') || *j->p == '.' || *j->p == '-' ||
                             *j->p == '+' || (*j->p | 32) == 'e'))
        j->p++;
    return ks_f64_parse(ks_slice(start, (size_t)(j->p - start)), ret);
}

static bool micros(struct ks_json *j, uint64_t *ret_ns)
{
    double us;
    if (!number(j, &us) || !(us >= 0 && us < 1.8e16))
        return false;
    *ret_ns = (uint64_t)us * 1000;
    return true;
}

static bool id64(struct ks_json *j, uint64_t *ret)
{
    struct ks_slice s;
    struct ks_trace_id id;
    if (!ks_json_string(j, &s) || s.len > 16 || !ks_jaeger_parse_trace_id(s, &id))
        return false;
    *ret = id.lo;
    return true;
}

typedef bool (*member_fn)(struct reader *r, struct zspan *z, struct ks_slice key);

static bool object(struct reader *r, struct zspan *z, member_fn fn)
{
    struct ks_json *j = &r->j;
    struct ks_slice key;
    if (!ks_json_expect(j, '{'))
        return false;
    if (ks_json_expect(j, '}'))
        return true;
    do {
        if (!ks_json_string(j, &key) || !ks_json_expect(j, ':') || !fn(r, z, key))
            return false;
    } while (ks_json_expect(j, ','));
    return ks_json_expect(j, '}');
}

static bool local_member(struct reader *r, struct zspan *z, struct ks_slice key)
{
    struct ks_slice v;
    if (ks_slice_is(key, "serviceName")) {
        if (!ks_json_string(&r->j, &v))
            return false;
        z->service = v;
        z->has_service = true;
        return true;
    }
    if (ks_slice_is(key, "ipv4") || ks_slice_is(key, "ipv6"))
        return ks_json_string(&r->j, &v) && add_attr(z, KS_SLICE_LIT("net.host.ip"), v);
    return ks_json_skip(&r->j);
}

static bool remote_member(struct reader *r, struct zspan *z, struct ks_slice key)
{
    struct ks_slice v;
    double port;
    if (ks_slice_is(key, "serviceName"))
        return ks_json_string(&r->j, &v) && add_attr(z, KS_SLICE_LIT("peer.service"), v);
    if (ks_slice_is(key, "ipv4") || ks_slice_is(key, "ipv6"))
        return ks_json_string(&r->j, &v) && add_attr(z, KS_SLICE_LIT("net.peer.ip"), v);
    if (ks_slice_is(key, "port")) {
        if (!number(&r->j, &port))
            return false;
        bool known = port >= 0 && port <= 65535; /* clients say -1 where they do not know */
        if (known && z->attr_count < ATTRS_MAX)
            z->attrs[z->attr_count++] = (struct ks_attr){
                .key = KS_SLICE_LIT("net.peer.port"), .type = KS_ATTR_INT, .number = (int64_t)port};
        return true;
    }
    return ks_json_skip(&r->j);
}

static bool tag_member(struct reader *r, struct zspan *z, struct ks_slice key)
{
    struct ks_slice v;
    if (!ks_json_string(&r->j, &v))
        return false;
    if (ks_slice_is(key, "error")) {
        z->span.status = KS_STATUS_ERROR;
        if (!ks_slice_is(v, "true"))
            z->span.status_message = v;
        return ks_slice_is(v, "true") || !v.len || add_attr(z, key, v);
    }
    if (ks_slice_is(key, "otel.status_code")) {
        z->span.status = ks_slice_is(v, "ERROR") ? KS_STATUS_ERROR
                         : ks_slice_is(v, "OK")  ? KS_STATUS_OK
                                                 : z->span.status;
        return true;
    }
    return add_attr(z, key, v);
}

static bool annotation_member(struct reader *r, struct zspan *z, struct ks_slice key)
{
    struct ks_span_event *e = &z->events[z->event_count];
    if (ks_slice_is(key, "timestamp"))
        return micros(&r->j, &e->time_ns);
    if (ks_slice_is(key, "value"))
        return ks_json_string(&r->j, &e->name);
    return ks_json_skip(&r->j);
}

static bool annotations(struct reader *r, struct zspan *z)
{
    struct ks_json *j = &r->j;
    if (!ks_json_expect(j, '['))
        return false;
    if (ks_json_expect(j, ']'))
        return true;
    do {
        if (z->event_count == EVENTS_MAX) {
            if (!ks_json_skip(j))
                return false;
            z->span.dropped_events++;
            continue;
        }
        z->events[z->event_count] = (struct ks_span_event){.name = {"", 0}};
        if (!object(r, z, annotation_member))
            return false;
        z->event_count++;
    } while (ks_json_expect(j, ','));
    return ks_json_expect(j, ']');
}

static bool kind(struct ks_json *j, uint32_t *ret)
{
    static const char *const names[] = {"CLIENT", "SERVER", "PRODUCER", "CONSUMER"};
    static const uint32_t kinds[] = {KS_KIND_CLIENT, KS_KIND_SERVER, KS_KIND_PRODUCER,
                                     KS_KIND_CONSUMER};
    struct ks_slice v;
    if (!ks_json_string(j, &v))
        return false;
    for (size_t i = 0; i < 4; i++)
        if (ks_slice_is(v, names[i]))
            *ret = kinds[i];
    return true;
}

static bool null(struct ks_json *j)
{
    ks_json_blanks(j);
    if (j->end - j->p < 4 || memcmp(j->p, "null", 4) != 0)
        return false;
    j->p += 4;
    return true;
}

static bool span_member(struct reader *r, struct zspan *z, struct ks_slice key)
{
    struct ks_json *j = &r->j;
    struct ks_slice v;
    if (null(j))
        return true;
    if (ks_slice_is(key, "traceId"))
        return ks_json_string(j, &v) && ks_jaeger_parse_trace_id(v, &z->span.trace_id);
    if (ks_slice_is(key, "id"))
        return id64(j, &z->span.span_id);
    if (ks_slice_is(key, "parentId"))
        return id64(j, &z->span.parent_id);
    if (ks_slice_is(key, "name"))
        return ks_json_string(j, &z->span.name);
    if (ks_slice_is(key, "timestamp"))
        return micros(j, &z->span.start_ns);
    if (ks_slice_is(key, "duration"))
        return micros(j, &z->duration_ns);
    if (ks_slice_is(key, "kind"))
        return kind(j, &z->span.kind);
    if (ks_slice_is(key, "localEndpoint"))
        return object(r, z, local_member);
    if (ks_slice_is(key, "remoteEndpoint"))
        return object(r, z, remote_member);
    if (ks_slice_is(key, "tags"))
        return object(r, z, tag_member);
    if (ks_slice_is(key, "annotations"))
        return annotations(r, z);
    return ks_json_skip(j);
}

static ks_err read_span(struct reader *r, struct zspan *z)
{
    struct ks_resource resource = {.schema_url = {"", 0}};
    struct ks_scope scope = {.name = {"", 0}, .version = {"", 0}, .schema_url = {"", 0}};
    struct ks_attr service = {.key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING};
    const char *begin = r->j.p;
    z->span = (struct ks_span){
        .name = {"", 0}, .state = {"", 0}, .status_message = {"", 0}, .scope = &scope};
    z->attr_count = z->event_count = 0;
    z->has_service = false;
    z->duration_ns = 0;
    if (!object(r, z, span_member))
        return wrong(r, "span");
    if (r->arena->err != KS_OK)
        return ks_arena_err(r->arena);
    service.text = z->service;
    struct ks_attrs own = {&service, z->has_service, 0};
    KS_TRY(with_extra(r->sink, &own, true, r->arena, &resource.attrs));
    own = (struct ks_attrs){z->attrs, (uint32_t)z->attr_count, z->span.attrs.dropped};
    KS_TRY(with_extra(r->sink, &own, false, r->arena, &z->span.attrs));
    z->span.resource = &resource;
    z->span.end_ns = z->span.start_ns + z->duration_ns;
    z->span.events = z->events;
    z->span.event_count = (uint32_t)z->event_count;
    return ks_span_sink_add(r->sink, &z->span, (size_t)(r->j.p - begin));
}

ks_err ks_zipkin_decode(struct ks_span_sink *s, struct ks_slice body, struct ks_arena *arena)
{
    struct reader r = {{body.ptr, body.ptr + body.len, arena}, s, arena, body.ptr};
    struct zspan *z = ks_arena_alloc(arena, sizeof *z);
    if (!z)
        return ks_arena_err(arena);
    if (!ks_json_expect(&r.j, '['))
        return wrong(&r, "want an array of spans");
    if (!ks_json_expect(&r.j, ']')) {
        do
            KS_TRY(read_span(&r, z));
        while (ks_json_expect(&r.j, ','));
        if (!ks_json_expect(&r.j, ']'))
            return wrong(&r, "want a comma or the end");
    }
    ks_json_blanks(&r.j);
    return r.j.p == r.j.end ? KS_OK : wrong(&r, "text behind the array");
}

/* --- over HTTP --- */
typedef ks_err (*decode_fn)(struct ks_span_sink *, struct ks_slice, struct ks_arena *);

static ks_err take(struct ks_http_request *req, decode_fn decode)
{
    struct ks_span_sink s;
    struct ks_arena arena;
    struct ks_slice body;
    size_t limit = ks_app_of(req)->cfg.otlp_max_request_bytes;
    KS_TRY(ks_trace_tenant(req, &req->tenant));
    KS_TRY(ks_span_sink_begin(&s, req));
    KS_TRY(ks_otlp_body(req, limit, &body));
    ks_arena_init(&arena, 4 * limit + ((size_t)16 << 20));
    ks_err err = decode(&s, body, &arena);
    if (err == KS_OK)
        err = ks_span_sink_finish(&s);
    ks_arena_done(&arena);
    KS_TRY(err);
    req->resp.status = 202;
    if (s.rejected)
        ks_http_text(req, s.stored ? 202 : 400, "%llu spans rejected: %s\n",
                     (unsigned long long)s.rejected, s.reason);
    return KS_OK;
}

ks_err ks_zipkin_handle(struct ks_http_request *req)
{
    return take(req, ks_zipkin_decode);
}

ks_err ks_jaeger_thrift_handle(struct ks_http_request *req)
{
    return take(req, ks_jaeger_thrift_decode);
}
