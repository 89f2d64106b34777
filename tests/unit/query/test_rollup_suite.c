/*
 * The published behaviour of MetricsQL's rollup functions as a table: what VictoriaMetrics 1.150
 * answers. Instant cases see one series whole; range cases walk a grid.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/bytes.h"
#include "query/promql/rollup/rollup.h"

struct series {
    size_t count;
    int64_t times[12];
    double values[12];
};
static const struct series all_series[] = {
    {12,
     {5, 15, 24, 36, 49, 60, 78, 80, 97, 115, 120, 130},
     {123, 34, 44, 21, 54, 34, 99, 12, 44, 32, 34, 34}},
    {4, {0, 15000, 30000, 70000}, {1, 1, 1, 1}},
    {4, {0, 10000, 70000, 80000}, {50, 50, 1, 1}},
};

/* f(args, m[d]) at the last sample, d reaching just before the first one of series 0. */
static const struct {
    const char *func;
    double args[2];
    size_t arg_count;
    double want;
} instant_cases[] = {
    {"duration_over_time", {0}, 1, 0},
    {"duration_over_time", {0.001}, 1, 0},
    {"duration_over_time", {0.01}, 1, 0.036},
    {"share_le_over_time", {0}, 1, 0},
    {"share_le_over_time", {50}, 1, 0.75},
    {"share_gt_over_time", {-123}, 1, 1},
    {"share_gt_over_time", {10}, 1, 1},
    {"share_gt_over_time", {30}, 1, 0.8333333333333334},
    {"share_gt_over_time", {50}, 1, 0.25},
    {"share_gt_over_time", {123}, 1, 0},
    {"share_gt_over_time", {1000}, 1, 0},
    {"share_eq_over_time", {-123}, 1, 0},
    {"share_eq_over_time", {34}, 1, 0.3333333333333333},
    {"share_eq_over_time", {44}, 1, 0.16666666666666666},
    {"count_le_over_time", {-123}, 1, 0},
    {"count_le_over_time", {0}, 1, 0},
    {"count_le_over_time", {12}, 1, 1},
    {"count_le_over_time", {30}, 1, 2},
    {"count_le_over_time", {123}, 1, 12},
    {"count_le_over_time", {1000}, 1, 12},
    {"count_gt_over_time", {-123}, 1, 12},
    {"count_gt_over_time", {0}, 1, 12},
    {"count_gt_over_time", {10}, 1, 12},
    {"count_gt_over_time", {50}, 1, 3},
    {"count_gt_over_time", {100}, 1, 1},
    {"count_gt_over_time", {1000}, 1, 0},
    {"count_eq_over_time", {-123}, 1, 0},
    {"count_eq_over_time", {0}, 1, 0},
    {"count_eq_over_time", {34}, 1, 4},
    {"count_eq_over_time", {123}, 1, 1},
    {"count_eq_over_time", {12}, 1, 1},
    {"count_ne_over_time", {34}, 1, 8},
    {"count_ne_over_time", {12}, 1, 11},
    {"sum_le_over_time", {-123}, 1, 0},
    {"sum_le_over_time", {10}, 1, 0},
    {"sum_le_over_time", {30}, 1, 33},
    {"sum_le_over_time", {50}, 1, 289},
    {"sum_le_over_time", {100}, 1, 442},
    {"sum_le_over_time", {1000}, 1, 565},
    {"sum_gt_over_time", {10}, 1, 565},
    {"sum_gt_over_time", {30}, 1, 532},
    {"sum_gt_over_time", {50}, 1, 276},
    {"sum_gt_over_time", {1000}, 1, 0},
    {"sum_eq_over_time", {-123}, 1, 0},
    {"sum_eq_over_time", {0}, 1, 0},
    {"sum_eq_over_time", {100}, 1, 0},
    {"sum_eq_over_time", {123}, 1, 123},
    {"sum_eq_over_time", {1000}, 1, 0},
    {"quantile_over_time", {-123}, 1, -INFINITY},
    {"quantile_over_time", {-0.5}, 1, -INFINITY},
    {"quantile_over_time", {0}, 1, 12},
    {"quantile_over_time", {0.1}, 1, 22.1},
    {"quantile_over_time", {0.9}, 1, 94.50000000000001},
    {"quantile_over_time", {234}, 1, INFINITY},
    {"holt_winters", {1, 0.5}, 2, 34},
    {"holt_winters", {2, 0.5}, 2, NAN},
    {"holt_winters", {0.5, 1}, 2, 25.25},
    {"holt_winters", {0.5, 2}, 2, NAN},
    {"holt_winters", {0.5, 0.5}, 2, 34.97794532775879},
    {"holt_winters", {0.1, 0.5}, 2, -131.30529492371622},
    {"holt_winters", {0.1, 0.1}, 2, -397.3307790780296},
    {"hoeffding_bound_lower", {0.5}, 1, 28.21949401521037},
    {"hoeffding_bound_lower", {0}, 1, 47.083333333333336},
    {"hoeffding_bound_lower", {1}, 1, -INFINITY},
    {"hoeffding_bound_lower", {2}, 1, -INFINITY},
    {"hoeffding_bound_lower", {0.1}, 1, 39.72878000047643},
    {"hoeffding_bound_lower", {0.9}, 1, 12.701803086472331},
    {"hoeffding_bound_upper", {0.5}, 1, 65.9471726514563},
    {"hoeffding_bound_upper", {-1}, 1, 47.083333333333336},
    {"hoeffding_bound_upper", {0}, 1, 47.083333333333336},
    {"hoeffding_bound_upper", {1}, 1, INFINITY},
    {"hoeffding_bound_upper", {2}, 1, INFINITY},
    {"hoeffding_bound_upper", {0.1}, 1, 54.43788666619024},
    {"hoeffding_bound_upper", {0.9}, 1, 81.46486358019433},
    {"changes_prometheus", {0}, 0, 10},
    {"delta", {0}, 0, 34},
    {"delta_prometheus", {0}, 0, -89},
    {"deriv", {0}, 0, -266.85860231406093},
    {"deriv_fast", {0}, 0, -712},
    {"idelta", {0}, 0, 0},
    {"increase", {0}, 0, 398},
    {"increase_prometheus", {0}, 0, 275},
    {"irate", {0}, 0, 0},
    {"rate", {0}, 0, 2200},
    {"rate_prometheus", {0}, 0, 2182.5396825396824},
    {"resets", {0}, 0, 5},
    {"range_over_time", {0}, 0, 111},
    {"avg_over_time", {0}, 0, 47.083333333333336},
    {"mad_over_time", {0}, 0, 10},
    {"tfirst_over_time", {0}, 0, 0.005},
    {"sum_over_time", {0}, 0, 565},
    {"sum2_over_time", {0}, 0, 37951},
    {"count_over_time", {0}, 0, 12},
    {"stdvar_over_time", {0}, 0, 945.7430555555555},
    {"last_over_time", {0}, 0, 34},
    {"distinct_over_time", {0}, 0, 8},
    {"ideriv", {0}, 0, 0},
    {"ascent_over_time", {0}, 0, 142},
    {"descent_over_time", {0}, 0, 231},
    {"timestamp", {0}, 0, 0.13},
    {"mode_over_time", {0}, 0, 34},
    {"rate_over_sum", {0}, 0, 4484.126984126984},
};

