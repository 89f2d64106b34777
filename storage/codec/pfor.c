/*
 * PFOR columns (pack_priv.h; docs/format/chunk.md, "Packed integers"). Planning is exact: the width
 * with the fewest bytes, for the best of two bases (the minimum, and the minimum without low
 * outliers such as counter resets).
 */
#include <string.h>

#include "storage/codec/bits_priv.h"
#include "storage/codec/chunk.h"
#include "storage/codec/pack_priv.h"

#define EXTENDED     0x80 /* of the first header byte, above the width */
#define EXT_PATCHES  0x40 /* of the second, above the shift */
#define EXT_FLAG     0x80
#define SAMPLE_COUNT 16
#define PATCH_SIGNED 0x80 /* of the patches' width byte: zigzag(hi), else hi - 1 */

/* How many r need how many bits; negatives apart. */
struct widths {
    uint32_t count[65];
    uint32_t negatives;
    unsigned widest, widest_negative; /* bits of the largest r, of the largest ~r */
};

static void measure(const int64_t *x, size_t n, int64_t base, unsigned shift, struct widths *ret)
{
    uint16_t hist[4][65]; /* four, so that equal neighbours do not wait for each other */
    uint64_t pos = 0, neg = 0;
    uint32_t negatives = 0;
    memset(hist, 0, sizeof hist);
    for (size_t i = 0; i < n; i++) {
        int64_t r = (int64_t)((uint64_t)x[i] - (uint64_t)base) >> shift;
        int64_t sign = r >> 63;
        uint64_t u = (uint64_t)(r ^ sign);
        negatives += (uint32_t)(sign & 1);
        neg |= u & (uint64_t)sign;
        pos |= u & ~(uint64_t)sign;
        unsigned width = 63 - (unsigned)__builtin_clzll(u << 1 | 1); /* u < 2^63; 0 for 0 */
        hist[i & 3][sign ? 64 : width]++;
    }
    for (unsigned b = 0; b <= 64; b++)
        ret->count[b] = (uint32_t)hist[0][b] + hist[1][b] + hist[2][b] + hist[3][b];
    ret->negatives = negatives;
    ret->count[64] = 0;
    ret->widest = ksi_bit_width(pos);
    ret->widest_negative = ksi_bit_width(neg);
}

static unsigned patch_width(const struct widths *m, unsigned w)
{
    unsigned p = m->widest > w ? m->widest - w : 0;
    unsigned q = m->widest_negative > w ? m->widest_negative - w : 0;
    return m->negatives ? (p > q ? p : q) + 1 : p == 1 ? 0 : p; /* of hi - 1: 0 when all hi are 1 */
}

static size_t patches_bytes(size_t n, size_t patches, unsigned width)
{
    unsigned pos_bits = ksi_bit_width(n - 1);
    return ksi_varint_bytes(patches) + 1 + ksi_packed_bytes(patches, pos_bits) +
           ksi_packed_bytes(patches, width);
}

/* The cheapest width for one base, if cheaper than *best. */
static void try_base(const int64_t *x, size_t n, int64_t base, unsigned shift,
                     struct ksi_pfor *best)
{
    struct widths m;
    measure(x, n, base, shift, &m);
    size_t head = 1 + ksi_zigzag_bytes(base), patches = m.negatives;
    if (patches > n / 4 + 1)
        return;
    for (unsigned w = m.widest + 1; w-- > 0;) {
        size_t bytes = head + ksi_packed_bytes(n, w) + (shift || patches);
        unsigned pw = 0;
        if (patches) {
            pw = patch_width(&m, w);
            bytes += patches_bytes(n, patches, pw);
        }
        if (bytes < best->bytes)
            *best = (struct ksi_pfor){.base = base,
                                      .width = (uint8_t)w,
                                      .shift = (uint8_t)shift,
                                      .patch_width = (uint8_t)pw,
                                      .patch_signed = m.negatives != 0,
                                      .patches = (uint16_t)patches,
                                      .bytes = bytes};
        patches += m.count[w];
        if (patches > n / 4 + 1)
            break; /* ever more patches: never cheaper again */
    }
}

