/*
 * Spans as rows of a log store and back: docs/format/span-rows.md. The rows are what LogsQL shows;
 * what fields alone do not say (types of values, schema URLs, spans that do not fit the form) is in
 * hidden fields, so that a span comes back as it was, but for the order of its attributes.
 */
#ifndef KS_ENGINE_TRACES_SPAN_ROWS_H
#define KS_ENGINE_TRACES_SPAN_ROWS_H

#include "engine/logs/log_store.h"
#include "storage/traces/batch.h"

/* Fields whose name begins so are not for users. */
#define KS_SPAN_ROW_HIDDEN "_ks_"

/* One writer's memory, reused. */
struct ks_span_rows;
KS_NODISCARD ks_err ks_span_rows_new(struct ks_span_rows **ret);
void ks_span_rows_free(struct ks_span_rows *w);

/* Empties it; then spans are added, whose texts must live until the rows are written. */
void ks_span_rows_begin(struct ks_span_rows *w);
KS_NODISCARD ks_err ks_span_rows_add(struct ks_span_rows *w, struct ks_tenant tenant,
                                     const struct ks_span *s);
/* The batch's spans: all it needs is kept until the next begin. */
KS_NODISCARD ks_err ks_span_rows_add_batch(struct ks_span_rows *w, const struct ks_batch *b);
const struct ks_log_batch *ks_span_rows_batch(const struct ks_span_rows *w);

/*
 * The spans of a block's rows whose bit is 1, in arena memory that needs nothing else. rows: room
 * for as many numbers as there are bits; may be NULL. KS_ECORRUPT: a row is no span.
 */
KS_NODISCARD ks_err ks_span_rows_read(struct ks_log_block *b, const uint64_t *bits,
                                      struct ks_arena *arena, struct ks_span **ret,
                                      size_t *ret_count);

#endif