static const struct {
    const char *func;
    int series;
    int64_t start, end, step, window, lookback;
    size_t count;
    double want[12];
} range_cases[] = {
    {"delta", 0, 120, 148, 4, 0, 0, 8, {2, 0, 0, 0, NAN, NAN, NAN, NAN}},
    {"first_over_time", 0, 0, 4, 1, 3, 0, 5, {NAN, NAN, NAN, NAN, NAN}},
    {"first_over_time", 0, 0, 25, 5, 0, 0, 6, {NAN, 123, NAN, 34, NAN, 44}},
    {"first_over_time", 0, 100, 160, 20, 0, 0, 4, {44, 32, 34, NAN}},
    {"first_over_time", 0, -50, 150, 50, 0, 0, 5, {NAN, NAN, 123, 34, 32}},
    {"default_rollup", 0, 0, 20, 5, 8, 0, 5, {NAN, 123, 123, 34, 34}},
    {"default_rollup", 0, 100, 160, 20, 18, 0, 4, {44, 34, 34, NAN}},
    {"default_rollup", 0, 0, 150, 50, 19, 0, 4, {NAN, 54, 44, NAN}},
    {"first_over_time", 0, 80, 140, 10, 0, 1, 7, {99, NAN, 44, NAN, 32, 34, NAN}},
    {"first_over_time", 0, 80, 140, 10, 0, 7, 7, {99, NAN, 44, NAN, 32, 34, NAN}},
    {"first_over_time", 0, 80, 140, 10, 0, 0, 7, {99, NAN, 44, NAN, 32, 34, NAN}},
    {"first_over_time", 0, 0, 160, 40, 0, 0, 5, {NAN, 123, 54, 44, 34}},
    {"count_over_time", 0, 0, 160, 40, 0, 0, 5, {NAN, 4, 4, 3, 1}},
    {"min_over_time", 0, 0, 160, 40, 0, 0, 5, {NAN, 21, 12, 32, 34}},
    {"sum_over_time", 0, 0, 160, 40, 0, 0, 5, {NAN, 222, 199, 110, 34}},
    {"delta", 0, 0, 160, 40, 0, 0, 5, {NAN, 21, -9, 22, 0}},
    {"scrape_interval",
     0,
     0,
     160,
     40,
     80,
     0,
     5,
     {NAN, 0.010333333333333333, 0.010714285714285714, 0.012, 0.0125}},
    {"changes", 0, 0, 160, 40, 0, 0, 5, {NAN, 4, 4, 3, 0}},
    {"changes_prometheus", 0, 0, 160, 40, 0, 0, 5, {NAN, 3, 3, 2, 0}},
    {"resets", 0, 0, 160, 40, 0, 0, 5, {NAN, 2, 2, 1, 0}},
    {"avg_over_time", 0, 0, 160, 40, 0, 0, 5, {NAN, 55.5, 49.75, 36.666666666666664, 34}},
    {"integrate", 0, 0, 160, 40, 0, 0, 5, {NAN, 2.148, 1.593, 1.156, 0.34}},
    {"distinct_over_time", 0, 0, 160, 40, 80, 0, 5, {NAN, 4, 7, 6, 3}},
    {"rate_over_sum", 0, 0, 160, 40, 80, 0, 5, {NAN, 2775, 5262.5, 3862.5, 1800}},
    {"delta", 1, 0, 70000, 45000, 0, 0, 2, {1, 0}},
    {"delta", 1, 0, 70000, 45000, 0, 10000, 2, {1, 0}},
    {"delta", 1, 0, 70000, 10000, 0, 0, 8, {1, 0, 0, 0, 0, 0, 0, 0}},
    {"delta", 1, 0, 70000, 10000, 0, 30000, 8, {1, 0, 0, 0, 0, 0, 0, 1}},
    {"delta", 2, 0, 90000, 30000, 0, 55000, 4, {0, 0, 0, 1}},
    {"changes", 1, 0, 70000, 45000, 0, 0, 2, {1, 0}},
    {"changes", 1, 0, 70000, 10000, 0, 30000, 8, {1, 0, 0, 0, 0, 0, 0, 1}},
};

