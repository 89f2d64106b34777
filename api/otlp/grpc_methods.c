#include "api/otlp/grpc_methods.h"

#include "api/app.h"
#include "api/logs/logs.h"
#include "api/otlp/traces_proto.h"

/* opentelemetry.proto.collector.trace.v1.TraceService/Export */
static ks_err export_traces(struct ks_grpc_call *call)
{
    struct ks_app *app = call->app;
    struct ks_span_sink s;
    struct ks_buf out;
    ks_span_sink_begin_app(&s, app, call->tenant);
    if (!s.batch)
        return KS_ENOMEM;
    KS_TRY(ks_span_sink_extra_fields(&s, ks_grpc_header(call, "vl-extra-fields")));
    KS_TRY(ks_otlp_traces_decode(&s, call->request));
    KS_TRY(ks_span_sink_finish(&s));
    ks_buf_init(&out, 64 << 10);
    ks_otlp_partial(&out, false, NULL, s.rejected, ks_slice_str(s.reason));
    ks_grpc_reply(call, ks_buf_view(&out));
    ks_err err = ks_buf_status(&out);
    ks_buf_done(&out);
    return err;
}

ks_err ks_grpc_health_check(struct ks_grpc_call *call)
{
    struct ks_app *app = call->app;
    const char status[] = {0x08, (char)(atomic_load(&app->shutting_down) ? 2 : 1)};
    ks_grpc_reply(call, ks_slice(status, sizeof status)); /* SERVING or NOT_SERVING */
    return KS_OK;
}

const struct ks_grpc_method ks_grpc_otlp_methods[] = {
    {"/opentelemetry.proto.collector.trace.v1.TraceService/Export", export_traces},
    {"/opentelemetry.proto.collector.logs.v1.LogsService/Export", ks_otlp_logs_grpc},
    {"/grpc.health.v1.Health/Check", ks_grpc_health_check},
};
const size_t ks_grpc_otlp_method_count = sizeof ks_grpc_otlp_methods / sizeof *ks_grpc_otlp_methods;
