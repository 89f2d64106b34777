/* Jaeger's own JSON of a trace. */
#include <math.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/num.h"
#include "query/traces/jaeger_priv.h"
#include "storage/traces/any_value.h"

#define SAFE_INT (((int64_t)1 << 53) - 1)

static void key_type(struct ks_buf *out, struct ks_slice key, const char *type)
{
    ks_buf_str(out, "{\"key\":");
    ks_go_json_str(out, key);
    ks_buf_str(out, ",\"type\":\"");
    ks_buf_str(out, type);
    ks_buf_str(out, "\",\"value\":");
}

static void string_tag(struct ks_buf *out, const char *key, struct ks_slice value)
{
    key_type(out, ks_slice_str(key), "string");
    ks_go_json_str(out, value);
    ks_buf_byte(out, '}');
}

/* Arrays and maps are JSON within a string. */
static void nested(struct ks_buf *out, const struct ks_attr *a)
{
    struct ks_buf text;
    ks_buf_init(&text, out->max);
    ks_any_json(a, &text);
    ks_go_json_str(out, ks_buf_view(&text));
    if (ks_buf_status(&text) != KS_OK)
        out->err = ks_buf_status(&text);
    ks_buf_done(&text);
}

static ks_err tag(struct ks_buf *out, const struct ks_attr *a)
{
    switch (a->type) {
    case KS_ATTR_BOOL:
        key_type(out, a->key, "bool");
        ks_buf_str(out, a->number ? "true" : "false");
        break;
    case KS_ATTR_INT:
        key_type(out, a->key, "int64");
        if (a->number > SAFE_INT || a->number < -SAFE_INT) {
            ks_buf_byte(out, '"');
            ks_buf_i64_dec(out, a->number);
            ks_buf_byte(out, '"');
        } else {
            ks_buf_i64_dec(out, a->number);
        }
        break;
    case KS_ATTR_DOUBLE:
        if (!isfinite(a->real))
            return ks_fail(KS_EINTERNAL, "json: unsupported value: attribute \"%.*s\" is %s",
                           KS_SLICE_ARG(a->key), isnan(a->real) ? "NaN" : "Inf");
        key_type(out, a->key, "float64");
        ks_go_json_f64(out, a->real);
        break;
    case KS_ATTR_BYTES:
        key_type(out, a->key, "binary");
        ks_buf_byte(out, '"');
        ks_base64_encode(a->text, out);
        ks_buf_byte(out, '"');
        break;
    case KS_ATTR_ARRAY:
    case KS_ATTR_KVLIST:
        key_type(out, a->key, "string");
        nested(out, a);
        break;
    default:
        key_type(out, a->key, "string");
        ks_go_json_str(out, a->type == KS_ATTR_STRING ? a->text : ks_slice("", 0));
    }
    ks_buf_byte(out, '}');
    return KS_OK;
}

struct list {
    struct ks_buf *out;
    bool any;
};
static void item(struct list *l)
{
    if (l->any)
        ks_buf_byte(l->out, ',');
    l->any = true;
}

static ks_err attributes(struct list *l, const struct ks_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        item(l);
        KS_TRY(tag(l->out, &attrs->items[i]));
    }
    return KS_OK;
}

static void text_item(struct list *l, const char *key, struct ks_slice value)
{
    if (!value.len)
        return;
    item(l);
    string_tag(l->out, key, value);
}

static ks_err tags(const struct ksi_jaeger_span *j, enum ks_jaeger_profile profile,
                   struct ks_buf *out)
{
    const struct ks_span *s = j->s;
    struct list l = {out, false};
    ks_buf_str(out, ",\"tags\":[");
    text_item(&l, "otel.scope.name", s->scope->name);
    text_item(&l, "otel.scope.version", s->scope->version);
    KS_TRY(attributes(&l, &j->attrs));
    text_item(&l, "span.kind", ks_slice_str(ks_span_kind_name(s->kind)));
    if (s->status == KS_STATUS_OK)
        text_item(&l, "otel.status_code", KS_SLICE_LIT("OK"));
    if (s->status == KS_STATUS_ERROR) {
        text_item(&l, "otel.status_code", KS_SLICE_LIT("ERROR"));
        item(&l);
        key_type(out, KS_SLICE_LIT("error"), "bool");
        ks_buf_str(out, "true}");
    }
    text_item(&l, "otel.status_description", s->status_message);
    text_item(&l, "w3c.tracestate", s->state);
    if (profile == KS_JAEGER_1)
        text_item(&l, "internal.span.format", KS_SLICE_LIT("otlp"));
    ks_buf_byte(out, ']');
    return KS_OK;
}

static bool has_key(const struct ks_attrs *attrs, const char *key)
{
    for (uint32_t i = 0; i < attrs->count; i++)
        if (ks_slice_is(attrs->items[i].key, key))
            return true;
    return false;
}

static ks_err logs(const struct ksi_jaeger_span *j, struct ks_buf *out)
{
    ks_buf_str(out, ",\"logs\":[");
    for (uint32_t i = 0; i < j->s->event_count; i++) {
        const struct ks_span_event *e = &j->events[i];
        struct list l = {out, false};
        ks_buf_str(out, i ? ",{\"timestamp\":" : "{\"timestamp\":");
        ks_buf_u64_dec(out, e->time_ns / 1000);
        ks_buf_str(out, ",\"fields\":[");
        if (!has_key(&e->attrs, "event"))
            text_item(&l, "event", e->name);
        KS_TRY(attributes(&l, &e->attrs));
        ks_buf_str(out, "]}");
    }
    ks_buf_byte(out, ']');
    return KS_OK;
}

