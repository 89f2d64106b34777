/*
 * sort, first, last: whole rows in order, per partition, cut by offset and limit.
 *
 * Workers keep copies of batches and items that point into them. With a limit of k only rows that
 * may still be among the first k of their partition are kept: when twice as many have come together
 * they are sorted and cut, and the last one left is the bar for those to come. Memory is charged as
 * it grows; a sort without limit ends with the query's memory error.
 */
#include <stdlib.h>

#include "base/num.h"
#include "query/logsql/pipes/row_store.h"
#include "query/logsql/stats/group.h"

struct item {
    struct ksi_lq_ref ref; /* first: gather walks over it */
    const struct ks_lq_key *keys;
    uint32_t part;
};
struct worker {
    struct ksi_lq_grouper parts;
    struct ks_arena rows, scratch;
    struct item *items;
    size_t count, cap;
    const struct ks_lq_key **bars; /* per partition: keys of the k-th row, NULL none yet */
    size_t bars_cap;
    uint64_t charged;
};
struct sort {
    struct ks_lq_stage head;
    const struct ks_lq_pipe *pipe;
    struct ks_lq_by *part_by;
    bool reverse;
    uint64_t keep; /* rows per partition: offset + limit; UINT64_MAX all */
    struct worker *workers;
};

enum { CHARGE_STEP = 64 << 10, OUT_ROWS = 1024, SLACK = 256, CHOOSE_MAX = 16 << 10 };

/* ---------------------------------------------------------------- comparing */

/* Rows without sort keys: name by name, value by value (keys[0].text: lp name, lp value, …). */
static int whole_row_cmp(struct ks_slice a, struct ks_slice b)
{
    struct ks_reader x = ks_reader(a), y = ks_reader(b);
    while (ks_reader_left(&x) && ks_reader_left(&y)) {
        int c = ks_slice_cmp(ks_read_lp(&x), ks_read_lp(&y));
        if (c)
            return c;
        c = ks_lq_compare(ks_read_lp(&x), ks_read_lp(&y));
        if (c)
            return c;
    }
    return (ks_reader_left(&x) > 0) - (ks_reader_left(&y) > 0);
}

static int keys_cmp(const struct sort *s, const struct ks_lq_key *a, const struct ks_lq_key *b)
{
    const struct ks_lq_sort_keys *by = &s->pipe->u.sort.by;
    int c = 0;
    if (!by->count)
        c = whole_row_cmp(a[0].text, b[0].text);
    for (size_t i = 0; i < by->count && !c; i++) {
        c = ks_lq_key_cmp(&a[i], &b[i]);
        c = by->items[i].desc ? -c : c;
    }
    return s->reverse ? -c : c;
}

static int item_cmp(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return keys_cmp(arg, x->keys, y->keys);
}

/* ---------------------------------------------------------------- keys */

struct keyed { /* a sort column of one batch */
    struct ksi_lq_texts texts;
    struct ks_lq_key *keys; /* per distinct value */
    const int64_t *times_ns;
};

static ks_err keyed_column(const struct ks_lq_rows *rows, struct ks_slice name,
                           struct ks_arena *arena, struct keyed *ret)
{
    const struct ks_lq_col *col = ks_lq_rows_col(rows, name);
    *ret = (struct keyed){.times_ns = NULL};
    if (col && col->kind == KS_LQ_TIMES) {
        ret->times_ns = col->times_ns;
        return KS_OK;
    }
    KS_TRY(ksi_lq_texts(col, rows->row_count, arena, &ret->texts));
    ret->keys = ks_arena_array(arena, ret->texts.count, sizeof *ret->keys);
    if (!ret->keys)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < ret->texts.count; i++)
        ret->keys[i] = ks_lq_key(ret->texts.values[i]);
    return KS_OK;
}

static struct ks_lq_key key_at(const struct keyed *k, uint32_t row)
{
    if (!k->times_ns)
        return k->keys[ksi_lq_text_at(&k->texts, row)];
    /* Among times only the number is looked at; beside other texts a time counts as "2…". */
    return (struct ks_lq_key){.text = {"2", 1}, .i = k->times_ns[row], .flags = KS_LQ_KEY_TIME};
}

