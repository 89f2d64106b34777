/* Made-up series for the micro-benchmarks that write to an engine: 20 labels as Kubernetes has
 * them, 40 series a pod, 8 pods a node, 40 metric names; constants, counters and gauges. */
#ifndef KS_BENCH_SERIES_H
#define KS_BENCH_SERIES_H

#include "engine/engine.h"

/* Opens the engine and makes a batch to write to it with; ends the process when it cannot. */
struct ks_engine *bench_open(const struct ks_engine_opts *o, struct ks_write_batch *b,
                             struct ks_arena *arena);
/* Labels of a batch's series, whose number is in raw.len. */
ks_err bench_resolve(struct ks_write_batch *b, size_t i, struct ks_labels *ret);
double bench_value_of(size_t i, size_t round);
/* One sample of each series, in batches of 2000; ends the process when the engine refuses. */
void bench_write_round(struct ks_engine *e, struct ks_write_batch *b, size_t series, size_t round,
                       int64_t ts);

#endif
