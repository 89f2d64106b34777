/*
 * Integer columns: constant, arithmetic, plain, delta or delta of delta, over PFOR. Values as
 * scaled integers and timestamps both end here. Format: docs/format/chunk.md, "Integer columns".
 */
#ifndef KS_STORAGE_CODEC_INTS_PRIV_H
#define KS_STORAGE_CODEC_INTS_PRIV_H

#include "storage/codec/pack_priv.h"

/* The low three bits of an encoding byte. On disk: never renumber. */
enum ksi_ints_kind {
    KSI_SPECIAL = 0, /* not an integer column; the upper bits say what */
    KSI_CONST = 1,
    KSI_DCONST = 2,
    KSI_FOR = 3,
    KSI_DELTA = 4,
    KSI_DELTA2 = 5,
    KSI_GRID = 6, /* times only */
};

struct ksi_ints {
    uint8_t kind;
    struct ksi_pfor pfor; /* of FOR, DELTA, DELTA2 */
    size_t bytes;
};

/*
 * The cheapest way to store n ≥ 1 integers. t is scratch of n. With `flag` the column carries a
 * flag bit, which constant and arithmetic columns cannot.
 */
void ksi_ints_plan(const int64_t *x, int64_t *t, size_t n, bool flag, struct ksi_ints *ret);
/* Appends the column; x is destroyed. */
void ksi_ints_put(int64_t *x, size_t n, const struct ksi_ints *plan, struct ks_buf *out);
/* Reads a column of kind CONST … DELTA2; false when malformed. *ret_flag may be NULL where no flag
 * is allowed. */
bool ksi_ints_get(struct ks_reader *r, unsigned kind, size_t n, int64_t *ret, bool *ret_flag);

#endif
