#include "engine/logs/frame.h"

#include <string.h>

#include "base/mem.h"

enum {
    VERSION = 1,
    FLAG_HASH = 1,
    NAME_TABLE_MIN = 256,
    FRAME_BYTES_MAX = 64 << 20,
};

/* --- writing --- */

void ksi_frame_enc_init(struct ksi_frame_enc *e)
{
    *e = (struct ksi_frame_enc){0};
    ks_buf_init(&e->rows, FRAME_BYTES_MAX);
    ks_buf_init(&e->head, FRAME_BYTES_MAX);
    ks_buf_init(&e->names, FRAME_BYTES_MAX);
}

void ksi_frame_enc_done(struct ksi_frame_enc *e)
{
    ks_buf_done(&e->rows);
    ks_buf_done(&e->head);
    ks_buf_done(&e->names);
    ks_free(e->name_table);
    ks_free(e->name_slices);
    ks_free(e->guess);
    ks_free(e->row_at);
    ks_free(e->streams);
    ks_free(e->stream_map);
}

ks_err ksi_frame_begin(struct ksi_frame_enc *e, const struct ks_log_batch *b)
{
    ks_buf_reset(&e->rows);
    ks_buf_reset(&e->names);
    if (e->name_table)
        memset(e->name_table, 0, e->name_table_cap * sizeof *e->name_table);
    e->name_count = 0;
    for (size_t i = 0; i < e->stream_count; i++)
        if (e->streams[i] < e->stream_map_cap)
            e->stream_map[e->streams[i]] = 0;
    e->stream_count = 0;
    if (e->guess)
        memset(e->guess, 0, e->guess_cap * sizeof *e->guess);
    size_t had = e->stream_map_cap;
    KS_TRY(ks_array_reserve((void **)&e->stream_map, &e->stream_map_cap, b->stream_count,
                            sizeof *e->stream_map));
    memset(e->stream_map + had, 0, (e->stream_map_cap - had) * sizeof *e->stream_map);
    e->table_bytes = 0;
    e->prev_ns = 0;
    e->min_ns = INT64_MAX;
    e->max_ns = INT64_MIN;
    e->row_count = 0;
    return KS_OK;
}

static ks_err grow_names(struct ksi_frame_enc *e)
{
    size_t cap = e->name_table_cap ? e->name_table_cap * 2 : NAME_TABLE_MIN;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < e->name_count; i++) {
        size_t at = ks_hash64(e->name_slices[i].ptr, e->name_slices[i].len) & (cap - 1);
        while (table[at])
            at = (at + 1) & (cap - 1);
        table[at] = i + 1;
    }
    ks_free(e->name_table);
    e->name_table = table;
    e->name_table_cap = cap;
    return KS_OK;
}

static ks_err number_name(struct ksi_frame_enc *e, struct ks_slice name, uint32_t *ret)
{
    if (e->name_count * 2 >= e->name_table_cap)
        KS_TRY(grow_names(e));
    size_t at = ks_hash64(name.ptr, name.len) & (e->name_table_cap - 1);
    for (; e->name_table[at]; at = (at + 1) & (e->name_table_cap - 1)) {
        if (ks_slice_eq(e->name_slices[e->name_table[at] - 1], name)) {
            *ret = e->name_table[at] - 1;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&e->name_slices, &e->name_cap, e->name_count + 1,
                            sizeof *e->name_slices));
    ks_buf_lp(&e->names, name);
    e->table_bytes += name.len + KS_VARINT_MAX;
    *ret = e->name_count;
    e->name_slices[e->name_count++] = name;
    e->name_table[at] = e->name_count;
    return ks_buf_status(&e->names);
}

static ks_err number_stream(struct ksi_frame_enc *e, const struct ks_log_batch *b, uint32_t stream,
                            uint32_t *ret)
{
    if (e->stream_map[stream]) {
        *ret = e->stream_map[stream] - 1;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&e->streams, &e->stream_cap, e->stream_count + 1,
                            sizeof *e->streams));
    e->table_bytes += b->streams[stream].tags.len + 4 * KS_VARINT_MAX;
    e->streams[e->stream_count++] = stream;
    e->stream_map[stream] = (uint32_t)e->stream_count;
    *ret = (uint32_t)e->stream_count - 1;
    return KS_OK;
}

