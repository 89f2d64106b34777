/* Remote write bodies: the first byte chooses 1.0 or 2.0. Whatever comes, every series the batch
 * names resolves or is an error. */
#include "api/app.h"
#include "api/ingest/remote_write.h"
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
        ks_err err = b->resolve(b, i, &l);
        if (err != KS_OK)
            return err;
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
    if (!size)
        return 0;
    struct ks_ingest in;
    struct ks_slice body = ks_slice(data + 1, size - 1);
    ks_ingest_begin_local(&app, &scratch, &stat, &in);
    in.multitenant = data[0] & 2;
    ks_err err = data[0] & 1 ? ks_remote_write_v2(&in, body) : ks_remote_write_v1(&in, body);
    if (err == KS_OK)
        err = ks_ingest_end(&in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE || err == KS_ELIMIT);
    ks_scratch_trim(&scratch);
    return 0;
}
