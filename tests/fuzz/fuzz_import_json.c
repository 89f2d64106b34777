/* Bodies of /api/v1/import. Whatever comes, every series resolves and has its samples. */
#include "api/ingest/import.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    uint64_t bad;
    if (!t.app.engine)
        ti_init(&t, 1700000000000);
    ti_reset(&t);
    ks_err err = ks_import_json(&t.in, ks_slice(data, size), &bad);
    if (err == KS_OK)
        err = ks_ingest_end(&t.in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE);
    return 0;
}
