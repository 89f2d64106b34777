/* Checking and salvaging log parts, for engine/offline_verify.c and engine/repair.c. */
#ifndef KS_ENGINE_OFFLINE_LOGS_H
#define KS_ENGINE_OFFLINE_LOGS_H

#include "engine/offline.h"

/* As ks_offline_verify, once the pages were checked: of counts series are streams, chunks blocks,
 * samples rows; what is there already is added to. */
KS_NODISCARD ks_err ksi_offline_verify_log(struct ks_vfs *vfs, const char *path, ks_offline_fn fn,
                                           void *arg, struct ks_offline_counts *counts);
/* As ks_offline_salvage. A block whose times or streams cannot be read is lost; of others a column
 * that cannot be: its rows go without that field. */
KS_NODISCARD ks_err ksi_offline_salvage_log(struct ks_vfs *vfs, const char *from, const char *to,
                                            const roaring_bitmap_t *deleted, ks_offline_fn fn,
                                            void *arg, struct ks_offline_counts *ret);
/* Whether the file says it is a log part; and the day of its oldest row. */
bool ksi_offline_is_log(struct ks_vfs *vfs, const char *path);
KS_NODISCARD ks_err ksi_offline_log_day(struct ks_vfs *vfs, const char *path, int64_t *ret);

#endif
