/*
 * Log parts against a plain model: what was added comes back byte for byte, whole or for some rows,
 * also after merging with other parts and leaving rows out, again and again;
 * filters give what matching every text gives; damage is always found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "log_shapes.h"
#include "storage/logs/log_part.h"
#include "storage/logs/token.h"
#include "sys/rand.h"
#include "sys/simdisk.h"

struct cell {
    char *text;
    size_t len;
};

struct model {
    size_t rows, columns, streams;
    struct cell *cells; /* row-major; len 0: absent */
    int64_t *times;
    uint32_t *stream_of;
};

static void stream_tags(size_t i, struct ks_buf *out)
{
    char v[16];
    snprintf(v, sizeof v, "s%06zu", i);
    ks_buf_reset(out);
    ks_buf_lp(out, KS_SLICE_LIT("app"));
    ks_buf_lp(out, ks_slice_str(v));
}

static struct model make_model(size_t rows, size_t columns, size_t streams, uint64_t seed)
{
    struct model m = {rows,
                      columns,
                      streams,
                      calloc(rows * columns, sizeof(struct cell)),
                      malloc(rows * 8),
                      malloc(rows * 4)};
    struct ks_buf v;
    int64_t t = 1790000000000000000;
    ks_buf_init(&v, 1 << 20);
    for (size_t i = 0; i < rows; i++) {
        m.stream_of[i] = (uint32_t)(i * streams / rows);
        if (i && m.stream_of[i] != m.stream_of[i - 1])
            t = 1790000000000000000 + (int64_t)ks_rng_below(&seed, 1000000000000);
        t += seed % 2 ? 1000000 * (int64_t)ks_rng_below(&seed, 5000)
                      : (int64_t)ks_rng_below(&seed, 5000000000);
        m.times[i] = t;
        for (size_t c = 0; c < columns; c++) {
            log_shape((unsigned)(c % LOG_SHAPES), &seed, &v);
            struct cell *x = &m.cells[i * columns + c];
            x->len = v.len;
            x->text = malloc(v.len + 1);
            memcpy(x->text, v.ptr, v.len);
        }
    }
    ks_buf_done(&v);
    return m;
}

static void model_free(struct model *m)
{
    for (size_t i = 0; i < m->rows * m->columns; i++)
        free(m->cells[i].text);
    free(m->cells);
    free(m->times);
    free(m->stream_of);
}

static void column_name(size_t c, char out[24])
{
    snprintf(out, 24, "c%03zu", c);
}

/* The rows of `of`, or all of them when part_of is NULL. */
static ks_err write_rows(struct ks_vfs *vfs, const struct model *m, const uint8_t *part_of,
                         uint8_t of, const char *path, bool copy)
{
    struct ks_lpart_writer *w;
    struct ks_lpart_field *f = calloc(m->columns, sizeof *f);
    char(*names)[24] = calloc(m->columns, 24);
    struct ks_buf tags;
    ks_buf_init(&tags, 1000);
    ks_err err = ks_lpart_writer_new(vfs, path, copy, &w);
    for (size_t c = 0; c < m->columns; c++)
        column_name(c, names[c]);
    for (size_t i = 0; i < m->rows && err == KS_OK; i++) {
        size_t n = 0;
        if (part_of && part_of[i] != of)
            continue;
        for (size_t c = 0; c < m->columns; c++)
            if (m->cells[i * m->columns + c].len)
                f[n++] = (struct ks_lpart_field){
                    ks_slice_str(names[c]),
                    ks_slice(m->cells[i * m->columns + c].text, m->cells[i * m->columns + c].len)};
        stream_tags(m->stream_of[i], &tags);
        if (ks_buf_status(&tags) != KS_OK) {
            err = KS_ENOMEM;
            ks_lpart_writer_abort(w);
            break;
        }
        err = ks_lpart_add(w, (struct ks_tenant){1, 2}, ks_buf_view(&tags), m->times[i], f, n);
        if (err != KS_OK)
            ks_lpart_writer_abort(w);
    }
    if (err == KS_OK)
        err = ks_lpart_writer_finish(w, NULL);
    ks_buf_done(&tags);
    free(f);
    free(names);
    return err;
}

