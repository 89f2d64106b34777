/* A query source that holds its series in memory: for tests and fuzzing of the evaluator. */
#ifndef KS_TESTS_SUPPORT_MEMORY_SOURCE_H
#define KS_TESTS_SUPPORT_MEMORY_SOURCE_H

#include "query/promql/source.h"

struct memory_series {
    struct ks_slice labels; /* owned */
    struct ks_tenant tenant;
    int64_t *times;
    double *values;
    size_t count, cap;
};

struct memory_source {
    struct memory_series *series;
    size_t count, cap;
};

/* labels: pairs of name, value, ended by NULL. The series' number. */
size_t memory_source_add(struct memory_source *m, const char *const *labels);
void memory_source_sample(struct memory_source *m, size_t series, int64_t ms, double value);
void memory_source_done(struct memory_source *m);
struct ks_query_source memory_source_view(struct memory_source *m);

#endif
