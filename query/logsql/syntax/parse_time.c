/*
 * _time filters. A literal stands for a range of nanoseconds: 2024-05 is the whole month; a
 * duration is the moment that long ago. Relative ones count from p->now_ns, which the caller has
 * set to the last nanosecond that may match.
 */
#include "base/time.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

#define NS_SECOND 1000000000ll
#define NS_DAY    (86400 * NS_SECOND)

enum { WORD = KSI_LQ_COLON | KSI_LQ_ANY | KSI_LQ_SIGN };

static int64_t add_sat(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return r;
}

/* --- literals --- */

/* n digits at the front. */
static bool take_digits(struct ks_slice *s, size_t n, unsigned *ret)
{
    unsigned v = 0;
    if (s->len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s->ptr[i] - '0');
    }
    *s = ks_slice_from(*s, n);
    *ret = v;
    return true;
}

static bool take_char(struct ks_slice *s, char c)
{
    if (!s->len || s->ptr[0] != c)
        return false;
    *s = ks_slice_from(*s, 1);
    return true;
}

/* Cuts Z or ±hh:mm off the end; none: UTC. */
static bool take_zone(struct ks_slice *s, int64_t *ret_ns)
{
    *ret_ns = 0;
    if (s->len && s->ptr[s->len - 1] == 'Z') {
        s->len--;
        return true;
    }
    if (s->len < 6 || s->ptr[s->len - 3] != ':')
        return true;
    char sign = s->ptr[s->len - 6];
    /* the last minutes of 10:20:30 are no zone */
    if (sign != '+' && sign != '-')
        return true;
    struct ks_slice z = ks_slice(s->ptr + s->len - 5, 5);
    unsigned h, m;
    if (!take_digits(&z, 2, &h) || !take_char(&z, ':') || !take_digits(&z, 2, &m) || h > 23 ||
        m > 59)
        return false;
    *ret_ns = (h * 3600 + m * 60) * NS_SECOND;
    if (sign == '-')
        *ret_ns = -*ret_ns;
    s->len -= 6;
    return true;
}

struct civil {
    unsigned y, mo, d, h, mi, s;
    int64_t frac_ns, unit_ns; /* length of the smallest part given; 0: month, -1: year */
};

static bool take_fraction(struct ks_slice *s, struct civil *c)
{
    int64_t unit = NS_SECOND;
    c->unit_ns = NS_SECOND;
    if (!take_char(s, '.'))
        return true;
    if (!s->len || s->len > 9)
        return false;
    while (s->len) {
        unsigned d;
        if (!take_digits(s, 1, &d))
            return false;
        unit /= 10;
        c->frac_ns += d * unit;
    }
    c->unit_ns = unit;
    return true;
}

/* yyyy[-mm[-dd[Thh[:mm[:ss[.fraction]]]]]] */
static bool take_civil(struct ks_slice *s, struct civil *c)
{
    *c = (struct civil){.mo = 1, .d = 1, .unit_ns = -1};
    if (!take_digits(s, 4, &c->y))
        return false;
    if (!take_char(s, '-'))
        return true;
    c->unit_ns = 0;
    if (!take_digits(s, 2, &c->mo))
        return false;
    if (!take_char(s, '-'))
        return true;
    c->unit_ns = NS_DAY;
    if (!take_digits(s, 2, &c->d))
        return false;
    if (!take_char(s, 'T') && !take_char(s, ' '))
        return true;
    c->unit_ns = 3600 * NS_SECOND;
    if (!take_digits(s, 2, &c->h))
        return false;
    if (!take_char(s, ':'))
        return true;
    c->unit_ns = 60 * NS_SECOND;
    if (!take_digits(s, 2, &c->mi))
        return false;
    if (!take_char(s, ':'))
        return true;
    return take_digits(s, 2, &c->s) && take_fraction(s, c);
}

static unsigned month_days(unsigned y, unsigned m)
{
    int64_t first = ks_days_from_civil(y, m, 1);
    int64_t next =
        m == 12 ? ks_days_from_civil((int64_t)y + 1, 1, 1) : ks_days_from_civil(y, m + 1, 1);
    return (unsigned)(next - first);
}

