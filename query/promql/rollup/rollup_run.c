/*
 * Runs rollups over the series of a selector.
 *
 * Series are cut into morsels of neighbours whose size depends on the query alone. Workers of the
 * pool take morsels; a morsel writes its own part of the output grids, or, under an aggregate, its
 * own accumulators in an arena of its own. Accumulators are merged in the order of the morsels. A
 * query of one morsel never leaves the calling thread.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/time.h"
#include "query/promql/rollup/rollup_chunks.h"
#include "query/promql/rollup/rollup_run.h"

/* One series of the set, as the rollup wants to see its chunks. */
struct one_series {
    const struct ks_query_source *src;
    struct ks_source_set *set;
    size_t i;
};
static struct ks_chunk_view one_chunk(void *arg, size_t chunk)
{
    const struct one_series *s = arg;
    return s->src->chunk(s->set, s->i, chunk);
}
static ks_err one_read(void *arg, int64_t min_ms, int64_t max_ms, struct ks_samples *out)
{
    const struct one_series *s = arg;
    return s->src->read(s->set, s->i, min_ms, max_ms, out);
}

ks_err ksi_run_series_chunks(struct ksi_run *r, const struct ks_rollup_config *cfg,
                             struct ksi_worker *w, size_t i, double *out)
{
    const struct ks_query_source *q = r->ctx->q->src;
    if (r->seen)
        r->seen[i] = true; /* not known without decoding; rarely false */
    struct one_series one = {q, r->set, i};
    struct ks_rollup_source src = {q->chunk_count(r->set, i), one_chunk, one_read, &one};
    return ks_rollup_run_source(cfg, &src, &w->samples, &w->scratch, out, NULL);
}

ks_err ksi_run_series_plain(struct ksi_run *r, struct ksi_worker *w, size_t i, double *out)
{
    struct ksi_query *q = r->ctx->q;
    if (r->by_chunks)
        return ksi_run_series_chunks(r, &r->plan->cfg, w, i, out);
    KS_TRY(q->src->read(r->set, i, r->min_ms, r->max_ms, &w->samples));
    if (r->seen)
        r->seen[i] = w->samples.count > 0;
    if (q->strict)
        ksi_plain_nans(w->samples.values, w->samples.count);
    return ks_rollup_run_read(&r->plan->cfg, &w->samples, &w->scratch, out);
}

/* --- groups --- */

/* By the labels of each series, where the source has no better way. */
static ks_err groups_by_labels(struct ksi_run *r)
{
    struct ksi_query *q = r->ctx->q;
    struct ksi_map map = {0};
    char *key = NULL;
    size_t key_cap = 0;
    r->groups.of = ks_arena_array(q->arena, r->series + 1, sizeof *r->groups.of);
    if (!r->groups.of)
        return ks_arena_err(q->arena);
    for (size_t i = 0; i < r->series; i++) {
        struct ks_slice labels;
        size_t no;
        KS_TRY(ksi_set_labels(q, r->set, i, &labels));
        KS_TRY(ks_arena_grow(q->arena, (void **)&key, &key_cap, labels.len + 1, 1));
        struct ks_slice k = ks_slice(key, ksi_labels_filter(labels, &r->filter, key));
        KS_TRY(ksi_map_put(q->arena, &map, k, true, &no, NULL));
        r->groups.of[i] = (uint32_t)no;
    }
    r->groups.keys = map.keys;
    r->groups.count = map.count;
    return KS_OK;
}

static ks_err make_groups(struct ksi_run *r)
{
    struct ksi_query *q = r->ctx->q;
    const struct ksi_label_filter *f = &r->filter;
    if (q->req->multitenant && !(f->mode == KSI_KEEP && f->count == 0))
        return ks_fail(KS_EINTERNAL, "multitenant aggregates are not pushed down");
    if (!q->src->groups)
        return groups_by_labels(r);
    struct ks_group_by by = {f->names, f->count, f->mode == KSI_KEEP, f->drop_name};
    return q->src->groups(r->set, &by, q->arena, &r->groups);
}

