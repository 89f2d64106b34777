#include "query/promql/strict/strict_range.h"

#include "query/promql/strict/histogram_math.h"

/* A series as it is looked at: stale markers are gone, unless the last sample alone counts. */
struct series {
    const struct ksi_ctx *ctx;
    const struct ksi_plan *p;
    const struct ks_expr *at; /* where annotations are placed */
    struct ks_slice name;
    struct ksi_range *w;
    const int64_t *times; /* numbers */
    const double *values;
    size_t count;
    int64_t *hist_times;
    struct ks_histogram *hists; /* float ones */
    double *points;             /* of each: its name once it has one, else 0 */
    size_t hist_count;
};

/* A window: numbers [lo, hi), histograms [hlo, hhi), at least one of these. */
struct window {
    size_t lo, hi, hlo, hhi;
    int64_t start_ms, end_ms;
};

void ksi_range_init(struct ksi_range *w, const struct ksi_query *q)
{
    *w = (struct ksi_range){0};
    ks_arena_init(&w->series, q->max_memory_bytes);
    ks_arena_init(&w->point, q->max_memory_bytes);
}

void ksi_range_done(struct ksi_range *w)
{
    ks_samples_done(&w->numbers);
    ks_rollup_scratch_done(&w->scratch);
    ks_arena_done(&w->series);
    ks_arena_done(&w->point);
}

/* --- annotations --- */

static ks_err mixed(const struct series *s)
{
    return ksi_warn(s->ctx->q, s->at,
                    "encountered a mix of histograms and floats for metric name \"%.*s\"",
                    KS_SLICE_ARG(s->name));
}

static ks_err ignored(const struct series *s)
{
    /* quantile_over_time: Prometheus places it at the first argument. */
    const struct ks_expr *at = s->p->cfg.func == KS_FN_QUANTILE_OVER_TIME ? s->p->first_arg : s->at;
    return ksi_inform(s->ctx->q, at,
                      "ignored histograms in a range containing both floats and histograms for "
                      "metric name \"%.*s\"",
                      KS_SLICE_ARG(s->name));
}

/* --- points --- */

/* The i-th histogram itself as a point. */
static ks_err itself(struct series *s, size_t i, double *ret)
{
    if (!ksi_is_hist(s->points[i]))
        KS_TRY(ksi_hist_keep(s->ctx->q, &s->hists[i], &s->points[i]));
    *ret = s->points[i];
    return KS_OK;
}

static bool histogram_is_last(const struct series *s, const struct window *w)
{
    return w->hi == w->lo || s->hist_times[w->hhi - 1] >= s->times[w->hi - 1];
}

static bool histogram_is_first(const struct series *s, const struct window *w)
{
    return w->hi == w->lo || s->hist_times[w->hlo] <= s->times[w->lo];
}

/* The bare selector and its time stamp: the last sample, nothing if that is a stale marker. */
static ks_err instant(struct series *s, const struct window *w, bool time, double *ret)
{
    size_t i = w->hhi - 1;
    if (!histogram_is_last(s, w))
        return KS_OK; /* what the kernel said */
    *ret = ksi_absent();
    if (ks_histogram_is_stale(&s->hists[i]))
        return KS_OK;
    if (!time)
        return itself(s, i, ret);
    *ret = (double)s->hist_times[i] / 1e3;
    return KS_OK;
}

static struct ks_hist_window window_of(const struct series *s, const struct window *w)
{
    return (struct ks_hist_window){.points = s->hists + w->hlo,
                                   .times_ms = s->hist_times + w->hlo,
                                   .count = w->hhi - w->hlo,
                                   .start_ms = w->start_ms,
                                   .end_ms = w->end_ms};
}

typedef ks_err (*range_fn)(struct ks_arena *arena, const struct ks_hist_window *w,
                           struct ks_histogram *ret, bool *ret_any, unsigned *notes);

