#include "api/logs/log_metrics.h"

#include <stdio.h>

#include "api/app.h"
#include "base/stats.h"
#include "engine/logs/log_store.h"

static void line(struct ks_buf *out, const char *name, const char *labels, const char *store,
                 uint64_t v)
{
    char text[256];
    snprintf(text, sizeof text, "%s{store=\"%s\"%s%s}", name, store, labels[0] ? "," : "", labels);
    ks_stats_line_u64(out, text, v);
}

static uint64_t seconds(int64_t ns)
{
    return ns > 0 ? (uint64_t)(ns / 1000000000) : 0;
}

/* Names and values of type are the peer's: its dashboards look for them. */
static void store_metrics(struct ks_log_store *s, struct ks_buf *out)
{
    struct ks_log_store_stats st;
    const char *name = ks_log_store_name(s);
    ks_log_store_get_stats(s, &st);
    bool some = st.min_ns <= st.max_ns;
    const struct {
        const char *name, *labels;
        uint64_t v;
    } rows[] = {
        {"vl_data_size_bytes", "type=\"storage\"", st.data_bytes},
        {"vl_data_size_bytes", "type=\"indexdb\"", st.index_bytes},
        {"vl_storage_rows", "type=\"storage/inmemory\"", st.memory_rows},
        {"vl_storage_rows", "type=\"storage/small\"", 0},
        {"vl_storage_rows", "type=\"storage/big\"", st.part_rows},
        {"vl_storage_parts", "type=\"storage/inmemory\"", 0},
        {"vl_storage_parts", "type=\"storage/small\"", 0},
        {"vl_storage_parts", "type=\"storage/big\"", st.part_count},
        {"vl_storage_blocks", "type=\"storage/inmemory\"", 0},
        {"vl_storage_blocks", "type=\"storage/small\"", 0},
        {"vl_storage_blocks", "type=\"storage/big\"", st.block_count},
        {"vl_uncompressed_data_size_bytes", "type=\"storage/inmemory\"", st.memory_bytes},
        {"vl_uncompressed_data_size_bytes", "type=\"storage/small\"", 0},
        {"vl_uncompressed_data_size_bytes", "type=\"storage/big\"", st.text_bytes},
        {"vl_compressed_data_size_bytes", "type=\"storage/inmemory\"", st.memory_bytes},
        {"vl_compressed_data_size_bytes", "type=\"storage/small\"", 0},
        {"vl_compressed_data_size_bytes", "type=\"storage/big\"", st.data_bytes},
        {"vl_pending_rows", "type=\"storage\"", 0},
        {"vl_partitions", "", st.day_count},
        {"vl_streams_created_total", "", st.streams_created_total},
        {"vl_rows_merged_total", "type=\"storage/big\"", st.merged_rows_total},
        {"vl_merges_total", "type=\"storage/big\"", st.merges_total},
        {"vl_active_merges", "type=\"storage/big\"", st.active_merges},
        {"vl_storage_log_min_timestamp_seconds", "", some ? seconds(st.min_ns) : 0},
        {"vl_storage_log_max_timestamp_seconds", "", some ? seconds(st.max_ns) : 0},
        {"kofstore_log_rows_stored_total", "", st.rows_stored_total},
        {"kofstore_log_flushes_total", "", st.flushes_total},
        {"kofstore_log_quarantined_parts", "", st.quarantined_parts},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        line(out, rows[i].name, rows[i].labels, name, rows[i].v);
}

void ks_log_metrics(struct ks_app *app, struct ks_buf *out)
{
    struct ks_engine_stats st = {0};
    struct ks_log_store *s;
    if (!app->logs)
        return;
    for (size_t i = 0; (s = ks_logs_store_at(app->logs, i)); i++)
        store_metrics(s, out);
    ks_engine_get_stats(app->engine, &st);
    const struct {
        const char *name;
        uint64_t v;
    } disk[] = {{"vl_free_disk_space_bytes", st.free_disk_bytes},
                {"vl_total_disk_space_bytes", st.total_disk_bytes},
                {"vl_storage_is_read_only", st.read_only}};
    for (size_t i = 0; i < sizeof disk / sizeof *disk; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s{path=\"%s\"}", disk[i].name, app->cfg.storage_path);
        ks_stats_line_u64(out, name, disk[i].v);
    }
    ks_buf_printf(
        out, "vm_app_version{version=\"victoria-logs-kofstore-%s\", short_version=\"v%s\"} 1\n",
        KS_VERSION, KS_VERSION);
}
