/*
 * Order statistics of windows: quantiles, median, MAD, mode, number of distinct values.
 *
 * A window slides: samples leave on the left and enter on the right. Small windows are kept as a
 * sorted array (a leaving or entering sample moves part of a few cache lines). For large ones all
 * samples are ranked once; a bitmap over ranks marks those inside, and counters per word and per 64
 * words find the i-th.
 */
#include "query/promql/rollup/rollup_priv.h"

#include <string.h>

#define SMALL_WINDOW      512
#define SORT_BY_INSERTION 40

static uint64_t sort_key(double v)
{
    uint64_t bits = ks_f64_bits(v);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static double from_sort_key(uint64_t key)
{
    return ks_f64_from_bits(key >> 63 ? key & ~((uint64_t)1 << 63) : ~key);
}

static void sort_few(double *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        double x = v[i];
        size_t at = i;
        for (; at > 0 && v[at - 1] > x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
}

/* Radix sort, byte by byte, leaving out bytes equal in all keys (most, for integers). tmp has room
 * for n. No NaN. */
void ksi_sort_doubles(double *v, size_t n, double *tmp)
{
    if (n <= SORT_BY_INSERTION) {
        sort_few(v, n);
        return;
    }
    uint32_t counts[8][256];
    memset(counts, 0, sizeof counts);
    uint64_t *from = (uint64_t *)v, *to = (uint64_t *)tmp;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = sort_key(v[i]);
        from[i] = key;
        for (int b = 0; b < 8; b++)
            counts[b][key >> (8 * b) & 255]++;
    }
    for (int b = 0; b < 8; b++) {
        uint32_t *count = counts[b], at = 0;
        if (count[from[0] >> (8 * b) & 255] == n)
            continue;
        for (int d = 0; d < 256; d++) {
            uint32_t c = count[d];
            count[d] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++)
            to[count[from[i] >> (8 * b) & 255]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < n; i++)
        tmp[i] = from_sort_key(from[i]);
    memcpy(v, tmp, n * sizeof *v);
}

/* The values of a window in order. No NaN among them. */
struct order {
    const double *values; /* of the series */
    uint32_t n, lo, hi;
    bool ranked;
    double *sorted; /* small: the window; ranked: all values */
    double *tmp;
    /* ranked: */
    uint32_t *rank;       /* of each sample, unique */
    uint64_t *bits;       /* by rank: in the window */
    uint8_t *word_ones;   /* per word */
    uint32_t *block_ones; /* per 64 words */
};

static uint32_t lower_bound(const double *sorted, uint32_t n, double v)
{
    uint32_t at = 0;
    while (n > 0) {
        uint32_t half = n / 2;
        if (sorted[at + half] < v) {
            at += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return at;
}

static ks_err rank_all(struct ksi_rollup *r, struct order *o)
{
    uint32_t words = r->n / 64 + 1, blocks = words / 64 + 1;
    o->rank = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *o->rank);
    char *map = ksi_rollup_buf(r->scratch, KSI_BUF_B, words, 9);
    o->block_ones =
        ksi_rollup_buf(r->scratch, KSI_BUF_C, (size_t)r->n + blocks, sizeof *o->block_ones);
    if (!o->rank || !map || !o->block_ones)
        return KS_ENOMEM;
    o->bits = (uint64_t *)map;
    o->word_ones = (uint8_t *)(o->bits + words);
    memset(map, 0, (size_t)words * 9);
    memcpy(o->sorted, r->values, (size_t)r->n * sizeof *o->sorted);
    ksi_sort_doubles(o->sorted, r->n, o->tmp);
    uint32_t *taken = o->block_ones + blocks; /* by first rank of a value: equals met so far */
    memset(o->block_ones, 0, ((size_t)r->n + blocks) * sizeof *o->block_ones);
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t first = lower_bound(o->sorted, r->n, r->values[i]);
        o->rank[i] = first + taken[first]++;
    }
    return KS_OK;
}

/* keep_array: the caller reads o->sorted itself. */
static ks_err order_init(struct ksi_rollup *r, bool keep_array, struct order *o)
{
    uint32_t longest = 0;
    for (uint32_t k = 0; k < r->points; k++)
        longest = r->hi[k] - r->lo[k] > longest ? r->hi[k] - r->lo[k] : longest;
    *o = (struct order){.values = r->values, .n = r->n};
    o->ranked = !keep_array && longest > SMALL_WINDOW && r->work > 4 * (uint64_t)r->n;
    size_t room = o->ranked ? r->n : longest;
    o->sorted = ksi_rollup_buf(r->scratch, KSI_BUF_SORT, 2 * room + 2, sizeof *o->sorted);
    if (!o->sorted)
        return KS_ENOMEM;
    o->tmp = o->sorted + room + 1;
    return o->ranked ? rank_all(r, o) : KS_OK;
}

static void flip(struct order *o, uint32_t i, int by)
{
    uint32_t rank = o->rank[i], word = rank / 64;
    o->bits[word] ^= (uint64_t)1 << (rank & 63);
    o->word_ones[word] = (uint8_t)(o->word_ones[word] + by);
    o->block_ones[word / 64] += (uint32_t)by;
}

static void order_move_ranked(struct order *o, uint32_t lo, uint32_t hi)
{
    uint32_t leave_to = lo < o->hi ? lo : o->hi, enter_from = lo > o->hi ? lo : o->hi;
    for (uint32_t i = o->lo; i < leave_to; i++)
        flip(o, i, -1);
    for (uint32_t i = enter_from; i < hi; i++)
        flip(o, i, 1);
}

/* Windows only ever move right. */
static void order_move(struct order *o, uint32_t lo, uint32_t hi)
{
    uint32_t len = o->hi - o->lo, leaving = lo - o->lo;
    if (o->ranked) {
        order_move_ranked(o, lo, hi);
    } else if (lo >= o->hi || leaving + (hi - o->hi) > (hi - lo) / 3 + 2) {
        memcpy(o->sorted, o->values + lo, (size_t)(hi - lo) * sizeof *o->sorted);
        ksi_sort_doubles(o->sorted, hi - lo, o->tmp);
    } else {
        for (uint32_t i = o->lo; i < lo; i++) {
            uint32_t at = lower_bound(o->sorted, len, o->values[i]);
            memmove(o->sorted + at, o->sorted + at + 1, (size_t)(--len - at) * sizeof *o->sorted);
        }
        for (uint32_t i = o->hi; i < hi; i++) {
            uint32_t at = lower_bound(o->sorted, len, o->values[i]);
            memmove(o->sorted + at + 1, o->sorted + at, (size_t)(len++ - at) * sizeof *o->sorted);
            o->sorted[at] = o->values[i];
        }
    }
    o->lo = lo;
    o->hi = hi;
}

/* The i-th smallest value of the window, i < hi - lo. */
static double order_at(const struct order *o, uint32_t i)
{
    if (!o->ranked)
        return o->sorted[i];
    uint32_t block = 0, word;
    for (; i >= o->block_ones[block]; block++)
        i -= o->block_ones[block];
    for (word = block * 64; i >= o->word_ones[word]; word++)
        i -= o->word_ones[word];
    uint64_t bits = o->bits[word];
    while (i-- > 0)
        bits &= bits - 1;
    return o->sorted[word * 64 + (uint32_t)__builtin_ctzll(bits)];
}

/* Where phi lies between two of n values: ret[0] its lower neighbour, *ret_weight the share of the
 * upper. */
static inline uint32_t quantile_place(double phi, size_t n, double *ret_weight)
{
    double rank = phi * (double)(n - 1), below = floor(rank);
    *ret_weight = rank - below;
    return below > 0 ? (uint32_t)below : 0;
}

double ksi_quantile_sorted(double phi, const double *sorted, size_t n)
{
    double weight;
    if (n == 0 || isnan(phi))
        return NAN;
    if (phi < 0 || phi > 1)
        return phi < 0 ? -INFINITY : INFINITY;
    size_t i = quantile_place(phi, n, &weight), j = i + 1 < n ? i + 1 : n - 1;
    return sorted[i] * (1 - weight) + sorted[j] * weight;
}

static double order_quantile(const struct order *o, double phi)
{
    double weight;
    uint32_t n = o->hi - o->lo;
    if (!o->ranked)
        return ksi_quantile_sorted(phi, o->sorted, n);
    if (isnan(phi))
        return NAN;
    if (phi < 0 || phi > 1)
        return phi < 0 ? -INFINITY : INFINITY;
    uint32_t i = quantile_place(phi, n, &weight), j = i + 1 < n ? i + 1 : n - 1;
    return order_at(o, i) * (1 - weight) + order_at(o, j) * weight;
}

/* Sorts with NaNs first, as Prometheus does. */
static void sort_with_nans(double *v, uint32_t n, double *tmp)
{
    uint32_t nans = 0;
    for (uint32_t i = 0; i < n; i++)
        if (isnan(v[i])) {
            double x = v[i];
            v[i] = v[nans];
            v[nans++] = x;
        }
    ksi_sort_doubles(v + nans, n - nans, tmp);
}

static ks_err quantiles_with_nans(struct ksi_rollup *r, const struct ks_rollup_arg *phis,
                                  size_t phi_count, double *const *out)
{
    double *sorted = ksi_rollup_buf(r->scratch, KSI_BUF_SORT, 2 * (size_t)r->n, sizeof *sorted);
    if (!sorted)
        return KS_ENOMEM;
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t len = r->hi[k] - r->lo[k];
        memcpy(sorted, r->values + r->lo[k], len * sizeof *sorted);
        sort_with_nans(sorted, len, sorted + r->n);
        for (size_t i = 0; i < phi_count; i++) {
            double phi = phis[i].steps ? phis[i].steps[k] : phis[i].value;
            out[i][k] = len ? ksi_quantile_sorted(phi, sorted, len) : ksi_absent();
        }
    }
    return KS_OK;
}

ks_err ksi_window_quantiles(struct ksi_rollup *r, const struct ks_rollup_arg *phis,
                            size_t phi_count, double *const *out)
{
    struct order o;
    if (ksi_has_nan(r->values, r->n))
        return quantiles_with_nans(r, phis, phi_count, out);
    KS_TRY(order_init(r, false, &o));
    for (uint32_t k = 0; k < r->points; k++) {
        order_move(&o, r->lo[k], r->hi[k]);
        for (size_t i = 0; i < phi_count; i++) {
            double phi = phis[i].steps ? phis[i].steps[k] : phis[i].value;
            out[i][k] = o.hi > o.lo ? order_quantile(&o, phi) : ksi_absent();
        }
    }
    return KS_OK;
}

ks_err ksi_k_quantile(struct ksi_rollup *r, double *out)
{
    return ksi_window_quantiles(r, r->cfg->args, 1, &out);
}

ks_err ksi_k_median(struct ksi_rollup *r, double *out)
{
    static const struct ks_rollup_arg half = {.value = 0.5};
    return ksi_window_quantiles(r, &half, 1, &out);
}

ks_err ksi_k_outlier_iqr(struct ksi_rollup *r, double *out)
{
    struct order o;
    KS_TRY(order_init(r, false, &o));
    for (uint32_t k = 0; k < r->points; k++) {
        out[k] = ksi_absent();
        order_move(&o, r->lo[k], r->hi[k]);
        if (o.hi - o.lo < 2)
            continue;
        double q25 = order_quantile(&o, 0.25), q75 = order_quantile(&o, 0.75);
        double fence = 1.5 * (q75 - q25), last = r->values[o.hi - 1];
        if (last > q75 + fence || last < q25 - fence)
            out[k] = last;
    }
    return KS_OK;
}

/*
 * The i-th smallest distance from the median. Left and right of it distances grow outwards, so it
 * is the i-th of two sorted rows: how many of the first i + 1 come from the left is found by
 * halving.
 */
static double distance_at(const struct order *o, double median, uint32_t split, uint32_t i)
{
    uint32_t n = o->hi - o->lo, left = split, right = n - split, want = i + 1;
    uint32_t low = want > right ? want - right : 0, high = want < left ? want : left;
    while (low <
           high) { /* smallest count c from the left with right's next beyond left's last taken … */
        uint32_t c = low + (high - low) / 2;
        /* left's next (index c) is smaller than right's last taken (index want - c - 1): take more
         * from the left. */
        if (fabs(order_at(o, left - 1 - c) - median) <
            fabs(order_at(o, left + want - c - 1) - median))
            low = c + 1;
        else
            high = c;
    }
    double a = low > 0 ? fabs(order_at(o, left - low) - median) : -1;
    double b = want > low ? fabs(order_at(o, left + want - low - 1) - median) : -1;
    return a > b ? a : b;
}

/* By the definition: for windows with values that have no order or no distance. tmp has room for 2
 * n. */
static double mad_scan(const double *v, uint32_t n, bool strict, double *tmp)
{
    memcpy(tmp, v, n * sizeof *tmp);
    sort_with_nans(tmp, n, tmp + n);
    double median = ksi_quantile_sorted(0.5, tmp, n);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        double d = fabs(v[i] - median);
        if (strict || !isnan(d))
            tmp[kept++] = d;
    }
    sort_with_nans(tmp, kept, tmp + n);
    return ksi_quantile_sorted(0.5, tmp, kept);
}

