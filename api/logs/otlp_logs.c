/*
 * OTLP log records, protobuf. The fields are VictoriaLogs 1.50's, and `severity` beside them, which
 * older readers ask for: resource attributes (the stream, unless fields are named for it), scope.*,
 * attributes, the body as _msg or, being a list of pairs, as fields of their own.
 *
 * A record's fields lie in the order resource, event_name, scope, severity and ids, body,
 * attributes: the first ones are shared by the records that follow.
 */
#include "api/logs/log_pb.h"
#include "api/logs/logs.h"
#include "base/base64.h"
#include "base/hex.h"
#include "base/num.h"

enum {
    DEPTH_MAX = 64,
    TEXT_BYTES_MAX = 4 << 20,
    /* Behind the shared fields, filled as the record is walked. */
    SLOT_SEVERITY_NUMBER = 0,
    SLOT_SEVERITY_TEXT,
    SLOT_SEVERITY,
    SLOT_TRACE_ID,
    SLOT_SPAN_ID,
    SLOT_COUNT
};

struct otlp {
    struct ks_log_ingest *in;
    struct ks_arena *arena; /* of what is being built: shared fields outlive their rows */
    struct ks_buf text;     /* JSON of arrays */
    size_t resource_count;  /* tags: resource attributes and event_name */
};

static ks_err malformed(const char *what)
{
    return ks_fail(KS_EPARSE, "malformed protobuf: %s", what);
}

static ks_err dup_text(struct ks_arena *arena, const char *p, size_t n, struct ks_slice *ret)
{
    *ret = ks_arena_dup(arena, ks_slice(p, n));
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}

static ks_err hex(struct ks_arena *arena, struct ks_slice s, struct ks_slice *ret)
{
    char *out = ks_arena_alloc(arena, 2 * s.len + 1);
    if (!out)
        return ks_arena_err(arena);
    ks_hex_put_bytes(out, s);
    *ret = ks_slice(out, 2 * s.len);
    return KS_OK;
}

/* --- values --- */
/* The field of an AnyValue that counts: the last. number 0: it has none. */
static ks_err any_value(struct ks_slice message, struct ks_pb *ret)
{
    struct ks_pb p = ks_pb(message);
    ret->number = 0;
    while (ks_pb_next(&p))
        if (p.number >= 1 && p.number <= 7)
            *ret = p;
    return p.r.bad ? malformed("AnyValue") : KS_OK;
}

/* key and value of a KeyValue; *ret_there false when one of them is missing. */
static ks_err key_value(struct ks_slice message, struct ks_slice *ret_key, struct ks_pb *ret,
                        bool *ret_there)
{
    struct ks_pb p = ks_pb(message);
    struct ks_slice value = {0};
    bool has_key = false;
    while (ks_pb_next(&p)) {
        if (ks_pb_is(&p, 1, 2)) {
            *ret_key = p.bytes;
            has_key = true;
        } else if (ks_pb_is(&p, 2, 2)) {
            value = p.bytes;
        }
    }
    if (p.r.bad)
        return malformed("KeyValue");
    *ret_there = has_key && value.ptr;
    return *ret_there ? any_value(value, ret) : KS_OK;
}

/* A scalar's text, as JSON with quotes where it is asked for. */
static void scalar(struct ks_buf *out, const struct ks_pb *v, bool json)
{
    char text[KS_F64_TEXT_MAX];
    bool quotes = json && (v->number == 1 || v->number == 7);
    switch (v->number) {
    case 1:
        if (json)
            ks_buf_json_str(out, v->bytes);
        else
            ks_buf_slice(out, v->bytes);
        return;
    case 2:
        ks_buf_str(out, v->value ? "true" : "false");
        return;
    case 3:
        ks_buf_i64_dec(out, (int64_t)v->value);
        return;
    case 4:
        ks_buf_add(out, text, ks_f64_format_fixed(text, ks_f64_from_bits(v->value)));
        return;
    case 7:
        if (quotes)
            ks_buf_byte(out, '"');
        ks_base64_encode(v->bytes, out);
        if (quotes)
            ks_buf_byte(out, '"');
        return;
    default:
        ks_buf_str(out, json ? "null" : "");
    }
}

struct json_frame {
    struct ks_pb list; /* ArrayValue or KeyValueList */
    bool pairs, first;
};

