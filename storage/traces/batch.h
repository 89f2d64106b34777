/*
 * A batch of spans with interned strings: what decoders make, what the log holds, what the ring
 * takes. Texts are borrowed from the request or log record until the batch is reset.
 *
 * Every text, attribute shape (keys and types), resource, scope and trace id is in the batch once;
 * spans refer to them by number. So the ring looks each distinct thing up once per batch, and a log
 * record needs nothing but itself to be read. One thread; memory is kept from batch to batch.
 *
 * Limits: KS_BATCH_SPANS_MAX spans and about KS_BATCH_BYTES_MAX encoded bytes, so that a batch fits
 * one log frame and holds the ring's lock for well under a millisecond. ks_batch_full() says when
 * to hand it over.
 */
#ifndef KS_STORAGE_TRACES_BATCH_H
#define KS_STORAGE_TRACES_BATCH_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/labels.h"
#include "storage/traces/span.h"

enum {
    KS_BATCH_SPANS_MAX = 512,
    KS_BATCH_BYTES_MAX = 640 << 10,
    KS_SPAN_BYTES_MAX = 1 << 20, /* texts and values of one span with its resource and scope */
    KS_SPAN_PARTS_MAX = 65535,   /* attributes, events, links, each */
};

struct ks_batch_string {
    const char *ptr;
    uint32_t len;
    uint32_t
        refs; /* uses in this batch, saturating: a text used once may stay out of dictionaries */
    uint64_t hash;
};
/* Keys and types of an attribute list: keys[first…], each string << 3 | type. */
struct ks_batch_shape {
    uint32_t first, count;
    uint64_t hash;
};
/* An attribute list: a shape and its values; values[first…]: string number, or the bits. */
struct ks_batch_set {
    uint32_t shape, first, dropped;
};
struct ks_batch_resource {
    struct ks_batch_set set;
    uint32_t schema_url; /* string */
    uint32_t service;    /* string + 1; 0: none */
};
struct ks_batch_scope {
    struct ks_batch_set set;
    uint32_t name, version, schema_url;
};
struct ks_batch_trace {
    struct ks_trace_id id;
    uint64_t seq; /* given by the ring, or read from the log; 0: not yet known */
};
struct ks_batch_event {
    uint64_t time_ns;
    uint32_t name;
    struct ks_batch_set set;
};
struct ks_batch_link {
    struct ks_trace_id trace_id;
    uint64_t span_id;
    uint32_t flags, state;
    struct ks_batch_set set;
};
struct ks_batch_span {
    uint64_t span_id, parent_id, start_ns, end_ns;
    uint32_t trace, resource, scope, name, state, status_message;
    uint32_t kind, status, flags;
    struct ks_batch_set set;
    uint32_t first_event, event_count, dropped_events;
    uint32_t first_link, link_count, dropped_links;
};

/* Open addressing: number + 1 of what hashes there, 0 empty. */
struct ks_batch_table {
    uint32_t *slots;
    size_t mask, count;
};

enum ks_batch_kind { KS_SET_SPAN, KS_SET_PART /* event, link */, KS_SET_PROCESS };

#define KS_BATCH_ARRAY(type, name)                                                                 \
    struct ks_batch_##type *name;                                                                  \
    size_t name##_count, name##_cap

struct ks_batch {
    struct ks_tenant tenant;
    KS_BATCH_ARRAY(string, strings);
    KS_BATCH_ARRAY(shape, shapes);
    KS_BATCH_ARRAY(resource, resources);
    KS_BATCH_ARRAY(scope, scopes);
    KS_BATCH_ARRAY(trace, traces);
    KS_BATCH_ARRAY(span, spans);
    KS_BATCH_ARRAY(event, events);
    KS_BATCH_ARRAY(link, links);
    uint32_t *keys;
    size_t keys_count, keys_cap;
    uint64_t *values;
    size_t values_count, values_cap;
    struct ks_batch_table string_table, shape_table, trace_table;
    uint64_t seed;       /* ks_trace_seed() */
    uint64_t evicted_to; /* traces below this number were gone when the batch came to the ring */
    size_t bytes;        /* estimate of the encoded size */
    /* The list being built. */
    size_t open_key, open_value;
    enum ks_batch_kind open_kind;
    uint32_t predicted[3]; /* by kind, shape of the last list: its keys are likely to come again */
    ks_err err;            /* sticky KS_ENOMEM */
};

