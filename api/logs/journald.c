/*
 * systemd's journal export format, as systemd-journal-upload posts it: fields NAME=value, one per
 * line, or NAME, a line end, the value's length (u64, little-endian), the value and a line end when
 * it has line ends of its own; an empty line ends an entry.
 */
#include "api/app.h"
#include "api/logs/logs.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/num.h"

KS_LOG_PROTOCOL(protocol, "journald");
static KS_STAT(stat_bad_names, "vl_fields_dropped_total{reason=\"invalid_journald_name\"}");

enum { JOURNALD_NAME_MAX = 64 };

static ks_err cut(const char *what, struct ks_slice name)
{
    return ks_fail(KS_EPARSE, "malformed journal entry: %s of field \"%.*s\"", what,
                   (int)(name.len < JOURNALD_NAME_MAX ? name.len : JOURNALD_NAME_MAX), name.ptr);
}

/* The next field; name empty: the entry ends here. False at the end of the body. */
static bool next_field(struct ks_slice *body, struct ks_log_field *ret, ks_err *ret_err)
{
    *ret_err = KS_OK;
    if (!body->len)
        return false;
    const char *eol = memchr(body->ptr, '\n', body->len);
    size_t n = eol ? (size_t)(eol - body->ptr) : body->len;
    struct ks_slice line = ks_slice(body->ptr, n);
    *body = ks_slice_from(*body, eol ? n + 1 : n);
    *ret = (struct ks_log_field){line, ks_slice("", 0)};
    if (!line.len)
        return true;
    const char *eq = memchr(line.ptr, '=', line.len);
    if (eq) {
        ret->name.len = (size_t)(eq - line.ptr);
        ret->value = ks_slice_from(line, ret->name.len + 1);
        return true;
    }
    if (body->len < 8) {
        *ret_err = cut("the size", line);
        return false;
    }
    uint64_t size = ks_le64(body->ptr);
    if (size > body->len - 8) {
        *ret_err = cut("the value is shorter than the size", line);
        return false;
    }
    ret->value = ks_slice(body->ptr + 8, (size_t)size);
    *body = ks_slice_from(*body, 8 + (size_t)size);
    if (!body->len || body->ptr[0] != '\n') {
        *ret_err = cut("no line end behind the value", line);
        return false;
    }
    *body = ks_slice_from(*body, 1);
    return true;
}

static bool is_name(struct ks_slice s)
{
    if (!s.len || s.len > JOURNALD_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'A' && c <= 'Z') || c == '_' || (i && c >= '0' && c <= '9')))
            return false;
    }
    return true;
}

static struct ks_slice level_of(struct ks_slice priority)
{
    static const char *const names[] = {"emerg",   "alert",  "critical", "error",
                                        "warning", "notice", "info",     "debug"};
    if (priority.len == 1 && priority.ptr[0] >= '0' && priority.ptr[0] <= '7')
        return ks_slice_str(names[priority.ptr[0] - '0']);
    return priority;
}

static ks_err add_field(struct ks_log_ingest *in, const struct ks_log_field *f, bool metadata,
                        int64_t *time_ns)
{
    struct ks_slice name = f->name;
    int64_t us;
    if (!is_name(name)) {
        ks_stat_add(&stat_bad_names, 1);
        ks_log_limited(5000, KS_LOG_WARN, "api", "journal field skipped: name \"%.*s\" is none",
                       (int)(name.len < 100 ? name.len : 100), name.ptr);
        return KS_OK;
    }
    if (ks_log_names_have(&in->params->time_fields, name)) {
        if (!ks_i64_parse(f->value, &us) || __builtin_mul_overflow(us, 1000, time_ns))
            *time_ns = in->now_ns;
        return KS_OK;
    }
    if (ks_slice_is(name, "MESSAGE"))
        name = KS_SLICE_LIT("_msg");
    if (ks_slice_is(name, "PRIORITY"))
        KS_TRY(ks_log_add(in, KS_SLICE_LIT("level"), level_of(f->value)));
    if (!metadata && name.len >= 2 && name.ptr[0] == '_' && name.ptr[1] == '_')
        return KS_OK;
    return ks_log_add(in, name, f->value);
}

static ks_err end_entry(struct ks_log_ingest *in, int64_t *time_ns)
{
    ks_err err = KS_OK;
    if (in->field_count || in->overflow)
        err = ks_log_row(in, *time_ns, KS_LOG_TAGS_BY_NAME);
    ks_log_rewind(in, 0);
    *time_ns = in->now_ns;
    return err;
}

ks_err ks_journald_decode(struct ks_log_ingest *in, struct ks_slice body, bool metadata)
{
    struct ks_log_field f;
    int64_t time_ns = in->now_ns;
    ks_err err;
    ks_log_rewind(in, 0);
    while (next_field(&body, &f, &err))
        KS_TRY(f.name.len || f.value.len ? add_field(in, &f, metadata, &time_ns)
                                         : end_entry(in, &time_ns));
    /* Of an entry that is cut off nothing is stored: the sender repeats it whole. */
    return err == KS_OK ? end_entry(in, &time_ns) : err;
}

static ks_err read_params(struct ks_http_request *req, const struct ks_log_config *cfg,
                          struct ks_log_params *p)
{
    KS_TRY(ks_log_params_read(req, p));
    if (!p->time_fields_set) {
        p->time_fields.count = 0;
        KS_TRY(ks_log_params_default(req, &p->time_fields, cfg->journald_time_field));
    }
    if (!ks_tenant_key(p->tenant) && cfg->journald_tenant && cfg->journald_tenant[0])
        KS_TRY(ks_log_tenant_parse(ks_slice_str(cfg->journald_tenant), &p->tenant));
    KS_TRY(ks_log_params_default(req, &p->stream_fields, cfg->journald_stream_fields));
    ks_log_names_sort(&p->stream_fields);
    return ks_log_params_default(req, &p->ignore, cfg->journald_ignore_fields);
}

ks_err ks_journald_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    struct ks_log_params params;
    struct ks_log_ingest in;
    struct ks_slice body;
    if (!ks_slice_is(ks_http_header(req, "Content-Type"), "application/vnd.fdo.journal"))
        return ks_fail(KS_EINVAL,
                       "only application/vnd.fdo.journal encoding is supported for Journald");
    KS_TRY(read_params(req, cfg, &params));
    KS_TRY(ks_log_body(req, cfg->journald_max_request_bytes, &body));
    KS_TRY(ks_log_ingest_begin(req, &protocol, &params, &in));
    KS_TRY(ks_log_ingest_end_with(&in, ks_journald_decode(&in, body, cfg->journald_metadata)));
    /* systemd 258 and later compress when told so. */
    ks_http_add_header(req, "Accept-Encoding", KS_SLICE_LIT("zstd"));
    return KS_OK;
}
