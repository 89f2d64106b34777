/* The manifest from hostile text, as it is and with its last line made right. What parses is copied
 * without loss. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "storage/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct ks_slice text)
{
    struct ks_manifest m, copy;
    if (ks_manifest_parse(text, &m) != KS_OK)
        return;
    if (ks_manifest_copy(&m, &copy) == KS_OK) {
        KS_ASSERT(copy.part_count == m.part_count && copy.shard_count == m.shard_count);
        KS_ASSERT(!m.part_count ||
                  memcmp(copy.parts, m.parts, m.part_count * sizeof *m.parts) == 0);
        ks_manifest_done(&copy);
    }
    ks_manifest_done(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_buf b;
    parse(ks_slice(data, size));
    ks_buf_init(&b, (1 << 20) + 64);
    ks_buf_add(&b, data, size);
    ks_buf_printf(&b, "hash %016llx\n", (unsigned long long)ks_hash64(data, size));
    if (ks_buf_status(&b) == KS_OK)
        parse(ks_buf_view(&b));
    ks_buf_done(&b);
    return 0;
}
