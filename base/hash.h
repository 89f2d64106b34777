/* XXH3 for everything: 64 bits to detect damage and for tables, 128 bits for identity. */
#ifndef KS_BASE_HASH_H
#define KS_BASE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct {
    uint64_t lo, hi;
} ks_hash128;

uint64_t ks_hash64(const void *p, size_t len);
uint64_t ks_hash64_seed(const void *p, size_t len, uint64_t seed);
ks_hash128 ks_hash128_of(const void *p, size_t len, uint64_t seed);
/* Under a secret of random bytes: for keys that clients must not be able to make collide. The
 * quickest of all for ≥ 240 bytes. */
#define KS_HASH_SECRET_BYTES 192
ks_hash128 ks_hash128_keyed(const void *p, size_t len, const uint8_t secret[KS_HASH_SECRET_BYTES]);

/* The older XXH64, seed 0: where a peer's answer depends on it. */
uint64_t ks_xxh64(const void *p, size_t len);

static inline bool ks_hash128_eq(ks_hash128 a, ks_hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}
static inline int ks_hash128_cmp(ks_hash128 a, ks_hash128 b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return (a.lo > b.lo) - (a.lo < b.lo);
}
/* A cheap finaliser for integer keys (splitmix64's). */
static inline uint64_t ks_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
