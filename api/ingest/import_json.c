/* A hand-written parser for one shape of JSON: no document tree, numbers straight into the batch.
 */
#include "api/app.h"
#include "api/ingest/histogram_proto.h"
#include "api/ingest/import.h"
#include "api/ingest/json_reader.h"
#include "base/base64.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"vmimport\"}");
static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"vmimport\"}");

enum { LABELS_MAX = 1024 };

struct line {
    struct ks_label labels[LABELS_MAX];
    size_t label_count;
    const char *values, *timestamps; /* just behind their '[' */
    const char *histograms;          /* likewise: remote write's messages in base64 */
};

static bool metric(struct ks_json *j, struct line *l)
{
    if (!ks_json_expect(j, '{'))
        return false;
    if (ks_json_expect(j, '}'))
        return true;
    do {
        struct ks_label x;
        if (l->label_count == LABELS_MAX || !ks_json_string(j, &x.name) ||
            !ks_json_expect(j, ':') || !ks_json_string(j, &x.value))
            return false;
        l->labels[l->label_count++] = x;
    } while (ks_json_expect(j, ','));
    return ks_json_expect(j, '}');
}

/* Notes where an array starts and steps over it. */
static bool array(struct ks_json *j, const char **ret)
{
    ks_json_blanks(j);
    const char *at = j->p;
    if (!ks_json_expect(j, '['))
        return false;
    *ret = j->p;
    j->p = at;
    return ks_json_skip(j);
}

static const char *parse_line(struct ks_json *j, struct line *l)
{
    l->label_count = 0;
    l->values = l->timestamps = l->histograms = NULL;
    if (!ks_json_expect(j, '{'))
        return "want a JSON object";
    if (ks_json_expect(j, '}'))
        return "missing \"metric\"";
    do {
        struct ks_slice key;
        if (!ks_json_string(j, &key) || !ks_json_expect(j, ':'))
            return "want \"key\":";
        bool ok = ks_slice_is(key, "metric")       ? metric(j, l)
                  : ks_slice_is(key, "values")     ? array(j, &l->values)
                  : ks_slice_is(key, "timestamps") ? array(j, &l->timestamps)
                  : ks_slice_is(key, "histograms") ? array(j, &l->histograms)
                                                   : ks_json_skip(j);
        if (!ok)
            return ks_slice_is(key, "metric") ? "malformed \"metric\"" : "malformed value";
    } while (ks_json_expect(j, ','));
    if (!ks_json_expect(j, '}'))
        return "want } at the end";
    ks_json_blanks(j);
    return j->p != j->end    ? "text behind the object"
           : !l->label_count ? "missing \"metric\""
                             : NULL;
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
static struct ks_slice scalar(struct ks_json *j)
{
    const char *start = j->p;
    while (j->p < j->end && *j->p != ',' && *j->p != ']')
        j->p++;
    return ks_slice_trim(ks_slice(start, (size_t)(j->p - start)));
}

static bool next_value(struct ks_json *j, double *ret)
{
    int64_t i;
    ks_json_blanks(j);
    /* -0 must keep its sign: only the general path does. */
    const char *p = j->p;
    if (p < j->end && *p != '-' && fast_int(&p, j->end, &i) && i < (int64_t)1 << 53) {
        j->p = p;
        *ret = (double)i;
        return true;
    }
    struct ks_slice s = {0};
    if (j->p < j->end && *j->p == '"') {
        if (!ks_json_string(j, &s))
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

static bool next_time(struct ks_json *j, int64_t *ret)
{
    double v;
    ks_json_blanks(j);
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
static ks_err samples(struct ks_ingest *in, const struct line *l, const char *end,
                      const char **ret_wrong)
{
    struct ks_json v = {l->values, end, in->arena}, t = {l->timestamps, end, in->arena};
    struct ks_write_batch *b = in->batch;
    size_t before = b->sample_count;
    *ret_wrong = NULL;
    bool empty_v = ks_json_expect(&v, ']'), empty_t = ks_json_expect(&t, ']');
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
        bool more_v = ks_json_expect(&v, ','), more_t = ks_json_expect(&t, ',');
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

static ks_err one_histogram(struct ks_ingest *in, struct ks_slice base64, struct ks_buf *message,
                            const char **ret_wrong)
{
    struct ks_histogram h;
    int64_t time_ms;
    ks_buf_reset(message);
    if (!ks_base64_decode(base64, message)) {
        *ret_wrong = "malformed base64 in \"histograms\"";
        return KS_OK;
    }
    ks_err err = ks_histogram_from_proto(ks_buf_view(message), in->arena, &h, &time_ms);
    if (err == KS_OK)
        err = ks_ingest_histogram(in, time_ms, &h);
    if (err != KS_EPARSE && err != KS_EINVAL && err != KS_ELIMIT)
        return err;
    *ret_wrong = "a native histogram that is malformed or not valid";
    return in->arena->err;
}

/* Times are those of the messages. Histograms of a line that turns out bad are taken back. */
static ks_err histograms(struct ks_ingest *in, const struct line *l, const char *end,
                         const char **ret_wrong)
{
    struct ks_json j = {l->histograms, end, in->arena};
    struct ks_write_batch *b = in->batch;
    size_t before = b->histogram_count;
    struct ks_buf message;
    ks_err err = KS_OK;
    *ret_wrong = NULL;
    if (ks_json_expect(&j, ']'))
        return KS_OK;
    ks_buf_init(&message, 1 << 20);
    do {
        struct ks_slice s;
        if (ks_json_string(&j, &s))
            err = one_histogram(in, s, &message, ret_wrong);
        else
            *ret_wrong = "want strings in \"histograms\"";
    } while (err == KS_OK && !*ret_wrong && ks_json_expect(&j, ','));
    if (*ret_wrong)
        b->histogram_count = before;
    ks_buf_done(&message);
    return err;
}

static ks_err import_line(struct ks_ingest *in, struct ks_slice text, struct line *l,
                          const char **ret_wrong)
{
    struct ks_json j = {text.ptr, text.ptr + text.len, in->arena};
    *ret_wrong = parse_line(&j, l);
    if (!*ret_wrong && !l->histograms && (!l->values || !l->timestamps))
        *ret_wrong = l->values ? "missing \"timestamps\"" : "missing \"values\"";
    if (*ret_wrong)
        return KS_OK;
    struct ks_slice raw;
    KS_TRY(ks_raw_labels_make(in->arena, l->labels, l->label_count, &raw));
    KS_TRY(ks_ingest_series(in, raw));
    if (l->histograms)
        return histograms(in, l, text.ptr + text.len, ret_wrong);
    return samples(in, l, text.ptr + text.len, ret_wrong);
}

ks_err ks_import_json(struct ks_ingest *in, struct ks_slice body, uint64_t *ret_bad_lines)
{
    size_t line_no = 0, max_line = in->app->cfg.import_max_line_bytes;
    struct ks_import_lines lines = {0};
    struct line l;
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
        ks_import_line(&lines, wrong, line_no, 0);
        KS_TRY(ks_ingest_flush_if_big(in));
    }
    return ks_import_lines_end(&lines, "import", &stat_invalid, ret_bad_lines);
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
