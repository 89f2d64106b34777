/* Inside the engine: how a select's result is laid out. Everything lives in the set's arena; sources are pinned. */
#ifndef KS_ENGINE_SERIES_SET_H
#define KS_ENGINE_SERIES_SET_H

#include "engine/engine_priv.h"

enum set_source { SET_PART, SET_SEALED, SET_OPEN, SET_LATE };

/* One chunk of one series. */
struct set_chunk {
    uint32_t series;
    uint8_t source, overlaps;
    const struct ks_chunk_meta *meta;
    union {
        struct {
            struct ks_mdata *data;
            const struct ks_chunk_ref *ref;
        } part;
        struct ksi_sealed *sealed; /* referenced */
        struct {
            const struct ks_gorilla *g;
            const uint8_t *bytes;
        } open;
        const struct ksi_sample *late; /* meta->sample_count of them, unordered */
    } u;
};

struct set_series {
    ks_hash128 fp;
    struct ks_slice labels;
    struct ks_tenant tenant;
    uint32_t first_chunk, chunk_count;
    struct ks_verdict verdict; /* of the rules; only filled when there are any */
};

struct ks_series_set {
    struct ks_engine *e;
    struct ks_arena arena;
    struct ks_read_ctx *ctx;
    struct ksi_part_list *parts;
    struct set_series *series;
    size_t series_count, series_cap;
    struct set_chunk *chunks;
    size_t chunk_count, chunk_cap;
    uint32_t *table; /* fp → series + 1 */
    size_t table_mask;
    int64_t dedup_ms;
    int64_t now_ms; /* by which the rules are judged */
};

/* The series with these labels, made when new. labels is copied. */
KS_NODISCARD ks_err ksi_set_series(struct ks_series_set *s, struct ks_tenant tenant, struct ks_slice labels,
                                   uint32_t *ret);
KS_NODISCARD ks_err ksi_set_add_chunk(struct ks_series_set *s, struct set_chunk chunk);

/* engine/select_head.c: the matching series of the head. */
KS_NODISCARD ks_err ksi_select_head(struct ks_series_set *s, const struct ks_select_opts *o, struct ks_tenant tenant);
/* Calls fn with the sids of the tenant that match and hold samples of the range's days. */
KS_NODISCARD ks_err ksi_head_matching(struct ks_engine *e, const struct ks_select_opts *o, struct ks_tenant tenant,
                                      roaring_bitmap_t **ret);
/* Rows of a part that match and are not deleted. */
KS_NODISCARD ks_err ksi_part_matching(const struct ksi_part_view *v, const struct ks_select_opts *o,
                                      struct ks_tenant tenant, roaring_bitmap_t **ret);
/* Tenants an operation concerns: those asked for, or all there are. Arena array. */
KS_NODISCARD ks_err ksi_tenants_of(struct ks_engine *e, const struct ks_select_opts *o, struct ks_arena *a,
                                   struct ks_tenant **ret, size_t *ret_count);

#endif