static ks_err write_model(struct ks_vfs *vfs, const struct model *m, const char *path, bool copy)
{
    return write_rows(vfs, m, NULL, 0, path, copy);
}

static struct ks_slice value_at(const struct ks_log_column *c, size_t row)
{
    assert_true(c->kind != KS_COL_DICT || c->codes[row] < c->value_count);
    return ks_log_column_at(c, (uint32_t)row);
}

static struct ks_slice cell(const struct model *m, size_t row, size_t c)
{
    return ks_slice(m->cells[row * m->columns + c].text, m->cells[row * m->columns + c].len);
}

static void check_column(struct ks_lblock *b, const struct model *m, size_t first, size_t rows,
                         size_t c, uint64_t *rng)
{
    char name[24];
    struct ks_log_column got;
    uint64_t *bits = calloc(rows / 64 + 1, 8);
    column_name(c, name);
    for (size_t i = 0; i < rows; i++)
        bits[i / 64] |= (uint64_t)(ks_rng_below(rng, 10) == 0) << i % 64;
    assert_int_equal(ks_lblock_column(b, ks_slice_str(name), bits, &got), KS_OK);
    for (size_t i = 0; i < rows; i++)
        if (bits[i / 64] >> i % 64 & 1)
            assert_true(ks_slice_eq(value_at(&got, i), cell(m, first + i, c)));
    assert_int_equal(ks_lblock_column(b, ks_slice_str(name), NULL, &got), KS_OK);
    for (size_t i = 0; i < rows; i++)
        assert_true(ks_slice_eq(value_at(&got, i), cell(m, first + i, c)));
    free(bits);
}

/* --- predicates --- */

struct want {
    struct ks_slice literal, also; /* also: "" or a second one that has to be there */
    bool phrase, exact;
};

static bool matches(void *arg, struct ks_slice v)
{
    const struct want *w = arg;
    if (w->exact)
        return ks_slice_eq(v, w->literal);
    if (w->also.len && (!v.len || !memmem(v.ptr, v.len, w->also.ptr, w->also.len)))
        return false;
    const char *p = v.ptr, *end = v.ptr + v.len;
    while (v.len && (p = memmem(p, (size_t)(end - p), w->literal.ptr, w->literal.len))) {
        const char *behind = p + w->literal.len;
        bool starts = !ks_is_token_char(*w->literal.ptr) || p == v.ptr ||
                      (!ks_is_token_char(p[-1]) && !(p[-1] & 0x80));
        bool ends = !ks_is_token_char(behind[-1]) || behind == end ||
                    (!ks_is_token_char(*behind) && !(*behind & 0x80));
        if (!w->phrase || (starts && ends))
            return true;
        p++;
    }
    return false;
}

static void check_filter(struct ks_lblock *b, const struct model *m, size_t first, size_t rows,
                         size_t c, uint64_t *rng)
{
    struct ks_slice v = cell(m, first + ks_rng_below(rng, rows), c), tokens[8];
    char name[24];
    size_t n = 0, at = 0;
    if (!v.len)
        return;
    struct want w = {.phrase = ks_rng_below(rng, 2)};
    w.exact = !w.phrase && ks_rng_below(rng, 2);
    if (ks_rng_below(rng, 8) == 0)
        v = KS_SLICE_LIT("absent from everything 77");
    size_t from = w.exact ? 0 : ks_rng_below(rng, v.len);
    w.literal = w.exact ? v : ks_slice(v.ptr + from, 1 + ks_rng_below(rng, v.len - from));
    if (w.phrase) { /* whole tokens, so that the hints hold */
        at = 0;
        while (n < 1 && ks_token_next(v, &at, &tokens[0]))
            n += ks_rng_below(rng, 2);
        if (!n)
            return;
        w.literal = tokens[0];
    }
    if (!w.phrase && !w.exact && ks_rng_below(rng, 2)) {
        at = ks_rng_below(rng, v.len);
        w.also = ks_slice(v.ptr + at, 1 + ks_rng_below(rng, v.len - at));
    }
    struct ks_slice literals[] = {w.literal, w.also};
    struct ks_log_pred p = {.match = matches,
                            .arg = &w,
                            .literals = literals,
                            .literal_count = ks_rng_below(rng, 8) ? 1 + (w.also.len > 0) : 0,
                            .tokens = tokens,
                            .token_count = n,
                            .literal = w.literal,
                            .phrase = w.phrase,
                            .bounded_start = w.phrase,
                            .bounded_end = w.phrase,
                            .substring = !w.phrase && !w.exact && !w.also.len,
                            .exact = w.exact ? &w.literal : NULL,
                            .exact_count = w.exact};
    p.has_range = w.exact && ks_f64_parse(w.literal, &p.range_min);
    p.range_max = p.range_min;
    uint64_t *bits = calloc(rows / 64 + 1, 8), *start = calloc(rows / 64 + 1, 8);
    uint64_t dense = ks_rng_below(rng, 2);
    for (size_t i = 0; i < rows; i++)
        bits[i / 64] |= (uint64_t)(dense || ks_rng_below(rng, 3) == 0) << i % 64;
    memcpy(start, bits, (rows / 64 + 1) * 8);
    column_name(c, name);
    assert_int_equal(ks_lblock_filter(b, ks_slice_str(name), &p, bits), KS_OK);
    for (size_t i = 0; i < rows; i++) {
        bool expect = (start[i / 64] >> i % 64 & 1) && matches(&w, cell(m, first + i, c));
        if ((bits[i / 64] >> i % 64 & 1) != expect)
            fail_msg("column %zu row %zu: \"%.*s\" for \"%.*s\" phrase=%d exact=%d want=%d", c, i,
                     KS_SLICE_ARG(cell(m, first + i, c)), KS_SLICE_ARG(w.literal), w.phrase,
                     w.exact, expect);
    }
    free(bits);
    free(start);
}

