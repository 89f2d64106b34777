/*
 * The rollup functions by their plain definitions: for each point collect the window, compute,
 * forget. Slow and simple; what the real ones are compared with.
 */
#ifndef TESTS_UNIT_QUERY_NAIVE_ROLLUP_H
#define TESTS_UNIT_QUERY_NAIVE_ROLLUP_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/num.h"
#include "query/promql/promql.h"
#include "query/promql/rollup/rollup.h"

#define NAIVE_MAX 16384

/* One window as a function sees it. */
struct view {
    const double *v;
    const int64_t *t;
    size_t n;
    double prev, real_prev, next;
    int64_t prev_t, now, window, shown; /* shown: the point's own time */
    double a0, a1;
};

static double hole(void)
{
    return ks_f64_from_bits(KS_ABSENT_BITS);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return (isnan(y) != 0) - (isnan(x) != 0); /* NaN first */
    return (x > y) - (x < y);
}

static double naive_quantile(double phi, const double *v, size_t n, bool drop_nan)
{
    static double s[NAIVE_MAX];
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (!drop_nan || !isnan(v[i]))
            s[m++] = v[i];
    if (m == 0 || isnan(phi))
        return NAN;
    if (phi < 0)
        return -INFINITY;
    if (phi > 1)
        return INFINITY;
    qsort(s, m, sizeof *s, by_value);
    double rank = phi * ((double)m - 1), lower = fmax(0, floor(rank)),
           upper = fmin((double)m - 1, lower + 1);
    double weight = rank - floor(rank);
    return s[(size_t)lower] * (1 - weight) + s[(size_t)upper] * weight;
}

static double naive_mad(const double *v, size_t n, bool drop_nan)
{
    static double d[NAIVE_MAX];
    double median = naive_quantile(0.5, v, n, drop_nan);
    for (size_t i = 0; i < n; i++)
        d[i] = fabs(v[i] - median);
    return naive_quantile(0.5, d, n, drop_nan);
}

static double naive_sum(const struct view *w)
{
    double s = 0;
    for (size_t i = 0; i < w->n; i++)
        s += w->v[i];
    return s;
}

static double naive_best(const struct view *w, int sign)
{
    double best = w->v[0];
    for (size_t i = 0; i < w->n; i++)
        if (sign > 0 ? w->v[i] > best : w->v[i] < best)
            best = w->v[i];
    return best;
}

static double naive_best_time(const struct view *w, int sign)
{
    double best = w->v[0];
    int64_t at = w->t[0];
    for (size_t i = 0; i < w->n; i++)
        if (sign > 0 ? w->v[i] >= best : w->v[i] <= best) {
            best = w->v[i];
            at = w->t[i];
        }
    return (double)at / 1e3;
}

static double naive_stdvar(const struct view *w)
{
    double avg = 0, count = 0, q = 0;
    if (w->n == 1)
        return 0;
    for (size_t i = 0; i < w->n; i++) {
        count++;
        double next = avg + (w->v[i] - avg) / count;
        q += (w->v[i] - avg) * (w->v[i] - next);
        avg = next;
    }
    return q / count;
}

static bool tiny(double v, double prev)
{
    return fabs(v - prev) < 1e-12 * fabs(v);
}

/* Steps that satisfy the sign (0: any), from prev on. */
static double naive_steps(const double *v, size_t n, double prev, int sign)
{
    int steps = 0;
    for (size_t i = 0; i < n; i++) {
        bool hit = sign == 0 ? v[i] != prev : sign > 0 ? v[i] > prev : v[i] < prev;
        if (hit && tiny(v[i], prev))
            continue;
        steps += hit;
        prev = v[i];
    }
    return steps;
}

static double naive_delta(const struct view *w)
{
    double prev = w->prev;
    size_t from = 0;
    if (isnan(prev)) {
        if (w->n == 0)
            return NAN;
        if (!isnan(w->real_prev))
            return w->v[w->n - 1] - w->real_prev;
        double d = 0;
        if (w->n > 1)
            d = w->v[1] - w->v[0];
        else if (!isnan(w->next))
            d = w->next - w->v[0];
        if (fabs(w->v[0]) < 10 * (fabs(d) + 1)) {
            prev = 0;
        } else {
            prev = w->v[0];
            from = 1;
        }
    }
    return from == w->n ? 0 : w->v[w->n - 1] - prev;
}

