/* The HTTP side of OTLP traces. */
#include <stdio.h>
#include <strings.h>

#include "api/app.h"
#include "api/compress.h"
#include "api/ingest/otlp_json.h"
#include "api/jaeger/jaeger.h"
#include "api/otlp/otlp.h"
#include "api/otlp/traces_json.h"
#include "api/otlp/traces_proto.h"
#include "api/scratch.h"

bool ks_otlp_sent_as(const struct ks_http_request *req, const char *want)
{
    struct ks_slice type = ks_http_header(req, "Content-Type");
    size_t n = strlen(want);
    return type.len >= n && strncasecmp(type.ptr, want, n) == 0 &&
           (type.len == n || type.ptr[n] == ';' || type.ptr[n] == ' ');
}

/* The body as sent or unpacked, at most the limit. */
ks_err ks_otlp_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret)
{
    enum ks_encoding enc = ks_encoding_of(ks_http_header(req, "Content-Encoding"));
    *ret = req->body;
    if (enc == KS_ENC_NONE)
        return req->body.len <= limit
                   ? KS_OK
                   : ks_fail(KS_ETOOBIG, "the request has more than %zu bytes", limit);
    ks_buf_reset(&req->scratch->body);
    KS_TRY(ks_decompress(enc, req->body, limit, &req->scratch->body));
    *ret = ks_buf_view(&req->scratch->body);
    return KS_OK;
}

static ks_err decode_json(struct ks_span_sink *s, struct ks_slice body, struct ks_arena *arena,
                          size_t limit)
{
    struct ks_buf protobuf;
    ks_buf_init(&protobuf, 2 * limit + (1 << 20));
    ks_err err = ks_otlp_json_to_protobuf(body, &ks_otlp_traces_request, arena, &protobuf);
    if (err == KS_OK)
        err = ks_otlp_traces_decode(s, ks_buf_view(&protobuf));
    if (err == KS_OK)
        err = ks_span_sink_finish(s); /* before what it borrows goes */
    ks_buf_done(&protobuf);
    return err;
}

static ks_err store(struct ks_http_request *req, bool json, struct ks_span_sink *s)
{
    size_t limit = ks_app_of(req)->cfg.otlp_max_request_bytes;
    struct ks_slice body;
    KS_TRY(ks_trace_tenant(req, &req->tenant));
    KS_TRY(ks_span_sink_begin(s, req));
    KS_TRY(ks_otlp_body(req, limit, &body));
    if (json)
        return decode_json(s, body, &req->arena, limit);
    KS_TRY(ks_otlp_traces_decode(s, body));
    return ks_span_sink_finish(s);
}

ks_err ks_otlp_traces_handle(struct ks_http_request *req)
{
    struct ks_slice type = ks_http_header(req, "Content-Type");
    bool json = ks_otlp_sent_as(req, "application/json");
    struct ks_span_sink s;
    ks_err err;
    if (!json && type.len && !ks_otlp_sent_as(req, "application/x-protobuf") &&
        !ks_otlp_sent_as(req, "application/protobuf"))
        err = ks_fail(KS_EUNSUPPORTED,
                      "content type \"%.*s\": want application/x-protobuf or application/json",
                      KS_SLICE_ARG(type));
    else
        err = store(req, json, &s);
    if (err != KS_OK) {
        char text[KS_ERR_TEXT_MAX];
        snprintf(text, sizeof text, "%s", ks_err_text());
        ks_otlp_fail(req, json, err, text);
        return KS_OK;
    }
    req->resp.status = 200;
    req->resp.content_type = json ? "application/json" : "application/x-protobuf";
    ks_otlp_partial(&req->resp.body, json, "rejectedSpans", s.rejected, ks_slice_str(s.reason));
    return KS_OK;
}
