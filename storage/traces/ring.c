/* Writing and evicting. See ring.h. */
#include "storage/traces/ring.h"

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"
#include "sys/clock.h"

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
    t->pool = ksi_pool_new(KSI_CHUNK_BYTES);
    if (!t->pool) {
        ks_free(t);
        return KS_ENOMEM;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->writer, NULL);
    ksi_mapping_init(&t->mapping);
    ksi_mapping_init(&t->kept_mapping);
    ks_batch_init(&t->kept_batch);
    ks_arena_init(&t->kept_arena, SPAN_ARENA_BYTES);
    *ret = t;
    return KS_OK;
}

static void ring_free(struct ksi_tenant *tn, struct ksi_ring *r)
{
    for (size_t i = 0; i < r->gen_count; i++) {
        ksi_gen_drop_names(tn, r->gens[i]);
        ksi_gen_unref(r->gens[i]);
    }
    ks_free(r->gens);
    ksi_index_done(&r->index);
}

void ksi_tenant_unref(struct ksi_tenant *tn)
{
    if (!tn || atomic_fetch_sub(&tn->refs, 1) != 1)
        return;
    ring_free(tn, &tn->rings[KSI_MAIN]);
    ring_free(tn, &tn->rings[KSI_KEPT]);
    ksi_names_done(&tn->names);
    ksi_move_free(tn->move);
    for (size_t i = 0; i < 3; i++)
        ks_free(tn->evicted.bits[i]);
    ks_free(tn);
}

void ks_traces_free(struct ks_traces *t)
{
    if (!t)
        return;
    ksi_reap(t, SIZE_MAX);
    for (size_t i = 0; i < t->tenant_count; i++)
        ksi_tenant_unref(t->tenants[i]);
    ks_free(t->tenants);
    ks_free(t->tenant_table.slots);
    ks_free(t->many_places);
    ksi_pool_unref(t->pool);
    ksi_mapping_done(&t->mapping);
    ksi_mapping_done(&t->kept_mapping);
    ks_batch_done(&t->kept_batch);
    ks_arena_done(&t->kept_arena);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->writer);
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

/* --- new traces --- */
ks_err ksi_ring_open_gen(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                         uint64_t first_seq, uint64_t base_ns)
{
    struct ksi_gen *g = ksi_gen_new(t->pool, first_seq, base_ns, r->slot_max);
    if (!g)
        return KS_ENOMEM;
    if (r->gen_count) {
        const struct ksi_gen *before = r->gens[r->gen_count - 1];
        g->bloom_hint = ksi_bloom_count(&before->d);
        g->follows = before->slot_count == before->slot_max;
    }
    ksi_lock(t);
    ks_err err =
        ks_array_reserve((void **)&r->gens, &r->gen_cap, r->gen_count + 1, sizeof *r->gens);
    if (err == KS_OK) {
        if (!r->gen_count)
            r->first_seq = r->next_seq;
        r->gens[r->gen_count++] = g;
        t->stats.generations++;
    }
    ksi_unlock(t);
    if (err != KS_OK)
        ksi_gen_unref(g);
    else
        ksi_follow_bytes(t, tn, g);
    return err;
}

static bool gen_takes_more(const struct ks_traces *t, const struct ksi_gen *g)
{
    return g->slot_count < g->slot_max &&
           atomic_load_explicit(&g->bytes, memory_order_relaxed) < t->opts.max_bytes / 32;
}

ks_err ksi_ring_add(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                    struct ks_trace_id id, uint64_t start_ns, uint64_t *ret_seq)
{
    ksi_make_room(t, tn, r);
    struct ksi_gen *g = r->gen_count ? r->gens[r->gen_count - 1] : NULL;
    if (!g || !gen_takes_more(t, g)) {
        KS_TRY(ksi_ring_open_gen(t, tn, r, r->next_seq, start_ns));
        g = r->gens[r->gen_count - 1];
    }
    ksi_lock(t);
    struct ksi_slot *s = ksi_gen_slot_add(g, id);
    ks_err err = s ? KS_OK : KS_ENOMEM;
    if (s) {
        *ret_seq = r->next_seq++;
        err = ksi_ring_index(t, r, id, *ret_seq);
        if (err != KS_OK)
            s->id = (struct ks_trace_id){0}; /* a number nobody has */
    }
    ksi_unlock(t);
    return err;
}

/* --- storing --- */
static bool ops_grow(struct ksi_gen *g)
{
    size_t slots = g->ops ? (g->ops_mask + 1) * 2 : INDEX_MIN;
    struct ksi_gen_op *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return false;
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
    return true;
}