/* The text that stands for a row when there are no keys. */
static ks_err whole_row_key(const struct ks_lq_rows *rows, uint32_t row, struct ks_arena *arena,
                            struct ks_slice *ret)
{
    struct ks_buf b;
    char tmp[KS_LQ_TIME_TEXT_MAX];
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint32_t k = 0; k < rows->col_count; k++) {
        struct ks_slice v = ks_lq_col_text(&rows->cols[k], row, tmp);
        if (!v.len)
            continue;
        ks_buf_lp(&b, rows->cols[k].name);
        ks_buf_lp(&b, v);
    }
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK)
        err = ksi_lq_take(arena, ks_buf_view(&b), ret);
    ks_buf_done(&b);
    return err;
}

struct batch_keys {
    const struct ks_lq_rows *rows;
    struct keyed *cols;
    size_t width; /* keys per row, at least 1 */
};

static ks_err batch_keys(const struct sort *s, const struct ks_lq_rows *rows,
                         struct ks_arena *arena, struct batch_keys *ret)
{
    const struct ks_lq_sort_keys *by = &s->pipe->u.sort.by;
    ret->rows = rows;
    ret->width = by->count ? by->count : 1;
    ret->cols = ks_arena_array(arena, ret->width, sizeof *ret->cols);
    if (!ret->cols)
        return ks_arena_err(arena);
    for (size_t i = 0; i < by->count; i++)
        KS_TRY(keyed_column(rows, by->items[i].name, arena, &ret->cols[i]));
    return KS_OK;
}

static ks_err row_keys(const struct sort *s, const struct batch_keys *b, uint32_t row,
                       struct ks_arena *arena, struct ks_lq_key *out)
{
    if (!s->pipe->u.sort.by.count) {
        out[0] = (struct ks_lq_key){.flags = 0};
        return whole_row_key(b->rows, row, arena, &out[0].text);
    }
    for (size_t i = 0; i < b->width; i++)
        out[i] = key_at(&b->cols[i], row);
    return KS_OK;
}

/* ---------------------------------------------------------------- keeping */

static ks_err charge(struct sort *s, struct worker *w)
{
    uint64_t bytes =
        w->rows.used_bytes + w->cap * sizeof *w->items + ksi_lq_grouper_bytes(&w->parts);
    if (bytes + CHARGE_STEP < w->charged) {
        ks_lq_uncharge(s->head.x, w->charged - bytes);
        w->charged = bytes;
    }
    if (bytes < w->charged + CHARGE_STEP)
        return KS_OK;
    KS_TRY(ks_lq_charge(s->head.x, bytes - w->charged));
    w->charged = bytes;
    return KS_OK;
}

static ks_err grow_bars(struct worker *w)
{
    size_t was = w->bars_cap, need = w->parts.keys.count;
    if (need <= was)
        return KS_OK;
    KS_TRY(ks_array_reserve((void **)&w->bars, &w->bars_cap, need, sizeof *w->bars));
    memset(w->bars + was, 0, (w->bars_cap - was) * sizeof *w->bars);
    return KS_OK;
}

/* Copies the batch's rows of `bits` and adds an item for each. */
static ks_err add_rows(struct sort *s, struct worker *w, const struct ks_lq_rows *rows,
                       const uint64_t *bits, const uint32_t *part_of, uint32_t single)
{
    const struct ks_lq_rows *kept;
    struct batch_keys b;
    KS_TRY(ksi_lq_keep(rows, bits, &w->scratch, &w->rows, &kept));
    KS_TRY(batch_keys(s, kept, &w->scratch, &b));
    struct ks_lq_key *keys = ks_arena_array(&w->rows, kept->row_count * b.width, sizeof *keys);
    if (!keys)
        return ks_arena_err(&w->rows);
    KS_TRY(ks_array_reserve((void **)&w->items, &w->cap, w->count + kept->row_count,
                            sizeof *w->items));
    uint32_t k = 0;
    for (uint32_t r = 0; r < rows->row_count; r++) {
        if (bits && !ks_lq_bit(bits, r))
            continue;
        KS_TRY(row_keys(s, &b, k, &w->rows, keys));
        w->items[w->count++] = (struct item){{kept, k}, keys, part_of ? part_of[r] : single};
        keys += b.width;
        k++;
    }
    return KS_OK;
}

