/* Bodies of /api/v1/import. Whatever comes, every series resolves and has its samples. */
#include "api/app.h"
#include "api/ingest/import.h"
#include "api/scratch.h"
#include "base/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);
ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret)
{
    for (size_t i = 0; i < b->series_count; i++) {
        struct ks_labels l = {0};
        KS_ASSERT((size_t)b->series[i].first_sample + b->series[i].sample_count <= b->sample_count);
        KS_ASSERT(b->resolve(b, i, &l) == KS_OK); /* the labels are our own work */
        ks_labels_canonicalise(&l);
    }
    return KS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ks_app app;
    static struct ks_scratch scratch;
    static struct ks_stat stat = {.name = "fuzz"};
    if (!app.metadata) {
        app.cfg = (struct ks_config){
            .max_labels_per_series = 60, .max_metadata_bytes = 1 << 20, .query_log_count = 1};
        ks_scratch_init(&scratch);
        KS_ASSERT(ks_app_init(&app) == KS_OK);
    }
    struct ks_ingest in;
    uint64_t bad;
    ks_ingest_begin_local(&app, &scratch, &stat, &in);
    ks_err err = ks_import_json(&in, ks_slice(data, size), &bad);
    if (err == KS_OK)
        err = ks_ingest_end(&in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE);
    ks_scratch_trim(&scratch);
    return 0;
}
