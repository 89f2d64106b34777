/*
 * Byte-level encoding: unaligned little- and big-endian loads and stores, LEB128 varints, zigzag,
 * and a bounds-checked reader for hostile input. A reader never reads past its end: after the first
 * short or malformed read `bad` is set and every further read gives 0, so a decoder may check once
 * per record.
 */
#ifndef KS_BASE_BYTES_H
#define KS_BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kofstore supports little-endian machines only"
#endif

static inline uint16_t ks_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t ks_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t ks_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void ks_put_le16(void *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static inline void ks_put_le32(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void ks_put_le64(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline uint32_t ks_be32(const void *p)
{
    return __builtin_bswap32(ks_le32(p));
}
static inline uint64_t ks_be64(const void *p)
{
    return __builtin_bswap64(ks_le64(p));
}
static inline void ks_put_be32(void *p, uint32_t v)
{
    ks_put_le32(p, __builtin_bswap32(v));
}
static inline void ks_put_be64(void *p, uint64_t v)
{
    ks_put_le64(p, __builtin_bswap64(v));
}

static inline uint64_t ks_f64_bits(double v)
{
    uint64_t u;
    memcpy(&u, &v, 8);
    return u;
}
static inline double ks_f64_from_bits(uint64_t u)
{
    double v;
    memcpy(&v, &u, 8);
    return v;
}

#define KS_VARINT_MAX 10

static inline uint64_t ks_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t ks_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Writes v at p (room for KS_VARINT_MAX); returns the bytes written. */
static inline size_t ks_varint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

struct ks_reader {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct ks_reader ks_reader(struct ks_slice s)
{
    const uint8_t *p = (const uint8_t *)s.ptr;
    return (struct ks_reader){p, p ? p + s.len : p, false};
}
static inline size_t ks_reader_left(const struct ks_reader *r)
{
    return (size_t)(r->end - r->p);
}
static inline void ks_reader_fail(struct ks_reader *r)
{
    r->bad = true;
    r->p = r->end;
}
static inline uint8_t ks_read_u8(struct ks_reader *r)
{
    if (r->p == r->end) {
        r->bad = true;
        return 0;
    }
    return *r->p++;
}
#define KS_READ_FIXED(name, type, load)                                                            \
    static inline type name(struct ks_reader *r)                                                   \
    {                                                                                              \
        if (ks_reader_left(r) < sizeof(type)) {                                                    \
            ks_reader_fail(r);                                                                     \
            return 0;                                                                              \
        }                                                                                          \
        type v = load(r->p);                                                                       \
        r->p += sizeof(type);                                                                      \
        return v;                                                                                  \
    }
KS_READ_FIXED(ks_read_u16, uint16_t, ks_le16)
KS_READ_FIXED(ks_read_u32, uint32_t, ks_le32)
KS_READ_FIXED(ks_read_u64, uint64_t, ks_le64)
KS_READ_FIXED(ks_read_be32, uint32_t, ks_be32)
KS_READ_FIXED(ks_read_be64, uint64_t, ks_be64)
#undef KS_READ_FIXED

static inline uint64_t ks_read_varint(struct ks_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end)
            break;
        uint8_t c = *r->p++;
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return v;
    }
    ks_reader_fail(r);
    return 0;
}
static inline int64_t ks_read_zigzag(struct ks_reader *r)
{
    return ks_unzigzag(ks_read_varint(r));
}
/* The next n bytes, borrowed; empty and bad when there are fewer. */
static inline struct ks_slice ks_read_bytes(struct ks_reader *r, uint64_t n)
{
    if (n > ks_reader_left(r)) {
        ks_reader_fail(r);
        return ks_slice(NULL, 0);
    }
    struct ks_slice s = ks_slice(r->p, (size_t)n);
    r->p += n;
    return s;
}
static inline struct ks_slice ks_read_lp(struct ks_reader *r)
{
    uint64_t n = ks_read_varint(r);
    return ks_read_bytes(r, n);
}

#endif
