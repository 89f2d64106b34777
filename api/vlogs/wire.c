#include "api/vlogs/wire.h"

#include <stdio.h>
#include <string.h>

#include "api/compress.h"
#include "api/logs/log_stores.h"
#include "api/router.h"
#include "base/bytes.h"
#include "base/num.h"
#include "engine/logs/log_store.h"
#include "engine/traces/trace_store.h"
#include "query/logsql/filter/value.h"
#include "sys/clock.h"

#define PREFIX "internal/select/"
enum { BLOCK_BYTES = 1 << 20, TENANTS_MAX = 100000 };

bool ks_vl_is_wire(const struct ks_http_request *req)
{
    return req->route && strncmp(req->route->pattern, PREFIX, sizeof PREFIX - 1) == 0;
}

/* --- arguments --- */

static ks_err add_tenant(struct ks_vl_ctx *c, size_t *cap, struct ks_tenant t)
{
    if (c->tenant_count == TENANTS_MAX)
        return ks_fail(KS_ELIMIT, "more than %d tenants", TENANTS_MAX);
    if (c->tenant_count == *cap)
        KS_TRY(
            ks_arena_grow(&c->req->arena, (void **)&c->tenants, cap, *cap + 1, sizeof *c->tenants));
    c->tenants[c->tenant_count++] = t;
    return KS_OK;
}

