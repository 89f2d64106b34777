/*
 * What points of a rollup depend on, so that they can be kept and used again on a grid that has
 * moved on.
 *
 * A point is a function of the samples in its window and, in MetricsQL, of a few things that belong
 * to the whole fetch range: how near a sample must be to count as predecessor (estimated from the
 * last 20 gaps), samples before the window however far back, the sample after it, and the counter
 * resets passed so far. A trace says within which bounds of these the points keep their bits.
 */
#ifndef KS_QUERY_PROMQL_ROLLUP_TRACE_H
#define KS_QUERY_PROMQL_ROLLUP_TRACE_H

#include "query/promql/rollup/rollup.h"

enum ks_rollup_locality {
    KS_ROLLUP_GLOBAL, /* not to be kept */
    KS_ROLLUP_WINDOW, /* a point depends on its window alone */
    KS_ROLLUP_TRACED, /* … and on what the trace says */
};
/* Of a checked configuration with written or default window. Cheap: once per query. */
enum ks_rollup_locality ks_rollup_locality(const struct ks_rollup_config *cfg);

/* At least so many samples give the estimate that all samples would give. */
enum { KS_ROLLUP_ESTIMATE_SAMPLES = 21 };

struct ks_rollup_trace {
    uint32_t closed; /* in: the first so many points are asked about */
    bool ask_whole;  /* in: say `whole` even if nothing fell */

    uint32_t n;                /* samples seen by the function */
    int64_t first_ms, last_ms; /* theirs, when n > 0 */
    bool begins_before;        /* a sample lies before the first window */
    bool fell;                 /* a counter was reset … */
    bool whole;                /* … but all values are whole numbers, which add exactly */
    bool open;                 /* some point would change when samples follow the last */
    bool next;                 /* some point depends on the sample after it */
    int64_t estimate;          /* in effect */
    int64_t above, upto;       /* an estimate in (above, upto] gives the same points */
    int64_t since_ms; /* a fetch that begins no later than this, or than the points' own, gives the
                         same points */
};

/* Room for n values in the scratch, for whoever runs rollups; NULL: memory is short. */
double *ksi_rollup_row(struct ks_rollup_scratch *s, size_t n);

#endif
