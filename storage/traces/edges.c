/*
 * Calls between services: edges from a span's parent, found by span id within the trace, summed per
 * generation and trace minute. A generation's sums are kept until it changes, and made ahead of any
 * question once it is no longer the newest (ks_traces_settle): a question costs the work of the
 * newest generations only.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"
#include "sys/thread.h"

#define MINUTE_NS 60000000000ull

struct edge {
    uint32_t parent, child; /* resources, later services by number of a list */
    uint64_t minute;
    uint64_t calls;
};

/* In one block: the header and its edges. */
struct ksi_edges {
    uint64_t spans, first_live; /* of the generation when this was computed */
    size_t count;
    struct edge items[];
};

struct span_ref {
    uint64_t span_id, parent_id;
    uint32_t resource;
};

struct tally {
    struct edge *items;
    size_t count, cap, mask;
    uint32_t *slots;
};

static uint64_t edge_hash(uint32_t parent, uint32_t child, uint64_t minute)
{
    return ks_mix64(((uint64_t)parent << 32 | child) ^ ks_mix64(minute + 1));
}

static ks_err tally_grow(struct tally *t)
{
    size_t slots = t->slots ? (t->mask + 1) * 2 : 64;
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct edge *e = &t->items[i];
        size_t at = edge_hash(e->parent, e->child, e->minute) & (slots - 1);
        while (fresh[at])
            at = (at + 1) & (slots - 1);
        fresh[at] = i + 1;
    }
    ks_free(t->slots);
    t->slots = fresh;
    t->mask = slots - 1;
    return KS_OK;
}

static ks_err tally_add(struct tally *t, uint32_t parent, uint32_t child, uint64_t minute,
                        uint64_t calls)
{
    if (!t->slots || (t->count + 1) * 2 > t->mask + 1)
        KS_TRY(tally_grow(t));
    size_t at = edge_hash(parent, child, minute) & t->mask;
    for (; t->slots[at]; at = (at + 1) & t->mask) {
        struct edge *e = &t->items[t->slots[at] - 1];
        if (e->parent == parent && e->child == child && e->minute == minute) {
            e->calls += calls;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&t->items, &t->cap, t->count + 1, sizeof *t->items));
    t->items[t->count] = (struct edge){parent, child, minute, calls};
    t->slots[at] = (uint32_t)++t->count;
    return KS_OK;
}

static void tally_done(struct tally *t)
{
    ks_free(t->items);
    ks_free(t->slots);
}

/* --- a generation --- */
struct walk {
    struct span_ref *spans;
    size_t count, cap;
    uint32_t *slots; /* by span id */
    size_t slot_cap;
};

enum { FEW_SPANS = 24 }; /* so many are looked through faster than a table is filled */

/* The number + 1 of the span with this id, 0: none. A table of mask + 1 places, or a short list. */
static uint32_t walk_find(const struct walk *w, uint64_t id, size_t mask, size_t *ret_at)
{
    if (!mask) {
        for (uint32_t i = 0; i < w->count; i++)
            if (w->spans[i].span_id == id)
                return i + 1;
        return 0;
    }
    size_t at = ks_mix64(id) & mask;
    while (w->slots[at] && w->spans[w->slots[at] - 1].span_id != id)
        at = (at + 1) & mask;
    *ret_at = at;
    return w->slots[at];
}

static ks_err trace_edges(const struct ksi_data *g, const struct ksi_slot *slot,
                          struct ksi_filter *filter, struct walk *w, struct tally *t)
{
    size_t n = 64, mask = 0, at = 0;
    uint64_t minute = slot->min_start_ns / MINUTE_NS;
    w->count = 0;
    KS_TRY(ks_array_reserve((void **)&w->spans, &w->cap, slot->spans, sizeof *w->spans));
    if (slot->spans > FEW_SPANS) {
        while (n < (size_t)slot->spans * 2)
            n *= 2;
        KS_TRY(ks_array_reserve((void **)&w->slots, &w->slot_cap, n, sizeof *w->slots));
        memset(w->slots, 0, n * sizeof *w->slots);
        mask = n - 1;
    }
    for (uint32_t pos = slot->tail, prev; pos != KSI_NONE; pos = prev) {
        struct span_ref *s = &w->spans[w->count];
        prev = ksi_record_call(g, pos, &s->span_id, &s->parent_id, &s->resource);
        if ((filter && !ksi_filter_fits(filter, pos)) || walk_find(w, s->span_id, mask, &at))
            continue; /* the latter: sent twice */
        w->count++;
        if (mask)
            w->slots[at] = (uint32_t)w->count;
    }
    for (size_t i = 0; i < w->count; i++) {
        uint64_t parent = w->spans[i].parent_id;
        uint32_t k = parent ? walk_find(w, parent, mask, &at) : 0;
        if (k)
            KS_TRY(tally_add(t, w->spans[k - 1].resource, w->spans[i].resource, minute, 1));
    }
    return KS_OK;
}

