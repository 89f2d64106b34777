/* Tokens of LogsQL. See parser_priv.h. */
#include <stdio.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser_priv.h"

static void skip_blanks(struct ksi_lq_lexer *lx)
{
    while (lx->pos < lx->text.len) {
        unsigned char c = (unsigned char)lx->text.ptr[lx->pos];
        if (c == '#') {
            while (lx->pos < lx->text.len && lx->text.ptr[lx->pos] != '\n')
                lx->pos++;
        } else if (c == ' ' || (c >= '\t' && c <= '\r')) {
            lx->pos++;
        } else if (c == 0xc2 && lx->pos + 1 < lx->text.len &&
                   (unsigned char)lx->text.ptr[lx->pos + 1] == 0xa0) { /* no-break space */
            lx->pos += 2;
        } else {
            return;
        }
        lx->spaced = true;
    }
}

/* Where the quoted text at pos ends (behind the quote); 0 when it does not. */
static size_t quoted_end(struct ks_slice s, size_t pos)
{
    char q = s.ptr[pos];
    for (size_t i = pos + 1; i < s.len; i++) {
        if (s.ptr[i] == q)
            return i + 1;
        if (q != '`' && s.ptr[i] == '\\')
            i++;
    }
    return 0;
}

/* A number of n digits in the base at s[i]; -1 when it is none. */
static int64_t digits(struct ks_slice s, size_t i, size_t n, int base)
{
    int64_t v = 0;
    if (s.len - i < n)
        return -1;
    for (size_t k = 0; k < n; k++) {
        int d = ks_hex_value(s.ptr[i + k]);
        if (d < 0 || d >= base)
            return -1;
        v = v * base + d;
    }
    return v;
}

/* The escape at s[i] (behind the backslash) into out; how far it goes, 0 when it is bad. */
static size_t unescape(struct ks_slice s, size_t i, char quote, char *out, size_t *ret_len)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    char c = s.ptr[i];
    const char *at = c ? strchr(from, c) : NULL;
    *ret_len = 1;
    if (at) {
        *out = to[at - from];
        return 1;
    }
    if (c == '"' || c == '\'' || c == quote) {
        *out = c;
        return 1;
    }
    int64_t v = -1;
    size_t n = 0;
    if (c == 'x') {
        v = digits(s, i + 1, n = 2, 16);
        *out = (char)v;
        return v < 0 ? 0 : n + 1;
    }
    if (c >= '0' && c <= '7') {
        v = digits(s, i, 3, 8);
        *out = (char)v;
        return v < 0 || v > 255 ? 0 : 3;
    }
    if (c == 'u')
        v = digits(s, i + 1, n = 4, 16);
    else if (c == 'U')
        v = digits(s, i + 1, n = 8, 16);
    if (v < 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 0;
    *ret_len = ks_utf8_put(out, (uint32_t)v);
    return n + 1;
}

static ks_err unquote(struct ksi_lq_parser *p, struct ks_slice raw, struct ks_slice *ret)
{
    char q = raw.ptr[0];
    struct ks_slice s = ks_slice(raw.ptr + 1, raw.len - 2);
    if (q == '`' || !memchr(s.ptr, '\\', s.len)) {
        *ret = s;
        return KS_OK;
    }
    char *out = ks_arena_alloc(p->arena, s.len + 4);
    if (!out)
        return ks_arena_err(p->arena);
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        if (s.ptr[i] != '\\') {
            out[n++] = s.ptr[i++];
            continue;
        }
        size_t used = 0, len = 0;
        if (i + 1 < s.len)
            used = unescape(s, i + 1, q, out + n, &len);
        if (!used)
            return ks_fail(KS_EPARSE, "bad escape in the quoted text at position %zu", p->lx.at);
        n += len;
        i += used + 1;
    }
    *ret = ks_slice(out, n);
    return KS_OK;
}

/* Operators of two characters. */
static size_t punct_len(struct ks_slice s)
{
    static const char *const twos[] = {"=~", "!=", "!~", "<=", ">="};
    if (s.len >= 2)
        for (size_t i = 0; i < sizeof twos / sizeof *twos; i++)
            if (memcmp(s.ptr, twos[i], 2) == 0)
                return 2;
    if ((unsigned char)s.ptr[0] < 128)
        return 1;
    utf8proc_int32_t r;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s.ptr, (utf8proc_ssize_t)s.len, &r);
    return n > 0 ? (size_t)n : 1;
}

ks_err ksi_lq_next(struct ksi_lq_parser *p)
{
    struct ksi_lq_lexer *lx = &p->lx;
    lx->prev_kind = lx->kind;
    lx->spaced = lx->pos == 0;
    skip_blanks(lx);
    lx->at = lx->pos;
    struct ks_slice rest = ks_slice_from(lx->text, lx->pos);
    if (rest.len == 0) {
        lx->kind = KSI_LQ_END;
        lx->raw = lx->token = ks_slice("", 0);
        return KS_OK;
    }
    if (ks_lq_word_starts_at(rest, 0)) {
        size_t end = 0;
        lx->kind = KSI_LQ_WORD;
        (void)ks_lq_next_word(rest, &end, &lx->raw);
        lx->token = lx->raw;
        lx->pos += end;
        return KS_OK;
    }
    char c = rest.ptr[0];
    if (c == '"' || c == '\'' || c == '`') {
        size_t end = quoted_end(lx->text, lx->pos);
        if (!end)
            return ks_fail(KS_EPARSE, "the quoted text at position %zu has no end", lx->at);
        lx->kind = KSI_LQ_QUOTED;
        lx->raw = ks_slice(rest.ptr, end - lx->pos);
        lx->pos = end;
        return unquote(p, lx->raw, &lx->token);
    }
    lx->kind = KSI_LQ_PUNCT;
    lx->raw = lx->token = ks_slice(rest.ptr, punct_len(rest));
    lx->pos += lx->raw.len;
    return KS_OK;
}

