/*
 * Jaeger's Batch as clients post it: thrift's binary protocol, strict or not, bare or within a
 * message. Mapped as the OpenTelemetry collector does.
 */
#include "api/otlp/traces_zipkin.h"

#include "base/bytes.h"

enum { DEPTH_MAX = 32, ATTRS_MAX = 4096, PARTS_MAX = 4096 };
enum {
    T_STOP,
    T_BOOL = 2,
    T_BYTE,
    T_DOUBLE,
    T_I16 = 6,
    T_I32 = 8,
    T_I64 = 10,
    T_STRING,
    T_STRUCT,
    T_MAP,
    T_SET,
    T_LIST
};

struct thrift {
    struct ks_reader r;
    struct ks_span_sink *sink;
    struct ks_arena *arena;
};

static uint64_t be64(struct thrift *t)
{
    return ks_read_be64(&t->r);
}

static struct ks_slice string(struct thrift *t)
{
    uint32_t n = ks_read_be32(&t->r);
    return ks_read_bytes(&t->r, n);
}

static unsigned u16(struct thrift *t)
{
    unsigned hi = ks_read_u8(&t->r);
    return hi << 8 | ks_read_u8(&t->r);
}

/* A field's head; false at the end of the struct or when the bytes are. */
static bool field(struct thrift *t, unsigned *type, unsigned *id)
{
    *type = ks_read_u8(&t->r);
    if (*type == T_STOP || t->r.bad)
        return false;
    *id = u16(t);
    return !t->r.bad;
}

/* Steps over a value: what is nested waits on a stack of its own, not on the program's. */
struct pending {
    uint64_t left; /* elements of a container; a struct has UINT64_MAX until its stop */
    unsigned types[2], count;
};

static size_t fixed_size(unsigned type)
{
    switch (type) {
    case T_BOOL:
    case T_BYTE:
        return 1;
    case T_I16:
        return 2;
    case T_I32:
        return 4;
    case T_DOUBLE:
    case T_I64:
        return 8;
    default:
        return 0;
    }
}

static void skip(struct thrift *t, unsigned type)
{
    struct pending stack[DEPTH_MAX];
    size_t depth = 0;
    unsigned id, at = 0;
    for (;;) {
        if (fixed_size(type)) {
            (void)ks_read_bytes(&t->r, fixed_size(type));
        } else if (type == T_STRING) {
            (void)string(t);
        } else if (depth == DEPTH_MAX || type < T_STRUCT || type > T_LIST) {
            ks_reader_fail(&t->r);
        } else {
            struct pending p = {UINT64_MAX, {0, 0}, 1};
            if (type == T_MAP) {
                p.types[0] = ks_read_u8(&t->r);
                p.types[1] = ks_read_u8(&t->r);
                p.count = 2;
            } else if (type != T_STRUCT) {
                p.types[0] = ks_read_u8(&t->r);
            }
            if (type != T_STRUCT) {
                p.left = (uint64_t)ks_read_be32(&t->r) * p.count;
                if (p.left > ks_reader_left(&t->r))
                    ks_reader_fail(&t->r);
            }
            stack[depth++] = p;
        }
        /* What comes next: an element or field of the innermost, else done. */
        for (;;) {
            if (t->r.bad || !depth)
                return;
            struct pending *p = &stack[depth - 1];
            if (p->left == UINT64_MAX) {
                if (field(t, &type, &id))
                    break;
                depth--;
            } else if (p->left) {
                type = p->types[at++ % p->count];
                p->left--;
                break;
            } else {
                depth--;
            }
        }
    }
}

/* The elements of a list of structs; more than max is malformed. */
static uint32_t list(struct thrift *t, uint32_t max)
{
    unsigned type = ks_read_u8(&t->r);
    uint32_t n = ks_read_be32(&t->r);
    if (n && (type != T_STRUCT || n > max || n > ks_reader_left(&t->r)))
        ks_reader_fail(&t->r);
    return t->r.bad ? 0 : n;
}

/* Tag { 1: key, 2: type, 3: string, 4: double, 5: bool, 6: long, 7: binary }. */
static struct ks_attr tag(struct thrift *t)
{
    static const enum ks_attr_type types[] = {KS_ATTR_STRING, KS_ATTR_DOUBLE, KS_ATTR_BOOL,
                                              KS_ATTR_INT, KS_ATTR_BYTES};
    struct ks_attr a = {.key = {"", 0}, .text = {"", 0}};
    struct ks_slice text = {"", 0}, bytes = {"", 0};
    unsigned type, id, kind = 0;
    while (field(t, &type, &id)) {
        if (id == 1 && type == T_STRING)
            a.key = string(t);
        else if (id == 2 && type == T_I32)
            kind = ks_read_be32(&t->r);
        else if (id == 3 && type == T_STRING)
            text = string(t);
        else if (id == 4 && type == T_DOUBLE)
            a.real = ks_f64_from_bits(be64(t));
        else if (id == 5 && type == T_BOOL)
            a.number = kind == 2 ? ks_read_u8(&t->r) != 0 : ((void)ks_read_u8(&t->r), a.number);
        else if (id == 6 && type == T_I64)
            a.number = (int64_t)be64(t);
        else if (id == 7 && type == T_STRING)
            bytes = string(t);
        else
            skip(t, type);
    }
    a.type = kind < 5 ? types[kind] : KS_ATTR_EMPTY;
    if (ks_attr_is_text(a.type))
        a.text = a.type == KS_ATTR_BYTES ? bytes : text;
    if (a.type != KS_ATTR_DOUBLE)
        a.real = 0;
    if (a.type != KS_ATTR_INT && a.type != KS_ATTR_BOOL)
        a.number = 0;
    return a;
}