/* From resources to services: the first resource with the same service stands for it. */
static ks_err by_service(const struct ksi_data *g, const struct tally *from, struct tally *to)
{
    size_t slots = 16;
    while (slots < g->resources_count * 2)
        slots *= 2;
    uint32_t *table = ks_zalloc_array(slots, sizeof *table);
    uint32_t *first = ks_alloc_array(g->resources_count + 1, sizeof *first);
    ks_err err = table && first ? KS_OK : KS_ENOMEM;
    for (uint32_t i = 0; err == KS_OK && i < g->resources_count; i++) {
        const struct ksi_process *r = &g->resources[i];
        size_t at = r->service_hash & (slots - 1);
        while (table[at] && !ks_slice_eq(g->resources[table[at] - 1].service, r->service))
            at = (at + 1) & (slots - 1);
        if (!table[at])
            table[at] = i + 1;
        first[i] = table[at] - 1;
    }
    for (size_t i = 0; err == KS_OK && i < from->count; i++) {
        const struct edge *e = &from->items[i];
        err = tally_add(to, first[e->parent], first[e->child], e->minute, e->calls);
    }
    ks_free(table);
    ks_free(first);
    return err;
}

static ks_err all_edges(struct ksi_look *l, uint64_t first_live, struct ksi_filter *filter,
                        struct walk *w, struct tally *resources)
{
    struct ksi_slot slots[KSI_SLOTS_PER_LOOK];
    size_t at = first_live > l->d.first_seq ? (size_t)(first_live - l->d.first_seq) : 0;
    for (size_t n; (n = ksi_look_slots(l, at, KSI_SLOTS_PER_LOOK, slots)); at += n) {
        for (size_t i = 0; i < n; i++)
            if (slots[i].spans)
                KS_TRY(trace_edges(&l->d, &slots[i], filter, w, resources));
        ks_thread_breathe();
    }
    return KS_OK;
}

static ks_err compute(struct ksi_look *l, uint64_t first_live, struct ksi_filter *filter,
                      struct ksi_edges **ret)
{
    struct tally resources = {0}, services = {0};
    struct walk w = {0};
    uint64_t spans = l->d.spans; /* what comes meanwhile is for the next time */
    ks_err err = all_edges(l, first_live, filter, &w, &resources);
    if (err == KS_OK)
        err = by_service(&l->d, &resources, &services);
    if (err == KS_OK) {
        *ret = ks_alloc(sizeof **ret + services.count * sizeof(struct edge));
        err = *ret ? KS_OK : KS_ENOMEM;
    }
    if (err == KS_OK) {
        **ret = (struct ksi_edges){spans, first_live, services.count};
        if (services.count)
            memcpy((*ret)->items, services.items, services.count * sizeof(struct edge));
    }
    ks_free(w.spans);
    ks_free(w.slots);
    tally_done(&resources);
    tally_done(&services);
    return err;
}

/* --- the answer --- */
struct sum {
    struct ks_edge *items;
    size_t count, cap;
    uint32_t *slots;
    size_t mask;
};

static uint64_t names_hash(struct ks_slice parent, struct ks_slice child)
{
    return ks_mix64(ks_hash64(parent.ptr, parent.len)) + ks_hash64(child.ptr, child.len);
}

static ks_err sum_grow(struct sum *s)
{
    size_t slots = s->slots ? (s->mask + 1) * 2 : 64;
    uint32_t *fresh = ks_zalloc_array(slots, sizeof *fresh);
    if (!fresh)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < s->count; i++) {
        size_t at = names_hash(s->items[i].parent, s->items[i].child) & (slots - 1);
        while (fresh[at])
            at = (at + 1) & (slots - 1);
        fresh[at] = i + 1;
    }
    ks_free(s->slots);
    s->slots = fresh;
    s->mask = slots - 1;
    return KS_OK;
}

static ks_err sum_add(struct sum *s, struct ks_slice parent, struct ks_slice child, uint64_t calls,
                      struct ks_arena *arena)
{
    if (!s->slots || (s->count + 1) * 2 > s->mask + 1)
        KS_TRY(sum_grow(s));
    size_t at = names_hash(parent, child) & s->mask;
    for (; s->slots[at]; at = (at + 1) & s->mask) {
        struct ks_edge *e = &s->items[s->slots[at] - 1];
        if (ks_slice_eq(e->parent, parent) && ks_slice_eq(e->child, child)) {
            e->calls += calls;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&s->items, &s->cap, s->count + 1, sizeof *s->items));
    struct ks_edge e = {ks_arena_dup(arena, parent), ks_arena_dup(arena, child), calls};
    if (!e.parent.ptr || !e.child.ptr)
        return ks_arena_err(arena);
    s->items[s->count] = e;
    s->slots[at] = (uint32_t)++s->count;
    return KS_OK;
}

struct question {
    uint64_t min_minute, max_minute;
    const struct ks_trace_query *filter;
    bool self;
};

static ks_err add_edges(const struct ksi_data *g, const struct ksi_edges *edges,
                        const struct question *q, struct sum *s, struct ks_arena *arena)
{
    for (size_t i = 0; i < edges->count; i++) {
        const struct edge *e = &edges->items[i];
        if ((q->self || e->parent != e->child) && e->minute >= q->min_minute &&
            e->minute <= q->max_minute)
            KS_TRY(sum_add(s, g->resources[e->parent].service, g->resources[e->child].service,
                           e->calls, arena));
    }
    return KS_OK;
}

