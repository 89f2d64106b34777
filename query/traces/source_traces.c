/* See source_traces.h. A block's memory is one arena, reset when the next one is opened. */
#include "query/traces/source_traces.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/traces/span_fields.h"

enum { PIECE_SPANS = 512, BLOCK_ARENA_BYTES = 512 << 20 };
static const struct ks_slice service_field = {"resource_attr:service.name", 26};

struct scanned {
    struct ks_tenant tenant;
    struct ks_traces_scan *scan;
};
struct block_at {
    uint32_t scanned, piece;
    struct ks_log_block_meta meta;
};
struct scan {
    struct ks_traces *traces;
    struct ks_log_scan_opts opts;
    struct scanned *items;
    size_t count, cap;
    struct block_at *blocks;
    size_t block_count, block_cap;
    ks_err err; /* of the callback that lists tenants */
};

/* Processes (resources, scopes) of a block's rows: each once. */
struct procs {
    const void **items;
    uint32_t *of_row, *slots; /* slots: number + 1 */
    size_t count, cap, mask;
};

struct cell_column {
    struct ks_slice name, *values;
};

struct ks_lq_block {
    struct ks_arena arena;
    struct scan *scan;
    const struct block_at *at;
    struct ks_traces_heads h;
    struct procs resources, scopes;
    uint64_t *filled, *narrowed; /* bits of rows; NULL: none, all */
    int64_t *times;
    /* streams */
    struct ks_log_stream *streams;
    size_t stream_count, stream_cap;
    uint32_t *stream_of_row;
    /* all fields of the rows that are left; made by names() */
    struct cell_column *columns;
    size_t column_count, column_cap, column_mask;
    uint32_t *column_slots, *guess;
    size_t guess_count, guess_cap;
    struct ks_slice *names;
    uint32_t row, field; /* while they are made */
};

/* ---------------------------------------------------------------- scans */

static int newest_first(const void *pa, const void *pb)
{
    const struct block_at *a = pa, *b = pb;
    if (a->meta.max_ns != b->meta.max_ns)
        return a->meta.max_ns > b->meta.max_ns ? -1 : 1;
    if (a->scanned != b->scanned)
        return a->scanned < b->scanned ? -1 : 1;
    return (a->piece > b->piece) - (a->piece < b->piece);
}

