/* Remote read requests: whatever the bytes, an error or queries within the limits; memory stays
 * under the arena's cap. */
#include <stdlib.h>

#include "api/prom/remote_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_arena arena;
    struct ks_read_request r;
    size_t bytes = 0;
    ks_arena_init(&arena, 8 << 20);
    if (ks_read_request_parse(ks_slice(data, size), &arena, &r) == KS_OK)
        for (size_t i = 0; i < r.count; i++)
            for (size_t k = 0; k < r.queries[i].selector.count; k++) {
                const struct ks_matcher *m = &r.queries[i].selector.matchers[k];
                bytes += m->name.len + m->value.len;
                if (m->op > KS_MATCH_NRE || bytes > size)
                    abort();
            }
    ks_arena_done(&arena);
    return 0;
}
