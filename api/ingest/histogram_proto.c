#include "api/ingest/histogram_proto.h"

#include "api/ingest/remote_write_priv.h"
#include "base/base64.h"
#include "base/num.h"

#define VARINT(n)  ((uint64_t)(n) << 3)
#define FIXED64(n) ((uint64_t)(n) << 3 | 1)
#define BYTES(n)   ((uint64_t)(n) << 3 | 2)

/* A growing array in the arena. */
struct list {
    void *items;
    size_t count, cap;
};

enum { NEGATIVE, POSITIVE };

struct message {
    struct ks_arena *arena;
    const uint8_t *p, *end;
    struct ks_histogram h;
    int64_t time_ms;
    union ks_histogram_count int_zero, float_zero;
    bool zero_is_float;
    struct list spans[2], deltas[2], counts[2], bounds;
};

static ks_err push(struct message *m, struct list *l, const void *item, size_t max)
{
    if (l->count == max)
        return ks_fail(KS_ELIMIT,
                       "a native histogram has more than %zu buckets, spans or custom bounds", max);
    KS_TRY(ks_arena_grow(m->arena, &l->items, &l->cap, l->count + 1, 8));
    memcpy((char *)l->items + l->count++ * 8, item, 8);
    return KS_OK;
}

static ks_err malformed(void)
{
    return ks_fail(KS_EPARSE, "malformed");
}

static ks_err varint(struct message *m, uint64_t *ret)
{
    return ks_pb_varint(&m->p, m->end, ret) ? KS_OK : malformed();
}

static ks_err fixed64(struct message *m, void *ret)
{
    if (m->end - m->p < 8)
        return malformed();
    memcpy(ret, m->p, 8);
    m->p += 8;
    return KS_OK;
}

static ks_err push_varint(struct message *m, struct list *l, const uint8_t **pp, const uint8_t *end)
{
    uint64_t v;
    if (!ks_pb_varint(pp, end, &v))
        return malformed();
    int64_t delta = ks_unzigzag(v);
    return push(m, l, &delta, KS_HISTOGRAM_BUCKETS_MAX);
}

static ks_err packed_deltas(struct message *m, struct list *l)
{
    struct ks_slice s;
    if (!ksi_pb_bytes(&m->p, m->end, &s))
        return malformed();
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    while (p < end)
        KS_TRY(push_varint(m, l, &p, end));
    return KS_OK;
}

static ks_err packed_doubles(struct message *m, struct list *l, size_t max)
{
    struct ks_slice s;
    if (!ksi_pb_bytes(&m->p, m->end, &s) || s.len % 8)
        return malformed();
    for (size_t i = 0; i < s.len; i += 8)
        KS_TRY(push(m, l, s.ptr + i, max));
    return KS_OK;
}

static ks_err one_double(struct message *m, struct list *l, size_t max)
{
    double v;
    KS_TRY(fixed64(m, &v));
    return push(m, l, &v, max);
}

static ks_err span(struct message *m, struct list *l)
{
    struct ks_slice s;
    struct ks_histogram_span span = {0};
    if (!ksi_pb_bytes(&m->p, m->end, &s))
        return malformed();
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    while (p < end) {
        uint64_t key, v;
        if (!ks_pb_varint(&p, end, &key))
            return malformed();
        if (key != VARINT(1) && key != VARINT(2)) {
            if (!ksi_pb_skip(&p, end, key))
                return malformed();
            continue;
        }
        if (!ks_pb_varint(&p, end, &v))
            return malformed();
        if (key == VARINT(1))
            span.offset = (int32_t)ks_unzigzag((uint32_t)v);
        else
            span.length = (uint32_t)v;
    }
    return push(m, l, &span, KS_HISTOGRAM_BUCKETS_MAX);
}