/* The next value of the innermost list: a scalar is written, a list entered; false at its end. */
static ks_err json_step(struct ks_buf *out, struct json_frame *stack, size_t *depth)
{
    struct json_frame *top = &stack[*depth - 1];
    struct ks_slice key = {0};
    struct ks_pb v = {0};
    bool there = true;
    if (!ks_pb_next(&top->list)) {
        if (top->list.r.bad)
            return malformed("list of values");
        ks_buf_byte(out, top->pairs ? '}' : ']');
        (*depth)--;
        return KS_OK;
    }
    if (!ks_pb_is(&top->list, 1, 2))
        return KS_OK;
    KS_TRY(top->pairs ? key_value(top->list.bytes, &key, &v, &there)
                      : any_value(top->list.bytes, &v));
    if (!there)
        return KS_OK;
    if (!top->first)
        ks_buf_byte(out, ',');
    top->first = false;
    if (top->pairs) {
        ks_buf_json_str(out, key);
        ks_buf_byte(out, ':');
    }
    if (v.number != 5 && v.number != 6) {
        scalar(out, &v, true);
        return KS_OK;
    }
    if (*depth == DEPTH_MAX)
        return malformed("values nested too deeply");
    ks_buf_byte(out, v.number == 6 ? '{' : '[');
    stack[(*depth)++] = (struct json_frame){ks_pb(v.bytes), v.number == 6, true};
    return KS_OK;
}

static ks_err list_json(struct ks_buf *out, const struct ks_pb *v)
{
    struct json_frame stack[DEPTH_MAX];
    size_t depth = 1;
    ks_buf_byte(out, v->number == 6 ? '{' : '[');
    stack[0] = (struct json_frame){ks_pb(v->bytes), v->number == 6, true};
    while (depth)
        KS_TRY(json_step(out, stack, &depth));
    return ks_buf_status(out);
}

static ks_err add_value(struct otlp *x, struct ks_slice name, const struct ks_pb *v)
{
    struct ks_slice value;
    if (KS_LIKELY(v->number == 1))
        return ks_log_add(x->in, name, v->bytes);
    if (!v->number)
        return KS_OK;
    ks_buf_reset(&x->text);
    if (v->number == 5 || v->number == 6)
        KS_TRY(list_json(&x->text, v));
    else
        scalar(&x->text, v, false);
    KS_TRY(ks_buf_status(&x->text));
    KS_TRY(dup_text(x->arena, x->text.ptr, x->text.len, &value));
    return ks_log_add(x->in, name, value);
}

struct list_frame {
    struct ks_pb list;
    struct ks_slice prefix; /* "a.b." */
};

static ks_err full_name(struct otlp *x, struct ks_slice prefix, struct ks_slice key, bool dot,
                        struct ks_slice *ret)
{
    *ret = key;
    if (!prefix.len && !dot)
        return KS_OK;
    char *out = ks_arena_alloc(x->arena, prefix.len + key.len + 1);
    if (!out)
        return ks_arena_err(x->arena);
    if (prefix.len)
        memcpy(out, prefix.ptr, prefix.len);
    if (key.len)
        memcpy(out + prefix.len, key.ptr, key.len);
    out[prefix.len + key.len] = '.';
    *ret = ks_slice(out, prefix.len + key.len + dot);
    return KS_OK;
}

/*
 * Pairs as fields, lists of pairs within as dotted names; one whose names would grow beyond the
 * limit is kept as JSON instead.
 */
static ks_err flatten(struct otlp *x, struct list_frame *stack)
{
    size_t depth = 1;
    while (depth) {
        struct list_frame *top = &stack[depth - 1];
        struct ks_slice key, name;
        struct ks_pb v = {0};
        bool there;
        if (!ks_pb_next(&top->list)) {
            if (top->list.r.bad)
                return malformed("KeyValueList");
            depth--;
            continue;
        }
        if (!ks_pb_is(&top->list, 1, 2))
            continue;
        KS_TRY(key_value(top->list.bytes, &key, &v, &there));
        if (!there)
            continue;
        bool deeper =
            v.number == 6 && depth < DEPTH_MAX && top->prefix.len + key.len + 1 < KS_LOG_NAME_MAX;
        KS_TRY(full_name(x, top->prefix, key, deeper, &name));
        if (deeper)
            stack[depth++] = (struct list_frame){ks_pb(v.bytes), name};
        else
            KS_TRY(add_value(x, name, &v));
    }
    return KS_OK;
}

