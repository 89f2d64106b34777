/* Native histograms: notation and JSON, Prometheus' validation, walks, compaction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/histogram_text.h"
#include "base/num.h"
#include "tests/support/histogram_shapes.h"

static struct ks_arena arena;
static struct ks_buf out;

static int setup(void **state)
{
    ks_arena_init(&arena, 64 << 20);
    ks_buf_init(&out, 1 << 20);
    return 0;
}
static int teardown(void **state)
{
    ks_arena_done(&arena);
    ks_buf_done(&out);
    return 0;
}

static struct ks_histogram parse(const char *text)
{
    struct ks_histogram h;
    assert_int_equal(ks_histogram_parse(ks_slice_str(text), &arena, &h), KS_OK);
    return h;
}

static void check_text(const char *want)
{
    ks_buf_byte(&out, 0);
    assert_string_equal(out.ptr, want);
    ks_buf_reset(&out);
}

static void test_texts(void **state)
{
    const char *text = "{{schema:1 count:20 sum:-5.5 z_bucket:2 z_bucket_w:0.001 "
                       "counter_reset_hint:gauge offset:-1 "
                       "buckets:[1 2 0 4] n_buckets:[3 1e+06]}}";
    struct ks_histogram h = parse(text);
    assert_int_equal(ks_histogram_notation(&arena, &h, &out), KS_OK);
    check_text(text);
    h = parse("count:20 sum:10 z_bucket:2 z_bucket_w:0.001 buckets:[1 2] n_buckets:[1 2]");
    ks_histogram_string(&h, &out);
    check_text("{count:20, sum:10, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}");
    ks_histogram_json(&h, &out);
    check_text("{\"count\":\"20\",\"sum\":\"10\",\"buckets\":[[1,\"-2\",\"-1\",\"2\"],[1,\"-1\",\"-"
               "0.5\",\"1\"],"
               "[3,\"-0.001\",\"0.001\",\"2\"],[0,\"0.5\",\"1\",\"1\"],[0,\"1\",\"2\",\"2\"]]}");
    h = parse("{{schema:-53 sum:1 count:3 custom_values:[5 10] buckets:[1 0 2]}}");
    ks_histogram_json(&h, &out);
    check_text("{\"count\":\"3\",\"sum\":\"1\",\"buckets\":[[3,\"-Inf\",\"5\",\"1\"],[0,\"10\",\"+"
               "Inf\",\"2\"]]}");
    h = parse("{{}}");
    ks_histogram_json(&h, &out);
    check_text("{\"count\":\"0\",\"sum\":\"0\"}");
    assert_int_equal(ks_histogram_notation(&arena, &h, &out), KS_OK);
    check_text("{{}}");
}

static void test_bad_notation(void **state)
{
    static const char *const texts[] = {
        "schema",   "schema:",           "schema:x", "buckets:[1 2",          "buckets:1",
        "what:1",   "schema:7000000000", "schema:9", "counter_reset_hint:no", "[",
        "count:1 ]"};
    struct ks_histogram h;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(ks_histogram_parse(ks_slice_str(texts[i]), &arena, &h), KS_EPARSE);
}

static void refused(const struct ks_histogram *h, const char *words)
{
    assert_int_equal(ks_histogram_validate(h), KS_EINVAL);
    if (!strstr(ks_err_text(), words))
        fail_msg("\"%s\" is not in \"%s\"", words, ks_err_text());
}

static void test_validation(void **state)
{
    struct ks_histogram h = parse("count:3 sum:1 buckets:[1 -2]");
    refused(&h, "positive side: bucket number 2 has observation count of -2: histogram has a "
                "bucket whose observation count is "
                "negative");
    h = parse("count:3 sum:1 n_buckets:[1 2]");
    assert_int_equal(ks_histogram_validate(&h), KS_OK);
    h.negative.bucket_count = 1;
    refused(&h, "negative side: spans need 2 buckets, have 1 buckets: histogram spans specify "
                "different number of buckets than "
                "provided");
    h = parse("schema:-53 custom_values:[5 5] buckets:[1]");
    refused(&h, "custom buckets: previous bound is 5.000000 and current is 5.000000: histogram "
                "custom bounds must be in strictly");
    h = parse("schema:-53 custom_values:[5] buckets:[1 2 3]");
    refused(&h, "custom buckets: only 1 custom bounds defined which is insufficient to cover total "
                "span length of 3: histogram "
                "custom bounds are too few");
    h = parse("schema:-53 custom_values:[+Inf]");
    refused(&h, "must be finite");
    h = parse("schema:-53 z_bucket:1");
    refused(&h, "custom buckets: must have zero count of 0");
    h = parse("custom_values:[1]");
    refused(&h, "histogram with exponential schema must not have custom bounds");
    h.schema = 9;
    refused(&h, "got schema 9");
    int64_t deltas[] = {2, -1};
    struct ks_histogram_span spans[] = {{0, 1}, {1, 1}};
    struct ks_histogram i = {.count.u = 3, .positive = {spans, 2, 2, {.deltas = deltas}}};
    assert_int_equal(ks_histogram_validate(&i), KS_OK);
    i.count.u = 4;
    refused(&i, "3 observations found in buckets, but the Count field is 4: histogram's "
                "observation count should equal");
    i.sum = NAN;
    assert_int_equal(ks_histogram_validate(&i), KS_OK);
    i.count.u = 2;
    refused(&i, "should be at least the number of observations");
    spans[1].offset = -1;
    refused(&i, "positive side: span number 2 with offset -1: histogram has a span whose offset is "
                "negative");
    spans[0].offset = INT32_MAX;
    spans[1].offset = 0;
    refused(&i, "index too large");
    i = ks_histogram_stale(false);
    assert_true(ks_histogram_is_stale(&i));
    assert_int_equal(ks_histogram_validate(&i), KS_OK);
}

static void test_bounds(void **state)
{
    struct ks_histogram h = {.schema = 0};
    assert_true(ks_histogram_bound(&h, 0) == 1 && ks_histogram_bound(&h, -1) == 0.5 &&
                ks_histogram_bound(&h, 1024) == DBL_MAX);
    h.schema = 1;
    assert_true(ks_histogram_bound(&h, 1) == 2 * 0.7071067811865475);
    h.schema = -4;
    assert_true(ks_histogram_bound(&h, 1) == 65536 && ks_histogram_bound(&h, 64) == DBL_MAX);
    assert_true(ks_histogram_bound(&h, INT32_MIN) == 0 &&
                ks_histogram_bound(&h, INT32_MAX) == INFINITY);
    for (h.schema = -4; h.schema <= 8; h.schema++)
        for (int32_t i = -60; i < 50; i++)
            assert_true(fabs(ks_histogram_bound(&h, i) / exp2(ldexp(i, -h.schema)) - 1) < 1e-14);
}

/* Both directions give the same buckets; compaction keeps them; conversion keeps numbers. */
static void test_walks_and_compaction(void **state)
{
    uint64_t seed = 4711;
    for (int round = 0; round < 2000; round++) {
        struct ks_histogram h = shape_wild(&arena, &seed), c = h, f;
        struct ks_histogram_bucket up[64], b;
        struct ks_histogram_cursor it = ks_histogram_cursor(&h, false);
        size_t n = 0, k = 0;
        double sum = 0;
        while (ks_histogram_next(&it, &b))
            up[n++] = b;
        it = ks_histogram_cursor(&h, true);
        while (ks_histogram_next(&it, &b))
            assert_memory_equal(&b.count, &up[n - ++k].count, 8);
        assert_int_equal(k, n);
        assert_int_equal(ks_histogram_compact(&arena, shape_draw(&seed, 3), &c), KS_OK);
        assert_int_equal(ks_histogram_check_layout(&c), KS_OK);
        assert_int_equal(ks_histogram_compact(&arena, 0, &c), KS_OK);
        it = ks_histogram_cursor(&c, false);
        for (k = 0; ks_histogram_next(&it, &b); k++) {
            while (up[k].count == 0)
                memmove(up + k, up + k + 1, (--n - k) * sizeof *up);
            assert_memory_equal(&b.count, &up[k].count, 8);
            assert_true(b.lower == up[k].lower && b.upper == up[k].upper && b.count != 0);
            sum += b.count;
        }
        assert_int_equal(ks_histogram_to_float(&arena, &h, &f), KS_OK);
        assert_true(f.is_float && ks_histogram_same_bounds(&f, &h));
        assert_true(ks_histogram_identical(&h, &h) && ks_histogram_equal(&h, &h));
        ks_arena_reset(&arena);
    }
}

static void test_equality_ignores_the_cut(void **state)
{
    double counts[] = {1, 2};
    struct ks_histogram_span one[] = {{3, 2}}, two[] = {{3, 1}, {0, 0}, {0, 1}};
    struct ks_histogram a = {.is_float = true, .positive = {one, 1, 2, {.counts = counts}}}, b = a;
    b.positive.spans = two;
    b.positive.span_count = 3;
    b.hint = KS_HISTOGRAM_GAUGE;
    assert_true(ks_histogram_equal(&a, &b));
    assert_false(ks_histogram_identical(&a, &b));
    two[2].offset = 1;
    assert_false(ks_histogram_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bad_notation),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_walks_and_compaction),
        cmocka_unit_test(test_equality_ignores_the_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
