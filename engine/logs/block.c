/* A block of a scan, in memory or of a part, behind one face. */
#include <string.h>

#include "base/mem.h"
#include "engine/logs/logs_priv.h"

struct ks_log_block {
    struct ks_log_scan *scan;
    const struct ksi_scan_block *at;
    uint32_t rows;
    bool
        opened; /* mem or disk holds it: by the first question that needs more than its row count */
    struct ksi_mem_block mem;
    struct ks_lblock *disk;
    struct ksi_lpart_view *view; /* of the part; NULL: in memory */
    struct ks_arena arena;       /* of the open block */
    struct ks_log_stream *streams;
    uint32_t *of_row;
};

enum { ARENA_MAX = 256 << 20 };

ks_err ks_log_block_new(struct ks_log_block **ret)
{
    struct ks_log_block *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    ks_err err = ks_lblock_new(&b->disk);
    if (err != KS_OK) {
        ks_free(b);
        return err;
    }
    ksi_mem_block_init(&b->mem);
    ks_arena_init(&b->arena, ARENA_MAX);
    *ret = b;
    return KS_OK;
}

void ks_log_block_free(struct ks_log_block *b)
{
    if (!b)
        return;
    ksi_mem_block_done(&b->mem);
    ks_lblock_free(b->disk);
    ks_arena_done(&b->arena);
    ks_free(b);
}

/* Damage met while reading has the part examined. */
static ks_err note(struct ks_log_block *b, ks_err err)
{
    if (err == KS_ECORRUPT && b->view)
        atomic_store(&b->view->part->suspect, true);
    return err;
}

ks_err ks_log_block_open(struct ks_log_block *b, struct ks_log_scan *scan, size_t i)
{
    KS_ASSERT(i < scan->block_count);
    KS_TRY(ks_read_ctx_check(scan->opts.ctx));
    ks_arena_reset(&b->arena);
    b->scan = scan;
    b->at = &scan->blocks[i];
    b->rows = b->at->rows;
    b->streams = NULL;
    b->of_row = NULL;
    b->opened = false;
    b->view = b->at->part == KSI_NO_PART ? NULL : &scan->list->views[b->at->part];
    return KS_OK;
}

static ks_err need_open(struct ks_log_block *b)
{
    if (KS_LIKELY(b->opened))
        return KS_OK;
    if (b->view)
        KS_TRY(note(b, ks_lblock_open(b->disk, b->view->part->p, b->at->index)));
    else
        KS_TRY(ksi_mem_block_open(&b->mem, &b->scan->views[b->at->index]));
    b->opened = true;
    return KS_OK;
}

uint32_t ks_log_block_rows(const struct ks_log_block *b)
{
    return b->rows;
}

/* Clears rows [from, to). */
static void clear_range(uint64_t *bits, uint32_t from, uint32_t to)
{
    for (; from < to && from % 64; from++)
        bits[from / 64] &= ~(1ull << from % 64);
    for (; from + 64 <= to; from += 64)
        bits[from / 64] = 0;
    for (; from < to; from++)
        bits[from / 64] &= ~(1ull << from % 64);
}

static ks_err select_times(struct ks_log_block *b, uint64_t *bits)
{
    const struct ks_log_scan_opts *o = &b->scan->opts;
    const int64_t *times;
    if (b->at->min_ns >= o->min_ns && b->at->max_ns <= o->max_ns)
        return KS_OK;
    KS_TRY(ks_log_block_times(b, &times));
    for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++) {
        uint32_t n = b->rows - (uint32_t)w * 64;
        uint64_t in = 0;
        for (uint32_t i = 0; i < (n < 64 ? n : 64); i++)
            in |= (uint64_t)(times[w * 64 + i] >= o->min_ns && times[w * 64 + i] <= o->max_ns) << i;
        bits[w] &= in;
    }
    return KS_OK;
}

/* Rows [from, to) are one stream's. */
static ks_err select_run(struct ks_log_block *b, const struct ks_log_stream *stream, uint32_t from,
                         uint32_t to, uint64_t *bits)
{
    struct ksi_verdict v;
    const int64_t *times;
    KS_TRY(ksi_scan_judge(b->scan, stream, &v));
    if (!v.allowed)
        clear_range(bits, from, to);
    if (!v.allowed || v.from_ns <= b->at->min_ns)
        return KS_OK;
    KS_TRY(ks_log_block_times(b, &times));
    for (uint32_t i = from; i < to; i++)
        if (times[i] < v.from_ns)
            bits[i / 64] &= ~(1ull << i % 64);
    return KS_OK;
}

