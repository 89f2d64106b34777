/* RD columns (rd_priv.h; docs/format/chunk.md, "RD"). */
#include "storage/codec/rd_priv.h"

#include <string.h>

#include "base/err.h"
#include "storage/codec/bits_priv.h"
#include "storage/codec/chunk.h"

#define SAMPLE_COUNT 32

static unsigned index_bits(unsigned dict_count)
{
    return ksi_bit_width(dict_count - 1);
}

static size_t sample_sorted(const double *v, size_t n, uint64_t *s)
{
    size_t m = n < SAMPLE_COUNT ? n : SAMPLE_COUNT;
    for (size_t i = 0; i < m; i++) {
        uint64_t b = ks_f64_bits(v[i * n / m]);
        size_t j = i;
        for (; j && s[j - 1] > b; j--)
            s[j] = s[j - 1];
        s[j] = b;
    }
    return m;
}

/* The most frequent high parts of `left` bits in the sorted sample, most frequent first, low value
 * first on a tie. */
static unsigned top_parts(const uint64_t *s, size_t m, unsigned left, uint16_t *dict,
                          uint16_t *counts)
{
    unsigned used = 0;
    for (size_t i = 0; i < m;) {
        uint16_t part = (uint16_t)(s[i] >> (64 - left)), count = 0;
        for (; i < m && s[i] >> (64 - left) == part; i++)
            count++;
        unsigned k = used;
        for (; k && counts[k - 1] < count; k--) {
            if (k < KSI_RD_DICT_MAX) {
                dict[k] = dict[k - 1];
                counts[k] = counts[k - 1];
            }
        }
        if (k < KSI_RD_DICT_MAX) {
            dict[k] = part;
            counts[k] = count;
            used += used < KSI_RD_DICT_MAX;
        }
    }
    return used;
}

/* Estimated bits for the sample with `left` bits and the first `used` entries; each exception costs
 * 26 bits. */
static size_t sample_cost(const uint16_t *counts, unsigned used, size_t m, unsigned left)
{
    size_t covered = 0;
    for (unsigned k = 0; k < used; k++)
        covered += counts[k];
    return m * (64 - left + index_bits(used)) + (m - covered) * 26;
}

static void choose_dict(const uint64_t *s, size_t m, struct ksi_rd *rd)
{
    size_t best = SIZE_MAX;
    for (unsigned left = 1; left <= KSI_RD_LEFT_MAX; left++) {
        uint16_t dict[KSI_RD_DICT_MAX], counts[KSI_RD_DICT_MAX];
        unsigned all = top_parts(s, m, left, dict, counts);
        for (unsigned used = 1; used <= all; used = used < all && used * 2 > all ? all : used * 2) {
            size_t cost = sample_cost(counts, used, m, left);
            if (cost < best) {
                best = cost;
                rd->left = (uint8_t)left;
                rd->dict_count = (uint8_t)used;
                memcpy(rd->dict, dict, sizeof dict);
            }
        }
    }
}

/* The dictionary index of a high part, dict_count when it has none. */
static unsigned find_part(const struct ksi_rd *rd, uint16_t part)
{
    unsigned k = 0;
    while (k < rd->dict_count && rd->dict[k] != part)
        k++;
    return k;
}

void ksi_rd_plan(const double *v, size_t n, struct ksi_rd *ret)
{
    uint64_t s[SAMPLE_COUNT], any = 0;
    struct ksi_rd rd = {0};
    size_t m = sample_sorted(v, n, s);
    choose_dict(s, m, &rd);
    for (size_t i = 0; i < n; i++) {
        uint64_t b = ks_f64_bits(v[i]);
        any |= b;
        rd.exceptions += find_part(&rd, (uint16_t)(b >> (64 - rd.left))) == rd.dict_count;
    }
    unsigned zeros = any ? (unsigned)__builtin_ctzll(any) : 63;
    rd.shift = (uint8_t)(zeros < 64u - rd.left ? zeros : 64u - rd.left);
    rd.bytes = 3 + 2 * rd.dict_count + ksi_packed_bytes(n, index_bits(rd.dict_count)) +
               ksi_packed_bytes(n, 64u - rd.left - rd.shift) + ksi_varint_bytes(rd.exceptions) +
               ksi_packed_bytes(rd.exceptions, ksi_bit_width(n - 1)) + 2 * rd.exceptions;
    *ret = rd;
}

