/* Writing chunks of native histograms (docs/format/histogram-chunk.md). */
#include <string.h>

#include "storage/codec/chunk.h"
#include "storage/codec/histogram_priv.h"
#include "storage/codec/ints_priv.h"

struct encoder {
    const struct ks_histogram *h;
    size_t n;
    struct ks_arena *arena;
    struct ks_buf *out;
    struct ksi_histogram_layout *layouts;
    uint16_t *layout_of; /* of each histogram */
    size_t layout_count;
    struct ksi_histogram_columns columns;
    int64_t *scratch; /* n + 1 */
};

/* Numbers the layouts in order of first use. Neighbours are mostly equal; else all are tried:
 * chunks have few. */
static ks_err find_layouts(struct encoder *e)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct ks_histogram *h = &e->h[i];
        size_t k = i ? e->layout_of[i - 1] : e->layout_count;
        if (!i || !ks_histogram_same_layout(h, &e->layouts[k].shape))
            for (k = 0; k < e->layout_count && !ks_histogram_same_layout(h, &e->layouts[k].shape);)
                k++;
        if (k == e->layout_count) {
            KS_TRY(ks_histogram_check_layout(h));
            e->layouts[e->layout_count++] = (struct ksi_histogram_layout){.shape = *h};
        }
        e->layouts[k].uses++;
        e->layout_of[i] = (uint16_t)k;
    }
    return KS_OK;
}

static void put_layouts(struct encoder *e)
{
    ks_buf_varint(e->out, e->layout_count);
    for (size_t i = 0; i < e->layout_count; i++) {
        ks_buf_byte(e->out, (uint8_t)ksi_layout_flags(&e->layouts[i].shape));
        ksi_layout_put(&e->layouts[i].shape, e->out);
    }
    if (e->layout_count == 1)
        return;
    for (size_t i = 0, k; i < e->n; i = k) {
        for (k = i + 1; k < e->n && e->layout_of[k] == e->layout_of[i];)
            k++;
        ks_buf_varint(e->out, e->layout_of[i]);
        ks_buf_varint(e->out, k - i);
    }
}

static void put_hints(struct encoder *e)
{
    for (size_t i = 0, k; i < e->n; i = k) {
        for (k = i + 1; k < e->n && e->h[k].hint == e->h[i].hint;)
            k++;
        ks_buf_varint(e->out, (uint64_t)(k - i) << 2 | e->h[i].hint);
    }
}

/* x is destroyed. */
static void put_ints(struct encoder *e, int64_t *x, size_t n)
{
    struct ksi_ints plan;
    if (!n)
        return;
    ksi_ints_plan(x, e->scratch, n, false, &plan);
    ks_buf_byte(e->out, plan.kind);
    ksi_ints_put(x, n, &plan, e->out);
}

static ks_err put_doubles(struct encoder *e, const double *v, size_t n)
{
    uint8_t encoding = 0;
    size_t at = e->out->len;
    if (!n)
        return KS_OK;
    ks_buf_u16(e->out, 0); /* encoding and the first byte of the length */
    KS_TRY(ks_buf_status(e->out));
    KS_TRY(ks_values_encode(v, n, e->out, &encoding));
    size_t len = e->out->len - at - 2, head = 1;
    uint8_t varint[KS_VARINT_MAX];
    head = ks_varint_put(varint, len);
    if (head > 1) {
        if (!ks_buf_reserve(e->out, head - 1))
            return ks_buf_status(e->out);
        memmove(e->out->ptr + at + 1 + head, e->out->ptr + at + 2, len);
        e->out->len += head - 1;
    }
    e->out->ptr[at] = (char)encoding;
    memcpy(e->out->ptr + at + 1, varint, head);
    return KS_OK;
}

