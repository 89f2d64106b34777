/*
 * The syntax tree of both dialects (MetricsQL and strict PromQL).
 *
 * Nodes, strings and arrays live in the arena given to ks_promql_parse() and are immutable
 * afterwards; string slices may point into the query text or into the arena, so the text must live
 * as long as the tree. WITH templates are already expanded, names are unescaped, MetricsQL function
 * names are lower case and resolved to the function table.
 *
 * Windows, offsets and @ are one node (KS_EXPR_ROLLUP) around any expression:
 *   foo                     SELECTOR
 *   foo offset 5m           ROLLUP{SELECTOR, offset}
 *   foo[5m] @ end()         ROLLUP{SELECTOR, window, at}
 *   rate(foo[5m])[1h:1m]    ROLLUP{CALL, window, step}           (a subquery)
 *   rate(foo[5m])[1h:]      ROLLUP{CALL, window, inherit_step}
 *   foo[:]                  MetricsQL: no window, inherit_step
 *
 * The height of a tree is at most KS_PROMQL_MAX_HEIGHT, so walkers may recurse.
 */
#ifndef KS_QUERY_PROMQL_AST_H
#define KS_QUERY_PROMQL_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "index/matcher.h"
#include "query/promql/syntax/dialect.h"
#include "query/promql/syntax/functions.h"

#define KS_PROMQL_MAX_HEIGHT 512

enum ks_expr_kind {
    KS_EXPR_NUMBER,
    KS_EXPR_STRING,
    KS_EXPR_SELECTOR,
    KS_EXPR_ROLLUP,
    KS_EXPR_CALL,
    KS_EXPR_AGGREGATE,
    KS_EXPR_BINARY,
    KS_EXPR_UNARY,  /* strict only: -x, +x; MetricsQL: -x is BINARY 0 - x */
    KS_EXPR_PARENS, /* strict: (x), 1 item; MetricsQL: only the union (a, b) or (), never 1 item */
};

/* What an expression yields in strict PromQL; in MetricsQL a best guess that nothing depends on. */
enum ks_expr_type { KS_TYPE_NONE, KS_TYPE_SCALAR, KS_TYPE_STRING, KS_TYPE_VECTOR, KS_TYPE_MATRIX };

/*
 * A span of time: ms + steps × query step, or (strict only) an expression over durations.
 * Use ks_duration_resolve() (parser.h).
 */
struct ks_duration {
    bool set;
    double ms;
    double steps;         /* MetricsQL `Ni`; for [$__interval] 1 */
    struct ks_expr *expr; /* strict duration expression, NULL otherwise; ms and steps are 0 then */
    struct ks_slice text; /* as written, with its sign */
    uint32_t start, end;  /* bytes in the query text */
};

struct ks_expr_number {
    double value; /* what stands in the text without its step part; durations in seconds */
    double steps; /* the number is value + steps × step in seconds (`1i` → value 0, steps 1) */
    bool is_duration;
    struct ks_slice text; /* as written; empty when made by folding */
};

struct ks_expr_selector {
    /* A series is selected when one of these AND-lists matches in full; 0 lists (MetricsQL {})
     * select nothing. */
    struct ks_selector *or_lists;
    size_t or_count;
    /*
     * The metric name that every list demands by __name__="…"; empty when none or not the same.
     * That matcher stands first in MetricsQL; in strict it stands last, and name is set only for a
     * name written outside of the braces.
     */
    struct ks_slice name;
};

enum ks_at_kind { KS_AT_NONE, KS_AT_EXPR, KS_AT_START, KS_AT_END };

struct ks_expr_rollup {
    struct ks_expr *expr;
    struct ks_duration window; /* [window] */
    struct ks_duration step;   /* [window:step] */
    bool inherit_step;         /* [window:] */
    struct ks_duration offset; /* may be negative */
    enum ks_at_kind at;
    struct ks_expr *at_expr; /* KS_AT_EXPR: seconds; strict: a number */
    bool anchored, smoothed; /* strict, experimental */
};

static inline bool ks_rollup_is_subquery(const struct ks_expr_rollup *r)
{
    return r->step.set || r->inherit_step;
}

struct ks_expr_call {
    const struct ks_promql_func *func; /* its id tells what to do */
    struct ks_expr **args;
    size_t arg_count;
    bool keep_metric_names;
};

