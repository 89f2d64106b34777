/*
 * Aggregates of strict PromQL: at each point over the series that have a value there, in the order
 * of the series; sums and means compensated (Neumaier), NaN a value like any other.
 */
#include <stdlib.h>

#include "base/histogram_text.h"
#include "query/promql/exec_priv.h"
#include "query/promql/kahan.h"
#include "query/promql/strict/histogram_math.h"

struct job {
    const struct ksi_ctx *ctx;
    const struct ks_expr *e;
    const struct ks_expr_aggregate *a;
    const struct ksi_vec *in;
    struct ksi_groups g;
    const double *param; /* k, ratio or phi per point */
    double *tmp;
    size_t *heap; /* topk, bottomk: indexes of series */
};

/* --- one value per group and point --- */
static double sum_of(const double *v, size_t n)
{
    double sum = v[0], c = 0;
    for (size_t i = 1; i < n; i++)
        ksi_kahan_add(v[i], &sum, &c);
    return sum + c;
}

static double variance_of(const double *v, size_t n)
{
    double mean = v[0], sum = isfinite(v[0]) ? 0 : NAN;
    for (size_t i = 1; i < n; i++) {
        double delta = v[i] - mean;
        mean += delta / (double)(i + 1);
        sum += delta * (v[i] - mean);
    }
    return sum / (double)n;
}

static double extreme_of(const double *v, size_t n, bool max)
{
    double best = v[0];
    for (size_t i = 1; i < n; i++)
        if (isnan(best) || (max ? best < v[i] : best > v[i]))
            best = v[i];
    return best;
}

/* NaNs first. */
static int cmp_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return (int)isnan(y) - (int)isnan(x);
    return (x > y) - (x < y);
}

/* --- native histograms --- */

static bool adds_histograms(const struct job *j)
{
    return j->a->func->id == KS_FN_AGGR_SUM || j->a->func->id == KS_FN_AGGR_AVG;
}

static bool counts_histograms(const struct job *j)
{
    return j->a->func->id == KS_FN_AGGR_COUNT || j->a->func->id == KS_FN_AGGR_GROUP;
}

/* Name as in messages: min, topk, … */
static ks_err tell_ignored(const struct job *j, const struct ks_expr *at)
{
    return ksi_inform(j->ctx->q, at, "ignored histogram in %s aggregation", j->a->func->name);
}

/*
 * sum and avg of a group at a point where some series has a histogram: in order of the series, as
 * far as their buckets go together. Numbers among them leave no result.
 */
static ks_err add_histograms(struct job *j, size_t g, size_t k, double *ret)
{
    struct ksi_query *q = j->ctx->q;
    const struct ks_expr *at = j->a->args[j->a->arg_count - 1];
    struct ks_histogram *sum = NULL;
    bool numbers = false, avg = j->a->func->id == KS_FN_AGGR_AVG;
    unsigned notes = 0;
    double n = 0;
    *ret = ksi_absent();
    for (size_t m = j->g.first[g]; m < j->g.first[g + 1] && !notes; m++) {
        const struct ksi_series *s = &j->in->items[j->g.members[m]];
        const struct ks_histogram *h = ksi_hist(q, s->values[k]);
        if (ksi_is_absent(q, s->values[k]))
            continue;
        n++;
        numbers |= !h;
        if (!h || numbers)
            continue;
        if (!sum) {
            if (!(sum = ks_arena_alloc(q->arena, sizeof *sum)))
                return ks_arena_err(q->arena);
            KS_TRY(ks_histogram_copy_buckets(q->arena, h, sum));
            continue;
        }
        KS_TRY(avg ? ks_hist_mean_add(q->arena, sum, h, n, &notes)
                   : ks_hist_add(q->arena, sum, h, &notes));
        notes &= KS_HIST_FATAL;
        KS_TRY(ksi_hist_notes(q, at, notes, ks_labels_get(s->labels, KS_NAME_LABEL)));
    }
    if (numbers)
        return ksi_warn(q, at, "encountered a mix of histograms and floats for aggregation");
    if (notes || !sum)
        return KS_OK;
    KS_TRY(ks_histogram_compact(q->arena, 0, sum));
    return ksi_hist_point(q, sum, ret);
}

