/*
 * Time columns from hostile bytes: encoding byte, n - 1 as two bytes, the column. What decodes must
 * survive being encoded again, bit for bit.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "storage/codec/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint8_t encoding = data[0], again;
    size_t n = ks_le16(data + 1) % KS_CHUNK_SAMPLES_MAX + 1;
    int64_t *v = malloc(n * sizeof *v), *back = malloc(n * sizeof *back);
    struct ks_slice bytes = ks_slice(data + 3, size - 3);
    if (ks_times_decode(bytes, encoding, n, v) == KS_OK) {
        struct ks_buf b;
        ks_buf_init(&b, KS_BUF_UNLIMITED);
        KS_ASSERT(ks_times_encode(v, n, &b, &again) == KS_OK);
        KS_ASSERT(b.len <= ks_chunk_bytes_max(n));
        KS_ASSERT(ks_times_decode(ks_buf_view(&b), again, n, back) == KS_OK);
        KS_ASSERT(memcmp(v, back, n * sizeof *v) == 0);
        ks_buf_done(&b);
    }
    free(v);
    free(back);
    return 0;
}
