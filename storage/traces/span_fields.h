/*
 * A span as a row of fields, under the names VictoriaTraces gives them: trace_id, span_id, name,
 * kind, duration, resource_attr:…, span_attr:…, event:event_name:0 and so on. What LogsQL asks of
 * spans, and what the store of days of spans keeps.
 *
 * Every value is a text. A field without a value is absent; an attribute that is there with an
 * empty value reads "-". Maps are flattened with dots; arrays are JSON. Numbers of the span itself
 * are decimal and always there, zero included. Of several fields of one name the last one counts.
 *
 * The row's time is the end of the span, its stream {name, resource_attr:service.name}.
 */
#ifndef KS_STORAGE_TRACES_SPAN_FIELDS_H
#define KS_STORAGE_TRACES_SPAN_FIELDS_H

#include "base/arena.h"
#include "storage/traces/span.h"

/* of: the attribute the field is made of, for a map the whole of it; NULL: the span's own. */
typedef ks_err (*ks_span_field_fn)(void *arg, struct ks_slice name, struct ks_slice value,
                                   const struct ks_attr *of);

/*
 * Calls fn with every field that has a value, in VictoriaTraces' order, without _time, _stream and
 * _stream_id but with _msg. Names and values are slices of the span or made in the arena.
 */
KS_NODISCARD ks_err ks_span_fields(const struct ks_span *s, struct ks_arena *arena,
                                   ks_span_field_fn fn, void *arg);

/*
 * Where a field comes from: what has to be read to know it. A source of rows looks at a span's head
 * alone, or at its process once for many spans, when that is enough.
 */
enum ks_span_field_part {
    KS_SPAN_PART_HEAD,     /* ids, times, name, kind, status, flags */
    KS_SPAN_PART_RESOURCE, /* resource_attr:… */
    KS_SPAN_PART_SCOPE,    /* scope_name, scope_version, scope_attr:… */
    KS_SPAN_PART_REST,     /* everything else a span may have */
    KS_SPAN_PART_NONE,     /* no span has such a field */
};
enum ks_span_field_part ks_span_field_part(struct ks_slice name);
/* The value of one field; "" when it is absent. */
KS_NODISCARD ks_err ks_span_field(const struct ks_span *s, struct ks_slice name,
                                  struct ks_arena *arena, struct ks_slice *ret);

/* The row's time. Ends beyond the year 2262 count as there. */
static inline int64_t ks_span_time_ns(const struct ks_span *s)
{
    return s->end_ns > INT64_MAX ? INT64_MAX : (int64_t)s->end_ns;
}

/* 32 and 16 hex digits. */
void ks_trace_id_text(struct ks_trace_id id, char out[32]);
void ks_span_id_text(uint64_t id, char out[16]);
/* Exactly 32 hex digits. */
bool ks_trace_id_of_text(struct ks_slice s, struct ks_trace_id *ret);

#endif
