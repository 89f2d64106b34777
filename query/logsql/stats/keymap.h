/*
 * Byte strings numbered in order of first sight: the groups of stats, the values of uniq. Open
 * addressing over 32-bit slots; keys are copied once, into an arena of the owner's, which many maps
 * may share. One thread.
 */
#ifndef KS_QUERY_LOGSQL_KEYMAP_H
#define KS_QUERY_LOGSQL_KEYMAP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

struct ksi_keymap_entry {
    uint64_t hash;
    struct ks_slice key;
};
struct ksi_keymap {
    struct ksi_keymap_entry *entries;
    uint32_t *slots; /* index of the entry + 1 */
    uint32_t count, slot_count;
    size_t cap;
    struct ks_arena *texts; /* the owner's */
};

/* A map of zeroes is an empty one but for its arena. */
static inline void ksi_keymap_init(struct ksi_keymap *m, struct ks_arena *texts)
{
    memset(m, 0, sizeof *m);
    m->texts = texts;
}
void ksi_keymap_done(struct ksi_keymap *m);
static inline uint64_t ksi_keymap_bytes(const struct ksi_keymap *m)
{
    return m->cap * sizeof *m->entries + m->slot_count * sizeof *m->slots; /* without texts */
}

/* Index of the key; UINT32_MAX when it is not there. */
uint32_t ksi_keymap_find(const struct ksi_keymap *m, struct ks_slice key, uint64_t hash);
/* Index of the key, added when new. Its text is copied. */
KS_NODISCARD ks_err ksi_keymap_add(struct ksi_keymap *m, struct ks_slice key, uint64_t hash,
                                   uint32_t *ret_index, bool *ret_new);
static inline uint64_t ksi_keymap_hash(struct ks_slice key)
{
    return ks_hash64(key.ptr, key.len);
}

#endif
