#include "api/app.h"

#include "api/exemplars.h"
#include "api/metadata.h"
#include "api/name_stats.h"
#include "api/query_log.h"
#include "api/vlogs/vlogs.h"
#include "query/promql/result_cache.h"

enum {
    EXEMPLARS_MAX = 100000,
    EXEMPLARS_MAX_BYTES = 32 << 20,
    RESULTS_BYTES = 16 << 20,
    NAMES_BYTES = 16 << 20
};

ks_err ks_app_init(struct ks_app *app)
{
    KS_TRY(ks_metadata_new(app->cfg.max_metadata_bytes, &app->metadata));
    KS_TRY(ks_exemplars_new(EXEMPLARS_MAX, EXEMPLARS_MAX_BYTES, &app->exemplars));
    size_t results = app->cfg.result_cache_bytes ? app->cfg.result_cache_bytes : RESULTS_BYTES;
    KS_TRY(ks_result_cache_new(results, app->cfg.result_cache_recent_ms, &app->results));
    KS_TRY(ks_vl_deletes_new(&app->log_deletes));
    KS_TRY(ks_name_stats_new(NAMES_BYTES, &app->names));
    return ks_query_log_new(app->cfg.query_log_count, &app->queries);
}

void ks_app_done(struct ks_app *app)
{
    ks_vl_deletes_free(app->log_deletes);
    ks_metadata_free(app->metadata);
    ks_exemplars_free(app->exemplars);
    ks_query_log_free(app->queries);
    ks_result_cache_free(app->results);
    app->log_deletes = NULL;
    ks_name_stats_free(app->names);
    app->metadata = NULL;
    app->exemplars = NULL;
    app->queries = NULL;
    app->results = NULL;
    app->names = NULL;
}
