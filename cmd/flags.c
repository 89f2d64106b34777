#include "cmd/flags.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "retention/rule_text.h"

enum { SECRET = 1, IGNORED = 2 };

/* F(name, type, default, attributes, help). IGNORED: accepted so that existing deployments start,
 * without effect. */
#define FLAG_TABLE(F)                                                                              \
    F("storageDataPath", STRING, "kofstore-data", 0, "folder of the data")                         \
    F("httpListenAddr", LIST, ":8428", 0,                                                          \
      "addresses to listen on; repeat for more; port 0 picks a free one")                          \
    F("retentionPeriod", RETENTION, "1", 0,                                                        \
      "how long metrics are kept: 30d, 2w, 1y; a bare number counts months")                       \
    F("retentionFilter", LIST, "", 0,                                                              \
      "shorter retention by selector: `{team=\"x\"}:7d`; of several that match a series the "      \
      "smallest applies; repeat for more")                                                         \
    F("downsampling.period", LIST, "", 0,                                                          \
      "older samples thin out to the last one per interval: `30d:5m,180d:1h` or "                  \
      "`{filter}:30d:5m`; the first filter that matches decides, `{filter}:0s:0s` exempts; "       \
      "repeat for more")                                                                           \
    F("futureRetention", DURATION, "2d", 0, "how far in the future samples are accepted")          \
    F("dedup.minScrapeInterval", DURATION, "0s", 0,                                                \
      "keep one sample per series and interval; 0 removes exact duplicates only")                  \
    F("wal.sync", STRING, "commit", 0,                                                             \
      "when a write is acknowledged: commit = on disk, interval = synced every 100 ms, os = "      \
      "handed to the kernel")                                                                      \
    F("wal.repair", BOOL, "false", 0,                                                              \
      "start in spite of damage in the middle of the log, dropping what follows it")               \
    F("wal.segmentBytes", BYTES, "64MiB", 0, "size of a log segment, at least 256KiB")             \
    F("wal.maxReplayBytes", BYTES, "512MiB", 0,                                                    \
      "log a restart may have to replay before the head is flushed")                               \
    F("memory.allowedPercent", INT, "60", 0, "share of the memory limit the engine may use")       \
    F("memory.allowedBytes", BYTES, "0", 0,                                                        \
      "memory the engine may use; overrides memory.allowedPercent")                                \
    F("storage.minFreeDiskSpaceBytes", BYTES, "100MB", 0,                                          \
      "writes are refused below this much free disk")                                              \
    F("storage.maxDiskSpaceUsageBytes", BYTES, "0", 0,                                             \
      "oldest days are dropped beyond this size; 0 = no limit")                                    \
    F("storage.maxSeries", INT, "0", 0,                                                            \
      "active series beyond which new ones are refused; 0 = by memory")                            \
    F("storage.shards", INT, "0", 0, "shards of the head; 0 = by cores")                           \
    F("storage.seriesIdleTimeout", DURATION, "1h", 0,                                              \
      "series without samples for this long leave memory at the next flush")                       \
    F("flushInterval", DURATION, "30m", 0, "the head is written to parts at least this often")     \
    F("traces.maxTraces", INT, "100000", 0,                                                        \
      "traces kept in memory per tenant; the oldest by first-seen id go")                          \
    F("traces.maxBytes", BYTES, "0", 0,                                                            \
      "memory of traces, all tenants; 0 = an eighth of the allowed memory, at least 64MiB")        \
    F("traces.retentionPeriod", RETENTION, "0", 0,                                                 \
      "spans are also kept on disk for so long, at least a day; 0 = only in memory")               \
    F("traces.maxSpansPerTrace", INT, "50000", 0, "further spans of a trace are refused")          \
    F("traces.maxTenants", INT, "10000", 0, "tenants with traces beyond which new ones wait")      \
    F("traces.maxTracesPerSearch", INT, "1000", 0, "largest limit of a search")                    \
    F("traces.keep", STRING, "", 0,                                                                \
      "traces moved to a second ring instead of being lost: error, duration>1s, or both joined "   \
      "by or")                                                                                     \
    F("traces.maxKept", INT, "0", 0, "traces of the second ring; 0 = a tenth of maxTraces")        \
    F("traces.spanmetrics", DURATION, "0s", 0,                                                     \
      "calls, errors and durations of spans are written to the metric store this often; 0 = off")  \
    F("traces.spanmetrics.prefix", STRING, "traces_span_metrics", 0,                               \
      "what the names of these metrics begin with")                                                \
    F("traces.spanmetrics.dimensions", STRING, "tenant", 0,                                        \
      "attributes of resources that become labels of these metrics, by comma")                     \
    F("traces.spanmetrics.maxSeries", INT, "5000", 0,                                              \
      "combinations of service, span name, kind, status and dimensions, 20 series each; "          \
      "further ones are counted with otel_metric_overflow=\"true\"")                               \
    F("traces.pin", STRING, "exemplars,logs", 0,                                                   \
      "whose references keep a trace in the second ring: exemplars of metrics, logs at error "     \
      "level with a trace_id; empty: nobody's")                                                    \
    F("traces.maxPinsPerMinute", INT, "0", 0,                                                      \
      "references beyond this rate are not pinned; 0 = a sixtieth of the second ring, so that "    \
      "pins alone turn it over in an hour at most")                                                \
    F("traces.wal", BOOL, "true", 0,                                                               \
      "traces are written to the log and survive a restart; false: memory only, as in Jaeger")     \
    F("traces.selfDependencies", BOOL, "false", 0,                                                 \
      "dependencies count calls within one service too, as Jaeger 2 does")                         \
    F("jaeger.profile", STRING, "2", 0,                                                            \
      "answers of the Jaeger listener: as Jaeger 2 (2.20) or 1 (1.52)")                            \
    F("otlp.httpListenAddr", LIST, "", 0, "extra addresses for OTLP over HTTP, usually :4318")     \
    F("otlp.grpcListenAddr", LIST, "", 0, "addresses for OTLP over gRPC, usually :4317")           \
    F("jaeger.httpListenAddr", LIST, "", 0,                                                        \
      "addresses that answer as Jaeger's query service, usually :16686")                           \
    F("jaeger.grpcListenAddr", LIST, "", 0,                                                        \
      "addresses of Jaeger's query service over gRPC, usually :16685")                             \
    F("zipkin.httpListenAddr", LIST, "", 0, "extra addresses for Zipkin, usually :9411")           \
    F("jaegerThrift.httpListenAddr", LIST, "", 0,                                                  \
      "extra addresses for Jaeger thrift over HTTP, usually :14268")                               \
    F("selfScrapeInterval", DURATION, "0s", 0,                                                     \
      "write the own /metrics as samples this often; 0 = off")                                     \
    F("selfScrapeInstance", STRING, "self", 0, "label instance of self-scraped samples")           \
    F("selfScrapeJob", STRING, "kofstore", 0, "label job of self-scraped samples")                 \
    F("http.pathPrefix", STRING, "", 0, "prefix of all paths")                                     \
    F("http.disableResponseCompression", BOOL, "false", 0, "never compress answers")               \
    F("http.disableCORS", BOOL, "false", 0, "no Access-Control-Allow-Origin")                      \
    F("http.shutdownDelay", DURATION, "0s", 0,                                                     \
      "on SIGTERM /health answers 503 this long before the shutdown begins")                       \
    F("http.maxGracefulShutdownDuration", DURATION, "7s", 0,                                       \
      "running requests get this long on shutdown")                                                \
    F("http.idleConnTimeout", DURATION, "1m", 0,                                                   \
      "idle keep-alive connections are closed after this")                                         \
    F("http.connTimeout", DURATION, "2m", IGNORED, "")                                             \
    F("httpAuth.username", STRING, "", 0, "user of basic auth; empty = open")                      \
    F("httpAuth.password", STRING, "", SECRET, "password of basic auth")                           \
    F("metricsAuthKey", STRING, "", SECRET, "authKey for /metrics")                                \
    F("flagsAuthKey", STRING, "", SECRET, "authKey for /flags")                                    \
    F("pprofAuthKey", STRING, "", SECRET | IGNORED, "")                                            \
    F("reloadAuthKey", STRING, "", SECRET, "authKey for /-/reload")                                \
    F("deleteAuthKey", STRING, "", SECRET, "authKey for delete_series")                            \
    F("snapshotAuthKey", STRING, "", SECRET, "authKey for /snapshot/*")                            \
    F("forceMergeAuthKey", STRING, "", SECRET, "authKey for /internal/force_merge")                \
    F("forceFlushAuthKey", STRING, "", SECRET, "authKey for /internal/force_flush")                \
    F("search.resetCacheAuthKey", STRING, "", SECRET,                                              \
      "authKey for /internal/resetRollupResultCache")                                              \
    F("metricNamesStatsResetAuthKey", STRING, "", SECRET | IGNORED, "")                            \
    F("logNewSeriesAuthKey", STRING, "", SECRET | IGNORED, "")                                     \
    F("maxConcurrentInserts", INT, "0", 0, "writes handled at once; 0 = 2 per core, at least 4")   \
    F("insert.maxQueueDuration", DURATION, "1m", 0,                                                \
      "a write waiting longer for its turn gets 503")                                              \
    F("maxInsertRequestSize", BYTES, "32MiB", 0, "largest body of a write, packed and unpacked")   \
    F("import.maxLineLen", BYTES, "10MiB", 0, "longest line of /api/v1/import")                    \
    F("import.maxRequestSize", BYTES, "1GiB", 0, "largest unpacked body of an import")             \
    F("maxLabelsPerTimeseries", INT, "60", 0, "series with more labels are dropped")               \
    F("maxLabelNameLen", INT, "256", 0, "series with longer label names are dropped")              \
    F("maxLabelValueLen", BYTES, "4KiB", 0, "series with longer label values are dropped")         \
    F("search.maxConcurrentRequests", INT, "0", 0,                                                 \
      "queries run at once; 0 = 2 per core, at least 4")                                           \
    F("search.maxQueueDuration", DURATION, "10s", 0,                                               \
      "a query waiting longer for its turn gets 429")                                              \
    F("search.maxQueryDuration", DURATION, "30s", 0, "longest query")                              \
    F("search.maxExportDuration", DURATION, "30d", 0, "longest export")                            \
    F("search.maxLabelsAPIDuration", DURATION, "5s", 0,                                            \
      "longest request to the labels and series calls")                                            \
    F("search.maxStatusRequestDuration", DURATION, "5m", 0, "longest request to the status calls") \
    F("search.maxQueryLen", BYTES, "16KiB", 0, "longest query text")                               \
    F("search.maxPointsPerTimeseries", INT, "30000", 0, "points per series of query_range")        \
    F("search.maxPointsSubqueryPerTimeseries", INT, "100000", 0,                                   \
      "points per series inside a subquery")                                                       \
    F("search.maxSeries", INT, "30000", 0, "series returned by /api/v1/series")                    \
    F("search.maxExportSeries", INT, "10000000", 0, "series of an export")                         \
    F("search.maxLabelsAPISeries", INT, "1000000", 0, "series looked at by the labels calls")      \
    F("search.maxUniqueTimeseries", INT, "0", 0,                                                   \
      "series per selector of a query; 0 = -search.maxMemoryPerQuery / 512 bytes")                 \
    F("search.maxSamplesPerQuery", INT, "1000000000", 0, "samples one query may read")             \
    F("search.maxMemoryPerQuery", BYTES, "0", 0,                                                   \
      "memory of one query; 0 = a quarter of the allowed memory")                                  \
    F("search.latencyOffset", DURATION, "30s", 0, "age at which points count as complete")         \
    F("search.maxLookback", DURATION, "0s", 0,                                                     \
      "lookback of selectors without a window; 0 = by the samples' spacing")                       \
    F("search.maxStalenessInterval", DURATION, "0s", 0, "the same, older name")                    \
    F("search.dialect", STRING, "metricsql", 0,                                                    \
      "language of queries: metricsql, or promql for strict PromQL")                               \
    F("enable-feature", STRING, "promql-experimental-functions,promql-duration-expr", 0,           \
      "strict PromQL: Prometheus' features of these names; also promql-delayed-name-removal, "     \
      "type-and-unit-labels")                                                                      \
    F("search.disableCache", BOOL, "false", 0, "no result cache")                                  \
    F("search.cacheTimestampOffset", DURATION, "5m", 0, "younger points are not kept in it")       \
    F("search.resetRollupResultCacheOnStartup", BOOL, "false", IGNORED, "")                        \
    F("search.logSlowQueryDuration", DURATION, "5s", 0, "slower queries are logged; 0 = never")    \
    F("search.queryStats.lastQueriesCount", INT, "20000", 0,                                       \
      "distinct queries remembered by top_queries")                                                \
    F("vmalert.proxyURL", STRING, "", IGNORED, "")                                                 \
    F("snapshotsMaxAge", DURATION, "3d", 0, "snapshots older than this are removed; 0 = none")     \
    F("loggerLevel", STRING, "INFO", 0, "INFO, WARN, ERROR or DEBUG")                              \
    F("loggerFormat", STRING, "default", 0, "default (logfmt) or json")                            \
    F("envflag.enable", BOOL, "false", 0,                                                          \
      "flags not given are read from the environment, dots as underscores")                        \
    F("envflag.prefix", STRING, "", 0, "prefix of those variables")                                \
    F("version", BOOL, "false", 0, "print the version and exit")                                   \
    F("storageNode", LIST, "", IGNORED, "")                                                        \
    F("selectNode", LIST, "", IGNORED, "")                                                         \
    F("replicationFactor", INT, "1", IGNORED, "")                                                  \
    F("clusternativeListenAddr", STRING, "", IGNORED, "")                                          \
    F("vminsertAddr", STRING, "", IGNORED, "")                                                     \
    F("vmselectAddr", STRING, "", IGNORED, "")                                                     \
    F("graphiteListenAddr", STRING, "", IGNORED, "")                                               \
    F("influxListenAddr", STRING, "", IGNORED, "")                                                 \
    F("opentsdbListenAddr", STRING, "", IGNORED, "")                                               \
    F("opentsdbHTTPListenAddr", STRING, "", IGNORED, "")                                           \
    F("cacheDataPath", STRING, "", IGNORED, "")                                                    \
    F("license", STRING, "", SECRET | IGNORED, "")                                                 \
    F("licenseFile", STRING, "", IGNORED, "")                                                      \
    F("finalMergeDelay", DURATION, "0s", IGNORED, "")                                              \
    F("bigMergeConcurrency", INT, "0", IGNORED, "")                                                \
    F("smallMergeConcurrency", INT, "0", IGNORED, "")                                              \
    F("snapshotCreateTimeout", DURATION, "0s", IGNORED, "")                                        \
    F("retentionTimezoneOffset", DURATION, "0s", IGNORED, "")                                      \
    F("precisionBits", INT, "64", IGNORED, "")                                                     \
    F("cacheExpireDuration", DURATION, "30m", IGNORED, "")                                         \
    F("storage.cacheSizeStorageTSID", BYTES, "0", IGNORED, "")                                     \
    F("storage.cacheSizeStorageMetricName", BYTES, "0", IGNORED, "")                               \
    F("storage.cacheSizeIndexDBIndexBlocks", BYTES, "0", IGNORED, "")                              \
    F("storage.cacheSizeIndexDBDataBlocks", BYTES, "0", IGNORED, "")                               \
    F("storage.cacheSizeIndexDBDataBlocksSparse", BYTES, "0", IGNORED, "")                         \
    F("storage.cacheSizeIndexDBTagFilters", BYTES, "0", IGNORED, "")                               \
    F("storage.cacheSizeMetricNamesStats", BYTES, "0", IGNORED, "")                                \
    F("storage.trackMetricNamesStats", BOOL, "true", IGNORED, "")                                  \
    F("storage.maxMetadataStorageSize", BYTES, "64MiB", 0,                                         \
      "memory for types, help texts and units")                                                    \
    F("storage.idbPrefillStart", DURATION, "1h", IGNORED, "")                                      \
    F("storage.vminsertConnsShutdownDuration", DURATION, "25s", IGNORED, "")                       \
    F("storage.maxHourlySeries", INT, "0", IGNORED, "")                                            \
    F("storage.maxDailySeries", INT, "0", IGNORED, "")                                             \
    F("maxBackfillAge", DURATION, "0s", IGNORED, "")                                               \
    F("disablePerDayIndex", BOOL, "false", IGNORED, "")                                            \
    F("enableMultitenancyViaHeaders", BOOL, "true", IGNORED, "")                                   \
    F("inmemoryDataFlushInterval", DURATION, "5s", IGNORED, "")                                    \
    F("denyQueriesOutsideRetention", BOOL, "false", IGNORED, "")                                   \
    F("search.denyPartialResponse", BOOL, "false", IGNORED, "")                                    \
    F("search.setLookbackToStep", BOOL, "false", IGNORED, "")                                      \
    F("search.maxFederateSeries", INT, "1000000", IGNORED, "")                                     \
    F("search.maxTSDBStatusSeries", INT, "10000000", IGNORED, "")                                  \
    F("search.maxDeleteSeries", INT, "1000000", IGNORED, "")                                       \
    F("search.maxDeleteDuration", DURATION, "5m", IGNORED, "")                                     \
    F("search.maxSamplesPerSeries", INT, "30000000", IGNORED, "")                                  \
    F("search.maxTagKeys", INT, "100000", IGNORED, "")                                             \
    F("search.maxTagValues", INT, "100000", IGNORED, "")                                           \
    F("search.maxTagValueSuffixesPerSearch", INT, "100000", IGNORED, "")                           \
    F("search.maxResponseSeries", INT, "0", IGNORED, "")                                           \
    F("search.maxSeriesPerAggrFunc", INT, "1000000", IGNORED, "")                                  \
    F("search.logQueryMemoryUsage", BYTES, "0", IGNORED, "")                                       \
    F("search.minStalenessInterval", DURATION, "0s", IGNORED, "")                                  \
    F("search.treatDotsAsIsInRegexps", BOOL, "false", IGNORED, "")                                 \
    F("search.tenantCacheExpireDuration", DURATION, "5m", IGNORED, "")                             \
    F("search.inmemoryBufSizeBytes", BYTES, "0", IGNORED, "")                                      \
    F("search.graphiteStorageStep", DURATION, "10s", IGNORED, "")                                  \
    F("rpc.disableCompression", BOOL, "false", IGNORED, "")                                        \
    F("rpc.handshakeTimeout", DURATION, "5s", IGNORED, "")                                         \
    F("disableRerouting", BOOL, "false", IGNORED, "")                                              \
    F("disableReroutingOnUnavailable", BOOL, "false", IGNORED, "")                                 \
    F("dropSamplesOnOverload", BOOL, "false", IGNORED, "")                                         \
    F("relabelConfig", STRING, "", IGNORED, "")                                                    \
    F("sortLabels", BOOL, "false", IGNORED, "")                                                    \
    F("usePromCompatibleNaming", BOOL, "false", 0,                                                 \
      "characters Prometheus does not know become _ in metric and label names")                    \
    F("maxIngestionRate", INT, "0", IGNORED, "")                                                   \
    F("enableTCP6", BOOL, "true", IGNORED, "")                                                     \
    F("tls", BOOLS, "", 0,                                                                         \
      "serve HTTPS; of several -httpListenAddr each has its own -tls, or one is for all")          \
    F("tlsCertFile", LIST, "", 0,                                                                  \
      "PEM file of the certificate and its chain, likewise; read again when it changes")           \
    F("tlsKeyFile", LIST, "", 0, "PEM file of the key, likewise")                                  \
    F("tlsMinVersion", LIST, "", 0, "TLS10, TLS11, TLS12 (default) or TLS13, likewise")            \
    F("tlsCipherSuites", LIST, "", 0,                                                              \
      "names of cipher suites before TLS 1.3 to take; all listeners")                              \
    F("loggerTimezone", STRING, "UTC", IGNORED, "")                                                \
    F("loggerOutput", STRING, "stderr", IGNORED, "")                                               \
    F("loggerDisableTimestamps", BOOL, "false", IGNORED, "")                                       \
    F("loggerErrorsPerSecondLimit", INT, "0", IGNORED, "")                                         \
    F("loggerWarnsPerSecondLimit", INT, "0", IGNORED, "")                                          \
    F("loggerMaxArgLen", INT, "5000", IGNORED, "")                                                 \
    F("metrics.exposeMetadata", BOOL, "false", IGNORED, "")                                        \
    F("pushmetrics.url", LIST, "", IGNORED, "")                                                    \
    F("promscrape.config", STRING, "", IGNORED, "")                                                \
    F("internStringMaxLen", INT, "500", IGNORED, "")                                               \
    F("filestream.disableFadvise", BOOL, "false", IGNORED, "")                                     \
    F("fs.disableMmap", BOOL, "false", IGNORED, "")                                                \
    F("blockcache.missesBeforeCaching", INT, "2", IGNORED, "")                                     \
    F("influxDBLabel", STRING, "db", 0, "label for the db argument of InfluxDB writes")            \
    F("influxMeasurementFieldSeparator", STRING, "_", 0,                                           \
      "between measurement and field in metric names")                                             \
    F("influxSkipSingleField", BOOL, "false", 0,                                                   \
      "InfluxDB lines with one field are named by the measurement alone")                          \
    F("influxSkipMeasurement", BOOL, "false", 0, "InfluxDB samples are named by the field alone")  \
    F("influx.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of an InfluxDB write")    \
    F("nativeHistograms", STRING, "both", 0,                                                       \
      "how native histograms of remote write are kept: native = as they are, for strict PromQL; "  \
      "vmrange = as VictoriaMetrics' buckets, for MetricsQL; both")                                \
    F("opentelemetry.nativeHistograms", STRING, "vmrange", 0,                                      \
      "the same for exponential histograms of OTLP")                                               \
    F("opentelemetry.usePrometheusNaming", BOOL, "false", 0,                                       \
      "OTLP names as Prometheus makes them: my.metric of unit s becomes my_metric_seconds")        \
    F("opentelemetry.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of an OTLP write") \
    F("delete.enable", BOOL, "false", 0, "allow deletion of logs by /delete/run_task")             \
    F("search.maxQueryTimeRange", DURATION, "0s", 0,                                               \
      "longest range of time a LogsQL query may read; 0 = no limit")                               \
    F("logs.retentionPeriod", RETENTION, "7d", 0, "how long the log store `logs` is kept")         \
    F("logs.store", LIST, "", 0,                                                                   \
      "a further log store as name:retention[:size], such as audit:1y:100GiB; below "              \
      "/store/audit/ or by "                                                                       \
      "-logs.listenAddr; repeat for more")                                                         \
    F("logs.retentionFilter", LIST, "", 0,                                                         \
      "log rows of streams that match live so long, shorter or longer than others: "               \
      "{app=\"x\"}:1d, "                                                                           \
      "or store={…}:1d for one store; repeat for more")                                            \
    F("logs.listenAddr", LIST, "", 0,                                                              \
      "a listener of one log store as store=addr, store/insert=addr or store/select=addr; "        \
      "repeat for more")                                                                           \
    F("logs.tls", BOOLS, "", 0, "serve HTTPS on -logs.listenAddr, per listener or one for all")    \
    F("logs.tlsCertFile", LIST, "", 0, "certificate, likewise; without it the first -tlsCertFile") \
    F("logs.tlsKeyFile", LIST, "", 0, "key, likewise; without it the first -tlsKeyFile")           \
    F("logs.tlsMinVersion", LIST, "", 0, "TLS10, TLS11, TLS12 (default) or TLS13, likewise")       \
    F("logs.tlsCipherSuites", LIST, "", 0,                                                         \
      "names of cipher suites before TLS 1.3 to take; all listeners")                              \
    F("logs.futureRetention", DURATION, "2d", 0, "how far in the future log rows are accepted")    \
    F("logs.maxBackfillAge", DURATION, "0s", 0,                                                    \
      "log rows older than this are refused even within the retention; 0 = none")                  \
    F("logs.maxDiskSpaceUsageBytes", BYTES, "0", 0,                                                \
      "oldest days of a log store are dropped beyond this size; 0 = no limit")                     \
    F("logs.dedupWindow", DURATION, "0s", 0,                                                       \
      "an identical batch of log rows sent again within this time is stored once; 0 = off")        \
    F("logs.memoryBytes", BYTES, "0", 0, "memory for log rows not on disk yet; 0 = by itself")     \
    F("logs.flushInterval", DURATION, "5m", 0, "log rows reach parts at least this often")         \
    F("syslog.listenAddr.tcp", LIST, "", 0,                                                        \
      "addresses to take syslog on over TCP; repeat for more")                                     \
    F("syslog.listenAddr.udp", LIST, "", 0,                                                        \
      "addresses to take syslog on over UDP; repeat for more")                                     \
    F("syslog.listenAddr.unix", LIST, "", 0,                                                       \
      "unix sockets to take syslog on; a path behind dgram: takes datagrams; repeat for more")     \
    F("syslog.streamFields.tcp", LIST, "", 0,                                                      \
      "stream fields of syslog rows as [\"a\",\"b\"], per listener of -syslog.listenAddr.tcp")     \
    F("syslog.streamFields.udp", LIST, "", 0,                                                      \
      "stream fields of syslog rows as [\"a\",\"b\"], per listener of -syslog.listenAddr.udp")     \
    F("syslog.streamFields.unix", LIST, "", 0,                                                     \
      "stream fields of syslog rows as [\"a\",\"b\"], per listener of -syslog.listenAddr.unix")    \
    F("syslog.ignoreFields.tcp", LIST, "", 0, "fields of syslog rows to leave out, likewise")      \
    F("syslog.ignoreFields.udp", LIST, "", 0, "fields of syslog rows to leave out, likewise")      \
    F("syslog.ignoreFields.unix", LIST, "", 0, "fields of syslog rows to leave out, likewise")     \
    F("syslog.decolorizeFields.tcp", LIST, "", 0,                                                  \
      "fields of syslog rows to strip of colours, likewise")                                       \
    F("syslog.decolorizeFields.udp", LIST, "", 0,                                                  \
      "fields of syslog rows to strip of colours, likewise")                                       \
    F("syslog.decolorizeFields.unix", LIST, "", 0,                                                 \
      "fields of syslog rows to strip of colours, likewise")                                       \
    F("syslog.extraFields.tcp", LIST, "", 0,                                                       \
      "fields to add to syslog rows as {\"a\":\"b\"}, likewise")                                   \
    F("syslog.extraFields.udp", LIST, "", 0,                                                       \
      "fields to add to syslog rows as {\"a\":\"b\"}, likewise")                                   \
    F("syslog.extraFields.unix", LIST, "", 0,                                                      \
      "fields to add to syslog rows as {\"a\":\"b\"}, likewise")                                   \
    F("syslog.tenantID.tcp", LIST, "", 0, "tenant of syslog rows, likewise")                       \
    F("syslog.tenantID.udp", LIST, "", 0, "tenant of syslog rows, likewise")                       \
    F("syslog.tenantID.unix", LIST, "", 0, "tenant of syslog rows, likewise")                      \
    F("syslog.compressMethod.tcp", LIST, "", 0,                                                    \
      "packing of syslog messages: none, gzip, deflate, zstd (datagrams only), likewise")          \
    F("syslog.compressMethod.udp", LIST, "", 0,                                                    \
      "packing of syslog messages: none, gzip, deflate, zstd (datagrams only), likewise")          \
    F("syslog.compressMethod.unix", LIST, "", 0,                                                   \
      "packing of syslog messages: none, gzip, deflate, zstd (datagrams only), likewise")          \
    F("syslog.useLocalTimestamp.tcp", BOOLS, "", 0,                                                \
      "the time of arrival is the rows' time, likewise")                                           \
    F("syslog.useLocalTimestamp.udp", BOOLS, "", 0,                                                \
      "the time of arrival is the rows' time, likewise")                                           \
    F("syslog.useLocalTimestamp.unix", BOOLS, "", 0,                                               \
      "the time of arrival is the rows' time, likewise")                                           \
    F("syslog.useRemoteIP.tcp", BOOLS, "", 0, "add field remote_ip, likewise")                     \
    F("syslog.useRemoteIP.udp", BOOLS, "", 0, "add field remote_ip, likewise")                     \
    F("syslog.useRemoteIP.unix", BOOLS, "", 0, "add field remote_ip, likewise")                    \
    F("syslog.store.tcp", LIST, "", 0, "log store of syslog rows, likewise")                       \
    F("syslog.store.udp", LIST, "", 0, "log store of syslog rows, likewise")                       \
    F("syslog.store.unix", LIST, "", 0, "log store of syslog rows, likewise")                      \
    F("syslog.timezone", STRING, "Local", 0, "zone of RFC 3164 times: Local or UTC")               \
    F("syslog.tls", BOOLS, "", 0, "take syslog over TLS, per -syslog.listenAddr.tcp")              \
    F("syslog.tlsCertFile", LIST, "", 0,                                                           \
      "PEM file of the certificate and its chain, likewise; read again when it changes")           \
    F("syslog.tlsKeyFile", LIST, "", 0, "PEM file of the key, likewise")                           \
    F("syslog.tlsMinVersion", STRING, "TLS13", 0, "TLS10, TLS11, TLS12 or TLS13")                  \
    F("syslog.tlsCipherSuites", LIST, "", 0,                                                       \
      "names of cipher suites before TLS 1.3 to take; all listeners")                              \
    F("insert.maxLineSizeBytes", BYTES, "256KiB", 0,                                               \
      "longest line of logs; longer ones are skipped")                                             \
    F("insert.maxFieldsPerLine", INT, "1000", 0,                                                   \
      "log rows with more fields are dropped; at most 2000")                                       \
    F("insert.disable", BOOL, "false", 0, "refuse all ingestion of logs over HTTP")                \
    F("internalinsert.disable", BOOL, "false", 0, "refuse /internal/insert")                       \
    F("defaultMsgValue", STRING,                                                                   \
      "missing _msg field; see "                                                                   \
      "https://docs.victoriametrics.com/victorialogs/keyconcepts/#message-field",                  \
      0, "the _msg of log rows that have none; empty: they go without")                            \
    F("loki.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of a Loki push")            \
    F("loki.disableMessageParsing", BOOL, "false", 0,                                              \
      "a Loki line that is a JSON object stays a line")                                            \
    F("loki.messageFieldsPrefix", STRING, "", 0, "prefix of the fields found in such a line")      \
    F("datadog.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of Datadog logs")        \
    F("datadog.streamFields", STRING, "", 0, "stream fields of Datadog logs, with commas")         \
    F("datadog.ignoreFields", STRING, "", 0, "fields of Datadog logs to leave out, with commas")   \
    F("splunk.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of Splunk events")        \
    F("splunk.streamFields", STRING, "host,source,sourcetype", 0,                                  \
      "stream fields of Splunk events")                                                            \
    F("splunk.ignoreFields", STRING, "", 0, "fields of Splunk events to leave out")                \
    F("splunk.timeField", STRING, "time", 0, "time field of Splunk events")                        \
    F("splunk.msgField", STRING, "event,event.log,event.line,event.message", 0,                    \
      "message fields of Splunk events, the first with a value counts")                            \
    F("splunk.preserveJSONKeys", STRING, "", 0, "keys of Splunk events that stay JSON")            \
    F("splunk.tenantID", STRING, "0:0", 0, "tenant of Splunk events without tenant headers")       \
    F("journald.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of a journal upload")   \
    F("journald.streamFields", STRING, "_MACHINE_ID,_HOSTNAME,_SYSTEMD_UNIT", 0,                   \
      "stream fields of journal entries")                                                          \
    F("journald.ignoreFields", STRING, "", 0, "fields of journal entries to leave out")            \
    F("journald.timeField", STRING, "__REALTIME_TIMESTAMP", 0,                                     \
      "time field of journal entries, in microseconds")                                            \
    F("journald.tenantID", STRING, "0:0", 0, "tenant of journal entries without tenant headers")   \
    F("journald.includeEntryMetadata", BOOL, "false", 0,                                           \
      "keep fields of journal entries that begin with __")                                         \
    F("nativeinsert.maxRequestSize", BYTES, "64MiB", 0, "largest unpacked body of /insert/native") \
    F("internalinsert.maxRequestSize", BYTES, "64MiB", 0,                                          \
      "largest unpacked body of /internal/insert")                                                 \
    F("elasticsearch.version", STRING, "8.9.0", 0, "version the Elasticsearch endpoints claim")    \
    F("logNewStreams", BOOL, "false", IGNORED, "")                                                 \
    F("logIngestedRows", BOOL, "false", IGNORED, "")

