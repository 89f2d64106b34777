/*
 * The words of a generation of identities (engine/ident.h): each label name and value once, known
 * by a number, and the shapes of series: which names they carry. Words and shapes never move or go
 * while the dictionary lives.
 *
 * Adding is under the generation's lock. Reading a number needs none, where the number came by way
 * of a release or a lock from whoever added it.
 */
#ifndef KS_ENGINE_IDENT_DICT_H
#define KS_ENGINE_IDENT_DICT_H

#include "base/arena.h"
#include "base/slice.h"

/* Level k has FIRST << k elements. */
enum { KSI_DICT_LEVELS = 20, KSI_DICT_FIRST = 1024 };

struct ksi_shape {
    uint32_t count;
    uint32_t names[]; /* words, ascending by text */
};

struct ksi_dict {
    struct ks_arena *arena; /* of the generation: texts and shapes */
    struct ks_slice *words[KSI_DICT_LEVELS];
    const struct ksi_shape **shapes[KSI_DICT_LEVELS];
    uint32_t word_count, shape_count;
    uint64_t *word_table, *shape_table; /* upper half of the hash << 32 | number + 1 */
    size_t word_mask, shape_mask;
    size_t bytes; /* all but the arena's */
};

void ksi_dict_init(struct ksi_dict *d, struct ks_arena *arena);
void ksi_dict_done(struct ksi_dict *d);
KS_NODISCARD ks_err ksi_dict_word(struct ksi_dict *d, struct ks_slice text, uint32_t *ret);
KS_NODISCARD ks_err ksi_dict_shape(struct ksi_dict *d, const uint32_t *names, uint32_t count,
                                   uint32_t *ret);

static inline uint32_t ksi_dict_level(uint32_t no, uint32_t *ret_at)
{
    uint32_t level = 31 - (uint32_t)__builtin_clz(no / KSI_DICT_FIRST + 1);
    *ret_at = no - KSI_DICT_FIRST * ((1u << level) - 1);
    return level;
}
static inline struct ks_slice ksi_dict_text(const struct ksi_dict *d, uint32_t word)
{
    uint32_t at, level = ksi_dict_level(word, &at);
    return d->words[level][at];
}
static inline const struct ksi_shape *ksi_dict_shape_at(const struct ksi_dict *d, uint32_t shape)
{
    uint32_t at, level = ksi_dict_level(shape, &at);
    return d->shapes[level][at];
}

#endif
