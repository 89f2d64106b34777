#include "query/promql/source.h"

static ks_err engine_select(void *arg, const struct ks_select_opts *opts,
                            struct ks_source_set **ret)
{
    struct ks_select_opts o = *opts;
    struct ks_series_set *set;
    struct ks_arena arena; /* of the tenants' list */
    ks_arena_init(&arena, 64 << 20);
    ks_err err = ks_engine_narrow_tenants(arg, &o, &arena);
    if (err == KS_OK)
        err = ks_engine_select(arg, &o, &set);
    ks_arena_done(&arena);
    KS_TRY(err);
    *ret = (struct ks_source_set *)set;
    return KS_OK;
}
static void engine_free(struct ks_source_set *set)
{
    ks_series_set_free((struct ks_series_set *)set);
}
static size_t engine_count(const struct ks_source_set *set)
{
    return ks_series_set_count((const struct ks_series_set *)set);
}
static struct ks_slice engine_labels(const struct ks_source_set *set, size_t i)
{
    struct ks_slice labels;
    return ks_series_set_labels((const struct ks_series_set *)set, i, &labels) == KS_OK
               ? labels
               : ks_slice(NULL, 0);
}
static struct ks_tenant engine_tenant(const struct ks_source_set *set, size_t i)
{
    return ks_series_set_tenant((const struct ks_series_set *)set, i);
}
static ks_err engine_groups(const struct ks_source_set *set, const struct ks_group_by *by,
                            struct ks_arena *a, struct ks_series_groups *ret)
{
    return ks_series_set_groups((const struct ks_series_set *)set, by, a, ret);
}
static uint64_t engine_key(const struct ks_source_set *set, size_t i)
{
    return ks_series_set_key((const struct ks_series_set *)set, i);
}
static ks_err engine_read(struct ks_source_set *set, size_t i, int64_t min_ms, int64_t max_ms,
                          struct ks_samples *out)
{
    return ks_series_read((struct ks_series_set *)set, i, min_ms, max_ms, out);
}

static bool engine_has_histograms(const struct ks_source_set *set, size_t i)
{
    return ks_series_has_histograms((const struct ks_series_set *)set, i);
}
static ks_err engine_read_histograms(struct ks_source_set *set, size_t i, int64_t min_ms,
                                     int64_t max_ms, struct ks_arena *arena,
                                     struct ks_histogram_run *out)
{
    return ks_series_read_histograms((struct ks_series_set *)set, i, min_ms, max_ms, arena, out);
}

static size_t engine_chunk_count(const struct ks_source_set *set, size_t i)
{
    return ks_series_chunk_count((const struct ks_series_set *)set, i);
}
static struct ks_chunk_view engine_chunk(const struct ks_source_set *set, size_t i, size_t chunk)
{
    return ks_series_chunk((const struct ks_series_set *)set, i, chunk);
}

static uint64_t engine_past_watch(void *arg, int64_t until_ms)
{
    return ks_engine_past_watch(arg, until_ms);
}
static int64_t engine_past_changed(void *arg, uint64_t since, int64_t min_ms, int64_t max_ms)
{
    return ks_engine_past_changed(arg, since, min_ms, max_ms);
}
static int64_t engine_stable_from_ms(void *arg)
{
    return ks_engine_stable_from_ms(arg);
}

struct ks_query_source ks_query_source_engine(struct ks_engine *e)
{
    return (struct ks_query_source){
        .arg = e,
        .pool = ks_engine_pool(e),
        .select = engine_select,
        .set_free = engine_free,
        .count = engine_count,
        .labels = engine_labels,
        .groups = engine_groups,
        .key = engine_key,
        .tenant = engine_tenant,
        .read = engine_read,
        .has_histograms = engine_has_histograms,
        .read_histograms = engine_read_histograms,
        .chunk_count = engine_chunk_count,
        .chunk = engine_chunk,
        .past_watch = engine_past_watch,
        .past_changed = engine_past_changed,
        .stable_from_ms = engine_stable_from_ms,
        .settle_ms = ks_engine_dedup_ms(e),
    };
}

ks_err ks_promql_exec(struct ks_engine *engine, const struct ks_promql_request *req,
                      struct ks_arena *arena, struct ks_promql_result *ret)
{
    struct ks_query_source src = ks_query_source_engine(engine);
    return ks_promql_exec_source(&src, req, arena, ret);
}
