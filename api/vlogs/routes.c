/* Where VictoriaLogs' query API is reached. */
#include "api/router.h"
#include "api/vlogs/wire.h"

#define LOGSQL(pattern, lane, handler, help)                                                       \
    {                                                                                              \
        KS_AREA_SELECT, pattern, KS_METHODS_READ, lane, KS_ROUTE_LOGS, KS_AUTH_BASIC, handler,     \
            NULL, help,                                                                            \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define SELECT(name, handler, help) LOGSQL("logsql/" name, KS_LANE_SELECT, handler, help)

#define WIRE(name, handler, help)                                                                  \
    {                                                                                              \
        KS_AREA_ROOT, "internal/select/" name, KS_METHODS_READ, KS_LANE_SELECT, KS_ROUTE_LOGS,     \
            KS_AUTH_BASIC, handler, NULL, help,                                                    \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

#define DELETE(name, methods, handler, help)                                                       \
    {                                                                                              \
        KS_AREA_DELETE, name, methods, KS_LANE_OPS, KS_ROUTE_LOGS, KS_AUTH_DELETE, handler, NULL,  \
            help,                                                                                  \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static ks_err buildinfo(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"success\",\"data\":{\"version\":\"1.50.0\"}}");
    return KS_OK;
}

static struct ks_route routes[] = {
    SELECT("query", ks_vl_query, "LogsQL: rows as JSON lines, or CSV"),
    LOGSQL("logsql/tail", KS_LANE_EXPORT, ks_vl_tail, "rows as they arrive"),
    SELECT("hits", ks_vl_hits, "rows per bucket of time"),
    SELECT("facets", ks_vl_facets, "the most frequent values of every field"),
    SELECT("stats_query", ks_vl_stats_query, "a stats pipe as Prometheus' vector"),
    SELECT("stats_query_range", ks_vl_stats_query_range, "a stats pipe as Prometheus' matrix"),
    SELECT("streams", ks_vl_streams, "streams of the rows that match"),
    SELECT("stream_ids", ks_vl_stream_ids, "their ids"),
    SELECT("stream_field_names", ks_vl_stream_field_names, "names of stream labels"),
    SELECT("stream_field_values", ks_vl_stream_field_values, "values of a stream label"),
    SELECT("field_names", ks_vl_field_names, "names of fields"),
    SELECT("field_values", ks_vl_field_values, "values of a field"),
    SELECT("query_time_range", ks_vl_query_time_range, "the range of time a query reads"),
    LOGSQL("tenant_ids", KS_LANE_SELECT, ks_vl_tenant_ids, "tenants with logs"),
    LOGSQL("buildinfo", KS_LANE_DIRECT, buildinfo, "version, for data sources of logs"),
    WIRE("query", ks_vl_wire_query, "rows for a vlselect of VictoriaLogs 1.26 or 1.38 to 1.50"),
    WIRE("field_names", ks_vl_field_names, "the same for names of fields"),
    WIRE("field_values", ks_vl_field_values, "values of a field"),
    WIRE("stream_field_names", ks_vl_stream_field_names, "names of stream labels"),
    WIRE("stream_field_values", ks_vl_stream_field_values, "values of a stream label"),
    WIRE("streams", ks_vl_streams, "streams"),
    WIRE("stream_ids", ks_vl_stream_ids, "their ids"),
    WIRE("tenant_ids", ks_vl_wire_tenant_ids, "tenants"),
    DELETE("run_task", KS_METHODS_READ, ks_vl_delete_run, "starts to delete what a filter matches"),
    DELETE("stop_task", KS_METHODS_READ, ks_vl_delete_stop, "stops it"),
    DELETE("active_tasks", KS_METHODS_READ, ks_vl_delete_active, "deletions that run"),
};

const struct ks_route_table ks_routes_vlogs = {routes, sizeof routes / sizeof *routes};
