/* Replay of the log into the head at open. One at a time, by the opening thread. */
#ifndef KS_ENGINE_REPLAY_H
#define KS_ENGINE_REPLAY_H

#include "engine/engine_priv.h"

struct ksi_replay;

struct ksi_replay_stats {
    uint64_t records, samples;
    uint64_t
        orphans;    /* samples of series nobody knows; left out with wal_repair, an error without */
    uint64_t bytes; /* of payloads */
};

/* cuts: per shard the first LSN to apply; borrowed until finish. */
KS_NODISCARD ks_err ksi_replay_new(struct ks_engine *e, const ks_lsn *cuts,
                                   struct ksi_replay **ret);
/* For ks_wal_open; arg is the replay. */
KS_NODISCARD ks_err ksi_replay_record(void *arg, const struct ks_wal_record *rec);
/* Waits for what is under way and frees. err: what reading the log came to; returns that, or what
 * applying did. */
KS_NODISCARD ks_err ksi_replay_finish(struct ksi_replay *r, ks_err err,
                                      struct ksi_replay_stats *ret);

#endif
