#include "cmd/traces.h"

#include <stdio.h>
#include <string.h>

#include "api/grpc.h"
#include "api/jaeger/rpc.h"
#include "api/logs/log_stores.h"
#include "api/otlp/grpc_methods.h"
#include "api/span_metrics.h"
#include "api/trace_pins.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"
#include "cmd/flags.h"
#include "engine/logs/log_store.h"
#include "engine/traces/trace_store.h"

/* error, duration>1s, or both joined by "or". */
static ks_err parse_keep(const char *text, struct ks_traces_opts *o)
{
    struct ks_slice s = ks_slice_trim(ks_slice_str(text));
    while (s.len) {
        size_t n = 0;
        while (n < s.len && s.ptr[n] != ' ')
            n++;
        struct ks_slice word = ks_slice(s.ptr, n);
        int64_t ms;
        s = ks_slice_trim(ks_slice_from(s, n));
        if (ks_slice_is(word, "error")) {
            o->keep_errors = true;
        } else if (ks_slice_has_prefix(word, KS_SLICE_LIT("duration>")) &&
                   ks_duration_parse_ms(ks_slice_from(word, 9), &ms) == KS_OK && ms > 0) {
            o->keep_duration_ns = (uint64_t)ms * 1000000;
        } else {
            return ks_fail(KS_EINVAL,
                           "-traces.keep=%s: want error, duration>1s, or both joined by "
                           "or",
                           text);
        }
        if (s.len && !ks_slice_has_prefix(s, KS_SLICE_LIT("or ")))
            return ks_fail(KS_EINVAL, "-traces.keep=%s: want \"or\" between conditions", text);
        if (s.len)
            s = ks_slice_trim(ks_slice_from(s, 2));
    }
    return KS_OK;
}

static ks_err number(const char *flag, int64_t max, uint32_t *ret)
{
    int64_t v = ks_flag_int(flag);
    if (v < 1 || v > max)
        return ks_fail(KS_EINVAL, "-%s=%lld: want 1 to %lld", flag, (long long)v, (long long)max);
    *ret = (uint32_t)v;
    return KS_OK;
}

ks_err ks_serve_traces_new(struct ks_app *app, uint64_t memory_bytes, struct ks_signal *ret)
{
    struct ks_trace_store_opts o = {.no_log = !ks_flag_bool("traces.wal")};
    struct ks_traces_opts *r = &o.ring;
    uint32_t max = 0;
    KS_TRY(number("traces.maxTraces", 1 << 28, &r->max_traces));
    KS_TRY(number("traces.maxSpansPerTrace", 1 << 28, &r->max_spans_per_trace));
    KS_TRY(number("traces.maxTenants", 1 << 20, &r->max_tenants));
    KS_TRY(number("traces.maxTracesPerSearch", 1 << 24, &max));
    app->cfg.max_traces_per_search = max;
    r->max_kept = (uint32_t)ks_flag_int("traces.maxKept");
    KS_TRY(parse_keep(ks_flag_str("traces.keep"), r));
    r->max_bytes = (uint64_t)ks_flag_int("traces.maxBytes");
    if (!r->max_bytes) /* an eighth of what the engine may use, at least 64 MiB */
        r->max_bytes = memory_bytes / 8 > 64 << 20 ? memory_bytes / 8 : 64 << 20;
    app->cfg.trace_self_edges = ks_flag_bool("traces.selfDependencies");
    const char *profile = ks_flag_str("jaeger.profile");
    if (strcmp(profile, "1") != 0 && strcmp(profile, "2") != 0)
        return ks_fail(KS_EINVAL, "-jaeger.profile=%s: want 1 (as 1.52) or 2 (as 2.20)", profile);
    app->cfg.jaeger_v1 = profile[0] == '1';
    if (ks_flag_ms("traces.retentionPeriod") > 0)
        o.history = ks_logs_store(app->logs, KS_SLICE_LIT(KS_STORE_TRACES));
    KS_TRY(ks_trace_store_new(&o, &app->traces));
    *ret = ks_trace_store_signal(app->traces);
    return KS_OK;
}

/* --- beside the store --- */
static ks_err pin_sources(bool from[KS_PIN_SOURCES])
{
    const char *flag = ks_flag_str("traces.pin");
    struct ks_slice rest = ks_slice_str(flag);
    for (struct ks_slice word; ks_slice_cut(&rest, ',', &word);) {
        word = ks_slice_trim(word);
        if (ks_slice_is(word, "exemplars"))
            from[KS_PIN_EXEMPLAR] = true;
        else if (ks_slice_is(word, "logs"))
            from[KS_PIN_LOG] = true;
        else if (word.len)
            return ks_fail(KS_EINVAL, "-traces.pin=%s: want exemplars, logs, both or nothing",
                           flag);
    }
    return KS_OK;
}

