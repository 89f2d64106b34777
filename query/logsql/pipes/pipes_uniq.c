/*
 * Pipes that count rows per value: uniq, field_values, top. One grouper and one array of hits per
 * worker, merged in finish.
 */
#include <stdlib.h>

#include "base/num.h"
#include "query/logsql/stats/group.h"

struct worker {
    struct ksi_lq_grouper groups;
    uint64_t *hits;
    size_t hits_cap;
    struct ks_arena scratch;
    uint64_t charged;
    bool full; /* uniq's limit was passed: counting on would be of no use */
};
struct counter {
    struct ks_lq_stage head;
    struct ks_lq_by *by;
    size_t by_count;
    uint64_t limit;             /* 0 = none */
    struct ks_slice hits, rank; /* names of columns; "" none */
    struct ks_slice filter;     /* a value must contain it; "" all */
    bool sorted;                /* top: by hits, and the limit cuts after sorting */
    struct worker *workers;
};

enum { CHARGE_STEP = 16 << 10, OUT_ROWS = 2048 };

static ks_err counter_charge(struct counter *c, struct worker *w)
{
    uint64_t bytes = ksi_lq_grouper_bytes(&w->groups) + w->hits_cap * sizeof *w->hits;
    if (bytes < w->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(c->head.x, bytes - w->charged));
    w->charged = bytes;
    return KS_OK;
}

static ks_err grow_hits(struct worker *w)
{
    size_t was = w->hits_cap, need = w->groups.keys.count;
    if (need <= was)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&w->hits, &w->hits_cap, need, sizeof *w->hits));
    memset(w->hits + was, 0, (w->hits_cap - was) * sizeof *w->hits);
    return KS_OK;
}

static ks_err counter_push(struct ks_lq_stage *stage, unsigned worker,
                           const struct ks_lq_rows *rows)
{
    struct counter *c = (struct counter *)stage;
    struct worker *w = &c->workers[worker];
    struct ksi_lq_hits *list;
    size_t n;
    if (w->full)
        return KS_OK;
    ks_arena_reset(&w->scratch);
    KS_TRY(ksi_lq_group_hits(&w->groups, rows, &w->scratch, &list, &n));
    KS_TRY(grow_hits(w));
    for (size_t i = 0; i < n; i++)
        w->hits[list[i].group] += list[i].rows;
    /* One more than the limit is enough to know that it was passed. */
    if (!c->sorted && c->limit && !c->filter.len && w->groups.keys.count > c->limit) {
        w->full = true;
        if (stage->x->worker_count == 1)
            atomic_store_explicit(&stage->done, true, memory_order_relaxed);
    }
    return counter_charge(c, w);
}

struct item {
    uint32_t group;
    uint64_t hits;
};

/* More hits first, then by the values. */
static int item_cmp(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    const struct worker *w = arg;
    if (x->hits != y->hits)
        return x->hits > y->hits ? -1 : 1;
    const struct ksi_lq_grouper *g = &w->groups;
    if (g->by_count == 1)
        return ks_lq_compare(g->keys.entries[x->group].key, g->keys.entries[y->group].key);
    struct ks_reader rx = ks_reader(g->keys.entries[x->group].key);
    struct ks_reader ry = ks_reader(g->keys.entries[y->group].key);
    for (size_t i = 0; i < g->by_count; i++) {
        int c = ks_lq_compare(ks_read_lp(&rx), ks_read_lp(&ry));
        if (c)
            return c;
    }
    return 0;
}

/* Moves the item at `at` down a heap whose top is the last in order. */
static void sift_down(struct item *heap, uint32_t count, uint32_t at, struct worker *w)
{
    for (;;) {
        uint32_t kid = 2 * at + 1;
        if (kid >= count)
            return;
        if (kid + 1 < count && item_cmp(&heap[kid], &heap[kid + 1], w) < 0)
            kid++;
        if (item_cmp(&heap[at], &heap[kid], w) >= 0)
            return;
        struct item was = heap[at];
        heap[at] = heap[kid];
        heap[kid] = was;
        at = kid;
    }
}

