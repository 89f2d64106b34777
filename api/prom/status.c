/* Statistics, metadata, exemplars, query formatting, deletion, tenants. */
#include <stdlib.h>

#include "api/exemplars.h"
#include "api/ingest/ingest.h"
#include "api/metadata.h"
#include "api/prom/prom.h"
#include "base/cxx/re2.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"
#include "sys/clock.h"

/* --- status/tsdb --- */
struct top_entry {
    struct ks_slice name;
    uint64_t value;
};
/* The largest `max` entries, descending. */
struct top {
    struct ks_arena *arena;
    struct top_entry *items;
    size_t count, max;
};

static ks_err top_init(struct ks_arena *arena, struct top *t, size_t max)
{
    *t = (struct top){.arena = arena, .max = max};
    t->items = ks_arena_array(arena, max, sizeof *t->items);
    return t->items ? KS_OK : ks_arena_err(arena);
}

static bool top_add(struct top *t, struct ks_slice name, struct ks_slice value, uint64_t n)
{
    if (t->count == t->max && t->items[t->count - 1].value >= n)
        return true;
    struct ks_slice text =
        value.ptr ? ks_arena_printf(t->arena, "%.*s=%.*s", KS_SLICE_ARG(name), KS_SLICE_ARG(value))
                  : ks_arena_dup(t->arena, name);
    if (!text.ptr)
        return false;
    size_t i = t->count < t->max ? t->count++ : t->max - 1;
    for (; i > 0 && t->items[i - 1].value < n; i--)
        t->items[i] = t->items[i - 1];
    t->items[i] = (struct top_entry){text, n};
    return true;
}

static void top_write(struct ks_buf *out, const char *key, const struct top *t)
{
    ks_buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < t->count; i++) {
        ks_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
        ks_buf_json_str(out, t->items[i].name);
        ks_buf_printf(out, ",\"value\":%llu}", (unsigned long long)t->items[i].value);
    }
    ks_buf_byte(out, ']');
}

struct tsdb {
    struct ks_arena *arena;
    struct top names, labels, pairs, values, focus;
    struct ks_slice *label_names; /* all of them, to be asked one by one */
    size_t label_count, label_cap;
    uint64_t total_series, total_pairs;
    struct ks_slice label, focus_label; /* the one being asked */
    uint64_t value_count;
    ks_err err;
};

static bool on_label(void *arg, struct ks_slice name, uint64_t rows)
{
    struct tsdb *t = arg;
    t->total_pairs += rows;
    t->err = ks_arena_grow(t->arena, (void **)&t->label_names, &t->label_cap, t->label_count + 1,
                           sizeof *t->label_names);
    if (t->err != KS_OK)
        return false;
    struct ks_slice copy = ks_arena_dup(t->arena, name);
    if (!copy.ptr || !top_add(&t->labels, name, ks_slice(NULL, 0), rows)) {
        t->err = ks_arena_err(t->arena);
        return false;
    }
    t->label_names[t->label_count++] = copy;
    return true;
}

static bool on_value(void *arg, struct ks_slice value, uint64_t rows)
{
    struct tsdb *t = arg;
    bool ok = top_add(&t->pairs, t->label, value, rows);
    t->value_count++;
    if (ks_slice_eq(t->label, KS_NAME_LABEL)) {
        t->total_series += rows;
        ok = ok && top_add(&t->names, value, ks_slice(NULL, 0), rows);
    }
    if (t->focus_label.len && ks_slice_eq(t->label, t->focus_label))
        ok = ok && top_add(&t->focus, value, ks_slice(NULL, 0), rows);
    if (!ok)
        t->err = ks_arena_err(t->arena);
    return ok;
}

static ks_err tsdb_collect(struct ks_prom_ctx *ctx, const struct ks_select_opts *sel,
                           struct tsdb *t)
{
    KS_TRY(ks_engine_label_names(ctx->app->engine, sel, on_label, t));
    KS_TRY(t->err);
    for (size_t i = 0; i < t->label_count; i++) {
        KS_TRY(ks_read_ctx_check(&ctx->read));
        t->label = t->label_names[i];
        t->value_count = 0;
        KS_TRY(ks_engine_label_values(ctx->app->engine, sel, t->label, on_value, t));
        KS_TRY(t->err);
        if (!top_add(&t->values, t->label, ks_slice(NULL, 0), t->value_count))
            return ks_arena_err(t->arena);
    }
    return KS_OK;
}

