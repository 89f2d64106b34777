/*
 * Which values of a node contain, begin with, end with or equal a text: told by what the encoding
 * knows, so that texts are made only where nothing else can tell. Exact for every kind but
 * templates, which are never asked (search.h does).
 */
#ifndef KS_STORAGE_LOGS_SLOT_KEEP_H
#define KS_STORAGE_LOGS_SLOT_KEEP_H

#include "storage/logs/block_priv.h"

enum ksi_part_of { KSI_CONTAINS, KSI_BEGINS, KSI_ENDS, KSI_EQUALS };

struct ksi_ask {
    enum ksi_part_of how;
    struct ks_slice text;
};

/* Whether some value may pass, by the directory alone. False is certain. */
bool ksi_slot_may(const struct ksi_node *n, struct ksi_ask ask);
/* Clears the bits of values that do not pass; bits: one per value of the node. */
KS_NODISCARD ks_err ksi_slot_keep(struct ksi_node *n, struct ksi_pages *pages,
                                  struct ks_arena *arena, struct ksi_ask ask, uint64_t *bits);

#endif
