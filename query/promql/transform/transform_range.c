/* Functions that look at a whole series of the range: gap filling, running and range statistics,
 * trimming. */
#include "query/promql/exec_priv.h"

struct span {
    double *v;
    size_t n;
};

static struct span trim_head(struct span s)
{
    while (s.n && isnan(s.v[0])) {
        s.v++;
        s.n--;
    }
    return s;
}
static struct span trim_tail(struct span s)
{
    while (s.n && isnan(s.v[s.n - 1]))
        s.n--;
    return s;
}

/* What a function needs besides the values of a series. */
struct env {
    const struct ksi_call *c;
    enum ks_promql_func_id id;
    const double *arg; /* the scalar argument per point */
    double *tmp;       /* as many as points */
};

static void keep_last(struct span s)
{
    for (size_t i = 1; i < s.n; i++)
        if (isnan(s.v[i]))
            s.v[i] = s.v[i - 1];
}

static void keep_next(struct span s)
{
    for (size_t i = s.n; i-- > 1;)
        if (isnan(s.v[i - 1]))
            s.v[i - 1] = s.v[i];
}

static void interpolate(struct span s)
{
    s = trim_tail(trim_head(s));
    for (size_t i = 1; i < s.n; i++) {
        if (!isnan(s.v[i]))
            continue;
        size_t j = i;
        while (isnan(s.v[j])) /* ends: the last value is none */
            j++;
        double prev = s.v[i - 1], delta = (s.v[j] - prev) / (double)(j - i + 1);
        for (; i < j; i++)
            s.v[i] = prev += delta;
    }
}

static double step_running(enum ks_promql_func_id id, double acc, double v, size_t index)
{
    switch (id) {
    case KS_FN_RUNNING_AVG:
    case KS_FN_RANGE_AVG:
        return acc + (v - acc) / (double)(index + 1);
    case KS_FN_RUNNING_MAX:
    case KS_FN_RANGE_MAX:
        return acc > v ? acc : v;
    case KS_FN_RUNNING_MIN:
    case KS_FN_RANGE_MIN:
        return acc < v ? acc : v;
    default:
        return acc + v;
    }
}

static void running(enum ks_promql_func_id id, struct span s)
{
    s = trim_head(s);
    for (size_t i = 1; i < s.n; i++)
        s.v[i] = isnan(s.v[i]) ? s.v[i - 1] : step_running(id, s.v[i - 1], s.v[i], i);
}

static void fill(struct span s, double v)
{
    for (size_t i = 0; i < s.n; i++)
        s.v[i] = v;
}

static void spread_last(struct span s)
{
    struct span t = trim_tail(s);
    if (t.n)
        fill(s, t.v[t.n - 1]);
}

static void spread_first(struct span s)
{
    struct span t = trim_head(s);
    if (t.n)
        fill(s, t.v[0]);
}

static double mean_of(struct span s)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (!isnan(s.v[i])) {
            sum += s.v[i];
            n++;
        }
    return sum / (double)n;
}

static double variance_of(struct span s)
{
    double mean = 0, q = 0, n = 0;
    if (s.n == 1)
        return isnan(s.v[0]) ? NAN : 0; /* also of an infinity */
    for (size_t i = 0; i < s.n; i++) {
        if (isnan(s.v[i]))
            continue;
        n++;
        double next = mean + (s.v[i] - mean) / n;
        q += (s.v[i] - mean) * (s.v[i] - next);
        mean = next;
    }
    return n ? q / n : NAN;
}

static double quantile_of(const struct env *e, struct span s, double phi)
{
    size_t n = ksi_compact(s.v, s.n, e->tmp);
    ksi_sort_values(e->tmp, n);
    return ksi_quantile_sorted(phi, e->tmp, n);
}

static double mad_of(const struct env *e, struct span s)
{
    double median = quantile_of(e, s, 0.5);
    size_t n = ksi_compact(s.v, s.n, e->tmp);
    for (size_t i = 0; i < n; i++)
        e->tmp[i] = fabs(e->tmp[i] - median);
    ksi_sort_values(e->tmp, n);
    return ksi_quantile_sorted(0.5, e->tmp, n);
}

static void range_quantile(const struct env *e, struct span s)
{
    double q = quantile_of(e, s, e->arg[0]);
    struct span t = trim_tail(s);
    if (t.n)
        t.v[t.n - 1] = q;
    spread_last(s);
}

static void zscore(struct span s, bool trim, double limit)
{
    double dev = sqrt(variance_of(s)), mean = mean_of(s);
    for (size_t i = 0; i < s.n; i++) {
        double z = (s.v[i] - mean) / dev;
        if (!trim)
            s.v[i] = z;
        else if (fabs(z) > limit)
            s.v[i] = NAN;
    }
}