static int64_t clamp_ns(uint64_t ns)
{
    return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

/* A span may end before it starts: only the upper bound tells what a block cannot have. */
static ks_err list_blocks(struct scan *s)
{
    s->block_count = 0;
    for (size_t k = 0; k < s->count; k++)
        for (size_t i = 0; i < ks_traces_scan_count(s->items[k].scan); i++) {
            struct ks_traces_piece p = ks_traces_scan_piece(s->items[k].scan, i);
            if (clamp_ns(p.max_end_ns) < s->opts.min_ns)
                continue;
            KS_TRY(ks_array_reserve((void **)&s->blocks, &s->block_cap, s->block_count + 1,
                                    sizeof *s->blocks));
            s->blocks[s->block_count++] = (struct block_at){
                (uint32_t)k,
                (uint32_t)i,
                {INT64_MIN, clamp_ns(p.max_end_ns), p.spans, (uint64_t)p.spans * 256}};
        }
    if (s->block_count)
        qsort(s->blocks, s->block_count, sizeof *s->blocks, newest_first);
    return KS_OK;
}

static void open_tenant(void *arg, struct ks_tenant tenant)
{
    struct scan *s = arg;
    struct ks_traces_scan *scan;
    if (s->err != KS_OK)
        return;
    s->err = ks_array_reserve((void **)&s->items, &s->cap, s->count + 1, sizeof *s->items);
    if (s->err == KS_OK)
        s->err = ks_traces_scan_open(s->traces, tenant, PIECE_SPANS, &scan);
    if (s->err == KS_OK)
        s->items[s->count++] = (struct scanned){tenant, scan};
}

struct tenants {
    struct ks_tenant *items;
    size_t count, cap;
    ks_err err;
};

/* The ring's lock is held: nothing but noting it. */
static void note_tenant(void *arg, struct ks_tenant tenant)
{
    struct tenants *t = arg;
    if (t->err == KS_OK)
        t->err = ks_array_reserve((void **)&t->items, &t->cap, t->count + 1, sizeof *t->items);
    if (t->err == KS_OK)
        t->items[t->count++] = tenant;
}

static void scan_free(void *self, void *scan)
{
    struct scan *s = scan;
    for (size_t i = 0; i < s->count; i++)
        ks_traces_scan_close(s->items[i].scan);
    ks_free(s->items);
    ks_free(s->blocks);
    ks_free(s);
}

static ks_err scan_open(void *self, const struct ks_log_scan_opts *opts, void **ret)
{
    struct tenants all = {0};
    struct scan *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->traces = self;
    s->opts = *opts;
    if (!opts->tenants)
        ks_traces_tenants(s->traces, note_tenant, &all);
    s->err = all.err;
    for (size_t i = 0; i < (opts->tenants ? opts->tenant_count : all.count); i++)
        open_tenant(s, opts->tenants ? opts->tenants[i] : all.items[i]);
    ks_free(all.items);
    ks_err err = s->err;
    if (err == KS_OK)
        err = list_blocks(s);
    if (err != KS_OK)
        scan_free(self, s);
    else
        *ret = s;
    return err;
}

/* Only trace ids are worth it: everything else is told from the heads. */
static ks_err scan_prune(void *self, void *scan, struct ks_slice name,
                         const struct ks_log_pred *pred)
{
    struct scan *s = scan;
    size_t n = 0;
    if (!ks_slice_is(name, "trace_id") || !pred->exact || pred->match_empty)
        return KS_OK;
    struct ks_trace_id *ids = ks_alloc_array(pred->exact_count + 1, sizeof *ids);
    if (!ids)
        return KS_ENOMEM;
    for (size_t i = 0; i < pred->exact_count; i++)
        n += ks_trace_id_of_text(pred->exact[i], &ids[n]);
    ks_err err = KS_OK;
    for (size_t i = 0; i < s->count && err == KS_OK; i++)
        err = ks_traces_scan_only(s->items[i].scan, ids, n);
    ks_free(ids);
    return err == KS_OK ? list_blocks(s) : err;
}

static size_t block_count(void *scan)
{
    return ((struct scan *)scan)->block_count;
}

static struct ks_log_block_meta block_meta(void *scan, size_t i)
{
    return ((struct scan *)scan)->blocks[i].meta;
}

/* ---------------------------------------------------------------- blocks */

static ks_err block_new(void *self, struct ks_lq_block **ret)
{
    struct ks_lq_block *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    ks_arena_init(&b->arena, BLOCK_ARENA_BYTES);
    *ret = b;
    return KS_OK;
}

static void block_free(struct ks_lq_block *b)
{
    if (!b)
        return;
    ks_arena_done(&b->arena);
    ks_free(b);
}

static struct ks_traces_scan *traces_scan(const struct ks_lq_block *b)
{
    return b->scan->items[b->at->scanned].scan;
}

static ks_err block_open(struct ks_lq_block *b, void *scan, size_t i)
{
    struct ks_arena arena = b->arena;
    ks_arena_reset(&arena);
    *b = (struct ks_lq_block){.arena = arena, .scan = scan};
    b->at = &b->scan->blocks[i];
    return ks_traces_scan_heads(traces_scan(b), b->at->piece, &b->arena, &b->h);
}

static uint32_t rows(struct ks_lq_block *b)
{
    return (uint32_t)b->h.count;
}

static bool has_bit(const uint64_t *bits, size_t row)
{
    return !bits || (bits[row / 64] >> (row % 64) & 1);
}

static void clear_bit(uint64_t *bits, size_t row)
{
    bits[row / 64] &= ~((uint64_t)1 << (row % 64));
}

/* The rows of bits in full. */
static ks_err fill(struct ks_lq_block *b, const uint64_t *bits)
{
    size_t words = KS_ROW_WORDS(b->h.count);
    uint64_t *missing = ks_arena_array(&b->arena, words + 1, sizeof *missing), any = 0;
    if (!b->filled)
        b->filled = ks_arena_zalloc(&b->arena, (words + 1) * sizeof *b->filled);
    if (!missing || !b->filled)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < words; i++) {
        missing[i] = (bits ? bits[i] : UINT64_MAX) & ~b->filled[i];
        b->filled[i] |= missing[i];
        any |= missing[i];
    }
    return any ? ks_traces_scan_fill(traces_scan(b), b->at->piece, &b->h, missing, &b->arena)
               : KS_OK;
}

