/* The server's life: flags → engine → HTTP → signals → graceful end. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/app.h"
#include "api/logs/syslog_server.h"
#include "api/ops/self_scrape.h"
#include "api/vlogs/vlogs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/commands.h"
#include "cmd/flags.h"
#include "cmd/logs.h"
#include "cmd/syslog.h"
#include "cmd/tls.h"
#include "cmd/traces.h"
#include "engine/logs/log_store.h"
#include "engine/traces/trace_store.h"
#include "query/promql/promql.h"
#include "query/rule_list.h"
#include "sys/clock.h"
#include "sys/pool.h"

enum { MIN_SEGMENT_BYTES = 256 << 10, MAX_SHARDS = 1024 };

static int complain(const char *what)
{
    fprintf(stderr, "kofstore: %s%s%s\n", what, *what ? ": " : "", ks_err_text());
    return 1;
}

static uint64_t memory_budget(void)
{
    int64_t bytes = ks_flag_int("memory.allowedBytes");
    if (bytes > 0)
        return (uint64_t)bytes;
    return ks_memory_limit_bytes() / 100 * (uint64_t)ks_flag_int("memory.allowedPercent");
}

static ks_err wal_sync_of(const char *text, enum ks_wal_sync *ret)
{
    static const char *const names[] = {"commit", "interval", "os"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum ks_wal_sync)i;
            return KS_OK;
        }
    return ks_fail(KS_EINVAL, "-wal.sync=%s: want commit, interval or os", text);
}

static ks_err native_histograms_of(const char *flag, enum ks_native_histograms *ret)
{
    static const char *const names[] = {"vmrange", "native", "both"};
    const char *text = ks_flag_str(flag);
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum ks_native_histograms)i;
            return KS_OK;
        }
    return ks_fail(KS_EINVAL, "-%s=%s: want native, vmrange or both", flag, text);
}

static ks_err logger_setup(void)
{
    static const struct {
        const char *name;
        enum ks_log_level level;
    } levels[] = {{"DEBUG", KS_LOG_DEBUG}, {"INFO", KS_LOG_INFO},   {"WARN", KS_LOG_WARN},
                  {"ERROR", KS_LOG_ERROR}, {"FATAL", KS_LOG_ERROR}, {"PANIC", KS_LOG_ERROR}};
    ks_log_set_json(strcmp(ks_flag_str("loggerFormat"), "json") == 0);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(ks_flag_str("loggerLevel"), levels[i].name) == 0) {
            ks_log_set_level(levels[i].level);
            return KS_OK;
        }
    return ks_fail(KS_EINVAL, "-loggerLevel=%s: want DEBUG, INFO, WARN or ERROR",
                   ks_flag_str("loggerLevel"));
}

/* One name of the list given to -enable-feature. */
static bool has_feature(const char *name)
{
    const char *list = ks_flag_str("enable-feature");
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == ',') && (!p[n] || p[n] == ','))
            return true;
    return false;
}

static void fill_log_config(struct ks_log_config *c)
{
    c->default_msg = ks_flag_str("defaultMsgValue");
    c->max_line_bytes = (size_t)ks_flag_int("insert.maxLineSizeBytes");
    c->max_fields = (size_t)ks_flag_int("insert.maxFieldsPerLine");
    c->max_stream_bytes = (size_t)ks_flag_int("import.maxRequestSize");
    c->loki_max_request_bytes = (size_t)ks_flag_int("loki.maxRequestSize");
    c->loki_keep_message = ks_flag_bool("loki.disableMessageParsing");
    c->loki_message_prefix = ks_flag_str("loki.messageFieldsPrefix");
    c->datadog_max_request_bytes = (size_t)ks_flag_int("datadog.maxRequestSize");
    c->datadog_stream_fields = ks_flag_str("datadog.streamFields");
    c->datadog_ignore_fields = ks_flag_str("datadog.ignoreFields");
    c->splunk_max_request_bytes = (size_t)ks_flag_int("splunk.maxRequestSize");
    c->splunk_stream_fields = ks_flag_str("splunk.streamFields");
    c->splunk_ignore_fields = ks_flag_str("splunk.ignoreFields");
    c->splunk_time_field = ks_flag_str("splunk.timeField");
    c->splunk_msg_field = ks_flag_str("splunk.msgField");
    c->splunk_preserve_keys = ks_flag_str("splunk.preserveJSONKeys");
    c->splunk_tenant = ks_flag_str("splunk.tenantID");
    c->journald_max_request_bytes = (size_t)ks_flag_int("journald.maxRequestSize");
    c->journald_stream_fields = ks_flag_str("journald.streamFields");
    c->journald_ignore_fields = ks_flag_str("journald.ignoreFields");
    c->journald_time_field = ks_flag_str("journald.timeField");
    c->journald_tenant = ks_flag_str("journald.tenantID");
    c->journald_metadata = ks_flag_bool("journald.includeEntryMetadata");
    c->native_max_request_bytes = (size_t)ks_flag_int("nativeinsert.maxRequestSize");
    c->internal_max_request_bytes = (size_t)ks_flag_int("internalinsert.maxRequestSize");
    c->elasticsearch_version = ks_flag_str("elasticsearch.version");
    c->delete_enabled = ks_flag_bool("delete.enable");
    c->max_query_range_ms = ks_flag_ms("search.maxQueryTimeRange");
    c->disable_insert = ks_flag_bool("insert.disable");
    c->disable_internal_insert = ks_flag_bool("internalinsert.disable");
}

