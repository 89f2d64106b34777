/*
 * Rollups over windows of many chunks: where a chunk lies whole inside or outside every window, its
 * aggregates stand for its samples and it is not decoded. A month's max_over_time then reads a
 * directory instead of a month.
 *
 * Exact for minima, maxima, counts, edges, and for rates and increases of counters that do not
 * reset inside such chunks. Sums and increases across resets may differ from the sample-by-sample
 * result by the rounding of regrouped additions (some 1e-16, relative to the largest partial sum).
 * Strict mode therefore takes no sums and no chunks with resets from aggregates.
 */
#ifndef KS_QUERY_PROMQL_ROLLUP_CHUNKS_H
#define KS_QUERY_PROMQL_ROLLUP_CHUNKS_H

#include "engine/engine.h"
#include "query/promql/rollup/rollup.h"

/* A series as its chunks. read gives the samples of [min_ms, max_ms] as ks_series_read does. */
struct ks_rollup_source {
    size_t chunk_count;
    struct ks_chunk_view (*chunk)(void *arg, size_t i); /* in order of min_ms */
    ks_err (*read)(void *arg, int64_t min_ms, int64_t max_ms, struct ks_samples *out);
    void *arg;
};

/* True for functions and windows where aggregates may help; else read and ks_rollup_run as usual.
 * Cheap: once per query. */
bool ks_rollup_takes_chunks(const struct ks_rollup_config *cfg);

/*
 * As ks_rollup_run, fetching the samples itself; decodes only what it must. Falls back to reading
 * everything where aggregates would save less than half. samples: working memory, overwritten.
 *
 * ret_read_count  samples decoded; may be NULL.
 * Errors          ks_rollup_run's and the source's.
 */
KS_NODISCARD ks_err ks_rollup_run_source(const struct ks_rollup_config *cfg,
                                         const struct ks_rollup_source *src,
                                         struct ks_samples *samples, struct ks_rollup_scratch *s,
                                         double *out, uint64_t *ret_read_count);

/* The same for series i of a select. */
KS_NODISCARD ks_err ks_rollup_run_series(const struct ks_rollup_config *cfg,
                                         struct ks_series_set *set, size_t i,
                                         struct ks_samples *samples, struct ks_rollup_scratch *s,
                                         double *out);

#endif
