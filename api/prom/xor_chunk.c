#include "api/prom/xor_chunk.h"

#include <pthread.h>

#include "base/bytes.h"

struct bits {
    uint8_t *p;
    unsigned free; /* in *p; 0 = the next byte is not begun */
};

static void put(struct bits *b, uint64_t v, unsigned count)
{
    while (count) {
        if (!b->free) {
            *++b->p = 0;
            b->free = 8;
        }
        unsigned n = count < b->free ? count : b->free;
        uint64_t part = v >> (count - n) & (((uint64_t)1 << n) - 1);
        b->free -= n;
        *b->p |= (uint8_t)(part << b->free);
        count -= n;
    }
}

static void put_varint(struct bits *b, uint64_t v)
{
    uint8_t tmp[KS_VARINT_MAX];
    size_t n = ks_varint_put(tmp, v);
    for (size_t i = 0; i < n; i++)
        put(b, tmp[i], 8);
}

static bool fits(int64_t v, unsigned bits)
{
    return v >= -((int64_t)1 << (bits - 1)) + 1 && v <= (int64_t)1 << (bits - 1);
}

static void put_time(struct bits *b, int64_t dod)
{
    static const struct {
        unsigned prefix, prefix_bits, bits;
    } sizes[] = {{2, 2, 14}, {6, 3, 17}, {14, 4, 20}};
    if (!dod) {
        put(b, 0, 1);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        if (fits(dod, sizes[i].bits)) {
            put(b, sizes[i].prefix, sizes[i].prefix_bits);
            put(b, (uint64_t)dod & (((uint64_t)1 << sizes[i].bits) - 1), sizes[i].bits);
            return;
        }
    put(b, 15, 4);
    put(b, (uint64_t)dod, 64);
}

struct window {
    unsigned leading, trailing;
    bool set;
};

static void put_value(struct bits *b, uint64_t x, struct window *w)
{
    if (!x) {
        put(b, 0, 1);
        return;
    }
    unsigned leading = (unsigned)__builtin_clzll(x), trailing = (unsigned)__builtin_ctzll(x);
    leading = leading > 31 ? 31 : leading;
    if (w->set && leading >= w->leading && trailing >= w->trailing) {
        put(b, 2, 2);
        put(b, x >> w->trailing, 64 - w->leading - w->trailing);
        return;
    }
    *w = (struct window){leading, trailing, true};
    unsigned significant = 64 - leading - trailing;
    put(b, 3, 2);
    put(b, leading, 5);
    put(b, significant & 63, 6);
    put(b, x >> trailing, significant);
}

size_t ks_xor_chunk_encode(const int64_t *times, const double *values, size_t n, uint8_t *out)
{
    struct bits b = {out + 1, 0};
    struct window w = {0};
    int64_t delta = 0;
    KS_ASSERT(n && n <= KS_XOR_CHUNK_SAMPLES);
    out[0] = (uint8_t)(n >> 8);
    out[1] = (uint8_t)n;
    put_varint(&b, ks_zigzag(times[0]));
    put(&b, ks_f64_bits(values[0]), 64);
    for (size_t i = 1; i < n; i++) {
        int64_t d = times[i] - times[i - 1];
        if (i == 1)
            put_varint(&b, (uint64_t)d);
        else
            put_time(&b, d - delta);
        delta = d;
        put_value(&b, ks_f64_bits(values[i]) ^ ks_f64_bits(values[i - 1]), &w);
    }
    return (size_t)(b.p - out) + 1;
}

static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        crc_table[i] = c;
    }
}

uint32_t ks_crc32c(struct ks_slice s)
{
    uint32_t c = ~0u;
    pthread_once(&crc_once, make_crc_table);
    for (size_t i = 0; i < s.len; i++)
        c = crc_table[(c ^ (uint8_t)s.ptr[i]) & 0xff] ^ c >> 8;
    return ~c;
}
