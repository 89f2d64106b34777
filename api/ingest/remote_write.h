/*
 * Prometheus remote write 1.0 and 2.0: a hand-written walk over the protobuf, straight from the
 * decompressed body into the write batch; nothing is allocated per sample and label bytes are not
 * copied in 1.0.
 *
 * Malformed input is an error that names field and byte offset. What was decoded before it may have
 * been stored already: storing it again by a retry is harmless.
 */
#ifndef KS_API_INGEST_REMOTE_WRITE_H
#define KS_API_INGEST_REMOTE_WRITE_H

#include "api/ingest/ingest.h"

/* Decodes a prometheus.WriteRequest. Also takes metadata, exemplars and native histograms to where
 * they belong. */
KS_NODISCARD ks_err ks_remote_write_v1(struct ks_ingest *in, struct ks_slice body);
/* Decodes an io.prometheus.write.v2.Request. */
KS_NODISCARD ks_err ks_remote_write_v2(struct ks_ingest *in, struct ks_slice body);

/* POST api/v1/write. */
KS_NODISCARD ks_err ks_remote_write_handle(struct ks_http_request *req);

#endif
