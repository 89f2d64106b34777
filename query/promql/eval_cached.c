/*
 * Rollups over a selector, shortened by what was kept of an earlier run (result_cache.h).
 *
 * The select is made in full, so which series there are, their labels, order and number are always
 * those of now; only the leading points of their values come from before, and the series are read
 * where the rest of the grid looks. The answer has the bits of a run without the cache:
 *
 *  - Samples written into, or deleted from, what the kept points cover are noted by the engine
 *    (engine/past.h); kept points from there on are not used.
 *  - Points of functions that look at their window alone are then what they would be again.
 *  - For the others each series' run left a trace of what its points depend on (rollup_trace.h).
 * The run over the rest of the grid shows what the whole run would go by now; a series whose kept
 *    points would come out otherwise is run in full; under an aggregate, all of them are.
 *  - Sums of series do not depend on the order of adding (ksi_acc_add).
 *
 * Thread: the query's; series are run by the workers of rollup_run.c, each writing its own place.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "query/promql/result_cache_priv.h"
#include "query/promql/rollup/rollup_chunks.h"
#include "query/promql/rollup/rollup_run.h"
#include "query/promql/rollup/rollup_trace.h"

enum { LEAST_POINTS = 8, LEAST_SHARE = 8, KEY_MAX = 1 << 20 };

struct ksi_reuse {
    struct ksi_reuse *next_reuse; /* of the query */
    struct ks_result_cache *cache;
    struct ks_slice key;
    uint64_t version;
    bool traced;
    size_t points, closed; /* of the whole grid; how many of them may be kept */
    struct ksi_kept *old;
    size_t old_at, skip; /* points old_at … of the old ones are the first `skip` of the grid */
    struct ks_rollup_config tail;
    int64_t tail_min_ms, tail_max_ms;
    struct ksi_kept_series *now; /* per series; key 0: not to be kept */
    _Atomic int stale, unclean;  /* aggregates: kept points do not hold; what came out may not be
                                    kept */
};

/* --- keys --- */
static void key_selectors(struct ks_buf *b, const struct ks_selector *list, size_t count)
{
    ks_buf_varint(b, count);
    for (size_t i = 0; i < count; i++) {
        ks_buf_varint(b, list[i].count);
        for (size_t k = 0; k < list[i].count; k++) {
            const struct ks_matcher *m = &list[i].matchers[k];
            ks_buf_byte(b, (uint8_t)m->op);
            ks_buf_lp(b, m->name);
            ks_buf_lp(b, m->value);
        }
    }
}

static void key_rollup(struct ks_buf *b, const struct ks_rollup_config *cfg, size_t points)
{
    int64_t phase = cfg->start_ms % cfg->step_ms;
    ks_buf_varint(b, (uint64_t)cfg->func);
    ks_buf_byte(b, cfg->strict);
    ks_buf_zigzag(b, phase < 0 ? phase + cfg->step_ms : phase);
    ks_buf_zigzag(b, cfg->step_ms);
    ks_buf_varint(b, points);
    ks_buf_zigzag(b, cfg->offset_ms);
    ks_buf_zigzag(b, cfg->window_ms);
    ks_buf_lp(b, cfg->text);
    for (size_t i = 0; i < cfg->arg_count; i++)
        ks_buf_u64(b, ks_f64_bits(cfg->args[i].value));
}

static void key_aggregate(struct ks_buf *b, const struct ksi_run *r)
{
    ks_buf_byte(b, r->aggr != NULL);
    if (!r->aggr)
        return;
    ks_buf_varint(b, (uint64_t)r->aggr->func->id);
    ks_buf_byte(b, (uint8_t)(r->filter.mode == KSI_KEEP));
    ks_buf_byte(b, r->filter.drop_name);
    ks_buf_varint(b, r->filter.count);
    for (size_t i = 0; i < r->filter.count; i++)
        ks_buf_lp(b, r->filter.names[i]);
}

static ks_err make_key(const struct ksi_run *r, struct ks_slice *ret)
{
    const struct ksi_ctx *ctx = r->ctx;
    const struct ks_promql_request *req = ctx->q->req;
    struct ks_selector *list;
    size_t count;
    struct ks_buf b;
    KS_TRY(ksi_selectors_of(ctx, &r->plan->arg->selector, &list, &count));
    ks_buf_init(&b, KEY_MAX);
    key_rollup(&b, &r->plan->cfg, r->points);
    key_aggregate(&b, r);
    ks_buf_varint(&b, req->tenants ? req->tenant_count + 1 : 0);
    for (size_t i = 0; req->tenants && i < req->tenant_count; i++) {
        ks_buf_u32(&b, req->tenants[i].account);
        ks_buf_u32(&b, req->tenants[i].project);
    }
    key_selectors(&b, list, count);
    ks_err err = ks_buf_status(&b);
    if (err == KS_OK) {
        *ret = ks_arena_dup(ctx->q->arena, ks_buf_view(&b));
        err = ret->ptr ? KS_OK : ks_arena_err(ctx->q->arena);
    }
    ks_buf_done(&b);
    return err;
}

