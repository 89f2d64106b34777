/* Merging parts: what to merge is compaction's choice, publishing the result is the engine's. */
#ifndef KS_ENGINE_MERGE_H
#define KS_ENGINE_MERGE_H

#include "engine/engine_priv.h"

/* Does one due merge, if there is one. */
KS_NODISCARD ks_err ksi_merge_step(struct ks_engine *e);

#endif
