/* Functions over classic histograms: cumulative le buckets, and the peer's vmrange buckets turned
 * into them. */
#include <stdlib.h>

#include "query/promql/exec_priv.h"

#define LE KS_SLICE_LIT("le")

/* --- vmrange → le --- */
struct range_bucket {
    struct ksi_series s;
    struct ks_slice start_text, end_text;
    double start, end;
    size_t order;
};

static int cmp_range(const void *pa, const void *pb)
{
    const struct range_bucket *a = pa, *b = pb;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static bool no_hits(const struct ksi_ctx *ctx, const double *v)
{
    for (size_t i = 0; i < ctx->points; i++)
        if (v[i] > 0)
            return false;
    return true;
}

static bool parse_vmrange(struct ks_slice v, struct range_bucket *b)
{
    for (size_t i = 0; i + 3 <= v.len; i++)
        if (memcmp(v.ptr + i, "...", 3) == 0) {
            b->start_text = ks_slice(v.ptr, i);
            b->end_text = ks_slice_from(v, i + 3);
            return ks_f64_parse(b->start_text, &b->start) && ks_f64_parse(b->end_text, &b->end);
        }
    return false;
}

static ks_err zero_bucket(const struct ksi_ctx *ctx, struct ks_slice labels, struct ks_slice le,
                          struct ksi_vec *out)
{
    struct ksi_series z = {.labels = labels, .values = ksi_grid(ctx, 0)};
    if (!z.values)
        return ks_arena_err(ctx->q->arena);
    KS_TRY(ksi_labels_set(ctx->q, &z.labels, LE, le));
    return ksi_vec_push(ctx->q, out, z);
}

static void accumulate(const struct ksi_ctx *ctx, const struct ksi_vec *v)
{
    for (size_t p = 0; p < ctx->points; p++) {
        double count = 0;
        for (size_t i = 0; i < v->count; i++) {
            double x = v->items[i].values[p];
            if (!isnan(x) && x > 0)
                count += x;
            v->items[i].values[p] = count;
        }
    }
}

/* One histogram: gaps and empty buckets become a bucket of zero hits below the next one with hits.
 */
static ks_err range_group(const struct ksi_ctx *ctx, struct range_bucket *b, size_t n,
                          struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_vec out = {0};
    struct ksi_map seen = {0}; /* le texts in out */
    struct ksi_vec of = {0};   /* the series that took a text, for merging */
    double last_end = 0;
    const struct range_bucket *last = NULL;
    size_t at;
    bool added;
    qsort(b, n, sizeof *b, cmp_range);
    for (size_t i = 0; i < n; i++) {
        if (no_hits(ctx, b[i].s.values))
            continue;
        if (b[i].start != last_end && !ksi_map_get(&seen, b[i].start_text, &at)) {
            KS_TRY(ksi_map_put(q->arena, &seen, b[i].start_text, false, &at, &added));
            KS_TRY(ksi_vec_push(q, &of, b[i].s));
            KS_TRY(zero_bucket(ctx, b[i].s.labels, b[i].start_text, &out));
        }
        struct ksi_series s = b[i].s;
        KS_TRY(ksi_labels_set(q, &s.labels, LE, b[i].end_text));
        KS_TRY(ksi_map_put(q->arena, &seen, b[i].end_text, false, &at, &added));
        if (added) {
            KS_TRY(ksi_vec_push(q, &of, s));
            KS_TRY(ksi_vec_push(q, &out, s));
        } else {
            ksi_merge_disjoint(ctx, of.items[at].values, s.values);
        }
        last = &b[i];
        last_end = b[i].end;
    }
    if (last && !(isinf(last->end) && last->end > 0))
        KS_TRY(zero_bucket(ctx, last->s.labels, KS_SLICE_LIT("+Inf"), &out));
    accumulate(ctx, &out);
    return ksi_vec_append(q, ret, &out);
}

ks_err ksi_vmrange_to_le(const struct ksi_ctx *ctx, struct ksi_vec *v, struct ksi_vec *ret)
{
    static const struct ks_slice own[] = {{"le", 2}, {"vmrange", 7}};
    struct ksi_query *q = ctx->q;
    struct range_bucket *b = ks_arena_array(q->arena, v->count + 1, sizeof *b);
    struct ksi_vec ranged = {0};
    *ret = (struct ksi_vec){0};
    if (!b)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < v->count; i++) {
        struct ksi_series s = v->items[i];
        struct ks_slice range = ks_labels_get(s.labels, KS_SLICE_LIT("vmrange"));
        if (!range.len) {
            if (ks_labels_get(s.labels, LE).len)
                KS_TRY(ksi_vec_push(q, ret, s));
            continue;
        }
        struct range_bucket x = {.order = ranged.count};
        if (!parse_vmrange(range, &x))
            continue;
        struct ksi_label_filter f = {.names = own, .count = 2, .mode = KSI_DROP};
        KS_TRY(ksi_labels_filtered(q, s.labels, &f, &s.labels));
        x.s = s;
        b[ranged.count] = x;
        KS_TRY(ksi_vec_push(q, &ranged, s));
    }
    struct ksi_groups g;
    struct ksi_label_filter all = {.mode = KSI_DROP};
    KS_TRY(ksi_group(q, &ranged, &all, 0, &g));
    struct range_bucket *tmp = ks_arena_array(q->arena, ranged.count + 1, sizeof *tmp);
    if (!tmp)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < g.count; i++) {
        size_t n = 0;
        for (size_t k = g.first[i]; k < g.first[i + 1]; k++)
            tmp[n++] = b[g.members[k]];
        KS_TRY(range_group(ctx, tmp, n, ret));
    }
    return KS_OK;
}

