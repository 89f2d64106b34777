/*
 * Encoding a vector whose values stand in nodes of other blocks, decoded no further than needed:
 * codes of dictionaries are mapped, numbers and packed ids copied, templates matched by their text
 * and their slots merged in turn. What does not fit together is made text and encoded anew. The
 * values are the same in any case, byte for byte.
 */
#ifndef KS_STORAGE_LOGS_COLUMN_MERGE_H
#define KS_STORAGE_LOGS_COLUMN_MERGE_H

#include "storage/logs/block_priv.h"
#include "storage/logs/column.h"

/* A node of an open block; what is made of it lives in the block's arena. */
struct ksi_src {
    struct ksi_node *node;
    struct ksi_pages *pages;
    struct ks_arena *arena;
    bool has_text;
    struct ksi_vector text; /* constants, dictionaries, texts; others when somebody asked */
    int64_t *numbers;       /* numbers, when somebody asked */
    const uint8_t *packed;  /* hex ids */
    uint32_t *codes;        /* dictionary: code here → code + 1 of the vector being made */
    uint64_t codes_round;   /* which vector that is */
    /* templates */
    struct ksi_src *children;
    uint32_t *ord;    /* per value: its number among those of its template */
    uint32_t *shapes; /* template here → shape + 1 of the vector being made */
    uint64_t shapes_round;
};

/* Values [first, first + count) of a node. */
struct ksi_piece {
    struct ksi_src *src;
    uint32_t first, count;
};

static inline bool ksi_is_hex(const struct ksi_node *n)
{
    return n->kind == KSI_NODE_TYPED &&
           (n->typed.kind == KS_TYPED_HEX || n->typed.kind == KS_TYPED_UUID);
}
static inline bool ksi_is_number(const struct ksi_node *n)
{
    return n->kind == KSI_NODE_TYPED && !ksi_is_hex(n);
}

/* The n values of the pieces, one after the other, as a node. Errors stick in e->err, damage of
 * the sources among them. */
void ksi_enc_pieces(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n,
                    int depth);

/* --- shared with template_merge.c --- */
struct ksi_enc_merge {
    uint64_t round;
    struct ks_slice *texts; /* a vector as texts */
    size_t text_cap;
    /* templates: per row the piece it came split from, or KSI_NO_PIECE, and its number there */
    uint32_t *of_piece, *ord;
    size_t of_piece_cap, ord_cap;
    struct ks_slice *whole; /* rows that were split here: their text */
    size_t whole_cap;
    struct ksi_stretch *stretches;
    size_t stretch_cap;
    struct ksi_piece *pieces; /* of a slot */
    size_t piece_cap;
};
#define KSI_NO_PIECE UINT32_MAX

KS_NODISCARD ks_err ksi_src_text(struct ksi_src *s);
/* False: templates do not pay, nothing was written. */
bool ksi_enc_template_pieces(struct ksi_enc *e, const struct ksi_piece *p, size_t pieces, size_t n);

#endif
