/* Frame and helpers of row-local pipes: see pipe_priv.h. */
#include "query/logsql/pipes/pipe_priv.h"

static const struct ks_slice empty_text = {"", 0};

ks_err ksi_lq_texts(const struct ks_lq_col *col, uint32_t row_count, struct ks_arena *arena,
                    struct ksi_lq_texts *ret)
{
    struct ks_lq_col text;
    if (!col) {
        *ret = (struct ksi_lq_texts){&empty_text, NULL, 1, true};
        return KS_OK;
    }
    KS_TRY(ks_lq_col_textual(col, row_count, arena, &text));
    if (text.kind == KS_LQ_CONST) {
        *ret = (struct ksi_lq_texts){text.values, NULL, 1, true};
        return KS_OK;
    }
    if (text.kind == KS_LQ_VALUES) {
        *ret = (struct ksi_lq_texts){text.values, NULL, row_count, false};
        return KS_OK;
    }
    if (text.value_count <= row_count) {
        *ret = (struct ksi_lq_texts){text.values, text.codes, text.value_count, false};
        return KS_OK;
    }
    struct ks_slice *values = ks_arena_array(arena, row_count, sizeof *values);
    if (!values)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < row_count; i++)
        values[i] = text.values[text.codes[i]];
    *ret = (struct ksi_lq_texts){values, NULL, row_count, false};
    return KS_OK;
}

ks_err ksi_lq_texts_named(const struct ks_lq_rows *rows, struct ks_slice name,
                          struct ks_arena *arena, struct ksi_lq_texts *ret)
{
    return ksi_lq_texts(ks_lq_rows_col(rows, name), rows->row_count, arena, ret);
}

struct ks_slice *ksi_lq_texts_like(const struct ksi_lq_texts *t, struct ks_arena *arena)
{
    return ks_arena_array(arena, t->count, sizeof(struct ks_slice));
}

/* ---------------------------------------------------------------- editing */

ks_err ksi_lq_edit_begin(struct ksi_lq_edit *e, struct ks_arena *arena, const struct ks_lq_rows *in)
{
    *e = (struct ksi_lq_edit){.arena = arena, .row_count = in->row_count};
    e->cap = in->col_count + 4;
    e->cols = ks_arena_array(arena, e->cap, sizeof *e->cols);
    if (!e->cols)
        return ks_arena_err(arena);
    if (in->col_count)
        memcpy(e->cols, in->cols, in->col_count * sizeof *e->cols);
    e->count = in->col_count;
    return KS_OK;
}

int64_t ksi_lq_edit_find(const struct ksi_lq_edit *e, struct ks_slice name)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (ks_slice_eq(e->cols[i].name, name))
            return i;
    return -1;
}

ks_err ksi_lq_edit_put(struct ksi_lq_edit *e, const struct ks_lq_col *col)
{
    int64_t at = ksi_lq_edit_find(e, col->name);
    if (at < 0) {
        KS_TRY(ks_arena_grow(e->arena, (void **)&e->cols, &e->cap, e->count + 1, sizeof *e->cols));
        at = e->count++;
    }
    e->cols[at] = *col;
    return KS_OK;
}

void ksi_lq_edit_drop(struct ksi_lq_edit *e, struct ks_slice name)
{
    int64_t at = ksi_lq_edit_find(e, name);
    if (at < 0)
        return;
    e->count--;
    memmove(e->cols + at, e->cols + at + 1, (e->count - (size_t)at) * sizeof *e->cols);
}

static struct ks_lq_col texts_column(struct ks_slice name, const struct ksi_lq_texts *t)
{
    return (struct ks_lq_col){
        .name = name,
        .kind = t->constant ? KS_LQ_CONST
                : t->codes  ? KS_LQ_DICT
                            : KS_LQ_VALUES,
        .value_count = t->count,
        .values = t->values,
        .codes = t->codes,
    };
}

