/* stats_query and stats_query_range: the rows of a stats pipe as Prometheus' vector and matrix. */
#include <stdlib.h>

#include "api/vlogs/vlogs.h"
#include "base/num.h"
#include "query/logsql/filter/value.h"

struct sample {
    struct ks_slice metric; /* {"__name__":…,…} */
    int64_t time_ns;
    struct ks_slice value;
};
struct series {
    struct ks_vl_ctx c;
    struct ks_lq_stats_shape shape;
    struct sample *items;
    size_t count, cap;
    bool range;
};

static bool is_label(const struct series *s, struct ks_slice name)
{
    for (size_t i = 0; i < s->shape.labels.count; i++)
        if (ks_slice_eq(s->shape.labels.items[i], name))
            return true;
    return false;
}

static void json_pair(struct ks_buf *b, struct ks_slice name, struct ks_slice value)
{
    ks_buf_byte(b, ',');
    ks_lq_buf_json(b, name);
    ks_buf_byte(b, ':');
    ks_lq_buf_json(b, value);
}

static ks_err metric_json(struct series *s, const struct ks_vl_cursor *cur, struct ks_slice name,
                          struct ks_slice vmrange, struct ks_slice *ret)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_buf_str(&b, "{\"__name__\":");
    ks_lq_buf_json(&b, name);
    for (size_t i = 0; i < s->shape.labels.count; i++) {
        struct ks_slice l = s->shape.labels.items[i];
        json_pair(&b, l, ks_lq_col_text(ks_lq_rows_col(cur->rows, l), cur->row, tmp));
    }
    if (vmrange.len)
        json_pair(&b, KS_SLICE_LIT("vmrange"), vmrange);
    ks_buf_byte(&b, '}');
    *ret = ks_arena_dup(&s->c.req->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return ret->ptr ? KS_OK : ks_arena_err(&s->c.req->arena);
}

static ks_err add(struct series *s, struct sample x)
{
    if (s->count == s->cap)
        KS_TRY(ks_arena_grow(&s->c.req->arena, (void **)&s->items, &s->cap, s->count + 1,
                             sizeof *s->items));
    s->items[s->count++] = x;
    return KS_OK;
}

/* The text between the quotes behind `key":` at or after *pos. */
static bool json_member(struct ks_slice v, const char *key, size_t *pos, struct ks_slice *ret)
{
    char *at = memmem(v.ptr + *pos, v.len - *pos, key, strlen(key));
    if (!at)
        return false;
    size_t i = (size_t)(at - v.ptr) + strlen(key);
    while (i < v.len && (v.ptr[i] == '"' || v.ptr[i] == ':' || v.ptr[i] == ' '))
        i++;
    size_t from = i;
    while (i < v.len && v.ptr[i] != '"' && v.ptr[i] != ',' && v.ptr[i] != '}')
        i++;
    *ret = ks_slice_sub(v, from, i - from);
    *pos = i;
    return true;
}

/* [{"vmrange":"a...b","hits":3},…] as one series per bucket. */
static ks_err add_histogram(struct series *s, const struct ks_vl_cursor *cur, struct ks_slice name,
                            int64_t time_ns, struct ks_slice v)
{
    struct ks_slice range, hits, metric;
    struct ks_slice bucket = ks_arena_printf(&s->c.req->arena, "%.*s_bucket", KS_SLICE_ARG(name));
    if (!bucket.ptr)
        return ks_arena_err(&s->c.req->arena);
    for (size_t pos = 0;
         json_member(v, "\"vmrange\"", &pos, &range) && json_member(v, "\"hits\"", &pos, &hits);) {
        KS_TRY(metric_json(s, cur, bucket, range, &metric));
        KS_TRY(add(s, (struct sample){metric, time_ns, hits}));
    }
    return KS_OK;
}

static bool is_histogram(struct ks_slice v)
{
    return v.len > 12 && memcmp(v.ptr, "[{\"vmrange\"", 11) == 0;
}

static ks_err add_row(struct series *s, const struct ks_vl_cursor *cur)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    int64_t t = s->c.now_ns + 1;
    if (s->range && !ks_lq_parse_rfc3339(ks_vl_value(cur, "_time", tmp), &t))
        return KS_OK;
    for (uint32_t i = 0; i < cur->rows->col_count; i++) {
        const struct ks_lq_col *c = &cur->rows->cols[i];
        struct ks_slice metric, v = ks_lq_col_text(c, cur->row, tmp);
        if (is_label(s, c->name) || ks_slice_is(c->name, "_time"))
            continue;
        if (is_histogram(v)) {
            KS_TRY(add_histogram(s, cur, c->name, t, v));
            continue;
        }
        KS_TRY(metric_json(s, cur, c->name, ks_slice(NULL, 0), &metric));
        v = ks_arena_dup(&s->c.req->arena, v);
        if (!v.ptr)
            return ks_arena_err(&s->c.req->arena);
        KS_TRY(add(s, (struct sample){metric, t, v}));
    }
    return KS_OK;
}

