/* Writing and evicting. See ring.h. */
#include "storage/traces/ring.h"

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

enum { INDEX_MIN = 64, GENERATIONS = 64, SLOTS_MIN = 16, SPAN_ARENA_BYTES = 64 << 20 };

/* --- life --- */
ks_err ks_traces_new(const struct ks_traces_opts *opts, struct ks_traces **ret)
{
    struct ks_traces *t = ks_zalloc(sizeof *t);
    if (!t)
        return KS_ENOMEM;
    t->opts = *opts;
    struct ks_traces_opts *o = &t->opts;
    o->max_traces = o->max_traces ? o->max_traces : 100000;
    if (o->max_traces > 1u << 28)
        o->max_traces = 1u << 28;
    o->max_kept = o->max_kept ? o->max_kept : o->max_traces / 10 + 1;
    o->max_bytes = o->max_bytes ? o->max_bytes : (uint64_t)1 << 30;
    o->max_spans_per_trace = o->max_spans_per_trace ? o->max_spans_per_trace : 50000;
    o->max_tenants = o->max_tenants ? o->max_tenants : 10000;
    o->max_names = o->max_names ? o->max_names : 50000;
    t->seed = ks_trace_seed();
    pthread_mutex_init(&t->lock, NULL);
    ksi_mapping_init(&t->mapping);
    ksi_mapping_init(&t->kept_mapping);
    ks_batch_init(&t->kept_batch);
    ks_arena_init(&t->kept_arena, SPAN_ARENA_BYTES);
    *ret = t;
    return KS_OK;
}

static void drop_names(struct ksi_tenant *tn, struct ksi_gen *g)
{
    for (size_t i = 0; g->ops && i <= g->ops_mask; i++)
        if (g->ops[i].op)
            ksi_names_drop(&tn->names, g->ops[i].op);
}

static void ring_free(struct ksi_tenant *tn, struct ksi_ring *r)
{
    for (size_t i = 0; i < r->gen_count; i++) {
        drop_names(tn, r->gens[i]);
        ksi_gen_unref(r->gens[i]);
    }
    ks_free(r->gens);
    ks_free(r->index);
}

void ksi_tenant_unref(struct ksi_tenant *tn)
{
    if (!tn || atomic_fetch_sub(&tn->refs, 1) != 1)
        return;
    ring_free(tn, &tn->rings[KSI_MAIN]);
    ring_free(tn, &tn->rings[KSI_KEPT]);
    ksi_names_done(&tn->names);
    ks_free(tn->evicted.bits[0]);
    ks_free(tn->evicted.bits[1]);
    ks_free(tn);
}

void ks_traces_free(struct ks_traces *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->tenant_count; i++)
        ksi_tenant_unref(t->tenants[i]);
    ks_free(t->tenants);
    ks_free(t->tenant_table.slots);
    ks_free(t->many_places);
    ksi_mapping_done(&t->mapping);
    ksi_mapping_done(&t->kept_mapping);
    ks_batch_done(&t->kept_batch);
    ks_arena_done(&t->kept_arena);
    pthread_mutex_destroy(&t->lock);
    ks_free(t);
}

/* --- tenants --- */
static uint64_t tenant_hash(const struct ks_traces *t, struct ks_tenant id)
{
    return ks_mix64(ks_tenant_key(id) ^ t->seed);
}

struct ksi_tenant *ksi_tenant_find(struct ks_traces *t, struct ks_tenant id)
{
    struct ksi_table *tab = &t->tenant_table;
    if (!tab->slots)
        return NULL;
    for (size_t i = tenant_hash(t, id) & tab->mask; tab->slots[i]; i = (i + 1) & tab->mask)
        if (ks_tenant_eq(t->tenants[tab->slots[i] - 1]->id, id))
            return t->tenants[tab->slots[i] - 1];
    return NULL;
}

