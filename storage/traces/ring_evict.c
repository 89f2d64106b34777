/*
 * Eviction, the second ring, the budget of bytes. The writer's work, in steps that a batch of spans
 * pays for: what is over the budget goes some traces at a time, and the memory of a generation that
 * is gone is given back after the locks are.
 */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

/* Traces that one write may evict for the budget; much over it there is no bound. */
enum { EVICTED_PER_WRITE = 256, REAPED_PER_WRITE = 2, OVER_MAX = 1 << 15 };

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

/* --- the oldest trace goes --- */
/* What a slot says; a pin may come at any time before the lock is had. */
static struct ksi_slot slot_of(struct ksi_gen *g, uint32_t at)
{
    ksi_mutex_lock(&g->lock);
    struct ksi_slot s = g->slots[at];
    pthread_mutex_unlock(&g->lock);
    return s;
}

static bool worth_keeping(const struct ks_traces *t, const struct ksi_slot *s)
{
    return s->spans &&
           ((s->flags & KSI_SLOT_PINNED) || (t->opts.keep_errors && (s->flags & KSI_SLOT_ERROR)) ||
            (t->opts.keep_duration_ns && s->max_duration_ns >= t->opts.keep_duration_ns));
}

/* The copy, if there is one, and the cursor change places in one moment for readers. */
static bool go_locked(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r,
                      struct ksi_gen *g, uint32_t at, bool asked)
{
    struct ksi_slot *s = &g->slots[at];
    if (!asked && (s->flags & KSI_SLOT_PINNED) && r == &tn->rings[KSI_MAIN])
        return false; /* pinned just now */
    if (!ks_trace_id_zero(s->id)) {
        ksi_ring_unindex(t, r, s->id, r->first_seq);
        t->stats.evicted_traces_total++;
    }
    if (asked && ksi_move_finish(tn))
        t->stats.kept_total++;
    r->first_seq++;
    if (r->first_seq >= g->first_seq + g->slot_count)
        drop_first_gen(t, tn, r);
    return true;
}

/* False: the trace is on its way to the second ring, and there is no more to be done in this
 * write. */
static bool evict_step(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    bool main = r == &tn->rings[KSI_MAIN], gone = false;
    uint32_t at;
    struct ksi_gen *g = ksi_ring_gen(r, r->first_seq, &at);
    while (!gone) {
        struct ksi_slot s = slot_of(g, at);
        bool keep = main && !ks_trace_id_zero(s.id) && worth_keeping(t, &s);
        if (keep && !ksi_move_some(t, tn, g, &s))
            return false;
        if (main && !keep && !ks_trace_id_zero(s.id))
            ksi_evicted_note(t, tn, s.id);
        ksi_lock(t);
        gone = go_locked(t, tn, r, g, at, keep);
        ksi_unlock(t);
    }
    return true;
}

/* Further behind than this a trace is moved at once. */
static bool far_over(const struct ksi_ring *r)
{
    return r->next_seq - r->first_seq >= (uint64_t)r->max_traces + OVER_MAX;
}

void ksi_make_room(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r)
{
    while (r->next_seq - r->first_seq >= r->max_traces) {
        if (far_over(r))
            t->moves_left = SIZE_MAX;
        if (!evict_step(t, tn, r))
            return;
    }
}

void ksi_ring_evict_to(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_ring *r, uint64_t seq)
{
    while (r->gen_count && r->first_seq < seq && r->first_seq < r->next_seq)
        if (!evict_step(t, tn, r))
            return;
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
        if (t->bytes > max + max / 16)
            t->moves_left = SIZE_MAX;
        uint64_t before = r->first_seq, end = r->gens[0]->first_seq + r->gens[0]->slot_count;
        if (left && end - before > left)
            end = before + left;
        ksi_ring_evict_to(t, tn, r, end);
        if (r->first_seq == before)
            return;
        ksi_lock(t);
        t->stats.evicted_by_bytes_total += r->first_seq - before;
        ksi_unlock(t);
        left -= left < r->first_seq - before ? left : (size_t)(r->first_seq - before);
    }
}
