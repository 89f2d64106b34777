/*
 * Functions of histograms, as Prometheus computes them at each point: histogram_quantile and
 * histogram_fraction from the classic buckets that have a value there, and like histogram_count and
 * the others from native histograms. Where a classic and a native histogram of one name and labels
 * meet, neither counts.
 */
#include "query/promql/exec_priv.h"
#include "query/promql/strict/histogram_math.h"

#define SMALLEST_NORMAL 2.2250738585072014e-308
#define TOLERANCE       1e-12

struct bucket {
    double le, count;
};

/* A bucket series with its bound. */
struct bound {
    double le;
    size_t series;
};

struct job {
    const struct ksi_call *c;
    const struct ksi_vec *in;
    const double *lower, *upper; /* fraction: both; quantile: phi in lower */
    const struct ks_expr *arg;   /* the buckets' expression, for annotations */
    struct bucket *b;
};

static bool almost_equal(double a, double b)
{
    if ((isnan(a) && isnan(b)) || a == b)
        return true;
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < SMALLEST_NORMAL)
        return diff < TOLERANCE * SMALLEST_NORMAL;
    return diff / (sum < 1.7976931348623157e308 ? sum : 1.7976931348623157e308) < TOLERANCE;
}

static size_t merge_equal(struct bucket *b, size_t n)
{
    size_t last = 0;
    for (size_t i = 1; i < n; i++)
        if (b[i].le == b[last].le)
            b[last].count += b[i].count;
        else
            b[++last] = b[i];
    return last + 1;
}

/* Counts must not fall towards higher bounds. Tiny differences are rounding and silently evened
 * out. */
static bool make_monotonic(struct bucket *b, size_t n)
{
    bool forced = false;
    double prev = b[0].count;
    for (size_t i = 1; i < n; i++) {
        double now = b[i].count;
        if (now == prev)
            continue;
        if (almost_equal(prev, now) || now < prev) {
            forced |= !almost_equal(prev, now);
            b[i].count = prev;
            continue;
        }
        prev = now;
    }
    return forced;
}

static double quantile_of(double q, struct bucket *b, size_t n, bool *ret_forced)
{
    if (isnan(q))
        return NAN;
    if (q < 0 || q > 1)
        return q < 0 ? -INFINITY : INFINITY;
    if (!(isinf(b[n - 1].le) && b[n - 1].le > 0))
        return NAN;
    n = merge_equal(b, n);
    bool forced = make_monotonic(b, n);
    if (n < 2 || b[n - 1].count == 0)
        return NAN;
    double rank = q * b[n - 1].count;
    size_t lo = 0, hi = n - 1; /* first with count ≥ rank; halving, as counts may hold NaN */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (!(b[mid].count >= rank))
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_forced = forced;
    if (lo == n - 1)
        return b[n - 2].le;
    if (lo == 0 && b[0].le <= 0)
        return b[0].le;
    double start = 0, count = b[lo].count;
    if (lo > 0) {
        start = b[lo - 1].le;
        count -= b[lo - 1].count;
        rank -= b[lo - 1].count;
    }
    return start + (b[lo].le - start) * (rank / count);
}

/* Observations up to v, interpolated within v's bucket; `set` false when v is above all buckets. */
static double rank_of(double v, const struct bucket *b, size_t n)
{
    double rank = 0;
    for (size_t i = 0; i < n; i++) {
        double lower = i ? b[i - 1].le : -INFINITY, upper = b[i].le;
        if (lower >= v)
            return rank;
        if (lower < v && upper > v)
            return rank + (b[i].count - rank) * (v - lower) / (upper - lower);
        rank = b[i].count;
    }
    return INFINITY;
}

static double fraction_of(double lower, double upper, struct bucket *b, size_t n)
{
    if (!(isinf(b[n - 1].le) && b[n - 1].le > 0))
        return NAN;
    n = merge_equal(b, n);
    double count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    double low = rank_of(lower, b, n), high = rank_of(upper, b, n);
    low = low > count ? count : low;
    high = high > count ? count : high;
    return (high - low) / count;
}

static ks_err one_histogram(struct job *j, const struct bound *bounds, size_t n,
                            struct ksi_series *out)
{
    const struct ksi_ctx *ctx = j->c->ctx;
    bool quantile = j->c->call->func->id == KS_FN_HISTOGRAM_QUANTILE, forced = false;
    for (size_t k = 0; k < ctx->points; k++) {
        size_t have = 0;
        for (size_t i = 0; i < n; i++) {
            double v = j->in->items[bounds[i].series].values[k];
            if (!ksi_is_absent(ctx->q, v))
                j->b[have++] = (struct bucket){bounds[i].le, v};
        }
        if (!have)
            continue;
        bool fixed = false;
        out->values[k] = quantile ? quantile_of(j->lower[k], j->b, have, &fixed)
                                  : fraction_of(j->lower[k], j->upper[k], j->b, have);
        forced |= fixed;
    }
    if (!forced)
        return KS_OK;
    struct ks_slice name = ks_labels_get(out->labels, KS_NAME_LABEL);
    return ksi_inform(ctx->q, j->arg,
                      "input to histogram_quantile needed to be fixed for monotonicity (see "
                      "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                      "#histogram_quantile) for metric name "
                      "\"%.*s\"",
                      KS_SLICE_ARG(name));
}

