/*
 * From stored samples to what a rollup function sees: holes and stale markers dropped, counter
 * resets removed, the window in effect chosen, and the samples of every window found in one sweep.
 *
 * The common case (nothing to drop, counter without resets) touches the values once and copies
 * nothing.
 */
#include "query/promql/rollup/rollup_priv.h"

#include <string.h>

#include "base/clones.h"
#include "base/mem.h"
#include "base/num.h"

void *ksi_rollup_buf(struct ks_rollup_scratch *s, int which, size_t count, size_t elem_size)
{
    struct ks_rollup_buf *b = &s->bufs[which];
    size_t need;
    if (__builtin_mul_overflow(count ? count : 1, elem_size, &need)) {
        (void)ks_fail(KS_ENOMEM, "rollup of %zu samples is too large", count);
        return NULL;
    }
    if (b->cap >= need)
        return b->ptr;
    size_t cap = need + need / 2 + 256;
    void *p = ks_alloc(cap);
    if (!p)
        return NULL;
    ks_free(b->ptr);
    b->ptr = p;
    b->cap = cap;
    return p;
}

void ks_rollup_scratch_done(struct ks_rollup_scratch *s)
{
    for (int i = 0; i < KS_ROLLUP_BUFS; i++)
        ks_free(s->bufs[i].ptr);
    *s = (struct ks_rollup_scratch){0};
}

bool ksi_rollup_removes_resets(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_INCREASE:
    case KS_FN_INCREASE_PROMETHEUS:
    case KS_FN_INCREASE_PURE:
    case KS_FN_IRATE:
    case KS_FN_RATE:
    case KS_FN_RATE_PROMETHEUS:
    case KS_FN_ROLLUP_INCREASE:
    case KS_FN_ROLLUP_RATE:
        return true;
    default:
        return false;
    }
}

bool ksi_rollup_widens_window(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_DEFAULT_ROLLUP:
    case KS_FN_DERIV:
    case KS_FN_DERIV_FAST:
    case KS_FN_IDERIV:
    case KS_FN_IRATE:
    case KS_FN_RATE:
    case KS_FN_RATE_OVER_SUM:
    case KS_FN_ROLLUP:
    case KS_FN_ROLLUP_CANDLESTICK:
    case KS_FN_ROLLUP_DERIV:
    case KS_FN_ROLLUP_RATE:
    case KS_FN_ROLLUP_SCRAPE_INTERVAL:
    case KS_FN_SCRAPE_INTERVAL:
    case KS_FN_TIMESTAMP:
        return true;
    default:
        return false;
    }
}

KS_CLONES bool ksi_has_nan(const double *v, size_t n)
{
    int nan = 0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        nan |= (v[i] != v[i]) | (v[i + 1] != v[i + 1]) | (v[i + 2] != v[i + 2]) |
               (v[i + 3] != v[i + 3]);
    for (; i < n; i++)
        nan |= v[i] != v[i];
    return nan;
}

/* True when every value is at least its predecessor: then there is no NaN and no reset either. Of
 * the first `known` that is known. */
static KS_CLONES bool never_falls(const double *v, size_t n, size_t known)
{
    int falls = 0;
    size_t i = known ? known : 1;
    if (n && !known && v[0] != v[0])
        return false;
    for (; i + 4 <= n; i += 4)
        falls |= !(v[i] >= v[i - 1]) | !(v[i + 1] >= v[i]) | !(v[i + 2] >= v[i + 1]) |
                 !(v[i + 3] >= v[i + 2]);
    for (; i < n; i++)
        falls |= !(v[i] >= v[i - 1]);
    return !falls;
}

/*
 * MetricsQL functions never see a NaN; default_rollup keeps stale markers as the end of the line,
 * stale_samples_over_time counts them. Strict range functions do see NaN values, instant selectors
 * also stale markers.
 */
static bool must_drop(const struct ks_rollup_config *cfg, double v)
{
    uint64_t bits = ks_f64_bits(v);
    bool stale = bits == KS_STALE_NAN_BITS;
    if (cfg->strict) {
        if (cfg->func == KS_FN_DEFAULT_ROLLUP || cfg->func == KS_FN_TIMESTAMP)
            return bits == KS_ABSENT_BITS;
        return stale || bits == KS_ABSENT_BITS;
    }
    bool wants_stale = !cfg->subquery && (cfg->func == KS_FN_DEFAULT_ROLLUP ||
                                          cfg->func == KS_FN_STALE_SAMPLES_OVER_TIME);
    return v != v && !(stale && wants_stale);
}

