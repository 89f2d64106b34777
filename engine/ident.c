#include "engine/ident.h"

#include <string.h>

#include "base/mem.h"
#include "engine/parts.h"

enum { ROWS_BLOCK = 512 };

/* fp_lo and the text: a slot is found without looking at identities that lie all over memory. */
struct slot {
    uint64_t fp_lo;
    struct ksi_ident *ident; /* NULL: empty */
};

struct ksi_idents {
    _Atomic uint32_t refs;
    _Atomic bool full; /* once set, stays */
    _Atomic size_t bytes;
    size_t budget_bytes;
    uint64_t no;
    struct ksi_ident_cache *cache;
    pthread_mutex_t lock; /* of the below */
    struct ks_arena arena;
    struct slot *slots;
    size_t slot_mask, count;
};

typedef _Atomic(const struct ksi_ident *) row_ident;
struct ksi_rows {
    _Atomic uint32_t refs;
    uint64_t no; /* generation */
    size_t block_count;
    _Atomic(row_ident *) blocks[];
};

void ksi_ident_cache_init(struct ksi_ident_cache *c, size_t budget_bytes)
{
    *c = (struct ksi_ident_cache){.budget_bytes = budget_bytes, .next_no = 1};
    pthread_mutex_init(&c->lock, NULL);
}

void ksi_ident_cache_done(struct ksi_ident_cache *c)
{
    if (!c->next_no)
        return;
    ksi_idents_unpin(c->current);
    c->current = NULL;
    pthread_mutex_destroy(&c->lock);
}

static struct ksi_idents *generation_new(struct ksi_ident_cache *c)
{
    struct ksi_idents *g = ks_zalloc(sizeof *g);
    if (!g)
        return NULL;
    atomic_init(&g->refs, 1);
    g->no = c->next_no++;
    g->cache = c;
    g->budget_bytes = c->budget_bytes;
    pthread_mutex_init(&g->lock, NULL);
    ks_arena_init(&g->arena, SIZE_MAX / 2);
    return g;
}

struct ksi_idents *ksi_idents_pin(struct ksi_ident_cache *c)
{
    struct ksi_idents *old = NULL;
    pthread_mutex_lock(&c->lock);
    if (!c->current || atomic_load(&c->current->full)) {
        struct ksi_idents *fresh = generation_new(c);
        if (fresh) {
            old = c->current;
            c->current = fresh;
        }
    }
    struct ksi_idents *g = c->current;
    if (g)
        atomic_fetch_add(&g->refs, 1);
    pthread_mutex_unlock(&c->lock);
    ksi_idents_unpin(old);
    return g;
}

void ksi_idents_unpin(struct ksi_idents *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    ks_free(g->slots);
    ks_arena_done(&g->arena);
    pthread_mutex_destroy(&g->lock);
    ks_free(g);
}

uint64_t ksi_idents_no(const struct ksi_idents *g)
{
    return g->no;
}

bool ksi_idents_charge(struct ksi_idents *g, size_t bytes)
{
    if (atomic_load_explicit(&g->full, memory_order_relaxed))
        return false;
    if (atomic_fetch_add(&g->bytes, bytes) + bytes > g->budget_bytes)
        atomic_store(
            &g->full,
            true); /* this one still fits: the budget is passed by one at most per thread */
    return true;
}

static bool slots_grow(struct ksi_idents *g)
{
    size_t n = g->slots ? (g->slot_mask + 1) * 2 : 1024;
    struct slot *s = ks_zalloc_array(n, sizeof *s);
    if (!s)
        return false;
    for (size_t i = 0; g->slots && i <= g->slot_mask; i++) {
        if (!g->slots[i].ident)
            continue;
        size_t at = g->slots[i].fp_lo & (n - 1);
        while (s[at].ident)
            at = (at + 1) & (n - 1);
        s[at] = g->slots[i];
    }
    ksi_idents_charge(g, (n - (g->slots ? g->slot_mask + 1 : 0)) * sizeof *s);
    ks_free(g->slots);
    g->slots = s;
    g->slot_mask = n - 1;
    return true;
}

