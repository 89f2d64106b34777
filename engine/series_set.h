/* Inside the engine: how a select's result is laid out. Everything lives in the set's arena;
 * sources are pinned. */
#ifndef KS_ENGINE_SERIES_SET_H
#define KS_ENGINE_SERIES_SET_H

#include <stddef.h>

#include "engine/engine_priv.h"

enum set_source {
    SET_PART,
    SET_SEALED,
    SET_OPEN,
    SET_OPEN_CONSTANT,
    SET_OPEN_LAST, /* its last sample alone: KS_NEED_LAST */
    SET_LATE,
    SET_OPEN_HISTOGRAMS,
    SET_LATE_HISTOGRAMS
};

/* An open chunk, from a place before the select's range on; KS_GORILLA_SLACK bytes more. */
struct set_open {
    struct ks_gorilla g;
    struct ks_gorilla_place from;
    bool shared;              /* by several constant series */
    _Atomic(int64_t *) times; /* its samples', once one of these was read */
    uint8_t bytes[];
};
/* An open chunk of one value; series of one scrape target have equal times, and so equal bytes. */
struct set_constant {
    uint64_t bits;
    struct set_open *like; /* but for the value */
};

/* Histograms of the head as they lie there (engine/head_hist.h). */
struct set_records {
    uint32_t len;
    uint8_t bytes[];
};

/* One chunk of one series. What most chunks are judged by is here, so that few metas are touched.
 */
struct set_chunk {
    int64_t min_ms, max_ms;
    uint32_t series, sample_count;
    uint8_t source, kind, overlaps;
    const struct ks_chunk_meta *meta; /* SET_PART: the head of a struct ks_chunk_ref; SET_SEALED;
                                         else NULL */
    union {
        struct ks_mdata *data;     /* SET_PART */
        struct ksi_sealed *sealed; /* referenced */
        struct set_open *open;
        const struct set_constant *constant;
        uint64_t last_bits;
        const struct ksi_sample *late; /* sample_count of them, unordered */
        const struct set_records *records;
    } u;
};
static inline const struct ks_chunk_ref *ksi_set_ref(const struct set_chunk *c)
{
    _Static_assert(offsetof(struct ks_chunk_ref, meta) == 0, "a part's chunk is known by its meta");
    return (const struct ks_chunk_ref *)c->meta;
}

/* A chunk of a part or a sealed one, as its meta tells. */
static inline struct set_chunk ksi_set_chunk_of(uint32_t series, enum set_source source,
                                                const struct ks_chunk_meta *m)
{
    return (struct set_chunk){.min_ms = m->min_ms,
                              .max_ms = m->max_ms,
                              .series = series,
                              .sample_count = m->sample_count,
                              .source = (uint8_t)source,
                              .kind = m->kind,
                              .meta = m};
}

struct set_series {
    const struct ksi_ident *ident;         /* of the set's generation, or of its own */
    _Atomic(const struct set_text *) text; /* labels, once asked for */
    uint32_t first_chunk, chunk_count;
    int64_t from_ms; /* nothing before is needed (ks_select_opts.need); INT64_MIN: nothing known */
};

struct set_text {
    uint32_t len;
    char bytes[];
};

/* Series by identity: a hash table while they are few against the identities there are, else an
 * array by number. */
struct set_index {
    uint64_t *table; /* number << 32 | series + 1 */
    size_t table_mask, table_count;
    uint32_t *by_no; /* series + 1 */
    size_t no_cap;
};

