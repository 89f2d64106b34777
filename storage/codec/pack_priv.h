/*
 * Columns of integers as bits: fixed-width packing, and PFOR (frame of reference with patched
 * outliers) on top. Format: docs/format/chunk.md, "Packed integers". Integers are modulo 2^64
 * throughout, so nothing can overflow.
 */
#ifndef KS_STORAGE_CODEC_PACK_PRIV_H
#define KS_STORAGE_CODEC_PACK_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clones.h"

#define KSI_PACK_SLACK 8 /* bytes behind the end that ksi_pack() may scribble on */

static inline size_t ksi_packed_bytes(size_t n, unsigned width)
{
    return (n * width + 7) / 8;
}

/* Writes the low `width` bits (0..64) of n values, LSB first; returns the byte behind. */
uint8_t *ksi_pack(uint8_t *dst, const uint64_t *v, size_t n, unsigned width);
/* Reads n values from exactly ksi_packed_bytes(n, width) bytes. */
void ksi_unpack(const uint8_t *src, size_t n, unsigned width, uint64_t *ret);

/*
 * A column x is stored as base and r = (x - base) >> shift: the low `width` bits of every r packed,
 * and for the few r that need more (or are negative) the rest as zigzag(r >> width), with their
 * positions.
 */
struct ksi_pfor {
    int64_t base;
    uint8_t width, shift;
    uint8_t patch_width;
    bool patch_signed;
    bool flag; /* a bit of the caller's, kept in the header */
    uint16_t patches;
    size_t bytes; /* the whole column as stored, `flag` not yet counted in */
};

/* What a few of the integers tell about the bulk. */
struct ksi_sample {
    unsigned width; /* bits of the distance between the quartiles */
    int64_t floor;  /* the bulk lies above: first quartile minus twice that distance */
};

void ksi_pfor_sample(const int64_t *x, size_t n, struct ksi_sample *ret);
/* The cheapest plan for n (1..KS_CHUNK_SAMPLES_MAX) integers. */
void ksi_pfor_plan(const int64_t *x, size_t n, const struct ksi_sample *sample,
                   struct ksi_pfor *ret);
/* Bytes with the flag set: the extended header may be needed for it alone. */
size_t ksi_pfor_flagged_bytes(const struct ksi_pfor *p);
/* Appends the column; x is destroyed. */
void ksi_pfor_put(int64_t *x, size_t n, const struct ksi_pfor *p, struct ks_buf *out);
/* Reads n integers; false when malformed. *ret_flag may be NULL where the flag is not allowed. */
bool ksi_pfor_get(struct ks_reader *r, size_t n, int64_t *ret, bool *ret_flag);
/* The same but for the last step: each is still to be (r << *ret_shift) + *ret_base. */
bool ksi_pfor_get_raw(struct ks_reader *r, size_t n, int64_t *ret, uint64_t *ret_base,
                      unsigned *ret_shift, bool *ret_flag);

static inline size_t ksi_varint_bytes(uint64_t v)
{
    return (70 - (size_t)__builtin_clzll(v | 1)) / 7;
}
static inline size_t ksi_zigzag_bytes(int64_t v)
{
    return ksi_varint_bytes(ks_zigzag(v));
}

#endif
