/*
 * The parser in both dialects. What parses must print, and the print must parse again to a tree
 * that prints the same; first byte chooses options.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/promql/syntax/parser.h"
#include "query/promql/syntax/print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void broken(const char *what, struct ks_slice a, struct ks_slice b)
{
    fprintf(stderr, "%s: %s\n[%.*s]\n[%.*s]\n", what, ks_err_text(), KS_SLICE_ARG(a),
            KS_SLICE_ARG(b));
    abort();
}

static void check_print(const struct ks_expr *e, const struct ks_promql_parse_opts *opts)
{
    struct ks_arena arena;
    struct ks_buf first, second, rest;
    ks_arena_init(&arena, 16u << 20);
    ks_buf_init(&first, 64u << 10);
    ks_buf_init(&second, 64u << 10);
    ks_buf_init(&rest, 64u << 10);
    ks_promql_print_pretty(e, opts->dialect, &rest);
    ks_promql_print_json(e, &rest);
    ks_promql_print(e, opts->dialect, &first);
    struct ks_promql_parse_opts wide = *opts;
    wide.max_len = 64u << 10;
    struct ks_expr *again;
    if (first.err == KS_OK) {
        ks_err err = ks_promql_parse(ks_buf_view(&first), &wide, &arena, &again);
        if (err == KS_EPARSE)
            broken("the print does not parse", ks_buf_view(&first), ks_buf_view(&first));
        if (err == KS_OK) {
            ks_promql_print(again, opts->dialect, &second);
            if (!ks_slice_eq(ks_buf_view(&first), ks_buf_view(&second)))
                broken("the print is not stable", ks_buf_view(&first), ks_buf_view(&second));
        }
    }
    ks_buf_done(&first);
    ks_buf_done(&second);
    ks_buf_done(&rest);
    ks_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct ks_arena arena;
    struct ks_expr *e;
    struct ks_promql_parse_opts opts = {
        .dialect = data[0] & 1 ? KS_PROMQL_STRICT : KS_METRICSQL,
        .max_nodes = 5000,
        .experimental_functions = data[0] & 2,
        .duration_expressions = data[0] & 4,
        .extended_range_selectors = data[0] & 8,
        .no_fold = data[0] & 16,
    };
    ks_arena_init(&arena, 16u << 20);
    if (ks_promql_parse(ks_slice(data + 1, size - 1), &opts, &arena, &e) == KS_OK)
        check_print(e, &opts);
    ks_arena_done(&arena);
    return 0;
}