static void trim_outliers(const struct env *e, struct span s)
{
    double limit = e->arg[0] * mad_of(e, s), median = quantile_of(e, s, 0.5);
    for (size_t i = 0; i < s.n; i++)
        if (fabs(s.v[i] - median) > limit)
            s.v[i] = NAN;
}

static void trim_spikes(const struct env *e, struct span s)
{
    double phi = e->arg[0] / 2, hi = quantile_of(e, s, 1 - phi), lo = quantile_of(e, s, phi);
    for (size_t i = 0; i < s.n; i++)
        if (s.v[i] > hi || s.v[i] < lo)
            s.v[i] = NAN;
}

static void linear_regression(const struct env *e, struct span s)
{
    double v_sum = 0, t_sum = 0, tv_sum = 0, tt_sum = 0, n = 0;
    bool constant = true;
    for (size_t i = 0; i < s.n; i++) {
        double t = (double)((int64_t)i * e->c->ctx->step_ms) / 1e3, v = s.v[i];
        constant = constant && v == s.v[0];
        if (isnan(v))
            continue;
        v_sum += v;
        t_sum += t;
        tv_sum += t * v;
        tt_sum += t * t;
        n++;
    }
    if (constant)
        return;
    double k = 0, d = tt_sum - t_sum * t_sum / n;
    if (fabs(d) >= 1e-6)
        k = (tv_sum - t_sum * v_sum / n) / d;
    double base = n ? v_sum / n - k * t_sum / n : NAN;
    for (size_t i = 0; i < s.n; i++)
        s.v[i] = base + k * (double)((int64_t)i * e->c->ctx->step_ms) / 1e3;
}

/* A fall by less than an eighth is the reset of a part of the counter, a bigger one of the whole.
 */
static void remove_resets(struct span s)
{
    s = trim_head(s);
    if (!s.n)
        return;
    double correction = 0, prev = s.v[0];
    for (size_t i = 0; i < s.n; i++) {
        double v = s.v[i];
        if (isnan(v))
            continue;
        if (v < prev)
            correction += (prev - v) * 8 < prev ? prev - v : prev;
        prev = v;
        s.v[i] = v + correction;
    }
}

static void smooth(const struct env *e, struct span s)
{
    struct span t = trim_head(s);
    while (t.n && isinf(t.v[0])) {
        size_t k = 1;
        while (k < t.n && isinf(t.v[k]))
            k++;
        t.v += k < t.n ? k : t.n;
        t.n -= k < t.n ? k : t.n;
    }
    if (!t.n)
        return;
    double avg = t.v[0];
    for (size_t i = 1; i < t.n; i++) {
        if (isnan(t.v[i]))
            continue;
        if (!isinf(t.v[i])) {
            double sf = e->arg[(size_t)(t.v - s.v) + i];
            sf = isnan(sf) || sf > 1 ? 1 : sf < 0 ? 0 : sf;
            avg = avg * (1 - sf) + t.v[i] * sf;
        }
        t.v[i] = avg;
    }
}

/* False: the series has no finite spread and is left out. */
static bool normalize(struct span s)
{
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < s.n; i++) {
        lo = s.v[i] < lo ? s.v[i] : lo;
        hi = s.v[i] > hi ? s.v[i] : hi;
    }
    if (isinf(hi - lo))
        return false;
    for (size_t i = 0; i < s.n; i++)
        s.v[i] = (s.v[i] - lo) / (hi - lo);
    return true;
}

static void apply(const struct env *e, struct span s)
{
    switch (e->id) {
    case KS_FN_KEEP_LAST_VALUE:
        keep_last(s);
        return;
    case KS_FN_KEEP_NEXT_VALUE:
        keep_next(s);
        return;
    case KS_FN_INTERPOLATE:
        interpolate(s);
        return;
    case KS_FN_RUNNING_AVG:
    case KS_FN_RUNNING_MAX:
    case KS_FN_RUNNING_MIN:
    case KS_FN_RUNNING_SUM:
        running(e->id, s);
        return;
    case KS_FN_RANGE_AVG:
    case KS_FN_RANGE_MAX:
    case KS_FN_RANGE_MIN:
    case KS_FN_RANGE_SUM:
        running(e->id, s);
        spread_last(s);
        return;
    case KS_FN_RANGE_FIRST:
        spread_first(s);
        return;
    case KS_FN_RANGE_LAST:
        spread_last(s);
        return;
    case KS_FN_RANGE_QUANTILE:
        range_quantile(e, s);
        return;
    case KS_FN_RANGE_MAD:
        fill(s, mad_of(e, s));
        return;
    case KS_FN_RANGE_STDVAR:
        fill(s, variance_of(s));
        return;
    case KS_FN_RANGE_STDDEV:
        fill(s, sqrt(variance_of(s)));
        return;
    case KS_FN_RANGE_ZSCORE:
        zscore(s, false, 0);
        return;
    case KS_FN_RANGE_TRIM_ZSCORE:
        zscore(s, true, fabs(e->arg[0]));
        return;
    case KS_FN_RANGE_TRIM_OUTLIERS:
        trim_outliers(e, s);
        return;
    case KS_FN_RANGE_TRIM_SPIKES:
        trim_spikes(e, s);
        return;
    case KS_FN_RANGE_LINEAR_REGRESSION:
        linear_regression(e, s);
        return;
    case KS_FN_REMOVE_RESETS:
        remove_resets(s);
        return;
    default:
        smooth(e, s);
    }
}

