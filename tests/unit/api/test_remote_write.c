/* Remote write: what an encoder in this test writes is what reaches the engine, in 1.0 and 2.0,
 * whole or damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "api/app.h"
#include "api/exemplars.h"
#include "api/ingest/remote_write.h"
#include "api/metadata.h"
#include "api/scratch.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/stats.h"
#include "sys/rand.h"

/* --- the engine's place: writes each sample as a line --- */
static struct ks_buf got;
static ks_err answer = KS_OK;

ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);
ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret)
{
    for (size_t i = 0; i < b->series_count; i++) {
        struct ks_labels l = {0};
        ks_err err = b->resolve(b, i, &l);
        if (err != KS_OK)
            return err;
        if (!l.count)
            continue;
        ks_labels_canonicalise(&l);
        for (uint32_t k = 0; k < b->series[i].sample_count; k++) {
            struct ks_write_sample s = b->samples[b->series[i].first_sample + k];
            ks_buf_printf(&got, "%u:%u ", b->series[i].tenant.account, b->series[i].tenant.project);
            for (size_t j = 0; j < l.count; j++)
                ks_buf_printf(&got, "%.*s=%.*s,", KS_SLICE_ARG(l.items[j].name),
                              KS_SLICE_ARG(l.items[j].value));
            ks_buf_printf(&got, " %lld %016llx\n", (long long)s.time_ms,
                          (unsigned long long)ks_f64_bits(s.value));
        }
    }
    return answer;
}

/* --- a protobuf encoder --- */
static void put_bytes(struct ks_buf *b, unsigned field, struct ks_slice s)
{
    ks_buf_varint(b, field << 3 | 2);
    ks_buf_lp(b, s);
}
static void put_varint(struct ks_buf *b, unsigned field, uint64_t v)
{
    ks_buf_varint(b, field << 3);
    ks_buf_varint(b, v);
}
static void put_double(struct ks_buf *b, unsigned field, double v)
{
    ks_buf_varint(b, field << 3 | 1);
    ks_buf_u64(b, ks_f64_bits(v));
}
static void put_label(struct ks_buf *b, const char *name, const char *value)
{
    struct ks_buf l;
    ks_buf_init(&l, 1 << 20);
    put_bytes(&l, 1, ks_slice_str(name));
    put_bytes(&l, 2, ks_slice_str(value));
    put_bytes(b, 1, ks_buf_view(&l));
    ks_buf_done(&l);
}
static void put_sample(struct ks_buf *b, int64_t ms, double v, bool swapped)
{
    struct ks_buf s;
    ks_buf_init(&s, 64);
    if (swapped)
        put_varint(&s, 2, (uint64_t)ms);
    put_double(&s, 1, v);
    if (!swapped)
        put_varint(&s, 2, (uint64_t)ms);
    put_bytes(b, 2, ks_buf_view(&s));
    ks_buf_done(&s);
}

struct fixture {
    struct ks_app app;
    struct ks_scratch scratch;
    struct ks_ingest in;
    struct ks_stat stat;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->stat.name = "test_rows_total";
    f->app.cfg = (struct ks_config){.max_labels_per_series = 60,
                                    .max_label_name_bytes = 256,
                                    .max_label_value_bytes = 4096,
                                    .max_metadata_bytes = 1 << 20,
                                    .query_log_count = 4};
    assert_int_equal(ks_app_init(&f->app), KS_OK);
    f->app.engine =
        (struct ks_engine *)f; /* any: this test's ks_engine_write() takes the batches */
    ks_scratch_init(&f->scratch);
    ks_buf_init(&got, 64 << 20);
    ks_ingest_begin_local(&f->app, &f->scratch, &f->stat, &f->in);
}

static void fixture_done(struct fixture *f)
{
    ks_scratch_done(&f->scratch);
    ks_app_done(&f->app);
    ks_buf_done(&got);
}

static ks_err run(struct fixture *f, struct ks_slice body, int version)
{
    ks_err err = version == 2 ? ks_remote_write_v2(&f->in, body) : ks_remote_write_v1(&f->in, body);
    return err == KS_OK ? ks_ingest_end(&f->in) : err;
}

/* --- 1.0 --- */
static double random_value(uint64_t *seed)
{
    uint64_t r = ks_rng_next(seed);
    return r % 3 == 0   ? ks_f64_from_bits(ks_rng_next(seed))
           : r % 3 == 1 ? (double)(r >> 40)
                        : ks_stale_nan();
}

