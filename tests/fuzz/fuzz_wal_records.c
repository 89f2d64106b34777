/*
 * Records of the log from hostile bytes, replayed into a head: [type u8][shard u8][length
 * u16][payload] and so on. An error ends the replay, as at a start; until then everything is sound.
 */
#include <stdint.h>

#include "bare_engine.h"
#include "base/bytes.h"
#include "engine/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ks_lsn cuts[BARE_SHARDS];
    struct ks_engine e;
    struct ksi_replay *r;
    struct ksi_replay_stats stats;
    bare_engine_init(&e);
    e.opts.wal_repair = size & 1;
    if (ksi_replay_new(&e, cuts, &r) != KS_OK)
        abort();
    ks_err err = KS_OK;
    bool series_broken = false;
    ks_lsn lsn = 1;
    for (size_t at = 0; at + 4 <= size && err == KS_OK; lsn++) {
        size_t len = ks_le16(data + at + 2);
        len = len < size - at - 4 ? len : size - at - 4;
        struct ks_wal_record rec = {lsn, data[at], data[at + 1], ks_slice(data + at + 4, len)};
        at += 4 + len;
        if (rec.type == KS_REC_SERIES && !bare_sids_small(rec.payload))
            break;
        err = ksi_replay_record(r, &rec);
        series_broken = err != KS_OK && rec.type == KS_REC_SERIES;
    }
    err = ksi_replay_finish(r, err, &stats);
    if (!series_broken) /* after that the engine is only good for closing */
        bare_engine_use(&e);
    bare_engine_done(&e);
    return 0;
}
