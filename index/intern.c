#include "index/intern.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/idlist.h"

enum { SLAB_CHUNK = 64 << 10, SLAB_GRAIN = 8, TABLE_MIN = 64 };

/* --- texts ------------------------------------------------------------------------------------ */

static size_t slab_class(size_t len)
{
    return len ? (len - 1) / SLAB_GRAIN : 0;
}

static char *text_new(struct ksi_intern *x, struct ks_slice s)
{
    size_t k = slab_class(s.len), size = (k + 1) * SLAB_GRAIN;
    char *p;
    if (k >= KSI_SLAB_CLASSES) {
        p = ks_alloc(s.len);
        x->bytes += p ? s.len + 16 : 0;
    } else if (x->slab_free[k]) {
        p = x->slab_free[k];
        memcpy(&x->slab_free[k], p, sizeof(void *));
    } else {
        if ((size_t)(x->slab_end - x->slab_pos) < size) {
            char *chunk = ks_alloc(SLAB_CHUNK);
            if (!chunk)
                return NULL;
            memcpy(chunk, &x->slab_chunks, sizeof(void *));
            x->slab_chunks = chunk;
            x->slab_pos = chunk + SLAB_GRAIN;
            x->slab_end = chunk + SLAB_CHUNK;
            x->bytes += SLAB_CHUNK;
        }
        p = x->slab_pos;
        x->slab_pos += size;
    }
    if (p && s.len)
        memcpy(p, s.ptr, s.len);
    return p;
}

static void text_free(struct ksi_intern *x, char *p, size_t len)
{
    size_t k = slab_class(len);
    if (k >= KSI_SLAB_CLASSES) {
        ks_free(p);
        x->bytes -= len + 16;
        return;
    }
    memcpy(p, &x->slab_free[k], sizeof(void *));
    x->slab_free[k] = p;
}

/* --- tables ----------------------------------------------------------------------------------- */

typedef uint32_t (*hash_of_fn)(const struct ksi_intern *x, uint32_t id);

static uint32_t pair_hash_of(const struct ksi_intern *x, uint32_t id)
{
    return ksi_pair(x, id)->hash;
}
static uint32_t name_hash_of(const struct ksi_intern *x, uint32_t id)
{
    return x->names[id].hash;
}

static void table_put(struct ksi_table *t, uint32_t hash, uint32_t id)
{
    size_t i = hash & t->mask;
    while (t->slots[i] != KSI_NO_ID)
        i = (i + 1) & t->mask;
    t->slots[i] = id;
    t->count++;
}

/* Room for one more at a load of at most 3/4. */
static ks_err table_reserve(struct ksi_intern *x, struct ksi_table *t, hash_of_fn hash_of)
{
    size_t size = t->slots ? t->mask + 1 : 0;
    if (t->count + 1 <= size / 4 * 3)
        return KS_OK;
    size_t want = size ? size * 2 : TABLE_MIN;
    struct ksi_table grown = {ks_alloc_array(want, sizeof *grown.slots), want - 1, 0};
    if (!grown.slots)
        return KS_ENOMEM;
    memset(grown.slots, 0xff, want * sizeof *grown.slots);
    for (size_t i = 0; i < size; i++)
        if (t->slots[i] != KSI_NO_ID)
            table_put(&grown, hash_of(x, t->slots[i]), t->slots[i]);
    ks_free(t->slots);
    *t = grown;
    x->bytes += (want - size) * sizeof *t->slots;
    return KS_OK;
}

static void table_remove(struct ksi_intern *x, struct ksi_table *t, hash_of_fn hash_of, uint32_t id)
{
    size_t i = hash_of(x, id) & t->mask;
    while (t->slots[i] != id)
        i = (i + 1) & t->mask;
    /* Pull later members of the cluster back so that no tombstones are needed. */
    for (size_t j = i;;) {
        t->slots[i] = KSI_NO_ID;
        for (;;) {
            j = (j + 1) & t->mask;
            if (t->slots[j] == KSI_NO_ID) {
                t->count--;
                return;
            }
            size_t home = hash_of(x, t->slots[j]) & t->mask;
            if (((j - home) & t->mask) >= ((j - i) & t->mask))
                break;
        }
        t->slots[i] = t->slots[j];
        i = j;
    }
}

