/* Elasticsearch bulk: whatever the bytes, the batch is sound. The first byte chooses options. */
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
    struct ks_buf items;
    bool failed;
    ks_buf_init(&items, 16 << 20);
    (void)!ks_es_bulk_decode(&t.in, body, 4096, &items, &failed);
    ks_buf_done(&items);
    tl_text(&t);
    return 0;
}
