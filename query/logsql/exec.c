/*
 * Runs a query: plan, stages, scan by workers, finish. A run lives on the stack of ks_lq_run; what
 * workers share in it is atomic or under its lock.
 */
#include <stdio.h>

#include "query/logsql/exec_priv.h"
#include "sys/clock.h"
#include "sys/pool.h"

enum { MAX_SUBQUERY_DEPTH = 16, MAX_WORKERS = 64, ALONE_US = 300 };

/* ---------------------------------------------------------------- the context */

ks_err ks_lq_charge(struct ks_lq_exec *x, uint64_t bytes)
{
    uint64_t used = atomic_fetch_add_explicit(x->memory_used, bytes, memory_order_relaxed) + bytes;
    if (x->memory_max && used > x->memory_max) {
        ks_lq_uncharge(x, bytes);
        return ks_fail(KS_ELIMIT,
                       "the query needs more than %llu bytes of memory; narrow it down, or raise "
                       "-search.maxMemoryPerQuery",
                       (unsigned long long)x->memory_max);
    }
    return KS_OK;
}

uint64_t ks_lq_memory_left(const struct ks_lq_exec *x)
{
    uint64_t used = atomic_load_explicit(x->memory_used, memory_order_relaxed);
    return !x->memory_max ? UINT64_MAX : used < x->memory_max ? x->memory_max - used : 0;
}

void ks_lq_uncharge(struct ks_lq_exec *x, uint64_t bytes)
{
    atomic_fetch_sub_explicit(x->memory_used, bytes, memory_order_relaxed);
}

ks_err ks_lq_check(struct ks_lq_exec *x)
{
    return x->ctx ? ks_read_ctx_check(x->ctx) : KS_OK;
}

/* ---------------------------------------------------------------- the gate to the sink */

struct gate {
    struct ks_lq_stage s;
    pthread_mutex_t lock;
};

static ks_err gate_push(struct ks_lq_stage *s, unsigned worker, const struct ks_lq_rows *rows)
{
    struct gate *g = (struct gate *)s;
    pthread_mutex_lock(&g->lock);
    ks_err err = ks_lq_push(s->next, 0, rows);
    if (ks_lq_stage_done(s->next))
        atomic_store_explicit(&s->done, true, memory_order_relaxed);
    pthread_mutex_unlock(&g->lock);
    return err;
}

static void gate_free(struct ks_lq_stage *s)
{
    pthread_mutex_destroy(&((struct gate *)s)->lock);
}

static const struct ks_lq_stage_ops gate_ops = {
    .name = "gate", .push = gate_push, .free = gate_free, .row_local = true};

/* ---------------------------------------------------------------- the plan */

/*
 * Where the newest rows can be chosen: behind the pipes that leave _time alone (some of which may
 * drop rows), in front of those that hand on each row. False when there is no such place.
 */
static bool newest_place(const struct ks_lq_query *q, size_t *ret)
{
    size_t i = 0, at;
    while (i < q->pipe_count && ksi_lq_pipe_row_local(&q->pipes[i]))
        i++;
    for (at = i; i < q->pipe_count; i++)
        if (!ksi_lq_pipe_one_to_one(&q->pipes[i]))
            return false;
    *ret = at;
    return true;
}

bool ks_lq_can_newest(const struct ks_lq_query *q)
{
    size_t at;
    return newest_place(q, &at);
}

ks_err ks_lq_time_range(const struct ks_lq_query *q, struct ks_arena *arena, int64_t *io_min_ns,
                        int64_t *io_max_ns, bool *ret_has_filter)
{
    const struct ks_lq_filter *rest;
    return ksi_lq_split_time(q->filter, arena, io_min_ns, io_max_ns, ret_has_filter, &rest);
}

static int64_t shift(int64_t t, int64_t by)
{
    int64_t r;
    if (t == INT64_MIN || t == INT64_MAX)
        return t;
    if (__builtin_sub_overflow(t, by, &r))
        return by > 0 ? INT64_MIN : INT64_MAX;
    return r;
}

/* Filter of the query, of the request, and of the options that hold for subqueries, too. */
static ks_err whole_filter(struct ksi_lq_run *run, const struct ks_lq_filter **ret)
{
    const struct ks_lq_filter *all[] = {run->req->extra, run->global_filter, run->x.query->filter};
    size_t n = 0;
    struct ks_lq_filter *and = ks_arena_zalloc(&run->arena, sizeof *and);
    struct ks_lq_filter **kids = ks_arena_array(&run->arena, 64, sizeof *kids);
    if (!and || !kids)
        return ks_arena_err(&run->arena);
    for (size_t i = 0; i < 3; i++) {
        if (!all[i] || all[i]->kind == KS_LQ_F_ALL)
            continue;
        /* the parts of an AND list stand for themselves: time and streams are split off below */
        bool flat = all[i]->kind == KS_LQ_F_AND && all[i]->kid_count <= 16;
        for (size_t k = 0; flat && k < all[i]->kid_count; k++)
            kids[n++] = all[i]->kids[k];
        if (!flat)
            kids[n++] = (struct ks_lq_filter *)(uintptr_t)all[i];
    }
    and->kind = KS_LQ_F_AND;
    and->kids = kids;
    and->kid_count = n;
    *ret = n ? and : NULL;
    return KS_OK;
}

