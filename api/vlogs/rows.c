/* Rows as JSON lines or CSV, streamed; and rows kept for answers made of them. */
#include <stdlib.h>

#include "api/vlogs/vlogs.h"
#include "query/logsql/filter/value.h"

enum { FLUSH_BYTES = 64 << 10 };

/* ---------------------------------------------------------------- tables */

static ks_err table_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct ks_vl_table *t = (struct ks_vl_table *)s;
    if (t->count == t->cap)
        KS_TRY(ks_arena_grow(t->arena, (void **)&t->batches, &t->cap, t->count + 1,
                             sizeof *t->batches));
    KS_TRY(ks_lq_rows_copy(rows, t->arena, &t->batches[t->count]));
    t->count++;
    t->row_count += rows->row_count;
    return KS_OK;
}

static const struct ks_lq_stage_ops table_ops = {.name = "table", .push = table_push};

void ks_vl_table_init(struct ks_vl_table *t, struct ks_arena *arena)
{
    *t = (struct ks_vl_table){.s = {.ops = &table_ops}, .arena = arena};
}

struct ks_slice ks_vl_value(const struct ks_vl_cursor *c, const char *name,
                            char tmp[KS_LQ_TIME_TEXT_MAX])
{
    return ks_lq_col_text(ks_lq_rows_col(c->rows, ks_slice_str(name)), c->row, tmp);
}

/* ---------------------------------------------------------------- writing */

bool ks_vl_fixed_columns(const struct ks_lq_query *q)
{
    for (size_t i = q->pipe_count; i-- > 0;) {
        switch (q->pipes[i].kind) {
        case KS_LQ_P_LIMIT:
        case KS_LQ_P_OFFSET:
        case KS_LQ_P_FILTER:
        case KS_LQ_P_SORT:
        case KS_LQ_P_FIRST:
        case KS_LQ_P_LAST:
            continue;
        case KS_LQ_P_FIELDS:
            for (size_t k = 0; k < q->pipes[i].u.fields.count; k++)
                if (q->pipes[i].u.fields.items[k].prefix)
                    return false;
            return true;
        case KS_LQ_P_BLOCKS_COUNT:
        case KS_LQ_P_FACETS:
        case KS_LQ_P_FIELD_NAMES:
        case KS_LQ_P_FIELD_VALUES:
        case KS_LQ_P_QUERY_STATS:
        case KS_LQ_P_STATS:
        case KS_LQ_P_TOP:
        case KS_LQ_P_UNIQ:
            return true;
        default:
            return false;
        }
    }
    return false;
}

ks_err ks_vl_column_order(const struct ks_lq_rows *rows, bool sorted, struct ks_arena *arena,
                          uint32_t **ret)
{
    uint32_t n = rows->col_count;
    uint32_t *order = ks_arena_array(arena, n + 1u, sizeof *order);
    if (!order)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; sorted && at && ks_slice_cmp(rows->cols[order[at - 1]].name, rows->cols[i].name) > 0;
             at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    *ret = order;
    return KS_OK;
}

void ks_vl_write_row(struct ks_buf *out, const struct ks_lq_rows *rows, uint32_t row,
                     const uint32_t *order)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    bool any = false;
    for (uint32_t i = 0; i < rows->col_count; i++) {
        const struct ks_lq_col *c = &rows->cols[order[i]];
        struct ks_slice v = ks_lq_col_text(c, row, tmp);
        if (!v.len)
            continue;
        ks_buf_byte(out, any ? ',' : '{');
        ks_lq_buf_json(out, c->name);
        ks_buf_byte(out, ':');
        ks_lq_buf_json(out, v);
        any = true;
    }
    if (any)
        ks_buf_str(out, "}\n");
}

static ks_err flush(struct ks_vl_writer *w)
{
    KS_TRY(ks_buf_status(&w->out));
    if (!ks_http_streaming(w->req)) {
        w->req->resp.content_type = w->csv ? "text/csv; charset=utf-8" : "application/stream+json";
        KS_TRY(ks_http_stream_begin(w->req));
    }
    ks_err err = ks_http_stream_write(w->req, ks_buf_view(&w->out));
    ks_buf_reset(&w->out);
    return err;
}

/* --- CSV --- */

static void csv_cell(struct ks_buf *out, struct ks_slice v)
{
    bool quote = false;
    for (size_t i = 0; i < v.len && !quote; i++)
        quote = v.ptr[i] == '"' || v.ptr[i] == ',' || v.ptr[i] == '\n' || v.ptr[i] == '\r';
    if (!quote) {
        ks_buf_slice(out, v);
        return;
    }
    ks_buf_byte(out, '"');
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] == '"')
            ks_buf_byte(out, '"');
        ks_buf_byte(out, (uint8_t)v.ptr[i]);
    }
    ks_buf_byte(out, '"');
}

static void csv_rows(struct ks_vl_writer *w, const struct ks_lq_rows *rows)
{
    char tmp[KS_LQ_TIME_TEXT_MAX];
    const struct ks_lq_names *n = &w->csv_columns;
    for (size_t i = 0; !w->csv_header && i < n->count; i++) {
        if (i)
            ks_buf_byte(&w->out, ',');
        csv_cell(&w->out, n->items[i]);
    }
    if (!w->csv_header)
        ks_buf_byte(&w->out, '\n');
    w->csv_header = true;
    for (uint32_t row = 0; row < rows->row_count; row++) {
        for (size_t i = 0; i < n->count; i++) {
            if (i)
                ks_buf_byte(&w->out, ',');
            csv_cell(&w->out, ks_lq_col_text(ks_lq_rows_col(rows, n->items[i]), row, tmp));
        }
        ks_buf_byte(&w->out, '\n');
    }
}

static ks_err writer_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct ks_vl_writer *w = (struct ks_vl_writer *)s;
    uint32_t *order;
    if (w->csv) {
        csv_rows(w, rows);
        return w->out.len >= FLUSH_BYTES ? flush(w) : ks_buf_status(&w->out);
    }
    ks_arena_reset(&w->scratch);
    KS_TRY(ks_vl_column_order(rows, w->sorted, &w->scratch, &order));
    for (uint32_t i = 0; i < rows->row_count; i++) {
        ks_vl_write_row(&w->out, rows, i, order);
        if (w->out.len >= FLUSH_BYTES)
            KS_TRY(flush(w));
    }
    return ks_buf_status(&w->out);
}

static const struct ks_lq_stage_ops writer_ops = {.name = "writer", .push = writer_push};

void ks_vl_writer_init(struct ks_vl_writer *w, struct ks_http_request *req,
                       const struct ks_lq_query *q)
{
    *w = (struct ks_vl_writer){
        .s = {.ops = &writer_ops}, .req = req, .sorted = !ks_vl_fixed_columns(q)};
    ks_buf_init(&w->out, KS_BUF_UNLIMITED);
    ks_arena_init(&w->scratch, KS_BUF_UNLIMITED);
}

ks_err ks_vl_writer_end(struct ks_vl_writer *w)
{
    KS_TRY(ks_buf_status(&w->out));
    if (ks_http_streaming(w->req))
        return w->out.len ? flush(w) : KS_OK;
    w->req->resp.content_type = w->csv ? "text/csv; charset=utf-8" : "application/stream+json";
    ks_buf_slice(&w->req->resp.body, ks_buf_view(&w->out));
    return ks_buf_status(&w->req->resp.body);
}

void ks_vl_writer_done(struct ks_vl_writer *w)
{
    ks_buf_done(&w->out);
    ks_arena_done(&w->scratch);
}