struct flag {
    const char *name, *fallback, *help;
    enum ks_flag_type type;
    int attributes;
};

static const struct flag table[] = {
#define F(name, type, fallback, attributes, help)                                                  \
    {name, fallback, help, KS_FLAG_##type, attributes},
    FLAG_TABLE(F)
#undef F
};
enum { FLAG_COUNT = sizeof table / sizeof *table };

struct value {
    bool is_set;
    char *text; /* owned; NULL = the default */
    const char **list;
    size_t list_count;
};
static struct value values[FLAG_COUNT];

static int find(const char *name, size_t len)
{
    for (int i = 0; i < FLAG_COUNT; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return i;
    return -1;
}

static int must_find(const char *name)
{
    int i = find(name, strlen(name));
    KS_ASSERT(i >= 0);
    return i;
}

static const char *text_of(int i)
{
    return values[i].text ? values[i].text : table[i].fallback;
}

/* --- values --- */
static bool parse_bool(const char *s, bool *ret)
{
    static const char *const yes[] = {"1", "t", "true", "T", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "false", "F", "FALSE", "False"};
    for (size_t i = 0; i < 6; i++) {
        if (strcmp(s, yes[i]) == 0)
            return *ret = true;
        if (strcmp(s, no[i]) == 0) {
            *ret = false;
            return true;
        }
    }
    return false;
}

static bool check_bools(const char *text)
{
    char item[8];
    bool b;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ",");
        snprintf(item, sizeof item, "%.*s", n < sizeof item ? (int)n : 0, p);
        if (n && !parse_bool(item, &b))
            return false;
        p += n + (p[n] == ',');
    }
    return true;
}

