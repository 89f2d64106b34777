/*
 * Reading the samples of a selected series: decode, merge what overlaps, cut to the range,
 * deduplicate.
 *
 * Series of one scrape target have one column of times, and lie side by side: what the last series
 * read left in `times` is kept as far as the next has the same columns, and only values are
 * decoded.
 */
#include <string.h>

#include "base/mem.h"
#include "engine/series_set.h"
#include "storage/codec/fold_samples.h"

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

/* The chunks whose times lie in a row from the first sample on. */
struct ks_read_from {
    struct range want;
    size_t total;    /* samples of the last read whose times lie there; 0: they are others' */
    uint32_t misses; /* compared, and not equal, since some last were */
    size_t count, cap;
    struct read_times {
        struct ks_times_key key;
        uint32_t lead, kept; /* samples before the range, and of it */
    } * items;
};

void ks_samples_done(struct ks_samples *s)
{
    ks_free(s->times);
    ks_free(s->values);
    ks_times_memo_done(&s->memo);
    if (s->from)
        ks_free(s->from->items);
    ks_free(s->from);
    *s = (struct ks_samples){0};
}

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

/* A chunk of one or two numbers is known by its aggregates, bit for bit. */
static bool known_by_meta(const struct set_chunk *c, int64_t *ts, double *v)
{
    const struct ks_chunk_agg *a = &c->meta->agg;
    if (c->sample_count > 2 || a->count != c->sample_count)
        return false;
    ts[0] = c->min_ms;
    v[0] = a->first;
    if (c->sample_count == 2) {
        ts[1] = c->max_ms;
        v[1] = a->last;
    }
    return true;
}

