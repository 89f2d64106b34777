/* See block_dir.h. Bytes are hostile: everything is parsed once before a directory is kept. */
#include "storage/logs/block_dir.h"

#include <string.h>

#include "base/mem.h"

struct parse {
    struct ks_lpart *part;
    size_t index;
    uint32_t rows;
    struct ks_arena *arena;
    struct ks_reader r;
    const char *begin;
    struct ksi_dir dir;
    struct ks_lblock_run *runs;
    struct ksi_dir_column *columns;
    struct ks_slice *names;
};

static ks_err malformed(const struct parse *p, const char *what)
{
    return ks_fail(KS_ECORRUPT, "%s: log block %zu: %s", ks_part_path(p->part->file), p->index,
                   what);
}

static uint32_t position(const struct parse *p)
{
    return (uint32_t)((const char *)p->r.p - p->begin);
}

static ks_err parse_pages(struct parse *p)
{
    uint8_t version = ks_read_u8(&p->r);
    uint64_t n = ks_read_varint(&p->r);
    if (version != KSI_BLOCK_VERSION)
        return ks_fail(KS_EUNSUPPORTED, "%s: log block version %u is not known to this version",
                       ks_part_path(p->part->file), version);
    if (n > KSI_BLOCK_PAGES || n * KS_PAGE_REF_BYTES > ks_reader_left(&p->r))
        return malformed(p, "count of pages");
    p->dir.page_count = (uint32_t)n;
    p->dir.pages_at = position(p);
    ks_read_bytes(&p->r, (size_t)n * KS_PAGE_REF_BYTES);
    return KS_OK;
}

static ks_err parse_runs(struct parse *p)
{
    const struct ks_lpart_block *meta = &p->part->blocks[p->index].block;
    uint64_t n = ks_read_varint(&p->r), row = 0, stream = meta->first_stream;
    if (n < 1 || n > p->rows)
        return malformed(p, "count of streams");
    p->runs = ks_arena_array(p->arena, (size_t)n, sizeof *p->runs);
    if (!p->runs)
        return ks_arena_err(p->arena);
    for (uint64_t i = 0; i < n; i++) {
        stream += ks_read_varint(&p->r);
        uint64_t rows = ks_read_varint(&p->r);
        if (p->r.bad || stream > meta->last_stream || rows < 1 || rows > p->rows - row)
            return malformed(p, "streams");
        p->runs[i] = (struct ks_lblock_run){(uint32_t)stream, (uint32_t)row};
        row += rows;
    }
    p->dir.run_count = (size_t)n;
    return row == p->rows && stream == meta->last_stream ? KS_OK : malformed(p, "streams");
}

bool ksi_times_parse(struct ks_reader *r, uint32_t rows, struct ksi_node *ret, int64_t *ret_unit)
{
    uint64_t unit = ks_read_varint(r);
    *ret = (struct ksi_node){.kind = KSI_NODE_TYPED, .count = rows};
    *ret_unit = (int64_t)unit;
    return unit >= 1 && unit <= 1000000000 && ksi_numbers_parse(r, ret);
}

static bool parse_presence_runs(struct ks_reader *r, uint32_t all, uint32_t count, uint64_t *bits)
{
    uint64_t n = ks_read_varint(r), row = 0, rows = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t skip = ks_read_varint(r), len = ks_read_varint(r);
        if (r->bad || skip > all - row || len > all - row - skip)
            return false;
        row += skip;
        for (uint64_t k = row; k < row + len; k++)
            bits[k / 64] |= 1ull << k % 64;
        row += len;
        rows += len;
    }
    return rows == count;
}

ks_err ksi_presence_parse(struct ks_reader *r, uint32_t rows, uint32_t count,
                          struct ks_arena *arena, uint64_t **ret, struct ksi_loc *ret_loc)
{
    uint8_t how = ks_read_u8(r);
    size_t words = KS_ROW_WORDS(rows);
    bool good = how <= KSI_PRESENT_BITS && !r->bad;
    *ret = NULL;
    *ret_loc = (struct ksi_loc){0};
    if (how == KSI_PRESENT_ALL)
        good = good && count == rows;
    else if (!(*ret = ks_arena_zalloc(arena, words * 8)))
        return ks_arena_err(arena);
    if (how == KSI_PRESENT_RUNS)
        good = parse_presence_runs(r, rows, count, *ret);
    else if (how == KSI_PRESENT_BITS)
        good = ksi_loc_parse(r, ret_loc) && ret_loc->len == words * 8;
    return good ? KS_OK : ks_fail(KS_ECORRUPT, "a column of a log block is malformed: presence");
}