/* rate() without a step of its own counts per second of the query's range. */
static void set_rate_steps(struct ksi_lq_run *run, struct ks_lq_query *q)
{
    double seconds = 0;
    if (run->x.min_ns > INT64_MIN && run->x.max_ns < INT64_MAX && run->x.max_ns >= run->x.min_ns)
        seconds = ((double)run->x.max_ns - (double)run->x.min_ns + 1) / 1e9;
    for (size_t i = 0; i < q->pipe_count; i++) {
        if (q->pipes[i].kind != KS_LQ_P_STATS)
            continue;
        for (size_t k = 0; k < q->pipes[i].u.stats.func_count; k++) {
            struct ks_lq_func *f = &q->pipes[i].u.stats.funcs[k];
            if (!(f->step_seconds > 0))
                f->step_seconds = seconds;
        }
    }
}

static ks_err plan(struct ksi_lq_run *run)
{
    const struct ks_lq_query *q;
    const struct ks_lq_filter *f, *rest, *stream;
    bool has_time;
    if (run->x.query->options.global_filter)
        run->global_filter = run->x.query->options.global_filter;
    KS_TRY(ksi_lq_resolve(&run->x, run->x.query, &q));
    run->x.query = q;
    KS_TRY(whole_filter(run, &f));
    int64_t off = q->options.time_offset_ns;
    run->scan_min_ns = shift(run->x.min_ns, off);
    run->scan_max_ns = shift(run->x.max_ns, off);
    KS_TRY(
        ksi_lq_split_time(f, &run->arena, &run->scan_min_ns, &run->scan_max_ns, &has_time, &rest));
    run->x.min_ns = shift(run->scan_min_ns, -off);
    run->x.max_ns = shift(run->scan_max_ns, -off);
    KS_TRY(ksi_lq_split_stream(rest, &run->arena, &stream, &rest));
    KS_TRY(ksi_lq_cond_make(&run->arena, rest, &run->cond));
    KS_TRY(ksi_lq_cond_make(&run->arena, run->req->extra, &run->extra_cond));
    if (stream)
        KS_TRY(ksi_lq_cond_make(&run->arena, stream, &run->stream_cond));
    /* the resolved copy is ours */
    set_rate_steps(run, (struct ks_lq_query *)(uintptr_t)q);
    KS_TRY(ksi_lq_needed(q->pipes, q->pipe_count, &run->arena, &run->need));
    if (run->req->newest)
        KS_TRY(ksi_lq_need_add(&run->arena, &run->need, KS_SLICE_LIT("_time")));
    ksi_lq_need_list(&run->need);
    return KS_OK;
}

static ks_err make_stages(struct ksi_lq_run *run, struct gate *gate)
{
    const struct ks_lq_query *q = run->x.query;
    size_t place = SIZE_MAX;
    bool newest = run->req->newest && newest_place(q, &place);
    size_t count = q->pipe_count + 1 + newest;
    run->stages = ks_arena_zalloc(&run->arena, count * sizeof *run->stages);
    if (!run->stages)
        return ks_arena_err(&run->arena);
    run->stage_count = count;
    run->stages[count - 1] = &gate->s;
    for (size_t i = count - 1; i-- > 0;) {
        struct ks_lq_stage *next = run->stages[i + 1];
        if (newest && i == place) {
            KS_TRY(ksi_lq_newest_new(&run->x, run->req->newest, run->req->newest_offset, next,
                                     &run->stages[i]));
            run->newest = (struct ksi_lq_newest *)run->stages[i];
            run->newest_early = true;
            for (size_t k = 0; k < place; k++)
                run->newest_early &= ksi_lq_pipe_one_to_one(&q->pipes[k]);
        } else {
            size_t pipe = newest && i > place ? i - 1 : i;
            KS_TRY(ks_lq_pipe_stage(&run->x, &q->pipes[pipe], next, &run->stages[i]));
        }
    }
    return KS_OK;
}

