/* The source that reads a log store. */
#ifndef KS_QUERY_LOGSQL_SOURCE_LOGS_H
#define KS_QUERY_LOGSQL_SOURCE_LOGS_H

#include "query/logsql/source.h"

struct ks_lq_source ks_lq_source_logs(struct ks_log_store *s);
/* Only the rows that arrived at positions [from, to): live tail. arrivals lives as long as it. */
struct ks_lq_arrivals {
    struct ks_log_store *store;
    uint64_t from, to;
};
struct ks_lq_source ks_lq_source_arrivals(struct ks_lq_arrivals *arrivals);

#endif