static void check_part(struct ks_vfs *vfs, const struct model *m, const char *path, uint64_t seed)
{
    struct ks_lpart *p;
    struct ks_lblock *b;
    struct ks_buf tags;
    const int64_t *times;
    const struct ks_lblock_run *runs;
    size_t first = 0;
    ks_buf_init(&tags, 1000);
    ks_err err = ks_lpart_open(vfs, path, NULL, &p);
    if (err != KS_OK)
        fail_msg("%s", ks_err_text());
    assert_int_equal(ks_lpart_rows(p), m->rows);
    assert_int_equal(ks_lpart_stream_count(p), m->streams);
    assert_int_equal(ks_lblock_new(&b), KS_OK);
    for (size_t i = 0; i < ks_lpart_block_count(p); i++) {
        size_t rows = ks_lpart_block(p, i)->rows;
        err = ks_lblock_open(b, p, i);
        if (err != KS_OK)
            fail_msg("%s", ks_err_text());
        assert_int_equal(ks_lblock_times(b, &times), KS_OK);
        assert_memory_equal(times, m->times + first, rows * 8);
        size_t run_count = ks_lblock_runs(b, &runs);
        for (size_t r = 0; r < run_count; r++) {
            stream_tags(m->stream_of[first + runs[r].first_row], &tags);
            assert_true(ks_slice_eq(ks_lpart_stream(p, runs[r].stream)->tags, ks_buf_view(&tags)));
        }
        for (size_t c = 0; c < m->columns; c++) {
            for (int k = 0; k < (rows > 1000 ? 6 : 40); k++)
                check_filter(b, m, first, rows, c, &seed);
            check_column(b, m, first, rows, c, &seed);
        }
        first += rows;
    }
    assert_int_equal(first, m->rows);
    ks_lblock_free(b);
    ks_lpart_close(p);
    ks_buf_done(&tags);
}

static void rows_come_back(void **state)
{
    static const size_t sizes[][3] = {{1, 24, 1},     {3, 24, 3},     {17, 30, 2},
                                      {500, 48, 100}, {9000, 24, 7},  {30000, 24, 1},
                                      {70000, 5, 3},  {200, 1500, 4}, {5000, 17, 5000}};
    struct ks_simdisk *d;
    uint64_t seed = 42;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        struct model m = make_model(sizes[i][0], sizes[i][1], sizes[i][2], ks_rng_next(&seed));
        ks_err err = write_model(ks_simdisk_vfs(d), &m, "a.part", i % 2);
        if (err != KS_OK)
            fail_msg("%s", ks_err_text());
        check_part(ks_simdisk_vfs(d), &m, "a.part", ks_rng_next(&seed));
        model_free(&m);
        ks_simdisk_free(d);
    }
}

