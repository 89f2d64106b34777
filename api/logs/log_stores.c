#include "api/logs/log_stores.h"

#include "api/app.h"
#include "engine/logs/log_store.h"

bool ks_store_is_traces(const struct ks_http_request *req)
{
    return ks_slice_is(req->store, KS_STORE_TRACES);
}

ks_err ks_log_store_of(const struct ks_http_request *req, struct ks_log_store **ret)
{
    struct ks_logs *logs = ks_app_of(req)->logs;
    struct ks_slice name = req->store;
    if (!name.len)
        name = KS_SLICE_LIT(KS_LOG_STORE_DEFAULT);
    if (ks_store_is_traces(req))
        return ks_fail(KS_EUNSUPPORTED, "the store \"" KS_STORE_TRACES "\" takes spans, and is "
                                        "only read as rows");
    if (!logs)
        return ks_fail(KS_EUNSUPPORTED, "this process keeps no logs");
    *ret = ks_logs_store(logs, name);
    return *ret ? KS_OK
                : ks_fail(KS_ENOTFOUND, "there is no log store \"%.*s\"; see -logs.store",
                          KS_SLICE_ARG(name));
}
