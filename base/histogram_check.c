/* Validation of native histograms (histogram.h), in Prometheus' words, so that a client's log reads
 * the same. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/histogram.h"
#include "base/num.h"

static ks_err check_spans(const struct ks_histogram_side *s, bool custom, const char *where)
{
    uint64_t buckets = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        if (s->spans[i].offset < 0 && (i || custom))
            return ks_fail(
                KS_EINVAL,
                "%s: span number %u with offset %d: histogram has a span whose offset is negative",
                where, i + 1, s->spans[i].offset);
        buckets += s->spans[i].length;
        index += (int64_t)s->spans[i].offset + s->spans[i].length;
        if (index > INT32_MAX)
            return ks_fail(KS_EINVAL,
                           "%s: span number %u reaches bucket %" PRId64
                           ": histogram has a bucket index too large",
                           where, i + 1, index);
    }
    if (buckets != s->bucket_count)
        return ks_fail(KS_EINVAL,
                       "%s: spans need %" PRIu64 " buckets, have %u buckets: "
                       "histogram spans specify different number of buckets than provided",
                       where, buckets, s->bucket_count);
    return KS_OK;
}

ks_err ks_histogram_check_layout(const struct ks_histogram *h)
{
    if (!ks_histogram_schema_valid(h->schema))
        return ks_fail(KS_EINVAL,
                       "histogram has an invalid schema, which must be between %d and %d for "
                       "exponential buckets, or %d for "
                       "custom buckets, got schema %d",
                       KS_HISTOGRAM_SCHEMA_MIN, KS_HISTOGRAM_SCHEMA_MAX, KS_HISTOGRAM_CUSTOM,
                       h->schema);
    if ((uint64_t)h->positive.bucket_count + h->negative.bucket_count > KS_HISTOGRAM_BUCKETS_MAX)
        return ks_fail(KS_ELIMIT, "a native histogram has more than %d buckets",
                       KS_HISTOGRAM_BUCKETS_MAX);
    if (h->positive.span_count > KS_HISTOGRAM_BUCKETS_MAX ||
        h->negative.span_count > KS_HISTOGRAM_BUCKETS_MAX)
        return ks_fail(KS_ELIMIT, "a native histogram has more than %d spans",
                       KS_HISTOGRAM_BUCKETS_MAX);
    if (h->custom_count > KS_HISTOGRAM_CUSTOM_MAX)
        return ks_fail(KS_ELIMIT, "a native histogram has more than %d custom bounds",
                       KS_HISTOGRAM_CUSTOM_MAX);
    bool custom = ks_histogram_is_custom(h);
    KS_TRY(check_spans(&h->positive, custom, custom ? "custom buckets" : "positive side"));
    return check_spans(&h->negative, custom, custom ? "custom buckets" : "negative side");
}

static ks_err check_bounds(const struct ks_histogram *h)
{
    double prev = -INFINITY;
    for (uint32_t i = 0; i < h->custom_count; i++) {
        double bound = h->custom_values[i];
        if (!(bound > prev)) /* NaN too */
            return ks_fail(KS_EINVAL,
                           "custom buckets: previous bound is %f and current is %f: "
                           "histogram custom bounds must be in strictly increasing order",
                           prev, bound);
        prev = bound;
    }
    if (prev == INFINITY)
        return ks_fail(KS_EINVAL, "custom buckets: last +Inf bound must not be explicitly defined: "
                                  "histogram custom bounds must be finite");
    int64_t length = 0;
    for (uint32_t i = 0; i < h->positive.span_count; i++)
        length += (int64_t)h->positive.spans[i].offset + h->positive.spans[i].length;
    if ((int64_t)h->custom_count + 1 < length)
        return ks_fail(KS_EINVAL,
                       "custom buckets: only %u custom bounds defined which is insufficient to "
                       "cover total span length of "
                       "%" PRId64 ": histogram custom bounds are too few",
                       h->custom_count, length);
    return KS_OK;
}

static ks_err check_custom(const struct ks_histogram *h)
{
    KS_TRY(check_bounds(h));
    if (ks_histogram_zero_f64(h) != 0)
        return ks_fail(KS_EINVAL, "custom buckets: must have zero count of 0");
    if (h->zero_threshold != 0)
        return ks_fail(KS_EINVAL, "custom buckets: must have zero threshold of 0");
    if (h->negative.span_count)
        return ks_fail(KS_EINVAL, "custom buckets: must not have negative spans");
    if (h->negative.bucket_count)
        return ks_fail(KS_EINVAL, "custom buckets: must not have negative buckets");
    return KS_OK;
}

static ks_err check_counts(const struct ks_histogram *h, const struct ks_histogram_side *s,
                           const char *where, uint64_t *observations)
{
    struct ks_histogram_walk w = ks_histogram_walk(h, s, false);
    char text[KS_F64_TEXT_MAX];
    int32_t index;
    double count;
    while (ks_histogram_step(&w, &index, &count)) {
        if (h->is_float ? count < 0 : w.number < 0) {
            size_t n = h->is_float ? ks_f64_format_g(text, count) : ks_i64_format(text, w.number);
            return ks_fail(KS_EINVAL,
                           "%s: bucket number %u has observation count of %.*s: "
                           "histogram has a bucket whose observation count is negative",
                           where, w.bucket, (int)n, text);
        }
        if (!h->is_float)
            *observations += (uint64_t)w.number;
    }
    return KS_OK;
}

ks_err ks_histogram_validate(const struct ks_histogram *h)
{
    uint64_t observations = 0;
    bool custom = ks_histogram_is_custom(h);
    if (!custom) {
        KS_TRY(ks_histogram_check_layout(h));
        KS_TRY(check_counts(h, &h->negative, "negative side", &observations));
        if (h->custom_count)
            return ks_fail(KS_EINVAL,
                           "histogram with exponential schema must not have custom bounds");
    } else {
        KS_TRY(check_custom(h));
        KS_TRY(ks_histogram_check_layout(h));
    }
    KS_TRY(check_counts(h, &h->positive, "positive side", &observations));
    if (h->is_float)
        return KS_OK; /* rounding makes the sum of the buckets useless */
    observations += h->zero_count.u;
    if (isnan(h->sum) ? observations > h->count.u : observations != h->count.u)
        return ks_fail(KS_EINVAL,
                       "%" PRIu64 " observations found in buckets, but the Count field is %" PRIu64
                       ": %s",
                       observations, h->count.u,
                       isnan(h->sum) ? "histogram's observation count should be at least the "
                                       "number of observations found "
                                       "in the buckets"
                                     : "histogram's observation count should equal the number of "
                                       "observations found in the "
                                       "buckets (in absence of NaN)");
    return KS_OK;
}
