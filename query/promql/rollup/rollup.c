/*
 * Entry points of the rollups: argument checks, the fetch range, and the kernel of each function.
 * The kernels are in rollup_point.c (a look at the edges of the window), rollup_change.c,
 * rollup_sum.c, rollup_extreme.c, rollup_trend.c, rollup_order.c, and rollup_strict.c for strict
 * mode.
 */
#include "query/promql/rollup/rollup_priv.h"

/* Beyond any time stamp in use, and far enough from overflow for sums of a few of them. */
#define TIME_MAX_MS ((int64_t)1 << 56)

static bool time_ok(int64_t ms)
{
    return ms >= -TIME_MAX_MS && ms <= TIME_MAX_MS;
}

static const char *func_name(const struct ks_rollup_config *cfg)
{
    return ks_promql_funcs[cfg->func].name;
}

/* Scalar arguments a function takes; quantiles_over_time takes any number. */
static size_t scalar_args(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_COUNT_EQ_OVER_TIME:
    case KS_FN_COUNT_NE_OVER_TIME:
    case KS_FN_COUNT_GT_OVER_TIME:
    case KS_FN_COUNT_LE_OVER_TIME:
    case KS_FN_SHARE_EQ_OVER_TIME:
    case KS_FN_SHARE_GT_OVER_TIME:
    case KS_FN_SHARE_LE_OVER_TIME:
    case KS_FN_SUM_EQ_OVER_TIME:
    case KS_FN_SUM_GT_OVER_TIME:
    case KS_FN_SUM_LE_OVER_TIME:
    case KS_FN_DURATION_OVER_TIME:
    case KS_FN_HOEFFDING_BOUND_LOWER:
    case KS_FN_HOEFFDING_BOUND_UPPER:
    case KS_FN_PREDICT_LINEAR:
    case KS_FN_QUANTILE_OVER_TIME:
        return 1;
    case KS_FN_HOLT_WINTERS:
    case KS_FN_DOUBLE_EXPONENTIAL_SMOOTHING:
        return 2;
    default:
        return 0;
    }
}

static ks_err check_grid(const struct ks_rollup_config *cfg)
{
    if (cfg->step_ms <= 0 || cfg->start_ms > cfg->end_ms)
        return ks_fail(KS_EINVAL, "the grid needs step > 0 and start <= end");
    if (!time_ok(cfg->start_ms) || !time_ok(cfg->end_ms) || !time_ok(cfg->step_ms) ||
        !time_ok(cfg->offset_ms) || !time_ok(cfg->window_ms) || !time_ok(cfg->lookback_delta_ms) ||
        !time_ok(cfg->min_staleness_ms))
        return ks_fail(KS_EINVAL, "%s(): time, offset or window out of range", func_name(cfg));
    if ((cfg->end_ms - cfg->start_ms) / cfg->step_ms >= INT32_MAX)
        return ks_fail(KS_EINVAL, "%s(): too many points; take a larger step", func_name(cfg));
    if (cfg->window_ms < (cfg->strict ? 1 : 0))
        return ks_fail(KS_EINVAL, "%s(): the window must be positive", func_name(cfg));
    if (cfg->lookback_delta_ms < 0 || cfg->min_staleness_ms < 0)
        return ks_fail(KS_EINVAL, "%s(): lookback and staleness must not be negative",
                       func_name(cfg));
    return KS_OK;
}

