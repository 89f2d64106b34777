/* Sums, differences and resets (histogram_math.h): two sides are walked together, at a common
 * resolution. */
#include "query/promql/strict/histogram_math.h"

#include <string.h>

/* A side seen at a lower resolution, without the buckets that lie inside a zero bucket. */
struct coarse {
    struct ks_histogram_walk walk;
    struct ks_histogram bounds; /* schema and custom values of the target: to ask for bounds */
    unsigned shift;             /* schemas lost */
    double threshold;           /* buckets up to here are left out at the start */
    bool started, pending;      /* pending: index and count hold a bucket not yet given out */
    int32_t index;
    double count;
};

static int32_t coarser(int32_t index, unsigned shift)
{
    return shift ? (int32_t)((((int64_t)index - 1) >> shift) + 1) : index;
}

static struct coarse coarse_walk(const struct ks_histogram *h, const struct ks_histogram_side *side,
                                 int32_t schema, double threshold)
{
    struct coarse c = {.walk = ks_histogram_walk(h, side, false),
                       .bounds = {.schema = schema},
                       .shift = (unsigned)(h->schema - schema),
                       .threshold = threshold};
    c.started = threshold == 0 || schema == KS_HISTOGRAM_CUSTOM;
    return c;
}

static bool coarse_any(struct coarse *c, int32_t *ret_index, double *ret)
{
    if (!c->pending && !ks_histogram_step(&c->walk, &c->index, &c->count))
        return false;
    *ret_index = coarser(c->index, c->shift);
    *ret = c->count;
    c->pending = false;
    while (c->shift && ks_histogram_step(&c->walk, &c->index, &c->count)) {
        if (coarser(c->index, c->shift) != *ret_index) {
            c->pending = true;
            break;
        }
        *ret += c->count;
    }
    return true;
}

static bool coarse_next(struct coarse *c, int32_t *ret_index, double *ret)
{
    while (coarse_any(c, ret_index, ret)) {
        if (c->started || ks_histogram_bound(&c->bounds, *ret_index) > c->threshold) {
            c->started = true;
            return true;
        }
    }
    return false;
}

/* --- building a side --- */

struct builder {
    struct ks_histogram_span *spans;
    double *counts;
    uint32_t span_count, bucket_count;
    int64_t next; /* index behind the last bucket */
};

static ks_err builder_init(struct builder *b, struct ks_arena *arena, size_t buckets)
{
    *b = (struct builder){0};
    b->spans = ks_arena_array(arena, buckets + 1, sizeof *b->spans);
    b->counts = ks_arena_array(arena, buckets + 1, sizeof *b->counts);
    return b->spans && b->counts ? KS_OK : ks_arena_err(arena);
}

static void builder_put(struct builder *b, int32_t index, double count)
{
    if (!b->span_count || index != b->next)
        b->spans[b->span_count++] = (struct ks_histogram_span){(int32_t)(index - b->next), 0};
    b->spans[b->span_count - 1].length++;
    b->counts[b->bucket_count++] = count;
    b->next = (int64_t)index + 1;
}

static struct ks_histogram_side builder_side(const struct builder *b)
{
    return (struct ks_histogram_side){
        b->spans, b->span_count, b->bucket_count, {.counts = b->counts}};
}

/* The frequent case: both have the same buckets, and none of b's falls into the zero bucket. */
static bool add_in_place(const struct ks_histogram *h, struct ks_histogram_side *a,
                         const struct ks_histogram *other, const struct ks_histogram_side *b,
                         double sign)
{
    if (h->schema != other->schema || a->span_count != b->span_count ||
        a->bucket_count != b->bucket_count)
        return false;
    if (!b->bucket_count)
        return true;
    if (a->spans != b->spans && memcmp(a->spans, b->spans, a->span_count * sizeof *a->spans) != 0)
        return false;
    if (!ks_histogram_is_custom(h) && h->zero_threshold > 0) {
        struct ks_histogram_walk w = ks_histogram_walk(other, b, false);
        int32_t index;
        double count;
        if (ks_histogram_step(&w, &index, &count) &&
            ks_histogram_bound(h, index) <= h->zero_threshold)
            return false;
    }
    for (uint32_t i = 0; i < a->bucket_count; i++)
        a->counts[i] += sign * b->counts[i];
    return true;
}

