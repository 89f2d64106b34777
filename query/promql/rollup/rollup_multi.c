/*
 * Rollups that make several series of one: rollup and its kin, candlestick, aggr_over_time,
 * quantiles_over_time, count_values_over_time, histogram_over_time. Samples are prepared once and
 * every output reads them.
 */
#include "query/promql/rollup/rollup_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/vmrange.h"

bool ks_rollup_is_multi(const struct ks_rollup_config *cfg)
{
    switch (cfg->func) {
    case KS_FN_AGGR_OVER_TIME:
    case KS_FN_COUNT_VALUES_OVER_TIME:
    case KS_FN_HISTOGRAM_OVER_TIME:
    case KS_FN_QUANTILES_OVER_TIME:
    case KS_FN_ROLLUP:
    case KS_FN_ROLLUP_CANDLESTICK:
    case KS_FN_ROLLUP_DELTA:
    case KS_FN_ROLLUP_DERIV:
    case KS_FN_ROLLUP_INCREASE:
    case KS_FN_ROLLUP_RATE:
    case KS_FN_ROLLUP_SCRAPE_INTERVAL:
        return true;
    default:
        return false;
    }
}

enum ks_promql_func_id ksi_aggr_func(struct ks_slice name)
{
    static const enum ks_promql_func_id allowed[] = {
        KS_FN_ABSENT_OVER_TIME,
        KS_FN_ASCENT_OVER_TIME,
        KS_FN_AVG_OVER_TIME,
        KS_FN_CHANGES,
        KS_FN_COUNT_OVER_TIME,
        KS_FN_DECREASES_OVER_TIME,
        KS_FN_DEFAULT_ROLLUP,
        KS_FN_DELTA,
        KS_FN_DERIV,
        KS_FN_DERIV_FAST,
        KS_FN_DESCENT_OVER_TIME,
        KS_FN_DISTINCT_OVER_TIME,
        KS_FN_FIRST_OVER_TIME,
        KS_FN_GEOMEAN_OVER_TIME,
        KS_FN_IDELTA,
        KS_FN_IDERIV,
        KS_FN_INCREASE,
        KS_FN_INCREASE_PURE,
        KS_FN_INCREASES_OVER_TIME,
        KS_FN_INTEGRATE,
        KS_FN_IRATE,
        KS_FN_LAG,
        KS_FN_LAST_OVER_TIME,
        KS_FN_LIFETIME,
        KS_FN_MAD_OVER_TIME,
        KS_FN_MAX_OVER_TIME,
        KS_FN_MEDIAN_OVER_TIME,
        KS_FN_MIN_OVER_TIME,
        KS_FN_MODE_OVER_TIME,
        KS_FN_PRESENT_OVER_TIME,
        KS_FN_RANGE_OVER_TIME,
        KS_FN_RATE,
        KS_FN_RATE_OVER_SUM,
        KS_FN_RESETS,
        KS_FN_SCRAPE_INTERVAL,
        KS_FN_STALE_SAMPLES_OVER_TIME,
        KS_FN_STDDEV_OVER_TIME,
        KS_FN_STDVAR_OVER_TIME,
        KS_FN_SUM_OVER_TIME,
        KS_FN_SUM2_OVER_TIME,
        KS_FN_TFIRST_OVER_TIME,
        KS_FN_TIMESTAMP,
        KS_FN_TIMESTAMP_WITH_NAME,
        KS_FN_TLAST_CHANGE_OVER_TIME,
        KS_FN_TLAST_OVER_TIME,
        KS_FN_TMAX_OVER_TIME,
        KS_FN_TMIN_OVER_TIME,
        KS_FN_ZSCORE_OVER_TIME,
    };
    if (ks_slice_is(name, "iqr_over_time"))
        return KS_FN_OUTLIER_IQR_OVER_TIME;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (ks_slice_is(name, ks_promql_funcs[allowed[i]].name))
            return allowed[i];
    return KS_FN_COUNT;
}