/* --- what of the old holds --- */
/* Points of the grid up to the one that ends at or before `ms`. */
static size_t points_until(const struct ks_rollup_config *cfg, size_t points, int64_t ms)
{
    int64_t first = cfg->start_ms - cfg->offset_ms;
    if (ms < first)
        return 0;
    uint64_t n = (uint64_t)(ms - first) / (uint64_t)cfg->step_ms + 1;
    return n < points ? (size_t)n : points;
}

static void find_old(const struct ksi_run *r, struct ksi_reuse *u, int64_t settle_ms)
{
    const struct ks_query_source *src = r->ctx->q->src;
    const struct ks_rollup_config *cfg = &r->plan->cfg;
    struct ksi_kept *k = u->old = ksi_result_cache_get(u->cache, u->key);
    if (!k || k->start_ms > cfg->start_ms)
        return;
    u->old_at = (size_t)((cfg->start_ms - k->start_ms) / cfg->step_ms);
    if (u->old_at >= k->points)
        return;
    size_t n = k->points - u->old_at;
    int64_t last = cfg->start_ms + (int64_t)(n - 1) * cfg->step_ms - cfg->offset_ms;
    int64_t changed =
        src->past_changed(src->arg, k->version, r->min_ms - settle_ms, last + settle_ms);
    if (changed == INT64_MIN || (changed != INT64_MAX && k->next))
        return;
    if (changed != INT64_MAX) {
        size_t before = points_until(cfg, r->points, changed - settle_ms - 1);
        n = before < n ? before : n;
    }
    /* One point alone would be an instant query, which estimates nothing. */
    u->skip = n + 2 < r->points ? n : r->points - 2;
    if (u->skip < r->points / LEAST_SHARE)
        u->skip = 0;
}

static bool may_reuse(const struct ksi_run *r)
{
    const struct ksi_query *q = r->ctx->q;
    const struct ksi_plan *p = r->plan;
    return q->req->cache && !q->req->no_cache && q->req->range && q->src->past_watch &&
           r->points >= LEAST_POINTS && !p->has_at && !p->subquery &&
           !(p->mod && (p->mod->anchored || p->mod->smoothed)) &&
           !(r->aggr && (r->aggr->limit || r->aggr->func->id == KS_FN_AGGR_GEOMEAN)) &&
           ks_rollup_locality(&p->cfg) != KS_ROLLUP_GLOBAL &&
           r->min_ms >= q->src->stable_from_ms(q->src->arg);
}

ks_err ksi_reuse_begin(struct ksi_run *r)
{
    struct ksi_query *q = r->ctx->q;
    const struct ks_rollup_config *cfg = &r->plan->cfg;
    if (!may_reuse(r))
        return KS_OK;
    struct ksi_reuse *u = ks_arena_zalloc(q->arena, sizeof *u);
    if (!u)
        return ks_arena_err(q->arena);
    u->cache = q->req->cache;
    u->traced = ks_rollup_locality(cfg) == KS_ROLLUP_TRACED;
    u->points = r->points;
    int64_t until = q->req->now_ms - ksi_result_cache_recent_ms(u->cache);
    u->closed = points_until(cfg, r->points, until - q->src->settle_ms);
    if (u->closed < LEAST_POINTS)
        return KS_OK;
    KS_TRY(make_key(r, &u->key));
    u->version = q->src->past_watch(q->src->arg, until);
    u->next_reuse = q->reuses;
    q->reuses = r->reuse = u;
    find_old(r, u, q->src->settle_ms);
    ksi_result_cache_count(u->cache, !u->skip                   ? KSI_CACHE_MISS
                                     : u->skip + 2 >= u->closed ? KSI_CACHE_FULL
                                                                : KSI_CACHE_PARTIAL);
    u->tail = *cfg;
    u->tail.start_ms += (int64_t)u->skip * cfg->step_ms;
    ks_rollup_fetch_range(&u->tail, &u->tail_min_ms, &u->tail_max_ms);
    if (r->aggr)
        r->points = u->points - u->skip;
    return KS_OK;
}

