/*
 * Values of number and duration tokens in both dialects. Numbers follow Go's literals (leading 0 is
 * octal, 0x, 0o, 0b, underscores between digits), which both peers inherit. Thread role: any.
 */
#include <math.h>

#include "base/num.h"
#include "query/promql/syntax/lexer.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Underscores only between digits, or between a base prefix and a digit. */
static bool underscores_ok(struct ks_slice s, size_t prefix)
{
    char last = prefix ? '0' : '!';
    for (size_t i = prefix; i < s.len; i++) {
        char c = s.ptr[i];
        if (is_digit(c) || (prefix && ((c | 32) >= 'a' && (c | 32) <= 'f'))) {
            last = '0';
        } else if (c == '_') {
            if (last != '0')
                return false;
            last = '_';
        } else {
            if (last == '_')
                return false;
            last = '!';
        }
    }
    return last != '_';
}

/* An integer literal of any base that fits int64. */
static bool parse_int(struct ks_slice s, double *ret)
{
    unsigned base = 10;
    size_t i = 0;
    if (s.len > 1 && s.ptr[0] == '0') {
        char c = (char)(s.ptr[1] | 32);
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 8;
        i = c == 'x' || c == 'o' || c == 'b' ? 2 : 1;
    }
    if (i == s.len || !underscores_ok(s, i))
        return false;
    uint64_t v = 0;
    for (; i < s.len; i++) {
        char c = s.ptr[i], low = (char)(c | 32);
        if (c == '_')
            continue;
        unsigned d = is_digit(c)                ? (unsigned)(c - '0')
                     : low >= 'a' && low <= 'f' ? (unsigned)(low - 'a' + 10)
                                                : 16;
        if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    if (v > INT64_MAX)
        return false;
    *ret = (double)(int64_t)v;
    return true;
}

static bool parse_float(struct ks_slice s, double *ret)
{
    char copy[512];
    size_t n = 0;
    if (s.len == 0 || s.len > sizeof copy || !underscores_ok(s, 0))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '_')
            copy[n++] = s.ptr[i];
    }
    double v;
    if (n == 0 || !(is_digit(copy[0]) || copy[0] == '.') || !ks_f64_parse(ks_slice(copy, n), &v) ||
        isinf(v))
        return false;
    *ret = v;
    return true;
}

/* Splits a suffix like Ki or MB off; the factor it stands for. */
static double take_suffix(struct ks_slice *s)
{
    static const char letters[] = "kmgt";
    size_t n = s->len, end = n;
    double unit = 1000;
    if (end > 1 && (s->ptr[end - 1] | 32) == 'b')
        end--;
    if (end > 1 && (s->ptr[end - 1] | 32) == 'i') {
        unit = 1024;
        end--;
    }
    const char *letter = end > 1 ? strchr(letters, s->ptr[end - 1] | 32) : NULL;
    if (!letter || !*letter)
        return 1;
    s->len = end - 1;
    double factor = 1;
    for (const char *p = letters; p <= letter; p++)
        factor *= unit;
    return factor;
}

static bool special_integer(struct ks_slice s)
{
    if (s.len < 2 || s.ptr[0] != '0')
        return false;
    char c = (char)(s.ptr[1] | 32);
    return is_digit(s.ptr[1]) || c == 'x' || c == 'o' || c == 'b';
}

bool ksi_number_parse(enum ks_dialect dialect, struct ks_slice s, double *ret)
{
    if (ksi_word_is(s, "inf") || ksi_word_is(s, "nan")) {
        *ret = (s.ptr[0] | 32) == 'i' ? INFINITY : NAN;
        return true;
    }
    if (dialect == KS_PROMQL_STRICT)
        return parse_int(s, ret) || parse_float(s, ret);
    if (special_integer(s))
        return parse_int(s, ret);
    double factor = take_suffix(&s), v;
    if (!parse_float(s, &v))
        return false;
    *ret = v * factor;
    return true;
}

/* ---- durations ---- */

static double unit_ms(char unit)
{
    switch (unit | 32) {
    case 's':
        return 1000;
    case 'm':
        return 60e3;
    case 'h':
        return 3600e3;
    case 'd':
        return 86400e3;
    case 'w':
        return 7 * 86400e3;
    case 'y':
        return 365 * 86400e3;
    default:
        return 0;
    }
}

/* One part like 1.5h at s; its length, 0 when there is none. Parts behind the first may carry a
 * minus. */
