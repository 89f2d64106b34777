/* OTLP spans as protobuf: whatever the bytes, the batches are sound. */
#include "api/otlp/traces_proto.h"
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_span_sink s;
    trace_check_sink(&s);
    if (size && data[0] == 'x')
        (void)!ks_span_sink_extra_fields(&s, KS_SLICE_LIT("resource_attr:tenant=a,span_attr:k=v"));
    if (ks_otlp_traces_decode(&s, ks_slice(data, size)) == KS_OK)
        (void)!ks_span_sink_finish(&s);
    return 0;
}
