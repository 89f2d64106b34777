/*
 * Loki's push, JSON and protobuf. A stream's labels are its tags (unless fields are named for
 * that); structured metadata and the fields of a line that is a JSON object become the row's
 * fields, any other line its _msg. An entry that cannot be read fails alone; the request is
 * answered 400 then, as Loki does for a batch it took in part, which no client sends again.
 */
#include <strings.h>

#include "api/app.h"
#include "api/compress.h"
#include "api/logs/log_json.h"
#include "api/logs/log_pb.h"
#include "api/logs/log_time.h"
#include "api/logs/logs.h"
#include "api/scratch.h"

KS_LOG_PROTOCOL(protocol_json, "loki_json");
KS_LOG_PROTOCOL(protocol_protobuf, "loki_protobuf");

struct loki {
    struct ks_log_ingest *in;
    const struct ks_loki_opts *opts;
    size_t label_count; /* the first fields */
    uint64_t entry;     /* of the request, for messages */
    size_t tags;        /* for ks_log_row() */
    struct ks_slice labels;
};

/* The line as fields; a line that only looks like JSON stays a line. */
static ks_err add_line(struct loki *l, struct ks_slice line)
{
    struct ks_log_ingest *in = l->in;
    size_t mark = in->field_count;
    if (!l->opts->keep_message && line.len >= 2 && line.ptr[0] == '{' &&
        line.ptr[line.len - 1] == '}') {
        struct ks_log_json j = {line.ptr, line.ptr + line.len, in->arena, NULL};
        ks_err err = ks_log_json_object_as(&j, in, l->opts->prefix);
        if (err == KS_OK && j.p == j.end) {
            ks_log_rename_msg(in, l->label_count);
            return KS_OK;
        }
        if (err != KS_OK && err != KS_EPARSE)
            return err;
        ks_log_rewind(in, mark);
    }
    return ks_log_add(in, KS_SLICE_LIT("_msg"), line);
}

static ks_err end_entry(struct loki *l, int64_t time_ns, struct ks_slice line)
{
    KS_TRY(add_line(l, line));
    KS_TRY(ks_log_row(l->in, time_ns ? time_ns : l->in->now_ns, l->tags));
    ks_log_rewind(l->in, l->label_count);
    return KS_OK;
}

static void begin_stream(struct loki *l)
{
    l->label_count = l->in->field_count;
    l->tags = l->in->params->stream_fields.count ? KS_LOG_TAGS_BY_NAME : l->label_count;
    ks_log_tags_changed(l->in);
}

/* --- JSON --- */
static ks_err malformed(struct ks_log_json *j, const char *what)
{
    j->wrong = what;
    return KS_EPARSE;
}

/* {"name": value, …} as fields. */
static ks_err json_fields(struct ks_log_json *j, struct ks_log_ingest *in)
{
    struct ks_slice name, value;
    if (!ks_log_json_take(j, '{'))
        return malformed(j, "want an object of labels");
    if (ks_log_json_take(j, '}'))
        return KS_OK;
    do {
        KS_TRY(ks_log_json_string(j, &name));
        if (!ks_log_json_take(j, ':'))
            return malformed(j, "want a colon");
        KS_TRY(ks_log_json_value(j, &value));
        KS_TRY(ks_log_add(in, name, value));
    } while (ks_log_json_take(j, ','));
    return ks_log_json_take(j, '}') ? KS_OK : malformed(j, "want a comma or }");
}

static bool entry_time(const struct ks_log_ingest *in, struct ks_slice s, int64_t *ret_ns)
{
    if (s.len)
        return ks_log_time_unix(s, ret_ns);
    *ret_ns = in->now_ns;
    return true;
}

