/*
 * How it works: the series is rebuilt from decoded samples and, for each chunk taken whole, one or
 * two stand-ins (its first and last sample, its extremes, its sum), and the ordinary kernels run
 * over that. A window edge never separates the stand-ins of one chunk, so every window sees the
 * same edges, extremes and sums as with all samples.
 */
#include "query/promql/rollup/rollup_chunks.h"

#include <string.h>

#include "base/num.h"
#include "query/promql/rollup/rollup_priv.h"

enum { SUM_STEP_MS = 225000 };

/* What must survive of a chunk. */
enum keep { KEEP_NONE, KEEP_EDGES, KEEP_MIN, KEEP_MAX, KEEP_BOTH_EXTREMES, KEEP_SUM };

static enum keep keep_of(const struct ks_rollup_config *cfg)
{
    bool strict = cfg->strict;
    switch (cfg->func) {
    case KS_FN_ABSENT_OVER_TIME:
    case KS_FN_DELTA:
    case KS_FN_FIRST_OVER_TIME:
    case KS_FN_INCREASE:
    case KS_FN_LAST_OVER_TIME:
    case KS_FN_PRESENT_OVER_TIME:
    case KS_FN_RATE:
    case KS_FN_TS_OF_FIRST_OVER_TIME:
    case KS_FN_TS_OF_LAST_OVER_TIME:
        return KEEP_EDGES;
    case KS_FN_DELTA_PROMETHEUS:
    case KS_FN_DERIV_FAST:
    case KS_FN_INCREASE_PROMETHEUS:
    case KS_FN_INCREASE_PURE:
    case KS_FN_LAG:
    case KS_FN_LIFETIME:
    case KS_FN_RATE_PROMETHEUS:
    case KS_FN_TFIRST_OVER_TIME:
    case KS_FN_TLAST_OVER_TIME:
        return strict ? KEEP_NONE : KEEP_EDGES;
    case KS_FN_MIN_OVER_TIME:
        return KEEP_MIN;
    case KS_FN_MAX_OVER_TIME:
        return KEEP_MAX;
    case KS_FN_RANGE_OVER_TIME:
        return strict ? KEEP_NONE : KEEP_BOTH_EXTREMES;
    case KS_FN_COUNT_OVER_TIME:
        return KEEP_SUM;
    case KS_FN_AVG_OVER_TIME:
    case KS_FN_RATE_OVER_SUM:
    case KS_FN_SUM_OVER_TIME:
        return strict ? KEEP_NONE : KEEP_SUM;
    default:
        return KEEP_NONE;
    }
}

static bool looks_at_neighbours(enum ks_promql_func_id func)
{
    switch (func) {
    case KS_FN_DELTA:
    case KS_FN_DERIV_FAST:
    case KS_FN_INCREASE:
    case KS_FN_INCREASE_PURE:
    case KS_FN_LAG:
    case KS_FN_LIFETIME:
    case KS_FN_RATE:
        return true;
    default:
        return false;
    }
}

bool ks_rollup_takes_chunks(const struct ks_rollup_config *cfg)
{
    if (cfg->subquery || keep_of(cfg) == KEEP_NONE)
        return false;
    if (cfg->strict)
        return true;
    /* Sums regroup, which shows in the last bits: not where windows' edges lie so close together
     * that few chunks fit between them anyway. */
    if (keep_of(cfg) == KEEP_SUM && cfg->func != KS_FN_COUNT_OVER_TIME &&
        cfg->window_ms <= cfg->end_ms - cfg->start_ms && cfg->step_ms <= SUM_STEP_MS)
        return false;
    /* Without a written window rates choose it by the samples; a limit on gaps needs to see them.
     */
    if (cfg->window_ms == 0 && (looks_at_neighbours(cfg->func) || cfg->func == KS_FN_RATE_OVER_SUM))
        return false;
    return cfg->lookback_delta_ms == 0 || !looks_at_neighbours(cfg->func);
}

struct plan {
    const struct ks_rollup_config *cfg;
    const struct ks_rollup_source *src;
    enum keep keep;
    int64_t min_ms, max_ms; /* fetch range */
    int64_t end0, window;
    uint32_t points;
    size_t first_chunk, last_chunk; /* in range; [first, last) */
    size_t tail_chunk; /* from here on chunks are decoded: the sample interval is estimated from
                          them */
    uint64_t samples, saved;
    size_t room; /* samples and stand-ins at most */
};