/* The day asked for: date=YYYY-MM-DD, default today (UTC). */
static ks_err day_range(struct ks_prom_ctx *ctx, int64_t *ret_start, int64_t *ret_end)
{
    int64_t ms;
    KS_TRY(ks_http_arg_time_ms(ctx->req, "date", ctx->now_ms, &ms));
    *ret_start = ks_day_of_ms(ms) * KS_MS_DAY;
    *ret_end = *ret_start + KS_MS_DAY - 1;
    return KS_OK;
}

ks_err ks_prom_status_tsdb(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    int64_t start, end, top;
    struct tsdb t = {.arena = &req->arena, .focus_label = ks_http_arg(req, "focusLabel")};
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_status_duration_ms, &ctx));
    KS_TRY(day_range(&ctx, &start, &end));
    KS_TRY(ks_http_arg_i64(req, "topN", 10, &top));
    top = top < 1 ? 1 : top > 1000 ? 1000 : top;
    KS_TRY(ks_prom_select_opts(&ctx, start, end, false, &sel));
    struct top *const tops[] = {&t.names, &t.labels, &t.pairs, &t.values, &t.focus};
    for (size_t i = 0; i < 5; i++)
        KS_TRY(top_init(&req->arena, tops[i], (size_t)top));
    KS_TRY(tsdb_collect(&ctx, &sel, &t));
    ks_prom_json_begin(req);
    struct ks_buf *out = &req->resp.body;
    ks_buf_printf(out, "{\"totalSeries\":%llu,\"totalLabelValuePairs\":%llu",
                  (unsigned long long)t.total_series, (unsigned long long)t.total_pairs);
    top_write(out, "seriesCountByMetricName", &t.names);
    top_write(out, "seriesCountByLabelName", &t.labels);
    top_write(out, "seriesCountByFocusLabelValue", &t.focus);
    top_write(out, "seriesCountByLabelValuePair", &t.pairs);
    top_write(out, "labelValueCountByLabelName", &t.values);
    ks_buf_str(out, "}}");
    return KS_OK;
}

/* --- metadata --- */
struct metadata_out {
    struct ks_http_request *req;
    size_t limit, names, per_metric;
    struct ks_slice last; /* of the entry before: several tenants may have one name */
};

static bool write_metadata(void *arg, const struct ks_metadata *m)
{
    struct metadata_out *o = arg;
    struct ks_buf *out = &o->req->resp.body;
    if (!o->req->multitenant && !ks_tenant_eq(m->tenant, o->req->tenant))
        return true;
    if (o->names && ks_slice_eq(o->last, m->name))
        return true;
    if (o->names == o->limit)
        return false;
    if (o->names++)
        ks_buf_byte(out, ',');
    o->last = m->name;
    ks_buf_json_str(out, m->name);
    ks_buf_printf(out, ":[{\"type\":\"%s\",", ks_metric_type_name(m->type));
    if (m->unit.len) {
        ks_buf_str(out, "\"unit\":");
        ks_buf_json_str(out, m->unit);
        ks_buf_byte(out, ',');
    }
    ks_buf_str(out, "\"help\":");
    ks_buf_json_str(out, m->help);
    ks_buf_str(out, "}]");
    return true;
}

ks_err ks_prom_metadata(struct ks_http_request *req)
{
    int64_t limit;
    KS_TRY(ks_http_arg_i64(req, "limit", -1, &limit));
    struct metadata_out o = {.req = req, .limit = limit < 0 ? SIZE_MAX : (size_t)limit};
    ks_prom_json_begin(req);
    ks_buf_byte(&req->resp.body, '{');
    ks_metadata_each(ks_app_of(req)->metadata, ks_http_arg(req, "metric"), write_metadata, &o);
    ks_buf_str(&req->resp.body, "}}");
    return KS_OK;
}

/* --- exemplars --- */
/* A selector's matchers with their expressions compiled, for label sets outside of the index. */
struct matcher_re {
    const struct ks_matcher *m;
    struct ks_re *re;
};

