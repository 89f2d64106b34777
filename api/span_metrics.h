/*
 * Rates, errors and durations of spans as metrics: spans are counted as they come in, per tenant by
 * service, span name, kind and status (and some attributes of the resource), and the counters are
 * written to the metric store every interval. Names are those of OpenTelemetry's span metrics
 * connector, which Jaeger's monitor asks for:
 *
 *   traces_span_metrics_calls_total{service_name,span_name,span_kind,status_code,…}
 *   traces_span_metrics_duration_milliseconds_{bucket,sum,count}{…,le}
 *
 * Counters begin at 0 with the process. The first time one is written, a 0 at the time of its first
 * span comes before it: so a restart is a counter reset that rate() sees whatever the new value,
 * and the first interval counts too. A kill loses at most an interval's increase.
 *
 * Bounds: so many combinations over all tenants; further spans of a service count in one that has
 * the label otel_metric_overflow="true" instead of a name. A combination without spans for
 * KS_SPAN_METRICS_IDLE_MS ends with a stale marker.
 *
 * Threads: any may add, under one lock per batch; one of its own writes.
 */
#ifndef KS_API_SPAN_METRICS_H
#define KS_API_SPAN_METRICS_H

#include "base/buf.h"
#include "storage/traces/batch.h"

struct ks_app;
struct ks_span_metrics;

enum {
    KS_SPAN_METRICS_BUCKETS = 17, /* with +Inf */
    KS_SPAN_METRICS_DIMENSIONS_MAX = 8,
    KS_SPAN_METRICS_NAME_MAX = 1024, /* bytes of a label's value; what is longer is cut */
    KS_SPAN_METRICS_IDLE_MS = 30 * 60 * 1000
};

struct ks_span_metrics_opts {
    struct ks_app *app;
    int64_t interval_ms;    /* less than 0: no thread, ks_span_metrics_write is called (tests) */
    size_t max_series;      /* combinations; each is written as 20 series */
    const char *prefix;     /* of names; NULL = traces_span_metrics */
    const char *dimensions; /* attributes of resources, by comma; NULL = none */
};
KS_NODISCARD ks_err ks_span_metrics_new(const struct ks_span_metrics_opts *opts,
                                        struct ks_span_metrics **ret);
/* Writes a last time. The engine must still be open. */
void ks_span_metrics_free(struct ks_span_metrics *m);

/* Counts a batch's spans. m may be NULL. */
void ks_span_metrics_add(struct ks_span_metrics *m, const struct ks_batch *b);
/* One round: all counters, as of now_ms. What could not be written is part of the next round. */
KS_NODISCARD ks_err ks_span_metrics_write(struct ks_span_metrics *m, int64_t now_ms);
/* Lines of /metrics; m may be NULL. */
void ks_span_metrics_stats(struct ks_span_metrics *m, struct ks_buf *out);

#endif
