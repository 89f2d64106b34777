#include "storage/logs/typed.h"

#include <string.h>

#include "base/num.h"
#include "base/pow10.h"
#include "base/time.h"
#include "storage/logs/token.h"

enum { TIME_HEAD = 19, INT_DIGITS_MAX = 19, DECIMAL_DIGITS_MAX = 18, HEX_DIGITS_MIN = 8 };

/* --- numbers --- */

/* All of p[0..n) digits, as a number; n ≤ 19. */
static bool digits(const char *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t d = (uint8_t)(p[i] - '0');
        if (d > 9)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

static bool parse_int(struct ks_slice s, int64_t *ret)
{
    bool negative = s.len && s.ptr[0] == '-';
    s = negative ? ks_slice_from(s, 1) : s;
    uint64_t v;
    if (s.len == 0 || s.len > INT_DIGITS_MAX || !digits(s.ptr, s.len, &v) ||
        (s.ptr[0] == '0' && (s.len > 1 || negative)) || v > INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

static bool parse_padded(const struct ks_typed *t, struct ks_slice s, int64_t *ret)
{
    uint64_t v;
    if (s.len != t->digits || !digits(s.ptr, s.len, &v))
        return false;
    *ret = (int64_t)v;
    return true;
}

static bool parse_decimal(const struct ks_typed *t, struct ks_slice s, int64_t *ret)
{
    bool negative = s.len && s.ptr[0] == '-';
    s = negative ? ks_slice_from(s, 1) : s;
    if (s.len < t->digits + 2u || s.len - 1 > DECIMAL_DIGITS_MAX ||
        s.ptr[s.len - t->digits - 1] != '.')
        return false;
    size_t whole = s.len - t->digits - 1;
    uint64_t a, b;
    if (!digits(s.ptr, whole, &a) || !digits(s.ptr + whole + 1, t->digits, &b) ||
        (whole > 1 && s.ptr[0] == '0'))
        return false;
    int64_t v = (int64_t)(a * (uint64_t)ks_pow10_i64[t->digits] + b);
    if (negative && v == 0)
        return false;
    *ret = negative ? -v : v;
    return true;
}

static bool parse_ipv4(struct ks_slice s, int64_t *ret)
{
    uint32_t v = 0;
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        size_t start = at;
        uint32_t x = 0;
        while (at < s.len && at - start < 3 && ks_is_digit(s.ptr[at]))
            x = x * 10 + (uint32_t)(s.ptr[at++] - '0');
        if (at == start || x > 255 || (at - start > 1 && s.ptr[start] == '0'))
            return false;
        if (part < 3 && (at == s.len || s.ptr[at++] != '.'))
            return false;
        v = v << 8 | x;
    }
    *ret = v;
    return at == s.len;
}

static bool parse_time(const struct ks_typed *t, struct ks_slice s, int64_t *ret)
{
    size_t fraction = t->digits ? t->digits + 1u : 0;
    const char *p = s.ptr;
    uint64_t y, mo, d, h, mi, sec, f = 0;
    if (s.len != TIME_HEAD + fraction + t->suffix_len || p[4] != '-' || p[7] != '-' ||
        p[10] != t->date_sep || p[13] != ':' || p[16] != ':' || !digits(p, 4, &y) ||
        !digits(p + 5, 2, &mo) || !digits(p + 8, 2, &d) || !digits(p + 11, 2, &h) ||
        !digits(p + 14, 2, &mi) || !digits(p + 17, 2, &sec) || y < 1700 || y > 2200)
        return false;
    if (fraction && (p[TIME_HEAD] != t->fraction_sep || !digits(p + TIME_HEAD + 1, t->digits, &f)))
        return false;
    if (memcmp(p + TIME_HEAD + fraction, t->suffix, t->suffix_len) != 0)
        return false;
    if (mo < 1 || mo > 12 || d < 1 || h > 23 || mi > 59 || sec > 59)
        return false;
    int64_t day = ks_days_from_civil((int64_t)y, (unsigned)mo, (unsigned)d), ry;
    unsigned rm, rd;
    ks_civil_from_days(day, &ry, &rm, &rd);
    if (rm != mo || rd != d)
        return false; /* the 31st of a month without one */
    *ret =
        (day * 86400 + (int64_t)(h * 3600 + mi * 60 + sec)) * ks_pow10_i64[t->digits] + (int64_t)f;
    return true;
}

bool ks_typed_parse(const struct ks_typed *t, struct ks_slice s, int64_t *ret)
{
    switch (t->kind) {
    case KS_TYPED_INT:
        return parse_int(s, ret);
    case KS_TYPED_PADDED:
        return parse_padded(t, s, ret);
    case KS_TYPED_DECIMAL:
        return parse_decimal(t, s, ret);
    case KS_TYPED_IPV4:
        return parse_ipv4(s, ret);
    case KS_TYPED_TIME:
        return parse_time(t, s, ret);
    default:
        return false;
    }
}

/* --- printing --- */

/* v in exactly n digits, its lowest ones. */
static char *put_digits(char *p, uint64_t v, size_t n)
{
    for (size_t i = n; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

static size_t print_decimal(const struct ks_typed *t, int64_t v, char *out)
{
    char *p = out;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, scale = (uint64_t)ks_pow10_i64[t->digits];
    if (v < 0)
        *p++ = '-';
    p += ks_u64_format(p, u / scale);
    *p++ = '.';
    p = put_digits(p, u % scale, t->digits);
    return (size_t)(p - out);
}

static size_t print_ipv4(uint32_t v, char *out)
{
    char *p = out;
    for (int shift = 24; shift >= 0; shift -= 8) {
        p += ks_u64_format(p, v >> shift & 255);
        if (shift)
            *p++ = '.';
    }
    return (size_t)(p - out);
}

static size_t print_time(const struct ks_typed *t, int64_t v, char *out)
{
    int64_t scale = ks_pow10_i64[t->digits], y;
    int64_t sec = v / scale - (v % scale < 0);
    uint64_t f = (uint64_t)v - (uint64_t)sec * (uint64_t)scale;
    int64_t day = sec / 86400 - (sec % 86400 < 0), s = sec - day * 86400;
    unsigned m, d;
    ks_civil_from_days(day, &y, &m, &d);
    char *p = put_digits(out, (uint64_t)y, 4);
    *p++ = '-';
    p = put_digits(p, m, 2);
    *p++ = '-';
    p = put_digits(p, d, 2);
    *p++ = (char)t->date_sep;
    p = put_digits(p, (uint64_t)s / 3600, 2);
    *p++ = ':';
    p = put_digits(p, (uint64_t)s / 60 % 60, 2);
    *p++ = ':';
    p = put_digits(p, (uint64_t)s % 60, 2);
    if (t->digits) {
        *p++ = (char)t->fraction_sep;
        p = put_digits(p, f, t->digits);
    }
    memcpy(p, t->suffix, t->suffix_len);
    return (size_t)(p - out) + t->suffix_len;
}

size_t ks_typed_print(const struct ks_typed *t, int64_t v, char *out)
{
    switch (t->kind) {
    case KS_TYPED_INT:
        return ks_i64_format(out, v);
    case KS_TYPED_PADDED:
        return (size_t)(put_digits(out, (uint64_t)v, t->digits) - out);
    case KS_TYPED_DECIMAL:
        return print_decimal(t, v, out);
    case KS_TYPED_IPV4:
        return print_ipv4((uint32_t)v, out);
    case KS_TYPED_TIME:
        return print_time(t, v, out);
    default:
        return 0;
    }
}

/* --- guessing --- */

static bool guess_time(struct ks_slice s, struct ks_typed *t)
{
    if (s.len < TIME_HEAD || s.ptr[4] != '-' || s.ptr[13] != ':' ||
        (s.ptr[10] != 'T' && s.ptr[10] != ' '))
        return false;
    *t = (struct ks_typed){.kind = KS_TYPED_TIME, .date_sep = (uint8_t)s.ptr[10]};
    size_t at = TIME_HEAD;
    if (at < s.len && (s.ptr[at] == '.' || s.ptr[at] == ',')) {
        size_t n = 0;
        while (at + 1 + n < s.len && ks_is_digit(s.ptr[at + 1 + n]))
            n++;
        if (n > 9)
            return false;
        if (n) {
            t->digits = (uint8_t)n;
            t->fraction_sep = (uint8_t)s.ptr[at];
            at += n + 1;
        }
    }
    if (s.len - at > KS_TYPED_SUFFIX_MAX)
        return false;
    t->suffix_len = (uint8_t)(s.len - at);
    memcpy(t->suffix, s.ptr + at, s.len - at);
    return true;
}

static bool is_uuid_shape(struct ks_slice s)
{
    return s.len == 36 && s.ptr[8] == '-' && s.ptr[13] == '-' && s.ptr[18] == '-' &&
           s.ptr[23] == '-';
}

static bool has_upper_hex(struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] >= 'A' && s.ptr[i] <= 'F')
            return true;
    return false;
}

static bool guess_hex(struct ks_slice s, struct ks_typed *t)
{
    bool uuid = is_uuid_shape(s);
    if (!uuid && (s.len < HEX_DIGITS_MIN || s.len > KS_HEX_DIGITS_MAX))
        return false;
    *t = (struct ks_typed){.kind = uuid ? KS_TYPED_UUID : KS_TYPED_HEX,
                           .digits = uuid ? 32 : (uint8_t)s.len,
                           .upper = has_upper_hex(s)};
    uint8_t packed[KS_HEX_DIGITS_MAX / 2];
    return ks_hex_pack(t, s, packed);
}

struct ks_typed ks_typed_guess(struct ks_slice s)
{
    struct ks_typed t = {.kind = KS_TYPED_INT};
    int64_t v;
    if (!s.len || !(ks_char_class[(uint8_t)s.ptr[0]] & KS_CHAR_HEX || s.ptr[0] == '-'))
        return (struct ks_typed){0};
    if (parse_int(s, &v))
        return t;
    t = (struct ks_typed){.kind = KS_TYPED_PADDED, .digits = (uint8_t)(s.len < 19 ? s.len : 0)};
    if (t.digits && parse_padded(&t, s, &v))
        return t;
    const char *dot = memrchr(s.ptr, '.', s.len);
    size_t behind = dot ? (size_t)(s.ptr + s.len - dot) - 1 : 0;
    if (behind >= 1 && behind <= 15) {
        t = (struct ks_typed){.kind = KS_TYPED_DECIMAL, .digits = (uint8_t)behind};
        if (parse_decimal(&t, s, &v))
            return t;
        t = (struct ks_typed){.kind = KS_TYPED_IPV4};
        if (parse_ipv4(s, &v))
            return t;
    }
    if ((guess_time(s, &t) && parse_time(&t, s, &v)) || guess_hex(s, &t))
        return t;
    return (struct ks_typed){0};
}

/* --- hex --- */

size_t ks_hex_bytes(const struct ks_typed *t)
{
    return (t->digits + 1u) / 2;
}

size_t ks_hex_text(const struct ks_typed *t)
{
    return t->kind == KS_TYPED_UUID ? 36 : t->digits;
}

#define BAD 0x80
#define DIGITS                                                                                     \
    ['0'] = 0, ['1'] = 1, ['2'] = 2, ['3'] = 3, ['4'] = 4, ['5'] = 5, ['6'] = 6, ['7'] = 7,        \
    ['8'] = 8, ['9'] = 9
/* The value of a hex digit, of small and of capital letters; others have the bit BAD. */
static const uint8_t nibbles[2][256] = {{[0 ... '/'] = BAD,
                                         DIGITS,
                                         [':' ... '`'] = BAD,
                                         ['a'] = 10,
                                         ['b'] = 11,
                                         ['c'] = 12,
                                         ['d'] = 13,
                                         ['e'] = 14,
                                         ['f'] = 15,
                                         ['g' ... 255] = BAD},
                                        {[0 ... '/'] = BAD,
                                         DIGITS,
                                         [':' ... '@'] = BAD,
                                         ['A'] = 10,
                                         ['B'] = 11,
                                         ['C'] = 12,
                                         ['D'] = 13,
                                         ['E'] = 14,
                                         ['F'] = 15,
                                         ['G' ... 255] = BAD}};
#undef DIGITS

/* n digits to bytes, the last half of an odd one is 0; what is no digit leaves BAD in the result.
 */
static uint8_t pack(const uint8_t *of, const char *p, size_t n, uint8_t *out)
{
    uint8_t bad = 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        uint8_t hi = of[(uint8_t)p[i]], lo = of[(uint8_t)p[i + 1]];
        bad |= hi | lo;
        out[i / 2] = (uint8_t)(hi << 4 | lo);
    }
    if (n % 2) {
        uint8_t hi = of[(uint8_t)p[n - 1]];
        bad |= hi;
        out[n / 2] = (uint8_t)(hi << 4);
    }
    return bad;
}

bool ks_hex_pack(const struct ks_typed *t, struct ks_slice s, uint8_t *out)
{
    const uint8_t *of = nibbles[t->upper];
    const char *p = s.ptr;
    if (s.len != ks_hex_text(t))
        return false;
    if (t->kind != KS_TYPED_UUID)
        return !(pack(of, p, s.len, out) & BAD);
    return is_uuid_shape(s) &&
           !((pack(of, p, 8, out) | pack(of, p + 9, 4, out + 4) | pack(of, p + 14, 4, out + 6) |
              pack(of, p + 19, 4, out + 8) | pack(of, p + 24, 12, out + 10)) &
             BAD);
}

void ks_hex_unpack(const struct ks_typed *t, const uint8_t *in, char *out)
{
    const char *set = t->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (size_t n = 0; n < t->digits; n++) {
        if (t->kind == KS_TYPED_UUID && (n == 8 || n == 12 || n == 16 || n == 20))
            *out++ = '-';
        *out++ = set[n % 2 ? in[n / 2] & 15 : in[n / 2] >> 4];
    }
}

/* --- parameters --- */

void ks_typed_save(const struct ks_typed *t, struct ks_buf *out)
{
    ks_buf_byte(out, t->digits);
    if (t->kind == KS_TYPED_HEX || t->kind == KS_TYPED_UUID)
        ks_buf_byte(out, t->upper);
    if (t->kind != KS_TYPED_TIME)
        return;
    ks_buf_byte(out, t->date_sep);
    ks_buf_byte(out, t->fraction_sep);
    ks_buf_lp(out, ks_slice(t->suffix, t->suffix_len));
}

bool ks_typed_load(struct ks_reader *r, uint8_t kind, struct ks_typed *ret)
{
    static const uint8_t digits_min[] = {0, 0, 1, 1, 0, 0, 1, 32};
    static const uint8_t digits_max[] = {0, 0, 18, 15, 0, 9, KS_HEX_DIGITS_MAX, 32};
    struct ks_typed t = {.kind = kind, .digits = ks_read_u8(r)};
    if (kind < KS_TYPED_INT || kind > KS_TYPED_UUID || t.digits < digits_min[kind] ||
        t.digits > digits_max[kind])
        return false;
    if (kind == KS_TYPED_HEX || kind == KS_TYPED_UUID)
        t.upper = ks_read_u8(r) != 0;
    if (kind == KS_TYPED_TIME) {
        t.date_sep = ks_read_u8(r);
        t.fraction_sep = ks_read_u8(r);
        struct ks_slice s = ks_read_lp(r);
        if (s.len > KS_TYPED_SUFFIX_MAX)
            return false;
        t.suffix_len = (uint8_t)s.len;
        if (s.len)
            memcpy(t.suffix, s.ptr, s.len);
    }
    *ret = t;
    return !r->bad;
}
