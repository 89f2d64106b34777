/*
 * /api/metrics/{latencies,calls,errors}: rate, errors and duration of services, counted from the
 * spans of the ring when asked. Answers are OpenMetrics' MetricFamily in protobuf's JSON, as
 * Jaeger's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jaeger/jaeger.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/time.h"
#include "storage/traces/any_value.h"
#include "sys/clock.h"

enum { POINTS_MAX = 11000, GROUPS_MAX = 200, BUCKETS = 160, KINDS = 6 };
enum what { LATENCIES, CALLS, ERRORS };

/* A service, or one of its operations. bins: by step; latencies in buckets of a quarter octave. */
struct group {
    struct ks_slice service, operation;
    uint32_t *calls, *errors, *latency;
};

struct red {
    enum what what;
    struct ks_slice *services;
    size_t service_count;
    bool by_operation;
    unsigned kinds; /* a bit each */
    double quantile;
    int64_t start_ms, end_ms, step_ms, window_bins;
    size_t points, bins;
    struct ks_arena *arena;
    struct group groups[GROUPS_MAX];
    size_t group_count;
};

static struct group *group_of(struct red *r, struct ks_slice service, struct ks_slice operation)
{
    if (!r->by_operation)
        operation = ks_slice("", 0);
    for (size_t i = 0; i < r->group_count; i++)
        if (ks_slice_eq(r->groups[i].service, service) &&
            ks_slice_eq(r->groups[i].operation, operation))
            return &r->groups[i];
    if (r->group_count == GROUPS_MAX)
        return NULL;
    struct group *g = &r->groups[r->group_count];
    g->service = ks_arena_dup(r->arena, service);
    g->operation = ks_arena_dup(r->arena, operation);
    g->calls = ks_arena_zalloc(r->arena, r->bins * sizeof *g->calls);
    g->errors = ks_arena_zalloc(r->arena, r->bins * sizeof *g->errors);
    g->latency = r->what == LATENCIES
                     ? ks_arena_zalloc(r->arena, r->bins * BUCKETS * sizeof *g->latency)
                     : NULL;
    if (!g->service.ptr || !g->operation.ptr || !g->calls || !g->errors ||
        (r->what == LATENCIES && !g->latency))
        return NULL;
    r->group_count++;
    return g;
}

static unsigned bucket_of(uint64_t ns)
{
    double b = ns > 1000 ? 4 * log2((double)ns / 1000) : 0;
    return b >= BUCKETS ? BUCKETS - 1 : (unsigned)b;
}

/* A span lands in the first bin whose end is not before its end. */
static ks_err note(void *arg, const struct ks_span_head *h)
{
    struct red *r = arg;
    bool wanted = false;
    for (size_t i = 0; i < r->service_count && !wanted; i++)
        wanted = ks_slice_eq(r->services[i], h->service);
    if (!wanted || h->kind >= KINDS || !(r->kinds >> h->kind & 1))
        return KS_OK;
    int64_t first_ms = r->start_ms - r->window_bins * r->step_ms;
    int64_t at = ((int64_t)(h->end_ns / 1000000) - first_ms) / r->step_ms;
    if ((int64_t)(h->end_ns / 1000000) < first_ms || at < 0 || (size_t)at >= r->bins)
        return KS_OK;
    struct group *g = group_of(r, h->service, h->name);
    if (!g)
        return r->arena->err != KS_OK ? ks_arena_err(r->arena) : KS_OK;
    g->calls[at]++;
    g->errors[at] += h->status == KS_STATUS_ERROR;
    if (g->latency) {
        uint64_t ns = h->end_ns > h->start_ns ? h->end_ns - h->start_ns : 0;
        g->latency[(size_t)at * BUCKETS + bucket_of(ns)]++;
    }
    return KS_OK;
}

/* --- arguments --- */
static ks_err ms_arg(struct ks_http_request *req, const char *name, int64_t fallback, int64_t *ret)
{
    KS_TRY(ks_http_arg_i64(req, name, fallback, ret));
    return *ret > 0 ? KS_OK
                    : ks_fail(KS_EINVAL, "unable to parse param '%s': want milliseconds", name);
}

/* As Go reads booleans. */
static ks_err bool_arg(struct ks_http_request *req, const char *name, bool *ret)
{
    static const char *const words[] = {"true", "false", "1",    "0",     "t",    "f",
                                        "T",    "F",     "TRUE", "FALSE", "True", "False"};
    struct ks_slice s = ks_http_arg(req, name);
    *ret = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ks_slice_is(s, words[i])) {
            *ret = i % 2 == 0;
            return KS_OK;
        }
    return s.len ? ks_fail(KS_EINVAL, "unable to parse param '%s': \"%.*s\" is no boolean", name,
                           KS_SLICE_ARG(s))
                 : KS_OK;
}

