/*
 * Tokens of strict PromQL: a reader with the modes of Prometheus' own (top level, inside braces,
 * inside brackets), so that it refuses the same texts with the same words.
 */
#include <stdio.h>

#include "query/promql/syntax/lexer_priv.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c)
{
    return is_alpha(c) || is_digit(c);
}

static char at(const struct ksi_lexer *lx, size_t i)
{
    return i < lx->text.len ? lx->text.ptr[i] : 0;
}

/* The rune at pos as Prometheus' messages show it: 'x'. */
static const char *rune_text(const struct ksi_lexer *lx, size_t pos, char out[32])
{
    if (pos >= lx->text.len)
        return "end of input";
    int32_t r;
    size_t n = ksi_rune(ks_slice_from(lx->text, pos), &r);
    if (r == '\'' || r == '\\')
        snprintf(out, 32, "'\\%c'", (char)r);
    else if (r == '\n')
        snprintf(out, 32, "'\\n'");
    else if (r == 0xfffd || !ksi_rune_is_print(r))
        snprintf(out, 32, r < 0x80 ? "'\\x%02x'" : "'\\u%04x'", (unsigned)r);
    else
        snprintf(out, 32, "'%.*s'", (int)n, lx->text.ptr + pos);
    return out;
}

static ks_err emit(struct ksi_lexer *lx, enum ksi_tok kind, size_t len, struct ksi_token *ret)
{
    *ret = (struct ksi_token){kind, (uint32_t)lx->pos, (uint32_t)(lx->pos + len)};
    lx->pos += len;
    return KS_OK;
}

static ks_err bad_escape(const struct ksi_lexer *lx, size_t start, size_t i)
{
    char out[32];
    int32_t r = 0;
    if (i >= lx->text.len)
        return ksi_lex_error(lx, start, "escape sequence not terminated");
    ksi_rune(ks_slice_from(lx->text, i), &r);
    return ksi_lex_error(lx, start, "unknown escape sequence U+%04X %s", (unsigned)r,
                         rune_text(lx, i, out));
}

/* Checks the escape whose letter stands at *i and moves *i behind it. */
static ks_err check_escape(const struct ksi_lexer *lx, size_t start, char quote, size_t *i)
{
    char c = at(lx, *i);
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
    if (!digits) {
        if (*i >= lx->text.len || !c || (!strchr("abfnrtv\\", c) && c != quote))
            return bad_escape(lx, start, *i);
        ++*i;
        return KS_OK;
    }
    unsigned base = digits == 3 ? 8 : 16;
    uint64_t value = 0;
    size_t from = *i + (base == 16);
    for (size_t k = from; k < from + digits; k++) {
        char d = at(lx, k), low = (char)(d | 32);
        unsigned v = is_digit(d)                ? (unsigned)(d - '0')
                     : low >= 'a' && low <= 'f' ? (unsigned)(low - 'a' + 10)
                                                : 16;
        if (v >= base) {
            char out[32];
            int32_t r = 0;
            if (k >= lx->text.len)
                return ksi_lex_error(lx, start, "escape sequence not terminated");
            ksi_rune(ks_slice_from(lx->text, k), &r);
            return ksi_lex_error(lx, start, "illegal character U+%04X %s in escape sequence",
                                 (unsigned)r, rune_text(lx, k, out));
        }
        value = value * base + v;
    }
    uint64_t max = digits > 3 ? 0x10ffff : 255;
    if (value > max || (value >= 0xd800 && value < 0xe000))
        return ksi_lex_error(lx, start, "escape sequence is an invalid Unicode code point");
    *i = from + digits;
    return KS_OK;
}

static ks_err string(struct ksi_lexer *lx, struct ksi_token *ret)
{
    size_t start = lx->pos, i = start + 1;
    char quote = at(lx, start);
    while (i < lx->text.len) {
        char c = at(lx, i);
        if (c == quote)
            return emit(lx, KSI_TOK_STRING, i + 1 - start, ret);
        if (c == '\\' && quote != '`') {
            i++;
            KS_TRY(check_escape(lx, start, quote, &i));
            continue;
        }
        if (c == '\n' && quote != '`')
            break;
        int32_t r;
        i += ksi_rune(ks_slice_from(lx->text, i), &r);
        if (r == 0xfffd)
            return ksi_lex_error(lx, start, "invalid UTF-8 rune");
    }
    return ksi_lex_error(lx, start,
                         quote == '`' ? "unterminated raw string" : "unterminated quoted string");
}

