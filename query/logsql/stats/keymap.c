/* See keymap.h. */
#include "query/logsql/stats/keymap.h"

#include "base/mem.h"

void ksi_keymap_done(struct ksi_keymap *m)
{
    ks_free(m->entries);
    ks_free(m->slots);
    m->entries = NULL;
    m->slots = NULL;
    m->count = m->slot_count = 0;
    m->cap = 0;
}

uint32_t ksi_keymap_find(const struct ksi_keymap *m, struct ks_slice key, uint64_t hash)
{
    if (!m->slot_count)
        return UINT32_MAX;
    uint32_t mask = m->slot_count - 1;
    for (uint32_t at = (uint32_t)hash & mask; m->slots[at]; at = (at + 1) & mask) {
        const struct ksi_keymap_entry *e = &m->entries[m->slots[at] - 1];
        if (e->hash == hash && ks_slice_eq(e->key, key))
            return m->slots[at] - 1;
    }
    return UINT32_MAX;
}

static ks_err grow_slots(struct ksi_keymap *m)
{
    uint32_t count = m->slot_count ? m->slot_count * 2 : 8;
    uint32_t *slots = count > m->slot_count ? ks_zalloc_array(count, sizeof *slots) : NULL;
    if (!slots)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < m->count; i++) {
        uint32_t at = (uint32_t)m->entries[i].hash & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = i + 1;
    }
    ks_free(m->slots);
    m->slots = slots;
    m->slot_count = count;
    return KS_OK;
}

ks_err ksi_keymap_add(struct ksi_keymap *m, struct ks_slice key, uint64_t hash, uint32_t *ret_index,
                      bool *ret_new)
{
    uint32_t at = ksi_keymap_find(m, key, hash);
    *ret_new = at == UINT32_MAX;
    *ret_index = at;
    if (!*ret_new)
        return KS_OK;
    if (m->count >= m->slot_count / 2)
        KS_TRY(grow_slots(m));
    KS_TRY(ks_array_reserve((void **)&m->entries, &m->cap, m->count + 1u, sizeof *m->entries));
    struct ks_slice text = {"", 0};
    if (key.len) {
        text = ks_arena_dup(m->texts, key);
        if (!text.ptr)
            return ks_arena_err(m->texts);
    }
    m->entries[m->count] = (struct ksi_keymap_entry){hash, text};
    for (at = (uint32_t)hash & (m->slot_count - 1); m->slots[at];)
        at = (at + 1) & (m->slot_count - 1);
    m->slots[at] = ++m->count;
    *ret_index = m->count - 1;
    return KS_OK;
}
