/* Samples into open chunks, open chunks into sealed ones. All under the shard's lock. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/head_marks.h"
#include "engine/head_priv.h"

enum { SIDE_MAX = KSI_CHUNK_SAMPLES, FIRST_SIDE = 8 };

/* Chunk windows; each divides the day. A series uses the shortest that holds WINDOW_SAMPLES of its
 * samples. */
static const int64_t window_ms[KSI_WINDOW_COUNT] = {225000,  450000,   900000,   1800000, 3600000,
                                                    7200000, 14400000, 28800000, 86400000};
enum { WINDOW_SAMPLES = 150 };

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b < 0);
}

bool ksi_chunk_boundary(uint8_t window, uint8_t phase, int64_t earlier, int64_t later)
{
    int64_t w = window_ms[window], shift = w / 256 * phase;
    return floor_div(earlier + shift, w) != floor_div(later + shift, w) ||
           ks_day_of_ms(earlier) != ks_day_of_ms(later);
}

uint8_t ksi_window_for(uint64_t span_ms, size_t samples)
{
    uint64_t interval =
        samples > 1 ? span_ms / (samples - 1) : (uint64_t)window_ms[KSI_WINDOW_COUNT - 1];
    uint8_t w = 0;
    while (w + 1 < KSI_WINDOW_COUNT && (uint64_t)window_ms[w] / WINDOW_SAMPLES < interval)
        w++;
    return w;
}

/* A column equal to these bytes: a recent one of the shard, or a new one. The caller owns a
 * reference. */
static struct ksi_tcol *times_column(struct ksi_shard *s, struct ks_slice bytes, uint8_t encoding)
{
    uint64_t hash = ks_hash64_seed(bytes.ptr, bytes.len, encoding);
    struct ksi_tcol **slot = &s->recent_times[hash % KSI_RECENT_TIMES], *t = *slot;
    if (!t || t->hash != hash || t->encoding != encoding || t->bytes != bytes.len ||
        memcmp(t->data, bytes.ptr, bytes.len) != 0) {
        struct ksi_tcol *fresh = ks_alloc(sizeof *fresh + bytes.len);
        if (!fresh)
            return NULL;
        *fresh =
            (struct ksi_tcol){.bytes = (uint32_t)bytes.len, .hash = hash, .encoding = encoding};
        memcpy(fresh->data, bytes.ptr, bytes.len);
        atomic_init(&fresh->refs, 1);
        ksi_tcol_unref(t);
        *slot = t = fresh;
    }
    atomic_fetch_add(&t->refs, 1);
    return t;
}

static ks_err note_sealed(struct ksi_shard *s, uint32_t local)
{
    KS_TRY(ks_array_reserve((void **)&s->sealed_locals, &s->sealed_cap, s->sealed_count + 1,
                            sizeof *s->sealed_locals));
    s->sealed_locals[s->sealed_count++] = local;
    return KS_OK;
}

ks_err ksi_seal_scratch(struct ksi_shard *s, uint32_t local, const struct ks_chunk_meta *meta,
                        size_t times_bytes)
{
    struct ks_slice all = ks_buf_view(&s->scratch);
    struct ks_slice packed = ks_slice_from(all, times_bytes);
    KS_TRY(note_sealed(s, local));
    struct ksi_sealed *c = ks_alloc(sizeof *c + packed.len);
    struct ksi_tcol *t =
        c ? times_column(s, ks_slice(all.ptr, times_bytes), meta->times_encoding) : NULL;
    if (!t) {
        ks_free(c);
        return KS_ENOMEM;
    }
    struct ksi_series *x = ksi_series_at(s, local);
    *c = (struct ksi_sealed){.next = x->sealed, .era = s->era, .meta = *meta, .times = t};
    c->values_bytes = (uint32_t)packed.len;
    memcpy(c->values, packed.ptr, packed.len);
    atomic_init(&c->refs, 1);
    x->sealed = c;
    s->bytes += ksi_sealed_bytes(c);
    s->sealed_bytes += ksi_sealed_bytes(c);
    s->samples += meta->sample_count;
    return KS_OK;
}

/* Encodes n ascending samples as a sealed chunk of the series. */
static ks_err seal_samples(struct ksi_shard *s, uint32_t local, const int64_t *ts,
                           const double *values, size_t n)
{
    struct ks_chunk_meta meta;
    size_t times_bytes;
    ks_buf_reset(&s->scratch);
    KS_TRY(ks_chunk_encode(ts, values, n, &s->scratch, &meta, &times_bytes));
    return ksi_seal_scratch(s, local, &meta, times_bytes);
}

