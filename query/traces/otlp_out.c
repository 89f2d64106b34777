#include "query/traces/otlp_out.h"

#include <stdlib.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/num.h"
#include "query/traces/jaeger_priv.h"
#include "storage/traces/any_value.h"

enum { NEAR = 512 }; /* how far back the same resource is looked for: beyond it just stands twice */

/* --- grouping: spans of one resource and scope stand together, in order of first appearance --- */
struct order {
    size_t resource, scope,
        at; /* at: of the span; resource, scope: of the first span that has it */
};

static int by_group(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    if (x->resource != y->resource)
        return x->resource < y->resource ? -1 : 1;
    if (x->scope != y->scope)
        return x->scope < y->scope ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Spans read from disk have a copy each. */
static bool same_resource(const struct ks_resource *a, const struct ks_resource *b)
{
    return a == b ||
           (ks_slice_eq(a->schema_url, b->schema_url) && ksi_same_attrs(&a->attrs, &b->attrs));
}
static bool same_scope(const struct ks_scope *a, const struct ks_scope *b)
{
    return a == b ||
           (ks_slice_eq(a->name, b->name) && ks_slice_eq(a->version, b->version) &&
            ks_slice_eq(a->schema_url, b->schema_url) && ksi_same_attrs(&a->attrs, &b->attrs));
}

static ks_err group(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                    struct order **ret)
{
    struct order *o = ks_arena_array(arena, count + 1, sizeof *o);
    if (!o)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++) {
        o[i] = (struct order){i, i, i};
        /* Distinct ones are few and near: spans come in runs of a process. */
        for (size_t k = i; k-- > 0 && i - k <= NEAR;)
            if (same_resource(spans[k].resource, spans[i].resource)) {
                o[i].resource = o[k].resource;
                if (same_scope(spans[k].scope, spans[i].scope)) {
                    o[i].scope = o[k].scope;
                    break;
                }
            }
    }
    qsort(o, count, sizeof *o, by_group);
    *ret = o;
    return KS_OK;
}

/* --- JSON --- */
static void value_head(const struct ks_attr *a, struct ks_buf *out)
{
    switch (a->type) {
    case KS_ATTR_STRING:
        ks_buf_str(out, "{\"stringValue\":");
        ks_go_json_str(out, a->text);
        break;
    case KS_ATTR_BOOL:
        ks_buf_str(out, a->number ? "{\"boolValue\":true" : "{\"boolValue\":false");
        break;
    case KS_ATTR_INT:
        ks_buf_str(out, "{\"intValue\":\"");
        ks_buf_i64_dec(out, a->number);
        ks_buf_byte(out, '"');
        break;
    case KS_ATTR_DOUBLE:
        ks_buf_str(out, "{\"doubleValue\":");
        ks_go_json_f64(out, a->real);
        break;
    case KS_ATTR_BYTES:
        ks_buf_str(out, "{\"bytesValue\":\"");
        ks_base64_encode(a->text, out);
        ks_buf_byte(out, '"');
        break;
    default:
        ks_buf_byte(out, '{');
    }
}

