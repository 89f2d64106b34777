/*
 * Log stores: rows of time, stream and fields, on the engine's log, container, cache and budgets.
 * One object holds all stores (logs, audit, …), each with its own folder, retention and parts by
 * UTC day:
 *
 *   <data>/logs/<store>/MANIFEST, parts/<day>/<id>.part, tombs/…
 *
 * Writing: rows are acknowledged when the log has them; they are visible to queries at once.
 * Reading: a scan pins what there is; its blocks are read by any number of threads, one thread per
 * block. Any thread may call anything but open and close.
 */
#ifndef KS_ENGINE_LOG_STORE_H
#define KS_ENGINE_LOG_STORE_H

#include "engine/engine.h"
#include "engine/logs/log_batch.h"
#include "engine/signal.h"
#include "storage/logs/column.h"
#include "storage/logs/pred.h"

struct ks_logs;      /* all stores */
struct ks_log_store; /* one of them */

struct ks_log_retention_rule { /* rows of streams that match live shorter or longer than the store's
                                */
    struct ks_selector *selectors;
    size_t selector_count;
    int64_t keep_ns;
};

struct ks_log_store_opts {
    const char *name;            /* [a-z0-9_-]{1,32} */
    int64_t retention_ms;        /* 0 = 7 days; at least 1 day */
    int64_t future_retention_ms; /* 0 = 2 days */
    int64_t max_backfill_age_ms; /* 0 = none */
    uint64_t max_disk_bytes;     /* 0 = no limit; oldest days go first, the newest two stay */
    int64_t
        dedup_window_ms; /* -logs.dedupWindow: an identical batch within it is stored once; 0 off */
    const struct ks_log_retention_rule *rules;
    size_t rule_count;
};

struct ks_logs_opts {
    const struct ks_log_store_opts *stores;
    size_t store_count;
    uint64_t memory_bytes;     /* of rows not on disk yet, all stores; 0 = 64 MiB */
    int64_t flush_interval_ms; /* 0 = 5 min: memory to parts at the latest */
};

/* Made before the engine, given to it as a signal, freed after it. */
KS_NODISCARD ks_err ks_logs_new(const struct ks_logs_opts *opts, struct ks_logs **ret);
struct ks_signal ks_logs_signal(struct ks_logs *l);
void ks_logs_free(struct ks_logs *l);
/* NULL: no such store. */
struct ks_log_store *ks_logs_store(struct ks_logs *l, struct ks_slice name);
struct ks_log_store *ks_logs_store_at(struct ks_logs *l, size_t i); /* NULL at the end */
const char *ks_log_store_name(const struct ks_log_store *s);

/* --- writing --- */
/* The row limit is that of a record of the log (2 MiB) less room for its tables. */
enum { KS_LOG_NAME_MAX = 128, KS_LOG_ROW_MAX = (2 << 20) - (64 << 10), KS_LOG_FIELDS_MAX = 2000 };
struct ks_log_write_result {
    uint64_t stored, too_old, too_new;
    uint64_t too_many_fields, name_too_long, row_too_large; /* dropped by the hard limits above */
    uint64_t streams_created;
    bool duplicate; /* the whole batch was stored before, within the window */
};
/* Errors as ks_engine_write: KS_EREADONLY, KS_ENOSPC, KS_ECLOSED, KS_EAGAIN memory pressure. */
KS_NODISCARD ks_err ks_log_store_write(struct ks_log_store *s, const struct ks_log_batch *batch,
                                       struct ks_log_write_result *ret);

/* --- reading --- */
typedef bool (*ks_stream_fn)(void *arg, const struct ks_log_stream *stream);

struct ks_log_scan_opts {
    const struct ks_tenant *tenants; /* NULL: all */
    size_t tenant_count;
    int64_t min_ns, max_ns; /* inclusive */
    ks_stream_fn stream;    /* NULL: all; asked once per stream and scan, any thread */
    void *stream_arg;
    struct ks_read_ctx *ctx; /* may be NULL: deadline, cancel */
};

struct ks_log_scan;
KS_NODISCARD ks_err ks_log_store_scan(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                                      struct ks_log_scan **ret);
void ks_log_scan_free(struct ks_log_scan *scan);

/* Blocks are in descending order of their newest row, so that a limit of the newest rows ends
 * early. */
struct ks_log_block_meta {
    int64_t min_ns, max_ns; /* of all its rows, also those outside the scan */
    uint32_t row_count;
    uint64_t bytes; /* of text, about */
};
size_t ks_log_scan_count(const struct ks_log_scan *scan);
struct ks_log_block_meta ks_log_scan_meta(const struct ks_log_scan *scan, size_t i);

/*
 * One block, read as its columns are asked for. Everything it hands out lives until it is closed or
 * opened anew. One thread; reuse one object per worker (its buffers are kept).
 */
