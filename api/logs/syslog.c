#include "api/logs/syslog.h"

#include <stdio.h>
#include <time.h>

#include "api/logs/log_json.h"
#include "api/logs/log_time.h"
#include "base/num.h"
#include "base/time.h"
#include "query/logsql/text/syslog_text.h"

enum { STAMP_BYTES = 15, OCTET_DIGITS = 7, DAY_S = 86400 };

struct parser {
    struct ks_log_ingest *in;
    const struct ks_syslog_opts *opts;
    struct ks_slice s; /* what is left */
    int64_t time_ns;
};

static ks_err add(struct parser *p, const char *name, struct ks_slice value)
{
    return ks_log_add(p->in, ks_slice_str(name), value);
}

static ks_err add_number(struct parser *p, const char *name, uint64_t v)
{
    char *out = ks_arena_alloc(p->in->arena, 24);
    if (!out)
        return ks_arena_err(p->in->arena);
    return add(p, name, ks_slice(out, ks_u64_format(out, v)));
}

/* What stands before the blank; all when there is none (*ret_last). */
static struct ks_slice word(struct parser *p, bool *ret_last)
{
    const char *blank = p->s.len ? memchr(p->s.ptr, ' ', p->s.len) : NULL;
    size_t n = blank ? (size_t)(blank - p->s.ptr) : p->s.len;
    struct ks_slice w = ks_slice(p->s.ptr, n);
    *ret_last = !blank;
    p->s = ks_slice_from(p->s, blank ? n + 1 : n);
    return w;
}

/* The first byte of `set` in s, or its length. */
static size_t span_to(struct ks_slice s, const char *set)
{
    size_t i = 0;
    while (i < s.len && !(s.ptr[i] && strchr(set, s.ptr[i])))
        i++;
    return i;
}

/* --- messages within messages --- */
static size_t unescaped(struct ks_slice s, char c)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == c)
            return i;
    }
    return SIZE_MAX;
}

static ks_err cef_text(struct parser *p, struct ks_slice s, struct ks_slice *ret)
{
    *ret = s;
    if (!s.len || !memchr(s.ptr, '\\', s.len))
        return KS_OK;
    char *out = ks_arena_alloc(p->in->arena, s.len), *o = out;
    if (!out)
        return ks_arena_err(p->in->arena);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' && i + 1 < s.len) {
            c = s.ptr[++i];
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        *o++ = c;
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

static ks_err cef_pair(struct parser *p, struct ks_slice key, struct ks_slice value)
{
    static const char prefix[] = "cef.extension.";
    size_t n = sizeof prefix - 1;
    KS_TRY(cef_text(p, key, &key));
    KS_TRY(cef_text(p, value, &value));
    char *name = ks_arena_alloc(p->in->arena, n + key.len);
    if (!name)
        return ks_arena_err(p->in->arena);
    memcpy(name, prefix, n);
    if (key.len)
        memcpy(name + n, key.ptr, key.len);
    return ks_log_add(p->in, ks_slice(name, n + key.len), value);
}

/* key=value key=value …: a value ends before the last blank in front of the next key. */
static ks_err cef_extension(struct parser *p, struct ks_slice s, bool *ret_ok)
{
    *ret_ok = true;
    while (s.len) {
        size_t eq = unescaped(s, '=');
        if (eq == SIZE_MAX) {
            *ret_ok = false;
            return KS_OK;
        }
        struct ks_slice key = ks_slice_trim(ks_slice(s.ptr, eq));
        s = ks_slice_from(s, eq + 1);
        size_t end = unescaped(s, '=');
        if (end == SIZE_MAX)
            return cef_pair(p, key, s);
        while (end && s.ptr[end - 1] != ' ')
            end--;
        if (!end) {
            *ret_ok = false;
            return KS_OK;
        }
        KS_TRY(cef_pair(p, key, ks_slice(s.ptr, end - 1)));
        s = ks_slice_from(s, end);
    }
    return KS_OK;
}

static ks_err cef(struct parser *p, struct ks_slice s, bool *ret_ok)
{
    static const char *const names[] = {
        "cef.version",        "cef.device_vendor",         "cef.device_product",
        "cef.device_version", "cef.device_event_class_id", "cef.name",
        "cef.severity"};
    *ret_ok = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t bar = unescaped(s, '|');
        struct ks_slice value;
        if (bar == SIZE_MAX)
            return KS_OK;
        KS_TRY(cef_text(p, ks_slice(s.ptr, bar), &value));
        KS_TRY(add(p, names[i], value));
        s = ks_slice_from(s, bar + 1);
    }
    return cef_extension(p, s, ret_ok);
}