static bool is_list(int i)
{
    return table[i].type == KS_FLAG_LIST || table[i].type == KS_FLAG_BOOLS;
}

static ks_err check(int i, const char *text)
{
    int64_t n;
    bool b;
    switch (table[i].type) {
    case KS_FLAG_BOOL:
        return parse_bool(text, &b) ? KS_OK : ks_fail(KS_EINVAL, "want true or false");
    case KS_FLAG_INT:
        return ks_i64_parse(ks_slice_str(text), &n) ? KS_OK : ks_fail(KS_EINVAL, "want an integer");
    case KS_FLAG_DURATION:
        return ks_duration_parse_ms(ks_slice_str(text), &n);
    case KS_FLAG_RETENTION:
        return ks_retention_parse_ms(ks_slice_str(text), &n);
    case KS_FLAG_BYTES:
        return ks_bytes_parse(ks_slice_str(text), &n);
    case KS_FLAG_BOOLS:
        return check_bools(text) ? KS_OK : ks_fail(KS_EINVAL, "want true or false, with commas");
    default:
        return KS_OK;
    }
}

/* %{NAME} → the variable's value; unknown ones are an error. */
static ks_err expand_env(const char *in, struct ks_buf *out)
{
    for (const char *open; (open = strstr(in, "%{"));) {
        const char *close = strchr(open, '}');
        if (!close)
            break;
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(close - open - 2), open + 2);
        const char *v = getenv(name);
        if (!v)
            return ks_fail(KS_EINVAL, "environment variable %s is not set", name);
        ks_buf_add(out, in, (size_t)(open - in));
        ks_buf_str(out, v);
        in = close + 1;
    }
    ks_buf_str(out, in);
    ks_buf_byte(out, 0);
    return ks_buf_status(out);
}

