/*
 * Texts of templates: a template's slots are decoded for the rows wanted of it, then each row is
 * put together. Bytes are hostile: as in column_decode.c.
 */
#include <stdatomic.h>
#include <string.h>

#include "storage/codec/pack_priv.h"
#include "storage/logs/block_priv.h"
#include "storage/logs/column.h"
#include "storage/logs/pred.h"
#include "storage/logs/template_rows.h"

static ks_err malformed(const char *what)
{
    return ks_fail(KS_ECORRUPT, "a column of a log block is malformed: %s", what);
}

/* Every template has as many rows as it says. Pages never change: once is enough. */
static ks_err check_ids(struct ksi_templates *t, const struct ksi_templates *ids, uint32_t count,
                        struct ks_arena *arena)
{
    uint32_t *rows = ks_arena_zalloc(arena, (t->count + 1) * sizeof *rows);
    if (!rows)
        return ks_arena_err(arena);
    if (!ksi_template_histogram(ids, count, rows))
        return malformed("number of a template");
    for (uint32_t i = 0; i <= t->count; i++)
        if (rows[i] != t->items[i].rows)
            return malformed("rows of a template");
    if (t->checked)
        atomic_store_explicit(t->checked, 1, memory_order_relaxed);
    return KS_OK;
}

ks_err ksi_templates_load(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena)
{
    struct ksi_templates *t = n->templates;
    struct ks_slice payload;
    if (t->ids8 || t->ids16)
        return KS_OK;
    KS_TRY(ksi_pages_get(pages, n->loc, &payload));
    struct ks_reader r = ks_reader(payload);
    size_t width = n->template_count < 256 ? 1 : 2;
    for (uint32_t i = 1; i <= n->template_count; i++) {
        struct ksi_template *x = &t->items[i];
        uint32_t slots = 0;
        x->text = ks_read_lp(&r);
        for (size_t k = 0; k < x->text.len; k++)
            slots += x->text.ptr[k] == KSI_SLOT_MARK;
        if (slots != x->slots)
            return malformed("slots of a template");
    }
    if (r.bad || ks_reader_left(&r) != width * n->count)
        return malformed("templates");
    struct ksi_templates ids = {
        .count = t->count, .ids8 = width == 1 ? r.p : NULL, .ids16 = width == 2 ? r.p : NULL};
    if (!t->checked || !atomic_load_explicit(t->checked, memory_order_relaxed))
        KS_TRY(check_ids(t, &ids, n->count, arena));
    t->ids8 = ids.ids8;
    t->ids16 = ids.ids16;
    return KS_OK;
}

struct assembly {
    struct ksi_node *n;
    struct ks_arena *arena;
    struct ksi_pages *pages;
    struct ksi_vector *slots; /* per child */
    struct ks_slice *values;  /* the result */
    char *text, *end;
};

/* The slots of a template; mask: of its rows those wanted, NULL all. */
static ks_err decode_slots(struct assembly *a, uint32_t id, const uint64_t *mask)
{
    const struct ksi_template *x = &a->n->templates->items[id];
    for (uint32_t k = 0; x->rows && k < x->slots; k++) {
        uint32_t child = x->first_child + k;
        KS_TRY(ksi_node_decode(&a->n->children[child], a->pages, a->arena, mask, &a->slots[child]));
    }
    return KS_OK;
}

/* Row k of template x as text. */
static ks_err assemble(struct assembly *a, const struct ksi_template *x, uint32_t k,
                       struct ks_slice *ret)
{
    enum { CHUNK = 64 << 10 };
    const struct ksi_vector *slot = &a->slots[x->first_child];
    if (x == a->n->templates->items) {
        *ret = ksi_vector_at(slot, k);
        return KS_OK;
    }
    if (!x->slots) {
        *ret = x->text;
        return KS_OK;
    }
    size_t need = x->text.len;
    for (uint32_t s = 0; s < x->slots; s++)
        need += ksi_vector_at(&slot[s], k).len;
    if ((size_t)(a->end - a->text) < need) {
        size_t chunk = need > CHUNK ? need : CHUNK;
        if (!(a->text = ks_arena_alloc(a->arena, chunk)))
            return ks_arena_err(a->arena);
        a->end = a->text + chunk;
    }
    char *p = a->text;
    const char *at = x->text.ptr, *end = at + x->text.len;
    for (uint32_t s = 0; s < x->slots; s++) {
        const char *mark = memchr(at, KSI_SLOT_MARK, (size_t)(end - at));
        struct ks_slice v = ksi_vector_at(&slot[s], k);
        memcpy(p, at, (size_t)(mark - at));
        p += mark - at;
        memcpy(p, v.ptr, v.len);
        p += v.len;
        at = mark + 1;
    }
    memcpy(p, at, (size_t)(end - at));
    p += end - at;
    *ret = ks_slice(a->text, (size_t)(p - a->text));
    a->text = p;
    return KS_OK;
}

