/* Doubles as scaled integers (decimal_priv.h). */
#include "storage/codec/decimal_priv.h"

#include <math.h>

#include "base/bytes.h"
#include "base/pow10.h"
#include "storage/codec/pack_priv.h"

#define MAGIC       0x1.8p52 /* adding it rounds |x| < 2^51 to an integer in the low mantissa bits */
#define MAGIC_BITS  0x4338000000000000ull
#define LIMIT       0x1p51
#define LARGE_LIMIT 0x1p63
#define SAMPLE      32

static inline bool exact(double v, double p)
{
    double x = v * p;
    return fabs(x) < LIMIT && ks_f64_bits(((x + MAGIC) - MAGIC) / p) == ks_f64_bits(v);
}

/* Exact as an integer of any size that int64 holds. */
static inline bool exact_large(double v)
{
    return fabs(v) < LARGE_LIMIT && ks_f64_bits((double)(int64_t)v) == ks_f64_bits(v);
}

/* The smallest exponent ≥ e that is exact for v, else -1. */
static int raise_exponent(double v, int e)
{
    if (e == 0 && exact_large(v))
        return 0;
    for (; e <= KSI_EXPONENT_MAX; e++) {
        if (exact(v, ks_pow10_f64[e]))
            return e;
        if (!(fabs(v * ks_pow10_f64[e]) < LIMIT))
            return -1;
    }
    return -1;
}

int ksi_decimal_exponent_of(double v)
{
    return raise_exponent(v, 0);
}

int ksi_decimal_exponent(const double *v, size_t n)
{
    size_t m = n < SAMPLE ? n : SAMPLE, misses = 0;
    int e = 0;
    for (size_t i = 0; i < m; i++) {
        int up = raise_exponent(v[i * n / m], e);
        if (up >= 0)
            e = up;
        else if (++misses > m / 8 + 1)
            return -1;
    }
    return misses == m ? -1 : e;
}

KS_CLONES static bool ints_exact(const double *v, size_t n, int64_t *x)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        double r = v[i] + MAGIC;
        x[i] = (int64_t)(ks_f64_bits(r) - MAGIC_BITS);
        bad |= (ks_f64_bits(r - MAGIC) ^ ks_f64_bits(v[i])) | (uint64_t) !(fabs(v[i]) < LIMIT);
    }
    return bad == 0;
}

KS_CLONES static bool scaled_exact(const double *v, size_t n, double p, int64_t *x)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        double s = v[i] * p, r = s + MAGIC;
        x[i] = (int64_t)(ks_f64_bits(r) - MAGIC_BITS);
        bad |= (ks_f64_bits((r - MAGIC) / p) ^ ks_f64_bits(v[i])) | (uint64_t) !(fabs(s) < LIMIT);
    }
    return bad == 0;
}

size_t ksi_decimal_to_ints(const double *v, size_t n, int exponent, int64_t *x, uint16_t *bad,
                           size_t max_bad)
{
    double p = ks_pow10_f64[exponent];
    if (exponent ? scaled_exact(v, n, p, x) : ints_exact(v, n, x))
        return 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (exponent ? exact(v[i], p) : exact_large(v[i])) {
            if (!exponent)
                x[i] = (int64_t)v[i];
            continue;
        }
        if (count == max_bad)
            return max_bad + 1;
        bad[count++] = (uint16_t)i;
        x[i] = i ? x[i - 1] : 0;
    }
    size_t first = 0; /* exceptions at the start repeat the first good one */
    while (first < count && bad[first] == first)
        first++;
    for (size_t i = 0; first < n && i < first; i++)
        x[i] = x[first];
    return count;
}

/* int64 → double, correctly rounded, in operations that vectorise everywhere: both halves are
 * exact, one addition. */
static inline double to_double(uint64_t i)
{
    double hi =
        ks_f64_from_bits((i >> 32 ^ 0x80000000u) + 0x4530000000000000ull);   /* 2^84 + hi·2^32 */
    double lo = ks_f64_from_bits((i & 0xffffffffu) | 0x4330000000000000ull); /* 2^52 + lo */
    return (hi - 0x1.00000801p84) + lo; /* 2^84 + 2^63 + 2^52 */
}

KS_CLONES static void whole(double *ret, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = to_double(ks_f64_bits(ret[i]));
}

KS_CLONES static void divided(double *ret, size_t n, double p)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = to_double(ks_f64_bits(ret[i])) / p;
}

#ifdef KS_HAS_CLONES
/*
 * The same quotients at a third of the cost. y is 1/p correctly rounded; the first correction makes
 * q one of the two doubles around a/p, and then q + (a - q·p)·y, rounded once, is a/p correctly
 * rounded (P. Markstein, "Computation of elementary functions on the IBM RISC System/6000
 * processor", 1990). The remainders are exact: nothing here is near underflow.
 */
static __attribute__((target("avx2,fma"))) void divided_fma(double *ret, size_t n, double p)
{
    double y = 1 / p;
    for (size_t i = 0; i < n; i++) {
        double a = to_double(ks_f64_bits(ret[i])), q = a * y;
        q = __builtin_fma(__builtin_fma(-q, p, a), y, q);
        ret[i] = __builtin_fma(__builtin_fma(-q, p, a), y, q);
    }
}
#endif

void ksi_decimal_from_ints(double *ret, size_t n, int exponent)
{
    double p = ks_pow10_f64[exponent];
    if (exponent == 0) {
        whole(ret, n);
        return;
    }
#ifdef KS_HAS_CLONES
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        divided_fma(ret, n, p);
        return;
    }
#endif
    divided(ret, n, p);
}