static ks_err kinds_arg(struct ks_http_request *req, unsigned *ret)
{
    *ret = 0;
    for (size_t i = 0; i < req->arg_count; i++) {
        struct ks_slice v = req->args[i].value;
        if (!ks_slice_is(req->args[i].name, "spanKind"))
            continue;
        unsigned k = 0;
        while (k < KINDS && !ks_slice_is(v, k ? ks_span_kind_name(k) : "unspecified"))
            k++;
        if (k == KINDS)
            return ks_fail(KS_EINVAL,
                           "unable to parse param 'spanKind': unsupported span kind: "
                           "'%.*s'",
                           KS_SLICE_ARG(v));
        *ret |= 1u << k;
    }
    if (!*ret)
        *ret = 1u << KS_KIND_SERVER;
    return KS_OK;
}

static ks_err read_args(struct ks_http_request *req, struct red *r)
{
    int64_t lookback, rate;
    r->services = ks_arena_array(&req->arena, req->arg_count + 1, sizeof *r->services);
    if (!r->services)
        return ks_arena_err(&req->arena);
    for (size_t i = 0; i < req->arg_count; i++)
        if (ks_slice_is(req->args[i].name, "service") && req->args[i].value.len)
            r->services[r->service_count++] = req->args[i].value;
    if (!r->service_count)
        return ks_fail(KS_EINVAL, "unable to parse param 'service': please provide at least one "
                                  "service name");
    struct ks_slice q = ks_http_arg(req, "quantile");
    if (r->what == LATENCIES &&
        (!ks_f64_parse(q, &r->quantile) || !(r->quantile >= 0) || r->quantile > 1))
        return ks_fail(KS_EINVAL, "unable to parse param 'quantile': want a number from 0 to 1");
    KS_TRY(bool_arg(req, "groupByOperation", &r->by_operation));
    KS_TRY(kinds_arg(req, &r->kinds));
    KS_TRY(ms_arg(req, "endTs", ks_now_ms(), &r->end_ms));
    KS_TRY(ms_arg(req, "lookback", KS_MS_HOUR, &lookback));
    KS_TRY(ms_arg(req, "step", 5000, &r->step_ms));
    KS_TRY(ms_arg(req, "ratePer", 10 * KS_MS_MINUTE, &rate));
    if (lookback / r->step_ms > POINTS_MAX || rate / r->step_ms > POINTS_MAX)
        return ks_fail(KS_EINVAL, "lookback or ratePer over step gives more than %d points",
                       POINTS_MAX);
    r->start_ms = r->end_ms - lookback;
    r->window_bins = (rate + r->step_ms - 1) / r->step_ms;
    r->points = (size_t)(lookback / r->step_ms) + 1;
    r->bins = r->points + (size_t)r->window_bins;
    return KS_OK;
}

/* --- answer --- */
static double quantile(const struct group *g, size_t from, size_t to, double q)
{
    uint64_t sums[BUCKETS] = {0}, total = 0, seen = 0;
    for (size_t b = from; b < to; b++)
        for (size_t k = 0; k < BUCKETS; k++)
            sums[k] += g->latency[b * BUCKETS + k];
    for (size_t k = 0; k < BUCKETS; k++)
        total += sums[k];
    double want = q * (double)total;
    for (size_t k = 0; k < BUCKETS; k++) {
        if (!sums[k] || (double)(seen + sums[k]) < want) {
            seen += sums[k];
            continue;
        }
        double low = k ? exp2((double)k / 4) : 0, high = exp2((double)(k + 1) / 4);
        double share = (want - (double)seen) / (double)sums[k];
        return (low + (high - low) * share) / 1000; /* ms */
    }
    return 0;
}

/* The value at a point, over the bins of its window; false: nothing there. */
static bool value_at(const struct red *r, const struct group *g, size_t point, double *ret)
{
    size_t to = point + (size_t)r->window_bins, from = point;
    uint64_t calls = 0, errors = 0;
    for (size_t b = from; b < to; b++) {
        calls += g->calls[b];
        errors += g->errors[b];
    }
    if (!calls)
        return false;
    double seconds = (double)(r->window_bins * r->step_ms) / 1000;
    *ret = r->what == CALLS    ? (double)calls / seconds
           : r->what == ERRORS ? (double)errors / (double)calls
                               : quantile(g, from, to, r->quantile);
    return true;
}