/* True when some edge base + k · step separates samples of [min_ms, max_ms]. */
static bool cut_by(const struct plan *p, int64_t base, int64_t min_ms, int64_t max_ms)
{
    int64_t step = p->cfg->step_ms, k = 0;
    if (min_ms > base)
        k = (min_ms - base + step - 1) / step;
    return k < (int64_t)p->points && base + k * step < max_ms;
}

static bool takes_whole(const struct plan *p, size_t i, const struct ks_chunk_view *c)
{
    const struct ks_chunk_agg *a = c->agg;
    int64_t min_ms = c->min_ms, max_ms = c->max_ms;
    if (c->overlaps || a->count == 0 || i >= p->tail_chunk || min_ms < p->min_ms ||
        max_ms > p->max_ms)
        return false;
    if (p->keep == KEEP_EDGES &&
        (i == p->first_chunk || (a->flags & (KS_CHUNK_HAS_STALE | KS_CHUNK_HAS_NAN))))
        return false; /* the first values decide where a counter starts; edges must be what min_ms
                         and max_ms say */
    if ((p->keep == KEEP_EDGES || p->keep == KEEP_SUM) && (a->flags & KS_CHUNK_HAS_INF))
        return false;
    if (p->keep == KEEP_EDGES && !(isfinite(a->increase) && isfinite(a->last - a->first)))
        return false;
    if (p->cfg->strict && (a->flags & KS_CHUNK_HAS_NAN))
        return false;
    if (p->cfg->strict && p->keep == KEEP_EDGES && (a->flags & KS_CHUNK_HAS_RESET))
        return false;
    return !cut_by(p, p->end0, min_ms, max_ms) && !cut_by(p, p->end0 - p->window, min_ms, max_ms);
}

/* Whether chunks short enough to lie between two edges hold half of the samples. Most often they do
 * not, and that is all there is to see. */
static bool enough_fit(const struct ks_rollup_config *cfg, const struct ks_rollup_source *src)
{
    int64_t window = cfg->window_ms > 0 ? cfg->window_ms : cfg->step_ms;
    /* Starts and ends of windows lie a step apart each, and between the last start and the first
     * end there is none. */
    int64_t widest = window - (cfg->end_ms - cfg->start_ms);
    widest = widest > cfg->step_ms ? widest : cfg->step_ms;
    int64_t min_ms, max_ms;
    uint64_t fit = 0, all = 0;
    ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
    for (size_t i = 0; i < src->chunk_count; i++) {
        struct ks_chunk_view c = src->chunk(src->arg, i);
        if (c.max_ms < min_ms || c.min_ms > max_ms)
            continue;
        all += c.sample_count;
        fit += !c.overlaps && c.max_ms - c.min_ms <= widest ? c.sample_count : 0;
    }
    return fit && fit >= all - fit;
}

static void make_plan(const struct ks_rollup_config *cfg, const struct ks_rollup_source *src,
                      struct plan *p)
{
    *p = (struct plan){.cfg = cfg, .src = src, .keep = keep_of(cfg)};
    ks_rollup_fetch_range(cfg, &p->min_ms, &p->max_ms);
    p->end0 = cfg->start_ms - cfg->offset_ms;
    p->window = cfg->window_ms > 0 ? cfg->window_ms : cfg->step_ms;
    p->points = (uint32_t)ks_rollup_points(cfg);
    p->first_chunk = SIZE_MAX;
    for (size_t i = 0; i < src->chunk_count; i++) {
        struct ks_chunk_view c = src->chunk(src->arg, i);
        if (c.max_ms < p->min_ms || c.min_ms > p->max_ms)
            continue;
        p->first_chunk = p->first_chunk == SIZE_MAX ? i : p->first_chunk;
        p->last_chunk = i + 1;
    }
    if (p->first_chunk == SIZE_MAX)
        p->first_chunk = p->last_chunk = 0;
    p->tail_chunk = p->last_chunk;
    if (!cfg->strict && looks_at_neighbours(cfg->func) && cfg->start_ms < cfg->end_ms)
        for (uint64_t seen = 0; p->tail_chunk > p->first_chunk && seen < 21;) {
            struct ks_chunk_view c = src->chunk(src->arg, --p->tail_chunk);
            seen += c.overlaps || c.max_ms > p->max_ms ? 0 : c.agg->count;
        }
    for (size_t i = p->first_chunk; i < p->last_chunk; i++) {
        struct ks_chunk_view c = src->chunk(src->arg, i);
        bool whole = takes_whole(p, i, &c);
        p->samples += c.sample_count;
        p->saved += whole ? c.sample_count : 0;
        p->room += whole ? 2 : c.sample_count;
    }
}

