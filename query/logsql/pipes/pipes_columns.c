/*
 * Pipes that move, keep or drop whole columns: copy, rename, fields, delete, drop_empty_fields,
 * set_stream_fields. No value is looked at but by the last two.
 */
#include "base/labels.h"
#include "engine/logs/log_batch.h"
#include "query/logsql/pipes/pipe_priv.h"

/* The name a column gets when `from` becomes `to`. */
static ks_err moved_name(struct ks_arena *arena, struct ks_slice name,
                         const struct ks_lq_field *from, const struct ks_lq_field *to,
                         struct ks_slice *ret)
{
    if (!from->prefix || !to->prefix) {
        *ret = to->name;
        return KS_OK;
    }
    struct ks_slice rest = ks_slice_from(name, from->name.len);
    char *p = ks_arena_alloc(arena, to->name.len + rest.len + 1);
    if (!p)
        return ks_arena_err(arena);
    if (to->name.len)
        memcpy(p, to->name.ptr, to->name.len);
    memcpy(p + to->name.len, rest.ptr, rest.len);
    *ret = ks_slice(p, to->name.len + rest.len);
    return KS_OK;
}

static ks_err move_prefix(struct ksi_lq_edit *e, const struct ks_lq_field *from,
                          const struct ks_lq_field *to, bool drop)
{
    uint32_t count = e->count, n = 0;
    struct ks_lq_col *moved = ks_arena_array(e->arena, count + 1, sizeof *moved);
    struct ks_slice *was = ks_arena_array(e->arena, count + 1, sizeof *was);
    if (!moved || !was)
        return ks_arena_err(e->arena);
    for (uint32_t i = 0; i < count; i++) {
        if (!ksi_lq_field_match(from, e->cols[i].name))
            continue;
        moved[n] = e->cols[i];
        was[n] = e->cols[i].name;
        KS_TRY(moved_name(e->arena, was[n], from, to, &moved[n].name));
        n += !ks_slice_eq(was[n], moved[n].name);
    }
    for (uint32_t i = 0; drop && i < n; i++)
        ksi_lq_edit_drop(e, was[i]);
    /* A column may be there for other rows' sake: where it is empty it matched nothing. */
    for (uint32_t i = 0; i < n; i++) {
        struct ksi_lq_texts t;
        if (ksi_lq_edit_find(e, moved[i].name) < 0) {
            KS_TRY(ksi_lq_edit_put(e, &moved[i]));
            continue;
        }
        KS_TRY(ksi_lq_texts(&moved[i], e->row_count, e->arena, &t));
        KS_TRY(ksi_lq_edit_set(e, moved[i].name, &t, (struct ksi_lq_how){.skip_empty = true}));
    }
    return KS_OK;
}

/* One `from as to`; a source that is not there makes the target empty. */
static ks_err move_one(struct ksi_lq_edit *e, struct ks_slice from, struct ks_slice to, bool drop)
{
    int64_t at = ksi_lq_edit_find(e, from);
    if (ks_slice_eq(from, to))
        return KS_OK;
    if (at < 0) {
        ksi_lq_edit_drop(e, to);
        return KS_OK;
    }
    struct ks_lq_col col = e->cols[at];
    col.name = to;
    if (drop) {
        ksi_lq_edit_drop(e, to);
        at = ksi_lq_edit_find(e, from);
        e->cols[at] = col;
        return KS_OK;
    }
    return ksi_lq_edit_put(e, &col);
}

static ks_err move_apply(struct ksi_lq_call *c, const struct ks_lq_pipe *pipe, bool drop)
{
    for (size_t i = 0; i < pipe->u.move.count; i++) {
        const struct ks_lq_field *from = &pipe->u.move.from[i], *to = &pipe->u.move.to[i];
        if (from->prefix)
            KS_TRY(move_prefix(&c->edit, from, to, drop));
        else
            KS_TRY(move_one(&c->edit, from->name, to->name, drop));
    }
    return KS_OK;
}

static ks_err copy_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    return move_apply(c, m->pipe, false);
}
static ks_err rename_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    return move_apply(c, m->pipe, true);
}

KSI_LQ_MAP_PIPE(copy, copy_apply)
KSI_LQ_MAP_PIPE(rename, rename_apply)

/* In the order of the list; what a prefix matches in the order of the batch. */
static ks_err fields_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_fields *f = &m->pipe->u.fields;
    struct ksi_lq_edit *e = &c->edit;
    e->count = 0;
    for (size_t i = 0; i < f->count; i++) {
        for (uint32_t k = 0; k < c->in->col_count; k++) {
            const struct ks_lq_col *col = &c->in->cols[k];
            if (ksi_lq_field_match(&f->items[i], col->name) && ksi_lq_edit_find(e, col->name) < 0)
                KS_TRY(ksi_lq_edit_put(e, col));
        }
    }
    return KS_OK;
}

