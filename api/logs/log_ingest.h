/*
 * From decoded fields to rows in a store: what all log protocols share. A decoder adds the fields
 * of a row with ks_log_add() and ends it with ks_log_row(); rows gather in the worker's batch,
 * which is written when it is large and at the end. Nothing is allocated per row once the worker is
 * warm.
 *
 * Here a row is normalised as VictoriaLogs does it: limits, ignored and extra fields, colours, the
 * default message, the stream. What is left out is counted by reason, and the first reason is kept
 * for the answer.
 */
#ifndef KS_API_LOGS_LOG_INGEST_H
#define KS_API_LOGS_LOG_INGEST_H

#include "api/logs/log_params.h"
#include "base/stats.h"
#include "engine/logs/log_store.h"
#include "storage/traces/span.h"

struct ks_app;
struct ks_trace_pins;

/* A protocol's own counters. */
struct ks_log_protocol {
    const char *name;
    struct ks_stat rows, bytes;
};
#define KS_LOG_PROTOCOL(var, text)                                                                 \
    static struct ks_log_protocol var = {text,                                                     \
                                         {.name = "vl_rows_ingested_total{type=\"" text "\"}"},    \
                                         {.name = "vl_bytes_ingested_total{type=\"" text "\"}"}};  \
    KS_STAT_ENTRY(var##_rows, .stat = &var.rows);                                                  \
    KS_STAT_ENTRY(var##_bytes, .stat = &var.bytes)

/* A worker's reusable memory for logs. */
struct ks_log_scratch {
    struct ks_log_batch batch;
    struct ks_arena keep; /* what outlives a row: fields that rows share */
    struct ks_log_field *fields;
    size_t field_cap;
    struct ks_label *tags; /* of the stream in the making, and of the row before */
    struct ks_slice *last_tags;
    size_t tag_cap, last_cap;
};
KS_NODISCARD ks_err ks_log_scratch_new(struct ks_log_scratch **ret);
void ks_log_scratch_free(struct ks_log_scratch *s);
/* Between requests: gives back what exceeds a usual one. */
void ks_log_scratch_trim(struct ks_log_scratch *s);

/* What happened to the rows of a request. */
struct ks_log_outcome {
    uint64_t rows;    /* ended by the decoder */
    uint64_t skipped; /* what the decoder could not read: lines, entries */
    uint64_t dropped; /* by limits and times */
    uint64_t stored;
    uint64_t first_skipped; /* number of the first thing skipped */
    char first_reason[256]; /* of what was left out, "" none */
};

enum { KS_LOG_PINS = 32 };

#define KS_LOG_TAGS_BY_NAME SIZE_MAX
#define KS_LOG_TAGS_GIVEN   (SIZE_MAX - 1)

struct ks_log_ingest {
    const struct ks_log_params *params;
    struct ks_log_store *store; /* NULL: rows stay in the batch (tests of decoders) */
    struct ks_log_protocol *protocol;
    struct ks_log_scratch *scratch;
    struct ks_log_batch *batch;
    struct ks_arena *arena; /* the batch's: gone after a flush, which ks_log_row() may do */
    struct ks_arena *keep;  /* the request's */
    int64_t now_ns;
    const char *source; /* of debug lines */
    struct ks_slice default_msg;
    size_t max_fields;
    bool hold;         /* no writing by ks_log_row(): what rows point into must stay */
    bool accept_dates; /* a time may be a date alone */
    /* the row in the making */
    struct ks_log_field *fields;
    size_t field_count, field_cap;
    bool overflow;
    /* the stream of the row before */
    bool stream_known;
    size_t stream_tags; /* given to ks_log_row() then */
    uint32_t stream;
    uint64_t row_bytes, counted_rows;
    /* Traces that rows at error level refer to: asked for when the rows are written. */
    struct ks_trace_pins *pins; /* NULL: none are wanted */
    struct ks_trace_id pin[KS_LOG_PINS];
    size_t pin_count;
    struct ks_log_outcome out;
};

/* scratch and params must outlive it. */
void ks_log_ingest_init(struct ks_log_ingest *in, struct ks_app *app,
                        struct ks_log_scratch *scratch, struct ks_log_protocol *protocol,
                        const struct ks_log_params *params);
/* For a request: store, worker's memory. The parameters are read before. */
KS_NODISCARD ks_err ks_log_ingest_begin(struct ks_http_request *req,
                                        struct ks_log_protocol *protocol,
                                        const struct ks_log_params *params,
                                        struct ks_log_ingest *ret);
/* Writes what is left; after it all rows counted as stored are in the log. */
KS_NODISCARD ks_err ks_log_ingest_end(struct ks_log_ingest *in);
/* The same after a decoder that gave err: what it read before stays. err, or that of the writing.
 */
KS_NODISCARD ks_err ks_log_ingest_end_with(struct ks_log_ingest *in, ks_err err);
KS_NODISCARD ks_err ks_log_flush(struct ks_log_ingest *in);
/* The same, but after an error the rows are still there, to try again. */
KS_NODISCARD ks_err ks_log_write_held(struct ks_log_ingest *in);

/* The decompressed body. KS_EUNSUPPORTED names an unknown encoding. */
KS_NODISCARD ks_err ks_log_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret);

KS_NODISCARD ks_err ks_log_add_slow(struct ks_log_ingest *in, struct ks_slice name,
                                    struct ks_slice value);
static inline ks_err ks_log_add(struct ks_log_ingest *in, struct ks_slice name,
                                struct ks_slice value)
{
    if (KS_UNLIKELY(in->field_count == in->field_cap))
        return ks_log_add_slow(in, name, value);
    in->fields[in->field_count++] = (struct ks_log_field){name, value};
    return KS_OK;
}
/* Drops the fields added since the count was `mark`: rows that share their first fields. */
static inline void ks_log_rewind(struct ks_log_ingest *in, size_t mark)
{
    in->field_count = mark;
    in->overflow = false;
}

/*
 * Ends the row: all fields added so far. tag_count: the first so many fields are the stream's tags,
 * or KS_LOG_TAGS_BY_NAME: the fields the parameters name, or KS_LOG_TAGS_GIVEN: the stream of the
 * call of ks_log_stream() right before. The fields stay for the next row until
 * rewound; a caller that changes the first tag_count of them calls ks_log_tags_changed().
 */
KS_NODISCARD ks_err ks_log_row(struct ks_log_ingest *in, int64_t time_ns, size_t tag_count);
/* Makes the first tag_count fields the tags of the next row, of that tenant. */
KS_NODISCARD ks_err ks_log_stream(struct ks_log_ingest *in, struct ks_tenant tenant,
                                  size_t tag_count);
static inline void ks_log_tags_changed(struct ks_log_ingest *in)
{
    in->stream_known = false;
}

/* The time of the first time field present, whose value is then empty; now when there is none. */
KS_NODISCARD ks_err ks_log_take_time(struct ks_log_ingest *in, int64_t *ret_ns);
/* Renames the first message field with a value, of the fields from `first` on. */
void ks_log_rename_msg(struct ks_log_ingest *in, size_t first);

/* One thing of the client's that could not be read; the text is that of the thread's error. */
void ks_log_skip(struct ks_log_ingest *in, const char *what, uint64_t number);

/* {"stored":…} for answers that say more than nothing; only when something was left out. */
void ks_log_report(const struct ks_log_ingest *in, struct ks_buf *out);

#endif
