/* The hash functions for one instruction set: included once per variant, which defines
 * KS_HASH_VARIANT. Not for other use. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash_priv.h"

static uint64_t hash64(const void *p, size_t len)
{
    return XXH3_64bits(p, len);
}

static uint64_t hash64_seed(const void *p, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, len, seed);
}

static ks_hash128 hash128_seed(const void *p, size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(p, len, seed);
    return (ks_hash128){h.low64, h.high64};
}

static ks_hash128 hash128_secret(const void *p, size_t len, const uint8_t *secret)
{
    XXH128_hash_t h = XXH3_128bits_withSecret(p, len, secret, KS_HASH_SECRET_BYTES);
    return (ks_hash128){h.low64, h.high64};
}

const struct ksi_hash_ops KS_HASH_VARIANT = {hash64, hash64_seed, hash128_seed, hash128_secret};
