#include "engine/write_batch.h"

#include <pthread.h>

#include "base/mem.h"
#include "sys/rand.h"

ks_err ks_write_batch_reserve(struct ks_write_batch *b, size_t more_series, size_t more_samples)
{
    KS_TRY(ks_array_reserve((void **)&b->series, &b->series_cap, b->series_count + more_series,
                            sizeof *b->series));
    return ks_array_reserve((void **)&b->samples, &b->sample_cap, b->sample_count + more_samples,
                            sizeof *b->samples);
}

void ks_write_batch_reset(struct ks_write_batch *b)
{
    b->series_count = b->sample_count = 0;
}

void ks_write_batch_done(struct ks_write_batch *b)
{
    ks_free(b->series);
    ks_free(b->samples);
    b->series = NULL;
    b->samples = NULL;
    b->series_count = b->series_cap = b->sample_count = b->sample_cap = 0;
}

static uint64_t secret;
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void)
{
    secret = ks_random_u64();
}

ks_hash128 ks_raw_key(struct ks_tenant tenant, struct ks_slice extra, struct ks_slice raw)
{
    pthread_once(&secret_once, make_secret);
    uint64_t seed = secret ^ ks_mix64(ks_tenant_key(tenant) + 1);
    if (extra.len)
        seed ^= ks_mix64(ks_hash64_seed(extra.ptr, extra.len, secret));
    return ks_hash128_of(raw.ptr, raw.len, seed);
}
