#include "api/otlp/traces_proto.h"

#include "base/protobuf.h"
#include "storage/traces/any_value.h"

struct decoder {
    struct ks_span_sink *sink;
    const uint8_t *start;
    /* The resource and scope at hand, and their numbers in batch number at_batch. */
    struct ks_slice resource, resource_schema, scope, scope_schema;
    uint64_t resource_batch, scope_batch;
    uint32_t resource_at, scope_at;
};
#define NOWHERE UINT64_MAX

static ks_err malformed(const struct decoder *d, const struct ks_pb *m, const char *what)
{
    return ks_fail(KS_EPARSE, "malformed protobuf: %s at byte %zu", what,
                   (size_t)(m->p - d->start));
}

/* --- attributes --- */
/* As every exporter writes it: key and value, each with a length of one byte, and nothing else. */
static bool is_plain_pair(struct ks_slice message, struct ks_slice *key, struct ks_slice *value)
{
    const uint8_t *p = (const uint8_t *)message.ptr;
    if (message.len < 4 || p[0] != 0x0a || p[1] >= 0x80)
        return false;
    size_t at = 2 + (size_t)p[1]; /* of the value's tag */
    if (at + 2 > message.len || p[at] != 0x12 || p[at + 1] >= 0x80 ||
        at + 2 + p[at + 1] != message.len)
        return false;
    *key = ks_slice(message.ptr + 2, p[1]);
    *value = ks_slice(message.ptr + at + 2, p[at + 1]);
    return true;
}

/* A KeyValue message; the value's message is empty when absent. */
static bool split_pair(struct ks_slice message, struct ks_slice *key, struct ks_slice *value)
{
    if (KS_LIKELY(is_plain_pair(message, key, value)))
        return true;
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    *key = *value = ks_slice("", 0);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            *key = f.bytes;
        else if (f.key == KS_PB_BYTES(2))
            *value = f.bytes;
    }
    return !m.bad;
}

static bool add_value(struct ks_batch *b, struct ks_slice key, struct ks_slice value)
{
    struct ks_attr a = {.key = key};
    /* By far most are strings: one field that fills the message. */
    if (KS_LIKELY(value.len >= 2 && value.ptr[0] == 0x0a && (uint8_t)value.ptr[1] < 0x80 &&
                  value.len == 2 + (size_t)(uint8_t)value.ptr[1])) {
        ks_batch_attr(b, key, KS_ATTR_STRING, ks_batch_string(b, ks_slice_from(value, 2)));
        return true;
    }
    if (!ks_any_read(value, &a))
        return false;
    if ((a.type == KS_ATTR_ARRAY || a.type == KS_ATTR_KVLIST) && !ks_any_check(a.text, a.type))
        return false;
    ks_batch_attr_of(b, &a);
    return true;
}

static bool add_attribute(struct ks_batch *b, struct ks_slice message)
{
    struct ks_slice key, value;
    return split_pair(message, &key, &value) && add_value(b, key, value);
}

/* As add_attribute, but what the request's arguments replace is left out. */
static bool add_own_attribute(struct decoder *d, bool resource, struct ks_slice message)
{
    struct ks_slice key, value;
    if (!split_pair(message, &key, &value))
        return false;
    return ks_span_sink_drops(d->sink, resource, key) || add_value(d->sink->batch, key, value);
}

/* --- resource and scope, again for every batch --- */
static ks_err need_resource(struct decoder *d)
{
    struct ks_span_sink *s = d->sink;
    struct ks_pb m = ks_pb(d->resource);
    struct ks_pb_field f;
    uint32_t dropped = 0;
    if (KS_LIKELY(d->resource_batch == s->batches))
        return KS_OK;
    ks_batch_set_begin(s->batch, KS_SET_PROCESS);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1) && !add_own_attribute(d, true, f.bytes))
            return malformed(d, &m, "resource attribute");
        if (f.key == KS_PB_VARINT(2))
            dropped = (uint32_t)f.number;
    }
    if (m.bad)
        return malformed(d, &m, "resource");
    ks_span_sink_extra(s, true);
    struct ks_batch_set set = ks_batch_set_end(s->batch, dropped);
    d->resource_at = ks_batch_add_resource(s->batch, set, d->resource_schema);
    d->resource_batch = s->batches;
    return KS_OK;
}

