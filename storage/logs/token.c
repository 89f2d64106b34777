#include "storage/logs/token.h"

#define D (KS_CHAR_TOKEN | KS_CHAR_DIGIT | KS_CHAR_HEX)
#define H (KS_CHAR_TOKEN | KS_CHAR_HEX)
#define T KS_CHAR_TOKEN
const uint8_t ks_char_class[256] = {
    ['0'] = D, ['1'] = D, ['2'] = D, ['3'] = D, ['4'] = D, ['5'] = D, ['6'] = D, ['7'] = D,
    ['8'] = D, ['9'] = D, ['a'] = H, ['b'] = H, ['c'] = H, ['d'] = H, ['e'] = H, ['f'] = H,
    ['g'] = T, ['h'] = T, ['i'] = T, ['j'] = T, ['k'] = T, ['l'] = T, ['m'] = T, ['n'] = T,
    ['o'] = T, ['p'] = T, ['q'] = T, ['r'] = T, ['s'] = T, ['t'] = T, ['u'] = T, ['v'] = T,
    ['w'] = T, ['x'] = T, ['y'] = T, ['z'] = T, ['A'] = H, ['B'] = H, ['C'] = H, ['D'] = H,
    ['E'] = H, ['F'] = H, ['G'] = T, ['H'] = T, ['I'] = T, ['J'] = T, ['K'] = T, ['L'] = T,
    ['M'] = T, ['N'] = T, ['O'] = T, ['P'] = T, ['Q'] = T, ['R'] = T, ['S'] = T, ['T'] = T,
    ['U'] = T, ['V'] = T, ['W'] = T, ['X'] = T, ['Y'] = T, ['Z'] = T, ['_'] = T};
#undef D
#undef H
#undef T

bool ks_has_digit(struct ks_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (ks_is_digit(s.ptr[i]))
            return true;
    return false;
}

bool ks_contains_token(struct ks_slice text, struct ks_slice token)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    while (token.len && (size_t)(end - p) >= token.len) {
        const char *hit = memmem(p, (size_t)(end - p), token.ptr, token.len);
        if (!hit)
            return false;
        bool starts = hit == text.ptr || !ks_is_token_char(hit[-1]);
        bool ends = hit + token.len == end || !ks_is_token_char(hit[token.len]);
        if (starts && ends)
            return true;
        p = hit + 1;
    }
    return token.len == 0;
}
