#include "compaction/fold.h"

#include <string.h>

#include "base/mem.h"
#include "storage/codec/fold_histograms.h"
#include "storage/codec/fold_samples.h"

#define ARENA_MAX ((size_t)4 << 30)

void kfold_reset(struct kfold *f)
{
    f->count = f->hist_count = 0;
    if (f->arena.cap_bytes)
        ks_arena_reset(&f->arena);
}

void kfold_done(struct kfold *f)
{
    ks_free(f->times);
    ks_free(f->values);
    ks_times_memo_done(&f->memo);
    ks_free(f->hist_times);
    ks_free(f->hists);
    if (f->arena.cap_bytes)
        ks_arena_done(&f->arena);
    *f = (struct kfold){0};
}

static ks_err add_histograms(struct kfold *f, struct ks_mdata *d, const struct ks_chunk_ref *ref)
{
    size_t need = f->hist_count + ref->meta.sample_count, cap = f->hist_cap;
    if (!f->arena.cap_bytes)
        ks_arena_init(&f->arena, ARENA_MAX);
    if (need > cap) {
        KS_TRY(ks_array_reserve((void **)&f->hist_times, &cap, need, sizeof *f->hist_times));
        struct ks_histogram *h = ks_realloc(f->hists, cap * sizeof *h);
        if (!h)
            return KS_ENOMEM;
        f->hists = h;
        f->hist_cap = cap;
    }
    KS_TRY(ks_mdata_decode_histograms(d, ref, NULL, &f->arena, f->hist_times + f->hist_count,
                                      f->hists + f->hist_count));
    f->hist_count = need;
    return KS_OK;
}

ks_err kfold_add(struct kfold *f, struct ks_mdata *d, const struct ks_chunk_ref *ref)
{
    if (ref->meta.kind == KS_CHUNK_HISTOGRAM)
        return add_histograms(f, d, ref);
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

static ks_err finish_histograms(struct kfold *f, int64_t keep_from, int64_t dedup_ms,
                                int64_t resolution_ms)
{
    KS_TRY(ks_histograms_fold(f->hist_times, f->hists, &f->hist_count));
    if (dedup_ms > 1)
        f->hist_count = ks_histograms_dedup(f->hist_times, f->hists, f->hist_count, dedup_ms);
    if (resolution_ms > 1 && resolution_ms > dedup_ms)
        f->hist_count = ks_histograms_dedup(f->hist_times, f->hists, f->hist_count, resolution_ms);
    size_t from = ks_samples_lower_bound(f->hist_times, f->hist_count, keep_from);
    if (from) {
        memmove(f->hist_times, f->hist_times + from,
                (f->hist_count - from) * sizeof *f->hist_times);
        memmove(f->hists, f->hists + from, (f->hist_count - from) * sizeof *f->hists);
        f->hist_count -= from;
    }
    return KS_OK;
}

ks_err kfold_finish(struct kfold *f, int64_t keep_from, int64_t dedup_ms, int64_t resolution_ms)
{
    if (f->hist_count)
        KS_TRY(finish_histograms(f, keep_from, dedup_ms, resolution_ms));
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