static ks_err rate(struct ks_arena *a, const struct ks_hist_window *w, struct ks_histogram *ret,
                   bool *any, unsigned *notes)
{
    return ks_hist_rate(a, w, KS_HIST_RATE, ret, any, notes);
}
static ks_err increase(struct ks_arena *a, const struct ks_hist_window *w, struct ks_histogram *ret,
                       bool *any, unsigned *notes)
{
    return ks_hist_rate(a, w, KS_HIST_INCREASE, ret, any, notes);
}
static ks_err delta(struct ks_arena *a, const struct ks_hist_window *w, struct ks_histogram *ret,
                    bool *any, unsigned *notes)
{
    return ks_hist_rate(a, w, KS_HIST_DELTA, ret, any, notes);
}
static ks_err irate(struct ks_arena *a, const struct ks_hist_window *w, struct ks_histogram *ret,
                    bool *any, unsigned *notes)
{
    return ks_hist_instant(a, w, true, ret, any, notes);
}
static ks_err idelta(struct ks_arena *a, const struct ks_hist_window *w, struct ks_histogram *ret,
                     bool *any, unsigned *notes)
{
    return ks_hist_instant(a, w, false, ret, any, notes);
}

/* A histogram out of the window's histograms. */
static ks_err whole(struct series *s, const struct window *w, range_fn fn, double *ret)
{
    struct ks_hist_window hw = window_of(s, w);
    struct ks_histogram h;
    bool any = false;
    unsigned notes = 0;
    *ret = ksi_absent();
    KS_TRY(fn(&s->w->point, &hw, &h, &any, &notes));
    KS_TRY(ksi_hist_notes(s->ctx->q, s->at, notes, s->name));
    return any ? ksi_hist_keep(s->ctx->q, &h, ret) : KS_OK;
}

/* The same where numbers in the window spoil it. */
static ks_err unmixed(struct series *s, const struct window *w, range_fn fn, double *ret)
{
    if (w->hi == w->lo)
        return whole(s, w, fn, ret);
    *ret = ksi_absent();
    return mixed(s);
}

/* irate, idelta: of the last two samples; a number and a histogram do not go together. */
static ks_err last_two(struct series *s, const struct window *w, range_fn fn, double *ret)
{
    size_t n = w->hi - w->lo, h = w->hhi - w->hlo;
    *ret = n + h < 2 ? ksi_absent() : *ret;
    if (n == 0 || n + h < 2)
        return n ? KS_OK : whole(s, w, fn, ret);
    int64_t number = s->times[w->hi - 1], histogram = s->hist_times[w->hhi - 1];
    if (h >= 2 && s->hist_times[w->hhi - 2] > number)
        return whole(s, w, fn, ret);
    if (n >= 2 && s->times[w->hi - 2] > histogram)
        return KS_OK; /* two numbers: the kernel's answer */
    *ret = ksi_absent();
    return mixed(s);
}

/* Both kinds in order of time. */
static size_t next_of(const struct series *s, const struct window *w, size_t *i, size_t *h,
                      bool *ret_hist)
{
    *ret_hist = *i == w->hi || (*h < w->hhi && s->hist_times[*h] < s->times[*i]);
    return *ret_hist ? (*h)++ : (*i)++;
}

static double neighbours(const struct series *s, const struct window *w, bool resets)
{
    size_t i = w->lo, h = w->hlo, before = 0, n = 0;
    bool before_hist = false;
    for (bool first = true; i < w->hi || h < w->hhi; first = false) {
        bool hist;
        size_t now = next_of(s, w, &i, &h, &hist);
        if (first) {
            /* nothing to compare with */
        } else if (hist != before_hist) {
            n++;
        } else if (hist) {
            n += resets ? ks_hist_detect_reset(&s->hists[now], &s->hists[before])
                        : !ks_histogram_equal(&s->hists[now], &s->hists[before]);
        } else {
            double v = s->values[now], b = s->values[before];
            n += resets ? v < b : v != b && !(isnan(v) && isnan(b));
        }
        before = now;
        before_hist = hist;
    }
    return (double)n;
}