/* One KeyValue of a list of attributes. */
static ks_err attribute(struct otlp *x, struct ks_slice message, struct ks_slice prefix)
{
    struct list_frame stack[DEPTH_MAX];
    struct ks_slice key, name;
    struct ks_pb v = {0};
    bool there;
    KS_TRY(key_value(message, &key, &v, &there));
    if (!there)
        return KS_OK;
    KS_TRY(full_name(x, prefix, key, v.number == 6, &name));
    if (KS_LIKELY(v.number != 6))
        return add_value(x, name, &v);
    stack[0] = (struct list_frame){ks_pb(v.bytes), name};
    return flatten(x, stack);
}

/* --- records --- */
static const char *severity_name(uint64_t number, char out[16], size_t *ret_len)
{
    static const char *const names[] = {"Trace", "Debug", "Info", "Warn", "Error", "Fatal"};
    if (number < 1 || number > 24)
        return NULL;
    const char *name = names[(number - 1) / 4];
    size_t n = strlen(name), rank = (size_t)(number - 1) % 4;
    memcpy(out, name, n);
    if (rank)
        out[n++] = (char)('1' + rank);
    *ret_len = n;
    return out;
}

static ks_err set_severity(struct otlp *x, size_t slots, uint64_t number, struct ks_slice text)
{
    struct ks_log_field *f = x->in->fields + slots;
    char digits[24], name[16];
    size_t n = ks_i64_format(digits, (int64_t)(int32_t)number);
    KS_TRY(dup_text(x->arena, digits, n, &f[SLOT_SEVERITY_NUMBER].value));
    f[SLOT_SEVERITY_TEXT].value = f[SLOT_SEVERITY].value = text;
    if (!text.len && severity_name(number, name, &n))
        KS_TRY(dup_text(x->arena, name, n, &f[SLOT_SEVERITY].value));
    return KS_OK;
}

static ks_err body(struct otlp *x, struct ks_slice message)
{
    struct list_frame stack[DEPTH_MAX];
    struct ks_pb v = {0};
    KS_TRY(any_value(message, &v));
    if (v.number != 6)
        return add_value(x, KS_SLICE_LIT("_msg"), &v);
    size_t first = x->in->field_count;
    stack[0] = (struct list_frame){ks_pb(v.bytes), ks_slice("", 0)};
    KS_TRY(flatten(x, stack));
    ks_log_rename_msg(x->in, first);
    return KS_OK;
}

static ks_err add_slots(struct otlp *x)
{
    static const struct ks_slice names[SLOT_COUNT] = {
        [SLOT_SEVERITY_NUMBER] = {"severity_number", 15},
        [SLOT_SEVERITY_TEXT] = {"severity_text", 13},
        [SLOT_SEVERITY] = {"severity", 8},
        [SLOT_TRACE_ID] = {"trace_id", 8},
        [SLOT_SPAN_ID] = {"span_id", 7},
    };
    for (size_t i = 0; i < SLOT_COUNT; i++)
        KS_TRY(ks_log_add(x->in, names[i], ks_slice("", 0)));
    return KS_OK;
}

struct record {
    uint64_t time_ns, observed_ns, severity;
    struct ks_slice severity_text, event_name;
};

static ks_err record_field(struct otlp *x, const struct ks_pb *p, struct record *r, size_t slots)
{
    if (p->wire == 1 && (p->number == 1 || p->number == 11)) {
        *(p->number == 1 ? &r->time_ns : &r->observed_ns) = p->value;
        return KS_OK;
    }
    if (ks_pb_is(p, 2, 0))
        r->severity = p->value;
    if (p->wire != 2)
        return KS_OK;
    switch (p->number) {
    case 3:
        r->severity_text = p->bytes;
        return KS_OK;
    case 5:
        return body(x, p->bytes);
    case 6:
        return attribute(x, p->bytes, ks_slice("", 0));
    case 9:
        return hex(x->arena, p->bytes, &x->in->fields[slots + SLOT_TRACE_ID].value);
    case 10:
        return hex(x->arena, p->bytes, &x->in->fields[slots + SLOT_SPAN_ID].value);
    case 12:
        r->event_name = p->bytes;
        return KS_OK;
    default:
        return KS_OK;
    }
}

