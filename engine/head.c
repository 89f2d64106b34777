#include "engine/head.h"

#include <string.h>

#include "base/mem.h"
#include "engine/head_hist.h"
#include "engine/head_marks.h"
#include "engine/head_priv.h"
#include "sys/clock.h"

enum { FIRST_FP_SLOTS = 1024, DEFAULT_WINDOW = 4 };

ks_err ksi_shard_init(struct ksi_shard *s, uint32_t index, uint32_t count_all)
{
    memset(s, 0, sizeof *s);
    s->index = index;
    s->count_all = count_all;
    s->now = (uint32_t)ks_now_ms();
    s->fp_mask = FIRST_FP_SLOTS - 1;
    s->fp_slots = ks_zalloc_array(FIRST_FP_SLOTS, sizeof *s->fp_slots);
    s->recent_times = ks_zalloc_array(KSI_RECENT_TIMES, sizeof(*s->recent_times));
    ks_buf_init(&s->scratch, 16 << 20);
    if (!s->fp_slots || !s->recent_times) {
        ks_free(s->fp_slots);
        ks_free(s->recent_times);
        s->fp_slots = NULL;
        return KS_ENOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    return KS_OK;
}

void ksi_tcol_unref(struct ksi_tcol *t)
{
    if (t && atomic_fetch_sub(&t->refs, 1) == 1)
        ks_free(t);
}

void ksi_sealed_unref(struct ksi_sealed *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    ksi_tcol_unref(c->times);
    ks_free(c);
}

void ksi_shard_done(struct ksi_shard *s)
{
    if (!s->fp_slots)
        return;
    for (uint32_t i = 0; i < s->local_end; i++)
        if (ksi_series_at(s, i)->slab)
            ksi_series_drop(s, i);
    for (size_t i = 0; i < s->block_count; i++)
        ks_free(s->blocks[i]);
    for (size_t i = 0; i < KSI_RECENT_TIMES; i++)
        ksi_tcol_unref(s->recent_times[i]);
    ks_free(s->blocks);
    ks_free(s->free_locals);
    ks_free(s->fp_slots);
    ks_free(s->recent_times);
    ks_free(s->sealed_locals);
    ks_free(s->dropped);
    ksi_hist_done(s);
    ks_free(s->idents);
    ks_buf_done(&s->scratch);
    pthread_mutex_destroy(&s->lock);
    s->fp_slots = NULL;
}

uint64_t ksi_phase_key(struct ks_tenant tenant, struct ks_slice label_bytes)
{
    struct ks_series_key k = ks_series_key_of(tenant, label_bytes);
    struct ks_slice job = k.first[1], instance = k.first[2];
    uint64_t h = ks_hash64_seed(job.ptr, job.len, k.tenant);
    return ks_hash64_seed(instance.ptr, instance.len, h);
}

/* --- series and slabs --- */

size_t ksi_slab_bytes(size_t cap)
{
    return sizeof(struct ksi_slab) + cap + ksi_marks_bytes(cap);
}

static struct ksi_slab *slab_new(struct ksi_shard *s, size_t cap)
{
    struct ksi_slab *b = ks_alloc(ksi_slab_bytes(cap));
    if (b) {
        *b = (struct ksi_slab){.cap = (uint16_t)cap};
        s->bytes += ksi_slab_bytes(cap);
    }
    return b;
}

/* Data of a slab of so many bytes. */
static size_t cap_of_class(size_t total)
{
    size_t cap = total - sizeof(struct ksi_slab);
    if (cap <= KSI_UNMARKED_CAP)
        return cap;
    size_t few = cap - (size_t)KSI_FEW_MARKS * KSI_MARK_BYTES;
    return few <= KSI_FEW_MARKS_CAP ? few : cap - (size_t)KSI_MARKS_MAX * KSI_MARK_BYTES;
}

/* The next class up: total sizes 48, 64, 96, 192, 256, 384, 512, … */
size_t ksi_slab_next_cap(size_t cap)
{
    for (size_t size = 32;; size *= 2) {
        size_t half = size + size / 2;
        if (size > 48 && cap_of_class(size) > cap)
            return cap_of_class(size);
        if (cap_of_class(half) > cap)
            return cap_of_class(half);
    }
}

ks_err ksi_slab_resize(struct ksi_shard *s, struct ksi_series *x, size_t cap)
{
    uint8_t marks[KSI_MARKS_MAX * KSI_MARK_BYTES];
    size_t old = x->slab->cap;
    memcpy(marks, x->slab->data + old, ksi_marks_bytes(old));
    struct ksi_slab *b = ks_realloc(x->slab, ksi_slab_bytes(cap));
    if (!b)
        return KS_ENOMEM;
    s->bytes += ksi_slab_bytes(cap) - ksi_slab_bytes(old);
    b->cap = (uint16_t)cap;
    x->slab = b;
    ksi_marks_moved(b, old, marks);
    return KS_OK;
}

ks_err ksi_series_new_at(struct ksi_shard *s, uint32_t local, uint64_t phase_key)
{
    while (local / KSI_BLOCK_SERIES >= s->block_count) {
        KS_TRY(ks_array_reserve((void **)&s->blocks, &s->block_cap, s->block_count + 1,
                                sizeof *s->blocks));
        struct ksi_series *block = ks_aligned_alloc(64, KSI_BLOCK_SERIES * sizeof *block);
        if (!block)
            return KS_ENOMEM;
        memset(block, 0, KSI_BLOCK_SERIES * sizeof *block);
        s->blocks[s->block_count++] = block;
    }
    struct ksi_series *x = ksi_series_at(s, local);
    KS_ASSERT(!x->slab);
    memset(x, 0, sizeof *x);
    if (!(x->slab = slab_new(s, 48 - sizeof(struct ksi_slab))))
        return KS_ENOMEM;
    x->slab->window = DEFAULT_WINDOW;
    x->slab->phase = (uint8_t)(phase_key >> 56);
    if (local >= s->local_end)
        s->local_end = local + 1;
    s->in_use++;
    return KS_OK;
}

ks_err ksi_series_new(struct ksi_shard *s, uint64_t phase_key, uint32_t *ret_local)
{
    uint32_t local = s->free_count ? s->free_locals[s->free_count - 1] : s->local_end;
    if (((uint64_t)local + KSI_SID_RUN) * s->count_all >= UINT32_MAX)
        return ks_fail(KS_ELIMIT, "too many series");
    KS_TRY(ksi_series_new_at(s, local, phase_key));
    if (s->free_count)
        s->free_count--;
    *ret_local = local;
    return KS_OK;
}

static void sealed_forget(struct ksi_shard *s, struct ksi_sealed *c)
{
    s->bytes -= ksi_sealed_bytes(c);
    s->sealed_bytes -= ksi_sealed_bytes(c);
    s->samples -= c->meta.sample_count;
    ksi_sealed_unref(c);
}

void ksi_side_free(struct ksi_shard *s, struct ksi_series *x)
{
    if (!x->side)
        return;
    s->bytes -= sizeof *x->side + x->side->cap * sizeof *x->side->items;
    s->samples -= x->side->count;
    ks_free(x->side);
    x->side = NULL;
}

void ksi_series_drop(struct ksi_shard *s, uint32_t local)
{
    struct ksi_series *x = ksi_series_at(s, local);
    for (struct ksi_sealed *c = x->sealed, *next; c; c = next) {
        next = c->next;
        sealed_forget(s, c);
    }
    ksi_side_free(s, x);
    ksi_hist_drop(s, local);
    s->samples -= x->g.count;
    s->bytes -= ksi_slab_bytes(x->slab->cap);
    ks_free(x->slab);
    memset(x, 0, sizeof *x);
    if (local < s->ident_cap)
        s->idents[local] = 0; /* the id may mean another series next */
    s->in_use--;
}

void ksi_series_recycle(struct ksi_shard *s, uint32_t local)
{
    /* Not kept when memory is short: the id is lost until the next start, nothing else. */
    if (ks_array_reserve((void **)&s->free_locals, &s->free_cap, s->free_count + 1,
                         sizeof *s->free_locals) == KS_OK)
        s->free_locals[s->free_count++] = local;
}

/* --- identity --- */

enum { FP_AHEAD = 16 }; /* slots lie at random: fetched while others are worked on */
enum {
    FP_DELETED = UINT32_MAX
}; /* local1 of a slot whose series is gone: probing goes on behind it */

/* 32 bits of the identity choose the slot and stay in it, so that the table can grow without asking
 * for labels. */
static uint32_t fp_tag(ks_hash128 fp)
{
    return (uint32_t)(fp.lo >> 32);
}

static size_t fp_home(const struct ksi_shard *s, uint32_t tag)
{
    return ks_mix64(tag) & s->fp_mask;
}

uint32_t ksi_fp_find(struct ksi_shard *s, ks_hash128 fp, ksi_same_fn same, void *arg)
{
    uint32_t tag = fp_tag(fp);
    for (size_t at = fp_home(s, tag); s->fp_slots[at].local1; at = (at + 1) & s->fp_mask) {
        uint32_t local1 = s->fp_slots[at].local1;
        if (s->fp_slots[at].tag == tag && local1 != FP_DELETED && same(arg, local1 - 1))
            return local1 - 1;
    }
    return UINT32_MAX;
}

void ksi_fp_prefetch(const struct ksi_shard *s, ks_hash128 fp)
{
    __builtin_prefetch(&s->fp_slots[fp_home(s, fp_tag(fp))], 1);
}

static void fp_put(struct ksi_shard *s, uint32_t tag, uint32_t local1)
{
    size_t at = fp_home(s, tag);
    while (s->fp_slots[at].local1)
        at = (at + 1) & s->fp_mask;
    s->fp_slots[at] = (struct ksi_fp_slot){tag, local1};
    s->fp_used++;
}

ks_err ksi_fp_add(struct ksi_shard *s, ks_hash128 fp, uint32_t local)
{
    if (s->fp_used + 1 > (s->fp_mask + 1) / 4 * 3) {
        size_t old_n = s->fp_mask + 1, n = s->in_use * 2 > old_n ? old_n * 2 : old_n;
        struct ksi_fp_slot *old = s->fp_slots, *fresh = ks_zalloc_array(n, sizeof *fresh);
        if (!fresh)
            return KS_ENOMEM;
        s->fp_slots = fresh;
        s->fp_mask = n - 1;
        s->fp_used = 0;
        for (size_t i = 0; i < old_n; i++) {
            if (i + FP_AHEAD < old_n)
                __builtin_prefetch(&fresh[fp_home(s, old[i + FP_AHEAD].tag)], 1);
            if (old[i].local1 && old[i].local1 != FP_DELETED)
                fp_put(s, old[i].tag, old[i].local1);
        }
        ks_free(old);
    }
    fp_put(s, fp_tag(fp), local + 1);
    return KS_OK;
}

void ksi_fp_remove(struct ksi_shard *s, ks_hash128 fp, uint32_t local)
{
    for (size_t at = fp_home(s, fp_tag(fp)); s->fp_slots[at].local1; at = (at + 1) & s->fp_mask) {
        if (s->fp_slots[at].local1 == local + 1) {
            s->fp_slots[at].local1 = FP_DELETED;
            return;
        }
    }
}

/* --- after a flush --- */

void ksi_drop_flushed(struct ksi_shard *s, uint32_t era)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->sealed_count; i++) {
        struct ksi_series *x = ksi_series_at(s, s->sealed_locals[i]);
        bool any = false;
        for (struct ksi_sealed **link = &x->sealed, *c; (c = *link);) {
            if (c->era < era) {
                *link = c->next;
                sealed_forget(s, c);
            } else {
                any = true;
                link = &c->next;
            }
        }
        if (any)
            s->sealed_locals[kept++] = s->sealed_locals[i];
    }
    s->sealed_count = kept;
}

