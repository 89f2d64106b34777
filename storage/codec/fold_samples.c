#include "storage/codec/fold_samples.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"

/* Of two values at one time: the larger wins, a stale marker loses, a NaN loses to a number. */
static double winner(double a, double b)
{
    if (ks_is_stale_nan(a))
        return b;
    if (ks_is_stale_nan(b) || isnan(b))
        return a;
    return isnan(a) || b > a ? b : a;
}

struct pair {
    int64_t ts;
    double v;
};

static int by_ts(const void *a, const void *b)
{
    int64_t x = ((const struct pair *)a)->ts, y = ((const struct pair *)b)->ts;
    return (x > y) - (x < y);
}

ks_err ks_samples_fold(int64_t *times, double *values, size_t *count)
{
    size_t n = *count;
    bool ascending = true;
    for (size_t i = 1; i < n && ascending; i++)
        ascending = times[i - 1] < times[i];
    if (ascending)
        return KS_OK;
    struct pair *p = ks_alloc_array(n, sizeof *p);
    if (!p)
        return KS_ENOMEM;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pair){times[i], values[i]};
    qsort(p, n, sizeof *p, by_ts);
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (out && times[out - 1] == p[i].ts) {
            values[out - 1] = winner(values[out - 1], p[i].v);
        } else {
            times[out] = p[i].ts;
            values[out++] = p[i].v;
        }
    }
    ks_free(p);
    *count = out;
    return KS_OK;
}

size_t ks_samples_lower_bound(const int64_t *times, size_t count, int64_t t)
{
    size_t lo = 0, hi = count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (times[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t ks_samples_dedup(int64_t *times, double *values, size_t count, int64_t interval_ms)
{
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t slot = (times[i] + interval_ms - 1) / interval_ms;
        if (i + 1 < count && (times[i + 1] + interval_ms - 1) / interval_ms == slot)
            continue;
        times[out] = times[i];
        values[out++] = values[i];
    }
    return out;
}
