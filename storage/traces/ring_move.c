/*
 * Moving the oldest trace of a ring to the second one, some spans with every write: a trace may
 * have as many as -traces.maxSpansPerTrace, and nobody waits for all of them.
 *
 * The copy is hidden until it is whole (its slot has no spans), and the trace stays in its ring
 * meanwhile: spans that still come are copied in another round. A ring holds some traces more than
 * it should while one of them moves.
 */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

enum { STEPS_PER_SPAN = 8 }; /* a step back in the list of spans, beside copying one */

struct ksi_move {
    uint64_t from_seq;
    struct ksi_gen *to; /* a reference; NULL: it failed, or the copy is there already */
    uint64_t to_seq;
    struct ksi_place place; /* of the copy, with its slot to be */
    uint32_t *list;         /* positions of this round, newest first; the last are copied first */
    size_t count, cap;
    uint32_t walk;   /* where the list goes on, KSI_NONE: it is whole */
    uint32_t newest; /* of the rounds begun */
    uint32_t stop;   /* the newest of the rounds before */
};

void ksi_move_free(struct ksi_move *m)
{
    if (!m)
        return;
    ksi_gen_unref(m->to);
    ks_free(m->list);
    ks_free(m);
}

static void begin_round(struct ksi_move *m, uint32_t tail)
{
    m->stop = m->newest;
    m->walk = m->newest = tail;
    m->count = 0;
}

static ks_err open_copy(struct ks_traces *t, struct ksi_tenant *tn, const struct ksi_slot *s,
                        struct ksi_move *m)
{
    struct ksi_ring *r = &tn->rings[KSI_KEPT];
    if (ksi_ring_find(t, r, s->id))
        return KS_OK; /* a snapshot had it already */
    KS_TRY(ksi_ring_add(t, tn, r, s->id, s->min_start_ns, &m->to_seq));
    m->place = (struct ksi_place){.hidden = true};
    m->place.gen = ksi_ring_gen(r, m->to_seq, &m->place.slot);
    m->place.work = (struct ksi_slot){.id = s->id,
                                      .min_start_ns = UINT64_MAX,
                                      .tail = KSI_NONE,
                                      .refused = s->refused,
                                      .flags = s->flags & KSI_SLOT_LATE};
    m->to = ksi_gen_ref(m->place.gen);
    return KS_OK;
}

static struct ksi_move *move_of(struct ks_traces *t, struct ksi_tenant *tn,
                                const struct ksi_slot *s)
{
    uint64_t seq = tn->rings[KSI_MAIN].first_seq;
    if (tn->move && tn->move->from_seq == seq)
        return tn->move;
    struct ksi_move *m = ks_zalloc(sizeof *m);
    if (!m)
        return NULL;
    ksi_move_free(tn->move);
    tn->move = m;
    m->from_seq = seq;
    m->newest = KSI_NONE;
    if (open_copy(t, tn, s, m) != KS_OK)
        m->to = NULL;
    begin_round(m, s->tail);
    return m;
}

/* Positions up to where the round before began. */
static ks_err list_some(struct ks_traces *t, const struct ksi_data *d, struct ksi_move *m)
{
    size_t steps =
        t->moves_left > SIZE_MAX / STEPS_PER_SPAN ? SIZE_MAX : t->moves_left * STEPS_PER_SPAN;
    size_t done = 0;
    for (; m->walk != m->stop && done < steps; done++) {
        uint64_t id, parent;
        uint32_t resource;
        KS_TRY(ks_array_reserve((void **)&m->list, &m->cap, m->count + 1, sizeof *m->list));
        m->list[m->count++] = m->walk;
        m->walk = ksi_record_call(d, m->walk, &id, &parent, &resource);
    }
    t->moves_left -= done / STEPS_PER_SPAN;
    return KS_OK;
}

static ks_err copy_some(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                        const struct ksi_slot *s, struct ksi_move *m)
{
    struct ksi_view_memo memo;
    struct ks_batch_memo copied = {0};
    struct ks_traces_result res;
    ks_arena_reset(&t->kept_arena);
    ks_batch_reset(&t->kept_batch, tn->id);
    KS_TRY(ksi_view_memo_init(&memo, &g->d, &t->kept_arena));
    while (m->count && t->moves_left && !ks_batch_full(&t->kept_batch)) {
        struct ksi_record rec;
        struct ks_span span;
        ksi_record_read(&g->d, m->list[m->count - 1], &rec);
        KS_TRY(ksi_span_view(&g->d, s, &rec, &memo, &t->kept_arena, &span));
        ks_batch_copy_span(&t->kept_batch, &span, &copied);
        m->count--;
        t->moves_left--;
    }
    KS_TRY(t->kept_batch.err);
    m->place.done = false;
    ks_err err = ksi_store(t, tn, &t->kept_batch, &m->place, t->lsn, &res);
    ksi_lock(t);
    t->stats.spans += res.stored;
    t->stats.moved_spans_total += res.stored;
    ksi_unlock(t);
    return err;
}

/* Whether all that was asked for is done: the trace has no spans but those copied. */
static ks_err some(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                   const struct ksi_slot *s, struct ksi_move *m, bool *ret_done)
{
    for (;;) {
        KS_TRY(list_some(t, &g->d, m));
        if (m->walk == m->stop)
            while (m->count && t->moves_left)
                KS_TRY(copy_some(t, tn, g, s, m));
        *ret_done = m->walk == m->stop && !m->count && m->newest == s->tail;
        if (*ret_done || !t->moves_left)
            return KS_OK;
        if (m->walk == m->stop && !m->count)
            begin_round(m, s->tail);
    }
}

bool ksi_move_some(struct ks_traces *t, struct ksi_tenant *tn, struct ksi_gen *g,
                   const struct ksi_slot *s)
{
    struct ksi_move *m = move_of(t, tn, s);
    bool done = true;
    if (!m || !m->to)
        return true; /* without memory it is lost as any other */
    bool there = m->to_seq >= tn->rings[KSI_KEPT].first_seq; /* or the second ring was too full */
    if (there && some(t, tn, g, s, m, &done) == KS_OK)
        return done;
    ksi_gen_unref(m->to);
    m->to = NULL;
    return true;
}

bool ksi_move_finish(struct ksi_tenant *tn)
{
    struct ksi_move *m = tn->move;
    bool whole = m && m->to;
    tn->move = NULL;
    if (whole) {
        m->place.hidden = false;
        ksi_gen_publish_places(m->to, &m->place, 1);
    }
    ksi_move_free(m);
    return whole;
}
