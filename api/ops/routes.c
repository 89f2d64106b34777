/* The operator's endpoints: health, metrics, maintenance, snapshots, and what a browser asks for.
 */
#include <stdio.h>

#include "api/ops/ops.h"
#include "base/log.h"
#include "engine/logs/log_store.h"
#include "query/promql/result_cache.h"
#include "sys/pool.h"

static ks_err health(struct ks_http_request *req)
{
    if (atomic_load(&ks_app_of(req)->shutting_down))
        ks_http_text(req, 503, "The service is shutting down.\n");
    else
        ks_http_text(req, 200, "OK");
    return KS_OK;
}

static ks_err healthy(struct ks_http_request *req)
{
    ks_http_text(req, 200, "VictoriaMetrics is Healthy.\n");
    return KS_OK;
}

static ks_err ready(struct ks_http_request *req)
{
    ks_http_text(req, 200, "VictoriaMetrics is Ready.\n");
    return KS_OK;
}

static ks_err ping(struct ks_http_request *req)
{
    bool verbose = ks_http_arg_bool(req, "verbose");
    ks_http_text(req, verbose ? 200 : 204, verbose ? "{\"version\":\"1.8.0\"}" : "%s", "");
    if (verbose)
        req->resp.content_type = "application/json";
    ks_http_add_header(req, "X-Influxdb-Version", KS_SLICE_LIT("1.8.0"));
    return KS_OK;
}

static ks_err flags(struct ks_http_request *req)
{
    struct ks_app *app = ks_app_of(req);
    if (app->print_flags)
        app->print_flags(&req->resp.body);
    return KS_OK;
}

static ks_err robots(struct ks_http_request *req)
{
    ks_http_text(req, 200, "User-agent: *\nDisallow: /\n");
    return KS_OK;
}

static ks_err nothing(struct ks_http_request *req)
{
    req->resp.status = 204;
    return KS_OK;
}

static ks_err index_page(struct ks_http_request *req)
{
    req->resp.content_type = "text/html; charset=utf-8";
    ks_buf_str(&req->resp.body,
               "<!doctype html><title>kofstore</title><h2>kofstore</h2><ul>"
               "<li><a href=\"metrics\">metrics</a><li><a href=\"flags\">flags</a>"
               "<li><a href=\"api/v1/status/tsdb\">series statistics</a>"
               "<li><a href=\"api/v1/status/top_queries\">top queries</a>"
               "<li><a href=\"api/v1/status/active_queries\">active queries</a></ul>\n");
    return KS_OK;
}

/* --- maintenance --- */
static ks_err force_flush(struct ks_http_request *req)
{
    ks_log(KS_LOG_INFO, "api", "flush requested");
    return ks_engine_flush(ks_app_of(req)->engine);
}

struct merge_job {
    struct ks_engine *engine;
    char prefix[32];
};

static ks_err force_merge(struct ks_http_request *req)
{
    struct ks_slice p = ks_http_arg(req, "partition_prefix");
    char prefix[32];
    if (p.len >= sizeof prefix)
        return ks_fail(KS_EINVAL, "partition_prefix is too long; want YYYY_MM or YYYY_MM_DD");
    snprintf(prefix, sizeof prefix, "%.*s", KS_SLICE_ARG(p));
    ks_log(KS_LOG_INFO, "api", "merge requested prefix=%s", prefix);
    KS_TRY(ks_engine_merge(ks_app_of(req)->engine, prefix));
    struct ks_logs *logs = ks_app_of(req)->logs;
    struct ks_log_store *s;
    for (size_t i = 0; logs && (s = ks_logs_store_at(logs, i)); i++)
        KS_TRY(ks_log_store_merge(s, prefix));
    return KS_OK;
}

static ks_err snapshot_error(struct ks_http_request *req)
{
    char text[KS_ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", ks_err_text());
    req->resp.status = 500;
    req->resp.content_type = "application/json";
    ks_buf_reset(&req->resp.body);
    ks_buf_str(&req->resp.body, "{\"status\":\"error\",\"msg\":");
    ks_buf_json_str(&req->resp.body, ks_slice_str(text));
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

static ks_err snapshot_create(struct ks_http_request *req)
{
    char name[64];
    if (ks_engine_snapshot_create(ks_app_of(req)->engine, name) != KS_OK)
        return snapshot_error(req);
    req->resp.content_type = "application/json";
    ks_buf_printf(&req->resp.body, "{\"status\":\"ok\",\"snapshot\":\"%s\"}", name);
    return KS_OK;
}

static ks_err prometheus_snapshot(struct ks_http_request *req)
{
    char name[64];
    KS_TRY(ks_engine_snapshot_create(ks_app_of(req)->engine, name));
    req->resp.content_type = "application/json";
    ks_buf_printf(&req->resp.body, "{\"status\":\"success\",\"data\":{\"name\":\"%s\"}}", name);
    return KS_OK;
}

struct name_list {
    struct ks_arena *arena;
    struct ks_slice *names;
    size_t count, cap;
    ks_err err;
};

static bool add_name(void *arg, const char *name)
{
    struct name_list *l = arg;
    l->err = ks_arena_grow(l->arena, (void **)&l->names, &l->cap, l->count + 1, sizeof *l->names);
    if (l->err == KS_OK)
        l->names[l->count++] = ks_arena_dup(l->arena, ks_slice_str(name));
    return l->err == KS_OK;
}

static ks_err list_snapshots(struct ks_http_request *req, struct name_list *l)
{
    *l = (struct name_list){.arena = &req->arena};
    KS_TRY(ks_engine_snapshot_list(ks_app_of(req)->engine, add_name, l));
    return l->err;
}

static ks_err snapshot_list(struct ks_http_request *req)
{
    struct name_list l;
    if (list_snapshots(req, &l) != KS_OK)
        return snapshot_error(req);
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"ok\",\"snapshots\":[");
    for (size_t i = 0; i < l.count; i++) {
        if (i)
            ks_buf_byte(&req->resp.body, ',');
        ks_buf_json_str(&req->resp.body, l.names[i]);
    }
    ks_buf_str(&req->resp.body, "]}");
    return KS_OK;
}

static ks_err delete_one(struct ks_http_request *req, struct ks_slice name)
{
    /* Only names the engine lists: what the client sends never becomes a path. */
    struct name_list l;
    KS_TRY(list_snapshots(req, &l));
    for (size_t i = 0; i < l.count; i++)
        if (ks_slice_eq(l.names[i], name))
            return ks_engine_snapshot_delete(ks_app_of(req)->engine, l.names[i].ptr);
    return ks_fail(KS_ENOTFOUND, "cannot find snapshot \"%.*s\"", KS_SLICE_ARG(name));
}

static ks_err snapshot_ok(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"ok\"}");
    return KS_OK;
}

