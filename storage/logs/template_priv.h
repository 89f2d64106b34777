/*
 * Splitting texts into templates and variables, shared by fresh texts (template.c) and texts that
 * come split from other blocks (template_merge.c).
 */
#ifndef KS_STORAGE_LOGS_TEMPLATE_PRIV_H
#define KS_STORAGE_LOGS_TEMPLATE_PRIV_H

#include "storage/logs/block_priv.h"
#include "storage/logs/char_bits.h"

#define KSI_ESCAPED UINT32_MAX /* a row kept whole */

struct ksi_shape {
    size_t at; /* in texts */
    uint32_t len, slots, rows, id;
    uint64_t hash;
};

struct ksi_split {
    struct ksi_classes classes;
    struct ks_buf text;  /* of the row being split */
    struct ks_buf texts; /* of all shapes */
    struct ksi_shape *shapes;
    size_t shape_count, shape_cap;
    uint32_t *table; /* shape + 1 by hash */
    size_t table_cap;
    uint32_t *shape_of; /* per row; KSI_ESCAPED */
    size_t row_cap;
    size_t *first_slot; /* per row */
    size_t first_cap;
    struct ks_slice *slots;
    size_t slot_count, slot_cap;
    uint32_t *grouped; /* rows by template */
    size_t grouped_cap;
    struct ks_slice *vector;
    size_t vector_cap;
};

/* A new vector of n texts. */
KS_NODISCARD ks_err ksi_split_begin(struct ksi_enc *e, size_t n);
/* Static text to s->text, variables to s->slots; false: keep the text whole. */
bool ksi_split_one(struct ksi_split *s, struct ks_slice v, uint32_t *ret_slots, ks_err *err);
/* The number of the shape in s->text, which has a row more now; new ones are added. */
KS_NODISCARD ks_err ksi_split_shape(struct ksi_split *s, uint32_t slots, uint32_t *ret);
/* Splits v as row i; what can't be split is kept whole. */
KS_NODISCARD ks_err ksi_split_row(struct ksi_split *s, size_t i, struct ks_slice v);
/* Numbers the shapes that stay, in order of appearance, from 1; returns how many. */
uint32_t ksi_split_number(struct ksi_split *s, size_t n, size_t *ret_escaped);
/* Head of the node: counts, templates and their numbers by row. starts: count + 2 entries, where
 * the rows of each template begin in s->grouped. */
void ksi_split_put_head(struct ksi_enc *e, size_t n, uint32_t count, uint32_t *starts);

static inline uint32_t ksi_split_id(const struct ksi_split *s, size_t row)
{
    return s->shape_of[row] == KSI_ESCAPED ? 0 : s->shapes[s->shape_of[row]].id;
}

#endif
