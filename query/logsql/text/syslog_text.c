/* See syslog_text.h. What is odd here (a facility of 124, rfc3164 for anything) is VictoriaLogs'.
 */
#include "query/logsql/text/syslog_text.h"

#include "base/num.h"
#include "base/time.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/pipes/value_key.h"

struct parser {
    struct ks_slice s; /* the rest */
    struct ks_arena *arena;
    struct ksi_json_fields *out;
    int64_t now_ns, offset_ns;
};

static ks_err add(struct parser *p, struct ks_slice name, struct ks_slice value)
{
    struct ksi_json_fields *f = p->out;
    if (!value.len)
        return KS_OK;
    KS_TRY(ks_arena_grow(p->arena, (void **)&f->items, &f->cap, f->count + 1, sizeof *f->items));
    f->items[f->count++] = (struct ksi_json_field){name, value};
    return KS_OK;
}

static ks_err add_number(struct parser *p, struct ks_slice name, uint64_t v)
{
    char *text = ks_arena_alloc(p->arena, 20);
    if (!text)
        return ks_arena_err(p->arena);
    return add(p, name, ks_slice(text, ks_u64_format(text, v)));
}

const char *ks_syslog_facility(uint64_t priority)
{
    static const char *const words[] = {
        "kern",   "user",   "mail",     "daemon", "auth",   "syslog",   "lpr",     "news",
        "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "security", "console", "solaris-cron",
        "local0", "local1", "local2",   "local3", "local4", "local5",   "local6",  "local7"};
    return priority / 8 < sizeof words / sizeof *words ? words[priority / 8] : "unknown";
}

const char *ks_syslog_level(uint64_t priority)
{
    static const char *const words[] = {"emerg",   "alert",  "critical", "error",
                                        "warning", "notice", "info",     "debug"};
    return words[priority % 8];
}

static ks_err add_priority(struct parser *p, uint64_t priority)
{
    KS_TRY(add_number(p, KS_SLICE_LIT("facility"), priority / 8));
    KS_TRY(add(p, KS_SLICE_LIT("facility_keyword"), ks_slice_str(ks_syslog_facility(priority))));
    KS_TRY(add_number(p, KS_SLICE_LIT("severity"), priority % 8));
    return add(p, KS_SLICE_LIT("level"), ks_slice_str(ks_syslog_level(priority)));
}

/* The text up to the next c; false when there is none: then all of it, and the rest is empty. */
static bool take_until(struct parser *p, char c, struct ks_slice *ret)
{
    const char *at = p->s.len ? memchr(p->s.ptr, c, p->s.len) : NULL;
    *ret = at ? ks_slice(p->s.ptr, (size_t)(at - p->s.ptr)) : p->s;
    p->s = ks_slice_from(p->s, ret->len + (at != NULL));
    return at != NULL;
}

/* ---------------------------------------------------------------- RFC 5424 */