/* Seeds the hashes of texts, the same all over the process: the ring's dictionaries reuse them. */
uint64_t ks_trace_seed(void);

void ks_batch_init(struct ks_batch *b);
void ks_batch_done(struct ks_batch *b);
/* Empties it. Texts given before are not looked at any more. */
void ks_batch_reset(struct ks_batch *b, struct ks_tenant tenant);
static inline bool ks_batch_full(const struct ks_batch *b)
{
    return b->spans_count >= KS_BATCH_SPANS_MAX || b->bytes >= KS_BATCH_BYTES_MAX;
}

/* One per key of the set's shape. */
static inline const uint64_t *ks_batch_values(const struct ks_batch *b,
                                              const struct ks_batch_set *set)
{
    return b->values ? b->values + set->first : NULL;
}

/* The number of a text; ptr must stay valid. */
uint32_t ks_batch_string(struct ks_batch *b, struct ks_slice s);
static inline struct ks_slice ks_batch_text(const struct ks_batch *b, uint32_t i)
{
    return ks_slice(b->strings[i].ptr, b->strings[i].len);
}
uint32_t ks_batch_trace(struct ks_batch *b, struct ks_trace_id id);

/* Attribute lists do not nest: begin, attributes, end. */
void ks_batch_set_begin(struct ks_batch *b, enum ks_batch_kind kind);
/* bits: of a text its string number, else the number, boolean or the double's bits. */
void ks_batch_attr(struct ks_batch *b, struct ks_slice key, enum ks_attr_type type, uint64_t bits);
void ks_batch_attr_of(struct ks_batch *b, const struct ks_attr *a);
struct ks_batch_set ks_batch_set_end(struct ks_batch *b, uint32_t dropped);

/* Append and give the number. */
uint32_t ks_batch_add_resource(struct ks_batch *b, struct ks_batch_set set, struct ks_slice schema);
uint32_t ks_batch_put_resource(struct ks_batch *b, struct ks_batch_set set, uint32_t schema_url);
uint32_t ks_batch_add_scope(struct ks_batch *b, struct ks_batch_set set, struct ks_slice name,
                            struct ks_slice version, struct ks_slice schema);
struct ks_batch_span *ks_batch_add_span(struct ks_batch *b);
struct ks_batch_event *ks_batch_add_event(struct ks_batch *b);
struct ks_batch_link *ks_batch_add_link(struct ks_batch *b);

/*
 * A whole span as readers see it. memo: the resource and scope of the span before, so that a run of
 * spans of one process shares them; zero-initialise, and again after a reset.
 */
struct ks_batch_memo {
    const struct ks_resource *resource;
    const struct ks_scope *scope;
    uint32_t resource_at, scope_at;
};
void ks_batch_copy_span(struct ks_batch *b, const struct ks_span *s, struct ks_batch_memo *memo);

/*
 * The log's form (docs/format/trace-log.md). encode appends; what only the ring knows stands at
 * *ret_seqs_at, 8 bytes each: evicted_to, then the seq of every trace (ks_batch_patch). decode
 * reads hostile bytes: KS_ECORRUPT. Decoded texts are borrowed from bytes.
 */
KS_NODISCARD ks_err ks_batch_encode(const struct ks_batch *b, struct ks_buf *out,
                                    size_t *ret_seqs_at);
void ks_batch_patch(const struct ks_batch *b, struct ks_buf *encoded, size_t seqs_at);
KS_NODISCARD ks_err ks_batch_decode(struct ks_slice bytes, struct ks_batch *b);

/* Span i as readers see it, in arena memory. */
KS_NODISCARD ks_err ks_batch_view(const struct ks_batch *b, size_t i, struct ks_arena *arena,
                                  struct ks_span *ret);

#endif
