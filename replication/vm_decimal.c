/*
 * float64 as decimal integer × 10^scale and back. An integer up to 2^53 with a scale of at most ±22
 * is exact in the peer's plain float arithmetic too (one correctly rounded operation on two exact
 * numbers): such samples are "plain". Others need more than the peer has; they are kept apart so
 * that they do not spoil their neighbours.
 */
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cxx/charconv.h"
#include "base/num.h"
#include "base/pow10.h"
#include "replication/vm_block_priv.h"

#define INF_POS   INT64_MAX
#define STALE     (INT64_MAX - 1)
#define INF_NEG   INT64_MIN
#define INT_MAX63 (INT64_MAX - 2)
#define PLAIN_MAX ((int64_t)1 << 53)

enum { PLAIN_SCALE_MAX = 22, ANY_SCALE = INT16_MAX };

struct decimal {
    int64_t m;
    int e; /* ANY_SCALE: zero and the special values */
};

static bool special(double v, struct decimal *ret)
{
    ret->e = ANY_SCALE;
    if (v == 0)
        ret->m = 0;
    else if (isinf(v))
        ret->m = v > 0 ? INF_POS : INF_NEG;
    else if (ks_is_stale_nan(v))
        ret->m = STALE;
    else
        return false;
    return true;
}

/* The shortest digits that read back, at most 17. */
static struct decimal from_digits(double v)
{
    char text[40];
    size_t len = ks_cxx_f64_shortest(text, sizeof text - 1, v, 1);
    text[len] = 0;
    struct decimal d = {0, 0};
    int fraction = 0;
    bool dot = false;
    char *p = text + (text[0] == '-');
    for (; *p && *p != 'e'; p++) {
        if (*p == '.') {
            dot = true;
            continue;
        }
        d.m = d.m * 10 + (*p - '0');
        fraction += dot;
    }
    d.e = (*p ? atoi(p + 1) : 0) - fraction;
    d.m = v < 0 ? -d.m : d.m;
    return d;
}

static struct decimal decimal_of(double v)
{
    double a = fabs(v);
    if (a < 9007199254740992.0) {
        if (v == (double)(int64_t)v)
            return (struct decimal){(int64_t)v, 0};
        /* Most measurements have few digits: found by trial, proven by the division that reads
         * them. */
        for (int k = 1; k <= 9; k++) {
            double scaled = v * ks_pow10_f64[k];
            if (fabs(scaled) >= 9007199254740992.0)
                break;
            double m = nearbyint(scaled);
            if (m / ks_pow10_f64[k] == v)
                return (struct decimal){(int64_t)m, -k};
        }
    }
    struct decimal d = from_digits(v);
    while (d.m % 10 == 0) {
        d.m /= 10;
        d.e++;
    }
    return d;
}

static int64_t magnitude(int64_t m)
{
    return m < 0 ? -m : m;
}

/* Whether m × 10^up stays within max. */
static bool fits(int64_t m, int up, int64_t max)
{
    return !m || (up <= 18 && magnitude(m) <= max / ks_pow10_i64[up]);
}

/* What a block holds so far, at its scale. */
struct fit {
    int scale;                   /* ANY_SCALE while it has no number */
    int64_t max_plain, max_wide; /* largest magnitudes of either kind */
};

static bool plain_scale(int e)
{
    return e >= -PLAIN_SCALE_MAX && e <= PLAIN_SCALE_MAX;
}

/* Adds a number when one scale can hold all of them. */
static bool add(struct fit *f, struct decimal d)
{
    bool plain = magnitude(d.m) <= PLAIN_MAX && plain_scale(d.e);
    if (f->scale == ANY_SCALE) {
        *f = (struct fit){d.e, plain ? magnitude(d.m) : 0, plain ? 0 : magnitude(d.m)};
        return true;
    }
    if (!plain && !f->max_wide)
        return false;
    int scale = d.e < f->scale ? d.e : f->scale;
    int up_old = f->scale - scale, up_new = d.e - scale;
    if ((f->max_plain || plain) && !plain_scale(scale))
        return false;
    if (!fits(f->max_plain, up_old, PLAIN_MAX) || !fits(f->max_wide, up_old, INT_MAX63) ||
        !fits(d.m, up_new, plain ? PLAIN_MAX : INT_MAX63))
        return false;
    f->max_plain = up_old && f->max_plain ? f->max_plain * ks_pow10_i64[up_old] : f->max_plain;
    f->max_wide = up_old && f->max_wide ? f->max_wide * ks_pow10_i64[up_old] : f->max_wide;
    int64_t m = magnitude(d.m) * ks_pow10_i64[up_new];
    int64_t *max = plain ? &f->max_plain : &f->max_wide;
    *max = m > *max ? m : *max;
    f->scale = scale;
    return true;
}

void ksi_vm_fit(struct ks_vm_block *b, const int64_t *times, const double *values, size_t n,
                size_t *ret_rows, size_t *ret_used, int16_t *ret_scale)
{
    struct fit f = {.scale = ANY_SCALE};
    size_t rows = 0, i = 0;
    for (; i < n && rows < KS_VM_BLOCK_ROWS; i++) {
        struct decimal d;
        if (!special(values[i], &d)) {
            if (isnan(values[i]))
                continue;
            d = decimal_of(values[i]);
            if (!add(&f, d))
                break;
        }
        b->times[rows] = times[i];
        b->ints[rows] = d.m;
        b->exponents[rows++] = (int16_t)d.e;
    }
    int scale = f.scale == ANY_SCALE ? 0 : f.scale;
    for (size_t k = 0; k < rows; k++)
        if (b->exponents[k] != ANY_SCALE)
            b->ints[k] *= ks_pow10_i64[b->exponents[k] - scale];
    *ret_rows = rows;
    *ret_used = i;
    *ret_scale = (int16_t)scale;
}

/* Beyond plain arithmetic: by way of text, whose reader rounds correctly. */
static double wide(int64_t m, int scale)
{
    char text[40];
    double v = 0;
    size_t n = ks_i64_format(text, m);
    text[n++] = 'e';
    n += ks_i64_format(text + n, scale);
    if (!ks_f64_parse(ks_slice(text, n), &v))
        v = scale > 0 ? (m < 0 ? -INFINITY : INFINITY) : 0;
    return v;
}

void ksi_vm_to_doubles(const int64_t *ints, size_t n, int16_t scale, double *out)
{
    bool plain = plain_scale(scale);
    for (size_t i = 0; i < n; i++) {
        int64_t m = ints[i];
        if (m == INF_POS || m == INF_NEG)
            out[i] = m > 0 ? INFINITY : -INFINITY;
        else if (m == STALE)
            out[i] = ks_stale_nan();
        else if (plain && magnitude(m) <= PLAIN_MAX)
            out[i] = scale < 0 ? (double)m / ks_pow10_f64[-scale] : (double)m * ks_pow10_f64[scale];
        else
            out[i] = m ? wide(m, scale) : 0;
    }
}
