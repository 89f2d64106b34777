/* Opening log parts: names, streams and the index of blocks are read whole and checked. */
#include "storage/logs/log_part.h"

#include <string.h>

#include "base/mem.h"
#include "storage/logs/log_part_priv.h"

enum { META_MAX = 1 << 30 };

static ks_err malformed(const struct ks_lpart *p, const char *what)
{
    return ks_fail(KS_ECORRUPT, "%s: %s", ks_part_path(p->file), what);
}

static ks_err read_meta(struct ks_lpart *p, const char *section, struct ks_buf *out)
{
    size_t n;
    const struct ks_page_ref *refs = ks_part_section_pages(p->file, section, &n);
    for (size_t i = 0; i < n; i++) {
        struct ks_page page;
        KS_TRY(ks_part_read(p->file, refs[i], &page));
        ks_buf_slice(out, page.raw);
        ks_page_release(&page);
    }
    return ks_buf_status(out);
}

static ks_err get_prop(const struct ks_lpart *p, const char *key, uint64_t *ret)
{
    struct ks_slice v;
    if (!ks_part_get_prop(p->file, key, &v) || v.len != 8)
        return malformed(p, "a property is missing");
    *ret = ks_le64(v.ptr);
    return KS_OK;
}

/* A count that something of at least `each` bytes is to stand behind. */
static ks_err get_count(const struct ks_lpart *p, const char *key, size_t bytes, size_t *ret)
{
    uint64_t n;
    KS_TRY(get_prop(p, key, &n));
    if (n > bytes)
        return malformed(p, "a count is larger than what it counts");
    *ret = (size_t)n;
    return KS_OK;
}

static ks_err load_names(struct ks_lpart *p)
{
    KS_TRY(read_meta(p, KSI_SECTION_NAMES, &p->names_text));
    KS_TRY(get_count(p, "names", p->names_text.len, &p->name_count));
    if (!(p->names = ks_alloc_array(p->name_count + 1, sizeof *p->names)))
        return KS_ENOMEM;
    struct ks_reader r = ks_reader(ks_buf_view(&p->names_text));
    for (size_t i = 0; i < p->name_count; i++)
        p->names[i] = ks_read_lp(&r);
    return r.bad || ks_reader_left(&r) ? malformed(p, "names") : KS_OK;
}

static bool is_canonical(struct ks_slice tags)
{
    struct ks_reader r = ks_reader(tags);
    struct ks_slice prev = {0};
    while (ks_reader_left(&r)) {
        struct ks_slice name = ks_read_lp(&r), value = ks_read_lp(&r);
        if (r.bad || !name.len || !value.len || (prev.ptr && ks_slice_cmp(prev, name) >= 0))
            return false;
        prev = name;
    }
    return true;
}

static ks_err load_streams(struct ks_lpart *p)
{
    uint64_t rows = 0;
    KS_TRY(read_meta(p, KSI_SECTION_STREAMS, &p->streams_text));
    KS_TRY(get_count(p, "streams", p->streams_text.len, &p->stream_count));
    if (!(p->streams = ks_alloc_array(p->stream_count + 1, sizeof *p->streams)))
        return KS_ENOMEM;
    struct ks_reader r = ks_reader(ks_buf_view(&p->streams_text));
    for (size_t i = 0; i < p->stream_count; i++) {
        struct ks_lpart_stream *s = &p->streams[i];
        uint64_t account = ks_read_varint(&r), project = ks_read_varint(&r);
        s->tags = ks_read_lp(&r);
        s->rows = ks_read_varint(&r);
        s->tenant = (struct ks_tenant){(uint32_t)account, (uint32_t)project};
        if (r.bad || account > UINT32_MAX || project > UINT32_MAX || !is_canonical(s->tags) ||
            s->rows > p->rows - rows)
            return malformed(p, "streams");
        rows += s->rows;
    }
    return ks_reader_left(&r) || rows != p->rows ? malformed(p, "streams") : KS_OK;
}

static struct ks_page_ref read_ref(struct ks_reader *r)
{
    struct ks_page_ref ref = {.offset = ks_read_varint(r)};
    uint64_t stored = ks_read_varint(r), raw = ks_read_varint(r);
    if (stored > UINT32_MAX || raw > KS_PAGE_RAW_MAX)
        ks_reader_fail(r);
    ref.stored_bytes = (uint32_t)stored;
    ref.raw_bytes = (uint32_t)raw;
    return ref;
}

