/* Where Jaeger's query API is reached. */
#include "api/jaeger/jaeger.h"
#include "api/otlp/traces_zipkin.h"
#include "api/tempo/tempo.h"

#define GET ((1u << KS_GET) | (1u << KS_HEAD))

#define ROUTE(area, pattern, flags, handler, help)                                                 \
    {                                                                                              \
        area, pattern, GET, KS_LANE_SELECT, flags, KS_AUTH_BASIC, handler, NULL, help,             \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define VT(pattern, how, handler, help)                                                            \
    ROUTE(KS_AREA_SELECT, pattern, KS_ROUTE_BARE | KS_ROUTE_TRACES | (how), handler, help)
#define OWN(pattern, how, handler)                                                                 \
    ROUTE(KS_AREA_ROOT, pattern, KS_ROUTE_HIDDEN | (how), handler, "")

static struct ks_route routes[] = {
    VT("jaeger/api/services", KS_ROUTE_WHOLE, ks_jaeger_services,
       "traces: services, as VictoriaTraces answers"),
    VT("jaeger/api/services/*", KS_ROUTE_WHOLE, ks_jaeger_service_operations,
       "traces: names of a service's operations (services/<name>/operations)"),
    VT("jaeger/api/operations", KS_ROUTE_WHOLE, ks_jaeger_operations,
       "traces: operations of ?service= with their span kinds"),
    VT("jaeger/api/traces", 0, ks_jaeger_traces,
       "traces: search by service, operation, tags, duration, time"),
    VT("jaeger/api/traces/*", KS_ROUTE_TRIED, ks_jaeger_trace_by_id,
       "traces: one trace; 404 when it is not there"),
    VT("jaeger/api/v3/services", 0, ks_jaeger_v3_services, "traces: services, api/v3"),
    VT("jaeger/api/v3/operations", 0, ks_jaeger_v3_operations, "traces: operations, api/v3"),
    VT("jaeger/api/v3/traces", 0, ks_jaeger_v3_traces, "traces: search, answered as OTLP"),
    VT("jaeger/api/v3/traces/*", 0, ks_jaeger_v3_trace, "traces: one trace as OTLP"),
    VT("jaeger/api/v3/trace-summaries", 0, ks_jaeger_v3_summaries, "traces: summaries of a search"),
    VT("jaeger/api/metrics/latencies", 0, ks_jaeger_latencies,
       "traces: latency quantiles of services, from the spans"),
    VT("jaeger/api/metrics/calls", 0, ks_jaeger_calls,
       "traces: call rates of services, from the spans"),
    VT("jaeger/api/metrics/errors", 0, ks_jaeger_errors,
       "traces: error rates of services, from the spans"),
    VT("jaeger/api/metrics/minstep", 0, ks_jaeger_minstep, "traces: the smallest step of these"),
    VT("jaeger/api/dependencies", 0, ks_jaeger_dependencies, "traces: calls between services"),
    VT("tempo/api/echo", 0, ks_tempo_echo, "traces: Tempo's echo"),
    VT("tempo/api/search", 0, ks_tempo_search,
       "traces: Tempo's search by TraceQL (spanset filters) or tags"),
    VT("tempo/api/traces/*", 0, ks_tempo_trace, "traces: one trace as Tempo has it"),
    VT("tempo/api/v2/traces/*", 0, ks_tempo_trace_v2, "traces: the same in Tempo's v2 envelope"),
    VT("tempo/api/search/tags", 0, ks_tempo_tags, "traces: names of tags"),
    VT("tempo/api/v2/search/tags", 0, ks_tempo_tags_v2, "traces: names of tags by scope"),
    VT("tempo/api/search/tag/*", 0, ks_tempo_values, "traces: values of a tag (tag/<name>/values)"),
    VT("tempo/api/v2/search/tag/*", 0, ks_tempo_values_v2,
       "traces: values of a tag with their types"),
};
const struct ks_route_table ks_routes_jaeger = {routes, sizeof routes / sizeof *routes};

static ks_err no_such_api(struct ks_http_request *req)
{
    return ks_jaeger_fail(req, 404, "no such path");
}

static struct ks_route own[] = {
    OWN("api/services", KS_ROUTE_WHOLE, ks_jaeger_services),
    OWN("api/services/*", KS_ROUTE_WHOLE, ks_jaeger_service_operations),
    OWN("api/operations", KS_ROUTE_WHOLE, ks_jaeger_operations),
    OWN("api/traces", 0, ks_jaeger_traces),
    OWN("api/traces/*", KS_ROUTE_TRIED, ks_jaeger_trace_by_id),
    OWN("api/dependencies", 0, ks_jaeger_dependencies),
    OWN("api/v3/services", 0, ks_jaeger_v3_services),
    OWN("api/v3/operations", 0, ks_jaeger_v3_operations),
    OWN("api/v3/traces", 0, ks_jaeger_v3_traces),
    OWN("api/v3/traces/*", 0, ks_jaeger_v3_trace),
    OWN("api/v3/trace-summaries", 0, ks_jaeger_v3_summaries),
    OWN("api/metrics/latencies", 0, ks_jaeger_latencies),
    OWN("api/metrics/calls", 0, ks_jaeger_calls),
    OWN("api/metrics/errors", 0, ks_jaeger_errors),
    OWN("api/metrics/minstep", 0, ks_jaeger_minstep),
    OWN("api/*", 0, no_such_api),
};
const struct ks_route_table ks_routes_jaeger_listener = {own, sizeof own / sizeof *own};

/* The collector's one path on its thrift port. */
static struct ks_route thrift[] = {
    {KS_AREA_ROOT,
     "api/traces",
     1u << KS_POST,
     KS_LANE_INSERT,
     KS_ROUTE_HIDDEN | KS_ROUTE_NO_FORM,
     KS_AUTH_BASIC,
     ks_jaeger_thrift_handle,
     "jaeger",
     "",
     {0}},
};
const struct ks_route_table ks_routes_thrift_listener = {thrift, sizeof thrift / sizeof *thrift};
