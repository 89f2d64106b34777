/*
 * Queries as series: which labels the rows of stats_query carry, and whether every pipe behind the
 * stats keeps them told apart.
 */
#include "query/logsql/syntax/parser.h"
#include "query/logsql/syntax/parser_priv.h"

struct shape {
    struct ks_arena *arena;
    struct ks_lq_names labels;  /* by() fields */
    struct ks_lq_names metrics; /* results */
    size_t labels_cap, metrics_cap;
    bool range;
};

static ks_err push(struct shape *s, struct ks_lq_names *n, size_t *cap, struct ks_slice name)
{
    if (n->count == *cap)
        KS_TRY(ks_arena_grow(s->arena, (void **)&n->items, cap, n->count + 1, sizeof *n->items));
    n->items[n->count++] = name;
    return KS_OK;
}

static bool has(const struct ks_lq_names *n, struct ks_slice name)
{
    for (size_t i = 0; i < n->count; i++)
        if (ks_slice_eq(n->items[i], name))
            return true;
    return false;
}

static void drop(struct ks_lq_names *n, struct ks_slice name)
{
    size_t k = 0;
    for (size_t i = 0; i < n->count; i++)
        if (!ks_slice_eq(n->items[i], name))
            n->items[k++] = n->items[i];
    n->count = k;
}

static bool covered(const struct ks_lq_fields *f, struct ks_slice name)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].prefix ? ks_slice_has_prefix(name, f->items[i].name)
                               : ks_slice_eq(name, f->items[i].name))
            return true;
    return false;
}

static ks_err refuse(const struct ks_lq_pipe *p, const char *why)
{
    struct ks_buf b;
    ks_buf_init(&b, 4096);
    ks_lq_print_pipe(p, &b);
    ks_err err = ks_fail(KS_EEXEC, "the pipe [%.*s] %s", (int)b.len, b.ptr ? b.ptr : "", why);
    ks_buf_done(&b);
    return err;
}

static ks_err after_stats(struct shape *s, const struct ks_lq_pipe *p)
{
    s->labels.count = s->metrics.count = 0;
    for (size_t i = 0; i < p->u.stats.by_count; i++)
        KS_TRY(push(s, &s->labels, &s->labels_cap, p->u.stats.by[i].name));
    for (size_t i = 0; i < p->u.stats.func_count; i++)
        KS_TRY(push(s, &s->metrics, &s->metrics_cap, p->u.stats.funcs[i].result));
    return KS_OK;
}

static ks_err after_running(struct shape *s, const struct ks_lq_pipe *p)
{
    for (size_t i = 0; i < p->u.stats.by_count; i++)
        if (!has(&s->labels, p->u.stats.by[i].name) && !ks_slice_is(p->u.stats.by[i].name, "_time"))
            return refuse(p, "groups by a field that is none of the by() labels of stats");
    for (size_t i = 0; i < p->u.stats.func_count; i++) {
        drop(&s->labels, p->u.stats.funcs[i].result);
        drop(&s->metrics, p->u.stats.funcs[i].result);
        KS_TRY(push(s, &s->metrics, &s->metrics_cap, p->u.stats.funcs[i].result));
    }
    return KS_OK;
}

static ks_err after_math(struct shape *s, const struct ks_lq_pipe *p)
{
    for (size_t i = 0; i < p->u.math.count; i++) {
        struct ks_slice r = p->u.math.items[i].result;
        if (has(&s->labels, r))
            return refuse(p, "overwrites a by() label");
        if (!has(&s->metrics, r))
            KS_TRY(push(s, &s->metrics, &s->metrics_cap, r));
    }
    return KS_OK;
}

static ks_err after_fields(struct shape *s, const struct ks_lq_pipe *p)
{
    struct ks_lq_names *lists[] = {&s->labels, &s->metrics};
    if (s->range && has(&s->labels, KS_SLICE_LIT("_time")) &&
        !covered(&p->u.fields, KS_SLICE_LIT("_time")))
        return refuse(p, "drops _time");
    for (size_t l = 0; l < 2; l++) {
        size_t k = 0;
        for (size_t i = 0; i < lists[l]->count; i++)
            if (covered(&p->u.fields, lists[l]->items[i]))
                lists[l]->items[k++] = lists[l]->items[i];
        lists[l]->count = k;
    }
    return KS_OK;
}

static ks_err after_delete(struct shape *s, const struct ks_lq_pipe *p)
{
    struct ks_lq_names *lists[] = {&s->labels, &s->metrics};
    if (s->range && covered(&p->u.fields, KS_SLICE_LIT("_time")))
        return refuse(p, "drops _time");
    for (size_t l = 0; l < 2; l++) {
        size_t k = 0;
        for (size_t i = 0; i < lists[l]->count; i++)
            if (!covered(&p->u.fields, lists[l]->items[i]))
                lists[l]->items[k++] = lists[l]->items[i];
        lists[l]->count = k;
    }
    return KS_OK;
}

/* The new name of `name`, or empty when the move leaves it alone. */
static ks_err moved(struct shape *s, struct ks_lq_field from, struct ks_lq_field to,
                    struct ks_slice name, struct ks_slice *ret)
{
    *ret = ks_slice(NULL, 0);
    if (from.prefix ? !ks_slice_has_prefix(name, from.name) : !ks_slice_eq(name, from.name))
        return KS_OK;
    if (!from.prefix || !to.prefix) {
        *ret = to.name;
        return KS_OK;
    }
    *ret = ks_arena_printf(s->arena, "%.*s%.*s", KS_SLICE_ARG(to.name),
                           KS_SLICE_ARG(ks_slice_from(name, from.name.len)));
    return ret->ptr ? KS_OK : ks_arena_err(s->arena);
}

