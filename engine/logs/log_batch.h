/*
 * Rows on their way into a log store, as decoders hand them over. All slices are borrowed until the
 * write returned. One batch per request worker, reused; nothing is allocated per row once it is
 * warm.
 *
 * A field's value "" means absent. The message field is named "_msg". `_time`, `_stream` and
 * `_stream_id` are not fields. Values are arbitrary bytes and come back byte for byte.
 */
#ifndef KS_ENGINE_LOG_BATCH_H
#define KS_ENGINE_LOG_BATCH_H

#include "base/labels.h"

struct ks_log_field {
    struct ks_slice name, value;
};

/* VictoriaLogs' stream id: tenant and a 128-bit hash of the canonical tags; printed as 48 hex
 * digits. */
struct ks_stream_id {
    struct ks_tenant tenant;
    uint64_t hi, lo;
};

struct ks_log_stream {
    struct ks_tenant tenant;
    struct ks_slice tags; /* label bytes (base/labels.h), canonical; "" is the stream {} */
    struct ks_stream_id id;
};

struct ks_log_row {
    int64_t time_ns;
    uint32_t stream;      /* of the batch */
    uint32_t field_count; /* its fields follow those of the row before */
    size_t field_first;
};

struct ks_log_batch {
    struct ks_log_stream *streams;
    struct ks_log_row *rows;
    struct ks_log_field *fields;
    size_t stream_count, stream_cap, row_count, row_cap, field_count, field_cap;
    uint64_t
        bytes; /* names and values added so far: decoders write the batch out when it is large */
    struct ks_arena arena; /* for what decoders have to build; reset with the batch */
    /* The batch's own: streams by id (index + 1), and the last ones by their tags as given. */
    uint32_t *table;
    size_t table_cap;
    uint32_t *recent;
    struct ks_label *labels;
    size_t label_cap;
    struct ks_buf scratch;
};

void ks_log_batch_init(struct ks_log_batch *b, size_t arena_max);
void ks_log_batch_reset(struct ks_log_batch *b);
void ks_log_batch_done(struct ks_log_batch *b);

/*
 * The stream of these tags; a stream met before in the batch gives the same index. Tags may be in
 * any order, with empty values (left out) and repeated names (the last one counts).
 */
KS_NODISCARD ks_err ks_log_batch_stream(struct ks_log_batch *b, struct ks_tenant tenant,
                                        const struct ks_label *tags, size_t count,
                                        uint32_t *ret_stream);
/* Adds a row; fields are copied as slices. Empty values are left out; of equal names the last one
 * counts. */
KS_NODISCARD ks_err ks_log_batch_row(struct ks_log_batch *b, uint32_t stream, int64_t time_ns,
                                     const struct ks_log_field *fields, size_t count);

/* `{a="b",c="d"}` as VictoriaLogs prints it, from label bytes. */
void ks_stream_print(struct ks_slice tags, struct ks_buf *out);
/* The id of canonical label bytes. */
struct ks_stream_id ks_stream_id_of(struct ks_tenant tenant, struct ks_slice tags);
#define KS_STREAM_ID_TEXT 48
void ks_stream_id_print(struct ks_stream_id id, char out[KS_STREAM_ID_TEXT]);
bool ks_stream_id_parse(struct ks_slice text, struct ks_stream_id *ret);

#endif
