/* Vectors and grids of values. */
#include <stdlib.h>

#include "query/promql/exec_priv.h"

ks_err ksi_vec_push(struct ksi_query *q, struct ksi_vec *v, struct ksi_series s)
{
    if (v->count == v->cap)
        KS_TRY(
            ks_arena_grow(q->arena, (void **)&v->items, &v->cap, v->count + 1, sizeof *v->items));
    v->items[v->count++] = s;
    return KS_OK;
}

ks_err ksi_vec_append(struct ksi_query *q, struct ksi_vec *v, const struct ksi_vec *more)
{
    if (!more->count)
        return KS_OK;
    KS_TRY(ks_arena_grow(q->arena, (void **)&v->items, &v->cap, v->count + more->count,
                         sizeof *v->items));
    memcpy(v->items + v->count, more->items, more->count * sizeof *v->items);
    v->count += more->count;
    return KS_OK;
}

ks_err ksi_hist_point(struct ksi_query *q, const struct ks_histogram *h, double *ret)
{
    if (q->hist_count > UINT32_MAX)
        return ks_fail(KS_ELIMIT, "a query over too many native histograms");
    KS_TRY(ks_arena_grow(q->arena, (void **)&q->hists, &q->hist_cap, q->hist_count + 1,
                         sizeof(*q->hists)));
    *ret = ks_f64_from_bits(KS_HISTOGRAM_BITS | q->hist_count);
    q->hists[q->hist_count++] = h;
    return KS_OK;
}

ks_err ksi_hist_keep(struct ksi_query *q, const struct ks_histogram *h, double *ret)
{
    struct ks_histogram *copy = ks_arena_alloc(q->arena, sizeof *copy);
    if (!copy)
        return ks_arena_err(q->arena);
    KS_TRY(ks_histogram_copy(q->arena, h, copy));
    return ksi_hist_point(q, copy, ret);
}

void ksi_plain_nans(double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ksi_is_hist(v[i]) || ks_f64_bits(v[i]) == KS_ABSENT_BITS)
            v[i] = NAN;
}

double *ksi_grid(const struct ksi_ctx *ctx, double fill)
{
    double *v = ks_arena_array(ctx->q->arena, ctx->points, sizeof *v);
    for (size_t i = 0; v && i < ctx->points; i++)
        v[i] = fill;
    return v;
}

double *ksi_grid_dup(const struct ksi_ctx *ctx, const double *values)
{
    double *v = ks_arena_array(ctx->q->arena, ctx->points, sizeof *v);
    return v ? memcpy(v, values, ctx->points * sizeof *v) : NULL;
}

ks_err ksi_vec_number(const struct ksi_ctx *ctx, double v, struct ksi_vec *ret)
{
    struct ksi_series s = {.values = ksi_grid(ctx, v)};
    if (!s.values)
        return ks_arena_err(ctx->q->arena);
    *ret = (struct ksi_vec){0};
    return ksi_vec_push(ctx->q, ret, s);
}

ks_err ksi_vec_string(const struct ksi_ctx *ctx, struct ks_slice s, struct ksi_vec *ret)
{
    KS_TRY(ksi_vec_number(ctx, ksi_absent(), ret));
    return ksi_labels_set(ctx->q, &ret->items[0].labels, KS_NAME_LABEL, s);
}

ks_err ksi_vec_time(const struct ksi_ctx *ctx, struct ksi_vec *ret)
{
    KS_TRY(ksi_vec_number(ctx, 0, ret));
    for (size_t i = 0; i < ctx->points; i++)
        ret->items[0].values[i] = (double)ksi_time(ctx, i) / 1e3;
    return KS_OK;
}

ks_err ksi_vec_copy(const struct ksi_ctx *ctx, const struct ksi_vec *v, struct ksi_vec *ret)
{
    *ret = (struct ksi_vec){0};
    KS_TRY(ksi_vec_append(ctx->q, ret, v));
    for (size_t i = 0; i < ret->count; i++) {
        ret->items[i].values = ksi_grid_dup(ctx, v->items[i].values);
        if (!ret->items[i].values)
            return ks_arena_err(ctx->q->arena);
    }
    return KS_OK;
}

bool ksi_series_empty(const struct ksi_ctx *ctx, const struct ksi_series *s)
{
    for (size_t i = 0; i < ctx->points; i++)
        if (!ksi_is_absent(ctx->q, s->values[i]))
            return false;
    return true;
}

void ksi_vec_drop_empty(const struct ksi_ctx *ctx, struct ksi_vec *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++)
        if (!ksi_series_empty(ctx, &v->items[i]))
            v->items[n++] = v->items[i];
    v->count = n;
}

