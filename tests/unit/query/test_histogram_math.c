/* Native histograms in queries against Prometheus' own results (golden/native_histograms.inc), and
 * laws of the arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/histogram_text.h"
#include "base/num.h"
#include "query/promql/strict/histogram_math.h"

struct row {
    const char *fn, *args, *points, *want, *note;
};
static const struct row rows[] = {
#include "tests/unit/query/golden/native_histograms.inc"
};

enum { POINTS_MAX = 64 };

static struct ks_histogram parse(struct ks_arena *a, const char *text, size_t len)
{
    struct ks_histogram h;
    if (ks_histogram_parse(ks_slice(text, len), a, &h) != KS_OK)
        fail_msg("%.*s: %s", (int)len, text, ks_err_text());
    return h;
}

static size_t parse_points(struct ks_arena *a, const char *text, struct ks_histogram *h,
                           int64_t *times)
{
    size_t n = 0;
    const char *p = text;
    char *at;
    while (*p) {
        assert_true(n < POINTS_MAX);
        times[n] = strtoll(p, &at, 10);
        size_t len = strcspn(at, "|");
        h[n++] = parse(a, at, len);
        p = at + len + (at[len] == '|');
    }
    return n;
}

/* Numbers may differ by rounding, as in Prometheus' own comparison. */
static bool near(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (a == b)
        return true;
    double size = fabs(a) + fabs(b);
    return fabs(a - b) / (size < 1.797e308 ? size : 1.797e308) < 1e-6;
}

static bool near_side(struct ks_histogram *a, struct ks_histogram_side *x, struct ks_histogram *b,
                      struct ks_histogram_side *y)
{
    struct ks_histogram_walk v = ks_histogram_walk(a, x, false), w = ks_histogram_walk(b, y, false);
    int32_t i, j;
    double c, d;
    if (x->bucket_count != y->bucket_count)
        return false;
    while (ks_histogram_step(&v, &i, &c))
        if (!ks_histogram_step(&w, &j, &d) || i != j || !near(c, d))
            return false;
    return true;
}

static bool near_histogram(struct ks_arena *arena, struct ks_histogram a, struct ks_histogram b)
{
    assert_int_equal(ks_histogram_compact(arena, 0, &a), KS_OK);
    assert_int_equal(ks_histogram_compact(arena, 0, &b), KS_OK);
    return a.schema == b.schema && near(a.count.f, b.count.f) && near(a.sum, b.sum) &&
           near(a.zero_count.f, b.zero_count.f) && near(a.zero_threshold, b.zero_threshold) &&
           (!ks_histogram_is_custom(&a) || ks_histogram_same_bounds(&a, &b)) &&
           near_side(&a, &a.positive, &b, &b.positive) &&
           near_side(&a, &a.negative, &b, &b.negative);
}

struct result {
    bool is_number, any;
    double number;
    struct ks_histogram h;
    unsigned notes;
};

static double scalar(const struct row *r, const struct ks_histogram *h, unsigned *notes)
{
    char *end;
    double x = strtod(r->args, &end), y = *end ? strtod(end, NULL) : 0;
    if (!strcmp(r->fn, "count"))
        return h->count.f;
    if (!strcmp(r->fn, "sum"))
        return h->sum;
    if (!strcmp(r->fn, "avg"))
        return ks_hist_avg(h);
    if (!strcmp(r->fn, "stddev"))
        return ks_hist_stddev(h);
    if (!strcmp(r->fn, "stdvar"))
        return ks_hist_stdvar(h);
    if (!strcmp(r->fn, "quantile"))
        return ks_hist_quantile(x, h, notes);
    assert_string_equal(r->fn, "fraction");
    return ks_hist_fraction(x, y, h, notes);
}

