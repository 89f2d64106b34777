/* InfluxDB's HTTP endpoints. */
#include "api/app.h"
#include "api/ingest/influx.h"
#include "api/ingest/remote_write.h"
#include "base/log.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"influx\"}");

static void version_header(struct ks_http_request *req)
{
    ks_http_add_header(req, "X-Influxdb-Version", KS_SLICE_LIT("1.8.0"));
}

static ks_err write_lines(struct ks_http_request *req)
{
    const struct ks_config *cfg = &ks_app_of(req)->cfg;
    struct ks_influx_opts o = {
        .db_label = ks_slice_str(cfg->influx_db_label),
        .db = ks_http_arg(req, "db"),
        .separator = ks_slice_str(cfg->influx_separator),
        .skip_single_field = cfg->influx_skip_single_field,
        .skip_measurement = cfg->influx_skip_measurement,
        .precision = ks_influx_precision(ks_http_arg(req, "precision")),
    };
    struct ks_ingest in;
    struct ks_slice body;
    struct ks_influx_result res;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(ks_ingest_body(req, cfg->influx_max_request_bytes, &body));
    KS_TRY(ks_import_influx(&in, body, &o, &res));
    KS_TRY(ks_ingest_end(&in));
    version_header(req);
    req->resp.status = 204;
    if (!res.bad)
        return KS_OK;
    ks_log_limited(5000, KS_LOG_WARN, "api", "influx: %llu bad lines skipped; first: line %zu: %s",
                   (unsigned long long)res.bad, res.first_bad_line, res.first_bad);
    if (ks_slice_is(ks_http_header(req, "Stream-Mode"), "1"))
        return KS_OK;
    return ks_fail(KS_EPARSE,
                   "partial write: cannot parse line %zu: %s; %llu lines stored, %llu skipped",
                   res.first_bad_line, res.first_bad, (unsigned long long)res.good,
                   (unsigned long long)res.bad);
}

/* Some remote write clients are configured with the bare path /write; their content type tells. */
ks_err ks_influx_write_handle(struct ks_http_request *req)
{
    if (ks_slice_has_prefix(ks_http_header(req, "Content-Type"),
                            KS_SLICE_LIT("application/x-protobuf")))
        return ks_remote_write_handle(req);
    return write_lines(req);
}

ks_err ks_influx_query_handle(struct ks_http_request *req)
{
    version_header(req);
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":"
                                "\"databases\",\"columns\":[\"name\"],"
                                "\"values\":[[\"_internal\"]]}]}]}");
    return KS_OK;
}

ks_err ks_influx_health_handle(struct ks_http_request *req)
{
    version_header(req);
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"name\":\"influxdb\", \"message\":\"ready for queries and "
                                "writes\", \"status\":\"pass\", \"checks\":[]}");
    return KS_OK;
}
