#include "api/ingest/otlp_metrics.h"

#include <math.h>
#include <stdio.h>

#include "api/app.h"
#include "api/exemplars.h"
#include "api/ingest/otlp_exemplars.h"
#include "api/ingest/otlp_priv.h"
#include "api/metadata.h"
#include "base/mem.h"
#include "base/num.h"

/* Longest name and label set: beyond any limit on labels. */
enum { TEXT_BYTES_MAX = 1 << 20, VMRANGE_MAX = 96 };

struct otlp {
    struct ks_ingest *in;
    struct ksi_pb pb;
    struct ks_otlp_result *res;
    struct ksi_otlp_labels l;
    struct ks_slice name, unit, help; /* of the metric as sent */
    struct ks_buf full_name;          /* as stored */
    unsigned type;
    /* scratch of histograms, owned */
    uint64_t *counts;
    double *bounds;
    size_t count_cap, bound_cap;
};

/* The series an exemplar stands at: the name's suffix and one label more. */
struct place {
    const char *suffix, *label;
    struct ks_slice value;
    char text[KS_F64_TEXT_MAX]; /* or VMRANGE_MAX, which is less */
};

/* A point of any kind. */
struct point {
    uint64_t time_ns, flags, count, zero_count;
    double value, sum, zero_threshold;
    bool has_value, has_sum;
    int32_t scale;
    size_t counts, bounds, exemplars;
    struct ks_slice positive, negative;
};

static ks_err malformed(const struct otlp *x, const struct ksi_message *m)
{
    return ksi_pb_fail(&x->pb, m->p, m->name);
}

static void reject(struct otlp *x, const char *why)
{
    if (!x->res->rejected_points++)
        snprintf(x->res->first_reason, sizeof x->res->first_reason, "metric %.*s: %s",
                 (int)(x->name.len < 80 ? x->name.len : 80), x->name.len ? x->name.ptr : "", why);
}

/* --- samples --- */
/* The point's labels, one more, and the name with a suffix. */
static ks_err series_labels(struct otlp *x, const char *suffix, const char *label,
                            struct ks_slice label_value, struct ks_slice *ret)
{
    struct ks_slice base = ks_buf_view(&x->l.raw), more = ks_slice_str(label);
    size_t suffix_len = strlen(suffix), name_len = x->full_name.len + suffix_len;
    size_t size = base.len + ks_raw_label_size(8, name_len) +
                  (more.len ? ks_raw_label_size(more.len, label_value.len) : 0);
    KS_TRY(ks_ingest_spend(x->in, size));
    char *out = ks_arena_alloc(x->in->arena, size + name_len), *o = out, *name = out + size;
    if (!out)
        return ks_arena_err(x->in->arena);
    memcpy(name, x->full_name.ptr, x->full_name.len);
    memcpy(name + x->full_name.len, suffix, suffix_len);
    if (base.len)
        memcpy(o, base.ptr, base.len);
    o += base.len;
    if (more.len)
        o = ks_raw_label_put(o, more, label_value);
    o = ks_raw_label_put(o, KS_NAME_LABEL, ks_slice(name, name_len));
    *ret = ks_slice(out, (size_t)(o - out));
    return KS_OK;
}

static ks_err begin_series(struct otlp *x, const char *suffix, const char *label,
                           struct ks_slice label_value)
{
    struct ks_slice raw;
    KS_TRY(series_labels(x, suffix, label, label_value, &raw));
    return ks_ingest_series(x->in, raw);
}

static ks_err push(struct otlp *x, const struct point *p, const char *suffix, const char *label,
                   struct ks_slice label_value, double value)
{
    KS_TRY(begin_series(x, suffix, label, label_value));
    KS_TRY(ks_ingest_sample(x->in, (int64_t)(p->time_ns / 1000000),
                            p->flags & 1 ? ks_stale_nan() : value));
    return ks_ingest_flush_if_big(x->in);
}

