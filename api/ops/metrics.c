/* /metrics: registered counters, the engine's state and the server's, under VictoriaMetrics' names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/jaeger/jaeger.h"
#include "api/logs/log_metrics.h"
#include "api/metadata.h"
#include "api/ops/ops.h"
#include "api/query_log.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stats.h"
#include "query/promql/result_cache.h"
#include "sys/clock.h"
#include "sys/pool.h"

static void app_metrics(struct ks_app *app, struct ks_buf *out)
{
    double now = (double)ks_now_ms() / 1000, start = (double)app->started_ms / 1000;
    /* Dashboards find the cluster's roles by these prefixes; one program plays all of them. */
    static const char *const roles[] = {"vminsert", "vmselect", "vmstorage"};
    for (size_t i = 0; i < 3; i++)
        ks_buf_printf(out, "vm_app_version{version=\"%s-kofstore-%s\", short_version=\"v%s\"} 1\n",
                      roles[i], KS_VERSION, KS_VERSION);
    ks_stats_line_f64(out, "process_start_time_seconds", start);
    ks_stats_line_f64(out, "vm_app_start_timestamp", (double)(app->started_ms / 1000));
    ks_stats_line_f64(out, "vm_app_uptime_seconds", now - start);
    ks_stats_line_f64(out, "vm_available_cpu_cores", ks_cpu_count());
    ks_stats_line_u64(out, "vm_available_memory_bytes", ks_memory_limit_bytes());
    static const struct {
        enum ks_log_level level;
        const char *name;
    } levels[] = {{KS_LOG_INFO, "info"}, {KS_LOG_WARN, "warn"}, {KS_LOG_ERROR, "error"}};
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "vm_log_messages_total{level=\"%s\"}", levels[i].name);
        ks_stats_line_u64(out, name, ks_log_count(levels[i].level));
    }
    size_t bytes, max;
    ks_metadata_size(app->metadata, &bytes, &max);
    ks_stats_line_u64(out, "vm_metrics_metadata_storage_size_bytes", bytes);
    ks_stats_line_u64(out, "vm_metrics_metadata_storage_max_size_bytes", max);
    ks_stats_line_u64(out, "vm_slow_queries_total", ks_query_log_slow_count(app->queries));
    if (app->print_flag_metrics)
        app->print_flag_metrics(out);
}

static void lane_metrics(struct ks_app *app, struct ks_buf *out)
{
    static const struct {
        enum ks_http_lane lane;
        const char *name;
    } lanes[] = {{KS_LANE_INSERT, "vm_concurrent_insert"},
                 {KS_LANE_SELECT, "vm_concurrent_select"}};
    struct ks_http_lane_stats st;
    for (size_t i = 0; i < 2; i++) {
        char name[80];
        ks_http_lane_get_stats(app->server, lanes[i].lane, &st);
        struct {
            const char *suffix;
            uint64_t v;
        } rows[] = {{"current", st.current},
                    {"capacity", st.capacity},
                    {"limit_reached_total", st.limit_reached_total},
                    {"limit_timeout_total", st.limit_timeout_total}};
        for (size_t k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "%s_%s", lanes[i].name, rows[k].suffix);
            ks_stats_line_u64(out, name, rows[k].v);
        }
    }
    /* Reads of all signals share one lane. */
    static const char *const others[] = {"vl_concurrent_select", "vt_concurrent_select"};
    for (size_t i = 0; i < 2; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s_current", others[i]);
        ks_stats_line_u64(out, name, st.current);
        snprintf(name, sizeof name, "%s_capacity", others[i]);
        ks_stats_line_u64(out, name, st.capacity);
        snprintf(name, sizeof name, "%s_limit_reached_total", others[i]);
        ks_stats_line_u64(out, name, st.limit_reached_total);
        snprintf(name, sizeof name, "%s_limit_timeout_total", others[i]);
        ks_stats_line_u64(out, name, st.limit_timeout_total);
    }
    ks_stats_line_u64(out, "vm_vmselect_concurrent_requests_current", st.current);
    ks_stats_line_u64(out, "vm_vmselect_concurrent_requests_capacity", st.capacity);
    struct ks_http_conn_stats c;
    ks_http_get_conn_stats(app->server, &c);
    static const char label[] = "{name=\"http\", addr=\"http\"}";
    struct {
        const char *name;
        uint64_t v;
    } tcp[] = {{"conns", c.conns},
               {"accepts_total", c.accepts_total},
               {"read_bytes_total", c.read_bytes_total},
               {"written_bytes_total", c.written_bytes_total},
               {"errors_total", 0}};
    for (size_t i = 0; i < 5; i++) {
        char name[96];
        snprintf(name, sizeof name, "vm_tcplistener_%s%s", tcp[i].name, label);
        ks_stats_line_u64(out, name, tcp[i].v);
    }
    ks_stats_line_u64(out, "vm_http_conn_timeout_closed_conns_total", 0);
    ks_stats_line_u64(out, "kofstore_requests_canceled_total", c.canceled_total);
    ks_stats_line_u64(out, "kofstore_request_body_bytes_inflight", c.body_bytes_inflight);
}

