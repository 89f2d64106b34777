/* A batch of spans as the log holds it: refused, or fit to be replayed and answered. */
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_traces_opts o = {.max_traces = 64, .max_bytes = 8 << 20, .max_tenants = 4};
    struct ks_traces *ring;
    struct ks_batch b;
    if (ks_traces_new(&o, &ring) != KS_OK)
        abort();
    ks_batch_init(&b);
    if (ks_batch_decode(ks_slice(data, size), &b) == KS_OK) {
        if (ks_traces_replay(ring, &b, 10) == KS_OK && b.traces_count)
            trace_check_json(ring, b.tenant, b.traces[0].id);
        (void)!ks_traces_replay(ring, &b, 11);
    }
    ks_batch_done(&b);
    ks_traces_free(ring);
    return 0;
}