/* "value" with \" \\ \] escapes, behind the '='. */
static ks_err param_value(struct parser *p, struct ks_slice *ret, bool *ret_ok)
{
    *ret_ok = false;
    if (!p->s.len || p->s.ptr[0] != '"')
        return KS_OK;
    size_t i = 1;
    bool escapes = false;
    while (i < p->s.len && p->s.ptr[i] != '"') {
        bool escape = p->s.ptr[i] == '\\';
        escapes |= escape;
        i += 1 + escape;
    }
    if (i >= p->s.len)
        return KS_OK;
    struct ks_slice body = ks_slice(p->s.ptr + 1, i - 1);
    p->s = ks_slice_from(p->s, i + 1);
    *ret_ok = true;
    *ret = body;
    if (!escapes)
        return KS_OK;
    char *out = ks_arena_alloc(p->arena, body.len);
    size_t n = 0;
    if (!out)
        return ks_arena_err(p->arena);
    for (i = 0; i < body.len; i++) {
        char next = i + 1 < body.len ? body.ptr[i + 1] : 0;
        i += body.ptr[i] == '\\' && (next == '"' || next == '\\' || next == ']');
        out[n++] = body.ptr[i];
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

/* id.name */
static ks_err param_name(struct parser *p, struct ks_slice id, struct ks_slice name,
                         struct ks_slice *ret)
{
    *ret = ks_arena_printf(p->arena, "%.*s.%.*s", KS_SLICE_ARG(id), KS_SLICE_ARG(name));
    return ret->ptr ? KS_OK : ks_arena_err(p->arena);
}

/* One [id name="value" …]; *ret_ok is false when it is broken. */
static ks_err sd_element(struct parser *p, bool *ret_ok)
{
    size_t n = 0;
    *ret_ok = false;
    p->s = ks_slice_from(p->s, 1);
    while (n < p->s.len && p->s.ptr[n] != ' ' && p->s.ptr[n] != ']')
        n++;
    struct ks_slice id = ks_slice(p->s.ptr, n), name, value;
    p->s = ks_slice_from(p->s, n);
    while (p->s.len) {
        if (p->s.ptr[0] == ']') {
            p->s = ks_slice_from(p->s, 1);
            *ret_ok = true;
            return KS_OK;
        }
        if (p->s.ptr[0] == ' ') {
            p->s = ks_slice_from(p->s, 1);
            continue;
        }
        bool ok;
        if (!take_until(p, '=', &name))
            return KS_OK;
        KS_TRY(param_value(p, &value, &ok));
        if (!ok)
            return KS_OK;
        KS_TRY(param_name(p, id, name, &name));
        KS_TRY(add(p, name, value));
    }
    return KS_OK;
}

static ks_err rfc5424(struct parser *p)
{
    static const char *const names[] = {"timestamp", "hostname", "app_name", "proc_id", "msg_id"};
    KS_TRY(add(p, KS_SLICE_LIT("format"), KS_SLICE_LIT("rfc5424")));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct ks_slice v;
        bool more = take_until(p, ' ', &v);
        KS_TRY(add(p, ks_slice_str(names[i]), v));
        if (!more)
            return KS_OK;
    }
    if (p->s.len && p->s.ptr[0] == '-') {
        p->s = ks_slice_from(p->s, 1);
    } else {
        if (!p->s.len || p->s.ptr[0] != '[')
            return KS_OK;
        while (p->s.len && p->s.ptr[0] == '[') {
            bool ok;
            KS_TRY(sd_element(p, &ok));
            if (!ok)
                return KS_OK;
        }
    }
    if (p->s.len && p->s.ptr[0] == ' ')
        p->s = ks_slice_from(p->s, 1);
    return add(p, KS_SLICE_LIT("message"), p->s);
}

/* ---------------------------------------------------------------- RFC 3164 */

static bool two_digits(struct ks_slice s, size_t at, bool blank, unsigned max, unsigned *ret)
{
    char a = s.ptr[at], b = s.ptr[at + 1];
    if (blank && a == ' ')
        a = '0';
    if (a < '0' || a > '9' || b < '0' || b > '9')
        return false;
    *ret = (unsigned)(a - '0') * 10 + (unsigned)(b - '0');
    return *ret <= max;
}

/* "Jan _2 15:04:05" in the year that puts it at most a day ahead of now. */
static bool month_time(const struct parser *p, int64_t *ret_ns)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct ks_slice s = p->s;
    unsigned month, day, h, m, sec;
    if (s.len < 15 || s.ptr[3] != ' ' || s.ptr[6] != ' ' || s.ptr[9] != ':' || s.ptr[12] != ':')
        return false;
    for (month = 0; month < 12 && memcmp(s.ptr, months + 3 * month, 3) != 0;)
        month++;
    static const unsigned char days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month == 12 || !two_digits(s, 4, true, days[month], &day) || !day ||
        !two_digits(s, 7, false, 23, &h) || !two_digits(s, 10, false, 59, &m) ||
        !two_digits(s, 13, false, 59, &sec))
        return false;
    int64_t year, now_days = p->now_ns / KS_LQ_NS_DAY - (p->now_ns % KS_LQ_NS_DAY < 0);
    unsigned now_month, now_day;
    ks_civil_from_days(now_days, &year, &now_month, &now_day);
    for (int back = 0; back < 2; back++, year--) {
        int64_t at = ks_days_from_civil(year, month + 1, day) * 86400 + h * 3600 + m * 60 + sec;
        if (__builtin_mul_overflow(at, KS_LQ_NS_SECOND, ret_ns) ||
            __builtin_sub_overflow(*ret_ns, p->offset_ns, ret_ns))
            return false;
        if (*ret_ns - KS_LQ_NS_DAY <= p->now_ns)
            break;
    }
    return true;
}

