#include "api/router.h"

#include <stdio.h>
#include <strings.h>

#include "api/app.h"
#include "api/logs/log_stores.h"
#include "base/num.h"
#include "base/stats.h"
#include "sys/clock.h"

static const struct ks_route_table *const tables[] = {&ks_routes_ingest, &ks_routes_prom,
                                                      &ks_routes_ops,    &ks_routes_logs,
                                                      &ks_routes_jaeger, &ks_routes_vlogs};
#define TABLE_COUNT (sizeof tables / sizeof *tables)

static KS_STAT(stat_requests_all, "vm_http_requests_all_total");
static KS_STAT(stat_unsupported,
               "vm_http_request_errors_total{path=\"*\", reason=\"unsupported\"}");

/* --- matching --- */
static bool pattern_match(const char *pattern, struct ks_slice text, struct ks_slice *ret_param)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    *ret_param = ks_slice("", 0);
    for (const char *q = pattern; *q;) {
        if (*q == '*' && !q[1]) {
            *ret_param = ks_slice(p, (size_t)(end - p));
            return true;
        }
        if (*q == '{') {
            const char *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
            const char *stop = slash ? slash : end;
            if (stop == p)
                return false;
            *ret_param = ks_slice(p, (size_t)(stop - p));
            p = stop;
            q = strchr(q, '}') + 1;
        } else {
            if (p == end || *p != *q)
                return false;
            p++;
            q++;
        }
    }
    return p == end;
}

/* By kind of listener; NULL: none of its own. */
static const struct ks_route_table *const own_tables[KS_LISTEN_COUNT] = {
    [KS_LISTEN_JAEGER] = &ks_routes_jaeger_listener,
    [KS_LISTEN_JAEGER_THRIFT] = &ks_routes_thrift_listener,
};

static struct ks_route *find_own(const struct ks_route_table *t, struct ks_slice text,
                                 struct ks_slice *ret_param)
{
    for (size_t i = 0; t && i < t->count; i++)
        if (pattern_match(t->routes[i].pattern, text, ret_param))
            return &t->routes[i];
    return NULL;
}

/* Exact patterns win over ones that end in *. */
static struct ks_route *find(enum ks_route_area area, struct ks_slice text, bool cluster,
                             struct ks_slice *ret_param)
{
    struct ks_route *best = NULL;
    for (size_t t = 0; t < TABLE_COUNT; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            struct ks_route *r = &tables[t]->routes[i];
            struct ks_slice param;
            if (r->area != area || (!cluster && (r->flags & KS_ROUTE_CLUSTER_ONLY)) ||
                !pattern_match(r->pattern, text, &param))
                continue;
            bool open_end = r->pattern[0] && r->pattern[strlen(r->pattern) - 1] == '*';
            if (best && open_end)
                continue;
            best = r;
            *ret_param = param;
            if (!open_end)
                return best;
        }
    return best;
}

static struct ks_slice first_segment(struct ks_slice s)
{
    const char *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;
    return ks_slice(s.ptr, slash ? (size_t)(slash - s.ptr) : s.len);
}