static ks_err tenants_index(struct ks_traces *t, size_t slots)
{
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    ks_free(t->tenant_table.slots);
    t->tenant_table = (struct ksi_table){fresh, slots - 1, t->tenant_count};
    for (uint32_t k = 0; k < t->tenant_count; k++) {
        size_t i = tenant_hash(t, t->tenants[k]->id) & (slots - 1);
        while (fresh[i])
            i = (i + 1) & (slots - 1);
        fresh[i] = k + 1;
    }
    return KS_OK;
}

/* Forgets a tenant that has no traces left, to make room for another. */
static bool forget_one_tenant(struct ks_traces *t)
{
    for (size_t i = 0; i < t->tenant_count; i++) {
        struct ksi_tenant *tn = t->tenants[i];
        if (tn->rings[KSI_MAIN].gen_count || tn->rings[KSI_KEPT].gen_count)
            continue;
        t->tenants[i] = t->tenants[--t->tenant_count];
        ksi_tenant_unref(tn);
        return tenants_index(t, t->tenant_table.mask + 1) == KS_OK;
    }
    return false;
}

static void ring_init(struct ksi_ring *r, uint32_t max)
{
    r->max_traces = max;
    r->slot_max = max / GENERATIONS > SLOTS_MIN ? max / GENERATIONS : SLOTS_MIN;
    r->first_seq = r->next_seq = 1;
}

ks_err ksi_tenant_get(struct ks_traces *t, struct ks_tenant id, struct ksi_tenant **ret)
{
    *ret = ksi_tenant_find(t, id);
    if (*ret)
        return KS_OK;
    if (t->tenant_count >= t->opts.max_tenants && !forget_one_tenant(t))
        return ks_fail(KS_EAGAIN,
                       "traces of %zu tenants are stored already; see -traces.maxTenants",
                       t->tenant_count);
    struct ksi_table *tab = &t->tenant_table;
    if (!tab->slots || (t->tenant_count + 1) * 2 > tab->mask + 1)
        KS_TRY(tenants_index(t, tab->slots ? (tab->mask + 1) * 2 : INDEX_MIN));
    KS_TRY(ks_array_reserve((void **)&t->tenants, &t->tenant_cap, t->tenant_count + 1,
                            sizeof *t->tenants));
    struct ksi_tenant *tn = ks_zalloc(sizeof *tn);
    if (!tn)
        return KS_ENOMEM;
    atomic_store(&tn->refs, 1);
    tn->id = id;
    ring_init(&tn->rings[KSI_MAIN], t->opts.max_traces);
    ring_init(&tn->rings[KSI_KEPT], t->opts.max_kept);
    ksi_names_init(&tn->names);
    t->tenants[t->tenant_count++] = tn;
    size_t i = tenant_hash(t, id) & tab->mask;
    while (tab->slots[i])
        i = (i + 1) & tab->mask;
    tab->slots[i] = (uint32_t)t->tenant_count;
    *ret = tn;
    return KS_OK;
}

/* --- index of ids --- */
static uint64_t id_hash(const struct ks_traces *t, struct ks_trace_id id)
{
    return ks_mix64(id.hi ^ t->seed) ^ ks_mix64(id.lo + t->seed);
}

static uint32_t index_entry(uint64_t seq)
{
    return (uint32_t)seq | 0x80000000;
}
static uint64_t index_seq(const struct ksi_ring *r, uint32_t entry)
{
    return r->first_seq + ((entry - (uint32_t)r->first_seq) & 0x7fffffff);
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

uint64_t ksi_ring_find(const struct ks_traces *t, const struct ksi_ring *r, struct ks_trace_id id)
{
    if (!r->index)
        return 0;
    for (size_t i = id_hash(t, id) & r->index_mask; r->index[i]; i = (i + 1) & r->index_mask) {
        uint64_t seq = index_seq(r, r->index[i]);
        if (ks_trace_id_eq(id_of(r, seq), id))
            return seq;
    }
    return 0;
}

static void index_put(const struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id,
                      uint64_t seq)
{
    size_t i = id_hash(t, id) & r->index_mask;
    while (r->index[i])
        i = (i + 1) & r->index_mask;
    r->index[i] = index_entry(seq);
}

static ks_err index_grow(const struct ks_traces *t, struct ksi_ring *r)
{
    size_t slots = r->index ? (r->index_mask + 1) * 2 : INDEX_MIN, old = r->index_mask + 1;
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh), *before = r->index;
    if (!fresh)
        return KS_ENOMEM;
    r->index = fresh;
    r->index_mask = slots - 1;
    for (size_t i = 0; before && i < old; i++)
        if (before[i]) {
            uint64_t seq = index_seq(r, before[i]);
            index_put(t, r, id_of(r, seq), seq);
        }
    ks_free(before);
    return KS_OK;
}

