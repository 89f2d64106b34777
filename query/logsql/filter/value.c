/* What the text of a value means as a number, and numbers as text. See value.h. */
#include "query/logsql/filter/value.h"

#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "base/time.h"

#define NS_SECOND 1000000000ll
#define NS_MINUTE (60 * NS_SECOND)
#define NS_HOUR   (60 * NS_MINUTE)
#define NS_DAY    (24 * NS_HOUR)

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with `_` between them, as VictoriaLogs' literals allow: copied without. */
static bool strip_underscores(struct ks_slice s, char out[64], struct ks_slice *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '_') {
            if (i == 0 || !is_digit(s.ptr[i - 1]))
                return false;
            continue;
        }
        if (n == 64)
            return false;
        out[n++] = s.ptr[i];
    }
    *ret = ks_slice(out, n);
    return true;
}

static int digit_of(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static bool parse_based(struct ks_slice s, int base, double *ret)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        int d = digit_of(s.ptr[i]);
        if (d >= base || v > (UINT64_MAX - (uint64_t)d) / (uint64_t)base)
            return false;
        v = v * (uint64_t)base + (uint64_t)d;
    }
    *ret = (double)v;
    return true;
}

bool ks_lq_parse_float(struct ks_slice s, double *ret)
{
    char tmp[64];
    if (s.len == 0)
        return false;
    if (memchr(s.ptr, '_', s.len) && !strip_underscores(s, tmp, &s))
        return false;
    bool neg = s.ptr[0] == '-';
    struct ks_slice u = neg || s.ptr[0] == '+' ? ks_slice_from(s, 1) : s;
    if (u.len == 0)
        return false;
    if (u.len > 2 && u.ptr[0] == '0' && !is_digit(u.ptr[1]) && u.ptr[1] != '.') {
        char c = u.ptr[1] | 0x20;
        int base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (base) {
            double v;
            if (!parse_based(ks_slice_from(u, 2), base, &v))
                return false;
            *ret = neg ? -v : v;
            return true;
        }
    }
    if (!is_digit(u.ptr[0]) && u.ptr[0] != '.' && (u.ptr[0] | 0x20) != 'i' &&
        (u.ptr[0] | 0x20) != 'n')
        return false;
    double v;
    if (!ks_f64_parse(s, &v) || (!isfinite(v) && u.len != 3))
        return false; /* 1e400 and Infinity are no numbers; inf and nan are */
    *ret = v;
    return true;
}

