/*
 * Rows of a write, and the streams they belong to. A stream met before is found by its tags as
 * given (no sorting, no hashing of ids); otherwise its canonical tags are made and looked up by id,
 * and compared, so that equal hashes never merge two streams. One thread.
 */
#include "engine/logs/log_batch.h"

#include <string.h>

#include "base/mem.h"

enum {
    RECENT = 1024, /* direct-mapped */
    TABLE_MIN = 64,
    TAGS_MAX = 1 << 20,
    WIDE = 64, /* fields from which on equal names are found by a table */
};

void ks_log_batch_init(struct ks_log_batch *b, size_t arena_max)
{
    *b = (struct ks_log_batch){0};
    ks_arena_init(&b->arena, arena_max);
    ks_buf_init(&b->scratch, TAGS_MAX);
}

void ks_log_batch_reset(struct ks_log_batch *b)
{
    if (b->stream_count && b->table)
        memset(b->table, 0, b->table_cap * sizeof *b->table);
    if (b->recent && b->stream_count)
        memset(b->recent, 0, RECENT * sizeof *b->recent);
    b->stream_count = b->row_count = b->field_count = 0;
    b->bytes = 0;
    ks_arena_reset(&b->arena);
}

void ks_log_batch_done(struct ks_log_batch *b)
{
    ks_free(b->streams);
    ks_free(b->rows);
    ks_free(b->fields);
    ks_free(b->table);
    ks_free(b->recent);
    ks_free(b->labels);
    ks_buf_done(&b->scratch);
    ks_arena_done(&b->arena);
    *b = (struct ks_log_batch){0};
}

/* --- streams --- */

static uint64_t raw_hash(struct ks_tenant tenant, const struct ks_label *tags, size_t count)
{
    uint64_t h = ks_tenant_key(tenant) + count;
    for (size_t i = 0; i < count; i++) {
        h = ks_hash64_seed(tags[i].name.ptr, tags[i].name.len, h);
        h = ks_hash64_seed(tags[i].value.ptr, tags[i].value.len, h);
    }
    return h;
}

/* Whether the tags, as given, are those of the stream: in its order, nothing empty, none twice. */
static bool is_same(const struct ks_log_stream *s, struct ks_tenant tenant,
                    const struct ks_label *tags, size_t count)
{
    struct ks_labels_iter it = ks_labels_iter(s->tags);
    struct ks_label l;
    size_t i = 0;
    if (!ks_tenant_eq(s->tenant, tenant))
        return false;
    for (; i < count && ks_labels_next(&it, &l); i++)
        if (!ks_slice_eq(l.name, tags[i].name) || !ks_slice_eq(l.value, tags[i].value))
            return false;
    return i == count && it.r.p == it.r.end;
}

static ks_err grow_table(struct ks_log_batch *b)
{
    size_t cap = b->table_cap ? b->table_cap * 2 : TABLE_MIN;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    for (size_t i = 0; i < b->stream_count; i++) {
        size_t at = b->streams[i].id.lo & (cap - 1);
        while (table[at])
            at = (at + 1) & (cap - 1);
        table[at] = (uint32_t)i + 1;
    }
    ks_free(b->table);
    b->table = table;
    b->table_cap = cap;
    return KS_OK;
}

/* The stream of canonical tags, added when new; tags are copied then. */
static ks_err find_or_add(struct ks_log_batch *b, struct ks_tenant tenant, struct ks_slice tags,
                          uint32_t *ret)
{
    struct ks_stream_id id = ks_stream_id_of(tenant, tags);
    if (b->stream_count * 2 >= b->table_cap)
        KS_TRY(grow_table(b));
    size_t at = id.lo & (b->table_cap - 1);
    for (; b->table[at]; at = (at + 1) & (b->table_cap - 1)) {
        const struct ks_log_stream *s = &b->streams[b->table[at] - 1];
        if (s->id.lo == id.lo && ks_tenant_eq(s->tenant, tenant) && ks_slice_eq(s->tags, tags)) {
            *ret = b->table[at] - 1;
            return KS_OK;
        }
    }
    KS_TRY(ks_array_reserve((void **)&b->streams, &b->stream_cap, b->stream_count + 1,
                            sizeof *b->streams));
    struct ks_slice copy = ks_arena_dup(&b->arena, tags);
    if (!copy.ptr)
        return ks_arena_err(&b->arena);
    *ret = (uint32_t)b->stream_count;
    b->streams[b->stream_count++] = (struct ks_log_stream){tenant, copy, id};
    b->table[at] = *ret + 1;
    return KS_OK;
}

