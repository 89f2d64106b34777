#include "compaction/fold.h"

#include <string.h>

#include "base/mem.h"
#include "storage/codec/fold_samples.h"

void kfold_reset(struct kfold *f)
{
    f->count = 0;
}

void kfold_done(struct kfold *f)
{
    ks_free(f->times);
    ks_free(f->values);
    ks_times_memo_done(&f->memo);
    *f = (struct kfold){0};
}

ks_err kfold_add(struct kfold *f, struct ks_mdata *d, const struct ks_chunk_ref *ref)
{
    size_t need = f->count + ref->meta.sample_count, cap = f->cap;
    if (need > cap) {
        KS_TRY(ks_array_reserve((void **)&f->times, &cap, need, sizeof *f->times));
        double *v = ks_realloc(f->values, cap * sizeof *v);
        if (!v)
            return KS_ENOMEM;
        f->values = v;
        f->cap = cap;
    }
    KS_TRY(ks_mdata_decode(d, ref, &f->memo, f->times + f->count, f->values + f->count));
    f->count = need;
    return KS_OK;
}

ks_err kfold_finish(struct kfold *f, int64_t keep_from, int64_t dedup_ms, int64_t resolution_ms)
{
    KS_TRY(ks_samples_fold(f->times, f->values, &f->count));
    if (dedup_ms > 1)
        f->count = ks_samples_dedup(f->times, f->values, f->count, dedup_ms);
    if (resolution_ms > 1 && resolution_ms > dedup_ms)
        f->count = ks_samples_dedup(f->times, f->values, f->count, resolution_ms);
    size_t from = ks_samples_lower_bound(f->times, f->count, keep_from);
    if (from) {
        memmove(f->times, f->times + from, (f->count - from) * sizeof *f->times);
        memmove(f->values, f->values + from, (f->count - from) * sizeof *f->values);
        f->count -= from;
    }
    return KS_OK;
}
