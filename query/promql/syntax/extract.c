/* The selectors of an expression, wherever they stand in it. */
#include "query/promql/promql.h"
#include "query/promql/syntax/parser.h"

enum { LISTS_MAX = 1000 };

struct found {
    struct ks_arena *arena;
    struct ks_selector *list;
    size_t count, cap;
};

static ks_err add(struct found *f, const struct ks_expr_selector *s)
{
    for (size_t i = 0; i < s->or_count && f->count < LISTS_MAX; i++) {
        KS_TRY(ks_arena_grow(f->arena, (void **)&f->list, &f->cap, f->count + 1, sizeof *f->list));
        f->list[f->count++] = s->or_lists[i];
    }
    return KS_OK;
}

static ks_err walk(struct found *f, const struct ks_expr *e);

static ks_err walk_all(struct found *f, struct ks_expr *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        KS_TRY(walk(f, items[i]));
    return KS_OK;
}

/* A tree's height is bounded (ast.h). */
static ks_err walk(struct found *f, const struct ks_expr *e)
{
    switch (e->kind) {
    case KS_EXPR_SELECTOR:
        return add(f, &e->selector);
    case KS_EXPR_ROLLUP:
        return walk(f, e->rollup.expr);
    case KS_EXPR_CALL:
        return walk_all(f, e->call.args, e->call.arg_count);
    case KS_EXPR_AGGREGATE:
        return walk_all(f, e->aggregate.args, e->aggregate.arg_count);
    case KS_EXPR_BINARY:
        KS_TRY(walk(f, e->binary.lhs));
        return walk(f, e->binary.rhs);
    case KS_EXPR_UNARY:
        return walk(f, e->unary.expr);
    case KS_EXPR_PARENS:
        return walk_all(f, e->parens.items, e->parens.count);
    default:
        return KS_OK;
    }
}

ks_err ks_promql_selectors(struct ks_slice text, enum ks_dialect dialect, struct ks_arena *arena,
                           struct ks_selector **ret, size_t *ret_count)
{
    struct ks_promql_parse_opts opts = {
        .dialect = dialect, .experimental_functions = true, .duration_expressions = true};
    struct found f = {.arena = arena};
    struct ks_expr *e;
    struct ks_slice copy = ks_arena_dup(arena, text);
    if (!copy.ptr)
        return ks_arena_err(arena);
    KS_TRY(ks_promql_parse(copy, &opts, arena, &e));
    KS_TRY(walk(&f, e));
    *ret = f.list;
    *ret_count = f.count;
    return KS_OK;
}
