/*
 * Where a trace is: the index of ids of a ring, and the filter of ids evicted lately.
 *
 * The index grows without a pause: a table that is full is kept beside one of twice the size, and
 * every new id takes a few of its entries over. Until all are, an id is looked for in both; what is
 * removed meanwhile is taken out of the new table and marked in the old one.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

/* Four entries per new id empty the old table long before the new one is full. */
enum { INDEX_MIN = 64, MOVED_PER_ADD = 4, EVICTED_MIN_BYTES = 4096 };

#define LIVE    0x80000000u
#define REMOVED 1u /* in an old table: an entry that was here and is gone */

static uint64_t id_hash(const struct ks_traces *t, struct ks_trace_id id)
{
    return ks_mix64(id.hi ^ t->seed) ^ ks_mix64(id.lo + t->seed);
}

static uint32_t index_entry(uint64_t seq)
{
    return (uint32_t)seq | LIVE;
}
static uint64_t index_seq(const struct ksi_ring *r, uint32_t entry)
{
    return r->first_seq + ((entry - (uint32_t)r->first_seq) & ~LIVE);
}

struct ksi_gen *ksi_ring_gen(const struct ksi_ring *r, uint64_t seq, uint32_t *ret_slot)
{
    size_t lo = 0, hi = r->gen_count;
    if (hi && r->gens[hi - 1]->first_seq <= seq)
        lo = hi - 1;
    while (lo + 1 < hi) {
        size_t mid = (lo + hi) / 2;
        if (r->gens[mid]->first_seq <= seq)
            lo = mid;
        else
            hi = mid;
    }
    struct ksi_gen *g = r->gens[lo];
    *ret_slot = (uint32_t)(seq - g->first_seq);
    return g;
}

static struct ks_trace_id id_of(const struct ksi_ring *r, uint64_t seq)
{
    uint32_t slot;
    struct ksi_gen *g = ksi_ring_gen(r, seq, &slot);
    return g->slots[slot].id;
}

static uint64_t find_in(const struct ksi_ring *r, const uint32_t *slots, size_t mask, uint64_t hash,
                        struct ks_trace_id id)
{
    for (size_t i = hash & mask; slots[i]; i = (i + 1) & mask) {
        if (!(slots[i] & LIVE))
            continue;
        uint64_t seq = index_seq(r, slots[i]);
        if (ks_trace_id_eq(id_of(r, seq), id))
            return seq;
    }
    return 0;
}

uint64_t ksi_ring_find(const struct ks_traces *t, const struct ksi_ring *r, struct ks_trace_id id)
{
    const struct ksi_index *x = &r->index;
    if (!x->slots)
        return 0;
    uint64_t hash = id_hash(t, id), seq = find_in(r, x->slots, x->mask, hash, id);
    return seq || !x->old ? seq : find_in(r, x->old, x->old_mask, hash, id);
}

static void index_put(struct ksi_index *x, uint64_t hash, uint32_t entry)
{
    size_t i = hash & x->mask;
    while (x->slots[i])
        i = (i + 1) & x->mask;
    x->slots[i] = entry;
}

/* Takes over up to n places of the old table. */
static void index_move(const struct ks_traces *t, struct ksi_ring *r, size_t n)
{
    struct ksi_index *x = &r->index;
    for (; x->old && n; n--) {
        uint32_t e = x->old[x->old_at];
        if (e & LIVE)
            index_put(x, id_hash(t, id_of(r, index_seq(r, e))), e);
        if (x->old_at++ < x->old_mask)
            continue;
        ks_free(x->old);
        x->old = NULL;
    }
}

static ks_err index_grow(const struct ks_traces *t, struct ksi_ring *r)
{
    struct ksi_index *x = &r->index;
    size_t slots = x->slots ? (x->mask + 1) * 2 : INDEX_MIN;
    index_move(t, r, x->old_mask + 1);
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    x->old = x->slots;
    x->old_mask = x->mask;
    x->old_at = 0;
    x->slots = fresh;
    x->mask = slots - 1;
    return KS_OK;
}