static ks_err select_streams(struct ks_log_block *b, uint64_t *bits)
{
    const struct ks_log_scan *s = b->scan;
    if (b->at->all_streams || (!s->opts.tenants && !s->opts.stream && !s->store->rules))
        return KS_OK;
    KS_TRY(need_open(b));
    if (b->view) {
        const struct ks_lblock_run *runs;
        size_t n = ks_lblock_runs(b->disk, &runs);
        for (size_t i = 0; i < n; i++) {
            struct ks_log_stream stream = ksi_lpart_stream(b->view->part, runs[i].stream);
            KS_TRY(select_run(b, &stream, runs[i].first_row,
                              i + 1 < n ? runs[i + 1].first_row : b->rows, bits));
        }
        return KS_OK;
    }
    for (uint32_t i = 0, j; i < b->rows; i = j) {
        for (j = i + 1; j < b->rows && b->mem.of_row[j] == b->mem.of_row[i]; j++)
            ;
        KS_TRY(select_run(b, &b->mem.streams[b->mem.of_row[i]], i, j, bits));
    }
    return KS_OK;
}

static void select_deleted(struct ks_log_block *b, uint64_t *bits)
{
    if (!b->view || !b->view->tombs)
        return;
    uint32_t first = (uint32_t)ks_lpart_block(b->view->part->p, b->at->index)->first_row;
    roaring_uint32_iterator_t it;
    roaring_init_iterator(b->view->tombs->rows, &it);
    roaring_move_uint32_iterator_equalorlarger(&it, first);
    for (; it.has_value && it.current_value - first < b->rows; roaring_advance_uint32_iterator(&it))
        bits[(it.current_value - first) / 64] &= ~(1ull << (it.current_value - first) % 64);
}

ks_err ks_log_block_select(struct ks_log_block *b, uint64_t *bits, bool *ret_any)
{
    size_t words = KS_ROW_WORDS(b->rows);
    if (b->rows % 64)
        bits[words - 1] &= (1ull << b->rows % 64) - 1;
    if (b->at->part == KSI_NO_PART) {
        clear_range(bits, 0, b->at->skip);
        clear_range(bits, b->at->end, b->rows);
    }
    KS_TRY(select_times(b, bits));
    KS_TRY(select_streams(b, bits));
    select_deleted(b, bits);
    uint64_t any = 0;
    for (size_t w = 0; w < words; w++)
        any |= bits[w];
    *ret_any = any != 0;
    return KS_OK;
}

ks_err ks_log_block_times(struct ks_log_block *b, const int64_t **ret_ns)
{
    KS_TRY(need_open(b));
    if (b->view)
        return note(b, ks_lblock_times(b->disk, ret_ns));
    *ret_ns = b->mem.times;
    return KS_OK;
}

/* Streams of a block of a part: one run each. */
static ks_err make_streams(struct ks_log_block *b)
{
    const struct ks_lblock_run *runs;
    size_t n = ks_lblock_runs(b->disk, &runs);
    struct ks_log_stream *streams = ks_arena_array(&b->arena, n + 1, sizeof *streams);
    uint32_t *of_row = ks_arena_array(&b->arena, b->rows + 1u, sizeof *of_row);
    if (!streams || !of_row)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < n; i++) {
        uint32_t end = i + 1 < n ? runs[i + 1].first_row : b->rows;
        streams[i] = ksi_lpart_stream(b->view->part, runs[i].stream);
        for (uint32_t k = runs[i].first_row; k < end; k++)
            of_row[k] = (uint32_t)i;
    }
    b->streams = streams;
    b->of_row = of_row;
    return KS_OK;
}

ks_err ks_log_block_streams(struct ks_log_block *b, const struct ks_log_stream **ret_streams,
                            size_t *ret_count, const uint32_t **ret_of_row)
{
    const struct ks_lblock_run *runs;
    KS_TRY(need_open(b));
    if (b->view && !b->streams)
        KS_TRY(make_streams(b));
    *ret_streams = b->view ? b->streams : b->mem.streams;
    *ret_count = b->view ? ks_lblock_runs(b->disk, &runs) : b->mem.stream_count;
    *ret_of_row = b->view ? b->of_row : b->mem.of_row;
    return KS_OK;
}

ks_err ks_log_block_names(struct ks_log_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    KS_TRY(need_open(b));
    if (b->view) {
        *ret_count = ks_lblock_names(b->disk, ret);
        return KS_OK;
    }
    *ret = b->mem.names;
    *ret_count = b->mem.name_count;
    return KS_OK;
}

ks_err ks_log_block_column_rows(struct ks_log_block *b, struct ks_slice name, const uint64_t *bits,
                                struct ks_log_column *ret)
{
    KS_TRY(need_open(b));
    if (b->view)
        return note(b, ks_lblock_column(b->disk, name, bits, ret));
    return ksi_mem_block_column(&b->mem, name, ret);
}

ks_err ks_log_block_column(struct ks_log_block *b, struct ks_slice name, struct ks_log_column *ret)
{
    return ks_log_block_column_rows(b, name, NULL, ret);
}

ks_err ks_log_block_filter(struct ks_log_block *b, struct ks_slice name,
                           const struct ks_log_pred *pred, uint64_t *bits)
{
    KS_TRY(ks_read_ctx_check(b->scan->opts.ctx));
    KS_TRY(need_open(b));
    if (b->rows % 64)
        bits[b->rows / 64] &= (1ull << b->rows % 64) - 1;
    if (b->view)
        return note(b, ks_lblock_filter(b->disk, name, pred, bits));
    return ksi_mem_block_filter(&b->mem, name, pred, bits);
}