static bool parse_u32(struct ks_slice s, uint32_t *ret)
{
    uint64_t v;
    if (!ks_u64_parse(s, &v) || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* "7", "7:3" or "multitenant". */
static bool parse_tenant(struct ks_slice s, struct ks_http_request *req)
{
    if (ks_slice_is(s, "multitenant")) {
        req->multitenant = true;
        return true;
    }
    const char *colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;
    struct ks_slice account = ks_slice(s.ptr, colon ? (size_t)(colon - s.ptr) : s.len);
    struct ks_tenant t = {0};
    if (!parse_u32(account, &t.account) ||
        (colon && !parse_u32(ks_slice_from(s, account.len + 1), &t.project)))
        return false;
    req->tenant = t;
    return true;
}

static bool tenant_from_headers(struct ks_http_request *req)
{
    struct ks_slice account = ks_http_header(req, "AccountID"),
                    project = ks_http_header(req, "ProjectID");
    if (ks_slice_is(account, "multitenant")) {
        req->multitenant = true;
        return true;
    }
    return (!account.len || parse_u32(account, &req->tenant.account)) &&
           (!project.len || parse_u32(project, &req->tenant.project));
}

static struct ks_slice strip_prometheus(struct ks_http_request *req, struct ks_slice s)
{
    static const char *const strict_prefixes[] = {"prometheus-strict/", "promql/"};
    for (size_t i = 0; i < 2; i++)
        if (ks_slice_has_prefix(s, ks_slice_str(strict_prefixes[i]))) {
            req->strict = true;
            return ks_slice_from(s, strlen(strict_prefixes[i]));
        }
    if (ks_slice_is(s, "prometheus"))
        return ks_slice(s.ptr + s.len, 0);
    return ks_slice_has_prefix(s, KS_SLICE_LIT("prometheus/")) ? ks_slice_from(s, 11) : s;
}

static bool match_cluster(struct ks_http_request *req, struct ks_slice rest,
                          enum ks_route_area area)
{
    struct ks_slice seg = first_segment(rest);
    if (parse_tenant(seg, req))
        rest = seg.len < rest.len ? ks_slice_from(rest, seg.len + 1)
                                  : ks_slice(rest.ptr + rest.len, 0);
    else if ((seg.len && memchr(seg.ptr, ':', seg.len)) || !tenant_from_headers(req))
        return false;
    req->cluster_form = true;
    req->suffix = strip_prometheus(req, rest);
    /* Graphite and the like are not below prometheus/: both spellings are tried. */
    req->route = find(area, req->suffix, true, &req->param);
    if (!req->route && req->suffix.len != rest.len)
        req->route = find(area, rest, true, &req->param);
    return req->route != NULL;
}

/* store/<name>/ in front of a path. */
static struct ks_slice strip_store(struct ks_http_request *req, struct ks_slice s)
{
    if (!ks_slice_has_prefix(s, KS_SLICE_LIT("store/")))
        return s;
    struct ks_slice rest = ks_slice_from(s, 6), name = first_segment(rest);
    if (!name.len || name.len == rest.len)
        return s;
    req->store = name;
    return ks_slice_from(rest, name.len + 1);
}

static bool match_path(struct ks_http_request *req)
{
    struct ks_slice path = req->path;
    if (!path.len || path.ptr[0] != '/')
        return false;
    struct ks_slice rest = ks_slice_from(path, 1);
    if (!req->role)
        rest = strip_store(req, rest);
    if ((req->route = find_own(own_tables[req->listener], rest, &req->param)))
        return true;
    if ((req->route = find(KS_AREA_ROOT, rest, true, &req->param)))
        return true;
    static const struct {
        const char *prefix;
        enum ks_route_area area;
    } areas[] = {
        {"insert/", KS_AREA_INSERT}, {"select/", KS_AREA_SELECT}, {"delete/", KS_AREA_DELETE}};
    for (size_t i = 0; i < 3; i++)
        if (ks_slice_has_prefix(rest, ks_slice_str(areas[i].prefix)))
            return match_cluster(req, ks_slice_from(rest, strlen(areas[i].prefix)), areas[i].area);
    req->suffix = strip_prometheus(req, rest);
    for (size_t i = 0; i < 3 && !req->route; i++)
        req->route = find(areas[i].area, req->suffix, false, &req->param);
    return req->route != NULL;
}

/* Whether a listener of this role serves the route; sets the store it is for. */
static bool role_allows(struct ks_http_request *req)
{
    const struct ks_route *r = req->route;
    const char *slash = strchr(req->role, '/');
    req->store = ks_slice(req->role, slash ? (size_t)(slash - req->role) : strlen(req->role));
    bool mine = r->flags & KS_ROUTE_LOGS;
    bool wire = strncmp(r->pattern, "internal/select/", 16) == 0;
    if (ks_store_is_traces(req)) /* logs are not written there; they are only read alike */
        mine = (r->flags & KS_ROUTE_TRACES) || (mine && (r->area == KS_AREA_SELECT || wire)) ||
               (mine && strcmp(r->pattern, "ready") == 0);
    if (!mine)
        return r->area == KS_AREA_ROOT &&
               (r->lane == KS_LANE_DIRECT || strcmp(r->pattern, "metrics") == 0);
    if (!slash)
        return true;
    bool insert = r->area == KS_AREA_INSERT ||
                  (r->area == KS_AREA_ROOT && strncmp(r->pattern, "internal/insert", 15) == 0);
    bool select = r->area == KS_AREA_SELECT ||
                  (r->area == KS_AREA_ROOT && strncmp(r->pattern, "internal/select", 15) == 0);
    return strcmp(slash + 1, "insert") == 0 ? insert : select;
}

bool ks_router_match(struct ks_http_request *req)
{
    if (!match_path(req) || !req->role)
        return req->route != NULL;
    if (!role_allows(req))
        req->route = NULL;
    return req->route != NULL;
}

/* --- authorisation --- */
static bool equal_secret(struct ks_slice given, const char *want)
{
    size_t n = strlen(want);
    unsigned diff = given.len != n;
    for (size_t i = 0; i < n; i++)
        diff |= (unsigned char)want[i] ^ (unsigned char)(i < given.len ? given.ptr[i] : 0);
    return diff == 0;
}

static size_t base64_decode(struct ks_slice in, char *out, size_t max)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < in.len && in.ptr[i] != '='; i++) {
        char c = in.ptr[i];
        int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;
        if (v < 0)
            return 0;
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n == max)
                return 0;
            out[n++] = (char)(acc >> bits);
        }
    }
    return n;
}

