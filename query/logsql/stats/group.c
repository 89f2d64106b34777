/* See group.h. The key of a group: the value alone for one field, else each value behind its
 * length (varint). */
#include "query/logsql/stats/group.h"

#include "base/bytes.h"
#include "query/logsql/stats/bucket.h"

void ksi_lq_grouper_init(struct ksi_lq_grouper *g, const struct ks_lq_by *by, size_t by_count)
{
    g->by = by;
    g->by_count = by_count;
    ks_arena_init(&g->texts, KS_BUF_UNLIMITED);
    ksi_keymap_init(&g->keys, &g->texts);
    ks_buf_init(&g->key, KS_BUF_UNLIMITED);
}

void ksi_lq_grouper_done(struct ksi_lq_grouper *g)
{
    ksi_keymap_done(&g->keys);
    ks_arena_done(&g->texts);
    ks_buf_done(&g->key);
}

ks_err ksi_lq_by_names(struct ks_lq_exec *x, const struct ks_lq_names *names, struct ks_lq_by **ret)
{
    struct ks_lq_by *by = ks_arena_zalloc(x->arena, (names->count + 1) * sizeof *by);
    if (!by)
        return ks_arena_err(x->arena);
    for (size_t i = 0; i < names->count; i++)
        by[i].name = names->items[i];
    *ret = by;
    return KS_OK;
}

/* ---------------------------------------------------------------- buckets of columns */

/* Times into buckets: neighbours mostly share one, so a new text is made per change of bucket. */
static ks_err bucket_times(const struct ks_lq_by *by, const struct ks_lq_col *col, uint32_t rows,
                           struct ks_arena *arena, struct ksi_lq_texts *ret)
{
    uint32_t *codes = ks_arena_array(arena, rows, sizeof *codes);
    int64_t *starts = NULL;
    size_t cap = 0;
    uint64_t lasts = (uint64_t)ksi_lq_bucket_ns(by);
    uint32_t count = 0;
    if (!codes)
        return ks_arena_err(arena);
    for (uint32_t r = 0; r < rows; r++) {
        if (r && (uint64_t)col->times_ns[r] - (uint64_t)starts[codes[r - 1]] < lasts) {
            codes[r] = codes[r - 1];
            continue;
        }
        int64_t at = ksi_lq_bucket_time(by, col->times_ns[r]);
        uint32_t k = r ? codes[r - 1] : 0;
        if (!count || starts[k] != at) {
            uint32_t tail = count > 8 ? count - 8 : 0;
            for (k = tail; k < count && starts[k] != at;)
                k++;
            if (k == count) { /* an older bucket may get a second code: keys tell them equal */
                KS_TRY(ks_arena_grow(arena, (void **)&starts, &cap, count + 1u, sizeof *starts));
                starts[count++] = at;
            }
        }
        codes[r] = k;
    }
    struct ks_slice *values = ks_arena_array(arena, count, sizeof *values);
    char *text = ks_arena_array(arena, count, KS_LQ_TIME_TEXT_MAX);
    if (!values || !text)
        return ks_arena_err(arena);
    for (uint32_t k = 0; k < count; k++, text += KS_LQ_TIME_TEXT_MAX)
        values[k] = ks_slice(text, ks_lq_time_format(text, starts[k]));
    *ret = (struct ksi_lq_texts){values, codes, count, false};
    if (count == 1)
        *ret = (struct ksi_lq_texts){values, NULL, 1, true};
    return KS_OK;
}

static ks_err key_column(const struct ks_lq_by *by, const struct ks_lq_rows *rows,
                         struct ks_arena *arena, struct ksi_lq_texts *ret)
{
    const struct ks_lq_col *col = ks_lq_rows_col(rows, by->name);
    if (col && col->kind == KS_LQ_TIMES && by->unit != KS_LQ_BUCKET_NONE)
        return bucket_times(by, col, rows->row_count, arena, ret);
    KS_TRY(ksi_lq_texts(col, rows->row_count, arena, ret));
    if (by->unit == KS_LQ_BUCKET_NONE)
        return KS_OK;
    struct ks_slice *values = ksi_lq_texts_like(ret, arena);
    if (!values)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < ret->count; i++)
        KS_TRY(ksi_lq_bucket_text(by, ret->values[i], arena, &values[i]));
    ret->values = values;
    return KS_OK;
}

/* ---------------------------------------------------------------- grouping */

