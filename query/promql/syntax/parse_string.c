/* String literals and identifiers as text. Thread role: any. */

#include "query/promql/syntax/parser_priv.h"

#include "base/utf8.h"

/* \ooo, \xhh, \uhhhh, \Uhhhhhhhh at s (behind the backslash); bytes read, 0 when malformed. */
static size_t numeric_escape(struct ks_slice s, char *out, size_t *out_len)
{
    char c = s.ptr[0];
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 3, from = digits != 3;
    uint32_t v = 0;
    if (s.len < from + digits)
        return 0;
    for (size_t i = from; i < from + digits; i++) {
        int h = ks_hex_value(s.ptr[i]);
        if (h < 0 || (digits == 3 && h > 7))
            return 0;
        v = v * (digits == 3 ? 8 : 16) + (uint32_t)h;
    }
    if (digits < 4) {
        if (v > 255)
            return 0;
        *out = (char)v;
        *out_len = 1;
    } else {
        if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
            return 0;
        *out_len = ks_utf8_put(out, v);
    }
    return from + digits;
}

/* One escape at s (behind the backslash); bytes read, 0 when malformed. */
static size_t escape(struct ks_slice s, char quote, char *out, size_t *out_len)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    if (s.len == 0 || !s.ptr[0])
        return 0;
    char c = s.ptr[0];
    const char *simple = strchr(from, c);
    if (simple || c == quote || (quote == '\'' && c == '"')) {
        *out = simple ? to[simple - from] : c;
        *out_len = 1;
        return 1;
    }
    if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7'))
        return numeric_escape(s, out, out_len);
    return 0;
}

ks_err ksi_unquote(struct ksi_parser *p, struct ks_slice quoted, size_t pos, struct ks_slice *ret)
{
    char quote = quoted.ptr[0], q[KSI_QUOTE_MAX];
    struct ks_slice s = ks_slice(quoted.ptr + 1, quoted.len - 2);
    if (quote == '`' || (!memchr(s.ptr, '\\', s.len) && !memchr(s.ptr, '\n', s.len))) {
        *ret = s;
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, s.len + 1);
    size_t n = 0;
    if (!out)
        return ks_arena_err(p->arena);
    for (size_t i = 0; i < s.len;) {
        if (s.ptr[i] == '\n')
            return ksi_error(p, pos, "error unquoting string %s: invalid syntax",
                             ksi_quote(q, quoted));
        if (s.ptr[i] != '\\') {
            out[n++] = s.ptr[i++];
            continue;
        }
        /* An escape is never shorter than what it stands for. */
        size_t wrote = 0, used = escape(ks_slice_from(s, i + 1), quote, out + n, &wrote);
        if (!used)
            return ksi_error(p, pos, "error unquoting string %s: invalid syntax",
                             ksi_quote(q, quoted));
        i += 1 + used;
        n += wrote;
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

ks_err ksi_unescape_ident(struct ksi_parser *p, struct ks_slice ident, struct ks_slice *ret)
{
    if (!ident.len || !memchr(ident.ptr, '\\', ident.len)) {
        *ret = ident;
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, ident.len + 4);
    size_t n = 0;
    if (!out)
        return ks_arena_err(p->arena);
    for (size_t i = 0; i < ident.len;) {
        int32_t r = 0;
        size_t used =
            ident.ptr[i] == '\\' ? ksi_ident_unescape(ks_slice_from(ident, i + 1), &r) : 0;
        if (used) {
            n += ks_utf8_put(out + n, (uint32_t)r);
            i += 1 + used;
        } else {
            out[n++] = ident.ptr[i++];
        }
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

ks_err ksi_concat(struct ksi_parser *p, struct ks_slice a, struct ks_slice b, struct ks_slice *ret)
{
    if (!a.len || !b.len) {
        *ret = a.len ? a : b;
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, a.len + b.len);
    if (!out)
        return ks_arena_err(p->arena);
    memcpy(out, a.ptr, a.len);
    memcpy(out + a.len, b.ptr, b.len);
    *ret = ks_slice(out, a.len + b.len);
    return KS_OK;
}

ks_err ksi_lower(struct ksi_parser *p, struct ks_slice s, struct ks_slice *ret)
{
    struct ks_slice copy = ks_arena_dup(p->arena, s);
    if (!copy.ptr)
        return ks_arena_err(p->arena);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        ((char *)copy.ptr)[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    *ret = copy;
    return KS_OK;
}
