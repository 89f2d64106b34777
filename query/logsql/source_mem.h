/*
 * Rows in memory as a source: for tests, the fuzzer and small derived sets. Filled first, read
 * then; reading is safe from any number of threads.
 */
#ifndef KS_QUERY_LOGSQL_SOURCE_MEM_H
#define KS_QUERY_LOGSQL_SOURCE_MEM_H

#include "query/logsql/source.h"

struct ks_lq_mem;
/* block_rows: how many rows of neighbouring time a block holds; 0 = 1000. */
KS_NODISCARD ks_err ks_lq_mem_new(uint32_t block_rows, struct ks_lq_mem **ret);
void ks_lq_mem_free(struct ks_lq_mem *m);
/* Copies the row. tags: label bytes of its stream. Empty values are left out. */
KS_NODISCARD ks_err ks_lq_mem_add(struct ks_lq_mem *m, struct ks_tenant tenant, int64_t time_ns,
                                  struct ks_slice tags, const struct ks_log_field *fields,
                                  size_t count);
struct ks_lq_source ks_lq_source_mem(struct ks_lq_mem *m);

#endif
