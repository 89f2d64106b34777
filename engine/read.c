/* Reading the samples of a selected series: decode, merge what overlaps, cut to the range,
 * deduplicate. */
#include <string.h>

#include "base/mem.h"
#include "engine/series_set.h"
#include "storage/codec/fold_samples.h"

void ks_samples_done(struct ks_samples *s)
{
    ks_free(s->times);
    ks_free(s->values);
    ks_times_memo_done(&s->memo);
    *s = (struct ks_samples){0};
}

static ks_err reserve(struct ks_samples *s, size_t more)
{
    size_t need = s->count + more, cap = s->cap;
    if (need <= cap)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&s->times, &cap, need, sizeof *s->times));
    double *v = ks_realloc(s->values, cap * sizeof *v);
    if (!v)
        return KS_ENOMEM;
    s->values = v;
    s->cap = cap;
    return KS_OK;
}

struct range {
    int64_t min_ms, max_ms;
};

/* Looks at all of them: most often they do ascend. */
static bool ascends(const int64_t *t, size_t n)
{
    bool falls = false;
    size_t i = 1;
    for (; i + 4 <= n; i += 4)
        falls |= (t[i] <= t[i - 1]) | (t[i + 1] <= t[i]) | (t[i + 2] <= t[i + 1]) |
                 (t[i + 3] <= t[i + 2]);
    for (; i < n; i++)
        falls |= t[i] <= t[i - 1];
    return !falls;
}

/* Those of the range, in order of arrival. */
static size_t late_of(const struct set_chunk *c, const struct range *want, int64_t *ts, double *v)
{
    size_t n = 0;
    for (uint32_t i = 0; i < c->sample_count; i++) {
        const struct ksi_sample *x = &c->u.late[i];
        ts[n] = x->ts;
        v[n] = ks_f64_from_bits(x->bits);
        n += x->ts >= want->min_ms && x->ts <= want->max_ms;
    }
    return n;
}

/* The times of a chunk whose like several series have: decoded once. NULL without memory. */
static const int64_t *shared_times(struct ks_series_set *s, struct set_open *x, double *scratch)
{
    /* acquire pairs with the release below */
    int64_t *t = atomic_load_explicit(&x->times, memory_order_acquire);
    if (t)
        return t;
    pthread_mutex_lock(&s->text_lock);
    if (!(t = atomic_load_explicit(&x->times, memory_order_relaxed))) {
        t = ks_arena_array(&s->texts, x->g.count, sizeof *t);
        if (t) {
            (void)ks_gorilla_decode_range(&x->g, &x->from, x->bytes, INT64_MIN, INT64_MAX, t,
                                          scratch);
            atomic_store_explicit(&x->times, t, memory_order_release);
        }
    }
    pthread_mutex_unlock(&s->text_lock);
    return t;
}