void ksi_reuse_done(struct ksi_query *q)
{
    for (struct ksi_reuse *u = q->reuses; u; u = u->next_reuse)
        ksi_kept_unref(u->old);
    q->reuses = NULL;
}

/* --- one series --- */
static uint64_t series_key(const struct ksi_run *r, size_t i)
{
    const struct ks_query_source *src = r->ctx->q->src;
    uint64_t h;
    if (src->key) {
        h = src->key(r->set, i);
    } else {
        struct ks_slice l = src->labels(r->set, i);
        struct ks_tenant t = src->tenant(r->set, i);
        h = ks_hash64_seed(l.ptr, l.len, (uint64_t)t.account << 32 | t.project);
    }
    return h ? h : 1;
}

/* From where on samples are read for the rest of the grid: enough of them for the estimate, and one
 * before the first window. */
static int64_t tail_from(const struct ksi_run *r, size_t i)
{
    const struct ks_query_source *src = r->ctx->q->src;
    uint64_t seen = 0;
    if (!src->chunk)
        return r->min_ms;
    for (size_t c = src->chunk_count(r->set, i); c-- > 0;) {
        struct ks_chunk_view v = src->chunk(r->set, i, c);
        if (v.min_ms > r->max_ms)
            continue;
        seen += v.max_ms > r->max_ms ? 0 : v.sample_count;
        if (seen > KS_ROLLUP_ESTIMATE_SAMPLES && v.min_ms <= r->reuse->tail_min_ms)
            return v.min_ms > r->min_ms ? v.min_ms : r->min_ms;
    }
    return r->min_ms;
}

/* The rest of the grid, with all that the run of the whole grid would know. */
static ks_err run_tail(struct ksi_run *r, struct ksi_worker *w, size_t i, bool ask_whole,
                       bool read_all, double *out, struct ks_rollup_trace *t)
{
    struct ksi_reuse *u = r->reuse;
    const struct ks_query_source *src = r->ctx->q->src;
    int64_t from = read_all ? r->min_ms : tail_from(r, i);
    for (;;) {
        *t = (struct ks_rollup_trace){.closed =
                                          (uint32_t)(u->closed > u->skip ? u->closed - u->skip : 0),
                                      .ask_whole = ask_whole};
        w->scratch.trace = t;
        KS_TRY(src->read(r->set, i, from, r->max_ms, &w->samples));
        if (r->ctx->q->strict)
            ksi_plain_nans(w->samples.values, w->samples.count);
        ks_err err = ks_rollup_run_read(&u->tail, &w->samples, &w->scratch, out);
        w->scratch.trace = NULL;
        KS_TRY(err);
        if (from == r->min_ms || (t->n >= KS_ROLLUP_ESTIMATE_SAMPLES && t->begins_before))
            return KS_OK;
        from = r->min_ms;
    }
}

static void keep_trace(const struct ks_rollup_trace *t, struct ksi_kept_series *now)
{
    now->above = t->above;
    now->upto = t->upto;
    now->since_ms = t->since_ms;
    now->last_ms = t->n ? t->last_ms : INT64_MIN;
    now->open = t->open;
    now->next = t->next;
    now->fell = t->fell;
    if (!t->whole)
        now->key = 0;
}

static void keep_both(const struct ksi_kept_series *old, const struct ks_rollup_trace *t,
                      struct ksi_kept_series *now)
{
    keep_trace(t, now);
    now->above = old->above > now->above ? old->above : now->above;
    now->upto = old->upto < now->upto ? old->upto : now->upto;
    now->since_ms = old->since_ms < now->since_ms ? old->since_ms : now->since_ms;
    now->last_ms = t->n ? t->last_ms : old->last_ms;
    now->open |= old->open;
    now->next |= old->next;
    now->fell |= old->fell;
}

static bool still_holds(const struct ksi_run *r, const struct ksi_kept_series *old,
                        const struct ks_rollup_trace *t)
{
    return t->estimate > old->above && t->estimate <= old->upto && old->since_ms >= r->min_ms &&
           !(old->open && t->n && t->last_ms > old->last_ms) && !(old->fell && !t->whole);
}

static ks_err run_whole(struct ksi_run *r, struct ksi_worker *w, size_t i, double *out,
                        struct ksi_kept_series *now)
{
    struct ks_rollup_trace t = {.closed = (uint32_t)r->reuse->closed};
    w->scratch.trace = r->reuse->traced ? &t : NULL;
    ks_err err = ksi_run_series_plain(r, w, i, out);
    w->scratch.trace = NULL;
    KS_TRY(err);
    if (r->reuse->traced)
        keep_trace(&t, now);
    return KS_OK;
}

