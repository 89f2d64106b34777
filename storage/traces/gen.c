/* Generations: blocks, dictionary, bloom filters, life. See gen_priv.h. */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/gen_priv.h"

enum {
    TABLE_MIN = 32,
    SLOTS_FIRST = 8,
    RESERVE_MIN = 8,
    DICT_MOVED = 4,
    BLOOM_FIRST_BYTES = 1 << 10,
    BLOOM_MAX_BYTES = 64 << 10,
    BLOOM_HINT_BYTES = 1 << 20,
    BLOOM_BITS = 12
};

static void count_bytes(struct ksi_gen *g, size_t n)
{
    atomic_fetch_add_explicit(&g->bytes, n, memory_order_relaxed);
}

struct ksi_gen *ksi_gen_new(struct ksi_pool *pool, uint64_t first_seq, uint64_t base_ns,
                            size_t slot_max)
{
    struct ksi_gen *g = ks_zalloc(sizeof *g);
    if (!g)
        return NULL;
    atomic_store(&g->refs, 1);
    g->pool = ksi_pool_ref(pool);
    g->first_seq = first_seq;
    g->base_ns = base_ns;
    g->slot_max = slot_max;
    g->pub = g->d;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->edges_lock, NULL);
    count_bytes(g, sizeof *g);
    return g;
}

struct ksi_gen *ksi_gen_ref(struct ksi_gen *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

static size_t bloom_bytes(const struct ksi_bloom *b)
{
    return ((size_t)b->mask + 1) / 8;
}

static void chunks_free(struct ksi_pool *pool, struct ksi_chunks *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (!ksi_pool_free(pool, c->ptr[i]))
            ks_free(c->ptr[i]);
    ks_free(c->ptr);
    ks_free(c->len);
}

void ksi_gen_unref(struct ksi_gen *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    chunks_free(g->pool, &g->text);
    chunks_free(g->pool, &g->recs);
    for (unsigned i = 0; i < g->bloom_count; i++)
        ksi_pool_block_free(g->pool, g->bloom[i].bits, bloom_bytes(&g->bloom[i]));
    ksi_pool_block_free(g->pool, g->slots, g->slot_cap * sizeof *g->slots);
    for (size_t i = 0; i < g->retired_count; i++)
        ks_free(g->retired[i].ptr);
    void *all[] = {g->retired,
                   g->dict,
                   g->dict_table,
                   g->dict_old,
                   g->patterns,
                   g->pattern_table.slots,
                   g->keys,
                   g->shapes,
                   g->resources,
                   g->scopes,
                   g->shape_table.slots,
                   g->ops,
                   g->edges,
                   g->resource_table.slots,
                   g->scope_table.slots};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ks_free(all[i]);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->edges_lock);
    ksi_pool_unref(g->pool);
    ks_free(g);
}

ks_err ksi_gen_reserve(struct ksi_gen *g, void **array, size_t *cap, size_t need, size_t elem)
{
    size_t before = *cap, after = before + before / 2 + RESERVE_MIN;
    if (KS_LIKELY(need <= before))
        return KS_OK;
    after = after < need ? need : after;
    KS_TRY(ksi_gen_retire_room(g));
    char *fresh = ks_alloc_array(after, elem);
    if (!fresh)
        return KS_ENOMEM;
    if (before)
        memcpy(fresh, *array, before * elem);
    ksi_gen_retire(g, *array, before * elem);
    count_bytes(g, after * elem);
    *array = fresh;
    *cap = after;
    return KS_OK;
}

/* By half, and never beyond what the generation takes; behind a full one, all at once. */
static bool slots_grow(struct ksi_gen *g)
{
    size_t cap = g->slot_cap + g->slot_cap / 2 + SLOTS_FIRST, old_cap = g->slot_cap;
    if ((cap > g->slot_max || g->follows) && g->slot_cap < g->slot_max)
        cap = g->slot_max;
    if (cap > SIZE_MAX / sizeof(struct ksi_slot))
        return false;
    struct ksi_slot *slots = ksi_pool_block(g->pool, cap * sizeof *slots), *old = g->slots;
    if (!slots)
        return false;
    count_bytes(g, (cap - g->slot_cap) * sizeof *slots);
    ksi_mutex_lock(&g->lock);
    if (g->slot_count)
        memcpy(slots, old, g->slot_count * sizeof *slots);
    g->slots = slots;
    pthread_mutex_unlock(&g->lock);
    ksi_pool_block_free(g->pool, old, old_cap * sizeof *old);
    g->slot_cap = cap;
    return true;
}

