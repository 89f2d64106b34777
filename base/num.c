#include "base/num.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/cxx/charconv.h"

double ks_stale_nan(void)
{
    return ks_f64_from_bits(KS_STALE_NAN_BITS);
}

bool ks_is_stale_nan(double v)
{
    return ks_f64_bits(v) == KS_STALE_NAN_BITS;
}

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static unsigned digit_count(uint64_t v)
{
    static const uint64_t powers[] = {0,
                                      10,
                                      100,
                                      1000,
                                      10000,
                                      100000,
                                      1000000,
                                      10000000,
                                      100000000,
                                      1000000000,
                                      10000000000,
                                      100000000000,
                                      1000000000000,
                                      10000000000000,
                                      100000000000000,
                                      1000000000000000,
                                      10000000000000000,
                                      100000000000000000,
                                      1000000000000000000,
                                      10000000000000000000u};
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);
    unsigned guess = bits * 1233 >> 12; /* log10(2) is about 1233 / 4096 */
    return guess + (v >= powers[guess]);
}

/* Exactly n digits, zeros in front. */
static void put_digits(char *out, uint64_t v, unsigned n)
{
    for (; n >= 2; n -= 2) {
        memcpy(out + n - 2, digit_pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (n)
        out[0] = (char)('0' + v % 10);
}

size_t ks_u64_format(char *out, uint64_t v)
{
    unsigned n = digit_count(v);
    put_digits(out, v, n);
    return n;
}

size_t ks_i64_format(char *out, int64_t v)
{
    if (v >= 0)
        return ks_u64_format(out, (uint64_t)v);
    out[0] = '-';
    return 1 + ks_u64_format(out + 1, 0 - (uint64_t)v);
}

static size_t format_special(char *out, double v)
{
    if (isnan(v)) {
        memcpy(out, "NaN", 3);
        return 3;
    }
    memcpy(out, v > 0 ? "+Inf" : "-Inf", 4);
    return 4;
}

/* Integers below 2^53 take the quick way; true when done. */
static bool format_small_integer(char *out, double v, size_t *ret_len)
{
    if (!(fabs(v) < 9007199254740992.0) || v != (double)(int64_t)v || (v == 0 && signbit(v)))
        return false;
    *ret_len = ks_i64_format(out, (int64_t)v);
    return true;
}

/*
 * Fixed notation. C++ gives large integers all their exact digits; Go pads the shortest digits that
 * read back with zeros (2^64 is 18446744073709552000), so those are made from the scientific form.
 */
static size_t format_fixed(char *out, double v)
{
    if (!(fabs(v) >= 9007199254740992.0))
        return ks_cxx_f64_shortest(out, KS_F64_TEXT_MAX, v, 0);
    char sci[64];
    size_t len = ks_cxx_f64_shortest(sci, sizeof sci - 1, v, 1), n = 0, digits = 0;
    sci[len] = 0;
    char *e = strchr(sci, 'e');
    size_t want = (size_t)strtol(e + 1, NULL, 10) + 1;
    for (char *p = sci; p < e; p++) {
        if (*p == '.')
            continue;
        out[n++] = *p;
        digits += *p != '-';
    }
    for (; digits < want; digits++)
        out[n++] = '0';
    return n;
}

/*
 * Numbers of at most 15 digits, nine of them behind the point, as most measured ones are. No two
 * decimals of up to 15 digits are read as the same double, so the one found is the shortest; true
 * when done.
 */
static bool format_small_decimal(char *out, double v, size_t *ret_len)
{
    double a = fabs(v);
    if (!(a < 1e12))
        return false;
    unsigned digits = a < 1e6 ? 9 : 3;
    uint64_t scale = a < 1e6 ? 1000000000 : 1000;
    uint64_t i = (uint64_t)(a * (double)scale + 0.5);
    if (i % scale == 0 || (double)i / (double)scale != a)
        return false;
    char *p = out;
    if (v < 0)
        *p++ = '-';
    p += ks_u64_format(p, i / scale);
    uint64_t part = i % scale;
    *p++ = '.';
    for (; part % 1000 == 0; part /= 1000)
        digits -= 3;
    for (; part % 10 == 0; part /= 10)
        digits--;
    put_digits(p, part, digits);
    *ret_len = (size_t)(p - out) + digits;
    return true;
}

size_t ks_f64_format_fixed(char *out, double v)
{
    size_t n;
    if (!isfinite(v))
        return format_special(out, v);
    if (format_small_integer(out, v, &n) || format_small_decimal(out, v, &n))
        return n;
    return format_fixed(out, v);
}

size_t ks_f64_format(char *out, double v)
{
    size_t n;
    if (!isfinite(v))
        return format_special(out, v);
    if (format_small_integer(out, v, &n))
        return n;
    double a = fabs(v);
    if (a == 0 || (a >= 1e-4 && a < 1e21))
        return format_small_decimal(out, v, &n) ? n : format_fixed(out, v);
    return ks_cxx_f64_shortest(out, KS_F64_TEXT_MAX, v, 1);
}

size_t ks_f64_format_g(char *out, double v)
{
    double a = fabs(v);
    if (!isfinite(v))
        return format_special(out, v);
    return ks_cxx_f64_shortest(out, KS_F64_TEXT_MAX, v, a != 0 && !(a >= 1e-4 && a < 1e6));
}

size_t ks_f64_format_json(char *out, double v)
{
    double a = fabs(v);
    bool fixed = a == 0 || (a >= 1e-6 && a < 1e21);
    return fixed ? ks_f64_format_fixed(out, v) : ks_f64_format_g(out, v);
}

void ks_buf_f64(struct ks_buf *b, double v)
{
    if (ks_buf_reserve(b, KS_F64_TEXT_MAX))
        b->len += ks_f64_format(b->ptr + b->len, v);
}

void ks_buf_u64_dec(struct ks_buf *b, uint64_t v)
{
    if (ks_buf_reserve(b, 20))
        b->len += ks_u64_format(b->ptr + b->len, v);
}

void ks_buf_i64_dec(struct ks_buf *b, int64_t v)
{
    if (ks_buf_reserve(b, 21))
        b->len += ks_i64_format(b->ptr + b->len, v);
}

size_t ks_ms_format_seconds(char *out, int64_t ms)
{
    size_t n = 0;
    uint64_t u = (uint64_t)ms;
    if (ms < 0) {
        out[n++] = '-';
        u = 0 - u;
    }
    n += ks_u64_format(out + n, u / 1000);
    unsigned frac = (unsigned)(u % 1000);
    if (frac) {
        out[n++] = '.';
        out[n++] = (char)('0' + frac / 100);
        if (frac % 100)
            out[n++] = (char)('0' + frac / 10 % 10);
        if (frac % 10)
            out[n++] = (char)('0' + frac % 10);
    }
    return n;
}

static bool parse_special(struct ks_slice s, bool negative, double *ret)
{
    if ((s.len == 3 && strncasecmp(s.ptr, "inf", 3) == 0) ||
        (s.len == 8 && strncasecmp(s.ptr, "infinity", 8) == 0)) {
        *ret = negative ? -INFINITY : INFINITY;
        return true;
    }
    if (s.len == 3 && strncasecmp(s.ptr, "nan", 3) == 0) {
        *ret = NAN;
        return true;
    }
    return false;
}

bool ks_f64_parse(struct ks_slice s, double *ret)
{
    struct ks_slice body = s;
    bool negative = false;
    if (body.len && (body.ptr[0] == '-' || body.ptr[0] == '+')) {
        negative = body.ptr[0] == '-';
        body = ks_slice_from(body, 1);
    }
    if (!body.len)
        return false;
    char c = body.ptr[0];
    if ((c | 32) == 'i' || (c | 32) == 'n')
        return parse_special(body, negative, ret);
    if (c != '.' && (c < '0' || c > '9'))
        return false;
    double v = 0;
    size_t used = ks_cxx_f64_parse(body.ptr, body.len, &v);
    if (used & KS_CXX_F64_RANGE) {
        used &= ~KS_CXX_F64_RANGE;
        if (used != body.len || used > 4000)
            return false;
        char tmp[4001];
        memcpy(tmp, body.ptr, used);
        tmp[used] = 0;
        v = strtod(tmp, NULL);
    }
    if (used == 0 || used != body.len)
        return false;
    *ret = negative ? -v : v;
    return true;
}

bool ks_u64_parse(struct ks_slice s, uint64_t *ret)
{
    if (s.len == 0 || s.len > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned d = (unsigned)(unsigned char)s.ptr[i] - '0';
        if (d > 9 || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)d, &v))
            return false;
    }
    *ret = v;
    return true;
}

