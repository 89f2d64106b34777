/*
 * Subqueries in filters: run first, their values put in their place. The query is copied down to
 * what changes (and the stats functions, whose steps the planner fills in); the rest is shared.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "query/logsql/exec_priv.h"

/* Collects the distinct values of one column. */
struct collector {
    struct ks_lq_stage s;
    struct ks_slice column;
    struct ks_arena *arena;
    struct ks_slice *values;
    size_t count, cap;
    uint32_t *table; /* index + 1 */
    size_t table_cap;
    uint64_t charged;
};

static ks_err grow_table(struct collector *c)
{
    size_t cap = c->table_cap ? c->table_cap * 2 : 256;
    uint32_t *t = ks_zalloc_array(cap, sizeof *t);
    if (!t)
        return KS_ENOMEM;
    for (size_t i = 0; i < c->count; i++) {
        size_t at = ks_hash64(c->values[i].ptr, c->values[i].len) & (cap - 1);
        while (t[at])
            at = (at + 1) & (cap - 1);
        t[at] = (uint32_t)i + 1;
    }
    ks_free(c->table);
    c->table = t;
    c->table_cap = cap;
    return KS_OK;
}

static ks_err collect(struct collector *c, struct ks_slice v)
{
    if (c->count * 2 >= c->table_cap)
        KS_TRY(grow_table(c));
    size_t at = ks_hash64(v.len ? v.ptr : "", v.len) & (c->table_cap - 1);
    for (; c->table[at]; at = (at + 1) & (c->table_cap - 1))
        if (ks_slice_eq(c->values[c->table[at] - 1], v))
            return KS_OK;
    if (c->count == UINT32_MAX - 1)
        return ks_fail(KS_ELIMIT, "a subquery gives too many values");
    if (c->count == c->cap)
        KS_TRY(
            ks_arena_grow(c->arena, (void **)&c->values, &c->cap, c->count + 1, sizeof *c->values));
    struct ks_slice copy = ks_arena_dup(c->arena, v);
    if (!copy.ptr)
        return ks_arena_err(c->arena);
    c->values[c->count++] = copy;
    c->table[at] = (uint32_t)c->count;
    uint64_t bytes = v.len + sizeof v + 24;
    c->charged += bytes;
    return ks_lq_charge(c->s.x, bytes);
}

static ks_err collector_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct collector *c = (struct collector *)s;
    const struct ks_lq_col *col = ks_lq_rows_col(rows, c->column);
    char tmp[KS_LQ_TIME_TEXT_MAX];
    if (!col || col->kind == KS_LQ_CONST)
        return collect(c, ks_lq_col_text(col, 0, tmp));
    for (uint32_t i = 0; i < rows->row_count; i++)
        KS_TRY(collect(c, ks_lq_col_text(col, i, tmp)));
    return KS_OK;
}

static const struct ks_lq_stage_ops collector_ops = {.name = "values", .push = collector_push};

static ks_err run_sub(struct ks_lq_exec *x, struct ks_lq_filter *f)
{
    struct collector c = {
        .s = {.ops = &collector_ops, .x = x}, .column = f->sub_column, .arena = x->arena};
    ks_err err = ks_lq_exec_sub(x, f->sub, &c.s);
    ks_free(c.table);
    f->values = (struct ks_lq_names){c.values, c.count};
    f->sub = NULL;
    return err;
}

static bool has_sub(const struct ks_lq_filter *f)
{
    if (!f)
        return false;
    for (size_t i = 0; i < f->kid_count; i++)
        if (has_sub(f->kids[i]))
            return true;
    return f->sub != NULL;
}

static ks_err resolve_filter(struct ks_lq_exec *x, struct ks_lq_filter *f,
                             struct ks_lq_filter **ret)
{
    *ret = f;
    if (!has_sub(f))
        return KS_OK;
    struct ks_lq_filter *copy = ks_arena_alloc(x->arena, sizeof *copy);
    if (!copy)
        return ks_arena_err(x->arena);
    *copy = *f;
    *ret = copy;
    if (f->sub)
        return run_sub(x, copy);
    copy->kids = ks_arena_array(x->arena, f->kid_count, sizeof *copy->kids);
    if (!copy->kids)
        return ks_arena_err(x->arena);
    for (size_t i = 0; i < f->kid_count; i++)
        KS_TRY(resolve_filter(x, f->kids[i], &copy->kids[i]));
    return KS_OK;
}

static ks_err resolve_pipe(struct ks_lq_exec *x, struct ks_lq_pipe *p)
{
    KS_TRY(resolve_filter(x, p->cond, &p->cond));
    if (p->kind != KS_LQ_P_STATS && p->kind != KS_LQ_P_RUNNING_STATS &&
        p->kind != KS_LQ_P_TOTAL_STATS)
        return KS_OK;
    size_t n = p->u.stats.func_count;
    struct ks_lq_func *funcs = ks_arena_array(x->arena, n + 1, sizeof *funcs);
    if (!funcs)
        return ks_arena_err(x->arena);
    for (size_t i = 0; i < n; i++) {
        funcs[i] = p->u.stats.funcs[i];
        KS_TRY(resolve_filter(x, funcs[i].cond, &funcs[i].cond));
    }
    p->u.stats.funcs = funcs;
    return KS_OK;
}

ks_err ksi_lq_resolve(struct ks_lq_exec *x, const struct ks_lq_query *q,
                      const struct ks_lq_query **ret)
{
    struct ks_lq_query *copy = ks_arena_alloc(x->arena, sizeof *copy);
    struct ks_lq_pipe *pipes = ks_arena_array(x->arena, q->pipe_count + 1, sizeof *pipes);
    if (!copy || !pipes)
        return ks_arena_err(x->arena);
    *copy = *q;
    copy->pipes = pipes;
    KS_TRY(resolve_filter(x, q->filter, &copy->filter));
    for (size_t i = 0; i < q->pipe_count; i++) {
        pipes[i] = q->pipes[i];
        KS_TRY(resolve_pipe(x, &pipes[i]));
    }
    *ret = copy;
    return KS_OK;
}