/* ["time", "line"] or ["time", "line", {metadata}]. */
static ks_err json_entry(struct loki *l, struct ks_log_json *j)
{
    struct ks_slice time, line;
    int64_t time_ns = 0;
    if (!ks_log_json_take(j, '['))
        return malformed(j, "want an array [time, line]");
    KS_TRY(ks_log_json_value(j, &time));
    if (!ks_log_json_take(j, ','))
        return malformed(j, "want two or three items in an entry");
    KS_TRY(ks_log_json_string(j, &line));
    if (ks_log_json_take(j, ',') && ks_log_json_peek(j) != 'n')
        KS_TRY(json_fields(j, l->in));
    else if (ks_log_json_peek(j) == 'n') /* null */
        KS_TRY(ks_log_json_value(j, &(struct ks_slice){0}));
    if (!ks_log_json_take(j, ']'))
        return malformed(j, "want two or three items in an entry");
    l->entry++;
    if (entry_time(l->in, time, &time_ns))
        return end_entry(l, time_ns, line);
    (void)ks_fail(KS_EPARSE, "cannot parse the time \"%.*s\"", (int)(time.len < 64 ? time.len : 64),
                  time.ptr);
    ks_log_skip(l->in, "entry", l->entry);
    ks_log_rewind(l->in, l->label_count);
    return KS_OK;
}

static ks_err json_values(struct loki *l, struct ks_log_json *j)
{
    if (!ks_log_json_take(j, '['))
        return malformed(j, "want an array of values");
    if (ks_log_json_take(j, ']'))
        return KS_OK;
    do {
        j->arena = l->in->arena;
        KS_TRY(json_entry(l, j));
    } while (ks_log_json_take(j, ','));
    return ks_log_json_take(j, ']') ? KS_OK : malformed(j, "want a comma or ]");
}

static ks_err json_labels(struct loki *l, struct ks_log_json *j)
{
    ks_log_rewind(l->in, 0);
    j->arena = l->in->keep;
    return json_fields(j, l->in);
}

/* {"stream": {…}, "values": […]}; values that come first wait for their labels. */
static ks_err json_stream(struct loki *l, struct ks_log_json *j)
{
    struct ks_slice key, text;
    const char *values = NULL;
    bool have_labels = false;
    ks_log_rewind(l->in, 0);
    begin_stream(l);
    if (!ks_log_json_take(j, '{'))
        return malformed(j, "want an object in streams");
    if (ks_log_json_take(j, '}'))
        return malformed(j, "missing values");
    do {
        KS_TRY(ks_log_json_string(j, &key));
        if (!ks_log_json_take(j, ':'))
            return malformed(j, "want a colon");
        j->arena = l->in->keep;
        if (ks_slice_is(key, "stream") && !have_labels && ks_log_json_peek(j) != 'n') {
            KS_TRY(json_labels(l, j));
            begin_stream(l);
            have_labels = true;
        } else if (ks_slice_is(key, "values") && have_labels) {
            KS_TRY(json_values(l, j));
        } else {
            if (ks_slice_is(key, "values"))
                values = j->p;
            KS_TRY(ks_log_json_text(j, &text));
        }
    } while (ks_log_json_take(j, ','));
    if (!ks_log_json_take(j, '}'))
        return malformed(j, "want a comma or }");
    if (!values)
        return KS_OK;
    struct ks_log_json again = {values, j->end, l->in->arena, NULL};
    ks_err err = json_values(l, &again);
    j->wrong = again.wrong;
    return err;
}

static ks_err json_request(struct loki *l, struct ks_log_json *j)
{
    struct ks_slice key, text;
    bool found = false;
    if (!ks_log_json_take(j, '{'))
        return malformed(j, "want an object");
    if (ks_log_json_take(j, '}'))
        return malformed(j, "missing streams");
    do {
        j->arena = l->in->keep;
        KS_TRY(ks_log_json_string(j, &key));
        if (!ks_log_json_take(j, ':'))
            return malformed(j, "want a colon");
        if (!ks_slice_is(key, "streams")) {
            KS_TRY(ks_log_json_text(j, &text));
            continue;
        }
        found = true;
        if (!ks_log_json_take(j, '['))
            return malformed(j, "want an array of streams");
        if (ks_log_json_take(j, ']'))
            continue;
        do {
            KS_TRY(json_stream(l, j));
        } while (ks_log_json_take(j, ','));
        if (!ks_log_json_take(j, ']'))
            return malformed(j, "want a comma or ]");
    } while (ks_log_json_take(j, ','));
    if (!found)
        return malformed(j, "missing streams");
    return ks_log_json_take(j, '}') && !ks_log_json_peek(j) ? KS_OK : malformed(j, "want the end");
}