ks_err ksi_vec_sort(struct ksi_query *q, struct ksi_vec *v, ksi_series_cmp cmp, const void *arg)
{
    size_t n = v->count;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = cmp(&v->items[i - 1], &v->items[i], arg) <= 0;
    if (sorted)
        return KS_OK;
    struct ksi_series *from = v->items, *to = ks_arena_array(q->arena, n, sizeof *to);
    if (!to)
        return ks_arena_err(q->arena);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n,
                   hi = lo + 2 * width < n ? lo + 2 * width : n;
            for (size_t a = lo, b = mid, k = lo; k < hi; k++) {
                bool left = a < mid && (b >= hi || cmp(&from[a], &from[b], arg) <= 0);
                to[k] = from[left ? a++ : b++];
            }
        }
        struct ksi_series *t = from;
        from = to;
        to = t;
    }
    if (from != v->items)
        v->cap = n;
    v->items = from;
    return KS_OK;
}

/* Where two texts begin to differ; the shorter one's length when there is no such place. */
static size_t mismatch(struct ks_slice a, struct ks_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len, i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x = ks_le64(a.ptr + i) ^ ks_le64(b.ptr + i);
        if (x)
            return i + (size_t)__builtin_ctzll(x) / 8;
    }
    while (i < n && a.ptr[i] == b.ptr[i])
        i++;
    return i;
}

/* Label by label in their order, by what differs first: most series of a metric have their first
 * labels in common. */
int ksi_cmp_labels(const struct ksi_series *sa, const struct ksi_series *sb, const void *arg)
{
    struct ks_slice a = sa->labels, b = sb->labels;
    size_t at = mismatch(a, b);
    struct ks_labels_iter ia = ks_labels_iter(a);
    struct ks_label la = {0}, lb = {0};
    const char *from = a.ptr, *differs = a.ptr + at;
    if (at == a.len || at == b.len)
        return (a.len > b.len) - (a.len < b.len); /* one has the other's labels and more */
    while (ks_labels_next(&ia, &la) && la.value.ptr + la.value.len <= differs)
        from = la.value.ptr + la.value.len;
    struct ks_labels_iter ib = ks_labels_iter(ks_slice_from(b, (size_t)(from - a.ptr)));
    ks_labels_next(&ib, &lb);
    int c = ks_slice_cmp(la.name, lb.name);
    return c ? c : ks_slice_cmp(la.value, lb.value);
}

/* Whether the metric's name stands first, as it does unless some label's name has capitals. */
static bool name_is_first(struct ks_slice labels)
{
    static const char first[] = "\x08__name__";
    return labels.len >= sizeof first - 1 && memcmp(labels.ptr, first, sizeof first - 1) == 0;
}

int ksi_cmp_name(const struct ksi_series *a, const struct ksi_series *b, const void *arg)
{
    if (name_is_first(a->labels) && name_is_first(b->labels))
        return ksi_cmp_labels(a, b, arg);
    int c = ks_slice_cmp(ks_labels_get(a->labels, KS_NAME_LABEL),
                         ks_labels_get(b->labels, KS_NAME_LABEL));
    if (c)
        return c;
    struct ks_labels_iter ia = ks_labels_iter(a->labels), ib = ks_labels_iter(b->labels);
    for (;;) {
        struct ks_label la = {0}, lb = {0};
        bool ma, mb;
        do
            ma = ks_labels_next(&ia, &la);
        while (ma && ks_slice_eq(la.name, KS_NAME_LABEL));
        do
            mb = ks_labels_next(&ib, &lb);
        while (mb && ks_slice_eq(lb.name, KS_NAME_LABEL));
        if (!ma || !mb)
            return (int)ma - (int)mb;
        c = ks_slice_cmp(la.name, lb.name);
        if (!c)
            c = ks_slice_cmp(la.value, lb.value);
        if (c)
            return c;
    }
}

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ksi_sort_values(double *v, size_t n)
{
    if (n > 1)
        qsort(v, n, sizeof *v, cmp_double);
}

size_t ksi_compact(const double *v, size_t n, double *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i]))
            out[k++] = v[i];
    return k;
}

struct ks_slice ksi_f64_text(struct ksi_query *q, double v)
{
    char out[KS_F64_TEXT_MAX];
    return ks_arena_dup(q->arena, ks_slice(out, ks_f64_format(out, v)));
}

struct ks_slice ksi_f64_text_fixed(struct ksi_query *q, double v)
{
    char out[KS_F64_TEXT_MAX];
    return ks_arena_dup(q->arena, ks_slice(out, ks_f64_format_fixed(out, v)));
}
