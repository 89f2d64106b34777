/*
 * Blocks of log parts from hostile bytes under valid hashes: rows u16, length of the page of
 * columns u16, that page, then the directory behind its page refs. All columns are read, whole and
 * in part, and filtered. Then the block is merged with itself, halves by turns: what comes out has
 * the same values.
 */
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "storage/logs/block_priv.h"
#include "storage/logs/log_part.h"
#include "sys/simdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAMES = 64 };

static void put_prop(struct ks_part_writer *w, const char *key, uint64_t v)
{
    uint8_t bytes[8];
    ks_put_le64(bytes, v);
    KS_ASSERT(ks_part_prop(w, key, ks_slice(bytes, 8)) == KS_OK);
}

static void put_text(struct ks_part_writer *w, const char *section, struct ks_buf *b)
{
    struct ks_page_ref ref;
    KS_ASSERT(ks_part_page(w, section, ks_buf_view(b), KS_PAGE_RAW, &ref) == KS_OK);
    ks_buf_reset(b);
}

static void put_index(struct ks_part_writer *w, uint16_t rows, struct ks_page_ref dir,
                      struct ks_buf *b)
{
    ks_buf_zigzag(b, INT64_MIN / 2);
    ks_buf_varint(b, INT64_MAX);
    ks_buf_varint(b, rows);
    ks_buf_varint(b, 1);
    ks_buf_varint(b, 0);
    ks_buf_varint(b, 0);
    ks_buf_varint(b, dir.offset);
    ks_buf_varint(b, dir.stored_bytes);
    ks_buf_varint(b, dir.raw_bytes);
    ks_buf_add(b, "\0\0\0", 3);
    put_text(w, KSI_SECTION_INDEX, b);
}

static void build(struct ks_vfs *vfs, uint16_t rows, struct ks_slice page, struct ks_slice rest)
{
    struct ks_part_writer *w;
    struct ks_page_ref ref, dir;
    uint8_t raw[KS_PAGE_REF_BYTES];
    struct ks_buf b;
    ks_buf_init(&b, 1 << 22);
    KS_ASSERT(ks_part_writer_new(vfs, "f.part", KS_PART_LOGS, &w) == KS_OK);
    KS_ASSERT(ks_part_page(w, KSI_SECTION_COLUMNS, page, KS_PAGE_RAW, &ref) == KS_OK);
    ks_page_ref_save(raw, ref);
    ks_buf_byte(&b, KSI_BLOCK_VERSION);
    ks_buf_varint(&b, 1);
    ks_buf_add(&b, raw, sizeof raw);
    ks_buf_slice(&b, rest);
    KS_ASSERT(ks_part_page(w, KSI_SECTION_DIRS, ks_buf_view(&b), KS_PAGE_RAW, &dir) == KS_OK);
    ks_buf_reset(&b);
    for (int i = 0; i < NAMES; i++) {
        char name[2] = {(char)('A' + i / 8), (char)('a' + i % 8)};
        ks_buf_lp(&b, ks_slice(name, 2));
    }
    put_text(w, KSI_SECTION_NAMES, &b);
    ks_buf_add(&b, "\0\0\0", 3);
    ks_buf_varint(&b, rows);
    put_text(w, KSI_SECTION_STREAMS, &b);
    put_index(w, rows, dir, &b);
    put_prop(w, "rows", rows);
    put_prop(w, "text", 1);
    put_prop(w, "blocks", 1);
    put_prop(w, "streams", 1);
    put_prop(w, "names", NAMES);
    put_prop(w, "min_ns", (uint64_t)(INT64_MIN / 2));
    put_prop(w, "max_ns", (uint64_t)(INT64_MIN / 2) + INT64_MAX);
    KS_ASSERT(ks_part_writer_finish(w, NULL) == KS_OK);
    ks_buf_done(&b);
}

static bool is_odd(void *arg, struct ks_slice v)
{
    unsigned sum = 0;
    for (size_t i = 0; i < v.len; i++)
        sum += (uint8_t)v.ptr[i];
    return sum & 1;
}

static void read_column(struct ks_lblock *b, struct ks_slice name, uint32_t rows)
{
    struct ks_slice tokens[] = {KS_SLICE_LIT("error"), KS_SLICE_LIT("17")};
    struct ks_slice literals[] = {KS_SLICE_LIT("r"),    KS_SLICE_LIT("1"),  KS_SLICE_LIT("a"),
                                  KS_SLICE_LIT("0 b1"), KS_SLICE_LIT(" 1"), KS_SLICE_LIT("12"),
                                  KS_SLICE_LIT("-"),    KS_SLICE_LIT("7.")};
    struct ks_log_pred p = {.match = is_odd,
                            .tokens = tokens,
                            .token_count = rows % 3,
                            .literal = KS_SLICE_LIT("r"),
                            .literals = &literals[rows % 5],
                            .literal_count = rows % 4,
                            .has_range = true,
                            .range_max = 100};
    uint64_t *bits = ks_alloc_array(rows / 64 + 1, 8);
    struct ks_log_column c;
    memset(bits, 0x55, (rows / 64 + 1) * 8);
    if (rows % 64)
        bits[rows / 64] &= (1ull << rows % 64) - 1;
    (void)!ks_lblock_filter(b, name, &p, bits);
    memset(bits, 0x33, (rows / 64 + 1) * 8);
    (void)!ks_lblock_column(b, name, bits, &c);
    if (ks_lblock_column(b, name, NULL, &c) == KS_OK) {
        for (uint32_t i = 0; i < rows; i++) {
            struct ks_slice v = c.kind == KS_COL_DICT    ? c.values[c.codes[i]]
                                : c.kind == KS_COL_CONST ? c.values[0]
                                                         : c.values[i];
            (void)is_odd(NULL, v);
        }
    }
    ks_free(bits);
}

