/* The HTTP side of OTLP metrics. The answer has the request's encoding. */
#include "api/app.h"
#include "api/ingest/otlp_json.h"
#include "api/ingest/otlp_metrics.h"
#include "api/otlp/otlp.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"opentelemetry\"}");
static KS_STAT(stat_rejected, "vm_rows_invalid_total{type=\"opentelemetry\"}");

/* ExportMetricsServiceResponse { partial_success { rejected_data_points, error_message } }; empty
 * when all is well. */
static void answer(struct ks_http_request *req, bool json, uint64_t rejected,
                   struct ks_slice reason)
{
    req->resp.status = 200;
    req->resp.content_type = json ? "application/json" : "application/x-protobuf";
    ks_otlp_partial(&req->resp.body, json, "rejectedDataPoints", rejected, reason);
}

static ks_err from_json(struct ks_http_request *req, struct ks_buf *scratch, struct ks_slice *body)
{
    KS_TRY(ks_otlp_json_to_protobuf(*body, &ks_otlp_metrics_request, &req->arena, scratch));
    *body = ks_buf_view(scratch);
    return KS_OK;
}

ks_err ks_otlp_metrics_handle(struct ks_http_request *req)
{
    size_t limit = ks_app_of(req)->cfg.otlp_max_request_bytes;
    bool json = ks_otlp_sent_as(req, "application/json");
    struct ks_slice body;
    struct ks_ingest in;
    struct ks_otlp_result res;
    struct ks_buf protobuf;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(ks_ingest_body(req, limit, &body));
    ks_buf_init(&protobuf, limit ? 2 * limit : KS_BUF_UNLIMITED);
    ks_err err = json ? from_json(req, &protobuf, &body) : KS_OK;
    if (err == KS_OK)
        err = ks_otlp_metrics(&in, body, &res);
    if (err == KS_OK)
        err = ks_ingest_end(&in);
    ks_buf_done(&protobuf);
    KS_TRY(err);
    uint64_t rejected = res.rejected_points + in.not_stored;
    const char *reason =
        res.rejected_points
            ? res.first_reason
            : "samples outside of the retention or over a limit on series or labels";
    ks_stat_add(&stat_rejected, res.rejected_points);
    answer(req, json, rejected, ks_slice_str(reason));
    return KS_OK;
}
