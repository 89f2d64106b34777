#include "query/traces/jaeger_proto.h"

#include "query/traces/jaeger_priv.h"
#include "query/traces/proto_out.h"
#include "storage/traces/any_value.h"

/* jaeger.api_v2.ValueType */
enum { T_STRING, T_BOOL, T_INT64, T_FLOAT64, T_BINARY };
/* Fields of KeyValue. */
enum { KV_KEY = 1, KV_TYPE, KV_STR, KV_BOOL, KV_INT64, KV_FLOAT64, KV_BINARY };

static void trace_id(struct ks_buf *b, struct ks_trace_id id)
{
    char be[16];
    ks_put_be64(be, id.hi);
    ks_put_be64(be + 8, id.lo);
    ks_pbw_bytes(b, 1, ks_slice(be, sizeof be));
}

static void span_id(struct ks_buf *b, uint64_t id)
{
    char be[8];
    ks_put_be64(be, id);
    ks_pbw_bytes(b, 2, ks_slice(be, sizeof be));
}

static void text_tag(struct ks_buf *b, unsigned field, const char *key, struct ks_slice value)
{
    if (!value.len)
        return;
    size_t at = ks_pbw_begin(b, field);
    ks_pbw_text(b, KV_KEY, ks_slice_str(key));
    ks_pbw_text(b, KV_STR, value);
    ks_pbw_end(b, at);
}

/* Arrays and maps are their JSON, as text. */
static void nested_value(struct ks_buf *b, const struct ks_attr *a)
{
    size_t at = ks_pbw_begin(b, KV_STR);
    ks_any_json(a, b);
    ks_pbw_end(b, at);
}

static void tag(struct ks_buf *b, unsigned field, const struct ks_attr *a)
{
    size_t at = ks_pbw_begin(b, field);
    ks_pbw_text(b, KV_KEY, a->key);
    switch (a->type) {
    case KS_ATTR_BOOL:
        ks_pbw_varint(b, KV_TYPE, T_BOOL);
        ks_pbw_varint(b, KV_BOOL, a->number != 0);
        break;
    case KS_ATTR_INT:
        ks_pbw_varint(b, KV_TYPE, T_INT64);
        ks_pbw_varint(b, KV_INT64, (uint64_t)a->number);
        break;
    case KS_ATTR_DOUBLE:
        ks_pbw_varint(b, KV_TYPE, T_FLOAT64);
        ks_pbw_double(b, KV_FLOAT64, a->real);
        break;
    case KS_ATTR_BYTES:
        ks_pbw_varint(b, KV_TYPE, T_BINARY);
        ks_pbw_text(b, KV_BINARY, a->text);
        break;
    case KS_ATTR_ARRAY:
    case KS_ATTR_KVLIST:
        nested_value(b, a);
        break;
    case KS_ATTR_STRING:
        ks_pbw_text(b, KV_STR, a->text);
        break;
    default:
        break; /* an empty text */
    }
    ks_pbw_end(b, at);
}

static void tags(struct ks_buf *b, const struct ksi_jaeger_span *j, enum ks_jaeger_profile profile)
{
    enum { TAGS = 8 };
    const struct ks_span *s = j->s;
    text_tag(b, TAGS, "otel.scope.name", s->scope->name);
    text_tag(b, TAGS, "otel.scope.version", s->scope->version);
    for (uint32_t i = 0; i < j->attrs.count; i++)
        tag(b, TAGS, &j->attrs.items[i]);
    text_tag(b, TAGS, "span.kind", ks_slice_str(ks_span_kind_name(s->kind)));
    if (s->status == KS_STATUS_OK)
        text_tag(b, TAGS, "otel.status_code", KS_SLICE_LIT("OK"));
    if (s->status == KS_STATUS_ERROR) {
        struct ks_attr error = {.key = KS_SLICE_LIT("error"), .type = KS_ATTR_BOOL, .number = 1};
        text_tag(b, TAGS, "otel.status_code", KS_SLICE_LIT("ERROR"));
        tag(b, TAGS, &error);
    }
    text_tag(b, TAGS, "otel.status_description", s->status_message);
    text_tag(b, TAGS, "w3c.tracestate", s->state);
    if (profile == KS_JAEGER_1)
        text_tag(b, TAGS, "internal.span.format", KS_SLICE_LIT("otlp"));
}

static void logs(struct ks_buf *b, const struct ksi_jaeger_span *j)
{
    enum { LOGS = 9, FIELDS = 2 };
    for (uint32_t i = 0; i < j->s->event_count; i++) {
        const struct ks_span_event *e = &j->events[i];
        bool named = false;
        size_t at = ks_pbw_begin(b, LOGS);
        ks_pbw_time(b, 1, e->time_ns);
        for (uint32_t k = 0; k < e->attrs.count && !named; k++)
            named = ks_slice_is(e->attrs.items[k].key, "event");
        if (!named)
            text_tag(b, FIELDS, "event", e->name);
        for (uint32_t k = 0; k < e->attrs.count; k++)
            tag(b, FIELDS, &e->attrs.items[k]);
        ks_pbw_end(b, at);
    }
}

static void process(struct ks_buf *b, const struct ks_resource *r)
{
    size_t at = ks_pbw_begin(b, 10);
    ks_pbw_text(b, 1, ks_jaeger_service_name(r));
    for (uint32_t i = 0; i < r->attrs.count; i++)
        if (!ks_slice_is(r->attrs.items[i].key, "service.name"))
            tag(b, 2, &r->attrs.items[i]);
    ks_pbw_end(b, at);
}

static void span(struct ks_buf *b, const struct ksi_jaeger_span *j, enum ks_jaeger_profile profile)
{
    const struct ks_span *s = j->s;
    size_t at = ks_pbw_begin(b, 1);
    trace_id(b, s->trace_id);
    span_id(b, j->id);
    ks_pbw_text(b, 3, s->name);
    for (size_t i = 0; i < j->ref_count; i++) {
        size_t ref = ks_pbw_begin(b, 4);
        trace_id(b, j->refs[i].trace_id);
        span_id(b, j->refs[i].span_id);
        ks_pbw_varint(b, 3, !j->refs[i].child_of);
        ks_pbw_end(b, ref);
    }
    ks_pbw_time(b, 6, s->start_ns);
    ks_pbw_time(b, 7, ks_span_duration_ns(s));
    tags(b, j, profile);
    logs(b, j);
    process(b, j->process);
    for (size_t i = 0; i < j->warning_count; i++)
        ks_pbw_bytes(b, 12, ks_slice_str(j->warnings[i]));
    ks_pbw_end(b, at);
}

ks_err ks_jaeger_trace_chunks(enum ks_jaeger_profile profile, bool raw, struct ks_span *spans,
                              size_t count, struct ks_arena *arena, struct ks_buf *scratch,
                              ks_jaeger_chunk_fn fn, void *arg)
{
    struct ksi_jaeger_trace t;
    KS_TRY(ksi_jaeger_model(profile, raw, spans, count, arena, &t));
    for (size_t i = 0; i < t.count; i += KS_JAEGER_CHUNK_SPANS) {
        ks_buf_reset(scratch);
        for (size_t k = i; k < t.count && k < i + KS_JAEGER_CHUNK_SPANS; k++)
            span(scratch, &t.spans[k], profile);
        KS_TRY(ks_buf_status(scratch));
        KS_TRY(fn(arg, ks_buf_view(scratch)));
    }
    return KS_OK;
}
