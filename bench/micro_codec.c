/*
 * Codec speed and size per shape of column: ns per sample to encode and decode, bytes per sample as
 * packed, and after zstd-1 over 16 KiB frames of neighbouring chunks; beside them the open chunk as
 * the head reads it, with times that are regular and with some that jitter.
 * One argument: samples per chunk (default 240).
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#include "storage/codec/chunk.h"
#include "storage/codec/gorilla.h"
#include "tests/support/codec_shapes.h"

#define CHUNKS 256
#define FRAME  (16 * 1024)
#define ROUNDS 5

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Bytes after zstd-1 of the stream cut in frames. */
static size_t framed(struct ks_slice s)
{
    static char out[FRAME * 2];
    size_t sum = 0;
    for (size_t at = 0; at < s.len; at += FRAME) {
        size_t n = s.len - at < FRAME ? s.len - at : FRAME;
        sum += ZSTD_compress(out, sizeof out, s.ptr + at, n, 1);
    }
    return sum;
}

struct column {
    struct ks_buf bytes;
    size_t at[CHUNKS + 1];
    uint8_t encoding[CHUNKS];
};

struct result {
    double encode_ns, decode_ns, bytes, framed_bytes;
    const char *name;
};

typedef ks_err encode_fn(const void *, size_t, struct ks_buf *, uint8_t *);
typedef ks_err decode_fn(struct ks_slice, uint8_t, size_t, void *);

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ks_err_text());
    exit(1);
}

static void encode_all(encode_fn *encode, const char *in, size_t n, struct column *c)
{
    ks_buf_reset(&c->bytes);
    for (size_t k = 0; k < CHUNKS; k++) {
        c->at[k] = c->bytes.len;
        if (encode(in + k * n * 8, n, &c->bytes, &c->encoding[k]) != KS_OK)
            fail("encode");
    }
    c->at[CHUNKS] = c->bytes.len;
}

static void decode_all(decode_fn *decode, const struct column *c, size_t n, char *out)
{
    for (size_t k = 0; k < CHUNKS; k++)
        if (decode(ks_slice(c->bytes.ptr + c->at[k], c->at[k + 1] - c->at[k]), c->encoding[k], n,
                   out + k * n * 8) != KS_OK)
            fail("decode");
}

static struct result measure(encode_fn *encode, decode_fn *decode, const char *in, size_t n)
{
    struct result r = {.encode_ns = 1e9, .decode_ns = 1e9};
    static struct column c;
    char *out = malloc(CHUNKS * n * 8);
    double samples = (double)(CHUNKS * n);
    ks_buf_init(&c.bytes, KS_BUF_UNLIMITED);
    for (int round = 0; round < ROUNDS; round++) {
        double t0 = now_ns();
        encode_all(encode, in, n, &c);
        double t1 = now_ns();
        decode_all(decode, &c, n, out);
        double t2 = now_ns();
        r.encode_ns = fmin(r.encode_ns, (t1 - t0) / samples);
        r.decode_ns = fmin(r.decode_ns, (t2 - t1) / samples);
    }
    if (memcmp(in, out, CHUNKS * n * 8) != 0)
        fail("not bit-exact");
    r.bytes = (double)c.bytes.len / samples;
    r.framed_bytes = (double)framed(ks_buf_view(&c.bytes)) / samples;
    r.name = decode == (decode_fn *)ks_times_decode ? ks_times_encoding_name(c.encoding[0])
                                                    : ks_values_encoding_name(c.encoding[0]);
    ks_buf_done(&c.bytes);
    free(out);
    return r;
}

static size_t gorilla_chunk(const int64_t *ts, const double *v, size_t n, uint8_t *buf, size_t cap,
                            struct ks_gorilla *g)
{
    *g = (struct ks_gorilla){0};
    for (size_t i = 0; i < n; i++)
        if (!ks_gorilla_append(g, buf, cap, ts[i], ks_f64_bits(v[i])))
            fail("append");
    return ks_gorilla_bytes(g);
}

