/* One block of the source seen as rows: its filter, its columns, special fields. One worker each.
 */
#include "query/logsql/exec_priv.h"

static bool hidden(const struct ksi_lq_run *run, struct ks_slice name)
{
    const struct ks_lq_fields *h = &run->req->hidden;
    for (size_t i = 0; i < h->count; i++)
        if (h->items[i].prefix ? ks_slice_has_prefix(name, h->items[i].name)
                               : ks_slice_eq(name, h->items[i].name))
            return true;
    return false;
}

static struct ksi_lq_worker *worker_of(struct ksi_lq_view *v)
{
    return v->self;
}

static ks_err view_times(struct ksi_lq_view *v, const int64_t **ret_ns)
{
    struct ksi_lq_worker *w = worker_of(v);
    return w->run->x.source->times(w->block, ret_ns);
}

static ks_err view_streams(struct ksi_lq_view *v, const struct ks_log_stream **ret,
                           size_t *ret_count, const uint32_t **ret_of_row)
{
    struct ksi_lq_worker *w = worker_of(v);
    return w->run->x.source->streams(w->block, ret, ret_count, ret_of_row);
}

static ks_err time_column(struct ksi_lq_worker *w, struct ks_lq_col *ret)
{
    const int64_t *times;
    KS_TRY(w->run->x.source->times(w->block, &times));
    int64_t off = w->run->x.query->options.time_offset_ns;
    if (off) {
        int64_t *moved = ks_arena_array(&w->arena, w->view.row_count, sizeof *moved);
        if (!moved)
            return ks_arena_err(&w->arena);
        for (uint32_t i = 0; i < w->view.row_count; i++)
            moved[i] = (int64_t)((uint64_t)times[i] + (uint64_t)off);
        times = moved;
    }
    *ret =
        (struct ks_lq_col){.name = KS_SLICE_LIT("_time"), .kind = KS_LQ_TIMES, .times_ns = times};
    return KS_OK;
}

static ks_err print_stream(struct ks_arena *arena, const struct ks_log_stream *s,
                           struct ks_slice *ret)
{
    struct ks_buf b;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_stream_print(s->tags, &b);
    *ret = ks_arena_dup(arena, ks_buf_view(&b));
    ks_buf_done(&b);
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}

/* _stream or _stream_id as a dictionary; made once per block. */
static ks_err stream_column(struct ksi_lq_worker *w, bool id, struct ks_lq_col *ret)
{
    struct ks_lq_col *c = id ? &w->id_col : &w->stream_col;
    bool *made = id ? &w->has_id_col : &w->has_stream_col;
    if (*made) {
        *ret = *c;
        return KS_OK;
    }
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    size_t count;
    KS_TRY(w->run->x.source->streams(w->block, &streams, &count, &of_row));
    struct ks_slice *values = ks_arena_array(&w->arena, count + 1, sizeof *values);
    if (!values)
        return ks_arena_err(&w->arena);
    for (size_t i = 0; i < count; i++) {
        if (!id) {
            KS_TRY(print_stream(&w->arena, &streams[i], &values[i]));
            continue;
        }
        char *text = ks_arena_alloc(&w->arena, KS_STREAM_ID_TEXT);
        if (!text)
            return ks_arena_err(&w->arena);
        ks_stream_id_print(streams[i].id, text);
        values[i] = ks_slice(text, KS_STREAM_ID_TEXT);
    }
    *c = (struct ks_lq_col){.name = id ? KS_SLICE_LIT("_stream_id") : KS_SLICE_LIT("_stream"),
                            .kind = KS_LQ_DICT,
                            .value_count = (uint32_t)count,
                            .values = values,
                            .codes = of_row};
    *made = true;
    *ret = *c;
    return KS_OK;
}

static ks_err view_column(struct ksi_lq_view *v, struct ks_slice name, const uint64_t *bits,
                          struct ks_lq_col *ret, bool *ret_found)
{
    struct ksi_lq_worker *w = worker_of(v);
    struct ks_log_column c;
    *ret_found = !hidden(w->run, name);
    if (!*ret_found)
        return KS_OK;
    if (ks_slice_is(name, "_time"))
        return time_column(w, ret);
    if (ks_slice_is(name, "_stream"))
        return stream_column(w, false, ret);
    if (ks_slice_is(name, "_stream_id"))
        return stream_column(w, true, ret);
    KS_TRY(w->run->x.source->column(w->block, name, bits, &c));
    *ret_found = c.kind != KS_COL_ABSENT;
    *ret = (struct ks_lq_col){.name = name,
                              .kind = c.kind == KS_COL_CONST  ? KS_LQ_CONST
                                      : c.kind == KS_COL_DICT ? KS_LQ_DICT
                                                              : KS_LQ_VALUES,
                              .value_count = c.value_count,
                              .values = c.values,
                              .codes = c.codes};
    return KS_OK;
}

static ks_err view_names(struct ksi_lq_view *v, const struct ks_slice **ret, size_t *ret_count)
{
    struct ksi_lq_worker *w = worker_of(v);
    return w->run->x.source->names(w->block, ret, ret_count);
}

