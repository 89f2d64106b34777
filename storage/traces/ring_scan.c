/* Spans in pieces: see ring.h. A piece is a run of slots of one generation. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"
#include "storage/traces/span_equal.h"

struct piece {
    size_t gen; /* of the view */
    uint32_t first, end;
    struct ks_traces_piece info;
};
struct ks_traces_scan {
    struct ksi_view view;
    struct piece *pieces;
    size_t count, cap;
};

/* --- cutting --- */
static ks_err add_piece(struct ks_traces_scan *s, const struct piece *p)
{
    if (!p->info.spans)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&s->pieces, &s->cap, s->count + 1, sizeof *s->pieces));
    s->pieces[s->count++] = *p;
    return KS_OK;
}

static void widen(struct piece *p, const struct ksi_slot *slot)
{
    if (!slot->spans)
        return;
    if (!p->info.spans || slot->min_start_ns < p->info.min_start_ns)
        p->info.min_start_ns = slot->min_start_ns;
    if (!p->info.spans || slot->max_end_ns > p->info.max_end_ns)
        p->info.max_end_ns = slot->max_end_ns;
    p->info.spans += slot->spans;
}

static ks_err cut_gen(struct ks_traces_scan *s, size_t gen, uint32_t piece_spans)
{
    struct ksi_gen *g = s->view.gens[gen];
    uint64_t live = s->view.first_live[gen];
    uint32_t at = live > g->first_seq ? (uint32_t)(live - g->first_seq) : 0;
    struct piece p = {.gen = gen, .first = at};
    struct ksi_slot slots[KSI_SLOTS_PER_LOOK];
    struct ksi_look l;
    ks_err err = KS_OK;
    ksi_look_begin(&l, g);
    for (size_t n; err == KS_OK && (n = ksi_look_slots(&l, at, KSI_SLOTS_PER_LOOK, slots));)
        for (size_t i = 0; i < n && err == KS_OK; i++) {
            widen(&p, &slots[i]);
            p.end = ++at;
            if (p.info.spans >= piece_spans) {
                err = add_piece(s, &p);
                p = (struct piece){.gen = gen, .first = at};
            }
        }
    ksi_look_end(&l);
    return err == KS_OK ? add_piece(s, &p) : err;
}

ks_err ks_traces_scan_open(struct ks_traces *t, struct ks_tenant tenant, uint32_t piece_spans,
                           struct ks_traces_scan **ret)
{
    struct ks_traces_scan *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    ks_err err = ksi_view_take(t, tenant, &s->view);
    for (size_t i = 0; i < s->view.count && err == KS_OK; i++)
        err = cut_gen(s, i, piece_spans ? piece_spans : 1);
    if (err != KS_OK) {
        ks_traces_scan_close(s);
        return err;
    }
    *ret = s;
    return KS_OK;
}

void ks_traces_scan_close(struct ks_traces_scan *s)
{
    if (!s)
        return;
    ksi_view_release(&s->view);
    ks_free(s->pieces);
    ks_free(s);
}

size_t ks_traces_scan_count(const struct ks_traces_scan *s)
{
    return s->count;
}

struct ks_traces_piece ks_traces_scan_piece(const struct ks_traces_scan *s, size_t i)
{
    return s->pieces[i].info;
}

