/* The unpacked items of a ring's snapshot. */
#include "engine/traces/snapshot_priv.h"
#include "trace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_traces_opts o = {.max_traces = 64, .max_bytes = 8 << 20, .max_tenants = 4};
    struct ks_traces *ring;
    struct ks_batch b;
    bool end = false;
    if (ks_traces_new(&o, &ring) != KS_OK)
        abort();
    ks_batch_init(&b);
    if (ksi_trsnap_items(ks_slice(data, size), ring, &b, &end) == KS_OK && b.traces_count)
        trace_check_json(ring, b.tenant, b.traces[0].id);
    ks_batch_done(&b);
    ks_traces_free(ring);
    return 0;
}