static ks_err push_plain(struct otlp *x, const struct point *p, const char *suffix, double value)
{
    return push(x, p, suffix, "", ks_slice("", 0), value);
}

static struct ks_slice f64_text(char out[KS_F64_TEXT_MAX], double v)
{
    return ks_slice(out, ks_f64_format_fixed(out, v));
}

static ks_err number_samples(struct otlp *x, const struct point *p)
{
    if (!p->has_value && !(p->flags & 1)) {
        reject(x, "a point without value");
        return KS_OK;
    }
    return push_plain(x, p, "", p->value);
}

static ks_err histogram_samples(struct otlp *x, const struct point *p)
{
    char text[KS_F64_TEXT_MAX];
    uint64_t running = 0;
    /* No buckets at all: the count and sum of a histogram that has none, which is legal. */
    if (p->counts && p->counts != p->bounds + 1) {
        reject(x, "bucket counts do not fit the bounds: want one more than there are bounds");
        return KS_OK;
    }
    KS_TRY(push_plain(x, p, "_count", (double)p->count));
    if (p->has_sum)
        KS_TRY(push_plain(x, p, "_sum", p->sum));
    for (size_t i = 0; i < p->counts; i++) {
        running += x->counts[i];
        struct ks_slice le = i < p->bounds ? f64_text(text, x->bounds[i]) : KS_SLICE_LIT("+Inf");
        KS_TRY(push(x, p, "_bucket", "le", le, (double)running));
    }
    return p->counts ? KS_OK : push(x, p, "_bucket", "le", KS_SLICE_LIT("+Inf"), (double)p->count);
}

static size_t e3_text(char *out, size_t size, double v)
{
    return (size_t)(isinf(v) ? snprintf(out, size, "%sInf", v > 0 ? "+" : "-")
                             : snprintf(out, size, "%.3e", v));
}

static struct ks_slice vmrange_text(char out[VMRANGE_MAX], double lower, double upper)
{
    size_t n = e3_text(out, 40, lower);
    memcpy(out + n, "...", 3);
    n += 3;
    return ks_slice(out, n + e3_text(out + n, 40, upper));
}

static ks_err vmrange(struct otlp *x, const struct point *p, double lower, double upper,
                      uint64_t count)
{
    char text[VMRANGE_MAX];
    return push(x, p, "_bucket", "vmrange", vmrange_text(text, lower, upper), (double)count);
}

static ks_err read_counts(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                          size_t *n);

/* One side of an exponential histogram: x->counts, from an index on. */
static ks_err read_buckets(struct otlp *x, struct ks_slice message, int32_t *ret_offset,
                           size_t *ret_count)
{
    struct ksi_message m = ksi_message(message, "Buckets");
    struct ksi_field f;
    *ret_offset = 0;
    *ret_count = 0;
    while (ksi_next(&m, &f)) {
        if (f.key == KSI_VARINT(1))
            *ret_offset = (int32_t)ks_unzigzag(f.number);
        else if (f.key == KSI_VARINT(2) || f.key == KSI_BYTES(2))
            KS_TRY(read_counts(x, &m, &f, ret_count));
    }
    return m.bad ? malformed(x, &m) : KS_OK;
}

static ks_err buckets(struct otlp *x, const struct point *p, struct ks_slice message, bool negative)
{
    int32_t offset;
    size_t n;
    KS_TRY(read_buckets(x, message, &offset, &n));
    double ratio = exp2(-(double)p->scale), base = exp2(ratio),
           bound = exp2((double)offset * ratio);
    for (size_t i = 0; i < n; i++) {
        if (!x->counts[i])
            continue;
        double lower = bound * pow(base, (double)i), upper = lower * base;
        KS_TRY(negative ? vmrange(x, p, -upper, -lower, x->counts[i])
                        : vmrange(x, p, lower, upper, x->counts[i]));
    }
    return KS_OK;
}

