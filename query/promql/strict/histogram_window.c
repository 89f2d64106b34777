/* Functions over the native histograms of one series in a window (histogram_math.h). */
#include "query/promql/strict/histogram_math.h"

/*
 * Looks at all points before anything is computed: gauges among counters, mixed bucket kinds, and
 * the lowest resolution. *first becomes an empty histogram when the second point is a reset: then
 * the first one's buckets do not matter.
 */
static int32_t survey(const struct ks_hist_window *w, bool counter, struct ks_histogram *first,
                      unsigned *notes)
{
    const struct ks_histogram *p = w->points, *last = &p[w->count - 1];
    *first = p[0];
    if (counter && (p[0].hint == KS_HISTOGRAM_GAUGE || last->hint == KS_HISTOGRAM_GAUGE))
        *notes |= KS_HIST_NOT_COUNTER;
    if (counter && ks_hist_detect_reset(&p[1], &p[0]))
        *first = (struct ks_histogram){.schema = p[1].schema,
                                       .is_float = true,
                                       .custom_values = p[1].custom_values,
                                       .custom_count = p[1].custom_count};
    bool custom = ks_histogram_is_custom(first);
    int32_t schema = first->schema < last->schema ? first->schema : last->schema;
    if (ks_histogram_is_custom(last) != custom)
        *notes |= KS_HIST_MIXED_SCHEMAS;
    for (size_t i = 1; counter && i + 1 < w->count; i++) {
        if (p[i].hint == KS_HISTOGRAM_GAUGE)
            *notes |= KS_HIST_NOT_COUNTER;
        if (ks_histogram_is_custom(&p[i]) != custom)
            *notes |= KS_HIST_MIXED_SCHEMAS;
        schema = p[i].schema < schema ? p[i].schema : schema;
    }
    return schema;
}

/* last - first, and for counters plus what stood before each reset. */
static ks_err difference(struct ks_arena *arena, const struct ks_hist_window *w, bool counter,
                         struct ks_histogram *ret, unsigned *notes)
{
    const struct ks_histogram *p = w->points;
    struct ks_histogram first;
    int32_t schema = survey(w, counter, &first, notes);
    if (*notes & KS_HIST_FATAL)
        return KS_OK;
    KS_TRY(ks_histogram_copy_buckets(arena, &p[w->count - 1], ret));
    KS_TRY(ks_hist_reduce(arena, ret, schema));
    KS_TRY(ks_hist_sub(arena, ret, &first, notes));
    const struct ks_histogram *previous = &first;
    for (size_t i = 1; counter && i < w->count && !(*notes & KS_HIST_FATAL); i++) {
        if (ks_hist_detect_reset(&p[i], previous))
            KS_TRY(ks_hist_add(arena, ret, previous, notes));
        previous = &p[i];
    }
    if (!counter && (p[0].hint != KS_HISTOGRAM_GAUGE || p[w->count - 1].hint != KS_HISTOGRAM_GAUGE))
        *notes |= KS_HIST_NOT_GAUGE;
    return KS_OK;
}

/* How much longer the window is than what the samples cover; Prometheus' rule for where a series
 * starts and ends. */
static double extrapolation(const struct ks_hist_window *w)
{
    int64_t first = w->times_ms[0], last = w->times_ms[w->count - 1];
    double to_start = (double)(first - w->start_ms) / 1000,
           to_end = (double)(w->end_ms - last) / 1000;
    double sampled = (double)(last - first) / 1000, average = sampled / (double)(w->count - 1);
    double threshold = average * 1.1;
    if (to_start >= threshold)
        to_start = average / 2;
    if (to_end >= threshold)
        to_end = average / 2;
    return (sampled + to_start + to_end) / sampled;
}

