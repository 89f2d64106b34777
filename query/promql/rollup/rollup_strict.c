/*
 * Strict rollups, as Prometheus 3.5 defines them: only samples inside (t - range, t] count, rates
 * are extrapolated to the window, sums are compensated (Neumaier), NaN is a value like any other.
 */
#include "query/promql/rollup/rollup_priv.h"

#include "base/num.h"
#include "query/promql/kahan.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53 */

/* Go's Duration.Seconds(): whole seconds and the fraction rounded apart. */
static double go_seconds(int64_t ms)
{
    return (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
}

/* The bare selector: the last sample in the lookback, nothing if that is a stale marker. */
static inline double instant_value(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi == w->lo || ks_is_stale_nan(r->values[w->hi - 1]))
        return ksi_absent();
    return r->values[w->hi - 1];
}
static KSI_EACH_WINDOW(k_instant, instant_value)

    static inline double instant_time(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi == w->lo || ks_is_stale_nan(r->values[w->hi - 1]))
        return ksi_absent();
    return ksi_seconds(r->times[w->hi - 1]);
}
static KSI_EACH_WINDOW(k_instant_time, instant_time)

    /*
     * Difference, last minus first plus what counter resets took away, stretched to the window's
     * ends where the first and last samples are about as near to them as samples are to each other,
     * else by half an interval; a counter is never stretched below zero.
     */
    static double extrapolated(const struct ksi_rollup *r, uint32_t k, double diff, bool counter,
                               bool per_second)
{
    uint32_t lo = r->lo[k], last = r->hi[k] - 1;
    int64_t end = r->end0 + (int64_t)k * r->step;
    double to_start = ksi_seconds(r->times[lo] - (end - r->window));
    double to_end = ksi_seconds(end - r->times[last]);
    double sampled = ksi_seconds(r->times[last] - r->times[lo]);
    uint32_t gaps = r->rank ? r->rank[last] - r->rank[lo] : last - lo;
    double mean_gap = sampled / (double)gaps, near = mean_gap * 1.1;
    if (to_start >= near)
        to_start = mean_gap / 2;
    if (counter && diff > 0 && r->values[lo] >= 0) {
        double to_zero = sampled * (r->values[lo] / diff);
        if (to_zero < to_start)
            to_start = to_zero;
    }
    double covered = sampled + to_start;
    if (to_end >= near)
        to_end = mean_gap / 2;
    covered += to_end;
    double factor = covered / sampled;
    if (per_second)
        factor /= go_seconds(r->window);
    return diff * factor;
}

/* Where the counter falls, as ascending sample numbers; NULL on failure. */
static uint32_t *find_resets(struct ksi_rollup *r, uint32_t *ret_count)
{
    uint32_t *at = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *at), count = 0;
    if (!at)
        return NULL;
    for (uint32_t i = 1; i < r->n; i++) {
        at[count] = i;
        count += r->values[i] < r->values[i - 1];
    }
    *ret_count = count;
    return at;
}

static ks_err extrapolate_all(struct ksi_rollup *r, bool counter, bool per_second, double *out)
{
    uint32_t resets = 0, first = 0, *at = NULL;
    if (counter) {
        at = find_resets(r, &resets);
        if (!at)
            return KS_ENOMEM;
    }
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k];
        if (hi - lo < 2) {
            out[k] = ksi_absent();
            continue;
        }
        double diff = r->values[hi - 1] - r->values[lo];
        while (first < resets && at[first] <= lo)
            first++;
        for (uint32_t i = first; i < resets && at[i] < hi; i++)
            diff += r->values[at[i] - 1];
        out[k] = extrapolated(r, k, diff, counter, per_second);
    }
    return KS_OK;
}

static ks_err k_rate(struct ksi_rollup *r, double *out)
{
    return extrapolate_all(r, true, true, out);
}

static ks_err k_increase(struct ksi_rollup *r, double *out)
{
    return extrapolate_all(r, true, false, out);
}

static ks_err k_delta(struct ksi_rollup *r, double *out)
{
    return extrapolate_all(r, false, false, out);
}

static inline double irate_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi - w->lo < 2)
        return ksi_absent();
    uint32_t i = w->hi - 1;
    double d = r->values[i] < r->values[i - 1] ? r->values[i] : r->values[i] - r->values[i - 1];
    return d / ksi_seconds(r->times[i] - r->times[i - 1]);
}
static KSI_EACH_WINDOW(k_irate, irate_of)

    static inline double idelta_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi - w->lo < 2 ? ksi_absent() : r->values[w->hi - 1] - r->values[w->hi - 2];
}
static KSI_EACH_WINDOW(k_idelta, idelta_of)

    /* Steps between neighbours in the window: differences of totals are exact here. */
    static ks_err count_neighbours(struct ksi_rollup *r, bool falls_only, double *out)
{
    uint32_t *total = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *total), steps = 0;
    if (!total)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        double v = r->values[i], prev = i ? r->values[i - 1] : v;
        steps += falls_only ? v < prev : v != prev && !(isnan(v) && isnan(prev));
        total[i] = steps;
    }
    for (uint32_t k = 0; k < r->points; k++)
        out[k] =
            r->hi[k] > r->lo[k] ? (double)(total[r->hi[k] - 1] - total[r->lo[k]]) : ksi_absent();
    return KS_OK;
}

