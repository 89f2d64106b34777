/* Random series and grids, and what a function should see of them; for the tests of rollups. */
#ifndef TESTS_UNIT_QUERY_ROLLUP_SCENARIO_H
#define TESTS_UNIT_QUERY_ROLLUP_SCENARIO_H

#include "naive_rollup.h"
#include "sys/rand.h"

#define POINTS_MAX 2000

struct samples {
    int64_t t[NAIVE_MAX];
    double v[NAIVE_MAX];
    size_t n;
};

static bool same(double want, double got, bool strict)
{
    if (isnan(want) || isnan(got)) {
        bool holes = ks_f64_bits(want) == KS_ABSENT_BITS || ks_f64_bits(got) == KS_ABSENT_BITS;
        if (strict && holes)
            return ks_f64_bits(want) == ks_f64_bits(got);
        return isnan(want) && isnan(got);
    }
    return want == got;
}

static double random_value(uint64_t *rng, int kind, double last)
{
    switch (kind) {
    case 0:
        return last + (double)ks_rng_below(rng, 50); /* counter */
    case 1:
        return ks_rng_below(rng, 15) ? last + (double)ks_rng_below(rng, 50)
                                     : (double)ks_rng_below(rng, 3);
    case 2:
        return (double)ks_rng_below(rng, 1000) - 300;
    case 3:
        return ks_rng_double(rng) * 100 - 30;
    case 4:
        return (double)ks_rng_below(rng, 4); /* few values */
    case 5:
        return ks_rng_below(rng, 10) ? last + ks_rng_double(rng)
                                     : last * (1 - ks_rng_double(rng) / 6);
    case 6:
        return last * (ks_rng_below(rng, 2) ? 1 + 1e-14 : 1) + (double)(ks_rng_below(rng, 5) == 0);
    case 7:
        return (double)(ks_rng_next(rng) >> (10 + ks_rng_below(rng, 12))); /* sums beyond 2^53 */
    default:
        return ks_rng_below(rng, 12)  ? ks_rng_double(rng)
               : ks_rng_below(rng, 2) ? INFINITY
                                      : -INFINITY;
    }
}

static void random_samples(uint64_t *rng, struct samples *s)
{
    int kind = (int)ks_rng_below(rng, 9);
    bool holes = ks_rng_below(rng, 3) == 0, steady = ks_rng_below(rng, 2);
    int64_t t = 1000000 + (int64_t)ks_rng_below(rng, 5000),
            gap = 1 + (int64_t)ks_rng_below(rng, 40000);
    double last = (double)ks_rng_below(rng, 100);
    s->n = ks_rng_below(rng, 8) ? ks_rng_below(rng, 120) : 1000 + ks_rng_below(rng, 1000);
    if (ks_rng_below(rng, 60) == 0)
        s->n = 5000 + ks_rng_below(rng, 5000);
    for (size_t i = 0; i < s->n; i++) {
        t += steady ? gap : 1 + (int64_t)ks_rng_below(rng, (uint64_t)(2 * gap));
        if (ks_rng_below(rng, 25) == 0)
            t += gap * (int64_t)ks_rng_below(rng, 30);
        last = random_value(rng, kind, last);
        s->t[i] = t;
        s->v[i] = last;
        if (holes && ks_rng_below(rng, 8) == 0)
            s->v[i] = ks_rng_below(rng, 2) ? ks_stale_nan() : NAN;
    }
}

/* The definition of the wanted window, the sample before it and so on, by plain scans. */
struct naive_run {
    const struct ks_rollup_config *cfg;
    struct samples s;
    int64_t window, near;
};

static bool sees(const struct ks_rollup_config *cfg, double v)
{
    if (cfg->strict)
        return ks_f64_bits(v) != KS_ABSENT_BITS &&
               (!ks_is_stale_nan(v) || cfg->func == KS_FN_DEFAULT_ROLLUP ||
                cfg->func == KS_FN_TIMESTAMP);
    if (ks_is_stale_nan(v) && !cfg->subquery)
        return cfg->func == KS_FN_DEFAULT_ROLLUP || cfg->func == KS_FN_STALE_SAMPLES_OVER_TIME;
    return !isnan(v);
}

