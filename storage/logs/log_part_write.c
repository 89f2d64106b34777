#include "storage/logs/log_part.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/logs/log_part_write_priv.h"

enum {
    STREAM_CUT_TEXT = 1 << 20, /* at a new stream a block may end early */
    META_PAGE_BYTES = 256 << 10,
    META_MAX = 1 << 30,
    ARENA_MAX = 1 << 30,
};

ks_err ks_lpart_writer_new(struct ks_vfs *vfs, const char *path, bool copy,
                           struct ks_lpart_writer **ret)
{
    struct ks_lpart_writer *w = ks_zalloc(sizeof *w);
    if (!w)
        return KS_ENOMEM;
    ks_err err = ks_part_writer_new(vfs, path, KS_PART_LOGS, &w->w);
    if (err != KS_OK) {
        ks_free(w);
        return err;
    }
    ksi_enc_init(&w->enc, w->w);
    w->copy = copy;
    ks_arena_init(&w->text, ARENA_MAX);
    ks_arena_init(&w->names, ARENA_MAX);
    ks_buf_init(&w->streams, META_MAX);
    ks_buf_init(&w->index, META_MAX);
    ks_buf_init(&w->tags, META_MAX);
    w->min_ns = INT64_MAX;
    w->max_ns = INT64_MIN;
    *ret = w;
    return KS_OK;
}

static void writer_free(struct ks_lpart_writer *w)
{
    ksi_block_merge_free(w->merge);
    ksi_enc_done(&w->enc);
    for (size_t i = 0; i < w->column_cap; i++) {
        ks_free(w->columns[i].rows);
        ks_free(w->columns[i].values);
    }
    ks_free(w->columns);
    ks_free(w->name);
    ks_free(w->name_table);
    ks_free(w->used);
    ks_free(w->guess);
    ks_free(w->times);
    ks_free(w->runs);
    ks_buf_done(&w->streams);
    ks_buf_done(&w->index);
    ks_buf_done(&w->tags);
    ks_arena_done(&w->text);
    ks_arena_done(&w->names);
    ks_free(w);
}

void ks_lpart_writer_abort(struct ks_lpart_writer *w)
{
    if (!w)
        return;
    ks_part_writer_abort(w->w);
    writer_free(w);
}

/* --- names --- */

static ks_err grow_names(struct ks_lpart_writer *w)
{
    size_t cap = w->name_table_cap ? w->name_table_cap * 2 : 256;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < w->name_count; i++) {
        size_t at = ks_hash64(w->name[i].ptr, w->name[i].len) & (cap - 1);
        while (table[at])
            at = (at + 1) & (cap - 1);
        table[at] = (uint32_t)i + 1;
    }
    ks_free(w->name_table);
    w->name_table = table;
    w->name_table_cap = cap;
    return KS_OK;
}

ks_err ksi_writer_name(struct ks_lpart_writer *w, struct ks_slice name, uint32_t *ret)
{
    if (w->name_count * 2 >= w->name_table_cap)
        KS_TRY(grow_names(w));
    size_t at = ks_hash64(name.ptr, name.len) & (w->name_table_cap - 1);
    for (; w->name_table[at]; at = (at + 1) & (w->name_table_cap - 1)) {
        if (ks_slice_eq(w->name[w->name_table[at] - 1], name)) {
            *ret = w->name_table[at] - 1;
            return KS_OK;
        }
    }
    size_t had = w->column_cap;
    KS_TRY(ks_array_reserve((void **)&w->columns, &w->column_cap, w->name_count + 1,
                            sizeof *w->columns));
    memset(w->columns + had, 0, (w->column_cap - had) * sizeof *w->columns);
    KS_TRY(ks_array_reserve((void **)&w->name, &w->name_cap, w->name_count + 1, sizeof *w->name));
    struct ks_slice copy = ks_arena_dup(&w->names, name);
    if (!copy.ptr)
        return ks_arena_err(&w->names);
    *ret = (uint32_t)w->name_count;
    w->name[w->name_count] = copy;
    w->columns[w->name_count].name = copy;
    w->columns[w->name_count].number = *ret;
    w->name_table[at] = (uint32_t)++w->name_count;
    return KS_OK;
}

