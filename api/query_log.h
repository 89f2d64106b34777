/* Running queries and the statistics of past ones: active_queries, top_queries, the slow query log.
 * Any thread. */
#ifndef KS_API_QUERY_LOG_H
#define KS_API_QUERY_LOG_H

#include "api/http.h"

struct ks_query_log;
/* One running query; lives on the handler's stack between begin and end. */
struct ks_query_entry {
    struct ks_query_entry *next, **prev;
    uint64_t id;
    struct ks_slice query, remote_addr;
    struct ks_tenant tenant;
    bool multitenant;
    int64_t start_ms, end_ms, step_ms, begun_mono_us;
};

KS_NODISCARD ks_err ks_query_log_new(size_t keep_count, struct ks_query_log **ret);
void ks_query_log_free(struct ks_query_log *q);
void ks_query_begin(struct ks_query_log *q, struct ks_query_entry *e);
/* Takes it off the running ones and remembers it; slow_ms > 0 logs slower ones. */
void ks_query_end(struct ks_query_log *q, struct ks_query_entry *e, uint64_t memory_bytes,
                  int64_t slow_ms);

/* JSON array of the running queries; tenant NULL = all. */
void ks_query_log_active_json(struct ks_query_log *q, const struct ks_tenant *tenant,
                              struct ks_buf *out);
/* The answer of top_queries. */
void ks_query_log_top_json(struct ks_query_log *q, const struct ks_tenant *tenant, size_t top,
                           int64_t lifetime_ms, struct ks_buf *out);
uint64_t ks_query_log_slow_count(struct ks_query_log *q);

#endif
