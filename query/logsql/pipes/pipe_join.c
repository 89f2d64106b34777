/*
 * join: rows of the query beside those of a subquery with equal values of some fields. The
 * subquery's rows are read once, when the stage is made, into a table by key; a row of the query
 * comes out once per match, or as it is when there is none (unless `inner`).
 */
#include "query/logsql/pipes/row_store.h"
#include "query/logsql/stats/group.h"

struct right_row {
    struct ksi_lq_ref ref;
    uint32_t next; /* the next of the same key + 1; 0 none */
};
struct collector { /* the sink of the subquery */
    struct ks_lq_stage head;
    struct ks_lq_by *by;
    size_t by_count;
    struct ksi_lq_grouper keys;
    struct ks_arena rows, scratch;
    struct right_row *items;
    uint32_t *first; /* per key: item + 1 */
    uint32_t *last;
    size_t count, cap, first_cap, last_cap;
    uint64_t charged;
};
struct join {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    struct collector right;
    struct ksi_lq_scratch *scratch; /* one per worker */
    struct ks_buf *keys;            /* per worker */
};

enum { CHARGE_STEP = 64 << 10 };

static ks_err collect_charge(struct collector *c)
{
    uint64_t bytes = c->rows.used_bytes + c->cap * sizeof *c->items +
                     ksi_lq_grouper_bytes(&c->keys) + (c->first_cap + c->last_cap) * 4;
    if (bytes < c->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(c->head.x, bytes - c->charged));
    c->charged = bytes;
    return KS_OK;
}

static ks_err collect_push(struct ks_lq_stage *stage, unsigned worker,
                           const struct ks_lq_rows *rows)
{
    struct collector *c = (struct collector *)stage;
    const struct ks_lq_rows *kept;
    const uint32_t *of_row;
    uint32_t single = 0;
    ks_arena_reset(&c->scratch);
    KS_TRY(ksi_lq_keep(rows, NULL, &c->scratch, &c->rows, &kept));
    KS_TRY(ksi_lq_group_rows(&c->keys, kept, &c->scratch, &of_row, &single));
    if (c->count + kept->row_count >= UINT32_MAX)
        return ks_fail(KS_ELIMIT, "join: too many rows in the subquery");
    size_t was = c->first_cap, keys = c->keys.keys.count;
    KS_TRY(ks_array_reserve((void **)&c->first, &c->first_cap, keys, sizeof *c->first));
    memset(c->first + was, 0, (c->first_cap - was) * sizeof *c->first);
    KS_TRY(ks_array_reserve((void **)&c->last, &c->last_cap, keys, sizeof *c->last));
    KS_TRY(ks_array_reserve((void **)&c->items, &c->cap, c->count + kept->row_count,
                            sizeof *c->items));
    for (uint32_t r = 0; r < kept->row_count; r++) {
        uint32_t key = of_row ? of_row[r] : single;
        c->items[c->count++] = (struct right_row){{kept, r}, 0};
        if (c->first[key])
            c->items[c->last[key] - 1].next = (uint32_t)c->count;
        else
            c->first[key] = (uint32_t)c->count;
        c->last[key] = (uint32_t)c->count;
    }
    return collect_charge(c);
}
static const struct ks_lq_stage_ops collect_ops = {.name = "join rows", .push = collect_push};

/* ---------------------------------------------------------------- joining */

struct matches {
    uint32_t *left;           /* row of the batch */
    struct ksi_lq_ref *right; /* rows NULL: none */
    size_t count;
};

static ks_err find_key(struct join *j, unsigned worker, const struct ksi_lq_texts *cols,
                       uint32_t row, uint32_t *ret)
{
    struct ks_buf *b = &j->keys[worker];
    struct ks_slice key;
    if (j->right.by_count == 1) {
        key = ksi_lq_text(&cols[0], row);
    } else {
        ks_buf_reset(b);
        for (size_t i = 0; i < j->right.by_count; i++)
            ks_buf_lp(b, ksi_lq_text(&cols[i], row));
        KS_TRY(ks_buf_status(b));
        key = ks_buf_view(b);
    }
    *ret = ksi_keymap_find(&j->right.keys.keys, key, ksi_keymap_hash(key));
    return KS_OK;
}

