/* Where the log ingestion protocols are reached. */
#include "api/logs/logs.h"
#include "api/router.h"

#define POST (1u << KS_POST)

#define INSERT(pattern, methods, flags, handler, help)                                             \
    {                                                                                              \
        KS_AREA_INSERT, pattern, methods, KS_LANE_INSERT,                                          \
            (flags) | KS_ROUTE_NO_FORM | KS_ROUTE_LOGS, KS_AUTH_BASIC, handler, NULL, help,        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static ks_err ready(struct ks_http_request *req)
{
    ks_http_text(req, 200, "{\"status\":\"ok\"}");
    req->resp.content_type = "application/json";
    return KS_OK;
}

static struct ks_route routes[] = {
    INSERT("jsonline", POST, KS_ROUTE_LARGE, ks_jsonline_handle, "logs, a JSON object per line"),
    INSERT("ready", KS_METHODS_ANY, 0, ready, "whether logs can be sent"),
};

const struct ks_route_table ks_routes_logs = {routes, sizeof routes / sizeof *routes};
