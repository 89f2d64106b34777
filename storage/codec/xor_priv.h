/*
 * The XOR window of Gorilla's value coding, shared by the open chunk and the sealed XOR column, and
 * that column itself.
 */
#ifndef KS_STORAGE_CODEC_XOR_PRIV_H
#define KS_STORAGE_CODEC_XOR_PRIV_H

#include "base/buf.h"
#include "storage/codec/bits_priv.h"

#define KSI_XOR_WINDOW_BITS 12 /* leading zeros (6), significant bits - 1 (6) */

/* The token bits that say "current window" and "new window", low bit first; they differ by place.
 */
struct ksi_xor_tokens {
    unsigned reuse, reuse_bits, fresh, fresh_bits;
};

/* Whether xor ≠ 0 goes into the window (lead, sig) rather than a new one: it fits, and that costs
 * no more bits. */
static inline bool ksi_xor_fits(unsigned lz, unsigned tz, unsigned lead, unsigned sig)
{
    return sig && lz >= lead && tz >= 64 - lead - sig && sig <= 64 - lz - tz + 13;
}

static inline void ksi_put_xor(struct ksi_bitw *w, uint64_t xor, uint8_t *lead, uint8_t *sig,
                               struct ksi_xor_tokens t)
{
    unsigned lz = (unsigned)__builtin_clzll(xor), tz = (unsigned)__builtin_ctzll(xor);
    unsigned len = 64 - lz - tz;
    if (ksi_xor_fits(lz, tz, *lead, *sig)) {
        ksi_put_bits(w, t.reuse, t.reuse_bits);
        ksi_put_bits64(w, xor >> (64u - *lead - *sig), *sig);
        return;
    }
    ksi_put_bits(w, t.fresh | lz << t.fresh_bits | (len - 1) << (t.fresh_bits + 6),
                 t.fresh_bits + KSI_XOR_WINDOW_BITS);
    ksi_put_bits64(w, xor >> tz, len);
    *lead = (uint8_t)lz;
    *sig = (uint8_t)len;
}

/* The XOR column: first value raw, then per value 0 same | 1 0 current window | 1 1 new window. */
size_t ksi_xor_bytes(const double *v, size_t n);
void ksi_xor_put(const double *v, size_t n, size_t bytes, struct ks_buf *out);
bool ksi_xor_get(struct ks_slice bytes, size_t n, double *ret);

#endif