/* All rows. */
static ks_err decode_all(struct assembly *a)
{
    struct ksi_templates *t = a->n->templates;
    uint32_t *next = ks_arena_zalloc(a->arena, (t->count + 1) * sizeof *next);
    if (!next)
        return ks_arena_err(a->arena);
    for (uint32_t id = 0; id <= t->count; id++)
        KS_TRY(decode_slots(a, id, NULL));
    for (uint32_t i = 0; i < a->n->count; i++) {
        uint32_t id = ksi_template_id(t, i);
        KS_TRY(assemble(a, &t->items[id], next[id]++, &a->values[i]));
    }
    return KS_OK;
}

static inline unsigned below(uint64_t bits, uint64_t bit)
{
    return (unsigned)__builtin_popcountll(bits & (bit - 1));
}

/* The rows wanted of one template. bits, mask: scratch. */
KS_CLONES static ks_err decode_one(struct assembly *a, uint32_t id, const uint64_t *want,
                                   uint64_t *bits, uint64_t *mask)
{
    struct ksi_templates *t = a->n->templates;
    size_t words = KS_ROW_WORDS(a->n->count);
    uint32_t first = 0;
    ksi_template_bits(t, a->n->count, id, bits);
    ksi_bits_gather(bits, want, words, mask);
    KS_TRY(decode_slots(a, id, mask));
    for (size_t w = 0; w < words; w++) {
        for (uint64_t left = bits[w] & want[w]; left; left &= left - 1)
            KS_TRY(assemble(a, &t->items[id], first + below(bits[w], left & -left),
                            &a->values[w * 64 + (unsigned)__builtin_ctzll(left)]));
        first += (uint32_t)__builtin_popcountll(bits[w]);
    }
    return KS_OK;
}

/* The rows wanted, walking over all of them once to number and once to assemble. */
static ks_err decode_many(struct assembly *a, const uint64_t *want)
{
    struct ksi_templates *t = a->n->templates;
    uint32_t *next = ks_arena_zalloc(a->arena, (t->count + 1) * sizeof *next);
    uint64_t **masks = ks_arena_zalloc(a->arena, (t->count + 1) * sizeof *masks);
    if (!next || !masks)
        return ks_arena_err(a->arena);
    for (uint32_t i = 0; i < a->n->count; i++) {
        uint32_t id = ksi_template_id(t, i), k = next[id]++;
        if (!ksi_bit(want, i))
            continue;
        if (!masks[id] &&
            !(masks[id] = ks_arena_zalloc(a->arena, (t->items[id].rows / 64 + 1) * 8)))
            return ks_arena_err(a->arena);
        masks[id][k / 64] |= 1ull << k % 64;
    }
    for (uint32_t id = 0; id <= t->count; id++)
        if (masks[id])
            KS_TRY(decode_slots(a, id, masks[id]));
    memset(next, 0, (t->count + 1) * sizeof *next);
    for (uint32_t i = 0; i < a->n->count; i++) {
        uint32_t id = ksi_template_id(t, i), k = next[id]++;
        if (ksi_bit(want, i))
            KS_TRY(assemble(a, &t->items[id], k, &a->values[i]));
    }
    return KS_OK;
}

static ks_err decode_wanted(struct assembly *a, const uint64_t *want)
{
    struct ksi_templates *t = a->n->templates;
    size_t words = KS_ROW_WORDS(a->n->count);
    uint8_t *used = ks_arena_zalloc(a->arena, t->count + 1u);
    uint64_t *bits = ks_arena_array(a->arena, 2 * words + 2, sizeof *bits);
    uint32_t count = 0;
    if (!used || !bits)
        return ks_arena_err(a->arena);
    for (size_t w = 0; w < words; w++) {
        for (uint64_t left = want[w]; left; left &= left - 1) {
            uint32_t id = ksi_template_id(t, (uint32_t)(w * 64) + (unsigned)__builtin_ctzll(left));
            count += !used[id];
            used[id] = 1;
        }
    }
    if (count > KSI_TEMPLATES_FEW)
        return decode_many(a, want);
    for (uint32_t id = 0; id <= t->count; id++)
        if (used[id])
            KS_TRY(decode_one(a, id, want, bits, bits + words));
    return KS_OK;
}

ks_err ksi_templates_decode(struct ksi_node *n, struct ksi_pages *pages, struct ks_arena *arena,
                            const uint64_t *want, struct ksi_vector *ret)
{
    struct assembly a = {.n = n, .arena = arena, .pages = pages};
    KS_TRY(ksi_templates_load(n, pages, arena));
    KS_TRY(ksi_template_children(n, arena));
    a.values = ks_arena_array(arena, (size_t)n->count + 1, sizeof *a.values);
    a.slots = ks_arena_zalloc(arena, (n->child_count + 1) * sizeof *a.slots);
    if (!a.values || !a.slots)
        return ks_arena_err(arena);
    if (want)
        KS_TRY(decode_wanted(&a, want));
    else
        KS_TRY(decode_all(&a));
    *ret = (struct ksi_vector){KS_COL_VALUES, n->count, a.values, NULL};
    return KS_OK;
}
