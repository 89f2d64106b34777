/* Aggregates that choose series and keep their labels: topk and its kin, limitk, any, outliers. */
#include <stdlib.h>

#include "query/promql/exec_priv.h"

enum rank_by { BY_POINT, BY_MAX, BY_MIN, BY_AVG, BY_MEDIAN, BY_LAST };

struct rank_func {
    enum ks_promql_func_id id;
    enum rank_by by;
    bool bottom;
};
static const struct rank_func rank_funcs[] = {
    {KS_FN_AGGR_TOPK, BY_POINT, false},         {KS_FN_AGGR_BOTTOMK, BY_POINT, true},
    {KS_FN_AGGR_TOPK_MAX, BY_MAX, false},       {KS_FN_AGGR_BOTTOMK_MAX, BY_MAX, true},
    {KS_FN_AGGR_TOPK_MIN, BY_MIN, false},       {KS_FN_AGGR_BOTTOMK_MIN, BY_MIN, true},
    {KS_FN_AGGR_TOPK_AVG, BY_AVG, false},       {KS_FN_AGGR_BOTTOMK_AVG, BY_AVG, true},
    {KS_FN_AGGR_TOPK_MEDIAN, BY_MEDIAN, false}, {KS_FN_AGGR_BOTTOMK_MEDIAN, BY_MEDIAN, true},
    {KS_FN_AGGR_TOPK_LAST, BY_LAST, false},     {KS_FN_AGGR_BOTTOMK_LAST, BY_LAST, true},
};

/* A member of the group and what it is ranked by; the best come last. */
struct ranked {
    struct ksi_series s;
    double key;
    uint64_t hash;
    size_t order;
};

