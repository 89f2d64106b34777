#include "api/go_time.h"

#include <ctype.h>
#include <strings.h>

#include "base/time.h"

enum element {
    LITERAL,
    YEAR4,
    YEAR2,
    MONTH2,
    MONTH,
    MONTH_SHORT,
    MONTH_LONG,
    DAY2,
    DAY_PAD,
    DAY,
    YEAR_DAY,
    WEEKDAY_SHORT,
    WEEKDAY_LONG,
    HOUR24,
    HOUR12_2,
    HOUR12,
    MINUTE2,
    MINUTE,
    SECOND2,
    SECOND,
    UPPER_PM,
    LOWER_PM,
    FRACTION,
    ZONE_NAME,
    ZONE_Z,
    ZONE_Z_COLON,
    ZONE,
    ZONE_COLON,
    ZONE_HOUR,
    ZONE_Z_HOUR,
};

/* Longer spellings first. */
static const struct {
    const char *text;
    enum element e;
} spellings[] = {
    {"January", MONTH_LONG},
    {"Monday", WEEKDAY_LONG},
    {"2006", YEAR4},
    {"Jan", MONTH_SHORT},
    {"Mon", WEEKDAY_SHORT},
    {"MST", ZONE_NAME},
    {"Z07:00", ZONE_Z_COLON},
    {"Z0700", ZONE_Z},
    {"Z07", ZONE_Z_HOUR},
    {"-07:00", ZONE_COLON},
    {"-0700", ZONE},
    {"-07", ZONE_HOUR},
    {"002", YEAR_DAY},
    {"01", MONTH2},
    {"02", DAY2},
    {"03", HOUR12_2},
    {"04", MINUTE2},
    {"05", SECOND2},
    {"06", YEAR2},
    {"15", HOUR24},
    {"_2", DAY_PAD},
    {"PM", UPPER_PM},
    {"pm", LOWER_PM},
    {"1", MONTH},
    {"2", DAY},
    {"3", HOUR12},
    {"4", MINUTE},
    {"5", SECOND},
};

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

/* .000 or .999 (also with a comma), not followed by a digit. */
static size_t fraction_len(struct ks_slice s)
{
    if (s.len < 2 || (s.ptr[0] != '.' && s.ptr[0] != ',') || (s.ptr[1] != '0' && s.ptr[1] != '9'))
        return 0;
    size_t n = 1;
    while (n < s.len && s.ptr[n] == s.ptr[1])
        n++;
    return n < s.len && isdigit((unsigned char)s.ptr[n]) ? 0 : n;
}

/* The next element of a layout and its spelling. */
static enum element next_element(struct ks_slice *layout, struct ks_slice *ret)
{
    size_t n = fraction_len(*layout), len = 1;
    enum element e = LITERAL;
    if (n) {
        e = FRACTION;
        len = n;
    }
    for (size_t i = 0; !n && i < sizeof spellings / sizeof *spellings; i++)
        if (ks_slice_has_prefix(*layout, ks_slice_str(spellings[i].text))) {
            e = spellings[i].e;
            len = strlen(spellings[i].text);
            break;
        }
    *ret = ks_slice(layout->ptr, len);
    *layout = ks_slice_from(*layout, len);
    return e;
}

/* --- reading --- */
struct moment {
    int64_t year;
    unsigned month, day, year_day, hour, minute, second, ms;
    bool pm, am;
    int zone_minutes;
};

static bool number(struct ks_slice *s, size_t min, size_t max, unsigned *ret)
{
    size_t n = 0;
    *ret = 0;
    while (n < max && n < s->len && isdigit((unsigned char)s->ptr[n]))
        *ret = *ret * 10 + (unsigned)(s->ptr[n++] - '0');
    *s = ks_slice_from(*s, n);
    return n >= min;
}

static bool name(struct ks_slice *s, const char *const *names, unsigned count, bool full,
                 unsigned *ret)
{
    for (unsigned i = 0; i < count; i++) {
        size_t len = full ? strlen(names[i]) : 3;
        if (s->len >= len && strncasecmp(s->ptr, names[i], len) == 0) {
            *ret = i;
            *s = ks_slice_from(*s, len);
            return true;
        }
    }
    return false;
}

/* Any number of digits behind a point; absent is fine. */
static bool fraction(struct ks_slice *s, unsigned *ret_ms)
{
    if (!s->len || (s->ptr[0] != '.' && s->ptr[0] != ',') || s->len < 2 ||
        !isdigit((unsigned char)s->ptr[1]))
        return true;
    unsigned scale = 100;
    *s = ks_slice_from(*s, 1);
    for (; s->len && isdigit((unsigned char)s->ptr[0]); *s = ks_slice_from(*s, 1), scale /= 10)
        *ret_ms += scale * (unsigned)(s->ptr[0] - '0');
    return true;
}

