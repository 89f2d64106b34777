#include "base/histogram.h"

#include <string.h>

#include "base/bytes.h"
#include "base/num.h"

bool ks_histogram_schema_valid(int32_t schema)
{
    return schema == KS_HISTOGRAM_CUSTOM ||
           (schema >= KS_HISTOGRAM_SCHEMA_MIN && schema <= KS_HISTOGRAM_SCHEMA_MAX);
}

bool ks_histogram_is_stale(const struct ks_histogram *h)
{
    return ks_is_stale_nan(h->sum);
}

struct ks_histogram ks_histogram_stale(bool is_float)
{
    return (struct ks_histogram){.is_float = is_float, .sum = ks_stale_nan()};
}

struct ks_histogram_walk ks_histogram_walk(const struct ks_histogram *h,
                                           const struct ks_histogram_side *side, bool down)
{
    struct ks_histogram_walk w = {.side = side, .is_float = h->is_float, .down = down};
    if (!down || !side->span_count) {
        w.index = side->span_count ? (int64_t)side->spans[0].offset - 1 : 0;
        return w;
    }
    for (uint32_t i = 0; i < side->span_count; i++)
        w.index += (int64_t)side->spans[i].offset + side->spans[i].length;
    if (!h->is_float) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < side->bucket_count; i++)
            sum += (uint64_t)side->deltas[i];
        w.number = (int64_t)sum;
    }
    w.span = side->span_count - 1;
    w.in_span = side->spans[w.span].length;
    w.bucket = side->bucket_count;
    return w;
}

static bool step_down(struct ks_histogram_walk *w, int32_t *ret_index, double *ret)
{
    const struct ks_histogram_side *s = w->side;
    if (!s->span_count)
        return false;
    while (!w->in_span) {
        if (!w->span)
            return false;
        w->index -= s->spans[w->span].offset;
        w->in_span = s->spans[--w->span].length;
    }
    if (!w->is_float && w->bucket < s->bucket_count)
        w->number = (int64_t)((uint64_t)w->number - (uint64_t)s->deltas[w->bucket]);
    w->in_span--;
    w->index--;
    w->bucket--;
    *ret = w->is_float ? s->counts[w->bucket] : (double)w->number;
    *ret_index = (int32_t)w->index;
    return true;
}

bool ks_histogram_step(struct ks_histogram_walk *w, int32_t *ret_index, double *ret)
{
    const struct ks_histogram_side *s = w->side;
    if (w->down)
        return step_down(w, ret_index, ret);
    while (w->span < s->span_count && w->in_span == s->spans[w->span].length) {
        w->in_span = 0;
        if (++w->span < s->span_count)
            w->index += s->spans[w->span].offset;
    }
    if (w->span >= s->span_count)
        return false;
    w->index++;
    if (w->is_float) {
        *ret = s->counts[w->bucket];
    } else {
        w->number = (int64_t)((uint64_t)w->number + (uint64_t)s->deltas[w->bucket]);
        *ret = (double)w->number;
    }
    w->bucket++;
    w->in_span++;
    *ret_index = (int32_t)w->index;
    return true;
}

struct ks_histogram_bucket ks_histogram_bucket_at(const struct ks_histogram *h, bool positive,
                                                  int32_t index, double count)
{
    double far = ks_histogram_bound(h, index), near = ks_histogram_bound(h, index - 1);
    struct ks_histogram_bucket b = {
        .count = count, .lower = positive ? near : -far, .upper = positive ? far : -near};
    if (ks_histogram_is_custom(h)) {
        b.lower_inclusive = index == 0;
        b.upper_inclusive = true;
    } else {
        b.lower_inclusive = b.lower < 0;
        b.upper_inclusive = b.upper > 0;
    }
    return b;
}

enum { CURSOR_FIRST, CURSOR_ZERO, CURSOR_SECOND };

struct ks_histogram_cursor ks_histogram_cursor(const struct ks_histogram *h, bool down)
{
    const struct ks_histogram_side *first = down ? &h->positive : &h->negative;
    return (struct ks_histogram_cursor){
        .h = h, .down = down, .walk = ks_histogram_walk(h, first, true)};
}

bool ks_histogram_next(struct ks_histogram_cursor *c, struct ks_histogram_bucket *ret)
{
    const struct ks_histogram *h = c->h;
    double count, edge = h->zero_threshold;
    int32_t index;
    if (c->state != CURSOR_ZERO) {
        if (ks_histogram_step(&c->walk, &index, &count)) {
            *ret = ks_histogram_bucket_at(h, c->walk.side == &h->positive, index, count);
            if (ret->upper < 0 && ret->upper > -edge)
                ret->upper = -edge;
            else if (ret->lower > 0 && ret->lower < edge)
                ret->lower = edge;
            return true;
        }
        if (c->state == CURSOR_SECOND)
            return false;
    }
    if (c->state == CURSOR_FIRST) {
        c->state = CURSOR_ZERO;
        count = ks_histogram_zero_f64(h);
        if (count > 0) {
            *ret = (struct ks_histogram_bucket){-edge, edge, count, true, true};
            return true;
        }
    }
    c->state = CURSOR_SECOND;
    c->walk = ks_histogram_walk(h, c->down ? &h->negative : &h->positive, false);
    return ks_histogram_next(c, ret); /* at most once: the state moved on */
}

