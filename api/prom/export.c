/* export (jsonl, prometheus, promapi) and federate. Streamed: memory is one series, whatever the
 * answer's size. */
#include <math.h>
#include <stdio.h>

#include "api/ingest/histogram_proto.h"
#include "api/prom/prom.h"
#include "api/prom/sink.h"
#include "base/num.h"

/* Lines stay well under what importers read (KOF: 16 MiB). */
enum { ROWS_PER_LINE = 100000, HISTOGRAMS_PER_LINE = 1000 };

/* JSON has no NaN and no infinities: null and strings, as the import side reads them. */
static void json_value(struct ks_buf *out, double v)
{
    if (isnan(v))
        ks_buf_add(out, "null", 4);
    else if (isinf(v))
        ks_buf_str(out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        ks_buf_f64(out, v);
}

static void jsonl_line(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant,
                       const int64_t *times, const double *values, size_t n)
{
    ks_buf_str(out, "{\"metric\":");
    ks_prom_json_labels(out, labels, tenant);
    ks_buf_str(out, ",\"values\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            ks_buf_byte(out, ',');
        json_value(out, values[i]);
    }
    ks_buf_str(out, "],\"timestamps\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_buf_i64_dec(out, times[i]);
    }
    ks_buf_str(out, "]}\n");
}

static void prom_escaped(struct ks_buf *out, struct ks_slice s)
{
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' || c == '"')
            ks_buf_byte(out, '\\');
        if (c == '\n')
            ks_buf_add(out, "\\n", 2);
        else
            ks_buf_byte(out, (uint8_t)c);
    }
    ks_buf_byte(out, '"');
}

/* Whether a name needs quotes in the text format. */
static bool plain_name(struct ks_slice s, bool metric)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (metric && c == ':');
        if (!letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return s.len > 0;
}

/* name{a="b"}; names outside the classic alphabet in the quoted form {"na.me",a="b"}. */
static void prom_labels(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant)
{
    struct ks_slice name = ks_labels_get(labels, KS_NAME_LABEL);
    bool quoted = name.len && !plain_name(name, true);
    const char *sep = "";
    if (name.len && !quoted)
        ks_buf_slice(out, name);
    size_t open = out->len;
    ks_buf_byte(out, '{');
    if (quoted) {
        prom_escaped(out, name);
        sep = ",";
    }
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    while (ks_labels_next(&it, &l)) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL))
            continue;
        ks_buf_str(out, sep);
        if (plain_name(l.name, false))
            ks_buf_slice(out, l.name);
        else
            prom_escaped(out, l.name);
        ks_buf_byte(out, '=');
        prom_escaped(out, l.value);
        sep = ",";
    }
    if (tenant) {
        ks_buf_printf(out, "%svm_account_id=\"%u\",vm_project_id=\"%u\"", sep, tenant->account,
                      tenant->project);
        sep = ",";
    }
    if (!*sep && name.len)
        out->len = open;
    else
        ks_buf_byte(out, '}');
}

static void prom_line(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant,
                      int64_t ms, double v)
{
    prom_labels(out, labels, tenant);
    ks_buf_byte(out, ' ');
    ks_buf_f64(out, v);
    ks_buf_byte(out, ' ');
    ks_buf_i64_dec(out, ms);
    ks_buf_byte(out, '\n');
}

enum format { JSONL, PROMETHEUS, PROMAPI };

struct export
{
    struct ks_prom_ctx ctx;
    struct ks_sink sink;
    enum format format;
    bool histograms; /* jsonl: native ones too */
    size_t rows_per_line;
    size_t written; /* series */
};

static ks_err export_series(struct export *x, struct ks_slice labels,
                            const struct ks_tenant *tenant, const struct ks_samples *s)
{
    struct ks_buf *out = x->sink.out;
    if (x->format == PROMAPI) {
        ks_buf_str(out, x->written++ ? ",{\"metric\":" : "{\"metric\":");
        ks_prom_json_labels(out, labels, tenant);
        ks_buf_str(out, ",\"values\":[");
    }
    for (size_t i = 0; i < s->count;) {
        size_t n = s->count - i < x->rows_per_line ? s->count - i : x->rows_per_line;
        if (x->format == JSONL)
            jsonl_line(out, labels, tenant, s->times + i, s->values + i, n);
        for (size_t k = i; x->format != JSONL && k < i + n; k++) {
            if (x->format == PROMETHEUS) {
                prom_line(out, labels, tenant, s->times[k], s->values[k]);
                continue;
            }
            if (k)
                ks_buf_byte(out, ',');
            ks_prom_json_point(out, s->times[k], s->values[k]);
        }
        i += n;
        KS_TRY(ks_sink_drain(&x->sink, false));
    }
    if (x->format == PROMAPI)
        ks_buf_str(out, "]}");
    return KS_OK;
}