static bool read_block(struct ks_lpart *p, struct ks_reader *r, uint64_t *prev_stream,
                       uint64_t *rows, struct ksi_lpart_index *x)
{
    struct ks_lpart_block *b = &x->block;
    b->min_ns = ks_read_zigzag(r);
    b->max_ns = (int64_t)((uint64_t)b->min_ns + ks_read_varint(r));
    uint64_t n = ks_read_varint(r);
    b->text_bytes = ks_read_varint(r);
    uint64_t first = *prev_stream + ks_read_varint(r), last = first + ks_read_varint(r);
    x->dir = read_ref(r);
    x->bloom = read_ref(r);
    b->rows = (uint32_t)n;
    b->first_stream = (uint32_t)first;
    b->last_stream = (uint32_t)last;
    b->first_row = *rows;
    *prev_stream = last;
    if (r->bad || n < 1 || n > KSI_BLOCK_ROWS || first > last || last >= p->stream_count ||
        b->min_ns > b->max_ns || b->min_ns < p->min_ns || b->max_ns > p->max_ns ||
        n > p->rows - *rows)
        return false;
    *rows += n;
    return true;
}

static ks_err load_index(struct ks_lpart *p)
{
    struct ks_buf text;
    ks_buf_init(&text, META_MAX);
    ks_err err = read_meta(p, KSI_SECTION_INDEX, &text);
    if (err == KS_OK)
        err = get_count(p, "blocks", text.len, &p->block_count);
    if (err == KS_OK && !(p->blocks = ks_alloc_array(p->block_count + 1, sizeof *p->blocks)))
        err = KS_ENOMEM;
    struct ks_reader r = ks_reader(ks_buf_view(&text));
    uint64_t stream = 0, rows = 0;
    for (size_t i = 0; i < p->block_count && err == KS_OK; i++)
        if (!read_block(p, &r, &stream, &rows, &p->blocks[i]))
            err = malformed(p, "index of blocks");
    if (err == KS_OK && (ks_reader_left(&r) || rows != p->rows))
        err = malformed(p, "index of blocks");
    ks_buf_done(&text);
    return err;
}

static ks_err load(struct ks_lpart *p)
{
    uint64_t min, max;
    if (ks_part_get_kind(p->file) != KS_PART_LOGS)
        return malformed(p, "this is no log part");
    KS_TRY(get_prop(p, "rows", &p->rows));
    KS_TRY(get_prop(p, "text", &p->text_bytes));
    KS_TRY(get_prop(p, "min_ns", &min));
    KS_TRY(get_prop(p, "max_ns", &max));
    p->min_ns = (int64_t)min;
    p->max_ns = (int64_t)max;
    KS_TRY(load_names(p));
    KS_TRY(load_streams(p));
    return load_index(p);
}

ks_err ks_lpart_open(struct ks_vfs *vfs, const char *path, struct ks_cache *cache,
                     struct ks_lpart **ret)
{
    struct ks_lpart *p = ks_zalloc(sizeof *p);
    if (!p)
        return KS_ENOMEM;
    p->dir_owner = ks_cache_owner_new();
    ks_buf_init(&p->names_text, META_MAX);
    ks_buf_init(&p->streams_text, META_MAX);
    ks_err err = ks_part_open(vfs, path, cache, &p->file);
    if (err == KS_OK)
        err = load(p);
    if (err != KS_OK) {
        ks_lpart_close(p);
        return err;
    }
    *ret = p;
    return KS_OK;
}

void ks_lpart_close(struct ks_lpart *p)
{
    if (!p)
        return;
    if (p->file) {
        ks_cache_drop_owner(ks_part_cache(p->file), p->dir_owner);
        ks_part_close(p->file);
    }
    ks_buf_done(&p->names_text);
    ks_buf_done(&p->streams_text);
    ks_free(p->names);
    ks_free(p->streams);
    ks_free(p->blocks);
    ks_free(p);
}

struct ks_part *ks_lpart_file(struct ks_lpart *p)
{
    return p->file;
}

uint64_t ks_lpart_rows(const struct ks_lpart *p)
{
    return p->rows;
}

uint64_t ks_lpart_text_bytes(const struct ks_lpart *p)
{
    return p->text_bytes;
}

uint64_t ks_lpart_index_bytes(const struct ks_lpart *p)
{
    return ks_part_bytes(p->file) - ks_part_section_bytes(p->file, KSI_SECTION_COLUMNS);
}

void ks_lpart_range(const struct ks_lpart *p, int64_t *ret_min_ns, int64_t *ret_max_ns)
{
    *ret_min_ns = p->min_ns;
    *ret_max_ns = p->max_ns;
}

size_t ks_lpart_block_count(const struct ks_lpart *p)
{
    return p->block_count;
}

const struct ks_lpart_block *ks_lpart_block(const struct ks_lpart *p, size_t i)
{
    return &p->blocks[i].block;
}

size_t ks_lpart_stream_count(const struct ks_lpart *p)
{
    return p->stream_count;
}

const struct ks_lpart_stream *ks_lpart_stream(const struct ks_lpart *p, size_t i)
{
    return &p->streams[i];
}

size_t ks_lpart_memory(const struct ks_lpart *p)
{
    return sizeof *p + p->names_text.cap + p->streams_text.cap + p->name_count * sizeof *p->names +
           p->stream_count * sizeof *p->streams + p->block_count * sizeof *p->blocks;
}