static ks_err start_span_metrics(struct ks_app *app)
{
    struct ks_span_metrics_opts o = {
        .app = app,
        .interval_ms = ks_flag_ms("traces.spanmetrics"),
        .max_series = (size_t)ks_flag_int("traces.spanmetrics.maxSeries"),
        .prefix = ks_flag_str("traces.spanmetrics.prefix"),
        .dimensions = ks_flag_str("traces.spanmetrics.dimensions"),
    };
    return o.interval_ms > 0 ? ks_span_metrics_new(&o, &app->span_metrics) : KS_OK;
}

static ks_err start_pins(struct ks_app *app)
{
    struct ks_trace_pins_opts o = {.store = app->traces};
    int64_t rate = ks_flag_int("traces.maxPinsPerMinute");
    int64_t kept = ks_flag_int("traces.maxKept");
    KS_TRY(pin_sources(o.from));
    if (!o.from[KS_PIN_EXEMPLAR] && !o.from[KS_PIN_LOG])
        return KS_OK;
    if (!kept)
        kept = ks_flag_int("traces.maxTraces") / 10;
    if (rate < 0 || rate > UINT32_MAX)
        return ks_fail(KS_EINVAL, "-traces.maxPinsPerMinute=%lld: want 0 to 2^32-1",
                       (long long)rate);
    o.per_minute = (uint32_t)(rate ? rate : kept / 60);
    return ks_trace_pins_new(&o, &app->pins);
}

ks_err ks_serve_traces_start(struct ks_app *app)
{
    KS_TRY(start_span_metrics(app));
    return start_pins(app);
}

void ks_serve_traces_end(struct ks_app *app)
{
    ks_span_metrics_free(app->span_metrics);
    app->span_metrics = NULL;
    ks_trace_pins_free(app->pins);
    app->pins = NULL;
}

static const struct {
    enum ks_listener listener;
    const char *flag, *name;
} listeners[] = {
    {KS_LISTEN_OTLP, "otlp.httpListenAddr", "OTLP"},
    {KS_LISTEN_JAEGER, "jaeger.httpListenAddr", "Jaeger"},
    {KS_LISTEN_ZIPKIN, "zipkin.httpListenAddr", "Zipkin"},
    {KS_LISTEN_JAEGER_THRIFT, "jaegerThrift.httpListenAddr", "Jaeger thrift"},
};
enum { LISTENERS = sizeof listeners / sizeof *listeners };

static bool basic_ok(void *app, struct ks_slice value)
{
    return ks_router_basic_ok(value, &((struct ks_app *)app)->cfg);
}

static ks_err grpc_listen(struct ks_app *app, const char *flag, const char *name,
                          const struct ks_grpc_method *methods, size_t count,
                          struct ks_grpc_server **ret)
{
    const char *const *addrs;
    struct ks_grpc_opts o = {.methods = methods,
                             .method_count = count,
                             .max_message_bytes = app->cfg.otlp_max_request_bytes,
                             .authorised = basic_ok,
                             .app = app};
    o.addr_count = ks_flag_list(flag, &addrs);
    if (!o.addr_count || !addrs[0][0])
        return KS_OK;
    o.addrs = addrs;
    KS_TRY(ks_grpc_start(&o, ret));
    for (size_t k = 0; k < o.addr_count; k++)
        printf("listening for %s over gRPC on %s\n", name, ks_grpc_addr(*ret, k));
    return KS_OK;
}

ks_err ks_serve_traces_listen(struct ks_app *app, const struct ks_http_opts *opts)
{
    for (size_t i = 0; i < LISTENERS; i++) {
        const char *const *addrs;
        struct ks_http_opts o = *opts;
        o.addr_count = ks_flag_list(listeners[i].flag, &addrs);
        if (!o.addr_count || !addrs[0][0])
            continue;
        o.addrs = addrs;
        o.addr_roles = NULL;
        o.io_threads = 1;
        o.path_prefix = NULL;
        o.listener = listeners[i].listener;
        KS_TRY(ks_http_start(&o, &app->more_servers[o.listener]));
        for (size_t k = 0; k < o.addr_count; k++)
            printf("listening for %s on http://%s/\n", listeners[i].name,
                   ks_http_addr(app->more_servers[o.listener], k));
    }
    KS_TRY(grpc_listen(app, "otlp.grpcListenAddr", "OTLP", ks_grpc_otlp_methods,
                       ks_grpc_otlp_method_count, &app->otlp_grpc));
    return grpc_listen(app, "jaeger.grpcListenAddr", "Jaeger", ks_jaeger_grpc_methods,
                       ks_jaeger_grpc_method_count, &app->jaeger_grpc);
}

void ks_serve_traces_stop(struct ks_app *app, int64_t grace_ms)
{
    ks_grpc_stop(app->otlp_grpc, grace_ms);
    ks_grpc_stop(app->jaeger_grpc, grace_ms);
    app->otlp_grpc = app->jaeger_grpc = NULL;
    for (size_t i = 0; i < KS_LISTEN_COUNT; i++) {
        if (app->more_servers[i])
            ks_http_stop(app->more_servers[i], grace_ms);
        app->more_servers[i] = NULL;
    }
}
