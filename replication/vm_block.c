#include "replication/vm_block.h"

#include <math.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/num.h"
#include "replication/vm_block_priv.h"

enum marshal_type {
    ZSTD_DELTA2 = 1,
    DELTA_CONST = 2,
    CONST = 3,
    ZSTD_DELTA = 4,
    DELTA2 = 5,
    DELTA = 6,
};

enum { PACK_MIN_BYTES = 128 };

ks_err ks_vm_block_new(struct ks_vm_block **ret)
{
    struct ks_vm_block *b = ks_alloc(sizeof *b);
    if (!b)
        return KS_ENOMEM;
    b->header = (struct ks_vm_block_header){0};
    b->times_data = b->values_data = ks_slice("", 0);
    ks_buf_init(&b->plain, KS_VM_BLOCK_ROWS_MAX * KS_VARINT_MAX);
    ks_buf_init(&b->packed[0], KS_BUF_UNLIMITED);
    ks_buf_init(&b->packed[1], KS_BUF_UNLIMITED);
    b->zstd_c = ZSTD_createCCtx();
    b->zstd_d = ZSTD_createDCtx();
    if (!b->zstd_c || !b->zstd_d) {
        ks_vm_block_free(b);
        return ks_fail(KS_ENOMEM, "no memory for zstd");
    }
    *ret = b;
    return KS_OK;
}

void ks_vm_block_free(struct ks_vm_block *b)
{
    if (!b)
        return;
    ZSTD_freeCCtx(b->zstd_c);
    ZSTD_freeDCtx(b->zstd_d);
    ks_buf_done(&b->plain);
    ks_buf_done(&b->packed[0]);
    ks_buf_done(&b->packed[1]);
    ks_free(b);
}

/* --- integers --- */
static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static size_t varint_len(int64_t v)
{
    uint64_t u = ks_zigzag(v) | 1;
    return (size_t)(70 - __builtin_clzll(u)) / 7;
}

/* Which of the two delta forms is shorter, and whether a constant says it all. */
static enum marshal_type choose(const int64_t *a, size_t n)
{
    size_t first = 0, second = 0;
    int64_t d = n > 1 ? minus(a[1], a[0]) : 0;
    bool constant = d == 0, delta_constant = true;
    for (size_t i = 1; i < n; i++) {
        int64_t step = minus(a[i], a[i - 1]);
        constant &= step == 0;
        delta_constant &= step == d;
        first += varint_len(step);
        second += i > 1 ? varint_len(minus(step, minus(a[i - 1], a[i - 2]))) : varint_len(step);
    }
    return constant ? CONST : delta_constant ? DELTA_CONST : second < first ? DELTA2 : DELTA;
}

static ks_err pack(struct ks_vm_block *b, struct ks_buf *out, uint8_t *type)
{
    size_t bound = ZSTD_compressBound(b->plain.len);
    if (!ks_buf_reserve(out, bound))
        return ks_buf_status(out);
    size_t n = b->plain.len < PACK_MIN_BYTES
                   ? b->plain.len
                   : ZSTD_compressCCtx(b->zstd_c, out->ptr, bound, b->plain.ptr, b->plain.len, 1);
    if (!ZSTD_isError(n) && n * 10 < b->plain.len * 9) {
        out->len = n;
        *type = *type == DELTA2 ? ZSTD_DELTA2 : ZSTD_DELTA;
    } else {
        ks_buf_slice(out, ks_buf_view(&b->plain));
    }
    return ks_buf_status(out);
}

static ks_err encode_ints(struct ks_vm_block *b, const int64_t *a, size_t n, struct ks_buf *out,
                          uint8_t *ret_type)
{
    *ret_type = (uint8_t)choose(a, n);
    ks_buf_reset(out);
    ks_buf_reset(&b->plain);
    if (*ret_type == CONST)
        return KS_OK;
    if (*ret_type == DELTA_CONST) {
        ks_buf_zigzag(out, minus(a[1], a[0]));
        return ks_buf_status(out);
    }
    int64_t before = 0;
    for (size_t i = 1; i < n; i++) {
        int64_t step = minus(a[i], a[i - 1]);
        ks_buf_zigzag(&b->plain, *ret_type == DELTA2 ? minus(step, before) : step);
        before = step;
    }
    KS_TRY(ks_buf_status(&b->plain));
    return pack(b, out, ret_type);
}