static size_t scan_part(struct ks_slice s, bool first)
{
    size_t i = !first && s.len && s.ptr[0] == '-';
    size_t digits = i;
    while (i < s.len && is_digit(s.ptr[i]))
        i++;
    if (i == digits)
        return 0;
    if (i < s.len && s.ptr[i] == '.') {
        i++;
        while (i < s.len && is_digit(s.ptr[i]))
            i++;
    }
    if (i >= s.len)
        return 0;
    char c = s.ptr[i], next = i + 1 < s.len ? (char)(s.ptr[i + 1] | 32) : 0;
    if ((c | 32) == 'm') {
        if (next == 's')
            return i + 2;
        /* Mi and MB are number suffixes, and so is a capital M. */
        return c == 'm' && next != 'i' && next != 'b' ? i + 1 : 0;
    }
    return (c | 32) == 'i' || unit_ms(c) != 0 ? i + 1 : 0;
}

size_t ksi_duration_scan(struct ks_slice s)
{
    size_t total = scan_part(s, true);
    if (!total)
        return 0;
    for (size_t n; (n = scan_part(ks_slice_from(s, total), false));)
        total += n;
    return total;
}

/* Adds a part to the sums; after the first negative part all are negative (2h-5m3s is 2h - 5m -
 * 3s). */
static bool add_part(struct ks_slice part, bool *negative, double *ms, double *steps)
{
    *negative |= part.ptr[0] == '-';
    if (part.ptr[0] == '-')
        part = ks_slice_from(part, 1);
    size_t digits = 0;
    while (is_digit(part.ptr[digits]) || part.ptr[digits] == '.')
        digits++;
    double v;
    if (!ks_f64_parse(ks_slice(part.ptr, digits), &v))
        return false;
    if (*negative)
        v = -v;
    char unit = part.ptr[digits];
    if ((unit | 32) == 'i')
        *steps += v;
    else
        *ms += v * (part.len - digits == 2 ? 1 : unit_ms(unit));
    return true;
}

static bool mql_duration(struct ks_slice s, bool negative, double *ret_ms, double *ret_steps)
{
    double ms = 0, steps = 0;
    char last = s.len ? s.ptr[s.len - 1] : 0;
    if (is_digit(last) || last == '.') {
        if (!parse_float(s, &ms))
            return false;
        ms = trunc((negative ? -ms : ms) * 1000);
    } else {
        for (bool first = true; s.len || first; first = false) {
            size_t n = scan_part(s, first);
            if (!n || !add_part(ks_slice(s.ptr, n), &negative, &ms, &steps))
                return false;
            s = ks_slice_from(s, n);
        }
        if (steps == 0)
            ms = trunc(ms);
    }
    *ret_ms = ms;
    *ret_steps = steps;
    return true;
}

/* Whole numbers with units in falling order, each at most once. */
static bool strict_duration(struct ks_slice s, double *ret_ms)
{
    static const struct {
        char text[3];
        uint64_t ms;
    } units[] = {{"y", 31536000000}, {"w", 604800000}, {"d", 86400000}, {"h", 3600000},
                 {"m", 60000},       {"s", 1000},      {"ms", 1}};
    uint64_t total = 0;
    size_t unit = 0, count = sizeof units / sizeof *units;
    if (ks_slice_is(s, "0")) {
        *ret_ms = 0;
        return true;
    }
    for (bool first = true; s.len || first; first = false) {
        size_t n = 0, len = 0;
        uint64_t v;
        while (n < s.len && is_digit(s.ptr[n]))
            n++;
        while (n + len < s.len && !is_digit(s.ptr[n + len]))
            len++;
        while (unit < count &&
               !ks_slice_eq(ks_slice_sub(s, n, len), ks_slice_str(units[unit].text)))
            unit++;
        if (unit == count || !ks_u64_parse(ks_slice(s.ptr, n), &v) ||
            __builtin_mul_overflow(v, units[unit].ms, &v) ||
            __builtin_add_overflow(total, v, &total))
            return false;
        unit++;
        s = ks_slice_from(s, n + len);
    }
    if (total > INT64_MAX / 1000000)
        return false;
    *ret_ms = (double)total;
    return true;
}

bool ksi_duration_parse(enum ks_dialect dialect, struct ks_slice s, bool negate, double *ret_ms,
                        double *ret_steps)
{
    if (dialect == KS_METRICSQL)
        return mql_duration(s, negate, ret_ms, ret_steps);
    *ret_steps = 0;
    if (!strict_duration(s, ret_ms))
        return false;
    if (negate)
        *ret_ms = -*ret_ms;
    return true;
}
