/*
 * Inside of the part's series index (docs/format/series-index.md).
 *
 * A row = metric name + base, a base being a label set without its metric name; all metrics of a
 * scrape target that carry no further labels share one base. Rows are sorted by (tenant, metric
 * name), so a metric's rows are one range ("run"); postings are kept over bases, and rows are found
 * by walking the ranges' base ids.
 */
#ifndef KS_INDEX_SERIES_INDEX_PRIV_H
#define KS_INDEX_SERIES_INDEX_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "index/matcher_compile.h"
#include "index/posting_codec.h"
#include "index/select.h"
#include "index/series_index.h"

#define KSI_SEC_TOP    "sidx.top"
#define KSI_SEC_VALUES "sidx.values"
#define KSI_SEC_POST   "sidx.post"
#define KSI_SEC_BASES  "sidx.bases"
#define KSI_SEC_ROWS   "sidx.rows"

enum {
    KSI_SINDEX_VERSION = 1,
    KSI_GROUP = 16,           /* values per front-coded group */
    KSI_VALUE_PAGE = 4096,    /* raw bytes aimed at */
    KSI_POST_PAGE = 32 << 10, /* exact, but for the last */
    KSI_POST_INLINE = 24,     /* longer postings go to the stream */
    KSI_BASE_PAGE = 512,      /* bases per page */
    KSI_ROW_PAGE = 4096,      /* rows per page */
    KSI_ROW_GROUP = 128,      /* rows behind one restart */
    KSI_TOP_PAGE = 1 << 20,
    KSI_TEXT_MAX = 1 << 20,     /* a label name or value */
    KSI_BASE_PAD = 8,           /* behind bit-packed columns */
    KSI_VPAGE_BUDGET = 8 << 20, /* unpacked value pages kept per index */
    KSI_RESULT_SETS = 32,       /* of kept answers */
    KSI_RESULT_WAYS = 4,
    KSI_RESULT_BYTES_MAX = 256 << 10, /* of one, with its key */
    KSI_RESULTS_BYTES = 64 << 20,     /* of all parts together */
};
#define KSI_NONE UINT32_MAX

/* Where a posting lies. */
struct ksi_post_ref {
    uint32_t count;
    uint32_t single;      /* count == 1: the id */
    struct ks_slice inl;  /* inline bytes, when ptr is not NULL */
    uint64_t offset, len; /* else in the stream */
};

struct ksi_sname {
    struct ks_slice text;
    uint32_t first_rank, value_count;
    struct ksi_post_ref has;
};

/* A page of values unpacked: texts and post refs by position. */
struct ksi_vpage {
    uint32_t count;
    bool kept;
    size_t bytes;
    uint32_t *text_at;         /* count + 1 offsets into text */
    struct ksi_post_ref *refs; /* inline bytes point into `posts` */
    char *text, *posts;
};

struct ksi_value_page {
    struct ks_page_ref ref;
    uint32_t first_rank, count;
    struct ks_slice first;
};

struct ksi_stenant {
    struct ks_tenant tenant;
    uint32_t first_row, first_run;
};

/* An answer kept: what was asked, in bytes, and the bases or rows. */
struct ksi_result {
    struct ks_slice key; /* heap */
    uint64_t hash, used;
    size_t bytes;
    roaring_bitmap_t *set; /* NULL: empty slot */
};

struct ks_sindex {
    struct ks_part *part;
    struct ks_arena arena; /* all of the top */
    uint32_t row_count, base_count, value_count, name_count, tenant_count, run_count;
    uint64_t post_bytes;
    struct ksi_sname *names;
    uint32_t metric_name; /* index of "__name__", KSI_NONE */
    struct ksi_value_page *value_pages;
    uint32_t value_page_count;
    _Atomic(struct ksi_vpage *) *vpages; /* published once; acquire/release */
    _Atomic size_t vpage_bytes;
    struct ksi_stenant *tenants; /* one more at the end: the totals */
    uint32_t *run_rows;          /* first row; one more at the end */
    uint32_t *run_names;         /* 0: no metric name; else value number + 1 */
    const struct ks_page_ref *post_pages, *base_pages, *row_pages;
    /* Per group of rows the least and the greatest base in it, as groups get decoded: a question
     * about few bases then passes by the others. Relaxed: a zone says all there is to know. */
    _Atomic uint64_t *zones; /* greatest + 1 in the upper half; 0: not known yet */
    pthread_mutex_t results_mutex;
    uint64_t results_tick;
    struct ksi_result results[KSI_RESULT_SETS][KSI_RESULT_WAYS];
};

