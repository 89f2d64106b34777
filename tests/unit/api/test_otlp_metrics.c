/*
 * The decoder against the one protobuf-c generates: random requests are packed, taken apart by
 * both, and must give the same samples. JSON: the transcoder's output is read by protobuf-c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/ingest/otlp_json.h"
#include "api/ingest/otlp_metrics.h"
#include "base/num.h"
#include "ingest_util.h"
#include "otlp_metrics.pb-c.h"
#include "sys/rand.h"

static uint64_t rng = 17;
static struct ks_arena arena;

static uint64_t below(uint64_t n)
{
    return ks_rng_below(&rng, n);
}

static void *make(size_t size)
{
    void *p = ks_arena_zalloc(&arena, size);
    assert_non_null(p);
    return p;
}

static char *text(const char *kind, uint64_t n)
{
    char *p = make(32);
    snprintf(p, 32, "%s%llu", kind, (unsigned long long)below(n));
    return p;
}

/* --- random requests --- */
static KsOtlp__AnyValue *random_value(int depth);

static KsOtlp__KeyValue **random_attributes(size_t *ret_n, int depth)
{
    *ret_n = below(4);
    KsOtlp__KeyValue **list = make(4 * sizeof *list);
    for (size_t i = 0; i < *ret_n; i++) {
        list[i] = make(sizeof **list);
        ks_otlp__key_value__init(list[i]);
        list[i]->key = text("k", 5);
        list[i]->value = below(10) ? random_value(depth) : NULL;
    }
    return list;
}

static KsOtlp__AnyValue *random_value(int depth)
{
    KsOtlp__AnyValue *v = make(sizeof *v);
    ks_otlp__any_value__init(v);
    switch (below(depth ? 5 : 4)) {
    case 0:
        v->value_case = KS_OTLP__ANY_VALUE__VALUE_INT_VALUE;
        v->int_value = (int64_t)ks_rng_next(&rng);
        break;
    case 1:
        v->value_case = KS_OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
        v->bool_value = below(2);
        break;
    case 2:
        v->value_case = KS_OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
        v->double_value = (double)below(1000) / 8;
        break;
    case 3:
        v->value_case = KS_OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        v->string_value = text("v", 100);
        break;
    default:
        v->value_case = KS_OTLP__ANY_VALUE__VALUE_KVLIST_VALUE;
        v->kvlist_value = make(sizeof *v->kvlist_value);
        ks_otlp__key_value_list__init(v->kvlist_value);
        v->kvlist_value->values = random_attributes(&v->kvlist_value->n_values, depth - 1);
    }
    return v;
}

static uint64_t random_time(void)
{
    return below(10) ? 1700000000000000000 + below(1000000000000) : 0;
}

static KsOtlp__NumberDataPoint *random_number(void)
{
    KsOtlp__NumberDataPoint *p = make(sizeof *p);
    ks_otlp__number_data_point__init(p);
    p->attributes = random_attributes(&p->n_attributes, 3);
    p->time_unix_nano = random_time();
    p->flags = below(8) == 0;
    switch (below(8)) {
    case 0:
        break;
    case 1:
        p->value_case = KS_OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
        p->as_int = (int64_t)ks_rng_next(&rng) >> below(63);
        break;
    default:
        p->value_case = KS_OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE;
        p->as_double = (double)below(100000) / 16;
    }
    return p;
}

static KsOtlp__HistogramDataPoint *random_histogram(void)
{
    KsOtlp__HistogramDataPoint *p = make(sizeof *p);
    ks_otlp__histogram_data_point__init(p);
    p->attributes = random_attributes(&p->n_attributes, 1);
    p->time_unix_nano = random_time();
    p->count = below(1000);
    p->opt_sum_case = below(2) ? KS_OTLP__HISTOGRAM_DATA_POINT__OPT_SUM_SUM : 0;
    p->sum = (double)below(1000);
    p->n_bucket_counts = below(6);
    p->n_explicit_bounds = p->n_bucket_counts && below(8) ? p->n_bucket_counts - 1 : below(3);
    p->bucket_counts = make(64);
    p->explicit_bounds = make(64);
    for (size_t i = 0; i < 6; i++) {
        p->bucket_counts[i] = below(100);
        p->explicit_bounds[i] = (double)(i + 1) / 4;
    }
    return p;
}