/* What only spans that fit a filter make is not kept. */
static ks_err filtered(struct ksi_look *l, uint64_t first_live, const struct question *q,
                       struct sum *s, struct ks_arena *arena)
{
    struct ksi_edges *edges = NULL;
    struct ksi_filter *f;
    KS_TRY(ksi_filter_new(q->filter, &l->d, &f));
    if (!f)
        return KS_OK;
    ks_err err = compute(l, first_live, f, &edges);
    if (err == KS_OK)
        err = add_edges(&l->d, edges, q, s, arena);
    ks_free(edges);
    ksi_filter_free(f);
    return err;
}

/* Of these: the generation's edges_lock held. */
static bool is_settled(const struct ksi_look *l, uint64_t first_live)
{
    const struct ksi_edges *e = l->g->edges;
    return e && e->spans == l->d.spans && e->first_live == first_live;
}

static ks_err settle(struct ksi_look *l, uint64_t first_live)
{
    struct ksi_edges *fresh = NULL;
    KS_TRY(compute(l, first_live, NULL, &fresh));
    ks_free(l->g->edges);
    l->g->edges = fresh;
    return KS_OK;
}

static ks_err kept(struct ksi_look *l, uint64_t first_live, const struct question *q, struct sum *s,
                   struct ks_arena *arena)
{
    if (!is_settled(l, first_live))
        KS_TRY(settle(l, first_live));
    return add_edges(&l->d, l->g->edges, q, s, arena);
}

/* --- ahead of questions --- */
static ks_err settle_tenant(struct ks_traces *t, struct ks_tenant tenant, size_t *left)
{
    struct ksi_view v;
    KS_TRY(ksi_view_take(t, tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = 1; i < v.count && *left && err == KS_OK; i++) { /* not the newest */
        struct ksi_gen *g = v.gens[i];
        uint64_t first = v.first_live[i] > g->first_seq ? v.first_live[i] : g->first_seq;
        pthread_mutex_lock(&g->edges_lock);
        struct ksi_look l;
        ksi_look_begin(&l, g);
        if (!is_settled(&l, first)) {
            err = settle(&l, first);
            --*left;
        }
        ksi_look_end(&l);
        pthread_mutex_unlock(&g->edges_lock);
    }
    ksi_view_release(&v);
    return err;
}

ks_err ks_traces_settle(struct ks_traces *t, size_t max)
{
    size_t left = max;
    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&t->lock);
        bool more = i < t->tenant_count && left && t->settled_spans != t->stats.spans_total;
        struct ks_tenant id = more ? t->tenants[i]->id : (struct ks_tenant){0};
        if (!more && left && i == t->tenant_count)
            t->settled_spans = t->stats.spans_total;
        pthread_mutex_unlock(&t->lock);
        if (!more)
            return KS_OK;
        KS_TRY(settle_tenant(t, id, &left));
    }
}

static ks_err add_gen(struct ksi_gen *g, uint64_t first_live, const struct question *q,
                      struct sum *s, struct ks_arena *arena)
{
    if (first_live < g->first_seq)
        first_live = g->first_seq;
    pthread_mutex_lock(&g->edges_lock);
    struct ksi_look l;
    ksi_look_begin(&l, g);
    ks_err err =
        q->filter ? filtered(&l, first_live, q, s, arena) : kept(&l, first_live, q, s, arena);
    ksi_look_end(&l);
    pthread_mutex_unlock(&g->edges_lock);
    return err;
}

static int by_names(const void *a, const void *b)
{
    const struct ks_edge *x = a, *y = b;
    int c = ks_slice_cmp(x->parent, y->parent);
    return c ? c : ks_slice_cmp(x->child, y->child);
}

ks_err ks_traces_edges(struct ks_traces *t, struct ks_tenant tenant, uint64_t min_start_ns,
                       uint64_t max_start_ns, const struct ks_trace_query *filter, bool self,
                       struct ks_arena *arena, struct ks_edge **ret, size_t *ret_count)
{
    struct question q = {min_start_ns / MINUTE_NS, max_start_ns / MINUTE_NS, filter, self};
    struct ksi_view v;
    struct sum s = {0};
    KS_TRY(ksi_view_take(t, tenant, &v));
    ks_err err = KS_OK;
    for (size_t i = 0; i < v.count && err == KS_OK; i++)
        err = add_gen(v.gens[i], v.first_live[i], &q, &s, arena);
    ksi_view_release(&v);
    *ret_count = s.count;
    *ret = ks_arena_array(arena, s.count + 1, sizeof **ret);
    if (err == KS_OK && !*ret)
        err = ks_arena_err(arena);
    if (err == KS_OK && s.count) {
        memcpy(*ret, s.items, s.count * sizeof *s.items);
        qsort(*ret, s.count, sizeof **ret, by_names);
    }
    ks_free(s.items);
    ks_free(s.slots);
    return err;
}