static bool close_to(double want, double got)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got);
    return want == got || fabs(got - want) <= 1e-13 * fabs(want) || fabs(got - want) <= 1e-14;
}

static enum ks_promql_func_id func_of(const char *name)
{
    const struct ks_promql_func *f = ks_promql_func_find(KS_METRICSQL, ks_slice_str(name));
    assert_non_null(f);
    return f->id;
}

/* Gives the run what a fetch would: the samples inside the fetch range. */
static void run(const struct ks_rollup_config *cfg, const struct series *s, double *out)
{
    struct ks_rollup_scratch scratch = {0};
    int64_t min_ms, max_ms;
    assert_int_equal(ks_rollup_check(cfg), KS_OK);
    ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
    size_t from = 0, to = s->count;
    while (from < to && s->times[from] < min_ms)
        from++;
    while (to > from && s->times[to - 1] > max_ms)
        to--;
    assert_int_equal(
        ks_rollup_run(cfg, s->times + from, s->values + from, to - from, &scratch, out), KS_OK);
    ks_rollup_scratch_done(&scratch);
}

static void test_instant_cases(void **state)
{
    const struct series *s = &all_series[0];
    int64_t first = s->times[0], last = s->times[s->count - 1];
    for (size_t i = 0; i < sizeof instant_cases / sizeof *instant_cases; i++) {
        struct ks_rollup_arg args[2] = {{.value = instant_cases[i].args[0]},
                                        {.value = instant_cases[i].args[1]}};
        struct ks_rollup_config cfg = {
            .func = func_of(instant_cases[i].func),
            .start_ms = last,
            .end_ms = last,
            .step_ms = 300000,
            .window_ms = last - first + 1,
            .args = args,
            .arg_count = instant_cases[i].arg_count,
        };
        double got;
        run(&cfg, s, &got);
        if (!close_to(instant_cases[i].want, got))
            fail_msg("%s(%g): want %.17g, got %.17g", instant_cases[i].func, args[0].value,
                     instant_cases[i].want, got);
    }
}

static void test_range_cases(void **state)
{
    for (size_t i = 0; i < sizeof range_cases / sizeof *range_cases; i++) {
        struct ks_rollup_config cfg = {
            .func = func_of(range_cases[i].func),
            .start_ms = range_cases[i].start,
            .end_ms = range_cases[i].end,
            .step_ms = range_cases[i].step,
            .window_ms = range_cases[i].window,
            .lookback_delta_ms = range_cases[i].lookback,
        };
        double got[12];
        assert_int_equal(ks_rollup_points(&cfg), range_cases[i].count);
        run(&cfg, &all_series[range_cases[i].series], got);
        for (size_t k = 0; k < range_cases[i].count; k++)
            if (!close_to(range_cases[i].want[k], got[k]))
                fail_msg("case %zu %s point %zu: want %.17g, got %.17g", i, range_cases[i].func, k,
                         range_cases[i].want[k], got[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instant_cases),
        cmocka_unit_test(test_range_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
