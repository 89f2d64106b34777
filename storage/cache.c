/*
 * Invariants of a shard (under its lock): an entry is in the table exactly while it is in one of
 * the two queues, and then the table holds one reference. References are taken under the lock only,
 * or by someone who holds one; so refs == 1 under the lock means that nobody else can have or get
 * one. Dropping a reference needs no lock.
 */
#include "storage/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

enum {
    SHARD_MAX = 64,
    SHARD_BUDGET_MIN = 8 << 20, /* fewer shards rather than smaller ones */
    GHOST_SLOTS = 2048,
    BUCKETS_MIN = 64,
    FREQ_MAX = 3,
};

struct ks_cache_entry {
    _Atomic uint32_t refs;
    uint8_t freq, in_main;
    uint64_t owner, id, hash;
    size_t bytes;
    struct ks_cache_entry *chain;       /* of its bucket; of the victims once evicted */
    struct ks_cache_entry *prev, *next; /* of its queue */
    _Alignas(16) unsigned char data[];
};

struct queue {
    struct ks_cache_entry *newest, *oldest;
    size_t bytes;
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct ks_cache_entry **buckets;
    size_t bucket_count, entries, budget;
    struct queue small, main;
    uint64_t hits, misses, evictions;
    uint32_t ghost[GHOST_SLOTS];
};

struct ks_cache {
    size_t shard_count; /* a power of two */
    struct shard shards[];
};

/* --- entries --- */

struct ks_cache_entry *ks_cache_entry_new(size_t bytes)
{
    if (bytes > SIZE_MAX / 2) {
        (void)ks_fail(KS_ENOMEM, "cache entry of %zu bytes", bytes);
        return NULL;
    }
    struct ks_cache_entry *e = ks_alloc(sizeof *e + bytes);
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    atomic_init(&e->refs, 1);
    e->bytes = bytes;
    return e;
}

void *ks_cache_entry_data(struct ks_cache_entry *e)
{
    return e->data;
}

size_t ks_cache_entry_bytes(const struct ks_cache_entry *e)
{
    return e->bytes;
}

