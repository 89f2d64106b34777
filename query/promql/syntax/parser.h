/*
 * Query text → syntax tree, for MetricsQL (as VictoriaMetrics 1.150) and strict PromQL (as
 * Prometheus 3.5).
 *
 * Hostile text is bounded by length, nesting, tree height and node count (WITH templates multiply
 * nodes). No I/O, no locks; any thread.
 */
#ifndef KS_QUERY_PROMQL_PARSER_H
#define KS_QUERY_PROMQL_PARSER_H

#include "base/arena.h"
#include "query/promql/syntax/ast.h"

struct ks_promql_parse_opts {
    enum ks_dialect dialect;
    size_t max_len;                   /* bytes; 0 = 16 KiB */
    size_t max_nodes;                 /* after template expansion; 0 = 100 000 */
    bool experimental_functions;      /* strict: info, limitk, mad_over_time, … */
    bool duration_expressions;        /* strict: [5m * 2], experimental */
    bool extended_range_selectors;    /* strict: anchored, smoothed */
    bool disable_implicit_conversion; /* MetricsQL: rate(sum(x)) and the like are errors */
    bool no_fold; /* MetricsQL: keep constants and parentheses as written (printing) */
};

/*
 * Parses and checks text. The tree borrows from text and lives in arena.
 *
 * Errors: KS_EPARSE with "line:column: parse error: …", KS_ETOOBIG text longer than max_len,
 * KS_ELIMIT too deep or too many nodes, KS_ENOMEM / KS_ELIMIT from the arena.
 */
KS_NODISCARD ks_err ks_promql_parse(struct ks_slice text, const struct ks_promql_parse_opts *opts,
                                    struct ks_arena *arena, struct ks_expr **ret);

/*
 * The milliseconds a duration stands for at this query step. Unset: 0. Strict duration expressions
 * are evaluated here. Error KS_EEXEC when the result is not finite or too large; with
 * must_be_positive also when it is ≤ 0.
 */
KS_NODISCARD ks_err ks_duration_resolve(const struct ks_duration *d, int64_t step_ms,
                                        bool must_be_positive, int64_t *ret_ms);

#endif
