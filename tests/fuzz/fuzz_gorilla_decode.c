/*
 * An open chunk from hostile bytes: the saved state, then the stream. What decodes can be appended
 * to, and appending its samples to an empty chunk gives them back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "storage/codec/gorilla.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct ks_gorilla *g, const uint8_t *bytes, const int64_t *ts,
                           const double *v)
{
    size_t n = g->count, cap = (n + 1) * KS_GORILLA_APPEND_MAX + 16;
    uint8_t *buf = malloc(cap), *grown = malloc(cap + ks_gorilla_bytes(g));
    int64_t *ts2 = malloc((n + 1) * sizeof *ts2);
    double *v2 = malloc((n + 1) * sizeof *v2);
    struct ks_gorilla h = {0}, longer = *g;
    for (size_t i = 0; i < n; i++)
        KS_ASSERT(ks_gorilla_append(&h, buf, cap, ts[i], ks_f64_bits(v[i])));
    KS_ASSERT(ks_gorilla_decode(&h, buf, ts2, v2) == n);
    KS_ASSERT(memcmp(ts, ts2, n * sizeof *ts) == 0 && memcmp(v, v2, n * sizeof *v) == 0);
    memcpy(grown, bytes, ks_gorilla_bytes(g));
    if (n < KS_GORILLA_COUNT_MAX && g->last_ts < INT64_MAX) {
        KS_ASSERT(ks_gorilla_append(&longer, grown, cap + ks_gorilla_bytes(g), g->last_ts + 1, 7));
        KS_ASSERT(ks_gorilla_decode_checked(&longer, ks_slice(grown, ks_gorilla_bytes(&longer)),
                                            ts2, v2) == KS_OK);
        KS_ASSERT(memcmp(ts, ts2, n * sizeof *ts) == 0 && memcmp(v, v2, n * sizeof *v) == 0);
    }
    free(buf);
    free(grown);
    free(ts2);
    free(v2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_gorilla g;
    if (ks_gorilla_load(ks_slice(data, size), &g) != KS_OK || g.count == 0)
        return 0;
    size_t len = size - KS_GORILLA_STATE_BYTES;
    int64_t *ts = malloc(g.count * sizeof *ts);
    double *v = malloc(g.count * sizeof *v);
    const uint8_t *bytes = data + KS_GORILLA_STATE_BYTES;
    if (ks_gorilla_decode_checked(&g, ks_slice(bytes, len), ts, v) == KS_OK)
        check_accepted(&g, bytes, ts, v);
    free(ts);
    free(v);
    return 0;
}