/* Asks the first stage what it can tell early. */
static ks_err plan_choice(struct ksi_lq_run *run)
{
    struct ks_lq_stage *first = run->stages[0];
    struct ks_lq_names names = {NULL, 0};
    bool oldest = false;
    int64_t bar;
    if (first->ops->choose_by && first->ops->choose_by(first, &run->arena, &names)) {
        for (size_t i = 0; i < names.count; i++)
            KS_TRY(ksi_lq_need_add(&run->arena, &run->choose_need, names.items[i]));
        ksi_lq_need_list(&run->choose_need);
        run->chooses = true;
    }
    if (first->ops->time_bar)
        (void)first->ops->time_bar(first, 0, &oldest, &bar);
    run->oldest_first = oldest;
    return KS_OK;
}

static void free_stages(struct ksi_lq_run *run)
{
    for (size_t i = 0; i < run->stage_count; i++)
        if (run->stages[i])
            run->stages[i]->ops->free(run->stages[i]);
}

/* ---------------------------------------------------------------- the scan */

static bool want_stream(void *arg, const struct ks_log_stream *s)
{
    struct ksi_lq_run *run = arg;
    return ksi_lq_cond_stream(run->stream_cond, s);
}

static void fail_run(struct ksi_lq_run *run, ks_err err)
{
    pthread_mutex_lock(&run->lock);
    if (!run->err) {
        run->err = err;
        snprintf(run->err_text, sizeof run->err_text, "%s", ks_err_text());
    }
    pthread_mutex_unlock(&run->lock);
    atomic_store_explicit(&run->failed, true, memory_order_relaxed);
}

/* Whether no row of block i can be among the result. */
static bool is_past(const struct ksi_lq_run *run, unsigned worker, size_t i)
{
    struct ks_lq_stage *first = run->stages[0];
    int64_t by = -run->x.query->options.time_offset_ns, bar;
    bool oldest;
    if (!run->newest && !first->ops->time_bar)
        return false;
    struct ks_log_block_meta m = run->x.source->block_meta(run->scan, i);
    if (run->newest && shift(m.max_ns, by) < ksi_lq_newest_threshold(run->newest))
        return true;
    if (!first->ops->time_bar || !first->ops->time_bar(first, worker, &oldest, &bar))
        return false;
    return oldest ? shift(m.min_ns, by) > bar : shift(m.max_ns, by) < bar;
}

/* Takes blocks until there are no more, or until the clock says `until_us` (0: no such limit). */
static ks_err work(struct ksi_lq_run *run, struct ksi_lq_worker *w, int64_t until_us)
{
    for (;;) {
        if (until_us && ks_mono_us() >= until_us)
            return KS_OK;
        size_t i = atomic_fetch_add_explicit(&run->next_block, 1, memory_order_relaxed);
        if (i >= run->block_count || atomic_load_explicit(&run->failed, memory_order_relaxed) ||
            ks_lq_stage_done(run->stages[0]))
            break;
        KS_TRY(ks_lq_check(&run->x));
        if (run->oldest_first)
            i = run->block_count - 1 - i;
        if (is_past(run, w->number, i))
            continue;
        KS_TRY(ksi_lq_scan_block(w, run->scan, i));
    }
    atomic_store_explicit(&run->exhausted, true, memory_order_relaxed);
    return KS_OK;
}

static void run_worker(void *arg, size_t i)
{
    struct ksi_lq_run *run = arg;
    struct ksi_lq_worker w;
    ks_err err = ksi_lq_worker_init(&w, run, (unsigned)i);
    if (!err)
        err = work(run, &w, 0);
    if (err)
        fail_run(run, err);
    ksi_lq_worker_done(&w);
}

/* The caller begins alone: waking others costs more than most queries do. A request that names a
 * number of workers gets them at once. */
static ks_err work_alone(struct ksi_lq_run *run)
{
    struct ksi_lq_worker w;
    ks_err err = ksi_lq_worker_init(&w, run, 0);
    if (!err)
        err = work(run, &w, run->x.worker_count > 1 ? ks_mono_us() + ALONE_US : 0);
    ksi_lq_worker_done(&w);
    return err;
}

static ks_err prune(void *arg, struct ks_slice name, const struct ks_log_pred *pred)
{
    struct ksi_lq_run *run = arg;
    return run->x.source->prune(run->x.source->self, run->scan, name, pred);
}

