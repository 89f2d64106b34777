/*
 * The lexer of both dialects; see lexer.h. Thread role: any.
 *
 * The dialects differ in identifiers (MetricsQL: Unicode letters, dots, colons, backslash escapes),
 * numbers (suffixes, prefixes) and in how strings may continue; the strict reader also reports the
 * words Prometheus uses for its errors.
 */
#include "query/promql/syntax/lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <utf8proc.h>

#include "base/hex.h"
#include "query/promql/syntax/lexer_priv.h"

ks_err ksi_lex_error(const struct ksi_lexer *lx, size_t pos, const char *fmt, ...)
{
    char msg[KS_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t at = lx->foreign ? lx->foreign_pos : pos, line = 1, line_start = 0;
    if (at > lx->query.len)
        at = lx->query.len;
    for (size_t i = 0; i < at; i++) {
        if (lx->query.ptr[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    return ks_fail(KS_EPARSE, "%zu:%zu: parse error: %s", line, at - line_start + 1, msg);
}

const char *ksi_quote(char out[KSI_QUOTE_MAX], struct ks_slice s)
{
    size_t n = 0, shown = s.len > 40 ? 40 : s.len;
    /* Do not cut a UTF-8 sequence in two. */
    while (shown < s.len && shown > 30 && ((unsigned char)s.ptr[shown] & 0xc0) == 0x80)
        shown--;
    out[n++] = '"';
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            out[n++] = '\\';
            out[n++] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        } else if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n++] = '"';
    if (shown < s.len)
        n += (size_t)snprintf(out + n, 4, "...");
    out[n] = 0;
    return out;
}

bool ksi_word_is(struct ks_slice s, const char *lower)
{
    size_t i = 0;
    for (; i < s.len && lower[i]; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != lower[i])
            return false;
    }
    return i == s.len && !lower[i];
}

bool ksi_rune_is_letter(int32_t r)
{
    if (r < 0x80)
        return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
    utf8proc_category_t c = utf8proc_category(r);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool ksi_rune_is_print(int32_t r)
{
    if (r < 0x80)
        return r >= 0x20 && r < 0x7f;
    utf8proc_category_t c = utf8proc_category(r);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_SO;
}

/* The rune s begins with; bad bytes give U+FFFD of length 1. */
size_t ksi_rune(struct ks_slice s, int32_t *ret)
{
    unsigned char c = (unsigned char)s.ptr[0];
    if (c < 0x80) {
        *ret = c;
        return 1;
    }
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s.ptr,
                                          (utf8proc_ssize_t)(s.len < 4 ? s.len : 4), ret);
    if (n > 0)
        return (size_t)n;
    *ret = 0xfffd;
    return 1;
}

size_t ksi_ident_unescape(struct ks_slice s, int32_t *ret_rune)
{
    if (s.len == 0)
        return 0;
    char c = s.ptr[0];
    size_t digits = c == 'x' || c == 'X' ? 2 : c == 'u' || c == 'U' ? 4 : 0;
    if (digits) {
        int32_t r = 0;
        if (s.len < 1 + digits)
            return 0;
        for (size_t i = 1; i <= digits; i++) {
            int h = ks_hex_value(s.ptr[i]);
            if (h < 0)
                return 0;
            r = r << 4 | h;
        }
        if (r == 0xfffd || (r >= 0xd800 && r < 0xe000))
            return 0;
        *ret_rune = r;
        return 1 + digits;
    }
    size_t n = ksi_rune(s, ret_rune);
    return *ret_rune != 0xfffd && ksi_rune_is_print(*ret_rune) ? n : 0;
}

static bool mql_ident_rune(int32_t r, bool first)
{
    if (r == '_' || r == ':' || ksi_rune_is_letter(r))
        return true;
    return !first && ((r >= '0' && r <= '9') || r == '.');
}

/* Length of the identifier s begins with. Between brackets a colon ends it. */
static size_t mql_scan_ident(struct ks_slice s, bool in_brackets)
{
    size_t i = 0;
    while (i < s.len) {
        int32_t r;
        size_t n = ksi_rune(ks_slice_from(s, i), &r);
        if (r == '\\') {
            size_t esc = ksi_ident_unescape(ks_slice_from(s, i + 1), &r);
            if (!esc)
                break;
            i += 1 + esc;
            continue;
        }
        if (!mql_ident_rune(r, i == 0) || (r == ':' && in_brackets))
            break;
        i += n;
    }
    return i;
}

bool ksi_ident_is_plain(enum ks_dialect dialect, struct ks_slice s)
{
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len;) {
        int32_t r;
        size_t n = ksi_rune(ks_slice_from(s, i), &r);
        bool ok = dialect == KS_METRICSQL ? mql_ident_rune(r, i == 0)
                                          : r == '_' || (r < 0x80 && ksi_rune_is_letter(r)) ||
                                                (i > 0 && r >= '0' && r <= '9');
        if (!ok || r == 0xfffd)
            return false;
        i += n;
    }
    return true;
}

