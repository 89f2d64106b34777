#include "query/promql/rollup/rollup_trace.h"

#include "query/promql/rollup/rollup_chunks.h"
#include "query/promql/rollup/rollup_priv.h"

enum { SILENCE_MS = 5 * 60 * 1000 }; /* how far before the window samples are fetched */

static enum ks_rollup_locality metricsql_locality(const struct ks_rollup_config *cfg)
{
    switch (cfg->func) {
    case KS_FN_ABSENT_OVER_TIME:
    case KS_FN_AVG_OVER_TIME:
    case KS_FN_CHANGES_PROMETHEUS:
    case KS_FN_COUNT_EQ_OVER_TIME:
    case KS_FN_COUNT_GT_OVER_TIME:
    case KS_FN_COUNT_LE_OVER_TIME:
    case KS_FN_COUNT_NE_OVER_TIME:
    case KS_FN_COUNT_OVER_TIME:
    case KS_FN_DELTA_PROMETHEUS:
    case KS_FN_DERIV:
    case KS_FN_DISTINCT_OVER_TIME:
    case KS_FN_FIRST_OVER_TIME:
    case KS_FN_GEOMEAN_OVER_TIME:
    case KS_FN_LAST_OVER_TIME:
    case KS_FN_MAD_OVER_TIME:
    case KS_FN_MAX_OVER_TIME:
    case KS_FN_MEDIAN_OVER_TIME:
    case KS_FN_MIN_OVER_TIME:
    case KS_FN_PREDICT_LINEAR:
    case KS_FN_PRESENT_OVER_TIME:
    case KS_FN_QUANTILE_OVER_TIME:
    case KS_FN_RANGE_OVER_TIME:
    case KS_FN_RATE_OVER_SUM:
    case KS_FN_SHARE_EQ_OVER_TIME:
    case KS_FN_SHARE_GT_OVER_TIME:
    case KS_FN_SHARE_LE_OVER_TIME:
    case KS_FN_STDDEV_OVER_TIME:
    case KS_FN_STDVAR_OVER_TIME:
    case KS_FN_SUM2_OVER_TIME:
    case KS_FN_SUM_EQ_OVER_TIME:
    case KS_FN_SUM_GT_OVER_TIME:
    case KS_FN_SUM_LE_OVER_TIME:
    case KS_FN_SUM_OVER_TIME:
    case KS_FN_TFIRST_OVER_TIME:
    case KS_FN_TIMESTAMP:
    case KS_FN_TLAST_OVER_TIME:
    case KS_FN_TMAX_OVER_TIME:
    case KS_FN_TMIN_OVER_TIME:
        return cfg->window_ms > 0 || !ksi_rollup_widens_window(cfg->func) ? KS_ROLLUP_WINDOW
                                                                          : KS_ROLLUP_TRACED;
    case KS_FN_DEFAULT_ROLLUP:
        return cfg->window_ms > 0 ? KS_ROLLUP_WINDOW : KS_ROLLUP_TRACED;
    case KS_FN_CHANGES:
    case KS_FN_DECREASES_OVER_TIME:
    case KS_FN_DELTA:
    case KS_FN_DERIV_FAST:
    case KS_FN_IDELTA:
    case KS_FN_IDERIV:
    case KS_FN_INCREASE:
    case KS_FN_INCREASE_PROMETHEUS:
    case KS_FN_INCREASE_PURE:
    case KS_FN_INCREASES_OVER_TIME:
    case KS_FN_IRATE:
    case KS_FN_LAG:
    case KS_FN_LIFETIME:
    case KS_FN_RATE:
    case KS_FN_RATE_PROMETHEUS:
    case KS_FN_RESETS:
    case KS_FN_SCRAPE_INTERVAL:
    case KS_FN_TLAST_CHANGE_OVER_TIME:
    case KS_FN_ZSCORE_OVER_TIME:
        return KS_ROLLUP_TRACED;
    default:
        return KS_ROLLUP_GLOBAL;
    }
}

enum ks_rollup_locality ks_rollup_locality(const struct ks_rollup_config *cfg)
{
    for (size_t i = 0; i < cfg->arg_count; i++)
        if (cfg->args[i].steps)
            return KS_ROLLUP_GLOBAL;
    if (cfg->subquery || cfg->lookback_delta_ms || cfg->min_staleness_ms || ks_rollup_is_multi(cfg))
        return cfg->strict && !cfg->subquery && !ks_rollup_is_multi(cfg) ? KS_ROLLUP_WINDOW
                                                                         : KS_ROLLUP_GLOBAL;
    if (cfg->strict)
        return KS_ROLLUP_WINDOW;
    enum ks_rollup_locality l = metricsql_locality(cfg);
    bool sums = cfg->func == KS_FN_SUM_OVER_TIME || cfg->func == KS_FN_AVG_OVER_TIME ||
                cfg->func == KS_FN_RATE_OVER_SUM;
    /* Sums of chunks are regrouped as the grid moves. And where few samples of a long window are
     * decoded there is nothing to save. */
    if (ks_rollup_takes_chunks(cfg) &&
        (sums || (l == KS_ROLLUP_TRACED && cfg->window_ms > cfg->end_ms - cfg->start_ms)))
        return KS_ROLLUP_GLOBAL;
    return l;
}

