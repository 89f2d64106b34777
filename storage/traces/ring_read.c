/* Reading: single traces, all spans. */
#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/ring_priv.h"
#include "storage/traces/span_equal.h"

enum { SPANS_ARENA_BYTES = 64 << 20 };

/* A hold is a reference to a generation under another name. */
void ks_traces_release(struct ks_traces_hold *hold)
{
    ksi_gen_unref((struct ksi_gen *)hold);
}

ks_err ksi_view_take(struct ks_traces *t, struct ks_tenant tenant, struct ksi_view *ret)
{
    ks_err err = KS_OK;
    *ret = (struct ksi_view){0};
    pthread_mutex_lock(&t->lock);
    struct ksi_tenant *tn = ksi_tenant_find(t, tenant);
    size_t n = tn ? tn->rings[0].gen_count + tn->rings[1].gen_count : 0;
    if (n) {
        ret->gens = ks_alloc_array(n, sizeof *ret->gens);
        ret->first_live = ks_alloc_array(n, sizeof *ret->first_live);
        ret->is_kept = ks_alloc_array(n, sizeof *ret->is_kept);
        if (!ret->gens || !ret->first_live || !ret->is_kept)
            err = KS_ENOMEM;
    }
    for (unsigned k = 0; n && err == KS_OK && k < 2; k++)
        for (size_t i = tn->rings[k].gen_count; i-- > 0;) {
            ret->is_kept[ret->count] = k == KSI_KEPT;
            ret->gens[ret->count] = ksi_gen_ref(tn->rings[k].gens[i]);
            ret->first_live[ret->count++] = tn->rings[k].first_seq;
        }
    pthread_mutex_unlock(&t->lock);
    if (err != KS_OK)
        ksi_view_release(ret);
    return err;
}

void ksi_view_release(struct ksi_view *v)
{
    for (size_t i = 0; i < v->count; i++)
        ksi_gen_unref(v->gens[i]);
    ks_free(v->gens);
    ks_free(v->first_live);
    ks_free(v->is_kept);
    *v = (struct ksi_view){0};
}

/* --- one trace --- */
static ks_err read_spans(const struct ksi_data *d, const struct ksi_slot *slot,
                         struct ks_arena *arena, struct ks_span *spans, size_t *ret_missing)
{
    struct ksi_view_memo memo;
    size_t n = slot->spans;
    KS_TRY(ksi_view_memo_init(&memo, d, arena));
    for (uint32_t pos = slot->tail; pos != KSI_NONE && n;) {
        struct ksi_record rec;
        ksi_record_read(d, pos, &rec);
        KS_TRY(ksi_span_view(d, slot, &rec, &memo, arena, &spans[--n]));
        pos = rec.prev;
    }
    *ret_missing = n;
    return KS_OK;
}

static ks_err read_trace(struct ksi_look *l, size_t at, struct ks_arena *arena,
                         struct ks_span **ret, size_t *ret_count)
{
    struct ksi_slot slot;
    size_t missing;
    if (!ksi_look_slots(l, at, 1, &slot) || !slot.spans)
        return ks_fail(KS_ENOTFOUND, "trace not found");
    struct ks_span *spans = ks_arena_array(arena, slot.spans, sizeof *spans);
    if (!spans)
        return ks_arena_err(arena);
    KS_TRY(read_spans(&l->d, &slot, arena, spans, &missing));
    *ret = spans + missing;
    *ret_count = slot.spans - missing;
    return KS_OK;
}

ks_err ks_traces_get(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id,
                     struct ks_arena *arena, struct ks_span **ret_spans, size_t *ret_count,
                     struct ks_traces_hold **ret_hold)
{
    struct ksi_gen *g = NULL;
    uint32_t slot = 0;
    pthread_mutex_lock(&t->lock);
    struct ksi_tenant *tn = ksi_tenant_find(t, tenant);
    for (unsigned k = 0; tn && !g && k < 2; k++) {
        uint64_t seq = ksi_ring_find(t, &tn->rings[k], id);
        if (seq)
            g = ksi_gen_ref(ksi_ring_gen(&tn->rings[k], seq, &slot));
    }
    pthread_mutex_unlock(&t->lock);
    if (!g)
        return ks_fail(KS_ENOTFOUND, "trace not found");
    struct ksi_look look;
    ksi_look_begin(&look, g);
    ks_err err = read_trace(&look, slot, arena, ret_spans, ret_count);
    ksi_look_end(&look);
    if (err == KS_OK)
        err = ks_spans_drop_repeats(*ret_spans, ret_count, arena);
    if (err != KS_OK) {
        ksi_gen_unref(g);
        return err;
    }
    *ret_hold = (struct ks_traces_hold *)g;
    return KS_OK;
}

/* The slot of a live trace as it is now. */
static bool find_slot(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id,
                      struct ksi_slot *ret)
{
    uint64_t seq = 0;
    pthread_mutex_lock(&t->lock);
    struct ksi_tenant *tn = ksi_tenant_find(t, tenant);
    for (unsigned k = 0; tn && !seq && k < 2; k++) {
        seq = ksi_ring_find(t, &tn->rings[k], id);
        if (!seq)
            continue;
        uint32_t slot;
        struct ksi_gen *g = ksi_ring_gen(&tn->rings[k], seq, &slot);
        pthread_mutex_lock(&g->lock);
        *ret = g->slots[slot];
        pthread_mutex_unlock(&g->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return seq != 0;
}

size_t ks_traces_count_spans(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id)
{
    struct ksi_slot s;
    return find_slot(t, tenant, id, &s) ? s.spans : 0;
}

bool ks_traces_whole(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id,
                     uint64_t since_ns)
{
    struct ksi_slot s;
    return find_slot(t, tenant, id, &s) && !(s.flags & KSI_SLOT_LATE) && !s.refused &&
           s.min_start_ns >= since_ns;
}

/* --- all spans --- */
static ks_err each_in_slot(struct ksi_look *l, size_t at, struct ks_arena *arena, ks_span_fn fn,
                           void *arg)
{
    struct ks_span *spans;
    size_t n = 0;
    KS_TRY(read_trace(l, at, arena, &spans, &n));
    KS_TRY(ks_spans_drop_repeats(spans, &n, arena));
    for (size_t i = 0; i < n; i++)
        KS_TRY(fn(arg, &spans[i]));
    return KS_OK;
}

static ks_err each_in_gen(struct ksi_gen *g, uint64_t first_live, struct ks_arena *arena,
                          ks_span_fn fn, void *arg)
{
    size_t at = first_live > g->first_seq ? (size_t)(first_live - g->first_seq) : 0;
    struct ksi_look l;
    struct ksi_slot slot;
    ks_err err = KS_OK;
    ksi_look_begin(&l, g);
    for (; err == KS_OK && ksi_look_slots(&l, at, 1, &slot); at++) {
        ks_arena_reset(arena);
        if (slot.spans)
            err = each_in_slot(&l, at, arena, fn, arg);
    }
    ksi_look_end(&l);
    return err;
}

ks_err ks_traces_each(struct ks_traces *t, struct ks_tenant tenant, ks_span_fn fn, void *arg)
{
    struct ksi_view v;
    struct ks_arena arena;
    KS_TRY(ksi_view_take(t, tenant, &v));
    ks_arena_init(&arena, SPANS_ARENA_BYTES);
    ks_err err = KS_OK;
    for (size_t i = v.count; i-- > 0 && err == KS_OK;)
        err = each_in_gen(v.gens[i], v.first_live[i], &arena, fn, arg);
    ks_arena_done(&arena);
    ksi_view_release(&v);
    return err;
}
