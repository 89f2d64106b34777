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
    bool own;
    struct ksi_ident_cache *cache;
    pthread_mutex_t lock; /* of the below */
    struct ks_arena arena;
    struct ksi_dict dict;
    const struct ksi_ident **by_no[KSI_DICT_LEVELS]; /* levels as the dictionary's */
    struct slot *slots;
    size_t slot_mask;
    _Atomic uint32_t count;
    struct ks_label *labels; /* of the one to be found */
    uint32_t *ids;
    size_t label_cap, id_cap;
    const struct ksi_ident *last; /* most words are those of the series before */
};

typedef _Atomic uint32_t row_ident; /* number + 1 */
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

static struct ksi_idents *generation_new(void)
{
    struct ksi_idents *g = ks_zalloc(sizeof *g);
    if (!g)
        return NULL;
    atomic_init(&g->refs, 1);
    g->budget_bytes = SIZE_MAX;
    pthread_mutex_init(&g->lock, NULL);
    ks_arena_init(&g->arena, SIZE_MAX / 2);
    ksi_dict_init(&g->dict, &g->arena);
    return g;
}

struct ksi_idents *ksi_idents_own(void)
{
    struct ksi_idents *g = generation_new();
    if (g)
        g->own = true;
    return g;
}

struct ksi_idents *ksi_idents_pin(struct ksi_ident_cache *c)
{
    struct ksi_idents *old = NULL;
    pthread_mutex_lock(&c->lock);
    if (!c->current || atomic_load(&c->current->full)) {
        struct ksi_idents *fresh = generation_new();
        if (fresh) {
            fresh->no = c->next_no++;
            fresh->cache = c;
            fresh->budget_bytes = c->budget_bytes;
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
    for (int i = 0; i < KSI_DICT_LEVELS; i++)
        ks_free((void *)g->by_no[i]);
    ks_free(g->slots);
    ks_free(g->labels);
    ks_free(g->ids);
    ksi_dict_done(&g->dict);
    ks_arena_done(&g->arena);
    pthread_mutex_destroy(&g->lock);
    ks_free(g);
}

uint64_t ksi_idents_no(const struct ksi_idents *g)
{
    return g->no;
}

uint32_t ksi_idents_count(const struct ksi_idents *g)
{
    return atomic_load_explicit(&g->count, memory_order_relaxed);
}

const struct ksi_dict *ksi_idents_dict(const struct ksi_idents *g)
{
    return &g->dict;
}

const struct ksi_ident *ksi_idents_at(const struct ksi_idents *g, uint32_t no)
{
    uint32_t at, level = ksi_dict_level(no, &at);
    return g->by_no[level][at];
}

void ksi_ident_labels(const struct ksi_idents *g, const struct ksi_ident *i, struct ks_buf *out)
{
    const struct ksi_shape *s = ksi_dict_shape_at(&g->dict, i->shape);
    for (uint32_t k = 0; k < s->count; k++) {
        ks_buf_lp(out, ksi_dict_text(&g->dict, s->names[k]));
        ks_buf_lp(out, ksi_dict_text(&g->dict, i->values[k]));
    }
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

/* The labels as an array. False: without memory. */
static bool take_apart(struct ksi_idents *g, struct ks_slice labels, uint32_t *ret_count)
{
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    uint32_t n = 0;
    while (ks_labels_next(&it, &l)) {
        if (n == g->label_cap &&
            ks_array_reserve((void **)&g->labels, &g->label_cap, n + 1, sizeof *g->labels) != KS_OK)
            return false;
        g->labels[n++] = l;
    }
    *ret_count = n;
    return n <= g->id_cap ||
           ks_array_reserve((void **)&g->ids, &g->id_cap, n, sizeof *g->ids) == KS_OK;
}

static bool has_labels(const struct ksi_idents *g, const struct ksi_ident *i, uint32_t count)
{
    const struct ksi_shape *s = ksi_dict_shape_at(&g->dict, i->shape);
    bool same = s->count == count;
    for (uint32_t k = 0; k < count && same; k++)
        same = ks_slice_eq(ksi_dict_text(&g->dict, i->values[k]), g->labels[k].value) &&
               ks_slice_eq(ksi_dict_text(&g->dict, s->names[k]), g->labels[k].name);
    return same;
}

/* The word at place k of the series before, else the dictionary's. */
static ks_err word_like(struct ksi_idents *g, struct ks_slice text, const uint32_t *before,
                        uint32_t *ret)
{
    if (before && ks_slice_eq(ksi_dict_text(&g->dict, *before), text)) {
        *ret = *before;
        return KS_OK;
    }
    return ksi_dict_word(&g->dict, text, ret);
}

static ks_err find_shape(struct ksi_idents *g, uint32_t count, uint32_t *ret)
{
    const struct ksi_shape *before = g->last ? ksi_dict_shape_at(&g->dict, g->last->shape) : NULL;
    for (uint32_t k = 0; k < count; k++)
        KS_TRY(word_like(g, g->labels[k].name,
                         before && k < before->count ? &before->names[k] : NULL, &g->ids[k]));
    return ksi_dict_shape(&g->dict, g->ids, count, ret);
}

static ks_err number(struct ksi_idents *g, const struct ksi_ident *i)
{
    uint32_t at, level = ksi_dict_level(i->no, &at);
    if (level >= KSI_DICT_LEVELS)
        return ks_fail(KS_ELIMIT, "too many identities");
    if (!g->by_no[level]) {
        size_t n = (size_t)KSI_DICT_FIRST << level;
        g->by_no[level] = ks_alloc_array(n, sizeof *g->by_no[level]);
        if (!g->by_no[level])
            return KS_ENOMEM;
        ksi_idents_charge(g, n * sizeof *g->by_no[level]);
    }
    g->by_no[level][at] = i;
    return KS_OK;
}

static ks_err ident_new(struct ksi_idents *g, ks_hash128 fp, struct ks_tenant tenant,
                        uint32_t count, struct ksi_ident **ret)
{
    uint32_t shape, before_count = g->last ? ksi_dict_shape_at(&g->dict, g->last->shape)->count : 0;
    KS_TRY(find_shape(g, count, &shape));
    struct ksi_ident *i = ks_arena_alloc(&g->arena, sizeof *i + count * sizeof *i->values);
    if (!i)
        return ks_arena_err(&g->arena);
    *i = (struct ksi_ident){.tenant = tenant, .fp_lo = fp.lo, .own = g->own, .shape = shape};
    for (uint32_t k = 0; k < count; k++)
        KS_TRY(word_like(g, g->labels[k].value, k < before_count ? &g->last->values[k] : NULL,
                         &i->values[k]));
    i->no = atomic_load_explicit(&g->count, memory_order_relaxed);
    KS_TRY(number(g, i));
    *ret = i;
    return KS_OK;
}

static const struct ksi_ident *intern_locked(struct ksi_idents *g, ks_hash128 fp,
                                             struct ks_tenant tenant, struct ks_slice labels)
{
    uint32_t count;
    if (!take_apart(g, labels, &count)) {
        atomic_store(&g->full, true);
        return NULL;
    }
    size_t at = fp.lo & g->slot_mask;
    for (; g->slots && g->slots[at].ident; at = (at + 1) & g->slot_mask) {
        const struct ksi_ident *i = g->slots[at].ident;
        if (g->slots[at].fp_lo == fp.lo && ks_tenant_eq(i->tenant, tenant) &&
            has_labels(g, i, count))
            return i;
    }
    /* Nothing new once it is full; without memory the generation is closed for good. */
    if (atomic_load(&g->full))
        return NULL;
    if (!g->slots || ((size_t)g->count + 1) * 3 > (g->slot_mask + 1) * 2) {
        if (!slots_grow(g)) {
            atomic_store(&g->full, true);
            return NULL;
        }
        at = fp.lo & g->slot_mask;
        while (g->slots[at].ident)
            at = (at + 1) & g->slot_mask;
    }
    struct ksi_ident *i = NULL;
    size_t before = g->arena.used_bytes + g->dict.bytes;
    if (ident_new(g, fp, tenant, count, &i) != KS_OK) {
        atomic_store(&g->full, true);
        return NULL;
    }
    /* The one that passes the budget still fits. */
    ksi_idents_charge(g, g->arena.used_bytes + g->dict.bytes - before);
    g->slots[at] = (struct slot){fp.lo, i};
    g->last = i;
    atomic_fetch_add_explicit(&g->count, 1, memory_order_relaxed);
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

uint32_t ksi_rows_get(const struct ksi_rows *r, uint32_t row)
{
    /* acquire pairs with the releases in ksi_rows_put */
    row_ident *b = atomic_load_explicit(&r->blocks[row / ROWS_BLOCK], memory_order_acquire);
    return b ? atomic_load_explicit(&b[row % ROWS_BLOCK], memory_order_acquire) : 0;
}

void ksi_rows_put(struct ksi_rows *r, struct ksi_idents *g, uint32_t row, uint32_t no)
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
    atomic_store_explicit(&b[row % ROWS_BLOCK], no + 1, memory_order_release);
}