/* --- comparing --- */

static bool same_f64(const double *a, const double *b, uint32_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

bool ks_histogram_same_bounds(const struct ks_histogram *a, const struct ks_histogram *b)
{
    return a->custom_count == b->custom_count &&
           same_f64(a->custom_values, b->custom_values, a->custom_count);
}

static bool same_spans(const struct ks_histogram_side *a, const struct ks_histogram_side *b)
{
    return a->span_count == b->span_count && a->bucket_count == b->bucket_count &&
           (a->spans == b->spans || !a->span_count ||
            memcmp(a->spans, b->spans, a->span_count * sizeof *a->spans) == 0);
}

static bool same_numbers(const struct ks_histogram_side *a, const struct ks_histogram_side *b)
{
    return a->bucket_count == b->bucket_count && same_f64(a->counts, b->counts, a->bucket_count);
}

bool ks_histogram_same_layout(const struct ks_histogram *a, const struct ks_histogram *b)
{
    return a->schema == b->schema && a->is_float == b->is_float &&
           ks_f64_bits(a->zero_threshold) == ks_f64_bits(b->zero_threshold) &&
           same_spans(&a->positive, &b->positive) && same_spans(&a->negative, &b->negative) &&
           ks_histogram_same_bounds(a, b);
}

static bool same_totals(const struct ks_histogram *a, const struct ks_histogram *b)
{
    return a->count.u == b->count.u && a->zero_count.u == b->zero_count.u &&
           ks_f64_bits(a->sum) == ks_f64_bits(b->sum) && same_numbers(&a->positive, &b->positive) &&
           same_numbers(&a->negative, &b->negative);
}

bool ks_histogram_identical(const struct ks_histogram *a, const struct ks_histogram *b)
{
    return a->hint == b->hint && ks_histogram_same_layout(a, b) && same_totals(a, b);
}

/* The same bucket indexes, however cut. */
static bool same_indexes(const struct ks_histogram *a, const struct ks_histogram_side *x,
                         const struct ks_histogram *b, const struct ks_histogram_side *y)
{
    struct ks_histogram_walk v = ks_histogram_walk(a, x, false), w = ks_histogram_walk(b, y, false);
    int32_t i, j;
    double count;
    if (x->bucket_count != y->bucket_count)
        return false;
    if (same_spans(x, y))
        return true;
    while (ks_histogram_step(&v, &i, &count))
        if (!ks_histogram_step(&w, &j, &count) || i != j)
            return false;
    return true;
}

bool ks_histogram_equal(const struct ks_histogram *a, const struct ks_histogram *b)
{
    return a->is_float == b->is_float && a->schema == b->schema &&
           a->zero_threshold == b->zero_threshold &&
           (!ks_histogram_is_custom(a) || ks_histogram_same_bounds(a, b)) && same_totals(a, b) &&
           same_indexes(a, &a->positive, b, &b->positive) &&
           same_indexes(a, &a->negative, b, &b->negative);
}

/* --- copies --- */

static ks_err dup_array(struct ks_arena *arena, const void *src, size_t count, size_t size,
                        void *ret)
{
    void *p = NULL;
    if (count) {
        p = ks_arena_array(arena, count, size);
        if (!p)
            return ks_arena_err(arena);
        memcpy(p, src, count * size);
    }
    memcpy(ret, &p, sizeof p);
    return KS_OK;
}

ks_err ks_histogram_copy_buckets(struct ks_arena *arena, const struct ks_histogram *h,
                                 struct ks_histogram *ret)
{
    struct ks_histogram c = *h;
    KS_TRY(dup_array(arena, h->positive.counts, h->positive.bucket_count, 8, &c.positive.counts));
    KS_TRY(dup_array(arena, h->negative.counts, h->negative.bucket_count, 8, &c.negative.counts));
    *ret = c;
    return KS_OK;
}

ks_err ks_histogram_copy(struct ks_arena *arena, const struct ks_histogram *h,
                         struct ks_histogram *ret)
{
    struct ks_histogram c;
    size_t size = sizeof *h->positive.spans;
    KS_TRY(ks_histogram_copy_buckets(arena, h, &c));
    KS_TRY(dup_array(arena, h->positive.spans, h->positive.span_count, size, &c.positive.spans));
    KS_TRY(dup_array(arena, h->negative.spans, h->negative.span_count, size, &c.negative.spans));
    KS_TRY(dup_array(arena, h->custom_values, h->custom_count, sizeof(double), &c.custom_values));
    *ret = c;
    return KS_OK;
}

/* Doubles are added one by one, as Prometheus does: above 2^53 the order matters. */
static void deltas_to_counts(struct ks_histogram_side *s)
{
    double running = 0;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        running += (double)s->deltas[i];
        s->counts[i] = running;
    }
}

