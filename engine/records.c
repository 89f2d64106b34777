#include "engine/records.h"

#include "base/bytes.h"

/* Control byte of a sample. */
enum {
    VALUE_BYTES = 0x0f, /* 0..8 high-order bytes of the value follow, the others are zero */
    SAME_TIME = 0x10,   /* the time of the sample before */
    NEXT_SID = 0x20,    /* the sid of the sample before plus the stride */
    SAME_SID = 0x40,    /* the sid of the sample before */
};

void ksi_rec_series_add(struct ks_buf *b, uint32_t sid, struct ks_tenant tenant,
                        struct ks_slice label_bytes)
{
    ks_buf_varint(b, sid);
    ks_buf_varint(b, tenant.account);
    ks_buf_varint(b, tenant.project);
    ks_buf_lp(b, label_bytes);
}

ks_err ksi_rec_series_read(struct ks_slice payload, ksi_series_fn fn, void *arg)
{
    struct ks_reader r = ks_reader(payload);
    while (ks_reader_left(&r)) {
        uint64_t sid = ks_read_varint(&r), account = ks_read_varint(&r),
                 project = ks_read_varint(&r);
        struct ks_slice labels = ks_read_lp(&r);
        if (r.bad || sid >= UINT32_MAX || account > UINT32_MAX || project > UINT32_MAX)
            return ks_fail(KS_ECORRUPT, "series record is malformed");
        KS_TRY(fn(arg, (uint32_t)sid, (struct ks_tenant){(uint32_t)account, (uint32_t)project},
                  labels));
    }
    return KS_OK;
}

void ksi_rec_samples_begin(struct ksi_samples_enc *e, struct ks_buf *b, uint32_t stride)
{
    *e = (struct ksi_samples_enc){.b = b, .stride = stride};
    ks_buf_varint(b, stride);
}

void ksi_rec_samples_add(struct ksi_samples_enc *e, uint32_t sid, int64_t ts, uint64_t bits)
{
    uint8_t *start = (uint8_t *)e->b->ptr + e->b->len, *p = start + 1;
    unsigned n = bits ? 8 - (unsigned)__builtin_ctzll(bits) / 8 : 0;
    uint8_t control = (uint8_t)n;
    if (e->count && sid == e->prev_sid + e->stride)
        control |= NEXT_SID;
    else if (e->count && sid == e->prev_sid)
        control |= SAME_SID;
    else
        p += ks_varint_put(p, ks_zigzag((int64_t)sid - (int64_t)e->prev_sid));
    if (e->count && ts == e->prev_ts)
        control |= SAME_TIME;
    else
        p += ks_varint_put(p, ks_zigzag((int64_t)((uint64_t)ts - (uint64_t)e->prev_ts)));
    uint64_t high = __builtin_bswap64(bits);
    memcpy(p, &high, 8);
    p += n;
    *start = control;
    e->prev_sid = sid;
    e->prev_ts = ts;
    e->count++;
    e->b->len += (size_t)(p - start);
}

ks_err ksi_rec_samples_read(struct ks_slice payload, ksi_sample_fn fn, void *arg)
{
    struct ks_reader r = ks_reader(payload);
    uint64_t stride = ks_read_varint(&r), sid = 0;
    int64_t ts = 0;
    while (ks_reader_left(&r)) {
        uint8_t control = ks_read_u8(&r);
        unsigned n = control & VALUE_BYTES;
        if (control & NEXT_SID)
            sid += stride;
        else if (!(control & SAME_SID))
            sid = (uint64_t)((int64_t)sid + ks_read_zigzag(&r));
        if (!(control & SAME_TIME))
            ts = (int64_t)((uint64_t)ts + (uint64_t)ks_read_zigzag(&r));
        if (n > 8)
            ks_reader_fail(&r);
        struct ks_slice bytes = ks_read_bytes(&r, n);
        if (r.bad || sid >= UINT32_MAX || stride > UINT16_MAX)
            return ks_fail(KS_ECORRUPT, "samples record is malformed");
        uint64_t high = 0;
        if (n)
            memcpy(&high, bytes.ptr, n);
        KS_TRY(fn(arg, (uint32_t)sid, ts, __builtin_bswap64(high)));
    }
    return KS_OK;
}

void ksi_rec_histograms_begin(struct ksi_histograms_enc *e, struct ks_buf *b)
{
    *e = (struct ksi_histograms_enc){.b = b};
}

ks_err ksi_rec_histograms_add(struct ksi_histograms_enc *e, uint32_t sid, int64_t ts,
                              const struct ks_histogram *h)
{
    size_t before = e->b->len;
    ks_buf_zigzag(e->b, (int64_t)sid - (int64_t)e->prev_sid);
    ks_buf_zigzag(e->b, (int64_t)((uint64_t)ts - (uint64_t)e->prev_ts));
    ks_err err = ks_histogram_record_put(h, NULL, e->b);
    if (err != KS_OK) {
        e->b->len = before;
        return err;
    }
    e->prev_sid = sid;
    e->prev_ts = ts;
    e->count++;
    return ks_buf_status(e->b);
}

ks_err ksi_rec_histograms_read(struct ks_slice payload, struct ks_arena *arena, ksi_histogram_fn fn,
                               void *arg)
{
    struct ks_reader r = ks_reader(payload);
    int64_t sid = 0, ts = 0;
    while (ks_reader_left(&r)) {
        struct ks_histogram h;
        ks_arena_reset(arena);
        sid = (int64_t)((uint64_t)sid + (uint64_t)ks_read_zigzag(&r));
        ts = (int64_t)((uint64_t)ts + (uint64_t)ks_read_zigzag(&r));
        if (r.bad || sid < 0 || sid >= UINT32_MAX)
            return ks_fail(KS_ECORRUPT, "histograms record is malformed");
        KS_TRY(ks_histogram_record_get(&r, NULL, arena, &h));
        KS_TRY(fn(arg, (uint32_t)sid, ts, &h));
    }
    return KS_OK;
}
