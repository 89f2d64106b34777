/* Running LogsQL over rows in memory and reading the answer as text. */
#ifndef KS_TESTS_LOGSQL_UTIL_H
#define KS_TESTS_LOGSQL_UTIL_H

#include "query/logsql/exec.h"
#include "query/logsql/source_mem.h"

/* Adds a row: name, value, …, NULL. stream: label bytes made of "a=b" or "". */
void logsql_add(struct ks_lq_mem *m, int64_t time_ns, const char *stream, ...);

/* Appends one line a=b c=d per row, columns by name, empty ones left out; sorted:
 * lines as texts, for answers without order. opts may be NULL; query, source, tenants are filled
 * in. */
KS_NODISCARD ks_err logsql_run(struct ks_lq_mem *m, const char *query,
                               const struct ks_lq_request *opts, bool sorted, struct ks_buf *out);
/* The same over any source, as tenant 0:0. */
KS_NODISCARD ks_err logsql_run_source(const struct ks_lq_source *src, const char *query,
                                      const struct ks_lq_request *opts, bool sorted,
                                      struct ks_buf *out);

#endif
