/*
 * stats: rows into groups, functions over them. Workers have groups and states of their own, merged
 * in finish; what they hold is charged to the query as it grows.
 */
#include "query/logsql/stats/agg.h"
#include "query/logsql/stats/group.h"

struct worker {
    struct ksi_lq_grouper groups;
    struct ksi_lq_states *states; /* one per function */
    struct ks_arena scratch;
    uint64_t charged;
};
struct stats {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    size_t count; /* of functions */
    struct ksi_lq_agg *aggs;
    struct ks_lq_cond **conds; /* per function, NULL: every row */
    size_t *cond_of; /* the first function with the same condition: evaluated once a batch */
    struct worker *workers;
};

enum { CHARGE_STEP = 16 << 10, OUT_ROWS = 2048 };

static ks_err charge(struct stats *s, struct worker *w)
{
    uint64_t bytes = ksi_lq_grouper_bytes(&w->groups);
    for (size_t i = 0; i < s->count; i++)
        bytes += ksi_lq_states_bytes(&w->states[i]);
    if (bytes < w->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(s->head.x, bytes - w->charged));
    w->charged = bytes;
    return KS_OK;
}

/* The rows a condition picks; *ret NULL: all of them. */
static ks_err cond_bits(const struct ks_lq_cond *cond, const struct ks_lq_rows *rows,
                        struct ks_arena *arena, const uint64_t **ret)
{
    *ret = NULL;
    if (!cond)
        return KS_OK;
    uint64_t *bits = ks_arena_array(arena, KS_ROW_WORDS(rows->row_count), sizeof *bits);
    if (!bits)
        return ks_arena_err(arena);
    ks_lq_bits_fill(bits, rows->row_count);
    *ret = bits;
    return ks_lq_cond_eval(cond, rows, arena, bits);
}

static ks_err stats_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct stats *s = (struct stats *)stage;
    struct worker *w = &s->workers[worker];
    struct ksi_lq_update u = {.rows = rows, .arena = &w->scratch};
    ks_arena_reset(&w->scratch);
    const uint64_t **bits = ks_arena_array(&w->scratch, s->count + 1, sizeof *bits);
    if (!bits)
        return ks_arena_err(&w->scratch);
    KS_TRY(ksi_lq_group_rows(&w->groups, rows, &w->scratch, &u.group_of, &u.single));
    for (size_t i = 0; i < s->count; i++) {
        if (s->cond_of[i] < i)
            bits[i] = bits[s->cond_of[i]];
        else
            KS_TRY(cond_bits(s->conds[i], rows, &w->scratch, &bits[i]));
        u.bits = bits[i];
        KS_TRY(ksi_lq_states_grow(&s->aggs[i], &w->states[i], w->groups.keys.count));
        KS_TRY(s->aggs[i].ops->update(&s->aggs[i], &w->states[i], &u));
    }
    return charge(s, w);
}

/* Everything of `from` into `to`. */
static ks_err merge_worker(struct stats *s, struct worker *to, struct worker *from)
{
    for (uint32_t g = 0; g < from->groups.keys.count; g++) {
        uint32_t at;
        bool fresh;
        KS_TRY(ksi_lq_group_import(&to->groups, &from->groups, g, &at, &fresh));
        for (size_t i = 0; i < s->count; i++) {
            struct ksi_lq_states *st = &to->states[i];
            KS_TRY(ksi_lq_states_grow(&s->aggs[i], st, at + 1));
            KS_TRY(s->aggs[i].ops->merge(&s->aggs[i], st, ksi_lq_state(&s->aggs[i], st, at),
                                         ksi_lq_state(&s->aggs[i], &from->states[i], g)));
        }
        if (g % 1024 == 0) {
            KS_TRY(ks_lq_check(s->head.x));
            KS_TRY(charge(s, to));
        }
    }
    return KS_OK;
}

static ks_err result_column(struct stats *s, struct worker *w, size_t func, uint32_t first,
                            uint32_t count, struct ks_buf *b, struct ks_slice **ret)
{
    struct ks_slice *values = ks_arena_array(&w->scratch, count, sizeof *values);
    if (!values)
        return ks_arena_err(&w->scratch);
    for (uint32_t i = 0; i < count; i++) {
        const struct ksi_lq_agg *a = &s->aggs[func];
        ks_buf_reset(b);
        void *state = ksi_lq_state(a, &w->states[func], first + i);
        if (s->pipe->u.stats.remote)
            ksi_lq_agg_hand_out(a)(state, b);
        else
            KS_TRY(a->ops->result(a, state, b));
        KS_TRY(ks_buf_status(b));
        KS_TRY(ksi_lq_take(&w->scratch, ks_buf_view(b), &values[i]));
    }
    *ret = values;
    return KS_OK;
}

/* Groups [first, first + count) as rows: the fields grouped by, then the functions. */
static ks_err emit(struct stats *s, struct worker *w, uint32_t first, uint32_t count,
                   struct ks_buf *b)
{
    size_t by = s->pipe->u.stats.by_count;
    ks_arena_reset(&w->scratch);
    struct ksi_lq_edit e;
    struct ks_lq_rows none = {count, 0, NULL};
    KS_TRY(ksi_lq_edit_begin(&e, &w->scratch, &none));
    struct ks_slice *keys = ks_arena_array(&w->scratch, by * count + 1, sizeof *keys);
    struct ks_slice *row = ks_arena_array(&w->scratch, by + 1, sizeof *row);
    if (!keys || !row)
        return ks_arena_err(&w->scratch);
    for (uint32_t i = 0; i < count && by; i++) {
        ksi_lq_group_values(&w->groups, first + i, row);
        for (size_t k = 0; k < by; k++)
            keys[k * count + i] = row[k];
    }
    struct ks_lq_col col = {.kind = KS_LQ_VALUES, .value_count = count};
    for (size_t k = 0; k < by; k++) {
        col.name = s->pipe->u.stats.by[k].name;
        col.values = keys + k * count;
        KS_TRY(ksi_lq_edit_put(&e, &col));
    }
    for (size_t i = 0; i < s->count; i++) {
        struct ks_slice *values;
        KS_TRY(result_column(s, w, i, first, count, b, &values));
        col.name = s->aggs[i].func->result;
        col.values = values;
        KS_TRY(ksi_lq_edit_put(&e, &col));
    }
    struct ks_lq_rows out = ksi_lq_edit_rows(&e);
    return ks_lq_push(s->head.next, 0, &out);
}

