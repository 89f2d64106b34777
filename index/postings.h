/*
 * A set of sids that is mostly tiny: up to two inline, up to 32 in a heap array, then a roaring
 * bitmap. 16 bytes when empty. Growth is split in two: ksi_postings_reserve may fail, the changes
 * behind it may not. (CRoaring 0.2 has no way to report or inject a failed allocation inside a
 * bitmap; the process ends there as on any overcommitted machine.) One writer.
 */
#ifndef KS_INDEX_POSTINGS_H
#define KS_INDEX_POSTINGS_H

#include <roaring/roaring.h>

#include "base/err.h"

enum { KSI_POSTINGS_INLINE = 2, KSI_POSTINGS_ARRAY_MAX = 32 };

struct ksi_postings {
    union {
        uint32_t few[KSI_POSTINGS_INLINE];
        uint32_t *array;
        roaring_bitmap_t *bitmap;
    };
    uint32_t count;
    uint32_t cap; /* ≤ 2 inline, ≤ 32 array, UINT32_MAX bitmap */
};

/* Room for `more` further sids. */
KS_NODISCARD ks_err ksi_postings_reserve(struct ksi_postings *p, size_t more);
/* Adds [from, to): none of them is in it, room is reserved. */
void ksi_postings_add(struct ksi_postings *p, uint32_t from, uint32_t to);
void ksi_postings_remove(struct ksi_postings *p, uint32_t sid);
void ksi_postings_done(struct ksi_postings *p);

static inline bool ksi_postings_is_bitmap(const struct ksi_postings *p)
{
    return p->cap == UINT32_MAX;
}
/* The sids of a set that is no bitmap, in no order. */
static inline const uint32_t *ksi_postings_sids(const struct ksi_postings *p)
{
    return p->cap <= KSI_POSTINGS_INLINE ? p->few : p->array;
}
/* Heap bytes behind it (a bitmap's are estimated from its serialised size). */
size_t ksi_postings_bytes(const struct ksi_postings *p);
/* How many of `rows` are in it. */
uint64_t ksi_postings_overlap(const struct ksi_postings *p, const roaring_bitmap_t *rows);
/* Whether any is. */
bool ksi_postings_meet(const struct ksi_postings *p, const roaring_bitmap_t *rows);

#endif