struct ksi_slot *ksi_gen_slot_add(struct ksi_gen *g, struct ks_trace_id id)
{
    if (g->slot_count == g->slot_cap && !slots_grow(g))
        return NULL;
    struct ksi_slot *s = &g->slots[g->slot_count++];
    *s = (struct ksi_slot){.id = id, .min_start_ns = UINT64_MAX, .tail = KSI_NONE};
    return s;
}

/* --- blocks --- */
static char *chunk_new(struct ksi_gen *g, struct ksi_chunks *c, size_t size)
{
    if (c->count == KSI_CHUNKS_MAX) {
        (void)ks_fail(KS_ELIMIT, "a generation of the trace ring is full");
        return NULL;
    }
    if (ksi_gen_reserve(g, (void **)&c->ptr, &c->cap, c->count + 1, sizeof *c->ptr) != KS_OK ||
        ksi_gen_reserve(g, (void **)&c->len, &c->len_cap, c->count + 1, sizeof *c->len) != KS_OK)
        return NULL;
    char *p = size == KSI_CHUNK_BYTES ? ksi_pool_alloc(g->pool) : ks_alloc(size);
    if (p) {
        c->len[c->count] = (uint32_t)size;
        c->ptr[c->count++] = p;
        count_bytes(g, size);
    }
    return p;
}

ks_err ksi_chunk_load(struct ksi_gen *g, struct ksi_chunks *c, struct ks_slice bytes, bool pooled)
{
    if (bytes.len > UINT32_MAX)
        return ks_fail(KS_ECORRUPT, "a chunk of %zu bytes", bytes.len);
    pooled &= bytes.len <= KSI_CHUNK_BYTES;
    char *p = chunk_new(g, c, pooled ? KSI_CHUNK_BYTES : bytes.len ? bytes.len : 1);
    if (!p)
        return KS_ENOMEM;
    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    c->len[c->count - 1] = (uint32_t)bytes.len;
    return KS_OK;
}

char *ksi_chunks_alloc(struct ksi_gen *g, struct ksi_chunks *c, size_t n, uint32_t *ret_pos)
{
    if (KS_LIKELY(n <= c->size - c->used)) {
        *ret_pos = c->cur << KSI_CHUNK_BITS | c->used;
        char *p = c->ptr[c->cur] + c->used;
        c->used += (uint32_t)n;
        return p;
    }
    size_t next = c->size * 2 < KSI_CHUNK_FIRST   ? KSI_CHUNK_FIRST
                  : c->size * 2 > KSI_CHUNK_BYTES ? KSI_CHUNK_BYTES
                                                  : c->size * 2;
    bool own = n > next / 4; /* large things get a block of their own */
    char *p = chunk_new(g, c, own ? n : next);
    if (!p)
        return NULL;
    *ret_pos = (uint32_t)(c->count - 1) << KSI_CHUNK_BITS;
    if (!own) {
        if (c->size)
            c->len[c->cur] = c->used;
        c->cur = (uint32_t)(c->count - 1);
        c->size = (uint32_t)next;
        c->used = (uint32_t)n;
    }
    return p;
}

/* --- dictionary --- */
struct ks_slice ksi_dict_text(const struct ksi_data *g, uint32_t number)
{
    const uint8_t *p = ksi_chunks_at(&g->text, g->dict[number]);
    size_t len = (size_t)ksi_varint(&p);
    return ks_slice(p, len);
}

static inline uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 56) << 24;
}