/* Copies the samples the function may see. Only called when some value is NaN. */
static ks_err drop_nans(struct ksi_rollup *r)
{
    int64_t *t = ksi_rollup_buf(r->scratch, KSI_BUF_TIMES, r->n, sizeof *t);
    double *v = ksi_rollup_buf(r->scratch, KSI_BUF_VALUES, r->n, sizeof *v);
    if (!t || !v)
        return KS_ENOMEM;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        t[kept] = r->times[i];
        v[kept] = r->values[i];
        kept += !must_drop(r->cfg, r->values[i]);
    }
    r->times = t;
    r->values = v;
    r->n = kept;
    return KS_OK;
}

void ksi_remove_resets(double *v, const int64_t *t, size_t n, int64_t max_gap_ms)
{
    if (n == 0)
        return;
    double correction = 0, last = v[0]; /* last: as stored */
    for (size_t i = 1; i < n; i++) {
        double now = v[i], drop = last - now;
        if (drop > 0)
            correction += drop * 8 < last ? drop : last;
        last = now;
        if (max_gap_ms > 0 && t[i] - t[i - 1] > max_gap_ms) {
            correction = 0;
            continue;
        }
        v[i] = now + correction;
        if (v[i] < v[i - 1])
            v[i] = v[i - 1];
    }
}

static ks_err remove_resets(struct ksi_rollup *r)
{
    r->fell = true;
    r->plain = false; /* infinities */
    double *v = ksi_rollup_buf(r->scratch, KSI_BUF_VALUES, r->n, sizeof *v);
    if (!v)
        return KS_ENOMEM;
    if (v != r->values)
        memcpy(v, r->values, (size_t)r->n * sizeof *v);
    int64_t max_gap = r->cfg->lookback_delta_ms;
    if (max_gap)
        max_gap += r->cfg->window_ms;
    ksi_remove_resets(v, r->times, r->n, max_gap);
    r->values = v;
    return KS_OK;
}

enum { GAPS = 20 };

/* Each number's place is how many are below it: no branch depends on what they are. Less than 2^58
 * each. */
static KS_CLONES void sort_gaps(const int64_t *gaps, double *ret)
{
    int64_t distinct[GAPS];
    for (int i = 0; i < GAPS; i++)
        distinct[i] = gaps[i] * 32 + i;
    for (int i = 0; i < GAPS; i++) {
        int64_t below = 0;
        for (int k = 0; k < GAPS; k++)
            below += distinct[k] < distinct[i];
        ret[below] = (double)gaps[i];
    }
}

/* The 0.6-quantile of the last 20 gaps between samples; `step` when there is none. */
static int64_t sample_interval(const int64_t *times, size_t n, int64_t step)
{
    const int64_t never = (int64_t)1 << 57;
    int64_t gaps[GAPS];
    double sorted[GAPS];
    size_t count = n > GAPS ? GAPS : n ? n - 1 : 0;
    if (count == 0)
        return step;
    for (size_t i = 0; i < GAPS; i++) {
        int64_t gap = i < count ? times[n - 1 - i] - times[n - 2 - i] : never;
        gaps[i] = gap < never ? gap : never;
    }
    sort_gaps(gaps, sorted);
    int64_t interval = (int64_t)ksi_quantile_sorted(0.6, sorted, count);
    return interval > 0 ? interval : step;
}

int64_t ksi_max_prev_interval(const int64_t *times, size_t n, int64_t step)
{
    int64_t d = sample_interval(times, n, step);
    if (d <= 2000)
        return d * 5;
    if (d <= 4000)
        return d * 3;
    if (d <= 8000)
        return d * 2;
    if (d <= 16000)
        return d + d / 2;
    if (d <= 32000)
        return d + d / 4;
    return d + d / 8;
}

/* The same, which is known when the last series had these times. */
static int64_t max_prev_interval(const struct ksi_rollup *r)
{
    struct ks_rollup_near *had = &r->scratch->near;
    if (!r->times_id || had->times_id != r->times_id || had->step_ms != r->step)
        *had = (struct ks_rollup_near){r->times_id, r->step,
                                       ksi_max_prev_interval(r->times, r->n, r->step)};
    return had->max_prev_ms;
}