/* Sorts and drops what cannot be among the first `keep` of its partition. */
static void cut(const struct sort *s, struct worker *w)
{
    size_t n = 0;
    uint64_t in_part = 0;
    if (!w->count)
        return;
    qsort_r(w->items, w->count, sizeof *w->items, item_cmp, (void *)s);
    for (size_t i = 0; i < w->count; i++) {
        in_part = i && w->items[i].part == w->items[i - 1].part ? in_part + 1 : 0;
        if (in_part < s->keep)
            w->items[n++] = w->items[i];
    }
    w->count = n;
}

static int by_rows(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->ref.rows != y->ref.rows)
        return (uintptr_t)x->ref.rows < (uintptr_t)y->ref.rows ? -1 : 1;
    return (x->ref.row > y->ref.row) - (x->ref.row < y->ref.row);
}

/* Moves the rows that are left into a fresh arena: the copies of those cut are freed. */
static ks_err repack(struct sort *s, struct worker *w)
{
    struct item *old = w->items;
    size_t count = w->count;
    struct ks_arena old_rows = w->rows;
    ks_err err = KS_OK;
    qsort(old, count, sizeof *old, by_rows);
    w->items = NULL;
    w->count = w->cap = 0;
    ks_arena_init(&w->rows, KS_BUF_UNLIMITED);
    for (size_t i = 0; i < count && err == KS_OK;) {
        const struct ks_lq_rows *rows = old[i].ref.rows;
        uint64_t *bits = ks_arena_zalloc(&w->scratch, KS_ROW_WORDS(rows->row_count) * 8);
        uint32_t *part_of = ks_arena_array(&w->scratch, rows->row_count, sizeof *part_of);
        if (!bits || !part_of) {
            err = ks_arena_err(&w->scratch);
            break;
        }
        for (; i < count && old[i].ref.rows == rows; i++) {
            bits[old[i].ref.row / 64] |= 1ull << old[i].ref.row % 64;
            part_of[old[i].ref.row] = old[i].part;
        }
        err = add_rows(s, w, rows, bits, part_of, 0);
    }
    ks_free(old);
    ks_arena_done(&old_rows);
    return err;
}

static void set_bars(struct sort *s, struct worker *w)
{
    uint64_t in_part = 0;
    qsort_r(w->items, w->count, sizeof *w->items, item_cmp, s);
    memset(w->bars, 0, w->bars_cap * sizeof *w->bars);
    for (size_t i = 0; i < w->count; i++) {
        in_part = i && w->items[i].part == w->items[i - 1].part ? in_part + 1 : 1;
        if (in_part == s->keep)
            w->bars[w->items[i].part] = w->items[i].keys;
    }
}

/* The rows of a batch that get over the bar; *ret NULL: all. *ret_any: is there one. */
static ks_err over_bar(struct sort *s, struct worker *w, const struct ks_lq_rows *rows,
                       const uint32_t *part_of, uint32_t single, const uint64_t **ret,
                       bool *ret_any)
{
    struct batch_keys b;
    *ret = NULL;
    *ret_any = true;
    if (s->keep == UINT64_MAX)
        return KS_OK;
    KS_TRY(batch_keys(s, rows, &w->scratch, &b));
    uint64_t *bits = ks_arena_zalloc(&w->scratch, KS_ROW_WORDS(rows->row_count) * sizeof *bits);
    struct ks_lq_key *keys = ks_arena_array(&w->scratch, b.width, sizeof *keys);
    if (!bits || !keys)
        return ks_arena_err(&w->scratch);
    *ret_any = false;
    for (uint32_t r = 0; r < rows->row_count; r++) {
        const struct ks_lq_key *bar = w->bars[part_of ? part_of[r] : single];
        if (bar) {
            KS_TRY(row_keys(s, &b, r, &w->scratch, keys));
            if (keys_cmp(s, keys, bar) >= 0)
                continue;
        }
        bits[r / 64] |= 1ull << r % 64;
        *ret_any = true;
    }
    *ret = bits;
    return KS_OK;
}