/* As a sample of its own; what Prometheus would not store is rejected. */
static ks_err store_exponential(struct otlp *x, const struct point *p)
{
    struct ks_histogram h = ks_histogram_stale(false);
    if (!(p->flags & 1)) {
        struct ksi_otlp_exponential in = {.scale = p->scale,
                                          .count = p->count,
                                          .zero_count = p->zero_count,
                                          .sum = p->has_sum ? p->sum : 0,
                                          .zero_threshold = p->zero_threshold};
        ksi_otlp_exponential(&in, &h);
        for (int negative = 0; negative < 2; negative++) {
            int32_t offset;
            size_t n;
            KS_TRY(read_buckets(x, negative ? p->negative : p->positive, &offset, &n));
            KS_TRY(ksi_otlp_exponential_side(x->in->arena, p->scale, offset, x->counts, n,
                                             negative ? &h.negative : &h.positive));
        }
    }
    ks_err err = ks_histogram_validate(&h);
    if (err == KS_EINVAL || err == KS_ELIMIT) {
        reject(x, ks_err_text());
        return KS_OK;
    }
    KS_TRY(err);
    KS_TRY(begin_series(x, "", "", ks_slice("", 0)));
    KS_TRY(ks_ingest_histogram(x->in, (int64_t)(p->time_ns / 1000000), &h));
    return ks_ingest_flush_if_big(x->in);
}

static ks_err exponential_samples(struct otlp *x, const struct point *p)
{
    if (p->scale < -20 || p->scale > 30) {
        reject(x, "the scale of an exponential histogram is out of range");
        return KS_OK;
    }
    enum ks_native_histograms how = x->in->app->cfg.otlp_native_histograms;
    if (how != KS_NATIVE_VMRANGE)
        KS_TRY(store_exponential(x, p));
    if (how == KS_NATIVE_STORED)
        return KS_OK;
    KS_TRY(push_plain(x, p, "_count", (double)p->count));
    if (p->has_sum)
        KS_TRY(push_plain(x, p, "_sum", p->sum));
    if (p->zero_count)
        KS_TRY(vmrange(x, p, -p->zero_threshold, p->zero_threshold, p->zero_count));
    KS_TRY(buckets(x, p, p->positive, false));
    return buckets(x, p, p->negative, true);
}

static ks_err quantiles(struct otlp *x, const struct point *p, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, "SummaryDataPoint"), q;
    struct ksi_field f, g;
    char text[KS_F64_TEXT_MAX];
    while (ksi_next(&m, &f)) {
        double quantile = 0, value = 0;
        if (f.key != KSI_BYTES(6))
            continue;
        for (q = ksi_message(f.bytes, "ValueAtQuantile"); ksi_next(&q, &g);) {
            if (g.key == KSI_FIXED64(1))
                quantile = ks_f64_from_bits(g.number);
            else if (g.key == KSI_FIXED64(2))
                value = ks_f64_from_bits(g.number);
        }
        if (q.bad)
            return malformed(x, &q);
        KS_TRY(push(x, p, "", "quantile", f64_text(text, quantile), value));
    }
    return KS_OK; /* the message was walked before: not bad */
}

/* --- points --- */
/* bucket_counts of either histogram: one, or many packed as fixed64 or varints (told by the
 * message). */
static ks_err read_counts(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                          size_t *n)
{
    bool fixed = m->name[0] == 'H';
    const uint8_t *p = (const uint8_t *)f->bytes.ptr, *end = p + f->bytes.len;
    if ((f->key & 7) != 2) {
        KS_TRY(ks_array_reserve((void **)&x->counts, &x->count_cap, *n + 1, sizeof *x->counts));
        x->counts[(*n)++] = f->number;
        return KS_OK;
    }
    KS_TRY(ks_array_reserve((void **)&x->counts, &x->count_cap,
                            *n + (fixed ? f->bytes.len / 8 : f->bytes.len), sizeof *x->counts));
    while (p < end) {
        uint64_t v;
        if (fixed && end - p >= 8) {
            v = ks_le64(p);
            p += 8;
        } else if (fixed || !ks_pb_varint(&p, end, &v)) {
            return ksi_pb_fail(&x->pb, f->at, "bucket_counts");
        }
        x->counts[(*n)++] = v;
    }
    return KS_OK;
}