ks_err ks_hist_rate(struct ks_arena *arena, const struct ks_hist_window *w, enum ks_hist_rate kind,
                    struct ks_histogram *ret, bool *ret_any, unsigned *notes)
{
    unsigned mine = 0;
    *ret_any = false;
    if (w->count < 2)
        return KS_OK;
    KS_TRY(difference(arena, w, kind != KS_HIST_DELTA, ret, &mine));
    *notes |= mine;
    if (mine & KS_HIST_FATAL)
        return KS_OK;
    ret->hint = KS_HISTOGRAM_GAUGE;
    KS_TRY(ks_histogram_compact(arena, 0, ret));
    double factor = extrapolation(w);
    if (kind == KS_HIST_RATE)
        factor /= (double)(w->end_ms - w->start_ms) / 1000;
    ks_hist_mul(ret, factor);
    *ret_any = true;
    return KS_OK;
}

ks_err ks_hist_instant(struct ks_arena *arena, const struct ks_hist_window *w, bool rate,
                       struct ks_histogram *ret, bool *ret_any, unsigned *notes)
{
    unsigned mine = 0;
    *ret_any = false;
    if (w->count < 2)
        return KS_OK;
    const struct ks_histogram *a = &w->points[w->count - 2], *b = a + 1;
    int64_t interval_ms = w->times_ms[w->count - 1] - w->times_ms[w->count - 2];
    if (!interval_ms)
        return KS_OK;
    bool some_gauge = a->hint == KS_HISTOGRAM_GAUGE || b->hint == KS_HISTOGRAM_GAUGE;
    bool all_gauge = a->hint == KS_HISTOGRAM_GAUGE && b->hint == KS_HISTOGRAM_GAUGE;
    if (rate && some_gauge)
        mine |= KS_HIST_NOT_COUNTER;
    if (!rate && !all_gauge)
        mine |= KS_HIST_NOT_GAUGE;
    KS_TRY(ks_histogram_copy_buckets(arena, b, ret));
    if (!rate || !ks_hist_detect_reset(b, a))
        KS_TRY(ks_hist_sub(arena, ret, a, &mine));
    *notes |= mine;
    if (mine & KS_HIST_FATAL)
        return KS_OK;
    ret->hint = KS_HISTOGRAM_GAUGE;
    KS_TRY(ks_histogram_compact(arena, 0, ret));
    if (rate)
        ks_hist_div(ret, (double)interval_ms / 1000);
    *ret_any = true;
    return KS_OK;
}

static ks_err over_time(struct ks_arena *arena, const struct ks_hist_window *w, bool mean,
                        struct ks_histogram *ret, bool *ret_any, unsigned *notes)
{
    unsigned mine = 0;
    *ret_any = false;
    if (!w->count)
        return KS_OK;
    KS_TRY(ks_histogram_copy_buckets(arena, &w->points[0], ret));
    for (size_t i = 1; i < w->count && !mine; i++) {
        if (mean)
            KS_TRY(ks_hist_mean_add(arena, ret, &w->points[i], (double)(i + 1), &mine));
        else
            KS_TRY(ks_hist_add(arena, ret, &w->points[i], &mine));
    }
    *notes |= mine;
    *ret_any = !(mine & KS_HIST_FATAL);
    return KS_OK;
}

ks_err ks_hist_sum_over_time(struct ks_arena *arena, const struct ks_hist_window *w,
                             struct ks_histogram *ret, bool *ret_any, unsigned *notes)
{
    return over_time(arena, w, false, ret, ret_any, notes);
}

ks_err ks_hist_avg_over_time(struct ks_arena *arena, const struct ks_hist_window *w,
                             struct ks_histogram *ret, bool *ret_any, unsigned *notes)
{
    return over_time(arena, w, true, ret, ret_any, notes);
}

size_t ks_hist_resets(const struct ks_hist_window *w)
{
    size_t n = 0;
    for (size_t i = 1; i < w->count; i++)
        n += ks_hist_detect_reset(&w->points[i], &w->points[i - 1]);
    return n;
}

size_t ks_hist_changes(const struct ks_hist_window *w)
{
    size_t n = 0;
    for (size_t i = 1; i < w->count; i++)
        n += !ks_histogram_equal(&w->points[i], &w->points[i - 1]);
    return n;
}