/* CEF and @cee messages become fields; one that is malformed stays text. */
static ks_err message(struct parser *p, struct ks_slice s, bool is_cef)
{
    struct ks_log_ingest *in = p->in;
    size_t mark = in->field_count;
    bool ok = false;
    if (ks_slice_has_prefix(s, KS_SLICE_LIT("CEF:"))) {
        KS_TRY(cef(p, ks_slice_from(s, 4), &ok));
    } else if (is_cef) {
        KS_TRY(cef(p, s, &ok));
    } else if (ks_slice_has_prefix(s, KS_SLICE_LIT("@cee:"))) {
        ks_err err = ks_log_json_line(ks_slice_from(s, 5), in, in->arena);
        if (err != KS_OK && err != KS_EPARSE)
            return err;
        ok = err == KS_OK;
    }
    if (ok)
        return KS_OK;
    ks_log_rewind(in, mark);
    return add(p, "_msg", s);
}

/* --- RFC 5424 --- */
static ks_err sd_name(struct parser *p, struct ks_slice id, struct ks_slice name,
                      struct ks_slice *ret)
{
    *ret = name;
    if (!id.len)
        return KS_OK;
    char *out = ks_arena_alloc(p->in->arena, id.len + 1 + name.len);
    if (!out)
        return ks_arena_err(p->in->arena);
    memcpy(out, id.ptr, id.len);
    out[id.len] = '.';
    if (name.len)
        memcpy(out + id.len + 1, name.ptr, name.len);
    *ret = ks_slice(out, id.len + 1 + name.len);
    return KS_OK;
}

/* "value" with \" \\ \] inside; p->s is behind the opening quote. False: it does not end. */
static bool sd_quoted(struct parser *p, struct ks_slice *ret, ks_err *err)
{
    size_t i = 0;
    bool escapes = false;
    struct ks_slice s = p->s;
    for (; i < s.len && s.ptr[i] != '"'; i++)
        if (s.ptr[i] == '\\' && i + 1 < s.len) {
            escapes = true;
            i++;
        }
    if (i >= s.len)
        return false;
    *ret = ks_slice(s.ptr, i);
    p->s = ks_slice_from(s, i + 1);
    if (!escapes)
        return true;
    char *out = ks_arena_alloc(p->in->arena, i), *o = out;
    if (!out) {
        *err = ks_arena_err(p->in->arena);
        return false;
    }
    for (size_t k = 0; k < i; k++) {
        if (s.ptr[k] == '\\' && k + 1 < i && strchr("\"\\]", s.ptr[k + 1]) && s.ptr[k + 1])
            k++;
        *o++ = s.ptr[k];
    }
    *ret = ks_slice(out, (size_t)(o - out));
    return true;
}

/* One parameter; false when malformed. */
static bool sd_param(struct parser *p, struct ks_slice id, ks_err *err)
{
    size_t n = span_to(p->s, "= ]");
    struct ks_slice name = ks_slice(p->s.ptr, n), value;
    if (n == p->s.len || p->s.ptr[n] != '=')
        return false;
    p->s = ks_slice_from(p->s, n + 1);
    if (p->s.len && p->s.ptr[0] == '"') {
        p->s = ks_slice_from(p->s, 1);
        if (!sd_quoted(p, &value, err))
            return false;
    } else {
        n = span_to(p->s, " ]");
        if (n == p->s.len)
            return false;
        value = ks_slice(p->s.ptr, n);
        p->s = ks_slice_from(p->s, n);
    }
    *err = sd_name(p, id, name, &name);
    if (*err == KS_OK)
        *err = ks_log_add(p->in, name, value);
    return *err == KS_OK;
}