/* Random requests in random field order against the lines they should become. */
static void test_v1_property(void **state)
{
    uint64_t seed = 20261121;
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        struct ks_buf body, want;
        fixture_init(&f);
        ks_buf_init(&body, 16 << 20);
        ks_buf_init(&want, 16 << 20);
        size_t series = ks_rng_below(&seed, 20);
        for (size_t i = 0; i < series; i++) {
            struct ks_buf ts, labels;
            ks_buf_init(&ts, 1 << 20);
            ks_buf_init(&labels, 1 << 20);
            size_t n = 1 + ks_rng_below(&seed, 8), samples = ks_rng_below(&seed, 5), done = 0;
            bool scattered = ks_rng_below(&seed, 4) == 0;
            char lines[8192] = "";
            for (size_t k = 0; k < n; k++) {
                char name[32], value[300];
                snprintf(name, sizeof name, "n%02zu", k);
                memset(value, 'a' + (int)k, sizeof value);
                value[1 + ks_rng_below(&seed, 298)] = 0;
                ks_buf_printf(&labels, "%s=%s,", name, value);
                put_label(&ts, name, value);
                if (scattered && done < samples) {
                    int64_t ms = (int64_t)ks_rng_below(&seed, (uint64_t)1 << 43);
                    double v = random_value(&seed);
                    put_sample(&ts, ms, v, done++ % 2);
                    snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "%lld %016llx\n",
                             (long long)ms, (unsigned long long)ks_f64_bits(v));
                }
            }
            if (ks_rng_below(&seed, 3) == 0)
                put_varint(&ts, 99, 7); /* a field nobody knows */
            for (; done < samples; done++) {
                int64_t ms = ks_rng_below(&seed, 8)
                                 ? 1700000000000 + (int64_t)ks_rng_below(&seed, 1u << 30)
                                 : (int64_t)ks_rng_next(&seed);
                double v = random_value(&seed);
                put_sample(&ts, ms, v, ks_rng_below(&seed, 4) == 0);
                snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "%lld %016llx\n",
                         (long long)ms, (unsigned long long)ks_f64_bits(v));
            }
            for (char *l = lines; *l; l = strchr(l, '\n') + 1)
                ks_buf_printf(&want, "0:0 %.*s %.*s\n", KS_SLICE_ARG(ks_buf_view(&labels)),
                              (int)strcspn(l, "\n"), l);
            put_bytes(&body, 1, ks_buf_view(&ts));
            ks_buf_done(&ts);
            ks_buf_done(&labels);
        }
        assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
        assert_int_equal(got.len, want.len);
        assert_true(ks_slice_eq(ks_buf_view(&got), ks_buf_view(&want)));
        ks_buf_done(&body);
        ks_buf_done(&want);
        fixture_done(&f);
    }
}

static void one_series(struct ks_buf *body, const char *extra_name, const char *extra_value)
{
    struct ks_buf ts;
    ks_buf_init(&ts, 1 << 20);
    put_label(&ts, "__name__", "up");
    if (extra_name)
        put_label(&ts, extra_name, extra_value);
    put_sample(&ts, 1700000000123, 1.5, false);
    put_bytes(body, 1, ks_buf_view(&ts));
    ks_buf_done(&ts);
}

static void test_extra_labels_win(void **state)
{
    struct fixture f;
    struct ks_buf body;
    struct ks_label extra[] = {{KS_SLICE_LIT("tenant"), KS_SLICE_LIT("mine")}};
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    one_series(&body, "tenant", "theirs");
    f.in.extra = extra;
    f.in.extra_count = 1;
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    assert_true(ks_slice_is(ks_buf_view(&got),
                            "0:0 __name__=up,tenant=mine, 1700000000123 3ff8000000000000\n"));
    ks_buf_done(&body);
    fixture_done(&f);
}

static void test_multitenant_labels(void **state)
{
    struct fixture f;
    struct ks_buf body;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    one_series(&body, "vm_account_id", "7");
    f.in.multitenant = true;
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    assert_true(
        ks_slice_is(ks_buf_view(&got), "7:0 __name__=up, 1700000000123 3ff8000000000000\n"));
    ks_buf_done(&body);
    fixture_done(&f);
}

static void test_limits_drop_series(void **state)
{
    struct fixture f;
    struct ks_buf body;
    char value[5000];
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    memset(value, 'v', sizeof value);
    value[4096] = 0;
    one_series(&body, "ok", value);
    value[4096] = 'v';
    value[4097] = 0;
    one_series(&body, "long", value);
    one_series(&body, "empty", "");
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    size_t lines = 0;
    for (size_t i = 0; i < got.len; i++)
        lines += got.ptr[i] == '\n';
    assert_int_equal(lines, 2);
    ks_buf_done(&body);
    fixture_done(&f);
}

