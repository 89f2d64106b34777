/* Reading the native histograms of a selected series: as engine/read.c does with numbers. */
#include <string.h>

#include "engine/head_hist.h"
#include "engine/series_set.h"
#include "storage/codec/fold_histograms.h"
#include "storage/codec/fold_samples.h"

bool ks_series_has_histograms(const struct ks_series_set *s, size_t i)
{
    const struct set_series *x = &s->series[i];
    bool any = false;
    for (uint32_t k = 0; k < x->chunk_count && s->histograms && !any; k++)
        any = s->chunks[x->first_chunk + k].kind == KS_CHUNK_HISTOGRAM;
    return any;
}

static ks_err decode(const struct set_chunk *c, struct ks_arena *arena, int64_t *ts,
                     struct ks_histogram *h)
{
    uint32_t n = c->sample_count;
    switch ((enum set_source)c->source) {
    case SET_PART:
        return ks_mdata_decode_histograms(c->u.data, ksi_set_ref(c), NULL, arena, ts, h);
    case SET_SEALED: {
        const struct ksi_sealed *k = c->u.sealed;
        KS_TRY(
            ks_times_decode(ks_slice(k->times->data, k->times->bytes), k->times->encoding, n, ts));
        return ks_histograms_decode(ks_slice(k->values, k->values_bytes), n, arena, h);
    }
    case SET_OPEN_HISTOGRAMS:
    case SET_LATE_HISTOGRAMS:
        return ksi_hist_decode(ks_slice(c->u.records->bytes, c->u.records->len), n,
                               c->source == SET_LATE_HISTOGRAMS, arena, ts, h);
    case SET_OPEN:
    case SET_OPEN_CONSTANT:
    case SET_OPEN_LAST:
    case SET_LATE:
        break;
    }
    return ks_fail(KS_EINTERNAL, "a chunk of numbers was read as histograms");
}

/* Thins by the dedup interval and the rules, with the same choice as for numbers: indexes stand in
 * for the values. */
static ks_err thin(const struct ks_series_set *s, size_t i, struct ks_arena *arena,
                   struct ks_histogram_run *r)
{
    if (s->dedup_ms <= 1 && !s->e->rules)
        return KS_OK;
    double *at = ks_arena_array(arena, r->count + 1, sizeof *at);
    if (!at)
        return ks_arena_err(arena);
    for (size_t k = 0; k < r->count; k++)
        at[k] = (double)k;
    if (s->dedup_ms > 1)
        r->count = ks_samples_dedup(r->times, at, r->count, s->dedup_ms);
    if (s->e->rules)
        r->count = ks_verdict_thin(&s->verdicts[i], s->now_ms, r->times, at, r->count);
    for (size_t k = 0; k < r->count; k++)
        r->items[k] = r->items[(size_t)at[k]];
    return KS_OK;
}

static void cut(struct ks_histogram_run *r, int64_t min_ms, int64_t max_ms)
{
    size_t from = ks_samples_lower_bound(r->times, r->count, min_ms);
    size_t to =
        max_ms == INT64_MAX ? r->count : ks_samples_lower_bound(r->times, r->count, max_ms + 1);
    r->times += from;
    r->items += from;
    r->count = to > from ? to - from : 0;
}

/* Chunks that hold histograms of the range. */
static bool wanted(const struct set_chunk *c, int64_t min_ms, int64_t max_ms)
{
    return c->kind == KS_CHUNK_HISTOGRAM && c->max_ms >= min_ms && c->min_ms <= max_ms;
}

static ks_err charge(const struct ks_series_set *s, const struct ks_histogram_run *r)
{
    size_t cost = 0;
    for (size_t i = 0; i < r->count; i++)
        cost += 1 + (r->items[i].positive.bucket_count + r->items[i].negative.bucket_count) / 8;
    return ksi_set_count_samples(s, cost);
}

ks_err ks_series_read_histograms(struct ks_series_set *s, size_t i, int64_t min_ms, int64_t max_ms,
                                 struct ks_arena *arena, struct ks_histogram_run *ret)
{
    const struct set_series *x = &s->series[i];
    const struct set_chunk *c = s->chunks + x->first_chunk;
    int64_t decode_to_ms = max_ms, keep_from_ms = INT64_MIN;
    struct ks_histogram_run r = {0};
    size_t room = 0;
    if (s->e->rules) {
        int64_t widest_ms = ks_rules_widest_ms(s->e->rules);
        decode_to_ms = max_ms < INT64_MAX - widest_ms ? max_ms + widest_ms : INT64_MAX;
        keep_from_ms = ks_verdict_keep_from(&s->verdicts[i], s->now_ms);
    }
    KS_TRY(ks_read_ctx_check(s->ctx));
    for (uint32_t k = 0; k < x->chunk_count; k++)
        room += wanted(&c[k], min_ms, decode_to_ms) ? c[k].sample_count : 0;
    r.times = ks_arena_array(arena, room + 1, sizeof *r.times);
    r.items = ks_arena_array(arena, room + 1, sizeof *r.items);
    if (!r.times || !r.items)
        return ks_arena_err(arena);
    for (uint32_t k = 0; k < x->chunk_count; k++) {
        if (!wanted(&c[k], min_ms, decode_to_ms))
            continue;
        ks_err err = decode(&c[k], arena, r.times + r.count, r.items + r.count);
        if (err != KS_OK)
            return ksi_set_blame(s, &c[k], err);
        r.count += c[k].sample_count;
    }
    KS_TRY(ks_histograms_fold(r.times, r.items, &r.count));
    KS_TRY(thin(s, i, arena, &r));
    cut(&r, min_ms > keep_from_ms ? min_ms : keep_from_ms, max_ms);
    *ret = r;
    return charge(s, &r);
}
