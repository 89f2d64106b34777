/*
 * Generated columns shaped like real metrics, for the codec's tests, fuzz seeds and benchmark.
 * Every shape is a pure function of (kind, seed, n).
 */
#ifndef KS_TESTS_SUPPORT_CODEC_SHAPES_H
#define KS_TESTS_SUPPORT_CODEC_SHAPES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/num.h"
#include "sys/rand.h"

static inline double shape_normal(uint64_t *s)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += ks_rng_double(s);
    return sum - 6;
}

static inline double shape_round(double v, int digits)
{
    double p = pow(10, digits);
    return round(v * p) / p;
}

/* Series as a Kubernetes cluster makes them. */
#define SHAPES_REAL(X)                                                                             \
    X(up)                                                                                          \
    X(constant_big)                                                                                \
    X(info_stale_end)                                                                              \
    X(replicas)                                                                                    \
    X(requests_slow)                                                                               \
    X(requests_fast)                                                                               \
    X(requests_burst)                                                                              \
    X(bucket_sparse)                                                                               \
    X(bucket_dense)                                                                                \
    X(cpu_2)                                                                                       \
    X(cpu_6)                                                                                       \
    X(cpu_9)                                                                                       \
    X(net_bytes)                                                                                   \
    X(disk_pages)                                                                                  \
    X(mem_4096)                                                                                    \
    X(heap_bytes)                                                                                  \
    X(load_2)                                                                                      \
    X(temp_1)                                                                                      \
    X(gauge_3)                                                                                     \
    X(gc_duration)                                                                                 \
    X(duration_sum)                                                                                \
    X(ratio)                                                                                       \
    X(rate_double)                                                                                 \
    X(unix_time)                                                                                   \
    X(counter_reset)

/* What must survive though no metric looks like it. */
#define SHAPES_HARD(X)                                                                             \
    X(random_bits)                                                                                 \
    X(random_01)                                                                                   \
    X(nan_payloads)                                                                                \
    X(stale_mixed)                                                                                 \
    X(zeros_signed)                                                                                \
    X(infinities)                                                                                  \
    X(denormals)                                                                                   \
    X(extremes)                                                                                    \
    X(huge_ints)                                                                                   \
    X(int64_edges)                                                                                 \
    X(mixed_digits)                                                                                \
    X(runs_random)                                                                                 \
    X(floats32)                                                                                    \
    X(alternating)                                                                                 \
    X(outliers)                                                                                    \
    X(two_exponents)

enum shape {
#define X(name) SHAPE_##name,
    SHAPES_REAL(X) SHAPE_REAL_COUNT,
    SHAPE_BEFORE_HARD = SHAPE_REAL_COUNT - 1,
    SHAPES_HARD(X)
#undef X
        SHAPE_COUNT
};

static inline const char *shape_name(int kind)
{
    static const char *const names[] = {
#define X(name) #name,
        SHAPES_REAL(X) SHAPES_HARD(X)
#undef X
    };
    return names[kind];
}

