/*
 * Any text as a query, parsed and evaluated in both dialects over a few series in memory. First
 * byte: dialect, range or instant, grid. Nothing may crash, leak, or run away.
 */
#include <stdint.h>

#include "base/num.h"
#include "sys/clock.h"
#include "tests/support/memory_source.h"

static struct memory_source data;

static void fill(void)
{
    static const char *const sets[][9] = {
        {"__name__", "foo", "job", "a", "instance", "x", NULL},
        {"__name__", "foo", "job", "a", "instance", "y", NULL},
        {"__name__", "bar", "job", "a", NULL},
        {"__name__", "h_bucket", "le", "1", NULL},
        {"__name__", "h_bucket", "le", "5", NULL},
        {"__name__", "h_bucket", "le", "+Inf", NULL},
        {"__name__", "v", "vmrange", "1.000e+00...1.136e+00", NULL},
    };
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        size_t at = memory_source_add(&data, sets[s]);
        for (int i = 0; i < 30; i++)
            memory_source_sample(&data, at, 15000 * i,
                                 i == 17 ? ks_stale_nan() : (double)(i % 11) * (double)(s + 1));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
    if (!data.count)
        fill();
    if (size < 1 || size > 600)
        return 0;
    struct ks_query_source src = memory_source_view(&data);
    struct ks_arena arena;
    struct ks_promql_result r;
    bool range = in[0] & 2;
    ks_arena_init(&arena, 32 << 20);
    struct ks_promql_request req = {
        .query = ks_slice(in + 1, size - 1),
        .dialect = in[0] & 1 ? KS_PROMQL_STRICT : KS_METRICSQL,
        .range = range,
        .start_ms = 120000,
        .end_ms = range ? 400000 : 120000,
        .step_ms = 15000,
        .no_cache = in[0] & 4,
        .round_digits = in[0] & 8 ? 3 : 100,
        .multitenant = in[0] & 16,
        .experimental_functions = in[0] & 32,
        .duration_expressions = in[0] & 32,
        .delayed_name_removal = in[0] & 64,
        .type_and_unit_labels = in[0] & 128,
        .now_ms = 410000,
        .latency_offset_ms = 30000,
        .limits = {.max_points_per_series = 500,
                   .max_subquery_points = 2000,
                   .max_memory_bytes = 32 << 20},
        .deadline_mono_ms = ks_mono_ms() + 2000,
    };
    (void)!ks_promql_exec_source(&src, &req, &arena, &r);
    ks_arena_done(&arena);
    return 0;
}