static ks_err canonical(struct ks_log_batch *b, const struct ks_label *tags, size_t count)
{
    KS_TRY(ks_array_reserve((void **)&b->labels, &b->label_cap, count, sizeof *b->labels));
    if (count)
        memcpy(b->labels, tags, count * sizeof *tags);
    struct ks_labels l = {b->labels, count, b->label_cap};
    ks_labels_canonicalise(&l);
    ks_buf_reset(&b->scratch);
    ks_labels_encode(&l, &b->scratch);
    return ks_buf_status(&b->scratch);
}

ks_err ks_log_batch_stream(struct ks_log_batch *b, struct ks_tenant tenant,
                           const struct ks_label *tags, size_t count, uint32_t *ret_stream)
{
    if (!b->recent && !(b->recent = ks_zalloc_array(RECENT, sizeof *b->recent)))
        return KS_ENOMEM;
    uint32_t *slot = &b->recent[raw_hash(tenant, tags, count) & (RECENT - 1)];
    if (*slot && is_same(&b->streams[*slot - 1], tenant, tags, count)) {
        *ret_stream = *slot - 1;
        return KS_OK;
    }
    KS_TRY(canonical(b, tags, count));
    KS_TRY(find_or_add(b, tenant, ks_buf_view(&b->scratch), ret_stream));
    *slot = *ret_stream + 1;
    return KS_OK;
}

/* --- rows --- */

static uint64_t name_bit(struct ks_slice name)
{
    if (!name.len)
        return 1;
    uint64_t x = name.len * 131 + (uint8_t)name.ptr[0] * 7 + (uint8_t)name.ptr[name.len - 1] +
                 (uint64_t)(uint8_t)name.ptr[name.len / 2] * 29;
    return 1ull << (x & 63);
}

/* A row with hundreds of fields: equal names by a table instead of by pairs. */
static ks_err drop_repeats(struct ks_log_batch *b, size_t first)
{
    size_t n = b->field_count - first, cap = 256;
    while (cap < n * 2)
        cap *= 2;
    uint32_t *table = ks_zalloc_array(cap, sizeof *table);
    if (!table)
        return KS_ENOMEM;
    size_t kept = 0;
    struct ks_log_field *f = b->fields + first;
    for (size_t i = 0; i < n; i++) {
        size_t at = ks_hash64(f[i].name.ptr, f[i].name.len) & (cap - 1);
        while (table[at] && !ks_slice_eq(f[table[at] - 1].name, f[i].name))
            at = (at + 1) & (cap - 1);
        if (table[at]) {
            f[table[at] - 1].value = f[i].value;
            continue;
        }
        f[kept] = f[i];
        table[at] = (uint32_t)++kept;
    }
    b->field_count = first + kept;
    ks_free(table);
    return KS_OK;
}

static bool overwrite(struct ks_log_field *fields, size_t count, struct ks_log_field f)
{
    for (size_t i = 0; i < count; i++) {
        if (ks_slice_eq(fields[i].name, f.name)) {
            fields[i].value = f.value;
            return true;
        }
    }
    return false;
}

ks_err ks_log_batch_row(struct ks_log_batch *b, uint32_t stream, int64_t time_ns,
                        const struct ks_log_field *fields, size_t count)
{
    KS_ASSERT(stream < b->stream_count);
    KS_TRY(ks_array_reserve((void **)&b->rows, &b->row_cap, b->row_count + 1, sizeof *b->rows));
    KS_TRY(ks_array_reserve((void **)&b->fields, &b->field_cap, b->field_count + count + 1,
                            sizeof *b->fields)); /* one more: there may be none */
    size_t first = b->field_count, n = 0;
    struct ks_log_field *out = b->fields + first;
    uint64_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bit = name_bit(fields[i].name);
        if ((seen & bit) && count <= WIDE && overwrite(out, n, fields[i]))
            continue;
        if (!fields[i].value.len && count <= WIDE)
            continue;
        seen |= bit;
        out[n++] = fields[i];
    }
    b->field_count += n;
    if (count > WIDE) {
        ks_err err = drop_repeats(b, first);
        if (err != KS_OK) {
            b->field_count = first;
            return err;
        }
    }
    n = 0;
    for (size_t i = first; i < b->field_count; i++) { /* values emptied by a later equal name */
        if (!b->fields[i].value.len)
            continue;
        b->bytes += b->fields[i].name.len + b->fields[i].value.len;
        out[n++] = b->fields[i];
    }
    b->field_count = first + n;
    b->rows[b->row_count++] = (struct ks_log_row){time_ns, stream, (uint32_t)n, first};
    return KS_OK;
}
