/*
 * Rollups: nanoseconds per sample and step on the shape of a dashboard panel, 360 samples (15 s
 * apart) × 340 steps. Windows of 5 minutes (20 samples). Values as real metrics have them: counters
 * and whole numbers, and fractions.
 */
#include <math.h>
#include <stdio.h>

#include "query/promql/rollup/rollup.h"
#include "sys/clock.h"
#include "sys/rand.h"

enum { SAMPLES = 360, STEPS = 340, INTERVAL_MS = 15000, SETS = 64, ROUNDS = 40 };

static int64_t times[SAMPLES];
static double values[SETS][SAMPLES];

enum shape { COUNTER, RESETS, INTEGERS, FRACTIONS };
static const char *const shape_names[] = {"counter", "counter, resets", "integers", "fractions"};

static void fill(enum shape shape)
{
    uint64_t rng = 7;
    for (int s = 0; s < SETS; s++) {
        double v = 1000;
        for (int i = 0; i < SAMPLES; i++) {
            times[i] = 1700000000000 + (int64_t)i * INTERVAL_MS + (int64_t)ks_rng_below(&rng, 3);
            if (shape == COUNTER || shape == RESETS)
                v += (double)ks_rng_below(&rng, 100);
            if (shape == RESETS && ks_rng_below(&rng, 90) == 0)
                v = 0;
            if (shape == INTEGERS)
                v = (double)ks_rng_below(&rng, 100000);
            if (shape == FRACTIONS)
                v = ks_rng_double(&rng) * 100;
            values[s][i] = v;
        }
    }
}

static void measure(const char *name, bool strict, enum shape shape, int64_t window_ms)
{
    static double out[STEPS];
    struct ks_rollup_scratch scratch = {0};
    struct ks_rollup_arg phi = {.value = 0.95};
    struct ks_rollup_config cfg = {
        .func =
            ks_promql_func_find(strict ? KS_PROMQL_STRICT : KS_METRICSQL, ks_slice_str(name))->id,
        .strict = strict,
        .start_ms = 1700000000000 + 20 * INTERVAL_MS,
        .step_ms = INTERVAL_MS,
        .window_ms = window_ms,
        .args = &phi,
    };
    cfg.end_ms = cfg.start_ms + (STEPS - 1) * cfg.step_ms;
    cfg.arg_count = ks_rollup_check(&cfg) == KS_OK ? 0 : 1;
    double sum = 0;
    int64_t best = INT64_MAX;
    fill(shape);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = ks_mono_us();
        for (int s = 0; s < SETS; s++) {
            if (ks_rollup_run(&cfg, times, values[s], SAMPLES, &scratch, out) != KS_OK)
                return;
            sum += isnan(out[STEPS - 1]) ? 0 : out[STEPS - 1];
        }
        int64_t took = ks_mono_us() - start;
        best = took < best ? took : best;
    }
    ks_rollup_scratch_done(&scratch);
    printf("%-20s %-9s %-16s window %5llds  %6.2f ns/(sample+step)  (%g)\n", name,
           strict ? "strict" : "metricsql", shape_names[shape], (long long)window_ms / 1000,
           (double)best * 1e3 / SETS / (SAMPLES + STEPS), sum);
}

int main(void)
{
    static const struct {
        const char *name;
        enum shape shape;
    } runs[] = {
        {"rate", COUNTER},
        {"rate", RESETS},
        {"increase", COUNTER},
        {"avg_over_time", INTEGERS},
        {"avg_over_time", FRACTIONS},
        {"max_over_time", FRACTIONS},
        {"quantile_over_time", INTEGERS},
        {"quantile_over_time", FRACTIONS},
        {"changes", INTEGERS},
        {"stddev_over_time", FRACTIONS},
        {"deriv", FRACTIONS},
    };
    for (int strict = 0; strict < 2; strict++)
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
            measure(runs[i].name, strict, runs[i].shape, 300000);
    measure("max_over_time", false, FRACTIONS, 3600000);
    measure("avg_over_time", false, INTEGERS, 3600000);
    measure("quantile_over_time", false, FRACTIONS, 3600000);
    measure("last_over_time", false, FRACTIONS, 300000);
    return 0;
}
