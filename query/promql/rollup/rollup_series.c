/* A series of a select as a source of chunks: the one place where rollups touch the engine. */
#include "query/promql/rollup/rollup_chunks.h"

struct set_source_arg {
    struct ks_series_set *set;
    size_t series;
};

static struct ks_chunk_view set_chunk(void *arg, size_t i)
{
    const struct set_source_arg *a = arg;
    return ks_series_chunk(a->set, a->series, i);
}

static ks_err set_read(void *arg, int64_t min_ms, int64_t max_ms, struct ks_samples *out)
{
    const struct set_source_arg *a = arg;
    return ks_series_read(a->set, a->series, min_ms, max_ms, out);
}

ks_err ks_rollup_run_series(const struct ks_rollup_config *cfg, struct ks_series_set *set, size_t i,
                            struct ks_samples *samples, struct ks_rollup_scratch *s, double *out)
{
    struct set_source_arg arg = {set, i};
    struct ks_rollup_source src = {ks_series_chunk_count(set, i), set_chunk, set_read, &arg};
    return ks_rollup_run_source(cfg, &src, samples, s, out, NULL);
}