bool ksi_note_op(struct ksi_tenant *tn, struct ksi_gen *g, const struct ksi_op_key *k, size_t max)
{
    uint64_t hash = ks_mix64(k->service_hash + 31 * k->name_hash + k->kind) | 1;
    if ((!g->ops || (g->ops_count + 1) * 2 > g->ops_mask + 1) && !ops_grow(g))
        return true;
    size_t i = hash & g->ops_mask;
    for (; g->ops[i].hash; i = (i + 1) & g->ops_mask)
        if (g->ops[i].hash == hash)
            return true;
    struct ksi_op *op =
        ksi_names_add(&tn->names, k->service, k->service_hash, k->name, k->name_hash, k->kind, max);
    g->ops[i] = (struct ksi_gen_op){hash, op};
    g->ops_count++;
    return op != NULL;
}

static bool note_op(const struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                    const struct ks_batch *b, const struct ks_batch_span *s)
{
    const struct ks_batch_resource *r = &b->resources[s->resource];
    struct ksi_op_key k = {
        .name = ks_batch_text(b, s->name), .name_hash = b->strings[s->name].hash, .kind = s->kind};
    k.service = r->service ? ks_batch_text(b, r->service - 1) : ks_slice("", 0);
    k.service_hash = r->service ? b->strings[r->service - 1].hash : ksi_text_hash(k.service);
    return ksi_note_op(tn, g, &k, t->opts.max_names);
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
        struct ksi_slot *slot = &p->work;
        if (slot->spans >= t->opts.max_spans_per_trace) {
            slot->refused++;
            ret->over_trace_limit++;
            continue;
        }
        KS_TRY(ksi_gen_append(g, m, b, i, slot));
        t->names_refused += !note_op(t, tn, g, b, &b->spans[i]);
        ret->stored++;
        ret->late += p->late;
    }
    return KS_OK;
}

static void take_places(struct ksi_gen *g, struct ksi_place *places, size_t n)
{
    ksi_mutex_lock(&g->lock); /* pins */
    for (size_t i = 0; i < n; i++)
        if (places[i].gen == g) {
            places[i].done = true;
            if (!places[i].hidden)
                places[i].work = g->slots[places[i].slot];
            if (places[i].late)
                places[i].work.flags |= KSI_SLOT_LATE;
        }
    pthread_mutex_unlock(&g->lock);
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
        take_places(g, places + i, b->traces_count - i);
        ks_err err = store_in(t, tn, b, places, g, m, ret);
        if (lsn > g->lsn)
            g->lsn = lsn;
        ksi_gen_publish_places(g, places + i, b->traces_count - i);
        ksi_follow_bytes(t, tn, g);
        KS_TRY(err);
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
        t->places[i].late = ksi_evicted_has(t, tn, tr->id);
        KS_TRY(ksi_ring_add(t, tn, main, tr->id, b->spans[0].start_ns, &tr->seq));
    }
    return KS_OK;
}

/* From numbers to places; a trace evicted by a later one of the same batch is in the second ring or
 * has none. */
static void find_places(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b)
{
    struct ksi_ring *main = &tn->rings[KSI_MAIN], *kept = &tn->rings[KSI_KEPT];
    for (size_t i = 0; i < b->traces_count; i++) {
        uint64_t seq = b->traces[i].seq;
        bool moved = seq == KSI_SEQ_KEPT || seq < main->first_seq;
        struct ksi_ring *r = moved ? kept : main;
        if (moved)
            seq = ksi_ring_find(t, kept, b->traces[i].id);
        if (seq && seq >= r->first_seq)
            t->places[i].gen = ksi_ring_gen(r, seq, &t->places[i].slot);
    }
}

_Thread_local int64_t ksi_waited_us;

/*
 * One write's times, from the clock alone: a call to the kernel while the writer's mutex is held is
 * where it gives the core to another. What the thread's CPU time says is asked before and after.
 */
struct times {
    int64_t from_us, to_us; /* the mutex is held */
    int64_t log_us;         /* of that, in the log */
    int64_t waited_us;      /* of that, for other locks */
    int64_t cpu_us; /* of the thread, from before it is asked for to after it is given back */
};

/* How long the ring itself held the write: without the log and without waiting for a core. It
 * worked no longer than the thread's CPU time, which has the log's share in it: so this is never
 * less than it was. */
static int64_t own_us(const struct times *w, int64_t held_us)
{
    int64_t most_us = w->cpu_us + w->waited_us;
    return held_us < most_us ? held_us : most_us;
}

