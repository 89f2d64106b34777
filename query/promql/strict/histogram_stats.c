/* Numbers taken out of a native histogram: quantiles, fractions, averages (histogram_math.h). */
#include <math.h>

#include "query/promql/kahan.h"
#include "query/promql/strict/histogram_math.h"

const char *ks_hist_note_text(unsigned note)
{
    switch (note) {
    case KS_HIST_MIXED_SCHEMAS:
        return "PromQL warning: vector contains a mix of histograms with exponential and custom "
               "buckets schemas for metric name";
    case KS_HIST_MIXED_BOUNDS:
        return "PromQL warning: vector contains histograms with incompatible custom buckets for "
               "metric name";
    case KS_HIST_NOT_COUNTER:
        return "PromQL warning: this native histogram metric is not a counter:";
    case KS_HIST_NOT_GAUGE:
        return "PromQL warning: this native histogram metric is not a gauge:";
    case KS_HIST_QUANTILE_NAN:
        return "PromQL info: input to histogram_quantile has NaN observations, result is NaN for "
               "metric name";
    case KS_HIST_QUANTILE_SKEWED:
        return "PromQL info: input to histogram_quantile has NaN observations, result is skewed "
               "higher for metric name";
    case KS_HIST_FRACTION_NAN:
        return "PromQL info: input to histogram_fraction has NaN observations, which are excluded "
               "from all fractions for metric name";
    }
    return "";
}

bool ks_hist_note_is_warning(unsigned note)
{
    return note < KS_HIST_QUANTILE_NAN;
}

/* The zero bucket of a histogram with one kind of observations ends at zero. */
static void halve_zero(const struct ks_histogram *h, struct ks_histogram_bucket *b)
{
    if (!h->negative.bucket_count && h->positive.bucket_count)
        b->lower = 0;
    else if (!h->positive.bucket_count && h->negative.bucket_count)
        b->upper = 0;
}

static double observations_left(struct ks_histogram_cursor *c)
{
    struct ks_histogram_bucket b;
    double sum = 0;
    while (ks_histogram_next(c, &b))
        sum += b.count;
    return sum;
}

static double between(const struct ks_histogram *h, const struct ks_histogram_bucket *b,
                      double fraction)
{
    if (ks_histogram_is_custom(h) || (b->lower <= 0 && b->upper >= 0))
        return b->lower + (b->upper - b->lower) * fraction;
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper));
    if (b->lower > 0)
        return exp2(lower + (upper - lower) * fraction);
    return -exp2(upper + (lower - upper) * (1 - fraction));
}

/* Bounds to interpolate between; true when a custom histogram's outermost bucket gives the answer
 * itself. */
static bool outermost(const struct ks_histogram *h, struct ks_histogram_bucket *b, double *ret)
{
    if (!ks_histogram_is_custom(h)) {
        if (b->lower < 0 && b->upper > 0)
            halve_zero(h, b);
        return false;
    }
    if (b->lower == -INFINITY) {
        *ret = b->upper;
        if (b->upper <= 0)
            return true;
        b->lower = 0;
    } else if (b->upper == INFINITY) {
        *ret = b->lower;
        return true;
    }
    return false;
}

double ks_hist_quantile(double q, const struct ks_histogram *h, unsigned *notes)
{
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (h->count.f == 0 || isnan(q))
        return NAN;
    /* From the nearer end: less is summed up. NaN observations are in no bucket but count as the
     * largest: from below then. */
    bool nan = isnan(h->sum), down = !nan && q >= 0.5;
    double rank = (down ? 1 - q : q) * h->count.f, count = 0, edge;
    struct ks_histogram_cursor c = ks_histogram_cursor(h, down);
    struct ks_histogram_bucket b = {0}, next;
    while (ks_histogram_next(&c, &next)) {
        b = next;
        count += b.count;
        if (b.count != 0 && count >= rank)
            break;
    }
    if (outermost(h, &b, &edge))
        return edge;
    count = count > h->count.f ? h->count.f : count;
    if (count < rank) {
        if (nan)
            *notes |= KS_HIST_QUANTILE_NAN;
        return nan ? NAN : b.upper;
    }
    rank = down ? count - rank : rank - (count - b.count);
    if (nan && count + observations_left(&c) < h->count.f)
        *notes |= KS_HIST_QUANTILE_SKEWED;
    return between(h, &b, rank / b.count);
}

/* How many observations of bucket b lie below v. */
static double share(const struct ks_histogram_bucket *b, double v, bool linear)
{
    if (linear)
        return b->count * (v - b->lower) / (b->upper - b->lower);
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper)), at = log2(fabs(v));
    double fraction = v > 0 ? (at - lower) / (upper - lower) : 1 - (at - upper) / (lower - upper);
    return b->count * fraction;
}

/* The rank of v when it is settled by bucket b: at its lower bound or inside. */
static bool rank_in(const struct ks_histogram_bucket *b, double v, double rank, bool linear,
                    double *ret)
{
    if (b->lower >= v) {
        *ret = rank;
        return true;
    }
    if (b->upper > v) {
        *ret = rank + share(b, v, linear);
        return true;
    }
    return false;
}

double ks_hist_fraction(double lower, double upper, const struct ks_histogram *h, unsigned *notes)
{
    double count = 0, rank = 0, low = 0, high = 0;
    bool have_low = false, have_high = false;
    if (h->count.f == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    struct ks_histogram_cursor c = ks_histogram_cursor(h, false);
    struct ks_histogram_bucket b;
    while (!(have_low && have_high) && ks_histogram_next(&c, &b)) {
        bool zero = b.lower <= 0 && b.upper >= 0, linear = zero || ks_histogram_is_custom(h);
        count += b.count;
        if (zero)
            halve_zero(h, &b);
        if (!have_low)
            have_low = rank_in(&b, lower, rank, linear, &low);
        if (!have_high)
            have_high = rank_in(&b, upper, rank, linear, &high);
        rank += b.count;
    }
    if (isnan(h->sum)) {
        count += observations_left(&c);
        if (count < h->count.f)
            *notes |= KS_HIST_FRACTION_NAN;
    } else {
        count = h->count.f;
    }
    if (!have_low || low > count)
        low = count;
    if (!have_high || high > count)
        high = count;
    return (high - low) / h->count.f;
}

double ks_hist_avg(const struct ks_histogram *h)
{
    return h->sum / h->count.f;
}

static double middle(const struct ks_histogram *h, const struct ks_histogram_bucket *b)
{
    if (ks_histogram_is_custom(h))
        return (b->upper + b->lower) / 2;
    if (b->lower <= 0 && b->upper >= 0)
        return 0;
    double v = sqrt(b->upper * b->lower);
    return b->upper < 0 ? -v : v;
}

double ks_hist_stdvar(const struct ks_histogram *h)
{
    struct ks_histogram_cursor c = ks_histogram_cursor(h, false);
    struct ks_histogram_bucket b;
    double mean = ks_hist_avg(h), sum = 0, rest = 0;
    while (ks_histogram_next(&c, &b)) {
        double delta = middle(h, &b) - mean;
        if (b.count != 0)
            ksi_kahan_add(b.count * delta * delta, &sum, &rest);
    }
    return (sum + rest) / h->count.f;
}

double ks_hist_stddev(const struct ks_histogram *h)
{
    return sqrt(ks_hist_stdvar(h));
}