/* The series being rebuilt. rank: how many samples of the series lie before this one; weight: how
 * many it stands for. */
struct rebuilt {
    const struct plan *p;
    int64_t *times;
    double *values;
    uint32_t *rank;
    uint32_t count, samples;
    bool counter;            /* remove resets as we go */
    double correction, last; /* last: as stored */
    uint64_t read_count;
};

static void put(struct rebuilt *b, int64_t t, double v, uint32_t rank)
{
    b->times[b->count] = t;
    b->values[b->count] = v;
    b->rank[b->count++] = rank;
}

/* v as stored → on the counter's curve without resets. */
static double unreset(struct rebuilt *b, double v)
{
    double drop = b->samples ? b->last - v : 0;
    if (drop > 0)
        b->correction += drop * 8 < b->last ? drop : b->last;
    b->last = v;
    double on_curve = v + b->correction;
    if (b->count && on_curve < b->values[b->count - 1])
        on_curve = b->values[b->count - 1];
    return on_curve;
}

static void put_sample(struct rebuilt *b, int64_t t, double v)
{
    bool strict = b->p->cfg->strict;
    if (isnan(v) && (!strict || ks_is_stale_nan(v) || ks_f64_bits(v) == KS_ABSENT_BITS))
        return;
    double shown = b->counter ? unreset(b, v) : v;
    put(b, t, shown, b->samples);
    b->samples++;
}

/* Samples none of which is NaN, of no counter. */
static void put_plain(struct rebuilt *b, const struct ks_samples *s)
{
    memcpy(b->times + b->count, s->times, s->count * sizeof *s->times);
    memcpy(b->values + b->count, s->values, s->count * sizeof *s->values);
    for (size_t i = 0; i < s->count; i++)
        b->rank[b->count + i] = b->samples + (uint32_t)i;
    b->count += (uint32_t)s->count;
    b->samples += (uint32_t)s->count;
}

static void put_edges(struct rebuilt *b, const struct ks_chunk_view *m)
{
    const struct ks_chunk_agg *a = m->agg;
    put_sample(b, m->min_ms, a->first);
    if (a->count == 1)
        return;
    double last = a->last;
    if (b->counter) {
        b->correction += a->increase - (a->last - a->first);
        b->last = a->last;
        last += b->correction;
        if (last < b->values[b->count - 1])
            last = b->values[b->count - 1];
    }
    b->samples += a->count - 1;
    put(b, m->max_ms, last, b->samples - 1);
}

static void put_chunk(struct rebuilt *b, const struct ks_chunk_view *m)
{
    const struct ks_chunk_agg *a = m->agg;
    if (b->p->keep == KEEP_EDGES) {
        put_edges(b, m);
        return;
    }
    if (b->p->keep == KEEP_SUM)
        put(b, m->min_ms, a->sum, b->samples);
    if (b->p->keep == KEEP_MIN || b->p->keep == KEEP_BOTH_EXTREMES)
        put(b, m->min_ms, a->min, b->samples);
    if (b->p->keep == KEEP_MAX || (b->p->keep == KEEP_BOTH_EXTREMES && a->count > 1))
        put(b, m->max_ms, a->max, b->samples);
    b->samples += a->count;
}

static ks_err read_range(struct rebuilt *b, int64_t min_ms, int64_t max_ms,
                         struct ks_samples *samples)
{
    const struct plan *p = b->p;
    if (min_ms < p->min_ms)
        min_ms = p->min_ms;
    if (max_ms > p->max_ms)
        max_ms = p->max_ms;
    KS_TRY(p->src->read(p->src->arg, min_ms, max_ms, samples));
    if (samples->count > p->room - b->count)
        return ks_fail(KS_EINTERNAL, "a series has more samples than its chunks");
    if (!b->counter && samples->plain == samples->count)
        put_plain(b, samples);
    else
        for (size_t i = 0; i < samples->count; i++)
            put_sample(b, samples->times[i], samples->values[i]);
    b->read_count += samples->count;
    return KS_OK;
}