/* The morsel's accumulator of a group. */
static ks_err group_acc(struct ksi_run *r, struct ksi_morsel *c, struct ksi_worker *w, uint32_t no,
                        struct ksi_acc **ret)
{
    uint32_t at = w->group_acc[no];
    if (!at) {
        size_t n = c->group_count + 1;
        KS_TRY(ks_arena_grow(&c->arena, (void **)&c->groups, &c->group_cap, n, sizeof *c->groups));
        KS_TRY(ks_arena_grow(&c->arena, (void **)&c->acc, &c->acc_cap, n, sizeof *c->acc));
        KS_TRY(ksi_acc_new(&c->arena, r->aggr->func->id, r->points, &c->acc[n - 1]));
        c->groups[n - 1] = no;
        c->group_count = n;
        w->group_acc[no] = at = (uint32_t)n;
    }
    *ret = &c->acc[at - 1];
    return KS_OK;
}

/* --- morsels --- */

static struct ksi_worker *take_worker(struct ksi_run *r)
{
    for (size_t i = 0; i < r->worker_count; i++)
        if (!atomic_exchange_explicit(&r->workers[i].taken, 1, memory_order_acquire))
            return &r->workers[i];
    KS_ASSERT(!"more threads in a loop than the pool has");
    return NULL;
}

static ks_err worker_ready(const struct ksi_run *r, struct ksi_worker *w)
{
    if (!r->aggr || w->group_acc)
        return KS_OK;
    if (!w->points)
        w->points = ks_alloc_array(r->points, sizeof *w->points);
    w->group_acc = ks_zalloc_array(r->groups.count + 1, sizeof *w->group_acc);
    return w->points && w->group_acc ? KS_OK : KS_ENOMEM;
}

static ks_err run_chunk_inner(struct ksi_run *r, struct ksi_morsel *c, struct ksi_worker *w,
                              size_t from, size_t to)
{
    KS_TRY(worker_ready(r, w));
    for (size_t i = from; i < to; i++) {
        if ((i & 31) == 0) {
            KS_TRY(ks_read_ctx_check(&r->ctx->q->read));
            if (atomic_load_explicit(&r->failed, memory_order_relaxed))
                return KS_OK;
        }
        double *out = r->aggr ? w->points : r->out + i * r->points;
        if (r->aggr && r->aggr->limit && r->groups.of[i] >= r->aggr->limit)
            continue;
        KS_TRY(r->reuse ? ksi_reuse_series(r, w, i, out) : ksi_run_series_plain(r, w, i, out));
        if (r->aggr) {
            struct ksi_acc *a = NULL;
            KS_TRY(group_acc(r, c, w, r->groups.of[i], &a));
            ksi_acc_add(r->aggr->func->id, a, w->points, r->points);
        }
    }
    return KS_OK;
}

static void run_chunk(void *arg, size_t index)
{
    struct ksi_run *r = arg;
    struct ksi_morsel *c = &r->chunks[index];
    struct ksi_worker *w = take_worker(r);
    size_t from = index * r->chunk_size, to = from + r->chunk_size;
    if (to > r->series)
        to = r->series;
    c->err = run_chunk_inner(r, c, w, from, to);
    if (c->err != KS_OK) {
        snprintf(c->text, sizeof c->text, "%s", ks_err_text());
        atomic_store_explicit(&r->failed, 1, memory_order_relaxed);
    }
    for (size_t g = 0; g < c->group_count; g++)
        w->group_acc[c->groups[g]] = 0;
    ks_samples_settle(&w->samples, &r->ctx->q->read);
    atomic_store_explicit(&w->taken, 0, memory_order_release);
}

/* Chunk size by the query alone: about 64 chunks, but no chunk so small that a worker's start costs
 * more than its work, or that most of its series begin a group to be merged; 8 chunks though. */
static size_t pick_chunk_size(const struct ksi_run *r)
{
    int64_t span = r->max_ms - r->min_ms;
    size_t least = span > 24 * KS_MS_HOUR ? 4 : span > KS_MS_HOUR ? 16 : 64;
    size_t size = (r->series + 63) / 64, most = (r->series + 7) / 8, many = 4 * r->groups.count;
    size = size > many ? size : many < most ? many : most;
    return size > least ? size : least;
}