static ks_err add_match(struct ks_arena *arena, struct matches *m, size_t *cap, size_t *cap2,
                        uint32_t left, struct ksi_lq_ref right)
{
    if (m->count >= UINT32_MAX / 2)
        return ks_fail(KS_ELIMIT, "join: too many rows");
    KS_TRY(ks_arena_grow(arena, (void **)&m->left, cap, m->count + 1, sizeof *m->left));
    KS_TRY(ks_arena_grow(arena, (void **)&m->right, cap2, m->count + 1, sizeof *m->right));
    m->left[m->count] = left;
    m->right[m->count++] = right;
    return KS_OK;
}

static ks_err find_matches(struct join *j, unsigned worker, const struct ks_lq_rows *rows,
                           struct matches *m)
{
    struct ks_arena *arena = &j->scratch[worker].arena;
    struct ksi_lq_texts *cols = ks_arena_array(arena, j->right.by_count + 1, sizeof *cols);
    size_t cap = 0, cap2 = 0;
    static const struct ks_lq_rows nothing = {1, 0, NULL};
    if (!cols)
        return ks_arena_err(arena);
    for (size_t i = 0; i < j->right.by_count; i++)
        KS_TRY(ksi_lq_texts_named(rows, j->right.by[i].name, arena, &cols[i]));
    for (uint32_t r = 0; r < rows->row_count; r++) {
        uint32_t key;
        KS_TRY(find_key(j, worker, cols, r, &key));
        if (key == UINT32_MAX) {
            if (!j->pipe->u.join.inner)
                KS_TRY(add_match(arena, m, &cap, &cap2, r, (struct ksi_lq_ref){&nothing, 0}));
            continue;
        }
        for (uint32_t at = j->right.first[key]; at; at = j->right.items[at - 1].next)
            KS_TRY(add_match(arena, m, &cap, &cap2, r, j->right.items[at - 1].ref));
    }
    return KS_OK;
}

/* The batch's columns along m->left, dictionary by dictionary. */
static ks_err left_columns(struct ks_arena *arena, const struct ks_lq_rows *rows,
                           const struct matches *m, struct ksi_lq_edit *e)
{
    for (uint32_t k = 0; k < rows->col_count; k++) {
        struct ksi_lq_texts t;
        struct ks_lq_col col = {.name = rows->cols[k].name, .kind = KS_LQ_CONST};
        KS_TRY(ksi_lq_texts(&rows->cols[k], rows->row_count, arena, &t));
        col.values = t.values;
        col.value_count = t.count;
        if (!t.constant) {
            uint32_t *codes = ks_arena_array(arena, m->count, sizeof *codes);
            if (!codes)
                return ks_arena_err(arena);
            for (size_t i = 0; i < m->count; i++)
                codes[i] = ksi_lq_text_at(&t, m->left[i]);
            col.kind = KS_LQ_DICT;
            col.codes = codes;
        }
        KS_TRY(ksi_lq_edit_put(e, &col));
    }
    return KS_OK;
}

static bool is_key(const struct join *j, struct ks_slice name)
{
    for (size_t i = 0; i < j->right.by_count; i++)
        if (ks_slice_eq(j->right.by[i].name, name))
            return true;
    return false;
}

/* The subquery's columns but the keys, under the prefix; an empty value leaves what there is. */
static ks_err right_columns(struct join *j, struct ks_arena *arena, const struct matches *m,
                            struct ksi_lq_edit *e)
{
    const struct ks_slice prefix = j->pipe->u.join.prefix;
    struct ksi_lq_edit right;
    struct ks_lq_rows none = {(uint32_t)m->count, 0, NULL};
    KS_TRY(ksi_lq_edit_begin(&right, arena, &none));
    KS_TRY(ksi_lq_gather(m->right, sizeof *m->right, (uint32_t)m->count, &right));
    for (uint32_t k = 0; k < right.count; k++) {
        struct ks_slice name = right.cols[k].name;
        struct ksi_lq_texts t;
        if (is_key(j, name))
            continue;
        if (prefix.len) {
            name = ks_arena_printf(arena, "%.*s%.*s", KS_SLICE_ARG(prefix), KS_SLICE_ARG(name));
            if (!name.ptr)
                return ks_arena_err(arena);
        }
        KS_TRY(ksi_lq_texts(&right.cols[k], (uint32_t)m->count, arena, &t));
        KS_TRY(ksi_lq_edit_set(e, name, &t, (struct ksi_lq_how){.skip_empty = true}));
    }
    return KS_OK;
}

