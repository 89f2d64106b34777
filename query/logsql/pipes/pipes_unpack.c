/*
 * Fields out of one value: unpack_json, unpack_logfmt, unpack_syslog; rows out of arrays: unroll.
 *
 * A value is taken apart once per distinct text; the columns found are as many as names were met in
 * the batch.
 */
#include "query/logsql/pipes/pipe_priv.h"
#include "query/logsql/stats/keymap.h"
#include "query/logsql/text/json_text.h"
#include "query/logsql/text/pattern.h"
#include "query/logsql/text/syslog_text.h"

enum { UNPACK_COLUMNS_MAX = 20000 }; /* of one batch */

struct columns { /* what the batch was taken apart into */
    struct ksi_keymap names;
    struct ks_slice **values; /* [column][value]; ptr NULL: not there */
    size_t cap;
    uint32_t count;               /* values of the source column */
    struct ksi_json_field *found; /* scratch of one value */
    size_t found_cap;
};

static ks_err put_field(struct columns *cols, struct ks_arena *arena, struct ks_slice name,
                        uint32_t at, struct ks_slice value)
{
    uint32_t col;
    bool fresh;
    KS_TRY(ksi_keymap_add(&cols->names, name, ksi_keymap_hash(name), &col, &fresh));
    if (fresh) {
        if (col >= UNPACK_COLUMNS_MAX)
            return ks_fail(KS_ELIMIT, "unpack: more than %d different field names in %u rows",
                           UNPACK_COLUMNS_MAX, cols->count);
        KS_TRY(ks_arena_grow(arena, (void **)&cols->values, &cols->cap, col + 1u,
                             sizeof *cols->values));
        cols->values[col] = ks_arena_zalloc(arena, cols->count * sizeof **cols->values);
        if (!cols->values[col])
            return ks_arena_err(arena);
    }
    cols->values[col][at] = value.ptr ? value : KS_SLICE_LIT("");
    return KS_OK;
}

/* Result column of one field name: values where they are there, else what the row had. */
static ks_err set_found(struct ksi_lq_map *m, struct ksi_lq_call *c,
                        const struct ksi_lq_texts *from, struct ks_slice name,
                        struct ks_slice *values)
{
    struct ksi_lq_how how = {c->bits, m->pipe->keep_original_fields, m->pipe->skip_empty_results};
    struct ksi_lq_texts t = *from, was;
    bool all = true;
    for (uint32_t i = 0; i < from->count && all; i++)
        all = values[i].ptr != NULL;
    t.values = values;
    if (all || ksi_lq_edit_find(&c->edit, name) < 0)
        return ksi_lq_edit_set(&c->edit, name, &t, how);
    KS_TRY(ksi_lq_texts_named(&(struct ks_lq_rows){c->edit.row_count, c->edit.count, c->edit.cols},
                              name, c->arena, &was));
    uint32_t rows = c->in->row_count;
    struct ks_slice *out = ks_arena_array(c->arena, rows, sizeof *out);
    if (!out)
        return ks_arena_err(c->arena);
    for (uint32_t r = 0; r < rows; r++) {
        struct ks_slice v = values[ksi_lq_text_at(from, r)];
        out[r] = v.ptr ? v : ksi_lq_text(&was, r);
    }
    t = (struct ksi_lq_texts){out, NULL, rows, false};
    return ksi_lq_edit_set(&c->edit, name, &t, how);
}

typedef ks_err (*take_apart_fn)(struct ksi_lq_map *m, struct ks_slice text, struct ks_arena *arena,
                                struct ksi_json_fields *out);

static bool wanted(const struct ks_lq_fields *f, struct ks_slice name)
{
    return !f->count || ksi_lq_fields_match(f, name);
}

/* All fields of value `at`, and "" for those asked for by name that it lacks. */
static ks_err collect(struct ksi_lq_map *m, struct ksi_lq_call *c, struct columns *cols,
                      struct ks_slice text, uint32_t at, take_apart_fn take_apart)
{
    const struct ks_lq_fields *f = &m->pipe->u.unpack.fields;
    struct ksi_json_fields found = {cols->found, 0, cols->found_cap};
    for (size_t i = 0; i < f->count; i++)
        if (!f->items[i].prefix)
            KS_TRY(put_field(cols, c->arena, f->items[i].name, at, KS_SLICE_LIT("")));
    KS_TRY(take_apart(m, text, c->arena, &found));
    cols->found = found.items;
    cols->found_cap = found.cap;
    for (size_t i = 0; i < found.count; i++)
        if (wanted(f, found.items[i].name))
            KS_TRY(put_field(cols, c->arena, found.items[i].name, at, found.items[i].value));
    return KS_OK;
}

