/* Remote write bodies: the first byte chooses 1.0 or 2.0. Whatever comes, every series the batch
 * names resolves or is an error. */
#include "api/ingest/remote_write.h"
#include "ingest_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ti t;
    if (!size)
        return 0;
    struct ks_slice body = ks_slice(data + 1, size - 1);
    if (!t.app.engine)
        ti_init(&t, 1700000000000);
    t.labels_may_fail = true;
    ti_reset(&t);
    t.in.multitenant = data[0] & 2;
    ks_err err = data[0] & 1 ? ks_remote_write_v2(&t.in, body) : ks_remote_write_v1(&t.in, body);
    if (err == KS_OK)
        err = ks_ingest_end(&t.in);
    KS_ASSERT(err == KS_OK || err == KS_EPARSE || err == KS_ELIMIT);
    return 0;
}