static ks_err add_key(struct ksi_lq_grouper *g, const struct ksi_lq_texts *cols, uint32_t row,
                      uint32_t *ret)
{
    struct ks_slice key;
    bool fresh;
    if (g->by_count == 1) {
        key = ksi_lq_text(&cols[0], row);
    } else {
        ks_buf_reset(&g->key);
        for (size_t i = 0; i < g->by_count; i++)
            ks_buf_lp(&g->key, ksi_lq_text(&cols[i], row));
        KS_TRY(ks_buf_status(&g->key));
        key = ks_buf_view(&g->key);
    }
    return ksi_keymap_add(&g->keys, key, ksi_keymap_hash(key), ret, &fresh);
}

enum { COMBOS_MAX = 1 << 16 };

/* The number of code combinations, or 0 when a column has one value per row or they are too many
 * for a table. */
static uint32_t combinations(const struct ksi_lq_texts *cols, size_t count, uint32_t rows)
{
    uint64_t n = 1;
    for (size_t i = 0; i < count; i++) {
        if (cols[i].constant)
            continue;
        if (!cols[i].codes)
            return 0;
        n *= cols[i].count;
        if (n > COMBOS_MAX || n > 4ull * rows + 64)
            return 0;
    }
    return (uint32_t)n;
}

/* Each row's combination of codes. */
static void combine(const struct ksi_lq_texts *cols, size_t count, uint32_t rows, uint32_t *of_row)
{
    uint32_t stride = 1;
    for (size_t i = 0; i < count; i++) {
        if (cols[i].constant)
            continue;
        if (stride == 1)
            memcpy(of_row, cols[i].codes, rows * sizeof *of_row);
        for (uint32_t r = 0; stride > 1 && r < rows; r++)
            of_row[r] += cols[i].codes[r] * stride;
        stride *= cols[i].count;
    }
}

static ks_err group_coded(struct ksi_lq_grouper *g, const struct ksi_lq_texts *cols, uint32_t rows,
                          uint32_t combos, struct ks_arena *arena, uint32_t *of_row)
{
    uint32_t *table = ks_arena_zalloc(arena, combos * sizeof *table);
    if (!table)
        return ks_arena_err(arena);
    combine(cols, g->by_count, rows, of_row);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t *slot = &table[of_row[r]];
        if (!*slot) {
            uint32_t group;
            KS_TRY(add_key(g, cols, r, &group));
            *slot = group + 1;
        }
        of_row[r] = *slot - 1;
    }
    return KS_OK;
}

void ksi_lq_count_codes(const uint32_t *codes, uint32_t rows, uint32_t *hits)
{
    enum { STEP = 16 }; /* rows are sorted by stream: neighbours mostly share their code */
    uint32_t r = 0;
    for (; r + STEP <= rows; r += STEP) {
        uint32_t differ = 0;
        for (uint32_t i = 0; i < STEP; i++)
            differ |= codes[r + i] ^ codes[r];
        if (!differ) {
            hits[codes[r]] += STEP;
            continue;
        }
        for (uint32_t i = 0; i < STEP; i++)
            hits[codes[r + i]]++;
    }
    for (; r < rows; r++)
        hits[codes[r]]++;
}

/* The first of the codes' rows stands for all: their values are the same. */
static ks_err hits_coded(struct ksi_lq_grouper *g, const struct ksi_lq_texts *cols, uint32_t rows,
                         uint32_t combos, struct ks_arena *arena, struct ksi_lq_hits **ret,
                         size_t *ret_count)
{
    const uint32_t *codes = NULL;
    size_t n = 0, coded = 0;
    for (size_t i = 0; i < g->by_count; i++) {
        coded += !cols[i].constant;
        codes = cols[i].constant ? codes : cols[i].codes;
    }
    if (coded > 1) {
        uint32_t *of_row = ks_arena_array(arena, rows, sizeof *of_row);
        if (!of_row)
            return ks_arena_err(arena);
        combine(cols, g->by_count, rows, of_row);
        codes = of_row;
    }
    uint32_t *hits = ks_arena_zalloc(arena, combos * sizeof *hits);
    struct ksi_lq_hits *list = ks_arena_array(arena, combos, sizeof *list);
    if (!hits || !list)
        return ks_arena_err(arena);
    ksi_lq_count_codes(codes, rows, hits);
    uint32_t left = rows;
    for (uint32_t r = 0; left; r++) {
        uint32_t *of_code = &hits[codes[r]];
        if (!*of_code)
            continue;
        left -= *of_code;
        list[n].rows = *of_code;
        *of_code = 0;
        KS_TRY(add_key(g, cols, r, &list[n++].group));
    }
    *ret = list;
    *ret_count = n;
    return KS_OK;
}