ks_err ks_histogram_to_float(struct ks_arena *arena, const struct ks_histogram *h,
                             struct ks_histogram *ret)
{
    KS_TRY(ks_histogram_copy_buckets(arena, h, ret));
    if (h->is_float)
        return KS_OK;
    ret->is_float = true;
    ret->count.f = (double)h->count.u;
    ret->zero_count.f = (double)h->zero_count.u;
    deltas_to_counts(&ret->positive);
    deltas_to_counts(&ret->negative);
    return KS_OK;
}

/* --- compaction --- */

/* The union's bits of bucket i as an absolute number. */
static uint64_t absolute(const struct ks_histogram_walk *w, double count)
{
    return w->is_float ? ks_f64_bits(count) : (uint64_t)w->number;
}

static bool is_empty(const struct ks_histogram_walk *w, double count)
{
    return w->is_float ? count == 0 : w->number == 0;
}

/* How large the compact side is. */
static ks_err measure(const struct ks_histogram *h, const struct ks_histogram_side *side,
                      uint32_t max_empty, uint32_t *ret_spans, uint64_t *ret_buckets)
{
    struct ks_histogram_walk w = ks_histogram_walk(h, side, false);
    uint64_t buckets = 0;
    uint32_t spans = 0;
    int64_t next = 0; /* behind the last kept bucket */
    int32_t index;
    double count;
    while (ks_histogram_step(&w, &index, &count)) {
        if (is_empty(&w, count))
            continue;
        int64_t gap = index - next;
        if (!spans || gap > max_empty)
            spans++;
        else
            buckets += (uint64_t)gap;
        buckets++;
        next = (int64_t)index + 1;
    }
    if (buckets > KS_HISTOGRAM_BUCKETS_MAX)
        return ks_fail(KS_ELIMIT, "a native histogram would have more than %d buckets",
                       KS_HISTOGRAM_BUCKETS_MAX);
    *ret_spans = spans;
    *ret_buckets = buckets;
    return KS_OK;
}

static void put_bucket(uint64_t *out, uint32_t *n, bool is_float, uint64_t number, uint64_t *last)
{
    out[(*n)++] = is_float ? number : number - *last;
    *last = number;
}

static ks_err compact_side(struct ks_arena *arena, uint32_t max_empty, const struct ks_histogram *h,
                           struct ks_histogram_side *side)
{
    uint32_t span_count = 0, n = 0, k = 0;
    uint64_t bucket_count = 0, last = 0;
    KS_TRY(measure(h, side, max_empty, &span_count, &bucket_count));
    if (!max_empty && span_count == side->span_count && bucket_count == side->bucket_count)
        return KS_OK; /* nothing is empty and no two spans touch */
    struct ks_histogram_span *spans = ks_arena_array(arena, span_count + 1, sizeof *spans);
    uint64_t *out = ks_arena_array(arena, bucket_count + 1, sizeof *out);
    if (!spans || !out)
        return ks_arena_err(arena);
    struct ks_histogram_walk w = ks_histogram_walk(h, side, false);
    int64_t next = 0;
    int32_t index;
    double count;
    while (ks_histogram_step(&w, &index, &count)) {
        if (is_empty(&w, count))
            continue;
        int64_t gap = index - next;
        if (!k || gap > max_empty) {
            spans[k++] = (struct ks_histogram_span){(int32_t)gap, 0};
        } else {
            for (; gap > 0; gap--, spans[k - 1].length++)
                put_bucket(out, &n, h->is_float, 0, &last);
        }
        put_bucket(out, &n, h->is_float, absolute(&w, count), &last);
        spans[k - 1].length++;
        next = (int64_t)index + 1;
    }
    *side = (struct ks_histogram_side){
        .spans = spans, .span_count = k, .bucket_count = n, .deltas = (int64_t *)out};
    return KS_OK;
}

ks_err ks_histogram_compact(struct ks_arena *arena, uint32_t max_empty, struct ks_histogram *h)
{
    struct ks_histogram c = *h;
    KS_TRY(compact_side(arena, max_empty, h, &c.positive));
    KS_TRY(compact_side(arena, max_empty, h, &c.negative));
    *h = c;
    return KS_OK;
}