static bool zone(struct ks_slice *s, bool z, bool colon, bool minutes, int *ret)
{
    unsigned h, m = 0;
    if (z && s->len && s->ptr[0] == 'Z') {
        *s = ks_slice_from(*s, 1);
        return true;
    }
    if (!s->len || (s->ptr[0] != '+' && s->ptr[0] != '-'))
        return false;
    bool negative = s->ptr[0] == '-';
    *s = ks_slice_from(*s, 1);
    if (!number(s, 2, 2, &h))
        return false;
    if (colon) {
        if (!s->len || s->ptr[0] != ':')
            return false;
        *s = ks_slice_from(*s, 1);
    }
    if ((minutes && !number(s, 2, 2, &m)) || h > 24 || m > 59)
        return false;
    *ret = (int)(h * 60 + m) * (negative ? -1 : 1);
    return true;
}

static bool zone_name(struct ks_slice *s)
{
    static const char *const known[] = {"UTC", "GMT", "Z"};
    for (size_t i = 0; i < 3; i++)
        if (ks_slice_has_prefix(*s, ks_slice_str(known[i]))) {
            *s = ks_slice_from(*s, strlen(known[i]));
            return true;
        }
    return false;
}

static bool read_date(enum element e, struct ks_slice *s, struct moment *t)
{
    unsigned v;
    bool ok;
    switch (e) {
    case YEAR4:
    case YEAR2:
        ok = e == YEAR4 ? number(s, 4, 4, &v) : number(s, 2, 2, &v);
        t->year = e == YEAR4 ? v : v + (v >= 69 ? 1900 : 2000);
        return ok;
    case MONTH2:
        return number(s, 2, 2, &t->month);
    case MONTH:
        return number(s, 1, 2, &t->month);
    case MONTH_SHORT:
    case MONTH_LONG:
        ok = name(s, months, 12, e == MONTH_LONG, &t->month);
        t->month++;
        return ok;
    case DAY2:
        return number(s, 2, 2, &t->day);
    case DAY_PAD:
        if (s->len && s->ptr[0] == ' ')
            *s = ks_slice_from(*s, 1);
        return number(s, 1, 2, &t->day);
    case DAY:
        return number(s, 1, 2, &t->day);
    case YEAR_DAY:
        return number(s, 3, 3, &t->year_day) && t->year_day > 0;
    default: /* weekdays are read and not used */
        return name(s, weekdays, 7, e == WEEKDAY_LONG, &v);
    }
}

static bool read_time(enum element e, struct ks_slice *s, struct moment *t)
{
    switch (e) {
    case HOUR24:
    case HOUR12_2:
        return number(s, 2, 2, &t->hour);
    case HOUR12:
        return number(s, 1, 2, &t->hour);
    case MINUTE2:
        return number(s, 2, 2, &t->minute);
    case MINUTE:
        return number(s, 1, 2, &t->minute);
    case SECOND2:
    case SECOND:
        return number(s, e == SECOND2 ? 2 : 1, 2, &t->second) && fraction(s, &t->ms);
    case FRACTION: /* taken with the seconds */
        return fraction(s, &t->ms);
    case UPPER_PM:
    case LOWER_PM:
        if (s->len < 2 || tolower((unsigned char)s->ptr[1]) != 'm')
            return false;
        t->pm = tolower((unsigned char)s->ptr[0]) == 'p';
        t->am = tolower((unsigned char)s->ptr[0]) == 'a';
        *s = ks_slice_from(*s, 2);
        return t->pm || t->am;
    case ZONE_NAME:
        return zone_name(s);
    default:
        return zone(s, e == ZONE_Z || e == ZONE_Z_COLON || e == ZONE_Z_HOUR,
                    e == ZONE_COLON || e == ZONE_Z_COLON, e != ZONE_HOUR && e != ZONE_Z_HOUR,
                    &t->zone_minutes);
    }
}

static bool valid(const struct moment *t)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (t->year % 4 == 0 && t->year % 100 != 0) || t->year % 400 == 0;
    if (t->month < 1 || t->month > 12 || t->hour > 23 || t->minute > 59 || t->second > 59 ||
        ((t->pm || t->am) && t->hour > 12))
        return false;
    if (t->year_day > 365u + leap)
        return false;
    return t->day >= 1 && t->day <= days[t->month - 1] + (leap && t->month == 2);
}

bool ks_go_time_parse(struct ks_slice layout, struct ks_slice text, int64_t *ret_ms)
{
    struct moment t = {.year = 0, .month = 1, .day = 1};
    while (layout.len) {
        struct ks_slice spelling;
        enum element e = next_element(&layout, &spelling);
        bool ok = e == LITERAL        ? ks_slice_has_prefix(text, spelling)
                  : e <= WEEKDAY_LONG ? read_date(e, &text, &t)
                                      : read_time(e, &text, &t);
        if (!ok)
            return false;
        if (e == LITERAL)
            text = ks_slice_from(text, 1);
    }
    if (text.len || !valid(&t))
        return false;
    unsigned hour = t.pm ? t.hour % 12 + 12 : t.am ? t.hour % 12 : t.hour;
    int64_t day = t.year_day ? ks_days_from_civil(t.year, 1, 1) + t.year_day - 1
                             : ks_days_from_civil(t.year, t.month, t.day);
    *ret_ms = day * KS_MS_DAY + hour * KS_MS_HOUR + t.minute * KS_MS_MINUTE +
              t.second * KS_MS_SECOND + t.ms - t.zone_minutes * KS_MS_MINUTE;
    return true;
}