/* --- processes --- */
static ks_err procs_grow(struct procs *p, struct ks_arena *arena)
{
    size_t n = p->slots ? (p->mask + 1) * 2 : 64;
    uint32_t *fresh = ks_arena_zalloc(arena, n * sizeof *fresh);
    if (!fresh)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < p->count; i++) {
        size_t at = ks_mix64((uintptr_t)p->items[i]) & (n - 1);
        while (fresh[at])
            at = (at + 1) & (n - 1);
        fresh[at] = i + 1;
    }
    p->slots = fresh;
    p->mask = n - 1;
    return KS_OK;
}

static ks_err procs_number(struct procs *p, const void *item, struct ks_arena *arena, uint32_t *ret)
{
    if (!p->slots || (p->count + 1) * 2 > p->mask + 1)
        KS_TRY(procs_grow(p, arena));
    size_t at = ks_mix64((uintptr_t)item) & p->mask;
    for (; p->slots[at]; at = (at + 1) & p->mask)
        if (p->items[p->slots[at] - 1] == item) {
            *ret = p->slots[at] - 1;
            return KS_OK;
        }
    KS_TRY(ks_arena_grow(arena, (void **)&p->items, &p->cap, p->count + 1, sizeof *p->items));
    p->items[p->count] = item;
    *ret = (uint32_t)p->count;
    p->slots[at] = (uint32_t)++p->count;
    return KS_OK;
}

static ks_err procs_make(struct ks_lq_block *b, bool scopes)
{
    struct procs *p = scopes ? &b->scopes : &b->resources;
    const void *last = NULL;
    uint32_t number = 0;
    if (p->of_row)
        return KS_OK;
    uint32_t *of = ks_arena_array(&b->arena, b->h.count + 1, sizeof *of);
    if (!of)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < b->h.count; i++) {
        const struct ks_span *s = &b->h.spans[i];
        const void *item = scopes ? (const void *)s->scope : (const void *)s->resource;
        if (item != last)
            KS_TRY(procs_number(p, item, &b->arena, &number));
        of[i] = number;
        last = item;
    }
    p->of_row = of;
    return KS_OK;
}

/* The value of a field of a process, for each of them. */
static ks_err procs_values(struct ks_lq_block *b, bool scopes, struct ks_slice name,
                           struct ks_slice **ret)
{
    KS_TRY(procs_make(b, scopes));
    struct procs *p = scopes ? &b->scopes : &b->resources;
    struct ks_slice *values = ks_arena_array(&b->arena, p->count + 1, sizeof *values);
    if (!values)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < p->count; i++) {
        struct ks_span s = {0};
        if (scopes)
            s.scope = p->items[i];
        else
            s.resource = p->items[i];
        KS_TRY(ks_span_field(&s, name, &b->arena, &values[i]));
    }
    *ret = values;
    return KS_OK;
}

/* ---------------------------------------------------------------- streams and times */

static ks_err stream_tags(struct ks_slice service, struct ks_slice name, struct ks_arena *arena,
                          struct ks_slice *ret)
{
    struct ks_label labels[2];
    struct ks_labels l = {.items = labels};
    struct ks_buf b;
    if (name.len)
        labels[l.count++] = (struct ks_label){KS_SLICE_LIT("name"), name};
    if (service.len)
        labels[l.count++] = (struct ks_label){service_field, service};
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    ks_labels_encode(&l, &b);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK) {
        *ret = ks_arena_dup(arena, ks_buf_view(&b));
        err = ret->ptr ? KS_OK : ks_arena_err(arena);
    }
    ks_buf_done(&b);
    return err;
}

ks_err ks_span_stream_tags(const struct ks_span *s, struct ks_arena *arena, struct ks_slice *ret)
{
    struct ks_slice service;
    KS_TRY(ks_span_field(s, service_field, arena, &service));
    return stream_tags(service, s->name, arena, ret);
}

/* Streams by service and name; slots are number + 1. */
struct stream_table {
    struct ks_slice *services, *names;
    uint32_t *slots;
    size_t mask;
};

static ks_err add_stream(struct ks_lq_block *b, struct stream_table *t, struct ks_slice service,
                         struct ks_slice name, uint32_t *ret)
{
    size_t at =
        (ks_hash64(service.ptr, service.len) * 31 + ks_hash64(name.ptr, name.len)) & t->mask;
    for (; t->slots[at]; at = (at + 1) & t->mask) {
        *ret = t->slots[at] - 1;
        if (ks_slice_eq(t->services[*ret], service) && ks_slice_eq(t->names[*ret], name))
            return KS_OK;
    }
    struct ks_tenant tenant = b->scan->items[b->at->scanned].tenant;
    struct ks_slice tags;
    KS_TRY(stream_tags(service, name, &b->arena, &tags));
    size_t n = b->stream_count++;
    b->streams[n] = (struct ks_log_stream){tenant, tags, ks_stream_id_of(tenant, tags)};
    t->services[n] = service;
    t->names[n] = name;
    t->slots[at] = (uint32_t)n + 1;
    *ret = (uint32_t)n;
    return KS_OK;
}