static void references(const struct ksi_jaeger_span *j, struct ks_buf *out)
{
    ks_buf_str(out, ",\"references\":[");
    for (size_t i = 0; i < j->ref_count; i++) {
        ks_buf_str(out, i ? ",{\"refType\":\"" : "{\"refType\":\"");
        ks_buf_str(out, j->refs[i].child_of ? "CHILD_OF" : "FOLLOWS_FROM");
        ks_buf_str(out, "\",\"traceID\":\"");
        ks_jaeger_trace_id(out, j->refs[i].trace_id, true);
        ks_buf_str(out, "\",\"spanID\":\"");
        ks_jaeger_span_id(out, j->refs[i].span_id);
        ks_buf_str(out, "\"}");
    }
    ks_buf_byte(out, ']');
}

static void warnings(const struct ksi_jaeger_span *j, struct ks_buf *out)
{
    ks_buf_str(out, ",\"warnings\":");
    if (!j->warning_count) {
        ks_buf_str(out, "null");
        return;
    }
    for (size_t i = 0; i < j->warning_count; i++) {
        ks_buf_byte(out, i ? ',' : '[');
        ks_go_json_str(out, ks_slice_str(j->warnings[i]));
    }
    ks_buf_byte(out, ']');
}

static ks_err span(const struct ksi_jaeger_span *j, enum ks_jaeger_profile profile, size_t process,
                   struct ks_buf *out)
{
    const struct ks_span *s = j->s;
    ks_buf_str(out, "{\"traceID\":\"");
    ks_jaeger_trace_id(out, s->trace_id, true);
    ks_buf_str(out, "\",\"spanID\":\"");
    ks_jaeger_span_id(out, j->id);
    ks_buf_str(out, "\",\"operationName\":");
    ks_go_json_str(out, s->name);
    references(j, out);
    ks_buf_str(out, ",\"startTime\":");
    ks_buf_u64_dec(out, s->start_ns / 1000);
    ks_buf_str(out, ",\"duration\":");
    ks_buf_u64_dec(out, ks_span_duration_ns(s) / 1000);
    KS_TRY(tags(j, profile, out));
    KS_TRY(logs(j, out));
    ks_buf_str(out, ",\"processID\":\"p");
    ks_buf_u64_dec(out, process);
    ks_buf_byte(out, '"');
    warnings(j, out);
    ks_buf_byte(out, '}');
    return ks_buf_status(out);
}

struct ks_slice ks_jaeger_service_name(const struct ks_resource *r)
{
    if (r->has_service)
        return r->service;
    return r->attrs.count ? ks_slice("", 0) : KS_SLICE_LIT("OTLPResourceNoServiceName");
}

static ks_err process(const struct ks_resource *r, struct ks_buf *out)
{
    struct list l = {out, false};
    ks_buf_str(out, "{\"serviceName\":");
    ks_go_json_str(out, ks_jaeger_service_name(r));
    ks_buf_str(out, ",\"tags\":[");
    for (uint32_t i = 0; i < r->attrs.count; i++) {
        if (ks_slice_is(r->attrs.items[i].key, "service.name"))
            continue;
        item(&l);
        KS_TRY(tag(out, &r->attrs.items[i]));
    }
    ks_buf_str(out, "]}");
    return KS_OK;
}

static ks_err processes(const struct ks_jaeger_processes *p, struct ks_arena *arena,
                        struct ks_buf *out)
{
    size_t *order = ks_arena_array(arena, p->count + 1, sizeof *order);
    if (!order)
        return ks_arena_err(arena);
    for (size_t i = 0; i < p->count; i++)
        order[i] = i + 1;
    ksi_sort_processes(order, p->count);
    ks_buf_str(out, ",\"processes\":{");
    for (size_t i = 0; i < p->count; i++) {
        ks_buf_str(out, i ? ",\"p" : "\"p");
        ks_buf_u64_dec(out, order[i]);
        ks_buf_str(out, "\":");
        KS_TRY(process(p->items[order[i] - 1], out));
    }
    ks_buf_byte(out, '}');
    return KS_OK;
}

static ks_err jaeger_trace(enum ks_jaeger_profile profile, const struct ksi_jaeger_trace *t,
                           struct ks_arena *arena, struct ks_buf *out)
{
    struct ks_jaeger_processes p = {0};
    ks_buf_str(out, "{\"traceID\":\"");
    ks_jaeger_trace_id(out, t->spans[0].s->trace_id, true);
    ks_buf_str(out, "\",\"spans\":[");
    for (size_t i = 0; i < t->count; i++) {
        size_t n = ksi_process_number(&p, t->spans[i].process, arena);
        if (!n)
            return ks_arena_err(arena);
        if (i)
            ks_buf_byte(out, ',');
        KS_TRY(span(&t->spans[i], profile, n, out));
    }
    ks_buf_byte(out, ']');
    KS_TRY(processes(&p, arena, out));
    ks_buf_str(out, ",\"warnings\":null}");
    return ks_buf_status(out);
}

ks_err ks_jaeger_trace(enum ks_jaeger_profile profile, bool raw, struct ks_span *spans,
                       size_t count, struct ks_jaeger_processes *p, struct ks_arena *arena,
                       struct ks_buf *out)
{
    struct ksi_jaeger_trace t;
    if (!count)
        return ks_fail(KS_EINVAL, "a trace without spans");
    KS_TRY(ksi_jaeger_model(profile, raw, spans, count, arena, &t));
    return profile == KS_JAEGER_VT ? ksi_vt_trace(&t, p, arena, out)
                                   : jaeger_trace(profile, &t, arena, out);
}