enum ks_grouping { KS_GROUP_NONE, KS_GROUP_BY, KS_GROUP_WITHOUT };

struct ks_expr_aggregate {
    const struct ks_promql_func *func;
    struct ks_expr **args; /* in the order of the text: topk(3, x) → 3, x */
    size_t arg_count;
    enum ks_grouping grouping; /* NONE and BY with 0 labels group alike */
    struct ks_slice *labels;
    size_t label_count;
    uint32_t limit; /* MetricsQL `limit N`; 0 = none */
    bool keep_metric_names;
};

/* X(name, text, precedence, right-associative). Higher binds tighter; unary minus sits between MUL
 * and POW. */
#define KS_BINARY_OPS(X)                                                                           \
    X(DEFAULT, "default", 1, 0)                                                                    \
    X(IF, "if", 2, 0)                                                                              \
    X(IFNOT, "ifnot", 2, 0)                                                                        \
    X(OR, "or", 3, 0)                                                                              \
    X(AND, "and", 4, 0)                                                                            \
    X(UNLESS, "unless", 4, 0)                                                                      \
    X(EQ, "==", 5, 0)                                                                              \
    X(NE, "!=", 5, 0)                                                                              \
    X(LT, "<", 5, 0)                                                                               \
    X(GT, ">", 5, 0)                                                                               \
    X(LE, "<=", 5, 0)                                                                              \
    X(GE, ">=", 5, 0)                                                                              \
    X(ADD, "+", 6, 0)                                                                              \
    X(SUB, "-", 6, 0)                                                                              \
    X(MUL, "*", 7, 0)                                                                              \
    X(DIV, "/", 7, 0)                                                                              \
    X(MOD, "%", 7, 0)                                                                              \
    X(ATAN2, "atan2", 7, 0)                                                                        \
    X(POW, "^", 9, 1)

enum ks_binary_op {
#define X(name, text, prec, right) KS_OP_##name,
    KS_BINARY_OPS(X)
#undef X
        KS_OP_COUNT
};

static inline bool ks_op_is_comparison(enum ks_binary_op op)
{
    return op >= KS_OP_EQ && op <= KS_OP_GE;
}
static inline bool ks_op_is_set(enum ks_binary_op op)
{
    return op == KS_OP_OR || op == KS_OP_AND || op == KS_OP_UNLESS;
}

enum ks_match_mode { KS_MATCHING_NONE, KS_MATCHING_ON, KS_MATCHING_IGNORING };
enum ks_join { KS_JOIN_NONE, KS_JOIN_GROUP_LEFT, KS_JOIN_GROUP_RIGHT };

struct ks_expr_binary {
    enum ks_binary_op op;
    struct ks_expr *lhs, *rhs;
    bool return_bool;
    bool keep_metric_names;
    enum ks_match_mode matching;
    struct ks_slice *match_labels;
    size_t match_label_count;
    enum ks_join join;
    struct ks_slice *join_labels; /* group_left(a, b) */
    size_t join_label_count;
    bool join_all_labels;        /* group_left(*) */
    struct ks_slice join_prefix; /* group_left(…) prefix "p"; empty = none */
    bool has_fill_left, has_fill_right;
    double fill_left, fill_right;
};

struct ks_expr_unary {
    bool negative; /* false: unary plus */
    struct ks_expr *expr;
};

struct ks_expr_parens {
    struct ks_expr **items;
    size_t count;
};

struct ks_expr {
    enum ks_expr_kind kind;
    enum ks_expr_type type;
    uint16_t height; /* 1 for a leaf */
    uint32_t size;   /* nodes of this tree; WITH may share subtrees, so each sharing counts */
    uint32_t start,
        end; /* bytes in the query text; of a WITH template: of the place that uses it */
    union {
        struct ks_expr_number number;
        struct ks_slice string; /* unescaped */
        struct ks_expr_selector selector;
        struct ks_expr_rollup rollup;
        struct ks_expr_call call;
        struct ks_expr_aggregate aggregate;
        struct ks_expr_binary binary;
        struct ks_expr_unary unary;
        struct ks_expr_parens parens;
    };
};

extern const char *const ks_binary_op_text[KS_OP_COUNT];

#endif