struct ks_series_set {
    struct ks_engine *e;
    struct ks_arena arena;
    struct ks_read_ctx *ctx;
    struct ksi_part_list *parts;
    struct ksi_idents *idents; /* NULL: nothing is remembered */
    struct ksi_idents *own;    /* what idents does not take; NULL: it took all */
    struct set_series *series;
    size_t series_count, series_cap;
    struct ks_verdict *verdicts; /* of the rules, by series; NULL when there are none */
    struct set_chunk *chunks;
    size_t chunk_count, chunk_cap;
    struct set_open *last_constant; /* the select's newest; NULL: none */
    size_t head_chunks;             /* that many were found first, in the head */
    bool labels_only;               /* which series there are is all that is asked: no chunks */
    bool histograms;                /* some chunk holds histograms */
    bool mixed;                     /* chunks of a series do not lie together yet */
    bool arranged;                  /* series' first_chunk holds; copies left out lie between */
    struct set_index index[2];      /* of idents, of own */
    pthread_mutex_t text_lock;      /* of the below */
    struct ks_arena texts;
    struct ks_buf text;
    int64_t dedup_ms;
    int64_t now_ms; /* by which the rules are judged */
    enum ks_need need;
    int64_t min_ms, max_ms, since_ms, near_ms; /* as asked for */
};

/* The generation an identity of the set is of. */
static inline const struct ksi_idents *ksi_set_idents(const struct ks_series_set *s,
                                                      const struct ksi_ident *i)
{
    return i->own ? s->own : s->idents;
}
/* The series of an identity, by its number in the set's generation (or its own); made when new. */
KS_NODISCARD ks_err ksi_set_series(struct ks_series_set *s, bool own, uint32_t no, uint32_t *ret);
/* The series with these labels. ret_no1: the number of its identity + 1 when the generation
 * remembers it (not the set's own), else 0. */
KS_NODISCARD ks_err ksi_set_series_of(struct ks_series_set *s, struct ks_tenant tenant,
                                      struct ks_slice labels, uint32_t *ret_no1, uint32_t *ret);
/* Room for so many series of one chunk each: they will come. */
KS_NODISCARD ks_err ksi_set_expect(struct ks_series_set *s, size_t n);
/* More room, if the query may have it. */
KS_NODISCARD ks_err ksi_set_chunk_room(struct ks_series_set *s);
static inline ks_err ksi_set_add_chunk(struct ks_series_set *s, const struct set_chunk *chunk)
{
    if (KS_UNLIKELY(s->chunk_count == s->chunk_cap))
        KS_TRY(ksi_set_chunk_room(s));
    s->histograms |= chunk->kind != KS_CHUNK_F64;
    s->mixed |= s->chunk_count && chunk->series < s->chunks[s->chunk_count - 1].series;
    s->chunks[s->chunk_count++] = *chunk;
    s->series[chunk->series].chunk_count++;
    return KS_OK;
}

/* Has the part a chunk came from examined; gives err back. */
ks_err ksi_set_blame(const struct ks_series_set *s, const struct set_chunk *c, ks_err err);
/* Charges the query's limit. */
KS_NODISCARD ks_err ksi_set_count_samples(const struct ks_series_set *s, size_t count);

/* engine/select_head.c: the matching series of the head. */
KS_NODISCARD ks_err ksi_select_head(struct ks_series_set *s, const struct ks_select_opts *o,
                                    struct ks_tenant tenant);
/* Calls fn with the sids of the tenant that match and hold samples of the range's days. */
KS_NODISCARD ks_err ksi_head_matching(struct ks_engine *e, const struct ks_select_opts *o,
                                      struct ks_tenant tenant, roaring_bitmap_t **ret);
/* Crosses out (KSI_NO_SID) the sids that hold nothing of the range's days. */
#define KSI_NO_SID UINT32_MAX
void ksi_head_mark_silent(struct ks_engine *e, const struct ks_select_opts *o, uint32_t *sids,
                          size_t n);
/* Rows of a part that match and are not deleted. */
KS_NODISCARD ks_err ksi_part_matching(const struct ksi_part_view *v, const struct ks_select_opts *o,
                                      struct ks_tenant tenant, roaring_bitmap_t **ret);
/* Tenants an operation concerns: those asked for, or all there are. Arena array. */
KS_NODISCARD ks_err ksi_tenants_of(struct ks_engine *e, const struct ks_select_opts *o,
                                   struct ks_arena *a, struct ks_tenant **ret, size_t *ret_count);

#endif
