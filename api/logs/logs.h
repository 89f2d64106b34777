/* The handlers of log ingestion (api/logs/routes.c) and their decoders. */
#ifndef KS_API_LOGS_LOGS_H
#define KS_API_LOGS_LOGS_H

#include "api/logs/log_ingest.h"

ks_err ks_jsonline_handle(struct ks_http_request *req);

/*
 * Decoders: from the text of a body to rows, without HTTP. A line or entry that cannot be read is
 * skipped and noted (ks_log_skip); errors are those of writing, or of a body that is malformed
 * whole.
 */
KS_NODISCARD ks_err ks_jsonline_decode(struct ks_log_ingest *in, struct ks_slice body,
                                       size_t max_line_bytes);

enum { KS_LOG_LINE_BYTES = 256 << 10 };

#endif
