/*
 * Where decoders of spans put them: a batch that is handed to the store when full, counts of what
 * was refused and why, and the fields a proxy adds (extra_fields). One per request and thread.
 *
 * A decoder calls ks_span_sink_room() before each span (it may hand over the batch: numbers of
 * resources and scopes are stale then, ks_span_sink.batches tells), and ks_span_sink_reject() for a
 * span that cannot be stored. ks_span_sink_finish() stores the rest and waits for the log.
 */
#ifndef KS_API_OTLP_SINK_H
#define KS_API_OTLP_SINK_H

#include "api/http.h"
#include "engine/traces/trace_store.h"

enum { KS_EXTRA_FIELDS_MAX = 64, KS_RESOURCE_BYTES_MAX = 256 << 10, KS_SCOPE_BYTES_MAX = 64 << 10 };

struct ks_span_metrics;

struct ks_span_sink {
    struct ks_span_metrics *metrics; /* NULL: spans are not counted */
    struct ks_trace_store *store;    /* NULL: nothing is stored (fuzzers, tests) */
    struct ks_batch *batch;
    struct ks_buf *encoded;
    struct ks_tenant tenant;
    uint64_t batches; /* handed over so far */
    uint64_t received, stored, rejected;
    char reason[160]; /* of the first span rejected */
    ks_lsn lsn;
    /* Attributes that every resource gets; one of the same name as sent is left out. */
    struct ks_label extra[KS_EXTRA_FIELDS_MAX]; /* on the resource */
    size_t extra_count;
    struct ks_label extra_span[KS_EXTRA_FIELDS_MAX];
    size_t extra_span_count;
    struct ks_slice ignore[KS_EXTRA_FIELDS_MAX]; /* ignore_fields: names with their prefix */
    size_t ignore_count;
    void (*each)(void *arg, const struct ks_batch *b); /* sees every batch before it is stored */
    void *each_arg;
};

/* For a request: tenant and fields from its arguments and headers. */
KS_NODISCARD ks_err ks_span_sink_begin(struct ks_span_sink *s, struct ks_http_request *req);
struct ks_app;
void ks_span_sink_begin_app(struct ks_span_sink *s, struct ks_app *app, struct ks_tenant tenant);
void ks_span_sink_begin_plain(struct ks_span_sink *s, struct ks_trace_store *store,
                              struct ks_tenant tenant);
/* name=value,… as extra_fields has them. */
KS_NODISCARD ks_err ks_span_sink_extra_fields(struct ks_span_sink *s, struct ks_slice text);
/* Room for a span of about so many bytes. */
KS_NODISCARD ks_err ks_span_sink_room(struct ks_span_sink *s, size_t span_bytes);
void ks_span_sink_reject(struct ks_span_sink *s, uint64_t spans, const char *fmt, ...)
    KS_PRINTF(3, 4);
/* Stores what is left and returns when it is durable. */
KS_NODISCARD ks_err ks_span_sink_finish(struct ks_span_sink *s);

/* Attributes of a resource, span or scope: whether one as sent is left out. */
bool ks_span_sink_drops(const struct ks_span_sink *s, bool resource, struct ks_slice key);
/* Adds the extra attributes to the open list. */
void ks_span_sink_extra(struct ks_span_sink *s, bool resource);

/* The thread's own batch and buffer. */
struct ks_batch *ks_span_thread_batch(void);
struct ks_buf *ks_span_thread_buf(void);

#endif
