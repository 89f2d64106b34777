/*
 * MetricsQL rollups of differences: delta, increase, rate and their kin look at two or three
 * samples per window (resets are already removed); changes, resets and increases count steps
 * between neighbours. Definitions: VictoriaMetrics 1.150.
 */
#include "base/clones.h"
#include "query/promql/rollup/rollup_priv.h"

/*
 * Last value minus the one before the window. A series that begins inside the window counts from 0
 * if its first value is small against its next step, else from that first value: long-running
 * counters must not jump when first seen.
 */
static inline double delta_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (!isnan(w->prev))
        return w->hi > w->lo ? r->values[w->hi - 1] - w->prev : 0;
    if (w->hi == w->lo)
        return ksi_absent();
    double last = r->values[w->hi - 1], before = ksi_real_prev(r, w);
    if (!isnan(before))
        return last - before;
    double first = r->values[w->lo], step = 0;
    if (w->hi - w->lo > 1 || (w->hi < r->n && !isnan(r->values[w->hi])))
        step = r->values[w->lo + 1] - first;
    if (fabs(first) < 10 * (fabs(step) + 1))
        return last; /* last - 0 */
    return w->hi - w->lo > 1 ? last - first : 0;
}
KSI_EACH_WINDOW(ksi_k_delta, delta_of)

static inline double delta_inside(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return w->hi - w->lo < 2 ? ksi_absent() : r->values[w->hi - 1] - r->values[w->lo];
}
KSI_EACH_WINDOW(ksi_k_delta_prometheus, delta_inside)

static inline double rate_inside(const struct ksi_rollup *r, const struct ksi_window *w)
{
    return delta_inside(r, w) / ksi_seconds(r->window);
}
KSI_EACH_WINDOW(ksi_k_rate_prometheus, rate_inside)

static inline double increase_pure(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double prev = w->prev;
    if (isnan(prev)) {
        if (w->hi == w->lo)
            return ksi_absent();
        double before = ksi_real_prev(r, w);
        prev = isnan(before) ? 0 : before;
    }
    return w->hi == w->lo ? 0 : r->values[w->hi - 1] - prev;
}
KSI_EACH_WINDOW(ksi_k_increase_pure, increase_pure)

static inline double idelta_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    if (w->hi == w->lo)
        return isnan(w->prev) ? ksi_absent() : 0;
    double last = r->values[w->hi - 1];
    if (w->hi - w->lo > 1)
        return last - r->values[w->hi - 2];
    return isnan(w->prev) ? last : last - w->prev;
}
KSI_EACH_WINDOW(ksi_k_idelta, idelta_of)

static inline double ideriv_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    uint32_t last = w->hi - 1;
    if (w->hi == w->lo)
        return ksi_absent();
    if (w->hi - w->lo > 1)
        return (r->values[last] - r->values[last - 1]) /
               ksi_seconds(r->times[last] - r->times[last - 1]);
    if (isnan(w->prev))
        return ksi_absent();
    return (r->values[last] - w->prev) / ksi_seconds(r->times[last] - w->prev_ts);
}
KSI_EACH_WINDOW(ksi_k_ideriv, ideriv_of)

static inline double deriv_fast_of(const struct ksi_rollup *r, const struct ksi_window *w)
{
    double prev = w->prev;
    int64_t prev_ts = w->prev_ts;
    if (isnan(prev)) {
        if (w->hi - w->lo < 2)
            return ksi_absent();
        prev = r->values[w->lo];
        prev_ts = r->times[w->lo];
    } else if (w->hi == w->lo) {
        return 0;
    }
    uint32_t last = w->hi - 1;
    return (r->values[last] - prev) / ksi_seconds(r->times[last] - prev_ts);
}

/*
 * Where windows have samples and one near before them, the rate is (last - before) / span for all
 * points alike: the first stretch of such windows. Spans are those of the times, which series of
 * one target share. steady: each window of the stretch is one sample on.
 */
static bool is_steady(const uint32_t *lo, const uint32_t *hi, uint32_t n)
{
    uint32_t differ = 0;
    for (uint32_t k = 0; k < n; k++)
        differ |= (lo[k] - lo[0] - k) | (hi[k] - hi[0] - k);
    return !differ;
}

/* n spans, of 0 to 2^52 ms; false when a sample before is not after its reach. */
static KS_CLONES bool steady_spans(const int64_t *last, const int64_t *before, uint32_t n,
                                   int64_t reach, int64_t step, double *restrict ret)
{
    int64_t far = 0;
    for (uint32_t k = 0; k < n; k++, reach += step) {
        /* An integer below 2^52 added to the bits of 2^52 is their sum: for CPUs without a
         * conversion of several. */
        uint64_t bits = 0x4330000000000000 | (uint64_t)(last[k] - before[k]);
        ret[k] = (ks_f64_from_bits(bits) - 0x1p52) / 1e3;
        far |= before[k] <= reach;
    }
    return !far;
}

static bool near_before(const struct ksi_rollup *r, uint32_t k, int64_t reach)
{
    return r->lo[k] && r->hi[k] > r->lo[k] && r->times[r->lo[k] - 1] > reach + k * r->step;
}

