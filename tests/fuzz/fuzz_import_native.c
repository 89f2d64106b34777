/*
 * Native import: whatever the bytes, the batch is sound; and a block that was taken, encoded anew,
 * gives the same samples.
 */
#include <stdlib.h>

#include "api/ingest/import_native.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(struct ks_vm_block *b, struct ks_vm_block *other)
{
    static int64_t times[KS_VM_BLOCK_ROWS_MAX];
    static double values[KS_VM_BLOCK_ROWS_MAX];
    size_t n = b->header.rows, at = 0, used;
    memcpy(times, b->times, n * sizeof *times);
    memcpy(values, b->values, n * sizeof *values);
    struct ks_buf part;
    ks_buf_init(&part, 1 << 20);
    for (size_t i = 0; i < n; i += used) {
        ks_buf_reset(&part);
        if (ks_vm_block_encode(b, times + i, values + i, n - i, &used) != KS_OK || !used)
            abort();
        ks_vm_block_put_portable(b, &part);
        if (b->header.rows != used || ks_vm_block_read_portable(other, ks_buf_view(&part)) != KS_OK)
            abort();
        for (size_t k = 0; k < used; k++, at++)
            if (other->times[k] != times[at] ||
                (ks_f64_bits(other->values[k]) != ks_f64_bits(values[at]) &&
                 (values[at] != 0 || other->values[k] != 0)))
                abort();
    }
    ks_buf_done(&part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    static struct ks_vm_block *block, *other;
    if (!block) {
        ti_init(&t, 1700000000123);
        if (ks_vm_block_new(&block) != KS_OK || ks_vm_block_new(&other) != KS_OK)
            abort();
    }
    ti_reset(&t);
    if (ks_import_native(&t.in, ks_slice(data, size), block) == KS_OK)
        ti_text(&t);
    if (ks_vm_block_read_portable(block, ks_slice(data, size)) == KS_OK)
        check_again(block, other);
    return 0;
}
