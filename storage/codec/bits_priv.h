/*
 * LSB-first bit streams: bit k of the stream is bit k % 8 of byte k / 8. Shared by the codecs of
 * this folder.
 */
#ifndef KS_STORAGE_CODEC_BITS_PRIV_H
#define KS_STORAGE_CODEC_BITS_PRIV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"

/* The low n bits set; n 0..64. */
static inline uint64_t ksi_mask(unsigned n)
{
    return n ? ~0ull >> (64 - n) : 0;
}

/* Bits needed to hold v; 0 for 0. */
static inline unsigned ksi_bit_width(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* Writes bits into memory with 8 bytes of slack behind the last bit written; ksi_bitw_end() stores
 * the rest. */
struct ksi_bitw {
    uint8_t *p;
    uint64_t acc;
    unsigned fill; /* bits in acc not yet stored, 0..7 between calls */
};

/* n 0..56, v < 2^n. */
static inline void ksi_put_bits(struct ksi_bitw *w, uint64_t v, unsigned n)
{
    w->acc |= v << w->fill;
    w->fill += n;
    ks_put_le64(w->p, w->acc);
    w->p += w->fill >> 3;
    w->acc >>= w->fill & ~7u;
    w->fill &= 7;
}

/* n 0..64, v < 2^n. */
static inline void ksi_put_bits64(struct ksi_bitw *w, uint64_t v, unsigned n)
{
    if (n > 56) {
        ksi_put_bits(w, v & ksi_mask(32), 32);
        v >>= 32;
        n -= 32;
    }
    ksi_put_bits(w, v, n);
}

/* Stores the last partial byte; returns the byte behind the stream. */
static inline uint8_t *ksi_bitw_end(struct ksi_bitw *w)
{
    if (w->fill)
        *w->p++ = (uint8_t)w->acc;
    w->acc = 0;
    w->fill = 0;
    return w->p;
}

/* At least 57 bits from bit position pos of len bytes; bits behind the end are 0. */
static inline uint64_t ksi_peek_bits(const uint8_t *buf, size_t len, size_t pos)
{
    size_t at = pos >> 3;
    if (KS_LIKELY(at + 8 <= len))
        return ks_le64(buf + at) >> (pos & 7);
    uint64_t v = 0;
    if (at < len)
        memcpy(&v, buf + at, len - at);
    return v >> (pos & 7);
}

/* n 0..64 bits from pos. */
static inline uint64_t ksi_get_bits(const uint8_t *buf, size_t len, size_t pos, unsigned n)
{
    uint64_t v = ksi_peek_bits(buf, len, pos);
    if (n > 57)
        v = (v & ksi_mask(32)) | ksi_peek_bits(buf, len, pos + 32) << 32;
    return v & ksi_mask(n);
}

#endif