/* Outputs under construction. */
struct sink {
    struct ks_arena *arena;
    struct ks_rollup_output *items;
    size_t count, cap;
    uint32_t points;
};

/* A new output, its grid not filled; label and value are kept as they are. */
static ks_err add_output(struct sink *s, struct ks_slice label, struct ks_slice value, double **ret)
{
    KS_TRY(ks_arena_grow(s->arena, (void **)&s->items, &s->cap, s->count + 1, sizeof *s->items));
    double *grid = ks_arena_array(s->arena, s->points, sizeof *grid);
    if (!grid)
        return ks_arena_err(s->arena);
    s->items[s->count++] = (struct ks_rollup_output){label, value, grid};
    *ret = grid;
    return KS_OK;
}

static ks_err add_holes(struct sink *s, struct ks_slice label, struct ks_slice value, double **ret)
{
    KS_TRY(add_output(s, label, value, ret));
    for (uint32_t k = 0; k < s->points; k++)
        (*ret)[k] = ksi_absent();
    return KS_OK;
}

/* Replaces each value by what lies between it and the next (per second for deriv), the last by the
 * one before. */
static void to_differences(double *v, const int64_t *t, uint32_t n, bool per_second)
{
    double d = 0;
    for (uint32_t i = 0; i + 1 < n; i++) {
        d = v[i + 1] - v[i];
        if (per_second)
            d /= ksi_seconds(t[i + 1] - t[i]);
        v[i] = d;
    }
    if (n)
        v[n - 1] = d;
}

static void to_intervals(double *v, const int64_t *t, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        v[i] = ksi_seconds(t[i]) - ksi_seconds(t[i - 1]);
    if (n)
        v[0] = n > 1 ? v[1] : ksi_absent();
}

/* The values rollup_rate and its kin take minimum, maximum and mean of. */
static ks_err transform(struct ksi_rollup *r)
{
    enum ks_promql_func_id func = r->cfg->func;
    if (func == KS_FN_ROLLUP)
        return KS_OK;
    double *v = ksi_rollup_buf(r->scratch, KSI_BUF_VALUES, r->n, sizeof *v);
    if (!v)
        return KS_ENOMEM;
    if (v != r->values)
        memcpy(v, r->values, (size_t)r->n * sizeof *v);
    if (func == KS_FN_ROLLUP_SCRAPE_INTERVAL)
        to_intervals(v, r->times, r->n);
    else
        to_differences(v, r->times, r->n, func == KS_FN_ROLLUP_RATE || func == KS_FN_ROLLUP_DERIV);
    r->values = v;
    r->plain = false;
    return KS_OK;
}

struct tagged_kernel {
    const char *tag;
    ksi_rollup_kernel kernel;
};
static const struct tagged_kernel spread[] = {
    {"min", ksi_k_min}, {"max", ksi_k_max}, {"avg", ksi_k_avg}};
static const struct tagged_kernel candle[] = {
    {"open", ksi_k_open}, {"close", ksi_k_close}, {"low", ksi_k_low}, {"high", ksi_k_high}};

/* All kernels, or the one the query names (a candlestick keeps its label even then). */
static ks_err run_tagged(struct ksi_rollup *r, const struct tagged_kernel *kernels, size_t count,
                         bool label_single, struct sink *s)
{
    struct ks_slice want = r->cfg->text;
    for (size_t i = 0; i < count; i++) {
        double *grid;
        if (want.len && !ks_slice_is(want, kernels[i].tag))
            continue;
        bool labelled = want.len == 0 || label_single;
        KS_TRY(add_output(s, labelled ? KS_SLICE_LIT("rollup") : (struct ks_slice){0},
                          labelled ? ks_slice_str(kernels[i].tag) : (struct ks_slice){0}, &grid));
        KS_TRY(kernels[i].kernel(r, grid));
    }
    return KS_OK;
}

