/* Tempo's traces: searches and traces by id. */
#include "api/tempo/tempo.h"

#include <stdio.h>

#include "api/tempo/tempo_priv.h"
#include "base/num.h"
#include "query/traces/jaeger.h"
#include "query/traces/otlp_out.h"
#include "query/traces/proto_out.h"
#include "query/traces/summary.h"
#include "storage/traces/any_value.h"

enum { TRACE_ARENA_BYTES = 512 << 20, LIMIT = 20, SPANS_PER_SET = 3, SPANS_PER_SET_MAX = 100 };

/* --- what all have --- */
static ks_err begin(struct ksi_tempo *t, struct ks_http_request *req)
{
    t->req = req;
    t->store = ks_app_of(req)->traces;
    t->exact = true;
    t->q.cmp_count = 0;
    ks_arena_init(&t->arena, TRACE_ARENA_BYTES);
    KS_TRY(ks_trace_tenant(req, &t->tenant));
    return ks_trace_filters(req, &t->p);
}

static ks_err end(struct ksi_tempo *t, ks_err err)
{
    ks_traceql_done(&t->q);
    ks_arena_done(&t->arena);
    if (err != KS_OK)
        ks_buf_reset(&t->req->resp.body);
    /* What is TraceQL but not done here is the client's to change, as wrong syntax is. */
    return err == KS_EUNSUPPORTED ? KS_EINVAL : err;
}

/* Unix seconds, with a fraction or without. */
static ks_err seconds_arg(struct ks_http_request *req, const char *name, uint64_t *ret_ns)
{
    struct ks_slice s = ks_http_arg(req, name);
    double v;
    if (!s.len)
        return KS_OK;
    if (!ks_f64_parse(s, &v) || !(v >= 0) || v > 9e9)
        return ks_fail(KS_EINVAL, "invalid %s: want unix seconds, have \"%.*s\"", name,
                       KS_SLICE_ARG(s));
    *ret_ns = (uint64_t)(v * 1e9);
    return KS_OK;
}

static ks_err duration_arg(struct ks_http_request *req, const char *name, uint64_t *ret_ns)
{
    struct ks_slice s = ks_http_arg(req, name);
    int64_t ns = 0;
    if (s.len && (!ks_go_duration_ns(s, &ns) || ns < 0))
        return ks_fail(KS_EINVAL, "invalid %s: \"%.*s\"", name, KS_SLICE_ARG(s));
    if (s.len)
        *ret_ns = (uint64_t)ns;
    return KS_OK;
}

static ks_err count_arg(struct ks_http_request *req, const char *name, size_t fallback, size_t max,
                        size_t *ret)
{
    int64_t v;
    KS_TRY(ks_http_arg_i64(req, name, (int64_t)fallback, &v));
    if (v < 0)
        return ks_fail(KS_EINVAL, "invalid %s: must be a positive number", name);
    *ret = v == 0 ? fallback : (size_t)v < max ? (size_t)v : max;
    return KS_OK;
}

/* tags=key=value key2="a value": logfmt; all must be there. */
static ks_err legacy_tags(struct ksi_tempo *t, struct ks_slice s)
{
    const char *p = s.ptr, *end = p + s.len;
    for (;;) {
        while (p < end && *p == ' ')
            p++;
        if (p == end)
            return KS_OK;
        const char *eq = memchr(p, '=', (size_t)(end - p));
        if (!eq || eq == p)
            return ks_fail(KS_EINVAL, "invalid tags: want key=value, have \"%.*s\"",
                           KS_SLICE_ARG(s));
        struct ks_slice key = ks_slice(p, (size_t)(eq - p));
        bool quote = eq + 1 < end && eq[1] == '"';
        const char *v = eq + 1 + quote;
        const char *stop = v < end ? memchr(v, quote ? '"' : ' ', (size_t)(end - v)) : NULL;
        if (!stop && quote)
            return ks_fail(KS_EINVAL, "invalid tags: a quote is not closed");
        stop = stop ? stop : end;
        KS_TRY(ks_trace_add_tag(&t->req->arena, KS_JAEGER_2, key, ks_slice(v, (size_t)(stop - v)),
                                &t->p));
        p = stop + (quote || stop < end);
    }
}

ks_err ksi_tempo_query(struct ksi_tempo *t)
{
    struct ks_http_request *req = t->req;
    bool all_there;
    KS_TRY(ks_traceql_parse(ks_http_arg(req, "q"), &req->arena, &t->q));
    KS_TRY(seconds_arg(req, "start", &t->p.q.min_start_ns));
    KS_TRY(seconds_arg(req, "end", &t->p.q.max_start_ns));
    KS_TRY(duration_arg(req, "minDuration", &t->p.q.min_duration_ns));
    KS_TRY(duration_arg(req, "maxDuration", &t->p.q.max_duration_ns));
    KS_TRY(legacy_tags(t, ks_http_arg(req, "tags")));
    KS_TRY(ks_traceql_hints(&t->q, &t->p, &all_there));
    t->exact = all_there;
    return KS_OK;
}