static bool matches(const struct matcher_re *m, struct ks_slice labels)
{
    struct ks_slice v = ks_labels_get(labels, m->m->name);
    bool hit =
        m->re ? ks_re_full_match(m->re, v.ptr ? v.ptr : "", v.len) : ks_slice_eq(v, m->m->value);
    return m->m->op == KS_MATCH_NEQ || m->m->op == KS_MATCH_NRE ? !hit : hit;
}

struct exemplar_query {
    struct ks_http_request *req;
    const struct ks_select_opts *sel;
    struct matcher_re *compiled; /* all selectors' matchers in a row */
    int64_t start, end;
    /* found ones */
    struct found {
        struct ks_slice series, raw;
        double value;
        int64_t time_ms;
    } * found;
    size_t count, cap;
    ks_err err;
};

static bool any_selector(const struct exemplar_query *q, struct ks_slice labels)
{
    const struct matcher_re *m = q->compiled;
    for (size_t i = 0; i < q->sel->selector_count; i++) {
        bool all = true;
        for (size_t k = 0; k < q->sel->selectors[i].count; k++, m++)
            all = all && matches(m, labels);
        if (all)
            return true;
    }
    return q->sel->selector_count == 0;
}

static bool on_exemplar(void *arg, const struct ks_exemplar *x)
{
    struct exemplar_query *q = arg;
    if (x->time_ms < q->start || x->time_ms > q->end ||
        (!q->req->multitenant && !ks_tenant_eq(x->tenant, q->req->tenant)) ||
        !any_selector(q, x->series_raw))
        return true;
    q->err =
        ks_arena_grow(&q->req->arena, (void **)&q->found, &q->cap, q->count + 1, sizeof *q->found);
    if (q->err != KS_OK)
        return false;
    struct found f = {ks_arena_dup(&q->req->arena, x->series_raw),
                      ks_arena_dup(&q->req->arena, x->raw), x->value, x->time_ms};
    if (!f.series.ptr || !f.raw.ptr) {
        q->err = ks_arena_err(&q->req->arena);
        return false;
    }
    q->found[q->count++] = f;
    return true;
}

static int by_series(const void *pa, const void *pb)
{
    const struct found *a = pa, *b = pb;
    int c = ks_slice_cmp(a->series, b->series);
    return c ? c : (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

static void write_exemplar(struct ks_buf *out, const struct found *f)
{
    struct ks_reader r = ks_reader(f->raw);
    struct ks_label l;
    bool bad;
    char num[KS_F64_TEXT_MAX];
    const char *sep = "";
    ks_buf_str(out, "{\"labels\":{");
    while (ks_raw_label_next(&r, &l, &bad)) {
        ks_buf_str(out, sep);
        ks_buf_json_str(out, l.name);
        ks_buf_byte(out, ':');
        ks_buf_json_str(out, l.value);
        sep = ",";
    }
    ks_buf_str(out, "},\"value\":\"");
    ks_buf_add(out, num, ks_f64_format(num, f->value));
    ks_buf_str(out, "\",\"timestamp\":");
    ks_buf_add(out, num, ks_ms_format_seconds(num, f->time_ms));
    ks_buf_byte(out, '}');
}

static void write_exemplars(struct ks_http_request *req, struct exemplar_query *q)
{
    struct ks_buf *out = &req->resp.body;
    if (q->count)
        qsort(q->found, q->count, sizeof *q->found, by_series);
    req->resp.content_type = "application/json";
    ks_buf_str(out, "{\"status\":\"success\",\"data\":[");
    for (size_t i = 0; i < q->count; i++) {
        bool first = !i || !ks_slice_eq(q->found[i].series, q->found[i - 1].series);
        if (first) {
            ks_buf_str(out, i ? "]},{\"seriesLabels\":" : "{\"seriesLabels\":");
            ks_prom_json_labels(out, q->found[i].series, NULL);
            ks_buf_str(out, ",\"exemplars\":[");
        } else {
            ks_buf_byte(out, ',');
        }
        write_exemplar(out, &q->found[i]);
    }
    ks_buf_str(out, q->count ? "]}]}" : "]}");
}

static ks_err compile(struct ks_http_request *req, const struct ks_select_opts *sel,
                      struct matcher_re **ret, size_t *ret_n)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < sel->selector_count; i++)
        n += sel->selectors[i].count;
    struct matcher_re *m = ks_arena_zalloc(&req->arena, (n + 1) * sizeof *m);
    if (!m)
        return ks_arena_err(&req->arena);
    *ret = m;
    *ret_n = n;
    for (size_t i = 0; i < sel->selector_count; i++)
        for (size_t j = 0; j < sel->selectors[i].count; j++, k++) {
            char why[128];
            m[k].m = &sel->selectors[i].matchers[j];
            if (m[k].m->op < KS_MATCH_RE)
                continue;
            m[k].re =
                ks_re_new(m[k].m->value.ptr, m[k].m->value.len, KS_RE_DOT_NL, why, sizeof why);
            if (!m[k].re)
                return ks_fail(KS_EPARSE, "bad regular expression: %s", why);
        }
    return KS_OK;
}