/* --- encoding a block --- */

static void put_presence(struct ks_lpart_writer *w, const struct ksi_wcolumn *c)
{
    struct ksi_enc *e = &w->enc;
    if (c->count == w->rows) {
        ks_buf_byte(&e->dir, KSI_PRESENT_ALL);
        return;
    }
    size_t words = KS_ROW_WORDS(w->rows);
    struct ks_buf *runs = &e->scratch;
    uint32_t count = 0, next = 0;
    ks_buf_reset(runs);
    for (size_t i = 0; i < c->count;) {
        size_t j = i + 1;
        while (j < c->count && c->rows[j] == c->rows[j - 1] + 1)
            j++;
        ks_buf_varint(runs, c->rows[i] - next);
        ks_buf_varint(runs, j - i);
        next = c->rows[j - 1] + 1;
        count++;
        i = j;
    }
    if (runs->len < words * 8) {
        ks_buf_byte(&e->dir, KSI_PRESENT_RUNS);
        ks_buf_varint(&e->dir, count);
        ks_buf_slice(&e->dir, ks_buf_view(runs));
        return;
    }
    ks_buf_reset(runs);
    if (ks_buf_reserve(runs, words * 8)) {
        memset(runs->ptr, 0, words * 8);
        for (size_t i = 0; i < c->count; i++)
            runs->ptr[c->rows[i] / 8] |= (char)(1 << c->rows[i] % 8);
        runs->len = words * 8;
    }
    ks_buf_byte(&e->dir, KSI_PRESENT_BITS);
    ksi_enc_place(e, ks_buf_view(runs));
}

static void put_column(struct ks_lpart_writer *w, struct ksi_wcolumn *c)
{
    struct ksi_enc *e = &w->enc;
    bool merged = ksi_block_merge_open(w);
    if (merged && e->err == KS_OK)
        e->err = ksi_block_merge_rows(w, c);
    if (e->err != KS_OK)
        return;
    ks_buf_varint(&e->dir, c->number);
    ks_buf_varint(&e->dir, c->count);
    put_presence(w, c);
    ks_hash_set_reset(&e->tokens);
    e->gather = true;
    e->numbers_left_out = false;
    if (merged)
        ksi_block_merge_values(w);
    else
        ksi_enc_values(e, c->values, c->count, 0);
    size_t at = e->blooms.len;
    ks_bloom_build(&e->tokens, &e->blooms);
    ks_buf_varint(&e->dir, e->blooms.len - at);
    if (e->blooms.len > at) {
        ks_buf_varint(&e->dir, at);
        ks_buf_byte(&e->dir, e->numbers_left_out ? KSI_BLOOM_WITHOUT_NUMBERS : 0);
    }
}

static void put_times(struct ks_lpart_writer *w)
{
    /* Clocks of milliseconds and the like: the zeros behind them are not stored. */
    int64_t unit = 1000000000;
    for (uint32_t i = 0; i < w->rows; i++)
        while (unit > 1 && w->times[i] % unit)
            unit /= 10;
    for (uint32_t i = 0; unit > 1 && i < w->rows; i++)
        w->times[i] /= unit;
    ks_buf_varint(&w->enc.dir, (uint64_t)unit);
    ksi_enc_numbers(&w->enc, w->times, w->rows);
}

static int by_name(const void *a, const void *b, void *names)
{
    const struct ks_slice *n = names;
    return ks_slice_cmp(n[*(const uint32_t *)a], n[*(const uint32_t *)b]);
}

static void put_body(struct ks_lpart_writer *w)
{
    struct ksi_enc *e = &w->enc;
    ksi_enc_begin_block(e);
    ks_buf_varint(&e->dir, w->run_count);
    uint32_t prev = w->runs[0].stream;
    for (size_t i = 0; i < w->run_count; i++) {
        ks_buf_varint(&e->dir, w->runs[i].stream - prev);
        ks_buf_varint(&e->dir, w->runs[i].rows);
        prev = w->runs[i].stream;
    }
    put_times(w);
    if (w->used_count)
        qsort_r(w->used, w->used_count, sizeof *w->used, by_name, w->name);
    ks_buf_varint(&e->dir, w->used_count);
    for (size_t i = 0; i < w->used_count && e->err == KS_OK; i++)
        put_column(w, &w->columns[w->used[i]]);
    ksi_enc_end_block(e);
}

