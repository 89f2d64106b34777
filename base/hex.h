/* Hexadecimal digits: ids as text, escapes. Pure functions. */
#ifndef KS_BASE_HEX_H
#define KS_BASE_HEX_H

#include <stdbool.h>

#include "base/slice.h"

/* 0..15 of a digit in either case, -1 when c is none. */
static inline int ks_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly `digits` (1..16) of them, in either case. */
static inline bool ks_hex_parse(const char *p, size_t digits, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = ks_hex_value(p[i]);
        if (d < 0)
            return false;
        v = v << 4 | (uint64_t)d;
    }
    *ret = v;
    return true;
}

static inline char ks_hex_digit(unsigned v)
{
    return "0123456789abcdef"[v & 15];
}
static inline char ks_hex_upper(unsigned v)
{
    return "0123456789ABCDEF"[v & 15];
}

/* The lowest `digits` of v, lower case. */
static inline void ks_hex_put(char *out, uint64_t v, size_t digits)
{
    for (size_t i = digits; i-- > 0; v >>= 4)
        out[i] = ks_hex_digit((unsigned)v);
}

/* Two digits a byte, lower case: 2 · len bytes. */
static inline void ks_hex_put_bytes(char *out, struct ks_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        ks_hex_put(out + 2 * i, (uint8_t)bytes.ptr[i], 2);
}

#endif