static ks_err pair(struct ks_arena *a, const struct row *r, struct ks_histogram *h,
                   struct result *ret)
{
    ret->any = true;
    ks_err err = ks_histogram_copy_buckets(a, h, &ret->h);
    if (!strcmp(r->fn, "mul"))
        ks_hist_mul(&ret->h, strtod(r->args, NULL));
    else if (!strcmp(r->fn, "div"))
        ks_hist_div(&ret->h, strtod(r->args, NULL));
    else if (!strcmp(r->fn, "add"))
        err = ks_hist_add(a, &ret->h, &h[1], &ret->notes);
    else
        err = ks_hist_sub(a, &ret->h, &h[1], &ret->notes);
    ret->any = !(ret->notes & KS_HIST_FATAL);
    return err;
}

static ks_err window(struct ks_arena *a, const struct row *r, const struct ks_hist_window *w,
                     struct result *ret)
{
    if (!strcmp(r->fn, "sum_over_time"))
        return ks_hist_sum_over_time(a, w, &ret->h, &ret->any, &ret->notes);
    if (!strcmp(r->fn, "avg_over_time"))
        return ks_hist_avg_over_time(a, w, &ret->h, &ret->any, &ret->notes);
    if (!strcmp(r->fn, "irate") || !strcmp(r->fn, "idelta"))
        return ks_hist_instant(a, w, r->fn[1] == 'r', &ret->h, &ret->any, &ret->notes);
    if (!strcmp(r->fn, "resets") || !strcmp(r->fn, "changes")) {
        ret->is_number = ret->any = true;
        ret->number = (double)(r->fn[0] == 'r' ? ks_hist_resets(w) : ks_hist_changes(w));
        return KS_OK;
    }
    enum ks_hist_rate kind = !strcmp(r->fn, "rate")       ? KS_HIST_RATE
                             : !strcmp(r->fn, "increase") ? KS_HIST_INCREASE
                                                          : KS_HIST_DELTA;
    return ks_hist_rate(a, w, kind, &ret->h, &ret->any, &ret->notes);
}

static void run(struct ks_arena *a, const struct row *r, struct result *ret)
{
    static struct ks_histogram h[POINTS_MAX];
    int64_t times[POINTS_MAX];
    size_t n = parse_points(a, r->points, h, times);
    *ret = (struct result){0};
    if (strstr("count sum avg stddev stdvar quantile fraction", r->fn)) {
        ret->is_number = ret->any = true;
        ret->number = scalar(r, h, &ret->notes);
        return;
    }
    if (strstr("mul div add sub", r->fn)) {
        assert_int_equal(pair(a, r, h, ret), KS_OK);
        return;
    }
    char *end;
    struct ks_hist_window w = {h, times, n, strtoll(r->args, &end, 10), 0};
    w.end_ms = strtoll(end, NULL, 10);
    assert_int_equal(window(a, r, &w, ret), KS_OK);
}

static const char *note_of(unsigned notes)
{
    return !notes ? "" : notes & 15 ? "warn" : "info";
}

static bool row_holds(struct ks_arena *a, const struct row *r, const struct result *got)
{
    if (r->note[0] != '?' && strcmp(r->note, note_of(got->notes)) != 0)
        return false;
    if (!strcmp(r->want, "none"))
        return !got->any;
    if (!got->any || got->is_number != (r->want[0] != '{'))
        return false;
    if (got->is_number)
        return near(got->number, strtod(r->want, NULL));
    return near_histogram(a, got->h, parse(a, r->want, strlen(r->want)));
}

static void test_prometheus_results(void **state)
{
    unsigned failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ks_arena a;
        struct result got;
        ks_arena_init(&a, 16 << 20);
        run(&a, &rows[i], &got);
        if (!row_holds(&a, &rows[i], &got)) {
            struct ks_buf b;
            ks_buf_init(&b, 1 << 16);
            if (got.any && !got.is_number)
                assert_int_equal(ks_histogram_notation(&a, &got.h, &b), KS_OK);
            print_error("%s(%s) %s\n  want %s %s\n  got  any %d %.17g %.*s notes %u\n", rows[i].fn,
                        rows[i].args, rows[i].points, rows[i].want, rows[i].note, got.any,
                        got.number, (int)b.len, b.ptr, got.notes);
            ks_buf_done(&b);
            failed++;
        }
        ks_arena_done(&a);
    }
    assert_int_equal(failed, 0);
}