static double naive_rate(const struct view *w)
{
    if (isnan(w->prev)) {
        if (w->n < 2)
            return NAN;
        return (w->v[w->n - 1] - w->v[0]) / ((double)(w->t[w->n - 1] - w->t[0]) / 1e3);
    }
    return w->n == 0 ? 0
                     : (w->v[w->n - 1] - w->prev) / ((double)(w->t[w->n - 1] - w->prev_t) / 1e3);
}

static double naive_ideriv(const struct view *w)
{
    if (w->n == 0 || (w->n == 1 && isnan(w->prev)))
        return NAN;
    double v0 = w->n > 1 ? w->v[w->n - 2] : w->prev;
    int64_t t0 = w->n > 1 ? w->t[w->n - 2] : w->prev_t;
    return (w->v[w->n - 1] - v0) / ((double)(w->t[w->n - 1] - t0) / 1e3);
}

static double naive_scrape_interval(const struct view *w)
{
    if (isnan(w->prev))
        return w->n < 2 ? NAN : (double)(w->t[w->n - 1] - w->t[0]) / 1e3 / (double)(w->n - 1);
    return w->n < 1 ? NAN : (double)(w->t[w->n - 1] - w->prev_t) / 1e3 / (double)w->n;
}

static double naive_integrate(const struct view *w)
{
    double prev = w->prev, sum = 0;
    int64_t t = w->now - w->window;
    size_t i = 0;
    if (isnan(prev)) {
        if (w->n == 0)
            return NAN;
        prev = w->v[0];
        t = w->t[0];
        i = 1;
    }
    for (; i < w->n; i++) {
        sum += prev * ((double)(w->t[i] - t) / 1e3);
        t = w->t[i];
        prev = w->v[i];
    }
    if (!isnan(w->next))
        sum += prev * ((double)(w->now - t) / 1e3);
    return sum;
}

static void naive_line(const struct view *w, double *value, double *slope)
{
    bool same = true;
    *value = *slope = NAN;
    if (w->n == 0)
        return;
    for (size_t i = 0; i < w->n; i++)
        same &= w->v[i] == w->v[0];
    if (same) {
        *value = w->v[0];
        *slope = 0;
        return;
    }
    double vs = 0, ts = 0, tvs = 0, tts = 0, n = (double)w->n, k = 0;
    for (size_t i = 0; i < w->n; i++) {
        double dt = (double)(w->t[i] - w->now) / 1e3;
        vs += w->v[i];
        ts += dt;
        tvs += dt * w->v[i];
        tts += dt * dt;
    }
    double diff = tts - ts * ts / n;
    if (fabs(diff) >= 1e-6)
        k = (tvs - ts * vs / n) / diff;
    *value = vs / n - k * ts / n;
    *slope = k;
}

static double naive_holt_winters(const struct view *w)
{
    double s0 = w->prev;
    size_t i = 0;
    if (w->n == 0 || w->a0 < 0 || w->a0 > 1 || w->a1 < 0 || w->a1 > 1)
        return NAN;
    if (isnan(s0)) {
        s0 = w->v[0];
        i = 1;
        if (w->n == 1)
            return s0;
    }
    double b0 = w->v[i] - s0;
    for (; i < w->n; i++) {
        double s1 = w->a0 * w->v[i] + (1 - w->a0) * (s0 + b0);
        double b1 = w->a1 * (s1 - s0) + (1 - w->a1) * b0;
        s0 = s1;
        b0 = b1;
    }
    return s0;
}

static double naive_hoeffding(const struct view *w, double sign)
{
    if (w->n == 0)
        return NAN;
    if (w->n == 1)
        return w->v[0];
    double avg = naive_sum(w) / (double)w->n, range = naive_best(w, 1) - naive_best(w, -1);
    if (range <= 0 || w->a0 <= 0)
        return avg;
    if (w->a0 >= 1)
        return avg + sign * INFINITY;
    return avg + sign * (range * sqrt(log(1 / (1 - w->a0)) / (2 * (double)w->n)));
}

