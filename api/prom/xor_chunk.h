/*
 * Prometheus' XOR chunks (its chunk encoding 1), as remote read streams them: 16 bit count, then
 * times by delta of delta and values by XOR with the one before.
 */
#ifndef KS_API_PROM_XOR_CHUNK_H
#define KS_API_PROM_XOR_CHUNK_H

#include "base/buf.h"

enum { KS_XOR_CHUNK_SAMPLES = 120, KS_XOR_CHUNK_BYTES_MAX = 2 + KS_XOR_CHUNK_SAMPLES * 20 };

/* Writes n samples (1 to KS_XOR_CHUNK_SAMPLES) at out (room for KS_XOR_CHUNK_BYTES_MAX); returns
 * the bytes. */
size_t ks_xor_chunk_encode(const int64_t *times, const double *values, size_t n, uint8_t *out);
/* CRC-32C as the frames of a streamed answer carry it. */
uint32_t ks_crc32c(struct ks_slice s);

#endif
