/* Spans as OTLP again: resourceSpans in JSON (protobuf's JSON mapping, ids in hex) and protobuf. */
#ifndef KS_QUERY_TRACES_OTLP_OUT_H
#define KS_QUERY_TRACES_OTLP_OUT_H

#include "base/arena.h"
#include "base/buf.h"
#include "storage/traces/span.h"

/* Appends the elements of a resourceSpans array; a comma first unless *first, which becomes false.
 */
KS_NODISCARD ks_err ks_otlp_out_json(const struct ks_span *spans, size_t count,
                                     struct ks_arena *arena, bool *first, struct ks_buf *out);
/* The same by protobuf's own mapping, as Tempo answers: ids in base64, enumerations by name. */
KS_NODISCARD ks_err ks_otlp_out_proto_json(const struct ks_span *spans, size_t count,
                                           struct ks_arena *arena, bool *first, struct ks_buf *out);
/* Appends TracesData's resource_spans fields. */
KS_NODISCARD ks_err ks_otlp_out_proto(const struct ks_span *spans, size_t count,
                                      struct ks_arena *arena, struct ks_buf *out);

#endif