static ks_err view_filter(struct ksi_lq_view *v, struct ks_slice name,
                          const struct ks_log_pred *pred, uint64_t *bits)
{
    struct ksi_lq_worker *w = worker_of(v);
    if (!hidden(w->run, name))
        return w->run->x.source->filter(w->block, name, pred, bits);
    if (!pred->match_empty)
        memset(bits, 0, KS_ROW_WORDS(v->row_count) * sizeof *bits);
    return KS_OK;
}

ks_err ksi_lq_worker_init(struct ksi_lq_worker *w, struct ksi_lq_run *run, unsigned number)
{
    *w = (struct ksi_lq_worker){.run = run, .number = number};
    uint64_t cap = run->x.memory_max ? run->x.memory_max : KS_BUF_UNLIMITED;
    ks_arena_init(&w->arena, cap < (64u << 20) ? 64u << 20 : cap);
    w->view = (struct ksi_lq_view){.self = w,
                                   .scratch = &w->arena,
                                   .column = view_column,
                                   .names = view_names,
                                   .filter = view_filter,
                                   .times = view_times,
                                   .streams = view_streams};
    return run->x.source->block_new(run->x.source->self, &w->block);
}

void ksi_lq_worker_done(struct ksi_lq_worker *w)
{
    if (w->block)
        w->run->x.source->block_free(w->block);
    ks_arena_done(&w->arena);
}

static bool has_value(const struct ks_lq_col *c, uint32_t rows)
{
    if (c->kind == KS_LQ_TIMES)
        return true;
    if (c->kind == KS_LQ_CONST)
        return c->values[0].len > 0;
    for (uint32_t i = 0; i < rows; i++)
        if (c->values[c->kind == KS_LQ_DICT ? c->codes[i] : i].len)
            return true;
    return false;
}

/* A block may hold rows of several streams and tenants: columns that only others have go. */
static ks_err drop_empty(struct ks_lq_rows *rows, struct ks_arena *arena)
{
    struct ks_lq_col *cols = ks_arena_array(arena, rows->col_count + 1u, sizeof *cols);
    uint32_t n = 0;
    if (!cols)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < rows->col_count; i++)
        if (has_value(&rows->cols[i], rows->row_count))
            cols[n++] = rows->cols[i];
    rows->cols = cols;
    rows->col_count = n;
    return KS_OK;
}

/* The columns of a list of names. */
static ks_err listed_cols(struct ksi_lq_worker *w, const struct ksi_lq_need *need,
                          const uint64_t *bits, struct ks_lq_rows *ret)
{
    struct ks_lq_col *cols = ks_arena_array(&w->arena, need->fields.count + 1, sizeof *cols);
    uint32_t n = 0;
    bool found;
    if (!cols)
        return ks_arena_err(&w->arena);
    for (size_t i = 0; i < need->fields.count; i++) {
        KS_TRY(view_column(&w->view, need->fields.items[i].name, bits, &cols[n], &found));
        n += found;
    }
    *ret = (struct ks_lq_rows){w->view.row_count, n, cols};
    return KS_OK;
}

static ks_err needed_cols(struct ksi_lq_worker *w, const struct ksi_lq_need *need,
                          const uint64_t *bits, struct ks_lq_rows *ret)
{
    static const char *const special[] = {"_time", "_stream", "_stream_id"};
    struct ks_lq_stage *first = w->run->stages[0];
    bool ask = need == &w->run->need && first->ops->wants;
    const struct ks_slice *names;
    size_t count;
    if (w->run->x.source->narrow)
        KS_TRY(w->run->x.source->narrow(w->block, bits));
    KS_TRY(w->run->x.source->names(w->block, &names, &count));
    struct ks_lq_col *cols = ks_arena_array(&w->arena, count + 4, sizeof *cols);
    if (!cols)
        return ks_arena_err(&w->arena);
    uint32_t n = 0;
    bool found;
    for (size_t i = 0; i < count + 3; i++) {
        struct ks_slice name = i < 3 ? ks_slice_str(special[i]) : names[i - 3];
        if (!ksi_lq_need_has(need, name) || (ask && !first->ops->wants(first, w->number, name)))
            continue;
        KS_TRY(view_column(&w->view, name, bits, &cols[n], &found));
        n += found;
    }
    *ret = (struct ks_lq_rows){w->view.row_count, n, cols};
    return KS_OK;
}

ks_err ksi_lq_block_rows(struct ksi_lq_worker *w, const struct ksi_lq_need *need,
                         const uint64_t *bits, struct ks_lq_rows *ret)
{
    struct ks_lq_rows all;
    if (need->listed)
        KS_TRY(listed_cols(w, need, bits, &all));
    else
        KS_TRY(needed_cols(w, need, bits, &all));
    KS_TRY(ks_lq_rows_compact(&all, bits, &w->arena, ret));
    return drop_empty(ret, &w->arena);
}

static uint64_t count_bits(const uint64_t *bits, uint32_t rows)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < KS_ROW_WORDS(rows); i++)
        n += (uint64_t)__builtin_popcountll(bits[i]);
    return n;
}

