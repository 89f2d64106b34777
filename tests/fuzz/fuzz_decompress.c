/* Content encodings: the first byte chooses one, the rest is the body. Output never exceeds the
 * limit. */
#include <stdlib.h>

#include "api/compress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LIMIT = 1 << 20 };
    if (!size)
        return 0;
    struct ks_buf out;
    ks_buf_init(&out, KS_BUF_UNLIMITED);
    ks_err err =
        ks_decompress((enum ks_encoding)(data[0] % 5), ks_slice(data + 1, size - 1), LIMIT, &out);
    if (out.len > LIMIT || out.cap > 4 * LIMIT ||
        (err != KS_OK && err != KS_EPARSE && err != KS_ETOOBIG))
        abort();
    ks_buf_done(&out);
    return 0;
}