/* --- laws, against a naive model: a map from index to count --- */

static uint64_t seed = 88172645463325252u;
static uint32_t draw(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % n;
}

enum { LO = -40, HI = 40 };

static void random_side(struct ks_arena *a, struct ks_histogram *h, struct ks_histogram_side *s)
{
    struct ks_histogram_span *spans = ks_arena_array(a, 16, sizeof *spans);
    double *counts = ks_arena_array(a, HI - LO + 1, sizeof *counts);
    uint32_t k = 0, n = 0;
    int next = 0;
    for (int i = LO + (int)draw(30); i < HI && k < 16; i += 1 + (int)draw(9)) {
        spans[k++] = (struct ks_histogram_span){i - next, 0};
        for (uint32_t len = draw(5); len && i < HI; len--, i++) {
            counts[n++] = draw(4) ? draw(100) : 0;
            spans[k - 1].length++;
        }
        next = i;
    }
    *s = (struct ks_histogram_side){spans, k, n, {.counts = counts}};
    for (uint32_t i = 0; i < n; i++)
        h->count.f += counts[i];
}

static struct ks_histogram random_histogram(struct ks_arena *a)
{
    struct ks_histogram h = {.is_float = true, .schema = (int32_t)draw(6) - 1, .sum = draw(1000)};
    random_side(a, &h, &h.positive);
    random_side(a, &h, &h.negative);
    h.zero_count.f = draw(3) ? draw(50) : 0;
    int32_t low = h.positive.bucket_count ? h.positive.spans[0].offset : HI;
    if (h.negative.bucket_count && h.negative.spans[0].offset < low)
        low = h.negative.spans[0].offset;
    /* No bucket lies inside the zero bucket of its own histogram, but maybe inside another's. */
    h.zero_threshold = draw(3) ? ks_histogram_bound(&h, low - 1 - (int32_t)draw(2)) : 0;
    h.count.f += h.zero_count.f;
    assert_int_equal(ks_histogram_check_layout(&h), KS_OK);
    return h;
}

static double total(const struct ks_histogram *h)
{
    struct ks_histogram_cursor c = ks_histogram_cursor(h, false);
    struct ks_histogram_bucket b;
    double sum = 0;
    while (ks_histogram_next(&c, &b))
        sum += b.count;
    return sum;
}

static void model(const struct ks_histogram *h, const struct ks_histogram_side *s, int32_t schema,
                  double *out)
{
    struct ks_histogram_walk w = ks_histogram_walk(h, s, false);
    int32_t i;
    double c;
    while (ks_histogram_step(&w, &i, &c))
        out[(int)ceil(ldexp(i, schema - h->schema)) - 8 * LO] += c;
}

static void check_sum(struct ks_arena *a, struct ks_histogram *x, struct ks_histogram *y)
{
    enum { SIZE = 16 * HI };
    double want[SIZE] = {0}, got[SIZE] = {0};
    struct ks_histogram sum;
    unsigned notes = 0;
    x->zero_threshold = y->zero_threshold = 0;
    int32_t schema = x->schema < y->schema ? x->schema : y->schema;
    assert_int_equal(ks_histogram_copy_buckets(a, x, &sum), KS_OK);
    assert_int_equal(ks_hist_add(a, &sum, y, &notes), KS_OK);
    assert_int_equal(notes, 0);
    assert_int_equal(sum.schema, schema);
    assert_int_equal(ks_histogram_check_layout(&sum), KS_OK);
    model(x, &x->positive, schema, want);
    model(y, &y->positive, schema, want);
    model(&sum, &sum.positive, schema, got);
    assert_memory_equal(want, got, sizeof want);
}

