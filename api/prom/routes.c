/* Where the Prometheus-style query API is reached. */
#include "api/prom/prom.h"
#include "api/prom/remote_read.h"
#include "api/query_log.h"
#include "base/time.h"

static ks_err json(struct ks_http_request *req, const char *text)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, text);
    return KS_OK;
}

static ks_err buildinfo(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{\"version\":\"2.24.0\"}}");
}

static ks_err no_groups(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{\"groups\":[]}}");
}

static ks_err no_alerts(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{\"alerts\":[]}}");
}

static ks_err no_notifiers(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{\"notifiers\":[]}}");
}

/* OpenCost looks here for the scrape configuration of a Prometheus. */
static ks_err status_config(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{\"yaml\":\"\"}}");
}

static ks_err status_flags(struct ks_http_request *req)
{
    return json(req, "{\"status\":\"success\",\"data\":{}}");
}

static ks_err vmui_config(struct ks_http_request *req)
{
    return json(req, "{\"license\":{\"type\":\"opensource\"},\"vmalert\":{\"enabled\":false}}");
}

static ks_err vmui_dashboards(struct ks_http_request *req)
{
    return json(req, "{\"dashboardsSettings\":[]}");
}

static ks_err vmui_timezone(struct ks_http_request *req)
{
    return json(req, "{\"timezone\":\"UTC\"}");
}

static ks_err vmui_page(struct ks_http_request *req)
{
    req->resp.content_type = "text/html; charset=utf-8";
    ks_buf_str(&req->resp.body, "<!doctype html><title>kofstore</title><p>There is no web "
                                "interface here; use Grafana with a "
                                "Prometheus data source at this address.\n");
    return KS_OK;
}

/* A tenant's path shows its own queries, the bare one all. */
static const struct ks_tenant *whose(const struct ks_http_request *req)
{
    return req->cluster_form && !req->multitenant ? &req->tenant : NULL;
}