/* [id a="b" c="d"]; p->s is at the bracket. False when malformed. */
static bool sd_element(struct parser *p, ks_err *err)
{
    p->s = ks_slice_from(p->s, 1);
    size_t n = span_to(p->s, " ]");
    if (n == p->s.len)
        return false;
    struct ks_slice id = ks_slice(p->s.ptr, n);
    const char *eq = n ? memchr(id.ptr, '=', n) : NULL;
    p->s = ks_slice_from(p->s, n);
    if (eq) { /* no id at all but a parameter */
        size_t at = (size_t)(eq - id.ptr);
        *err = ks_log_add(p->in, ks_slice(id.ptr, at), ks_slice_from(id, at + 1));
        id.len = 0;
    }
    while (*err == KS_OK && p->s.len && p->s.ptr[0] != ']') {
        if (p->s.ptr[0] == ' ')
            p->s = ks_slice_from(p->s, 1);
        else if (!sd_param(p, id, err))
            return false;
    }
    if (*err != KS_OK || !p->s.len)
        return false;
    p->s = ks_slice_from(p->s, 1);
    return true;
}

/* "-" or elements; what does not fit is the message, so that nothing is lost. */
static ks_err structured_data(struct parser *p)
{
    ks_err err = KS_OK;
    if (p->s.len && p->s.ptr[0] == '-' && (p->s.len == 1 || p->s.ptr[1] == ' ')) {
        p->s = ks_slice_from(p->s, p->s.len > 1 ? 2 : 1);
        return KS_OK;
    }
    while (p->s.len && p->s.ptr[0] == '[') {
        struct ks_slice before = p->s;
        size_t mark = p->in->field_count;
        if (!sd_element(p, &err)) {
            KS_TRY(err);
            ks_log_rewind(p->in, mark);
            p->s = before;
            return KS_OK;
        }
    }
    if (p->s.len && p->s.ptr[0] == ' ')
        p->s = ks_slice_from(p->s, 1);
    return KS_OK;
}

static ks_err rfc5424(struct parser *p)
{
    static const char *const names[] = {"timestamp", "hostname", "app_name", "proc_id", "msg_id"};
    bool last;
    KS_TRY(add(p, "format", KS_SLICE_LIT("rfc5424")));
    for (size_t i = 0; i < 5; i++) {
        if (!p->s.len)
            return KS_OK;
        struct ks_slice w = word(p, &last);
        bool is_time =
            i == 0 && !p->opts->local_time && ks_log_time_parse(w, p->in->now_ns, &p->time_ns);
        if (!is_time)
            KS_TRY(add(p, names[i], w));
        if (last)
            return KS_OK;
    }
    KS_TRY(structured_data(p));
    if (ks_slice_has_prefix(p->s, KS_SLICE_LIT("\xef\xbb\xbf"))) /* the mark RFC 5424 wants */
        p->s = ks_slice_from(p->s, 3);
    return p->s.len ? message(p, p->s, false) : KS_OK;
}

/* --- RFC 3164 --- */
/* "Jan  2 15:04:05"; the year is the one that makes it no more than a day ahead of now. */
static bool stamp(const struct parser *p, struct ks_slice s, int64_t *ret_ns)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    unsigned f[4], m = 0;
    char text[STAMP_BYTES + 1];
    memcpy(text, s.ptr, STAMP_BYTES);
    text[STAMP_BYTES] = 0;
    while (m < 12 && memcmp(months + 3 * m, text, 3) != 0)
        m++;
    if (m == 12 || text[3] != ' ' || text[6] != ' ' || text[9] != ':' || text[12] != ':')
        return false;
    if (text[4] == ' ')
        text[4] = '0';
    for (size_t i = 0; i < 4; i++) {
        unsigned a = (unsigned)(text[4 + 3 * i] - '0'), b = (unsigned)(text[5 + 3 * i] - '0');
        if (a > 9 || b > 9)
            return false;
        f[i] = a * 10 + b;
    }
    if (f[0] < 1 || f[0] > 31 || f[1] > 23 || f[2] > 59 || f[3] > 60)
        return false;
    int64_t now_s = p->in->now_ns / 1000000000, year, unix_s;
    unsigned month, day;
    int64_t zone = p->opts->utc ? 0 : ks_log_zone_offset_s(now_s);
    ks_civil_from_days((now_s + zone) / DAY_S, &year, &month, &day);
    for (int back = 0;; back++) {
        unix_s =
            ks_days_from_civil(year - back, m + 1, f[0]) * DAY_S + f[1] * 3600 + f[2] * 60 + f[3];
        if (!p->opts->utc)
            unix_s -= ks_log_zone_offset_s(unix_s - zone);
        if (back || unix_s <= now_s + DAY_S)
            break;
    }
    *ret_ns = unix_s * 1000000000;
    return true;
}

