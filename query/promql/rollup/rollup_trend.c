/*
 * MetricsQL rollups that need every sample of the window: spread, product, integral, smoothing,
 * regression. Their definitions chain roundings from sample to sample, so windows are walked one by
 * one. Definitions: VictoriaMetrics 1.150.
 */
#include "query/promql/rollup/rollup_priv.h"

/*
 * Running mean and sum of squared deviations (Welford), four windows side by side: each window's
 * chain of divisions is slow, four are no slower.
 */
static void variances(const double *v, const uint32_t *lo, const uint32_t *hi, double ret[4])
{
    double mean[4] = {0}, q[4] = {0}, count = 0;
    uint32_t common = UINT32_MAX;
    for (int j = 0; j < 4; j++)
        common = hi[j] - lo[j] < common ? hi[j] - lo[j] : common;
    for (uint32_t i = 0; i < common; i++) {
        count++;
        for (int j = 0; j < 4; j++) {
            double x = v[lo[j] + i], next = mean[j] + (x - mean[j]) / count;
            q[j] += (x - mean[j]) * (x - next);
            mean[j] = next;
        }
    }
    for (int j = 0; j < 4; j++) {
        double n = count;
        for (uint32_t i = lo[j] + common; i < hi[j]; i++) {
            double x = v[i], next = mean[j] + (x - mean[j]) / ++n;
            q[j] += (x - mean[j]) * (x - next);
            mean[j] = next;
        }
        ret[j] = n == 0 ? ksi_absent() : n == 1 ? 0 : q[j] / n;
    }
}

ks_err ksi_k_stdvar(struct ksi_rollup *r, double *out)
{
    uint32_t k = 0;
    for (; k + 4 <= r->points; k += 4)
        variances(r->values, r->lo + k, r->hi + k, out + k);
    for (; k < r->points; k++) {
        uint32_t lo[4], hi[4];
        double one[4];
        for (int j = 0; j < 4; j++) {
            lo[j] = r->lo[k];
            hi[j] = r->hi[k];
        }
        variances(r->values, lo, hi, one);
        out[k] = one[0];
    }
    return KS_OK;
}

ks_err ksi_k_stddev(struct ksi_rollup *r, double *out)
{
    KS_TRY(ksi_k_stdvar(r, out));
    for (uint32_t k = 0; k < r->points; k++)
        if (r->hi[k] > r->lo[k])
            out[k] = sqrt(out[k]);
    return KS_OK;
}

/* How many standard deviations the last value is off; nothing when the series is later than it used
 * to be. */
ks_err ksi_k_zscore(struct ksi_rollup *r, double *out)
{
    double *avg = ksi_rollup_buf(r->scratch, KSI_BUF_C, r->points, sizeof *avg);
    double *interval = ksi_rollup_buf(r->scratch, KSI_BUF_OUT, r->points, sizeof *interval);
    if (!avg || !interval)
        return KS_ENOMEM;
    KS_TRY(ksi_k_scrape_interval(r, interval));
    KS_TRY(ksi_k_avg(r, avg));
    KS_TRY(ksi_k_stddev(r, out));
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t hi = r->hi[k];
        if (hi == r->lo[k])
            continue;
        double lag = ksi_seconds(r->end0 + (int64_t)k * r->step - r->times[hi - 1]);
        if (!(lag <= interval[k])) {
            out[k] = ksi_absent();
            continue;
        }
        double d = r->values[hi - 1] - avg[k];
        out[k] = d == 0 ? 0 : d / out[k];
    }
    return KS_OK;
}

static inline double geomean_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi == w->lo)
        return ksi_absent();
    double p = 1;
    for (uint32_t i = w->lo; i < w->hi; i++)
        p *= r->values[i];
    return pow(p, 1 / (double)(w->hi - w->lo));
}
KSI_EACH_WINDOW(ksi_k_geomean, geomean_of)

/* Σ v·Δt, each value holding until the next; the last one until the window's end only if the series
 * goes on after it. */
static inline double integral_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t i = w->lo;
    double value = w->prev, sum = 0;
    int64_t since = w->end - r->window;
    if (isnan(value)) {
        if (w->hi == w->lo)
            return ksi_absent();
        value = r->values[i];
        since = r->times[i++];
    }
    for (; i < w->hi; i++) {
        sum += value * ksi_seconds(r->times[i] - since);
        since = r->times[i];
        value = r->values[i];
    }
    if (w->hi < r->n && !isnan(r->values[w->hi]))
        sum += value * ksi_seconds(w->end - since);
    return sum;
}
KSI_EACH_WINDOW(ksi_k_integrate, integral_of)

static inline double smoothed(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double sf = ksi_arg(r, 0, w->k), tf = ksi_arg(r, 1, w->k);
    if (w->hi == w->lo || sf < 0 || sf > 1 || tf < 0 || tf > 1)
        return ksi_absent();
    uint32_t i = w->lo;
    double level = w->prev;
    if (isnan(level)) {
        level = r->values[i++];
        if (i == w->hi)
            return level;
    }
    double trend = r->values[i] - level;
    for (; i < w->hi; i++) {
        double next = sf * r->values[i] + (1 - sf) * (level + trend);
        trend = tf * (next - level) + (1 - tf) * trend;
        level = next;
    }
    return level;
}
KSI_EACH_WINDOW(ksi_k_holt_winters, smoothed)

static bool all_equal(const double *v, uint32_t lo, uint32_t hi)
{
    for (uint32_t i = lo + 1; i < hi; i++)
        if (v[i] != v[i - 1])
            return false;
    return true;
}

/* Least squares line through the window's samples: its value at the window's end and its slope per
 * second. */
static inline void regression(const struct ksi_rollup *r, const struct ksi_window *w,
                              double *ret_value, double *ret_slope)
{
    *ret_value = *ret_slope = ksi_absent();
    if (w->hi == w->lo)
        return;
    if (all_equal(r->values, w->lo, w->hi)) {
        *ret_value = r->values[w->lo];
        *ret_slope = 0;
        return;
    }
    double n = (double)(w->hi - w->lo), sv = 0, st = 0, stv = 0, stt = 0, slope = 0;
    for (uint32_t i = w->lo; i < w->hi; i++) {
        double v = r->values[i], t = ksi_seconds(r->times[i] - w->end);
        sv += v;
        st += t;
        stv += t * v;
        stt += t * t;
    }
    double spread = stt - st * st / n;
    if (fabs(spread) >= 1e-6)
        slope = (stv - st * sv / n) / spread;
    *ret_value = sv / n - slope * st / n;
    *ret_slope = slope;
}

static inline double slope_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double value, slope;
    regression(r, w, &value, &slope);
    return slope;
}
KSI_EACH_WINDOW(ksi_k_deriv, slope_of)

static inline double predicted(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double value, slope;
    regression(r, w, &value, &slope);
    return isnan(value) ? ksi_absent() : value + slope * ksi_arg(r, 0, w->k);
}
KSI_EACH_WINDOW(ksi_k_predict_linear, predicted)
