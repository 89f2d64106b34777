/*
 * Traces in Jaeger's words: OpenTelemetry spans to Jaeger's model, its query-time adjusters, and
 * JSON, in the profiles of Jaeger 1.52, of Jaeger 2.x and of VictoriaTraces. See
 * docs/decisions/0008-traces.md for what differs.
 */
#ifndef KS_QUERY_TRACES_JAEGER_H
#define KS_QUERY_TRACES_JAEGER_H

#include "base/arena.h"
#include "base/buf.h"
#include "storage/traces/span.h"

enum ks_jaeger_profile {
    KS_JAEGER_2,  /* 2.20: the default of the Jaeger listener */
    KS_JAEGER_1,  /* 1.52: attributes in the order sent, internal.span.format */
    KS_JAEGER_VT, /* VictoriaTraces: every tag a string, keys of objects in its order */
};

/* Names processes p1, p2, …: per trace with Jaeger, over the whole answer with VictoriaTraces. */
struct ks_jaeger_processes {
    const struct ks_resource **items;
    size_t count, cap;
};

/*
 * One trace object. spans is changed: ids and parents by the adjusters unless raw. arena is for
 * what the answer needs meanwhile. KS_EINVAL: a value that JSON cannot say (NaN).
 */
KS_NODISCARD ks_err ks_jaeger_trace(enum ks_jaeger_profile profile, bool raw, struct ks_span *spans,
                                    size_t count, struct ks_jaeger_processes *processes,
                                    struct ks_arena *arena, struct ks_buf *out);

/* 32 hex digits, or 16 when the high half is zero (short); span ids 16. */
void ks_jaeger_trace_id(struct ks_buf *out, struct ks_trace_id id, bool may_be_short);
void ks_jaeger_span_id(struct ks_buf *out, uint64_t id);
/* 1…32 hex digits. */
bool ks_jaeger_parse_trace_id(struct ks_slice s, struct ks_trace_id *ret);

/* serviceName of a process, also where the resource has none. */
struct ks_slice ks_jaeger_service_name(const struct ks_resource *r);
/* "server" for 2; "" for what has no name. */
const char *ks_span_kind_name(uint32_t kind);

#endif
