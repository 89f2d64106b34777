/* See template_rows.h. */
#include "storage/logs/template_rows.h"

#include "storage/codec/pack_priv.h"
#include "storage/logs/pred.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline uint64_t equal64(const uint8_t *ids, uint8_t id)
{
#ifdef __SSE2__
    const __m128i want = _mm_set1_epi8((char)id);
    uint64_t bits = 0;
    for (int k = 0; k < 4; k++) {
        __m128i x = _mm_loadu_si128((const __m128i *)(ids + 16 * k));
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, want)) << 16 * k;
    }
    return bits;
#else
    uint64_t bits = 0;
    for (int k = 0; k < 64; k++)
        bits |= (uint64_t)(ids[k] == id) << k;
    return bits;
#endif
}

void ksi_template_bits(const struct ksi_templates *t, uint32_t rows, uint32_t id, uint64_t *ret)
{
    uint32_t i = 0;
    if (t->ids8)
        for (; i + 64 <= rows; i += 64)
            ret[i / 64] = equal64(t->ids8 + i, (uint8_t)id);
    for (; i < rows; i += 64) {
        uint64_t bits = 0;
        for (uint32_t k = 0; k < 64 && i + k < rows; k++)
            bits |= (uint64_t)(ksi_template_id(t, i + k) == id) << k;
        ret[i / 64] = bits;
    }
}

/* The bits of x at the places of `of`, side by side. */
static inline uint64_t extract(uint64_t x, uint64_t of)
{
    uint64_t out = 0, to = 1;
    if (!(x & of))
        return 0;
    for (; of; of &= of - 1, to <<= 1)
        if (x & of & -of)
            out |= to;
    return out;
}

static inline uint64_t deposit(uint64_t x, uint64_t of)
{
    uint64_t out = 0;
    for (; x; of &= of - 1, x >>= 1)
        if (x & 1)
            out |= of & -of;
    return out;
}

static inline uint64_t ones(unsigned n)
{
    return n < 64 ? (1ull << n) - 1 : ~0ull;
}

KS_CLONES uint32_t ksi_bits_gather(const uint64_t *of, const uint64_t *bits, size_t words,
                                   uint64_t *out)
{
    uint32_t at = 0;
    out[0] = 0;
    for (size_t w = 0; w < words; w++) {
        if (!of[w])
            continue;
        unsigned n = (unsigned)__builtin_popcountll(of[w]), shift = at % 64;
        uint64_t x = (bits[w] & of[w]) == of[w] ? ones(n) : extract(bits[w], of[w]);
        out[at / 64] |= x << shift;
        if (shift + n >= 64)
            out[at / 64 + 1] = shift ? x >> (64 - shift) : 0;
        at += n;
    }
    return at;
}

KS_CLONES void ksi_bits_scatter(const uint64_t *of, const uint64_t *bits, size_t words,
                                uint64_t *out)
{
    uint32_t at = 0;
    for (size_t w = 0; w < words; w++) {
        if (!of[w])
            continue;
        unsigned n = (unsigned)__builtin_popcountll(of[w]), shift = at % 64;
        uint64_t x = bits[at / 64] >> shift;
        if (shift + n > 64)
            x |= bits[at / 64 + 1] << (64 - shift);
        x &= ones(n);
        if (x == ones(n))
            out[w] |= of[w];
        else if (x)
            out[w] |= deposit(x, of[w]);
        at += n;
    }
}

bool ksi_template_histogram(const struct ksi_templates *t, uint32_t rows, uint32_t *ret)
{
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t id = ksi_template_id(t, i);
        if (id > t->count)
            return false;
        ret[id]++;
    }
    return true;
}