void ks_cache_entry_ref(struct ks_cache_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

void ks_cache_entry_unref(struct ks_cache_entry *e)
{
    /* Pairs with itself and with the acquire load in evictable(): the last user's reads come before
     * the free. */
    if (e && atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        ks_free(e);
}

static bool evictable(struct ks_cache_entry *e)
{
    return atomic_load_explicit(&e->refs, memory_order_acquire) == 1;
}

static size_t weight(const struct ks_cache_entry *e)
{
    return sizeof *e + e->bytes;
}

uint64_t ks_cache_owner_new(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

/* --- queues and table, under the shard's lock --- */

static struct queue *queue_of(struct shard *s, const struct ks_cache_entry *e)
{
    return e->in_main ? &s->main : &s->small;
}

static void queue_push(struct shard *s, struct ks_cache_entry *e, bool main)
{
    e->in_main = main;
    struct queue *q = queue_of(s, e);
    e->prev = NULL;
    e->next = q->newest;
    if (q->newest)
        q->newest->prev = e;
    else
        q->oldest = e;
    q->newest = e;
    q->bytes += weight(e);
}

static void queue_remove(struct shard *s, struct ks_cache_entry *e)
{
    struct queue *q = queue_of(s, e);
    *(e->prev ? &e->prev->next : &q->newest) = e->next;
    *(e->next ? &e->next->prev : &q->oldest) = e->prev;
    q->bytes -= weight(e);
}

static struct ks_cache_entry **bucket(const struct shard *s, uint64_t hash)
{
    return &s->buckets[(hash >> 16) & (s->bucket_count - 1)];
}

static void table_remove(struct shard *s, struct ks_cache_entry *e)
{
    struct ks_cache_entry **at = bucket(s, e->hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    s->entries--;
}

static struct ks_cache_entry *table_find(const struct shard *s, uint64_t hash, uint64_t owner,
                                         uint64_t id)
{
    if (!s->bucket_count)
        return NULL;
    for (struct ks_cache_entry *e = *bucket(s, hash); e; e = e->chain)
        if (e->owner == owner && e->id == id)
            return e;
    return NULL;
}

/* Keeps chains short; without memory they just grow longer. False only when there is no table at
 * all. */
static bool table_grow(struct shard *s)
{
    if (s->entries < s->bucket_count)
        return true;
    size_t count = s->bucket_count ? s->bucket_count * 2 : BUCKETS_MIN, old_count = s->bucket_count;
    struct ks_cache_entry **fresh = ks_zalloc_array(count, sizeof *fresh), **old = s->buckets;
    if (!fresh)
        return s->bucket_count != 0;
    s->buckets = fresh;
    s->bucket_count = count;
    for (size_t i = 0; i < old_count; i++)
        for (struct ks_cache_entry *e = old[i], *next; e; e = next) {
            next = e->chain;
            struct ks_cache_entry **at = bucket(s, e->hash);
            e->chain = *at;
            *at = e;
        }
    ks_free(old);
    return true;
}

static uint32_t *ghost_slot(struct shard *s, uint64_t hash)
{
    return &s->ghost[(hash >> 32) % GHOST_SLOTS];
}

static uint32_t ghost_tag(uint64_t hash)
{
    return (uint32_t)hash | 1;
}

static void unlink_entry(struct shard *s, struct ks_cache_entry *e, struct ks_cache_entry **victims)
{
    queue_remove(s, e);
    table_remove(s, e);
    e->chain = *victims;
    *victims = e;
}

/* One step of S3-FIFO on the probation queue's oldest entry. */
static void step_small(struct shard *s, struct ks_cache_entry **victims)
{
    struct ks_cache_entry *e = s->small.oldest;
    if (e->freq == 0 && evictable(e)) {
        *ghost_slot(s, e->hash) = ghost_tag(e->hash);
        unlink_entry(s, e, victims);
        s->evictions++;
        return;
    }
    e->freq = 0;
    queue_remove(s, e);
    queue_push(s, e, true);
}

static void step_main(struct shard *s, struct ks_cache_entry **victims)
{
    struct ks_cache_entry *e = s->main.oldest;
    if (e->freq == 0 && evictable(e)) {
        unlink_entry(s, e, victims);
        s->evictions++;
        return;
    }
    if (e->freq)
        e->freq--;
    queue_remove(s, e);
    queue_push(s, e, true);
}

/* Brings the shard within its budget; entries in use may keep it above, hence the bound on steps.
 */
static void shrink(struct shard *s, struct ks_cache_entry **victims)
{
    size_t steps = (FREQ_MAX + 2) * (s->entries + 1);
    while (s->small.bytes + s->main.bytes > s->budget && s->entries && steps--) {
        if (s->small.oldest && (s->small.bytes > s->budget / 10 || !s->main.oldest))
            step_small(s, victims);
        else
            step_main(s, victims);
    }
}

/* Outside the lock: freeing may be slow. */
static void release_victims(struct ks_cache_entry *victims)
{
    for (struct ks_cache_entry *e = victims, *next; e; e = next) {
        next = e->chain;
        ks_cache_entry_unref(e);
    }
}

/* --- the cache --- */

ks_err ks_cache_new(size_t budget_bytes, struct ks_cache **ret)
{
    size_t shards = 1;
    while (shards < SHARD_MAX && budget_bytes / (shards * 2) >= SHARD_BUDGET_MIN)
        shards *= 2;
    size_t bytes = sizeof(struct ks_cache) + shards * sizeof(struct shard);
    struct ks_cache *c = ks_aligned_alloc(64, bytes);
    if (!c)
        return KS_ENOMEM;
    memset(c, 0, bytes);
    c->shard_count = shards;
    for (size_t i = 0; i < shards; i++) {
        pthread_mutex_init(&c->shards[i].lock, NULL);
        c->shards[i].budget = budget_bytes / shards;
    }
    *ret = c;
    return KS_OK;
}

void ks_cache_free(struct ks_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct ks_cache_entry *victims = NULL;
        while (s->small.oldest)
            unlink_entry(s, s->small.oldest, &victims);
        while (s->main.oldest)
            unlink_entry(s, s->main.oldest, &victims);
        release_victims(victims);
        ks_free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    ks_free(c);
}

void ks_cache_set_budget(struct ks_cache *c, size_t budget_bytes)
{
    for (size_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct ks_cache_entry *victims = NULL;
        pthread_mutex_lock(&s->lock);
        s->budget = budget_bytes / c->shard_count;
        shrink(s, &victims);
        pthread_mutex_unlock(&s->lock);
        release_victims(victims);
    }
}

void ks_cache_get_stats(struct ks_cache *c, struct ks_cache_stats *ret)
{
    *ret = (struct ks_cache_stats){0};
    for (size_t i = 0; c && i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        ret->hits += s->hits;
        ret->misses += s->misses;
        ret->evictions += s->evictions;
        ret->bytes += s->small.bytes + s->main.bytes;
        ret->entries += s->entries;
        ret->budget_bytes += s->budget;
        pthread_mutex_unlock(&s->lock);
    }
}

static uint64_t key_hash(uint64_t owner, uint64_t id)
{
    return ks_mix64(owner * 0x9e3779b97f4a7c15u + id);
}

static struct shard *shard_of(struct ks_cache *c, uint64_t hash)
{
    return &c->shards[hash & (c->shard_count - 1)];
}

struct ks_cache_entry *ks_cache_get(struct ks_cache *c, uint64_t owner, uint64_t id)
{
    if (!c)
        return NULL;
    uint64_t hash = key_hash(owner, id);
    struct shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->lock);
    struct ks_cache_entry *e = table_find(s, hash, owner, id);
    if (e) {
        s->hits++;
        e->freq = e->freq < FREQ_MAX ? e->freq + 1 : FREQ_MAX;
        ks_cache_entry_ref(e);
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

struct ks_cache_entry *ks_cache_put(struct ks_cache *c, uint64_t owner, uint64_t id,
                                    struct ks_cache_entry *e)
{
    if (!c)
        return e;
    uint64_t hash = key_hash(owner, id);
    struct shard *s = shard_of(c, hash);
    struct ks_cache_entry *victims = NULL, *use = e;
    pthread_mutex_lock(&s->lock);
    struct ks_cache_entry *first = table_find(s, hash, owner, id);
    if (first) {
        ks_cache_entry_ref(first);
        use = first;
    } else if (weight(e) <= s->budget / 2 && table_grow(s)) {
        e->owner = owner;
        e->id = id;
        e->hash = hash;
        ks_cache_entry_ref(e);
        struct ks_cache_entry **at = bucket(s, hash);
        e->chain = *at;
        *at = e;
        s->entries++;
        queue_push(s, e, *ghost_slot(s, hash) == ghost_tag(hash));
        shrink(s, &victims);
    }
    pthread_mutex_unlock(&s->lock);
    release_victims(victims);
    if (first)
        ks_cache_entry_unref(e);
    return use;
}

static void drop_from_queue(struct shard *s, struct queue *q, uint64_t owner,
                            struct ks_cache_entry **victims)
{
    for (struct ks_cache_entry *e = q->oldest, *newer; e; e = newer) {
        newer = e->prev;
        if (e->owner == owner)
            unlink_entry(s, e, victims);
    }
}

void ks_cache_drop_owner(struct ks_cache *c, uint64_t owner)
{
    for (size_t i = 0; c && i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct ks_cache_entry *victims = NULL;
        pthread_mutex_lock(&s->lock);
        drop_from_queue(s, &s->small, owner, &victims);
        drop_from_queue(s, &s->main, owner, &victims);
        pthread_mutex_unlock(&s->lock);
        release_victims(victims);
    }
}