static double order_mad(const struct order *o, bool strict, double *tmp)
{
    uint32_t n = o->hi - o->lo, split = 0, end = n;
    if (isinf(order_at(o, 0)) || isinf(order_at(o, n - 1)))
        return mad_scan(o->values + o->lo, n, strict, tmp);
    double median = order_quantile(o, 0.5), weight;
    while (split < end) { /* samples below the median */
        uint32_t mid = split + (end - split) / 2;
        if (order_at(o, mid) < median)
            split = mid + 1;
        else
            end = mid;
    }
    uint32_t i = quantile_place(0.5, n, &weight), j = i + 1 < n ? i + 1 : n - 1;
    return distance_at(o, median, split, i) * (1 - weight) +
           distance_at(o, median, split, j) * weight;
}

ks_err ksi_k_mad(struct ksi_rollup *r, double *out)
{
    struct order o;
    bool strict = r->cfg->strict, nans = ksi_has_nan(r->values, r->n);
    double *tmp = ksi_rollup_buf(r->scratch, KSI_BUF_OUT, 2 * (size_t)r->n + 1, sizeof *tmp);
    if (!tmp)
        return KS_ENOMEM;
    if (!nans)
        KS_TRY(order_init(r, false, &o));
    for (uint32_t k = 0; k < r->points; k++) {
        uint32_t lo = r->lo[k], hi = r->hi[k];
        if (!nans)
            order_move(&o, lo, hi);
        if (hi == lo)
            out[k] = ksi_absent();
        else if (nans)
            out[k] = mad_scan(r->values + lo, hi - lo, strict, tmp);
        else
            out[k] = order_mad(&o, strict, tmp);
    }
    return KS_OK;
}

