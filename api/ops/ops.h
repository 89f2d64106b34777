/* Handlers of the operator's endpoints. */
#ifndef KS_API_OPS_OPS_H
#define KS_API_OPS_OPS_H

#include "api/app.h"

ks_err ks_ops_metrics(struct ks_http_request *req);
/* The text of /metrics: sorted, each series once. */
KS_NODISCARD ks_err ks_ops_metrics_text(struct ks_app *app, struct ks_buf *out);
/* Process metrics from /proc (process_*, go_* where a C program has a counterpart). */
void ks_ops_process_metrics(struct ks_buf *out);

#endif