/* --- names ------------------------------------------------------------------------------------ */

static uint32_t hash_text(struct ks_slice s, uint64_t seed)
{
    uint64_t h = ks_hash64_seed(s.ptr, s.len, seed);
    return (uint32_t)(h ^ h >> 32);
}

static uint32_t find_name(const struct ksi_intern *x, struct ks_slice name, uint32_t hash)
{
    const struct ksi_table *t = &x->name_table;
    if (!t->slots)
        return KSI_NO_ID;
    for (size_t i = hash & t->mask; t->slots[i] != KSI_NO_ID; i = (i + 1) & t->mask) {
        const struct ksi_name *n = &x->names[t->slots[i]];
        if (n->hash == hash && ks_slice_eq(ksi_name_text(n), name))
            return t->slots[i];
    }
    return KSI_NO_ID;
}

uint32_t ksi_find_name(const struct ksi_intern *x, struct ks_slice name)
{
    return find_name(x, name, hash_text(name, 0));
}

ks_err ksi_intern_name(struct ksi_intern *x, struct ks_slice name, uint32_t *ret_name)
{
    uint32_t hash = hash_text(name, 0);
    uint32_t id = find_name(x, name, hash);
    if (id != KSI_NO_ID) {
        *ret_name = id;
        return KS_OK;
    }
    id = (uint32_t)x->name_count;
    if (x->name_live < x->name_count)
        for (id = 0; x->names[id].used;)
            id++; /* names are few and seldom go */
    if (name.len > UINT32_MAX || id > KSI_ID_MAX)
        return ks_fail(KS_ELIMIT, "too many or too long label names");
    KS_TRY(table_reserve(x, &x->name_table, name_hash_of));
    size_t cap = x->name_cap;
    KS_TRY(ks_array_reserve((void **)&x->names, &x->name_cap, id + 1u, sizeof *x->names));
    x->bytes += (x->name_cap - cap) * sizeof *x->names;
    char *text = text_new(x, name);
    if (!text)
        return KS_ENOMEM;
    x->names[id] =
        (struct ksi_name){.text = text, .len = (uint32_t)name.len, .hash = hash, .used = true};
    x->names[id].dropped = x->names[id].changed = ++x->stamp;
    if (id == x->name_count)
        x->name_count++;
    x->name_live++;
    table_put(&x->name_table, hash, id);
    *ret_name = id;
    return KS_OK;
}

static void drop_name(struct ksi_intern *x, uint32_t id)
{
    struct ksi_name *n = &x->names[id];
    table_remove(x, &x->name_table, name_hash_of, id);
    text_free(x, n->text, n->len);
    ksi_postings_done(&n->rows);
    ks_free(n->pairs);
    x->bytes -= n->pair_cap * sizeof *n->pairs;
    memset(n, 0, sizeof *n);
    x->name_live--;
}

/* --- pairs ------------------------------------------------------------------------------------ */

static uint32_t find_pair(const struct ksi_intern *x, uint32_t name, struct ks_slice value,
                          uint32_t hash)
{
    const struct ksi_table *t = &x->pair_table;
    if (!t->slots)
        return KSI_NO_ID;
    for (size_t i = hash & t->mask; t->slots[i] != KSI_NO_ID; i = (i + 1) & t->mask) {
        const struct ksi_pair *p = ksi_pair(x, t->slots[i]);
        if (p->hash == hash && p->name == name && ks_slice_eq(ksi_pair_value(p), value))
            return t->slots[i];
    }
    return KSI_NO_ID;
}

uint32_t ksi_find_pair(const struct ksi_intern *x, uint32_t name, struct ks_slice value)
{
    return find_pair(x, name, value, hash_text(value, name + 1ull));
}

/* Makes sure that a free pair exists and gives its id without taking it. */
static ks_err next_pair(struct ksi_intern *x, uint32_t *ret)
{
    if (x->free_pair != KSI_NO_ID) {
        *ret = x->free_pair;
        return KS_OK;
    }
    if (x->pair_end > KSI_ID_MAX)
        return ks_fail(KS_ELIMIT, "more than 2^30 label pairs");
    if (x->pair_end == x->segment_count * KSI_SEGMENT) {
        KS_TRY(ks_array_reserve((void **)&x->segments, &x->segment_cap, x->segment_count + 1,
                                sizeof *x->segments));
        struct ksi_pair *seg = ks_zalloc_array(KSI_SEGMENT, sizeof *seg);
        if (!seg)
            return KS_ENOMEM;
        x->segments[x->segment_count++] = seg;
        x->bytes += KSI_SEGMENT * sizeof *seg;
    }
    *ret = x->pair_end;
    return KS_OK;
}

