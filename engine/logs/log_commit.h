/* What a log store consists of on disk, and changes of it. */
#ifndef KS_ENGINE_LOGS_LOG_COMMIT_H
#define KS_ENGINE_LOGS_LOG_COMMIT_H

#include "engine/logs/logs_priv.h"

/* Reads the manifest and opens the parts; without one the store is new and has no cut yet. */
KS_NODISCARD ks_err ksi_log_store_load(struct ks_log_store *s);
/* The first manifest of a new store. */
KS_NODISCARD ks_err ksi_log_store_create(struct ks_log_store *s, ks_lsn cut);
/* Hard links to all of the store below dir. */
KS_NODISCARD ks_err ksi_log_snapshot(struct ks_log_store *s, const char *dir);

KS_NODISCARD ks_err ksi_lparts_new_list(size_t cap, struct ksi_lpart_list **ret);
void ksi_lparts_unpin(struct ksi_lpart_list *l);

#endif