static struct result measure_gorilla(const int64_t *ts, const double *v, size_t n)
{
    struct result r = {.encode_ns = 1e9, .decode_ns = 1e9, .name = ""};
    size_t cap = n * 24 + 64, total = 0;
    uint8_t *buf = malloc(cap);
    int64_t *got_ts = malloc(n * 8);
    double *got = malloc(n * 8), samples = (double)(CHUNKS * n);
    struct ks_gorilla g;
    for (int round = 0; round < ROUNDS; round++) {
        double enc = 0, dec = 0;
        total = 0;
        for (size_t k = 0; k < CHUNKS; k++) {
            double t0 = now_ns();
            total += gorilla_chunk(ts + k * n, v + k * n, n, buf, cap, &g);
            double t1 = now_ns();
            struct ks_gorilla_place from = ks_gorilla_begin(buf);
            if (ks_gorilla_decode_range(&g, &from, buf + from.pos / 8, INT64_MIN, INT64_MAX, got_ts,
                                        got) != n)
                fail("decode");
            enc += t1 - t0;
            dec += now_ns() - t1;
        }
        r.encode_ns = fmin(r.encode_ns, enc / samples);
        r.decode_ns = fmin(r.decode_ns, dec / samples);
    }
    r.bytes = (double)total / samples;
    free(buf);
    free(got);
    free(got_ts);
    return r;
}

static double measure_aggregate(const double *v, size_t n)
{
    double best = 1e9, sink = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct ks_chunk_agg a;
        double t0 = now_ns();
        for (size_t k = 0; k < CHUNKS; k++) {
            ks_chunk_aggregate(v + k * n, n, &a);
            sink += a.max;
        }
        best = fmin(best, (now_ns() - t0) / (double)(CHUNKS * n));
    }
    return sink == 42 ? 0 : best;
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? (size_t)atoi(argv[1]) : 240;
    double *v = malloc(CHUNKS * n * 8), sum[4] = {0};
    int64_t *ts = malloc(CHUNKS * n * 8), *jitter = malloc(CHUNKS * n * 8);
    printf("%zu samples per chunk; ns/sample, B/sample\n", n);
    printf("%-16s %-11s %6s %6s %7s %7s | %6s %6s %7s | %6s %6s %7s | %5s\n", "values", "encoding",
           "enc", "dec", "packed", "zstd-1", "append", "dec", "open", "append", "dec", "jitter",
           "agg");
    for (size_t k = 0; k < CHUNKS; k++) {
        shape_times(TIMES_regular, k, n, ts + k * n);
        shape_times(TIMES_jitter, k, n, jitter + k * n);
    }
    for (int kind = 0; kind < SHAPE_COUNT; kind++) {
        for (size_t k = 0; k < CHUNKS; k++)
            shape_values(kind, k, n, v + k * n);
        struct result r =
            measure((encode_fn *)ks_values_encode, (decode_fn *)ks_values_decode, (char *)v, n);
        struct result g = measure_gorilla(ts, v, n), j = measure_gorilla(jitter, v, n);
        printf("%-16s %-11s %6.2f %6.2f %7.3f %7.3f | %6.2f %6.2f %7.3f | %6.2f %6.2f %7.3f | "
               "%5.2f\n",
               shape_name(kind), r.name, r.encode_ns, r.decode_ns, r.bytes, r.framed_bytes,
               g.encode_ns, g.decode_ns, g.bytes, j.encode_ns, j.decode_ns, j.bytes,
               measure_aggregate(v, n));
        if (kind < SHAPE_REAL_COUNT) {
            sum[0] += r.encode_ns / SHAPE_REAL_COUNT;
            sum[1] += r.decode_ns / SHAPE_REAL_COUNT;
            sum[2] += r.bytes / SHAPE_REAL_COUNT;
            sum[3] += r.framed_bytes / SHAPE_REAL_COUNT;
        }
        if (kind == SHAPE_REAL_COUNT - 1)
            printf("%-16s %-11s %6.2f %6.2f %7.3f %7.3f\n", "= mean", "", sum[0], sum[1], sum[2],
                   sum[3]);
    }
    for (int kind = 0; kind < TIMES_COUNT; kind++) {
        for (size_t k = 0; k < CHUNKS; k++)
            shape_times(kind, k, n, ts + k * n);
        struct result r =
            measure((encode_fn *)ks_times_encode, (decode_fn *)ks_times_decode, (char *)ts, n);
        printf("t:%-14s %-11s %6.2f %6.2f %7.3f %7.3f\n", times_name(kind), r.name, r.encode_ns,
               r.decode_ns, r.bytes, r.framed_bytes);
    }
    free(v);
    free(ts);
    free(jitter);
    return 0;
}
