/*
 * stream_context: the rows around those that matched, in the same stream. Matches are remembered by
 * stream and time; at the end each stream is read once over the windows around them.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "query/logsql/exec_priv.h"
#include "query/logsql/filter/value.h"

enum { MAX_STREAMS = 1000 };

struct match {
    struct ks_stream_id id;
    int64_t time_ns;
};
struct context {
    struct ks_lq_stage s;
    const struct ks_lq_pipe *pipe;
    pthread_mutex_t lock;
    struct match *matches;
    size_t count, cap;
};

/* One row of a stream, in a batch that was copied. */
struct around {
    int64_t time_ns;
    const struct ks_lq_rows *rows;
    uint32_t row;
    bool wanted;
};
struct gathered {
    struct ks_arena arena;
    struct around *items;
    size_t count, cap;
    uint64_t charged;
};

static ks_err context_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct context *c = (struct context *)s;
    const struct ks_lq_col *times = ks_lq_rows_col(rows, KS_SLICE_LIT("_time"));
    const struct ks_lq_col *ids = ks_lq_rows_col(rows, KS_SLICE_LIT("_stream_id"));
    char tmp[KS_LQ_TIME_TEXT_MAX];
    ks_err err = KS_OK;
    if (!times || !ids || times->kind != KS_LQ_TIMES)
        return ks_fail(KS_EEXEC, "stream_context needs the fields _time and _stream_id");
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < rows->row_count && !err; i++) {
        struct match m = {.time_ns = times->times_ns[i]};
        if (!ks_stream_id_parse(ks_lq_col_text(ids, i, tmp), &m.id))
            continue;
        if (c->count == c->cap)
            err = ks_lq_charge(s->x, 4096 * sizeof m);
        if (!err && c->count == c->cap)
            err = ks_array_reserve((void **)&c->matches, &c->cap, c->count + 4096, sizeof m);
        if (!err)
            c->matches[c->count++] = m;
    }
    pthread_mutex_unlock(&c->lock);
    return err;
}