/* Lines of their own, of remote write's messages: exact, and read back by the import. */
static ks_err export_histograms(struct export *x, struct ks_series_set *set, size_t i,
                                int64_t start, int64_t end, const struct ks_tenant *tenant)
{
    struct ks_arena arena;
    struct ks_histogram_run r = {0};
    struct ks_slice labels;
    struct ks_buf scratch, *out = x->sink.out;
    ks_arena_init(&arena, x->ctx.app->cfg.max_memory_per_query_bytes
                              ? x->ctx.app->cfg.max_memory_per_query_bytes
                              : (size_t)1 << 30);
    ks_buf_init(&scratch, 1 << 20);
    ks_err err = ks_series_read_histograms(set, i, start, end, &arena, &r);
    if (err == KS_OK && r.count)
        err = ks_series_set_labels(set, i, &labels);
    for (size_t k = 0; k < r.count && err == KS_OK;) {
        size_t n = r.count - k < x->rows_per_line ? r.count - k : x->rows_per_line;
        n = n < HISTOGRAMS_PER_LINE ? n : HISTOGRAMS_PER_LINE;
        ks_buf_str(out, "{\"metric\":");
        ks_prom_json_labels(out, labels, tenant);
        ks_buf_byte(out, ',');
        ks_histograms_put_json(r.items + k, r.times + k, n, &scratch, out);
        ks_buf_str(out, "}\n");
        k += n;
        err = ks_buf_status(&scratch);
        if (err == KS_OK)
            err = ks_sink_drain(&x->sink, false);
    }
    ks_buf_done(&scratch);
    ks_arena_done(&arena);
    return err;
}

static ks_err export_set(struct export *x, struct ks_series_set *set, int64_t start, int64_t end)
{
    struct ks_samples samples = {0};
    ks_err err = KS_OK;
    for (size_t i = 0; i < ks_series_set_count(set) && err == KS_OK; i++) {
        struct ks_tenant t = ks_series_set_tenant(set, i);
        struct ks_slice labels;
        err = ks_read_ctx_check(&x->ctx.read);
        if (err == KS_OK)
            err = ks_series_read(set, i, start, end, &samples);
        if (err == KS_OK && samples.count)
            err = ks_series_set_labels(set, i, &labels);
        if (err == KS_OK && samples.count)
            err = export_series(x, labels, x->ctx.req->multitenant ? &t : NULL, &samples);
        if (err == KS_OK && x->histograms && ks_series_has_histograms(set, i))
            err = export_histograms(x, set, i, start, end, x->ctx.req->multitenant ? &t : NULL);
    }
    ks_samples_done(&samples);
    return err;
}

static ks_err format_of(struct ks_http_request *req, enum format *ret)
{
    struct ks_slice f = ks_http_arg(req, "format");
    *ret = ks_slice_is(f, "prometheus") ? PROMETHEUS : ks_slice_is(f, "promapi") ? PROMAPI : JSONL;
    if (f.len && *ret == JSONL && !ks_slice_is(f, "jsonl") && !ks_slice_is(f, "json"))
        return ks_fail(KS_EINVAL, "unknown format \"%.*s\"; want jsonl, prometheus or promapi",
                       KS_SLICE_ARG(f));
    return KS_OK;
}

ks_err ks_prom_export(struct ks_http_request *req)
{
    static const char *const types[] = {"application/stream+json; charset=utf-8",
                                        "text/plain; charset=utf-8", "application/json"};
    struct export x = {.sink = {req, &req->resp.body}};
    struct ks_select_opts sel;
    struct ks_series_set *set;
    int64_t start, end, rows;
    KS_TRY(format_of(req, &x.format));
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_export_duration_ms, &x.ctx));
    KS_TRY(ks_http_arg_i64(req, "max_rows_per_line", ROWS_PER_LINE, &rows));
    x.histograms = x.format == JSONL && ks_http_arg_bool(req, "native_histograms");
    x.rows_per_line = rows > 0 ? (size_t)rows : ROWS_PER_LINE;
    x.ctx.read.max_series = x.ctx.app->cfg.max_export_series;
    KS_TRY(ks_http_arg_time_ms(req, "start", 0, &start));
    KS_TRY(ks_http_arg_time_ms(req, "end", x.ctx.now_ms, &end));
    KS_TRY(ks_prom_select_opts(&x.ctx, start, end, true, &sel));
    KS_TRY(ks_engine_select(x.ctx.app->engine, &sel, &set));
    req->resp.content_type = types[x.format];
    if (x.format == PROMAPI) {
        ks_prom_json_begin(req);
        req->resp.content_type = types[PROMAPI];
        ks_buf_str(x.sink.out, "{\"resultType\":\"matrix\",\"result\":[");
    }
    ks_err err = export_set(&x, set, start, end);
    ks_series_set_free(set);
    KS_TRY(err);
    if (x.format == PROMAPI)
        ks_buf_str(x.sink.out, "]}}");
    return ks_sink_drain(&x.sink, true);
}

ks_err ks_prom_federate(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    struct ks_series_set *set;
    struct ks_samples samples = {0};
    int64_t start, end;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_query_duration_ms, &ctx));
    KS_TRY(ks_prom_time_range(&ctx, 300000, &start, &end));
    KS_TRY(ks_prom_select_opts(&ctx, start, end, true, &sel));
    ctx.read.max_series = 1000000;
    KS_TRY(ks_engine_select(ctx.app->engine, &sel, &set));
    ks_err err = KS_OK;
    req->resp.content_type = "text/plain; version=0.0.4; charset=utf-8";
    for (size_t i = 0; i < ks_series_set_count(set) && err == KS_OK; i++) {
        struct ks_tenant t = ks_series_set_tenant(set, i);
        struct ks_slice labels;
        if ((err = ks_series_read(set, i, start, end, &samples)) != KS_OK || !samples.count ||
            (err = ks_series_set_labels(set, i, &labels)) != KS_OK)
            continue;
        size_t last = samples.count - 1;
        /* A series that has ended is not there. */
        if (!ks_is_stale_nan(samples.values[last]))
            prom_line(&req->resp.body, labels, req->multitenant ? &t : NULL, samples.times[last],
                      samples.values[last]);
    }
    ks_samples_done(&samples);
    ks_series_set_free(set);
    return err;
}
