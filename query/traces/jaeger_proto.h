/*
 * Traces as jaeger.api_v2 sends them over gRPC: SpansResponseChunk messages of the same model, and
 * adjusted by the same rules, as the JSON of jaeger.h. Pure functions; any thread.
 */
#ifndef KS_QUERY_TRACES_JAEGER_PROTO_H
#define KS_QUERY_TRACES_JAEGER_PROTO_H

#include "query/traces/jaeger.h"

enum { KS_JAEGER_CHUNK_SPANS = 10 }; /* as Jaeger cuts its streams */

/* The message is valid during the call; an error ends the trace and is returned. */
typedef ks_err (*ks_jaeger_chunk_fn)(void *arg, struct ks_slice message);

/*
 * Calls fn with one SpansResponseChunk for every KS_JAEGER_CHUNK_SPANS spans. scratch is for the
 * message. Every span carries its process, as Jaeger's do on this way.
 * Errors: fn's, KS_ENOMEM, KS_ETOOBIG a message is larger than scratch may become.
 */
KS_NODISCARD ks_err ks_jaeger_trace_chunks(enum ks_jaeger_profile profile, bool raw,
                                           struct ks_span *spans, size_t count,
                                           struct ks_arena *arena, struct ks_buf *scratch,
                                           ks_jaeger_chunk_fn fn, void *arg);

#endif
