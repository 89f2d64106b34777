/*
 * Reading one block: the directory is parsed when it is opened; pages are read and columns decoded
 * when they are asked for, and kept until the block is opened anew.
 */
#include <string.h>

#include "base/mem.h"
#include "storage/logs/block_read_priv.h"

enum { ARENA_MAX = 512 << 20 };

static ks_err malformed(const struct ks_lblock *b, const char *what)
{
    return ks_fail(KS_ECORRUPT, "%s: log block %zu: %s", ks_part_path(b->part->file), b->index,
                   what);
}

static void release(struct ks_lblock *b)
{
    for (uint32_t i = 0; i < b->pages.count; i++)
        if (b->pages.pins[i].pin)
            ks_page_release(&b->pages.pins[i]);
    b->pages.count = 0;
    if (b->dir.pin)
        ks_page_release(&b->dir);
    if (b->bloom.pin)
        ks_page_release(&b->bloom);
    b->dir = b->bloom = (struct ks_page){0};
    b->columns = NULL;
    b->column_count = 0;
    b->times = NULL;
    b->rows = 0;
    ks_arena_reset(&b->arena);
}

ks_err ks_lblock_new(struct ks_lblock **ret)
{
    struct ks_lblock *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    ks_arena_init(&b->arena, ARENA_MAX);
    *ret = b;
    return KS_OK;
}

void ks_lblock_free(struct ks_lblock *b)
{
    if (!b)
        return;
    release(b);
    ks_arena_done(&b->arena);
    ks_free(b);
}

/* --- the directory --- */

static ks_err read_pages(struct ks_lblock *b, struct ks_reader *r)
{
    uint8_t version = ks_read_u8(r);
    uint64_t n = ks_read_varint(r);
    if (version != KSI_BLOCK_VERSION)
        return ks_fail(KS_EUNSUPPORTED, "%s: log block version %u is not known to this version",
                       ks_part_path(b->part->file), version);
    if (n > KSI_BLOCK_PAGES || n * KS_PAGE_REF_BYTES > ks_reader_left(r))
        return malformed(b, "count of pages");
    b->pages.refs = ks_arena_array(&b->arena, (size_t)n + 1, sizeof *b->pages.refs);
    b->pages.pins = ks_arena_zalloc(&b->arena, ((size_t)n + 1) * sizeof *b->pages.pins);
    if (!b->pages.refs || !b->pages.pins)
        return ks_arena_err(&b->arena);
    for (uint64_t i = 0; i < n; i++)
        b->pages.refs[i] =
            ks_page_ref_load((const uint8_t *)ks_read_bytes(r, KS_PAGE_REF_BYTES).ptr);
    b->pages.part = b->part->file;
    b->pages.count = (uint32_t)n;
    return KS_OK;
}

static ks_err read_runs(struct ks_lblock *b, struct ks_reader *r)
{
    const struct ks_lpart_block *meta = &b->part->blocks[b->index].block;
    uint64_t n = ks_read_varint(r), row = 0, stream = meta->first_stream;
    if (n < 1 || n > b->rows)
        return malformed(b, "count of streams");
    b->runs = ks_arena_array(&b->arena, (size_t)n, sizeof *b->runs);
    if (!b->runs)
        return ks_arena_err(&b->arena);
    for (uint64_t i = 0; i < n; i++) {
        stream += ks_read_varint(r);
        uint64_t rows = ks_read_varint(r);
        if (r->bad || stream > meta->last_stream || rows < 1 || rows > b->rows - row)
            return malformed(b, "streams");
        b->runs[i] = (struct ks_lblock_run){(uint32_t)stream, (uint32_t)row};
        row += rows;
    }
    b->run_count = (size_t)n;
    return row == b->rows && stream == meta->last_stream ? KS_OK : malformed(b, "streams");
}

static ks_err read_times(struct ks_lblock *b, struct ks_reader *r)
{
    struct ksi_node *n = &b->time_node;
    uint64_t unit = ks_read_varint(r);
    *n = (struct ksi_node){.kind = KSI_NODE_TYPED, .count = b->rows};
    if (unit < 1 || unit > 1000000000 || !ksi_numbers_parse(r, n))
        return malformed(b, "times");
    b->time_unit = (int64_t)unit;
    return KS_OK;
}

static ks_err read_runs_of_presence(struct ks_lblock *b, struct ks_reader *r, struct ksi_column *c)
{
    uint64_t n = ks_read_varint(r), row = 0, rows = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t skip = ks_read_varint(r), len = ks_read_varint(r);
        if (r->bad || skip > b->rows - row || len > b->rows - row - skip)
            return malformed(b, "presence");
        row += skip;
        for (uint64_t k = row; k < row + len; k++)
            c->present[k / 64] |= 1ull << k % 64;
        row += len;
        rows += len;
    }
    return rows == c->count ? KS_OK : malformed(b, "presence");
}

