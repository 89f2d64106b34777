/*
 * OpenTelemetry metrics (OTLP). A hand-written walk over the protobuf; JSON comes by way of
 * otlp_json.h. Mapped as VictoriaMetrics does: resource attributes, scope.name, scope.version,
 * scope.attributes.* and a point's own attributes are labels, the later ones win; histograms become
 * _bucket{le}, _sum, _count; exponential ones _bucket{vmrange}; summaries {quantile}, _sum, _count;
 * deltas are stored as they are; a point without recorded value is a stale marker.
 *
 * A malformed body is an error that names field and byte. A point that says nothing that can be
 * stored (no time, no value, buckets that do not fit their bounds) is left out and reported to the
 * client as a partial success.
 */
#ifndef KS_API_INGEST_OTLP_METRICS_H
#define KS_API_INGEST_OTLP_METRICS_H

#include "api/ingest/ingest.h"

struct ks_otlp_result {
    uint64_t rejected_points;
    char first_reason[160]; /* of the first rejected point; "" = none */
};

/* Decodes a protobuf body. */
KS_NODISCARD ks_err ks_otlp_metrics(struct ks_ingest *in, struct ks_slice body,
                                    struct ks_otlp_result *ret);
KS_NODISCARD ks_err ks_otlp_metrics_handle(struct ks_http_request *req);

#endif