static ks_err sort_push(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows)
{
    struct sort *s = (struct sort *)stage;
    struct worker *w = &s->workers[worker];
    const uint32_t *part_of;
    uint32_t single = 0;
    const uint64_t *bits;
    bool any;
    ks_arena_reset(&w->scratch);
    KS_TRY(ksi_lq_group_rows(&w->parts, rows, &w->scratch, &part_of, &single));
    KS_TRY(grow_bars(w));
    KS_TRY(over_bar(s, w, rows, part_of, single, &bits, &any));
    if (!any)
        return KS_OK;
    KS_TRY(add_rows(s, w, rows, bits, part_of, single));
    uint64_t most = s->keep == UINT64_MAX ? UINT64_MAX : s->keep * w->parts.keys.count;
    if (most < UINT32_MAX && w->count > 2 * most + SLACK) {
        cut(s, w);
        KS_TRY(repack(s, w));
        set_bars(s, w);
    }
    return charge(s, w);
}

/* ---------------------------------------------------------------- choosing early */

static bool sort_choose_by(struct ks_lq_stage *stage, struct ks_arena *arena,
                           struct ks_lq_names *ret)
{
    const struct sort *s = (struct sort *)stage;
    const struct ks_lq_sort_keys *by = &s->pipe->u.sort.by;
    const struct ks_lq_names *parts = &s->pipe->u.sort.partition_by;
    if (s->keep > CHOOSE_MAX || !by->count)
        return false;
    ret->items = ks_arena_array(arena, by->count + parts->count, sizeof *ret->items);
    if (!ret->items)
        return false;
    for (size_t i = 0; i < by->count; i++)
        ret->items[ret->count++] = by->items[i].name;
    for (size_t i = 0; i < parts->count; i++)
        ret->items[ret->count++] = parts->items[i];
    return true;
}