static bool named(enum ks_promql_func_id f, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(ks_promql_funcs[f].name, *names) == 0)
            return true;
    return false;
}

static void naive_unreset(struct samples *s, int64_t max_gap)
{
    double correction = 0, prev = s->n ? s->v[0] : 0;
    for (size_t i = 0; i < s->n; i++) {
        double v = s->v[i], d = v - prev;
        if (d < 0)
            correction += -d * 8 < prev ? prev - v : prev;
        prev = v;
        if (i > 0 && max_gap > 0 && s->t[i] - s->t[i - 1] > max_gap) {
            correction = 0;
            continue;
        }
        s->v[i] = v + correction;
        if (i > 0 && s->v[i] < s->v[i - 1])
            s->v[i] = s->v[i - 1];
    }
}

static int64_t naive_near(const struct samples *s, int64_t step)
{
    double gaps[20];
    size_t n = 0;
    for (size_t i = s->n; i > 1 && n < 20; i--)
        gaps[n++] = (double)(s->t[i - 1] - s->t[i - 2]);
    int64_t d = n ? (int64_t)naive_quantile(0.6, gaps, n, true) : step;
    if (d <= 0)
        d = step;
    return d <= 2000    ? 5 * d
           : d <= 4000  ? 3 * d
           : d <= 8000  ? 2 * d
           : d <= 16000 ? d + d / 2
           : d <= 32000 ? d + d / 4
                        : d + d / 8;
}

static void naive_prepare(struct naive_run *r, const struct ks_rollup_config *cfg,
                          const struct samples *all)
{
    static const char *const unreset[] = {
        "increase",        "increase_prometheus", "increase_pure", "irate", "rate",
        "rate_prometheus", "rollup_increase",     "rollup_rate",   NULL};
    static const char *const widen[] = {"default_rollup",
                                        "deriv",
                                        "deriv_fast",
                                        "ideriv",
                                        "irate",
                                        "rate",
                                        "rate_over_sum",
                                        "scrape_interval",
                                        "timestamp",
                                        "rollup",
                                        "rollup_candlestick",
                                        "rollup_deriv",
                                        "rollup_rate",
                                        "rollup_scrape_interval",
                                        NULL};
    int64_t min_ms, max_ms, lookback = cfg->lookback_delta_ms;
    ks_rollup_fetch_range(cfg, &min_ms, &max_ms);
    r->cfg = cfg;
    r->s.n = 0;
    for (size_t i = 0; i < all->n; i++)
        if (all->t[i] >= min_ms && all->t[i] <= max_ms && sees(cfg, all->v[i])) {
            r->s.t[r->s.n] = all->t[i];
            r->s.v[r->s.n++] = all->v[i];
        }
    r->window = cfg->window_ms;
    r->near = 0;
    if (cfg->strict)
        return;
    bool counter = named(cfg->func, unreset);
    for (size_t i = 0; i < cfg->aggr_count; i++)
        for (const char *const *name = unreset; *name; name++)
            counter |= ks_slice_is(cfg->aggr_names[i], *name);
    if (counter)
        naive_unreset(&r->s, lookback ? lookback + cfg->window_ms : 0);
    r->near = cfg->start_ms < cfg->end_ms ? naive_near(&r->s, cfg->step_ms) : cfg->step_ms;
    if (lookback && r->near > lookback)
        r->near = lookback;
    if (r->near < cfg->min_staleness_ms)
        r->near = cfg->min_staleness_ms;
    if (r->window == 0) {
        r->window = cfg->step_ms;
        if (named(cfg->func, widen) && r->window < r->near)
            r->window = r->near;
        if (cfg->func == KS_FN_DEFAULT_ROLLUP && lookback && r->window > lookback)
            r->window = lookback;
    }
}

