/*
 * VictoriaMetrics' data blocks, as /api/v1/export/native and its RPC carry them: decimal integers
 * of one scale per block, timestamps and values delta-coded, zstd on top where it pays. And its
 * metric names.
 *
 * The form cannot say every float64. Values of at most 15 significant digits pass exactly both
 * ways; those of 17 digits come back exactly here (the decoder rounds correctly) and within one
 * unit in the last place there. -0 loses its sign. NaN other than the stale marker cannot be said
 * at all. Blocks are cut where one scale cannot hold neighbours exactly.
 *
 * Bytes to decode are hostile: every error is KS_EPARSE with what is wrong. A codec belongs to one
 * thread.
 */
#ifndef KS_REPLICATION_VM_BLOCK_H
#define KS_REPLICATION_VM_BLOCK_H

#include "base/buf.h"
#include "base/labels.h"

enum { KS_VM_BLOCK_ROWS = 8192, KS_VM_BLOCK_ROWS_MAX = 16384, KS_VM_BLOCK_BYTES_MAX = 128 << 10 };

struct ks_vm_block_header {
    int64_t min_ms, max_ms, first_value;
    uint32_t rows;
    int16_t scale; /* value = integer × 10^scale */
    uint8_t times_type, values_type, precision_bits;
};

/* One block, decoded or about to be encoded. */
struct ks_vm_block {
    struct ks_vm_block_header header;
    struct ks_slice times_data, values_data; /* set by encode: valid until the next call */
    int64_t times[KS_VM_BLOCK_ROWS_MAX];     /* set by decode: header.rows of them */
    double values[KS_VM_BLOCK_ROWS_MAX];
    /* private */
    int64_t ints[KS_VM_BLOCK_ROWS_MAX];
    int16_t exponents[KS_VM_BLOCK_ROWS];
    struct ks_buf plain, packed[2];
    void *zstd_c, *zstd_d;
};

KS_NODISCARD ks_err ks_vm_block_new(struct ks_vm_block **ret);
void ks_vm_block_free(struct ks_vm_block *b);

/*
 * Encodes samples (ascending times, n > 0) into header, times_data and values_data: as many as one
 * block can hold. *ret_used counts the samples consumed, NaNs left out among them; header.rows may
 * be 0 when all were such.
 */
KS_NODISCARD ks_err ks_vm_block_encode(struct ks_vm_block *b, const int64_t *times,
                                       const double *values, size_t n, size_t *ret_used);
/* Decodes by header into times and values; times are ascending, equal ones possible. */
KS_NODISCARD ks_err ks_vm_block_decode(struct ks_vm_block *b,
                                       const struct ks_vm_block_header *header,
                                       struct ks_slice times_data, struct ks_slice values_data);

/* The self-contained form of /api/v1/export/native. */
void ks_vm_block_put_portable(const struct ks_vm_block *b, struct ks_buf *out);
KS_NODISCARD ks_err ks_vm_block_read_portable(struct ks_vm_block *b, struct ks_slice bytes);

/* A metric name without tenant: group, then keys and values, each ended by 0x01. extra: labels
 * behind those of label_bytes. */
void ks_vm_name_put(struct ks_slice label_bytes, const struct ks_label *extra, size_t extra_count,
                    struct ks_buf *out);
/* Takes one apart; unescaped text goes to the arena. At most cap labels, the metric's name first
 * under __name__. */
KS_NODISCARD ks_err ks_vm_name_read(struct ks_slice bytes, struct ks_arena *arena,
                                    struct ks_label *ret, size_t cap, size_t *ret_count);

#endif
