#include "engine/flush_order.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

enum { LEVELS = 4, FIRST_SLOTS = 1024, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };
#define NOBODY UINT32_MAX

/* The distinct texts of one level. */
struct words {
    struct ks_slice *texts;
    uint32_t *hashes;
    size_t count, text_cap, hash_cap;
    uint32_t *slots;
    size_t mask;
    uint32_t *ranks; /* by word */
};

/* A series on its way: what it is dealt by, and which one it is. */
struct item {
    uint64_t key;
    uint32_t index;
};

static ks_err words_grow(struct words *w)
{
    size_t n = w->slots ? (w->mask + 1) * 2 : FIRST_SLOTS;
    uint32_t *fresh = ks_alloc_array(n, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    memset(fresh, 0xff, n * sizeof *fresh);
    for (uint32_t i = 0; i < w->count; i++) {
        size_t at = w->hashes[i] & (n - 1);
        while (fresh[at] != NOBODY)
            at = (at + 1) & (n - 1);
        fresh[at] = i;
    }
    ks_free(w->slots);
    w->slots = fresh;
    w->mask = n - 1;
    return KS_OK;
}

static ks_err word_of(struct words *w, struct ks_slice text, uint32_t *ret)
{
    uint32_t hash = (uint32_t)ks_hash64(text.len ? text.ptr : "", text.len);
    if (!w->slots || w->count + 1 > (w->mask + 1) / 4 * 3)
        KS_TRY(words_grow(w));
    size_t at = hash & w->mask;
    for (; w->slots[at] != NOBODY; at = (at + 1) & w->mask) {
        uint32_t i = w->slots[at];
        if (w->hashes[i] == hash && ks_slice_eq(w->texts[i], text)) {
            *ret = i;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&w->texts, &w->text_cap, w->count + 1, sizeof *w->texts));
    KS_TRY(ks_array_reserve((void **)&w->hashes, &w->hash_cap, w->count + 1, sizeof *w->hashes));
    w->texts[w->count] = text;
    w->hashes[w->count] = hash;
    *ret = w->slots[at] = (uint32_t)w->count++;
    return KS_OK;
}

static int by_text(const void *a, const void *b, void *arg)
{
    const struct words *w = arg;
    return ks_slice_cmp(w->texts[*(const uint32_t *)a], w->texts[*(const uint32_t *)b]);
}

static ks_err words_rank(struct words *w)
{
    uint32_t *order = ks_alloc_array(w->count, sizeof *order);
    w->ranks = ks_alloc_array(w->count, sizeof *w->ranks);
    if (!order || !w->ranks) {
        ks_free(order);
        return KS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->count; i++)
        order[i] = i;
    qsort_r(order, w->count, sizeof *order, by_text, w);
    for (uint32_t i = 0; i < w->count; i++)
        w->ranks[order[i]] = i;
    ks_free(order);
    return KS_OK;
}

static void words_done(struct words *w)
{
    ks_free(w->texts);
    ks_free(w->hashes);
    ks_free(w->slots);
    ks_free(w->ranks);
}

static unsigned bits_for(size_t count)
{
    return count > 1 ? 64 - (unsigned)__builtin_clzll(count - 1) : 0;
}

/* Sorts by the low `bits` of the keys; *items is the one of both arrays that holds the result. */
static void radix_sort(struct item **items, struct item **spare, size_t n, unsigned bits)
{
    for (unsigned shift = 0; shift < bits; shift += RADIX_BITS) {
        size_t starts[RADIX + 1] = {0};
        struct item *from = *items, *to = *spare;
        for (size_t i = 0; i < n; i++)
            starts[(from[i].key >> shift & (RADIX - 1)) + 1]++;
        for (size_t d = 0; d < RADIX; d++)
            starts[d + 1] += starts[d];
        for (size_t i = 0; i < n; i++)
            to[starts[from[i].key >> shift & (RADIX - 1)]++] = from[i];
        *items = to;
        *spare = from;
    }
}

static int by_key(const void *a, const void *b, void *arg)
{
    const struct ks_series_key *keys = arg;
    return ks_series_key_cmp(&keys[((const struct item *)a)->index],
                             &keys[((const struct item *)b)->index]);
}

/* Puts the words of a series together to one number; false when they do not fit. */
static bool make_keys(const struct words *w, const uint32_t *ids, struct item *items,
                      uint32_t count, unsigned *ret_bits)
{
    unsigned bits[LEVELS], all = 0;
    for (int l = 0; l < LEVELS; l++)
        all += bits[l] = bits_for(w[l].count);
    if (all > 64)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = 0;
        for (int l = 0; l < LEVELS; l++)
            key = (bits[l] < 64 ? key << bits[l] : 0) | w[l].ranks[ids[(size_t)i * LEVELS + l]];
        items[i] = (struct item){key, i};
    }
    *ret_bits = all;
    return true;
}

static ks_err read_words(const struct ks_series_key *keys, uint32_t count, struct words *w,
                         uint32_t *ids, uint64_t *tenants)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *id = &ids[(size_t)i * LEVELS];
        ks_put_be64((uint8_t *)&tenants[i], keys[i].tenant);
        KS_TRY(word_of(&w[0], ks_slice(&tenants[i], sizeof *tenants), &id[0]));
        for (int l = 1; l < LEVELS; l++)
            KS_TRY(word_of(&w[l], keys[i].first[l - 1], &id[l]));
    }
    for (int l = 0; l < LEVELS; l++)
        KS_TRY(words_rank(&w[l]));
    return KS_OK;
}

ks_err ksi_order_series(const struct ks_series_key *keys, uint32_t count, uint32_t *ret_order)
{
    if (!count)
        return KS_OK;
    struct words w[LEVELS] = {0};
    unsigned bits;
    uint32_t *ids = ks_alloc_array((size_t)count * LEVELS, sizeof *ids);
    uint64_t *tenants = ks_alloc_array(count, sizeof *tenants);
    struct item *items = ks_alloc_array(count, sizeof *items),
                *spare = ks_alloc_array(count, sizeof *spare);
    ks_err err = ids && tenants && items && spare ? KS_OK : KS_ENOMEM;
    if (err == KS_OK)
        err = read_words(keys, count, w, ids, tenants);
    if (err == KS_OK && make_keys(w, ids, items, count, &bits)) {
        radix_sort(&items, &spare, count, bits);
    } else if (err == KS_OK) { /* texts of every level without end: all is one group */
        for (uint32_t i = 0; i < count; i++)
            items[i] = (struct item){0, i};
    }
    for (uint32_t i = 0, end; err == KS_OK && i < count; i = end) {
        for (end = i + 1; end < count && items[end].key == items[i].key;)
            end++;
        if (end - i > 1)
            qsort_r(items + i, end - i, sizeof *items, by_key, (void *)keys);
        for (uint32_t k = i; k < end; k++)
            ret_order[k] = items[k].index;
    }
    for (int l = 0; l < LEVELS; l++)
        words_done(&w[l]);
    ks_free(ids);
    ks_free(tenants);
    ks_free(items);
    ks_free(spare);
    return err;
}