static uint32_t be32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The number behind "name": in one object of the list; 0 when it is not there. */
static bool number_of(struct ks_slice object, const char *name, uint32_t *ret)
{
    const char *at = memmem(object.ptr, object.len, name, strlen(name));
    *ret = 0;
    if (!at)
        return true;
    struct ks_slice rest = ks_slice_from(object, (size_t)(at - object.ptr) + strlen(name));
    while (rest.len && (*rest.ptr == ':' || *rest.ptr == ' '))
        rest = ks_slice_from(rest, 1);
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] >= '0' && rest.ptr[n] <= '9')
        n++;
    uint64_t v;
    if (!ks_u64_parse(ks_slice(rest.ptr, n), &v) || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* [{"account_id":1,"project_id":2},…] */
static ks_err json_tenants(struct ks_vl_ctx *c, struct ks_slice text)
{
    size_t cap = 0;
    struct ks_slice rest = text;
    for (const char *open; (open = memchr(rest.ptr, '{', rest.len));) {
        struct ks_slice object = ks_slice_from(rest, (size_t)(open - rest.ptr));
        const char *close = memchr(object.ptr, '}', object.len);
        struct ks_tenant t;
        if (!close)
            return ks_fail(KS_EINVAL, "cannot parse tenant_ids");
        rest = ks_slice_from(object, (size_t)(close - object.ptr) + 1);
        object.len = (size_t)(close - object.ptr);
        if (!number_of(object, "\"account_id\"", &t.account) ||
            !number_of(object, "\"project_id\"", &t.project))
            return ks_fail(KS_EINVAL, "cannot parse tenant_ids");
        KS_TRY(add_tenant(c, &cap, t));
    }
    return KS_OK;
}

static ks_err read_tenants(struct ks_vl_ctx *c)
{
    struct ks_slice v = ks_http_arg(c->req, "tenant_ids");
    size_t cap = 0;
    if (c->wire == 4) {
        KS_TRY(json_tenants(c, v));
    } else {
        if (v.len % 8)
            return ks_fail(KS_EINVAL, "tenant_ids has %zu bytes, not 8 for each", v.len);
        for (size_t i = 0; i < v.len; i += 8)
            KS_TRY(add_tenant(c, &cap, (struct ks_tenant){be32(v.ptr + i), be32(v.ptr + i + 4)}));
    }
    return c->tenant_count ? KS_OK : ks_fail(KS_EINVAL, "missing tenant_ids");
}

static ks_err read_flag(struct ks_vl_ctx *c, const char *name, bool *ret)
{
    struct ks_slice v = ks_http_arg(c->req, name);
    *ret = ks_slice_is(v, "true") || ks_slice_is(v, "1");
    return *ret || ks_slice_is(v, "false") || ks_slice_is(v, "0")
               ? KS_OK
               : ks_fail(KS_EINVAL, "cannot parse %s=\"%.*s\"", name, KS_SLICE_ARG(v));
}

ks_err ks_vl_wire_begin(struct ks_vl_ctx *c)
{
    struct ks_slice version = ks_http_arg(c->req, "version"), v;
    c->wire = ks_slice_is(version, "v1") ? 1 : ks_slice_is(version, "v4") ? 4 : 0;
    if (!c->wire)
        return ks_fail(KS_EINVAL,
                       "unexpected protocol version=\"%.*s\"; this node speaks v1 (VictoriaLogs "
                       "1.26) and v4 (1.38 to 1.50)",
                       KS_SLICE_ARG(version));
    KS_TRY(read_tenants(c));
    v = ks_http_arg(c->req, "timestamp");
    if (!ks_i64_parse(v, &c->now_ns))
        return ks_fail(KS_EINVAL, "cannot parse timestamp=\"%.*s\"", KS_SLICE_ARG(v));
    bool plain, partial;
    KS_TRY(read_flag(c, "disable_compression", &plain));
    if (c->wire == 4) /* one node is whole or fails */
        KS_TRY(read_flag(c, "allow_partial_response", &partial));
    c->wire_packed = !plain;
    return KS_OK;
}

/* --- blocks --- */

static void put_be64(struct ks_buf *out, uint64_t v)
{
    for (int i = 56; i >= 0; i -= 8)
        ks_buf_byte(out, (uint8_t)(v >> i));
}

static void put_text(struct ks_buf *out, struct ks_slice s)
{
    ks_buf_varint(out, s.len);
    ks_buf_slice(out, s);
}

static void put_column(struct ks_buf *out, const struct ks_lq_col *c, uint32_t rows)
{
    put_text(out, c->name);
    if (c->kind == KS_LQ_CONST || rows == 1) {
        ks_buf_byte(out, 0);
        put_text(out, c->kind == KS_LQ_DICT ? c->values[c->codes[0]] : c->values[0]);
        return;
    }
    ks_buf_byte(out, 1);
    for (uint32_t i = 0; i < rows; i++)
        put_text(out, c->kind == KS_LQ_DICT ? c->values[c->codes[i]] : c->values[i]);
}

static void put_counter(struct ks_buf *out, const char *name, uint64_t v)
{
    char text[24];
    size_t n = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    put_text(out, ks_slice_str(name));
    ks_buf_byte(out, 0);
    put_text(out, ks_slice(text, n));
}

/* One row of counters; those of things that are read in another way here are 0. */
static void put_counters(const struct ks_vl_ctx *c, struct ks_buf *out)
{
    static const char *const none[] = {"BytesReadColumnsHeaders", "BytesReadColumnsHeaderIndexes",
                                       "BytesReadBloomFilters",   "BytesReadValues",
                                       "BytesReadTimestamps",     "BytesReadBlockHeaders",
                                       "BytesReadTotal",          "ValuesRead",
                                       "TimestampsRead"};
    enum { NONE = sizeof none / sizeof *none };
    ks_buf_varint(out, 1);
    ks_buf_varint(out, NONE + 5);
    for (size_t i = 0; i < NONE; i++)
        put_counter(out, none[i], 0);
    put_counter(out, "BlocksProcessed", atomic_load(&c->counters.blocks));
    put_counter(out, "RowsProcessed", atomic_load(&c->counters.rows_scanned));
    put_counter(out, "RowsFound", atomic_load(&c->counters.rows_found));
    put_counter(out, "BytesProcessedUncompressedValues", atomic_load(&c->counters.bytes_scanned));
    put_counter(out, "QueryDurationNsecs", (uint64_t)(ks_mono_us() - c->req->start_mono_us) * 1000);
}

/* --- values with hits --- */

void ks_vl_wire_value(struct ks_buf *out, struct ks_slice text, uint64_t hits)
{
    put_text(out, text);
    put_be64(out, hits);
}

/* The body, packed when it is wanted so. */
static ks_err answer(struct ks_vl_ctx *c, struct ks_slice raw, const char *type)
{
    struct ks_http_response *r = &c->req->resp;
    r->content_type = type;
    r->precompressed = true;
    if (c->wire_packed)
        return ks_compress(KS_ENC_ZSTD, raw, &r->body);
    ks_buf_slice(&r->body, raw);
    return ks_buf_status(&r->body);
}

ks_err ks_vl_wire_values(struct ks_vl_ctx *c, size_t count, struct ks_slice items)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    if (c->wire == 4)
        put_be64(&b, count);
    ks_buf_slice(&b, items);
    if (c->wire == 4)
        put_counters(c, &b);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = answer(c, ks_buf_view(&b), "application/octet-stream");
    ks_buf_done(&b);
    return err;
}