/* The directory page: pages first, so that what follows can refer to them. */
static ks_err put_dir(struct ks_lpart_writer *w, struct ks_page_ref *ret_dir,
                      struct ks_page_ref *ret_bloom)
{
    struct ksi_enc *e = &w->enc;
    struct ks_buf *b = &e->payload;
    ks_buf_reset(b);
    ks_buf_byte(b, KSI_BLOCK_VERSION);
    ks_buf_varint(b, e->page_count);
    for (size_t i = 0; i < e->page_count; i++) {
        uint8_t ref[KS_PAGE_REF_BYTES];
        ks_page_ref_save(ref, e->pages[i]);
        ks_buf_add(b, ref, sizeof ref);
    }
    ks_buf_slice(b, ks_buf_view(&e->dir));
    KS_TRY(ks_buf_status(b));
    *ret_bloom = (struct ks_page_ref){0};
    if (e->blooms.len)
        KS_TRY(ks_part_page(w->w, KSI_SECTION_BLOOMS, ks_buf_view(&e->blooms), KS_PAGE_RAW,
                            ret_bloom));
    return ks_part_page(w->w, KSI_SECTION_DIRS, ks_buf_view(b), KS_PAGE_ZSTD, ret_dir);
}

static void put_ref(struct ks_buf *b, struct ks_page_ref ref)
{
    ks_buf_varint(b, ref.offset);
    ks_buf_varint(b, ref.stored_bytes);
    ks_buf_varint(b, ref.raw_bytes);
}

ks_err ksi_writer_block(struct ks_lpart_writer *w)
{
    struct ks_page_ref dir, bloom;
    if (!w->rows)
        return KS_OK;
    int64_t min = w->times[0], max = w->times[0];
    for (uint32_t i = 1; i < w->rows; i++) {
        min = w->times[i] < min ? w->times[i] : min;
        max = w->times[i] > max ? w->times[i] : max;
    }
    if (ksi_block_merge_open(w))
        KS_TRY(ksi_block_merge_count(w));
    put_body(w);
    KS_TRY(w->enc.err);
    KS_TRY(put_dir(w, &dir, &bloom));
    uint32_t first = w->runs[0].stream, last = w->runs[w->run_count - 1].stream;
    ks_buf_zigzag(&w->index, min);
    ks_buf_varint(&w->index, (uint64_t)max - (uint64_t)min);
    ks_buf_varint(&w->index, w->rows);
    ks_buf_varint(&w->index, w->text_bytes);
    ks_buf_varint(&w->index, first - w->prev_stream);
    ks_buf_varint(&w->index, last - first);
    put_ref(&w->index, dir);
    put_ref(&w->index, bloom);
    w->prev_stream = last;
    w->min_ns = min < w->min_ns ? min : w->min_ns;
    w->max_ns = max > w->max_ns ? max : w->max_ns;
    w->total_rows += w->rows;
    w->total_text += w->text_bytes;
    w->block_count++;
    for (size_t i = 0; i < w->used_count; i++)
        w->columns[w->used[i]].count = 0;
    w->used_count = w->run_count = 0;
    w->rows = 0;
    w->text_bytes = 0;
    ks_arena_reset(&w->text);
    if (w->merge)
        ksi_block_merge_close(w);
    return ks_buf_status(&w->index);
}

/* --- adding rows --- */

static void close_stream(struct ks_lpart_writer *w)
{
    if (!w->stream_count)
        return;
    ks_buf_varint(&w->streams, w->tenant.account);
    ks_buf_varint(&w->streams, w->tenant.project);
    ks_buf_lp(&w->streams, ks_buf_view(&w->tags));
    ks_buf_varint(&w->streams, w->stream_rows);
    w->stream_rows = 0;
}

