/* Replay of the log, and snapshots out and in. See ring.h. */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

enum { DUMP_ARENA_BYTES = 64 << 20 };

static void enter(struct ks_traces *t)
{
    pthread_mutex_lock(&t->writer);
    pthread_mutex_lock(&t->lock);
}

static void leave(struct ks_traces *t)
{
    pthread_mutex_unlock(&t->lock);
    pthread_mutex_unlock(&t->writer);
    ksi_reap_some(t);
}

/* --- replay --- */
/* Room for the number in the newest generation, with nameless slots before it. */
static ks_err extend_to(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                        uint64_t seq, uint64_t start_ns)
{
    if (!r->gen_count || seq - r->next_seq > r->max_traces) {
        /* Nothing before it is known: numbers begin here. */
        if (r->gen_count)
            return ks_fail(KS_ECORRUPT, "a trace's number jumps from %llu to %llu",
                           (unsigned long long)r->next_seq, (unsigned long long)seq);
        r->first_seq = r->next_seq = seq;
    }
    while (r->next_seq <= seq) {
        struct ksi_gen *g = r->gen_count ? r->gens[r->gen_count - 1] : NULL;
        if (!g || g->slot_count >= g->slot_max ||
            atomic_load(&g->bytes) >= t->opts.max_bytes / 32) {
            KS_TRY(ksi_ring_open_gen(t, tn, r, r->next_seq, start_ns));
            g = r->gens[r->gen_count - 1];
        }
        if (!ksi_gen_slot_add(g, (struct ks_trace_id){0}))
            return KS_ENOMEM;
        r->next_seq++;
    }
    return KS_OK;
}

static ks_err place_numbered(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b,
                             size_t i, uint64_t lsn, struct ksi_place *ret)
{
    struct ksi_ring *r = &tn->rings[KSI_MAIN];
    uint64_t seq = b->traces[i].seq;
    uint32_t slot;
    if (seq == KSI_SEQ_KEPT) {
        r = &tn->rings[KSI_KEPT];
        seq = ksi_ring_find(t, r, b->traces[i].id);
        if (!seq)
            return KS_OK;
    }
    if (!seq || seq > UINT64_MAX / 2)
        return ks_fail(KS_ECORRUPT, "a trace has the number %llu", (unsigned long long)seq);
    if (seq < r->first_seq)
        return KS_OK; /* evicted since */
    if (seq >= r->next_seq)
        KS_TRY(extend_to(t, tn, r, seq, b->spans_count ? b->spans[0].start_ns : 0));
    struct ksi_gen *g = ksi_ring_gen(r, seq, &slot);
    if (slot >= g->slot_count) /* a generation of a snapshot ends with traces that had no spans */
        return ks_fail(KS_ECORRUPT, "trace number %llu falls between generations",
                       (unsigned long long)seq);
    struct ksi_slot *s = &g->slots[slot];
    if (ks_trace_id_zero(s->id)) {
        s->id = b->traces[i].id;
        KS_TRY(ksi_ring_index(t, r, s->id, seq));
    }
    if (!ks_trace_id_eq(s->id, b->traces[i].id))
        return ks_fail(KS_ECORRUPT, "two traces have the number %llu", (unsigned long long)seq);
    if (lsn > g->snap_lsn || !lsn)
        *ret = (struct ksi_place){.gen = g, .slot = slot};
    return KS_OK;
}

static ks_err place_all(struct ks_traces *t, struct ksi_tenant *tn, struct ks_batch *b,
                        uint64_t lsn)
{
    KS_TRY(ks_array_reserve((void **)&t->many_places, &t->many_cap, b->traces_count + 1,
                            sizeof *t->many_places));
    for (size_t i = 0; i < b->traces_count; i++) {
        t->many_places[i] = (struct ksi_place){0};
        KS_TRY(place_numbered(t, tn, b, i, lsn, &t->many_places[i]));
    }
    return KS_OK;
}

static ks_err replay(struct ks_traces *t, struct ks_batch *b, uint64_t lsn)
{
    struct ksi_tenant *tn;
    struct ks_traces_result res;
    KS_TRY(ksi_tenant_get(t, b->tenant, &tn));
    struct ksi_ring *r = &tn->rings[KSI_MAIN];
    ksi_ring_evict_to(t, tn, r, b->evicted_to);
    if (!r->gen_count && r->next_seq < b->evicted_to)
        r->first_seq = r->next_seq = b->evicted_to;
    KS_TRY(place_all(t, tn, b, lsn));
    ks_err err = ksi_store(t, tn, b, t->many_places, lsn, &res);
    t->stats.spans += res.stored;
    KS_TRY(err);
    if (lsn > t->lsn)
        t->lsn = lsn;
    /* This start's limits may be lower. */
    if (r->next_seq - r->first_seq > r->max_traces)
        ksi_ring_evict_to(t, tn, r, r->next_seq - r->max_traces);
    ksi_keep_bytes(t);
    return KS_OK;
}

ks_err ks_traces_replay(struct ks_traces *t, struct ks_batch *b, uint64_t lsn)
{
    enter(t);
    ks_err err = replay(t, b, lsn);
    leave(t);
    return err;
}

