/* What a list of traces shows of one: root, times, counts by service. As jaeger.api_v3 has it. */
#ifndef KS_QUERY_TRACES_SUMMARY_H
#define KS_QUERY_TRACES_SUMMARY_H

#include "base/arena.h"
#include "storage/traces/span.h"

struct ks_service_summary {
    struct ks_slice name;
    size_t spans, errors;
};
struct ks_trace_summary {
    const struct ks_span *root; /* the earliest span without a parent; NULL: none */
    uint64_t min_start_ns, max_end_ns;
    size_t spans, errors;
    size_t orphans;                      /* spans whose parent is not in the trace */
    struct ks_service_summary *services; /* by name */
    size_t service_count;
};

/* count > 0. Slices are those of spans. */
KS_NODISCARD ks_err ks_trace_summarise(const struct ks_span *spans, size_t count,
                                       struct ks_arena *arena, struct ks_trace_summary *ret);

#endif
