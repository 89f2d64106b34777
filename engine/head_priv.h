/* Shared by the head's own files. */
#ifndef KS_ENGINE_HEAD_PRIV_H
#define KS_ENGINE_HEAD_PRIV_H

#include "engine/head.h"

enum { KSI_RECENT_TIMES = 1024, KSI_WINDOW_COUNT = 9 };

static inline size_t ksi_sealed_bytes(const struct ksi_sealed *c)
{
    return sizeof *c + c->values_bytes;
}
void ksi_tcol_unref(struct ksi_tcol *t);
void ksi_side_free(struct ksi_shard *s, struct ksi_series *x);
size_t ksi_slab_next_cap(size_t cap);
/* Puts a late sample aside. */
KS_NODISCARD ks_err ksi_side_add(struct ksi_shard *s, uint32_t local, int64_t ts, uint64_t bits);

#endif