/* The first `limit` of n items in order, at the front: the others are compared once each. */
static void select_top(struct item *items, uint32_t n, uint64_t limit, struct worker *w)
{
    uint32_t keep = limit && limit < n ? (uint32_t)limit : n;
    if (keep < n / 2) {
        for (uint32_t i = keep / 2; i-- > 0;)
            sift_down(items, keep, i, w);
        for (uint32_t i = keep; i < n; i++) {
            if (items[i].hits < items[0].hits || item_cmp(&items[i], &items[0], w) >= 0)
                continue;
            items[0] = items[i];
            sift_down(items, keep, 0, w);
        }
        n = keep;
    }
    qsort_r(items, n, sizeof *items, item_cmp, w);
}

static bool has_filter(const struct counter *c, struct worker *w, uint32_t group,
                       struct ks_slice *row)
{
    if (!c->filter.len)
        return true;
    ksi_lq_group_values(&w->groups, group, row);
    for (size_t i = 0; i < c->by_count; i++)
        if (row[i].len >= c->filter.len &&
            memmem(row[i].ptr, row[i].len, c->filter.ptr, c->filter.len))
            return true;
    return false;
}

static ks_err number(struct ks_arena *arena, uint64_t v, struct ks_slice *ret)
{
    char *p = ks_arena_alloc(arena, 20);
    if (!p)
        return ks_arena_err(arena);
    *ret = ks_slice(p, ks_u64_format(p, v));
    return KS_OK;
}

static ks_err emit(struct counter *c, struct worker *w, const struct item *items, uint32_t first,
                   uint32_t count)
{
    struct ks_arena *arena = &w->scratch;
    ks_arena_reset(arena);
    size_t cols = c->by_count + 2;
    struct ks_slice *values = ks_arena_array(arena, cols * count, sizeof *values);
    struct ks_slice *row = ks_arena_array(arena, cols, sizeof *row);
    struct ksi_lq_edit e;
    if (!values || !row)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < count; i++) {
        ksi_lq_group_values(&w->groups, items[i].group, row);
        KS_TRY(number(arena, items[i].hits, &row[c->by_count]));
        KS_TRY(number(arena, first + i + 1, &row[c->by_count + 1]));
        for (size_t k = 0; k < cols; k++)
            values[k * count + i] = row[k];
    }
    struct ks_lq_rows none = {count, 0, NULL};
    KS_TRY(ksi_lq_edit_begin(&e, arena, &none));
    for (size_t k = 0; k < cols; k++) {
        struct ks_slice name = k < c->by_count    ? c->by[k].name
                               : k == c->by_count ? c->hits
                                                  : c->rank;
        struct ks_lq_col col = {
            .name = name, .kind = KS_LQ_VALUES, .value_count = count, .values = values + k * count};
        if (k < c->by_count || name.len)
            KS_TRY(ksi_lq_edit_put(&e, &col));
    }
    struct ks_lq_rows out = ksi_lq_edit_rows(&e);
    return ks_lq_push(c->head.next, 0, &out);
}

static ks_err emit_all(struct counter *c, struct worker *w)
{
    uint32_t groups = w->groups.keys.count, n = 0;
    struct item *items = ks_alloc_array(groups + 1u, sizeof *items);
    struct ks_slice *row = ks_alloc_array(c->by_count + 1, sizeof *row);
    ks_err err = items && row ? KS_OK : KS_ENOMEM;
    for (uint32_t g = 0; g < groups && err == KS_OK; g++)
        if (has_filter(c, w, g, row))
            items[n++] = (struct item){g, w->hits[g]};
    if (err == KS_OK && c->sorted)
        select_top(items, n, c->limit, w);
    if (err == KS_OK && c->limit && n > c->limit) {
        n = (uint32_t)c->limit;
        for (uint32_t i = 0; !c->sorted && i < n; i++)
            items[i].hits = 0; /* which values were left out is not known, so hits say nothing */
    }
    for (uint32_t i = 0; i < n && err == KS_OK && !ks_lq_stage_done(c->head.next); i += OUT_ROWS) {
        err = ks_lq_check(c->head.x);
        if (err == KS_OK)
            err = emit(c, w, items + i, i, n - i < OUT_ROWS ? n - i : OUT_ROWS);
    }
    ks_free(items);
    ks_free(row);
    return err;
}