/* --- merging --- */

static ks_err merge(struct ks_vfs *vfs, struct ks_lpart *p, uint32_t rows)
{
    struct ks_lpart_writer *w;
    struct ks_lblock *from[2] = {NULL, NULL};
    KS_ASSERT(ks_lpart_writer_new(vfs, "g.part", false, &w) == KS_OK);
    ks_err err = ks_lpart_stream_begin(w, (struct ks_tenant){0, 0}, ks_slice("", 0));
    for (int i = 0; i < 2 && err == KS_OK; i++) {
        err = ks_lpart_take_block(w, &from[i]);
        if (err == KS_OK)
            err = ks_lblock_open(from[i], p, 0);
    }
    for (int i = 0; i < 4 && err == KS_OK; i++)
        err = ks_lpart_add_run(w, from[i % 2], i < 2 ? 0 : rows / 2,
                               i < 2 ? rows / 2 : rows - rows / 2);
    for (int i = 0; i < 2; i++)
        ks_lpart_give_block(w, from[i]);
    if (err == KS_OK)
        return ks_lpart_writer_finish(w, NULL);
    ks_lpart_writer_abort(w);
    return err;
}

static struct ks_slice value_at(const struct ks_log_column *c, uint32_t i)
{
    return c->kind == KS_COL_ABSENT  ? ks_slice("", 0)
           : c->kind == KS_COL_DICT  ? c->values[c->codes[i]]
           : c->kind == KS_COL_CONST ? c->values[0]
                                     : c->values[i];
}

/* Block `out` has the rows from `first` on, of the four halves. */
static void compare(struct ks_lblock *out, uint32_t out_rows, uint32_t first, struct ks_lblock *in,
                    uint32_t rows)
{
    const struct ks_slice *names;
    size_t n = ks_lblock_names(in, &names);
    for (size_t i = 0; i < n; i++) {
        struct ks_log_column a, b;
        if (ks_lblock_column(in, names[i], NULL, &a) != KS_OK)
            continue;
        KS_ASSERT(ks_lblock_column(out, names[i], NULL, &b) == KS_OK);
        for (uint32_t k = 0; k < out_rows; k++) {
            uint32_t at = first + k, half = rows / 2;
            at = at < 2 * half ? at % half : half + (at - 2 * half) % (rows - half);
            KS_ASSERT(ks_slice_eq(value_at(&a, at), value_at(&b, k)));
        }
    }
}

static void check_merged(struct ks_vfs *vfs, struct ks_lblock *in, uint32_t rows)
{
    struct ks_lpart *p;
    struct ks_lblock *b;
    uint32_t first = 0;
    KS_ASSERT(ks_lpart_open(vfs, "g.part", NULL, &p) == KS_OK);
    KS_ASSERT(ks_lpart_rows(p) == 2ull * rows);
    KS_ASSERT(ks_lblock_new(&b) == KS_OK);
    for (size_t i = 0; i < ks_lpart_block_count(p); i++) {
        KS_ASSERT(ks_lblock_open(b, p, i) == KS_OK);
        compare(b, ks_lpart_block(p, i)->rows, first, in, rows);
        first += ks_lpart_block(p, i)->rows;
    }
    ks_lblock_free(b);
    ks_lpart_close(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_simdisk *d;
    struct ks_lpart *p;
    struct ks_lblock *b;
    const struct ks_slice *names;
    const int64_t *times;
    if (size < 6 || size > 65536)
        return 0;
    uint16_t rows = ks_le16(data), len = ks_le16(data + 2);
    if (!rows || !len || len > size - 5)
        return 0;
    KS_ASSERT(ks_simdisk_new(&d) == KS_OK);
    build(ks_simdisk_vfs(d), rows, ks_slice(data + 4, len),
          ks_slice(data + 4 + len, size - 4 - len));
    KS_ASSERT(ks_lpart_open(ks_simdisk_vfs(d), "f.part", NULL, &p) == KS_OK);
    KS_ASSERT(ks_lblock_new(&b) == KS_OK);
    if (ks_lblock_open(b, p, 0) == KS_OK) {
        (void)!ks_lblock_times(b, &times);
        size_t n = ks_lblock_names(b, &names);
        for (size_t i = 0; i < n; i++)
            read_column(b, names[i], rows);
        if (merge(ks_simdisk_vfs(d), p, rows) == KS_OK)
            check_merged(ks_simdisk_vfs(d), b, rows);
    }
    ks_lblock_free(b);
    ks_lpart_close(p);
    ks_simdisk_free(d);
    return 0;
}