static ks_err read_presence(struct ks_lblock *b, struct ks_reader *r, struct ksi_column *c)
{
    uint8_t how = ks_read_u8(r);
    if (how == KSI_PRESENT_ALL)
        return c->count == b->rows ? KS_OK : malformed(b, "presence");
    size_t words = KS_ROW_WORDS(b->rows);
    if (!(c->present = ks_arena_zalloc(&b->arena, words * 8)))
        return ks_arena_err(&b->arena);
    if (how == KSI_PRESENT_RUNS)
        return read_runs_of_presence(b, r, c);
    struct ksi_loc loc = {0};
    if (how != KSI_PRESENT_BITS || !ksi_loc_parse(r, &loc) || loc.len != words * 8)
        return malformed(b, "presence");
    c->present_loc = loc;
    c->present_later = true;
    return KS_OK;
}

/* The bits of a column that has them in a page. */
static ks_err load_presence(struct ks_lblock *b, struct ksi_column *c)
{
    struct ks_slice bytes;
    uint64_t rows = 0;
    if (!c->present_later)
        return KS_OK;
    KS_TRY(ksi_pages_get(&b->pages, c->present_loc, &bytes));
    memcpy(c->present, bytes.ptr, bytes.len);
    for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++)
        rows += (uint64_t)__builtin_popcountll(c->present[w]);
    bool beyond = b->rows % 64 && c->present[b->rows / 64] >> b->rows % 64;
    if (rows != c->count || beyond)
        return malformed(b, "presence");
    c->present_later = false;
    return KS_OK;
}

static ks_err read_column(struct ks_lblock *b, struct ks_reader *r, struct ksi_column *c)
{
    uint64_t number = ks_read_varint(r), count = ks_read_varint(r);
    if (r->bad || number >= b->part->name_count || count < 1 || count > b->rows)
        return malformed(b, "column");
    c->count = (uint32_t)count;
    KS_TRY(read_presence(b, r, c));
    KS_TRY(ksi_node_parse(r, &b->arena, c->count, 0, &c->node));
    c->bloom_len = (uint32_t)ks_read_varint(r);
    if (c->bloom_len) {
        c->bloom_at = (uint32_t)ks_read_varint(r);
        c->bloom_without_numbers = ks_read_u8(r) & KSI_BLOOM_WITHOUT_NUMBERS;
    }
    b->names[c - b->columns] = b->part->names[number];
    return r->bad ? malformed(b, "column") : KS_OK;
}

static ks_err read_columns(struct ks_lblock *b, struct ks_reader *r)
{
    uint64_t n = ks_read_varint(r);
    if (n > KSI_BLOCK_COLUMNS || n > ks_reader_left(r))
        return malformed(b, "count of columns");
    b->columns = ks_arena_zalloc(&b->arena, ((size_t)n + 1) * sizeof *b->columns);
    b->names = ks_arena_array(&b->arena, (size_t)n + 1, sizeof *b->names);
    if (!b->columns || !b->names)
        return ks_arena_err(&b->arena);
    for (uint64_t i = 0; i < n; i++) {
        KS_TRY(read_column(b, r, &b->columns[i]));
        if (i && ks_slice_cmp(b->names[i - 1], b->names[i]) >= 0)
            return malformed(b, "order of columns");
    }
    b->column_count = (size_t)n;
    return ks_reader_left(r) ? malformed(b, "directory is too long") : KS_OK;
}

ks_err ks_lblock_open(struct ks_lblock *b, struct ks_lpart *p, size_t i)
{
    release(b);
    KS_ASSERT(i < p->block_count);
    b->part = p;
    b->index = i;
    b->rows = p->blocks[i].block.rows;
    KS_TRY(ks_part_read(p->file, p->blocks[i].dir, &b->dir));
    struct ks_reader r = ks_reader(b->dir.raw);
    KS_TRY(read_pages(b, &r));
    KS_TRY(read_runs(b, &r));
    KS_TRY(read_times(b, &r));
    return read_columns(b, &r);
}

/* --- what it holds --- */

ks_err ks_lblock_times(struct ks_lblock *b, const int64_t **ret_ns)
{
    const struct ks_lpart_block *meta = &b->part->blocks[b->index].block;
    if (!b->times) {
        int64_t *t;
        KS_TRY(ksi_node_numbers(&b->time_node, &b->pages, &b->arena, &t));
        for (uint32_t i = 0; i < b->rows; i++) {
            if (__builtin_mul_overflow(t[i], b->time_unit, &t[i]) || t[i] < meta->min_ns ||
                t[i] > meta->max_ns)
                return malformed(b, "time out of range");
        }
        b->times = t;
    }
    *ret_ns = b->times;
    return KS_OK;
}