/* h's side plus sign × other's, at `schema`. */
static ks_err merge_side(struct ks_arena *arena, const struct ks_histogram *h,
                         struct ks_histogram_side *a, const struct ks_histogram *other,
                         const struct ks_histogram_side *b, int32_t schema, double sign)
{
    struct builder out;
    int32_t i = 0, j = 0;
    double x = 0, y = 0;
    KS_TRY(builder_init(&out, arena, (size_t)a->bucket_count + b->bucket_count));
    struct coarse v = coarse_walk(h, a, schema, 0),
                  w = coarse_walk(other, b, schema, h->zero_threshold);
    bool more_a = coarse_next(&v, &i, &x), more_b = coarse_next(&w, &j, &y);
    while (more_a || more_b) {
        bool take_a = more_a && (!more_b || i <= j), take_b = more_b && (!more_a || j <= i);
        int32_t index = take_a ? i : j;
        double count = take_a ? x : sign * y;
        if (take_a && take_b)
            count += sign * y;
        builder_put(&out, index, count);
        if (take_a)
            more_a = coarse_next(&v, &i, &x);
        if (take_b)
            more_b = coarse_next(&w, &j, &y);
    }
    *a = builder_side(&out);
    return KS_OK;
}

static ks_err reduce_side(struct ks_arena *arena, const struct ks_histogram *h,
                          struct ks_histogram_side *side, int32_t schema)
{
    struct builder out;
    int32_t index;
    double count;
    KS_TRY(builder_init(&out, arena, side->bucket_count));
    struct coarse c = coarse_walk(h, side, schema, 0);
    while (coarse_next(&c, &index, &count))
        builder_put(&out, index, count);
    *side = builder_side(&out);
    return KS_OK;
}

ks_err ks_hist_reduce(struct ks_arena *arena, struct ks_histogram *h, int32_t schema)
{
    struct ks_histogram c = *h;
    if (schema == h->schema)
        return KS_OK;
    KS_ASSERT(schema < h->schema && schema >= KS_HISTOGRAM_SCHEMA_MIN);
    KS_TRY(reduce_side(arena, h, &c.positive, schema));
    KS_TRY(reduce_side(arena, h, &c.negative, schema));
    c.schema = schema;
    *h = c;
    return KS_OK;
}

/* --- zero buckets --- */

/* Adds one side's buckets below *threshold; true when a populated one is cut: *threshold is then
 * its far bound. */
static bool absorb(const struct ks_histogram *h, const struct ks_histogram_side *side,
                   double *threshold, double *count)
{
    struct ks_histogram_walk w = ks_histogram_walk(h, side, false);
    int32_t index;
    double c;
    while (ks_histogram_step(&w, &index, &c)) {
        double near = ks_histogram_bound(h, index - 1), far = ks_histogram_bound(h, index);
        if (near >= *threshold)
            break;
        *count += c;
        if (far > *threshold) {
            if (c == 0)
                break;
            *threshold = far;
            return true;
        }
    }
    return false;
}

double ks_hist_zero_count_for(const struct ks_histogram *h, double *threshold)
{
    double count;
    if (*threshold == h->zero_threshold)
        return h->zero_count.f;
    do { /* each turn raises the threshold past a bucket of the negative side: it ends */
        count = h->zero_count.f;
        absorb(h, &h->positive, threshold, &count);
    } while (absorb(h, &h->negative, threshold, &count));
    return count;
}

static void clear_inside_zero(struct ks_histogram *h, struct ks_histogram_side *side)
{
    struct ks_histogram_walk w = ks_histogram_walk(h, side, false);
    int32_t index;
    double count;
    while (ks_histogram_step(&w, &index, &count) &&
           ks_histogram_bound(h, index - 1) < h->zero_threshold)
        side->counts[w.bucket - 1] = 0;
}

/* Widens the narrower zero bucket until both agree (NaN thresholds: never compared again). Returns
 * the other's zero count. */
static double reconcile_zero(struct ks_histogram *h, const struct ks_histogram *other)
{
    double count = other->zero_count.f, threshold = other->zero_threshold;
    while (threshold < h->zero_threshold || threshold > h->zero_threshold) {
        if (h->zero_threshold > threshold) {
            threshold = h->zero_threshold;
            count = ks_hist_zero_count_for(other, &threshold);
        }
        if (threshold > h->zero_threshold) {
            double wider = threshold, mine = ks_hist_zero_count_for(h, &wider);
            h->zero_count.f = mine;
            h->zero_threshold = wider;
            clear_inside_zero(h, &h->positive);
            clear_inside_zero(h, &h->negative);
        }
    }
    return count;
}

/* --- add, subtract, scale --- */

static bool compatible(const struct ks_histogram *a, const struct ks_histogram *b, unsigned *notes)
{
    if (ks_histogram_is_custom(a) != ks_histogram_is_custom(b)) {
        *notes |= KS_HIST_MIXED_SCHEMAS;
        return false;
    }
    if (ks_histogram_is_custom(a) && !ks_histogram_same_bounds(a, b)) {
        *notes |= KS_HIST_MIXED_BOUNDS;
        return false;
    }
    return true;
}

