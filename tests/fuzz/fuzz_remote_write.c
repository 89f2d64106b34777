/* Remote write bodies: the first byte chooses 1.0 or 2.0. Whatever comes, every series the batch
 * names resolves or is an error. */
#include "api/ingest/remote_write.h"
#include "import_fixture.h"

/* The fixture's; named here for tests/CMakeLists.txt to ask the linker for the wrap. */
ks_err __wrap_ks_engine_write(struct ks_engine *e, struct ks_write_batch *b,
                              struct ks_write_result *ret);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct ks_ingest in;
    struct ks_slice body = ks_slice(data + 1, size - 1);
    import_fixture.labels_may_fail = true;
    import_fixture_begin(&in);
    in.multitenant = data[0] & 2;
    ks_err err = data[0] & 1 ? ks_remote_write_v2(&in, body) : ks_remote_write_v1(&in, body);
    if (err == KS_OK)
        err = ks_ingest_end(&in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE || err == KS_ELIMIT);
    ks_scratch_trim(&import_fixture.scratch);
    return 0;
}
