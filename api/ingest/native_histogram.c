/*
 * Native histograms of remote write: stored as they are, or as VictoriaMetrics stores them, or both
 * (-nativeHistograms).
 *
 * VictoriaMetrics' form: per histogram name_count, name_sum and, for
 * each bucket that is not empty, name_bucket{vmrange="1.000e+00...1.189e+00"}. Custom bucket bounds
 * (schema -53) are not exponential and are left out, as are negative buckets, which vmrange cannot
 * say; both are counted.
 */
#include <math.h>
#include <stdio.h>

#include "api/app.h"
#include "api/ingest/histogram_proto.h"
#include "api/ingest/remote_write_priv.h"
#include "base/num.h"
#include "base/stats.h"

static KS_STAT(stat_custom, "vm_rows_ignored_total{reason=\"nhcb\"}");
static KS_STAT(stat_negative, "vm_rows_ignored_total{reason=\"negative_histogram_bucket\"}");

/* Hostile spans may claim billions of buckets; a real histogram has at most some hundreds. */
enum { BUCKETS_MAX = 4096 };

struct histogram {
    double count, sum, zero_threshold, zero_count;
    int64_t schema, time_ms;
    bool integers; /* buckets are deltas */
    struct ks_slice deltas, counts;
    bool negative;
    const uint8_t *spans_start, *spans_end; /* the message: spans are found by walking it again */
};

static bool fixed64(const uint8_t **pp, const uint8_t *end, double *ret)
{
    if (end - *pp < 8)
        return false;
    memcpy(ret, *pp, 8);
    *pp += 8;
    return true;
}

/* One field. Numbers are those of prompb.Histogram. */
static bool field(struct histogram *h, uint64_t key, const uint8_t **pp, const uint8_t *end)
{
    uint64_t v;
    switch (key) {
    case 1 << 3:
        h->integers = true;
        if (!ks_pb_varint(pp, end, &v))
            return false;
        h->count = (double)v;
        return true;
    case 2 << 3 | 1:
        return fixed64(pp, end, &h->count);
    case 3 << 3 | 1:
        return fixed64(pp, end, &h->sum);
    case 4 << 3:
        if (!ks_pb_varint(pp, end, &v))
            return false;
        h->schema = ks_unzigzag(v);
        return true;
    case 5 << 3 | 1:
        return fixed64(pp, end, &h->zero_threshold);
    case 6 << 3:
        if (!ks_pb_varint(pp, end, &v))
            return false;
        h->zero_count = (double)v;
        return true;
    case 7 << 3 | 1:
        return fixed64(pp, end, &h->zero_count);
    case 12 << 3 | 2:
        return ksi_pb_bytes(pp, end, &h->deltas);
    case 13 << 3 | 2:
        return ksi_pb_bytes(pp, end, &h->counts);
    case 15 << 3:
        if (!ks_pb_varint(pp, end, &v))
            return false;
        h->time_ms = (int64_t)v;
        return true;
    default:
        h->negative |= key == (8 << 3 | 2);
        return ksi_pb_skip(pp, end, key);
    }
}

/* The series' raw labels with the name suffixed and possibly a vmrange added. */
static ks_err derived(struct ks_ingest *in, struct ks_slice raw, const char *suffix,
                      struct ks_slice vmrange)
{
    size_t size = raw.len + strlen(suffix) + vmrange.len + 64;
    char *out = ks_arena_alloc(in->arena, size), *o = out;
    if (!out)
        return ks_arena_err(in->arena);
    struct ks_reader r = ks_reader(raw);
    struct ks_label l;
    bool bad = false;
    while (ks_raw_label_next(&r, &l, &bad)) {
        if (ks_slice_eq(l.name, KS_NAME_LABEL)) {
            struct ks_slice name =
                ks_arena_printf(in->arena, "%.*s%s", KS_SLICE_ARG(l.value), suffix);
            if (!name.ptr)
                return ks_arena_err(in->arena);
            l.value = name;
        }
        if ((size_t)(out + size - o) < ks_raw_label_size(l.name.len, l.value.len))
            return ks_fail(KS_EPARSE, "malformed label in a series with native histograms");
        o = ks_raw_label_put(o, l.name, l.value);
    }
    if (bad)
        return ks_fail(KS_EPARSE, "malformed label in a series with native histograms");
    if (vmrange.len) {
        if ((size_t)(out + size - o) < ks_raw_label_size(7, vmrange.len))
            return ks_fail(KS_EPARSE, "malformed label in a series with native histograms");
        o = ks_raw_label_put(o, KS_SLICE_LIT("vmrange"), vmrange);
    }
    return ks_ingest_series(in, ks_slice(out, (size_t)(o - out)));
}

static ks_err bucket(struct ks_ingest *in, struct ks_slice raw, const struct histogram *h,
                     double lower, double upper, double count)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%.3e...%.3e", lower, upper);
    KS_TRY(derived(in, raw, "_bucket", ks_slice(text, (size_t)n)));
    return ks_ingest_sample(in, h->time_ms, count);
}

