/*
 * One table of routes: matching, tenants, authorisation, error form, per-route metrics, and the
 * printed list of endpoints.
 *
 * Path forms, all leading to the same route:
 *   /insert/<A[:P]|multitenant>/[prometheus/]<pattern>   /select/…   /delete/…     cluster form
 *   /insert/[prometheus/]<pattern> with headers AccountID, ProjectID               cluster form,
 * tenant by header
 *   /[prometheus/]<pattern>                                                        single-node
 * form, tenant 0:0 prometheus-strict/ (or promql/) in place of prometheus/ asks for strict PromQL
 * with Prometheus' own answers; so do the argument dialect=promql and, for all paths, the flag
 * -search.dialect=promql.
 *   /<pattern>                                                                     KS_AREA_ROOT
 * Before any of them may stand /store/<name>: the log store meant (api/logs/log_stores.h).
 *
 * A listener with a role, "<log store>", "<log store>/insert" or "<log store>/select", answers for
 * that store alone, writes or reads alone, beside health checks and metrics: what an access proxy
 * that tells its users apart by address relies on. The role "traces" stands for the trace store:
 * OTLP in, LogsQL over spans and VictoriaTraces' Jaeger API out.
 * In a pattern {x} stands for one path segment and a * at the end for any rest; both end up in
 * req->param.
 */
#ifndef KS_API_ROUTER_H
#define KS_API_ROUTER_H

#include "api/http.h"

enum ks_route_area { KS_AREA_ROOT, KS_AREA_INSERT, KS_AREA_SELECT, KS_AREA_DELETE };
enum ks_auth_key {
    KS_AUTH_BASIC, /* only -httpAuth.* */
    KS_AUTH_OPEN,  /* never asks: health checks */
    KS_AUTH_METRICS,
    KS_AUTH_FLAGS,
    KS_AUTH_DELETE,
    KS_AUTH_SNAPSHOT,
    KS_AUTH_FORCE_MERGE,
    KS_AUTH_FORCE_FLUSH,
    KS_AUTH_RESET_CACHE,
    KS_AUTH_RELOAD,
    KS_AUTH_KEY_COUNT
};
enum ks_route_flags {
    KS_ROUTE_PROM_ERRORS = 1,  /* errors as Prometheus JSON, else plain text */
    KS_ROUTE_CLUSTER_ONLY = 2, /* not in the single-node form */
    KS_ROUTE_HIDDEN = 4,       /* an alias: not in the printed list */
    KS_ROUTE_NO_FORM = 8,      /* the body is data even when curl calls it a form */
    KS_ROUTE_WHOLE = 16,   /* answers in one piece and changes nothing (ks_http_request.whole) */
    KS_ROUTE_LOGS = 32,    /* of log stores: VictoriaLogs' names of paths and metrics (vl_*) */
    KS_ROUTE_LARGE = 64,   /* a body as large as an import's */
    KS_ROUTE_TRACES = 256, /* of the trace store: its listeners serve it */
    KS_ROUTE_TRIED = 512,  /* its handler asks ks_http_defer (ks_http_request.tried) */
    KS_ROUTE_BARE = 128,   /* known without tenant and "prometheus/": so it is printed */
};

#define KS_LATENCY_BUCKETS 48
struct ks_route_stats {
    _Atomic uint64_t requests, errors, duration_us;
    _Atomic uint64_t buckets[KS_LATENCY_BUCKETS]; /* √2 apart from 1 µs on */
};

typedef ks_err (*ks_route_fn)(struct ks_http_request *req);
struct ks_route {
    enum ks_route_area area;
    const char *pattern;
    unsigned methods;
    enum ks_http_lane lane;
    unsigned flags;
    enum ks_auth_key auth;
    ks_route_fn handler;
    const char *protocol; /* label of vm_http_requests_total on inserts; NULL none */
    const char *help;
    struct ks_route_stats stats;
};
struct ks_route_table {
    struct ks_route *routes;
    size_t count;
};
/* Every handler family hands in one. */
extern const struct ks_route_table ks_routes_ingest, ks_routes_prom, ks_routes_ops, ks_routes_logs,
    ks_routes_jaeger, ks_routes_vlogs;
/* Routes of one kind of listener, tried before the others; area KS_AREA_ROOT. */
extern const struct ks_route_table ks_routes_jaeger_listener, ks_routes_thrift_listener;

/* The server's two callbacks. */
void ks_router_route(struct ks_http_request *req);
void ks_router_handle(struct ks_http_request *req);

/* Finds route, tenant and suffix; false when nothing fits. For ks_router_route and tests. */
bool ks_router_match(struct ks_http_request *req);

/* Answers with an error in the route's form. */
void ks_router_fail(struct ks_http_request *req, ks_err err, const char *text);

/* Whether a header Authorization has -httpAuth.*'s user and password; true when there is none. */
struct ks_config;
bool ks_router_basic_ok(struct ks_slice header, const struct ks_config *cfg);

/* Markdown table of all routes. */
void ks_router_print(struct ks_buf *out);
/* vm_http_requests_total and kin. */
void ks_router_metrics(struct ks_buf *out);

#endif
