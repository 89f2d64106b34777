/*
 * Trees as VictoriaLogs prints them: nested groups flattened, filters that are always true dropped,
 * leading filter pipes moved into the filter, limits and offsets folded.
 */
#include "query/logsql/syntax/parser_priv.h"

static bool is_all(const struct ks_lq_filter *f)
{
    return f->kind == KS_LQ_F_ALL;
}

/* `{a} {b}` is `{a,b}` where both are single AND lists. */
static bool merge_streams(struct ks_lq_filter *to, const struct ks_lq_filter *f, void *arena)
{
    if (to->kind != KS_LQ_F_STREAM || f->kind != KS_LQ_F_STREAM || to->stream.count != 1 ||
        f->stream.count != 1)
        return false;
    size_t n = to->stream.ors[0].count, m = f->stream.ors[0].count;
    struct ks_lq_tag_filter *items = ks_arena_array(arena, n + m + 1, sizeof *items);
    if (!items)
        return false; /* two filters say the same as one */
    if (n)
        memcpy(items, to->stream.ors[0].items, n * sizeof *items);
    if (m)
        memcpy(items + n, f->stream.ors[0].items, m * sizeof *items);
    to->stream.ors[0].items = items;
    to->stream.ors[0].count = n + m;
    return true;
}

struct kids {
    struct ks_lq_filter **items;
    size_t count;
};

static size_t flat_count(const struct ks_lq_filter *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->kid_count; i++)
        n += f->kids[i]->kind == f->kind ? f->kids[i]->kid_count : 1;
    return n;
}

static void add_and(struct ksi_lq_parser *p, struct kids *out, struct ks_lq_filter *f)
{
    if (is_all(f))
        return;
    for (size_t i = 0; f->kind == KS_LQ_F_STREAM && i < out->count; i++)
        if (merge_streams(out->items[i], f, p->arena))
            return;
    out->items[out->count++] = f;
}

static ks_err simplify_group(struct ksi_lq_parser *p, struct ks_lq_filter *f,
                             struct ks_lq_filter **ret)
{
    struct kids k = {ks_arena_array(p->arena, flat_count(f) + 1, sizeof *k.items), 0};
    bool and = f->kind == KS_LQ_F_AND;
    if (!k.items)
        return ksi_lq_oom(p);
    for (size_t i = 0; i < f->kid_count; i++) {
        struct ks_lq_filter *kid = f->kids[i];
        if (kid->kind == f->kind) {
            for (size_t j = 0; j < kid->kid_count; j++)
                if (and)
                    add_and(p, &k, kid->kids[j]);
                else
                    k.items[k.count++] = kid->kids[j];
        } else if (and) {
            add_and(p, &k, kid);
        } else {
            if (is_all(kid)) {
                *ret = kid;
                return KS_OK;
            }
            k.items[k.count++] = kid;
        }
    }
    if (k.count <= 1 && !(k.count == 0 && !and)) {
        struct ks_lq_filter *all;
        if (k.count) {
            *ret = k.items[0];
            return KS_OK;
        }
        KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_ALL, NULL, &all));
        *ret = all;
        return KS_OK;
    }
    f->kids = k.items;
    f->kid_count = k.count;
    *ret = f;
    return KS_OK;
}

/* Depth is bounded by the parser. */
ks_err ksi_lq_simplify_filter(struct ksi_lq_parser *p, struct ks_lq_filter **io)
{
    struct ks_lq_filter *f = *io;
    for (size_t i = 0; i < f->kid_count; i++)
        KS_TRY(ksi_lq_simplify_filter(p, &f->kids[i]));
    if (f->kind == KS_LQ_F_AND || f->kind == KS_LQ_F_OR)
        return simplify_group(p, f, io);
    return KS_OK;
}

/* --- pipes --- */

static void remove_pipe(struct ks_lq_query *q, size_t i)
{
    memmove(&q->pipes[i], &q->pipes[i + 1], (q->pipe_count - i - 1) * sizeof *q->pipes);
    q->pipe_count--;
}

static uint64_t add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* sort takes a limit or offset that follows it. */
static bool fold_into_sort(struct ks_lq_pipe *s, const struct ks_lq_pipe *p)
{
    if (s->kind != KS_LQ_P_SORT || s->u.sort.rank.len || s->u.sort.partition_by.count)
        return false;
    uint64_t n = p->u.count.n, limit = s->u.sort.limit;
    if (p->kind == KS_LQ_P_LIMIT) {
        if (n == 0)
            return false;
        if (limit == 0 || n < limit)
            s->u.sort.limit = n;
        s->u.sort.has_limit = true;
        return true;
    }
    if (limit && n >= limit)
        return false;
    s->u.sort.offset = add_sat(s->u.sort.offset, n);
    if (limit)
        s->u.sort.limit = limit - n;
    return true;
}

