/* Deletion of the rows a filter matches. */
#ifndef KS_QUERY_LOGSQL_DELETE_H
#define KS_QUERY_LOGSQL_DELETE_H

#include "engine/logs/log_store.h"
#include "query/logsql/syntax/ast.h"

/* Whether the filter may be used: subqueries may not, as their answer changes. KS_EINVAL. */
KS_NODISCARD ks_err ks_lq_delete_check(const struct ks_lq_filter *f);
/*
 * Hides every row of the tenant that matches, at once; the space is freed by merges. Rows written
 * while it runs may or may not be among them. ctx: cancel. Any thread; ret_rows may be NULL.
 */
KS_NODISCARD ks_err ks_lq_delete(struct ks_log_store *s, const struct ks_tenant *tenant,
                                 const struct ks_lq_filter *f, struct ks_read_ctx *ctx,
                                 uint64_t *ret_rows);

#endif