static ks_err join_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct join *j = (struct join *)stage;
    struct ks_arena *arena = &j->scratch[worker].arena;
    struct matches m = {.count = 0};
    struct ksi_lq_edit e;
    KS_TRY(ksi_lq_scratch_begin(&j->scratch[worker], stage->x));
    KS_TRY(find_matches(j, worker, rows, &m));
    if (!m.count)
        return KS_OK;
    struct ks_lq_rows none = {(uint32_t)m.count, 0, NULL};
    KS_TRY(ksi_lq_edit_begin(&e, arena, &none));
    KS_TRY(left_columns(arena, rows, &m, &e));
    KS_TRY(right_columns(j, arena, &m, &e));
    struct ks_lq_rows out = ksi_lq_edit_rows(&e);
    return ksi_lq_scratch_push(&j->scratch[worker], stage, worker, &out);
}

static void join_free(struct ks_lq_stage *stage)
{
    struct join *j = (struct join *)stage;
    for (unsigned i = 0; i < stage->x->worker_count; i++) {
        if (j->scratch)
            ksi_lq_scratch_done(&j->scratch[i]);
        if (j->keys)
            ks_buf_done(&j->keys[i]);
    }
    ks_free(j->scratch);
    ks_free(j->keys);
    ksi_lq_grouper_done(&j->right.keys);
    ks_arena_done(&j->right.rows);
    ks_arena_done(&j->right.scratch);
    ks_free(j->right.items);
    ks_free(j->right.first);
    ks_free(j->right.last);
    ks_lq_uncharge(stage->x, j->right.charged);
    ks_free(j);
}
static const struct ks_lq_stage_ops join_ops = {
    .name = "join", .push = join_push, .free = join_free, .row_local = true};

static ks_err join_init(struct join *j)
{
    struct ks_lq_exec *x = j->head.x;
    struct collector *c = &j->right;
    j->scratch = ks_zalloc_array(x->worker_count, sizeof *j->scratch);
    j->keys = ks_zalloc_array(x->worker_count, sizeof *j->keys);
    if (!j->scratch || !j->keys)
        return KS_ENOMEM;
    for (unsigned i = 0; i < x->worker_count; i++) {
        ksi_lq_scratch_init(&j->scratch[i]);
        ks_buf_init(&j->keys[i], KS_BUF_UNLIMITED);
    }
    KS_TRY(ksi_lq_by_names(x, &j->pipe->u.join.by, &c->by));
    c->keys.by = c->by;
    if (j->pipe->u.join.sub)
        return ks_lq_exec_sub(x, j->pipe->u.join.sub, &c->head);
    struct ks_lq_rows rows;
    if (!j->pipe->u.join.rows.count)
        return KS_OK;
    KS_TRY(ksi_lq_literal_rows(&j->pipe->u.join.rows, x->arena, &rows));
    return collect_push(&c->head, 0, &rows);
}

ks_err ks_lq_make_join(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct join *j = ks_zalloc(sizeof *j);
    if (!j)
        return KS_ENOMEM;
    j->head.ops = &join_ops;
    j->head.x = x;
    j->head.next = next;
    j->pipe = pipe;
    j->right.head.ops = &collect_ops;
    j->right.head.x = x;
    j->right.by_count = pipe->u.join.by.count;
    ksi_lq_grouper_init(&j->right.keys, NULL, j->right.by_count);
    ks_arena_init(&j->right.rows, KS_BUF_UNLIMITED);
    ks_arena_init(&j->right.scratch, KSI_LQ_SCRATCH_MAX);
    ks_err err = join_init(j);
    if (err != KS_OK) {
        join_free(&j->head);
        return err;
    }
    *ret = &j->head;
    return KS_OK;
}