static ks_err check_tag(const struct ks_rollup_config *cfg)
{
    struct ks_slice tag = cfg->text;
    switch (cfg->func) {
    case KS_FN_ROLLUP:
    case KS_FN_ROLLUP_DELTA:
    case KS_FN_ROLLUP_DERIV:
    case KS_FN_ROLLUP_INCREASE:
    case KS_FN_ROLLUP_RATE:
    case KS_FN_ROLLUP_SCRAPE_INTERVAL:
        if (tag.len == 0 || ks_slice_is(tag, "min") || ks_slice_is(tag, "max") ||
            ks_slice_is(tag, "avg"))
            return KS_OK;
        return ks_fail(KS_EINVAL,
                       "unexpected second arg for %s: \"%.*s\"; want `min`, `max` or `avg`",
                       func_name(cfg), KS_SLICE_ARG(tag));
    case KS_FN_ROLLUP_CANDLESTICK:
        if (tag.len == 0 || ks_slice_is(tag, "open") || ks_slice_is(tag, "close") ||
            ks_slice_is(tag, "low") || ks_slice_is(tag, "high"))
            return KS_OK;
        return ks_fail(
            KS_EINVAL,
            "unexpected second arg for %s: \"%.*s\"; want `open`, `close`, `low` or `high`",
            func_name(cfg), KS_SLICE_ARG(tag));
    default:
        return KS_OK;
    }
}

static ks_err check_aggr(const struct ks_rollup_config *cfg)
{
    if (cfg->func != KS_FN_AGGR_OVER_TIME)
        return KS_OK;
    if (cfg->aggr_count == 0)
        return ks_fail(KS_EINVAL,
                       "aggr_over_time() must contain at least a single aggregate function name");
    for (size_t i = 0; i < cfg->aggr_count; i++)
        if (ksi_aggr_func(cfg->aggr_names[i]) == KS_FN_COUNT)
            return ks_fail(
                KS_EINVAL,
                "\"%.*s\" cannot be used in `aggr_over_time` function; expecting quoted aggregate "
                "function name",
                KS_SLICE_ARG(cfg->aggr_names[i]));
    return KS_OK;
}

ks_err ks_rollup_check(const struct ks_rollup_config *cfg)
{
    if ((unsigned)cfg->func >= KS_FN_COUNT || ks_promql_funcs[cfg->func].kind != KS_FUNC_ROLLUP)
        return ks_fail(KS_EINVAL, "not a rollup function");
    if (!ksi_rollup_kernel_of(cfg->func, cfg->strict) && (cfg->strict || !ks_rollup_is_multi(cfg)))
        return ks_fail(KS_EINVAL, "unknown function %s", func_name(cfg));
    KS_TRY(check_grid(cfg));
    bool any_count = cfg->func == KS_FN_QUANTILES_OVER_TIME;
    size_t want = scalar_args(cfg->func);
    if (any_count ? cfg->arg_count == 0 : cfg->arg_count != want)
        return ks_fail(KS_EINVAL, "%s(): unexpected number of scalar args; got %zu; want %zu",
                       func_name(cfg), cfg->arg_count, any_count ? 1 : want);
    KS_TRY(check_tag(cfg));
    return check_aggr(cfg);
}

/* Functions that look at the sample before the window, or fill gaps with it. */
bool ksi_rollup_looks_before(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_ASCENT_OVER_TIME:
    case KS_FN_CHANGES:
    case KS_FN_DECREASES_OVER_TIME:
    case KS_FN_DEFAULT_ROLLUP:
    case KS_FN_DELTA:
    case KS_FN_DERIV_FAST:
    case KS_FN_DESCENT_OVER_TIME:
    case KS_FN_IDELTA:
    case KS_FN_IDERIV:
    case KS_FN_INCREASE:
    case KS_FN_INCREASE_PURE:
    case KS_FN_INCREASES_OVER_TIME:
    case KS_FN_INTEGRATE:
    case KS_FN_IRATE:
    case KS_FN_LAG:
    case KS_FN_LIFETIME:
    case KS_FN_RATE:
    case KS_FN_RESETS:
    case KS_FN_ROLLUP:
    case KS_FN_ROLLUP_CANDLESTICK:
    case KS_FN_ROLLUP_DELTA:
    case KS_FN_ROLLUP_DERIV:
    case KS_FN_ROLLUP_INCREASE:
    case KS_FN_ROLLUP_RATE:
    case KS_FN_ROLLUP_SCRAPE_INTERVAL:
    case KS_FN_SCRAPE_INTERVAL:
    case KS_FN_TLAST_CHANGE_OVER_TIME:
        return true;
    default:
        return false;
    }
}

