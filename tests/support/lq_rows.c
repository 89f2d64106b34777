#include "lq_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "query/logsql/exec.h"
#include "query/logsql/filter/value.h"
#include "query/logsql/syntax/parser.h"
#include "query/logsql/text/json_text.h"
#include "storage/logs/pred.h"
#include "sys/clock.h"
#include "sys/pool.h"
#include "sys/rand.h"

enum { ROWS_MAX = 200000, MEM_MAX = 1 << 30 };

struct row {
    int64_t time_ns;
    struct ksi_json_fields fields;
};
struct column {
    struct ks_slice name;
    struct ks_slice *values; /* per row */
    struct ks_log_column shown;
};
struct block {
    uint32_t rows;
    int64_t *times;
    uint32_t *stream_of;
    struct column *cols;
    size_t count;
    struct ks_slice *names;
};
struct mem {
    struct ks_arena arena;
    struct row *rows;
    size_t row_count, row_cap;
    struct block *blocks;
    size_t block_count, block_cap;
    struct ks_log_stream stream;
    uint64_t seed;
};
struct ks_lq_block { /* what the executor opens */
    struct mem *m;
    struct block *b;
};

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "lq_rows: %s\n", ks_err_text());                                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---------------------------------------------------------------- rows into blocks */

static void read_rows(struct mem *m, const char *text)
{
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t len = end ? (size_t)(end - text) : strlen(text);
        struct row r = {1704067200000000000 + (int64_t)m->row_count * 1000000000, {NULL, 0, 0}};
        bool ok = true;
        if (len) {
            MUST(ksi_json_flatten(ks_arena_dup(&m->arena, ks_slice(text, len)), NULL, NULL,
                                  &m->arena, &r.fields, &ok) == KS_OK);
            for (size_t i = 0; i < r.fields.count; i++)
                if (ks_slice_is(r.fields.items[i].name, "_time")) {
                    (void)ks_lq_parse_rfc3339(r.fields.items[i].value, &r.time_ns);
                    r.fields.items[i--] = r.fields.items[--r.fields.count];
                }
            if (ok)
                MUST(ks_array_reserve((void **)&m->rows, &m->row_cap, m->row_count + 1, sizeof r) ==
                     KS_OK);
            if (ok)
                m->rows[m->row_count++] = r;
        }
        text += len + (end != NULL);
    }
}

static bool same_shape(const struct row *a, const struct row *b)
{
    if (a->fields.count != b->fields.count)
        return false;
    for (size_t i = 0; i < a->fields.count; i++) {
        if (!ks_slice_eq(a->fields.items[i].name, b->fields.items[i].name))
            return false;
    }
    return true;
}

static struct column *column_of(struct mem *m, struct block *b, struct ks_slice name, size_t max)
{
    for (size_t i = 0; i < b->count; i++)
        if (ks_slice_eq(b->cols[i].name, name))
            return &b->cols[i];
    struct column *c = &b->cols[b->count++];
    MUST(b->count <= max);
    c->name = name;
    c->values = ks_arena_zalloc(&m->arena, b->rows * sizeof *c->values);
    MUST(c->values);
    return c;
}

/* Chooses how the column is shown: constant, dictionary or values. */
static void encode(struct mem *m, struct block *b, struct column *c)
{
    bool constant = true;
    for (uint32_t r = 1; r < b->rows; r++)
        constant = constant && ks_slice_eq(c->values[r], c->values[0]);
    c->shown = (struct ks_log_column){KS_COL_VALUES, b->rows, c->values, NULL};
    if (!m->seed)
        return;
    if (constant && ks_rng_below(&m->seed, 2)) {
        c->shown = (struct ks_log_column){KS_COL_CONST, 1, c->values, NULL};
    } else if (ks_rng_below(&m->seed, 3)) {
        uint32_t *codes = ks_arena_array(&m->arena, b->rows, sizeof *codes), n = 0;
        struct ks_slice *dict = ks_arena_array(&m->arena, b->rows, sizeof *dict);
        MUST(codes && dict);
        for (uint32_t r = 0; r < b->rows; r++) {
            uint32_t k = 0;
            while (k < n && !ks_slice_eq(dict[k], c->values[r]))
                k++;
            if (k == n)
                dict[n++] = c->values[r];
            codes[r] = k;
        }
        c->shown = (struct ks_log_column){KS_COL_DICT, n, dict, codes};
    }
}

static int name_cmp(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct column *)a)->name, ((const struct column *)b)->name);
}