static ks_err k_changes(struct ksi_rollup *r, double *out)
{
    return count_neighbours(r, false, out);
}

static ks_err k_resets(struct ksi_rollup *r, double *out)
{
    return count_neighbours(r, true, out);
}

/* For integers adding up to less than 2^53 compensation stays 0 and the plain sum is the sum. */
static bool sums_exact(const double *v, uint32_t n)
{
    double magnitude = 0;
    for (uint32_t i = 0; i < n; i++) {
        magnitude += fabs(v[i]);
        if (!(magnitude < EXACT_MAX) || (double)(int64_t)v[i] != v[i])
            return false;
    }
    return true;
}

static inline double kahan_sum(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double sum = 0, c = 0;
    if (w->hi == w->lo)
        return ksi_absent();
    for (uint32_t i = w->lo; i < w->hi; i++)
        ksi_kahan_add(r->values[i], &sum, &c);
    return isinf(sum) ? sum : sum + c;
}
static KSI_EACH_WINDOW(k_kahan_sum, kahan_sum)

    static ks_err k_sum(struct ksi_rollup *r, double *out)
{
    return sums_exact(r->values, r->n) ? ksi_k_sum(r, out) : k_kahan_sum(r, out);
}

static inline double kahan_mean(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi == w->lo ? ksi_absent() : ksi_kahan_mean(r->values + w->lo, w->hi - w->lo);
}
static KSI_EACH_WINDOW(k_kahan_mean, kahan_mean)

    static ks_err k_avg(struct ksi_rollup *r, double *out)
{
    return sums_exact(r->values, r->n) ? ksi_k_avg(r, out) : k_kahan_mean(r, out);
}

/* Smallest and largest skip NaN unless all are. pick is ksi_k_min or ksi_k_max where there is no
 * NaN. */
static ks_err extreme(struct ksi_rollup *r, bool max, bool times, double *out)
{
    if (!ksi_has_nan(r->values, r->n)) {
        if (times)
            return max ? ksi_k_tmax(r, out) : ksi_k_tmin(r, out);
        return max ? ksi_k_max(r, out) : ksi_k_min(r, out);
    }
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k], best = lo;
        for (uint32_t i = lo + 1; i < hi; i++) {
            double v = r->values[i], b = r->values[best];
            bool beyond = max ? v > b : v < b;
            if (beyond || (times && v == b) || isnan(b))
                best = i;
        }
        out[k] = hi == lo ? ksi_absent() : times ? ksi_seconds(r->times[best]) : r->values[best];
    }
    return KS_OK;
}

static ks_err k_min(struct ksi_rollup *r, double *out)
{
    return extreme(r, false, false, out);
}

static ks_err k_max(struct ksi_rollup *r, double *out)
{
    return extreme(r, true, false, out);
}

static ks_err k_ts_of_min(struct ksi_rollup *r, double *out)
{
    return extreme(r, false, true, out);
}

static ks_err k_ts_of_max(struct ksi_rollup *r, double *out)
{
    return extreme(r, true, true, out);
}

static inline double kahan_variance(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double count = 0, mean = 0, c_mean = 0, aux = 0, c_aux = 0;
    if (w->hi == w->lo)
        return ksi_absent();
    for (uint32_t i = w->lo; i < w->hi; i++) {
        double v = r->values[i], delta = v - (mean + c_mean);
        count++;
        ksi_kahan_add(delta / count, &mean, &c_mean);
        ksi_kahan_add(delta * (v - (mean + c_mean)), &aux, &c_aux);
    }
    return (aux + c_aux) / count;
}
static KSI_EACH_WINDOW(k_stdvar, kahan_variance)

    static inline double kahan_deviation(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi == w->lo ? ksi_absent() : sqrt(kahan_variance(r, w));
}
static KSI_EACH_WINDOW(k_stddev, kahan_deviation)

    /* Least squares line: slope per second and value at time `origin`. At least one sample. */
    static void regression(const struct ksi_rollup *r, const struct ksi_window *w, int64_t origin,
                           double *ret_slope, double *ret_value)
{
    const double *v = r->values;
    double x = 0, cx = 0, y = 0, cy = 0, xy = 0, cxy = 0, xx = 0, cxx = 0,
           n = (double)(w->hi - w->lo);
    bool constant = true;
    for (uint32_t i = w->lo; i < w->hi; i++) {
        double t = ksi_seconds(r->times[i] - origin);
        constant &= i == w->lo || v[i] == v[w->lo];
        ksi_kahan_add(t, &x, &cx);
        ksi_kahan_add(v[i], &y, &cy);
        ksi_kahan_add(t * v[i], &xy, &cxy);
        ksi_kahan_add(t * t, &xx, &cxx);
    }
    if (constant) {
        *ret_slope = isinf(v[w->lo]) ? NAN : 0;
        *ret_value = isinf(v[w->lo]) ? NAN : v[w->lo];
        return;
    }
    x += cx;
    y += cy;
    double cov = xy + cxy - x * y / n, var = xx + cxx - x * x / n;
    *ret_slope = cov / var;
    *ret_value = y / n - *ret_slope * x / n;
}