static void note_pause(struct ks_traces_pauses *p, const struct times *w)
{
    static const uint32_t bounds_us[KS_PAUSE_BUCKETS - 1] = KS_PAUSE_BOUNDS_US;
    int64_t held_us = w->to_us - w->from_us - w->log_us;
    uint64_t us = (uint64_t)held_us, own = (uint64_t)own_us(w, held_us);
    uint64_t log_us = (uint64_t)w->log_us;
    unsigned i = 0;
    while (i < KS_PAUSE_BUCKETS - 1 && us > bounds_us[i])
        i++;
    p->buckets[i]++;
    p->count++;
    p->sum_us += us;
    if (us > p->max_us) {
        p->max_us = us;
        p->max_at_ns = ks_now_ns() - (ks_mono_us() - w->to_us) * 1000;
    }
    p->max_own_us = own > p->max_own_us ? own : p->max_own_us;
    p->max_log_us = log_us > p->max_log_us ? log_us : p->max_log_us;
}

static ks_err number_all(struct ks_traces *t, struct ks_batch *b, struct ksi_tenant **ret)
{
    ksi_lock(t);
    ks_err err = ksi_tenant_get(t, b->tenant, ret);
    ksi_unlock(t);
    KS_TRY(err);
    t->moves_left = KSI_MOVED_PER_WRITE;
    KS_TRY(number_traces(t, *ret, b));
    b->evicted_to = (*ret)->rings[KSI_MAIN].first_seq;
    return KS_OK;
}

/*
 * The writer's mutex held. Readers' lock is held only to change what they walk: not while the log
 * takes the record, which may wait for the disk, nor while spans are packed.
 */
static ks_err write_one(struct ks_traces *t, struct ks_batch *b, ks_traces_log_fn log, void *arg,
                        struct ks_traces_result *ret, int64_t *ret_log_us)
{
    struct ksi_tenant *tn = NULL;
    uint64_t lsn = t->lsn;
    KS_TRY(number_all(t, b, &tn));
    int64_t log_from_us = ks_mono_us();
    ks_err err = log ? log(arg, b, &lsn) : KS_OK;
    *ret_log_us = ks_mono_us() - log_from_us;
    KS_TRY(err);
    find_places(t, tn, b);
    err = ksi_store(t, tn, b, t->places, lsn, ret);
    if (err == KS_OK)
        ksi_keep_bytes(t);
    ksi_lock(t);
    t->stats.spans += ret->stored;
    t->stats.names_refused_total = t->names_refused;
    if (err == KS_OK) {
        t->lsn = lsn;
        t->stats.spans_total += ret->stored;
        t->stats.late_spans_total += ret->late;
        t->stats.refused_spans_total += ret->over_trace_limit;
    }
    ksi_unlock(t);
    return err;
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
    ksi_pool_prepare(t->pool);
    struct times w = {.cpu_us = -ks_thread_cpu_us()};
    pthread_mutex_lock(&t->writer);
    w.from_us = ks_mono_us();
    ksi_waited_us = 0;
    ks_err err = write_one(t, b, log, arg, ret, &w.log_us);
    w.waited_us = ksi_waited_us;
    w.to_us = ks_mono_us();
    pthread_mutex_unlock(&t->writer);
    w.cpu_us += ks_thread_cpu_us();
    pthread_mutex_lock(&t->lock);
    note_pause(&t->stats.pauses, &w);
    pthread_mutex_unlock(&t->lock);
    ksi_reap_some(t);
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
        pthread_mutex_lock(&g->lock);
        t->stats.pinned_total += !(g->slots[slot].flags & KSI_SLOT_PINNED);
        g->slots[slot].flags |= KSI_SLOT_PINNED;
        pthread_mutex_unlock(&g->lock);
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
    ret->bytes = atomic_load_explicit(&t->bytes, memory_order_relaxed);
    ret->max_bytes = t->opts.max_bytes;
    ret->pool_bytes = ksi_pool_bytes(t->pool);
    ret->pool_free_bytes = ksi_pool_free_bytes(t->pool);
    for (size_t i = 0; i < t->tenant_count; i++) {
        struct ksi_tenant *tn = t->tenants[i];
        ret->traces += tn->rings[KSI_MAIN].next_seq - tn->rings[KSI_MAIN].first_seq;
        ret->kept_traces += tn->rings[KSI_KEPT].next_seq - tn->rings[KSI_KEPT].first_seq;
        pthread_mutex_lock(&tn->names.lock);
        ret->services += tn->names.services;
        ret->operations += tn->names.ops;
        pthread_mutex_unlock(&tn->names.lock);
    }
    pthread_mutex_unlock(&t->lock);
}

uint64_t ks_traces_lsn(struct ks_traces *t)
{
    /* Of a record in the log that is being stored the writer waits for the end. */
    pthread_mutex_lock(&t->writer);
    uint64_t lsn = t->lsn;
    pthread_mutex_unlock(&t->writer);
    return lsn;
}
