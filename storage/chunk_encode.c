#include "storage/metric_data.h"

ks_err ks_chunk_encode(const int64_t *ts, const double *values, size_t n, struct ks_buf *out,
                       struct ks_chunk_meta *ret, size_t *ret_times_bytes)
{
    struct ks_chunk_meta m = {.min_ms = ts[0], .max_ms = ts[n - 1], .sample_count = (uint32_t)n};
    size_t start = out->len;
    KS_TRY(ks_times_encode(ts, n, out, &m.times_encoding));
    *ret_times_bytes = out->len - start;
    KS_TRY(ks_values_encode(values, n, out, &m.values_encoding));
    ks_chunk_aggregate(values, n, &m.agg);
    m.content_hash = ks_chunk_content_hash(
        m.sample_count, m.times_encoding, ks_slice(out->ptr + start, *ret_times_bytes),
        m.values_encoding,
        ks_slice(out->ptr + start + *ret_times_bytes, out->len - start - *ret_times_bytes));
    *ret = m;
    return KS_OK;
}

ks_err ks_histogram_chunk_encode(const int64_t *ts, const struct ks_histogram *h, size_t n,
                                 struct ks_arena *scratch, struct ks_buf *out,
                                 struct ks_chunk_meta *ret, size_t *ret_times_bytes)
{
    struct ks_chunk_meta m = {.min_ms = ts[0],
                              .max_ms = ts[n - 1],
                              .sample_count = (uint32_t)n,
                              .kind = KS_CHUNK_HISTOGRAM};
    size_t start = out->len;
    double *sums = ks_arena_array(scratch, n, sizeof *sums);
    if (!sums)
        return ks_arena_err(scratch);
    for (size_t i = 0; i < n; i++)
        sums[i] = h[i].sum;
    KS_TRY(ks_times_encode(ts, n, out, &m.times_encoding));
    *ret_times_bytes = out->len - start;
    KS_TRY(ks_histograms_encode(h, n, scratch, out));
    ks_chunk_aggregate(sums, n, &m.agg);
    struct ks_slice all = ks_slice_from(ks_buf_view(out), start);
    m.content_hash =
        ks_chunk_content_hash(m.sample_count, m.times_encoding, ks_slice(all.ptr, *ret_times_bytes),
                              m.values_encoding, ks_slice_from(all, *ret_times_bytes));
    *ret = m;
    return KS_OK;
}
