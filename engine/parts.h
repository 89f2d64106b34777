/*
 * The parts on disk as the engine holds them: refcounted handles in an immutable, refcounted list.
 * A reader pins the list and works on it for as long as it likes; a change makes a new list and
 * swaps the pointer. A part that no list names any more is removed from disk when its last reader
 * lets go.
 */
#ifndef KS_ENGINE_PARTS_H
#define KS_ENGINE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/ident.h"
#include "index/metric_part.h"
#include "sys/vfs.h"

/* Rows of a part hidden by deletes. Immutable. */
struct ksi_tombs {
    _Atomic uint32_t refs;
    roaring_bitmap_t *rows;
};

struct ksi_part {
    _Atomic uint32_t refs;
    _Atomic bool doomed;  /* no longer listed: unlink at the last unref */
    _Atomic bool suspect; /* a read found damage: to be examined */
    struct ks_vfs *vfs;
    uint64_t id;
    int64_t day; /* UTC day number */
    uint8_t level;
    uint32_t resolution; /* ks_rules_day_due() of the merge that made it; 0: as it came */
    int64_t created_ms;
    /* What retention rules would erase, as last looked up: the job's own memory. */
    _Atomic int64_t expired_at_ms;
    _Atomic uint32_t expired_permille;
    int64_t min_ms, max_ms;
    uint64_t bytes, index_bytes, samples;
    uint32_t series;
    struct ks_mpart p;
    struct ksi_rows
        *rows; /* identities of its series as queries met them; under the identity cache's lock */
    char path[];
};

struct ksi_part_view {
    struct ksi_part *part;
    struct ksi_tombs *tombs; /* NULL: none */
};

struct ksi_part_list {
    _Atomic uint32_t refs;
    size_t count;
    struct ksi_part_view views[];
};

struct ksi_part_store {
    pthread_mutex_t lock; /* the pointer only */
    struct ksi_part_list *list;
};

KS_NODISCARD ks_err ksi_parts_init(struct ksi_part_store *s);
void ksi_parts_done(struct ksi_part_store *s);

struct ksi_part_list *ksi_parts_pin(struct ksi_part_store *s);
void ksi_parts_unpin(struct ksi_part_list *l);

/* Opens a part file as a handle with one reference. */
KS_NODISCARD ks_err ksi_part_open(struct ks_vfs *vfs, struct ks_cache *cache, const char *path,
                                  uint64_t id, int64_t day, uint8_t level, uint32_t resolution,
                                  struct ksi_part **ret);
void ksi_part_unref(struct ksi_part *p);
KS_NODISCARD ks_err ksi_tombs_new(roaring_bitmap_t *rows,
                                  struct ksi_tombs **ret); /* takes rows, also on failure */
void ksi_tombs_unref(struct ksi_tombs *t);

/*
 * A new list: the current one without `gone`, plus `fresh` (references are taken over by the list).
 * With tombs set, tombs[i] (may be NULL) replaces those of the current list's view i. Not swapped
 * in yet, so that the manifest can be stored between.
 */
KS_NODISCARD ks_err ksi_parts_make(struct ksi_part_store *s, struct ksi_part *const *gone,
                                   size_t gone_count, struct ksi_part *const *fresh,
                                   size_t fresh_count, struct ksi_tombs *const *tombs,
                                   struct ksi_part_list **ret);
/* Makes `next` current; parts only the old list named are doomed. */
void ksi_parts_swap(struct ksi_part_store *s, struct ksi_part_list *next);

#endif