static ks_err combine(struct ks_arena *arena, struct ks_histogram *h,
                      const struct ks_histogram *other, double sign, unsigned *notes)
{
    if (!compatible(h, other, notes))
        return KS_OK;
    struct ks_histogram sum = *h;
    if (!ks_histogram_is_custom(h)) {
        double zero = reconcile_zero(&sum, other); /* may change sum.zero_count */
        sum.zero_count.f += sign * zero;
    }
    sum.count.f += sign * other->count.f;
    sum.sum += sign * other->sum;
    int32_t schema = h->schema < other->schema ? h->schema : other->schema;
    if (!add_in_place(&sum, &sum.positive, other, &other->positive, sign))
        KS_TRY(merge_side(arena, &sum, &sum.positive, other, &other->positive, schema, sign));
    if (!add_in_place(&sum, &sum.negative, other, &other->negative, sign))
        KS_TRY(merge_side(arena, &sum, &sum.negative, other, &other->negative, schema, sign));
    sum.schema = schema;
    *h = sum;
    return KS_OK;
}

static uint8_t common_hint(uint8_t a, uint8_t b)
{
    if (a == b)
        return a;
    return a == KS_HISTOGRAM_GAUGE || b == KS_HISTOGRAM_GAUGE ? KS_HISTOGRAM_GAUGE
                                                              : KS_HISTOGRAM_UNKNOWN;
}

ks_err ks_hist_add(struct ks_arena *arena, struct ks_histogram *h, const struct ks_histogram *other,
                   unsigned *notes)
{
    h->hint = common_hint(h->hint, other->hint);
    return combine(arena, h, other, 1, notes);
}

ks_err ks_hist_sub(struct ks_arena *arena, struct ks_histogram *h, const struct ks_histogram *other,
                   unsigned *notes)
{
    return combine(arena, h, other, -1, notes);
}

static void scale(struct ks_histogram_side *s, double factor, bool divide)
{
    for (uint32_t i = 0; i < s->bucket_count; i++)
        s->counts[i] = divide ? s->counts[i] / factor : s->counts[i] * factor;
}

void ks_hist_mul(struct ks_histogram *h, double factor)
{
    h->zero_count.f *= factor;
    h->count.f *= factor;
    h->sum *= factor;
    scale(&h->positive, factor, false);
    scale(&h->negative, factor, false);
}

void ks_hist_div(struct ks_histogram *h, double divisor)
{
    h->zero_count.f /= divisor;
    h->count.f /= divisor;
    h->sum /= divisor;
    if (divisor == 0) {
        h->positive = h->negative = (struct ks_histogram_side){0};
        return;
    }
    scale(&h->positive, divisor, true);
    scale(&h->negative, divisor, true);
}

ks_err ks_hist_mean_add(struct ks_arena *arena, struct ks_histogram *mean,
                        const struct ks_histogram *h, double n, unsigned *notes)
{
    struct ks_histogram left, right;
    KS_TRY(ks_histogram_copy_buckets(arena, h, &left));
    KS_TRY(ks_histogram_copy_buckets(arena, mean, &right));
    ks_hist_div(&left, n);
    ks_hist_div(&right, n);
    unsigned bad = 0;
    KS_TRY(ks_hist_sub(arena, &left, &right, &bad));
    if (!bad)
        KS_TRY(ks_hist_add(arena, mean, &left, &bad));
    *notes |= bad;
    return KS_OK;
}

/* --- counter resets --- */

static bool side_reset(const struct ks_histogram *h, const struct ks_histogram_side *now,
                       const struct ks_histogram *previous, const struct ks_histogram_side *before)
{
    struct coarse v = coarse_walk(h, now, h->schema, h->zero_threshold);
    struct coarse w = coarse_walk(previous, before, h->schema, h->zero_threshold);
    int32_t i = 0, j;
    double x = 0, y;
    bool more = coarse_next(&v, &i, &x);
    while (coarse_next(&w, &j, &y)) {
        while (more && i < j)
            more = coarse_next(&v, &i, &x);
        if (more && i == j ? x < y : y != 0)
            return true;
    }
    return false;
}

bool ks_hist_detect_reset(const struct ks_histogram *h, const struct ks_histogram *previous)
{
    unsigned notes = 0;
    if (h->hint == KS_HISTOGRAM_RESET)
        return true;
    if (h->hint == KS_HISTOGRAM_NOT_RESET)
        return false;
    if (h->count.f < previous->count.f || !compatible(h, previous, &notes) ||
        h->schema > previous->schema || h->zero_threshold < previous->zero_threshold)
        return true;
    double threshold = h->zero_threshold, zero = ks_hist_zero_count_for(previous, &threshold);
    if (threshold != h->zero_threshold || h->zero_count.f < zero)
        return true; /* the wider zero bucket cuts a populated one: only a restart does that */
    return side_reset(h, &h->positive, previous, &previous->positive) ||
           side_reset(h, &h->negative, previous, &previous->negative);
}