static ks_err make_streams(struct ks_lq_block *b)
{
    struct stream_table t = {0};
    struct ks_slice *services;
    size_t n = b->h.count, slots = 64;
    if (b->stream_of_row)
        return KS_OK;
    while (slots < n * 2)
        slots *= 2;
    KS_TRY(procs_values(b, false, service_field, &services));
    t.mask = slots - 1;
    t.slots = ks_arena_zalloc(&b->arena, slots * sizeof *t.slots);
    t.services = ks_arena_array(&b->arena, n + 1, sizeof *t.services);
    t.names = ks_arena_array(&b->arena, n + 1, sizeof *t.names);
    b->streams = ks_arena_array(&b->arena, n + 1, sizeof *b->streams);
    uint32_t *of = ks_arena_array(&b->arena, n + 1, sizeof *of);
    if (!t.slots || !t.services || !t.names || !b->streams || !of)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < n; i++)
        KS_TRY(add_stream(b, &t, services[b->resources.of_row[i]], b->h.spans[i].name, &of[i]));
    b->stream_of_row = of;
    return KS_OK;
}

static ks_err streams(struct ks_lq_block *b, const struct ks_log_stream **ret, size_t *ret_count,
                      const uint32_t **ret_of_row)
{
    KS_TRY(make_streams(b));
    *ret = b->streams;
    *ret_count = b->stream_count;
    *ret_of_row = b->stream_of_row;
    return KS_OK;
}

static ks_err times(struct ks_lq_block *b, const int64_t **ret)
{
    if (!b->times) {
        int64_t *t = ks_arena_array(&b->arena, b->h.count + 1, sizeof *t);
        if (!t)
            return ks_arena_err(&b->arena);
        for (size_t i = 0; i < b->h.count; i++)
            t[i] = ks_span_time_ns(&b->h.spans[i]);
        b->times = t;
    }
    *ret = b->times;
    return KS_OK;
}

static ks_err select_streams(struct ks_lq_block *b, uint64_t *bits)
{
    const struct ks_log_scan_opts *o = &b->scan->opts;
    KS_TRY(make_streams(b));
    bool *wanted = ks_arena_array(&b->arena, b->stream_count + 1, sizeof *wanted);
    if (!wanted)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < b->stream_count; i++)
        wanted[i] = o->stream(o->stream_arg, &b->streams[i]);
    for (size_t i = 0; i < b->h.count; i++)
        if (!wanted[b->stream_of_row[i]])
            clear_bit(bits, i);
    return KS_OK;
}

static ks_err select_rows(struct ks_lq_block *b, uint64_t *bits, bool *ret_any)
{
    const struct ks_log_scan_opts *o = &b->scan->opts;
    const int64_t *t;
    *ret_any = false;
    KS_TRY(times(b, &t));
    if (o->stream)
        KS_TRY(select_streams(b, bits));
    for (size_t i = 0; i < b->h.count; i++) {
        if (t[i] < o->min_ns || t[i] > o->max_ns)
            clear_bit(bits, i);
        else if (has_bit(bits, i))
            *ret_any = true;
    }
    return KS_OK;
}

/* ---------------------------------------------------------------- all fields of the rows */

static ks_err columns_grow(struct ks_lq_block *b)
{
    size_t n = b->column_slots ? (b->column_mask + 1) * 2 : 256;
    uint32_t *fresh = ks_arena_zalloc(&b->arena, n * sizeof *fresh);
    if (!fresh)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < b->column_count; i++) {
        struct ks_slice name = b->columns[i].name;
        size_t at = ks_hash64(name.ptr, name.len) & (n - 1);
        while (fresh[at])
            at = (at + 1) & (n - 1);
        fresh[at] = i + 1;
    }
    b->column_slots = fresh;
    b->column_mask = n - 1;
    return KS_OK;
}

