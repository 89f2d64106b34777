/* Reading chunks of native histograms from hostile bytes (docs/format/histogram-chunk.md). */
#include <string.h>

#include "storage/codec/chunk.h"
#include "storage/codec/histogram_priv.h"
#include "storage/codec/ints_priv.h"

struct decoder {
    struct ks_reader r;
    size_t n;
    struct ks_arena *arena;
    struct ks_histogram *out;
    struct ksi_histogram_layout *layouts;
    uint16_t *layout_of;
    size_t layout_count;
    struct ksi_histogram_columns columns;
};

static ks_err corrupt(const char *what)
{
    return ks_fail(KS_ECORRUPT, "chunk of native histograms: %s", what);
}

static ks_err get_layouts(struct decoder *d)
{
    uint64_t count = ks_read_varint(&d->r), bounds = 0;
    if (!count || count > d->n)
        return corrupt("malformed number of layouts");
    d->layouts = ks_arena_zalloc(d->arena, count * sizeof *d->layouts);
    d->layout_of = ks_arena_array(d->arena, d->n, sizeof *d->layout_of);
    if (!d->layouts || !d->layout_of)
        return ks_arena_err(d->arena);
    for (uint64_t i = 0; i < count; i++) {
        unsigned flags = ks_read_u8(&d->r);
        if (flags & ~KSI_LAYOUT_MASK)
            return corrupt("unknown layout flags");
        KS_TRY(ksi_layout_get(&d->r, flags, d->arena, &d->layouts[i].shape));
        bounds += d->layouts[i].shape.custom_count + ksi_layout_buckets(&d->layouts[i]);
        if (bounds > 2 * KS_HISTOGRAM_CHUNK_BUCKETS_MAX)
            return corrupt("layouts too large");
    }
    d->layout_count = count;
    return KS_OK;
}

static ks_err get_layout_runs(struct decoder *d)
{
    if (d->layout_count == 1) {
        memset(d->layout_of, 0, d->n * sizeof *d->layout_of);
        d->layouts[0].uses = (uint32_t)d->n;
        return KS_OK;
    }
    for (size_t i = 0; i < d->n;) {
        uint64_t k = ks_read_varint(&d->r), length = ks_read_varint(&d->r);
        if (d->r.bad || k >= d->layout_count || !length || length > d->n - i)
            return corrupt("malformed run of layouts");
        d->layouts[k].uses += (uint32_t)length;
        while (length--)
            d->layout_of[i++] = (uint16_t)k;
    }
    for (size_t k = 0; k < d->layout_count; k++)
        if (!d->layouts[k].uses)
            return corrupt("layout without use");
    return KS_OK;
}

static ks_err get_hints(struct decoder *d)
{
    for (size_t i = 0; i < d->n;) {
        uint64_t v = ks_read_varint(&d->r), length = v >> 2;
        if (d->r.bad || !length || length > d->n - i)
            return corrupt("malformed run of hints");
        while (length--)
            d->out[i++].hint = v & 3;
    }
    return KS_OK;
}

static ks_err get_ints(struct decoder *d, uint64_t *ret, size_t n)
{
    if (!n)
        return KS_OK;
    unsigned kind = ks_read_u8(&d->r);
    if (d->r.bad || !ksi_ints_get(&d->r, kind, n, (int64_t *)ret, NULL) || d->r.bad)
        return corrupt("malformed column of integers");
    return KS_OK;
}

static ks_err get_doubles(struct decoder *d, uint64_t *ret, size_t n)
{
    if (!n)
        return KS_OK;
    uint8_t encoding = ks_read_u8(&d->r);
    struct ks_slice bytes = ks_read_lp(&d->r);
    if (d->r.bad)
        return corrupt("column cut short");
    return ks_values_decode(bytes, encoding, n, (double *)ret);
}

/* One side's buckets back from the columns, as the histogram keeps them. Returns the sum of integer
 * ones. */
