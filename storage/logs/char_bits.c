/* See char_bits.h. */
#include "storage/logs/char_bits.h"

#include <string.h>

#include "base/mem.h"
#include "storage/logs/token.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct bits64 {
    uint64_t token, digit;
    bool has_nul;
};

/* 64 bytes. */
static inline struct bits64 classify(const char *p)
{
    struct bits64 r = {0, 0, false};
#ifdef __SSE2__
    for (int k = 0; k < 4; k++) {
        __m128i x = _mm_loadu_si128((const __m128i *)(p + 16 * k));
        __m128i d = _mm_sub_epi8(x, _mm_set1_epi8('0'));
        __m128i a = _mm_sub_epi8(_mm_or_si128(x, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
        d = _mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(9)), d);
        a = _mm_cmpeq_epi8(_mm_min_epu8(a, _mm_set1_epi8(25)), a);
        a = _mm_or_si128(_mm_or_si128(a, d), _mm_cmpeq_epi8(x, _mm_set1_epi8('_')));
        r.token |= (uint64_t)(uint32_t)_mm_movemask_epi8(a) << 16 * k;
        r.digit |= (uint64_t)(uint32_t)_mm_movemask_epi8(d) << 16 * k;
        r.has_nul |= _mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_setzero_si128())) != 0;
    }
#else
    for (int k = 0; k < 64; k++) {
        uint8_t class = ks_char_class[(uint8_t)p[k]];
        r.token |= (uint64_t)((class & KS_CHAR_TOKEN) != 0) << k;
        r.digit |= (uint64_t)((class & KS_CHAR_DIGIT) != 0) << k;
        r.has_nul |= p[k] == 0;
    }
#endif
    return r;
}

ks_err ksi_classes_of(struct ksi_classes *c, struct ks_slice text)
{
    size_t words = (text.len + 63) / 64;
    c->len = text.len;
    c->has_nul = false;
    if (words > c->token_cap || words > c->digit_cap) {
        KS_TRY(ks_array_reserve((void **)&c->token, &c->token_cap, words, sizeof *c->token));
        KS_TRY(ks_array_reserve((void **)&c->digit, &c->digit_cap, words, sizeof *c->digit));
    }
    for (size_t w = 0; w < words; w++) {
        char tail[64];
        const char *p = text.ptr + w * 64;
        if (text.len - w * 64 < 64) {
            memset(tail, ' ', sizeof tail);
            memcpy(tail, p, text.len - w * 64);
            p = tail;
        }
        struct bits64 r = classify(p);
        c->token[w] = r.token;
        c->digit[w] = r.digit;
        c->has_nul |= r.has_nul;
    }
    return KS_OK;
}

void ksi_classes_done(struct ksi_classes *c)
{
    ks_free(c->token);
    ks_free(c->digit);
    *c = (struct ksi_classes){0};
}