bool ks_lq_parse_u64(struct ks_slice s, uint64_t *ret)
{
    if (s.len == 0 || s.len > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_digit(s.ptr[i]))
            return false;
        uint64_t d = (uint64_t)(s.ptr[i] - '0');
        if (v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

bool ks_lq_parse_i64(struct ks_slice s, int64_t *ret)
{
    bool neg = s.len && s.ptr[0] == '-';
    uint64_t v;
    if (!ks_lq_parse_u64(neg ? ks_slice_from(s, 1) : s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + (neg ? 1 : 0))
        return false;
    *ret = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* A decimal number at the front, digits and one point; bytes used, 0 none. */
static size_t number_prefix(struct ks_slice s, double *ret)
{
    size_t n = 0;
    bool point = false, digits = false;
    while (n < s.len && (is_digit(s.ptr[n]) || s.ptr[n] == '_' || (s.ptr[n] == '.' && !point))) {
        point |= s.ptr[n] == '.';
        digits |= is_digit(s.ptr[n]);
        n++;
    }
    if (!digits || !ks_lq_parse_float(ks_slice(s.ptr, n), ret))
        return 0;
    return n;
}

struct unit {
    const char *name;
    double size;
};

/* The longest unit at the front. */
static const struct unit *unit_prefix(struct ks_slice s, const struct unit *units, size_t count)
{
    const struct unit *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(units[i].name);
        if (n > best_len && ks_slice_has_prefix(s, ks_slice(units[i].name, n))) {
            best = &units[i];
            best_len = n;
        }
    }
    return best;
}

/* bare: the last number of several may lack its unit (1KB5). */
static bool parse_units(struct ks_slice s, const struct unit *units, size_t count, bool bare,
                        int64_t *ret)
{
    bool neg = s.len && s.ptr[0] == '-';
    if (neg)
        s = ks_slice_from(s, 1);
    if (s.len == 0 || (!is_digit(s.ptr[0]) && s.ptr[0] != '.'))
        return false;
    double sum = 0;
    while (s.len) {
        double v;
        size_t n = number_prefix(s, &v);
        if (!n)
            return false;
        s = ks_slice_from(s, n);
        if (bare && sum > 0 && !s.len) {
            sum += v;
            break;
        }
        const struct unit *u = unit_prefix(s, units, count);
        if (!u)
            return false;
        s = ks_slice_from(s, strlen(u->name));
        sum += v * u->size;
    }
    if (!(sum < 9.2e18))
        return false;
    *ret = neg ? -(int64_t)sum : (int64_t)sum;
    return true;
}

bool ks_lq_parse_duration(struct ks_slice s, int64_t *ret_ns)
{
    static const struct unit units[] = {
        {"y", 365.0 * NS_DAY}, {"w", 7.0 * NS_DAY}, {"d", NS_DAY}, {"h", NS_HOUR},
        {"m", NS_MINUTE},      {"s", NS_SECOND},    {"ms", 1e6},   {"µs", 1e3},
        {"μs", 1e3},           {"us", 1e3},         {"ns", 1}};
    return parse_units(s, units, sizeof units / sizeof *units, false, ret_ns);
}

bool ks_lq_parse_bytes(struct ks_slice s, int64_t *ret)
{
#define K 1024.0
    static const struct unit units[] = {{"B", 1},
                                        {"K", 1e3},
                                        {"KB", 1e3},
                                        {"Ki", K},
                                        {"KiB", K},
                                        {"M", 1e6},
                                        {"MB", 1e6},
                                        {"Mi", K * K},
                                        {"MiB", K * K},
                                        {"G", 1e9},
                                        {"GB", 1e9},
                                        {"Gi", K * K * K},
                                        {"GiB", K * K * K},
                                        {"T", 1e12},
                                        {"TB", 1e12},
                                        {"Ti", K * K * K * K},
                                        {"TiB", K * K * K * K}};
#undef K
    return parse_units(s, units, sizeof units / sizeof *units, true, ret);
}

bool ks_lq_parse_ipv4(struct ks_slice s, uint32_t *ret)
{
    uint32_t ip = 0;
    size_t i = 0;
    if (s.len < 7 || s.len > 15)
        return false;
    for (int part = 0; part < 4; part++) {
        unsigned v = 0, n = 0;
        for (; i < s.len && is_digit(s.ptr[i]); i++, n++)
            v = v * 10 + (unsigned)(s.ptr[i] - '0');
        if (n == 0 || n > 3 || v > 255)
            return false;
        ip = ip << 8 | v;
        if (part < 3) {
            if (i >= s.len || s.ptr[i] != '.')
                return false;
            i++;
        }
    }
    *ret = ip;
    return i == s.len;
}

/* Groups of hex before or after `::`; the count of 16-bit groups, or -1. */
static int ipv6_groups(struct ks_slice s, uint16_t out[8])
{
    int n = 0;
    while (s.len) {
        if (n == 8)
            return -1;
        uint32_t v4;
        if (memchr(s.ptr, '.', s.len) && !memchr(s.ptr, ':', s.len)) {
            if (n > 6 || !ks_lq_parse_ipv4(s, &v4))
                return -1;
            out[n++] = (uint16_t)(v4 >> 16);
            out[n++] = (uint16_t)v4;
            return n;
        }
        unsigned v = 0, len = 0;
        while (len < s.len && s.ptr[len] != ':') {
            int d = digit_of(s.ptr[len]);
            if (d > 15 || len == 4)
                return -1;
            v = v << 4 | (unsigned)d;
            len++;
        }
        if (len == 0)
            return -1;
        out[n++] = (uint16_t)v;
        s = ks_slice_from(s, len);
        if (s.len) {
            s = ks_slice_from(s, 1);
            if (s.len == 0)
                return -1;
        }
    }
    return n;
}

bool ks_lq_parse_ipv6(struct ks_slice s, uint8_t ret[16])
{
    uint32_t v4;
    if (ks_lq_parse_ipv4(s, &v4)) {
        memset(ret, 0, 10);
        ret[10] = ret[11] = 0xff;
        for (int i = 0; i < 4; i++)
            ret[12 + i] = (uint8_t)(v4 >> (24 - 8 * i));
        return true;
    }
    if (s.len < 2 || s.len > 45)
        return false;
    const char *gap = memmem(s.ptr, s.len, "::", 2);
    uint16_t head[8] = {0}, tail[8] = {0};
    int a, b = 0;
    if (gap) {
        a = ipv6_groups(ks_slice(s.ptr, (size_t)(gap - s.ptr)), head);
        b = ipv6_groups(ks_slice_from(s, (size_t)(gap - s.ptr) + 2), tail);
        if (a < 0 || b < 0 || a + b > 7)
            return false;
    } else if ((a = ipv6_groups(s, head)) != 8) {
        return false;
    }
    memset(ret, 0, 16);
    for (int i = 0; i < a; i++) {
        ret[2 * i] = (uint8_t)(head[i] >> 8);
        ret[2 * i + 1] = (uint8_t)head[i];
    }
    for (int i = 0; i < b; i++) {
        ret[2 * (8 - b + i)] = (uint8_t)(tail[i] >> 8);
        ret[2 * (8 - b + i) + 1] = (uint8_t)tail[i];
    }
    return true;
}

/* n digits at p[*pos]; false when they are not there. */
static bool fixed_digits(struct ks_slice s, size_t *pos, size_t n, unsigned *ret)
{
    unsigned v = 0;
    if (s.len - *pos < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s.ptr[*pos + i];
        if (!is_digit(c))
            return false;
        v = v * 10 + (unsigned)(c - '0');
    }
    *pos += n;
    *ret = v;
    return true;
}

static bool one_char(struct ks_slice s, size_t *pos, const char *set)
{
    if (*pos >= s.len || !s.ptr[*pos] || !strchr(set, s.ptr[*pos]))
        return false;
    ++*pos;
    return true;
}

static bool parse_zone(struct ks_slice s, size_t *pos, int64_t *ret_ns)
{
    if (*pos == s.len) { /* none: UTC */
        *ret_ns = 0;
        return true;
    }
    if (one_char(s, pos, "Zz")) {
        *ret_ns = 0;
        return *pos == s.len;
    }
    bool neg = s.ptr[*pos] == '-';
    unsigned h, m;
    if (!one_char(s, pos, "+-") || !fixed_digits(s, pos, 2, &h))
        return false;
    (void)one_char(s, pos, ":");
    if (!fixed_digits(s, pos, 2, &m) || h > 23 || m > 59)
        return false;
    int64_t off = h * NS_HOUR + m * NS_MINUTE;
    *ret_ns = neg ? -off : off;
    return *pos == s.len;
}

static bool parse_fraction(struct ks_slice s, size_t *pos, int64_t *ret_ns)
{
    *ret_ns = 0;
    if (!one_char(s, pos, "."))
        return true;
    int64_t ns = 0, unit = NS_SECOND / 10;
    size_t from = *pos;
    while (*pos < s.len && is_digit(s.ptr[*pos])) {
        ns += unit * (s.ptr[*pos] - '0');
        unit /= 10;
        ++*pos;
    }
    *ret_ns = ns;
    return *pos > from && *pos - from <= 9;
}

bool ks_lq_parse_rfc3339(struct ks_slice s, int64_t *ret_ns)
{
    size_t pos = 0;
    unsigned y, mo, d, h, mi, sec;
    int64_t frac, zone;
    if (s.len < 19 || s.ptr[4] != '-')
        return false;
    if (!fixed_digits(s, &pos, 4, &y) || !one_char(s, &pos, "-") ||
        !fixed_digits(s, &pos, 2, &mo) || !one_char(s, &pos, "-") ||
        !fixed_digits(s, &pos, 2, &d) || !one_char(s, &pos, "T ") ||
        !fixed_digits(s, &pos, 2, &h) || !one_char(s, &pos, ":") ||
        !fixed_digits(s, &pos, 2, &mi) || !one_char(s, &pos, ":") ||
        !fixed_digits(s, &pos, 2, &sec))
        return false;
    static const unsigned char month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1] + (unsigned)(mo == 2 && leap) ||
        h > 23 || mi > 59 || sec > 59)
        return false;
    if (y < 1678 || y > 2261)
        return false;
    if (!parse_fraction(s, &pos, &frac) || !parse_zone(s, &pos, &zone))
        return false;
    int64_t days = ks_days_from_civil((int64_t)y, mo, d);
    *ret_ns = days * NS_DAY + h * NS_HOUR + mi * NS_MINUTE + sec * NS_SECOND + frac - zone;
    return true;
}

bool ks_lq_parse_number(struct ks_slice s, double *ret)
{
    int64_t n;
    if (s.len == 0)
        return false;
    char c = s.ptr[0];
    if (!is_digit(c) && c != '-' && c != '+' && c != '.' && (c | 0x20) != 'i' && (c | 0x20) != 'n')
        return false;
    if (ks_lq_parse_float(s, ret))
        return true;
    if (ks_lq_parse_duration(s, &n) || ks_lq_parse_bytes(s, &n)) {
        *ret = (double)n;
        return true;
    }
    return false;
}

bool ks_lq_parse_any_number(struct ks_slice s, double *ret)
{
    uint32_t ip;
    int64_t ns;
    if (ks_lq_parse_number(s, ret))
        return true;
    if (ks_lq_parse_ipv4(s, &ip)) {
        *ret = ip;
        return true;
    }
    if (ks_lq_parse_rfc3339(s, &ns)) {
        *ret = (double)ns;
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------- printing */

static size_t two_digits(char *out, unsigned v)
{
    out[0] = (char)('0' + v / 10);
    out[1] = (char)('0' + v % 10);
    return 2;
}

size_t ks_lq_time_format(char out[40], int64_t ns)
{
    int64_t day = ns / NS_DAY, rest = ns % NS_DAY, y;
    if (rest < 0) {
        rest += NS_DAY;
        day--;
    }
    unsigned mo, d;
    ks_civil_from_days(day, &y, &mo, &d);
    size_t n = 0;
    n += two_digits(out, (unsigned)(y / 100));
    n += two_digits(out + n, (unsigned)(y % 100));
    out[n++] = '-';
    n += two_digits(out + n, mo);
    out[n++] = '-';
    n += two_digits(out + n, d);
    out[n++] = 'T';
    n += two_digits(out + n, (unsigned)(rest / NS_HOUR));
    out[n++] = ':';
    n += two_digits(out + n, (unsigned)(rest / NS_MINUTE % 60));
    out[n++] = ':';
    n += two_digits(out + n, (unsigned)(rest / NS_SECOND % 60));
    unsigned frac = (unsigned)(rest % NS_SECOND);
    if (frac) {
        out[n++] = '.';
        for (unsigned unit = 100000000; frac; unit /= 10) {
            out[n++] = (char)('0' + frac / unit);
            frac %= unit;
        }
    }
    out[n++] = 'Z';
    return n;
}

size_t ks_lq_f64_format(char *out, double v)
{
    return ks_f64_format_fixed(out, v);
}

size_t ks_lq_duration_format(char *out, int64_t ns)
{
    static const struct {
        int64_t size;
        const char *unit;
    } units[] = {{7 * NS_DAY, "w"}, {NS_DAY, "d"},   {NS_HOUR, "h"},      {NS_MINUTE, "m"},
                 {NS_SECOND, "s"},  {1000000, "ms"}, {1000, "\xc2\xb5s"}, {1, "ns"}};
    size_t n = 0;
    uint64_t left = (uint64_t)ns;
    if (ns == 0) {
        out[n++] = '0';
        return n;
    }
    if (ns < 0) {
        out[n++] = '-';
        left = 0 - left;
    }
    bool seconds = left >= NS_SECOND; /* 1m5.5s, but 1m5ms and 5ms500µs */
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (seconds && i == 4 && left >= NS_SECOND)
            break;
        uint64_t v = left / (uint64_t)units[i].size;
        if (v) {
            n += ks_u64_format(out + n, v);
            memcpy(out + n, units[i].unit, strlen(units[i].unit));
            n += strlen(units[i].unit);
            left -= v * (uint64_t)units[i].size;
        }
    }
    if (left) {
        n += ks_u64_format(out + n, left / NS_SECOND);
        uint64_t frac = left % NS_SECOND;
        if (frac) { /* nine digits without the zeros at the end */
            out[n++] = '.';
            for (uint64_t unit = NS_SECOND / 10; frac; frac %= unit, unit /= 10)
                out[n++] = (char)('0' + frac / unit);
        }
        out[n++] = 's';
    }
    return n;
}

size_t ks_lq_ipv4_format(char out[16], uint32_t ip)
{
    int n = snprintf(out, 16, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
    return (size_t)n;
}
