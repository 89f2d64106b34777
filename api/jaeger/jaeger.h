/*
 * Jaeger's query API over HTTP, in the profile of the listener asked: VictoriaTraces' under
 * /select/jaeger/, Jaeger's own on -jaeger.httpListenAddr.
 */
#ifndef KS_API_JAEGER_JAEGER_H
#define KS_API_JAEGER_JAEGER_H

#include "api/app.h"
#include "engine/traces/trace_store.h"
#include "query/traces/jaeger.h"
#include "storage/traces/ring.h"

enum { KS_TRACE_CONDS_MAX = 32, KS_TRACE_LIMIT_MAX = 1000 };

/* A search as asked: the query and what its slices borrow. */
struct ks_trace_params {
    struct ks_trace_query q;
    struct ks_trace_cond conds[KS_TRACE_CONDS_MAX];
    size_t filter_count; /* of conds: those of extra_filters, first in the list */
};

enum ks_jaeger_profile ks_jaeger_profile_of(const struct ks_http_request *req);
/* Account and project by header where the path has none. KS_EINVAL: malformed. */
KS_NODISCARD ks_err ks_trace_tenant(struct ks_http_request *req, struct ks_tenant *ret);

/* No conditions, no bounds. p must stay where it is: its query points to its conditions. */
void ks_trace_params_init(struct ks_trace_params *p);
/* Only extra_filters, for reads that are no search. */
KS_NODISCARD ks_err ks_trace_filters(struct ks_http_request *req, struct ks_trace_params *ret);
KS_NODISCARD ks_err ks_trace_search_params(struct ks_http_request *req,
                                           enum ks_jaeger_profile profile,
                                           struct ks_trace_params *ret);
/*
 * One filter text onto p->conds. The part of LogsQL whose meaning for a span is certain:
 * field:="value" and field:in("a") of one value, {name="value",…} on streams, joined by AND, terms
 * negated by ! or NOT; or a JSON object of names and values. Anything else is KS_EINVAL: an access
 * filter is never guessed.
 */
KS_NODISCARD ks_err ks_trace_filter_parse(struct ks_slice text, struct ks_arena *arena,
                                          struct ks_trace_params *p);
/* The condition on a field under VictoriaTraces' name; false: no span has such a field. */
bool ks_trace_field_cond(struct ks_slice field, struct ks_trace_cond *ret);
/* 1.5s, 100ms, 1h2m: Go's durations. */
bool ks_go_duration_ns(struct ks_slice s, int64_t *ret);

/* Keeps the spans that fit the filters. */
size_t ks_trace_filter_spans(const struct ks_trace_params *p, struct ks_span *spans, size_t count);

ks_err ks_jaeger_services(struct ks_http_request *req);
ks_err ks_jaeger_service_operations(struct ks_http_request *req); /* services/{s}/operations */
ks_err ks_jaeger_operations(struct ks_http_request *req);
ks_err ks_jaeger_traces(struct ks_http_request *req);
ks_err ks_jaeger_trace_by_id(struct ks_http_request *req);
ks_err ks_jaeger_dependencies(struct ks_http_request *req);

/* {"data":null,…,"errors":[{"code":…,"msg":…}]} as Jaeger answers errors. */
ks_err ks_jaeger_fail(struct ks_http_request *req, int status, const char *text);

/* Services, or operations of a service, under the request's filters; sorted. */
KS_NODISCARD ks_err ks_jaeger_names(struct ks_http_request *req, bool services,
                                    struct ks_slice service, struct ks_operation **ret,
                                    size_t *ret_count);
/* The same for params whose conditions are all filters, without a request. */
KS_NODISCARD ks_err ks_trace_names(struct ks_trace_store *store, struct ks_tenant tenant,
                                   struct ks_trace_params *p, bool services,
                                   struct ks_slice service, struct ks_arena *arena,
                                   struct ks_operation **ret, size_t *ret_count);
/* {"name":…,"spanKind":…},… of those of the kind ("": all); kindless is shown for none. How many.
 */
size_t ks_jaeger_put_operations(const struct ks_operation *ops, size_t count, struct ks_slice kind,
                                const char *kindless, struct ks_buf *out);
/* One tag of a search, by the names and prefixes of the profile. */
KS_NODISCARD ks_err ks_trace_add_tag(struct ks_arena *arena, enum ks_jaeger_profile profile,
                                     struct ks_slice key, struct ks_slice value,
                                     struct ks_trace_params *p);
/* {"key":"value",…} as conditions. */
KS_NODISCARD ks_err ks_trace_tags_json(struct ks_http_request *req, enum ks_jaeger_profile profile,
                                       struct ks_slice text, struct ks_trace_params *p);

/* v3.c, red.c */
ks_err ks_jaeger_v3_services(struct ks_http_request *req);
ks_err ks_jaeger_v3_operations(struct ks_http_request *req);
ks_err ks_jaeger_v3_traces(struct ks_http_request *req);
ks_err ks_jaeger_v3_trace(struct ks_http_request *req);
ks_err ks_jaeger_v3_summaries(struct ks_http_request *req);
ks_err ks_jaeger_latencies(struct ks_http_request *req);
ks_err ks_jaeger_calls(struct ks_http_request *req);
ks_err ks_jaeger_errors(struct ks_http_request *req);
ks_err ks_jaeger_minstep(struct ks_http_request *req);

/* Appends the trace store's metrics. */
void ks_traces_metrics(struct ks_app *app, struct ks_buf *out);

#endif