ks_err ksi_ring_index(struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id, uint64_t seq)
{
    if (!r->index || (r->index_count + 1) * 4 > (r->index_mask + 1) * 3)
        KS_TRY(index_grow(t, r));
    index_put(t, r, id, seq);
    r->index_count++;
    return KS_OK;
}

/* Takes the id of a live number out; entries behind it move up. */
static void index_remove(const struct ks_traces *t, struct ksi_ring *r, struct ks_trace_id id,
                         uint64_t seq)
{
    size_t mask = r->index_mask, i = id_hash(t, id) & mask;
    while (r->index[i] && r->index[i] != index_entry(seq))
        i = (i + 1) & mask;
    if (!r->index[i])
        return;
    r->index_count--;
    for (size_t j = i;;) {
        r->index[i] = 0;
        for (;;) {
            j = (j + 1) & mask;
            if (!r->index[j])
                return;
            size_t home = id_hash(t, id_of(r, index_seq(r, r->index[j]))) & mask;
            if (((j - home) & mask) >= ((j - i) & mask))
                break;
        }
        r->index[i] = r->index[j];
        i = j;
    }
}

/* --- ids evicted lately --- */
static void evicted_note(struct ks_traces *t, struct ksi_tenant *tn, struct ks_trace_id id)
{
    struct ksi_evicted *e = &tn->evicted;
    if (!e->bits[0]) {
        size_t bytes = (tn->rings[KSI_MAIN].index_mask + 1) * 2;
        e->bits[0] = ks_zalloc(bytes);
        e->bits[1] = ks_zalloc(bytes);
        e->mask = (uint32_t)(bytes * 8 - 1);
        e->max = (uint32_t)(bytes * 8 / 12);
        if (!e->bits[0] || !e->bits[1])
            e->mask = 0;
    }
    if (!e->mask)
        return;
    if (++e->count > e->max) {
        uint64_t *old = e->bits[1];
        e->bits[1] = e->bits[0];
        e->bits[0] = old;
        memset(old, 0, (e->mask + 1) / 8);
        e->count = 1;
    }
    uint64_t h = id_hash(t, id);
    for (unsigned k = 0; k < 3; k++) {
        uint32_t bit = (uint32_t)((h >> 32) + k * (uint32_t)h) & e->mask;
        e->bits[0][bit >> 6] |= (uint64_t)1 << (bit & 63);
    }
}

static bool evicted_has(const struct ks_traces *t, const struct ksi_tenant *tn,
                        struct ks_trace_id id)
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

/* --- bytes --- */
static void follow_bytes(struct ks_traces *t, struct ksi_gen *g)
{
    uint64_t now = atomic_load_explicit(&g->bytes, memory_order_relaxed);
    t->bytes += now - g->counted_bytes;
    g->counted_bytes = now;
}

static void drop_first_gen(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    struct ksi_gen *g = r->gens[0];
    follow_bytes(t, g);
    t->bytes -= g->counted_bytes;
    drop_names(tn, g);
    r->gen_count--;
    memmove(r->gens, r->gens + 1, r->gen_count * sizeof *r->gens);
    ksi_gen_unref(g);
}