static ks_err prefixed(struct ksi_lq_call *c, struct ks_slice prefix, struct ks_slice name,
                       struct ks_slice *ret)
{
    char *p = ks_arena_alloc(c->arena, prefix.len + name.len + 1);
    if (!p)
        return ks_arena_err(c->arena);
    memcpy(p, prefix.ptr ? prefix.ptr : "", prefix.len);
    memcpy(p + prefix.len, name.ptr, name.len);
    *ret = ks_slice(p, prefix.len + name.len);
    return KS_OK;
}

static ks_err unpack(struct ksi_lq_map *m, struct ksi_lq_call *c, take_apart_fn take_apart)
{
    struct ksi_lq_texts t;
    struct columns cols = {.count = 0};
    KS_TRY(ksi_lq_texts_named(c->in, m->pipe->u.unpack.from, c->arena, &t));
    cols.count = t.count;
    ksi_keymap_init(&cols.names, c->arena);
    ks_err err = KS_OK;
    for (uint32_t i = 0; i < t.count && err == KS_OK; i++)
        if (!c->bits || t.constant || t.codes || ks_lq_bit(c->bits, i))
            err = collect(m, c, &cols, t.values[i], i, take_apart);
    for (uint32_t k = 0; k < cols.names.count && err == KS_OK; k++) {
        struct ks_slice name;
        err = prefixed(c, m->pipe->u.unpack.result_prefix, cols.names.entries[k].key, &name);
        if (err == KS_OK)
            err = set_found(m, c, &t, name, cols.values[k]);
    }
    ksi_keymap_done(&cols.names);
    return err;
}

/* ---------------------------------------------------------------- the three */

static ks_err json_fields(struct ksi_lq_map *m, struct ks_slice text, struct ks_arena *arena,
                          struct ksi_json_fields *out)
{
    bool ok;
    const struct ks_lq_fields *preserve = &m->pipe->u.unpack.preserve_keys;
    return ksi_json_flatten(text, preserve, &m->pipe->u.unpack.fields, arena, out, &ok);
}

/* name=value pairs between blanks; "…" and `…` are unquoted; a word alone is a field without value.
 */
static ks_err logfmt_fields(struct ksi_lq_map *m, struct ks_slice s, struct ks_arena *arena,
                            struct ksi_json_fields *out)
{
    while (s.len) {
        size_t n = 0, used = 0;
        bool quoted = false;
        while (n < s.len && s.ptr[n] != '=' && s.ptr[n] != ' ')
            n++;
        struct ks_slice name = ks_slice(s.ptr, n), value = {"", 0};
        bool has_value = n < s.len && s.ptr[n] == '=';
        s = ks_slice_from(s, n + (n < s.len));
        if (!has_value && !name.len)
            continue;
        if (has_value) {
            KS_TRY(ksi_lq_unquote_prefix(s, arena, &value, &used, &quoted));
            if (!quoted) {
                for (used = 0; used < s.len && s.ptr[used] != ' ';)
                    used++;
                value = ks_slice(s.ptr, used);
            }
        }
        s = ks_slice_from(s, used);
        bool garbage = quoted && s.len && s.ptr[0] != ' ';
        KS_TRY(ks_arena_grow(arena, (void **)&out->items, &out->cap, out->count + 1,
                             sizeof *out->items));
        out->items[out->count++] = (struct ksi_json_field){name, value};
        if (garbage)
            break;
    }
    return KS_OK;
}

static ks_err syslog_fields(struct ksi_lq_map *m, struct ks_slice text, struct ks_arena *arena,
                            struct ksi_json_fields *out)
{
    return ksi_lq_syslog_fields(text, m->head.x->now_ns, m->pipe->u.unpack.offset_ns, arena, out);
}