/* Every cut of a request is refused or (at a field's border) accepted; nothing is read past its
 * end. */
/* A body of its own size, so that a byte read behind it is seen. */
static void run_copy(struct fixture *f, struct ks_slice body, uint64_t *seed, int version)
{
    char *copy = ks_alloc(body.len ? body.len : 1);
    memcpy(copy, body.ptr, body.len);
    if (seed)
        copy[ks_rng_below(seed, body.len)] = (char)ks_rng_next(seed);
    ks_ingest_begin_local(&f->app, &f->scratch, &f->stat, &f->in);
    ks_buf_reset(&got);
    ks_err err = run(f, ks_slice(copy, body.len), version);
    assert_true(err == KS_OK || err == KS_EPARSE);
    ks_free(copy);
}

static void test_damage(void **state)
{
    struct fixture f;
    struct ks_buf body;
    uint64_t seed = 9;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    one_series(&body, "job", "a");
    one_series(&body, "job", "b");
    for (size_t cut = 0; cut <= body.len; cut++)
        run_copy(&f, ks_slice(body.ptr, cut), NULL, 1);
    for (int i = 0; i < 3000; i++)
        run_copy(&f, ks_buf_view(&body), &seed, 1 + i % 2);
    ks_buf_done(&body);
    fixture_done(&f);
}

static void test_error_names_the_byte(void **state)
{
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(run(&f,
                         KS_SLICE_LIT("\x0a\x05\x0a\x09"
                                      "abc"),
                         1),
                     KS_EPARSE);
    assert_string_equal(ks_err_text(), "malformed protobuf: field TimeSeries.labels at byte 2");
    fixture_done(&f);
}

static void test_engine_errors_come_through(void **state)
{
    struct fixture f;
    struct ks_buf body;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    one_series(&body, NULL, NULL);
    answer = ks_fail(KS_ENOSPC, "full");
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_ENOSPC);
    assert_int_equal(f.in.samples, 0);
    answer = KS_OK;
    ks_buf_done(&body);
    fixture_done(&f);
}

/* --- metadata and exemplars --- */
static bool see_metadata(void *arg, const struct ks_metadata *m)
{
    ks_buf_printf(arg, "%.*s %s %.*s %.*s\n", KS_SLICE_ARG(m->name), ks_metric_type_name(m->type),
                  KS_SLICE_ARG(m->help), KS_SLICE_ARG(m->unit));
    return true;
}

static bool see_exemplar(void *arg, const struct ks_exemplar *x)
{
    struct ks_labels_iter it = ks_labels_iter(x->series_raw);
    struct ks_label l;
    while (ks_labels_next(&it, &l))
        ks_buf_printf(arg, "%.*s=%.*s ", KS_SLICE_ARG(l.name), KS_SLICE_ARG(l.value));
    ks_buf_printf(arg, "%lld %g\n", (long long)x->time_ms, x->value);
    return true;
}

static void test_metadata_and_exemplars(void **state)
{
    struct fixture f;
    struct ks_buf body, m, ts, ex, seen;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    ks_buf_init(&m, 1 << 20);
    ks_buf_init(&ts, 1 << 20);
    ks_buf_init(&ex, 1 << 20);
    ks_buf_init(&seen, 1 << 20);
    put_varint(&m, 1, 1);
    put_bytes(&m, 2, ks_slice_str("up"));
    put_bytes(&m, 4, ks_slice_str("whether it is up"));
    put_bytes(&body, 3, ks_buf_view(&m));
    put_label(&ts, "__name__", "up");
    put_label(&ex, "trace_id", "abc");
    put_double(&ex, 2, 2.5);
    put_varint(&ex, 3, 1700000000000);
    put_bytes(&ts, 3, ks_buf_view(&ex));
    put_bytes(&body, 1, ks_buf_view(&ts));
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    ks_metadata_each(f.app.metadata, ks_slice("", 0), see_metadata, &seen);
    ks_exemplars_each(f.app.exemplars, see_exemplar, &seen);
    assert_true(ks_slice_is(ks_buf_view(&seen),
                            "up counter whether it is up \n__name__=up 1700000000000 2.5\n"));
    ks_buf_done(&body);
    ks_buf_done(&m);
    ks_buf_done(&ts);
    ks_buf_done(&ex);
    ks_buf_done(&seen);
    fixture_done(&f);
}