/* --- eviction --- */
static bool worth_keeping(const struct ks_traces *t, const struct ksi_slot *s)
{
    return s->spans &&
           ((s->flags & KSI_SLOT_PINNED) || (t->opts.keep_errors && (s->flags & KSI_SLOT_ERROR)) ||
            (t->opts.keep_duration_ns && s->max_duration_ns >= t->opts.keep_duration_ns));
}

/* Copies up to a batch of spans from pos on; *pos moves to the next one. Newest first. */
static ks_err copy_spans(struct ks_traces *t, struct ksi_gen *g, const struct ksi_slot *slot,
                         uint32_t *pos)
{
    struct ksi_view_memo memo;
    struct ks_batch_memo copied = {0};
    ks_arena_reset(&t->kept_arena);
    KS_TRY(ksi_view_memo_init(&memo, g, &t->kept_arena));
    while (*pos != KSI_NONE && !ks_batch_full(&t->kept_batch)) {
        struct ksi_record rec;
        struct ks_span span;
        ksi_record_read(g, *pos, &rec);
        KS_TRY(ksi_span_view(g, slot, &rec, &memo, &t->kept_arena, &span));
        ks_batch_copy_span(&t->kept_batch, &span, &copied);
        *pos = rec.prev;
    }
    return t->kept_batch.err;
}

/* Moves a trace to the second ring. */
static ks_err keep(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g, uint32_t at)
{
    struct ksi_ring *r = &tn->rings[KSI_KEPT];
    struct ks_trace_id id = g->slots[at].id;
    uint64_t seq = ksi_ring_find(t, r, id);
    struct ks_traces_result ignored;
    if (seq)
        return KS_OK; /* a snapshot had it already */
    KS_TRY(ksi_ring_add(t, tn, r, id, g->slots[at].min_start_ns, &seq));
    for (uint32_t pos = g->slots[at].tail; pos != KSI_NONE;) {
        struct ksi_place place = {0};
        ks_batch_reset(&t->kept_batch, tn->id);
        KS_TRY(copy_spans(t, g, &g->slots[at], &pos));
        place.gen = ksi_ring_gen(r, seq, &place.slot);
        KS_TRY(ksi_store(t, tn, &t->kept_batch, &place, t->lsn, &ignored));
    }
    t->stats.kept_total++;
    return KS_OK;
}

/* The oldest trace goes. */
static void evict_one(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    uint32_t at;
    struct ksi_gen *g = ksi_ring_gen(r, r->first_seq, &at);
    struct ksi_slot *s = &g->slots[at];
    bool main = r == &tn->rings[KSI_MAIN];
    if (!ks_trace_id_zero(s->id)) {
        index_remove(t, r, s->id, r->first_seq);
        if (main && worth_keeping(t, s))
            (void)!keep(t, tn, g, at); /* without memory it is lost as any other */
        else if (main)
            evicted_note(t, tn, s->id);
        t->stats.evicted_traces_total++;
    }
    r->first_seq++;
    if (r->first_seq >= g->first_seq + g->slot_count)
        drop_first_gen(t, tn, r);
}

void ksi_ring_evict_to(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r, uint64_t seq)
{
    while (r->gen_count && r->first_seq < seq && r->first_seq < r->next_seq)
        evict_one(t, tn, r);
}

static uint64_t tenant_bytes(const struct ksi_tenant *tn)
{
    uint64_t sum = 0;
    for (unsigned k = 0; k < 2; k++)
        for (size_t i = 0; i < tn->rings[k].gen_count; i++)
            sum += tn->rings[k].gens[i]->counted_bytes;
    return sum;
}

