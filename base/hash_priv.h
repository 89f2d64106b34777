/* The variants of the hash functions; results are equal on all of them. */
#ifndef KS_BASE_HASH_PRIV_H
#define KS_BASE_HASH_PRIV_H

#include "base/hash.h"

struct ksi_hash_ops {
    uint64_t (*hash64)(const void *p, size_t len);
    uint64_t (*hash64_seed)(const void *p, size_t len, uint64_t seed);
    ks_hash128 (*hash128_seed)(const void *p, size_t len, uint64_t seed);
    ks_hash128 (*hash128_secret)(const void *p, size_t len, const uint8_t *secret);
};
extern const struct ksi_hash_ops ksi_hash_baseline;
#if defined(__x86_64__)
extern const struct ksi_hash_ops ksi_hash_avx2; /* hash_avx2.c, built with -mavx2 */
#endif

#endif