void ksi_rd_put(const double *v, int64_t *t, size_t n, const struct ksi_rd *rd, struct ks_buf *out)
{
    if (!ks_buf_reserve(out, rd->bytes + KSI_PACK_SLACK))
        return;
    uint8_t *start = (uint8_t *)out->ptr + out->len, *at = start;
    uint64_t *u = (uint64_t *)t;
    uint16_t parts[KS_CHUNK_SAMPLES_MAX], where[KS_CHUNK_SAMPLES_MAX];
    size_t k = 0;
    *at++ = rd->left;
    *at++ = rd->shift;
    *at++ = rd->dict_count;
    for (unsigned i = 0; i < rd->dict_count; i++, at += 2)
        ks_put_le16(at, rd->dict[i]);
    for (size_t i = 0; i < n; i++) {
        uint16_t part = (uint16_t)(ks_f64_bits(v[i]) >> (64 - rd->left));
        unsigned index = find_part(rd, part);
        u[i] = index < rd->dict_count ? index : 0;
        if (index == rd->dict_count) {
            where[k] = (uint16_t)i;
            parts[k++] = part;
        }
    }
    at = ksi_pack(at, u, n, index_bits(rd->dict_count));
    for (size_t i = 0; i < n; i++)
        u[i] = ks_f64_bits(v[i]) >> rd->shift;
    at = ksi_pack(at, u, n, 64u - rd->left - rd->shift);
    KS_ASSERT(k == rd->exceptions);
    at += ks_varint_put(at, k);
    for (size_t i = 0; i < k; i++)
        u[i] = where[i];
    at = ksi_pack(at, u, k, ksi_bit_width(n - 1));
    for (size_t i = 0; i < k; i++, at += 2)
        ks_put_le16(at, parts[i]);
    KS_ASSERT((size_t)(at - start) == rd->bytes);
    out->len += rd->bytes;
}

static bool get_exceptions(struct ks_reader *r, size_t n, unsigned left, double *ret)
{
    uint64_t count = ks_read_varint(r);
    unsigned pos_bits = ksi_bit_width(n - 1);
    if (count > n)
        return false;
    size_t pos_len = ksi_packed_bytes(count, pos_bits);
    const uint8_t *pos = (const uint8_t *)ks_read_bytes(r, pos_len).ptr;
    const uint8_t *parts = (const uint8_t *)ks_read_bytes(r, 2 * count).ptr;
    if (r->bad)
        return false;
    size_t next = 0;
    for (size_t k = 0; k < count; k++) {
        size_t i = ksi_get_bits(pos, pos_len, k * pos_bits, pos_bits);
        uint64_t part = ks_le16(parts + 2 * k);
        if (i < next || i >= n || part >> left)
            return false;
        uint64_t low = ks_f64_bits(ret[i]) & (~0ull >> left);
        ret[i] = ks_f64_from_bits(low | part << (64 - left));
        next = i + 1;
    }
    return true;
}

bool ksi_rd_get(struct ks_reader *r, size_t n, double *ret)
{
    unsigned left = ks_read_u8(r), shift = ks_read_u8(r), dict_count = ks_read_u8(r);
    uint64_t dict[KSI_RD_DICT_MAX] = {0}, index[128];
    if (left == 0 || left > KSI_RD_LEFT_MAX || left + shift > 64 || dict_count == 0 ||
        dict_count > KSI_RD_DICT_MAX)
        return false;
    for (unsigned i = 0; i < dict_count; i++) {
        uint64_t part = ks_read_u16(r);
        if (part >> left)
            return false;
        dict[i] = part << (64 - left);
    }
    unsigned bits = index_bits(dict_count), low = 64 - left - shift;
    struct ks_slice indexes = ks_read_bytes(r, ksi_packed_bytes(n, bits));
    struct ks_slice lows = ks_read_bytes(r, ksi_packed_bytes(n, low));
    if (r->bad)
        return false;
    uint64_t *u = (uint64_t *)ret;
    ksi_unpack((const uint8_t *)lows.ptr, n, low, u);
    for (size_t i = 0; i < n; i += 128) { /* 128 indexes fill whole bytes at any width */
        size_t m = n - i < 128 ? n - i : 128;
        ksi_unpack((const uint8_t *)indexes.ptr + i * bits / 8, m, bits, index);
        for (size_t k = 0; k < m; k++) {
            if (index[k] >= dict_count)
                return false;
            u[i + k] = u[i + k] << shift | dict[index[k]];
        }
    }
    return get_exceptions(r, n, left, ret);
}