bool ks_router_basic_ok(struct ks_slice h, const struct ks_config *cfg)
{
    if (!cfg->http_auth_username[0])
        return true;
    if (h.len < 6 || strncasecmp(h.ptr, "Basic ", 6) != 0)
        return false;
    char plain[512], want[512];
    size_t n = base64_decode(ks_slice_trim(ks_slice_from(h, 6)), plain, sizeof plain);
    snprintf(want, sizeof want, "%s:%s", cfg->http_auth_username, cfg->http_auth_password);
    return equal_secret(ks_slice(plain, n), want);
}

/* A route's own key, when set, takes the place of basic auth. */
static bool authorised(const struct ks_http_request *req)
{
    const struct ks_config *cfg = &ks_app_of(req)->cfg;
    enum ks_auth_key k = req->route ? req->route->auth : KS_AUTH_BASIC;
    if (k == KS_AUTH_OPEN)
        return true;
    const char *key = cfg->auth_keys[k];
    return key && key[0] ? equal_secret(ks_http_arg(req, "authKey"), key)
                         : ks_router_basic_ok(ks_http_header(req, "Authorization"), cfg);
}

/* --- running --- */
/* Prometheus' name for a kind of error; VictoriaMetrics has the status there. */
static const char *prometheus_word(int status)
{
    switch (status) {
    case 422:
        return "execution";
    case 499:
        return "canceled";
    case 503:
        return "timeout";
    default:
        return status >= 500 ? "internal" : "bad_data";
    }
}