/* SIZE_MAX: no such column. *ret_slot: where it would stand. */
static size_t find_column(const struct ks_lq_block *b, struct ks_slice name, size_t *ret_slot)
{
    size_t at = ks_hash64(name.ptr, name.len) & b->column_mask;
    for (; b->column_slots[at]; at = (at + 1) & b->column_mask)
        if (ks_slice_eq(b->columns[b->column_slots[at] - 1].name, name))
            return b->column_slots[at] - 1;
    *ret_slot = at;
    return SIZE_MAX;
}

static ks_err add_column(struct ks_lq_block *b, struct ks_slice name, size_t *ret)
{
    size_t slot;
    if (!b->column_slots || (b->column_count + 1) * 2 > b->column_mask + 1)
        KS_TRY(columns_grow(b));
    *ret = find_column(b, name, &slot);
    if (*ret != SIZE_MAX)
        return KS_OK;
    KS_TRY(ks_arena_grow(&b->arena, (void **)&b->columns, &b->column_cap, b->column_count + 1,
                         sizeof *b->columns));
    struct ks_slice *values = ks_arena_zalloc(&b->arena, (b->h.count + 1) * sizeof *values);
    if (!values)
        return ks_arena_err(&b->arena);
    *ret = b->column_count;
    b->columns[b->column_count++] = (struct cell_column){name, values};
    b->column_slots[slot] = (uint32_t)b->column_count;
    return KS_OK;
}

/* Neighbouring rows have the same fields at the same places. */
static ks_err add_cell(void *arg, struct ks_slice name, struct ks_slice value,
                       const struct ks_attr *of)
{
    struct ks_lq_block *b = arg;
    size_t k = b->field++, column;
    if (k < b->guess_count && ks_slice_eq(b->columns[b->guess[k]].name, name)) {
        b->columns[b->guess[k]].values[b->row] = value;
        return KS_OK;
    }
    KS_TRY(add_column(b, name, &column));
    b->columns[column].values[b->row] = value;
    if (k >= b->guess_count) {
        KS_TRY(
            ks_arena_grow(&b->arena, (void **)&b->guess, &b->guess_cap, k + 1, sizeof *b->guess));
        b->guess_count = k + 1;
    }
    b->guess[k] = (uint32_t)column;
    return KS_OK;
}

static int name_order(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

static ks_err make_columns(struct ks_lq_block *b)
{
    if (b->names)
        return KS_OK;
    KS_TRY(fill(b, b->narrowed));
    for (size_t i = 0; i < b->h.count; i++) {
        if (!has_bit(b->narrowed, i))
            continue;
        b->row = (uint32_t)i;
        b->field = 0;
        KS_TRY(ks_span_fields(&b->h.spans[i], &b->arena, add_cell, b));
    }
    struct ks_slice *names = ks_arena_array(&b->arena, b->column_count + 1, sizeof *names);
    if (!names)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < b->column_count; i++)
        names[i] = b->columns[i].name;
    if (b->column_count)
        qsort(names, b->column_count, sizeof *names, name_order);
    b->names = names;
    return KS_OK;
}

static ks_err names(struct ks_lq_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    KS_TRY(make_columns(b));
    *ret = b->names;
    *ret_count = b->column_count;
    return KS_OK;
}

static ks_err narrow(struct ks_lq_block *b, const uint64_t *bits)
{
    size_t words = KS_ROW_WORDS(b->h.count);
    if (b->names)
        return KS_OK; /* made for more rows already */
    b->narrowed = ks_arena_array(&b->arena, words + 1, sizeof *b->narrowed);
    if (!b->narrowed)
        return ks_arena_err(&b->arena);
    memcpy(b->narrowed, bits, words * sizeof *bits);
    return KS_OK;
}

/* ---------------------------------------------------------------- single columns */

static ks_err process_column(struct ks_lq_block *b, bool scopes, struct ks_slice name,
                             struct ks_log_column *ret)
{
    struct ks_slice *values;
    bool any = false;
    KS_TRY(procs_values(b, scopes, name, &values));
    const struct procs *p = scopes ? &b->scopes : &b->resources;
    for (size_t i = 0; i < p->count; i++)
        any |= values[i].len > 0;
    *ret = (struct ks_log_column){KS_COL_ABSENT, 0, NULL, NULL};
    if (any)
        *ret = (struct ks_log_column){p->count == 1 ? KS_COL_CONST : KS_COL_DICT,
                                      (uint32_t)p->count, values, p->of_row};
    return KS_OK;
}

