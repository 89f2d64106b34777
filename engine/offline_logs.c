#include "engine/offline_logs.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "storage/logs/log_part.h"

struct walk {
    const char *path;
    ks_offline_fn fn;
    void *arg;
    struct ks_offline_counts *n;
    struct ks_lpart *part;
    struct ks_lblock *block;
    struct ks_lpart_writer *out; /* salvage: the new part */
    const roaring_bitmap_t *deleted;
    /* of the block at hand */
    const int64_t *times;
    const struct ks_lblock_run *runs;
    size_t run_count, column_count, column_cap, name_cap;
    struct ks_log_column *columns; /* those that can be read */
    struct ks_slice *names;
    struct ks_lpart_field *fields;
    size_t field_cap;
    /* the last row of what came before */
    bool has_before;
    uint32_t stream_before;
    int64_t time_before;
};

static void problem(struct walk *w, const char *fmt, ...) KS_PRINTF(2, 3);
static void problem(struct walk *w, const char *fmt, ...)
{
    char text[KS_ERR_TEXT_MAX + 128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    w->n->problems++;
    if (w->fn)
        w->fn(w->arg, w->path, text);
}

static bool is_damage(ks_err err)
{
    return err == KS_ECORRUPT || err == KS_EIO;
}

/* Rows are in order of stream and time, within the range the index gives; NULL when all holds. */
static const char *wrong_order(struct walk *w, const struct ks_lpart_block *b)
{
    for (size_t r = 0; r < w->run_count; r++) {
        uint32_t end = r + 1 < w->run_count ? w->runs[r + 1].first_row : b->rows;
        uint32_t stream = w->runs[r].stream;
        if (stream < b->first_stream || stream > b->last_stream)
            return "a stream outside of those the index gives";
        if (w->has_before && stream < w->stream_before)
            return "streams are out of order";
        if (w->has_before && stream == w->stream_before && w->runs[r].first_row < end &&
            w->times[w->runs[r].first_row] < w->time_before)
            return "rows go back in time from one block to the next";
        for (uint32_t i = w->runs[r].first_row; i < end; i++) {
            if (w->times[i] < b->min_ns || w->times[i] > b->max_ns)
                return "a time outside of those the index gives";
            if (i > w->runs[r].first_row && w->times[i] < w->times[i - 1])
                return "rows go back in time";
        }
        w->has_before = true;
        w->stream_before = stream;
        w->time_before = w->times[end - 1];
    }
    return NULL;
}

static bool good_column(const struct ks_log_column *c, uint32_t rows)
{
    if (c->kind != KS_COL_DICT)
        return true;
    for (uint32_t i = 0; i < rows; i++)
        if (c->codes[i] >= c->value_count)
            return false;
    return true;
}

/* Columns that can be read; the others are told. */
static ks_err read_columns(struct walk *w, size_t number, uint32_t rows)
{
    const struct ks_slice *names;
    size_t n = ks_lblock_names(w->block, &names);
    KS_TRY(ks_array_reserve((void **)&w->columns, &w->column_cap, n, sizeof *w->columns));
    KS_TRY(ks_array_reserve((void **)&w->names, &w->name_cap, n, sizeof *w->names));
    KS_TRY(ks_array_reserve((void **)&w->fields, &w->field_cap, n, sizeof *w->fields));
    w->column_count = 0;
    for (size_t i = 0; i < n; i++) {
        struct ks_log_column c;
        ks_err err = ks_lblock_column(w->block, names[i], NULL, &c);
        if (err == KS_OK && !good_column(&c, rows))
            err = ks_fail(KS_ECORRUPT, "a code without a value");
        if (is_damage(err)) {
            problem(w, "block %zu, column \"%.*s\": %s", number, KS_SLICE_ARG(names[i]),
                    ks_err_text());
            continue;
        }
        KS_TRY(err);
        w->names[w->column_count] = names[i];
        w->columns[w->column_count++] = c;
    }
    return KS_OK;
}

static ks_err save_rows(struct walk *w, const struct ks_lpart_block *b)
{
    size_t run = 0;
    for (uint32_t row = 0; row < b->rows; row++) {
        size_t n = 0;
        while (run + 1 < w->run_count && w->runs[run + 1].first_row <= row)
            run++;
        if (w->deleted && roaring_bitmap_contains(w->deleted, (uint32_t)(b->first_row + row)))
            continue;
        for (size_t i = 0; i < w->column_count; i++) {
            struct ks_slice v = ks_log_column_at(&w->columns[i], row);
            if (v.len)
                w->fields[n++] = (struct ks_lpart_field){w->names[i], v};
        }
        const struct ks_lpart_stream *s = ks_lpart_stream(w->part, w->runs[run].stream);
        KS_TRY(ks_lpart_add(w->out, s->tenant, s->tags, w->times[row], w->fields, n));
        w->n->samples++;
    }
    return KS_OK;
}

static ks_err walk_block(struct walk *w, size_t i)
{
    const struct ks_lpart_block *b = ks_lpart_block(w->part, i);
    ks_err err = ks_lblock_open(w->block, w->part, i);
    if (err == KS_OK)
        err = ks_lblock_times(w->block, &w->times);
    if (err == KS_OK) {
        w->run_count = ks_lblock_runs(w->block, &w->runs);
        const char *wrong = w->run_count ? wrong_order(w, b) : "no stream";
        if (wrong)
            err = ks_fail(KS_ECORRUPT, "%s", wrong);
    }
    if (is_damage(err)) {
        problem(w, "block %zu, %u rows: %s", i, b->rows, ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    KS_TRY(read_columns(w, i, b->rows));
    w->n->chunks++;
    if (w->out)
        return save_rows(w, b);
    w->n->samples += b->rows;
    return KS_OK;
}

static ks_err walk_all(struct walk *w)
{
    KS_TRY(ks_lblock_new(&w->block));
    for (size_t i = 0; i < ks_lpart_block_count(w->part); i++)
        KS_TRY(walk_block(w, i));
    w->n->series += ks_lpart_stream_count(w->part);
    return KS_OK;
}

static void walk_done(struct walk *w)
{
    ks_lblock_free(w->block);
    ks_lpart_close(w->part);
    ks_free(w->columns);
    ks_free(w->names);
    ks_free(w->fields);
}

ks_err ksi_offline_verify_log(struct ks_vfs *vfs, const char *path, ks_offline_fn fn, void *arg,
                              struct ks_offline_counts *counts)
{
    struct walk w = {.path = path, .fn = fn, .arg = arg, .n = counts};
    ks_err err = ks_lpart_open(vfs, path, NULL, &w.part);
    if (is_damage(err)) {
        problem(&w, "%s", ks_err_text());
        return err;
    }
    if (err == KS_OK)
        err = walk_all(&w);
    walk_done(&w);
    return err;
}

ks_err ksi_offline_salvage_log(struct ks_vfs *vfs, const char *from, const char *to,
                               const roaring_bitmap_t *deleted, ks_offline_fn fn, void *arg,
                               struct ks_offline_counts *ret)
{
    struct walk w = {.path = from, .fn = fn, .arg = arg, .n = ret, .deleted = deleted};
    *ret = (struct ks_offline_counts){0};
    ks_err err = ks_lpart_open(vfs, from, NULL, &w.part);
    if (is_damage(err)) {
        problem(&w, "%s", ks_err_text());
        return ks_fail(KS_ECORRUPT, "%s: nothing can be read", from);
    }
    KS_TRY(err);
    err = ks_lpart_writer_new(vfs, to, true, &w.out);
    if (err == KS_OK)
        err = walk_all(&w);
    if (err == KS_OK && !ret->samples)
        err = ks_fail(KS_ECORRUPT, "%s: nothing can be read", from);
    if (err == KS_OK)
        err = ks_lpart_writer_finish(w.out, NULL);
    else
        ks_lpart_writer_abort(w.out);
    walk_done(&w);
    return err;
}

bool ksi_offline_is_log(struct ks_vfs *vfs, const char *path)
{
    struct ks_part *p;
    if (ks_part_open(vfs, path, NULL, &p) != KS_OK)
        return false;
    bool is = ks_part_get_kind(p) == KS_PART_LOGS;
    ks_part_close(p);
    return is;
}

ks_err ksi_offline_log_day(struct ks_vfs *vfs, const char *path, int64_t *ret)
{
    struct ks_lpart *p;
    int64_t min_ns, max_ns;
    KS_TRY(ks_lpart_open(vfs, path, NULL, &p));
    ks_lpart_range(p, &min_ns, &max_ns);
    ks_lpart_close(p);
    *ret = min_ns / (KS_MS_DAY * 1000000) - (min_ns % (KS_MS_DAY * 1000000) < 0);
    return KS_OK;
}
