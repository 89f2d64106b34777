/* Matching of patterns: see pattern.h. */
#include "query/logsql/text/pattern.h"

#include "base/utf8.h"

/* ---------------------------------------------------------------- unquoting */

/* n digits of a base at s[at]; -1 when they are not there. */
static int64_t digits(struct ks_slice s, size_t at, size_t n, int base)
{
    int64_t v = 0;
    if (at + n > s.len)
        return -1;
    for (size_t i = at; i < at + n; i++) {
        int d = ks_hex_value(s.ptr[i]);
        if (d < 0 || d >= base)
            return -1;
        v = v * base + d;
    }
    return v;
}

/* The escape behind a backslash at s[at]: its bytes into out (≤ 4), *ret_used of the text. */
static size_t unescape(struct ks_slice s, size_t at, char *out, size_t *ret_used)
{
    static const char from[] = "abfnrtv\\\"", to[] = "\a\b\f\n\r\t\v\\\"";
    if (at >= s.len)
        return 0;
    const char *p = memchr(from, s.ptr[at], sizeof from - 1);
    int64_t v;
    *ret_used = 1;
    if (p) {
        out[0] = to[p - from];
        return 1;
    }
    if (s.ptr[at] == 'x' && (v = digits(s, at + 1, 2, 16)) >= 0) {
        *ret_used = 3;
        out[0] = (char)v;
        return 1;
    }
    if (s.ptr[at] >= '0' && s.ptr[at] <= '7' && (v = digits(s, at, 3, 8)) >= 0 && v < 256) {
        *ret_used = 3;
        out[0] = (char)v;
        return 1;
    }
    size_t n = s.ptr[at] == 'u' ? 4 : s.ptr[at] == 'U' ? 8 : 0;
    if (n && (v = digits(s, at + 1, n, 16)) >= 0 && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff)) {
        *ret_used = n + 1;
        return ks_utf8_put(out, (uint32_t)v);
    }
    return 0;
}

ks_err ksi_lq_unquote_prefix(struct ks_slice s, struct ks_arena *arena, struct ks_slice *ret_text,
                             size_t *ret_used, bool *ret_ok)
{
    *ret_ok = false;
    if (s.len < 2 || (s.ptr[0] != '"' && s.ptr[0] != '`'))
        return KS_OK;
    char quote = s.ptr[0];
    size_t end = 1;
    bool plain = true;
    while (end < s.len && s.ptr[end] != quote) {
        if (quote == '"' && (s.ptr[end] == '\n' || s.ptr[end] == '\\')) {
            if (s.ptr[end] == '\n')
                return KS_OK;
            plain = false;
            end++;
        }
        end++;
    }
    if (end >= s.len)
        return KS_OK;
    struct ks_slice body = ks_slice(s.ptr + 1, end - 1);
    *ret_used = end + 1;
    if (plain) {
        *ret_text = body;
        *ret_ok = true;
        return KS_OK;
    }
    char *out = ks_arena_alloc(arena, body.len); /* no escape is shorter than its value */
    size_t n = 0;
    if (!out)
        return ks_arena_err(arena);
    for (size_t i = 0; i < body.len;) {
        if (body.ptr[i] != '\\') {
            out[n++] = body.ptr[i++];
            continue;
        }
        size_t used, len = unescape(body, i + 1, out + n, &used);
        if (!len)
            return KS_OK;
        n += len;
        i += 1 + used;
    }
    *ret_text = ks_slice(out, n);
    *ret_ok = true;
    return KS_OK;
}

/* ---------------------------------------------------------------- matching */

static bool find(struct ks_slice s, struct ks_slice what, size_t *ret_at)
{
    *ret_at = 0;
    if (!what.len)
        return true;
    const char *p = s.len >= what.len ? memmem(s.ptr, s.len, what.ptr, what.len) : NULL;
    if (p)
        *ret_at = (size_t)(p - s.ptr);
    return p != NULL;
}

ks_err ksi_lq_pattern_match(const struct ks_lq_pattern *p, struct ks_slice text,
                            struct ks_arena *arena, struct ks_slice *ret)
{
    size_t at;
    for (size_t i = 0; i < p->count; i++)
        ret[i] = KS_SLICE_LIT("");
    if (!p->count || !find(text, p->steps[0].prefix, &at))
        return KS_OK;
    text = ks_slice_from(text, at + p->steps[0].prefix.len);
    for (size_t i = 0; i < p->count; i++) {
        const struct ks_lq_pattern_step *step = &p->steps[i];
        bool last = i + 1 == p->count, quoted = false;
        struct ks_slice until = last ? KS_SLICE_LIT("") : p->steps[i + 1].prefix;
        size_t used = 0;
        if (!step->has_field)
            return KS_OK;
        if (!ks_slice_is(step->opt, "plain"))
            KS_TRY(ksi_lq_unquote_prefix(text, arena, &ret[i], &used, &quoted));
        if (quoted) {
            text = ks_slice_from(text, used);
            if (!ks_slice_has_prefix(text, until))
                return KS_OK;
            text = ks_slice_from(text, until.len);
            continue;
        }
        if (!until.len) {
            ret[i] = text;
            return KS_OK;
        }
        if (!find(text, until, &at))
            return KS_OK;
        ret[i] = ks_slice(text.ptr, at);
        text = ks_slice_from(text, at + until.len);
    }
    return KS_OK;
}
