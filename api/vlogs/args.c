/* Arguments of the query API. See vlogs.h. */
#include <stdarg.h>
#include <stdio.h>

#include "api/ingest/json_reader.h"
#include "api/logs/log_stores.h"
#include "api/vlogs/wire.h"
#include "engine/traces/span_rows.h"
#include "engine/traces/trace_store.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/source_logs.h"
#include "query/traces/source_traces.h"
#include "sys/clock.h"

ks_err ks_vl_arg_uint(const struct ks_http_request *req, const char *name, uint64_t fallback,
                      uint64_t *ret)
{
    struct ks_slice v = ks_http_arg(req, name);
    *ret = fallback;
    if (!v.len)
        return KS_OK;
    int64_t n;
    if (!ks_lq_parse_i64(v, &n))
        return ks_fail(KS_EINVAL, "cannot parse %s=%.*s as a whole number", name, KS_SLICE_ARG(v));
    *ret = n < 0 ? 0 : (uint64_t)n; /* VictoriaLogs takes negative ones for "none" */
    return KS_OK;
}

ks_err ks_vl_arg_duration_ns(const struct ks_http_request *req, const char *name, int64_t fallback,
                             int64_t *ret)
{
    struct ks_slice v = ks_http_arg(req, name);
    double seconds;
    *ret = fallback;
    if (!v.len || ks_lq_parse_duration(v, ret))
        return KS_OK;
    if (!ks_lq_parse_float(v, &seconds) || !(seconds < 9e9 && seconds > -9e9))
        return ks_fail(KS_EINVAL, "cannot parse the duration %s=%.*s", name, KS_SLICE_ARG(v));
    *ret = (int64_t)(seconds * 1e9);
    return KS_OK;
}

static ks_err arg_time(const struct ks_http_request *req, const char *name, int64_t now_ns,
                       int64_t *ret, bool *ret_given)
{
    int64_t last;
    struct ks_slice v = ks_http_arg(req, name);
    *ret_given = v.len > 0;
    if (!v.len || (v.len == 1 && v.ptr[0] == '0')) {
        *ret_given = false;
        return KS_OK;
    }
    ks_err err = ks_lq_parse_time(v, now_ns, ret, &last);
    return err ? ks_fail(KS_EINVAL, "cannot parse %s=%.*s: %s", name, KS_SLICE_ARG(v),
                         "want RFC 3339, a part of it, unix time, or now-1h")
               : KS_OK;
}

static ks_err read_times(struct ks_vl_ctx *c)
{
    int64_t now = ks_now_ns(), start = 0, end = 0, at = 0;
    bool has_time;
    KS_TRY(arg_time(c->req, "start", now, &start, &c->has_start));
    KS_TRY(arg_time(c->req, "end", now, &end, &c->has_end));
    KS_TRY(arg_time(c->req, "time", now, &at, &has_time));
    c->min_ns = c->has_start ? start : INT64_MIN;
    c->max_ns = c->has_end ? (end == INT64_MIN ? end : end - 1) : INT64_MAX;
    c->now_ns = (has_time ? at : c->has_end ? end : now) - 1;
    return KS_OK;
}

/* --- filters of a proxy --- */

static void add_pair(struct ks_buf *out, bool stream, struct ks_slice name,
                     const struct ks_slice *values, size_t count)
{
    ks_lq_print_token(name, out);
    ks_buf_str(out, stream ? " in (" : ":in(");
    for (size_t i = 0; i < count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_lq_print_token(values[i], out);
    }
    ks_buf_byte(out, ')');
}

static ks_err json_values(struct ks_json *j, struct ks_slice **ret, size_t *ret_count)
{
    size_t cap = 0;
    *ret = NULL;
    *ret_count = 0;
    bool list = ks_json_expect(j, '[');
    for (;;) {
        struct ks_slice v;
        ks_json_blanks(j);
        if (list && !*ret_count && ks_json_expect(j, ']'))
            return KS_OK;
        if (!ks_json_string(j, &v))
            return ks_fail(KS_EINVAL, "a filter's values have to be strings");
        if (*ret_count == cap)
            KS_TRY(ks_arena_grow(j->arena, (void **)ret, &cap, cap + 1, sizeof **ret));
        (*ret)[(*ret_count)++] = v;
        if (!list || ks_json_expect(j, ']'))
            return KS_OK;
        if (!ks_json_expect(j, ','))
            return ks_fail(KS_EINVAL, "a list of a filter's values is broken");
    }
}

