#define KS_HASH_VARIANT ksi_hash_baseline
#include "base/hash_impl.h"

static const struct ksi_hash_ops *ops = &ksi_hash_baseline;

/* Before main(), so that no call needs to ask. */
__attribute__((constructor)) static void choose(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        ops = &ksi_hash_avx2;
#endif
}

uint64_t ks_hash64(const void *p, size_t len)
{
    return ops->hash64(p, len);
}

uint64_t ks_hash64_seed(const void *p, size_t len, uint64_t seed)
{
    return ops->hash64_seed(p, len, seed);
}

ks_hash128 ks_hash128_of(const void *p, size_t len, uint64_t seed)
{
    return ops->hash128_seed(p, len, seed);
}

ks_hash128 ks_hash128_keyed(const void *p, size_t len, const uint8_t secret[KS_HASH_SECRET_BYTES])
{
    return ops->hash128_secret(p, len, secret);
}

uint64_t ks_xxh64(const void *p, size_t len)
{
    return XXH64(p, len, 0);
}
