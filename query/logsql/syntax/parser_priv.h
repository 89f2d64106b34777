/*
 * The lexer and the helpers shared by the files of the parser.
 *
 * Tokens are runs of word runes (letters, digits, `_`), quoted texts, and single punctuation runes.
 * What users see as one word may be several tokens without blanks between them (`foo-bar.baz`):
 * ksi_lq_compound glues those. Recursion follows the nesting of the text and is counted by
 * ksi_lq_enter()/leave (KS_LQ_MAX_DEPTH).
 */
#ifndef KS_QUERY_LOGSQL_PARSER_PRIV_H
#define KS_QUERY_LOGSQL_PARSER_PRIV_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "query/logsql/syntax/ast.h"

enum ksi_lq_token { KSI_LQ_END, KSI_LQ_WORD, KSI_LQ_QUOTED, KSI_LQ_PUNCT };

struct ksi_lq_lexer {
    struct ks_slice text;
    size_t pos;  /* behind the token */
    size_t at;   /* of the token */
    bool spaced; /* blanks (or a comment, or the beginning) before the token */
    enum ksi_lq_token kind, prev_kind;
    struct ks_slice raw;   /* as written */
    struct ks_slice token; /* unquoted */
};

struct ksi_lq_parser {
    struct ksi_lq_lexer lx;
    struct ks_arena *arena;
    int64_t now_ns;
    int64_t time_offset_ns; /* options(time_offset) of the query being parsed */
    unsigned depth;
    unsigned switch_count;
};

/* --- lex.c --- */
KS_NODISCARD ks_err ksi_lq_next(struct ksi_lq_parser *p);
/* The token is this keyword or punctuation, in any case, not quoted. */
bool ksi_lq_is(const struct ksi_lq_parser *p, const char *word);
bool ksi_lq_is_any(const struct ksi_lq_parser *p, const char *const *words); /* NULL at the end */
bool ksi_lq_at_end(const struct ksi_lq_parser *p);
/* End of a pipe: end of text, `|` or `)`. */
bool ksi_lq_pipe_end(const struct ksi_lq_parser *p);
/* Takes the token when it is the keyword. */
KS_NODISCARD ks_err ksi_lq_skip(struct ksi_lq_parser *p, const char *word, bool *ret_taken);
KS_NODISCARD ks_err ksi_lq_expect(struct ksi_lq_parser *p, const char *word);
/* Fails with "WHAT; got TOKEN at position N". */
KS_NODISCARD ks_err ksi_lq_unexpected(const struct ksi_lq_parser *p, const char *what);
KS_NODISCARD ks_err ksi_lq_enter(struct ksi_lq_parser *p);
static inline void ksi_lq_leave(struct ksi_lq_parser *p)
{
    p->depth--;
}

enum ksi_lq_compound_flags {
    KSI_LQ_COLON = 1, /* `:` glues, too */
    KSI_LQ_SIGN = 2,  /* may begin with - or + */
    KSI_LQ_ANY = 4,   /* may begin with any glue rune */
    KSI_LQ_STRICT = 8 /* a quoted text or an operator right behind is an error */
};
/* The text of tokens glued together, or of one quoted text. */
KS_NODISCARD ks_err ksi_lq_compound(struct ksi_lq_parser *p, unsigned flags, const char *what,
                                    struct ks_slice *ret);

/* --- parse_util.c --- */
KS_NODISCARD ks_err ksi_lq_oom(struct ksi_lq_parser *p);
KS_NODISCARD ks_err ksi_lq_dup(struct ksi_lq_parser *p, struct ks_slice s, struct ks_slice *ret);
/* A field name; `name*` and `*` too when prefix is not NULL. "" becomes _msg. */
KS_NODISCARD ks_err ksi_lq_field(struct ksi_lq_parser *p, bool allow_prefix,
                                 struct ks_lq_field *ret);
KS_NODISCARD ks_err ksi_lq_field_name(struct ksi_lq_parser *p, struct ks_slice *ret);
/* `(a, b*, c)`; a trailing comma is allowed. */
KS_NODISCARD ks_err ksi_lq_fields_paren(struct ksi_lq_parser *p, bool allow_prefix,
                                        struct ks_lq_fields *ret);
/* `a, b, c` without parentheses. */
KS_NODISCARD ks_err ksi_lq_fields_comma(struct ksi_lq_parser *p, bool allow_prefix,
                                        struct ks_lq_fields *ret);
KS_NODISCARD ks_err ksi_lq_names_paren(struct ksi_lq_parser *p, struct ks_lq_names *ret);
/* A count: 10, 1_000, 10K. */
KS_NODISCARD ks_err ksi_lq_uint(struct ksi_lq_parser *p, const char *what, uint64_t *ret);
KS_NODISCARD ks_err ksi_lq_uint_after(struct ksi_lq_parser *p, uint64_t *ret);
KS_NODISCARD ks_err ksi_lq_duration(struct ksi_lq_parser *p, const char *what, int64_t *ret_ns,
                                    struct ks_slice *ret_text);
