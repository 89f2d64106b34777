/*
 * Pipes that describe the rows: field_names (how many rows have a field), facets (the most frequent
 * values of every field).
 */
#include <stdlib.h>

#include "base/num.h"
#include "query/logsql/stats/group.h"

/* ---------------------------------------------------------------- shared */

struct field {
    uint64_t hits; /* rows with a value */
    /* facets */
    struct ksi_keymap values;
    uint64_t *value_hits;
    size_t value_cap;
    bool dropped; /* too many values, or one too long */
};
struct worker {
    struct ksi_keymap names;
    struct ks_arena texts, scratch;
    struct field *fields;
    size_t cap;
    uint64_t rows, charged, heap_bytes;
};
struct describe {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    struct worker *workers;
};

enum { CHARGE_STEP = 64 << 10, OUT_ROWS = 2048 };

static ks_err describe_charge(struct describe *d, struct worker *w)
{
    uint64_t bytes = w->texts.used_bytes + w->cap * sizeof *w->fields + w->heap_bytes +
                     ksi_keymap_bytes(&w->names);
    if (bytes < w->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(d->head.x, bytes - w->charged));
    w->charged = bytes;
    return KS_OK;
}

static ks_err field_of(struct worker *w, struct ks_slice name, struct field **ret)
{
    uint32_t at;
    bool fresh;
    KS_TRY(ksi_keymap_add(&w->names, name, ksi_keymap_hash(name), &at, &fresh));
    if (fresh) {
        KS_TRY(ks_array_reserve((void **)&w->fields, &w->cap, at + 1u, sizeof *w->fields));
        memset(&w->fields[at], 0, sizeof w->fields[at]);
        ksi_keymap_init(&w->fields[at].values, &w->texts);
    }
    *ret = &w->fields[at];
    return KS_OK;
}

static void describe_free(struct ks_lq_stage *stage)
{
    struct describe *d = (struct describe *)stage;
    for (unsigned i = 0; d->workers && i < stage->x->worker_count; i++) {
        struct worker *w = &d->workers[i];
        for (uint32_t k = 0; k < w->names.count; k++) {
            ksi_keymap_done(&w->fields[k].values);
            ks_free(w->fields[k].value_hits);
        }
        ksi_keymap_done(&w->names);
        ks_free(w->fields);
        ks_arena_done(&w->texts);
        ks_arena_done(&w->scratch);
        ks_lq_uncharge(stage->x, w->charged);
    }
    ks_free(d->workers);
    ks_free(d);
}

static ks_err describe_new(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                           struct ks_lq_stage *next, const struct ks_lq_stage_ops *ops,
                           struct ks_lq_stage **ret)
{
    struct describe *d = ks_zalloc(sizeof *d);
    if (!d)
        return KS_ENOMEM;
    d->head.ops = ops;
    d->head.x = x;
    d->head.next = next;
    d->pipe = pipe;
    d->workers = ks_zalloc_array(x->worker_count, sizeof *d->workers);
    if (!d->workers) {
        ks_free(d);
        return KS_ENOMEM;
    }
    for (unsigned i = 0; i < x->worker_count; i++) {
        struct worker *w = &d->workers[i];
        ks_arena_init(&w->texts, KS_BUF_UNLIMITED);
        ks_arena_init(&w->scratch, KSI_LQ_SCRATCH_MAX);
        ksi_keymap_init(&w->names, &w->texts);
    }
    *ret = &d->head;
    return KS_OK;
}

/* Result rows, collected column by column. */
struct table {
    struct ks_slice *values[3]; /* column k of row i: values[k][i] */
    struct ks_slice names[3];
    uint32_t count, columns;
};
static ks_err table_flush(struct describe *d, struct table *t)
{
    struct ks_lq_col cols[3];
    for (uint32_t k = 0; k < t->columns; k++)
        cols[k] = (struct ks_lq_col){.name = t->names[k],
                                     .kind = KS_LQ_VALUES,
                                     .value_count = t->count,
                                     .values = t->values[k]};
    struct ks_lq_rows rows = {t->count, t->columns, cols};
    t->count = 0;
    if (!rows.row_count)
        return KS_OK;
    KS_TRY(ks_lq_check(d->head.x));
    KS_TRY(ks_lq_push(d->head.next, 0, &rows));
    ks_arena_reset(&d->workers[0].scratch);
    return KS_OK;
}
/* hits is the last column. Slices must live; the number is made in scratch, so rows are handed on
 * before it is reset. */
static ks_err table_add(struct describe *d, struct table *t, struct ks_slice a, struct ks_slice b,
                        uint64_t hits)
{
    char *text = ks_arena_alloc(&d->workers[0].scratch, 20);
    if (!text)
        return ks_arena_err(&d->workers[0].scratch);
    t->values[0][t->count] = a;
    if (t->columns == 3)
        t->values[1][t->count] = b;
    t->values[t->columns - 1][t->count] = ks_slice(text, ks_u64_format(text, hits));
    return ++t->count == OUT_ROWS ? table_flush(d, t) : KS_OK;
}
static ks_err table_new(struct table *t)
{
    struct ks_slice *all = ks_alloc_array(3 * OUT_ROWS, sizeof *all);
    if (!all)
        return KS_ENOMEM;
    for (int k = 0; k < 3; k++)
        t->values[k] = all + k * OUT_ROWS;
    return KS_OK;
}

