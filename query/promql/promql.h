/*
 * Running a query: text in, series out. MetricsQL (as VictoriaMetrics answers) and strict PromQL
 * (as Prometheus answers) over one engine. The caller owns the arena: results live in it. Any
 * thread; work is spread over the engine's pool.
 */
#ifndef KS_QUERY_PROMQL_PROMQL_H
#define KS_QUERY_PROMQL_PROMQL_H

#include <stdatomic.h>
#include <string.h>

#include "base/arena.h"
#include "engine/engine.h"
#include "query/promql/syntax/dialect.h"

/* What a selected series costs while a query runs, roughly. */
enum { KS_SERIES_COST_BYTES = 512 };

struct ks_promql_limits {
    size_t max_query_len;           /* bytes; 0 = 16 KiB */
    uint64_t max_points_per_series; /* 0 = 30e3 */
    uint64_t max_subquery_points;   /* 0 = 100e3 */
    uint64_t max_series;            /* per selector; 0 = max_memory_bytes / KS_SERIES_COST_BYTES */
    uint64_t max_samples;           /* per query; 0 = 1e9 */
    size_t max_memory_bytes;        /* of the query; 0 = 1 GiB */
};

struct ks_result_cache; /* result_cache.h */

/* A step of a query and the steps within. */
struct ks_promql_trace {
    struct ks_slice message, outcome;
    int64_t begun_us, duration_us; /* monotonic */
    struct ks_promql_trace *children, *next, *last, *up;
};

struct ks_promql_request {
    struct ks_slice query;
    enum ks_dialect dialect;
    bool range;                        /* query_range; else instant at start_ms = end_ms */
    int64_t start_ms, end_ms, step_ms; /* step > 0 also for instant (default 5m) */
    const struct ks_tenant
        *tenants; /* NULL: all (multitenant: adds vm_account_id, vm_project_id) */
    size_t tenant_count;
    bool multitenant;
    /* ANDed to every selector: the OR of these AND-lists (extra_filters × extra_label, already
     * merged). */
    const struct ks_selector *extra_filters;
    size_t extra_filter_count;
    int64_t lookback_ms;       /* max_lookback; 0 = dialect default */
    int64_t latency_offset_ms; /* MetricsQL: points younger than this repeat the value before; 0 =
                                  none */
    bool no_cache; /* nocache=1: no alignment of the range, no latency offset, no result cache */
    struct ks_result_cache *cache; /* results of closed ranges are kept there; NULL: nowhere */
    int round_digits;              /* 100 = off */
    int64_t now_ms;
    struct ks_promql_limits limits;
    int64_t deadline_mono_ms;
    _Atomic int *cancel;
    bool trace; /* the result has a tree of steps and times */
    /* Called for each metric name a selector asks for by name; NULL: nobody cares. */
    void (*on_name)(void *arg, struct ks_slice name);
    void *on_name_arg;
    /* Strict: what Prometheus has behind --enable-feature. */
    bool experimental_functions, duration_expressions, delayed_name_removal, type_and_unit_labels;
};

enum ks_value_type { KS_VALUE_SCALAR, KS_VALUE_STRING, KS_VALUE_VECTOR, KS_VALUE_MATRIX };

struct ks_promql_series {
    struct ks_slice labels; /* canonical label bytes (base/labels.h); empty = no labels */
    struct ks_tenant tenant;
    /* grid result: values[i] at start + i·step, NaN bit pattern KS_ABSENT_BITS = no point (a NaN
     * *value* in strict is a plain NaN). raw result (times != NULL): count samples with their own
     * times. */
    const int64_t *times;
    const double *values;
    size_t count;
};
/* Marks "no point here" in grids: a NaN of our own, never stored and never printed. */
#define KS_ABSENT_BITS 0x7ff8dead00000001u

/* A point that is a native histogram (strict only): such a NaN, its low half the number in the
 * result's table. */
#define KS_HISTOGRAM_BITS 0x7ff8bead00000000u
struct ks_histogram;

struct ks_promql_result {
    enum ks_value_type type;
    struct ks_slice text; /* KS_VALUE_STRING */
    struct ks_promql_series *series;
    size_t series_count;
    int64_t start_ms, end_ms, step_ms; /* the grid in effect (after alignment) */
    bool raw;                          /* bare range selector: samples as stored */
    uint64_t series_fetched, samples_read;
    struct ks_slice *warnings, *infos; /* strict annotations */
    struct ks_promql_trace *trace;     /* if asked for */
    size_t warning_count, info_count;
    const struct ks_histogram *const *histograms; /* float ones */
    size_t histogram_count;
};

/* The histogram that a point of the result is; NULL: it is a number, or no point. */
static inline const struct ks_histogram *ks_promql_histogram(const struct ks_promql_result *r,
                                                             double v)
{
    uint64_t bits, n;
    memcpy(&bits, &v, 8);
    n = bits & UINT32_MAX;
    return bits - n == KS_HISTOGRAM_BITS && n < r->histogram_count ? r->histograms[n] : NULL;
}

/*
 * Errors: KS_EPARSE/KS_EINVAL (400; "1:17: …"), KS_EEXEC/KS_ELIMIT (422), KS_ETIMEDOUT (503),
 * KS_ECANCELED, KS_ENOMEM.
 */
KS_NODISCARD ks_err ks_promql_exec(struct ks_engine *engine, const struct ks_promql_request *req,
                                   struct ks_arena *arena, struct ks_promql_result *ret);

/* One selector text like {a="b"} or foo{a="b" or c="d"} → AND-lists (match[], extra_filters). */
KS_NODISCARD ks_err ks_promql_parse_selector(struct ks_slice text, struct ks_arena *arena,
                                             struct ks_selector **ret, size_t *ret_count);
/* The AND-lists of all selectors of any expression, at most 1000 of them. */
KS_NODISCARD ks_err ks_promql_selectors(struct ks_slice text, enum ks_dialect dialect,
                                        struct ks_arena *arena, struct ks_selector **ret,
                                        size_t *ret_count);
/* Canonical and pretty text; the AST as Prometheus' parse_query JSON. */
KS_NODISCARD ks_err ks_promql_format(struct ks_slice query, enum ks_dialect dialect, bool pretty,
                                     struct ks_buf *out);
/* MetricsQL as it is evaluated: templates expanded, constants folded, filters common to both sides
 * of an operator on both. */
KS_NODISCARD ks_err ks_promql_expand(struct ks_slice query, struct ks_buf *out);
KS_NODISCARD ks_err ks_promql_ast_json(struct ks_slice query, enum ks_dialect dialect,
                                       struct ks_buf *out);

#endif
