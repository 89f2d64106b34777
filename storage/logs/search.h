/*
 * Which rows of a template contain a text, told without making the rows' texts: the text is laid
 * over the template's static pieces and slots in every way it fits, and each way asks a few slots
 * whether their values begin with, end with, equal or contain a piece of it.
 */
#ifndef KS_STORAGE_LOGS_SEARCH_H
#define KS_STORAGE_LOGS_SEARCH_H

#include "storage/logs/block_priv.h"

enum ksi_found {
    KSI_FOUND_NONE,
    KSI_FOUND_ALL,
    KSI_FOUND_SOME,   /* the rows of the bits, exactly */
    KSI_FOUND_UNKNOWN /* too many ways: ask the texts */
};

/* bits: one per row of template id, all set by the caller; meaningful with SOME. n's templates are
 * loaded. text is not empty. */
KS_NODISCARD ks_err ksi_search_template(struct ksi_node *n, uint32_t id, struct ks_slice text,
                                        struct ksi_pages *pages, struct ks_arena *arena,
                                        uint64_t *bits, enum ksi_found *ret);

#endif
