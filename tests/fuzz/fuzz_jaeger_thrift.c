/* Jaeger's Batch in thrift's binary protocol. */
#include "api/otlp/traces_zipkin.h"
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_span_sink s;
    struct ks_arena arena;
    ks_arena_init(&arena, 16 << 20);
    trace_check_sink(&s);
    if (ks_jaeger_thrift_decode(&s, ks_slice(data, size), &arena) == KS_OK)
        (void)!ks_span_sink_finish(&s);
    ks_arena_done(&arena);
    return 0;
}