/* NaN is below everything, whichever way the ranking goes. */
static int cmp_ranked(const void *pa, const void *pb, void *arg)
{
    const struct ranked *a = pa, *b = pb;
    bool bottom = *(const bool *)arg;
    bool na = isnan(a->key), nb = isnan(b->key);
    if (na != nb)
        return na ? -1 : 1;
    if (!na && a->key != b->key)
        return (a->key < b->key) != bottom ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static int cmp_hash(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    return a->hash != b->hash ? (a->hash < b->hash ? -1 : 1)
                              : (a->order > b->order) - (a->order < b->order);
}

struct job {
    const struct ksi_ctx *ctx;
    const struct ks_expr_aggregate *a;
    struct ranked *items;
    size_t count;
    const double *k;
    double *tmp;
    struct ks_slice remaining;
};

static double series_key(const struct job *j, enum rank_by by, const double *v)
{
    size_t points = j->ctx->points, n = ksi_compact(v, points, j->tmp);
    double x = n ? j->tmp[0] : NAN;
    switch (by) {
    case BY_MAX:
        for (size_t i = 1; i < n; i++)
            x = j->tmp[i] > x ? j->tmp[i] : x;
        return x;
    case BY_MIN:
        for (size_t i = 1; i < n; i++)
            x = j->tmp[i] < x ? j->tmp[i] : x;
        return x;
    case BY_AVG:
        for (size_t i = 1; i < n; i++)
            x += j->tmp[i];
        return x / (double)n;
    case BY_MEDIAN:
        ksi_sort_values(j->tmp, n);
        return ksi_quantile_sorted(0.5, j->tmp, n);
    default:
        return n ? j->tmp[n - 1] : NAN;
    }
}

/* What the chosen series leave over, as one series with the label asked for ("name" or
 * "name=value"). */
static ks_err remaining_sum(const struct job *j, struct ksi_series *ret)
{
    struct ksi_query *q = j->ctx->q;
    struct ksi_label_filter f = ksi_aggr_filter(j->a);
    struct ks_slice name = j->remaining, value = name;
    const char *eq = memchr(name.ptr, '=', name.len);
    if (eq) {
        value = ks_slice_from(name, (size_t)(eq - name.ptr) + 1);
        name.len = (size_t)(eq - name.ptr);
    }
    *ret = (struct ksi_series){.values = ksi_grid(j->ctx, NAN)};
    if (!ret->values)
        return ks_arena_err(q->arena);
    KS_TRY(ksi_labels_filtered(q, j->items[0].s.labels, &f, &ret->labels));
    KS_TRY(ksi_labels_set(q, &ret->labels, name, value));
    for (size_t p = 0; p < j->ctx->points; p++)
        for (size_t i = 0; i < j->count - ksi_int_k(j->k[p], j->count); i++) {
            double v = j->items[i].s.values[p];
            if (!isnan(v))
                ret->values[p] = isnan(ret->values[p]) ? v : ret->values[p] + v;
        }
    return KS_OK;
}

/* Best first. */
static ks_err emit_reversed(const struct job *j, const struct ksi_series *rest, struct ksi_vec *ret)
{
    if (rest && !ksi_series_empty(j->ctx, rest))
        KS_TRY(ksi_vec_push(j->ctx->q, ret, *rest));
    for (size_t i = j->count; i-- > 0;)
        if (!ksi_series_empty(j->ctx, &j->items[i].s))
            KS_TRY(ksi_vec_push(j->ctx->q, ret, j->items[i].s));
    return KS_OK;
}

static ks_err rank_whole(struct job *j, bool bottom, struct ksi_vec *ret)
{
    qsort_r(j->items, j->count, sizeof *j->items, cmp_ranked, &bottom);
    struct ksi_series rest;
    if (j->remaining.len)
        KS_TRY(remaining_sum(j, &rest));
    for (size_t p = 0; p < j->ctx->points; p++)
        for (size_t i = 0; i < j->count - ksi_int_k(j->k[p], j->count); i++)
            j->items[i].s.values[p] = NAN;
    return emit_reversed(j, j->remaining.len ? &rest : NULL, ret);
}

/* Median, or with `phi` another quantile, of the group at a point. */
static double point_quantile(const struct job *j, size_t p, double phi)
{
    size_t n = 0;
    for (size_t i = 0; i < j->count; i++)
        if (!isnan(j->items[i].s.values[p]))
            j->tmp[n++] = j->items[i].s.values[p];
    ksi_sort_values(j->tmp, n);
    return ksi_quantile_sorted(phi, j->tmp, n);
}

static ks_err outliersk(struct job *j, struct ksi_vec *ret)
{
    for (size_t i = 0; i < j->count; i++)
        j->items[i].key = 0;
    for (size_t p = 0; p < j->ctx->points; p++) {
        double median = point_quantile(j, p, 0.5);
        for (size_t i = 0; i < j->count; i++) {
            double d = j->items[i].s.values[p] - median;
            j->items[i].key += d * d;
        }
    }
    return rank_whole(j, false, ret);
}

static double point_mad(const struct job *j, size_t p, double median)
{
    size_t n = 0;
    for (size_t i = 0; i < j->count; i++) {
        double d = fabs(j->items[i].s.values[p] - median);
        if (!isnan(d)) /* also infinity less infinity */
            j->tmp[n++] = d;
    }
    ksi_sort_values(j->tmp, n);
    return ksi_quantile_sorted(0.5, j->tmp, n);
}

static void mark_beyond_iqr(struct job *j, size_t p)
{
    double q25 = point_quantile(j, p, 0.25), q75 = point_quantile(j, p, 0.75);
    double w = 1.5 * (q75 - q25), lower = q25 - w, upper = q75 + w;
    for (size_t i = 0; i < j->count; i++) {
        double v = j->items[i].s.values[p];
        j->items[i].hash |= v > upper || v < lower;
    }
}

/* By the deviation itself: between two values both deviate alike, to the last bit. */
static void mark_beyond_mad(struct job *j, size_t p)
{
    double median = point_quantile(j, p, 0.5), most = point_mad(j, p, median) * j->k[p];
    for (size_t i = 0; i < j->count; i++)
        j->items[i].hash |= fabs(j->items[i].s.values[p] - median) > most;
}

/* Keeps series that leave the band at some point. */
static ks_err outliers_band(struct job *j, struct ksi_vec *ret)
{
    bool iqr = j->a->func->id == KS_FN_AGGR_OUTLIERS_IQR;
    for (size_t i = 0; i < j->count; i++)
        j->items[i].hash = 0;
    for (size_t p = 0; p < j->ctx->points; p++) {
        if (iqr)
            mark_beyond_iqr(j, p);
        else
            mark_beyond_mad(j, p);
    }
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].hash)
            KS_TRY(ksi_vec_push(j->ctx->q, ret, j->items[i].s));
    return KS_OK;
}

static ks_err limitk(struct job *j, struct ksi_vec *ret)
{
    for (size_t i = 0; i < j->count; i++)
        j->items[i].hash = ks_hash64(j->items[i].s.labels.ptr, j->items[i].s.labels.len);
    qsort(j->items, j->count, sizeof *j->items, cmp_hash);
    size_t k = ksi_int_k(j->k[0], j->count);
    for (size_t i = 0; i < k; i++)
        KS_TRY(ksi_vec_push(j->ctx->q, ret, j->items[i].s));
    return KS_OK;
}

