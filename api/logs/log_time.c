#include "api/logs/log_time.h"

#include <time.h>

#include "base/num.h"
#include "base/time.h"

#define NS_PER_S 1000000000ll

int64_t ks_log_time_scale(int64_t n)
{
    const int64_t limit = (int64_t)1 << 31;
    if (n < limit && n >= -limit)
        return n * NS_PER_S;
    if (n < limit * 1000 && n >= -limit * 1000)
        return n * 1000000;
    if (n < limit * 1000000 && n >= -limit * 1000000)
        return n * 1000;
    return n;
}

static bool times_ten_to(int64_t n, int64_t exp, int64_t *ret)
{
    if (exp < 0 || exp > 18)
        return false;
    for (; exp; exp--)
        if (__builtin_mul_overflow(n, 10, &n))
            return false;
    *ret = n;
    return true;
}

/* "12.34" as 1234; *ret_digits = 2. */
static bool fraction(struct ks_slice s, int64_t *ret, size_t *ret_digits)
{
    const char *dot = s.len ? memchr(s.ptr, '.', s.len) : NULL;
    *ret_digits = 0;
    if (!dot)
        return ks_i64_parse(s, ret);
    size_t at = (size_t)(dot - s.ptr);
    struct ks_slice frac = ks_slice_from(s, at + 1);
    int64_t whole, part;
    uint64_t digits;
    if (!ks_i64_parse(ks_slice(s.ptr, at), &whole) || !ks_u64_parse(frac, &digits) ||
        digits > INT64_MAX || !times_ten_to(whole, (int64_t)frac.len, &whole))
        return false;
    part = (int64_t)digits;
    *ret_digits = frac.len;
    return whole >= 0 && s.ptr[0] != '-' ? !__builtin_add_overflow(whole, part, ret)
                                         : !__builtin_sub_overflow(whole, part, ret);
}

bool ks_log_time_unix(struct ks_slice s, int64_t *ret_ns)
{
    int64_t n, exp;
    size_t digits;
    const char *e = s.len ? memchr(s.ptr, 'e', s.len) : NULL;
    if (!e && s.len)
        e = memchr(s.ptr, 'E', s.len);
    if (e) {
        size_t at = (size_t)(e - s.ptr);
        struct ks_slice power = ks_slice_from(s, at + 1);
        if (power.len && power.ptr[0] == '+')
            power = ks_slice_from(power, 1);
        if (!ks_i64_parse(power, &exp) || !fraction(ks_slice(s.ptr, at), &n, &digits) ||
            !times_ten_to(n, exp - (int64_t)digits, &n))
            return false;
    } else {
        if (!fraction(s, &n, &digits))
            return false;
        /* 1.5 counts milliseconds, 1.5000 microseconds: the magnitude finds the unit then. */
        if (!times_ten_to(n, (int64_t)((3 - digits % 3) % 3), &n))
            return false;
    }
    *ret_ns = ks_log_time_scale(n);
    return true;
}

int64_t ks_log_zone_offset_s(int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    return localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
}

static bool two(const char *p, unsigned max, unsigned *ret)
{
    unsigned a = (unsigned)(p[0] - '0'), b = (unsigned)(p[1] - '0');
    *ret = a * 10 + b;
    return a <= 9 && b <= 9 && *ret <= max;
}

/* YYYY-MM-DD of the first ten bytes. */
static bool date(const char *p, int64_t *ret_days)
{
    static const unsigned char lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned century, year, m, d;
    if (!two(p, 99, &century) || !two(p + 2, 99, &year) || p[4] != '-' || !two(p + 5, 12, &m) ||
        p[7] != '-' || !two(p + 8, 31, &d) || !m || !d || d > lengths[m - 1])
        return false;
    year += century * 100;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1677 || year > 2262 || (m == 2 && d == 29 && !leap))
        return false;
    *ret_days = ks_days_from_civil(year, m, d);
    return true;
}

bool ks_log_time_date(struct ks_slice s, int64_t *ret_ns)
{
    int64_t days;
    return s.len == 10 && date(s.ptr, &days) &&
           !__builtin_mul_overflow(days, 86400 * NS_PER_S, ret_ns);
}

/* ±hh:mm or ±hhmm at the end of *s, cut off. */
static bool zone(struct ks_slice *s, int64_t *ret_s)
{
    size_t n = 0;
    unsigned h, m;
    if (s->len >= 6 && s->ptr[s->len - 3] == ':')
        n = 6;
    else if (s->len >= 5)
        n = 5;
    if (!n)
        return false;
    const char *p = s->ptr + s->len - n;
    if ((*p != '+' && *p != '-') || !two(p + 1, 24, &h) || !two(p + n - 2, 60, &m))
        return false;
    *ret_s = (*p == '-' ? -1 : 1) * (int64_t)(h * 3600 + m * 60);
    s->len -= n;
    return true;
}

/* The clock behind the date: hh:mm:ss. */
static bool clock_s(const char *p, int64_t *ret_s)
{
    unsigned h, m, s;
    if (!two(p, 23, &h) || p[2] != ':' || !two(p + 3, 59, &m) || p[5] != ':' || !two(p + 6, 60, &s))
        return false;
    *ret_s = (int64_t)h * 3600 + (int64_t)m * 60 + s;
    return true;
}

bool ks_log_time_rfc3339(struct ks_slice s, int64_t *ret_ns)
{
    int64_t days, secs, offset = 0, ns = 0;
    if (s.len < 19 || !date(s.ptr, &days) || (s.ptr[10] != 'T' && s.ptr[10] != ' ') ||
        !clock_s(s.ptr + 11, &secs))
        return false;
    secs += days * 86400;
    struct ks_slice rest = ks_slice_from(s, 19);
    if (rest.len && rest.ptr[rest.len - 1] == 'Z')
        rest.len--;
    else if (rest.len && (memchr(rest.ptr, '+', rest.len) || memchr(rest.ptr, '-', rest.len))) {
        if (!zone(&rest, &offset))
            return false;
    } else {
        offset = ks_log_zone_offset_s(secs);
        offset = ks_log_zone_offset_s(secs - offset);
    }
    if (rest.len) {
        if (rest.ptr[0] != '.' || rest.len > 10 || rest.len < 2)
            return false;
        for (size_t i = 1; i < 10; i++) {
            unsigned c = i < rest.len ? (unsigned)(rest.ptr[i] - '0') : 0;
            if (c > 9)
                return false;
            ns = ns * 10 + c;
        }
    }
    return !__builtin_mul_overflow(secs - offset, NS_PER_S, ret_ns) &&
           !__builtin_add_overflow(*ret_ns, ns, ret_ns);
}

bool ks_log_time_parse(struct ks_slice s, int64_t now_ns, int64_t *ret_ns)
{
    if (!s.len || (s.len == 1 && (s.ptr[0] == '0' || s.ptr[0] == '-'))) {
        *ret_ns = now_ns;
        return true;
    }
    bool ok =
        s.len > 4 && s.ptr[4] == '-' ? ks_log_time_rfc3339(s, ret_ns) : ks_log_time_unix(s, ret_ns);
    if (ok && *ret_ns == 0)
        *ret_ns = now_ns;
    return ok;
}