static ks_err active_queries(struct ks_http_request *req)
{
    json(req, "{\"status\":\"ok\",\"data\":");
    ks_query_log_active_json(ks_app_of(req)->queries, whose(req), &req->resp.body);
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

static ks_err top_queries(struct ks_http_request *req)
{
    int64_t top, lifetime;
    KS_TRY(ks_http_arg_i64(req, "topN", 20, &top));
    KS_TRY(ks_http_arg_duration_ms(req, "maxLifetime", 10 * KS_MS_MINUTE, &lifetime));
    req->resp.content_type = "application/json";
    ks_query_log_top_json(ks_app_of(req)->queries, whose(req), top > 0 ? (size_t)top : 20, lifetime,
                          &req->resp.body);
    return KS_OK;
}

#define ROUTE(area, pattern, methods, flags, auth, handler, help)                                  \
    {                                                                                              \
        KS_AREA_##area, pattern, methods, KS_LANE_SELECT, (flags) | KS_ROUTE_PROM_ERRORS,          \
            KS_AUTH_##auth, handler, NULL, help,                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
/* Streams at their clients' pace. */
#define STREAM(pattern, methods, flags, handler, help)                                             \
    {                                                                                              \
        KS_AREA_SELECT, pattern, methods, KS_LANE_EXPORT, (flags) | KS_ROUTE_PROM_ERRORS,          \
            KS_AUTH_BASIC, handler, NULL, help,                                                    \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define EXPORT(pattern, handler, help) STREAM(pattern, KS_METHODS_READ, 0, handler, help)
#define SELECT(pattern, handler, help)                                                             \
    ROUTE(SELECT, pattern, KS_METHODS_READ, 0, BASIC, handler, help)
#define WHOLE(pattern, handler, help)                                                              \
    ROUTE(SELECT, pattern, KS_METHODS_READ, KS_ROUTE_WHOLE, BASIC, handler, help)
#define HIDDEN(pattern, handler)                                                                   \
    ROUTE(SELECT, pattern, KS_METHODS_READ, KS_ROUTE_HIDDEN, BASIC, handler, "")
#define DELETES ((1u << KS_POST) | (1u << KS_PUT))

static struct ks_route routes[] = {
    WHOLE("api/v1/query", ks_prom_query,
          "MetricsQL at one time; a bare range selector gives raw samples"),
    WHOLE("api/v1/query_range", ks_prom_query_range, "MetricsQL over a range of times"),
    WHOLE("api/v1/series", ks_prom_series, "label sets of the series that match"),
    SELECT("api/v1/series/count", ks_prom_series_count, "number of series"),
    WHOLE("api/v1/labels", ks_prom_labels, "label names"),
    WHOLE("api/v1/label/{name}/values", ks_prom_label_values, "values of a label"),
    EXPORT("api/v1/export", ks_prom_export, "raw samples; format=jsonl, prometheus or promapi"),
    EXPORT("api/v1/export/native", ks_prom_export_native,
           "raw samples in VictoriaMetrics' own blocks"),
    EXPORT("api/v1/export/csv", ks_prom_export_csv,
           "raw samples as CSV; format=__name__,label,__value__,__timestamp__:rfc3339"),
    STREAM("api/v1/read", (1u << KS_POST), KS_ROUTE_NO_FORM, ks_prom_remote_read,
           "Prometheus remote read: samples, or a stream of XOR chunks"),
    SELECT("federate", ks_prom_federate, "last samples in Prometheus text"),
    SELECT("api/v1/metadata", ks_prom_metadata, "types, help texts and units"),
    SELECT("api/v1/query_exemplars", ks_prom_exemplars,
           "exemplars of the series that match the selector"),
    SELECT("api/v1/format_query", ks_prom_format_query, "the query, laid out"),
    SELECT("api/v1/parse_query", ks_prom_parse_query, "the query's syntax tree"),
    SELECT("expand-with-exprs", ks_prom_expand_with_exprs,
           "the query with its templates expanded; format=json or a page"),
    SELECT("prettify-query", ks_prom_prettify_query, "the query, laid out as VictoriaMetrics does"),
    SELECT("api/v1/status/tsdb", ks_prom_status_tsdb, "cardinality statistics of a day"),
    SELECT("api/v1/status/metric_names_stats", ks_prom_metric_names_stats,
           "metric names by how often queries ask for them; le=0: unused ones"),
    SELECT("api/v1/status/active_queries", active_queries, "queries running now"),
    SELECT("api/v1/status/top_queries", top_queries, "most frequent, slowest and largest queries"),
    SELECT("api/v1/status/buildinfo", buildinfo, "version, for Grafana's feature detection"),
    SELECT("api/v1/status/config", status_config, "empty; asked for by OpenCost"),
    SELECT("api/v1/status/flags", status_flags, "empty; asked for by OpenCost"),
    SELECT("api/v1/rules", no_groups, "empty: rules run outside"),
    SELECT("api/v1/alerts", no_alerts, "empty: alerts run outside"),
    SELECT("api/v1/notifiers", no_notifiers, "empty: notifiers run outside"),
    HIDDEN("vmui", vmui_page),
    HIDDEN("vmui/", vmui_page),
    HIDDEN("graph", vmui_page),
    HIDDEN("vmui/config.json", vmui_config),
    HIDDEN("vmui/custom-dashboards", vmui_dashboards),
    HIDDEN("vmui/timezone", vmui_timezone),
    HIDDEN("vmalert/api/v1/rules", no_groups),
    HIDDEN("vmalert/api/v1/alerts", no_alerts),
    HIDDEN("vmalert/api/v1/notifiers", no_notifiers),
    ROUTE(DELETE, "api/v1/admin/tsdb/delete_series", DELETES, 0, DELETE, ks_prom_delete_series,
          "hides the series that match; POST only"),
    ROUTE(ROOT, "api/v1/admin/status/metric_names_stats/reset", KS_METHODS_READ, 0, BASIC,
          ks_prom_metric_names_stats_reset, "forgets how often metric names were asked for"),
    ROUTE(ROOT, "admin/api/v1/admin/status/metric_names_stats/reset", KS_METHODS_READ,
          KS_ROUTE_HIDDEN, BASIC, ks_prom_metric_names_stats_reset, ""),
    ROUTE(ROOT, "admin/tenants", KS_METHODS_READ, 0, BASIC, ks_prom_tenants, "tenants with data"),
};

const struct ks_route_table ks_routes_prom = {routes, sizeof routes / sizeof *routes};