size_t ks_lblock_runs(const struct ks_lblock *b, const struct ks_lblock_run **ret)
{
    *ret = b->runs;
    return b->run_count;
}

size_t ks_lblock_names(const struct ks_lblock *b, const struct ks_slice **ret)
{
    *ret = b->names;
    return b->column_count;
}

struct ksi_column *ksi_lblock_find(struct ks_lblock *b, struct ks_slice name)
{
    size_t lo = 0, hi = b->column_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = ks_slice_cmp(b->names[mid], name);
        if (c == 0)
            return &b->columns[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* Bits of rows → bits of the values the column has. */
ks_err ksi_column_want(struct ks_lblock *b, struct ksi_column *c, const uint64_t *bits,
                       const uint64_t **ret)
{
    *ret = bits;
    if (!bits || (!c->present && !c->present_later))
        return KS_OK;
    KS_TRY(load_presence(b, c));
    uint64_t *want = ks_arena_zalloc(&b->arena, (c->count / 64 + 1) * 8);
    if (!want)
        return ks_arena_err(&b->arena);
    uint32_t k = 0;
    for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++)
        for (uint64_t left = c->present[w]; left; left &= left - 1, k++)
            want[k / 64] |= (uint64_t)((bits[w] & (left & -left)) != 0) << k % 64;
    *ret = want;
    return KS_OK;
}

/* Spreads the values a column has over the rows; the others are "". */
static ks_err spread(struct ks_lblock *b, struct ksi_column *c, struct ksi_vector *v)
{
    KS_TRY(load_presence(b, c));
    if (!c->present)
        return KS_OK;
    if (v->kind == KS_COL_VALUES) {
        struct ks_slice *out = ks_arena_zalloc(&b->arena, b->rows * sizeof *out);
        if (!out)
            return ks_arena_err(&b->arena);
        uint32_t k = 0;
        for (size_t w = 0; w < KS_ROW_WORDS(b->rows); w++)
            for (uint64_t left = c->present[w]; left; left &= left - 1)
                out[w * 64 + (unsigned)__builtin_ctzll(left)] = v->values[k++];
        *v = (struct ksi_vector){KS_COL_VALUES, b->rows, out, NULL};
        return KS_OK;
    }
    /* One value more: "". */
    struct ks_slice *values = ks_arena_array(&b->arena, v->value_count + 1, sizeof *values);
    uint32_t *codes = ks_arena_array(&b->arena, b->rows + 1u, sizeof *codes), k = 0;
    if (!values || !codes)
        return ks_arena_err(&b->arena);
    memcpy(values, v->values, v->value_count * sizeof *values);
    values[v->value_count] = ks_slice("", 0);
    for (uint32_t i = 0; i < b->rows; i++)
        codes[i] = !ksi_bit(c->present, i)   ? v->value_count
                   : v->kind == KS_COL_CONST ? (k++, 0)
                                             : v->codes[k++];
    *v = (struct ksi_vector){KS_COL_DICT, v->value_count + 1, values, codes};
    return KS_OK;
}

ks_err ks_lblock_column(struct ks_lblock *b, struct ks_slice name, const uint64_t *bits,
                        struct ks_log_column *ret)
{
    struct ksi_column *c = ksi_lblock_find(b, name);
    *ret = (struct ks_log_column){.kind = KS_COL_ABSENT};
    if (!c)
        return KS_OK;
    if (!c->decoded) {
        const uint64_t *want;
        struct ksi_vector v;
        /* Types whose values are made one by one are made for the rows wanted alone. */
        bool partial = bits && c->node.kind >= KSI_NODE_TEMPLATE;
        KS_TRY(ksi_column_want(b, c, partial ? bits : NULL, &want));
        KS_TRY(ksi_node_decode(&c->node, &b->pages, &b->arena, want, &v));
        KS_TRY(spread(b, c, &v));
        if (partial) {
            *ret = (struct ks_log_column){v.kind, v.value_count, v.values, v.codes};
            return KS_OK;
        }
        c->vector = v;
        c->decoded = true;
    }
    *ret = (struct ks_log_column){c->vector.kind, c->vector.value_count, c->vector.values,
                                  c->vector.codes};
    return KS_OK;
}

ks_err ksi_lblock_bloom(struct ks_lblock *b, struct ks_slice *ret)
{
    if (!b->bloom.pin)
        KS_TRY(ks_part_read(b->part->file, b->part->blocks[b->index].bloom, &b->bloom));
    *ret = b->bloom.raw;
    return KS_OK;
}

ks_err ksi_column_present(struct ks_lblock *b, struct ksi_column *c, const uint64_t **ret)
{
    KS_TRY(load_presence(b, c));
    *ret = c->present;
    return KS_OK;
}
