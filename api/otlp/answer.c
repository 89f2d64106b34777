/* OTLP's answers: partial success and errors. */
#include "api/otlp/otlp.h"

#include "base/bytes.h"

enum { MESSAGE_MAX = 4096 };

enum ks_grpc_code ks_grpc_code_of(ks_err err)
{
    switch (err) {
    case KS_OK:
        return KS_GRPC_OK;
    case KS_EINVAL:
    case KS_EPARSE:
        return KS_GRPC_INVALID_ARGUMENT;
    case KS_ENOTFOUND:
        return KS_GRPC_NOT_FOUND;
    case KS_ETOOBIG:
    case KS_ELIMIT:
        return KS_GRPC_RESOURCE_EXHAUSTED;
    case KS_EUNSUPPORTED:
        return KS_GRPC_UNIMPLEMENTED;
    case KS_ECANCELED:
        return KS_GRPC_CANCELLED;
    case KS_EAGAIN:
    case KS_ENOMEM:
    case KS_ENOSPC:
    case KS_EREADONLY:
    case KS_ECLOSED:
    case KS_EBUSY:
    case KS_ETIMEDOUT:
        return KS_GRPC_UNAVAILABLE;
    default:
        return KS_GRPC_INTERNAL;
    }
}

void ks_otlp_status(struct ks_buf *out, bool json, enum ks_grpc_code code, struct ks_slice message)
{
    if (message.len > MESSAGE_MAX)
        message.len = MESSAGE_MAX;
    if (json) {
        ks_buf_printf(out, "{\"code\":%d,\"message\":", (int)code);
        ks_buf_json_str(out, message);
        ks_buf_byte(out, '}');
        return;
    }
    ks_buf_byte(out, 0x08);
    ks_buf_varint(out, code);
    ks_buf_byte(out, 0x12);
    ks_buf_lp(out, message);
}

void ks_otlp_partial(struct ks_buf *out, bool json, const char *rejected_name, uint64_t rejected,
                     struct ks_slice message)
{
    uint8_t n[KS_VARINT_MAX], len[KS_VARINT_MAX];
    if (message.len > MESSAGE_MAX)
        message.len = MESSAGE_MAX;
    if (json) {
        ks_buf_str(out, "{\"partialSuccess\":{");
        if (rejected) {
            ks_buf_printf(out, "\"%s\":\"%llu\",\"errorMessage\":", rejected_name,
                          (unsigned long long)rejected);
            ks_buf_json_str(out, message);
        }
        ks_buf_str(out, "}}");
        return;
    }
    if (!rejected)
        return;
    size_t number = ks_varint_put(n, rejected), text = ks_varint_put(len, message.len);
    ks_buf_byte(out, 0x0a);
    ks_buf_varint(out, 1 + number + 1 + text + message.len);
    ks_buf_byte(out, 0x08);
    ks_buf_add(out, n, number);
    ks_buf_byte(out, 0x12);
    ks_buf_lp(out, message);
}

void ks_otlp_fail(struct ks_http_request *req, bool json, ks_err err, const char *text)
{
    int status = ks_err_http_status(err);
    /* Clients send again after 429, 502, 503 and 504 only. */
    if (err == KS_ELIMIT)
        status = 413;
    else if (ks_grpc_code_of(err) == KS_GRPC_UNAVAILABLE)
        status = 503;
    ks_buf_reset(&req->resp.body);
    req->resp.status = status;
    req->resp.extra_count = 0;
    req->resp.content_type = json ? "application/json" : "application/x-protobuf";
    ks_otlp_status(&req->resp.body, json, ks_grpc_code_of(err), ks_slice_str(text));
    if (status == 503)
        ks_http_add_header(req, "Retry-After", KS_SLICE_LIT("10"));
}
