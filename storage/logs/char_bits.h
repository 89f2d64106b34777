/*
 * A text as bits, one per byte: which belong to tokens, which are digits. Words of 64 bytes, so
 * that what lies between variables is skipped at once.
 */
#ifndef KS_STORAGE_LOGS_CHAR_BITS_H
#define KS_STORAGE_LOGS_CHAR_BITS_H

#include "base/err.h"
#include "base/slice.h"

struct ksi_classes {
    uint64_t *token, *digit; /* bits behind the text are 0 */
    size_t token_cap, digit_cap, len;
    bool has_nul;
};

KS_NODISCARD ks_err ksi_classes_of(struct ksi_classes *c, struct ks_slice text);
void ksi_classes_done(struct ksi_classes *c);

/* The first digit at or behind `from`; the length of the text or more: there is none. */
static inline size_t ksi_classes_digit(const struct ksi_classes *c, size_t from)
{
    size_t w = from / 64, words = (c->len + 63) / 64;
    if (w >= words)
        return c->len;
    uint64_t bits = c->digit[w] & (~0ull << from % 64);
    while (!bits)
        if (++w == words)
            return c->len;
        else
            bits = c->digit[w];
    return w * 64 + (unsigned)__builtin_ctzll(bits);
}

/* Where the token that `at` is in begins, not before `least`. */
static inline size_t ksi_classes_start(const struct ksi_classes *c, size_t at, size_t least)
{
    size_t w = at / 64;
    uint64_t others = ~c->token[w] & ((1ull << at % 64) - 1);
    while (!others && w * 64 > least)
        others = ~c->token[--w];
    size_t start = others ? w * 64 + 64 - (unsigned)__builtin_clzll(others) : 0;
    return start > least ? start : least;
}

/* Where it ends: behind its last byte. */
static inline size_t ksi_classes_end(const struct ksi_classes *c, size_t at)
{
    size_t w = at / 64, words = (c->len + 63) / 64;
    uint64_t others = ~c->token[w] & (~0ull << at % 64);
    while (!others && ++w < words)
        others = ~c->token[w];
    size_t end = others ? w * 64 + (unsigned)__builtin_ctzll(others) : c->len;
    return end < c->len ? end : c->len;
}

#endif