static ks_err counter_finish(struct ks_lq_stage *stage)
{
    struct counter *c = (struct counter *)stage;
    struct worker *w = &c->workers[0];
    for (unsigned i = 1; i < stage->x->worker_count; i++) {
        struct worker *from = &c->workers[i];
        for (uint32_t g = 0; g < from->groups.keys.count; g++) {
            uint32_t at;
            bool fresh;
            KS_TRY(ksi_lq_group_import(&w->groups, &from->groups, g, &at, &fresh));
            KS_TRY(grow_hits(w));
            w->hits[at] += from->hits[g];
        }
        KS_TRY(counter_charge(c, w));
    }
    return emit_all(c, w);
}

static void counter_free(struct ks_lq_stage *stage)
{
    struct counter *c = (struct counter *)stage;
    for (unsigned i = 0; c->workers && i < stage->x->worker_count; i++) {
        struct worker *w = &c->workers[i];
        ksi_lq_grouper_done(&w->groups);
        ks_free(w->hits);
        ks_arena_done(&w->scratch);
        ks_lq_uncharge(stage->x, w->charged);
    }
    ks_free(c->workers);
    ks_free(c);
}

static const struct ks_lq_stage_ops counter_ops = {
    .name = "uniq", .push = counter_push, .finish = counter_finish, .free = counter_free};

static ks_err counter_new(struct ks_lq_exec *x, const struct ks_lq_names *names,
                          struct ks_lq_stage *next, struct counter **ret)
{
    struct counter *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->head.ops = &counter_ops;
    c->head.x = x;
    c->head.next = next;
    c->by_count = names->count;
    ks_err err = ksi_lq_by_names(x, names, &c->by);
    c->workers = err == KS_OK ? ks_zalloc_array(x->worker_count, sizeof *c->workers) : NULL;
    if (!c->workers) {
        ks_free(c);
        return err == KS_OK ? KS_ENOMEM : err;
    }
    for (unsigned i = 0; i < x->worker_count; i++) {
        ksi_lq_grouper_init(&c->workers[i].groups, c->by, c->by_count);
        ks_arena_init(&c->workers[i].scratch, KSI_LQ_SCRATCH_MAX);
    }
    *ret = c;
    return KS_OK;
}

ks_err ks_lq_make_uniq(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct counter *c;
    KS_TRY(counter_new(x, &pipe->u.uniq.by, next, &c));
    c->limit = pipe->u.uniq.limit;
    c->filter = pipe->u.uniq.filter;
    if (pipe->u.uniq.with_hits || pipe->kind == KS_LQ_P_FIELD_VALUES)
        c->hits = pipe->u.uniq.hits.len ? pipe->u.uniq.hits : KS_SLICE_LIT("hits");
    *ret = &c->head;
    return KS_OK;
}

ks_err ks_lq_make_field_values(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                               struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return ks_lq_make_uniq(x, pipe, next, ret);
}

ks_err ks_lq_make_top(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe, struct ks_lq_stage *next,
                      struct ks_lq_stage **ret)
{
    struct counter *c;
    KS_TRY(counter_new(x, &pipe->u.top.by, next, &c));
    c->limit = pipe->u.top.limit;
    c->hits = pipe->u.top.hits;
    c->rank = pipe->u.top.rank;
    c->sorted = true;
    *ret = &c->head;
    return KS_OK;
}