ks_err ksi_ring_index(struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id, uint64_t seq)
{
    struct ksi_index *x = &r->index;
    if (!x->slots || (x->count + 1) * 4 > (x->mask + 1) * 3)
        KS_TRY(index_grow(t, r));
    index_move(t, r, MOVED_PER_ADD);
    index_put(x, id_hash(t, id), index_entry(seq));
    x->count++;
    return KS_OK;
}

/* Takes the entry out of the table; entries behind it move up. */
static bool remove_from(const struct ks_traces *t, struct ksi_ring *r, uint64_t hash,
                        uint32_t entry)
{
    uint32_t *slots = r->index.slots;
    size_t mask = r->index.mask, i = hash & mask;
    while (slots[i] && slots[i] != entry)
        i = (i + 1) & mask;
    if (!slots[i])
        return false;
    for (size_t j = i;;) {
        slots[i] = 0;
        for (;;) {
            j = (j + 1) & mask;
            if (!slots[j])
                return true;
            size_t home = id_hash(t, id_of(r, index_seq(r, slots[j]))) & mask;
            if (((j - home) & mask) >= ((j - i) & mask))
                break;
        }
        slots[i] = slots[j];
        i = j;
    }
}

void ksi_ring_unindex(struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id, uint64_t seq)
{
    struct ksi_index *x = &r->index;
    uint64_t hash = id_hash(t, id);
    uint32_t entry = index_entry(seq);
    if (!x->slots)
        return;
    bool found = remove_from(t, r, hash, entry);
    for (size_t i = hash & x->old_mask; x->old && x->old[i]; i = (i + 1) & x->old_mask)
        if (x->old[i] == entry) {
            x->old[i] = REMOVED;
            found = true;
            break;
        }
    x->count -= found;
}

void ksi_index_done(struct ksi_index *x)
{
    ks_free(x->slots);
    ks_free(x->old);
}

/* --- ids evicted lately --- */
void ksi_evicted_note(struct ks_traces *t, struct ksi_tenant *tn, struct ks_trace_id id)
{
    struct ksi_evicted *e = &tn->evicted;
    if (!e->bits[0]) {
        size_t bytes = (tn->rings[KSI_MAIN].index.mask + 1) * 2;
        bytes = bytes < EVICTED_MIN_BYTES ? EVICTED_MIN_BYTES : bytes;
        for (size_t i = 0; i < 3; i++)
            e->bits[i] = ks_zalloc(bytes);
        e->mask = (uint32_t)(bytes * 8 - 1);
        e->max = (uint32_t)(bytes * 8 / 12);
        if (!e->bits[0] || !e->bits[1] || !e->bits[2])
            e->mask = 0;
    }
    if (!e->mask)
        return;
    /* A word a time: by when the filter is full the next one is clear. */
    if (e->cleared <= e->mask >> 6)
        e->bits[2][e->cleared++] = 0;
    if (++e->count > e->max) {
        uint64_t *old = e->bits[1];
        e->bits[1] = e->bits[0];
        e->bits[0] = e->bits[2];
        e->bits[2] = old;
        e->count = 1;
        e->cleared = 0;
    }
    uint64_t h = id_hash(t, id);
    for (unsigned k = 0; k < 3; k++) {
        uint32_t bit = (uint32_t)((h >> 32) + k * (uint32_t)h) & e->mask;
        e->bits[0][bit >> 6] |= (uint64_t)1 << (bit & 63);
    }
}

bool ksi_evicted_has(const struct ks_traces *t, const struct ksi_tenant *tn, struct ks_trace_id id)
{
    const struct ksi_evicted *e = &tn->evicted;
    uint64_t h = id_hash(t, id);
    for (unsigned f = 0; f < 2 && e->mask; f++) {
        unsigned hits = 0;
        for (unsigned k = 0; k < 3; k++) {
            uint32_t bit = (uint32_t)((h >> 32) + k * (uint32_t)h) & e->mask;
            hits += e->bits[f][bit >> 6] >> (bit & 63) & 1;
        }
        if (hits == 3)
            return true;
    }
    return false;
}
