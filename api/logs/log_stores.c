#include "api/logs/log_stores.h"

#include "api/app.h"
#include "engine/logs/log_store.h"

ks_err ks_log_store_of(const struct ks_http_request *req, struct ks_log_store **ret)
{
    struct ks_logs *logs = ks_app_of(req)->logs;
    struct ks_slice name = req->store;
    if (!name.len)
        name = KS_SLICE_LIT(KS_LOG_STORE_DEFAULT);
    if (!logs)
        return ks_fail(KS_EUNSUPPORTED, "this process keeps no logs");
    *ret = ks_logs_store(logs, name);
    return *ret ? KS_OK
                : ks_fail(KS_ENOTFOUND, "there is no log store \"%.*s\"; see -logs.store",
                          KS_SLICE_ARG(name));
}
