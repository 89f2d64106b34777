/*
 * Tokens of log texts: maximal runs of ASCII letters, digits and '_'. Bytes above 127 separate, so
 * that what is said of tokens holds for every Unicode text.
 */
#ifndef KS_STORAGE_LOGS_TOKEN_H
#define KS_STORAGE_LOGS_TOKEN_H

#include "base/hash.h"
#include "base/slice.h"

enum { KS_CHAR_TOKEN = 1, KS_CHAR_DIGIT = 2, KS_CHAR_HEX = 4 };
extern const uint8_t ks_char_class[256];

static inline bool ks_is_token_char(char c)
{
    return ks_char_class[(uint8_t)c] & KS_CHAR_TOKEN;
}
static inline bool ks_is_digit(char c)
{
    return (uint8_t)(c - '0') <= 9;
}

/* The next token at or after *at; false at the end. */
static inline bool ks_token_next(struct ks_slice s, size_t *at, struct ks_slice *ret)
{
    size_t i = *at;
    while (i < s.len && !ks_is_token_char(s.ptr[i]))
        i++;
    size_t start = i;
    while (i < s.len && ks_is_token_char(s.ptr[i]))
        i++;
    *at = i;
    *ret = ks_slice_sub(s, start, i - start);
    return i > start;
}

static inline uint64_t ks_token_hash(struct ks_slice token)
{
    return ks_hash64(token.ptr, token.len);
}

bool ks_has_digit(struct ks_slice s);
/* Whether the text contains the token whole. */
bool ks_contains_token(struct ks_slice text, struct ks_slice token);

#endif