/* Readers look while the writer inserts: what is newer than their look counts as not there. */
static uint32_t dict_find_in(const struct ksi_data *g, const uint32_t *table, size_t mask,
                             struct ks_slice s, uint64_t hash)
{
    uint32_t e;
    for (size_t i = hash & mask; (e = __atomic_load_n(&table[i], __ATOMIC_RELAXED));
         i = (i + 1) & mask)
        if ((e & 0xff000000) == tag_of(hash) && (e & 0xffffff) <= g->dict_count &&
            ks_slice_eq(ksi_dict_text(g, (e & 0xffffff) - 1), s))
            return (e & 0xffffff) - 1;
    return KSI_NONE;
}

uint32_t ksi_dict_find(const struct ksi_data *g, struct ks_slice s, uint64_t hash)
{
    if (!g->dict_table)
        return KSI_NONE;
    uint32_t n = dict_find_in(g, g->dict_table, g->dict_mask, s, hash);
    return n != KSI_NONE || !g->dict_old ? n
                                         : dict_find_in(g, g->dict_old, g->dict_old_mask, s, hash);
}

static void dict_insert(uint32_t *table, size_t mask, uint64_t hash, uint32_t number)
{
    size_t i = hash & mask;
    while (table[i])
        i = (i + 1) & mask;
    __atomic_store_n(&table[i], tag_of(hash) | (number + 1), __ATOMIC_RELAXED);
}

/* Takes over up to n places of the old table: growing is no pause. */
static void dict_move(struct ksi_gen *g, size_t n)
{
    for (; g->dict_old && n; n--) {
        uint32_t e = g->dict_old[g->dict_old_at];
        if (e) {
            uint32_t number = (e & 0xffffff) - 1;
            dict_insert(g->dict_table, g->dict_mask, ksi_text_hash(ksi_dict_text(&g->d, number)),
                        number);
        }
        if (g->dict_old_at++ < g->dict_old_mask)
            continue;
        ksi_gen_retire(g, g->dict_old, (g->dict_old_mask + 1) * sizeof *g->dict_old);
        g->dict_old = NULL;
    }
}