/*
 * A part as the first version of the format wrote it: every later version reads it. Written once,
 * with KS_WRITE_GOLDEN=1; tests/support/log_shapes.c gives the same values for ever, or this test
 * tells.
 */
static void the_first_version_is_read(void **state)
{
    const char *path = KS_TEST_DIR "/unit/storage/golden/log-part-v1.part";
    struct model m = make_model(150, LOG_SHAPES, 12, 1);
    if (getenv("KS_WRITE_GOLDEN"))
        assert_int_equal(write_model(ks_vfs_posix(), &m, path, true), KS_OK);
    check_part(ks_vfs_posix(), &m, path, 5);
    model_free(&m);
}

/* Reads everything; the first error. */
static ks_err read_all(struct ks_vfs *vfs, const char *path)
{
    struct ks_lpart *p;
    struct ks_lblock *b = NULL;
    const int64_t *times;
    const struct ks_slice *names;
    struct ks_log_column c;
    KS_TRY(ks_lpart_open(vfs, path, NULL, &p));
    ks_err err = ks_lblock_new(&b);
    for (size_t i = 0; i < ks_lpart_block_count(p) && err == KS_OK; i++) {
        err = ks_lblock_open(b, p, i);
        if (err == KS_OK)
            err = ks_lblock_times(b, &times);
        size_t n = err == KS_OK ? ks_lblock_names(b, &names) : 0;
        for (size_t k = 0; k < n && err == KS_OK; k++)
            err = ks_lblock_column(b, names[k], NULL, &c);
    }
    ks_lblock_free(b);
    ks_lpart_close(p);
    return err;
}

static void every_flipped_bit_is_found(void **state)
{
    struct ks_simdisk *d;
    struct ks_file *file;
    uint64_t size;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_vfs *vfs = ks_simdisk_vfs(d);
    struct model m = make_model(40, 24, 3, 7);
    assert_int_equal(write_model(vfs, &m, "a.part", false), KS_OK);
    assert_int_equal(read_all(vfs, "a.part"), KS_OK);
    assert_int_equal(ks_open(vfs, "a.part", KS_OPEN_READ, &file), KS_OK);
    assert_int_equal(ks_file_size(file, &size), KS_OK);
    ks_close(file);
    for (uint64_t bit = 0; bit < size * 8; bit++) {
        struct ks_lpart *p;
        assert_int_equal(ks_simdisk_flip(d, "a.part", bit), KS_OK);
        ks_err err = ks_lpart_open(vfs, "a.part", NULL, &p);
        if (err == KS_OK) {
            err = ks_part_verify(ks_lpart_file(p), NULL, NULL);
            ks_lpart_close(p);
        }
        if (err != KS_ECORRUPT && err != KS_EUNSUPPORTED)
            fail_msg("bit %llu: %s", (unsigned long long)bit, ks_err_name(err));
        assert_int_equal(ks_simdisk_flip(d, "a.part", bit), KS_OK);
    }
    model_free(&m);
    ks_simdisk_free(d);
}

static void every_failing_allocation_is_clean(void **state)
{
    struct ks_simdisk *d;
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_vfs *vfs = ks_simdisk_vfs(d);
    struct model m = make_model(60, 24, 3, 8);
    for (uint64_t n = 1;; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = write_model(vfs, &m, "a.part", n % 2);
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        if (err == KS_OK)
            check_part(vfs, &m, "a.part", n);
        if (!hit)
            break;
    }
    for (uint64_t n = 1;; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = read_all(vfs, "a.part");
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        assert_true(err == KS_OK || err == KS_ENOMEM);
        if (!hit)
            break;
    }
    model_free(&m);
    ks_simdisk_free(d);
}

/* --- merging --- */

enum { PARTS = 4 };

/* Where a part is being read. */
struct reading {
    struct ks_lpart *p;
    struct ks_lblock *b;
    size_t next_block;
    uint32_t row, rows;
};

static ks_err next_block(struct ks_lpart_writer *w, struct reading *x)
{
    ks_lpart_give_block(w, x->b);
    x->b = NULL;
    x->row = x->rows = 0;
    if (x->next_block == ks_lpart_block_count(x->p))
        return KS_OK;
    KS_TRY(ks_lpart_take_block(w, &x->b));
    x->rows = ks_lpart_block(x->p, x->next_block)->rows;
    return ks_lblock_open(x->b, x->p, x->next_block++);
}

