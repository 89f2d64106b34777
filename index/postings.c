#include "index/postings.h"

#include <string.h>

#include "base/mem.h"

ks_err ksi_postings_reserve(struct ksi_postings *p, size_t more)
{
    if (p->cap == 0)
        p->cap = KSI_POSTINGS_INLINE;
    size_t need = p->count + more;
    if (need <= p->cap)
        return KS_OK;
    const uint32_t *old = ksi_postings_sids(p);
    if (need <= KSI_POSTINGS_ARRAY_MAX) {
        uint32_t cap = 4;
        while (cap < need)
            cap *= 2;
        uint32_t *array = ks_alloc_array(cap, sizeof *array);
        if (!array)
            return KS_ENOMEM;
        memcpy(array, old, p->count * sizeof *array);
        if (p->cap > KSI_POSTINGS_INLINE)
            ks_free(p->array);
        p->array = array;
        p->cap = cap;
        return KS_OK;
    }
    roaring_bitmap_t *bm = roaring_bitmap_create();
    if (!bm)
        return ks_fail(KS_ENOMEM, "out of memory for postings");
    roaring_bitmap_add_many(bm, p->count, old);
    if (p->cap > KSI_POSTINGS_INLINE)
        ks_free(p->array);
    p->bitmap = bm;
    p->cap = UINT32_MAX;
    return KS_OK;
}

void ksi_postings_add(struct ksi_postings *p, uint32_t from, uint32_t to)
{
    if (ksi_postings_is_bitmap(p)) {
        if (to - from == 1)
            roaring_bitmap_add(p->bitmap, from);
        else
            roaring_bitmap_add_range(p->bitmap, from, to);
        p->count += to - from;
        return;
    }
    KS_ASSERT(p->count + (to - from) <= p->cap);
    uint32_t *sids = p->cap <= KSI_POSTINGS_INLINE ? p->few : p->array;
    for (uint32_t s = from; s < to; s++)
        sids[p->count++] = s;
}

void ksi_postings_remove(struct ksi_postings *p, uint32_t sid)
{
    KS_ASSERT(p->count > 0);
    if (ksi_postings_is_bitmap(p)) {
        roaring_bitmap_remove(p->bitmap, sid);
        if (--p->count == 0)
            ksi_postings_done(p);
        return;
    }
    uint32_t *sids = p->cap <= KSI_POSTINGS_INLINE ? p->few : p->array;
    for (uint32_t i = 0; i < p->count; i++)
        if (sids[i] == sid) {
            sids[i] = sids[--p->count];
            return;
        }
    KS_ASSERT(!"sid is in the postings");
}

void ksi_postings_done(struct ksi_postings *p)
{
    if (ksi_postings_is_bitmap(p))
        roaring_bitmap_free(p->bitmap);
    else if (p->cap > KSI_POSTINGS_INLINE)
        ks_free(p->array);
    memset(p, 0, sizeof *p);
}

size_t ksi_postings_bytes(const struct ksi_postings *p)
{
    if (!ksi_postings_is_bitmap(p))
        return p->cap > KSI_POSTINGS_INLINE ? p->cap * sizeof(uint32_t) + 16 : 0;
    /* Struct, container headers and allocator overhead: some 96 bytes more than the serialised
     * form. */
    return roaring_bitmap_portable_size_in_bytes(p->bitmap) + 96;
}

uint64_t ksi_postings_overlap(const struct ksi_postings *p, const roaring_bitmap_t *rows)
{
    if (ksi_postings_is_bitmap(p))
        return roaring_bitmap_and_cardinality(p->bitmap, rows);
    const uint32_t *sids = ksi_postings_sids(p);
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->count; i++)
        n += roaring_bitmap_contains(rows, sids[i]);
    return n;
}

bool ksi_postings_meet(const struct ksi_postings *p, const roaring_bitmap_t *rows)
{
    if (ksi_postings_is_bitmap(p))
        return roaring_bitmap_intersect(p->bitmap, rows);
    const uint32_t *sids = ksi_postings_sids(p);
    for (uint32_t i = 0; i < p->count; i++)
        if (roaring_bitmap_contains(rows, sids[i]))
            return true;
    return false;
}
