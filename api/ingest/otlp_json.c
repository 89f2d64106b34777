#include "api/ingest/otlp_json.h"

#include "api/ingest/otlp_json_tables.h"

#include <math.h>

#include "api/ingest/json_reader.h"
#include "base/bytes.h"
#include "base/num.h"

/* Deeper than any real message, attributes within attributes included. */
enum { DEPTH_MAX = 64, LENGTH_BYTES = 5 };

struct frame {
    const struct ks_otlp_message *message;
    const struct ks_otlp_field *array; /* not NULL: inside of its [ ] */
    size_t length_at;                  /* where the message's length goes */
    bool first;
};

struct transcoder {
    struct ks_json j;
    const char *start;
    struct ks_buf *out;
    struct frame stack[DEPTH_MAX];
    size_t depth;
};

static ks_err wrong(struct transcoder *t, const char *what, const struct ks_otlp_field *f)
{
    const struct frame *top = &t->stack[t->depth ? t->depth - 1 : 0];
    return ks_fail(KS_EPARSE, "malformed JSON: %s in %s%s%s at byte %zu", what, top->message->name,
                   f ? "." : "", f ? f->name : "", (size_t)(t->j.p - t->start));
}

/* time_unix_nano is timeUnixNano. */
static bool same_name(struct ks_slice key, const char *name)
{
    size_t i = 0;
    for (; *name; name++, i++) {
        bool upper = *name >= 'A' && *name <= 'Z';
        if (upper && i < key.len && key.ptr[i] == '_')
            i++;
        if (i >= key.len || (key.ptr[i] != *name &&
                             !(upper && i && key.ptr[i - 1] == '_' && key.ptr[i] == (*name | 32))))
            return false;
    }
    return i == key.len;
}

static const struct ks_otlp_field *find(const struct ks_otlp_message *m, struct ks_slice key)
{
    for (const struct ks_otlp_field *f = m->fields; f->name; f++)
        if (same_name(key, f->name))
            return f;
    return NULL;
}

static void put_key(struct ks_buf *out, const struct ks_otlp_field *f, unsigned wire)
{
    ks_buf_varint(out, f->number << 3 | wire);
}

/* The text of a number, bare or as a string. */
static bool number_text(struct transcoder *t, struct ks_slice *ret)
{
    struct ks_json *j = &t->j;
    ks_json_blanks(j);
    if (j->p < j->end && *j->p == '"')
        return ks_json_string(j, ret);
    const char *start = j->p;
    while (j->p < j->end && ((*j->p >= '0' && *j->p <= '9') || memchr("+-.eE", *j->p, 5)))
        j->p++;
    *ret = ks_slice(start, (size_t)(j->p - start));
    return ret->len > 0;
}

static bool integer(struct transcoder *t, uint64_t *ret)
{
    struct ks_slice s;
    int64_t i;
    double d;
    if (!number_text(t, &s))
        return false;
    if (ks_u64_parse(s, ret))
        return true;
    if (ks_i64_parse(s, &i)) {
        *ret = (uint64_t)i;
        return true;
    }
    /* 1e3 and 5.0 are integers too. */
    if (!ks_f64_parse(s, &d) || d != trunc(d) || !(d > -9.2e18 && d < 9.2e18))
        return false;
    *ret = (uint64_t)(int64_t)d;
    return true;
}

static bool real(struct transcoder *t, double *ret)
{
    struct ks_slice s;
    return number_text(t, &s) && ks_f64_parse(s, ret);
}

static bool enumeration(struct transcoder *t, const struct ks_otlp_field *f, uint64_t *ret)
{
    struct ks_json *j = &t->j;
    struct ks_slice s;
    ks_json_blanks(j);
    const char *at = j->p;
    if (j->p < j->end && *j->p == '"' && ks_json_string(j, &s))
        for (*ret = 0; f->names && f->names[*ret]; ++*ret)
            if (ks_slice_is(s, f->names[*ret]))
                return true;
    j->p = at;
    return integer(t, ret);
}