static inline double shape_real_next(int kind, uint64_t *s, size_t i, size_t n, double prev)
{
    double first = i == 0;
    switch (kind) {
    case SHAPE_up:
        return 1;
    case SHAPE_constant_big:
        return 67387183104.0;
    case SHAPE_info_stale_end:
        return i + 1 == n ? ks_stale_nan() : 1;
    case SHAPE_replicas:
        return first ? 3 : ks_rng_below(s, 100) ? prev : (double)(2 + ks_rng_below(s, 4));
    case SHAPE_requests_slow:
        return first ? 1234 : prev + (ks_rng_below(s, 10) == 0);
    case SHAPE_requests_fast:
        return first ? 88123456 : prev + 1500 + round(40 * shape_normal(s));
    case SHAPE_requests_burst:
        return first ? 991
                     : prev + (ks_rng_below(s, 20) ? ks_rng_below(s, 4) : ks_rng_below(s, 5000));
    case SHAPE_bucket_sparse:
        return first ? 17 : prev + (ks_rng_below(s, 40) == 0) * (1 + (double)ks_rng_below(s, 3));
    case SHAPE_bucket_dense:
        return first ? 120000 : prev + (double)ks_rng_below(s, 60);
    case SHAPE_cpu_2:
        return first ? 8123.45 : shape_round(prev + 0.4 + 0.1 * shape_normal(s), 2);
    case SHAPE_cpu_6:
        return first ? 512.123456 : shape_round(prev + 0.3 + 0.05 * shape_normal(s), 6);
    case SHAPE_cpu_9:
        return first ? 512.123456789 : shape_round(prev + 0.3 + 0.05 * shape_normal(s), 9);
    case SHAPE_net_bytes:
        return first ? 6.1e11 : prev + round(fabs(2e6 + 4e5 * shape_normal(s)));
    case SHAPE_disk_pages:
        return first ? 4096.0 * 123456 : prev + 4096.0 * (double)ks_rng_below(s, 50);
    case SHAPE_mem_4096:
        return first ? 4096.0 * 51234 : prev + 4096.0 * round(20 * shape_normal(s));
    case SHAPE_heap_bytes:
        return 3.2e7 + (double)(ks_rng_below(s, 40000000) & ~7ull);
    case SHAPE_load_2:
        return first ? 1.25 : shape_round(fabs(prev + 0.05 * shape_normal(s)), 2);
    case SHAPE_temp_1:
        return shape_round(41 + shape_normal(s), 1);
    case SHAPE_gauge_3:
        return shape_round(0.5 + 0.02 * shape_normal(s), 3);
    case SHAPE_gc_duration:
        return first || ks_rng_below(s, 8) == 0 ? shape_round(0.0001 * ks_rng_double(s), 9) : prev;
    case SHAPE_duration_sum: /* sums of doubles: 17 digits */
        return first ? 1234.56789
                     : prev + (double)ks_rng_below(s, 5) * 0.0123456789 * ks_rng_double(s);
    case SHAPE_ratio:
        return (double)ks_rng_below(s, 1000) / (double)(900 + ks_rng_below(s, 100));
    case SHAPE_rate_double:
        return first ? 100.1 / 3 : prev * (1 + 0.01 * shape_normal(s));
    case SHAPE_unix_time:
        return first ? 1.7e9 : ks_rng_below(s, 30) ? prev : prev + 450 + (double)ks_rng_below(s, 3);
    default: /* counter_reset */
        return first || ks_rng_below(s, 90) == 0 ? (double)ks_rng_below(s, 20)
                                                 : prev + (double)ks_rng_below(s, 300);
    }
}

static inline double shape_hard_next(int kind, uint64_t *s, size_t i, double prev)
{
    uint64_t r = ks_rng_next(s);
    switch (kind) {
    case SHAPE_random_bits:
        return ks_f64_from_bits(r);
    case SHAPE_random_01:
        return ks_rng_double(s);
    case SHAPE_nan_payloads:
        return ks_f64_from_bits((r & 0x800fffffffffffffull) | 0x7ff0000000000000ull);
    case SHAPE_stale_mixed:
        return r % 7 == 0 ? ks_stale_nan() : r % 50 == 1 ? NAN : (double)(r % 1000) / 10;
    case SHAPE_zeros_signed:
        return r & 1 ? 0.0 : r & 6 ? -0.0 : 1;
    case SHAPE_infinities:
        return r % 40 == 0 ? INFINITY : r % 40 == 1 ? -INFINITY : (double)(r % 100);
    case SHAPE_denormals:
        return ks_f64_from_bits(r & 0x800000000000ffffull);
    case SHAPE_extremes: {
        static const uint64_t e[] = {0,
                                     1,
                                     0x8000000000000000,
                                     0x7fefffffffffffff,
                                     0xffefffffffffffff,
                                     0x0010000000000000,
                                     0x7ff0000000000000,
                                     0xfff8000000000001,
                                     0x7ff0000000000002,
                                     0x3ff0000000000000};
        return ks_f64_from_bits(e[r % 10]);
    }
    case SHAPE_huge_ints:
        return (i ? prev : 0x1p53) + 0x1p12 * (double)(r % 1000);
    case SHAPE_int64_edges:
        return (r & 1 ? -0x1p63 : 0x1p62) + 2048.0 * (double)(r >> 60);
    case SHAPE_mixed_digits:
        return shape_round(1000 * ks_rng_double(s), (int)(r % 10));
    case SHAPE_runs_random:
        return i && r % 9 ? prev : ks_f64_from_bits(ks_rng_next(s));
    case SHAPE_floats32:
        return (double)(float)(3 + 0.1 * ks_rng_double(s));
    case SHAPE_alternating:
        return i & 1 ? 1e15 : -0.001;
    case SHAPE_outliers:
        return r % 30 ? (double)(r >> 60) : (double)(r >> 20) * (r & 8 ? 1 : -1);
    default: /* two_exponents */
        return (r & 1 ? 1.0 : 1e-3) * (1 + ks_rng_double(s));
    }
}