/* Series with a usable le, in ascending order of bounds. */
static ks_err read_bounds(struct job *j, struct ksi_vec *ret, double **ret_le)
{
    struct ksi_query *q = j->c->ctx->q;
    double *le = ks_arena_array(q->arena, j->in->count + 1, sizeof *le);
    if (!le)
        return ks_arena_err(q->arena);
    *ret = (struct ksi_vec){0};
    for (size_t i = 0; i < j->in->count; i++) {
        struct ks_slice labels = j->in->items[i].labels,
                        text = ks_labels_get(labels, KS_SLICE_LIT("le"));
        if (!text.len || !ks_f64_parse(text, &le[ret->count])) {
            struct ks_slice name = ks_labels_get(labels, KS_NAME_LABEL);
            KS_TRY(ksi_warn(q, j->arg,
                            "bucket label \"le\" is missing or has a malformed value of \"%.*s\" "
                            "for metric name \"%.*s\"",
                            KS_SLICE_ARG(text), KS_SLICE_ARG(name)));
            continue;
        }
        KS_TRY(ksi_vec_push(q, ret, j->in->items[i]));
    }
    *ret_le = le;
    return KS_OK;
}

/* --- native histograms --- */

/* Takes the native histograms out of the vector: *ret gets the series that have some. */
static ks_err split(const struct ksi_ctx *ctx, struct ksi_vec *v, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    *ret = (struct ksi_vec){0};
    for (size_t i = 0; i < v->count && q->hist_count; i++) {
        struct ksi_series s = v->items[i];
        bool any = false;
        for (size_t k = 0; k < ctx->points && !any; k++)
            any = ksi_is_hist(s.values[k]);
        if (!any)
            continue;
        if (!(s.values = ksi_grid(ctx, ksi_absent())))
            return ks_arena_err(q->arena);
        for (size_t k = 0; k < ctx->points; k++)
            if (ksi_is_hist(v->items[i].values[k])) {
                s.values[k] = v->items[i].values[k];
                v->items[i].values[k] = ksi_absent();
            }
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    ksi_vec_drop_empty(ctx, v);
    return KS_OK;
}

/* Points at which a native histogram meets buckets of the same name and labels: both go. */
static ks_err drop_conflicts(const struct job *j, const struct ksi_vec *classic,
                             const struct ksi_groups *g, struct ksi_vec *native)
{
    struct ksi_query *q = j->c->ctx->q;
    for (size_t i = 0; i < native->count; i++) {
        size_t at;
        if (!ksi_map_get(&g->map, native->items[i].labels, &at))
            continue;
        for (size_t k = 0; k < j->c->ctx->points; k++) {
            bool met = false;
            for (size_t m = g->first[at]; m < g->first[at + 1]; m++)
                met |= !ksi_is_absent(q, classic->items[g->members[m]].values[k]);
            if (!met || !ksi_is_hist(native->items[i].values[k]))
                continue;
            for (size_t m = g->first[at]; m < g->first[at + 1]; m++)
                classic->items[g->members[m]].values[k] = ksi_absent();
            native->items[i].values[k] = ksi_absent();
            struct ks_slice name = ks_labels_get(native->items[i].labels, KS_NAME_LABEL);
            KS_TRY(ksi_warn(q, j->arg,
                            "vector contains a mix of classic and native histograms for metric "
                            "name \"%.*s\"",
                            KS_SLICE_ARG(name)));
        }
    }
    return KS_OK;
}

/* The function's value of each histogram in place. */
static ks_err evaluate(const struct job *j, struct ksi_series *s)
{
    const struct ksi_call *c = j->c;
    struct ksi_query *q = c->ctx->q;
    /* Without late removal of names Prometheus has dropped it before it annotates. */
    struct ks_slice name =
        q->req->delayed_name_removal ? ks_labels_get(s->labels, KS_NAME_LABEL) : ks_slice("", 0);
    for (size_t k = 0; k < c->ctx->points; k++) {
        const struct ks_histogram *h = ksi_hist(q, s->values[k]);
        unsigned notes = 0;
        if (!h)
            continue;
        s->values[k] = c->call->func->id == KS_FN_HISTOGRAM_QUANTILE
                           ? ks_hist_quantile(j->lower[k], h, &notes)
                           : ks_hist_fraction(j->lower[k], j->upper[k], h, &notes);
        KS_TRY(ksi_hist_notes(q, c->call->args[0], notes, name));
    }
    return KS_OK;
}

static ks_err native_histograms(const struct job *j, const struct ksi_vec *native,
                                struct ksi_vec *ret)
{
    struct ksi_query *q = j->c->ctx->q;
    for (size_t i = 0; i < native->count; i++) {
        struct ksi_series s = native->items[i];
        KS_TRY(evaluate(j, &s));
        KS_TRY(ksi_drop_metric(q, &s));
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return KS_OK;
}

/* histogram_count and the like: floats give nothing. */
static ks_err simple(const struct ksi_call *c, double (*fn)(const struct ks_histogram *),
                     struct ksi_vec *ret)
{
    struct ksi_query *q = c->ctx->q;
    *ret = c->args[0];
    for (size_t i = 0; i < ret->count; i++) {
        double *v = ret->items[i].values;
        for (size_t k = 0; k < c->ctx->points; k++) {
            const struct ks_histogram *h = ksi_hist(q, v[k]);
            v[k] = h ? fn(h) : ksi_absent();
        }
    }
    ksi_vec_drop_empty(c->ctx, ret);
    KS_TRY(ksi_drop_metrics(q, ret));
    return ksi_merge_labelsets(c->ctx, ret);
}

static double count_of(const struct ks_histogram *h)
{
    return h->count.f;
}

static double sum_of(const struct ks_histogram *h)
{
    return h->sum;
}

/* --- both --- */

static ks_err all_histograms(struct job *j, struct ksi_vec *native, struct ksi_vec *ret)
{
    static const struct ks_slice own[] = {{"le", 2}};
    const struct ksi_label_filter f = {.names = own, .count = 1, .mode = KSI_DROP};
    struct ksi_query *q = j->c->ctx->q;
    struct ksi_vec ok;
    struct ksi_groups g;
    double *le;
    KS_TRY(read_bounds(j, &ok, &le));
    KS_TRY(ksi_group(q, &ok, &f, 0, &g));
    KS_TRY(drop_conflicts(j, &ok, &g, native));
    KS_TRY(native_histograms(j, native, ret));
    struct bound *bounds = ks_arena_array(q->arena, ok.count + 1, sizeof *bounds);
    j->b = ks_arena_array(q->arena, ok.count + 1, sizeof *j->b);
    if (!bounds || !j->b)
        return ks_arena_err(q->arena);
    j->in = &ok;
    for (size_t i = 0; i < g.count; i++) {
        size_t n = 0;
        for (size_t m = g.first[i]; m < g.first[i + 1]; m++) {
            struct bound x = {le[g.members[m]], g.members[m]};
            size_t at = n++;
            for (; at > 0 && bounds[at - 1].le > x.le; at--)
                bounds[at] = bounds[at - 1];
            bounds[at] = x;
        }
        struct ksi_series s = {.labels = g.map.keys[i],
                               .values = ksi_grid(j->c->ctx, ksi_absent())};
        if (!s.values)
            return ks_arena_err(q->arena);
        KS_TRY(one_histogram(j, bounds, n, &s));
        KS_TRY(ksi_drop_metric(q, &s));
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return ksi_merge_labelsets(j->c->ctx, ret);
}

static ks_err classic(const struct ksi_call *c, struct ksi_vec *ret)
{
    bool quantile = c->call->func->id == KS_FN_HISTOGRAM_QUANTILE;
    size_t last = c->arg_count - 1;
    struct job j = {.c = c, .in = &c->args[last], .arg = c->call->args[last]};
    KS_TRY(ksi_arg_scalar(&c->args[0], 0, &j.lower));
    if (!quantile)
        KS_TRY(ksi_arg_scalar(&c->args[1], 1, &j.upper));
    struct ksi_vec native;
    ksi_vec_drop_empty(c->ctx, &c->args[last]);
    KS_TRY(split(c->ctx, &c->args[last], &native));
    for (size_t k = 0; k < c->ctx->points && quantile; k++)
        KS_TRY(ksi_warn_quantile(c->ctx->q, c->call->args[0], j.lower[k]));
    return all_histograms(&j, &native, ret);
}

ks_err ksi_strict_histogram(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    switch (c->call->func->id) {
    case KS_FN_HISTOGRAM_QUANTILE:
    case KS_FN_HISTOGRAM_FRACTION:
        return classic(c, ret);
    case KS_FN_HISTOGRAM_AVG:
        return simple(c, ks_hist_avg, ret);
    case KS_FN_HISTOGRAM_COUNT:
        return simple(c, count_of, ret);
    case KS_FN_HISTOGRAM_SUM:
        return simple(c, sum_of, ret);
    case KS_FN_HISTOGRAM_STDDEV:
        return simple(c, ks_hist_stddev, ret);
    case KS_FN_HISTOGRAM_STDVAR:
        return simple(c, ks_hist_stdvar, ret);
    default:
        *mine = false;
        return KS_OK;
    }
}
