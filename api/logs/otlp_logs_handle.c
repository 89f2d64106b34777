/* The HTTP side of OTLP logs. The answer has the request's encoding. */
#include <strings.h>

#include "api/app.h"
#include "api/ingest/otlp_json.h"
#include "api/logs/logs.h"

KS_LOG_PROTOCOL(protocol_protobuf, "opentelemetry_protobuf");
KS_LOG_PROTOCOL(protocol_json, "opentelemetry_json");

/* ExportLogsServiceResponse { partial_success { rejected_log_records, error_message } }; empty when
 * all is well. */
static void answer(struct ks_buf *out, bool json, uint64_t rejected, struct ks_slice reason)
{
    if (json) {
        ks_buf_str(out, "{\"partialSuccess\":{");
        if (rejected) {
            ks_buf_printf(out, "\"rejectedLogRecords\":\"%llu\",\"errorMessage\":",
                          (unsigned long long)rejected);
            ks_buf_json_str(out, reason);
        }
        ks_buf_str(out, "}}");
        return;
    }
    if (!rejected)
        return;
    uint8_t n[KS_VARINT_MAX], len[KS_VARINT_MAX];
    size_t number = ks_varint_put(n, rejected), text = ks_varint_put(len, reason.len);
    ks_buf_byte(out, 0x0a);
    ks_buf_varint(out, 1 + number + 1 + text + reason.len);
    ks_buf_byte(out, 0x08);
    ks_buf_add(out, n, number);
    ks_buf_byte(out, 0x12);
    ks_buf_lp(out, reason);
}

static ks_err ingest(struct ks_http_request *req, const struct ks_log_params *params, bool json,
                     struct ks_slice body)
{
    struct ks_log_ingest in;
    KS_TRY(ks_log_ingest_begin(req, json ? &protocol_json : &protocol_protobuf, params, &in));
    KS_TRY(ks_otlp_logs_decode(&in, body));
    KS_TRY(ks_log_ingest_end(&in));
    req->resp.content_type = json ? "application/json" : "application/x-protobuf";
    answer(&req->resp.body, json, in.out.dropped, ks_slice_str(in.out.first_reason));
    return KS_OK;
}

ks_err ks_otlp_logs_handle(struct ks_http_request *req)
{
    size_t limit = ks_app_of(req)->cfg.otlp_max_request_bytes;
    struct ks_slice type = ks_http_header(req, "Content-Type"), body;
    bool json = type.len >= 16 && strncasecmp(type.ptr, "application/json", 16) == 0;
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
