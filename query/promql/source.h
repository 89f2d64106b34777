/*
 * Where the evaluator reads series from: a small table of functions, so that the engine, a cluster
 * of nodes and a test's in-memory series are the same to it. Implementations are immutable after
 * start; any thread may call.
 */
#ifndef KS_QUERY_PROMQL_SOURCE_H
#define KS_QUERY_PROMQL_SOURCE_H

#include "engine/engine.h"
#include "query/promql/promql.h"

/* A pinned set of matching series. Many threads may read different series at once. */
struct ks_source_set;

struct ks_query_source {
    void *arg;
    struct ks_pool *pool; /* NULL: the caller's thread does all */
    ks_err (*select)(void *arg, const struct ks_select_opts *opts, struct ks_source_set **ret);
    void (*set_free)(struct ks_source_set *set);
    size_t (*count)(const struct ks_source_set *set);
    /* Valid while the set lives. ptr NULL: out of memory. */
    struct ks_slice (*labels)(const struct ks_source_set *set, size_t i);
    /* Groups the series (engine.h), in the arena. NULL: by the labels of each. */
    ks_err (*groups)(const struct ks_source_set *set, const struct ks_group_by *by,
                     struct ks_arena *a, struct ks_series_groups *ret);
    /* A hash of tenant and labels, the same in every set. NULL: of the labels. */
    uint64_t (*key)(const struct ks_source_set *set, size_t i);
    struct ks_tenant (*tenant)(const struct ks_source_set *set, size_t i);
    /* Samples of series i in [min_ms, max_ms], ascending, unique in time; replaces what out held.
     */
    ks_err (*read)(struct ks_source_set *set, size_t i, int64_t min_ms, int64_t max_ms,
                   struct ks_samples *out);
    /* Native histograms: NULL, or whether series i has any, and those in [min_ms, max_ms] with
     * arrays from the arena. */
    bool (*has_histograms)(const struct ks_source_set *set, size_t i);
    ks_err (*read_histograms)(struct ks_source_set *set, size_t i, int64_t min_ms, int64_t max_ms,
                              struct ks_arena *arena, struct ks_histogram_run *out);
    /* The chunks of a series in order of time, whose aggregates may stand for samples. NULL: the
     * source has none. */
    size_t (*chunk_count)(const struct ks_source_set *set, size_t i);
    struct ks_chunk_view (*chunk)(const struct ks_source_set *set, size_t i, size_t chunk);
    /* ks_engine_past_watch and its kin, so that results may be kept. NULL: they may not. */
    uint64_t (*past_watch)(void *arg, int64_t until_ms);
    int64_t (*past_changed)(void *arg, uint64_t since, int64_t min_ms, int64_t max_ms);
    int64_t (*stable_from_ms)(void *arg);
    int64_t settle_ms; /* a sample may decide about others this much older: deduplication */
};

/* The source that reads the engine. */
struct ks_query_source ks_query_source_engine(struct ks_engine *e);

/* ks_promql_exec over any source. */
KS_NODISCARD ks_err ks_promql_exec_source(const struct ks_query_source *src,
                                          const struct ks_promql_request *req,
                                          struct ks_arena *arena, struct ks_promql_result *ret);

#endif
