/*
 * Pipes that choose, make or join rows: limit, offset, sample, generate_sequence, union, join.
 */
#include "base/num.h"
#include "query/logsql/pipes/row_store.h"
#include "query/logsql/stats/group.h"
#include "sys/rand.h"

/* ---------------------------------------------------------------- limit, offset, sample */

struct counted {
    struct ks_lq_stage head;
    uint64_t n;
    _Atomic uint64_t seen;
    struct ks_arena *arenas;
    uint64_t *rng; /* sample: one per worker */
    unsigned workers;
};

static void counted_free(struct ks_lq_stage *stage)
{
    struct counted *c = (struct counted *)stage;
    for (unsigned i = 0; c->arenas && i < c->workers; i++)
        ks_arena_done(&c->arenas[i]);
    ks_free(c->arenas);
    ks_free(c->rng);
    ks_free(c);
}

static ks_err push_slice(struct counted *c, unsigned worker, const struct ks_lq_rows *rows,
                         uint32_t first, uint32_t count)
{
    struct ks_lq_rows part;
    if (count == rows->row_count)
        return ks_lq_push(c->head.next, worker, rows);
    if (!count)
        return KS_OK;
    ks_arena_reset(&c->arenas[worker]);
    KS_TRY(ks_lq_rows_slice(rows, first, count, &c->arenas[worker], &part));
    return ks_lq_push(c->head.next, worker, &part);
}

static ks_err limit_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct counted *c = (struct counted *)stage;
    uint64_t before = atomic_fetch_add_explicit(&c->seen, rows->row_count, memory_order_relaxed);
    ks_err err = KS_OK;
    if (before < c->n) {
        uint64_t left = c->n - before;
        err = push_slice(c, worker, rows, 0,
                         left < rows->row_count ? (uint32_t)left : rows->row_count);
    }
    if (before + rows->row_count >= c->n)
        atomic_store_explicit(&stage->done, true, memory_order_relaxed);
    return err;
}

static ks_err offset_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct counted *c = (struct counted *)stage;
    uint64_t before = atomic_fetch_add_explicit(&c->seen, rows->row_count, memory_order_relaxed);
    uint64_t skip = before < c->n ? c->n - before : 0;
    if (skip >= rows->row_count)
        return KS_OK;
    return push_slice(c, worker, rows, (uint32_t)skip, rows->row_count - (uint32_t)skip);
}

/* Each row with a chance of 1/n. */
static ks_err sample_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct counted *c = (struct counted *)stage;
    struct ks_arena *arena = &c->arenas[worker];
    struct ks_lq_rows out;
    bool any = false;
    if (c->n <= 1)
        return ks_lq_push(stage->next, worker, rows);
    ks_arena_reset(arena);
    uint64_t *bits = ks_arena_zalloc(arena, KS_ROW_WORDS(rows->row_count) * sizeof *bits);
    if (!bits)
        return ks_arena_err(arena);
    for (uint32_t r = 0; r < rows->row_count; r++) {
        if (ks_rng_below(&c->rng[worker], c->n))
            continue;
        bits[r / 64] |= 1ull << r % 64;
        any = true;
    }
    if (!any)
        return KS_OK;
    KS_TRY(ks_lq_rows_compact(rows, bits, arena, &out));
    return ks_lq_push(stage->next, worker, &out);
}

static const struct ks_lq_stage_ops limit_ops = {
    .name = "limit", .push = limit_push, .free = counted_free, .row_local = true};
static const struct ks_lq_stage_ops offset_ops = {
    .name = "offset", .push = offset_push, .free = counted_free, .row_local = true};
static const struct ks_lq_stage_ops sample_ops = {
    .name = "sample", .push = sample_push, .free = counted_free, .row_local = true};

static ks_err counted_new(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                          struct ks_lq_stage *next, const struct ks_lq_stage_ops *ops,
                          struct ks_lq_stage **ret)
{
    struct counted *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->head.ops = ops;
    c->head.x = x;
    c->head.next = next;
    c->n = pipe->u.count.n;
    c->workers = x->worker_count;
    c->arenas = ks_zalloc_array(x->worker_count, sizeof *c->arenas);
    c->rng = ks_zalloc_array(x->worker_count, sizeof *c->rng);
    if (!c->arenas || !c->rng) {
        counted_free(&c->head);
        return KS_ENOMEM;
    }
    for (unsigned i = 0; i < x->worker_count; i++) {
        ks_arena_init(&c->arenas[i], KSI_LQ_SCRATCH_MAX);
        c->rng[i] = ks_random_u64();
    }
    *ret = &c->head;
    return KS_OK;
}

ks_err ks_lq_make_limit(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                        struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    KS_TRY(counted_new(x, pipe, next, &limit_ops, ret));
    if (!pipe->u.count.n)
        atomic_store_explicit(&(*ret)->done, true, memory_order_relaxed);
    return KS_OK;
}
ks_err ks_lq_make_offset(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return counted_new(x, pipe, next, &offset_ops, ret);
}
ks_err ks_lq_make_sample(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return counted_new(x, pipe, next, &sample_ops, ret);
}