/* --- rows --- */

/* A length and a pack of blocks. */
static ks_err send(struct ks_vl_wire_sink *w)
{
    struct ks_slice data = ks_buf_view(&w->raw);
    KS_TRY(ks_buf_status(&w->raw));
    if (!data.len)
        return KS_OK;
    ks_buf_reset(&w->packed);
    if (w->c->wire_packed) {
        struct ks_buf b;
        ks_buf_init(&b, KS_BUF_UNLIMITED);
        ks_err err = ks_compress(KS_ENC_ZSTD, data, &b);
        put_be64(&w->packed, b.len);
        ks_buf_slice(&w->packed, ks_buf_view(&b));
        ks_buf_done(&b);
        KS_TRY(err);
    } else {
        put_be64(&w->packed, data.len);
        ks_buf_slice(&w->packed, data);
    }
    KS_TRY(ks_buf_status(&w->packed));
    if (!ks_http_streaming(w->c->req)) {
        w->c->req->resp.content_type = "application/octet-stream";
        w->c->req->resp.precompressed = true;
        KS_TRY(ks_http_stream_begin(w->c->req));
    }
    KS_TRY(ks_http_stream_write(w->c->req, ks_buf_view(&w->packed)));
    ks_buf_reset(&w->raw);
    return KS_OK;
}

/*
 * The columns of an answer by place, for which states of stats are told apart: what stats_remote
 * groups by, then its functions, whatever order a `fields` behind it has; else the names of a last
 * `fields`. NULL: they are as they come.
 */
static ks_err fixed_names(const struct ks_lq_query *q, struct ks_arena *arena,
                          struct ks_slice **ret, size_t *ret_count)
{
    const struct ks_lq_pipe *last = q->pipe_count ? &q->pipes[q->pipe_count - 1] : NULL;
    const struct ks_lq_fields *fields = NULL;
    *ret = NULL;
    *ret_count = 0;
    if (last && last->kind == KS_LQ_P_FIELDS) {
        fields = &last->u.fields;
        last = q->pipe_count > 1 ? last - 1 : NULL;
    }
    bool remote = last && last->kind == KS_LQ_P_STATS && last->u.stats.remote;
    size_t n =
        remote ? last->u.stats.by_count + last->u.stats.func_count : (fields ? fields->count : 0);
    for (size_t i = 0; !remote && i < n; i++)
        if (fields->items[i].prefix)
            return KS_OK;
    if (!n)
        return KS_OK;
    struct ks_slice *names = ks_arena_array(arena, n, sizeof *names);
    if (!names)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n; i++)
        names[i] = !remote ? fields->items[i].name
                   : i < last->u.stats.by_count
                       ? last->u.stats.by[i].name
                       : last->u.stats.funcs[i - last->u.stats.by_count].result;
    *ret = names;
    *ret_count = n;
    return KS_OK;
}

static ks_err push_fixed(struct ks_vl_wire_sink *w, const struct ks_lq_rows *rows)
{
    static const struct ks_slice empty = {"", 0};
    ks_buf_varint(&w->raw, w->name_count);
    for (size_t i = 0; i < w->name_count; i++) {
        const struct ks_lq_col *col = ks_lq_rows_col(rows, w->names[i]);
        struct ks_lq_col c = {
            .name = w->names[i], .kind = KS_LQ_CONST, .value_count = 1, .values = &empty};
        if (col)
            KS_TRY(ks_lq_col_textual(col, rows->row_count, &w->scratch, &c));
        put_column(&w->raw, &c, rows->row_count);
    }
    return KS_OK;
}

static ks_err push_all(struct ks_vl_wire_sink *w, const struct ks_lq_rows *rows)
{
    ks_buf_varint(&w->raw, rows->col_count);
    for (uint32_t i = 0; i < rows->col_count; i++) {
        struct ks_lq_col c;
        KS_TRY(ks_lq_col_textual(&rows->cols[i], rows->row_count, &w->scratch, &c));
        put_column(&w->raw, &c, rows->row_count);
    }
    return KS_OK;
}

static ks_err push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct ks_vl_wire_sink *w = (struct ks_vl_wire_sink *)s;
    ks_arena_reset(&w->scratch);
    if (w->c->wire == 4)
        ks_buf_byte(&w->raw, 0);
    ks_buf_varint(&w->raw, rows->row_count);
    KS_TRY(w->names ? push_fixed(w, rows) : push_all(w, rows));
    return w->raw.len < BLOCK_BYTES ? ks_buf_status(&w->raw) : send(w);
}