static KsOtlp__SummaryDataPoint *random_summary(void)
{
    KsOtlp__SummaryDataPoint *p = make(sizeof *p);
    ks_otlp__summary_data_point__init(p);
    p->attributes = random_attributes(&p->n_attributes, 1);
    p->time_unix_nano = random_time();
    p->count = below(1000);
    p->sum = (double)below(1000);
    p->n_quantile_values = below(3);
    p->quantile_values = make(3 * sizeof *p->quantile_values);
    for (size_t i = 0; i < p->n_quantile_values; i++) {
        p->quantile_values[i] = make(sizeof **p->quantile_values);
        ks_otlp__summary_data_point__value_at_quantile__init(p->quantile_values[i]);
        p->quantile_values[i]->quantile = (double)(i + 1) / 4;
        p->quantile_values[i]->value = (double)below(100);
    }
    return p;
}

#define FILL(list, n, one)                                                                         \
    do {                                                                                           \
        (n) = below(4);                                                                            \
        (list) = make(4 * sizeof *(list));                                                         \
        for (size_t fi = 0; fi < (n); fi++)                                                        \
            (list)[fi] = (one);                                                                    \
    } while (0)

static KsOtlp__Metric *random_metric(void)
{
    KsOtlp__Metric *m = make(sizeof *m);
    ks_otlp__metric__init(m);
    m->name = text("m", 1000);
    m->unit = text("u", 3);
    switch (below(4)) {
    case 0:
        m->data_case = KS_OTLP__METRIC__DATA_GAUGE;
        m->gauge = make(sizeof *m->gauge);
        ks_otlp__gauge__init(m->gauge);
        FILL(m->gauge->data_points, m->gauge->n_data_points, random_number());
        break;
    case 1:
        m->data_case = KS_OTLP__METRIC__DATA_SUM;
        m->sum = make(sizeof *m->sum);
        ks_otlp__sum__init(m->sum);
        FILL(m->sum->data_points, m->sum->n_data_points, random_number());
        break;
    case 2:
        m->data_case = KS_OTLP__METRIC__DATA_HISTOGRAM;
        m->histogram = make(sizeof *m->histogram);
        ks_otlp__histogram__init(m->histogram);
        FILL(m->histogram->data_points, m->histogram->n_data_points, random_histogram());
        break;
    default:
        m->data_case = KS_OTLP__METRIC__DATA_SUMMARY;
        m->summary = make(sizeof *m->summary);
        ks_otlp__summary__init(m->summary);
        FILL(m->summary->data_points, m->summary->n_data_points, random_summary());
    }
    return m;
}

static KsOtlp__ScopeMetrics *random_scope_metrics(void)
{
    KsOtlp__ScopeMetrics *s = make(sizeof *s);
    ks_otlp__scope_metrics__init(s);
    if (below(3)) {
        s->scope = make(sizeof *s->scope);
        ks_otlp__scope__init(s->scope);
        s->scope->name = text("lib", 3);
        s->scope->version = below(2) ? text("v", 3) : s->scope->version;
        s->scope->attributes = random_attributes(&s->scope->n_attributes, 1);
    }
    FILL(s->metrics, s->n_metrics, random_metric());
    return s;
}

static KsOtlp__ResourceMetrics *random_resource_metrics(void)
{
    KsOtlp__ResourceMetrics *r = make(sizeof *r);
    ks_otlp__resource_metrics__init(r);
    r->resource = make(sizeof *r->resource);
    ks_otlp__resource__init(r->resource);
    r->resource->attributes = random_attributes(&r->resource->n_attributes, 3);
    FILL(r->scope_metrics, r->n_scope_metrics, random_scope_metrics());
    return r;
}

/* --- what they mean --- */
struct naive {
    struct ks_label labels[256];
    size_t count;
    struct ks_buf out;
    uint64_t rejected;
    const char *name;
};

static void set(struct naive *x, struct ks_slice name, struct ks_slice value)
{
    if (value.len)
        x->labels[x->count++] =
            (struct ks_label){ks_arena_dup(&arena, name), ks_arena_dup(&arena, value)};
}

static void attributes(struct naive *x, const char *prefix, KsOtlp__KeyValue **list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const KsOtlp__AnyValue *v = list[i]->value;
        struct ks_slice key = ks_arena_printf(&arena, "%s%s", prefix, list[i]->key), s = {0};
        if (!v)
            continue;
        char room[KS_F64_TEXT_MAX];
        switch (v->value_case) {
        case KS_OTLP__ANY_VALUE__VALUE_STRING_VALUE:
            s = ks_slice_str(v->string_value);
            break;
        case KS_OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
            s = ks_slice_str(v->bool_value ? "true" : "false");
            break;
        case KS_OTLP__ANY_VALUE__VALUE_INT_VALUE:
            s = ks_arena_printf(&arena, "%lld", (long long)v->int_value);
            break;
        case KS_OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
            s = ks_slice(room, ks_f64_format_fixed(room, v->double_value));
            break;
        case KS_OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
            attributes(x, ks_arena_printf(&arena, "%.*s.", KS_SLICE_ARG(key)).ptr,
                       v->kvlist_value->values, v->kvlist_value->n_values);
            continue;
        default:
            continue;
        }
        set(x, key, s);
    }
}