/* --- groups of le buckets --- */
struct bucket {
    double le;
    double *values;
    size_t order;
};
struct histogram {
    struct ks_slice labels;
    struct ks_tenant tenant;
    struct bucket *b;
    size_t count;
};

static int cmp_bucket(const void *pa, const void *pb)
{
    const struct bucket *a = pa, *b = pb;
    if (a->le != b->le)
        return a->le < b->le ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

/* Equal bounds written differently ("5", "5.0") are one bucket. */
static void merge_equal(const struct ksi_ctx *ctx, struct histogram *h)
{
    size_t n = 0;
    for (size_t i = 0; i < h->count; i++) {
        if (n && h->b[n - 1].le == h->b[i].le) {
            for (size_t p = 0; p < ctx->points; p++)
                h->b[n - 1].values[p] += h->b[i].values[p];
            continue;
        }
        h->b[n++] = h->b[i];
    }
    h->count = n;
}

static ks_err group_le(const struct ksi_ctx *ctx, struct ksi_vec *in, bool merge,
                       struct histogram **ret, size_t *ret_count)
{
    struct ksi_query *q = ctx->q;
    static const struct ks_slice own[] = {{"le", 2}};
    struct ksi_label_filter f = {.names = own, .count = 1, .mode = KSI_DROP, .drop_name = true};
    struct ksi_vec v, ok = {0};
    KS_TRY(ksi_vmrange_to_le(ctx, in, &v));
    double le;
    for (size_t i = 0; i < v.count; i++)
        if (ks_f64_parse(ks_labels_get(v.items[i].labels, LE), &le) && !isnan(le))
            KS_TRY(ksi_vec_push(q, &ok, v.items[i]));
    struct ksi_groups g;
    KS_TRY(ksi_group(q, &ok, &f, 0, &g));
    struct histogram *h = ks_arena_zalloc(q->arena, (g.count + 1) * sizeof *h);
    if (!h)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < g.count; i++) {
        size_t n = g.first[i + 1] - g.first[i];
        h[i] = (struct histogram){
            .labels = g.map.keys[i], .count = n, .b = ks_arena_array(q->arena, n, sizeof *h->b)};
        if (!h[i].b)
            return ks_arena_err(q->arena);
        for (size_t k = 0; k < n; k++) {
            const struct ksi_series *s = &ok.items[g.members[g.first[i] + k]];
            (void)!ks_f64_parse(ks_labels_get(s->labels, LE), &le);
            h[i].b[k] = (struct bucket){le, s->values, k};
            h[i].tenant = s->tenant;
        }
        qsort(h[i].b, n, sizeof *h[i].b, cmp_bucket);
        if (merge)
            merge_equal(ctx, &h[i]);
    }
    *ret = h;
    *ret_count = g.count;
    return KS_OK;
}

/* Counts must not fall towards higher bounds; holes take the count below. */
static void fix_buckets(const struct histogram *h, size_t p)
{
    if (h->count < 2)
        return;
    double prev = h->b[0].values[p];
    if (isnan(prev))
        prev = h->b[0].values[p] = 0;
    for (size_t i = 1; i < h->count; i++) {
        double v = h->b[i].values[p];
        if (isnan(v) || prev > v)
            h->b[i].values[p] = prev;
        else
            prev = v;
    }
}