static void add_block(struct mem *m, size_t first, size_t count)
{
    size_t max = 1;
    for (size_t i = 0; i < count; i++)
        max += m->rows[first + i].fields.count;
    MUST(ks_array_reserve((void **)&m->blocks, &m->block_cap, m->block_count + 1,
                          sizeof *m->blocks) == KS_OK);
    struct block *b = &m->blocks[m->block_count++];
    *b = (struct block){.rows = (uint32_t)count};
    b->times = ks_arena_array(&m->arena, count, sizeof *b->times);
    b->stream_of = ks_arena_zalloc(&m->arena, count * sizeof *b->stream_of);
    b->cols = ks_arena_zalloc(&m->arena, max * sizeof *b->cols);
    b->names = ks_arena_array(&m->arena, max, sizeof *b->names);
    MUST(b->times && b->stream_of && b->cols && b->names);
    for (size_t i = 0; i < count; i++) {
        const struct row *r = &m->rows[first + i];
        b->times[i] = r->time_ns;
        for (size_t k = 0; k < r->fields.count; k++)
            column_of(m, b, r->fields.items[k].name, max)->values[i] = r->fields.items[k].value;
    }
    qsort(b->cols, b->count, sizeof *b->cols, name_cmp);
    for (size_t k = 0; k < b->count; k++) {
        b->names[k] = b->cols[k].name;
        encode(m, b, &b->cols[k]);
    }
}

static void make_blocks(struct mem *m, size_t block_rows)
{
    for (size_t first = 0; first < m->row_count;) {
        size_t most = block_rows ? block_rows : 4096, n = 1;
        if (m->seed)
            most = 1 + ks_rng_below(&m->seed, most);
        while (n < most && first + n < m->row_count &&
               (m->seed || same_shape(&m->rows[first], &m->rows[first + n])))
            n++;
        add_block(m, first, n);
        first += n;
    }
}

/* ---------------------------------------------------------------- the source */

static ks_err src_scan(void *self, const struct ks_log_scan_opts *opts, void **ret)
{
    *ret = self;
    return KS_OK;
}
static void src_scan_free(void *self, void *scan)
{
}
static size_t src_block_count(void *scan)
{
    return ((struct mem *)scan)->block_count;
}
static struct ks_log_block_meta src_block_meta(void *scan, size_t i)
{
    const struct block *b = &((struct mem *)scan)->blocks[i];
    struct ks_log_block_meta meta = {b->times[0], b->times[0], b->rows, 1000};
    for (uint32_t r = 0; r < b->rows; r++) {
        meta.min_ns = b->times[r] < meta.min_ns ? b->times[r] : meta.min_ns;
        meta.max_ns = b->times[r] > meta.max_ns ? b->times[r] : meta.max_ns;
    }
    return meta;
}
static ks_err src_block_new(void *self, struct ks_lq_block **ret)
{
    *ret = ks_zalloc(sizeof **ret);
    if (!*ret)
        return KS_ENOMEM;
    (*ret)->m = self;
    return KS_OK;
}
static void src_block_free(struct ks_lq_block *b)
{
    ks_free(b);
}
static ks_err src_block_open(struct ks_lq_block *b, void *scan, size_t i)
{
    b->b = &b->m->blocks[i];
    return KS_OK;
}
static uint32_t src_rows(struct ks_lq_block *b)
{
    return b->b->rows;
}
static ks_err src_select(struct ks_lq_block *b, uint64_t *bits, bool *ret_any)
{
    *ret_any = true;
    return KS_OK;
}
static ks_err src_times(struct ks_lq_block *b, const int64_t **ret)
{
    *ret = b->b->times;
    return KS_OK;
}
static ks_err src_streams(struct ks_lq_block *b, const struct ks_log_stream **ret,
                          size_t *ret_count, const uint32_t **ret_of_row)
{
    *ret = &b->m->stream;
    *ret_count = 1;
    *ret_of_row = b->b->stream_of;
    return KS_OK;
}
static ks_err src_names(struct ks_lq_block *b, const struct ks_slice **ret, size_t *ret_count)
{
    *ret = b->b->names;
    *ret_count = b->b->count;
    return KS_OK;
}
static ks_err src_column(struct ks_lq_block *b, struct ks_slice name, const uint64_t *bits,
                         struct ks_log_column *ret)
{
    *ret = (struct ks_log_column){KS_COL_ABSENT, 0, NULL, NULL};
    for (size_t i = 0; i < b->b->count; i++)
        if (ks_slice_eq(b->b->names[i], name))
            *ret = b->b->cols[i].shown;
    return KS_OK;
}
static ks_err src_filter(struct ks_lq_block *b, struct ks_slice name,
                         const struct ks_log_pred *pred, uint64_t *bits)
{
    struct column *c = NULL;
    for (size_t i = 0; i < b->b->count; i++)
        if (ks_slice_eq(b->b->names[i], name))
            c = &b->b->cols[i];
    for (uint32_t r = 0; r < b->b->rows; r++) {
        struct ks_slice v = c ? c->values[r] : KS_SLICE_LIT("");
        if (!(v.len ? pred->match(pred->arg, v) : pred->match_empty))
            bits[r / 64] &= ~(1ull << r % 64);
    }
    return KS_OK;
}

/* ---------------------------------------------------------------- the sink */

struct sink {
    struct ks_lq_stage s;
    char **lines;
    size_t count, cap;
};