static ks_err seal_open(struct ksi_shard *s, uint32_t local)
{
    struct ksi_series *x = ksi_series_at(s, local);
    int64_t ts[KSI_CHUNK_SAMPLES];
    double values[KSI_CHUNK_SAMPLES];
    size_t n = ks_gorilla_decode(&x->g, x->slab->data, ts, values);
    KS_TRY(seal_samples(s, local, ts, values, n));
    if (n >= 8)
        x->slab->window = ksi_window_for((uint64_t)ts[n - 1] - (uint64_t)ts[0], n);
    s->samples -= n;
    memset(&x->g, 0, sizeof x->g);
    return KS_OK;
}

static int by_time_then_value(const void *pa, const void *pb)
{
    const struct ksi_sample *a = pa, *b = pb;
    if (a->ts != b->ts)
        return a->ts < b->ts ? -1 : 1;
    return (a->bits > b->bits) - (a->bits < b->bits);
}

ks_err ksi_seal_side(struct ksi_shard *s, uint32_t local)
{
    struct ksi_series *x = ksi_series_at(s, local);
    if (!x->side)
        return KS_OK;
    struct ksi_side *side = x->side;
    qsort(side->items, side->count, sizeof *side->items, by_time_then_value);
    int64_t ts[SIDE_MAX];
    double values[SIDE_MAX];
    /* Several values at one time go to chunks of their own: a chunk's times ascend strictly. */
    bool left[SIDE_MAX];
    size_t todo = side->count;
    memset(left, true, side->count);
    while (todo) {
        size_t n = 0;
        for (size_t i = 0; i < side->count; i++) {
            if (!left[i] || (n && ks_day_of_ms(ts[0]) != ks_day_of_ms(side->items[i].ts)))
                continue;
            if (n && ts[n - 1] == side->items[i].ts)
                continue;
            ts[n] = side->items[i].ts;
            values[n++] = ks_f64_from_bits(side->items[i].bits);
            left[i] = false;
        }
        KS_TRY(seal_samples(s, local, ts, values, n));
        todo -= n;
    }
    ksi_side_free(s, x);
    return KS_OK;
}

/* Gives the room of a chunk just sealed back, if that can be done. */
static void slab_shrink(struct ksi_shard *s, struct ksi_series *x)
{
    size_t cap = ksi_slab_next_cap(0);
    if (x->slab->cap > cap)
        (void)!ksi_slab_resize(s, x, cap);
}

ks_err ksi_seal(struct ksi_shard *s, uint32_t local)
{
    struct ksi_series *x = ksi_series_at(s, local);
    if (x->g.count) {
        KS_TRY(seal_open(s, local));
        slab_shrink(s, x);
    }
    return ksi_seal_side(s, local);
}

ks_err ksi_side_add(struct ksi_shard *s, uint32_t local, int64_t ts, uint64_t bits)
{
    struct ksi_series *x = ksi_series_at(s, local);
    if (x->side && x->side->count == SIDE_MAX)
        KS_TRY(ksi_seal_side(s, local));
    struct ksi_side *side = x->side;
    if (!side || side->count == side->cap) {
        uint32_t old_cap = side ? side->cap : 0, cap = side ? old_cap * 2 : FIRST_SIDE;
        struct ksi_side *grown = ks_realloc(side, sizeof *side + cap * sizeof *side->items);
        if (!grown)
            return KS_ENOMEM;
        s->bytes += (cap - old_cap) * sizeof *side->items + (side ? 0 : sizeof *side);
        if (!side)
            grown->count = 0;
        grown->cap = cap;
        x->side = side = grown;
    }
    side->items[side->count++] = (struct ksi_sample){ts, bits};
    s->samples++;
    return KS_OK;
}

ks_err ksi_append(struct ksi_shard *s, uint32_t local, int64_t ts, uint64_t bits,
                  enum ksi_append *ret)
{
    struct ksi_series *x = ksi_series_at(s, local);
    *ret = KSI_APPENDED;
    if (x->g.count) {
        if (ts <= x->g.last_ts) {
            *ret = ts == x->g.last_ts && bits == x->g.last_bits ? KSI_DUPLICATE : KSI_LATE;
            x->g.seen = s->now;
            return *ret == KSI_DUPLICATE ? KS_OK : ksi_side_add(s, local, ts, bits);
        }
        if (x->g.count >= KSI_CHUNK_SAMPLES ||
            ksi_chunk_boundary(x->slab->window, x->slab->phase, x->g.last_ts, ts))
            KS_TRY(seal_open(s, local));
    }
    while (!ks_gorilla_append(&x->g, x->slab->data, x->slab->cap, ts, bits))
        KS_TRY(ksi_slab_resize(s, x, ksi_slab_next_cap(x->slab->cap)));
    if (x->g.count >= 4 * x->g.mark_due4 && !x->g.run)
        ksi_marks_note(x);
    x->g.seen = s->now;
    s->samples++;
    return KS_OK;
}
