/*
 * Days of spans on disk (-traces.retentionPeriod): a log store of their own, rows as span_rows.h
 * makes them. Everything acknowledged is in it from the moment the ring has it until its day is
 * dropped, so what the ring has evicted is answered from here.
 *
 * Any thread. Spans handed out live in the caller's arena.
 */
#ifndef KS_ENGINE_TRACES_HISTORY_H
#define KS_ENGINE_TRACES_HISTORY_H

#include "engine/traces/span_rows.h"
#include "storage/traces/ring.h"

struct ksi_history;
KS_NODISCARD ks_err ksi_history_new(struct ks_log_store *store, struct ksi_history **ret);
void ksi_history_free(struct ksi_history *h);

/* Durable on return. */
KS_NODISCARD ks_err ksi_history_write(struct ksi_history *h, const struct ks_batch *b);
/* Spans of the traces, equal ones once, in no order. */
KS_NODISCARD ks_err ksi_history_get(struct ksi_history *h, struct ks_tenant tenant,
                                    const struct ks_trace_id *ids, size_t count,
                                    struct ks_arena *arena, struct ks_span **ret,
                                    size_t *ret_count);
/* Ids of at most q->limit traces that fit and are not among `known`, those with the newest matching
 * span first. */
KS_NODISCARD ks_err ksi_history_search(struct ksi_history *h, struct ks_tenant tenant,
                                       const struct ks_trace_query *q,
                                       const struct ks_trace_id *known, size_t known_count,
                                       struct ks_arena *arena, struct ks_trace_id **ret,
                                       size_t *ret_count);
KS_NODISCARD ks_err ksi_history_heads(struct ksi_history *h, struct ks_tenant tenant,
                                      const struct ks_trace_query *q, ks_span_head_fn fn,
                                      void *arg);
/* Services (service empty), or names of operations of one; unsorted, may repeat. */
typedef ks_err (*ksi_name_fn)(void *arg, struct ks_slice name);
KS_NODISCARD ks_err ksi_history_names(struct ksi_history *h, struct ks_tenant tenant,
                                      struct ks_slice service, ksi_name_fn fn, void *arg);
/*
 * Once, when the store is open. What was in it before this process began may be parts of traces
 * that the ring takes for new: it does not remember evictions of another process. So only traces
 * whose spans began after since_ns are whole without a look; 0 when nothing was there.
 */
void ksi_history_started(struct ksi_history *h);
uint64_t ksi_history_since_ns(const struct ksi_history *h);
/* Whether there is nothing in it. */
bool ksi_history_empty(struct ksi_history *h);

#endif
