#include "query/promql/result_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "query/promql/result_cache_priv.h"

enum { BUCKETS = 1 << 14, DEFAULT_RECENT_MS = 5 * 60 * 1000, LARGEST_SHARE = 4, RUN_MAX = 128 };

struct node {
    struct node *next;          /* of the bucket */
    struct node *older, *newer; /* by use */
    uint64_t hash;
    struct ksi_kept *kept;
    size_t bytes;
    uint32_t key_bytes;
    char key[];
};

struct ks_result_cache {
    size_t max_bytes;
    int64_t recent_ms;
    pthread_mutex_t lock; /* all below; never held over anything slow */
    struct node *buckets[BUCKETS];
    struct node *newest, *oldest;
    size_t bytes, entries;
    uint64_t resets;
    _Atomic uint64_t uses[3];
};

/* --- entries --- */
void ksi_kept_unref(struct ksi_kept *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    ks_free(k->series);
    ks_free(k->groups);
    ks_free(k->labels);
    ks_free(k->packed);
    ks_free(k);
}

const struct ksi_kept_series *ksi_kept_find(const struct ksi_kept *k, uint64_t key)
{
    size_t from = 0, to = k->series_count;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (k->series[mid].key < key)
            from = mid + 1;
        else
            to = mid;
    }
    return from < k->series_count && k->series[from].key == key ? &k->series[from] : NULL;
}

/*
 * Each value as its difference (xor) from the one before: a byte below 128 repeats it that many
 * times and once more; else bits 3…5 count leading zero bytes, bits 0…2 the bytes that follow, less
 * one.
 */
size_t ksi_kept_pack(const double *values, size_t n, uint8_t *out)
{
    uint64_t last = 0;
    uint8_t *o = out, *run = NULL;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = ks_f64_bits(values[i]), x = bits ^ last;
        last = bits;
        if (x == 0) {
            if (run && *run < RUN_MAX - 1)
                ++*run;
            else
                *(run = o++) = 0;
            continue;
        }
        run = NULL;
        unsigned lead = (unsigned)__builtin_clzll(x) / 8, tail = (unsigned)__builtin_ctzll(x) / 8;
        unsigned len = 8 - lead - tail;
        *o++ = (uint8_t)(0x80 | lead << 3 | (len - 1));
        x = __builtin_bswap64(x << (lead * 8));
        memcpy(o, &x, len);
        o += len;
    }
    return (size_t)(o - out);
}

void ksi_kept_unpack(const struct ksi_kept *k, uint32_t row, double *out)
{
    const uint8_t *p = k->packed + row;
    uint64_t last = 0;
    for (size_t i = 0; i < k->points;) {
        uint8_t c = *p++;
        if (c < 0x80) {
            for (unsigned r = 0; r <= c && i < k->points; r++)
                out[i++] = ks_f64_from_bits(last);
            continue;
        }
        unsigned lead = c >> 3 & 7, len = (c & 7u) + 1;
        uint64_t x = 0;
        memcpy(&x, p, len);
        p += len;
        last ^= __builtin_bswap64(x) >> (lead * 8);
        out[i++] = ks_f64_from_bits(last);
    }
}

/* --- the table --- */
static size_t kept_bytes(const struct ksi_kept *k)
{
    return sizeof *k + k->series_count * sizeof *k->series + k->group_count * sizeof *k->groups +
           k->label_bytes + k->packed_bytes;
}

static struct node **find(struct ks_result_cache *c, struct ks_slice key, uint64_t hash)
{
    struct node **at = &c->buckets[hash % BUCKETS];
    while (*at && !((*at)->hash == hash && (*at)->key_bytes == key.len &&
                    memcmp((*at)->key, key.ptr, key.len) == 0))
        at = &(*at)->next;
    return at;
}

static void list_remove(struct ks_result_cache *c, struct node *n)
{
    *(n->older ? &n->older->newer : &c->oldest) = n->newer;
    *(n->newer ? &n->newer->older : &c->newest) = n->older;
}

static void list_add(struct ks_result_cache *c, struct node *n)
{
    n->older = c->newest;
    n->newer = NULL;
    *(c->newest ? &c->newest->newer : &c->oldest) = n;
    c->newest = n;
}

