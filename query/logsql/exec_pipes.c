/* Pipes that know of the source or of the query itself: filter, block_stats, blocks_count,
 * query_stats. stream_context has a file of its own. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "query/logsql/exec_priv.h"
#include "sys/clock.h"

/* ---------------------------------------------------------------- filter */

struct filter_stage {
    struct ks_lq_stage s;
    struct ks_lq_cond *cond;
    struct ks_arena *scratch; /* per worker */
};

static ks_err filter_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct filter_stage *f = (struct filter_stage *)s;
    struct ks_arena *a = &f->scratch[worker];
    struct ks_lq_rows out;
    ks_arena_reset(a);
    uint64_t *bits = ks_arena_array(a, KS_ROW_WORDS(rows->row_count), sizeof *bits);
    if (!bits)
        return ks_arena_err(a);
    ks_lq_bits_fill(bits, rows->row_count);
    KS_TRY(ks_lq_cond_eval(f->cond, rows, a, bits));
    KS_TRY(ks_lq_rows_compact(rows, bits, a, &out));
    return ks_lq_push(s->next, worker, &out);
}

static void filter_free(struct ks_lq_stage *s)
{
    struct filter_stage *f = (struct filter_stage *)s;
    for (unsigned i = 0; f->scratch && i < s->x->worker_count; i++)
        ks_arena_done(&f->scratch[i]);
    ks_free(f->scratch);
    ks_lq_cond_done(f->cond);
    ks_free(f);
}

static const struct ks_lq_stage_ops filter_ops = {
    .name = "filter", .push = filter_push, .free = filter_free, .row_local = true};

ks_err ks_lq_make_filter(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct filter_stage *f = ks_zalloc(sizeof *f);
    if (!f)
        return KS_ENOMEM;
    f->s = (struct ks_lq_stage){.ops = &filter_ops, .x = x, .next = next};
    f->scratch = ks_zalloc_array(x->worker_count, sizeof *f->scratch);
    for (unsigned i = 0; f->scratch && i < x->worker_count; i++)
        ks_arena_init(&f->scratch[i], x->memory_max ? x->memory_max : KS_BUF_UNLIMITED);
    ks_err err = f->scratch ? ks_lq_cond_new(x, pipe->cond, &f->cond) : KS_ENOMEM;
    if (err) {
        filter_free(&f->s);
        return err;
    }
    *ret = &f->s;
    return KS_OK;
}

/* ---------------------------------------------------------------- one row of counters */

struct count_stage {
    struct ks_lq_stage s;
    const struct ks_lq_pipe *pipe;
    _Atomic uint64_t batches;
};

static ks_err count_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    atomic_fetch_add_explicit(&((struct count_stage *)s)->batches, 1, memory_order_relaxed);
    return KS_OK;
}

static void count_free(struct ks_lq_stage *s)
{
    ks_free(s);
}

static void add_number(struct ks_lq_rows *rows, struct ks_lq_col *cols, struct ks_slice *values,
                       char text[][24], struct ks_slice name, uint64_t v)
{
    uint32_t i = rows->col_count++;
    values[i] = ks_slice(text[i], (size_t)snprintf(text[i], sizeof text[i], "%" PRIu64, v));
    cols[i] = (struct ks_lq_col){
        .name = name, .kind = KS_LQ_CONST, .value_count = 1, .values = &values[i]};
}

static ks_err count_finish(struct ks_lq_stage *s)
{
    struct count_stage *c = (struct count_stage *)s;
    struct ks_lq_col cols[8];
    struct ks_slice values[8];
    char text[8][24];
    struct ks_lq_rows rows = {1, 0, cols};
    const struct ks_lq_counters *n = s->x->counters;
    if (c->pipe->kind == KS_LQ_P_BLOCKS_COUNT) {
        add_number(&rows, cols, values, text, c->pipe->u.map.to, atomic_load(&c->batches));
        return ks_lq_push(s->next, 0, &rows);
    }
    add_number(&rows, cols, values, text, KS_SLICE_LIT("BytesReadTotal"),
               atomic_load(&n->bytes_scanned));
    add_number(&rows, cols, values, text, KS_SLICE_LIT("BlocksProcessed"), atomic_load(&n->blocks));
    add_number(&rows, cols, values, text, KS_SLICE_LIT("RowsProcessed"),
               atomic_load(&n->rows_scanned));
    add_number(&rows, cols, values, text, KS_SLICE_LIT("RowsFound"), atomic_load(&n->rows_found));
    add_number(&rows, cols, values, text, KS_SLICE_LIT("QueryDurationNsecs"),
               (uint64_t)(ks_mono_us() - s->x->started_mono_us) * 1000);
    return ks_lq_push(s->next, 0, &rows);
}

static const struct ks_lq_stage_ops count_ops = {
    .name = "counters", .push = count_push, .finish = count_finish, .free = count_free};

/* ---------------------------------------------------------------- block_stats */

/* One row per column of each batch: its kind, the bytes of its values, the rows. */
static ks_err stats_of_col(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *in,
                           const struct ks_lq_col *c)
{
    struct ks_lq_col cols[8];
    struct ks_slice values[8];
    char text[8][24], tmp[KS_LQ_TIME_TEXT_MAX];
    struct ks_lq_rows rows = {1, 2, cols};
    uint64_t bytes = 0;
    uint32_t n = c->kind == KS_LQ_CONST ? 1 : in->row_count;
    for (uint32_t i = 0; i < n; i++)
        bytes += ks_lq_col_text(c, i, tmp).len;
    values[0] = c->name;
    values[1] = ks_slice_str(ksi_lq_value_type(c, in->row_count, NULL));
    cols[0] = (struct ks_lq_col){KS_SLICE_LIT("field"), KS_LQ_CONST, 1, &values[0], NULL, NULL};
    cols[1] = (struct ks_lq_col){KS_SLICE_LIT("type"), KS_LQ_CONST, 1, &values[1], NULL, NULL};
    add_number(&rows, cols, values, text, KS_SLICE_LIT("values_bytes"), bytes);
    add_number(&rows, cols, values, text, KS_SLICE_LIT("dict_items"),
               c->kind == KS_LQ_DICT ? c->value_count : 0);
    add_number(&rows, cols, values, text, KS_SLICE_LIT("rows"), in->row_count);
    return ks_lq_push(s->next, worker, &rows);
}

static ks_err block_stats_push(struct ks_lq_stage *s, unsigned worker,
                               const struct ks_lq_rows *rows)
{
    for (uint32_t i = 0; i < rows->col_count; i++)
        KS_TRY(stats_of_col(s, worker, rows, &rows->cols[i]));
    return KS_OK;
}

static const struct ks_lq_stage_ops block_stats_ops = {
    .name = "block_stats", .push = block_stats_push, .free = count_free, .row_local = true};

static ks_err counting(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       const struct ks_lq_stage_ops *ops, struct ks_lq_stage *next,
                       struct ks_lq_stage **ret)
{
    struct count_stage *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->s = (struct ks_lq_stage){.ops = ops, .x = x, .next = next};
    c->pipe = pipe;
    *ret = &c->s;
    return KS_OK;
}

ks_err ks_lq_make_block_stats(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                              struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return counting(x, pipe, &block_stats_ops, next, ret);
}

ks_err ks_lq_make_blocks_count(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                               struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return counting(x, pipe, &count_ops, next, ret);
}

ks_err ks_lq_make_query_stats(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                              struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return counting(x, pipe, &count_ops, next, ret);
}
