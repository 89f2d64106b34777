/*
 * Rollups of strict PromQL over series that hold native histograms, beside numbers or alone. The
 * kernels of rollup_strict.c answer for the numbers; here come the points whose window holds a
 * histogram. One thread.
 */
#ifndef KS_QUERY_PROMQL_STRICT_RANGE_H
#define KS_QUERY_PROMQL_STRICT_RANGE_H

#include "query/promql/rollup/rollup_run.h"

/* Working memory, reused from series to series. */
struct ksi_range {
    struct ks_samples numbers; /* of the series at hand, stale markers included */
    struct ks_rollup_scratch scratch;
    struct ks_arena series, point; /* of one series, of one point */
};
void ksi_range_init(struct ksi_range *w, const struct ksi_query *q);
void ksi_range_done(struct ksi_range *w);

/*
 * Fills out for one series from its numbers (w->numbers) and its histograms, both ascending, stale
 * markers included; what a point must be annotated with goes to the query. labels: of the series as
 * selected.
 */
KS_NODISCARD ks_err ksi_range_run(const struct ksi_ctx *ctx, const struct ksi_plan *p,
                                  struct ks_slice labels, const struct ks_histogram_run *run,
                                  struct ksi_range *w, double *out);
/* The same for series i of a selected set, which has histograms. */
KS_NODISCARD ks_err ksi_range_select(const struct ksi_run *r, size_t i, struct ksi_range *w,
                                     double *out);

#endif