ks_err ks_loki_json_decode(struct ks_log_ingest *in, struct ks_slice body,
                           const struct ks_loki_opts *opts)
{
    struct loki l = {.in = in, .opts = opts};
    struct ks_log_json j = {body.ptr, body.ptr + body.len, in->keep, NULL};
    ks_err err = json_request(&l, &j);
    return err == KS_EPARSE && j.wrong ? ks_log_json_fail(&j, body.ptr) : err;
}

/* --- protobuf --- */
/* {a="b", c="d"} as fields. */
static ks_err text_labels(struct ks_log_ingest *in, struct ks_slice s)
{
    struct ks_slice all = s = ks_slice_trim(s), value;
    size_t used;
    if (s.len < 2 || s.ptr[0] != '{' || s.ptr[s.len - 1] != '}')
        return ks_fail(KS_EPARSE, "cannot parse stream labels \"%.*s\": want {name=\"value\",…}",
                       (int)(all.len < 200 ? all.len : 200), all.ptr ? all.ptr : "");
    s = ks_slice(s.ptr + 1, s.len - 2);
    while (s.len) {
        const char *eq = memchr(s.ptr, '=', s.len);
        if (!eq)
            return ks_fail(KS_EPARSE, "cannot parse stream labels: missing = at \"%.*s\"",
                           (int)(s.len < 100 ? s.len : 100), s.ptr);
        struct ks_slice name = ks_slice_trim(ks_slice(s.ptr, (size_t)(eq - s.ptr)));
        s = ks_slice_from(s, (size_t)(eq + 1 - s.ptr));
        while (s.len && s.ptr[0] == ' ')
            s = ks_slice_from(s, 1);
        ks_err err = ks_go_unquote(in->keep, s, &value, &used);
        if (err != KS_OK)
            return ks_fail_context(err, "cannot parse the value of stream label \"%.*s\"",
                                   (int)(name.len < 100 ? name.len : 100), name.ptr);
        KS_TRY(ks_log_add(in, name, value));
        s = ks_slice_trim(ks_slice_from(s, used));
        if (s.len && s.ptr[0] != ',')
            return ks_fail(KS_EPARSE, "cannot parse stream labels: missing , at \"%.*s\"",
                           (int)(s.len < 100 ? s.len : 100), s.ptr);
        s = s.len ? ks_slice_trim(ks_slice_from(s, 1)) : s;
    }
    return KS_OK;
}

static ks_err cut(const char *what)
{
    return ks_fail(KS_EPARSE, "malformed protobuf: %s", what);
}

static ks_err proto_pair(struct ks_log_ingest *in, struct ks_slice message)
{
    struct ks_pb p = ks_pb(message);
    struct ks_slice name = ks_slice("", 0), value = name;
    while (ks_pb_next(&p)) {
        if (ks_pb_is(&p, 1, 2))
            name = p.bytes;
        else if (ks_pb_is(&p, 2, 2))
            value = p.bytes;
    }
    return p.r.bad ? cut("LabelPair") : ks_log_add(in, name, value);
}

static ks_err proto_time(struct ks_slice message, int64_t *ret_ns)
{
    struct ks_pb p = ks_pb(message);
    int64_t s = 0, ns = 0;
    while (ks_pb_next(&p)) {
        if (ks_pb_is(&p, 1, 0))
            s = (int64_t)p.value;
        else if (ks_pb_is(&p, 2, 0))
            ns = (int32_t)p.value;
    }
    if (p.r.bad)
        return cut("Timestamp");
    if (__builtin_mul_overflow(s, 1000000000, &s) || __builtin_add_overflow(s, ns, ret_ns))
        return ks_fail(KS_EPARSE, "a timestamp out of range");
    return KS_OK;
}

