/*
 * Cost of decoding remote write: protobuf walk, keys and batch, without the engine. Series are
 * shaped like Kubernetes': 20 labels, about 640 label bytes. Prints ns per sample with 1 and with
 * 10 samples per series, and the snappy part apart.
 */
#include <stdio.h>

#include "api/app.h"
#include "api/compress.h"
#include "api/ingest/remote_write.h"
#include "api/scratch.h"
#include "base/stats.h"
#include "sys/clock.h"

static uint64_t sink;

/* Takes the engine's place: the keys are used, nothing is stored. */
ks_err ks_engine_write(struct ks_engine *e, struct ks_write_batch *b, struct ks_write_result *ret)
{
    for (size_t i = 0; i < b->series_count; i++)
        sink += b->series[i].raw_key.lo;
    return KS_OK;
}

static void field(struct ks_buf *b, unsigned tag, struct ks_slice s)
{
    ks_buf_varint(b, tag);
    ks_buf_lp(b, s);
}

static void build(struct ks_buf *body, int series, int samples)
{
    struct ks_buf ts, inner;
    ks_buf_init(&ts, 1 << 20);
    ks_buf_init(&inner, 1 << 10);
    for (int i = 0; i < series; i++) {
        ks_buf_reset(&ts);
        for (int l = 0; l < 20; l++) {
            char name[32], value[64];
            snprintf(name, sizeof name, "label_name_%02d", l);
            snprintf(value, sizeof value, l == 7 ? "pod-%d-7f9c4d5b6-x2x" : "value-of-label-%d",
                     l == 7 ? i : l);
            ks_buf_reset(&inner);
            field(&inner, 0x0a, ks_slice_str(name));
            field(&inner, 0x12, ks_slice_str(value));
            field(&ts, 0x0a, ks_buf_view(&inner));
        }
        for (int s = 0; s < samples; s++) {
            double v = i * 1.5 + s;
            ks_buf_reset(&inner);
            ks_buf_byte(&inner, 0x09);
            ks_buf_add(&inner, &v, 8);
            ks_buf_byte(&inner, 0x10);
            ks_buf_varint(&inner, 1795265672513u + (uint64_t)s * 15000);
            field(&ts, 0x12, ks_buf_view(&inner));
        }
        field(body, 0x0a, ks_buf_view(&ts));
    }
    ks_buf_done(&ts);
    ks_buf_done(&inner);
}

static void measure(struct ks_app *app, int series, int samples)
{
    struct ks_scratch scratch;
    struct ks_buf body, packed, plain;
    struct ks_stat stat = {.name = "bench"};
    ks_scratch_init(&scratch);
    ks_buf_init(&body, 256 << 20);
    ks_buf_init(&packed, 256 << 20);
    ks_buf_init(&plain, 256 << 20);
    build(&body, series, samples);
    ks_err err = ks_compress(KS_ENC_SNAPPY, ks_buf_view(&body), &packed);
    int64_t best = INT64_MAX, best_snappy = INT64_MAX;
    for (int round = 0; round < 200 && err == KS_OK; round++) {
        struct ks_ingest in;
        int64_t t0 = ks_thread_cpu_us();
        ks_buf_reset(&plain);
        err = ks_decompress(KS_ENC_SNAPPY, ks_buf_view(&packed), 256 << 20, &plain);
        int64_t t1 = ks_thread_cpu_us();
        ks_ingest_begin_local(app, &scratch, &stat, &in);
        if (err == KS_OK)
            err = ks_remote_write_v1(&in, ks_buf_view(&plain));
        if (err == KS_OK)
            err = ks_ingest_end(&in);
        int64_t t2 = ks_thread_cpu_us();
        best = t2 - t1 < best ? t2 - t1 : best;
        best_snappy = t1 - t0 < best_snappy ? t1 - t0 : best_snappy;
    }
    double n = (double)series * samples;
    printf("%d series x %d samples, %zu bytes per series: decode %.1f ns/sample, snappy %.1f "
           "ns/sample%s\n",
           series, samples, body.len / (size_t)series, (double)best * 1000 / n,
           (double)best_snappy * 1000 / n, err == KS_OK ? "" : " FAILED");
    ks_buf_done(&body);
    ks_buf_done(&packed);
    ks_buf_done(&plain);
    ks_scratch_done(&scratch);
}

int main(void)
{
    static struct ks_app app;
    app.cfg.max_metadata_bytes = 1 << 20;
    app.cfg.query_log_count = 1;
    if (ks_app_init(&app) != KS_OK)
        return 1;
    measure(&app, 2000, 1);
    measure(&app, 10000, 1);
    measure(&app, 2000, 10);
    ks_app_done(&app);
    return sink == 42;
}