/*
 * Of all series that some selector of the expression matches, as Prometheus has it: a dashboard
 * sends its panel's query. What cannot be parsed has none, as VictoriaMetrics never has.
 */
ks_err ks_prom_exemplars(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel = {0};
    struct exemplar_query q = {.req = req, .sel = &sel};
    size_t n = 0;
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_query_duration_ms, &ctx));
    KS_TRY(ks_prom_time_range(&ctx, KS_MS_HOUR, &q.start, &q.end));
    struct ks_selector *parsed;
    size_t parsed_count;
    struct ks_slice query = ks_http_arg(req, "query");
    enum ks_dialect dialect = ctx.app->cfg.strict_dialect ? KS_PROMQL_STRICT : KS_METRICSQL;
    if (query.len &&
        ks_promql_selectors(query, dialect, &req->arena, &parsed, &parsed_count) == KS_OK &&
        parsed_count) {
        KS_TRY(ks_prom_and_filters(&ctx, parsed, parsed_count, &sel));
        ks_err err = compile(req, &sel, &q.compiled, &n);
        if (err == KS_OK)
            ks_exemplars_each(ctx.app->exemplars, on_exemplar, &q);
        for (size_t i = 0; i < n; i++)
            ks_re_free(q.compiled[i].re);
        KS_TRY(err);
        KS_TRY(q.err);
    }
    write_exemplars(req, &q);
    return KS_OK;
}

/* --- query texts --- */
static bool strict(const struct ks_http_request *req)
{
    return req->strict || ks_slice_is(ks_http_arg(req, "dialect"), "promql");
}

/* Prometheus names the argument that is wrong. */
static ks_err named(const struct ks_http_request *req, ks_err err)
{
    return err == KS_EPARSE && strict(req) ? ks_fail_context(err, "invalid parameter \"query\"")
                                           : err;
}

ks_err ks_prom_format_query(struct ks_http_request *req)
{
    struct ks_buf text;
    ks_buf_init(&text, 1 << 20);
    ks_err err = ks_promql_format(ks_http_arg(req, "query"),
                                  strict(req) ? KS_PROMQL_STRICT : KS_METRICSQL, true, &text);
    if (err == KS_OK) {
        req->resp.content_type = "application/json";
        ks_buf_str(&req->resp.body, "{\"status\":\"success\",\"data\":");
        ks_buf_json_str(&req->resp.body, ks_buf_view(&text));
        ks_buf_byte(&req->resp.body, '}');
    }
    ks_buf_done(&text);
    return named(req, err);
}

ks_err ks_prom_parse_query(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"success\",\"data\":");
    KS_TRY(named(req, ks_promql_ast_json(ks_http_arg(req, "query"),
                                         strict(req) ? KS_PROMQL_STRICT : KS_METRICSQL,
                                         &req->resp.body)));
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

/* VictoriaMetrics' answers to a query text, spaces and all; errors too come with status 200. */
static void text_answer(struct ks_http_request *req, ks_err err, const struct ks_buf *text,
                        const char *ok, const char *failed)
{
    struct ks_buf *out = &req->resp.body;
    req->resp.content_type = "application/json";
    ks_buf_str(out, err == KS_OK ? ok : failed);
    ks_buf_json_str(out, err == KS_OK ? ks_buf_view(text) : ks_slice_str(ks_err_text()));
    ks_buf_byte(out, '}');
}

