/* Spans of other protocols as OTLP's: Zipkin v2 JSON, Jaeger's thrift over HTTP. */
#ifndef KS_API_OTLP_TRACES_ZIPKIN_H
#define KS_API_OTLP_TRACES_ZIPKIN_H

#include "api/otlp/sink.h"

ks_err ks_zipkin_handle(struct ks_http_request *req);
ks_err ks_jaeger_thrift_handle(struct ks_http_request *req);

/* A JSON array of Zipkin v2 spans. Decoded texts live in arena until the sink is finished. */
KS_NODISCARD ks_err ks_zipkin_decode(struct ks_span_sink *s, struct ks_slice body,
                                     struct ks_arena *arena);
/* A Batch in thrift's binary protocol. */
KS_NODISCARD ks_err ks_jaeger_thrift_decode(struct ks_span_sink *s, struct ks_slice body,
                                            struct ks_arena *arena);

/* Adds a span as readers see it to the sink: extra fields, limits and ids are seen to. */
KS_NODISCARD ks_err ks_span_sink_add(struct ks_span_sink *s, struct ks_span *span,
                                     size_t span_bytes);

#endif
