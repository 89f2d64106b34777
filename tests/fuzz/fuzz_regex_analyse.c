/*
 * An analysed expression and plain RE2 must agree on every text. Input: pattern, 0xff, texts
 * separated by 0xff; besides, texts are made from pieces of the pattern itself, which come closest
 * to matching.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cxx/re2.h"
#include "index/matcher_compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool valid_utf8(struct ks_slice s)
{
    while (s.len) {
        size_t n = ksi_utf8_len(s);
        if (!n)
            return false;
        s = ks_slice_from(s, n);
    }
    return true;
}

static void compare(const struct ks_regex *re, const struct ks_re *plain, struct ks_slice text)
{
    if (valid_utf8(text) && ks_regex_match(re, text) !=
                                (bool)ks_re_full_match(plain, text.len ? text.ptr : "", text.len))
        abort();
}

/* Cuts, doublings and swaps of the pattern's own bytes without its operators. */
static void compare_pieces(const struct ks_regex *re, const struct ks_re *plain,
                           struct ks_slice pattern)
{
    char text[160];
    for (size_t from = 0; from < pattern.len && from < 24; from++)
        for (size_t len = 0; from + len <= pattern.len && len < 24; len++) {
            size_t n = 0;
            for (size_t i = 0; i < len; i++)
                if (!strchr("()[]{}?*+|\\^$.", pattern.ptr[from + i]) || pattern.ptr[from + i] == 0)
                    text[n++] = pattern.ptr[from + i];
            compare(re, plain, ks_slice(text, n));
            memcpy(text + n, text, n);
            compare(re, plain, ks_slice(text, 2 * n));
            text[2 * n] = 'z';
            compare(re, plain, ks_slice(text, 2 * n + 1));
            compare(re, plain, ks_slice(text + n, n + 1));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xff, size) : NULL;
    struct ks_slice pattern =
        ks_slice(size ? (const char *)data : "", cut ? (size_t)(cut - data) : size);
    if (pattern.len > 64)
        return 0;
    char why[64];
    struct ks_re *plain = ks_re_new(pattern.ptr, pattern.len, KS_RE_DOT_NL, why, sizeof why);
    struct ks_regex *re = NULL;
    ks_err err = ks_regex_get(pattern, &re);
    if ((err == KS_OK) != (plain != NULL))
        abort();
    if (err == KS_OK) {
        compare(re, plain, ks_slice("", 0));
        compare_pieces(re, plain, pattern);
        for (const uint8_t *p = cut; p;) {
            const uint8_t *from = p + 1, *end = data + size;
            p = from < end ? memchr(from, 0xff, (size_t)(end - from)) : NULL;
            compare(re, plain, ks_slice((const char *)from, (size_t)((p ? p : end) - from)));
        }
    }
    ks_regex_unref(re);
    ks_re_free(plain);
    return 0;
}
