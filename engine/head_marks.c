#include "engine/head_marks.h"

#include <string.h>

/* A place in the slab. */
struct mark {
    uint64_t bits;
    uint32_t since_first_ms, delta_ms; /* a chunk spans less than a day */
    uint32_t pos;
    uint16_t count; /* 0: none */
    uint8_t lead, sig;
};
_Static_assert(sizeof(struct mark) == KSI_MARK_BYTES, "slabs have room for these");

static uint8_t *ring(const struct ksi_slab *b)
{
    return (uint8_t *)b->data + b->cap;
}

static void store(struct ksi_slab *b, const struct ks_gorilla_place *p)
{
    uint64_t since = p->ts - (uint64_t)ks_gorilla_first_ts(b->data);
    if (since > UINT32_MAX || p->delta > UINT32_MAX)
        return;
    struct mark m = {.bits = p->bits,
                     .since_first_ms = (uint32_t)since,
                     .delta_ms = (uint32_t)p->delta,
                     .pos = p->pos,
                     .count = p->count,
                     .lead = p->lead,
                     .sig = p->sig};
    struct mark all[KSI_MARKS_MAX];
    unsigned n = ksi_marks(b->cap), oldest = 0;
    memcpy(all, ring(b), n * sizeof m);
    for (unsigned i = 1; i < n; i++)
        oldest = all[i].count < all[oldest].count ? i : oldest;
    memcpy(ring(b) + oldest * sizeof m, &m, sizeof m);
}

/* No mark is valid in fresh memory. */
static void clear(struct ksi_slab *b)
{
    memset(ring(b), 0, ksi_marks_bytes(b->cap));
}

void ksi_marks_moved(struct ksi_slab *b, size_t old, const uint8_t *marks)
{
    size_t now = ksi_marks_bytes(b->cap), before = ksi_marks_bytes(old);
    clear(b);
    memcpy(ring(b), marks, before < now ? before : now);
}

static void due_at(struct ksi_series *x, unsigned count)
{
    _Static_assert((KSI_CHUNK_SAMPLES + 64) / 4 <= UINT8_MAX, "what is due is told in a byte");
    x->g.mark_due4 = (uint8_t)((count + 3) / 4);
}

void ksi_marks_note(struct ksi_series *x)
{
    unsigned marks = ksi_marks(x->slab->cap);
    struct ks_gorilla_place p = ks_gorilla_end(&x->g);
    due_at(x, x->g.count + ksi_mark_every(marks));
    if (x->g.count == 1)
        clear(x->slab); /* they are of the chunk before */
    else if (marks)
        store(x->slab, &p);
}

void ksi_marks_make(struct ksi_series *x)
{
    unsigned stored = (unsigned)x->g.count - x->g.run, marks = ksi_marks(x->slab->cap),
             every = ksi_mark_every(marks);
    clear(x->slab);
    due_at(x, x->g.count + every);
    if (!marks)
        return;
    struct ks_gorilla_place p = ks_gorilla_begin(x->slab->data);
    while (p.count + every <= stored) {
        ks_gorilla_pass(&x->g, x->slab->data, every, &p);
        store(x->slab, &p);
    }
}

struct ks_gorilla_place ksi_marks_find(const struct ksi_series *x, int64_t min_ms)
{
    const struct ksi_slab *b = x->slab;
    int64_t first = ks_gorilla_first_ts(b->data);
    struct mark all[KSI_MARKS_MAX], best = {.count = 0};
    unsigned n = ksi_marks(b->cap);
    if (!n || min_ms <= first)
        return ks_gorilla_begin(b->data);
    uint64_t before = (uint64_t)min_ms - (uint64_t)first;
    memcpy(all, ring(b), n * sizeof *all);
    for (unsigned i = 0; i < n; i++)
        if (all[i].count > best.count && all[i].since_first_ms < before)
            best = all[i];
    if (!best.count)
        return ks_gorilla_begin(b->data);
    return (struct ks_gorilla_place){.ts = (uint64_t)first + best.since_first_ms,
                                     .bits = best.bits,
                                     .delta = best.delta_ms,
                                     .pos = best.pos,
                                     .count = best.count,
                                     .lead = best.lead,
                                     .sig = best.sig};
}
