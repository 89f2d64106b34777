/*
 * RD columns for doubles that are no short decimals: the few distinct high parts as a dictionary,
 * the low bits raw (after ALP-RD: Afroozeh, Kuffó, Boncz, "ALP: Adaptive Lossless floating-Point
 * Compression", SIGMOD 2024). Format: docs/format/chunk.md, "RD".
 */
#ifndef KS_STORAGE_CODEC_RD_PRIV_H
#define KS_STORAGE_CODEC_RD_PRIV_H

#include "storage/codec/pack_priv.h"

#define KSI_RD_DICT_MAX 8
#define KSI_RD_LEFT_MAX 16

struct ksi_rd {
    uint8_t left;  /* bits of the high part, 1..KSI_RD_LEFT_MAX */
    uint8_t shift; /* low bits that are zero in every value; left + shift ≤ 64 */
    uint8_t dict_count;
    uint16_t dict[KSI_RD_DICT_MAX];
    uint16_t exceptions; /* values whose high part is not in the dictionary */
    size_t bytes;
};

void ksi_rd_plan(const double *v, size_t n, struct ksi_rd *ret);
/* t is scratch of n. */
void ksi_rd_put(const double *v, int64_t *t, size_t n, const struct ksi_rd *rd, struct ks_buf *out);
bool ksi_rd_get(struct ks_reader *r, size_t n, double *ret);

#endif