/* Window functions read what the rest of the grid looks at. */
static ks_err run_window_tail(struct ksi_run *r, struct ksi_worker *w, size_t i, double *out)
{
    struct ksi_reuse *u = r->reuse;
    if (r->by_chunks)
        return ksi_run_series_chunks(r, &u->tail, w, i, out);
    KS_TRY(r->ctx->q->src->read(r->set, i, u->tail_min_ms, u->tail_max_ms, &w->samples));
    if (r->ctx->q->strict)
        ksi_plain_nans(w->samples.values, w->samples.count);
    return ks_rollup_run_read(&u->tail, &w->samples, &w->scratch, out);
}

/* Under an aggregate: out is the rest of the grid. */
static ks_err run_grouped(struct ksi_run *r, struct ksi_worker *w, size_t i, double *out)
{
    struct ksi_reuse *u = r->reuse;
    struct ksi_kept_series *now = &u->now[i];
    struct ks_rollup_trace t;
    if (!u->traced)
        return u->skip ? run_window_tail(r, w, i, out) : run_whole(r, w, i, out, now);
    now->key = series_key(r, i);
    if (!u->skip) {
        KS_TRY(run_whole(r, w, i, out, now));
    } else {
        if (atomic_load_explicit(&u->stale, memory_order_relaxed))
            return KS_OK; /* all comes again */
        const struct ksi_kept_series *old = ksi_kept_find(u->old, now->key);
        KS_TRY(run_tail(r, w, i, old && old->fell, !old, out, &t));
        /* One that is new must have begun after what was kept. */
        bool holds =
            old ? still_holds(r, old, &t)
                : !t.n || t.first_ms > u->tail.start_ms - u->tail.step_ms - u->tail.offset_ms;
        if (!holds)
            atomic_store_explicit(&u->stale, 1, memory_order_relaxed);
        else if (old)
            keep_both(old, &t, now);
        else
            keep_trace(&t, now);
    }
    if (!now->key)
        atomic_store_explicit(&u->unclean, 1, memory_order_relaxed);
    return KS_OK;
}

/* Notes whether series i, whose kept points are in out, has samples in the fetch range; any: the
 * part read has. */
static ks_err look_for_samples(struct ksi_run *r, struct ksi_worker *w, size_t i, bool any,
                               const double *out)
{
    /* absent_over_time has values without samples */
    for (size_t k = 0; k < r->reuse->skip && !any; k++)
        any = !ksi_is_absent(r->ctx->q, out[k]) && r->plan->cfg.func != KS_FN_ABSENT_OVER_TIME;
    if (!any) {
        KS_TRY(r->ctx->q->src->read(r->set, i, r->min_ms, r->max_ms, &w->samples));
        any = w->samples.count > 0;
    }
    r->seen[i] = any;
    return KS_OK;
}

ks_err ksi_reuse_series(struct ksi_run *r, struct ksi_worker *w, size_t i, double *out)
{
    struct ksi_reuse *u = r->reuse;
    struct ksi_kept_series *now = &u->now[i];
    struct ks_rollup_trace t;
    if (r->aggr)
        return run_grouped(r, w, i, out);
    now->key = series_key(r, i);
    const struct ksi_kept_series *old = u->skip ? ksi_kept_find(u->old, now->key) : NULL;
    if (!old)
        return run_whole(r, w, i, out, now);
    if (!u->traced) {
        KS_TRY(run_window_tail(r, w, i, out + u->skip));
    } else {
        KS_TRY(run_tail(r, w, i, old->fell, false, out + u->skip, &t));
        if (!still_holds(r, old, &t))
            return run_whole(r, w, i, out, now);
        keep_both(old, &t, now);
    }
    bool any = w->samples.count > 0;
    double *row = ksi_rollup_row(&w->scratch, u->old->points);
    if (!row)
        return KS_ENOMEM;
    ksi_kept_unpack(u->old, old->row, row);
    memcpy(out, row + u->old_at, u->skip * sizeof *out);
    return r->seen ? look_for_samples(r, w, i, any || r->by_chunks, out) : KS_OK;
}

/* --- keeping --- */
/* Whether what is new is worth its place: the first time, then when an eighth of what was computed
 * need not be again. */