/* The `keep` least of some numbers: a heap with the greatest of them on top. */
static void least_add(int64_t *heap, uint64_t *count, uint64_t keep, int64_t v)
{
    size_t at;
    if (*count < keep) {
        for (at = (*count)++; at && heap[(at - 1) / 2] < v; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
        heap[at] = v;
        return;
    }
    if (v >= heap[0])
        return;
    for (at = 0;;) {
        size_t kid = 2 * at + 1;
        if (kid >= keep)
            break;
        kid += kid + 1 < keep && heap[kid + 1] > heap[kid];
        if (heap[kid] <= v)
            break;
        heap[at] = heap[kid];
        at = kid;
    }
    heap[at] = v;
}

/* By one column of times, without partitions: rows beyond the k-th of the batch go, too. */
static ks_err choose_times(struct sort *s, struct worker *w, const int64_t *times, uint32_t rows,
                           uint64_t *bits)
{
    int64_t flip =
        s->pipe->u.sort.by.items[0].desc != s->reverse ? -1 : 0; /* x ^ -1: order turned */
    int64_t *heap = ks_arena_array(&w->scratch, s->keep, sizeof *heap), bar = INT64_MAX;
    const struct ks_lq_key *last = w->bars_cap ? w->bars[0] : NULL;
    uint64_t count = 0;
    if (!heap)
        return ks_arena_err(&w->scratch);
    if (last && last->flags & KS_LQ_KEY_TIME)
        bar = last->i ^ flip;
    for (uint32_t r = 0; r < rows; r++)
        if ((times[r] ^ flip) < bar)
            least_add(heap, &count, s->keep, times[r] ^ flip);
    int64_t kth = count == s->keep ? heap[0] : INT64_MAX;
    for (uint32_t r = 0; r < rows; r++)
        if ((times[r] ^ flip) > kth || ((times[r] ^ flip) >= bar && bar != INT64_MAX))
            bits[r / 64] &= ~(1ull << r % 64);
    return KS_OK;
}

static ks_err sort_choose(struct ks_lq_stage *stage, unsigned worker, const struct ks_lq_rows *rows,
                          uint64_t *bits)
{
    struct sort *s = (struct sort *)stage;
    struct worker *w = &s->workers[worker];
    const struct ks_lq_sort_keys *by = &s->pipe->u.sort.by;
    const uint32_t *part_of;
    const uint64_t *over;
    uint32_t single = 0;
    bool any;
    ks_arena_reset(&w->scratch);
    const struct ks_lq_col *col = ks_lq_rows_col(rows, by->items[0].name);
    if (by->count == 1 && col && col->kind == KS_LQ_TIMES && !s->pipe->u.sort.partition_by.count)
        return choose_times(s, w, col->times_ns, rows->row_count, bits);
    KS_TRY(ksi_lq_group_rows(&w->parts, rows, &w->scratch, &part_of, &single));
    KS_TRY(grow_bars(w));
    KS_TRY(over_bar(s, w, rows, part_of, single, &over, &any));
    for (size_t i = 0; over && i < KS_ROW_WORDS(rows->row_count); i++)
        bits[i] &= over[i];
    return KS_OK;
}

static bool sort_time_bar(struct ks_lq_stage *stage, unsigned worker, bool *ret_oldest,
                          int64_t *ret_ns)
{
    const struct sort *s = (struct sort *)stage;
    const struct worker *w = &s->workers[worker];
    const struct ks_lq_sort_keys *by = &s->pipe->u.sort.by;
    *ret_oldest = false;
    if (!by->count || !ks_slice_is(by->items[0].name, "_time") ||
        s->pipe->u.sort.partition_by.count)
        return false;
    *ret_oldest = by->items[0].desc == s->reverse;
    if (!w->bars_cap || !w->bars[0] || !(w->bars[0]->flags & KS_LQ_KEY_TIME))
        return false;
    *ret_ns = w->bars[0]->i;
    return true;
}

/* ---------------------------------------------------------------- handing on */

static ks_err emit(struct sort *s, struct ks_arena *arena, const struct item *items,
                   const uint64_t *ranks, uint32_t count)
{
    const struct ks_slice rank = s->pipe->u.sort.rank;
    struct ksi_lq_edit e;
    struct ks_lq_rows none = {count, 0, NULL};
    ks_arena_reset(arena);
    KS_TRY(ksi_lq_edit_begin(&e, arena, &none));
    if (rank.len) {
        struct ks_slice *values = ks_arena_array(arena, count, sizeof *values);
        char *text = ks_arena_array(arena, count, 20);
        if (!values || !text)
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < count; i++, text += 20)
            values[i] = ks_slice(text, ks_u64_format(text, ranks[i]));
        struct ks_lq_col col = {
            .name = rank, .kind = KS_LQ_VALUES, .value_count = count, .values = values};
        KS_TRY(ksi_lq_edit_put(&e, &col));
    }
    struct ks_lq_col ranked = e.count ? e.cols[0] : (struct ks_lq_col){.name = rank};
    KS_TRY(ksi_lq_gather(&items[0].ref, sizeof *items, count, &e));
    if (rank.len) /* over a column of that name in the rows */
        KS_TRY(ksi_lq_edit_put(&e, &ranked));
    struct ks_lq_rows out = ksi_lq_edit_rows(&e);
    return ks_lq_push(s->head.next, 0, &out);
}

/* All workers' items into the first one's, under its partition numbers. */
static ks_err collect(struct sort *s, struct worker *w)
{
    for (unsigned i = 1; i < s->head.x->worker_count; i++) {
        struct worker *from = &s->workers[i];
        uint32_t *map = ks_alloc_array(from->parts.keys.count + 1u, sizeof *map);
        ks_err err = map ? KS_OK : KS_ENOMEM;
        bool fresh;
        for (uint32_t p = 0; p < from->parts.keys.count && err == KS_OK; p++)
            err = ksi_lq_group_import(&w->parts, &from->parts, p, &map[p], &fresh);
        if (err == KS_OK)
            err = ks_array_reserve((void **)&w->items, &w->cap, w->count + from->count,
                                   sizeof *w->items);
        for (size_t k = 0; k < from->count && err == KS_OK; k++) {
            w->items[w->count] = from->items[k];
            w->items[w->count++].part = map[from->items[k].part];
        }
        ks_free(map);
        KS_TRY(err);
        KS_TRY(charge(s, w));
    }
    cut(s, w);
    return KS_OK;
}