/* Over the budget the largest tenant loses its oldest generation. */
void ksi_keep_bytes(struct ks_traces *t)
{
    while (t->bytes > t->opts.max_bytes) {
        struct ksi_tenant *largest = NULL;
        uint64_t most = 0;
        for (size_t i = 0; i < t->tenant_count; i++) {
            uint64_t n = tenant_bytes(t->tenants[i]);
            if (n > most) {
                most = n;
                largest = t->tenants[i];
            }
        }
        if (!largest)
            return;
        struct ksi_ring *r = &largest->rings[KSI_MAIN];
        struct ksi_ring *kept = &largest->rings[KSI_KEPT];
        if (!r->gen_count || (kept->gen_count && kept->gen_count * 4 > r->gen_count))
            r = kept;
        uint64_t before = r->first_seq;
        ksi_ring_evict_to(t, largest, r, r->gens[0]->first_seq + r->gens[0]->slot_count);
        t->stats.evicted_by_bytes_total += r->first_seq - before;
    }
}

/* --- new traces --- */
ks_err ksi_ring_open_gen(struct ks_traces *t, struct ksi_ring *r, uint64_t first_seq,
                         uint64_t base_ns)
{
    KS_TRY(ks_array_reserve((void **)&r->gens, &r->gen_cap, r->gen_count + 1, sizeof *r->gens));
    struct ksi_gen *g = ksi_gen_new(first_seq, base_ns, r->slot_max);
    if (!g)
        return KS_ENOMEM;
    r->gens[r->gen_count++] = g;
    follow_bytes(t, g);
    return KS_OK;
}

static bool gen_takes_more(const struct ks_traces *t, const struct ksi_gen *g)
{
    return g->slot_count < g->slot_max &&
           atomic_load_explicit(&g->bytes, memory_order_relaxed) < t->opts.max_bytes / 32;
}

ks_err ksi_ring_add(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                    struct ks_trace_id id, uint64_t start_ns, uint64_t *ret_seq)
{
    while (r->next_seq - r->first_seq >= r->max_traces)
        evict_one(t, tn, r);
    struct ksi_gen *g = r->gen_count ? r->gens[r->gen_count - 1] : NULL;
    if (!g || !gen_takes_more(t, g)) {
        if (!r->gen_count)
            r->first_seq = r->next_seq;
        KS_TRY(ksi_ring_open_gen(t, r, r->next_seq, start_ns));
        g = r->gens[r->gen_count - 1];
    }
    pthread_rwlock_wrlock(&g->lock);
    struct ksi_slot *s = ksi_gen_slot_add(g, id);
    pthread_rwlock_unlock(&g->lock);
    if (!s)
        return KS_ENOMEM;
    uint64_t seq = r->next_seq++;
    ks_err err = ksi_ring_index(t, r, id, seq);
    if (err != KS_OK)
        s->id = (struct ks_trace_id){0}; /* a number nobody has */
    *ret_seq = seq;
    return err;
}

/* --- storing --- */
/* Whether the operation was seen by the generation already; else notes it. */
static void note_op(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                    const struct ks_batch *b, const struct ks_batch_span *s)
{
    const struct ks_batch_resource *r = &b->resources[s->resource];
    struct ks_slice service = r->service ? ks_batch_text(b, r->service - 1) : ks_slice("", 0);
    uint64_t sh = r->service ? b->strings[r->service - 1].hash : ksi_text_hash(service);
    uint64_t nh = b->strings[s->name].hash, hash = ks_mix64(sh + 31 * nh + s->kind) | 1;
    if (!g->ops || (g->ops_count + 1) * 2 > g->ops_mask + 1) {
        size_t slots = g->ops ? (g->ops_mask + 1) * 2 : INDEX_MIN;
        struct ksi_gen_op *fresh = ks_zalloc_array(slots, sizeof *fresh);
        if (!fresh)
            return;
        for (size_t i = 0; g->ops && i <= g->ops_mask; i++)
            if (g->ops[i].hash) {
                size_t k = g->ops[i].hash & (slots - 1);
                while (fresh[k].hash)
                    k = (k + 1) & (slots - 1);
                fresh[k] = g->ops[i];
            }
        atomic_fetch_add(&g->bytes, (slots - (g->ops ? g->ops_mask + 1 : 0)) * sizeof *fresh);
        ks_free(g->ops);
        g->ops = fresh;
        g->ops_mask = slots - 1;
    }
    size_t i = hash & g->ops_mask;
    for (; g->ops[i].hash; i = (i + 1) & g->ops_mask)
        if (g->ops[i].hash == hash)
            return;
    struct ksi_op *op = ksi_names_add(&tn->names, service, sh, ks_batch_text(b, s->name), nh,
                                      s->kind, t->opts.max_names);
    t->stats.names_refused_total += !op;
    g->ops[i] = (struct ksi_gen_op){hash, op};
    g->ops_count++;
}

