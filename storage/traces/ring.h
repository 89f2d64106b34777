/*
 * The trace store in memory: per tenant a FIFO ring of traces, ordered by when an id was first
 * seen, and a second, smaller ring for traces that shall outlive it (pinned, or fit -traces.keep).
 * Rings are runs of generations (gen_priv.h); evicting is moving a cursor, and freeing memory is
 * dropping a generation whose traces are all gone.
 *
 * Bounds: traces per tenant, bytes over all tenants (the oldest generation of the largest tenant
 * goes first), spans per trace, tenants, names of services and operations per tenant (they age with
 * the generations that saw them).
 *
 * Thread role: any thread may call anything. Writers are serialised by one mutex, held for at most
 * a batch (KS_BATCH_SPANS_MAX) and its record in the log; readers never wait for that one. No step
 * of a write depends on how much the ring holds: tables grow piece by piece.
 * Durability is not here: see engine/traces.
 */
#ifndef KS_STORAGE_TRACES_RING_H
#define KS_STORAGE_TRACES_RING_H

#include "storage/traces/batch.h"

struct ks_traces;

struct ks_traces_opts {
    uint32_t max_traces;          /* per tenant; 0 = 100 000 */
    uint32_t max_kept;            /* of the second ring; 0 = a tenth of max_traces */
    uint64_t max_bytes;           /* all together; 0 = 1 GiB */
    uint32_t max_spans_per_trace; /* 0 = 50 000 */
    uint32_t max_tenants;         /* 0 = 10 000 */
    uint32_t max_names;           /* services and operations per tenant; 0 = 50 000 */
    bool keep_errors;             /* traces with a span of status ERROR go to the second ring */
    uint64_t keep_duration_ns;    /* and those with a span of at least this; 0 = none */
};

KS_NODISCARD ks_err ks_traces_new(const struct ks_traces_opts *opts, struct ks_traces **ret);
void ks_traces_free(struct ks_traces *t);

struct ks_traces_result {
    uint32_t stored;
    uint32_t over_trace_limit; /* refused: the trace has all the spans it may have */
    uint32_t late;             /* stored, but the rest of their trace was evicted before */
};
/*
 * Called under the writers' mutex once the batch's traces have their numbers, before anything is
 * stored: writes the batch to the log and returns its position. An error stops the write.
 */
typedef ks_err (*ks_traces_log_fn)(void *arg, struct ks_batch *b, uint64_t *ret_lsn);

/* Stores a batch. log may be NULL. Errors: log's, KS_ELIMIT too many tenants, KS_ENOMEM. */
KS_NODISCARD ks_err ks_traces_write(struct ks_traces *t, struct ks_batch *b, ks_traces_log_fn log,
                                    void *arg, struct ks_traces_result *ret);
/* A batch from the log: numbers are those in the batch. What a loaded snapshot has already is left
 * out. */
KS_NODISCARD ks_err ks_traces_replay(struct ks_traces *t, struct ks_batch *b, uint64_t lsn);

/* Marks a trace to be moved to the second ring instead of being lost. False: not known. */
bool ks_traces_pin(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id);

/* --- reading --- */
/* Spans of a trace in order of arrival, equal ones once; slices live as long as *hold. */
struct ks_traces_hold;
void ks_traces_release(struct ks_traces_hold *hold);

/* KS_ENOTFOUND: no such trace. */
KS_NODISCARD ks_err ks_traces_get(struct ks_traces *t, struct ks_tenant tenant,
                                  struct ks_trace_id id, struct ks_arena *arena,
                                  struct ks_span **ret_spans, size_t *ret_count,
                                  struct ks_traces_hold **ret_hold);

/* How many spans the ring has of a trace; 0: it is not there. */
size_t ks_traces_count_spans(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id);

/* Whether the ring has all that came of a trace: it was not evicted before, as far as is known,
 * none of its spans were refused, and none began before since_ns. False: not there. */
bool ks_traces_whole(struct ks_traces *t, struct ks_tenant tenant, struct ks_trace_id id,
                     uint64_t since_ns);

