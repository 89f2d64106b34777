#include "engine/head_hist.h"

#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "engine/head_priv.h"
#include "storage/codec/fold_histograms.h"

/*
 * A chunk is closed at its window's boundary like one of numbers, and earlier when it has become
 * large: records are several times the size of what they are sealed to.
 */
enum {
    OPEN_BYTES_MAX = 8 << 10,
    OPEN_WEIGHT_MAX = 64 << 10,
    LATE_BYTES_MAX = 16 << 10,
    BUF_MAX = 4 << 20,
    DEFAULT_WINDOW = 4,
};
#define SCRATCH_MAX ((size_t)64 << 20)

static size_t bytes_of(const struct ksi_hist *x)
{
    return sizeof *x + x->open.cap + x->late.cap + x->block_bytes;
}

static uint32_t weight_of(const struct ks_histogram *h)
{
    return h->positive.bucket_count + h->negative.bucket_count + h->custom_count;
}

static struct ksi_hist *hist_of(struct ksi_shard *s, uint32_t local)
{
    if (local >= s->hist_cap) {
        size_t old = s->hist_cap, cap = old;
        if (ks_array_reserve((void **)&s->hists, &cap, s->local_end, sizeof(*s->hists)) != KS_OK)
            return NULL;
        memset((void *)(s->hists + old), 0, (cap - old) * sizeof *s->hists);
        s->hist_cap = cap;
        s->bytes += (cap - old) * sizeof *s->hists;
    }
    if (s->hists[local])
        return s->hists[local];
    struct ksi_hist *x = ks_zalloc(sizeof *x);
    if (!x)
        return NULL;
    ks_buf_init(&x->open, BUF_MAX);
    ks_buf_init(&x->late, BUF_MAX);
    x->window = DEFAULT_WINDOW;
    s->bytes += bytes_of(x);
    return s->hists[local] = x;
}

static void hist_free(struct ksi_hist *x)
{
    ks_buf_done(&x->open);
    ks_buf_done(&x->late);
    ks_free(x->block);
    ks_free(x);
}

void ksi_hist_drop(struct ksi_shard *s, uint32_t local)
{
    struct ksi_hist *x = ksi_hist_at(s, local);
    if (!x)
        return;
    s->bytes -= bytes_of(x);
    s->samples -= x->count + x->late_count;
    s->hists[local] = NULL;
    hist_free(x);
}

void ksi_hist_done(struct ksi_shard *s)
{
    for (size_t i = 0; i < s->hist_cap; i++)
        if (s->hists[i])
            hist_free(s->hists[i]);
    ks_free(s->hists);
    s->hists = NULL;
    s->hist_cap = 0;
}

/* --- decoding --- */

ks_err ksi_hist_decode(struct ks_slice bytes, uint32_t count, bool late, struct ks_arena *arena,
                       int64_t *ret_times, struct ks_histogram *ret)
{
    struct ks_reader r = ks_reader(bytes);
    int64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t step = ks_read_zigzag(&r);
        ret_times[i] = late ? step : (int64_t)((uint64_t)before + (uint64_t)step);
        if (r.bad || (!late && i && ret_times[i] <= before))
            return ks_fail(KS_ECORRUPT, "open histograms: times do not ascend");
        before = ret_times[i];
        KS_TRY(ks_histogram_record_get(&r, i && !late ? &ret[i - 1] : NULL, arena, &ret[i]));
    }
    return ks_reader_left(&r) ? ks_fail(KS_ECORRUPT, "open histograms: bytes behind the end")
                              : KS_OK;
}

/* --- sealing --- */

/* Ascending histograms as sealed chunks of the series, cut at days and where they get large. */
static ks_err seal_run(struct ksi_shard *s, uint32_t local, const int64_t *ts,
                       const struct ks_histogram *h, size_t n, struct ks_arena *scratch)
{
    for (size_t at = 0; at < n;) {
        struct ks_chunk_meta meta;
        size_t times_bytes, m = ks_histograms_fit(h + at, n - at);
        while (ks_day_of_ms(ts[at]) != ks_day_of_ms(ts[at + m - 1]))
            m--;
        ks_buf_reset(&s->scratch);
        KS_TRY(ks_histogram_chunk_encode(ts + at, h + at, m, scratch, &s->scratch, &meta,
                                         &times_bytes));
        KS_TRY(ksi_seal_scratch(s, local, &meta, times_bytes));
        at += m;
    }
    return KS_OK;
}

static ks_err seal_bytes(struct ksi_shard *s, uint32_t local, struct ks_slice bytes, uint32_t count,
                         bool late, uint64_t *ret_span_ms)
{
    struct ks_arena a;
    size_t n = count;
    ks_arena_init(&a, SCRATCH_MAX);
    int64_t *ts = ks_arena_array(&a, n, sizeof *ts);
    struct ks_histogram *h = ks_arena_array(&a, n, sizeof *h);
    ks_err err = ts && h ? KS_OK : ks_arena_err(&a);
    if (err == KS_OK)
        err = ksi_hist_decode(bytes, count, late, &a, ts, h);
    if (err == KS_OK)
        err = ks_histograms_fold(ts, h, &n);
    if (err == KS_OK)
        err = seal_run(s, local, ts, h, n, &a);
    if (err == KS_OK)
        *ret_span_ms = (uint64_t)ts[n - 1] - (uint64_t)ts[0];
    ks_arena_done(&a);
    return err;
}

