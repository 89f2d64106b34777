/* Replay of the log, and snapshots of version 1, which were batches. Later ones: image_load.c. */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

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
    if (seq == KSI_SEQ_KEPT || (seq && seq < r->first_seq)) {
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
    bool late = false;
    if (ks_trace_id_zero(s->id)) {
        late = ksi_evicted_has(t, tn, b->traces[i].id);
        s->id = b->traces[i].id;
        KS_TRY(ksi_ring_index(t, r, s->id, seq));
    }
    if (!ks_trace_id_eq(s->id, b->traces[i].id))
        return ks_fail(KS_ECORRUPT, "two traces have the number %llu", (unsigned long long)seq);
    if (lsn > g->snap_lsn || !lsn)
        *ret = (struct ksi_place){.gen = g, .slot = slot, .late = late};
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
    ksi_writer_enter(t);
    ks_err err = replay(t, b, lsn);
    ksi_writer_leave(t);
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
    ksi_writer_enter(t);
    ks_err err = ksi_tenant_get(t, tenant, &tn);
    if (err == KS_OK)
        err = load_generation(t, tn, kept, first_seq, lsn, base_ns);
    ksi_writer_leave(t);
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
    ksi_writer_enter(t);
    ks_err err = load_batch(t, b, b->evicted_to == KSI_SEQ_KEPT);
    ksi_writer_leave(t);
    return err;
}
