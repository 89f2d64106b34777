/*
 * running_stats, total_stats: every row with the value of functions over its group's rows so far,
 * or all of them, in order of _time.
 *
 * The stage is a sort by _time in front of a stage that sees sorted batches; both are inside.
 */
#include "query/logsql/pipes/row_store.h"
#include "query/logsql/stats/agg.h"
#include "query/logsql/stats/group.h"

struct running { /* behind the sort */
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    bool total;
    size_t count;
    struct ksi_lq_agg *aggs;
    struct ks_lq_cond **conds;
    struct ksi_lq_grouper groups;
    struct ksi_lq_states *states;
    struct ks_arena scratch, row_scratch, kept;
    struct kept_batch { /* total: rows wait for the end */
        const struct ks_lq_rows *rows;
        uint32_t *group_of;
    } * batches;
    size_t batch_count, batch_cap;
    uint64_t charged;
};
struct wrapper {
    struct ks_lq_stage head;
    struct ks_lq_stage *sort;
    struct running *running;
    struct ks_lq_pipe sort_pipe;
    struct ks_lq_sort_key by_time;
};

enum { CHARGE_STEP = 16 << 10 };

static ks_err running_charge(struct running *s)
{
    uint64_t bytes = ksi_lq_grouper_bytes(&s->groups) + s->kept.used_bytes;
    for (size_t i = 0; i < s->count; i++)
        bytes += ksi_lq_states_bytes(&s->states[i]);
    if (bytes < s->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(s->head.x, bytes - s->charged));
    s->charged = bytes;
    return KS_OK;
}

/* The functions see the rows of one batch. */
static ks_err update(struct running *s, const struct ks_lq_rows *rows, struct ks_arena *arena,
                     const uint32_t **ret_of, uint32_t *ret_single)
{
    struct ksi_lq_update u = {.rows = rows, .arena = arena};
    KS_TRY(ksi_lq_group_rows(&s->groups, rows, arena, &u.group_of, &u.single));
    for (size_t i = 0; i < s->count; i++) {
        u.bits = NULL;
        if (s->conds[i]) {
            uint64_t *bits = ks_arena_array(arena, KS_ROW_WORDS(rows->row_count), sizeof *bits);
            if (!bits)
                return ks_arena_err(arena);
            ks_lq_bits_fill(bits, rows->row_count);
            KS_TRY(ks_lq_cond_eval(s->conds[i], rows, arena, bits));
            u.bits = bits;
        }
        KS_TRY(ksi_lq_states_grow(&s->aggs[i], &s->states[i], s->groups.keys.count));
        KS_TRY(s->aggs[i].ops->update(&s->aggs[i], &s->states[i], &u));
    }
    *ret_of = u.group_of;
    *ret_single = u.single;
    return KS_OK;
}

static ks_err result_of(struct running *s, size_t func, uint32_t group, struct ks_arena *arena,
                        struct ks_slice *ret)
{
    const struct ksi_lq_agg *a = &s->aggs[func];
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_err err = a->ops->result(a, ksi_lq_state(a, &s->states[func], group), &b);
    if (err == KS_OK)
        err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ksi_lq_take(arena, ks_buf_view(&b), ret);
    ks_buf_done(&b);
    return err;
}

/* rows with columns values[func * stride + (of ? of[row] : row)]. */
static ks_err hand_on(struct running *s, const struct ks_lq_rows *rows, struct ks_slice *values,
                      size_t stride, const uint32_t *of)
{
    struct ksi_lq_edit e;
    KS_TRY(ksi_lq_edit_begin(&e, &s->scratch, rows));
    for (size_t i = 0; i < s->count; i++) {
        struct ksi_lq_texts t = {values + i * stride, of, (uint32_t)stride, false};
        KS_TRY(ksi_lq_edit_set(&e, s->aggs[i].func->result, &t, (struct ksi_lq_how){.bits = NULL}));
    }
    struct ks_lq_rows out = ksi_lq_edit_rows(&e);
    return ks_lq_push(s->head.next, 0, &out);
}

/* Row by row: each sees the functions as they stand behind it. */
static ks_err running_push(struct ks_lq_stage *stage, unsigned worker,
                           const struct ks_lq_rows *rows)
{
    struct running *s = (struct running *)stage;
    uint32_t n = rows->row_count;
    ks_arena_reset(&s->scratch);
    struct ks_slice *values = ks_arena_array(&s->scratch, s->count * n + 1, sizeof *values);
    if (!values)
        return ks_arena_err(&s->scratch);
    for (uint32_t r = 0; r < n; r++) {
        struct ks_lq_rows one;
        const uint32_t *of;
        uint32_t group = 0;
        if (r % 256 == 0)
            KS_TRY(ks_lq_check(stage->x));
        ks_arena_reset(&s->row_scratch);
        KS_TRY(ks_lq_rows_slice(rows, r, 1, &s->row_scratch, &one));
        KS_TRY(update(s, &one, &s->row_scratch, &of, &group));
        for (size_t i = 0; i < s->count; i++)
            KS_TRY(result_of(s, i, of ? of[0] : group, &s->scratch, &values[i * n + r]));
    }
    KS_TRY(running_charge(s));
    return hand_on(s, rows, values, n, NULL);
}

static ks_err total_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct running *s = (struct running *)stage;
    struct kept_batch b;
    const uint32_t *of;
    uint32_t single = 0;
    ks_arena_reset(&s->scratch);
    KS_TRY(update(s, rows, &s->scratch, &of, &single));
    KS_TRY(ksi_lq_keep(rows, NULL, &s->scratch, &s->kept, &b.rows));
    b.group_of = ks_arena_array(&s->kept, rows->row_count, sizeof *b.group_of);
    if (!b.group_of)
        return ks_arena_err(&s->kept);
    for (uint32_t r = 0; r < rows->row_count; r++)
        b.group_of[r] = of ? of[r] : single;
    KS_TRY(ks_array_reserve((void **)&s->batches, &s->batch_cap, s->batch_count + 1,
                            sizeof *s->batches));
    s->batches[s->batch_count++] = b;
    return running_charge(s);
}