/* A frame may claim anything: what does not fit the rows is refused by zstd itself. */
static ks_err unpack(struct ks_vm_block *b, struct ks_slice data, size_t rows, struct ks_slice *ret)
{
    size_t max = rows * KS_VARINT_MAX;
    ks_buf_reset(&b->plain);
    if (!ks_buf_reserve(&b->plain, max))
        return ks_buf_status(&b->plain);
    size_t n = ZSTD_decompressDCtx(b->zstd_d, b->plain.ptr, max, data.ptr, data.len);
    if (ZSTD_isError(n))
        return ks_fail(KS_EPARSE, "malformed zstd frame: %s", ZSTD_getErrorName(n));
    *ret = ks_slice(b->plain.ptr, n);
    return KS_OK;
}

static ks_err decode_deltas(struct ks_slice data, bool second, int64_t first, size_t n,
                            int64_t *out)
{
    struct ks_reader r = ks_reader(data);
    int64_t v = first, step = 0;
    out[0] = v;
    for (size_t i = 1; i < n; i++) {
        int64_t d = ks_read_zigzag(&r);
        step = second ? plus(step, d) : d;
        v = plus(v, step);
        out[i] = v;
    }
    if (r.bad || r.p != r.end)
        return ks_fail(KS_EPARSE, "%zu bytes of deltas do not make %zu rows", data.len, n);
    return KS_OK;
}

static ks_err decode_ints(struct ks_vm_block *b, struct ks_slice data, uint8_t type, int64_t first,
                          size_t n, int64_t *out)
{
    struct ks_reader r = ks_reader(data);
    int64_t d = 0;
    switch (type) {
    case ZSTD_DELTA2:
    case ZSTD_DELTA:
        KS_TRY(unpack(b, data, n, &data));
        return decode_deltas(data, type == ZSTD_DELTA2, first, n, out);
    case DELTA2:
    case DELTA:
        return decode_deltas(data, type == DELTA2, first, n, out);
    case DELTA_CONST:
        d = ks_read_zigzag(&r);
        if (r.bad || r.p != r.end)
            return ks_fail(KS_EPARSE, "malformed constant delta");
        break;
    case CONST:
        if (data.len)
            return ks_fail(KS_EPARSE, "%zu bytes behind a constant", data.len);
        break;
    default:
        return ks_fail(KS_EPARSE, "unknown encoding %u", type);
    }
    for (size_t i = 0; i < n; i++, first = plus(first, d))
        out[i] = first;
    return KS_OK;
}

/* --- blocks --- */
ks_err ks_vm_block_encode(struct ks_vm_block *b, const int64_t *times, const double *values,
                          size_t n, size_t *ret_used)
{
    size_t rows = 0, used = 0;
    struct ks_vm_block_header *h = &b->header;
    *h = (struct ks_vm_block_header){.precision_bits = 64};
    ksi_vm_fit(b, times, values, n, &rows, &used, &h->scale);
    *ret_used = used;
    h->rows = (uint32_t)rows;
    if (!rows)
        return KS_OK;
    h->min_ms = b->times[0];
    h->max_ms = b->times[rows - 1];
    h->first_value = b->ints[0];
    KS_TRY(encode_ints(b, b->times, rows, &b->packed[0], &h->times_type));
    KS_TRY(encode_ints(b, b->ints, rows, &b->packed[1], &h->values_type));
    b->times_data = ks_buf_view(&b->packed[0]);
    b->values_data = ks_buf_view(&b->packed[1]);
    return KS_OK;
}

