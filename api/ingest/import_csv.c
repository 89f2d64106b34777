#include "api/ingest/import_csv.h"

#include "api/app.h"
#include "api/ingest/import.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_rows, "vm_rows_inserted_total{type=\"csvimport\"}");
static KS_STAT(stat_invalid, "vm_rows_invalid_total{type=\"csvimport\"}");

enum { COLUMNS_MAX = 64 << 10, LABELS_MAX = 1024 };

/* --- the format argument --- */
static struct ks_slice until(struct ks_slice *s, char stop)
{
    const char *p = s->len ? memchr(s->ptr, stop, s->len) : NULL;
    struct ks_slice part = ks_slice(s->ptr, p ? (size_t)(p - s->ptr) : s->len);
    *s = ks_slice_from(*s, part.len + (p != NULL));
    return part;
}

static ks_err rule_of(struct ks_slice entry, size_t number, struct ks_csv_column_rule *ret,
                      uint64_t *ret_pos)
{
    struct ks_slice rest = entry, pos = until(&rest, ':'), kind = until(&rest, ':');
    *ret = (struct ks_csv_column_rule){.name = rest};
    if (!ks_u64_parse(pos, ret_pos) || *ret_pos < 1 || *ret_pos > COLUMNS_MAX)
        return ks_fail(KS_EINVAL,
                       "format entry %zu \"%.*s\": want <position>:<time|label|metric>:<what> with "
                       "a position from 1 to %d",
                       number, KS_SLICE_ARG(entry), COLUMNS_MAX);
    ret->kind = ks_slice_is(kind, "time")     ? KS_CSV_TIME
                : ks_slice_is(kind, "label")  ? KS_CSV_LABEL
                : ks_slice_is(kind, "metric") ? KS_CSV_METRIC
                                              : KS_CSV_IGNORED;
    if (ret->kind == KS_CSV_IGNORED)
        return ks_fail(
            KS_EINVAL,
            "format entry %zu \"%.*s\": unknown type \"%.*s\"; want time, label or metric", number,
            KS_SLICE_ARG(entry), KS_SLICE_ARG(kind));
    if (!rest.len)
        return ks_fail(KS_EINVAL, "format entry %zu \"%.*s\": nothing behind the second colon",
                       number, KS_SLICE_ARG(entry));
    return ret->kind == KS_CSV_TIME ? ks_csv_time_of(rest, &ret->time) : KS_OK;
}

ks_err ks_csv_format_parse(struct ks_slice text, struct ks_arena *arena, struct ks_csv_format *ret)
{
    struct ks_csv_format f = {0};
    size_t cap = 0, number = 0;
    bool has_time = false;
    struct ks_slice rest = text;
    while (rest.len) {
        struct ks_csv_column_rule rule;
        uint64_t pos;
        KS_TRY(rule_of(until(&rest, ','), ++number, &rule, &pos));
        KS_TRY(ks_arena_grow(arena, (void **)&f.columns, &cap, pos, sizeof rule));
        for (; f.count < pos; f.count++)
            f.columns[f.count] = (struct ks_csv_column_rule){0};
        if (f.columns[pos - 1].kind != KS_CSV_IGNORED)
            return ks_fail(KS_EINVAL, "format entry %zu: column %llu is named twice", number,
                           (unsigned long long)pos);
        if (rule.kind == KS_CSV_TIME && has_time)
            return ks_fail(KS_EINVAL, "format entry %zu: a second time column", number);
        has_time |= rule.kind == KS_CSV_TIME;
        f.metric_count += rule.kind == KS_CSV_METRIC;
        f.columns[pos - 1] = rule;
    }
    if (!f.metric_count)
        return ks_fail(
            KS_EINVAL,
            "no metric column in format \"%.*s\"; want <position>:<time|label|metric>:<what>,…",
            KS_SLICE_ARG(text));
    *ret = f;
    return KS_OK;
}

/* --- lines --- */
struct csv {
    struct ks_ingest *in;
    const struct ks_csv_format *format;
    struct ks_label labels[LABELS_MAX + 1]; /* the last is for the name */
    size_t label_count;
    size_t column; /* where it went wrong, from 1 */
};

/* A line whose time or values cannot be read as such: names of columns. */
static bool is_header(const struct csv *x, struct ks_slice line)
{
    bool more = true;
    for (size_t i = 0; more && i < x->format->count; i++) {
        const struct ks_csv_column_rule *r = &x->format->columns[i];
        struct ks_slice s;
        int64_t ms;
        double v;
        if (ks_csv_column(&line, x->in->arena, &s, &more))
            return false;
        if (!s.len)
            continue;
        if ((r->kind == KS_CSV_TIME && !ks_csv_time_read(&r->time, s, &ms)) ||
            (r->kind == KS_CSV_METRIC && !ks_f64_parse(s, &v)))
            return true;
    }
    return false;
}

/* One column. Values go into the batch's samples at once, their series follow when all labels are
 * known. */