/* --- checkpoint bytes --- */

void ksi_series_save(struct ksi_shard *s, uint32_t local, struct ks_buf *out)
{
    struct ksi_series *x = ksi_series_at(s, local);
    uint8_t state[KS_GORILLA_STATE_BYTES];
    size_t n = ks_gorilla_bytes(&x->g);
    ks_buf_byte(out, x->slab->window);
    ks_buf_byte(out, x->slab->phase);
    ks_buf_varint(out, x->g.count ? n + 1 : 0);
    if (x->g.count) {
        ks_gorilla_save(&x->g, state);
        ks_buf_add(out, state, sizeof state);
        ks_buf_add(out, x->slab->data, n);
    }
    uint32_t late = x->side ? x->side->count : 0;
    ks_buf_varint(out, late);
    for (uint32_t i = 0; i < late; i++) {
        ks_buf_u64(out, (uint64_t)x->side->items[i].ts);
        ks_buf_u64(out, x->side->items[i].bits);
    }
}

static ks_err load_open(struct ksi_shard *s, struct ksi_series *x, struct ks_reader *r, size_t n)
{
    int64_t ts[KSI_CHUNK_SAMPLES];
    double values[KSI_CHUNK_SAMPLES];
    struct ks_slice state = ks_read_bytes(r, KS_GORILLA_STATE_BYTES), data = ks_read_bytes(r, n);
    if (r->bad)
        return ks_fail(KS_ECORRUPT, "checkpoint ends inside a series");
    struct ks_gorilla g;
    KS_TRY(ks_gorilla_load(state, &g));
    if (g.count > KSI_CHUNK_SAMPLES || ks_gorilla_bytes(&g) != n)
        return ks_fail(KS_ECORRUPT, "open chunk in the checkpoint is malformed");
    KS_TRY(ks_gorilla_decode_checked(&g, data, ts, values));
    size_t cap = x->slab->cap;
    while (cap < n)
        cap = ksi_slab_next_cap(cap);
    KS_TRY(ksi_slab_resize(s, x, cap));
    memcpy(x->slab->data, data.ptr, n);
    ks_gorilla_note_falls(&g, values);
    x->g = g;
    x->g.seen = s->now;
    ksi_marks_make(x);
    s->samples += g.count;
    return KS_OK;
}

ks_err ksi_series_load(struct ksi_shard *s, uint32_t local, struct ks_reader *r)
{
    struct ksi_series *x = ksi_series_at(s, local);
    uint8_t window = ks_read_u8(r);
    x->slab->phase = ks_read_u8(r);
    uint64_t n1 = ks_read_varint(r);
    if (r->bad || n1 > 1 + (size_t)KSI_CHUNK_SAMPLES * KS_GORILLA_APPEND_MAX ||
        window >= KSI_WINDOW_COUNT)
        return ks_fail(KS_ECORRUPT, "series in the checkpoint is malformed");
    x->slab->window = window;
    if (n1)
        KS_TRY(load_open(s, x, r, (size_t)n1 - 1));
    uint64_t late = ks_read_varint(r);
    if (late > KSI_CHUNK_SAMPLES || late * 16 > ks_reader_left(r))
        return ks_fail(KS_ECORRUPT, "late samples in the checkpoint are malformed");
    for (uint64_t i = 0; i < late; i++) {
        int64_t ts = (int64_t)ks_read_u64(r);
        KS_TRY(ksi_side_add(s, local, ts, ks_read_u64(r)));
    }
    return KS_OK;
}
