/* Queries as text and trees for tools; thin over the parser and the printer. */
#include "query/promql/parser.h"
#include "query/promql/print.h"
#include "query/promql/promql.h"

enum { TREE_MAX_BYTES = 64 << 20 };

ks_err ks_promql_format(struct ks_slice query, enum ks_dialect dialect, bool pretty, struct ks_buf *out)
{
    struct ks_promql_parse_opts opts = {.dialect = dialect, .no_fold = true};
    struct ks_arena arena;
    struct ks_expr *e;
    ks_arena_init(&arena, TREE_MAX_BYTES);
    ks_err err = ks_promql_parse(query, &opts, &arena, &e);
    if (err == KS_OK) {
        (pretty ? ks_promql_print_pretty : ks_promql_print)(e, dialect, out);
        err = ks_buf_status(out);
    }
    ks_arena_done(&arena);
    return err;
}

ks_err ks_promql_ast_json(struct ks_slice query, enum ks_dialect dialect, struct ks_buf *out)
{
    struct ks_promql_parse_opts opts = {.dialect = dialect, .no_fold = true};
    struct ks_arena arena;
    struct ks_expr *e;
    ks_arena_init(&arena, TREE_MAX_BYTES);
    ks_err err = ks_promql_parse(query, &opts, &arena, &e);
    if (err == KS_OK) {
        ks_promql_print_json(e, out);
        err = ks_buf_status(out);
    }
    ks_arena_done(&arena);
    return err;
}
