/* Characters as UTF-8, and the escapes they are written with in JSON. Pure functions. */
#ifndef KS_BASE_UTF8_H
#define KS_BASE_UTF8_H

#include "base/hex.h"

/* rune ≤ 0x10ffff, surrogates as if they were characters; 1..4 bytes written. */
static inline size_t ks_utf8_put(char *out, uint32_t rune)
{
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    size_t n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; rune >>= 6)
        out[i] = (char)(0x80 | (rune & 63));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | rune);
    return n;
}

static inline bool ks_is_surrogate(int32_t rune)
{
    return rune >= 0xd800 && rune < 0xe000;
}

/*
 * What stands behind the \u of a JSON string: XXXX, or XXXX\uXXXX when that is a pair of
 * surrogates. The character, or a surrogate without its partner; -1 when there are no four digits.
 * *ret_used: bytes read, 4 or 10.
 */
static inline int32_t ks_json_u(const char *p, const char *end, size_t *ret_used)
{
    uint64_t c, low;
    if (end - p < 4 || !ks_hex_parse(p, 4, &c))
        return -1;
    *ret_used = 4;
    if (c < 0xd800 || c >= 0xdc00 || end - p < 10 || p[4] != '\\' || p[5] != 'u' ||
        !ks_hex_parse(p + 6, 4, &low) || low < 0xdc00 || low >= 0xe000)
        return (int32_t)c;
    *ret_used = 10;
    return (int32_t)(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
}

#endif