static ks_err sort_finish(struct ks_lq_stage *stage)
{
    struct sort *s = (struct sort *)stage;
    struct worker *w = &s->workers[0];
    uint64_t ranks[OUT_ROWS], in_part = 0, offset = s->pipe->u.sort.offset;
    struct item *out;
    uint32_t n = 0;
    KS_TRY(collect(s, w));
    out = ks_alloc_array(OUT_ROWS, sizeof *out);
    if (!out)
        return KS_ENOMEM;
    ks_err err = KS_OK;
    for (size_t i = 0; i < w->count && err == KS_OK && !ks_lq_stage_done(stage->next); i++) {
        in_part = i && w->items[i].part == w->items[i - 1].part ? in_part + 1 : 1;
        if (in_part <= offset)
            continue;
        out[n] = w->items[i];
        ranks[n++] = in_part;
        if (n == OUT_ROWS) {
            err = ks_lq_check(stage->x);
            if (err == KS_OK)
                err = emit(s, &w->scratch, out, ranks, n);
            n = 0;
        }
    }
    if (err == KS_OK && n)
        err = emit(s, &w->scratch, out, ranks, n);
    ks_free(out);
    return err;
}

static void sort_free(struct ks_lq_stage *stage)
{
    struct sort *s = (struct sort *)stage;
    for (unsigned i = 0; s->workers && i < stage->x->worker_count; i++) {
        struct worker *w = &s->workers[i];
        ksi_lq_grouper_done(&w->parts);
        ks_arena_done(&w->rows);
        ks_arena_done(&w->scratch);
        ks_free(w->items);
        ks_free(w->bars);
        ks_lq_uncharge(stage->x, w->charged);
    }
    ks_free(s->workers);
    ks_free(s);
}

static const struct ks_lq_stage_ops sort_ops = {.name = "sort",
                                                .push = sort_push,
                                                .finish = sort_finish,
                                                .free = sort_free,
                                                .choose_by = sort_choose_by,
                                                .choose = sort_choose,
                                                .time_bar = sort_time_bar};

ks_err ks_lq_make_sort(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct sort *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->head.ops = &sort_ops;
    s->head.x = x;
    s->head.next = next;
    s->pipe = pipe;
    s->reverse = pipe->kind == KS_LQ_P_LAST || (pipe->kind == KS_LQ_P_SORT && pipe->u.sort.desc);
    s->keep = pipe->u.sort.limit ? pipe->u.sort.limit : UINT64_MAX;
    if (__builtin_add_overflow(s->keep, pipe->u.sort.offset, &s->keep))
        s->keep = UINT64_MAX;
    ks_err err = ksi_lq_by_names(x, &pipe->u.sort.partition_by, &s->part_by);
    s->workers = err == KS_OK ? ks_zalloc_array(x->worker_count, sizeof *s->workers) : NULL;
    if (!s->workers) {
        ks_free(s);
        return err == KS_OK ? KS_ENOMEM : err;
    }
    for (unsigned i = 0; i < x->worker_count; i++) {
        ksi_lq_grouper_init(&s->workers[i].parts, s->part_by, pipe->u.sort.partition_by.count);
        ks_arena_init(&s->workers[i].rows, KS_BUF_UNLIMITED);
        ks_arena_init(&s->workers[i].scratch, KSI_LQ_SCRATCH_MAX);
    }
    *ret = &s->head;
    return KS_OK;
}

ks_err ks_lq_make_first(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                        struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return ks_lq_make_sort(x, pipe, next, ret);
}
ks_err ks_lq_make_last(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                       struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    return ks_lq_make_sort(x, pipe, next, ret);
}