static ks_err dict_grow(struct ksi_gen *g)
{
    size_t slots = g->dict_table ? (g->dict_mask + 1) * 2 : TABLE_MIN;
    dict_move(g, SIZE_MAX); /* nothing: it has emptied the old one by now */
    KS_TRY(ksi_gen_retire_room(g));
    uint32_t *t = ks_zalloc_array(slots, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    count_bytes(g, slots * sizeof *t);
    g->dict_old = g->dict_table;
    g->dict_old_mask = g->dict_mask;
    g->dict_old_at = 0;
    g->dict_table = t;
    g->dict_mask = slots - 1;
    return KS_OK;
}

ks_err ksi_dict_index(struct ksi_gen *g, const uint64_t *hashes)
{
    size_t slots = TABLE_MIN;
    while (slots * 3 < (g->dict_count + 1) * 4)
        slots *= 2;
    g->dict_table = ks_zalloc_array(slots, sizeof *g->dict_table);
    if (!g->dict_table)
        return KS_ENOMEM;
    g->dict_mask = slots - 1;
    count_bytes(g, slots * sizeof *g->dict_table);
    for (size_t i = 0; i < g->dict_count; i++)
        dict_insert(g->dict_table, g->dict_mask, hashes[i], (uint32_t)i);
    return KS_OK;
}

uint32_t ksi_dict_put(struct ksi_gen *g, struct ks_slice s, uint64_t hash)
{
    uint32_t at = ksi_dict_find(&g->d, s, hash), pos;
    if (at != KSI_NONE)
        return at;
    if (g->dict_count == KSI_DICT_MAX) {
        (void)ks_fail(KS_ELIMIT, "a generation of the trace ring has too many names");
        return KSI_NONE;
    }
    if ((!g->dict_table || (g->dict_count + 1) * 4 > (g->dict_mask + 1) * 3) &&
        dict_grow(g) != KS_OK)
        return KSI_NONE;
    if (ksi_gen_reserve(g, (void **)&g->dict, &g->dict_cap, g->dict_count + 1, sizeof *g->dict) !=
        KS_OK)
        return KSI_NONE;
    uint8_t head[KS_VARINT_MAX];
    size_t n = ks_varint_put(head, s.len);
    char *p = ksi_chunks_alloc(g, &g->text, n + s.len, &pos);
    if (!p)
        return KSI_NONE;
    dict_move(g, DICT_MOVED);
    memcpy(p, head, n);
    if (s.len)
        memcpy(p + n, s.ptr, s.len);
    g->dict[g->dict_count] = pos;
    dict_insert(g->dict_table, g->dict_mask, hash, (uint32_t)g->dict_count);
    return (uint32_t)g->dict_count++;
}

/* --- bloom filters: each layer is larger than the one before --- */
static inline uint32_t bloom_bit(const struct ksi_bloom *b, uint64_t hash, unsigned k)
{
    return (uint32_t)((hash >> 32) + k * (uint32_t)hash) & b->mask;
}

static bool layer_has(const struct ksi_bloom *b, uint64_t hash)
{
    for (unsigned k = 1; k <= 3; k++) {
        uint32_t bit = bloom_bit(b, hash, k);
        if (!(__atomic_load_n(&b->bits[bit >> 6], __ATOMIC_RELAXED) >> (bit & 63) & 1))
            return false;
    }
    return true;
}

size_t ksi_bloom_count(const struct ksi_data *g)
{
    size_t n = 0;
    for (unsigned i = 0; i < g->bloom_count; i++)
        n += g->bloom[i].count;
    return n;
}

bool ksi_bloom_has(const struct ksi_data *g, uint64_t hash)
{
    for (unsigned i = g->bloom_count; i-- > 0;)
        if (layer_has(&g->bloom[i], hash))
            return true;
    return false;
}

static bool bloom_layer(struct ksi_gen *g)
{
    if (g->bloom_count == KSI_BLOOM_LAYERS)
        return true; /* the last one fills up: it only says yes too often */
    size_t bytes = BLOOM_FIRST_BYTES;
    while (!g->bloom_count && bytes * 8 < g->bloom_hint * BLOOM_BITS && bytes < BLOOM_HINT_BYTES)
        bytes *= 2;
    for (unsigned i = 0; i < g->bloom_count && bytes < BLOOM_MAX_BYTES; i++)
        bytes *= 4;
    uint64_t *bits = ksi_pool_block(g->pool, bytes);
    if (!bits)
        return false;
    memset(bits, 0, bytes);
    count_bytes(g, bytes);
    g->bloom[g->bloom_count++] =
        (struct ksi_bloom){bits, (uint32_t)bytes * 8 - 1, 0, (uint32_t)bytes * 8 / BLOOM_BITS};
    return true;
}

bool ksi_bloom_add(struct ksi_gen *g, uint64_t hash)
{
    if (ksi_bloom_has(&g->d, hash))
        return true;
    struct ksi_bloom *b = g->bloom_count ? &g->bloom[g->bloom_count - 1] : NULL;
    if ((!b || b->count >= b->max) && !bloom_layer(g))
        return true; /* no memory: searches may not rely on it, and it goes to the dictionary */
    b = &g->bloom[g->bloom_count - 1];
    for (unsigned k = 1; k <= 3; k++) {
        uint32_t bit = bloom_bit(b, hash, k);
        __atomic_store_n(&b->bits[bit >> 6], b->bits[bit >> 6] | (uint64_t)1 << (bit & 63),
                         __ATOMIC_RELAXED);
    }
    b->count++;
    return false;
}

/* --- tables of numbers; the caller puts the entries back --- */
ks_err ksi_table_grow(struct ksi_gen *g, struct ksi_table *t)
{
    size_t slots = t->slots ? (t->mask + 1) * 2 : TABLE_MIN;
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    count_bytes(g, (slots - (t->slots ? t->mask + 1 : 0)) * sizeof *fresh);
    ks_free(t->slots);
    t->slots = fresh;
    t->mask = slots - 1;
    return KS_OK;
}
