/* See source_mem.h. A block makes its columns when they are asked for, in its own arena, of the
 * kind that fits: constant, dictionary of up to 8 values, or values. */
#include "query/logsql/source_mem.h"

#include <stdlib.h>

#include "base/mem.h"

struct mem_row {
    int64_t time_ns;
    uint32_t stream, field_count;
    struct ks_log_field *fields;
};
struct ks_lq_mem {
    struct ks_arena arena;
    struct mem_row *rows;
    size_t row_count, row_cap;
    struct ks_log_stream *streams;
    size_t stream_count, stream_cap;
    uint32_t block_rows;
};
struct mem_scan {
    struct ks_lq_mem *m;
    struct ks_log_scan_opts opts;
    struct mem_row *rows; /* all, newest first */
};
struct ks_lq_block {
    struct ks_arena arena;
    struct mem_scan *scan;
    const struct mem_row *rows;
    uint32_t count;
};

ks_err ks_lq_mem_new(uint32_t block_rows, struct ks_lq_mem **ret)
{
    struct ks_lq_mem *m = ks_zalloc(sizeof *m);
    if (!m)
        return KS_ENOMEM;
    ks_arena_init(&m->arena, KS_BUF_UNLIMITED);
    m->block_rows = block_rows ? block_rows : 1000;
    *ret = m;
    return KS_OK;
}

void ks_lq_mem_free(struct ks_lq_mem *m)
{
    if (!m)
        return;
    ks_arena_done(&m->arena);
    ks_free(m);
}

static ks_err find_stream(struct ks_lq_mem *m, struct ks_tenant tenant, struct ks_slice tags,
                          uint32_t *ret)
{
    size_t i = 0;
    while (i < m->stream_count &&
           !(ks_tenant_eq(m->streams[i].tenant, tenant) && ks_slice_eq(m->streams[i].tags, tags)))
        i++;
    *ret = (uint32_t)i;
    if (i < m->stream_count)
        return KS_OK;
    if (i == m->stream_cap)
        KS_TRY(ks_arena_grow(&m->arena, (void **)&m->streams, &m->stream_cap, i + 1,
                             sizeof *m->streams));
    struct ks_slice copy = ks_arena_dup(&m->arena, tags);
    if (!copy.ptr)
        return ks_arena_err(&m->arena);
    m->streams[m->stream_count++] =
        (struct ks_log_stream){tenant, copy, ks_stream_id_of(tenant, copy)};
    return KS_OK;
}

ks_err ks_lq_mem_add(struct ks_lq_mem *m, struct ks_tenant tenant, int64_t time_ns,
                     struct ks_slice tags, const struct ks_log_field *fields, size_t count)
{
    struct mem_row row = {.time_ns = time_ns};
    KS_TRY(find_stream(m, tenant, tags, &row.stream));
    row.fields = ks_arena_array(&m->arena, count + 1, sizeof *row.fields);
    if (!row.fields)
        return ks_arena_err(&m->arena);
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].value.len)
            continue;
        struct ks_log_field *f = &row.fields[row.field_count++];
        f->name = ks_arena_dup(&m->arena, fields[i].name);
        f->value = ks_arena_dup(&m->arena, fields[i].value);
        if (!f->name.ptr || !f->value.ptr)
            return ks_arena_err(&m->arena);
    }
    if (m->row_count == m->row_cap)
        KS_TRY(ks_arena_grow(&m->arena, (void **)&m->rows, &m->row_cap, m->row_count + 1,
                             sizeof *m->rows));
    m->rows[m->row_count++] = row;
    return KS_OK;
}

/* --- scans --- */

static int newest_first(const void *pa, const void *pb)
{
    const struct mem_row *a = pa, *b = pb;
    if (a->time_ns != b->time_ns)
        return a->time_ns > b->time_ns ? -1 : 1;
    return ((uintptr_t)a->fields > (uintptr_t)b->fields) -
           ((uintptr_t)a->fields < (uintptr_t)b->fields);
}

