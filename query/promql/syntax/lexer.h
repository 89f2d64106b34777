/*
 * Tokens of MetricsQL and strict PromQL. The lexer holds no memory; a saved copy of the struct is a
 * bookmark, which is how the parser looks ahead and how bodies of templates are read again.
 */
#ifndef KS_QUERY_PROMQL_LEXER_H
#define KS_QUERY_PROMQL_LEXER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "query/promql/syntax/dialect.h"

enum ksi_tok {
    KSI_TOK_EOF,
    KSI_TOK_IDENT,  /* keywords and word operators too: the parser knows which are meant */
    KSI_TOK_STRING, /* with its quotes, terminated */
    KSI_TOK_NUMBER,
    KSI_TOK_DURATION, /* 1h30m */
    KSI_TOK_INTERVAL, /* MetricsQL: $__interval, $__rate_interval */
    KSI_TOK_LPAREN,
    KSI_TOK_RPAREN,
    KSI_TOK_LBRACE,
    KSI_TOK_RBRACE,
    KSI_TOK_LBRACKET,
    KSI_TOK_RBRACKET,
    KSI_TOK_COMMA,
    KSI_TOK_COLON, /* only between brackets */
    KSI_TOK_AT,
    KSI_TOK_ASSIGN, /* = */
    KSI_TOK_RE,     /* =~ */
    KSI_TOK_NRE,    /* !~ */
    KSI_TOK_EQ,     /* == */
    KSI_TOK_NE,
    KSI_TOK_LT,
    KSI_TOK_GT,
    KSI_TOK_LE,
    KSI_TOK_GE,
    KSI_TOK_ADD,
    KSI_TOK_SUB,
    KSI_TOK_MUL,
    KSI_TOK_DIV,
    KSI_TOK_MOD,
    KSI_TOK_POW,
};

struct ksi_token {
    enum ksi_tok kind;
    uint32_t start, end; /* bytes in the lexer's text */
};

struct ksi_lexer {
    enum ks_dialect dialect;
    struct ks_slice text; /* what is read */
    size_t pos;
    bool in_braces, in_brackets;
    bool got_colon, got_duration; /* strict: seen since [ */
    int parens;                   /* strict: how many are open */
    uint64_t tokens_left;         /* work limit: templates are read once per use */
    /* For messages: the user's query, and whether text is not it but a template of ours used at
     * foreign_pos. */
    struct ks_slice query;
    bool foreign;
    uint32_t foreign_pos;
};

/* The next token; KS_EPARSE on text that is none, KS_ELIMIT when tokens_left is used up. */
KS_NODISCARD ks_err ksi_lex(struct ksi_lexer *lx, struct ksi_token *ret);

/* KS_EPARSE "line:column: parse error: …" at byte pos of the lexer's text. */
ks_err ksi_lex_error(const struct ksi_lexer *lx, size_t pos, const char *fmt, ...) KS_PRINTF(3, 4);

static inline struct ks_slice ksi_tok_text(const struct ksi_lexer *lx, struct ksi_token t)
{
    return ks_slice(lx->text.ptr + t.start, t.end - t.start);
}

/* A quoted, escaped copy of at most about 40 bytes of s for messages; returns out. */
#define KSI_QUOTE_MAX 256
const char *ksi_quote(char out[KSI_QUOTE_MAX], struct ks_slice s);

/* ASCII case-insensitive comparison with a lower-case word. */
bool ksi_word_is(struct ks_slice s, const char *lower);

/* Whether s is an identifier of MetricsQL without the need of escapes; strict:
 * [a-zA-Z_][a-zA-Z0-9_]*. */
bool ksi_ident_is_plain(enum ks_dialect dialect, struct ks_slice s);
/* MetricsQL: one escape sequence behind a backslash; the rune and its length, or 0 when there is
 * none. */
size_t ksi_ident_unescape(struct ks_slice s, int32_t *ret_rune);

/* parse_number.c: the value of a number token. False when it is none or out of range. */
bool ksi_number_parse(enum ks_dialect dialect, struct ks_slice s, double *ret);
/*
 * A duration token: ret_ms without the step part, ret_steps times the step. `negate` as if a minus
 * stood in front. A bare number counts seconds. False when malformed.
 */
bool ksi_duration_parse(enum ks_dialect dialect, struct ks_slice s, bool negate, double *ret_ms,
                        double *ret_steps);
/* MetricsQL: the length of the duration s begins with, 0 when it does not. */
size_t ksi_duration_scan(struct ks_slice s);

#endif
