/* Reading value columns from hostile bytes (chunk.h; docs/format/chunk.md, "Value columns"). */
#include <string.h>

#include "base/bytes.h"
#include "storage/codec/bits_priv.h"
#include "storage/codec/chunk.h"
#include "storage/codec/rd_priv.h"
#include "storage/codec/values_priv.h"
#include "storage/codec/xor_priv.h"

static bool get_exceptions(struct ks_reader *r, size_t n, double *ret)
{
    uint64_t head = ks_read_varint(r), count = head >> 1;
    unsigned pos_bits = ksi_bit_width(n - 1);
    if (count == 0 || count > n)
        return false;
    size_t pos_len = ksi_packed_bytes(count, pos_bits);
    bool same = head & KSI_SAME_EXCEPTION;
    const uint8_t *pos = (const uint8_t *)ks_read_bytes(r, pos_len).ptr;
    const uint8_t *bits = (const uint8_t *)ks_read_bytes(r, same ? 8 : 8 * count).ptr;
    if (r->bad)
        return false;
    size_t next = 0;
    for (size_t k = 0; k < count; k++) {
        size_t i = ksi_get_bits(pos, pos_len, k * pos_bits, pos_bits);
        if (i < next || i >= n)
            return false;
        ret[i] = ks_f64_from_bits(ks_le64(bits + (same ? 0 : 8 * k)));
        next = i + 1;
    }
    return true;
}

/* A column of integers, which are decimals by `exponent` or the doubles' bits. */
static bool get_numbers(struct ks_reader *r, unsigned kind, unsigned exponent, size_t n,
                        double *ret)
{
    bool flag = false, is_bits = exponent == KSI_EXPONENT_BITS;
    if (!is_bits && exponent > KSI_EXPONENT_MAX)
        return false;
    if (is_bits && kind == KSI_CONST) {
        ks_values_fill(ks_f64_from_bits(ks_read_u64(r)), n, ret);
        return !r->bad;
    }
    if (!ksi_ints_get(r, kind, n, (int64_t *)ret, is_bits ? NULL : &flag))
        return false;
    if (is_bits)
        return true;
    if (kind == KSI_CONST) { /* one division, not n */
        ksi_decimal_from_ints(ret, 1, (int)exponent);
        ks_values_fill(ret[0], n, ret);
        return true;
    }
    ksi_decimal_from_ints(ret, n, (int)exponent);
    return !flag || get_exceptions(r, n, ret);
}

static bool get_plain(struct ks_reader *r, uint8_t encoding, size_t n, double *ret)
{
    unsigned kind = encoding & 7, upper = encoding >> 3;
    struct ks_slice raw;
    if (kind != KSI_SPECIAL)
        return get_numbers(r, kind, upper, n, ret);
    switch (upper) {
    case KSI_RD:
        return ksi_rd_get(r, n, ret);
    case KSI_XOR:
        raw = ks_read_bytes(r, ks_reader_left(r));
        return ksi_xor_get(raw, n, ret);
    case KSI_RAW:
        raw = ks_read_bytes(r, n * sizeof *ret);
        if (r->bad)
            return false;
        memcpy(ret, raw.ptr, raw.len);
        return true;
    }
    return false;
}

/*
 * Run values are decoded into the last places of ret and spread from the front: run j starts at or
 * before its value's place, so no value is overwritten before it is used.
 */
static bool get_runs(struct ks_reader *r, size_t n, double *ret)
{
    int64_t lengths[KS_CHUNK_SAMPLES_MAX / 2];
    uint64_t runs = ks_read_varint(r);
    uint8_t encoding = ks_read_u8(r);
    struct ks_slice inner = ks_read_lp(r);
    if (r->bad || runs == 0 || runs > n / 2)
        return false;
    struct ks_reader values = ks_reader(inner);
    double *from = ret + (n - runs);
    if (!get_plain(&values, encoding, runs, from) || values.bad || ks_reader_left(&values))
        return false;
    if (!ksi_pfor_get(r, runs, lengths, NULL))
        return false;
    size_t at = 0;
    for (size_t k = 0; k < runs; k++) {
        double v = from[k];
        size_t room = n - at - (runs - k); /* what this run may have beyond one sample */
        if ((uint64_t)lengths[k] > room)
            return false;
        for (size_t end = at + (size_t)lengths[k] + 1; at < end; at++)
            ret[at] = v;
    }
    return at == n;
}

ks_err ks_values_decode(struct ks_slice bytes, uint8_t encoding, size_t n, double *ret)
{
    if (n == 0 || n > KS_CHUNK_SAMPLES_MAX)
        return ks_fail(KS_ECORRUPT, "a chunk of %zu values", n);
    struct ks_reader r = ks_reader(bytes);
    bool ok = encoding == ksi_encoding(KSI_SPECIAL, KSI_RUNS) ? get_runs(&r, n, ret)
                                                              : get_plain(&r, encoding, n, ret);
    if (!ok || r.bad || ks_reader_left(&r))
        return ks_fail(KS_ECORRUPT, "malformed value column: encoding %u, %zu values in %zu bytes",
                       encoding, n, bytes.len);
    return KS_OK;
}

bool ks_values_constant(struct ks_slice bytes, uint8_t encoding, double *ret)
{
    struct ks_reader r = ks_reader(bytes);
    double v;
    if ((encoding & 7) != KSI_CONST || !get_plain(&r, encoding, 1, &v) || ks_reader_left(&r))
        return false;
    *ret = v;
    return true;
}

KS_CLONES void ks_values_fill(double v, size_t n, double *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = v;
}

bool ks_values_all_equal(uint8_t encoding)
{
    return (encoding & 7) == KSI_CONST;
}

const char *ks_values_encoding_name(uint8_t encoding)
{
    static const char *const decimals[6][KSI_EXPONENT_MAX + 2] = {{0},
#define NAMES(k)                                                                                   \
    {k "/0",  k "/1",  k "/2",  k "/3",  k "/4",  k "/5",  k "/6",  k "/7",  k "/8",  k "/9",      \
     k "/10", k "/11", k "/12", k "/13", k "/14", k "/15", k "/16", k "/17", k "/18", k "/bits"}
                                                                  NAMES("const"),
                                                                  NAMES("dconst"),
                                                                  NAMES("for"),
                                                                  NAMES("delta"),
                                                                  NAMES("delta2")};
#undef NAMES
    static const char *const special[] = {NULL, "raw", "runs", "rd", "xor"};
    unsigned kind = encoding & 7, upper = encoding >> 3;
    const char *name = NULL;
    if (kind == KSI_SPECIAL && upper < sizeof special / sizeof *special)
        name = special[upper];
    else if (kind >= KSI_CONST && kind <= KSI_DELTA2 && upper <= KSI_EXPONENT_MAX)
        name = decimals[kind][upper];
    else if (kind >= KSI_CONST && kind <= KSI_DELTA2 && upper == KSI_EXPONENT_BITS)
        name = decimals[kind][KSI_EXPONENT_MAX + 1];
    return name ? name : "unknown";
}