/* Appends the samples of a chunk, at least those of the range. */
static ks_err decode_some(struct ks_series_set *s, const struct set_chunk *c,
                          const struct range *want, struct ks_samples *out)
{
    uint32_t n = c->sample_count;
    int64_t *ts = out->times + out->count;
    double *v = out->values + out->count;
    switch ((enum set_source)c->source) {
    case SET_PART:
        if (known_by_meta(c, ts, v))
            break;
        KS_TRY(ks_mdata_decode(c->u.data, ksi_set_ref(c), &out->memo, ts, v));
        break;
    case SET_SEALED: {
        const struct ksi_sealed *k = c->u.sealed;
        if (known_by_meta(c, ts, v))
            break;
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
    case SET_OPEN_LAST:
        ts[0] = c->min_ms;
        v[0] = ks_f64_from_bits(c->u.last_bits);
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

/* Takes what lies outside of the range from the samples behind `first`, which are of one chunk.
 * Returns how many of these were before the range. */
static size_t trim(struct ks_samples *s, size_t first, const struct range *want)
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
    return from;
}

ks_err ksi_set_blame(const struct ks_series_set *s, const struct set_chunk *c, ks_err err)
{
    for (size_t i = 0; c->source == SET_PART && i < s->parts->count; i++)
        if (s->parts->views[i].part->p.data == c->u.data)
            ksi_part_suspect(s->parts->views[i].part, err);
    return err;
}

/* --- times that are there already --- */

/* One read: how far it goes along with the one before. */
struct reading {
    struct range want;
    size_t at;    /* chunks read that stand in `from` */
    bool same;    /* so far all are those of the read before */
    bool noted;   /* so far all stand there */
    bool ordered; /* so far times ascend */
};

static bool same_key(const struct ks_times_key *a, const struct ks_times_key *b)
{
    return a->owner == b->owner && a->offset == b->offset && a->frame == b->frame &&
           a->count == b->count;
}

static void times_change(struct ks_samples *s)
{
    enum { LOT = 1 << 20 };
    if (s->times_id++ % LOT == 0)
        s->times_id = ks_cache_owner_new() * LOT + 1;
}

/* They are not what the chunks gave, or nobody knows. */
static void times_unknown(struct ks_samples *s)
{
    times_change(s);
    s->plain = s->rising = 0;
    if (s->from)
        s->from->count = s->from->total = 0;
}

/* plain: samples stay as their chunks have them. Without memory for it nothing is kept. */
static void reading_begin(struct reading *r, const struct range *want, bool plain,
                          struct ks_samples *s)
{
    if (plain && !s->from)
        s->from = ks_zalloc(sizeof *s->from);
    struct ks_read_from *f = s->from;
    plain = plain && f;
    bool same =
        plain && f->total && f->want.min_ms == want->min_ms && f->want.max_ms == want->max_ms;
    *r = (struct reading){.want = *want, .same = same, .noted = plain, .ordered = true};
    if (!same)
        times_unknown(s);
    if (plain)
        f->want = *want;
    s->plain = s->rising = s->count = 0;
}

static void times_differ(struct reading *r, struct ks_samples *s)
{
    if (!r->same)
        return;
    times_change(s);
    r->same = false;
    if (s->from->count > r->at)
        s->from->count = r->at;
}

static void reading_end(struct reading *r, struct ks_samples *s)
{
    if (r->same && s->count != s->from->total)
        times_differ(r, s);
    if (s->from)
        s->from->total = r->ordered ? s->count : 0;
}

/* Whether the times of a chunk are those that lie there. */
static bool is_there(const struct reading *r, const struct set_chunk *c, const struct ks_samples *s)
{
    if (!r->same || c->source != SET_PART || r->at == s->from->count)
        return false;
    struct ks_times_key key = ks_mdata_times_key(c->u.data, ksi_set_ref(c));
    return same_key(&key, &s->from->items[r->at].key);
}

/* Only the values, beside times that lie there. */
static ks_err decode_beside(struct reading *r, const struct set_chunk *c, struct ks_samples *out)
{
    const struct read_times *t = &out->from->items[r->at++];
    double *v = out->values + out->count;
    KS_TRY(ks_mdata_decode_values(c->u.data, ksi_set_ref(c), &out->memo, v));
    if (t->lead)
        memmove(v, v + t->lead, t->kept * sizeof *v);
    out->count += t->kept;
    return KS_OK;
}

/* A chunk was decoded behind `before`, `lead` samples of which were before the range. */
static void note_chunk(struct reading *r, const struct set_chunk *c, size_t before, size_t lead,
                       struct ks_samples *s)
{
    struct ks_read_from *f = s->from;
    r->noted = r->noted && r->ordered && c->source == SET_PART &&
               ks_array_reserve((void **)&f->items, &f->cap, r->at + 1, sizeof *f->items) == KS_OK;
    if (!r->noted)
        return;
    f->items[r->at++] = (struct read_times){ks_mdata_times_key(c->u.data, ksi_set_ref(c)),
                                            (uint32_t)lead, (uint32_t)(s->count - before)};
    f->count = r->at;
}

/* Decodes a chunk with its times; *ret_lead samples were before the range. */
static ks_err decode_trimmed(struct ks_series_set *s, const struct set_chunk *c,
                             const struct range *want, struct ks_samples *out, size_t *ret_lead)
{
    size_t before = out->count;
    KS_TRY(decode_some(s, c, want, out));
    if (c->source <= SET_SEALED && (c->min_ms < want->min_ms || c->max_ms > want->max_ms))
        *ret_lead = trim(out, before, want);
    return KS_OK;
}

/* Where neighbours are of one target comparing pays; elsewhere it is tried now and then. */
static bool worth_comparing(const struct reading *r, const struct set_chunk *c, size_t before,
                            struct ks_read_from *f)
{
    enum { MISSES = 8, RETRY = 16 };
    if (!r->same || c->source == SET_PART || r->at != f->count || f->total <= before)
        return false;
    return f->misses < MISSES || ++f->misses % RETRY == 0;
}

/*
 * Chunks of the head have no names for their times: these are decoded behind those that lie there
 * still, and compared.
 */
static ks_err decode_and_compare(struct ks_series_set *s, const struct set_chunk *c,
                                 struct reading *r, struct ks_samples *out)
{
    size_t at = out->count, there = out->from->total - at, lead = 0;
    KS_TRY(reserve(out, there + c->sample_count));
    out->count += there;
    KS_TRY(decode_trimmed(s, c, &r->want, out, &lead));
    size_t n = out->count - at - there;
    int64_t *t = out->times + at, *fresh = t + there;
    bool equal = n <= there && memcmp(t, fresh, n * sizeof *t) == 0;
    out->from->misses = equal ? 0 : out->from->misses + 1;
    if (!equal) {
        times_differ(r, out);
        memmove(t, fresh, n * sizeof *t);
    }
    memmove(out->values + at, out->values + at + there, n * sizeof *out->values);
    out->count = at + n;
    return KS_OK;
}

static void check_order(struct reading *r, const struct set_chunk *c, size_t before,
                        const struct ks_samples *s)
{
    size_t from = before - (before > 0);
    bool own = c->source == SET_OPEN || c->source == SET_OPEN_CONSTANT;
    size_t look = s->count - from; /* of the head's own chunk only the joint */
    r->ordered = r->ordered && ascends(s->times + from, own && look > 2 ? 2 : look);
}

/* What a chunk's aggregates tell of the samples behind `before`. */
static void learn(const struct set_chunk *c, size_t before, struct ks_samples *s)
{
    const struct ks_chunk_agg *a = c->meta ? &c->meta->agg : NULL;
    if (!a || a->count != c->sample_count || a->flags & (KS_CHUNK_HAS_STALE | KS_CHUNK_HAS_NAN))
        return;
    if (s->plain == before)
        s->plain = s->count;
    if (s->rising == before && !(a->flags & KS_CHUNK_HAS_RESET) &&
        (!before || before == s->count || s->values[before] >= s->values[before - 1]))
        s->rising = s->count;
}

/* Appends the samples of a chunk that are of the range. */
static ks_err decode(struct ks_series_set *s, const struct set_chunk *c, struct reading *r,
                     struct ks_samples *out)
{
    size_t before = out->count, lead = 0;
    ks_err err;
    KS_TRY(reserve(out, c->sample_count));
    if (is_there(r, c, out)) {
        err = decode_beside(r, c, out);
    } else if (worth_comparing(r, c, before, out->from)) {
        err = decode_and_compare(s, c, r, out);
        r->noted = false;
        if (!r->same)
            check_order(r, c, before, out);
    } else {
        times_differ(r, out);
        err = decode_trimmed(s, c, &r->want, out, &lead);
        check_order(r, c, before, out);
        note_chunk(r, c, before, lead, out);
    }
    if (err != KS_OK)
        return ksi_set_blame(s, c, err);
    learn(c, before, out);
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

/* The pages of a series' chunks from the k-th on, read in one batch before they are wanted one by
 * one. What is damaged says so when it is decoded. */
static void read_ahead(const struct set_chunk *c, uint32_t k, uint32_t count,
                       const struct range *judge)
{
    enum { ROOM = 256 };
    struct ks_part_page pages[ROOM + 2];
    size_t n = 0, got;
    for (; k < count && n < ROOM; k++)
        if (c[k].source == SET_PART && of_range(&c[k], judge) &&
            ks_mdata_pages(c[k].u.data, ksi_set_ref(&c[k]), pages + n, &got) == KS_OK)
            n += got;
    if (n > 1)
        (void)!ks_part_prefetch_pages(pages, n);
}

/* The numbers of the chunks in the range, those to be put in later behind the others, which are
 * *ret_sorted when they ascend. */
static ks_err decode_all(struct ks_series_set *s, const struct set_series *x,
                         const struct range *judge, struct reading *r, struct ks_samples *out,
                         size_t *ret_sorted)
{
    const struct set_chunk *c = s->chunks + x->first_chunk;
    const struct ks_mdata *looked_at = NULL;
    bool late = false, ahead = false;
    for (uint32_t k = 0; k < x->chunk_count; k++) {
        if (!of_range(&c[k], judge))
            continue;
        if (c[k].source == SET_PART && c[k].u.data != looked_at && !ahead) {
            looked_at = c[k].u.data;
            ahead = !ks_mdata_at_hand(c[k].u.data, ksi_set_ref(&c[k]), &out->memo);
            if (ahead)
                read_ahead(c, k, x->chunk_count, judge);
        }
        if (put_in_later(&c[k]))
            late = true;
        else
            KS_TRY(decode(s, &c[k], r, out));
    }
    *ret_sorted = r->ordered ? out->count : 0;
    reading_end(r, out);
    if (!late)
        return KS_OK;
    r->same = r->noted = false;
    for (uint32_t k = 0; k < x->chunk_count; k++)
        if (of_range(&c[k], judge) && put_in_later(&c[k]))
            KS_TRY(decode(s, &c[k], r, out));
    return KS_OK;
}

/* What is done to samples once they are together. */
static ks_err settle(struct ks_series_set *s, size_t i, size_t sorted, int64_t min_ms,
                     int64_t max_ms, struct ks_samples *out)
{
    int64_t keep_from_ms = INT64_MIN;
    bool touched = sorted < out->count || s->dedup_ms > 1 || s->e->rules;
    if (touched)
        times_unknown(out);
    if (sorted < out->count)
        KS_TRY(ks_samples_insert(out->times, out->values, sorted, &out->count));
    if (s->dedup_ms > 1)
        out->count = ks_samples_dedup(out->times, out->values, out->count, s->dedup_ms);
    if (s->e->rules) {
        keep_from_ms = ks_verdict_keep_from(&s->verdicts[i], s->now_ms);
        out->count =
            ks_verdict_thin(&s->verdicts[i], s->now_ms, out->times, out->values, out->count);
    }
    if (touched)
        cut(out, min_ms > keep_from_ms ? min_ms : keep_from_ms, max_ms);
    return KS_OK;
}

/* The one chunk of numbers that reaches to from_ms; NULL when several do. */
static const struct set_chunk *only_chunk(const struct ks_series_set *s, const struct set_series *x,
                                          int64_t from_ms)
{
    const struct set_chunk *c = s->chunks + x->first_chunk, *only = NULL;
    for (uint32_t k = 0; k < x->chunk_count; k++) {
        if (c[k].max_ms < from_ms || c[k].kind != KS_CHUNK_F64)
            continue;
        if (only)
            return NULL;
        only = &c[k];
    }
    return only;
}

/* The chunk of numbers with the last sample; NULL when that may be in several. */
static const struct set_chunk *newest_chunk(const struct ks_series_set *s,
                                            const struct set_series *x)
{
    const struct set_chunk *c = s->chunks + x->first_chunk, *newest = NULL;
    int64_t reached_ms = INT64_MIN;
    for (uint32_t k = 0; k < x->chunk_count; k++) {
        if (c[k].max_ms < reached_ms || c[k].kind != KS_CHUNK_F64)
            continue;
        newest = c[k].max_ms > reached_ms ? &c[k] : NULL;
        reached_ms = c[k].max_ms;
    }
    return newest;
}

static bool put_one(struct ks_samples *out, int64_t ts, double v)
{
    out->times[out->count] = ts;
    out->values[out->count++] = v;
    return true;
}

/* KS_NEED_LAST of a chunk that knows its last sample. */
static bool read_last(const struct ks_series_set *s, const struct set_chunk *c,
                      struct ks_samples *out)
{
    if (c->source == SET_OPEN_LAST)
        return put_one(out, c->max_ms, ks_f64_from_bits(c->u.last_bits));
    if (c->source > SET_SEALED || c->max_ms > s->max_ms ||
        (c->meta->agg.flags & (KS_CHUNK_HAS_STALE | KS_CHUNK_HAS_NAN)))
        return false;
    return put_one(out, c->max_ms, c->meta->agg.last);
}

/* KS_NEED_EDGES of an open chunk: two samples. What lies behind since_ms is not decoded. */
static bool read_edges(struct ks_series_set *s, const struct set_chunk *c, struct ks_samples *out)
{
    const struct range before = {INT64_MIN, s->since_ms};
    bool constant = c->source == SET_OPEN_CONSTANT;
    if ((!constant && c->source != SET_OPEN) || c->max_ms > s->max_ms || c->max_ms <= s->since_ms)
        return false;
    const struct set_open *x = constant ? c->u.constant->like : c->u.open;
    int64_t *ts = out->times;
    double *v = out->values;
    size_t n = constant ? constant_of(s, c->u.constant, &before, ts, v)
                        : ks_gorilla_decode_range(&x->g, &x->from, x->bytes, before.min_ms,
                                                  before.max_ms, ts, v);
    if (!n || ts[n - 1] <= s->since_ms - s->near_ms || x->from.count + n - 1 < 4u * x->g.fell4)
        return false;
    put_one(out, ts[n - 1], v[n - 1]);
    return put_one(out, c->max_ms,
                   ks_f64_from_bits(constant ? c->u.constant->bits : x->g.last_bits));
}

/* Reads of the select's range that need but one or two samples; *ret_done: no more is needed. */
static ks_err read_needed(struct ks_series_set *s, const struct set_series *x,
                          struct ks_samples *out, bool *ret_done)
{
    bool last = s->need == KS_NEED_LAST;
    const struct set_chunk *c = last                      ? newest_chunk(s, x)
                                : x->from_ms == INT64_MIN ? NULL
                                                          : only_chunk(s, x, x->from_ms);
    *ret_done = false;
    if (!c)
        return KS_OK;
    KS_TRY(reserve(out, (size_t)c->sample_count + 2));
    *ret_done = last ? read_last(s, c, out) : read_edges(s, c, out);
    times_unknown(out);
    out->plain = out->rising = *ret_done ? out->count : 0;
    return KS_OK;
}

ks_err ks_series_read(struct ks_series_set *s, size_t i, int64_t min_ms, int64_t max_ms,
                      struct ks_samples *out)
{
    enum { CHECK_EVERY = 16 };
    struct range judge = {min_ms, max_ms}, want = judge;
    struct reading r;
    size_t sorted;
    if (s->e->rules) {
        int64_t widest_ms = ks_rules_widest_ms(s->e->rules);
        judge.max_ms = max_ms < INT64_MAX - widest_ms ? max_ms + widest_ms : INT64_MAX;
    }
    /* Where samples are thinned, one outside of the range may decide about one inside: chunks are
     * read whole. */
    bool thinned = s->e->rules || s->dedup_ms > 1;
    if (thinned)
        want = (struct range){INT64_MIN, INT64_MAX};
    out->count = 0;
    if (i % CHECK_EVERY == 0)
        KS_TRY(ks_read_ctx_check(s->ctx));
    if (s->need != KS_NEED_ALL) {
        bool done = false;
        if (min_ms == s->min_ms && max_ms == s->max_ms)
            KS_TRY(read_needed(s, &s->series[i], out, &done));
        if (done)
            return count_read(s, out);
        min_ms = s->series[i].from_ms > min_ms ? s->series[i].from_ms : min_ms;
        judge.min_ms = want.min_ms = min_ms;
    }
    reading_begin(&r, &want, !thinned, out);
    ks_err err = decode_all(s, &s->series[i], &judge, &r, out, &sorted);
    if (err == KS_OK)
        err = settle(s, i, sorted, min_ms, max_ms, out);
    if (err != KS_OK) {
        times_unknown(out);
        return err;
    }
    return count_read(s, out);
}
