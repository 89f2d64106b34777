/* The encoding byte of a value column, shared by its encoder and decoder. On disk: never renumber.
 */
#ifndef KS_STORAGE_CODEC_VALUES_PRIV_H
#define KS_STORAGE_CODEC_VALUES_PRIV_H

#include "storage/codec/decimal_priv.h"
#include "storage/codec/ints_priv.h"

/* The upper five bits when the kind is KSI_SPECIAL; else they are the decimal exponent or
 * KSI_EXPONENT_BITS. */
enum ksi_values_special {
    KSI_RAW = 1,
    KSI_RUNS = 2,
    KSI_RD = 3,
    KSI_XOR = 4,
};

static inline uint8_t ksi_encoding(unsigned kind, unsigned upper)
{
    return (uint8_t)(kind | upper << 3);
}

#define KSI_SAME_EXCEPTION 1u /* low bit of the exception header: all share one value */

#endif
