/* Life cycle, single series and statistics of the live index. */
#include "index/live_index.h"

#include <string.h>

#include "base/mem.h"
#include "index/live_index_priv.h"

ks_err ks_live_index_new(struct ks_live_index **ret)
{
    struct ks_live_index *x = ks_zalloc(sizeof *x);
    if (!x)
        return KS_ENOMEM;
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* Queries never stop coming; a writer must get its turn. No reader locks twice. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&x->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    ksi_intern_init(&x->words);
    ksi_intern_init(&x->tenants);
    ksi_live_matches_init(&x->matches);
    ks_buf_init(&x->batch.scratch, KS_BUF_UNLIMITED);
    *ret = x;
    return KS_OK;
}

void ks_live_index_free(struct ks_live_index *x)
{
    if (!x)
        return;
    ksi_blocks_done(&x->blocks);
    ksi_intern_done(&x->words);
    ksi_intern_done(&x->tenants);
    ksi_live_batch_done(&x->batch);
    ksi_live_matches_done(&x->matches);
    pthread_rwlock_destroy(&x->lock);
    ks_free(x);
}

uint32_t ksi_live_find_tenant(const struct ks_live_index *x, struct ks_tenant tenant)
{
    uint64_t key = ks_tenant_key(tenant);
    return ksi_find_name(&x->tenants, ksi_tenant_text(&key));
}

ks_err ksi_live_read_one(const struct ks_live_index *x, uint32_t sid, struct ksi_live_one *o)
{
    o->heap = NULL;
    const uint8_t *block = ksi_blocks_at(&x->blocks, sid);
    if (!block)
        return KS_ENOTFOUND;
    size_t longest = ksi_block_max_labels(block);
    uint32_t *a = o->stack, *b = o->stack + KSI_STACK_LABELS;
    if (longest > KSI_STACK_LABELS) {
        o->heap = ks_alloc_array(2 * longest, sizeof *o->heap);
        if (!o->heap)
            return KS_ENOMEM;
        a = o->heap;
        b = a + longest;
    }
    if (ksi_block_read(block, sid % KSI_BLOCK_SIDS, a, b, &o->ids, &o->count, &o->tenant))
        return KS_OK;
    ks_free(o->heap);
    return KS_ENOTFOUND;
}

ks_err ks_live_index_labels(struct ks_live_index *x, uint32_t sid, struct ks_buf *labels,
                            struct ks_tenant *ret_tenant)
{
    struct ksi_live_one o;
    pthread_rwlock_rdlock(&x->lock);
    ks_err err = ksi_live_read_one(x, sid, &o);
    if (err == KS_OK) {
        for (uint32_t i = 0; i < o.count; i++) {
            const struct ksi_pair *p = ksi_pair(&x->words, o.ids[i]);
            ks_buf_lp(labels, ksi_name_text(&x->words.names[p->name]));
            ks_buf_lp(labels, ksi_pair_value(p));
        }
        uint64_t key = ks_le64(x->tenants.names[o.tenant].text);
        *ret_tenant = (struct ks_tenant){(uint32_t)(key >> 32), (uint32_t)key};
        ks_free(o.heap);
    }
    pthread_rwlock_unlock(&x->lock);
    if (err == KS_ENOTFOUND)
        return ks_fail(KS_ENOTFOUND, "no series with id %u", sid);
    return err == KS_OK ? ks_buf_status(labels) : err;
}

bool ks_live_index_equals(struct ks_live_index *x, uint32_t sid, struct ks_tenant tenant,
                          struct ks_slice label_bytes)
{
    struct ksi_live_one o;
    pthread_rwlock_rdlock(&x->lock);
    bool same = ksi_live_read_one(x, sid, &o) == KS_OK;
    if (same) {
        same = ksi_live_find_tenant(x, tenant) == o.tenant;
        struct ks_labels_iter it = ks_labels_iter(label_bytes);
        struct ks_label l;
        uint32_t i = 0;
        for (; same && ks_labels_next(&it, &l); i++) {
            const struct ksi_pair *p = i < o.count ? ksi_pair(&x->words, o.ids[i]) : NULL;
            same = p && ks_slice_eq(ksi_pair_value(p), l.value) &&
                   ks_slice_eq(ksi_name_text(&x->words.names[p->name]), l.name);
        }
        same = same && i == o.count;
        ks_free(o.heap);
    }
    pthread_rwlock_unlock(&x->lock);
    return same;
}

static uint64_t count_postings(const struct ks_live_index *x)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < x->words.pair_end; i++)
        bytes += ksi_postings_bytes(&ksi_pair(&x->words, i)->rows);
    for (size_t i = 0; i < x->words.name_count; i++)
        bytes += ksi_postings_bytes(&x->words.names[i].rows);
    for (size_t i = 0; i < x->tenants.name_count; i++)
        bytes += ksi_postings_bytes(&x->tenants.names[i].rows);
    return bytes;
}

void ks_live_index_get_stats(struct ks_live_index *x, struct ks_live_index_stats *ret)
{
    pthread_rwlock_rdlock(&x->lock);
    uint64_t changes = atomic_load_explicit(&x->changes, memory_order_relaxed);
    uint64_t counted = atomic_load_explicit(&x->changes_counted, memory_order_relaxed);
    if (changes - counted > x->series_count / 16 || (changes && !counted)) {
        atomic_store_explicit(&x->postings_bytes, count_postings(x), memory_order_relaxed);
        atomic_store_explicit(&x->changes_counted, changes, memory_order_relaxed);
    }
    *ret = (struct ks_live_index_stats){
        .series = x->series_count,
        .pairs = x->words.pair_live,
        .names = x->words.name_live,
        .bytes = sizeof *x + x->words.bytes + x->tenants.bytes + x->blocks.bytes +
                 x->blocks.cap * sizeof *x->blocks.v +
                 atomic_load_explicit(&x->postings_bytes, memory_order_relaxed),
    };
    pthread_rwlock_unlock(&x->lock);
}