static int field_cmp(const void *a, const void *b)
{
    return ks_slice_cmp(((const struct ksi_json_field *)a)->name,
                        ((const struct ksi_json_field *)b)->name);
}

static ks_err sink_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct sink *k = (struct sink *)s;
    struct ksi_json_field *fields = ks_alloc_array(rows->col_count + 1u, sizeof *fields);
    char(*tmp)[KS_LQ_TIME_TEXT_MAX] = ks_alloc_array(rows->col_count + 1u, sizeof *tmp);
    MUST(fields && tmp);
    for (uint32_t r = 0; r < rows->row_count; r++) {
        size_t n = 0;
        struct ks_buf b;
        for (uint32_t c = 0; c < rows->col_count; c++) {
            struct ks_slice v = ks_lq_col_text(&rows->cols[c], r, tmp[c]);
            if (v.len)
                fields[n++] = (struct ksi_json_field){rows->cols[c].name, v};
        }
        if (!n)
            continue;
        qsort(fields, n, sizeof *fields, field_cmp);
        ks_buf_init(&b, MEM_MAX);
        for (size_t i = 0; i < n; i++) {
            ks_buf_byte(&b, i ? ',' : '{');
            ks_lq_buf_json(&b, fields[i].name);
            ks_buf_byte(&b, ':');
            ks_lq_buf_json(&b, fields[i].value);
        }
        ks_buf_add(&b, "}", 2);
        MUST(ks_array_reserve((void **)&k->lines, &k->cap, k->count + 1, sizeof *k->lines) ==
             KS_OK);
        k->lines[k->count++] = ks_strdup(b.ptr);
        ks_buf_done(&b);
    }
    ks_free(fields);
    ks_free(tmp);
    return KS_OK;
}
static const struct ks_lq_stage_ops sink_ops = {
    .name = "sink", .push = sink_push, .row_local = true};

static int line_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---------------------------------------------------------------- running */

static char *answer(struct sink *k, ks_err err, bool ordered)
{
    struct ks_buf b;
    ks_buf_init(&b, MEM_MAX);
    if (err != KS_OK)
        ks_buf_printf(&b, "error: %s", ks_err_text());
    else if (!ordered && k->count)
        qsort(k->lines, k->count, sizeof *k->lines, line_cmp);
    for (size_t i = 0; i < k->count; i++) {
        if (err == KS_OK) {
            ks_buf_str(&b, k->lines[i]);
            ks_buf_byte(&b, '\n');
        }
        ks_free(k->lines[i]);
    }
    ks_free(k->lines);
    ks_buf_byte(&b, 0);
    char *text = ks_strdup(b.ptr);
    ks_buf_done(&b);
    return text;
}

static ks_err run(struct mem *m, const char *query, const struct lq_layout *layout, struct sink *k)
{
    static const struct ks_tenant tenant = {0, 0};
    struct ks_lq_source source = {m,
                                  src_scan,
                                  src_scan_free,
                                  src_block_count,
                                  src_block_meta,
                                  src_block_new,
                                  src_block_free,
                                  src_block_open,
                                  src_rows,
                                  src_select,
                                  src_times,
                                  src_streams,
                                  src_names,
                                  src_column,
                                  src_filter,
                                  NULL,
                                  NULL};
    struct ks_lq_counters counters = {0};
    struct ks_pool *pool = NULL;
    struct ks_lq_query *q;
    struct ks_read_ctx ctx = {.deadline_mono_ms =
                                  layout->timeout_ms ? ks_mono_ms() + layout->timeout_ms : 0};
    KS_TRY(ks_lq_parse(ks_slice_str(query), 1704153600000000000, &m->arena, &q));
    if (layout->workers > 1)
        MUST(ks_pool_new("lq", layout->workers - 1, 64, &pool) == KS_OK);
    struct ks_lq_request req = {.query = q,
                                .source = &source,
                                .tenants = &tenant,
                                .tenant_count = 1,
                                .min_ns = INT64_MIN,
                                .max_ns = INT64_MAX,
                                .ctx = &ctx,
                                .pool = pool,
                                .workers = layout->workers ? layout->workers : 1,
                                .memory_max = layout->memory_max};
    ks_err err = ks_lq_run(&req, &k->s, &counters);
    ks_pool_free(pool);
    return err;
}

char *lq_rows_query(const char *query, const char *rows, const struct lq_layout *layout,
                    bool ordered)
{
    static const struct lq_layout plain = {0};
    struct mem m = {.seed = layout ? layout->seed : 0};
    struct sink k = {.s = {.ops = &sink_ops}};
    if (!layout)
        layout = &plain;
    ks_arena_init(&m.arena, MEM_MAX);
    read_rows(&m, rows);
    make_blocks(&m, layout->block_rows);
    char *text = answer(&k, run(&m, query, layout, &k), ordered);
    ks_arena_done(&m.arena);
    ks_free(m.rows);
    ks_free(m.blocks);
    return text;
}