/* Row by row: the new value where how says so, the old one elsewhere. */
static ks_err edit_blend(struct ksi_lq_edit *e, struct ks_slice name, const struct ks_lq_col *old,
                         const struct ksi_lq_texts *t, struct ksi_lq_how how)
{
    struct ksi_lq_texts was;
    KS_TRY(ksi_lq_texts(old, e->row_count, e->arena, &was));
    struct ks_slice *values = ks_arena_array(e->arena, e->row_count, sizeof *values);
    if (!values)
        return ks_arena_err(e->arena);
    for (uint32_t i = 0; i < e->row_count; i++) {
        struct ks_slice now = ksi_lq_text(t, i), then = ksi_lq_text(&was, i);
        bool keep = (how.bits && !ks_lq_bit(how.bits, i)) || (how.keep_original && then.len) ||
                    (how.skip_empty && !now.len);
        values[i] = keep ? then : now;
    }
    struct ks_lq_col col = {
        .name = name, .kind = KS_LQ_VALUES, .value_count = e->row_count, .values = values};
    return ksi_lq_edit_put(e, &col);
}

ks_err ksi_lq_edit_set(struct ksi_lq_edit *e, struct ks_slice name, const struct ksi_lq_texts *t,
                       struct ksi_lq_how how)
{
    int64_t at = ksi_lq_edit_find(e, name);
    if (at < 0 && !how.bits) /* nothing to keep */
        how.keep_original = how.skip_empty = false;
    if (how.bits || how.keep_original || how.skip_empty)
        return edit_blend(e, name, at < 0 ? NULL : &e->cols[at], t, how);
    struct ks_lq_col col = texts_column(name, t);
    return ksi_lq_edit_put(e, &col);
}

bool ksi_lq_fields_match(const struct ks_lq_fields *f, struct ks_slice name)
{
    for (size_t i = 0; i < f->count; i++)
        if (ksi_lq_field_match(&f->items[i], name))
            return true;
    return false;
}

/* ---------------------------------------------------------------- scratch */

void ksi_lq_scratch_init(struct ksi_lq_scratch *s)
{
    ks_arena_init(&s->arena, KSI_LQ_SCRATCH_MAX);
    s->charged = 0;
}

void ksi_lq_scratch_done(struct ksi_lq_scratch *s)
{
    ks_arena_done(&s->arena);
}

ks_err ksi_lq_scratch_begin(struct ksi_lq_scratch *s, struct ks_lq_exec *x)
{
    KS_TRY(ks_lq_check(x));
    ks_arena_reset(&s->arena);
    uint64_t left = ks_lq_memory_left(x);
    s->arena.cap_bytes = left < KSI_LQ_SCRATCH_MAX ? left + s->charged : KSI_LQ_SCRATCH_MAX;
    return KS_OK;
}

static ks_err scratch_charge(struct ksi_lq_scratch *s, struct ks_lq_exec *x)
{
    uint64_t bytes = s->arena.used_bytes;
    if (bytes > s->charged)
        KS_TRY(ks_lq_charge(x, bytes - s->charged));
    else
        ks_lq_uncharge(x, s->charged - bytes);
    s->charged = bytes;
    return KS_OK;
}

ks_err ksi_lq_scratch_push(struct ksi_lq_scratch *s, struct ks_lq_stage *stage, unsigned worker,
                           const struct ks_lq_rows *rows)
{
    KS_TRY(scratch_charge(s, stage->x));
    KS_TRY(ks_lq_push(stage->next, worker, rows));
    ks_arena_reset(&s->arena);
    return scratch_charge(s, stage->x); /* less than before */
}

/* ---------------------------------------------------------------- row-local stages */

/* Evaluates the condition into c->bits; *ret_any is false when no row is picked. */
static ks_err call_bits(struct ksi_lq_map *m, struct ksi_lq_call *c, bool *ret_any)
{
    uint32_t rows = c->in->row_count;
    size_t words = KS_ROW_WORDS(rows);
    *ret_any = true;
    if (!m->cond)
        return KS_OK;
    uint64_t *bits = ks_arena_array(c->arena, words, sizeof *bits);
    if (!bits)
        return ks_arena_err(c->arena);
    ks_lq_bits_fill(bits, rows);
    KS_TRY(ks_lq_cond_eval(m->cond, c->in, c->arena, bits));
    size_t picked = 0;
    for (size_t i = 0; i < words; i++)
        picked += (size_t)__builtin_popcountll(bits[i]);
    *ret_any = picked > 0;
    if (picked < rows)
        c->bits = bits;
    return KS_OK;
}

