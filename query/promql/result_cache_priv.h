#ifndef KS_QUERY_PROMQL_RESULT_CACHE_PRIV_H
#define KS_QUERY_PROMQL_RESULT_CACHE_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/slice.h"
#include "query/promql/result_cache.h"

/* A series the kept points came from: its row, or under an aggregate only what the points depend on
 * (query/promql/rollup/rollup_trace.h). */
struct ksi_kept_series {
    uint64_t key; /* hash of tenant and labels */
    int64_t above, upto, since_ms, last_ms;
    uint32_t row; /* packed values from here on in `packed`; aggregates: unused */
    bool open, next, fell;
};

struct ksi_kept_group {
    uint32_t label_at, label_bytes; /* in `labels` */
    uint32_t row;
};

/* Owned by its references; freed with the last one. */
struct ksi_kept {
    _Atomic uint32_t refs;
    uint64_t version; /* ks_engine_past_watch's, from before the select */
    int64_t start_ms;
    size_t points;
    bool next;                      /* some series' next */
    struct ksi_kept_series *series; /* by key */
    size_t series_count;
    struct ksi_kept_group *groups; /* aggregates */
    size_t group_count;
    char *labels;
    uint8_t *packed;
    size_t label_bytes, packed_bytes;
};
void ksi_kept_unref(struct ksi_kept *k);
/* The series with the key, or NULL. */
const struct ksi_kept_series *ksi_kept_find(const struct ksi_kept *k, uint64_t key);
/* Appends n values; a count of bytes never above 9 n. */
size_t ksi_kept_pack(const double *values, size_t n, uint8_t *out);
/* The values of a row, all kept points of them, into out. */
void ksi_kept_unpack(const struct ksi_kept *k, uint32_t row, double *out);

/* A reference, or NULL. */
struct ksi_kept *ksi_result_cache_get(struct ks_result_cache *c, struct ks_slice key);
/* Takes over the reference. Keeping it may fail silently: then it is not found. */
void ksi_result_cache_put(struct ks_result_cache *c, struct ks_slice key, struct ksi_kept *k);
int64_t ksi_result_cache_recent_ms(const struct ks_result_cache *c);
/* The most an entry may take. */
size_t ksi_result_cache_room(const struct ks_result_cache *c);
/* Counts a lookup by what it was good for. */
enum ksi_cache_use { KSI_CACHE_MISS, KSI_CACHE_PARTIAL, KSI_CACHE_FULL };
void ksi_result_cache_count(struct ks_result_cache *c, enum ksi_cache_use use);

#endif