static ks_err add_to_list(struct value *v, const char *text)
{
    size_t cap = v->list_count;
    for (const char *p = text; *p;) {
        size_t n =
            ks_rule_text_item(ks_slice_str(p)); /* commas in quotes and braces do not part items */
        if (n) {
            KS_TRY(ks_array_reserve((void **)&v->list, &cap, v->list_count + 1, sizeof *v->list));
            char *item = ks_memdup(p, n);
            if (!item)
                return KS_ENOMEM;
            v->list[v->list_count++] = item;
        }
        p += n + (p[n] == ',');
    }
    return KS_OK;
}

static ks_err set(int i, const char *raw)
{
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_err err = expand_env(raw, &b);
    if (err == KS_OK)
        err = check(i, b.ptr);
    if (err == KS_OK && is_list(i))
        err = add_to_list(&values[i], b.ptr);
    if (err == KS_OK) {
        char *text = ks_strdup(b.ptr);
        if (text) {
            ks_free(values[i].text);
            values[i].text = text;
            values[i].is_set = true;
        } else {
            err = KS_ENOMEM;
        }
    }
    ks_buf_done(&b);
    return err == KS_OK
               ? err
               : ks_fail_context(err, "invalid value \"%s\" for flag -%s", raw, table[i].name);
}

/* --- parsing --- */
static unsigned distance(const char *a, size_t alen, const char *b)
{
    unsigned row[128];
    size_t blen = strlen(b);
    if (alen > 100 || blen > 100)
        return 1000;
    for (size_t j = 0; j <= blen; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= alen; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= blen; j++) {
            unsigned cost =
                diag + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            diag = row[j];
            unsigned step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = cost < step ? cost : step;
        }
    }
    return row[blen];
}