static ks_err map_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct ksi_lq_map *m = (struct ksi_lq_map *)s;
    struct ksi_lq_scratch *scratch = &m->scratch[worker];
    struct ksi_lq_call c = {.worker = worker, .arena = &scratch->arena, .in = rows};
    bool any;
    KS_TRY(ksi_lq_scratch_begin(scratch, s->x));
    KS_TRY(call_bits(m, &c, &any));
    if (!any)
        return ks_lq_push(s->next, worker, rows);
    KS_TRY(ksi_lq_edit_begin(&c.edit, c.arena, rows));
    KS_TRY(m->apply(m, &c));
    struct ks_lq_rows out = ksi_lq_edit_rows(&c.edit);
    return ksi_lq_scratch_push(scratch, s, worker, &out);
}

static void map_free(struct ks_lq_stage *s)
{
    struct ksi_lq_map *m = (struct ksi_lq_map *)s;
    if (m->scratch)
        for (unsigned i = 0; i < s->x->worker_count; i++)
            ksi_lq_scratch_done(&m->scratch[i]);
    ks_free(m->scratch);
    if (m->state_free)
        m->state_free(m->state);
    ks_lq_cond_done(m->cond);
    ks_free(m);
}

static const struct ks_lq_stage_ops map_ops = {
    .name = "map", .push = map_push, .free = map_free, .row_local = true};

ks_err ksi_lq_map_new(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe, struct ks_lq_stage *next,
                      ks_err (*apply)(struct ksi_lq_map *, struct ksi_lq_call *),
                      struct ksi_lq_map **ret)
{
    struct ksi_lq_map *m = ks_zalloc(sizeof *m);
    if (!m)
        return KS_ENOMEM;
    m->head.ops = &map_ops;
    m->head.x = x;
    m->head.next = next;
    m->pipe = pipe;
    m->apply = apply;
    m->scratch = ks_zalloc_array(x->worker_count, sizeof *m->scratch);
    ks_err err = m->scratch ? KS_OK : KS_ENOMEM;
    if (err == KS_OK) {
        for (unsigned i = 0; i < x->worker_count; i++)
            ksi_lq_scratch_init(&m->scratch[i]);
        if (pipe->cond)
            err = ks_lq_cond_new(x, pipe->cond, &m->cond);
    }
    if (err != KS_OK) {
        map_free(&m->head);
        return err;
    }
    *ret = m;
    return KS_OK;
}

ks_err ksi_lq_apply_text(struct ksi_lq_call *c, struct ks_slice from, struct ks_slice to,
                         ksi_lq_text_fn fn, void *arg)
{
    struct ksi_lq_texts t;
    KS_TRY(ksi_lq_texts_named(c->in, from, c->arena, &t));
    struct ks_slice *out = ksi_lq_texts_like(&t, c->arena);
    if (!out)
        return ks_arena_err(c->arena);
    bool per_row = !t.constant && !t.codes;
    for (uint32_t i = 0; i < t.count; i++) {
        if (per_row && c->bits && !ks_lq_bit(c->bits, i)) {
            out[i] = empty_text;
            continue;
        }
        if (i && per_row && t.values[i].ptr == t.values[i - 1].ptr &&
            t.values[i].len == t.values[i - 1].len && (!c->bits || ks_lq_bit(c->bits, i - 1))) {
            out[i] = out[i - 1];
            continue;
        }
        KS_TRY(fn(arg, c->arena, t.values[i], &out[i]));
    }
    t.values = out;
    return ksi_lq_edit_set(&c->edit, to, &t, (struct ksi_lq_how){.bits = c->bits});
}

ks_err ksi_lq_take(struct ks_arena *arena, struct ks_slice text, struct ks_slice *ret)
{
    if (!text.len) {
        *ret = empty_text;
        return KS_OK;
    }
    *ret = ks_arena_dup(arena, text);
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}