static ks_err open_stream(struct ks_lpart_writer *w, struct ks_tenant tenant, struct ks_slice tags)
{
    if (w->text_bytes > STREAM_CUT_TEXT)
        KS_TRY(ksi_writer_block(w));
    close_stream(w);
    w->tenant = tenant;
    ks_buf_reset(&w->tags);
    ks_buf_slice(&w->tags, tags);
    w->stream_count++;
    return ks_buf_status(&w->tags);
}

static ks_err add_cell(struct ks_lpart_writer *w, uint32_t name, struct ks_slice value)
{
    struct ksi_wcolumn *c = &w->columns[name];
    if (!c->count) {
        KS_TRY(
            ks_array_reserve((void **)&w->used, &w->used_cap, w->used_count + 1, sizeof *w->used));
        w->used[w->used_count++] = name;
    }
    if (KS_UNLIKELY(c->count >= c->row_cap || c->count >= c->value_cap)) {
        KS_TRY(ks_array_reserve((void **)&c->rows, &c->row_cap, c->count + 1, sizeof *c->rows));
        KS_TRY(
            ks_array_reserve((void **)&c->values, &c->value_cap, c->count + 1, sizeof *c->values));
    }
    if (w->copy) {
        value = ks_arena_dup(&w->text, value);
        if (!value.ptr)
            return ks_arena_err(&w->text);
    }
    c->rows[c->count] = w->rows;
    c->values[c->count++] = value;
    return KS_OK;
}

ks_err ksi_writer_run(struct ks_lpart_writer *w, uint32_t rows)
{
    uint32_t stream = w->stream_count - 1;
    if (!w->run_count || w->runs[w->run_count - 1].stream != stream) {
        KS_TRY(ks_array_reserve((void **)&w->runs, &w->run_cap, w->run_count + 1, sizeof *w->runs));
        w->runs[w->run_count++] = (struct ksi_wrun){stream, 0};
    }
    w->runs[w->run_count - 1].rows += rows;
    w->stream_rows += rows;
    return KS_OK;
}

/* Room for one more row of the open stream, in a new block when this one is full. */
static ks_err begin_row(struct ks_lpart_writer *w)
{
    if (w->rows == KSI_BLOCK_ROWS || w->text_bytes > KSI_BLOCK_TEXT_MAX ||
        w->used_count > KSI_BLOCK_COLUMNS_MAX || ksi_block_merge_open(w))
        KS_TRY(ksi_writer_block(w));
    KS_TRY(ksi_writer_run(w, 1));
    if (w->rows == w->time_cap)
        KS_TRY(ks_array_reserve((void **)&w->times, &w->time_cap, w->rows + 1u, sizeof *w->times));
    return KS_OK;
}

static void end_row(struct ks_lpart_writer *w, int64_t time_ns)
{
    w->times[w->rows++] = time_ns;
}

static ks_err add_cells(struct ks_lpart_writer *w, int64_t time_ns,
                        const struct ks_lpart_cell *cells, size_t count)
{
    KS_ASSERT(w->stream_count);
    KS_TRY(begin_row(w));
    for (size_t i = 0; i < count; i++) {
        KS_TRY(add_cell(w, cells[i].name, cells[i].value));
        w->text_bytes += w->name[cells[i].name].len + cells[i].value.len;
    }
    end_row(w, time_ns);
    return KS_OK;
}

static ks_err add_fields(struct ks_lpart_writer *w, const struct ks_lpart_field *fields,
                         size_t count)
{
    size_t had = w->guess_cap;
    KS_TRY(ks_array_reserve((void **)&w->guess, &w->guess_cap, count, sizeof *w->guess));
    memset(w->guess + had, 0, (w->guess_cap - had) * sizeof *w->guess);
    for (size_t i = 0; i < count; i++) {
        uint32_t g = w->guess[i];
        if (g >= w->name_count || !ks_slice_eq(w->name[g], fields[i].name)) {
            KS_TRY(ksi_writer_name(w, fields[i].name, &g));
            w->guess[i] = g;
        }
        KS_TRY(add_cell(w, g, fields[i].value));
        w->text_bytes += fields[i].name.len + fields[i].value.len;
    }
    return KS_OK;
}

