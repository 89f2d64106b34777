/* Where the Prometheus-style query API is reached. */
#include "api/router.h"

static ks_err buildinfo(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"success\",\"data\":{\"version\":\"2.24.0\"}}");
    return KS_OK;
}

#define SELECT(pattern, flags, handler, help)                                                                          \
    {KS_AREA_SELECT, pattern, KS_METHODS_READ, KS_LANE_SELECT, (flags) | KS_ROUTE_PROM_ERRORS, KS_AUTH_BASIC, handler, \
     NULL, help, {0}}

static struct ks_route routes[] = {
    SELECT("api/v1/status/buildinfo", 0, buildinfo, "version, for Grafana's feature detection"),
};

const struct ks_route_table ks_routes_prom = {routes, sizeof routes / sizeof *routes};