/* Arrays and maps by a stack: every level closes with "]}}" and, within a map, one more brace. */
static void value_json(const struct ks_attr *top, struct ks_buf *out)
{
    struct ks_any_iter stack[KS_ANY_DEPTH_MAX];
    bool first[KS_ANY_DEPTH_MAX];
    size_t depth = 0;
    struct ks_attr a = *top;
    bool opened = false;
    for (;;) {
        if (!opened && (a.type == KS_ATTR_ARRAY || a.type == KS_ATTR_KVLIST) &&
            depth < KS_ANY_DEPTH_MAX) {
            ks_buf_str(out, a.type == KS_ATTR_ARRAY ? "{\"arrayValue\":{\"values\":["
                                                    : "{\"kvlistValue\":{\"values\":[");
            stack[depth] = ks_any_iter(a.text, a.type);
            first[depth++] = true;
        } else if (!opened) {
            value_head(&a, out);
            ks_buf_byte(out, '}');
            if (depth && stack[depth - 1].type == KS_ATTR_KVLIST)
                ks_buf_byte(out, '}');
        }
        if (!depth)
            return;
        opened = !ks_any_next(&stack[depth - 1], &a);
        if (opened) { /* the list at hand ends */
            ks_buf_str(out, "]}}");
            depth--;
            if (depth && stack[depth - 1].type == KS_ATTR_KVLIST)
                ks_buf_byte(out, '}');
            if (!depth)
                return;
            continue;
        }
        if (!first[depth - 1])
            ks_buf_byte(out, ',');
        first[depth - 1] = false;
        if (stack[depth - 1].type == KS_ATTR_KVLIST) {
            ks_buf_str(out, "{\"key\":");
            ks_go_json_str(out, a.key);
            ks_buf_str(out, ",\"value\":");
        }
    }
}

struct object {
    struct ks_buf *out;
    bool any, proto_json; /* proto_json: ids in base64, enumerations by name */
};

static struct object open(struct ks_buf *out)
{
    ks_buf_byte(out, '{');
    return (struct object){out, false, false};
}

static struct object open_as(struct ks_buf *out, bool proto_json)
{
    struct object o = open(out);
    o.proto_json = proto_json;
    return o;
}

static void key(struct object *o, const char *name)
{
    ks_buf_str(o->out, o->any ? ",\"" : "\"");
    o->any = true;
    ks_buf_str(o->out, name);
    ks_buf_str(o->out, "\":");
}

static void text_member(struct object *o, const char *name, struct ks_slice s)
{
    if (!s.len)
        return;
    key(o, name);
    ks_go_json_str(o->out, s);
}

static void number_member(struct object *o, const char *name, uint64_t v)
{
    if (!v)
        return;
    key(o, name);
    ks_buf_u64_dec(o->out, v);
}

static void time_member(struct object *o, const char *name, uint64_t v)
{
    key(o, name);
    ks_buf_byte(o->out, '"');
    ks_buf_u64_dec(o->out, v);
    ks_buf_byte(o->out, '"');
}

static void span_id_member(struct object *o, const char *name, uint64_t id)
{
    if (!id)
        return;
    key(o, name);
    ks_buf_byte(o->out, '"');
    if (o->proto_json) {
        char be[8];
        ks_put_be64(be, id);
        ks_base64_encode(ks_slice(be, sizeof be), o->out);
    } else {
        ks_jaeger_span_id(o->out, id);
    }
    ks_buf_byte(o->out, '"');
}

static void trace_id_member(struct object *o, struct ks_trace_id id)
{
    key(o, "traceId");
    ks_buf_byte(o->out, '"');
    if (o->proto_json) {
        char be[16];
        ks_put_be64(be, id.hi);
        ks_put_be64(be + 8, id.lo);
        ks_base64_encode(ks_slice(be, sizeof be), o->out);
    } else {
        ks_jaeger_trace_id(o->out, id, false);
    }
    ks_buf_byte(o->out, '"');
}

/* The name of an enumeration's value where names are wanted and there is one; 0 is left out. */
static void enum_member(struct object *o, const char *name, uint32_t v, const char *const *names,
                        uint32_t count)
{
    if (!o->proto_json || v >= count) {
        number_member(o, name, v);
    } else if (v) {
        key(o, name);
        ks_go_json_str(o->out, ks_slice_str(names[v]));
    }
}

static void attributes_member(struct object *o, const struct ks_attrs *attrs)
{
    if (attrs->count) {
        key(o, "attributes");
        for (uint32_t i = 0; i < attrs->count; i++) {
            ks_buf_str(o->out, i ? ",{\"key\":" : "[{\"key\":");
            ks_go_json_str(o->out, attrs->items[i].key);
            ks_buf_str(o->out, ",\"value\":");
            value_json(&attrs->items[i], o->out);
            ks_buf_byte(o->out, '}');
        }
        ks_buf_byte(o->out, ']');
    }
    number_member(o, "droppedAttributesCount", attrs->dropped);
}

