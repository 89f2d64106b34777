/* String literals of Go: what Loki's clients quote label values with. */
#include "api/logs/logs.h"

static int digit(char c)
{
    char low = (char)(c | 32);
    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : 16;
}

/* Reads n digits of a base; false when one is none. */
static bool digits(const char **p, const char *end, unsigned n, int base, uint32_t *ret)
{
    *ret = 0;
    if ((size_t)(end - *p) < n)
        return false;
    for (; n; n--, (*p)++) {
        int d = digit(**p);
        if (d >= base)
            return false;
        *ret = *ret * (uint32_t)base + (uint32_t)d;
    }
    return true;
}

static bool utf8(char **out, uint32_t c)
{
    char *o = *out;
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return false;
    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 63));
    } else {
        if (c < 0x10000) {
            *o++ = (char)(0xe0 | c >> 12);
        } else {
            *o++ = (char)(0xf0 | c >> 18);
            *o++ = (char)(0x80 | (c >> 12 & 63));
        }
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    }
    *out = o;
    return true;
}

/* An escape behind its backslash. */
static bool escape(const char **p, const char *end, char **out)
{
    static const char from[] = "abfnrtv\\\"'", to[] = "\a\b\f\n\r\t\v\\\"'";
    uint32_t v;
    if (*p == end)
        return false;
    char c = *(*p)++;
    const char *known = memchr(from, c, sizeof from - 1);
    if (known) {
        *(*out)++ = to[known - from];
        return true;
    }
    if (c == 'u' || c == 'U')
        return digits(p, end, c == 'u' ? 4 : 8, 16, &v) && utf8(out, v);
    if (c == 'x') {
        if (!digits(p, end, 2, 16, &v))
            return false;
    } else {
        (*p)--;
        if (!digits(p, end, 3, 8, &v) || v > 255)
            return false;
    }
    *(*out)++ = (char)v;
    return true;
}

ks_err ks_go_unquote(struct ks_arena *arena, struct ks_slice s, struct ks_slice *ret,
                     size_t *ret_used)
{
    const char *p = s.ptr + 1, *end = s.ptr + s.len;
    if (s.len < 2 || (*s.ptr != '"' && *s.ptr != '`'))
        return ks_fail(KS_EPARSE, "want a quoted string");
    const char *close = memchr(p, *s.ptr, (size_t)(end - p));
    if (close && (*s.ptr == '`' || !memchr(p, '\\', (size_t)(close - p)))) {
        *ret = ks_slice(p, (size_t)(close - p));
        *ret_used = (size_t)(close + 1 - s.ptr);
        return KS_OK;
    }
    char *out = ks_arena_alloc(arena, s.len), *o = out;
    if (!out)
        return ks_arena_err(arena);
    while (p < end && *p != '"') {
        if (*p != '\\') {
            *o++ = *p++;
            continue;
        }
        p++;
        if (!escape(&p, end, &o))
            return ks_fail(KS_EPARSE, "malformed escape in a quoted string");
    }
    if (p == end)
        return ks_fail(KS_EPARSE, "a quoted string without end");
    *ret = ks_slice(out, (size_t)(o - out));
    *ret_used = (size_t)(p + 1 - s.ptr);
    return KS_OK;
}
