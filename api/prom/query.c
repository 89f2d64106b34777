/* query and query_range: arguments in, Prometheus JSON out. */
#include <stdio.h>

#include "api/name_stats.h"
#include "api/prom/points.h"
#include "api/prom/prom.h"
#include "api/query_log.h"
#include "base/bytes.h"
#include "base/num.h"
#include "base/stats.h"
#include "sys/clock.h"

static KS_STAT(stat_series_read, "kofstore_query_series_fetched_total");
static KS_STAT(stat_rows_read, "vm_metric_rows_read_total{name=\"vmselect\"}");
static KS_STAT_RANGES(series_per_query, "vm_series_read_per_query");
static KS_STAT_RANGES(rows_per_query, "vm_rows_read_per_query");

static bool absent(double v)
{
    return ks_f64_bits(v) == KS_ABSENT_BITS;
}

static void json_point(const struct ks_prom_ctx *ctx, struct ks_buf *out, int64_t time_ms, double v)
{
    if (ctx->strict)
        ks_prom_json_strict_point(out, time_ms, v);
    else
        ks_prom_json_point(out, time_ms, v);
}

static void write_matrix(const struct ks_prom_ctx *ctx, struct ks_buf *out,
                         const struct ks_promql_result *r)
{
    const char *sep = "";
    struct ks_prom_points points;
    ks_buf_byte(out, '[');
    ks_prom_points_init(&points, r, ctx->strict, &ctx->req->arena, out);
    for (size_t i = 0; i < r->series_count; i++) {
        const struct ks_promql_series *s = &r->series[i];
        size_t before = out->len;
        ks_buf_str(out, sep);
        ks_buf_str(out, "{\"metric\":");
        ks_prom_json_labels(out, s->labels, NULL); /* has the tenant, if all were asked for */
        size_t n = ks_prom_points_numbers(&points, out, s);
        n += ks_prom_points_histograms(&points, out, s);
        if (!ctx->req->flow)
            ks_prom_points_expect(&points, out);
        if (!n) {
            out->len = before; /* a series without points is not part of the answer */
            continue;
        }
        ks_buf_byte(out, '}');
        sep = ",";
        ks_http_flow(ctx->req);
    }
    ks_buf_byte(out, ']');
}

static void write_vector(const struct ks_prom_ctx *ctx, struct ks_buf *out,
                         const struct ks_promql_result *r)
{
    const char *sep = "";
    ks_buf_byte(out, '[');
    for (size_t i = 0; i < r->series_count; i++) {
        const struct ks_promql_series *s = &r->series[i];
        if (!s->count || (!s->times && absent(s->values[0])))
            continue;
        const struct ks_histogram *h = ks_promql_histogram(r, s->values[0]);
        int64_t time = s->times ? s->times[0] : r->start_ms;
        ks_buf_str(out, sep);
        ks_buf_str(out, "{\"metric\":");
        ks_prom_json_labels(out, s->labels, NULL); /* has the tenant, if all were asked for */
        ks_buf_str(out, h ? ",\"histogram\":" : ",\"value\":");
        if (h)
            ks_prom_json_histogram(out, time, h);
        else
            json_point(ctx, out, time, s->values[0]);
        ks_buf_byte(out, '}');
        sep = ",";
        ks_http_flow(ctx->req);
    }
    ks_buf_byte(out, ']');
}

static void write_string_list(struct ks_buf *out, const char *key, const struct ks_slice *list,
                              size_t n)
{
    if (!n)
        return;
    ks_buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_buf_json_str(out, list[i]);
    }
    ks_buf_byte(out, ']');
}

/* MetricsQL knows vectors and matrices only; strict PromQL has scalars and strings too. */
static void write_data(const struct ks_prom_ctx *ctx, struct ks_buf *out,
                       const struct ks_promql_result *r, bool range)
{
    bool matrix = range || r->type == KS_VALUE_MATRIX;
    if (ctx->strict && !range && r->type == KS_VALUE_SCALAR && r->series_count) {
        ks_buf_str(out, "{\"resultType\":\"scalar\",\"result\":");
        json_point(ctx, out, r->start_ms, r->series[0].values[0]);
    } else if (ctx->strict && !range && r->type == KS_VALUE_STRING) {
        char time[32];
        ks_buf_str(out, "{\"resultType\":\"string\",\"result\":[");
        ks_buf_add(out, time, ks_ms_format_seconds(time, r->start_ms));
        ks_buf_byte(out, ',');
        ks_buf_json_str(out, r->text);
        ks_buf_byte(out, ']');
    } else {
        ks_buf_printf(out, "{\"resultType\":\"%s\",\"result\":", matrix ? "matrix" : "vector");
        if (matrix)
            write_matrix(ctx, out, r);
        else if (r->type == KS_VALUE_STRING)
            ks_buf_str(out, "[]");
        else
            write_vector(ctx, out, r);
    }
    ks_buf_byte(out, '}');
}

