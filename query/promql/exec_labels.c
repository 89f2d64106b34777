/* Label bytes: filtering, editing, grouping. Sets are canonical, so a filtered set is a subsequence
 * of the bytes. */
#include <stdlib.h>

#include "query/promql/exec_priv.h"

static bool listed(const struct ksi_label_filter *f, struct ks_slice name)
{
    for (size_t i = 0; i < f->count; i++)
        if (ks_slice_eq(f->names[i], name))
            return true;
    return false;
}

size_t ksi_labels_filter(struct ks_slice bytes, const struct ksi_label_filter *f, char *out)
{
    if (f->mode == KSI_KEEP && f->count == 0)
        return 0;
    struct ks_reader r = ks_reader(bytes);
    size_t n = 0;
    while (r.p != r.end) {
        const uint8_t *from = r.p;
        struct ks_slice name = ks_read_lp(&r);
        ks_read_lp(&r);
        bool keep = listed(f, name) == (f->mode == KSI_KEEP);
        if (keep && f->drop_name && ks_slice_eq(name, KS_NAME_LABEL))
            keep = false;
        if (keep) {
            memcpy(out + n, from, (size_t)(r.p - from));
            n += (size_t)(r.p - from);
        }
    }
    return n;
}

ks_err ksi_labels_filtered(struct ksi_query *q, struct ks_slice bytes,
                           const struct ksi_label_filter *f, struct ks_slice *ret)
{
    char *out = ks_arena_alloc(q->arena, bytes.len + 1);
    if (!out)
        return ks_arena_err(q->arena);
    *ret = ks_slice(out, ksi_labels_filter(bytes, f, out));
    return KS_OK;
}

/* Where label `name` lies: offsets of its entry, or of the place it belongs to with from == to. */
static void find_entry(struct ks_slice bytes, struct ks_slice name, size_t *from, size_t *to)
{
    struct ks_reader r = ks_reader(bytes);
    const uint8_t *base = r.p;
    while (r.p != r.end) {
        const uint8_t *at = r.p;
        struct ks_slice n = ks_read_lp(&r);
        ks_read_lp(&r);
        int c = ks_slice_cmp(n, name);
        if (c >= 0) {
            *from = (size_t)(at - base);
            *to = c == 0 ? (size_t)(r.p - base) : *from;
            return;
        }
    }
    *from = *to = bytes.len;
}

ks_err ksi_labels_remove(struct ksi_query *q, struct ks_slice *labels, struct ks_slice name)
{
    size_t from, to;
    find_entry(*labels, name, &from, &to);
    if (from == to)
        return KS_OK;
    if (from == 0) { /* the rest is a set by itself */
        *labels = ks_slice_from(*labels, to);
        return KS_OK;
    }
    char *out = ks_arena_alloc(q->arena, labels->len);
    if (!out)
        return ks_arena_err(q->arena);
    memcpy(out, labels->ptr, from);
    memcpy(out + from, labels->ptr + to, labels->len - to);
    *labels = ks_slice(out, labels->len - (to - from));
    return KS_OK;
}

ks_err ksi_labels_drop_name(struct ksi_query *q, struct ks_slice *labels)
{
    return ksi_labels_remove(q, labels, KS_NAME_LABEL);
}

ks_err ksi_labels_set(struct ksi_query *q, struct ks_slice *labels, struct ks_slice name,
                      struct ks_slice value)
{
    if (!value.len || !name.len)
        return ksi_labels_remove(q, labels, name);
    size_t from, to;
    find_entry(*labels, name, &from, &to);
    uint8_t *out = ks_arena_alloc(q->arena, labels->len + name.len + value.len + 2 * KS_VARINT_MAX);
    if (!out)
        return ks_arena_err(q->arena);
    size_t n = from;
    if (from)
        memcpy(out, labels->ptr, from);
    n += ks_varint_put(out + n, name.len);
    memcpy(out + n, name.ptr, name.len);
    n += name.len;
    n += ks_varint_put(out + n, value.len);
    memcpy(out + n, value.ptr, value.len);
    n += value.len;
    if (labels->len > to)
        memcpy(out + n, labels->ptr + to, labels->len - to);
    n += labels->len - to;
    *labels = ks_slice(out, n);
    return KS_OK;
}