/* All rows of the model but those that are gone, each from the part it is in. */
static ks_err merge_rows(struct ks_lpart_writer *w, const struct model *m, const uint8_t *part_of,
                         const bool *gone, struct reading *from)
{
    struct ks_buf tags;
    ks_err err = KS_OK;
    uint32_t stream = UINT32_MAX, begun = UINT32_MAX;
    ks_buf_init(&tags, 1000);
    for (size_t i = 0; i < PARTS && err == KS_OK; i++)
        err = next_block(w, &from[i]);
    for (size_t i = 0; i < m->rows && err == KS_OK;) {
        struct reading *x = &from[part_of[i]];
        size_t k = i + 1;
        while (k < m->rows && part_of[k] == part_of[i] && gone[k] == gone[i] &&
               m->stream_of[k] == m->stream_of[i] && x->row + (k - i) < x->rows)
            k++;
        if (!gone[i] && m->stream_of[i] != stream) {
            stream_tags(stream = m->stream_of[i], &tags);
            err = ks_buf_status(&tags);
        }
        if (!gone[i] && err == KS_OK && stream != begun) {
            begun = stream;
            err = ks_lpart_stream_begin(w, (struct ks_tenant){1, 2}, ks_buf_view(&tags));
        }
        if (!gone[i] && err == KS_OK)
            err = ks_lpart_add_run(w, x->b, x->row, (uint32_t)(k - i));
        x->row += (uint32_t)(k - i);
        if (x->row == x->rows && err == KS_OK)
            err = next_block(w, x);
        i = k;
    }
    for (size_t i = 0; i < PARTS; i++)
        ks_lpart_give_block(w, from[i].b);
    ks_buf_done(&tags);
    return err;
}

/* Parts named as the digits in names become `out`. */
static ks_err merge_parts(struct ks_vfs *vfs, const struct model *m, const uint8_t *part_of,
                          const bool *gone, const char *names, const char *out)
{
    struct ks_lpart_writer *w;
    struct reading from[PARTS] = {0};
    ks_err err = ks_lpart_writer_new(vfs, out, false, &w);
    bool writing = err == KS_OK;
    for (size_t i = 0; names[i] && err == KS_OK; i++) {
        char path[] = {names[i], '.', 'p', 'a', 'r', 't', 0};
        err = ks_lpart_open(vfs, path, NULL, &from[i].p);
    }
    for (size_t i = strlen(names); i < PARTS; i++) /* not used by part_of */
        from[i].p = from[0].p;
    if (err == KS_OK)
        err = merge_rows(w, m, part_of, gone, from);
    if (err == KS_OK)
        err = ks_lpart_writer_finish(w, NULL);
    else if (writing)
        ks_lpart_writer_abort(w);
    for (size_t i = 0; names[i]; i++)
        ks_lpart_close(from[i].p);
    return err;
}

/* Parts say something again and again for a while. */
static void deal(const struct model *m, uint64_t *rng, uint8_t *part_of, bool *gone)
{
    uint64_t most = 1 + ks_rng_below(rng, 60), loss = ks_rng_below(rng, 3);
    for (size_t i = 0; i < m->rows;) {
        size_t n = 1 + ks_rng_below(rng, most);
        uint8_t part = (uint8_t)ks_rng_below(rng, PARTS);
        for (; n && i < m->rows; n--, i++) {
            part_of[i] = part;
            gone[i] = loss && ks_rng_below(rng, loss == 1 ? 200 : 3) == 0;
        }
    }
    for (size_t i = 0; i < PARTS && i < m->rows; i++) { /* no part is empty, nor all gone */
        part_of[i] = (uint8_t)i;
        gone[i] = false;
    }
}