/* A condition on attributes; all conditions of a search must hold for one span. */
enum ks_cond_scope {
    KS_COND_RESOURCE = 1,
    KS_COND_SPAN = 2,
    KS_COND_SCOPE = 4,
    KS_COND_EVENT = 8,
    KS_COND_LINK = 16,
    KS_COND_ANY = 31,
    KS_COND_FIELD = 32, /* a field of the span, named in `field` */
};
enum ks_cond_field {
    KS_FIELD_NAME,
    KS_FIELD_KIND,   /* value: server, client, … or the number */
    KS_FIELD_STATUS, /* value: unset, ok, error or the number */
    KS_FIELD_ERROR,  /* value: true, false, unset */
    KS_FIELD_STATUS_MESSAGE,
    KS_FIELD_STATE,
    KS_FIELD_SCOPE_NAME,
    KS_FIELD_SCOPE_VERSION,
};
struct ks_trace_cond {
    unsigned scopes;
    enum ks_cond_field field;
    struct ks_slice key, value;
    bool negate; /* no such value there: != */
};
struct ks_trace_query {
    struct ks_slice service, operation;        /* empty: any */
    uint64_t min_start_ns, max_start_ns;       /* of the span, inclusive */
    bool by_end;                               /* the range is for the span's end instead */
    uint64_t min_duration_ns, max_duration_ns; /* inclusive */
    const struct ks_trace_cond *conds;
    size_t cond_count;
    size_t limit;        /* traces */
    _Atomic int *cancel; /* not NULL and nonzero: KS_ECANCELED */
    int64_t deadline_us; /* of ks_mono_us; 0: none */
};
/* Ids of matching traces, first seen last ones first. *ret_ids in the arena. */
KS_NODISCARD ks_err ks_traces_search(struct ks_traces *t, struct ks_tenant tenant,
                                     const struct ks_trace_query *q, struct ks_arena *arena,
                                     struct ks_trace_id **ret_ids, size_t *ret_count);
/* Whether one span fits (service, operation, times, conditions). For filters on a single trace. */
bool ks_trace_query_matches(const struct ks_trace_query *q, const struct ks_span *s);

/* Calls fn for every span that fits q (its limit does not count), with what the span's head says.
 */
struct ks_span_head {
    struct ks_slice service, name;
    uint32_t kind, status;
    uint64_t start_ns, end_ns;
};
typedef ks_err (*ks_span_head_fn)(void *arg, const struct ks_span_head *h);
KS_NODISCARD ks_err ks_traces_heads(struct ks_traces *t, struct ks_tenant tenant,
                                    const struct ks_trace_query *q, ks_span_head_fn fn, void *arg);

/* Calls fn for every span of the tenant, oldest generation first; an error stops and is returned.
 * The span is valid during the call. */
typedef ks_err (*ks_span_fn)(void *arg, const struct ks_span *s);
KS_NODISCARD ks_err ks_traces_each(struct ks_traces *t, struct ks_tenant tenant, ks_span_fn fn,
                                   void *arg);

/* --- spans in pieces: for readers that filter and order by themselves (LogsQL) --- */
/*
 * A view of a tenant's live traces, in pieces of neighbouring traces. Opening it copies a list of
 * generations and looks at the head of every trace; spans are read piece by piece, by any number of
 * threads. What it holds stays readable until it is closed, also when it is evicted meanwhile;
 * spans that come later may or may not be seen.
 */
struct ks_traces_scan;
struct ks_traces_piece {
    uint64_t min_start_ns, max_end_ns; /* over its spans when the scan was opened */
    uint32_t spans;                    /* then */
};
KS_NODISCARD ks_err ks_traces_scan_open(struct ks_traces *t, struct ks_tenant tenant,
                                        uint32_t piece_spans, struct ks_traces_scan **ret);
void ks_traces_scan_close(struct ks_traces_scan *s);
size_t ks_traces_scan_count(const struct ks_traces_scan *s);
struct ks_traces_piece ks_traces_scan_piece(const struct ks_traces_scan *s, size_t i);
/* Leaves only traces of these ids, each a piece of its own. Before anything is read. */
KS_NODISCARD ks_err ks_traces_scan_only(struct ks_traces_scan *s, const struct ks_trace_id *ids,
                                        size_t count);
/*
 * The heads of a piece's spans, equal spans once: ids, times, name, kind, status, flags, resource
 * and scope; the rest is not there yet. fill() completes those whose bit is 1 (bits NULL: all).
 * Memory: the arena, which must be the same for both.
 */
struct ks_traces_heads {
    struct ks_span *spans;
    size_t count;
    /* The scan's own. */
    uint32_t *at;
    void *memo;
};
KS_NODISCARD ks_err ks_traces_scan_heads(struct ks_traces_scan *s, size_t i, struct ks_arena *arena,
                                         struct ks_traces_heads *ret);
KS_NODISCARD ks_err ks_traces_scan_fill(struct ks_traces_scan *s, size_t i,
                                        const struct ks_traces_heads *heads, const uint64_t *bits,
                                        struct ks_arena *arena);

/* Names, sorted. Copied to the arena. */
KS_NODISCARD ks_err ks_traces_services(struct ks_traces *t, struct ks_tenant tenant,
                                       struct ks_arena *arena, struct ks_slice **ret,
                                       size_t *ret_count);
