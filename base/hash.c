#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t ks_hash64(const void *p, size_t len)
{
    return XXH3_64bits(p, len);
}

uint64_t ks_hash64_seed(const void *p, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, len, seed);
}

ks_hash128 ks_hash128_of(const void *p, size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(p, len, seed);
    return (ks_hash128){h.low64, h.high64};
}
