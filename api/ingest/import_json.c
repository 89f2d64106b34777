/* A hand-written parser for one shape of JSON: no document tree, numbers straight into the batch. */
#include <stdio.h>

#include "api/app.h"
#include "api/ingest/import.h"
#include "base/log.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"vmimport\"}");
static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"vmimport\"}");

enum { LABELS_MAX = 1024, SKIP_DEPTH_MAX = 64 };

struct json {
    const char *p, *end;
    struct ks_arena *arena;
};

static void blanks(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\r' || *j->p == '\n'))
        j->p++;
}

static bool expect(struct json *j, char c)
{
    blanks(j);
    if (j->p == j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

static bool hex4(struct json *j, uint32_t *ret)
{
    if (j->end - j->p < 4)
        return false;
    *ret = 0;
    for (int i = 0; i < 4; i++) {
        char c = *j->p++;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return false;
        *ret = *ret << 4 | (uint32_t)d;
    }
    return true;
}

static char *put_utf8(char *o, uint32_t c)
{
    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *o++ = (char)(0xe0 | c >> 12);
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    } else {
        *o++ = (char)(0xf0 | c >> 18);
        *o++ = (char)(0x80 | (c >> 12 & 63));
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    }
    return o;
}

/* A \u escape with its surrogate partner; a lone one becomes U+FFFD. */
static bool unicode(struct json *j, char **o)
{
    uint32_t c, low;
    if (!hex4(j, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
        const char *back = j->p;
        j->p += 2;
        if (!hex4(j, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            j->p = back;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    *o = put_utf8(*o, c);
    return true;
}

/* A string: borrowed when it has no escapes, else decoded into the arena (never longer than its source). */
static bool string(struct json *j, struct ks_slice *ret)
{
    if (!expect(j, '"'))
        return false;
    const char *start = j->p;
    while (j->p < j->end && *j->p != '"' && *j->p != '\\')
        j->p++;
    if (j->p == j->end)
        return false;
    if (*j->p == '"') {
        *ret = ks_slice(start, (size_t)(j->p++ - start));
        return true;
    }
    const char *close = j->p;
    for (; close < j->end && *close != '"'; close++)
        if (*close == '\\' && ++close == j->end)
            return false;
    char *out = ks_arena_alloc(j->arena, (size_t)(close - start) + 4), *o = out;
    if (!out)
        return false;
    memcpy(o, start, (size_t)(j->p - start));
    o += j->p - start;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    while (j->p < j->end && *j->p != '"') {
        if (*j->p != '\\') {
            *o++ = *j->p++;
            continue;
        }
        if (++j->p == j->end)
            return false;
        char c = *j->p++;
        const char *known = c ? strchr(from, c) : NULL;
        if (known)
            *o++ = to[known - from];
        else if (c != 'u' || !unicode(j, &o))
            return false;
    }
    if (j->p == j->end)
        return false;
    j->p++;
    *ret = ks_slice(out, (size_t)(o - out));
    return true;
}

/* Steps over any value of an unknown key. */
static bool skip_value(struct json *j)
{
    int depth = 0;
    do {
        struct ks_slice s;
        blanks(j);
        if (j->p == j->end)
            return false;
        char c = *j->p;
        if (c == '"') {
            if (!string(j, &s))
                return false;
        } else if (c == '{' || c == '[') {
            if (++depth > SKIP_DEPTH_MAX)
                return false;
            j->p++;
        } else if (c == '}' || c == ']') {
            if (--depth < 0)
                return false;
            j->p++;
        } else if (c == ',' || c == ':') {
            if (!depth)
                return false;
            j->p++;
        } else {
            const char *start = j->p;
            while (j->p < j->end && !strchr(",:]}[{\" \t\r\n", *j->p))
                j->p++;
            if (j->p == start)
                return false;
        }
    } while (depth);
    return true;
}

struct line {
    struct ks_label labels[LABELS_MAX];
    size_t label_count;
    const char *values, *timestamps; /* just behind their '[' */
};

static bool metric(struct json *j, struct line *l)
{
    if (!expect(j, '{'))
        return false;
    if (expect(j, '}'))
        return true;
    do {
        struct ks_label x;
        if (l->label_count == LABELS_MAX || !string(j, &x.name) || !expect(j, ':') || !string(j, &x.value))
            return false;
        l->labels[l->label_count++] = x;
    } while (expect(j, ','));
    return expect(j, '}');
}

/* Notes where an array starts and steps over it. */
static bool array(struct json *j, const char **ret)
{
    blanks(j);
    const char *at = j->p;
    if (!expect(j, '['))
        return false;
    *ret = j->p;
    j->p = at;
    return skip_value(j);
}

static const char *parse_line(struct json *j, struct line *l)
{
    l->label_count = 0;
    l->values = l->timestamps = NULL;
    if (!expect(j, '{'))
        return "want a JSON object";
    if (expect(j, '}'))
        return "missing \"metric\"";
    do {
        struct ks_slice key;
        if (!string(j, &key) || !expect(j, ':'))
            return "want \"key\":";
        bool ok = ks_slice_is(key, "metric")       ? metric(j, l)
                  : ks_slice_is(key, "values")     ? array(j, &l->values)
                  : ks_slice_is(key, "timestamps") ? array(j, &l->timestamps)
                                                   : skip_value(j);
        if (!ok)
            return ks_slice_is(key, "metric") ? "malformed \"metric\"" : "malformed value";
    } while (expect(j, ','));
    if (!expect(j, '}'))
        return "want } at the end";
    blanks(j);
    return j->p != j->end ? "text behind the object" : !l->label_count ? "missing \"metric\"" : NULL;
}

/* A plain integer below 10^18, fast; false leaves *pp. */
static bool fast_int(const char **pp, const char *end, int64_t *ret)
{
    const char *p = *pp;
    bool neg = p < end && *p == '-';
    p += neg;
    const char *start = p;
    int64_t v = 0;
    while (p < end && (unsigned)(*p - '0') < 10 && p - start < 18)
        v = v * 10 + (*p++ - '0');
    if (p == start || p == end || (*p != ',' && *p != ']'))
        return false;
    *ret = neg ? -v : v;
    *pp = p;
    return true;
}

/* The text up to , or ] outside of a string. */
static struct ks_slice scalar(struct json *j)
{
    const char *start = j->p;
    while (j->p < j->end && *j->p != ',' && *j->p != ']')
        j->p++;
    return ks_slice_trim(ks_slice(start, (size_t)(j->p - start)));
}

static bool next_value(struct json *j, double *ret)
{
    int64_t i;
    blanks(j);
    /* -0 must keep its sign: only the general path does. */
    const char *p = j->p;
    if (p < j->end && *p != '-' && fast_int(&p, j->end, &i) && i < (int64_t)1 << 53) {
        j->p = p;
        *ret = (double)i;
        return true;
    }
    struct ks_slice s = {0};
    if (j->p < j->end && *j->p == '"') {
        if (!string(j, &s))
            return false;
        if (ks_slice_is(s, "Infinity") || ks_slice_is(s, "-Infinity")) {
            *ret = s.ptr[0] == '-' ? -__builtin_inf() : __builtin_inf();
            return true;
        }
    } else {
        s = scalar(j);
        if (ks_slice_is(s, "null")) {
            *ret = __builtin_nan("");
            return true;
        }
    }
    return ks_f64_parse(s, ret);
}

static bool next_time(struct json *j, int64_t *ret)
{
    double v;
    blanks(j);
    if (fast_int(&j->p, j->end, ret))
        return true;
    struct ks_slice s = scalar(j);
    if (ks_i64_parse(s, ret))
        return true;
    if (!ks_f64_parse(s, &v) || !(v > -9e18 && v < 9e18))
        return false;
    *ret = (int64_t)v;
    return true;
}

/* Both arrays in step. Samples of a line that turns out bad are taken back. */
static ks_err samples(struct ks_ingest *in, const struct line *l, const char *end, const char **ret_wrong)
{
    struct json v = {l->values, end, in->arena}, t = {l->timestamps, end, in->arena};
    struct ks_write_batch *b = in->batch;
    size_t before = b->sample_count;
    *ret_wrong = NULL;
    bool empty_v = expect(&v, ']'), empty_t = expect(&t, ']');
    if (empty_v && empty_t)
        return KS_OK;
    while (!empty_v && !empty_t) {
        double value;
        int64_t time;
        if (!next_value(&v, &value))
            *ret_wrong = "malformed number in \"values\"";
        else if (!next_time(&t, &time))
            *ret_wrong = "malformed number in \"timestamps\"";
        if (*ret_wrong)
            break;
        KS_TRY(ks_ingest_sample(in, time, value));
        bool more_v = expect(&v, ','), more_t = expect(&t, ',');
        if (more_v && more_t)
            continue;
        empty_v = !more_v;
        empty_t = !more_t;
    }
    if (!*ret_wrong && empty_v != empty_t)
        *ret_wrong = "\"values\" and \"timestamps\" have different lengths";
    if (*ret_wrong) {
        b->sample_count = before;
        b->series[b->series_count - 1].sample_count = 0;
    }
    return KS_OK;
}

static ks_err import_line(struct ks_ingest *in, struct ks_slice text, struct line *l, const char **ret_wrong)
{
    struct json j = {text.ptr, text.ptr + text.len, in->arena};
    *ret_wrong = parse_line(&j, l);
    if (!*ret_wrong && (!l->values || !l->timestamps))
        *ret_wrong = l->values ? "missing \"timestamps\"" : "missing \"values\"";
    if (*ret_wrong)
        return KS_OK;
    struct ks_slice raw;
    KS_TRY(ks_raw_labels_make(in->arena, l->labels, l->label_count, &raw));
    KS_TRY(ks_ingest_series(in, raw));
    return samples(in, l, text.ptr + text.len, ret_wrong);
}

ks_err ks_import_json(struct ks_ingest *in, struct ks_slice body, uint64_t *ret_bad_lines)
{
    size_t line_no = 0, max_line = in->app->cfg.import_max_line_bytes;
    uint64_t good = 0, bad = 0;
    struct line l;
    char first[192] = "";
    while (body.len) {
        const char *nl = memchr(body.ptr, '\n', body.len);
        struct ks_slice text = ks_slice(body.ptr, nl ? (size_t)(nl - body.ptr) : body.len);
        body = ks_slice_from(body, text.len + (nl != NULL));
        line_no++;
        if (!ks_slice_trim(text).len)
            continue;
        const char *wrong = NULL;
        if (max_line && text.len > max_line)
            wrong = "the line is longer than -import.maxLineLen";
        else
            KS_TRY(import_line(in, text, &l, &wrong));
        good += !wrong;
        bad += wrong != NULL;
        if (wrong && !first[0])
            snprintf(first, sizeof first, "line %zu: %s", line_no, wrong);
        KS_TRY(ks_ingest_flush_if_big(in));
    }
    *ret_bad_lines = bad;
    if (!bad)
        return KS_OK;
    ks_stat_add(&stat_invalid, bad);
    ks_log_limited(5000, KS_LOG_WARN, "api", "import: %llu bad lines skipped; first: %s", (unsigned long long)bad, first);
    return good ? KS_OK : ks_fail(KS_EPARSE, "cannot parse %s", first);
}

ks_err ks_import_json_handle(struct ks_http_request *req)
{
    struct ks_ingest in;
    struct ks_slice body;
    uint64_t bad;
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(ks_ingest_body(req, ks_app_of(req)->cfg.import_max_request_bytes, &body));
    KS_TRY(ks_import_json(&in, body, &bad));
    KS_TRY(ks_ingest_end(&in));
    req->resp.status = 204;
    return KS_OK;
}