ks_err ksi_frame_add(struct ksi_frame_enc *e, const struct ks_log_batch *b,
                     const struct ks_log_row *row)
{
    uint32_t stream;
    size_t had = e->guess_cap;
    KS_TRY(number_stream(e, b, row->stream, &stream));
    KS_TRY(ks_array_reserve((void **)&e->guess, &e->guess_cap, row->field_count, sizeof *e->guess));
    memset(e->guess + had, 0, (e->guess_cap - had) * sizeof *e->guess);
    KS_TRY(ks_array_reserve((void **)&e->row_at, &e->row_at_cap, e->row_count + 1u,
                            sizeof *e->row_at));
    e->row_at[e->row_count] = (uint32_t)e->rows.len;
    ks_buf_zigzag(&e->rows, (int64_t)((uint64_t)row->time_ns - (uint64_t)e->prev_ns));
    ks_buf_varint(&e->rows, stream);
    ks_buf_varint(&e->rows, row->field_count);
    for (uint32_t i = 0; i < row->field_count; i++) {
        const struct ks_log_field *f = &b->fields[row->field_first + i];
        uint32_t g = e->guess[i];
        if (g >= e->name_count || !ks_slice_eq(e->name_slices[g], f->name))
            KS_TRY(number_name(e, f->name, &e->guess[i]));
        if (!ks_buf_reserve(&e->rows, 2 * KS_VARINT_MAX + f->value.len))
            break;
        uint8_t *p = (uint8_t *)e->rows.ptr + e->rows.len, *start = p;
        p += ks_varint_put(p, e->guess[i]);
        p += ks_varint_put(p, f->value.len);
        memcpy(p, f->value.ptr, f->value.len);
        e->rows.len += (size_t)(p - start) + f->value.len;
    }
    e->prev_ns = row->time_ns;
    e->min_ns = row->time_ns < e->min_ns ? row->time_ns : e->min_ns;
    e->max_ns = row->time_ns > e->max_ns ? row->time_ns : e->max_ns;
    e->row_count++;
    return ks_buf_status(&e->rows);
}

ks_err ksi_frame_finish(struct ksi_frame_enc *e, const struct ks_log_batch *b,
                        struct ks_slice store, const ks_hash128 *hash)
{
    struct ks_buf *out = &e->head;
    ks_buf_reset(out);
    ks_buf_byte(out, VERSION);
    ks_buf_byte(out, hash ? FLAG_HASH : 0);
    ks_buf_lp(out, store);
    if (hash) {
        ks_buf_u64(out, hash->lo);
        ks_buf_u64(out, hash->hi);
    }
    ks_buf_varint(out, e->row_count);
    ks_buf_zigzag(out, e->min_ns);
    ks_buf_zigzag(out, e->max_ns);
    ks_buf_varint(out, e->name_count);
    e->names_at = out->len;
    e->hash = hash;
    ks_buf_slice(out, ks_buf_view(&e->names));
    ks_buf_varint(out, e->stream_count);
    for (size_t i = 0; i < e->stream_count; i++) {
        const struct ks_log_stream *s = &b->streams[e->streams[i]];
        ks_buf_varint(out, s->tenant.account);
        ks_buf_varint(out, s->tenant.project);
        ks_buf_lp(out, s->tags);
    }
    return ks_buf_status(out);
}

/* --- reading --- */

static ks_err malformed(const char *what)
{
    return ks_fail(KS_ECORRUPT, "a record of log rows is malformed: %s", what);
}

static ks_err read_head(struct ks_reader *r, uint8_t *ret_flags, struct ks_slice *ret_store)
{
    uint8_t version = ks_read_u8(r);
    *ret_flags = ks_read_u8(r);
    *ret_store = ks_read_lp(r);
    if (r->bad)
        return malformed("too short");
    if (version != VERSION || (*ret_flags & ~FLAG_HASH))
        return ks_fail(KS_EUNSUPPORTED, "a record of log rows has version %u, flags %u", version,
                       *ret_flags);
    return KS_OK;
}

ks_err ksi_frame_store(struct ks_slice record, struct ks_slice *ret)
{
    struct ks_reader r = ks_reader(record);
    uint8_t flags;
    return read_head(&r, &flags, ret);
}

