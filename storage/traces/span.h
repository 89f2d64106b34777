/*
 * A span as readers see it: OTLP's model, nothing lost. Slices are borrowed: from a request, a log
 * record or a generation of the ring, whoever made the span says for how long.
 */
#ifndef KS_STORAGE_TRACES_SPAN_H
#define KS_STORAGE_TRACES_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct ks_trace_id {
    uint64_t hi, lo; /* the 16 bytes, big-endian */
};
static inline bool ks_trace_id_eq(struct ks_trace_id a, struct ks_trace_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}
static inline bool ks_trace_id_zero(struct ks_trace_id a)
{
    return !(a.hi | a.lo);
}

/* The order is that of the format on disk. */
enum ks_attr_type {
    KS_ATTR_EMPTY, /* a value that is not set */
    KS_ATTR_STRING,
    KS_ATTR_BOOL,
    KS_ATTR_INT,
    KS_ATTR_DOUBLE,
    KS_ATTR_BYTES,
    KS_ATTR_ARRAY,  /* text: protobuf of ArrayValue */
    KS_ATTR_KVLIST, /* text: protobuf of KeyValueList */
    KS_ATTR_TYPES
};

struct ks_attr {
    struct ks_slice key;
    enum ks_attr_type type;
    struct ks_slice text; /* STRING, BYTES, ARRAY, KVLIST */
    int64_t number;       /* INT; BOOL as 0 or 1 */
    double real;          /* DOUBLE */
};
static inline bool ks_attr_is_text(enum ks_attr_type t)
{
    return t == KS_ATTR_STRING || t >= KS_ATTR_BYTES;
}

struct ks_attrs {
    const struct ks_attr *items;
    uint32_t count, dropped;
};

struct ks_resource {
    struct ks_attrs attrs;
    struct ks_slice schema_url;
    struct ks_slice service; /* the text of service.name; empty when absent or no string */
    bool has_service;        /* service.name is there, as a string */
};
struct ks_scope {
    struct ks_slice name, version, schema_url;
    struct ks_attrs attrs;
};
struct ks_span_event {
    uint64_t time_ns;
    struct ks_slice name;
    struct ks_attrs attrs;
};
struct ks_span_link {
    struct ks_trace_id trace_id;
    uint64_t span_id;
    uint32_t flags;
    struct ks_slice state;
    struct ks_attrs attrs;
};

enum ks_span_kind {
    KS_KIND_UNSPECIFIED,
    KS_KIND_INTERNAL,
    KS_KIND_SERVER,
    KS_KIND_CLIENT,
    KS_KIND_PRODUCER,
    KS_KIND_CONSUMER
};
enum ks_span_status { KS_STATUS_UNSET, KS_STATUS_OK, KS_STATUS_ERROR };

struct ks_span {
    struct ks_trace_id trace_id;
    uint64_t span_id, parent_id; /* 0: none */
    uint64_t start_ns, end_ns;
    struct ks_slice name, state, status_message;
    uint32_t kind, status, flags; /* unknown values of enumerations are kept */
    struct ks_attrs attrs;
    const struct ks_span_event *events;
    uint32_t event_count, dropped_events;
    const struct ks_span_link *links;
    uint32_t link_count, dropped_links;
    const struct ks_resource *resource;
    const struct ks_scope *scope;
};

static inline uint64_t ks_span_duration_ns(const struct ks_span *s)
{
    return s->end_ns > s->start_ns ? s->end_ns - s->start_ns : 0;
}

#endif
