/*
 * VictoriaLogs' query API: arguments in, a LogsQL query run, its answer out. Behaviour of 1.50 on
 * the wire; docs/format and the conformance suite say where it is on purpose not.
 *
 * The rows an access proxy allows: extra_filters and extra_stream_filters (each may be repeated)
 * are ANDed with everything the query reads, its subqueries and stream_context included.
 */
#ifndef KS_API_VLOGS_VLOGS_H
#define KS_API_VLOGS_VLOGS_H

#include "api/app.h"
#include "query/logsql/exec.h"
#include "query/logsql/syntax/parser.h"

struct ks_vl_ctx {
    struct ks_http_request *req;
    struct ks_app *app;
    struct ks_log_store *store; /* NULL: spans in memory */
    bool spans;                 /* rows are spans, of the ring or of days on disk */
    struct ks_lq_source source;
    int64_t now_ns;         /* what relative times count from: time, else end, else now; less 1 */
    int64_t min_ns, max_ns; /* of start and end, inclusive */
    bool has_start, has_end;
    struct ks_lq_query *query;
    const struct ks_lq_filter *extra;
    struct ks_lq_fields hidden;
    struct ks_read_ctx read;
    struct ks_lq_counters counters;
    /* Of /internal/select/ (wire.h): the protocol's version, or 0; its tenants. */
    int wire;
    bool wire_packed;
    struct ks_tenant *tenants;
    size_t tenant_count;
};

/* Store, times, filters, deadline and, when asked for, the query. Errors name the argument. */
KS_NODISCARD ks_err ks_vl_begin(struct ks_http_request *req, bool query, struct ks_vl_ctx *ret);
/* The query again with pipes behind it; without its own pipes when drop is true. */
KS_NODISCARD ks_err ks_vl_append(struct ks_vl_ctx *c, bool drop, const char *fmt, ...)
    KS_PRINTF(3, 4);
KS_NODISCARD ks_err ks_vl_run(struct ks_vl_ctx *c, uint64_t newest, uint64_t newest_offset,
                              struct ks_lq_stage *sink);
/* A whole number from 0 on; absent or empty gives fallback. */
KS_NODISCARD ks_err ks_vl_arg_uint(const struct ks_http_request *req, const char *name,
                                   uint64_t fallback, uint64_t *ret);
/* A duration in ns; a bare number is seconds. */
KS_NODISCARD ks_err ks_vl_arg_duration_ns(const struct ks_http_request *req, const char *name,
                                          int64_t fallback, int64_t *ret);
/* Turns errors of a query into the 400 VictoriaLogs answers, or lets them pass. */
KS_NODISCARD ks_err ks_vl_answer(struct ks_http_request *req, ks_err err);
/* A field name as it stands in a query. */
struct ks_slice ks_vl_quote(struct ks_http_request *req, struct ks_slice name);

/* --- rows kept in the request's arena, for answers that are put together from them --- */
struct ks_vl_table {
    struct ks_lq_stage s;
    struct ks_arena *arena;
    struct ks_lq_rows *batches;
    size_t count, cap;
    uint64_t row_count;
};
void ks_vl_table_init(struct ks_vl_table *t, struct ks_arena *arena);
/* Row by row: false at the end. */
struct ks_vl_cursor {
    const struct ks_vl_table *t;
    size_t batch;
    uint32_t row;
    const struct ks_lq_rows *rows;
};
static inline bool ks_vl_next(struct ks_vl_cursor *c)
{
    if (c->rows && ++c->row < c->rows->row_count)
        return true;
    if (c->batch >= c->t->count)
        return false;
    c->rows = &c->t->batches[c->batch++];
    c->row = 0;
    return true;
}
/* The value of a column in the current row; "" when there is none. */
struct ks_slice ks_vl_value(const struct ks_vl_cursor *c, const char *name,
                            char tmp[KS_LQ_TIME_TEXT_MAX]);

/* --- rows written as they come --- */
struct ks_vl_writer {
    struct ks_lq_stage s;
    struct ks_http_request *req;
    struct ks_buf out;
    struct ks_arena scratch;
    bool sorted; /* columns by name */
    bool csv, csv_header;
    struct ks_lq_names csv_columns;
};
void ks_vl_writer_init(struct ks_vl_writer *w, struct ks_http_request *req,
                       const struct ks_lq_query *q);
/* What is left goes out; called when the query ended well. */
KS_NODISCARD ks_err ks_vl_writer_end(struct ks_vl_writer *w);
void ks_vl_writer_done(struct ks_vl_writer *w);
/* {"a":"b",…}\n of one row; nothing for a row without values. order: column indexes. */
void ks_vl_write_row(struct ks_buf *out, const struct ks_lq_rows *rows, uint32_t row,
                     const uint32_t *order);
/* Column indexes by name, or as they are. */
KS_NODISCARD ks_err ks_vl_column_order(const struct ks_lq_rows *rows, bool sorted,
                                       struct ks_arena *arena, uint32_t **ret);
/* The last pipe fixes which columns there are and their order. */
bool ks_vl_fixed_columns(const struct ks_lq_query *q);

/* Running deletions of one server. Freeing stops and waits for them: before the engine closes. */
struct ks_vl_deletes;
KS_NODISCARD ks_err ks_vl_deletes_new(struct ks_vl_deletes **ret);
void ks_vl_deletes_free(struct ks_vl_deletes *d);

ks_err ks_vl_query(struct ks_http_request *req);
ks_err ks_vl_tail(struct ks_http_request *req);
ks_err ks_vl_hits(struct ks_http_request *req);
ks_err ks_vl_facets(struct ks_http_request *req);
ks_err ks_vl_stats_query(struct ks_http_request *req);
ks_err ks_vl_stats_query_range(struct ks_http_request *req);
ks_err ks_vl_streams(struct ks_http_request *req);
ks_err ks_vl_stream_ids(struct ks_http_request *req);
ks_err ks_vl_stream_field_names(struct ks_http_request *req);
ks_err ks_vl_stream_field_values(struct ks_http_request *req);
ks_err ks_vl_field_names(struct ks_http_request *req);
ks_err ks_vl_field_values(struct ks_http_request *req);
ks_err ks_vl_query_time_range(struct ks_http_request *req);
ks_err ks_vl_tenant_ids(struct ks_http_request *req);
ks_err ks_vl_delete_run(struct ks_http_request *req);
ks_err ks_vl_delete_stop(struct ks_http_request *req);
ks_err ks_vl_delete_active(struct ks_http_request *req);

#endif