static const char *take(struct csv *x, const struct ks_csv_column_rule *r, struct ks_slice s,
                        int64_t *ms, ks_err *ret_err)
{
    double v;
    switch (s.len ? r->kind : KS_CSV_IGNORED) {
    case KS_CSV_TIME:
        return ks_csv_time_read(&r->time, s, ms) ? NULL : "malformed time";
    case KS_CSV_LABEL:
        if (x->label_count == LABELS_MAX)
            return "too many labels";
        x->labels[x->label_count++] = (struct ks_label){r->name, s};
        return NULL;
    case KS_CSV_METRIC:
        if (!ks_f64_parse(s, &v))
            return "malformed value";
        *ret_err = ks_write_batch_reserve(x->in->batch, 1, 1);
        if (*ret_err == KS_OK)
            x->in->batch->samples[x->in->batch->sample_count++] = (struct ks_write_sample){0, v};
        return NULL;
    default:
        return NULL;
    }
}

/* Makes the series of the samples from `first` on; samples stay where they are. */
static ks_err store(struct csv *x, struct ks_slice line, size_t first, int64_t ms)
{
    struct ks_write_batch *b = x->in->batch;
    size_t end = b->sample_count;
    bool more = true;
    b->sample_count = first;
    for (size_t i = 0; more && i < x->format->count; i++) {
        const struct ks_csv_column_rule *r = &x->format->columns[i];
        struct ks_slice s, raw;
        const char *wrong = ks_csv_column(&line, x->in->arena, &s, &more);
        KS_ASSERT(!wrong); /* read once already */
        if (r->kind != KS_CSV_METRIC || !s.len)
            continue;
        double v = b->samples[b->sample_count].value;
        x->labels[x->label_count] = (struct ks_label){KS_NAME_LABEL, r->name};
        KS_TRY(ks_raw_labels_make(x->in->arena, x->labels, x->label_count + 1, &raw));
        KS_TRY(ks_ingest_spend(x->in, raw.len));
        KS_TRY(ks_ingest_series(x->in, raw));
        KS_TRY(ks_ingest_sample(x->in, ms, v));
    }
    KS_ASSERT(b->sample_count == end);
    return ks_ingest_flush_if_big(x->in);
}

static const char *import_line(struct csv *x, struct ks_slice line, ks_err *ret_err)
{
    struct ks_write_batch *b = x->in->batch;
    size_t first = b->sample_count, i = 0;
    int64_t ms = x->in->now_ms;
    struct ks_slice rest = line, s;
    bool more = true;
    const char *wrong = NULL;
    x->label_count = 0;
    for (; more && i < x->format->count && !wrong && *ret_err == KS_OK; i++) {
        wrong = ks_csv_column(&rest, x->in->arena, &s, &more);
        if (!wrong)
            wrong = take(x, &x->format->columns[i], s, &ms, ret_err);
    }
    if (!wrong && i < x->format->count)
        wrong = "fewer columns than the format names";
    x->column = i;
    if (wrong || *ret_err != KS_OK)
        b->sample_count = first;
    else
        *ret_err = store(x, line, first, ms);
    return wrong;
}

ks_err ks_import_csv(struct ks_ingest *in, struct ks_slice body, const struct ks_csv_format *format,
                     uint64_t *ret_bad_lines)
{
    struct csv x;
    x.in = in;
    x.format = format;
    size_t line_no = 0, max = in->app->cfg.import_max_line_bytes;
    struct ks_import_lines lines = {0};
    bool first_line = true;
    ks_ingest_budget(in, body.len);
    while (body.len) {
        const char *nl = memchr(body.ptr, '\n', body.len), *wrong;
        struct ks_slice line = ks_slice(body.ptr, nl ? (size_t)(nl - body.ptr) : body.len);
        body = ks_slice_from(body, line.len + (nl != NULL));
        line_no++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!line.len)
            continue;
        bool header = first_line && is_header(&x, line);
        first_line = false;
        if (header)
            continue;
        ks_err err = KS_OK;
        x.column = 0;
        wrong = max && line.len > max ? "the line is longer than -import.maxLineLen"
                                      : import_line(&x, line, &err);
        KS_TRY(err);
        ks_import_line(&lines, wrong, line_no, x.column);
    }
    return ks_import_lines_end(&lines, "csv import", &stat_invalid, ret_bad_lines);
}

ks_err ks_import_csv_handle(struct ks_http_request *req)
{
    struct ks_ingest in;
    struct ks_slice body;
    struct ks_csv_format format;
    uint64_t bad;
    KS_TRY(ks_csv_format_parse(ks_http_arg(req, "format"), &req->arena, &format));
    KS_TRY(ks_ingest_begin(req, &stat_rows, &in));
    KS_TRY(ks_ingest_body(req, ks_app_of(req)->cfg.import_max_request_bytes, &body));
    KS_TRY(ks_import_csv(&in, body, &format, &bad));
    KS_TRY(ks_ingest_end(&in));
    req->resp.status = 204;
    return KS_OK;
}
