/*
 * What all handlers share: the engine, the configuration, and the small stores beside it. One per
 * process; made by cmd, read-only afterwards except for the objects inside, which lock themselves.
 */
#ifndef KS_API_APP_H
#define KS_API_APP_H

#include "api/http.h"
#include "api/logs/log_config.h"
#include "api/router.h"
#include "engine/engine.h"

struct ks_metadata_store;
struct ks_exemplar_ring;
struct ks_trace_pins;
struct ks_span_metrics;
struct ks_query_log;
struct ks_vl_deletes;
struct ks_trace_store;
struct ks_grpc_server;
struct ks_result_cache;
struct ks_name_stats;
struct ks_logs;

/* What becomes of a native histogram that is written. */
enum ks_native_histograms {
    KS_NATIVE_VMRANGE, /* VictoriaMetrics' series: name_count, name_sum, name_bucket{vmrange} */
    KS_NATIVE_STORED,  /* a sample of its own, for strict PromQL */
    KS_NATIVE_BOTH
};

/* The flags as handlers need them. Strings live as long as the process. */
struct ks_config {
    const char *storage_path;
    const char *http_auth_username, *http_auth_password; /* "" = open */
    const char *auth_keys[KS_AUTH_KEY_COUNT];            /* NULL or "" = none */
    /* insert */
    size_t max_insert_request_bytes, import_max_line_bytes, import_max_request_bytes;
    size_t max_labels_per_series, max_label_name_bytes, max_label_value_bytes;
    const char *influx_db_label, *influx_separator; /* NULL = "" */
    bool influx_skip_single_field, influx_skip_measurement;
    size_t influx_max_request_bytes, otlp_max_request_bytes;
    bool prometheus_names; /* characters Prometheus does not know become _ in names, whatever the
                              protocol */
    bool otlp_prometheus_names; /* OTLP names as Prometheus' rules make them: units and _total
                                   appended */
    enum ks_native_histograms native_histograms, otlp_native_histograms;
    /* select */
    int64_t max_query_duration_ms, max_export_duration_ms, max_labels_duration_ms,
        max_status_duration_ms;
    int64_t latency_offset_ms, max_lookback_ms, log_slow_query_ms;
    size_t max_query_len, max_memory_per_query_bytes;
    uint64_t max_points_per_series, max_subquery_points, max_series, max_export_series,
        max_labels_series;
    uint64_t max_samples_per_query, max_unique_series;
    bool disable_cache;
    size_t result_cache_bytes; /* 0 = 16 MiB */
    int64_t result_cache_recent_ms;
    struct {
        bool experimental_functions, duration_expressions, delayed_name_removal,
            type_and_unit_labels;
    } promql;            /* strict PromQL's -enable-feature */
    bool strict_dialect; /* -search.dialect=promql: every query path answers as Prometheus */
    /* traces */
    bool jaeger_v1; /* the Jaeger listener answers as 1.52 */
    bool trace_self_edges;
    size_t max_traces_per_search;
    int64_t min_free_disk_bytes;
    size_t max_metadata_bytes, query_log_count;
    struct ks_log_config logs;
};

struct ks_app {
    struct ks_config cfg;
    struct ks_engine *engine;
    struct ks_logs *logs; /* NULL: none are kept */
    struct ks_trace_store *traces;
    struct ks_http_server *server;
    struct ks_grpc_server *otlp_grpc, *jaeger_grpc; /* NULL: not asked for */
    struct ks_http_server
        *more_servers[KS_LISTEN_COUNT]; /* of listeners with routes of their own */
    struct ks_metadata_store *metadata;
    struct ks_exemplar_ring *exemplars;
    struct ks_trace_pins *pins;           /* NULL: nothing pins traces */
    struct ks_span_metrics *span_metrics; /* NULL: not asked for */
    struct ks_query_log *queries;
    struct ks_vl_deletes *log_deletes; /* running deletions of logs */
    struct ks_result_cache *results;
    struct ks_name_stats *names;
    int64_t started_ms;
    _Atomic int shutting_down; /* /health says 503 */
    /* Appends the flags as /flags shows them, and as flag{} metrics. */
    void (*print_flags)(struct ks_buf *out);
    void (*print_flag_metrics)(struct ks_buf *out);
};

static inline struct ks_app *ks_app_of(const struct ks_http_request *req)
{
    return (struct ks_app *)req->app;
}

/* The small stores. The engine and the server are set by the caller. */
KS_NODISCARD ks_err ks_app_init(struct ks_app *app);
void ks_app_done(struct ks_app *app);

#endif
