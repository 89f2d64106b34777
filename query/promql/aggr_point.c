/* Aggregates that need all values of a group at a point: quantiles, deviations, counts of values,
 * histograms. */
#include "base/vmrange.h"
#include "query/promql/exec_priv.h"

struct group_job {
    const struct ksi_ctx *ctx;
    const struct ks_expr_aggregate *a;
    const struct ksi_vec *in;
    const struct ksi_groups *g;
    size_t group;
    double *tmp;           /* room for two values per member */
    const double *scalars; /* quantile: phi per point */
};

static size_t members(const struct group_job *j)
{
    return j->g->first[j->group + 1] - j->g->first[j->group];
}
static double *member(const struct group_job *j, size_t i)
{
    return j->in->items[j->g->members[j->g->first[j->group] + i]].values;
}
static size_t gather(const struct group_job *j, size_t point)
{
    size_t n = 0;
    for (size_t i = 0; i < members(j); i++) {
        double v = member(j, i)[point];
        if (!isnan(v))
            j->tmp[n++] = v;
    }
    return n;
}

/* Welford: count, mean and sum of squared differences of n values. */
static double variance(const double *v, size_t n, double *ret_mean)
{
    double mean = 0, q = 0;
    for (size_t i = 0; i < n; i++) {
        double next = mean + (v[i] - mean) / (double)(i + 1);
        q += (v[i] - mean) * (v[i] - next);
        mean = next;
    }
    *ret_mean = mean;
    return n ? q / (double)n : NAN;
}

static double most_common(double *v, size_t n)
{
    ksi_sort_values(v, n);
    double best = NAN;
    size_t best_run = 0, run = 0;
    for (size_t i = 0; i < n; i++) {
        run = i && v[i] == v[i - 1] ? run + 1 : 1;
        if (run > best_run) {
            best_run = run;
            best = v[i];
        }
    }
    return best;
}

static double median_deviation(double *v, size_t n)
{
    ksi_sort_values(v, n);
    double median = ksi_quantile_sorted(0.5, v, n);
    for (size_t i = 0; i < n; i++)
        v[i] = fabs(v[i] - median);
    ksi_sort_values(v, n);
    return ksi_quantile_sorted(0.5, v, n);
}

static double distinct(double *v, size_t n)
{
    ksi_sort_values(v, n);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += !i || v[i] != v[i - 1];
    return k ? (double)k : NAN;
}

static double one_value(const struct group_job *j, size_t point)
{
    size_t n = gather(j, point);
    double mean;
    switch (j->a->func->id) {
    case KS_FN_AGGR_STDVAR:
    case KS_FN_AGGR_STDDEV:
        if (members(j) == 1)
            return n ? 0 : NAN;
        return j->a->func->id == KS_FN_AGGR_STDVAR ? variance(j->tmp, n, &mean)
                                                   : sqrt(variance(j->tmp, n, &mean));
    case KS_FN_AGGR_MODE:
        return most_common(j->tmp, n);
    case KS_FN_AGGR_MAD:
        return median_deviation(j->tmp, n);
    case KS_FN_AGGR_DISTINCT:
        return distinct(j->tmp, n);
    default:
        ksi_sort_values(j->tmp, n);
        return ksi_quantile_sorted(j->scalars ? j->scalars[point] : 0.5, j->tmp, n);
    }
}

/* One output series per group. */
static ks_err to_one(struct group_job *j, struct ksi_vec *ret)
{
    struct ksi_series s = {.labels = j->g->map.keys[j->group],
                           .values =
                               ks_arena_array(j->ctx->q->arena, j->ctx->points, sizeof(double))};
    if (!s.values)
        return ks_arena_err(j->ctx->q->arena);
    for (size_t i = 0; i < j->ctx->points; i++)
        s.values[i] = one_value(j, i);
    return ksi_vec_push(j->ctx->q, ret, s);
}