/* Buckets, spans and bounds; *ret_known is false for another field. */
static ks_err array_field(struct message *m, uint64_t key, bool *ret_known)
{
    *ret_known = true;
    switch (key) {
    case BYTES(8):
        return span(m, &m->spans[NEGATIVE]);
    case BYTES(11):
        return span(m, &m->spans[POSITIVE]);
    case BYTES(9):
        return packed_deltas(m, &m->deltas[NEGATIVE]);
    case BYTES(12):
        return packed_deltas(m, &m->deltas[POSITIVE]);
    case VARINT(9):
        return push_varint(m, &m->deltas[NEGATIVE], &m->p, m->end);
    case VARINT(12):
        return push_varint(m, &m->deltas[POSITIVE], &m->p, m->end);
    case BYTES(10):
        return packed_doubles(m, &m->counts[NEGATIVE], KS_HISTOGRAM_BUCKETS_MAX);
    case BYTES(13):
        return packed_doubles(m, &m->counts[POSITIVE], KS_HISTOGRAM_BUCKETS_MAX);
    case FIXED64(10):
        return one_double(m, &m->counts[NEGATIVE], KS_HISTOGRAM_BUCKETS_MAX);
    case FIXED64(13):
        return one_double(m, &m->counts[POSITIVE], KS_HISTOGRAM_BUCKETS_MAX);
    case BYTES(16):
        return packed_doubles(m, &m->bounds, KS_HISTOGRAM_CUSTOM_MAX);
    case FIXED64(16):
        return one_double(m, &m->bounds, KS_HISTOGRAM_CUSTOM_MAX);
    }
    *ret_known = false;
    return KS_OK;
}

static ks_err field(struct message *m, uint64_t key)
{
    uint64_t v;
    bool known;
    KS_TRY(array_field(m, key, &known));
    if (known)
        return KS_OK;
    switch (key) {
    case VARINT(1):
        m->h.is_float = false;
        return varint(m, &m->h.count.u);
    case FIXED64(2):
        m->h.is_float = true;
        return fixed64(m, &m->h.count.f);
    case FIXED64(3):
        return fixed64(m, &m->h.sum);
    case VARINT(4):
        KS_TRY(varint(m, &v));
        m->h.schema = (int32_t)ks_unzigzag((uint32_t)v);
        return KS_OK;
    case FIXED64(5):
        return fixed64(m, &m->h.zero_threshold);
    case VARINT(6):
        m->zero_is_float = false;
        return varint(m, &m->int_zero.u);
    case FIXED64(7):
        m->zero_is_float = true;
        return fixed64(m, &m->float_zero.f);
    case VARINT(14):
        KS_TRY(varint(m, &v));
        m->h.hint = v <= KS_HISTOGRAM_GAUGE ? (uint8_t)v : KS_HISTOGRAM_UNKNOWN;
        return KS_OK;
    case VARINT(15):
        KS_TRY(varint(m, &v));
        m->time_ms = (int64_t)v;
        return KS_OK;
    }
    return ksi_pb_skip(&m->p, m->end, key) ? KS_OK : malformed();
}

static struct ks_histogram_side side(const struct message *m, int which)
{
    const struct list *buckets = m->h.is_float ? &m->counts[which] : &m->deltas[which];
    return (struct ks_histogram_side){.spans = m->spans[which].items,
                                      .span_count = (uint32_t)m->spans[which].count,
                                      .bucket_count = (uint32_t)buckets->count,
                                      .deltas = buckets->items};
}

ks_err ks_histogram_from_proto(struct ks_slice message, struct ks_arena *arena,
                               struct ks_histogram *ret, int64_t *ret_time_ms)
{
    struct message m = {.arena = arena, .p = (const uint8_t *)message.ptr};
    m.end = message.len ? m.p + message.len : m.p;
    while (m.p < m.end) {
        size_t at = (size_t)(m.p - (const uint8_t *)message.ptr);
        uint64_t key = 0;
        ks_err err = varint(&m, &key);
        if (err == KS_OK)
            err = field(&m, key);
        if (err == KS_EPARSE)
            return ks_fail(KS_EPARSE, "malformed protobuf: native histogram, field %u at byte %zu",
                           (unsigned)(key >> 3), at);
        KS_TRY(err);
    }
    /* A zero count of the other kind than the count reads as 0, as in Prometheus. */
    if (m.zero_is_float == m.h.is_float)
        m.h.zero_count = m.h.is_float ? m.float_zero : m.int_zero;
    m.h.positive = side(&m, POSITIVE);
    m.h.negative = side(&m, NEGATIVE);
    m.h.custom_values = m.bounds.items;
    m.h.custom_count = (uint32_t)m.bounds.count;
    *ret = m.h;
    *ret_time_ms = m.time_ms;
    return KS_OK;
}