/* Digits with single underscores between them; 0 when malformed. */
static size_t digit_run(const struct ksi_lexer *lx, size_t i, bool hex)
{
    size_t from = i;
    for (;; i++) {
        char c = at(lx, i);
        bool digit = is_digit(c) || (hex && ((c | 32) >= 'a' && (c | 32) <= 'f'));
        if (!digit && !(c == '_' && i > from && at(lx, i - 1) != '_'))
            break;
    }
    return i > from && at(lx, i - 1) == '_' ? 0 : i - from;
}

/* Length of the number at pos, 0 when what stands there is none. */
static size_t scan_number(const struct ksi_lexer *lx)
{
    size_t i = lx->pos;
    if (at(lx, i) == '0' && (at(lx, i + 1) | 32) == 'x') {
        i += 2;
        i += at(lx, i) == '_';
        size_t n = digit_run(lx, i, true);
        i = n ? i + n : lx->pos;
    } else {
        size_t whole = digit_run(lx, i, false);
        i += whole;
        if (at(lx, i) == '.') {
            size_t frac = digit_run(lx, i + 1, false);
            if (!whole && !frac)
                return 0;
            i += 1 + frac;
        }
        if (i > lx->pos && (at(lx, i) | 32) == 'e') {
            size_t sign = at(lx, i + 1) == '+' || at(lx, i + 1) == '-';
            size_t n = digit_run(lx, i + 1 + sign, false);
            if (!n)
                return 0;
            i += 1 + sign + n;
        }
    }
    if (i == lx->pos || is_alnum(at(lx, i)) || at(lx, i) == '.')
        return 0;
    return i - lx->pos;
}

static ks_err number_or_duration(struct ksi_lexer *lx, struct ksi_token *ret)
{
    size_t n = scan_number(lx), i = lx->pos;
    if (n)
        return emit(lx, KSI_TOK_NUMBER, n, ret);
    for (bool first = true;; first = false) {
        size_t digits = 0;
        while (is_digit(at(lx, i)) && i < lx->text.len) {
            i++;
            digits++;
        }
        char unit = at(lx, i);
        if (!digits || !unit || !strchr(first ? "smhdwy" : "smhdw", unit))
            break;
        i++;
        i += at(lx, i) == 's';
        if (is_digit(at(lx, i)))
            continue;
        if (!is_alnum(at(lx, i)))
            return emit(lx, KSI_TOK_DURATION, i - lx->pos, ret);
        i++;
        break;
    }
    char q[KSI_QUOTE_MAX];
    return ksi_lex_error(lx, lx->pos, "bad number or duration syntax: %s",
                         ksi_quote(q, ks_slice(lx->text.ptr + lx->pos, i - lx->pos)));
}

static ks_err identifier(struct ksi_lexer *lx, bool colons, struct ksi_token *ret)
{
    size_t i = lx->pos;
    while (is_alnum(at(lx, i)) || (colons && at(lx, i) == ':'))
        i++;
    return emit(lx, KSI_TOK_IDENT, i - lx->pos, ret);
}

static ks_err end_of_input(struct ksi_lexer *lx, struct ksi_token *ret)
{
    const char *what = lx->in_braces     ? "unexpected end of input inside braces"
                       : lx->in_brackets ? "unexpected end of input in duration expression"
                       : lx->parens > 0  ? "unclosed left parenthesis"
                                         : NULL;
    return what ? ksi_lex_error(lx, lx->pos, "%s", what) : emit(lx, KSI_TOK_EOF, 0, ret);
}

