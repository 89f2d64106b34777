/*
 * topk and bottomk by point: at each point of the grid the best k members keep their values. Those
 * best at the last point come first, of equals there those at the point before, and so on; of
 * equals at all points the later one.
 */
#include <stdlib.h>

#include "query/promql/exec_priv.h"

struct topk {
    const struct ksi_ctx *ctx;
    struct ksi_series *series;
    size_t count;
    const double *k; /* of each point */
    bool bottom;
};

size_t ksi_int_k(double k, size_t max)
{
    return isnan(k) || k < 1 ? 0 : k >= (double)max ? max : (size_t)k;
}

/* A member at one point: numbers in their order, the best last, equal ones for equals; NaN is
 * below everything. */
struct point_key {
    uint64_t key;
    uint32_t item;
};

static uint64_t point_key(double v, bool bottom)
{
    uint64_t bits = ks_f64_bits(v + 0.0), sign = 1ull << 63; /* -0 is 0 */
    if (isnan(v))
        return 0;
    bits = bits & sign ? ~bits : bits | sign;
    return bottom ? ~bits : bits;
}

/* --- a few of many: per point a heap of the best so far --- */
enum { FEW_MAX = 64, FEW_SHARE = 4 };

struct few {
    const struct topk *t;
    size_t max;             /* members chosen at a point, at most */
    struct point_key *heap; /* max per point, the worst first */
    uint32_t *held;         /* in the heap of each point */
};

/* Of members equal at point p and behind: as the points before have them, then the later one. */
static bool worse_before(const struct few *f, size_t p, uint32_t a, uint32_t b)
{
    const double *va = f->t->series[a].values, *vb = f->t->series[b].values;
    while (p--) {
        uint64_t ka = point_key(va[p], f->t->bottom), kb = point_key(vb[p], f->t->bottom);
        if (ka != kb)
            return ka < kb;
    }
    return a < b;
}

static bool worse(const struct few *f, size_t p, struct point_key a, struct point_key b)
{
    return a.key != b.key ? a.key < b.key : worse_before(f, p, a.item, b.item);
}

static void sink(const struct few *f, size_t p, struct point_key *h, size_t n, struct point_key x)
{
    size_t at = 0;
    for (size_t kid; (kid = 2 * at + 1) < n; at = kid) {
        kid += kid + 1 < n && worse(f, p, h[kid + 1], h[kid]);
        if (!worse(f, p, h[kid], x))
            break;
        h[at] = h[kid];
    }
    h[at] = x;
}

static void rise(const struct few *f, size_t p, struct point_key *h, size_t at, struct point_key x)
{
    for (; at && worse(f, p, x, h[(at - 1) / 2]); at = (at - 1) / 2)
        h[at] = h[(at - 1) / 2];
    h[at] = x;
}

static void offer(struct few *f, size_t p, struct point_key x)
{
    struct point_key *h = f->heap + p * f->max;
    size_t room = ksi_int_k(f->t->k[p], f->t->count);
    if (f->held[p] < room)
        rise(f, p, h, f->held[p]++, x);
    else if (room && worse(f, p, h[0], x))
        sink(f, p, h, room, x);
}

static int cmp_few(const void *pa, const void *pb, void *arg)
{
    const struct few *f = arg;
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    return a == b ? 0 : worse_before(f, f->t->ctx->points, a, b) ? -1 : 1;
}

/* The chosen of all points, each with its values where it is among them. */
static ks_err emit_few(const struct few *f, struct ksi_vec *ret)
{
    const struct topk *t = f->t;
    struct ks_arena *arena = t->ctx->q->arena;
    double **values = ks_arena_zalloc(arena, t->count * sizeof *values);
    uint32_t *chosen = ks_arena_array(arena, t->count, sizeof *chosen);
    size_t n = 0;
    if (!values || !chosen)
        return ks_arena_err(arena);
    for (size_t p = 0; p < t->ctx->points; p++)
        for (size_t k = 0; k < f->held[p]; k++) {
            uint32_t item = f->heap[p * f->max + k].item;
            if (!values[item]) {
                values[item] = ksi_grid(t->ctx, NAN);
                if (!values[item])
                    return ks_arena_err(arena);
                chosen[n++] = item;
            }
            values[item][p] = t->series[item].values[p];
        }
    qsort_r(chosen, n, sizeof *chosen, cmp_few, (void *)(uintptr_t)f);
    while (n--) {
        struct ksi_series s = t->series[chosen[n]];
        s.values = values[chosen[n]];
        KS_TRY(ksi_vec_push(t->ctx->q, ret, s));
    }
    return KS_OK;
}