static void json_error(struct ks_http_request *req, int status, const char *text)
{
    struct ks_buf *b = &req->resp.body;
    ks_buf_reset(b);
    req->resp.status = status;
    req->resp.content_type = "application/json";
    if (req->strict)
        ks_buf_printf(
            b, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", prometheus_word(status));
    else
        ks_buf_printf(b, "{\"status\":\"error\",\"errorType\":\"%d\",\"error\":", status);
    ks_buf_json_str(b, ks_slice_str(text));
    ks_buf_byte(b, '}');
}

void ks_router_fail(struct ks_http_request *req, ks_err err, const char *text)
{
    int status = ks_err_http_status(err);
    /* Prometheus drops what is answered 429 unless told otherwise; 503 it keeps and sends again. */
    if (status == 429 && req->route && req->route->area == KS_AREA_INSERT)
        status = 503;
    req->resp.extra_count = 0;
    if (req->route && (req->route->flags & KS_ROUTE_PROM_ERRORS))
        json_error(req, status, text);
    else
        ks_http_text(req, status, "%s\n", text);
    if (status == 429 || status == 503)
        ks_http_add_header(req, "Retry-After", KS_SLICE_LIT("10"));
}

static void refuse(struct ks_http_request *req)
{
    ks_http_text(req, 401, "unauthorized; pass basic auth or the authKey of this page\n");
    ks_http_add_header(req, "WWW-Authenticate", KS_SLICE_LIT("Basic realm=\"kofstore\""));
}

static void preflight(struct ks_http_request *req)
{
    req->resp.status = 204;
    ks_http_add_header(req, "Access-Control-Allow-Methods", KS_SLICE_LIT("GET, POST, OPTIONS"));
    ks_http_add_header(req, "Access-Control-Allow-Headers", KS_SLICE_LIT("*"));
    ks_http_add_header(req, "Access-Control-Max-Age", KS_SLICE_LIT("86400"));
}

/* A form of arguments is small; only imports may be as large as an import. */
static size_t body_limit(const struct ks_http_request *req)
{
    const struct ks_config *cfg = &ks_app_of(req)->cfg;
    if (req->route->area != KS_AREA_INSERT)
        return 8 << 20;
    if ((req->route->flags & KS_ROUTE_LARGE) ||
        strncmp(req->route->pattern, "api/v1/import", 13) == 0)
        return 0;
    size_t max = cfg->max_insert_request_bytes;
    max = cfg->influx_max_request_bytes > max ? cfg->influx_max_request_bytes : max;
    return cfg->otlp_max_request_bytes > max ? cfg->otlp_max_request_bytes : max;
}

void ks_router_route(struct ks_http_request *req)
{
    ks_stat_add(&stat_requests_all, 1);
    bool known = ks_router_match(req);
    if (!authorised(req)) {
        refuse(req);
        return;
    }
    if (req->method == KS_OPTIONS) {
        preflight(req);
        return;
    }
    if (!known) {
        ks_stat_add(&stat_unsupported, 1);
        ks_http_text(req, 400, "unsupported path requested: \"%.*s\"\n", KS_SLICE_ARG(req->path));
        return;
    }
    enum ks_http_method m = req->method == KS_HEAD ? KS_GET : req->method;
    if (!(req->route->methods >> m & 1)) {
        ks_http_text(req, 405, "method not allowed for \"%.*s\"\n", KS_SLICE_ARG(req->path));
        ks_http_add_header(req, "Allow",
                           req->route->methods >> KS_GET & 1 ? KS_SLICE_LIT("GET, POST")
                                                             : KS_SLICE_LIT("POST"));
        return;
    }
    req->lane = req->route->lane;
    req->whole = req->route->flags & KS_ROUTE_WHOLE;
    req->tried = req->route->flags & KS_ROUTE_TRIED;
    req->max_body_bytes = body_limit(req);
}

static unsigned latency_bucket(uint64_t us)
{
    unsigned log2 = us ? 63u - (unsigned)__builtin_clzll(us) : 0;
    unsigned half = log2 && (us >> (log2 - 1) & 1); /* the upper half of the octave */
    unsigned b = log2 * 2 + half;
    return b < KS_LATENCY_BUCKETS ? b : KS_LATENCY_BUCKETS - 1;
}

static void count(struct ks_http_request *req, int64_t us)
{
    struct ks_route_stats *st = &((struct ks_route *)req->route)->stats;
    if (us < 0)
        us = 0;
    atomic_fetch_add_explicit(&st->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&st->duration_us, (uint64_t)us, memory_order_relaxed);
    atomic_fetch_add_explicit(&st->buckets[latency_bucket((uint64_t)us)], 1, memory_order_relaxed);
    if (req->resp.status >= 400)
        atomic_fetch_add_explicit(&st->errors, 1, memory_order_relaxed);
}

void ks_router_handle(struct ks_http_request *req)
{
    ks_err err = KS_OK;
    if (!(req->route->flags & KS_ROUTE_NO_FORM))
        err = ks_http_parse_form(req);
    if (err == KS_OK)
        err = req->route->handler(req);
    if (req->deferred && req->may_defer)
        return; /* to come again */
    if (err != KS_OK) {
        char text[KS_ERR_TEXT_MAX];
        snprintf(text, sizeof text, "%s", ks_err_text());
        if (ks_http_streaming(req))
            ks_http_stream_fail(req, text);
        else
            ks_router_fail(req, err, text);
    }
    count(req, ks_mono_us() - req->start_mono_us);
}

/* --- printing --- */
static void full_path(const struct ks_route *r, char out[160])
{
    static const char *const fmt[] = {"/%s", "/insert/{}/prometheus/%s", "/select/{}/prometheus/%s",
                                      "/delete/{}/prometheus/%s"};
    static const char *const bare_fmt[] = {"/%s", "/insert/%s", "/select/%s", "/delete/%s"};
    bool bare = r->flags & (KS_ROUTE_LOGS | KS_ROUTE_BARE);
    snprintf(out, 160, (bare ? bare_fmt : fmt)[r->area], r->pattern);
}

void ks_router_print(struct ks_buf *out)
{
    ks_buf_str(out, "| Path | Methods | What it does |\n|---|---|---|\n");
    for (size_t t = 0; t < TABLE_COUNT; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct ks_route *r = &tables[t]->routes[i];
            if (r->flags & KS_ROUTE_HIDDEN)
                continue;
            char path[160];
            full_path(r, path);
            bool get = r->methods >> KS_GET & 1, post = r->methods >> KS_POST & 1;
            ks_buf_printf(out, "| `%s` | %s%s%s | %s |\n", path, get ? "GET" : "",
                          get && post ? ", " : "", post ? "POST" : "", r->help);
        }
}

static double bucket_upper_s(unsigned b)
{
    double base = (double)(1ull << (b / 2));
    return (b & 1 ? base * 2 : base * 1.5) / 1e6;
}

static double latency_quantile(struct ks_route_stats *st, double q)
{
    uint64_t total = 0, seen = 0;
    for (unsigned b = 0; b < KS_LATENCY_BUCKETS; b++)
        total += atomic_load_explicit(&st->buckets[b], memory_order_relaxed);
    for (unsigned b = 0; b < KS_LATENCY_BUCKETS; b++) {
        seen += atomic_load_explicit(&st->buckets[b], memory_order_relaxed);
        if (seen && (double)seen >= q * (double)total)
            return bucket_upper_s(b);
    }
    return 0;
}

static void route_summary(struct ks_buf *out, const char *family, const char *path,
                          struct ks_route_stats *st)
{
    static const char *const quantiles[] = {"0.5", "0.9", "0.97", "0.99", "1"};
    static const double q[] = {0.5, 0.9, 0.97, 0.99, 1};
    char name[320];
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%s{path=\"%s\", quantile=\"%s\"}", family, path, quantiles[i]);
        ks_stats_line_f64(out, name, latency_quantile(st, q[i]));
    }
    snprintf(name, sizeof name, "%s_sum{path=\"%s\"}", family, path);
    ks_stats_line_f64(out, name, (double)atomic_load(&st->duration_us) / 1e6);
    snprintf(name, sizeof name, "%s_count{path=\"%s\"}", family, path);
    ks_stats_line_u64(out, name, atomic_load(&st->requests));
}