static ks_err intern_pair(struct ksi_intern *x, uint32_t name, struct ks_slice value,
                          uint32_t *ret_pair)
{
    uint32_t hash = hash_text(value, name + 1ull);
    uint32_t id = find_pair(x, name, value, hash);
    if (id != KSI_NO_ID) {
        *ret_pair = id;
        return KS_OK;
    }
    struct ksi_name *n = &x->names[name];
    if (value.len > UINT32_MAX)
        return ks_fail(KS_ELIMIT, "label value of %zu bytes", value.len);
    KS_TRY(table_reserve(x, &x->pair_table, pair_hash_of));
    size_t cap = n->pair_cap;
    KS_TRY(ks_array_reserve((void **)&n->pairs, &n->pair_cap, n->pair_count + 1, sizeof *n->pairs));
    x->bytes += (n->pair_cap - cap) * sizeof *n->pairs;
    KS_TRY(next_pair(x, &id));
    char *text = text_new(x, value);
    if (!text)
        return KS_ENOMEM;
    struct ksi_pair *p = ksi_pair(x, id);
    if (id == x->free_pair)
        x->free_pair = p->next_free;
    else
        x->pair_end++;
    *p = (struct ksi_pair){.value = text,
                           .value_len = (uint32_t)value.len,
                           .name = name,
                           .hash = hash,
                           .name_slot = (uint32_t)n->pair_count};
    n->pairs[n->pair_count++] = id;
    table_put(&x->pair_table, hash, id);
    x->pair_live++;
    *ret_pair = id;
    return KS_OK;
}

ks_err ksi_intern_pair(struct ksi_intern *x, uint32_t name, struct ks_slice value,
                       uint32_t *ret_pair)
{
    ks_err err = intern_pair(x, name, value, ret_pair);
    if (err != KS_OK && x->names[name].pair_count == 0)
        drop_name(x, name);
    return err;
}

void ksi_intern_drop(struct ksi_intern *x, uint32_t id)
{
    struct ksi_pair *p = ksi_pair(x, id);
    struct ksi_name *n = &x->names[p->name];
    table_remove(x, &x->pair_table, pair_hash_of, id);
    uint32_t last = n->pairs[--n->pair_count];
    n->dropped = ++x->stamp;
    n->pairs[p->name_slot] = last;
    ksi_pair(x, last)->name_slot = p->name_slot;
    text_free(x, p->value, p->value_len);
    ksi_postings_done(&p->rows);
    if (n->pair_count == 0)
        drop_name(x, p->name);
    memset(p, 0, sizeof *p);
    p->next_free = x->free_pair;
    x->free_pair = id;
    x->pair_live--;
}

void ksi_intern_init(struct ksi_intern *x)
{
    memset(x, 0, sizeof *x);
    x->free_pair = KSI_NO_ID;
}

void ksi_intern_done(struct ksi_intern *x)
{
    for (uint32_t i = 0; i < x->pair_end; i++) {
        struct ksi_pair *p = ksi_pair(x, i);
        if (p->value && slab_class(p->value_len) >= KSI_SLAB_CLASSES)
            ks_free(p->value);
        ksi_postings_done(&p->rows);
    }
    for (size_t i = 0; i < x->name_count; i++) {
        struct ksi_name *n = &x->names[i];
        if (n->used && slab_class(n->len) >= KSI_SLAB_CLASSES)
            ks_free(n->text);
        ksi_postings_done(&n->rows);
        ks_free(n->pairs);
    }
    for (size_t i = 0; i < x->segment_count; i++)
        ks_free(x->segments[i]);
    while (x->slab_chunks) {
        void *next;
        memcpy(&next, x->slab_chunks, sizeof next);
        ks_free(x->slab_chunks);
        x->slab_chunks = next;
    }
    ks_free(x->segments);
    ks_free(x->names);
    ks_free(x->pair_table.slots);
    ks_free(x->name_table.slots);
}