/* Index of the series argument; *ret_scalar that of the scalar one or SIZE_MAX. False: not one of
 * ours. */
static bool layout(enum ks_promql_func_id id, size_t *ret_series, size_t *ret_scalar)
{
    *ret_series = 0;
    *ret_scalar = SIZE_MAX;
    switch (id) {
    case KS_FN_RANGE_QUANTILE:
    case KS_FN_RANGE_TRIM_ZSCORE:
    case KS_FN_RANGE_TRIM_OUTLIERS:
    case KS_FN_RANGE_TRIM_SPIKES:
        *ret_series = 1;
        *ret_scalar = 0;
        return true;
    case KS_FN_SMOOTH_EXPONENTIAL:
        *ret_scalar = 1;
        return true;
    case KS_FN_KEEP_LAST_VALUE:
    case KS_FN_KEEP_NEXT_VALUE:
    case KS_FN_INTERPOLATE:
    case KS_FN_RUNNING_AVG:
    case KS_FN_RUNNING_MAX:
    case KS_FN_RUNNING_MIN:
    case KS_FN_RUNNING_SUM:
    case KS_FN_RANGE_AVG:
    case KS_FN_RANGE_MAX:
    case KS_FN_RANGE_MIN:
    case KS_FN_RANGE_SUM:
    case KS_FN_RANGE_FIRST:
    case KS_FN_RANGE_LAST:
    case KS_FN_RANGE_MAD:
    case KS_FN_RANGE_STDVAR:
    case KS_FN_RANGE_STDDEV:
    case KS_FN_RANGE_ZSCORE:
    case KS_FN_RANGE_LINEAR_REGRESSION:
    case KS_FN_REMOVE_RESETS:
        return true;
    default:
        return false;
    }
}

static bool drops_name(enum ks_promql_func_id id)
{
    return (id >= KS_FN_RUNNING_AVG && id <= KS_FN_RUNNING_SUM) || id == KS_FN_RANGE_AVG ||
           id == KS_FN_RANGE_MAX || id == KS_FN_RANGE_MIN || id == KS_FN_RANGE_SUM;
}

static ks_err range_normalize(const struct ksi_call *c, struct ksi_vec *ret)
{
    for (size_t a = 0; a < c->arg_count; a++)
        for (size_t i = 0; i < c->args[a].count; i++) {
            struct ksi_series *s = &c->args[a].items[i];
            if (normalize((struct span){s->values, c->ctx->points}))
                KS_TRY(ksi_vec_push(c->ctx->q, ret, *s));
        }
    return KS_OK;
}

ks_err ksi_transform_range(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    size_t series, scalar;
    struct env e = {.c = c, .id = c->call->func->id};
    if (e.id == KS_FN_RANGE_NORMALIZE)
        return range_normalize(c, ret);
    if (!layout(e.id, &series, &scalar)) {
        *mine = false;
        return KS_OK;
    }
    KS_TRY(ksi_want_args(c->arg_count, scalar == SIZE_MAX ? 1 : 2));
    if (scalar != SIZE_MAX)
        KS_TRY(ksi_arg_scalar(&c->args[scalar], scalar, &e.arg));
    e.tmp = ks_arena_array(c->ctx->q->arena, c->ctx->points, sizeof *e.tmp);
    if (!e.tmp)
        return ks_arena_err(c->ctx->q->arena);
    *ret = c->args[series];
    for (size_t i = 0; i < ret->count; i++) {
        if (drops_name(e.id) && !c->call->keep_metric_names)
            KS_TRY(ksi_labels_drop_name(c->ctx->q, &ret->items[i].labels));
        apply(&e, (struct span){ret->items[i].values, c->ctx->points});
    }
    return KS_OK;
}
