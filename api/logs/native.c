/*
 * VictoriaLogs' own row encoding: what its vlagent sends to /insert/native and its vlinsert to
 * /internal/insert. Rows one after the other: tenant (two u32, big-endian), the stream's tags
 * (length, then count and pairs), time in ns (u64, big-endian), count of fields, their pairs.
 */
#include "api/app.h"
#include "api/logs/log_pb.h"
#include "api/logs/logs.h"

KS_LOG_PROTOCOL(protocol_native, "nativeinsert");
KS_LOG_PROTOCOL(protocol_internal, "internalinsert");

enum { TAGS_MAX = 4096 };

static ks_err cut(uint64_t row, const char *what)
{
    return ks_fail(KS_EPARSE, "cannot parse row #%llu: malformed %s", (unsigned long long)row,
                   what);
}

/* The stream's tags as the first fields of the row, which they are not: rewound by the caller. */
static bool read_tags(struct ks_log_ingest *in, struct ks_slice bytes, ks_err *ret)
{
    struct ks_reader r = ks_reader(bytes);
    uint64_t n = ks_read_varint(&r);
    *ret = KS_OK;
    if (r.bad || n > TAGS_MAX)
        return false;
    for (uint64_t i = 0; i < n && !r.bad; i++) {
        struct ks_slice name = ks_read_lp(&r);
        struct ks_slice value = ks_read_lp(&r);
        if (!r.bad && (*ret = ks_log_add(in, name, value)) != KS_OK)
            return false;
    }
    return !r.bad && r.p == r.end;
}

static ks_err read_row(struct ks_log_ingest *in, struct ks_reader *r, uint64_t number,
                       const struct ks_tenant *tenant)
{
    ks_err err;
    struct ks_tenant t = {ks_read_be32(r), 0};
    t.project = ks_read_be32(r);
    struct ks_slice tags = ks_read_lp(r);
    int64_t time_ns = (int64_t)ks_read_be64(r);
    uint64_t n = ks_read_varint(r);
    if (r->bad)
        return cut(number, "head");
    ks_log_rewind(in, 0);
    if (!read_tags(in, tags, &err))
        return err == KS_OK ? cut(number, "stream tags") : err;
    KS_TRY(ks_log_stream(in, tenant ? *tenant : t, in->field_count));
    ks_log_rewind(in, 0);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        struct ks_slice name = ks_read_lp(r);
        struct ks_slice value = ks_read_lp(r);
        KS_TRY(ks_log_add(in, name, value));
    }
    return r->bad ? cut(number, "fields") : ks_log_row(in, time_ns, KS_LOG_TAGS_GIVEN);
}

ks_err ks_log_native_decode(struct ks_log_ingest *in, struct ks_slice body,
                            const struct ks_tenant *tenant)
{
    struct ks_reader r = ks_reader(body);
    for (uint64_t i = 0; r.p != r.end; i++)
        KS_TRY(read_row(in, &r, i, tenant));
    return KS_OK;
}

static ks_err handle(struct ks_http_request *req, struct ks_log_protocol *protocol, size_t limit,
                     bool own_tenants)
{
    struct ks_slice version = ks_http_arg(req, "version"), body;
    struct ks_log_params params;
    struct ks_log_ingest in;
    if (!ks_slice_is(version, "v1"))
        return ks_fail(KS_EINVAL, "unsupported protocol version=\"%.*s\"; want \"v1\"",
                       KS_SLICE_ARG(version));
    KS_TRY(ks_log_params_read(req, &params));
    KS_TRY(ks_log_body(req, limit, &body));
    KS_TRY(ks_log_ingest_begin(req, protocol, &params, &in));
    in.default_msg = ks_slice("", 0); /* the sender had its own */
    return ks_log_ingest_end_with(
        &in, ks_log_native_decode(&in, body, own_tenants ? NULL : &params.tenant));
}

ks_err ks_log_native_handle(struct ks_http_request *req)
{
    return handle(req, &protocol_native, ks_app_of(req)->cfg.logs.native_max_request_bytes,
                  req->multitenant);
}

ks_err ks_log_internal_handle(struct ks_http_request *req)
{
    const struct ks_log_config *cfg = &ks_app_of(req)->cfg.logs;
    if (cfg->disable_insert || cfg->disable_internal_insert)
        return ks_fail(KS_EINVAL, "requests to /internal/insert are disabled with "
                                  "-internalinsert.disable or -insert.disable");
    return handle(req, &protocol_internal, cfg->internal_max_request_bytes, true);
}
