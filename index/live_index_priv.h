/* Inside of the live index, shared by its three files: write (add, remove), read (sets, names,
 * values), the rest. */
#ifndef KS_INDEX_LIVE_INDEX_PRIV_H
#define KS_INDEX_LIVE_INDEX_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "index/intern.h"
#include "index/live_blocks.h"
#include "index/live_index.h"
#include "index/live_matches.h"

/* One series of a batch on its way in or out. */
struct ksi_live_item {
    uint32_t sid, tenant, count;
    size_t first; /* of its pair ids in ids */
    struct ks_slice label_bytes;
    struct ks_tenant tenant_id;
};
struct ksi_id_list {
    uint32_t *v;
    size_t count, cap;
};
struct ksi_staged_block {
    size_t index;
    uint8_t *fresh;
};

/* The writer's working memory, kept between batches. */
struct ksi_live_batch {
    struct ksi_live_item *items;
    size_t item_count, item_cap;
    struct ksi_id_list ids;                   /* pair ids of all items */
    struct ksi_id_list pairs, names, tenants; /* touched: pending > 0 */
    struct ksi_id_list runs;                  /* scratch of the run tracker */
    struct ksi_staged_block *blocks;
    size_t block_count, block_cap;
    struct ks_label *labels[2]; /* of the item before and this one */
    size_t label_cap[2], longest;
    struct ksi_block_view view;
    struct ks_buf scratch;
};

struct ks_live_index {
    pthread_rwlock_t lock;
    struct ksi_intern words;   /* names and pairs */
    struct ksi_intern tenants; /* "names" of 8 bytes: account, project */
    struct ksi_blocks blocks;
    struct ksi_live_matches matches;
    uint64_t series_count;
    struct ksi_live_batch batch; /* under the write lock */
    /* Postings' bytes are counted by walking; done anew when the index changed by 1/16. Relaxed: a
     * statistic. */
    _Atomic uint64_t postings_bytes, changes, changes_counted;
};

static inline struct ks_slice ksi_tenant_text(const uint64_t *key)
{
    return ks_slice(key, sizeof *key);
}
uint32_t ksi_live_find_tenant(const struct ks_live_index *x, struct ks_tenant tenant);

/* Lists of labels up to this long are read without touching the heap. */
enum { KSI_STACK_LABELS = 64 };
struct ksi_live_one {
    uint32_t stack[2 * KSI_STACK_LABELS];
    uint32_t *heap, *ids, count, tenant;
};
/* KS_ENOTFOUND (without a text) when the sid is not in use. Release with ks_free(heap). Under the
 * lock. */
ks_err ksi_live_read_one(const struct ks_live_index *x, uint32_t sid, struct ksi_live_one *o);
void ksi_live_batch_done(struct ksi_live_batch *b);

#endif
