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

void ks_lblock_close(struct ks_lblock *b)
{
    for (uint32_t i = 0; b->dir && i < b->pages.count; i++)
        if (b->pages.pins[i].pin)
            ks_page_release(&b->pages.pins[i]);
    b->pages.count = 0;
    if (b->bloom.pin)
        ks_page_release(&b->bloom);
    ks_cache_entry_unref(b->dir_entry);
    b->dir_entry = NULL;
    b->dir = NULL;
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
    ks_lblock_close(b);
    ks_arena_done(&b->arena);
    ks_free(b);
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

ks_err ks_lblock_open(struct ks_lblock *b, struct ks_lpart *p, size_t i)
{
    ks_lblock_close(b);
    KS_ASSERT(i < p->block_count);
    b->part = p;
    b->index = i;
    b->rows = p->blocks[i].block.rows;
    KS_TRY(ksi_dir_get(p, i, &b->arena, &b->dir_entry));
    const struct ksi_dir *d = ksi_dir_of(b->dir_entry);
    b->pages.pins = ks_arena_zalloc(&b->arena, (d->page_count + 1u) * sizeof *b->pages.pins);
    b->columns = ks_arena_zalloc(&b->arena, (d->column_count + 1) * sizeof(struct ksi_column *));
    if (!b->pages.pins || !b->columns)
        return ks_arena_err(&b->arena);
    b->pages.refs = (const uint8_t *)d->text.ptr + d->pages_at;
    b->pages.part = p->file;
    b->pages.count = d->page_count;
    b->dir = d;
    return KS_OK;
}

/* --- what it holds --- */

ks_err ks_lblock_times(struct ks_lblock *b, const int64_t **ret_ns)
{
    const struct ks_lpart_block *meta = &b->part->blocks[b->index].block;
    if (!b->times) {
        int64_t *t, unit;
        struct ksi_node node;
        struct ks_reader r = ks_reader(ks_slice_from(b->dir->text, b->dir->times_at));
        if (!ksi_times_parse(&r, b->rows, &node, &unit))
            return malformed(b, "times");
        KS_TRY(ksi_node_numbers(&node, &b->pages, &b->arena, &t));
        int64_t least = t[0], most = t[0];
        for (uint32_t i = 1; i < b->rows; i++) {
            least = t[i] < least ? t[i] : least;
            most = t[i] > most ? t[i] : most;
        }
        if (__builtin_mul_overflow(least, unit, &least) ||
            __builtin_mul_overflow(most, unit, &most) || least < meta->min_ns ||
            most > meta->max_ns)
            return malformed(b, "time out of range");
        for (uint32_t i = 0; unit > 1 && i < b->rows; i++)
            t[i] *= unit;
        b->times = t;
    }
    *ret_ns = b->times;
    return KS_OK;
}

size_t ks_lblock_runs(const struct ks_lblock *b, const struct ks_lblock_run **ret)
{
    *ret = b->dir->runs;
    return b->dir->run_count;
}

size_t ks_lblock_names(const struct ks_lblock *b, const struct ks_slice **ret)
{
    *ret = b->dir->names;
    return b->dir->column_count;
}

ks_err ksi_lblock_find(struct ks_lblock *b, struct ks_slice name, struct ksi_column **ret)
{
    const struct ksi_dir *d = b->dir;
    size_t lo = 0, hi = d->column_count;
    *ret = NULL;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = ks_slice_cmp(d->names[mid], name);
        if (c < 0) {
            lo = mid + 1;
        } else if (c > 0) {
            hi = mid;
        } else {
            if (!b->columns[mid] &&
                !(b->columns[mid] = ks_arena_zalloc(&b->arena, sizeof **b->columns)))
                return ks_arena_err(&b->arena);
            *ret = b->columns[mid];
            (*ret)->dir = &d->columns[mid];
            (*ret)->count = d->columns[mid].count;
            return KS_OK;
        }
    }
    return KS_OK;
}

ks_err ksi_column_parse(struct ks_lblock *b, struct ksi_column *c)
{
    if (c->parsed)
        return KS_OK;
    struct ks_reader r = ks_reader(ks_slice_from(b->dir->text, c->dir->at));
    KS_TRY(ksi_presence_parse(&r, b->rows, c->count, &b->arena, &c->present, &c->present_loc));
    c->present_later = c->present_loc.len > 0;
    KS_TRY(ksi_node_parse_lazy(&r, &b->arena, c->count, &c->node));
    if (c->node.kind == KSI_NODE_TEMPLATE)
        c->node.templates->checked = &b->dir->checked[c->dir - b->dir->columns];
    c->parsed = true;
    return KS_OK;
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
    struct ksi_column *c;
    *ret = (struct ks_log_column){.kind = KS_COL_ABSENT};
    KS_TRY(ksi_lblock_find(b, name, &c));
    if (!c)
        return KS_OK;
    KS_TRY(ksi_column_parse(b, c));
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