static ks_err need_scope(struct decoder *d)
{
    struct ks_batch *b = d->sink->batch;
    struct ks_pb m = ks_pb(d->scope);
    struct ks_pb_field f;
    struct ks_slice name = {"", 0}, version = {"", 0};
    uint32_t dropped = 0;
    if (KS_LIKELY(d->scope_batch == d->sink->batches))
        return KS_OK;
    ks_batch_set_begin(b, KS_SET_PROCESS);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            name = f.bytes;
        else if (f.key == KS_PB_BYTES(2))
            version = f.bytes;
        else if (f.key == KS_PB_BYTES(3) && !add_attribute(b, f.bytes))
            return malformed(d, &m, "scope attribute");
        else if (f.key == KS_PB_VARINT(4))
            dropped = (uint32_t)f.number;
    }
    if (m.bad)
        return malformed(d, &m, "scope");
    struct ks_batch_set set = ks_batch_set_end(b, dropped);
    d->scope_at = ks_batch_add_scope(b, set, name, version, d->scope_schema);
    d->scope_batch = d->sink->batches;
    return KS_OK;
}

/* --- parts of a span --- */
static ks_err event(struct decoder *d, struct ks_slice message)
{
    struct ks_batch *b = d->sink->batch;
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    struct ks_batch_event e = {0};
    struct ks_slice name = {"", 0};
    uint32_t dropped = 0;
    ks_batch_set_begin(b, KS_SET_PART);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(3)) {
            if (!add_attribute(b, f.bytes))
                return malformed(d, &m, "event attribute");
        } else if (f.key == KS_PB_FIXED64(1)) {
            e.time_ns = f.number;
        } else if (f.key == KS_PB_BYTES(2)) {
            name = f.bytes;
        } else if (f.key == KS_PB_VARINT(4)) {
            dropped = (uint32_t)f.number;
        }
    }
    if (m.bad)
        return malformed(d, &m, "event");
    e.set = ks_batch_set_end(b, dropped);
    e.name = ks_batch_string(b, name);
    *ks_batch_add_event(b) = e;
    return KS_OK;
}

static ks_err link(struct decoder *d, struct ks_slice message)
{
    struct ks_batch *b = d->sink->batch;
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    struct ks_batch_link l = {0};
    struct ks_slice state = {"", 0};
    uint32_t dropped = 0;
    ks_batch_set_begin(b, KS_SET_PART);
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(4)) {
            if (!add_attribute(b, f.bytes))
                return malformed(d, &m, "link attribute");
        } else if (f.key == KS_PB_BYTES(1) && f.bytes.len == 16) {
            l.trace_id = (struct ks_trace_id){ks_be64(f.bytes.ptr), ks_be64(f.bytes.ptr + 8)};
        } else if (f.key == KS_PB_BYTES(2) && f.bytes.len == 8) {
            l.span_id = ks_be64(f.bytes.ptr);
        } else if (f.key == KS_PB_BYTES(3)) {
            state = f.bytes;
        } else if (f.key == KS_PB_VARINT(5)) {
            dropped = (uint32_t)f.number;
        } else if (f.key == KS_PB_FIXED32(6)) {
            l.flags = (uint32_t)f.number;
        }
    }
    if (m.bad)
        return malformed(d, &m, "link");
    l.set = ks_batch_set_end(b, dropped);
    l.state = ks_batch_string(b, state);
    *ks_batch_add_link(b) = l;
    return KS_OK;
}

static ks_err status(struct decoder *d, struct ks_slice message, struct ks_batch_span *s,
                     struct ks_slice *text)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(2))
            *text = f.bytes;
        else if (f.key == KS_PB_VARINT(3))
            s->status = (uint32_t)f.number;
    }
    return m.bad ? malformed(d, &m, "status") : KS_OK;
}