static ks_err add(struct ks_lpart_writer *w, struct ks_tenant tenant, struct ks_slice tags,
                  int64_t time_ns, const struct ks_lpart_field *fields, size_t count)
{
    bool same = w->stream_count && ks_tenant_eq(w->tenant, tenant) &&
                ks_slice_eq(ks_buf_view(&w->tags), tags);
    if (!same)
        KS_TRY(open_stream(w, tenant, tags));
    KS_TRY(begin_row(w));
    KS_TRY(add_fields(w, fields, count));
    end_row(w, time_ns);
    return KS_OK;
}

ks_err ks_lpart_add(struct ks_lpart_writer *w, struct ks_tenant tenant, struct ks_slice tags,
                    int64_t time_ns, const struct ks_lpart_field *fields, size_t count)
{
    if (w->err == KS_OK)
        w->err = add(w, tenant, tags, time_ns, fields, count);
    return w->err;
}

ks_err ks_lpart_name(struct ks_lpart_writer *w, struct ks_slice name, uint32_t *ret)
{
    if (w->err == KS_OK)
        w->err = ksi_writer_name(w, name, ret);
    return w->err;
}

ks_err ks_lpart_stream_begin(struct ks_lpart_writer *w, struct ks_tenant tenant,
                             struct ks_slice tags)
{
    if (w->err == KS_OK)
        w->err = open_stream(w, tenant, tags);
    return w->err;
}

ks_err ks_lpart_add_cells(struct ks_lpart_writer *w, int64_t time_ns,
                          const struct ks_lpart_cell *cells, size_t count)
{
    if (w->err == KS_OK)
        w->err = add_cells(w, time_ns, cells, count);
    return w->err;
}

/* --- the end --- */

/* A long text over several pages. */
static ks_err put_meta(struct ks_lpart_writer *w, const char *section, struct ks_slice all)
{
    struct ks_page_ref ref;
    while (all.len) {
        size_t n = all.len < META_PAGE_BYTES ? all.len : META_PAGE_BYTES;
        KS_TRY(ks_part_page(w->w, section, ks_slice(all.ptr, n), KS_PAGE_ZSTD, &ref));
        all = ks_slice_from(all, n);
    }
    return KS_OK;
}

static ks_err put_prop(struct ks_lpart_writer *w, const char *key, uint64_t v)
{
    uint8_t bytes[8];
    ks_put_le64(bytes, v);
    return ks_part_prop(w->w, key, ks_slice(bytes, sizeof bytes));
}

static ks_err put_tail(struct ks_lpart_writer *w)
{
    struct ks_buf *b = &w->enc.payload;
    KS_TRY(w->err);
    KS_TRY(ksi_writer_block(w));
    close_stream(w);
    if (!w->total_rows)
        return ks_fail(KS_EINVAL, "a log part without rows");
    ks_buf_reset(b);
    for (size_t i = 0; i < w->name_count; i++)
        ks_buf_lp(b, w->name[i]);
    KS_TRY(ks_buf_status(b));
    KS_TRY(ks_buf_status(&w->streams));
    KS_TRY(put_meta(w, KSI_SECTION_NAMES, ks_buf_view(b)));
    KS_TRY(put_meta(w, KSI_SECTION_STREAMS, ks_buf_view(&w->streams)));
    KS_TRY(put_meta(w, KSI_SECTION_INDEX, ks_buf_view(&w->index)));
    KS_TRY(put_prop(w, "rows", w->total_rows));
    KS_TRY(put_prop(w, "text", w->total_text));
    KS_TRY(put_prop(w, "blocks", w->block_count));
    KS_TRY(put_prop(w, "streams", w->stream_count));
    KS_TRY(put_prop(w, "names", w->name_count));
    KS_TRY(put_prop(w, "min_ns", (uint64_t)w->min_ns));
    return put_prop(w, "max_ns", (uint64_t)w->max_ns);
}

ks_err ks_lpart_writer_finish(struct ks_lpart_writer *w, uint64_t *ret_bytes)
{
    ks_err err = put_tail(w);
    if (err == KS_OK)
        err = ks_part_writer_finish(w->w, ret_bytes);
    else
        ks_part_writer_abort(w->w);
    writer_free(w);
    return err;
}
