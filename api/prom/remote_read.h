/*
 * Prometheus' remote read: POST /api/v1/read, a snappy block of protobuf. Answers with all samples
 * in one message, or, for clients that take it, with a stream of XOR chunks whose memory is one
 * frame whatever the amount. Native histograms come in messages alone: where there are some, a
 * client that takes both gets one.
 */
#ifndef KS_API_PROM_REMOTE_READ_H
#define KS_API_PROM_REMOTE_READ_H

#include "api/prom/prom.h"

struct ks_read_query {
    int64_t start_ms, end_ms;
    struct ks_selector selector;
};
struct ks_read_request {
    struct ks_read_query *queries;
    size_t count;
    bool streamed; /* chunks are what the client wants most of what we have */
    bool samples;  /* it takes samples too */
};

/* Decodes the unpacked protobuf; all in the arena. KS_EPARSE malformed. */
KS_NODISCARD ks_err ks_read_request_parse(struct ks_slice protobuf, struct ks_arena *arena,
                                          struct ks_read_request *ret);
/* Appends one series as a field 1 (QueryResult.timeseries). tenant: labels vm_account_id and
 * vm_project_id are added. histograms may be NULL. */
void ks_read_put_series(struct ks_buf *out, struct ks_slice labels, const struct ks_tenant *tenant,
                        const int64_t *times, const double *values, size_t n,
                        const struct ks_histogram_run *histograms);
/* Appends one frame of a stream: at most KS_READ_FRAME_SAMPLES of the series. */
enum { KS_READ_FRAME_SAMPLES = 120 * 256 };
KS_NODISCARD ks_err ks_read_put_frame(struct ks_buf *out, struct ks_buf *scratch,
                                      struct ks_slice labels, const struct ks_tenant *tenant,
                                      const int64_t *times, const double *values, size_t n,
                                      size_t query_index);

KS_NODISCARD ks_err ks_prom_remote_read(struct ks_http_request *req);

#endif