/* Absolute numbers into the columns. Returns their sum (integers only). */
static uint64_t spread(struct encoder *e, const struct ks_histogram *h,
                       const struct ks_histogram_side *s, const uint32_t *columns)
{
    uint64_t number = 0, sum = 0;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        struct ksi_histogram_column *c = &e->columns.items[columns[i]];
        number += (uint64_t)s->deltas[i];
        c->values[c->filled++] = h->is_float ? ks_f64_bits(s->counts[i]) : number;
        sum += number;
    }
    return h->is_float ? 0 : sum;
}

/* The columns every histogram has: zero counts and counts. An integer count is mostly the sum of
 * its buckets: 0 is stored. */
struct totals {
    uint64_t *zero, *count;
    size_t n;
};

static ks_err totals_init(struct encoder *e, struct totals *t, size_t n)
{
    t->n = 0;
    t->zero = ks_arena_array(e->arena, n + 1, 8);
    t->count = ks_arena_array(e->arena, n + 1, 8);
    return t->zero && t->count ? KS_OK : ks_arena_err(e->arena);
}

static ks_err put_numbers(struct encoder *e)
{
    struct totals ints, floats;
    const struct ksi_histogram_columns *c = &e->columns;
    KS_TRY(totals_init(e, &ints, c->int_uses));
    KS_TRY(totals_init(e, &floats, c->float_uses));
    for (size_t i = 0; i < e->n; i++) {
        const struct ks_histogram *h = &e->h[i];
        const uint32_t *columns = e->layouts[e->layout_of[i]].columns;
        uint64_t sum = spread(e, h, &h->positive, columns);
        sum += spread(e, h, &h->negative, columns + h->positive.bucket_count);
        struct totals *t = h->is_float ? &floats : &ints;
        t->zero[t->n] = h->zero_count.u;
        t->count[t->n++] = h->is_float ? h->count.u : h->count.u - h->zero_count.u - sum;
    }
    put_ints(e, (int64_t *)ints.zero, ints.n);
    put_ints(e, (int64_t *)ints.count, ints.n);
    uint32_t k = 0;
    for (; k < c->count && !(c->items[k].key >> 63); k++)
        put_ints(e, (int64_t *)c->items[k].values, c->items[k].count);
    KS_TRY(put_doubles(e, (const double *)floats.zero, floats.n));
    KS_TRY(put_doubles(e, (const double *)floats.count, floats.n));
    for (; k < c->count; k++)
        KS_TRY(put_doubles(e, (const double *)c->items[k].values, c->items[k].count));
    return KS_OK;
}

ks_err ks_histograms_encode(const struct ks_histogram *h, size_t n, struct ks_arena *scratch,
                            struct ks_buf *out)
{
    struct encoder e = {.h = h, .n = n, .arena = scratch, .out = out};
    if (n == 0 || n > KS_HISTOGRAM_CHUNK_MAX)
        return ks_fail(KS_EINVAL, "a chunk of %zu native histograms: 1 to %d are possible", n,
                       KS_HISTOGRAM_CHUNK_MAX);
    for (size_t i = 0; i < n; i++)
        if (h[i].hint > KS_HISTOGRAM_GAUGE)
            return ks_fail(KS_EINVAL, "a native histogram has counter reset hint %u", h[i].hint);
    e.layouts = ks_arena_array(scratch, n, sizeof *e.layouts);
    e.layout_of = ks_arena_array(scratch, n, sizeof *e.layout_of);
    e.scratch = ks_arena_array(scratch, n + 1, sizeof *e.scratch);
    double *sums = ks_arena_array(scratch, n, sizeof *sums);
    if (!e.layouts || !e.layout_of || !e.scratch || !sums)
        return ks_arena_err(scratch);
    KS_TRY(find_layouts(&e));
    KS_TRY(ksi_histogram_columns(e.layouts, e.layout_count, scratch, &e.columns));
    for (size_t i = 0; i < n; i++)
        sums[i] = h[i].sum;
    ks_buf_byte(out, KSI_HISTOGRAM_VERSION);
    put_layouts(&e);
    put_hints(&e);
    KS_TRY(put_doubles(&e, sums, n));
    KS_TRY(put_numbers(&e));
    return ks_buf_status(out);
}