/* Leaves the gone ones out; their texts stay with `all`. */
static struct model without(const struct model *all, const uint8_t *part_of, const bool *gone,
                            uint8_t *ret_part_of)
{
    struct model m = *all;
    m.cells = calloc(all->rows * all->columns, sizeof *m.cells);
    m.times = malloc(all->rows * 8);
    m.stream_of = malloc(all->rows * 4);
    m.rows = m.streams = 0;
    for (size_t i = 0; i < all->rows; i++) {
        if (gone[i])
            continue;
        memcpy(m.cells + m.rows * m.columns, all->cells + i * m.columns,
               m.columns * sizeof *m.cells);
        m.times[m.rows] = all->times[i];
        m.stream_of[m.rows] = all->stream_of[i];
        m.streams += !m.rows || m.stream_of[m.rows] != m.stream_of[m.rows - 1];
        ret_part_of[m.rows++] = part_of[i];
    }
    return m;
}

static void merged_rows_come_back(void **state)
{
    static const size_t sizes[][3] = {{4, 24, 1},       {40, 24, 3},   {500, 48, 100},
                                      {3000, 24, 1500}, {9000, 24, 7}, {30000, 24, 1},
                                      {70000, 5, 3},    {200, 1500, 4}};
    struct ks_simdisk *d;
    uint64_t seed = 4711;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(ks_simdisk_new(&d), KS_OK);
        struct ks_vfs *vfs = ks_simdisk_vfs(d);
        struct model m = make_model(sizes[i][0], sizes[i][1], sizes[i][2], ks_rng_next(&seed));
        uint8_t *part_of = malloc(m.rows), *later = malloc(m.rows), *last = malloc(m.rows);
        bool *gone = malloc(m.rows), *half = calloc(m.rows, 1), *none = calloc(m.rows, 1);
        deal(&m, &seed, part_of, gone);
        for (char part = 0; part < PARTS; part++) {
            char path[] = {(char)('0' + part), '.', 'p', 'a', 'r', 't', 0};
            assert_int_equal(write_rows(vfs, &m, part_of, (uint8_t)part, path, part % 2), KS_OK);
        }
        assert_int_equal(merge_parts(vfs, &m, part_of, gone, "0123", "8.part"), KS_OK);
        struct model left = without(&m, part_of, gone, later);
        check_part(vfs, &left, "8.part", ks_rng_next(&seed));
        /* A part of which half the rows were deleted; rows of the others are added one part after
         * the other. */
        for (size_t k = 0; k < left.rows; k++) {
            half[k] = k % 2 && k > 3;
            later[k] = 0;
        }
        assert_int_equal(merge_parts(vfs, &left, later, half, "8", "9.part"), KS_OK);
        struct model few = without(&left, later, half, last);
        check_part(vfs, &few, "9.part", ks_rng_next(&seed));
        assert_int_equal(merge_parts(vfs, &few, last, none, "9", "7.part"), KS_OK);
        check_part(vfs, &few, "7.part", ks_rng_next(&seed));
        free(few.cells), free(few.times), free(few.stream_of);
        free(left.cells), free(left.times), free(left.stream_of);
        free(part_of), free(later), free(last), free(gone), free(half), free(none);
        model_free(&m);
        ks_simdisk_free(d);
    }
}

static void merging_survives_failing_allocations(void **state)
{
    struct ks_simdisk *d;
    uint64_t seed = 99;
    uint8_t part_of[150];
    bool gone[150];
    assert_int_equal(ks_simdisk_new(&d), KS_OK);
    struct ks_vfs *vfs = ks_simdisk_vfs(d);
    struct model m = make_model(150, 24, 3, 8);
    deal(&m, &seed, part_of, gone);
    memset(gone, 0, sizeof gone);
    for (char part = 0; part < PARTS; part++) {
        char path[] = {(char)('0' + part), '.', 'p', 'a', 'r', 't', 0};
        assert_int_equal(write_rows(vfs, &m, part_of, (uint8_t)part, path, false), KS_OK);
    }
    for (uint64_t n = 1;; n++) {
        ks_mem_fail_after(n, 0);
        ks_err err = merge_parts(vfs, &m, part_of, gone, "0123", "a.part");
        bool hit = ks_mem_fail_hit();
        ks_mem_fail_after(0, 0);
        if (err == KS_OK)
            check_part(vfs, &m, "a.part", n);
        else
            assert_int_equal(err, KS_ENOMEM);
        if (!hit)
            break;
    }
    model_free(&m);
    ks_simdisk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(the_first_version_is_read),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_failing_allocation_is_clean),
        cmocka_unit_test(merged_rows_come_back),
        cmocka_unit_test(merging_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