/* share and zscore: the series stay, their values are measured against the group. */
static ks_err relative(struct group_job *j, struct ksi_vec *ret)
{
    bool share = j->a->func->id == KS_FN_AGGR_SHARE;
    for (size_t p = 0; p < j->ctx->points; p++) {
        size_t n = gather(j, p);
        double sum = 0, mean = 0, dev = 1;
        for (size_t i = 0; i < n; i++)
            sum += j->tmp[i] >= 0 ? j->tmp[i] : 0;
        if (!share)
            dev = sqrt(variance(j->tmp, n, &mean));
        for (size_t i = 0; i < members(j); i++) {
            double *v = member(j, i) + p;
            if (isnan(*v))
                continue;
            *v = share ? (*v < 0 ? NAN : *v / sum) : (*v - mean) / dev;
        }
    }
    for (size_t i = 0; i < members(j); i++)
        KS_TRY(
            ksi_vec_push(j->ctx->q, ret, j->in->items[j->g->members[j->g->first[j->group] + i]]));
    return KS_OK;
}

/* Series with label = text of a number, made when the number first appears. */
struct by_text {
    struct ksi_map map;
    struct ksi_vec vec;
};
static ks_err series_of(struct group_job *j, struct by_text *b, struct ks_slice label,
                        struct ks_slice text, double fill, double **ret)
{
    struct ksi_query *q = j->ctx->q;
    size_t at;
    bool added;
    KS_TRY(ksi_map_put(q->arena, &b->map, text, true, &at, &added));
    if (added) {
        struct ksi_series s = {.labels = j->g->map.keys[j->group],
                               .values = ksi_grid(j->ctx, fill)};
        if (!s.values)
            return ks_arena_err(q->arena);
        KS_TRY(ksi_labels_set(q, &s.labels, label, b->map.keys[at]));
        KS_TRY(ksi_vec_push(q, &b->vec, s));
    }
    *ret = b->vec.items[at].values;
    return KS_OK;
}

enum { MAX_COUNT_VALUES = 1000000 };

static ks_err count_values(struct group_job *j, struct ks_slice label, struct ksi_vec *ret)
{
    struct by_text b = {0};
    char text[KS_F64_TEXT_MAX];
    for (size_t i = 0; i < members(j); i++)
        for (size_t p = 0; p < j->ctx->points; p++) {
            double v = member(j, i)[p], *out;
            if (isnan(v))
                continue;
            struct ks_slice t = ks_slice(text, ks_f64_format_fixed(text, v));
            KS_TRY(series_of(j, &b, label, t, NAN, &out));
            out[p] = isnan(out[p]) ? 1 : out[p] + 1;
            if (b.vec.count + ret->count > MAX_COUNT_VALUES)
                return ks_fail(
                    KS_ELIMIT,
                    "more than -search.maxSeriesPerAggrFunc=%d are generated by count_values()",
                    (int)MAX_COUNT_VALUES);
        }
    return ksi_vec_append(j->ctx->q, ret, &b.vec);
}