static ks_err collect(struct series *s)
{
    struct ks_vl_table t;
    ks_vl_table_init(&t, &s->c.req->arena);
    KS_TRY(ks_vl_run(&s->c, 0, 0, &t.s));
    struct ks_vl_cursor cur = {.t = &t};
    while (ks_vl_next(&cur))
        KS_TRY(add_row(s, &cur));
    return KS_OK;
}

static void write_point(struct ks_buf *out, const struct sample *x)
{
    char text[32];
    ks_buf_byte(out, '[');
    ks_buf_add(out, text, ks_ms_format_seconds(text, x->time_ns / 1000000));
    ks_buf_byte(out, ',');
    ks_lq_buf_json(out, x->value);
    ks_buf_byte(out, ']');
}

static void write_vector(struct series *s, struct ks_buf *out)
{
    ks_buf_str(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[");
    for (size_t i = 0; i < s->count; i++) {
        ks_buf_str(out, i ? ",{\"metric\":" : "{\"metric\":");
        ks_buf_slice(out, s->items[i].metric);
        ks_buf_str(out, ",\"value\":");
        write_point(out, &s->items[i]);
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "]}}");
}

static int by_metric(const void *pa, const void *pb)
{
    const struct sample *a = pa, *b = pb;
    int c = ks_slice_cmp(a->metric, b->metric);
    return c ? c : (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
}

static void write_matrix(struct series *s, struct ks_buf *out)
{
    if (s->count)
        qsort(s->items, s->count, sizeof *s->items, by_metric);
    ks_buf_str(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[");
    for (size_t i = 0; i < s->count; i++) {
        bool first = !i || !ks_slice_eq(s->items[i].metric, s->items[i - 1].metric);
        if (first) {
            ks_buf_str(out, i ? "]},{\"metric\":" : "{\"metric\":");
            ks_buf_slice(out, s->items[i].metric);
            ks_buf_str(out, ",\"values\":[");
        } else {
            ks_buf_byte(out, ',');
        }
        write_point(out, &s->items[i]);
    }
    ks_buf_str(out, s->count ? "]}]}}" : "]}}");
}

static ks_err by_step(struct series *s)
{
    int64_t step, offset;
    if (!ks_http_arg(s->c.req, "step").len)
        return ks_fail(KS_EINVAL, "missing `step` arg");
    KS_TRY(ks_vl_arg_duration_ns(s->c.req, "step", 0, &step));
    KS_TRY(ks_vl_arg_duration_ns(s->c.req, "offset", 0, &offset));
    if (step <= 0)
        return ks_fail(KS_EINVAL, "step has to be above 0");
    return ks_lq_stats_by_time(s->c.query, step, offset, &s->c.req->arena);
}

static ks_err stats(struct ks_http_request *req, bool range)
{
    struct series s = {.range = range};
    KS_TRY(ks_vl_begin(req, true, &s.c));
    if (range)
        KS_TRY(by_step(&s));
    KS_TRY(ks_lq_stats_shape(s.c.query, range, &req->arena, &s.shape));
    KS_TRY(collect(&s));
    req->resp.content_type = "application/json";
    if (range)
        write_matrix(&s, &req->resp.body);
    else
        write_vector(&s, &req->resp.body);
    return ks_buf_status(&req->resp.body);
}

/* Errors of a query are 422 here, in Prometheus' form. */
static ks_err answer(struct ks_http_request *req, ks_err err)
{
    int status = ks_err_http_status(err);
    if (!err || status >= 499)
        return err;
    ks_buf_reset(&req->resp.body);
    req->resp.status = 422;
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"status\":\"error\",\"errorType\":\"422\",\"error\":");
    ks_lq_buf_json(&req->resp.body, ks_slice_str(ks_err_text()));
    ks_buf_byte(&req->resp.body, '}');
    return KS_OK;
}

ks_err ks_vl_stats_query(struct ks_http_request *req)
{
    return answer(req, stats(req, false));
}

ks_err ks_vl_stats_query_range(struct ks_http_request *req)
{
    return answer(req, stats(req, true));
}
