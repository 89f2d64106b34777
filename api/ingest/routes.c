/* Where the ingestion protocols are reached. */
#include "api/ingest/import.h"
#include "api/ingest/import_csv.h"
#include "api/ingest/import_native.h"
#include "api/ingest/influx.h"
#include "api/ingest/otlp_metrics.h"
#include "api/ingest/remote_write.h"
#include "api/otlp/otlp.h"
#include "api/otlp/traces_zipkin.h"
#include "api/router.h"

#define POST  ((1u << KS_POST) | (1u << KS_PUT))
#define PROBE (POST | (1u << KS_GET))

#define INSERT(pattern, methods, flags, handler, protocol, help)                                   \
    {                                                                                              \
        KS_AREA_INSERT, pattern, methods, KS_LANE_INSERT, (flags) | KS_ROUTE_NO_FORM,              \
            KS_AUTH_BASIC, handler, protocol, help,                                                \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static struct ks_route routes[] = {
    INSERT("api/v1/write", PROBE, 0, ks_remote_write_handle, "promremotewrite",
           "Prometheus remote write 1.0 and 2.0 (snappy, zstd)"),
    INSERT("api/v1/push", PROBE, KS_ROUTE_HIDDEN, ks_remote_write_handle, "promremotewrite",
           "the same"),
    INSERT("", PROBE, KS_ROUTE_HIDDEN | KS_ROUTE_CLUSTER_ONLY, ks_remote_write_handle,
           "promremotewrite", "the same"),
    INSERT("api/v1/import", POST, 0, ks_import_json_handle, "vmimport",
           "JSON lines as /api/v1/export writes them"),
    INSERT("api/v1/import/prometheus", POST, 0, ks_import_text_handle, "prometheusimport",
           "Prometheus text and OpenMetrics"),
    INSERT("api/v1/import/prometheus/*", POST, 0, ks_import_text_handle, "prometheusimport",
           "the same in Pushgateway's form: metrics/job/<job>/<label>/<value>"),
    INSERT("api/v1/import/csv", POST, 0, ks_import_csv_handle, "csvimport",
           "CSV; format=1:time:rfc3339,2:label:host,3:metric:load"),
    INSERT("api/v1/import/native", POST, 0, ks_import_native_handle, "nativeimport",
           "VictoriaMetrics' own blocks as /api/v1/export/native writes them"),
    INSERT("influx/write", POST, 0, ks_influx_write_handle, "influx", "InfluxDB line protocol"),
    INSERT("influx/api/v2/write", POST, 0, ks_influx_write_handle, "influx",
           "the same, InfluxDB 2"),
    INSERT("write", POST, KS_ROUTE_HIDDEN, ks_influx_write_handle, "influx", "the same"),
    INSERT("api/v2/write", POST, KS_ROUTE_HIDDEN, ks_influx_write_handle, "influx", "the same"),
    INSERT("influx/query", PROBE, 0, ks_influx_query_handle, "influx",
           "canned SHOW DATABASES, for clients that ask"),
    INSERT("query", PROBE, KS_ROUTE_HIDDEN, ks_influx_query_handle, "influx", "the same"),
    INSERT("opentelemetry/v1/metrics", POST, 0, ks_otlp_metrics_handle, "opentelemetry",
           "OTLP metrics, protobuf or JSON"),
    INSERT("opentelemetry/api/v1/push", POST, KS_ROUTE_HIDDEN, ks_otlp_metrics_handle,
           "opentelemetry", "the same"),
    INSERT("v1/metrics", POST, KS_ROUTE_HIDDEN, ks_otlp_metrics_handle, "opentelemetry",
           "the same"),
    INSERT("opentelemetry/v1/traces", POST, KS_ROUTE_BARE | KS_ROUTE_TRACES, ks_otlp_traces_handle,
           "opentelemetry", "OTLP traces, protobuf or JSON; extra_fields, ignore_fields"),
    INSERT("v1/traces", POST, KS_ROUTE_HIDDEN | KS_ROUTE_TRACES, ks_otlp_traces_handle,
           "opentelemetry", "the same"),
    INSERT("zipkin/api/v2/spans", POST, KS_ROUTE_BARE | KS_ROUTE_TRACES, ks_zipkin_handle, "zipkin",
           "Zipkin v2 JSON spans"),
    INSERT("api/v2/spans", POST, KS_ROUTE_HIDDEN | KS_ROUTE_TRACES, ks_zipkin_handle, "zipkin",
           "the same"),
    INSERT("jaeger/api/traces", POST, KS_ROUTE_CLUSTER_ONLY | KS_ROUTE_BARE | KS_ROUTE_TRACES,
           ks_jaeger_thrift_handle, "jaeger", "Jaeger spans, thrift over HTTP"),
    INSERT("influx/health", PROBE, 0, ks_influx_health_handle, "influx", "canned health answer"),
};

const struct ks_route_table ks_routes_ingest = {routes, sizeof routes / sizeof *routes};
