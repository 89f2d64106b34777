/* OTLP spans as JSON. */
#include "api/otlp/traces_json.h"
#include "api/otlp/traces_proto.h"
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_span_sink s;
    struct ks_arena arena;
    struct ks_buf protobuf;
    ks_arena_init(&arena, 16 << 20);
    ks_buf_init(&protobuf, 16 << 20);
    trace_check_sink(&s);
    if (ks_otlp_json_to_protobuf(ks_slice(data, size), &ks_otlp_traces_request, &arena,
                                 &protobuf) == KS_OK &&
        ks_otlp_traces_decode(&s, ks_buf_view(&protobuf)) == KS_OK)
        (void)!ks_span_sink_finish(&s);
    ks_buf_done(&protobuf);
    ks_arena_done(&arena);
    return 0;
}