static ks_err unknown(const char *name, size_t len)
{
    char near[256] = "";
    for (int i = 0; i < FLAG_COUNT; i++) {
        const char *dot = strrchr(table[i].name, '.');
        unsigned limit = len / 4 + 1;
        if (distance(name, len, table[i].name) > limit &&
            !(dot && distance(name, len, dot + 1) <= limit / 2))
            continue;
        size_t used = strlen(near);
        snprintf(near + used, sizeof near - used, "%s-%s", used ? ", " : "; did you mean ",
                 table[i].name);
    }
    return ks_fail(KS_EINVAL, "flag provided but not defined: -%.*s%s", (int)len, name, near);
}

static ks_err from_environment(void)
{
    const char *prefix = ks_flag_str("envflag.prefix");
    for (int i = 0; i < FLAG_COUNT; i++) {
        char name[256];
        int n = snprintf(name, sizeof name, "%s%s", prefix, table[i].name);
        for (int k = (int)strlen(prefix); k < n; k++)
            if (name[k] == '.')
                name[k] = '_';
        const char *v = getenv(name);
        if (v && !values[i].is_set)
            KS_TRY(set(i, v));
    }
    return KS_OK;
}

ks_err ks_flags_parse(int argc, char **argv, int first, int *ret_next)
{
    int a = first;
    for (; a < argc; a++) {
        const char *s = argv[a];
        if (s[0] != '-' || !s[1])
            break;
        if (strcmp(s, "--") == 0) {
            a++;
            break;
        }
        s += s[1] == '-' ? 2 : 1;
        size_t len = strcspn(s, "=");
        int i = find(s, len);
        if (i < 0)
            return unknown(s, len);
        const char *v = s[len] ? s + len + 1 : NULL;
        if (!v && (table[i].type == KS_FLAG_BOOL || table[i].type == KS_FLAG_BOOLS))
            v = "true";
        if (!v && ++a >= argc)
            return ks_fail(KS_EINVAL, "flag needs an argument: -%s", table[i].name);
        KS_TRY(set(i, v ? v : argv[a]));
    }
    *ret_next = a;
    return ks_flag_bool("envflag.enable") ? from_environment() : KS_OK;
}

