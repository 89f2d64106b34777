/*
 * The histograms of a shard in a checkpoint, from hostile bytes, into a head of a few series. What
 * loads without an error is sound, and saved again loads again to the same bytes.
 */
#include <stdint.h>
#include <stdio.h>

#include "bare_engine.h"
#include "engine/head_hist.h"

enum { SERIES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_bare(struct ks_engine *e)
{
    bare_engine_init(e);
    for (uint32_t i = 0; i < SERIES; i++) {
        char text[] = "\x08__name__\x01?";
        text[10] = (char)('a' + i);
        struct ks_live_add add = {ksi_sid(&e->shards[0], i), {0, 0}, ks_slice(text, 11)};
        KS_ASSERT(ksi_restore_series(e, &e->shards[0], &add, 1) == KS_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_engine e, again;
    open_bare(&e);
    if (ksi_checkpoint_load_histograms(&e.shards[0], ks_slice(data, size)) == KS_OK) {
        struct ks_buf state, twice;
        ks_buf_init(&state, 64 << 20);
        ks_buf_init(&twice, 64 << 20);
        open_bare(&again);
        KS_ASSERT(ksi_checkpoint_freeze_histograms(&e.shards[0], &state) == KS_OK);
        KS_ASSERT(ksi_checkpoint_load_histograms(&again.shards[0], ks_buf_view(&state)) == KS_OK);
        KS_ASSERT(ksi_checkpoint_freeze_histograms(&again.shards[0], &twice) == KS_OK);
        KS_ASSERT(ks_slice_eq(ks_buf_view(&state), ks_buf_view(&twice)));
        KS_ASSERT(again.shards[0].samples == e.shards[0].samples);
        bare_engine_use(&e);
        bare_engine_done(&again);
        ks_buf_done(&state);
        ks_buf_done(&twice);
    }
    bare_engine_done(&e);
    return 0;
}