KS_NODISCARD ks_err ksi_sindex_corrupt(const struct ks_sindex *x, const char *what);

/* --- kept answers (series_index_results.c) --- */
/* A copy, or NULL. */
roaring_bitmap_t *ksi_result_find(struct ks_sindex *x, struct ks_slice key);
/* Best effort: without memory, or where it is too much, nothing is kept. */
void ksi_result_keep(struct ks_sindex *x, struct ks_slice key, const roaring_bitmap_t *set);
void ksi_results_done(struct ks_sindex *x);

/* --- values (series_index_values.c) --- */
uint32_t ksi_sindex_find_name(const struct ks_sindex *x, struct ks_slice name);
KS_NODISCARD ks_err ksi_vpage_get(struct ks_sindex *x, uint32_t page, struct ksi_vpage **ret);
void ksi_vpage_put(struct ksi_vpage *v);
/* The page with a rank. */
uint32_t ksi_vpage_of_rank(const struct ks_sindex *x, uint32_t rank);
/* Walks the values of a name from the first ≥ `from` on; false from fn stops. rank: of all values.
 */
typedef bool (*ksi_value_fn)(void *arg, uint32_t rank, struct ks_slice text,
                             const struct ksi_post_ref *ref, ks_err *err);
KS_NODISCARD ks_err ksi_values_each(struct ks_sindex *x, uint32_t name, struct ks_slice from,
                                    ksi_value_fn fn, void *arg);
/* Ranks, or the union of postings, of the values in the matcher's set IN. */
KS_NODISCARD ks_err ksi_values_ranks(struct ks_sindex *x, uint32_t name,
                                     const struct ks_cmatcher *m, roaring_bitmap_t *ret);
KS_NODISCARD ks_err ksi_values_bases(struct ks_sindex *x, uint32_t name,
                                     const struct ks_cmatcher *m, roaring_bitmap_t *ret);
KS_NODISCARD ks_err ksi_post_read_ref(struct ks_reader *r, const struct ks_sindex *x,
                                      struct ksi_post_ref *ret);
KS_NODISCARD ks_err ksi_post_each(struct ks_sindex *x, const struct ksi_post_ref *ref,
                                  ksi_run_fn fn, void *arg);

/* --- rows and bases (series_index_rows.c) --- */
/* A place in the rows, walked forward cheaply. */
struct ksi_row_walk {
    struct ks_sindex *x;
    struct ks_page page;
    uint32_t page_no, group; /* what ids holds; KSI_NONE */
    uint32_t ids[KSI_ROW_GROUP];
};
void ksi_row_walk_init(struct ksi_row_walk *w, struct ks_sindex *x);
void ksi_row_walk_done(struct ksi_row_walk *w);
/* The group of 128 base ids that `row` belongs to; ids[row % 128] is its own. */
KS_NODISCARD ks_err ksi_row_walk_to(struct ksi_row_walk *w, uint32_t row);
/* The least and the greatest base of a row's group; false when no one decoded it yet. */
bool ksi_row_zone(const struct ks_sindex *x, uint32_t row, uint32_t *ret_min, uint32_t *ret_max);

/* The run and tenant a row belongs to. */
uint32_t ksi_sindex_run_of(const struct ks_sindex *x, uint32_t row);
uint32_t ksi_sindex_tenant_of(const struct ks_sindex *x, uint32_t row);
uint32_t ksi_sindex_find_tenant(const struct ks_sindex *x, struct ks_tenant tenant); /* KSI_NONE */

#endif