/* --- traces that fit --- */
/* One candidate; *ret_hit: it fits, and fn has seen it. */
static ks_err look_at(struct ksi_tempo *t, struct ks_trace_id id, ksi_tempo_fn fn, void *arg,
                      bool *ret_hit)
{
    struct ks_traces_hold *hold;
    struct ks_trace_summary summary;
    struct ksi_tempo_hit h = {.id = id, .summary = &summary};
    *ret_hit = false;
    ks_arena_reset(&t->arena);
    ks_err err =
        ks_trace_store_get(t->store, t->tenant, id, true, &t->arena, &h.spans, &h.count, &hold);
    if (err != KS_OK)
        return err == KS_ENOTFOUND ? KS_OK : err; /* evicted meanwhile */
    h.count = ks_trace_filter_spans(&t->p, h.spans, h.count);
    if (h.count) {
        h.matched = ks_arena_array(&t->arena, h.count, sizeof *h.matched);
        err = h.matched ? ks_trace_summarise(h.spans, h.count, &t->arena, &summary)
                        : ks_arena_err(&t->arena);
        if (err == KS_OK && ks_traceql_matches(&t->q, h.spans, h.count, &summary, h.matched)) {
            *ret_hit = true;
            err = fn(t, arg, &h);
        }
    }
    ks_traces_release(hold);
    return err;
}

/*
 * The store gives candidates, newest first; where the query asks more than it can look for,
 * more and more of them until there are enough. Traces that came meanwhile push those seen back.
 */
ks_err ksi_tempo_each(struct ksi_tempo *t, size_t limit, ksi_tempo_fn fn, void *arg)
{
    struct ks_trace_id *seen = NULL;
    size_t seen_count = 0, hits = 0, ask = t->exact ? limit : limit * 4 + 64;
    for (;;) {
        struct ks_trace_id *ids;
        size_t count, from = 0;
        t->p.q.limit = ask;
        KS_TRY(ks_trace_store_search(t->store, t->tenant, &t->p.q, &t->req->arena, &ids, &count));
        if (seen_count) /* behind the last one seen */
            for (size_t i = 0; i < count; i++)
                if (ks_trace_id_eq(ids[i], seen[seen_count - 1]))
                    from = i + 1;
        for (size_t i = from; i < count && hits < limit; i++) {
            bool hit;
            if (atomic_load(&t->req->cancel))
                return ks_fail(KS_ECANCELED, "the client has gone");
            KS_TRY(look_at(t, ids[i], fn, arg, &hit));
            hits += hit;
        }
        if (hits >= limit || count < ask || ask > SIZE_MAX / 8)
            return KS_OK;
        seen = ids;
        seen_count = count;
        ask *= 4;
    }
}

/* --- search --- */
struct search {
    size_t shown, spans_per_set;
};

static void put_spans(const struct search *s, const struct ksi_tempo_hit *h, struct ks_buf *out)
{
    size_t shown = 0, matched = 0;
    ks_buf_str(out, "{\"spans\":[");
    for (size_t i = 0; i < h->count; i++) {
        const struct ks_span *sp = &h->spans[i];
        if (!h->matched[i])
            continue;
        matched++;
        if (shown == s->spans_per_set)
            continue;
        ks_buf_str(out, shown++ ? ",{\"spanID\":\"" : "{\"spanID\":\"");
        ks_jaeger_span_id(out, sp->span_id);
        ks_buf_str(out, "\",\"name\":");
        ks_go_json_str(out, sp->name);
        ks_buf_printf(out, ",\"startTimeUnixNano\":\"%llu\",\"durationNanos\":\"%llu\"",
                      (unsigned long long)sp->start_ns,
                      (unsigned long long)ks_span_duration_ns(sp));
        ks_buf_str(out, ",\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":");
        ks_go_json_str(out, sp->resource->service);
        ks_buf_str(out, "}}]}");
    }
    ks_buf_printf(out, "],\"matched\":%zu}", matched);
}

static ks_err put_hit(struct ksi_tempo *t, void *arg, const struct ksi_tempo_hit *h)
{
    struct search *s = arg;
    struct ks_buf *out = &t->req->resp.body;
    const struct ks_trace_summary *m = h->summary;
    ks_buf_str(out, s->shown++ ? ",{\"traceID\":\"" : "{\"traceID\":\"");
    ks_jaeger_trace_id(out, h->id, false);
    ks_buf_str(out, "\",\"rootServiceName\":");
    ks_go_json_str(out, m->root ? m->root->resource->service
                                : KS_SLICE_LIT("<root span not yet received>"));
    ks_buf_str(out, ",\"rootTraceName\":");
    ks_go_json_str(out, m->root ? m->root->name : ks_slice("", 0));
    ks_buf_printf(out, ",\"startTimeUnixNano\":\"%llu\",\"durationMs\":%llu,\"spanSet\":",
                  (unsigned long long)m->min_start_ns,
                  (unsigned long long)((m->max_end_ns - m->min_start_ns) / 1000000));
    put_spans(s, h, out);
    ks_buf_str(out, ",\"spanSets\":[");
    put_spans(s, h, out);
    ks_buf_str(out, "],\"serviceStats\":{");
    for (size_t i = 0; i < m->service_count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_go_json_str(out, m->services[i].name);
        ks_buf_printf(out, ":{\"spanCount\":%zu", m->services[i].spans);
        if (m->services[i].errors)
            ks_buf_printf(out, ",\"errorCount\":%zu", m->services[i].errors);
        ks_buf_byte(out, '}');
    }
    ks_buf_str(out, "}}");
    return ks_buf_status(out);
}

static ks_err search(struct ksi_tempo *t)
{
    struct ks_http_request *req = t->req;
    struct search s = {0};
    size_t limit;
    KS_TRY(ksi_tempo_query(t));
    KS_TRY(count_arg(req, "limit", LIMIT, ks_app_of(req)->cfg.max_traces_per_search, &limit));
    KS_TRY(count_arg(req, "spss", SPANS_PER_SET, SPANS_PER_SET_MAX, &s.spans_per_set));
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body, "{\"traces\":[");
    KS_TRY(ksi_tempo_each(t, limit, put_hit, &s));
    ks_buf_printf(&req->resp.body,
                  "],\"metrics\":{\"inspectedTraces\":%zu,\"inspectedBytes\":\"0\"}}", s.shown);
    return ks_buf_status(&req->resp.body);
}

