/*
 * A block over rows in memory: rows are turned into columns when it is opened. Cells (row, value)
 * are grouped by column; a column's array of values is made when it is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/logs/logs_priv.h"

enum { ARENA_MAX = 1 << 30 };

void ksi_mem_block_init(struct ksi_mem_block *b)
{
    *b = (struct ksi_mem_block){0};
    ks_arena_init(&b->arena, ARENA_MAX);
}

void ksi_mem_block_done(struct ksi_mem_block *b)
{
    ks_arena_done(&b->arena);
}

/* A table of what was met, by hash: numbers + 1. */
struct table {
    uint32_t *slots;
    size_t cap;
};

static ks_err table_init(struct table *t, struct ks_arena *arena, size_t entries)
{
    t->cap = 64;
    while (t->cap < entries * 2)
        t->cap *= 2;
    t->slots = ks_arena_zalloc(arena, t->cap * sizeof *t->slots);
    return t->slots ? KS_OK : ks_arena_err(arena);
}

struct opening {
    struct ksi_mem_block *b;
    struct table names, streams;
    struct ks_slice *found; /* names in order of appearance */
    uint32_t found_count;
    uint32_t *rank; /* number of appearance → column */
};

static uint32_t name_number(struct opening *o, struct ks_slice name)
{
    size_t at = ks_hash64(name.ptr, name.len) & (o->names.cap - 1);
    for (; o->names.slots[at]; at = (at + 1) & (o->names.cap - 1))
        if (ks_slice_eq(o->found[o->names.slots[at] - 1], name))
            return o->names.slots[at] - 1;
    o->found[o->found_count] = name;
    o->names.slots[at] = ++o->found_count;
    return o->found_count - 1;
}

static uint32_t stream_number(struct opening *o, const struct ks_log_stream *s)
{
    struct ksi_mem_block *b = o->b;
    size_t at = s->id.lo & (o->streams.cap - 1);
    for (; o->streams.slots[at]; at = (at + 1) & (o->streams.cap - 1)) {
        const struct ks_log_stream *x = &b->streams[o->streams.slots[at] - 1];
        if (x->id.lo == s->id.lo && ks_tenant_eq(x->tenant, s->tenant) &&
            ks_slice_eq(x->tags, s->tags))
            return o->streams.slots[at] - 1;
    }
    b->streams[b->stream_count] = *s;
    o->streams.slots[at] = (uint32_t)++b->stream_count;
    return (uint32_t)b->stream_count - 1;
}

static int by_name(const void *a, const void *b)
{
    return ks_slice_cmp(**(const struct ks_slice *const *)a, **(const struct ks_slice *const *)b);
}

/* Sorts the names and notes where each went. */
static ks_err rank_names(struct opening *o)
{
    struct ksi_mem_block *b = o->b;
    uint32_t n = o->found_count;
    const struct ks_slice **order = ks_arena_array(&b->arena, n + 1, sizeof *order);
    o->rank = ks_arena_array(&b->arena, n + 1, sizeof *o->rank);
    b->names = ks_arena_array(&b->arena, n + 1, sizeof *b->names);
    if (!order || !o->rank || !b->names)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < n; i++)
        order[i] = &o->found[i];
    qsort(order, n, sizeof *order, by_name);
    for (uint32_t i = 0; i < n; i++) {
        b->names[i] = *order[i];
        o->rank[order[i] - o->found] = i;
    }
    b->name_count = n;
    return KS_OK;
}

/* First walk: names, streams, times, how many cells a column has. */
static ks_err survey(struct opening *o, const struct ksi_segment_view *v, uint32_t **ret_counts)
{
    struct ksi_mem_block *b = o->b;
    size_t names = 0, streams = 0, row = 0;
    const struct ksi_frame *f = v->first;
    for (uint32_t i = 0; i < v->frame_count; i++, f = i < v->frame_count ? f->next : NULL) {
        names += f->name_count;
        streams += f->stream_count;
    }
    KS_TRY(table_init(&o->names, &b->arena, names));
    KS_TRY(table_init(&o->streams, &b->arena, streams));
    o->found = ks_arena_array(&b->arena, names + 1, sizeof *o->found);
    b->streams = ks_arena_array(&b->arena, streams + 1, sizeof *b->streams);
    b->times = ks_arena_array(&b->arena, v->row_count + 1, sizeof *b->times);
    b->of_row = ks_arena_array(&b->arena, v->row_count + 1, sizeof *b->of_row);
    uint32_t *counts = ks_arena_zalloc(&b->arena, (names + 1) * sizeof *counts);
    uint32_t *map = ks_arena_array(&b->arena, names + streams + 1, sizeof *map);
    if (!o->found || !b->streams || !b->times || !b->of_row || !counts || !map)
        return ks_arena_err(&b->arena);
    f = v->first;
    for (uint32_t i = 0; i < v->frame_count; i++, f = i < v->frame_count ? f->next : NULL) {
        uint32_t *smap = map + f->name_count, name;
        struct ks_slice value;
        for (uint32_t k = 0; k < f->name_count; k++)
            map[k] = name_number(o, f->names[k]);
        for (uint32_t k = 0; k < f->stream_count; k++)
            smap[k] = stream_number(o, &f->streams[k]);
        struct ksi_row_iter it = ksi_rows(f);
        for (; ksi_row_next(&it); row++) {
            b->times[row] = it.time_ns;
            b->of_row[row] = smap[it.stream];
            while (ksi_row_field(&it, &name, &value))
                counts[map[name]]++;
        }
    }
    *ret_counts = counts;
    return KS_OK;
}