static ks_err total_finish(struct running *s)
{
    uint32_t groups = s->groups.keys.count;
    struct ks_slice *values = ks_arena_array(&s->kept, s->count * groups + 1, sizeof *values);
    if (!values)
        return ks_arena_err(&s->kept);
    for (size_t i = 0; i < s->count; i++)
        for (uint32_t g = 0; g < groups; g++)
            KS_TRY(result_of(s, i, g, &s->kept, &values[i * groups + g]));
    for (size_t k = 0; k < s->batch_count && !ks_lq_stage_done(s->head.next); k++) {
        KS_TRY(ks_lq_check(s->head.x));
        ks_arena_reset(&s->scratch);
        KS_TRY(hand_on(s, s->batches[k].rows, values, groups, s->batches[k].group_of));
    }
    return KS_OK;
}

static void running_free(struct running *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        if (s->conds)
            ks_lq_cond_done(s->conds[i]);
        if (s->states && s->aggs)
            ksi_lq_states_done(&s->aggs[i], &s->states[i]);
    }
    ksi_lq_grouper_done(&s->groups);
    ks_arena_done(&s->scratch);
    ks_arena_done(&s->row_scratch);
    ks_arena_done(&s->kept);
    ks_free(s->batches);
    ks_free(s->aggs);
    ks_free(s->conds);
    ks_free(s->states);
    ks_lq_uncharge(s->head.x, s->charged);
    ks_free(s);
}

static const struct ks_lq_stage_ops running_ops = {
    .name = "running_stats rows", .push = running_push, .row_local = true};
static const struct ks_lq_stage_ops total_ops = {.name = "total_stats rows", .push = total_push};

static ks_err running_init(struct running *s)
{
    s->aggs = ks_zalloc_array(s->count + 1, sizeof *s->aggs);
    s->conds = ks_zalloc_array(s->count + 1, sizeof *s->conds);
    s->states = ks_zalloc_array(s->count + 1, sizeof *s->states);
    ksi_lq_grouper_init(&s->groups, s->pipe->u.stats.by, s->pipe->u.stats.by_count);
    ks_arena_init(&s->scratch, KSI_LQ_SCRATCH_MAX);
    ks_arena_init(&s->row_scratch, KSI_LQ_SCRATCH_MAX);
    ks_arena_init(&s->kept, KS_BUF_UNLIMITED);
    if (!s->aggs || !s->conds || !s->states)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->count; i++) {
        const struct ks_lq_func *f = &s->pipe->u.stats.funcs[i];
        ksi_lq_states_init(&s->states[i]);
        KS_TRY(ksi_lq_agg_init_ordered(&s->aggs[i], f));
        if (f->cond)
            KS_TRY(ks_lq_cond_new(s->head.x, f->cond, &s->conds[i]));
    }
    return KS_OK;
}

/* ---------------------------------------------------------------- the whole */

static ks_err wrapper_push(struct ks_lq_stage *stage, unsigned worker,
                           const struct ks_lq_rows *rows)
{
    struct wrapper *w = (struct wrapper *)stage;
    return w->sort->ops->push(w->sort, worker, rows);
}
static ks_err wrapper_finish(struct ks_lq_stage *stage)
{
    struct wrapper *w = (struct wrapper *)stage;
    KS_TRY(w->sort->ops->finish(w->sort));
    return w->running->total ? total_finish(w->running) : KS_OK;
}
static void wrapper_free(struct ks_lq_stage *stage)
{
    struct wrapper *w = (struct wrapper *)stage;
    if (w->sort)
        w->sort->ops->free(w->sort);
    running_free(w->running);
    ks_free(w);
}
static const struct ks_lq_stage_ops wrapper_ops = {
    .name = "running_stats", .push = wrapper_push, .finish = wrapper_finish, .free = wrapper_free};

static ks_err wrapper_init(struct wrapper *w, const struct ks_lq_pipe *pipe)
{
    struct ks_lq_exec *x = w->head.x;
    struct running *s = w->running = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->total = pipe->kind == KS_LQ_P_TOTAL_STATS;
    s->head.ops = s->total ? &total_ops : &running_ops;
    s->head.x = x;
    s->head.next = w->head.next;
    s->pipe = pipe;
    s->count = pipe->u.stats.func_count;
    KS_TRY(running_init(s));
    w->by_time = (struct ks_lq_sort_key){KS_SLICE_LIT("_time"), false};
    w->sort_pipe.kind = KS_LQ_P_SORT;
    w->sort_pipe.u.sort.by = (struct ks_lq_sort_keys){&w->by_time, 1};
    return ks_lq_make_sort(x, &w->sort_pipe, &s->head, &w->sort);
}

ks_err ks_lq_make_running_stats(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct wrapper *w = ks_zalloc(sizeof *w);
    if (!w)
        return KS_ENOMEM;
    w->head.ops = &wrapper_ops;
    w->head.x = x;
    w->head.next = next;
    ks_err err = wrapper_init(w, pipe);
    if (err != KS_OK) {
        wrapper_free(&w->head);
        return err;
    }
    *ret = &w->head;
    return KS_OK;
}
ks_err ks_lq_make_total_stats(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                              struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return ks_lq_make_running_stats(x, pipe, next, ret);
}