/* --- writing --- */
static void put_fraction(struct ks_slice spelling, unsigned ms, struct ks_buf *out)
{
    char digits[16];
    size_t n = spelling.len - 1;
    digits[0] = (char)('0' + ms / 100);
    digits[1] = (char)('0' + ms / 10 % 10);
    digits[2] = (char)('0' + ms % 10);
    if (n > 9)
        n = 9;
    memset(digits + 3, '0', sizeof digits - 3);
    while (spelling.ptr[1] == '9' && n && digits[n - 1] == '0')
        n--;
    if (!n)
        return;
    ks_buf_byte(out, (uint8_t)spelling.ptr[0]);
    ks_buf_add(out, digits, n);
}

static void put_element(enum element e, struct ks_slice spelling, const struct moment *t,
                        unsigned weekday, struct ks_buf *out)
{
    unsigned hour12 = t->hour % 12 ? t->hour % 12 : 12;
    switch (e) {
    case YEAR4:
        ks_buf_printf(out, "%04lld", (long long)t->year);
        break;
    case YEAR2:
        ks_buf_printf(out, "%02lld", (long long)(t->year % 100));
        break;
    case MONTH2:
        ks_buf_printf(out, "%02u", t->month);
        break;
    case MONTH:
        ks_buf_printf(out, "%u", t->month);
        break;
    case MONTH_SHORT:
        ks_buf_add(out, months[t->month - 1], 3);
        break;
    case MONTH_LONG:
        ks_buf_str(out, months[t->month - 1]);
        break;
    case DAY2:
        ks_buf_printf(out, "%02u", t->day);
        break;
    case DAY_PAD:
        ks_buf_printf(out, "%2u", t->day);
        break;
    case DAY:
        ks_buf_printf(out, "%u", t->day);
        break;
    case YEAR_DAY:
        ks_buf_printf(out, "%03u", t->year_day);
        break;
    case WEEKDAY_SHORT:
        ks_buf_add(out, weekdays[weekday], 3);
        break;
    case WEEKDAY_LONG:
        ks_buf_str(out, weekdays[weekday]);
        break;
    case HOUR24:
        ks_buf_printf(out, "%02u", t->hour);
        break;
    case HOUR12_2:
        ks_buf_printf(out, "%02u", hour12);
        break;
    case HOUR12:
        ks_buf_printf(out, "%u", hour12);
        break;
    case MINUTE2:
        ks_buf_printf(out, "%02u", t->minute);
        break;
    case MINUTE:
        ks_buf_printf(out, "%u", t->minute);
        break;
    case SECOND2:
        ks_buf_printf(out, "%02u", t->second);
        break;
    case SECOND:
        ks_buf_printf(out, "%u", t->second);
        break;
    case UPPER_PM:
        ks_buf_str(out, t->hour >= 12 ? "PM" : "AM");
        break;
    case LOWER_PM:
        ks_buf_str(out, t->hour >= 12 ? "pm" : "am");
        break;
    case FRACTION:
        put_fraction(spelling, t->ms, out);
        break;
    case ZONE_NAME:
        ks_buf_str(out, "UTC");
        break;
    case ZONE_Z:
    case ZONE_Z_COLON:
    case ZONE_Z_HOUR:
        ks_buf_byte(out, 'Z');
        break;
    case ZONE:
        ks_buf_str(out, "+0000");
        break;
    case ZONE_COLON:
        ks_buf_str(out, "+00:00");
        break;
    case ZONE_HOUR:
        ks_buf_str(out, "+00");
        break;
    case LITERAL:
        ks_buf_slice(out, spelling);
        break;
    }
}

void ks_go_time_format(struct ks_slice layout, int64_t ms, struct ks_buf *out)
{
    int64_t day = ks_day_of_ms(ms), rest = ms - day * KS_MS_DAY;
    struct moment t = {.hour = (unsigned)(rest / KS_MS_HOUR),
                       .minute = (unsigned)(rest / KS_MS_MINUTE % 60)};
    t.second = (unsigned)(rest / KS_MS_SECOND % 60);
    t.ms = (unsigned)(rest % 1000);
    ks_civil_from_days(day, &t.year, &t.month, &t.day);
    t.year_day = (unsigned)(day - ks_days_from_civil(t.year, 1, 1)) + 1;
    unsigned weekday = (unsigned)(((day + 4) % 7 + 7) % 7);
    while (layout.len) {
        struct ks_slice spelling;
        enum element e = next_element(&layout, &spelling);
        put_element(e, spelling, &t, weekday, out);
    }
}
