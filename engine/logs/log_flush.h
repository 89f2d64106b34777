/* Background work of a log store. */
#ifndef KS_ENGINE_LOGS_LOG_FLUSH_H
#define KS_ENGINE_LOGS_LOG_FLUSH_H

#include "engine/logs/logs_priv.h"

/* Rows in memory to parts; the cut is durable on return. */
KS_NODISCARD ks_err ksi_log_flush(struct ks_log_store *s);
/* Retention. */
KS_NODISCARD ks_err ksi_log_keep(struct ks_log_store *s);
/* One due merge, if there is one. */
KS_NODISCARD ks_err ksi_log_merge_step(struct ks_log_store *s);

#endif