static ks_err read_bounds(struct otlp *x, const struct ksi_field *f, size_t *n)
{
    bool packed = (f->key & 7) == 2;
    if (packed && f->bytes.len % 8)
        return ksi_pb_fail(&x->pb, f->at, "explicit_bounds");
    size_t more = packed ? f->bytes.len / 8 : 1;
    KS_TRY(ks_array_reserve((void **)&x->bounds, &x->bound_cap, *n + more, sizeof *x->bounds));
    for (size_t i = 0; i < more; i++)
        x->bounds[(*n)++] = ks_f64_from_bits(packed ? ks_le64(f->bytes.ptr + 8 * i) : f->number);
    return KS_OK;
}

static ks_err number_field(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                           struct point *p)
{
    if (f->key == KSI_FIXED64(4))
        p->value = ks_f64_from_bits(f->number);
    else if (f->key == KSI_FIXED64(6))
        p->value = (double)(int64_t)f->number;
    else
        return KS_OK;
    p->has_value = true;
    return KS_OK;
}

/* What the two histograms and the summary share: count and sum. */
static bool count_or_sum(const struct ksi_field *f, struct point *p)
{
    if (f->key == KSI_FIXED64(4)) {
        p->count = f->number;
    } else if (f->key == KSI_FIXED64(5)) {
        p->sum = ks_f64_from_bits(f->number);
        p->has_sum = true;
    } else {
        return false;
    }
    return true;
}

static ks_err histogram_field(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                              struct point *p)
{
    if (count_or_sum(f, p))
        return KS_OK;
    if (f->key == KSI_FIXED64(6) || f->key == KSI_BYTES(6))
        return read_counts(x, m, f, &p->counts);
    if (f->key == KSI_FIXED64(7) || f->key == KSI_BYTES(7))
        return read_bounds(x, f, &p->bounds);
    return KS_OK;
}

static ks_err exponential_field(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                                struct point *p)
{
    if (count_or_sum(f, p))
        return KS_OK;
    if (f->key == KSI_VARINT(6))
        p->scale = (int32_t)ks_unzigzag(f->number);
    else if (f->key == KSI_FIXED64(7))
        p->zero_count = f->number;
    else if (f->key == KSI_BYTES(8))
        p->positive = f->bytes;
    else if (f->key == KSI_BYTES(9))
        p->negative = f->bytes;
    else if (f->key == KSI_FIXED64(14))
        p->zero_threshold = ks_f64_from_bits(f->number);
    return KS_OK;
}

static ks_err summary_field(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                            struct point *p)
{
    count_or_sum(f, p);
    return KS_OK;
}

/* --- exemplars: at the series of the bucket their value is in --- */
static ks_err number_place(struct otlp *x, const struct point *p, double v, struct place *ret)
{
    return KS_OK;
}

static ks_err histogram_place(struct otlp *x, const struct point *p, double v, struct place *ret)
{
    size_t i = 0;
    while (i < p->bounds && !(v <= x->bounds[i]))
        i++;
    ret->suffix = "_bucket";
    ret->label = "le";
    ret->value =
        p->counts && i < p->bounds ? f64_text(ret->text, x->bounds[i]) : KS_SLICE_LIT("+Inf");
    return KS_OK;
}