static ks_err rank_few(const struct topk *t, size_t max, struct ksi_vec *ret)
{
    struct ks_arena *arena = t->ctx->q->arena;
    size_t points = t->ctx->points;
    struct few f = {.t = t, .max = max};
    f.heap = ks_arena_array(arena, points * max, sizeof *f.heap);
    f.held = ks_arena_zalloc(arena, points * sizeof *f.held);
    if (!f.heap || !f.held)
        return ks_arena_err(arena);
    for (uint32_t i = 0; i < t->count; i++) {
        const double *v = t->series[i].values;
        for (size_t p = 0; p < points; p++)
            if (!isnan(v[p]))
                offer(&f, p, (struct point_key){point_key(v[p], t->bottom), i});
    }
    return emit_few(&f, ret);
}

/* --- all of them sorted, point by point --- */
/* Merges the neighbours [from, mid) and [mid, to) of a into b. */
static void merge_keys(const struct point_key *a, size_t from, size_t mid, size_t to,
                       struct point_key *b)
{
    size_t x = from, y = mid;
    for (size_t i = from; i < to; i++)
        b[i] = y == to || (x < mid && a[x].key <= a[y].key) ? a[x++] : a[y++];
}

/*
 * Sorts n keys, stable; from one point to the next most stay in place, so what ascends already is
 * found first. tmp has room for n. Returns where they are: a or tmp.
 */
static struct point_key *sort_keys(struct point_key *a, size_t n, struct point_key *tmp)
{
    for (;;) {
        size_t from = 0, runs = 0;
        while (from < n) {
            size_t mid = from + 1, to;
            while (mid < n && a[mid - 1].key <= a[mid].key)
                mid++;
            for (to = mid + (mid < n); to < n && a[to - 1].key <= a[to].key;)
                to++;
            merge_keys(a, from, mid, to, tmp);
            from = to;
            runs++;
        }
        struct point_key *swap = a;
        a = tmp;
        tmp = swap;
        if (runs <= 1)
            return a;
    }
}

static ks_err rank_all(const struct topk *t, struct ksi_vec *ret)
{
    struct ks_arena *arena = t->ctx->q->arena;
    size_t n = t->count;
    struct point_key *a = ks_arena_array(arena, n, sizeof *a),
                     *tmp = ks_arena_array(arena, n, sizeof *tmp), *sorted = a;
    if (!a || !tmp)
        return ks_arena_err(arena);
    for (size_t i = 0; i < n; i++)
        a[i].item = (uint32_t)i;
    for (size_t p = 0; p < t->ctx->points; p++) {
        for (size_t i = 0; i < n; i++)
            sorted[i].key = point_key(t->series[sorted[i].item].values[p], t->bottom);
        sorted = sort_keys(sorted, n, sorted == a ? tmp : a);
        for (size_t i = 0; i < n - ksi_int_k(t->k[p], n); i++)
            t->series[sorted[i].item].values[p] = NAN;
    }
    for (size_t i = n; i-- > 0;)
        if (!ksi_series_empty(t->ctx, &t->series[sorted[i].item]))
            KS_TRY(ksi_vec_push(t->ctx->q, ret, t->series[sorted[i].item]));
    return KS_OK;
}

static size_t largest_k(const struct topk *t)
{
    size_t max = 0;
    for (size_t p = 0; p < t->ctx->points; p++) {
        size_t k = ksi_int_k(t->k[p], t->count);
        max = k > max ? k : max;
    }
    return max;
}

ks_err ksi_topk(const struct ksi_ctx *ctx, struct ksi_series *series, size_t count, const double *k,
                bool bottom, struct ksi_vec *ret)
{
    struct topk t = {.ctx = ctx, .series = series, .count = count, .k = k, .bottom = bottom};
    size_t most = largest_k(&t);
    if (!most)
        return KS_OK;
    return most <= FEW_MAX && most * FEW_SHARE <= count ? rank_few(&t, most, ret)
                                                        : rank_all(&t, ret);
}
