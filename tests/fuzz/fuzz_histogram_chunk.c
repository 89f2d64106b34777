/*
 * Native histograms from hostile bytes. First byte: 0 a record, 255 a protobuf message, 254 the
 * notation, else a chunk of so many. What decodes must survive being encoded again, bit for bit.
 */
#include <stdlib.h>
#include <string.h>

#include "api/ingest/histogram_proto.h"
#include "base/histogram_text.h"
#include "storage/codec/histogram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct ks_histogram *h, size_t n, struct ks_arena *a)
{
    struct ks_buf b;
    struct ks_histogram *back = ks_arena_array(a, n, sizeof *back), one;
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    KS_ASSERT(back && ks_histograms_encode(h, n, a, &b) == KS_OK);
    KS_ASSERT(ks_histograms_decode(ks_buf_view(&b), n, a, back) == KS_OK);
    for (size_t i = 0; i < n; i++)
        KS_ASSERT(ks_histogram_identical(&h[i], &back[i]));
    ks_buf_reset(&b);
    KS_ASSERT(ks_histogram_record_put(&h[0], NULL, &b) == KS_OK);
    struct ks_reader r = ks_reader(ks_buf_view(&b));
    KS_ASSERT(ks_histogram_record_get(&r, NULL, a, &one) == KS_OK &&
              ks_histogram_identical(&h[0], &one));
    ks_buf_reset(&b);
    ks_histogram_json(&h[0], &b);
    ks_err valid = ks_histogram_validate(&h[0]), compact = ks_histogram_compact(a, 2, &one);
    KS_ASSERT(valid == KS_OK || valid == KS_EINVAL);
    KS_ASSERT(compact == KS_OK || compact == KS_ELIMIT);
    ks_buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ks_histogram h[256];
    struct ks_arena a;
    int64_t time_ms;
    if (!size)
        return 0;
    ks_arena_init(&a, 512 << 20);
    struct ks_slice bytes = ks_slice(data + 1, size - 1);
    struct ks_reader r = ks_reader(bytes);
    size_t n = data[0] && data[0] < 254 ? data[0] : 1;
    ks_err err = data[0] == 0     ? ks_histogram_record_get(&r, NULL, &a, h)
                 : data[0] == 255 ? ks_histogram_from_proto(bytes, &a, h, &time_ms)
                 : data[0] == 254 ? ks_histogram_parse(bytes, &a, h)
                                  : ks_histograms_decode(bytes, n, &a, h);
    if (err == KS_OK && data[0] == 255)
        err = ks_histogram_check_layout(h);
    if (err == KS_OK)
        again(h, n, &a);
    ks_arena_done(&a);
    return 0;
}