static double naive_mode(const struct view *w)
{
    static double a[NAIVE_MAX];
    double prev = w->prev, mode = prev;
    long j = -1, best = 0;
    if (w->n == 0)
        return prev;
    memcpy(a, w->v, w->n * sizeof *a);
    qsort(a, w->n, sizeof *a, by_value);
    for (long i = 0; i < (long)w->n; i++) {
        if (prev == a[i])
            continue;
        if (i - j > best || isnan(mode)) {
            best = i - j;
            mode = prev;
        }
        j = i;
        prev = a[i];
    }
    return (long)w->n - j > best || isnan(mode) ? prev : mode;
}

static double naive_distinct(const struct view *w)
{
    static double a[NAIVE_MAX];
    size_t count = 1;
    memcpy(a, w->v, w->n * sizeof *a);
    qsort(a, w->n, sizeof *a, by_value);
    for (size_t i = 1; i < w->n; i++)
        count += a[i] != a[i - 1];
    return (double)count;
}

static double naive_climb(const struct view *w, int sign)
{
    double prev = w->prev, s = 0;
    size_t i = 0;
    if (isnan(prev)) {
        if (w->n == 0)
            return NAN;
        prev = w->v[i++];
    }
    for (; i < w->n; i++) {
        double d = sign > 0 ? w->v[i] - prev : prev - w->v[i];
        if (d > 0)
            s += d;
        prev = w->v[i];
    }
    return s;
}

static double naive_changes(const struct view *w)
{
    double prev = w->prev;
    if (!isnan(prev))
        return naive_steps(w->v, w->n, prev, 0);
    if (w->n == 0)
        return NAN;
    if (!isnan(w->real_prev))
        return naive_steps(w->v, w->n, w->real_prev, 0);
    return 1 + naive_steps(w->v + 1, w->n - 1, w->v[0], 0);
}

static double naive_directed(const struct view *w, int sign)
{
    if (w->n == 0)
        return isnan(w->prev) ? NAN : 0;
    return isnan(w->prev) ? naive_steps(w->v + 1, w->n - 1, w->v[0], sign)
                          : naive_steps(w->v, w->n, w->prev, sign);
}

static double naive_tlast_change(const struct view *w)
{
    if (w->n == 0)
        return NAN;
    for (size_t i = w->n - 1; i > 0; i--)
        if (w->v[i - 1] != w->v[w->n - 1])
            return (double)w->t[i] / 1e3;
    return isnan(w->prev) || w->prev != w->v[w->n - 1] ? (double)w->t[0] / 1e3 : NAN;
}

static double naive_lag(const struct view *w)
{
    if (w->n)
        return (double)(w->now - w->t[w->n - 1]) / 1e3;
    return isnan(w->prev) ? NAN : (double)(w->now - w->prev_t) / 1e3;
}

static double naive_zscore(const struct view *w)
{
    double interval = naive_scrape_interval(w), lag = naive_lag(w);
    if (isnan(interval) || isnan(lag) || lag > interval)
        return NAN;
    double d = w->v[w->n - 1] - naive_sum(w) / (double)w->n;
    return d == 0 ? 0 : d / sqrt(naive_stdvar(w));
}

static double naive_duration(const struct view *w)
{
    int64_t sum = 0, max = (int64_t)(w->a0 * 1000);
    for (size_t i = 1; i < w->n; i++)
        if (w->t[i] - w->t[i - 1] <= max)
            sum += w->t[i] - w->t[i - 1];
    return (double)sum / 1e3;
}

static double naive_filter(const struct view *w, char op, bool sum)
{
    double s = 0;
    for (size_t i = 0; i < w->n; i++) {
        double v = w->v[i];
        if (op == '=' ? v == w->a0 : op == '!' ? v != w->a0 : op == '>' ? v > w->a0 : v <= w->a0)
            s += sum ? v : 1;
    }
    return s;
}