static bool uses_real_prev(enum ks_promql_func_id func)
{
    return func == KS_FN_DELTA || func == KS_FN_INCREASE || func == KS_FN_INCREASE_PURE ||
           func == KS_FN_CHANGES;
}

/* Where a series begins with one sample the next one decides whether it counts from 0. */
static bool counts_first(enum ks_promql_func_id func)
{
    return func == KS_FN_DELTA || func == KS_FN_INCREASE;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The last sample, as long as the window holds it: what counts is the window in effect. */
static void trace_last(const struct ksi_rollup *r, struct ks_rollup_trace *t)
{
    t->estimate = r->window;
    for (uint32_t k = 0; k < t->closed; k++) {
        uint32_t hi = r->hi[k];
        if (hi == 0)
            continue;
        int64_t end = r->end0 + (int64_t)k * r->step, age = end - r->times[hi - 1];
        if (age < r->window) {
            t->above = most(t->above, age);
            if (age >= r->step + SILENCE_MS)
                t->since_ms = least(t->since_ms, r->times[hi - 1]);
        } else {
            t->upto = least(t->upto, age);
        }
    }
}

/* Predecessors of windows of fixed length. */
static void trace_prev(const struct ksi_rollup *r, struct ks_rollup_trace *t)
{
    bool far = uses_real_prev(r->cfg->func), first_counts = counts_first(r->cfg->func);
    int64_t silence = ksi_rollup_looks_before(r->cfg->func) ? SILENCE_MS : 0;
    int64_t fetched = most(r->cfg->window_ms, r->step) + silence;
    t->estimate = r->max_prev;
    for (uint32_t k = 0; k < t->closed; k++) {
        uint32_t lo = r->lo[k];
        if (lo == 0 && first_counts && r->hi[k] == 1) {
            t->open |= r->n == 1;
            t->next |= r->n > 1;
        }
        if (lo == 0)
            continue;
        if (lo == r->n) { /* the next sample would make the last one a predecessor */
            t->open = true;
            continue;
        }
        int64_t end = r->end0 + (int64_t)k * r->step, before = r->times[lo - 1];
        int64_t distance = end - r->window - before;
        bool near = distance < r->max_prev;
        if (near)
            t->above = most(t->above, distance);
        else
            t->upto = least(t->upto, distance);
        if ((near || far) && end - before > fetched)
            t->since_ms = least(t->since_ms, before);
    }
    if (r->cfg->window_ms > 0 || !ksi_rollup_widens_window(r->cfg->func))
        return;
    if (r->max_prev <= r->step) {
        t->upto = least(t->upto, r->step);
    } else { /* the estimate is the window itself */
        t->above = r->max_prev - 1;
        t->upto = r->max_prev;
        if (r->window > r->step + silence)
            t->since_ms = INT64_MIN;
    }
}

static bool all_whole(const double *v, uint32_t n)
{
    bool whole = true;
    for (uint32_t i = 0; i < n && whole; i++)
        whole = fabs(v[i]) < 0x1p53 && v[i] == trunc(v[i]);
    return whole;
}

void ksi_rollup_trace(const struct ksi_rollup *r)
{
    struct ks_rollup_trace *t = r->scratch->trace;
    if (!t)
        return;
    *t = (struct ks_rollup_trace){.closed = t->closed < r->points ? t->closed : r->points,
                                  .ask_whole = t->ask_whole,
                                  .n = r->n,
                                  .begins_before = r->lo[0] > 0,
                                  .above = INT64_MIN,
                                  .upto = INT64_MAX,
                                  .since_ms = INT64_MAX};
    if (r->n) {
        t->first_ms = r->times[0];
        t->last_ms = r->times[r->n - 1];
    }
    t->fell = r->fell;
    t->whole = !(r->fell || t->ask_whole) || (!r->rank && all_whole(r->values, r->n));
    if (r->cfg->func == KS_FN_DEFAULT_ROLLUP)
        trace_last(r, t);
    else
        trace_prev(r, t);
}

double *ksi_rollup_row(struct ks_rollup_scratch *s, size_t n)
{
    return ksi_rollup_buf(s, KSI_BUF_ROW, n, sizeof(double));
}
