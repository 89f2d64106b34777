#include "storage/codec/fold_histograms.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

enum { FIT_COUNT = 256, FIT_BUCKETS = 64 << 10 };

static bool beats(const struct ks_histogram *a, const struct ks_histogram *b)
{
    bool stale_a = ks_histogram_is_stale(a), stale_b = ks_histogram_is_stale(b);
    double ca = ks_histogram_count_f64(a), cb = ks_histogram_count_f64(b);
    if (stale_a != stale_b)
        return stale_b;
    if (ca != cb && !(isnan(ca) && isnan(cb)))
        return isnan(cb) || ca > cb;
    return a->sum > b->sum || (isnan(b->sum) && !isnan(a->sum));
}

struct place {
    int64_t ts;
    size_t at;
};

static int by_time(const void *pa, const void *pb)
{
    const struct place *a = pa, *b = pb;
    if (a->ts != b->ts)
        return a->ts < b->ts ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

ks_err ks_histograms_fold(int64_t *times, struct ks_histogram *h, size_t *count)
{
    size_t n = *count, out = 0;
    bool ascending = true;
    for (size_t i = 1; i < n && ascending; i++)
        ascending = times[i - 1] < times[i];
    if (ascending)
        return KS_OK;
    struct place *p = ks_alloc_array(n, sizeof *p);
    struct ks_histogram *sorted = ks_alloc_array(n, sizeof *sorted);
    if (!p || !sorted) {
        ks_free(p);
        ks_free(sorted);
        return KS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (struct place){times[i], i};
    qsort(p, n, sizeof *p, by_time);
    for (size_t i = 0; i < n; i++) {
        const struct ks_histogram *x = &h[p[i].at];
        if (out && times[out - 1] == p[i].ts) {
            if (beats(x, &sorted[out - 1]))
                sorted[out - 1] = *x;
            continue;
        }
        times[out] = p[i].ts;
        sorted[out++] = *x;
    }
    for (size_t i = 0; i < out; i++)
        h[i] = sorted[i];
    *count = out;
    ks_free(p);
    ks_free(sorted);
    return KS_OK;
}

size_t ks_histograms_dedup(int64_t *times, struct ks_histogram *h, size_t count,
                           int64_t interval_ms)
{
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t slot = (times[i] + interval_ms - 1) / interval_ms;
        if (i + 1 < count && (times[i + 1] + interval_ms - 1) / interval_ms == slot)
            continue;
        times[out] = times[i];
        h[out++] = h[i];
    }
    return out;
}

size_t ks_histograms_fit(const struct ks_histogram *h, size_t n)
{
    size_t most = n < FIT_COUNT ? n : FIT_COUNT, weight = 0;
    for (size_t i = 0; i < most; i++) {
        weight += h[i].positive.bucket_count + h[i].negative.bucket_count + h[i].custom_count +
                  h[i].positive.span_count + h[i].negative.span_count;
        if (weight > FIT_BUCKETS)
            return i ? i : 1;
    }
    return most;
}