static void write_answer(const struct ks_prom_ctx *ctx, const struct ks_promql_result *r,
                         bool range)
{
    struct ks_http_request *req = ctx->req;
    struct ks_buf *out = &req->resp.body;
    ks_prom_json_begin(req);
    /* A bare range selector answers with the samples as they are, without statistics. */
    bool bare = r->raw && !range && !ctx->strict;
    if (bare)
        req->resp.content_type = "application/stream+json";
    write_data(ctx, out, r, range);
    write_string_list(out, "warnings", r->warnings, r->warning_count);
    write_string_list(out, "infos", r->infos, r->info_count);
    if (!bare && !ctx->strict)
        ks_buf_printf(out, ",\"stats\":{\"seriesFetched\": \"%llu\",\"executionTimeMsec\":%lld}",
                      (unsigned long long)r->series_fetched,
                      (long long)(ks_mono_us() - req->start_mono_us) / 1000);
    ks_prom_json_trace(req, r->trace);
    ks_buf_byte(out, '}');
}

static ks_err read_options(const struct ks_prom_ctx *ctx, struct ks_promql_request *q)
{
    const struct ks_config *cfg = &ctx->app->cfg;
    struct ks_http_request *req = ctx->req;
    int64_t digits;
    q->query = ks_http_arg(req, "query");
    if (!q->query.len)
        return ks_fail(KS_EINVAL, "missing \"query\" arg");
    q->dialect = ctx->strict ? KS_PROMQL_STRICT : KS_METRICSQL;
    q->multitenant = req->multitenant;
    q->tenants = req->multitenant ? NULL : &req->tenant;
    q->tenant_count = req->multitenant ? 0 : 1;
    q->extra_filters = ctx->filters;
    q->extra_filter_count = ctx->filter_count;
    q->no_cache = ks_http_arg_bool(req, "nocache") || cfg->disable_cache;
    q->cache = ctx->app->results;
    q->now_ms = ctx->now_ms;
    q->deadline_mono_ms = ctx->read.deadline_mono_ms;
    q->cancel = &req->cancel;
    q->experimental_functions = cfg->promql.experimental_functions;
    q->duration_expressions = cfg->promql.duration_expressions;
    q->delayed_name_removal = cfg->promql.delayed_name_removal;
    q->type_and_unit_labels = cfg->promql.type_and_unit_labels;
    q->limits = (struct ks_promql_limits){
        .max_query_len = cfg->max_query_len,
        .max_points_per_series = cfg->max_points_per_series,
        .max_subquery_points = cfg->max_subquery_points,
        .max_series = cfg->max_unique_series,
        .max_samples = cfg->max_samples_per_query,
        .max_memory_bytes = cfg->max_memory_per_query_bytes,
    };
    KS_TRY(ks_http_arg_duration_ms(req, "max_lookback", cfg->max_lookback_ms, &q->lookback_ms));
    if (ks_http_arg(req, "lookback_delta").len)
        KS_TRY(ks_http_arg_duration_ms(req, "lookback_delta", 0, &q->lookback_ms));
    KS_TRY(ks_http_arg_duration_ms(req, "latency_offset", cfg->latency_offset_ms,
                                   &q->latency_offset_ms));
    KS_TRY(ks_http_arg_i64(req, "round_digits", 100, &digits));
    q->round_digits = digits < 0 || digits > 100 ? 100 : (int)digits;
    if (ctx->strict)
        q->latency_offset_ms = 0;
    return KS_OK;
}

/* A failure's text must be copied before it is put into a new one. */
static const char *text_copy(const char *from, char *to, size_t size)
{
    snprintf(to, size, "%s", from);
    return to;
}

static void on_name(void *arg, struct ks_slice name)
{
    const struct ks_prom_ctx *ctx = arg;
    struct ks_tenant none = {0};
    ks_name_stats_add(ctx->app->names, ctx->req->multitenant ? none : ctx->req->tenant, name,
                      ctx->now_ms);
}

