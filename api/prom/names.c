/* metric_names_stats: which metric names queries ask for, and which nobody does. */
#include <stdlib.h>

#include "api/name_stats.h"
#include "api/prom/prom.h"
#include "base/cxx/re2.h"

enum { DEFAULT_LIMIT = 1000 };

struct record {
    struct ks_slice name;
    struct ks_name_use use;
};

struct list {
    struct ks_prom_ctx *ctx;
    struct ks_tenant tenant;
    struct ks_re *pattern; /* NULL: all */
    int64_t le;            /* asked for at most so often; < 0: however often */
    struct record *items;
    size_t count, cap;
    ks_err err;
};

static bool add_name(void *arg, struct ks_slice name, uint64_t rows)
{
    struct list *l = arg;
    (void)rows;
    struct record r = {name, ks_name_stats_get(l->ctx->app->names, l->tenant, name)};
    if ((l->pattern && !ks_re_search(l->pattern, name.ptr, name.len, 0, 0, NULL, 0)) ||
        (l->le >= 0 && r.use.requests > (uint64_t)l->le))
        return true;
    struct ks_arena *a = &l->ctx->req->arena;
    r.name = ks_arena_dup(a, name);
    l->err = r.name.ptr
                 ? ks_arena_grow(a, (void **)&l->items, &l->cap, l->count + 1, sizeof *l->items)
                 : ks_arena_err(a);
    if (l->err == KS_OK)
        l->items[l->count++] = r;
    return l->err == KS_OK;
}

/* Least asked for first: that is what is looked for. */
static int by_requests(const void *pa, const void *pb)
{
    const struct record *a = pa, *b = pb;
    if (a->use.requests != b->use.requests)
        return a->use.requests < b->use.requests ? -1 : 1;
    return ks_slice_cmp(a->name, b->name);
}

static void write_records(struct list *l, size_t limit)
{
    struct ks_http_request *req = l->ctx->req;
    struct ks_buf *out = &req->resp.body;
    struct ks_name_stats_total t;
    ks_name_stats_totals(l->ctx->app->names, &t);
    req->resp.content_type = "application/json";
    ks_buf_printf(out,
                  "{\"status\":\"success\",\"statsCollectedSince\":%lld,"
                  "\"statsCollectedRecordsTotal\":%llu,\"trackerMemoryMaxSizeBytes\":%llu,"
                  "\"trackerCurrentMemoryUsageBytes\":%llu,\"records\":[",
                  (long long)t.since_s, (unsigned long long)t.names,
                  (unsigned long long)t.max_bytes, (unsigned long long)t.bytes);
    for (size_t i = 0; i < l->count && i < limit; i++) {
        ks_buf_str(out, i ? ",{\"metricName\":" : "{\"metricName\":");
        ks_buf_json_str(out, l->items[i].name);
        ks_buf_printf(out, ",\"queryRequestsCount\":%llu,\"lastQueryRequestTimestamp\":%llu}",
                      (unsigned long long)l->items[i].use.requests,
                      (unsigned long long)l->items[i].use.last_s);
    }
    ks_buf_str(out, "]}");
}

static ks_err compile(struct ks_http_request *req, struct ks_re **ret)
{
    struct ks_slice pattern = ks_http_arg(req, "match_pattern");
    char why[128];
    *ret = NULL;
    if (!pattern.len)
        return KS_OK;
    *ret = ks_re_new(pattern.ptr, pattern.len, 0, why, sizeof why);
    return *ret ? KS_OK : ks_fail(KS_EINVAL, "cannot parse match_pattern: %s", why);
}

ks_err ks_prom_metric_names_stats(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct list l = {.ctx = &ctx};
    int64_t limit;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_status_duration_ms, &ctx));
    KS_TRY(ks_http_arg_i64(req, "limit", DEFAULT_LIMIT, &limit));
    KS_TRY(ks_http_arg_i64(req, "le", -1, &l.le));
    KS_TRY(ks_prom_select_opts(&ctx, 0, INT64_MAX, false, &sel));
    if (!req->multitenant)
        l.tenant = req->tenant;
    KS_TRY(compile(req, &l.pattern));
    ks_err err =
        ks_engine_label_values(ctx.app->engine, &sel, KS_SLICE_LIT("__name__"), add_name, &l);
    ks_re_free(l.pattern);
    KS_TRY(err);
    KS_TRY(l.err);
    if (l.count)
        qsort(l.items, l.count, sizeof *l.items, by_requests);
    write_records(&l, limit > 0 ? (size_t)limit : DEFAULT_LIMIT);
    return KS_OK;
}

ks_err ks_prom_metric_names_stats_reset(struct ks_http_request *req)
{
    ks_name_stats_reset(ks_app_of(req)->names);
    req->resp.status = 204;
    return KS_OK;
}
