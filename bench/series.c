#include "bench/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/rand.h"

enum { BATCH = 2000 };

/* Labels of series i as name/value pairs: 40 series a pod, 8 pods a node, 50 metric names. */
static ks_err labels_of(size_t i, struct ks_arena *a, struct ks_labels *ret)
{
    size_t pod = i / 40, node = pod / 8, metric = i % 40;
    struct ks_label l[] = {
        {KS_NAME_LABEL, ks_arena_printf(a, "container_metric_%zu_total", metric)},
        {KS_SLICE_LIT("job"), KS_SLICE_LIT("kubelet")},
        {KS_SLICE_LIT("instance"),
         ks_arena_printf(a, "10.0.%zu.%zu:10250", node / 250, node % 250)},
        {KS_SLICE_LIT("cluster"), KS_SLICE_LIT("region-one")},
        {KS_SLICE_LIT("clusterNamespace"), KS_SLICE_LIT("kcm-system")},
        {KS_SLICE_LIT("tenant"), KS_SLICE_LIT("PLATFORM")},
        {KS_SLICE_LIT("namespace"), ks_arena_printf(a, "team-%zu", pod % 37)},
        {KS_SLICE_LIT("pod"),
         ks_arena_printf(a, "app-%zu-7d9c%04zx-x%zu", pod % 300, pod * 2654435761u % 65536, pod)},
        {KS_SLICE_LIT("container"), ks_arena_printf(a, "c%zu", pod % 5)},
        {KS_SLICE_LIT("node"),
         ks_arena_printf(a, "ip-10-0-%zu-%zu.internal", node / 250, node % 250)},
        {KS_SLICE_LIT("endpoint"), KS_SLICE_LIT("https-metrics")},
        {KS_SLICE_LIT("metrics_path"), KS_SLICE_LIT("/metrics/cadvisor")},
        {KS_SLICE_LIT("service"), KS_SLICE_LIT("kubelet")},
        {KS_SLICE_LIT("image"),
         ks_arena_printf(a, "registry.example/team/app-%zu:v1.%zu", pod % 300, pod % 9)},
        {KS_SLICE_LIT("id"),
         ks_arena_printf(a, "/kubepods/burstable/pod%08zx-%zu", pod * 40503u, pod)},
        {KS_SLICE_LIT("name"), ks_arena_printf(a, "%016zx", pod * 0x9e3779b97f4a7c15u)},
        {KS_SLICE_LIT("app_kubernetes_io_name"), ks_arena_printf(a, "app-%zu", pod % 300)},
        {KS_SLICE_LIT("app_kubernetes_io_part_of"), KS_SLICE_LIT("platform")},
        {KS_SLICE_LIT("le"), ks_arena_printf(a, "%zu", metric % 12)},
        {KS_SLICE_LIT("cpu"), ks_arena_printf(a, "cpu%02zu", metric % 4)},
    };
    size_t n = sizeof l / sizeof *l;
    KS_TRY(ks_arena_grow(a, (void **)&ret->items, &ret->cap, n, sizeof *ret->items));
    memcpy(ret->items, l, sizeof l);
    ret->count = n;
    return KS_OK;
}

ks_err bench_resolve(struct ks_write_batch *b, size_t i, struct ks_labels *ret)
{
    return labels_of((size_t)b->series[i].raw.len, b->arena, ret);
}

double bench_value_of(size_t i, size_t round)
{
    uint64_t h = ks_mix64(i * 1315423911u + round);
    if (i % 10 < 4)
        return (double)(i % 7); /* constant */
    if (i % 10 < 7)
        return (double)(round * (1 + i % 50)) + (double)(h % (1 + i % 5)); /* counter */
    if (i % 10 < 9)
        return (double)(h % 100000) / 100; /* gauge with two decimals */
    return (double)(h % 4096) * 4096;      /* bytes */
}

void bench_write_round(struct ks_engine *e, struct ks_write_batch *b, size_t series, size_t round,
                       int64_t ts)
{
    struct ks_write_result r;
    for (size_t at = 0; at < series; at += BATCH) {
        ks_write_batch_reset(b);
        ks_arena_reset(b->arena);
        if (ks_write_batch_reserve(b, BATCH, BATCH) != KS_OK)
            abort();
        for (size_t i = at; i < at + BATCH && i < series; i++) {
            /* The hash stands for hashing ~400 bytes of labels: one buffer is hashed for each
             * series. */
            static char raw[400];
            memcpy(raw, &i, sizeof i);
            b->series[b->series_count++] = (struct ks_write_series){
                .raw_key = ks_raw_key((struct ks_tenant){0, 0}, ks_slice(NULL, 0),
                                      ks_slice(raw, sizeof raw)),
                .raw = ks_slice(raw, i),
                .first_sample = (uint32_t)b->sample_count,
                .sample_count = 1};
            b->samples[b->sample_count++] = (struct ks_write_sample){ts, bench_value_of(i, round)};
        }
        if (ks_engine_write(e, b, &r) != KS_OK) {
            fprintf(stderr, "write: %s\n", ks_err_text());
            exit(1);
        }
    }
}

struct ks_engine *bench_open(const struct ks_engine_opts *o, struct ks_write_batch *b,
                             struct ks_arena *arena)
{
    struct ks_engine *e;
    ks_arena_init(arena, 1 << 30);
    *b = (struct ks_write_batch){.resolve = bench_resolve, .arena = arena};
    if (ks_engine_open(o, &e) != KS_OK) {
        fprintf(stderr, "open: %s\n", ks_err_text());
        exit(1);
    }
    return e;
}