static ks_err read_names(struct ks_reader *r, struct ks_arena *arena, struct ksi_frame *f)
{
    uint64_t n = ks_read_varint(r);
    if (n > ks_reader_left(r))
        return malformed("count of names");
    struct ks_slice *names = ks_arena_array(arena, (size_t)n, sizeof *names);
    if (!names)
        return ks_arena_err(arena);
    for (uint64_t i = 0; i < n; i++)
        names[i] = ks_read_lp(r);
    f->names = names;
    f->name_count = (uint32_t)n;
    return r->bad ? malformed("names") : KS_OK;
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

static ks_err read_streams(struct ks_reader *r, struct ks_arena *arena, struct ksi_frame *f)
{
    uint64_t n = ks_read_varint(r);
    if (n > ks_reader_left(r))
        return malformed("count of streams");
    f->streams = ks_arena_array(arena, (size_t)n, sizeof *f->streams);
    if (!f->streams)
        return ks_arena_err(arena);
    for (uint64_t i = 0; i < n; i++) {
        struct ks_log_stream *s = &f->streams[i];
        s->tenant.account = (uint32_t)ks_read_varint(r);
        s->tenant.project = (uint32_t)ks_read_varint(r);
        s->tags = ks_read_lp(r);
        if (r->bad || !is_canonical(s->tags))
            return malformed("streams");
        s->id = ks_stream_id_of(s->tenant, s->tags);
    }
    f->stream_count = (uint32_t)n;
    return KS_OK;
}

/* Walks all rows, which must be whole, and notes where each begins. */
static ks_err check_rows(struct ksi_frame *f, struct ks_arena *arena)
{
    struct ksi_row_iter it = ksi_rows(f);
    uint32_t rows = 0, name;
    struct ks_slice value;
    if (f->row_count > f->rows.len) /* a row has three bytes and more */
        return malformed("count of rows");
    uint32_t *at = ks_arena_array(arena, f->row_count, sizeof *at);
    if (!at)
        return ks_arena_err(arena);
    for (;; rows++) {
        uint32_t start = (uint32_t)(it.r.p - (const uint8_t *)f->rows.ptr);
        if (!ksi_row_next(&it))
            break;
        if (it.r.bad || rows == f->row_count || it.stream >= f->stream_count ||
            it.time_ns < f->min_ns || it.time_ns > f->max_ns)
            return malformed("row");
        at[rows] = start;
        while (ksi_row_field(&it, &name, &value))
            if (it.r.bad || name >= f->name_count)
                return malformed("field");
    }
    f->row_at = at;
    return it.r.bad || rows != f->row_count ? malformed("rows") : KS_OK;
}

ks_err ksi_frame_parse(struct ks_slice record, struct ks_arena *arena, struct ksi_frame **ret)
{
    struct ks_reader r = ks_reader(record);
    struct ks_slice store;
    uint8_t flags;
    KS_TRY(read_head(&r, &flags, &store));
    struct ksi_frame *f = ks_arena_zalloc(arena, sizeof *f);
    if (!f)
        return ks_arena_err(arena);
    if (flags & FLAG_HASH) {
        f->has_batch_hash = true;
        f->batch_hash.lo = ks_read_u64(&r);
        f->batch_hash.hi = ks_read_u64(&r);
    }
    uint64_t rows = ks_read_varint(&r);
    f->row_count = (uint32_t)rows;
    f->min_ns = ks_read_zigzag(&r);
    f->max_ns = ks_read_zigzag(&r);
    if (r.bad || rows == 0 || rows > UINT32_MAX)
        return malformed("head");
    KS_TRY(read_names(&r, arena, f));
    KS_TRY(read_streams(&r, arena, f));
    f->rows = ks_slice(r.p, ks_reader_left(&r));
    KS_TRY(check_rows(f, arena));
    *ret = f;
    return KS_OK;
}

/* --- what was just written, without reading it --- */

ks_err ksi_frame_make(const struct ksi_frame_enc *e, const struct ks_log_batch *b,
                      struct ks_arena *arena, struct ks_slice *ret_record, struct ksi_frame **ret)
{
    size_t len = e->head.len + e->rows.len;
    char *record = ks_arena_alloc(arena, len);
    struct ksi_frame *f = ks_arena_zalloc(arena, sizeof *f);
    uint32_t *at = ks_arena_array(arena, e->row_count, sizeof *at);
    struct ks_slice *names = ks_arena_array(arena, e->name_count, sizeof *names);
    struct ks_log_stream *streams = ks_arena_array(arena, e->stream_count, sizeof *streams);
    if (!record || !f || !at || !names || !streams)
        return ks_arena_err(arena);
    memcpy(record, e->head.ptr, e->head.len);
    memcpy(record + e->head.len, e->rows.ptr, e->rows.len);
    memcpy(at, e->row_at, e->row_count * sizeof *at);
    struct ks_reader r = ks_reader(ks_slice(record + e->names_at, len - e->names_at));
    for (uint32_t i = 0; i < e->name_count; i++)
        names[i] = ks_read_lp(&r);
    (void)ks_read_varint(&r); /* how many streams */
    for (size_t i = 0; i < e->stream_count; i++) {
        streams[i] = b->streams[e->streams[i]];
        (void)ks_read_varint(&r);
        (void)ks_read_varint(&r);
        streams[i].tags = ks_read_lp(&r);
    }
    KS_ASSERT(!r.bad);
    *f = (struct ksi_frame){.rows = ks_slice(record + e->head.len, e->rows.len),
                            .names = names,
                            .streams = streams,
                            .row_at = at,
                            .name_count = e->name_count,
                            .stream_count = (uint32_t)e->stream_count,
                            .row_count = e->row_count,
                            .min_ns = e->min_ns,
                            .max_ns = e->max_ns,
                            .has_batch_hash = e->hash != NULL};
    if (e->hash)
        f->batch_hash = *e->hash;
    *ret_record = ks_slice(record, len);
    *ret = f;
    return KS_OK;
}