static ks_err rank_points(const struct job *j, bool bottom, struct ksi_vec *ret)
{
    struct ksi_series *series = ks_arena_array(j->ctx->q->arena, j->count, sizeof *series);
    if (!series)
        return ks_arena_err(j->ctx->q->arena);
    for (size_t i = 0; i < j->count; i++)
        series[i] = j->items[i].s;
    return ksi_topk(j->ctx, series, j->count, j->k, bottom, ret);
}

static ks_err run_group(struct job *j, const struct rank_func *r, struct ksi_vec *ret)
{
    switch (j->a->func->id) {
    case KS_FN_AGGR_ANY:
        return ksi_vec_push(j->ctx->q, ret, j->items[0].s);
    case KS_FN_AGGR_LIMITK:
        return limitk(j, ret);
    case KS_FN_AGGR_OUTLIERSK:
        return outliersk(j, ret);
    case KS_FN_AGGR_OUTLIERS_IQR:
    case KS_FN_AGGR_OUTLIERS_MAD:
        return outliers_band(j, ret);
    default:
        break;
    }
    if (r->by == BY_POINT)
        return rank_points(j, r->bottom, ret);
    for (size_t i = 0; i < j->count; i++)
        j->items[i].key = series_key(j, r->by, j->items[i].s.values);
    return rank_whole(j, r->bottom, ret);
}

static const struct rank_func *find_rank(enum ks_promql_func_id id)
{
    for (size_t i = 0; i < sizeof rank_funcs / sizeof *rank_funcs; i++)
        if (rank_funcs[i].id == id)
            return &rank_funcs[i];
    return NULL;
}

/* Which argument holds the series, and k and the remainder's label from the others. */
static ks_err take_args(struct job *j, struct ksi_vec *args, const struct rank_func *r,
                        struct ksi_vec *in)
{
    size_t n = j->a->arg_count;
    if (j->a->func->id == KS_FN_AGGR_ANY) {
        *in = args[0];
        for (size_t i = 1; i < n; i++)
            KS_TRY(ksi_vec_append(j->ctx->q, in, &args[i]));
        return KS_OK;
    }
    if (j->a->func->id == KS_FN_AGGR_OUTLIERS_IQR) {
        KS_TRY(ksi_want_args(n, 1));
        *in = args[0];
        return KS_OK;
    }
    bool may_remain = r && r->by != BY_POINT;
    if (n != 2 && !(may_remain && n == 3))
        return ks_fail(KS_EEXEC, "unexpected number of args; got %zu; want 2", n);
    KS_TRY(ksi_arg_scalar(&args[0], 0, &j->k));
    if (n == 3)
        KS_TRY(ksi_arg_string(j->ctx, &args[2], 2, &j->remaining));
    *in = args[1];
    return KS_OK;
}

ks_err ksi_aggr_rank(const struct ksi_ctx *ctx, const struct ks_expr_aggregate *a,
                     struct ksi_vec *args, struct ksi_vec *ret, bool *ret_mine)
{
    struct ksi_query *q = ctx->q;
    const struct rank_func *r = find_rank(a->func->id);
    enum ks_promql_func_id id = a->func->id;
    *ret_mine = r || id == KS_FN_AGGR_ANY || id == KS_FN_AGGR_LIMITK ||
                id == KS_FN_AGGR_OUTLIERSK || id == KS_FN_AGGR_OUTLIERS_IQR ||
                id == KS_FN_AGGR_OUTLIERS_MAD;
    if (!*ret_mine)
        return KS_OK;
    struct job j = {.ctx = ctx, .a = a};
    struct ksi_vec in;
    struct ksi_groups g;
    struct ksi_label_filter f = ksi_aggr_filter(a);
    KS_TRY(take_args(&j, args, r, &in));
    ksi_vec_drop_empty(ctx, &in);
    KS_TRY(ksi_group(q, &in, &f, a->limit, &g));
    j.items = ks_arena_array(q->arena, in.count + 1, sizeof *j.items);
    j.tmp = ks_arena_array(q->arena, (in.count > ctx->points ? in.count : ctx->points) + 1,
                           sizeof *j.tmp);
    if (!j.items || !j.tmp)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < g.count; i++) {
        KS_TRY(ks_read_ctx_check(&q->read));
        j.count = 0;
        for (size_t k = g.first[i]; k < g.first[i + 1]; k++) {
            j.items[j.count] = (struct ranked){.s = in.items[g.members[k]], .order = j.count};
            j.count++;
        }
        KS_TRY(run_group(&j, r, ret));
    }
    return KS_OK;
}