static ks_err inside_braces(struct ksi_lexer *lx, struct ksi_token *ret)
{
    char c = at(lx, lx->pos), next = at(lx, lx->pos + 1), out[32];
    if (is_alpha(c))
        return identifier(lx, false, ret);
    if (c == '"' || c == '\'' || c == '`')
        return string(lx, ret);
    switch (c) {
    case ',':
        return emit(lx, KSI_TOK_COMMA, 1, ret);
    case '}':
        lx->in_braces = false;
        return emit(lx, KSI_TOK_RBRACE, 1, ret);
    case '=':
        return next == '~' ? emit(lx, KSI_TOK_RE, 2, ret) : emit(lx, KSI_TOK_ASSIGN, 1, ret);
    case '!':
        if (next == '~' || next == '=')
            return emit(lx, next == '~' ? KSI_TOK_NRE : KSI_TOK_NE, 2, ret);
        return ksi_lex_error(lx, lx->pos, "unexpected character after '!' inside braces: %s",
                             rune_text(lx, lx->pos + 1, out));
    case '{':
        return ksi_lex_error(lx, lx->pos, "unexpected left brace '{'");
    default:
        return ksi_lex_error(lx, lx->pos, "unexpected character inside braces: %s",
                             rune_text(lx, lx->pos, out));
    }
}

static ks_err parenthesis(struct ksi_lexer *lx, enum ksi_tok kind, struct ksi_token *ret)
{
    lx->parens += kind == KSI_TOK_LPAREN ? 1 : -1;
    if (lx->parens < 0)
        return ksi_lex_error(lx, lx->pos, "unexpected right parenthesis ')'");
    return emit(lx, kind, 1, ret);
}

static ks_err inside_brackets(struct ksi_lexer *lx, struct ksi_token *ret)
{
    char c = at(lx, lx->pos), out[32];
    enum ksi_tok kind;
    if (is_digit(c) || (c == '.' && is_digit(at(lx, lx->pos + 1)))) {
        lx->got_duration = true;
        return number_or_duration(lx, ret);
    }
    switch (c) {
    case ']':
        lx->in_brackets = lx->got_colon = false;
        return emit(lx, KSI_TOK_RBRACKET, 1, ret);
    case ':':
        if (!lx->got_duration)
            return ksi_lex_error(lx, lx->pos,
                                 "unexpected colon before duration in duration expression");
        if (lx->got_colon)
            return ksi_lex_error(lx, lx->pos, "unexpected repeated colon in duration expression");
        lx->got_colon = true;
        return emit(lx, KSI_TOK_COLON, 1, ret);
    case '(':
    case ')':
        return parenthesis(lx, c == '(' ? KSI_TOK_LPAREN : KSI_TOK_RPAREN, ret);
    default:
        if (c && strchr("+-*/%^", c) && ksi_lex_punct(ks_slice_from(lx->text, lx->pos), &kind))
            return emit(lx, kind, 1, ret);
        return ksi_lex_error(lx, lx->pos, "unexpected character in duration expression: %s",
                             rune_text(lx, lx->pos, out));
    }
}

ks_err ksi_lex_strict(struct ksi_lexer *lx, struct ksi_token *ret)
{
    if (lx->pos >= lx->text.len)
        return end_of_input(lx, ret);
    if (lx->in_braces)
        return inside_braces(lx, ret);
    if (lx->in_brackets)
        return inside_brackets(lx, ret);
    char c = at(lx, lx->pos), next = at(lx, lx->pos + 1), out[32];
    if (is_digit(c) || (c == '.' && is_digit(next)))
        return number_or_duration(lx, ret);
    if (c == '"' || c == '\'' || c == '`')
        return string(lx, ret);
    if (is_alpha(c) || c == ':')
        return identifier(lx, true, ret);
    if (c == '=' && next == '~')
        return ksi_lex_error(lx, lx->pos, "unexpected character after '=': '~'");
    if (c == '!' && next != '=')
        return ksi_lex_error(lx, lx->pos, "unexpected character after '!': %s",
                             rune_text(lx, lx->pos + 1, out));
    enum ksi_tok kind;
    size_t n = ksi_lex_punct(ks_slice_from(lx->text, lx->pos), &kind);
    if (!n || kind == KSI_TOK_RBRACE)
        return ksi_lex_error(lx, lx->pos, "unexpected character: %s", rune_text(lx, lx->pos, out));
    if (kind == KSI_TOK_LPAREN || kind == KSI_TOK_RPAREN)
        return parenthesis(lx, kind, ret);
    if (kind == KSI_TOK_RBRACKET)
        return ksi_lex_error(lx, lx->pos, "unexpected right bracket ']'");
    lx->in_braces = kind == KSI_TOK_LBRACE;
    if (kind == KSI_TOK_LBRACKET) {
        lx->in_brackets = true;
        lx->got_colon = lx->got_duration = false;
    }
    return emit(lx, kind, n, ret);
}