static double naive_iqr(const struct view *w)
{
    if (w->n < 2)
        return NAN;
    double a = naive_quantile(0.25, w->v, w->n, true), b = naive_quantile(0.75, w->v, w->n, true);
    double fence = 1.5 * (b - a), last = w->v[w->n - 1];
    return last > b + fence || last < a - fence ? last : NAN;
}

static double naive_product(const struct view *w)
{
    double p = 1;
    for (size_t i = 0; i < w->n; i++)
        p *= w->v[i];
    return pow(p, 1 / (double)w->n);
}

static double naive_squares(const struct view *w)
{
    double s = 0;
    for (size_t i = 0; i < w->n; i++)
        s += w->v[i] * w->v[i];
    return s;
}

static double naive_stale(const struct view *w)
{
    int s = 0;
    for (size_t i = 0; i < w->n; i++)
        s += ks_is_stale_nan(w->v[i]);
    return s;
}

/* Functions that give nothing for an empty window. */
static double naive_metricsql_filled(enum ks_promql_func_id f, const struct view *w)
{
    double n = (double)w->n, last = w->v[w->n - 1];
    switch (f) {
    case KS_FN_DEFAULT_ROLLUP:
    case KS_FN_LAST_OVER_TIME:
        return last;
    case KS_FN_FIRST_OVER_TIME:
        return w->v[0];
    case KS_FN_COUNT_OVER_TIME:
        return n;
    case KS_FN_PRESENT_OVER_TIME:
        return 1;
    case KS_FN_SUM_OVER_TIME:
        return naive_sum(w);
    case KS_FN_AVG_OVER_TIME:
        return naive_sum(w) / n;
    case KS_FN_RATE_OVER_SUM:
        return naive_sum(w) / ((double)w->window / 1e3);
    case KS_FN_SUM2_OVER_TIME:
        return naive_squares(w);
    case KS_FN_MIN_OVER_TIME:
        return naive_best(w, -1);
    case KS_FN_MAX_OVER_TIME:
        return naive_best(w, 1);
    case KS_FN_RANGE_OVER_TIME:
        return naive_best(w, 1) - naive_best(w, -1);
    case KS_FN_TMIN_OVER_TIME:
        return naive_best_time(w, -1);
    case KS_FN_TMAX_OVER_TIME:
        return naive_best_time(w, 1);
    case KS_FN_TFIRST_OVER_TIME:
        return (double)w->t[0] / 1e3;
    case KS_FN_TIMESTAMP:
    case KS_FN_TIMESTAMP_WITH_NAME:
    case KS_FN_TLAST_OVER_TIME:
        return (double)w->t[w->n - 1] / 1e3;
    case KS_FN_STDVAR_OVER_TIME:
        return naive_stdvar(w);
    case KS_FN_STDDEV_OVER_TIME:
        return sqrt(naive_stdvar(w));
    case KS_FN_GEOMEAN_OVER_TIME:
        return naive_product(w);
    case KS_FN_QUANTILE_OVER_TIME:
        return naive_quantile(w->a0, w->v, w->n, true);
    case KS_FN_MEDIAN_OVER_TIME:
        return naive_quantile(0.5, w->v, w->n, true);
    case KS_FN_MAD_OVER_TIME:
        return naive_mad(w->v, w->n, true);
    case KS_FN_DISTINCT_OVER_TIME:
        return naive_distinct(w);
    case KS_FN_OUTLIER_IQR_OVER_TIME:
        return naive_iqr(w);
    case KS_FN_STALE_SAMPLES_OVER_TIME:
        return naive_stale(w);
    case KS_FN_DURATION_OVER_TIME:
        return naive_duration(w);
    case KS_FN_CHANGES_PROMETHEUS:
        return naive_steps(w->v + 1, w->n - 1, w->v[0], 0);
    case KS_FN_COUNT_EQ_OVER_TIME:
        return naive_filter(w, '=', false);
    case KS_FN_COUNT_NE_OVER_TIME:
        return naive_filter(w, '!', false);
    case KS_FN_COUNT_GT_OVER_TIME:
        return naive_filter(w, '>', false);
    case KS_FN_COUNT_LE_OVER_TIME:
        return naive_filter(w, '<', false);
    case KS_FN_SHARE_EQ_OVER_TIME:
        return naive_filter(w, '=', false) / n;
    case KS_FN_SHARE_GT_OVER_TIME:
        return naive_filter(w, '>', false) / n;
    case KS_FN_SHARE_LE_OVER_TIME:
        return naive_filter(w, '<', false) / n;
    case KS_FN_SUM_EQ_OVER_TIME:
        return naive_filter(w, '=', true);
    case KS_FN_SUM_GT_OVER_TIME:
        return naive_filter(w, '>', true);
    case KS_FN_SUM_LE_OVER_TIME:
        return naive_filter(w, '<', true);
    default:
        abort();
    }
}