static void events_member(struct object *o, const struct ks_span *s)
{
    if (s->event_count)
        key(o, "events");
    for (uint32_t i = 0; i < s->event_count; i++) {
        ks_buf_byte(o->out, i ? ',' : '[');
        struct object e = open(o->out);
        time_member(&e, "timeUnixNano", s->events[i].time_ns);
        text_member(&e, "name", s->events[i].name);
        attributes_member(&e, &s->events[i].attrs);
        ks_buf_byte(o->out, '}');
    }
    if (s->event_count)
        ks_buf_byte(o->out, ']');
    number_member(o, "droppedEventsCount", s->dropped_events);
}

static void links_member(struct object *o, const struct ks_span *s)
{
    if (s->link_count)
        key(o, "links");
    for (uint32_t i = 0; i < s->link_count; i++) {
        const struct ks_span_link *l = &s->links[i];
        ks_buf_byte(o->out, i ? ',' : '[');
        struct object e = open_as(o->out, o->proto_json);
        trace_id_member(&e, l->trace_id);
        span_id_member(&e, "spanId", l->span_id);
        text_member(&e, "traceState", l->state);
        attributes_member(&e, &l->attrs);
        number_member(&e, "flags", l->flags);
        ks_buf_byte(o->out, '}');
    }
    if (s->link_count)
        ks_buf_byte(o->out, ']');
    number_member(o, "droppedLinksCount", s->dropped_links);
}

static void span_json(const struct ks_span *s, bool proto_json, struct ks_buf *out)
{
    static const char *const kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                        "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                        "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    struct object o = open_as(out, proto_json);
    trace_id_member(&o, s->trace_id);
    span_id_member(&o, "spanId", s->span_id);
    text_member(&o, "traceState", s->state);
    span_id_member(&o, "parentSpanId", s->parent_id);
    number_member(&o, "flags", s->flags);
    text_member(&o, "name", s->name);
    enum_member(&o, "kind", s->kind, kinds, 6);
    time_member(&o, "startTimeUnixNano", s->start_ns);
    time_member(&o, "endTimeUnixNano", s->end_ns);
    attributes_member(&o, &s->attrs);
    events_member(&o, s);
    links_member(&o, s);
    key(&o, "status");
    struct object st = open_as(out, proto_json);
    text_member(&st, "message", s->status_message);
    enum_member(&st, "code", s->status, codes, 3);
    ks_buf_str(out, "}}");
}

static void scope_json(const struct ks_scope *s, struct ks_buf *out)
{
    ks_buf_str(out, "{\"scope\":");
    struct object o = open(out);
    text_member(&o, "name", s->name);
    text_member(&o, "version", s->version);
    attributes_member(&o, &s->attrs);
    ks_buf_str(out, "},\"spans\":[");
}

static void close_text(struct ks_buf *out, const char *bracket, struct ks_slice schema)
{
    ks_buf_str(out, bracket);
    if (schema.len) {
        ks_buf_str(out, ",\"schemaUrl\":");
        ks_go_json_str(out, schema);
    }
    ks_buf_byte(out, '}');
}

static ks_err all_json(const struct ks_span *spans, size_t count, bool proto_json,
                       struct ks_arena *arena, bool *first, struct ks_buf *out)
{
    struct order *o;
    KS_TRY(group(spans, count, arena, &o));
    for (size_t i = 0; i < count; i++) {
        const struct ks_span *s = &spans[o[i].at];
        bool new_resource = !i || o[i].resource != o[i - 1].resource;
        bool new_scope = new_resource || o[i].scope != o[i - 1].scope;
        if (new_scope && i)
            close_text(out, "]", spans[o[i - 1].at].scope->schema_url);
        if (new_resource && i)
            close_text(out, "]", spans[o[i - 1].at].resource->schema_url);
        if (new_resource) {
            if (!*first)
                ks_buf_byte(out, ',');
            *first = false;
            ks_buf_str(out, "{\"resource\":");
            struct object r = open(out);
            attributes_member(&r, &s->resource->attrs);
            ks_buf_str(out, "},\"scopeSpans\":[");
        } else {
            ks_buf_byte(out, ',');
        }
        if (new_scope)
            scope_json(s->scope, out);
        span_json(s, proto_json, out);
    }
    if (count) {
        close_text(out, "]", spans[o[count - 1].at].scope->schema_url);
        close_text(out, "]", spans[o[count - 1].at].resource->schema_url);
    }
    return ks_buf_status(out);
}

