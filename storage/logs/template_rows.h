/*
 * Between the rows of a block and the rows of one of its templates: a template's rows are numbered
 * by themselves, in order. Bits of rows of the block: 64 to a word.
 */
#ifndef KS_STORAGE_LOGS_TEMPLATE_ROWS_H
#define KS_STORAGE_LOGS_TEMPLATE_ROWS_H

#include "storage/logs/block_priv.h"

/* Above so many templates one walk over the rows is cheaper than one per template. */
enum { KSI_TEMPLATES_FEW = 16 };

/* The rows whose template is id. */
void ksi_template_bits(const struct ksi_templates *t, uint32_t rows, uint32_t id, uint64_t *ret);
/* Of each row in `of`, in order, its bit in `bits`: rows of the block to rows of the template.
 * Returns how many there are; out has a word more than they need. */
uint32_t ksi_bits_gather(const uint64_t *of, const uint64_t *bits, size_t words, uint64_t *out);
/* The way back: sets in `out` the rows of `of` whose number is set in `bits`. */
void ksi_bits_scatter(const uint64_t *of, const uint64_t *bits, size_t words, uint64_t *out);
/* How often each template occurs; false: a number is none. */
bool ksi_template_histogram(const struct ksi_templates *t, uint32_t rows, uint32_t *ret);

#endif
