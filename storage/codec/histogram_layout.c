/* Layouts as bytes, and from layouts to columns (histogram_priv.h). */
#include <string.h>

#include "storage/codec/chunk.h"
#include "storage/codec/histogram_priv.h"

#define DEFAULT_THRESHOLD 0x37f0000000000000u /* 2^-128: what client libraries take */

static uint64_t usual_threshold(const struct ks_histogram *h)
{
    return ks_histogram_is_custom(h) ? 0 : DEFAULT_THRESHOLD;
}

unsigned ksi_layout_flags(const struct ks_histogram *h)
{
    unsigned flags = h->is_float ? KSI_LAYOUT_FLOAT : 0;
    if (ks_f64_bits(h->zero_threshold) != usual_threshold(h))
        flags |= KSI_LAYOUT_THRESHOLD;
    if (h->negative.span_count)
        flags |= KSI_LAYOUT_NEGATIVE;
    if (h->custom_count)
        flags |= KSI_LAYOUT_CUSTOM;
    return flags;
}

static void put_spans(const struct ks_histogram_side *s, struct ks_buf *out)
{
    ks_buf_varint(out, s->span_count);
    for (uint32_t i = 0; i < s->span_count; i++) {
        ks_buf_zigzag(out, s->spans[i].offset);
        ks_buf_varint(out, s->spans[i].length);
    }
}

void ksi_layout_put(const struct ks_histogram *h, struct ks_buf *out)
{
    unsigned flags = ksi_layout_flags(h);
    ks_buf_zigzag(out, h->schema);
    if (flags & KSI_LAYOUT_THRESHOLD)
        ks_buf_u64(out, ks_f64_bits(h->zero_threshold));
    put_spans(&h->positive, out);
    if (flags & KSI_LAYOUT_NEGATIVE)
        put_spans(&h->negative, out);
    if (!(flags & KSI_LAYOUT_CUSTOM))
        return;
    struct ks_buf bounds;
    uint8_t encoding = 0;
    ks_buf_init(&bounds, ks_chunk_bytes_max(h->custom_count));
    ks_err err = ks_values_encode(h->custom_values, h->custom_count, &bounds, &encoding);
    ks_buf_varint(out, h->custom_count);
    ks_buf_byte(out, encoding);
    ks_buf_lp(out, ks_buf_view(&bounds));
    if (err != KS_OK && out->err == KS_OK)
        out->err = err;
    ks_buf_done(&bounds);
}

static ks_err get_spans(struct ks_reader *r, struct ks_arena *arena, struct ks_histogram_side *ret)
{
    uint64_t n = ks_read_varint(r), buckets = 0;
    if (n > KS_HISTOGRAM_BUCKETS_MAX || n * 2 > ks_reader_left(r))
        return ks_fail(KS_ECORRUPT, "histogram layout: more spans than bytes");
    struct ks_histogram_span *spans = n ? ks_arena_array(arena, n, sizeof *spans) : NULL;
    if (n && !spans)
        return ks_arena_err(arena);
    for (uint64_t i = 0; i < n; i++) {
        int64_t offset = ks_read_zigzag(r);
        uint64_t length = ks_read_varint(r);
        buckets += length;
        if (r->bad || offset < INT32_MIN || offset > INT32_MAX ||
            length > KS_HISTOGRAM_BUCKETS_MAX || buckets > KS_HISTOGRAM_BUCKETS_MAX)
            return ks_fail(KS_ECORRUPT, "histogram layout: malformed span");
        spans[i] = (struct ks_histogram_span){(int32_t)offset, (uint32_t)length};
    }
    *ret = (struct ks_histogram_side){
        .spans = spans, .span_count = (uint32_t)n, .bucket_count = (uint32_t)buckets};
    return KS_OK;
}

static ks_err get_bounds(struct ks_reader *r, struct ks_arena *arena, struct ks_histogram *h)
{
    uint64_t n = ks_read_varint(r);
    uint8_t encoding = ks_read_u8(r);
    struct ks_slice bytes = ks_read_lp(r);
    if (r->bad || !n || n > KS_HISTOGRAM_CUSTOM_MAX)
        return ks_fail(KS_ECORRUPT, "histogram layout: malformed custom bounds");
    double *bounds = ks_arena_array(arena, n, sizeof *bounds);
    if (!bounds)
        return ks_arena_err(arena);
    KS_TRY(ks_values_decode(bytes, encoding, n, bounds));
    h->custom_values = bounds;
    h->custom_count = (uint32_t)n;
    return KS_OK;
}