static ks_err last_over_time(struct series *s, const struct window *w, bool time, double *ret)
{
    if (!histogram_is_last(s, w))
        return KS_OK;
    if (!time)
        return itself(s, w->hhi - 1, ret);
    *ret = (double)s->hist_times[w->hhi - 1] / 1e3;
    return KS_OK;
}

static ks_err first_over_time(struct series *s, const struct window *w, bool time, double *ret)
{
    if (!histogram_is_first(s, w))
        return KS_OK;
    if (!time)
        return itself(s, w->hlo, ret);
    *ret = (double)s->hist_times[w->hlo] / 1e3;
    return KS_OK;
}

/* *ret comes with what the kernel made of the numbers alone. */
static ks_err point(struct series *s, const struct window *w, double *ret)
{
    switch (s->p->cfg.func) {
    case KS_FN_DEFAULT_ROLLUP:
        return instant(s, w, false, ret);
    case KS_FN_TIMESTAMP:
        return instant(s, w, true, ret);
    case KS_FN_RATE:
        return unmixed(s, w, rate, ret);
    case KS_FN_INCREASE:
        return unmixed(s, w, increase, ret);
    case KS_FN_DELTA:
        return unmixed(s, w, delta, ret);
    case KS_FN_SUM_OVER_TIME:
        return unmixed(s, w, ks_hist_sum_over_time, ret);
    case KS_FN_AVG_OVER_TIME:
        return unmixed(s, w, ks_hist_avg_over_time, ret);
    case KS_FN_IRATE:
        return last_two(s, w, irate, ret);
    case KS_FN_IDELTA:
        return last_two(s, w, idelta, ret);
    case KS_FN_LAST_OVER_TIME:
    case KS_FN_TS_OF_LAST_OVER_TIME:
        return last_over_time(s, w, s->p->cfg.func == KS_FN_TS_OF_LAST_OVER_TIME, ret);
    case KS_FN_FIRST_OVER_TIME:
    case KS_FN_TS_OF_FIRST_OVER_TIME:
        return first_over_time(s, w, s->p->cfg.func == KS_FN_TS_OF_FIRST_OVER_TIME, ret);
    case KS_FN_COUNT_OVER_TIME:
        *ret = (double)(w->hi - w->lo + w->hhi - w->hlo);
        return KS_OK;
    case KS_FN_PRESENT_OVER_TIME:
        *ret = 1;
        return KS_OK;
    case KS_FN_ABSENT_OVER_TIME:
        *ret = ksi_absent();
        return KS_OK;
    case KS_FN_CHANGES:
    case KS_FN_RESETS:
        *ret = neighbours(s, w, s->p->cfg.func == KS_FN_RESETS);
        return KS_OK;
    default: /* functions of numbers */
        return w->hi > w->lo ? ignored(s) : KS_OK;
    }
}

/* --- a series --- */

/*
 * Which hints hold for these points. That there was no reset is only believed of what was looked
 * at: between two samples as they were written others may have been lost or thinned out. Of a
 * subquery's points no hint holds, as samples are left out or come twice.
 */
static uint8_t hint_of(const struct series *s, uint8_t hint)
{
    bool dropped = hint == KS_HISTOGRAM_NOT_RESET || (hint == KS_HISTOGRAM_RESET && s->p->subquery);
    return dropped ? KS_HISTOGRAM_UNKNOWN : hint;
}