static ks_err seal_open(struct ksi_shard *s, uint32_t local, struct ksi_hist *x)
{
    uint64_t span_ms;
    KS_TRY(seal_bytes(s, local, ks_buf_view(&x->open), x->count, false, &span_ms));
    if (x->count >= 8)
        x->window = ksi_window_for(span_ms, x->count);
    s->samples -= x->count;
    x->count = x->weight = 0;
    ks_buf_reset(&x->open);
    return KS_OK;
}

static ks_err seal_late(struct ksi_shard *s, uint32_t local, struct ksi_hist *x)
{
    uint64_t span_ms;
    if (!x->late_count)
        return KS_OK;
    KS_TRY(seal_bytes(s, local, ks_buf_view(&x->late), x->late_count, true, &span_ms));
    s->samples -= x->late_count;
    s->bytes -= x->late.cap;
    x->late_count = 0;
    ks_buf_done(&x->late);
    ks_buf_init(&x->late, BUF_MAX);
    return KS_OK;
}

ks_err ksi_hist_seal_late(struct ksi_shard *s, uint32_t local)
{
    struct ksi_hist *x = ksi_hist_at(s, local);
    return x ? seal_late(s, local, x) : KS_OK;
}

ks_err ksi_hist_seal(struct ksi_shard *s, uint32_t local)
{
    struct ksi_hist *x = ksi_hist_at(s, local);
    if (!x)
        return KS_OK;
    if (x->count)
        KS_TRY(seal_open(s, local, x));
    KS_TRY(seal_late(s, local, x));
    ksi_hist_drop(s, local);
    return KS_OK;
}

/* --- appending --- */

/* Lets the arrays of l lie one behind the other in a block. */
static void place(struct ks_histogram *l, void *block)
{
    _Static_assert(sizeof(struct ks_histogram_span) == 8, "spans fill the block without gaps");
    static uint64_t none; /* without buckets there is no block, and nothing to add to NULL */
    uint64_t *at = block ? block : &none;
    l->positive.deltas = (int64_t *)at;
    at += l->positive.bucket_count;
    l->negative.deltas = (int64_t *)at;
    at += l->negative.bucket_count;
    l->custom_values = (const double *)at;
    at += l->custom_count;
    l->positive.spans = (const struct ks_histogram_span *)at;
    at += l->positive.span_count;
    l->negative.spans = (const struct ks_histogram_span *)at;
}

static void copy_array(const void *to, const void *from, size_t count)
{
    if (count)
        memcpy((void *)to, from, 8 * count);
}

/* Room in the block for all arrays of h. */
static ks_err block_room(struct ksi_hist *x, const struct ks_histogram *h)
{
    size_t need = 8 * ((size_t)weight_of(h) + h->positive.span_count + h->negative.span_count);
    if (need <= x->block_bytes)
        return KS_OK;
    void *b = ks_realloc(x->block, need);
    if (!b)
        return KS_ENOMEM;
    if (x->count)
        place(&x->last, b);
    x->block = b;
    x->block_bytes = need;
    return KS_OK;
}

static void keep_last(struct ksi_hist *x, const struct ks_histogram *h)
{
    struct ks_histogram *l = &x->last;
    *l = *h;
    place(l, x->block);
    copy_array(l->positive.deltas, h->positive.deltas, h->positive.bucket_count);
    copy_array(l->negative.deltas, h->negative.deltas, h->negative.bucket_count);
    copy_array(l->custom_values, h->custom_values, h->custom_count);
    copy_array(l->positive.spans, h->positive.spans, h->positive.span_count);
    copy_array(l->negative.spans, h->negative.spans, h->negative.span_count);
}

/* Appends a time and a record, or nothing. */
static ks_err put(struct ks_buf *b, int64_t step, const struct ks_histogram *h,
                  const struct ks_histogram *previous)
{
    size_t before = b->len;
    ks_buf_zigzag(b, step);
    ks_err err = ks_histogram_record_put(h, previous, b);
    if (err == KS_OK)
        err = ks_buf_status(b);
    if (err != KS_OK) {
        b->len = before;
        b->err = KS_OK;
    }
    return err;
}

static ks_err add_late(struct ksi_shard *s, uint32_t local, struct ksi_hist *x, int64_t ts,
                       const struct ks_histogram *h)
{
    if (x->late.len >= LATE_BYTES_MAX || x->late_count >= KSI_CHUNK_SAMPLES)
        KS_TRY(seal_late(s, local, x));
    size_t before = x->late.cap;
    ks_err err = put(&x->late, ts, h, NULL);
    s->bytes += x->late.cap - before;
    if (err != KS_OK)
        return err;
    x->late_min_ts = !x->late_count || ts < x->late_min_ts ? ts : x->late_min_ts;
    x->late_max_ts = !x->late_count || ts > x->late_max_ts ? ts : x->late_max_ts;
    x->late_count++;
    s->samples++;
    return KS_OK;
}