/* Lets the first stage drop rows by their key columns alone. */
static ks_err choose_rows(struct ksi_lq_worker *w, uint64_t *bits)
{
    struct ksi_lq_run *run = w->run;
    struct ks_lq_stage *first = run->stages[0];
    struct ks_lq_rows rows;
    KS_TRY(ksi_lq_block_rows(w, &run->choose_need, bits, &rows));
    uint64_t *dense = ks_arena_array(&w->arena, KS_ROW_WORDS(rows.row_count), sizeof *dense);
    if (!dense)
        return ks_arena_err(&w->arena);
    ks_lq_bits_fill(dense, rows.row_count);
    KS_TRY(first->ops->choose(first, w->number, &rows, dense));
    uint32_t k = 0;
    for (size_t i = 0; i < KS_ROW_WORDS(w->view.row_count); i++)
        for (uint64_t left = bits[i]; left; left &= left - 1, k++)
            if (!ks_lq_bit(dense, k))
                bits[i] &= ~(left & -left);
    return KS_OK;
}

static bool any_text(void *arg, struct ks_slice v)
{
    return v.len > 0;
}

/* Tells the first stage how many rows have each field; no column is read for it. */
static ks_err count_names(struct ksi_lq_worker *w, const uint64_t *bits)
{
    static const char *const always[] = {"_time", "_stream", "_stream_id"};
    const struct ks_log_pred pred = {.match = any_text, .not_empty = true};
    struct ks_lq_stage *first = w->run->stages[0];
    size_t words = KS_ROW_WORDS(w->view.row_count), count;
    uint64_t *has = ks_arena_array(&w->arena, words, sizeof *has);
    const struct ks_slice *names;
    if (!has)
        return ks_arena_err(&w->arena);
    if (w->run->x.source->narrow)
        KS_TRY(w->run->x.source->narrow(w->block, bits));
    KS_TRY(w->run->x.source->names(w->block, &names, &count));
    for (size_t i = 0; i < 3; i++)
        if (!hidden(w->run, ks_slice_str(always[i])))
            KS_TRY(first->ops->count_name(first, w->number, ks_slice_str(always[i]),
                                          count_bits(bits, w->view.row_count)));
    for (size_t i = 0; i < count; i++) {
        memcpy(has, bits, words * sizeof *has);
        KS_TRY(view_filter(&w->view, names[i], &pred, has));
        uint64_t rows = count_bits(has, w->view.row_count);
        if (rows)
            KS_TRY(first->ops->count_name(first, w->number, names[i], rows));
    }
    return KS_OK;
}

static ks_err push_rows(struct ksi_lq_worker *w, uint64_t *bits)
{
    struct ksi_lq_run *run = w->run;
    struct ks_lq_rows rows;
    if (run->stages[0]->ops->count_name)
        return count_names(w, bits);
    if (run->newest_early) {
        const int64_t *times;
        KS_TRY(run->x.source->times(w->block, &times));
        KS_TRY(ksi_lq_newest_prune(run->newest, times, w->view.row_count, &w->arena, bits));
    }
    if (run->chooses)
        KS_TRY(choose_rows(w, bits));
    if (!ksi_lq_bits_any(bits, w->view.row_count))
        return KS_OK;
    KS_TRY(ksi_lq_block_rows(w, &run->need, bits, &rows));
    return ks_lq_push(run->stages[0], w->number, &rows);
}

ks_err ksi_lq_scan_block(struct ksi_lq_worker *w, void *scan, size_t i)
{
    struct ksi_lq_run *run = w->run;
    const struct ks_lq_source *src = run->x.source;
    ks_arena_reset(&w->arena);
    w->has_stream_col = w->has_id_col = false;
    KS_TRY(src->block_open(w->block, scan, i));
    w->view.row_count = src->rows(w->block);
    if (!w->view.row_count)
        return KS_OK;
    size_t words = KS_ROW_WORDS(w->view.row_count);
    uint64_t *selected = ks_arena_array(&w->arena, words, sizeof *selected);
    uint64_t *bits = ks_arena_array(&w->arena, words, sizeof *bits);
    if (!selected || !bits)
        return ks_arena_err(&w->arena);
    bool any;
    ks_lq_bits_fill(selected, w->view.row_count);
    KS_TRY(src->select(w->block, selected, &any));
    if (!any)
        return KS_OK;
    uint64_t scanned = count_bits(selected, w->view.row_count), found = scanned;
    atomic_fetch_add_explicit(&run->counters->blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->counters->rows_scanned, scanned, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->counters->bytes_scanned, src->block_meta(scan, i).bytes,
                              memory_order_relaxed);
    memcpy(bits, selected, words * sizeof *bits);
    w->view.selected = selected;
    if (!ksi_lq_cond_is_all(run->cond)) {
        KS_TRY(ksi_lq_cond_eval_view(run->cond, &w->view, bits));
        found = count_bits(bits, w->view.row_count);
    }
    if (!found)
        return KS_OK;
    atomic_fetch_add_explicit(&run->counters->rows_found, found, memory_order_relaxed);
    return push_rows(w, bits);
}