/* Lossy blocks have lossy timestamps, whose order and ends are put right. */
static ks_err check_times(struct ks_vm_block *b)
{
    const struct ks_vm_block_header *h = &b->header;
    bool lossy = h->precision_bits < 64;
    int64_t before = h->min_ms;
    for (size_t i = 0; i < h->rows; i++) {
        int64_t t = b->times[i];
        if (t >= before && t <= h->max_ms) {
            before = t;
            continue;
        }
        if (!lossy)
            return ks_fail(
                KS_EPARSE,
                "timestamp %lld of row %zu is out of order or outside of the block's range",
                (long long)t, i);
        b->times[i] = before = t < before ? before : h->max_ms;
    }
    return KS_OK;
}

ks_err ks_vm_block_decode(struct ks_vm_block *b, const struct ks_vm_block_header *header,
                          struct ks_slice times_data, struct ks_slice values_data)
{
    const struct ks_vm_block_header h = *header;
    if (!h.rows || h.rows > KS_VM_BLOCK_ROWS_MAX)
        return ks_fail(KS_EPARSE, "a block of %u rows; want 1 to %d", h.rows, KS_VM_BLOCK_ROWS_MAX);
    if (!h.precision_bits || h.precision_bits > 64)
        return ks_fail(KS_EPARSE, "precision of %u bits; want 1 to 64", h.precision_bits);
    if (h.max_ms < h.min_ms)
        return ks_fail(KS_EPARSE, "the block ends before it begins");
    if (times_data.len > KS_VM_BLOCK_BYTES_MAX || values_data.len > KS_VM_BLOCK_BYTES_MAX)
        return ks_fail(KS_EPARSE, "a block of more than %d bytes", KS_VM_BLOCK_BYTES_MAX);
    b->header = h;
    ks_err err = decode_ints(b, times_data, h.times_type, h.min_ms, h.rows, b->times);
    if (err == KS_OK)
        err = check_times(b);
    if (err != KS_OK)
        return ks_fail_context(err, "timestamps");
    err = decode_ints(b, values_data, h.values_type, h.first_value, h.rows, b->ints);
    if (err != KS_OK)
        return ks_fail_context(err, "values");
    ksi_vm_to_doubles(b->ints, h.rows, h.scale, b->values);
    return KS_OK;
}

void ks_vm_block_put_portable(const struct ks_vm_block *b, struct ks_buf *out)
{
    const struct ks_vm_block_header *h = &b->header;
    ks_buf_zigzag(out, h->min_ms);
    ks_buf_zigzag(out, h->max_ms);
    ks_buf_zigzag(out, h->first_value);
    ks_buf_varint(out, h->rows);
    ks_buf_zigzag(out, h->scale);
    ks_buf_byte(out, h->times_type);
    ks_buf_byte(out, h->values_type);
    ks_buf_byte(out, h->precision_bits);
    ks_buf_lp(out, b->times_data);
    ks_buf_lp(out, b->values_data);
}

ks_err ks_vm_block_read_portable(struct ks_vm_block *b, struct ks_slice bytes)
{
    struct ks_reader r = ks_reader(bytes);
    struct ks_vm_block_header h;
    h.min_ms = ks_read_zigzag(&r);
    h.max_ms = ks_read_zigzag(&r);
    h.first_value = ks_read_zigzag(&r);
    uint64_t rows = ks_read_varint(&r);
    int64_t scale = ks_read_zigzag(&r);
    h.times_type = ks_read_u8(&r);
    h.values_type = ks_read_u8(&r);
    h.precision_bits = ks_read_u8(&r);
    struct ks_slice times = ks_read_lp(&r), values = ks_read_lp(&r);
    if (r.bad)
        return ks_fail(KS_EPARSE, "the block is cut short");
    if (r.p != r.end)
        return ks_fail(KS_EPARSE, "%zu bytes behind the block", ks_reader_left(&r));
    if (rows > KS_VM_BLOCK_ROWS_MAX || scale < INT16_MIN || scale > INT16_MAX)
        return ks_fail(KS_EPARSE, "rows or scale of the block out of range");
    h.rows = (uint32_t)rows;
    h.scale = (int16_t)scale;
    return ks_vm_block_decode(b, &h, times, values);
}
