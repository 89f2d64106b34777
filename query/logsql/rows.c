/* Batches of rows: look-up, compaction, slices, copies. Pure; the arena's owner calls. */
#include "query/logsql/exec.h"
#include "query/logsql/filter/value.h"

const struct ks_lq_col *ks_lq_rows_col(const struct ks_lq_rows *rows, struct ks_slice name)
{
    for (uint32_t i = 0; i < rows->col_count; i++)
        if (ks_slice_eq(rows->cols[i].name, name))
            return &rows->cols[i];
    return NULL;
}

struct ks_slice ks_lq_col_text(const struct ks_lq_col *col, uint32_t row,
                               char tmp[KS_LQ_TIME_TEXT_MAX])
{
    if (!col)
        return ks_slice(NULL, 0);
    switch (col->kind) {
    case KS_LQ_CONST:
        return col->values[0];
    case KS_LQ_DICT:
        return col->values[col->codes[row]];
    case KS_LQ_VALUES:
        return col->values[row];
    case KS_LQ_TIMES:
        break;
    }
    return ks_slice(tmp, ks_lq_time_format(tmp, col->times_ns[row]));
}

ks_err ks_lq_col_textual(const struct ks_lq_col *col, uint32_t row_count, struct ks_arena *arena,
                         struct ks_lq_col *ret)
{
    if (col->kind != KS_LQ_TIMES) {
        *ret = *col;
        return KS_OK;
    }
    struct ks_slice *values = ks_arena_array(arena, row_count, sizeof *values);
    char *text = ks_arena_alloc(arena, (size_t)row_count * KS_LQ_TIME_TEXT_MAX);
    if (!values || !text)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < row_count; i++) {
        values[i] = ks_slice(text, ks_lq_time_format(text, col->times_ns[i]));
        text += values[i].len;
    }
    *ret = (struct ks_lq_col){
        .name = col->name, .kind = KS_LQ_VALUES, .values = values, .value_count = row_count};
    return KS_OK;
}

static uint32_t list_rows(const uint64_t *bits, uint32_t row_count, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t w = 0; w < KS_ROW_WORDS(row_count); w++)
        for (uint64_t b = bits[w]; b; b &= b - 1)
            out[n++] = w * 64 + (uint32_t)__builtin_ctzll(b);
    return n;
}

static ks_err gather(const struct ks_lq_col *c, const uint32_t *at, uint32_t n,
                     struct ks_arena *arena, struct ks_lq_col *ret)
{
    struct ks_lq_col o = *c;
    if (c->kind == KS_LQ_DICT) {
        uint32_t *codes = ks_arena_array(arena, n, sizeof *codes);
        if (!codes)
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < n; i++)
            codes[i] = c->codes[at[i]];
        o.codes = codes;
    } else if (c->kind == KS_LQ_VALUES) {
        struct ks_slice *values = ks_arena_array(arena, n, sizeof *values);
        if (!values)
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < n; i++)
            values[i] = c->values[at[i]];
        o.values = values;
        o.value_count = n;
    } else if (c->kind == KS_LQ_TIMES) {
        int64_t *times = ks_arena_array(arena, n, sizeof *times);
        if (!times)
            return ks_arena_err(arena);
        for (uint32_t i = 0; i < n; i++)
            times[i] = c->times_ns[at[i]];
        o.times_ns = times;
    }
    *ret = o;
    return KS_OK;
}