static void disk_metrics(struct ks_app *app, const struct ks_engine_stats *st, struct ks_buf *out)
{
    char name[512];
    struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"vm_free_disk_space_bytes", st->free_disk_bytes},
                {"vm_total_disk_space_bytes", st->total_disk_bytes},
                {"vm_free_disk_space_limit_bytes", (uint64_t)app->cfg.min_free_disk_bytes},
                {"vm_storage_is_read_only", st->read_only}};
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s{path=\"%s\"}", rows[i].name, app->cfg.storage_path);
        ks_stats_line_u64(out, name, rows[i].v);
    }
}

static void engine_metrics(struct ks_app *app, struct ks_buf *out)
{
    struct ks_engine_stats st = {0};
    ks_engine_get_stats(app->engine, &st);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"vm_cache_entries{type=\"storage/hour_metric_ids\"}", st.active_series},
        {"vm_new_timeseries_created_total", st.series_created_total},
        {"vm_rows_added_to_storage_total", st.rows_added_total},
        {"vm_rows_received_by_storage_total",
         st.rows_added_total + st.rows_too_old_total + st.rows_too_new_total},
        {"vm_rows_ignored_total{reason=\"small_timestamp\"}", st.rows_too_old_total},
        {"vm_rows_ignored_total{reason=\"big_timestamp\"}", st.rows_too_new_total},
        {"vm_rows{type=\"storage/inmemory\"}", st.head_samples},
        {"vm_rows{type=\"storage/small\"}", st.part_samples},
        {"vm_rows{type=\"storage/big\"}", 0},
        {"vm_rows{type=\"indexdb/file\"}", st.series_created_total},
        {"vm_parts{type=\"storage/inmemory\"}", 0},
        {"vm_parts{type=\"storage/small\"}", st.part_count},
        {"vm_parts{type=\"storage/big\"}", 0},
        {"vm_last_partition_parts", st.part_count},
        {"vm_data_size_bytes{type=\"storage/inmemory\"}", st.head_memory_bytes},
        {"vm_data_size_bytes{type=\"storage/small\"}", st.data_bytes},
        {"vm_data_size_bytes{type=\"storage/big\"}", 0},
        {"vm_data_size_bytes{type=\"indexdb/file\"}", st.index_bytes},
        {"vm_pending_rows{type=\"storage\"}", 0},
        {"vm_pending_rows{type=\"indexdb\"}", 0},
        {"vm_active_merges{type=\"storage/small\"}", st.active_merges},
        {"vm_active_merges{type=\"storage/inmemory\"}", 0},
        {"vm_active_merges{type=\"storage/big\"}", 0},
        {"vm_rows_merged_total{type=\"storage/small\"}", st.merged_rows_total},
        {"vm_merges_total{type=\"storage/small\"}", st.merges_total},
        {"vm_assisted_merges_total{type=\"storage/small\"}", 0},
        {"vm_slow_row_inserts_total", st.l1_misses},
        {"vm_cache_requests_total{type=\"storage/tsid\"}", st.l1_hits + st.l1_misses},
        {"vm_cache_misses_total{type=\"storage/tsid\"}", st.l1_misses},
        {"vm_cache_entries{type=\"storage/tsid\"}", st.active_series},
        {"vm_cache_requests_total{type=\"storage/blocks\"}", st.cache_hits + st.cache_misses},
        {"vm_cache_misses_total{type=\"storage/blocks\"}", st.cache_misses},
        {"vm_cache_size_bytes{type=\"storage/blocks\"}", st.cache_bytes},
        {"vm_cache_size_max_bytes{type=\"storage/blocks\"}", st.cache_budget_bytes},
        {"vm_hourly_series_limit_rows_dropped_total", 0},
        {"vm_daily_series_limit_rows_dropped_total", 0},
        {"vm_missing_tsids_for_metric_id_total", 0},
        {"vm_indexdb_items_dropped_total", 0},
        {"vm_partial_results_total", 0},
        {"vm_slow_metric_name_loads_total", 0},
        {"vm_relabel_metrics_dropped_total", 0},
        {"vm_retention_partitions_scheduled_size_bytes", 0},
        {"vm_downsampling_partitions_scheduled_size_bytes", 0},
        {"kofstore_wal_bytes", st.wal_bytes},
        {"kofstore_wal_replay_bytes", st.wal_replay_bytes},
        {"kofstore_flushes_total", st.flushes_total},
        {"kofstore_quarantined_parts", st.quarantined_parts},
        {"kofstore_recovery_milliseconds", st.recovery_ms},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
    disk_metrics(app, &st, out);
}