/* The next bucket's count, from deltas or absolute counts; false when there are no more. */
static bool next_count(struct histogram *h, double *running, double *ret)
{
    if (h->counts.len) {
        if (h->counts.len < 8)
            return false;
        memcpy(ret, h->counts.ptr, 8);
        h->counts = ks_slice_from(h->counts, 8);
        return true;
    }
    const uint8_t *p = (const uint8_t *)h->deltas.ptr, *end = p + h->deltas.len;
    uint64_t v;
    if (!h->deltas.len || !ks_pb_varint(&p, end, &v))
        return false;
    h->deltas = ks_slice(p, (size_t)(end - p));
    *running += (double)ks_unzigzag(v);
    *ret = *running;
    return true;
}

static bool parse_span(struct ks_slice s, int64_t *ret_offset, uint64_t *ret_length)
{
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    uint64_t key, v;
    *ret_offset = 0;
    *ret_length = 0;
    while (p < end) {
        if (!ks_pb_varint(&p, end, &key))
            return false;
        if (key == 0x08) {
            if (!ks_pb_varint(&p, end, &v))
                return false;
            *ret_offset = ks_unzigzag(v);
        } else if (key == 0x10) {
            if (!ks_pb_varint(&p, end, ret_length))
                return false;
        } else if (!ksi_pb_skip(&p, end, key)) {
            return false;
        }
    }
    return *ret_offset > -100000 && *ret_offset < 100000;
}

static ks_err positive_buckets(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                               struct histogram *h)
{
    double growth = exp2(-(double)h->schema), running = 0, count;
    int64_t index = 0;
    unsigned seen = 0;
    for (const uint8_t *p = h->spans_start; p < h->spans_end;) {
        const uint8_t *at = p;
        uint64_t key = 0, length = 0;
        int64_t offset;
        struct ks_slice span;
        bool ok = ks_pb_varint(&p, h->spans_end, &key);
        if (!ok || key != (11 << 3 | 2)) {
            ok = ok && ksi_pb_skip(&p, h->spans_end, key);
            KS_ASSERT(ok);
            continue;
        }
        if (!ksi_pb_bytes(&p, h->spans_end, &span) || !parse_span(span, &offset, &length))
            return ksi_pb_fail(pb, at, "Histogram.positive_spans");
        index += offset;
        for (; length; length--, index++) {
            if (++seen > BUCKETS_MAX)
                return ks_fail(KS_EPARSE, "a native histogram has more than %d buckets",
                               BUCKETS_MAX);
            if (!next_count(h, &running, &count))
                return ksi_pb_fail(pb, at, "Histogram.positive_deltas: fewer counts than buckets");
            if (count > 0)
                KS_TRY(bucket(in, raw, h, exp2((double)(index - 1) * growth),
                              exp2((double)index * growth), count));
        }
    }
    return KS_OK;
}

/* As it is: a sample of the series itself. */
static ks_err store(struct ks_ingest *in, struct ks_slice raw, struct ks_slice message)
{
    struct ks_histogram h;
    int64_t time_ms;
    KS_TRY(ks_histogram_from_proto(message, in->arena, &h, &time_ms));
    KS_TRY(ks_ingest_series(in, raw));
    return ks_ingest_histogram(in, time_ms, &h);
}

static ks_err as_vmrange(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                         struct ks_slice message)
{
    const uint8_t *p = (const uint8_t *)message.ptr, *end = p + message.len;
    struct histogram h = {
        .deltas = KS_SLICE_LIT(""), .counts = KS_SLICE_LIT(""), .spans_start = p, .spans_end = end};
    while (p < end) {
        const uint8_t *at = p;
        uint64_t key = 0;
        if (!ks_pb_varint(&p, end, &key) || !field(&h, key, &p, end))
            return ksi_pb_fail(pb, at, "Histogram");
    }
    if (h.schema < -4 || h.schema > 8) {
        ks_stat_add(&stat_custom, 1);
        return KS_OK;
    }
    in->histograms += in->app->cfg.native_histograms == KS_NATIVE_VMRANGE;
    /* A stale marker in the sum ends the series; there are no buckets to write. */
    if (ks_is_stale_nan(h.sum))
        h.count = h.sum;
    KS_TRY(derived(in, raw, "_count", ks_slice("", 0)));
    KS_TRY(ks_ingest_sample(in, h.time_ms, h.count));
    KS_TRY(derived(in, raw, "_sum", ks_slice("", 0)));
    KS_TRY(ks_ingest_sample(in, h.time_ms, h.sum));
    if (ks_is_stale_nan(h.sum))
        return KS_OK;
    if (h.negative)
        ks_stat_add(&stat_negative, 1);
    if (h.zero_count > 0)
        KS_TRY(bucket(in, raw, &h, 0, h.zero_threshold, h.zero_count));
    return positive_buckets(in, pb, raw, &h);
}

ks_err ksi_rw_histogram(struct ks_ingest *in, const struct ksi_pb *pb, struct ks_slice raw,
                        struct ks_slice message)
{
    enum ks_native_histograms how = in->app->cfg.native_histograms;
    if (how != KS_NATIVE_VMRANGE) {
        KS_TRY(store(in, raw, message));
        in->histograms++;
    }
    return how == KS_NATIVE_STORED ? KS_OK : as_vmrange(in, pb, raw, message);
}
