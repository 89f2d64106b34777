/* Where the log ingestion protocols are reached. */
#include "api/logs/logs.h"
#include "api/router.h"

#define POST (1u << KS_POST)

#define INSERT(pattern, methods, flags, handler, help)                                             \
    {                                                                                              \
        KS_AREA_INSERT, pattern, methods, KS_LANE_INSERT,                                          \
            (flags) | KS_ROUTE_NO_FORM | KS_ROUTE_LOGS, KS_AUTH_BASIC, handler, NULL, help,        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static ks_err ready(struct ks_http_request *req)
{
    ks_http_text(req, 200, "{\"status\":\"ok\"}");
    req->resp.content_type = "application/json";
    return KS_OK;
}

static ks_err loki_ready(struct ks_http_request *req)
{
    ks_http_text(req, 200, "ready");
    return KS_OK;
}

static ks_err empty_object(struct ks_http_request *req)
{
    ks_buf_str(&req->resp.body, "{}");
    req->resp.content_type = "application/json";
    return KS_OK;
}

static ks_err nothing(struct ks_http_request *req)
{
    return KS_OK;
}

#define HIDDEN KS_ROUTE_HIDDEN
#define ES(pattern)                                                                                \
    INSERT("elasticsearch/" pattern, KS_METHODS_ANY, HIDDEN, ks_es_empty_handle, "canned")

static struct ks_route routes[] = {
    INSERT("jsonline", POST, KS_ROUTE_LARGE, ks_jsonline_handle, "logs, a JSON object per line"),
    INSERT("ready", KS_METHODS_ANY, 0, ready, "whether logs can be sent"),
    INSERT("elasticsearch/_bulk", POST | (1u << KS_PUT), KS_ROUTE_LARGE, ks_es_bulk_handle,
           "Elasticsearch's bulk, create and index"),
    INSERT("elasticsearch/{index}/_bulk", POST | (1u << KS_PUT), HIDDEN | KS_ROUTE_LARGE,
           ks_es_bulk_handle, "the same"),
    INSERT("elasticsearch", KS_METHODS_ANY, 0, ks_es_info_handle, "the version, for its clients"),
    INSERT("elasticsearch/", KS_METHODS_ANY, HIDDEN, ks_es_info_handle, "the same"),
    INSERT("elasticsearch/_license", KS_METHODS_ANY, HIDDEN, ks_es_license_handle, "canned"),
    ES("_ilm/policy*"),
    ES("_index_template*"),
    ES("_ingest*"),
    ES("_nodes*"),
    ES("logstash*"),
    ES("_logstash*"),
    ES("_rollup*"),
    INSERT("loki/api/v1/push", POST, 0, ks_loki_push_handle, "Loki's push, JSON or protobuf"),
    INSERT("loki/ready", KS_METHODS_ANY, HIDDEN, loki_ready, "canned"),
    INSERT("opentelemetry/v1/logs", POST, 0, ks_otlp_logs_handle, "OTLP logs, protobuf or JSON"),
    INSERT("v1/logs", POST, HIDDEN, ks_otlp_logs_handle, "the same"),
    INSERT("datadog/api/v2/logs", POST, 0, ks_datadog_handle, "Datadog's logs"),
    INSERT("api/v2/logs", POST, HIDDEN, ks_datadog_handle, "the same"),
    INSERT("datadog/api/v1/validate", KS_METHODS_ANY, HIDDEN, empty_object, "canned"),
    INSERT("api/v1/validate", KS_METHODS_ANY, HIDDEN, empty_object, "canned"),
    INSERT("splunk/services/collector/event", POST, 0, ks_splunk_handle,
           "Splunk's HTTP event collector"),
    INSERT("splunk/services/collector/event/1.0", POST, HIDDEN, ks_splunk_handle, "the same"),
    INSERT("splunk/services/collector", POST, HIDDEN, ks_splunk_handle, "the same"),
    INSERT("splunk/services/collector/health", KS_METHODS_ANY, HIDDEN, nothing, "canned"),
    INSERT("services/collector/event", POST, HIDDEN, ks_splunk_handle, "the same"),
    INSERT("services/collector/event/1.0", POST, HIDDEN, ks_splunk_handle, "the same"),
    INSERT("services/collector", POST, HIDDEN, ks_splunk_handle, "the same"),
    INSERT("services/collector/health", KS_METHODS_ANY, HIDDEN, nothing, "canned"),
    INSERT("journald/upload", POST | (1u << KS_PUT), KS_ROUTE_LARGE, ks_journald_handle,
           "systemd-journal-upload"),
    INSERT("native", POST, 0, ks_log_native_handle, "vlagent's rows"),
    {KS_AREA_ROOT,
     "internal/insert",
     POST,
     KS_LANE_INSERT,
     KS_ROUTE_NO_FORM | KS_ROUTE_LOGS,
     KS_AUTH_BASIC,
     ks_log_internal_handle,
     NULL,
     "vlinsert's rows",
     {0}},
};

const struct ks_route_table ks_routes_logs = {routes, sizeof routes / sizeof *routes};
