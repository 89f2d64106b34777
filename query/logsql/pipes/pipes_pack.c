/* Pipes that make one value of several fields: pack_json, pack_logfmt, coalesce, json_array_concat.
 */
#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/text/json_text.h"

struct packed { /* the columns a row is packed of */
    struct ksi_lq_texts *texts;
    struct ks_slice *names;
    size_t count;
};

static ks_err pick_columns(struct ksi_lq_call *c, const struct ks_lq_fields *fields, bool ordered,
                           struct packed *ret)
{
    uint32_t cols = c->in->col_count;
    ret->texts = ks_arena_array(c->arena, cols + 1u, sizeof *ret->texts);
    ret->names = ks_arena_array(c->arena, cols + 1u, sizeof *ret->names);
    ret->count = 0;
    if (!ret->texts || !ret->names)
        return ks_arena_err(c->arena);
    size_t passes = ordered && fields->count ? fields->count : 1;
    for (size_t i = 0; i < passes; i++) {
        for (uint32_t k = 0; k < cols; k++) {
            const struct ks_lq_col *col = &c->in->cols[k];
            bool use = passes > 1 || (ordered && fields->count)
                           ? ksi_lq_field_match(&fields->items[i], col->name)
                           : !fields->count || ksi_lq_fields_match(fields, col->name);
            for (size_t j = 0; use && j < ret->count; j++)
                use = !ks_slice_eq(ret->names[j], col->name);
            if (!use)
                continue;
            KS_TRY(ksi_lq_texts(col, c->in->row_count, c->arena, &ret->texts[ret->count]));
            ret->names[ret->count++] = col->name;
        }
    }
    return KS_OK;
}

static void json_row(const struct packed *p, uint32_t row, struct ks_buf *b)
{
    bool any = false;
    ks_buf_byte(b, '{');
    for (size_t i = 0; i < p->count; i++) {
        struct ks_slice v = ksi_lq_text(&p->texts[i], row);
        if (!v.len)
            continue;
        if (any)
            ks_buf_byte(b, ',');
        any = true;
        ks_lq_buf_json(b, p->names[i]);
        ks_buf_byte(b, ':');
        ks_lq_buf_json(b, v);
    }
    ks_buf_byte(b, '}');
}

static void logfmt_value(struct ks_buf *b, struct ks_slice v)
{
    bool quote = false;
    for (size_t i = 0; i < v.len && !quote; i++)
        quote = (unsigned char)v.ptr[i] <= ' ' || v.ptr[i] == '"' || v.ptr[i] == '\\';
    if (quote)
        ks_lq_buf_json(b, v);
    else
        ks_buf_slice(b, v);
}

static void logfmt_row(const struct packed *p, uint32_t row, struct ks_buf *b)
{
    bool any = false;
    for (size_t i = 0; i < p->count; i++) {
        struct ks_slice v = ksi_lq_text(&p->texts[i], row);
        if (!v.len)
            continue;
        if (any)
            ks_buf_byte(b, ' ');
        any = true;
        ks_buf_slice(b, p->names[i]);
        ks_buf_byte(b, '=');
        logfmt_value(b, v);
    }
}

/* `write` for every picked row, into column `to`. */
static ks_err pack_rows(struct ksi_lq_call *c, const struct packed *p, struct ks_slice to,
                        void (*write)(const struct packed *, uint32_t, struct ks_buf *))
{
    uint32_t rows = c->in->row_count;
    struct ks_slice *out = ks_arena_zalloc(c->arena, rows * sizeof *out);
    struct ks_buf b;
    ks_err err = out ? KS_OK : ks_arena_err(c->arena);
    ks_buf_init(&b, c->arena->cap_bytes);
    for (uint32_t r = 0; r < rows && err == KS_OK; r++) {
        if (c->bits && !ks_lq_bit(c->bits, r))
            continue;
        ks_buf_reset(&b);
        write(p, r, &b);
        err = ks_buf_status(&b);
        if (err == KS_ETOOBIG)
            err = ks_fail(KS_ELIMIT,
                          "a packed value needs more memory than the query has left; pack fewer "
                          "fields, or raise -search.maxMemoryPerQuery");
        if (err == KS_OK)
            err = ksi_lq_take(c->arena, ks_buf_view(&b), &out[r]);
    }
    ks_buf_done(&b);
    KS_TRY(err);
    struct ksi_lq_texts t = {out, NULL, rows, false};
    return ksi_lq_edit_set(&c->edit, to, &t, (struct ksi_lq_how){.bits = c->bits});
}

static ks_err pack_json_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct packed p;
    KS_TRY(pick_columns(c, &m->pipe->u.pack.fields, false, &p));
    return pack_rows(c, &p, m->pipe->u.pack.to, json_row);
}
static ks_err pack_logfmt_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct packed p;
    KS_TRY(pick_columns(c, &m->pipe->u.pack.fields, false, &p));
    return pack_rows(c, &p, m->pipe->u.pack.to, logfmt_row);
}

static void coalesce_row(const struct packed *p, uint32_t row, struct ks_buf *b)
{
    for (size_t i = 0; i < p->count && !b->len; i++)
        ks_buf_slice(b, ksi_lq_text(&p->texts[i], row));
}
static ks_err coalesce_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct packed p;
    KS_TRY(pick_columns(c, &m->pipe->u.map.args, true, &p));
    return pack_rows(c, &p, m->pipe->u.map.to, coalesce_row);
}

/* The items of all arrays one after the other; a value that is no array is one item. */
static void concat_row(const struct packed *p, uint32_t row, struct ks_buf *b)
{
    struct ks_arena a;
    ks_arena_init(&a, KSI_LQ_SCRATCH_MAX);
    ks_buf_byte(b, '[');
    for (size_t i = 0; i < p->count; i++) {
        struct ks_slice v = ksi_lq_text(&p->texts[i], row), *items;
        size_t count;
        bool ok;
        if (!v.len)
            continue;
        if (ksi_json_items(v, &a, &items, &count, &ok) != KS_OK)
            break;
        if (!ok) {
            items = &v;
            count = 1;
        }
        for (size_t k = 0; k < count; k++) {
            if (b->ptr[b->len - 1] != '[' || b->len > 1)
                ks_buf_byte(b, ',');
            ks_lq_buf_json(b, items[k]);
        }
    }
    ks_buf_byte(b, ']');
    ks_arena_done(&a);
}
static ks_err concat_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    struct packed p;
    KS_TRY(pick_columns(c, &m->pipe->u.map.args, true, &p));
    return pack_rows(c, &p, m->pipe->u.map.to, concat_row);
}

KSI_LQ_MAP_PIPE(pack_json, pack_json_apply)
KSI_LQ_MAP_PIPE(pack_logfmt, pack_logfmt_apply)
KSI_LQ_MAP_PIPE(coalesce, coalesce_apply)
KSI_LQ_MAP_PIPE(json_array_concat, concat_apply)
