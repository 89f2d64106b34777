/*
 * /insert/jsonline: a JSON object per line. A line that cannot be read costs that line alone; the
 * answer names the first such line, and is an error only when no line could be read.
 */
#include "api/app.h"
#include "api/logs/log_json.h"
#include "api/logs/logs.h"

KS_LOG_PROTOCOL(protocol, "jsonline");
static KS_STAT(stat_long_lines, "vl_too_long_lines_skipped_total");

static ks_err one_line(struct ks_log_ingest *in, struct ks_slice line, uint64_t number,
                       size_t max_line_bytes)
{
    int64_t time_ns;
    ks_err err;
    ks_log_rewind(in, 0);
    if (KS_UNLIKELY(line.len > max_line_bytes)) {
        ks_stat_add(&stat_long_lines, 1);
        err =
            ks_fail(KS_EPARSE, "the line has %zu bytes; the limit is -insert.maxLineSizeBytes=%zu",
                    line.len, max_line_bytes);
    } else {
        err = ks_log_json_line(line, in, in->arena);
    }
    if (err == KS_OK)
        err = ks_log_take_time(in, &time_ns);
    if (KS_UNLIKELY(err != KS_OK)) {
        if (err == KS_EPARSE)
            ks_log_skip(in, "line", number);
        return err == KS_EPARSE ? KS_OK : err;
    }
    if (in->params->msg_fields.count)
        ks_log_rename_msg(in, 0);
    return ks_log_row(in, time_ns, KS_LOG_TAGS_BY_NAME);
}

ks_err ks_jsonline_decode(struct ks_log_ingest *in, struct ks_slice body, size_t max_line_bytes)
{
    uint64_t number = 0;
    while (body.len) {
        const char *eol = memchr(body.ptr, '\n', body.len);
        size_t n = eol ? (size_t)(eol - body.ptr) : body.len;
        struct ks_slice line = ks_slice(body.ptr, n);
        body = ks_slice_from(body, eol ? n + 1 : n);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        number++;
        if (line.len)
            KS_TRY(one_line(in, line, number, max_line_bytes));
    }
    return KS_OK;
}

ks_err ks_jsonline_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_slice body;
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_body(req, cfg->max_stream_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, &protocol, &params, &in));
    KS_TRY(ks_jsonline_decode(&in, body,
                              cfg->max_line_bytes ? cfg->max_line_bytes : KS_LOG_LINE_BYTES));
    KS_TRY(ks_log_ingest_end(&in));
    if (in.out.skipped && !in.out.rows)
        return ks_fail(KS_EPARSE, "no line could be read; %s", in.out.first_reason);
    req->resp.content_type = "application/json";
    ks_log_report(&in, &req->resp.body);
    return KS_OK;
}