/*
 * The pool when the work is worth waking others for; by what series and samples (one in 15 s) have
 * been seen to cost.
 */
static struct ks_pool *pool_for(const struct ksi_run *r)
{
    enum { SERIES_NS = 300, SAMPLE_NS = 8, WORTH_NS = 400000, SAMPLES_MAX = 100000 };
    int64_t samples = (r->max_ms - r->min_ms) / 15000;
    samples = samples < SAMPLES_MAX ? samples : SAMPLES_MAX;
    uint64_t one_ns = SERIES_NS + SAMPLE_NS * (uint64_t)samples;
    return r->series * one_ns < WORTH_NS ? NULL : r->ctx->q->src->pool;
}

ks_err ksi_run_all(struct ksi_run *r)
{
    struct ksi_query *q = r->ctx->q;
    r->by_chunks = q->src->chunk && ks_rollup_takes_chunks(&r->plan->cfg);
    if (r->aggr && !r->groups.of)
        KS_TRY(make_groups(r));
    r->chunk_size = pick_chunk_size(r);
    size_t chunks = (r->series + r->chunk_size - 1) / r->chunk_size;
    r->chunks = ks_arena_zalloc(q->arena, chunks * sizeof *r->chunks);
    struct ks_pool *pool = chunks > 1 ? pool_for(r) : NULL;
    r->worker_count = pool ? ks_pool_threads(pool) + (size_t)1 : 1;
    r->workers = ks_arena_zalloc(q->arena, r->worker_count * sizeof *r->workers);
    if (!r->chunks || !r->workers)
        return ks_arena_err(q->arena);
    size_t left =
        q->arena->cap_bytes > q->arena->used_bytes ? q->arena->cap_bytes - q->arena->used_bytes : 0;
    for (size_t i = 0; i < chunks; i++)
        ks_arena_init(&r->chunks[i].arena, left / (chunks < 4 ? chunks : 4) + 65536);
    ks_pool_for(pool, chunks, run_chunk, r);
    for (size_t i = 0; i < chunks; i++)
        if (r->chunks[i].err != KS_OK)
            return ks_fail(r->chunks[i].err, "%s", r->chunks[i].text);
    return KS_OK;
}

void ksi_run_done(struct ksi_run *r)
{
    size_t chunks = r->chunk_size ? (r->series + r->chunk_size - 1) / r->chunk_size : 0;
    for (size_t i = 0; r->chunks && i < chunks; i++)
        ks_arena_done(&r->chunks[i].arena);
    for (size_t i = 0; r->workers && i < r->worker_count; i++) {
        ks_samples_done(&r->workers[i].samples);
        ks_rollup_scratch_done(&r->workers[i].scratch);
        ks_free(r->workers[i].points);
        ks_free(r->workers[i].group_acc);
    }
}

ks_err ksi_run_merge(struct ksi_run *r, struct ksi_vec *ret)
{
    struct ksi_query *q = r->ctx->q;
    enum ks_promql_func_id id = r->aggr->func->id;
    size_t chunks = (r->series + r->chunk_size - 1) / r->chunk_size, count = r->groups.count;
    struct ksi_acc *acc = ks_arena_zalloc(q->arena, (count + 1) * sizeof *acc);
    if (!acc)
        return ks_arena_err(q->arena);
    for (size_t c = 0; c < chunks; c++)
        for (size_t g = 0; g < r->chunks[c].group_count; g++) {
            struct ksi_acc *to = &acc[r->chunks[c].groups[g]];
            const struct ksi_acc *from = &r->chunks[c].acc[g];
            if (to->values) {
                ksi_acc_merge(id, to, from, r->points);
                continue;
            }
            KS_TRY(ksi_acc_new(q->arena, id, r->points, to));
            ksi_acc_merge(id, to, from, r->points);
        }
    for (size_t g = 0; g < count; g++) {
        if (!acc[g].values)
            continue; /* beyond the limit */
        ksi_acc_finish(id, &acc[g], r->points);
        struct ksi_series s = {.labels = r->groups.keys[g], .values = acc[g].values};
        KS_TRY(ksi_vec_push(q, ret, s));
    }
    return KS_OK;
}