void ksi_pfor_sample(const int64_t *x, size_t n, struct ksi_sample *ret)
{
    int64_t s[SAMPLE_COUNT];
    size_t m = n < SAMPLE_COUNT ? n : SAMPLE_COUNT;
    for (size_t i = 0; i < m; i++) {
        int64_t v = x[i * n / m];
        size_t j = i;
        for (; j && s[j - 1] > v; j--)
            s[j] = s[j - 1];
        s[j] = v;
    }
    int64_t lo = s[m / 4], hi = s[m - 1 - m / 4];
    uint64_t spread = (uint64_t)hi - (uint64_t)lo;
    ret->width = ksi_bit_width(spread);
    ret->floor = INT64_MIN;
    if (spread < INT64_MAX / 4 && lo > INT64_MIN / 2)
        ret->floor = lo - 2 * (int64_t)spread - 2;
}

/* Minimum, maximum, and which bits differ at all. */
KS_CLONES static void scan(const int64_t *x, size_t n, int64_t *ret_min, int64_t *ret_max,
                           uint64_t *ret_diff)
{
    int64_t min = x[0], max = x[0];
    uint64_t diff = 0, first = (uint64_t)x[0];
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        diff |= (uint64_t)x[i] ^ first;
    }
    *ret_min = min;
    *ret_max = max;
    *ret_diff = diff;
}

KS_CLONES static int64_t min_from(const int64_t *x, size_t n, int64_t floor, int64_t max)
{
    int64_t min = max;
    for (size_t i = 0; i < n; i++) {
        int64_t v = x[i] >= floor ? x[i] : max;
        min = v < min ? v : min;
    }
    return min;
}

void ksi_pfor_plan(const int64_t *x, size_t n, const struct ksi_sample *sample,
                   struct ksi_pfor *ret)
{
    int64_t min, max;
    uint64_t diff;
    scan(x, n, &min, &max, &diff);
    *ret = (struct ksi_pfor){.base = min, .bytes = 1 + ksi_zigzag_bytes(min)};
    if (diff == 0)
        return;
    unsigned shift = (unsigned)__builtin_ctzll(diff);
    uint64_t range = (uint64_t)max - (uint64_t)min;
    if (range >> 63) { /* as signed numbers some r are negative: start from plain 64 bits */
        ret->width = 64;
        ret->bytes += n * 8;
    } else {
        ret->bytes = SIZE_MAX;
    }
    try_base(x, n, min, shift, ret);
    if (range >> shift > 3 && min < sample->floor)
        try_base(x, n, min_from(x, n, sample->floor, max), shift, ret);
}

size_t ksi_pfor_flagged_bytes(const struct ksi_pfor *p)
{
    return p->bytes + !(p->shift || p->patches);
}

static void put_patches(const int64_t *r, size_t n, const struct ksi_pfor *p, uint8_t *at)
{
    uint64_t pos[KS_CHUNK_SAMPLES_MAX / 4 + 2], rest[KS_CHUNK_SAMPLES_MAX / 4 + 2];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t hi = r[i] >> p->width;
        if (hi) {
            KS_ASSERT(k < p->patches);
            pos[k] = i;
            rest[k++] = p->patch_signed ? ks_zigzag(hi) : (uint64_t)hi - 1;
        }
    }
    KS_ASSERT(k == p->patches);
    at += ks_varint_put(at, k);
    *at++ = (uint8_t)(p->patch_width | (p->patch_signed ? PATCH_SIGNED : 0));
    at = ksi_pack(at, pos, k, ksi_bit_width(n - 1));
    ksi_pack(at, rest, k, p->patch_width);
}