/* --- spans --- */
struct heads {
    struct ks_slice trace_id, span_id, parent_id, state, name, status_text;
    uint32_t dropped, events, links;
};

/* One field of a span but attributes, events and links, which are counted. */
static ks_err scalar(struct decoder *d, const struct ks_pb_field *f, struct ks_batch_span *s,
                     struct heads *h)
{
    switch (f->key) {
    case KS_PB_BYTES(1):
        h->trace_id = f->bytes;
        break;
    case KS_PB_BYTES(2):
        h->span_id = f->bytes;
        break;
    case KS_PB_BYTES(3):
        h->state = f->bytes;
        break;
    case KS_PB_BYTES(4):
        h->parent_id = f->bytes;
        break;
    case KS_PB_BYTES(5):
        h->name = f->bytes;
        break;
    case KS_PB_VARINT(6):
        s->kind = (uint32_t)f->number;
        break;
    case KS_PB_FIXED64(7):
        s->start_ns = f->number;
        break;
    case KS_PB_FIXED64(8):
        s->end_ns = f->number;
        break;
    case KS_PB_VARINT(10):
        h->dropped = (uint32_t)f->number;
        break;
    case KS_PB_BYTES(11):
        h->events++;
        break;
    case KS_PB_VARINT(12):
        s->dropped_events = (uint32_t)f->number;
        break;
    case KS_PB_BYTES(13):
        h->links++;
        break;
    case KS_PB_VARINT(14):
        s->dropped_links = (uint32_t)f->number;
        break;
    case KS_PB_BYTES(15):
        return status(d, f->bytes, s, &h->status_text);
    case KS_PB_FIXED32(16):
        s->flags = (uint32_t)f->number;
        break;
    }
    return KS_OK;
}

/* NULL, or why the span cannot be stored. */
static const char *id_fault(const struct heads *h)
{
    static const char zero[16];
    if (h->trace_id.len != 16 || memcmp(h->trace_id.ptr, zero, 16) == 0)
        return "trace_id must be 16 bytes, not all zero";
    if (h->span_id.len != 8 || memcmp(h->span_id.ptr, zero, 8) == 0)
        return "span_id must be 8 bytes, not all zero";
    if (h->parent_id.len != 0 && h->parent_id.len != 8)
        return "parent_span_id must be 8 bytes or absent";
    return NULL;
}

static ks_err parts(struct decoder *d, struct ks_slice message, struct ks_batch_span *s,
                    const struct heads *h)
{
    struct ks_batch *b = d->sink->batch;
    struct ks_pb_field f;
    s->first_event = (uint32_t)b->events_count;
    s->first_link = (uint32_t)b->links_count;
    s->event_count = h->events;
    s->link_count = h->links;
    struct ks_pb m = ks_pb(message);
    while (h->events && ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(11))
            KS_TRY(event(d, f.bytes));
    m = ks_pb(message);
    while (h->links && ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(13))
            KS_TRY(link(d, f.bytes));
    return KS_OK;
}