static ks_err quantiles(struct group_job *j, struct ksi_vec *args, size_t arg_count,
                        struct ks_slice label, struct ksi_vec *ret)
{
    struct ksi_query *q = j->ctx->q;
    for (size_t k = 1; k + 1 < arg_count; k++) {
        const double *phi;
        KS_TRY(ksi_arg_scalar(&args[k], k, &phi));
        struct ksi_series s = {.labels = j->g->map.keys[j->group],
                               .values = ks_arena_array(q->arena, j->ctx->points, sizeof(double))};
        if (!s.values)
            return ks_arena_err(q->arena);
        for (size_t p = 0; p < j->ctx->points; p++) {
            size_t n = gather(j, p);
            ksi_sort_values(j->tmp, n);
            s.values[p] = ksi_quantile_sorted(phi[0], j->tmp, n);
        }
        KS_TRY(ksi_labels_set(q, &s.labels, label, ksi_f64_text(q, phi[0])));
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return KS_OK;
}

static ks_err histogram(struct group_job *j, struct ksi_vec *ret)
{
    struct by_text b = {0};
    char text[KS_VMRANGE_TEXT_MAX];
    for (size_t p = 0; p < j->ctx->points; p++)
        for (size_t i = 0; i < members(j); i++) {
            double *out;
            int bucket = ks_vmrange_of(member(j, i)[p]);
            if (bucket < 0)
                continue;
            struct ks_slice range = ks_slice(text, ks_vmrange_text(bucket, text));
            KS_TRY(series_of(j, &b, KS_SLICE_LIT("vmrange"), range, 0, &out));
            out[p]++;
        }
    struct ksi_vec le;
    KS_TRY(ksi_vmrange_to_le(j->ctx, &b.vec, &le));
    return ksi_vec_append(j->ctx->q, ret, &le);
}

/* count_values overwrites its label, so it cannot also group by it. */
static ks_err without_label(struct ksi_query *q, struct ksi_label_filter *f, struct ks_slice label)
{
    struct ks_slice *names = ks_arena_array(q->arena, f->count + 1, sizeof *names);
    if (!names)
        return ks_arena_err(q->arena);
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        if (!ks_slice_eq(f->names[i], label))
            names[n++] = f->names[i];
    if (f->mode == KSI_DROP)
        names[n++] = label;
    f->names = names;
    f->count = n;
    return KS_OK;
}

ks_err ksi_aggr_point(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                      struct ksi_vec *args, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_label_filter f = ksi_aggr_filter(a);
    struct group_job j = {.ctx = ctx, .a = a};
    struct ks_slice label = {0};
    enum ks_promql_func_id id = a->func->id;
    struct ksi_vec in = args[a->arg_count - 1];
    bool one_input =
        id == KS_FN_AGGR_QUANTILE || id == KS_FN_AGGR_QUANTILES || id == KS_FN_AGGR_COUNT_VALUES;
    if (id == KS_FN_AGGR_QUANTILE || id == KS_FN_AGGR_COUNT_VALUES)
        KS_TRY(ksi_want_args(a->arg_count, 2));
    if (id == KS_FN_AGGR_QUANTILES && a->arg_count < 3)
        return ks_fail(KS_EEXEC, "unexpected number of args: %zu; expecting at least 3 args",
                       a->arg_count);
    if (id == KS_FN_AGGR_QUANTILE)
        KS_TRY(ksi_arg_scalar(&args[0], 0, &j.scalars));
    if (id == KS_FN_AGGR_QUANTILES || id == KS_FN_AGGR_COUNT_VALUES)
        KS_TRY(ksi_arg_string(ctx, &args[0], 0, &label));
    if (id == KS_FN_AGGR_COUNT_VALUES)
        KS_TRY(without_label(q, &f, label));
    if (!one_input) {
        in = args[0];
        for (size_t i = 1; i < a->arg_count; i++)
            KS_TRY(ksi_vec_append(q, &in, &args[i]));
    }
    ksi_vec_drop_empty(ctx, &in);
    struct ksi_groups g;
    KS_TRY(ksi_group(q, &in, &f, a->limit, &g));
    j.in = &in;
    j.g = &g;
    j.tmp = ks_arena_array(q->arena, in.count + 1, sizeof *j.tmp);
    if (!j.tmp)
        return ks_arena_err(q->arena);
    for (j.group = 0; j.group < g.count; j.group++) {
        KS_TRY(ks_read_ctx_check(&q->read));
        switch (id) {
        case KS_FN_AGGR_SHARE:
        case KS_FN_AGGR_ZSCORE:
            KS_TRY(relative(&j, ret));
            break;
        case KS_FN_AGGR_COUNT_VALUES:
            KS_TRY(count_values(&j, label, ret));
            break;
        case KS_FN_AGGR_QUANTILES:
            KS_TRY(quantiles(&j, args, a->arg_count, label, ret));
            break;
        case KS_FN_AGGR_HISTOGRAM:
            KS_TRY(histogram(&j, ret));
            break;
        default:
            KS_TRY(to_one(&j, ret));
        }
    }
    return KS_OK;
}
