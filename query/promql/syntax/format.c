/* The text services of promql.h: formatting, and the tree as JSON. Thread role: any. */
#include "query/promql/promql.h"
#include "query/promql/syntax/parser.h"
#include "query/promql/syntax/print.h"

#define FORMAT_ARENA_MAX (64u << 20)

/* Parses query and hands the tree to print within one arena. */
static ks_err with_tree(struct ks_slice query, enum ks_dialect dialect, int what,
                        struct ks_buf *out)
{
    struct ks_promql_parse_opts opts = {.dialect = dialect,
                                        .experimental_functions = true,
                                        .duration_expressions = true,
                                        .extended_range_selectors = true,
                                        .no_fold = what != 3};
    struct ks_arena arena;
    struct ks_expr *e;
    ks_arena_init(&arena, FORMAT_ARENA_MAX);
    ks_err err = ks_promql_parse(query, &opts, &arena, &e);
    if (err == KS_OK) {
        if (what == 0 || what == 3)
            ks_promql_print(e, dialect, out);
        else if (what == 1)
            ks_promql_print_pretty(e, dialect, out);
        else
            ks_promql_print_json(e, out);
        err = ks_buf_status(out);
    }
    ks_arena_done(&arena);
    return err;
}

ks_err ks_promql_format(struct ks_slice query, enum ks_dialect dialect, bool pretty,
                        struct ks_buf *out)
{
    return with_tree(query, dialect, pretty, out);
}

ks_err ks_promql_ast_json(struct ks_slice query, enum ks_dialect dialect, struct ks_buf *out)
{
    return with_tree(query, dialect, 2, out);
}

ks_err ks_promql_expand(struct ks_slice query, struct ks_buf *out)
{
    return with_tree(query, KS_METRICSQL, 3, out);
}
