/* Sharded cache of decoded pages with a byte budget (CLOCK / S3-FIFO). Pages in use are pinned and never evicted. Any thread. */
#ifndef KS_STORAGE_CACHE_H
#define KS_STORAGE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ks_cache;
KS_NODISCARD ks_err ks_cache_new(size_t budget_bytes, struct ks_cache **ret);
void ks_cache_free(struct ks_cache *c); /* no page may be pinned */
void ks_cache_set_budget(struct ks_cache *c, size_t budget_bytes);

struct ks_cache_stats {
    uint64_t hits, misses, evictions;
    size_t bytes, entries, budget_bytes;
};
void ks_cache_get_stats(struct ks_cache *c, struct ks_cache_stats *ret);

#endif
