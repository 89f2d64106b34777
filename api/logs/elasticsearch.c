/*
 * Elasticsearch's _bulk: pairs of an action and a document. A document that cannot be read fails
 * alone, as the protocol has it: its item in the answer carries the error. What is no action ends
 * the request, for documents and actions could no longer be told apart.
 */
#include "api/app.h"
#include "api/logs/log_json.h"
#include "api/logs/logs.h"
#include "sys/clock.h"

KS_LOG_PROTOCOL(protocol, "elasticsearch_bulk");
static KS_STAT(stat_long_lines, "vl_too_long_lines_skipped_total{type=\"elasticsearch_bulk\"}");

/* The next line without its end; false at the end of the body. */
static bool next_line(struct ks_slice *body, struct ks_slice *ret)
{
    if (!body->len)
        return false;
    const char *eol = memchr(body->ptr, '\n', body->len);
    size_t n = eol ? (size_t)(eol - body->ptr) : body->len;
    *ret = ks_slice(body->ptr, n);
    *body = ks_slice_from(*body, eol ? n + 1 : n);
    if (ret->len && ret->ptr[ret->len - 1] == '\r')
        ret->len--;
    return true;
}

static bool contains(struct ks_slice line, const char *word)
{
    return memmem(line.ptr, line.len, word, strlen(word)) != NULL;
}

static ks_err document(struct ks_log_ingest *in, struct ks_slice line, size_t max_line_bytes)
{
    int64_t time_ns;
    ks_log_rewind(in, 0);
    if (line.len > max_line_bytes) {
        ks_stat_add(&stat_long_lines, 1);
        return ks_fail(KS_EPARSE,
                       "the document has %zu bytes; the limit is -insert.maxLineSizeBytes=%zu",
                       line.len, max_line_bytes);
    }
    KS_TRY(ks_log_json_line(line, in, in->arena));
    KS_TRY(ks_log_take_time(in, &time_ns));
    ks_log_rename_msg(in, 0);
    return ks_log_row(in, time_ns, KS_LOG_TAGS_BY_NAME);
}

static void item(struct ks_buf *items, bool ok)
{
    if (items->len)
        ks_buf_byte(items, ',');
    if (ok) {
        ks_buf_str(items, "{\"create\":{\"status\":201}}");
        return;
    }
    ks_buf_str(items,
               "{\"create\":{\"status\":400,\"error\":{\"type\":\"mapper_parsing_exception\","
               "\"reason\":");
    ks_buf_json_str(items, ks_slice_str(ks_err_text()));
    ks_buf_str(items, "}}}");
}

ks_err ks_es_bulk_decode(struct ks_log_ingest *in, struct ks_slice body, size_t max_line_bytes,
                         struct ks_buf *items, bool *ret_failed)
{
    struct ks_slice line;
    uint64_t number = 0;
    *ret_failed = false;
    in->accept_dates = true;
    while (next_line(&body, &line)) {
        if (!line.len)
            continue;
        if (!contains(line, "\"create\"") && !contains(line, "\"index\""))
            return ks_fail(KS_EPARSE,
                           "cannot decode log message #%llu in /_bulk request: unexpected command "
                           "%.*s; expecting \"create\" or \"index\"",
                           (unsigned long long)number, (int)(line.len < 100 ? line.len : 100),
                           line.ptr);
        if (!next_line(&body, &line))
            return ks_fail(KS_EPARSE,
                           "cannot decode log message #%llu in /_bulk request: missing log message "
                           "after the \"create\" or \"index\" command",
                           (unsigned long long)number);
        ks_err err = document(in, line, max_line_bytes);
        if (err != KS_OK && err != KS_EPARSE)
            return err;
        item(items, err == KS_OK);
        if (err != KS_OK) {
            *ret_failed = true;
            ks_log_skip(in, "document", number);
        }
        number++;
    }
    return ks_buf_status(items);
}

static void product_header(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    /* Clients of Elastic refuse anything else. */
    ks_http_add_header(req, "X-Elastic-Product", KS_SLICE_LIT("Elasticsearch"));
}

static ks_err bulk(struct ks_http_request *req, struct ks_buf *items, bool *ret_failed)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_slice body;
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_body(req, cfg->max_stream_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, &protocol, &params, &in));
    ks_err err =
        ks_es_bulk_decode(&in, body, cfg->max_line_bytes ? cfg->max_line_bytes : KS_LOG_LINE_BYTES,
                          items, ret_failed);
    return ks_log_ingest_end_with(&in, err);
}

ks_err ks_es_bulk_handle(struct ks_http_request *req)
{
    struct ks_buf items, *out = &req->resp.body;
    bool failed = false;
    product_header(req);
    ks_buf_init(&items, KS_BUF_UNLIMITED);
    ks_err err = bulk(req, &items, &failed);
    if (err == KS_OK) {
        int64_t took_ms = (ks_mono_us() - req->start_mono_us) / 1000;
        ks_buf_printf(out, "{\"took\":%lld,\"errors\":%s,\"items\":[", (long long)took_ms,
                      failed ? "true" : "false");
        ks_buf_slice(out, ks_buf_view(&items));
        ks_buf_str(out, "]}");
    }
    ks_buf_done(&items);
    return err;
}

ks_err ks_es_info_handle(struct ks_http_request *req)
{
    const char *version = ks_app_of(req)->cfg.logs.elasticsearch_version;
    product_header(req);
    if (req->method == KS_HEAD)
        return KS_OK;
    ks_buf_str(&req->resp.body, "{\"version\":{\"number\":");
    ks_buf_json_str(&req->resp.body, ks_slice_str(version ? version : "8.9.0"));
    ks_buf_str(&req->resp.body, "}}");
    return KS_OK;
}

ks_err ks_es_license_handle(struct ks_http_request *req)
{
    product_header(req);
    ks_buf_str(&req->resp.body,
               "{\"license\":{\"uid\":\"cbff45e7-c553-41f7-ae4f-9205eabd80xx\",\"type\":\"oss\","
               "\"status\":\"active\",\"expiry_date_in_millis\":4000000000000}}");
    return KS_OK;
}

ks_err ks_es_empty_handle(struct ks_http_request *req)
{
    product_header(req);
    ks_buf_str(&req->resp.body, "{}");
    return KS_OK;
}
