#include "storage/codec/fold_samples.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

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

/* Merges the ascending runs from[0..mid) and from[mid..n) into `to`; of equal times those of the
 * first come first. */
static void merge_runs(const struct pair *from, size_t mid, size_t n, struct pair *to)
{
    size_t a = 0, b = mid;
    while (a < mid && b < n)
        *to++ = from[b].ts < from[a].ts ? from[b++] : from[a++];
    memcpy(to, from + a, (mid - a) * sizeof *to);
    memcpy(to + (mid - a), from + b, (n - b) * sizeof *to);
}

/*
 * Sorts by time, stable, n × log2(runs): what overlaps is a few chunks, each ascending. p has n
 * pairs and as many of scratch behind them; returns where the sorted ones are.
 */
static struct pair *sort_runs(struct pair *p, size_t n)
{
    struct pair *from = p, *to = p + n;
    for (;;) {
        size_t start = 0, runs = 0;
        while (start < n) {
            size_t mid = start + 1, end;
            while (mid < n && from[mid - 1].ts <= from[mid].ts)
                mid++;
            for (end = mid + (mid < n); end < n && from[end - 1].ts <= from[end].ts;)
                end++;
            if (start == 0 && mid == n)
                return from;
            merge_runs(from + start, mid - start, end - start, to + start);
            start = end;
            runs++;
        }
        struct pair *swap = from;
        from = to;
        to = swap;
        if (runs == 1)
            return from;
    }
}

ks_err ks_samples_fold(int64_t *times, double *values, size_t *count)
{
    size_t n = *count;
    bool ascending = true;
    for (size_t i = 1; i < n && ascending; i++)
        ascending = times[i - 1] < times[i];
    if (ascending)
        return KS_OK;
    struct pair *room = ks_alloc_array(n, 2 * sizeof *room), *p;
    if (!room)
        return KS_ENOMEM;
    for (size_t i = 0; i < n; i++)
        room[i] = (struct pair){times[i], values[i]};
    p = sort_runs(room, n);
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (out && times[out - 1] == p[i].ts) {
            values[out - 1] = winner(values[out - 1], p[i].v);
        } else {
            times[out] = p[i].ts;
            values[out++] = p[i].v;
        }
    }
    ks_free(room);
    *count = out;
    return KS_OK;
}

ks_err ks_samples_insert(int64_t *times, double *values, size_t sorted, size_t *count)
{
    enum { FEW = 16 };
    size_t total = *count, n = sorted;
    if (total - sorted > FEW)
        return ks_samples_fold(times, values, count);
    for (size_t i = sorted; i < total; i++) {
        int64_t t = times[i];
        double v = values[i];
        size_t at = n;
        while (at && times[at - 1] > t)
            at--;
        if (at && times[at - 1] == t) {
            values[at - 1] = winner(values[at - 1], v);
            continue;
        }
        memmove(times + at + 1, times + at, (n - at) * sizeof *times);
        memmove(values + at + 1, values + at, (n - at) * sizeof *values);
        times[at] = t;
        values[at] = v;
        n++;
    }
    *count = n;
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
