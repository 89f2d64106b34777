/* Randomness: the kernel's for secrets and ids, a seeded generator for tests and jitter. */
#ifndef KS_SYS_RAND_H
#define KS_SYS_RAND_H

#include <stddef.h>
#include <stdint.h>

void ks_random_bytes(void *out, size_t len); /* getrandom; cannot fail */
uint64_t ks_random_u64(void);

/* splitmix64: equal seeds give equal sequences. */
static inline uint64_t ks_rng_next(uint64_t *state)
{
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
static inline uint64_t ks_rng_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)ks_rng_next(state) * n) >> 64);
}
static inline double ks_rng_double(uint64_t *state)
{
    return (double)(ks_rng_next(state) >> 11) * 0x1p-53;
}

#endif
