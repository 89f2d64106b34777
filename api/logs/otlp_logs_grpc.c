/* OTLP logs over gRPC: to the store "logs". The VL-* headers may come as metadata. */
#include "api/app.h"
#include "api/grpc.h"
#include "api/logs/log_stores.h"
#include "api/logs/logs.h"
#include "api/otlp/otlp.h"

KS_LOG_PROTOCOL(protocol, "opentelemetry_grpc");

static ks_err read_params(struct ks_grpc_call *call, struct ks_log_params *ret)
{
    static const struct ks_slice time_field[] = {{"_time", 5}};
    *ret = (struct ks_log_params){.tenant = call->tenant, .time_fields = {time_field, 1}};
    const struct {
        const char *header;
        struct ks_log_names *names;
    } lists[] = {
        {"vl-msg-field", &ret->msg_fields},
        {"vl-stream-fields", &ret->stream_fields},
        {"vl-ignore-fields", &ret->ignore},
        {"vl-decolorize-fields", &ret->decolorize},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        KS_TRY(ks_log_names_parse(&call->arena, ks_grpc_header(call, lists[i].header),
                                  lists[i].names));
    ks_log_names_sort(&ret->stream_fields);
    return ks_log_extra_parse(&call->arena, ks_grpc_header(call, "vl-extra-fields"), ret);
}

static ks_err ingest(struct ks_grpc_call *call, struct ks_log_scratch *scratch,
                     struct ks_log_outcome *ret)
{
    struct ks_app *app = call->app;
    struct ks_log_params params;
    struct ks_log_ingest in;
    KS_TRY(read_params(call, &params));
    ks_log_ingest_init(&in, app, scratch, &protocol, &params);
    in.source = "gRPC";
    in.store = app->logs ? ks_logs_store(app->logs, KS_SLICE_LIT(KS_LOG_STORE_DEFAULT)) : NULL;
    if (!in.store || app->cfg.logs.disable_insert)
        return ks_fail(KS_EUNSUPPORTED, "this process takes no logs");
    KS_TRY(ks_otlp_logs_decode(&in, call->request));
    KS_TRY(ks_log_ingest_end(&in));
    *ret = in.out;
    return KS_OK;
}

ks_err ks_otlp_logs_grpc(struct ks_grpc_call *call)
{
    struct ks_log_scratch *scratch = NULL;
    struct ks_log_outcome done;
    struct ks_buf out;
    KS_TRY(ks_log_scratch_new(&scratch));
    ks_err err = ingest(call, scratch, &done);
    ks_log_scratch_free(scratch);
    KS_TRY(err);
    ks_buf_init(&out, 64 << 10);
    ks_otlp_partial(&out, false, NULL, done.dropped, ks_slice_str(done.first_reason));
    ks_grpc_reply(call, ks_buf_view(&out));
    err = ks_buf_status(&out);
    ks_buf_done(&out);
    return err;
}
