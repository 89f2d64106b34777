/* Decoded samples of several chunks as one ascending run, of equal times one sample; numbers and
 * histograms apart. Merges and tools use it. One thread. */
#ifndef KS_COMPACTION_FOLD_H
#define KS_COMPACTION_FOLD_H

#include "storage/metric_data.h"

struct kfold {
    int64_t *times;
    double *values;
    size_t count, cap;
    struct ks_times_memo memo;
    /* Native histograms go beside, with times of their own. */
    int64_t *hist_times;
    struct ks_histogram *hists;
    size_t hist_count, hist_cap;
    struct ks_arena arena; /* their arrays; made by the first one */
};

void kfold_reset(struct kfold *f);
void kfold_done(struct kfold *f);
KS_NODISCARD ks_err kfold_add(struct kfold *f, struct ks_mdata *d, const struct ks_chunk_ref *ref);
/* Sorts, folds, drops times before keep_from, applies the dedup interval and the downsampling
 * resolution (≤ 1: none). */
KS_NODISCARD ks_err kfold_finish(struct kfold *f, int64_t keep_from, int64_t dedup_ms,
                                 int64_t resolution_ms);

#endif
