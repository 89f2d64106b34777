/* The trace store's part of /metrics. */
#include <stdio.h>

#include "api/jaeger/jaeger.h"
#include "api/span_metrics.h"
#include "api/trace_pins.h"
#include "base/stats.h"

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
    ks_stats_line_f64(out, "kofstore_traces_insert_pause_cpu_max_seconds",
                      (double)p->max_cpu_us / 1e6);
    ks_stats_line_f64(out, "kofstore_traces_insert_log_max_seconds", (double)p->max_log_us / 1e6);
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
        {"kofstore_traces_services", st.ring.services},
        {"kofstore_traces_operations", st.ring.operations},
        {"kofstore_traces_spans_added_total", st.ring.spans_total},
        {"kofstore_traces_evicted_total", st.ring.evicted_traces_total},
        {"kofstore_traces_evicted_by_bytes_total", st.ring.evicted_by_bytes_total},
        {"kofstore_traces_moved_to_kept_total", st.ring.kept_total},
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
    ks_trace_pins_metrics(app->pins, out);
    ks_span_metrics_stats(app->span_metrics, out);
}
