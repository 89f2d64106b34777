#include "engine/ident_dict.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

void ksi_dict_init(struct ksi_dict *d, struct ks_arena *arena)
{
    *d = (struct ksi_dict){.arena = arena};
}

void ksi_dict_done(struct ksi_dict *d)
{
    for (int i = 0; i < KSI_DICT_LEVELS; i++) {
        ks_free(d->words[i]);
        ks_free((void *)d->shapes[i]);
    }
    ks_free(d->word_table);
    ks_free(d->shape_table);
}

/* Room for one more in an open-addressing table. */
static ks_err table_room(uint64_t **table, size_t *mask, uint32_t count, size_t *bytes)
{
    size_t old = *table ? *mask + 1 : 0, n = old ? old * 2 : 256;
    if ((size_t)(count + 1) * 3 <= old * 2)
        return KS_OK;
    uint64_t *t = ks_zalloc_array(n, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    for (size_t i = 0; i < old; i++) {
        if (!(*table)[i])
            continue;
        size_t at = ((*table)[i] >> 32) & (n - 1);
        while (t[at])
            at = (at + 1) & (n - 1);
        t[at] = (*table)[i];
    }
    ks_free(*table);
    *table = t;
    *mask = n - 1;
    *bytes += (n - old) * sizeof *t;
    return KS_OK;
}

static ks_err level_ready(void **level, uint32_t no, uint32_t at, uint32_t k, size_t elem,
                          size_t *bytes)
{
    if (k >= KSI_DICT_LEVELS)
        return ks_fail(KS_ELIMIT, "more than %u words of labels in one cache", no);
    if (at || *level)
        return KS_OK;
    size_t n = (size_t)KSI_DICT_FIRST << k;
    *level = ks_alloc_array(n, elem);
    if (!*level)
        return KS_ENOMEM;
    *bytes += n * elem;
    return KS_OK;
}

ks_err ksi_dict_word(struct ksi_dict *d, struct ks_slice text, uint32_t *ret)
{
    KS_TRY(table_room(&d->word_table, &d->word_mask, d->word_count, &d->bytes));
    uint64_t tag = ks_hash64(text.ptr, text.len) >> 32;
    size_t slot = tag & d->word_mask;
    for (; d->word_table[slot]; slot = (slot + 1) & d->word_mask) {
        uint32_t no = (uint32_t)d->word_table[slot] - 1;
        if (d->word_table[slot] >> 32 == tag && ks_slice_eq(ksi_dict_text(d, no), text)) {
            *ret = no;
            return KS_OK;
        }
    }
    uint32_t no = d->word_count, at, k = ksi_dict_level(no, &at);
    KS_TRY(level_ready((void **)&d->words[k < KSI_DICT_LEVELS ? k : 0], no, at, k,
                       sizeof **d->words, &d->bytes));
    char *copy = ks_arena_alloc(d->arena, text.len);
    if (!copy)
        return ks_arena_err(d->arena);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    d->words[k][at] = ks_slice(copy, text.len);
    d->word_table[slot] = tag << 32 | ++d->word_count;
    *ret = no;
    return KS_OK;
}

ks_err ksi_dict_shape(struct ksi_dict *d, const uint32_t *names, uint32_t count, uint32_t *ret)
{
    KS_TRY(table_room(&d->shape_table, &d->shape_mask, d->shape_count, &d->bytes));
    uint64_t tag = ks_hash64(names, count * sizeof *names) >> 32;
    size_t slot = tag & d->shape_mask;
    for (; d->shape_table[slot]; slot = (slot + 1) & d->shape_mask) {
        uint32_t no = (uint32_t)d->shape_table[slot] - 1;
        const struct ksi_shape *s = ksi_dict_shape_at(d, no);
        if (d->shape_table[slot] >> 32 == tag && s->count == count &&
            (!count || memcmp(s->names, names, count * sizeof *names) == 0)) {
            *ret = no;
            return KS_OK;
        }
    }
    uint32_t no = d->shape_count, at, k = ksi_dict_level(no, &at);
    KS_TRY(level_ready((void **)&d->shapes[k < KSI_DICT_LEVELS ? k : 0], no, at, k,
                       sizeof **d->shapes, &d->bytes));
    struct ksi_shape *s = ks_arena_alloc(d->arena, sizeof *s + count * sizeof *names);
    if (!s)
        return ks_arena_err(d->arena);
    s->count = count;
    if (count)
        memcpy(s->names, names, count * sizeof *names);
    d->shapes[k][at] = s;
    d->shape_table[slot] = tag << 32 | ++d->shape_count;
    *ret = no;
    return KS_OK;
}
