/*
 * Traces that outlive the process: the ring of storage/traces on the engine's log.
 *
 * A write is in the log before it is in the ring, and acknowledged when the log has it on disk
 * (ks_trace_store_commit). A flush writes the whole ring to <data>/traces/ring.snap
 * (docs/format/trace-snapshot.md); a start loads that and replays the log behind it. Without the
 * log (-traces.wal=false) a restart begins with an empty ring, as Jaeger's memory store does.
 *
 * Any thread may write and read. The signal's callbacks are the engine's to call.
 */
#ifndef KS_ENGINE_TRACE_STORE_H
#define KS_ENGINE_TRACE_STORE_H

#include "engine/signal.h"
#include "storage/traces/ring.h"

struct ks_trace_store;

struct ks_log_store;
struct ks_trace_store_opts {
    struct ks_traces_opts ring;
    bool no_log;
    /* -traces.retentionPeriod: spans are also kept there, for days. NULL: the ring is all. */
    struct ks_log_store *history;
};

/* Made before the engine, given to it as a signal, freed after it. */
KS_NODISCARD ks_err ks_trace_store_new(const struct ks_trace_store_opts *opts,
                                       struct ks_trace_store **ret);
struct ks_signal ks_trace_store_signal(struct ks_trace_store *s);
void ks_trace_store_free(struct ks_trace_store *s);

/* For reading what is in memory alone. */
struct ks_traces *ks_trace_store_ring(struct ks_trace_store *s);
/* Rows of all spans there are (span_rows.h), or NULL when no days are kept. */
struct ks_log_store *ks_trace_store_history(struct ks_trace_store *s);
/* Once, when the engine is open: what the ring has and the history has not goes there. */
KS_NODISCARD ks_err ks_trace_store_fill_history(struct ks_trace_store *s);

/*
 * Stores a batch. scratch is for its encoding. *lsn becomes the position to commit, if the log has
 * it. Errors: KS_EREADONLY the disk is full, KS_ELIMIT the batch does not fit a frame, KS_EAGAIN
 * too many tenants, KS_ECLOSED, KS_ENOMEM.
 */
KS_NODISCARD ks_err ks_trace_store_write(struct ks_trace_store *s, struct ks_batch *b,
                                         struct ks_buf *scratch, ks_lsn *lsn,
                                         struct ks_traces_result *ret);
/* Returns when everything up to lsn is durable by the log's policy; 0 returns at once. */
KS_NODISCARD ks_err ks_trace_store_commit(struct ks_trace_store *s, ks_lsn lsn);

/* --- reading ring and history as one: as the functions of storage/traces/ring.h --- */
/*
 * *ret_hold may be NULL. found: the id is one of many that a search found. Then days are not asked
 * about a trace that the ring has whole as far as it knows: it remembers what it evicted lately,
 * some turnovers at least. Asked for by itself a trace is looked for everywhere.
 */
KS_NODISCARD ks_err ks_trace_store_get(struct ks_trace_store *s, struct ks_tenant tenant,
                                       struct ks_trace_id id, bool found, struct ks_arena *arena,
                                       struct ks_span **ret_spans, size_t *ret_count,
                                       struct ks_traces_hold **ret_hold);
/* Whether that takes little: there are no days to ask, and the trace has few spans or is not there.
 */
bool ks_trace_store_at_hand(struct ks_trace_store *s, struct ks_tenant tenant,
                            struct ks_trace_id id);
/* Traces of the ring first, then older ones, each once. */
KS_NODISCARD ks_err ks_trace_store_search(struct ks_trace_store *s, struct ks_tenant tenant,
                                          const struct ks_trace_query *q, struct ks_arena *arena,
                                          struct ks_trace_id **ret_ids, size_t *ret_count);
KS_NODISCARD ks_err ks_trace_store_heads(struct ks_trace_store *s, struct ks_tenant tenant,
                                         const struct ks_trace_query *q, ks_span_head_fn fn,
                                         void *arg);
KS_NODISCARD ks_err ks_trace_store_services(struct ks_trace_store *s, struct ks_tenant tenant,
                                            struct ks_arena *arena, struct ks_slice **ret,
                                            size_t *ret_count);
/* Names that are only in the history come with kind 0. */
KS_NODISCARD ks_err ks_trace_store_operations(struct ks_trace_store *s, struct ks_tenant tenant,
                                              struct ks_slice service, struct ks_arena *arena,
                                              struct ks_operation **ret, size_t *ret_count);

/*
 * Pins a trace: it goes to the second ring instead of being evicted. For whoever stores a reference
 * to it (an exemplar, a log row at error level). False: not known, or the log does not take it.
 * *lsn becomes the position to commit, if the log has it.
 */
bool ks_trace_pin(struct ks_trace_store *s, struct ks_tenant tenant, struct ks_trace_id id,
                  ks_lsn *lsn);

struct ks_trace_store_stats {
    struct ks_traces_stats ring;
    uint64_t snapshots_total, snapshot_bytes, snapshot_ms, load_ms, replayed_total, damaged_total;
};
void ks_trace_store_get_stats(struct ks_trace_store *s, struct ks_trace_store_stats *ret);

#endif
