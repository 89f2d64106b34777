/* CSV import: the first line is the format, the rest the body. Whatever they hold, the batch is
 * sound. */
#include "api/ingest/import_csv.h"
#include "base/log.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    if (!t.app.engine) {
        ti_init(&t, 1700000000123);
        ks_log_set_level(KS_LOG_ERROR);
    }
    const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
    size_t n = nl ? (size_t)(nl - data) : size;
    struct ks_arena arena;
    struct ks_csv_format format;
    uint64_t bad;
    ks_arena_init(&arena, 16 << 20);
    ti_reset(&t);
    if (ks_csv_format_parse(ks_slice(data, n), &arena, &format) == KS_OK && nl &&
        ks_import_csv(&t.in, ks_slice(nl + 1, size - n - 1), &format, &bad) == KS_OK)
        ti_text(&t);
    ks_arena_done(&arena);
    return 0;
}
