/*
 * Results of range queries over closed time, kept so that the next refresh of a dashboard computes
 * only what is new.
 *
 * What is kept are the values of one rollup over a selector, or of one aggregate over it, on the
 * leading points of a grid, older than -search.cacheTimestampOffset. eval_cached.c decides what of
 * them still holds (changes in the past, moved grids); the cache itself only stores, by key, within
 * a budget of bytes, least recently used first out. Entries are immutable and refcounted.
 *
 * Threads: any.
 */
#ifndef KS_QUERY_PROMQL_RESULT_CACHE_H
#define KS_QUERY_PROMQL_RESULT_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ks_result_cache;

/* recent_ms: points younger than this are not kept; 0 = 5 minutes. */
KS_NODISCARD ks_err ks_result_cache_new(size_t max_bytes, int64_t recent_ms,
                                        struct ks_result_cache **ret);
void ks_result_cache_free(struct ks_result_cache *c);
/* Forgets everything. */
void ks_result_cache_reset(struct ks_result_cache *c);

struct ks_result_cache_stats {
    uint64_t entries, bytes, max_bytes;
    /* full: all closed points of the grid were there; partial: some; the rest are misses. */
    uint64_t requests, full_hits, partial_hits, resets;
};
void ks_result_cache_get_stats(struct ks_result_cache *c, struct ks_result_cache_stats *ret);

#endif
