/*
 * Series of the live index: sid → tenant ordinal and pair ids, in blocks of 16 neighbouring sids,
 * each list written as its difference to the one before (series of one target differ in a label or
 * two). A block is replaced, never changed.
 */
#ifndef KS_INDEX_LIVE_BLOCKS_H
#define KS_INDEX_LIVE_BLOCKS_H

#include "base/buf.h"

enum { KSI_BLOCK_SIDS = 16 };

struct ksi_blocks {
    uint8_t **v; /* by sid / KSI_BLOCK_SIDS; NULL: no series there */
    size_t count, cap;
    size_t bytes;
};

/* A block taken apart. ids is grown as needed and kept for the next block. */
struct ksi_block_view {
    struct {
        bool used;
        uint32_t tenant, count;
        size_t first; /* in ids */
    } e[KSI_BLOCK_SIDS];
    uint32_t *ids;
    size_t id_count, id_cap;
};

void ksi_blocks_done(struct ksi_blocks *b);
KS_NODISCARD ks_err ksi_blocks_reserve(struct ksi_blocks *b, size_t count);
static inline const uint8_t *ksi_blocks_at(const struct ksi_blocks *b, uint32_t sid)
{
    size_t i = sid / KSI_BLOCK_SIDS;
    return i < b->count ? b->v[i] : NULL;
}
/* Installs a block made by ksi_block_build (or NULL) and frees the one it replaces. */
void ksi_blocks_put(struct ksi_blocks *b, size_t i, uint8_t *block);

KS_NODISCARD ks_err ksi_block_load(const uint8_t *block, struct ksi_block_view *ret);
/* A fresh heap block, NULL when the view is empty. scratch is overwritten. */
KS_NODISCARD ks_err ksi_block_build(const struct ksi_block_view *view, struct ks_buf *scratch,
                                    uint8_t **ret);
/*
 * One series: its pair ids in a or b, which both have room for the longest list in the block
 * (ksi_block_max_labels). False when the slot is empty.
 */
bool ksi_block_read(const uint8_t *block, unsigned slot, uint32_t *a, uint32_t *b,
                    uint32_t **ret_ids, uint32_t *ret_count, uint32_t *ret_tenant);
uint32_t ksi_block_max_labels(const uint8_t *block);

#endif