/* Those of the range of an open chunk of one value. */
static size_t constant_of(struct ks_series_set *s, const struct set_constant *c,
                          const struct range *want, int64_t *ts, double *v)
{
    struct set_open *x = c->like;
    double value = ks_f64_from_bits(c->bits);
    const int64_t *t = x->shared ? shared_times(s, x, v) : NULL;
    size_t n = (size_t)x->g.count - x->from.count + 1, from, to;
    if (t) {
        from = t[0] >= want->min_ms ? 0 : ks_samples_lower_bound(t, n, want->min_ms);
        to = t[n - 1] <= want->max_ms ? n : ks_samples_lower_bound(t, n, want->max_ms + 1);
        n = to > from ? to - from : 0;
        memcpy(ts, t + from, n * sizeof *ts);
    } else {
        n = ks_gorilla_decode_range(&x->g, &x->from, x->bytes, want->min_ms, want->max_ms, ts, v);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = value;
    return n;
}

/* Appends the samples of a chunk, at least those of the range. */
static ks_err decode_some(struct ks_series_set *s, const struct set_chunk *c,
                          const struct range *want, struct ks_samples *out)
{
    uint32_t n = c->sample_count;
    KS_TRY(reserve(out, n));
    int64_t *ts = out->times + out->count;
    double *v = out->values + out->count;
    switch ((enum set_source)c->source) {
    case SET_PART:
        KS_TRY(ks_mdata_decode(c->u.data, ksi_set_ref(c), &out->memo, ts, v));
        break;
    case SET_SEALED: {
        const struct ksi_sealed *k = c->u.sealed;
        KS_TRY(
            ks_times_decode(ks_slice(k->times->data, k->times->bytes), k->times->encoding, n, ts));
        KS_TRY(
            ks_values_decode(ks_slice(k->values, k->values_bytes), k->meta.values_encoding, n, v));
        break;
    }
    case SET_OPEN:
        n = (uint32_t)ks_gorilla_decode_range(&c->u.open->g, &c->u.open->from, c->u.open->bytes,
                                              want->min_ms, want->max_ms, ts, v);
        break;
    case SET_OPEN_CONSTANT:
        n = (uint32_t)constant_of(s, c->u.constant, want, ts, v);
        break;
    case SET_LATE:
        n = (uint32_t)late_of(c, want, ts, v);
        break;
    case SET_OPEN_HISTOGRAMS:
    case SET_LATE_HISTOGRAMS:
        return ks_fail(KS_EINTERNAL, "a chunk of histograms was read as numbers");
    }
    out->count += n;
    return KS_OK;
}

/* Takes what lies outside of the range from the samples behind `first`, which are of one chunk. */
static void trim(struct ks_samples *s, size_t first, const struct range *want)
{
    int64_t *t = s->times + first;
    double *v = s->values + first;
    size_t n = s->count - first, from = 0;
    while (n && t[n - 1] > want->max_ms)
        n--;
    if (n && t[0] < want->min_ms) {
        from = ks_samples_lower_bound(t, n, want->min_ms);
        n -= from;
        memmove(t, t + from, n * sizeof *t);
        memmove(v, v + from, n * sizeof *v);
    }
    s->count = first + n;
}

ks_err ksi_set_blame(const struct ks_series_set *s, const struct set_chunk *c, ks_err err)
{
    for (size_t i = 0; c->source == SET_PART && i < s->parts->count; i++)
        if (s->parts->views[i].part->p.data == c->u.data)
            ksi_part_suspect(s->parts->views[i].part, err);
    return err;
}

/* Appends the samples of a chunk that are of the range. */
static ks_err decode(struct ks_series_set *s, const struct set_chunk *c, const struct range *want,
                     struct ks_samples *out)
{
    size_t before = out->count;
    ks_err err = decode_some(s, c, want, out);
    if (err != KS_OK)
        return ksi_set_blame(s, c, err);
    if (c->source <= SET_SEALED && (c->min_ms < want->min_ms || c->max_ms > want->max_ms))
        trim(out, before, want);
    return KS_OK;
}

static void cut(struct ks_samples *s, int64_t min_ms, int64_t max_ms)
{
    size_t from = ks_samples_lower_bound(s->times, s->count, min_ms);
    size_t to =
        max_ms == INT64_MAX ? s->count : ks_samples_lower_bound(s->times, s->count, max_ms + 1);
    if (from && to > from) {
        memmove(s->times, s->times + from, (to - from) * sizeof *s->times);
        memmove(s->values, s->values + from, (to - from) * sizeof *s->values);
    }
    s->count = to > from ? to - from : 0;
}

ks_err ksi_set_count_samples(const struct ks_series_set *s, size_t count)
{
    if (!s->ctx)
        return KS_OK;
    uint64_t total = atomic_fetch_add(&s->ctx->samples_read, count) + count;
    if (s->ctx->max_samples && total > s->ctx->max_samples)
        return ks_fail(KS_ELIMIT,
                       "cannot select more than -search.maxSamplesPerQuery=%llu samples; "
                       "possible solutions: to "
                       "increase the -search.maxSamplesPerQuery; to reduce time range for the "
                       "query; to use more "
                       "specific label filters in order to select lower number of series",
                       (unsigned long long)s->ctx->max_samples);
    return KS_OK;
}

/* Threads that count in one place at every series would wait for each other's cache lines. */
static ks_err count_read(const struct ks_series_set *s, struct ks_samples *out)
{
    enum { AT_ONCE = 8192, SHARE = 256 };
    uint64_t max = s->ctx ? s->ctx->max_samples : 0;
    out->uncounted += out->count;
    if (!s->ctx || (out->uncounted < AT_ONCE && (!max || out->uncounted < max / SHARE)))
        return KS_OK;
    size_t count = out->uncounted;
    out->uncounted = 0;
    return ksi_set_count_samples(s, count);
}

static bool of_range(const struct set_chunk *c, const struct range *r)
{
    return c->max_ms >= r->min_ms && c->min_ms <= r->max_ms && c->kind == KS_CHUNK_F64;
}

/* Samples to be put among those of other chunks: what came late, there or sealed since. */
static bool put_in_later(const struct set_chunk *c)
{
    enum { FEW = 8 };
    return c->source == SET_LATE ||
           (c->source <= SET_SEALED && c->overlaps && c->sample_count <= FEW);
}

/* The numbers of the chunks in the range, those to be put in later behind the others, which are
 * *ret_sorted when they ascend. */
static ks_err decode_all(struct ks_series_set *s, const struct set_series *x,
                         const struct range *judge, const struct range *want,
                         struct ks_samples *out, size_t *ret_sorted)
{
    const struct set_chunk *c = s->chunks + x->first_chunk;
    bool in_order = true, late = false;
    for (uint32_t k = 0; k < x->chunk_count; k++) {
        if (!of_range(&c[k], judge))
            continue;
        if (put_in_later(&c[k])) {
            late = true;
            continue;
        }
        size_t before = out->count;
        KS_TRY(decode(s, &c[k], want, out));
        before -= before > 0;
        bool own = c[k].source == SET_OPEN || c[k].source == SET_OPEN_CONSTANT;
        size_t look = out->count - before; /* of the head's own chunk only the joint */
        in_order = in_order && ascends(out->times + before, own && look > 2 ? 2 : look);
    }
    *ret_sorted = in_order ? out->count : 0;
    for (uint32_t k = 0; k < x->chunk_count && late; k++)
        if (of_range(&c[k], judge) && put_in_later(&c[k]))
            KS_TRY(decode(s, &c[k], want, out));
    return KS_OK;
}

ks_err ks_series_read(struct ks_series_set *s, size_t i, int64_t min_ms, int64_t max_ms,
                      struct ks_samples *out)
{
    enum { CHECK_EVERY = 16 };
    const struct set_series *x = &s->series[i];
    struct range judge = {min_ms, max_ms}, want = judge;
    int64_t keep_from_ms = INT64_MIN;
    size_t sorted;
    out->count = 0;
    if (s->e->rules) {
        int64_t widest_ms = ks_rules_widest_ms(s->e->rules);
        judge.max_ms = max_ms < INT64_MAX - widest_ms ? max_ms + widest_ms : INT64_MAX;
        keep_from_ms = ks_verdict_keep_from(&s->verdicts[i], s->now_ms);
    }
    /* Where samples are thinned, one outside of the range may decide about one inside: chunks are
     * read whole. */
    if (s->e->rules || s->dedup_ms > 1)
        want = (struct range){INT64_MIN, INT64_MAX};
    if (i % CHECK_EVERY == 0)
        KS_TRY(ks_read_ctx_check(s->ctx));
    KS_TRY(decode_all(s, x, &judge, &want, out, &sorted));
    if (sorted < out->count)
        KS_TRY(ks_samples_insert(out->times, out->values, sorted, &out->count));
    if (s->dedup_ms > 1)
        out->count = ks_samples_dedup(out->times, out->values, out->count, s->dedup_ms);
    if (s->e->rules)
        out->count =
            ks_verdict_thin(&s->verdicts[i], s->now_ms, out->times, out->values, out->count);
    cut(out, min_ms > keep_from_ms ? min_ms : keep_from_ms, max_ms);
    return count_read(s, out);
}