/* --- native histograms --- */
static void test_native_histogram(void **state)
{
    struct fixture f;
    struct ks_buf body, ts, h, span, deltas;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    ks_buf_init(&ts, 1 << 20);
    ks_buf_init(&h, 1 << 20);
    ks_buf_init(&span, 1 << 10);
    ks_buf_init(&deltas, 1 << 10);
    put_label(&ts, "__name__", "lat");
    put_varint(&h, 1, 7);
    put_double(&h, 3, 12.5);
    put_varint(&h, 4, ks_zigzag(0)); /* growth 2 */
    put_double(&h, 5, 0.001);
    put_varint(&h, 6, 1);
    put_varint(&span, 1, ks_zigzag(1)); /* from (1, 2] on */
    put_varint(&span, 2, 3);
    put_bytes(&h, 11, ks_buf_view(&span));
    ks_buf_zigzag(&deltas, 2);
    ks_buf_zigzag(&deltas, -2);
    ks_buf_zigzag(&deltas, 4);
    put_bytes(&h, 12, ks_buf_view(&deltas));
    put_varint(&h, 15, 1700000000000);
    put_bytes(&ts, 4, ks_buf_view(&h));
    put_bytes(&body, 1, ks_buf_view(&ts));
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    static const char want[] =
        "0:0 __name__=lat_count, 1700000000000 401c000000000000\n"
        "0:0 __name__=lat_sum, 1700000000000 4029000000000000\n"
        "0:0 __name__=lat_bucket,vmrange=0.000e+00...1.000e-03, 1700000000000 3ff0000000000000\n"
        "0:0 __name__=lat_bucket,vmrange=1.000e+00...2.000e+00, 1700000000000 4000000000000000\n"
        "0:0 __name__=lat_bucket,vmrange=4.000e+00...8.000e+00, 1700000000000 4010000000000000\n";
    ks_buf_byte(&got, 0);
    assert_string_equal(got.ptr, want);
    ks_buf_done(&body);
    ks_buf_done(&ts);
    ks_buf_done(&h);
    ks_buf_done(&span);
    ks_buf_done(&deltas);
    fixture_done(&f);
}

/* --- 2.0 --- */
static void test_v2(void **state)
{
    struct fixture f;
    struct ks_buf body, ts, refs;
    fixture_init(&f);
    ks_buf_init(&body, 1 << 20);
    ks_buf_init(&ts, 1 << 20);
    ks_buf_init(&refs, 1 << 10);
    static const char *const symbols[] = {"", "__name__", "up", "job", "a"};
    for (size_t i = 0; i < 5; i++)
        put_bytes(&body, 4, ks_slice_str(symbols[i]));
    for (uint64_t r = 1; r < 5; r++)
        ks_buf_varint(&refs, r);
    put_bytes(&ts, 1, ks_buf_view(&refs));
    put_sample(&ts, 1700000000123, 1.5, false);
    put_bytes(&body, 5, ks_buf_view(&ts));
    assert_int_equal(run(&f, ks_buf_view(&body), 2), KS_OK);
    assert_true(
        ks_slice_is(ks_buf_view(&got), "0:0 __name__=up,job=a, 1700000000123 3ff8000000000000\n"));
    assert_int_equal(f.in.samples, 1);
    /* A reference beyond the table. */
    ks_buf_reset(&body);
    put_bytes(&body, 5, ks_buf_view(&ts));
    assert_int_equal(run(&f, ks_buf_view(&body), 2), KS_EPARSE);
    ks_buf_done(&body);
    ks_buf_done(&ts);
    ks_buf_done(&refs);
    fixture_done(&f);
}

/* A body of empty series must not grow the batch without bound. */
static void test_flushes_in_between(void **state)
{
    struct fixture f;
    struct ks_buf body, ts;
    fixture_init(&f);
    ks_buf_init(&body, 64 << 20);
    ks_buf_init(&ts, 1 << 10);
    put_label(&ts, "a", "b");
    ks_buf_add(&ts, "\x12\x00", 2); /* a sample of zeros */
    for (int i = 0; i < 200000; i++)
        put_bytes(&body, 1, ks_buf_view(&ts));
    assert_int_equal(run(&f, ks_buf_view(&body), 1), KS_OK);
    assert_int_equal(f.in.samples, 200000);
    assert_true(f.scratch.batch.series_cap < 200000);
    ks_buf_done(&body);
    ks_buf_done(&ts);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1_property),
        cmocka_unit_test(test_extra_labels_win),
        cmocka_unit_test(test_multitenant_labels),
        cmocka_unit_test(test_limits_drop_series),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_error_names_the_byte),
        cmocka_unit_test(test_engine_errors_come_through),
        cmocka_unit_test(test_metadata_and_exemplars),
        cmocka_unit_test(test_native_histogram),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_flushes_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