/* Two neighbours of limit and offset in one; false when they stay. */
static bool fold_counts(struct ks_lq_pipe *a, struct ks_lq_pipe *b, bool *ret_drop_b)
{
    uint64_t n = a->u.count.n, m = b->u.count.n;
    *ret_drop_b = true;
    if (a->kind == KS_LQ_P_LIMIT && b->kind == KS_LQ_P_LIMIT) {
        a->u.count.n = n < m ? n : m;
        return true;
    }
    if (a->kind == KS_LQ_P_OFFSET && b->kind == KS_LQ_P_OFFSET) {
        a->u.count.n = add_sat(n, m);
        return true;
    }
    if (a->kind == KS_LQ_P_LIMIT && b->kind == KS_LQ_P_OFFSET) {
        if (m < n)
            return false;
        a->u.count.n = 0;
        return true;
    }
    /* offset n | limit m: limit n + m | offset n */
    *ret_drop_b = false;
    if (m == 0) {
        *ret_drop_b = true;
        a->kind = KS_LQ_P_LIMIT;
        a->u.count.n = 0;
        return true;
    }
    a->kind = KS_LQ_P_LIMIT;
    a->u.count.n = add_sat(n, m);
    b->kind = KS_LQ_P_OFFSET;
    b->u.count.n = n;
    return true;
}

static bool is_count(const struct ks_lq_pipe *p)
{
    return p->kind == KS_LQ_P_LIMIT || p->kind == KS_LQ_P_OFFSET;
}

/* One step of folding at pipe i; true when something changed. */
static bool fold_at(struct ks_lq_query *q, size_t i)
{
    struct ks_lq_pipe *p = &q->pipes[i], *before = i ? p - 1 : NULL;
    if (p->kind == KS_LQ_P_OFFSET && p->u.count.n == 0) {
        remove_pipe(q, i);
        return true;
    }
    if (!before || !is_count(p))
        return false;
    if (p->kind == KS_LQ_P_LIMIT && p->u.count.n == 0 &&
        (is_count(before) || before->kind == KS_LQ_P_SORT)) {
        remove_pipe(q, i - 1);
        return true;
    }
    if (fold_into_sort(before, p)) {
        remove_pipe(q, i);
        return true;
    }
    if (before->kind == KS_LQ_P_UNIQ && p->kind == KS_LQ_P_LIMIT && p->u.count.n) {
        if (!before->u.uniq.limit || p->u.count.n < before->u.uniq.limit)
            before->u.uniq.limit = p->u.count.n;
        remove_pipe(q, i);
        return true;
    }
    if (is_count(before)) {
        bool drop;
        if (!fold_counts(before, p, &drop))
            return false;
        if (drop)
            remove_pipe(q, i);
        return true;
    }
    return false;
}

/* `filter` at the front belongs to the query's filter. */
static ks_err move_filters(struct ksi_lq_parser *p, struct ks_lq_query *q)
{
    while (q->pipe_count && q->pipes[0].kind == KS_LQ_P_FILTER) {
        struct ks_lq_filter *and;
        KS_TRY(ksi_lq_filter_new(p, KS_LQ_F_AND, NULL, &and));
        and->kids = ks_arena_array(p->arena, 2, sizeof *and->kids);
        if (!and->kids)
            return ksi_lq_oom(p);
        and->kids[0] = q->filter;
        and->kids[1] = q->pipes[0].cond;
        and->kid_count = 2;
        KS_TRY(ksi_lq_simplify_filter(p, &and));
        q->filter = and;
        remove_pipe(q, 0);
    }
    return KS_OK;
}

ks_err ksi_lq_optimise(struct ksi_lq_parser *p, struct ks_lq_query *q)
{
    KS_TRY(move_filters(p, q));
    for (size_t i = 0; i < q->pipe_count; i++) {
        if (q->pipes[i].kind == KS_LQ_P_STREAM_CONTEXT && i > 0)
            return ks_fail(KS_EPARSE, "stream_context has to be the first pipe");
        if (fold_at(q, i))
            i = (size_t)-1; /* the pipes before may fold with what is new */
    }
    return move_filters(p, q); /* one may have come to the front */
}