static int digit(enum ks_otlp_type type, char c)
{
    if (type == KS_OTLP_HEX)
        return c >= '0' && c <= '9'                 ? c - '0'
               : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                    : -1;
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

static bool bytes(struct transcoder *t, const struct ks_otlp_field *f)
{
    struct ks_slice s;
    unsigned width = f->type == KS_OTLP_HEX ? 4 : 6, bits = 0;
    uint32_t acc = 0;
    if (!ks_json_string(&t->j, &s))
        return false;
    while (f->type == KS_OTLP_BASE64 && s.len && s.ptr[s.len - 1] == '=')
        s.len--;
    put_key(t->out, f, 2);
    ks_buf_varint(t->out, s.len * width / 8);
    for (size_t i = 0; i < s.len; i++) {
        int d = digit(f->type, s.ptr[i]);
        if (d < 0)
            return false;
        acc = acc << width | (uint32_t)d;
        bits += width;
        if (bits >= 8) {
            bits -= 8;
            ks_buf_byte(t->out, (uint8_t)(acc >> bits));
        }
    }
    return true;
}

static bool scalar(struct transcoder *t, const struct ks_otlp_field *f)
{
    struct ks_slice s;
    uint64_t u = 0;
    double d;
    struct ks_json *j = &t->j;
    switch (f->type) {
    case KS_OTLP_STRING:
        if (!ks_json_string(j, &s))
            return false;
        put_key(t->out, f, 2);
        ks_buf_lp(t->out, s);
        return true;
    case KS_OTLP_BOOL:
        ks_json_blanks(j);
        s = ks_slice(j->p, (size_t)(j->end - j->p));
        u = ks_slice_has_prefix(s, KS_SLICE_LIT("true"));
        if (!u && !ks_slice_has_prefix(s, KS_SLICE_LIT("false")))
            return false;
        j->p += u ? 4 : 5;
        put_key(t->out, f, 0);
        ks_buf_varint(t->out, u);
        return true;
    case KS_OTLP_VARINT:
    case KS_OTLP_SINT:
        if (!integer(t, &u))
            return false;
        put_key(t->out, f, 0);
        ks_buf_varint(t->out, f->type == KS_OTLP_SINT ? ks_zigzag((int64_t)u) : u);
        return true;
    case KS_OTLP_FIXED64:
        if (!integer(t, &u))
            return false;
        put_key(t->out, f, 1);
        ks_buf_u64(t->out, u);
        return true;
    case KS_OTLP_FIXED32:
        if (!integer(t, &u) || u > UINT32_MAX)
            return false;
        put_key(t->out, f, 5);
        ks_buf_u32(t->out, (uint32_t)u);
        return true;
    case KS_OTLP_ENUM:
        if (!enumeration(t, f, &u))
            return false;
        put_key(t->out, f, 0);
        ks_buf_varint(t->out, u);
        return true;
    case KS_OTLP_DOUBLE:
        if (!real(t, &d))
            return false;
        put_key(t->out, f, 1);
        ks_buf_u64(t->out, ks_f64_bits(d));
        return true;
    case KS_OTLP_BASE64:
    case KS_OTLP_HEX:
        return bytes(t, f);
    default:
        return ks_json_skip(j);
    }
}

/* The length of a message is known at its end: it gets a varint of fixed width. */
static void put_length(struct ks_buf *out, size_t at)
{
    size_t len = out->len - at - LENGTH_BYTES;
    if (ks_buf_status(out) != KS_OK)
        return;
    for (size_t i = 0; i < LENGTH_BYTES; i++, len >>= 7)
        out->ptr[at + i] = (char)((len & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

static ks_err push(struct transcoder *t, const struct ks_otlp_message *message,
                   const struct ks_otlp_field *array)
{
    if (t->depth == DEPTH_MAX)
        return wrong(t, "nested too deeply", array);
    t->stack[t->depth++] = (struct frame){message, array, t->out->len, true};
    return KS_OK;
}

static bool null(struct transcoder *t)
{
    ks_json_blanks(&t->j);
    if (!ks_slice_has_prefix(ks_slice(t->j.p, (size_t)(t->j.end - t->j.p)), KS_SLICE_LIT("null")))
        return false;
    t->j.p += 4;
    return true;
}

/* A value of field f: written at once, or its frame pushed. */
static ks_err value(struct transcoder *t, const struct ks_otlp_field *f, bool in_array)
{
    if (null(t))
        return KS_OK;
    if (f->repeated && !in_array)
        return ks_json_expect(&t->j, '[') ? push(t, t->stack[t->depth - 1].message, f)
                                          : wrong(t, "want an array", f);
    if (f->type != KS_OTLP_MESSAGE)
        return scalar(t, f) ? KS_OK : wrong(t, "malformed value", f);
    if (!ks_json_expect(&t->j, '{'))
        return wrong(t, "want an object", f);
    put_key(t->out, f, 2);
    KS_TRY(push(t, f->message, NULL));
    ks_buf_add(t->out, "\0\0\0\0\0", LENGTH_BYTES);
    return KS_OK;
}

static ks_err step(struct transcoder *t)
{
    struct frame *top = &t->stack[t->depth - 1];
    char close = top->array ? ']' : '}';
    if (ks_json_expect(&t->j, close)) {
        if (!top->array && t->depth > 1)
            put_length(t->out, top->length_at);
        t->depth--;
        return KS_OK;
    }
    if (!top->first && !ks_json_expect(&t->j, ','))
        return wrong(t, "want a comma or the end", top->array);
    top->first = false;
    if (top->array)
        return value(t, top->array, true);
    struct ks_slice key;
    if (!ks_json_string(&t->j, &key) || !ks_json_expect(&t->j, ':'))
        return wrong(t, "want \"key\":", NULL);
    const struct ks_otlp_field *f = find(top->message, key);
    if (!f || f->type == KS_OTLP_SKIPPED)
        return ks_json_skip(&t->j) ? KS_OK : wrong(t, "malformed value", f);
    return value(t, f, false);
}

ks_err ks_otlp_json_to_protobuf(struct ks_slice json, const struct ks_otlp_message *message,
                                struct ks_arena *arena, struct ks_buf *out)
{
    struct transcoder t;
    t.j = (struct ks_json){json.ptr, json.ptr + json.len, arena};
    t.start = json.ptr;
    t.out = out;
    t.depth = 0;
    t.stack[0].message = message;
    if (!ks_json_expect(&t.j, '{'))
        return wrong(&t, "want an object", NULL);
    KS_TRY(push(&t, message, NULL));
    while (t.depth) {
        KS_TRY(step(&t));
        KS_TRY(ks_buf_status(out));
        if (arena->err != KS_OK)
            return ks_arena_err(arena);
    }
    ks_json_blanks(&t.j);
    return t.j.p == t.j.end ? KS_OK : wrong(&t, "text behind the object", NULL);
}

/* --- the messages of metrics --- */
M(resource) = {"Resource", F(SUBS("attributes", 1, key_value))};
M(scope) = {"InstrumentationScope",
            F(ONE("name", 1, STRING), ONE("version", 2, STRING), SUBS("attributes", 3, key_value))};
M(exemplar) = {"Exemplar",
               F(SUBS("filteredAttributes", 7, key_value), ONE("timeUnixNano", 2, FIXED64),
                 ONE("asDouble", 3, DOUBLE), ONE("asInt", 6, FIXED64), ONE("spanId", 4, HEX),
                 ONE("traceId", 5, HEX))};
M(number_point) = {"NumberDataPoint",
                   F(SUBS("attributes", 7, key_value), ONE("startTimeUnixNano", 2, FIXED64),
                     ONE("timeUnixNano", 3, FIXED64), ONE("asDouble", 4, DOUBLE),
                     ONE("asInt", 6, FIXED64), ONE("flags", 8, VARINT),
                     SUBS("exemplars", 5, exemplar))};
M(histogram_point) = {
    "HistogramDataPoint",
    F(SUBS("attributes", 9, key_value), ONE("startTimeUnixNano", 2, FIXED64),
      ONE("timeUnixNano", 3, FIXED64), ONE("count", 4, FIXED64), ONE("sum", 5, DOUBLE),
      MANY("bucketCounts", 6, FIXED64), MANY("explicitBounds", 7, DOUBLE), ONE("flags", 10, VARINT),
      ONE("min", 11, DOUBLE), ONE("max", 12, DOUBLE), SUBS("exemplars", 8, exemplar))};
M(buckets) = {"Buckets", F(ONE("offset", 1, SINT), MANY("bucketCounts", 2, VARINT))};
M(exponential_point) = {
    "ExponentialHistogramDataPoint",
    F(SUBS("attributes", 1, key_value), ONE("startTimeUnixNano", 2, FIXED64),
      ONE("timeUnixNano", 3, FIXED64), ONE("count", 4, FIXED64), ONE("sum", 5, DOUBLE),
      ONE("scale", 6, SINT), ONE("zeroCount", 7, FIXED64), SUB("positive", 8, buckets),
      SUB("negative", 9, buckets), ONE("flags", 10, VARINT), ONE("min", 12, DOUBLE),
      ONE("max", 13, DOUBLE), ONE("zeroThreshold", 14, DOUBLE), SUBS("exemplars", 11, exemplar))};
M(quantile) = {"ValueAtQuantile", F(ONE("quantile", 1, DOUBLE), ONE("value", 2, DOUBLE))};
M(summary_point) = {"SummaryDataPoint",
                    F(SUBS("attributes", 7, key_value), ONE("startTimeUnixNano", 2, FIXED64),
                      ONE("timeUnixNano", 3, FIXED64), ONE("count", 4, FIXED64),
                      ONE("sum", 5, DOUBLE), SUBS("quantileValues", 6, quantile),
                      ONE("flags", 8, VARINT))};
M(gauge) = {"Gauge", F(SUBS("dataPoints", 1, number_point))};
M(sum) = {"Sum", F(SUBS("dataPoints", 1, number_point), ONE("aggregationTemporality", 2, SKIPPED),
                   ONE("isMonotonic", 3, BOOL))};
M(histogram) = {"Histogram", F(SUBS("dataPoints", 1, histogram_point),
                               ONE("aggregationTemporality", 2, SKIPPED))};
M(exponential) = {"ExponentialHistogram", F(SUBS("dataPoints", 1, exponential_point),
                                            ONE("aggregationTemporality", 2, SKIPPED))};
M(summary) = {"Summary", F(SUBS("dataPoints", 1, summary_point))};
M(metric) = {"Metric",
             F(ONE("name", 1, STRING), ONE("description", 2, STRING), ONE("unit", 3, STRING),
               SUB("gauge", 5, gauge), SUB("sum", 7, sum), SUB("histogram", 9, histogram),
               SUB("exponentialHistogram", 10, exponential), SUB("summary", 11, summary),
               SUBS("metadata", 12, key_value))};
M(scope_metrics) = {"ScopeMetrics", F(SUB("scope", 1, scope), SUBS("metrics", 2, metric),
                                      ONE("schemaUrl", 3, STRING))};
M(resource_metrics) = {"ResourceMetrics",
                       F(SUB("resource", 1, resource), SUBS("scopeMetrics", 2, scope_metrics),
                         ONE("schemaUrl", 3, STRING))};
const struct ks_otlp_message ks_otlp_metrics_request = {
    "request", F(SUBS("resourceMetrics", 1, resource_metrics))};

/* --- the messages of logs --- */
M(log_record) = {"LogRecord",
                 F(ONE("timeUnixNano", 1, FIXED64), ONE("severityNumber", 2, VARINT),
                   ONE("severityText", 3, STRING), SUB("body", 5, any_value),
                   SUBS("attributes", 6, key_value), ONE("droppedAttributesCount", 7, SKIPPED),
                   ONE("flags", 8, SKIPPED), ONE("traceId", 9, HEX), ONE("spanId", 10, HEX),
                   ONE("observedTimeUnixNano", 11, FIXED64), ONE("eventName", 12, STRING))};
M(scope_logs) = {"ScopeLogs", F(SUB("scope", 1, scope), SUBS("logRecords", 2, log_record),
                                ONE("schemaUrl", 3, STRING))};
M(resource_logs) = {
    "ResourceLogs",
    F(SUB("resource", 1, resource), SUBS("scopeLogs", 2, scope_logs), ONE("schemaUrl", 3, STRING))};
const struct ks_otlp_message ks_otlp_logs_request = {"request",
                                                     F(SUBS("resourceLogs", 1, resource_logs))};
