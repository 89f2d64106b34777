#include "engine/write_batch.h"

#include "base/mem.h"
#include "sys/rand.h"

ks_err ks_write_batch_reserve(struct ks_write_batch *b, size_t more_series, size_t more_samples)
{
    KS_TRY(ks_array_reserve((void **)&b->series, &b->series_cap, b->series_count + more_series,
                            sizeof *b->series));
    return ks_array_reserve((void **)&b->samples, &b->sample_cap, b->sample_count + more_samples,
                            sizeof *b->samples);
}

ks_err ks_write_batch_histogram(struct ks_write_batch *b, int64_t time_ms,
                                const struct ks_histogram *h)
{
    KS_TRY(ks_array_reserve((void **)&b->histograms, &b->histogram_cap, b->histogram_count + 1,
                            sizeof *b->histograms));
    b->histograms[b->histogram_count++] =
        (struct ks_write_histogram){(uint32_t)(b->series_count - 1), time_ms, *h};
    return KS_OK;
}

void ks_write_batch_reset(struct ks_write_batch *b)
{
    b->series_count = b->sample_count = b->histogram_count = 0;
}

void ks_write_batch_done(struct ks_write_batch *b)
{
    ks_free(b->series);
    ks_free(b->samples);
    ks_free(b->histograms);
    b->series = NULL;
    b->samples = NULL;
    b->histograms = NULL;
    b->series_count = b->series_cap = b->sample_count = b->sample_cap = 0;
    b->histogram_count = b->histogram_cap = 0;
}

static uint8_t secret[KS_HASH_SECRET_BYTES];
static uint64_t salt;

/* Before main(): the hot path asks nothing. */
__attribute__((constructor)) static void make_secret(void)
{
    ks_random_bytes(secret, sizeof secret);
    salt = ks_random_u64();
}

ks_hash128 ks_raw_key(struct ks_tenant tenant, struct ks_slice extra, struct ks_slice raw)
{
    ks_hash128 h = ks_hash128_keyed(raw.ptr, raw.len, secret);
    uint64_t where = ks_tenant_key(tenant);
    if (extra.len)
        where ^= ks_hash64_seed(extra.ptr, extra.len, salt);
    /* An unkeyed mix of a secret sum: two places differ by an unknown amount in both halves. */
    h.lo ^= ks_mix64(where + salt);
    h.hi ^= ks_mix64(where - salt);
    return h;
}