/* ---------------------------------------------------------------- field_names */

static uint64_t rows_with_value(const struct ksi_lq_texts *t, uint32_t rows)
{
    uint64_t n = 0;
    if (t->constant)
        return t->values[0].len ? rows : 0;
    for (uint32_t r = 0; r < rows; r++)
        n += ksi_lq_text(t, r).len > 0;
    return n;
}

static ks_err add_name(struct ks_lq_stage *stage, unsigned worker, struct ks_slice name,
                       uint64_t rows)
{
    struct describe *d = (struct describe *)stage;
    struct worker *w = &d->workers[worker];
    const struct ks_slice filter = d->pipe->u.map.arg;
    struct field *f;
    if (d->pipe->u.map.has_arg && filter.len &&
        (name.len < filter.len || !memmem(name.ptr, name.len, filter.ptr, filter.len)))
        return KS_OK;
    KS_TRY(field_of(w, name, &f));
    f->hits += rows;
    return describe_charge(d, w);
}

static ks_err names_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct worker *w = &((struct describe *)stage)->workers[worker];
    ks_arena_reset(&w->scratch);
    for (uint32_t k = 0; k < rows->col_count; k++) {
        const struct ks_lq_col *col = &rows->cols[k];
        struct ksi_lq_texts t;
        uint64_t hits = rows->row_count;
        if (col->kind != KS_LQ_TIMES) {
            KS_TRY(ksi_lq_texts(col, rows->row_count, &w->scratch, &t));
            hits = rows_with_value(&t, rows->row_count);
        }
        if (hits)
            KS_TRY(add_name(stage, worker, col->name, hits));
    }
    return KS_OK;
}

static ks_err names_finish(struct ks_lq_stage *stage)
{
    struct describe *d = (struct describe *)stage;
    struct worker *w = &d->workers[0];
    struct table t = {.columns = 2, .names = {d->pipe->u.map.to, KS_SLICE_LIT("hits")}};
    if (ks_slice_is(t.names[0], "hits"))
        t.names[1] = KS_SLICE_LIT("hitss");
    for (unsigned i = 1; i < stage->x->worker_count; i++) {
        const struct worker *from = &d->workers[i];
        for (uint32_t k = 0; k < from->names.count; k++) {
            struct field *f;
            KS_TRY(field_of(w, from->names.entries[k].key, &f));
            f->hits += from->fields[k].hits;
        }
    }
    ks_arena_reset(&w->scratch);
    KS_TRY(table_new(&t));
    ks_err err = KS_OK;
    for (uint32_t k = 0; k < w->names.count && err == KS_OK; k++)
        err =
            table_add(d, &t, w->names.entries[k].key, (struct ks_slice){"", 0}, w->fields[k].hits);
    if (err == KS_OK)
        err = table_flush(d, &t);
    ks_free(t.values[0]);
    return err;
}
static const struct ks_lq_stage_ops names_ops = {.count_name = add_name,
                                                 .name = "field_names",
                                                 .push = names_push,
                                                 .finish = names_finish,
                                                 .free = describe_free};

ks_err ks_lq_make_field_names(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                              struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return describe_new(x, pipe, next, &names_ops, ret);
}

/* ---------------------------------------------------------------- facets */

static void drop_field(struct field *f)
{
    f->dropped = true;
    ksi_keymap_done(&f->values);
    ks_free(f->value_hits);
    f->value_hits = NULL;
    f->value_cap = 0;
}

static ks_err add_value(struct describe *d, struct worker *w, struct field *f, struct ks_slice v,
                        uint64_t hits)
{
    uint64_t was = ksi_keymap_bytes(&f->values) + f->value_cap * sizeof *f->value_hits;
    uint32_t at;
    bool fresh;
    if (v.len > d->pipe->u.facets.max_value_len) {
        drop_field(f);
        return KS_OK;
    }
    KS_TRY(ksi_keymap_add(&f->values, v, ksi_keymap_hash(v), &at, &fresh));
    if (fresh) {
        KS_TRY(ks_array_reserve((void **)&f->value_hits, &f->value_cap, at + 1u,
                                sizeof *f->value_hits));
        f->value_hits[at] = 0;
        w->heap_bytes += ksi_keymap_bytes(&f->values) + f->value_cap * sizeof *f->value_hits - was;
    }
    f->value_hits[at] += hits;
    f->hits += hits;
    if (f->values.count > d->pipe->u.facets.max_values_per_field)
        drop_field(f);
    return KS_OK;
}