/* Second walk: cells to their places. */
static ks_err place(struct opening *o, const struct ksi_segment_view *v, const uint32_t *counts)
{
    struct ksi_mem_block *b = o->b;
    size_t n = b->name_count, cells = 0, row = 0;
    b->starts = ks_arena_array(&b->arena, n + 1, sizeof *b->starts);
    uint32_t *next = ks_arena_array(&b->arena, n + 1, sizeof *next);
    uint32_t *map = ks_arena_array(&b->arena, o->names.cap, sizeof *map);
    b->columns = ks_arena_zalloc(&b->arena, (n + 1) * sizeof *b->columns);
    if (!b->starts || !next || !map || !b->columns)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < n; i++)
        next[o->rank[i]] = counts[i];
    for (size_t i = 0; i < n; i++) {
        b->starts[i] = (uint32_t)cells;
        cells += next[i];
        next[i] = b->starts[i];
    }
    b->starts[n] = (uint32_t)cells;
    b->cell_rows = ks_arena_array(&b->arena, cells + 1, sizeof *b->cell_rows);
    b->cell_values = ks_arena_array(&b->arena, cells + 1, sizeof *b->cell_values);
    if (!b->cell_rows || !b->cell_values)
        return ks_arena_err(&b->arena);
    const struct ksi_frame *f = v->first;
    for (uint32_t i = 0; i < v->frame_count; i++, f = i < v->frame_count ? f->next : NULL) {
        uint32_t name;
        struct ks_slice value;
        for (uint32_t k = 0; k < f->name_count; k++)
            map[k] = o->rank[name_number(o, f->names[k])];
        struct ksi_row_iter it = ksi_rows(f);
        for (; ksi_row_next(&it); row++) {
            while (ksi_row_field(&it, &name, &value)) {
                uint32_t at = next[map[name]]++;
                b->cell_rows[at] = (uint32_t)row;
                b->cell_values[at] = value;
            }
        }
    }
    return KS_OK;
}

ks_err ksi_mem_block_open(struct ksi_mem_block *b, const struct ksi_segment_view *view)
{
    struct opening o = {.b = b};
    uint32_t *counts;
    ks_arena_reset(&b->arena);
    b->stream_count = b->name_count = 0;
    b->rows = view->row_count;
    KS_TRY(survey(&o, view, &counts));
    KS_TRY(rank_names(&o));
    return place(&o, view, counts);
}

/* The column's number, or name_count. */
static size_t find_name(const struct ksi_mem_block *b, struct ks_slice name)
{
    size_t lo = 0, hi = b->name_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = ks_slice_cmp(b->names[mid], name);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return b->name_count;
}

ks_err ksi_mem_block_column(struct ksi_mem_block *b, struct ks_slice name,
                            struct ks_log_column *ret)
{
    size_t i = find_name(b, name);
    *ret = (struct ks_log_column){.kind = KS_COL_ABSENT};
    if (i == b->name_count)
        return KS_OK;
    if (!b->columns[i]) {
        struct ks_slice *values = ks_arena_zalloc(&b->arena, (b->rows + 1) * sizeof *values);
        if (!values)
            return ks_arena_err(&b->arena);
        for (uint32_t k = b->starts[i]; k < b->starts[i + 1]; k++)
            values[b->cell_rows[k]] = b->cell_values[k];
        b->columns[i] = values;
    }
    *ret = (struct ks_log_column){
        .kind = KS_COL_VALUES, .value_count = b->rows, .values = b->columns[i]};
    return KS_OK;
}

ks_err ksi_mem_block_filter(struct ksi_mem_block *b, struct ks_slice name,
                            const struct ks_log_pred *pred, uint64_t *bits)
{
    size_t i = find_name(b, name), words = KS_ROW_WORDS(b->rows);
    uint32_t k = i < b->name_count ? b->starts[i] : 0;
    uint32_t end = i < b->name_count ? b->starts[i + 1] : 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t present = 0, hit = 0;
        for (; k < end && b->cell_rows[k] / 64 == w; k++) {
            uint64_t bit = 1ull << b->cell_rows[k] % 64;
            present |= bit;
            if ((bits[w] & bit) && pred->match(pred->arg, b->cell_values[k]))
                hit |= bit;
        }
        bits[w] &= hit | (pred->match_empty ? ~present : 0);
    }
    return KS_OK;
}
