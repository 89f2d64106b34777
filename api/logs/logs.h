/* The handlers of log ingestion (api/logs/routes.c) and their decoders. */
#ifndef KS_API_LOGS_LOGS_H
#define KS_API_LOGS_LOGS_H

#include "api/logs/log_ingest.h"

ks_err ks_jsonline_handle(struct ks_http_request *req);
ks_err ks_es_bulk_handle(struct ks_http_request *req);
ks_err ks_es_info_handle(struct ks_http_request *req);    /* the version, for pings */
ks_err ks_es_license_handle(struct ks_http_request *req); /* canned answers of the set-up calls */
ks_err ks_es_empty_handle(struct ks_http_request *req);
ks_err ks_loki_push_handle(struct ks_http_request *req);
ks_err ks_otlp_logs_handle(struct ks_http_request *req);
struct ks_grpc_call;
ks_err ks_otlp_logs_grpc(struct ks_grpc_call *call);
ks_err ks_datadog_handle(struct ks_http_request *req);
ks_err ks_splunk_handle(struct ks_http_request *req);
ks_err ks_journald_handle(struct ks_http_request *req);
ks_err ks_log_native_handle(struct ks_http_request *req);   /* vlagent */
ks_err ks_log_internal_handle(struct ks_http_request *req); /* vlinsert */

/*
 * Decoders: from the text of a body to rows, without HTTP. A line or entry that cannot be read is
 * skipped and noted (ks_log_skip); errors are those of writing, or of a body that is malformed
 * whole.
 */
KS_NODISCARD ks_err ks_jsonline_decode(struct ks_log_ingest *in, struct ks_slice body,
                                       size_t max_line_bytes);

/* Items of the answer, {"create":…} with commas, go to `items`. *ret_failed: some are errors. */
KS_NODISCARD ks_err ks_es_bulk_decode(struct ks_log_ingest *in, struct ks_slice body,
                                      size_t max_line_bytes, struct ks_buf *items,
                                      bool *ret_failed);
struct ks_loki_opts {
    bool keep_message;      /* a line that is a JSON object stays one */
    struct ks_slice prefix; /* of the fields in it */
};
KS_NODISCARD ks_err ks_loki_json_decode(struct ks_log_ingest *in, struct ks_slice body,
                                        const struct ks_loki_opts *opts);
KS_NODISCARD ks_err ks_loki_proto_decode(struct ks_log_ingest *in, struct ks_slice body,
                                         const struct ks_loki_opts *opts);
KS_NODISCARD ks_err ks_otlp_logs_decode(struct ks_log_ingest *in, struct ks_slice message);
/* time_ns: of rows without a timestamp of their own. */
KS_NODISCARD ks_err ks_datadog_decode(struct ks_log_ingest *in, struct ks_slice body,
                                      int64_t time_ns);
KS_NODISCARD ks_err ks_splunk_decode(struct ks_log_ingest *in, struct ks_slice body);
KS_NODISCARD ks_err ks_journald_decode(struct ks_log_ingest *in, struct ks_slice body,
                                       bool metadata);
/* tenant: of all rows; NULL: as each row says. */
KS_NODISCARD ks_err ks_log_native_decode(struct ks_log_ingest *in, struct ks_slice body,
                                         const struct ks_tenant *tenant);

/* A string literal as Go writes it, at the start of s: "…" or `…`. *ret_used: its bytes. */
KS_NODISCARD ks_err ks_go_unquote(struct ks_arena *arena, struct ks_slice s, struct ks_slice *ret,
                                  size_t *ret_used);

enum { KS_LOG_LINE_BYTES = 256 << 10 };

#endif
