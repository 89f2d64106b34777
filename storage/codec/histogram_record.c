/* Single native histograms as bytes (docs/format/histogram-chunk.md, "Records"). */
#include <string.h>

#include "storage/codec/histogram_priv.h"

/* Flags of a record above those of a layout. */
#define RECORD_SAME 16u /* the layout is the previous one's */
#define RECORD_HINT 5   /* shift of the two hint bits */

/* Doubles that share sign, exponent and first digits with the one before give few bytes: the low
 * ones come last. */
static void put_f64(struct ks_buf *out, uint64_t bits, uint64_t previous)
{
    ks_buf_varint(out, __builtin_bswap64(bits ^ previous));
}

static uint64_t get_f64(struct ks_reader *r, uint64_t previous)
{
    return __builtin_bswap64(ks_read_varint(r)) ^ previous;
}

static void put_side(const struct ks_histogram *h, const struct ks_histogram_side *s,
                     const struct ks_histogram_side *p, struct ks_buf *out)
{
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        uint64_t before = p ? (uint64_t)p->deltas[i] : 0, now = (uint64_t)s->deltas[i];
        if (h->is_float)
            put_f64(out, now, before);
        else
            ks_buf_zigzag(out, (int64_t)(now - before));
    }
}

ks_err ks_histogram_record_put(const struct ks_histogram *h, const struct ks_histogram *previous,
                               struct ks_buf *out)
{
    static const struct ks_histogram nothing;
    bool same = previous && ks_histogram_same_layout(h, previous);
    const struct ks_histogram *p = same ? previous : &nothing;
    if (h->hint > KS_HISTOGRAM_GAUGE)
        return ks_fail(KS_EINVAL, "a native histogram has counter reset hint %u", h->hint);
    if (!same)
        KS_TRY(ks_histogram_check_layout(h));
    ks_buf_byte(out, (uint8_t)((same ? RECORD_SAME : ksi_layout_flags(h)) | (unsigned)h->hint
                                                                                << RECORD_HINT));
    if (!same)
        ksi_layout_put(h, out);
    if (h->is_float) {
        put_f64(out, h->count.u, p->count.u);
        put_f64(out, h->zero_count.u, p->zero_count.u);
    } else {
        ks_buf_zigzag(out, (int64_t)(h->count.u - p->count.u));
        ks_buf_zigzag(out, (int64_t)(h->zero_count.u - p->zero_count.u));
    }
    put_f64(out, ks_f64_bits(h->sum), ks_f64_bits(p->sum));
    put_side(h, &h->positive, same ? &p->positive : NULL, out);
    put_side(h, &h->negative, same ? &p->negative : NULL, out);
    return ks_buf_status(out);
}

static ks_err get_side(struct ks_reader *r, const struct ks_histogram *h,
                       const struct ks_histogram_side *p, struct ks_arena *arena,
                       struct ks_histogram_side *s)
{
    uint32_t n = s->bucket_count;
    s->deltas = NULL;
    if (!n)
        return KS_OK;
    if (n > ks_reader_left(r))
        return ks_fail(KS_ECORRUPT, "native histogram record: fewer bytes than buckets");
    s->deltas = ks_arena_array(arena, n, sizeof *s->deltas);
    if (!s->deltas)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t before = p ? (uint64_t)p->deltas[i] : 0;
        s->deltas[i] =
            (int64_t)(h->is_float ? get_f64(r, before) : (uint64_t)ks_read_zigzag(r) + before);
    }
    return KS_OK;
}

ks_err ks_histogram_record_get(struct ks_reader *r, const struct ks_histogram *previous,
                               struct ks_arena *arena, struct ks_histogram *ret)
{
    static const struct ks_histogram nothing;
    struct ks_histogram h;
    unsigned flags = ks_read_u8(r);
    bool same = flags & RECORD_SAME;
    if (r->bad || flags >> 7 || (same && (!previous || flags & KSI_LAYOUT_MASK)))
        return ks_fail(KS_ECORRUPT, "native histogram record: malformed flags");
    const struct ks_histogram *p = same ? previous : &nothing;
    if (same)
        h = *previous;
    else
        KS_TRY(ksi_layout_get(r, flags & KSI_LAYOUT_MASK, arena, &h));
    h.hint = flags >> RECORD_HINT & 3;
    if (h.is_float) {
        h.count.u = get_f64(r, p->count.u);
        h.zero_count.u = get_f64(r, p->zero_count.u);
    } else {
        h.count.u = (uint64_t)ks_read_zigzag(r) + p->count.u;
        h.zero_count.u = (uint64_t)ks_read_zigzag(r) + p->zero_count.u;
    }
    h.sum = ks_f64_from_bits(get_f64(r, ks_f64_bits(p->sum)));
    KS_TRY(get_side(r, &h, same ? &p->positive : NULL, arena, &h.positive));
    KS_TRY(get_side(r, &h, same ? &p->negative : NULL, arena, &h.negative));
    if (r->bad)
        return ks_fail(KS_ECORRUPT, "native histogram record: cut short");
    *ret = h;
    return KS_OK;
}
