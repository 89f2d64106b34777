/* Lists of deleted rows from hostile bytes, as they are and with the hash made right. What parses
 * comes back equal. */
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "engine/tombs_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 1 << 16 };

static void parse(struct ks_slice bytes)
{
    roaring_bitmap_t *rows, *again;
    if (ksi_tombs_parse(bytes, &rows) != KS_OK)
        return;
    if (roaring_bitmap_get_cardinality(rows) <= ROWS_MAX) {
        struct ks_buf b;
        ks_buf_init(&b, 1 << 20);
        ksi_tombs_encode(rows, &b);
        KS_ASSERT(ks_buf_status(&b) == KS_OK && ksi_tombs_parse(ks_buf_view(&b), &again) == KS_OK);
        KS_ASSERT(roaring_bitmap_equals(rows, again));
        roaring_bitmap_free(again);
        ks_buf_done(&b);
    }
    roaring_bitmap_free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_buf b;
    parse(ks_slice(data, size));
    ks_buf_init(&b, (1 << 20) + 64);
    ks_buf_add(&b, data, size);
    ks_buf_u64(&b, ks_hash64(data, size));
    if (ks_buf_status(&b) == KS_OK)
        parse(ks_buf_view(&b));
    ks_buf_done(&b);
    return 0;
}