static const struct ksi_ident *intern_locked(struct ksi_idents *g, ks_hash128 fp,
                                             struct ks_tenant tenant, struct ks_slice labels)
{
    size_t at = fp.lo & g->slot_mask;
    for (; g->slots && g->slots[at].ident; at = (at + 1) & g->slot_mask) {
        const struct ksi_ident *i = g->slots[at].ident;
        if (g->slots[at].fp_lo == fp.lo && ks_tenant_eq(i->tenant, tenant) &&
            ks_slice_eq(ksi_ident_labels(i), labels))
            return i;
    }
    /* Room is made before charging; with the budget used up or memory short the generation is
     * closed for good. */
    if (!g->slots || (g->count + 1) * 3 > (g->slot_mask + 1) * 2) {
        if (atomic_load(&g->full) || !slots_grow(g)) {
            atomic_store(&g->full, true);
            return NULL;
        }
        at = fp.lo & g->slot_mask;
        while (g->slots[at].ident)
            at = (at + 1) & g->slot_mask;
    }
    struct ksi_ident *i = NULL;
    size_t bytes = sizeof *i + labels.len;
    if (!ksi_idents_charge(g, bytes + 16))
        return NULL;
    i = ks_arena_alloc(&g->arena, bytes);
    if (!i) {
        atomic_store(&g->full, true);
        return NULL;
    }
    i->tenant = tenant;
    i->len = (uint32_t)labels.len;
    if (labels.len)
        memcpy(i->bytes, labels.ptr, labels.len);
    g->slots[at] = (struct slot){fp.lo, i};
    g->count++;
    return i;
}

const struct ksi_ident *ksi_ident_intern(struct ksi_idents *g, ks_hash128 fp,
                                         struct ks_tenant tenant, struct ks_slice labels)
{
    pthread_mutex_lock(&g->lock);
    const struct ksi_ident *i = intern_locked(g, fp, tenant, labels);
    pthread_mutex_unlock(&g->lock);
    return i;
}

/* --- rows of parts --- */

void ksi_rows_unref(struct ksi_rows *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (size_t i = 0; i < r->block_count; i++)
        ks_free((void *)atomic_load(&r->blocks[i]));
    ks_free(r);
}

static struct ksi_rows *rows_new(struct ksi_idents *g, uint32_t row_count)
{
    size_t blocks = (row_count + ROWS_BLOCK - 1) / ROWS_BLOCK,
           bytes = sizeof(struct ksi_rows) + blocks * sizeof(void *);
    struct ksi_rows *r = ksi_idents_charge(g, bytes) ? ks_zalloc(bytes) : NULL;
    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    r->no = g->no;
    r->block_count = blocks;
    return r;
}

struct ksi_rows *ksi_rows_of(struct ksi_idents *g, struct ksi_part *p)
{
    struct ksi_rows *old = NULL, *r;
    if (!g)
        return NULL;
    pthread_mutex_lock(&g->cache->lock);
    r = p->rows;
    if (r && r->no > g->no) {
        r = NULL; /* the part went on to a younger generation */
    } else if (!r || r->no < g->no) {
        struct ksi_rows *fresh = rows_new(g, p->series);
        if (fresh) {
            old = r;
            p->rows = fresh;
        }
        r = fresh;
    }
    if (r)
        atomic_fetch_add(&r->refs, 1);
    pthread_mutex_unlock(&g->cache->lock);
    ksi_rows_unref(old);
    return r;
}

const struct ksi_ident *ksi_rows_get(const struct ksi_rows *r, uint32_t row)
{
    /* acquire pairs with the releases in ksi_rows_put */
    row_ident *b = atomic_load_explicit(&r->blocks[row / ROWS_BLOCK], memory_order_acquire);
    return b ? atomic_load_explicit(&b[row % ROWS_BLOCK], memory_order_acquire) : NULL;
}

void ksi_rows_put(struct ksi_rows *r, struct ksi_idents *g, uint32_t row,
                  const struct ksi_ident *ident)
{
    _Atomic(row_ident *) *place = &r->blocks[row / ROWS_BLOCK];
    row_ident *b = atomic_load_explicit(place, memory_order_acquire);
    if (!b) {
        row_ident *none = NULL;
        b = ksi_idents_charge(g, ROWS_BLOCK * sizeof *b) ? ks_zalloc_array(ROWS_BLOCK, sizeof *b)
                                                         : NULL;
        if (!b)
            return;
        if (!atomic_compare_exchange_strong(place, &none, b)) {
            ks_free((void *)b);
            b = none;
        }
    }
    atomic_store_explicit(&b[row % ROWS_BLOCK], ident, memory_order_release);
}