static ks_err parse_column(struct parse *p, size_t i)
{
    struct ksi_dir_column *c = &p->columns[i];
    struct ksi_node node;
    struct ksi_loc loc;
    uint64_t *bits;
    uint64_t number = ks_read_varint(&p->r), count = ks_read_varint(&p->r);
    if (p->r.bad || number >= p->part->name_count || count < 1 || count > p->rows)
        return malformed(p, "column");
    *c = (struct ksi_dir_column){.count = (uint32_t)count, .at = position(p)};
    KS_TRY(ksi_presence_parse(&p->r, p->rows, c->count, p->arena, &bits, &loc));
    KS_TRY(ksi_node_parse(&p->r, p->arena, c->count, 0, &node));
    c->bloom_len = (uint32_t)ks_read_varint(&p->r);
    if (c->bloom_len) {
        c->bloom_at = (uint32_t)ks_read_varint(&p->r);
        c->bloom_without_numbers = ks_read_u8(&p->r) & KSI_BLOOM_WITHOUT_NUMBERS;
    }
    p->names[i] = p->part->names[number];
    if (i && ks_slice_cmp(p->names[i - 1], p->names[i]) >= 0)
        return malformed(p, "order of columns");
    return p->r.bad ? malformed(p, "column") : KS_OK;
}

static ks_err parse_columns(struct parse *p)
{
    uint64_t n = ks_read_varint(&p->r);
    if (n > KSI_BLOCK_COLUMNS || n > ks_reader_left(&p->r))
        return malformed(p, "count of columns");
    p->columns = ks_arena_array(p->arena, (size_t)n + 1, sizeof *p->columns);
    p->names = ks_arena_array(p->arena, (size_t)n + 1, sizeof *p->names);
    if (!p->columns || !p->names)
        return ks_arena_err(p->arena);
    for (uint64_t i = 0; i < n; i++)
        KS_TRY(parse_column(p, (size_t)i));
    p->dir.column_count = (size_t)n;
    return ks_reader_left(&p->r) ? malformed(p, "directory is too long") : KS_OK;
}

static ks_err parse(struct parse *p, struct ks_slice text)
{
    struct ksi_node times;
    int64_t unit;
    p->r = ks_reader(text);
    p->begin = text.ptr;
    KS_TRY(parse_pages(p));
    KS_TRY(parse_runs(p));
    p->dir.times_at = position(p);
    if (!ksi_times_parse(&p->r, p->rows, &times, &unit))
        return malformed(p, "times");
    return parse_columns(p);
}

/* What was parsed, as one piece of memory. */
static ks_err pack(const struct parse *p, struct ks_slice text, struct ks_cache_entry **ret)
{
    size_t head = (sizeof p->dir + 15) / 16 * 16;
    size_t names = p->dir.column_count * sizeof *p->names;
    size_t columns = p->dir.column_count * sizeof *p->columns;
    size_t runs = p->dir.run_count * sizeof *p->runs;
    size_t checked = p->dir.column_count * sizeof(_Atomic uint8_t);
    struct ks_cache_entry *e =
        ks_cache_entry_new(head + names + columns + runs + checked + text.len);
    if (!e)
        return KS_ENOMEM;
    struct ksi_dir *d = ks_cache_entry_data(e);
    char *at = (char *)d + head;
    *d = p->dir;
    d->names = memcpy(at, p->names, names);
    d->columns = memcpy(at + names, p->columns, columns);
    d->runs = memcpy(at + names + columns, p->runs, runs);
    at += names + columns + runs;
    d->checked = (_Atomic uint8_t *)memset(at, 0, checked);
    d->text = ks_slice(memcpy(at + checked, text.ptr, text.len), text.len);
    *ret = e;
    return KS_OK;
}

ks_err ksi_dir_get(struct ks_lpart *part, size_t i, struct ks_arena *scratch,
                   struct ks_cache_entry **ret)
{
    struct ks_cache *cache = ks_part_cache(part->file);
    if ((*ret = ks_cache_get(cache, part->dir_owner, i)))
        return KS_OK;
    struct parse p = {
        .part = part, .index = i, .rows = part->blocks[i].block.rows, .arena = scratch};
    struct ks_page page = {0};
    KS_TRY(ks_part_read(part->file, part->blocks[i].dir, &page));
    ks_err err = parse(&p, page.raw);
    if (err == KS_OK)
        err = pack(&p, page.raw, ret);
    if (err == KS_OK)
        *ret = ks_cache_put(cache, part->dir_owner, i, *ret);
    ks_page_release(&page);
    ks_arena_reset(scratch);
    return err;
}