static ks_err span(struct decoder *d, struct ks_slice message)
{
    struct ks_span_sink *sink = d->sink;
    struct ks_batch *b = sink->batch;
    struct ks_batch_span s = {0};
    struct heads h = {.state = {"", 0}, .name = {"", 0}, .status_text = {"", 0}};
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    if (message.len > KS_SPAN_BYTES_MAX) {
        ks_span_sink_reject(sink, 1, "a span of %zu bytes is over the limit of %d", message.len,
                            KS_SPAN_BYTES_MAX);
        return KS_OK;
    }
    KS_TRY(ks_span_sink_room(sink, message.len));
    KS_TRY(need_resource(d));
    KS_TRY(need_scope(d));
    size_t keys = b->keys_count, values = b->values_count;
    ks_batch_set_begin(b, KS_SET_SPAN);
    while (ks_pb_next(&m, &f)) {
        if (KS_LIKELY(f.key == KS_PB_BYTES(9))) {
            bool ok = KS_LIKELY(!(sink->extra_span_count | sink->ignore_count))
                          ? add_attribute(b, f.bytes)
                          : add_own_attribute(d, false, f.bytes);
            if (!ok)
                return malformed(d, &m, "span attribute");
        } else {
            KS_TRY(scalar(d, &f, &s, &h));
        }
    }
    if (m.bad)
        return malformed(d, &m, "span");
    const char *fault = id_fault(&h);
    if (fault) {
        b->keys_count = keys;
        b->values_count = values;
        ks_span_sink_reject(sink, 1, "%s", fault);
        return KS_OK;
    }
    if (sink->extra_span_count)
        ks_span_sink_extra(sink, false);
    s.set = ks_batch_set_end(b, h.dropped);
    s.trace = ks_batch_trace(
        b, (struct ks_trace_id){ks_be64(h.trace_id.ptr), ks_be64(h.trace_id.ptr + 8)});
    s.span_id = ks_be64(h.span_id.ptr);
    s.parent_id = h.parent_id.len ? ks_be64(h.parent_id.ptr) : 0;
    s.name = ks_batch_string(b, h.name);
    s.state = ks_batch_string(b, h.state);
    s.status_message = ks_batch_string(b, h.status_text);
    s.resource = d->resource_at;
    s.scope = d->scope_at;
    KS_TRY(parts(d, message, &s, &h));
    *ks_batch_add_span(b) = s;
    return b->err;
}

/* --- groups --- */
static uint64_t count_spans(struct ks_slice message)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    uint64_t n = 0;
    while (ks_pb_next(&m, &f))
        n += f.key == KS_PB_BYTES(2);
    return n;
}

static ks_err scope_spans(struct decoder *d, struct ks_slice message)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    d->scope = d->scope_schema = ks_slice("", 0);
    d->scope_batch = NOWHERE;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            d->scope = f.bytes;
        else if (f.key == KS_PB_BYTES(3))
            d->scope_schema = f.bytes;
    }
    if (m.bad)
        return malformed(d, &m, "scope_spans");
    if (d->scope.len > KS_SCOPE_BYTES_MAX || d->scope_schema.len > KS_SCOPE_BYTES_MAX) {
        ks_span_sink_reject(d->sink, count_spans(message), "a scope of %zu bytes is too large",
                            d->scope.len);
        return KS_OK;
    }
    m = ks_pb(message);
    while (ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(2))
            KS_TRY(span(d, f.bytes));
    return KS_OK;
}

static ks_err resource_spans(struct decoder *d, struct ks_slice message)
{
    struct ks_pb m = ks_pb(message);
    struct ks_pb_field f;
    d->resource = d->resource_schema = ks_slice("", 0);
    d->resource_batch = NOWHERE;
    while (ks_pb_next(&m, &f)) {
        if (f.key == KS_PB_BYTES(1))
            d->resource = f.bytes;
        else if (f.key == KS_PB_BYTES(3))
            d->resource_schema = f.bytes;
    }
    if (m.bad)
        return malformed(d, &m, "resource_spans");
    bool large =
        d->resource.len > KS_RESOURCE_BYTES_MAX || d->resource_schema.len > KS_SCOPE_BYTES_MAX;
    m = ks_pb(message);
    while (ks_pb_next(&m, &f)) {
        if (f.key != KS_PB_BYTES(2))
            continue;
        if (large)
            ks_span_sink_reject(d->sink, count_spans(f.bytes),
                                "a resource of %zu bytes is too large", d->resource.len);
        else
            KS_TRY(scope_spans(d, f.bytes));
    }
    return KS_OK;
}

ks_err ks_otlp_traces_decode(struct ks_span_sink *s, struct ks_slice body)
{
    struct decoder d = {.sink = s, .start = (const uint8_t *)body.ptr};
    struct ks_pb m = ks_pb(body);
    struct ks_pb_field f;
    if (!d.start)
        d.start = m.p;
    while (ks_pb_next(&m, &f))
        if (f.key == KS_PB_BYTES(1))
            KS_TRY(resource_spans(&d, f.bytes));
    return m.bad ? malformed(&d, &m, "request") : KS_OK;
}
