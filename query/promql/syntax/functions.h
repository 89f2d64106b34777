/*
 * The one table of functions and aggregates of both dialects: names, kinds, argument counts and
 * types. The parser rejects unknown names and wrong arguments by it; the evaluator dispatches on
 * the id.
 */
#ifndef KS_QUERY_PROMQL_FUNCTIONS_H
#define KS_QUERY_PROMQL_FUNCTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "query/promql/syntax/dialect.h"
#include "query/promql/syntax/func_table.h"

enum ks_promql_func_id {
#define X(id, ...) KS_FN_##id,
    KS_PROMQL_FUNCS(X)
#undef X
        KS_FN_COUNT
};

enum ks_func_kind {
    KS_FUNC_ROLLUP,    /* works on the samples of a window: rate(m[d]) */
    KS_FUNC_TRANSFORM, /* works on the points of the grid */
    KS_FUNC_LABEL,     /* transform that only edits or filters labels */
    KS_FUNC_AGGREGATE,
};

/* Facts about one function. In table order, so ks_promql_funcs[id].id == id. */
struct ks_promql_func {
    enum ks_promql_func_id id;
    const char *name;
    enum ks_func_kind kind;
    bool in_metricsql, in_promql, experimental; /* experimental: strict needs the flag */
    bool keeps_name;   /* MetricsQL: the metric name survives without keep_metric_names */
    int8_t rollup_arg; /* MetricsQL rollups: index of the series argument; -1 the last, -2 none */
    int8_t min_args, max_args; /* MetricsQL; max -1 = any number */
    /* Strict: argument types, one letter each: s scalar, t string, v vector, m matrix; after '?'
     * optional, a final '*' repeats the last. Result type likewise. "" when not in PromQL. */
    const char *strict_args;
    char strict_ret;
};

extern const struct ks_promql_func ks_promql_funcs[KS_FN_COUNT];

/* NULL when the dialect has no such name. MetricsQL ignores case, strict does not (aggregates
 * excepted). */
const struct ks_promql_func *ks_promql_func_find(enum ks_dialect dialect, struct ks_slice name);

#endif