static void fill_config(struct ks_config *c)
{
    static const struct {
        enum ks_auth_key key;
        const char *flag;
    } keys[] = {
        {KS_AUTH_METRICS, "metricsAuthKey"},
        {KS_AUTH_FLAGS, "flagsAuthKey"},
        {KS_AUTH_DELETE, "deleteAuthKey"},
        {KS_AUTH_SNAPSHOT, "snapshotAuthKey"},
        {KS_AUTH_FORCE_MERGE, "forceMergeAuthKey"},
        {KS_AUTH_FORCE_FLUSH, "forceFlushAuthKey"},
        {KS_AUTH_RESET_CACHE, "search.resetCacheAuthKey"},
        {KS_AUTH_RELOAD, "reloadAuthKey"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        c->auth_keys[keys[i].key] = ks_flag_str(keys[i].flag);
    c->storage_path = ks_flag_str("storageDataPath");
    c->http_auth_username = ks_flag_str("httpAuth.username");
    c->http_auth_password = ks_flag_str("httpAuth.password");
    c->max_insert_request_bytes = (size_t)ks_flag_int("maxInsertRequestSize");
    c->import_max_line_bytes = (size_t)ks_flag_int("import.maxLineLen");
    c->import_max_request_bytes = (size_t)ks_flag_int("import.maxRequestSize");
    c->max_labels_per_series = (size_t)ks_flag_int("maxLabelsPerTimeseries");
    c->max_label_name_bytes = (size_t)ks_flag_int("maxLabelNameLen");
    c->max_label_value_bytes = (size_t)ks_flag_int("maxLabelValueLen");
    c->influx_db_label = ks_flag_str("influxDBLabel");
    c->influx_separator = ks_flag_str("influxMeasurementFieldSeparator");
    c->influx_skip_single_field = ks_flag_bool("influxSkipSingleField");
    c->influx_skip_measurement = ks_flag_bool("influxSkipMeasurement");
    c->influx_max_request_bytes = (size_t)ks_flag_int("influx.maxRequestSize");
    c->otlp_max_request_bytes = (size_t)ks_flag_int("opentelemetry.maxRequestSize");
    c->prometheus_names = ks_flag_bool("usePromCompatibleNaming");
    c->otlp_prometheus_names = ks_flag_bool("opentelemetry.usePrometheusNaming");
    c->max_query_duration_ms = ks_flag_ms("search.maxQueryDuration");
    c->max_export_duration_ms = ks_flag_ms("search.maxExportDuration");
    c->max_labels_duration_ms = ks_flag_ms("search.maxLabelsAPIDuration");
    c->max_status_duration_ms = ks_flag_ms("search.maxStatusRequestDuration");
    c->latency_offset_ms = ks_flag_ms("search.latencyOffset");
    c->max_lookback_ms = ks_flag_ms("search.maxLookback");
    if (!c->max_lookback_ms)
        c->max_lookback_ms = ks_flag_ms("search.maxStalenessInterval");
    c->log_slow_query_ms = ks_flag_ms("search.logSlowQueryDuration");
    c->max_query_len = (size_t)ks_flag_int("search.maxQueryLen");
    c->max_points_per_series = (uint64_t)ks_flag_int("search.maxPointsPerTimeseries");
    c->max_subquery_points = (uint64_t)ks_flag_int("search.maxPointsSubqueryPerTimeseries");
    c->max_series = (uint64_t)ks_flag_int("search.maxSeries");
    c->max_export_series = (uint64_t)ks_flag_int("search.maxExportSeries");
    c->max_labels_series = (uint64_t)ks_flag_int("search.maxLabelsAPISeries");
    c->max_unique_series = (uint64_t)ks_flag_int("search.maxUniqueTimeseries");
    c->max_samples_per_query = (uint64_t)ks_flag_int("search.maxSamplesPerQuery");
    c->max_memory_per_query_bytes = (size_t)ks_flag_int("search.maxMemoryPerQuery");
    if (!c->max_memory_per_query_bytes)
        c->max_memory_per_query_bytes = (size_t)memory_budget() / 4;
    if (!c->max_unique_series)
        c->max_unique_series = c->max_memory_per_query_bytes / KS_SERIES_COST_BYTES;
    c->disable_cache = ks_flag_bool("search.disableCache");
    c->result_cache_bytes = (size_t)memory_budget() / 16;
    c->result_cache_recent_ms = ks_flag_ms("search.cacheTimestampOffset");
    c->promql.experimental_functions = has_feature("promql-experimental-functions");
    c->promql.duration_expressions = has_feature("promql-duration-expr");
    c->promql.delayed_name_removal = has_feature("promql-delayed-name-removal");
    c->promql.type_and_unit_labels = has_feature("type-and-unit-labels");
    c->strict_dialect = strcmp(ks_flag_str("search.dialect"), "promql") == 0;
    c->min_free_disk_bytes = ks_flag_int("storage.minFreeDiskSpaceBytes");
    c->max_metadata_bytes = (size_t)ks_flag_int("storage.maxMetadataStorageSize");
    c->query_log_count = (size_t)ks_flag_int("search.queryStats.lastQueriesCount");
    fill_log_config(&c->logs);
}

static ks_err read_rules(struct ks_rule_list *rules)
{
    const char *const *texts;
    size_t n = ks_flag_list("retentionFilter", &texts);
    for (size_t i = 0; i < n; i++)
        KS_TRY(ks_rule_list_retention(rules, texts[i], ks_flag_ms("retentionPeriod")));
    n = ks_flag_list("downsampling.period", &texts);
    for (size_t i = 0; i < n; i++)
        KS_TRY(ks_rule_list_downsample(rules, texts[i]));
    return KS_OK;
}

/* The engine copies the rules. */
static ks_err open_with_rules(struct ks_engine_opts *o, struct ks_engine **ret)
{
    struct ks_rule_list rules;
    ks_rule_list_init(&rules);
    ks_err err = read_rules(&rules);
    o->retention_rules = rules.keep;
    o->retention_rule_count = rules.keep_count;
    o->downsample_rules = rules.thin;
    o->downsample_rule_count = rules.thin_count;
    if (err == KS_OK)
        err = ks_engine_open(o, ret);
    ks_rule_list_done(&rules);
    return err;
}

static ks_err open_engine(struct ks_app *app, struct ks_pool *pool, struct ks_engine **ret)
{
    struct ks_signal signals[2] = {ks_logs_signal(app->logs)};
    struct ks_engine_opts o = {
        .dir = ks_flag_str("storageDataPath"),
        .retention_ms = ks_flag_ms("retentionPeriod"),
        .future_retention_ms = ks_flag_ms("futureRetention"),
        .snapshots_max_age_ms = ks_flag_ms("snapshotsMaxAge"),
        .dedup_interval_ms = ks_flag_ms("dedup.minScrapeInterval"),
        .wal_repair = ks_flag_bool("wal.repair"),
        .wal_segment_bytes = (uint64_t)ks_flag_int("wal.segmentBytes"),
        .wal_max_replay_bytes = (uint64_t)ks_flag_int("wal.maxReplayBytes"),
        .memory_bytes = memory_budget(),
        .min_free_disk_bytes = (uint64_t)ks_flag_int("storage.minFreeDiskSpaceBytes"),
        .max_disk_bytes = (uint64_t)ks_flag_int("storage.maxDiskSpaceUsageBytes"),
        .flush_interval_ms = ks_flag_ms("flushInterval"),
        .series_idle_ms = ks_flag_ms("storage.seriesIdleTimeout"),
        .shards = (unsigned)ks_flag_int("storage.shards"),
        .max_series = (uint32_t)ks_flag_int("storage.maxSeries"),
        .pool = pool,
        .signals = signals,
        .signal_count = sizeof signals / sizeof *signals,
    };
    KS_TRY(wal_sync_of(ks_flag_str("wal.sync"), &o.wal_sync));
    int64_t percent = ks_flag_int("memory.allowedPercent");
    if (percent < 1 || percent > 100)
        return ks_fail(KS_EINVAL, "-memory.allowedPercent=%s: want 1 to 100",
                       ks_flag_str("memory.allowedPercent"));
    if (o.shards > MAX_SHARDS)
        return ks_fail(KS_EINVAL, "-storage.shards=%s: want at most %d",
                       ks_flag_str("storage.shards"), MAX_SHARDS);
    if (o.wal_segment_bytes < MIN_SEGMENT_BYTES)
        return ks_fail(KS_EINVAL, "-wal.segmentBytes=%s: want at least 256KiB",
                       ks_flag_str("wal.segmentBytes"));
    o.wal_segment_bytes &= ~(uint64_t)4095;
    KS_TRY(ks_serve_traces_new(app, o.memory_bytes, &signals[1]));
    return open_with_rules(&o, ret);
}

static unsigned workers(const char *flag)
{
    int64_t n = ks_flag_int(flag);
    if (n <= 0)
        n = 2 * (int64_t)ks_cpu_count();
    return n < 4 && !ks_flag_is_set(flag) ? 4 : n > 4096 ? 4096 : (unsigned)n;
}

static ks_err start_http(struct ks_app *app, struct ks_arena *arena)
{
    struct ks_cmd_listeners listen;
    KS_TRY(ks_cmd_listeners(arena, &listen));
    size_t import_max = app->cfg.import_max_request_bytes;
    size_t insert_max = app->cfg.max_insert_request_bytes;
    struct ks_http_opts o = {
        .addrs = listen.addrs,
        .addr_roles = listen.roles,
        .addr_tls = listen.tls,
        .addr_count = listen.count,
        .max_body_bytes = import_max > insert_max ? import_max : insert_max,
        .max_inflight_body_bytes = (size_t)memory_budget() / 4 + insert_max,
        .max_inflight_answer_bytes = (size_t)memory_budget() / 4 + ((size_t)64 << 20),
        .max_arena_bytes = 64 << 20,
        .idle_timeout_ms = ks_flag_ms("http.idleConnTimeout"),
        .path_prefix = ks_flag_str("http.pathPrefix"),
        .compress_responses = !ks_flag_bool("http.disableResponseCompression"),
        .cors = !ks_flag_bool("http.disableCORS"),
        .route = ks_router_route,
        .handle = ks_router_handle,
        .app = app,
    };
    o.lanes[KS_LANE_INSERT] = (struct ks_http_lane_opts){
        workers("maxConcurrentInserts"), 4096, ks_flag_ms("insert.maxQueueDuration"), 503};
    o.lanes[KS_LANE_SELECT] = (struct ks_http_lane_opts){
        workers("search.maxConcurrentRequests"), 4096, ks_flag_ms("search.maxQueueDuration"), 429};
    o.lanes[KS_LANE_EXPORT] = o.lanes[KS_LANE_SELECT];
    o.lanes[KS_LANE_OPS] = (struct ks_http_lane_opts){3, 256, 60000, 503};
    /* The main address comes last: whoever finds it open finds the others open too. */
    ks_err err = ks_serve_traces_listen(app, &o);
    if (err == KS_OK)
        err = ks_http_start(&o, &app->server);
    if (err != KS_OK)
        ks_serve_traces_stop(app, 0);
    return err;
}

static void raise_file_limit(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

static void shut_down(struct ks_app *app, struct ks_self_scrape *scrape)
{
    int64_t delay = ks_flag_ms("http.shutdownDelay");
    atomic_store(&app->shutting_down, 1);
    if (delay > 0)
        usleep((useconds_t)delay * 1000);
    ks_self_scrape_stop(scrape);
    ks_serve_traces_stop(app, ks_flag_ms("http.maxGracefulShutdownDuration"));
    ks_http_stop(app->server, ks_flag_ms("http.maxGracefulShutdownDuration"));
    app->server = NULL;
}

/* Serves until a signal comes. The engine is open. */
static int serve(struct ks_app *app, sigset_t *signals, struct ks_arena *arena)
{
    struct ks_syslog_server *syslog = NULL;
    struct ks_self_scrape *scrape = NULL;
    if (ks_serve_traces_start(app) != KS_OK || start_http(app, arena) != KS_OK)
        return complain("");
    if (ks_cmd_syslog_start(app, arena, &syslog) != KS_OK) {
        complain("");
        ks_http_stop(app->server, 0);
        app->server = NULL;
        return 1;
    }
    ks_err err = KS_OK;
    if (ks_flag_ms("selfScrapeInterval") > 0)
        err = ks_self_scrape_start(app, ks_flag_ms("selfScrapeInterval"),
                                   ks_flag_str("selfScrapeJob"), ks_flag_str("selfScrapeInstance"),
                                   &scrape);
    if (err != KS_OK)
        complain("self-scrape");
    for (size_t i = 0; ks_http_addr(app->server, i)[0]; i++)
        printf("listening on %s://%s/\n", ks_http_scheme(app->server, i),
               ks_http_addr(app->server, i));
    for (size_t i = 0; ks_syslog_addr(syslog, i)[0]; i++)
        printf("listening for syslog on %s\n", ks_syslog_addr(syslog, i));
    fflush(stdout);
    ks_log(KS_LOG_INFO, "cmd", "started version=%s addr=%s data=%s", KS_VERSION,
           ks_http_addr(app->server, 0), app->cfg.storage_path);
    int sig = 0;
    sigwait(signals, &sig);
    ks_log(KS_LOG_INFO, "cmd", "stopping signal=%d", sig);
    ks_syslog_stop(syslog);
    shut_down(app, scrape);
    return 0;
}

static int run(sigset_t *signals)
{
    static struct ks_app app;
    struct ks_pool *pool = NULL;
    struct ks_arena arena; /* what flags became */
    int status;
    fill_config(&app.cfg);
    app.started_ms = ks_now_ms();
    app.print_flags = ks_flags_print_values;
    app.print_flag_metrics = ks_flags_print_metrics;
    if (native_histograms_of("nativeHistograms", &app.cfg.native_histograms) != KS_OK ||
        native_histograms_of("opentelemetry.nativeHistograms", &app.cfg.otlp_native_histograms) !=
            KS_OK)
        return complain("cannot start");
    ks_arena_init(&arena, 16 << 20);
    if (ks_pool_new("work", ks_cpu_count(), 1024, &pool) != KS_OK || ks_app_init(&app) != KS_OK ||
        ks_cmd_logs_new(&arena, &app.logs) != KS_OK ||
        open_engine(&app, pool, &app.engine) != KS_OK ||
        ks_trace_store_fill_history(app.traces) != KS_OK)
        status = complain("cannot start");
    else
        status = serve(&app, signals, &arena);
    ks_cmd_tls_done();
    ks_vl_deletes_free(app.log_deletes);
    app.log_deletes = NULL;
    ks_serve_traces_end(&app);
    if (app.engine && ks_engine_close(app.engine) != KS_OK)
        status = complain("closing the data folder");
    ks_logs_free(app.logs);
    ks_app_done(&app);
    ks_trace_store_free(app.traces);
    ks_pool_free(pool);
    ks_arena_done(&arena);
    if (!status)
        ks_log(KS_LOG_INFO, "cmd", "stopped cleanly");
    return status;
}

int ks_cmd_serve(int argc, char **argv)
{
    int next = 0;
    if (ks_flags_parse(argc, argv, 0, &next) != KS_OK ||
        (next < argc && ks_fail(KS_EINVAL, "unexpected argument \"%s\"", argv[next]))) {
        complain("");
        fprintf(stderr, "see kofstore help flags\n");
        return 2;
    }
    if (ks_flag_bool("version")) {
        printf("kofstore-%s\n", KS_VERSION);
        return 0;
    }
    if (logger_setup() != KS_OK) {
        complain("");
        return 2;
    }
    ks_flags_log_ignored();
    raise_file_limit();
    /* Blocked before any thread starts, so that only sigwait sees them. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return run(&signals);
}
