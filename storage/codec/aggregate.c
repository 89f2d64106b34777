/* The aggregates of a chunk (chunk.h defines each field exactly). */
#include <math.h>

#include "base/num.h"
#include "storage/codec/chunk.h"

/* VictoriaMetrics' removal of counter resets, as far as the last corrected value needs it. */
struct counter {
    double prev, correction, corrected;
    bool reset;
};

static inline void counter_add(struct counter *c, double v)
{
    double drop = c->prev - v;
    double lost = drop * 8 < c->prev ? drop : c->prev;
    c->reset |= drop > 0;
    c->correction += drop > 0 ? lost : 0; /* no branch: gauges drop every other time */
    c->prev = v;
    double w = v + c->correction;
    c->corrected = w < c->corrected ? c->corrected : w;
}

void ks_chunk_aggregate(const double *v, size_t n, struct ks_chunk_agg *ret)
{
    struct ks_chunk_agg a = {0};
    struct counter c = {0};
    for (size_t i = 0; i < n; i++) {
        double x = v[i];
        if (KS_UNLIKELY(!(fabs(x) < INFINITY))) {
            if (isnan(x)) {
                a.flags |= ks_is_stale_nan(x) ? KS_CHUNK_HAS_STALE : KS_CHUNK_HAS_NAN;
                continue;
            }
            a.flags |= KS_CHUNK_HAS_INF;
        }
        if (KS_UNLIKELY(a.count++ == 0)) {
            a.min = a.max = a.first = x;
            c.prev = c.corrected = x;
        }
        a.min = x < a.min ? x : a.min;
        a.max = x > a.max ? x : a.max;
        a.sum += x;
        a.last = x;
        counter_add(&c, x);
    }
    if (a.count) {
        a.increase = (c.reset ? c.corrected : a.last) - a.first;
        a.flags |= c.reset ? KS_CHUNK_HAS_RESET : 0;
    }
    *ret = a;
}