struct triple {
    double value, lower, upper;
};

static struct triple quantile_at(const struct histogram *h, size_t p, double phi)
{
    const struct triple none = {NAN, NAN, NAN};
    if (isnan(phi) || !h->count)
        return none;
    fix_buckets(h, p);
    double total = h->b[h->count - 1].values[p];
    if (total == 0)
        return none;
    if (phi < 0)
        return (struct triple){-INFINITY, -INFINITY, h->b[0].values[p]};
    if (phi > 1)
        return (struct triple){INFINITY, total, INFINITY};
    double want = total * phi, v_prev = 0, le_prev = 0;
    for (size_t i = 0; i < h->count; i++) {
        double v = h->b[i].values[p], le = h->b[i].le;
        if (v <= 0) {
            le_prev = le;
            continue;
        }
        if (v < want) {
            v_prev = v;
            le_prev = le;
            continue;
        }
        if (isinf(le))
            break;
        if (v == v_prev)
            return (struct triple){le_prev, le_prev, v};
        return (struct triple){le_prev + (le - le_prev) * (want - v_prev) / (v - v_prev), le_prev,
                               le};
    }
    double last = NAN;
    for (size_t i = h->count; i-- > 0 && isnan(last);)
        if (!isinf(h->b[i].le))
            last = h->b[i].le;
    return (struct triple){last, last, INFINITY};
}

static struct triple share_at(const struct histogram *h, size_t p, double want)
{
    if (isnan(want) || !h->count)
        return (struct triple){NAN, NAN, NAN};
    if (want < 0)
        return (struct triple){0, 0, 0};
    if (isinf(want))
        return (struct triple){1, 1, 1};
    double v_prev = 0, le_prev = 0, total = h->b[h->count - 1].values[p];
    for (size_t i = 0; i < h->count; i++) {
        double v = h->b[i].values[p], le = h->b[i].le, lower = v_prev / total;
        if (want >= le) {
            v_prev = v;
            le_prev = le;
            continue;
        }
        if (isinf(le))
            return (struct triple){lower, lower, 1};
        if (le_prev == want)
            return (struct triple){lower, lower, lower};
        return (struct triple){lower + (v - v_prev) / total * (want - le_prev) / (le - le_prev),
                               lower, v / total};
    }
    return (struct triple){1, 1, 1};
}

/* Mean and variance with every sample in the middle of its bucket. */
static void moments(const struct histogram *h, size_t p, double *ret_avg, double *ret_var)
{
    double le_prev = 0, v_prev = 0, sum = 0, sum2 = 0, weight = 0;
    for (size_t i = 0; i < h->count; i++) {
        if (isinf(h->b[i].le))
            continue;
        double mid = (h->b[i].le + le_prev) / 2, v = h->b[i].values[p], w = v - v_prev;
        sum += mid * w;
        sum2 += mid * mid * w;
        weight += w;
        le_prev = h->b[i].le;
        v_prev = v;
    }
    *ret_avg = *ret_var = NAN;
    if (weight == 0)
        return;
    *ret_avg = sum / weight;
    double var = sum2 / weight - *ret_avg * *ret_avg;
    *ret_var = var < 0 ? 0 : var;
}

/* --- functions --- */
struct with_bounds {
    const double *arg; /* phi or le per point */
    struct ks_slice label;
    bool share;
};

static ks_err push_triples(const struct ksi_ctx *ctx, const struct histogram *h,
                           const struct with_bounds *w, struct ksi_vec *ret)
{
    struct ksi_query *q = ctx->q;
    struct ksi_series s[3];
    for (int i = 0; i < (w->label.len ? 3 : 1); i++) {
        s[i] = (struct ksi_series){.labels = h->labels, .tenant = h->tenant};
        s[i].values = ks_arena_array(q->arena, ctx->points, sizeof(double));
        if (!s[i].values)
            return ks_arena_err(q->arena);
        if (i)
            KS_TRY(ksi_labels_set(q, &s[i].labels, w->label,
                                  i == 1 ? KS_SLICE_LIT("lower") : KS_SLICE_LIT("upper")));
    }
    for (size_t p = 0; p < ctx->points; p++) {
        if (w->share && !isnan(w->arg[p]))
            fix_buckets(h, p);
        struct triple t = w->share ? share_at(h, p, w->arg[p]) : quantile_at(h, p, w->arg[p]);
        s[0].values[p] = t.value;
        if (w->label.len) {
            s[1].values[p] = t.lower;
            s[2].values[p] = t.upper;
        }
    }
    for (int i = 0; i < (w->label.len ? 3 : 1); i++)
        KS_TRY(ksi_vec_push(q, ret, s[i]));
    return KS_OK;
}

