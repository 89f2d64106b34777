#include <string.h>

#include "engine/engine_priv.h"

static void head_stats(struct ks_engine *e, struct ks_engine_stats *s)
{
    for (uint32_t i = 0; i < e->shard_count; i++) {
        pthread_mutex_lock(&e->shards[i].lock);
        s->active_series += e->shards[i].in_use;
        s->head_samples += e->shards[i].samples;
        pthread_mutex_unlock(&e->shards[i].lock);
    }
    s->head_memory_bytes = ksi_head_bytes(e);
}

static void part_stats(struct ks_engine *e, struct ks_engine_stats *s)
{
    struct ksi_part_list *l = ksi_parts_pin(&e->parts);
    for (size_t i = 0; i < l->count; i++) {
        const struct ksi_part *p = l->views[i].part;
        s->part_count++;
        s->part_samples += p->samples;
        s->index_bytes += p->index_bytes;
        s->data_bytes += p->bytes - p->index_bytes;
    }
    ksi_parts_unpin(l);
}

void ks_engine_get_stats(struct ks_engine *e, struct ks_engine_stats *ret)
{
    struct ks_cache_stats cache;
    memset(ret, 0, sizeof *ret);
    head_stats(e, ret);
    part_stats(e, ret);
    ks_cache_get_stats(e->cache, &cache);
    ret->cache_hits = cache.hits;
    ret->cache_misses = cache.misses;
    ret->cache_bytes = cache.bytes;
    ret->cache_budget_bytes = cache.budget_bytes;
    ret->series_created_total = atomic_load(&e->series_created);
    ret->rows_added_total = atomic_load(&e->rows_added);
    ret->rows_too_old_total = atomic_load(&e->rows_too_old);
    ret->rows_too_new_total = atomic_load(&e->rows_too_new);
    ret->wal_bytes = ks_wal_disk_bytes(e->wal);
    ret->l1_hits = atomic_load(&e->l1_hits);
    ret->l1_misses = atomic_load(&e->l1_misses);
    ret->flushes_total = atomic_load(&e->flushes);
    ret->merges_total = atomic_load(&e->merges);
    ret->merged_rows_total = atomic_load(&e->merged_rows);
    ret->active_merges = atomic_load(&e->active_merges);
    ret->quarantined_parts = atomic_load(&e->quarantined);
    ret->free_disk_bytes = atomic_load(&e->free_disk_bytes);
    ret->total_disk_bytes = atomic_load(&e->total_disk_bytes);
    ret->wal_replay_bytes = e->replay_bytes;
    ret->recovery_ms = e->recovery_ms;
    ret->read_only = atomic_load(&e->read_only);
}

struct ks_pool *ks_engine_pool(struct ks_engine *e)
{
    return e->opts.pool;
}