static ks_err snapshot_delete(struct ks_http_request *req)
{
    if (delete_one(req, ks_http_arg(req, "snapshot")) != KS_OK)
        return snapshot_error(req);
    return snapshot_ok(req);
}

static ks_err snapshot_delete_all(struct ks_http_request *req)
{
    struct name_list l;
    if (list_snapshots(req, &l) != KS_OK)
        return snapshot_error(req);
    for (size_t i = 0; i < l.count; i++)
        if (ks_engine_snapshot_delete(ks_app_of(req)->engine, l.names[i].ptr) != KS_OK)
            return snapshot_error(req);
    return snapshot_ok(req);
}

static ks_err reset_results(struct ks_http_request *req)
{
    ks_result_cache_reset(ks_app_of(req)->results);
    return KS_OK;
}

#define R(pattern, methods, lane, flags, auth, handler, help)                                      \
    {                                                                                              \
        KS_AREA_ROOT, pattern, methods, KS_LANE_##lane, flags, KS_AUTH_##auth, handler, NULL,      \
            help,                                                                                  \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static struct ks_route routes[] = {
    R("", KS_METHODS_READ, DIRECT, KS_ROUTE_HIDDEN, BASIC, index_page, "links"),
    R("health", KS_METHODS_READ, DIRECT, 0, OPEN, health,
      "200 OK while serving, 503 once a shutdown has begun"),
    R("-/healthy", KS_METHODS_READ, DIRECT, 0, OPEN, healthy, "the same in Prometheus' words"),
    R("-/ready", KS_METHODS_READ, DIRECT, 0, OPEN, ready, "ready for requests"),
    R("-/reload", KS_METHODS_READ, DIRECT, 0, RELOAD, nothing,
      "accepted; there is nothing to reload yet"),
    R("ping", KS_METHODS_READ, DIRECT, 0, OPEN, ping, "204, for Influx clients"),
    R("metrics", KS_METHODS_READ, OPS, 0, METRICS, ks_ops_metrics,
      "own metrics in Prometheus text"),
    R("flags", KS_METHODS_READ, OPS, 0, FLAGS, flags, "flags in effect, secrets masked"),
    R("robots.txt", KS_METHODS_READ, DIRECT, KS_ROUTE_HIDDEN, OPEN, robots, ""),
    R("favicon.ico", KS_METHODS_READ, DIRECT, KS_ROUTE_HIDDEN, OPEN, nothing, ""),
    R("internal/force_flush", KS_METHODS_READ, OPS, 0, FORCE_FLUSH, force_flush,
      "writes everything in memory to parts and returns when done"),
    R("internal/force_merge", KS_METHODS_READ, OPS, 0, FORCE_MERGE, force_merge,
      "merges parts; partition_prefix=YYYY_MM[_DD] narrows it"),
    R("internal/resetRollupResultCache", KS_METHODS_READ, OPS, 0, RESET_CACHE, reset_results,
      "forgets cached query results"),
    R("snapshot/create", KS_METHODS_READ, OPS, 0, SNAPSHOT, snapshot_create,
      "makes a snapshot (hard links) to copy from"),
    R("snapshot/list", KS_METHODS_READ, OPS, 0, SNAPSHOT, snapshot_list, "names of the snapshots"),
    R("snapshot/delete", KS_METHODS_READ, OPS, 0, SNAPSHOT, snapshot_delete,
      "removes snapshot=NAME"),
    R("snapshot/delete_all", KS_METHODS_READ, OPS, 0, SNAPSHOT, snapshot_delete_all,
      "removes all snapshots"),
    R("api/v1/admin/tsdb/snapshot", KS_METHODS_READ, OPS, 0, SNAPSHOT, prometheus_snapshot,
      "makes a snapshot, Prometheus' answer"),
};

const struct ks_route_table ks_routes_ops = {routes, sizeof routes / sizeof *routes};