static void sample(struct naive *x, const char *suffix, const char *label, struct ks_slice more,
                   uint64_t ns, uint32_t flags, double v)
{
    struct ks_label room[260];
    struct ks_labels l = {room, x->count, 260};
    memcpy(room, x->labels, x->count * sizeof *room);
    if (*label)
        room[l.count++] = (struct ks_label){ks_slice_str(label), more};
    ks_labels_canonicalise(&l);
    const char *sep = "{";
    ks_buf_printf(&x->out, "%s%s", x->name, suffix);
    for (size_t i = 0; i < l.count; i++, sep = ",")
        ks_buf_printf(&x->out, "%s%.*s=\"%.*s\"", sep, KS_SLICE_ARG(room[i].name),
                      KS_SLICE_ARG(room[i].value));
    ks_buf_str(&x->out, l.count ? "} " : " ");
    if (flags & 1)
        ks_buf_str(&x->out, "stale");
    else
        ks_buf_f64(&x->out, v);
    ks_buf_printf(&x->out, " %lld\n", (long long)(ns / 1000000));
}

static void naive_numbers(struct naive *x, KsOtlp__NumberDataPoint **list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const KsOtlp__NumberDataPoint *p = list[i];
        bool is_int = p->value_case == KS_OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
        size_t mark = x->count;
        attributes(x, "", p->attributes, p->n_attributes);
        if (!p->time_unix_nano || (!p->value_case && !(p->flags & 1)))
            x->rejected++;
        else
            sample(x, "", "", ks_slice("", 0), p->time_unix_nano, p->flags,
                   is_int ? (double)p->as_int : p->as_double);
        x->count = mark;
    }
}

static void naive_histograms(struct naive *x, KsOtlp__HistogramDataPoint **list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const KsOtlp__HistogramDataPoint *p = list[i];
        uint64_t t = p->time_unix_nano, sum = 0;
        size_t mark = x->count;
        char room[KS_F64_TEXT_MAX];
        attributes(x, "", p->attributes, p->n_attributes);
        if (!t || (p->n_bucket_counts && p->n_bucket_counts != p->n_explicit_bounds + 1)) {
            x->rejected++;
        } else {
            sample(x, "_count", "", ks_slice("", 0), t, p->flags, (double)p->count);
            if (p->opt_sum_case)
                sample(x, "_sum", "", ks_slice("", 0), t, p->flags, p->sum);
            for (size_t k = 0; k + 1 < p->n_bucket_counts; k++)
                sample(x, "_bucket", "le",
                       ks_slice(room, ks_f64_format_fixed(room, p->explicit_bounds[k])), t,
                       p->flags, (double)(sum += p->bucket_counts[k]));
            sum += p->n_bucket_counts ? p->bucket_counts[p->n_bucket_counts - 1] : p->count;
            sample(x, "_bucket", "le", KS_SLICE_LIT("+Inf"), t, p->flags, (double)sum);
        }
        x->count = mark;
    }
}

static void naive_summaries(struct naive *x, KsOtlp__SummaryDataPoint **list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const KsOtlp__SummaryDataPoint *p = list[i];
        uint64_t t = p->time_unix_nano;
        size_t mark = x->count;
        char room[KS_F64_TEXT_MAX];
        attributes(x, "", p->attributes, p->n_attributes);
        if (!t) {
            x->rejected++;
        } else {
            sample(x, "_sum", "", ks_slice("", 0), t, p->flags, p->sum);
            sample(x, "_count", "", ks_slice("", 0), t, p->flags, (double)p->count);
            for (size_t k = 0; k < p->n_quantile_values; k++)
                sample(x, "", "quantile",
                       ks_slice(room, ks_f64_format_fixed(room, p->quantile_values[k]->quantile)),
                       t, p->flags, p->quantile_values[k]->value);
        }
        x->count = mark;
    }
}

