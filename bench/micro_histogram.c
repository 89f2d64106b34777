/* Native histograms: bytes and ns per histogram of sealed chunks and of records. Generated shapes;
 * arguments: buckets, samples. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/codec/histogram.h"
#include "tests/support/histogram_shapes.h"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void run(uint32_t buckets, uint32_t n, bool is_float)
{
    struct ks_arena a, work;
    struct ks_buf b;
    struct ks_histogram *h = malloc(n * sizeof *h), *got = malloc(n * sizeof *got);
    double encode = 1e18, decode = 1e18;
    ks_arena_init(&a, 1 << 30);
    ks_arena_init(&work, 1 << 30);
    ks_buf_init(&b, KS_BUF_UNLIMITED);
    for (uint32_t i = 0; i < n; i++)
        h[i] = shape_counter(&a, buckets, i, is_float);
    for (int round = 0; round < 20; round++) {
        ks_arena_reset(&work);
        ks_buf_reset(&b);
        double t0 = now_ns();
        ks_err err = ks_histograms_encode(h, n, &work, &b);
        double t1 = now_ns();
        ks_arena_reset(&work);
        double t2 = now_ns();
        if (err != KS_OK || ks_histograms_decode(ks_buf_view(&b), n, &work, got) != KS_OK)
            exit(1);
        double t3 = now_ns();
        encode = t1 - t0 < encode ? t1 - t0 : encode;
        decode = t3 - t2 < decode ? t3 - t2 : decode;
    }
    double chunk_bytes = (double)b.len / n;
    ks_buf_reset(&b);
    for (uint32_t i = 0; i < n; i++)
        if (ks_histogram_record_put(&h[i], i ? &h[i - 1] : NULL, &b) != KS_OK)
            exit(1);
    printf("%s %3u buckets %4u histograms: %7.1f B each, encode %7.0f ns, decode %7.0f ns; open "
           "records %7.1f B\n",
           is_float ? "float" : "int  ", buckets, n, chunk_bytes, encode / n, decode / n,
           (double)b.len / n);
    ks_buf_done(&b);
    ks_arena_done(&a);
    ks_arena_done(&work);
    free(h);
    free(got);
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 2 ? (uint32_t)atoi(argv[2]) : 120;
    static const uint32_t sizes[] = {10, 30, 100};
    for (int i = 0; i < 6; i++)
        run(argc > 1 ? (uint32_t)atoi(argv[1]) : sizes[i / 2], n, i & 1);
    return 0;
}