static void test_add_against_model(void **state)
{
    for (int round = 0; round < 3000; round++) {
        struct ks_arena a;
        ks_arena_init(&a, 1 << 20);
        struct ks_histogram x = random_histogram(&a), y = random_histogram(&a), sum;
        unsigned notes = 0;
        assert_int_equal(ks_histogram_copy_buckets(&a, &x, &sum), KS_OK);
        assert_int_equal(ks_hist_add(&a, &sum, &y, &notes), KS_OK);
        assert_true(sum.count.f == x.count.f + y.count.f);
        assert_true(total(&sum) ==
                    sum.count.f); /* no observation is lost, whatever zero buckets and schemas do */
        assert_int_equal(ks_histogram_check_layout(&sum), KS_OK);
        assert_int_equal(ks_hist_sub(&a, &sum, &y, &notes), KS_OK);
        assert_true(total(&sum) == x.count.f);
        sum.hint = KS_HISTOGRAM_UNKNOWN;
        check_sum(&a, &x, &y);
        ks_arena_done(&a);
    }
}

static void test_reset_laws(void **state)
{
    for (int round = 0; round < 3000; round++) {
        struct ks_arena a;
        ks_arena_init(&a, 1 << 20);
        struct ks_histogram x = random_histogram(&a), y = random_histogram(&a), sum;
        unsigned notes = 0;
        y.hint = draw(2) ? KS_HISTOGRAM_UNKNOWN : KS_HISTOGRAM_GAUGE;
        assert_int_equal(ks_histogram_copy_buckets(&a, &x, &sum), KS_OK);
        assert_false(ks_hist_detect_reset(&x, &x));
        assert_int_equal(ks_hist_add(&a, &sum, &y, &notes), KS_OK);
        assert_false(
            ks_hist_detect_reset(&sum, &x)); /* more observations, maybe coarser: no reset */
        if (sum.count.f > x.count.f)
            assert_true(ks_hist_detect_reset(&x, &sum));
        sum.hint = KS_HISTOGRAM_RESET;
        assert_true(ks_hist_detect_reset(&sum, &x));
        ks_arena_done(&a);
    }
}

static void test_quantile_laws(void **state)
{
    for (int round = 0; round < 3000; round++) {
        struct ks_arena a;
        ks_arena_init(&a, 1 << 20);
        struct ks_histogram x = random_histogram(&a);
        unsigned notes = 0;
        double before = -INFINITY;
        if (x.count.f == 0)
            assert_true(isnan(ks_hist_quantile(0.5, &x, &notes)));
        for (double q = 0; x.count.f > 0 && q <= 1; q += 0.03125) {
            double v = ks_hist_quantile(q, &x, &notes),
                   back = ks_hist_fraction(-INFINITY, v, &x, &notes);
            assert_true(v >= before - 1e-9 * fabs(before));      /* ascending */
            assert_true(back >= q - 1e-6 || x.zero_count.f > 0); /* its inverse; gaps give more */
            before = v;
        }
        assert_int_equal(notes, 0);
        ks_arena_done(&a);
    }
}

static void test_mixed_kinds_are_refused(void **state)
{
    struct ks_arena a;
    unsigned notes = 0;
    ks_arena_init(&a, 1 << 20);
    const char *custom = "{{schema:-53 count:1 sum:1 custom_values:[5 10] buckets:[1]}}";
    const char *other = "{{schema:-53 count:1 sum:1 custom_values:[5 11] buckets:[1]}}";
    struct ks_histogram x = parse(&a, "{{count:1 sum:1 buckets:[1]}}", 29),
                        y = parse(&a, custom, strlen(custom)), z = parse(&a, other, strlen(other));
    assert_int_equal(ks_hist_add(&a, &x, &y, &notes), KS_OK);
    assert_int_equal(notes, KS_HIST_MIXED_SCHEMAS);
    notes = 0;
    assert_int_equal(ks_hist_sub(&a, &y, &z, &notes), KS_OK);
    assert_int_equal(notes, KS_HIST_MIXED_BOUNDS);
    assert_true(ks_hist_detect_reset(&z, &y));
    ks_arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prometheus_results),
        cmocka_unit_test(test_add_against_model),
        cmocka_unit_test(test_reset_laws),
        cmocka_unit_test(test_quantile_laws),
        cmocka_unit_test(test_mixed_kinds_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