/* Do two rows have the very same values in all columns? A quick no is fine. */
static bool same_row(const struct ksi_lq_texts *cols, size_t count, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < count; i++) {
        struct ks_slice va = ksi_lq_text(&cols[i], a), vb = ksi_lq_text(&cols[i], b);
        if (va.ptr != vb.ptr && !ks_slice_eq(va, vb))
            return false;
        if (va.len != vb.len)
            return false;
    }
    return true;
}

/* The columns of the key; *ret_constant: one key for all rows. */
static ks_err key_columns(const struct ksi_lq_grouper *g, const struct ks_lq_rows *rows,
                          struct ks_arena *arena, struct ksi_lq_texts **ret, bool *ret_constant)
{
    struct ksi_lq_texts *cols = ks_arena_array(arena, g->by_count + 1, sizeof *cols);
    if (!cols)
        return ks_arena_err(arena);
    *ret_constant = true;
    for (size_t i = 0; i < g->by_count; i++) {
        KS_TRY(key_column(&g->by[i], rows, arena, &cols[i]));
        *ret_constant = *ret_constant && cols[i].constant;
    }
    *ret = cols;
    return KS_OK;
}

ks_err ksi_lq_group_rows(struct ksi_lq_grouper *g, const struct ks_lq_rows *rows,
                         struct ks_arena *arena, const uint32_t **ret_of_row, uint32_t *ret_single)
{
    struct ksi_lq_texts *cols;
    bool constant;
    *ret_of_row = NULL;
    KS_TRY(key_columns(g, rows, arena, &cols, &constant));
    if (constant)
        return add_key(g, cols, 0, ret_single);
    uint32_t *of_row = ks_arena_array(arena, rows->row_count, sizeof *of_row);
    uint32_t combos = combinations(cols, g->by_count, rows->row_count);
    if (!of_row)
        return ks_arena_err(arena);
    *ret_of_row = of_row;
    if (combos)
        return group_coded(g, cols, rows->row_count, combos, arena, of_row);
    for (uint32_t r = 0; r < rows->row_count; r++) {
        if (r && same_row(cols, g->by_count, r, r - 1))
            of_row[r] = of_row[r - 1];
        else
            KS_TRY(add_key(g, cols, r, &of_row[r]));
    }
    return KS_OK;
}

ks_err ksi_lq_group_hits(struct ksi_lq_grouper *g, const struct ks_lq_rows *rows,
                         struct ks_arena *arena, struct ksi_lq_hits **ret, size_t *ret_count)
{
    struct ksi_lq_texts *cols;
    bool constant;
    KS_TRY(key_columns(g, rows, arena, &cols, &constant));
    uint32_t combos = constant ? 0 : combinations(cols, g->by_count, rows->row_count);
    if (combos)
        return hits_coded(g, cols, rows->row_count, combos, arena, ret, ret_count);
    size_t n = 0;
    struct ksi_lq_hits *list = ks_arena_array(arena, constant ? 1 : rows->row_count, sizeof *list);
    if (!list)
        return ks_arena_err(arena);
    for (uint32_t r = 0; r < (constant ? 1 : rows->row_count); r++) {
        if (!r || !same_row(cols, g->by_count, r, r - 1)) {
            list[n].rows = 0;
            KS_TRY(add_key(g, cols, r, &list[n++].group));
        }
        list[n - 1].rows += constant ? rows->row_count : 1;
    }
    *ret = list;
    *ret_count = n;
    return KS_OK;
}

void ksi_lq_group_values(const struct ksi_lq_grouper *g, uint32_t group, struct ks_slice *ret)
{
    struct ks_slice key = g->keys.entries[group].key;
    if (g->by_count == 1) {
        ret[0] = key;
        return;
    }
    struct ks_reader r = ks_reader(key);
    for (size_t i = 0; i < g->by_count; i++)
        ret[i] = ks_read_lp(&r);
}

ks_err ksi_lq_group_import(struct ksi_lq_grouper *g, const struct ksi_lq_grouper *from,
                           uint32_t group, uint32_t *ret, bool *ret_new)
{
    const struct ksi_keymap_entry *e = &from->keys.entries[group];
    return ksi_keymap_add(&g->keys, e->key, e->hash, ret, ret_new);
}