static bool equal_fold(struct ks_slice s, const char *word)
{
    size_t n = strlen(word);
    if (s.len != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c += 32;
        if (c != word[i])
            return false;
    }
    return true;
}

bool ksi_lq_is(const struct ksi_lq_parser *p, const char *word)
{
    return (p->lx.kind == KSI_LQ_WORD || p->lx.kind == KSI_LQ_PUNCT) &&
           equal_fold(p->lx.token, word);
}

bool ksi_lq_is_any(const struct ksi_lq_parser *p, const char *const *words)
{
    for (; *words; words++)
        if (ksi_lq_is(p, *words))
            return true;
    return false;
}

bool ksi_lq_at_end(const struct ksi_lq_parser *p)
{
    return p->lx.kind == KSI_LQ_END;
}

bool ksi_lq_pipe_end(const struct ksi_lq_parser *p)
{
    return ksi_lq_at_end(p) || ksi_lq_is(p, "|") || ksi_lq_is(p, ")");
}

ks_err ksi_lq_skip(struct ksi_lq_parser *p, const char *word, bool *ret_taken)
{
    *ret_taken = ksi_lq_is(p, word);
    return *ret_taken ? ksi_lq_next(p) : KS_OK;
}

ks_err ksi_lq_unexpected(const struct ksi_lq_parser *p, const char *what)
{
    if (ksi_lq_at_end(p))
        return ks_fail(KS_EPARSE, "%s; got the end of the query", what);
    struct ks_slice rest = ks_slice_from(p->lx.text, p->lx.at);
    struct ks_slice raw = p->lx.raw;
    if (raw.len > 64)
        raw.len = 64;
    if (rest.len > 60)
        rest.len = 60;
    return ks_fail(KS_EPARSE, "%s; got \"%.*s\" at position %zu: [%.*s]", what, KS_SLICE_ARG(raw),
                   p->lx.at, KS_SLICE_ARG(rest));
}

ks_err ksi_lq_expect(struct ksi_lq_parser *p, const char *word)
{
    if (ksi_lq_is(p, word))
        return ksi_lq_next(p);
    char what[64];
    snprintf(what, sizeof what, "missing '%s'", word);
    return ksi_lq_unexpected(p, what);
}

ks_err ksi_lq_enter(struct ksi_lq_parser *p)
{
    if (++p->depth > KS_LQ_MAX_DEPTH)
        return ks_fail(KS_EPARSE, "the query is nested deeper than %d levels at position %zu",
                       KS_LQ_MAX_DEPTH, p->lx.at);
    return KS_OK;
}

/* Runes that end a compound. */
static bool is_stop(const struct ksi_lq_parser *p, unsigned flags)
{
    if (p->lx.kind == KSI_LQ_END || p->lx.kind == KSI_LQ_QUOTED)
        return true;
    if (p->lx.kind == KSI_LQ_WORD)
        return false;
    char c = p->lx.token.ptr[0];
    return strchr("()[]{}|,;*!=<>~", c) || (c == ':' && !(flags & KSI_LQ_COLON));
}

static bool may_begin(const struct ksi_lq_parser *p, unsigned flags)
{
    if (p->lx.kind == KSI_LQ_WORD)
        return true;
    if (is_stop(p, flags | ((flags & KSI_LQ_ANY) ? KSI_LQ_COLON : 0)))
        return false;
    char c = p->lx.token.ptr[0];
    if (c == '.' || (flags & KSI_LQ_ANY))
        return true;
    return (flags & KSI_LQ_SIGN) && (c == '-' || c == '+');
}

ks_err ksi_lq_compound(struct ksi_lq_parser *p, unsigned flags, const char *what,
                       struct ks_slice *ret)
{
    if (p->lx.kind == KSI_LQ_QUOTED) {
        *ret = p->lx.token;
        KS_TRY(ksi_lq_next(p));
        if ((flags & KSI_LQ_STRICT) && !p->lx.spaced &&
            (p->lx.kind == KSI_LQ_QUOTED || p->lx.kind == KSI_LQ_WORD))
            return ksi_lq_unexpected(p, "missing blank after the quoted text");
        return KS_OK;
    }
    if (!may_begin(p, flags))
        return ksi_lq_unexpected(p, what);
    size_t from = p->lx.at, to;
    do {
        to = p->lx.pos;
        KS_TRY(ksi_lq_next(p));
    } while (!p->lx.spaced && !is_stop(p, flags));
    *ret = ks_slice_sub(p->lx.text, from, to - from);
    if ((flags & KSI_LQ_STRICT) && !p->lx.spaced && !ksi_lq_at_end(p) &&
        (p->lx.kind == KSI_LQ_QUOTED || !strchr(")|:*,", p->lx.token.ptr[0])))
        return ksi_lq_unexpected(p, "missing blank or quotes around the word before");
    return KS_OK;
}