/* `[as] name`; nothing at the end of the pipe. */
KS_NODISCARD ks_err ksi_lq_as(struct ksi_lq_parser *p, struct ks_slice *ret);
/* Doubles arena arrays. */
#define KSI_LQ_PUSH(p, array, count, cap, value)                                                   \
    do {                                                                                           \
        if ((count) == (cap))                                                                      \
            KS_TRY(ks_arena_grow((p)->arena, (void **)&(array), &(cap), (count) + 1,               \
                                 sizeof *(array)));                                                \
        (array)[(count)++] = (value);                                                              \
    } while (0)

/* --- parse_filter.c, parse_filter_func.c, parse_filter_stream.c, parse_time.c --- */
/* Up to end, `|` or `)`. field NULL at the top. */
KS_NODISCARD ks_err ksi_lq_filter_or(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                                     struct ks_lq_filter **ret);
/* `( filter )`, as after if. */
KS_NODISCARD ks_err ksi_lq_filter_paren(struct ksi_lq_parser *p, struct ks_lq_filter **ret);
/* `if (…)` when it is there. */
KS_NODISCARD ks_err ksi_lq_if(struct ksi_lq_parser *p, struct ks_lq_filter **ret);
KS_NODISCARD ks_err ksi_lq_filter_new(struct ksi_lq_parser *p, enum ks_lq_filter_kind kind,
                                      const struct ks_lq_field *field, struct ks_lq_filter **ret);
/* name( … ) filters; *ret stays NULL when the token is not a function call. */
KS_NODISCARD ks_err ksi_lq_filter_func(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                                       struct ks_lq_filter **ret);
bool ksi_lq_is_filter_func(struct ks_slice word); /* in any case */
/* The function a filter is written as; NULL when it is none. */
const char *ksi_lq_filter_func_name(const struct ks_lq_filter *f);
KS_NODISCARD ks_err ksi_lq_filter_regexp(struct ksi_lq_parser *p, const struct ks_lq_field *field,
                                         struct ks_slice re, struct ks_lq_filter **ret);
KS_NODISCARD ks_err ksi_lq_filter_stream(struct ksi_lq_parser *p, struct ks_lq_filter **ret);
KS_NODISCARD ks_err ksi_lq_filter_stream_id(struct ksi_lq_parser *p, struct ks_lq_filter **ret);
KS_NODISCARD ks_err ksi_lq_filter_time(struct ksi_lq_parser *p, struct ks_lq_filter **ret);
KS_NODISCARD ks_err ksi_lq_in_values(struct ksi_lq_parser *p, struct ks_lq_filter *f);
/* One time literal: the first ns of it and the last. */
KS_NODISCARD ks_err ksi_lq_time_literal(struct ks_slice s, int64_t now_ns, int64_t *ret_min,
                                        int64_t *ret_max);

/* --- simplify.c --- */
KS_NODISCARD ks_err ksi_lq_simplify_filter(struct ksi_lq_parser *p, struct ks_lq_filter **io);
KS_NODISCARD ks_err ksi_lq_optimise(struct ksi_lq_parser *p, struct ks_lq_query *q);

/* --- parse_query.c --- */
KS_NODISCARD ks_err ksi_lq_query(struct ksi_lq_parser *p, struct ks_lq_query **ret);
/* `( query )` */
KS_NODISCARD ks_err ksi_lq_query_paren(struct ksi_lq_parser *p, struct ks_lq_query **ret);

/* --- parse_pipe*.c --- */
KS_NODISCARD ks_err ksi_lq_pipe(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);
bool ksi_lq_is_pipe_name(struct ks_slice word);
KS_NODISCARD ks_err ksi_lq_pipe_text(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);
KS_NODISCARD ks_err ksi_lq_pipe_group(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);
KS_NODISCARD ks_err ksi_lq_pattern(struct ksi_lq_parser *p, struct ks_slice text,
                                   struct ks_lq_pattern *ret);

/* --- parse_stats.c --- */
KS_NODISCARD ks_err ksi_lq_pipe_stats(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);
bool ksi_lq_is_func_name(struct ks_slice word);
const char *ksi_lq_func_name(enum ks_lq_func_kind kind);
KS_NODISCARD ks_err ksi_lq_sort_keys(struct ksi_lq_parser *p, struct ks_lq_sort_keys *ret);

/* --- parse_math.c --- */
KS_NODISCARD ks_err ksi_lq_pipe_math(struct ksi_lq_parser *p, struct ks_lq_pipe *ret);

/* --- print*.c --- */
void ksi_lq_print_math(const struct ks_lq_math *m, struct ks_buf *out);
void ksi_lq_print_fields(const struct ks_lq_fields *f, struct ks_buf *out);
void ksi_lq_print_names(const struct ks_lq_names *n, struct ks_buf *out);
void ksi_lq_print_field(const struct ks_lq_field *f, struct ks_buf *out);
void ksi_lq_print_quoted(struct ks_slice s, struct ks_buf *out);
void ksi_lq_print_sort_keys(const struct ks_lq_sort_keys *k, struct ks_buf *out);
void ksi_lq_print_stats(const struct ks_lq_pipe *p, struct ks_buf *out);

#endif
