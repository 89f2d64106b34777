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
    KSI_FOUND_MAYBE,  /* at most the rows of the bits */
    KSI_FOUND_UNKNOWN /* too many ways: ask the texts */
};

/* start, end: where the text begins (ends) with a token character, only places count before
 * (behind) which there is none; ALL and SOME then still say what contains the text at all, or less.
 * bits: one per row of template id, all set by the caller; meaningful with SOME. n's templates are
 * loaded. text is not empty. */
struct ksi_search_text {
    struct ks_slice text;
    bool start, end;
};
KS_NODISCARD ks_err ksi_search_template(struct ksi_node *n, uint32_t id,
                                        struct ksi_search_text what, struct ksi_pages *pages,
                                        struct ks_arena *arena, uint64_t *bits,
                                        enum ksi_found *ret);

#endif
