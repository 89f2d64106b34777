/*
 * Places to begin decoding at, kept in the larger slabs of open chunks: a query of the last minutes
 * then decodes some tens of samples instead of all since the chunk began. The last two or four are
 * kept behind the chunk's bytes. They are a cache: never written to disk, made anew when a chunk is
 * loaded.
 *
 * All under the shard's lock.
 */
#ifndef KS_ENGINE_HEAD_MARKS_H
#define KS_ENGINE_HEAD_MARKS_H

#include "engine/head.h"

enum {
    KSI_MARKS_MAX = 4,
    KSI_FEW_MARKS = 2,
    KSI_MARK_BYTES = 24,
    /* Data of the largest slab without marks, and of the largest with few. */
    KSI_UNMARKED_CAP = 92,
    KSI_FEW_MARKS_CAP = 204,
};
_Static_assert(KSI_FEW_MARKS *KSI_MARK_BYTES >= KS_GORILLA_SLACK, "decoders may read behind");

/* How many marks lie behind the data of a slab with this cap. */
static inline unsigned ksi_marks(size_t cap)
{
    return cap <= KSI_UNMARKED_CAP ? 0 : cap <= KSI_FEW_MARKS_CAP ? KSI_FEW_MARKS : KSI_MARKS_MAX;
}
/* Samples from mark to mark: all but the newest reach back ten minutes, at one sample in 15 s. */
static inline unsigned ksi_mark_every(unsigned marks)
{
    return marks == KSI_MARKS_MAX ? 14 : 40;
}
static inline size_t ksi_marks_bytes(size_t cap)
{
    return (size_t)ksi_marks(cap) * KSI_MARK_BYTES;
}

/* After an append that broke the run, once the chunk has 4 mark_due4 samples. */
void ksi_marks_note(struct ksi_series *x);
/* The marks of a slab whose cap was `old`, copied from there, as those of its cap now. */
void ksi_marks_moved(struct ksi_slab *b, size_t old, const uint8_t *marks);
/* Those of a chunk that was loaded. */
void ksi_marks_make(struct ksi_series *x);
/* The last known place whose sample lies before min_ms, else the chunk's begin. */
struct ks_gorilla_place ksi_marks_find(const struct ksi_series *x, int64_t min_ms);

#endif
