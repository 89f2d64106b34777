/* Inside of Tempo's API: tempo.c (traces), tags.c (names and values). */
#ifndef KS_API_TEMPO_TEMPO_PRIV_H
#define KS_API_TEMPO_TEMPO_PRIV_H

#include "api/tempo/tempo.h"
#include "api/tempo/traceql.h"

/* A request at work. */
struct ksi_tempo {
    struct ks_http_request *req;
    struct ks_trace_store *store;
    struct ks_tenant tenant;
    struct ks_trace_params p; /* access filters, then what the query lets the ring find */
    struct ks_traceql q;
    bool exact;            /* the ring finds all that the query asks */
    struct ks_arena arena; /* of one trace */
};
/* Runs body with a request's filters and tenant read. */
ks_err ksi_tempo_run(struct ks_http_request *req, ks_err (*body)(struct ksi_tempo *));

/* q, tags, start, end, minDuration, maxDuration. */
KS_NODISCARD ks_err ksi_tempo_query(struct ksi_tempo *t);

/* A trace that fits: the spans a client may see, and those that the query selects. */
struct ksi_tempo_hit {
    struct ks_trace_id id;
    struct ks_span *spans;
    size_t count;
    struct ks_trace_summary *summary;
    bool *matched;
};
typedef ks_err (*ksi_tempo_fn)(struct ksi_tempo *t, void *arg, const struct ksi_tempo_hit *hit);
/* Calls fn for up to `limit` traces that fit, first seen last ones first. */
KS_NODISCARD ks_err ksi_tempo_each(struct ksi_tempo *t, size_t limit, ksi_tempo_fn fn, void *arg);

#endif