/* The bounds are computed as those of the samples are, so that the labels are the same. */
static ks_err exponential_place(struct otlp *x, const struct point *p, double v, struct place *ret)
{
    int32_t offset;
    size_t n;
    bool negative = v < 0;
    if (x->in->app->cfg.otlp_native_histograms == KS_NATIVE_STORED)
        return KS_OK;
    ret->suffix = "_count";
    if (fabs(v) <= p->zero_threshold && p->zero_count) {
        ret->value = vmrange_text(ret->text, -p->zero_threshold, p->zero_threshold);
    } else if (v && isfinite(v) && p->scale >= -20 && p->scale <= 30) {
        double ratio = exp2(-(double)p->scale), base = exp2(ratio), at;
        KS_TRY(read_buckets(x, negative ? p->negative : p->positive, &offset, &n));
        at = ceil(log2(fabs(v)) / ratio) - 1 - (double)offset;
        if (!(at >= 0) || at >= (double)n || !x->counts[(size_t)at])
            return KS_OK;
        double lower = exp2((double)offset * ratio) * pow(base, at), upper = lower * base;
        ret->value = negative ? vmrange_text(ret->text, -upper, -lower)
                              : vmrange_text(ret->text, lower, upper);
    } else {
        return KS_OK;
    }
    ret->suffix = "_bucket";
    ret->label = "vmrange";
    return KS_OK;
}

static ks_err summary_samples(struct otlp *x, const struct point *p)
{
    KS_TRY(push_plain(x, p, "_sum", p->sum));
    return push_plain(x, p, "_count", (double)p->count);
}

/* The kinds of metrics, by their field in Metric. */
static const struct kind {
    unsigned number;
    const char *name, *point_name;
    unsigned attributes, flags; /* fields of its points */
    unsigned type;
    ks_err (*field)(struct otlp *x, struct ksi_message *m, const struct ksi_field *f,
                    struct point *p);
    ks_err (*samples)(struct otlp *x, const struct point *p);
    unsigned exemplars; /* field of its points, 0 none */
    ks_err (*place)(struct otlp *x, const struct point *p, double v, struct place *ret);
} kinds[] = {
    {5, "Gauge", "NumberDataPoint", 7, 8, KS_TYPE_GAUGE, number_field, number_samples, 5,
     number_place},
    {7, "Sum", "NumberDataPoint", 7, 8, KS_TYPE_GAUGE, number_field, number_samples, 5,
     number_place},
    {9, "Histogram", "HistogramDataPoint", 9, 10, KS_TYPE_HISTOGRAM, histogram_field,
     histogram_samples, 8, histogram_place},
    {10, "ExponentialHistogram", "ExponentialHistogramDataPoint", 1, 10, KS_TYPE_HISTOGRAM,
     exponential_field, exponential_samples, 11, exponential_place},
    {11, "Summary", "SummaryDataPoint", 7, 8, KS_TYPE_SUMMARY, summary_field, summary_samples, 0,
     NULL},
};

static ks_err exemplar(struct otlp *x, const struct kind *k, const struct point *p,
                       struct ks_slice message)
{
    struct place at = {.suffix = "", .label = ""};
    struct ksi_otlp_exemplar e;
    size_t mark = x->l.raw.len;
    KS_TRY(ksi_otlp_exemplar(&x->l, message, &e));
    /* The labels move out of the way of the series'. */
    struct ks_slice raw = ks_arena_dup(x->in->arena, e.raw);
    x->l.raw.len = mark;
    if (!raw.ptr)
        return ks_arena_err(x->in->arena);
    if (!e.has_value || !raw.len)
        return KS_OK;
    KS_TRY(k->place(x, p, e.value, &at));
    struct ks_exemplar out = {.raw = raw,
                              .value = e.value,
                              .time_ms = (int64_t)((e.time_ns ? e.time_ns : p->time_ns) / 1000000)};
    KS_TRY(series_labels(x, at.suffix, at.label, at.value, &out.series_raw));
    KS_TRY(ks_ingest_exemplar(x->in, &out));
    return ks_ingest_flush_if_big(x->in);
}

static ks_err exemplars(struct otlp *x, const struct kind *k, const struct point *p,
                        struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, k->point_name);
    struct ksi_field f;
    while (ksi_next(&m, &f))
        if (f.key == KSI_BYTES(k->exemplars))
            KS_TRY(exemplar(x, k, p, f.bytes));
    return KS_OK; /* the message was walked before: not bad */
}