/* --- loading a snapshot --- */
static ks_err load_generation(struct ks_traces *t, struct ksi_tenant *tn, bool kept,
                              uint64_t first_seq, uint64_t lsn, uint64_t base_ns)
{
    struct ksi_ring *r = &tn->rings[kept ? KSI_KEPT : KSI_MAIN];
    if (!first_seq || first_seq > UINT64_MAX / 2 ||
        (r->gen_count && first_seq <= r->next_seq - 1) ||
        (r->gen_count && first_seq - r->next_seq > r->max_traces + (uint64_t)r->slot_max))
        return ks_fail(KS_ECORRUPT, "generations of traces are out of order");
    if (r->gen_count) { /* traces without spans at the end of the one before */
        struct ksi_gen *g = r->gens[r->gen_count - 1];
        for (; r->next_seq < first_seq; r->next_seq++)
            if (!ksi_gen_slot_add(g, (struct ks_trace_id){0}))
                return KS_ENOMEM;
    } else {
        r->first_seq = r->next_seq = first_seq;
    }
    KS_TRY(ksi_ring_open_gen(t, tn, r, first_seq, base_ns));
    r->gens[r->gen_count - 1]->lsn = r->gens[r->gen_count - 1]->snap_lsn = lsn;
    return KS_OK;
}

ks_err ks_traces_load_generation(struct ks_traces *t, struct ks_tenant tenant, bool kept,
                                 uint64_t first_seq, uint64_t lsn, uint64_t base_ns)
{
    struct ksi_tenant *tn;
    enter(t);
    ks_err err = ksi_tenant_get(t, tenant, &tn);
    if (err == KS_OK)
        err = load_generation(t, tn, kept, first_seq, lsn, base_ns);
    leave(t);
    return err;
}

/* Traces of a dumped batch belong to the generation opened last, whatever their number of slots. */
static ks_err load_batch(struct ks_traces *t, struct ks_batch *b, bool kept)
{
    struct ksi_tenant *tn = ksi_tenant_find(t, b->tenant);
    struct ks_traces_result res;
    struct ksi_ring *r = tn ? &tn->rings[kept ? KSI_KEPT : KSI_MAIN] : NULL;
    if (!r || !r->gen_count)
        return ks_fail(KS_ECORRUPT, "spans come before their generation");
    struct ksi_gen *g = r->gens[r->gen_count - 1];
    KS_TRY(ks_array_reserve((void **)&t->many_places, &t->many_cap, b->traces_count + 1,
                            sizeof *t->many_places));
    for (size_t i = 0; i < b->traces_count; i++) {
        uint64_t seq = b->traces[i].seq, at = seq - g->first_seq;
        if (seq < g->first_seq || at > (uint64_t)r->slot_max * 4 + g->slot_count)
            return ks_fail(KS_ECORRUPT, "a trace is in the wrong generation");
        for (; r->next_seq <= seq; r->next_seq++)
            if (!ksi_gen_slot_add(g, (struct ks_trace_id){0}))
                return KS_ENOMEM;
        struct ksi_slot *s = &g->slots[at];
        if (ks_trace_id_zero(s->id)) {
            s->id = b->traces[i].id;
            KS_TRY(ksi_ring_index(t, r, s->id, seq));
        }
        if (!ks_trace_id_eq(s->id, b->traces[i].id))
            return ks_fail(KS_ECORRUPT, "two traces have the number %llu", (unsigned long long)seq);
        t->many_places[i] = (struct ksi_place){.gen = g, .slot = (uint32_t)at};
    }
    ks_err err = ksi_store(t, tn, b, t->many_places, 0, &res);
    t->stats.spans += res.stored;
    return err;
}

ks_err ks_traces_load_batch(struct ks_traces *t, struct ks_batch *b)
{
    /* The dump marks batches of second rings by evicted_to. */
    enter(t);
    ks_err err = load_batch(t, b, b->evicted_to == KSI_SEQ_KEPT);
    leave(t);
    return err;
}

/* --- dumping --- */
struct dump {
    const struct ks_traces_dump *d;
    struct ks_batch batch;
    struct ks_batch_memo memo;
    struct ks_arena arena;
    struct ks_tenant tenant;
    bool kept;
    uint32_t *pos; /* of the slot at hand: next…count are still to be dumped */
    size_t next, count;
};

static void dump_reset(struct dump *d)
{
    ks_batch_reset(&d->batch, d->tenant);
    d->batch.evicted_to = d->kept ? KSI_SEQ_KEPT : 0;
    d->memo = (struct ks_batch_memo){0};
}

static ks_err dump_flush(struct dump *d)
{
    KS_TRY(d->batch.err);
    return d->batch.spans_count ? d->d->batch(d->d->arg, &d->batch) : KS_OK;
}