static ks_err run_aggr(struct ksi_rollup *r, struct sink *s)
{
    for (size_t i = 0; i < r->cfg->aggr_count; i++) {
        double *grid;
        enum ks_promql_func_id func = ksi_aggr_func(r->cfg->aggr_names[i]);
        KS_ASSERT(func != KS_FN_COUNT);
        KS_TRY(add_output(s, KS_SLICE_LIT("rollup"), r->cfg->aggr_names[i], &grid));
        KS_TRY(ksi_rollup_kernel_of(func, false)(r, grid));
    }
    return KS_OK;
}

static ks_err number_text(struct ks_arena *arena, double v, struct ks_slice *ret)
{
    char text[KS_F64_TEXT_MAX];
    *ret = ks_arena_dup(arena, ks_slice(text, ks_f64_format_g(text, v)));
    return ret->ptr ? KS_OK : ks_arena_err(arena);
}

/* One output per distinct phi; phi is what the argument is at the first point. */
static ks_err run_quantiles(struct ksi_rollup *r, struct sink *s)
{
    size_t count = 0, given = r->cfg->arg_count;
    if (r->work == 0)
        return KS_OK;
    struct ks_rollup_arg *phis = ks_arena_array(s->arena, given, sizeof *phis);
    double **grids = ks_arena_array(s->arena, given, sizeof *grids);
    if (!phis || !grids)
        return ks_arena_err(s->arena);
    for (size_t i = 0; i < given; i++) {
        struct ks_slice text;
        double phi = ksi_arg(r, i, 0);
        bool known = false;
        KS_TRY(number_text(s->arena, phi, &text));
        for (size_t j = 0; j < count; j++)
            known |= ks_slice_eq(s->items[j].value, text);
        if (known)
            continue;
        phis[count] = (struct ks_rollup_arg){.value = phi};
        KS_TRY(add_output(s, r->cfg->text, text, &grids[count]));
        count++;
    }
    return ksi_window_quantiles(r, phis, count, grids);
}

static uint32_t first_equal(const double *sorted, uint32_t n, double v)
{
    uint32_t at = 0;
    while (n > 0) {
        uint32_t half = n / 2;
        bool below = sorted[at + half] < v;
        at += below ? half + 1 : 0;
        n = below ? n - half - 1 : half;
    }
    return at;
}

/* One output per value met in some window. */
static ks_err run_count_values(struct ksi_rollup *r, struct sink *s)
{
    double *sorted = ksi_rollup_buf(r->scratch, KSI_BUF_SORT, 2 * (size_t)r->n, sizeof *sorted);
    uint32_t *id = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *id);
    uint32_t *output =
        ksi_rollup_buf(r->scratch, KSI_BUF_B, r->n, sizeof *output); /* by id: number + 1 */
    if (!sorted || !id || !output)
        return KS_ENOMEM;
    memcpy(sorted, r->values, (size_t)r->n * sizeof *sorted);
    ksi_sort_doubles(sorted, r->n, sorted + r->n);
    memset(output, 0, (size_t)r->n * sizeof *output);
    for (uint32_t i = 0; i < r->n; i++)
        id[i] = first_equal(sorted, r->n, r->values[i]);
    for (uint32_t k = 0; k < r->points; k++)
        for (uint32_t i = r->lo[k]; i < r->hi[k]; i++) {
            double *grid;
            uint32_t *o = &output[id[i]];
            if (*o == 0) {
                struct ks_slice text;
                KS_TRY(number_text(s->arena, r->values[i] + 0.0, &text));
                KS_TRY(add_holes(s, r->cfg->text, text, &grid));
                *o = (uint32_t)s->count;
            }
            grid = s->items[*o - 1].values;
            grid[k] = isnan(grid[k]) ? 1 : grid[k] + 1;
        }
    return KS_OK;
}