static int64_t time_of(const struct otlp *x, const struct record *r)
{
    uint64_t t = r->time_ns ? r->time_ns : r->observed_ns;
    if (!t)
        return x->in->now_ns;
    return t > INT64_MAX ? INT64_MAX : (int64_t)t;
}

static ks_err record(struct otlp *x, struct ks_slice message)
{
    struct ks_log_ingest *in = x->in;
    struct ks_pb p = ks_pb(message);
    struct record r = {0};
    size_t slots = in->field_count;
    KS_TRY(add_slots(x));
    if (in->field_count < slots + SLOT_COUNT) /* the shared fields alone are too many */
        return ks_log_row(in, in->now_ns, 0);
    while (ks_pb_next(&p))
        KS_TRY(record_field(x, &p, &r, slots));
    if (p.r.bad)
        return malformed("LogRecord");
    KS_TRY(set_severity(x, slots, r.severity, r.severity_text));
    struct ks_log_field *event = &in->fields[x->resource_count - 1];
    if (!ks_slice_eq(event->value, r.event_name)) {
        event->value = r.event_name;
        ks_log_tags_changed(in);
    }
    size_t tags = in->params->stream_fields.count ? KS_LOG_TAGS_BY_NAME : x->resource_count;
    KS_TRY(ks_log_row(in, time_of(x, &r), tags));
    ks_log_rewind(in, slots);
    return KS_OK;
}

/* --- what records share --- */
static ks_err scope(struct otlp *x, struct ks_slice message)
{
    struct ks_pb p = ks_pb(message);
    struct ks_slice name = KS_SLICE_LIT("unknown"), version = name;
    while (ks_pb_next(&p)) {
        if (ks_pb_is(&p, 1, 2))
            name = p.bytes;
        else if (ks_pb_is(&p, 2, 2))
            version = p.bytes;
        else if (ks_pb_is(&p, 3, 2))
            KS_TRY(attribute(x, p.bytes, KS_SLICE_LIT("scope.attributes.")));
    }
    if (p.r.bad)
        return malformed("InstrumentationScope");
    KS_TRY(ks_log_add(x->in, KS_SLICE_LIT("scope.name"), name));
    return ks_log_add(x->in, KS_SLICE_LIT("scope.version"), version);
}

/* Walks a message and hands its fields of one number to fn. */
static ks_err each(struct otlp *x, struct ks_slice message, uint32_t number, const char *name,
                   ks_err (*fn)(struct otlp *x, struct ks_slice message))
{
    struct ks_pb p = ks_pb(message);
    while (ks_pb_next(&p))
        if (ks_pb_is(&p, number, 2))
            KS_TRY(fn(x, p.bytes));
    return p.r.bad ? malformed(name) : KS_OK;
}

static ks_err scope_logs(struct otlp *x, struct ks_slice message)
{
    size_t mark = x->in->field_count;
    x->arena = x->in->keep;
    KS_TRY(each(x, message, 1, "ScopeLogs", scope));
    x->arena = x->in->arena;
    KS_TRY(each(x, message, 2, "ScopeLogs", record));
    ks_log_rewind(x->in, mark);
    return KS_OK;
}

static ks_err resource_attribute(struct otlp *x, struct ks_slice message)
{
    return attribute(x, message, ks_slice("", 0));
}

static ks_err resource(struct otlp *x, struct ks_slice message)
{
    return each(x, message, 1, "Resource", resource_attribute);
}

static ks_err resource_logs(struct otlp *x, struct ks_slice message)
{
    ks_log_rewind(x->in, 0);
    ks_log_tags_changed(x->in);
    x->arena = x->in->keep;
    KS_TRY(each(x, message, 1, "ResourceLogs", resource));
    KS_TRY(ks_log_add(x->in, KS_SLICE_LIT("event_name"), ks_slice("", 0)));
    x->resource_count = x->in->field_count;
    return each(x, message, 2, "ResourceLogs", scope_logs);
}

ks_err ks_otlp_logs_decode(struct ks_log_ingest *in, struct ks_slice message)
{
    struct otlp x = {.in = in, .arena = in->keep};
    ks_buf_init(&x.text, TEXT_BYTES_MAX);
    ks_err err = each(&x, message, 1, "ExportLogsServiceRequest", resource_logs);
    ks_buf_done(&x.text);
    return err;
}