/* Spans of the batch that belong to this generation. */
static ks_err store_in(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b,
                       struct ksi_place *places, struct ksi_gen *g, struct ksi_mapping *m,
                       struct ks_traces_result *ret)
{
    KS_TRY(ksi_mapping_begin(m, b));
    for (size_t i = 0; i < b->spans_count; i++) {
        struct ksi_place *p = &places[b->spans[i].trace];
        if (p->gen != g)
            continue;
        struct ksi_slot *slot = &g->slots[p->slot];
        if (slot->spans >= t->opts.max_spans_per_trace) {
            slot->refused++;
            ret->over_trace_limit++;
            continue;
        }
        KS_TRY(ksi_gen_append(g, m, b, i, slot));
        note_op(t, tn, g, b, &b->spans[i]);
        ret->stored++;
        ret->late += p->late;
    }
    return KS_OK;
}

ks_err ksi_store(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b,
                 struct ksi_place *places, uint64_t lsn, struct ks_traces_result *ret)
{
    struct ksi_mapping *m = b == &t->kept_batch ? &t->kept_mapping : &t->mapping;
    *ret = (struct ks_traces_result){0};
    for (size_t i = 0; i < b->traces_count; i++) {
        struct ksi_gen *g = places[i].gen;
        if (!g || places[i].done)
            continue;
        pthread_rwlock_wrlock(&g->lock);
        ks_err err = store_in(t, tn, b, places, g, m, ret);
        if (lsn > g->lsn)
            g->lsn = lsn;
        pthread_rwlock_unlock(&g->lock);
        follow_bytes(t, g);
        KS_TRY(err);
        for (size_t k = i; k < b->traces_count; k++)
            places[k].done |= places[k].gen == g;
    }
    return KS_OK;
}

/* Gives every trace its number; new ones get a slot. */
static ks_err number_traces(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b)
{
    struct ksi_ring *main = &tn->rings[KSI_MAIN];
    for (size_t i = 0; i < b->traces_count; i++) {
        struct ks_batch_trace *tr = &b->traces[i];
        t->places[i] = (struct ksi_place){0};
        tr->seq = ksi_ring_find(t, main, tr->id);
        if (tr->seq)
            continue;
        if (ksi_ring_find(t, &tn->rings[KSI_KEPT], tr->id)) {
            tr->seq = KSI_SEQ_KEPT;
            continue;
        }
        t->places[i].late = evicted_has(t, tn, tr->id);
        KS_TRY(ksi_ring_add(t, tn, main, tr->id, b->spans[0].start_ns, &tr->seq));
    }
    return KS_OK;
}

/* From numbers to places; a trace evicted by a later one of the same batch has none. */
static void find_places(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b)
{
    struct ksi_ring *main = &tn->rings[KSI_MAIN], *kept = &tn->rings[KSI_KEPT];
    for (size_t i = 0; i < b->traces_count; i++) {
        uint64_t seq = b->traces[i].seq;
        struct ksi_ring *r = seq == KSI_SEQ_KEPT ? kept : main;
        if (seq == KSI_SEQ_KEPT)
            seq = ksi_ring_find(t, kept, b->traces[i].id);
        if (seq && seq >= r->first_seq)
            t->places[i].gen = ksi_ring_gen(r, seq, &t->places[i].slot);
    }
}

