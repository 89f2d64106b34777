/* The HTTP side of OTLP logs. The answer has the request's encoding. */
#include "api/app.h"
#include "api/ingest/otlp_json.h"
#include "api/logs/logs.h"
#include "api/otlp/otlp.h"

KS_LOG_PROTOCOL(protocol_protobuf, "opentelemetry_protobuf");
KS_LOG_PROTOCOL(protocol_json, "opentelemetry_json");

static ks_err ingest(struct ks_http_request *req, const struct ks_log_params *params, bool json,
                     struct ks_slice body)
{
    struct ks_log_ingest in;
    KS_TRY(ks_log_ingest_begin(req, json ? &protocol_json : &protocol_protobuf, params, &in));
    KS_TRY(ks_otlp_logs_decode(&in, body));
    KS_TRY(ks_log_ingest_end(&in));
    req->resp.content_type = json ? "application/json" : "application/x-protobuf";
    ks_otlp_partial(&req->resp.body, json, "rejectedLogRecords", in.out.dropped,
                    ks_slice_str(in.out.first_reason));
    return KS_OK;
}

ks_err ks_otlp_logs_handle(struct ks_http_request *req)
{
    size_t limit = ks_app_of(req)->cfg.otlp_max_request_bytes;
    bool json = ks_otlp_sent_as(req, "application/json");
    struct ks_slice body;
    struct ks_log_params params;
    struct ks_buf protobuf;
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_body(req, limit, &body));
    if (!json)
        return ingest(req, &params, false, body);
    ks_buf_init(&protobuf, limit ? 2 * limit : KS_BUF_UNLIMITED);
    ks_err err = ks_otlp_json_to_protobuf(body, &ks_otlp_logs_request, &req->arena, &protobuf);
    if (err == KS_OK)
        err = ingest(req, &params, true, ks_buf_view(&protobuf));
    ks_buf_done(&protobuf);
    return err;
}