static void naive_request(struct naive *x, const KsOtlp__Request *q)
{
    for (size_t i = 0; i < q->n_resource_metrics; i++) {
        const KsOtlp__ResourceMetrics *r = q->resource_metrics[i];
        x->count = 0;
        attributes(x, "", r->resource->attributes, r->resource->n_attributes);
        for (size_t k = 0; k < r->n_scope_metrics; k++) {
            const KsOtlp__ScopeMetrics *s = r->scope_metrics[k];
            size_t mark = x->count;
            if (s->scope) {
                set(x, KS_SLICE_LIT("scope.name"),
                    ks_slice_str(s->scope->name[0] ? s->scope->name : "unknown"));
                set(x, KS_SLICE_LIT("scope.version"),
                    ks_slice_str(s->scope->version[0] ? s->scope->version : "unknown"));
                attributes(x, "scope.attributes.", s->scope->attributes, s->scope->n_attributes);
            }
            for (size_t j = 0; j < s->n_metrics; j++) {
                const KsOtlp__Metric *m = s->metrics[j];
                x->name = m->name;
                if (m->data_case == KS_OTLP__METRIC__DATA_GAUGE)
                    naive_numbers(x, m->gauge->data_points, m->gauge->n_data_points);
                else if (m->data_case == KS_OTLP__METRIC__DATA_SUM)
                    naive_numbers(x, m->sum->data_points, m->sum->n_data_points);
                else if (m->data_case == KS_OTLP__METRIC__DATA_HISTOGRAM)
                    naive_histograms(x, m->histogram->data_points, m->histogram->n_data_points);
                else if (m->data_case == KS_OTLP__METRIC__DATA_SUMMARY)
                    naive_summaries(x, m->summary->data_points, m->summary->n_data_points);
            }
            x->count = mark;
        }
    }
    ks_buf_byte(&x->out, 0);
}

static void test_against_generated(void **state)
{
    struct ti t;
    struct naive x = {.count = 0};
    size_t samples = 0;
    ti_init(&t, 1700000000000);
    ks_buf_init(&x.out, 16 << 20);
    for (int round = 0; round < 1500; round++) {
        KsOtlp__Request q = KS_OTLP__REQUEST__INIT;
        ks_arena_init(&arena, 64 << 20);
        FILL(q.resource_metrics, q.n_resource_metrics, random_resource_metrics());
        size_t len = ks_otlp__request__get_packed_size(&q);
        uint8_t *body = make(len + 1);
        ks_otlp__request__pack(&q, body);
        KsOtlp__Request *back = ks_otlp__request__unpack(NULL, len, body);
        assert_non_null(back);
        ks_buf_reset(&x.out);
        x.rejected = 0;
        naive_request(&x, back);
        ks_otlp__request__free_unpacked(back, NULL);
        struct ks_otlp_result res;
        ti_reset(&t);
        if (ks_otlp_metrics(&t.in, ks_slice(body, len), &res) != KS_OK)
            fail_msg("%s", ks_err_text());
        assert_string_equal(ti_text(&t), x.out.ptr);
        assert_int_equal(res.rejected_points, x.rejected);
        samples += t.in.batch->sample_count;
        /* Cut anywhere, it is an error or a shorter request; never a crash. */
        for (size_t n = below(17); n < len; n += 17) {
            uint8_t *copy = make(n + 1);
            memcpy(copy, body, n);
            ti_reset(&t);
            (void)!ks_otlp_metrics(&t.in, ks_slice(copy, n), &res);
        }
        ks_arena_done(&arena);
    }
    assert_true(samples > 10000);
    ks_buf_done(&x.out);
    ti_done(&t);
}

/* --- JSON --- */
static KsOtlp__Request *from_json(const char *json, struct ks_buf *out)
{
    ks_buf_reset(out);
    if (ks_otlp_json_to_protobuf(ks_slice_str(json), &ks_otlp_metrics_request, &arena, out) !=
        KS_OK)
        return NULL;
    return ks_otlp__request__unpack(NULL, out->len, (const uint8_t *)out->ptr);
}

