/* /select/logsql/query, query_time_range, tenant_ids. */
#include <inttypes.h>

#include "api/query_log.h"
#include "api/vlogs/vlogs.h"
#include "engine/logs/log_store.h"
#include "engine/traces/trace_store.h"
#include "query/logsql/filter/value.h"

/* --- CSV: which columns there are has to be known before the first row --- */

struct name_sink {
    struct ks_lq_stage s;
    struct ks_arena *arena;
    struct ks_lq_names names;
    size_t cap;
};

static ks_err name_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct name_sink *n = (struct name_sink *)s;
    for (uint32_t i = 0; i < rows->col_count; i++) {
        size_t k = 0;
        while (k < n->names.count && !ks_slice_eq(n->names.items[k], rows->cols[i].name))
            k++;
        if (k < n->names.count)
            continue;
        if (n->names.count == n->cap)
            KS_TRY(ks_arena_grow(n->arena, (void **)&n->names.items, &n->cap, n->cap + 1,
                                 sizeof *n->names.items));
        struct ks_slice copy = ks_arena_dup(n->arena, rows->cols[i].name);
        if (!copy.ptr)
            return ks_arena_err(n->arena);
        n->names.items[n->names.count++] = copy;
    }
    return KS_OK;
}

static const struct ks_lq_stage_ops name_ops = {.name = "names", .push = name_push};

static void sort_names(struct ks_lq_names *n)
{
    for (size_t i = 1; i < n->count; i++) {
        struct ks_slice x = n->items[i];
        size_t at = i;
        for (; at && ks_slice_cmp(n->items[at - 1], x) > 0; at--)
            n->items[at] = n->items[at - 1];
        n->items[at] = x;
    }
}

/* A pass of its own over the rows, so that nothing has to be held back. */
static ks_err csv_columns(struct ks_vl_ctx *c, uint64_t newest, uint64_t offset, bool sorted,
                          struct ks_lq_names *ret)
{
    struct name_sink n = {.s = {.ops = &name_ops}, .arena = &c->req->arena};
    KS_TRY(ks_vl_run(c, newest, offset, &n.s));
    if (sorted)
        sort_names(&n.names);
    *ret = n.names;
    return KS_OK;
}

/* --- query --- */

static ks_err limits(struct ks_vl_ctx *c, uint64_t *ret_newest, uint64_t *ret_offset)
{
    uint64_t limit, offset;
    KS_TRY(ks_vl_arg_uint(c->req, "limit", 0, &limit));
    KS_TRY(ks_vl_arg_uint(c->req, "offset", 0, &offset));
    *ret_newest = *ret_offset = 0;
    if (limit && ks_lq_can_newest(c->query)) {
        *ret_newest = limit;
        *ret_offset = offset;
        return KS_OK;
    }
    if (offset)
        KS_TRY(ks_vl_append(c, false, " | offset %" PRIu64, offset));
    if (limit)
        KS_TRY(ks_vl_append(c, false, " | limit %" PRIu64, limit));
    return KS_OK;
}

static ks_err run_query(struct ks_vl_ctx *c)
{
    struct ks_vl_writer w;
    uint64_t newest, offset;
    KS_TRY(limits(c, &newest, &offset));
    ks_vl_writer_init(&w, c->req, c->query);
    w.csv = ks_slice_is(ks_http_arg(c->req, "format"), "csv");
    ks_err err = KS_OK;
    if (w.csv)
        err = csv_columns(c, newest, offset, w.sorted, &w.csv_columns);
    if (!err)
        err = ks_vl_run(c, newest, offset, &w.s);
    if (!err)
        err = ks_vl_writer_end(&w);
    ks_vl_writer_done(&w);
    return err;
}

ks_err ks_vl_query(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct ks_query_entry e = {
        .query = ks_http_arg(req, "query"), .remote_addr = req->remote_addr, .tenant = req->tenant};
    ks_err err = ks_vl_begin(req, true, &c);
    if (!err) {
        if (c.app->queries)
            ks_query_begin(c.app->queries, &e);
        err = run_query(&c);
        if (c.app->queries)
            ks_query_end(c.app->queries, &e, 0, c.app->cfg.log_slow_query_ms);
    }
    return ks_vl_answer(req, err);
}

/* --- small ones --- */

static ks_err time_range(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    bool has;
    KS_TRY(ks_vl_begin(req, true, &c));
    KS_TRY(ks_lq_time_range(c.query, &req->arena, &c.min_ns, &c.max_ns, &has));
    req->resp.content_type = "application/json";
    ks_buf_printf(&req->resp.body,
                  "{\"start\":%" PRId64 ",\"end\":%" PRId64 ",\"hasTimeFilter\":%s}", c.min_ns,
                  c.max_ns, has ? "true" : "false");
    return KS_OK;
}

ks_err ks_vl_query_time_range(struct ks_http_request *req)
{
    return ks_vl_answer(req, time_range(req));
}

struct tenant_list {
    struct ks_buf *out;
    size_t count;
};

static bool add_tenant(void *arg, struct ks_tenant t)
{
    struct tenant_list *l = arg;
    ks_buf_printf(l->out, "%s{\"account_id\":%u,\"project_id\":%u}", l->count++ ? "," : "",
                  t.account, t.project);
    return true;
}

static void add_trace_tenant(void *arg, struct ks_tenant t)
{
    (void)add_tenant(arg, t);
}

static ks_err tenant_ids(struct ks_http_request *req)
{
    struct ks_vl_ctx c;
    struct tenant_list l = {&req->resp.body, 0};
    if (ks_http_header(req, "AccountID").len || ks_http_header(req, "ProjectID").len)
        return ks_fail(KS_EINVAL, "AccountID and ProjectID may not be set when tenants are listed");
    KS_TRY(ks_vl_begin(req, false, &c));
    ks_buf_byte(&req->resp.body, '[');
    if (c.store)
        KS_TRY(ks_log_store_tenants(c.store, c.min_ns, c.max_ns, add_tenant, &l));
    else
        ks_traces_tenants(ks_trace_store_ring(c.app->traces), add_trace_tenant, &l);
    ks_buf_byte(&req->resp.body, ']');
    req->resp.content_type = "application/json";
    return ks_buf_status(&req->resp.body);
}

ks_err ks_vl_tenant_ids(struct ks_http_request *req)
{
    return ks_vl_answer(req, tenant_ids(req));
}
