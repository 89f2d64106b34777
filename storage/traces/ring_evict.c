/*
 * Eviction, the second ring, the budget of bytes. The writer's work, in steps that a batch of spans
 * pays for: what is over the budget goes some traces at a time, and the memory of a generation that
 * is gone is given back after the locks are.
 */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

/* Traces that one write may evict for the budget; much over it there is no bound. */
enum { EVICTED_PER_WRITE = 256, REAPED_PER_WRITE = 2 };

void ksi_follow_bytes(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g)
{
    uint64_t now = atomic_load_explicit(&g->bytes, memory_order_relaxed);
    t->bytes += now - g->counted_bytes;
    tn->bytes += now - g->counted_bytes;
    g->counted_bytes = now;
}

void ksi_gen_drop_names(struct ksi_tenant *tn, struct ksi_gen *g)
{
    for (size_t i = 0; g->ops && i <= g->ops_mask; i++)
        if (g->ops[i].op)
            ksi_names_drop(&tn->names, g->ops[i].op);
}

static void drop_first_gen(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    struct ksi_gen *g = r->gens[0];
    ksi_follow_bytes(t, tn, g);
    t->bytes -= g->counted_bytes;
    tn->bytes -= g->counted_bytes;
    t->stats.spans -= g->spans;
    t->stats.generations--;
    r->gen_count--;
    memmove(r->gens, r->gens + 1, r->gen_count * sizeof *r->gens);
    atomic_fetch_add(&tn->refs, 1);
    g->dead_of = tn;
    g->next_dead = NULL;
    *(t->dead_tail ? &t->dead_tail->next_dead : &t->dead) = g;
    t->dead_tail = g;
}

/* Frees generations dropped; the caller holds no lock. */
void ksi_reap(struct ks_traces *t, size_t max)
{
    for (size_t n = 0; n < max; n++) {
        pthread_mutex_lock(&t->lock);
        struct ksi_gen *g = t->dead;
        if (g)
            t->dead = g->next_dead;
        if (!t->dead)
            t->dead_tail = NULL;
        pthread_mutex_unlock(&t->lock);
        if (!g)
            return;
        ksi_gen_drop_names(g->dead_of, g);
        ksi_tenant_unref(g->dead_of);
        ksi_gen_unref(g);
    }
}

void ksi_reap_some(struct ks_traces *t)
{
    ksi_reap(t, REAPED_PER_WRITE);
}

/* --- the second ring --- */
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
    KS_TRY(ksi_view_memo_init(&memo, &g->d, &t->kept_arena));
    while (*pos != KSI_NONE && !ks_batch_full(&t->kept_batch)) {
        struct ksi_record rec;
        struct ks_span span;
        ksi_record_read(&g->d, *pos, &rec);
        KS_TRY(ksi_span_view(&g->d, slot, &rec, &memo, &t->kept_arena, &span));
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
        ks_err err = ksi_store(t, tn, &t->kept_batch, &place, t->lsn, &ignored);
        t->stats.spans += ignored.stored;
        KS_TRY(err);
    }
    t->stats.kept_total++;
    return KS_OK;
}

/* The oldest trace goes. */
void ksi_evict_one(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    uint32_t at;
    struct ksi_gen *g = ksi_ring_gen(r, r->first_seq, &at);
    struct ksi_slot *s = &g->slots[at];
    bool main = r == &tn->rings[KSI_MAIN];
    if (!ks_trace_id_zero(s->id)) {
        ksi_ring_unindex(t, r, s->id, r->first_seq);
        if (main && worth_keeping(t, s))
            (void)!keep(t, tn, g, at); /* without memory it is lost as any other */
        else if (main)
            ksi_evicted_note(t, tn, s->id);
        t->stats.evicted_traces_total++;
    }
    r->first_seq++;
    if (r->first_seq >= g->first_seq + g->slot_count)
        drop_first_gen(t, tn, r);
}

void ksi_ring_evict_to(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r, uint64_t seq)
{
    while (r->gen_count && r->first_seq < seq && r->first_seq < r->next_seq)
        ksi_evict_one(t, tn, r);
}

static struct ksi_tenant *largest_tenant(const struct ks_traces *t)
{
    struct ksi_tenant *largest = NULL;
    for (size_t i = 0; i < t->tenant_count; i++)
        if (t->tenants[i]->bytes > (largest ? largest->bytes : 0))
            largest = t->tenants[i];
    return largest;
}

/* Over the budget the largest tenant loses its oldest generation, some traces with every write. */
void ksi_keep_bytes(struct ks_traces *t)
{
    uint64_t max = t->opts.max_bytes;
    size_t left = EVICTED_PER_WRITE;
    while (t->bytes > max && (left || t->bytes > max + max / 16)) {
        struct ksi_tenant *tn = largest_tenant(t);
        if (!tn)
            return;
        struct ksi_ring *r = &tn->rings[KSI_MAIN], *kept = &tn->rings[KSI_KEPT];
        if (!r->gen_count || (kept->gen_count && kept->gen_count * 4 > r->gen_count))
            r = kept;
        uint64_t before = r->first_seq, end = r->gens[0]->first_seq + r->gens[0]->slot_count;
        if (left && end - before > left)
            end = before + left;
        ksi_ring_evict_to(t, tn, r, end);
        if (r->first_seq == before)
            return;
        t->stats.evicted_by_bytes_total += r->first_seq - before;
        left -= left < r->first_seq - before ? left : (size_t)(r->first_seq - before);
    }
}
