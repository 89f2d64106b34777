/*
 * Fixed-width bit packing (pack_priv.h). Eight values of width w fill exactly w bytes, so each
 * width has a kernel whose shifts are constants; the last values are taken one by one, so no load
 * crosses the end of the input.
 */
#include <string.h>

#include "storage/codec/bits_priv.h"
#include "storage/codec/pack_priv.h"

/* One block: eight values from w bytes. Loads up to byte (7 * w >> 3) + 8, or + 16 for w > 57. */
static inline __attribute__((always_inline)) void unpack8(const uint8_t *src, uint64_t *out,
                                                          unsigned w)
{
#pragma GCC unroll 8
    for (unsigned k = 0; k < 8; k++) {
        unsigned bit = k * w, sh = bit & 7;
        uint64_t v = ks_le64(src + (bit >> 3)) >> sh;
        if (sh + w > 64)
            v |= (uint64_t)src[(bit >> 3) + 8] << (64 - sh);
        out[k] = w == 64 ? v : v & ((1ull << (w & 63)) - 1);
    }
}

typedef void unpack_fn(const uint8_t *src, size_t blocks, uint64_t *out);

#define KERNEL(w)                                                                                  \
    static void unpack_##w(const uint8_t *src, size_t blocks, uint64_t *out)                       \
    {                                                                                              \
        for (size_t b = 0; b < blocks; b++, src += (w), out += 8)                                  \
            unpack8(src, out, w);                                                                  \
    }
#define EIGHT(X, a, b, c, d, e, f, g, h) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h)
#define ALL_WIDTHS(X)                                                                              \
    EIGHT(X, 1, 2, 3, 4, 5, 6, 7, 8)                                                               \
    EIGHT(X, 9, 10, 11, 12, 13, 14, 15, 16)                                                        \
    EIGHT(X, 17, 18, 19, 20, 21, 22, 23, 24)                                                       \
    EIGHT(X, 25, 26, 27, 28, 29, 30, 31, 32)                                                       \
    EIGHT(X, 33, 34, 35, 36, 37, 38, 39, 40)                                                       \
    EIGHT(X, 41, 42, 43, 44, 45, 46, 47, 48)                                                       \
    EIGHT(X, 49, 50, 51, 52, 53, 54, 55, 56)                                                       \
    EIGHT(X, 57, 58, 59, 60, 61, 62, 63, 64)
ALL_WIDTHS(KERNEL)
#define ENTRY(w) unpack_##w,
static unpack_fn *const kernels[64] = {ALL_WIDTHS(ENTRY)};

/* The bits of a buffer of fewer than eight bytes, by loads that overlap: a copy would be waited
 * for. */
static uint64_t short_word(const uint8_t *src, size_t len)
{
    if (len >= 4)
        return ks_le32(src) | (uint64_t)ks_le32(src + len - 4) << 8 * (len - 4);
    if (len >= 2)
        return ks_le16(src) | (uint64_t)ks_le16(src + len - 2) << 8 * (len - 2);
    return src[0];
}

/* Values first..n one by one, from loads that end where the bytes do. */
static void unpack_end(const uint8_t *src, size_t len, size_t first, size_t n, unsigned width,
                       uint64_t *ret)
{
    uint64_t mask = ksi_mask(width), word = len < 8 ? short_word(src, len) : 0;
    for (size_t i = first; i < n; i++) {
        size_t bit = i * width, at = bit >> 3;
        if (len < 8) {
            ret[i] = word >> bit & mask;
            continue;
        }
        at = at + 8 <= len ? at : len - 8;
        size_t sh = bit - 8 * at; /* 0..63 */
        uint64_t v = ks_le64(src + at) >> sh;
        if (sh + width > 64) /* nine bytes, and there are nine */
            v |= (uint64_t)src[at + 8] << (64 - sh);
        ret[i] = v & mask;
    }
}

void ksi_unpack(const uint8_t *src, size_t n, unsigned width, uint64_t *ret)
{
    if (width == 0) {
        memset(ret, 0, n * sizeof *ret);
        return;
    }
    size_t len = ksi_packed_bytes(n, width), reach = (7 * width >> 3) + 8 + (width > 57);
    size_t blocks = len < reach ? 0 : (len - reach) / width + 1; /* whose loads stay inside */
    if (blocks > n / 8)
        blocks = n / 8;
    kernels[width - 1](src, blocks, ret);
    unpack_end(src, len, blocks * 8, n, width, ret);
}

uint8_t *ksi_pack(uint8_t *dst, const uint64_t *v, size_t n, unsigned width)
{
    uint64_t acc = 0, mask = ksi_mask(width);
    unsigned fill = 0;
    if (width == 0)
        return dst;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = v[i] & mask;
        acc |= x << fill;
        fill += width;
        if (fill >= 64) {
            ks_put_le64(dst, acc);
            dst += 8;
            fill -= 64;
            acc = fill ? x >> (width - fill) : 0;
        }
    }
    ks_put_le64(dst, acc);
    return dst + (fill + 7) / 8;
}
