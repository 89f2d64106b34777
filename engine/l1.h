/*
 * The first-level series table: hash of the label bytes as sent → sid, so that a known series costs
 * no parsing.
 *
 * 128-bit keys under a secret seed stand for their bytes unverified; the second level (the shard's
 * fp table) verifies labels when an entry is made. Readers hold a read lock for a whole batch;
 * entries are added and purged in batches under the write lock.
 */
#ifndef KS_ENGINE_L1_H
#define KS_ENGINE_L1_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/hash.h"

#define KS_NO_SID UINT32_MAX

struct l1_slot {
    ks_hash128 key;
    uint32_t sid; /* KS_NO_SID: empty */
    uint32_t pad;
};

struct ks_l1 {
    pthread_rwlock_t lock;
    struct l1_slot *slots;
    size_t mask, count, limit; /* limit: entries that make it grow */
};

KS_NODISCARD ks_err ksi_l1_init(struct ks_l1 *t);
void ksi_l1_done(struct ks_l1 *t);

/* Looks up `count` keys given by stride (bytes between keys); sids gets KS_NO_SID for unknown ones.
 */
void ksi_l1_lookup(struct ks_l1 *t, const void *keys, size_t stride, size_t count, uint32_t *sids);
struct l1_add {
    ks_hash128 key;
    uint32_t sid;
};
/*
 * Adds entries for which valid() still holds, asked under the table's lock: a purge of the same sid
 * either came before (and valid() says no) or will come after. An optimisation: when memory is
 * short the entries are simply not kept.
 */
void ksi_l1_add(struct ks_l1 *t, const struct l1_add *adds, size_t count,
                bool (*valid)(void *arg, uint32_t sid), void *arg);
/* Drops entries whose sid dead() names. */
void ksi_l1_purge(struct ks_l1 *t, bool (*dead)(void *arg, uint32_t sid), void *arg);
size_t ksi_l1_bytes(struct ks_l1 *t);

#endif
