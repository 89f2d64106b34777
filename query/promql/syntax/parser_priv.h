/*
 * What the parser's files share: its state, node making, and the entry points of the two grammars.
 * Recursion follows the nesting of the text and is counted by ksi_enter()/ksi_leave(); a failed
 * parse is never continued, so the count need not be undone on errors.
 */
#ifndef KS_QUERY_PROMQL_PARSER_PRIV_H
#define KS_QUERY_PROMQL_PARSER_PRIV_H

#include "query/promql/syntax/lexer.h"
#include "query/promql/syntax/parser.h"

#define KSI_MAX_NESTING 200

/*
 * A name defined by WITH, or a parameter of one. Without `bound` the body is text, read again at
 * each use in the scope of the definition; so a template sees only what was defined before it and
 * cannot call itself.
 */
struct ksi_template {
    const struct ksi_template *outer; /* the scope of the definition, newest first */
    struct ks_slice name;
    struct ks_slice *params;
    size_t param_count;
    struct ks_slice text; /* what `body` counts in */
    bool foreign;         /* text is ours, not the user's */
    uint32_t body_start, body_end;
    struct ks_expr *bound;  /* the argument a parameter stands for */
    struct ks_expr **cache; /* no parameters: its expansion once it was made; NULL: not kept */
};

struct ksi_parser {
    const struct ks_promql_parse_opts *opts;
    struct ks_arena *arena;
    struct ksi_lexer lx;
    struct ksi_token tok; /* the next one, not consumed */
    uint32_t prev_end;    /* where the last consumed one ends */
    unsigned nesting;
    unsigned in_aggregates; /* strict: how many aggregates' brackets are open */
    size_t nodes, max_nodes;
    const struct ksi_template *scope;
    bool dry;       /* reading a template's body for its syntax alone: names are not looked up */
    bool expanding; /* nodes get the place that uses the outermost template */
    uint32_t use_start, use_end;
};

/* ---- tokens (parser.c) ---- */
KS_NODISCARD ks_err ksi_advance(struct ksi_parser *p);
KS_NODISCARD ks_err ksi_peek(const struct ksi_parser *p, struct ksi_token *ret);
static inline struct ks_slice ksi_text(const struct ksi_parser *p)
{
    return ksi_tok_text(&p->lx, p->tok);
}
static inline bool ksi_at_word(const struct ksi_parser *p, const char *lower)
{
    return p->tok.kind == KSI_TOK_IDENT && ksi_word_is(ksi_text(p), lower);
}
#define ksi_error(p, pos, ...) ksi_lex_error(&(p)->lx, (pos), __VA_ARGS__)

/* ---- limits ---- */
KS_NODISCARD ks_err ksi_enter(struct ksi_parser *p);
static inline void ksi_leave(struct ksi_parser *p)
{
    p->nesting--;
}

/* ---- nodes ---- */
KS_NODISCARD ks_err ksi_node(struct ksi_parser *p, enum ks_expr_kind kind, uint32_t start,
                             uint32_t end, struct ks_expr **ret);