/* --- one trace --- */
/* The protobuf of a TracesData; v2 has it as field 1 of its answer. */
static ks_err as_protobuf(struct ksi_tempo *t, bool v2, const struct ks_span *spans, size_t count)
{
    struct ks_buf *out = &t->req->resp.body;
    t->req->resp.content_type = "application/protobuf";
    size_t at = v2 ? ks_pbw_begin(out, 1) : 0;
    KS_TRY(ks_otlp_out_proto(spans, count, &t->arena, out));
    if (v2)
        ks_pbw_end(out, at);
    return ks_buf_status(out);
}

static ks_err as_json(struct ksi_tempo *t, bool v2, const struct ks_span *spans, size_t count)
{
    struct ks_buf *out = &t->req->resp.body;
    bool first = true;
    t->req->resp.content_type = "application/json";
    ks_buf_str(out, v2 ? "{\"trace\":{\"resourceSpans\":[" : "{\"batches\":[");
    KS_TRY(ks_otlp_out_proto_json(spans, count, &t->arena, &first, out));
    ks_buf_str(out, v2 ? "]},\"metrics\":{\"inspectedBytes\":\"0\"}}" : "]}");
    return ks_buf_status(out);
}

static ks_err one_trace(struct ksi_tempo *t, bool v2)
{
    struct ks_trace_id id;
    struct ks_span *spans;
    struct ks_traces_hold *hold;
    size_t count;
    if (!ks_jaeger_parse_trace_id(t->req->param, &id))
        return ks_fail(KS_EINVAL, "trace IDs can only contain up to 32 hex characters");
    KS_TRY(ks_trace_store_get(t->store, t->tenant, id, false, &t->arena, &spans, &count, &hold));
    count = ks_trace_filter_spans(&t->p, spans, count);
    struct ks_slice accept = ks_http_header(t->req, "Accept");
    bool protobuf = ks_slice_has_prefix(accept, KS_SLICE_LIT("application/protobuf"));
    ks_err err = !count     ? ks_fail(KS_ENOTFOUND, "trace not found")
                 : protobuf ? as_protobuf(t, v2, spans, count)
                            : as_json(t, v2, spans, count);
    ks_traces_release(hold);
    return err;
}

/* --- handlers --- */
ks_err ksi_tempo_run(struct ks_http_request *req, ks_err (*body)(struct ksi_tempo *))
{
    struct ksi_tempo *t = ks_arena_zalloc(&req->arena, sizeof *t);
    if (!t)
        return ks_arena_err(&req->arena);
    ks_err err = begin(t, req);
    return end(t, err == KS_OK ? body(t) : err);
}

static ks_err trace_v1(struct ksi_tempo *t)
{
    return one_trace(t, false);
}
static ks_err trace_v2(struct ksi_tempo *t)
{
    return one_trace(t, true);
}

ks_err ks_tempo_search(struct ks_http_request *req)
{
    return ksi_tempo_run(req, search);
}
ks_err ks_tempo_trace(struct ks_http_request *req)
{
    return ksi_tempo_run(req, trace_v1);
}
ks_err ks_tempo_trace_v2(struct ks_http_request *req)
{
    return ksi_tempo_run(req, trace_v2);
}

/* Grafana asks it when a datasource is saved. */
ks_err ks_tempo_echo(struct ks_http_request *req)
{
    req->resp.content_type = "text/plain; charset=utf-8";
    ks_buf_str(&req->resp.body, "echo");
    return KS_OK;
}
