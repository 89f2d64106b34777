/* Native histograms for tests and benches: a counter that grows, with layouts that change now and
 * then. */
#ifndef KS_TESTS_HISTOGRAM_SHAPES_H
#define KS_TESTS_HISTOGRAM_SHAPES_H

#include <math.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/histogram.h"
#include "base/num.h"

static inline uint32_t shape_draw(uint64_t *seed, uint32_t n)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 20) % n;
}

static inline void shape_side(struct ks_arena *a, uint64_t *seed, bool is_float, bool wild,
                              uint32_t spans, uint32_t length, struct ks_histogram_side *ret)
{
    struct ks_histogram_span *s = ks_arena_array(a, spans + 1, sizeof *s);
    uint64_t *v = ks_arena_array(a, (size_t)spans * length + 1, sizeof *v);
    uint32_t n = 0;
    for (uint32_t i = 0; i < spans; i++) {
        s[i] = (struct ks_histogram_span){
            i ? (int32_t)shape_draw(seed, 4) : (int32_t)shape_draw(seed, 9) - 4, length};
        for (uint32_t k = 0; k < length; k++)
            v[n++] = wild       ? *seed * (shape_draw(seed, 7) + 1)
                     : is_float ? ks_f64_bits(shape_draw(seed, 99))
                                : shape_draw(seed, 3);
    }
    *ret = (struct ks_histogram_side){s, spans, n, {.deltas = (int64_t *)v}};
}

/* Any bits at all, with a sound layout. */
static inline struct ks_histogram shape_wild(struct ks_arena *a, uint64_t *seed)
{
    struct ks_histogram h = {.is_float = shape_draw(seed, 2), .hint = (uint8_t)shape_draw(seed, 4)};
    bool wild = shape_draw(seed, 2), custom = shape_draw(seed, 4) == 0;
    if (shape_draw(seed, 8) == 0) {
        h.sum = ks_stale_nan();
        return h;
    }
    h.schema = (int32_t)shape_draw(seed, 13) - 4;
    h.zero_threshold = shape_draw(seed, 2) ? ldexp(1, -128) : shape_draw(seed, 5);
    h.sum = wild ? ks_f64_from_bits(*seed) : shape_draw(seed, 1000) / 8.0;
    h.zero_count.u = wild ? *seed * 3 : h.is_float ? ks_f64_bits(2) : 2;
    h.count.u = wild ? *seed * 5 : h.is_float ? ks_f64_bits(99) : 99;
    shape_side(a, seed, h.is_float, wild, shape_draw(seed, 4), shape_draw(seed, 5), &h.positive);
    if (custom) {
        double *bounds = ks_arena_array(a, 32, sizeof *bounds);
        h.schema = KS_HISTOGRAM_CUSTOM;
        ((struct ks_histogram_span *)h.positive.spans)[0].offset = 1;
        h.custom_values = bounds;
        h.custom_count = shape_draw(seed, 32);
        for (uint32_t i = 0; i < h.custom_count; i++)
            bounds[i] = i * 0.25;
    } else {
        shape_side(a, seed, h.is_float, wild, shape_draw(seed, 3), shape_draw(seed, 4),
                   &h.negative);
    }
    return h;
}

/* The i-th scrape of a latency histogram with `buckets` buckets in two spans; each grows at its own
 * pace. */
static inline struct ks_histogram shape_counter(struct ks_arena *a, uint32_t buckets, uint32_t i,
                                                bool is_float)
{
    struct ks_histogram_span *s = ks_arena_array(a, 2, sizeof *s);
    int64_t *v = ks_arena_array(a, buckets, sizeof *v), last = 0;
    struct ks_histogram h = {.schema = 3,
                             .is_float = is_float,
                             .hint = i ? KS_HISTOGRAM_NOT_RESET : KS_HISTOGRAM_UNKNOWN};
    uint64_t count = 0;
    s[0] = (struct ks_histogram_span){-20, buckets / 2};
    s[1] = (struct ks_histogram_span){3, buckets - buckets / 2};
    for (uint32_t k = 0; k < buckets; k++) {
        uint64_t seed = ((uint64_t)k << 32 | i) * 0x9e3779b97f4a7c15u | 1;
        double x = ((double)k - buckets / 2.0) / (buckets / 5.0), pace = 30 * exp(-x * x);
        int64_t n = (int64_t)(pace * (i + 40)) + shape_draw(&seed, (uint32_t)(sqrt(pace) + 1));
        count += (uint64_t)n;
        v[k] = is_float ? (int64_t)ks_f64_bits((double)n) : n - last;
        last = n;
    }
    h.zero_threshold = ldexp(1, -128);
    h.sum = (double)count * 0.0371;
    h.count.u = is_float ? ks_f64_bits((double)count) : count;
    h.positive = (struct ks_histogram_side){s, 2, buckets, {.deltas = v}};
    return h;
}

#endif
