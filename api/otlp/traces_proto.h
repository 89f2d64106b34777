/* OTLP traces: ExportTraceServiceRequest as protobuf into a sink. */
#ifndef KS_API_OTLP_TRACES_PROTO_H
#define KS_API_OTLP_TRACES_PROTO_H

#include "api/otlp/sink.h"

/*
 * Texts in the sink's batch are borrowed from body. Spans with ids that are zero or of a wrong
 * length, and those that are too large, are rejected and counted. KS_EPARSE: malformed at a byte;
 * what came before it may be stored.
 */
KS_NODISCARD ks_err ks_otlp_traces_decode(struct ks_span_sink *s, struct ks_slice body);

#endif
