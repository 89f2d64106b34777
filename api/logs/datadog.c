/*
 * Datadog's log intake (v2): an array of records, or one. Tags become fields; values that are no
 * strings keep their JSON text. A message may be an object, as its serverless agent sends it.
 */
#include "api/app.h"
#include "api/logs/log_json.h"
#include "api/logs/logs.h"
#include "base/num.h"

KS_LOG_PROTOCOL(protocol, "datadog");

struct record {
    int64_t time_ns;
};

static ks_err malformed(struct ks_log_json *j, const char *what)
{
    j->wrong = what;
    return KS_EPARSE;
}

/* Calls fn for each member of an object; fn reads the value. */
typedef ks_err (*member_fn)(struct ks_log_json *j, struct ks_log_ingest *in, struct record *r,
                            struct ks_slice key);
static ks_err object(struct ks_log_json *j, struct ks_log_ingest *in, struct record *r,
                     member_fn fn)
{
    struct ks_slice key;
    if (!ks_log_json_take(j, '{'))
        return malformed(j, "want an object");
    if (ks_log_json_take(j, '}'))
        return KS_OK;
    do {
        KS_TRY(ks_log_json_string(j, &key));
        if (!ks_log_json_take(j, ':'))
            return malformed(j, "want a colon");
        KS_TRY(fn(j, in, r, key));
    } while (ks_log_json_take(j, ','));
    return ks_log_json_take(j, '}') ? KS_OK : malformed(j, "want a comma or }");
}

static ks_err plain_member(struct ks_log_json *j, struct ks_log_ingest *in, struct record *r,
                           struct ks_slice key)
{
    struct ks_slice value;
    KS_TRY(ks_log_json_value(j, &value));
    return ks_log_add(in, key, value);
}

static ks_err read_time(struct ks_log_json *j, struct record *r)
{
    struct ks_slice text;
    double ms;
    int64_t exact;
    KS_TRY(ks_log_json_value(j, &text));
    if (ks_i64_parse(text, &exact)) {
        if (exact > 0 && __builtin_mul_overflow(exact, 1000000, &r->time_ns))
            return malformed(j, "a timestamp out of range");
        return KS_OK;
    }
    if (text.len && !ks_f64_parse(text, &ms))
        return malformed(j, "a timestamp that is no number");
    if (text.len && ms > 0 && ms < 9e12)
        r->time_ns = (int64_t)(ms * 1e6);
    return KS_OK;
}

/* "a:b,c:d": a tag without a value gets the peer's word for that. */
static ks_err tags(struct ks_log_ingest *in, struct ks_slice text)
{
    for (struct ks_slice tag; ks_slice_cut(&text, ',', &tag);) {
        struct ks_slice value = KS_SLICE_LIT("no_label_value");
        if (!tag.len)
            continue;
        const char *colon = memchr(tag.ptr, ':', tag.len);
        if (colon) {
            value = ks_slice_from(tag, (size_t)(colon + 1 - tag.ptr));
            tag.len = (size_t)(colon - tag.ptr);
        }
        if (tag.len)
            KS_TRY(ks_log_add(in, tag, value));
    }
    return KS_OK;
}

static ks_err message_member(struct ks_log_json *j, struct ks_log_ingest *in, struct record *r,
                             struct ks_slice key)
{
    if (ks_slice_is(key, "message"))
        return plain_member(j, in, r, KS_SLICE_LIT("_msg"));
    if (ks_slice_is(key, "timestamp"))
        return read_time(j, r);
    /* lamdba: as the agent spells it */
    if ((ks_slice_is(key, "lambda") || ks_slice_is(key, "lamdba")) && ks_log_json_peek(j) == '{')
        return object(j, in, r, plain_member);
    return plain_member(j, in, r, key);
}

static ks_err record_member(struct ks_log_json *j, struct ks_log_ingest *in, struct record *r,
                            struct ks_slice key)
{
    struct ks_slice text;
    if (ks_slice_is(key, "message"))
        return ks_log_json_peek(j) == '{' ? object(j, in, r, message_member)
                                          : plain_member(j, in, r, KS_SLICE_LIT("_msg"));
    if (ks_slice_is(key, "timestamp"))
        return read_time(j, r);
    if (!ks_slice_is(key, "ddtags"))
        return plain_member(j, in, r, key);
    KS_TRY(ks_log_json_value(j, &text));
    return tags(in, text);
}

static ks_err records(struct ks_log_json *j, struct ks_log_ingest *in, int64_t time_ns)
{
    bool many = ks_log_json_take(j, '[');
    if (many && ks_log_json_take(j, ']'))
        return ks_log_json_peek(j) ? malformed(j, "want the end") : KS_OK;
    do {
        struct record r = {time_ns};
        j->arena = in->arena;
        ks_log_rewind(in, 0);
        KS_TRY(object(j, in, &r, record_member));
        ks_log_rename_msg(in, 0);
        KS_TRY(ks_log_row(in, r.time_ns, KS_LOG_TAGS_BY_NAME));
    } while (many && ks_log_json_take(j, ','));
    if (many && !ks_log_json_take(j, ']'))
        return malformed(j, "want a comma or ]");
    return ks_log_json_peek(j) || j->p != j->end ? malformed(j, "want the end") : KS_OK;
}

ks_err ks_datadog_decode(struct ks_log_ingest *in, struct ks_slice body, int64_t time_ns)
{
    struct ks_log_json j = {body.ptr, body.ptr + body.len, in->arena, NULL};
    ks_err err = records(&j, in, time_ns);
    return err == KS_EPARSE && j.wrong ? ks_log_json_fail(&j, body.ptr) : err;
}

static ks_err header_time(struct ks_http_request *req, int64_t now_ns, int64_t *ret_ns)
{
    struct ks_slice s = ks_http_header(req, "dd-message-timestamp");
    int64_t ms;
    *ret_ns = now_ns;
    if (!s.len || ks_slice_is(s, "0"))
        return KS_OK;
    if (!ks_i64_parse(s, &ms) || __builtin_mul_overflow(ms, 1000000, ret_ns))
        return ks_fail(KS_EINVAL, "cannot parse header dd-message-timestamp: \"%.*s\"",
                       KS_SLICE_ARG(s));
    return KS_OK;
}

ks_err ks_datadog_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_slice body;
    int64_t time_ns;
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_params_default(req, &params.stream_fields, cfg->datadog_stream_fields));
    KS_TRY(ks_log_params_default(req, &params.ignore, cfg->datadog_ignore_fields));
    ks_log_names_sort(&params.stream_fields);
    KS_TRY(ks_log_body(req, cfg->datadog_max_request_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, &protocol, &params, &in));
    KS_TRY(header_time(req, in.now_ns, &time_ns));
    KS_TRY(ks_log_ingest_end_with(&in, ks_datadog_decode(&in, body, time_ns)));
    req->resp.status = 202;
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{}");
    return KS_OK;
}