/* Chunks not taken whole are read together with their neighbours of the same fate. */
static ks_err rebuild(const struct plan *p, struct ks_samples *samples, struct ks_rollup_scratch *s,
                      struct rebuilt *b)
{
    *b = (struct rebuilt){.p = p,
                          .counter = !p->cfg->strict && ksi_rollup_removes_resets(p->cfg->func)};
    b->times = ksi_rollup_buf(s, KSI_BUF_REBUILT_TIMES, p->room, sizeof *b->times);
    b->values = ksi_rollup_buf(s, KSI_BUF_REBUILT_VALUES, p->room, sizeof *b->values);
    b->rank = ksi_rollup_buf(s, KSI_BUF_RANK, p->room + 1, sizeof *b->rank);
    if (!b->times || !b->values || !b->rank)
        return KS_ENOMEM;
    bool pending = false;
    int64_t min_ms = 0, max_ms = 0;
    for (size_t i = p->first_chunk; i < p->last_chunk; i++) {
        struct ks_chunk_view c = p->src->chunk(p->src->arg, i);
        if (!takes_whole(p, i, &c)) {
            min_ms = pending ? min_ms : c.min_ms;
            max_ms = pending && max_ms > c.max_ms ? max_ms : c.max_ms;
            pending = true;
            continue;
        }
        if (pending)
            KS_TRY(read_range(b, min_ms, max_ms, samples));
        pending = false;
        put_chunk(b, &c);
    }
    if (pending)
        KS_TRY(read_range(b, min_ms, max_ms, samples));
    b->rank[b->count] = b->samples;
    return KS_OK;
}

/* Sums as usual, counts by rank. */
static ks_err run_sums(struct ksi_rollup *r, double *out)
{
    enum ks_promql_func_id func = r->cfg->func;
    double seconds = ksi_seconds(r->window);
    if (func != KS_FN_COUNT_OVER_TIME)
        KS_TRY(ksi_window_sums(r, r->values, r->lo, r->hi, out));
    for (uint32_t k = 0; k < r->points; k++) {
        double count = (double)(r->rank[r->hi[k]] - r->rank[r->lo[k]]);
        if (count == 0)
            out[k] = ksi_absent();
        else if (func == KS_FN_COUNT_OVER_TIME)
            out[k] = count;
        else if (func == KS_FN_AVG_OVER_TIME)
            out[k] /= count;
        else if (func == KS_FN_RATE_OVER_SUM)
            out[k] /= seconds;
    }
    return KS_OK;
}

ks_err ks_rollup_run_source(const struct ks_rollup_config *cfg, const struct ks_rollup_source *src,
                            struct ks_samples *samples, struct ks_rollup_scratch *s, double *out,
                            uint64_t *ret_read_count)
{
    struct plan p;
    bool use = ks_rollup_takes_chunks(cfg) && enough_fit(cfg, src);
    if (use) {
        make_plan(cfg, src, &p);
        use = p.saved > 0 && p.saved >= p.samples - p.saved && p.samples < UINT32_MAX;
    }
    if (!use) {
        int64_t min_ms, max_ms;
        ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
        KS_TRY(src->read(src->arg, min_ms, max_ms, samples));
        if (ret_read_count)
            *ret_read_count = samples->count;
        return ks_rollup_run_read(cfg, samples, s, out);
    }
    struct rebuilt b;
    struct ksi_rollup r;
    KS_TRY(rebuild(&p, samples, s, &b));
    struct ksi_rollup_input in = {.times = b.times, .values = b.values, .n = b.count};
    KS_TRY(ksi_rollup_prepare(cfg, &in, b.counter, s, &r));
    if (r.n != b.count)
        return ks_fail(KS_ECORRUPT, "an aggregate of a chunk is not a number");
    r.rank = b.rank;
    if (ret_read_count)
        *ret_read_count = b.read_count;
    r.fell = b.correction != 0;
    KS_TRY(p.keep == KEEP_SUM ? run_sums(&r, out)
                              : ksi_rollup_kernel_of(cfg->func, cfg->strict)(&r, out));
    ksi_rollup_trace(&r);
    return KS_OK;
}