bool ks_i64_parse(struct ks_slice s, int64_t *ret)
{
    bool negative = s.len && s.ptr[0] == '-';
    if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        s = ks_slice_from(s, 1);
    uint64_t u;
    if (!ks_u64_parse(s, &u) || u > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = (int64_t)(negative ? 0 - u : u);
    return true;
}

ks_err ks_bytes_parse(struct ks_slice s, int64_t *ret)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"KiB", 1024.}, {"MiB", 1048576.}, {"GiB", 1073741824.}, {"TiB", 1099511627776.},
                 {"Ki", 1024.},  {"Mi", 1048576.},  {"Gi", 1073741824.},  {"Ti", 1099511627776.},
                 {"KB", 1e3},    {"MB", 1e6},       {"GB", 1e9},          {"TB", 1e12},
                 {"K", 1e3},     {"M", 1e6},        {"G", 1e9},           {"T", 1e12},
                 {"B", 1.}};
    struct ks_slice digits = ks_slice_trim(s);
    double factor = 1, v;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i].suffix);
        if (digits.len > n && memcmp(digits.ptr + digits.len - n, units[i].suffix, n) == 0) {
            factor = units[i].factor;
            digits.len -= n;
            break;
        }
    }
    if (!ks_f64_parse(digits, &v) || !isfinite(v) || v < 0 || v * factor >= 9.2e18)
        return ks_fail(KS_EINVAL,
                       "cannot parse \"%.*s\" as a size in bytes (examples: 1048576, 64MiB, 1.5GB)",
                       KS_SLICE_ARG(s));
    *ret = (int64_t)(v * factor);
    return KS_OK;
}
