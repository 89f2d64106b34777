/*
 * Generated metrics that look like a Kubernetes region's: node-exporter, cadvisor, annotated
 * application pods, kube-state-metrics and apiserver histograms, each series with 15 to 25 labels.
 * Equal seeds give equal bytes. One thread; dies on lack of memory.
 */
#ifndef KS_BENCH_LOAD_DATA_H
#define KS_BENCH_LOAD_DATA_H

#include <stddef.h>
#include <stdint.h>

enum shape {
    SHAPE_CONST,
    SHAPE_COUNTER, /* whole numbers, varied increments */
    SHAPE_CPU2,    /* seconds counted in 1/100 */
    SHAPE_CPU9,    /* seconds counted in nanoseconds */
    SHAPE_BYTES,   /* a gauge in pages of 4096 */
    SHAPE_INT,     /* a small whole gauge */
    SHAPE_GAUGE2,  /* a gauge with two decimals */
    SHAPE_DOUBLE,  /* full precision */
    SHAPE_TIME,    /* the scrape's time in seconds */
    SHAPE_BUCKET,  /* cumulative bucket `bucket` of `bucket_count`; all buckets of one scrape move
                      together */
    SHAPE_SUM,     /* the sum of a histogram's observations */
};

struct gen_series {
    uint64_t labels_at; /* into gen_data.labels: encoded remote write label fields */
    uint32_t labels_bytes;
    uint8_t shape, bucket, bucket_count, idle;
    uint64_t rng; /* own sequence; equal in all series of one histogram */
    double value, scale;
};

/* What is scraped at once: its series share the timestamps. */
struct gen_target {
    uint32_t first, count;
    uint32_t node, pod;  /* numbers its names are made of */
    uint32_t generation; /* of the pods: counts their restarts under a new name */
    uint32_t phase_ms;
    uint8_t kind;
};

struct gen_data {
    uint64_t seed;
    char *labels;
    size_t labels_bytes, labels_cap;
    struct gen_series *series;
    size_t series_count, series_cap, series_max;
    struct gen_target *targets;
    size_t target_count, target_cap;
};

/* Builds `series_count` series. */
void gen_data_init(struct gen_data *d, size_t series_count, uint64_t seed);
void gen_data_done(struct gen_data *d);
/* Gives a target's pods new names: all its series are new ones. False when the target has no pods.
 */
int gen_churn(struct gen_data *d, struct gen_target *t);
/* The next value of a series, scraped at time_ms, 1/steps_per_15s of a usual interval after the one
 * before. */
double gen_next(struct gen_series *s, int64_t time_ms);
/* Whether any of the series changes its name at churn. */
int gen_has_pods(const struct gen_target *t);

#endif