static struct view naive_view(const struct naive_run *r, size_t k)
{
    const struct ks_rollup_config *cfg = r->cfg;
    struct view w = {.window = r->window};
    size_t lo = 0, hi;
    w.shown = cfg->start_ms + (int64_t)k * cfg->step_ms;
    w.now = w.shown - cfg->offset_ms;
    if (cfg->func == KS_FN_ROLLUP_CANDLESTICK)
        w.now += cfg->step_ms;
    int64_t from = w.now - r->window;
    while (lo < r->s.n && r->s.t[lo] <= from)
        lo++;
    for (hi = lo; hi < r->s.n && r->s.t[hi] <= w.now; hi++)
        ;
    w.v = r->s.v + lo;
    w.t = r->s.t + lo;
    w.n = hi - lo;
    w.prev = w.real_prev = w.next = hole();
    w.prev_t = from - r->near;
    if (lo > 0 && lo < r->s.n && r->s.t[lo - 1] > w.prev_t) {
        w.prev = r->s.v[lo - 1];
        w.prev_t = r->s.t[lo - 1];
    }
    if (lo > 0) {
        int64_t first = w.n ? w.t[0] : from;
        if (cfg->lookback_delta_ms == 0 || first - r->s.t[lo - 1] < cfg->lookback_delta_ms)
            w.real_prev = r->s.v[lo - 1];
    }
    if (hi < r->s.n)
        w.next = r->s.v[hi];
    if (cfg->arg_count > 0)
        w.a0 = cfg->args[0].steps ? cfg->args[0].steps[k] : cfg->args[0].value;
    if (cfg->arg_count > 1)
        w.a1 = cfg->args[1].steps ? cfg->args[1].steps[k] : cfg->args[1].value;
    return w;
}

struct scenario {
    struct samples s;
    struct ks_rollup_config cfg;
    struct ks_rollup_arg args[2];
    double steps[2][POINTS_MAX];
};

static void random_config(uint64_t *rng, struct scenario *sc, bool strict)
{
    struct ks_rollup_config *c = &sc->cfg;
    int64_t first = sc->s.n ? sc->s.t[0] : 1000000, last = sc->s.n ? sc->s.t[sc->s.n - 1] : 1100000;
    int64_t span = last - first + 1;
    *c = (struct ks_rollup_config){.strict = strict};
    size_t points =
        ks_rng_below(rng, 4) ? 1 + ks_rng_below(rng, 150) : 1 + ks_rng_below(rng, 2) * 600;
    c->step_ms = ks_rng_below(rng, 3)
                     ? 1 + (int64_t)ks_rng_below(rng, (uint64_t)(2 * span) / points + 1)
                     : 1 + (int64_t)ks_rng_below(rng, 50000);
    c->start_ms = first - span / 8 + (int64_t)ks_rng_below(rng, (uint64_t)span);
    c->end_ms = c->start_ms + (int64_t)(points - 1) * c->step_ms +
                (int64_t)ks_rng_below(rng, (uint64_t)c->step_ms);
    if (points == 1 || ks_rng_below(rng, 8) == 0)
        c->end_ms = c->start_ms;
    switch (ks_rng_below(rng, 4)) {
    case 0:
        c->window_ms = strict ? 300000 : 0;
        break;
    case 1:
        c->window_ms = c->step_ms * (int64_t)(1 + ks_rng_below(rng, 30));
        break;
    case 2:
        c->window_ms = 1 + (int64_t)ks_rng_below(rng, (uint64_t)span);
        break;
    default:
        c->window_ms = 1 + (int64_t)ks_rng_below(rng, 600000);
    }
    c->offset_ms = ks_rng_below(rng, 3) ? 0 : (int64_t)ks_rng_below(rng, 100000) - 30000;
    if (!strict) {
        c->lookback_delta_ms = ks_rng_below(rng, 3) ? 0 : 1 + (int64_t)ks_rng_below(rng, 200000);
        c->min_staleness_ms = ks_rng_below(rng, 4) ? 0 : 1 + (int64_t)ks_rng_below(rng, 200000);
        c->subquery = ks_rng_below(rng, 4) == 0;
    }
}

#endif