struct ks_log_block;
KS_NODISCARD ks_err ks_log_block_new(struct ks_log_block **ret);
void ks_log_block_free(struct ks_log_block *b);
KS_NODISCARD ks_err ks_log_block_open(struct ks_log_block *b, struct ks_log_scan *scan, size_t i);

uint32_t ks_log_block_rows(const struct ks_log_block *b);
/*
 * Rows of the scan: in time range, of its tenants and streams, not deleted, not expired. Clears the
 * bits of the others; *ret_any says whether one is left.
 */
KS_NODISCARD ks_err ks_log_block_select(struct ks_log_block *b, uint64_t *bits, bool *ret_any);
KS_NODISCARD ks_err ks_log_block_times(struct ks_log_block *b, const int64_t **ret_ns);
/* Streams of the block, and for each row which of them. */
KS_NODISCARD ks_err ks_log_block_streams(struct ks_log_block *b,
                                         const struct ks_log_stream **ret_streams,
                                         size_t *ret_count, const uint32_t **ret_of_row);
/* Names of the columns of the block, ascending; `_msg` among them, without `_time`, `_stream`,
 * `_stream_id`. Stream tags are columns too where the rows carry them as fields. */
KS_NODISCARD ks_err ks_log_block_names(struct ks_log_block *b, const struct ks_slice **ret,
                                       size_t *ret_count);

/* The text of a column. KS_COL_ABSENT, not an error, when the block has none of that name. */
KS_NODISCARD ks_err ks_log_block_column(struct ks_log_block *b, struct ks_slice name,
                                        struct ks_log_column *ret);
/*
 * The same for some rows only: values of rows whose bit is 0 are undefined. Cheaper for templates
 * and compressed text when few rows are asked for.
 */
KS_NODISCARD ks_err ks_log_block_column_rows(struct ks_log_block *b, struct ks_slice name,
                                             const uint64_t *bits, struct ks_log_column *ret);
/* Clears the bits of rows whose value does not match, reading as little as the hints allow. */
KS_NODISCARD ks_err ks_log_block_filter(struct ks_log_block *b, struct ks_slice name,
                                        const struct ks_log_pred *pred, uint64_t *bits);

/* --- streams and tenants without reading rows --- */
/* Streams with rows in the range (day granularity on disk), each once per tenant; row_count about.
 */
typedef bool (*ks_log_stream_fn)(void *arg, const struct ks_log_stream *stream, uint64_t row_count);
KS_NODISCARD ks_err ks_log_store_streams(struct ks_log_store *s,
                                         const struct ks_log_scan_opts *opts, ks_log_stream_fn fn,
                                         void *arg);
KS_NODISCARD ks_err ks_log_store_tenants(struct ks_log_store *s, int64_t min_ns, int64_t max_ns,
                                         ks_tenant_fn fn, void *arg);

/* --- live tail: rows in order of arrival --- */
/* The position after what has arrived so far. */
uint64_t ks_log_store_arrival(struct ks_log_store *s);
/*
 * A scan over the rows that arrived at positions [from, to) and match opts: each row exactly once,
 * whatever its time. KS_ENOTFOUND when part of them has left memory: ret_first is what is still
 * there.
 */
KS_NODISCARD ks_err ks_log_store_scan_arrivals(struct ks_log_store *s,
                                               const struct ks_log_scan_opts *opts, uint64_t from,
                                               uint64_t to, uint64_t *ret_first,
                                               struct ks_log_scan **ret);
/* Waits until something arrived after position `after`, at most timeout_ms. */
void ks_log_store_wait(struct ks_log_store *s, uint64_t after, int64_t timeout_ms);

/* --- housekeeping --- */
/*
 * Hides the given rows for good; merges free their space. `pick` is called with each block of the
 * scan and clears the bits of rows to keep. Rows in memory are flushed first.
 */
typedef ks_err (*ks_log_pick_fn)(void *arg, struct ks_log_block *b, uint64_t *bits);
KS_NODISCARD ks_err ks_log_store_delete(struct ks_log_store *s, const struct ks_log_scan_opts *opts,
                                        ks_log_pick_fn pick, void *arg, uint64_t *ret_rows);
KS_NODISCARD ks_err ks_log_store_flush(struct ks_log_store *s);
/* Merges the parts of days whose name begins with prefix ("20261121", "" all). */
KS_NODISCARD ks_err ks_log_store_merge(struct ks_log_store *s, const char *day_prefix);

struct ks_log_store_stats {
    uint64_t rows_stored_total, rows_too_old_total, rows_too_new_total, streams_created_total;
    uint64_t memory_rows, memory_bytes, part_rows, part_count, block_count, day_count;
    uint64_t data_bytes, index_bytes; /* on disk */
    uint64_t text_bytes;              /* of part_rows, uncompressed */
    uint64_t merges_total, merged_rows_total, active_merges, flushes_total, quarantined_parts;
    int64_t min_ns, max_ns; /* of stored rows; min > max: none */
};
void ks_log_store_get_stats(struct ks_log_store *s, struct ks_log_store_stats *ret);

#endif