#define UNPACKER(name, fn)                                                                         \
    static ks_err name##_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)                        \
    {                                                                                              \
        return unpack(m, c, fn);                                                                   \
    }                                                                                              \
    KSI_LQ_MAP_PIPE(name, name##_apply)
UNPACKER(unpack_json, json_fields)
UNPACKER(unpack_logfmt, logfmt_fields)
UNPACKER(unpack_syslog, syslog_fields)

/* ---------------------------------------------------------------- unroll */

struct unrolled {
    struct ks_slice *items;
    size_t count;
};

/* Arrays of all rows of one column; a value that is no array has no items. */
static ks_err parse_arrays(struct ksi_lq_call *c, struct ks_slice name, struct ksi_lq_texts *t,
                           struct unrolled **ret)
{
    KS_TRY(ksi_lq_texts_named(c->in, name, c->arena, t));
    struct unrolled *u = ks_arena_zalloc(c->arena, t->count * sizeof *u);
    if (!u)
        return ks_arena_err(c->arena);
    for (uint32_t i = 0; i < t->count; i++) {
        bool ok;
        if (t->values[i].len)
            KS_TRY(ksi_json_items(t->values[i], c->arena, &u[i].items, &u[i].count, &ok));
    }
    *ret = u;
    return KS_OK;
}

struct unroll {
    struct ksi_lq_texts *texts; /* per field */
    struct unrolled **arrays;
    uint32_t *row_of;  /* source row of each result row */
    uint32_t *item_of; /* UINT32_MAX: the row is not unrolled */
    size_t count;
};

static ks_err unroll_rows(struct ksi_lq_call *c, const struct ks_lq_names *by, struct unroll *u)
{
    size_t cap = 0, cap2 = 0;
    for (uint32_t r = 0; r < c->in->row_count; r++) {
        bool on = !c->bits || ks_lq_bit(c->bits, r);
        size_t n = 0;
        for (size_t k = 0; on && k < by->count; k++) {
            size_t len = u->arrays[k][ksi_lq_text_at(&u->texts[k], r)].count;
            n = len > n ? len : n;
        }
        n = n ? n : 1;
        if (u->count + n > UINT32_MAX / 2)
            return ks_fail(KS_ELIMIT, "unroll: too many items");
        KS_TRY(ks_arena_grow(c->arena, (void **)&u->row_of, &cap, u->count + n, sizeof(uint32_t)));
        KS_TRY(
            ks_arena_grow(c->arena, (void **)&u->item_of, &cap2, u->count + n, sizeof(uint32_t)));
        for (size_t i = 0; i < n; i++) {
            u->row_of[u->count] = r;
            u->item_of[u->count++] = on ? (uint32_t)i : UINT32_MAX;
        }
    }
    return KS_OK;
}

/* Column `col` repeated along row_of. */
static ks_err repeat_column(struct ksi_lq_call *c, const struct unroll *u, struct ks_lq_col *col)
{
    struct ksi_lq_texts t;
    KS_TRY(ksi_lq_texts(col, c->in->row_count, c->arena, &t));
    col->values = t.values;
    col->value_count = t.count;
    col->kind = KS_LQ_CONST;
    if (t.constant)
        return KS_OK;
    uint32_t *codes = ks_arena_array(c->arena, u->count, sizeof *codes);
    if (!codes)
        return ks_arena_err(c->arena);
    for (size_t i = 0; i < u->count; i++)
        codes[i] = ksi_lq_text_at(&t, u->row_of[i]);
    col->kind = KS_LQ_DICT;
    col->codes = codes;
    return KS_OK;
}

static ks_err item_column(struct ksi_lq_call *c, const struct unroll *u, size_t k,
                          struct ks_slice name)
{
    struct ks_slice *values = ks_arena_zalloc(c->arena, u->count * sizeof *values);
    if (!values)
        return ks_arena_err(c->arena);
    for (size_t i = 0; i < u->count; i++) {
        uint32_t at = ksi_lq_text_at(&u->texts[k], u->row_of[i]);
        const struct unrolled *a = &u->arrays[k][at];
        if (u->item_of[i] == UINT32_MAX)
            values[i] = u->texts[k].values[at];
        else if (u->item_of[i] < a->count)
            values[i] = a->items[u->item_of[i]];
    }
    struct ks_lq_col col = {
        .name = name, .kind = KS_LQ_VALUES, .value_count = (uint32_t)u->count, .values = values};
    return ksi_lq_edit_put(&c->edit, &col);
}

static ks_err unroll_apply(struct ksi_lq_map *m, struct ksi_lq_call *c)
{
    const struct ks_lq_names *by = &m->pipe->u.unroll.by;
    struct unroll u = {.count = 0};
    u.texts = ks_arena_array(c->arena, by->count + 1, sizeof *u.texts);
    u.arrays = ks_arena_array(c->arena, by->count + 1, sizeof *u.arrays);
    if (!u.texts || !u.arrays)
        return ks_arena_err(c->arena);
    for (size_t k = 0; k < by->count; k++)
        KS_TRY(parse_arrays(c, by->items[k], &u.texts[k], &u.arrays[k]));
    KS_TRY(unroll_rows(c, by, &u));
    for (uint32_t i = 0; i < c->edit.count; i++)
        KS_TRY(repeat_column(c, &u, &c->edit.cols[i]));
    c->edit.row_count = (uint32_t)u.count;
    for (size_t k = 0; k < by->count; k++)
        KS_TRY(item_column(c, &u, k, by->items[k]));
    return KS_OK;
}

ks_err ks_lq_make_unroll(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct ksi_lq_map *m;
    KS_TRY(ksi_lq_map_new(x, pipe, next, unroll_apply, &m));
    *ret = &m->head;
    return KS_OK;
}