static void test_json(void **state)
{
    struct ks_buf out;
    ks_arena_init(&arena, 1 << 20);
    ks_buf_init(&out, 1 << 20);
    KsOtlp__Request *q =
        from_json(" {\"unknown\":[{\"x\":1}],\"resource_metrics\":[null,{\"resource\":{"
                  "\"attributes\":[{\"key\":\"\\u00e9\",\"value\":{\"intValue\":\"-7\"}},"
                  "{\"key\":\"b\",\"value\":{\"bytesValue\":\"AAEC_w==\"}}]},\"scopeMetrics\":[{"
                  "\"metrics\":[{\"name\":\"m\",\"exponentialHistogram\":"
                  "{\"aggregationTemporality\":\"AGGREGATION_TEMPORALITY_DELTA\",\"dataPoints\":[{"
                  "\"time_unix_nano\":\"1700000000000000001\",\"count\":17.0,"
                  "\"scale\":-2,\"zeroThreshold\":\"Infinity\",\"positive\":{\"offset\":-5,"
                  "\"bucketCounts\":[1,\"2\",3e0]},\"sum\":null}]}}]}]}]} ",
                  &out);
    assert_non_null(q);
    assert_int_equal(q->n_resource_metrics, 1);
    const KsOtlp__ResourceMetrics *r = q->resource_metrics[0];
    assert_string_equal(r->resource->attributes[0]->key, "\xc3\xa9");
    assert_int_equal(r->resource->attributes[0]->value->int_value, -7);
    assert_memory_equal(r->resource->attributes[1]->value->bytes_value.data, "\0\1\2\377", 4);
    const KsOtlp__ExponentialHistogramDataPoint *p =
        r->scope_metrics[0]->metrics[0]->exponential_histogram->data_points[0];
    assert_true(p->time_unix_nano == 1700000000000000001 && p->count == 17 && p->scale == -2 &&
                isinf(p->zero_threshold) && !p->opt_sum_case);
    assert_true(p->positive->offset == -5 && p->positive->n_bucket_counts == 3 &&
                p->positive->bucket_counts[2] == 3);
    ks_otlp__request__free_unpacked(q, NULL);
    static const char *const bad[] = {
        "",
        "[",
        "{",
        "{\"resourceMetrics\":{}}",
        "{\"resourceMetrics\":[1]}",
        "{\"resourceMetrics\":[{}]",
        "{} x",
        "{\"resourceMetrics\":[{},]}",
        "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"key\":1}]}}]}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{,}",
        "{\"a\":1,}",
        "{\"a\":\"\\x\"}",
        "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":{\"intValue\":1.5}}]}}]}",
        "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":{\"bytesValue\":\"*\"}}]}}"
        "]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (from_json(bad[i], &out))
            fail_msg("taken: %s", bad[i]);
    char deep[4096] = "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":";
    for (int i = 0; i < 40; i++)
        strcat(deep, "{\"arrayValue\":{\"values\":[");
    assert_null(from_json(deep, &out));
    assert_non_null(strstr(ks_err_text(), "nested too deeply"));
    ks_buf_done(&out);
    ks_arena_done(&arena);
}

/* A small body must not be able to ask for unlimited work: many samples under one heavy resource.
 */
static void test_blow_up(void **state)
{
    KsOtlp__Request q = KS_OTLP__REQUEST__INIT;
    KsOtlp__KeyValue *kv;
    struct ti t;
    struct ks_otlp_result res;
    ks_arena_init(&arena, 256 << 20);
    ti_init(&t, 1700000000000);
    do
        FILL(q.resource_metrics, q.n_resource_metrics, random_resource_metrics());
    while (!q.n_resource_metrics || !q.resource_metrics[0]->n_scope_metrics ||
           !q.resource_metrics[0]->scope_metrics[0]->n_metrics);
    q.n_resource_metrics = 1;
    KsOtlp__Resource *r = q.resource_metrics[0]->resource;
    kv = make(sizeof *kv);
    ks_otlp__key_value__init(kv);
    kv->key = "k";
    kv->value = make(sizeof *kv->value);
    ks_otlp__any_value__init(kv->value);
    kv->value->value_case = KS_OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    kv->value->string_value = make(500001);
    memset(kv->value->string_value, 'x', 500000);
    r->attributes[0] = kv;
    r->n_attributes = 1;
    KsOtlp__Metric *m = q.resource_metrics[0]->scope_metrics[0]->metrics[0];
    ks_otlp__metric__init(m);
    m->name = "m";
    m->data_case = KS_OTLP__METRIC__DATA_GAUGE;
    m->gauge = make(sizeof *m->gauge);
    ks_otlp__gauge__init(m->gauge);
    KsOtlp__NumberDataPoint *p = make(sizeof *p);
    ks_otlp__number_data_point__init(p);
    p->time_unix_nano = 1700000000000000000;
    p->value_case = KS_OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
    m->gauge->n_data_points = 2000;
    m->gauge->data_points = make(2000 * sizeof p);
    for (size_t i = 0; i < 2000; i++)
        m->gauge->data_points[i] = p;
    size_t len = ks_otlp__request__get_packed_size(&q);
    uint8_t *body = make(len);
    ks_otlp__request__pack(&q, body);
    assert_int_equal(ks_otlp_metrics(&t.in, ks_slice(body, len), &res), KS_ELIMIT);
    ti_done(&t);
    ks_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_generated),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_blow_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
