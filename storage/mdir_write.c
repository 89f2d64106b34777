/* Encoding one page of the chunk directory. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/mdir_priv.h"

void ksi_mdir_builder_init(struct ksi_mdir_builder *b)
{
    memset(b, 0, sizeof *b);
    ks_buf_init(&b->rec, 64 << 20);
    ks_buf_init(&b->blob, 64 << 20);
    ks_buf_init(&b->page, 64 << 20);
}

void ksi_mdir_builder_done(struct ksi_mdir_builder *b)
{
    ks_buf_done(&b->rec);
    ks_buf_done(&b->blob);
    ks_buf_done(&b->page);
    ks_free(b->chunks);
    ks_free(b->times);
    ks_free(b->column);
}

void ksi_mdir_reset(struct ksi_mdir_builder *b)
{
    b->chunk_count = b->times_count = 0;
    ks_buf_reset(&b->rec);
    ks_buf_reset(&b->blob);
    ks_buf_reset(&b->page);
}

uint32_t ksi_times_hash(uint32_t sample_count, uint8_t encoding, struct ks_slice times)
{
    return (uint32_t)ks_hash64_seed(times.ptr, times.len, encoding | (uint64_t)sample_count << 8);
}

uint32_t ksi_values_hash(uint8_t encoding, struct ks_slice values)
{
    return (uint32_t)ks_hash64_seed(values.ptr, values.len, encoding);
}

uint32_t ks_chunk_content_hash(uint32_t sample_count, uint8_t times_encoding, struct ks_slice times,
                               uint8_t values_encoding, struct ks_slice values)
{
    return ksi_content_hash(ksi_times_hash(sample_count, times_encoding, times),
                            ksi_values_hash(values_encoding, values));
}

bool ks_chunk_same(const struct ks_chunk_meta *a, const struct ks_chunk_meta *b)
{
    return a->content_hash == b->content_hash && a->min_ms == b->min_ms && a->max_ms == b->max_ms &&
           a->sample_count == b->sample_count && a->kind == b->kind &&
           a->resolution == b->resolution && a->values_encoding == b->values_encoding &&
           a->times_encoding == b->times_encoding && memcmp(&a->agg, &b->agg, sizeof a->agg) == 0;
}

/* Width and base to the page's head, the values to `body`. */
static void put_column(struct ks_buf *head, struct ks_buf *body, const int64_t *v, size_t n)
{
    int64_t min = n ? v[0] : 0, max = min;
    for (size_t i = 1; i < n; i++) {
        min = v[i] < min ? v[i] : min;
        max = v[i] > max ? v[i] : max;
    }
    uint64_t range = (uint64_t)max - (uint64_t)min;
    unsigned width = 0;
    while (width < 8 && range >> (8 * width))
        width++;
    ks_buf_byte(head, (uint8_t)width);
    ks_buf_zigzag(head, min);
    if (!ks_buf_reserve(body, n * width + 8))
        return;
    for (size_t i = 0; i < n; i++)
        ks_put_le64(body->ptr + body->len + i * width, (uint64_t)v[i] - (uint64_t)min);
    body->len += n * width;
}

static int64_t chunk_field(const struct ksi_mdir_builder *b, enum ksi_mdir_col col, size_t i)
{
    const struct ksi_mdir_chunk *c = &b->chunks[i];
    switch (col) {
    case KSI_C_CTL_LO:
        return c->ctl & 255;
    case KSI_C_CTL_HI:
        return c->ctl >> 8;
    case KSI_C_EXP:
        return c->exp;
    case KSI_C_VENC:
        return c->venc;
    case KSI_C_KIND:
        return c->kind;
    case KSI_C_RES:
        return c->resolution;
    case KSI_C_VBYTES:
        return c->vbytes;
    default:
        return (int64_t)c->times_row - (int64_t)i;
    }
}

