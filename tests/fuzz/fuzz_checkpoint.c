/*
 * A shard's half of a checkpoint from hostile bytes: [length u16 of the series
 * list][series][state]. The container around it has its own fuzzer (part). What loads without an
 * error is sound, and saved again loads again.
 */
#include <stdint.h>

#include "bare_engine.h"
#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void save_and_load(struct ks_engine *e, struct ks_slice series)
{
    struct ks_engine again;
    struct ks_buf state, locals;
    ks_buf_init(&state, 64 << 20);
    ks_buf_init(&locals, 64 << 20);
    KS_ASSERT(ksi_checkpoint_freeze(&e->shards[0], &state, &locals) == KS_OK);
    bare_engine_init(&again);
    KS_ASSERT(ksi_checkpoint_load_labels(&again, &again.shards[0], series) == KS_OK);
    KS_ASSERT(ksi_checkpoint_load_state(&again.shards[0], ks_buf_view(&state)) == KS_OK);
    KS_ASSERT(again.shards[0].samples == e->shards[0].samples);
    bare_engine_done(&again);
    ks_buf_done(&state);
    ks_buf_done(&locals);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_engine e;
    if (size < 2)
        return 0;
    size_t len = ks_le16(data);
    len = len < size - 2 ? len : size - 2;
    struct ks_slice series = ks_slice(data + 2, len),
                    state = ks_slice(data + 2 + len, size - 2 - len);
    if (!bare_sids_small(series))
        return 0;
    bare_engine_init(&e);
    if (ksi_checkpoint_load_labels(&e, &e.shards[0], series) == KS_OK &&
        ksi_checkpoint_load_state(&e.shards[0], state) == KS_OK) {
        save_and_load(&e, series);
        bare_engine_use(&e);
    }
    bare_engine_done(&e);
    return 0;
}