/* --- only some traces --- */
static int by_id(const void *pa, const void *pb)
{
    const struct ks_trace_id *a = pa, *b = pb;
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

static ks_err pick(struct ks_traces_scan *s, const struct piece *p, const struct ks_trace_id *ids,
                   size_t count)
{
    struct ksi_slot slots[KSI_SLOTS_PER_LOOK];
    struct ksi_look l;
    ks_err err = KS_OK;
    ksi_look_begin(&l, s->view.gens[p->gen]);
    for (uint32_t at = p->first; at < p->end && err == KS_OK;) {
        size_t want = p->end - at < KSI_SLOTS_PER_LOOK ? p->end - at : KSI_SLOTS_PER_LOOK;
        size_t n = ksi_look_slots(&l, at, want, slots);
        for (size_t i = 0; i < n && err == KS_OK; i++) {
            struct piece one = {.gen = p->gen, .first = at + (uint32_t)i};
            one.end = one.first + 1;
            if (!bsearch(&slots[i].id, ids, count, sizeof *ids, by_id))
                continue;
            widen(&one, &slots[i]);
            err = add_piece(s, &one);
        }
        if (!n)
            break;
        at += (uint32_t)n;
    }
    ksi_look_end(&l);
    return err;
}

ks_err ks_traces_scan_only(struct ks_traces_scan *s, const struct ks_trace_id *ids, size_t count)
{
    struct piece *old = s->pieces;
    size_t n = s->count;
    struct ks_trace_id *sorted = ks_alloc_array(count + 1, sizeof *sorted);
    if (!sorted)
        return KS_ENOMEM;
    if (count) {
        memcpy(sorted, ids, count * sizeof *ids);
        qsort(sorted, count, sizeof *sorted, by_id);
    }
    s->pieces = NULL;
    s->count = s->cap = 0;
    ks_err err = KS_OK;
    for (size_t i = 0; i < n && count && err == KS_OK; i++)
        err = pick(s, &old[i], sorted, count);
    ks_free(sorted);
    ks_free(old);
    return err;
}

/* --- reading --- */
static ks_err head_of(const struct ksi_data *g, const struct ksi_slot *slot, uint32_t pos,
                      struct ksi_view_memo *memo, struct ks_arena *arena, struct ks_span *ret,
                      uint32_t *ret_prev)
{
    struct ksi_record r;
    ksi_record_read(g, pos, &r);
    *ret_prev = r.prev;
    if (!memo->resources[r.resource]) {
        struct ks_resource *v = ks_arena_zalloc(arena, sizeof *v);
        if (!v)
            return ks_arena_err(arena);
        KS_TRY(ksi_resource_view(g, r.resource, arena, v));
        memo->resources[r.resource] = v;
    }
    if (!memo->scopes[r.scope]) {
        struct ks_scope *v = ks_arena_zalloc(arena, sizeof *v);
        if (!v)
            return ks_arena_err(arena);
        KS_TRY(ksi_scope_view(g, r.scope, arena, v));
        memo->scopes[r.scope] = v;
    }
    *ret = (struct ks_span){.trace_id = slot->id,
                            .span_id = r.span_id,
                            .parent_id = r.parent_id,
                            .start_ns = r.start_ns,
                            .end_ns = r.end_ns,
                            .name = r.name,
                            .kind = r.kind,
                            .status = r.status,
                            .flags = r.flags,
                            .resource = memo->resources[r.resource],
                            .scope = memo->scopes[r.scope]};
    return KS_OK;
}

/* Two heads that may belong to equal spans. */
static bool heads_equal(const struct ks_span *a, const struct ks_span *b)
{
    return a->span_id == b->span_id && a->start_ns == b->start_ns && a->end_ns == b->end_ns &&
           a->resource == b->resource && a->kind == b->kind && ks_slice_eq(a->name, b->name);
}

static ks_err fill_one(const struct ksi_data *g, const struct ks_traces_heads *h, size_t i,
                       struct ks_arena *arena, struct ks_span *io)
{
    struct ksi_slot slot = {.id = io->trace_id};
    struct ksi_record r;
    ksi_record_read(g, h->at[i], &r);
    return ksi_span_view(g, &slot, &r, h->memo, arena, io);
}

/* Clients send again when an answer was lost: of equal spans [from, end) the first stays. */
static ks_err drop_repeats(const struct ksi_data *g, struct ks_traces_heads *h, size_t from,
                           struct ks_arena *arena)
{
    size_t slots = 16, kept = from;
    while (slots < (h->count - from) * 2)
        slots *= 2;
    uint32_t *table = ks_arena_zalloc(arena, slots * sizeof *table);
    if (!table)
        return ks_arena_err(arena);
    for (size_t i = from; i < h->count; i++) {
        size_t at = ks_mix64(h->spans[i].span_id) & (slots - 1);
        bool repeat = false;
        for (; table[at] && !repeat; at = (at + 1) & (slots - 1)) {
            struct ks_span a = h->spans[table[at] - 1], b = h->spans[i];
            if (!heads_equal(&a, &b))
                continue;
            KS_TRY(fill_one(g, h, table[at] - 1, arena, &a));
            KS_TRY(fill_one(g, h, i, arena, &b));
            repeat = ks_spans_equal(&a, &b);
        }
        if (repeat)
            continue;
        h->spans[kept] = h->spans[i];
        h->at[kept++] = h->at[i];
        table[at] = (uint32_t)kept;
    }
    h->count = kept;
    return KS_OK;
}

/* The chain of a trace goes back from its last span. */
static ks_err slot_heads(const struct ksi_data *g, const struct ksi_slot *slot,
                         struct ks_arena *arena, struct ks_traces_heads *h)
{
    size_t from = h->count, i = from + slot->spans, n;
    if (!slot->spans)
        return KS_OK;
    for (uint32_t pos = slot->tail; pos != KSI_NONE && i > from;) {
        h->at[--i] = pos;
        KS_TRY(head_of(g, slot, pos, h->memo, arena, &h->spans[i], &pos));
    }
    n = from + slot->spans - i;
    memmove(&h->spans[from], &h->spans[i], n * sizeof *h->spans);
    memmove(&h->at[from], &h->at[i], n * sizeof *h->at);
    h->count = from + n;
    return n > 1 ? drop_repeats(g, h, from, arena) : KS_OK;
}

/* The slots of a piece, and what their spans need. */
static ks_err piece_slots(struct ksi_look *l, const struct piece *p, struct ks_arena *arena,
                          struct ksi_slot **ret, size_t *ret_count)
{
    size_t n = 0, all = p->end - p->first;
    struct ksi_slot *slots = ks_arena_array(arena, all + 1, sizeof *slots);
    if (!slots)
        return ks_arena_err(arena);
    for (size_t got = 1; n < all && got; n += got) {
        size_t want = all - n < KSI_SLOTS_PER_LOOK ? all - n : KSI_SLOTS_PER_LOOK;
        got = ksi_look_slots(l, p->first + n, want, slots + n);
    }
    *ret = slots;
    *ret_count = n;
    return KS_OK;
}

static ks_err piece_heads(struct ksi_look *l, const struct piece *p, struct ks_arena *arena,
                          struct ks_traces_heads *h)
{
    struct ksi_slot *slots;
    size_t count, n = 0;
    KS_TRY(piece_slots(l, p, arena, &slots, &count));
    for (size_t i = 0; i < count; i++)
        n += slots[i].spans;
    h->memo = ks_arena_zalloc(arena, sizeof *h->memo);
    h->spans = ks_arena_array(arena, n + 1, sizeof *h->spans);
    h->at = ks_arena_array(arena, n + 1, sizeof *h->at);
    if (!h->memo || !h->spans || !h->at)
        return ks_arena_err(arena);
    KS_TRY(ksi_view_memo_init(h->memo, &l->d, arena));
    for (size_t i = 0; i < count; i++)
        KS_TRY(slot_heads(&l->d, &slots[i], arena, h));
    return KS_OK;
}

ks_err ks_traces_scan_heads(struct ks_traces_scan *s, size_t i, struct ks_arena *arena,
                            struct ks_traces_heads *ret)
{
    struct ks_traces_heads h = {0};
    struct ksi_look l;
    ksi_look_begin(&l, s->view.gens[s->pieces[i].gen]);
    ks_err err = piece_heads(&l, &s->pieces[i], arena, &h);
    ksi_look_end(&l);
    *ret = h;
    return err;
}

ks_err ks_traces_scan_fill(struct ks_traces_scan *s, size_t i, const struct ks_traces_heads *h,
                           const uint64_t *bits, struct ks_arena *arena)
{
    struct ksi_look l;
    ks_err err = KS_OK;
    ksi_look_begin(&l, s->view.gens[s->pieces[i].gen]);
    for (size_t k = 0; k < h->count && err == KS_OK; k++)
        if (!bits || (bits[k / 64] >> (k % 64) & 1))
            err = fill_one(&l.d, h, k, arena, &h->spans[k]);
    ksi_look_end(&l);
    return err;
}
