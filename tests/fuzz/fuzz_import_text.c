/* Bodies of /api/v1/import/prometheus. Whatever comes, every series resolves and has its samples.
 */
#include "import_fixture.h"

/* The fixture's; named here for tests/CMakeLists.txt to ask the linker for the wrap. */
ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_ingest in;
    uint64_t bad;
    import_fixture_begin(&in);
    ks_err err = ks_import_text(&in, ks_slice(data, size), 1700000000000, NULL, 0, &bad);
    if (err == KS_OK)
        err = ks_ingest_end(&in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE);
    ks_scratch_trim(&import_fixture.scratch);
    return 0;
}
