/* The file of a whole ring: docs/format/trace-snapshot.md. */
#ifndef KS_ENGINE_TRACES_SNAPSHOT_PRIV_H
#define KS_ENGINE_TRACES_SNAPSHOT_PRIV_H

#include "storage/traces/ring.h"
#include "sys/vfs.h"

enum { KSI_TRSNAP_PATH_MAX = 4096 };

/* Writes dir/ring.snap durably: all or nothing. needs: where replay begins. */
KS_NODISCARD ks_err ksi_trsnap_write(struct ks_vfs *vfs, const char *dir, struct ks_traces *ring,
                                     uint64_t needs, uint64_t *ret_bytes);
/* Loads it into an empty ring. KS_ENOTFOUND: no file. KS_ECORRUPT: what was read is in the ring. */
KS_NODISCARD ks_err ksi_trsnap_load(struct ks_vfs *vfs, const char *path, struct ks_traces *ring,
                                    uint64_t *ret_needs);

/* The content between header and end as hostile bytes; for load and the fuzzer. */
KS_NODISCARD ks_err ksi_trsnap_items(struct ks_slice bytes, struct ks_traces *ring, bool *ret_end);

#endif