static size_t mql_number_suffix(struct ks_slice s)
{
    static const char *const suffixes[] = {"kib", "ki", "kb", "k", "mib", "mi", "mb", "m",
                                           "gib", "gi", "gb", "g", "tib", "ti", "tb", "t"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t n = strlen(suffixes[i]);
        if (s.len >= n && ksi_word_is(ks_slice(s.ptr, n), suffixes[i]))
            return n;
    }
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char at(struct ks_slice s, size_t i)
{
    return i < s.len ? s.ptr[i] : 0;
}

/* Length of the number s begins with; 0 when its exponent is missing. Values are checked by
 * ksi_number_parse(). */
static size_t mql_scan_number(struct ks_slice s)
{
    size_t i = 0;
    if (at(s, 0) == '0' && (at(s, 1) | 32) == 'x') {
        for (i = 2; ks_hex_value(at(s, i)) >= 0 && i < s.len; i++)
            ;
        return i;
    }
    if (at(s, 0) == '0' && ((at(s, 1) | 32) == 'o' || (at(s, 1) | 32) == 'b'))
        i = 2;
    while (is_digit(at(s, i)) || at(s, i) == '_')
        i++;
    size_t suffix = mql_number_suffix(ks_slice_from(s, i));
    if (suffix)
        return i + suffix;
    if (at(s, i) == '.') {
        i++;
        while (is_digit(at(s, i)) || at(s, i) == '_')
            i++;
        suffix = mql_number_suffix(ks_slice_from(s, i));
        if (suffix)
            return i + suffix;
    }
    if ((at(s, i) | 32) != 'e')
        return i;
    i++;
    if (at(s, i) == '-' || at(s, i) == '+')
        i++;
    size_t digits = i;
    while (is_digit(at(s, i)))
        i++;
    return i == digits ? 0 : i;
}

static ks_err mql_string(struct ksi_lexer *lx, size_t start, struct ksi_token *ret)
{
    char quote = lx->text.ptr[start];
    for (size_t i = start + 1; i < lx->text.len; i++) {
        if (lx->text.ptr[i] == quote) {
            lx->pos = i + 1;
            *ret = (struct ksi_token){KSI_TOK_STRING, (uint32_t)start, (uint32_t)(i + 1)};
            return KS_OK;
        }
        /* In MetricsQL a backslash hides the quote in every kind of string. */
        if (lx->text.ptr[i] == '\\')
            i++;
    }
    char q[KSI_QUOTE_MAX];
    return ksi_lex_error(lx, start, "cannot find the closing quote of the string %s",
                         ksi_quote(q, ks_slice_from(lx->text, start)));
}

size_t ksi_lex_punct(struct ks_slice s, enum ksi_tok *ret)
{
    static const struct {
        char text[3];
        uint8_t kind;
    } table[] = {
        {"==", KSI_TOK_EQ},    {"=~", KSI_TOK_RE},      {"!=", KSI_TOK_NE},
        {"!~", KSI_TOK_NRE},   {"<=", KSI_TOK_LE},      {">=", KSI_TOK_GE},
        {"=", KSI_TOK_ASSIGN}, {"<", KSI_TOK_LT},       {">", KSI_TOK_GT},
        {"+", KSI_TOK_ADD},    {"-", KSI_TOK_SUB},      {"*", KSI_TOK_MUL},
        {"/", KSI_TOK_DIV},    {"%", KSI_TOK_MOD},      {"^", KSI_TOK_POW},
        {"(", KSI_TOK_LPAREN}, {")", KSI_TOK_RPAREN},   {"{", KSI_TOK_LBRACE},
        {"}", KSI_TOK_RBRACE}, {"[", KSI_TOK_LBRACKET}, {"]", KSI_TOK_RBRACKET},
        {",", KSI_TOK_COMMA},  {"@", KSI_TOK_AT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = strlen(table[i].text);
        if (s.len >= n && memcmp(s.ptr, table[i].text, n) == 0) {
            *ret = (enum ksi_tok)table[i].kind;
            return n;
        }
    }
    return 0;
}

/* Blanks and # comments. */
static void skip_blanks(struct ksi_lexer *lx)
{
    for (; lx->pos < lx->text.len; lx->pos++) {
        char c = lx->text.ptr[lx->pos];
        if (c == '#') {
            const char *nl = memchr(lx->text.ptr + lx->pos, '\n', lx->text.len - lx->pos);
            lx->pos = nl ? (size_t)(nl - lx->text.ptr) : lx->text.len;
            if (!nl)
                return;
            continue;
        }
        bool extra = lx->dialect == KS_METRICSQL && (c == '\v' || c == '\f');
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && !extra)
            return;
    }
}

static ks_err mql_lex(struct ksi_lexer *lx, struct ksi_token *ret)
{
    size_t start = lx->pos, n = 0;
    struct ks_slice s = ks_slice_from(lx->text, start);
    enum ksi_tok kind = KSI_TOK_EOF;
    char c = s.ptr[0];
    if (c == '"' || c == '\'' || c == '`')
        return mql_string(lx, start, ret);
    if (is_digit(c) || (c == '.' && is_digit(at(s, 1)))) {
        kind = KSI_TOK_DURATION;
        n = ksi_duration_scan(s);
        if (!n) {
            kind = KSI_TOK_NUMBER;
            n = mql_scan_number(s);
        }
        if (!n) {
            char q[KSI_QUOTE_MAX];
            return ksi_lex_error(lx, start, "missing exponent part in %s", ksi_quote(q, s));
        }
    } else if (c == ':' && lx->in_brackets) {
        kind = KSI_TOK_COLON;
        n = 1;
    } else if (c == '$') {
        kind = KSI_TOK_INTERVAL;
        n = ks_slice_has_prefix(s, KS_SLICE_LIT("$__interval"))        ? 11
            : ks_slice_has_prefix(s, KS_SLICE_LIT("$__rate_interval")) ? 16
                                                                       : 0;
    } else {
        n = ksi_lex_punct(s, &kind);
        if (!n) {
            kind = KSI_TOK_IDENT;
            n = mql_scan_ident(s, lx->in_brackets);
        }
    }
    if (!n) {
        char q[KSI_QUOTE_MAX];
        return ksi_lex_error(lx, start, "cannot recognize %s", ksi_quote(q, s));
    }
    if (kind == KSI_TOK_LBRACKET || kind == KSI_TOK_RBRACKET)
        lx->in_brackets = kind == KSI_TOK_LBRACKET;
    lx->pos = start + n;
    *ret = (struct ksi_token){kind, (uint32_t)start, (uint32_t)lx->pos};
    return KS_OK;
}

ks_err ksi_lex(struct ksi_lexer *lx, struct ksi_token *ret)
{
    if (lx->tokens_left == 0)
        return ks_fail(KS_ELIMIT, "the query is too large after its WITH templates are expanded");
    lx->tokens_left--;
    skip_blanks(lx);
    if (lx->dialect == KS_PROMQL_STRICT)
        return ksi_lex_strict(lx, ret);
    if (lx->pos >= lx->text.len) {
        *ret = (struct ksi_token){KSI_TOK_EOF, (uint32_t)lx->text.len, (uint32_t)lx->text.len};
        return KS_OK;
    }
    return mql_lex(lx, ret);
}