static ks_err with_bounds(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct with_bounds w = {.share = c->call->func->id == KS_FN_HISTOGRAM_SHARE};
    struct histogram *h;
    size_t n;
    if (c->arg_count < 2 || c->arg_count > 3)
        return ks_fail(KS_EEXEC, "unexpected number of args; got %zu; want 2...3", c->arg_count);
    KS_TRY(ksi_arg_scalar(&c->args[0], 0, &w.arg));
    if (c->arg_count == 3)
        KS_TRY(ksi_arg_string(c->ctx, &c->args[2], 2, &w.label));
    KS_TRY(group_le(c->ctx, &c->args[1], true, &h, &n));
    for (size_t i = 0; i < n; i++)
        KS_TRY(push_triples(c->ctx, &h[i], &w, ret));
    return KS_OK;
}

static ks_err quantiles(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct ks_slice label;
    struct histogram *h;
    size_t n;
    if (c->arg_count < 3)
        return ks_fail(KS_EEXEC, "unexpected number of args: %zu; expecting at least 3 args",
                       c->arg_count);
    KS_TRY(ksi_arg_string(c->ctx, &c->args[0], 0, &label));
    KS_TRY(group_le(c->ctx, &c->args[c->arg_count - 1], true, &h, &n));
    for (size_t k = 1; k + 1 < c->arg_count; k++) {
        struct with_bounds w = {0};
        size_t from = ret->count;
        KS_TRY(ksi_arg_scalar(&c->args[k], k - 1, &w.arg));
        for (size_t i = 0; i < n; i++)
            KS_TRY(push_triples(c->ctx, &h[i], &w, ret));
        for (; from < ret->count; from++)
            KS_TRY(ksi_labels_set(c->ctx->q, &ret->items[from].labels, label,
                                  ksi_f64_text(c->ctx->q, w.arg[0])));
    }
    return KS_OK;
}

static ks_err fraction(const struct ksi_call *c, struct ksi_vec *ret)
{
    const double *lo, *hi;
    struct histogram *h;
    size_t n;
    KS_TRY(ksi_want_args(c->arg_count, 3));
    KS_TRY(ksi_arg_scalar(&c->args[0], 0, &lo));
    KS_TRY(ksi_arg_scalar(&c->args[1], 1, &hi));
    if (lo[0] >= hi[0])
        return ks_fail(KS_EEXEC,
                       "lower le cannot be greater than upper le; got lower le: %f, upper le: %f",
                       lo[0], hi[0]);
    KS_TRY(group_le(c->ctx, &c->args[2], true, &h, &n));
    for (size_t i = 0; i < n; i++) {
        struct ksi_series s = {
            .labels = h[i].labels, .tenant = h[i].tenant, .values = ksi_grid(c->ctx, NAN)};
        if (!s.values)
            return ks_arena_err(c->ctx->q->arena);
        for (size_t p = 0; p < c->ctx->points; p++) {
            if (isnan(lo[p]) || isnan(hi[p]))
                continue;
            fix_buckets(&h[i], p);
            s.values[p] = share_at(&h[i], p, hi[p]).value - share_at(&h[i], p, lo[p]).value;
        }
        KS_TRY(ksi_vec_push(c->ctx->q, ret, s));
    }
    return KS_OK;
}

static ks_err statistic(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct histogram *h;
    size_t n;
    KS_TRY(ksi_want_args(c->arg_count, 1));
    KS_TRY(group_le(c->ctx, &c->args[0], false, &h, &n));
    for (size_t i = 0; i < n; i++) {
        struct ksi_series s = {
            .labels = h[i].labels, .tenant = h[i].tenant, .values = ksi_grid(c->ctx, NAN)};
        if (!s.values)
            return ks_arena_err(c->ctx->q->arena);
        for (size_t p = 0; p < c->ctx->points; p++) {
            double avg, var;
            moments(&h[i], p, &avg, &var);
            enum ks_promql_func_id id = c->call->func->id;
            s.values[p] = id == KS_FN_HISTOGRAM_AVG      ? avg
                          : id == KS_FN_HISTOGRAM_STDVAR ? var
                                                         : sqrt(var);
        }
        KS_TRY(ksi_vec_push(c->ctx->q, ret, s));
    }
    return KS_OK;
}

