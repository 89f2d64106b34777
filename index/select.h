/*
 * Selectors evaluated over any index that can say which rows carry a label and which carry given
 * values of it. The set algebra of the four match kinds, absence and order of evaluation is here
 * once, for the live index and for parts.
 */
#ifndef KS_INDEX_SELECT_H
#define KS_INDEX_SELECT_H

#include <roaring/roaring.h>

#include "index/matcher_compile.h"

/* A set lent or given. Release with ksi_set_done. */
struct ksi_set {
    const roaring_bitmap_t *bm;
    bool owned;
};
static inline void ksi_set_done(struct ksi_set *s)
{
    if (s->owned && s->bm)
        roaring_bitmap_free((roaring_bitmap_t *)s->bm);
    s->bm = NULL;
}

struct ksi_source {
    void *self;
    /* Rows with the label. */
    ks_err (*has)(void *self, struct ks_slice name, struct ksi_set *ret);
    /* Rows whose value is in the matcher's set IN. */
    ks_err (*in)(void *self, const struct ks_cmatcher *m, struct ksi_set *ret);
};

/*
 * Rows that meet all matchers, from `universe` on (borrowed; all rows there are). *ret is a fresh
 * bitmap, or NULL when no matcher restricts anything.
 */
KS_NODISCARD ks_err ksi_index_select(const struct ksi_source *src, const struct ks_cmatcher *ms,
                                     size_t count, const roaring_bitmap_t *universe,
                                     roaring_bitmap_t **ret);

#endif
