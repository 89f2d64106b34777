/* Jaeger's adjusters on spans that stay OTLP: for jaeger.api_v3, over HTTP and gRPC. */
#ifndef KS_QUERY_TRACES_JAEGER_OTLP_H
#define KS_QUERY_TRACES_JAEGER_OTLP_H

#include "query/traces/jaeger.h"

/*
 * The spans of one trace as the adjusters leave them: unique span ids, attributes and events in
 * order, links to nothing gone, warnings as the attribute @jaeger@warnings. Copies in the arena;
 * what did not change is shared with spans.
 */
KS_NODISCARD ks_err ks_jaeger_adjust_spans(const struct ks_span *spans, size_t count,
                                           struct ks_arena *arena, struct ks_span **ret);

#endif