static void choose_window(struct ksi_rollup *r)
{
    const struct ks_rollup_config *cfg = r->cfg;
    r->window = cfg->window_ms;
    r->max_prev = 0;
    if (cfg->strict)
        return;
    int64_t lookback = cfg->lookback_delta_ms, near = cfg->step_ms;
    if (cfg->start_ms < cfg->end_ms)
        near = max_prev_interval(r);
    if (lookback > 0 && near > lookback)
        near = lookback;
    if (cfg->min_staleness_ms > 0 && near < cfg->min_staleness_ms)
        near = cfg->min_staleness_ms;
    r->max_prev = near;
    if (r->window > 0)
        return;
    r->window = cfg->step_ms;
    if (ksi_rollup_widens_window(cfg->func) && r->window < near)
        r->window = near;
    if (cfg->func == KS_FN_DEFAULT_ROLLUP && lookback > 0 && r->window > lookback)
        r->window = lookback;
}

/* First index ≥ pos whose time is after `bound`; near ones are found at once, far ones by doubling
 * and halving. */
static inline uint32_t seek_after(const int64_t *t, uint32_t n, uint32_t pos, int64_t bound)
{
    for (int i = 0; i < 8; i++, pos++)
        if (pos >= n || t[pos] > bound)
            return pos;
    uint32_t stride = 8, low = pos;
    while (low < n && t[low] <= bound) {
        pos = low + 1;
        low = n - low > stride ? low + stride : n;
        stride *= 2;
    }
    while (pos < low) {
        uint32_t mid = pos + (low - pos) / 2;
        if (t[mid] <= bound)
            pos = mid + 1;
        else
            low = mid;
    }
    return pos;
}

static void find_bounds(const struct ksi_rollup *r, int64_t first, uint32_t count, uint32_t *ret)
{
    const int64_t *times = r->times, step = r->step;
    uint32_t pos = 0, n = r->n;
    int64_t bound = first;
    for (uint32_t k = 0; k < count; k++, bound += step)
        ret[k] = pos = seek_after(times, n, pos, bound);
}

/*
 * When the window is a whole number of steps its start is an earlier window's end: one array serves
 * both. Series of one target have one column of times: what was found for the last one holds.
 */
static ks_err find_windows(struct ksi_rollup *r)
{
    int64_t shift = r->window / r->step;
    bool shared = r->window % r->step == 0 && shift <= (int64_t)r->points;
    size_t count = shared ? r->points + (size_t)shift : 2 * (size_t)r->points;
    uint32_t *b = ksi_rollup_buf(r->scratch, KSI_BUF_BOUNDS, count, sizeof *b);
    if (!b)
        return KS_ENOMEM;
    struct ks_rollup_bounds *had = &r->scratch->bounds;
    r->lo = b;
    r->hi = b + (shared ? (size_t)shift : r->points);
    if (r->times_id && had->times_id == r->times_id && had->first_ms == r->end0 &&
        had->step_ms == r->step && had->window_ms == r->window && had->points == r->points) {
        r->work = had->work;
        return KS_OK;
    }
    find_bounds(r, r->end0 - r->window, shared ? (uint32_t)count : r->points, b);
    if (!shared)
        find_bounds(r, r->end0, r->points, b + r->points);
    r->work = 0;
    for (uint32_t k = 0; k < r->points; k++)
        r->work += r->hi[k] - r->lo[k];
    *had = (struct ks_rollup_bounds){.times_id = r->times_id,
                                     .first_ms = r->end0,
                                     .step_ms = r->step,
                                     .window_ms = r->window,
                                     .points = r->points,
                                     .work = r->work};
    return KS_OK;
}

ks_err ksi_rollup_prepare(const struct ks_rollup_config *cfg, const struct ksi_rollup_input *in,
                          bool resets, struct ks_rollup_scratch *s, struct ksi_rollup *ret)
{
    size_t n = in->n;
    if (n >= UINT32_MAX)
        return ks_fail(KS_ELIMIT, "a series of %zu samples is too long", n);
    struct ksi_rollup r = {.cfg = cfg, .scratch = s, .times = in->times, .values = in->values};
    r.n = (uint32_t)n;
    r.points = (uint32_t)ks_rollup_points(cfg);
    r.step = cfg->step_ms;
    r.end0 = cfg->start_ms - cfg->offset_ms;
    if (cfg->func == KS_FN_ROLLUP_CANDLESTICK)
        r.end0 += cfg->step_ms; /* a candle lies after its time stamp */
    bool rises = resets && never_falls(r.values, n, in->rising);
    r.times_id = in->times_id;
    r.plain = rises || !ksi_has_nan(r.values + in->plain, n - in->plain);
    if (!r.plain) {
        r.times_id = 0;
        KS_TRY(drop_nans(&r));
        rises = resets && never_falls(r.values, r.n, 0);
    }
    if (resets && !rises)
        KS_TRY(remove_resets(&r));
    choose_window(&r);
    KS_TRY(find_windows(&r));
    *ret = r;
    return KS_OK;
}
