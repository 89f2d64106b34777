#include "base/hash.h"
#include "storage/metric_data.h"

ks_err ks_chunk_encode(const int64_t *ts, const double *values, size_t n, struct ks_buf *out, struct ks_chunk_meta *ret,
                        size_t *ret_times_bytes)
{
    struct ks_chunk_meta m = {.min_ms = ts[0], .max_ms = ts[n - 1], .sample_count = (uint32_t)n};
    size_t start = out->len;
    KS_TRY(ks_times_encode(ts, n, out, &m.times_encoding));
    *ret_times_bytes = out->len - start;
    KS_TRY(ks_values_encode(values, n, out, &m.values_encoding));
    ks_chunk_aggregate(values, n, &m.agg);
    uint64_t seed = (uint64_t)m.times_encoding << 8 | m.values_encoding | (uint64_t)*ret_times_bytes << 16;
    m.content_hash = ks_hash64_seed(out->ptr + start, out->len - start, seed);
    *ret = m;
    return KS_OK;
}
