/* The trace store's part of /metrics. */
#include <stdio.h>

#include "api/jaeger/jaeger.h"
#include "api/span_metrics.h"
#include "api/trace_pins.h"
#include "base/stats.h"
#include "engine/logs/log_store.h"

/* How long writers were held in the ring; what the log took is not in it. */
static void pauses(const struct ks_traces_pauses *p, struct ks_buf *out)
{
    static const uint32_t bounds_us[KS_PAUSE_BUCKETS - 1] = KS_PAUSE_BOUNDS_US;
    char name[96];
    uint64_t sum = 0;
    for (size_t i = 0; i < KS_PAUSE_BUCKETS; i++) {
        sum += p->buckets[i];
        if (i + 1 < KS_PAUSE_BUCKETS)
            snprintf(name, sizeof name, "kofstore_traces_insert_pause_seconds_bucket{le=\"%g\"}",
                     bounds_us[i] / 1e6);
        else
            snprintf(name, sizeof name, "kofstore_traces_insert_pause_seconds_bucket{le=\"+Inf\"}");
        ks_stats_line_u64(out, name, sum);
    }
    ks_stats_line_f64(out, "kofstore_traces_insert_pause_seconds_sum", (double)p->sum_us / 1e6);
    ks_stats_line_u64(out, "kofstore_traces_insert_pause_seconds_count", p->count);
    ks_stats_line_f64(out, "kofstore_traces_insert_pause_max_seconds", (double)p->max_us / 1e6);
    ks_stats_line_f64(out, "kofstore_traces_insert_pause_max_timestamp_seconds",
                      (double)p->max_at_ns / 1e9);
    ks_stats_line_f64(out, "kofstore_traces_insert_pause_own_max_seconds",
                      (double)p->max_own_us / 1e6);
    ks_stats_line_f64(out, "kofstore_traces_insert_log_max_seconds", (double)p->max_log_us / 1e6);
}

/* VictoriaTraces' names: the ring is what it calls in memory, days on disk are its parts. */
static void storage(struct ks_app *app, const struct ks_traces_stats *ring, struct ks_buf *out)
{
    struct ks_log_store *history = ks_trace_store_history(app->traces);
    struct ks_log_store_stats h = {0};
    struct ks_engine_stats e = {0};
    if (history)
        ks_log_store_get_stats(history, &h);
    ks_engine_get_stats(app->engine, &e);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"vt_storage_rows{type=\"storage/inmemory\"}", ring->spans},
        {"vt_storage_rows{type=\"storage/big\"}", h.memory_rows + h.part_rows},
        {"vt_storage_parts{type=\"storage/inmemory\"}", ring->generations},
        {"vt_storage_parts{type=\"storage/big\"}", h.part_count},
        {"vt_storage_blocks{type=\"storage/big\"}", h.block_count},
        {"vt_data_size_bytes{type=\"storage\"}", h.data_bytes},
        {"vt_data_size_bytes{type=\"indexdb\"}", h.index_bytes},
        {"vt_compressed_data_size_bytes{type=\"storage/inmemory\"}", ring->bytes},
        {"vt_compressed_data_size_bytes{type=\"storage/big\"}", h.data_bytes},
        {"vt_uncompressed_data_size_bytes{type=\"storage/big\"}", h.text_bytes},
        {"vt_partitions", h.day_count},
        {"vt_streams_created_total", h.streams_created_total},
        {"vt_merges_total{type=\"storage/big\"}", h.merges_total},
        {"vt_active_merges{type=\"storage/big\"}", h.active_merges},
        {"vt_rows_merged_total{type=\"storage/big\"}", h.merged_rows_total},
        {"vt_pending_rows{type=\"storage\"}", 0},
        {"vt_storage_is_read_only", e.read_only},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
    const struct {
        const char *name;
        uint64_t v;
    } disk[] = {{"vt_free_disk_space_bytes", e.free_disk_bytes},
                {"vt_total_disk_space_bytes", e.total_disk_bytes}};
    for (size_t i = 0; i < sizeof disk / sizeof *disk; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s{path=\"%s\"}", disk[i].name, app->cfg.storage_path);
        ks_stats_line_u64(out, name, disk[i].v);
    }
    ks_buf_printf(
        out, "vm_app_version{version=\"victoria-traces-kofstore-%s\", short_version=\"v%s\"} 1\n",
        KS_VERSION, KS_VERSION);
}

void ks_traces_metrics(struct ks_app *app, struct ks_buf *out)
{
    struct ks_trace_store_stats st = {0};
    if (!app->traces)
        return;
    ks_trace_store_get_stats(app->traces, &st);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"kofstore_traces_tenants", st.ring.tenants},
        {"kofstore_traces_live", st.ring.traces},
        {"kofstore_traces_kept", st.ring.kept_traces},
        {"kofstore_traces_spans", st.ring.spans},
        {"kofstore_traces_bytes", st.ring.bytes},
        {"kofstore_traces_max_bytes", st.ring.max_bytes},
        {"kofstore_traces_generations", st.ring.generations},
        {"kofstore_traces_pool_bytes", st.ring.pool_bytes},
        {"kofstore_traces_pool_free_bytes", st.ring.pool_free_bytes},
        {"kofstore_traces_services", st.ring.services},
        {"kofstore_traces_operations", st.ring.operations},
        {"kofstore_traces_spans_added_total", st.ring.spans_total},
        {"kofstore_traces_evicted_total", st.ring.evicted_traces_total},
        {"kofstore_traces_evicted_by_bytes_total", st.ring.evicted_by_bytes_total},
        {"kofstore_traces_moved_to_kept_total", st.ring.kept_total},
        {"kofstore_traces_moved_spans_total", st.ring.moved_spans_total},
        {"kofstore_traces_pinned_total", st.ring.pinned_total},
        {"kofstore_traces_late_spans_total", st.ring.late_spans_total},
        {"kofstore_traces_refused_spans_total", st.ring.refused_spans_total},
        {"kofstore_traces_names_refused_total", st.ring.names_refused_total},
        {"kofstore_traces_snapshots_total", st.snapshots_total},
        {"kofstore_traces_snapshot_bytes", st.snapshot_bytes},
        {"kofstore_traces_damaged_snapshots_total", st.damaged_total},
        {"kofstore_traces_replayed_records_total", st.replayed_total},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ks_stats_line_u64(out, rows[i].name, rows[i].v);
    ks_stats_line_f64(out, "kofstore_traces_snapshot_duration_seconds",
                      (double)st.snapshot_ms / 1000);
    ks_stats_line_f64(out, "kofstore_traces_load_duration_seconds", (double)st.load_ms / 1000);
    pauses(&st.ring.pauses, out);
    storage(app, &st.ring, out);
    ks_trace_pins_metrics(app->pins, out);
    ks_span_metrics_stats(app->span_metrics, out);
}
