/*
 * Aggregates of a chunk in few bytes, bit-exact. Most follow from others (a counter's min is its
 * first value, its increase is last - first); the rest are integers over a power of ten like the
 * samples they come from, sums off by a few ulps. What fits none of these is stored as 8 bytes.
 * Every short form is tried by decoding it: it is used only if the bits come back.
 */
#include <math.h>
#include <string.h>

#include "base/pow10.h"
#include "storage/mdir_priv.h"

enum { SUM_PRODUCT, SUM_PRODUCT_ULPS, SUM_DECIMAL, SUM_RAW };
enum { INC_DIFFERENCE, INC_DECIMAL, INC_RAW };
enum { SAME_FIRST, SAME_LAST, OWN };

static bool same_bits(double a, double b)
{
    return ks_f64_bits(a) == ks_f64_bits(b);
}

/* v = i / 10^e exactly, |i| < 2^53. */
static bool decimal_of(double v, unsigned e, int64_t *ret)
{
    double scaled = v * ks_pow10_f64[e];
    if (!(fabs(scaled) < 0x1p53))
        return false;
    *ret = llrint(scaled);
    return same_bits((double)*ret / ks_pow10_f64[e], v);
}

/* v = i / 10^e ± a few ulps, |i| < 2^62. */
static bool decimal_near(double v, unsigned e, int64_t *ret, int64_t *ret_ulps)
{
    double scaled = v * ks_pow10_f64[e];
    if (!(fabs(scaled) < 0x1p62))
        return false;
    *ret = llrint(scaled);
    *ret_ulps = (int64_t)(ks_f64_bits(v) - ks_f64_bits((double)*ret / ks_pow10_f64[e]));
    return *ret_ulps > -(1 << 20) && *ret_ulps < 1 << 20;
}

static double from_decimal(uint64_t i, unsigned e, int64_t ulps)
{
    return ks_f64_from_bits(ks_f64_bits((double)(int64_t)i / ks_pow10_f64[e]) + (uint64_t)ulps);
}

/* The smallest exponent at which all are decimals, else KSI_AGG_RAW. */
static unsigned common_exponent(const double *v, size_t n, int64_t *ret)
{
    for (unsigned e = 0; e < KSI_AGG_RAW; e++) {
        size_t i = 0;
        while (i < n && decimal_of(v[i], e, &ret[i]))
            i++;
        if (i == n)
            return e;
    }
    return KSI_AGG_RAW;
}

struct record {
    uint8_t fixed[6 * 8];
    size_t fixed_bytes;
    uint64_t varints[12];
    size_t varint_count;
};

static void put_fixed(struct record *r, double v)
{
    ks_put_le64(r->fixed + r->fixed_bytes, ks_f64_bits(v));
    r->fixed_bytes += 8;
}

static void put_zigzag(struct record *r, int64_t v)
{
    r->varints[r->varint_count++] = ks_zigzag(v);
}

static unsigned encode_sum(struct record *r, const struct ks_chunk_agg *a, unsigned exp,
                           int64_t i_first)
{
    double product = a->first * (double)a->count;
    int64_t ulps = (int64_t)(ks_f64_bits(a->sum) - ks_f64_bits(product)), i, near;
    if (ulps == 0)
        return SUM_PRODUCT;
    bool few = ulps > -(1 << 13) && ulps < 1 << 13;
    if (!few && exp != KSI_AGG_RAW && decimal_near(a->sum, exp, &i, &near)) {
        put_zigzag(r, (int64_t)((uint64_t)i - (uint64_t)i_first * a->count));
        put_zigzag(r, near);
        return SUM_DECIMAL;
    }
    if (few || (ulps > -(1ll << 40) && ulps < 1ll << 40)) {
        put_zigzag(r, ulps);
        return SUM_PRODUCT_ULPS;
    }
    put_fixed(r, a->sum);
    return SUM_RAW;
}

static unsigned encode_increase(struct record *r, const struct ks_chunk_agg *a, unsigned exp)
{
    int64_t i, near;
    if (same_bits(a->increase, a->last - a->first))
        return INC_DIFFERENCE;
    if (exp != KSI_AGG_RAW && decimal_near(a->increase, exp, &i, &near)) {
        put_zigzag(r, i);
        put_zigzag(r, near);
        return INC_DECIMAL;
    }
    put_fixed(r, a->increase);
    return INC_RAW;
}