/*
 * The most frequent value. The peer's scan starts from the value before the window: when the
 * smallest values equal it their run is counted from before the first, and with nothing in the
 * window it is the answer itself.
 */
static double mode_sorted(double prev, const double *v, uint32_t n)
{
    double run_value = prev, mode = prev;
    int64_t run_start = -1, longest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i] == run_value)
            continue;
        if ((int64_t)i - run_start > longest || isnan(mode)) {
            longest = (int64_t)i - run_start;
            mode = run_value;
        }
        run_start = i;
        run_value = v[i];
    }
    if (n > 0 && ((int64_t)n - run_start > longest || isnan(mode)))
        mode = run_value;
    return mode;
}

ks_err ksi_k_mode(struct ksi_rollup *r, double *out)
{
    struct order o;
    KS_TRY(order_init(r, true, &o));
    for (uint32_t k = 0; k < r->points; k++) {
        struct ksi_window w = ksi_window_at(r, k);
        order_move(&o, w.lo, w.hi);
        out[k] = mode_sorted(w.prev, o.sorted, w.hi - w.lo);
    }
    return KS_OK;
}

ks_err ksi_k_distinct(struct ksi_rollup *r, double *out)
{
    uint32_t *id = ksi_rollup_buf(r->scratch, KSI_BUF_A, r->n, sizeof *id);
    uint32_t *inside = ksi_rollup_buf(r->scratch, KSI_BUF_B, r->n, sizeof *inside);
    double *sorted = ksi_rollup_buf(r->scratch, KSI_BUF_SORT, 2 * (size_t)r->n, sizeof *sorted);
    if (!id || !inside || !sorted)
        return KS_ENOMEM;
    memcpy(sorted, r->values, (size_t)r->n * sizeof *sorted);
    ksi_sort_doubles(sorted, r->n, sorted + r->n);
    for (uint32_t i = 0; i < r->n; i++)
        id[i] = lower_bound(sorted, r->n, r->values[i]);
    memset(inside, 0, (size_t)r->n * sizeof *inside);
    uint32_t lo = 0, hi = 0, distinct = 0;
    for (uint32_t k = 0; k < r->points; k++) {
        for (; hi < r->hi[k]; hi++)
            distinct += inside[id[hi]]++ == 0;
        for (; lo < r->lo[k]; lo++)
            distinct -= --inside[id[lo]] == 0;
        out[k] = hi > lo ? (double)distinct : ksi_absent();
    }
    return KS_OK;
}