static ks_err exec(struct ks_prom_ctx *ctx, struct ks_promql_request *q)
{
    struct ks_app *app = ctx->app;
    struct ks_arena arena;
    char text[KS_ERR_TEXT_MAX];
    struct ks_promql_result r = {0};
    struct ks_query_entry e = {.query = q->query,
                               .remote_addr = ctx->req->remote_addr,
                               .tenant = ctx->req->tenant,
                               .multitenant = q->multitenant,
                               .start_ms = q->start_ms,
                               .end_ms = q->end_ms,
                               .step_ms = q->step_ms};
    ks_arena_init(&arena, app->cfg.max_memory_per_query_bytes ? app->cfg.max_memory_per_query_bytes
                                                              : (size_t)1 << 30);
    q->trace = ks_http_arg_bool(ctx->req, "trace");
    q->on_name = on_name;
    q->on_name_arg = ctx;
    ks_query_begin(app->queries, &e);
    ks_err err = ks_promql_exec(app->engine, q, &arena, &r);
    if (err == KS_OK)
        write_answer(ctx, &r, q->range);
    if (err == KS_EPARSE && ctx->strict)
        err = ks_fail(err, "invalid parameter \"query\": %s",
                      text_copy(ks_err_text(), text, sizeof text));
    ks_query_end(app->queries, &e, arena.used_bytes, app->cfg.log_slow_query_ms);
    ks_stat_add(&stat_series_read, r.series_fetched);
    ks_stat_add(&stat_rows_read, r.samples_read);
    ks_stat_ranges_add(&series_per_query, r.series_fetched);
    ks_stat_ranges_add(&rows_per_query, r.samples_read);
    ks_arena_done(&arena);
    return err;
}

ks_err ks_prom_query(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_promql_request q = {0};
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_query_duration_ms, &ctx));
    KS_TRY(read_options(&ctx, &q));
    if (ctx.strict)
        KS_TRY(ks_prom_strict_time(&ctx, "time", ctx.now_ms, &q.start_ms));
    else
        KS_TRY(ks_http_arg_time_ms(req, "time", ctx.now_ms / 1000 * 1000, &q.start_ms));
    KS_TRY(ks_http_arg_duration_ms(req, "step", 300000, &q.step_ms));
    if (q.step_ms <= 0)
        q.step_ms = 300000;
    q.end_ms = q.start_ms;
    return exec(&ctx, &q);
}

/* start, end and step as Prometheus wants them: all given, in order, at most 11 000 points. */
static ks_err strict_range(const struct ks_prom_ctx *ctx, struct ks_promql_request *q)
{
    struct ks_http_request *req = ctx->req;
    KS_TRY(ks_prom_strict_time(ctx, "start", INT64_MIN, &q->start_ms));
    KS_TRY(ks_prom_strict_time(ctx, "end", INT64_MIN, &q->end_ms));
    if (q->end_ms < q->start_ms)
        return ks_fail(KS_EINVAL,
                       "invalid parameter \"end\": end timestamp must not be before start time");
    struct ks_slice step = ks_http_arg(req, "step");
    if (!step.len || ks_http_arg_duration_ms(req, "step", 0, &q->step_ms) != KS_OK)
        return ks_fail(KS_EINVAL,
                       "invalid parameter \"step\": cannot parse \"%.*s\" to a valid duration",
                       KS_SLICE_ARG(step));
    if (q->step_ms <= 0)
        return ks_fail(
            KS_EINVAL,
            "invalid parameter \"step\": zero or negative query resolution step widths are not "
            "accepted. Try a positive integer");
    if ((q->end_ms - q->start_ms) / q->step_ms > 11000)
        return ks_fail(
            KS_EINVAL,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
            "resolution (?step=XX)");
    return KS_OK;
}

ks_err ks_prom_query_range(struct ks_http_request *req)
{
    struct ks_prom_ctx ctx;
    struct ks_promql_request q = {.range = true};
    KS_TRY(ks_prom_begin(req, ks_app_of(req)->cfg.max_query_duration_ms, &ctx));
    KS_TRY(read_options(&ctx, &q));
    if (ctx.strict) {
        KS_TRY(strict_range(&ctx, &q));
        return exec(&ctx, &q);
    }
    KS_TRY(ks_prom_time_range(&ctx, 300000, &q.start_ms, &q.end_ms));
    KS_TRY(ks_http_arg_duration_ms(req, "step", 300000, &q.step_ms));
    if (q.step_ms <= 0)
        return ks_fail(KS_EINVAL, "\"step\" must be above zero");
    return exec(&ctx, &q);
}