static ks_err facet_column(struct describe *d, struct worker *w, const struct ks_lq_col *col,
                           uint32_t rows)
{
    struct ksi_lq_texts t;
    struct field *f;
    KS_TRY(field_of(w, col->name, &f));
    if (f->dropped)
        return KS_OK;
    KS_TRY(ksi_lq_texts(col, rows, &w->scratch, &t));
    if (t.constant)
        return t.values[0].len ? add_value(d, w, f, t.values[0], rows) : KS_OK;
    if (!t.codes) {
        for (uint32_t r = 0; r < rows && !f->dropped; r++)
            if (t.values[r].len)
                KS_TRY(add_value(d, w, f, t.values[r], 1));
        return KS_OK;
    }
    uint32_t *hits = ks_arena_zalloc(&w->scratch, t.count * sizeof *hits);
    if (!hits)
        return ks_arena_err(&w->scratch);
    ksi_lq_count_codes(t.codes, rows, hits);
    for (uint32_t i = 0; i < t.count && !f->dropped; i++)
        if (hits[i] && t.values[i].len)
            KS_TRY(add_value(d, w, f, t.values[i], hits[i]));
    return KS_OK;
}

static ks_err facets_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct describe *d = (struct describe *)stage;
    struct worker *w = &d->workers[worker];
    w->rows += rows->row_count;
    for (uint32_t k = 0; k < rows->col_count; k++) {
        ks_arena_reset(&w->scratch);
        KS_TRY(facet_column(d, w, &rows->cols[k], rows->row_count));
    }
    return describe_charge(d, w);
}

static ks_err facets_merge(struct describe *d, struct worker *w, const struct worker *from)
{
    w->rows += from->rows;
    for (uint32_t k = 0; k < from->names.count; k++) {
        const struct field *src = &from->fields[k];
        struct field *f;
        KS_TRY(field_of(w, from->names.entries[k].key, &f));
        if (src->dropped && !f->dropped)
            drop_field(f);
        for (uint32_t i = 0; !src->dropped && i < src->values.count && !f->dropped; i++)
            KS_TRY(add_value(d, w, f, src->values.entries[i].key, src->value_hits[i]));
    }
    return describe_charge(d, w);
}

struct facet {
    struct ks_slice value;
    uint64_t hits;
};
static int facet_cmp(const void *a, const void *b)
{
    const struct facet *x = a, *y = b;
    if (x->hits != y->hits)
        return x->hits > y->hits ? -1 : 1;
    return ks_lq_compare(x->value, y->value);
}

static ks_err emit_field(struct describe *d, struct worker *w, uint32_t at, struct table *t)
{
    const struct field *f = &w->fields[at];
    uint32_t n = f->values.count;
    bool constant = n == 1 && f->hits == w->rows;
    if (f->dropped || !n || (constant && !d->pipe->u.facets.keep_const_fields))
        return KS_OK;
    struct facet *items = ks_alloc_array(n, sizeof *items);
    if (!items)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        items[i] = (struct facet){f->values.entries[i].key, f->value_hits[i]};
    qsort(items, n, sizeof *items, facet_cmp);
    ks_err err = KS_OK;
    for (uint32_t i = 0; i < n && i < d->pipe->u.facets.limit && err == KS_OK; i++)
        err = table_add(d, t, w->names.entries[at].key, items[i].value, items[i].hits);
    ks_free(items);
    return err;
}

static int name_cmp(const void *a, const void *b, void *arg)
{
    const struct worker *w = arg;
    return ks_slice_cmp(w->names.entries[*(const uint32_t *)a].key,
                        w->names.entries[*(const uint32_t *)b].key);
}

static ks_err facets_finish(struct ks_lq_stage *stage)
{
    struct describe *d = (struct describe *)stage;
    struct worker *w = &d->workers[0];
    struct table t = {
        .columns = 3,
        .names = {KS_SLICE_LIT("field_name"), KS_SLICE_LIT("field_value"), KS_SLICE_LIT("hits")}};
    for (unsigned i = 1; i < stage->x->worker_count; i++)
        KS_TRY(facets_merge(d, w, &d->workers[i]));
    ks_arena_reset(&w->scratch);
    uint32_t *order = ks_alloc_array(w->names.count + 1u, sizeof *order);
    ks_err err = order ? table_new(&t) : KS_ENOMEM;
    for (uint32_t k = 0; order && k < w->names.count; k++)
        order[k] = k;
    if (err == KS_OK)
        qsort_r(order, w->names.count, sizeof *order, name_cmp, w);
    for (uint32_t k = 0; k < w->names.count && err == KS_OK; k++)
        err = emit_field(d, w, order[k], &t);
    if (err == KS_OK)
        err = table_flush(d, &t);
    ks_free(t.values[0]);
    ks_free(order);
    return err;
}
/* A field once dropped is not read any more. */
static bool facets_wants(struct ks_lq_stage *stage, unsigned worker, struct ks_slice name)
{
    const struct worker *w = &((struct describe *)stage)->workers[worker];
    uint32_t at = ksi_keymap_find(&w->names, name, ksi_keymap_hash(name));
    return at == UINT32_MAX || !w->fields[at].dropped;
}

static const struct ks_lq_stage_ops facets_ops = {.name = "facets",
                                                  .push = facets_push,
                                                  .finish = facets_finish,
                                                  .free = describe_free,
                                                  .wants = facets_wants};

ks_err ks_lq_make_facets(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                         struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return describe_new(x, pipe, next, &facets_ops, ret);
}