struct ks_slice ksi_labels_text(struct ksi_query *q, struct ks_slice labels, bool name)
{
    struct ks_buf b;
    ks_buf_init(&b, 64 << 10);
    if (name)
        ks_buf_slice(&b, ks_labels_get(labels, KS_NAME_LABEL));
    ks_buf_byte(&b, '{');
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    for (bool first = true; ks_labels_next(&it, &l);) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL))
            continue;
        if (!first)
            ks_buf_str(&b, ", ");
        first = false;
        ks_buf_slice(&b, l.name);
        ks_buf_byte(&b, '=');
        ks_buf_json_str(&b, l.value);
    }
    ks_buf_byte(&b, '}');
    struct ks_slice s = ks_arena_dup(q->arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return s;
}

/* --- map --- */
static ks_err map_rehash(struct ks_arena *arena, struct ksi_map *m)
{
    size_t n = m->slot_count ? m->slot_count * 2 : 16;
    uint32_t *slots = ks_arena_array(arena, n, sizeof *slots);
    if (!slots)
        return ks_arena_err(arena);
    memset(slots, 0, n * sizeof *slots);
    for (size_t i = 0; i < m->count; i++) {
        size_t at = m->hashes[i] & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    m->slots = slots;
    m->slot_count = n;
    return KS_OK;
}

static bool map_find(const struct ksi_map *m, struct ks_slice key, uint64_t hash, size_t *ret)
{
    if (!m->slot_count)
        return false;
    for (size_t at = hash & (m->slot_count - 1); m->slots[at];
         at = (at + 1) & (m->slot_count - 1)) {
        size_t i = m->slots[at] - 1;
        if (m->hashes[i] == hash && ks_slice_eq(m->keys[i], key)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

bool ksi_map_get(const struct ksi_map *m, struct ks_slice key, size_t *ret)
{
    return map_find(m, key, ks_hash64(key.ptr, key.len), ret);
}

ks_err ksi_map_put(struct ks_arena *arena, struct ksi_map *m, struct ks_slice key, bool copy,
                   size_t *ret, bool *added)
{
    uint64_t hash = ks_hash64(key.ptr, key.len);
    bool found = map_find(m, key, hash, ret);
    if (added)
        *added = !found;
    if (found)
        return KS_OK;
    if (m->count * 4 >= m->slot_count * 3)
        KS_TRY(map_rehash(arena, m));
    if (m->count == m->cap) {
        size_t cap = m->cap;
        KS_TRY(ks_arena_grow(arena, (void **)&m->hashes, &cap, m->count + 1, sizeof *m->hashes));
        KS_TRY(ks_arena_grow(arena, (void **)&m->keys, &m->cap, m->count + 1, sizeof *m->keys));
    }
    if (copy) {
        key = ks_arena_dup(arena, key);
        if (!key.ptr)
            return ks_arena_err(arena);
    }
    size_t at = hash & (m->slot_count - 1);
    while (m->slots[at])
        at = (at + 1) & (m->slot_count - 1);
    m->slots[at] = (uint32_t)m->count + 1;
    m->keys[m->count] = key;
    m->hashes[m->count] = hash;
    *ret = m->count++;
    return KS_OK;
}

ks_err ksi_group(struct ksi_query *q, const struct ksi_vec *v, const struct ksi_label_filter *f,
                 size_t max_groups, struct ksi_groups *ret)
{
    struct ksi_groups g = {0};
    size_t *of = ks_arena_array(q->arena, v->count + 1, sizeof *of);
    g.members = ks_arena_array(q->arena, v->count + 1, sizeof *g.members);
    size_t longest = 0;
    for (size_t i = 0; i < v->count; i++)
        longest = v->items[i].labels.len > longest ? v->items[i].labels.len : longest;
    char *key = ks_arena_alloc(q->arena, longest + 1);
    if (!of || !g.members || !key)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < v->count; i++) {
        struct ks_slice k = ks_slice(key, ksi_labels_filter(v->items[i].labels, f, key));
        if (max_groups && g.map.count >= max_groups && !ksi_map_get(&g.map, k, &of[i])) {
            of[i] = SIZE_MAX;
            continue;
        }
        KS_TRY(ksi_map_put(q->arena, &g.map, k, true, &of[i], NULL));
    }
    g.count = g.map.count;
    g.first = ks_arena_zalloc(q->arena, (g.count + 2) * sizeof *g.first);
    if (!g.first)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < v->count; i++)
        if (of[i] != SIZE_MAX)
            g.first[of[i] + 2]++;
    for (size_t i = 2; i < g.count + 2; i++)
        g.first[i] += g.first[i - 1];
    for (size_t i = 0; i < v->count; i++)
        if (of[i] != SIZE_MAX)
            g.members[g.first[of[i] + 1]++] = i;
    *ret = g;
    return KS_OK;
}