ks_err ks_otlp_out_json(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                        bool *first, struct ks_buf *out)
{
    return all_json(spans, count, false, arena, first, out);
}

ks_err ks_otlp_out_proto_json(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                              bool *first, struct ks_buf *out)
{
    return all_json(spans, count, true, arena, first, out);
}

/* --- protobuf --- */
static void bytes_field(struct ks_buf *b, unsigned n, struct ks_slice s)
{
    ks_buf_varint(b, n << 3 | 2);
    ks_buf_lp(b, s);
}
static void text_field(struct ks_buf *b, unsigned n, struct ks_slice s)
{
    if (s.len)
        bytes_field(b, n, s);
}
static void varint_field(struct ks_buf *b, unsigned n, uint64_t v)
{
    if (!v)
        return;
    ks_buf_varint(b, n << 3);
    ks_buf_varint(b, v);
}
static void fixed64_field(struct ks_buf *b, unsigned n, uint64_t v)
{
    ks_buf_varint(b, n << 3 | 1);
    ks_buf_u64(b, v);
}
static void span_id_field(struct ks_buf *b, unsigned n, uint64_t id)
{
    char be[8];
    ks_put_be64(be, id);
    if (id)
        bytes_field(b, n, ks_slice(be, 8));
}
static void trace_id_field(struct ks_buf *b, unsigned n, struct ks_trace_id id)
{
    char be[16];
    ks_put_be64(be, id.hi);
    ks_put_be64(be + 8, id.lo);
    bytes_field(b, n, ks_slice(be, 16));
}

/* Messages are built one within the other: a buffer per level. */
enum { L_VALUE, L_PAIR, L_PART, L_SPAN, L_SCOPE, L_RESOURCE, LEVELS };
struct levels {
    struct ks_buf b[LEVELS];
};

static void attributes_field(struct levels *l, struct ks_buf *to, unsigned n,
                             const struct ks_attrs *attrs, unsigned dropped_n)
{
    static const unsigned fields[] = {0, 1, 2, 3, 4, 7, 5, 6}; /* of AnyValue, by type */
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct ks_attr *a = &attrs->items[i];
        struct ks_buf *v = &l->b[L_VALUE], *pair = &l->b[L_PAIR];
        ks_buf_reset(v);
        ks_buf_reset(pair);
        if (ks_attr_is_text(a->type)) {
            bytes_field(v, fields[a->type], a->text);
        } else if (a->type == KS_ATTR_DOUBLE) {
            fixed64_field(v, fields[a->type], ks_f64_bits(a->real));
        } else if (a->type != KS_ATTR_EMPTY) {
            ks_buf_varint(v, fields[a->type] << 3);
            ks_buf_varint(v, (uint64_t)a->number);
        }
        bytes_field(pair, 1, a->key);
        bytes_field(pair, 2, ks_buf_view(v));
        bytes_field(to, n, ks_buf_view(pair));
    }
    varint_field(to, dropped_n, attrs->dropped);
}