static ks_err point(struct otlp *x, const struct kind *k, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, k->point_name);
    struct ksi_field f;
    struct point p = {0};
    size_t mark = x->l.raw.len;
    while (ksi_next(&m, &f)) {
        if (f.key == KSI_BYTES(k->attributes))
            KS_TRY(ksi_otlp_attribute(&x->l, f.bytes, ""));
        else if (f.key == KSI_FIXED64(3))
            p.time_ns = f.number;
        else if (f.key == KSI_VARINT(k->flags))
            p.flags = f.number;
        else if (k->exemplars && f.key == KSI_BYTES(k->exemplars))
            p.exemplars++;
        else
            KS_TRY(k->field(x, &m, &f, &p));
    }
    if (m.bad)
        return malformed(x, &m);
    if (!p.time_ns)
        reject(x, "a point without time");
    else
        KS_TRY(k->samples(x, &p));
    if (p.time_ns && k->type == KS_TYPE_SUMMARY)
        KS_TRY(quantiles(x, &p, message));
    if (p.time_ns && p.exemplars)
        KS_TRY(exemplars(x, k, &p, message));
    x->l.raw.len = mark;
    return KS_OK;
}

static ks_err points(struct otlp *x, const struct kind *k, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, k->name);
    struct ksi_field f;
    while (ksi_next(&m, &f))
        if (f.key == KSI_BYTES(1))
            KS_TRY(point(x, k, f.bytes));
    return m.bad ? malformed(x, &m) : KS_OK;
}

/* --- metrics, scopes, resources --- */
static bool is_monotonic(struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, "Sum");
    struct ksi_field f;
    bool v = false;
    while (ksi_next(&m, &f))
        v = f.key == KSI_VARINT(3) ? f.number != 0 : v;
    return v;
}

static const struct kind *kind_of(const struct ksi_field *f)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (f->key == KSI_BYTES(kinds[i].number))
            return &kinds[i];
    return NULL;
}

static void make_name(struct otlp *x)
{
    bool counter = x->type == KS_TYPE_COUNTER, gauge = x->type == KS_TYPE_GAUGE;
    ks_buf_reset(&x->full_name);
    if (x->l.prometheus)
        ksi_otlp_metric_name(x->name, x->unit, counter, gauge, &x->full_name);
    if (!x->full_name.len) /* also when the rules leave nothing of it */
        ks_buf_slice(&x->full_name, x->name);
}

static ks_err metric(struct otlp *x, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, "Metric");
    struct ksi_field f;
    x->name = x->unit = x->help = ks_slice("", 0);
    x->type = KS_TYPE_UNKNOWN;
    while (ksi_next(&m, &f)) {
        const struct kind *k = kind_of(&f);
        struct ks_slice *text = f.key == KSI_BYTES(1)   ? &x->name
                                : f.key == KSI_BYTES(2) ? &x->help
                                : f.key == KSI_BYTES(3) ? &x->unit
                                                        : NULL;
        if (text)
            *text = f.bytes;
        else if (k)
            x->type = k->number == 7 && is_monotonic(f.bytes) ? KS_TYPE_COUNTER : k->type;
    }
    if (m.bad)
        return malformed(x, &m);
    if (!x->name.len)
        return ksi_pb_fail(&x->pb, (const uint8_t *)message.ptr, "Metric.name (missing)");
    make_name(x);
    KS_TRY(ks_buf_status(&x->full_name));
    for (m = ksi_message(message, "Metric"); ksi_next(&m, &f);) {
        const struct kind *k = kind_of(&f);
        if (k)
            KS_TRY(points(x, k, f.bytes));
    }
    if (x->in->app->metadata && x->type != KS_TYPE_UNKNOWN) {
        struct ks_metadata md = {x->in->tenant, x->type, ks_buf_view(&x->full_name), x->help,
                                 x->unit};
        ks_metadata_put(x->in->app->metadata, &md);
    }
    return KS_OK;
}