static bool civil_range(const struct civil *c, int64_t *ret_min, int64_t *ret_max)
{
    if (c->mo < 1 || c->mo > 12 || c->d < 1 || c->d > month_days(c->y, c->mo) || c->h > 24 ||
        c->mi > 59 || c->s > 59 || c->y < 1678 || c->y > 2262)
        return false;
    int64_t day = ks_days_from_civil(c->y, c->mo, c->d);
    /* The year 2262 ends behind what nanoseconds can say. */
    __int128 t =
        (__int128)day * NS_DAY + (c->h * 3600ll + c->mi * 60ll + c->s) * NS_SECOND + c->frac_ns;
    int64_t unit = c->unit_ns;
    if (unit == 0)
        unit = month_days(c->y, c->mo) * NS_DAY;
    else if (unit < 0)
        unit = (ks_days_from_civil((int64_t)c->y + 1, 1, 1) - day) * NS_DAY;
    __int128 last = t + unit - 1;
    *ret_min = t > INT64_MAX ? INT64_MAX : (int64_t)t;
    *ret_max = last > INT64_MAX ? INT64_MAX : (int64_t)last;
    return true;
}

/* Unix time: s, ms, µs, ns by magnitude; seconds may have a fraction. */
static bool unix_range(struct ks_slice s, int64_t *ret_min, int64_t *ret_max)
{
    int64_t v;
    struct ks_slice whole = s;
    const char *dot = memchr(s.ptr, '.', s.len);
    if (dot)
        whole.len = (size_t)(dot - s.ptr);
    if (!ks_lq_parse_i64(whole, &v))
        return false;
    uint64_t mag = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    int64_t unit = mag < (1ull << 32)         ? NS_SECOND
                   : mag < (1000ull << 32)    ? 1000000
                   : mag < (1000000ull << 32) ? 1000
                                              : 1;
    int64_t frac = 0;
    if (__builtin_mul_overflow(v, unit, &v))
        return false;
    if (dot) {
        struct civil c = {0};
        struct ks_slice rest = ks_slice_from(s, whole.len);
        if (!take_fraction(&rest, &c))
            return false;
        frac = c.frac_ns / (NS_SECOND / unit);
        unit = c.unit_ns / (NS_SECOND / unit);
        if (unit == 0)
            unit = 1;
    }
    *ret_min = v + (s.ptr[0] == '-' ? -frac : frac);
    *ret_max = add_sat(*ret_min, unit - 1);
    return true;
}

ks_err ksi_lq_time_literal(struct ks_slice s, int64_t now_ns, int64_t *ret_min, int64_t *ret_max)
{
    struct ks_slice rest = s;
    int64_t d, zone;
    struct civil c;
    if (s.len >= 3 && strncasecmp(s.ptr, "now", 3) == 0) {
        d = 0;
        rest = ks_slice_from(s, 3);
        if (rest.len && rest.ptr[0] == '+')
            rest = ks_slice_from(rest, 1);
        if (rest.len && !ks_lq_parse_duration(rest, &d))
            goto bad;
        *ret_min = *ret_max = add_sat(now_ns, d);
        return KS_OK;
    }
    if (ks_lq_parse_duration(s, &d)) {
        *ret_min = *ret_max = add_sat(now_ns, d < 0 ? d : -d);
        return KS_OK;
    }
    if (s.len > 4 && unix_range(s, ret_min, ret_max))
        return KS_OK;
    if (!take_zone(&rest, &zone) || !take_civil(&rest, &c) || rest.len ||
        !civil_range(&c, ret_min, ret_max))
        goto bad;
    *ret_min = add_sat(*ret_min, -zone);
    *ret_max = add_sat(*ret_max, -zone);
    return KS_OK;
bad:
    return ks_fail(KS_EPARSE, "\"%.*s\" is no time", KS_SLICE_ARG(s));
}

ks_err ks_lq_parse_time(struct ks_slice text, int64_t now_ns, int64_t *ret_min, int64_t *ret_max)
{
    return ksi_lq_time_literal(text, now_ns, ret_min, ret_max);
}

/* --- the filter --- */

static ks_err time_word(struct ksi_lq_parser *p, struct ks_slice *ret)
{
    return ksi_lq_compound(p, WORD, "a time is needed", ret);
}

