/* Exemplars of OTLP's data points, read for the ring of exemplars (api/exemplars.h). */
#ifndef KS_API_INGEST_OTLP_EXEMPLARS_H
#define KS_API_INGEST_OTLP_EXEMPLARS_H

#include "api/ingest/otlp_priv.h"

struct ksi_otlp_exemplar {
    uint64_t time_ns; /* 0: not given */
    double value;
    bool has_value;
    struct ks_slice raw; /* raw labels, in l->raw behind what was there */
};

/*
 * Reads an Exemplar message; the caller sets l->raw.len back when it has used raw. As Prometheus
 * does: trace_id and span_id in hex, then the filtered attributes unless all labels together have
 * more than 128 characters.
 */
KS_NODISCARD ks_err ksi_otlp_exemplar(struct ksi_otlp_labels *l, struct ks_slice message,
                                      struct ksi_otlp_exemplar *ret);

#endif