static void find_spans(const struct ksi_rollup *r, struct ks_rollup_spans *s, double *ret)
{
    const uint32_t *lo = r->lo, *hi = r->hi, n = r->points;
    const int64_t *t = r->times;
    int64_t reach = r->end0 - r->window - r->max_prev;
    *s = (struct ks_rollup_spans){.known = true, .to = n, .max_prev_ms = r->max_prev};
    while (s->from < n && !near_before(r, s->from, reach))
        s->from++;
    uint32_t k = s->from;
    if (k == n)
        return;
    s->steady =
        r->window + r->max_prev < (int64_t)1 << 52 && is_steady(lo + k, hi + k, n - k) &&
        steady_spans(t + hi[k] - 1, t + lo[k] - 1, n - k, reach + k * r->step, r->step, ret + k);
    if (s->steady)
        return;
    for (; k < n && near_before(r, k, reach); k++)
        ret[k] = ksi_seconds(t[hi[k] - 1] - t[lo[k] - 1]);
    s->to = k;
}

static KS_CLONES void steady_rates(const double *last, const double *before, const double *spans,
                                   size_t n, double *restrict out)
{
    for (size_t k = 0; k < n; k++)
        out[k] = (last[k] - before[k]) / spans[k];
}

static void deriv_fast_some(const struct ksi_rollup *r, uint32_t from, uint32_t to, double *out)
{
    for (uint32_t k = from; k < to; k++) {
        struct ksi_window w = ksi_window_at(r, k);
        out[k] = deriv_fast_of(r, &w);
    }
}

ks_err ksi_k_deriv_fast(struct ksi_rollup *r, double *out)
{
    enum { FEW = 4 }; /* points for which looking ahead is more than it saves */
    if (r->points <= FEW) {
        deriv_fast_some(r, 0, r->points, out);
        return KS_OK;
    }
    struct ks_rollup_spans *s = &r->scratch->bounds.spans;
    double *spans = ksi_rollup_buf(r->scratch, KSI_BUF_SPANS, r->points, sizeof *spans);
    const double *v = r->values;
    const uint32_t *lo = r->lo, *hi = r->hi;
    if (!spans)
        return KS_ENOMEM;
    if (!s->known || s->max_prev_ms != r->max_prev)
        find_spans(r, s, spans);
    uint32_t from = r->plain ? s->from : r->points, to = r->plain ? s->to : r->points;
    deriv_fast_some(r, 0, from, out);
    if (s->steady && to > from)
        steady_rates(v + hi[from] - 1, v + lo[from] - 1, spans + from, to - from, out + from);
    else
        for (uint32_t k = from; k < to; k++)
            out[k] = (v[hi[k] - 1] - v[lo[k] - 1]) / spans[k];
    deriv_fast_some(r, to, r->points, out);
    return KS_OK;
}

/* A difference this small is taken for a rounding error of whoever computed the values. */
static inline bool negligible(double from, double to)
{
    return fabs(to - from) < 1e-12 * fabs(to);
}

enum step_kind { STEP_CHANGE, STEP_UP, STEP_DOWN };

static inline bool is_step(enum step_kind kind, double from, double to)
{
    return kind == STEP_CHANGE ? to != from : kind == STEP_UP ? to > from : to < from;
}

/*
 * Counts steps within one window by the definition: after a negligible step the comparison goes on
 * from the value before it, so a window's count is not a difference of two totals.
 */
static uint32_t count_steps(enum step_kind kind, const double *v, uint32_t n, double prev)
{
    uint32_t steps = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_step(kind, prev, v[i])) {
            if (negligible(prev, v[i]))
                continue;
            steps++;
        }
        prev = v[i];
    }
    return steps;
}

/*
 * total[i] = steps among samples 0..i; false when some step is negligible (or not a number is
 * about), so that totals may not be used.
 */
static bool total_steps(enum step_kind kind, const double *v, uint32_t n, uint32_t *total)
{
    bool usable = true;
    uint32_t steps = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i && v[i] != v[i - 1]) {
            usable &= !negligible(v[i - 1], v[i]) && v[i] == v[i];
            steps += is_step(kind, v[i - 1], v[i]);
        }
        total[i] = steps;
    }
    return usable;
}

/* use_prev: the sample before the window takes part; first_counts: without one, the first sample is
 * itself a change. */
static ks_err steps_kernel(struct ksi_rollup *r, enum step_kind kind, bool use_prev,
                           bool first_counts, double *out)
{
    uint32_t *total = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *total);
    if (!total)
        return KS_ENOMEM;
    bool usable = total_steps(kind, r->values, r->n, total);
    for (uint32_t k = 0; k < r->points; k++) {
        struct ksi_window w = ksi_window_at(r, k);
        double prev = use_prev ? w.prev : ksi_absent();
        if (w.hi == w.lo) {
            out[k] = isnan(prev) ? ksi_absent() : 0;
            continue;
        }
        if (isnan(prev) && first_counts)
            prev = ksi_real_prev(r, &w);
        bool from_prev = !isnan(prev);
        uint32_t from = from_prev ? w.lo : w.lo + 1, steps;
        if (usable)
            steps = total[w.hi - 1] - total[from_prev ? w.lo - 1 : w.lo];
        else
            steps = count_steps(kind, r->values + from, w.hi - from,
                                from_prev ? prev : r->values[w.lo]);
        out[k] = (double)(steps + (!from_prev && first_counts));
    }
    return KS_OK;
}

ks_err ksi_k_changes(struct ksi_rollup *r, double *out)
{
    return steps_kernel(r, STEP_CHANGE, true, true, out);
}

ks_err ksi_k_changes_prometheus(struct ksi_rollup *r, double *out)
{
    return steps_kernel(r, STEP_CHANGE, false, false, out);
}

ks_err ksi_k_increases(struct ksi_rollup *r, double *out)
{
    return steps_kernel(r, STEP_UP, true, false, out);
}

/* Also decreases_over_time. */
ks_err ksi_k_resets(struct ksi_rollup *r, double *out)
{
    return steps_kernel(r, STEP_DOWN, true, false, out);
}