/* The node at *at leaves the cache. */
static void drop(struct ks_result_cache *c, struct node **at)
{
    struct node *n = *at;
    *at = n->next;
    list_remove(c, n);
    c->bytes -= n->bytes;
    c->entries--;
    ksi_kept_unref(n->kept);
    ks_free(n);
}

static void drop_node(struct ks_result_cache *c, struct node *n)
{
    struct node **at = &c->buckets[n->hash % BUCKETS];
    while (*at != n)
        at = &(*at)->next;
    drop(c, at);
}

ks_err ks_result_cache_new(size_t max_bytes, int64_t recent_ms, struct ks_result_cache **ret)
{
    struct ks_result_cache *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->max_bytes = max_bytes;
    c->recent_ms = recent_ms > 0 ? recent_ms : DEFAULT_RECENT_MS;
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return KS_OK;
}

void ks_result_cache_reset(struct ks_result_cache *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->oldest)
        drop_node(c, c->oldest);
    c->resets++;
    pthread_mutex_unlock(&c->lock);
}

void ks_result_cache_free(struct ks_result_cache *c)
{
    if (!c)
        return;
    ks_result_cache_reset(c);
    pthread_mutex_destroy(&c->lock);
    ks_free(c);
}

struct ksi_kept *ksi_result_cache_get(struct ks_result_cache *c, struct ks_slice key)
{
    struct ksi_kept *kept = NULL;
    uint64_t hash = ks_hash64(key.ptr, key.len);
    pthread_mutex_lock(&c->lock);
    struct node *n = *find(c, key, hash);
    if (n) {
        list_remove(c, n);
        list_add(c, n);
        kept = n->kept;
        atomic_fetch_add(&kept->refs, 1);
    }
    pthread_mutex_unlock(&c->lock);
    return kept;
}

void ksi_result_cache_put(struct ks_result_cache *c, struct ks_slice key, struct ksi_kept *k)
{
    size_t bytes = sizeof(struct node) + key.len + kept_bytes(k);
    struct node *n = bytes <= c->max_bytes / LARGEST_SHARE && key.len < UINT32_MAX
                         ? ks_alloc(sizeof *n + key.len)
                         : NULL;
    if (!n) {
        ksi_kept_unref(k);
        return;
    }
    *n = (struct node){.hash = ks_hash64(key.ptr, key.len),
                       .kept = k,
                       .bytes = bytes,
                       .key_bytes = (uint32_t)key.len};
    memcpy(n->key, key.ptr, key.len);
    pthread_mutex_lock(&c->lock);
    struct node **at = find(c, key, n->hash);
    if (*at)
        drop(c, at);
    n->next = *at;
    *at = n;
    list_add(c, n);
    c->bytes += bytes;
    c->entries++;
    while (c->bytes > c->max_bytes)
        drop_node(c, c->oldest);
    pthread_mutex_unlock(&c->lock);
}

int64_t ksi_result_cache_recent_ms(const struct ks_result_cache *c)
{
    return c->recent_ms;
}

size_t ksi_result_cache_room(const struct ks_result_cache *c)
{
    return c->max_bytes / LARGEST_SHARE;
}

void ksi_result_cache_count(struct ks_result_cache *c, enum ksi_cache_use use)
{
    atomic_fetch_add_explicit(&c->uses[use], 1, memory_order_relaxed);
}

void ks_result_cache_get_stats(struct ks_result_cache *c, struct ks_result_cache_stats *ret)
{
    *ret = (struct ks_result_cache_stats){
        .max_bytes = c->max_bytes,
        .full_hits = atomic_load(&c->uses[KSI_CACHE_FULL]),
        .partial_hits = atomic_load(&c->uses[KSI_CACHE_PARTIAL]),
    };
    ret->requests = ret->full_hits + ret->partial_hits + atomic_load(&c->uses[KSI_CACHE_MISS]);
    pthread_mutex_lock(&c->lock);
    ret->entries = c->entries;
    ret->bytes = c->bytes;
    ret->resets = c->resets;
    pthread_mutex_unlock(&c->lock);
}
