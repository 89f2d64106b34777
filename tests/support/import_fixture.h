/*
 * What the fuzzers of import bodies share: an application without a server, and an engine that only
 * looks at the batches it is given. Include once per program: it takes the
 * place of ks_engine_write() by the linker's wrap.
 */
#ifndef KS_TESTS_IMPORT_FIXTURE_H
#define KS_TESTS_IMPORT_FIXTURE_H

#include "api/app.h"
#include "api/ingest/import.h"
#include "api/scratch.h"
#include "base/stats.h"

struct import_fixture {
    struct ks_app app;
    struct ks_scratch scratch;
    struct ks_stat stat;
    bool labels_may_fail; /* the labels are the client's own bytes, read late */
};
static struct import_fixture import_fixture = {.stat = {.name = "fuzz"}};

ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);
ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret)
{
    (void)e;
    *ret = (struct ks_write_result){0};
    for (size_t i = 0; i < b->series_count; i++) {
        struct ks_labels l = {0};
        KS_ASSERT((size_t)b->series[i].first_sample + b->series[i].sample_count <= b->sample_count);
        ks_err err = b->resolve(b, i, &l);
        KS_ASSERT(err == KS_OK || import_fixture.labels_may_fail);
        if (err != KS_OK)
            return err;
        ks_labels_canonicalise(&l);
        ret->stored += b->series[i].sample_count;
    }
    return KS_OK;
}

static inline void import_fixture_begin(struct ks_ingest *ret)
{
    struct import_fixture *f = &import_fixture;
    if (!f->app.metadata) {
        f->app.cfg = (struct ks_config){
            .max_labels_per_series = 60, .max_metadata_bytes = 1 << 20, .query_log_count = 1};
        ks_scratch_init(&f->scratch);
        KS_ASSERT(ks_app_init(&f->app) == KS_OK);
        f->app.engine = (struct ks_engine *)f; /* any: ks_engine_write() above takes the batches */
    }
    ks_ingest_begin_local(&f->app, &f->scratch, &f->stat, ret);
}

#endif