static void route_metrics(struct ks_buf *out, struct ks_route *r)
{
    bool logs = r->flags & KS_ROUTE_LOGS, traces = r->flags & KS_ROUTE_TRACES;
    const char *prefix = logs ? "vl" : traces ? "vt" : "vm";
    char path[160], labels[240], name[320];
    full_path(r, path);
    snprintf(labels, sizeof labels, r->protocol ? "path=\"%s\", protocol=\"%s\"" : "path=\"%s\"",
             path, r->protocol);
    snprintf(name, sizeof name, "%s_http_requests_total{%s}", prefix, labels);
    ks_stats_line_u64(out, name, atomic_load(&r->stats.requests));
    snprintf(name, sizeof name, "%s_http_%s_total{%s}", prefix,
             logs || traces ? "errors" : "request_errors", labels);
    ks_stats_line_u64(out, name, atomic_load(&r->stats.errors));
    if (logs || traces)
        route_summary(
            out, logs ? "vl_http_request_duration_seconds" : "vt_http_request_duration_seconds",
            path, &r->stats);
    else if (r->area == KS_AREA_SELECT)
        route_summary(out, "vm_request_duration_seconds", path, &r->stats);
    else if (r->area == KS_AREA_INSERT)
        route_summary(out, "vm_http_request_duration_seconds", path, &r->stats);
}

void ks_router_metrics(struct ks_buf *out)
{
    for (size_t t = 0; t < TABLE_COUNT; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            struct ks_route *r = &tables[t]->routes[i];
            if (!(r->flags & KS_ROUTE_HIDDEN))
                route_metrics(out, r);
        }
}