static void put_group(const struct red *r, const struct group *g, struct ks_buf *out)
{
    bool first = true;
    char time[32];
    ks_buf_str(out, "{\"labels\":[");
    if (r->by_operation) {
        ks_buf_str(out, "{\"name\":\"operation\",\"value\":");
        ks_go_json_str(out, g->operation);
        ks_buf_str(out, "},");
    }
    ks_buf_str(out, "{\"name\":\"service_name\",\"value\":");
    ks_go_json_str(out, g->service);
    ks_buf_str(out, "}],\"metricPoints\":[");
    for (size_t i = 0; i < r->points; i++) {
        double v;
        if (!value_at(r, g, i, &v))
            continue;
        size_t n = ks_time_format_rfc3339_ms(time, r->start_ms + (int64_t)i * r->step_ms);
        if (n > 5 && memcmp(time + n - 5, ".000Z", 5) == 0) { /* protobuf's JSON leaves it out */
            time[n - 5] = 'Z';
            n -= 4;
        }
        ks_buf_str(out, first ? "{\"gaugeValue\":{\"doubleValue\":"
                              : ",{\"gaugeValue\":{\"doubleValue\":");
        first = false;
        ks_go_json_f64(out, v);
        ks_buf_str(out, "},\"timestamp\":\"");
        ks_buf_add(out, time, n);
        ks_buf_str(out, "\"}");
    }
    ks_buf_str(out, "]}");
}

static ks_err metrics(struct ks_http_request *req, struct red *r)
{
    static const char *const names[][2] = {{"service_latencies", "service_operation_latencies"},
                                           {"service_call_rate", "service_operation_call_rate"},
                                           {"service_error_rate", "service_operation_error_rate"}};
    static const char *const help[] = {
        "quantile latency, grouped by service", "calls/sec, grouped by service",
        "error rate, computed as a fraction of errors/sec over calls/sec, grouped by service"};
    struct ks_trace_params p;
    struct ks_tenant tenant;
    struct ks_buf *out = &req->resp.body;
    KS_TRY(read_args(req, r));
    KS_TRY(ks_trace_tenant(req, &tenant));
    KS_TRY(ks_trace_filters(req, &p));
    int64_t first_ms = r->start_ms - r->window_bins * r->step_ms;
    p.q.by_end = true;
    p.q.min_start_ns = first_ms > 0 ? (uint64_t)first_ms * 1000000 : 0;
    p.q.max_start_ns = (uint64_t)r->end_ms * 1000000 + 999999;
    KS_TRY(ks_trace_store_heads(ks_app_of(req)->traces, tenant, &p.q, note, r));
    req->resp.content_type = "application/json";
    ks_buf_printf(out, "{\"name\":\"%s\",\"type\":\"GAUGE\",\"help\":\"",
                  names[r->what][r->by_operation]);
    if (r->what == LATENCIES)
        ks_buf_printf(out, "%.2fth ", r->quantile);
    ks_buf_printf(out, "%s%s\",\"metrics\":[", help[r->what],
                  r->by_operation ? " & operation" : "");
    for (size_t i = 0; i < r->group_count; i++) {
        if (i)
            ks_buf_byte(out, ',');
        put_group(r, &r->groups[i], out);
    }
    ks_buf_str(out, "]}");
    return ks_buf_status(out);
}

static ks_err handle(struct ks_http_request *req, enum what what)
{
    struct ks_arena arena;
    struct red *r = ks_zalloc(sizeof *r);
    if (!r)
        return KS_ENOMEM;
    ks_arena_init(&arena, 256 << 20);
    r->what = what;
    r->arena = &arena;
    ks_err err = metrics(req, r);
    ks_arena_done(&arena);
    ks_free(r);
    if (err == KS_OK)
        return KS_OK;
    char text[KS_ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", ks_err_text());
    return ks_jaeger_fail(req, ks_err_http_status(err), text);
}

ks_err ks_jaeger_latencies(struct ks_http_request *req)
{
    return handle(req, LATENCIES);
}
ks_err ks_jaeger_calls(struct ks_http_request *req)
{
    return handle(req, CALLS);
}
ks_err ks_jaeger_errors(struct ks_http_request *req)
{
    return handle(req, ERRORS);
}

/* Milliseconds; for the UI's choice of steps, up to Jaeger 2.1. */
ks_err ks_jaeger_minstep(struct ks_http_request *req)
{
    req->resp.content_type = "application/json";
    ks_buf_str(&req->resp.body,
               "{\"data\":1,\"total\":0,\"limit\":0,\"offset\":0,\"errors\":null}\n");
    return KS_OK;
}
