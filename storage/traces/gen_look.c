/*
 * What the writer of a generation publishes, and readers' looks at it.
 *
 * The lock is held to copy about a kilobyte and some slots, by either side: a reader never waits
 * for a batch to be packed, nor the writer for a search. An array that was replaced by a larger one
 * is freed by the first publication that nobody looks during.
 */
#include "base/mem.h"
#include "storage/traces/ring_priv.h"

void ksi_look_begin(struct ksi_look *l, struct ksi_gen *g)
{
    l->g = g;
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add_explicit(&g->lookers, 1, memory_order_relaxed);
    l->d = g->pub;
    l->version = g->version;
    pthread_mutex_unlock(&g->lock);
}

void ksi_look_end(struct ksi_look *l)
{
    /* Pairs with publish: what was read is read before it may be freed. */
    atomic_fetch_sub_explicit(&l->g->lookers, 1, memory_order_release);
}

size_t ksi_look_slots(struct ksi_look *l, size_t first, size_t n, struct ksi_slot *out)
{
    struct ksi_gen *g = l->g;
    pthread_mutex_lock(&g->lock);
    if (l->version != g->version) {
        l->d = g->pub;
        l->version = g->version;
    }
    size_t left = first < l->d.slot_count ? l->d.slot_count - first : 0;
    n = n < left ? n : left;
    if (n)
        memcpy(out, g->slots + first, n * sizeof *out);
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* Under the lock: g->pub no longer has what is retired. */
static void publish(struct ksi_gen *g)
{
    g->pub = g->d;
    g->version++;
}

static void free_retired(struct ksi_gen *g, bool nobody_looked)
{
    if (!nobody_looked)
        return;
    uint64_t bytes = 0;
    for (size_t i = 0; i < g->retired_count; i++) {
        bytes += g->retired[i].bytes;
        ks_free(g->retired[i].ptr);
    }
    g->retired_count = 0;
    atomic_fetch_sub_explicit(&g->bytes, bytes, memory_order_relaxed);
}

/* All but the id, which does not change: lookups by id read it without this lock. */
static void put_slot(struct ksi_slot *s, const struct ksi_slot *from)
{
    s->min_start_ns = from->min_start_ns;
    s->max_end_ns = from->max_end_ns;
    s->max_duration_ns = from->max_duration_ns;
    s->services = from->services;
    s->tail = from->tail;
    s->spans = from->spans;
    s->refused = from->refused;
    s->flags |= from->flags; /* a pin may have come */
}

void ksi_gen_publish(struct ksi_gen *g)
{
    ksi_gen_publish_places(g, NULL, 0);
}

void ksi_gen_publish_places(struct ksi_gen *g, const struct ksi_place *places, size_t n)
{
    ksi_mutex_lock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        if (places[i].gen != g || places[i].hidden)
            continue;
        put_slot(&g->slots[places[i].slot], &places[i].work);
    }
    publish(g);
    bool nobody = atomic_load_explicit(&g->lookers, memory_order_acquire) == 0;
    pthread_mutex_unlock(&g->lock);
    if (g->retired_count)
        free_retired(g, nobody);
}

/* One place is always left, for the dictionary's table that is being emptied. */
ks_err ksi_gen_retire_room(struct ksi_gen *g)
{
    return ks_array_reserve((void **)&g->retired, &g->retired_cap, g->retired_count + 2,
                            sizeof *g->retired);
}

void ksi_gen_retire(struct ksi_gen *g, void *ptr, size_t bytes)
{
    if (!ptr)
        return;
    KS_ASSERT(g->retired_count < g->retired_cap);
    g->retired[g->retired_count++] = (struct ksi_retired){ptr, bytes};
}
