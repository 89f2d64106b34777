/*
 * The label index of the head: series ids (sid, dense u32) to labels and back. One per engine;
 * internally locked (many readers or one writer). Strings are interned once: a label pair is a u32,
 * a series an array of pairs. Budget at 1 M series with 20 labels: ≤ 170 bytes per series here,
 * ≤ 1.5 µs to add one.
 */
#ifndef KS_INDEX_LIVE_INDEX_H
#define KS_INDEX_LIVE_INDEX_H

#include <roaring/roaring.h>

#include "base/labels.h"
#include "index/matcher.h"
#include "index/series_index.h"

struct ks_live_index;
KS_NODISCARD ks_err ks_live_index_new(struct ks_live_index **ret);
void ks_live_index_free(struct ks_live_index *x);

/* Adds series under sids the caller chose (not in use). All or nothing. */
struct ks_live_add {
    uint32_t sid;
    struct ks_tenant tenant;
    struct ks_slice label_bytes; /* canonical, borrowed */
};
KS_NODISCARD ks_err ks_live_index_add(struct ks_live_index *x, const struct ks_live_add *adds,
                                      size_t count);
/* Forgets series; pairs nobody uses any more are freed (amortised). The sids may be used again. */
KS_NODISCARD ks_err ks_live_index_remove(struct ks_live_index *x, const uint32_t *sids,
                                         size_t count);

/* Appends a series' canonical label bytes. KS_ENOTFOUND when the sid is not in use. */
KS_NODISCARD ks_err ks_live_index_labels(struct ks_live_index *x, uint32_t sid,
                                         struct ks_buf *labels, struct ks_tenant *ret_tenant);
/* Whether the series has exactly these labels: the check behind the identity hash. */
bool ks_live_index_equals(struct ks_live_index *x, uint32_t sid, struct ks_tenant tenant,
                          struct ks_slice label_bytes);

/* The same questions as on a part (series_index.h), over sids. */
KS_NODISCARD ks_err ks_live_index_select(struct ks_live_index *x, struct ks_tenant tenant,
                                         const struct ks_selector *selectors, size_t count,
                                         roaring_bitmap_t **ret);
KS_NODISCARD ks_err ks_live_index_tenants(struct ks_live_index *x, ks_tenant_fn fn, void *arg);
KS_NODISCARD ks_err ks_live_index_label_names(struct ks_live_index *x, struct ks_tenant tenant,
                                              const roaring_bitmap_t *sids, ks_label_fn fn,
                                              void *arg);
KS_NODISCARD ks_err ks_live_index_label_values(struct ks_live_index *x, struct ks_tenant tenant,
                                               struct ks_slice name, const roaring_bitmap_t *sids,
                                               ks_label_fn fn, void *arg);
/*
 * Label names (name NULL) or values of `name`, in no order, copied, without counts: those that
 * occur in `sids`, or with sids NULL those of any series of the tenant, with a few of the series
 * that carry each. Done with ks_live_words_done.
 */
enum { KS_LIVE_WORD_SIDS = 3 };
struct ks_live_word {
    size_t offset;
    uint32_t len, sids[KS_LIVE_WORD_SIDS];
    uint8_t sid_count;
    bool more; /* other series carry it, too */
};
struct ks_live_words {
    struct ks_buf texts;
    struct ks_live_word *v;
    size_t count, cap;
};
static inline struct ks_slice ks_live_word_text(const struct ks_live_words *w, size_t i)
{
    return ks_slice(w->texts.ptr + w->v[i].offset, w->v[i].len);
}
KS_NODISCARD ks_err ks_live_index_words(struct ks_live_index *x, struct ks_tenant tenant,
                                        const struct ks_slice *name, const roaring_bitmap_t *sids,
                                        struct ks_live_words *ret);
void ks_live_words_done(struct ks_live_words *w);

struct ks_live_index_stats {
    uint64_t series, pairs, names;
    size_t bytes;
};
void ks_live_index_get_stats(struct ks_live_index *x, struct ks_live_index_stats *ret);

#endif