/* [a,b) */
static ks_err parse_brackets(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice a, b;
    int64_t a_min, a_max, b_min, b_max;
    char open = p->lx.token.ptr[0];
    KS_TRY(ksi_lq_next(p));
    KS_TRY(time_word(p, &a));
    KS_TRY(ksi_lq_expect(p, ","));
    KS_TRY(time_word(p, &b));
    if (!ksi_lq_is(p, ")") && !ksi_lq_is(p, "]"))
        return ksi_lq_unexpected(p, "missing ')' or ']' of the time range");
    char close = p->lx.token.ptr[0];
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_time_literal(a, p->now_ns, &a_min, &a_max));
    KS_TRY(ksi_lq_time_literal(b, p->now_ns, &b_min, &b_max));
    f->min_ns = open == '(' ? add_sat(a_min, 1) : a_min;
    f->max_ns = close == ')' ? add_sat(b_min, -1) : b_max;
    f->shown =
        ks_arena_printf(p->arena, "%c%.*s,%.*s%c", open, KS_SLICE_ARG(a), KS_SLICE_ARG(b), close);
    return f->shown.ptr ? KS_OK : ksi_lq_oom(p);
}

static bool is_age(struct ks_slice s)
{
    int64_t d;
    return ks_lq_parse_duration(s, &d);
}

/* >t >=t <t <=t; with a duration it is the age that is compared. */
static ks_err parse_compared(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice op = p->lx.token, s;
    int64_t min, max;
    bool greater = op.ptr[0] == '>', equal = op.len == 2;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(time_word(p, &s));
    KS_TRY(ksi_lq_time_literal(s, p->now_ns, &min, &max));
    if (is_age(s))
        greater = !greater;
    f->min_ns = INT64_MIN;
    f->max_ns = INT64_MAX;
    if (greater)
        f->min_ns = equal ? min : add_sat(min, 1);
    else
        f->max_ns = equal ? max : add_sat(min, -1);
    f->shown = ks_arena_printf(p->arena, "%.*s%.*s", KS_SLICE_ARG(op), KS_SLICE_ARG(s));
    return f->shown.ptr ? KS_OK : ksi_lq_oom(p);
}

/* A unit of time, or the last while. */
static ks_err parse_single(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    bool eq;
    struct ks_slice s;
    KS_TRY(ksi_lq_skip(p, "=", &eq));
    KS_TRY(time_word(p, &s));
    KS_TRY(ksi_lq_time_literal(s, p->now_ns, &f->min_ns, &f->max_ns));
    if (is_age(s)) { /* now_ns is the last nanosecond before the evaluation time */
        f->min_ns = add_sat(f->min_ns, 1);
        f->max_ns = p->now_ns;
    }
    f->shown = ks_arena_printf(p->arena, "%s%.*s", eq ? "=" : "", KS_SLICE_ARG(s));
    return f->shown.ptr ? KS_OK : ksi_lq_oom(p);
}

/* --- hours of the day, days of the week --- */

static bool parse_hour(struct ks_slice s, int64_t *ret_ns)
{
    unsigned h, m;
    if (!take_digits(&s, 2, &h) || !take_char(&s, ':') || !take_digits(&s, 2, &m) || s.len ||
        h > 24 || m > 59 || (h == 24 && m))
        return false;
    *ret_ns = (h * 3600 + m * 60) * NS_SECOND;
    return true;
}

