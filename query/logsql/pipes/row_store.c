/* See row_store.h. */
#include "query/logsql/pipes/row_store.h"

#include "query/logsql/stats/keymap.h"

ks_err ksi_lq_keep(const struct ks_lq_rows *rows, const uint64_t *bits, struct ks_arena *scratch,
                   struct ks_arena *arena, const struct ks_lq_rows **ret)
{
    struct ks_lq_rows picked = *rows;
    struct ks_lq_rows *copy = ks_arena_alloc(arena, sizeof *copy);
    if (!copy)
        return ks_arena_err(arena);
    if (bits)
        KS_TRY(ks_lq_rows_compact(rows, bits, scratch, &picked));
    KS_TRY(ks_lq_rows_copy(&picked, arena, copy));
    *ret = copy;
    return KS_OK;
}

struct gathered {
    struct ks_slice *values;
    int64_t *times_ns; /* as long as every value is a time */
    uint32_t times;    /* how many are */
};
struct gather {
    struct ksi_keymap names;
    struct gathered *cols;
    size_t cap;
    struct ks_arena *arena;
    uint32_t count;
};

static ks_err gather_column(struct gather *g, struct ks_slice name, uint32_t *ret)
{
    bool fresh;
    KS_TRY(ksi_keymap_add(&g->names, name, ksi_keymap_hash(name), ret, &fresh));
    if (!fresh)
        return KS_OK;
    KS_TRY(ks_arena_grow(g->arena, (void **)&g->cols, &g->cap, *ret + 1u, sizeof *g->cols));
    struct gathered *c = &g->cols[*ret];
    c->values = ks_arena_zalloc(g->arena, g->count * sizeof *c->values);
    c->times_ns = NULL;
    c->times = 0;
    return c->values ? KS_OK : ks_arena_err(g->arena);
}

static ks_err gather_value(struct gather *g, const struct ks_lq_col *col, uint32_t row, uint32_t at,
                           struct gathered *to)
{
    if (col->kind == KS_LQ_TIMES && to->times == at) {
        if (!to->times_ns)
            to->times_ns = ks_arena_array(g->arena, g->count, sizeof *to->times_ns);
        if (!to->times_ns)
            return ks_arena_err(g->arena);
        to->times_ns[at] = col->times_ns[row];
        to->times++;
        return KS_OK;
    }
    if (col->kind == KS_LQ_TIMES) {
        char *text = ks_arena_alloc(g->arena, KS_LQ_TIME_TEXT_MAX);
        if (!text)
            return ks_arena_err(g->arena);
        to->values[at] = ks_slice(text, ks_lq_time_format(text, col->times_ns[row]));
        return KS_OK;
    }
    to->values[at] = col->kind == KS_LQ_CONST  ? col->values[0]
                     : col->kind == KS_LQ_DICT ? col->values[col->codes[row]]
                                               : col->values[row];
    return KS_OK;
}

/* Times at the head of a column whose other rows are not: as text after all. */
static ks_err times_as_text(struct gather *g, struct gathered *c)
{
    for (uint32_t i = 0; i < c->times; i++) {
        char *text = ks_arena_alloc(g->arena, KS_LQ_TIME_TEXT_MAX);
        if (!text)
            return ks_arena_err(g->arena);
        c->values[i] = ks_slice(text, ks_lq_time_format(text, c->times_ns[i]));
    }
    return KS_OK;
}

static ks_err gather_put(struct gather *g, uint32_t at, struct ksi_lq_edit *e)
{
    struct gathered *c = &g->cols[at];
    struct ks_lq_col col = {.name = g->names.entries[at].key,
                            .kind = KS_LQ_VALUES,
                            .value_count = g->count,
                            .values = c->values};
    if (c->times == g->count) {
        col.kind = KS_LQ_TIMES;
        col.times_ns = c->times_ns;
        col.value_count = 0;
        col.values = NULL;
    } else {
        KS_TRY(times_as_text(g, c));
    }
    return ksi_lq_edit_put(e, &col);
}

ks_err ksi_lq_gather(const struct ksi_lq_ref *refs, size_t step, uint32_t count,
                     struct ksi_lq_edit *e)
{
    struct gather g = {.arena = e->arena, .count = count};
    const struct ks_lq_rows *seen = NULL;
    uint32_t *of = NULL; /* gathered column of each column of `seen` */
    ks_err err = KS_OK;
    ksi_keymap_init(&g.names, e->arena);
    for (uint32_t i = 0; i < count && err == KS_OK; i++) {
        const struct ksi_lq_ref *ref = (const void *)((const char *)refs + i * step);
        const struct ks_lq_rows *rows = ref->rows;
        if (rows != seen) {
            of = ks_arena_array(e->arena, rows->col_count + 1u, sizeof *of);
            err = of ? KS_OK : ks_arena_err(e->arena);
            for (uint32_t k = 0; k < rows->col_count && err == KS_OK; k++)
                err = gather_column(&g, rows->cols[k].name, &of[k]);
            seen = rows;
        }
        for (uint32_t k = 0; k < rows->col_count && err == KS_OK; k++)
            err = gather_value(&g, &rows->cols[k], ref->row, i, &g.cols[of[k]]);
    }
    for (uint32_t k = 0; k < g.names.count && err == KS_OK; k++)
        err = gather_put(&g, k, e);
    ksi_keymap_done(&g.names);
    return err;
}