static ks_err add_open(struct ksi_hist *x, int64_t ts, const struct ks_histogram *h)
{
    int64_t step = (int64_t)((uint64_t)ts - (x->count ? (uint64_t)x->last_ts : 0));
    KS_TRY(block_room(x, h));
    KS_TRY(put(&x->open, step, h, x->count ? &x->last : NULL));
    keep_last(x, h);
    x->first_ts = x->count ? x->first_ts : ts;
    x->last_ts = ts;
    x->weight += weight_of(h);
    x->count++;
    return KS_OK;
}

ks_err ksi_hist_append(struct ksi_shard *s, uint32_t local, int64_t ts,
                       const struct ks_histogram *h, enum ksi_append *ret)
{
    struct ksi_hist *x = hist_of(s, local);
    if (!x)
        return KS_ENOMEM;
    x->seen = s->now;
    *ret = KSI_APPENDED;
    if (x->count) {
        if (ts <= x->last_ts) {
            *ret =
                ts == x->last_ts && ks_histogram_identical(h, &x->last) ? KSI_DUPLICATE : KSI_LATE;
            return *ret == KSI_DUPLICATE ? KS_OK : add_late(s, local, x, ts, h);
        }
        uint8_t phase = ksi_series_at(s, local)->slab->phase;
        if (x->count >= KSI_CHUNK_SAMPLES / 2 || x->open.len >= OPEN_BYTES_MAX ||
            x->weight + weight_of(h) > OPEN_WEIGHT_MAX ||
            ksi_chunk_boundary(x->window, phase, x->last_ts, ts))
            KS_TRY(seal_open(s, local, x));
    }
    size_t before = bytes_of(x);
    ks_err err = add_open(x, ts, h);
    s->bytes += bytes_of(x) - before;
    s->samples += err == KS_OK;
    return err;
}

/* --- checkpoints --- */

void ksi_hist_save(const struct ksi_hist *x, struct ks_buf *out)
{
    ks_buf_byte(out, x->window);
    ks_buf_varint(out, x->count);
    if (x->count)
        ks_buf_lp(out, ks_buf_view(&x->open));
    ks_buf_varint(out, x->late_count);
    if (x->late_count)
        ks_buf_lp(out, ks_buf_view(&x->late));
}

/* Takes the histograms of one list as if they came anew. */
static ks_err load_list(struct ksi_shard *s, uint32_t local, struct ks_slice bytes, uint32_t count,
                        bool late)
{
    struct ks_arena a;
    ks_arena_init(&a, SCRATCH_MAX);
    int64_t *ts = ks_arena_array(&a, count, sizeof *ts);
    struct ks_histogram *h = ks_arena_array(&a, count, sizeof *h);
    ks_err err = ts && h ? KS_OK : ks_arena_err(&a);
    if (err == KS_OK)
        err = ksi_hist_decode(bytes, count, late, &a, ts, h);
    struct ksi_hist *x = ksi_hist_at(s, local);
    for (uint32_t i = 0; i < count && err == KS_OK; i++) {
        size_t before = bytes_of(x);
        if (late) {
            err = add_late(s, local, x, ts[i], &h[i]);
        } else {
            err = add_open(x, ts[i], &h[i]);
            s->bytes += bytes_of(x) - before;
            s->samples += err == KS_OK;
        }
    }
    ks_arena_done(&a);
    return err == KS_ELIMIT ? ks_fail(KS_ECORRUPT, "histograms in the checkpoint are too large")
                            : err;
}

ks_err ksi_hist_load(struct ksi_shard *s, uint32_t local, struct ks_reader *r)
{
    uint8_t window = ks_read_u8(r);
    uint64_t count = ks_read_varint(r);
    struct ks_slice open = ks_slice("", 0), late = open;
    if (count)
        open = ks_read_lp(r);
    uint64_t late_count = ks_read_varint(r);
    if (late_count)
        late = ks_read_lp(r);
    if (r->bad || window >= KSI_WINDOW_COUNT || count > KSI_CHUNK_SAMPLES ||
        late_count > KSI_CHUNK_SAMPLES || open.len > BUF_MAX || late.len > BUF_MAX)
        return ks_fail(KS_ECORRUPT, "histograms in the checkpoint are malformed");
    struct ksi_hist *x = hist_of(s, local);
    if (!x)
        return KS_ENOMEM;
    if (x->count || x->late_count)
        return ks_fail(KS_ECORRUPT, "a series has its histograms twice in the checkpoint");
    x->window = window;
    x->seen = s->now;
    KS_TRY(count ? load_list(s, local, open, (uint32_t)count, false) : KS_OK);
    return late_count ? load_list(s, local, late, (uint32_t)late_count, true) : KS_OK;
}
