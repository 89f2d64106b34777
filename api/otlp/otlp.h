/* OTLP over HTTP: spans. Answers and errors as the OTLP specification has them, in the request's
 * encoding. */
#ifndef KS_API_OTLP_OTLP_H
#define KS_API_OTLP_OTLP_H

#include "api/http.h"

ks_err ks_otlp_traces_handle(struct ks_http_request *req);

/* Whether the Content-Type is this one, whatever its parameters. */
bool ks_otlp_sent_as(const struct ks_http_request *req, const char *type);
/* The body as sent or unpacked, at most limit bytes; borrowed from req and its scratch. */
KS_NODISCARD ks_err ks_otlp_body(struct ks_http_request *req, size_t limit, struct ks_slice *ret);

/* The codes of google.rpc.Status, which gRPC and OTLP's HTTP errors share. */
enum ks_grpc_code {
    KS_GRPC_OK = 0,
    KS_GRPC_CANCELLED = 1,
    KS_GRPC_UNKNOWN = 2,
    KS_GRPC_INVALID_ARGUMENT = 3,
    KS_GRPC_DEADLINE_EXCEEDED = 4,
    KS_GRPC_NOT_FOUND = 5,
    KS_GRPC_RESOURCE_EXHAUSTED = 8,
    KS_GRPC_FAILED_PRECONDITION = 9,
    KS_GRPC_UNIMPLEMENTED = 12,
    KS_GRPC_INTERNAL = 13,
    KS_GRPC_UNAVAILABLE = 14,
    KS_GRPC_UNAUTHENTICATED = 16
};
enum ks_grpc_code ks_grpc_code_of(ks_err err);

/* google.rpc.Status { code, message } as protobuf or JSON. */
void ks_otlp_status(struct ks_buf *out, bool json, enum ks_grpc_code code, struct ks_slice message);
/* Export…Response { partial_success { rejected, message } }: nothing when nothing was rejected. */
void ks_otlp_partial(struct ks_buf *out, bool json, const char *rejected_name, uint64_t rejected,
                     struct ks_slice message);
/* Answers with a Status for the error: 400, 413, 415, 429 or 503 with Retry-After, 500. */
void ks_otlp_fail(struct ks_http_request *req, bool json, ks_err err, const char *text);

#endif