static ks_err delete_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct ksi_lq_edit *e = &c->edit;
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->count; i++)
        if (!ksi_lq_fields_match(&m->pipe->u.fields, e->cols[i].name))
            e->cols[n++] = e->cols[i];
    e->count = n;
    return KS_OK;
}

KSI_LQ_MAP_PIPE(fields, fields_apply)
KSI_LQ_MAP_PIPE(delete, delete_apply)

/* Empty values are no fields anywhere; what is left to do is to drop rows that have none. */
static ks_err drop_empty_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    uint32_t rows = c->in->row_count;
    uint64_t *bits = ks_arena_zalloc(c->arena, KS_ROW_WORDS(rows) * sizeof *bits);
    if (!bits)
        return ks_arena_err(c->arena);
    uint32_t seen = 0;
    for (uint32_t k = 0; k < c->in->col_count && seen < rows; k++) {
        struct ksi_lq_texts t;
        if (c->in->cols[k].kind == KS_LQ_TIMES)
            return KS_OK;
        KS_TRY(ksi_lq_texts(&c->in->cols[k], rows, c->arena, &t));
        for (uint32_t i = 0; i < rows; i++) {
            uint64_t bit = 1ull << (i % 64);
            if (!(bits[i / 64] & bit) && ksi_lq_text(&t, i).len) {
                bits[i / 64] |= bit;
                seen++;
            }
        }
    }
    if (seen == rows)
        return KS_OK;
    if (!seen) {
        c->edit.row_count = 0;
        return KS_OK;
    }
    struct ks_lq_rows out;
    KS_TRY(ks_lq_rows_compact(c->in, bits, c->arena, &out));
    return ksi_lq_edit_begin(&c->edit, c->arena, &out);
}

KSI_LQ_MAP_PIPE(drop_empty_fields, drop_empty_apply)

/* {a="b",c="d"} of the given fields of one row. */
static ks_err stream_text(struct ksi_lq_call *c, const struct ksi_lq_texts *texts,
                          const struct ks_lq_fields *f, uint32_t row, struct ks_slice *ret)
{
    struct ks_label *items = ks_arena_array(c->arena, f->count + 1, sizeof *items);
    if (!items)
        return ks_arena_err(c->arena);
    struct ks_labels labels = {items, 0, f->count};
    for (size_t i = 0; i < f->count; i++)
        items[labels.count++] = (struct ks_label){f->items[i].name, ksi_lq_text(&texts[i], row)};
    ks_labels_canonicalise(&labels);
    struct ks_buf bytes, text;
    ks_buf_init(&bytes, KS_BUF_UNLIMITED);
    ks_buf_init(&text, KS_BUF_UNLIMITED);
    ks_labels_encode(&labels, &bytes);
    ks_stream_print(ks_buf_view(&bytes), &text);
    ks_err err = ks_buf_status(&bytes) != KS_OK ? ks_buf_status(&bytes) : ks_buf_status(&text);
    if (err == KS_OK)
        err = ksi_lq_take(c->arena, ks_buf_view(&text), ret);
    ks_buf_done(&bytes);
    ks_buf_done(&text);
    return err;
}

static ks_err set_stream_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_fields *f = &m->pipe->u.fields;
    uint32_t rows = c->in->row_count;
    struct ksi_lq_texts *texts = ks_arena_array(c->arena, f->count + 1, sizeof *texts);
    struct ks_slice *out = ks_arena_zalloc(c->arena, rows * sizeof *out);
    if (!texts || !out)
        return ks_arena_err(c->arena);
    for (size_t i = 0; i < f->count; i++)
        KS_TRY(ksi_lq_texts_named(c->in, f->items[i].name, c->arena, &texts[i]));
    for (uint32_t r = 0; r < rows; r++) {
        if (c->bits && !ks_lq_bit(c->bits, r))
            continue;
        bool same = r > 0 && out[r - 1].len;
        for (size_t i = 0; same && i < f->count; i++)
            same = ks_slice_eq(ksi_lq_text(&texts[i], r), ksi_lq_text(&texts[i], r - 1));
        if (same)
            out[r] = out[r - 1];
        else
            KS_TRY(stream_text(c, texts, f, r, &out[r]));
    }
    struct ksi_lq_how how = {.bits = c->bits};
    struct ksi_lq_texts stream = {out, NULL, rows, false}, none;
    KS_TRY(ksi_lq_texts(NULL, rows, c->arena, &none));
    KS_TRY(ksi_lq_edit_set(&c->edit, KS_SLICE_LIT("_stream_id"), &none, how));
    return ksi_lq_edit_set(&c->edit, KS_SLICE_LIT("_stream"), &stream, how);
}

KSI_LQ_MAP_PIPE(set_stream_fields, set_stream_apply)