static const struct ks_lq_stage_ops sink_ops = {.name = "wire", .push = push};

void ks_vl_wire_sink_init(struct ks_vl_wire_sink *w, struct ks_vl_ctx *c)
{
    *w = (struct ks_vl_wire_sink){.s = {.ops = &sink_ops}, .c = c};
    ks_buf_init(&w->raw, KS_BUF_UNLIMITED);
    ks_buf_init(&w->packed, KS_BUF_UNLIMITED);
    ks_arena_init(&w->scratch, KS_BUF_UNLIMITED);
}

ks_err ks_vl_wire_sink_end(struct ks_vl_wire_sink *w)
{
    KS_TRY(send(w));
    if (w->c->wire == 4) {
        ks_buf_byte(&w->raw, 1);
        put_counters(w->c, &w->raw);
        KS_TRY(send(w));
    }
    w->c->req->resp.content_type = "application/octet-stream";
    return KS_OK;
}

void ks_vl_wire_sink_done(struct ks_vl_wire_sink *w)
{
    ks_buf_done(&w->raw);
    ks_buf_done(&w->packed);
    ks_arena_done(&w->scratch);
}

static ks_err run_query(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct ks_vl_wire_sink w;
    KS_TRY(ks_vl_begin(req, true, &c));
    ks_vl_wire_sink_init(&w, &c);
    ks_err err = fixed_names(c.query, &req->arena, &w.names, &w.name_count);
    if (err == KS_OK)
        err = ks_vl_run(&c, 0, 0, &w.s);
    if (err == KS_OK)
        err = ks_vl_wire_sink_end(&w);
    ks_vl_wire_sink_done(&w);
    return err;
}

ks_err ks_vl_wire_query(struct ks_http_request *req)
{
    return ks_vl_answer(req, run_query(req));
}

/* --- tenants --- */

struct tenant_list {
    struct ks_buf out;
    size_t count;
};

static bool put_tenant(void *arg, struct ks_tenant t)
{
    struct tenant_list *l = arg;
    ks_buf_printf(&l->out, "%s{\"account_id\":%u,\"project_id\":%u}", l->count++ ? "," : "",
                  t.account, t.project);
    return true;
}

/* start and end are plain ns; there is no version. */
static void put_trace_tenant(void *arg, struct ks_tenant t)
{
    (void)put_tenant(arg, t);
}

/* Of spans in memory times are not asked for: a ring is hours. */
static ks_err list_tenants(struct ks_http_request *req, int64_t min_ns, int64_t max_ns,
                           struct tenant_list *l)
{
    struct ks_log_store *store;
    if (ks_store_is_traces(req)) {
        struct ks_trace_store *traces = ks_app_of(req)->traces;
        if (!traces)
            return ks_fail(KS_EUNSUPPORTED, "this process keeps no traces");
        store = ks_trace_store_history(traces);
        if (!store)
            ks_traces_tenants(ks_trace_store_ring(traces), put_trace_tenant, l);
        if (!store)
            return KS_OK;
    } else {
        KS_TRY(ks_log_store_of(req, &store));
    }
    return ks_log_store_tenants(store, min_ns, max_ns, put_tenant, l);
}

static ks_err tenant_ids(struct ks_http_request *req)
{
    struct tenant_list l = {.count = 0};
    struct ks_vl_ctx c = {.req = req};
    int64_t min_ns, max_ns;
    bool plain = false;
    if (!ks_i64_parse(ks_http_arg(req, "start"), &min_ns) ||
        !ks_i64_parse(ks_http_arg(req, "end"), &max_ns))
        return ks_fail(KS_EINVAL, "start and end have to be nanoseconds");
    if (ks_http_arg(req, "disable_compression").len)
        KS_TRY(read_flag(&c, "disable_compression", &plain));
    c.wire_packed = !plain;
    ks_buf_init(&l.out, 64 << 20);
    ks_buf_byte(&l.out, '[');
    ks_err err = list_tenants(req, min_ns, max_ns, &l);
    ks_buf_byte(&l.out, ']');
    if (err == KS_OK)
        err = ks_buf_status(&l.out);
    if (err == KS_OK)
        err = answer(&c, ks_buf_view(&l.out), "application/json");
    ks_buf_done(&l.out);
    return err;
}

ks_err ks_vl_wire_tenant_ids(struct ks_http_request *req)
{
    return ks_vl_answer(req, tenant_ids(req));
}