static ks_err mem_scan(void *self, const struct ks_log_scan_opts *opts, void **ret_scan)
{
    struct ks_lq_mem *m = self;
    struct mem_scan *s = ks_zalloc(sizeof *s);
    if (!s)
        return KS_ENOMEM;
    s->rows = ks_alloc_array(m->row_count + 1, sizeof *s->rows);
    if (!s->rows) {
        ks_free(s);
        return KS_ENOMEM;
    }
    if (m->row_count) {
        memcpy(s->rows, m->rows, m->row_count * sizeof *s->rows);
        qsort(s->rows, m->row_count, sizeof *s->rows, newest_first);
    }
    s->m = m;
    s->opts = *opts;
    *ret_scan = s;
    return KS_OK;
}

static void mem_scan_free(void *self, void *scan)
{
    struct mem_scan *s = scan;
    ks_free(s->rows);
    ks_free(s);
}

static size_t mem_block_count(void *scan)
{
    struct mem_scan *s = scan;
    return (s->m->row_count + s->m->block_rows - 1) / s->m->block_rows;
}

static uint32_t rows_of(const struct mem_scan *s, size_t i)
{
    size_t left = s->m->row_count - i * s->m->block_rows;
    return left < s->m->block_rows ? (uint32_t)left : s->m->block_rows;
}

static struct ks_log_block_meta mem_block_meta(void *scan, size_t i)
{
    struct mem_scan *s = scan;
    const struct mem_row *first = &s->rows[i * s->m->block_rows];
    uint32_t n = rows_of(s, i);
    return (struct ks_log_block_meta){
        .min_ns = first[n - 1].time_ns, .max_ns = first->time_ns, .row_count = n, .bytes = n};
}

static ks_err mem_block_new(void *self, struct ks_lq_block **ret)
{
    struct ks_lq_block *b = ks_zalloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    ks_arena_init(&b->arena, KS_BUF_UNLIMITED);
    *ret = b;
    return KS_OK;
}

static void mem_block_free(struct ks_lq_block *b)
{
    if (!b)
        return;
    ks_arena_done(&b->arena);
    ks_free(b);
}

static ks_err mem_block_open(struct ks_lq_block *b, void *scan, size_t i)
{
    struct mem_scan *s = scan;
    ks_arena_reset(&b->arena);
    b->scan = s;
    b->rows = &s->rows[i * s->m->block_rows];
    b->count = rows_of(s, i);
    return KS_OK;
}

static uint32_t mem_rows(struct ks_lq_block *b)
{
    return b->count;
}

static bool wanted(const struct ks_lq_block *b, const struct mem_row *r)
{
    const struct ks_log_scan_opts *o = &b->scan->opts;
    const struct ks_log_stream *s = &b->scan->m->streams[r->stream];
    bool tenant = o->tenants == NULL;
    for (size_t i = 0; !tenant && i < o->tenant_count; i++)
        tenant = ks_tenant_eq(o->tenants[i], s->tenant);
    return tenant && r->time_ns >= o->min_ns && r->time_ns <= o->max_ns &&
           (!o->stream || o->stream(o->stream_arg, s));
}

static ks_err mem_select(struct ks_lq_block *b, uint64_t *bits, bool *ret_any)
{
    *ret_any = false;
    for (uint32_t i = 0; i < b->count; i++) {
        if (!wanted(b, &b->rows[i]))
            bits[i / 64] &= ~(1ull << (i % 64));
        else if (bits[i / 64] >> (i % 64) & 1)
            *ret_any = true;
    }
    return KS_OK;
}

static ks_err mem_times(struct ks_lq_block *b, const int64_t **ret_ns)
{
    int64_t *t = ks_arena_array(&b->arena, b->count, sizeof *t);
    if (!t)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < b->count; i++)
        t[i] = b->rows[i].time_ns;
    *ret_ns = t;
    return KS_OK;
}

