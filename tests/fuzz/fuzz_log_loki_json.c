/* Loki push, JSON: whatever the bytes, the batch is sound. The first byte chooses options. */
#include "log_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tl t;
    static bool ready;
    if (!ready)
        tl_init_fuzz(&t);
    ready = true;
    if (!size)
        return 0;
    struct ks_slice body = ks_slice(data + 1, size - 1);
    tl_begin_fuzz(&t, data[0]);
    struct ks_loki_opts opts = {data[0] >> 7, data[0] & 64 ? KS_SLICE_LIT("p.") : KS_SLICE_LIT("")};
    (void)!ks_loki_json_decode(&t.in, body, &opts);
    tl_text(&t);
    return 0;
}
