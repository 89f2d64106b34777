/*
 * Splunk's HTTP event collector: JSON objects one after the other, each flattened like a JSON line.
 * What follows a malformed event up to the next line is skipped; the request is answered as Splunk
 * does then, with the number of the first such event, and the others are stored.
 */
#include "api/app.h"
#include "api/logs/log_json.h"
#include "api/logs/logs.h"

KS_LOG_PROTOCOL(protocol, "splunk");

static ks_err event(struct ks_log_ingest *in, struct ks_log_json *j)
{
    int64_t time_ns;
    ks_log_rewind(in, 0);
    j->arena = in->arena;
    j->wrong = NULL;
    const char *start = j->p;
    ks_err err = ks_log_json_object(j, in);
    if (err == KS_EPARSE && j->wrong)
        return ks_log_json_fail(j, start);
    KS_TRY(err);
    KS_TRY(ks_log_take_time(in, &time_ns));
    ks_log_rename_msg(in, 0);
    return ks_log_row(in, time_ns, KS_LOG_TAGS_BY_NAME);
}

ks_err ks_splunk_decode(struct ks_log_ingest *in, struct ks_slice body)
{
    struct ks_log_json j = {body.ptr, body.ptr + body.len, in->arena, NULL};
    for (uint64_t number = 0; ks_log_json_peek(&j) || j.p != j.end; number++) {
        ks_err err = event(in, &j);
        if (err == KS_OK)
            continue;
        if (err != KS_EPARSE)
            return err;
        ks_log_skip(in, "event", number);
        if (!j.wrong) /* the event was read whole: its time is wrong */
            continue;
        const char *eol = j.p < j.end ? memchr(j.p, '\n', (size_t)(j.end - j.p)) : NULL;
        j.p = eol ? eol + 1 : j.end;
    }
    return KS_OK;
}

static ks_err read_params(struct ks_http_request *req, const struct ks_log_config *cfg,
                          struct ks_log_params *p)
{
    KS_TRY(ks_log_params_read(req, p));
    if (!p->time_fields_set) {
        p->time_fields.count = 0;
        KS_TRY(ks_log_params_default(req, &p->time_fields, cfg->splunk_time_field));
    }
    if (!ks_tenant_key(p->tenant) && cfg->splunk_tenant && cfg->splunk_tenant[0])
        KS_TRY(ks_log_tenant_parse(ks_slice_str(cfg->splunk_tenant), &p->tenant));
    KS_TRY(ks_log_params_default(req, &p->stream_fields, cfg->splunk_stream_fields));
    KS_TRY(ks_log_params_default(req, &p->ignore, cfg->splunk_ignore_fields));
    KS_TRY(ks_log_params_default(req, &p->msg_fields, cfg->splunk_msg_field));
    ks_log_names_sort(&p->stream_fields);
    return ks_log_params_default(req, &p->preserve, cfg->splunk_preserve_keys);
}

ks_err ks_splunk_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_slice body;
    KS_TRY(read_params(req, cfg, &params));
    KS_TRY(ks_log_body(req, cfg->splunk_max_request_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, &protocol, &params, &in));
    KS_TRY(ks_log_ingest_end_with(&in, ks_splunk_decode(&in, body)));
    req->resp.content_type = "application/json";
    if (!in.out.skipped) {
        ks_buf_str(&req->resp.body, "{\"text\":\"Success\",\"code\":0}");
        return KS_OK;
    }
    req->resp.status = 400;
    ks_buf_printf(&req->resp.body,
                  "{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":%llu,"
                  "\"detail\":",
                  (unsigned long long)in.out.first_skipped);
    ks_buf_json_str(&req->resp.body, ks_slice_str(in.out.first_reason));
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}