static double naive_metricsql(enum ks_promql_func_id f, const struct view *w)
{
    double a, b;
    switch (f) {
    case KS_FN_ABSENT_OVER_TIME:
        return w->n ? NAN : 1;
    case KS_FN_ASCENT_OVER_TIME:
        return naive_climb(w, 1);
    case KS_FN_DESCENT_OVER_TIME:
        return naive_climb(w, -1);
    case KS_FN_CHANGES:
        return naive_changes(w);
    case KS_FN_INCREASES_OVER_TIME:
        return naive_directed(w, 1);
    case KS_FN_DECREASES_OVER_TIME:
    case KS_FN_RESETS:
        return naive_directed(w, -1);
    case KS_FN_DELTA:
    case KS_FN_INCREASE:
        return naive_delta(w);
    case KS_FN_DELTA_PROMETHEUS:
    case KS_FN_INCREASE_PROMETHEUS:
        return w->n < 2 ? NAN : w->v[w->n - 1] - w->v[0];
    case KS_FN_RATE_PROMETHEUS:
        return w->n < 2 ? NAN : (w->v[w->n - 1] - w->v[0]) / ((double)w->window / 1e3);
    case KS_FN_INCREASE_PURE:
        if (w->n == 0)
            return isnan(w->prev) ? NAN : 0;
        return w->v[w->n - 1] - (!isnan(w->prev)        ? w->prev
                                 : !isnan(w->real_prev) ? w->real_prev
                                                        : 0);
    case KS_FN_RATE:
    case KS_FN_DERIV_FAST:
        return naive_rate(w);
    case KS_FN_IRATE:
    case KS_FN_IDERIV:
        return naive_ideriv(w);
    case KS_FN_IDELTA:
        if (w->n == 0)
            return isnan(w->prev) ? NAN : 0;
        if (w->n == 1)
            return isnan(w->prev) ? w->v[0] : w->v[0] - w->prev;
        return w->v[w->n - 1] - w->v[w->n - 2];
    case KS_FN_DERIV:
        naive_line(w, &a, &b);
        return b;
    case KS_FN_PREDICT_LINEAR:
        naive_line(w, &a, &b);
        return a + b * w->a0;
    case KS_FN_HOLT_WINTERS:
        return naive_holt_winters(w);
    case KS_FN_HOEFFDING_BOUND_LOWER:
        return naive_hoeffding(w, -1);
    case KS_FN_HOEFFDING_BOUND_UPPER:
        return naive_hoeffding(w, 1);
    case KS_FN_INTEGRATE:
        return naive_integrate(w);
    case KS_FN_LAG:
        return naive_lag(w);
    case KS_FN_LIFETIME:
        if (isnan(w->prev))
            return w->n < 2 ? NAN : (double)(w->t[w->n - 1] - w->t[0]) / 1e3;
        return w->n < 1 ? NAN : (double)(w->t[w->n - 1] - w->prev_t) / 1e3;
    case KS_FN_SCRAPE_INTERVAL:
        return naive_scrape_interval(w);
    case KS_FN_MODE_OVER_TIME:
        return naive_mode(w);
    case KS_FN_TLAST_CHANGE_OVER_TIME:
        return naive_tlast_change(w);
    case KS_FN_ZSCORE_OVER_TIME:
        return naive_zscore(w);
    default:
        return w->n == 0 ? NAN : naive_metricsql_filled(f, w);
    }
}

#endif