static bool parse_weekday(struct ks_slice s, int64_t *ret)
{
    static const char *const days[] = {"sunday",   "monday", "tuesday", "wednesday",
                                       "thursday", "friday", "saturday"};
    for (int i = 0; i < 7; i++) {
        size_t n = strlen(days[i]);
        if ((s.len == n || s.len == 3) && strncasecmp(s.ptr, days[i], s.len) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static ks_err parse_of(struct ksi_lq_parser *p, struct ks_lq_filter *f, bool week)
{
    const char *name = week ? "week_range" : "day_range";
    struct ks_slice a, b;
    int64_t from, to;
    KS_TRY(ksi_lq_next(p));
    if (!ksi_lq_is(p, "(") && !ksi_lq_is(p, "["))
        return ksi_lq_unexpected(p, "missing '(' or '[' of the range");
    bool open = ksi_lq_is(p, "(");
    KS_TRY(ksi_lq_next(p));
    KS_TRY(time_word(p, &a));
    KS_TRY(ksi_lq_expect(p, ","));
    KS_TRY(time_word(p, &b));
    if (!ksi_lq_is(p, ")") && !ksi_lq_is(p, "]"))
        return ksi_lq_unexpected(p, "missing ')' or ']' of the range");
    bool close = ksi_lq_is(p, ")");
    KS_TRY(ksi_lq_next(p));
    if (week ? !parse_weekday(a, &from) || !parse_weekday(b, &to)
             : !parse_hour(a, &from) || !parse_hour(b, &to))
        return ks_fail(KS_EPARSE, "%s: \"%.*s, %.*s\" are no %s", name, KS_SLICE_ARG(a),
                       KS_SLICE_ARG(b), week ? "days of the week" : "times hh:mm of a day");
    int64_t all = week ? 7 : NS_DAY;
    int64_t length = ((to - from) % all + all) % all + (week ? 1 : 0) - open - close;
    f->kind = week ? KS_LQ_F_WEEK_RANGE : KS_LQ_F_DAY_RANGE;
    f->min_ns = (from + open) % all;
    f->max_ns = (to - close + all) % all;
    if (week && length < 0) { /* nothing is left: an order that no day has */
        f->min_ns = 1;
        f->max_ns = -1;
    } else if (!week && to == NS_DAY && !close) {
        f->max_ns = NS_DAY - 1;
    }
    f->zone_local = true;
    f->shown = ks_arena_printf(p->arena, "%s%c%.*s, %.*s%c", name, open ? '(' : '[',
                               KS_SLICE_ARG(a), KS_SLICE_ARG(b), close ? ')' : ']');
    return f->shown.ptr ? KS_OK : ksi_lq_oom(p);
}

/* `offset 1h` behind the filter moves it into the past. */
static ks_err parse_offset(struct ksi_lq_parser *p, struct ks_lq_filter *f)
{
    struct ks_slice text;
    if (!ksi_lq_is(p, "offset"))
        return KS_OK;
    KS_TRY(ksi_lq_next(p));
    KS_TRY(ksi_lq_duration(p, "a duration is needed after 'offset'", &f->offset_ns, &text));
    f->zone_local = false;
    f->shown = ks_arena_printf(p->arena, "%.*s%soffset %.*s", KS_SLICE_ARG(f->shown),
                               f->shown.len ? " " : "", KS_SLICE_ARG(text));
    if (!f->shown.ptr)
        return ksi_lq_oom(p);
    if (f->kind != KS_LQ_F_TIME)
        return KS_OK;
    if (f->min_ns != INT64_MIN)
        f->min_ns = add_sat(f->min_ns, -f->offset_ns);
    if (f->max_ns != INT64_MAX)
        f->max_ns = add_sat(f->max_ns, -f->offset_ns);
    return KS_OK;
}

ks_err ksi_lq_filter_time(struct ksi_lq_parser *p, struct ks_lq_filter **ret)
{
    static const struct ks_lq_field time_field = {{"_time", 5}, false};
    static const char *const compares[] = {"<", "<=", ">", ">=", NULL};
    struct ks_lq_filter *f;
    KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_TIME, &time_field, &f));
    f->min_ns = INT64_MIN;
    f->max_ns = INT64_MAX;
    f->shown = ks_slice("", 0);
    if (ksi_lq_is(p, "(") || ksi_lq_is(p, "["))
        KS_TRY(parse_brackets(p, f));
    else if (ksi_lq_is_any(p, compares))
        KS_TRY(parse_compared(p, f));
    else if (ksi_lq_is(p, "day_range"))
        KS_TRY(parse_of(p, f, false));
    else if (ksi_lq_is(p, "week_range"))
        KS_TRY(parse_of(p, f, true));
    else if (ksi_lq_is(p, "offset"))
        f->max_ns = p->now_ns;
    else
        KS_TRY(parse_single(p, f));
    KS_TRY(parse_offset(p, f));
    if (f->kind == KS_LQ_F_TIME && f->min_ns != INT64_MIN)
        f->min_ns = add_sat(f->min_ns, -p->time_offset_ns);
    if (f->kind == KS_LQ_F_TIME && f->max_ns != INT64_MAX)
        f->max_ns = add_sat(f->max_ns, -p->time_offset_ns);
    *ret = f;
    return KS_OK;
}