/* --- buckets_limit --- */
struct hits {
    struct bucket b;
    double hits;
    size_t series;
};
static int cmp_hits(const void *pa, const void *pb)
{
    const struct hits *a = pa, *b = pb;
    return cmp_bucket(&a->b, &b->b);
}

/* Leaves `limit` buckets of n: empty ones at the ends go first, then the pair of neighbours with
 * the fewest hits merges. */
static size_t thin_out(const struct ksi_ctx *ctx, struct hits *g, size_t n, size_t limit,
                       struct hits **ret)
{
    qsort(g, n, sizeof *g, cmp_hits);
    for (size_t p = 0; p < ctx->points; p++) {
        double prev = 0;
        for (size_t i = 0; i < n; i++) {
            g[i].hits += g[i].b.values[p] - prev;
            prev = g[i].b.values[p];
        }
    }
    while (n > limit && fabs(g[n - 1].hits) < 1e-9)
        n--;
    while (n > limit && fabs(g[0].hits) < 1e-9) {
        g++;
        n--;
    }
    while (n > limit) {
        size_t best = 1;
        for (size_t i = 1; i + 2 < n; i++)
            if (g[i].hits + g[i + 1].hits < g[best].hits + g[best + 1].hits)
                best = i;
        g[best + 1].hits += g[best].hits;
        memmove(g + best, g + best + 1, (n - best - 1) * sizeof *g);
        n--;
    }
    *ret = g;
    return n;
}

static ks_err buckets_limit(const struct ksi_call *c, struct ksi_vec *ret)
{
    struct ksi_query *q = c->ctx->q;
    static const struct ks_slice own[] = {{"le", 2}};
    struct ksi_label_filter f = {.names = own, .count = 1, .mode = KSI_DROP};
    int64_t limit;
    KS_TRY(ksi_want_args(c->arg_count, 2));
    KS_TRY(ksi_arg_int(&c->args[0], 0, &limit));
    if (limit <= 0)
        return ks_fail(KS_EEXEC, "limit must be greater than 0; got %lld", (long long)limit);
    if (limit < 3) /* the first and the last bucket tell the extremes */
        limit = 3;
    struct ksi_vec v, ok = {0};
    KS_TRY(ksi_vmrange_to_le(c->ctx, &c->args[1], &v));
    double le;
    for (size_t i = 0; i < v.count; i++)
        if (ks_f64_parse(ks_labels_get(v.items[i].labels, LE), &le))
            KS_TRY(ksi_vec_push(q, &ok, v.items[i]));
    struct ksi_groups g;
    KS_TRY(ksi_group(q, &ok, &f, 0, &g));
    struct hits *tmp = ks_arena_array(q->arena, ok.count + 1, sizeof *tmp), *left;
    if (!tmp)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < g.count; i++) {
        size_t n = 0;
        for (size_t k = g.first[i]; k < g.first[i + 1]; k++, n++) {
            (void)!ks_f64_parse(ks_labels_get(ok.items[g.members[k]].labels, LE), &le);
            tmp[n] = (struct hits){{le, ok.items[g.members[k]].values, n}, 0, g.members[k]};
        }
        left = tmp;
        if (n > (size_t)limit)
            n = thin_out(c->ctx, tmp, n, (size_t)limit, &left);
        for (size_t k = 0; k < n; k++)
            KS_TRY(ksi_vec_push(q, ret, ok.items[left[k].series]));
    }
    return KS_OK;
}

ks_err ksi_transform_histogram(const struct ksi_call *c, struct ksi_vec *ret, bool *mine)
{
    switch (c->call->func->id) {
    case KS_FN_HISTOGRAM_QUANTILE:
    case KS_FN_HISTOGRAM_SHARE:
        return with_bounds(c, ret);
    case KS_FN_HISTOGRAM_QUANTILES:
        return quantiles(c, ret);
    case KS_FN_HISTOGRAM_FRACTION:
        return fraction(c, ret);
    case KS_FN_HISTOGRAM_AVG:
    case KS_FN_HISTOGRAM_STDDEV:
    case KS_FN_HISTOGRAM_STDVAR:
        return statistic(c, ret);
    case KS_FN_BUCKETS_LIMIT:
        return buckets_limit(c, ret);
    case KS_FN_PROMETHEUS_BUCKETS:
        KS_TRY(ksi_want_args(c->arg_count, 1));
        return ksi_vmrange_to_le(c->ctx, &c->args[0], ret);
    default:
        *mine = false;
        return KS_OK;
    }
}