static ks_err run_histogram(struct ksi_rollup *r, struct sink *s)
{
    uint32_t inside[KS_VMRANGE_COUNT] = {0}, output[KS_VMRANGE_COUNT] = {0},
             bucket_of[KS_VMRANGE_COUNT];
    int16_t *bucket = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *bucket);
    if (!bucket)
        return KS_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++)
        bucket[i] = (int16_t)ks_vmrange_of(r->values[i]);
    uint32_t lo = 0, hi = 0;
    for (uint32_t k = 0; k < r->points; k++) {
        for (; hi < r->hi[k]; hi++) {
            int b = bucket[hi];
            if (b < 0 || hi < r->lo[k])
                continue;
            inside[b]++;
            if (output[b])
                continue;
            double *grid;
            char text[KS_VMRANGE_TEXT_MAX];
            struct ks_slice range =
                ks_arena_dup(s->arena, ks_slice(text, ks_vmrange_text(b, text)));
            if (!range.ptr)
                return ks_arena_err(s->arena);
            KS_TRY(add_holes(s, KS_SLICE_LIT("vmrange"), range, &grid));
            output[b] = (uint32_t)s->count;
            bucket_of[s->count - 1] = (uint32_t)b;
        }
        for (; lo < r->lo[k]; lo++)
            if (bucket[lo] >= 0 && lo < (k ? r->hi[k - 1] : 0))
                inside[bucket[lo]]--;
        for (size_t o = 0; o < s->count; o++)
            if (inside[bucket_of[o]])
                s->items[o].values[k] = (double)inside[bucket_of[o]];
    }
    return KS_OK;
}

static ks_err run_kind(struct ksi_rollup *r, struct sink *s)
{
    double *grid;
    switch (r->cfg->func) {
    case KS_FN_AGGR_OVER_TIME:
        return run_aggr(r, s);
    case KS_FN_COUNT_VALUES_OVER_TIME:
        return run_count_values(r, s);
    case KS_FN_HISTOGRAM_OVER_TIME:
        return run_histogram(r, s);
    case KS_FN_QUANTILES_OVER_TIME:
        return run_quantiles(r, s);
    case KS_FN_ROLLUP_CANDLESTICK:
        return run_tagged(r, candle, sizeof candle / sizeof *candle, true, s);
    case KS_FN_ROLLUP:
    case KS_FN_ROLLUP_DELTA:
    case KS_FN_ROLLUP_DERIV:
    case KS_FN_ROLLUP_INCREASE:
    case KS_FN_ROLLUP_RATE:
    case KS_FN_ROLLUP_SCRAPE_INTERVAL:
        KS_TRY(transform(r));
        return run_tagged(r, spread, sizeof spread / sizeof *spread, false, s);
    default:
        KS_TRY(add_output(s, (struct ks_slice){0}, (struct ks_slice){0}, &grid));
        return ksi_rollup_kernel_of(r->cfg->func, r->cfg->strict)(r, grid);
    }
}

ks_err ks_rollup_run_multi(const struct ks_rollup_config *cfg, const int64_t *times,
                           const double *values, size_t n, struct ks_rollup_scratch *scratch,
                           struct ks_arena *arena, struct ks_rollup_outputs *ret)
{
    struct ksi_rollup r;
    bool resets = ksi_rollup_removes_resets(cfg->func);
    for (size_t i = 0; i < cfg->aggr_count; i++)
        resets |= ksi_rollup_removes_resets(ksi_aggr_func(cfg->aggr_names[i]));
    struct ksi_rollup_input in = {.times = times, .values = values, .n = n};
    KS_TRY(ksi_rollup_prepare(cfg, &in, resets && !cfg->strict, scratch, &r));
    struct sink s = {.arena = arena, .points = r.points};
    KS_TRY(run_kind(&r, &s));
    ret->items = s.items;
    ret->count = s.count;
    return KS_OK;
}
