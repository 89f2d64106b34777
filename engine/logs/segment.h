/*
 * A segment: frames of one store in memory, in order of arrival. It grows under its store's lock
 * and is immutable once sealed; readers note how far it went when they pinned it and look no
 * further, so they need no lock afterwards.
 */
#ifndef KS_ENGINE_LOGS_SEGMENT_H
#define KS_ENGINE_LOGS_SEGMENT_H

#include <stdatomic.h>

#include "engine/logs/frame.h"

struct ksi_segment {
    _Atomic uint32_t refs;
    struct ks_arena arena;
    struct ksi_frame *first, *last;
    uint32_t frame_count, row_count;
    uint64_t first_arrival; /* position of its first row */
    uint64_t text_bytes;    /* of the frames' rows */
    int64_t min_ns, max_ns;
    uint64_t accounted; /* bytes its store counts for it */
    int64_t retired_ms; /* when its rows reached the disk, by the monotonic clock */
};

/* What a reader saw of a segment. Owns a reference. */
struct ksi_segment_view {
    struct ksi_segment *seg;
    struct ksi_frame *first;
    uint32_t frame_count, row_count;
    int64_t min_ns, max_ns;
    uint64_t text_bytes;
};

KS_NODISCARD ks_err ksi_segment_new(uint64_t first_arrival, struct ksi_segment **ret);
void ksi_segment_unref(struct ksi_segment *s);
struct ksi_segment_view ksi_segment_pin(struct ksi_segment *s);
/* A copy of a record read from the log as a frame, not yet linked. */
KS_NODISCARD ks_err ksi_segment_read(struct ksi_segment *s, struct ks_slice record,
                                     struct ksi_frame **ret);
void ksi_segment_link(struct ksi_segment *s, struct ksi_frame *f);
static inline uint64_t ksi_segment_bytes(const struct ksi_segment *s)
{
    return s->arena.used_bytes + sizeof *s;
}

#endif