/* ---------------------------------------------------------------- generate_sequence */

enum { SEQUENCE_ROWS = 2048 };

static ks_err ignore_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    return KS_OK;
}

static ks_err sequence_finish(struct ks_lq_stage *stage)
{
    struct counted *c = (struct counted *)stage;
    struct ks_arena *arena = &c->arenas[0];
    for (uint64_t first = 0; first < c->n && !ks_lq_stage_done(stage->next);
         first += SEQUENCE_ROWS) {
        uint32_t count = c->n - first < SEQUENCE_ROWS ? (uint32_t)(c->n - first) : SEQUENCE_ROWS;
        KS_TRY(ks_lq_check(stage->x));
        ks_arena_reset(arena);
        struct ks_slice *values = ks_arena_array(arena, count, sizeof *values);
        char *text = ks_arena_array(arena, count, 20);
        if (!values || !text)
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < count; i++, text += 20)
            values[i] = ks_slice(text, ks_u64_format(text, first + i));
        struct ks_lq_col col = {.name = KS_SLICE_LIT("_msg"),
                                .kind = KS_LQ_VALUES,
                                .value_count = count,
                                .values = values};
        struct ks_lq_rows rows = {count, 1, &col};
        KS_TRY(ks_lq_push(stage->next, 0, &rows));
    }
    return KS_OK;
}
static const struct ks_lq_stage_ops sequence_ops = {.name = "generate_sequence",
                                                    .push = ignore_push,
                                                    .finish = sequence_finish,
                                                    .free = counted_free};

ks_err ks_lq_make_generate_sequence(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                    struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    KS_TRY(counted_new(x, pipe, next, &sequence_ops, ret));
    atomic_store_explicit(&(*ret)->done, true, memory_order_relaxed); /* its input is not read */
    return KS_OK;
}

/* ---------------------------------------------------------------- rows(…) */

/* Literal rows as a batch of the arena. */
ks_err ksi_lq_literal_rows(const struct ks_lq_literal_rows *lit, struct ks_arena *arena,
                           struct ks_lq_rows *ret)
{
    struct ksi_lq_edit e;
    struct ks_lq_rows none = {(uint32_t)lit->count, 0, NULL};
    KS_TRY(ksi_lq_edit_begin(&e, arena, &none));
    for (size_t i = 0; i < lit->count; i++) {
        for (size_t k = 0; k < lit->items[i].count; k++) {
            const struct ks_lq_literal_field *f = &lit->items[i].fields[k];
            int64_t at = ksi_lq_edit_find(&e, f->name);
            if (at < 0) {
                struct ks_slice *values = ks_arena_zalloc(arena, lit->count * sizeof *values);
                if (!values)
                    return ks_arena_err(arena);
                struct ks_lq_col col = {.name = f->name,
                                        .kind = KS_LQ_VALUES,
                                        .value_count = (uint32_t)lit->count,
                                        .values = values};
                KS_TRY(ksi_lq_edit_put(&e, &col));
                at = ksi_lq_edit_find(&e, f->name);
            }
            ((struct ks_slice *)e.cols[at].values)[i] = f->value;
        }
    }
    *ret = ksi_lq_edit_rows(&e);
    return KS_OK;
}

/* ---------------------------------------------------------------- union */

struct unite {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    struct ks_arena arena;
};

static ks_err unite_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    return ks_lq_push(stage->next, worker, rows);
}
static ks_err unite_finish(struct ks_lq_stage *stage)
{
    struct unite *u = (struct unite *)stage;
    if (ks_lq_stage_done(stage->next))
        return KS_OK;
    if (u->pipe->u.unite.sub)
        return ks_lq_exec_sub(stage->x, u->pipe->u.unite.sub, stage->next);
    struct ks_lq_rows rows;
    KS_TRY(ksi_lq_literal_rows(&u->pipe->u.unite.rows, &u->arena, &rows));
    return ks_lq_push(stage->next, 0, &rows);
}
static void unite_free(struct ks_lq_stage *stage)
{
    ks_arena_done(&((struct unite *)stage)->arena);
    ks_free(stage);
}
static const struct ks_lq_stage_ops unite_ops = {
    .name = "union", .push = unite_push, .finish = unite_finish, .free = unite_free};

ks_err ks_lq_make_union(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                        struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct unite *u = ks_zalloc(sizeof *u);
    if (!u)
        return KS_ENOMEM;
    u->head.ops = &unite_ops;
    u->head.x = x;
    u->head.next = next;
    u->pipe = pipe;
    ks_arena_init(&u->arena, KSI_LQ_SCRATCH_MAX);
    *ret = &u->head;
    return KS_OK;
}