static void html_text(struct ks_buf *out, struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        const char *e = s.ptr[i] == '<' ? "&lt;" : s.ptr[i] == '&' ? "&amp;" : NULL;
        if (e)
            ks_buf_str(out, e);
        else
            ks_buf_byte(out, (uint8_t)s.ptr[i]);
    }
}

ks_err ks_prom_expand_with_exprs(struct ks_http_request *req)
{
    struct ks_buf text, *out = &req->resp.body;
    struct ks_slice query = ks_http_arg(req, "query");
    ks_buf_init(&text, 1 << 20);
    ks_err err = query.len ? ks_promql_expand(query, &text)
                           : ks_fail(KS_EINVAL, "query string cannot be empty");
    if (ks_slice_is(ks_http_arg(req, "format"), "json")) {
        text_answer(req, err, &text,
                    "{\"status\": \"success\",\"expr\":", "{\"status\": \"error\",\"error\":");
    } else {
        req->resp.content_type = "text/html; charset=utf-8";
        ks_buf_str(out, "<html><head><title>Expand WITH expressions</title></head><body><form "
                        "method=\"get\"><p>MetricsQL query with optional WITH expressions:</p>"
                        "<textarea name=\"query\" style=\"height: 15em; width: 90%\">");
        html_text(out, query);
        ks_buf_str(out,
                   "</textarea><br/><input type=\"submit\" value=\"Expand\"/><p>The query as "
                   "it is evaluated:</p><textarea style=\"height: 5em; width: 90%\" readonly>");
        html_text(out,
                  err != KS_OK && query.len ? ks_slice_str(ks_err_text()) : ks_buf_view(&text));
        ks_buf_str(out, "</textarea></form></body></html>");
    }
    ks_buf_done(&text);
    return KS_OK;
}

ks_err ks_prom_prettify_query(struct ks_http_request *req)
{
    struct ks_buf text;
    ks_buf_init(&text, 1 << 20);
    ks_err err = ks_promql_format(ks_http_arg(req, "query"), KS_METRICSQL, true, &text);
    text_answer(req, err, &text,
                "{\"status\": \"success\", \"query\": ", "{\"status\": \"error\", \"msg\": ");
    ks_buf_done(&text);
    return KS_OK;
}

/* --- administration --- */
ks_err ks_prom_delete_series(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_select_opts sel;
    uint64_t series = 0;
    if (ks_http_arg(req, "start").len || ks_http_arg(req, "end").len)
        return ks_fail(
            KS_EINVAL,
            "start and end aren't supported: whole series are deleted. Remove these args");
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_status_duration_ms, &ctx));
    KS_TRY(ks_prom_select_opts(&ctx, 0, INT64_MAX, true, &sel));
    KS_TRY(ks_engine_delete(ctx.app->engine, &sel, &series));
    ks_log(KS_LOG_INFO, "api", "series deleted count=%llu tenant=%u:%u remote=%.*s",
           (unsigned long long)series, req->tenant.account, req->tenant.project,
           KS_SLICE_ARG(req->remote_addr));
    req->resp.status = 204;
    return KS_OK;
}

struct tenant_out {
    struct ks_buf *out;
    const char *sep;
};

static bool write_tenant(void *arg, struct ks_tenant t)
{
    struct tenant_out *o = arg;
    ks_buf_printf(o->out, "%s\"%u:%u\"", o->sep, t.account, t.project);
    o->sep = ",";
    return true;
}

ks_err ks_prom_tenants(struct ks_http_request *req)
{
    int64_t start, end;
    struct tenant_out o = {&req->resp.body, ""};
    KS_TRY(ks_http_arg_time_ms(req, "start", 0, &start));
    KS_TRY(ks_http_arg_time_ms(req, "end", ks_now_ms(), &end));
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"success\",\"data\":[");
    KS_TRY(ks_engine_tenants(ks_app_of(req)->engine, start, end, write_tenant, &o));
    ks_buf_str(&req->resp.body, "]}");
    return KS_OK;
}