ks_err ks_lq_rows_compact(const struct ks_lq_rows *rows, const uint64_t *bits,
                          struct ks_arena *arena, struct ks_lq_rows *ret)
{
    uint32_t left = 0;
    for (uint32_t w = 0; w < KS_ROW_WORDS(rows->row_count); w++)
        left += (uint32_t)__builtin_popcountll(bits[w]);
    if (left == rows->row_count) {
        *ret = *rows;
        return KS_OK;
    }
    uint32_t *at = ks_arena_array(arena, left ? left : 1, sizeof *at);
    struct ks_lq_col *cols = ks_arena_array(arena, rows->col_count + 1, sizeof *cols);
    if (!at || !cols)
        return ks_arena_err(arena);
    list_rows(bits, rows->row_count, at);
    for (uint32_t i = 0; i < rows->col_count; i++)
        KS_TRY(gather(&rows->cols[i], at, left, arena, &cols[i]));
    *ret = (struct ks_lq_rows){.row_count = left, .col_count = rows->col_count, .cols = cols};
    return KS_OK;
}

ks_err ks_lq_rows_slice(const struct ks_lq_rows *rows, uint32_t first, uint32_t count,
                        struct ks_arena *arena, struct ks_lq_rows *ret)
{
    KS_ASSERT(first <= rows->row_count && count <= rows->row_count - first);
    struct ks_lq_col *cols = ks_arena_array(arena, rows->col_count + 1, sizeof *cols);
    if (!cols)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < rows->col_count; i++) {
        cols[i] = rows->cols[i];
        if (cols[i].kind == KS_LQ_DICT) {
            cols[i].codes += first;
        } else if (cols[i].kind == KS_LQ_VALUES) {
            cols[i].values += first;
            cols[i].value_count = count;
        } else if (cols[i].kind == KS_LQ_TIMES) {
            cols[i].times_ns += first;
        }
    }
    *ret = (struct ks_lq_rows){.row_count = count, .col_count = rows->col_count, .cols = cols};
    return KS_OK;
}

static ks_err copy_values(const struct ks_slice *values, uint32_t n, struct ks_arena *arena,
                          const struct ks_slice **ret)
{
    struct ks_slice *out = ks_arena_array(arena, n ? n : 1, sizeof *out);
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += values[i].len;
    char *text = ks_arena_alloc(arena, bytes ? bytes : 1);
    if (!out || !text)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        if (values[i].len)
            memcpy(text, values[i].ptr, values[i].len);
        out[i] = ks_slice(text, values[i].len);
        text += values[i].len;
    }
    *ret = out;
    return KS_OK;
}

ks_err ks_lq_rows_copy(const struct ks_lq_rows *rows, struct ks_arena *arena,
                       struct ks_lq_rows *ret)
{
    struct ks_lq_col *cols = ks_arena_array(arena, rows->col_count + 1, sizeof *cols);
    if (!cols)
        return ks_arena_err(arena);
    uint32_t n = rows->row_count;
    for (uint32_t i = 0; i < rows->col_count; i++) {
        struct ks_lq_col *c = &cols[i];
        *c = rows->cols[i];
        c->name = ks_arena_dup(arena, c->name);
        if (!c->name.ptr)
            return ks_arena_err(arena);
        if (c->kind == KS_LQ_TIMES) {
            int64_t *times = ks_arena_array(arena, n, sizeof *times);
            if (!times)
                return ks_arena_err(arena);
            memcpy(times, c->times_ns, n * sizeof *times);
            c->times_ns = times;
            continue;
        }
        if (c->kind == KS_LQ_DICT) {
            uint32_t *codes = ks_arena_array(arena, n, sizeof *codes);
            if (!codes)
                return ks_arena_err(arena);
            memcpy(codes, c->codes, n * sizeof *codes);
            c->codes = codes;
        }
        KS_TRY(
            copy_values(c->values, c->kind == KS_LQ_CONST ? 1 : c->value_count, arena, &c->values));
    }
    *ret = (struct ks_lq_rows){.row_count = n, .col_count = rows->col_count, .cols = cols};
    return KS_OK;
}

bool ks_lq_stage_done(const struct ks_lq_stage *s)
{
    for (; s; s = s->next) {
        if (atomic_load_explicit(&s->done, memory_order_relaxed))
            return true;
        if (!s->ops->row_local)
            return false;
    }
    return false;
}