static ks_err after_move(struct shape *s, const struct ks_lq_pipe *p)
{
    bool copy = p->kind == KS_LQ_P_COPY;
    for (size_t i = 0; i < p->u.move.count; i++) {
        struct ks_lq_names *lists[] = {&s->labels, &s->metrics};
        struct ks_slice from = p->u.move.from[i].name;
        if (!p->u.move.from[i].prefix && !has(&s->labels, from) && !has(&s->metrics, from)) {
            drop(&s->labels, p->u.move.to[i].name); /* a field that is empty takes their place */
            drop(&s->metrics, p->u.move.to[i].name);
        }
        for (size_t l = 0; l < 2; l++) {
            size_t n = lists[l]->count;
            for (size_t k = 0; k < n; k++) {
                struct ks_slice name = lists[l]->items[k], to;
                KS_TRY(moved(s, p->u.move.from[i], p->u.move.to[i], name, &to));
                if (!to.len || ks_slice_eq(to, name))
                    continue;
                drop(lists[1 - l], to);
                if (!copy)
                    lists[l]->items[k] = to;
                else if (!has(lists[l], to))
                    KS_TRY(push(s, lists[l], l ? &s->metrics_cap : &s->labels_cap, to));
            }
        }
    }
    if (s->range && !has(&s->labels, KS_SLICE_LIT("_time")))
        return refuse(p, "moves _time away");
    return KS_OK;
}

static ks_err after_pipe(struct shape *s, const struct ks_lq_pipe *p)
{
    switch (p->kind) {
    case KS_LQ_P_STATS:
        return after_stats(s, p);
    case KS_LQ_P_RUNNING_STATS:
    case KS_LQ_P_TOTAL_STATS:
        return after_running(s, p);
    case KS_LQ_P_MATH:
        return after_math(s, p);
    case KS_LQ_P_FIELDS:
        return after_fields(s, p);
    case KS_LQ_P_DELETE:
        return after_delete(s, p);
    case KS_LQ_P_COPY:
    case KS_LQ_P_RENAME:
        return after_move(s, p);
    case KS_LQ_P_FORMAT:
        if (has(&s->metrics, p->u.format.to) || (s->range && ks_slice_is(p->u.format.to, "_time")))
            return refuse(p, "overwrites a result of stats");
        if (!has(&s->labels, p->u.format.to))
            return push(s, &s->labels, &s->labels_cap, p->u.format.to);
        return KS_OK;
    case KS_LQ_P_FILTER:
    case KS_LQ_P_FIRST:
    case KS_LQ_P_LAST:
    case KS_LQ_P_SORT:
        return KS_OK;
    case KS_LQ_P_LIMIT:
    case KS_LQ_P_OFFSET:
        if (s->range)
            return refuse(p, "cuts the points of series; it is allowed with stats_query only");
        return KS_OK;
    default:
        return refuse(p, "is not allowed behind stats here");
    }
}

ks_err ks_lq_stats_shape(const struct ks_lq_query *q, bool range, struct ks_arena *arena,
                         struct ks_lq_stats_shape *ret)
{
    struct shape s = {.arena = arena, .range = range};
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < q->pipe_count; i++)
        if (q->pipes[i].kind == KS_LQ_P_STATS)
            at = i;
    if (at == SIZE_MAX)
        return ks_fail(KS_EEXEC, "the query has to end with a stats pipe");
    for (size_t i = at; i < q->pipe_count; i++)
        KS_TRY(after_pipe(&s, &q->pipes[i]));
    if (!s.metrics.count)
        return ks_fail(KS_EEXEC, "no result of the stats pipe is left at the end of the query");
    drop(&s.labels, KS_SLICE_LIT("_time"));
    ret->labels = s.labels;
    ret->stats_pipe = at;
    return KS_OK;
}

ks_err ks_lq_stats_by_time(struct ks_lq_query *q, int64_t step_ns, int64_t offset_ns,
                           struct ks_arena *arena)
{
    for (size_t i = 0; i < q->pipe_count; i++) {
        struct ks_lq_pipe *p = &q->pipes[i];
        if (p->kind != KS_LQ_P_STATS)
            continue;
        size_t n = p->u.stats.by_count, k = 1;
        struct ks_lq_by *by = ks_arena_zalloc(arena, (n + 1) * sizeof *by);
        if (!by)
            return ks_arena_err(arena);
        for (size_t j = 0; j < n; j++)
            if (!ks_slice_is(p->u.stats.by[j].name, "_time"))
                by[k++] = p->u.stats.by[j];
        by[0] = (struct ks_lq_by){.name = KS_SLICE_LIT("_time"),
                                  .unit = KS_LQ_BUCKET_SIZE,
                                  .size = (double)step_ns,
                                  .offset = (double)offset_ns};
        p->u.stats.by = by;
        p->u.stats.by_count = k;
        for (size_t j = 0; j < p->u.stats.func_count; j++)
            p->u.stats.funcs[j].step_seconds = (double)step_ns / 1e9;
    }
    return KS_OK;
}