/* Histograms as floats, without stale ones unless these count. */
static ks_err take_histograms(struct series *s, const struct ks_histogram_run *run, bool stale)
{
    struct ks_arena *a = &s->w->series;
    s->hist_times = ks_arena_array(a, run->count + 1, sizeof *s->hist_times);
    s->hists = ks_arena_array(a, run->count + 1, sizeof *s->hists);
    s->points = ks_arena_zalloc(a, (run->count + 1) * sizeof *s->points);
    if (!s->hist_times || !s->hists || !s->points)
        return ks_arena_err(a);
    for (size_t i = 0; i < run->count; i++) {
        if (!stale && ks_histogram_is_stale(&run->items[i]))
            continue;
        s->hist_times[s->hist_count] = run->times[i];
        struct ks_histogram *h = &s->hists[s->hist_count++];
        KS_TRY(ks_histogram_to_float(a, &run->items[i], h));
        h->hint = hint_of(s, h->hint);
    }
    return KS_OK;
}

static ks_err take_numbers(struct series *s, bool stale)
{
    const struct ks_samples *in = &s->w->numbers;
    struct ks_arena *a = &s->w->series;
    int64_t *times = ks_arena_array(a, in->count + 1, sizeof *times);
    double *values = ks_arena_array(a, in->count + 1, sizeof *values);
    if (!times || !values)
        return ks_arena_err(a);
    for (size_t i = 0; i < in->count; i++) {
        if (!stale && ks_is_stale_nan(in->values[i]))
            continue;
        times[s->count] = in->times[i];
        values[s->count++] = in->values[i];
    }
    s->times = times;
    s->values = values;
    return KS_OK;
}

static void advance(const int64_t *times, size_t n, int64_t start_ms, int64_t end_ms, size_t *lo,
                    size_t *hi)
{
    while (*hi < n && times[*hi] <= end_ms)
        ++*hi;
    while (*lo < *hi && times[*lo] <= start_ms)
        ++*lo;
}

ks_err ksi_range_run(const struct ksi_ctx *ctx, const struct ksi_plan *p, struct ks_slice labels,
                     const struct ks_histogram_run *run, struct ksi_range *w, double *out)
{
    static const struct ks_expr query_start; /* of a subquery Prometheus knows no place */
    const struct ks_rollup_config *cfg = &p->cfg;
    bool stale = cfg->func == KS_FN_DEFAULT_ROLLUP || cfg->func == KS_FN_TIMESTAMP;
    struct series s = {.ctx = ctx, .p = p, .at = p->subquery ? &query_start : p->written, .w = w};
    s.name = ks_labels_get(labels, KS_NAME_LABEL);
    KS_TRY(ks_rollup_run(cfg, w->numbers.times, w->numbers.values, w->numbers.count, &w->scratch,
                         out));
    KS_TRY(take_histograms(&s, run, stale));
    KS_TRY(take_numbers(&s, stale));
    struct window x = {0};
    for (size_t k = 0; k < ks_rollup_points(cfg); k++) {
        x.end_ms = cfg->start_ms + (int64_t)k * cfg->step_ms - cfg->offset_ms;
        x.start_ms = x.end_ms - cfg->window_ms;
        advance(s.times, s.count, x.start_ms, x.end_ms, &x.lo, &x.hi);
        advance(s.hist_times, s.hist_count, x.start_ms, x.end_ms, &x.hlo, &x.hhi);
        if (x.hlo == x.hhi)
            continue;
        ks_arena_reset(&w->point);
        KS_TRY(point(&s, &x, &out[k]));
        if ((k & 63) == 0)
            KS_TRY(ks_read_ctx_check(&ctx->q->read));
    }
    return KS_OK;
}

ks_err ksi_range_select(const struct ksi_run *r, size_t i, struct ksi_range *w, double *out)
{
    struct ksi_query *q = r->ctx->q;
    struct ks_histogram_run run;
    ks_arena_reset(&w->series);
    KS_TRY(q->src->read(r->set, i, r->min_ms, r->max_ms, &w->numbers));
    ks_samples_settle(&w->numbers, &q->read);
    ksi_plain_nans(w->numbers.values, w->numbers.count);
    KS_TRY(q->src->read_histograms(r->set, i, r->min_ms, r->max_ms, &w->series, &run));
    return ksi_range_run(r->ctx, r->plan, q->src->labels(r->set, i), &run, w, out);
}