static ks_err row_column(struct ks_lq_block *b, struct ks_slice name, bool rest,
                         const uint64_t *bits, struct ks_log_column *ret)
{
    struct ks_slice *values = ks_arena_zalloc(&b->arena, (b->h.count + 1) * sizeof *values);
    bool any = false;
    if (!values)
        return ks_arena_err(&b->arena);
    if (rest)
        KS_TRY(fill(b, bits));
    for (size_t i = 0; i < b->h.count; i++) {
        if (!has_bit(bits, i))
            continue;
        KS_TRY(ks_span_field(&b->h.spans[i], name, &b->arena, &values[i]));
        any |= values[i].len > 0;
    }
    *ret = (struct ks_log_column){any ? KS_COL_VALUES : KS_COL_ABSENT, (uint32_t)b->h.count, values,
                                  NULL};
    return KS_OK;
}

static ks_err column(struct ks_lq_block *b, struct ks_slice name, const uint64_t *bits,
                     struct ks_log_column *ret)
{
    static const struct ks_slice dash = {"-", 1};
    enum ks_span_field_part part = ks_span_field_part(name);
    *ret = (struct ks_log_column){KS_COL_ABSENT, 0, NULL, NULL};
    if (part == KS_SPAN_PART_NONE || !b->h.count)
        return KS_OK;
    if (part == KS_SPAN_PART_RESOURCE || part == KS_SPAN_PART_SCOPE)
        return process_column(b, part == KS_SPAN_PART_SCOPE, name, ret);
    if (ks_slice_is(name, "_msg")) {
        *ret = (struct ks_log_column){KS_COL_CONST, 1, &dash, NULL};
        return KS_OK;
    }
    if (!b->names)
        return row_column(b, name, part == KS_SPAN_PART_REST, bits, ret);
    size_t slot, at = b->column_slots ? find_column(b, name, &slot) : SIZE_MAX;
    if (at != SIZE_MAX)
        *ret = (struct ks_log_column){KS_COL_VALUES, (uint32_t)b->h.count, b->columns[at].values,
                                      NULL};
    return KS_OK;
}

static ks_err filter_processes(struct ks_lq_block *b, bool scopes, struct ks_slice name,
                               const struct ks_log_pred *pred, uint64_t *bits)
{
    struct ks_slice *values;
    KS_TRY(procs_values(b, scopes, name, &values));
    const struct procs *p = scopes ? &b->scopes : &b->resources;
    bool *fits = ks_arena_array(&b->arena, p->count + 1, sizeof *fits);
    if (!fits)
        return ks_arena_err(&b->arena);
    for (size_t i = 0; i < p->count; i++)
        fits[i] = pred->match(pred->arg, values[i]);
    for (size_t i = 0; i < b->h.count; i++)
        if (!fits[p->of_row[i]])
            clear_bit(bits, i);
    return KS_OK;
}

static ks_err filter(struct ks_lq_block *b, struct ks_slice name, const struct ks_log_pred *pred,
                     uint64_t *bits)
{
    enum ks_span_field_part part = ks_span_field_part(name);
    if (part == KS_SPAN_PART_RESOURCE || part == KS_SPAN_PART_SCOPE)
        return filter_processes(b, part == KS_SPAN_PART_SCOPE, name, pred, bits);
    if (part == KS_SPAN_PART_NONE || part == KS_SPAN_PART_HEAD) {
        if (part == KS_SPAN_PART_NONE && pred->match(pred->arg, ks_slice("", 0)))
            return KS_OK;
    } else {
        KS_TRY(fill(b, bits));
    }
    for (size_t i = 0; i < b->h.count; i++) {
        struct ks_slice v = ks_slice("", 0);
        if (!has_bit(bits, i))
            continue;
        KS_TRY(ks_span_field(&b->h.spans[i], name, &b->arena, &v));
        if (!pred->match(pred->arg, v))
            clear_bit(bits, i);
    }
    return KS_OK;
}

struct ks_lq_source ks_lq_source_traces(struct ks_traces *t)
{
    return (struct ks_lq_source){.self = t,
                                 .scan = scan_open,
                                 .scan_free = scan_free,
                                 .block_count = block_count,
                                 .block_meta = block_meta,
                                 .block_new = block_new,
                                 .block_free = block_free,
                                 .block_open = block_open,
                                 .rows = rows,
                                 .select = select_rows,
                                 .times = times,
                                 .streams = streams,
                                 .names = names,
                                 .column = column,
                                 .filter = filter,
                                 .prune = scan_prune,
                                 .narrow = narrow};
}