/* 2006-01-02T15:04:05.000Z */
static ks_err add_month_time(struct parser *p, int64_t ns)
{
    char *text = ks_arena_alloc(p->arena, 32);
    if (!text)
        return ks_arena_err(p->arena);
    int64_t ms = ns / 1000000 - (ns % 1000000 < 0);
    return add(p, KS_SLICE_LIT("timestamp"), ks_slice(text, ks_time_format_rfc3339_ms(text, ms)));
}

/* An RFC 3339 time as rsyslog's high-precision form has it. */
static bool iso_time(struct parser *p, struct ks_slice *ret)
{
    const char *at = p->s.len ? memchr(p->s.ptr, ' ', p->s.len) : NULL;
    int64_t ns;
    *ret = at ? ks_slice(p->s.ptr, (size_t)(at - p->s.ptr)) : p->s;
    return ret->len >= 20 && ret->ptr[10] == 'T' && ks_lq_parse_rfc3339(*ret, &ns);
}

/* "app[proc]: message", behind the host. */
static ks_err tag_and_message(struct parser *p)
{
    size_t n = 0;
    struct ks_slice proc;
    while (n < p->s.len && p->s.ptr[n] != '[' && p->s.ptr[n] != ':' && p->s.ptr[n] != ' ')
        n++;
    KS_TRY(add(p, KS_SLICE_LIT("app_name"), ks_slice(p->s.ptr, n)));
    p->s = ks_slice_from(p->s, n);
    if (p->s.len && p->s.ptr[0] == '[') {
        p->s = ks_slice_from(p->s, 1);
        if (!take_until(p, ']', &proc))
            return KS_OK;
        KS_TRY(add(p, KS_SLICE_LIT("proc_id"), proc));
    }
    if (p->s.len && p->s.ptr[0] == ':')
        p->s = ks_slice_from(p->s, 1);
    if (p->s.len && p->s.ptr[0] == ' ')
        p->s = ks_slice_from(p->s, 1);
    return add(p, KS_SLICE_LIT("message"), p->s);
}

static ks_err rfc3164(struct parser *p)
{
    int64_t ns;
    struct ks_slice v;
    KS_TRY(add(p, KS_SLICE_LIT("format"), KS_SLICE_LIT("rfc3164")));
    if (month_time(p, &ns)) {
        KS_TRY(add_month_time(p, ns));
        p->s = ks_slice_from(p->s, 15);
    } else if (iso_time(p, &v)) {
        KS_TRY(add(p, KS_SLICE_LIT("timestamp"), v));
        p->s = ks_slice_from(p->s, v.len);
    } else {
        return add(p, KS_SLICE_LIT("message"), p->s);
    }
    if (!p->s.len)
        return KS_OK;
    if (p->s.ptr[0] != ' ')
        return add(p, KS_SLICE_LIT("message"), p->s);
    p->s = ks_slice_from(p->s, 1);
    bool more = take_until(p, ' ', &v);
    KS_TRY(add(p, KS_SLICE_LIT("hostname"), v));
    return more ? tag_and_message(p) : KS_OK;
}

ks_err ksi_lq_syslog_fields(struct ks_slice text, int64_t now_ns, int64_t offset_ns,
                            struct ks_arena *arena, struct ksi_json_fields *out)
{
    struct parser p = {text, arena, out, now_ns, offset_ns};
    struct ks_slice pri;
    uint64_t priority;
    if (!text.len)
        return KS_OK;
    if (text.ptr[0] != '<')
        return rfc3164(&p);
    p.s = ks_slice_from(p.s, 1);
    if (!take_until(&p, '>', &pri))
        return KS_OK;
    KS_TRY(add(&p, KS_SLICE_LIT("priority"), pri));
    if (!ks_lq_parse_u64(pri, &priority))
        return KS_OK;
    KS_TRY(add_priority(&p, priority));
    if (!p.s.len)
        return KS_OK;
    if (p.s.len >= 2 && p.s.ptr[0] == '1' && p.s.ptr[1] == ' ') {
        p.s = ks_slice_from(p.s, 2);
        return rfc5424(&p);
    }
    return rfc3164(&p);
}