void ksi_pfor_put(int64_t *x, size_t n, const struct ksi_pfor *p, struct ks_buf *out)
{
    size_t bytes = p->flag ? ksi_pfor_flagged_bytes(p) : p->bytes;
    if (!ks_buf_reserve(out, bytes + KSI_PACK_SLACK))
        return;
    uint8_t *start = (uint8_t *)out->ptr + out->len, *at = start;
    bool extended = p->shift || p->patches || p->flag;
    *at++ = (uint8_t)(p->width | (extended ? EXTENDED : 0));
    if (extended)
        *at++ = (uint8_t)(p->shift | (p->patches ? EXT_PATCHES : 0) | (p->flag ? EXT_FLAG : 0));
    at += ks_varint_put(at, ks_zigzag(p->base));
    for (size_t i = 0; i < n; i++)
        x[i] = (int64_t)((uint64_t)x[i] - (uint64_t)p->base) >> p->shift;
    at = ksi_pack(at, (const uint64_t *)x, n, p->width);
    if (p->patches)
        put_patches(x, n, p, at);
    out->len += bytes;
}

/* Adds the patches to unpacked low bits. Positions and rests are unpacked a block at a time: 128 of
 * any width fill whole bytes. */
static bool get_patches(struct ks_reader *r, size_t n, unsigned width, uint64_t *v)
{
    enum { BLOCK = 128 };
    uint64_t count = ks_read_varint(r), pos[BLOCK], rest[BLOCK];
    unsigned patch = ks_read_u8(r), pos_bits = ksi_bit_width(n - 1);
    bool is_signed = patch & PATCH_SIGNED;
    patch &= ~(unsigned)PATCH_SIGNED;
    if (count == 0 || count > n || patch > 64 || width >= 64)
        return false;
    const uint8_t *at = (const uint8_t *)ks_read_bytes(r, ksi_packed_bytes(count, pos_bits)).ptr;
    const uint8_t *from = (const uint8_t *)ks_read_bytes(r, ksi_packed_bytes(count, patch)).ptr;
    if (r->bad)
        return false;
    size_t next = 0;
    for (size_t k = 0; k < count; k += BLOCK) {
        size_t m = count - k < BLOCK ? count - k : BLOCK;
        ksi_unpack(at + k / 8 * pos_bits, m, pos_bits, pos);
        ksi_unpack(from + k / 8 * patch, m, patch, rest);
        for (size_t j = 0; j < m; j++) {
            if (pos[j] < next || pos[j] >= n)
                return false;
            v[pos[j]] |= (is_signed ? (uint64_t)ks_unzigzag(rest[j]) : rest[j] + 1) << width;
            next = pos[j] + 1;
        }
    }
    return true;
}

KS_CLONES static void place(uint64_t *v, size_t n, unsigned shift, uint64_t base)
{
    for (size_t i = 0; i < n; i++)
        v[i] = (v[i] << shift) + base;
}

KS_CLONES static void add_base(uint64_t *v, size_t n, uint64_t base)
{
    for (size_t i = 0; i < n; i++)
        v[i] += base;
}

bool ksi_pfor_get_raw(struct ks_reader *r, size_t n, int64_t *ret, uint64_t *ret_base,
                      unsigned *ret_shift, bool *ret_flag)
{
    unsigned width = ks_read_u8(r), ext = 0;
    if (width & EXTENDED) {
        width &= ~(unsigned)EXTENDED;
        ext = ks_read_u8(r);
    }
    *ret_base = (uint64_t)ks_read_zigzag(r);
    *ret_shift = ext & 63;
    if (width > 64 || (ext & EXT_FLAG && !ret_flag))
        return false;
    struct ks_slice packed = ks_read_bytes(r, ksi_packed_bytes(n, width));
    if (r->bad)
        return false;
    ksi_unpack((const uint8_t *)packed.ptr, n, width, (uint64_t *)ret);
    if (ext & EXT_PATCHES && !get_patches(r, n, width, (uint64_t *)ret))
        return false;
    if (ret_flag)
        *ret_flag = ext & EXT_FLAG;
    return true;
}

bool ksi_pfor_get(struct ks_reader *r, size_t n, int64_t *ret, bool *ret_flag)
{
    uint64_t base;
    unsigned shift;
    if (!ksi_pfor_get_raw(r, n, ret, &base, &shift, ret_flag))
        return false;
    if (shift)
        place((uint64_t *)ret, n, shift, base);
    else if (base)
        add_base((uint64_t *)ret, n, base);
    return true;
}
