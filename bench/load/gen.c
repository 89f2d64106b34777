/* bench_load gen: the data file. */
#include <snappy-c.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "bench/load/data.h"
#include "bench/load/load.h"
#include "sys/rand.h"

/* One request being filled. */
struct request {
    struct ks_buf raw;
    uint32_t samples;
};

struct gen {
    struct gen_data data;
    FILE *out;
    struct request now, late, late_before; /* late ones of this round, and of the one before, due at
                                              the end of this one */
    char *packed;
    size_t packed_cap;
    uint64_t rng;
    int64_t start_ms, step_ms;
    uint32_t rounds, run, batch, round;
    double late_share, churn;
    uint64_t samples, new_series;
};

static void write_request(struct gen *g, struct request *r, uint32_t late)
{
    if (!r->samples)
        return;
    size_t len = snappy_max_compressed_length(r->raw.len);
    if (ks_array_reserve((void **)&g->packed, &g->packed_cap, len, 1) != KS_OK ||
        snappy_compress(r->raw.ptr, r->raw.len, g->packed, &len) != SNAPPY_OK)
        die("cannot compress a request");
    struct record rec = {(uint32_t)len, r->samples, g->round, late};
    static const char zeros[8];
    size_t pad = (8 - (sizeof rec + len) % 8) % 8;
    if (fwrite(&rec, sizeof rec, 1, g->out) != 1 || fwrite(g->packed, len, 1, g->out) != 1 ||
        fwrite(zeros, 1, pad, g->out) != pad)
        die("cannot write the data file");
    g->samples += r->samples;
    ks_buf_reset(&r->raw);
    r->samples = 0;
}

/* The scrape's time: the target's phase, and now and then a few ms more. Shared by all its series.
 */
static int64_t scrape_ms(const struct gen *g, uint32_t target, uint32_t round)
{
    uint64_t s = (uint64_t)target << 32 ^ round ^ g->data.seed;
    uint64_t r = ks_rng_next(&s);
    int64_t jitter = r % 4 ? 0 : (int64_t)(r >> 32) % (r % 16 ? 3 : 40);
    return g->start_ms + (int64_t)round * g->step_ms +
           g->data.targets[target].phase_ms * g->step_ms / 15000 + jitter;
}

/* A TimeSeries with `run` samples. */
static void put_series(struct gen *g, struct request *r, struct gen_series *s, const int64_t *times)
{
    struct ks_buf *b = &r->raw;
    ks_buf_byte(b, 0x0a);
    ks_buf_varint(b, s->labels_bytes + (uint64_t)g->run * 18);
    ks_buf_add(b, g->data.labels + s->labels_at, s->labels_bytes);
    for (uint32_t i = 0; i < g->run; i++) {
        double v = gen_next(s, times[i]);
        ks_buf_add(b, "\x12\x10\x09", 3);
        ks_buf_add(b, &v, 8);
        ks_buf_byte(b, 0x10);
        ks_buf_varint(b, (uint64_t)times[i]);
    }
    if (b->err != KS_OK)
        die("out of memory");
    r->samples += g->run;
}

static void put_target(struct gen *g, uint32_t target)
{
    struct gen_target *t = &g->data.targets[target];
    int64_t times[1024];
    for (uint32_t i = 0; i < g->run; i++)
        times[i] = scrape_ms(g, target, g->round + i);
    int late = g->run == 1 && ks_rng_double(&g->rng) < g->late_share;
    if (g->round && ks_rng_double(&g->rng) < g->churn && gen_churn(&g->data, t))
        g->new_series += t->count;
    struct request *r = late ? &g->late : &g->now;
    for (uint32_t i = t->first; i < t->first + t->count; i++) {
        put_series(g, r, &g->data.series[i], times);
        if (r->samples >= g->batch && !late)
            write_request(g, r, 0);
    }
}

static void put_round(struct gen *g)
{
    for (uint32_t i = 0; i < g->data.target_count; i++)
        put_target(g, i);
    write_request(g, &g->now, 0);
    write_request(g, &g->late_before, 1);
    struct request r = g->late_before;
    g->late_before = g->late;
    g->late = r;
}

int load_gen(int argc, char **argv)
{
    struct gen g = {.start_ms = (int64_t)arg_num(argc, argv, "start-ms", 0),
                    .step_ms = (int64_t)arg_num(argc, argv, "step-ms", 15000),
                    .rounds = (uint32_t)arg_num(argc, argv, "rounds", 1),
                    .run = (uint32_t)arg_num(argc, argv, "run", 1),
                    .batch = (uint32_t)arg_num(argc, argv, "batch", 2000),
                    .late_share = arg_num(argc, argv, "late", 0.02),
                    .churn = arg_num(argc, argv, "churn", 0.0005)};
    if (g.run < 1 || g.run > 1024)
        die("--run: want 1 to 1024");
    struct request *requests[] = {&g.now, &g.late, &g.late_before};
    for (int i = 0; i < 3; i++)
        ks_buf_init(&requests[i]->raw, KS_BUF_UNLIMITED);
    uint64_t seed = (uint64_t)arg_num(argc, argv, "seed", 1);
    g.rng = seed ^ 0x67656e;
    const char *path = arg_str(argc, argv, "out", NULL);
    g.out = fopen(path, "wb");
    if (!g.out)
        die("cannot write %s", path);
    double begin = now_us();
    gen_data_init(&g.data, (size_t)arg_num(argc, argv, "series", 1000), seed);
    size_t first_labels = g.data.labels_bytes, varying = 0;
    for (size_t i = 0; i < g.data.series_count; i++)
        varying += !g.data.series[i].idle;
    for (g.round = 0; g.round + g.run <= g.rounds; g.round += g.run)
        put_round(&g);
    if (fclose(g.out) != 0)
        die("cannot write %s", path);
    printf("{\"series\": %zu, \"new_series\": %llu, \"samples\": %llu, \"label_bytes_per_series\": "
           "%.1f, \"constant_share\": %.3f, "
           "\"seconds\": %.1f}\n",
           g.data.series_count, (unsigned long long)g.new_series, (unsigned long long)g.samples,
           (double)first_labels / (double)g.data.series_count,
           1 - (double)varying / (double)g.data.series_count, (now_us() - begin) / 1e6);
    gen_data_done(&g.data);
    for (int i = 0; i < 3; i++)
        ks_buf_done(&requests[i]->raw);
    ks_free(g.packed);
    return 0;
}