static void result_metrics(struct ks_app *app, struct ks_buf *out)
{
    struct ks_result_cache_stats st;
    ks_result_cache_get_stats(app->results, &st);
    uint64_t misses = st.requests - st.full_hits - st.partial_hits;
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"vm_cache_entries{type=\"promql/rollupResult\"}", st.entries},
        {"vm_cache_size_bytes{type=\"promql/rollupResult\"}", st.bytes},
        {"vm_cache_size_max_bytes{type=\"promql/rollupResult\"}", st.max_bytes},
        {"vm_cache_requests_total{type=\"promql/rollupResult\"}", st.requests},
        {"vm_cache_misses_total{type=\"promql/rollupResult\"}", misses},
        {"vm_rollup_result_cache_requests_total", st.requests},
        {"vm_rollup_result_cache_full_hits_total", st.full_hits},
        {"vm_rollup_result_cache_partial_hits_total", st.partial_hits},
        {"vm_rollup_result_cache_miss_total", misses},
        {"vm_rollup_result_cache_resets_total", st.resets},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
}

static bool count_snapshot(void *arg, const char *name)
{
    ++*(uint64_t *)arg;
    return true;
}

/* --- order --- */
struct metric_line {
    struct ks_slice key, line;
    size_t order;
};

static int by_key(const void *pa, const void *pb)
{
    const struct metric_line *a = pa, *b = pb;
    int c = ks_slice_cmp(a->key, b->key);
    return c ? c : (a->order > b->order) - (a->order < b->order);
}

/* Sorted, and each series once (the first writer wins): a strict parser drops the whole page over a
 * duplicate. */
static ks_err write_sorted(struct ks_slice text, struct ks_buf *out)
{
    struct metric_line *lines = NULL;
    size_t n = 0, cap = 0;
    while (text.len) {
        const char *nl = memchr(text.ptr, '\n', text.len);
        struct ks_slice line = ks_slice(text.ptr, nl ? (size_t)(nl - text.ptr) : text.len);
        text = ks_slice_from(text, line.len + (nl != NULL));
        const char *value = line.len ? memrchr(line.ptr, ' ', line.len) : NULL;
        if (!value)
            continue;
        ks_err err = ks_array_reserve((void **)&lines, &cap, n + 1, sizeof *lines);
        if (err != KS_OK) {
            ks_free(lines);
            return err;
        }
        lines[n] = (struct metric_line){ks_slice(line.ptr, (size_t)(value - line.ptr)), line, n};
        n++;
    }
    if (n)
        qsort(lines, n, sizeof *lines, by_key);
    for (size_t i = 0; i < n; i++) {
        if (i && ks_slice_eq(lines[i].key, lines[i - 1].key))
            continue;
        ks_buf_slice(out, lines[i].line);
        ks_buf_byte(out, '\n');
    }
    ks_free(lines);
    return ks_buf_status(out);
}

ks_err ks_ops_metrics_text(struct ks_app *app, struct ks_buf *out)
{
    struct ks_buf b;
    uint64_t snapshots = 0;
    ks_buf_init(&b, 16 << 20);
    ks_stats_write(&b);
    app_metrics(app, &b);
    ks_ops_process_metrics(&b);
    ks_router_metrics(&b);
    engine_metrics(app, &b);
    ks_traces_metrics(app, &b);
    ks_log_metrics(app, &b);
    result_metrics(app, &b);
    if (app->server)
        lane_metrics(app, &b);
    if (ks_engine_snapshot_list(app->engine, count_snapshot, &snapshots) == KS_OK)
        ks_stats_line_u64(&b, "vm_snapshots", snapshots);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = write_sorted(ks_buf_view(&b), out);
    ks_buf_done(&b);
    return err;
}

ks_err ks_ops_metrics(struct ks_http_request *req)
{
    req->resp.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return ks_ops_metrics_text(ks_app_of(req), &req->resp.body);
}