static unsigned which(double v, const struct ks_chunk_agg *a)
{
    return same_bits(v, a->first) ? SAME_FIRST : same_bits(v, a->last) ? SAME_LAST : OWN;
}

uint16_t ksi_agg_encode(const struct ks_chunk_agg *a, uint32_t sample_count, bool is_const,
                        double v, struct ks_buf *rec, uint8_t *ret_exp)
{
    struct record r = {.fixed_bytes = 0};
    double own[4];
    int64_t ints[4] = {0};
    size_t n = 0;
    unsigned min = which(a->min, a), max = which(a->max, a), ctl = 0, exp = 0;
    bool last = !same_bits(a->last, a->first);
    is_const =
        is_const && same_bits(v, a->first) && !last && min == SAME_FIRST && max == SAME_FIRST;
    if (!is_const)
        own[n++] = a->first;
    if (last)
        own[n++] = a->last;
    if (min == OWN)
        own[n++] = a->min;
    if (max == OWN)
        own[n++] = a->max;
    if (n)
        exp = common_exponent(own, n, ints);
    for (size_t i = 0; i < n; i++) {
        if (exp == KSI_AGG_RAW)
            put_fixed(&r, own[i]);
        else
            put_zigzag(&r, i ? ints[i] - ints[0] : ints[0]);
    }
    ctl |= is_const ? KSI_CTL_CONST : 0;
    ctl |= last ? KSI_CTL_LAST : 0;
    ctl |= min << KSI_CTL_MIN_SHIFT | max << KSI_CTL_MAX_SHIFT;
    ctl |= encode_sum(&r, a, exp, is_const || exp == KSI_AGG_RAW ? 0 : ints[0])
           << KSI_CTL_SUM_SHIFT;
    ctl |= encode_increase(&r, a, exp) << KSI_CTL_INC_SHIFT;
    if (a->count != sample_count) {
        ctl |= KSI_CTL_COUNT;
        r.varints[r.varint_count++] = a->count;
    }
    if (a->flags) {
        ctl |= KSI_CTL_FLAGS;
        r.varints[r.varint_count++] = a->flags;
    }
    ks_buf_add(rec, r.fixed, r.fixed_bytes);
    for (size_t i = 0; i < r.varint_count; i++)
        ks_buf_varint(rec, r.varints[i]);
    *ret_exp = (uint8_t)exp;
    return (uint16_t)ctl;
}

/* --- decoding --- */

/* Doubles of the first group (first, last, min, max) that have bytes of their own. */
static unsigned own_count(unsigned ctl)
{
    return !(ctl & KSI_CTL_CONST) + !!(ctl & KSI_CTL_LAST) +
           ((ctl >> KSI_CTL_MIN_SHIFT & 3) == OWN) + ((ctl >> KSI_CTL_MAX_SHIFT & 3) == OWN);
}

static unsigned fixed_count(unsigned ctl, unsigned exp)
{
    return (exp == KSI_AGG_RAW ? own_count(ctl) : 0) + ((ctl >> KSI_CTL_SUM_SHIFT & 3) == SUM_RAW) +
           ((ctl >> KSI_CTL_INC_SHIFT & 3) == INC_RAW);
}

void ksi_agg_skip(struct ks_reader *r, uint16_t ctl, uint8_t exp)
{
    static const uint8_t sum_varints[4] = {0, 1, 2, 0}, inc_varints[4] = {0, 2, 0, 0};
    unsigned n = (exp == KSI_AGG_RAW ? 0 : own_count(ctl)) +
                 sum_varints[ctl >> KSI_CTL_SUM_SHIFT & 3] +
                 inc_varints[ctl >> KSI_CTL_INC_SHIFT & 3] + !!(ctl & KSI_CTL_COUNT) +
                 !!(ctl & KSI_CTL_FLAGS);
    (void)ks_read_bytes(r, fixed_count(ctl, exp) * 8);
    while (n) {
        if (r->p == r->end) {
            r->bad = true;
            return;
        }
        n -= *r->p++ < 0x80;
    }
}

