/* extra_filters on traces, Go durations, and the frame of a gRPC request. */
#include "api/grpc.h"
#include "api/jaeger/jaeger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_trace_params p = {0};
    struct ks_arena arena;
    struct ks_buf scratch;
    struct ks_slice message;
    int64_t ns;
    ks_arena_init(&arena, 1 << 20);
    ks_buf_init(&scratch, 1 << 20);
    (void)!ks_trace_filter_parse(ks_slice(data, size), &arena, &p);
    (void)ks_go_duration_ns(ks_slice(data, size), &ns);
    (void)!ks_grpc_unframe(ks_slice(data, size), KS_SLICE_LIT("gzip"), 1 << 20, &scratch, &message);
    ks_buf_done(&scratch);
    ks_arena_done(&arena);
    return 0;
}