ks_err ksi_layout_get(struct ks_reader *r, unsigned flags, struct ks_arena *arena,
                      struct ks_histogram *ret)
{
    struct ks_histogram h = {.is_float = flags & KSI_LAYOUT_FLOAT};
    int64_t schema = ks_read_zigzag(r);
    if (r->bad || schema < INT32_MIN || schema > INT32_MAX ||
        !ks_histogram_schema_valid((int32_t)schema))
        return ks_fail(KS_ECORRUPT, "histogram layout: unknown schema");
    h.schema = (int32_t)schema;
    h.zero_threshold =
        ks_f64_from_bits(flags & KSI_LAYOUT_THRESHOLD ? ks_read_u64(r) : usual_threshold(&h));
    KS_TRY(get_spans(r, arena, &h.positive));
    if (flags & KSI_LAYOUT_NEGATIVE)
        KS_TRY(get_spans(r, arena, &h.negative));
    if (flags & KSI_LAYOUT_CUSTOM)
        KS_TRY(get_bounds(r, arena, &h));
    if (r->bad || ks_histogram_check_layout(&h) != KS_OK)
        return ks_fail(KS_ECORRUPT, "histogram layout: unsound");
    *ret = h;
    return KS_OK;
}

/* --- columns --- */

static uint64_t column_key(const struct ks_histogram *h, bool negative, int64_t index)
{
    return (uint64_t)h->is_float << 63 | (uint64_t)(uint32_t)(h->schema + 64) << 33 |
           (uint64_t)negative << 32 | ((uint32_t)index ^ 0x80000000u);
}

/* The keys of one layout, ascending. Returns the end. */
static uint64_t *layout_keys(const struct ks_histogram *h, uint64_t *keys)
{
    for (int negative = 0; negative < 2; negative++) {
        const struct ks_histogram_side *s = negative ? &h->negative : &h->positive;
        int64_t index = 0;
        for (uint32_t i = 0; i < s->span_count; i++) {
            index += s->spans[i].offset;
            for (uint32_t k = 0; k < s->spans[i].length; k++)
                *keys++ = column_key(h, negative, index++);
        }
    }
    return keys;
}

/* a and b ascending and without repeats; so is the union, in out. */
static size_t unite(const uint64_t *a, size_t n, const uint64_t *b, size_t m, uint64_t *out)
{
    size_t i = 0, j = 0, k = 0;
    while (i < n || j < m) {
        if (j == m || (i < n && a[i] < b[j]))
            out[k++] = a[i++];
        else if (i == n || b[j] < a[i])
            out[k++] = b[j++];
        else
            out[k++] = a[i++], j++;
    }
    return k;
}

static uint32_t find(const struct ksi_histogram_columns *c, uint32_t from, uint64_t key)
{
    uint32_t lo = from, hi = c->count;
    if (lo < hi && c->items[lo].key == key)
        return lo; /* the frequent case: neighbours */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->items[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    KS_ASSERT(lo < c->count && c->items[lo].key == key);
    return lo;
}

static ks_err map_layout(struct ksi_histogram_layout *l, const uint64_t *keys,
                         struct ks_arena *arena, struct ksi_histogram_columns *c)
{
    uint32_t n = ksi_layout_buckets(l), at = 0;
    l->columns = ks_arena_array(arena, (size_t)n + 1, sizeof *l->columns);
    if (!l->columns)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < n; i++) {
        at = find(c, at, keys[i]);
        l->columns[i] = at;
        c->items[at].count += l->uses;
        at++;
    }
    return KS_OK;
}

ks_err ksi_histogram_columns(struct ksi_histogram_layout *layouts, size_t count,
                             struct ks_arena *arena, struct ksi_histogram_columns *ret)
{
    size_t buckets = 0, values = 0, n = 0;
    struct ksi_histogram_columns c = {0};
    for (size_t i = 0; i < count; i++) {
        uint32_t b = ksi_layout_buckets(&layouts[i]);
        buckets += b;
        values += (size_t)b * layouts[i].uses;
        *(layouts[i].shape.is_float ? &c.float_uses : &c.int_uses) += layouts[i].uses;
    }
    if (values > KS_HISTOGRAM_CHUNK_BUCKETS_MAX || buckets > KS_HISTOGRAM_CHUNK_BUCKETS_MAX)
        return ks_fail(KS_ELIMIT, "a chunk of native histograms has more than %d buckets",
                       KS_HISTOGRAM_CHUNK_BUCKETS_MAX);
    uint64_t *keys = ks_arena_array(arena, KS_HISTOGRAM_BUCKETS_MAX, sizeof *keys);
    uint64_t *all = ks_arena_array(arena, buckets + 1, sizeof *all),
             *next = ks_arena_array(arena, buckets + 1, sizeof *next);
    if (!keys || !all || !next)
        return ks_arena_err(arena);
    for (size_t i = 0; i < count; i++) {
        size_t m = (size_t)(layout_keys(&layouts[i].shape, keys) - keys);
        n = unite(all, n, keys, m, next);
        uint64_t *swap = all;
        all = next;
        next = swap;
    }
    c.count = (uint32_t)n;
    c.items = ks_arena_zalloc(arena, (n + 1) * sizeof *c.items);
    uint64_t *store = ks_arena_array(arena, values + 1, sizeof *store);
    if (!c.items || !store)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n; i++)
        c.items[i].key = all[i];
    for (size_t i = 0; i < count; i++) {
        layout_keys(&layouts[i].shape, keys);
        KS_TRY(map_layout(&layouts[i], keys, arena, &c));
    }
    for (size_t i = 0; i < n; i++) {
        c.items[i].values = store;
        store += c.items[i].count;
    }
    *ret = c;
    return KS_OK;
}