static double value_of(const struct job *j, double *v, size_t n, size_t k)
{
    switch (j->a->func->id) {
    case KS_FN_AGGR_SUM:
        return sum_of(v, n);
    case KS_FN_AGGR_AVG:
        return ksi_kahan_mean(v, n);
    case KS_FN_AGGR_COUNT:
        return (double)n;
    case KS_FN_AGGR_GROUP:
        return 1;
    case KS_FN_AGGR_MIN:
        return extreme_of(v, n, false);
    case KS_FN_AGGR_MAX:
        return extreme_of(v, n, true);
    case KS_FN_AGGR_STDVAR:
        return variance_of(v, n);
    case KS_FN_AGGR_STDDEV:
        return sqrt(variance_of(v, n));
    default:
        qsort(v, n, sizeof *v, cmp_values);
        return ksi_quantile_sorted(j->param[k], v, n);
    }
}

static ks_err to_one(struct job *j, struct ksi_vec *ret)
{
    struct ksi_query *q = j->ctx->q;
    for (size_t g = 0; g < j->g.count; g++) {
        struct ksi_series s = {.labels = j->g.map.keys[g],
                               .values = ksi_grid(j->ctx, ksi_absent())};
        if (!s.values)
            return ks_arena_err(q->arena);
        KS_TRY(ks_read_ctx_check(&q->read));
        for (size_t k = 0; k < j->ctx->points; k++) {
            size_t n = 0;
            bool hist = false;
            for (size_t m = j->g.first[g]; m < j->g.first[g + 1]; m++) {
                double v = j->in->items[j->g.members[m]].values[k];
                hist |= ksi_is_hist(v);
                if (!ksi_is_absent(q, v) && (!ksi_is_hist(v) || counts_histograms(j)))
                    j->tmp[n++] = v;
            }
            if (hist && adds_histograms(j)) {
                KS_TRY(add_histograms(j, g, k, &s.values[k]));
                continue;
            }
            if (hist && !counts_histograms(j))
                KS_TRY(tell_ignored(j, j->a->args[j->a->arg_count - 1]));
            if (n)
                s.values[k] = value_of(j, j->tmp, n, k);
        }
        /* As Prometheus has it: the n-th group takes the mark of the n-th series. */
        s.drop_name = j->in->items[g].drop_name;
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return KS_OK;
}

/* --- those that choose series --- */
static double at(const struct job *j, size_t series, size_t k)
{
    return j->in->items[series].values[k];
}

/* Order of the heap: its root is the value to give way first. NaN gives way to anything. */
static bool below(const struct job *j, size_t a, size_t b, size_t k)
{
    double x = at(j, a, k), y = at(j, b, k);
    if (isnan(x))
        return true;
    return j->a->func->id == KS_FN_AGGR_BOTTOMK ? x > y : x < y;
}

static void heap_up(const struct job *j, size_t i, size_t k)
{
    while (i > 0 && below(j, j->heap[i], j->heap[(i - 1) / 2], k)) {
        size_t t = j->heap[i];
        j->heap[i] = j->heap[(i - 1) / 2];
        j->heap[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void heap_down(const struct job *j, size_t n, size_t k)
{
    for (size_t i = 0, c = 1; c < n; c = 2 * i + 1) {
        if (c + 1 < n && below(j, j->heap[c + 1], j->heap[c], k))
            c++;
        if (!below(j, j->heap[c], j->heap[i], k))
            break;
        size_t t = j->heap[i];
        j->heap[i] = j->heap[c];
        j->heap[c] = t;
        i = c;
    }
}

/* The k best of a group at a point, best first; how many. */
static size_t rank(const struct job *j, size_t g, size_t k, size_t limit, bool *ret_ignored)
{
    size_t n = 0;
    bool bottom = j->a->func->id == KS_FN_AGGR_BOTTOMK;
    for (size_t m = j->g.first[g]; m < j->g.first[g + 1]; m++) {
        size_t s = j->g.members[m];
        double v = at(j, s, k);
        *ret_ignored |= ksi_is_hist(v);
        if (ksi_is_absent(j->ctx->q, v) || ksi_is_hist(v))
            continue;
        if (n < limit) {
            j->heap[n] = s;
            heap_up(j, n++, k);
            continue;
        }
        double worst = at(j, j->heap[0], k);
        if ((bottom ? worst > v : worst < v) || (isnan(worst) && !isnan(v))) {
            j->heap[0] = s;
            heap_down(j, n, k);
        }
    }
    for (size_t i = 1; i < n; i++) /* insertion sort: n is small, equal values keep their order */
        for (size_t x = i; x > 0 && below(j, j->heap[x - 1], j->heap[x], k); x--) {
            if (isnan(at(j, j->heap[x], k)))
                break;
            size_t t = j->heap[x];
            j->heap[x] = j->heap[x - 1];
            j->heap[x - 1] = t;
        }
    return n;
}

static ks_err param_int(double v, size_t series, size_t *ret)
{
    char text[KS_F64_TEXT_MAX + 1];
    if (!(v >= -9223372036854775808.0 && v <= 9223372036854775807.0)) {
        text[ks_f64_format_g(text, v)] = 0;
        return ks_fail(KS_EEXEC, "Scalar value %s overflows int64", text);
    }
    *ret = v < 1 ? 0 : v > (double)series ? series : (size_t)v;
    return KS_OK;
}

static double param_max(const struct job *j)
{
    double max = j->param[0];
    for (size_t k = 1; k < j->ctx->points; k++)
        max = isnan(max) || isnan(j->param[k]) ? NAN : max > j->param[k] ? max : j->param[k];
    return max;
}

static double param_min(const struct job *j)
{
    double min = j->param[0];
    for (size_t k = 1; k < j->ctx->points; k++)
        min = isnan(min) || isnan(j->param[k]) ? NAN : min < j->param[k] ? min : j->param[k];
    return min;
}

/* Output series in the order in which they are first chosen. */
struct chosen {
    struct ksi_vec out;
    size_t *index; /* of series in out, SIZE_MAX none */
};

static ks_err choose(struct job *j, struct chosen *c, size_t series, size_t k)
{
    struct ksi_query *q = j->ctx->q;
    if (c->index[series] == SIZE_MAX) {
        struct ksi_series s = j->in->items[series];
        if (!(s.values = ksi_grid(j->ctx, ksi_absent())))
            return ks_arena_err(q->arena);
        c->index[series] = c->out.count;
        KS_TRY(ksi_vec_push(q, &c->out, s));
    }
    c->out.items[c->index[series]].values[k] = at(j, series, k);
    return KS_OK;
}

/* Prometheus' hash of a label set: XXH64 of names and values with their lengths in front. */
static ks_err label_hash(struct ksi_query *q, struct ks_slice labels, uint64_t *ret)
{
    struct ks_labels_iter it = ks_labels_iter(labels);
    struct ks_label l;
    uint8_t *out = ks_arena_alloc(q->arena, labels.len * 3 + 8);
    size_t n = 0;
    if (!out)
        return ks_arena_err(q->arena);
    while (ks_labels_next(&it, &l)) {
        const struct ks_slice parts[2] = {l.name, l.value};
        for (int i = 0; i < 2; i++) {
            size_t len = parts[i].len;
            if (len < 255) {
                out[n++] = (uint8_t)len;
            } else {
                out[n++] = 255;
                for (int b = 0; b < 3; b++)
                    out[n++] = (uint8_t)(len >> (8 * b));
            }
            memcpy(out + n, parts[i].ptr, len);
            n += len;
        }
    }
    *ret = ks_xxh64(out, n);
    return KS_OK;
}

static ks_err limit_ratio(struct job *j, struct chosen *c)
{
    for (size_t k = 0; k < j->ctx->points; k++)
        if (isnan(j->param[k]))
            return ks_fail(KS_EEXEC, "Ratio value NaN is NaN");
    for (size_t i = 0; i < j->in->count; i++) {
        uint64_t hash;
        KS_TRY(label_hash(j->ctx->q, j->in->items[i].labels, &hash));
        double place = (double)hash / 18446744073709551615.0;
        for (size_t k = 0; k < j->ctx->points; k++) {
            double r = j->param[k] > 1 ? 1 : j->param[k] < -1 ? -1 : j->param[k];
            bool in = r >= 0 ? place < r : place >= 1 + r;
            if (in && r != 0 && !ksi_is_absent(j->ctx->q, at(j, i, k)))
                KS_TRY(choose(j, c, i, k));
        }
    }
    return KS_OK;
}

static ks_err limitk(struct job *j, struct chosen *c, size_t g, size_t k, size_t limit)
{
    for (size_t m = j->g.first[g], n = 0; m < j->g.first[g + 1] && n < limit; m++) {
        size_t s = j->g.members[m];
        if (ksi_is_absent(j->ctx->q, at(j, s, k)))
            continue;
        KS_TRY(choose(j, c, s, k));
        n++;
    }
    return KS_OK;
}

static bool any_at(const struct job *j, size_t k)
{
    for (size_t i = 0; i < j->in->count; i++)
        if (!ksi_is_absent(j->ctx->q, at(j, i, k)))
            return true;
    return false;
}

static ks_err pick(struct job *j, struct ksi_vec *ret)
{
    struct ksi_query *q = j->ctx->q;
    struct chosen c = {.index = ks_arena_array(q->arena, j->in->count + 1, sizeof *c.index)};
    j->heap = ks_arena_array(q->arena, j->in->count + 1, sizeof *j->heap);
    if (!c.index || !j->heap)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < j->in->count; i++)
        c.index[i] = SIZE_MAX;
    enum ks_promql_func_id id = j->a->func->id;
    if (id == KS_FN_AGGR_LIMIT_RATIO)
        KS_TRY(limit_ratio(j, &c));
    bool ranks = id != KS_FN_AGGR_LIMIT_RATIO && !(param_max(j) < 1);
    for (size_t k = 0; k < j->ctx->points && ranks; k++) {
        size_t limit = 0;
        KS_TRY(ks_read_ctx_check(&q->read));
        if (!any_at(j, k)) /* k is not looked at where there is nothing to choose from */
            continue;
        KS_TRY(param_int(j->param[k], j->in->count, &limit));
        for (size_t g = 0; g < j->g.count && limit; g++) {
            if (id == KS_FN_AGGR_LIMITK) {
                KS_TRY(limitk(j, &c, g, k, limit));
                continue;
            }
            bool ignored = false;
            size_t n = rank(j, g, k, limit, &ignored);
            if (ignored)
                KS_TRY(tell_ignored(j, j->e));
            for (size_t i = 0; i < n; i++)
                KS_TRY(choose(j, &c, j->heap[i], k));
        }
    }
    *ret = c.out;
    return KS_OK;
}

/* --- count_values --- */
static ks_err value_text(struct ksi_query *q, double v, struct ks_slice *ret)
{
    const struct ks_histogram *h = ksi_hist(q, v);
    if (!h) {
        *ret = ksi_f64_text_fixed(q, v);
    } else {
        struct ks_buf b;
        ks_buf_init(&b, 1 << 20);
        ks_histogram_string(h, &b);
        *ret = ks_arena_dup(q->arena, ks_buf_view(&b));
        ks_err err = ks_buf_status(&b);
        ks_buf_done(&b);
        KS_TRY(err);
    }
    return ret->ptr ? KS_OK : ks_arena_err(q->arena);
}

static ks_err count_one(struct job *j, const struct ksi_label_filter *f, struct ksi_map *map,
                        struct ks_slice label, size_t series, size_t k, struct ksi_vec *ret)
{
    struct ksi_query *q = j->ctx->q;
    struct ks_slice labels = j->in->items[series].labels, value;
    KS_TRY(value_text(q, at(j, series, k), &value));
    KS_TRY(ksi_labels_set(q, &labels, label, value));
    KS_TRY(ksi_labels_filtered(q, labels, f, &labels));
    size_t i;
    bool added;
    KS_TRY(ksi_map_put(q->arena, map, labels, false, &i, &added));
    if (added) {
        struct ksi_series s = {.labels = labels, .values = ksi_grid(j->ctx, ksi_absent())};
        if (!s.values)
            return ks_arena_err(q->arena);
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    double *out = &ret->items[i].values[k];
    *out = ksi_is_absent(q, *out) ? 1 : *out + 1;
    return KS_OK;
}

static ks_err count_values(struct job *j, struct ks_slice label, struct ksi_vec *ret)
{
    struct ksi_query *q = j->ctx->q;
    struct ksi_label_filter f = ksi_aggr_filter(j->a);
    struct ksi_map map = {0};
    if (!label.len || !ksi_utf8_valid(label)) {
        struct ks_slice text = ksi_go_quoted(q, label);
        return ks_fail(KS_EEXEC, "invalid label name %.*s", KS_SLICE_ARG(text));
    }
    if (j->a->grouping != KS_GROUP_WITHOUT) {
        struct ks_slice *names = ks_arena_array(q->arena, f.count + 1, sizeof *names);
        if (!names)
            return ks_arena_err(q->arena);
        for (size_t i = 0; i < f.count; i++)
            names[i] = f.names[i];
        names[f.count++] = label;
        f.names = names;
    }
    for (size_t i = 0; i < j->in->count; i++)
        for (size_t k = 0; k < j->ctx->points; k++)
            if (!ksi_is_absent(q, at(j, i, k)))
                KS_TRY(count_one(j, &f, &map, label, i, k, ret));
    return KS_OK;
}

/* --- annotations and dispatch --- */
static ks_err warn_ratio(struct ksi_query *q, const struct ks_expr *param, double v, int to)
{
    char text[KS_F64_TEXT_MAX + 1];
    text[ks_f64_format_g(text, v)] = 0;
    return ksi_warn(q, param, "ratio value should be between -1 and 1, got %s, capping to %d", text,
                    to);
}

static ks_err check_param(struct job *j, const struct ks_expr *param)
{
    struct ksi_query *q = j->ctx->q;
    double min = param_min(j), max = param_max(j);
    if (j->a->func->id == KS_FN_AGGR_LIMIT_RATIO) {
        if (max > 1)
            KS_TRY(warn_ratio(q, param, max, 1));
        if (min < -1)
            KS_TRY(warn_ratio(q, param, min, -1));
    }
    if (j->a->func->id != KS_FN_AGGR_QUANTILE)
        return KS_OK;
    if (isnan(max))
        return ksi_warn_quantile(q, param, NAN);
    KS_TRY(ksi_warn_quantile(q, param, max > 1 ? max : 1));
    return ksi_warn_quantile(q, param, min < 0 ? min : 0);
}

ks_err ksi_strict_aggregate(const struct ksi_ctx *ctx, const struct ks_expr *e, struct ksi_vec *ret)
{
    const struct ks_expr_aggregate *a = &e->aggregate;
    struct ksi_query *q = ctx->q;
    struct job j = {.ctx = ctx, .e = e, .a = a};
    struct ksi_vec in, param = {0};
    if (a->arg_count > 1 && a->func->id != KS_FN_AGGR_COUNT_VALUES) {
        KS_TRY(ksi_eval(ctx, a->args[0], &param));
        KS_TRY(ksi_arg_scalar(&param, 0, &j.param));
    }
    KS_TRY(ksi_eval(ctx, a->args[a->arg_count - 1], &in));
    ksi_vec_drop_empty(ctx, &in);
    j.in = &in;
    if (a->func->id == KS_FN_AGGR_COUNT_VALUES)
        return count_values(&j, ksi_strip(a->args[0])->string, ret);
    if (j.param)
        KS_TRY(check_param(&j, ksi_strip(a->args[0])));
    /* What is chosen among equals, and the last bit of a sum, must not depend on where series lie.
     */
    KS_TRY(ksi_vec_sort(q, &in, ksi_cmp_labels, NULL));
    struct ksi_label_filter f = ksi_aggr_filter(a);
    KS_TRY(ksi_group(q, &in, &f, 0, &j.g));
    j.tmp = ks_arena_array(q->arena, in.count + 1, sizeof *j.tmp);
    if (!j.tmp)
        return ks_arena_err(q->arena);
    switch (a->func->id) {
    case KS_FN_AGGR_TOPK:
    case KS_FN_AGGR_BOTTOMK:
    case KS_FN_AGGR_LIMITK:
    case KS_FN_AGGR_LIMIT_RATIO:
        return pick(&j, ret);
    default:
        return to_one(&j, ret);
    }
}
