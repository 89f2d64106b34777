/*
 * MetricsQL rollups that look only at the edges of the window, or at time stamps: a few nanoseconds
 * per point, whatever the window. Definitions: VictoriaMetrics 1.150.
 */
#include "query/promql/rollup/rollup_priv.h"

#include "base/num.h"

static inline double last_value(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? r->values[w->hi - 1] : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_last, last_value)

static inline double first_value(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? r->values[w->lo] : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_first, first_value)

static inline double count_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? (double)(w->hi - w->lo) : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_count, count_of)

static inline double present_one(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? 1 : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_present, present_one)

static inline double absent_one(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? ksi_absent() : 1;
}
KSI_EACH_WINDOW(ksi_k_absent, absent_one)

static inline double first_time(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? ksi_seconds(r->times[w->lo]) : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_tfirst, first_time)

static inline double last_time(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo ? ksi_seconds(r->times[w->hi - 1]) : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_tlast, last_time)

static inline double lag_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi > w->lo)
        return ksi_seconds(w->end - r->times[w->hi - 1]);
    return isnan(w->prev) ? ksi_absent() : ksi_seconds(w->end - w->prev_ts);
}
KSI_EACH_WINDOW(ksi_k_lag, lag_of)

static inline double lifetime_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t len = w->hi - w->lo;
    if (isnan(w->prev))
        return len < 2 ? ksi_absent() : ksi_seconds(r->times[w->hi - 1] - r->times[w->lo]);
    return len == 0 ? ksi_absent() : ksi_seconds(r->times[w->hi - 1] - w->prev_ts);
}
KSI_EACH_WINDOW(ksi_k_lifetime, lifetime_of)

static inline double mean_interval(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t len = w->hi - w->lo;
    if (isnan(w->prev))
        return len < 2 ? ksi_absent()
                       : ksi_seconds(r->times[w->hi - 1] - r->times[w->lo]) / (double)(len - 1);
    return len == 0 ? ksi_absent() : ksi_seconds(r->times[w->hi - 1] - w->prev_ts) / (double)len;
}
KSI_EACH_WINDOW(ksi_k_scrape_interval, mean_interval)

/* When the last value of the window was first seen in its present run; nothing if the run is older
 * than the window. */
ks_err ksi_k_tlast_change(struct ksi_rollup *r, double *out)
{
    uint32_t *since = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *since);
    if (!since)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++)
        since[i] = i && r->values[i] == r->values[i - 1] ? since[i - 1] : i;
    for (uint32_t k = 0; k < r->points; k++) {
        struct ksi_window w = ksi_window_at(r, k);
        out[k] = ksi_absent();
        if (w.hi == w.lo)
            continue;
        uint32_t at = since[w.hi - 1];
        if (at > w.lo)
            out[k] = ksi_seconds(r->times[at]);
        else if (isnan(w.prev) || w.prev != r->values[w.hi - 1])
            out[k] = ksi_seconds(r->times[w.lo]);
    }
    return KS_OK;
}

/* Seconds to whole milliseconds as the peer's processor converts: what does not fit becomes the
 * smallest integer. */
static int64_t to_ms(double seconds)
{
    double ms = seconds * 1000;
    return fabs(ms) < 9.2e18 ? (int64_t)ms : INT64_MIN;
}

/* Time covered by gaps no longer than the argument. */
ks_err ksi_k_duration(struct ksi_rollup *r, double *out)
{
    int64_t *sum = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *sum);
    if (!sum)
        return KS_ENOMEM;
    int64_t max_gap = 0;
    bool fresh = true;
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k];
        out[k] = ksi_absent();
        if (hi == lo)
            continue;
        int64_t gap_arg = to_ms(ksi_arg(r, 0, k));
        if (fresh || gap_arg != max_gap) {
            /* Covered time from here on; a constant argument passes once. */
            sum[lo] = 0;
            for (uint32_t i = lo + 1; i < r->n; i++) {
                int64_t gap = r->times[i] - r->times[i - 1];
                sum[i] = sum[i - 1] + (gap <= gap_arg ? gap : 0);
            }
            max_gap = gap_arg;
            fresh = false;
        }
        out[k] = ksi_seconds(sum[hi - 1] - sum[lo]);
    }
    return KS_OK;
}

ks_err ksi_k_stale_samples(struct ksi_rollup *r, double *out)
{
    uint32_t *stale = ksi_rollup_buf(r->scratch, KSI_BUF_A, (size_t)r->n + 1, sizeof *stale);
    if (!stale)
        return KS_ENOMEM;
    stale[0] = 0;
    for (uint32_t i = 0; i < r->n; i++)
        stale[i + 1] = stale[i] + ks_is_stale_nan(r->values[i]);
    for (uint32_t k = 0; k < r->points; k++)
        out[k] = r->hi[k] > r->lo[k] ? (double)(stale[r->hi[k]] - stale[r->lo[k]]) : ksi_absent();
    return KS_OK;
}

/*
 * Candles: the sample lying exactly on the window's start opens it, one lying exactly on its end
 * belongs to the next.
 */
static inline double candle_prev(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->prev_ts + r->window >= w->end ? w->prev : ksi_absent();
}

static inline uint32_t candle_hi(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi > w->lo && r->times[w->hi - 1] >= w->end ? w->hi - 1 : w->hi;
}

static inline double candle_open(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double prev = candle_prev(r, w);
    if (!isnan(prev))
        return prev;
    return candle_hi(r, w) > w->lo ? r->values[w->lo] : ksi_absent();
}
KSI_EACH_WINDOW(ksi_k_open, candle_open)

static inline double candle_close(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t hi = candle_hi(r, w);
    return hi > w->lo ? r->values[hi - 1] : candle_prev(r, w);
}
KSI_EACH_WINDOW(ksi_k_close, candle_close)

static inline double candle_high(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t i = w->lo, hi = candle_hi(r, w);
    double max = candle_prev(r, w);
    if (isnan(max) && i < hi)
        max = r->values[i++];
    for (; i < hi; i++)
        max = r->values[i] > max ? r->values[i] : max;
    return max;
}
KSI_EACH_WINDOW(ksi_k_high, candle_high)

static inline double candle_low(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t i = w->lo, hi = candle_hi(r, w);
    double min = candle_prev(r, w);
    if (isnan(min) && i < hi)
        min = r->values[i++];
    for (; i < hi; i++)
        min = r->values[i] < min ? r->values[i] : min;
    return min;
}
KSI_EACH_WINDOW(ksi_k_low, candle_low)