static ks_err proto_entry(struct loki *l, struct ks_slice message)
{
    struct ks_pb p = ks_pb(message);
    struct ks_slice line = ks_slice("", 0);
    int64_t time_ns = 0;
    l->entry++;
    while (ks_pb_next(&p)) {
        if (ks_pb_is(&p, 1, 2))
            KS_TRY(proto_time(p.bytes, &time_ns));
        else if (ks_pb_is(&p, 2, 2))
            line = p.bytes;
        else if (ks_pb_is(&p, 3, 2))
            KS_TRY(proto_pair(l->in, p.bytes));
    }
    return p.r.bad ? cut("Entry") : end_entry(l, time_ns, line);
}

static ks_err proto_stream(struct loki *l, struct ks_slice message)
{
    struct ks_pb p = ks_pb(message);
    struct ks_slice labels = KS_SLICE_LIT("{}");
    while (ks_pb_next(&p))
        if (ks_pb_is(&p, 1, 2))
            labels = p.bytes;
    if (p.r.bad)
        return cut("Stream");
    ks_log_rewind(l->in, 0);
    KS_TRY(text_labels(l->in, labels));
    begin_stream(l);
    for (p = ks_pb(message); ks_pb_next(&p);)
        if (ks_pb_is(&p, 2, 2))
            KS_TRY(proto_entry(l, p.bytes));
    return KS_OK;
}

ks_err ks_loki_proto_decode(struct ks_log_ingest *in, struct ks_slice body,
                            const struct ks_loki_opts *opts)
{
    struct loki l = {.in = in, .opts = opts};
    struct ks_pb p = ks_pb(body);
    while (ks_pb_next(&p))
        if (ks_pb_is(&p, 1, 2))
            KS_TRY(proto_stream(&l, p.bytes));
    return p.r.bad ? cut("PushRequest") : KS_OK;
}

/* --- HTTP --- */
/* Protobuf without an encoding named is snappy. */
static ks_err protobuf_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret)
{
    if (ks_http_header(req, "Content-Encoding").len)
        return ks_log_body(req, limit, ret);
    struct ks_buf *out = &req->scratch->body;
    ks_buf_reset(out);
    KS_TRY(ks_decompress(KS_ENC_SNAPPY, req->body, limit ? limit : KS_BUF_UNLIMITED, out));
    *ret = ks_buf_view(out);
    return KS_OK;
}

ks_err ks_loki_push_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_slice type = ks_http_header(req, "Content-Type"), body;
    struct ks_slice org = ks_http_header(req, "X-Scope-OrgID");
    bool json = type.len >= 16 && strncasecmp(type.ptr, "application/json", 16) == 0;
    struct ks_loki_opts opts = {cfg->loki_keep_message, ks_slice_str(cfg->loki_message_prefix)};
    struct ks_log_params params;
    struct ks_log_ingest in;
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_arg_bool(req, "disable_message_parsing", "VL-Loki-Disable-Message-Parsing",
                           &opts.keep_message));
    if (org.len && !ks_tenant_key(params.tenant))
        KS_TRY(ks_log_tenant_parse(org, &params.tenant));
    KS_TRY(json ? ks_log_body(req, cfg->loki_max_request_bytes, &body)
                : protobuf_body(req, cfg->loki_max_request_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, json ? &protocol_json : &protocol_protobuf, &params, &in));
    ks_err err =
        json ? ks_loki_json_decode(&in, body, &opts) : ks_loki_proto_decode(&in, body, &opts);
    KS_TRY(ks_log_ingest_end_with(&in, err));
    if (in.out.skipped)
        return ks_fail(KS_EPARSE, "%llu entries could not be read, %llu were stored; %s",
                       (unsigned long long)in.out.skipped, (unsigned long long)in.out.stored,
                       in.out.first_reason);
    req->resp.status = 204;
    return KS_OK;
}