static int id_cmp(const struct ks_stream_id *a, const struct ks_stream_id *b)
{
    uint64_t ta = ks_tenant_key(a->tenant), tb = ks_tenant_key(b->tenant);
    if (ta != tb)
        return ta < tb ? -1 : 1;
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

static int match_cmp(const void *pa, const void *pb)
{
    const struct match *a = pa, *b = pb;
    int c = id_cmp(&a->id, &b->id);
    return c ? c : (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
}

static int around_cmp(const void *pa, const void *pb)
{
    const struct around *a = pa, *b = pb;
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    return a->rows == b->rows ? (a->row > b->row) - (a->row < b->row)
                              : ((uintptr_t)a->rows > (uintptr_t)b->rows) -
                                    ((uintptr_t)a->rows < (uintptr_t)b->rows);
}

static bool same_stream(void *arg, const struct ks_log_stream *s)
{
    return id_cmp(arg, &s->id) == 0;
}

static ks_err gather_block(struct ksi_lq_worker *w, void *scan, size_t i, struct gathered *g)
{
    static const struct ksi_lq_need all = {.all = true};
    const struct ks_lq_source *src = w->run->x.source;
    bool any;
    ks_arena_reset(&w->arena);
    w->has_stream_col = w->has_id_col = false;
    KS_TRY(src->block_open(w->block, scan, i));
    w->view.row_count = src->rows(w->block);
    uint64_t *bits = ks_arena_array(&w->arena, KS_ROW_WORDS(w->view.row_count) + 1, sizeof *bits);
    if (!bits)
        return ks_arena_err(&w->arena);
    ks_lq_bits_fill(bits, w->view.row_count);
    KS_TRY(src->select(w->block, bits, &any));
    w->view.selected = bits;
    KS_TRY(ksi_lq_cond_eval_view(w->run->extra_cond, &w->view, bits));
    if (!any || !ksi_lq_bits_any(bits, w->view.row_count))
        return KS_OK;
    struct ks_lq_rows rows, *copy = ks_arena_alloc(&g->arena, sizeof *copy);
    if (!copy)
        return ks_arena_err(&g->arena);
    KS_TRY(ksi_lq_block_rows(w, &all, bits, &rows));
    KS_TRY(ks_lq_rows_copy(&rows, &g->arena, copy));
    KS_TRY(ks_array_reserve((void **)&g->items, &g->cap, g->count + copy->row_count,
                            sizeof *g->items));
    const struct ks_lq_col *times = ks_lq_rows_col(copy, KS_SLICE_LIT("_time"));
    for (uint32_t k = 0; k < copy->row_count; k++)
        g->items[g->count++] = (struct around){times->times_ns[k], copy, k, false};
    uint64_t held = g->arena.used_bytes + g->cap * sizeof *g->items;
    KS_TRY(ks_lq_charge(&w->run->x, held - g->charged));
    g->charged = held;
    return KS_OK;
}

/* The rows around matches [0, n) of one stream. */
static ks_err gather(struct context *c, const struct match *m, size_t n, struct gathered *g)
{
    struct ksi_lq_run *run = ksi_lq_run_of(c->s.x);
    const struct ks_lq_source *src = run->x.source;
    struct ks_stream_id id = m->id;
    int64_t window = c->pipe->u.context.window_ns, off = run->x.query->options.time_offset_ns;
    struct ks_log_scan_opts opts = {.tenants = run->x.tenants,
                                    .tenant_count = run->x.tenant_count,
                                    .min_ns = m[0].time_ns - off - window,
                                    .max_ns = m[n - 1].time_ns - off + window,
                                    .stream = same_stream,
                                    .stream_arg = &id,
                                    .ctx = run->x.ctx};
    void *scan;
    struct ksi_lq_worker w;
    KS_TRY(src->scan(src->self, &opts, &scan));
    ks_err err = ksi_lq_worker_init(&w, run, 0);
    for (size_t i = 0; !err && i < src->block_count(scan); i++) {
        err = ks_lq_check(&run->x);
        if (!err)
            err = gather_block(&w, scan, i, g);
    }
    ksi_lq_worker_done(&w);
    src->scan_free(src->self, scan);
    if (g->count)
        qsort(g->items, g->count, sizeof *g->items, around_cmp);
    return err;
}

/* First row at or after t. */
static size_t lower_bound(const struct gathered *g, int64_t t)
{
    size_t lo = 0, hi = g->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (g->items[mid].time_ns < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void mark(struct context *c, const struct match *m, size_t n, struct gathered *g)
{
    int64_t window = c->pipe->u.context.window_ns;
    for (size_t i = 0, repeat = 0; i < n; i++) {
        repeat = i && m[i].time_ns == m[i - 1].time_ns ? repeat + 1 : 0;
        size_t at = lower_bound(g, m[i].time_ns) + repeat;
        if (at >= g->count)
            continue;
        uint64_t before = c->pipe->u.context.before, after = c->pipe->u.context.after;
        g->items[at].wanted = true;
        for (size_t k = at; k > 0 && before; k--, before--)
            if (m[i].time_ns - g->items[k - 1].time_ns <= window)
                g->items[k - 1].wanted = true;
        for (size_t k = at + 1; k < g->count && after; k++, after--)
            if (g->items[k].time_ns - m[i].time_ns <= window)
                g->items[k].wanted = true;
    }
}

/* A row "---" stands between rows that are no neighbours. */
static ks_err push_gap(struct context *c, const struct around *a, struct ks_arena *scratch)
{
    static const struct ks_slice dashes = {"---", 3};
    struct ks_lq_col cols[4];
    uint32_t n = 0;
    static const char *const names[] = {"_time", "_stream_id", "_stream"};
    struct ks_lq_rows one;
    KS_TRY(ks_lq_rows_slice(a->rows, a->row, 1, scratch, &one));
    for (size_t i = 0; i < 3; i++) {
        const struct ks_lq_col *col = ks_lq_rows_col(&one, ks_slice_str(names[i]));
        if (col)
            cols[n++] = *col;
    }
    cols[n++] = (struct ks_lq_col){KS_SLICE_LIT("_msg"), KS_LQ_CONST, 1, &dashes, NULL, NULL};
    struct ks_lq_rows out = {1, n, cols};
    return ks_lq_push(c->s.next, 0, &out);
}

static ks_err emit(struct context *c, struct gathered *g, bool *io_first)
{
    struct ks_arena scratch;
    ks_err err = KS_OK;
    bool gap = !*io_first;
    ks_arena_init(&scratch, KS_BUF_UNLIMITED);
    for (size_t i = 0; i < g->count && !err; i++) {
        if (!g->items[i].wanted) {
            gap = !*io_first;
            continue;
        }
        struct ks_lq_rows one;
        ks_arena_reset(&scratch);
        if (gap)
            err = push_gap(c, &g->items[i], &scratch);
        if (!err)
            err = ks_lq_rows_slice(g->items[i].rows, g->items[i].row, 1, &scratch, &one);
        if (!err)
            err = ks_lq_push(c->s.next, 0, &one);
        gap = *io_first = false;
    }
    ks_arena_done(&scratch);
    return err;
}

static ks_err context_finish(struct ks_lq_stage *s)
{
    struct context *c = (struct context *)s;
    size_t streams = 0;
    bool first = true;
    if (c->count)
        qsort(c->matches, c->count, sizeof *c->matches, match_cmp);
    for (size_t i = 0, n; i < c->count && !ks_lq_stage_done(s->next); i += n) {
        struct gathered g = {0};
        n = 1;
        while (i + n < c->count && !id_cmp(&c->matches[i].id, &c->matches[i + n].id))
            n++;
        if (++streams > MAX_STREAMS)
            return ks_fail(KS_ELIMIT, "stream_context over more than %d streams; narrow the query",
                           MAX_STREAMS);
        ks_arena_init(&g.arena, s->x->memory_max ? s->x->memory_max : KS_BUF_UNLIMITED);
        ks_err err = gather(c, &c->matches[i], n, &g);
        if (!err) {
            mark(c, &c->matches[i], n, &g);
            err = emit(c, &g, &first);
        }
        ks_lq_uncharge(s->x, g.charged);
        ks_arena_done(&g.arena);
        ks_free(g.items);
        KS_TRY(err);
    }
    return KS_OK;
}

static void context_free(struct ks_lq_stage *s)
{
    struct context *c = (struct context *)s;
    ks_free(c->matches);
    pthread_mutex_destroy(&c->lock);
    ks_free(c);
}

static const struct ks_lq_stage_ops context_ops = {
    .name = "stream_context", .push = context_push, .finish = context_finish, .free = context_free};

ks_err ks_lq_make_stream_context(struct ks_lq_exec *x, const struct ks_lq_pipe *pipe,
                                 struct ks_lq_stage *next, struct ks_lq_stage **ret)
{
    struct context *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    c->s = (struct ks_lq_stage){.ops = &context_ops, .x = x, .next = next};
    c->pipe = pipe;
    pthread_mutex_init(&c->lock, NULL);
    *ret = &c->s;
    return KS_OK;
}
