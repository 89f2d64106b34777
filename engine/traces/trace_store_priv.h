/* Between trace_store.c and trace_read.c. */
#ifndef KS_ENGINE_TRACES_TRACE_STORE_PRIV_H
#define KS_ENGINE_TRACES_TRACE_STORE_PRIV_H

#include "engine/traces/trace_store.h"

struct ksi_history;
struct ks_engine;

/* NULL: no days are kept. */
struct ksi_history *ksi_trace_store_history(struct ks_trace_store *s);
struct ks_engine *ksi_trace_store_engine(struct ks_trace_store *s);

#endif
