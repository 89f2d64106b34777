#include "storage/traces/chunk_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "storage/traces/waited.h"

enum { SLAB_BYTES = 1 << 20, PAGE_BYTES = 4096, SPARE_CHUNKS = 64 };

enum { SIZES = 4, BLOCK_MIN_BYTES = 16 << 10, BLOCK_MAX_BYTES = 1 << 20 };

/* Blocks of one size. */
struct spare {
    size_t bytes;  /* 0: none was asked for */
    void *ptr;     /* one that is free, or NULL */
    uint64_t used; /* when it was asked for last */
};

struct slab {
    char *base;
    uint64_t free; /* a bit per chunk */
};

struct ksi_pool {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    size_t chunk_bytes, per_slab;
    struct slab *slabs; /* by address: low ones fill first, so that high ones empty */
    size_t count, cap;
    size_t first; /* no slab before it has a free chunk */
    size_t chunks, free_chunks;
    struct spare spares[SIZES];
    uint64_t asked;
};

struct ksi_pool *ksi_pool_new(size_t chunk_bytes)
{
    struct ksi_pool *p = ks_zalloc(sizeof *p);
    if (!p)
        return NULL;
    atomic_store(&p->refs, 1);
    p->chunk_bytes = chunk_bytes;
    p->per_slab = SLAB_BYTES / chunk_bytes;
    KS_ASSERT(p->per_slab && p->per_slab <= 64);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

struct ksi_pool *ksi_pool_ref(struct ksi_pool *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void ksi_pool_unref(struct ksi_pool *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (size_t i = 0; i < p->count; i++)
        ks_free(p->slabs[i].base);
    ks_free(p->slabs);
    for (size_t i = 0; i < SIZES; i++)
        ks_free(p->spares[i].ptr);
    pthread_mutex_destroy(&p->lock);
    ks_free(p);
}

/* The first slab at or behind the address. */
static size_t find(const struct ksi_pool *p, const char *at)
{
    size_t lo = 0, hi = p->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (p->slabs[mid].base + SLAB_BYTES <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Under the lock. False: no memory, the slab is still the caller's. */
static bool add_slab(struct ksi_pool *p, char *base)
{
    if (!base ||
        ks_array_reserve((void **)&p->slabs, &p->cap, p->count + 1, sizeof *p->slabs) != KS_OK)
        return false;
    size_t i = find(p, base);
    memmove(p->slabs + i + 1, p->slabs + i, (p->count - i) * sizeof *p->slabs);
    p->slabs[i] = (struct slab){base, UINT64_MAX >> (64 - p->per_slab)};
    p->count++;
    p->chunks += p->per_slab;
    p->free_chunks += p->per_slab;
    p->first = i < p->first ? i : p->first;
    return true;
}

/* Takes the slab out; the caller frees what it returns. */
static char *drop_slab(struct ksi_pool *p, size_t i)
{
    char *base = p->slabs[i].base;
    p->count--;
    memmove(p->slabs + i, p->slabs + i + 1, (p->count - i) * sizeof *p->slabs);
    p->chunks -= p->per_slab;
    p->free_chunks -= p->per_slab;
    p->first = i < p->first ? i : p->first;
    return base;
}

static bool grow(struct ksi_pool *p)
{
    char *base = ks_aligned_alloc(PAGE_BYTES, SLAB_BYTES);
    bool ok = add_slab(p, base);
    if (!ok)
        ks_free(base);
    return ok;
}

/* --- blocks --- */
/* Under the lock. The entry of the size; NULL: nobody asked for it lately. */
static struct spare *spare_of(struct ksi_pool *p, size_t bytes)
{
    for (size_t i = 0; i < SIZES; i++)
        if (p->spares[i].bytes == bytes)
            return &p->spares[i];
    return NULL;
}

/* Under the lock. The entry of a size asked for, in the place of the one not asked for longest,
 * whose block the caller frees. */
static struct spare *spare_asked(struct ksi_pool *p, size_t bytes, void **ret_old)
{
    struct spare *s = spare_of(p, bytes);
    if (!s) {
        s = &p->spares[0];
        for (size_t i = 1; i < SIZES; i++)
            s = p->spares[i].used < s->used ? &p->spares[i] : s;
        *ret_old = s->ptr;
        *s = (struct spare){.bytes = bytes};
    }
    s->used = ++p->asked;
    return s;
}

static bool is_block(size_t bytes)
{
    return bytes >= BLOCK_MIN_BYTES && bytes <= BLOCK_MAX_BYTES;
}

void *ksi_pool_block(struct ksi_pool *p, size_t bytes)
{
    void *block = NULL, *old = NULL;
    if (is_block(bytes)) {
        ksi_mutex_lock(&p->lock);
        struct spare *s = spare_asked(p, bytes, &old);
        block = s->ptr;
        s->ptr = NULL;
        pthread_mutex_unlock(&p->lock);
        ks_free(old);
    }
    return block ? block : ks_alloc(bytes);
}

void ksi_pool_block_free(struct ksi_pool *p, void *block, size_t bytes)
{
    if (block && is_block(bytes)) {
        pthread_mutex_lock(&p->lock);
        struct spare *s = spare_of(p, bytes);
        if (s && !s->ptr) {
            s->ptr = block;
            block = NULL;
        }
        pthread_mutex_unlock(&p->lock);
    }
    ks_free(block);
}

static void touch(char *base, size_t n)
{
    for (size_t i = 0; i < n; i += PAGE_BYTES)
        base[i] = 0;
}

/* --- ahead of need --- */
/* A size of which there is no block. */
static size_t block_missing(const struct ksi_pool *p)
{
    for (size_t i = 0; i < SIZES; i++)
        if (p->spares[i].bytes && !p->spares[i].ptr)
            return p->spares[i].bytes;
    return 0;
}

void ksi_pool_prepare(struct ksi_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool enough = p->free_chunks >= p->per_slab;
    size_t bytes = block_missing(p);
    pthread_mutex_unlock(&p->lock);
    char *block = bytes ? ks_alloc(bytes) : NULL;
    if (block) {
        touch(block, bytes);
        ksi_pool_block_free(p, block, bytes);
    }
    char *base = enough ? NULL : ks_aligned_alloc(PAGE_BYTES, SLAB_BYTES);
    if (!base)
        return;
    touch(base, SLAB_BYTES);
    pthread_mutex_lock(&p->lock);
    bool taken = p->free_chunks < p->per_slab && add_slab(p, base);
    pthread_mutex_unlock(&p->lock);
    if (!taken)
        ks_free(base);
}

char *ksi_pool_alloc(struct ksi_pool *p)
{
    char *chunk = NULL;
    ksi_mutex_lock(&p->lock);
    if (p->free_chunks || grow(p)) {
        while (!p->slabs[p->first].free)
            p->first++;
        struct slab *s = &p->slabs[p->first];
        unsigned bit = (unsigned)__builtin_ctzll(s->free);
        s->free &= s->free - 1;
        p->free_chunks--;
        chunk = s->base + bit * p->chunk_bytes;
    }
    pthread_mutex_unlock(&p->lock);
    return chunk;
}

bool ksi_pool_free(struct ksi_pool *p, void *chunk)
{
    char *empty = NULL;
    pthread_mutex_lock(&p->lock);
    size_t i = find(p, chunk);
    bool ours = i < p->count && p->slabs[i].base <= (char *)chunk;
    if (ours) {
        struct slab *s = &p->slabs[i];
        s->free |= (uint64_t)1 << ((size_t)((char *)chunk - s->base) / p->chunk_bytes);
        p->free_chunks++;
        p->first = i < p->first ? i : p->first;
        if (s->free == UINT64_MAX >> (64 - p->per_slab) &&
            p->free_chunks > p->chunks / 16 + SPARE_CHUNKS)
            empty = drop_slab(p, i);
    }
    pthread_mutex_unlock(&p->lock);
    ks_free(empty); /* giving pages back takes its time */
    return ours;
}

size_t ksi_pool_bytes(struct ksi_pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->count * SLAB_BYTES;
    pthread_mutex_unlock(&p->lock);
    return n;
}

size_t ksi_pool_free_bytes(struct ksi_pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->free_chunks * p->chunk_bytes;
    pthread_mutex_unlock(&p->lock);
    return n;
}
