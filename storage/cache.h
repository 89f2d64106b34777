/*
 * Sharded cache of decoded pages with a byte budget (S3-FIFO: a small probation queue, a main
 * queue, and a ghost of what probation lost lately, so that one big scan does not push out what is
 * used again and again).
 *
 * An entry is one refcounted block of memory. The cache holds one reference, every user another; an
 * entry in use is never evicted, and outlives the cache's interest in it when it must. Reading
 * misses are not serialised: two threads may decode the same page, the first to put it wins. Any
 * thread. Cost of a hit: one uncontended mutex and one probe.
 */
#ifndef KS_STORAGE_CACHE_H
#define KS_STORAGE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ks_cache;
KS_NODISCARD ks_err ks_cache_new(size_t budget_bytes, struct ks_cache **ret);
void ks_cache_free(struct ks_cache *c); /* entries still referenced live on until released */
/* Takes effect at once: what is over the new budget and not in use goes. */
void ks_cache_set_budget(struct ks_cache *c, size_t budget_bytes);

struct ks_cache_stats {
    uint64_t hits, misses, evictions;
    size_t bytes, entries, budget_bytes;
};
void ks_cache_get_stats(struct ks_cache *c, struct ks_cache_stats *ret);

/* --- for storage/: the entries --- */
struct ks_cache_entry;

/* A fresh entry of `bytes` bytes with one reference, the caller's, in no cache. NULL: KS_ENOMEM. */
struct ks_cache_entry *ks_cache_entry_new(size_t bytes);
void *ks_cache_entry_data(struct ks_cache_entry *e); /* 16-byte aligned */
size_t ks_cache_entry_bytes(const struct ks_cache_entry *e);
void ks_cache_entry_ref(struct ks_cache_entry *e);
void ks_cache_entry_unref(struct ks_cache_entry *e); /* NULL is fine */

/* A number no other owner has or had in this process: keys are (owner, id). */
uint64_t ks_cache_owner_new(void);
/* The entry with a new reference, or NULL. c may be NULL. */
struct ks_cache_entry *ks_cache_get(struct ks_cache *c, uint64_t owner, uint64_t id);
/*
 * Offers an entry; its content must be complete and never change again. Returns the entry to use,
 * with the caller's reference: `e` itself, or the one that another thread put first (e is then
 * released). c may be NULL. Never fails: an entry too large for its shard, or one for which there
 * is no memory, is simply not kept.
 */
struct ks_cache_entry *ks_cache_put(struct ks_cache *c, uint64_t owner, uint64_t id,
                                    struct ks_cache_entry *e);
/* Forgets all entries of an owner (its file is closed). O(entries). c may be NULL. */
void ks_cache_drop_owner(struct ks_cache *c, uint64_t owner);

#endif