static bool worth_keeping(const struct ksi_reuse *u)
{
    return u->closed > u->skip && (u->closed - u->skip) * LEAST_SHARE >= u->points - u->skip;
}

static int by_key(const void *pa, const void *pb)
{
    const struct ksi_kept_series *a = pa, *b = pb;
    return a->key < b->key ? -1 : a->key > b->key;
}

static struct ksi_kept *kept_new(const struct ksi_run *r)
{
    const struct ksi_reuse *u = r->reuse;
    struct ksi_kept *k = ks_zalloc(sizeof *k);
    if (!k)
        return NULL;
    atomic_init(&k->refs, 1);
    k->version = u->version;
    k->start_ms = r->plan->cfg.start_ms;
    k->points = u->closed;
    return k;
}

/* Moves the records of series to be kept into k; false: two share a key, or memory is short. */
static bool keep_series(struct ksi_kept *k, struct ksi_kept_series *now, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (now[i].key) {
            k->next |= now[i].next;
            now[n++] = now[i];
        }
    qsort(now, n, sizeof *now, by_key);
    for (size_t i = 1; i < n; i++)
        if (now[i].key == now[i - 1].key)
            return false;
    k->series = ks_alloc_array(n ? n : 1, sizeof *now);
    if (!k->series)
        return false;
    memcpy(k->series, now, n * sizeof *now);
    k->series_count = n;
    return true;
}

static bool pack_row(struct ks_buf *b, const double *values, size_t n, uint32_t *ret)
{
    if (!ks_buf_reserve(b, 9 * n + 8) || b->len > UINT32_MAX)
        return false;
    *ret = (uint32_t)b->len;
    b->len += ksi_kept_pack(values, n, (uint8_t *)b->ptr + b->len);
    return true;
}

/* Hands k to the cache with its packed rows, or lets it go. */
static void keep_done(struct ksi_reuse *u, struct ksi_kept *k, struct ks_buf *rows, bool ok)
{
    /* what unpacking reads beyond a row's last byte */
    k->packed = ok ? ks_alloc(rows->len + 8) : NULL;
    if (k->packed) {
        if (rows->len) /* no series, no bytes to copy from */
            memcpy(k->packed, rows->ptr, rows->len);
        memset(k->packed + rows->len, 0, 8);
        k->packed_bytes = rows->len + 8;
        ksi_result_cache_put(u->cache, u->key, k);
    } else {
        ksi_kept_unref(k);
    }
    ks_buf_done(rows);
}

static void keep_rows(struct ksi_run *r)
{
    struct ksi_reuse *u = r->reuse;
    struct ks_buf rows;
    struct ksi_kept *k = worth_keeping(u) ? kept_new(r) : NULL;
    bool ok = true;
    if (!k)
        return;
    ks_buf_init(&rows, ksi_result_cache_room(u->cache));
    for (size_t i = 0; i < r->series && ok; i++)
        if (u->now[i].key)
            ok = pack_row(&rows, r->out + i * u->points, u->closed, &u->now[i].row);
    ok = ok && keep_series(k, u->now, r->series);
    keep_done(u, k, &rows, ok && rows.len);
}

static void keep_groups(struct ksi_run *r, const struct ksi_vec *v)
{
    struct ksi_reuse *u = r->reuse;
    struct ks_buf rows, labels;
    struct ksi_kept *k = worth_keeping(u) && !atomic_load(&u->unclean) ? kept_new(r) : NULL;
    if (!k)
        return;
    ks_buf_init(&rows, ksi_result_cache_room(u->cache));
    ks_buf_init(&labels, ksi_result_cache_room(u->cache));
    k->groups = ks_alloc_array(v->count ? v->count : 1, sizeof *k->groups);
    k->group_count = k->groups ? v->count : 0;
    bool ok = k->groups != NULL;
    for (size_t i = 0; i < v->count && ok; i++) {
        struct ksi_kept_group *g = &k->groups[i];
        g->label_at = (uint32_t)labels.len;
        g->label_bytes = (uint32_t)v->items[i].labels.len;
        ks_buf_slice(&labels, v->items[i].labels);
        ok = pack_row(&rows, v->items[i].values, u->closed, &g->row) && labels.len < UINT32_MAX;
    }
    ok = ok && ks_buf_status(&labels) == KS_OK && (!u->traced || keep_series(k, u->now, r->series));
    k->labels = ok ? ks_alloc(labels.len + 1) : NULL;
    ok = k->labels != NULL;
    if (ok && labels.len)
        memcpy(k->labels, labels.ptr, labels.len);
    k->label_bytes = labels.len;
    ks_buf_done(&labels);
    keep_done(u, k, &rows, ok);
}