/* {"k":"v","l":["a","b"]} as LogsQL. */
static ks_err json_filter(struct ks_http_request *req, struct ks_slice text, bool stream,
                          struct ks_buf *out)
{
    struct ks_json j = {text.ptr, text.ptr + text.len, &req->arena};
    bool first = true;
    if (!ks_json_expect(&j, '{'))
        return ks_fail(KS_EINVAL, "cannot parse the filter %.*s", KS_SLICE_ARG(text));
    ks_buf_byte(out, stream ? '{' : '(');
    ks_json_blanks(&j);
    while (!ks_json_expect(&j, '}')) {
        struct ks_slice name, *values;
        size_t n;
        ks_json_blanks(&j);
        if ((!first && !ks_json_expect(&j, ',')) || (ks_json_blanks(&j), false) ||
            !ks_json_string(&j, &name) || !ks_json_expect(&j, ':'))
            return ks_fail(KS_EINVAL, "cannot parse the filter %.*s", KS_SLICE_ARG(text));
        ks_json_blanks(&j);
        KS_TRY(json_values(&j, &values, &n));
        if (!first)
            ks_buf_byte(out, stream ? ',' : ' ');
        add_pair(out, stream, name, values, n);
        first = false;
    }
    if (first && !stream)
        ks_buf_byte(out, '*');
    ks_buf_byte(out, stream ? '}' : ')');
    return ks_buf_status(out);
}

static ks_err add_filter(struct ks_vl_ctx *c, struct ks_slice text, bool stream,
                         struct ks_lq_filter *and, size_t *cap)
{
    struct ks_lq_filter *f;
    struct ks_buf b;
    ks_buf_init(&b, 1 << 20);
    ks_err err = KS_OK;
    struct ks_slice t = ks_slice_trim(text);
    if (t.len >= 2 && t.ptr[0] == '{' && (t.ptr[1] == '"' || t.ptr[1] == '}' || t.ptr[1] == ' ') &&
        memchr(t.ptr, ':', t.len) && !memchr(t.ptr, '=', t.len))
        err = json_filter(c->req, t, stream, &b);
    else
        ks_buf_slice(&b, t);
    if (!err)
        err = ks_lq_parse_filter(ks_buf_view(&b), c->now_ns, &c->req->arena, &f);
    ks_buf_done(&b);
    if (err)
        return ks_fail_context(err, "cannot parse %s=%.*s",
                               stream ? "extra_stream_filters" : "extra_filters",
                               KS_SLICE_ARG(text));
    if (and->kid_count == *cap)
        KS_TRY(
            ks_arena_grow(&c->req->arena, (void **)&and->kids, cap, *cap + 1, sizeof *and->kids));
    and->kids[ and->kid_count++] = f;
    return KS_OK;
}

static ks_err read_filters(struct ks_vl_ctx *c)
{
    struct ks_lq_filter *and = ks_arena_zalloc(&c->req->arena, sizeof *and);
    size_t cap = 0;
    if (!and)
        return ks_arena_err(&c->req->arena);
    and->kind = KS_LQ_F_AND;
    for (size_t i = 0; i < c->req->arg_count; i++) {
        const struct ks_http_arg *a = &c->req->args[i];
        bool stream = ks_slice_is(a->name, "extra_stream_filters");
        if ((stream || ks_slice_is(a->name, "extra_filters")) && ks_slice_trim(a->value).len)
            KS_TRY(add_filter(c, a->value, stream, and, &cap));
    }
    if (and->kid_count)
        c->extra = and;
    return KS_OK;
}

/* ["a","b*"] or a,b* */
static ks_err read_hidden(struct ks_vl_ctx *c)
{
    struct ks_slice v = ks_slice_trim(ks_http_arg(c->req, "hidden_fields_filters")), *names;
    size_t n = 0, cap = 0;
    names = NULL;
    if (!v.len || ks_slice_is(v, "null")) {
        ;
    } else if (v.ptr[0] == '[') {
        struct ks_json j = {v.ptr, v.ptr + v.len, &c->req->arena};
        KS_TRY(json_values(&j, &names, &n));
    } else {
        for (struct ks_slice one; ks_slice_cut(&v, ',', &one);) {
            if (n == cap)
                KS_TRY(ks_arena_grow(&c->req->arena, (void **)&names, &cap, n + 1, sizeof *names));
            names[n++] = ks_slice_trim(one);
        }
    }
    c->hidden.items = ks_arena_array(&c->req->arena, n + 1, sizeof *c->hidden.items);
    if (!c->hidden.items)
        return ks_arena_err(&c->req->arena);
    if (c->spans)
        c->hidden.items[c->hidden.count++] =
            (struct ks_lq_field){KS_SLICE_LIT(KS_SPAN_ROW_HIDDEN), true};
    for (size_t i = 0; i < n; i++) {
        bool prefix = names[i].len && names[i].ptr[names[i].len - 1] == '*';
        struct ks_slice name = prefix ? ks_slice(names[i].ptr, names[i].len - 1) : names[i];
        c->hidden.items[c->hidden.count++] = (struct ks_lq_field){name, prefix};
    }
    return KS_OK;
}

static ks_err choose_source(struct ks_vl_ctx *c)
{
    if (ks_store_is_traces(c->req)) {
        if (!c->app->traces)
            return ks_fail(KS_EUNSUPPORTED, "this process keeps no traces");
        c->spans = true;
        c->store = ks_trace_store_history(c->app->traces);
        c->source = c->store ? ks_lq_source_logs(c->store)
                             : ks_lq_source_traces(ks_trace_store_ring(c->app->traces));
        return KS_OK;
    }
    KS_TRY(ks_log_store_of(c->req, &c->store));
    c->source = ks_lq_source_logs(c->store);
    return KS_OK;
}