static int64_t times_field(const struct ksi_mdir_times *t, enum ksi_mdir_col col)
{
    switch (col) {
    case KSI_T_MIN:
        return t->min_ms;
    case KSI_T_SPAN:
        return (int64_t)((uint64_t)t->max_ms - (uint64_t)t->min_ms);
    case KSI_T_COUNT:
        return t->count;
    case KSI_T_ENC:
        return t->encoding;
    case KSI_T_BYTES:
        return t->bytes;
    case KSI_T_FRAME:
        return t->frame;
    case KSI_T_OFFSET:
        return t->offset;
    default:
        return t->hash;
    }
}

static int64_t skip_field(const struct ksi_mdir_builder *b, enum ksi_mdir_col col, size_t chunk)
{
    const struct ksi_mdir_chunk *c = &b->chunks[chunk];
    switch (col) {
    case KSI_K_CHUNK:
        return (int64_t)chunk;
    case KSI_K_REC:
        return (int64_t)c->rec_pos;
    case KSI_K_FRAME:
        return c->frame;
    default:
        return c->frame_offset;
    }
}

/* Chunks per series, then for every stride-th series where its walk begins. */
static void put_series(struct ksi_mdir_builder *b, size_t series, unsigned stride_log2,
                       struct ks_buf *body)
{
    int64_t *v = b->column;
    memset(v, 0, series * sizeof *v);
    for (size_t i = 0; i < b->chunk_count; i++)
        v[b->chunks[i].series]++;
    put_column(&b->page, body, v, series);
    size_t points = ((series - 1) >> stride_log2) + 1;
    for (enum ksi_mdir_col col = KSI_K_CHUNK; col <= KSI_K_OFFSET; col++) {
        for (size_t k = 0, i = 0; k < points; k++) {
            while (b->chunks[i].series < k << stride_log2)
                i++; /* the last series has chunks, so there is one */
            v[k] = skip_field(b, col, i);
        }
        put_column(&b->page, body, v, points);
    }
}

ks_err ksi_mdir_encode(struct ksi_mdir_builder *b)
{
    size_t series = b->last_ord - b->first_ord + 1, n = b->chunk_count, rows = b->times_count;
    size_t longest = n > rows ? n : rows;
    KS_TRY(ks_array_reserve((void **)&b->column, &b->column_cap,
                            longest > series ? longest : series, sizeof *b->column));
    unsigned stride_log2 = 0; /* about 8 chunks between skip points */
    while (stride_log2 < 3 && n << (stride_log2 + 1) <= 8 * series)
        stride_log2++;
    struct ks_buf body;
    ks_buf_init(&body, 64 << 20);
    ks_buf_byte(&b->page, 1);
    ks_buf_varint(&b->page, b->first_ord);
    ks_buf_varint(&b->page, series);
    ks_buf_varint(&b->page, n);
    ks_buf_varint(&b->page, rows);
    ks_buf_byte(&b->page, (uint8_t)stride_log2);
    put_series(b, series, stride_log2, &body);
    for (enum ksi_mdir_col col = KSI_C_CTL_LO; col <= KSI_C_TIMES; col++) {
        for (size_t i = 0; i < n; i++)
            b->column[i] = chunk_field(b, col, i);
        put_column(&b->page, &body, b->column, n);
    }
    for (enum ksi_mdir_col col = KSI_T_MIN; col <= KSI_T_HASH; col++) {
        for (size_t i = 0; i < rows; i++)
            b->column[i] = times_field(&b->times[i], col);
        put_column(&b->page, &body, b->column, rows);
    }
    ks_buf_varint(&b->page, b->rec.len);
    ks_buf_varint(&b->page, b->blob.len);
    ks_buf_slice(&b->page, ks_buf_view(&body));
    ks_buf_slice(&b->page, ks_buf_view(&b->rec));
    ks_buf_slice(&b->page, ks_buf_view(&b->blob));
    ks_buf_add(&b->page, (uint8_t[KSI_MDIR_PAD]){0}, KSI_MDIR_PAD);
    ks_err err = ks_buf_status(&body);
    ks_buf_done(&body);
    if (err == KS_OK)
        err = ks_buf_status(&b->rec);
    if (err == KS_OK)
        err = ks_buf_status(&b->blob);
    return err == KS_OK ? ks_buf_status(&b->page) : err;
}
