/* The vl_* lines of /metrics about the log stores, each with the label store. */
#ifndef KS_API_LOGS_LOG_METRICS_H
#define KS_API_LOGS_LOG_METRICS_H

#include "base/buf.h"

struct ks_app;
void ks_log_metrics(struct ks_app *app, struct ks_buf *out);

#endif
