/* OTLP logs, JSON: whatever the bytes, the batch is sound. The first byte chooses options. */
#include "log_util.h"

#include "api/ingest/otlp_json.h"

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
    struct ks_buf proto;
    struct ks_arena arena;
    ks_buf_init(&proto, 4 << 20);
    ks_arena_init(&arena, 4 << 20);
    if (ks_otlp_json_to_protobuf(body, &ks_otlp_logs_request, &arena, &proto) == KS_OK)
        (void)!ks_otlp_logs_decode(&t.in, ks_buf_view(&proto));
    tl_text(&t);
    ks_log_batch_reset(t.in.batch);
    ks_arena_done(&arena);
    ks_buf_done(&proto);
    tl_text(&t);
    return 0;
}
