#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/mem.h"

void ks_buf_init(struct ks_buf *b, size_t max)
{
    *b = (struct ks_buf){.max = max};
}

void ks_buf_done(struct ks_buf *b)
{
    if (!b)
        return;
    ks_free(b->ptr);
    *b = (struct ks_buf){.max = b->max};
}

void ks_buf_reset(struct ks_buf *b)
{
    b->len = 0;
    b->err = KS_OK;
}

bool ks_buf_reserve_slow(struct ks_buf *b, size_t n)
{
    if (b->err != KS_OK)
        return false;
    if (b->len + n <= b->cap)
        return true;
    if (n > b->max || b->len > b->max - n) {
        b->err = ks_fail(KS_ETOOBIG, "buffer would exceed its limit of %zu bytes", b->max);
        return false;
    }
    size_t cap = b->cap ? b->cap * 2 : 256;
    if (cap < b->len + n)
        cap = b->len + n;
    if (cap > b->max)
        cap = b->max;
    char *p = ks_realloc(b->ptr, cap);
    if (!p) {
        b->err = KS_ENOMEM;
        return false;
    }
    b->ptr = p;
    b->cap = cap;
    return true;
}

void ks_buf_printf(struct ks_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        ks_buf_add(b, small, (size_t)n);
    } else if (n >= 0 && ks_buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void ks_buf_varint(struct ks_buf *b, uint64_t v)
{
    if (ks_buf_reserve(b, KS_VARINT_MAX))
        b->len += ks_varint_put((uint8_t *)b->ptr + b->len, v);
}

void ks_buf_zigzag(struct ks_buf *b, int64_t v)
{
    ks_buf_varint(b, ks_zigzag(v));
}

void ks_buf_lp(struct ks_buf *b, struct ks_slice s)
{
    ks_buf_varint(b, s.len);
    ks_buf_slice(b, s);
}

/* Length of the valid UTF-8 sequence at p (1..4), 0 when invalid. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
    if (c >= 0xf5 || n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* Whether none of eight bytes of a JSON string needs a look: no quote, backslash or control
 * character, nothing beyond ASCII. */
static inline bool plain_word(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t quote = w ^ '"' * ones, backslash = w ^ '\\' * ones;
    uint64_t found = ((w - 0x20 * ones) & ~w) | ((quote - ones) & ~quote) |
                     ((backslash - ones) & ~backslash) | w;
    return (found & high) == 0;
}

static bool plain(struct ks_slice s)
{
    if (!s.len)
        return true;
    const char *p = s.ptr, *end = s.ptr + s.len;
    if (s.len >= 8) {
        for (; end - p > 8; p += 8)
            if (!plain_word(ks_le64(p)))
                return false;
        return plain_word(ks_le64(end - 8));
    }
    if (s.len >= 4)
        return plain_word(ks_le32(p) | (uint64_t)ks_le32(end - 4) << 32);
    uint64_t w = 0x2020202020202020u;
    for (; p < end; p++)
        w = w << 8 | (unsigned char)*p;
    return plain_word(w);
}

void ks_buf_json_str(struct ks_buf *b, struct ks_slice s)
{
    if (KS_LIKELY(plain(s))) { /* most text: one look, one copy */
        if (!ks_buf_reserve(b, s.len + 2))
            return;
        char *p = b->ptr + b->len;
        *p++ = '"';
        if (s.len)
            memcpy(p, s.ptr, s.len);
        p[s.len] = '"';
        b->len += s.len + 2;
        return;
    }
    ks_buf_byte(b, '"');
    size_t run = 0;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (KS_LIKELY(c >= 0x20 && c < 0x80 && c != '"' && c != '\\')) {
            i++;
            continue;
        }
        size_t n = c >= 0x80 ? utf8_len((const unsigned char *)s.ptr + i, s.len - i) : 0;
        if (n) {
            i += n;
            continue;
        }
        ks_buf_add(b, s.ptr + run, i - run);
        switch (c) {
        case '"':
            ks_buf_add(b, "\\\"", 2);
            break;
        case '\\':
            ks_buf_add(b, "\\\\", 2);
            break;
        case '\n':
            ks_buf_add(b, "\\n", 2);
            break;
        case '\r':
            ks_buf_add(b, "\\r", 2);
            break;
        case '\t':
            ks_buf_add(b, "\\t", 2);
            break;
        default:
            if (c < 0x20)
                ks_buf_printf(b, "\\u%04x", c);
            else
                ks_buf_add(b, "\xef\xbf\xbd", 3);
        }
        run = ++i;
    }
    if (s.len > run)
        ks_buf_add(b, s.ptr + run, s.len - run);
    ks_buf_byte(b, '"');
}