static void span_proto(struct levels *l, const struct ks_span *s)
{
    struct ks_buf *b = &l->b[L_SPAN], *p = &l->b[L_PART];
    ks_buf_reset(b);
    trace_id_field(b, 1, s->trace_id);
    span_id_field(b, 2, s->span_id);
    text_field(b, 3, s->state);
    span_id_field(b, 4, s->parent_id);
    text_field(b, 5, s->name);
    varint_field(b, 6, s->kind);
    fixed64_field(b, 7, s->start_ns);
    fixed64_field(b, 8, s->end_ns);
    attributes_field(l, b, 9, &s->attrs, 10);
    for (uint32_t i = 0; i < s->event_count; i++) {
        ks_buf_reset(p);
        fixed64_field(p, 1, s->events[i].time_ns);
        text_field(p, 2, s->events[i].name);
        attributes_field(l, p, 3, &s->events[i].attrs, 4);
        bytes_field(b, 11, ks_buf_view(p));
    }
    varint_field(b, 12, s->dropped_events);
    for (uint32_t i = 0; i < s->link_count; i++) {
        ks_buf_reset(p);
        trace_id_field(p, 1, s->links[i].trace_id);
        span_id_field(p, 2, s->links[i].span_id);
        text_field(p, 3, s->links[i].state);
        attributes_field(l, p, 4, &s->links[i].attrs, 5);
        if (s->links[i].flags) {
            ks_buf_varint(p, 6 << 3 | 5);
            ks_buf_u32(p, s->links[i].flags);
        }
        bytes_field(b, 13, ks_buf_view(p));
    }
    varint_field(b, 14, s->dropped_links);
    ks_buf_reset(p);
    text_field(p, 2, s->status_message);
    varint_field(p, 3, s->status);
    bytes_field(b, 15, ks_buf_view(p));
    if (s->flags) {
        ks_buf_varint(b, 16 << 3 | 5);
        ks_buf_u32(b, s->flags);
    }
}

static ks_err all_proto(struct levels *l, const struct ks_span *spans, size_t count,
                        const struct order *o, struct ks_buf *out)
{
    struct ks_buf *sc = &l->b[L_SCOPE], *r = &l->b[L_RESOURCE], *p = &l->b[L_PART];
    for (size_t i = 0; i < count; i++) {
        const struct ks_span *s = &spans[o[i].at];
        bool new_resource = !i || o[i].resource != o[i - 1].resource;
        bool new_scope = new_resource || o[i].scope != o[i - 1].scope;
        bool last = i + 1 == count;
        if (new_resource) {
            ks_buf_reset(r);
            ks_buf_reset(p);
            attributes_field(l, p, 1, &s->resource->attrs, 2);
            bytes_field(r, 1, ks_buf_view(p));
        }
        if (new_scope) {
            ks_buf_reset(sc);
            ks_buf_reset(p);
            text_field(p, 1, s->scope->name);
            text_field(p, 2, s->scope->version);
            attributes_field(l, p, 3, &s->scope->attrs, 4);
            bytes_field(sc, 1, ks_buf_view(p));
        }
        span_proto(l, s);
        bytes_field(sc, 2, ks_buf_view(&l->b[L_SPAN]));
        bool ends_resource = last || o[i + 1].resource != o[i].resource;
        if (ends_resource || o[i + 1].scope != o[i].scope) {
            text_field(sc, 3, s->scope->schema_url);
            bytes_field(r, 2, ks_buf_view(sc));
        }
        if (ends_resource) {
            text_field(r, 3, s->resource->schema_url);
            bytes_field(out, 1, ks_buf_view(r));
        }
    }
    for (int i = 0; i < LEVELS; i++)
        KS_TRY(ks_buf_status(&l->b[i]));
    return ks_buf_status(out);
}

ks_err ks_otlp_out_proto(const struct ks_span *spans, size_t count, struct ks_arena *arena,
                         struct ks_buf *out)
{
    struct order *o;
    struct levels l;
    KS_TRY(group(spans, count, arena, &o));
    for (int i = 0; i < LEVELS; i++)
        ks_buf_init(&l.b[i], out->max);
    ks_err err = all_proto(&l, spans, count, o, out);
    for (int i = 0; i < LEVELS; i++)
        ks_buf_done(&l.b[i]);
    return err;
}