static ks_err write_locked(struct ks_traces *t, struct ks_batch *b, ks_traces_log_fn log, void *arg,
                           struct ks_traces_result *ret)
{
    struct ksi_tenant *tn;
    uint64_t lsn = t->lsn;
    KS_TRY(ksi_tenant_get(t, b->tenant, &tn));
    KS_TRY(number_traces(t, tn, b));
    b->evicted_to = tn->rings[KSI_MAIN].first_seq;
    if (log)
        KS_TRY(log(arg, b, &lsn));
    find_places(t, tn, b);
    KS_TRY(ksi_store(t, tn, b, t->places, lsn, ret));
    t->lsn = lsn;
    ksi_keep_bytes(t);
    t->stats.spans_total += ret->stored;
    t->stats.late_spans_total += ret->late;
    t->stats.refused_spans_total += ret->over_trace_limit;
    return KS_OK;
}

ks_err ks_traces_write(struct ks_traces *t, struct ks_batch *b, ks_traces_log_fn log, void *arg,
                       struct ks_traces_result *ret)
{
    *ret = (struct ks_traces_result){0};
    KS_ASSERT(b->traces_count <= KS_BATCH_SPANS_MAX);
    if (b->err != KS_OK)
        return b->err;
    if (!b->spans_count)
        return KS_OK;
    pthread_mutex_lock(&t->lock);
    ks_err err = write_locked(t, b, log, arg, ret);
    pthread_mutex_unlock(&t->lock);
    return err;
}

bool ks_traces_pin(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id)
{
    pthread_mutex_lock(&t->lock);
    struct ksi_tenant *tn = ksi_tenant_find(t, tenant);
    uint64_t seq = tn ? ksi_ring_find(t, &tn->rings[KSI_MAIN], id) : 0;
    bool known = seq || (tn && ksi_ring_find(t, &tn->rings[KSI_KEPT], id));
    if (seq) {
        uint32_t slot;
        struct ksi_gen *g = ksi_ring_gen(&tn->rings[KSI_MAIN], seq, &slot);
        t->stats.pinned_total += !(g->slots[slot].flags & KSI_SLOT_PINNED);
        pthread_rwlock_wrlock(&g->lock);
        g->slots[slot].flags |= KSI_SLOT_PINNED;
        pthread_rwlock_unlock(&g->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return known;
}

void ks_traces_tenants(struct ks_traces *t, ks_traces_tenant_fn fn, void *arg)
{
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->tenant_count; i++)
        fn(arg, t->tenants[i]->id);
    pthread_mutex_unlock(&t->lock);
}

void ks_traces_get_stats(struct ks_traces *t, struct ks_traces_stats *ret)
{
    pthread_mutex_lock(&t->lock);
    *ret = t->stats;
    ret->tenants = t->tenant_count;
    ret->bytes = t->bytes;
    ret->max_bytes = t->opts.max_bytes;
    for (size_t i = 0; i < t->tenant_count; i++) {
        struct ksi_tenant *tn = t->tenants[i];
        ret->traces += tn->rings[KSI_MAIN].next_seq - tn->rings[KSI_MAIN].first_seq;
        ret->kept_traces += tn->rings[KSI_KEPT].next_seq - tn->rings[KSI_KEPT].first_seq;
        for (unsigned k = 0; k < 2; k++) {
            ret->generations += tn->rings[k].gen_count;
            for (size_t g = 0; g < tn->rings[k].gen_count; g++)
                ret->spans += tn->rings[k].gens[g]->spans;
        }
        pthread_mutex_lock(&tn->names.lock);
        ret->services += tn->names.services;
        ret->operations += tn->names.ops;
        pthread_mutex_unlock(&tn->names.lock);
    }
    pthread_mutex_unlock(&t->lock);
}

uint64_t ks_traces_lsn(struct ks_traces *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t lsn = t->lsn;
    pthread_mutex_unlock(&t->lock);
    return lsn;
}
