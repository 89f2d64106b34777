/* A block of a scan, in memory or of a part, behind one face. */
#include <string.h>

#include "base/mem.h"
#include "engine/logs/logs_priv.h"

struct ks_log_block {
    struct ks_log_scan *scan;
    const struct ksi_scan_block *at;
    uint32_t rows;
    struct ksi_mem_block mem;
    struct ks_arena arena; /* of the open block */
};

enum { ARENA_MAX = 256 << 20 };

ks_err ks_log_block_new(struct ks_log_block **ret)
{
    struct ks_log_block *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
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
    ks_arena_done(&b->arena);
    ks_free(b);
}

ks_err ks_log_block_open(struct ks_log_block *b, struct ks_log_scan *scan, size_t i)
{
    KS_ASSERT(i < scan->block_count);
    KS_TRY(ks_read_ctx_check(scan->opts.ctx));
    ks_arena_reset(&b->arena);
    b->scan = scan;
    b->at = &scan->blocks[i];
    b->rows = b->at->rows;
    return ksi_mem_block_open(&b->mem, &scan->views[b->at->index]);
}

uint32_t ks_log_block_rows(const struct ks_log_block *b)
{
    return b->rows;
}

/* Verdicts on the streams of the block; *ret_all: all are allowed, whatever the time. */
static ks_err judge_streams(struct ks_log_block *b, struct ksi_verdict **ret, bool *ret_all)
{
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    size_t count;
    KS_TRY(ks_log_block_streams(b, &streams, &count, &of_row));
    struct ksi_verdict *v = ks_arena_array(&b->arena, count + 1, sizeof *v);
    if (!v)
        return ks_arena_err(&b->arena);
    *ret_all = true;
    for (size_t i = 0; i < count; i++) {
        KS_TRY(ksi_scan_judge(b->scan, &streams[i], &v[i]));
        *ret_all &= v[i].allowed && v[i].from_ns == INT64_MIN;
    }
    *ret = v;
    return KS_OK;
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

static ks_err select_streams(struct ks_log_block *b, uint64_t *bits)
{
    const struct ks_log_scan *s = b->scan;
    const struct ks_log_stream *streams;
    const uint32_t *of_row;
    const int64_t *times = NULL;
    struct ksi_verdict *v;
    size_t count;
    bool all;
    if (!s->opts.tenants && !s->opts.stream && !s->store->rules)
        return KS_OK;
    KS_TRY(judge_streams(b, &v, &all));
    if (all)
        return KS_OK;
    KS_TRY(ks_log_block_streams(b, &streams, &count, &of_row));
    if (s->store->rules)
        KS_TRY(ks_log_block_times(b, &times));
    for (uint32_t i = 0; i < b->rows; i++) {
        const struct ksi_verdict *x = &v[of_row[i]];
        if (!x->allowed || (times && times[i] < x->from_ns))
            bits[i / 64] &= ~(1ull << i % 64);
    }
    return KS_OK;
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
    uint64_t any = 0;
    for (size_t w = 0; w < words; w++)
        any |= bits[w];
    *ret_any = any != 0;
    return KS_OK;
}

ks_err ks_log_block_times(struct ks_log_block *b, const int64_t **ret_ns)
{
    *ret_ns = b->mem.times;
    return KS_OK;
}

ks_err ks_log_block_streams(struct ks_log_block *b, const struct ks_log_stream **ret_streams,
                            size_t *ret_count, const uint32_t **ret_of_row)
{
    *ret_streams = b->mem.streams;
    *ret_count = b->mem.stream_count;
    *ret_of_row = b->mem.of_row;
    return KS_OK;
}

ks_err ks_log_block_names(struct ks_log_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    *ret = b->mem.names;
    *ret_count = b->mem.name_count;
    return KS_OK;
}

ks_err ks_log_block_column_rows(struct ks_log_block *b, struct ks_slice name, const uint64_t *bits,
                                struct ks_log_column *ret)
{
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
    return ksi_mem_block_filter(&b->mem, name, pred, bits);
}