static ks_err scope(struct otlp *x, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, "InstrumentationScope");
    struct ksi_field f;
    struct ks_slice name = KS_SLICE_LIT("unknown"), version = KS_SLICE_LIT("unknown");
    while (ksi_next(&m, &f)) {
        if (f.key == KSI_BYTES(1))
            name = f.bytes;
        else if (f.key == KSI_BYTES(2))
            version = f.bytes;
    }
    if (m.bad)
        return malformed(x, &m);
    ksi_otlp_label(&x->l, KS_SLICE_LIT("scope.name"), name);
    ksi_otlp_label(&x->l, KS_SLICE_LIT("scope.version"), version);
    for (m = ksi_message(message, ""); ksi_next(&m, &f);)
        if (f.key == KSI_BYTES(3))
            KS_TRY(ksi_otlp_attribute(&x->l, f.bytes, "scope.attributes."));
    return KS_OK;
}

static ks_err resource(struct otlp *x, struct ks_slice message)
{
    struct ksi_message m = ksi_message(message, "Resource");
    struct ksi_field f;
    while (ksi_next(&m, &f))
        if (f.key == KSI_BYTES(1))
            KS_TRY(ksi_otlp_attribute(&x->l, f.bytes, ""));
    return m.bad ? malformed(x, &m) : KS_OK;
}

typedef ks_err (*part_fn)(struct otlp *x, struct ks_slice message);

/* A message whose field 1 gives labels to the messages in its fields 2, wherever it stands. */
static ks_err labelled(struct otlp *x, struct ks_slice message, const char *name, part_fn head,
                       part_fn body)
{
    struct ksi_message m = ksi_message(message, name);
    struct ksi_field f;
    size_t mark = x->l.raw.len;
    while (ksi_next(&m, &f))
        if (f.key == KSI_BYTES(1))
            KS_TRY(head(x, f.bytes));
    if (m.bad)
        return malformed(x, &m);
    for (m = ksi_message(message, name); ksi_next(&m, &f);)
        if (f.key == KSI_BYTES(2))
            KS_TRY(body(x, f.bytes));
    x->l.raw.len = mark;
    return KS_OK;
}

static ks_err scope_metrics(struct otlp *x, struct ks_slice message)
{
    return labelled(x, message, "ScopeMetrics", scope, metric);
}

static ks_err request(struct otlp *x, struct ks_slice body)
{
    struct ksi_message m = ksi_message(body, "ExportMetricsServiceRequest");
    struct ksi_field f;
    while (ksi_next(&m, &f))
        if (f.key == KSI_BYTES(1))
            KS_TRY(labelled(x, f.bytes, "ResourceMetrics", resource, scope_metrics));
    return m.bad ? malformed(x, &m) : KS_OK;
}

ks_err ks_otlp_metrics(struct ks_ingest *in, struct ks_slice body, struct ks_otlp_result *ret)
{
    struct otlp x = {.in = in, .pb = {(const uint8_t *)body.ptr}, .res = ret};
    *ret = (struct ks_otlp_result){0};
    ks_ingest_budget(in, body.len);
    x.l.prometheus = in->app->cfg.otlp_prometheus_names;
    x.l.pb = &x.pb;
    ks_buf_init(&x.l.raw, TEXT_BYTES_MAX);
    ks_buf_init(&x.l.key, TEXT_BYTES_MAX);
    ks_buf_init(&x.l.value, TEXT_BYTES_MAX);
    ks_buf_init(&x.full_name, TEXT_BYTES_MAX);
    ks_err err = request(&x, body);
    ks_buf_done(&x.l.raw);
    ks_buf_done(&x.l.key);
    ks_buf_done(&x.l.value);
    ks_buf_done(&x.full_name);
    ks_free(x.counts);
    ks_free(x.bounds);
    return err;
}