static struct ks_attrs tags(struct thrift *t)
{
    uint32_t n = list(t, ATTRS_MAX);
    struct ks_attr *items = ks_arena_array(t->arena, n + (size_t)2, sizeof *items);
    if (!items) {
        ks_reader_fail(&t->r);
        return (struct ks_attrs){0};
    }
    for (uint32_t i = 0; i < n && !t->r.bad; i++)
        items[i] = tag(t);
    return (struct ks_attrs){items, t->r.bad ? 0 : n, 0};
}

/* Log { 1: timestamp, 2: fields }: the field "event" is the event's name. */
static void logs(struct thrift *t, struct ks_span *s)
{
    uint32_t n = list(t, PARTS_MAX);
    struct ks_span_event *e = ks_arena_zalloc(t->arena, (n + (size_t)1) * sizeof *e);
    unsigned type, id;
    if (!e) {
        ks_reader_fail(&t->r);
        return;
    }
    for (uint32_t i = 0; i < n && !t->r.bad; i++) {
        e[i].name = ks_slice("", 0);
        while (field(t, &type, &id)) {
            if (id == 1 && type == T_I64)
                e[i].time_ns = be64(t) * 1000;
            else if (id == 2 && type == T_LIST)
                e[i].attrs = tags(t);
            else
                skip(t, type);
        }
        struct ks_attr *a = (struct ks_attr *)e[i].attrs.items;
        for (uint32_t k = 0; k < e[i].attrs.count; k++)
            if (ks_slice_is(a[k].key, "event") && a[k].type == KS_ATTR_STRING) {
                e[i].name = a[k].text;
                memmove(&a[k], &a[k + 1], (e[i].attrs.count - k - 1) * sizeof *a);
                e[i].attrs.count--;
                break;
            }
    }
    s->events = e;
    s->event_count = n;
}

/* SpanRef { 1: type, 2: trace low, 3: trace high, 4: span }. */
static void references(struct thrift *t, struct ks_span *s)
{
    static const struct ks_attr child = {
        .key = {"opentracing.ref_type", 20}, .type = KS_ATTR_STRING, .text = {"child_of", 8}};
    uint32_t n = list(t, PARTS_MAX), kept = 0;
    struct ks_span_link *l = ks_arena_zalloc(t->arena, (n + (size_t)1) * sizeof *l);
    unsigned type, id;
    if (!l) {
        ks_reader_fail(&t->r);
        return;
    }
    for (uint32_t i = 0; i < n && !t->r.bad; i++) {
        struct ks_span_link k = {.state = {"", 0}};
        unsigned kind = 0;
        while (field(t, &type, &id)) {
            if (id == 1 && type == T_I32)
                kind = ks_read_be32(&t->r);
            else if (id == 2 && type == T_I64)
                k.trace_id.lo = be64(t);
            else if (id == 3 && type == T_I64)
                k.trace_id.hi = be64(t);
            else if (id == 4 && type == T_I64)
                k.span_id = be64(t);
            else
                skip(t, type);
        }
        /* The first CHILD_OF within the trace is the parent. */
        if (!kind && !s->parent_id && ks_trace_id_eq(k.trace_id, s->trace_id)) {
            s->parent_id = k.span_id;
            continue;
        }
        if (!kind)
            k.attrs = (struct ks_attrs){&child, 1, 0};
        if (k.span_id != s->parent_id || !ks_trace_id_eq(k.trace_id, s->trace_id))
            l[kept++] = k;
    }
    s->links = l;
    s->link_count = kept;
}

/* Tags that OTLP has fields for. */
static void lift_tags(struct ks_span *s)
{
    static const char *const kinds[] = {"", "internal", "server", "client", "producer", "consumer"};
    struct ks_attr *a = (struct ks_attr *)s->attrs.items;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->attrs.count; i++) {
        bool text = a[i].type == KS_ATTR_STRING, used = false;
        if (ks_slice_is(a[i].key, "span.kind") && text) {
            for (uint32_t k = 1; k < 6; k++)
                if (ks_slice_is(a[i].text, kinds[k])) {
                    s->kind = k;
                    used = true;
                }
        } else if (ks_slice_is(a[i].key, "error") && a[i].type == KS_ATTR_BOOL) {
            used = true;
            if (a[i].number)
                s->status = KS_STATUS_ERROR;
        } else if (ks_slice_is(a[i].key, "otel.status_code") && text) {
            used = true;
            s->status = ks_slice_is(a[i].text, "ERROR") ? KS_STATUS_ERROR
                        : ks_slice_is(a[i].text, "OK")  ? KS_STATUS_OK
                                                        : s->status;
        } else if (ks_slice_is(a[i].key, "otel.status_description") && text) {
            used = true;
            s->status_message = a[i].text;
        } else if (ks_slice_is(a[i].key, "w3c.tracestate") && text) {
            used = true;
            s->state = a[i].text;
        }
        if (!used)
            a[kept++] = a[i];
    }
    s->attrs.count = kept;
}