/* The time at the front, cut off; false: there is none. */
static bool rfc3164_time(struct parser *p)
{
    struct ks_slice s = p->s;
    int64_t ns;
    if (s.len < STAMP_BYTES)
        return false;
    size_t n = STAMP_BYTES;
    if (s.ptr[10] == 'T') {
        const char *blank = memchr(s.ptr, ' ', s.len);
        n = blank ? (size_t)(blank - s.ptr) : s.len;
        if (!blank || !ks_log_time_rfc3339(ks_slice(s.ptr, n), &ns))
            return false;
    } else if (!stamp(p, s, &ns)) {
        return false;
    }
    if (!p->opts->local_time)
        p->time_ns = ns;
    p->s = ks_slice_from(s, n);
    return true;
}

static ks_err rfc3164(struct parser *p)
{
    KS_TRY(add(p, "format", KS_SLICE_LIT("rfc3164")));
    if (!rfc3164_time(p))
        return message(p, p->s, false);
    if (!p->s.len)
        return KS_OK;
    if (p->s.ptr[0] != ' ')
        return message(p, p->s, false);
    p->s = ks_slice_from(p->s, 1);
    const char *blank = p->s.len ? memchr(p->s.ptr, ' ', p->s.len) : NULL;
    size_t n = blank ? (size_t)(blank - p->s.ptr) : p->s.len;
    struct ks_slice host = ks_slice(p->s.ptr, n);
    if (span_to(host, ":[") == host.len) { /* else it is the tag already */
        KS_TRY(add(p, "hostname", host));
        p->s = ks_slice_from(p->s, blank ? n + 1 : n);
    }
    n = span_to(p->s, "[: ");
    struct ks_slice tag = ks_slice(p->s.ptr, n);
    KS_TRY(add(p, "app_name", tag));
    p->s = ks_slice_from(p->s, n);
    if (p->s.len && p->s.ptr[0] == '[') {
        size_t close = span_to(p->s, "]");
        if (close == p->s.len)
            return message(p, p->s, false);
        KS_TRY(add(p, "proc_id", ks_slice(p->s.ptr + 1, close - 1)));
        p->s = ks_slice_from(p->s, close + 1);
    }
    if (p->s.len && p->s.ptr[0] == ':')
        p->s = ks_slice_from(p->s, 1);
    if (p->s.len && p->s.ptr[0] == ' ')
        p->s = ks_slice_from(p->s, 1);
    return p->s.len ? message(p, p->s, ks_slice_is(tag, "CEF")) : KS_OK;
}

/* <priority> in front; without a number it is text. */
static ks_err priority(struct parser *p)
{
    size_t n = span_to(p->s, ">");
    uint64_t v;
    struct ks_slice digits = ks_slice(p->s.ptr + 1, n ? n - 1 : 0);
    if (n == p->s.len || digits.len > 9 || !ks_u64_parse(digits, &v))
        return KS_OK;
    p->s = ks_slice_from(p->s, n + 1);
    KS_TRY(add(p, "priority", digits));
    KS_TRY(add(p, "facility_keyword", ks_slice_str(ks_syslog_facility(v))));
    KS_TRY(add(p, "level", ks_slice_str(ks_syslog_level(v))));
    KS_TRY(add_number(p, "facility", v / 8));
    return add_number(p, "severity", v % 8);
}