ks_err ks_vl_begin(struct ks_http_request *req, bool query, struct ks_vl_ctx *ret)
{
    struct ks_app *app = ks_app_of(req);
    int64_t timeout, max = app->cfg.max_query_duration_ms;
    *ret = (struct ks_vl_ctx){.req = req, .app = app};
    KS_TRY(choose_source(ret));
    KS_TRY(read_times(ret));
    KS_TRY(ks_http_arg_duration_ms(req, "timeout", max, &timeout));
    if (timeout <= 0 || timeout > max)
        timeout = max;
    ret->read.deadline_mono_ms = ks_mono_ms() + timeout;
    ret->read.cancel = &req->cancel;
    if (ks_vl_is_wire(req))
        KS_TRY(ks_vl_wire_begin(ret));
    KS_TRY(read_filters(ret));
    KS_TRY(read_hidden(ret));
    if (!query)
        return KS_OK;
    struct ks_slice text = ks_http_arg(req, "query");
    if (!ks_slice_trim(text).len)
        return ks_fail(KS_EINVAL, "missing `query` arg");
    if (app->cfg.max_query_len && text.len > app->cfg.max_query_len)
        return ks_fail(KS_EINVAL, "the query has %zu bytes; -search.maxQueryLen allows %zu",
                       text.len, app->cfg.max_query_len);
    ks_err err = ks_lq_parse(text, ret->now_ns, &req->arena, &ret->query);
    return err ? ks_fail_context(err, "cannot parse query [%.*s]",
                                 (int)(text.len > 300 ? 300 : text.len), text.ptr)
               : KS_OK;
}

ks_err ks_vl_append(struct ks_vl_ctx *c, bool drop, const char *fmt, ...)
{
    char pipes[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(pipes, sizeof pipes, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof pipes)
        return ks_fail(KS_EINVAL, "an argument is too long");
    struct ks_buf b;
    ks_buf_init(&b, 4 << 20);
    size_t count = c->query->pipe_count;
    if (drop)
        c->query->pipe_count = 0;
    ks_lq_print(c->query, &b);
    c->query->pipe_count = count;
    ks_buf_add(&b, pipes, (size_t)n);
    ks_err err = ks_buf_status(&b);
    if (!err)
        err = ks_lq_parse(ks_buf_view(&b), c->now_ns, &c->req->arena, &c->query);
    ks_buf_done(&b);
    return err;
}

/* -search.maxQueryTimeRange */
static ks_err check_range(struct ks_vl_ctx *c)
{
    int64_t min = c->min_ns, max = c->max_ns, limit = c->app->cfg.logs.max_query_range_ms;
    bool has;
    if (limit <= 0)
        return KS_OK;
    KS_TRY(ks_lq_time_range(c->query, &c->req->arena, &min, &max, &has));
    if (max > ks_now_ns())
        max = ks_now_ns();
    if (max >= min && ((__int128)max - min) / 1000000 > limit)
        return ks_fail(KS_EINVAL,
                       "the query reads a longer range of time than the %lld ms of "
                       "-search.maxQueryTimeRange; use start and end, or a _time filter",
                       (long long)limit);
    return KS_OK;
}

ks_err ks_vl_run(struct ks_vl_ctx *c, uint64_t newest, uint64_t newest_offset,
                 struct ks_lq_stage *sink)
{
    struct ks_lq_request r = {.query = c->query,
                              .source = &c->source,
                              .tenants = c->req->multitenant ? NULL : &c->req->tenant,
                              .tenant_count = c->req->multitenant ? 0 : 1,
                              .min_ns = c->min_ns,
                              .max_ns = c->max_ns,
                              .pool = c->app->engine ? ks_engine_pool(c->app->engine) : NULL,
                              .ctx = &c->read,
                              .memory_max = c->app->cfg.max_memory_per_query_bytes,
                              .extra = c->extra,
                              .hidden = c->hidden,
                              .newest = newest,
                              .newest_offset = newest_offset};
    if (c->tenant_count) {
        r.tenants = c->tenants;
        r.tenant_count = c->tenant_count;
    }
    KS_TRY(check_range(c));
    if (!r.memory_max)
        r.memory_max = ks_memory_limit_bytes() / 4;
    return ks_lq_run(&r, sink, &c->counters);
}

ks_err ks_vl_answer(struct ks_http_request *req, ks_err err)
{
    switch (err) {
    case KS_EPARSE:
    case KS_EINVAL:
    case KS_EEXEC:
    case KS_ELIMIT:
    case KS_EUNSUPPORTED:
        if (ks_http_streaming(req)) {
            ks_http_stream_fail(req, ks_err_text());
            return KS_OK;
        }
        ks_http_text(req, 400, "%s\n", ks_err_text());
        return KS_OK;
    default:
        if (err && ks_http_streaming(req)) {
            ks_http_stream_fail(req, ks_err_text());
            return KS_OK;
        }
        return err;
    }
}

struct ks_slice ks_vl_quote(struct ks_http_request *req, struct ks_slice name)
{
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    ks_lq_print_token(name.len ? name : KS_SLICE_LIT("_msg"), &b);
    struct ks_slice s = ks_arena_dup(&req->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return s;
}