/* The positions of a slot's spans, in the order they came. */
static ks_err list_spans(struct dump *d, const struct ksi_gen *g, size_t at)
{
    const struct ksi_slot *slot = &g->slots[at];
    uint32_t n = slot->spans;
    d->next = d->count = n;
    d->pos = ks_arena_array(&d->arena, n ? n : 1, sizeof *d->pos);
    if (!d->pos)
        return ks_arena_err(&d->arena);
    for (uint32_t p = slot->tail; p != KSI_NONE && n;) {
        struct ksi_record r;
        ksi_record_read(g, p, &r);
        d->pos[--n] = p;
        p = r.prev;
    }
    d->next = n;
    return KS_OK;
}

static ks_err dump_span(struct dump *d, const struct ksi_gen *g, size_t at,
                        struct ksi_view_memo *memo)
{
    struct ksi_record r;
    struct ks_span span;
    ksi_record_read(g, d->pos[d->next], &r);
    KS_TRY(ksi_span_view(g, &g->slots[at], &r, memo, &d->arena, &span));
    ks_batch_copy_span(&d->batch, &span, &d->memo);
    KS_TRY(d->batch.err);
    d->batch.traces[d->batch.spans[d->batch.spans_count - 1].trace].seq = g->first_seq + at;
    d->next++;
    return KS_OK;
}

/*
 * Fills the batch from slot *at on, under the lock. Spans that come to slots dumped already while
 * the lock is given up are replayed from the log, as is what later slots get meanwhile: those are
 * there twice then, which readers do not see.
 */
static ks_err fill(struct dump *d, const struct ksi_gen *g, size_t *at)
{
    struct ksi_view_memo memo;
    ks_arena_reset(&d->arena);
    KS_TRY(ksi_view_memo_init(&memo, g, &d->arena));
    size_t from = d->next;
    if (*at < g->slot_count) {
        KS_TRY(list_spans(d, g, *at));
        d->next = from > d->next ? from : d->next;
    }
    while (*at < g->slot_count && !ks_batch_full(&d->batch)) {
        if (d->next < d->count) {
            KS_TRY(dump_span(d, g, *at, &memo));
            continue;
        }
        d->next = d->count = 0;
        if (++*at < g->slot_count)
            KS_TRY(list_spans(d, g, *at));
    }
    return KS_OK;
}

static ks_err dump_pins(struct dump *d, struct ksi_gen *g)
{
    ks_err err = KS_OK;
    pthread_rwlock_rdlock(&g->lock);
    for (size_t i = 0; i < g->slot_count && err == KS_OK; i++)
        if (g->slots[i].flags & KSI_SLOT_PINNED)
            err = d->d->pin(d->d->arg, d->tenant, g->slots[i].id);
    pthread_rwlock_unlock(&g->lock);
    return err;
}

static ks_err dump_gen(struct dump *d, struct ksi_gen *g, uint64_t first_live, uint64_t lsn)
{
    size_t at = first_live > g->first_seq ? (size_t)(first_live - g->first_seq) : 0;
    pthread_rwlock_rdlock(&g->lock);
    lsn = g->lsn > lsn ? g->lsn : lsn;
    pthread_rwlock_unlock(&g->lock);
    KS_TRY(d->d->generation(d->d->arg, d->tenant, d->kept, g->first_seq, lsn, g->base_ns));
    d->next = d->count = 0;
    for (bool more = true; more;) {
        dump_reset(d);
        pthread_rwlock_rdlock(&g->lock);
        ks_err err = fill(d, g, &at);
        more = at < g->slot_count;
        pthread_rwlock_unlock(&g->lock);
        KS_TRY(err);
        KS_TRY(dump_flush(d));
    }
    return d->d->pin ? dump_pins(d, g) : KS_OK;
}

struct tenant_list {
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

static void add_tenant(void *arg, struct ks_tenant id)
{
    struct tenant_list *l = arg;
    if (l->err == KS_OK)
        l->err = ks_array_reserve((void **)&l->items, &l->cap, l->count + 1, sizeof *l->items);
    if (l->err == KS_OK)
        l->items[l->count++] = id;
}

/* One ring of a tenant, oldest generation first. */
static ks_err dump_ring(struct ks_traces *t, struct dump *d, uint64_t lsn)
{
    struct ksi_view v;
    KS_TRY(ksi_view_take(t, d->tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = v.count; i-- > 0 && err == KS_OK;)
        if (v.is_kept[i] == d->kept)
            err = dump_gen(d, v.gens[i], v.first_live[i], lsn);
    ksi_view_release(&v);
    return err;
}

ks_err ks_traces_dump(struct ks_traces *t, const struct ks_traces_dump *cb)
{
    struct dump d = {.d = cb};
    struct tenant_list list = {0};
    uint64_t lsn = ks_traces_lsn(t);
    ks_batch_init(&d.batch);
    ks_arena_init(&d.arena, DUMP_ARENA_BYTES);
    ks_traces_tenants(t, add_tenant, &list);
    ks_err err = list.err;
    for (unsigned kept = 0; kept < 2; kept++)
        for (size_t i = 0; i < list.count && err == KS_OK; i++) {
            d.tenant = list.items[i];
            d.kept = kept != 0;
            err = dump_ring(t, &d, lsn);
        }
    ks_batch_done(&d.batch);
    ks_arena_done(&d.arena);
    ks_free(list.items);
    return err;
}