void ks_flags_reset(void)
{
    for (int i = 0; i < FLAG_COUNT; i++) {
        for (size_t k = 0; k < values[i].list_count; k++)
            ks_free((char *)values[i].list[k]);
        ks_free(values[i].list);
        ks_free(values[i].text);
        values[i] = (struct value){0};
    }
}

/* --- reading --- */
const char *ks_flag_str(const char *name)
{
    return text_of(must_find(name));
}

bool ks_flag_bool(const char *name)
{
    int i = must_find(name);
    bool b = false;
    KS_ASSERT(table[i].type == KS_FLAG_BOOL && parse_bool(text_of(i), &b));
    return b;
}

int64_t ks_flag_int(const char *name)
{
    int i = must_find(name);
    struct ks_slice s = ks_slice_str(text_of(i));
    int64_t n = 0;
    bool ok = table[i].type == KS_FLAG_INT ? ks_i64_parse(s, &n) : ks_bytes_parse(s, &n) == KS_OK;
    KS_ASSERT(ok);
    return n;
}

int64_t ks_flag_ms(const char *name)
{
    int i = must_find(name);
    struct ks_slice s = ks_slice_str(text_of(i));
    int64_t ms = 0;
    ks_err err = table[i].type == KS_FLAG_RETENTION ? ks_retention_parse_ms(s, &ms)
                                                    : ks_duration_parse_ms(s, &ms);
    KS_ASSERT(err == KS_OK);
    return ms;
}

