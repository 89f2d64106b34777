/*
 * Syntax trees as text and as JSON. Canonical text is what VictoriaMetrics (MetricsQL) or
 * Prometheus (strict) write for the same query; parsing it again gives the same tree. Errors stick
 * in the buffer. Recursion is bounded by KS_PROMQL_MAX_HEIGHT. Thread role: any.
 */
#ifndef KS_QUERY_PROMQL_PRINT_H
#define KS_QUERY_PROMQL_PRINT_H

#include "base/buf.h"
#include "query/promql/syntax/ast.h"

/* On one line. */
void ks_promql_print(const struct ks_expr *expr, enum ks_dialect dialect, struct ks_buf *out);

/* Broken and indented by two blanks where a line would be longer than 80 (MetricsQL) or 100
 * (strict) columns. */
void ks_promql_print_pretty(const struct ks_expr *expr, enum ks_dialect dialect,
                            struct ks_buf *out);

/* As Prometheus' /api/v1/parse_query shows it (the value of "data"). */
void ks_promql_print_json(const struct ks_expr *expr, struct ks_buf *out);

#endif
