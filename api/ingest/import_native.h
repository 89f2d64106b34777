/*
 * /api/v1/import/native: what /api/v1/export/native of VictoriaMetrics or of this program gave: a
 * time range, then metric names with blocks (replication/vm_block.h). Samples outside of the range
 * are left out. Damage fails the request and names the byte; what came before it may be stored, and
 * storing it again is harmless.
 */
#ifndef KS_API_INGEST_IMPORT_NATIVE_H
#define KS_API_INGEST_IMPORT_NATIVE_H

#include "api/ingest/ingest.h"
#include "replication/vm_block.h"

/* scratch: a codec to use. */
KS_NODISCARD ks_err ks_import_native(struct ks_ingest *in, struct ks_slice body,
                                     struct ks_vm_block *scratch);
KS_NODISCARD ks_err ks_import_native_handle(struct ks_http_request *req);

#endif