const char *ks_flag_item(const char *name, size_t at)
{
    const char *const *list;
    size_t n = ks_flag_list(name, &list);
    return at < n ? list[at] : n == 1 ? list[0] : "";
}

bool ks_flag_item_bool(const char *name, size_t at)
{
    bool b = false;
    return parse_bool(ks_flag_item(name, at), &b) && b;
}

size_t ks_flag_list(const char *name, const char *const **ret)
{
    int i = must_find(name);
    static const char *fallback[1];
    KS_ASSERT(is_list(i));
    if (values[i].is_set) {
        *ret = values[i].list;
        return values[i].list_count;
    }
    fallback[0] = table[i].fallback;
    *ret = fallback;
    return table[i].fallback[0] != 0;
}

bool ks_flag_is_set(const char *name)
{
    return values[must_find(name)].is_set;
}

void ks_flags_log_ignored(void)
{
    char names[768] = "";
    for (int i = 0; i < FLAG_COUNT; i++) {
        size_t used = strlen(names);
        if ((table[i].attributes & IGNORED) && values[i].is_set &&
            strcmp(text_of(i), table[i].fallback) != 0)
            snprintf(names + used, sizeof names - used, " -%s", table[i].name);
    }
    if (names[0])
        ks_log(KS_LOG_WARN, "cmd", "flags accepted without effect:%s; see kofstore help flags",
               names);
}