/* Accounts child into e's height and size. */
KS_NODISCARD ks_err ksi_adopt(struct ksi_parser *p, struct ks_expr *e, const struct ks_expr *child);
KS_NODISCARD ks_err ksi_number_node(struct ksi_parser *p, double value, uint32_t start,
                                    uint32_t end, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_binary_node(struct ksi_parser *p, const struct ks_expr_binary *b,
                                    struct ks_expr **ret);
/* The operator the next token is, KS_OP_COUNT when none. Word operators may be written in any case.
 */
enum ks_binary_op ksi_binary_op(const struct ksi_parser *p);
int ksi_op_precedence(enum ks_binary_op op);
static inline bool ksi_op_is_right(enum ks_binary_op op)
{
    return op == KS_OP_POW;
}

/* A growing list in the arena. */
struct ksi_list {
    void *items;
    size_t count, cap;
};
KS_NODISCARD ks_err ksi_push(struct ksi_parser *p, struct ksi_list *l, const void *item,
                             size_t size);

/* ---- strings (parse_string.c) ---- */
/* The value of a string token. KS_EPARSE at pos when it is malformed. */
KS_NODISCARD ks_err ksi_unquote(struct ksi_parser *p, struct ks_slice quoted, size_t pos,
                                struct ks_slice *ret);
/* An identifier without its backslashes. */
KS_NODISCARD ks_err ksi_unescape_ident(struct ksi_parser *p, struct ks_slice ident,
                                       struct ks_slice *ret);
KS_NODISCARD ks_err ksi_concat(struct ksi_parser *p, struct ks_slice a, struct ks_slice b,
                               struct ks_slice *ret);
KS_NODISCARD ks_err ksi_lower(struct ksi_parser *p, struct ks_slice s, struct ks_slice *ret);

/* ---- checks ---- */
KS_NODISCARD ks_err ksi_check_matcher(struct ksi_parser *p, const struct ks_matcher *m,
                                      uint32_t pos);
/* MetricsQL: argument counts of a call or aggregate. */
KS_NODISCARD ks_err ksi_check_arg_count(struct ksi_parser *p, const struct ks_promql_func *f,
                                        size_t count, uint32_t pos);
/* MetricsQL: KS_EINVAL when e needs a conversion that VictoriaMetrics does silently. */
KS_NODISCARD ks_err ksi_check_implicit(const struct ks_expr *e);
/* Strict: types of everything, argument counts, vector matching, selectors. Sets e->type. */
KS_NODISCARD ks_err ksi_strict_check(struct ksi_parser *p, struct ks_expr *e);

/* ---- grammars ---- */
KS_NODISCARD ks_err ksi_mql_expr(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_selector(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_string(struct ksi_parser *p, struct ks_slice *ret);
/* (a, "b c", template): label names. star: (*) is allowed and sets *ret_star. */
KS_NODISCARD ks_err ksi_mql_labels(struct ksi_parser *p, bool *ret_star, struct ks_slice **ret,
                                   size_t *ret_count);
KS_NODISCARD ks_err ksi_mql_call(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_aggregate(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_rollup(struct ksi_parser *p, struct ks_expr *expr,
                                   struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_primary(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_mql_binary_modifiers(struct ksi_parser *p, struct ks_expr_binary *b);
/* (a, b, …): the items; a trailing comma is allowed. */
KS_NODISCARD ks_err ksi_mql_args(struct ksi_parser *p, struct ks_expr ***ret, size_t *ret_count);
KS_NODISCARD ks_err ksi_strict_expr(struct ksi_parser *p, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_strict_selector(struct ksi_parser *p, bool has_name, struct ks_expr **ret);
KS_NODISCARD ks_err ksi_strict_duration(struct ksi_parser *p, bool offset, struct ks_duration *ret);
KS_NODISCARD ks_err ksi_strict_rollups(struct ksi_parser *p, struct ks_expr *e,
                                       struct ks_expr **ret);
/* "unexpected … in context, expected …" about the next token, in Prometheus' words. */
ks_err ksi_strict_unexpected(const struct ksi_parser *p, const char *context, const char *expected);

/* ---- templates (with_expand.c) ---- */
/* The newest template of that name in scope; NULL when none, and always when p->dry. */
const struct ksi_template *ksi_template_find(const struct ksi_parser *p, struct ks_slice name);
/* WITH (…) expr, the next token being WITH. */
KS_NODISCARD ks_err ksi_mql_with(struct ksi_parser *p, struct ks_expr **ret);
/* The expansion of t with args, used at start..end. */
KS_NODISCARD ks_err ksi_expand(struct ksi_parser *p, const struct ksi_template *t,
                               struct ks_expr **args, size_t arg_count, uint32_t start,
                               uint32_t end, struct ks_expr **ret);
/* Replaces a selector whose metric name is a template by its expansion, with the filters merged. */
KS_NODISCARD ks_err ksi_expand_selector(struct ksi_parser *p, struct ks_expr *sel,
                                        struct ks_expr **ret);
/* Puts the scope with ru, ttf, range_median and alias in place. */
void ksi_default_templates(struct ksi_parser *p);

/* ---- constants (simplify.c) ---- */
/* MetricsQL: folds a binary operation over literals; e itself when it is not one. */
KS_NODISCARD ks_err ksi_fold(struct ksi_parser *p, struct ks_expr *e, struct ks_expr **ret);

#endif