static ks_err mem_streams(struct ks_lq_block *b, const struct ks_log_stream **ret,
                          size_t *ret_count, const uint32_t **ret_of_row)
{
    uint32_t *of = ks_arena_array(&b->arena, b->count, sizeof *of);
    if (!of)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < b->count; i++)
        of[i] = b->rows[i].stream;
    *ret = b->scan->m->streams;
    *ret_count = b->scan->m->stream_count;
    *ret_of_row = of;
    return KS_OK;
}

static int name_order(const void *a, const void *b)
{
    return ks_slice_cmp(*(const struct ks_slice *)a, *(const struct ks_slice *)b);
}

static ks_err mem_names(struct ks_lq_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    struct ks_slice *names = NULL;
    size_t n = 0, cap = 0, k = 0;
    for (uint32_t i = 0; i < b->count; i++)
        for (uint32_t f = 0; f < b->rows[i].field_count; f++) {
            if (n == cap)
                KS_TRY(ks_arena_grow(&b->arena, (void **)&names, &cap, n + 1, sizeof *names));
            names[n++] = b->rows[i].fields[f].name;
        }
    if (n)
        qsort(names, n, sizeof *names, name_order);
    for (size_t i = 0; i < n; i++)
        if (!k || !ks_slice_eq(names[k - 1], names[i]))
            names[k++] = names[i];
    *ret = names;
    *ret_count = k;
    return KS_OK;
}

static struct ks_slice value_of(const struct mem_row *r, struct ks_slice name)
{
    for (uint32_t i = 0; i < r->field_count; i++)
        if (ks_slice_eq(r->fields[i].name, name))
            return r->fields[i].value;
    return ks_slice("", 0);
}

static ks_err mem_column(struct ks_lq_block *b, struct ks_slice name, const uint64_t *bits,
                         struct ks_log_column *ret)
{
    struct ks_slice *values = ks_arena_array(&b->arena, b->count, sizeof *values);
    struct ks_slice *dict = ks_arena_array(&b->arena, 8, sizeof *dict);
    uint32_t *codes = ks_arena_array(&b->arena, b->count, sizeof *codes), n = 0;
    bool any = false;
    if (!values || !dict || !codes)
        return ks_arena_err(&b->arena);
    for (uint32_t i = 0; i < b->count; i++) {
        values[i] = value_of(&b->rows[i], name);
        any |= values[i].len > 0;
        uint32_t k = 0;
        while (k < n && k < 8 && !ks_slice_eq(dict[k], values[i]))
            k++;
        if (k == n && n < 8)
            dict[n++] = values[i];
        else if (k == 8)
            n = 9;
        codes[i] = k;
    }
    *ret = (struct ks_log_column){KS_COL_VALUES, b->count, values, NULL};
    if (!any)
        *ret = (struct ks_log_column){KS_COL_ABSENT, 0, NULL, NULL};
    else if (n == 1)
        *ret = (struct ks_log_column){KS_COL_CONST, 1, dict, NULL};
    else if (n <= 8)
        *ret = (struct ks_log_column){KS_COL_DICT, n, dict, codes};
    return KS_OK;
}

static ks_err mem_filter(struct ks_lq_block *b, struct ks_slice name,
                         const struct ks_log_pred *pred, uint64_t *bits)
{
    for (uint32_t i = 0; i < b->count; i++)
        if ((bits[i / 64] >> (i % 64) & 1) && !pred->match(pred->arg, value_of(&b->rows[i], name)))
            bits[i / 64] &= ~(1ull << (i % 64));
    return KS_OK;
}

struct ks_lq_source ks_lq_source_mem(struct ks_lq_mem *m)
{
    return (struct ks_lq_source){.self = m,
                                 .scan = mem_scan,
                                 .scan_free = mem_scan_free,
                                 .block_count = mem_block_count,
                                 .block_meta = mem_block_meta,
                                 .block_new = mem_block_new,
                                 .block_free = mem_block_free,
                                 .block_open = mem_block_open,
                                 .rows = mem_rows,
                                 .select = mem_select,
                                 .times = mem_times,
                                 .streams = mem_streams,
                                 .names = mem_names,
                                 .column = mem_column,
                                 .filter = mem_filter};
}
