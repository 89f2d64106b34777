/* An engine of a head alone: shards and live index, no files. For fuzzers of what recovery reads.
 */
#ifndef KS_TESTS_BARE_ENGINE_H
#define KS_TESTS_BARE_ENGINE_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/head_hist.h"
#include "engine/records.h"

enum { BARE_SHARDS = 2, BARE_SID_MAX = 1 << 16 };

static inline void bare_engine_init(struct ks_engine *e)
{
    memset(e, 0, sizeof *e);
    e->shard_count = BARE_SHARDS;
    e->shards = ks_aligned_alloc(64, BARE_SHARDS * sizeof *e->shards);
    if (!e->shards || ks_live_index_new(&e->live) != KS_OK)
        abort();
    for (uint32_t i = 0; i < BARE_SHARDS; i++)
        if (ksi_shard_init(&e->shards[i], i, BARE_SHARDS) != KS_OK)
            abort();
}

static inline void bare_engine_done(struct ks_engine *e)
{
    for (uint32_t i = 0; i < BARE_SHARDS; i++)
        ksi_shard_done(&e->shards[i]);
    ks_free(e->shards);
    ks_live_index_free(e->live);
}

static inline ks_err bare_small_sid(void *arg, uint32_t sid, struct ks_tenant tenant,
                                    struct ks_slice labels)
{
    (void)tenant;
    (void)labels;
    *(bool *)arg &= sid < BARE_SID_MAX;
    return KS_OK;
}

/* Whether a list of series (the SERIES record's form) keeps to small ids: ids are an index, huge
 * ones cost memory rightly. */
static inline bool bare_sids_small(struct ks_slice series)
{
    bool small = true;
    (void)!ksi_rec_series_read(series, bare_small_sid, &small);
    return small;
}

/* Everything the head holds after hostile input must be fit to seal and to read back. */
static inline void bare_engine_use(struct ks_engine *e)
{
    struct ks_buf labels;
    ks_buf_init(&labels, 16 << 20);
    for (uint32_t i = 0; i < BARE_SHARDS; i++) {
        struct ksi_shard *s = &e->shards[i];
        for (uint32_t local = 0; local < s->local_end; local++) {
            struct ks_tenant tenant;
            if (!ksi_series_at(s, local)->slab)
                continue;
            ks_buf_reset(&labels);
            KS_ASSERT(ks_live_index_labels(e->live, ksi_sid(s, local), &labels, &tenant) == KS_OK);
            KS_ASSERT(ksi_seal(s, local) == KS_OK);
            KS_ASSERT(ksi_hist_seal(s, local) == KS_OK);
        }
    }
    ks_buf_done(&labels);
}

#endif
