/*
 * What changed in the past, and when: lets results computed over closed ranges of time be kept
 * until a write, a delete or a lost part touches what they cover.
 *
 * Whoever keeps results first says up to which time (watch); from then on every change at or before
 * that time is noted under a new version, in slots of five minutes. A slot stands for many times
 * (they wrap after 56 days), so a note may be taken for a change elsewhere: never the other way
 * round.
 *
 * Order, which makes it safe: a reader watches, then takes the version, then selects. A writer
 * makes its samples visible, then compares with the watch, then notes. Either the select saw the
 * sample or the note comes after the version.
 *
 * Cost for writers in order: one comparison per sample, one load per batch. Any thread.
 */
#ifndef KS_ENGINE_PAST_H
#define KS_ENGINE_PAST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/write_batch.h"

enum { KSI_PAST_SLOTS = 16384 };
#define KSI_PAST_SLOT_MS ((int64_t)300000)

struct ksi_past {
    _Atomic int64_t watched_ms; /* changes after it are nobody's concern */
    pthread_mutex_t lock;
    uint64_t version;               /* of the last note */
    uint64_t all_time;              /* version of the last change that touched everything */
    uint64_t slots[KSI_PAST_SLOTS]; /* version of the last change there */
};

void ksi_past_init(struct ksi_past *p);
void ksi_past_done(struct ksi_past *p);
/* A batch whose oldest sample is at oldest_ms (INT64_MAX: none) is visible now. */
void ksi_past_note_batch(struct ksi_past *p, const struct ks_write_batch *batch, int64_t oldest_ms);
/* Anything may have changed. */
void ksi_past_note_all(struct ksi_past *p);

#endif