static double read_raw(struct ks_reader *r)
{
    return ks_f64_from_bits(ks_read_u64(r));
}

struct agg_reader {
    struct ks_reader *fixed, *varints; /* both in one record */
    unsigned exp;
    uint64_t first; /* as an integer */
};

static double read_own(struct agg_reader *x)
{
    if (x->exp == KSI_AGG_RAW)
        return read_raw(x->fixed);
    uint64_t i = x->first + (uint64_t)ks_read_zigzag(x->varints);
    return (double)(int64_t)i / ks_pow10_f64[x->exp];
}

static double read_first(struct agg_reader *x)
{
    if (x->exp == KSI_AGG_RAW)
        return read_raw(x->fixed);
    x->first = (uint64_t)ks_read_zigzag(x->varints);
    return (double)(int64_t)x->first / ks_pow10_f64[x->exp];
}

static double read_near(struct agg_reader *x, uint64_t base)
{
    uint64_t i = base + (uint64_t)ks_read_zigzag(x->varints);
    return from_decimal(i, x->exp, ks_read_zigzag(x->varints));
}

static double pick(struct agg_reader *x, unsigned how, const struct ks_chunk_agg *a)
{
    return how == SAME_FIRST ? a->first : how == SAME_LAST ? a->last : read_own(x);
}

static bool control_ok(unsigned ctl, unsigned exp)
{
    return exp <= KSI_AGG_RAW && !(ctl & ~(unsigned)KSI_CTL_KNOWN) &&
           (ctl >> KSI_CTL_MIN_SHIFT & 3) != 3 && (ctl >> KSI_CTL_MAX_SHIFT & 3) != 3 &&
           (ctl >> KSI_CTL_INC_SHIFT & 3) != 3 &&
           (exp != KSI_AGG_RAW || ((ctl >> KSI_CTL_SUM_SHIFT & 3) != SUM_DECIMAL &&
                                   (ctl >> KSI_CTL_INC_SHIFT & 3) != INC_DECIMAL));
}

void ksi_agg_decode(struct ks_reader *r, uint16_t ctl, uint8_t exp, uint32_t sample_count,
                    double constant, struct ks_chunk_agg *a)
{
    if (!control_ok(ctl, exp)) {
        ks_reader_fail(r);
        return;
    }
    struct ks_reader fixed = ks_reader(ks_read_bytes(r, fixed_count(ctl, exp) * 8));
    struct agg_reader x = {&fixed, r, exp, 0};
    a->first = ctl & KSI_CTL_CONST ? constant : read_first(&x);
    a->last = ctl & KSI_CTL_LAST ? read_own(&x) : a->first;
    a->min = pick(&x, ctl >> KSI_CTL_MIN_SHIFT & 3, a);
    a->max = pick(&x, ctl >> KSI_CTL_MAX_SHIFT & 3, a);
    /* The sum may need the count, which stands behind it: the varints of sum and increase are read
     * first. */
    unsigned sum = ctl >> KSI_CTL_SUM_SHIFT & 3, inc = ctl >> KSI_CTL_INC_SHIFT & 3;
    int64_t sum_a = sum == SUM_PRODUCT_ULPS || sum == SUM_DECIMAL ? ks_read_zigzag(r) : 0;
    int64_t sum_b = sum == SUM_DECIMAL ? ks_read_zigzag(r) : 0;
    a->sum = sum == SUM_RAW ? read_raw(&fixed) : 0;
    a->increase = inc == INC_DIFFERENCE ? a->last - a->first
                  : inc == INC_DECIMAL  ? read_near(&x, 0)
                                        : read_raw(&fixed);
    a->count = ctl & KSI_CTL_COUNT ? (uint32_t)ks_read_varint(r) : sample_count;
    a->flags = ctl & KSI_CTL_FLAGS ? (uint32_t)ks_read_varint(r) : 0;
    if (sum == SUM_DECIMAL)
        a->sum = from_decimal((uint64_t)sum_a + x.first * a->count, exp, sum_b);
    else if (sum != SUM_RAW)
        a->sum = ks_f64_from_bits(ks_f64_bits(a->first * (double)a->count) + (uint64_t)sum_a);
}
