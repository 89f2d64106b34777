/* Line protocol: whatever the body, the batch is sound. The first byte chooses options. */
#include "api/ingest/influx.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const precisions[] = {"", "ns", "us", "ms", "s", "m", "h", "x"};
    static struct ti t;
    if (!t.app.engine)
        ti_init(&t, 1700000000123);
    uint8_t o = size ? data[0] : 0;
    struct ks_influx_opts opts = {
        .db_label = KS_SLICE_LIT("db"),
        .db = o & 1 ? KS_SLICE_LIT("base") : KS_SLICE_LIT(""),
        .separator = KS_SLICE_LIT("_"),
        .skip_single_field = o >> 1 & 1,
        .skip_measurement = o >> 2 & 1,
        .precision = ks_influx_precision(ks_slice_str(precisions[o >> 3 & 7])),
    };
    struct ks_influx_result res;
    ti_reset(&t);
    if (size && ks_import_influx(&t.in, ks_slice(data + 1, size - 1), &opts, &res) == KS_OK)
        ti_text(&t);
    return 0;
}
