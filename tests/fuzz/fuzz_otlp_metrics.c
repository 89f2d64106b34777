/* OTLP protobuf: whatever the bytes, the batch is sound. The first byte chooses naming. */
#include "api/ingest/otlp_metrics.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    struct ks_otlp_result res;
    if (!t.app.engine)
        ti_init(&t, 1700000000123);
    if (!size)
        return 0;
    t.app.cfg.otlp_prometheus_names = data[0] & 1;
    ti_reset(&t);
    if (ks_otlp_metrics(&t.in, ks_slice(data + 1, size - 1), &res) == KS_OK)
        ti_text(&t);
    return 0;
}