static uint64_t gather(struct decoder *d, const struct ks_histogram *h, struct ks_histogram_side *s,
                       const uint32_t *columns)
{
    uint64_t sum = 0, previous = 0;
    uint64_t *out = (uint64_t *)s->deltas;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        struct ksi_histogram_column *c = &d->columns.items[columns[i]];
        uint64_t v = c->values[c->filled++];
        out[i] = h->is_float ? v : v - previous;
        previous = v;
        sum += v;
    }
    return h->is_float ? 0 : sum;
}

static ks_err build(struct decoder *d, const uint64_t *zero[2], const uint64_t *count[2])
{
    size_t at[2] = {0, 0}, values = 0;
    for (size_t i = 0; i < d->layout_count; i++)
        values += (size_t)ksi_layout_buckets(&d->layouts[i]) * d->layouts[i].uses;
    int64_t *store = ks_arena_array(d->arena, values + 1, sizeof *store);
    if (!store)
        return ks_arena_err(d->arena);
    for (size_t i = 0; i < d->n; i++) {
        const struct ksi_histogram_layout *l = &d->layouts[d->layout_of[i]];
        struct ks_histogram *h = &d->out[i];
        uint8_t hint = h->hint;
        double sum = h->sum;
        *h = l->shape;
        h->hint = hint;
        h->sum = sum;
        h->positive.deltas = store;
        h->negative.deltas = store + h->positive.bucket_count;
        store += ksi_layout_buckets(l);
        uint64_t buckets = gather(d, h, &h->positive, l->columns);
        buckets += gather(d, h, &h->negative, l->columns + h->positive.bucket_count);
        size_t k = at[h->is_float]++;
        h->zero_count.u = zero[h->is_float][k];
        h->count.u = count[h->is_float][k] + (h->is_float ? 0 : h->zero_count.u + buckets);
    }
    return KS_OK;
}

static ks_err get_numbers(struct decoder *d)
{
    const struct ksi_histogram_columns *c = &d->columns;
    uint64_t *zero[2], *count[2];
    uint32_t k = 0;
    for (int f = 0; f < 2; f++) {
        size_t n = (f ? c->float_uses : c->int_uses) + 1u;
        zero[f] = ks_arena_array(d->arena, n, 8);
        count[f] = ks_arena_array(d->arena, n, 8);
        if (!zero[f] || !count[f])
            return ks_arena_err(d->arena);
    }
    KS_TRY(get_ints(d, zero[0], c->int_uses));
    KS_TRY(get_ints(d, count[0], c->int_uses));
    for (; k < c->count && !(c->items[k].key >> 63); k++)
        KS_TRY(get_ints(d, c->items[k].values, c->items[k].count));
    KS_TRY(get_doubles(d, zero[1], c->float_uses));
    KS_TRY(get_doubles(d, count[1], c->float_uses));
    for (; k < c->count; k++)
        KS_TRY(get_doubles(d, c->items[k].values, c->items[k].count));
    if (ks_reader_left(&d->r))
        return corrupt("bytes behind the end");
    return build(d, (const uint64_t **)zero, (const uint64_t **)count);
}

ks_err ks_histograms_decode(struct ks_slice bytes, size_t n, struct ks_arena *arena,
                            struct ks_histogram *ret)
{
    struct decoder d = {.r = ks_reader(bytes), .n = n, .arena = arena, .out = ret};
    if (n == 0 || n > KS_HISTOGRAM_CHUNK_MAX)
        return corrupt("impossible number of histograms");
    memset(ret, 0, n * sizeof *ret);
    if (ks_read_u8(&d.r) != KSI_HISTOGRAM_VERSION)
        return corrupt("unknown version");
    KS_TRY(get_layouts(&d));
    KS_TRY(get_layout_runs(&d));
    KS_TRY(get_hints(&d));
    uint64_t *sums = ks_arena_array(arena, n, sizeof *sums);
    if (!sums)
        return ks_arena_err(arena);
    KS_TRY(get_doubles(&d, sums, n));
    for (size_t i = 0; i < n; i++)
        ret[i].sum = ks_f64_from_bits(sums[i]);
    ks_err err = ksi_histogram_columns(d.layouts, d.layout_count, arena, &d.columns);
    if (err != KS_OK)
        return arena->err == KS_OK && err == KS_ELIMIT ? corrupt("too many buckets") : err;
    return get_numbers(&d);
}