static inline void shape_values(int kind, uint64_t seed, size_t n, double *ret)
{
    uint64_t s = ks_mix64(seed * 64 + (uint64_t)kind + 1);
    double prev = 0;
    for (size_t i = 0; i < n; i++)
        ret[i] = prev = kind < SHAPE_REAL_COUNT ? shape_real_next(kind, &s, i, n, prev)
                                                : shape_hard_next(kind, &s, i, prev);
}

#define SHAPES_TIMES(X)                                                                            \
    X(regular)                                                                                     \
    X(jitter)                                                                                      \
    X(jitter_gaps)                                                                                 \
    X(drift)                                                                                       \
    X(outlier)                                                                                     \
    X(two_steps)                                                                                   \
    X(irregular)                                                                                   \
    X(extreme)                                                                                     \
    X(dense)

enum times_shape {
#define X(name) TIMES_##name,
    SHAPES_TIMES(X)
#undef X
        TIMES_COUNT
};

static inline const char *times_name(int kind)
{
    static const char *const names[] = {
#define X(name) #name,
        SHAPES_TIMES(X)
#undef X
    };
    return names[kind];
}

/* Strictly ascending milliseconds. */
static inline void shape_times(int kind, uint64_t seed, size_t n, int64_t *ret)
{
    uint64_t s = ks_mix64(seed * 64 + (uint64_t)kind + 77);
    int64_t nominal = 1700000000000 + (int64_t)ks_rng_below(&s, 15000), prev = nominal - 20000;
    for (size_t i = 0; i < n; i++) {
        int64_t jitter = (int64_t)ks_rng_below(&s, 9) - 4, t = nominal;
        nominal += 15000;
        if (kind == TIMES_jitter || kind == TIMES_jitter_gaps)
            t += jitter;
        if (kind == TIMES_jitter_gaps && ks_rng_below(&s, 60) == 0)
            nominal += 15000 * (int64_t)(1 + ks_rng_below(&s, 20));
        if (kind == TIMES_drift)
            nominal += jitter;
        if (kind == TIMES_outlier && ks_rng_below(&s, 40) == 0)
            t += (int64_t)ks_rng_below(&s, 9000);
        if (kind == TIMES_two_steps && i > n / 2)
            nominal += 15000;
        if (kind == TIMES_irregular)
            t = prev + 1 + (int64_t)ks_rng_below(&s, 60000);
        if (kind == TIMES_dense)
            t = prev + 1 + (int64_t)ks_rng_below(&s, 2);
        if (kind == TIMES_extreme)
            t = i == 0       ? INT64_MIN
                : i + 1 == n ? INT64_MAX
                             : prev + 1 + (int64_t)ks_rng_below(&s, 1ull << 49);
        ret[i] = prev = t;
    }
}

#endif