/* --- writing --- */

static void put_f64(struct ks_buf *out, unsigned field, double v)
{
    ks_buf_varint(out, FIXED64(field));
    ks_buf_u64(out, ks_f64_bits(v));
}

static void put_varint(struct ks_buf *out, unsigned field, uint64_t v)
{
    ks_buf_varint(out, VARINT(field));
    ks_buf_varint(out, v);
}

/* Spans are field `first`, deltas the next one, counts the one behind. */
static void put_side(struct ks_buf *out, const struct ks_histogram *h,
                     const struct ks_histogram_side *s, unsigned first)
{
    uint8_t room[2 * (KS_VARINT_MAX + 1)];
    for (uint32_t i = 0; i < s->span_count; i++) {
        uint8_t *p = room;
        *p++ = (uint8_t)VARINT(1);
        p += ks_varint_put(p, (uint32_t)ks_zigzag(s->spans[i].offset));
        *p++ = (uint8_t)VARINT(2);
        p += ks_varint_put(p, s->spans[i].length);
        ks_buf_varint(out, BYTES(first));
        ks_buf_lp(out, ks_slice(room, (size_t)(p - room)));
    }
    if (!s->bucket_count)
        return;
    ks_buf_varint(out, BYTES(first + 1 + h->is_float));
    size_t len = 8 * (size_t)s->bucket_count;
    if (!h->is_float) {
        len = 0;
        for (uint32_t i = 0; i < s->bucket_count; i++)
            len += ks_varint_put(room, ks_zigzag(s->deltas[i]));
    }
    ks_buf_varint(out, len);
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (h->is_float)
            ks_buf_u64(out, (uint64_t)s->deltas[i]);
        else
            ks_buf_zigzag(out, s->deltas[i]);
    }
}

void ks_histogram_put_proto(const struct ks_histogram *h, int64_t time_ms, struct ks_buf *out)
{
    if (h->is_float) {
        put_f64(out, 2, h->count.f);
        put_f64(out, 7, h->zero_count.f);
    } else {
        put_varint(out, 1, h->count.u);
        put_varint(out, 6, h->zero_count.u);
    }
    put_f64(out, 3, h->sum);
    put_varint(out, 4, (uint32_t)ks_zigzag(h->schema));
    put_f64(out, 5, h->zero_threshold);
    put_side(out, h, &h->negative, 8);
    put_side(out, h, &h->positive, 11);
    put_varint(out, 14, h->hint);
    put_varint(out, 15, (uint64_t)time_ms);
    if (!h->custom_count)
        return;
    ks_buf_varint(out, BYTES(16));
    ks_buf_lp(out, ks_slice((const char *)h->custom_values, 8 * (size_t)h->custom_count));
}

void ks_histograms_put_json(const struct ks_histogram *h, const int64_t *times_ms, size_t n,
                            struct ks_buf *scratch, struct ks_buf *out)
{
    ks_buf_str(out, "\"histograms\":[");
    for (size_t i = 0; i < n; i++) {
        ks_buf_reset(scratch);
        ks_histogram_put_proto(&h[i], times_ms[i], scratch);
        ks_buf_str(out, i ? ",\"" : "\"");
        ks_base64_encode(ks_buf_view(scratch), out);
        ks_buf_byte(out, '"');
    }
    ks_buf_str(out, "],\"timestamps\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            ks_buf_byte(out, ',');
        ks_buf_i64_dec(out, times_ms[i]);
    }
    ks_buf_byte(out, ']');
}