static inline double slope_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double slope, value;
    if (w->hi - w->lo < 2)
        return ksi_absent();
    regression(r, w, r->times[w->lo], &slope, &value);
    return slope;
}
static KSI_EACH_WINDOW(k_deriv, slope_of)

    /* The forecast starts at the point's own time, whatever offset its window has. */
    static inline double predicted(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double slope, value;
    if (w->hi - w->lo < 2)
        return ksi_absent();
    regression(r, w, w->end + r->cfg->offset_ms, &slope, &value);
    return slope * ksi_arg(r, 0, w->k) + value;
}
static KSI_EACH_WINDOW(k_predict_linear, predicted)

    static double smooth(const double *v, uint32_t n, double sf, double tf)
{
    double level = v[0], before = 0, trend = v[1] - v[0];
    for (uint32_t i = 1; i < n; i++) {
        double x = sf * v[i];
        if (i > 1)
            trend = tf * (level - before) + (1 - tf) * trend;
        double y = (1 - sf) * (level + trend);
        before = level;
        level = x + y;
    }
    return level;
}

/* A factor outside (0, 1) fails the query as soon as a window with samples meets it. */
static ks_err k_smoothing(struct ksi_rollup *r, double *out)
{
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k];
        double sf = ksi_arg(r, 0, k), tf = ksi_arg(r, 1, k);
        out[k] = ksi_absent();
        if (hi == lo)
            continue;
        if (sf <= 0 || sf >= 1)
            return ks_fail(KS_EEXEC, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
        if (tf <= 0 || tf >= 1)
            return ks_fail(KS_EEXEC, "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
        if (hi - lo >= 2)
            out[k] = smooth(r->values + lo, hi - lo, sf, tf);
    }
    return KS_OK;
}

ksi_rollup_kernel ksi_strict_kernel_of(enum ks_promql_func_id func)
{
    static const ksi_rollup_kernel kernels[KS_FN_COUNT] = {
        [KS_FN_ABSENT_OVER_TIME] = ksi_k_absent,
        [KS_FN_AVG_OVER_TIME] = k_avg,
        [KS_FN_CHANGES] = k_changes,
        [KS_FN_COUNT_OVER_TIME] = ksi_k_count,
        [KS_FN_DEFAULT_ROLLUP] = k_instant,
        [KS_FN_DELTA] = k_delta,
        [KS_FN_DERIV] = k_deriv,
        [KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING] = k_smoothing,
        [KS_FN_FIRST_OVER_TIME] = ksi_k_first,
        [KS_FN_IDELTA] = k_idelta,
        [KS_FN_INCREASE] = k_increase,
        [KS_FN_IRATE] = k_irate,
        [KS_FN_LAST_OVER_TIME] = ksi_k_last,
        [KS_FN_MAD_OVER_TIME] = ksi_k_mad,
        [KS_FN_MAX_OVER_TIME] = k_max,
        [KS_FN_MIN_OVER_TIME] = k_min,
        [KS_FN_PREDICT_LINEAR] = k_predict_linear,
        [KS_FN_PRESENT_OVER_TIME] = ksi_k_present,
        [KS_FN_QUANTILE_OVER_TIME] = ksi_k_quantile,
        [KS_FN_RATE] = k_rate,
        [KS_FN_RESETS] = k_resets,
        [KS_FN_STDDEV_OVER_TIME] = k_stddev,
        [KS_FN_STDVAR_OVER_TIME] = k_stdvar,
        [KS_FN_SUM_OVER_TIME] = k_sum,
        [KS_FN_TIMESTAMP] = k_instant_time,
        [KS_FN_TS_OF_FIRST_OVER_TIME] = ksi_k_tfirst,
        [KS_FN_TS_OF_LAST_OVER_TIME] = ksi_k_tlast,
        [KS_FN_TS_OF_MAX_OVER_TIME] = k_ts_of_max,
        [KS_FN_TS_OF_MIN_OVER_TIME] = k_ts_of_min,
    };
    return kernels[func];
}