ks_err ks_syslog_message(struct ks_log_ingest *in, struct ks_slice text,
                         const struct ks_syslog_opts *opts)
{
    struct parser p = {in, opts, text, in->now_ns};
    ks_log_rewind(in, 0);
    if (!text.len)
        return KS_OK;
    if (text.ptr[0] == '<')
        KS_TRY(priority(&p));
    if (p.s.len) {
        bool new_form = p.s.len >= 2 && p.s.ptr[0] == '1' && p.s.ptr[1] == ' ';
        if (new_form)
            p.s = ks_slice_from(p.s, 2);
        KS_TRY(new_form ? rfc5424(&p) : rfc3164(&p));
    }
    if (opts->remote_ip && opts->ip.len)
        KS_TRY(add(&p, "remote_ip", opts->ip));
    return ks_log_row(in, p.time_ns, KS_LOG_TAGS_BY_NAME);
}

/* --- framing --- */
static struct ks_slice without_end(struct ks_slice s)
{
    while (s.len && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r' || !s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* What was too long is stepped over as it comes in. False: more of it is to come. */
static bool step_over(struct ks_syslog_framer *f, struct ks_slice *data)
{
    if (f->skip_bytes) {
        size_t n = f->skip_bytes < data->len ? (size_t)f->skip_bytes : data->len;
        f->skip_bytes -= n;
        *data = ks_slice_from(*data, n);
    }
    if (f->skip_line) {
        const char *eol = data->len ? memchr(data->ptr, '\n', data->len) : NULL;
        f->skip_line = !eol;
        *data = ks_slice_from(*data, eol ? (size_t)(eol + 1 - data->ptr) : data->len);
    }
    return !f->skip_bytes && !f->skip_line;
}

/* "123 <": an octet count. 0: none; SIZE_MAX: more bytes are needed to tell. */
static size_t octet_count(struct ks_slice s, size_t *ret_digits)
{
    size_t n = 0, i = 0;
    for (; i < s.len && i <= OCTET_DIGITS && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++)
        n = n * 10 + (size_t)(s.ptr[i] - '0');
    *ret_digits = i;
    if (!i || i > OCTET_DIGITS || s.ptr[0] == '0')
        return 0;
    if (i == s.len || (s.ptr[i] == ' ' && i + 1 == s.len))
        return SIZE_MAX;
    return s.ptr[i] == ' ' && s.ptr[i + 1] == '<' ? n : 0;
}

bool ks_syslog_next(struct ks_syslog_framer *f, struct ks_slice *data, struct ks_slice *ret)
{
    while (step_over(f, data) && data->len) {
        size_t digits, n = octet_count(*data, &digits);
        if (n == SIZE_MAX)
            return false;
        if (n) {
            if (n > f->max_bytes) {
                f->skip_bytes = (uint64_t)n + digits + 1;
                f->long_count++;
                continue;
            }
            if (data->len < digits + 1 + n)
                return false;
            *ret = without_end(ks_slice(data->ptr + digits + 1, n));
            *data = ks_slice_from(*data, digits + 1 + n);
        } else {
            const char *eol = memchr(data->ptr, '\n', data->len);
            size_t line = eol ? (size_t)(eol - data->ptr) : data->len;
            if (line > f->max_bytes) {
                f->skip_line = true;
                f->long_count++;
                continue;
            }
            if (!eol)
                return false;
            *ret = without_end(ks_slice(data->ptr, line));
            *data = ks_slice_from(*data, line + 1);
        }
        if (ret->len)
            return true;
    }
    return false;
}

bool ks_syslog_next_datagram(struct ks_slice *data, struct ks_slice *ret)
{
    while (data->len) {
        size_t digits, n = octet_count(*data, &digits), end = 0;
        if (n && n != SIZE_MAX && n <= data->len - digits - 1) {
            *ret = without_end(ks_slice(data->ptr + digits + 1, n));
            *data = ks_slice_from(*data, digits + 1 + n);
        } else {
            while (end < data->len &&
                   !(data->ptr[end] == '\n' && end + 1 < data->len && data->ptr[end + 1] == '<'))
                end++;
            *ret = without_end(ks_slice(data->ptr, end));
            *data = ks_slice_from(*data, end < data->len ? end + 1 : end);
        }
        if (ret->len)
            return true;
    }
    return false;
}