/* --- runs --- */
static ks_err make_now(struct ksi_run *r)
{
    struct ksi_reuse *u = r->reuse;
    u->now = ks_arena_zalloc(r->ctx->q->arena, (r->series + 1) * sizeof *u->now);
    return u->now ? KS_OK : ks_arena_err(r->ctx->q->arena);
}

static struct ks_promql_trace *begin_trace(struct ksi_run *r)
{
    return ksi_trace_begin(r->ctx->q, "%s over %zu series: points=%zu, of them kept=%zu",
                           ks_promql_funcs[r->plan->cfg.func].name, r->series,
                           r->reuse ? r->reuse->points : r->points, r->reuse ? r->reuse->skip : 0);
}

static void end_trace(struct ksi_run *r, struct ks_promql_trace *t)
{
    ksi_trace_end(r->ctx->q, t, "samples read by the query=%llu",
                  (unsigned long long)atomic_load(&r->ctx->q->read.samples_read));
}

ks_err ksi_run_rows(struct ksi_run *r)
{
    if (r->reuse)
        KS_TRY(make_now(r));
    struct ks_promql_trace *t = begin_trace(r);
    ks_err err = ksi_run_all(r);
    end_trace(r, t);
    ksi_run_done(r);
    if (err == KS_OK && r->reuse)
        keep_rows(r);
    return err;
}

static ks_err run_groups(struct ksi_run *r, struct ksi_vec *ret)
{
    struct ks_promql_trace *t = begin_trace(r);
    ks_err err = ksi_run_all(r);
    end_trace(r, t);
    if (err == KS_OK && !(r->reuse && atomic_load(&r->reuse->stale)))
        err = ksi_run_merge(r, ret);
    ksi_run_done(r);
    return err;
}

/* Puts the kept points of each group before those just computed. */
static ks_err join_groups(struct ksi_run *r, struct ksi_vec *v)
{
    struct ksi_reuse *u = r->reuse;
    struct ks_arena *arena = r->ctx->q->arena;
    struct ksi_map map = {0};
    double *row = ks_arena_array(arena, u->old->points, sizeof *row);
    if (!row)
        return ks_arena_err(arena);
    for (size_t g = 0; g < u->old->group_count; g++) {
        const struct ksi_kept_group *x = &u->old->groups[g];
        size_t at;
        KS_TRY(ksi_map_put(arena, &map, ks_slice(u->old->labels + x->label_at, x->label_bytes),
                           false, &at, NULL));
    }
    for (size_t i = 0; i < v->count; i++) {
        size_t at;
        double *all = ks_arena_array(arena, u->points, sizeof *all);
        if (!all)
            return ks_arena_err(arena);
        if (ksi_map_get(&map, v->items[i].labels, &at)) {
            ksi_kept_unpack(u->old, u->old->groups[at].row, row);
            memcpy(all, row + u->old_at, u->skip * sizeof *all);
        } else {
            for (size_t k = 0; k < u->skip; k++)
                all[k] = ksi_absent();
        }
        memcpy(all + u->skip, v->items[i].values, r->points * sizeof *all);
        v->items[i].values = all;
    }
    return KS_OK;
}

/* Groups are there where they have points: what else their series have is not known of kept ones.
 */
static void drop_without_points(struct ksi_vec *v, size_t points)
{
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++) {
        bool any = false;
        for (size_t k = 0; k < points && !any; k++)
            any = !isnan(v->items[i].values[k]);
        if (any)
            v->items[n++] = v->items[i];
    }
    v->count = n;
}

ks_err ksi_run_groups(struct ksi_run *r, struct ksi_vec *ret)
{
    struct ksi_reuse *u = r->reuse;
    if (u)
        KS_TRY(make_now(r));
    KS_TRY(run_groups(r, ret));
    if (!u) {
        drop_without_points(ret, r->points);
        return KS_OK;
    }
    if (atomic_load(&u->stale)) {
        u->skip = 0;
        u->tail = r->plan->cfg;
        r->points = u->points;
        atomic_store(&u->stale, 0);
        atomic_store(&u->unclean, 0);
        *ret = (struct ksi_vec){0};
        KS_TRY(run_groups(r, ret));
    }
    if (u->skip)
        KS_TRY(join_groups(r, ret));
    r->points = u->points;
    drop_without_points(ret, r->points);
    keep_groups(r, ret);
    return KS_OK;
}