struct ks_operation {
    struct ks_slice name;
    uint32_t kind;
};
/* By name and kind, sorted; one name may come with several kinds. */
KS_NODISCARD ks_err ks_traces_operations(struct ks_traces *t, struct ks_tenant tenant,
                                         struct ks_slice service, struct ks_arena *arena,
                                         struct ks_operation **ret, size_t *ret_count);

struct ks_edge {
    struct ks_slice parent, child;
    uint64_t calls;
};
/* Calls between services by traces that began in [min, max], to the minute. filter: NULL, or what
 * both spans of a call must fit. self: count calls within one service too. Sorted by parent, child.
 */
KS_NODISCARD ks_err ks_traces_edges(struct ks_traces *t, struct ks_tenant tenant,
                                    uint64_t min_start_ns, uint64_t max_start_ns,
                                    const struct ks_trace_query *filter, bool self,
                                    struct ks_arena *arena, struct ks_edge **ret,
                                    size_t *ret_count);

/* Makes the calls of up to max generations that are not the newest, ahead of ks_traces_edges. Some
 * milliseconds; for a background thread, now and then. */
KS_NODISCARD ks_err ks_traces_settle(struct ks_traces *t, size_t max);

typedef void (*ks_traces_tenant_fn)(void *arg, struct ks_tenant tenant);
void ks_traces_tenants(struct ks_traces *t, ks_traces_tenant_fn fn, void *arg);

/* How long writes were held up in the ring, by wall clock, without the time in the log. */
enum { KS_PAUSE_BUCKETS = 10 };
#define KS_PAUSE_BOUNDS_US                                                                         \
    {                                                                                              \
        100, 250, 500, 1000, 2500, 5000, 10000, 25000, 100000                                      \
    }
struct ks_traces_pauses {
    uint64_t buckets[KS_PAUSE_BUCKETS]; /* the last one: longer than all bounds */
    uint64_t count, sum_us;
    uint64_t max_us, max_log_us; /* max_log_us: the longest that the log took */
    uint64_t max_own_us;         /* the longest without the time that no core was free */
    int64_t max_at_ns;           /* when that of max_us ended, unix */
};

struct ks_traces_stats {
    uint64_t tenants, traces, kept_traces, spans, bytes, max_bytes, generations;
    uint64_t spans_total, evicted_traces_total, evicted_by_bytes_total, kept_total,
        late_spans_total, refused_spans_total, names_refused_total, pinned_total;
    uint64_t moved_spans_total; /* copied to second rings, traces that are on their way included */
    uint64_t services, operations;
    uint64_t pool_bytes, pool_free_bytes; /* what chunks are cut from; of it, free */
    struct ks_traces_pauses pauses;
};
void ks_traces_get_stats(struct ks_traces *t, struct ks_traces_stats *ret);

/* --- snapshots: engine/traces --- */
/*
 * Every live generation as a run of items (docs/format/trace-snapshot.md), oldest first, main rings
 * before second ones. Writers go on; the payload is valid during the call.
 */
enum ks_trimage {
    KS_TRIMAGE_HEAD = 16,
    KS_TRIMAGE_TEXT,
    KS_TRIMAGE_RECORDS,
    KS_TRIMAGE_TABLE,
    KS_TRIMAGE_SLOTS,
};
struct ks_traces_dump {
    void *arg;
    ks_err (*item)(void *arg, enum ks_trimage type, struct ks_slice payload);
};
KS_NODISCARD ks_err ks_traces_dump(struct ks_traces *t, const struct ks_traces_dump *d);

/*
 * The other way, into an empty store: items in the order of the dump, hostile bytes
 * (KS_ECORRUPT), then finish. threads: 0: the caller's own. One thread calls these.
 */
struct ks_traces_loader;
KS_NODISCARD ks_err ks_traces_loader_new(struct ks_traces *t, unsigned threads,
                                         struct ks_traces_loader **ret);
KS_NODISCARD ks_err ks_traces_loader_item(struct ks_traces_loader *l, enum ks_trimage type,
                                          struct ks_slice payload);
KS_NODISCARD ks_err ks_traces_loader_finish(struct ks_traces_loader *l);
void ks_traces_loader_free(struct ks_traces_loader *l);

/* Snapshots of version 1: a generation, then the batches of its spans with their numbers. */
KS_NODISCARD ks_err ks_traces_load_generation(struct ks_traces *t, struct ks_tenant tenant,
                                              bool kept, uint64_t first_seq, uint64_t lsn,
                                              uint64_t base_ns);
KS_NODISCARD ks_err ks_traces_load_batch(struct ks_traces *t, struct ks_batch *b);
/* The position of the last record that was written; everything up to it is stored. */
uint64_t ks_traces_lsn(struct ks_traces *t);

#endif
