#include "base/time.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

int64_t ks_days_from_civil(int64_t y, unsigned m, unsigned d)
{
    /* H. Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

void ks_civil_from_days(int64_t z, int64_t *ret_y, unsigned *ret_m, unsigned *ret_d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *ret_d = doy - (153 * mp + 2) / 5 + 1;
    *ret_m = mp < 10 ? mp + 3 : mp - 9;
    *ret_y = (int64_t)yoe + era * 400 + (*ret_m <= 2);
}

size_t ks_time_format_rfc3339_ms(char *out, int64_t ms)
{
    int64_t days = ks_day_of_ms(ms), y, rest = ms - days * KS_MS_DAY;
    unsigned m, d;
    ks_civil_from_days(days, &y, &m, &d);
    return (size_t)snprintf(out, 32, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", (int)y, m, d,
                            (unsigned)(rest / KS_MS_HOUR), (unsigned)(rest / KS_MS_MINUTE % 60),
                            (unsigned)(rest / 1000 % 60), (unsigned)(rest % 1000));
}

static bool unit_ms(struct ks_slice *s, double *ret)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1},      {"s", 1e3},         {"m", 60e3},         {"h", 3600e3},
                 {"d", 86400e3}, {"w", 7 * 86400e3}, {"y", 365 * 86400e3}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ks_slice_has_prefix(*s, ks_slice_str(units[i].name))) {
            *s = ks_slice_from(*s, strlen(units[i].name));
            *ret = units[i].ms;
            return true;
        }
    }
    return false;
}

static ks_err duration_ms(struct ks_slice s, double bare_unit_ms, int64_t *ret_ms)
{
    struct ks_slice rest = ks_slice_trim(s);
    double total = 0, sign = 1, v, unit;
    if (rest.len && (rest.ptr[0] == '-' || rest.ptr[0] == '+')) {
        sign = rest.ptr[0] == '-' ? -1 : 1;
        rest = ks_slice_from(rest, 1);
    }
    if (ks_f64_parse(rest, &v) && rest.len && rest.ptr[0] != '-' && rest.ptr[0] != '+') {
        total = v * bare_unit_ms;
        rest.len = 0;
    } else if (!rest.len) {
        goto bad;
    }
    while (rest.len) {
        size_t n = 0;
        while (n < rest.len && (rest.ptr[n] == '.' || (rest.ptr[n] >= '0' && rest.ptr[n] <= '9')))
            n++;
        if (!n || !ks_f64_parse(ks_slice(rest.ptr, n), &v))
            goto bad;
        rest = ks_slice_from(rest, n);
        if (!unit_ms(&rest, &unit))
            goto bad;
        total += v * unit;
    }
    if (!(fabs(total) < 9.0e15))
        goto bad;
    *ret_ms = (int64_t)llround(sign * total);
    return KS_OK;
bad:
    return ks_fail(KS_EINVAL, "cannot parse \"%.*s\" as a duration (examples: 15, 5m, 1h30m, 30d)",
                   KS_SLICE_ARG(s));
}

ks_err ks_duration_parse_ms(struct ks_slice s, int64_t *ret_ms)
{
    return duration_ms(s, 1e3, ret_ms);
}

ks_err ks_retention_parse_ms(struct ks_slice s, int64_t *ret_ms)
{
    return duration_ms(s, 31 * 86400e3, ret_ms);
}

/* Reads exactly `digits` digits into *ret. */
static bool take_digits(struct ks_slice *s, size_t digits, int64_t *ret)
{
    uint64_t v;
    if (s->len < digits || !ks_u64_parse(ks_slice(s->ptr, digits), &v))
        return false;
    *s = ks_slice_from(*s, digits);
    *ret = (int64_t)v;
    return true;
}

static bool take_char(struct ks_slice *s, char c)
{
    if (!s->len || s->ptr[0] != c)
        return false;
    *s = ks_slice_from(*s, 1);
    return true;
}

/* Z, +hh:mm, -hh:mm or nothing. */
static bool take_zone(struct ks_slice *s, int64_t *ret_offset_ms)
{
    *ret_offset_ms = 0;
    if (!s->len || take_char(s, 'Z') || take_char(s, 'z'))
        return s->len == 0;
    int64_t h, m, sign = s->ptr[0] == '-' ? -1 : 1;
    if (s->ptr[0] != '+' && s->ptr[0] != '-')
        return false;
    *s = ks_slice_from(*s, 1);
    if (!take_digits(s, 2, &h) || !take_char(s, ':') || !take_digits(s, 2, &m) || s->len ||
        h > 23 || m > 59)
        return false;
    *ret_offset_ms = sign * (h * KS_MS_HOUR + m * KS_MS_MINUTE);
    return true;
}

static bool parse_date(struct ks_slice s, int64_t *ret_ms)
{
    int64_t y, mo = 1, d = 1, h = 0, mi = 0, sec = 0, frac_ms = 0, zone = 0;
    if (!take_digits(&s, 4, &y))
        return false;
    bool more = take_char(&s, '-');
    if (more && !take_digits(&s, 2, &mo))
        return false;
    more = more && take_char(&s, '-');
    if (more && !take_digits(&s, 2, &d))
        return false;
    more = more && (take_char(&s, 'T') || take_char(&s, 't') || take_char(&s, ' '));
    if (more && !take_digits(&s, 2, &h))
        return false;
    more = more && take_char(&s, ':');
    if (more && !take_digits(&s, 2, &mi))
        return false;
    more = more && take_char(&s, ':');
    if (more && !take_digits(&s, 2, &sec))
        return false;
    if (more && take_char(&s, '.')) {
        int64_t scale = 100;
        size_t n = 0;
        for (; s.len && s.ptr[0] >= '0' && s.ptr[0] <= '9';
             s = ks_slice_from(s, 1), n++, scale /= 10)
            frac_ms += (s.ptr[0] - '0') * scale;
        if (!n)
            return false;
    }
    if (!take_zone(&s, &zone) || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 ||
        sec > 60)
        return false;
    *ret_ms = ks_days_from_civil(y, (unsigned)mo, (unsigned)d) * KS_MS_DAY + h * KS_MS_HOUR +
              mi * KS_MS_MINUTE + sec * KS_MS_SECOND + frac_ms - zone;
    return true;
}

ks_err ks_time_parse_ms(struct ks_slice s, int64_t now_ms, int64_t *ret_ms)
{
    struct ks_slice t = ks_slice_trim(s);
    double v;
    int64_t ms, offset;
    bool year = t.len == 4 && strspn(t.ptr, "0123456789") >= 4;
    if (!year && t.len && ks_f64_parse(t, &v) && isfinite(v)) {
        /* Seconds up to 2^32, then ms, µs, ns: the bounds the peers use. */
        double a = fabs(v);
        double scaled = a < 4294967296.0         ? v * 1e3
                        : a < 4294967296.0 * 1e3 ? v
                        : a < 4294967296.0 * 1e6 ? v / 1e3
                                                 : v / 1e6;
        if (!(fabs(scaled) < 9.0e15))
            scaled = scaled < 0 ? 0 : 9.0e15;
        ms = (int64_t)llround(scaled);
    } else if (ks_slice_is(t, "now")) {
        ms = now_ms;
    } else if (ks_slice_has_prefix(t, KS_SLICE_LIT("now")) &&
               ks_duration_parse_ms(ks_slice_from(t, 3), &offset) == KS_OK) {
        ms = now_ms + offset;
    } else if (t.len && parse_date(t, &ms)) {
        ;
    } else if (t.len && ks_duration_parse_ms(t, &offset) == KS_OK) {
        ms = now_ms - (offset < 0 ? -offset : offset);
    } else {
        return ks_fail(
            KS_EINVAL,
            "cannot parse time \"%.*s\" (examples: 1700000000.5, 2024-05-01T10:00:00Z, now-1h)",
            KS_SLICE_ARG(s));
    }
    *ret_ms = ms < 0 ? 0 : ms;
    return KS_OK;
}
