/* Buckets of `stats by (field:size offset o)`. Pure. */
#ifndef KS_QUERY_LOGSQL_BUCKET_H
#define KS_QUERY_LOGSQL_BUCKET_H

#include "base/arena.h"
#include "query/logsql/syntax/ast.h"

/* The start of the bucket a time lies in. */
int64_t ksi_lq_bucket_time(const struct ks_lq_by *by, int64_t ns);
/* How long a bucket of times lasts; 0: not all are as long. */
int64_t ksi_lq_bucket_ns(const struct ks_lq_by *by);
/*
 * The start of the bucket of a value in the value's own form: numbers, times, addresses, durations
 * and sizes; other texts are their own bucket. Made in the arena.
 */
KS_NODISCARD ks_err ksi_lq_bucket_text(const struct ks_lq_by *by, struct ks_slice v,
                                       struct ks_arena *arena, struct ks_slice *ret);

#endif