void ks_rollup_fetch_range(const struct ks_rollup_config *cfg, int64_t *ret_min_ms,
                           int64_t *ret_max_ms)
{
    int64_t min = cfg->start_ms - cfg->offset_ms, max = cfg->end_ms - cfg->offset_ms;
    if (cfg->strict) {
        *ret_min_ms = min - cfg->window_ms + 1;
        *ret_max_ms = max;
        return;
    }
    if (cfg->func == KS_FN_ROLLUP_CANDLESTICK) {
        min += cfg->step_ms;
        max += cfg->step_ms;
    }
    if (ksi_rollup_looks_before(cfg->func))
        min -= cfg->min_staleness_ms > 0 ? cfg->min_staleness_ms : 5 * 60 * 1000;
    *ret_min_ms = min - (cfg->window_ms > cfg->step_ms ? cfg->window_ms : cfg->step_ms);
    *ret_max_ms = max;
}

ksi_rollup_kernel ksi_rollup_kernel_of(enum ks_promql_func_id func, bool strict)
{
    static const ksi_rollup_kernel kernels[KS_FN_COUNT] = {
        [KS_FN_ABSENT_OVER_TIME] = ksi_k_absent,
        [KS_FN_ASCENT_OVER_TIME] = ksi_k_ascent,
        [KS_FN_AVG_OVER_TIME] = ksi_k_avg,
        [KS_FN_CHANGES] = ksi_k_changes,
        [KS_FN_CHANGES_PROMETHEUS] = ksi_k_changes_prometheus,
        [KS_FN_COUNT_EQ_OVER_TIME] = ksi_k_filter,
        [KS_FN_COUNT_GT_OVER_TIME] = ksi_k_filter,
        [KS_FN_COUNT_LE_OVER_TIME] = ksi_k_filter,
        [KS_FN_COUNT_NE_OVER_TIME] = ksi_k_filter,
        [KS_FN_COUNT_OVER_TIME] = ksi_k_count,
        [KS_FN_DECREASES_OVER_TIME] = ksi_k_resets,
        [KS_FN_DEFAULT_ROLLUP] = ksi_k_last,
        [KS_FN_DELTA] = ksi_k_delta,
        [KS_FN_DELTA_PROMETHEUS] = ksi_k_delta_prometheus,
        [KS_FN_DERIV] = ksi_k_deriv,
        [KS_FN_DERIV_FAST] = ksi_k_deriv_fast,
        [KS_FN_DESCENT_OVER_TIME] = ksi_k_descent,
        [KS_FN_DISTINCT_OVER_TIME] = ksi_k_distinct,
        [KS_FN_DURATION_OVER_TIME] = ksi_k_duration,
        [KS_FN_FIRST_OVER_TIME] = ksi_k_first,
        [KS_FN_GEOMEAN_OVER_TIME] = ksi_k_geomean,
        [KS_FN_HOEFFDING_BOUND_LOWER] = ksi_k_hoeffding_lower,
        [KS_FN_HOEFFDING_BOUND_UPPER] = ksi_k_hoeffding_upper,
        [KS_FN_HOLT_WINTERS] = ksi_k_holt_winters,
        [KS_FN_IDELTA] = ksi_k_idelta,
        [KS_FN_IDERIV] = ksi_k_ideriv,
        [KS_FN_INCREASE] = ksi_k_delta,
        [KS_FN_INCREASE_PROMETHEUS] = ksi_k_delta_prometheus,
        [KS_FN_INCREASE_PURE] = ksi_k_increase_pure,
        [KS_FN_INCREASES_OVER_TIME] = ksi_k_increases,
        [KS_FN_INTEGRATE] = ksi_k_integrate,
        [KS_FN_IRATE] = ksi_k_ideriv,
        [KS_FN_LAG] = ksi_k_lag,
        [KS_FN_LAST_OVER_TIME] = ksi_k_last,
        [KS_FN_LIFETIME] = ksi_k_lifetime,
        [KS_FN_MAD_OVER_TIME] = ksi_k_mad,
        [KS_FN_MAX_OVER_TIME] = ksi_k_max,
        [KS_FN_MEDIAN_OVER_TIME] = ksi_k_median,
        [KS_FN_MIN_OVER_TIME] = ksi_k_min,
        [KS_FN_MODE_OVER_TIME] = ksi_k_mode,
        [KS_FN_OUTLIER_IQR_OVER_TIME] = ksi_k_outlier_iqr,
        [KS_FN_PREDICT_LINEAR] = ksi_k_predict_linear,
        [KS_FN_PRESENT_OVER_TIME] = ksi_k_present,
        [KS_FN_QUANTILE_OVER_TIME] = ksi_k_quantile,
        [KS_FN_RANGE_OVER_TIME] = ksi_k_range,
        [KS_FN_RATE] = ksi_k_deriv_fast,
        [KS_FN_RATE_OVER_SUM] = ksi_k_rate_over_sum,
        [KS_FN_RATE_PROMETHEUS] = ksi_k_rate_prometheus,
        [KS_FN_RESETS] = ksi_k_resets,
        [KS_FN_SCRAPE_INTERVAL] = ksi_k_scrape_interval,
        [KS_FN_SHARE_EQ_OVER_TIME] = ksi_k_filter,
        [KS_FN_SHARE_GT_OVER_TIME] = ksi_k_filter,
        [KS_FN_SHARE_LE_OVER_TIME] = ksi_k_filter,
        [KS_FN_STALE_SAMPLES_OVER_TIME] = ksi_k_stale_samples,
        [KS_FN_STDDEV_OVER_TIME] = ksi_k_stddev,
        [KS_FN_STDVAR_OVER_TIME] = ksi_k_stdvar,
        [KS_FN_SUM2_OVER_TIME] = ksi_k_sum2,
        [KS_FN_SUM_EQ_OVER_TIME] = ksi_k_filter,
        [KS_FN_SUM_GT_OVER_TIME] = ksi_k_filter,
        [KS_FN_SUM_LE_OVER_TIME] = ksi_k_filter,
        [KS_FN_SUM_OVER_TIME] = ksi_k_sum,
        [KS_FN_TFIRST_OVER_TIME] = ksi_k_tfirst,
        [KS_FN_TIMESTAMP] = ksi_k_tlast,
        [KS_FN_TIMESTAMP_WITH_NAME] = ksi_k_tlast,
        [KS_FN_TLAST_CHANGE_OVER_TIME] = ksi_k_tlast_change,
        [KS_FN_TLAST_OVER_TIME] = ksi_k_tlast,
        [KS_FN_TMAX_OVER_TIME] = ksi_k_tmax,
        [KS_FN_TMIN_OVER_TIME] = ksi_k_tmin,
        [KS_FN_ZSCORE_OVER_TIME] = ksi_k_zscore,
    };
    return strict ? ksi_strict_kernel_of(func) : kernels[func];
}

static ks_err run(const struct ks_rollup_config *cfg, const struct ksi_rollup_input *in,
                  struct ks_rollup_scratch *s, double *out)
{
    ksi_rollup_kernel kernel = ksi_rollup_kernel_of(cfg->func, cfg->strict);
    KS_ASSERT(kernel);
    struct ksi_rollup r;
    bool resets = !cfg->strict && ksi_rollup_removes_resets(cfg->func);
    KS_TRY(ksi_rollup_prepare(cfg, in, resets, s, &r));
    KS_TRY(kernel(&r, out));
    ksi_rollup_trace(&r);
    return KS_OK;
}

ks_err ks_rollup_run(const struct ks_rollup_config *cfg, const int64_t *times, const double *values,
                     size_t n, struct ks_rollup_scratch *s, double *out)
{
    struct ksi_rollup_input in = {.times = times, .values = values, .n = n};
    return run(cfg, &in, s, out);
}

ks_err ks_rollup_run_read(const struct ks_rollup_config *cfg, const struct ks_samples *x,
                          struct ks_rollup_scratch *s, double *out)
{
    struct ksi_rollup_input in = {x->times, x->values, x->count, x->times_id, x->plain, x->rising};
    return run(cfg, &in, s, out);
}
