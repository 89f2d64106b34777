/* Any text as a query: what is taken prints as a text that gives the same text again. */
#include <stdint.h>
#include <stdlib.h>

#include "query/logsql/syntax/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
    struct ks_arena arena;
    struct ks_lq_query *q;
    struct ks_buf once, twice;
    if (size > 4096)
        return 0;
    ks_arena_init(&arena, 64 << 20);
    ks_buf_init(&once, 1 << 20);
    ks_buf_init(&twice, 1 << 20);
    if (ks_lq_parse(ks_slice(in, size), 1700000000000000000, &arena, &q) == KS_OK) {
        ks_lq_print(q, &once);
        if (ks_lq_parse(ks_buf_view(&once), 1700000000000000000, &arena, &q) == KS_OK) {
            ks_lq_print(q, &twice);
            if (!ks_slice_eq(ks_buf_view(&once), ks_buf_view(&twice)))
                abort();
        } else if (!once.err && !arena.err) {
            abort();
        }
    }
    ks_buf_done(&once);
    ks_buf_done(&twice);
    ks_arena_done(&arena);
    return 0;
}
