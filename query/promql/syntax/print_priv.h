/* Pieces of the printers that print.c, print_strict.c, print_pretty.c and ast_json.c share. */
#ifndef KS_QUERY_PROMQL_PRINT_PRIV_H
#define KS_QUERY_PROMQL_PRINT_PRIV_H

#include "query/promql/syntax/print.h"

/* A string literal in double quotes, as Go's strconv.Quote. */
void ksi_print_quoted(struct ks_slice s, struct ks_buf *out);
/* (a, b, c), each by `print`. */
void ksi_print_list(struct ks_expr *const *items, size_t count,
                    void (*print)(const struct ks_expr *, struct ks_buf *), struct ks_buf *out);
void ksi_print_mql(const struct ks_expr *e, struct ks_buf *out);
void ksi_print_strict(const struct ks_expr *e, struct ks_buf *out);

/* MetricsQL parts, for breaking lines between them. */
void ksi_mql_ident(struct ks_slice name, struct ks_buf *out); /* with backslashes where needed */
void ksi_mql_binary_op(const struct ks_expr_binary *b, struct ks_buf *out); /* op and modifiers */
void ksi_mql_rollup_tail(const struct ks_expr_rollup *r, struct ks_buf *out);
void ksi_mql_aggregate_tail(const struct ks_expr_aggregate *a, struct ks_buf *out);
void ksi_mql_matchers(const struct ks_selector *s, size_t skip, struct ks_buf *out);
bool ksi_mql_left_parens(const struct ks_expr_binary *b);
bool ksi_mql_right_parens(const struct ks_expr_binary *b);
bool ksi_mql_rollup_parens(const struct ks_expr_rollup *r);

/* Strict parts. */
void ksi_strict_binary_op(const struct ks_expr *e, struct ks_buf *out);
void ksi_strict_rollup_tail(const struct ks_expr_rollup *r, struct ks_buf *out);
void ksi_strict_aggregate_head(const struct ks_expr_aggregate *a, struct ks_buf *out);

#endif