/* --- printing --- */
void ks_flags_print_markdown(struct ks_buf *out)
{
    ks_buf_str(out, "| Flag | Default | Meaning |\n|---|---|---|\n");
    for (int i = 0; i < FLAG_COUNT; i++)
        if (!(table[i].attributes & IGNORED))
            ks_buf_printf(out, "| `-%s` | %s%s%s | %s |\n", table[i].name,
                          table[i].fallback[0] ? "`" : "", table[i].fallback,
                          table[i].fallback[0] ? "`" : "", table[i].help);
    ks_buf_str(out, "\nAccepted without effect, so that existing deployments start:");
    const char *sep = " ";
    for (int i = 0; i < FLAG_COUNT; i++)
        if (table[i].attributes & IGNORED) {
            ks_buf_printf(out, "%s`-%s`", sep, table[i].name);
            sep = ", ";
        }
    ks_buf_str(out, ".\n");
}

static const char *shown(int i)
{
    const char *text = text_of(i);
    return (table[i].attributes & SECRET) && text[0] ? "secret" : text;
}

void ks_flags_print_values(struct ks_buf *out)
{
    for (int i = 0; i < FLAG_COUNT; i++) {
        ks_buf_printf(out, "-%s=", table[i].name);
        ks_buf_json_str(out, ks_slice_str(shown(i)));
        ks_buf_byte(out, '\n');
    }
}

void ks_flags_print_metrics(struct ks_buf *out)
{
    for (int i = 0; i < FLAG_COUNT; i++) {
        ks_buf_printf(out, "flag{name=\"%s\", value=", table[i].name);
        ks_buf_json_str(out, ks_slice_str(shown(i)));
        ks_buf_printf(out, ", is_set=\"%s\"} 1\n", values[i].is_set ? "true" : "false");
    }
}