static ks_err stats_finish(struct ks_lq_stage *stage)
{
    struct stats *s = (struct stats *)stage;
    struct worker *w = &s->workers[0];
    struct ks_buf b;
    for (unsigned i = 1; i < stage->x->worker_count; i++)
        KS_TRY(merge_worker(s, w, &s->workers[i]));
    if (!s->pipe->u.stats.by_count && !w->groups.keys.count) { /* no row: one row of nothing */
        struct ks_slice empty = {"", 0};
        uint32_t at;
        bool fresh;
        KS_TRY(ksi_keymap_add(&w->groups.keys, empty, ksi_keymap_hash(empty), &at, &fresh));
    }
    uint32_t groups = w->groups.keys.count;
    for (size_t i = 0; i < s->count; i++)
        KS_TRY(ksi_lq_states_grow(&s->aggs[i], &w->states[i], groups));
    ks_err err = KS_OK;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint32_t g = 0; g < groups && err == KS_OK && !ks_lq_stage_done(stage->next);
         g += OUT_ROWS) {
        err = ks_lq_check(stage->x);
        if (err == KS_OK)
            err = emit(s, w, g, groups - g < OUT_ROWS ? groups - g : OUT_ROWS, &b);
    }
    ks_buf_done(&b);
    return err;
}

static void worker_done(struct stats *s, struct worker *w)
{
    ksi_lq_grouper_done(&w->groups);
    for (size_t i = 0; w->states && i < s->count; i++)
        ksi_lq_states_done(&s->aggs[i], &w->states[i]);
    ks_free(w->states);
    ks_arena_done(&w->scratch);
    ks_lq_uncharge(s->head.x, w->charged);
}

static void stats_free(struct ks_lq_stage *stage)
{
    struct stats *s = (struct stats *)stage;
    for (unsigned i = 0; s->workers && i < stage->x->worker_count; i++)
        worker_done(s, &s->workers[i]);
    for (size_t i = 0; s->conds && i < s->count; i++)
        if (s->cond_of[i] == i)
            ks_lq_cond_done(s->conds[i]);
    ks_free(s->workers);
    ks_free(s->aggs);
    ks_free(s->conds);
    ks_free(s->cond_of);
    ks_free(s);
}

static const struct ks_lq_stage_ops stats_ops = {
    .name = "stats", .push = stats_push, .finish = stats_finish, .free = stats_free};

static ks_err worker_init(struct stats *s, struct worker *w)
{
    ksi_lq_grouper_init(&w->groups, s->pipe->u.stats.by, s->pipe->u.stats.by_count);
    ks_arena_init(&w->scratch, KSI_LQ_SCRATCH_MAX);
    w->states = ks_zalloc_array(s->count + 1, sizeof *w->states);
    if (!w->states)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->count; i++)
        ksi_lq_states_init(&w->states[i]);
    return KS_OK;
}

static ks_err stats_init(struct stats *s)
{
    struct ks_lq_exec *x = s->head.x;
    const struct ks_lq_func *funcs = s->pipe->u.stats.funcs;
    s->aggs = ks_zalloc_array(s->count + 1, sizeof *s->aggs);
    s->conds = ks_zalloc_array(s->count + 1, sizeof *s->conds);
    s->cond_of = ks_zalloc_array(s->count + 1, sizeof *s->cond_of);
    if (!s->aggs || !s->conds || !s->cond_of)
        return KS_ENOMEM;
    for (size_t i = 0; i < s->count; i++) {
        KS_TRY(ksi_lq_agg_init(&s->aggs[i], &funcs[i]));
        if (s->pipe->u.stats.remote && !ksi_lq_agg_hand_out(&s->aggs[i]))
            return ks_fail(KS_EUNSUPPORTED,
                           "stats_remote: the function of \"%.*s\" cannot be handed out in parts; "
                           "ask this node itself",
                           KS_SLICE_ARG(funcs[i].result));
        s->cond_of[i] = i;
        for (size_t k = 0; k < i && s->cond_of[i] == i; k++)
            if (funcs[k].cond == funcs[i].cond)
                s->cond_of[i] = k;
        if (s->cond_of[i] == i && funcs[i].cond)
            KS_TRY(ks_lq_cond_new(x, funcs[i].cond, &s->conds[i]));
    }
    s->workers = ks_zalloc_array(x->worker_count, sizeof *s->workers);
    if (!s->workers)
        return KS_ENOMEM;
    for (unsigned i = 0; i < x->worker_count; i++)
        KS_TRY(worker_init(s, &s->workers[i]));
    return KS_OK;
}

ks_err ks_lq_make_stats(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                        struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct stats *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->head.ops = &stats_ops;
    s->head.x = x;
    s->head.next = next;
    s->pipe = pipe;
    s->count = pipe->u.stats.func_count;
    ks_err err = stats_init(s);
    if (err != KS_OK) {
        stats_free(&s->head);
        return err;
    }
    *ret = &s->head;
    return KS_OK;
}
