/* Inside of the block codec. */
#ifndef KS_REPLICATION_VM_BLOCK_PRIV_H
#define KS_REPLICATION_VM_BLOCK_PRIV_H

#include "replication/vm_block.h"

/*
 * Takes samples from the front into b->times and b->ints as long as one scale holds them exactly.
 * *ret_rows were taken, *ret_used consumed (NaNs are left out).
 */
void ksi_vm_fit(struct ks_vm_block *b, const int64_t *times, const double *values, size_t n,
                size_t *ret_rows, size_t *ret_used, int16_t *ret_scale);
/* integer × 10^scale, correctly rounded. */
void ksi_vm_to_doubles(const int64_t *ints, size_t n, int16_t scale, double *out);

#endif