static ks_err scan(struct ksi_lq_run *run)
{
    struct ks_log_scan_opts opts = {
        .tenants = run->x.tenants,
        .tenant_count = run->x.tenant_count,
        .min_ns = run->scan_min_ns,
        .max_ns = run->scan_max_ns,
        .stream = run->stream_cond ? want_stream : NULL,
        .stream_arg = run,
        .ctx = run->x.ctx,
    };
    if (run->scan_min_ns > run->scan_max_ns || ks_lq_stage_done(run->stages[0]))
        return KS_OK;
    KS_TRY(run->x.source->scan(run->x.source->self, &opts, &run->scan));
    if (run->x.source->prune)
        KS_TRY(ksi_lq_cond_leaves(run->cond, prune, run));
    run->block_count = run->x.source->block_count(run->scan);
    if (!run->block_count)
        return KS_OK;
    if (!run->req->workers || run->x.worker_count == 1)
        KS_TRY(work_alone(run));
    size_t next = atomic_load_explicit(&run->next_block, memory_order_relaxed);
    size_t left = next < run->block_count ? run->block_count - next : 0;
    if (atomic_load_explicit(&run->exhausted, memory_order_relaxed) || !left)
        return KS_OK;
    ks_pool_for(run->x.pool, left < run->x.worker_count ? left : run->x.worker_count, run_worker,
                run);
    if (run->err)
        return ks_fail(run->err, "%s", run->err_text);
    return KS_OK;
}

static ks_err finish(struct ksi_lq_run *run, struct ks_lq_stage *sink)
{
    for (size_t i = 0; i < run->stage_count; i++) {
        KS_TRY(ks_lq_check(&run->x));
        if (run->stages[i]->ops->finish)
            KS_TRY(run->stages[i]->ops->finish(run->stages[i]));
    }
    if (!run->req->parent && sink->ops->finish)
        return sink->ops->finish(sink);
    return KS_OK;
}

static void init_run(struct ksi_lq_run *run, const struct ks_lq_request *req,
                     struct ks_lq_counters *counters)
{
    unsigned workers = req->workers ? req->workers : req->pool ? ks_pool_threads(req->pool) + 1 : 1;
    uint32_t asked = req->query->options.concurrency;
    if (!req->pool)
        workers = 1;
    if (asked && asked < workers)
        workers = asked;
    if (workers > MAX_WORKERS)
        workers = MAX_WORKERS;
    run->req = req;
    run->counters = counters;
    run->x = (struct ks_lq_exec){
        .query = req->query,
        .source = req->source,
        .tenants = req->tenants,
        .tenant_count = req->tenant_count,
        .min_ns = req->min_ns,
        .max_ns = req->max_ns,
        .now_ns = req->query->now_ns,
        .worker_count = workers,
        .pool = req->pool,
        .ctx = req->ctx,
        .arena = &run->arena,
        .memory_max = req->memory_max,
        .memory_used = req->parent ? req->parent->memory_used : &run->memory_used,
        .counters = counters,
        .started_mono_us = ks_mono_us(),
        .depth = req->parent ? req->parent->depth + 1 : 0,
        .plan = run,
    };
    if (req->parent)
        run->global_filter = ksi_lq_run_of(req->parent)->global_filter;
    ks_arena_init(&run->arena, req->memory_max ? req->memory_max : KS_BUF_UNLIMITED);
    pthread_mutex_init(&run->lock, NULL);
}

ks_err ks_lq_run(const struct ks_lq_request *req, struct ks_lq_stage *sink,
                 struct ks_lq_counters *counters)
{
    struct ksi_lq_run run = {0};
    struct gate gate = {.s = {.ops = &gate_ops, .next = sink}};
    if (req->parent && req->parent->depth >= MAX_SUBQUERY_DEPTH)
        return ks_fail(KS_ELIMIT, "subqueries are nested deeper than %d levels",
                       MAX_SUBQUERY_DEPTH);
    init_run(&run, req, counters);
    gate.s.x = &run.x;
    pthread_mutex_init(&gate.lock, NULL);
    ks_err err = plan(&run);
    if (!err)
        err = make_stages(&run, &gate);
    if (!err)
        err = plan_choice(&run);
    if (!err)
        err = scan(&run);
    if (!err)
        err = finish(&run, sink);
    if (run.scan)
        run.x.source->scan_free(run.x.source->self, run.scan);
    free_stages(&run);
    if (!run.stage_count)
        gate_free(&gate.s);
    ks_lq_cond_done(run.cond);
    ks_lq_cond_done(run.stream_cond);
    ks_lq_cond_done(run.extra_cond);
    ks_arena_done(&run.arena);
    pthread_mutex_destroy(&run.lock);
    return err;
}

ks_err ks_lq_exec_sub(struct ks_lq_exec *x, const struct ks_lq_query *sub, struct ks_lq_stage *sink)
{
    const struct ksi_lq_run *run = ksi_lq_run_of(x);
    struct ks_lq_request req = *run->req;
    req.query = sub;
    req.parent = x;
    req.newest = 0;
    if (sub->options.ignore_global_time_filter == KS_LQ_TRUE) {
        req.min_ns = INT64_MIN;
        req.max_ns = INT64_MAX;
    }
    return ks_lq_run(&req, sink, run->counters);
}
