/*
 * Reading protobuf from hostile bytes: varints, fields, any of them skipped. For decoders written
 * by hand; nothing is allocated.
 */
#ifndef KS_BASE_PROTOBUF_H
#define KS_BASE_PROTOBUF_H

#include "base/bytes.h"
#include "base/err.h"

/* Keys by field number. */
#define KS_PB_VARINT(n)  ((uint64_t)(n) << 3)
#define KS_PB_FIXED64(n) ((uint64_t)(n) << 3 | 1)
#define KS_PB_BYTES(n)   ((uint64_t)(n) << 3 | 2)
#define KS_PB_FIXED32(n) ((uint64_t)(n) << 3 | 5)

struct ks_pb {
    const uint8_t *p, *end;
    bool bad; /* malformed: p is at the field */
};
struct ks_pb_field {
    uint64_t key;    /* number << 3 | wire type */
    uint64_t number; /* varint, fixed64, fixed32 */
    struct ks_slice bytes;
};

static inline struct ks_pb ks_pb(struct ks_slice s)
{
    const uint8_t *p = (const uint8_t *)(s.ptr ? s.ptr : "");
    return (struct ks_pb){p, p + s.len, false};
}

static inline bool ks_pb_varint(const uint8_t **pp, const uint8_t *end, uint64_t *ret)
{
    const uint8_t *p = *pp;
    if (KS_LIKELY(p < end && *p < 0x80)) {
        *ret = *p;
        *pp = p + 1;
        return true;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t c = *p++;
        if (shift == 63 && c > 1)
            return false;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            *pp = p;
            return true;
        }
    }
    return false;
}

/* The next field; false at the end, or when malformed (then m->bad). */
static inline bool ks_pb_next(struct ks_pb *m, struct ks_pb_field *ret)
{
    const uint8_t *p = m->p, *end = m->end;
    uint64_t len;
    if (p == end)
        return false;
    if (KS_UNLIKELY(!ks_pb_varint(&p, end, &ret->key) || !(ret->key >> 3)))
        goto bad;
    ret->number = 0;
    switch (ret->key & 7) {
    case 2:
        if (!ks_pb_varint(&p, end, &len) || len > (uint64_t)(end - p))
            goto bad;
        ret->bytes = ks_slice(p, (size_t)len);
        p += len;
        break;
    case 0:
        if (!ks_pb_varint(&p, end, &ret->number))
            goto bad;
        break;
    case 1:
        if (end - p < 8)
            goto bad;
        ret->number = ks_le64(p);
        p += 8;
        break;
    case 5:
        if (end - p < 4)
            goto bad;
        ret->number = ks_le32(p);
        p += 4;
        break;
    default:
        goto bad;
    }
    m->p = p;
    return true;
bad:
    m->bad = true;
    return false;
}

#endif