/* Span { 1: trace low, 2: trace high, 3: span, 4: parent, 5: name, 6: references, 7: flags,
 * 8: start µs, 9: duration µs, 10: tags, 11: logs }. */
static ks_err span(struct thrift *t, const struct ks_resource *resource,
                   const struct ks_scope *scope)
{
    struct ks_span s = {.name = {"", 0},
                        .state = {"", 0},
                        .status_message = {"", 0},
                        .resource = resource,
                        .scope = scope};
    const uint8_t *begin = t->r.p;
    uint64_t duration_us = 0;
    unsigned type, id;
    while (field(t, &type, &id)) {
        if (id <= 4 && type == T_I64) {
            uint64_t *to[] = {&s.trace_id.lo, &s.trace_id.hi, &s.span_id, &s.parent_id};
            if (id)
                *to[id - 1] = be64(t);
            else
                (void)be64(t);
        } else if (id == 5 && type == T_STRING) {
            s.name = string(t);
        } else if (id == 6 && type == T_LIST) {
            references(t, &s);
        } else if (id == 7 && type == T_I32) {
            s.flags = ks_read_be32(&t->r) & 1;
        } else if (id == 8 && type == T_I64) {
            s.start_ns = be64(t) * 1000;
        } else if (id == 9 && type == T_I64) {
            duration_us = be64(t);
        } else if (id == 10 && type == T_LIST) {
            s.attrs = tags(t);
        } else if (id == 11 && type == T_LIST) {
            logs(t, &s);
        } else {
            skip(t, type);
        }
    }
    if (t->r.bad)
        return ks_fail(KS_EPARSE, "malformed thrift: span");
    s.end_ns = s.start_ns + duration_us * 1000;
    lift_tags(&s);
    return ks_span_sink_add(t->sink, &s, (size_t)(t->r.p - begin));
}

/* Process { 1: serviceName, 2: tags }, service.name first. */
static struct ks_attrs process(struct thrift *t)
{
    struct ks_slice name = {"", 0};
    struct ks_attrs own = {0};
    unsigned type, id;
    while (field(t, &type, &id)) {
        if (id == 1 && type == T_STRING)
            name = string(t);
        else if (id == 2 && type == T_LIST)
            own = tags(t);
        else
            skip(t, type);
    }
    struct ks_attr *items =
        ks_arena_array(t->arena, own.count + (size_t)1 + t->sink->extra_count, sizeof *items);
    uint32_t n = 0;
    if (!items) {
        ks_reader_fail(&t->r);
        return own;
    }
    items[n++] =
        (struct ks_attr){.key = KS_SLICE_LIT("service.name"), .type = KS_ATTR_STRING, .text = name};
    for (uint32_t i = 0; i < own.count; i++)
        if (!ks_span_sink_drops(t->sink, true, own.items[i].key))
            items[n++] = own.items[i];
    for (size_t i = 0; i < t->sink->extra_count; i++)
        items[n++] = (struct ks_attr){
            .key = t->sink->extra[i].name, .type = KS_ATTR_STRING, .text = t->sink->extra[i].value};
    return (struct ks_attrs){items, n, 0};
}

ks_err ks_jaeger_thrift_decode(struct ks_span_sink *s, struct ks_slice body, struct ks_arena *arena)
{
    struct thrift t = {ks_reader(body), s, arena};
    struct ks_resource resource = {.schema_url = {"", 0}};
    struct ks_scope scope = {.name = {"", 0}, .version = {"", 0}, .schema_url = {"", 0}};
    unsigned type, id;
    /* A strict message head: 0x8001, type, name, sequence; then the struct of arguments. */
    if (body.len > 4 && (uint8_t)body.ptr[0] == 0x80) {
        (void)ks_read_be32(&t.r);
        (void)string(&t);
        (void)ks_read_be32(&t.r);
        if (!field(&t, &type, &id) || type != T_STRUCT)
            return ks_fail(KS_EPARSE, "malformed thrift: want a Batch");
    }
    while (field(&t, &type, &id)) {
        if (id == 1 && type == T_STRUCT) {
            resource.attrs = process(&t);
        } else if (id == 2 && type == T_LIST) {
            uint32_t n = list(&t, UINT32_MAX);
            for (uint32_t i = 0; i < n && !t.r.bad; i++)
                KS_TRY(span(&t, &resource, &scope));
        } else {
            skip(&t, type);
        }
    }
    return t.r.bad
               ? ks_fail(KS_EPARSE, "malformed thrift at byte %zu", body.len - ks_reader_left(&t.r))
               : KS_OK;
}
