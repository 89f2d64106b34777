/* The text services of promql.h: selectors for match[] and filters, formatting, the tree as JSON. Thread role: any. */
#include "query/promql/parser.h"
#include "query/promql/print.h"
#include "query/promql/promql.h"

#define FORMAT_ARENA_MAX (64u << 20)

ks_err ks_promql_parse_selector(struct ks_slice text, struct ks_arena *arena, struct ks_selector **ret,
                                size_t *ret_count)
{
    struct ks_promql_parse_opts opts = {.dialect = KS_METRICSQL};
    struct ks_expr *e;
    KS_TRY(ks_promql_parse(text, &opts, arena, &e));
    if (e->kind != KS_EXPR_SELECTOR)
        return ks_fail(KS_EPARSE, "1:1: parse error: expected a series selector like {a=\"b\"}, got %.*s",
                       (int)(text.len < 200 ? text.len : 200), text.ptr);
    *ret = e->selector.or_lists;
    *ret_count = e->selector.or_count;
    return KS_OK;
}

/* Parses query and hands the tree to print within one arena. */
static ks_err with_tree(struct ks_slice query, enum ks_dialect dialect, int what, struct ks_buf *out)
{
    struct ks_promql_parse_opts opts = {.dialect = dialect,
                                        .experimental_functions = true,
                                        .duration_expressions = true,
                                        .extended_range_selectors = true,
                                        .no_fold = true};
    struct ks_arena arena;
    struct ks_expr *e;
    ks_arena_init(&arena, FORMAT_ARENA_MAX);
    ks_err err = ks_promql_parse(query, &opts, &arena, &e);
    if (err == KS_OK) {
        if (what == 0)
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

ks_err ks_promql_format(struct ks_slice query, enum ks_dialect dialect, bool pretty, struct ks_buf *out)
{
    return with_tree(query, dialect, pretty, out);
}

ks_err ks_promql_ast_json(struct ks_slice query, enum ks_dialect dialect, struct ks_buf *out)
{
    return with_tree(query, dialect, 2, out);
}
