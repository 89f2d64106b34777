#include "api/name_stats.h"

#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sys/clock.h"

struct entry {
    struct entry *next;
    uint64_t hash;
    struct ks_tenant tenant;
    struct ks_name_use use;
    uint32_t len;
    char name[];
};

enum { BUCKETS = 1 << 12 };

struct ks_name_stats {
    pthread_mutex_t lock;
    size_t max_bytes, bytes, count;
    int64_t since_s;
    struct entry *buckets[BUCKETS];
};

ks_err ks_name_stats_new(size_t max_bytes, struct ks_name_stats **ret)
{
    struct ks_name_stats *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->max_bytes = max_bytes;
    s->since_s = ks_now_ms() / 1000;
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return KS_OK;
}

void ks_name_stats_reset(struct ks_name_stats *s)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < BUCKETS; i++)
        while (s->buckets[i]) {
            struct entry *x = s->buckets[i];
            s->buckets[i] = x->next;
            ks_free(x);
        }
    s->bytes = s->count = 0;
    s->since_s = ks_now_ms() / 1000;
    pthread_mutex_unlock(&s->lock);
}

void ks_name_stats_free(struct ks_name_stats *s)
{
    if (!s)
        return;
    ks_name_stats_reset(s);
    pthread_mutex_destroy(&s->lock);
    ks_free(s);
}

static uint64_t hash_of(struct ks_tenant t, struct ks_slice name)
{
    return ks_hash64_seed(name.ptr, name.len, ks_tenant_key(t));
}

/* Under the lock. */
static struct entry *find(struct ks_name_stats *s, struct ks_tenant t, struct ks_slice name)
{
    uint64_t hash = hash_of(t, name);
    struct entry *x = s->buckets[hash % BUCKETS];
    while (x && !(x->hash == hash && ks_tenant_eq(x->tenant, t) &&
                  ks_slice_eq(ks_slice(x->name, x->len), name)))
        x = x->next;
    return x;
}

static struct entry *add(struct ks_name_stats *s, struct ks_tenant t, struct ks_slice name)
{
    size_t bytes = sizeof(struct entry) + name.len;
    struct entry *x = s->bytes + bytes <= s->max_bytes ? ks_alloc(bytes) : NULL;
    if (!x)
        return NULL;
    *x = (struct entry){.hash = hash_of(t, name), .tenant = t, .len = (uint32_t)name.len};
    memcpy(x->name, name.ptr, name.len);
    x->next = s->buckets[x->hash % BUCKETS];
    s->buckets[x->hash % BUCKETS] = x;
    s->bytes += bytes;
    s->count++;
    return x;
}

void ks_name_stats_add(struct ks_name_stats *s, struct ks_tenant tenant, struct ks_slice name,
                       int64_t now_ms)
{
    if (!name.len || name.len > UINT16_MAX)
        return;
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, tenant, name);
    if (!x)
        x = add(s, tenant, name);
    if (x) {
        x->use.requests++;
        x->use.last_s = (uint64_t)(now_ms / 1000);
    }
    pthread_mutex_unlock(&s->lock);
}

struct ks_name_use ks_name_stats_get(struct ks_name_stats *s, struct ks_tenant tenant,
                                     struct ks_slice name)
{
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, tenant, name);
    struct ks_name_use use = x ? x->use : (struct ks_name_use){0};
    pthread_mutex_unlock(&s->lock);
    return use;
}

void ks_name_stats_totals(struct ks_name_stats *s, struct ks_name_stats_total *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = (struct ks_name_stats_total){s->since_s, s->count, s->bytes, s->max_bytes};
    pthread_mutex_unlock(&s->lock);
}
