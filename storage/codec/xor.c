/* The sealed XOR column (xor_priv.h): Gorilla's values without timestamps; the fallback for erratic
 * doubles. */
#include "storage/codec/xor_priv.h"

#include "storage/codec/pack_priv.h"

size_t ksi_xor_bytes(const double *v, size_t n)
{
    size_t bits = 64;
    unsigned lead = 0, sig = 0;
    uint64_t prev = ks_f64_bits(v[0]);
    for (size_t i = 1; i < n; i++) {
        uint64_t cur = ks_f64_bits(v[i]), xor = cur ^ prev;
        prev = cur;
        if (!xor) {
            bits++;
            continue;
        }
        unsigned lz = (unsigned)__builtin_clzll(xor), tz = (unsigned)__builtin_ctzll(xor);
        if (ksi_xor_fits(lz, tz, lead, sig)) {
            bits += 2 + sig;
            continue;
        }
        lead = lz;
        sig = 64 - lz - tz;
        bits += 2 + KSI_XOR_WINDOW_BITS + sig;
    }
    return (bits + 7) / 8;
}

void ksi_xor_put(const double *v, size_t n, size_t bytes, struct ks_buf *out)
{
    if (!ks_buf_reserve(out, bytes + KSI_PACK_SLACK))
        return;
    uint8_t *start = (uint8_t *)out->ptr + out->len, lead = 0, sig = 0;
    struct ksi_bitw w = {start, 0, 0};
    uint64_t prev = ks_f64_bits(v[0]);
    ksi_put_bits64(&w, prev, 64);
    for (size_t i = 1; i < n; i++) {
        uint64_t cur = ks_f64_bits(v[i]), xor = cur ^ prev;
        prev = cur;
        if (xor)
            ksi_put_xor(&w, xor, &lead, &sig,
                        (struct ksi_xor_tokens){
                            1, 2, 3, 2});
        else
            ksi_put_bits(&w, 0, 1);
    }
    KS_ASSERT((size_t)(ksi_bitw_end(&w) - start) == bytes);
    out->len += bytes;
}

bool ksi_xor_get(struct ks_slice bytes, size_t n, double *ret)
{
    const uint8_t *buf = (const uint8_t *)bytes.ptr;
    size_t pos = 64, len = bytes.len;
    unsigned lead = 0, sig = 0;
    if (len < 8)
        return false;
    uint64_t cur = ks_le64(buf);
    ret[0] = ks_f64_from_bits(cur);
    for (size_t i = 1; i < n; i++) {
        uint64_t x = ksi_peek_bits(buf, len, pos);
        if (x & 1) {
            pos += 2;
            if (x & 2) {
                lead = x >> 2 & 63;
                sig = (x >> 8 & 63) + 1;
                pos += KSI_XOR_WINDOW_BITS;
            }
            if (sig == 0 || lead + sig > 64)
                return false;
            cur ^= ksi_get_bits(buf, len, pos, sig) << (64 - lead - sig);
            pos += sig;
        } else {
            pos++;
        }
        ret[i] = ks_f64_from_bits(cur);
    }
    return (pos + 7) / 8 == len && !(pos & 7 && buf[len - 1] >> (pos & 7));
}
