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
size_t ksi_slab_bytes(size_t cap);
/* The series' slab with this cap, its bytes and marks kept. */
KS_NODISCARD ks_err ksi_slab_resize(struct ksi_shard *s, struct ksi_series *x, size_t cap);
/* Whether a chunk boundary lies between two times of a series. */
bool ksi_chunk_boundary(uint8_t window, uint8_t phase, int64_t earlier, int64_t later);
/* The window for a series with so many samples in span_ms. */
uint8_t ksi_window_for(uint64_t span_ms, size_t samples);
/* Makes the encoded chunk in s->scratch a sealed one of the series. */
KS_NODISCARD ks_err ksi_seal_scratch(struct ksi_shard *s, uint32_t local,
                                     const struct ks_chunk_meta *meta, size_t times_bytes);
/* Puts a late sample aside. */
KS_NODISCARD ks_err ksi_side_add(struct ksi_shard *s, uint32_t local, int64_t ts, uint64_t bits);

#endif
